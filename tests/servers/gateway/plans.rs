//! How Postgres answers: each lookup by an index, at any size (SPEC 14).

use super::{Names, granted};
use crate::support::{self, Database, roster};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::BTreeMap;

/// The normal suite looks at 200,000 addresses, the long one at a million too: the plans must be the same, and are by what each
/// part of them does. Every table is reached by an index with a condition that is known by then, so no part's work depends on its table's
/// size, and what decides between plans, one row against all, only grows with it.
fn sizes() -> Vec<(u32, u32)> {
    support::scale(vec![(2_000, 100)], vec![(2_000, 100), (2_500, 400)])
}

/// Keys of each sort: a mailbox, an alias, a stand-in, one that is no more, and somebody else's.
const KEYS: [&str; 5] = ["u4@d7.example", "u7@d7.example", "postmaster@d7.example", "nobody@d7.example", "u4@elsewhere.example"];

async fn first_column(database: &Database, view: &str) -> String {
    let sql = "SELECT attname::text FROM pg_attribute WHERE attrelid = $1::regclass AND attnum = 1";
    sqlx::query_scalar(sql).bind(format!("gateway.{view}")).fetch_one(&database.pool).await.expect("a first column")
}

async fn plan(connection: &mut PgConnection, statement: &str) -> Value {
    let explain = format!("EXPLAIN (FORMAT JSON, COSTS false) {statement}");
    sqlx::query_scalar(AssertSqlSafe(explain)).fetch_one(connection).await.expect("a plan")
}

/// Each node of a plan that reads a table.
fn scans<'a>(plan: &'a Value, found: &mut Vec<&'a Value>) {
    if plan["Relation Name"].is_string() {
        found.push(plan);
    }
    for child in plan.as_object().into_iter().flat_map(|node| node.values()).chain(plan.as_array().into_iter().flatten()) {
        scans(child, found);
    }
}

/// Fails unless the plan asks V3 once, first, and reads each table by an index; the one row of installation is all there is of it.
fn assert_by_index(plan: &Value, view: &str) {
    let mut tables = Vec::new();
    scans(plan, &mut tables);
    assert!(tables.len() > 1, "{plan}");
    for scan in tables {
        let by_index = matches!(scan["Node Type"].as_str(), Some("Index Scan" | "Index Only Scan")) && scan["Index Cond"].is_string();
        assert!(by_index || scan["Relation Name"] == "installation", "{view}: {scan:#}");
    }
    let top = &plan[0]["Plan"];
    assert!(top["One-Time Filter"].as_str().is_some_and(|filter| filter.ends_with("gateway.answers())")), "{view}: {plan:#}");
    assert!(plan.to_string().contains("\"Index Cond\":\"(key = "), "{view}: {plan:#}");
}

/// SPEC 14: no lookup reads a table from end to end, and V3 is checked once, before the first row.
#[tokio::test]
async fn an_equality_on_the_first_column_reaches_every_table_by_an_index() {
    let mut before: BTreeMap<String, Value> = BTreeMap::new();
    for (domains, each) in sizes() {
        let database = support::fresh_database().await;
        roster::fill(&database, domains, each).await;
        for (role, (views, _)) in granted() {
            let mut connection = database.as_role(role).acquire().await.expect("a connection");
            for view in views {
                let first = first_column(&database, view).await;
                // As a mail server asks, with a statement of its own or a prepared one; and as Postfix before 3.8 must, which passes
                // UTF-8 off as LATIN1.
                let prepared = format!(
                    "SET plan_cache_mode = force_generic_plan; PREPARE {view}(text) AS SELECT * FROM gateway.{view} WHERE {first} = $1"
                );
                sqlx::raw_sql(AssertSqlSafe(prepared)).execute(&mut *connection).await.expect("prepared");
                for asked in [
                    format!("SELECT * FROM gateway.{view} WHERE {first} = 'u7@d7.example'"),
                    format!("SELECT * FROM gateway.{view} WHERE {first} = 'postmaster@d7.example'"),
                    format!(
                        "SELECT * FROM gateway.{view} WHERE {first} = convert_from(convert_to('u7@d7.example', 'LATIN1'), 'UTF8') COLLATE \"default\""
                    ),
                    format!("EXECUTE {view}('u7@d7.example')"),
                ] {
                    let found = plan(&mut connection, &asked).await;
                    assert_by_index(&found, view);
                    let smaller = before.insert(format!("{role} {asked}"), found.clone());
                    assert!(smaller.is_none_or(|smaller| smaller == found), "{asked}: another plan at another size: {found:#}");
                }
            }
        }
        reads_few_rows(&database).await;
    }
}

/// Rows that this connection has read of each table, and its scans of all of one; what is not sent to the statistics yet.
async fn read(connection: &mut PgConnection) -> BTreeMap<String, (i64, i64)> {
    let sql = "SELECT relname::text, seq_scan, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE schemaname = 'mailroster'";
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(sql).fetch_all(connection).await.expect("statistics");
    rows.into_iter().map(|(table, whole, rows)| (table, (whole, rows))).collect()
}

/// The same by count, for views and for the function, whose plans EXPLAIN does not show. Ten times each: Postgres takes a generic plan from
/// the sixth on.
async fn reads_few_rows(database: &Database) {
    const ROUNDS: u32 = 10;
    let mut lookups = vec![("recipient_action_v1".to_owned(), "SELECT gateway.recipient_action_v1($1)".to_owned())];
    let views: Names = granted().into_values().flat_map(|(views, _)| views).collect();
    for view in views {
        let first = first_column(database, view).await;
        lookups.push((view.to_owned(), format!("SELECT * FROM gateway.{view} WHERE {first} = $1")));
    }
    for (what, sql) in lookups {
        for key in KEYS.iter().copied().chain(["U4+news@D7.example", "ABUSE@d7.example", "d7.example"]) {
            let mut transaction = database.pool.begin().await.expect("begin");
            let before = read(&mut transaction).await;
            for _ in 0..ROUNDS {
                sqlx::query(AssertSqlSafe(sql.clone())).bind(key).fetch_all(&mut *transaction).await.expect("an answer");
            }
            for (table, after) in read(&mut transaction).await {
                let before = before.get(&table).copied().unwrap_or_default();
                let (whole, rows) = (after.0 - before.0, after.1 - before.1);
                assert!(whole == 0 || table == "installation", "{what} reads all of {table} for {key}");
                assert!(rows <= i64::from(ROUNDS) * 12, "{what} reads {rows} rows of {table} for {key} in {ROUNDS} lookups");
            }
        }
    }
}
