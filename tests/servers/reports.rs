//! What mail servers report, and what people do about it: learned senders, locks, reset codes, tokens (SPEC 14, P5, C6).

use crate::support::wait::PATIENCE;
use crate::support::{eventually, resources};
use crate::tenant::Tenant;

async fn wrong_passwords(tenant: &Tenant, address: &str, count: u32) {
    let logon = format!(
        "SELECT gateway.record_logon_v1(gen_random_uuid(), '{address}', 'wrong_password', 'imap') FROM generate_series(1, {count})"
    );
    tenant.database.execute(&logon).await;
}

async fn wrong_codes(tenant: &Tenant, address: &str, count: u32) {
    let codes = format!("SELECT gateway.record_reset_code_v1(gen_random_uuid(), '{address}', false) FROM generate_series(1, {count})");
    tenant.database.execute(&codes).await;
}

async fn base() -> Tenant {
    Tenant::with(
        "InternalDomain/acme {domain: acme.example}
         EmailAddress/sales {address: sales@acme.example}",
    )
    .await
}

#[tokio::test]
async fn senders_are_learned_up_to_a_hundred_a_domain_and_hour() {
    let tenant = base().await;
    tenant
        .database
        .execute("SELECT gateway.record_sender_v1('Newcomer@ACME.example'), gateway.record_sender_v1('sales@acme.example')")
        .await;
    let newcomer = "SELECT canonical, origin, owner FROM mailroster.address WHERE canonical <> 'sales@acme.example'";
    tenant.until(newcomer, &["newcomer@acme.example,MailFlow,"]).await;
    assert_eq!(tenant.rows("SELECT reason FROM mailroster.audit WHERE subject = 'address newcomer@acme.example'").await, ["SenderLearned"]);
    // Its origin stays when a resource adopts it (A5).
    tenant.apply("EmailAddress/newcomer {address: newcomer@acme.example}").await;
    tenant.ready("EmailAddress/newcomer").await;
    tenant.status("EmailAddress/newcomer", "its origin", |status| status["origin"] == "MailFlow").await;

    tenant.database.execute("SELECT gateway.record_sender_v1('n' || n || '@acme.example') FROM generate_series(1, 105) n").await;
    tenant.condition("InternalDomain/acme", "LearningHeld", "True TooManyNewSenders").await;
    let learned = "SELECT count(*) FROM mailroster.address WHERE origin = 'MailFlow'";
    tenant.until(learned, &["100"]).await;
    tenant.condition("InternalDomain/acme", "Ready", "True Succeeded").await;
    // The hour passes, and the rest comes without anybody asking.
    tenant.database.move_clock(3700).await;
    tenant.until(learned, &["106"]).await;
    tenant.condition("InternalDomain/acme", "LearningHeld", "False WithinLimit").await;

    // What doesn't learn, doesn't.
    tenant.apply("InternalDomain/acme {domain: acme.example, learnSenders: false}").await;
    tenant.ready("InternalDomain/acme").await;
    tenant.database.execute("SELECT gateway.record_sender_v1('late@acme.example')").await;
    tenant.annotate("InternalDomain/acme", "requestedAt", "1").await;
    tenant.handled("InternalDomain/acme", "requestedAt", "1").await;
    assert_eq!(tenant.rows(learned).await, ["106"]);
}

#[tokio::test]
async fn p5_a_lock_ends_when_its_time_passes_and_the_condition_follows() {
    let tenant = base().await;
    let version = async || tenant.get("EmailAddress/sales").await.expect("sales")["metadata"]["resourceVersion"].clone();
    let before = version().await;
    wrong_passwords(&tenant, "sales@acme.example", 4).await;
    tenant.apply("EmailAddress/other {address: other@acme.example}").await;
    tenant.ready("EmailAddress/other").await;
    assert_eq!(version().await, before, "failed logons below the limit reach no status (P8)");
    wrong_passwords(&tenant, "sales@acme.example", 1).await;
    tenant.condition("EmailAddress/sales", "Locked", "True TooManyFailedLogons").await;
    tenant.condition("EmailAddress/sales", "Ready", "True Succeeded").await;
    let status = tenant.status("EmailAddress/sales", "its lock", |status| status["lock"]["lockedUntil"].is_string()).await;
    assert_eq!(status["lock"]["failedLogons"], 5);
    let open = "SELECT login FROM gateway.logon_v1 WHERE login = 'sales@acme.example'";
    assert_eq!(tenant.rows(open).await, [""; 0]);

    tenant.database.move_clock(14 * 60).await;
    tenant.annotate("EmailAddress/sales", "requestedAt", "too early").await;
    tenant.handled("EmailAddress/sales", "requestedAt", "too early").await;
    tenant.condition("EmailAddress/sales", "Locked", "True TooManyFailedLogons").await;
    tenant.database.move_clock(2 * 60).await;
    let moved = std::time::Instant::now();
    tenant.condition("EmailAddress/sales", "Locked", "False NotLocked").await;
    assert!(moved.elapsed().as_secs() < 20, "on time, not with the next count of the domain");
    assert_eq!(tenant.rows(open).await, ["sales@acme.example"]);
    tenant.status("EmailAddress/sales", "no failures", |status| status["lock"]["failedLogons"].as_u64().unwrap_or(0) == 0).await;
}

#[tokio::test]
async fn c6_unlock_and_reset_act_once_for_each_token_and_never_for_one_older_than_the_resource() {
    let tenant = base().await;
    wrong_passwords(&tenant, "sales@acme.example", 5).await;
    tenant.condition("EmailAddress/sales", "Locked", "True TooManyFailedLogons").await;
    // Older than the resource: noted, not acted on.
    tenant.annotate("EmailAddress/sales", "unlockAt", "2020-01-01T00:00:00Z").await;
    tenant.handled("EmailAddress/sales", "unlockAt", "2020-01-01T00:00:00Z").await;
    assert_eq!(tenant.rows("SELECT canonical FROM mailroster.address WHERE unlocked_at IS NOT NULL").await, [""; 0]);
    tenant.condition("EmailAddress/sales", "Locked", "True TooManyFailedLogons").await;

    tenant.annotate("EmailAddress/sales", "unlockAt", "first").await;
    tenant.condition("EmailAddress/sales", "Locked", "False NotLocked").await;
    tenant.handled("EmailAddress/sales", "unlockAt", "first").await;
    assert_eq!(tenant.rows("SELECT token FROM mailroster.handled WHERE action = 'unlockAt'").await, ["first"]);
    // The same token again, after it was stripped as GitOps does: harmless.
    wrong_passwords(&tenant, "sales@acme.example", 5).await;
    tenant.condition("EmailAddress/sales", "Locked", "True TooManyFailedLogons").await;
    let unlocked = tenant.rows("SELECT unlocked_at FROM mailroster.address WHERE unlocked_at IS NOT NULL").await;
    let strip = serde_json::json!({"metadata": {"annotations": {"mailroster.dev/unlockAt": null}}});
    tenant.cluster.patch("EmailAddress", &tenant.namespace, "sales", &strip).await;
    tenant.annotate("EmailAddress/sales", "unlockAt", "first").await;
    tenant.annotate("EmailAddress/sales", "requestedAt", "after the replay").await;
    tenant.handled("EmailAddress/sales", "requestedAt", "after the replay").await;
    assert_eq!(tenant.rows("SELECT unlocked_at FROM mailroster.address WHERE unlocked_at IS NOT NULL").await, unlocked);
    tenant.condition("EmailAddress/sales", "Locked", "True TooManyFailedLogons").await;

    // Reset codes lock the reset function only.
    tenant.annotate("EmailAddress/sales", "unlockAt", "second").await;
    tenant.condition("EmailAddress/sales", "Locked", "False NotLocked").await;
    wrong_codes(&tenant, "sales@acme.example", 10).await;
    tenant.condition("EmailAddress/sales", "ResetLocked", "True TooManyFailedCodes").await;
    tenant.condition("EmailAddress/sales", "Locked", "False NotLocked").await;
    tenant.status("EmailAddress/sales", "ten codes", |status| status["passwordReset"]["failedCodes"] == 10).await;
    assert_eq!(tenant.rows("SELECT login FROM gateway.logon_v1 WHERE login = 'sales@acme.example'").await, ["sales@acme.example"]);
    // No time opens it, the annotation does.
    tenant.database.move_clock(86_400).await;
    tenant.annotate("EmailAddress/sales", "requestedAt", "a day later").await;
    tenant.handled("EmailAddress/sales", "requestedAt", "a day later").await;
    tenant.condition("EmailAddress/sales", "ResetLocked", "True TooManyFailedCodes").await;
    tenant.annotate("EmailAddress/sales", "resetCodesAt", "first").await;
    tenant.condition("EmailAddress/sales", "ResetLocked", "False NotLocked").await;
    let correct = "SELECT gateway.record_reset_code_v1(gen_random_uuid(), 'sales@acme.example', true)";
    assert_eq!(tenant.database.text(correct).await, "true");
}

#[tokio::test]
async fn c6_the_domain_unlocks_what_no_resource_declares() {
    let tenant = base().await;
    tenant.fill("acme.example", 5).await;
    wrong_passwords(&tenant, "filler1@acme.example", 5).await;
    wrong_passwords(&tenant, "sales@acme.example", 5).await;
    wrong_codes(&tenant, "filler1@acme.example", 10).await;
    tenant.condition("EmailAddress/sales", "Locked", "True TooManyFailedLogons").await;
    let open = "SELECT login FROM gateway.logon_v1 WHERE login IN ('filler1@acme.example', 'sales@acme.example')";
    assert_eq!(tenant.rows(open).await, [""; 0]);
    // Who is declared has an annotation of its own.
    tenant.annotate("InternalDomain/acme", "unlock", "sales@acme.example 1").await;
    tenant.handled("InternalDomain/acme", "unlock", "sales@acme.example 1").await;
    assert_eq!(tenant.rows(open).await, [""; 0]);
    tenant.annotate("InternalDomain/acme", "unlock", "Filler1@acme.example 2").await;
    tenant.until(open, &["filler1@acme.example"]).await;
    tenant.annotate("InternalDomain/acme", "resetCodes", "filler1@acme.example 2").await;
    tenant.handled("InternalDomain/acme", "resetCodes", "filler1@acme.example 2").await;
    let correct = "SELECT gateway.record_reset_code_v1(gen_random_uuid(), 'filler1@acme.example', true)";
    assert_eq!(tenant.database.text(correct).await, "true");
    // A replay is harmless.
    wrong_passwords(&tenant, "filler1@acme.example", 5).await;
    tenant.annotate("InternalDomain/acme", "requestedAt", "1").await;
    tenant.handled("InternalDomain/acme", "requestedAt", "1").await;
    assert_eq!(tenant.rows(open).await, [""; 0]);
    let domain = tenant.get("InternalDomain/acme").await.expect("acme");
    assert_eq!(resources::condition(&domain, "Ready").expect("Ready")["status"], "True");
    eventually(PATIENCE, "nothing is left in the outbox", async || {
        let left = tenant.rows("SELECT subject FROM mailroster.change").await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}
