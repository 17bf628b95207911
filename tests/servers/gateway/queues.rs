//! What mail queues report: `record_held_v1`, `retire_source_v1`, `record_sender_v1` (SPEC U2, U8, P8).

use super::{REFUSED, acme, code_of, subjects};

/// U2, P8.
#[tokio::test]
async fn a_held_mail_report_replaces_the_last_one_and_writes_only_what_differs() {
    let database = acme().await;
    let mta = database.as_role("mailroster_mta");
    database.execute("UPDATE mailroster.domain SET sub_addressing = '+'").await;
    subjects(&database).await;
    let report = async |messages: &str| {
        sqlx::query("SELECT gateway.record_held_v1('mx1', $1::jsonb)").bind(messages).execute(&mta).await.expect("a report");
    };
    let held = "SELECT string_agg(id || ' ' || address, ', ' ORDER BY id, address) FROM mailroster.held_address";

    let both = r#"[{"id": "A", "since": 1767225600, "state": "held", "addresses": ["Sales+x@ACME.example", "Out@Other.example", ""]},
                   {"id": "B", "since": "2026-01-01T00:00:00Z", "state": "queued", "addresses": ["sales.e@acme.example"]}]"#;
    report(both).await;
    assert_eq!(database.text(held).await, "A out@other.example, A sales@acme.example, B sales.e@acme.example");
    assert_eq!(database.text("SELECT count(DISTINCT since) FROM mailroster.held_message").await, "1");
    assert_eq!(subjects(&database).await, ["report sales.e@acme.example", "report sales@acme.example"]);

    let rows_as_written =
        "SELECT string_agg(w, ' ') FROM (SELECT m.xmin::text || m.xmax::text || m.ctid::text AS w FROM mailroster.held_message m
        UNION ALL SELECT h.xmin::text || h.xmax::text || h.ctid::text FROM mailroster.held_address h) written";
    let before = database.text(rows_as_written).await;
    report(both).await;
    assert_eq!(database.text(rows_as_written).await, before);
    assert_eq!(subjects(&database).await, [""; 0]);

    database
        .execute("INSERT INTO mailroster.waiting (address_id, action) SELECT id, 'Purge' FROM mailroster.address WHERE canonical = 'sales@acme.example'")
        .await;
    report(r#"[{"id": "A", "since": 1767225600, "state": "processing", "addresses": ["out@other.example"]}]"#).await;
    assert_eq!(database.text(held).await, "A out@other.example");
    assert_eq!(database.text("SELECT state FROM mailroster.held_message").await, "processing");
    assert_eq!(subjects(&database).await, ["domain acme.example", "report sales.e@acme.example", "report sales@acme.example"]);
    report("[]").await;
    assert_eq!(subjects(&database).await, [""; 0], "one report after the request is enough");

    report(both).await;
    subjects(&database).await;
    sqlx::query("SELECT gateway.retire_source_v1('mx1')").execute(&mta).await.expect("retired");
    assert_eq!(subjects(&database).await, ["domain acme.example", "report sales.e@acme.example", "report sales@acme.example"]);
    let left = "SELECT (SELECT count(*) FROM mailroster.held_source) + (SELECT count(*) FROM mailroster.held_message)
        + (SELECT count(*) FROM mailroster.held_address)";
    assert_eq!(database.text(left).await, "0");
}

#[tokio::test]
async fn a_malformed_held_mail_report_is_refused_with_the_place() {
    let database = acme().await;
    let mta = database.as_role("mailroster_mta");
    let good = r#"{"id": "A", "since": 1, "state": "held", "addresses": []}"#;
    for (messages, place) in [
        ("{}".to_owned(), "messages must be"),
        ("[1]".to_owned(), "messages[0] must be"),
        (format!("[{good}, {}]", good.replace("\"A\"", "7")), "messages[1].id must be"),
        (format!("[{good}, {}]", good.replace("held", "lost")), "messages[1].state must be"),
        (format!("[{good}, {}]", good.replace("[]", "[null]")), "messages[1].addresses must be"),
        (format!("[{good}, {}]", good.replace("1,", "\"yesterday\",")), "messages[1].since must be"),
        (format!("[{good}, {}]", good.replace("1,", "\"2026-02-30T00:00:00Z\",")), "messages[1].since must be"),
        (format!("[{good}, {}]", good.replace("1,", "1e300,")), "messages[1].since must be"),
    ] {
        let error =
            sqlx::query("SELECT gateway.record_held_v1('mx1', $1::jsonb)").bind(&messages).execute(&mta).await.expect_err(&messages);
        let error = error.as_database_error().expect("an error of Postgres");
        assert_eq!(error.code().unwrap_or_default(), REFUSED, "{messages}");
        assert!(error.message().starts_with(place), "{messages}: {}", error.message());
    }
    assert_eq!(code_of(&mta, &format!("SELECT gateway.record_held_v1('{}', '[]')", "x".repeat(65))).await, REFUSED);
    assert_eq!(database.text("SELECT count(*) FROM mailroster.held_source").await, "0");
}

#[tokio::test]
async fn a_sender_is_learned_once_and_only_where_it_may_be() {
    let database = acme().await;
    let mta = database.as_role("mailroster_mta");
    database
        .execute(
            "UPDATE mailroster.domain SET sub_addressing = '+'; SELECT test.domain('found.example', 'Directory'); SELECT test.domain('send.example', 'None');
             SELECT test.domain('quiet.example'); UPDATE mailroster.domain SET learn_senders = false WHERE name = 'quiet.example';
             INSERT INTO mailroster.tombstone (canonical, namespace) VALUES ('gone@acme.example', 'acme');",
        )
        .await;
    subjects(&database).await;
    let learn = async |address: &str| {
        sqlx::query("SELECT gateway.record_sender_v1($1)").bind(address).execute(&mta).await.expect("no error");
    };
    for address in [
        "",
        "<>",
        "sales@acme.example",
        "SALES.E@acme.example",
        "sales+x@acme.example",
        "info@found.example",
        "info@send.example",
        "info@quiet.example",
        "info@elsewhere.example",
        "SRS0=hash=tt=other.example=info@acme.example",
        "SRS1=a=b==c=d@acme.example",
        "prvs=0123abcdef=info@acme.example",
        "news-bounces+info=other.example@acme.example",
        "bounce-77-info@acme.example",
        "news+info=other.example@acme.example",
        "owner-news@acme.example",
        "MAILER-DAEMON@acme.example",
        "postmaster@acme.example",
        "\"b o b\"@acme.example",
        "b..ob@acme.example",
        ".info@acme.example",
        "gone@acme.example",
    ] {
        learn(address).await;
    }
    assert_eq!(database.text("SELECT string_agg(key, ' ') FROM mailroster.learned_sender").await, "");
    assert_eq!(subjects(&database).await, [""; 0]);

    for address in ["Info@Acme.example", "info+x@acme.example", "info@acme.example"] {
        learn(address).await;
    }
    assert_eq!(database.text("SELECT string_agg(key, ' ') FROM mailroster.learned_sender").await, "info@acme.example");
    assert_eq!(database.text("SELECT count(*) FROM mailroster.change WHERE subject = 'learned acme.example'").await, "1");
    database.move_clock(91 * 86_400).await;
    learn("gone@acme.example").await;
    assert_eq!(database.text("SELECT count(*) FROM mailroster.learned_sender").await, "2", "U8: after 90 days");
    assert_eq!(database.text("SELECT count(*) FROM mailroster.address").await, "2", "it never makes an address");
}
