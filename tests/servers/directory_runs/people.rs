//! Who comes, changes and leaves.

use super::corp::{Corp, FULL};

#[tokio::test]
async fn y2_users_aliases_and_lists_appear_and_a_second_run_writes_nothing_but_its_record() {
    let corp = Corp::without_connection().await;
    corp.add(
        "anna SMTP:Anna@acme.example, smtp:a@acme.example, x500:/o=corp\nbert SMTP:bert@acme.example\ncarl SMTP:carl@elsewhere.example",
    );
    corp.add_groups("all SMTP:all@acme.example");
    corp.connect("corp", FULL).await;
    corp.roster(
        "a@acme.example Directory ->anna@acme.example
         all@acme.example DistributionList
         anna@acme.example Directory
         bert@acme.example Directory",
    )
    .await;
    corp.tenant.reasons("DirectoryConnection/corp Succeeded").await;
    // The request itself is noted: one before, so that the other changes nothing but that.
    corp.run().await;
    let (before, domain) = (corp.all_but_the_record_of_runs().await, corp.domain().await);
    let run = corp.run().await;
    assert_eq!(
        (&run["read"], &run["unchanged"], &run["skipped"], &run["complete"]),
        (&4.into(), &3.into(), &1.into(), &true.into()),
        "{run}"
    );
    let requests = |rows: Vec<String>| rows.into_iter().filter(|row| !row.starts_with("handled ")).collect::<Vec<_>>();
    let (before, after) = (requests(before), requests(corp.all_but_the_record_of_runs().await));
    assert_eq!(after, before);
    for table in ["address ", "address_key ", "audit_", "entry ", "link "] {
        assert!(before.iter().any(|row| row.starts_with(table)), "{table}: {before:#?}");
    }
    assert_eq!(corp.domain().await.0, domain.0);
}

#[tokio::test]
async fn y1_a_rename_of_the_entry_is_an_update_and_a_change_of_address_takes_the_rights_along() {
    let corp = Corp::new("").await;
    corp.tenant
        .apply(
            "EmailAddress/info {address: info@acme.example}
EmailAddress/anna {address: anna@acme.example}
DelegateMailbox/d {reader: anna@acme.example, mailbox: info@acme.example}
AdminRole/r {builtIn: HelpDesk, members: [anna@acme.example]}",
        )
        .await;
    corp.tenant.ready("EmailAddress/anna\nDelegateMailbox/d\nAdminRole/r").await;
    corp.add("anna SMTP:anna@acme.example\nbert SMTP:bert@acme.example");
    corp.run().await;
    corp.slapd.modify(&format!("dn: {}\nchangetype: modrdn\nnewrdn: cn=anne\ndeleteoldrdn: 1\n", corp.dn("anna")));
    let run = corp.run().await;
    assert_eq!((&run["created"], &run["missing"]), (&0.into(), &0.into()), "{run}");
    corp.readdress("anne", "SMTP:anne@acme.example, smtp:anna@acme.example");
    corp.run().await;
    corp.roster(
        "anna@acme.example Directory ->anne@acme.example
         anne@acme.example Directory
         bert@acme.example Directory
         info@acme.example Manual",
    )
    .await;
    corp.store("SELECT string_agg(reader || ' ' || mailbox, ',') FROM gateway.archive_reader_v1 WHERE reader = 'anne@acme.example' AND mailbox = 'info@acme.example'", "anne@acme.example info@acme.example").await;
    corp.store("SELECT count(*) FROM gateway.administrator_v1 WHERE login = 'anne@acme.example' AND permission = 'addresses.read'", "1")
        .await;
    corp.tenant.condition("EmailAddress/anna", "PermissionsInherited", "True AddressRenamed").await;
    corp.tenant.reasons("DelegateMailbox/d Succeeded\nAdminRole/r Succeeded").await;
}

#[tokio::test]
async fn y6_one_who_leaves_is_shut_after_two_runs_leaves_after_a_day_and_is_all_there_when_back() {
    let corp = Corp::without_connection().await;
    let anna = "anna SMTP:anna@acme.example, smtp:a@acme.example";
    corp.add(&format!("{anna}\nbert SMTP:bert@acme.example"));
    corp.connect("corp", FULL).await;
    corp.run().await;
    corp.remove("anna");
    let run = corp.run().await;
    assert_eq!((&run["missing"], &run["held"]), (&1.into(), &0.into()), "{run}");
    corp.roster("a@acme.example Directory ->anna@acme.example\nanna@acme.example Directory\nbert@acme.example Directory").await;
    corp.run().await;
    corp.roster("a@acme.example Directory ->anna@acme.example\nanna@acme.example Directory missing\nbert@acme.example Directory").await;
    corp.tenant.database.move_clock(86_410).await;
    corp.roster("anna@acme.example MailFlow missing\nbert@acme.example Directory").await;
    // Another entry by the same name is another person.
    corp.add(anna);
    corp.run().await;
    corp.roster("a@acme.example Directory ->anna@acme.example\nanna@acme.example Directory holder\nbert@acme.example Directory").await;
    let status = corp.tenant.status("DirectoryConnection/corp", "a held holder", |status| status["heldHolders"]["count"] == 1).await;
    let hash = status["heldHolders"]["hash"].as_str().expect("a hash");
    corp.tenant.annotate("DirectoryConnection/corp", "approve", hash).await;
    corp.roster("a@acme.example Directory ->anna@acme.example\nanna@acme.example Directory\nbert@acme.example Directory").await;
    corp.tenant.handled("DirectoryConnection/corp", "approve", hash).await;
}

#[tokio::test]
async fn v3_in_directory_mode_unknown_recipients_are_refused_once_a_complete_run_covered_the_domain() {
    let corp = Corp::without_connection().await;
    corp.tenant.apply("InternalDomain/acme {domain: acme.example, recipientValidation: Directory}").await;
    corp.tenant.condition("InternalDomain/acme", "DirectoryReady", "False NoConnection").await;
    corp.tenant.database.move_clock(7_200).await;
    let action = "SELECT coalesce(gateway.recipient_action_v1('nobody@acme.example'), 'ok')";
    corp.store(action, "451 4.1.1 Recipient not known yet, try again later").await;
    corp.add("anna SMTP:anna@acme.example");
    corp.connect("corp", "").await;
    corp.tenant.condition("InternalDomain/acme", "DirectoryReady", "True DirectoryFresh").await;
    corp.store(action, "550 5.1.1 No such recipient here").await;
    corp.store("SELECT coalesce(gateway.recipient_action_v1('anna@acme.example'), 'ok')", "ok").await;
    corp.tenant.database.move_clock(3 * 86_400).await;
    corp.store(action, "451 4.1.1 Recipient not known yet, try again later").await;
    corp.tenant.condition("InternalDomain/acme", "DirectoryReady", "False DirectoryStale").await;
}
