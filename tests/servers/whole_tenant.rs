//! A whole tenant at once: it comes up in any order, then stands still; and what people see of it (SPEC A4, C3, C9).

use crate::scene::{Scene, resource};
use crate::support::{Cluster, Operator, eventually, resources::condition};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

const KINDS: [&str; 6] = ["AccountSettings", "InternalDomain", "EmailAddress", "AliasLink", "DelegateMailbox", "AdminRole"];
const DOMAINS: usize = 3;
const ADDRESSES: usize = 800;
const LINKS: usize = 120;
const DELEGATIONS: usize = 66;
const ROLES: usize = 10;

/// 1,000 resources, in the order that a seed gives.
fn tenant() -> String {
    let at = |n: usize| format!("user{n}@d{}.example", n % DOMAINS);
    let mut documents = vec![resource("AccountSettings", "default", "{lockout: {failedLogons: 7}}")];
    documents.extend((0..DOMAINS).map(|n| resource("InternalDomain", &format!("d{n}"), &format!("{{domain: d{n}.example}}"))));
    documents.extend((0..ADDRESSES).map(|n| {
        let spec = format!("{{address: {}, displayName: User {n}, attributes: {{room: '{n}'}}, access: {{pop: true}}}}", at(n));
        resource("EmailAddress", &format!("user{n}"), &spec)
    }));
    documents.extend((0..LINKS).map(|n| {
        let spec = format!("{{alias: name{n}@d{}.example, primary: {}}}", n % DOMAINS, at(n));
        resource("AliasLink", &format!("name{n}"), &spec)
    }));
    documents.extend((0..DELEGATIONS).map(|n| {
        let spec = format!("{{reader: {}, mailbox: {}}}", at(n), at(n + 100));
        resource("DelegateMailbox", &format!("pair{n}"), &spec)
    }));
    documents.extend((0..ROLES).map(|n| {
        let spec = format!("{{builtIn: HelpDesk, members: [{}, {}]}}", at(200 + 2 * n), at(201 + 2 * n));
        resource("AdminRole", &format!("desk{n}"), &spec)
    }));
    assert_eq!(documents.len(), 1_000);
    // Fisher and Yates, with Knuth's generator: the same order in each run.
    let mut state: u64 = 20_260_301;
    for last in (1..documents.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let other = usize::try_from(state >> 33).unwrap() % (last + 1);
        documents.swap(last, other);
    }
    documents.concat()
}

/// The resourceVersion of each resource of ours in a namespace.
async fn versions(cluster: &Cluster, namespace: &str) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for kind in KINDS {
        for object in cluster.list(kind, namespace).await {
            assert_eq!(condition(&object, "Ready").unwrap()["status"], "True", "{object:#}");
            let name = object["metadata"]["name"].as_str().unwrap();
            found.insert(format!("{kind}/{name}"), object["metadata"]["resourceVersion"].clone());
        }
    }
    found
}

/// The sum of a metric's series that have these labels.
async fn sum(operator: &Operator, metric: &str, labels: &str) -> f64 {
    let metrics = operator.metrics().await;
    let of_metric =
        metrics.lines().filter(|line| line.contains(labels) && line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' '])));
    of_metric.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test]
async fn c3_a_tenant_of_a_thousand_comes_up_in_any_order_and_then_nothing_is_written() {
    let mut scene = Scene::new().await;
    let (cluster, ours) = (scene.cluster, scene.ours.clone());
    cluster.kubectl_with_input(&["apply", "-n", &ours, "-f", "-"], &tenant()).await.succeeded();
    eventually(Duration::from_mins(2), "all are Ready", async || {
        let ready = sum(&scene.operator, "mailroster_resource_conditions", "condition=\"Ready\",status=\"True\"").await;
        if ready >= 1_000.0 { Ok(()) } else { Err(ready) }
    })
    .await;
    // D3: the counts are the last to come, once a minute.
    eventually(Duration::from_mins(3), "the domains' counts are told", async || {
        let domains = cluster.list("InternalDomain", &ours).await;
        let count = |name: &str| domains.iter().filter_map(|d| d["status"]["addresses"][name].as_u64()).sum::<u64>();
        if count("total") == 920 && count("aliases") == 120 { Ok(()) } else { Err((count("total"), count("aliases"))) }
    })
    .await;

    let before = versions(cluster, &ours).await;
    assert_eq!(before.len(), 1_000);
    let audit = "SELECT count(*) FROM mailroster.audit WHERE subject !~ 'else-'";
    let audited = scene.database.text(audit).await;
    for _ in 0..10 {
        scene.something_else_happens().await;
    }
    assert_eq!(versions(cluster, &ours).await, before);
    assert_eq!(scene.database.text(audit).await, audited);

    // A restart looks at all of it and writes nothing: but for its own leadership and housekeeping.
    assert!(scene.operator.terminate().await.success());
    let batches = async || scene.database.text("SELECT batches FROM mailroster.installation").await.parse::<i64>().unwrap();
    let written = batches().await;
    let operator = Operator::start_with(scene.operator.settings()).await;
    eventually(Duration::from_mins(2), "everything was planned again", async || {
        let planned = sum(&operator, "mailroster_reconciles_total", "").await;
        if planned >= 1_000.0 { Ok(()) } else { Err(planned) }
    })
    .await;
    scene.something_else_happens().await;
    assert_eq!(versions(cluster, &ours).await, before);
    assert_eq!(scene.database.text(audit).await, audited);
    assert!(sum(&operator, "mailroster_status_repeats_total", "").await < 0.5);
    // The one of housekeeping, and those of what was done meanwhile.
    let ahead = batches().await - written;
    assert!(ahead <= 4, "{ahead} batches were written: {}", operator.tail());
}

#[tokio::test]
async fn c9_kubectl_get_shows_what_a_person_asks_first_and_selects_by_it() {
    let scene = Scene::with_domain("acme.example").await;
    scene.addresses(&[("info", "info@acme.example"), ("sales", "sales@acme.example")]).await;
    let yaml = [
        resource("AccountSettings", "default", "{purge: {delay: 2h}}"),
        resource("AliasLink", "desk", "{alias: desk@acme.example, primary: info@acme.example}"),
        resource("AliasLink", "shop", "{alias: shop@acme.example, primary: sales@acme.example}"),
        resource("DelegateMailbox", "one", "{reader: info@acme.example, mailbox: sales@acme.example}"),
        resource("DelegateMailbox", "two", "{reader: sales@acme.example, mailbox: info@acme.example}"),
        resource("AdminRole", "help", "{builtIn: HelpDesk, members: [info@acme.example]}"),
        resource("InternalDomain", "globex", "{domain: globex.example}"),
    ];
    scene.cluster.apply(&scene.ours, &yaml.concat()).await;
    let all = [("AccountSettings", "default"), ("AliasLink", "desk"), ("AliasLink", "shop"), ("DelegateMailbox", "one")];
    for (kind, name) in all.into_iter().chain([("DelegateMailbox", "two"), ("AdminRole", "help"), ("InternalDomain", "globex")]) {
        scene.cluster.wait_ready(kind, &scene.ours, name).await;
    }
    let get = async |arguments: &[&str]| scene.cluster.kubectl(&[&["get", "-n", &scene.ours], arguments].concat()).await.succeeded();
    let has = |text: &str, words: &[&str]| words.iter().all(|word| text.split_whitespace().any(|found| found == *word));
    for (kind, header, row) in [
        ("idom", &["NAME", "DOMAIN", "READY", "REASON", "ADDRESSES", "AGE"][..], &["acme", "acme.example", "True", "Succeeded"][..]),
        ("eaddr", &["ADDRESS", "READY", "REASON", "LOCKED", "DISABLED", "AGE"], &["info@acme.example", "True", "Succeeded", "False"]),
        ("alink", &["ALIAS", "PRIMARY", "READY", "REASON", "AGE"], &["desk@acme.example", "info@acme.example", "True", "Succeeded"]),
        ("dmbx", &["READER", "MAILBOX", "READY", "REASON", "AGE"], &["info@acme.example", "sales@acme.example", "True", "Succeeded"]),
        ("arole", &["NAME", "READY", "REASON", "MEMBERS", "AGE"], &["help", "HelpDesk", "True", "Succeeded", "1"]),
        ("acct", &["NAME", "READY", "REASON", "AGE"], &["default", "True", "Succeeded", "2h"]),
    ] {
        let seen = get(&[kind]).await;
        let (first, rest) = seen.split_once('\n').unwrap();
        assert!(has(first, header) && has(rest, row), "{kind}:\n{seen}");
        assert!(!has(first, &["MESSAGE"]), "{seen}");
        assert!(seen.lines().all(|line| line.chars().count() <= 120), "one screen: {seen}");
        let wide = get(&[kind, "-o", "wide"]).await;
        assert!(wide.lines().next().unwrap().contains("MESSAGE"), "{wide}");
    }
    assert_eq!(get(&["mailroster", "-o", "name"]).await.lines().count(), 10);

    for (kind, selector, name) in [
        ("idom", "spec.domain=globex.example", "internaldomain.mailroster.dev/globex"),
        ("eaddr", "spec.address=sales@acme.example", "emailaddress.mailroster.dev/sales"),
        ("alink", "spec.alias=desk@acme.example", "aliaslink.mailroster.dev/desk"),
        ("alink", "spec.primary=sales@acme.example", "aliaslink.mailroster.dev/shop"),
        ("dmbx", "spec.reader=info@acme.example", "delegatemailbox.mailroster.dev/one"),
        ("dmbx", "spec.mailbox=info@acme.example", "delegatemailbox.mailroster.dev/two"),
    ] {
        assert_eq!(get(&[kind, "-o", "name", "--field-selector", selector]).await.trim(), name, "{selector}");
    }
}
