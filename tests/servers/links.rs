//! Alias links on the real servers (SPEC L1 to L3, L6, and what A8 and C10 promise about names that change in Git).

use crate::support::Operator;
use crate::tenant::Tenant;

const BASE: &str = "InternalDomain/acme {domain: acme.example, learnSenders: false}
InternalDomain/other {domain: other.example}
EmailAddress/sales {address: sales@acme.example}
EmailAddress/info {address: info@acme.example}
EmailAddress/it {address: it@acme.example}
EmailAddress/shop {address: shop@other.example}";

const ALIASES: &str = "SELECT alias || ' ' || primary_address FROM gateway.alias_v1";

async fn base() -> Tenant {
    let tenant = Tenant::with(BASE).await;
    tenant.fill("acme.example", 40).await;
    tenant
}

impl Tenant {
    /// The ids of rows: the same ids afterwards mean that nothing was purged and made again.
    async fn ids(&self) -> Vec<String> {
        self.rows("SELECT id || ' ' || canonical FROM mailroster.address").await
    }

    async fn nothing_was_purged(&self) {
        assert_eq!(self.rows("SELECT canonical FROM mailroster.tombstone").await, [""; 0]);
        assert_eq!(self.rows("SELECT subject FROM mailroster.done").await, [""; 0]);
        assert_eq!(self.rows("SELECT subject FROM mailroster.audit WHERE action = 'Deleted'").await, [""; 0]);
    }
}

#[tokio::test]
async fn a8_a_resource_renamed_in_git_keeps_its_row_whichever_comes_first() {
    let tenant = base().await;
    tenant.apply("EmailAddress/desk {address: desk@acme.example, displayName: Desk, deletionPolicy: Purge}").await;
    tenant.ready("EmailAddress/desk").await;
    tenant
        .apply(
            "AliasLink/helpdesk {alias: helpdesk@acme.example, primary: desk@acme.example}
             DelegateMailbox/desk {reader: it@acme.example, mailbox: desk@acme.example}",
        )
        .await;
    tenant.ready("AliasLink/helpdesk\nDelegateMailbox/desk").await;
    let ids = tenant.ids().await;

    // Applied first, pruned afterwards.
    tenant
        .apply(
            "EmailAddress/desk-1 {address: desk@acme.example, displayName: Desk, deletionPolicy: Purge}
             AliasLink/helpdesk-1 {alias: helpdesk@acme.example, primary: desk@acme.example}
             DelegateMailbox/desk-1 {reader: it@acme.example, mailbox: desk@acme.example}",
        )
        .await;
    tenant.reasons("EmailAddress/desk-1 AddressClaimed\nAliasLink/helpdesk-1 AliasClaimed\nDelegateMailbox/desk-1 DelegationClaimed").await;
    assert!(tenant.message("EmailAddress/desk-1", "AddressClaimed").await.contains("/desk"));
    tenant.delete("EmailAddress/desk AliasLink/helpdesk DelegateMailbox/desk").await;
    tenant.gone("EmailAddress/desk AliasLink/helpdesk DelegateMailbox/desk").await;
    tenant.ready("EmailAddress/desk-1\nAliasLink/helpdesk-1\nDelegateMailbox/desk-1").await;

    // Pruned first: the purge waits for its delay and the link for its quiet seconds, and the new names come meanwhile.
    tenant.delete("EmailAddress/desk-1 AliasLink/helpdesk-1").await;
    tenant.reasons("EmailAddress/desk-1 PurgeBlocked\nAliasLink/helpdesk-1 RemovalPending").await;
    tenant
        .apply(
            "EmailAddress/desk-2 {address: desk@acme.example, displayName: Desk, deletionPolicy: Purge}
             AliasLink/helpdesk-2 {alias: helpdesk@acme.example, primary: desk@acme.example}",
        )
        .await;
    tenant.gone("EmailAddress/desk-1 AliasLink/helpdesk-1").await;
    tenant.ready("EmailAddress/desk-2\nAliasLink/helpdesk-2\nDelegateMailbox/desk-1").await;
    tenant.condition("EmailAddress/desk-2", "Disabled", "False NotDisabled").await;

    assert_eq!(tenant.ids().await, ids);
    tenant.nothing_was_purged().await;
    tenant.database.move_clock(7200).await;
    tenant.apply("AliasLink/after {alias: after@acme.example, primary: it@acme.example}").await;
    tenant.ready("AliasLink/after").await;
    tenant.nothing_was_purged().await;
}

#[tokio::test]
async fn c10_alias_and_mailbox_swapped_in_one_apply_end_up_ready() {
    let tenant = base().await;
    tenant.apply("AliasLink/old {alias: sales@acme.example, primary: info@acme.example}").await;
    tenant.ready("AliasLink/old").await;
    tenant.condition("EmailAddress/sales", "PermissionsInherited", "True InheritsFromPrimary").await;
    let ids = tenant.ids().await;

    tenant.apply("AliasLink/old {alias: info@acme.example, primary: sales@acme.example}").await;
    tenant.reasons("AliasLink/old RemovalPending").await;
    tenant.quiet(&["Unlink sales@acme.example"]).await;
    tenant.ready("AliasLink/old\nEmailAddress/sales\nEmailAddress/info").await;
    tenant.until(ALIASES, &["info@acme.example sales@acme.example"]).await;
    tenant.condition("EmailAddress/sales", "PermissionsInherited", "False NotAlias").await;
    tenant.condition("EmailAddress/info", "PermissionsInherited", "True InheritsFromPrimary").await;
    assert_eq!(tenant.ids().await, ids);
    assert_eq!(tenant.rows("SELECT canonical FROM mailroster.tombstone").await, [""; 0]);
}

#[tokio::test]
async fn c10_two_links_exchange_their_aliases() {
    let tenant = base().await;
    tenant
        .apply(
            "AliasLink/one {alias: orders@acme.example, primary: sales@acme.example}
             AliasLink/two {alias: hello@acme.example, primary: info@acme.example}",
        )
        .await;
    tenant.ready("AliasLink/one\nAliasLink/two").await;
    let ids = tenant.ids().await;
    tenant
        .apply(
            "AliasLink/one {alias: hello@acme.example, primary: sales@acme.example}
             AliasLink/two {alias: orders@acme.example, primary: info@acme.example}",
        )
        .await;
    tenant.ready("AliasLink/one\nAliasLink/two").await;
    tenant.until(ALIASES, &["hello@acme.example sales@acme.example", "orders@acme.example info@acme.example"]).await;
    assert_eq!(tenant.ids().await, ids);
    tenant.nothing_was_purged().await;
    assert_eq!(tenant.rows("SELECT action FROM mailroster.waiting").await, [""; 0]);
}

#[tokio::test]
async fn l1_l2_l3_what_a_link_may_not_be_and_what_heals_it() {
    let tenant = base().await;
    tenant
        .apply(
            "AliasLink/first {alias: first@acme.example, primary: sales@acme.example}
             AliasLink/self {alias: It@acme.example, primary: it@acme.example}
             AliasLink/missing {alias: late@acme.example, primary: nobody@acme.example}
             AliasLink/across {alias: webshop@acme.example, primary: shop@other.example}
             AliasLink/nowhere {alias: x@gone.example, primary: it@acme.example, crossDomain: true}",
        )
        .await;
    tenant.ready("AliasLink/first").await;
    tenant.apply("AliasLink/chain {alias: second@acme.example, primary: first@acme.example}").await;
    tenant.apply("AliasLink/above {alias: sales@acme.example, primary: it@acme.example}").await;
    tenant
        .reasons(
            "AliasLink/self SameAddress
             AliasLink/missing PrimaryNotFound
             AliasLink/across CrossDomain
             AliasLink/nowhere DomainNotFound
             AliasLink/chain AliasChain
             AliasLink/above AliasChain",
        )
        .await;
    tenant.condition("AliasLink/missing", "Reconciling", "True PrimaryNotFound").await;
    tenant.condition("AliasLink/chain", "Stalled", "True AliasChain").await;
    tenant.condition("AliasLink/chain", "MailAccepted", "False AliasChain").await;
    assert!(tenant.message("AliasLink/chain", "AliasChain").await.contains("sales@acme.example"));

    // The missing primary comes, by another resource; the flag is set; the chain is named as it should be.
    tenant
        .apply(
            "EmailAddress/nobody {address: nobody@acme.example}
             AliasLink/across {alias: webshop@acme.example, primary: shop@other.example, crossDomain: true}
             AliasLink/chain {alias: second@acme.example, primary: sales@acme.example}
             InternalDomain/gone {domain: gone.example}",
        )
        .await;
    tenant.ready("AliasLink/missing\nAliasLink/across\nAliasLink/chain\nAliasLink/nowhere").await;
    tenant
        .until(
            ALIASES,
            &[
                "first@acme.example sales@acme.example",
                "late@acme.example nobody@acme.example",
                "second@acme.example sales@acme.example",
                "webshop@acme.example shop@other.example",
                "x@gone.example it@acme.example",
            ],
        )
        .await;
    // As mail servers see it: an alias takes mail, its primary may send as it.
    tenant.until("SELECT kind FROM gateway.recipient_v1 WHERE address = 'second@acme.example'", &["alias"]).await;
    tenant
        .until(
            "SELECT sender FROM gateway.sender_v1 WHERE login = 'sales@acme.example'",
            &["first@acme.example", "sales@acme.example", "second@acme.example"],
        )
        .await;
    let status = tenant.status("EmailAddress/sales", "two aliases", |status| status["aliasCount"] == 2).await;
    assert_eq!(status["aliases"], serde_json::json!(["first@acme.example", "second@acme.example"]));
}

#[tokio::test]
async fn l2_a_living_mailbox_becomes_an_alias_only_with_the_flag() {
    let tenant = base().await;
    tenant.apply("DelegateMailbox/d {reader: sales@acme.example, mailbox: it@acme.example}").await;
    tenant.ready("DelegateMailbox/d").await;
    tenant.apply("AliasLink/l {alias: sales@acme.example, primary: info@acme.example}").await;
    let message = tenant.message("AliasLink/l", "AliasIsMailbox").await;
    assert!(message.contains("a delegation") && message.contains("takeOverMailbox"), "{message}");
    tenant.until("SELECT kind FROM gateway.recipient_v1 WHERE address = 'sales@acme.example'", &["mailbox"]).await;

    tenant.apply("AliasLink/l {alias: sales@acme.example, primary: info@acme.example, takeOverMailbox: true}").await;
    tenant.ready("AliasLink/l\nEmailAddress/sales").await;
    tenant.reasons("DelegateMailbox/d AliasMoved").await;
    tenant.until("SELECT kind FROM gateway.recipient_v1 WHERE address = 'sales@acme.example'", &["alias"]).await;
    tenant.until("SELECT mailbox FROM gateway.mailbox_v1 WHERE mailbox = 'sales@acme.example'", &[]).await;
    tenant.until("SELECT login FROM gateway.logon_v1 WHERE login = 'sales@acme.example'", &[]).await;
    tenant.until("SELECT login FROM gateway.sender_v1 WHERE sender = 'sales@acme.example'", &["info@acme.example"]).await;
    tenant.until("SELECT mailbox FROM gateway.archive_reader_v1 WHERE reader = 'sales@acme.example'", &[]).await;
    // A primary reads its aliases' archives (L8).
    tenant
        .until(
            "SELECT mailbox FROM gateway.archive_reader_v1 WHERE reader = 'info@acme.example'",
            &["info@acme.example", "sales@acme.example"],
        )
        .await;
}

#[tokio::test]
async fn l1_of_a_cycle_of_two_one_comes_into_force_and_stays() {
    let tenant = base().await;
    tenant
        .apply(
            "AliasLink/one {alias: sales@acme.example, primary: info@acme.example}
             AliasLink/two {alias: info@acme.example, primary: sales@acme.example}",
        )
        .await;
    tenant.reasons("AliasLink/one Succeeded\nAliasLink/two AliasChain").await;
    tenant.annotate("AliasLink/two", "requestedAt", "again").await;
    tenant.handled("AliasLink/two", "requestedAt", "again").await;
    tenant.until(ALIASES, &["sales@acme.example info@acme.example"]).await;
    // The first gives way: the second comes by itself.
    tenant.delete("AliasLink/one").await;
    tenant.quiet(&["Unlink sales@acme.example"]).await;
    tenant.gone("AliasLink/one").await;
    tenant.ready("AliasLink/two").await;
    tenant.until(ALIASES, &["info@acme.example sales@acme.example"]).await;
}

#[tokio::test]
async fn l6_what_only_the_link_made_goes_with_it_and_what_was_there_before_stays() {
    let tenant = base().await;
    tenant
        .apply(
            "AliasLink/made {alias: orders@acme.example, primary: sales@acme.example}
             AliasLink/found {alias: filler1@acme.example, primary: sales@acme.example}
             AliasLink/declared {alias: info@acme.example, primary: sales@acme.example}",
        )
        .await;
    tenant.ready("AliasLink/made\nAliasLink/found\nAliasLink/declared").await;
    tenant
        .until(
            ALIASES,
            &["filler1@acme.example sales@acme.example", "info@acme.example sales@acme.example", "orders@acme.example sales@acme.example"],
        )
        .await;
    tenant.delete("AliasLink/made AliasLink/found AliasLink/declared").await;
    tenant.reasons("AliasLink/made RemovalPending\nAliasLink/found RemovalPending\nAliasLink/declared RemovalPending").await;
    assert_eq!(tenant.rows(ALIASES).await.len(), 3, "not on sight (U4)");
    tenant.quiet(&["Unlink filler1@acme.example", "Unlink info@acme.example", "Unlink orders@acme.example"]).await;
    tenant.gone("AliasLink/made AliasLink/found AliasLink/declared").await;
    assert_eq!(tenant.rows(ALIASES).await, [""; 0]);
    let kinds = "SELECT address || ' ' || kind FROM gateway.recipient_v1
                 WHERE address IN ('orders@acme.example', 'filler1@acme.example', 'info@acme.example')";
    assert_eq!(tenant.rows(kinds).await, ["filler1@acme.example mailbox", "info@acme.example mailbox"]);
    tenant.ready("EmailAddress/info").await;
    tenant.condition("EmailAddress/info", "PermissionsInherited", "False NotAlias").await;
}

#[tokio::test]
async fn c10_a_link_that_names_nothing_valid_any_more_and_is_deleted_goes_when_its_alias_went() {
    let mut tenant = base().await;
    tenant.apply("AliasLink/moved {alias: orders@acme.example, primary: sales@acme.example}").await;
    tenant.ready("AliasLink/moved").await;
    // Both come in one: the row still bears its name, and what it says now claims nothing by which the end of that row could find it.
    assert!(tenant.operator.terminate().await.success());
    tenant.apply("AliasLink/moved {alias: orders@acme.example, primary: orders@acme.example}").await;
    tenant.delete("AliasLink/moved").await;
    tenant.operator = Operator::start_with(tenant.operator.settings()).await;
    tenant.reasons("AliasLink/moved SameAddress").await;
    tenant.quiet(&["Unlink orders@acme.example"]).await;
    tenant.gone("AliasLink/moved").await;
    assert_eq!(tenant.rows(ALIASES).await, [""; 0]);
}
