//! `--store` and what it means: a Postgres that is there, or one that is started for this run.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use super::failure::OrFailed as _;
use crate::store::{Embedded, Location, Store};

/// Where the store is, as the user wrote it.
#[derive(Debug, Clone, Args)]
pub struct Flags {
    /// The store: postgres://USER@HOST/DATABASE, or embedded:DIR for a private Postgres that runs as long as the command
    // It may hold a password: the help must not show what stands in the environment.
    #[arg(long, env = "MAILROSTER_STORE", hide_env_values = true, value_name = "URL")]
    store: Option<String>,
    /// A file with the store's password, read at each connect
    #[arg(long, env = "MAILROSTER_STORE_PASSWORD_FILE", value_name = "FILE")]
    store_password_file: Option<PathBuf>,
}

/// Where the store is, and the private Postgres that it may need: end it with [`Opened::close`].
#[derive(Debug)]
pub struct Opened {
    pub location: Location,
    embedded: Option<Embedded>,
}

/// Resolves `--store`; starts the private Postgres that `embedded:DIR` asks for.
///
/// # Errors
/// `--store` is missing, or the private Postgres can't be started.
pub async fn open(flags: &Flags) -> Result<Opened, Failure> {
    let Some(url) = flags.store.as_deref().filter(|url| !url.is_empty()) else {
        return Err(Failure::new("failed to find the store: give --store (or MAILROSTER_STORE) a Postgres URL or embedded:DIR"));
    };
    let Some(folder) = url.strip_prefix("embedded:") else {
        return Ok(Opened { location: Location { url: url.to_owned(), password_file: flags.store_password_file.clone() }, embedded: None });
    };
    if folder.is_empty() {
        return Err(Failure::new("failed to read --store: embedded: needs a folder, embedded:DIR"));
    }
    let embedded = Embedded::start(Path::new(folder)).await.or_failed(format_args!("start the store embedded:{folder}"))?;
    Ok(Opened { location: Location { url: embedded.url(), password_file: None }, embedded: Some(embedded) })
}

impl Opened {
    /// Connections for a command; `command` shows in `pg_stat_activity`.
    ///
    /// # Errors
    /// The URL or the password file can't be read.
    pub fn connect(&self, command: &str) -> Result<Store, Failure> {
        Store::open(&self.location, &format!("mailroster {command}")).or_failed("read --store")
    }

    /// The same, for a command that reads the roster.
    ///
    /// # Errors
    /// Also when the store can't be reached, or no controller has ever migrated it.
    pub async fn connect_to_roster(&self, command: &str) -> Result<Store, Failure> {
        let store = self.connect(command)?;
        let there: bool = sqlx::query_scalar("SELECT to_regclass('mailroster.installation') IS NOT NULL")
            .fetch_one(store.pool())
            .await
            .or_failed("reach the store (--store)")?;
        if there {
            Ok(store)
        } else {
            Err(Failure::new("failed to read the store (--store): it holds no roster; the controller makes one when it starts"))
        }
    }

    /// Ends the private Postgres, if there is one, writing out what it holds.
    pub async fn close(self) {
        if let Some(embedded) = self.embedded {
            embedded.stop().await;
        }
    }
}
