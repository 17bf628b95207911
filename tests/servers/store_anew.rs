//! A store that is empty, or was made anew: whatever it does not know yet, no recipient is refused for it (SPEC V3), and it heals.

use crate::outage::{MailServer, tenant_through};
use crate::support::wait::PATIENCE;
use crate::support::{self, Database, Operator};
use crate::tenant::Tenant;

const DECLARED: &str = "InternalDomain/acme {domain: acme.example}
    EmailAddress/info {address: info@acme.example}
    EmailAddress/sales {address: sales@acme.example, displayName: Sales}
    AliasLink/link {alias: desk@acme.example, primary: info@acme.example}
    DelegateMailbox/pair {reader: info@acme.example, mailbox: sales@acme.example}";

const ROWS: &str = "SELECT (SELECT count(*) FROM mailroster.address WHERE owner IS NOT NULL), (SELECT count(*) FROM mailroster.link),
    (SELECT count(*) FROM mailroster.delegation)";

/// A tenant with a domain that is older than the hour in which strangers are deferred, and two mail servers that ask about a recipient
/// that is declared and one that is not.
async fn stage() -> (Tenant, MailServer, MailServer) {
    let database = support::fresh_database().await;
    let store = database.url.clone();
    let tenant = tenant_through(database, store).await;
    tenant.apply(DECLARED).await;
    tenant.ready(DECLARED).await;
    tenant.database.move_clock(7_200).await;
    tenant.until("SELECT left(gateway.recipient_action_v1('nobody@acme.example'), 3) AS action", &["550"]).await;
    let known = MailServer::asks(&tenant.database, "desk@acme.example");
    let unknown = MailServer::asks(&tenant.database, "nobody@acme.example");
    (tenant, known, unknown)
}

async fn drop_database(database: &Database) {
    support::postgres().await.execute(&format!("DROP DATABASE {} WITH (FORCE)", database.name)).await;
}

async fn create_database(database: &Database, template: &str) {
    support::postgres().await.execute(&format!("CREATE DATABASE {} TEMPLATE {template}", database.name)).await;
}

/// All that is declared is in the store again, and what mail servers were told from its loss on refused nobody.
async fn nobody_was_refused(tenant: &Tenant, known: MailServer, unknown: MailServer) {
    tenant.until(ROWS, &["2,1,1"]).await;
    tenant.until("SELECT answers FROM mailroster.answering", &["true"]).await;
    tenant.until("SELECT left(gateway.recipient_action_v1('nobody@acme.example'), 3) AS action", &["451"]).await;
    // Back in force, and young: strangers are deferred for an hour, then refused.
    tenant.database.move_clock(60).await;
    tenant.until("SELECT left(gateway.recipient_action_v1('nobody@acme.example'), 3) AS action", &["451"]).await;
    let (known, unknown) = (known.was_told().await, unknown.was_told().await);
    tenant.database.move_clock(3_600).await;
    tenant.until("SELECT left(gateway.recipient_action_v1('nobody@acme.example'), 3) AS action", &["550"]).await;
    assert!(known.contains(&"raises".to_owned()) && !known.iter().any(|told| matches!(told.as_str(), "550" | "451")), "{known:?}");
    assert_eq!(known.last().map(String::as_str), Some("accepted"), "{known:?}");
    let lost = unknown.iter().position(|told| told == "down" || told == "raises").expect("the store was lost");
    assert!(!unknown[lost..].contains(&"550".to_owned()), "{unknown:?}");
}

#[tokio::test]
async fn v3_a_database_made_anew_under_a_running_controller_is_filled_by_it_and_refuses_nobody() {
    let (tenant, known, unknown) = stage().await;
    let standing = tenant.standing().await;
    drop_database(&tenant.database).await;
    // While there is none it is as with a server that is away (C11).
    tenant.apply("EmailAddress/sales {address: sales@acme.example, displayName: Other}").await;
    tenant.reasons("EmailAddress/sales StoreUnavailable").await;
    assert_eq!(tenant.standing().await["AliasLink/link"], standing["AliasLink/link"]);

    create_database(&tenant.database, "base").await;
    tenant.ready("EmailAddress/sales {}").await;
    nobody_was_refused(&tenant, known, unknown).await;
    let now = tenant.standing().await;
    assert_eq!(
        ["AliasLink/link", "EmailAddress/info"].map(|name| &now[name]),
        ["AliasLink/link", "EmailAddress/info"].map(|name| &standing[name])
    );
    tenant.leads_as_before().await;
}

#[tokio::test]
async fn v3_a_database_without_a_schema_ends_the_controller_and_the_next_one_fills_it_and_refuses_nobody() {
    let (mut tenant, known, unknown) = stage().await;
    let standing = tenant.standing().await;
    drop_database(&tenant.database).await;
    create_database(&tenant.database, "template0").await;
    assert!(!tenant.operator.ended(PATIENCE).await.success());
    assert!(tenant.operator.log().contains("holds no roster"), "{}", tenant.operator.tail());
    assert_eq!(tenant.standing().await, standing);

    tenant.operator = Operator::start_with(tenant.operator.settings()).await;
    nobody_was_refused(&tenant, known, unknown).await;
}

#[tokio::test]
async fn v3_an_empty_store_at_a_start_refuses_nobody() {
    let (mut tenant, known, unknown) = stage().await;
    assert!(tenant.operator.terminate().await.success());
    drop_database(&tenant.database).await;
    create_database(&tenant.database, "base").await;
    tenant.operator = Operator::start_with(tenant.operator.settings()).await;
    nobody_was_refused(&tenant, known, unknown).await;
}
