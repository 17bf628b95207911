//! A controller with a domain and a store of its own, and the runs of its connection.

use std::time::{Duration, Instant};

use crate::source::Source;
use crate::support::postgres::Postgres;
use crate::support::{self, ControlPlane, Database, Operator};

const DOMAIN: &str =
    "---\napiVersion: mailroster.dev/v1alpha1\nkind: InternalDomain\nmetadata: {name: acme}\nspec: {domain: acme.example}\n";
const LONG: Duration = Duration::from_mins(20);

pub struct Stage {
    pub cluster: &'static ControlPlane,
    pub database: Database,
    pub namespace: String,
    pub operator: Operator,
    runs: u32,
}

impl Stage {
    pub async fn set(postgres: &Postgres) -> Self {
        let (cluster, database) = (support::control_plane().await, postgres.fresh_database().await);
        let namespace = cluster.fresh_namespace().await;
        let operator = Operator::start(&database, &[&namespace]).await;
        cluster.apply(&namespace, DOMAIN).await;
        cluster.wait_ready("InternalDomain", &namespace, "acme").await;
        Self { cluster, database, namespace, operator, runs: 0 }
    }

    /// The first run of whom `filter` finds; how long it took. Meanwhile `what` happens again and again.
    pub async fn first_run(&self, source: &Source, filter: &str, mut what: impl AsyncFnMut()) -> Duration {
        let begun = Instant::now();
        self.cluster.apply(&self.namespace, &source.connection(filter)).await;
        let ended = "SELECT count(*) FROM mailroster.connection WHERE state->'last_run' <> 'null'";
        while self.database.text(ended).await == "0" {
            what().await;
            assert!(begun.elapsed() < LONG, "{}", self.operator.tail());
        }
        self.took().await
    }

    /// Another run, for which a run by this detection was asked; how long it took.
    pub async fn run(&mut self, detection: &str) -> Duration {
        self.runs += 1;
        let started = "SELECT state->'last_run'->>'started_at' FROM mailroster.connection";
        let before = self.database.text(started).await;
        let token = format!("run-{}", self.runs);
        let patch =
            serde_json::json!({"spec": {"changeDetection": detection}, "metadata": {"annotations": {"mailroster.dev/requestedAt": token}}});
        self.cluster.patch("DirectoryConnection", &self.namespace, "corp", &patch).await;
        while self.database.text(started).await == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.took().await
    }

    /// How the last run read.
    pub async fn mode(&self) -> String {
        self.database.text("SELECT state->'last_run'->>'mode' FROM mailroster.connection").await
    }

    async fn took(&self) -> Duration {
        let sql = "SELECT extract(epoch FROM (state->'last_run'->>'finished_at')::timestamptz - (state->'last_run'->>'started_at')::timestamptz)::float8 FROM mailroster.connection";
        Duration::from_secs_f64(self.database.text(sql).await.parse().expect("seconds"))
    }

    /// The controller's resident memory, in bytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.operator.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1_024
    }
}
