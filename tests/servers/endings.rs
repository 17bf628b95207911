//! What ends, but not on sight, on the real servers: Retain, Purge, undo (SPEC U1 to U3, U8), and `mailroster release`.

use crate::support::operator::program;
use crate::tenant::Tenant;
use serde_json::{Value, json};

const PASSWORD: &str = "Correct-Horse-Battery-9";

/// What mail servers find of one address: new mail, its logon, its cloud password.
async fn gates(tenant: &Tenant, address: &str) -> Vec<String> {
    tenant
        .rows(&format!(
            "SELECT 'recipient' FROM gateway.recipient_v1 WHERE address = '{address}'
             UNION ALL SELECT 'logon' FROM gateway.logon_v1 WHERE login = '{address}'
             UNION ALL SELECT 'password' FROM gateway.credential_v1 WHERE login = '{address}'"
        ))
        .await
}

async fn held(tenant: &Tenant, source: &str, addresses: &[&str]) {
    let messages: Vec<_> = addresses
        .iter()
        .enumerate()
        .map(|(n, address)| json!({"id": n.to_string(), "since": "2026-01-01T08:00:00Z", "state": "held", "addresses": [address]}))
        .collect();
    tenant.database.execute(&format!("SELECT gateway.record_held_v1('{source}', $${}$$)", Value::Array(messages))).await;
}

async fn secret(tenant: &Tenant) {
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: mail, labels: {{mailroster.dev/readable: 'true'}}}}\nstringData: {{key: {PASSWORD}}}\n"
    );
    tenant.cluster.apply(&tenant.namespace, &secret).await;
}

#[tokio::test]
async fn u1_retain_keeps_the_row_and_shuts_the_password_until_somebody_adopts_it() {
    let tenant = Tenant::with("InternalDomain/acme {domain: acme.example}").await;
    tenant.fill("acme.example", 10).await;
    secret(&tenant).await;
    let spec = "{address: sales@acme.example, displayName: Sales, password: {secretRef: {name: mail, key: key}}}";
    tenant.apply(&format!("EmailAddress/sales {spec}")).await;
    tenant.condition("EmailAddress/sales", "CredentialReady", "True Succeeded").await;
    tenant.ready("EmailAddress/sales").await;
    let all = ["logon", "password", "recipient"];
    assert_eq!(gates(&tenant, "sales@acme.example").await, all);
    let before =
        tenant.rows("SELECT a.id, c.epoch, c.set_at FROM mailroster.address a JOIN mailroster.credential c ON c.address_id = a.id").await;
    assert!(tenant.get("EmailAddress/sales").await.expect("sales")["metadata"]["finalizers"].is_null(), "Retain has no finalizer");

    tenant.delete("EmailAddress/sales").await;
    tenant.gone("EmailAddress/sales").await;
    tenant.until("SELECT owner FROM mailroster.address WHERE canonical = 'sales@acme.example'", &[""]).await;
    assert_eq!(gates(&tenant, "sales@acme.example").await, all, "not on sight");
    tenant.quiet(&["Shut sales@acme.example"]).await;
    tenant.until("SELECT 1 FROM mailroster.address WHERE shut", &["1"]).await;
    assert_eq!(gates(&tenant, "sales@acme.example").await, ["logon", "recipient"], "mail flows on; only the cloud password is shut");

    // Adopted under another name; the password was never touched.
    tenant.apply(&format!("EmailAddress/again {spec}")).await;
    tenant.ready("EmailAddress/again").await;
    tenant.condition("EmailAddress/again", "Disabled", "False NotDisabled").await;
    assert_eq!(gates(&tenant, "sales@acme.example").await, all);
    let after =
        tenant.rows("SELECT a.id, c.epoch, c.set_at FROM mailroster.address a JOIN mailroster.credential c ON c.address_id = a.id").await;
    assert_eq!(after, before, "adoption ends no session");
    // Adoption before the quiet seconds are over: nothing is shut at all.
    tenant.delete("EmailAddress/again").await;
    tenant.until("SELECT action FROM mailroster.waiting", &["Shut"]).await;
    tenant.apply(&format!("EmailAddress/third {spec}")).await;
    tenant.ready("EmailAddress/third").await;
    tenant.database.move_clock(120).await;
    tenant.annotate("EmailAddress/third", "requestedAt", "now").await;
    tenant.handled("EmailAddress/third", "requestedAt", "now").await;
    assert_eq!(gates(&tenant, "sales@acme.example").await, all);
    assert_eq!(tenant.rows("SELECT action FROM mailroster.waiting").await, [""; 0]);
}

#[tokio::test]
async fn u2_a_purge_lists_all_that_stands_in_its_way_closes_for_held_mail_and_goes_on_at_once() {
    let tenant = Tenant::with(
        "InternalDomain/acme {domain: acme.example, learnSenders: false}
         EmailAddress/sales {address: sales@acme.example}",
    )
    .await;
    tenant.fill("acme.example", 10).await;
    secret(&tenant).await;
    tenant
        .apply("EmailAddress/leaver {address: leaver@acme.example, deletionPolicy: Purge, password: {secretRef: {name: mail, key: key}}}")
        .await;
    tenant.ready("EmailAddress/leaver").await;
    tenant
        .apply(
            "AliasLink/orders {alias: orders@acme.example, primary: leaver@acme.example}
             AdminRole/help {builtIn: HelpDesk, members: [leaver@acme.example]}
             DelegateMailbox/reads {reader: leaver@acme.example, mailbox: sales@acme.example}
             DelegateMailbox/read {reader: sales@acme.example, mailbox: leaver@acme.example}",
        )
        .await;
    tenant.ready("AliasLink/orders\nAdminRole/help\nDelegateMailbox/reads\nDelegateMailbox/read").await;
    held(&tenant, "mx2", &[]).await;

    tenant.delete("EmailAddress/leaver").await;
    tenant.blockers("EmailAddress/leaver", &["Delay", "AdminRole", "DeclaredAlias", "HeldMailUnknown"]).await;
    // Held for its alias counts, too.
    held(&tenant, "mx1", &["orders@acme.example", "leaver@acme.example"]).await;
    tenant.blockers("EmailAddress/leaver", &["Delay", "AdminRole", "DeclaredAlias", "HeldMail", "HeldMailUnknown"]).await;
    tenant.condition("EmailAddress/leaver", "PurgeBlocked", "True Delay").await;
    tenant.condition("EmailAddress/leaver", "Ready", "False PurgeBlocked").await;
    tenant.condition("EmailAddress/leaver", "Reconciling", "True PurgeBlocked").await;
    assert_eq!(gates(&tenant, "leaver@acme.example").await, ["logon", "password", "recipient"]);

    tenant.database.move_clock(3700).await;
    tenant.blockers("EmailAddress/leaver", &["AdminRole", "DeclaredAlias", "HeldMail", "HeldMailUnknown"]).await;
    tenant.delete("AdminRole/help AliasLink/orders").await;
    tenant.quiet(&["Purge leaver@acme.example", "Unlink orders@acme.example"]).await;
    tenant.gone("AdminRole/help AliasLink/orders").await;
    tenant.blockers("EmailAddress/leaver", &["HeldMail", "HeldMailUnknown"]).await;
    // Only mail keeps it: no new mail, no logon; what is held can still be delivered.
    tenant.condition("EmailAddress/leaver", "MailAccepted", "False Purging").await;
    assert_eq!(gates(&tenant, "leaver@acme.example").await, [""; 0]);
    let action = "SELECT left(gateway.recipient_action_v1('leaver@acme.example'), 9)";
    assert_eq!(tenant.database.text(action).await, "550 5.1.1");
    assert_eq!(tenant.rows("SELECT mailbox FROM gateway.mailbox_v1 WHERE mailbox = 'leaver@acme.example'").await, ["leaver@acme.example"]);

    // The mail is released; one queue is silent still; it reports: the purge goes on at once.
    held(&tenant, "mx1", &[]).await;
    tenant.blockers("EmailAddress/leaver", &["HeldMailUnknown"]).await;
    let reported = std::time::Instant::now();
    held(&tenant, "mx2", &[]).await;
    tenant.gone("EmailAddress/leaver").await;
    assert!(reported.elapsed().as_secs() < 20, "it waited for another occasion to be planned");
    assert_eq!(tenant.rows("SELECT canonical FROM mailroster.address WHERE canonical LIKE 'leaver%'").await, [""; 0]);
    assert_eq!(tenant.rows("SELECT canonical FROM mailroster.tombstone").await, ["leaver@acme.example"]);
    assert_eq!(tenant.rows("SELECT address_id FROM mailroster.credential").await, [""; 0]);
    assert_eq!(tenant.rows("SELECT reader_id FROM mailroster.delegation").await, [""; 0]);
    tenant.reasons("DelegateMailbox/reads ReaderNotFound\nDelegateMailbox/read MailboxNotFound").await;
}

#[tokio::test]
async fn u3_retain_undoes_a_purge_while_it_waits() {
    let tenant = Tenant::with(
        "InternalDomain/acme {domain: acme.example}
         EmailAddress/leaver {address: leaver@acme.example, deletionPolicy: Purge}",
    )
    .await;
    tenant.fill("acme.example", 10).await;
    tenant.delete("EmailAddress/leaver").await;
    tenant.reasons("EmailAddress/leaver PurgeBlocked").await;
    held(&tenant, "mx1", &["leaver@acme.example"]).await;
    tenant.database.move_clock(3700).await;
    tenant.blockers("EmailAddress/leaver", &["HeldMail"]).await;
    assert_eq!(gates(&tenant, "leaver@acme.example").await, [""; 0]);

    tenant.cluster.patch("EmailAddress", &tenant.namespace, "leaver", &json!({"spec": {"deletionPolicy": "Retain"}})).await;
    tenant.gone("EmailAddress/leaver").await;
    assert_eq!(gates(&tenant, "leaver@acme.example").await, ["logon", "recipient"], "the row takes mail again");
    held(&tenant, "mx1", &[]).await;
    tenant.quiet(&["Shut leaver@acme.example"]).await;
    tenant.until("SELECT canonical FROM mailroster.address WHERE shut", &["leaver@acme.example"]).await;
    tenant.apply("EmailAddress/leaver {address: leaver@acme.example, deletionPolicy: Purge}").await;
    tenant.ready("EmailAddress/leaver").await;
    tenant.condition("EmailAddress/leaver", "Disabled", "False NotDisabled").await;
    assert_eq!(tenant.rows("SELECT canonical FROM mailroster.tombstone").await, [""; 0]);
}

#[tokio::test]
async fn u8_an_address_made_again_after_a_purge_starts_anew_and_is_not_learned_for_90_days() {
    let tenant = Tenant::with(
        "AccountSettings/default {purge: {delay: 10s, heldMailReports: NotRequired}}
         InternalDomain/acme {domain: acme.example}
         EmailAddress/leaver {address: leaver@acme.example, deletionPolicy: Purge, archiveStartDate: 2020-01-01}
         EmailAddress/other {address: other@acme.example, deletionPolicy: Purge}",
    )
    .await;
    tenant.fill("acme.example", 20).await;
    tenant.delete("EmailAddress/leaver EmailAddress/other").await;
    tenant.quiet(&["Purge leaver@acme.example", "Purge other@acme.example"]).await;
    tenant.gone("EmailAddress/leaver EmailAddress/other").await;
    let day = tenant.database.text("SELECT (purged_at AT TIME ZONE 'UTC')::date FROM mailroster.tombstone LIMIT 1").await;

    tenant
        .database
        .execute("SELECT gateway.record_sender_v1('other@acme.example'), gateway.record_sender_v1('newcomer@acme.example')")
        .await;
    let learned = "SELECT canonical FROM mailroster.address WHERE canonical NOT LIKE 'filler%'";
    tenant.until(learned, &["newcomer@acme.example"]).await;
    tenant.apply("EmailAddress/leaver {address: leaver@acme.example}").await;
    tenant.ready("EmailAddress/leaver").await;
    let start = "SELECT visible_from AT TIME ZONE 'UTC' FROM gateway.archive_reader_v1 WHERE reader = 'leaver@acme.example'";
    assert!(tenant.database.text(start).await.starts_with(&day), "the archive starts with the day of the purge, {day}");
    tenant.apply("EmailAddress/leaver {address: leaver@acme.example, archiveStartDate: 2026-01-01}").await;
    tenant.until("SELECT archive_start FROM mailroster.address WHERE canonical = 'leaver@acme.example'", &["2026-01-01"]).await;

    tenant.database.move_clock(91 * 86_400).await;
    tenant.database.execute("SELECT gateway.record_sender_v1('other@acme.example')").await;
    tenant.until(learned, &["leaver@acme.example", "newcomer@acme.example", "other@acme.example"]).await;
}

#[tokio::test]
async fn u1_release_takes_finalizers_off_and_revokes_nothing() {
    let mut tenant = Tenant::with(
        "InternalDomain/acme {domain: acme.example}
         EmailAddress/sales {address: sales@acme.example, deletionPolicy: Purge}
         EmailAddress/info {address: info@acme.example}",
    )
    .await;
    let rights = "AliasLink/l {alias: orders@acme.example, primary: sales@acme.example}
         DelegateMailbox/d {reader: sales@acme.example, mailbox: info@acme.example}
         AdminRole/r {builtIn: HelpDesk, members: [info@acme.example]}";
    tenant.apply(rights).await;
    tenant.ready(rights).await;
    let resources = ["EmailAddress/sales", "AliasLink/l", "DelegateMailbox/d", "AdminRole/r"];
    for resource in resources {
        assert!(tenant.get(resource).await.expect(resource)["metadata"]["finalizers"].is_array(), "{resource}");
    }
    let dump = "SELECT canonical, owner FROM mailroster.address UNION ALL SELECT 'link', owner FROM mailroster.link
                UNION ALL SELECT 'delegation', owner FROM mailroster.delegation UNION ALL SELECT 'member', namespace FROM mailroster.role_member";
    let before = tenant.rows(dump).await;
    assert!(tenant.operator.terminate().await.success());

    let release = async || {
        let command = tokio::process::Command::new(program())
            .args(["release", "--namespaces", &tenant.namespace])
            .env("KUBECONFIG", tenant.cluster.kubeconfig())
            .output();
        let output = command.await.expect("mailroster release");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, text) = release().await;
    assert_eq!(code, Some(0), "{text}");
    for kind in ["EmailAddress", "AliasLink", "DelegateMailbox", "AdminRole"] {
        assert!(text.contains(&format!("{kind}: released 1")), "{text}");
    }
    for resource in resources {
        assert!(tenant.get(resource).await.expect(resource)["metadata"]["finalizers"].is_null(), "{resource}");
    }
    assert_eq!(release().await.0, Some(1), "nothing is left to do");
    // Nobody serves these resources any more, and yet their deletion does not hang.
    tenant.delete(&resources.join(" ")).await;
    tenant.gone(&resources.join(" ")).await;
    assert_eq!(tenant.rows(dump).await, before);
}
