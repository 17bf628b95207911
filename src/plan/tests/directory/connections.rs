//! Connections beside each other, servers that are not proved yet, and what resources declare (SPEC Y8, Y11, Y12).

use super::*;

#[test]
fn y8_the_first_of_two_connections_keeps_an_address_until_its_own_run_lacks_it() {
    let mut corp = corp("");
    corp.connect("other", |_| {});
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    let outcome = corp.run_of("other", "x: {mail: ['SMTP:anna@acme.example']}", None);
    assert_eq!(corp.world.row("anna@acme.example").unwrap().connection(), Some("corp"));
    assert_eq!(outcome.reports.len(), 1);
    corp.run("b: {mail: ['SMTP:b@acme.example']}");
    corp.run_of("other", "x: {mail: ['SMTP:anna@acme.example']}", None);
    assert_eq!(corp.world.row("anna@acme.example").unwrap().connection(), Some("other"));
    assert_eq!(corp.missing(), Vec::<String>::new());
}

#[test]
fn y8_a_connection_that_is_deleted_leaves_its_rows_open_and_another_takes_them_over() {
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:anna@acme.example'], disabled: true}\nb: {mail: ['SMTP:b@acme.example']}");
    corp.world.observed.connections.insert(("acme".to_owned(), "corp".to_owned()), crate::plan::directory::rows::ConnectionRow::default());
    corp.world.delete("DirectoryConnection/corp");
    assert_eq!((corp.origin("anna@acme.example"), corp.shut("anna@acme.example")), ("Directory", vec![]));
    assert_eq!(corp.world.row("anna@acme.example").unwrap().connection(), None);
    corp.connect("new", |_| {});
    corp.run_of("new", "a: {mail: ['SMTP:anna@acme.example'], disabled: true}\nb: {mail: ['SMTP:b@acme.example']}", None);
    assert_eq!(corp.shut("anna@acme.example"), ["DirectoryDisabled"], "the same entry: no new holder");
    assert_eq!(corp.world.row("b@acme.example").unwrap().connection(), Some("new"));
}

#[test]
fn y11_from_a_server_that_no_complete_run_agrees_with_only_additions_and_disables_are_taken() {
    let mut corp = corp("EmailAddress/b: {address: bert@acme.example, access: {pop: true}}");
    corp.run("a: {mail: ['SMTP:anna@acme.example', 'a@acme.example']}\nb: {mail: ['SMTP:bert@acme.example']}\nc: {mail: ['SMTP:carl@acme.example'], disabled: true}");
    let other = "a: {mail: ['SMTP:anna@acme.example', 'new@acme.example'], disabled: true, name: Another}
b: {mail: ['SMTP:wed@acme.example']}
c: {mail: ['SMTP:carl@acme.example', 'a@acme.example']}
d: {mail: ['SMTP:dora@acme.example', 'd@acme.example', 'a@acme.example']}
e: {mail: ['SMTP:anna@acme.example']}";
    corp.unproved = true;
    corp.bring("corp", entries(other), true);
    assert_eq!(corp.shut("anna@acme.example"), ["DirectoryDisabled"]);
    assert_eq!(corp.shut("carl@acme.example"), ["DirectoryDisabled"], "nobody is let in again");
    let alias_of = |corp: &Corp, name: &str| corp.world.alias_of(&format!("{name}@acme.example")).unwrap_or_default();
    assert_eq!(
        ["a", "new", "d", "wed"].map(|name| alias_of(&corp, name)),
        ["anna", "anna", "dora", "bert"].map(|name| format!("{name}@acme.example"))
    );
    assert_eq!(corp.world.row("anna@acme.example").unwrap().directory.as_ref().unwrap().global_name, "");
    assert_eq!(corp.world.row("anna@acme.example").unwrap().entry().unwrap().as_str(), "a");
    assert_eq!(corp.missing(), Vec::<String>::new());
    // A complete run agrees.
    corp.unproved = false;
    corp.run(other);
    assert_eq!((corp.shut("carl@acme.example"), alias_of(&corp, "bert")), (vec![], String::new()));
    assert!(corp.world.row("wed@acme.example").unwrap().pop && !corp.world.row("wed@acme.example").unwrap().is_alias);
    assert_eq!(corp.missing(), ["bert@acme.example"], "it gave that one up");
}

#[test]
fn y12_what_a_resource_declares_the_connection_leaves_alone() {
    let mut corp = corp("EmailAddress/anna: {address: anna@acme.example, displayName: Declared, attributes: {department: Sales}}");
    corp.run("a: {mail: ['SMTP:anna@acme.example'], name: From Directory, department: Other}");
    let row = corp.world.row("anna@acme.example").unwrap();
    assert_eq!((row.display_name.as_str(), row.attributes["department"].as_str()), ("Declared", "Sales"));
    assert_eq!(row.directory.as_ref().unwrap().global_name, "From Directory");
}

#[test]
fn y1_y8_a_new_holder_stays_one_when_its_connection_ends_and_the_next_connection_asks_again() {
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    let entries = "b: {mail: ['SMTP:b@acme.example']}\nnew: {mail: ['SMTP:anna@acme.example'], disabled: true}";
    corp.run(entries);
    corp.world.observed.connections.insert(("acme".to_owned(), "corp".to_owned()), crate::plan::directory::rows::ConnectionRow::default());
    corp.world.delete("DirectoryConnection/corp");
    corp.world.apply("EmailAddress/anna: {address: anna@acme.example}");
    // What the directory disabled is open again (P6); a right that was withheld is given back by nothing but a yes.
    assert_eq!(corp.shut("anna@acme.example"), ["HolderChanged"]);
    for condition in ["HolderChanged", "Disabled"] {
        assert_eq!(corp.world.condition("EmailAddress/anna", condition), "True HolderChanged");
    }
    let conditions = &corp.world.verdict("EmailAddress/anna").conditions;
    let message = &conditions.iter().find(|condition| condition.kind == "HolderChanged").unwrap().message;
    assert!(message.ends_with("declare one that reads the same entry and approve its status.heldHolders"), "{message}");
    corp.connect("new", |_| {});
    corp.run_of("new", entries, None);
    assert_eq!(corp.shut("anna@acme.example"), ["DirectoryDisabled", "HolderChanged"]);
    assert_eq!(corp.world.row("anna@acme.example").unwrap().connection(), Some("new"), "it lists the new holder, and takes the yes");
}
