//! What takes no more mail because a directory lacks it says so before it happens (SPEC Y6), and a connection that ends leaves what it brought
//! to the next one (Y8).

use super::corp::{Corp, FULL};
use crate::support::resources;
use crate::tenant::Tenant;

const TAKEN: &str =
    "SELECT coalesce(string_agg(address, ' ' ORDER BY address), '') FROM gateway.recipient_v1 WHERE address ~ '^(anna|team|a)@'";

#[tokio::test]
async fn y6_before_a_domain_that_validates_by_directory_refuses_a_leavers_mail_a_condition_says_whose_and_when() {
    let tenant = Tenant::with("InternalDomain/acme {domain: acme.example, recipientValidation: Directory}").await;
    let slapd = crate::support::slapd().await;
    let corp = Corp::at(tenant, slapd, slapd.fresh_base());
    corp.add("anna SMTP:anna@acme.example, smtp:a@acme.example\nbert SMTP:bert@acme.example\ncarl SMTP:carl@acme.example");
    corp.add_groups("team SMTP:team@acme.example");
    corp.connect("corp", FULL).await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    corp.tenant.condition("DirectoryConnection/corp", "AddressesEnding", "False NobodyEnds").await;
    corp.store(TAKEN, "a@acme.example anna@acme.example team@acme.example").await;
    corp.remove("anna");
    corp.remove("team");
    for _ in 0..2 {
        corp.run().await;
    }
    corp.tenant.condition("DirectoryConnection/corp", "AddressesEnding", "True LeaversDue").await;
    let found = corp.tenant.get("DirectoryConnection/corp").await.expect("it");
    let condition = resources::condition(&found, "AddressesEnding").expect("the condition");
    let message = condition["message"].as_str().expect("a message");
    assert!(message.starts_with("2 addresses that the directory lacks take no more mail from 20"), "{message}");
    assert!(message.contains("anna@acme.example, team@acme.example; declare an EmailAddress"), "{message}");
    let told = corp.tenant.cluster.wait_event(&corp.tenant.namespace, "corp", "LeaversDue").await;
    assert_eq!(told, message);
    corp.store(TAKEN, "a@acme.example anna@acme.example team@acme.example").await;
    corp.tenant.database.move_clock(86_410).await;
    corp.store(TAKEN, "").await;
    corp.tenant.condition("DirectoryConnection/corp", "AddressesEnding", "False NobodyEnds").await;
}

#[tokio::test]
async fn y8_what_a_deleted_connection_leaves_another_one_that_has_it_too_takes_over_at_once() {
    let corp = Corp::without_connection().await;
    corp.add("anna SMTP:anna@acme.example\nbert SMTP:bert@acme.example");
    corp.connect("corp", "").await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    // Its successor was there before, reads by increments, and may not have what the other one holds.
    corp.connect("next", "").await;
    corp.tenant.ready("DirectoryConnection/next").await;
    let of = |name: &str| format!("SELECT count(*) FROM mailroster.address WHERE connection = '{name}'");
    corp.store(&of("corp"), "2").await;
    corp.tenant.delete("DirectoryConnection/corp").await;
    corp.store(&of("next"), "2").await;
    corp.store("SELECT count(*) FROM mailroster.leaver", "0").await;
}
