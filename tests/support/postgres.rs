//! A Postgres server on a unix socket: without fsync for tests, with it for whoever measures.

use super::database::Database;
use super::migrate;
use super::process::{Server, Start};
use super::tools;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

const START: Duration = Duration::from_mins(1);
/// Each test has some pools and a controller with one of its own.
const CONNECTIONS: &str = "max_connections=300";
/// Room for an empty roster and some thousand rows.
const SMALL_DISK: &str = "24m";

/// Settings of a server whose commits wait for the disk, as in production: for measuring.
pub const DURABLE: [&str; 3] = ["fsync=on", "full_page_writes=on", "synchronous_commit=on"];

pub struct Postgres {
    folder: PathBuf,
    settings: Vec<String>,
    /// A folder that only the server sees as a disk of its own.
    small_disk: Option<PathBuf>,
    server: Mutex<Option<Server>>,
}

impl Postgres {
    /// Makes a cluster in `folder`/pg, starts it and migrates the database `base` that fresh ones are copied from.
    pub async fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[]).await
    }

    /// The same with settings of its own: `max_connections=20`.
    pub async fn start_with(folder: &Path, settings: &[&str]) -> Self {
        Self::make(folder, settings, false).await
    }

    /// The same with a tablespace `small` on a disk of [`SMALL_DISK`], which databases can be moved to.
    pub async fn start_with_small_disk(folder: &Path) -> Self {
        let postgres = Self::make(folder, &[], true).await;
        let disk = postgres.small_disk.as_ref().expect("a small disk").display();
        postgres.execute(&format!("CREATE TABLESPACE small LOCATION '{disk}'")).await;
        postgres
    }

    async fn make(folder: &Path, settings: &[&str], small_disk: bool) -> Self {
        let folder = folder.join("pg");
        own(&folder);
        let data = folder.join("data");
        let arguments = ["-A", "trust", "-U", "postgres", "--locale=C.UTF-8", "-E", "UTF8", "--no-sync", "-D"];
        let output = as_owner(&tools::postgres("initdb")).args(arguments).arg(&data).output().expect("initdb");
        assert!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));

        let small_disk = small_disk.then(|| folder.join("small"));
        if let Some(disk) = &small_disk {
            own(disk);
        }
        let settings = settings.iter().map(ToString::to_string).collect();
        let postgres = Self { folder, settings, small_disk, server: Mutex::new(None) };
        postgres.start_again().await;
        postgres.execute("CREATE DATABASE base").await;
        migrate::migrate(&postgres.url("base")).await;
        // Nobody connects to it from here on, or copying it would fail; that goes for autovacuum too.
        postgres.execute("ALTER DATABASE base WITH ALLOW_CONNECTIONS false IS_TEMPLATE true").await;
        postgres
    }

    /// Starts the server; after `kill` on the same data.
    pub async fn start_again(&self) {
        let data = self.folder.join("data");
        let mut arguments = vec!["-D".to_owned(), data.display().to_string(), "-k".to_owned(), self.folder.display().to_string()];
        let settings = ["listen_addresses=", "fsync=off", "full_page_writes=off", "max_wal_size=2GB", CONNECTIONS].map(str::to_owned);
        for setting in settings.iter().chain(&self.settings) {
            arguments.extend(["-c".to_owned(), setting.clone()]);
        }
        let mut program = tools::postgres("postgres");
        // QUIT ends its own children at once too; KILL would leave them to notice by themselves.
        let (name, death_signal, mut user) = ("postgres", "QUIT", owner());
        if let Some(disk) = &self.small_disk {
            (program, arguments) = on_small_disk(disk, &program, arguments);
            user = None;
        }
        let log_folder = self.folder.parent().expect("a folder");
        let mut server =
            Server::start(Start { name, program: &program, arguments, environment: Vec::new(), log_folder, death_signal, user });
        let url = self.url("postgres");
        let ready = async |_: &Server| PgConnection::connect(&url).await.is_ok();
        server.ready(START, ready).await.unwrap_or_else(|message| panic!("{message}"));
        *self.server.lock().await = Some(server);
    }

    /// An immediate shutdown, as a crash: every connection breaks, the data stay.
    pub async fn kill(&self) {
        if let Some(mut server) = self.server.lock().await.take() {
            server.signal("QUIT");
            server.wait(Duration::from_secs(30)).await;
        }
    }

    /// Stops the server's first process without ending it: open connections go on, and nobody gets a new one.
    pub async fn freeze(&self) {
        self.signal("STOP").await;
    }

    pub async fn thaw(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, signal: &str) {
        if let Some(server) = self.server.lock().await.as_ref() {
            server.signal(signal);
        }
    }

    /// Takes a copy of all databases as they are now, while the server runs.
    pub async fn back_up(&self) {
        let mut backup = tokio::process::Command::from(as_owner(&tools::postgres("pg_basebackup")));
        backup.args(["-U", "postgres", "--checkpoint=fast", "--no-sync", "-h"]).arg(&self.folder).arg("-D").arg(self.folder.join("copy"));
        let output = backup.output().await.expect("pg_basebackup");
        assert!(output.status.success(), "pg_basebackup failed: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Puts the copy in the place of the data of a server that is stopped.
    pub fn restore(&self) {
        let [data, newer, copy] = ["data", "newer", "copy"].map(|name| self.folder.join(name));
        std::fs::rename(&data, newer).and_then(|()| std::fs::rename(copy, data)).expect("put the copy in place");
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.join(".s.PGSQL.5432")
    }

    /// Where a database of this server is, for our `--store` and for psql alike.
    pub fn url(&self, database: &str) -> String {
        let socket = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{socket}/{database}")
    }

    /// A new database, migrated and empty, on the small disk where there is one. It stays until the server's folder goes.
    pub async fn fresh_database(&self) -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let tablespace = if self.small_disk.is_some() { "TABLESPACE small" } else { "" };
        self.execute(&format!("CREATE DATABASE {name} TEMPLATE base {tablespace}")).await;
        Database::new(&name, &self.url(&name))
    }

    /// One statement as superuser, on a connection of its own.
    pub async fn execute(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.url("postgres")).await.expect("connect to Postgres");
        connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        connection.close().await.expect("close a connection");
    }
}

/// A program and its arguments such that the server finds a small disk in `disk`, and no other process does. It goes with the server.
fn on_small_disk(disk: &Path, server: &Path, arguments: Vec<String>) -> (PathBuf, Vec<String>) {
    let (unshare, become_user) = match owner() {
        Some(user) => (vec!["--mount"], format!("--reuid {user} --regid {user} --init-groups")),
        None => (vec!["--user", "--map-current-user", "--keep-caps", "--mount"], String::new()),
    };
    let script = format!(
        "mount -t tmpfs -o size={SMALL_DISK},mode=700{} tmpfs \"$0\" && exec setpriv --pdeathsig QUIT {become_user} -- \"$@\"",
        owner().map(|user| format!(",uid=$(id -u {user}),gid=$(id -g {user})")).unwrap_or_default()
    );
    let mut all: Vec<String> = unshare.into_iter().map(str::to_owned).collect();
    all.extend(["--", "sh", "-c", &script].map(str::to_owned));
    all.extend([disk.display().to_string(), server.display().to_string()]);
    all.extend(arguments);
    (PathBuf::from("unshare"), all)
}

/// Postgres refuses to run as root: then its package's user runs it.
fn owner() -> Option<&'static str> {
    rustix::process::geteuid().is_root().then_some("postgres")
}

/// Makes the folder, owned by whom Postgres runs as and closed to others.
fn own(folder: &Path) {
    let mut install = Command::new("install");
    install.args(["-d", "-m", "700"]);
    if let Some(user) = owner() {
        install.args(["-o", user, "-g", user]);
    }
    let status = install.arg(folder).status().expect("install (coreutils)");
    assert!(status.success(), "failed to make {}", folder.display());
}

fn as_owner(program: &Path) -> Command {
    let Some(user) = owner() else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--init-groups", "--"]).arg(program);
    command
}
