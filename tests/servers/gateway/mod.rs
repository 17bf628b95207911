//! Schema `gateway` as mail servers meet it (SPEC 14): with their own roles, on a real Postgres. Here is what the files below share.

mod archives;
mod logons;
mod plans;
mod queues;
mod recipients;
mod rights;

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
