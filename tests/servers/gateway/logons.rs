//! Logons and passwords: `record_logon_v1`, `record_reset_code_v1`, `change_password_v1`, `credential_v1` (SPEC P1, P5, P8, P9).

use super::{PHC, REFUSED, acme, action, code_of, rows, subjects, wrong_password};

/// P5, P8, A7.
#[tokio::test]
async fn c12_p5_the_lock_comes_at_the_limit_and_ends_by_time_by_success_or_by_unlock() {
    let database = acme().await;
    let (mta, auth) = (database.as_role("mailroster_mta"), database.as_role("mailroster_auth"));
    database.execute(&format!("SELECT test.password('sales@acme.example', '{PHC}'); DELETE FROM mailroster.change;")).await;
    let open = async || rows(&auth, "SELECT l.login FROM gateway.logon_v1 l JOIN gateway.credential_v1 c USING (login)").await.len() == 1;

    wrong_password(&auth, "sales@acme.example", 4).await;
    assert!(open().await);
    assert_eq!(subjects(&database).await, [""; 0], "below the limit nobody is told");
    sqlx::query("SELECT gateway.record_logon_v1(gen_random_uuid(), 'sales@acme.example', 'success', 'imap')").execute(&auth).await.unwrap();
    sqlx::query("SELECT gateway.record_logon_v1(gen_random_uuid(), 'sales@acme.example', 'source_refused', 'imap')")
        .execute(&auth)
        .await
        .unwrap();
    wrong_password(&auth, "sales@acme.example", 4).await;
    assert!(open().await, "success sets the count to 0, a refused source does not count");

    wrong_password(&auth, "Sales.E@acme.example", 1).await;
    assert!(!open().await, "an alias counts for its primary");
    assert_eq!(subjects(&database).await, ["report sales@acme.example"]);
    assert_eq!(database.text("SELECT reason FROM mailroster.audit").await, "TooManyFailedLogons");
    assert_eq!(action(&mta, "sales@acme.example").await, "", "V1: a lock changes nothing about mail");
    wrong_password(&auth, "sales@acme.example", 3).await;
    assert_eq!(subjects(&database).await, [""; 0], "nothing counts while it is locked");

    database.move_clock(800).await;
    assert!(!open().await);
    database.move_clock(101).await;
    assert!(open().await, "the lock ends by itself");
    wrong_password(&auth, "sales@acme.example", 4).await;
    assert!(open().await, "and the count with it");
    database.move_clock(901).await;
    wrong_password(&auth, "sales@acme.example", 4).await;
    assert!(open().await, "old failures do not count");

    wrong_password(&auth, "sales@acme.example", 1).await;
    assert!(!open().await);
    database.execute("UPDATE mailroster.address SET unlocked_at = mailroster.now() WHERE canonical = 'sales@acme.example'").await;
    assert!(open().await);
    wrong_password(&auth, "sales@acme.example", 4).await;
    assert!(open().await, "unlocking sets the count to 0");
    wrong_password(&auth, "sales@acme.example", 1).await;
    assert!(!open().await);
}

#[tokio::test]
async fn an_event_counts_once() {
    let database = acme().await;
    let auth = database.as_role("mailroster_auth");
    for _ in 0..9 {
        let event = "00000000-0000-0000-0000-000000000001";
        let logon = format!("SELECT gateway.record_logon_v1('{event}', 'sales@acme.example', 'wrong_password', 'imap')");
        assert_eq!(code_of(&auth, &logon).await, "");
        let event = "00000000-0000-0000-0000-000000000002";
        let reset = format!("SELECT gateway.record_reset_code_v1('{event}', 'sales@acme.example', false)");
        assert_eq!(code_of(&auth, &reset).await, "");
    }
    assert_eq!(database.text("SELECT failed FROM mailroster.logon").await, "1");
    assert_eq!(database.text("SELECT failed FROM mailroster.reset_code").await, "1");
}

/// P5.
#[tokio::test]
async fn wrong_reset_codes_lock_the_reset_function_only_until_they_are_reset() {
    let database = acme().await;
    let auth = database.as_role("mailroster_auth");
    let code = async |correct: bool| {
        let call = format!("SELECT gateway.record_reset_code_v1(gen_random_uuid(), 'sales@acme.example', {correct})");
        rows(&auth, &call).await == ["(t)"]
    };
    subjects(&database).await;
    for _ in 0..9 {
        assert!(code(false).await);
    }
    assert_eq!(subjects(&database).await, [""; 0]);
    assert!(!code(false).await);
    assert_eq!(subjects(&database).await, ["report sales@acme.example"]);
    assert!(!code(true).await);
    database.move_clock(1_000_000).await;
    assert!(!code(true).await, "time does not open it");
    assert_eq!(rows(&auth, "SELECT login FROM gateway.logon_v1").await, ["(sales@acme.example)"]);
    database.execute("UPDATE mailroster.address SET codes_reset_at = mailroster.now() WHERE canonical = 'sales@acme.example'").await;
    assert!(code(false).await);
}

/// P1, P9.
#[tokio::test]
async fn a_password_is_changed_within_the_limits_of_its_hash_and_counts_at_once() {
    let database = acme().await;
    let auth = database.as_role("mailroster_auth");
    let change = async |login: &str, phc: &str| {
        sqlx::query_scalar::<_, bool>("SELECT gateway.change_password_v1($1, $2)").bind(login).bind(phc).fetch_one(&auth).await
    };
    assert!(!change("sales@acme.example", PHC).await.unwrap(), "no cloud password was declared");
    assert!(!change("nobody@acme.example", PHC).await.unwrap());
    database.execute("SELECT test.password('sales@acme.example', '$argon2id$declared')").await;
    database.execute("UPDATE mailroster.credential SET force_change = true, set_at = mailroster.now() - interval '1 day'").await;
    let to_change = "SELECT login, reason FROM gateway.credential_change_v1";
    assert_eq!(rows(&auth, to_change).await, ["(sales@acme.example,Forced)"]);
    assert_eq!(rows(&auth, "SELECT login FROM gateway.credential_v1").await, [""; 0]);

    for (from, to) in [
        ("argon2id", "argon2i"),
        ("v=19", "v=16"),
        ("m=19456", "m=19455"),
        ("m=19456", "m=65537"),
        ("m=19456", "m=99999999999999999999"),
        ("t=2", "t=1"),
        ("t=2", "t=11"),
        ("p=1", "p=0"),
        ("p=1", "p=5"),
        ("m=19456", "m=019456"),
        ("p=1$", "p=1,keyid=a$"),
        ("$AAAAAAAAAAAAAAAAAAAAAA$", "$AAAAAAAAAA$"),
        ("$AAAAAAAAAAAAAAAAAAAAAA$", "$AAAAAAAAAAAAAAAAAAAAAA==$"),
        ("$AAAAAAAAAAAAAAAAAAAAAA$", "$AAAAAAAAAAAAAAAAAAAAAB$"),
        ("$AAAAAAAAAAAAAAAAAAAAAA$", "$AAAAAAAAAAAAAAAAAAAAA$"),
        ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAA"),
        ("$argon2id", "secret$argon2id"),
    ] {
        let refused = PHC.replace(from, to);
        let error = change("sales@acme.example", &refused).await.expect_err(&refused);
        let error = error.as_database_error().expect("an error of Postgres");
        assert_eq!(error.code().unwrap_or_default(), REFUSED, "{refused}");
        assert!(error.message().starts_with("password hash refused: "), "{}", error.message());
        assert!(!error.message().contains("AAAA") && !error.message().contains("secret"), "{}", error.message());
    }
    assert_eq!(rows(&auth, to_change).await, ["(sales@acme.example,Forced)"]);

    subjects(&database).await;
    for _ in 0..2 {
        assert!(change("sales.e@acme.example", PHC).await.unwrap(), "A7: under an alias too, and said twice");
    }
    assert_eq!(subjects(&database).await, ["report sales@acme.example"]);
    assert_eq!(database.text("SELECT epoch FROM mailroster.user_password").await, "1");
    assert_eq!(
        database
            .text("SELECT actor || ' ' || reason || coalesce(before::text, '') || coalesce(after::text, '') FROM mailroster.audit")
            .await,
        "user PasswordChanged"
    );
    let opens = "SELECT password FROM gateway.credential_v1";
    assert_eq!(rows(&auth, to_change).await, [""; 0]);
    assert!(rows(&auth, opens).await[0].contains(PHC));

    database
        .execute(
            "INSERT INTO mailroster.settings VALUES ('acme', 'default', 12, true, true, true, false, 30, 5, 5, 900, 10, 3600, true, 10, 10, false)",
        )
        .await;
    assert_eq!(rows(&auth, to_change).await, [""; 0], "its age counts from the user's own change");
    database.move_clock(31 * 86_400).await;
    assert_eq!(rows(&auth, to_change).await, ["(sales@acme.example,Expired)"]);
    assert_eq!(rows(&auth, opens).await, [""; 0]);
    database.execute("UPDATE mailroster.credential SET phc = '$argon2id$newer', force_change = false, set_at = mailroster.now()").await;
    assert!(rows(&auth, opens).await[0].contains("newer"), "a Secret's new value ends what the user chose");
    for barrier in ["disabled", "shut", "closing"] {
        database.execute(&format!("UPDATE mailroster.address SET {barrier} = true WHERE canonical = 'sales@acme.example'")).await;
        assert_eq!(rows(&auth, opens).await, [""; 0], "{barrier}");
        database.execute(&format!("UPDATE mailroster.address SET {barrier} = false WHERE canonical = 'sales@acme.example'")).await;
    }
}
