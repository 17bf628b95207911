//! Schema `gateway` as mail servers meet it (SPEC 14): with their own roles, on a real Postgres.

use crate::support::{self, Database};
use sqlx::{AssertSqlSafe, PgPool};
use std::collections::{BTreeMap, BTreeSet};

/// Ways to fill a database: `test.domain(name, mode)`, `test.address(address, origin)`, `test.alias(alias, primary)`.
const FILLING: &str = "
    CREATE SCHEMA test;
    CREATE FUNCTION test.domain(name text, mode text DEFAULT 'Known') RETURNS void LANGUAGE sql AS $$
        WITH d AS (
            INSERT INTO mailroster.domain (name, namespace, recipient_validation, unknown_recipients, learn_senders, created_at)
            VALUES (name, 'acme', mode, 'Reject', true, mailroster.now() - interval '2 hours') RETURNING id
        )
        INSERT INTO mailroster.domain_key (key, domain_id) SELECT name, d.id FROM d;
    $$;
    CREATE FUNCTION test.address(address text, origin text DEFAULT 'Manual') RETURNS void LANGUAGE sql AS $$
        WITH a AS (
            INSERT INTO mailroster.address (canonical, display, domain_id, namespace, origin)
            SELECT address, address, d.id, d.namespace, $2 FROM mailroster.domain d WHERE d.name = split_part(address, '@', 2) RETURNING id
        )
        INSERT INTO mailroster.address_key (key, address_id) SELECT address, a.id FROM a;
    $$;
    CREATE FUNCTION test.alias(alias text, primary_address text) RETURNS void LANGUAGE sql AS $$
        SELECT test.address(alias);
        UPDATE mailroster.address SET is_alias = true WHERE canonical = alias;
        INSERT INTO mailroster.link (alias_id, primary_id, namespace, origin, made_row)
        SELECT a.id, p.id, a.namespace, 'Declared', true FROM mailroster.address a, mailroster.address p
        WHERE a.canonical = alias AND p.canonical = primary_address;
    $$;
    CREATE FUNCTION test.password(address text, phc text) RETURNS void LANGUAGE sql AS $$
        INSERT INTO mailroster.credential (address_id, phc, fingerprint, key_id, force_change, never_expires)
        SELECT a.id, phc, '', 'k', false, false FROM mailroster.address a WHERE a.canonical = address
    $$;
    UPDATE mailroster.installation SET answers_since = mailroster.now(), recognised_run = pg_postmaster_start_time();";

/// A valid PHC string, of no password.
pub const PHC: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

const DENIED: &str = "42501";
const REFUSED: &str = "22023";
const NOT_READY: &str = "55000";

/// A database with one Known domain acme.example, `sales@` in it and her alias `sales.e@`.
async fn acme() -> Database {
    let database = support::fresh_database().await;
    database.execute(FILLING).await;
    database
        .execute(
            "SELECT test.domain('acme.example'); SELECT test.address('sales@acme.example');
             SELECT test.alias('sales.e@acme.example', 'sales@acme.example');",
        )
        .await;
    database
}

/// What a query gives: each row as Postgres writes a row, `(a,b)`, in order; or the SQLSTATE.
async fn ask(pool: &PgPool, sql: &str) -> Result<Vec<String>, String> {
    let rows = sqlx::query_scalar::<_, String>(AssertSqlSafe(format!("SELECT q::text FROM ({sql}) q ORDER BY 1"))).fetch_all(pool).await;
    rows.map_err(|error| match error.as_database_error() {
        Some(database) => database.code().unwrap_or_default().into_owned(),
        None => panic!("{sql}: {error}"),
    })
}

/// The same, where an answer is expected.
async fn rows(pool: &PgPool, sql: &str) -> Vec<String> {
    ask(pool, sql).await.unwrap_or_else(|code| panic!("{sql}: {code}"))
}

/// The SQLSTATE of a statement, empty when it succeeded.
async fn code_of(pool: &PgPool, sql: &str) -> String {
    match sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(pool).await {
        Ok(_) => String::new(),
        Err(error) => error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default().into_owned(),
    }
}

/// What `recipient_action_v1` says, cut to the code; empty for no objection.
async fn action(pool: &PgPool, address: &str) -> String {
    let said: Option<String> =
        sqlx::query_scalar("SELECT gateway.recipient_action_v1($1)").bind(address).fetch_one(pool).await.expect("an answer");
    let said = said.unwrap_or_default();
    said.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

async fn subjects(database: &Database) -> Vec<String> {
    let subjects =
        sqlx::query_scalar::<_, String>("SELECT DISTINCT subject FROM mailroster.change ORDER BY 1").fetch_all(&database.pool).await;
    database.execute("DELETE FROM mailroster.change").await;
    subjects.expect("the outbox")
}

async fn wrong_password(pool: &PgPool, address: &str, times: usize) {
    for _ in 0..times {
        sqlx::query("SELECT gateway.record_logon_v1(gen_random_uuid(), $1, 'wrong_password', 'imap')")
            .bind(address)
            .execute(pool)
            .await
            .expect("a logon recorded");
    }
}

type Names = BTreeSet<&'static str>;

/// The views and the functions of each role.
fn granted() -> BTreeMap<&'static str, (Names, Names)> {
    BTreeMap::from([
        (
            "mailroster_mta",
            (
                BTreeSet::from(["domain_v1", "recipient_v1", "alias_v1", "sender_v1", "mailbox_v1"]),
                BTreeSet::from(["answers", "recipient_action_v1", "record_sender_v1", "record_held_v1", "retire_source_v1"]),
            ),
        ),
        (
            "mailroster_auth",
            (
                BTreeSet::from(["logon_v1", "credential_v1", "credential_change_v1", "mailbox_v1", "administrator_v1"]),
                BTreeSet::from(["answers", "record_logon_v1", "record_reset_code_v1", "change_password_v1"]),
            ),
        ),
        ("mailroster_archive", (BTreeSet::from(["archive_reader_v1", "administrator_v1"]), BTreeSet::from(["answers"]))),
    ])
}

#[tokio::test]
async fn each_role_gets_what_the_contract_gives_it_and_nothing_else() {
    let database = acme().await;
    let relations: Vec<(String, String)> = sqlx::query_as(
        "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname IN ('mailroster', 'gateway') AND c.relkind IN ('r', 'p', 'v', 'S')",
    )
    .fetch_all(&database.pool)
    .await
    .expect("relations");
    let functions: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT n.nspname::text, p.proname::text,
                coalesce((SELECT string_agg('NULL::' || format_type(t, NULL), ', ' ORDER BY place)
                          FROM unnest(p.proargtypes) WITH ORDINALITY AS u (t, place)), '')
         FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname IN ('mailroster', 'gateway')",
    )
    .fetch_all(&database.pool)
    .await
    .expect("functions");
    assert!(relations.len() > 30 && functions.len() > 10, "{} relations, {} functions", relations.len(), functions.len());

    for (role, (views, calls)) in granted() {
        let pool = database.as_role(role);
        for (schema, name) in &relations {
            let may_read = code_of(&pool, &format!("SELECT FROM {schema}.{name} LIMIT 0")).await != DENIED;
            assert_eq!(may_read, schema == "gateway" && views.contains(name.as_str()), "{role} reads {schema}.{name}");
            // Not always DENIED: Postgres first says that a view of several tables can't be written.
            assert_ne!(
                code_of(&pool, &format!("DELETE FROM {schema}.{name} WHERE false")).await,
                "",
                "{role} deletes from {schema}.{name}"
            );
        }
        for (schema, name, arguments) in &functions {
            let may_call = code_of(&pool, &format!("SELECT {schema}.{name}({arguments})")).await != DENIED;
            assert_eq!(may_call, schema == "gateway" && calls.contains(name.as_str()), "{role} calls {schema}.{name}");
        }
        for schema in ["mailroster", "gateway"] {
            assert_eq!(code_of(&pool, &format!("CREATE TABLE {schema}.mine ()")).await, DENIED, "{role} creates in {schema}");
        }
    }
}

#[tokio::test]
async fn functions_run_as_an_owner_that_is_no_superuser_and_name_a_search_path() {
    let database = support::fresh_database().await;
    let careless = database
        .text(
            "SELECT string_agg(p.proname, ' ') FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles o ON o.oid = p.proowner
             WHERE n.nspname = 'gateway' AND (o.rolsuper OR NOT p.prosecdef
                OR p.proconfig IS DISTINCT FROM ARRAY['search_path=pg_catalog, pg_temp'])",
        )
        .await;
    assert_eq!(careless, "");
    let open = database
        .text(
            "SELECT string_agg(c.relname, ' ') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = 'gateway' AND c.relkind = 'v' AND NOT coalesce(c.reloptions @> '{security_barrier=true}', false)",
        )
        .await;
    assert_eq!(open, "");
}

#[tokio::test]
async fn temporary_objects_shadow_nothing() {
    let database = acme().await;
    let mut connection = database.as_role("mailroster_mta").acquire().await.expect("a connection");
    sqlx::raw_sql(
        "CREATE TEMP TABLE address_key (key text, address_id bigint);
         CREATE TEMP TABLE domain_key (key text, domain_id bigint);
         CREATE FUNCTION pg_temp.lower(text) RETURNS text LANGUAGE sql AS 'SELECT ''sales@acme.example''';
         CREATE FUNCTION pg_temp.strpos(text, text) RETURNS integer LANGUAGE sql AS 'SELECT 1/0';",
    )
    .execute(&mut *connection)
    .await
    .expect("temporary objects");
    let answers: Vec<Option<String>> = sqlx::query_scalar(
        "SELECT gateway.recipient_action_v1(a) FROM unnest(ARRAY['NOBODY@acme.example', 'SALES@acme.example']) WITH ORDINALITY u (a, n) ORDER BY n",
    )
    .fetch_all(&mut *connection)
    .await
    .expect("answers");
    assert!(answers[0].as_ref().is_some_and(|answer| answer.starts_with("550 5.1.1 ")), "{answers:?}");
    assert_eq!(answers[1], None);
}

#[tokio::test]
async fn sql_in_an_address_is_just_an_unknown_address() {
    let database = acme().await;
    let (mta, auth) = (database.as_role("mailroster_mta"), database.as_role("mailroster_auth"));
    for address in ["'; DROP TABLE mailroster.address; --@acme.example", "' OR true --@acme.example", "$$@acme.example", "\\'@acme.example"]
    {
        assert_eq!(action(&mta, address).await, "550 5.1.1", "{address}");
        sqlx::query("SELECT gateway.record_sender_v1($1)").bind(address).execute(&mta).await.expect("no error");
        wrong_password(&auth, address, 1).await;
    }
    assert_eq!(database.text("SELECT count(*) FROM mailroster.address").await, "2");
    assert_eq!(database.text("SELECT sum(count) FROM mailroster.unknown_address WHERE function = 'record_logon_v1'").await, "4");
}

/// V3.
#[tokio::test]
async fn before_the_first_complete_plan_views_and_the_recipient_check_raise_and_recording_works() {
    let database = acme().await;
    database.execute("UPDATE mailroster.installation SET answers_since = NULL").await;
    for (role, (views, _)) in granted() {
        let pool = database.as_role(role);
        for view in views {
            assert_eq!(ask(&pool, &format!("SELECT * FROM gateway.{view}")).await.unwrap_err(), NOT_READY, "{view}");
            // No condition spares the question. (`IS NULL` would prove nothing: Postgres 17 knows without asking that keys are not.)
            assert_eq!(
                ask(&pool, &format!("SELECT count(*) FROM gateway.{view} WHERE {view}::text = 'nothing'")).await.unwrap_err(),
                NOT_READY,
                "{view}"
            );
        }
    }
    let (mta, auth) = (database.as_role("mailroster_mta"), database.as_role("mailroster_auth"));
    assert_eq!(ask(&auth, "SELECT login FROM gateway.logon_v1 WHERE directory").await.unwrap_err(), NOT_READY);
    for address in ["sales@acme.example", "somebody@elsewhere.example"] {
        assert_eq!(code_of(&mta, &format!("SELECT gateway.recipient_action_v1('{address}')")).await, NOT_READY);
    }
    for recording in ["record_sender_v1('info@acme.example')", "record_held_v1('queue', '[]')", "retire_source_v1('queue')"] {
        assert_eq!(code_of(&mta, &format!("SELECT gateway.{recording}")).await, "", "{recording}");
    }
    wrong_password(&auth, "sales@acme.example", 1).await;
    assert_eq!(database.text("SELECT key FROM mailroster.learned_sender").await, "info@acme.example");
}

/// V1.
#[tokio::test]
async fn v1_each_mode_accepts_its_own() {
    let database = acme().await;
    let mta = database.as_role("mailroster_mta");
    for mode in ["Any", "Known", "Directory", "CallForward", "None"] {
        let domain = format!("{}.example", mode.to_lowercase());
        database
            .execute(&format!(
                "SELECT test.domain('{domain}', '{mode}'); SELECT test.address('manual@{domain}'); SELECT test.address('found@{domain}', 'Directory');
                 SELECT test.address('list@{domain}', 'DistributionList'); SELECT test.alias('of-manual@{domain}', 'manual@{domain}');
                 SELECT test.alias('of-found@{domain}', 'found@{domain}'); SELECT test.alias('of-sales@{domain}', 'sales@acme.example');"
            ))
            .await;
        let (unknown, deferred) = ("550 5.1.1", "451 4.1.1");
        // manual, found, list, of-manual, of-found, of-sales, an unknown one
        let expected = match mode {
            "Any" => [""; 7],
            "Known" => ["", "", "", "", "", "", unknown],
            "Directory" => [deferred, "", "", deferred, "", "", deferred],
            "CallForward" => ["", "", "", "", "", "", "reject_unverified_recipient"],
            _ => [unknown; 7],
        };
        let names = ["manual", "found", "list", "of-manual", "of-found", "of-sales", "nobody"];
        for (name, expected) in names.into_iter().zip(expected) {
            assert_eq!(action(&mta, &format!("{name}@{domain}")).await, expected, "{name}@{domain}");
            let listed = rows(&mta, &format!("SELECT 1 FROM gateway.recipient_v1 WHERE address = '{name}@{domain}'")).await.len() == 1;
            assert_eq!(listed, expected.is_empty() && name != "nobody", "{name}@{domain} in recipient_v1");
        }
    }
    assert_eq!(
        rows(&mta, "SELECT * FROM gateway.recipient_v1 WHERE domain = 'directory.example'").await,
        [
            "(found@directory.example,directory.example,mailbox)",
            "(list@directory.example,directory.example,list)",
            "(of-found@directory.example,directory.example,alias)",
            "(of-sales@directory.example,directory.example,alias)",
        ]
    );
    for nobodys in ["someone@elsewhere.example", "acme.example", "sales@", "@acme.example", ""] {
        assert_eq!(action(&mta, nobodys).await, "", "{nobodys:?}");
    }
}

/// V3: a new domain, and `unknownRecipients: Defer`.
#[tokio::test]
async fn unknown_recipients_are_deferred_while_a_domain_is_new_or_says_so() {
    let database = acme().await;
    let mta = database.as_role("mailroster_mta");
    database.execute("UPDATE mailroster.domain SET created_at = mailroster.now()").await;
    assert_eq!(action(&mta, "nobody@acme.example").await, "451 4.1.1");
    database.move_clock(3601).await;
    assert_eq!(action(&mta, "nobody@acme.example").await, "550 5.1.1");
    database.execute("UPDATE mailroster.domain SET unknown_recipients = 'Defer'").await;
    assert_eq!(action(&mta, "nobody@acme.example").await, "451 4.1.1");
    assert_eq!(action(&mta, "sales@acme.example").await, "");
}

/// V4.
#[tokio::test]
async fn a_sub_address_is_decided_by_what_stands_before_the_sign_unless_it_exists() {
    let database = acme().await;
    let mta = database.as_role("mailroster_mta");
    assert_eq!(action(&mta, "sales+news@acme.example").await, "550 5.1.1");
    database.execute("UPDATE mailroster.domain SET sub_addressing = '+'; SELECT test.address('a+b@acme.example');").await;
    for (address, expected) in [
        ("Sales+News@ACME.example", ""),
        ("sales.e+x+y@acme.example", ""),
        ("a+b@acme.example", ""),
        ("a+c@acme.example", "550 5.1.1"),
        ("+sales@acme.example", "550 5.1.1"),
    ] {
        assert_eq!(action(&mta, address).await, expected, "{address}");
    }
}

/// V4.
#[tokio::test]
async fn postmaster_and_abuse_stand_for_themselves_or_for_the_domains_postmaster_or_are_deferred() {
    let database = acme().await;
    let mta = database.as_role("mailroster_mta");
    assert_eq!(action(&mta, "postmaster@acme.example").await, "451 4.1.1");
    assert_eq!(rows(&mta, "SELECT * FROM gateway.alias_v1 WHERE alias LIKE 'abuse@%'").await, [""; 0]);

    database.execute("UPDATE mailroster.domain SET postmaster = 'sales@acme.example'").await;
    for name in ["postmaster", "abuse"] {
        assert_eq!(action(&mta, &format!("{name}@acme.example")).await, "");
        let alias = rows(&mta, &format!("SELECT * FROM gateway.alias_v1 WHERE alias = '{name}@acme.example'")).await;
        assert_eq!(alias, [format!("({name}@acme.example,sales@acme.example)")]);
        let recipient = rows(&mta, &format!("SELECT * FROM gateway.recipient_v1 WHERE address = '{name}@acme.example'")).await;
        assert_eq!(recipient, [format!("({name}@acme.example,acme.example,alias)")]);
    }
    // A target that takes no mail, is gone or is somebody else's is none.
    for spoil in [
        "UPDATE mailroster.address SET closing = true WHERE canonical = 'sales@acme.example'",
        "UPDATE mailroster.domain SET postmaster = 'gone@acme.example'",
        "UPDATE mailroster.domain SET postmaster = 'info@globex.example'",
        // Its primary is closing.
        "UPDATE mailroster.domain SET postmaster = 'sales.e@acme.example'; UPDATE mailroster.address SET closing = canonical LIKE 'sales@%'",
    ] {
        database
            .execute(
                "INSERT INTO mailroster.domain (name, namespace, recipient_validation, unknown_recipients, learn_senders)
                 VALUES ('globex.example', 'globex', 'Known', 'Reject', true) ON CONFLICT DO NOTHING;
                 INSERT INTO mailroster.address (canonical, display, domain_id, namespace, origin)
                 SELECT 'info@globex.example', '', id, namespace, 'Manual' FROM mailroster.domain WHERE namespace = 'globex' ON CONFLICT DO NOTHING;",
            )
            .await;
        database.execute(spoil).await;
        assert_eq!(action(&mta, "postmaster@acme.example").await, "451 4.1.1", "{spoil}");
        for (view, first) in [("alias_v1", "alias"), ("recipient_v1", "address")] {
            let found =
                rows(&mta, &format!("SELECT * FROM gateway.{view} WHERE {first} IN ('postmaster@acme.example', 'abuse@acme.example')"))
                    .await;
            assert_eq!(found, [""; 0], "{spoil}");
        }
        database
            .execute("UPDATE mailroster.address SET closing = false; UPDATE mailroster.domain SET postmaster = 'sales@acme.example'")
            .await;
        assert_eq!(action(&mta, "abuse@acme.example").await, "");
    }
    database.execute("SELECT test.address('abuse@acme.example')").await;
    assert_eq!(rows(&mta, "SELECT * FROM gateway.alias_v1 WHERE alias = 'abuse@acme.example'").await, [""; 0]);
    let recipient = rows(&mta, "SELECT kind FROM gateway.recipient_v1 WHERE address = 'abuse@acme.example'").await;
    assert_eq!(recipient, ["(mailbox)"]);
}

/// A1: every spelling that has a key, in either case.
#[tokio::test]
async fn an_address_is_found_under_all_its_keys() {
    let database = acme().await;
    let mta = database.as_role("mailroster_mta");
    database
        .execute(
            "SELECT test.domain('xn--bcher-kva.example'); SELECT test.address('jürgen@xn--bcher-kva.example');
             INSERT INTO mailroster.domain_key (key, domain_id) SELECT 'bücher.example', id FROM mailroster.domain WHERE name LIKE 'xn--%';
             INSERT INTO mailroster.address_key (key, address_id) SELECT 'jürgen@bücher.example', id FROM mailroster.address WHERE canonical LIKE 'j%';",
        )
        .await;
    // The last one is decomposed: u and a combining diaeresis.
    for spelling in
        ["jürgen@xn--bcher-kva.example", "jürgen@bücher.example", "JÜRGEN@BÜCHER.example", "ju\u{308}rgen@bu\u{308}cher.example"]
    {
        assert_eq!(action(&mta, spelling).await, "", "{spelling}");
    }
    assert_eq!(action(&mta, "nobody@bücher.example").await, "550 5.1.1");
    assert_eq!(
        rows(&mta, "SELECT * FROM gateway.sender_v1 WHERE sender LIKE 'j%'").await,
        ["(jürgen@bücher.example,jürgen@xn--bcher-kva.example)", "(jürgen@xn--bcher-kva.example,jürgen@xn--bcher-kva.example)"]
    );
}

/// U2.
#[tokio::test]
async fn an_address_that_is_only_waiting_for_held_mail_takes_no_new_mail_and_opens_no_logon() {
    let database = acme().await;
    let (mta, auth) = (database.as_role("mailroster_mta"), database.as_role("mailroster_auth"));
    database.execute(&format!("SELECT test.password('sales@acme.example', '{PHC}')")).await;
    assert_eq!(rows(&auth, "SELECT login FROM gateway.credential_v1").await, ["(sales@acme.example)"]);
    database.execute("UPDATE mailroster.address SET closing = true WHERE canonical = 'sales@acme.example'").await;
    for mode in ["Known", "Any", "CallForward"] {
        database.execute(&format!("UPDATE mailroster.domain SET recipient_validation = '{mode}'")).await;
        for address in ["sales@acme.example", "sales.e@acme.example"] {
            assert_eq!(action(&mta, address).await, "550 5.1.1", "{address} with {mode}");
        }
    }
    for (pool, view) in [(&mta, "recipient_v1"), (&mta, "alias_v1"), (&mta, "sender_v1"), (&auth, "logon_v1"), (&auth, "credential_v1")] {
        assert_eq!(rows(pool, &format!("SELECT * FROM gateway.{view}")).await, [""; 0], "{view}");
    }
    assert_eq!(rows(&mta, "SELECT * FROM gateway.mailbox_v1").await, ["(sales@acme.example)"], "held mail must find its mailbox");
}

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
    assert_eq!(subjects(&database).await, ["address sales@acme.example"]);
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
    assert_eq!(subjects(&database).await, ["address sales@acme.example"]);
    assert!(!code(true).await);
    database.move_clock(1_000_000).await;
    assert!(!code(true).await, "time does not open it");
    assert_eq!(rows(&auth, "SELECT login FROM gateway.logon_v1").await, ["(sales@acme.example)"]);
    database.execute("UPDATE mailroster.address SET codes_reset_at = mailroster.now() WHERE canonical = 'sales@acme.example'").await;
    assert!(code(false).await);
}

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
    assert_eq!(subjects(&database).await, ["address sales.e@acme.example", "address sales@acme.example"]);

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
    assert_eq!(subjects(&database).await, ["address sales.e@acme.example", "address sales@acme.example", "domain acme.example"]);
    report("[]").await;
    assert_eq!(subjects(&database).await, [""; 0], "one report after the request is enough");

    report(both).await;
    subjects(&database).await;
    sqlx::query("SELECT gateway.retire_source_v1('mx1')").execute(&mta).await.expect("retired");
    assert_eq!(subjects(&database).await, ["address sales.e@acme.example", "address sales@acme.example", "domain acme.example"]);
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
    assert_eq!(subjects(&database).await, ["address sales@acme.example"]);
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

/// M3, R4.
#[tokio::test]
async fn archives_are_read_by_owners_and_delegates_and_administrators_are_listed() {
    let database = acme().await;
    let archive = database.as_role("mailroster_archive");
    database
        .execute(
            "SELECT test.address('info@acme.example'); UPDATE mailroster.address SET archive_start = '2026-01-01' WHERE canonical = 'info@acme.example';
             INSERT INTO mailroster.delegation (reader_id, mailbox_id, namespace)
             SELECT r.id, m.id, 'acme' FROM mailroster.address r, mailroster.address m WHERE r.canonical = 'sales@acme.example' AND m.canonical = 'info@acme.example';
             INSERT INTO mailroster.role (namespace, name, owned, permissions) VALUES ('acme', 'readers', true, '{addresses.read,content.read}');
             INSERT INTO mailroster.role_member (address_id, role_id, namespace)
             SELECT a.id, r.id, 'acme' FROM mailroster.address a, mailroster.role r WHERE a.canonical = 'sales@acme.example';",
        )
        .await;
    let read = "SELECT mailbox, extract(epoch FROM visible_from)::bigint, includes_private, includes_confidential
        FROM gateway.archive_reader_v1 WHERE reader = 'sales@acme.example'";
    let own = ["(sales.e@acme.example,,t,t)", "(sales@acme.example,,t,t)"];
    assert_eq!(rows(&archive, read).await, ["(info@acme.example,1767225600,f,t)", own[0], own[1]]);
    database
        .execute("INSERT INTO mailroster.settings VALUES ('acme', 'default', 12, true, true, true, false, 0, 5, 5, 900, 10, 3600, true, 10, 10, true)")
        .await;
    assert_eq!(rows(&archive, read).await, ["(info@acme.example,1767225600,f,f)", own[0], own[1]]);
    assert_eq!(
        rows(&archive, "SELECT * FROM gateway.administrator_v1").await,
        ["(sales@acme.example,acme,addresses.read)", "(sales@acme.example,acme,content.read)"]
    );
    database.execute("DELETE FROM mailroster.delegation; DELETE FROM mailroster.role_member;").await;
    assert_eq!(rows(&archive, read).await, own);
    assert_eq!(rows(&archive, "SELECT * FROM gateway.administrator_v1").await, [""; 0]);
}

/// SPEC 14: no lookup reads a table from end to end, and V3 is checked once, before the first row.
#[tokio::test]
async fn an_equality_on_the_first_column_reaches_every_table_by_an_index() {
    let database = support::fresh_database().await;
    // Each table is large: of a small one the planner rightly reads the only page.
    database
        .execute(
            "SET mailroster.own_write = on; SET session_replication_role = replica;
             INSERT INTO mailroster.domain (name, namespace, recipient_validation, unknown_recipients, learn_senders, postmaster)
             SELECT 'd' || n || '.example', 'n' || n, 'Known', 'Reject', true, 'u0@d' || n || '.example' FROM generate_series(1, 2000) n;
             INSERT INTO mailroster.domain_key (key, domain_id) SELECT name, id FROM mailroster.domain;
             INSERT INTO mailroster.settings
             SELECT namespace, 'default', 12, true, true, true, false, 30, 5, 5, 900, 10, 3600, true, 10, 10, false FROM mailroster.domain;
             INSERT INTO mailroster.address (canonical, display, domain_id, namespace, is_alias, origin)
             SELECT 'u' || n || '@' || d.name, '', d.id, d.namespace, n % 4 = 3, 'Manual' FROM mailroster.domain d, generate_series(0, 99) n;
             INSERT INTO mailroster.address_key (key, address_id) SELECT canonical, id FROM mailroster.address;
             INSERT INTO mailroster.link (alias_id, primary_id, namespace, origin, made_row)
             SELECT a.id, p.id, a.namespace, 'Declared', true FROM mailroster.address a
             JOIN mailroster.address p ON p.canonical = 'u0@d' || substring(a.namespace FROM 2) || '.example' WHERE a.is_alias;
             INSERT INTO mailroster.delegation (reader_id, mailbox_id, namespace)
             SELECT a.id, p.primary_id, a.namespace FROM mailroster.address a
             JOIN (SELECT DISTINCT primary_id, namespace FROM mailroster.link) p ON p.namespace = a.namespace WHERE NOT a.is_alias AND a.id <> p.primary_id;
             INSERT INTO mailroster.role (namespace, name, owned, permissions) SELECT namespace, 'readers', true, '{content.read}' FROM mailroster.domain;
             INSERT INTO mailroster.role_member (address_id, role_id, namespace)
             SELECT a.id, r.id, a.namespace FROM mailroster.address a JOIN mailroster.role r ON r.namespace = a.namespace WHERE NOT a.is_alias;
             INSERT INTO mailroster.credential (address_id, phc, fingerprint, key_id, force_change, never_expires)
             SELECT id, 'x', '', 'k', false, false FROM mailroster.address WHERE NOT is_alias;
             INSERT INTO mailroster.user_password (address_id, phc) SELECT id, 'y' FROM mailroster.address WHERE NOT is_alias;
             INSERT INTO mailroster.logon (address_id) SELECT id FROM mailroster.address WHERE NOT is_alias;
             UPDATE mailroster.installation SET answers_since = mailroster.now(), recognised_run = pg_postmaster_start_time();
             RESET mailroster.own_write; RESET session_replication_role;
             ANALYZE;",
        )
        .await;
    for (role, (views, _)) in granted() {
        let pool = database.as_role(role);
        for view in views {
            let first: String = sqlx::query_scalar("SELECT attname::text FROM pg_attribute WHERE attrelid = $1::regclass AND attnum = 1")
                .bind(format!("gateway.{view}"))
                .fetch_one(&database.pool)
                .await
                .expect("a first column");
            // As a mail server asks; and as Postfix before 3.8 must, which passes UTF-8 off as LATIN1.
            for asked in ["'u7@d7.example'", "convert_from(convert_to('u7@d7.example', 'LATIN1'), 'UTF8') COLLATE \"default\""] {
                let explain = format!("EXPLAIN (FORMAT JSON, COSTS false) SELECT * FROM gateway.{view} WHERE {first} = {asked}");
                let plan: serde_json::Value = sqlx::query_scalar(AssertSqlSafe(explain)).fetch_one(&pool).await.expect("a plan");
                let plan = plan.to_string();
                assert!(!plan.contains("\"Seq Scan\""), "{view}: {plan}");
                assert!(plan.contains("\"One-Time Filter\":\"gateway.answers()\""), "{view}: {plan}");
                assert!(plan.contains("\"Index Cond\":\"(key = "), "{view}: {plan}");
            }
        }
    }
}
