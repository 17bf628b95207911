//! What the controller counts and measures, for Prometheus. One method for each thing that happens; names, units and labels are in
//! here. No label carries an address or a name of anybody's making, so that the series stay few and tell nothing about people; those of
//! directory connections alone name whom they are about ([`directory`]).

mod directory;
mod labels;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::engine::Phases;
use crate::model::{Kind, ResourceKey};
use crate::plan::directory::rows::RunRecord;
use directory::DirectoryMetrics;
use labels::{ByCall, ByFunction, ByKind, ByKindAndCondition, ByKindAndResult, ByReason, ByResult, ByVerbAndKind};

pub use labels::{Ended, Hashed};

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Seconds: from a lookup in a local Postgres to a deadline.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// Resources in a batch; 1,000 is the most that is taken at once, the closure may be larger.
const SIZES: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1_000.0, 5_000.0];

/// A gauge of seconds or other fractions.
type Fraction = Gauge<f64, AtomicU64>;

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// All series of one process. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    leader: Gauge,
    reconciles: Family<ByKindAndResult, Counter>,
    batch_size: Histogram,
    batch_duration: Histogram,
    queue_depth: Gauge,
    queue_age: Fraction,
    settling: Fraction,
    store_calls: Family<ByCall, Histogram, fn() -> Histogram>,
    store_errors: Family<ByCall, Counter>,
    api_calls: Family<ByVerbAndKind, Histogram, fn() -> Histogram>,
    api_errors: Family<ByVerbAndKind, Counter>,
    resources: Family<ByKind, Gauge>,
    missing: Family<ByKind, Gauge>,
    conditions: Family<ByKindAndCondition, Gauge>,
    events: Family<ByReason, Counter>,
    status_writes: Family<ByKindAndResult, Counter>,
    status_repeats: Family<ByKind, Counter>,
    last_super_kept: Counter,
    unknown_addresses: Family<ByFunction, Counter>,
    passwords: Family<ByResult, Counter>,
    hash_duration: Histogram,
    directory: DirectoryMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers every series; those without labels show 0 from the start.
    #[must_use]
    pub fn new() -> Self {
        let mut all = Registry::with_prefix("mailroster");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        all.register("build", "The version that runs", build);
        let mut metrics = Self {
            registry: Arc::default(),
            leader: Gauge::default(),
            reconciles: Family::default(),
            batch_size: Histogram::new(SIZES),
            batch_duration: seconds(),
            queue_depth: Gauge::default(),
            queue_age: Fraction::default(),
            settling: Fraction::default(),
            store_calls: Family::new_with_constructor(seconds),
            store_errors: Family::default(),
            api_calls: Family::new_with_constructor(seconds),
            api_errors: Family::default(),
            resources: Family::default(),
            missing: Family::default(),
            conditions: Family::default(),
            events: Family::default(),
            status_writes: Family::default(),
            status_repeats: Family::default(),
            last_super_kept: Counter::default(),
            unknown_addresses: Family::default(),
            passwords: Family::default(),
            hash_duration: seconds(),
            directory: DirectoryMetrics::register(&mut all),
        };
        all.register("leader", "1 while this process writes the store, else 0", metrics.leader.clone());
        all.register("reconciles", "Reconciles by kind and how they ended", metrics.reconciles.clone());
        all.register("batch_resources", "Resources planned in a batch, those it refers to included", metrics.batch_size.clone());
        let help = "From taking a batch to its commit";
        all.register_with_unit("batch_duration", help, Unit::Seconds, metrics.batch_duration.clone());
        all.register("queue_depth", "Resources that wait for a batch", metrics.queue_depth.clone());
        let help = "How long the oldest of them has waited";
        all.register_with_unit("queue_age", help, Unit::Seconds, metrics.queue_age.clone());
        let help = "From leadership until all that was declared had been planned once; 0 before";
        all.register_with_unit("settling_duration", help, Unit::Seconds, metrics.settling.clone());
        let help = "Calls to the store, those that failed included";
        all.register_with_unit("store_call_duration", help, Unit::Seconds, metrics.store_calls.clone());
        all.register("store_errors", "Calls to the store that failed", metrics.store_errors.clone());
        let help = "Requests to the API server, those that failed included";
        all.register_with_unit("api_request_duration", help, Unit::Seconds, metrics.api_calls.clone());
        all.register("api_errors", "Requests to the API server that failed", metrics.api_errors.clone());
        all.register("resources", "Resources that are watched", metrics.resources.clone());
        let help = "Resources that rows of the store name and no list has; a day later they count as ended";
        all.register("missing_resources", help, metrics.missing.clone());
        all.register("resource_conditions", "Resources by what their conditions say", metrics.conditions.clone());
        all.register("events", "Kubernetes Events written", metrics.events.clone());
        all.register("status_writes", "Statuses written, and writes that failed", metrics.status_writes.clone());
        let help = "Statuses that read back different and were written again";
        all.register("status_repeats", help, metrics.status_repeats.clone());
        let help = "Roles that are gone while the store keeps their last super administrator";
        all.register("last_super_administrator_kept", help, metrics.last_super_kept.clone());
        let help = "Calls of mail servers that named an address the roster does not know";
        all.register("gateway_unknown_addresses", help, metrics.unknown_addresses.clone());
        all.register("passwords", "Passwords taken from Secrets, by what became of them", metrics.passwords.clone());
        let help = "One password hashed or compared";
        all.register_with_unit("password_hash_duration", help, Unit::Seconds, metrics.hash_duration.clone());
        metrics.registry = Arc::new(all);
        metrics
    }

    /// Everything, as text of type [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// Never in practice: text can always grow.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Whether this process writes the store.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// A resource was planned and its verdict handed out.
    pub fn reconciled(&self, kind: Kind, ended: Ended) {
        self.reconciles.get_or_create(&ByKindAndResult { kind: kind.as_str(), result: ended.as_str() }).inc();
    }

    /// A batch of this many resources, its closure included, was planned and executed.
    pub fn batch(&self, resources: u32, took: Duration) {
        self.batch_size.observe(f64::from(resources));
        self.batch_duration.observe(took.as_secs_f64());
    }

    /// How many resources wait, and how long the oldest has.
    pub fn queue(&self, waiting: i64, oldest: Duration) {
        self.queue_depth.set(waiting);
        self.queue_age.set(oldest.as_secs_f64());
    }

    /// All that was declared when leadership began has been planned once.
    pub fn settled(&self, took: Duration) {
        self.settling.set(took.as_secs_f64());
    }

    /// A call to the store came back.
    pub fn store_call(&self, call: &'static str, took: Duration, failed: bool) {
        self.store_calls.get_or_create(&ByCall { call }).observe(took.as_secs_f64());
        if failed {
            self.store_errors.get_or_create(&ByCall { call }).inc();
        }
    }

    /// A request to the API server came back. `kind` is ours, or "Secret", "Lease" and so on.
    pub fn api_call(&self, verb: &'static str, kind: &'static str, took: Duration, failed: bool) {
        self.api_calls.get_or_create(&ByVerbAndKind { verb, kind }).observe(took.as_secs_f64());
        if failed {
            self.api_errors.get_or_create(&ByVerbAndKind { verb, kind }).inc();
        }
    }

    /// How many resources of a kind are watched.
    pub fn watched(&self, kind: Kind, count: i64) {
        self.resources.get_or_create(&ByKind { kind: kind.as_str() }).set(count);
    }

    /// How many resources of a kind rows name and no list has (SPEC U6).
    pub fn missing(&self, kind: Kind, count: i64) {
        self.missing.get_or_create(&ByKind { kind: kind.as_str() }).set(count);
    }

    /// How many resources of a kind have a condition with this status.
    pub fn condition(&self, kind: Kind, condition: &'static str, status: bool, count: i64) {
        let status = if status { "True" } else { "False" };
        self.conditions.get_or_create(&ByKindAndCondition { kind: kind.as_str(), condition, status }).set(count);
    }

    /// An Event was written. `reason` is one of `plan::reason::Reason`.
    pub fn event(&self, reason: &'static str, warning: bool) {
        self.events.get_or_create(&ByReason { reason, r#type: if warning { "Warning" } else { "Normal" } }).inc();
    }

    /// A status write came back.
    pub fn status_written(&self, kind: Kind, ended: Ended) {
        self.status_writes.get_or_create(&ByKindAndResult { kind: kind.as_str(), result: ended.as_str() }).inc();
    }

    /// A status read back different from what was written, and is written again (SPEC C3).
    pub fn status_repeated(&self, kind: Kind) {
        self.status_repeats.get_or_create(&ByKind { kind: kind.as_str() }).inc();
    }

    /// A role went, and the store keeps its last super administrator (SPEC R2).
    pub fn last_super_kept(&self) {
        self.last_super_kept.inc();
    }

    /// How often mail servers named an unknown address in calls of a function, as the store has counted (SPEC 14).
    pub fn unknown_addresses(&self, function: &str, total: u64) {
        let counter = self.unknown_addresses.get_or_create_owned(&ByFunction { function: function.to_owned() });
        counter.inner().store(total, Ordering::Relaxed);
    }

    /// A directory run ended.
    pub fn directory_run(&self, connection: &ResourceKey, record: &RunRecord, phases: &Phases) {
        self.directory.run_ended(connection, record, phases);
    }

    /// A password was looked at; `took` is what hashing or comparing cost.
    pub fn password(&self, hashed: Hashed, took: Duration) {
        self.passwords.get_or_create(&ByResult { result: hashed.as_str() }).inc();
        if matches!(hashed, Hashed::Hashed | Hashed::Verified) {
            self.hash_duration.observe(took.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests;
