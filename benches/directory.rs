//! What synchronising a directory costs on the real servers: a first run, a full run without changes, an incremental one, each beside the
//! floor measured in the same run: `ldapsearch` of the same attributes by pages, and Postgres `COPY` of the same rows, audit included, into
//! tables with the same indexes. Meanwhile single resources are applied.
//!
//! `cargo bench --bench directory`, or `make bench`; 100,000 users with two aliases each, `QUICK=1` with 5,000. Asserts nothing: a figure
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

#[path = "controller/report.rs"]
#[allow(dead_code, reason = "the controller's benchmark uses more of it")]
mod report;
#[path = "../tests/support/mod.rs"]
mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use report::{Row, median, seconds, table};
use support::postgres::{DURABLE, Postgres};
use support::resources::API_VERSION;
use support::{Database, Operator, Slapd, folder, slapd};

const DOMAIN: &str =
    "---\napiVersion: mailroster.dev/v1alpha1\nkind: InternalDomain\nmetadata: {name: acme}\nspec: {domain: acme.example}\n";
/// Finds half of the users.
const HALF: &str = "(&(objectClass=user)(department=half))";
/// Tables that a run fills.
const TABLES: [&str; 5] = ["address", "address_key", "link", "entry", "audit"];
const LONG: Duration = Duration::from_mins(20);

#[tokio::main]
async fn main() {
    let users = if std::env::var_os("QUICK").is_some() { 5_000 } else { 100_000 };
    let cluster = support::control_plane().await;
    // pg_ldap_sync makes all its roles in one transaction, each under a lock.
    let settings = [&DURABLE[..], &["max_locks_per_transaction=2048"]].concat();
    let postgres = Postgres::start_with(folder::run(), &settings).await;
    let database = postgres.fresh_database().await;
    let namespace = cluster.fresh_namespace().await;
    let slapd = Slapd::start_with(folder::run(), &people(users)).await;
    let operator = Operator::start(&database, &[&namespace]).await;
    cluster.apply(&namespace, DOMAIN).await;
    cluster.wait_ready("InternalDomain", &namespace, "acme").await;

    let search = ldapsearch(&slapd);
    let before = memory(operator.pid());
    let begun = Instant::now();
    cluster.apply(&namespace, &connection(&slapd)).await;
    let mut slowest = Duration::ZERO;
    let mut peak = before;
    let mut count = 0;
    while run(&database).await == 0 {
        // One address at a time, as somebody at a keyboard does.
        let asked = Instant::now();
        let name = format!("hand{count}");
        let yaml = format!(
            "---\napiVersion: {API_VERSION}\nkind: EmailAddress\nmetadata: {{name: {name}}}\nspec: {{address: {name}@acme.example}}\n"
        );
        cluster.apply(&namespace, &yaml).await;
        cluster.wait_ready("EmailAddress", &namespace, &name).await;
        slowest = slowest.max(asked.elapsed());
        peak = peak.max(memory(operator.pid()));
        count += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(begun.elapsed() < LONG, "{}", operator.tail());
    }
    let first = took(&database).await;
    let copy = copy(&database).await;
    let floor = search + copy;
    let mut rows = vec![
        Row::told(format!("first run, {users} users and {} addresses", users * 3), seconds(first))
            .beside(format!("{} search, {} COPY", seconds(search), seconds(copy)), first.as_secs_f64() / floor.as_secs_f64())
            .wanted("at most 3.00", first <= floor * 3),
        Row::told("memory above the start meanwhile, at the most", format!("{:.0} MB", (peak - before) as f64 / 1e6))
            .wanted("at most 150 MB", peak - before <= 150_000_000),
        Row::told(format!("one address applied meanwhile, the slowest of {count}"), seconds(slowest))
            .wanted("under 2 s", slowest < Duration::from_secs(2)),
    ];
    let (mut full, mut bare) = (Vec::new(), Vec::new());
    for n in 0..3 {
        bare.push(ldapsearch(&slapd));
        full.push(again(&database, cluster, &namespace, &format!("full-{n}"), "Full").await);
    }
    let (full, bare) = (median(full).expect("runs"), median(bare).expect("runs"));
    rows.push(
        Row::told("full run without changes, median of 3", seconds(full))
            .beside(seconds(bare), full.as_secs_f64() / bare.as_secs_f64())
            .wanted("at most 1.50", full.as_secs_f64() <= bare.as_secs_f64() * 1.5),
    );
    let mut incremental = Vec::new();
    again(&database, cluster, &namespace, "auto", "Auto").await;
    for n in 0..5 {
        incremental.push(again(&database, cluster, &namespace, &format!("auto-{n}"), "Auto").await);
    }
    let incremental = median(incremental).expect("runs");
    rows.push(
        Row::told("incremental run without changes, median of 5", format!("{} ms", incremental.as_millis()))
            .wanted("under 50 ms", incremental < Duration::from_millis(50)),
    );
    println!("{}", table(&rows));
    println!("{}", table(&half(&postgres, &slapd, users / 2).await));
}

/// A first run of half the users, beside pg_ldap_sync (Debian's ruby-pg-ldap-sync), which makes a Postgres role of each of them and nothing
/// besides, where it is installed.
async fn half(postgres: &Postgres, slapd: &Slapd, users: usize) -> Vec<Row> {
    let (cluster, database) = (support::control_plane().await, postgres.fresh_database().await);
    let namespace = cluster.fresh_namespace().await;
    let _operator = Operator::start(&database, &[&namespace]).await;
    cluster.apply(&namespace, DOMAIN).await;
    cluster.wait_ready("InternalDomain", &namespace, "acme").await;
    cluster.apply(&namespace, &connection(slapd).replace("(objectClass=user)", HALF)).await;
    let begun = Instant::now();
    while run(&database).await == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(begun.elapsed() < LONG, "half a run");
    }
    let ours = took(&database).await;
    let row = Row::told(format!("first run, {users} users and {} addresses", users * 3), seconds(ours));
    vec![match pg_ldap_sync(slapd, postgres, &database).await {
        Some(theirs) => row.beside(format!("{} pg_ldap_sync, users alone", seconds(theirs)), ours.as_secs_f64() / theirs.as_secs_f64()),
        None => row,
    }]
}

/// How long pg_ldap_sync takes for the same users; None: it is not installed, or fails.
async fn pg_ldap_sync(slapd: &Slapd, postgres: &Postgres, database: &Database) -> Option<Duration> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pg_ldap_sync.yaml");
    let socket = postgres.socket();
    let (host, name) = (socket.parent().expect("its folder").display(), &database.name);
    let configuration = format!(
        "ldap_connection:
  host: 127.0.0.1
  port: {}
  auth:
    method: :simple
    username: cn=sync,{suffix}
    password: {password}
ldap_users:
  base: ou=people,{suffix}
  filter: {HALF}
  name_attribute: cn
  lowercase_name: true
ldap_groups:
  base: ou=people,{suffix}
  filter: (cn=no-group)
  name_attribute: cn
  member_attribute: member
pg_connection:
  host: {host}
  dbname: {name}
  user: postgres
pg_users:
  filter: rolname LIKE 'u%'
  create_options: LOGIN
pg_groups:
  filter: rolname LIKE 'no-group%'
  create_options: NOLOGIN
  grant_options:
",
        slapd.ldap(),
        suffix = slapd::SUFFIX,
        password = slapd::PASSWORD,
    );
    std::fs::write(&file, configuration).expect("write a file");
    let begun = Instant::now();
    let output = Command::new("pg_ldap_sync").args(["-c", &file.display().to_string()]).output().ok()?;
    let took = begun.elapsed();
    let made = database.text("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'u%'").await;
    if !output.status.success() || made == "0" {
        let errors = String::from_utf8_lossy(&output.stderr);
        println!("pg_ldap_sync made {made} roles: {}", errors.lines().rev().find(|line| line.contains("rror")).unwrap_or_default());
        return None;
    }
    Some(took)
}

/// LDIF: each user with a primary and two aliases.
fn people(count: usize) -> String {
    let person = |n: usize| {
        format!(
            "dn: cn=u{n},ou=people,{}\nobjectClass: user\ncn: u{n}\nsn: x\ndisplayName: User {n}\ndepartment: {}\nuserAccountControl: 512\nproxyAddresses: SMTP:u{n}@acme.example\nproxyAddresses: smtp:a{n}@acme.example\nproxyAddresses: smtp:b{n}@acme.example\n\n",
            slapd::SUFFIX,
            if n.is_multiple_of(2) { "half" } else { "other" }
        )
    };
    let base = format!("dn: ou=people,{}\nobjectClass: organizationalUnit\nou: people\n\n", slapd::SUFFIX);
    base + &(0..count).map(person).collect::<String>()
}

fn connection(slapd: &Slapd) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: corp-ldap, labels: {{mailroster.dev/readable: \"true\"}}}}\nstringData: {{password: {}}}
---\napiVersion: {API_VERSION}\nkind: DirectoryConnection\nmetadata: {{name: corp}}\nspec: {}\n",
        slapd::PASSWORD,
        spec(slapd.ldap(), "Full")
    )
}

fn spec(port: u16, detection: &str) -> String {
    format!(
        "{{type: OpenLDAP, urls: ['ldap://127.0.0.1:{port}'], tls: {{mode: None}}, bind: {{dn: 'cn=sync,{0}', passwordSecretRef: {{name: corp-ldap, key: password}}}},
          baseDN: 'ou=people,{0}', userFilter: '(objectClass=user)', groupFilter: '(objectClass=group)', interval: 24h, attributes: {{aliases: proxyAddresses}}, changeDetection: {detection}}}",
        slapd::SUFFIX
    )
}

/// The same entries and attributes by pages, thrown away.
fn ldapsearch(slapd: &Slapd) -> Duration {
    let base = format!("ou=people,{}", slapd::SUFFIX);
    let attributes = [
        "entryUUID",
        "objectClass",
        "mail",
        "proxyAddresses",
        "cn",
        "userAccountControl",
        "accountExpires",
        "nsAccountLock",
        "pwdAccountLockedTime",
    ];
    let begun = Instant::now();
    let output = Command::new("ldapsearch")
        .args([
            "-x",
            "-LLL",
            "-H",
            &format!("ldap://127.0.0.1:{}", slapd.ldap()),
            "-D",
            &format!("cn=sync,{}", slapd::SUFFIX),
            "-w",
            slapd::PASSWORD,
        ])
        .args(["-E", "pr=1000/noprompt", "-b", &base, "(objectClass=user)"])
        .args(attributes)
        .stdout(std::process::Stdio::null())
        .status()
        .expect("ldapsearch");
    assert!(output.success());
    begun.elapsed()
}

/// Copies what the run made into tables with the same indexes.
async fn copy(database: &Database) -> Duration {
    let files = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(files.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("permissions");
    for name in TABLES {
        let file = files.path().join(name).display().to_string();
        database
            .execute(&format!(
                "COPY (SELECT * FROM mailroster.{name}) TO '{file}'; CREATE TABLE copy_{name} (LIKE mailroster.{name} INCLUDING ALL)"
            ))
            .await;
        if name == "audit" {
            database.execute("CREATE INDEX ON copy_audit (subject, at)").await;
        }
    }
    let begun = Instant::now();
    for name in TABLES {
        let file = files.path().join(name).display().to_string();
        database.execute(&format!("COPY copy_{name} FROM '{file}'")).await;
    }
    begun.elapsed()
}

/// How many runs of the connection have ended.
async fn run(database: &Database) -> usize {
    database.text("SELECT count(*) FROM mailroster.connection WHERE state->'last_run' <> 'null'").await.parse().unwrap_or(0)
}

/// How long the last run took.
async fn took(database: &Database) -> Duration {
    let sql = "SELECT extract(epoch FROM (state->'last_run'->>'finished_at')::timestamptz - (state->'last_run'->>'started_at')::timestamptz)::float8 FROM mailroster.connection";
    Duration::from_secs_f64(database.text(sql).await.parse().expect("seconds"))
}

/// Another run; how long it took.
async fn again(database: &Database, cluster: &support::Cluster, namespace: &str, token: &str, detection: &str) -> Duration {
    let started = "SELECT state->'last_run'->>'started_at' FROM mailroster.connection";
    let before = database.text(started).await;
    let patch =
        serde_json::json!({"spec": {"changeDetection": detection}, "metadata": {"annotations": {"mailroster.dev/requestedAt": token}}});
    cluster.patch("DirectoryConnection", namespace, "corp", &patch).await;
    while database.text(started).await == before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    took(database).await
}

/// Resident memory of a process, in bytes.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1_024
}
