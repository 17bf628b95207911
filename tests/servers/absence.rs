//! What went out of sight and nobody saw end (SPEC U6), and what must not follow from it (U4, A8).

use std::time::Duration;

use crate::scene::{Scene, resource};
use crate::support::operator::Settings;
use crate::support::resources::condition;
use crate::support::wait::PATIENCE;
use crate::support::{self, ControlPlane, Database, Operator, eventually, folder, tools};
use serde_json::json;

const DAY: i64 = 86_400;

/// The logons, links, rights and roles of a store, and who owns them.
const HELD: &str = "
    SELECT concat_ws(' | ',
        (SELECT string_agg(concat_ws(' ', canonical, owner, shut), ', ' ORDER BY canonical) FROM mailroster.address),
        (SELECT string_agg(concat_ws(' ', a.canonical, l.owner), ', ' ORDER BY a.canonical) FROM mailroster.link l JOIN mailroster.address a ON a.id = l.alias_id),
        (SELECT string_agg(concat_ws(' ', a.canonical, g.owner), ', ' ORDER BY a.canonical) FROM mailroster.delegation g JOIN mailroster.address a ON a.id = g.reader_id),
        (SELECT string_agg(concat_ws(' ', a.canonical, o.name), ', ' ORDER BY a.canonical) FROM mailroster.role_member m
            JOIN mailroster.address a ON a.id = m.address_id JOIN mailroster.role o ON o.id = m.role_id))";

/// A tenant with one of each right, and addresses enough that the guard lets two ends pass.
fn tenant() -> Vec<String> {
    let mut all = vec![resource("AccountSettings", "default", "{}"), resource("InternalDomain", "acme", "{domain: acme.example}")];
    for name in ["info", "ann", "bob", "cat", "dan", "eve"] {
        all.push(resource("EmailAddress", name, &format!("{{address: {name}@acme.example}}")));
    }
    all.push(resource("AliasLink", "desk", "{alias: desk@acme.example, primary: info@acme.example}"));
    all.push(resource("DelegateMailbox", "ann-reads-info", "{reader: ann@acme.example, mailbox: info@acme.example}"));
    all.push(resource("AdminRole", "desk", "{builtIn: HelpDesk, members: [bob@acme.example]}"));
    all
}

const RIGHTS: [(&str, &str); 3] = [("AliasLink", "desk"), ("DelegateMailbox", "ann-reads-info"), ("AdminRole", "desk")];

async fn in_force(cluster: &ControlPlane, namespace: &str) {
    for (kind, name) in [("EmailAddress", "info"), ("EmailAddress", "eve")].into_iter().chain(RIGHTS) {
        cluster.wait_ready(kind, namespace, name).await;
    }
}

async fn wait_text(database: &Database, sql: &str, expected: &str) {
    eventually(PATIENCE, &format!("{sql} is {expected:?}"), async || match database.text(sql).await {
        text if text == expected => Ok(()),
        text => Err(text),
    })
    .await;
}

/// Moves the clock by a day in steps, with something planned after each, so that what ripens has every occasion.
async fn a_day_passes(scene: &Scene) {
    for _ in 0..4 {
        scene.database.move_clock(DAY / 4 + 30).await;
        scene.something_else_happens().await;
    }
}

#[tokio::test]
async fn u6_a_finalizer_torn_off_ends_nothing_for_a_day_and_then_the_right() {
    let scene = Scene::new().await;
    scene.cluster.apply(&scene.ours, &tenant().concat()).await;
    in_force(scene.cluster, &scene.ours).await;
    let before = scene.database.text(HELD).await;
    for (kind, name) in RIGHTS {
        // What a person does to a resource that "hangs": one request takes the finalizer off a frozen deletion.
        scene.operator.freeze();
        scene.cluster.delete(kind, &scene.ours, name).await;
        scene.cluster.patch(kind, &scene.ours, name, &json!({"metadata": {"finalizers": []}})).await;
        scene.operator.thaw();
        scene.cluster.wait_gone(kind, &scene.ours, name).await;
    }
    wait_text(&scene.database, "SELECT count(*) FROM mailroster.absence", "3").await;
    scene.database.move_clock(DAY - 600).await;
    scene.something_else_happens().await;
    assert_eq!(scene.database.text(HELD).await, before, "nothing follows within a day");
    // One of them is declared again by another resource: it keeps what it had.
    let other = resource("DelegateMailbox", "other", "{reader: ann@acme.example, mailbox: info@acme.example}");
    scene.cluster.apply(&scene.ours, &other).await;
    scene.cluster.wait_ready("DelegateMailbox", &scene.ours, "other").await;
    scene.database.move_clock(700).await;
    wait_text(&scene.database, "SELECT count(*) FROM mailroster.role_member", "0").await;
    // A link goes through its domain's quiet time besides (U4).
    wait_text(&scene.database, "SELECT count(*) FROM mailroster.waiting WHERE action = 'Unlink'", "1").await;
    scene.database.move_clock(11).await;
    wait_text(&scene.database, "SELECT count(*) FROM mailroster.link", "0").await;
    assert_eq!(scene.database.text("SELECT owner FROM mailroster.delegation").await, "other");
}

#[tokio::test]
async fn u6_what_was_deleted_in_order_is_not_missed_and_takes_nothing_of_a_days_share() {
    let scene = Scene::new().await;
    scene.cluster.apply(&scene.ours, &tenant().concat()).await;
    in_force(scene.cluster, &scene.ours).await;
    for (kind, name) in RIGHTS {
        scene.cluster.delete(kind, &scene.ours, name).await;
    }
    // A link goes through its domain's quiet time first (U4).
    wait_text(&scene.database, "SELECT count(*) FROM mailroster.waiting WHERE action = 'Unlink'", "1").await;
    scene.database.move_clock(11).await;
    for (kind, name) in RIGHTS {
        scene.cluster.wait_gone(kind, &scene.ours, name).await;
    }
    scene.something_else_happens().await;
    assert_eq!(scene.database.text("SELECT count(*) FROM mailroster.absence").await, "0");
}

#[tokio::test]
async fn u6_what_was_deleted_while_the_controller_was_down_is_given_a_day_and_what_comes_back_by_then_lost_nothing() {
    let mut scene = Scene::new().await;
    scene.cluster.apply(&scene.ours, &tenant().concat()).await;
    in_force(scene.cluster, &scene.ours).await;
    let before = scene.database.text(HELD).await;
    assert!(scene.operator.terminate().await.success());
    let mut gone = vec![("EmailAddress", "info"), ("EmailAddress", "cat"), ("AccountSettings", "default")];
    gone.extend(RIGHTS);
    for (kind, name) in &gone {
        scene.cluster.patch(kind, &scene.ours, name, &json!({"metadata": {"finalizers": []}})).await;
        scene.cluster.delete(kind, &scene.ours, name).await;
    }
    scene.operator = Operator::start_with(scene.operator.settings()).await;
    wait_text(&scene.database, "SELECT count(*) FROM mailroster.absence", "6").await;
    assert_eq!(scene.operator.metric("mailroster_missing_resources{kind=\"AliasLink\"}").await, Some(1.0));
    scene.database.move_clock(DAY / 2).await;
    scene.something_else_happens().await;
    // A restart forgets nothing of the half day.
    scene.operator.kill9();
    scene.operator = Operator::start_with(scene.operator.settings()).await;
    wait_text(&scene.database, "SELECT count(*) FROM mailroster.absence", "6").await;
    scene.database.move_clock(DAY / 2 - 600).await;
    scene.something_else_happens().await;
    assert_eq!(scene.database.text(HELD).await, before, "nothing follows within a day");
    // All but one address and the settings come back.
    let back: String = tenant().into_iter().filter(|yaml| !yaml.contains("name: cat}") && !yaml.contains("AccountSettings")).collect();
    scene.cluster.apply(&scene.ours, &back).await;
    in_force(scene.cluster, &scene.ours).await;
    wait_text(&scene.database, "SELECT count(*) FROM mailroster.absence", "2").await;
    assert_eq!(scene.database.text(HELD).await, before);
    scene.database.move_clock(700).await;
    wait_text(&scene.database, "SELECT count(*) FROM mailroster.settings", "0").await;
    wait_text(&scene.database, "SELECT count(*) FROM mailroster.waiting WHERE action = 'Shut'", "1").await;
    scene.database.move_clock(11).await;
    wait_text(&scene.database, "SELECT shut FROM mailroster.address WHERE canonical = 'cat@acme.example'", "true").await;
    a_day_passes(&scene).await;
    assert_eq!(scene.database.text(HELD).await, before.replace("cat@acme.example cat f", "cat@acme.example t"));
}

#[tokio::test]
async fn u6_what_is_beyond_a_days_share_is_held_on_account_settings_until_approved() {
    let mut scene = Scene::new().await;
    let delegations =
        |n: usize| resource("DelegateMailbox", &format!("d{n}"), &format!("{{reader: r{n}@acme.example, mailbox: info@acme.example}}"));
    let readers = (0..6).map(|n| resource("EmailAddress", &format!("r{n}"), &format!("{{address: r{n}@acme.example}}")));
    let yaml: String = tenant().into_iter().chain(readers).chain((0..6).map(delegations)).collect();
    scene.cluster.apply(&scene.ours, &yaml).await;
    for n in 0..6 {
        scene.cluster.wait_ready("DelegateMailbox", &scene.ours, &format!("d{n}")).await;
    }
    assert!(scene.operator.terminate().await.success());
    for n in 0..5 {
        let name = format!("d{n}");
        scene.cluster.patch("DelegateMailbox", &scene.ours, &name, &json!({"metadata": {"finalizers": []}})).await;
        scene.cluster.delete("DelegateMailbox", &scene.ours, &name).await;
    }
    scene.operator = Operator::start_with(scene.operator.settings()).await;
    wait_text(&scene.database, "SELECT count(*) FROM mailroster.absence", "5").await;
    scene.database.move_clock(DAY + 1).await;
    // Of seven delegations two may go in a day.
    wait_text(&scene.database, "SELECT count(*) FROM mailroster.delegation", "5").await;
    let settings = scene
        .cluster
        .wait_until("AccountSettings", &scene.ours, "default", "a held plan", |found| found["status"]["heldPlan"]["count"] == 3)
        .await;
    let held = condition(&settings, "DeletionsHeld").unwrap();
    let hash = settings["status"]["heldPlan"]["hash"].as_str().unwrap().to_owned();
    assert!(held["status"] == "True" && held["message"].as_str().unwrap().contains(&hash), "{held:#}");
    a_day_passes(&scene).await;
    assert_eq!(scene.database.text("SELECT count(*) FROM mailroster.delegation").await, "5");
    scene.cluster.annotate("AccountSettings", &scene.ours, "default", "mailroster.dev/approve", &hash).await;
    wait_text(&scene.database, "SELECT count(*) FROM mailroster.delegation", "2").await;
    let told =
        |found: &serde_json::Value| found["status"]["lastHandled"]["approve"] == hash.as_str() && found["status"]["heldPlan"].is_null();
    scene.cluster.wait_until("AccountSettings", &scene.ours, "default", "the plan is released", told).await;
}

/// On a control plane of its own, whose definitions it deletes.
#[tokio::test]
async fn u4_u6_a_definition_deleted_and_made_again_ends_nothing() {
    let cluster = ControlPlane::start(&folder::own("definitions"), &tools::kubernetes()).await;
    cluster.install_custom_resources().await;
    let (database, namespace) = (support::fresh_database().await, cluster.fresh_namespace().await);
    let mut operator = Operator::start_with(Settings::new(&cluster, &database, &[&namespace]).await).await;
    cluster.apply(&namespace, &tenant().concat()).await;
    in_force(&cluster, &namespace).await;
    let rows = "SELECT concat_ws(' ', (SELECT count(*) FROM mailroster.address WHERE NOT shut), (SELECT count(*) FROM mailroster.link),
        (SELECT count(*) FROM mailroster.delegation), (SELECT count(*) FROM mailroster.role_member))";
    assert_eq!(database.text(rows).await, "7 1 1 1");
    // The store is away for a while, so that the ends are looked at only when the definitions are there again.
    operator.freeze();
    for plural in ["emailaddresses", "delegatemailboxes"] {
        cluster.delete("CustomResourceDefinition", "", &format!("{plural}.mailroster.dev")).await;
    }
    operator.thaw();
    for plural in ["emailaddresses", "delegatemailboxes"] {
        cluster.wait_gone("CustomResourceDefinition", "", &format!("{plural}.mailroster.dev")).await;
    }
    cluster.install_custom_resources().await;
    for _ in 0..3 {
        database.move_clock(DAY / 2).await;
        let name = format!("else-{}", database.text("SELECT count(*) FROM mailroster.domain").await);
        cluster.apply(&namespace, &resource("InternalDomain", &name, &format!("{{domain: {name}.example}}"))).await;
        cluster.wait_ready("InternalDomain", &namespace, &name).await;
    }
    assert_eq!(database.text(rows).await, "7 1 1 1");
    assert_eq!(database.text("SELECT count(*) FROM mailroster.waiting").await, "0");
    cluster.apply(&namespace, &tenant().concat()).await;
    in_force(&cluster, &namespace).await;
    wait_text(&database, "SELECT count(*) FROM mailroster.address WHERE owner IS NULL AND NOT is_alias", "0").await;
    assert!(operator.terminate().await.success());
}

/// A restore into a new cluster: the same store, other uids, one resource after the other.
#[tokio::test]
async fn u6_a8_a_slow_restore_into_a_new_cluster_takes_everything_back() {
    let old = support::control_plane().await;
    let (database, namespace) = (support::fresh_database().await, old.fresh_namespace().await);
    let mut operator = Operator::start(&database, &[&namespace]).await;
    old.apply(&namespace, &tenant().concat()).await;
    in_force(old, &namespace).await;
    let before = database.text(HELD).await;
    let uid = database.text("SELECT uid FROM mailroster.namespace").await;
    assert!(operator.terminate().await.success());

    let new = ControlPlane::start(&folder::own("restored"), &tools::kubernetes()).await;
    new.install_custom_resources().await;
    new.create_namespace(&namespace).await;
    let mut settings = Settings::new(&new, &database, &[&namespace]).await;
    settings.arguments.push("--take-over-store".to_owned());
    let operator = Operator::start_with(settings).await;
    // The settings, the address that is read, the domain and the link come last.
    let mut yaml = tenant();
    yaml.rotate_left(4);
    wait_text(&database, "SELECT count(*) FROM mailroster.absence", "11").await;
    assert_ne!(database.text("SELECT uid FROM mailroster.namespace").await, uid);
    for document in yaml {
        new.apply(&namespace, &document).await;
        database.move_clock(DAY / 24).await;
    }
    in_force(&new, &namespace).await;
    wait_text(&database, "SELECT count(*) FROM mailroster.absence", "0").await;
    assert_eq!(database.text(HELD).await, before);
    for _ in 0..3 {
        database.move_clock(DAY / 2).await;
        wait_text(&database, "SELECT count(*) FROM mailroster.change", "0").await;
    }
    assert_eq!(database.text(HELD).await, before);
    assert_eq!(database.text("SELECT count(*) FROM mailroster.tombstone").await, "0");
    eventually(Duration::from_secs(30), "mail servers are answered", async || {
        let asked = sqlx::query_scalar::<_, Option<String>>("SELECT gateway.recipient_action_v1('info@acme.example')");
        asked.fetch_one(&database.as_role("mailroster_mta")).await.map_err(|error| error.to_string())
    })
    .await;
    drop(operator);
}
