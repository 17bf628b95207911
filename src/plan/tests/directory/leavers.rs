//! Who leaves, and what holds it back (SPEC Y6, Y7).

use super::*;

#[test]
fn y6_a_leaver_is_shut_after_two_runs_and_leaves_after_a_day() {
    let mut corp = corp("");
    let both = "a: {mail: ['SMTP:anna@acme.example', 'a@acme.example']}\nb: {mail: ['SMTP:bert@acme.example']}";
    corp.run(both);
    corp.run("b: {mail: ['SMTP:bert@acme.example']}");
    assert_eq!((corp.missing(), corp.shut("anna@acme.example")), (vec!["anna@acme.example".to_owned()], vec![]));
    corp.run("b: {mail: ['SMTP:bert@acme.example']}");
    assert_eq!(corp.shut("anna@acme.example"), ["DirectoryMissing"]);
    assert_eq!(
        (corp.origin("anna@acme.example"), corp.world.alias_of("a@acme.example")),
        ("Directory", Some("anna@acme.example".to_owned()))
    );
    corp.world.advance(24 * HOUR);
    assert_eq!((corp.origin("anna@acme.example"), corp.shut("anna@acme.example")), ("MailFlow", vec!["DirectoryMissing"]));
    // L5: only now its aliases go.
    assert!(corp.world.row("a@acme.example").is_none());
    // The same entry back restores all.
    corp.run(both);
    assert_eq!((corp.origin("anna@acme.example"), corp.shut("anna@acme.example")), ("Directory", vec![]));
    assert_eq!(corp.world.alias_of("a@acme.example"), Some("anna@acme.example".to_owned()));
}

#[test]
fn y6_who_comes_back_in_time_never_left() {
    let mut corp = corp("");
    let one = "a: {mail: ['SMTP:anna@acme.example', 'a@acme.example']}";
    corp.run(&format!("{one}\nb: {{mail: ['SMTP:bert@acme.example']}}"));
    let before = corp.world.observed.addresses.clone();
    for _ in 0..2 {
        corp.run("b: {mail: ['SMTP:bert@acme.example']}");
    }
    corp.run(&format!("{one}\nb: {{mail: ['SMTP:bert@acme.example']}}"));
    assert_eq!((corp.missing(), &corp.world.observed.addresses), (vec![], &before));
}

#[test]
fn y6_with_purge_a_leaver_is_purged_behind_its_blockers_and_a_declared_one_never() {
    let mut corp = corp("EmailAddress/anna: {address: anna@acme.example}");
    corp.connect("corp", |declared| declared.leavers.action = LeaverAction::Purge);
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:bert@acme.example']}\nc: {mail: ['SMTP:c@acme.example']}");
    for _ in 0..3 {
        corp.run("c: {mail: ['SMTP:c@acme.example']}");
    }
    assert!(corp.world.observed.leavers.values().all(|leaver| leaver.held), "two of three are more than the guard lets pass");
    let hash = corp.judge("corp", None).held.unwrap().hash;
    corp.judge("corp", Some(&hash));
    corp.world.advance(24 * HOUR);
    assert!(corp.world.waits("bert@acme.example", WaitAction::Purge));
    assert!(!corp.world.waits("anna@acme.example", WaitAction::Purge), "Y12: a declared row is never purged");
    assert_eq!(corp.origin("anna@acme.example"), "Manual");
}

#[test]
fn y6_who_comes_back_while_the_purge_waits_is_not_purged_at_the_next_leave() {
    let mut corp = corp("");
    corp.connect("corp", |declared| declared.leavers.action = LeaverAction::Purge);
    let both = "a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:bert@acme.example']}";
    corp.run(both);
    for _ in 0..2 {
        corp.run("b: {mail: ['SMTP:bert@acme.example']}");
    }
    corp.world.advance(24 * HOUR);
    assert!(corp.world.waits("anna@acme.example", WaitAction::Purge));
    corp.run(both);
    assert!(!corp.world.waits("anna@acme.example", WaitAction::Purge));
    assert_eq!((corp.origin("anna@acme.example"), corp.shut("anna@acme.example")), ("Directory", vec![]));
    assert!(!corp.world.row("anna@acme.example").unwrap().closing);
}

#[test]
fn y1_what_a_successor_has_as_an_alias_is_not_missed_with_the_entry_whose_mailbox_it_was() {
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:ann@acme.example', 'anna@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    let successor = "b: {mail: ['SMTP:b@acme.example']}\nc: {mail: ['SMTP:anna@acme.example', 'ann@acme.example']}";
    for _ in 0..6 {
        corp.run(successor);
        corp.world.advance(25 * HOUR);
    }
    assert_eq!(corp.world.alias_of("ann@acme.example"), Some("anna@acme.example".to_owned()));
    assert_eq!(corp.missing(), Vec::<String>::new());
}

#[test]
fn y1_l4_what_a_successor_has_as_an_alias_is_the_directorys_again_when_a_declared_link_over_it_ends() {
    let mut corp = corp("EmailAddress/info: {address: info@acme.example}");
    corp.run("a: {mail: ['SMTP:ann@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    corp.world.apply("AliasLink/l: {alias: ann@acme.example, primary: info@acme.example, takeOverMailbox: true}");
    let successor = "b: {mail: ['SMTP:b@acme.example']}\nc: {mail: ['SMTP:anna@acme.example', 'ann@acme.example']}";
    for _ in 0..6 {
        corp.run(successor);
        corp.world.advance(25 * HOUR);
    }
    assert_eq!(corp.world.alias_of("ann@acme.example"), Some("info@acme.example".to_owned()));
    assert_eq!(corp.missing(), Vec::<String>::new());
    corp.world.delete("AliasLink/l");
    corp.world.advance(60);
    assert_eq!(corp.world.alias_of("ann@acme.example"), Some("anna@acme.example".to_owned()));
}

#[test]
fn l4_u4_a_link_whose_end_waits_goes_on_when_the_directory_brings_it_meanwhile() {
    let link = |alias: &str| {
        format!(
            "EmailAddress/info: {{address: info@acme.example}}\nAliasLink/l: {{alias: {alias}@acme.example, primary: info@acme.example}}"
        )
    };
    let mut corp = corp(&link("desk"));
    corp.run("a: {mail: ['SMTP:anna@acme.example']}");
    corp.world.apply(&link("other"));
    assert!(corp.world.waits("desk@acme.example", WaitAction::Unlink));
    corp.run("a: {mail: ['SMTP:anna@acme.example', 'desk@acme.example']}");
    for _ in 0..2 {
        assert!(!corp.world.waits("desk@acme.example", WaitAction::Unlink));
        assert_eq!(corp.world.alias_of("desk@acme.example"), Some("anna@acme.example".to_owned()));
        corp.world.advance(HOUR);
    }
}

#[test]
fn y10_of_an_entry_whose_only_address_is_anothers_nothing_is_kept() {
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:ann@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    let moved = "a: {mail: ['SMTP:ann@elsewhere.example']}\nb: {mail: ['SMTP:b@acme.example', 'ann@acme.example']}";
    for _ in 0..3 {
        corp.run(moved);
    }
    assert_eq!(corp.world.alias_of("ann@acme.example"), Some("b@acme.example".to_owned()));
    let kept: Vec<_> = corp.world.observed.entries.keys().map(|(_, _, id)| id.as_str()).collect();
    assert_eq!((kept, corp.missing()), (vec!["b"], Vec::<String>::new()));
}

#[test]
fn y2_an_address_that_was_left_is_the_directorys_again_as_an_alias() {
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    for _ in 0..2 {
        corp.run("b: {mail: ['SMTP:b@acme.example']}");
    }
    corp.world.advance(25 * HOUR);
    assert_eq!(corp.origin("anna@acme.example"), "MailFlow");
    corp.run("b: {mail: ['SMTP:b@acme.example', 'anna@acme.example']}");
    assert_eq!(corp.world.alias_of("anna@acme.example"), Some("b@acme.example".to_owned()));
    assert_eq!(corp.origin("anna@acme.example"), "Directory");
}

#[test]
fn y6_a_dropped_alias_goes_after_the_same_waiting() {
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:anna@acme.example', 'a@acme.example', 'ann@acme.example']}");
    let less = "a: {mail: ['SMTP:anna@acme.example', 'ann@acme.example']}";
    corp.run(less);
    assert_eq!(corp.missing(), ["a@acme.example"]);
    corp.run(less);
    corp.world.advance(23 * HOUR);
    assert_eq!(corp.world.alias_of("a@acme.example"), Some("anna@acme.example".to_owned()));
    corp.world.advance(HOUR);
    assert!(corp.world.row("a@acme.example").is_none() && corp.world.row("ann@acme.example").is_some());
}

#[test]
fn y7_an_address_that_a_changed_entry_came_without_counts_as_missed_by_all_runs() {
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:anna@acme.example', 'a@acme.example', 'ann@acme.example']}");
    corp.shown = true;
    let less = entries("a: {mail: ['SMTP:anna@acme.example', 'ann@acme.example']}");
    corp.bring("corp", less, false);
    // No later increment tells of the entry again.
    assert_eq!(corp.judge("corp", None).cleared, [address("a@acme.example")]);
    corp.world.advance(24 * HOUR);
    assert!(corp.world.row("a@acme.example").is_none() && corp.world.row("ann@acme.example").is_some());
}

#[test]
fn y7_many_who_leave_are_held_and_only_their_own_hash_releases_them() {
    let mut corp = corp("");
    let all =
        |range: std::ops::Range<usize>| range.map(|n| format!("u{n}: {{mail: ['SMTP:u{n}@acme.example']}}")).collect::<Vec<_>>().join("\n");
    corp.run(&all(0..40));
    for _ in 0..2 {
        corp.run(&all(12..40));
    }
    let first = corp.judge("corp", None).held.unwrap();
    assert_eq!(first.count, 12);
    // Others leave too: the first hash releases nothing any more.
    corp.run(&all(20..40));
    let stale = corp.judge("corp", Some(&first.hash));
    assert!(stale.approved.is_none() && stale.held.as_ref().unwrap().count == 20);
    corp.world.advance(72 * HOUR);
    assert_eq!(corp.origin("u3@acme.example"), "Directory", "no passing of time releases them");
    assert_eq!(corp.judge("corp", Some(&stale.held.unwrap().hash)).cleared.len(), 20);
    assert_eq!(corp.origin("u3@acme.example"), "MailFlow");
}

#[test]
fn y7_a_few_a_run_do_not_drip_through() {
    let mut corp = corp("");
    let all = |from: usize| (from..200).map(|n| format!("u{n}: {{mail: ['SMTP:u{n}@acme.example']}}")).collect::<Vec<_>>().join("\n");
    corp.run(&all(0));
    for run in 1..=10 {
        corp.run(&all(run * 12));
        corp.world.advance(900);
    }
    let shut = (0..200).filter(|n| !corp.shut(&format!("u{n}@acme.example")).is_empty()).count();
    assert_eq!(shut, 12, "those of the first run; with the next ones there would be more within the day than twenty");
}

#[test]
fn y7_a_tenant_of_eight_that_loses_five_is_held() {
    let mut corp = corp("");
    let all = |from: usize| (from..8).map(|n| format!("u{n}: {{mail: ['SMTP:u{n}@acme.example']}}")).collect::<Vec<_>>().join("\n");
    corp.run(&all(0));
    for _ in 0..5 {
        corp.run(&all(5));
    }
    assert_eq!(corp.judge("corp", None).held.unwrap().count, 5);
    assert_eq!(corp.shut("u0@acme.example"), Vec::<&str>::new());
}
