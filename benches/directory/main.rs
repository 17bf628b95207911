//! What synchronising a directory costs on the real servers: a first run, a full run without changes, incremental ones, each beside the
//! floor measured in the same run: `ldapsearch` of the same attributes by pages, and Postgres `COPY` of the same rows, audit included, into
//! tables with the same indexes. Meanwhile single resources are applied.
//!
//! `cargo bench --bench directory`, or `make bench`; 100,000 users with two aliases each, `QUICK=1` with 5,000; the incremental runs also
//! with 1,000, and as root of a Samba domain controller. Asserts nothing: a figure
//! that misses its target says so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark that can't run has failed"
)]

mod floor;
mod increments;
#[path = "../controller/report.rs"]
#[allow(dead_code, reason = "the controller's benchmark uses more of it")]
mod report;
mod source;
mod stage;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use report::{Row, median, milliseconds, seconds, table};
use source::{ALL, HALF, Source};
use stage::Stage;
use support::folder;
use support::postgres::{DURABLE, Postgres};
use support::resources::API_VERSION;

#[tokio::main]
async fn main() {
    let users = if std::env::var_os("QUICK").is_some() { 5_000 } else { 100_000 };
    // pg_ldap_sync makes all its roles in one transaction, each under a lock.
    let settings = [&DURABLE[..], &["max_locks_per_transaction=2048"]].concat();
    let postgres = Postgres::start_with(folder::run(), &settings).await;
    println!("{}", table(&increments::of_few(&postgres).await));
    let source = Source::open_ldap(folder::run(), users).await;
    println!("{}", table(&whole(&postgres, &source, users).await));
    println!("{}", table(&half(&postgres, &source, users / 2).await));
}

async fn whole(postgres: &Postgres, source: &Source, users: usize) -> Vec<Row> {
    let mut stage = Stage::set(postgres).await;
    let search = source.search(ALL);
    let before = stage.memory();
    let (mut slowest, mut slowest_answer, mut peak, mut count) = (Duration::ZERO, Duration::ZERO, before, 0);
    let meanwhile = async || {
        // One address at a time, as somebody at a keyboard does.
        let asked = Instant::now();
        let name = format!("hand{count}");
        let yaml = format!(
            "---\napiVersion: {API_VERSION}\nkind: EmailAddress\nmetadata: {{name: {name}}}\nspec: {{address: {name}@acme.example}}\n"
        );
        stage.cluster.apply(&stage.namespace, &yaml).await;
        stage.cluster.wait_ready("EmailAddress", &stage.namespace, &name).await;
        slowest = slowest.max(asked.elapsed());
        // A mail server's question about one of those who are being written.
        let asked = Instant::now();
        let answer = format!("SELECT coalesce(gateway.recipient_action_v1('u{count}@acme.example'), 'accepted')");
        stage.database.text(&answer).await;
        slowest_answer = slowest_answer.max(asked.elapsed());
        peak = peak.max(stage.memory());
        count += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let first = stage.first_run(source, ALL, meanwhile).await;
    let copy = floor::copy(&stage.database).await;
    let floor = search + copy;
    let mut rows = vec![
        Row::told(format!("first run, {users} users and {} addresses", users * 3), seconds(first))
            .beside(format!("{} search, {} COPY", seconds(search), seconds(copy)), first.as_secs_f64() / floor.as_secs_f64())
            .wanted("at most 3.00", first <= floor * 3),
        Row::told("memory above the start meanwhile, at the most", format!("{:.0} MB", (peak - before) as f64 / 1e6))
            .wanted("at most 150 MB", peak - before <= 150_000_000),
        Row::told(format!("one address applied meanwhile, the slowest of {count}"), seconds(slowest))
            .wanted("under 2 s", slowest < Duration::from_secs(2)),
        Row::told(format!("a mail server's question meanwhile, the slowest of {count}"), milliseconds(slowest_answer))
            .wanted("under 100 ms", slowest_answer < Duration::from_millis(100)),
    ];
    let (mut full, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        bare.push(source.search(ALL));
        full.push(stage.run("Full").await);
    }
    let (full, bare) = (median(full).expect("runs"), median(bare).expect("runs"));
    rows.push(
        Row::told("full run without changes, median of 3", seconds(full))
            .beside(seconds(bare), full.as_secs_f64() / bare.as_secs_f64())
            .wanted("at most 1.50", full.as_secs_f64() <= bare.as_secs_f64() * 1.5),
    );
    rows.extend(increments::of(&mut stage, source, &format!("{users} users"), "SyncRepl").await);
    rows
}

/// A first run of half the users, beside pg_ldap_sync (Debian's ruby-pg-ldap-sync), which makes a Postgres role of each of them and nothing
/// besides, where it is installed.
async fn half(postgres: &Postgres, source: &Source, users: usize) -> Vec<Row> {
    let stage = Stage::set(postgres).await;
    let ours = stage.first_run(source, HALF, async || tokio::time::sleep(Duration::from_millis(100)).await).await;
    let row = Row::told(format!("first run, {users} users and {} addresses", users * 3), seconds(ours));
    vec![match floor::pg_ldap_sync(source, postgres, &stage.database).await {
        Some(theirs) => row.beside(format!("{} pg_ldap_sync, users alone", seconds(theirs)), ours.as_secs_f64() / theirs.as_secs_f64()),
        None => row,
    }]
}
