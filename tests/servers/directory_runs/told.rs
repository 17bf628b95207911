//! What a run tells besides its status: an Event with what it changed, and numbers to watch (SPEC C5, docs/operations.md).

use super::corp::{Corp, FULL};

/// The value of a series of the connection: its name, and the labels besides.
async fn metric(corp: &Corp, name: &str, label: &str) -> Option<f64> {
    let series = format!("mailroster_directory_{name}{{namespace=\"{}\",connection=\"corp\"{label}}}", corp.tenant.namespace);
    corp.tenant.operator.metric(&series).await
}

async fn changes(corp: &Corp) -> String {
    let mut told = Vec::new();
    for change in ["created", "updated", "linked", "relinked", "unlinked", "disabled", "enabled"] {
        if let Some(count) = metric(corp, "changes_total", &format!(",change=\"{change}\"")).await {
            told.push(format!("{count} {change}"));
        }
    }
    told.join(", ")
}

/// The texts of all Events of that reason about the connection, in order of time.
async fn events(corp: &Corp, reason: &str) -> Vec<String> {
    let mut events = corp.tenant.cluster.list("Event", &corp.tenant.namespace).await;
    events.retain(|event| event["involvedObject"]["name"] == "corp" && event["reason"] == reason);
    events.sort_by_key(|event| event["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned());
    events.iter().map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn c5_a_run_that_changed_something_says_so_in_an_event_and_each_run_is_counted() {
    let corp = Corp::without_connection().await;
    corp.add("anna SMTP:anna@acme.example, smtp:a@acme.example\nbert SMTP:bert@acme.example\ncarl SMTP:carl@acme.example\nlost SMTP:lost@elsewhere.example");
    corp.add_groups("all SMTP:all@acme.example");
    corp.connect("corp", &format!("{FULL}, leavers: {{missedRuns: 1}}, deletionGuard: {{maxPercent: 0, minCount: 0}}")).await;
    let url = format!("ldap://127.0.0.1:{}", corp.slapd.ldap());
    let told = corp.tenant.cluster.wait_event(&corp.tenant.namespace, "corp", "Synchronised").await;
    let first = format!(
        "5 entries read from {url}: 4 created, 0 updated, 1 linked, 0 relinked, 0 unlinked, 0 disabled, 0 enabled, 0 missing, 0 held"
    );
    assert_eq!(told, first);
    assert_eq!(metric(&corp, "entries_read_total", "").await, Some(5.0));
    assert_eq!(changes(&corp).await, "4 created, 1 linked");
    assert_eq!(metric(&corp, "held_deletions", "").await, Some(0.0));
    let phases = async |runs: f64| {
        for phase in ["reading", "bringing", "concluding"] {
            let label = format!(",phase=\"{phase}\"");
            assert_eq!(metric(&corp, "run_duration_seconds_count", &label).await, Some(runs), "{phase}");
            let took = metric(&corp, "run_duration_seconds_sum", &label).await;
            assert!(took.is_some_and(|seconds| seconds > 0.0 && seconds < 60.0), "{phase}: {took:?}");
        }
    };
    phases(1.0).await;
    let completed = async || {
        let at =
            "SELECT extract(epoch FROM date_trunc('second', (state->>'last_complete')::timestamptz))::bigint FROM mailroster.connection";
        let at = corp.tenant.database.text(at).await.parse::<f64>().expect("a time");
        assert_eq!(metric(&corp, "last_complete_run_seconds", "").await, Some(at));
        at
    };
    completed().await;

    // One that finds nothing new is counted and tells nothing.
    corp.run().await;
    corp.tenant.status("DirectoryConnection/corp", "that run", |status| status["lastRun"]["unchanged"] == 4).await;
    assert_eq!((metric(&corp, "entries_read_total", "").await, changes(&corp).await), (Some(10.0), "4 created, 1 linked".to_owned()));
    phases(2.0).await;

    // One is disabled, one loses an alias to another, two leave, of whom one might.
    corp.slapd.modify(&format!("dn: {}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 514\n", corp.dn("bert")));
    corp.readdress("anna", "SMTP:anna@acme.example");
    corp.readdress("bert", "SMTP:bert@acme.example, smtp:a@acme.example");
    corp.remove("carl");
    corp.remove("all");
    let run = corp.run().await;
    let status = corp.tenant.status("DirectoryConnection/corp", "that run", |status| status["lastRun"]["held"] == 2);
    assert_eq!(status.await["lastRun"]["relinked"], 1, "{run}");
    let second = format!(
        "3 entries read from {url}: 0 created, 1 updated, 0 linked, 1 relinked, 0 unlinked, 1 disabled, 0 enabled, 2 missing, 2 held"
    );
    crate::support::eventually(crate::support::wait::PATIENCE, "an Event of each run that changed something", async || {
        let seen = events(&corp, "Synchronised").await;
        if seen.len() == 2 && seen.contains(&first) && seen.contains(&second) { Ok(()) } else { Err(seen) }
    })
    .await;
    assert_eq!(changes(&corp).await, "4 created, 1 updated, 1 linked, 1 relinked, 1 disabled");
    assert_eq!(metric(&corp, "held_deletions", "").await, Some(2.0));
    let held = corp.tenant.cluster.wait_event(&corp.tenant.namespace, "corp", "MassDeletion").await;
    assert!(held.starts_with("2 addresses that the directory lacks wait for a yes"), "{held}");
    let last = completed().await;
    corp.tenant.database.move_clock(60).await;

    // One that isn't complete is counted by why, and the last complete one stands.
    let typo = format!("{FULL}, userFilter: '(objectClass=usr)', groupFilter: '(objectClass=grp)'");
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", &typo))).await;
    corp.tenant.reasons("DirectoryConnection/corp NobodyFound").await;
    let incomplete = |reason: &str| format!(",reason=\"{reason}\"");
    assert_eq!(metric(&corp, "incomplete_runs_total", &incomplete("NobodyFound")).await, Some(1.0));
    assert_eq!(metric(&corp, "incomplete_runs_total", &incomplete("ScopeChanged")).await, None);
    assert_eq!(Some(completed().await), Some(last));
    assert_eq!(metric(&corp, "entries_read_total", "").await, Some(13.0));
    corp.tenant.cluster.wait_event(&corp.tenant.namespace, "corp", "NobodyFound").await;
}
