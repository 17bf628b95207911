//! Who goes by another address, and whose address another one has (SPEC Y1, L7, L8, P6).

use super::*;

#[test]
fn l8_marriage_moves_rights_to_the_new_address_and_the_old_one_becomes_its_alias() {
    let mut corp = corp(
        "EmailAddress/anna: {address: anna@acme.example, password: {secretRef: {name: s, key: p}}, access: {pop: true}, metadata: {password: hash1}}
EmailAddress/info: {address: info@acme.example}
DelegateMailbox/d: {reader: anna@acme.example, mailbox: info@acme.example}
AdminRole/r: {builtIn: HelpDesk, members: [anna@acme.example]}",
    );
    corp.run("a: {mail: ['SMTP:anna@acme.example']}");
    corp.run("a: {mail: ['SMTP:anna.new@acme.example', 'anna@acme.example']}");
    assert_eq!(corp.world.alias_of("anna@acme.example"), Some("anna.new@acme.example".to_owned()));
    assert!(corp.world.may_read("anna.new@acme.example", "info@acme.example") && corp.world.row("anna.new@acme.example").unwrap().pop);
    assert_eq!(corp.world.role_of("anna.new@acme.example"), Some("r"));
    assert!(corp.world.observed.credentials.contains_key(&address("anna.new@acme.example")));
    assert_eq!(corp.shut("anna.new@acme.example"), Vec::<&str>::new());
    corp.world.expect("DelegateMailbox/d Succeeded\nAdminRole/r Succeeded");
    assert_eq!(corp.world.condition("EmailAddress/anna", "PermissionsInherited"), "True AddressRenamed");
    // What names the old address goes on meaning the person.
    corp.world.advance(48 * HOUR);
    assert!(corp.world.may_read("anna.new@acme.example", "info@acme.example"));
    corp.world.delete("DelegateMailbox/d");
    assert!(!corp.world.may_read("anna.new@acme.example", "info@acme.example"));
}

#[test]
fn l8_an_old_address_that_the_entry_gave_up_stays_for_a_while_without_rights() {
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}\nc: {mail: ['SMTP:c@acme.example']}");
    for _ in 0..2 {
        corp.run("a: {mail: ['SMTP:anna.new@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}\nc: {mail: ['SMTP:c@acme.example']}");
    }
    assert_eq!((corp.origin("anna@acme.example"), corp.origin("anna.new@acme.example")), ("Directory", "Directory"));
    corp.world.advance(25 * HOUR);
    assert_eq!(corp.origin("anna@acme.example"), "MailFlow");
}

#[test]
fn l8_what_names_an_address_that_its_person_gave_up_means_the_person_also_after_its_time() {
    let mut corp = corp(
        "EmailAddress/anna: {address: anna@acme.example, password: {secretRef: {name: s, key: p}}, metadata: {password: hash1}}
EmailAddress/info: {address: info@acme.example}
DelegateMailbox/d: {reader: anna@acme.example, mailbox: info@acme.example}
AdminRole/r: {builtIn: HelpDesk, members: [anna@acme.example]}",
    );
    let rest = "b: {mail: ['SMTP:b@acme.example']}\nc: {mail: ['SMTP:c@acme.example']}";
    corp.run(&format!("a: {{mail: ['SMTP:anna@acme.example']}}\n{rest}"));
    for round in 0..3 {
        corp.run(&format!("a: {{mail: ['SMTP:anna.new@acme.example']}}\n{rest}"));
        for (name, has) in [("anna@acme.example", false), ("anna.new@acme.example", true)] {
            assert_eq!(corp.world.may_read(name, "info@acme.example"), has, "{name} {round}");
            assert_eq!(corp.world.role_of(name).is_some(), has, "{name} {round}");
            assert_eq!(corp.world.observed.credentials.contains_key(&address(name)), has, "{name} {round}");
        }
        assert_eq!(corp.world.condition("EmailAddress/anna", "PermissionsInherited"), "True AddressRenamed");
        assert_eq!(corp.world.condition("EmailAddress/anna", "CredentialReady"), "True NotManaged");
        corp.world.expect("DelegateMailbox/d Succeeded\nAdminRole/r Succeeded\nEmailAddress/anna Succeeded");
        corp.world.advance(25 * HOUR);
    }
    assert_eq!(corp.origin("anna@acme.example"), "Manual");
    // What is declared anew for the old address is about that person too.
    corp.world.delete("DelegateMailbox/d");
    assert!(!corp.world.may_read("anna.new@acme.example", "info@acme.example"));
}

#[test]
fn y1_another_entry_with_the_address_is_a_new_holder_until_somebody_says_otherwise() {
    let mut corp = corp("EmailAddress/anna: {address: anna@acme.example}");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    corp.run("b: {mail: ['SMTP:b@acme.example']}\nnew: {mail: ['SMTP:anna@acme.example']}");
    assert_eq!(corp.shut("anna@acme.example"), ["HolderChanged"]);
    assert_eq!(corp.origin("anna@acme.example"), "Directory", "mail flows on");
    assert_eq!(corp.world.condition("EmailAddress/anna", "HolderChanged"), "True HolderChanged");
    assert_eq!(corp.missing(), Vec::<String>::new(), "an address that any entry carries is not missing");
    corp.say_same_holder();
    assert_eq!(corp.shut("anna@acme.example"), Vec::<&str>::new());
}

#[test]
fn y1_a_rename_or_a_move_is_an_update() {
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:anna@acme.example'], name: Anna}");
    let outcome = corp.run("a: {mail: ['SMTP:anna@acme.example'], name: Anna B}");
    assert_eq!((outcome.counts.created, outcome.counts.updated), (0, 1));
    assert_eq!(corp.world.row("anna@acme.example").unwrap().directory.as_ref().unwrap().global_name, "Anna B");
}

#[test]
fn l8_entries_that_exchange_addresses_wait_for_a_yes() {
    let mut corp = corp("EmailAddress/anna: {address: anna@acme.example, access: {pop: true}}");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:bert@acme.example']}");
    let exchanged = "a: {mail: ['SMTP:bert@acme.example']}\nb: {mail: ['SMTP:anna@acme.example']}";
    corp.run(exchanged);
    let holder = |corp: &Corp, name: &str| corp.world.row(name).unwrap().entry().unwrap().as_str().to_owned();
    assert_eq!((holder(&corp, "anna@acme.example"), holder(&corp, "bert@acme.example")), ("a".to_owned(), "b".to_owned()));
    assert!(corp.world.observed.entries.values().all(|entry| entry.exchange.as_ref().is_some_and(|exchange| !exchange.approved)));
    corp.approve_exchanges();
    corp.run(exchanged);
    assert_eq!((holder(&corp, "anna@acme.example"), holder(&corp, "bert@acme.example")), ("b".to_owned(), "a".to_owned()));
    // The archive stays with the address, and what is older is another's.
    assert!(corp.world.row("anna@acme.example").unwrap().archive_start.is_some());
    assert_eq!(corp.shut("anna@acme.example"), Vec::<&str>::new());
}

#[test]
fn l7_l8_after_an_exchange_a_role_and_a_delegation_mean_the_same_people_until_they_say_otherwise() {
    let rights =
        "EmailAddress/info: {address: info@acme.example}\nDelegateMailbox/d: {reader: bert@acme.example, mailbox: info@acme.example}\n";
    let role = |members: &str| format!("AdminRole/r: {{permissions: [addresses.read], members: [{members}]}}");
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:bert@acme.example']}");
    corp.world.apply(&format!("{rights}{}", role("anna@acme.example")));
    let exchanged = "a: {mail: ['SMTP:bert@acme.example']}\nb: {mail: ['SMTP:anna@acme.example']}";
    corp.run(exchanged);
    corp.approve_exchanges();
    corp.run(exchanged);
    let members = |corp: &Corp| corp.world.observed.members.keys().map(ToString::to_string).collect::<Vec<_>>();
    let readers = |corp: &Corp| corp.world.observed.delegations.iter().map(|((reader, _), _)| reader.to_string()).collect::<Vec<_>>();
    assert_eq!((members(&corp), readers(&corp)), (vec!["bert@acme.example".to_owned()], vec!["anna@acme.example".to_owned()]));
    // Any later plan, and one that marries, finds the person.
    corp.run("a: {mail: ['SMTP:new@acme.example']}\nb: {mail: ['SMTP:anna@acme.example']}");
    assert_eq!(members(&corp), ["new@acme.example"]);
    // Both names in one role are both people; a name that is written anew means who goes by it now.
    corp.world.apply(&role("bert@acme.example, anna@acme.example"));
    assert_eq!(members(&corp), ["new@acme.example"], "bert@ and anna@ are both the former names of one who has another now");
    corp.world.apply(&role("new@acme.example"));
    corp.world.apply(&role("anna@acme.example"));
    assert_eq!(members(&corp), ["anna@acme.example"]);
}

#[test]
fn l8_after_an_exchange_access_declared_for_one_is_not_given_to_the_other_until_it_is_declared_anew() {
    let declared = "EmailAddress/anna: {address: anna@acme.example, access: {pop: true}}";
    let mut corp = corp(declared);
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:bert@acme.example']}");
    let exchanged = "a: {mail: ['SMTP:bert@acme.example']}\nb: {mail: ['SMTP:anna@acme.example']}";
    corp.run(exchanged);
    corp.approve_exchanges();
    corp.run(exchanged);
    let pop = |corp: &Corp| ["anna", "bert"].map(|name| corp.world.row(&format!("{name}@acme.example")).unwrap().pop);
    assert_eq!(pop(&corp), [false, true], "it went along with Anna");
    assert_eq!(corp.world.condition("EmailAddress/anna", "PermissionsInherited"), "True AddressRenamed");
    corp.world.apply("EmailAddress/anna: {address: anna@acme.example, access: {pop: true}, displayName: edited}");
    assert_eq!(pop(&corp), [false, true]);
    corp.world.delete("EmailAddress/anna");
    corp.world.apply(declared);
    assert_eq!(pop(&corp), [true, true]);
    assert_eq!(corp.world.condition("EmailAddress/anna", "PermissionsInherited"), "False NotAlias");
}

#[test]
fn y1_l8_rights_that_are_withheld_from_a_successor_stay_so_when_its_address_changes() {
    let mut corp = corp("EmailAddress/info: {address: info@acme.example}");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    corp.world.apply("AdminRole/r: {permissions: [addresses.read], members: [anna@acme.example]}");
    corp.run("new: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    assert_eq!(corp.shut("anna@acme.example"), ["HolderChanged"]);
    corp.run("new: {mail: ['SMTP:other@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    assert_eq!(corp.shut("other@acme.example"), ["HolderChanged"]);
    corp.run("new: {mail: ['SMTP:other@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    assert_eq!(corp.shut("other@acme.example"), ["HolderChanged"]);
    corp.say_same_holder();
    assert_eq!(corp.shut("other@acme.example"), Vec::<&str>::new());
}

#[test]
fn l8_a_yes_to_one_exchange_is_none_to_the_next() {
    let three = |a: &str, b: &str, c: &str| {
        format!(
            "a: {{mail: ['SMTP:{a}@acme.example', 'x@acme.example']}}\nb: {{mail: ['SMTP:{b}@acme.example', 'x@acme.example']}}\nc: {{mail: ['SMTP:{c}@acme.example']}}"
        )
    };
    let mut corp = corp("");
    corp.run(&three("a1", "b1", "c1"));
    corp.run(&three("b1", "a1", "c1"));
    corp.approve_exchanges();
    corp.run(&three("b1", "a1", "c1"));
    let holder = |corp: &Corp, name: &str| corp.world.row(&format!("{name}@acme.example")).unwrap().entry().unwrap().as_str().to_owned();
    assert_eq!(["a1", "b1", "c1"].map(|name| holder(&corp, name)), ["b", "a", "c"]);
    // Another exchange, of one who was in the last and is still looked at again (two want x@): nothing of it is done.
    corp.run(&three("c1", "a1", "b1"));
    assert_eq!(["a1", "b1", "c1"].map(|name| holder(&corp, name)), ["b", "a", "c"]);
    // A yes to this one does not go for another that they plan meanwhile.
    corp.approve_exchanges();
    corp.run(&three("a1", "c1", "b1"));
    assert_eq!(["a1", "b1", "c1"].map(|name| holder(&corp, name)), ["b", "a", "c"]);
}

#[test]
fn y1_l8_the_plan_of_holders_says_who_goes_where() {
    let address = |name: &str| address(&format!("{name}@acme.example"));
    let id = |name: &str| EntryId::from_text(name).unwrap();
    let hash = |holders: &[(_, _)], exchanges: &[(_, _)]| held_holders(holders, exchanges).unwrap().hash;
    assert_ne!(hash(&[(address("x"), id("one"))], &[]), hash(&[(address("x"), id("two"))], &[]), "another entry has it by now");
    let ring = |order: [&str; 3]| {
        [(order[0], order[1]), (order[1], order[2]), (order[2], order[0])].map(|(from, to)| (address(from), address(to)))
    };
    assert_ne!(hash(&[], &ring(["a", "b", "c"])), hash(&[], &ring(["a", "c", "b"])), "the other way round");
}

#[test]
fn p6_l8_a_logon_that_was_shut_or_disabled_stays_so_at_the_new_address() {
    let mut corp = corp("EmailAddress/anna: {address: anna@acme.example}\nEmailAddress/wed: {address: wed@acme.example}");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    corp.world.delete("EmailAddress/anna");
    corp.world.advance(60);
    assert!(corp.world.row("anna@acme.example").unwrap().shut, "nobody declares it any more");
    corp.run("a: {mail: ['SMTP:new@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    assert!(corp.world.row("new@acme.example").unwrap().shut);
    // One that is declared says itself what it says, and keeps what it does not.
    let mut row = corp.world.observed.addresses.get_mut(&address("b@acme.example")).unwrap();
    row.disabled = true;
    corp.run("a: {mail: ['SMTP:new@acme.example']}\nb: {mail: ['SMTP:wed@acme.example']}");
    row = corp.world.observed.addresses.get_mut(&address("wed@acme.example")).unwrap();
    assert!(row.disabled && !row.shut);
}

#[test]
fn y1_what_was_anothers_mailbox_is_archived_for_its_new_primary_from_that_day_on() {
    let mut corp = corp("");
    corp.run("b: {mail: ['mail:bob@acme.example']}\nm: {mail: ['SMTP:m@acme.example']}");
    assert_eq!(corp.world.row("bob@acme.example").unwrap().archive_start, None);
    corp.run("b: {mail: ['mail:bob@acme.example']}\nm: {mail: ['SMTP:m@acme.example', 'bob@acme.example']}");
    assert_eq!(corp.world.alias_of("bob@acme.example"), Some("m@acme.example".to_owned()));
    assert!(corp.world.row("bob@acme.example").unwrap().archive_start.is_some());
}

#[test]
fn l8_one_whose_new_address_is_declared_as_an_alias_keeps_the_old_one() {
    let mut corp = corp(
        "EmailAddress/info: {address: info@acme.example}\nAliasLink/l: {alias: new@acme.example, primary: info@acme.example, takeOverMailbox: true}",
    );
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    corp.world.apply("AdminRole/r: {permissions: [addresses.read], members: [anna@acme.example]}");
    corp.run("a: {mail: ['SMTP:new@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    assert_eq!(corp.world.alias_of("new@acme.example"), Some("info@acme.example".to_owned()));
    assert!(corp.world.role_of("anna@acme.example").is_some());
    assert_eq!(corp.missing(), Vec::<String>::new());
}

#[test]
fn l8_of_an_exchange_nobody_goes_when_one_of_them_can_not() {
    let mut corp = corp("EmailAddress/info: {address: info@acme.example}");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:bert@acme.example']}");
    corp.world.apply("AdminRole/r: {permissions: [addresses.read], members: [bert@acme.example]}");
    let exchanged = "a: {mail: ['SMTP:bert@acme.example']}\nb: {mail: ['SMTP:anna@acme.example'], list: true}";
    corp.run(exchanged);
    // Bert's entry is a list by now, and Anna's address is a mailbox in use: it can't become one.
    corp.world.apply("AdminRole/s: {permissions: [addresses.read], members: [anna@acme.example]}");
    corp.approve_exchanges();
    corp.run(exchanged);
    let holder = |corp: &Corp, name: &str| corp.world.row(name).unwrap().entry().unwrap().as_str().to_owned();
    assert_eq!((holder(&corp, "anna@acme.example"), holder(&corp, "bert@acme.example")), ("a".to_owned(), "b".to_owned()));
    assert_eq!(corp.world.role_of("bert@acme.example"), Some("r"));
}
