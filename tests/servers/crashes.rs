//! The controller dies in the middle of its work, politely and not, and what comes after it ends where one that lived would have.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::wait::PATIENCE;
use crate::support::{self, ControlPlane, Operator, eventually, resources};
use crate::tenant::{Tenant, yaml};
use futures::StreamExt as _;
use kube::api::DeleteParams;
use serde_json::{Value, json};

/// Two controllers and 200 objects each on a busy machine, and a Lease to run out.
const DEADLINE: Duration = Duration::from_mins(2);

/// All of a store that is not about time or ids.
pub const DUMP: &str = "
    SELECT concat_ws(' ', 'address', canonical, owner, origin, is_alias, display_name, attributes, disabled, shut, closing) AS line FROM mailroster.address
    UNION ALL SELECT concat_ws(' ', 'key', key) FROM mailroster.address_key
    UNION ALL SELECT concat_ws(' ', 'link', a.canonical, p.canonical, l.owner, l.made_row) FROM mailroster.link l
        JOIN mailroster.address a ON a.id = l.alias_id JOIN mailroster.address p ON p.id = l.primary_id
    UNION ALL SELECT concat_ws(' ', 'delegation', r.canonical, m.canonical, d.owner) FROM mailroster.delegation d
        JOIN mailroster.address r ON r.id = d.reader_id JOIN mailroster.address m ON m.id = d.mailbox_id
    UNION ALL SELECT concat_ws(' ', 'member', a.canonical, o.name) FROM mailroster.role_member m
        JOIN mailroster.address a ON a.id = m.address_id JOIN mailroster.role o ON o.id = m.role_id
    UNION ALL SELECT concat_ws(' ', 'credential', a.canonical) FROM mailroster.credential c JOIN mailroster.address a ON a.id = c.address_id
    UNION ALL SELECT concat_ws(' ', 'waiting', w.action, a.canonical) FROM mailroster.waiting w JOIN mailroster.address a ON a.id = w.address_id
    UNION ALL SELECT concat_ws(' ', 'tombstone', canonical) FROM mailroster.tombstone";

/// What is declared for so many addresses, at first and at the end: about twice as many objects, most of them other than at first.
fn declared(addresses: usize, last: bool) -> Vec<String> {
    let (links, pairs, roles) = (addresses / 3, addresses / 4, addresses / 13);
    let mut resources = vec!["InternalDomain/acme {domain: acme.example}".to_owned()];
    let name = if last { "Second" } else { "First" };
    resources.extend(
        (0..addresses).map(|n| {
            format!("EmailAddress/a{n} {{address: a{n}@acme.example, displayName: {name} {n}, disabled: {}}}", last && n % 3 == 0)
        }),
    );
    resources.extend((0..links).map(|n| {
        let primary = if last { (n + 1) % links } else { n };
        format!("AliasLink/l{n} {{alias: l{n}@acme.example, primary: a{primary}@acme.example}}")
    }));
    resources.extend((0..pairs).map(|n| {
        let mailbox = if last { 2 * links + n } else { links + n };
        format!("DelegateMailbox/d{n} {{reader: a{n}@acme.example, mailbox: a{mailbox}@acme.example}}")
    }));
    if !last {
        resources
            .extend(gone(addresses).map(|n| format!("DelegateMailbox/gone{n} {{reader: a{n}@acme.example, mailbox: a0@acme.example}}")));
    }
    resources.extend((0..roles).map(|n| {
        let member = if last { (n + 1) % roles } else { n };
        format!("AdminRole/r{n} {{builtIn: HelpDesk, members: [a{member}@acme.example]}}")
    }));
    resources
}

/// The numbers of those that are declared at first alone.
fn gone(addresses: usize) -> std::ops::Range<usize> {
    addresses / 4 - 5..addresses / 4
}

/// Asks for the deletion of those that are still there.
async fn delete_gone(cluster: &ControlPlane, namespace: &str, addresses: usize) {
    let api = cluster.api_of("DelegateMailbox", namespace).await;
    for n in gone(addresses) {
        match api.delete(&format!("gone{n}"), &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            deleted => drop(deleted.expect("a deletion")),
        }
    }
}

async fn apply(cluster: &ControlPlane, namespace: &str, resources: &[String]) {
    let chunks: Vec<_> = resources.chunks(20).map(|chunk| yaml(&chunk.join("\n"))).collect();
    let apply = async |chunk: String| drop(cluster.apply(namespace, &chunk).await);
    futures::stream::iter(chunks).for_each_concurrent(4, apply).await;
}

/// Waits until all that is declared is in force.
async fn all_ready(tenant: &mut Tenant) {
    for kind in ["InternalDomain", "EmailAddress", "AliasLink", "DelegateMailbox", "AdminRole"] {
        eventually(DEADLINE, &format!("each {kind} is ready"), async || {
            tenant.operator.revive().await;
            let not_ready = |resource: &Value| {
                let ready = resources::condition(resource, "Ready").unwrap_or_default();
                ready["status"] != "True" || ready["observedGeneration"] != resource["metadata"]["generation"]
            };
            let mut waiting = tenant.cluster.list(kind, &tenant.namespace).await;
            waiting.retain(not_ready);
            let Some(first) = waiting.first() else { return Ok(()) };
            Err(format!("{} of them, the first {first:#}; {}", waiting.len(), tenant.operator.tail()))
        })
        .await;
    }
}

/// Brings both tenants to the last state, one of them undisturbed, and holds their stores together.
async fn ends_in_the_same_place(mut tenant: Tenant, mut calm: Tenant, addresses: usize) {
    let last = declared(addresses, true);
    apply(calm.cluster, &calm.namespace, &last).await;
    apply(tenant.cluster, &tenant.namespace, &last).await;
    delete_gone(tenant.cluster, &tenant.namespace, addresses).await;
    all_ready(&mut calm).await;
    all_ready(&mut tenant).await;
    for n in gone(addresses) {
        tenant.cluster.wait_gone("DelegateMailbox", &tenant.namespace, &format!("gone{n}")).await;
    }
    let (expected, found) = (calm.rows(DUMP).await, tenant.rows(DUMP).await);
    let (missing, more): (Vec<_>, Vec<_>) =
        (expected.iter().filter(|row| !found.contains(row)).collect(), found.iter().filter(|row| !expected.contains(row)).collect());
    assert!(expected.len() > 3 * addresses && missing.is_empty() && more.is_empty(), "missing {missing:?}; more {more:?}");
}

#[tokio::test]
async fn a_controller_that_dies_amid_two_hundred_changes_is_followed_by_one_that_ends_in_the_same_place() {
    const ADDRESSES: usize = 120;
    let (mut tenant, calm) = tokio::join!(Tenant::start(), Tenant::start());
    let Tenant { cluster, namespace, database, operator } = &mut tenant;
    let settings = operator.settings();
    let count = async |sql: &str, least: u32| {
        eventually(PATIENCE, sql, async || {
            let found = database.text(sql).await.parse::<u32>().expect("a number");
            if found >= least { Ok(()) } else { Err(found) }
        })
        .await;
    };

    // Killed while the first state comes in: its Lease stays taken until it runs out.
    let first = declared(ADDRESSES, false);
    tokio::join!(apply(cluster, namespace, &first), async {
        count("SELECT count(*) FROM mailroster.address", 20).await;
        operator.kill9();
    });
    *operator = Operator::start_with(settings.clone()).await;
    count("SELECT count(*) FROM mailroster.address", 60).await;
    // Asked to end while the first state changes into the last, parts of which are deletions.
    let last = declared(ADDRESSES, true);
    tokio::join!(apply(cluster, namespace, &last), async {
        count("SELECT count(*) FROM mailroster.address WHERE display_name LIKE 'Second%'", 10).await;
        delete_gone(cluster, namespace, ADDRESSES).await;
        assert!(operator.terminate().await.success());
    });
    *operator = Operator::start_with(settings).await;
    // Another lived through nothing but the end.
    ends_in_the_same_place(tenant, calm, ADDRESSES).await;
}

/// The steps at which a debug build dies to order (`src/fault.rs`), and the how manieth time it gets there.
#[cfg(debug_assertions)]
const STEPS: [&str; 14] = [
    "answering:1",
    "leading:1",
    "read:2",
    "planned:2",
    "begun:2",
    "uncommitted:2",
    "committed:2",
    "told:30",
    "status:20",
    "status-written:25",
    "finalizer:3",
    "finalizer-written:3",
    "heard:1",
    "hashed:2",
];

/// Each death comes while what the last one left behind is being taken up again.
#[cfg(debug_assertions)]
#[tokio::test]
async fn a_controller_that_dies_at_any_step_of_a_batch_is_followed_by_one_that_ends_in_the_same_place() {
    let addresses = support::scale(26, 250);
    let (mut tenant, calm) = tokio::join!(Tenant::start(), Tenant::start());
    let settings = tenant.operator.settings();
    tenant.operator.terminate().await;
    // As a store is before its first plan.
    tenant.database.execute("UPDATE mailroster.installation SET answers_since = NULL").await;
    let (cluster, namespace) = (tenant.cluster, tenant.namespace.clone());
    for namespace in [&namespace, &calm.namespace] {
        declare_passwords(cluster, namespace, "Correct-Horse-1").await;
    }
    for (n, step) in STEPS.into_iter().enumerate() {
        let mut settings = settings.clone();
        settings.environment.push(("MAILROSTER_TEST_CRASH".to_owned(), step.to_owned()));
        tenant.operator = Operator::start_with(settings.clone()).await;
        // The first plan is complete when nothing changes any more.
        let rounds = if step.starts_with("answering") { 1 } else { usize::MAX };
        let disturb = async {
            for round in n..n.saturating_add(rounds) {
                apply(cluster, &namespace, &declared(addresses, round % 2 == 1)).await;
                delete_gone(cluster, &namespace, addresses).await;
                tenant.database.execute("UPDATE mailroster.address SET display_name = 'by hand' WHERE owner = 'a7'").await;
                declare_passwords(cluster, &namespace, &format!("Correct-Horse-{round}")).await;
            }
            std::future::pending().await
        };
        let ended = tokio::select! {
            ended = tenant.operator.ended(DEADLINE) => ended,
            never = disturb => never,
        };
        assert_eq!(ended.signal(), Some(6), "{step}: {}", tenant.operator.tail());
        assert!(tenant.operator.log().contains("dying to order"), "{step}: {}", tenant.operator.tail());
        Operator::release_lease(cluster, &settings).await;
    }
    tenant.operator = Operator::start_with(settings).await;
    ends_in_the_same_place(tenant, calm, addresses).await;
}

/// Two addresses with passwords.
async fn declare_passwords(cluster: &ControlPlane, namespace: &str, password: &str) {
    for name in ["p1", "p2"] {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": {"mailroster.dev/readable": "true"}},
            "stringData": {"password": password},
        });
        cluster.apply(namespace, &secret.to_string()).await;
        let spec = format!("{{address: {name}@acme.example, password: {{secretRef: {{name: {name}, key: password}}}}}}");
        cluster.apply(namespace, &yaml(&format!("EmailAddress/{name} {spec}"))).await;
    }
}

/// Numbers that look random and come again from the same seed (splitmix64).
struct Dice(u64);

impl Dice {
    /// From the environment, or new. Printed, so that a run can be played again.
    fn seed() -> u64 {
        let given = std::env::var("MAILROSTER_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().expect("a clock").subsec_nanos().into());
        println!("MAILROSTER_TEST_SEED={seed}");
        seed
    }

    fn roll(&mut self, sides: u64) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides).expect("a small number")
    }
}

/// What happens to have been done when the blow falls: so many more objects applied, batches begun or statuses written.
async fn random_moment(dice: &mut Dice, tenant: &Tenant, applied: &AtomicUsize) {
    let (sort, more) = (dice.roll(4), dice.roll(30));
    let statuses = async || -> usize {
        let metrics = tenant.operator.metrics().await;
        let counts = metrics.lines().filter(|line| line.starts_with("mailroster_status_writes_total"));
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
    };
    let done = async || match sort {
        0 => applied.load(Ordering::Relaxed),
        1 => tenant.database.text("SELECT batches FROM mailroster.installation").await.parse().expect("a number"),
        2 => statuses().await,
        // As soon as it has begun.
        _ => more,
    };
    let start = if sort == 3 { 0 } else { done().await };
    // A batch is more than an object.
    let more = if sort == 1 { more / 8 } else { more };
    eventually(DEADLINE, "the moment", async || if done().await >= start + more { Ok(()) } else { Err(tenant.operator.tail()) }).await;
}

/// `MAILROSTER_TEST_SEED` plays a run again, as far as the machine's timing lets it.
#[tokio::test]
async fn a_controller_killed_at_random_moments_while_hundreds_of_objects_change_ends_in_the_same_place() {
    let (addresses, kills) = support::scale((80, 5), (250, 20));
    let (mut tenant, calm) = tokio::join!(Tenant::start(), Tenant::start());
    let settings = tenant.operator.settings();
    let seed = Dice::seed();
    let (mut dice, mut hand) = (Dice(seed), Dice(!seed));
    let (applied, enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (cluster, namespace) = (tenant.cluster, tenant.namespace.clone());
    let states = [declared(addresses, false), declared(addresses, true)];
    let changing = async {
        apply(cluster, &namespace, &states[0]).await;
        while !enough.load(Ordering::Relaxed) {
            let state = &states[hand.roll(2)];
            let chunk: Vec<_> = (0..20).map(|_| state[hand.roll(state.len() as u64)].clone()).collect();
            apply(cluster, &namespace, &chunk).await;
            applied.fetch_add(chunk.len(), Ordering::Relaxed);
            if hand.roll(5) == 0 {
                delete_gone(cluster, &namespace, addresses).await;
            }
        }
    };
    let killing = async {
        for kill in 1..=kills {
            random_moment(&mut dice, &tenant, &applied).await;
            tenant.operator.kill9();
            // Now and then the successor has to wait until the Lease has run out.
            if kill % 5 != 0 {
                Operator::release_lease(cluster, &settings).await;
            }
            tenant.operator = Operator::start_with(settings.clone()).await;
        }
        enough.store(true, Ordering::Relaxed);
    };
    tokio::join!(changing, killing);
    ends_in_the_same_place(tenant, calm, addresses).await;
}
