//! What directory runs are measured by. These series alone carry names of somebody's making: whoever is woken by a stale connection must
//! know which.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::engine::Phases;
use crate::model::ResourceKey;
use crate::plan::directory::rows::RunRecord;

/// Seconds: from an incremental run that finds nothing to a first run over a slow line.
const SECONDS: [f64; 10] = [0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByConnection {
    namespace: String,
    connection: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByConnectionAndPhase {
    namespace: String,
    connection: String,
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByConnectionAndReason {
    namespace: String,
    connection: String,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByConnectionAndChange {
    namespace: String,
    connection: String,
    change: &'static str,
}

/// The series of directory runs.
#[derive(Debug, Clone)]
pub(super) struct DirectoryMetrics {
    duration: Family<ByConnectionAndPhase, Histogram, fn() -> Histogram>,
    read: Family<ByConnection, Counter>,
    changes: Family<ByConnectionAndChange, Counter>,
    last_complete: Family<ByConnection, Gauge>,
    held: Family<ByConnection, Gauge>,
    incomplete: Family<ByConnectionAndReason, Counter>,
}

impl DirectoryMetrics {
    pub fn register(all: &mut Registry) -> Self {
        let metrics = Self {
            duration: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            read: Family::default(),
            changes: Family::default(),
            last_complete: Family::default(),
            held: Family::default(),
            incomplete: Family::default(),
        };
        let help = "One run of a directory connection, by what it spent its time with";
        all.register_with_unit("directory_run_duration", help, Unit::Seconds, metrics.duration.clone());
        all.register("directory_entries_read", "Entries that runs read", metrics.read.clone());
        all.register("directory_changes", "What runs changed, by kind", metrics.changes.clone());
        let help = "When the last run ended that saw everything, as a Unix time";
        all.register_with_unit("directory_last_complete_run", help, Unit::Seconds, metrics.last_complete.clone());
        all.register("directory_held_deletions", "Addresses that the directory lacks and that wait for a yes", metrics.held.clone());
        all.register("directory_incomplete_runs", "Runs from whose absences nothing follows, by reason", metrics.incomplete.clone());
        metrics
    }

    pub fn run_ended(&self, connection: &ResourceKey, record: &RunRecord, phases: &Phases) {
        let (namespace, name) = (connection.namespace.clone(), connection.name.clone());
        let label = ByConnection { namespace: namespace.clone(), connection: name.clone() };
        for (phase, took) in [("reading", phases.reading), ("bringing", phases.bringing), ("concluding", phases.concluding)] {
            let label = ByConnectionAndPhase { namespace: namespace.clone(), connection: name.clone(), phase };
            self.duration.get_or_create(&label).observe(took.as_secs_f64());
        }
        self.read.get_or_create(&label).inc_by(record.counts.read);
        self.held.get_or_create(&label).set(i64::try_from(record.counts.held).unwrap_or(i64::MAX));
        if record.complete {
            self.last_complete.get_or_create(&label).set(record.finished_at.as_second());
        }
        if let Some(problem) = &record.problem {
            let label = ByConnectionAndReason { namespace: namespace.clone(), connection: name.clone(), reason: problem.reason.as_str() };
            self.incomplete.get_or_create(&label).inc();
        }
        let c = &record.counts;
        let changes = [
            ("created", c.created),
            ("updated", c.updated),
            ("linked", c.linked),
            ("relinked", c.relinked),
            ("unlinked", c.unlinked),
            ("disabled", c.disabled),
            ("enabled", c.enabled),
        ];
        for (change, count) in changes.into_iter().filter(|(_, count)| *count > 0) {
            let label = ByConnectionAndChange { namespace: namespace.clone(), connection: name.clone(), change };
            self.changes.get_or_create(&label).inc_by(count);
        }
    }
}
