//! Alias links (SPEC L1 to L3, L6, L7).

use super::world::{World, check, key};

const BASE: &str = "InternalDomain/x: {domain: acme.example}
InternalDomain/y: {domain: other.example}
EmailAddress/sales: {address: sales@acme.example}
EmailAddress/info: {address: info@acme.example}
EmailAddress/eve: {address: eve@acme.example}
EmailAddress/carol: {address: carol@other.example}
";

fn world(resources: &str) -> World {
    check(&format!("{BASE}{resources}"), "")
}

fn link(alias: &str, primary: &str, more: &str) -> String {
    format!("{{alias: {alias}, primary: {primary}{more}}}")
}

#[test]
fn l1_what_a_link_may_not_be() {
    for (alias, primary, more, expected) in [
        ("al@acme.example", "sales@acme.example", "", "Succeeded"),
        ("Sales@acme.example", "sales@acme.example", "", "SameAddress"),
        ("al@acme.example", "nobody@acme.example", "", "PrimaryNotFound"),
        ("al@acme.example", "carol@other.example", "", "CrossDomain"),
        ("al@acme.example", "carol@other.example", ", crossDomain: true", "Succeeded"),
        ("al@acme.example", "first@acme.example", "", "AliasChain"),
        ("sales@acme.example", "info@acme.example", "", "AliasChain"),
        ("info@acme.example", "sales@acme.example", "", "Succeeded"),
        ("al@gone.example", "sales@acme.example", ", crossDomain: true", "DomainNotFound"),
        ("al@acme.example", "x@gone.example", ", crossDomain: true", "DomainNotFound"),
        ("a l@acme.example", "sales@acme.example", "", "AddressInvalid"),
    ] {
        let mut world = world("AliasLink/first: {alias: first@acme.example, primary: sales@acme.example}");
        world.apply(&format!("AliasLink/l: {}", link(alias, primary, more)));
        assert_eq!(world.ready("AliasLink/l"), expected, "{alias} {primary} {more}: {}", world.message("AliasLink/l"));
        world.expect("AliasLink/first Succeeded");
    }
}

#[test]
fn l1_of_a_cycle_of_two_the_older_link_comes_into_force() {
    let world = world(
        "AliasLink/b: {alias: info@acme.example, primary: sales@acme.example}\nAliasLink/a: {alias: sales@acme.example, primary: info@acme.example}",
    );
    world.expect("AliasLink/b Succeeded\nAliasLink/a AliasChain");
}

#[test]
fn l1_a_chain_keeps_the_link_in_force_against_an_older_one() {
    let mut world = world("AliasLink/new: {alias: sales@acme.example, primary: info@acme.example}");
    world
        .apply("AliasLink/old: {alias: al@acme.example, primary: sales@acme.example, metadata: {creationTimestamp: 2020-01-01T00:00:00Z}}");
    world.expect("AliasLink/new Succeeded\nAliasLink/old AliasChain");
}

#[test]
fn l1_two_links_exchange_their_aliases_in_one_plan() {
    let mut world = world(
        "AliasLink/a: {alias: a@acme.example, primary: sales@acme.example}\nAliasLink/b: {alias: b@acme.example, primary: info@acme.example}",
    );
    world.apply(
        "AliasLink/a: {alias: b@acme.example, primary: sales@acme.example}\nAliasLink/b: {alias: a@acme.example, primary: info@acme.example}",
    );
    world.expect("AliasLink/a Succeeded\nAliasLink/b Succeeded");
    assert_eq!(world.alias_of("a@acme.example").as_deref(), Some("info@acme.example"));
    assert_eq!(world.alias_of("b@acme.example").as_deref(), Some("sales@acme.example"));
    assert!(world.observed.waiting.is_empty());
}

#[test]
fn l1_alias_and_mailbox_swapped_in_one_apply_resolve_once_the_old_link_ended() {
    let mut world = world("AliasLink/l: {alias: sales@acme.example, primary: info@acme.example}");
    world.apply("AliasLink/l: {alias: info@acme.example, primary: sales@acme.example}");
    world.expect("AliasLink/l RemovalPending");
    world.advance(15);
    world.expect("AliasLink/l Succeeded");
    assert_eq!((world.alias_of("sales@acme.example"), world.alias_of("info@acme.example").as_deref()), (None, Some("sales@acme.example")));
}

#[test]
fn l2_the_link_waits_for_its_primary_and_makes_the_alias_row() {
    let mut world = world("AliasLink/l: {alias: Al@acme.example, primary: dora@acme.example}");
    world.expect("AliasLink/l PrimaryNotFound");
    assert!(world.row("al@acme.example").is_none());
    world.apply("EmailAddress/dora: {address: dora@acme.example}");
    world.expect("AliasLink/l Succeeded");
    let row = world.row("al@acme.example").unwrap();
    assert_eq!((row.display.as_str(), row.is_alias, row.owner.as_deref()), ("Al@acme.example", true, None));
}

#[test]
fn l2_a_living_mailbox_becomes_an_alias_only_when_taken_over() {
    for (living, sign) in [
        (
            "EmailAddress/info: {address: info@acme.example, password: {secretRef: {name: s, key: k}}, metadata: {password: Correct}}",
            "credential",
        ),
        ("AdminRole/r: {builtIn: HelpDesk, members: [info@acme.example]}", "role"),
        ("DelegateMailbox/d: {reader: info@acme.example, mailbox: carol@other.example}", "delegation"),
        ("DelegateMailbox/d: {reader: carol@other.example, mailbox: info@acme.example}", "delegation"),
    ] {
        let mut world = world("");
        world.apply(living);
        world.apply("AliasLink/l: {alias: info@acme.example, primary: sales@acme.example}");
        world.expect("AliasLink/l AliasIsMailbox");
        assert!(world.message("AliasLink/l").contains(sign), "{}", world.message("AliasLink/l"));
        world.apply("AliasLink/l: {alias: info@acme.example, primary: sales@acme.example, takeOverMailbox: true}");
        world.expect("AliasLink/l Succeeded");
        assert!(world.role_of("info@acme.example").is_none() && world.observed.delegations.iter().count() == 0);
    }
}

#[test]
fn l2_a_mailbox_is_living_no_longer_once_its_last_right_ends() {
    let mut world = world("AdminRole/r: {builtIn: HelpDesk, members: [info@acme.example]}");
    world.apply("AliasLink/l: {alias: info@acme.example, primary: sales@acme.example}");
    world.expect("AliasLink/l AliasIsMailbox");
    world.delete("AdminRole/r");
    world.expect("AliasLink/l Succeeded");
}

#[test]
fn l2_an_alias_has_one_declaring_resource() {
    let mut world = world(
        "AliasLink/a: {alias: al@acme.example, primary: sales@acme.example}\nAliasLink/b: {alias: al@acme.example, primary: info@acme.example}",
    );
    world.expect("AliasLink/a Succeeded\nAliasLink/b AliasClaimed");
    assert!(world.message("AliasLink/b").contains("AliasLink/acme/a"));
    world.delete("AliasLink/a");
    world.expect("AliasLink/a -\nAliasLink/b Succeeded");
    assert_eq!(world.alias_of("al@acme.example").as_deref(), Some("info@acme.example"));
    assert!(world.observed.waiting.is_empty(), "nothing ended, so nothing waits");
}

#[test]
fn l2_without_its_finalizer_a_link_is_not_put_in_force() {
    let mut world = world("AliasLink/l: {alias: al@acme.example, primary: sales@acme.example, metadata: {finalizers: []}}");
    assert!(!world.plan.verdicts.contains_key(&key("AliasLink/l")) && world.alias_of("al@acme.example").is_none());
    world.apply("AliasLink/l: {alias: al@acme.example, primary: sales@acme.example}");
    world.expect("AliasLink/l Succeeded");
}

#[test]
fn l6_a_row_that_only_the_link_made_goes_with_it() {
    let mut world = world("AliasLink/l: {alias: al@acme.example, primary: sales@acme.example}");
    world.delete("AliasLink/l");
    world.expect("AliasLink/l RemovalPending");
    assert!(world.alias_of("al@acme.example").is_some(), "not on sight (U4)");
    world.advance(9);
    assert!(world.alias_of("al@acme.example").is_some());
    world.advance(1);
    world.expect("AliasLink/l -");
    assert!(world.row("al@acme.example").is_none());
    assert!(world.observed.tombstones.is_empty(), "an end of a link is no purge");
}

#[test]
fn l6_a_row_that_was_there_before_stays() {
    let mut world = world("AliasLink/l: {alias: info@acme.example, primary: sales@acme.example}");
    world.delete("AliasLink/l");
    world.advance(10);
    assert!(!world.row("info@acme.example").unwrap().is_alias);
    world.expect("EmailAddress/info Succeeded");
}

#[test]
fn l6_a_row_that_was_declared_meanwhile_is_retained() {
    let mut world = world("AliasLink/l: {alias: al@acme.example, primary: sales@acme.example}");
    world.apply("EmailAddress/al: {address: al@acme.example}");
    world.delete("EmailAddress/al AliasLink/l");
    world.advance(120);
    assert!(world.row("al@acme.example").is_some(), "Retain keeps the row (U1)");
}

#[test]
fn l7_rights_name_primaries() {
    let world = world(
        "AliasLink/l: {alias: al@acme.example, primary: sales@acme.example}
DelegateMailbox/d: {reader: al@acme.example, mailbox: info@acme.example}
AdminRole/r: {builtIn: HelpDesk, members: [al@acme.example, info@acme.example]}",
    );
    world.expect("DelegateMailbox/d AliasNamed\nAdminRole/r MembersRejected");
    assert!(world.message("DelegateMailbox/d").contains("sales@acme.example"));
    assert_eq!(world.rejected("AdminRole/r"), ["al@acme.example AliasNamed"]);
    assert_eq!(world.role_of("info@acme.example"), Some("r"));
}

#[test]
fn l7_a_right_ends_for_good_when_its_address_becomes_an_alias() {
    let mut world = world(
        "DelegateMailbox/d: {reader: info@acme.example, mailbox: carol@other.example}\nAdminRole/r: {builtIn: HelpDesk, members: [info@acme.example]}",
    );
    world.apply("AliasLink/l: {alias: info@acme.example, primary: sales@acme.example, takeOverMailbox: true}");
    world.expect("AliasLink/l Succeeded\nDelegateMailbox/d AliasMoved\nAdminRole/r MembersRejected");
    assert_eq!(world.rejected("AdminRole/r"), ["info@acme.example AliasMoved"]);
    assert!(!world.may_read("info@acme.example", "carol@other.example") && world.role_of("info@acme.example").is_none());
    world.advance(3600);
    world.expect("DelegateMailbox/d AliasMoved");
    assert_eq!(world.rejected("AdminRole/r"), ["info@acme.example AliasMoved"]);
    assert_eq!(world.role_of("sales@acme.example"), None, "the right does not follow the link");
    // What says something else is judged anew.
    world.apply("AdminRole/r: {builtIn: BasicAdministrator, members: [info@acme.example]}");
    assert_eq!(world.rejected("AdminRole/r"), ["info@acme.example AliasNamed"]);
}

#[test]
fn l7_purging_an_alias_never_touches_the_primary() {
    let mut world = world(
        "EmailAddress/al: {address: al@acme.example, deletionPolicy: Purge}\nAliasLink/l: {alias: al@acme.example, primary: sales@acme.example}",
    );
    world.delete("EmailAddress/al");
    world.queue_reports();
    world.advance(3700);
    assert_eq!(world.blockers("EmailAddress/al"), ["DeclaredAlias"]);
    world.delete("AliasLink/l");
    world.advance(60);
    world.queue_reports();
    world.expect("EmailAddress/al -\nEmailAddress/sales Succeeded\nAliasLink/l -");
    assert!(world.row("al@acme.example").is_none() && world.row("sales@acme.example").is_some());
}

#[test]
fn c10_what_a_link_declared_before_ends_even_if_its_new_primary_is_refused() {
    let mut world = world("AliasLink/l: {alias: al@acme.example, primary: sales@acme.example}");
    world.apply("AliasLink/l: {alias: al@acme.example, primary: carol@other.example}");
    world.expect("AliasLink/l CrossDomain");
    assert!(world.alias_of("al@acme.example").is_some());
    world.advance(15);
    assert!(world.alias_of("al@acme.example").is_none());
    world.expect("AliasLink/l CrossDomain");
}

#[test]
fn c10_a_link_turns_to_another_primary_at_once() {
    let mut world = world("AliasLink/l: {alias: al@acme.example, primary: sales@acme.example}");
    world.apply("AliasLink/l: {alias: al@acme.example, primary: info@acme.example}");
    world.expect("AliasLink/l Succeeded");
    assert_eq!(world.alias_of("al@acme.example").as_deref(), Some("info@acme.example"));
}

/// The row that only the first link made goes with it, and the second makes it anew: in the store the old link has to go first.
#[test]
fn l6_an_alias_that_ends_and_is_made_again_for_the_same_primary_in_one_plan_is_another_row() {
    let mut world = check(
        "InternalDomain/x: {domain: acme.example}
EmailAddress/ann: {address: ann@acme.example}
EmailAddress/info: {address: info@acme.example}
AliasLink/one: {alias: a@acme.example, primary: ann@acme.example}
AliasLink/two: {alias: f@acme.example, primary: ann@acme.example}",
        "AliasLink/one Succeeded\nAliasLink/two Succeeded",
    );
    world.apply(
        "AliasLink/one: {alias: f@acme.example, primary: ann@acme.example}
AliasLink/two: {alias: f@acme.example, primary: a@acme.example}",
    );
    world.expect("AliasLink/one AliasClaimed\nAliasLink/two RemovalPending");
    let before = world.row("f@acme.example").unwrap().created_at;
    world.advance(11);
    world.expect("AliasLink/one Succeeded\nAliasLink/two AliasClaimed");
    assert_eq!(world.alias_of("f@acme.example").as_deref(), Some("ann@acme.example"));
    assert!(world.row("f@acme.example").unwrap().created_at > before && world.row("a@acme.example").is_none());
}
