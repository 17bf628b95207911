//! The API server in trouble: what it refuses is tried again ever more seldom and never all at once, nobody else waits for it, and the
//! store goes on (SPEC C3, M2; DESIGN 5).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::operator::Settings;
use crate::support::proxy::{Answer, Proxy, Seen, busiest};
use crate::support::wait::PATIENCE;
use crate::support::{self, ControlPlane, Operator, eventually, folder, tools};
use crate::tenant::{Tenant, yaml};
use serde_json::{Value, json};

const DOMAIN: &str = "InternalDomain/acme {domain: acme.example}";

/// A tenant whose controller reaches the API server through a proxy, with a domain in force.
async fn behind_proxy() -> (Tenant, Proxy) {
    let (tenant, proxy) = Tenant::behind_proxy().await;
    tenant.apply(DOMAIN).await;
    tenant.ready(DOMAIN).await;
    (tenant, proxy)
}

fn addresses(prefix: &str, count: usize) -> String {
    (1..=count).map(|n| format!("EmailAddress/{prefix}{n} {{address: {prefix}{n}@acme.example}}\n")).collect()
}

async fn seen(proxy: &Proxy, since: Instant, least: usize, what: &str, of: impl Fn(&Seen) -> bool) -> Vec<Seen> {
    eventually(PATIENCE, &format!("{least} requests: {what}"), async || {
        let seen = proxy.seen(since, &of);
        if seen.len() >= least { Ok(seen) } else { Err(seen.len()) }
    })
    .await
}

/// The pauses between the requests for each resource, in order.
fn pauses(requests: &[Seen]) -> Vec<Vec<Duration>> {
    let mut by_path: BTreeMap<&str, Vec<Instant>> = BTreeMap::new();
    for request in requests {
        by_path.entry(&request.path).or_default().push(request.at);
    }
    by_path.into_values().map(|times| times.windows(2).map(|pair| pair[1] - pair[0]).collect()).collect()
}

fn versions(resources: &[Value]) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    resources.iter().map(|resource| (text(&resource["metadata"]["name"]), text(&resource["metadata"]["resourceVersion"]))).collect()
}

#[tokio::test]
async fn c3_statuses_that_are_refused_wait_ever_longer_and_hold_up_nobody() {
    let (tenant, proxy) = behind_proxy().await;
    let bad = |seen: &Seen| seen.is_status() && seen.path.contains("/bad");
    proxy.answer(move |seen| {
        let code = if seen.path.contains("7/") { 422 } else { 403 };
        if bad(seen) { Answer::refused(code) } else { Answer::Pass }
    });
    let began = Instant::now();
    // More than may be written at a time.
    let refused = addresses("bad", 80);
    tenant.apply(&refused).await;
    tenant.until("SELECT count(*) FROM mailroster.address WHERE owner LIKE 'bad%'", &["80"]).await;
    seen(&proxy, began, 80, "each status was tried", bad).await;
    let others = addresses("good", 20);
    tenant.apply(&others).await;
    tenant.ready(&others).await;

    // Twice more at the least, the next pause at the least twice as long as the one before, and not all at the same moment.
    eventually(PATIENCE, "each was tried three times", async || {
        let pauses = pauses(&proxy.seen(began, bad));
        if pauses.len() == 80 && pauses.iter().all(|pauses| pauses.len() >= 2) { Ok(()) } else { Err(pauses.len()) }
    })
    .await;
    let requests = proxy.seen(began, bad);
    let pauses = pauses(&requests);
    for own in &pauses {
        for (pause, least) in own.iter().zip([1_600, 3_200, 6_400, 12_800]) {
            assert!(*pause >= Duration::from_millis(least), "{own:?}");
        }
    }
    let first: Vec<_> = pauses.iter().map(|own| own[0]).collect();
    let spread = first.iter().max().unwrap().abs_diff(*first.iter().min().unwrap());
    assert!(spread > Duration::from_millis(300), "they come back together: {first:?}");
    assert!(busiest(&requests, Duration::from_secs(1)) <= 80 + 64, "{}", busiest(&requests, Duration::from_secs(1)));

    let untouched = versions(&tenant.cluster.list("EmailAddress", &tenant.namespace).await);
    proxy.pass_all();
    tenant.ready(&refused).await;
    let after = versions(&tenant.cluster.list("EmailAddress", &tenant.namespace).await);
    assert!((1..=20).all(|n| after[&format!("good{n}")] == untouched[&format!("good{n}")]), "C3");
}

#[tokio::test]
async fn m2_without_the_right_to_write_statuses_the_store_goes_on_and_statuses_follow_when_it_is_given_back() {
    let cluster = support::control_plane().await;
    let (namespace, database) = tokio::join!(support::fresh_namespace(), support::fresh_database());
    let settings = Settings::new(cluster, &database, &[&namespace]).await;
    let system = settings.system_namespace.clone();
    cluster.give_own_role(&system).await;
    let tenant = Tenant { cluster, namespace, database, operator: Operator::start_with(settings).await };
    let rights = format!("{DOMAIN}\n{}DelegateMailbox/pair {{reader: a1@acme.example, mailbox: a2@acme.example}}", addresses("a", 3));
    tenant.apply(&rights).await;
    tenant.ready(&rights).await;
    let before = tenant.get("EmailAddress/a3").await.unwrap();

    cluster.let_statuses_be_written(&system, false).await;
    let changed = "EmailAddress/a1 {address: a1@acme.example, displayName: Other}\nEmailAddress/new {address: new@acme.example}";
    tenant.apply(changed).await;
    tenant.operator.says("a resource could not be written").await;
    tenant.until("SELECT display_name FROM mailroster.address WHERE owner = 'a1'", &["Other"]).await;
    tenant.until("SELECT count(*) FROM mailroster.address WHERE owner = 'new'", &["1"]).await;
    tenant.delete("DelegateMailbox/pair").await;
    tenant.gone("DelegateMailbox/pair").await;
    tenant.until("SELECT count(*) FROM mailroster.delegation", &["0"]).await;
    assert!(tenant.get("EmailAddress/new").await.unwrap()["status"]["conditions"].is_null());
    assert!(tenant.operator.log().contains("Forbidden") || tenant.operator.log().contains("forbidden"), "{}", tenant.operator.tail());

    cluster.let_statuses_be_written(&system, true).await;
    tenant.ready(changed).await;
    let after = tenant.get("EmailAddress/a3").await.unwrap();
    assert_eq!(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"], "C3");
}

#[tokio::test]
async fn while_every_status_is_answered_503_few_ask_and_all_are_written_afterwards() {
    let (tenant, proxy) = behind_proxy().await;
    proxy.answer(|seen| if seen.is_status() { Answer::refused(503) } else { Answer::Pass });
    let began = Instant::now();
    let all = addresses("a", 150);
    tenant.apply(&all).await;
    tenant.until("SELECT count(*) FROM mailroster.address", &["150"]).await;
    // What was under way when it was noticed, then one at a time.
    let settled = seen(&proxy, began, 12, "statuses", Seen::is_status).await.last().unwrap().at;
    let asked = seen(&proxy, began, 16, "statuses", Seen::is_status).await;
    assert!(asked.len() < 64 + 32, "{}", asked.len());
    let alone: Vec<_> = asked.iter().map(|seen| seen.at).filter(|at| *at > settled + Duration::from_secs(1)).collect();
    assert!(busiest(&proxy.seen(settled + Duration::from_secs(1), Seen::is_status), Duration::from_secs(1)) <= 4, "{alone:?}");

    proxy.pass_all();
    tenant.ready(&all).await;
}

#[tokio::test]
async fn an_api_server_that_answers_429_and_503_to_everything_is_asked_seldom_and_all_heals() {
    let (tenant, proxy) = behind_proxy().await;
    let quiet = addresses("quiet", 5);
    tenant.apply(&quiet).await;
    tenant.ready(&quiet).await;
    let before = versions(&tenant.cluster.list("EmailAddress", &tenant.namespace).await);

    // The Lease is left alone: without it the process ends and begins anew, which is another test's matter.
    proxy.answer(|seen| match (seen.is_lease(), seen.is_watch()) {
        (true, _) => Answer::Pass,
        (_, true) => Answer::Refused { code: 429, retry_after: Some(1) },
        _ => Answer::refused(503),
    });
    proxy.cut();
    let began = Instant::now();
    tenant.apply("EmailAddress/new {address: new@acme.example}").await;
    // A lock that a status should tell of.
    let wrong =
        "SELECT gateway.record_logon_v1(gen_random_uuid(), 'quiet1@acme.example', 'wrong_password', 'imap') FROM generate_series(1, 5)";
    sqlx::query(wrong).execute(&tenant.database.as_role("mailroster_auth")).await.expect("five logons");
    seen(&proxy, began, 2, "statuses of the lock", |seen| seen.is_status() && seen.names("quiet1")).await;
    seen(&proxy, began, 30, "watches", Seen::is_watch).await;
    let all = proxy.seen(began, |seen| !seen.is_lease());
    // Seven watches with pauses of 0.8 s and more each, and one status.
    assert!(busiest(&all, Duration::from_secs(1)) <= 24, "{all:#?}");

    proxy.pass_all();
    tenant.ready("EmailAddress/new").await;
    tenant.condition("EmailAddress/quiet1", "Locked", "True TooManyFailedLogons").await;
    let after = versions(&tenant.cluster.list("EmailAddress", &tenant.namespace).await);
    assert!((2..=5).all(|n| after[&format!("quiet{n}")] == before[&format!("quiet{n}")]), "C3: nothing else was written");
}

#[tokio::test]
async fn conflicts_on_a_status_and_on_a_finalizer_are_tried_again_without_a_busy_loop() {
    let (tenant, proxy) = behind_proxy().await;
    tenant.apply(&addresses("a", 2)).await;
    tenant.ready(&addresses("a", 2)).await;
    let patches = |seen: &Seen| seen.method == "PATCH" && (seen.names("late") || seen.names("link"));
    proxy.answer(move |seen| if patches(seen) { Answer::refused(409) } else { Answer::Pass });
    let began = Instant::now();
    let both = "EmailAddress/late {address: late@acme.example}\nAliasLink/link {alias: desk@acme.example, primary: a1@acme.example}";
    tenant.apply(both).await;
    let requests = seen(&proxy, began, 10, "conflicts", patches).await;
    let pauses = pauses(&requests);
    assert_eq!(pauses.len(), 2, "a status and a finalizer: {requests:#?}");
    for own in pauses {
        // The first may come at once: something had changed since.
        for (pause, least) in own.iter().skip(1).zip([200, 400, 800, 1_600]) {
            assert!(*pause >= Duration::from_millis(least), "{own:?}");
        }
    }
    proxy.pass_all();
    tenant.ready(both).await;
    tenant.until("SELECT count(*) FROM mailroster.link", &["1"]).await;
}

#[tokio::test]
async fn watches_that_expired_list_anew_and_miss_nothing() {
    let (tenant, proxy) = behind_proxy().await;
    let all = format!("{}DelegateMailbox/pair {{reader: a1@acme.example, mailbox: a2@acme.example}}", addresses("a", 4));
    tenant.apply(&all).await;
    tenant.ready(&all).await;
    let before = versions(&tenant.cluster.list("EmailAddress", &tenant.namespace).await);

    // The real API server says 410 of a version that is long gone.
    let expired = |seen: &Seen| seen.is_watch() && seen.path.contains("/mailroster.dev/");
    proxy.answer(move |seen| if expired(seen) { Answer::Rewritten(with_version(&seen.path, "1")) } else { Answer::Pass });
    proxy.cut();
    let began = Instant::now();
    tenant.delete("DelegateMailbox/pair").await;
    tenant.apply("EmailAddress/a1 {address: a1@acme.example, displayName: Other}\nEmailAddress/new {address: new@acme.example}").await;
    tenant.ready("EmailAddress/a1\nEmailAddress/new").await;
    tenant.gone("DelegateMailbox/pair").await;
    tenant.until("SELECT count(*) FROM mailroster.delegation", &["0"]).await;
    assert!(tenant.operator.log().contains("too old resource version"), "{}", tenant.operator.tail());
    let requests = seen(&proxy, began, 24, "watches", expired).await;
    assert!(busiest(&requests, Duration::from_secs(1)) <= 18, "{requests:#?}");

    proxy.pass_all();
    proxy.cut();
    tenant.apply("EmailAddress/last {address: last@acme.example}").await;
    tenant.ready("EmailAddress/last").await;
    let after = versions(&tenant.cluster.list("EmailAddress", &tenant.namespace).await);
    assert!((2..=4).all(|n| after[&format!("a{n}")] == before[&format!("a{n}")]), "C3: nothing else was written");
}

#[tokio::test]
async fn watches_that_are_closed_as_soon_as_they_begin_are_not_begun_in_a_loop() {
    let (tenant, proxy) = behind_proxy().await;
    proxy.answer(|seen| if seen.is_watch() { Answer::Empty } else { Answer::Pass });
    proxy.cut();
    let began = Instant::now();
    let requests = seen(&proxy, began, 30, "watches", Seen::is_watch).await;
    // Seven of them, each at most once a second.
    assert!(busiest(&requests, Duration::from_secs(1)) <= 2 * 7, "{}", busiest(&requests, Duration::from_secs(1)));
    proxy.pass_all();
    tenant.apply("EmailAddress/last {address: last@acme.example}").await;
    tenant.ready("EmailAddress/last").await;
}

/// The same request for another version.
fn with_version(path: &str, version: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query: Vec<_> = query
        .split('&')
        .map(|part| if part.starts_with("resourceVersion=") { format!("resourceVersion={version}") } else { part.to_owned() })
        .collect();
    format!("{path}?{}", query.join("&"))
}

/// Has the definition of EmailAddress refuse an origin, as that of another version might; on a control plane of its own.
async fn refuse_origin(cluster: &ControlPlane) {
    let name = "emailaddresses.mailroster.dev";
    let mut definition = cluster.get("CustomResourceDefinition", "", name).await.expect("the definition");
    let status = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
    status["properties"]["origin"] = json!({"type": "string", "enum": ["Elsewhere"]});
    let versions = json!({"spec": {"versions": definition["spec"]["versions"]}});
    cluster.patch("CustomResourceDefinition", "", name, &versions).await;
}

#[tokio::test]
async fn an_api_server_of_another_version_that_is_killed_stopped_and_started_is_found_again_and_nothing_is_written_twice() {
    let cluster = ControlPlane::start(&folder::own("api-server"), &tools::kubernetes()).await;
    cluster.install_custom_resources().await;
    let (database, namespace) = (support::fresh_database().await, cluster.fresh_namespace().await);
    let proxy = cluster.proxy().await;
    let mut settings = Settings::new(&cluster, &database, &[&namespace]).await;
    settings.kubeconfig = proxy.kubeconfig(&settings.kubeconfig);
    let mut operator = Operator::start_with(settings).await;
    let all = format!("{DOMAIN}\n{}AliasLink/link {{alias: desk@acme.example, primary: a1@acme.example}}", addresses("a", 5));
    cluster.apply(&namespace, &yaml(&all)).await;
    for (kind, name) in [("EmailAddress", "a1"), ("EmailAddress", "a5"), ("AliasLink", "link")] {
        cluster.wait_ready(kind, &namespace, name).await;
    }
    let of_all = async || versions(&cluster.list("EmailAddress", &namespace).await);

    // A definition that refuses what we say, a real 422: in force, and told when it can be.
    refuse_origin(&cluster).await;
    let later = yaml("EmailAddress/later {address: later@acme.example}");
    cluster.apply(&namespace, &later).await;
    operator.says("a resource could not be written").await;
    assert!(operator.log().contains("Unsupported value"), "{}", operator.tail());
    assert_eq!(database.text("SELECT count(*) FROM mailroster.address WHERE owner = 'later'").await, "1");
    cluster.install_custom_resources().await;
    cluster.wait_ready("EmailAddress", &namespace, "later").await;

    for (killed, name) in [(true, "a1"), (false, "a2")] {
        let before = of_all().await;
        let began = Instant::now();
        if killed {
            cluster.kill_api_server().await;
        } else {
            cluster.stop_api_server().await;
        }
        // What changes meanwhile is told later.
        let wrong = format!(
            "SELECT gateway.record_logon_v1(gen_random_uuid(), '{name}@acme.example', 'wrong_password', 'imap') FROM generate_series(1, 5)"
        );
        sqlx::query(sqlx::AssertSqlSafe(wrong)).execute(&database.as_role("mailroster_auth")).await.expect("five logons");
        let asked = seen(&proxy, began, 14, "while nobody answers", |_| true).await;
        assert!(busiest(&asked, Duration::from_secs(1)) <= 30, "{asked:#?}");
        cluster.start_api_server().await;
        // Without its Lease for ten seconds it has ended, and whoever runs it starts it again.
        operator.revive().await;
        cluster.wait_condition("EmailAddress", &namespace, name, "Locked", "True").await;
        let new = format!("new-{name}");
        cluster.apply(&namespace, &yaml(&format!("EmailAddress/{new} {{address: {new}@acme.example}}"))).await;
        cluster.wait_ready("EmailAddress", &namespace, &new).await;
        let after = of_all().await;
        assert!(before.iter().all(|(other, version)| other == name || after[other] == *version), "C3: {before:?} {after:?}");
    }
}
