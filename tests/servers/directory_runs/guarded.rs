//! What counts against a connection's guard, as the store counts it, and what never does (SPEC Y4, Y7).

use super::corp::Corp;

const SHUT: &str = "SELECT count(*) FROM mailroster.address WHERE directory_missing";

fn people(count: usize) -> String {
    (0..count).map(|n| format!("u{n} SMTP:u{n}@acme.example\n")).collect()
}

/// Twenty people, of whom five may leave within a day; so many seconds ago three were shut.
async fn three_of_twenty_left(after: &str, seconds: i64) -> Corp {
    let corp = Corp::without_connection().await;
    corp.add(&people(20));
    let leavers = format!("leavers: {{missedRuns: 1, after: {after}}}");
    corp.connect("corp", &format!("{leavers}, deletionGuard: {{maxPercent: 0, minCount: 5}}")).await;
    corp.run().await;
    leave(&corp, 0..3).await;
    corp.store(SHUT, "3").await;
    corp.tenant.database.move_clock(seconds).await;
    corp
}

async fn leave(corp: &Corp, who: std::ops::Range<usize>) {
    who.for_each(|n| corp.remove(&format!("u{n}")));
    corp.run().await;
}

async fn three_more_are_held(corp: &Corp) {
    leave(corp, 3..6).await;
    let status = corp.tenant.status("DirectoryConnection/corp", "3 held", |status| status["heldPlan"]["count"] == 3).await;
    assert_eq!(
        status["heldPlan"]["sample"],
        serde_json::json!(["Leave u3@acme.example", "Leave u4@acme.example", "Leave u5@acme.example"])
    );
    assert_eq!(corp.tenant.database.text(SHUT).await, "3");
}

async fn three_more_pass(corp: &Corp) {
    leave(corp, 3..6).await;
    corp.store(SHUT, "6").await;
    corp.tenant.condition("DirectoryConnection/corp", "DeletionsHeld", "False NothingHeld").await;
}

#[tokio::test]
async fn y7_who_was_shut_within_the_day_counts_and_who_was_shut_before_it_does_not() {
    // The action is far: they only wait.
    let (recent, old) = tokio::join!(three_of_twenty_left("200h", 23 * 3_600), three_of_twenty_left("200h", 24 * 3_600 + 60));
    tokio::join!(three_more_are_held(&recent), three_more_pass(&old));
}

#[tokio::test]
async fn y7_who_is_gone_within_the_day_counts_approved_ones_do_not_and_who_went_before_it_does_not() {
    const GONE: &str = "SELECT count(*) FROM mailroster.departed";
    let gone = async |more: i64| {
        let corp = three_of_twenty_left("1h", 3_700).await;
        corp.store(GONE, "3").await;
        corp.store("SELECT count(*) FROM mailroster.leaver", "0").await;
        corp.tenant.database.move_clock(more).await;
        corp
    };
    let (recent, old) = tokio::join!(gone(23 * 3_600), gone(24 * 3_600 + 60));
    let approved = async {
        three_more_are_held(&recent).await;
        // By then six have left: of the three that were approved none counts, so two more fill the five, and not one besides.
        recent.approve("corp", "heldPlan", 3).await;
        recent.store(SHUT, "6").await;
        leave(&recent, 6..8).await;
        recent.store(SHUT, "8").await;
        leave(&recent, 8..9).await;
        recent.tenant.status("DirectoryConnection/corp", "1 held", |status| status["heldPlan"]["count"] == 1).await;
        assert_eq!(recent.tenant.database.text(SHUT).await, "8");
    };
    tokio::join!(approved, three_more_pass(&old));
}

#[tokio::test]
async fn y7_accounts_that_the_directory_disables_are_shut_at_once_however_many_and_count_for_nothing() {
    const DISABLED: &str = "SELECT count(*) FROM mailroster.address WHERE directory_disabled";
    let corp = Corp::without_connection().await;
    corp.tenant.apply("InternalDomain/acme {domain: acme.example, recipientValidation: Directory}").await;
    corp.add(&people(100));
    let disable = |who: std::ops::Range<usize>| {
        let modify = |n| {
            let dn = corp.dn(&format!("u{n}"));
            format!("dn: {dn}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 514\n\n")
        };
        corp.slapd.modify(&who.map(modify).collect::<String>());
    };
    // A fifth at the first run, then twelve of a hundred, where ten may leave.
    disable(0..20);
    corp.connect("corp", "deletionGuard: {maxPercent: 10, minCount: 10}").await;
    let first = corp.tenant.status("DirectoryConnection/corp", "a run", |status| status["lastRun"]["read"] == 100).await;
    assert_eq!((&first["lastRun"]["disabled"], &first["lastRun"]["held"]), (&20.into(), &0.into()), "{first}");
    corp.store(DISABLED, "20").await;
    disable(20..32);
    let run = corp.run().await;
    assert_eq!((&run["disabled"], &run["held"], &run["missing"]), (&12.into(), &0.into(), &0.into()), "{run}");
    corp.store(DISABLED, "32").await;
    corp.tenant.reasons("DirectoryConnection/corp Succeeded").await;
    corp.tenant.condition("DirectoryConnection/corp", "DeletionsHeld", "False NothingHeld").await;
    corp.store("SELECT count(*) FROM gateway.recipient_v1 WHERE domain = 'acme.example'", "100").await;
    // Ten leave besides: what was disabled took nothing of their room.
    (90..100).for_each(|n| corp.remove(&format!("u{n}")));
    corp.run().await;
    corp.store(SHUT, "10").await;
}

#[tokio::test]
async fn y7_five_of_eight_and_a_few_at_each_of_ten_runs_are_held_and_their_mail_flows_on() {
    for (all, at_once, runs, shut) in [(8, 5, 1, "0"), (200, 12, 10, "12")] {
        let corp = Corp::without_connection().await;
        corp.tenant.apply("InternalDomain/acme {domain: acme.example, recipientValidation: Directory}").await;
        corp.add(&people(all));
        corp.connect("corp", "").await;
        corp.run().await;
        for run in 0..runs {
            leave(&corp, run * at_once..(run + 1) * at_once).await;
        }
        corp.tenant.condition("DirectoryConnection/corp", "DeletionsHeld", "True MassDeletion").await;
        corp.store(SHUT, shut).await;
        corp.store("SELECT count(*) FROM gateway.recipient_v1 WHERE domain = 'acme.example' AND kind = 'mailbox'", &all.to_string()).await;
        corp.store(
            "SELECT count(*) FROM mailroster.address WHERE gateway.recipient_action_v1(canonical) IS NOT NULL AND origin = 'Directory'",
            "0",
        )
        .await;
    }
}
