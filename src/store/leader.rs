//! The one who may write: the epoch, the fence, and whose store this is (DESIGN 4).

use sqlx::{Connection as _, PgConnection, Postgres, Transaction};

use super::deadline::{LONG, SHORT, deadline};
use super::{Store, StoreError};

/// Session lock of whoever writes the store.
const LOCK: i64 = 0x6d61_696c_726f_7374;

/// What a would-be leader brings.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The installation's id, kept beside its Lease.
    pub installation: String,
    /// Who holds the epoch, for people.
    pub holder: String,
    /// `--take-over-store`.
    pub take_over: bool,
    /// `--new-domain-grace`, seconds.
    pub new_domain_grace: i64,
}

impl Claim {
    /// Whether the store is nobody's, ours, or to be taken over.
    pub(super) async fn check_owner(&self, connection: &mut PgConnection) -> Result<(), LeaderError> {
        let owner: Option<String> = sqlx::query_scalar("SELECT id FROM mailroster.installation").fetch_one(connection).await?;
        match owner {
            Some(owner) if owner != self.installation && !self.take_over => {
                Err(LeaderError::Foreign { owner, mine: self.installation.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// Why leadership of the store can't be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaderError {
    #[error("the store belongs to another installation, {owner}; this one is {mine}. To move it here once, start with --take-over-store")]
    Foreign { owner: String, mine: String },
    #[error("another process writes the store at this moment")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for LeaderError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Leadership of the store. Lasts until a newer leader raises the epoch.
#[derive(Debug)]
pub struct Leader {
    store: Store,
    epoch: i64,
    /// Holds the session lock for as long as it is connected.
    _session: PgConnection,
}

impl Leader {
    /// Takes the store: ends older leaders' sessions, takes the lock, raises the epoch.
    ///
    /// # Errors
    /// [`LeaderError::Foreign`] names the installation that owns the store; [`LeaderError::Busy`] when another process keeps the lock.
    pub async fn take(store: &Store, claim: &Claim) -> Result<Self, LeaderError> {
        deadline("taking the store", LONG, Self::take_now(store, claim)).await
    }

    async fn take_now(store: &Store, claim: &Claim) -> Result<Self, LeaderError> {
        let mut session = PgConnection::connect_with(store.connect_options()).await?;
        claim.check_owner(&mut session).await?;
        // Sessions of older leaders, in this database and under our role: their transactions end here, before the epoch moves. Asked
        // again in the same statement whose store it is: a store that was nobody's a moment ago may have become another's.
        let application = store.connect_options().get_application_name().unwrap_or_default().to_owned();
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
               AND application_name LIKE 'mailroster leader %' AND application_name <> $1
               AND EXISTS (SELECT FROM mailroster.installation WHERE id = $2 OR $3)",
        )
        .bind(&application)
        .bind(&claim.installation)
        .bind(claim.take_over)
        .execute(&mut session)
        .await?;
        sqlx::query("SET lock_timeout = '5s'").execute(&mut session).await?;
        sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut session).await.map_err(|error| {
            match StoreError::from(error) {
                StoreError::Unavailable(sqlx::Error::Database(e)) if e.code().as_deref() == Some("55P03") => LeaderError::Busy,
                other => LeaderError::Store(other),
            }
        })?;
        // Under the lock nobody else can become its owner.
        claim.check_owner(&mut session).await?;
        let epoch: Option<i64> = sqlx::query_scalar(
            "UPDATE mailroster.installation
             SET epoch = epoch + 1, leader = $2, id = $1, new_domain_grace = $3 * interval '1 second'
             WHERE id IS NULL OR id = $1 OR $4 RETURNING epoch",
        )
        .bind(&claim.installation)
        .bind(&claim.holder)
        .bind(claim.new_domain_grace)
        .bind(claim.take_over)
        .fetch_optional(&mut session)
        .await?;
        let epoch = epoch.ok_or(LeaderError::Busy)?;
        Ok(Self { store: store.clone(), epoch, _session: session })
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    #[must_use]
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// A transaction behind the fence.
    ///
    /// # Errors
    /// [`StoreError::Deposed`] when a newer leader exists: stop writing anything, anywhere.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut transaction = self.store.pool().begin().await?;
        let batches: Option<i64> =
            sqlx::query_scalar("UPDATE mailroster.installation SET batches = batches + 1 WHERE epoch = $1 RETURNING batches")
                .bind(self.epoch)
                .fetch_optional(&mut *transaction)
                .await?;
        if batches.is_none() {
            return Err(StoreError::Deposed);
        }
        sqlx::query("SELECT set_config('mailroster.own_write', 'on', true)").execute(&mut *transaction).await?;
        Ok(transaction)
    }

    /// The batch counter and whether mail servers are answered. A counter lower than one seen before means an older store (DESIGN 4).
    pub async fn state(&self) -> Result<(i64, bool), StoreError> {
        let asked = async {
            let sql = "SELECT batches, answers_since IS NOT NULL FROM mailroster.installation WHERE epoch = $1";
            let row: Option<(i64, bool)> = sqlx::query_as(sql).bind(self.epoch).fetch_optional(self.store.pool()).await?;
            row.ok_or(StoreError::Deposed)
        };
        deadline("reading the state of leadership", SHORT, asked).await
    }

    /// V3: until everything was planned anew mail servers are not answered: this store is an older copy.
    ///
    /// # Errors
    /// The store's.
    pub async fn hush(&self) -> Result<(), StoreError> {
        deadline("keeping mail servers from being answered", SHORT, async {
            let mut transaction = self.begin().await?;
            sqlx::query("UPDATE mailroster.installation SET answers_since = NULL").execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(())
        })
        .await
    }

    /// V3: from now on mail servers are answered. Called once a plan made from complete lists was executed.
    pub async fn answer(&self) -> Result<(), StoreError> {
        deadline("letting mail servers be answered", SHORT, async {
            let mut transaction = self.begin().await?;
            sqlx::query("UPDATE mailroster.installation SET answers_since = mailroster.now() WHERE answers_since IS NULL")
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(())
        })
        .await
    }
}
