//! Tables that grow. Postgres keeps the plan of a statement that comes again and again; one from when a table was small reads it from end to
//! end when it is large, in triggers too, and a first synchronisation fills it from nothing. Statistics taken anew make Postgres plan anew,
//! everywhere; its own autovacuum takes them once a minute at most.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::deadline::{LONG, deadline};
use super::{Leader, StoreError};

/// Rows after which statistics are taken for the first time.
const FIRST: usize = 1_000;
/// Each next time after so many times as many rows: a million cost six looks at a sample.
const FACTOR: usize = 4;

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
        let outgrown = written >= self.due.load(Ordering::Relaxed);
        if outgrown {
            self.due.store(written.saturating_mul(FACTOR), Ordering::Relaxed);
        }
        outgrown
    }
}

impl Leader {
    /// Rows were written: takes statistics where the tables may have outgrown the plans that Postgres has of its statements. What comes of
    /// it changes no answer: where it fails (a role that doesn't own the tables may not) things only take longer.
    pub(super) async fn grown(&self, rows: usize) {
        if !self.growth.has_outgrown(rows) {
            return;
        }
        let taken = async { Ok::<_, StoreError>(sqlx::raw_sql(ANALYZE).execute(self.store().pool()).await?) };
        if let Err(error) = deadline("taking statistics", LONG, taken).await {
            tracing::debug!(%error, "the statistics of the tables could not be taken");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_taken_at_a_few_sizes_however_the_rows_come() {
        for rows in [1, 7, 500, 3_000] {
            let growth = Growth::new();
            let taken = (0..1_000_000 / rows).filter(|_| growth.has_outgrown(rows)).count();
            assert!((5..=6).contains(&taken), "{taken} times, {rows} rows at once");
        }
        assert!(!Growth::new().has_outgrown(FIRST - 1));
    }
}
