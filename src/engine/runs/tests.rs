//! When a sign that went from many entries says that it can't be read any more (SPEC Y4).

use super::verdict::Signless;
use crate::model::{Account, Entry, EntryId, EntrySort, Signs};
use crate::plan::desired::{ConnectionDeclared, Declared};
use crate::plan::reason::Reason;
use crate::plan::tests::world::{World, key};
use crate::store::Known;

/// A connection with this guard, as it is admitted.
fn declared(guard: &str) -> ConnectionDeclared {
    let mut world = World::new();
    world.apply(&format!(
        "DirectoryConnection/corp: {{type: OpenLDAP, urls: [ldaps://ldap.corp.example], baseDN: dc=corp, deletionGuard: {guard},
            bind: {{dn: 'cn=sync,dc=corp', passwordSecretRef: {{name: s, key: k}}}}}}"
    ));
    match &world.desired.resources[&key("DirectoryConnection/corp")].declared {
        Ok(Declared::Connection(declared)) => declared.as_ref().clone(),
        other => panic!("{other:?}"),
    }
}

fn signs(all: &[Signs]) -> Signs {
    let mut signs = Signs::default();
    all.iter().for_each(|sign| signs.add(*sign));
    signs
}

fn entry(signs: Signs) -> Entry {
    Entry {
        id: EntryId::from_text("a").unwrap(),
        dn: "cn=a,dc=corp".to_owned(),
        sort: EntrySort::Mailbox,
        values: Vec::new(),
        display_name: None,
        attributes: std::collections::BTreeMap::new(),
        account: Account::Enabled,
        signs,
        faults: Vec::new(),
        digest: [0; 16],
    }
}

/// Of `had` entries that had the sign, `gone` come without it.
fn seen(sign: Signs, had: usize, gone: usize) -> Signless {
    let mut signless = Signless::default();
    for n in 0..had {
        let now = if n < gone { Signs::default() } else { sign };
        let lacks = signless.note(&entry(now), Some(&Known { digest: None, signs: sign, holds: true }));
        assert_eq!(lacks, n < gone);
    }
    signless
}

#[test]
fn y4_a_sign_may_go_from_as_many_entries_as_the_guard_lets_leave_and_from_none_more() {
    // Of how many, and the limit that SPEC Y7 makes of it: the larger of the two, and never more than half.
    for (guard, had, limit) in [
        ("{maxPercent: 10, minCount: 10}", 40, 10),
        ("{maxPercent: 10, minCount: 10}", 400, 40),
        ("{maxPercent: 10, minCount: 10}", 401, 41),
        ("{maxPercent: 10, minCount: 10}", 12, 6),
        ("{maxPercent: 0, minCount: 3}", 400, 3),
        ("{maxPercent: 0, minCount: 0}", 400, 1),
    ] {
        let declared = declared(guard);
        for (sign, name) in Signs::ALL {
            assert_eq!(seen(sign, had, limit).judge(&declared), Ok(()), "{name}: {limit} of {had} with {guard}");
            let problem = seen(sign, had, limit + 1).judge(&declared).unwrap_err();
            assert_eq!(problem.reason, Reason::AttributesHidden);
            let told = format!(
                "{} of the {had} entries that had the attribute {name} came without it; may cn=sync,dc=corp still read it?",
                limit + 1
            );
            assert_eq!(problem.message, told);
        }
    }
}

#[test]
fn y4_a_sign_that_went_from_all_who_had_it_is_hidden_however_few_they_are_but_one_alone_may_lose_it() {
    let declared = declared("{maxPercent: 100, minCount: 1000}");
    assert_eq!(seen(Signs::MAIL, 1, 1).judge(&declared), Ok(()));
    assert_eq!(seen(Signs::MAIL, 2, 1).judge(&declared), Ok(()));
    assert_eq!(seen(Signs::MAIL, 2, 2).judge(&declared).unwrap_err().reason, Reason::AttributesHidden);
}

#[test]
fn y4_each_sign_is_counted_by_itself_and_who_is_new_or_never_had_it_counts_for_nothing() {
    let declared = declared("{maxPercent: 0, minCount: 2}");
    let all = signs(&[Signs::MAIL, Signs::USER_ACCOUNT_CONTROL]);
    let mut signless = Signless::default();
    let known = |signs| Known { digest: None, signs, holds: true };
    for _ in 0..20 {
        // New, or it never had one.
        assert!(!signless.note(&entry(Signs::default()), None));
        assert!(!signless.note(&entry(Signs::default()), Some(&known(Signs::default()))));
        assert!(!signless.note(&entry(all), Some(&known(all))));
    }
    for _ in 0..2 {
        assert!(signless.note(&entry(Signs::MAIL), Some(&known(all))));
        assert!(signless.note(&entry(Signs::USER_ACCOUNT_CONTROL), Some(&known(all))));
    }
    assert_eq!(signless.judge(&declared), Ok(()), "two of each, not four of any");
    assert!(signless.note(&entry(Signs::MAIL), Some(&known(all))));
    let message = signless.judge(&declared).unwrap_err().message;
    assert!(message.starts_with("3 of the 25 entries that had the attribute userAccountControl "), "{message}");
}
