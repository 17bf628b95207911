//! What the engine tells, as metrics.

use std::time::Duration;

use super::metrics::{Ended, Hashed, Metrics};
use crate::engine::{Observer, Phases};
use crate::model::{Kind, ResourceKey};
use crate::plan::directory::rows::RunRecord;
use crate::store::StoreError;

impl Observer for Metrics {
    fn batch(&self, resources: usize, took: Duration) {
        self.batch(u32::try_from(resources).unwrap_or(u32::MAX), took);
        self.store_call("batch", took, false);
    }

    fn reconciled(&self, kind: Kind, in_force: bool, changed: bool) {
        self.reconciled(
            kind,
            match (in_force, changed) {
                (false, _) => Ended::NotReady,
                (true, true) => Ended::Changed,
                (true, false) => Ended::Unchanged,
            },
        );
    }

    fn store_failed(&self, _error: &StoreError, took: Duration) {
        self.store_call("batch", took, true);
    }

    fn queue(&self, depth: usize, age: Duration) {
        self.queue(i64::try_from(depth).unwrap_or(i64::MAX), age);
    }

    fn missing(&self, kind: Kind, count: usize) {
        self.missing(kind, i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn directory_run(&self, connection: &ResourceKey, record: &RunRecord, phases: &Phases) {
        self.directory_run(connection, record, phases);
    }

    fn settled(&self, took: Duration) {
        self.settled(took);
    }

    fn password(&self, result: &'static str, took: Duration) {
        let result = match result {
            "hashed" => Hashed::Hashed,
            "same" => Hashed::Verified,
            "refused" => Hashed::Refused,
            _ => Hashed::Failed,
        };
        self.password(result, took);
    }
}
