//! The wire to Postgres is slow, silent, forgotten or torn: deadlines hold, nobody else leads, and it heals (SPEC C11; DESIGN 4).

use std::time::Duration;

use crate::crashes::DUMP;
use crate::gateway::PHC;
use crate::outage::tenant_through;
use crate::support::wait::PATIENCE;
use crate::support::{self, Database, Wire, eventually, resources};
use crate::tenant::{LONG, Tenant};
use mailroster::store::{Location, Store};

const ACME: &str = "InternalDomain/acme {domain: acme.example}
    EmailAddress/info {address: info@acme.example}
    EmailAddress/sales {address: sales@acme.example, displayName: Sales}";

async fn wire_to(database: &Database) -> (Wire, String) {
    let wire = Wire::start(&support::postgres().await.socket()).await;
    let store = format!("postgres://postgres@127.0.0.1:{}/{}?sslmode=disable", wire.port(), database.name);
    (wire, store)
}

/// A tenant whose controller reaches the shared Postgres by a wire of its own; the test itself does not need it.
async fn wired() -> (Tenant, Wire) {
    let database = support::fresh_database().await;
    let (wire, store) = wire_to(&database).await;
    let tenant = tenant_through(database, store).await;
    tenant.apply(ACME).await;
    tenant.ready(ACME).await;
    (tenant, wire)
}

/// The store is a fault of nobody's resource.
fn no_resource_was_blamed(tenant: &Tenant) {
    let log = tenant.operator.log();
    assert!(!log.contains("can't be brought into force") && !log.contains("looking for what breaks it"), "{}", tenant.operator.tail());
}

#[tokio::test]
async fn c11_with_a_store_that_takes_its_time_for_everything_changes_still_come_into_force() {
    let (tenant, wire) = wired().await;
    // A batch asks some fifty times, of which a new connection has each prepared first: minutes at two seconds each.
    let (pause, patience) = support::scale((100, PATIENCE), (2_000, Duration::from_mins(6)));
    wire.slow(Duration::from_millis(pause));
    let changed = "EmailAddress/sales {address: sales@acme.example, displayName: Other}
        EmailAddress/new {address: new@acme.example}
        AliasLink/link {alias: desk@acme.example, primary: new@acme.example}
        DelegateMailbox/pair {reader: info@acme.example, mailbox: new@acme.example}
        AdminRole/help {builtIn: HelpDesk, members: [info@acme.example]}";
    tenant.apply(changed).await;
    eventually(patience, "the last of it is in force", async || {
        let found = tenant.rows("SELECT count(*) FROM mailroster.role_member").await;
        if found == ["1"] { Ok(()) } else { Err(tenant.operator.tail()) }
    })
    .await;
    wire.slow(Duration::ZERO);
    tenant.ready(changed).await;
    no_resource_was_blamed(&tenant);
    tenant.nothing_was_done_twice().await;
    tenant.leads_as_before().await;
}

#[tokio::test]
async fn p2_many_passwords_to_be_looked_at_leave_connections_to_everybody_else() {
    let (tenant, wire) = wired().await;
    tenant.operator.freeze();
    for n in 0..60 {
        tenant.secret(&format!("p{n}"), PHC).await;
        tenant.address(&format!("p{n}"), ", format: Argon2").await;
    }
    wire.slow(Duration::from_millis(250));
    tenant.operator.thaw();
    tenant.until("SELECT count(*) FROM mailroster.address WHERE owner LIKE 'p%'", &["60"]).await;
    let plain = "EmailAddress/plain {address: plain@acme.example}";
    tenant.apply(plain).await;
    tenant.ready(plain).await;
    let log = tenant.operator.log();
    assert!(!log.contains("the store can't be"), "{}", tenant.operator.tail());
    wire.slow(Duration::ZERO);
    tenant.until("SELECT count(*) FROM mailroster.credential", &["60"]).await;
}

#[tokio::test]
async fn c11_a_wire_that_falls_silent_or_is_forgotten_is_given_up_and_made_anew() {
    let (tenant, wire) = wired().await;
    let changed = |name: &str| format!("EmailAddress/sales {{address: sales@acme.example, displayName: {name}}}");
    let before = tenant.standing().await;
    wire.silent(true);
    tenant.apply(&changed("Second")).await;
    // One call after the other has to be given up first, each after its own deadline.
    eventually(LONG, "sales waits for the store", async || {
        let found = tenant.get("EmailAddress/sales").await.expect("it");
        let ready = resources::condition(&found, "Ready").unwrap_or_default();
        if ready["reason"] == "StoreUnavailable" { Ok(()) } else { Err(ready) }
    })
    .await;
    assert_eq!(tenant.standing().await["EmailAddress/info"], before["EmailAddress/info"], "in force, it keeps its status");
    tenant.leads_as_before().await;
    wire.silent(false);
    tenant.ready(&changed("Second")).await;

    // Postgres goes on to hold what was forgotten: the lock of whoever writes the store, too.
    wire.forget();
    tenant.apply(&changed("Third")).await;
    tenant.ready(&changed("Third")).await;
    tenant.until("SELECT display_name FROM mailroster.address WHERE owner = 'sales'", &["Third"]).await;
    tenant.logged("the store's change feed broke", 1).await;
    let leads = "SELECT count(*), min(extract(epoch FROM now() - a.backend_start)) < 60 AS young
        FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted AND a.datname = current_database()";
    tenant.until(leads, &["1,true"]).await;
    wire.cut();
    tenant.apply(&changed("Fourth")).await;
    tenant.ready(&changed("Fourth")).await;
    no_resource_was_blamed(&tenant);
    tenant.nothing_was_done_twice().await;
    tenant.leads_as_before().await;
}

/// What the controller gives up must not keep its place among the few connections for ever.
#[tokio::test]
async fn connections_that_died_in_silence_leave_the_pool() {
    let database = support::fresh_database().await;
    let (wire, url) = wire_to(&database).await;
    let store = Store::open(&Location { url, password_file: None }, "silence").expect("a store");
    let most = store.pool().options().get_max_connections();
    let held = futures::future::join_all((0..most).map(|_| store.pool().acquire())).await;
    let mut held: Vec<_> = held.into_iter().map(|connection| connection.expect("a connection")).collect();
    wire.silent(true);
    for connection in &mut held {
        let asked = sqlx::query("SELECT 1").execute(&mut **connection);
        assert!(tokio::time::timeout(Duration::from_millis(10), asked).await.is_err());
    }
    drop(held);
    wire.forget();
    wire.silent(false);
    eventually(PATIENCE, "the store is asked again", async || store.now().await).await;
}

#[tokio::test]
async fn c11_a_wire_torn_anywhere_loses_nothing_and_does_nothing_twice() {
    let (tenant, wire) = wired().await;
    let declared = |name: &str, shift: usize| {
        let line = |n| {
            format!(
                "EmailAddress/a{n} {{address: a{n}@acme.example, displayName: {name} {n}}}
                 AliasLink/l{n} {{alias: l{n}@acme.example, primary: a{}@acme.example}}
                 DelegateMailbox/d{n} {{reader: a{n}@acme.example, mailbox: a{}@acme.example}}\n",
                (n + shift) % 20,
                (n + shift + 1) % 20
            )
        };
        (0..20).map(line).collect::<String>()
    };
    let torn = support::scale(10, 100);
    // Enough for a batch now and then: some are torn within it, some within its COMMIT or right behind it.
    wire.tear(1 << 17);
    wire.cut();
    tenant.apply(&declared("First", 0)).await;
    let opened = async |more: u64| {
        let end = wire.opened() + more;
        let text = format!("{more} more connections were torn");
        eventually(PATIENCE * 5, &text, async || if wire.opened() >= end { Ok(()) } else { Err(wire.opened()) }).await;
    };
    opened(torn).await;
    tenant.apply(&declared("Second", 3)).await;
    opened(torn).await;
    wire.tear(0);
    wire.cut();
    tenant.ready(&declared("Second", 3)).await;
    no_resource_was_blamed(&tenant);
    tenant.nothing_was_done_twice().await;
    tenant.leads_as_before().await;

    let calm = Tenant::start().await;
    let all = format!("{ACME}\n{}", declared("Second", 3));
    calm.apply(&all).await;
    calm.ready(&all).await;
    assert_eq!(tenant.rows(DUMP).await, calm.rows(DUMP).await);
}
