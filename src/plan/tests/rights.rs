//! Delegations and roles (SPEC M1, M2, M4, R1 to R3).

use super::world::{World, address, check};

const BASE: &str = "InternalDomain/x: {domain: acme.example}
EmailAddress/a: {address: a@acme.example}
EmailAddress/b: {address: b@acme.example}
EmailAddress/c: {address: c@acme.example}
InternalDomain/globex/g: {domain: globex.example}
EmailAddress/globex/g: {address: g@globex.example}
";

fn world(resources: &str) -> World {
    check(&format!("{BASE}{resources}"), "")
}

#[test]
fn m1_reader_and_mailbox_are_addresses_of_the_namespace_and_differ() {
    for (reader, mailbox, expected) in [
        ("a@acme.example", "b@acme.example", "Succeeded"),
        ("a@acme.example", "a@acme.example", "SameAddress"),
        ("x@acme.example", "b@acme.example", "ReaderNotFound"),
        ("a@acme.example", "x@acme.example", "MailboxNotFound"),
        ("g@globex.example", "b@acme.example", "ReaderNotFound"),
        ("a@acme.example", "g@globex.example", "MailboxNotFound"),
        ("a@acme.example", "x@gone.example", "MailboxNotFound"),
        ("a", "b@acme.example", "AddressInvalid"),
    ] {
        let world = world(&format!("DelegateMailbox/d: {{reader: {reader}, mailbox: {mailbox}}}"));
        assert_eq!(world.ready("DelegateMailbox/d"), expected, "{reader} {mailbox}: {}", world.message("DelegateMailbox/d"));
        assert_eq!(world.may_read(reader, mailbox), expected == "Succeeded");
    }
}

#[test]
fn m1_a_delegation_goes_on_by_itself() {
    let mut world = world("DelegateMailbox/d: {reader: a@acme.example, mailbox: x@acme.example}");
    world.apply("EmailAddress/x: {address: x@acme.example}");
    world.expect("DelegateMailbox/d Succeeded");
}

#[test]
fn m2_a_right_ends_in_the_plan_that_releases_its_resource() {
    let mut world = world("DelegateMailbox/d: {reader: a@acme.example, mailbox: b@acme.example}");
    world.delete("DelegateMailbox/d");
    world.expect("DelegateMailbox/d -");
    assert!(!world.may_read("a@acme.example", "b@acme.example"));
}

#[test]
fn m2_the_old_pair_ends_even_if_the_new_one_waits_or_is_refused() {
    for new in ["{reader: a@acme.example, mailbox: x@acme.example}", "{reader: a, mailbox: b@acme.example}"] {
        let mut world = world("DelegateMailbox/d: {reader: a@acme.example, mailbox: b@acme.example}");
        world.apply(&format!("DelegateMailbox/d: {new}"));
        assert!(!world.may_read("a@acme.example", "b@acme.example"), "{new} (C10)");
    }
}

#[test]
fn m4_the_pair_is_unique_and_passes_on() {
    let mut world = world(
        "DelegateMailbox/d: {reader: a@acme.example, mailbox: b@acme.example}\nDelegateMailbox/e: {reader: A@acme.example, mailbox: b@acme.example}",
    );
    world.expect("DelegateMailbox/d Succeeded\nDelegateMailbox/e DelegationClaimed");
    assert!(world.message("DelegateMailbox/e").contains("DelegateMailbox/acme/d"));
    let before = world.history.len();
    world.delete("DelegateMailbox/d");
    world.expect("DelegateMailbox/d -\nDelegateMailbox/e Succeeded");
    let revoked = world.history[before..].iter().any(|change| matches!(change, crate::plan::Change::DeleteDelegation { .. }));
    assert!(!revoked && world.may_read("a@acme.example", "b@acme.example"));
}

#[test]
fn c10_two_delegations_exchange_their_pairs_in_one_plan() {
    let mut world = world(
        "DelegateMailbox/d: {reader: a@acme.example, mailbox: b@acme.example}\nDelegateMailbox/e: {reader: b@acme.example, mailbox: a@acme.example}",
    );
    world.apply(
        "DelegateMailbox/e: {reader: a@acme.example, mailbox: b@acme.example}\nDelegateMailbox/d: {reader: b@acme.example, mailbox: a@acme.example}",
    );
    world.expect("DelegateMailbox/d Succeeded\nDelegateMailbox/e Succeeded");
}

#[test]
fn r1_three_bad_members_of_twenty_are_refused_for_themselves_only() {
    let mut resources = String::from(
        "AdminRole/first: {builtIn: HelpDesk, members: [a@acme.example]}\nAliasLink/al: {alias: al@acme.example, primary: b@acme.example}\n",
    );
    let mut members = vec!["a@acme.example".to_owned(), "nobody@acme.example".to_owned(), "al@acme.example".to_owned()];
    for n in 0..17 {
        resources += &format!("EmailAddress/m{n}: {{address: m{n}@acme.example}}\n");
        members.push(format!("m{n}@acme.example"));
    }
    let world = world(&format!("{resources}AdminRole/r: {{builtIn: HelpDesk, members: [{}]}}", members.join(", ")));
    world.expect("AdminRole/r MembersRejected\nAdminRole/first Succeeded");
    assert_eq!(
        world.rejected("AdminRole/r"),
        ["a@acme.example MemberClaimed first", "al@acme.example AliasNamed", "nobody@acme.example MemberNotFound"]
    );
    assert_eq!(world.observed.members.values().filter(|(_, role)| role == "r").count(), 17);
}

#[test]
fn r1_a_member_passes_to_the_role_that_was_refused_it() {
    let mut world =
        world("AdminRole/p: {builtIn: HelpDesk, members: [a@acme.example]}\nAdminRole/q: {builtIn: HelpDesk, members: [a@acme.example]}");
    world.expect("AdminRole/q MembersRejected");
    world.apply("AdminRole/p: {builtIn: HelpDesk, members: []}");
    world.expect("AdminRole/p Succeeded\nAdminRole/q Succeeded");
    assert_eq!(world.role_of("a@acme.example"), Some("q"));
}

#[test]
fn r1_what_is_no_address_is_one_bad_member() {
    let world = world("AdminRole/r: {builtIn: HelpDesk, members: ['a b@acme.example', a@acme.example]}");
    assert_eq!(world.rejected("AdminRole/r"), ["a b@acme.example AddressInvalid"]);
    assert_eq!(world.role_of("a@acme.example"), Some("r"));
}

const SUPER: &str = "AdminRole/s: {builtIn: SuperAdministrator, members: [a@acme.example, b@acme.example]}\n";

fn supers(world: &World) -> Vec<String> {
    let of = |(address, id): (&crate::model::CanonicalAddress, &(String, String))| {
        world.observed.roles[id].is_super().then(|| address.to_string())
    };
    world.observed.members.iter().filter_map(of).collect()
}

#[test]
fn r2_of_all_super_administrators_removed_at_once_the_first_stays() {
    let mut world = world(SUPER);
    world.apply("AdminRole/s: {builtIn: SuperAdministrator, members: []}");
    world.expect("AdminRole/s LastSuperAdministrator");
    assert_eq!(supers(&world), ["a@acme.example"]);
    world.apply("AdminRole/s: {builtIn: SuperAdministrator, members: [c@acme.example]}");
    world.expect("AdminRole/s Succeeded");
    assert_eq!(supers(&world), ["c@acme.example"]);
}

#[test]
fn r2_an_edit_of_built_in_leaves_one_and_gives_nobody_more() {
    let mut world = world(SUPER);
    world.apply("AdminRole/s: {builtIn: HelpDesk, members: [a@acme.example, b@acme.example, c@acme.example]}");
    world.expect("AdminRole/s LastSuperAdministrator");
    assert_eq!(supers(&world), ["a@acme.example"], "c was never to be one, b no longer");
    world.apply("EmailAddress/d: {address: d@acme.example}\nAdminRole/t: {builtIn: SuperAdministrator, members: [d@acme.example]}");
    assert_eq!(supers(&world), ["d@acme.example"]);
    assert_eq!((world.role_of("b@acme.example"), world.role_of("c@acme.example")), (Some("s"), Some("s")));
    world.expect("AdminRole/s Succeeded\nAdminRole/t Succeeded");
}

#[test]
fn r2_joining_another_role_removes_no_last_super_administrator() {
    let mut world =
        world("AdminRole/s: {builtIn: SuperAdministrator, members: [a@acme.example]}\nAdminRole/h: {builtIn: HelpDesk, members: []}");
    world.apply(
        "AdminRole/s: {builtIn: SuperAdministrator, members: []}\nAdminRole/h: {builtIn: HelpDesk, members: [a@acme.example, b@acme.example]}",
    );
    world.expect("AdminRole/s LastSuperAdministrator\nAdminRole/h MembersRejected");
    assert_eq!(world.rejected("AdminRole/h"), ["a@acme.example LastSuperAdministrator s"]);
    assert_eq!(supers(&world), ["a@acme.example"]);
    // A successor in the same plan frees the member, wherever it stands in the order.
    world.apply("AdminRole/z: {builtIn: SuperAdministrator, members: [c@acme.example]}");
    world.expect("AdminRole/s Succeeded\nAdminRole/h Succeeded\nAdminRole/z Succeeded");
    assert_eq!((supers(&world), world.role_of("a@acme.example")), (vec!["c@acme.example".to_owned()], Some("h")));
}

#[test]
fn r2_deleting_the_role_keeps_one_member_until_another_exists() {
    let mut world = world(SUPER);
    world.delete("AdminRole/s");
    world.expect("AdminRole/s -");
    assert!(world.noted("LastSuperAdministratorKept"));
    assert_eq!(supers(&world), ["a@acme.example"]);
    world.advance(7200);
    // Nobody takes the kept one over into less.
    world.apply("AdminRole/h: {builtIn: HelpDesk, members: [a@acme.example]}");
    world.expect("AdminRole/h MembersRejected");
    world.apply("AdminRole/t: {builtIn: SuperAdministrator, members: [b@acme.example]}");
    world.expect("AdminRole/h Succeeded");
    assert_eq!((supers(&world), world.role_of("a@acme.example")), (vec!["b@acme.example".to_owned()], Some("h")));
    assert_eq!(world.observed.roles.len(), 2);
}

#[test]
fn r2_a_role_made_again_under_the_name_takes_its_member_back() {
    let mut world = world(SUPER);
    world.delete("AdminRole/s");
    world.apply("AdminRole/s: {builtIn: SuperAdministrator, members: [b@acme.example]}");
    world.expect("AdminRole/s Succeeded");
    assert_eq!(supers(&world), ["b@acme.example"]);
}

#[test]
fn r2_a_take_over_leaves_the_last_super_administrator() {
    let mut world = world("AdminRole/s: {builtIn: SuperAdministrator, members: [a@acme.example]}");
    world.apply("AliasLink/l: {alias: a@acme.example, primary: c@acme.example, takeOverMailbox: true}");
    world.expect("AliasLink/l LastSuperAdministrator\nAdminRole/s Succeeded");
    world.apply("AdminRole/s: {builtIn: SuperAdministrator, members: [a@acme.example, b@acme.example]}");
    world.expect("AliasLink/l Succeeded\nAdminRole/s MembersRejected");
    assert_eq!(supers(&world), ["b@acme.example"]);
}

#[test]
fn r2_two_take_overs_at_once_leave_one() {
    let mut world = world(SUPER);
    world.apply(
        "AliasLink/l: {alias: a@acme.example, primary: c@acme.example, takeOverMailbox: true}\nAliasLink/m: {alias: b@acme.example, primary: c@acme.example, takeOverMailbox: true}",
    );
    world.expect("AliasLink/l Succeeded\nAliasLink/m LastSuperAdministrator");
    assert_eq!(supers(&world), ["b@acme.example"]);
}

#[test]
fn r3_a_member_of_a_role_is_not_purged() {
    let mut world = world(
        "EmailAddress/d: {address: d@acme.example, deletionPolicy: Purge}\nAdminRole/h: {builtIn: HelpDesk, members: [d@acme.example]}",
    );
    world.delete("EmailAddress/d");
    world.queue_reports();
    world.advance(3700);
    world.expect("EmailAddress/d PurgeBlocked\nAdminRole/h Succeeded");
    assert_eq!(world.blockers("EmailAddress/d"), ["AdminRole"]);
    world.delete("AdminRole/h");
    world.expect("EmailAddress/d -");
}

#[test]
fn c4_a_right_taken_away_by_hand_comes_back_with_an_event() {
    let mut world = world("DelegateMailbox/d: {reader: a@acme.example, mailbox: b@acme.example}");
    world.expect("DelegateMailbox/d Succeeded");
    let pair = (address("a@acme.example"), address("b@acme.example"));
    assert!(world.observed.delegations.remove(&pair).is_some());
    world.settle();
    assert!(world.observed.delegations.get(&pair).is_some());
    assert!(world.noted("DriftCorrected"));
}
