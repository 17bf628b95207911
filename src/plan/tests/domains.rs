//! Domains: claims, handing over, the end (SPEC D1 to D3, V4's PostmasterMissing).

use super::world::{World, check, key};
use crate::model::DomainName;

const OLD: &str = "metadata: {creationTimestamp: 2026-01-01T00:00:00Z}";

#[test]
fn d1_claims_above_and_below_another_tenants_domain_are_refused_whichever_came_second() {
    check(
        &format!("{{InternalDomain/a/x: {{domain: acme.example, {OLD}}}, InternalDomain/b/y: {{domain: mail.acme.example}}}}"),
        "InternalDomain/a/x Succeeded\nInternalDomain/b/y ParentDomainClaimed",
    );
    check(
        &format!("{{InternalDomain/b/y: {{domain: mail.acme.example, {OLD}}}, InternalDomain/a/x: {{domain: acme.example}}}}"),
        "InternalDomain/b/y Succeeded\nInternalDomain/a/x ChildDomainClaimed",
    );
    check(
        "{InternalDomain/a/x: {domain: acme.example}, InternalDomain/a/y: {domain: mail.acme.example}}",
        "InternalDomain/a/x Succeeded\nInternalDomain/a/y Succeeded",
    );
}

#[test]
fn d1_a_row_belongs_to_its_namespace_owned_or_not() {
    let mut world = check(
        "{InternalDomain/a/x: {domain: acme.example}, InternalDomain/b/x: {domain: acme.example}, InternalDomain/a/y: {domain: Acme.Example}}",
        "InternalDomain/a/x Succeeded\nInternalDomain/b/x DomainClaimed\nInternalDomain/a/y DomainClaimed",
    );
    assert!(world.message("InternalDomain/a/y").contains("InternalDomain/a/x"));
    assert!(!world.message("InternalDomain/b/x").contains("a/x"));
    world.delete("InternalDomain/a/x InternalDomain/a/y");
    world.expect("InternalDomain/b/x DomainClaimed");
    world.apply("InternalDomain/b/below: {domain: mail.acme.example}");
    world.expect("InternalDomain/b/below ParentDomainClaimed");
    world.apply("InternalDomain/a/again: {domain: acme.example}");
    world.expect("InternalDomain/a/again Succeeded");
}

#[test]
fn d1_a_refused_claim_comes_into_force_when_the_first_ends() {
    let mut world = check(
        "{InternalDomain/a/x: {domain: acme.example, deletionPolicy: Delete}, InternalDomain/b/y: {domain: mail.acme.example}, InternalDomain/c/x: {domain: acme.example}}",
        "InternalDomain/b/y ParentDomainClaimed\nInternalDomain/c/x DomainClaimed",
    );
    world.delete("InternalDomain/a/x");
    world.expect("InternalDomain/a/x -\nInternalDomain/b/y Succeeded\nInternalDomain/c/x ChildDomainClaimed");
}

#[test]
fn d1_single_labels_and_public_suffixes_are_refused() {
    check(
        "{InternalDomain/x: {domain: localdomain}, InternalDomain/y: {domain: co.uk}, InternalDomain/z: {domain: 'acme .example'}}",
        "InternalDomain/x DomainNotAllowed\nInternalDomain/y DomainNotAllowed\nInternalDomain/z DomainInvalid",
    );
}

fn two_tenants() -> World {
    check(
        "InternalDomain/a/x: {domain: acme.example}
EmailAddress/a/sales: {address: sales@acme.example, disabled: true, displayName: Sales}
EmailAddress/a/info: {address: info@acme.example}
AliasLink/a/al: {alias: al@acme.example, primary: sales@acme.example}
DelegateMailbox/a/d: {reader: info@acme.example, mailbox: sales@acme.example}
InternalDomain/b/x: {domain: acme.example}
EmailAddress/b/sales: {address: sales@acme.example}",
        "InternalDomain/a/x Succeeded\nInternalDomain/b/x DomainClaimed\nEmailAddress/a/sales Succeeded\nEmailAddress/b/sales DomainClaimed",
    )
}

#[test]
fn d1_a_transfer_takes_all_rows_along() {
    let mut world = two_tenants();
    world.annotate("InternalDomain/a/x", "transferTo", "b 1");
    world.expect(
        "InternalDomain/a/x DomainClaimed\nInternalDomain/b/x Succeeded\nEmailAddress/a/sales DomainClaimed
         EmailAddress/b/sales Succeeded\nAliasLink/a/al DomainClaimed\nDelegateMailbox/a/d MailboxNotFound",
    );
    let row = world.row("sales@acme.example").unwrap();
    assert_eq!((row.namespace.as_str(), row.owner.as_deref(), row.disabled, row.shut), ("b", Some("sales"), true, false));
    assert_eq!(world.row("info@acme.example").unwrap().owner, None);
    assert_eq!(world.alias_of("al@acme.example").as_deref(), Some("sales@acme.example"));
    assert!(world.may_read("info@acme.example", "sales@acme.example"), "undeclared, but it went along");
    // Deleting the old resources touches nothing.
    world.delete("EmailAddress/a/sales EmailAddress/a/info AliasLink/a/al DelegateMailbox/a/d InternalDomain/a/x");
    world.advance(7200);
    assert!(!world.row("info@acme.example").unwrap().shut && world.may_read("info@acme.example", "sales@acme.example"));
}

#[test]
fn d1_a_transfer_wants_a_taker_that_waits() {
    let mut world = two_tenants();
    world.annotate("InternalDomain/a/x", "transferTo", "c 1");
    world.expect("InternalDomain/a/x Succeeded\nInternalDomain/b/x DomainClaimed");
    world.apply("InternalDomain/c/x: {domain: acme.example}");
    world.expect("InternalDomain/c/x Succeeded\nInternalDomain/a/x DomainClaimed");
}

#[test]
fn d1_what_joins_the_domain_to_others_blocks_a_transfer() {
    let mut world = two_tenants();
    world.apply("AdminRole/a/help: {builtIn: HelpDesk, members: [sales@acme.example]}");
    world.annotate("InternalDomain/a/x", "transferTo", "b 1");
    world.expect("InternalDomain/a/x TransferBlocked\nEmailAddress/a/sales Succeeded");
    assert!(world.message("InternalDomain/a/x").contains("role help of sales@acme.example"));
    world.delete("AdminRole/a/help");
    world.expect("InternalDomain/b/x Succeeded");
}

#[test]
fn d1_the_command_transfers_without_a_taker_and_is_forgotten_when_blocked() {
    let mut world = two_tenants();
    let domain = DomainName::parse("acme.example").unwrap();
    world.observed.transfers.insert(domain.clone(), "c".to_owned());
    world.settle();
    assert_eq!(world.observed.domains[&domain].namespace, "c");
    assert!(world.observed.transfers.is_empty());
}

/// What the one between declares must not show on rows that it holds for no moment.
#[test]
fn d1_two_that_hand_a_domain_to_each_other_in_one_plan_leave_it_where_it_is() {
    let mut world = check(
        "InternalDomain/a/x: {domain: acme.example}
EmailAddress/a/sales: {address: sales@acme.example, displayName: Sales}
EmailAddress/a/info: {address: info@acme.example}
InternalDomain/b/x: {domain: acme.example, metadata: {annotations: {transferTo: a 2}}}
EmailAddress/b/sales: {address: sales@acme.example, attributes: {tenant: b}}",
        "InternalDomain/a/x Succeeded\nInternalDomain/b/x DomainClaimed",
    );
    world.apply("EmailAddress/a/info: {address: info@acme.example, suspend: true}");
    let before = (world.observed.domains.clone(), world.observed.addresses.clone());
    world.annotate("InternalDomain/a/x", "transferTo", "b 1");
    world.expect("InternalDomain/a/x Succeeded\nInternalDomain/b/x DomainClaimed\nEmailAddress/a/sales Succeeded");
    assert_eq!((&world.observed.domains, &world.observed.addresses), (&before.0, &before.1));
    assert_eq!(world.observed.handled.len(), 2, "both tokens are done: {:?}", world.observed.handled);
}

#[test]
fn d1_a_domain_that_its_taker_hands_on_goes_to_the_last_in_one_plan() {
    let mut world = two_tenants();
    world.put("InternalDomain/c/x: {domain: acme.example}\nEmailAddress/b/sales: {address: sales@acme.example, attributes: {tenant: b}}");
    world.put_annotation(&key("InternalDomain/a/x"), "transferTo", "b 1");
    world.annotate("InternalDomain/b/x", "transferTo", "c 2");
    world.expect("InternalDomain/a/x DomainClaimed\nInternalDomain/b/x DomainClaimed\nInternalDomain/c/x Succeeded");
    let row = world.row("sales@acme.example").unwrap();
    assert_eq!((row.namespace.as_str(), row.owner.as_deref(), row.attributes.len()), ("c", None, 0));
}

#[test]
fn c6_a_transfer_token_older_than_the_resource_is_noted_and_not_acted_on() {
    let mut world = two_tenants();
    world.annotate("InternalDomain/a/x", "transferTo", "b 2020-01-01T00:00:00Z");
    world.expect("InternalDomain/a/x Succeeded\nInternalDomain/b/x DomainClaimed");
}

#[test]
fn d2_retain_leaves_the_domain_working_and_undeclared() {
    let mut world = check("InternalDomain/x: {domain: acme.example}\nEmailAddress/a: {address: a@acme.example}", "");
    world.delete("InternalDomain/x");
    world.advance(7200);
    let row = &world.observed.domains[&DomainName::parse("acme.example").unwrap()];
    assert_eq!((row.namespace.as_str(), row.owner.as_deref()), ("acme", None));
    world.expect("EmailAddress/a Succeeded");
}

fn leaving() -> World {
    let mut world = check(
        "InternalDomain/x: {domain: acme.example, deletionPolicy: Delete}
EmailAddress/a: {address: a@acme.example}
EmailAddress/b: {address: b@acme.example}
AliasLink/l: {alias: l@acme.example, primary: a@acme.example}",
        "AliasLink/l Succeeded",
    );
    world.delete("EmailAddress/b");
    world.advance(120);
    world.delete("InternalDomain/x");
    world
}

#[test]
fn d2_delete_is_blocked_while_an_address_remains() {
    let mut world = leaving();
    world.expect("InternalDomain/x DeletionBlocked\nEmailAddress/a Succeeded");
    assert!(world.message("InternalDomain/x").starts_with("AddressesRemain: 3 in acme.example, among them a@acme.example"));
    let held = world.held("InternalDomain/x").unwrap();
    assert_eq!(held.sample, ["Purge b@acme.example"], "what resources declare is not on offer");
    world.advance(100_000);
    assert!(world.row("b@acme.example").is_some(), "no passing of time releases it");
}

#[test]
fn d2_approving_purges_what_nobody_declares_and_the_rest_keeps_the_domain() {
    let mut world = leaving();
    world.queue_reports();
    world.approve("InternalDomain/x");
    world.advance(3700);
    assert!(world.row("b@acme.example").is_none());
    world.expect("InternalDomain/x DeletionBlocked\nEmailAddress/a Succeeded");
    world.delete("AliasLink/l");
    world.advance(3700);
    world.expect("AliasLink/l -");
    world.delete("EmailAddress/a");
    assert_eq!(world.held("InternalDomain/x").unwrap().sample, ["Purge a@acme.example"]);
    world.approve("InternalDomain/x");
    world.queue_reports();
    world.advance(3700);
    world.expect("InternalDomain/x -");
    assert!(world.observed.domains.is_empty() && world.observed.addresses.is_empty());
}

#[test]
fn d2_the_offer_ends_when_the_domain_is_declared_again() {
    let mut world = leaving();
    world.queue_reports();
    world.approve("InternalDomain/x");
    world.apply("InternalDomain/y: {domain: acme.example}");
    world.expect("InternalDomain/x -\nInternalDomain/y Succeeded");
    world.advance(7200);
    assert!(world.row("b@acme.example").is_some() && world.observed.waiting.is_empty());
}

#[test]
fn d2_an_offer_holds_no_other_end() {
    let mut world = leaving();
    world.apply("EmailAddress/c: {address: c@acme.example, deletionPolicy: Purge}\nEmailAddress/d: {address: d@acme.example}");
    world.delete("EmailAddress/c");
    world.expect("EmailAddress/c PurgeBlocked\nInternalDomain/x DeletionBlocked");
    world.queue_reports();
    world.advance(3700);
    world.expect("EmailAddress/c -");
    assert!(world.row("b@acme.example").is_some());
}

#[test]
fn d2_a_suspended_domain_that_is_deleted_is_left_as_under_retain() {
    let mut world =
        check("InternalDomain/x: {domain: acme.example, deletionPolicy: Delete}\nEmailAddress/a: {address: a@acme.example}", "");
    world.apply("InternalDomain/x: {domain: acme.example, deletionPolicy: Delete, suspend: true}");
    world.delete("InternalDomain/x EmailAddress/a");
    world.expect("InternalDomain/x -");
    assert_eq!(world.observed.domains.len(), 1);
}

#[test]
fn v4_postmaster_and_abuse_go_somewhere_or_the_domain_says_so() {
    for (resources, expected) in [
        ("", "True PostmasterMissing"),
        ("EmailAddress/p: {address: postmaster@acme.example}", "True PostmasterMissing"),
        ("EmailAddress/p: {address: postmaster@acme.example}\nEmailAddress/q: {address: abuse@acme.example}", "False PostmasterPresent"),
        ("EmailAddress/p: {address: it@acme.example}", "False PostmasterPresent"),
    ] {
        let world = check(&format!("InternalDomain/x: {{domain: acme.example, postmaster: it@acme.example}}\n{resources}"), "");
        assert_eq!(world.condition("InternalDomain/x", "PostmasterMissing"), expected, "{resources}");
    }
}
