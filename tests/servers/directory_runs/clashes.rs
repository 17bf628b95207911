//! Two who want one address, and addresses that are out of the ordinary (SPEC A1, A2, L2, L4, Y3, Y12).

use super::corp::{Corp, FULL};
use crate::support;
use serde_json::Value;

fn reports(run: &Value) -> String {
    run["reports"].to_string()
}

/// Somebody whose only address is in `mail`.
fn add_with_mail(corp: &Corp, name: &str, mail: &str) {
    corp.slapd.add(&format!("dn: {}\nobjectClass: user\ncn: {name}\nsn: x\nmail: {mail}\n", corp.dn(name)));
}

#[tokio::test]
async fn y3_of_two_with_one_address_one_has_it_and_the_other_is_reported_at_each_run_alike() {
    let corp = Corp::without_connection().await;
    corp.add("anna SMTP:anna@acme.example, smtp:x@acme.example, smtp:y@acme.example\nbert SMTP:x@acme.example\ncarl SMTP:carl@acme.example, smtp:y@acme.example");
    add_with_mail(&corp, "dora", "dora@acme.example");
    add_with_mail(&corp, "dora2", "dora@acme.example");
    corp.connect("corp", FULL).await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    // The server makes entryUUIDs in order of time: the first that came has the lowest.
    let roster = "anna@acme.example Directory
         carl@acme.example Directory
         dora@acme.example Directory
         x@acme.example Directory
         y@acme.example Directory ->anna@acme.example";
    corp.roster(roster).await;
    let version = "SELECT sum(xmin::text::bigint) FROM mailroster.address";
    let before = corp.tenant.database.text(version).await;
    let first = corp.run().await;
    let second = corp.run().await;
    assert_eq!((&first["reports"], &second["reported"]), (&second["reports"], &3.into()), "{first} {second}");
    for (name, address) in [("anna", "x@acme.example"), ("carl", "y@acme.example"), ("dora2", "dora@acme.example")] {
        assert!(reports(&second).contains(&format!("cn={name},{}: {address} is ", corp.base)), "{name}: {second}");
    }
    assert_eq!(corp.tenant.database.text(version).await, before, "nothing flaps");
    // The loser has it as soon as the winner gives it up.
    corp.readdress("bert", "SMTP:bert@acme.example");
    corp.readdress("anna", "SMTP:anna@acme.example, smtp:x@acme.example");
    corp.run().await;
    corp.run().await;
    corp.roster(
        "anna@acme.example Directory
         bert@acme.example Directory
         carl@acme.example Directory
         dora@acme.example Directory
         x@acme.example Directory ->anna@acme.example
         y@acme.example Directory ->carl@acme.example",
    )
    .await;
}

#[tokio::test]
async fn y12_what_a_resource_here_or_another_tenant_has_the_directory_leaves_alone() {
    let corp = Corp::without_connection().await;
    let theirs = support::fresh_namespace().await;
    let mut settings = corp.tenant.operator.settings();
    corp.tenant
        .apply(
            "EmailAddress/anna {address: anna@acme.example, displayName: Declared, attributes: {department: Sales}, access: {pop: true}}",
        )
        .await;
    corp.tenant.ready("EmailAddress/anna").await;
    // A domain of another namespace in the same store: its controller watches both.
    settings.namespaces.push(theirs.clone());
    let mut corp = corp;
    corp.tenant.operator.terminate().await;
    corp.tenant.cluster.let_secrets_be_read(&theirs, &settings.system_namespace).await;
    corp.tenant.operator = support::Operator::start_with(settings).await;
    corp.tenant
        .cluster
        .apply(&theirs, &crate::tenant::yaml("InternalDomain/other {domain: other.example}\nEmailAddress/x {address: x@other.example}"))
        .await;
    corp.tenant.cluster.wait_ready("EmailAddress", &theirs, "x").await;
    corp.add("anna SMTP:anna@acme.example, smtp:a@other.example\nx SMTP:x@other.example, smtp:xx@acme.example");
    corp.slapd.modify(&format!("dn: {}\nchangetype: modify\nadd: department\ndepartment: Other\n", corp.dn("anna")));
    corp.connect("corp", &format!("{FULL}, attributes: {{aliases: proxyAddresses, extra: {{department: department}}}}")).await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    let run = corp.run().await;
    corp.store(
        "SELECT string_agg(concat_ws(' ', canonical, namespace = (SELECT namespace FROM mailroster.domain WHERE name = 'acme.example'), origin, display_name, global_name, attributes->>'department', pop), ', ' ORDER BY canonical) FROM mailroster.address",
        "anna@acme.example t Directory Declared anna Sales t, x@other.example f Manual   f, xx@acme.example t Directory  x f",
    )
    .await;
    assert!(!run.to_string().contains(&theirs), "{run}");
    corp.tenant.reasons("EmailAddress/anna Succeeded").await;
    corp.tenant.status("EmailAddress/anna", "its name in the directory", |status| status["globalName"] == "anna").await;
}

#[tokio::test]
async fn a1_a2_y3_utf8_upper_case_and_64_octets_are_addresses_and_what_is_none_is_reported_with_its_entry() {
    let corp = Corp::without_connection().await;
    let longest = "l".repeat(64);
    let too_long = "m".repeat(65);
    corp.add(&format!(
        "anna SMTP:Anna.B@ACME.example, x500:/o=corp, sip:anna@acme.example
josé SMTP:JOSÉ@acme.example
long SMTP:{longest}@acme.example
toolong SMTP:{too_long}@acme.example
spaces SMTP:with space@acme.example, smtp:fine@acme.example
out SMTP:out@elsewhere.example, smtp:zz@acme.example, smtp:in@acme.example"
    ));
    corp.connect("corp", FULL).await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    corp.roster(&format!(
        "anna.b@acme.example Directory
         fine@acme.example Directory
         in@acme.example Directory
         josé@acme.example Directory
         {longest}@acme.example Directory
         zz@acme.example Directory ->in@acme.example"
    ))
    .await;
    corp.store("SELECT display FROM mailroster.address WHERE canonical = 'anna.b@acme.example'", "Anna.B@ACME.example").await;
    let run = corp.run().await;
    assert!(reports(&run).contains("with space@acme.example") && reports(&run).contains(&format!("cn=toolong,{}", corp.base)), "{run}");
    corp.tenant.reasons("DirectoryConnection/corp Succeeded").await;
}

#[tokio::test]
async fn l4_a_declared_link_beats_the_directorys_and_both_say_so_and_a_mailbox_needs_a_word() {
    let corp = Corp::without_connection().await;
    corp.tenant
        .apply("EmailAddress/info {address: info@acme.example}\nAliasLink/desk {alias: desk@acme.example, primary: info@acme.example}")
        .await;
    corp.tenant.ready("AliasLink/desk").await;
    corp.add("anna SMTP:anna@acme.example, smtp:desk@acme.example\nbert SMTP:bert@acme.example");
    corp.connect("corp", "").await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    corp.tenant.condition("AliasLink/desk", "DirectoryDisagrees", "True DirectoryDisagrees").await;
    corp.store("SELECT primary_address FROM gateway.alias_v1 WHERE alias = 'desk@acme.example'", "info@acme.example").await;
    // Its own mailbox is not made one of its aliases by a declaration, unless that says so.
    corp.tenant.apply("AliasLink/bert {alias: bert@acme.example, primary: info@acme.example}").await;
    let message = corp.tenant.message("AliasLink/bert", "AliasIsMailbox").await;
    assert!(message.contains("a directory entry") && message.contains("takeOverMailbox: true"), "{message}");
    corp.tenant.apply("AliasLink/bert {alias: bert@acme.example, primary: info@acme.example, takeOverMailbox: true}").await;
    corp.tenant.ready("AliasLink/bert").await;
    corp.run().await;
    corp.tenant.ready("AliasLink/bert").await;
    corp.store("SELECT primary_address FROM gateway.alias_v1 WHERE alias = 'bert@acme.example'", "info@acme.example").await;
    // A mailbox that comes later.
    corp.tenant.apply("AliasLink/late {alias: late@acme.example, primary: info@acme.example}").await;
    corp.tenant.ready("AliasLink/late").await;
    corp.add("late SMTP:late@acme.example");
    let run = corp.run().await;
    corp.tenant.reasons("AliasLink/late AliasIsMailbox").await;
    assert!(reports(&run).contains("AliasLink"), "{run}");
    corp.tenant.quiet(&["Unlink late@acme.example"]).await;
    corp.store("SELECT kind FROM gateway.recipient_v1 WHERE address = 'late@acme.example'", "mailbox").await;
    // When the declaration goes the directory's word holds.
    corp.tenant.delete("AliasLink/desk").await;
    corp.tenant.quiet(&["Unlink desk@acme.example"]).await;
    corp.store("SELECT primary_address FROM gateway.alias_v1 WHERE alias = 'desk@acme.example'", "anna@acme.example").await;
}

/// Whoever may write into a directory can't stop a run, fill the store or the status, or say something to whoever reads a terminal.
#[tokio::test]
async fn y3_y9_hostile_values_stop_no_run_and_reach_neither_store_nor_status() {
    let corp = Corp::without_connection().await;
    let huge = format!("proxyAddresses: smtp:{}@acme.example\nproxyAddresses: SMTP:huge@acme.example", "a".repeat(1 << 20));
    let many: String = (0..3_000).map(|number| format!("proxyAddresses: smtp:m{number}@acme.example\n")).collect();
    let users = [
        ("huge", huge.as_str()),
        ("star", "proxyAddresses: smtp:*)(uid=*))(|(uid=*@acme.example\nproxyAddresses: SMTP:star@acme.example"),
        ("quote", "proxyAddresses: smtp:a';DROP TABLE mailroster.address;--@acme.example\nproxyAddresses: SMTP:quote@acme.example"),
        // In Base64, a line end and the escape character; and a name with a NUL in it.
        ("control", "proxyAddresses:: U01UUDphChtbMzFtYkBhY21lLmV4YW1wbGU=\nmail: control@acme.example\ndisplayName:: QQBC"),
        ("many", many.as_str()),
    ];
    let entry = |(name, lines): (&str, &str)| format!("dn: {}\nobjectClass: user\ncn: {name}\nsn: x\n{lines}\n\n", corp.dn(name));
    corp.slapd.add(&users.map(entry).concat());
    corp.connect("corp", &format!("{FULL}, attributes: {{aliases: proxyAddresses, displayName: displayName}}")).await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    let run = corp.run().await;
    assert_eq!((&run["complete"], &run["read"], &run["reported"]), (&true.into(), &5.into(), &4.into()), "{run}");
    let status = corp.tenant.get("DirectoryConnection/corp").await.expect("it")["status"].to_string();
    assert!(status.len() < 20_000 && !status.contains("\\u001b") && !status.contains("\\u0000"), "{status}");
    let mailboxes =
        "SELECT string_agg(canonical, ' ' ORDER BY canonical) FROM mailroster.address WHERE NOT is_alias AND canonical !~ '^m[0-9]'";
    corp.store(mailboxes, "control@acme.example huge@acme.example quote@acme.example star@acme.example").await;
    // The first of many is the address, the rest are its aliases.
    corp.store("SELECT count(*) FROM mailroster.link", "2999").await;
}
