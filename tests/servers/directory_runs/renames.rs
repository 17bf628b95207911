//! Changes of address: rights follow the person, the archive stays with the address (SPEC Y1, L5, L7, L8).

use super::corp::Corp;
use serde_json::Value;

/// What lets somebody in, and what for.
const OPENS: &str = "SELECT string_agg(login, ' ' ORDER BY login) FROM gateway.credential_v1";
const READS: &str = "SELECT string_agg(reader || '>' || mailbox, ' ' ORDER BY reader, mailbox) FROM gateway.archive_reader_v1 WHERE reader <> mailbox AND mailbox NOT IN (SELECT alias FROM gateway.alias_v1)";
const HELPS: &str = "SELECT string_agg(login, ' ' ORDER BY login) FROM gateway.administrator_v1 WHERE permission = 'addresses.read'";

/// Anna has all that a person can have; Bert has an address.
async fn anna_and_bert() -> Corp {
    let corp = Corp::without_connection().await;
    corp.tenant.apply("EmailAddress/info {address: info@acme.example}\nEmailAddress/bert {address: bert@acme.example}").await;
    corp.declare_with_password("anna", ", access: {smtpSubmission: true, pop: true}, archiveStartDate: 2020-02-02").await;
    corp.add("anna SMTP:anna@acme.example\nbert SMTP:bert@acme.example\ncarl SMTP:carl@acme.example\ndora SMTP:dora@acme.example");
    corp.connect("corp", "").await;
    corp.tenant
        .apply(
            "DelegateMailbox/reads {reader: anna@acme.example, mailbox: info@acme.example}
DelegateMailbox/read {reader: bert@acme.example, mailbox: anna@acme.example}
AdminRole/r {builtIn: HelpDesk, members: [anna@acme.example]}",
        )
        .await;
    corp.tenant.ready("DirectoryConnection/corp\nDelegateMailbox/reads\nDelegateMailbox/read\nAdminRole/r").await;
    corp.store(OPENS, "anna@acme.example").await;
    corp
}

/// Five failed logons.
async fn lock(corp: &Corp, login: &str) {
    let fails =
        format!("SELECT gateway.record_logon_v1(gen_random_uuid(), '{login}', 'wrong_password', 'imap') FROM generate_series(1, 5)");
    corp.tenant.database.execute(&fails).await;
    corp.store(&format!("SELECT count(*) FROM gateway.logon_v1 WHERE login = '{login}'"), "0").await;
}

async fn field(corp: &Corp, resource: &str, path: &str) -> Value {
    corp.tenant.get(resource).await.expect("it").pointer(path).cloned().unwrap_or_default()
}

#[tokio::test]
async fn l8_a_marriage_takes_password_lock_access_archive_start_role_and_delegations_along() {
    let corp = anna_and_bert().await;
    lock(&corp, "anna@acme.example").await;
    corp.readdress("anna", "SMTP:wed@acme.example, smtp:anna@acme.example");
    let run = corp.run().await;
    assert_eq!((&run["missing"], &run["linked"]), (&0.into(), &1.into()), "{run}");
    corp.store("SELECT primary_address FROM gateway.alias_v1 WHERE alias = 'anna@acme.example'", "wed@acme.example").await;
    corp.store(READS, "bert@acme.example>wed@acme.example wed@acme.example>info@acme.example").await;
    corp.store(HELPS, "wed@acme.example").await;
    corp.store(
        "SELECT concat_ws(' ', smtp_submission, pop, archive_start) FROM mailroster.address WHERE canonical = 'wed@acme.example'",
        "t t 2020-02-02",
    )
    .await;
    // The lock went along too, and time ends it.
    corp.store("SELECT count(*) FROM gateway.logon_v1 WHERE login = 'wed@acme.example'", "0").await;
    corp.tenant.database.move_clock(1_000).await;
    corp.store("SELECT smtp_submission::text FROM gateway.logon_v1 WHERE login = 'wed@acme.example'", "true").await;
    corp.store(OPENS, "wed@acme.example").await;
    corp.tenant.condition("EmailAddress/anna", "PermissionsInherited", "True AddressRenamed").await;
    corp.tenant
        .reasons("EmailAddress/anna Succeeded\nDelegateMailbox/reads Succeeded\nDelegateMailbox/read Succeeded\nAdminRole/r Succeeded")
        .await;
    corp.audit("member wed@acme.example", "Created AddressRenamed").await;
    corp.audit("member anna@acme.example", "Created Declared, Deleted AddressRenamed").await;
    // No run and no plan after it takes any of it back.
    corp.run().await;
    corp.tenant.reconcile("EmailAddress/anna", "looked").await;
    corp.tenant.reconcile("AdminRole/r", "looked").await;
    corp.store(OPENS, "wed@acme.example").await;
    corp.store(HELPS, "wed@acme.example").await;
    // What is declared ends with its declaration, whatever the person is called.
    corp.tenant.delete("DelegateMailbox/reads AdminRole/r").await;
    corp.tenant.gone("DelegateMailbox/reads AdminRole/r").await;
    corp.store(READS, "bert@acme.example>wed@acme.example").await;
    corp.store(HELPS, "").await;
}

#[tokio::test]
async fn l8_a_marriage_without_the_old_address_leaves_it_behind_without_rights() {
    let corp = anna_and_bert().await;
    corp.readdress("anna", "SMTP:wed@acme.example");
    corp.run().await;
    corp.store(OPENS, "wed@acme.example").await;
    corp.store(READS, "bert@acme.example>wed@acme.example wed@acme.example>info@acme.example").await;
    corp.store(HELPS, "wed@acme.example").await;
    // Mail to the old address is taken until its time is over; its declaration keeps it for longer.
    corp.store("SELECT coalesce(gateway.recipient_action_v1('anna@acme.example'), 'ok')", "ok").await;
    corp.run().await;
    corp.tenant.database.move_clock(86_410).await;
    corp.store(
        "SELECT string_agg(canonical, ' ') FROM mailroster.address WHERE origin = 'Manual' AND directory_missing",
        "anna@acme.example",
    )
    .await;
    corp.store(OPENS, "wed@acme.example").await;
    corp.store(HELPS, "wed@acme.example").await;
    corp.store(READS, "bert@acme.example>wed@acme.example wed@acme.example>info@acme.example").await;
}

#[tokio::test]
async fn l8_two_who_exchange_addresses_keep_them_until_somebody_says_yes() {
    let corp = anna_and_bert().await;
    corp.slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: proxyAddresses\nproxyAddresses: SMTP:bert@acme.example\n\ndn: {}\nchangetype: modify\nreplace: proxyAddresses\nproxyAddresses: SMTP:anna@acme.example\n",
        corp.dn("anna"),
        corp.dn("bert")
    ));
    corp.run().await;
    corp.tenant.condition("DirectoryConnection/corp", "HolderChanged", "True AddressesExchanged").await;
    corp.store(OPENS, "anna@acme.example").await;
    corp.store(HELPS, "anna@acme.example").await;
    let names = "SELECT string_agg(canonical || ' ' || global_name, ', ' ORDER BY canonical) FROM mailroster.address WHERE canonical ~ '^(anna|bert)@'";
    corp.store(names, "anna@acme.example anna, bert@acme.example bert").await;
    // Another run changes nothing of that.
    corp.run().await;
    corp.store(names, "anna@acme.example anna, bert@acme.example bert").await;
    // Nor does a yes to the other plan (Y1).
    let guard = "deletionGuard: {maxPercent: 0, minCount: 0}";
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", guard))).await;
    corp.remove("carl");
    corp.remove("dora");
    corp.run().await;
    corp.approve("corp", "heldPlan", 2).await;
    corp.tenant.condition("DirectoryConnection/corp", "DeletionsHeld", "False NothingHeld").await;
    corp.run().await;
    corp.tenant.condition("DirectoryConnection/corp", "HolderChanged", "True AddressesExchanged").await;
    corp.store(names, "anna@acme.example anna, bert@acme.example bert").await;
    lock(&corp, "anna@acme.example").await;
    corp.approve("corp", "heldHolders", 2).await;
    corp.store(names, "anna@acme.example bert, bert@acme.example anna").await;
    let locked = "SELECT string_agg(a.canonical, ' ') FROM mailroster.logon l JOIN mailroster.address a ON a.id = l.address_id WHERE l.locked_until IS NOT NULL";
    corp.store(locked, "bert@acme.example").await;
    corp.tenant.database.move_clock(1_000).await;
    corp.store(OPENS, "bert@acme.example").await;
    corp.store(HELPS, "bert@acme.example").await;
    corp.store(READS, "anna@acme.example>bert@acme.example bert@acme.example>info@acme.example").await;
    corp.tenant.condition("DirectoryConnection/corp", "HolderChanged", "False SameHolder").await;
    // Archives stay with the addresses: what is older is another's.
    let begins = "SELECT count(*) FROM mailroster.address WHERE canonical ~ '^(anna|bert)@' AND archive_start = mailroster.now()::date";
    corp.store(begins, "2").await;
    corp.run().await;
    corp.store(names, "anna@acme.example bert, bert@acme.example anna").await;
    corp.store(OPENS, "bert@acme.example").await;
}

#[tokio::test]
async fn l5_an_alias_is_promoted_and_one_moves_to_another_person_in_one_run() {
    let corp = Corp::without_connection().await;
    corp.add("anna SMTP:anna@acme.example, smtp:a@acme.example, smtp:team@acme.example\nbert SMTP:bert@acme.example");
    corp.connect("corp", "").await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    corp.readdress("bert", "SMTP:bert@acme.example, smtp:team@acme.example");
    corp.readdress("anna", "SMTP:a@acme.example, smtp:anna@acme.example");
    let run = corp.run().await;
    assert_eq!((&run["relinked"], &run["missing"]), (&1.into(), &0.into()), "{run}");
    corp.roster(
        "a@acme.example Directory
         anna@acme.example Directory ->a@acme.example
         bert@acme.example Directory
         team@acme.example Directory ->bert@acme.example",
    )
    .await;
    corp.audit("link a@acme.example", "Created DirectoryLinked, Deleted BecamePrimary").await;
    corp.audit("link team@acme.example", "Created DirectoryLinked, Updated Relinked").await;
}

#[tokio::test]
async fn y2_l2_a_group_becomes_a_user_and_a_mailbox_in_use_becomes_no_list() {
    let corp = Corp::without_connection().await;
    corp.declare_with_password("desk", "").await;
    corp.add("anna SMTP:anna@acme.example");
    corp.add_groups("team SMTP:team@acme.example, smtp:t@acme.example");
    corp.connect("corp", "").await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    corp.remove("team");
    corp.add("team SMTP:team@acme.example, smtp:t@acme.example");
    corp.add_groups("desk SMTP:desk@acme.example");
    let run = corp.run().await;
    corp.roster(
        "anna@acme.example Directory
         desk@acme.example Manual
         t@acme.example Directory ->team@acme.example
         team@acme.example Directory holder",
    )
    .await;
    let reports = run["reports"].to_string();
    assert!(reports.contains("desk@acme.example is a mailbox with a credential"), "{run}");
    assert_eq!(field(&corp, "EmailAddress/desk", "/status/origin").await, "Manual");
}

#[tokio::test]
async fn y1_a_successor_gets_the_address_but_neither_password_role_nor_delegations() {
    let corp = anna_and_bert().await;
    corp.remove("anna");
    corp.add("successor SMTP:anna@acme.example");
    corp.run().await;
    corp.tenant.condition("EmailAddress/anna", "HolderChanged", "True HolderChanged").await;
    corp.tenant.condition("EmailAddress/anna", "Disabled", "True HolderChanged").await;
    corp.store("SELECT coalesce(gateway.recipient_action_v1('anna@acme.example'), 'ok')", "ok").await;
    corp.store(OPENS, "").await;
    corp.store(HELPS, "").await;
    // Who reads that mailbox sees no more of it than its new holder does.
    corp.store(READS, "bert@acme.example>anna@acme.example").await;
    corp.store("SELECT count(*) FROM gateway.archive_reader_v1 WHERE mailbox = 'anna@acme.example' AND visible_from::date = mailroster.now()::date", "2").await;
    // Said to be the same person after all (re-created with a new id): all of it is there again.
    corp.approve("corp", "heldHolders", 1).await;
    corp.store(OPENS, "anna@acme.example").await;
    corp.store(HELPS, "anna@acme.example").await;
    corp.store(READS, "anna@acme.example>info@acme.example bert@acme.example>anna@acme.example").await;
    corp.tenant.condition("EmailAddress/anna", "HolderChanged", "False SameHolder").await;
    corp.store("SELECT archive_start::text FROM mailroster.address WHERE canonical = 'anna@acme.example'", "2020-02-02").await;
}
