//! Owners that no list has (SPEC U6).

use super::world::{World, check};
use crate::model::Kind;
use crate::plan::Subject;
use crate::plan::observed::WaitAction;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// A tenant with one of each, and as many delegations as asked for.
fn tenant(delegations: usize) -> World {
    let mut resources = String::from(
        "AccountSettings/default: {}
InternalDomain/x: {domain: acme.example}
EmailAddress/info: {address: info@acme.example}
AliasLink/l: {alias: desk@acme.example, primary: info@acme.example}
AdminRole/r: {builtIn: HelpDesk, members: [r0@acme.example]}
",
    );
    for n in 0..delegations.max(1) {
        resources.push_str(&format!("EmailAddress/r{n}: {{address: r{n}@acme.example}}\n"));
    }
    for n in 0..delegations {
        resources.push_str(&format!("DelegateMailbox/d{n}: {{reader: r{n}@acme.example, mailbox: info@acme.example}}\n"));
    }
    check(&resources, "EmailAddress/info Succeeded\nAliasLink/l Succeeded\nAdminRole/r Succeeded")
}

fn readers(world: &World, count: usize) -> usize {
    (0..count).filter(|n| world.may_read(&format!("r{n}@acme.example"), "info@acme.example")).count()
}

#[test]
fn u6_for_a_day_nothing_follows_and_what_comes_back_by_then_has_lost_nothing() {
    let mut world = tenant(2);
    let before = (world.observed.addresses.clone(), world.observed.links.clone(), world.observed.members.clone());
    world.vanish("EmailAddress/info AliasLink/l AdminRole/r DelegateMailbox/d0 DelegateMailbox/d1");
    world.advance(DAY - 1);
    assert_eq!((&world.observed.addresses, &world.observed.links, &world.observed.members), (&before.0, &before.1, &before.2));
    assert_eq!(readers(&world, 2), 2);
    world.apply(
        "EmailAddress/info: {address: info@acme.example}
AliasLink/l: {alias: desk@acme.example, primary: info@acme.example}
AdminRole/r: {builtIn: HelpDesk, members: [r0@acme.example]}
DelegateMailbox/d0: {reader: r0@acme.example, mailbox: info@acme.example}
DelegateMailbox/d1: {reader: r1@acme.example, mailbox: info@acme.example}",
    );
    assert_eq!(world.observed.absences.len(), 0);
    world.advance(3 * DAY);
    assert_eq!((world.observed.addresses, world.observed.links, world.observed.members), before);
}

#[test]
fn u6_after_a_day_an_address_counts_as_deleted_with_retain_and_rights_are_revoked() {
    let mut world = tenant(8);
    world.vanish("EmailAddress/info AliasLink/l AdminRole/r DelegateMailbox/d0");
    world.advance(DAY);
    assert!(world.waits("info@acme.example", WaitAction::Shut), "its logon goes through the guard (U4)");
    assert!(world.waits("desk@acme.example", WaitAction::Unlink));
    assert_eq!((readers(&world, 8), world.role_of("r0@acme.example")), (7, None));
    world.advance(10);
    let row = world.row("info@acme.example").unwrap();
    assert!(row.shut && row.owner.is_none());
    assert_eq!(world.alias_of("desk@acme.example"), None);
    // Counted for a day, then forgotten.
    assert_eq!(world.observed.absences.len(), 4);
    world.advance(DAY);
    assert_eq!(world.observed.absences.len(), 0);
}

/// The engine plans once and asks again when the plan says so: what only a second plan said was never heard.
#[test]
fn u6_the_very_plan_that_ends_a_resource_asks_to_forget_it_after_a_day() {
    let mut world = tenant(1);
    world.vanish("InternalDomain/x");
    world.now += jiff::SignedDuration::from_hours(24);
    world.count();
    let plan = crate::plan::plan(&world.desired, &world.observed, world.now);
    let tomorrow = world.now + jiff::SignedDuration::from_hours(24);
    assert!(plan.moments.contains(&(tomorrow, Subject::Absences("acme".to_owned()))), "{:?}", plan.moments);
}

#[test]
fn u6_another_resource_adopts_at_once() {
    let mut world = tenant(1);
    world.vanish("EmailAddress/info DelegateMailbox/d0");
    world.apply(
        "EmailAddress/other: {address: info@acme.example}\nDelegateMailbox/other: {reader: r0@acme.example, mailbox: info@acme.example}",
    );
    world.expect("EmailAddress/other Succeeded\nDelegateMailbox/other Succeeded");
    world.advance(2 * DAY);
    assert!(!world.row("info@acme.example").unwrap().shut && readers(&world, 1) == 1);
}

#[test]
fn u6_a_day_revokes_its_share_and_the_rest_is_held_until_its_hash_is_approved() {
    let mut world = tenant(40);
    let names: String = (0..9).map(|n| format!("DelegateMailbox/d{n} ")).collect();
    world.vanish(&names);
    world.advance(DAY);
    // Ten per cent of forty, the rest held for as long as it takes.
    assert_eq!(readers(&world, 40), 36);
    world.advance(10 * DAY);
    assert_eq!(readers(&world, 40), 36);
    let held = world.held_absences().unwrap();
    assert_eq!((held.count, held.sample[0].as_str()), (5, "Revoke DelegateMailbox/d4"));
    assert_eq!(world.condition("AccountSettings/default", "DeletionsHeld"), "True MassDeletion");
    // One comes back: the plan is another one, and the old yes releases nothing.
    world.apply("DelegateMailbox/d4: {reader: r4@acme.example, mailbox: info@acme.example}");
    world.annotate("AccountSettings/default", "approve", &held.hash);
    assert_eq!(readers(&world, 40), 36);
    let held = world.held_absences().unwrap().hash;
    world.annotate("AccountSettings/default", "approve", &held);
    assert_eq!((readers(&world, 40), world.held_absences()), (32, None));
    assert!(world.may_read("r4@acme.example", "info@acme.example"));
}

#[test]
fn u6_without_account_settings_the_domain_says_what_to_declare() {
    let mut world = tenant(4);
    world.delete("AccountSettings/default");
    world.vanish("DelegateMailbox/d0 DelegateMailbox/d1 DelegateMailbox/d2");
    world.advance(DAY);
    assert_eq!(readers(&world, 4), 2);
    let condition = world.verdict("InternalDomain/x").conditions.iter().find(|c| c.kind == "DeletionsHeld").unwrap().clone();
    assert!(condition.status && condition.message.contains("declare an AccountSettings named default in acme"), "{condition:?}");
}

#[test]
fn u6_a_list_that_failed_and_another_cluster_begin_the_day_anew() {
    let mut world = tenant(1);
    world.vanish("DelegateMailbox/d0");
    world.advance(DAY - HOUR);
    // The list fails: it proves nothing any more. Complete again, it lacks the resource still.
    let missing = std::mem::take(&mut world.desired.missing);
    world.settle();
    assert_eq!(world.observed.absences.len(), 0);
    world.desired.missing = missing;
    world.settle();
    world.advance(DAY - HOUR);
    // Everything is restored into a new cluster, slowly.
    world.desired.namespaces.insert("acme".to_owned(), "second".to_owned());
    world.settle();
    assert_eq!(world.observed.namespaces["acme"], "second");
    world.advance(DAY - HOUR);
    assert_eq!(readers(&world, 1), 1);
    world.advance(HOUR);
    assert_eq!(readers(&world, 1), 0);
}

#[test]
fn u6_what_may_not_be_seen_proves_nothing() {
    let mut world = tenant(1);
    world.vanish("DelegateMailbox/d0 EmailAddress/info");
    world.advance(DAY - HOUR);
    // The namespace is ending, or the API server forbids to look at it.
    let namespaces = std::mem::take(&mut world.desired.namespaces);
    world.settle();
    world.now += jiff::SignedDuration::from_hours(48);
    world.settle();
    assert_eq!(readers(&world, 1), 1);
    // The kind is ending.
    world.desired.namespaces = namespaces;
    world.desired.sheltered.insert((Kind::DelegateMailbox, "acme".to_owned()));
    world.settle();
    assert_eq!(readers(&world, 1), 1);
    assert!(world.waits("info@acme.example", WaitAction::Shut));
    world.desired.sheltered.clear();
    world.settle();
    assert_eq!(readers(&world, 1), 0);
}

#[test]
fn u6_r2_the_last_super_administrator_stays_when_the_role_vanishes() {
    let mut world = tenant(1);
    world.apply("AdminRole/super: {builtIn: SuperAdministrator, members: [info@acme.example]}");
    world.vanish("AdminRole/super");
    world.advance(2 * DAY);
    assert_eq!(world.role_of("info@acme.example"), Some("super"));
}

#[test]
fn u4_what_waits_in_a_namespace_that_is_not_watched_any_more_goes_on_waiting() {
    let mut world = tenant(2);
    world.delete("EmailAddress/r0 EmailAddress/r1 AliasLink/l");
    assert!(world.waits("r1@acme.example", WaitAction::Shut) && world.waits("desk@acme.example", WaitAction::Unlink));
    // Started anew with --namespaces elsewhere.
    let mut desired = std::mem::take(&mut world.desired);
    desired.deleted.clear();
    world.desired.watched = ["elsewhere".to_owned()].into();
    world.settle();
    world.advance(2 * DAY);
    assert!(!world.row("r1@acme.example").unwrap().shut && world.alias_of("desk@acme.example").is_some());
    assert_eq!((readers(&world, 2), world.role_of("r0@acme.example")), (2, Some("r")));

    // Watched again, what is declared by then stays open and what is not is shut.
    world.desired = desired;
    world.apply("EmailAddress/r0: {address: r0@acme.example}");
    world.advance(10);
    assert_eq!((world.row("r0@acme.example").unwrap().shut, world.row("r1@acme.example").unwrap().shut), (false, true));
}
