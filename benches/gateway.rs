//! What mail servers' questions cost at a million addresses: each view and `recipient_action_v1` by pgbench, beside a bare select by
//! primary key of the table that every one of them begins with, measured right before it.
//!
//! `cargo bench --bench gateway`, or `make bench`; `QUICK=1` with a twentieth of the rows, to see whether everything works. Asserts
//! nothing: a figure that misses its target says so.
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

#[path = "controller/report.rs"]
#[allow(dead_code, reason = "the controller's benchmark uses more of it")]
mod report;
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;

use report::{Row, median, table};
use support::postgres::{DURABLE, Postgres};
use support::{Database, folder, roster, tools};

/// At least this share of the bare select's rate.
const WANTED: f64 = 0.5;
/// Each question and its baseline are measured that often, one after the other; the median ratio counts.
const ROUNDS: usize = 7;
const SECONDS: u32 = 3;

/// Addresses as a mail server asks for them: of mailboxes and aliases alike, at random.
const KNOWN: &str = "'u' || :n || '@d' || :d || '.example'";
const BARE: (&str, &str) = ("a bare select", "SELECT address_id FROM mailroster.address_key WHERE key = ADDRESS");
const QUESTIONS: [(&str, &str); 12] = [
    ("recipient_action_v1", "SELECT gateway.recipient_action_v1(ADDRESS)"),
    ("recipient_action_v1, unknown", "SELECT gateway.recipient_action_v1('nobody.' || ADDRESS)"),
    ("domain_v1", "SELECT * FROM gateway.domain_v1 WHERE domain = 'd' || :d || '.example'"),
    ("recipient_v1", "SELECT * FROM gateway.recipient_v1 WHERE address = ADDRESS"),
    ("alias_v1", "SELECT * FROM gateway.alias_v1 WHERE alias = ADDRESS"),
    ("sender_v1", "SELECT * FROM gateway.sender_v1 WHERE sender = ADDRESS"),
    ("logon_v1", "SELECT * FROM gateway.logon_v1 WHERE login = ADDRESS"),
    ("credential_v1", "SELECT * FROM gateway.credential_v1 WHERE login = ADDRESS"),
    ("credential_change_v1", "SELECT * FROM gateway.credential_change_v1 WHERE login = ADDRESS"),
    ("mailbox_v1", "SELECT * FROM gateway.mailbox_v1 WHERE mailbox = ADDRESS"),
    ("archive_reader_v1", "SELECT * FROM gateway.archive_reader_v1 WHERE reader = ADDRESS"),
    ("administrator_v1", "SELECT * FROM gateway.administrator_v1 WHERE login = ADDRESS"),
];

#[tokio::main]
async fn main() {
    let (domains, each) = if std::env::var_os("QUICK").is_some() { (2_000, 25) } else { (2_500, 400) };
    // Room for all of it in memory, as a mail server's roster has: what is measured is the work, not the disk.
    let settings = [&DURABLE[..], &["shared_buffers=1GB"]].concat();
    let postgres = Postgres::start_with(folder::run(), &settings).await;
    let database = postgres.fresh_database().await;
    roster::fill(&database, domains, each).await;
    let scripts = folder::own("scripts");
    let script = |(what, sql): &(&str, &str)| {
        let file = scripts.join(what.replace([' ', ','], "-"));
        let text = format!("\\set n random(0, {})\n\\set d random(1, {domains})\n{};\n", each - 1, sql.replace("ADDRESS", KNOWN));
        std::fs::write(&file, text).expect("write a script");
        file
    };
    let bare = script(&BARE);
    // Everything has been read once before anything is measured.
    database.execute("CREATE EXTENSION pg_prewarm").await;
    database
        .execute(
            "SELECT sum(pg_prewarm(c.oid)) FROM pg_class c WHERE c.relnamespace = 'mailroster'::regnamespace AND c.relkind IN ('r', 'i')",
        )
        .await;

    println!("{} addresses in {domains} domains; transactions a second by pgbench -M prepared -c 2\n", domains * each);
    let mut rows = Vec::new();
    for question in &QUESTIONS {
        let file = script(question);
        rate(&database, &file, 1).await;
        let mut measured = Vec::new();
        for _ in 0..ROUNDS {
            let baseline = rate(&database, &bare, SECONDS).await;
            measured.push((rate(&database, &file, SECONDS).await, baseline));
        }
        let ratio = median(measured.iter().map(|(rate, baseline)| rate / baseline).collect()).expect("rounds");
        let of = |pick: fn(&(f64, f64)) -> f64| {
            median(measured.iter().map(pick).collect()).map_or_else(String::new, |rate| format!("{rate:.0}/s"))
        };
        let row = Row::told(question.0, of(|pair| pair.0)).beside(of(|pair| pair.1), ratio);
        rows.push(row.wanted(format!("at least {WANTED}"), ratio >= WANTED));
    }
    println!("{}", table(&rows));
}

/// Transactions a second.
async fn rate(database: &Database, script: &Path, seconds: u32) -> f64 {
    let mut pgbench = tokio::process::Command::new(tools::postgres("pgbench"));
    pgbench.args(["-n", "-M", "prepared", "-c", "2", "-T", &seconds.to_string(), "-f"]).arg(script).arg(&database.url);
    let output = pgbench.output().await.expect("pgbench");
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    rate.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}
