//! DirectoryConnection as people meet it before any server is asked: what is refused, what it says, how it is shown (SPEC 8, C1 to C9).

use crate::scene::{Scene, message, reconciling, resource, stalled};
use crate::support::resources::condition;
use serde_json::Value;

const KIND: &str = "DirectoryConnection";

fn connection(name: &str, url: &str, more: &str) -> String {
    let bind = "{dn: 'cn=sync,dc=corp,dc=example', passwordSecretRef: {name: corp-ldap, key: password}}";
    resource(KIND, name, &format!("{{type: OpenLDAP, urls: ['{url}'], baseDN: 'dc=corp,dc=example', bind: {bind}{more}}}"))
}

const SECRET: &str = "---
apiVersion: v1
kind: Secret
metadata: {name: corp-ldap, labels: {mailroster.dev/readable: 'true'}}
stringData: {password: Correct-Horse-7}
";

/// The examples, made our namespace's.
fn examples(namespace: &str) -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/directory-connection.yaml");
    std::fs::read_to_string(file).expect("the example").replace("namespace: widgets", &format!("namespace: {namespace}"))
}

fn version(resource: &Value) -> &Value {
    &resource["metadata"]["resourceVersion"]
}

#[tokio::test]
async fn c1_c2_c9_the_examples_wait_for_what_is_missing_and_are_shown_with_their_hosts() {
    let scene = Scene::new().await;
    let names = scene.cluster.apply(&scene.ours, &examples(&scene.ours)).await;
    assert_eq!(names, ["corp", "staff", "staff-ldap"]);
    // One lacks its Secrets; the other has one, and no server of that name.
    for (name, reason) in [("corp", "SecretNotFound"), ("staff", "DirectoryUnreachable")] {
        let seen = scene.cluster.wait_reason(KIND, &scene.ours, name, reason).await;
        assert!(reconciling(&seen), "{seen:#}");
        for (kind, reason) in [("DeletionsHeld", "NothingHeld"), ("HolderChanged", "SameHolder")] {
            let condition = condition(&seen, kind).unwrap_or_default();
            assert_eq!((&condition["status"], &condition["reason"]), (&"False".into(), &reason.into()), "{seen:#}");
        }
        assert!(seen["metadata"]["finalizers"].is_null(), "its end takes nothing away: {seen:#}");
    }
    // The API server has filled in what the specification shows, and nothing else.
    let corp = scene.cluster.get(KIND, &scene.ours, "corp").await.unwrap();
    assert_eq!((&corp["spec"]["tls"]["mode"], &corp["spec"]["interval"]), (&"LDAPS".into(), &"15m".into()), "{corp:#}");
    assert_eq!((&corp["spec"]["userFilter"], &corp["spec"]["attributes"]), (&"".into(), &serde_json::json!({})), "{corp:#}");

    let table = scene.cluster.kubectl(&["get", "dconn", "-n", &scene.ours]).await.succeeded();
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    assert_eq!(lines.next().as_deref(), Some("NAME HOST READY REASON LAST RUN READ HELD AGE"), "{table}");
    let first = lines.next().unwrap_or_default();
    assert!(first.starts_with("corp ldaps://dc1.corp.widgets.example False SecretNotFound "), "{table}");
    let explained = scene.cluster.kubectl(&["explain", "dconn.spec.userFilter"]).await.succeeded();
    assert!(explained.contains("(&(|(proxyAddresses=smtp:*)(mail=*))(|(objectCategory=person)(objectClass=publicFolder)))"), "{explained}");
    let all = scene.cluster.kubectl(&["get", "mailroster", "-n", &scene.ours]).await.succeeded();
    assert!(all.contains("directoryconnection.mailroster.dev/staff"), "{all}");

    // What is told is told once (C3), and the end of a connection keeps nobody waiting.
    let before = scene.cluster.get(KIND, &scene.ours, "corp").await.unwrap();
    scene.something_else_happens().await;
    let after = scene.cluster.get(KIND, &scene.ours, "corp").await.unwrap();
    assert_eq!(version(&before), version(&after), "{after:#}");
    scene.cluster.delete(KIND, &scene.ours, "staff").await;
    scene.cluster.wait_gone(KIND, &scene.ours, "staff").await;
}

#[tokio::test]
async fn y5_y9_what_cannot_be_read_is_refused_with_what_would_be_right_and_the_api_server_refuses_none_of_it() {
    let scene = Scene::new().await;
    let tls = ", tls: {mode: StartTLS}";
    let cases = [
        ("scheme", "dc1.corp.example", "", "SpecInvalid", "spec.urls[0] \"dc1.corp.example\" begins with neither ldaps:// nor ldap://"),
        ("catalog", "ldaps://dc1.corp.example:3269", "", "SpecInvalid", "is a global catalog, which lacks attributes"),
        ("clear-catalog", "ldap://dc1.corp.example:3268", tls, "SpecInvalid", "read the domain itself, at port 636 or 389"),
        ("mode", "ldap://dc1.corp.example", "", "SpecInvalid", "write ldaps://, or set the mode to StartTLS"),
        ("user", "ldaps://sync:Planted-Secret-1@dc1.corp.example", "", "SpecInvalid", "has a user name in it"),
        (
            "filter",
            "ldaps://dc1",
            ", userFilter: '(&(mail=*)(cn=a)'",
            "SpecInvalid",
            "spec.userFilter is no LDAP filter (RFC 4515): a closing",
        ),
        ("domain", "ldaps://dc1", ", domains: [acme..example]", "DomainInvalid", "spec.domains: the domain \"acme..example\""),
        ("times", "ldaps://dc1", ", interval: 2h, fullInterval: 1h", "SpecInvalid", "spec.fullInterval is shorter than spec.interval"),
    ];
    let all: String = cases.iter().map(|(name, url, more, ..)| connection(name, url, more)).collect();
    scene.cluster.apply(&scene.ours, &all).await;
    for (name, _, _, reason, expected) in cases {
        let seen = scene.cluster.wait_reason(KIND, &scene.ours, name, reason).await;
        assert!(stalled(&seen) && message(&seen).contains(expected), "{seen:#}");
        assert!(!seen["status"].to_string().contains("Planted-Secret"), "{seen:#}");
    }
    // Mended, each goes on by itself.
    scene.cluster.apply(&scene.ours, &connection("scheme", "ldaps://dc1.corp.example", "")).await;
    let seen = scene.cluster.wait_reason(KIND, &scene.ours, "scheme", "SecretNotFound").await;
    assert!(reconciling(&seen) && message(&seen).contains("corp-ldap"), "{seen:#}");
    let told = scene.cluster.wait_event(&scene.ours, "catalog", "SpecInvalid").await;
    assert!(told.contains("global catalog"), "{told}");

    // Shape is the API server's.
    for (more, expected) in [
        (", interval: 5s", "must be between 1m and 24h"),
        (", changeDetection: Sometimes", "Unsupported value"),
        (", pageSize: 0", "should be greater than or equal to 1"),
    ] {
        let error = scene.cluster.try_apply(&scene.ours, &connection("shape", "ldaps://dc1", more)).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{more}: {error}");
    }
}

#[tokio::test]
async fn c6_c8_a_suspended_connection_is_frozen_and_notes_requests() {
    let scene = Scene::new().await;
    let corp = |suspend: bool| SECRET.to_owned() + &connection("corp", "ldaps://127.0.0.1:1", &format!(", suspend: {suspend}"));
    scene.cluster.apply(&scene.ours, &corp(true)).await;
    let seen = scene.cluster.wait_reason(KIND, &scene.ours, "corp", "Suspended").await;
    assert_eq!(condition(&seen, "Ready").unwrap()["status"], "False", "created suspended: {seen:#}");
    assert!(!stalled(&seen) && !reconciling(&seen), "{seen:#}");
    scene.cluster.annotate(KIND, &scene.ours, "corp", "mailroster.dev/requestedAt", "one").await;
    scene
        .cluster
        .wait_until(KIND, &scene.ours, "corp", "the request was noted", |seen| seen["status"]["lastHandled"]["requestedAt"] == "one")
        .await;
    let seen = scene.cluster.get(KIND, &scene.ours, "corp").await.unwrap();
    assert!(seen["status"]["lastRun"].is_null(), "a run began: {seen:#}");
    scene.cluster.apply(&scene.ours, &corp(false)).await;
    scene.cluster.wait_reason(KIND, &scene.ours, "corp", "DirectoryUnreachable").await;
}

#[tokio::test]
async fn y7_a_run_that_the_store_knows_of_is_shown_and_goes_with_its_connection() {
    let scene = Scene::new().await;
    // It ended just now: the next one is not due.
    let now = scene.database.text(r#"SELECT to_char(mailroster.now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"#).await;
    let state = r#"{"last_run": {"started_at": "NOW", "finished_at": "NOW", "server": "ldaps://dc1.corp.example",
        "mode": "Full", "complete": true, "read": 1204, "created": 3, "updated": 2, "unchanged": 1199, "missing": 40, "held": 40,
        "problem": null, "reports": []}, "last_complete": "NOW", "last_full": "NOW", "last_successful": "NOW",
        "generation": 1, "held_leavers": {"hash": "9f86d081884c7d65", "count": 40, "sample": ["Leave ann@acme.example"]}}"#
        .replace("NOW", &now);
    let sql = format!("INSERT INTO mailroster.connection (namespace, name, state) VALUES ('{}', 'corp', '{state}')", scene.ours);
    scene.database.execute(&sql).await;
    scene.cluster.apply(&scene.ours, &(SECRET.to_owned() + &connection("corp", "ldaps://dc1.corp.example", ", interval: 24h"))).await;
    let seen = scene.cluster.wait_ready(KIND, &scene.ours, "corp").await;
    assert!(message(&seen).contains("1204 entries read from ldaps://dc1.corp.example"), "{seen:#}");
    assert_eq!(seen["status"]["lastCompleteRun"], now);
    let held = condition(&seen, "DeletionsHeld").unwrap();
    assert_eq!((&held["status"], &held["reason"]), (&"True".into(), &"MassDeletion".into()), "{seen:#}");
    let said = held["message"].as_str().unwrap_or_default();
    let command =
        format!("kubectl -n {} annotate directoryconnection corp mailroster.dev/approve=9f86d081884c7d65 --overwrite", scene.ours);
    assert!(said.contains(&command), "{said}");
    let wide = scene.cluster.kubectl(&["get", "dconn", "corp", "-n", &scene.ours, "--no-headers", "-o", "wide"]).await.succeeded();
    let cells: Vec<_> = wide.split_whitespace().collect();
    assert_eq!(cells[..4], ["corp", "ldaps://dc1.corp.example", "True", "Succeeded"], "{wide}");
    assert_eq!(cells[5..9], ["1204", "40", "OpenLDAP", "Full"], "{wide}");

    // A typo in the spec takes nothing of it out of sight.
    scene.cluster.apply(&scene.ours, &connection("corp", "ldaps://dc1.corp.example", ", interval: 24h, userFilter: '(mail=*'")).await;
    let seen = scene.cluster.wait_reason(KIND, &scene.ours, "corp", "SpecInvalid").await;
    assert_eq!((&seen["status"]["lastRun"]["read"], &seen["status"]["heldPlan"]["count"]), (&1204.into(), &40.into()), "{seen:#}");

    scene.cluster.delete(KIND, &scene.ours, "corp").await;
    let left = "SELECT count(*)::text FROM mailroster.connection";
    crate::support::eventually(std::time::Duration::from_mins(1), "its row is gone", async || match scene.database.text(left).await {
        text if text == "0" => Ok(()),
        text => Err(text),
    })
    .await;
}
