//! Addresses: names, claims, ownership (SPEC A1 to A8, section 1, P1 to P6).

use super::world::{World, check};

const DOMAIN: &str = "InternalDomain/acme: {domain: acme.example}\n";

fn world(resources: &str) -> World {
    let mut world = World::new();
    world.apply(&format!("{DOMAIN}{resources}"));
    world
}

#[test]
fn a1_two_spellings_are_one_address() {
    let world = check(
        "{InternalDomain/b: {domain: bücher.example}, EmailAddress/x: {address: Straße@Bücher.example}, EmailAddress/y: {address: STRASSE@xn--bcher-kva.example}}",
        "EmailAddress/x Succeeded
         EmailAddress/y AddressClaimed",
    );
    assert_eq!(world.row("strasse@xn--bcher-kva.example").unwrap().display, "Straße@Bücher.example");
}

#[test]
fn a2_what_is_no_address_is_refused_and_says_which_part() {
    for (text, words) in [("al ice@acme.example", "' '"), ("sales@acme.example.", "dot"), ("sales", "no @"), ("sales@", "empty")] {
        let world = world(&format!("EmailAddress/x: {{address: '{text}'}}"));
        world.expect("EmailAddress/x AddressInvalid");
        assert!(world.message("EmailAddress/x").contains(words), "{text}: {}", world.message("EmailAddress/x"));
        assert_eq!(world.condition("EmailAddress/x", "Locked"), "False AddressInvalid");
    }
}

#[test]
fn a4_an_address_waits_for_its_domain_and_goes_on_by_itself() {
    let mut world = check("EmailAddress/sales: {address: sales@acme.example}", "EmailAddress/sales DomainNotFound");
    world.apply(DOMAIN);
    world.expect("EmailAddress/sales Succeeded");
}

#[test]
fn a4_any_domain_row_of_the_namespace_will_do() {
    let mut world = world("");
    world.delete("InternalDomain/acme");
    world.apply("EmailAddress/sales: {address: sales@acme.example}");
    world.expect("EmailAddress/sales Succeeded");
}

#[test]
fn a4_an_address_stays_when_its_domain_goes_or_is_suspended() {
    let mut world = world("EmailAddress/sales: {address: sales@acme.example}");
    world.apply("InternalDomain/acme: {domain: acme.example, suspend: true}");
    world.expect("EmailAddress/sales Succeeded\nInternalDomain/acme Suspended");
    world.delete("InternalDomain/acme");
    world.expect("EmailAddress/sales Succeeded\nInternalDomain/acme -");
    world.apply("EmailAddress/sales: {address: sales@acme.example, displayName: Sales}");
    assert_eq!(world.row("sales@acme.example").unwrap().display_name, "Sales");
}

#[test]
fn a4_an_address_in_another_tenants_domain_is_refused_and_names_nothing_of_it() {
    let world = world("EmailAddress/globex/sales: {address: sales@acme.example}\nEmailAddress/sales: {address: sales@acme.example}");
    world.expect("EmailAddress/globex/sales DomainClaimed\nEmailAddress/sales Succeeded");
    assert!(!world.message("EmailAddress/globex/sales").contains("acme/"));
}

#[test]
fn a5_the_origin_of_a_learned_row_stays_when_a_resource_adopts_it() {
    let mut world = world("");
    world.observed.learned.entry("acme.example".parse_domain()).or_default().insert(super::world::address("info@acme.example"));
    world.settle();
    world.apply("EmailAddress/info: {address: info@acme.example}\nEmailAddress/sales: {address: sales@acme.example}");
    assert_eq!(world.row("info@acme.example").unwrap().origin, "MailFlow");
    assert_eq!(world.row("sales@acme.example").unwrap().origin, "Manual");
}

trait Parse {
    fn parse_domain(&self) -> crate::model::DomainName;
}

impl Parse for str {
    fn parse_domain(&self) -> crate::model::DomainName {
        crate::model::DomainName::parse(self).unwrap()
    }
}

#[test]
fn a6_the_oldest_wins_and_the_loser_names_it() {
    let world = world(
        "EmailAddress/young: {address: sales@acme.example, metadata: {creationTimestamp: 2026-01-02T00:00:00Z}}
EmailAddress/old: {address: Sales@acme.example, metadata: {creationTimestamp: 2026-01-01T00:00:00Z}}",
    );
    world.expect("EmailAddress/old Succeeded\nEmailAddress/young AddressClaimed");
    assert!(world.message("EmailAddress/young").contains("EmailAddress/acme/old"));
}

#[test]
fn a6_of_the_same_age_the_first_name_wins() {
    let at = "metadata: {creationTimestamp: 2026-01-02T00:00:00Z}";
    let world =
        world(&format!("EmailAddress/b: {{address: sales@acme.example, {at}}}\nEmailAddress/a: {{address: sales@acme.example, {at}}}"));
    world.expect("EmailAddress/a Succeeded\nEmailAddress/b AddressClaimed");
}

#[test]
fn a6_who_holds_the_row_keeps_it_against_an_older_one() {
    let mut world = world("EmailAddress/holder: {address: sales@acme.example}");
    world.apply("EmailAddress/older: {address: sales@acme.example, metadata: {creationTimestamp: 2020-01-01T00:00:00Z}}");
    world.expect("EmailAddress/holder Succeeded\nEmailAddress/older AddressClaimed");
}

#[test]
fn a6_the_loser_takes_over_when_the_winner_is_deleted() {
    let mut world = world("EmailAddress/a: {address: sales@acme.example}\nEmailAddress/b: {address: sales@acme.example}");
    world.delete("EmailAddress/a");
    world.expect("EmailAddress/b Succeeded");
    assert_eq!(world.row("sales@acme.example").unwrap().owner.as_deref(), Some("b"));
    world.advance(120);
    assert!(!world.row("sales@acme.example").unwrap().shut);
}

#[test]
fn a6_deleting_a_loser_never_changes_the_row() {
    let mut world = world(
        "EmailAddress/a: {address: sales@acme.example, displayName: A}\nEmailAddress/b: {address: sales@acme.example, deletionPolicy: Purge}",
    );
    let before = world.row("sales@acme.example").cloned();
    world.delete("EmailAddress/b");
    world.advance(7200);
    assert_eq!(world.row("sales@acme.example").cloned(), before);
    world.expect("EmailAddress/a Succeeded\nEmailAddress/b -");
}

#[test]
fn a7_an_alias_inherits_and_says_so() {
    let mut world = world(
        "EmailAddress/info: {address: info@acme.example, password: {secretRef: {name: s, key: k}}, metadata: {password: Correct}}
EmailAddress/sales: {address: sales@acme.example}
AliasLink/info: {alias: info@acme.example, primary: sales@acme.example}",
    );
    world.expect("EmailAddress/info Succeeded\nAliasLink/info Succeeded");
    assert_eq!(world.condition("EmailAddress/info", "PermissionsInherited"), "True InheritsFromPrimary");
    assert_eq!(world.condition("EmailAddress/sales", "PermissionsInherited"), "False NotAlias");
    assert!(world.observed.credentials.is_empty());
    world.delete("AliasLink/info");
    world.advance(60);
    assert_eq!(world.condition("EmailAddress/info", "PermissionsInherited"), "False NotAlias");
    assert!(world.observed.credentials.contains_key(&super::world::address("info@acme.example")));
}

#[test]
fn a8_a_rename_in_git_purges_nothing_whichever_comes_first() {
    for new_first in [true, false] {
        let mut world = world("EmailAddress/old: {address: sales@acme.example, deletionPolicy: Purge, displayName: Sales}");
        world.queue_reports();
        let new = "EmailAddress/new: {address: sales@acme.example, deletionPolicy: Purge, adoptionPolicy: Fail}";
        if new_first {
            world.apply(new);
            world.expect("EmailAddress/new AddressClaimed");
            world.delete("EmailAddress/old");
        } else {
            world.mark_deleted("EmailAddress/old");
            world.apply(new);
        }
        world.expect("EmailAddress/old -\nEmailAddress/new Succeeded");
        world.queue_reports();
        world.advance(7200);
        world.queue_reports();
        let row = world.row("sales@acme.example").unwrap();
        assert_eq!((row.display_name.as_str(), row.shut), ("Sales", false));
    }
}

#[test]
fn a8_a_purge_ends_when_another_resource_declares_the_address() {
    let mut world = world("EmailAddress/old: {address: sales@acme.example, deletionPolicy: Purge}");
    world.delete("EmailAddress/old");
    world.queue_reports();
    world.advance(1800);
    world.expect("EmailAddress/old PurgeBlocked");
    world.apply("EmailAddress/new: {address: sales@acme.example}");
    world.expect("EmailAddress/old -\nEmailAddress/new Succeeded");
    world.advance(7200);
    assert!(world.row("sales@acme.example").is_some());
}

#[test]
fn a8_fail_refuses_a_row_that_nobody_owns() {
    let mut world = world("EmailAddress/old: {address: sales@acme.example}");
    world.delete("EmailAddress/old");
    world.apply("EmailAddress/new: {address: sales@acme.example, adoptionPolicy: Fail}");
    world.expect("EmailAddress/new AdoptionRefused");
    world.apply("EmailAddress/new: {address: sales@acme.example, adoptionPolicy: Adopt}");
    world.expect("EmailAddress/new Succeeded");
}

#[test]
fn a8_a_new_uid_under_the_same_name_takes_the_row_back_even_with_fail() {
    let mut world = world("EmailAddress/sales: {address: sales@acme.example, adoptionPolicy: Fail}");
    world.mark_deleted("EmailAddress/sales");
    world.apply("EmailAddress/sales: {address: sales@acme.example, adoptionPolicy: Fail, metadata: {uid: new}}");
    world.expect("EmailAddress/sales Succeeded");
}

#[test]
fn a8_an_owner_whose_spec_moved_on_is_none() {
    let mut world = world("EmailAddress/x: {address: sales@acme.example}\nEmailAddress/y: {address: info@acme.example}");
    // The API server refuses the edit; a store that was restored, or files planned offline, can show it all the same.
    world.apply("EmailAddress/x: {address: info@acme.example}\nEmailAddress/y: {address: sales@acme.example}");
    world.expect("EmailAddress/x Succeeded\nEmailAddress/y Succeeded");
    assert_eq!(world.row("sales@acme.example").unwrap().owner.as_deref(), Some("y"));
    assert_eq!(world.row("info@acme.example").unwrap().owner.as_deref(), Some("x"));
}

#[test]
fn s1_what_is_not_declared_keeps_its_value() {
    let mut world = world(
        "EmailAddress/a: {address: sales@acme.example, displayName: Sales, disabled: true, access: {pop: true}, archiveStartDate: 2026-01-01, attributes: {department: Sales, room: '1'}}",
    );
    world.apply("EmailAddress/a: {address: sales@acme.example, attributes: {room: '2'}}");
    let row = world.row("sales@acme.example").unwrap().clone();
    assert_eq!((row.display_name.as_str(), row.disabled, row.pop, row.smtp_submission), ("Sales", true, true, false));
    assert_eq!(row.attributes.into_iter().map(|(k, v)| k + &v).collect::<Vec<_>>(), ["departmentSales", "room2"]);
    assert_eq!(row.archive_start, Some("2026-01-01".parse().unwrap()));
    assert_eq!(world.condition("EmailAddress/a", "Disabled"), "True Declared");
}

#[test]
fn s1_drift_is_judged_on_declared_fields_only() {
    let mut world = world("EmailAddress/a: {address: sales@acme.example, displayName: Sales}");
    let row = world.observed.addresses.get_mut(&super::world::address("sales@acme.example")).unwrap();
    row.pop = true;
    world.settle();
    assert!(world.row("sales@acme.example").unwrap().pop && !world.noted("DriftCorrected"));
    world.observed.addresses.get_mut(&super::world::address("sales@acme.example")).unwrap().display_name = "Mallory".to_owned();
    world.settle();
    assert_eq!(world.row("sales@acme.example").unwrap().display_name, "Sales");
    assert!(world.noted("DriftCorrected"));
}

#[test]
fn s1_a_resource_of_unknown_shape_keeps_what_it_has_and_harms_nobody() {
    let mut world = world(
        "EmailAddress/a: {address: sales@acme.example, deletionPolicy: Purge}\nEmailAddress/b: {address: info@acme.example}
AliasLink/l: {alias: al@acme.example, primary: sales@acme.example}\nDelegateMailbox/d: {reader: info@acme.example, mailbox: sales@acme.example}
AdminRole/r: {builtIn: HelpDesk, members: [info@acme.example]}",
    );
    for name in ["EmailAddress/a", "AliasLink/l", "DelegateMailbox/d", "AdminRole/r", "InternalDomain/acme"] {
        world.make_unreadable(name);
    }
    world.apply("EmailAddress/other: {address: sales@acme.example}");
    world.advance(7200);
    world.expect("EmailAddress/a SpecUnreadable\nEmailAddress/b Succeeded\nAdminRole/r SpecUnreadable\nEmailAddress/other AddressClaimed");
    assert_eq!(world.row("sales@acme.example").unwrap().owner.as_deref(), Some("a"));
    assert_eq!(world.alias_of("al@acme.example").as_deref(), Some("sales@acme.example"));
    assert!(world.may_read("info@acme.example", "sales@acme.example"));
    assert_eq!(world.role_of("info@acme.example"), Some("r"));
    world.delete("EmailAddress/a AliasLink/l DelegateMailbox/d AdminRole/r");
    world.advance(7200);
    assert!(world.row("sales@acme.example").is_some(), "a shape nobody can read asks for no purge");
    assert!(!world.may_read("info@acme.example", "sales@acme.example") && world.role_of("info@acme.example").is_none());
}

#[test]
fn s1_a_value_that_cannot_be_stored_changes_nothing() {
    let mut world = world("EmailAddress/a: {address: sales@acme.example, displayName: Sales}");
    world.apply("EmailAddress/a: {address: sales@acme.example, displayName: \"Al\\0ice\"}");
    world.expect("EmailAddress/a SpecInvalid");
    world.advance(7200);
    let row = world.row("sales@acme.example").unwrap();
    assert_eq!((row.owner.as_deref(), row.shut), (Some("a"), false));
}

#[test]
fn a_thousand_addresses_are_planned_in_no_time() {
    let addresses: String = (0..1000).map(|n| format!("EmailAddress/a{n}: {{address: a{n}@acme.example}}\n")).collect();
    let members = (0..1000).map(|n| format!("a{n}@acme.example")).collect::<Vec<_>>().join(", ");
    let mut world = World::new();
    world.put(&format!("{DOMAIN}{addresses}AdminRole/r: {{builtIn: SuperAdministrator, members: [{members}]}}"));
    let began = std::time::Instant::now();
    world.settle();
    world.put("AdminRole/r: {builtIn: SuperAdministrator, members: []}");
    world.settle();
    // Some 200 ms without optimisation; anything quadratic takes many times that.
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn c2_an_address_always_carries_all_its_conditions() {
    let world = world("EmailAddress/x: {address: sales@acme.example}\nEmailAddress/y: {address: SALES@acme.example}");
    let quiet = [
        ("Locked", "False NotLocked"),
        ("ResetLocked", "False NotLocked"),
        ("Disabled", "False NotDisabled"),
        ("PurgeBlocked", "False NotBlocked"),
        ("CredentialReady", "True NotManaged"),
        ("PermissionsInherited", "False NotAlias"),
        ("HolderChanged", "False SameHolder"),
        ("MailAccepted", "True Accepted"),
    ];
    for (kind, expected) in quiet {
        assert_eq!(world.condition("EmailAddress/x", kind), expected, "{kind}");
        assert_eq!(world.condition("EmailAddress/y", kind), "False AddressClaimed", "{kind} of one without a row");
    }
}

#[test]
fn c2_v1_mail_accepted_follows_the_mode_of_the_domain() {
    for (mode, expected) in [("Known", "True Accepted"), ("None", "False SendsOnly"), ("Directory", "False DirectoryOnly")] {
        let world = check(
            &format!(
                "{{InternalDomain/acme: {{domain: acme.example, recipientValidation: {mode}}}, EmailAddress/x: {{address: sales@acme.example}},
                  AliasLink/a: {{alias: shop@acme.example, primary: sales@acme.example}}}}"
            ),
            "EmailAddress/x Succeeded",
        );
        assert_eq!(world.condition("EmailAddress/x", "MailAccepted"), expected, "{mode}");
        assert_eq!(world.condition("AliasLink/a", "MailAccepted"), expected, "{mode}");
    }
}
