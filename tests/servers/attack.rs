//! Mail servers under attack: what the store is told a thousand times a second must stay where it is told (SPEC P8, DESIGN 4), and what is
//! real must get through all the same.

use crate::passwords::ACME;
use crate::support::resources::condition;
use crate::support::wait::PATIENCE;
use crate::support::{eventually, scale};
use crate::tenant::{LONG, Tenant};
use sqlx::postgres::{PgListener, PgPoolOptions};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Connections of the mail servers, and what they tell in a second.
const CALLERS: u32 = 8;
const A_SECOND: u32 = 1_000;
/// So many of the addresses are declared.
const DECLARED: u32 = 100;
/// C4, P8: how late a real change may reach its status.
const SOON: Duration = Duration::from_secs(2);

/// A tenant with addresses from mail flow, `n1@acme.example` and so on, that nobody declares, and some that are declared.
async fn attacked(addresses: u32) -> Tenant {
    let tenant = Tenant::with(ACME).await;
    // As the leader writes: nobody has to be told of these.
    let rows = format!(
        "BEGIN;
         SET LOCAL mailroster.own_write = 'on';
         INSERT INTO mailroster.address (canonical, display, domain_id, namespace, origin)
         SELECT 'n' || n || '@acme.example', 'n' || n || '@acme.example', d.id, d.namespace, 'MailFlow'
         FROM mailroster.domain d, generate_series(1, {addresses}) n;
         INSERT INTO mailroster.address_key SELECT a.canonical, a.id FROM mailroster.address a;
         COMMIT;
         ANALYZE"
    );
    tenant.database.execute(&rows).await;
    let declared = |n: u32| format!("EmailAddress/n{n} {{address: n{n}@acme.example}}");
    tenant.apply_many((1..=DECLARED).map(declared)).await;
    for n in 1..=DECLARED {
        tenant.ready(&format!("EmailAddress/n{n}")).await;
    }
    tenant
}

/// One wrong password for each of `n1` to `n{count}`, from all callers, at a steady pace. Ends with how long that took.
fn attack(tenant: &Tenant, count: u32) -> JoinHandle<Duration> {
    let options = tenant.database.options_as("mailroster_auth");
    tokio::spawn(async move {
        let pool = PgPoolOptions::new().min_connections(CALLERS).max_connections(CALLERS).connect_with(options).await.expect("connections");
        let began = Instant::now();
        let callers = (0..CALLERS).map(async |caller| {
            let mut connection = pool.acquire().await.expect("a connection");
            let mut pace = tokio::time::interval(Duration::from_secs(1) * CALLERS / A_SECOND);
            for n in (1..=count).filter(|n| n % CALLERS == caller) {
                pace.tick().await;
                let told = "SELECT gateway.record_logon_v1(gen_random_uuid(), $1, 'wrong_password', 'imap')";
                sqlx::query(told).bind(format!("n{n}@acme.example")).execute(&mut *connection).await.expect("a logon is recorded");
            }
        });
        futures::future::join_all(callers).await;
        began.elapsed()
    })
}

/// Counts what whoever listens is told.
async fn listen(tenant: &Tenant) -> Arc<AtomicU64> {
    let mut listener = PgListener::connect_with(&tenant.database.pool).await.expect("a listener");
    listener.listen("mailroster_change").await.expect("listen");
    let told = Arc::new(AtomicU64::new(0));
    let counter = told.clone();
    tokio::spawn(async move {
        while listener.recv().await.is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    told
}

/// Edits an address of nobody's attention until `attack` is over; tells how long each edit took to reach its status.
async fn edit_meanwhile(tenant: &Tenant, attack: &JoinHandle<Duration>) -> Vec<Duration> {
    let mut took = Vec::new();
    while !attack.is_finished() {
        let edit = format!("EmailAddress/edited {{address: edited@acme.example, displayName: Edit {}}}", took.len());
        tenant.apply(&edit).await;
        let applied = Instant::now();
        tenant.ready("EmailAddress/edited").await;
        took.push(applied.elapsed());
    }
    took
}

/// Fails an address up to its limit; tells how long its status took.
async fn lock(tenant: &Tenant, name: &str) -> Duration {
    let wrong = "SELECT gateway.record_logon_v1(gen_random_uuid(), $1, 'wrong_password', 'imap') FROM generate_series(1, 5)";
    sqlx::query(wrong).bind(format!("{name}@acme.example")).execute(&tenant.database.as_role("mailroster_auth")).await.expect("logons");
    let committed = Instant::now();
    tenant.condition(&format!("EmailAddress/{name}"), "Locked", "True TooManyFailedLogons").await;
    committed.elapsed()
}

/// The middle one: a machine that stumbles once is no failure.
fn middle(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took.get(took.len() / 2).copied().expect("at least one")
}

/// The resourceVersion of each attacked resource.
async fn versions(tenant: &Tenant) -> BTreeMap<String, String> {
    let all = tenant.cluster.list("EmailAddress", &tenant.namespace).await;
    let attacked = all.iter().filter(|a| a["metadata"]["name"].as_str().is_some_and(|name| name.starts_with('n')));
    attacked.map(|a| (a["metadata"]["name"].to_string(), a["metadata"]["resourceVersion"].to_string())).collect()
}

async fn with_canaries(tenant: &Tenant) {
    let canaries = "EmailAddress/edited {address: edited@acme.example}
        EmailAddress/canary0 {address: canary0@acme.example}
        EmailAddress/canary1 {address: canary1@acme.example}
        EmailAddress/canary2 {address: canary2@acme.example}";
    tenant.apply(canaries).await;
    tenant.ready(canaries).await;
}

#[tokio::test]
async fn p8_an_attack_of_a_thousand_logons_a_second_tells_nobody_and_keeps_nobody_waiting() {
    let addresses = scale(20_000, 100_000);
    let tenant = attacked(addresses).await;
    with_canaries(&tenant).await;
    let before = versions(&tenant).await;
    assert_eq!(before.len(), DECLARED as usize);
    let audit = "SELECT count(*) FROM mailroster.audit WHERE subject ~ '^address n\\d'";
    let audited = tenant.database.text(audit).await;
    let told = listen(&tenant).await;

    // Each address once within the minute.
    let logons = scale(6_000, 60_000).min(addresses);
    let attack = attack(&tenant, logons);
    let (edits, locks) = tokio::join!(edit_meanwhile(&tenant, &attack), async {
        [lock(&tenant, "canary0").await, lock(&tenant, "canary1").await, lock(&tenant, "canary2").await]
    });
    let took = attack.await.expect("an attack");
    println!("{logons} logons in {took:?}; edits {edits:?}; locks {locks:?}");

    assert_eq!(tenant.database.text("SELECT sum(failed) FROM mailroster.logon WHERE failed = 1").await, logons.to_string());
    assert!(middle(edits.clone()) < SOON, "{edits:?}");
    assert!(middle(locks.to_vec()) < SOON, "{locks:?}");
    let told = told.load(Ordering::Relaxed);
    assert!(told <= 3, "three were locked, and {told} notifications sent");
    assert_eq!(tenant.database.text(audit).await, audited);
    tenant.reconcile("EmailAddress/edited", "after the attack").await;
    assert_eq!(versions(&tenant).await, before);
}

#[tokio::test]
async fn p8_thousands_that_reach_the_limit_at_once_wake_the_controller_about_once_a_second() {
    let count = scale(3_000, 30_000);
    let tenant = attacked(count).await;
    with_canaries(&tenant).await;
    let almost = "INSERT INTO mailroster.logon (address_id, failed, last_failed_at)
                  SELECT id, 4, mailroster.now() FROM mailroster.address WHERE canonical ~ '^n\\d'";
    tenant.database.execute(almost).await;
    let told = listen(&tenant).await;

    let attack = attack(&tenant, count);
    let (edits, locks) = tokio::join!(edit_meanwhile(&tenant, &attack), async {
        [lock(&tenant, "canary0").await, lock(&tenant, "canary1").await, lock(&tenant, "canary2").await]
    });
    let took = attack.await.expect("an attack");
    let notified = told.load(Ordering::Relaxed);
    println!("{count} locks in {took:?}, {notified} notifications; edits {edits:?}; locks {locks:?}");

    assert!(middle(edits.clone()) < SOON, "{edits:?}");
    assert!(middle(locks.to_vec()) < SOON, "{locks:?}");
    // Whoever tells at the same moment as the first does not see its row yet.
    let bound = u64::from(CALLERS + 1) + took.as_secs() + 1;
    assert!(notified <= bound, "{notified} notifications in {took:?}");
    eventually(LONG, "all that is declared is locked", async || {
        let all = tenant.cluster.list("EmailAddress", &tenant.namespace).await;
        let open = all.iter().filter(|a| condition(a, "Locked").is_none_or(|locked| locked["status"] != "True")).count();
        if open == 1 { Ok(()) } else { Err(format!("{open} are open")) }
    })
    .await;
    let heard = "SELECT count(*) FROM mailroster.change";
    eventually(PATIENCE, "all is heard", async || match tenant.database.text(heard).await.as_str() {
        "0" => Ok(()),
        left => Err(left.to_owned()),
    })
    .await;

    // Alone, one is heard at once: it is told, and nobody has to look.
    let before = told.load(Ordering::Relaxed);
    let unlock = "EmailAddress/canary0";
    tenant.annotate(unlock, "unlockAt", "once more").await;
    tenant.condition(unlock, "Locked", "False NotLocked").await;
    lock(&tenant, "canary0").await;
    eventually(PATIENCE, "one more notification", async || match told.load(Ordering::Relaxed) - before {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
}
