//! Delegations and roles on the real servers (SPEC L7, M1 to M4, R1 to R3): a right is gone when the store says so.

use crate::support::eventually;
use crate::support::wait::PATIENCE;
use crate::tenant::Tenant;

const BASE: &str = "InternalDomain/acme {domain: acme.example, learnSenders: false}
EmailAddress/sales {address: sales@acme.example}
EmailAddress/info {address: info@acme.example}
EmailAddress/it {address: it@acme.example}
EmailAddress/desk {address: desk@acme.example}";

/// Whom a delegation lets read what; everybody reads their own.
const READERS: &str = "SELECT reader || ' ' || mailbox FROM gateway.archive_reader_v1 WHERE reader <> mailbox";

const SUPERS: &str = "SELECT login FROM gateway.administrator_v1 WHERE permission = 'addresses.purge'";

async fn base() -> Tenant {
    let tenant = Tenant::with(BASE).await;
    tenant.fill("acme.example", 40).await;
    tenant
}

#[tokio::test]
async fn l7_rights_name_primaries_and_end_when_their_address_becomes_an_alias() {
    let tenant = base().await;
    tenant
        .apply(
            "AliasLink/orders {alias: orders@acme.example, primary: sales@acme.example}
             DelegateMailbox/d {reader: info@acme.example, mailbox: it@acme.example}
             AdminRole/r {builtIn: HelpDesk, members: [info@acme.example, desk@acme.example]}",
        )
        .await;
    tenant.ready("AliasLink/orders\nDelegateMailbox/d\nAdminRole/r").await;
    tenant
        .apply(
            "DelegateMailbox/reader {reader: orders@acme.example, mailbox: it@acme.example}
             DelegateMailbox/mailbox {reader: it@acme.example, mailbox: orders@acme.example}
             AdminRole/alias {builtIn: DiscoveryOfficer, members: [orders@acme.example, sales@acme.example]}",
        )
        .await;
    tenant.reasons("DelegateMailbox/reader AliasNamed\nDelegateMailbox/mailbox AliasNamed\nAdminRole/alias MembersRejected").await;
    assert!(tenant.message("DelegateMailbox/reader", "AliasNamed").await.contains("sales@acme.example"), "the primary to name");
    let members = tenant.status("AdminRole/alias", "rejected members", |status| status["members"]["rejected"][0].is_object()).await;
    let members = &members["members"];
    assert_eq!((&members["total"], &members["inForce"], &members["rejected"][0]["reason"]), (&2.into(), &1.into(), &"AliasNamed".into()));

    let administrators = "SELECT DISTINCT login FROM gateway.administrator_v1";
    assert_eq!(tenant.rows(administrators).await, ["desk@acme.example", "info@acme.example", "sales@acme.example"]);
    assert_eq!(tenant.rows(READERS).await, ["info@acme.example it@acme.example", "sales@acme.example orders@acme.example"]);

    // info@ becomes an alias: its rights end, and don't follow the link.
    tenant.apply("AliasLink/moved {alias: info@acme.example, primary: sales@acme.example, takeOverMailbox: true}").await;
    tenant.ready("AliasLink/moved").await;
    assert_eq!(tenant.rows(administrators).await, ["desk@acme.example", "sales@acme.example"]);
    assert_eq!(tenant.rows(READERS).await, ["sales@acme.example info@acme.example", "sales@acme.example orders@acme.example"]);
    tenant.reasons("DelegateMailbox/d AliasMoved\nAdminRole/r MembersRejected").await;
    tenant.condition("DelegateMailbox/d", "Stalled", "True AliasMoved").await;
    let moved = |status: &serde_json::Value| status["members"]["rejected"][0]["reason"] == "AliasMoved";
    tenant.status("AdminRole/r", "the member moved", moved).await;
    // It stays so, whatever occasion it is planned on.
    for resource in ["DelegateMailbox/d", "AdminRole/r"] {
        tenant.annotate(resource, "requestedAt", "again").await;
        tenant.handled(resource, "requestedAt", "again").await;
    }
    tenant.reasons("DelegateMailbox/d AliasMoved").await;
    tenant.status("AdminRole/r", "the member moved", moved).await;
}

#[tokio::test]
async fn m1_m2_a_delegation_comes_with_its_addresses_and_kubectl_delete_returns_when_it_is_gone() {
    let tenant = base().await;
    tenant
        .apply(
            "DelegateMailbox/one {reader: late@acme.example, mailbox: info@acme.example}
             DelegateMailbox/two {reader: sales@acme.example, mailbox: late@acme.example}
             DelegateMailbox/self {reader: It@acme.example, mailbox: it@acme.example}",
        )
        .await;
    tenant.reasons("DelegateMailbox/one ReaderNotFound\nDelegateMailbox/two MailboxNotFound\nDelegateMailbox/self SameAddress").await;
    tenant.condition("DelegateMailbox/one", "Reconciling", "True ReaderNotFound").await;
    tenant.apply("EmailAddress/late {address: late@acme.example}").await;
    tenant.ready("DelegateMailbox/one\nDelegateMailbox/two").await;
    assert_eq!(tenant.rows(READERS).await, ["late@acme.example info@acme.example", "sales@acme.example late@acme.example"]);

    for (name, left) in [("one", vec!["sales@acme.example late@acme.example"]), ("two", vec![])] {
        tenant.cluster.kubectl(&["delete", "dmbx", name, "-n", &tenant.namespace, "--timeout=60s"]).await.succeeded();
        assert_eq!(tenant.rows(READERS).await, left, "the right outlived kubectl delete");
    }
}

#[tokio::test]
async fn c10_a_delegation_edited_to_a_missing_mailbox_takes_the_old_right_away() {
    let tenant = base().await;
    tenant.apply("DelegateMailbox/d {reader: sales@acme.example, mailbox: info@acme.example}").await;
    tenant.ready("DelegateMailbox/d").await;
    assert_eq!(tenant.rows(READERS).await, ["sales@acme.example info@acme.example"]);
    tenant.apply("DelegateMailbox/d {reader: sales@acme.example, mailbox: nobody@acme.example}").await;
    tenant.reasons("DelegateMailbox/d MailboxNotFound").await;
    assert_eq!(tenant.rows(READERS).await, [""; 0]);
    // So does what can't be read at all.
    tenant.apply("DelegateMailbox/d {reader: sales@acme.example, mailbox: info@acme.example}").await;
    tenant.ready("DelegateMailbox/d").await;
    tenant.apply("DelegateMailbox/d {reader: sales@acme.example, mailbox: 'in fo@acme.example'}").await;
    tenant.reasons("DelegateMailbox/d AddressInvalid").await;
    assert_eq!(tenant.rows(READERS).await, [""; 0]);
}

#[tokio::test]
async fn m3_a_delegation_shows_no_private_mail_and_what_the_mailbox_itself_starts_with() {
    let tenant = base().await;
    tenant
        .apply(
            "EmailAddress/info {address: info@acme.example, archiveStartDate: 2026-01-01}
             EmailAddress/sales {address: sales@acme.example, archiveStartDate: 2026-02-01}
             DelegateMailbox/d {reader: sales@acme.example, mailbox: info@acme.example}",
        )
        .await;
    tenant.ready("EmailAddress/info\nEmailAddress/sales\nDelegateMailbox/d").await;
    let status = tenant.status("DelegateMailbox/d", "visibleFrom", |status| status["visibleFrom"] == "2026-01-01").await;
    assert!(status["effectiveAt"].is_string(), "{status}");
    let seen = "SELECT mailbox || ' ' || (visible_from AT TIME ZONE 'UTC')::date || ' ' || includes_private || ' ' || includes_confidential
                FROM gateway.archive_reader_v1 WHERE reader = 'sales@acme.example'";
    assert_eq!(tenant.rows(seen).await, ["info@acme.example 2026-01-01 false true", "sales@acme.example 2026-02-01 true true"]);
    tenant.apply("AccountSettings/default {hideConfidential: true}").await;
    tenant.ready("AccountSettings/default").await;
    assert_eq!(tenant.rows(seen).await, ["info@acme.example 2026-01-01 false false", "sales@acme.example 2026-02-01 true true"]);
    // Without a start date of its own the mailbox is read from its beginning, whatever the reader's is.
    tenant.apply("DelegateMailbox/d {reader: sales@acme.example, mailbox: it@acme.example}").await;
    tenant.ready("DelegateMailbox/d").await;
    assert_eq!(
        tenant
            .rows("SELECT mailbox, visible_from FROM gateway.archive_reader_v1 WHERE reader = 'sales@acme.example' AND mailbox <> reader")
            .await,
        ["it@acme.example,"]
    );
}

#[tokio::test]
async fn m4_a_second_delegation_for_the_pair_takes_over_when_the_first_is_deleted() {
    let tenant = base().await;
    tenant.apply("DelegateMailbox/first {reader: sales@acme.example, mailbox: info@acme.example}").await;
    tenant.ready("DelegateMailbox/first").await;
    tenant.apply("DelegateMailbox/second {reader: Sales@acme.example, mailbox: info@ACME.example}").await;
    let message = tenant.message("DelegateMailbox/second", "DelegationClaimed").await;
    assert!(message.contains("/first"), "{message}");
    // Deleting a loser changes nothing (A6).
    tenant.apply("DelegateMailbox/third {reader: sales@acme.example, mailbox: info@acme.example}").await;
    tenant.reasons("DelegateMailbox/third DelegationClaimed").await;
    tenant.delete("DelegateMailbox/third").await;
    tenant.gone("DelegateMailbox/third").await;
    let since = tenant.rows("SELECT effective_at FROM mailroster.delegation").await;
    assert_eq!((since.len(), tenant.rows(READERS).await.len()), (1, 1));

    tenant.delete("DelegateMailbox/first").await;
    tenant.gone("DelegateMailbox/first").await;
    tenant.ready("DelegateMailbox/second").await;
    assert_eq!(tenant.rows("SELECT effective_at FROM mailroster.delegation").await, since, "the row passed on as it was (A8)");
    tenant.delete("DelegateMailbox/second").await;
    tenant.gone("DelegateMailbox/second").await;
    assert_eq!(tenant.rows(READERS).await, [""; 0]);
}

#[tokio::test]
async fn r1_three_bad_members_of_twenty_are_refused_for_themselves_and_pass_on_when_freed() {
    let tenant = base().await;
    tenant
        .apply(
            "AdminRole/first {builtIn: HelpDesk, members: [it@acme.example]}
             AliasLink/orders {alias: orders@acme.example, primary: sales@acme.example}",
        )
        .await;
    tenant.ready("AdminRole/first\nAliasLink/orders").await;
    let mut members: Vec<_> = (1..=17).map(|n| format!("filler{n}@acme.example")).collect();
    members.extend(["it", "orders", "nobody"].map(|name| format!("{name}@acme.example")));
    tenant.apply(&format!("AdminRole/many {{permissions: [delegates.write], members: [{}]}}", members.join(", "))).await;
    let message = tenant.message("AdminRole/many", "MembersRejected").await;
    for expected in
        ["3 of 20", "it@acme.example (MemberClaimed by first)", "orders@acme.example (AliasNamed)", "nobody@acme.example (MemberNotFound)"]
    {
        assert!(message.contains(expected), "{message}");
    }
    let holders = "SELECT count(*) FROM gateway.administrator_v1 WHERE permission = 'delegates.write'";
    assert_eq!(tenant.rows(holders).await, ["17"]);
    let status = tenant.status("AdminRole/many", "17 in force", |status| status["members"]["inForce"] == 17).await;
    assert_eq!((&status["members"]["total"], status["members"]["rejected"].as_array().map(Vec::len)), (&20.into(), Some(3)));
    tenant.condition("AdminRole/first", "Ready", "True Succeeded").await;
    tenant.status("EmailAddress/it", "its role", |status| status["role"] == "first").await;

    // What was wrong heals by itself, one by one: the claim falls, the address comes.
    tenant.delete("AdminRole/first").await;
    tenant.gone("AdminRole/first").await;
    tenant.status("AdminRole/many", "18 in force", |status| status["members"]["inForce"] == 18).await;
    tenant.status("EmailAddress/it", "its role", |status| status["role"] == "many").await;
    tenant.apply("EmailAddress/nobody {address: nobody@acme.example}").await;
    tenant.status("AdminRole/many", "19 in force", |status| status["members"]["inForce"] == 19).await;
    // What is no address at all is one bad member, too.
    tenant.apply("AdminRole/many {permissions: [delegates.write], members: [it@acme.example, 'no one@acme.example']}").await;
    tenant.status("AdminRole/many", "1 in force", |status| status["members"]["inForce"] == 1).await;
    assert_eq!(tenant.rows(holders).await, ["1"]);
    tenant.reasons("AdminRole/many MembersRejected").await;
}

#[tokio::test]
async fn r2_nothing_removes_the_last_super_administrator_until_another_exists() {
    let tenant = base().await;
    tenant.apply("AdminRole/root {builtIn: SuperAdministrator, members: [sales@acme.example, info@acme.example]}").await;
    tenant.ready("AdminRole/root").await;
    assert_eq!(tenant.rows(SUPERS).await, ["info@acme.example", "sales@acme.example"]);

    // By an edit of members: of all removed at once the first in order stays.
    tenant.apply("AdminRole/root {builtIn: SuperAdministrator, members: []}").await;
    tenant.reasons("AdminRole/root LastSuperAdministrator").await;
    assert_eq!(tenant.rows(SUPERS).await, ["info@acme.example"]);
    tenant.condition("AdminRole/root", "Stalled", "True LastSuperAdministrator").await;
    // By a change of builtIn.
    tenant.apply("AdminRole/root {builtIn: HelpDesk, members: [info@acme.example, sales@acme.example]}").await;
    tenant.reasons("AdminRole/root LastSuperAdministrator").await;
    assert_eq!(tenant.rows(SUPERS).await, ["info@acme.example"]);
    // By a take-over.
    tenant.apply("AdminRole/root {builtIn: SuperAdministrator, members: [info@acme.example]}").await;
    tenant.ready("AdminRole/root").await;
    tenant.apply("AliasLink/take {alias: info@acme.example, primary: it@acme.example, takeOverMailbox: true}").await;
    tenant.reasons("AliasLink/take LastSuperAdministrator").await;
    tenant.delete("AliasLink/take").await;
    tenant.gone("AliasLink/take").await;

    // By deletion of the role: the resource goes, the store keeps the one.
    tenant.delete("AdminRole/root").await;
    tenant.gone("AdminRole/root").await;
    assert_eq!(tenant.rows(SUPERS).await, ["info@acme.example"]);
    tenant.cluster.wait_event(&tenant.namespace, "root", "LastSuperAdministratorKept").await;
    eventually(PATIENCE, "the metric says so", async || {
        let seen = tenant.operator.metric("mailroster_last_super_administrator_kept_total").await;
        if seen == Some(1.0) { Ok(()) } else { Err(seen) }
    })
    .await;
    // Nobody takes that one over into less.
    tenant.apply("AdminRole/help {builtIn: HelpDesk, members: [info@acme.example]}").await;
    tenant.reasons("AdminRole/help MembersRejected").await;
    assert_eq!(tenant.rows(SUPERS).await, ["info@acme.example"]);

    // Another exists: the kept one is free.
    tenant.apply("AdminRole/new {builtIn: SuperAdministrator, members: [it@acme.example]}").await;
    tenant.ready("AdminRole/new\nAdminRole/help").await;
    tenant.until(SUPERS, &["it@acme.example"]).await;
    assert_eq!(tenant.rows("SELECT name FROM mailroster.role").await, ["help", "new"]);
}

#[tokio::test]
async fn r3_l7_a_member_is_not_purged_and_the_purge_of_an_alias_removes_that_alias_only() {
    let tenant = base().await;
    tenant
        .apply(
            "AccountSettings/default {purge: {delay: 1h, heldMailReports: NotRequired}}
             EmailAddress/leaver {address: leaver@acme.example, deletionPolicy: Purge}
             EmailAddress/orders {address: orders@acme.example, deletionPolicy: Purge}",
        )
        .await;
    tenant.ready("AccountSettings/default\nEmailAddress/leaver\nEmailAddress/orders").await;
    tenant
        .apply(
            "AdminRole/help {builtIn: HelpDesk, members: [leaver@acme.example, it@acme.example]}
             AliasLink/orders {alias: orders@acme.example, primary: sales@acme.example}
             AliasLink/shop {alias: shop@acme.example, primary: sales@acme.example}",
        )
        .await;
    tenant.ready("AdminRole/help\nAliasLink/orders\nAliasLink/shop").await;
    let before = tenant.rows("SELECT id FROM mailroster.address WHERE canonical = 'sales@acme.example'").await;

    tenant.delete("EmailAddress/leaver EmailAddress/orders").await;
    tenant.reasons("EmailAddress/leaver PurgeBlocked\nEmailAddress/orders PurgeBlocked").await;
    tenant.database.move_clock(3700).await;
    tenant.condition("EmailAddress/leaver", "PurgeBlocked", "True AdminRole").await;
    tenant.condition("EmailAddress/orders", "PurgeBlocked", "True DeclaredAlias").await;
    assert_eq!(tenant.rows("SELECT DISTINCT login FROM gateway.administrator_v1").await, ["it@acme.example", "leaver@acme.example"]);

    // Out of the role it goes at once; nobody touches the role.
    tenant.apply("AdminRole/help {builtIn: HelpDesk, members: [it@acme.example]}").await;
    tenant.gone("EmailAddress/leaver").await;
    tenant.delete("AliasLink/orders").await;
    tenant.quiet(&["Purge orders@acme.example", "Unlink orders@acme.example"]).await;
    tenant.gone("AliasLink/orders EmailAddress/orders").await;
    tenant.ready("AdminRole/help\nEmailAddress/sales\nAliasLink/shop").await;
    assert_eq!(tenant.rows("SELECT canonical FROM mailroster.tombstone").await, ["leaver@acme.example", "orders@acme.example"]);
    assert_eq!(tenant.rows("SELECT id FROM mailroster.address WHERE canonical = 'sales@acme.example'").await, before);
    assert_eq!(tenant.rows("SELECT alias FROM gateway.alias_v1").await, ["shop@acme.example"]);
    assert_eq!(tenant.rows("SELECT DISTINCT login FROM gateway.administrator_v1").await, ["it@acme.example"]);
}
