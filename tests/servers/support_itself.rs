//! That the servers under the other tests are what those tests take them for.

use crate::support::{self, ControlPlane, Postgres, eventually, folder, tools};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn the_control_plane_answers() {
    let control_plane = support::control_plane().await;
    let namespace = support::fresh_namespace().await;
    let yaml =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {a: b}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: two}\n";
    assert_eq!(control_plane.apply(&namespace, yaml).await, ["one", "two"]);

    let seen = control_plane.kubectl(&["get", "configmap", "one", "-n", &namespace, "-o", "jsonpath={.data.a}"]).await.succeeded();
    assert_eq!(seen, "b");
    let patched = control_plane.annotate("ConfigMap", &namespace, "one", "mailroster.dev/requestedAt", "1").await;
    assert_eq!(patched["metadata"]["annotations"], json!({"mailroster.dev/requestedAt": "1"}));
    control_plane.delete("ConfigMap", &namespace, "one").await;
    control_plane.wait_gone("ConfigMap", &namespace, "one").await;
    let refused = control_plane.kubectl(&["get", "configmap", "one", "-n", &namespace]).await.refused();
    assert!(refused.contains("NotFound"), "{refused}");
}

#[tokio::test]
async fn a_service_account_has_its_own_rights_and_no_others() {
    let control_plane = support::control_plane().await;
    let namespace = support::fresh_namespace().await;
    control_plane.apply(&namespace, "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: one}\n").await;
    let account = control_plane.as_service_account(&namespace, "one").await;
    let refused = account.kubectl(&["get", "secrets", "-n", &namespace]).await.refused();
    assert!(refused.contains("Forbidden") && refused.contains(&format!("system:serviceaccount:{namespace}:one")), "{refused}");
}

/// kube-controller-manager is there and at work: without it tests of namespace deletion would wait for ever.
#[tokio::test]
async fn a_deleted_namespace_goes() {
    let control_plane = support::control_plane().await;
    if !control_plane.collects_garbage().await {
        return; // KUBEBUILDER_ASSETS from setup-envtest
    }
    let namespace = support::fresh_namespace().await;
    control_plane.delete("Namespace", "", &namespace).await;
    control_plane.wait_gone("Namespace", "", &namespace).await;
}

#[tokio::test]
async fn a_database_is_migrated_and_fresh() {
    let (one, two) = tokio::join!(support::fresh_database(), support::fresh_database());
    assert_ne!(one.name, two.name);
    one.execute("UPDATE mailroster.installation SET id = 'mine'").await;
    assert_eq!(one.text("SELECT id FROM mailroster.installation").await, "mine");
    assert_eq!(two.text("SELECT id FROM mailroster.installation").await, "");
    // SPEC 14: `check store` refuses a database where this is not so.
    assert_eq!(one.text("SELECT lower('Ü')").await, "ü");
}

#[tokio::test]
async fn a_moved_clock_moves_now_for_every_role() {
    let database = support::fresh_database().await;
    let grant = "GRANT USAGE ON SCHEMA mailroster TO {0}_reader; GRANT EXECUTE ON FUNCTION mailroster.now() TO {0}_reader";
    database.execute(&format!("CREATE ROLE {0}_reader; {grant}", database.name).replace("{0}", &database.name)).await;
    let reader = database.as_role(&format!("{}_reader", database.name));
    let mut listener = sqlx::postgres::PgListener::connect(&database.url).await.unwrap();
    listener.listen("mailroster_change").await.unwrap();

    database.move_clock(3600).await;
    database.move_clock(1800).await;
    let ahead: f64 = sqlx::query_scalar("SELECT extract(epoch FROM mailroster.now() - now())::float8").fetch_one(&reader).await.unwrap();
    assert!((ahead - 5400.0).abs() < 1.0, "{ahead}");
    tokio::time::timeout(Duration::from_secs(10), listener.recv()).await.unwrap().unwrap();
    let denied = sqlx::query("SELECT FROM mailroster.address").fetch_all(&reader).await.unwrap_err().to_string();
    assert!(denied.contains("permission denied"), "{denied}");
}

/// Tests of failures start their own servers: nobody else's test may see an API server die.
#[tokio::test]
async fn a_killed_api_server_comes_back_with_its_data() {
    let control_plane = ControlPlane::start(&folder::own("killed"), &tools::kubernetes()).await;
    let namespace = control_plane.fresh_namespace().await;
    control_plane.kill_api_server().await;
    let refused = control_plane.kubectl(&["get", "namespace", &namespace]).await.refused();
    assert!(refused.contains("refused"), "{refused}");
    control_plane.start_api_server().await;
    assert!(control_plane.get("Namespace", "", &namespace).await.is_some());

    control_plane.freeze_api_server().await;
    let frozen = control_plane.kubectl(&["get", "namespace", &namespace, "--request-timeout=500ms"]).await.refused();
    assert!(!frozen.is_empty());
    control_plane.thaw_api_server().await;
    control_plane.stop_api_server().await;
}

#[tokio::test]
async fn a_killed_postgres_comes_back_with_its_data() {
    let postgres = Postgres::start(&folder::own("killed-pg")).await;
    let database = postgres.fresh_database().await;
    database.execute("UPDATE mailroster.installation SET id = 'mine'").await;
    postgres.kill().await;
    assert!(sqlx::query("SELECT 1").execute(&database.pool).await.is_err());
    postgres.start_again().await;
    assert_eq!(database.text("SELECT id FROM mailroster.installation").await, "mine");
}

#[tokio::test]
#[should_panic(expected = "the moon is full; last seen: \"half\"")]
async fn a_wait_in_vain_tells_what_it_saw() {
    eventually(Duration::from_millis(50), "the moon is full", async || Err::<(), _>("half")).await;
}
