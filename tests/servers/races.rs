//! Others write while a batch is under way: mail servers by their functions, people by hand. The overlap is made, not hoped for: a test
//! holds what the batch needs until it waits there (SPEC U2, C4; DESIGN 3).

use crate::support::{Database, Operator, eventually};
use crate::tenant::Tenant;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Transaction};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(1);

/// Every transaction that writes begins with this row: whoever holds it stops a batch between its reading and its writing.
const FENCE: &str = "SELECT FROM mailroster.installation FOR UPDATE";

/// A transaction that has done this and holds what it locked until it is committed.
async fn hold(database: &Database, sql: &str) -> Transaction<'static, Postgres> {
    let mut transaction = database.pool.begin().await.expect("begin");
    run(&mut transaction, sql).await;
    transaction
}

async fn run(connection: &mut PgConnection, sql: &str) {
    let executed = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await;
    executed.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Waits until a statement of the controller that begins like this waits for a lock.
async fn stuck(database: &Database, statement: &str) {
    let waits = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'mailroster%'
         AND wait_event_type = 'Lock' AND btrim(query, E' \\n') LIKE '{statement}%'"
    );
    eventually(PATIENCE, &format!("the batch waits in {statement}"), async || match database.text(&waits).await.as_str() {
        "0" => Err(database
            .text("SELECT string_agg(concat_ws(' ', wait_event, query), '; ') FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            .await),
        _ => Ok(()),
    })
    .await;
}

/// Batches so far. One that broke and was split would have said so.
async fn batches(operator: &Operator) -> f64 {
    let log = operator.log();
    for sign in ["a batch failed", "can't be brought into force", "can't be carried out"] {
        assert!(!log.contains(sign), "{}", operator.tail());
    }
    operator.metric("mailroster_batch_resources_count").await.unwrap_or_default()
}

const ADDRESSES: &str = "SELECT canonical FROM mailroster.address WHERE canonical NOT LIKE 'filler%'";

#[tokio::test]
async fn u2_mail_that_is_held_while_the_batch_purges_keeps_the_address() {
    let tenant = Tenant::with(
        "AccountSettings/default {purge: {delay: 10s, heldMailReports: NotRequired}}
         InternalDomain/acme {domain: acme.example}
         EmailAddress/leaver {address: leaver@acme.example, deletionPolicy: Purge}
         EmailAddress/sales {address: sales@acme.example}",
    )
    .await;
    tenant.fill("acme.example", 10).await;
    let Tenant { database, operator, .. } = &tenant;
    let report = async |messages: &str| database.execute(&format!("SELECT gateway.record_held_v1('mx1', $${messages}$$)")).await;
    let mail = r#"[{"id": "A", "since": "2026-01-01T08:00:00Z", "state": "held", "addresses": ["leaver@acme.example"]}]"#;
    let before = batches(operator).await;
    tenant.delete("EmailAddress/leaver").await;
    tenant.until("SELECT action FROM mailroster.waiting", &["Purge"]).await;

    // It is planned, and waits before its transaction: the deletion itself finds what came meanwhile.
    let holder = hold(database, FENCE).await;
    database.move_clock(11).await;
    stuck(database, "UPDATE mailroster.installation").await;
    report(mail).await;
    holder.commit().await.expect("commit");
    tenant.blockers("EmailAddress/leaver", &["HeldMail"]).await;
    assert_eq!(tenant.rows(ADDRESSES).await, ["leaver@acme.example", "sales@acme.example"]);

    // It waits in the middle of the deletion, which has looked already and found nothing.
    let holder = hold(database, "SELECT FROM mailroster.address WHERE canonical = 'leaver@acme.example' FOR KEY SHARE").await;
    report("[]").await;
    stuck(database, "WITH went AS").await;
    report(mail).await;
    holder.commit().await.expect("commit");
    tenant.reconcile("InternalDomain/acme", "after the race").await;
    tenant.blockers("EmailAddress/leaver", &["HeldMail"]).await;
    assert_eq!(tenant.rows(ADDRESSES).await, ["leaver@acme.example", "sales@acme.example"]);
    assert_eq!(tenant.rows("SELECT canonical FROM mailroster.tombstone").await, [""; 0]);

    report("[]").await;
    tenant.gone("EmailAddress/leaver").await;
    assert_eq!(tenant.rows(ADDRESSES).await, ["sales@acme.example"]);
    let batches = batches(operator).await - before;
    assert!(batches < 30.0, "{batches} batches");
}

#[tokio::test]
async fn u2_a_role_given_by_hand_while_the_batch_purges_is_met_and_taken_back_before_the_address_goes() {
    let tenant = Tenant::with(
        "AccountSettings/default {purge: {delay: 10s, heldMailReports: NotRequired}}
         InternalDomain/acme {domain: acme.example}
         EmailAddress/leaver {address: leaver@acme.example, deletionPolicy: Purge}
         EmailAddress/sales {address: sales@acme.example}
         AdminRole/help {builtIn: HelpDesk, members: [sales@acme.example]}",
    )
    .await;
    tenant.fill("acme.example", 10).await;
    let Tenant { database, operator, .. } = &tenant;
    let before = batches(operator).await;
    tenant.delete("EmailAddress/leaver").await;
    tenant.until("SELECT action FROM mailroster.waiting", &["Purge"]).await;
    let holder = hold(database, FENCE).await;
    database.move_clock(11).await;
    stuck(database, "UPDATE mailroster.installation").await;
    // R3. An edit by hand that is a declared row's ends again (C4), and the purge goes on.
    let member = "INSERT INTO mailroster.role_member (address_id, role_id, namespace)
                  SELECT a.id, o.id, o.namespace FROM mailroster.address a, mailroster.role o WHERE a.canonical = 'leaver@acme.example'";
    database.execute(member).await;
    holder.commit().await.expect("commit");
    tenant.gone("EmailAddress/leaver").await;
    assert_eq!(
        tenant.rows("SELECT a.canonical FROM mailroster.role_member m JOIN mailroster.address a ON a.id = m.address_id").await,
        ["sales@acme.example"]
    );
    let batches = batches(operator).await - before;
    assert!(batches < 30.0, "{batches} batches");
}

#[tokio::test]
async fn a_learned_sender_and_an_alias_link_make_one_address_whichever_is_first() {
    let tenant = Tenant::with(
        "InternalDomain/acme {domain: acme.example}
         EmailAddress/sales {address: sales@acme.example}",
    )
    .await;
    let Tenant { database, operator, .. } = &tenant;
    let before = batches(operator).await;
    let learn = async |name: &str| database.execute(&format!("SELECT gateway.record_sender_v1('{name}@acme.example')")).await;
    let link = async |name: &str| {
        tenant.apply(&format!("AliasLink/{name} {{alias: {name}@acme.example, primary: sales@acme.example}}")).await;
    };

    // The link is planned when the sender is heard of.
    let holder = hold(database, FENCE).await;
    link("orders").await;
    stuck(database, "UPDATE mailroster.installation").await;
    learn("orders").await;
    holder.commit().await.expect("commit");
    tenant.ready("AliasLink/orders").await;
    // The sender is planned when the link is declared.
    let holder = hold(database, FENCE).await;
    learn("shop").await;
    stuck(database, "UPDATE mailroster.installation").await;
    link("shop").await;
    holder.commit().await.expect("commit");
    tenant.ready("AliasLink/shop").await;

    tenant.until("SELECT key FROM mailroster.learned_sender", &[]).await;
    assert_eq!(
        tenant.rows("SELECT a.canonical, a.origin, l.made_row FROM mailroster.link l JOIN mailroster.address a ON a.id = l.alias_id").await,
        ["orders@acme.example,Manual,true", "shop@acme.example,MailFlow,false"]
    );
    assert_eq!(tenant.rows("SELECT alias FROM gateway.alias_v1").await, ["orders@acme.example", "shop@acme.example"]);
    let batches = batches(operator).await - before;
    assert!(batches < 30.0, "{batches} batches");
}

#[tokio::test]
async fn c4_a_hand_in_sql_amid_a_batch_is_seen_and_what_nobody_declares_keeps_its_value() {
    let tenant = Tenant::with(
        "InternalDomain/acme {domain: acme.example}
         EmailAddress/sales {address: sales@acme.example, displayName: Sales}",
    )
    .await;
    let Tenant { database, operator, .. } = &tenant;
    let before = batches(operator).await;
    let row = "SELECT display_name, disabled, pop FROM mailroster.address WHERE owner = 'sales'";

    // Declared: put right. Not declared: it stands, although the batch had read the row before.
    let holder = hold(database, FENCE).await;
    tenant.apply("EmailAddress/sales {address: sales@acme.example, displayName: Sales of Acme}").await;
    stuck(database, "UPDATE mailroster.installation").await;
    database
        .execute(
            "UPDATE mailroster.address SET display_name = 'By hand', disabled = true, pop = true WHERE canonical = 'sales@acme.example'",
        )
        .await;
    holder.commit().await.expect("commit");
    tenant.ready("EmailAddress/sales").await;
    tenant.condition("EmailAddress/sales", "Disabled", "True Declared").await;
    assert_eq!(tenant.rows(row).await, ["Sales of Acme,true,true"]);

    // The same address, made by hand while the batch is about to make it.
    let holder = hold(database, FENCE).await;
    tenant.apply("EmailAddress/info {address: info@acme.example, displayName: Info}").await;
    stuck(database, "UPDATE mailroster.installation").await;
    database
        .execute(
            "INSERT INTO mailroster.address (canonical, display, domain_id, namespace, origin, pop)
             SELECT 'info@acme.example', 'info@acme.example', id, namespace, 'Import', true FROM mailroster.domain",
        )
        .await;
    holder.commit().await.expect("commit");
    tenant.ready("EmailAddress/info").await;
    assert_eq!(
        tenant.rows("SELECT display_name, origin, pop FROM mailroster.address WHERE owner = 'info'").await,
        ["Info,Import,true"],
        "A5: it is adopted, not made"
    );

    // The row is gone when the batch would write it: it is made anew.
    let holder = hold(database, FENCE).await;
    tenant.apply("EmailAddress/info {address: info@acme.example, displayName: Information}").await;
    stuck(database, "UPDATE mailroster.installation").await;
    database.execute("DELETE FROM mailroster.address WHERE canonical = 'info@acme.example'").await;
    holder.commit().await.expect("commit");
    tenant.ready("EmailAddress/info").await;
    assert_eq!(tenant.rows("SELECT display_name, origin FROM mailroster.address WHERE owner = 'info'").await, ["Information,Manual"]);
    let batches = batches(operator).await - before;
    assert!(batches < 30.0, "{batches} batches");
}

/// A hand takes rows in another order than the batch, and Postgres ends the batch: it is planned once more, whole.
#[tokio::test]
async fn a_deadlock_with_a_hand_in_sql_costs_a_batch_one_more_try() {
    let mut tenant = Tenant::with(
        "InternalDomain/acme {domain: acme.example}
         EmailAddress/a {address: a@acme.example, displayName: A}
         EmailAddress/b {address: b@acme.example, displayName: B}",
    )
    .await;
    assert!(tenant.operator.terminate().await.success());
    let database = tenant.database.clone();
    // Whoever has waited that long looks whether it waits in a circle: the batch, not the hand.
    database.execute(&format!("ALTER DATABASE {} SET deadlock_timeout = '3s'", database.name)).await;
    let mut hand =
        hold(&database, "SET LOCAL deadlock_timeout = '10min'; UPDATE mailroster.address SET pop = true WHERE owner = 'b'").await;
    let declared =
        "EmailAddress/a {address: a@acme.example, displayName: A two}\nEmailAddress/b {address: b@acme.example, displayName: B two}";
    tenant.apply(declared).await;
    // Its first batch has all that is declared, and takes rows in the order of their addresses.
    tenant.operator = Operator::start_with(tenant.operator.settings()).await;
    stuck(&database, "SELECT a.id FROM unnest").await;
    run(&mut hand, "UPDATE mailroster.address SET pop = true WHERE owner = 'a'").await;
    hand.commit().await.expect("commit");
    tenant.ready("EmailAddress/a\nEmailAddress/b").await;
    assert_eq!(
        tenant.rows("SELECT display_name, pop FROM mailroster.address").await,
        ["A two,true", "B two,true"],
        "what the hand set stands"
    );
    assert!(batches(&tenant.operator).await < 30.0);
}
