//! A private Postgres for trials, tests and checks of pull requests: `--store embedded:DIR` (DESIGN 4).
//!
//! It runs the system's own binaries on a unix socket inside DIR, keeps its data between runs and stops with the program.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::StoreError;

/// The user that Postgres runs as when we are root.
const UNPRIVILEGED: &str = "postgres";
const START: Duration = Duration::from_secs(30);

/// A running private server. Dropping it kills the server; [`Embedded::stop`] ends it properly.
#[derive(Debug)]
pub struct Embedded {
    server: Child,
    folder: PathBuf,
}

fn failed(what: &str, error: impl std::fmt::Display) -> StoreError {
    StoreError::Embedded(format!("{what}: {error}"))
}

impl Embedded {
    /// Starts the server in `folder`, making it first where there is none.
    ///
    /// # Errors
    /// [`StoreError::Embedded`] says what is missing and how to get it.
    pub async fn start(folder: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder).map_err(|error| failed(&format!("failed to make {}", folder.display()), error))?;
        let folder = folder.canonicalize().map_err(|error| failed("failed to find the folder", error))?;
        // A unix socket's path has 107 bytes at the most.
        if folder.as_os_str().len() > 85 {
            return Err(StoreError::Embedded(format!("the path {} is too long for a unix socket; use a shorter one", folder.display())));
        }
        let binaries = binaries()?;
        let root = is_root().await;
        if root {
            run(Command::new("chown").arg(UNPRIVILEGED).arg(&folder)).await?;
        }
        let data = folder.join("data");
        if !data.join("PG_VERSION").exists() {
            let mut initdb = as_unprivileged(root, &binaries.join("initdb"));
            run(initdb.arg("-D").arg(&data).args(["-A", "trust", "-U", "mailroster", "--locale=C.UTF-8", "-E", "UTF8"])).await?;
        }
        let mut server = as_unprivileged(root, &binaries.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(&folder).args(["-c", "listen_addresses=", "-c", "logging_collector=off"]);
        let log = std::fs::File::create(folder.join("log")).map_err(|error| failed("failed to make the log", error))?;
        let server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn();
        let mut embedded = Self { server: server.map_err(|error| failed("failed to start postgres", error))?, folder };
        embedded.wait_until_ready(&binaries).await?;
        Ok(embedded)
    }

    /// The URL of its database.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres:///postgres?host={}&user=mailroster", self.folder.display())
    }

    async fn wait_until_ready(&mut self, binaries: &Path) -> Result<(), StoreError> {
        let deadline = tokio::time::Instant::now() + START;
        loop {
            let mut probe = Command::new(binaries.join("pg_isready"));
            let probe = probe.arg("-q").arg("-h").arg(&self.folder).status().await;
            if probe.is_ok_and(|status| status.success()) {
                return Ok(());
            }
            let ended = self.server.try_wait().ok().flatten();
            if ended.is_some() || tokio::time::Instant::now() > deadline {
                let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(5).collect();
                return Err(StoreError::Embedded(format!(
                    "postgres did not start: {}",
                    tail.into_iter().rev().collect::<Vec<_>>().join(" / ")
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops the server, writing out what it holds.
    pub async fn stop(mut self) {
        if let Some(pid) = self.server.id() {
            let _ = Command::new("kill").arg("-INT").arg(pid.to_string()).status().await;
            let _ = tokio::time::timeout(Duration::from_secs(20), self.server.wait()).await;
        }
    }
}

/// Where `initdb` and `postgres` are: on PATH, else the newest of Debian's folders.
fn binaries() -> Result<PathBuf, StoreError> {
    let on_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    let version = |path: &PathBuf| path.parent().and_then(|p| p.file_name()?.to_str()?.parse::<u32>().ok()).unwrap_or(0);
    let mut debian: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("bin"))
        .collect();
    debian.sort_by_key(|path| std::cmp::Reverse(version(path)));
    on_path
        .into_iter()
        .chain(debian)
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        // On PATH these two may be links to where all of Postgres's programs are.
        .map(|folder| folder.join("postgres").canonicalize().ok().and_then(|real| Some(real.parent()?.to_owned())).unwrap_or(folder))
        .ok_or_else(|| {
            StoreError::Embedded(
                "no initdb and postgres on PATH or in /usr/lib/postgresql; install them: apt-get install postgresql".to_owned(),
            )
        })
}

/// Postgres refuses to run as root.
async fn is_root() -> bool {
    Command::new("id").arg("-u").output().await.is_ok_and(|output| output.stdout == b"0\n")
}

fn as_unprivileged(root: bool, program: &Path) -> Command {
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", UNPRIVILEGED, "--regid", UNPRIVILEGED, "--init-groups", "--"]).arg(program);
    command
}

async fn run(command: &mut Command) -> Result<(), StoreError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().await.map_err(|error| failed(&format!("failed to run {program}"), error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(&format!("{program} ended with {}", output.status), String::from_utf8_lossy(&output.stderr).trim()))
}
