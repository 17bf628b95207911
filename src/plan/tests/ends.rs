//! Retain, Purge, undo and the guard (SPEC U1 to U4, P5, P6).

use jiff::SignedDuration;

use super::world::{World, address, check};
use crate::model::{DomainName, Kind};
use crate::plan::observed::WaitAction;

/// A domain with addresses `a0` to `a{count - 1}`.
fn domain(count: usize) -> World {
    let addresses: String =
        (0..count).map(|n| format!("EmailAddress/a{n}: {{address: a{n}@acme.example, deletionPolicy: Purge}}\n")).collect();
    let mut world = check(&format!("InternalDomain/x: {{domain: acme.example}}\n{addresses}"), "InternalDomain/x Succeeded");
    world.queue_reports();
    world
}

/// The same with Retain.
fn retained(count: usize) -> World {
    let addresses: String = (0..count).map(|n| format!("EmailAddress/a{n}: {{address: a{n}@acme.example}}\n")).collect();
    check(&format!("InternalDomain/x: {{domain: acme.example}}\n{addresses}"), "InternalDomain/x Succeeded")
}

fn names(range: std::ops::Range<usize>) -> String {
    range.map(|n| format!("EmailAddress/a{n} ")).collect()
}

fn shut(world: &World) -> usize {
    world.observed.addresses.values().filter(|row| row.shut).count()
}

#[test]
fn u1_retain_keeps_the_row_and_shuts_the_logon() {
    let mut world = retained(4);
    world.delete("EmailAddress/a0");
    world.expect("EmailAddress/a0 -");
    assert_eq!(shut(&world), 0, "not on sight");
    world.advance(10);
    assert!(world.row("a0@acme.example").unwrap().shut);
    world.apply("EmailAddress/again: {address: a0@acme.example}");
    assert!(!world.row("a0@acme.example").unwrap().shut);
    assert_eq!(world.condition("EmailAddress/again", "Disabled"), "False NotDisabled");
}

#[test]
fn u2_a_purge_waits_for_its_delay_and_lists_all_that_stands_in_its_way() {
    let mut world = domain(9);
    world.apply(
        "AliasLink/l: {alias: l@acme.example, primary: a0@acme.example}\nAdminRole/r: {builtIn: HelpDesk, members: [a0@acme.example]}",
    );
    world.reports("l@acme.example").held = 2;
    world.advance(5);
    world.delete("EmailAddress/a0");
    world.expect("EmailAddress/a0 PurgeBlocked");
    assert_eq!(world.blockers("EmailAddress/a0"), ["Delay", "AdminRole", "DeclaredAlias", "HeldMail", "HeldMailUnknown"]);
    assert_eq!(world.condition("EmailAddress/a0", "PurgeBlocked"), "True Delay");
    assert_eq!(world.condition("EmailAddress/a0", "MailAccepted"), "True Accepted");
    world.advance(3600);
    world.queue_reports();
    assert_eq!(world.blockers("EmailAddress/a0"), ["AdminRole", "DeclaredAlias", "HeldMail"]);
    world.delete("AdminRole/r AliasLink/l");
    world.advance(60);
    assert!(world.row("a0@acme.example").is_none());
}

#[test]
fn u2_with_only_held_mail_in_the_way_the_address_closes() {
    let mut world = domain(4);
    world.advance(5);
    world.delete("EmailAddress/a0");
    world.reports("a0@acme.example").held = 1;
    world.advance(3600);
    assert_eq!(world.blockers("EmailAddress/a0"), ["HeldMail", "HeldMailUnknown"]);
    assert!(world.row("a0@acme.example").unwrap().closing);
    assert_eq!(world.condition("EmailAddress/a0", "MailAccepted"), "False Purging");
    world.queue_reports();
    world.expect("EmailAddress/a0 PurgeBlocked");
    world.reports("a0@acme.example").held = 0;
    world.settle();
    world.expect("EmailAddress/a0 -");
}

#[test]
fn u2_silence_of_a_queue_blocks_and_no_queue_at_all_where_reports_are_required() {
    for (settings, expected) in [("Required", "PurgeBlocked"), ("NotRequired", "-")] {
        let mut world = check(
            &format!(
                "AccountSettings/default: {{purge: {{delay: 2h, heldMailReports: {settings}}}}}\nInternalDomain/x: {{domain: acme.example}}\nEmailAddress/a: {{address: a@acme.example, deletionPolicy: Purge}}"
            ),
            "",
        );
        world.delete("EmailAddress/a");
        world.advance(7199);
        world.expect("EmailAddress/a PurgeBlocked");
        world.advance(1);
        world.expect(&format!("EmailAddress/a {expected}"));
    }
}

#[test]
fn u2_a_purge_takes_undeclared_aliases_and_delegations_along() {
    let mut world = domain(8);
    world.apply("AliasLink/l: {alias: l@acme.example, primary: a0@acme.example}\nDelegateMailbox/d: {reader: a1@acme.example, mailbox: a0@acme.example}");
    // A link that the sheltered end of its resource left undeclared.
    world.desired.sheltered.insert((Kind::AliasLink, "acme".to_owned()));
    world.delete("AliasLink/l");
    world.delete("EmailAddress/a0");
    world.queue_reports();
    world.advance(3600);
    world.expect("EmailAddress/a0 -\nDelegateMailbox/d MailboxNotFound\nAliasLink/l -");
    assert!(world.row("l@acme.example").is_none() && world.observed.tombstones.len() == 2);
    assert!(!world.may_read("a1@acme.example", "a0@acme.example"));
}

#[test]
fn u3_retain_undoes_a_purge_while_it_waits() {
    let mut world = domain(4);
    world.delete("EmailAddress/a0");
    world.advance(3600);
    assert!(world.row("a0@acme.example").is_none_or(|row| row.closing));
    let mut world = domain(4);
    world.delete("EmailAddress/a0");
    world.reports("a0@acme.example").held = 1;
    world.queue_reports();
    world.advance(3600);
    assert!(world.row("a0@acme.example").unwrap().closing);
    world.apply("EmailAddress/a0: {address: a0@acme.example, deletionPolicy: Retain}");
    world.expect("EmailAddress/a0 -");
    let row = world.row("a0@acme.example").unwrap();
    assert_eq!((row.closing, row.owner.as_deref()), (false, None));
    world.advance(7200);
    assert!(world.row("a0@acme.example").unwrap().shut);
    world.apply("EmailAddress/a0: {address: a0@acme.example}");
    assert!(!world.row("a0@acme.example").unwrap().shut);
}

#[test]
fn u4_ends_up_to_the_limit_are_done_after_ten_quiet_seconds() {
    let mut world = retained(40);
    world.delete(&names(0..5));
    world.advance(8);
    world.delete(&names(5..10));
    world.advance(9);
    assert_eq!(shut(&world), 0, "an end was added 9 seconds ago");
    world.advance(1);
    assert_eq!(shut(&world), 10);
    assert_eq!(world.held("InternalDomain/x"), None);
}

#[test]
fn u4_a_drip_waits_a_minute_at_most() {
    let mut world = retained(40);
    for n in 0..8 {
        world.delete(&names(n..n + 1));
        world.advance(8);
    }
    assert_eq!(shut(&world), 8, "64 seconds after the first");
}

#[test]
fn u4_beyond_the_limit_all_that_wait_are_held_and_no_time_releases_them() {
    let mut world = retained(40);
    world.delete(&names(0..11));
    world.advance(10);
    let held = world.held("InternalDomain/x").unwrap();
    assert_eq!((shut(&world), held.count, held.sample.len()), (0, 11, 10));
    assert_eq!(world.condition("InternalDomain/x", "DeletionsHeld"), "True MassDeletion");
    world.expect("InternalDomain/x Succeeded");
    world.advance(100 * 86_400);
    assert_eq!(shut(&world), 0);
    // What comes later joins the plan under another hash.
    world.delete(&names(11..12));
    assert_ne!(world.held("InternalDomain/x").unwrap().hash, held.hash);
    world.annotate("InternalDomain/x", "approve", &held.hash);
    assert_eq!(shut(&world), 0, "a stale hash releases nothing");
    world.approve("InternalDomain/x");
    assert_eq!((shut(&world), world.held("InternalDomain/x")), (12, None));
}

#[test]
fn u4_what_was_done_within_the_hour_counts_and_what_was_approved_does_not() {
    let mut world = retained(40);
    world.delete(&names(0..8));
    world.advance(10);
    assert_eq!(shut(&world), 8);
    world.delete(&names(8..12));
    world.advance(10);
    assert_eq!((shut(&world), world.held("InternalDomain/x").unwrap().count), (8, 4));
    world.approve("InternalDomain/x");
    assert_eq!(shut(&world), 12);
    world.delete(&names(12..14));
    world.advance(10);
    assert_eq!((shut(&world), world.held("InternalDomain/x")), (14, None), "8 and 2, the approved not counted again");
    world.delete(&names(14..15));
    world.advance(10);
    assert_eq!(world.held("InternalDomain/x").unwrap().count, 1);
}

/// Half of 24 is 12, so ten may go; half of the 13 that the first eleven leave would be 6.
#[test]
fn u4_the_share_is_of_those_there_were_an_hour_ago_approved_ends_and_aliases_that_went_along_included() {
    const SETTINGS: &str = "AccountSettings/default: {purge: {delay: 10s, heldMailReports: NotRequired}}";
    let mut world = domain(24);
    world.apply(SETTINGS);
    world.delete(&names(0..11));
    world.advance(10);
    assert_eq!(world.held("InternalDomain/x").unwrap().count, 11);
    world.approve("InternalDomain/x");
    assert_eq!(world.observed.addresses.len(), 13);
    world.delete(&names(11..21));
    world.queue_reports();
    world.advance(10);
    assert_eq!((world.held("InternalDomain/x"), world.observed.addresses.len()), (None, 3));

    // Of 12 addresses six may go. The purge of one takes five aliases along, which nobody declares by then.
    let mut world = domain(7);
    let links: String = (0..5).map(|n| format!("AliasLink/l{n}: {{alias: l{n}@acme.example, primary: a0@acme.example}}\n")).collect();
    world.apply(&format!("{SETTINGS}\n{links}"));
    world.desired.sheltered.insert((Kind::AliasLink, "acme".to_owned()));
    world.delete("AliasLink/l0 AliasLink/l1 AliasLink/l2 AliasLink/l3 AliasLink/l4");
    world.delete(&names(0..1));
    world.queue_reports();
    world.advance(10);
    assert_eq!(world.observed.addresses.len(), 6);
    world.delete(&names(1..6));
    world.queue_reports();
    world.advance(10);
    assert_eq!((world.held("InternalDomain/x"), world.observed.addresses.len()), (None, 1));
    // An hour later they are forgotten: of one address one may go.
    world.advance(3600);
    assert_eq!(world.observed.numbers[&DomainName::from_store("acme.example")].gone, 0);
}

#[test]
fn u4_a_drip_after_the_hour_counts_anew_but_releases_nothing_that_is_held() {
    let mut world = retained(40);
    world.delete(&names(0..10));
    world.advance(10);
    world.delete(&names(10..12));
    world.advance(10);
    assert_eq!((shut(&world), world.held("InternalDomain/x").unwrap().count), (10, 2));
    world.advance(4000);
    assert_eq!(shut(&world), 10);
    world.delete(&names(12..13));
    world.advance(60);
    assert_eq!((shut(&world), world.held("InternalDomain/x").unwrap().count), (10, 3));
}

#[test]
fn u4_declaring_the_subject_again_takes_it_out_of_the_held_plan() {
    let mut world = retained(40);
    world.delete(&names(0..12));
    world.advance(10);
    let all: String = (0..12).map(|n| format!("EmailAddress/a{n}: {{address: a{n}@acme.example}}\n")).collect();
    world.apply(&all);
    assert_eq!(world.held("InternalDomain/x"), None);
    world.advance(7200);
    assert_eq!(shut(&world), 0);
}

#[test]
fn u4_the_same_ends_held_a_second_time_want_a_second_yes() {
    let mut world = retained(40);
    world.delete(&names(0..12));
    world.advance(10);
    world.approve("InternalDomain/x");
    assert_eq!(shut(&world), 12);
    let all: String = (0..12).map(|n| format!("EmailAddress/a{n}: {{address: a{n}@acme.example}}\n")).collect();
    world.apply(&all);
    world.advance(7200);
    world.delete(&names(0..12));
    world.advance(60);
    assert_eq!((shut(&world), world.held("InternalDomain/x").unwrap().count), (0, 12));
}

#[test]
fn u4_purges_links_and_logons_are_counted_together_when_the_first_is_due() {
    let mut world = domain(30);
    let links: String = (0..6).map(|n| format!("AliasLink/l{n}: {{alias: l{n}@acme.example, primary: a20@acme.example}}\n")).collect();
    world.apply(&links);
    world.delete(&names(0..6));
    world.expect("EmailAddress/a0 PurgeBlocked");
    world.delete("AliasLink/l0 AliasLink/l1 AliasLink/l2 AliasLink/l3 AliasLink/l4");
    world.advance(60);
    world.expect("EmailAddress/a0 MassDeletion\nAliasLink/l0 MassDeletion\nAliasLink/l5 Succeeded");
    assert_eq!(world.blockers("EmailAddress/a0"), ["Delay", "MassDeletion"]);
    world.approve("InternalDomain/x");
    world.expect("AliasLink/l0 -\nEmailAddress/a0 PurgeBlocked");
    world.queue_reports();
    world.advance(3600);
    world.queue_reports();
    world.expect("EmailAddress/a0 -\nEmailAddress/a5 -\nEmailAddress/a6 Succeeded");
}

#[test]
fn u4_a_wave_of_purges_is_held_before_its_first_row_goes() {
    let mut world = domain(40);
    world.delete(&names(0..20));
    world.queue_reports();
    world.advance(3600);
    world.expect("EmailAddress/a0 MassDeletion\nEmailAddress/a19 MassDeletion\nInternalDomain/x Succeeded");
    assert_eq!(world.observed.addresses.len(), 40);
    assert!(!world.row("a0@acme.example").unwrap().closing);
    world.approve("InternalDomain/x");
    assert_eq!(world.observed.addresses.len(), 20);
}

#[test]
fn u4_rights_deleted_by_themselves_are_never_held() {
    let mut world = retained(8);
    let rights: String =
        (1..8).map(|n| format!("DelegateMailbox/d{n}: {{reader: a0@acme.example, mailbox: a{n}@acme.example}}\n")).collect();
    world.apply(&rights);
    world.delete(&(1..8).map(|n| format!("DelegateMailbox/d{n} ")).collect::<String>());
    assert_eq!(world.observed.delegations.iter().count(), 0);
}

#[test]
fn u4_in_a_namespace_that_ends_rows_stay_undeclared_and_finalizers_let_go() {
    let mut world = domain(4);
    world.apply(
        "AliasLink/l: {alias: l@acme.example, primary: a0@acme.example}\nDelegateMailbox/d: {reader: a1@acme.example, mailbox: a0@acme.example}
AdminRole/r: {builtIn: HelpDesk, members: [a0@acme.example]}\nInternalDomain/x: {domain: acme.example, deletionPolicy: Delete}",
    );
    for kind in Kind::ALL {
        world.desired.sheltered.insert((kind, "acme".to_owned()));
    }
    world.delete(&format!("{} AliasLink/l DelegateMailbox/d AdminRole/r InternalDomain/x", names(0..4)));
    world.expect("EmailAddress/a0 -\nAliasLink/l -\nDelegateMailbox/d -\nAdminRole/r -\nInternalDomain/x -");
    world.advance(100_000);
    assert_eq!((world.observed.addresses.len(), shut(&world), world.observed.waiting.len()), (5, 0, 0));
    assert!(world.may_read("a1@acme.example", "a0@acme.example"));
    assert_eq!((world.role_of("a0@acme.example"), world.alias_of("l@acme.example").is_some()), (Some("r"), true));
    // Declared again, all of it is taken back.
    world.desired.sheltered.clear();
    world.apply(
        "InternalDomain/x: {domain: acme.example}\nEmailAddress/a0: {address: a0@acme.example}\nAliasLink/m: {alias: l@acme.example, primary: a0@acme.example}
DelegateMailbox/e: {reader: a1@acme.example, mailbox: a0@acme.example}\nAdminRole/r: {builtIn: HelpDesk, members: [a0@acme.example]}",
    );
    world.expect(
        "InternalDomain/x Succeeded\nEmailAddress/a0 Succeeded\nAliasLink/m Succeeded\nDelegateMailbox/e Succeeded\nAdminRole/r Succeeded",
    );
}

#[test]
fn u6_a_row_whose_owner_is_out_of_sight_stays_as_it_is() {
    let mut world = domain(2);
    world.desired.resources.remove(&super::world::key("EmailAddress/a0"));
    world.settle();
    world.advance(100_000);
    let row = world.row("a0@acme.example").unwrap();
    assert_eq!((row.owner.as_deref(), row.shut), (Some("a0"), false));
    world.apply("EmailAddress/new: {address: a0@acme.example}");
    world.expect("EmailAddress/new Succeeded");
}

#[test]
fn p5_a_lock_ends_by_itself_and_by_the_unlock_action() {
    let mut world = retained(2);
    for _ in 0..2 {
        let (at, until) = (world.now, world.now + SignedDuration::from_mins(15));
        let reports = world.reports("a0@acme.example");
        (reports.failed_at_lock, reports.locked_at, reports.locked_until) = (5, Some(at), Some(until));
        world.settle();
        assert_eq!(world.condition("EmailAddress/a0", "Locked"), "True TooManyFailedLogons");
        world.expect("EmailAddress/a0 Succeeded");
        assert!(world.plan.moments.iter().any(|(moment, _)| *moment == until));
        world.advance(900);
        assert_eq!(world.condition("EmailAddress/a0", "Locked"), "False NotLocked");
    }
    let (at, until) = (world.now, world.now + SignedDuration::from_mins(15));
    world.observed.reports.get_mut(&address("a0@acme.example")).unwrap().locked_at = Some(at);
    world.reports("a0@acme.example").locked_until = Some(until);
    world.reports("a0@acme.example").codes_locked_at = Some(at);
    world.settle();
    world.advance(1);
    world.annotate("EmailAddress/a0", "unlockAt", "now");
    assert_eq!(world.condition("EmailAddress/a0", "Locked"), "False NotLocked");
    assert_eq!(world.condition("EmailAddress/a0", "ResetLocked"), "True TooManyFailedCodes");
    world.annotate("EmailAddress/a0", "resetCodesAt", "now");
    assert_eq!(world.condition("EmailAddress/a0", "ResetLocked"), "False NotLocked");
}

#[test]
fn p6_the_first_reason_shows_and_the_message_has_all() {
    let mut world = retained(4);
    world.apply("EmailAddress/a0: {address: a0@acme.example, disabled: true}");
    assert_eq!(world.condition("EmailAddress/a0", "Disabled"), "True Declared");
    world.expect("EmailAddress/a0 Succeeded");
    assert!(!world.waits("a0@acme.example", WaitAction::Shut));
}

#[test]
fn u2_l6_an_address_that_ends_and_is_made_again_in_one_plan_is_another_row() {
    // The link that made the row ends; who may not adopt a row makes one.
    let mut world = domain(8);
    world.apply("AliasLink/l: {alias: desk@acme.example, primary: a0@acme.example}");
    world.apply("EmailAddress/desk: {address: desk@acme.example, adoptionPolicy: Fail}");
    world.expect("EmailAddress/desk AdoptionRefused");
    world.delete("AliasLink/l");
    world.advance(10);
    world.expect("EmailAddress/desk Succeeded");
    assert_eq!(world.row("desk@acme.example").unwrap().created_at, world.now);
    // A purge frees an address for the link that waits for it.
    world.apply(
        "EmailAddress/a1: {address: a1@acme.example, deletionPolicy: Purge, password: {secretRef: {name: s, key: k}}, metadata: {password: one}}",
    );
    world.apply("AliasLink/m: {alias: a1@acme.example, primary: a0@acme.example}");
    world.expect("AliasLink/m AliasIsMailbox");
    world.delete("EmailAddress/a1");
    world.queue_reports();
    world.advance(3600);
    world.expect("EmailAddress/a1 -\nAliasLink/m Succeeded");
    assert_eq!(world.alias_of("a1@acme.example").as_deref(), Some("a0@acme.example"));
}
