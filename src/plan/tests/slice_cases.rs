//! Property 8 by name: whom a change concerns that was not planned with it. Each case is the smallest in which a slice once came to
//! something else than the whole world.

use super::generate::Step;
use super::slices::play_both;
use super::world::{World, check, key};
use crate::model::DomainName;
use crate::plan::desired::Resource;
use crate::plan::slice::{Roster, Slice};
use crate::plan::{Change, plan};

/// `Kind/name {spec}`, a line each, in namespace acme.
fn apply(resources: &str) -> Step {
    let one = |line: &str| {
        let (name, spec) = line.split_once(' ').unwrap();
        (key(name), spec.to_owned())
    };
    Step::Apply(resources.lines().map(one).collect())
}

const ACME: &str = "InternalDomain/x {domain: acme.example}
EmailAddress/ann {address: ann@acme.example}
EmailAddress/info {address: info@acme.example}
";

fn acme(more: &str) -> Step {
    apply(&format!("{ACME}{more}"))
}

#[test]
fn l1_who_waits_for_an_alias_is_told_that_its_link_is_about_to_end_and_that_it_stays_after_all() {
    play_both(&[
        acme(
            "EmailAddress/cat {address: cat@acme.example}
AliasLink/first {alias: desk@acme.example, primary: ann@acme.example}
AliasLink/above {alias: ann@acme.example, primary: info@acme.example}
AliasLink/below {alias: help@acme.example, primary: desk@acme.example}",
        ),
        apply("AliasLink/first {alias: desk@acme.example, primary: nobody@acme.example}"),
        apply("AliasLink/first {alias: desk@acme.example, primary: ann@acme.example}"),
    ]);
}

#[test]
fn r1_a_role_is_told_that_a_member_it_names_no_more_went_to_another_role() {
    play_both(&[
        acme("AdminRole/one {builtIn: SuperAdministrator, members: [ann@acme.example]}"),
        apply("AdminRole/one {builtIn: SuperAdministrator, members: []}"),
        apply("AdminRole/two {builtIn: SuperAdministrator, members: [ann@acme.example]}"),
    ]);
}

#[test]
fn r2_a_role_gives_up_the_last_super_administrator_when_another_role_has_one() {
    play_both(&[
        acme("AdminRole/one {builtIn: SuperAdministrator, members: [ann@acme.example]}"),
        apply("AdminRole/one {builtIn: SuperAdministrator, members: []}"),
        apply("AdminRole/two {builtIn: SuperAdministrator, members: [info@acme.example]}"),
    ]);
}

#[test]
fn r2_a_role_that_could_not_change_does_when_another_role_has_a_super_administrator() {
    play_both(&[
        acme("AdminRole/one {builtIn: SuperAdministrator, members: [ann@acme.example]}"),
        apply("AdminRole/one {builtIn: HelpDesk, members: [ann@acme.example]}"),
        apply("AdminRole/two {builtIn: SuperAdministrator, members: [info@acme.example]}"),
    ]);
}

/// The API server refuses another domain (C7); what a plan did not count it must not delete all the same.
#[test]
fn d2_a_resource_being_deleted_takes_along_no_domain_but_the_one_it_declares() {
    play_both(&[
        acme(
            "InternalDomain/leaves {domain: mail.acme.example, deletionPolicy: Delete}
EmailAddress/below {address: ann@mail.acme.example}",
        ),
        Step::Delete(vec![key("InternalDomain/leaves")]),
        apply("InternalDomain/leaves {domain: acme.example, deletionPolicy: Delete}"),
    ]);
}

/// By an address of a domain below, whose wait brings the leaving domain in.
#[test]
fn d2_a_leaving_domain_names_the_first_of_its_addresses_whatever_brought_it_in() {
    play_both(&[
        apply(
            "InternalDomain/x {domain: acme.example, deletionPolicy: Delete}
EmailAddress/ann {address: ann@acme.example, deletionPolicy: Purge}
EmailAddress/info {address: info@acme.example}",
        ),
        Step::Delete(vec![key("InternalDomain/x"), key("EmailAddress/ann")]),
        apply("EmailAddress/below {address: ann@mail.acme.example}"),
    ]);
}

/// Its handled tokens were not read: taken here, what it asked for would never be done, or would be written down with every batch.
#[test]
fn c6_the_token_of_an_owner_that_was_only_brought_in_by_its_row_is_left_alone() {
    let mut world = check("InternalDomain/x: {domain: acme.example}\nEmailAddress/ann: {address: ann@acme.example}", "");
    world.put(
        "EmailAddress/ann: {address: nobody@acme.example, suspend: true, metadata: {annotations: {requestedAt: now}}}
EmailAddress/other: {address: ann@acme.example}",
    );
    let mut roster = Roster::default();
    for resource in world.desired.resources.values() {
        roster.insert(Resource::clone(resource));
    }
    let mut slice = Slice { keys: [key("EmailAddress/other")].into(), ..Slice::default() };
    roster.close(&mut slice);
    let mut desired = roster.desired(&slice);
    roster.add_unreadable_owners(&mut desired, &world.observed);
    assert!(desired.resources.contains_key(&key("EmailAddress/ann")) && !slice.keys.contains(&key("EmailAddress/ann")));
    assert_eq!(plan(&desired, &world.observed, world.now).changes, []);
}

/// The rows of a domain that changes hands are moved by the store, most of them in nobody's view.
#[test]
fn d1_a_handover_concerns_whoever_names_an_address_of_the_domain() {
    let mut world = World::new();
    world.put(
        "InternalDomain/b/other: {domain: other.example, postmaster: info@acme.example}
AdminRole/b/desk: {builtIn: HelpDesk, members: [info@acme.example]}
AdminRole/b/else: {builtIn: HelpDesk, members: [info@other.example]}
DelegateMailbox/b/pair: {reader: info@other.example, mailbox: cat@acme.example}",
    );
    let mut roster = Roster::default();
    for resource in world.desired.resources.values() {
        roster.insert(Resource::clone(resource));
    }
    let domain = DomainName::from_store("acme.example");
    let found = roster.concerned(&[Change::TransferDomain { domain, from: "a".to_owned(), to: "b".to_owned() }]);
    assert_eq!(found.into_iter().map(|key| key.name.clone()).collect::<Vec<_>>(), ["other", "pair", "desk"]);
}

#[test]
fn d1_and_d2_what_ends_in_a_domain_concerns_its_handover_and_its_end_alone() {
    let mut world = World::new();
    world.put(
        "InternalDomain/stays: {domain: stays.example, deletionPolicy: Delete}
InternalDomain/retained: {domain: retained.example, metadata: {deletionTimestamp: '2026-03-01T12:00:00Z'}}
InternalDomain/leaves: {domain: leaves.example, deletionPolicy: Delete, metadata: {deletionTimestamp: '2026-03-01T12:00:00Z'}}
InternalDomain/moves: {domain: moves.example, metadata: {annotations: {transferTo: globex 1}}}",
    );
    let mut roster = Roster::default();
    for resource in world.desired.resources.values() {
        roster.insert(Resource::clone(resource));
    }
    let at = |domain: &str| super::world::address(&format!("info@{domain}.example"));
    let waiting = |change: Change| {
        let found = roster.domains_waiting_for(&[change]);
        found.into_iter().map(|key| key.name.clone()).collect::<Vec<_>>()
    };
    assert!(waiting(Change::DeleteAddress { address: at("stays"), purge: false }).is_empty());
    assert!(waiting(Change::DeleteAddress { address: at("retained"), purge: false }).is_empty());
    assert_eq!(waiting(Change::DeleteAddress { address: at("leaves"), purge: false }), ["leaves"]);
    assert_eq!(waiting(Change::DeleteMember { address: at("moves"), namespace: "acme".to_owned(), role: "desk".to_owned() }), ["moves"]);
    // Either end of what joins two domains may be the one that moves.
    assert_eq!(waiting(Change::DeleteDelegation { reader: at("stays"), mailbox: at("moves") }), ["moves"]);
    assert_eq!(waiting(Change::DeleteLink { alias: at("stays"), primary: at("moves") }), ["moves"]);
}
