//! Tables that grow. Postgres keeps the plan of a statement that comes again and again; one from when a table was small reads it from end to
//! end when it is large, in triggers too, and a first synchronisation fills it from nothing. Statistics taken anew make Postgres plan anew,
//! everywhere; its own autovacuum takes them once a minute at most.

use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::Executor as _;

use super::deadline::{LONG, deadline};
use super::{Leader, StoreError};

/// Rows after which statistics are taken for the first time.
const FIRST: usize = 1_000;
/// Each next time after so many times as many rows: a million cost six looks at a sample.
const FACTOR: usize = 4;

/// Batches don't wait for somebody's VACUUM.
const PATIENCE: &str = "SET LOCAL lock_timeout = '500ms'";

/// The tables that a batch looks things up in.
const ANALYZE: &str = "
ANALYZE mailroster.address, mailroster.address_key, mailroster.link, mailroster.delegation, mailroster.credential, mailroster.role_member,
    mailroster.waiting, mailroster.entry, mailroster.leaver";

/// How many rows a leader has written, and when it takes statistics next.
#[derive(Debug)]
pub(super) struct Growth {
    written: AtomicUsize,
    due: AtomicUsize,
}

impl Growth {
    pub fn new() -> Self {
        Self { written: AtomicUsize::new(0), due: AtomicUsize::new(FIRST) }
    }

    /// Rows were written. Whether statistics are due.
    fn has_outgrown(&self, rows: usize) -> bool {
        let written = self.written.fetch_add(rows, Ordering::Relaxed).saturating_add(rows);
        written >= self.due.load(Ordering::Relaxed)
    }

    /// Statistics were taken, or could not be: then they are due again soon.
    fn tried(&self, taken: bool) {
        let written = self.written.load(Ordering::Relaxed);
        let due = if taken { written.saturating_mul(FACTOR) } else { written.saturating_add(FIRST) };
        self.due.store(due, Ordering::Relaxed);
    }
}

impl Leader {
    /// Rows were written: takes statistics where the tables may have outgrown the plans that Postgres has of its statements. What comes of
    /// it changes no answer: where they can't be taken (Postgres passes over tables that our role doesn't own) things only take longer.
    pub(super) async fn grown(&self, rows: usize) {
        if !self.growth.has_outgrown(rows) {
            return;
        }
        let taken = deadline("taking statistics", LONG, self.take_statistics()).await;
        self.growth.tried(taken.is_ok());
        if let Err(error) = taken {
            tracing::debug!(%error, "the statistics of the tables could not be taken");
        }
    }

    async fn take_statistics(&self) -> Result<(), StoreError> {
        let mut transaction = self.store().pool().begin().await?;
        transaction.execute(PATIENCE).await?;
        transaction.execute(ANALYZE).await?;
        Ok(transaction.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_taken_at_a_few_sizes_however_the_rows_come() {
        for rows in [1, 7, 500, 3_000] {
            let growth = Growth::new();
            let due = |_: &usize| growth.has_outgrown(rows).then(|| growth.tried(true)).is_some();
            let taken = (0..1_000_000 / rows).filter(due).count();
            assert!((5..=6).contains(&taken), "{taken} times, {rows} rows at once");
        }
        let growth = Growth::new();
        assert!(!growth.has_outgrown(FIRST - 1) && growth.has_outgrown(1));
        growth.tried(false);
        assert!(!growth.has_outgrown(FIRST - 1) && growth.has_outgrown(1), "tried again soon where it failed");
    }
}
