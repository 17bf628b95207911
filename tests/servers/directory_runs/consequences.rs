//! What a directory means elsewhere: for logons, for a purge, for mail to somebody unknown (SPEC P7, U2, V3).

use super::corp::{Corp, FULL};

const CLOUD: &str = "SELECT string_agg(login, ' ' ORDER BY login) FROM gateway.credential_v1";
/// Whoever may log on, with a star if the directory answers first.
const LOGONS: &str = "SELECT string_agg(login || CASE WHEN directory THEN '*' ELSE '' END, ' ' ORDER BY login) FROM gateway.logon_v1";

#[tokio::test]
async fn p7_logons_tell_whom_the_directory_answers_first_and_whom_it_lacks_no_cloud_password_lets_in() {
    let corp = Corp::without_connection().await;
    for name in ["anna", "bert", "cloud"] {
        corp.declare_with_password(name, "").await;
    }
    corp.store(LOGONS, "anna@acme.example bert@acme.example cloud@acme.example").await;
    // Of a list and of an alias nobody logs on.
    corp.add("anna SMTP:anna@acme.example, smtp:a@acme.example\nbert SMTP:bert@acme.example\ndora SMTP:dora@acme.example");
    corp.add_groups("all SMTP:all@acme.example");
    corp.connect("corp", "leavers: {missedRuns: 2, after: 48h}").await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    corp.store(LOGONS, "anna@acme.example* bert@acme.example* cloud@acme.example dora@acme.example*").await;
    corp.store(CLOUD, "anna@acme.example bert@acme.example cloud@acme.example").await;
    // One is disabled there, one is gone from there: either is enough, and neither concerns the other.
    corp.slapd.modify(&format!("dn: {}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 514\n", corp.dn("bert")));
    corp.run().await;
    corp.store(CLOUD, "anna@acme.example cloud@acme.example").await;
    corp.remove("anna");
    corp.run().await;
    corp.store(CLOUD, "cloud@acme.example").await;
    corp.tenant.condition("EmailAddress/anna", "Disabled", "True DirectoryMissing").await;
    corp.tenant.condition("EmailAddress/bert", "Disabled", "True DirectoryDisabled").await;
    // Their own password is the directory's affair, and mail is not concerned.
    corp.store(LOGONS, "anna@acme.example* bert@acme.example* cloud@acme.example dora@acme.example*").await;
    corp.store("SELECT count(*) FROM gateway.recipient_v1 WHERE kind = 'mailbox'", "4").await;
    // When her time is over the directory has no part in her any more, and what it shut stays shut.
    corp.tenant.database.move_clock(48 * 3_600 + 60).await;
    corp.store(LOGONS, "anna@acme.example bert@acme.example* cloud@acme.example dora@acme.example*").await;
    corp.store(CLOUD, "cloud@acme.example").await;
}

#[tokio::test]
async fn u2_the_purge_of_an_address_that_a_directory_has_waits_until_the_directory_has_it_no_more() {
    let corp = Corp::without_connection().await;
    corp.tenant.apply("AccountSettings/default {purge: {delay: 10s, heldMailReports: NotRequired}}").await;
    corp.tenant.apply("EmailAddress/anna {address: anna@acme.example, deletionPolicy: Purge}").await;
    corp.tenant.ready("EmailAddress/anna\nAccountSettings/default").await;
    corp.add("anna SMTP:anna@acme.example\nbert SMTP:bert@acme.example\ncarl SMTP:carl@acme.example");
    corp.connect("corp", FULL).await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    corp.tenant.delete("EmailAddress/anna").await;
    corp.tenant.blockers("EmailAddress/anna", &["Delay", "DirectoryManaged"]).await;
    corp.tenant.database.move_clock(60).await;
    corp.tenant.blockers("EmailAddress/anna", &["DirectoryManaged"]).await;
    corp.tenant.condition("EmailAddress/anna", "PurgeBlocked", "True DirectoryManaged").await;
    // Runs that find it change nothing of that, and mail flows.
    corp.run().await;
    corp.tenant.blockers("EmailAddress/anna", &["DirectoryManaged"]).await;
    corp.store("SELECT coalesce(gateway.recipient_action_v1('anna@acme.example'), 'ok')", "ok").await;
    corp.remove("anna");
    corp.run().await;
    corp.tenant.gone("EmailAddress/anna").await;
    corp.roster("bert@acme.example Directory\ncarl@acme.example Directory").await;
    corp.store("SELECT string_agg(canonical, ' ') FROM mailroster.tombstone", "anna@acme.example").await;
    // Nothing of it is left to be missed.
    let run = corp.run().await;
    assert_eq!((&run["missing"], &run["created"]), (&0.into(), &0.into()), "{run}");
}

#[tokio::test]
async fn v3_unknown_recipients_are_deferred_until_a_complete_run_covered_their_domain_and_no_less() {
    const LATER: &str = "451 4.1.1 Recipient not known yet, try again later";
    const NEVER: &str = "550 5.1.1 No such recipient here";
    let corp = Corp::without_connection().await;
    let action = |address: &str| format!("SELECT coalesce(gateway.recipient_action_v1('{address}'), 'ok')");
    corp.tenant.apply("InternalDomain/acme {domain: acme.example, recipientValidation: Directory}").await;
    corp.tenant.condition("InternalDomain/acme", "DirectoryReady", "False NoConnection").await;
    corp.tenant.database.move_clock(7_200).await;
    corp.add(&(0..30).map(|n| format!("u{n} SMTP:u{n}@acme.example\n")).collect::<String>());
    // An account whose searches end at 25 entries: what came goes in, and is no proof of anything.
    let as_limited = format!(
        "bind: {{dn: 'cn=limited,{}', passwordSecretRef: {{name: corp-ldap, key: password}}}}, pageSize: 10",
        crate::support::slapd::SUFFIX
    );
    corp.connect("corp", &as_limited).await;
    corp.tenant.reasons("DirectoryConnection/corp SizeLimitExceeded").await;
    corp.store("SELECT (count(*) > 0)::text FROM gateway.recipient_v1 WHERE domain = 'acme.example'", "true").await;
    corp.store("SELECT count(*) FROM mailroster.covered_domain", "0").await;
    corp.tenant.condition("InternalDomain/acme", "DirectoryReady", "False DirectoryIncomplete").await;
    corp.store(&action("nobody@acme.example"), LATER).await;
    // Seen by one that sees all, nothing is left to doubt.
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", ""))).await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    corp.tenant.condition("InternalDomain/acme", "DirectoryReady", "True DirectoryFresh").await;
    corp.store(&action("nobody@acme.example"), NEVER).await;
    corp.store(&action("u29@acme.example"), "ok").await;
    // A domain that came later was no part of that run; the next one is of another scope, and the one after it is complete.
    corp.tenant.apply("InternalDomain/test {domain: acme.test, recipientValidation: Directory}").await;
    corp.tenant.ready("InternalDomain/test").await;
    corp.tenant.database.move_clock(7_200).await;
    corp.store(&action("nobody@acme.test"), LATER).await;
    corp.run().await;
    corp.tenant.reasons("DirectoryConnection/corp ScopeChanged").await;
    corp.store(&action("nobody@acme.test"), LATER).await;
    corp.store(&action("nobody@acme.example"), NEVER).await;
    corp.run().await;
    corp.tenant.condition("InternalDomain/test", "DirectoryReady", "True DirectoryFresh").await;
    corp.store(&action("nobody@acme.test"), NEVER).await;
    // Without its connection nobody keeps it up to date.
    corp.tenant.delete("DirectoryConnection/corp").await;
    corp.tenant.condition("InternalDomain/acme", "DirectoryReady", "False NoConnection").await;
    corp.store(&action("nobody@acme.example"), LATER).await;
    corp.store(&action("u29@acme.example"), "ok").await;
}
