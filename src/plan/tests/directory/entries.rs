//! What entries become: mailboxes, aliases and lists, each address one entry's (SPEC Y2 to Y4, L2, L4, L5).

use super::*;

#[test]
fn y2_entries_become_addresses_lists_and_aliases_and_others_are_skipped() {
    let mut corp = corp("");
    let outcome = corp.run(
        "a: {mail: ['SMTP:anna@acme.example', 'a@acme.example', 'anna@elsewhere.example'], name: Anna A}
l: {mail: ['SMTP:all@acme.example'], list: true}
z: {mail: ['SMTP:z@elsewhere.example']}",
    );
    assert_eq!((corp.origin("anna@acme.example"), corp.origin("all@acme.example")), ("Directory", "DistributionList"));
    assert_eq!(corp.world.alias_of("a@acme.example"), Some("anna@acme.example".to_owned()));
    let row = corp.world.row("anna@acme.example").unwrap();
    assert_eq!(row.directory.as_ref().unwrap().global_name, "Anna A");
    assert_eq!((outcome.counts.created, outcome.counts.skipped, outcome.counts.linked), (2, 1, 1));
    // The same again is nothing new.
    let before = corp.world.observed.clone();
    corp.run("a: {mail: ['SMTP:anna@acme.example', 'a@acme.example'], name: Anna A}\nl: {mail: ['SMTP:all@acme.example'], list: true}");
    assert_eq!(corp.world.observed.addresses, before.addresses);
}

#[test]
fn y3_smtp_wins_over_a_proxy_address_and_that_over_mail_in_whatever_order_they_come() {
    for (better, worse) in [
        ("SMTP:x@acme.example", "x@acme.example"),
        ("x@acme.example", "mail:x@acme.example"),
        ("SMTP:x@acme.example", "mail:x@acme.example"),
    ] {
        // The better one has the higher id and comes later.
        let with = |id: &str, value: &str| match value.strip_prefix("mail:") {
            Some(_) => format!("{id}: {{mail: ['{value}']}}\n"),
            None => format!("{id}: {{mail: ['{value}', '{id}@acme.example']}}\n"),
        };
        let mut corp = corp("");
        corp.run(&with("b", worse));
        corp.run(&(with("b", worse) + &with("c", better)));
        let holder = |corp: &Corp| {
            let row = corp.world.row("x@acme.example").unwrap();
            let primary = corp.world.alias_of("x@acme.example");
            primary.map_or_else(|| row.entry().unwrap().as_str().to_owned(), |primary| primary.replace("@acme.example", ""))
        };
        assert_eq!(holder(&corp), "c", "{better} against {worse}");
        corp.run(&(with("b", worse) + &with("c", better)));
        assert_eq!(holder(&corp), "c", "and it stays so: {better} against {worse}");
    }
}

#[test]
fn y3_a_primary_outside_gives_way_to_the_first_internal_value() {
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:anna@elsewhere.example', 'b@acme.example', 'a@acme.example']}");
    assert_eq!(corp.origin("a@acme.example"), "Directory");
    assert_eq!(corp.world.alias_of("b@acme.example"), Some("a@acme.example".to_owned()));
}

#[test]
fn y3_of_two_entries_the_one_with_the_primary_wins_in_whatever_order_they_come() {
    for (first, second) in [("a", "b"), ("b", "a")] {
        let mut corp = corp("");
        corp.run(&format!("{first}: {{mail: ['SMTP:x@acme.example']}}\n{second}: {{mail: ['SMTP:y@acme.example', 'x@acme.example']}}"));
        assert_eq!(corp.world.alias_of("x@acme.example"), None, "{first}");
        assert_eq!(corp.world.row("x@acme.example").unwrap().entry().unwrap().as_str(), first);
    }
    // The one that comes later with the better claim takes it from an alias.
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:y@acme.example', 'x@acme.example']}");
    let outcome = corp.run("a: {mail: ['SMTP:y@acme.example', 'x@acme.example']}\nb: {mail: ['SMTP:x@acme.example']}");
    assert_eq!(corp.world.alias_of("x@acme.example"), None);
    assert!(!outcome.reports.is_empty(), "the other is reported");
}

#[test]
fn y3_the_present_holder_keeps_what_two_claim_alike() {
    let mut corp = corp("");
    corp.run("b: {mail: ['SMTP:x@acme.example']}");
    let outcome = corp.run("a: {mail: ['SMTP:x@acme.example']}\nb: {mail: ['SMTP:x@acme.example']}");
    assert_eq!(corp.world.row("x@acme.example").unwrap().entry().unwrap().as_str(), "b");
    assert_eq!(outcome.reports.len(), 1, "{:?}", outcome.reports);
}

#[test]
fn y4_what_the_directory_disables_it_alone_enables() {
    let mut corp = corp("EmailAddress/anna: {address: anna@acme.example}");
    corp.run("a: {mail: ['SMTP:anna@acme.example'], disabled: true}");
    assert_eq!(corp.shut("anna@acme.example"), ["DirectoryDisabled"]);
    assert_eq!(corp.world.condition("EmailAddress/anna", "Disabled"), "True DirectoryDisabled");
    assert_eq!(corp.world.condition("EmailAddress/anna", "MailAccepted"), "True Accepted", "mail flows on");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}");
    assert_eq!(corp.shut("anna@acme.example"), Vec::<&str>::new());
}

#[test]
fn l5_an_alias_that_becomes_the_primary_and_one_that_moves_to_another() {
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:anna@acme.example', 'a@acme.example', 'team@acme.example']}\nb: {mail: ['SMTP:bert@acme.example']}");
    corp.run("a: {mail: ['SMTP:a@acme.example', 'anna@acme.example']}\nb: {mail: ['SMTP:bert@acme.example', 'team@acme.example']}");
    assert_eq!(corp.world.alias_of("a@acme.example"), None);
    assert_eq!(corp.world.alias_of("anna@acme.example"), Some("a@acme.example".to_owned()));
    assert_eq!(corp.world.alias_of("team@acme.example"), Some("bert@acme.example".to_owned()));
    assert_eq!(corp.missing(), Vec::<String>::new());
}

#[test]
fn l4_a_declared_link_beats_the_directory_and_says_so() {
    let mut corp =
        corp("EmailAddress/info: {address: info@acme.example}\nAliasLink/l: {alias: desk@acme.example, primary: info@acme.example}");
    corp.run("a: {mail: ['SMTP:anna@acme.example', 'desk@acme.example']}");
    assert_eq!(corp.world.alias_of("desk@acme.example"), Some("info@acme.example".to_owned()));
    assert_eq!(corp.world.condition("AliasLink/l", "DirectoryDisagrees"), "True DirectoryDisagrees");
    // Without the declaration what the directory says holds.
    corp.world.delete("AliasLink/l");
    corp.world.advance(60);
    assert_eq!(corp.world.alias_of("desk@acme.example"), Some("anna@acme.example".to_owned()));
}

#[test]
fn l4_over_a_mailbox_of_the_directory_a_link_needs_a_word_also_when_the_mailbox_comes_later() {
    let mut corp = corp("EmailAddress/info: {address: info@acme.example}");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}");
    corp.world.apply("AliasLink/l: {alias: anna@acme.example, primary: info@acme.example}");
    corp.world.expect("AliasLink/l AliasIsMailbox");
}

#[test]
fn l4_a_link_ends_when_the_directory_brings_a_mailbox_there_and_the_mailbox_is_there_without_a_gap() {
    let both = "EmailAddress/info: {address: info@acme.example}\nAliasLink/late: {alias: late@acme.example, primary: info@acme.example}";
    let mut corp = corp(both);
    let entry = "a: {mail: ['SMTP:late@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}";
    let outcome = corp.run(entry);
    corp.world.expect("AliasLink/late AliasIsMailbox");
    assert!(outcome.reports[0].contains("AliasLink late"), "{:?}", outcome.reports);
    // Its removal waits as any does (U4); then the row is the mailbox, although the link had made it.
    assert_eq!(corp.world.alias_of("late@acme.example"), Some("info@acme.example".to_owned()));
    corp.world.advance(60);
    assert_eq!((corp.world.alias_of("late@acme.example"), corp.origin("late@acme.example")), (None, "Directory"));
    corp.run(entry);
    corp.world.expect("AliasLink/late AliasIsMailbox");
    assert_eq!(corp.missing(), Vec::<String>::new());
    // With a word the link stands.
    let mut corp = self::corp(&both.replace("info@acme.example}", "info@acme.example, takeOverMailbox: true}").replacen(
        ", takeOverMailbox: true",
        "",
        1,
    ));
    corp.run(entry);
    corp.world.advance(60);
    corp.world.expect("AliasLink/late Succeeded");
    assert_eq!(corp.world.alias_of("late@acme.example"), Some("info@acme.example".to_owned()));
}

#[test]
fn l2_y4_a_mailbox_in_use_is_nobodys_alias_and_is_disabled_by_its_entry_whoever_comes_with_it() {
    let mut corp = corp("");
    let before = "b: {mail: ['mail:bob@acme.example']}\nm: {mail: ['SMTP:m@acme.example']}";
    corp.run(before);
    corp.world.apply("AdminRole/r: {permissions: [addresses.read], members: [bob@acme.example]}");
    let both = entries("b: {mail: ['mail:bob@acme.example'], disabled: true}\nm: {mail: ['SMTP:m@acme.example', 'bob@acme.example']}");
    corp.bring("corp", both, true);
    assert_eq!(corp.world.alias_of("bob@acme.example"), None);
    assert_eq!(corp.shut("bob@acme.example"), ["DirectoryDisabled"]);
}
