//! The same without us: the entries read and thrown away, the rows copied, and the synchroniser that Debian has.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::source::{HALF, Source};
use crate::support::postgres::Postgres;
use crate::support::{Database, slapd};

/// Tables that a run fills.
const TABLES: [&str; 5] = ["address", "address_key", "link", "entry", "audit"];
/// What a run asks for.
pub const ATTRIBUTES: [&str; 9] = [
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

/// A search by pages whose outcome is thrown away.
pub fn ldapsearch(url: &str, [user, password]: [&str; 2], base: &str, filter: &str, attributes: &[&str]) -> Duration {
    let begun = Instant::now();
    let status = Command::new("ldapsearch")
        .env("LDAPTLS_REQCERT", "never")
        .args(["-x", "-LLL", "-H", url, "-D", user, "-w", password, "-E", "pr=1000/noprompt", "-b", base, filter])
        .args(attributes)
        .stdout(std::process::Stdio::null())
        .status()
        .expect("ldapsearch");
    assert!(status.success());
    begun.elapsed()
}

/// Copies what the run made into tables with the same indexes.
pub async fn copy(database: &Database) -> Duration {
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

/// How long pg_ldap_sync takes for the same users; None: it is not installed, or fails.
pub async fn pg_ldap_sync(source: &Source, postgres: &Postgres, database: &Database) -> Option<Duration> {
    let Source::OpenLdap(slapd) = source else { return None };
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
