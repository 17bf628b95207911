//! Faults of others and of our own: what must go on, and what must not happen (SPEC C11, U4, V3; DESIGN 3 to 5). Who may write is in
//! `leaders.rs`, the API server in trouble in `api_faults.rs`.

use crate::scene::{Scene, message, reconciling, resource, stalled};
use crate::support::operator::Settings;
use crate::support::resources::condition;
use crate::support::{self, Cluster, ControlPlane, Database, Operator, eventually, folder, tools};
use serde_json::{Value, json};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(1);

async fn wait_text(database: &Database, sql: &str, expected: &str) {
    eventually(PATIENCE, &format!("{sql} is {expected:?}"), async || match database.text(sql).await {
        text if text == expected => Ok(()),
        text => Err(text),
    })
    .await;
}

fn version(resource: &Value) -> &Value {
    &resource["metadata"]["resourceVersion"]
}

/// Changes the schema of a field of EmailAddress, as another version of ours would have it.
async fn change_schema(cluster: &Cluster, field: &str, schema: Value) {
    let mut crd = cluster.get("CustomResourceDefinition", "", "emailaddresses.mailroster.dev").await.expect("the definition");
    let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["properties"][field] = schema;
    let versions = json!({"spec": {"versions": crd["spec"]["versions"]}});
    cluster.patch("CustomResourceDefinition", "", "emailaddresses.mailroster.dev", &versions).await;
}

/// SPEC V3, and the shape of another version: on a control plane of its own, whose definitions it changes.
#[tokio::test]
async fn v3_mail_servers_wait_for_the_first_complete_plan_and_an_unreadable_resource_stops_nobody() {
    let cluster = ControlPlane::start(&folder::own("other-version"), &tools::kubernetes()).await;
    cluster.install_custom_resources().await;
    cluster.delete("CustomResourceDefinition", "", "aliaslinks.mailroster.dev").await;
    cluster.wait_gone("CustomResourceDefinition", "", "aliaslinks.mailroster.dev").await;
    let (database, namespace) = (support::fresh_database().await, cluster.fresh_namespace().await);
    let operator = Operator::start_with(Settings::new(&cluster, &database, &[&namespace]).await).await;
    let yaml = resource("InternalDomain", "acme", "{domain: acme.example}")
        + &resource("EmailAddress", "info", "{address: info@acme.example, disabled: true, displayName: Info}");
    cluster.apply(&namespace, &yaml).await;
    operator.says("a watch failed").await;

    // One kind is not served: nothing is complete, so nothing is refused.
    let mta = database.as_role("mailroster_mta");
    let views = ["domain_v1", "recipient_v1", "alias_v1", "sender_v1", "mailbox_v1"];
    for view in views {
        let error = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT FROM gateway.{view}"))).fetch_all(&mta).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "55000", "{view}: {error}");
    }
    let action = "SELECT gateway.recipient_action_v1('nobody@acme.example')";
    assert!(sqlx::query(action).fetch_all(&mta).await.is_err());
    sqlx::query("SELECT gateway.record_sender_v1('new@acme.example')").execute(&mta).await.expect("recording goes on");
    cluster.install_custom_resources().await;
    cluster.wait_ready("EmailAddress", &namespace, "info").await;
    eventually(PATIENCE, "every view answers", async || {
        for view in views {
            sqlx::query(sqlx::AssertSqlSafe(format!("SELECT FROM gateway.{view}"))).fetch_all(&mta).await.map_err(|e| e.to_string())?;
        }
        sqlx::query(action).fetch_all(&mta).await.map_err(|error| error.to_string())
    })
    .await;

    // Another version may store what this one can't decode.
    change_schema(&cluster, "disabled", json!({"x-kubernetes-preserve-unknown-fields": true})).await;
    let row = "SELECT (to_jsonb(a))::text FROM mailroster.address a WHERE canonical = 'info@acme.example'";
    let before = database.text(row).await;
    let strange = resource("EmailAddress", "info", "{address: info@acme.example, disabled: {from: noon}, displayName: Other}")
        + &resource("EmailAddress", "new", "{address: strange@acme.example, disabled: [1]}");
    eventually(PATIENCE, "the changed definition is served", async || cluster.try_apply(&namespace, &strange).await).await;
    for name in ["info", "new"] {
        let seen = cluster.wait_reason("EmailAddress", &namespace, name, "SpecUnreadable").await;
        assert!(stalled(&seen) && message(&seen).contains(env!("CARGO_PKG_VERSION")), "{seen:#}");
    }
    let unreadable = cluster.get("EmailAddress", &namespace, "info").await.unwrap();
    cluster.apply(&namespace, &resource("EmailAddress", "sales", "{address: sales@acme.example}")).await;
    cluster.wait_ready("EmailAddress", &namespace, "sales").await;
    database.move_clock(90_000).await;
    cluster.apply(&namespace, &resource("EmailAddress", "more", "{address: more@acme.example}")).await;
    cluster.wait_ready("EmailAddress", &namespace, "more").await;
    assert_eq!(database.text(row).await, before, "what it had in force stands");
    let told = cluster.get("EmailAddress", &namespace, "info").await.unwrap();
    assert_eq!(version(&told), version(&unreadable), "C3: it is told once");
    assert_eq!(operator.metric("mailroster_status_repeats_total").await, None);

    // In a shape that decodes it goes on.
    cluster.apply(&namespace, &resource("EmailAddress", "info", "{address: info@acme.example, disabled: false}")).await;
    cluster.wait_ready("EmailAddress", &namespace, "info").await;
    assert_eq!(database.text("SELECT disabled FROM mailroster.address WHERE owner = 'info'").await, "false");
}

/// The product panics to order in debug builds only.
#[cfg(debug_assertions)]
#[tokio::test]
async fn c1_a_panic_over_one_resource_harms_no_other() {
    let cluster = support::control_plane().await;
    let (database, namespace) = (support::fresh_database().await, cluster.fresh_namespace().await);
    let mut settings = Settings::new(cluster, &database, &[&namespace]).await;
    settings.environment.push(("MAILROSTER_TEST_PANIC".to_owned(), "struck@acme.example".to_owned()));
    let mut yaml = resource("InternalDomain", "acme", "{domain: acme.example}");
    for n in 1..=20 {
        yaml.push_str(&resource("EmailAddress", &format!("a{n}"), &format!("{{address: a{n}@acme.example}}")));
    }
    yaml.push_str(&resource("EmailAddress", "struck", "{address: struck@acme.example}"));
    yaml.push_str(&resource("AliasLink", "link", "{alias: b1@acme.example, primary: a1@acme.example}"));
    cluster.apply(&namespace, &yaml).await;
    let mut operator = Operator::start_with(settings.clone()).await;
    for n in 1..=20 {
        cluster.wait_ready("EmailAddress", &namespace, &format!("a{n}")).await;
    }
    cluster.wait_ready("AliasLink", &namespace, "link").await;
    let struck = cluster.wait_reason("EmailAddress", &namespace, "struck", "InternalError").await;
    assert!(reconciling(&struck), "{struck:#}");
    assert_eq!(condition(&struck, "Locked").unwrap()["reason"], "InternalError");
    assert!(operator.log().contains("the resource can't be brought into force"), "{}", operator.tail());
    // It goes on, and mail servers are answered.
    cluster.apply(&namespace, &resource("EmailAddress", "later", "{address: later@acme.example}")).await;
    cluster.wait_ready("EmailAddress", &namespace, "later").await;
    wait_text(&database, "SELECT answers_since IS NOT NULL FROM mailroster.installation", "true").await;
    assert_eq!(operator.get("/livez").await.0, 200);

    // A version without the fault heals it.
    assert!(operator.terminate().await.success());
    settings.environment.clear();
    let _mended = Operator::start_with(settings).await;
    cluster.wait_ready("EmailAddress", &namespace, "struck").await;
}

#[tokio::test]
async fn u4_a_deleted_namespace_leaves_its_rows_undeclared_and_purges_revokes_and_shuts_nothing() {
    let scene = Scene::with_domain("acme.example").await;
    if !scene.cluster.collects_garbage().await {
        return; // KUBEBUILDER_ASSETS from setup-envtest
    }
    scene.addresses(&[("info", "info@acme.example"), ("reader", "reader@acme.example")]).await;
    let yaml = [
        resource("AccountSettings", "default", "{purge: {delay: 1m, heldMailReports: NotRequired}}"),
        resource("EmailAddress", "purge", "{address: purge@acme.example, deletionPolicy: Purge}"),
        resource("InternalDomain", "gone", "{domain: globex.example, deletionPolicy: Delete}"),
        resource("AliasLink", "link", "{alias: desk@acme.example, primary: info@acme.example}"),
        resource("DelegateMailbox", "pair", "{reader: reader@acme.example, mailbox: info@acme.example}"),
        resource("AdminRole", "desk", "{builtIn: HelpDesk, members: [reader@acme.example]}"),
    ];
    scene.cluster.apply(&scene.ours, &yaml.concat()).await;
    for (kind, name) in [
        ("EmailAddress", "purge"),
        ("InternalDomain", "gone"),
        ("AliasLink", "link"),
        ("DelegateMailbox", "pair"),
        ("AdminRole", "desk"),
        ("AccountSettings", "default"),
    ] {
        scene.cluster.wait_ready(kind, &scene.ours, name).await;
    }
    let rows = "SELECT concat_ws(' ', (SELECT string_agg(canonical || shut || closing, ',' ORDER BY id) FROM mailroster.address),
        (SELECT string_agg(name, ',' ORDER BY id) FROM mailroster.domain WHERE namespace = '{ns}'), (SELECT count(*) FROM mailroster.link),
        (SELECT count(*) FROM mailroster.delegation), (SELECT count(*) FROM mailroster.role_member))"
        .replace("{ns}", &scene.ours);
    let before = scene.database.text(&rows).await;

    scene.cluster.delete("Namespace", "", &scene.ours).await;
    scene.cluster.wait_gone("Namespace", "", &scene.ours).await;
    let owned = "SELECT (SELECT count(owner) FROM mailroster.address) + (SELECT count(owner) FROM mailroster.link) + (SELECT count(owner) FROM mailroster.delegation)";
    wait_text(&scene.database, owned, "0").await;
    for _ in 0..3 {
        scene.database.move_clock(40_000).await;
        scene.something_else_happens().await;
    }
    assert_eq!(scene.database.text(&rows).await, before);
    assert_eq!(scene.database.text("SELECT count(*) FROM mailroster.waiting").await, "0");
}
