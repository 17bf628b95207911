//! Tokens, suspension and learning (SPEC C6, C8, C10, U8, section 14).

use super::world::{World, address, check};
use crate::model::DomainName;
use crate::plan::Change;

const BASE: &str = "InternalDomain/x: {domain: acme.example}
EmailAddress/a: {address: a@acme.example}
EmailAddress/b: {address: b@acme.example}
EmailAddress/c: {address: c@acme.example}
EmailAddress/d: {address: d@acme.example}
";

fn world(resources: &str) -> World {
    check(&format!("{BASE}{resources}"), "")
}

#[test]
fn c6_a_token_acts_once_and_a_replay_is_harmless() {
    let mut world = world("");
    world.annotate("EmailAddress/a", "unlockAt", "one");
    let first = world.row("a@acme.example").unwrap().unlocked_at;
    assert_eq!(first, Some(world.now));
    world.advance(60);
    world.annotate("EmailAddress/a", "unlockAt", "one");
    assert_eq!(world.row("a@acme.example").unwrap().unlocked_at, first);
    world.annotate("EmailAddress/a", "unlockAt", "two");
    assert_eq!(world.row("a@acme.example").unwrap().unlocked_at, Some(world.now));
    let handled: Vec<_> = world.verdict("EmailAddress/a").handled.values().map(String::as_str).collect();
    assert_eq!(handled, ["two"]);
}

#[test]
fn c6_a_time_older_than_the_resource_is_noted_and_not_acted_on() {
    let mut world = world("");
    world.annotate("EmailAddress/a", "unlockAt", "2020-01-01T00:00:00Z");
    assert_eq!(world.row("a@acme.example").unwrap().unlocked_at, None);
    assert_eq!(world.verdict("EmailAddress/a").handled.len(), 1);
}

#[test]
fn c6_taking_a_token_away_does_nothing() {
    let mut world = world("");
    world.annotate("EmailAddress/a", "requestedAt", "one");
    assert_eq!(world.verdict("EmailAddress/a").handled.len(), 1);
    world.apply("EmailAddress/a: {address: a@acme.example}");
    assert_eq!(world.verdict("EmailAddress/a").handled.len(), 1, "the store keeps it");
    assert_eq!(world.plan.changes, []);
}

#[test]
fn c6_the_domain_takes_tokens_for_addresses_that_nobody_declares() {
    let mut world = world("");
    world.delete("EmailAddress/a");
    world.annotate("InternalDomain/x", "unlock", "A@acme.example 1");
    world.annotate("InternalDomain/x", "resetCodes", "b@acme.example 1");
    assert!(world.row("a@acme.example").unwrap().unlocked_at.is_some());
    assert!(world.row("b@acme.example").unwrap().codes_reset_at.is_none(), "a resource declares it: its own annotation acts");
    world.annotate("InternalDomain/x", "unlock", "a@other.example 2");
    world.annotate("InternalDomain/x", "unlock", "nonsense");
}

#[test]
fn c8_a_suspended_resource_freezes_what_it_has() {
    let mut world = world(
        "AliasLink/l: {alias: l@acme.example, primary: a@acme.example}
DelegateMailbox/d: {reader: a@acme.example, mailbox: b@acme.example}
AdminRole/r: {builtIn: HelpDesk, members: [a@acme.example]}",
    );
    let before = world.observed.clone();
    world.apply(
        "EmailAddress/a: {address: a@acme.example, displayName: New, disabled: true, suspend: true}
InternalDomain/x: {domain: acme.example, recipientValidation: None, suspend: true}
AliasLink/l: {alias: l@acme.example, primary: b@acme.example, suspend: true}
DelegateMailbox/d: {reader: b@acme.example, mailbox: a@acme.example, suspend: true}
AdminRole/r: {builtIn: SuperAdministrator, members: [b@acme.example], suspend: true}",
    );
    world.advance(7200);
    world.expect(
        "EmailAddress/a Suspended\nInternalDomain/x Suspended\nAliasLink/l Suspended\nDelegateMailbox/d Suspended\nAdminRole/r Suspended",
    );
    assert_eq!((&world.observed.addresses, &world.observed.domains), (&before.addresses, &before.domains));
    assert_eq!((&world.observed.links, &world.observed.delegations), (&before.links, &before.delegations));
    assert_eq!((&world.observed.roles, &world.observed.members), (&before.roles, &before.members));
    assert_eq!(world.verdict("AdminRole/r").generation, 2);
}

#[test]
fn c8_what_was_created_suspended_claims_nothing() {
    let mut world = world("EmailAddress/e: {address: e@acme.example, suspend: true}");
    world.expect("EmailAddress/e Suspended");
    assert!(world.row("e@acme.example").is_none());
    world.apply("EmailAddress/f: {address: e@acme.example}");
    world.expect("EmailAddress/f Succeeded");
}

#[test]
fn c8_deletion_outranks_suspension() {
    let mut world = world(
        "EmailAddress/p: {address: p@acme.example, deletionPolicy: Purge, suspend: true}
AliasLink/l: {alias: l@acme.example, primary: a@acme.example}
DelegateMailbox/d: {reader: a@acme.example, mailbox: b@acme.example}
AdminRole/r: {builtIn: HelpDesk, members: [a@acme.example]}",
    );
    world.apply("EmailAddress/p: {address: p@acme.example, deletionPolicy: Purge}");
    world.apply(
        "EmailAddress/p: {address: p@acme.example, deletionPolicy: Purge, suspend: true}
AliasLink/l: {alias: l@acme.example, primary: a@acme.example, suspend: true}
DelegateMailbox/d: {reader: a@acme.example, mailbox: b@acme.example, suspend: true}
AdminRole/r: {builtIn: HelpDesk, members: [a@acme.example], suspend: true}",
    );
    world.delete("EmailAddress/p AliasLink/l DelegateMailbox/d AdminRole/r");
    world.expect("EmailAddress/p -\nDelegateMailbox/d -\nAdminRole/r -");
    assert!(!world.may_read("a@acme.example", "b@acme.example") && world.role_of("a@acme.example").is_none());
    world.queue_reports();
    world.advance(7200);
    world.expect("AliasLink/l -");
    assert!(world.alias_of("l@acme.example").is_none());
    assert!(world.row("p@acme.example").is_some_and(|row| row.shut), "a Purge lets go as Retain");
}

#[test]
fn c10_a_permission_that_is_no_longer_declared_ends() {
    let mut world = world("AdminRole/r: {permissions: [addresses.read, delegates.write], members: [a@acme.example]}");
    world.apply("AdminRole/r: {permissions: [addresses.read], members: [a@acme.example, nobody@acme.example]}");
    world.expect("AdminRole/r MembersRejected");
    assert_eq!(world.observed.roles[&("acme".to_owned(), "r".to_owned())].permissions, ["addresses.read"]);
}

fn learn(world: &mut World, names: impl IntoIterator<Item = String>) {
    let queue = world.observed.learned.entry(DomainName::parse("acme.example").unwrap()).or_default();
    queue.extend(names.into_iter().map(|name| address(&format!("{name}@acme.example"))));
    world.settle();
}

fn learned(world: &World) -> usize {
    world.observed.addresses.values().filter(|row| row.origin == "MailFlow").count()
}

#[test]
fn s14_at_most_100_new_senders_are_learned_in_an_hour() {
    let mut world = world("");
    learn(&mut world, (0..250).map(|n| format!("new{n}")));
    assert_eq!(learned(&world), 100);
    assert_eq!(world.condition("InternalDomain/x", "LearningHeld"), "True TooManyNewSenders");
    world.advance(3540);
    assert_eq!(learned(&world), 100);
    world.advance(120);
    assert_eq!(learned(&world), 200);
    world.advance(3660);
    assert_eq!(learned(&world), 250);
    assert_eq!(world.condition("InternalDomain/x", "LearningHeld"), "False WithinLimit");
}

#[test]
fn s14_the_limit_holds_when_other_things_take_several_rounds() {
    let mut world = world(
        "DelegateMailbox/m: {reader: b@acme.example, mailbox: a@acme.example}\nAliasLink/l: {alias: a@acme.example, primary: b@acme.example}",
    );
    world.mark_deleted("DelegateMailbox/m");
    learn(&mut world, (0..250).map(|n| format!("new{n}")));
    assert_eq!(learned(&world), 100);
}

#[test]
fn s14_what_does_not_learn_forgets_the_sender() {
    for spec in ["learnSenders: false", "recipientValidation: Directory", "recipientValidation: None"] {
        let mut world = check(&format!("InternalDomain/x: {{domain: acme.example, {spec}}}"), "");
        learn(&mut world, ["new".to_owned()]);
        assert_eq!(
            (learned(&world), world.observed.learned.values().map(std::collections::BTreeSet::len).sum::<usize>()),
            (0, 0),
            "{spec}"
        );
    }
}

#[test]
fn u8_a_purged_address_is_not_learned_for_90_days_and_starts_anew() {
    let mut world = world("EmailAddress/e: {address: e@acme.example, deletionPolicy: Purge}");
    world.queue_reports();
    world.delete("EmailAddress/e");
    world.queue_reports();
    world.advance(3600);
    world.expect("EmailAddress/e -");
    assert!(matches!(world.plan.changes.as_slice(), [.., Change::DeleteAddress { purge: true, .. }]));
    world.advance(80 * 86_400);
    learn(&mut world, ["e".to_owned()]);
    assert!(world.row("e@acme.example").is_none());
    world.advance(11 * 86_400);
    learn(&mut world, ["e".to_owned()]);
    assert_eq!(world.row("e@acme.example").unwrap().archive_start, Some("2026-03-01".parse().unwrap()));
}

#[test]
fn u8_a_purged_address_made_again_starts_with_that_day_unless_it_says_otherwise() {
    for (more, expected) in [("", "2026-03-01"), (", archiveStartDate: 2020-01-01", "2020-01-01")] {
        let mut world = world("EmailAddress/e: {address: e@acme.example, deletionPolicy: Purge}");
        world.delete("EmailAddress/e");
        world.queue_reports();
        world.advance(3600);
        world.queue_reports();
        world.apply(&format!("EmailAddress/e: {{address: e@acme.example{more}}}"));
        assert_eq!(world.row("e@acme.example").unwrap().archive_start, Some(expected.parse().unwrap()), "{more}");
    }
}
