//! The controller dies in the middle of its work, politely and not, and what comes after it ends where one that lived would have.

use std::time::Duration;

use crate::support::wait::PATIENCE;
use crate::support::{ControlPlane, Operator, eventually, resources};
use crate::tenant::{Tenant, yaml};
use futures::StreamExt as _;
use serde_json::Value;

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
    UNION ALL SELECT concat_ws(' ', 'waiting', w.action, a.canonical) FROM mailroster.waiting w JOIN mailroster.address a ON a.id = w.address_id
    UNION ALL SELECT concat_ws(' ', 'tombstone', canonical) FROM mailroster.tombstone";

/// What is declared at the end: 200 objects, some of them other than at first.
fn declared(last: bool) -> Vec<String> {
    let mut resources = vec!["InternalDomain/acme {domain: acme.example}".to_owned()];
    let name = if last { "Second" } else { "First" };
    resources.extend(
        (0..120).map(|n| {
            format!("EmailAddress/a{n} {{address: a{n}@acme.example, displayName: {name} {n}, disabled: {}}}", last && n % 3 == 0)
        }),
    );
    resources.extend((0..40).map(|n| {
        let primary = if last { (n + 1) % 40 } else { n };
        format!("AliasLink/l{n} {{alias: l{n}@acme.example, primary: a{primary}@acme.example}}")
    }));
    resources.extend((0..30).map(|n| {
        let mailbox = if last { 80 + n } else { 40 + n };
        format!("DelegateMailbox/d{n} {{reader: a{n}@acme.example, mailbox: a{mailbox}@acme.example}}")
    }));
    if !last {
        resources.extend((25..30).map(|n| format!("DelegateMailbox/gone{n} {{reader: a{n}@acme.example, mailbox: a0@acme.example}}")));
    }
    resources.extend((0..9).map(|n| {
        let member = if last { (n + 1) % 9 } else { n };
        format!("AdminRole/r{n} {{builtIn: HelpDesk, members: [a{member}@acme.example]}}")
    }));
    resources
}

async fn apply(cluster: &ControlPlane, namespace: &str, resources: &[String]) {
    let chunks: Vec<_> = resources.chunks(20).map(|chunk| yaml(&chunk.join("\n"))).collect();
    let apply = async |chunk: String| drop(cluster.apply(namespace, &chunk).await);
    futures::stream::iter(chunks).for_each_concurrent(4, apply).await;
}

/// Waits until all that is declared is in force.
async fn all_ready(cluster: &ControlPlane, namespace: &str) {
    for kind in ["InternalDomain", "EmailAddress", "AliasLink", "DelegateMailbox", "AdminRole"] {
        eventually(DEADLINE, &format!("each {kind} of {namespace} is ready"), async || {
            let not_ready = |resource: &Value| {
                let ready = resources::condition(resource, "Ready").unwrap_or_default();
                ready["status"] != "True" || ready["observedGeneration"] != resource["metadata"]["generation"]
            };
            let list = cluster.list(kind, namespace).await;
            let waiting: Vec<_> = list.into_iter().filter(not_ready).map(|resource| resource["metadata"]["name"].clone()).collect();
            if waiting.is_empty() { Ok(()) } else { Err(waiting) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_controller_that_dies_amid_two_hundred_changes_is_followed_by_one_that_ends_in_the_same_place() {
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
    let first = declared(false);
    tokio::join!(apply(cluster, namespace, &first), async {
        count("SELECT count(*) FROM mailroster.address", 20).await;
        operator.kill9();
    });
    *operator = Operator::start_with(settings.clone()).await;
    count("SELECT count(*) FROM mailroster.address", 60).await;
    // Asked to end while the first state changes into the last, parts of which are deletions.
    let last = declared(true);
    tokio::join!(apply(cluster, namespace, &last), async {
        count("SELECT count(*) FROM mailroster.address WHERE display_name LIKE 'Second%'", 10).await;
        for n in 25..30 {
            cluster.delete("DelegateMailbox", namespace, &format!("gone{n}")).await;
        }
        assert!(operator.terminate().await.success());
    });
    *operator = Operator::start_with(settings).await;

    // Another lived through nothing but the end.
    apply(calm.cluster, &calm.namespace, &last).await;
    all_ready(calm.cluster, &calm.namespace).await;
    all_ready(cluster, namespace).await;
    for n in 25..30 {
        cluster.wait_gone("DelegateMailbox", namespace, &format!("gone{n}")).await;
    }
    let (expected, found) = (calm.rows(DUMP).await, tenant.rows(DUMP).await);
    let (missing, more): (Vec<_>, Vec<_>) =
        (expected.iter().filter(|row| !found.contains(row)).collect(), found.iter().filter(|row| !expected.contains(row)).collect());
    assert!(expected.len() > 390 && missing.is_empty() && more.is_empty(), "missing {missing:?}; more {more:?}");
}
