//! What grows without bound unless somebody cuts it: audit partitions, seen events, the guard's hour, the day of a connection's guard.

use jiff::Span;
use jiff::civil::Date;
use sqlx::{AssertSqlSafe, Executor as _};

use super::deadline::{LONG, deadline};
use super::{Leader, StoreError};

/// Rows deleted by one statement.
const CHUNK: u64 = 10_000;

/// Whoever waits for a lock on the audit log stops every writer behind it.
const PATIENCE: &str = "SET LOCAL lock_timeout = '5s'";

/// What no rule reads any more. The `ctid`s keep each statement short, whatever has piled up.
const FORGET: [&str; 8] = [
    "DELETE FROM mailroster.absence WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM mailroster.absence WHERE ended_at < mailroster.now() - interval '1 day' LIMIT $1))",
    "DELETE FROM mailroster.seen_event WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM mailroster.seen_event WHERE at < mailroster.now() - interval '1 day' LIMIT $1))",
    "DELETE FROM mailroster.done WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM mailroster.done WHERE at < mailroster.now() - interval '1 hour' LIMIT $1))",
    "DELETE FROM mailroster.gone WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM mailroster.gone WHERE at < mailroster.now() - interval '1 hour' LIMIT $1))",
    // As long as a leaver counts against its connection's guard (`WINDOW`).
    "DELETE FROM mailroster.departed WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM mailroster.departed WHERE at < mailroster.now() - interval '24 hours' LIMIT $1))",
    "DELETE FROM mailroster.logon WHERE ctid = ANY (ARRAY(
         SELECT l.ctid FROM mailroster.logon l WHERE NOT EXISTS (SELECT FROM mailroster.address a WHERE a.id = l.address_id) LIMIT $1))",
    "DELETE FROM mailroster.reset_code WHERE ctid = ANY (ARRAY(
         SELECT l.ctid FROM mailroster.reset_code l WHERE NOT EXISTS (SELECT FROM mailroster.address a WHERE a.id = l.address_id) LIMIT $1))",
    "DELETE FROM mailroster.user_password WHERE ctid = ANY (ARRAY(
         SELECT l.ctid FROM mailroster.user_password l WHERE NOT EXISTS (SELECT FROM mailroster.address a WHERE a.id = l.address_id) LIMIT $1))",
];

impl Leader {
    /// Makes the audit partitions of this month and the next, drops those past `retention_days`, and forgets what no rule reads any
    /// more. Run at the start of leadership and once a day. Each task stands alone: one that fails keeps no other from being done.
    ///
    /// # Errors
    /// [`StoreError::Deposed`], else that of the first task that failed.
    pub async fn keep_house(&self, today: Date, retention_days: i64) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        for ahead in 0..2 {
            let start = |ahead| today.first_of_month().checked_add(Span::new().months(ahead));
            if let (Ok(month), Ok(next)) = (start(ahead), start(ahead + 1)) {
                note(&mut outcome, deadline("making an audit partition", LONG, self.make_partition(month, next)).await)?;
            }
        }
        let old = deadline("looking for old audit partitions", LONG, self.old_partitions(today, retention_days)).await;
        let names = old.as_ref().map(Vec::as_slice).unwrap_or_default();
        for name in names {
            note(&mut outcome, deadline("dropping an audit partition", LONG, self.drop_partition(name)).await)?;
        }
        note(&mut outcome, old.map(drop))?;
        for sql in FORGET {
            note(&mut outcome, self.delete_in_chunks(sql).await)?;
        }
        // What never found a partition of its month.
        let keep_from = today.checked_sub(Span::new().days(retention_days.clamp(0, 1_000_000))).unwrap_or(Date::MIN);
        let sql = format!(
            "DELETE FROM mailroster.audit_default WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM mailroster.audit_default WHERE at < '{keep_from}' LIMIT $1))"
        );
        note(&mut outcome, self.delete_in_chunks(&sql).await)?;
        outcome
    }

    /// Makes the partition of a month and moves there what `audit_default` took in its place while nobody kept house: Postgres refuses a
    /// partition whose rows the default one holds.
    async fn make_partition(&self, month: Date, next: Date) -> Result<(), StoreError> {
        let name = format!("audit_{}", month.strftime("%Y_%m"));
        let is_there = "SELECT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                        WHERE i.inhparent = 'mailroster.audit'::regclass AND c.relname = $1)";
        if sqlx::query_scalar(is_there).bind(&name).fetch_one(self.store().pool()).await? {
            return Ok(());
        }
        let mut transaction = self.begin().await?;
        transaction.execute(PATIENCE).await?;
        // Writers wait at the parent: waiting at the default partition they would find its bounds changed, an error.
        // The identity stays the parent's alone. Its owner owns the partition too, whichever member of it connects today.
        let sql = format!(
            "LOCK TABLE mailroster.audit IN SHARE ROW EXCLUSIVE MODE;
             CREATE TABLE IF NOT EXISTS mailroster.{name} (LIKE mailroster.audit INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
             WITH moved AS (DELETE FROM mailroster.audit_default WHERE at >= '{month}' AND at < '{next}' RETURNING *)
             INSERT INTO mailroster.{name} SELECT * FROM moved;
             ALTER TABLE mailroster.audit ATTACH PARTITION mailroster.{name} FOR VALUES FROM ('{month}') TO ('{next}');
             DO $$
             DECLARE
                 owner constant oid := (SELECT relowner FROM pg_class WHERE oid = 'mailroster.audit'::regclass);
             BEGIN
                 IF owner <> (SELECT relowner FROM pg_class WHERE oid = 'mailroster.{name}'::regclass) THEN
                     EXECUTE format('ALTER TABLE mailroster.{name} OWNER TO %I', pg_get_userbyid(owner));
                 END IF;
             EXCEPTION WHEN insufficient_privilege THEN NULL;
             END $$"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await?;
        transaction.commit().await
    }

    async fn old_partitions(&self, today: Date, retention_days: i64) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = 'mailroster.audit'::regclass AND c.relname ~ '^audit_\\d{4}_\\d{2}$'
               AND (to_date(substr(c.relname, 7), 'YYYY_MM') + interval '1 month') < $1::text::date - $2 * interval '1 day'";
        Ok(sqlx::query_scalar(sql).bind(today.to_string()).bind(retention_days).fetch_all(self.store().pool()).await?)
    }

    async fn drop_partition(&self, name: &str) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        transaction.execute(PATIENCE).await?;
        transaction.execute(AssertSqlSafe(format!("DROP TABLE mailroster.{name}"))).await?;
        transaction.commit().await
    }

    /// Runs a deletion until it finds less than it may take, without the fence: a batch need not wait for it, and a deposed leader that
    /// still deletes what has expired does no harm.
    async fn delete_in_chunks(&self, sql: &str) -> Result<(), StoreError> {
        self.state().await?;
        let limit = i64::try_from(CHUNK).unwrap_or(i64::MAX);
        loop {
            let chunk = async {
                let deleted = sqlx::query(AssertSqlSafe(sql.to_owned())).bind(limit).execute(self.store().pool()).await?;
                Ok::<_, StoreError>(deleted.rows_affected())
            };
            if deadline("deleting what has expired", LONG, chunk).await? < CHUNK {
                return Ok(());
            }
        }
    }
}

/// Keeps the first failure; only a deposed leader stops at once.
fn note(outcome: &mut Result<(), StoreError>, task: Result<(), StoreError>) -> Result<(), StoreError> {
    match task {
        Err(StoreError::Deposed) => Err(StoreError::Deposed),
        Err(error) => {
            if outcome.is_ok() {
                *outcome = Err(error);
            } else {
                tracing::warn!(%error, "another task of housekeeping failed too");
            }
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
