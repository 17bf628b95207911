//! Postgres has no room: no connection to give, no disk to write to, a row that somebody keeps (SPEC C11).

use crate::outage::{sqlstate, tenant_on_server};
use crate::support::wait::PATIENCE;
use crate::support::{Database, Postgres, eventually, folder};
use crate::tenant::Tenant;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

const ACME: &str = "InternalDomain/acme {domain: acme.example}
    EmailAddress/info {address: info@acme.example}
    EmailAddress/sales {address: sales@acme.example, displayName: Sales}";
const CHANGED: &str = "EmailAddress/sales {address: sales@acme.example, displayName: Other}";

/// The changed resource waits for the store; the one in force stands as it stood, and the controller leads on.
async fn only_what_changed_waits(tenant: &Tenant) {
    let before = tenant.standing().await;
    tenant.apply(CHANGED).await;
    tenant.reasons("EmailAddress/sales StoreUnavailable").await;
    assert_eq!(tenant.standing().await["EmailAddress/info"], before["EmailAddress/info"]);
    tenant.leads_as_before().await;
}

async fn it_heals(tenant: &Tenant) {
    tenant.ready(CHANGED).await;
    tenant.until("SELECT display_name FROM mailroster.address WHERE owner = 'sales'", &["Other"]).await;
    tenant.nothing_was_done_twice().await;
    tenant.leads_as_before().await;
    assert!(!tenant.operator.log().contains("can't be brought into force"), "{}", tenant.operator.tail());
}

const LEADERS: &str = "FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'mailroster leader %'";

/// Takes every connection that the server has, those of the controller too.
async fn take_every_connection(database: &Database) -> Vec<PgConnection> {
    let mut taken = vec![PgConnection::connect(&database.url).await.expect("a connection")];
    eventually(PATIENCE, "all connections are taken", async || {
        let terminate = format!("SELECT pg_terminate_backend(pid) {LEADERS}");
        taken[0].execute(AssertSqlSafe(terminate)).await.map_err(|error| error.to_string())?;
        loop {
            match PgConnection::connect(&database.url).await {
                Ok(more) => taken.push(more),
                Err(error) if sqlstate(&error) == "53300" => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        let theirs: i64 =
            sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) {LEADERS}"))).fetch_one(&mut taken[0]).await.expect("a count");
        if theirs == 0 { Ok(()) } else { Err(format!("the controller has {theirs}")) }
    })
    .await;
    taken
}

#[tokio::test]
async fn c11_without_a_connection_to_be_had_only_what_changed_waits_and_it_heals() {
    let postgres = Postgres::start_with(&folder::own("no-connection"), &["max_connections=24"]).await;
    let tenant = tenant_on_server(&postgres).await;
    tenant.apply(ACME).await;
    tenant.ready(ACME).await;
    tenant.database.pool.close().await;
    let taken = take_every_connection(&tenant.database).await;
    only_what_changed_waits(&tenant).await;
    drop(taken);
    let tenant = Tenant { database: tenant.database.again(), ..tenant };
    it_heals(&tenant).await;
}

#[tokio::test]
async fn c11_on_a_full_disk_only_what_changed_waits_and_it_heals() {
    let postgres = Postgres::start_with_small_disk(&folder::own("full")).await;
    let tenant = tenant_on_server(&postgres).await;
    tenant.apply(ACME).await;
    tenant.ready(ACME).await;
    let fill = "
        CREATE TABLE public.ballast (filling text);
        ALTER TABLE public.ballast ALTER filling SET STORAGE PLAIN";
    tenant.database.execute(fill).await;
    let mut rows = 1_000;
    while rows > 0 {
        let more = format!("INSERT INTO public.ballast SELECT repeat('x', 7000) FROM generate_series(1, {rows})");
        match sqlx::query(AssertSqlSafe(more)).execute(&tenant.database.pool).await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(sqlstate(&error), "53100", "{error}");
                rows /= 2;
            }
        }
    }
    // More than fits into what room the roster's own pages have left.
    let many: String =
        (0..200).map(|n| format!("EmailAddress/a{n} {{address: a{n}@acme.example, displayName: {}}}\n", "long ".repeat(40))).collect();
    tenant.operator.freeze();
    tenant.apply(&many).await;
    tenant.operator.thaw();
    tenant.reasons("EmailAddress/a199 StoreUnavailable").await;
    let log = tenant.operator.log();
    assert!(log.contains("No space left on device") && !log.contains("can't be brought into force"), "{}", tenant.operator.tail());

    tenant.database.execute("DROP TABLE public.ballast").await;
    tenant.ready(&many).await;
    tenant.apply(CHANGED).await;
    it_heals(&tenant).await;
}

#[tokio::test]
async fn c11_a_hand_that_keeps_the_row_of_the_fence_is_nobodys_fault_but_the_stores() {
    let tenant = Tenant::with(ACME).await;
    let mut hand = tenant.database.pool.begin().await.expect("a connection");
    hand.execute("SELECT FROM mailroster.installation FOR UPDATE").await.expect("the row");
    tenant.apply(CHANGED).await;
    // What the statement timeout would do in half a minute.
    let cancelled = format!("SELECT bool_or(pg_cancel_backend(pid)) {LEADERS} AND wait_event_type = 'Lock'");
    tenant.until(&cancelled, &["true"]).await;
    only_what_changed_waits(&tenant).await;
    hand.rollback().await.expect("an end");
    it_heals(&tenant).await;
}
