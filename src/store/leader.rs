//! The one who may write: the epoch, the fence, and whose store this is (DESIGN 4).

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicI64, Ordering};

use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use tokio::sync::Mutex;

use super::deadline::{LONG, SHORT, STATEMENT, deadline};
use super::growth::Growth;
use super::{Store, StoreError};

/// Session lock of whoever writes the store.
const LOCK: i64 = 0x6d61_696c_726f_7374;

/// What a would-be leader brings.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The installation's id, kept beside its Lease.
    pub installation: String,
    /// Who holds the epoch: for people, and no two processes have the same.
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
    claim: Claim,
    epoch: i64,
    /// The highest batch counter that was seen committed: a store that has a lower one is an older copy of what it was (DESIGN 4).
    batches: AtomicI64,
    pub(super) growth: Growth,
    /// Holds the session lock. None: it broke, and the next question makes it anew.
    session: Mutex<Option<PgConnection>>,
}

/// What the store says of itself.
#[derive(sqlx::FromRow)]
struct Found {
    id: Option<String>,
    epoch: i64,
    leader: Option<String>,
    batches: i64,
    answers: bool,
    recognised: bool,
}

const FIND: &str = "
SELECT id, epoch, leader, batches, answers_since IS NOT NULL AS answers,
    coalesce(recognised_run = pg_postmaster_start_time(), false) AS recognised
FROM mailroster.installation";

/// A transaction behind the fence.
pub(super) struct Fenced<'a> {
    transaction: Transaction<'static, Postgres>,
    leader: &'a Leader,
    batches: i64,
}

impl Deref for Fenced<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for Fenced<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

impl Fenced<'_> {
    pub async fn commit(self) -> Result<(), StoreError> {
        deadline("committing a transaction", STATEMENT, async { Ok::<_, StoreError>(self.transaction.commit().await?) }).await?;
        self.leader.batches.fetch_max(self.batches, Ordering::SeqCst);
        Ok(())
    }
}

impl Leader {
    /// Takes the store: ends older leaders' sessions, takes the lock, raises the epoch. V3: a Postgres that was started since a leader
    /// last looked may hold an older copy, and nobody is there who would know: mail servers wait for a complete plan.
    ///
    /// # Errors
    /// [`LeaderError::Foreign`] names the installation that owns the store; [`LeaderError::Busy`] when another process keeps the lock.
    pub async fn take(store: &Store, claim: &Claim) -> Result<Self, LeaderError> {
        deadline("taking the store", LONG, Self::take_now(store, claim)).await
    }

    async fn take_now(store: &Store, claim: &Claim) -> Result<Self, LeaderError> {
        let mut session = PgConnection::connect_with(&store.connect_options()).await?;
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
        lock(&mut session).await?;
        // Under the lock nobody else can become its owner.
        claim.check_owner(&mut session).await?;
        let taken: Option<(i64, i64)> = sqlx::query_as(
            "UPDATE mailroster.installation
             SET epoch = epoch + 1, leader = $2, id = $1, new_domain_grace = $3 * interval '1 second',
                 answers_since = CASE WHEN recognised_run = pg_postmaster_start_time() THEN answers_since END
             WHERE id IS NULL OR id = $1 OR $4 RETURNING epoch, batches",
        )
        .bind(&claim.installation)
        .bind(&claim.holder)
        .bind(claim.new_domain_grace)
        .bind(claim.take_over)
        .fetch_optional(&mut session)
        .await?;
        let (epoch, batches) = taken.ok_or(LeaderError::Busy)?;
        let (batches, session) = (AtomicI64::new(batches), Mutex::new(Some(session)));
        Ok(Self { store: store.clone(), claim: claim.clone(), epoch, batches, growth: Growth::new(), session })
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    #[must_use]
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Who leads: an epoch may come twice after a restore, a holder never.
    pub(super) fn holder(&self) -> &str {
        &self.claim.holder
    }

    /// A transaction behind the fence.
    ///
    /// # Errors
    /// [`StoreError::Deposed`] when a newer leader exists: stop writing anything, anywhere. [`StoreError::Older`] when the store is an
    /// older copy: [`Self::hush`] comes before anything else.
    pub(super) async fn begin(&self) -> Result<Fenced<'_>, StoreError> {
        match deadline("beginning a transaction", STATEMENT, self.begin_now()).await {
            // Somebody holds the fence's row: that tells nothing about what was to be written.
            Err(StoreError::Refused { source, .. }) => Err(StoreError::Unavailable(source)),
            begun => begun,
        }
    }

    async fn begin_now(&self) -> Result<Fenced<'_>, StoreError> {
        let mut transaction = self.store.pool().begin().await?;
        let raised: Option<i64> = sqlx::query_scalar(
            "UPDATE mailroster.installation SET batches = batches + 1 WHERE epoch = $1 AND leader = $2 RETURNING batches",
        )
        .bind(self.epoch)
        .bind(&self.claim.holder)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(batches) = raised else {
            self.judge(&find(&mut transaction).await?, i64::MIN)?;
            // It was another's when we asked, and is ours again.
            return Err(StoreError::Conflict(sqlx::Error::RowNotFound));
        };
        if batches <= self.batches.load(Ordering::SeqCst) {
            return Err(StoreError::Older);
        }
        sqlx::query("SELECT set_config('mailroster.own_write', 'on', true)").execute(&mut *transaction).await?;
        Ok(Fenced { transaction, leader: self, batches })
    }

    /// Whether mail servers are answered. Asked on the session that holds the lock: one that broke is known by it, and the next question
    /// takes the lock again. A Postgres that has been started meanwhile, and holds what it held, is recognised (V3).
    ///
    /// # Errors
    /// [`StoreError::Deposed`]; [`StoreError::Older`] when the store is an older copy of what it was; [`StoreError::Gone`] when it is none.
    pub async fn state(&self) -> Result<bool, StoreError> {
        let known = self.batches.load(Ordering::SeqCst);
        let found = deadline("reading the state of leadership", SHORT, self.find()).await?;
        self.judge(&found, known)?;
        self.batches.fetch_max(found.batches, Ordering::SeqCst);
        if !found.recognised {
            let recognised = "UPDATE mailroster.installation SET recognised_run = pg_postmaster_start_time()";
            self.write("recognising the store", recognised).await?;
        }
        Ok(found.answers)
    }

    async fn find(&self) -> Result<Found, StoreError> {
        let mut held = self.session.lock().await;
        let mut session = match held.take() {
            Some(session) => session,
            None => self.resume().await?,
        };
        let found = find(&mut session).await?;
        *held = Some(session);
        Ok(found)
    }

    /// The session of a leader, again.
    async fn resume(&self) -> Result<PgConnection, StoreError> {
        let options = self.store.connect_options();
        let mut session = PgConnection::connect_with(&options).await?;
        // A newer leader has the lock.
        if let Err(StoreError::Deposed) = self.judge(&find(&mut session).await?, i64::MIN) {
            return Err(StoreError::Deposed);
        }
        // The server may not have noticed yet that the old one broke.
        sqlx::query(
            "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid
             WHERE l.locktype = 'advisory' AND (l.classid::bigint << 32) + l.objid::bigint = $2 AND l.objsubid = 1
               AND a.datname = current_database() AND a.application_name = $1",
        )
        .bind(options.get_application_name().unwrap_or_default())
        .bind(LOCK)
        .execute(&mut session)
        .await?;
        lock(&mut session).await.map_err(|error| match error {
            LeaderError::Store(error) => error,
            other => StoreError::Unavailable(sqlx::Error::Io(std::io::Error::other(other))),
        })?;
        Ok(session)
    }

    /// What a store says of itself, held against what its leader knows. `known`: the least that its batch counter can be.
    fn judge(&self, found: &Found, known: i64) -> Result<(), StoreError> {
        let foreign = found.id.as_ref().is_some_and(|id| *id != self.claim.installation);
        let of_another = found.epoch == self.epoch && found.leader.as_ref() != Some(&self.claim.holder);
        if foreign || of_another || found.epoch > self.epoch {
            return Err(StoreError::Deposed);
        }
        if found.epoch < self.epoch || found.batches < known {
            return Err(StoreError::Older);
        }
        Ok(())
    }

    /// V3: mail servers are not answered by an older copy from the moment that it is known for one; [`Self::hush`] does the rest.
    ///
    /// # Errors
    /// The store's.
    pub async fn silence(&self) -> Result<(), StoreError> {
        let sql = "UPDATE mailroster.installation SET answers_since = NULL
                   WHERE answers_since IS NOT NULL AND (id IS NULL OR id = $1) AND (epoch < $2 OR epoch = $2 AND leader = $3)";
        deadline("silencing an older store", SHORT, async {
            let silenced = sqlx::query(sql).bind(&self.claim.installation).bind(self.epoch).bind(&self.claim.holder);
            silenced.execute(self.store.pool()).await?;
            Ok(())
        })
        .await
    }

    /// V3: until everything was planned anew mail servers are not answered: this store is an older copy, or a new one. From here on it
    /// is led as the other was, and its batch counter goes on from there.
    ///
    /// # Errors
    /// [`StoreError::Deposed`], or the store's.
    pub async fn hush(&self) -> Result<(), StoreError> {
        deadline("keeping mail servers from being answered", SHORT, async {
            let batches: Option<i64> = sqlx::query_scalar(
                "UPDATE mailroster.installation
                 SET id = $1, epoch = $2, leader = $3, new_domain_grace = $4 * interval '1 second', batches = greatest(batches, $5) + 1,
                     answers_since = NULL, recognised_run = pg_postmaster_start_time()
                 WHERE (id IS NULL OR id = $1) AND (epoch < $2 OR epoch = $2 AND leader = $3) RETURNING batches",
            )
            .bind(&self.claim.installation)
            .bind(self.epoch)
            .bind(&self.claim.holder)
            .bind(self.claim.new_domain_grace)
            .bind(self.batches.load(Ordering::SeqCst))
            .fetch_optional(self.store.pool())
            .await?;
            self.batches.fetch_max(batches.ok_or(StoreError::Deposed)?, Ordering::SeqCst);
            Ok(())
        })
        .await
    }

    /// V3: from now on mail servers are answered. Called once a plan made from complete lists was executed.
    pub async fn answer(&self) -> Result<(), StoreError> {
        let answers = "UPDATE mailroster.installation SET answers_since = coalesce(answers_since, mailroster.now()), recognised_run = pg_postmaster_start_time()";
        self.write("letting mail servers be answered", answers).await
    }

    /// One statement behind the fence.
    async fn write(&self, what: &str, sql: &'static str) -> Result<(), StoreError> {
        deadline(what, SHORT, async {
            let mut transaction = self.begin().await?;
            sqlx::query(sql).execute(&mut *transaction).await?;
            transaction.commit().await
        })
        .await
    }
}

/// Reads what the store says of itself.
async fn find(connection: &mut PgConnection) -> Result<Found, StoreError> {
    sqlx::query_as(FIND).fetch_one(connection).await.map_err(|error| {
        match error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() {
            Some("42P01" | "3F000") => StoreError::Gone,
            _ => error.into(),
        }
    })
}

/// Takes the session lock.
async fn lock(session: &mut PgConnection) -> Result<(), LeaderError> {
    sqlx::query("SET lock_timeout = '5s'").execute(&mut *session).await?;
    let locked = sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(session).await;
    locked.map(drop).map_err(|error| match StoreError::from(error) {
        StoreError::Unavailable(sqlx::Error::Database(e)) if e.code().as_deref() == Some("55P03") => LeaderError::Busy,
        other => LeaderError::Store(other),
    })
}
