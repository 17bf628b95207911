//! What a Secret offers, and what becomes of it (SPEC P1 to P4, P9).

use super::world::{World, address, check};
use crate::plan::Change;
use crate::plan::reason::Reason;

fn world(offer: &str, more: &str) -> World {
    let mut world = check("InternalDomain/x: {domain: acme.example}", "");
    offer_now(&mut world, offer, more);
    world
}

fn offer_now(world: &mut World, offer: &str, more: &str) {
    world.apply(&format!(
        "EmailAddress/a: {{address: a@acme.example, password: {{secretRef: {{name: s, key: k}}{more}}}, metadata: {{password: '{offer}'}}}}"
    ));
}

fn written(world: &World) -> Vec<bool> {
    let set = |change: &Change| if let Change::PutCredential { password, .. } = change { Some(password.phc.is_some()) } else { None };
    world.history.iter().filter_map(set).collect()
}

#[test]
fn p1_p3_what_a_secret_lacks_is_told_and_the_address_is_otherwise_in_force() {
    for (offer, expected) in [
        ("missing", "SecretNotFound"),
        ("unlabelled", "SecretNotReadable"),
        ("refused", "PasswordRefused"),
        ("open one", "PasswordPending"),
    ] {
        let world = world(offer, "");
        world.expect(&format!("EmailAddress/a {expected}"));
        assert_eq!(world.condition("EmailAddress/a", "CredentialReady"), format!("False {expected}"));
        assert!(world.row("a@acme.example").is_some() && world.observed.credentials.is_empty(), "{offer}");
        assert_eq!(world.plan.passwords.len(), usize::from(offer == "open one"));
    }
}

#[test]
fn p1_a_refused_password_leaves_the_old_one_in_force() {
    let mut world = world("one", "");
    world.expect("EmailAddress/a Succeeded");
    offer_now(&mut world, "refused", "");
    world.expect("EmailAddress/a PasswordRefused");
    assert_eq!(world.observed.credentials[&address("a@acme.example")].fingerprint, b"one");
    for lost in ["missing", "unlabelled"] {
        offer_now(&mut world, lost, "");
        assert_eq!(world.observed.credentials[&address("a@acme.example")].fingerprint, b"one", "{lost}");
    }
}

/// Nobody works on the value of a frozen resource, and what was found out before is lost with the process: what is said must not depend on it.
#[test]
fn c8_the_value_for_a_suspended_resource_waits_whatever_is_known_of_it() {
    let mut world = world("one", "");
    let suspend = |world: &mut World, offer: &str, suspended: bool| {
        world.apply(&format!(
            "EmailAddress/a: {{address: a@acme.example, suspend: {suspended}, password: {{secretRef: {{name: s, key: k}}}}, metadata: {{password: '{offer}'}}}}"
        ));
    };
    suspend(&mut world, "open one", true);
    assert_eq!(world.condition("EmailAddress/a", "CredentialReady"), "True Succeeded");
    for offer in ["open refused", "refused", "two", "same two"] {
        suspend(&mut world, offer, true);
        world.expect("EmailAddress/a Suspended");
        assert_eq!(world.condition("EmailAddress/a", "CredentialReady"), "False PasswordPending", "{offer}");
        assert_eq!((written(&world), world.plan.passwords.len()), (vec![true], 0), "{offer}");
    }
    suspend(&mut world, "open refused", false);
    assert_eq!(world.plan.passwords.len(), 1);
    suspend(&mut world, "refused", false);
    world.expect("EmailAddress/a PasswordRefused");
}

#[test]
fn p1_a_password_beyond_ascii_is_taken_with_a_warning_once() {
    let mut world = world("grün", "");
    world.expect("EmailAddress/a Succeeded");
    let warnings = |world: &World| world.plan.notes.iter().filter(|note| note.reason == Reason::PasswordNotAscii && note.warning).count();
    assert_eq!(warnings(&world), 1);
    offer_now(&mut world, "grün", ", neverExpires: true");
    assert_eq!(warnings(&world), 0);
    offer_now(&mut world, "green", "");
    assert_eq!(warnings(&world), 0);
}

#[test]
fn p2_an_unchanged_password_is_never_hashed_or_written_again() {
    let mut world = world("one", "");
    offer_now(&mut world, "open one", "");
    world.expect("EmailAddress/a Succeeded");
    assert_eq!(written(&world), [true]);
    assert_eq!(world.plan.passwords, []);
    offer_now(&mut world, "open two", "");
    assert_eq!(world.plan.passwords.len(), 1);
    offer_now(&mut world, "two", "");
    assert_eq!(written(&world), [true, true]);
}

#[test]
fn p2_a_value_already_in_force_gets_only_a_new_fingerprint() {
    let mut world = world("one", "");
    offer_now(&mut world, "same two", "");
    world.expect("EmailAddress/a Succeeded");
    assert_eq!(written(&world), [true, false]);
}

#[test]
fn p2_a_forced_change_acts_once_for_each_value() {
    let mut world = world("one", ", forceChangeAtLogon: true");
    let forced = |world: &World| world.observed.credentials[&address("a@acme.example")].force_change;
    assert!(forced(&world));
    world.observed.credentials.get_mut(&address("a@acme.example")).unwrap().force_change = false; // the user changed it
    world.settle();
    assert!(!forced(&world));
    offer_now(&mut world, "two", ", forceChangeAtLogon: true");
    assert!(forced(&world));
}

#[test]
fn p9_who_changed_the_password_last_is_told() {
    let mut world = world("one", "");
    let changed_by = |world: &World| match &world.verdict("EmailAddress/a").detail {
        crate::plan::verdict::Detail::Address(detail) => detail.password_changed_by,
        _ => "",
    };
    assert_eq!(changed_by(&world), "Declared");
    world.advance(60);
    let now = world.now;
    world.reports("a@acme.example").user_password_at = Some(now);
    world.settle();
    assert_eq!(changed_by(&world), "User");
    world.advance(60);
    offer_now(&mut world, "two", "");
    assert_eq!(changed_by(&world), "Declared");
}

#[test]
fn p4_expiry_is_counted_from_when_it_was_set() {
    let mut world = world("one", "");
    let expires = |world: &World| match &world.verdict("EmailAddress/a").detail {
        crate::plan::verdict::Detail::Address(detail) => detail.password_expires_at,
        _ => None,
    };
    assert_eq!(expires(&world), None);
    world.apply("AccountSettings/default: {password: {expiresAfterDays: 30}}");
    assert_eq!(expires(&world), Some("2026-03-31T12:00:00Z".parse().unwrap()));
    offer_now(&mut world, "one", ", neverExpires: true");
    assert_eq!(expires(&world), None);
    world.delete("AccountSettings/default");
    assert!(world.observed.settings.is_empty());
}
