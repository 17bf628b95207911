//! A Postgres server on a unix socket, without fsync: for tests, never for measuring.

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

pub struct Postgres {
    folder: PathBuf,
    server: Mutex<Option<Server>>,
}

impl Postgres {
    /// Makes a cluster in `folder`/pg, starts it and migrates the database `base` that fresh ones are copied from.
    pub async fn start(folder: &Path) -> Self {
        let folder = folder.join("pg");
        own(&folder);
        let data = folder.join("data");
        let arguments = ["-A", "trust", "-U", "postgres", "--locale=C.UTF-8", "-E", "UTF8", "--no-sync", "-D"];
        let output = as_owner(&tools::postgres("initdb")).args(arguments).arg(&data).output().expect("initdb");
        assert!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));

        let postgres = Self { folder, server: Mutex::new(None) };
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
        for setting in ["listen_addresses=", "fsync=off", "full_page_writes=off", "max_wal_size=2GB", CONNECTIONS] {
            arguments.extend(["-c".to_owned(), setting.to_owned()]);
        }
        let program = tools::postgres("postgres");
        // QUIT ends its own children at once too; KILL would leave them to notice by themselves.
        let (name, death_signal, user) = ("postgres", "QUIT", owner());
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

    /// Where a database of this server is, for our `--store` and for psql alike.
    pub fn url(&self, database: &str) -> String {
        let socket = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{socket}/{database}")
    }

    /// A new database, migrated and empty. It stays until the server's folder goes.
    pub async fn fresh_database(&self) -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!("CREATE DATABASE {name} TEMPLATE base")).await;
        Database::new(&name, &self.url(&name))
    }

    /// One statement as superuser, on a connection of its own.
    pub async fn execute(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.url("postgres")).await.expect("connect to Postgres");
        connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        connection.close().await.expect("close a connection");
    }
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
