//! Runs that find nothing, and what a full one finds that no other was told of (SPEC Y10, Y11).

use super::corp::{Corp, FULL};
use crate::support::wait::PATIENCE;
use crate::support::{eventually, resources, slapd};
use serde_json::Value;
use std::collections::BTreeMap;

/// A tenant with something of every kind, whose domain validates by directory, and a connection that runs each hour.
async fn hourly(more: &str) -> Corp {
    let corp = Corp::without_connection().await;
    corp.tenant.apply("InternalDomain/acme {domain: acme.example, recipientValidation: Directory}").await;
    corp.declare_with_password("anna", ", access: {pop: true}").await;
    corp.add(
        "anna SMTP:anna@acme.example, smtp:a@acme.example
bert SMTP:bert@acme.example
carl SMTP:carl@acme.example
lost SMTP:lost@elsewhere.example",
    );
    corp.add_groups("all SMTP:all@acme.example");
    corp.connect("corp", &format!("interval: 1h, fullInterval: 240h, {more}")).await;
    corp.tenant
        .apply(
            "DelegateMailbox/d {reader: anna@acme.example, mailbox: bert@acme.example}
AdminRole/r {builtIn: HelpDesk, members: [anna@acme.example]}
AliasLink/l {alias: desk@acme.example, primary: bert@acme.example}",
        )
        .await;
    corp.tenant.ready("DirectoryConnection/corp\nDelegateMailbox/d\nAdminRole/r\nAliasLink/l").await;
    corp.tenant.condition("InternalDomain/acme", "DirectoryReady", "True DirectoryFresh").await;
    // One leaves, is missed and waits.
    corp.remove("carl");
    corp.run().await;
    corp.run().await;
    corp.store("SELECT count(*) FROM mailroster.address WHERE directory_missing", "1").await;
    corp
}

/// Lets an hour pass; the record of the run that begins by itself, once its connection's status has it.
async fn an_hour_later(corp: &Corp) -> Value {
    let sql = "SELECT state->'last_run' FROM mailroster.connection WHERE name = 'corp'";
    let before = corp.tenant.database.text(sql).await;
    corp.tenant.database.move_clock(4_000).await;
    let run = eventually(PATIENCE, "the next run", async || match corp.tenant.database.text(sql).await {
        text if text == before => Err(text),
        text => Ok(serde_json::from_str::<Value>(&text).expect("a record")),
    })
    .await;
    let second = |time: &Value| time.as_str().unwrap_or_default().get(..19).unwrap_or_default().to_owned();
    let began = second(&run["started_at"]);
    corp.tenant.status("DirectoryConnection/corp", "that run", |status| second(&status["lastRun"]["startedAt"]) == began).await;
    run
}

fn but_the_domain(mut standing: BTreeMap<String, String>) -> BTreeMap<String, String> {
    assert!(standing.remove("InternalDomain/acme").is_some(), "{standing:?}");
    standing
}

#[tokio::test]
async fn y10_a_mechanism_that_is_counted_on_and_that_the_server_does_not_have_is_reported_and_all_is_read() {
    let corp = Corp::without_connection().await;
    corp.add("anna SMTP:anna@acme.example");
    let bind = |name: &str| format!("bind: {{dn: 'cn={name},{}', passwordSecretRef: {{name: corp-ldap, key: password}}}}", slapd::SUFFIX);
    let as_bound = async |name: &str, detection: &str| {
        corp.connect("corp", &format!("{}, changeDetection: {detection}", bind(name))).await;
        // What was under way, and the one that the change of the spec begins by itself, come before those that are asked for.
        for _ in 0..2 {
            corp.run().await;
        }
        corp.run().await
    };
    let run = as_bound("timeless", "SyncRepl").await;
    let url = format!("ldap://127.0.0.1:{}", corp.slapd.ldap());
    let told = format!("{url} does not tell what changed, as spec.changeDetection counts on: each run reads everything");
    assert_eq!((&run["mode"], &run["complete"], &run["reports"]), (&"Full".into(), &true.into(), &serde_json::json!([told])), "{run}");
    let run = as_bound("timeless", "Auto").await;
    assert_eq!((&run["mode"], &run["reported"]), (&"Full".into(), &0.into()), "{run}");
    let run = as_bound("sync", "SyncRepl").await;
    assert_eq!((&run["mode"], &run["reported"]), (&"SyncRepl".into(), &0.into()), "{run}");
}

#[tokio::test]
async fn y10_a_run_that_finds_nothing_new_writes_its_own_record_and_one_status_whether_it_reads_all_or_what_changed() {
    for (more, mode) in [("", "SyncRepl"), (FULL, "Full")] {
        let corp = hourly(more).await;
        // What the clock alone brings along is over.
        assert_eq!(an_hour_later(&corp).await["mode"], mode);
        let (store, written, before) = (corp.all_but_the_record_of_runs().await, corp.tenant.statuses_written().await, corp.domain().await);
        let statuses = but_the_domain(corp.tenant.standing().await);
        let run = an_hour_later(&corp).await;
        assert_eq!((&run["mode"], &run["complete"], &run["missing"]), (&mode.into(), &true.into(), &1.into()), "{run}");
        for change in ["created", "updated", "linked", "relinked", "unlinked", "disabled", "enabled"] {
            assert_eq!(run[change], 0, "{change}: {run}");
        }
        // Whatever it touched has been planned by then.
        corp.tenant.reconcile("DelegateMailbox/d", "looked").await;
        let mut after = but_the_domain(corp.tenant.standing().await);
        after.insert("DelegateMailbox/d".to_owned(), statuses["DelegateMailbox/d"].clone());
        assert_eq!(after, statuses, "{mode}");
        assert!(statuses.len() >= 4, "{statuses:?}");
        let (says, version) = corp.domain().await;
        assert_eq!(says, before.0, "{mode}");
        let counted = if version == before.1 { 0.0 } else { 1.0 };
        let written = corp.tenant.statuses_written().await - written;
        assert_eq!(Some(written), Some(2.0 + counted), "the connection's, and the one that was asked for");
        let (now, handled) = (corp.all_but_the_record_of_runs().await, "DelegateMailbox");
        let changed: Vec<_> = now.iter().filter(|row| !store.contains(row) && !row.contains(handled)).collect();
        let gone: Vec<_> = store.iter().filter(|row| !now.contains(row)).collect();
        assert!(changed.is_empty() && gone.is_empty(), "{mode}: {changed:#?} for {gone:#?}");
        assert!(store.iter().any(|row| row.starts_with("leaver ")) && store.len() > 20, "{store:#?}");
    }
}

#[tokio::test]
async fn y11_after_its_interval_everything_is_read_and_what_the_server_had_not_told_is_put_right_and_reported() {
    const NAME: &str = "SELECT global_name FROM mailroster.address WHERE canonical = 'anna@acme.example'";
    let corp = Corp::without_connection().await;
    corp.add("anna SMTP:anna@acme.example\nbert SMTP:bert@acme.example");
    corp.connect("corp", "interval: 1h, fullInterval: 6h").await;
    assert_eq!(corp.run().await["mode"], "SyncRepl");
    // As if a change had been made that no increment told of.
    corp.tenant
        .database
        .execute(
            "UPDATE mailroster.entry SET digest = decode(repeat('00', 16), 'hex') WHERE address_id = (SELECT id FROM mailroster.address WHERE canonical = 'anna@acme.example');
             UPDATE mailroster.address SET global_name = 'Anna as she was' WHERE canonical = 'anna@acme.example'",
        )
        .await;
    let run = corp.run().await;
    assert_eq!((&run["mode"], &run["read"], &run["reported"]), (&"SyncRepl".into(), &0.into(), &0.into()), "{run}");
    corp.tenant.database.move_clock(5 * 3_600 + 1_800).await;
    let run = corp.run().await;
    assert_eq!((&run["mode"], &run["reported"]), (&"SyncRepl".into(), &0.into()), "not before its time: {run}");
    assert_eq!(corp.tenant.database.text(NAME).await, "Anna as she was");
    corp.tenant.database.move_clock(4_000).await;
    corp.store("SELECT state->'last_run'->>'mode' FROM mailroster.connection", "Full").await;
    assert_eq!(corp.tenant.database.text(NAME).await, "anna");
    let told = "1 entries had changed without the server's telling so";
    let status = corp.tenant.status("DirectoryConnection/corp", "what it found", |status| {
        status["lastRun"]["mode"] == "Full" && status["lastRun"]["reports"] == serde_json::json!([told])
    });
    let status = status.await;
    assert_eq!((&status["lastRun"]["read"], &status["lastRun"]["updated"]), (&2.into(), &1.into()), "{status}");
    let ready = resources::condition(&corp.tenant.get("DirectoryConnection/corp").await.unwrap(), "Ready").unwrap_or_default();
    assert!(ready["message"].as_str().is_some_and(|message| message.ends_with("; 1 to look at in status.lastRun.reports")), "{ready}");
    // The next ones go on from there, until it is time again.
    let run = corp.run().await;
    assert_eq!((&run["mode"], &run["reported"]), (&"SyncRepl".into(), &0.into()), "{run}");
}
