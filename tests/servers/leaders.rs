//! Who may write: one process of one installation, and never one that was deposed (DESIGN 4 and 5).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::scene::resource;
use crate::support::operator::Settings;
use crate::support::proxy::{Answer, Seen};
use crate::support::wait::PATIENCE;
use crate::support::{self, Operator, eventually};
use crate::tenant::Tenant;
use serde_json::Value;

/// How long a Lease lasts.
const LEASE: Duration = Duration::from_secs(15);

/// Versions of all that a tenant has, by kind and name.
async fn versions(tenant: &Tenant) -> Vec<String> {
    let mut found = Vec::new();
    for kind in ["InternalDomain", "EmailAddress"] {
        let list = tenant.cluster.list(kind, &tenant.namespace).await;
        let line = |resource: &Value| format!("{kind} {} {}", resource["metadata"]["name"], resource["metadata"]["resourceVersion"]);
        found.extend(list.iter().map(line));
    }
    found
}

/// DESIGN 4 and 5: one leader, and a deposed one cannot write.
#[tokio::test]
async fn a_second_process_waits_takes_over_after_kill_9_and_a_deposed_leader_ends() {
    let cluster = support::control_plane().await;
    let (database, namespace) = (support::fresh_database().await, cluster.fresh_namespace().await);
    let mut first = Operator::start(&database, &[&namespace]).await;
    first.says("leading").await;
    let second = Operator::start_with(first.settings()).await;
    second.says("waiting for its Lease").await;
    let declare = async |name: &str| {
        let yaml = resource("InternalDomain", name, &format!("{{domain: {name}.example}}"));
        cluster.apply(&namespace, &yaml).await;
    };
    declare("one").await;
    cluster.wait_ready("InternalDomain", &namespace, "one").await;
    assert_eq!((first.metric("mailroster_leader").await, second.metric("mailroster_leader").await), (Some(1.0), Some(0.0)));

    first.kill9();
    declare("two").await;
    cluster.wait_ready("InternalDomain", &namespace, "two").await;
    assert_eq!(second.metric("mailroster_leader").await, Some(1.0));

    // One that slept through its Lease wakes up deposed: it writes nothing any more and ends.
    let mut second = second;
    let third = Operator::start_with(second.settings()).await;
    third.says("waiting for its Lease").await;
    second.freeze();
    declare("three").await;
    cluster.wait_ready("InternalDomain", &namespace, "three").await;
    let epoch = database.text("SELECT epoch FROM mailroster.installation").await;
    second.thaw();
    assert!(!second.ended(PATIENCE).await.success(), "{}", second.tail());
    declare("four").await;
    cluster.wait_ready("InternalDomain", &namespace, "four").await;
    assert_eq!(database.text("SELECT epoch FROM mailroster.installation").await, epoch);
    assert_eq!(third.metric("mailroster_leader").await, Some(1.0));
}

#[tokio::test]
async fn a_store_belongs_to_one_installation_until_it_is_taken_over() {
    let cluster = support::control_plane().await;
    let (database, namespace) = (support::fresh_database().await, cluster.fresh_namespace().await);
    let mut first = Operator::start(&database, &[&namespace]).await;
    cluster.apply(&namespace, &resource("InternalDomain", "acme", "{domain: acme.example}")).await;
    cluster.wait_ready("InternalDomain", &namespace, "acme").await;
    let owner = database.text("SELECT id FROM mailroster.installation").await;

    let mut settings = Settings::new(cluster, &database, &[&namespace]).await;
    let log = Operator::refused(settings.clone()).await;
    assert!(log.contains(&owner) && log.contains("--take-over-store"), "{log}");
    assert_eq!(database.text("SELECT id FROM mailroster.installation").await, owner);
    assert_eq!(first.metric("mailroster_leader").await, Some(1.0));

    // Refused, it has ended nobody's sessions and written nothing: the first one goes on.
    cluster.apply(&namespace, &resource("EmailAddress", "sales", "{address: sales@acme.example}")).await;
    cluster.wait_ready("EmailAddress", &namespace, "sales").await;

    let plain = settings.clone();
    settings.arguments.push("--take-over-store".to_owned());
    let mut other = Operator::start_with(settings).await;
    other.says("leading").await;
    assert!(!first.ended(PATIENCE).await.success(), "the one it was taken from ends: {}", first.tail());
    let taker = database.text("SELECT id FROM mailroster.installation").await;
    assert_ne!(taker, owner);
    cluster.apply(&namespace, &resource("EmailAddress", "info", "{address: info@acme.example}")).await;
    cluster.wait_ready("EmailAddress", &namespace, "info").await;

    // Moved once: now the first is the stranger, and the other needs no flag any more.
    let log = Operator::refused(first.settings()).await;
    assert!(log.contains(&taker), "{log}");
    assert!(other.terminate().await.success());
    let other = Operator::start_with(plain).await;
    other.says("leading").await;
    assert_eq!(database.text("SELECT id FROM mailroster.installation").await, taker);
}

/// The worst moment there is: a transaction is open, statuses are on their way and in memory, and the Lease was renewed without the
/// process having read the answer.
#[tokio::test]
async fn a_leader_stopped_amid_a_transaction_past_its_lease_writes_nothing_when_it_goes_on_and_ends() {
    let (mut tenant, proxy) = Tenant::behind_proxy().await;
    let (first, settings) = (&tenant.operator, tenant.operator.settings());
    let direct = tenant.cluster.as_service_account(&settings.system_namespace, "mailroster").await;
    let second = Operator::start_with(Settings { kubeconfig: direct.kubeconfig().to_owned(), ..settings }).await;
    second.says("waiting for its Lease").await;
    tenant.apply("InternalDomain/acme {domain: acme.example}\nEmailAddress/a1 {address: a1@acme.example, displayName: First}").await;
    tenant.ready("InternalDomain/acme\nEmailAddress/a1").await;

    // More statuses than are written at a time; the API server's answers do not arrive.
    let renewal = |seen: &Seen| seen.is_lease() && seen.method == "PUT";
    let began = Instant::now();
    proxy.answer(|seen| if seen.is_status() { Answer::Held } else { Answer::Pass });
    let many = |fields: &str| -> String {
        (1..=80).map(|n| format!("EmailAddress/b{n} {{address: b{n}@acme.example, displayName: {fields}}}\n")).collect()
    };
    tenant.apply(&many("Early")).await;
    tenant.until("SELECT count(*) FROM mailroster.address WHERE display_name = 'Early'", &["80"]).await;
    eventually(PATIENCE, "64 statuses are under way", async || {
        let under_way = proxy.seen(began, Seen::is_status).len();
        if under_way == 64 { Ok(()) } else { Err(under_way) }
    })
    .await;
    // A row that somebody else has locked.
    let mut other = tenant.database.pool.begin().await.expect("begin");
    let lock = "SELECT FROM mailroster.address WHERE canonical = 'a1@acme.example' FOR UPDATE";
    sqlx::query(lock).execute(&mut *other).await.expect("a lock");
    tenant.apply("EmailAddress/a1 {address: a1@acme.example, displayName: Second}").await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'mailroster leader %'
                   AND wait_event_type = 'Lock' AND state = 'active'";
    tenant.until(waiting, &["1"]).await;
    let renewed = Instant::now();
    proxy.answer(move |seen| if seen.is_status() || renewal(seen) { Answer::Held } else { Answer::Pass });
    eventually(PATIENCE, "the Lease is being renewed", async || proxy.seen(renewed, renewal).first().cloned()).await;
    first.freeze();
    let stopped = Instant::now();
    proxy.let_go();
    let last = proxy.seen(began, renewal).last().expect("a renewal").at;

    second.says("leading").await;
    assert!(last.elapsed() >= LEASE, "too early: {:?}", last.elapsed());
    assert!(stopped.elapsed() < 3 * LEASE, "too late: {:?}", stopped.elapsed());
    other.rollback().await.expect("roll back");
    tenant.apply("EmailAddress/a1 {address: a1@acme.example, displayName: Third}").await;
    tenant.apply(&many("Late")).await;
    tenant.ready(&many("")).await;
    tenant.ready("EmailAddress/a1").await;
    tenant.until("SELECT count(*) FROM mailroster.address WHERE display_name = 'Late'", &["80"]).await;
    let store = "SELECT (SELECT string_agg(canonical || display_name, ',' ORDER BY canonical) FROM mailroster.address),
                        (SELECT epoch || leader FROM mailroster.installation), (SELECT count(*) FROM mailroster.audit)";
    let (rows, statuses) = (tenant.rows(store).await, versions(&tenant).await);
    assert!(rows[0].contains("a1@acme.exampleThird"), "{rows:?}");

    let thawed = Instant::now();
    first.thaw();
    assert!(!tenant.operator.ended(PATIENCE).await.success(), "{}", tenant.operator.tail());
    let written = proxy.seen(thawed, |seen| seen.method != "GET" && !seen.is_lease());
    assert!(written.is_empty(), "{written:#?}");
    assert_eq!((tenant.rows(store).await, versions(&tenant).await), (rows, statuses));
    tenant.apply("EmailAddress/last {address: last@acme.example}").await;
    tenant.ready("EmailAddress/last").await;
    assert_eq!(second.metric("mailroster_leader").await, Some(1.0));
}

#[tokio::test]
async fn a_leader_whose_renewals_are_answered_late_goes_on_leading() {
    let (mut tenant, proxy) = Tenant::behind_proxy().await;
    tenant.operator.says("leading").await;
    // The API server has renewed the Lease, and only says so too late: of each two requests the first stays without an answer.
    let (began, nth) = (Instant::now(), AtomicUsize::new(0));
    let renewal = |seen: &Seen| seen.is_lease() && seen.method == "PUT";
    proxy.answer(move |seen| {
        let late = renewal(seen) && nth.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        if late { Answer::Held } else { Answer::Pass }
    });
    eventually(PATIENCE, "three renewals", async || {
        let seen = proxy.seen(began, renewal).len();
        if seen >= 6 { Ok(()) } else { Err(format!("{seen}; {}", tenant.operator.tail())) }
    })
    .await;
    tenant.apply("InternalDomain/acme {domain: acme.example}").await;
    tenant.ready("InternalDomain/acme").await;
    assert_eq!(tenant.operator.metric("mailroster_leader").await, Some(1.0));
    assert!(tenant.operator.log().contains("the renewal of the Lease is slow"), "{}", tenant.operator.tail());
    proxy.let_go();
    assert!(tenant.operator.terminate().await.success());
}

#[tokio::test]
async fn a_leader_without_its_lease_ends_and_says_what_it_knows_of_it() {
    let ((mut cut_off, proxy), mut robbed, mut forgotten) = tokio::join!(Tenant::behind_proxy(), Tenant::start(), Tenant::start());
    for tenant in [&cut_off, &robbed, &forgotten] {
        tenant.operator.says("leading").await;
    }
    // Nobody else leads where nobody is answered.
    proxy.answer(|seen| if seen.is_lease() { Answer::Held } else { Answer::Pass });
    let system = |tenant: &Tenant| tenant.operator.settings().system_namespace;
    let somebody = serde_json::json!({"spec": {"holderIdentity": "somebody"}});
    robbed.cluster.patch("Lease", &system(&robbed), "mailroster", &somebody).await;
    forgotten.cluster.delete("Lease", &system(&forgotten), "mailroster").await;
    for (tenant, known) in [
        (&mut robbed, "the Lease was lost: somebody holds it now"),
        (&mut forgotten, "the Lease was lost: somebody deleted it"),
        (&mut cut_off, "the Lease was lost: it could not be renewed in time, and another controller may lead by now"),
    ] {
        assert!(!tenant.operator.ended(PATIENCE).await.success(), "{}", tenant.operator.tail());
        assert!(tenant.operator.log().contains(known), "{}", tenant.operator.tail());
    }
    proxy.let_go();
}
