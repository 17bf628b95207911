//! Bringing the schema up to date: embedded migrations under an advisory lock, then ownership and grants.

use std::time::Duration;

use sqlx::{Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions};

use super::deadline::{SHORT, deadline};
use super::{Claim, LeaderError, Store, StoreError};

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("src/store/schema");

/// For all migrations together; each of their statements has a time of its own.
const MIGRATION: Duration = Duration::from_mins(30);

const GRANTS: &str = include_str!("schema/grants.sql");

/// Migrates the store and sets who may read what. `role_prefix` names the gateway roles (SPEC 14).
///
/// # Errors
/// [`StoreError::Migrate`], [`StoreError::TooOld`], or the store's own refusal.
pub async fn migrate(options: &PgConnectOptions, role_prefix: &str) -> Result<(), StoreError> {
    deadline("migrating the store", MIGRATION, migrate_now(options, role_prefix)).await
}

async fn migrate_now(options: &PgConnectOptions, role_prefix: &str) -> Result<(), StoreError> {
    let mut connection = PgConnection::connect_with(options).await?;
    // A view that waits for its lock stops every lookup behind it.
    connection.execute("SET lock_timeout = '5s'; SET statement_timeout = '5min'").await?;
    let known: bool = sqlx::query_scalar("SELECT to_regclass('mailroster.installation') IS NOT NULL").fetch_one(&mut connection).await?;
    if known {
        let needed: String = sqlx::query_scalar("SELECT oldest_version FROM mailroster.installation").fetch_one(&mut connection).await?;
        let here = env!("CARGO_PKG_VERSION");
        if version(here) < version(&needed) {
            return Err(StoreError::TooOld { needed, here: here.to_owned() });
        }
    }
    MIGRATOR.run(&mut connection).await?;
    sqlx::query("SELECT set_config('mailroster.role_prefix', $1, false)").bind(role_prefix).execute(&mut connection).await?;
    connection.execute(GRANTS).await?;
    connection.close().await?;
    Ok(())
}

/// Refuses a store that belongs to another installation, before anything in it is migrated or any of its sessions ended.
///
/// # Errors
/// [`LeaderError::Foreign`] names the installation that owns the store; else the store's own.
pub async fn refuse_foreign(options: &PgConnectOptions, claim: &Claim) -> Result<(), LeaderError> {
    deadline("asking whose store it is", SHORT, async {
        let mut connection = PgConnection::connect_with(options).await?;
        let sql = "SELECT to_regclass('mailroster.installation') IS NOT NULL";
        if sqlx::query_scalar(sql).fetch_one(&mut connection).await? {
            claim.check_owner(&mut connection).await?;
        }
        connection.close().await?;
        Ok(())
    })
    .await
}

impl Store {
    /// The newest migration that this version knows: a migrated store's `_sqlx_migrations` ends with it.
    #[must_use]
    pub fn newest_migration() -> i64 {
        MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or_default()
    }
}

fn version(text: &str) -> Vec<u64> {
    text.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}
