//! The commands as people run them, against the real servers: what they print and the status they end with.

use crate::support::operator::{Settings, program};
use crate::support::{self, Cluster, Database, Operator};
use std::process::Stdio;
use std::time::Duration;

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

pub async fn run(environment: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = tokio::process::Command::new(program());
    command.args(arguments).env_clear().envs(environment.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_mins(1), command.output()).await.expect("the command ends").expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { status: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

pub async fn on_cluster(cluster: &Cluster, arguments: &[&str]) -> Ran {
    run(&[("KUBECONFIG", &cluster.kubeconfig().display().to_string())], arguments).await
}

async fn on_store(database: &Database, arguments: &[&str]) -> Ran {
    run(&[("MAILROSTER_STORE", &database.url)], arguments).await
}

/// What `kubectl apply -k manifests` makes, less what needs nodes.
async fn install(cluster: &Cluster) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests");
    let manifests = cluster.kubectl(&["kustomize", folder]).await.succeeded();
    // server-side, all of it: a manifest that the API server refuses fails here.
    cluster.kubectl_with_input(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &manifests).await.succeeded();
}

#[tokio::test]
async fn the_manifests_grant_what_check_asks_for_and_what_the_controller_needs() {
    let cluster = support::control_plane().await;
    install(cluster).await;
    let account = cluster.as_service_account("mailroster-system", "mailroster").await;
    let namespace = support::fresh_namespace().await;

    let ran = on_cluster(&account, &["check", "api", "--system-namespace", "mailroster-system"]).await;
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.out.contains("ok       the kind EmailAddress is served"), "{ran:?}");
    let ran = on_cluster(&account, &["check", "api", "--system-namespace=mailroster-system", "--namespaces", &namespace]).await;
    assert!(ran.status == 0 && ran.out.contains(&format!("passwords of namespace {namespace} can't be read")), "{ran:?}");

    let database = support::fresh_database().await;
    let mut settings = Settings::new(cluster, &database, &[&namespace]).await;
    settings.kubeconfig = account.kubeconfig().to_owned();
    settings.system_namespace = "mailroster-system".to_owned();
    let mut operator = Operator::start_with(settings).await;
    let domain = "apiVersion: mailroster.dev/v1alpha1\nkind: InternalDomain\nmetadata: {name: a}\nspec: {domain: manifests.example}";
    cluster.apply(&namespace, domain).await;
    cluster.wait_ready("InternalDomain", &namespace, "a").await;
    assert_eq!(operator.metric("mailroster_leader").await, Some(1.0));
    assert!(operator.terminate().await.success(), "{}", operator.tail());
    assert!(!operator.log().contains("forbidden"), "{}", operator.tail());
}

#[tokio::test]
async fn check_api_prints_the_yaml_of_missing_rights() {
    let cluster = support::control_plane().await;
    let namespace = support::fresh_namespace().await;
    cluster.apply(&namespace, "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: nobody}\n").await;
    let account = cluster.as_service_account(&namespace, "nobody").await;
    let ran = on_cluster(&account, &["check", "api", "--system-namespace", &namespace]).await;
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.out.contains("missing  the right to get, list, watch, patch emailaddresses in all namespaces"), "{}", ran.out);
    assert!(ran.out.contains("kind: ClusterRole") && ran.out.contains(&format!("namespace: {namespace}")), "{}", ran.out);
}

#[tokio::test]
async fn release_takes_our_finalizer_off_and_leaves_the_others() {
    let cluster = support::control_plane().await;
    let namespace = support::fresh_namespace().await;
    let yaml = "apiVersion: mailroster.dev/v1alpha1\nkind: DelegateMailbox\nmetadata:\n  name: a\n  finalizers: [example.org/other, mailroster.dev/roster]\nspec: {reader: a@acme.example, mailbox: b@acme.example}";
    cluster.apply(&namespace, yaml).await;
    let arguments = ["release", "--namespaces", &namespace];
    let ran = on_cluster(cluster, &arguments).await;
    assert_eq!((ran.status, ran.out.as_str()), (0, "DelegateMailbox: released 1\n"), "{ran:?}");
    let left = cluster.get("DelegateMailbox", &namespace, "a").await.unwrap();
    assert_eq!(left["metadata"]["finalizers"], serde_json::json!(["example.org/other"]));
    assert_eq!(on_cluster(cluster, &arguments).await.status, 1, "nothing is left to do");
    cluster.patch("DelegateMailbox", &namespace, "a", &serde_json::json!({"metadata": {"finalizers": null}})).await;
}

#[tokio::test]
async fn check_store_tells_a_fresh_database_from_a_migrated_one() {
    let database = support::fresh_database().await;
    let ran = on_store(&database, &["check", "store"]).await;
    assert!(
        ran.status == 0 && ran.out.contains("the store is migrated") && ran.out.contains("the role mailroster_mta is there"),
        "{ran:?}"
    );

    let ran = on_store(&database, &["check", "store", "--gateway-role-prefix", "absent"]).await;
    assert!(ran.out.contains("absent_mta is not there yet"), "{ran:?}");

    database.execute("CREATE ROLE weak LOGIN; DROP SCHEMA gateway, mailroster CASCADE").await;
    let weak = database.url.replacen("postgres@", "weak@", 1);
    let weak = if weak == database.url { format!("{}&user=weak", database.url) } else { weak };
    let ran = run(&[("MAILROSTER_STORE", &weak)], &["check", "store", "--gateway-role-prefix", "absent"]).await;
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.out.contains("the store is not migrated") && ran.out.contains("GRANT CREATE ON DATABASE"), "{ran:?}");
    assert!(ran.out.contains("CREATE ROLE \"absent_mta\" NOLOGIN;"), "{ran:?}");
    database.execute("DROP ROLE weak").await;
}

pub const ROSTER: &str = "
    UPDATE mailroster.installation SET answers_since = mailroster.now(), recognised_run = pg_postmaster_start_time();
    INSERT INTO mailroster.domain (name, namespace, owner, recipient_validation, unknown_recipients, learn_senders, sub_addressing, created_at)
    VALUES ('acme.example', 'acme', 'acme', 'Known', 'Reject', true, '+', mailroster.now() - interval '2 hours'),
           ('other.example', 'acme', NULL, 'None', 'Reject', false, '', mailroster.now());
    INSERT INTO mailroster.domain_key (key, domain_id) SELECT name, id FROM mailroster.domain;
    INSERT INTO mailroster.address (canonical, display, domain_id, namespace, origin, owner, is_alias)
    SELECT v.a, v.a, d.id, 'acme', 'Manual', v.o, v.alias
    FROM (VALUES ('it@acme.example', 'it', false), ('sales@acme.example', NULL, true), ('info@other.example', NULL, false)) v (a, o, alias)
    JOIN mailroster.domain d ON d.name = split_part(v.a, '@', 2);
    INSERT INTO mailroster.address_key (key, address_id) SELECT canonical, id FROM mailroster.address;
    INSERT INTO mailroster.link (alias_id, primary_id, namespace, owner, origin, made_row)
    SELECT s.id, a.id, 'acme', 'sales', 'Declared', true
    FROM mailroster.address s, mailroster.address a WHERE s.canonical LIKE 'sales@%' AND a.canonical LIKE 'it@%';
    INSERT INTO mailroster.delegation (reader_id, mailbox_id, namespace, owner)
    SELECT a.id, b.id, 'acme', 'a-b' FROM mailroster.address a, mailroster.address b WHERE a.canonical LIKE 'it@%' AND b.canonical LIKE 'info@%';";

#[tokio::test]
async fn v2_explain_tells_the_answer_of_the_mail_servers_and_why() {
    let database = support::fresh_database().await;
    let ran = on_store(&database, &["explain", "it@acme.example"]).await;
    assert!(ran.status == 0 && ran.out.starts_with("it@acme.example: deferred (451)\n"), "{ran:?}");
    assert!(ran.out.contains("the roster is not complete yet"), "{ran:?}");

    database.execute(ROSTER).await;
    database
        .execute("SELECT gateway.record_logon_v1(gen_random_uuid(), 'it@acme.example', 'wrong_password', 'imap'); SELECT gateway.record_held_v1('mx1', '[{\"id\": \"1\", \"since\": 1700000000, \"state\": \"held\", \"addresses\": [\"sales@acme.example\"]}]')")
        .await;
    for (address, verdict, words) in [
        (
            "It+x@acme.example",
            "accepted",
            &["EmailAddress acme/it", "sub-address sign", "may read        info@other.example", "failed logons   1 of 5", "1 held at mx1"]
                [..],
        ),
        ("sales@acme.example", "accepted", &["alias of        it@acme.example (AliasLink acme/sales)", "an alias inherits it"]),
        ("nobody@acme.example", "refused (550)", &["not in the roster (mode Known", "no row", "first outbound mail"]),
        ("postmaster@acme.example", "deferred (451)", &["must have a postmaster@"]),
        ("info@other.example", "deferred (451)", &["mode None", "is read by      it@acme.example"]),
        ("x@elsewhere.example", "not our domain, no objection", &["InternalDomain that declares the domain"]),
        ("no address", "not our domain, no objection", &["can't be declared"]),
    ] {
        let ran = on_store(&database, &["explain", address]).await;
        assert!(ran.status == 0 && ran.out.starts_with(&format!("{address}: {verdict}\n")), "{address}: {ran:?}");
        for word in words {
            assert!(ran.out.contains(word), "{address}: {word} in\n{}", ran.out);
        }
    }
}

#[tokio::test]
async fn transfer_asks_the_leader_and_names_what_blocks_it() {
    let database = support::fresh_database().await;
    database.execute(ROSTER).await;
    let ran = on_store(&database, &["transfer", "acme.example", "globex"]).await;
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(ran.err.contains("TransferBlocked by delegation: it@acme.example reads info@other.example"), "{ran:?}");
    assert_eq!(on_store(&database, &["transfer", "ACME.example", "acme"]).await.status, 1, "it is there already");
    let ran = on_store(&database, &["transfer", "absent.example", "acme"]).await;
    assert!(ran.status == 2 && ran.err.contains("no such domain"), "{ran:?}");

    database.execute("DELETE FROM mailroster.delegation").await;
    let namespace = support::fresh_namespace().await;
    let mut operator = Operator::start(&database, &[&namespace]).await;
    let ran = on_store(&database, &["transfer", "acme.example", "globex"]).await;
    assert_eq!(ran.status, 0, "{ran:?} {}", operator.tail());
    assert_eq!(
        database.text("SELECT string_agg(DISTINCT namespace, ',') FROM mailroster.address WHERE canonical LIKE '%@acme.example'").await,
        "globex"
    );
    operator.kill9();
}

#[tokio::test]
async fn a_command_that_can_not_run_says_why_on_one_line_and_ends_with_status_2() {
    let ran = run(&[("KUBECONFIG", "/nonexistent/kubeconfig")], &["release"]).await;
    assert_eq!((ran.status, ran.err.lines().count()), (2, 1), "{ran:?}");
    assert!(ran.err.starts_with("mailroster: failed to find a cluster"), "{ran:?}");
    let ran = run(&[], &["check", "store", "--store", "postgres://nobody:planted-secret@127.0.0.1:1/none"]).await;
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(ran.err.starts_with("mailroster: failed to reach the store (--store): ") && !ran.err.contains("planted-secret"), "{ran:?}");
}
