//! Who leaves: shut after two runs, gone after a day, all there again when back (SPEC Y6, U2, Y12).

use super::corp::Corp;
#[cfg(debug_assertions)]
use crate::{support::Operator, tenant::LONG};

/// Two people, one of whom has an alias, a role and somebody else's mailbox to read.
async fn two(more: &str) -> Corp {
    let corp = Corp::without_connection().await;
    corp.add("anna SMTP:anna@acme.example, smtp:a@acme.example\nbert SMTP:bert@acme.example\ncarl SMTP:carl@acme.example");
    corp.connect("corp", more).await;
    corp.tenant
        .apply(
            "DelegateMailbox/d {reader: anna@acme.example, mailbox: bert@acme.example}
AdminRole/r {builtIn: HelpDesk, members: [anna@acme.example]}",
        )
        .await;
    corp.tenant.ready("DirectoryConnection/corp\nDelegateMailbox/d\nAdminRole/r").await;
    corp
}

const READS: &str = "SELECT count(*) FROM gateway.archive_reader_v1 WHERE reader = 'anna@acme.example' AND mailbox = 'bert@acme.example'";
const HELPS: &str = "SELECT count(*) FROM gateway.administrator_v1 WHERE login = 'anna@acme.example' AND permission = 'addresses.read'";
const HERE: &str = "a@acme.example Directory ->anna@acme.example
    anna@acme.example Directory
    bert@acme.example Directory
    carl@acme.example Directory";

#[tokio::test]
async fn y6_the_same_entry_back_before_and_after_its_day_has_its_alias_role_and_delegation_again() {
    let corp = two("").await;
    let attic = corp.slapd.fresh_base();
    // Before: it never left.
    corp.hide("anna", &attic);
    for _ in 0..2 {
        corp.run().await;
    }
    corp.roster(&HERE.replace("anna@acme.example Directory\n", "anna@acme.example Directory missing\n")).await;
    // It only opens no cloud logon: mail flows on.
    corp.store("SELECT coalesce(gateway.recipient_action_v1('anna@acme.example'), 'ok')", "ok").await;
    corp.show("anna", &attic);
    let run = corp.run().await;
    assert_eq!((&run["enabled"], &run["missing"]), (&1.into(), &0.into()), "{run}");
    corp.roster(HERE).await;
    corp.audit("address anna@acme.example", "Created DirectoryFound, Updated DirectoryMissing, Updated DirectoryChanged").await;
    // After: its alias is gone, and comes back with it.
    corp.hide("anna", &attic);
    for _ in 0..2 {
        corp.run().await;
    }
    corp.tenant.database.move_clock(86_410).await;
    corp.roster("anna@acme.example MailFlow missing\nbert@acme.example Directory\ncarl@acme.example Directory").await;
    corp.show("anna", &attic);
    corp.run().await;
    corp.roster(HERE).await;
    corp.store(READS, "1").await;
    corp.store(HELPS, "1").await;
    corp.tenant.reasons("DelegateMailbox/d Succeeded\nAdminRole/r Succeeded").await;
    corp.tenant.condition("DirectoryConnection/corp", "HolderChanged", "False SameHolder").await;
}

#[tokio::test]
async fn y6_u2_with_purge_a_leaver_waits_for_its_role_and_its_held_mail_and_then_is_gone() {
    let corp = two("leavers: {action: Purge, missedRuns: 1, after: 1h}").await;
    let held = |messages: &str| format!("SELECT gateway.record_held_v1('mx1', '{messages}')");
    corp.remove("anna");
    corp.run().await;
    corp.roster(&HERE.replace("anna@acme.example Directory\n", "anna@acme.example Directory missing\n")).await;
    corp.tenant.database.move_clock(3_700).await;
    let waits =
        "SELECT string_agg(w.action || ' ' || a.canonical, ',') FROM mailroster.waiting w JOIN mailroster.address a ON a.id = w.address_id";
    corp.store(waits, "Purge anna@acme.example").await;
    corp.roster("anna@acme.example MailFlow missing\nbert@acme.example Directory\ncarl@acme.example Directory").await;
    // A wave of purges is seen before its first row goes; then there is the role, and a message in a queue.
    let message = r#"[{"id": "1", "since": 1700000000, "state": "held", "addresses": ["anna@acme.example"]}]"#;
    corp.tenant.database.move_clock(3_700).await;
    corp.tenant.database.execute(&held(message)).await;
    corp.tenant.reconcile("AdminRole/r", "looked").await;
    corp.store("SELECT closing::text FROM mailroster.address WHERE canonical = 'anna@acme.example'", "false").await;
    corp.tenant.delete("AdminRole/r").await;
    corp.tenant.gone("AdminRole/r").await;
    // Only held mail is left in the way: no new mail is taken.
    corp.store("SELECT closing::text FROM mailroster.address WHERE canonical = 'anna@acme.example'", "true").await;
    corp.store("SELECT count(*) FROM gateway.recipient_v1 WHERE address = 'anna@acme.example'", "0").await;
    corp.tenant.database.execute(&held("[]")).await;
    corp.roster("bert@acme.example Directory\ncarl@acme.example Directory").await;
    corp.store("SELECT string_agg(canonical, ',') FROM mailroster.tombstone", "anna@acme.example").await;
    corp.tenant.reasons("DelegateMailbox/d ReaderNotFound").await;
}

#[tokio::test]
async fn y6_u2_one_who_comes_back_while_its_purge_waits_is_not_purged_and_when_it_leaves_again_all_of_it_begins_anew() {
    const WAITS: &str = "SELECT string_agg(concat_ws(' ', w.action, a.canonical), ', ') FROM mailroster.waiting w JOIN mailroster.address a ON a.id = w.address_id";
    let gone = HERE.replace("anna@acme.example Directory\n", "anna@acme.example Directory missing\n");
    let corp = two("leavers: {action: Purge, missedRuns: 1, after: 1h}").await;
    // Nothing stands in the way of the purge but its time.
    corp.tenant.delete("AdminRole/r").await;
    corp.tenant.gone("AdminRole/r").await;
    let later = async |seconds: i64| {
        corp.tenant.database.move_clock(seconds).await;
        corp.tenant.database.execute("SELECT gateway.record_held_v1('mx1', '[]')").await;
    };
    let attic = corp.slapd.fresh_base();
    corp.hide("anna", &attic);
    corp.run().await;
    corp.roster(&gone).await;
    later(3_700).await;
    corp.store(WAITS, "Purge anna@acme.example").await;
    corp.show("anna", &attic);
    corp.run().await;
    corp.roster(HERE).await;
    corp.store(WAITS, "").await;
    // The time of that purge passes, and the day in which the leave counts against the next one.
    later(90_000).await;
    corp.tenant.reconcile("DelegateMailbox/d", "looked").await;
    corp.store(READS, "1").await;
    corp.roster(HERE).await;

    corp.hide("anna", &attic);
    corp.run().await;
    corp.roster(&gone).await;
    later(3_500).await;
    corp.tenant.reconcile("DelegateMailbox/d", "looked again").await;
    corp.store(WAITS, "").await;
    corp.roster(&gone).await;
    later(200).await;
    corp.store(WAITS, "Purge anna@acme.example").await;
    later(3_500).await;
    corp.tenant.reconcile("DelegateMailbox/d", "and again").await;
    corp.store(WAITS, "Purge anna@acme.example").await;
    later(200).await;
    corp.roster("bert@acme.example Directory\ncarl@acme.example Directory").await;
    corp.store("SELECT string_agg(canonical, ',') FROM mailroster.tombstone", "anna@acme.example").await;
}

#[tokio::test]
async fn y6_y12_a_dropped_list_and_alias_end_after_the_same_day_and_what_is_declared_stays() {
    let corp = Corp::without_connection().await;
    corp.tenant.apply("EmailAddress/declared {address: declared@acme.example}").await;
    corp.tenant.ready("EmailAddress/declared").await;
    corp.add(
        "anna SMTP:anna@acme.example, smtp:a@acme.example, smtp:ann@acme.example
bert SMTP:bert@acme.example
carl SMTP:carl@acme.example
dora SMTP:dora@acme.example
declared SMTP:declared@acme.example",
    );
    corp.add_groups("all SMTP:all@acme.example, smtp:everybody@acme.example");
    corp.connect("corp", "leavers: {action: Purge}").await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    corp.readdress("anna", "SMTP:anna@acme.example, smtp:ann@acme.example");
    corp.remove("all");
    corp.remove("declared");
    for _ in 0..2 {
        corp.run().await;
    }
    corp.tenant.condition("EmailAddress/declared", "Disabled", "True DirectoryMissing").await;
    corp.store("SELECT count(*) FROM mailroster.link", "3").await;
    corp.tenant.database.move_clock(86_410).await;
    corp.roster(
        "ann@acme.example Directory ->anna@acme.example
         anna@acme.example Directory
         bert@acme.example Directory
         carl@acme.example Directory
         declared@acme.example Manual missing
         dora@acme.example Directory",
    )
    .await;
    corp.store("SELECT count(*) FROM mailroster.waiting", "0").await;
    corp.tenant.reasons("EmailAddress/declared Succeeded").await;
    corp.audit("address all@acme.example", "Created DirectoryFound, Deleted DirectoryDropped").await;
    corp.audit("link a@acme.example", "Created DirectoryLinked, Deleted DirectoryDropped").await;
}

#[tokio::test]
async fn y6_with_keep_a_leaver_stays_shut_and_a_missing_one_stays_missing() {
    let corp = two("leavers: {action: Keep}").await;
    corp.remove("anna");
    for _ in 0..2 {
        corp.run().await;
    }
    corp.tenant.database.move_clock(3 * 86_400).await;
    let run = corp.run().await;
    assert_eq!((&run["missing"], &run["held"]), (&1.into(), &0.into()), "{run}");
    corp.roster(&HERE.replace("anna@acme.example Directory\n", "anna@acme.example Directory missing\n")).await;
    corp.store(READS, "1").await;
}

/// The one dies between letting somebody go and planning it, the next one before the day is over.
#[cfg(debug_assertions)]
#[tokio::test]
async fn y6_who_was_let_go_before_a_controller_ended_is_seen_through_by_the_next_one() {
    let mut corp = two("").await;
    let settings = corp.tenant.operator.settings();
    let mut dying = settings.clone();
    dying.environment.push(("MAILROSTER_TEST_CRASH".to_owned(), "marked:1".to_owned()));
    corp.tenant.operator.terminate().await;
    corp.tenant.operator = Operator::start_with(dying).await;
    // No resource names him, so that none brings him into view.
    corp.remove("carl");
    corp.tenant.annotate("DirectoryConnection/corp", "requestedAt", "the last").await;
    assert!(!corp.tenant.operator.ended(LONG).await.success(), "{}", corp.tenant.operator.tail());
    corp.store("SELECT count(cleared_at) FROM mailroster.leaver", "1").await;
    Operator::release_lease(corp.tenant.cluster, &settings).await;
    corp.tenant.operator = Operator::start_with(settings.clone()).await;
    corp.roster(&HERE.replace("carl@acme.example Directory", "carl@acme.example Directory missing")).await;
    corp.tenant.operator.terminate().await;
    corp.tenant.operator = Operator::start_with(settings).await;
    corp.tenant.operator.says("all that is declared has been planned once").await;
    corp.tenant.database.move_clock(86_410).await;
    corp.roster(&HERE.replace("carl@acme.example Directory", "carl@acme.example MailFlow missing")).await;
}

#[tokio::test]
async fn y6_c8_what_was_due_while_a_connection_was_suspended_is_done_when_it_is_resumed() {
    let corp = two("").await;
    corp.remove("anna");
    for _ in 0..2 {
        corp.run().await;
    }
    let missing = HERE.replace("anna@acme.example Directory\n", "anna@acme.example Directory missing\n");
    corp.roster(&missing).await;
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", "suspend: true"))).await;
    corp.tenant.reasons("DirectoryConnection/corp Suspended").await;
    corp.tenant.database.move_clock(86_410).await;
    corp.tenant.reconcile("AdminRole/r", "due").await;
    corp.tenant.reconcile("AdminRole/r", "and past").await;
    corp.roster(&missing).await;
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", ""))).await;
    corp.roster("anna@acme.example MailFlow missing\nbert@acme.example Directory\ncarl@acme.example Directory").await;
}
