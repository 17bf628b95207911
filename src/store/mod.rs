//! Postgres: what the roster is kept in. Reads rows into [`crate::plan::Observed`], executes [`crate::plan::Change`]s, tells what others
//! changed. Decides nothing: every rule about mail is in `plan`, every reference and uniqueness a constraint of the schema.
//!
//! Only the leader writes ([`Leader`]); each of its transactions begins with the fence (DESIGN 4), so a deposed leader cannot.

mod bulk;
mod deadline;
mod directory;
mod embedded;
mod error;
mod feed;
mod growth;
mod housekeeping;
mod leader;
mod migrate;
mod owners;
mod passwords;
mod queries;
mod read;
mod rows;
mod statements;
#[cfg(test)]
mod tests;
mod write;

pub use directory::{Absences, Conclusion, Holders, Known, Marks};
pub use embedded::Embedded;
pub use error::StoreError;
pub use feed::{Dirty, Feed};
pub use leader::{Claim, Leader, LeaderError};
pub use migrate::{migrate, refuse_foreign};
pub use passwords::KnownPasswords;
pub use read::Scope;

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use deadline::{SHORT, deadline};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Executor as _, PgConnection};

/// No statement of ours takes longer than this on a healthy server.
const STATEMENT_TIMEOUT: &str = "30s";
/// A transaction that sleeps holds its locks no longer than this (DESIGN 4).
const IDLE_TIMEOUT: &str = "10s";
/// How long to wait for a connection.
const ACQUIRE: Duration = Duration::from_secs(5);

/// A server with `log_statement = all` would log the hashes that we bind. Only a superuser may forbid it, or whom it granted SET on
/// the parameter (Postgres 15 and newer); others leave it as it is.
const KEEP_PARAMETERS_OUT_OF_LOGS: &str = "
DO $$ BEGIN SET log_parameter_max_length = 0; EXCEPTION WHEN insufficient_privilege THEN NULL; END $$";

/// Where the store is and how to connect.
#[derive(Debug, Clone)]
pub struct Location {
    /// A Postgres URL, or `embedded:DIR`.
    pub url: String,
    /// Read at each start and after each break, so that a password can be rotated.
    pub password_file: Option<PathBuf>,
}

/// Connections to the store.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    options: PgConnectOptions,
    password_file: Option<PathBuf>,
}

impl Store {
    /// Makes a pool. Nothing is connected yet: a store that is away is an error of its first use.
    ///
    /// `application` shows in `pg_stat_activity`.
    ///
    /// # Errors
    /// [`StoreError::Location`] when the URL can't be read.
    pub fn open(location: &Location, application: &str) -> Result<Self, StoreError> {
        let mut options = PgConnectOptions::from_str(&location.url)
            .map_err(|error| StoreError::Location(format!("--store is no Postgres URL (postgres://USER@HOST/DATABASE): {error}")))?;
        if let Some(file) = &location.password_file {
            options = options.password(&read_password(file)?);
        }
        let options = options.application_name(application).options([
            // Thousands of rows are found by index, in memory, far sooner than a table of hundreds of thousands is read.
            ("random_page_cost", "1.1"),
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("idle_in_transaction_session_timeout", IDLE_TIMEOUT),
            ("TimeZone", "UTC"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .acquire_timeout(ACQUIRE)
            .after_connect(|connection, _| Box::pin(async move { connection.execute(KEEP_PARAMETERS_OUT_OF_LOGS).await.map(drop) }))
            // What comes back from a call that was given up may be dead without anybody having noticed: kept for ever, it would hold its
            // place in the pool.
            .after_release(|connection, _| Box::pin(async move { answers(connection).await.map(|()| true) }))
            .connect_lazy_with(options.clone());
        Ok(Self { pool, options, password_file: location.password_file.clone() })
    }

    /// Takes the password that the file has now for connections to come: it may have been rotated while we ran.
    ///
    /// # Errors
    /// [`StoreError::Location`] when the file can't be read.
    pub fn read_password_anew(&self) -> Result<(), StoreError> {
        if let Some(file) = &self.password_file {
            self.pool.set_connect_options(self.options.clone().password(&read_password(file)?));
        }
        Ok(())
    }

    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// How to connect now, for what needs a connection of its own.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.pool.connect_options().as_ref().clone()
    }

    /// The store's clock (SPEC C12).
    pub async fn now(&self) -> Result<jiff::Timestamp, StoreError> {
        let asked = async {
            let sql = "SELECT (extract(epoch FROM mailroster.now()) * 1000000)::bigint";
            Ok::<i64, StoreError>(sqlx::query_scalar(sql).fetch_one(&self.pool).await?)
        };
        let micros = deadline("asking the store's clock", SHORT, asked).await?;
        jiff::Timestamp::from_microsecond(micros).map_err(|error| StoreError::Row(format!("the store's clock: {error}")))
    }

    /// How often mail servers named an address that the roster does not know, by gateway function.
    ///
    /// # Errors
    /// The store's.
    pub async fn unknown_addresses(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let sql = "SELECT function, sum(count)::bigint FROM mailroster.unknown_address GROUP BY function";
        let asked = async { Ok::<Vec<(String, i64)>, StoreError>(sqlx::query_as(sql).fetch_all(&self.pool).await?) };
        let rows = deadline("reading the counters", SHORT, asked).await?;
        Ok(rows.into_iter().map(|(function, count)| (function, u64::try_from(count).unwrap_or(0))).collect())
    }
}

/// Fails when the connection does not answer in time.
async fn answers(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let answered = tokio::time::timeout(ACQUIRE, connection.ping()).await;
    answered.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

fn read_password(file: &std::path::Path) -> Result<String, StoreError> {
    let password =
        std::fs::read_to_string(file).map_err(|error| StoreError::Location(format!("failed to read {}: {error}", file.display())))?;
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}
