//! A restart with everything in force: how long until all is planned once more, and that nothing is written for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use kube::api::ListParams;
use mailroster::model::Kind;

use crate::process;
use crate::report::{self, Row};
use crate::stage::{self, Stage, Tenant};
use crate::support::Operator;

/// Row changes in the store since its statistics began, apart from those of leadership itself.
const STORE_WRITES: &str = "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables WHERE schemaname = 'mailroster' AND relname <> 'installation'";

pub async fn measure(stage: &mut Stage) -> Result<Vec<Row>> {
    let runs = stage.scale.runs;
    let tenant = stage.standing().await?;
    let (mut settled, mut listed, mut processor) = (Vec::new(), Vec::new(), Vec::new());
    let (mut api_writes, mut store_writes) = (0, 0);
    for _ in 0..runs {
        listed.push(bare_list(tenant).await?);
        let run = restart(tenant).await?;
        eprintln!("  restart: {run:?}, bare list {:?}", listed.last());
        settled.push(run.settled);
        processor.push(run.processor);
        api_writes += run.api_writes;
        store_writes += run.store_writes;
    }
    let settled = report::median(settled).context("no runs")?;
    let listed = report::median(listed).context("no runs")?;
    let processor = report::median(processor).context("no runs")?;
    let ratio = settled.as_secs_f64() / listed.as_secs_f64();
    let memory = process::memory(tenant.operator.pid())?;
    Ok(vec![
        Row::told(format!("restart with {} resources, from leadership until settled", tenant.count), report::seconds(settled))
            .beside(report::seconds(listed), ratio)
            .wanted("at most 1.5 s and 3 bare lists", settled <= Duration::from_millis(1_500) && ratio <= 3.0),
        Row::told("restart, processor time from start until quiet", report::seconds(processor)),
        Row::told(
            "restart, memory (resident, peak)",
            format!("{}, {}", report::megabytes(memory.resident), report::megabytes(memory.peak)),
        ),
        Row::told(format!("{runs} restarts, writes to the API server"), api_writes.to_string()).wanted("0", api_writes == 0),
        Row::told(format!("{runs} restarts, row changes in the store"), store_writes.to_string()).wanted("0", store_writes == 0),
    ])
}

#[derive(Debug)]
struct Restart {
    settled: Duration,
    processor: Duration,
    api_writes: u64,
    store_writes: u64,
}

async fn restart(tenant: &mut Tenant) -> Result<Restart> {
    let ended = tenant.operator.terminate().await;
    ensure!(ended.success(), "the controller ended with {ended}; {}", tenant.operator.tail());
    let versions = versions(tenant).await?;
    let rows = store_writes(tenant).await?;
    tenant.operator = Operator::try_start_with(tenant.operator.settings()).await.map_err(anyhow::Error::msg)?;
    let leading = stamp(&tenant.logged(0, " leading ").await)?;
    let settled = stamp(&tenant.logged(0, "all that is declared has been planned once").await)?;
    process::quiet(tenant.operator.pid()).await?;
    let written = tenant.operator.metrics().await;
    let counted: f64 = written
        .lines()
        .filter(|line| {
            line.starts_with("mailroster_api_request_duration_seconds_count{verb=\"patch") || line.starts_with("mailroster_events_total{")
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    let seen = self::versions(tenant).await?;
    let moved = seen.iter().filter(|(key, version)| versions.get(*key) != Some(version)).count() + versions.len().abs_diff(seen.len());
    Ok(Restart {
        settled: settled.duration_since(leading).try_into()?,
        processor: process::processor_time(tenant.operator.pid())?,
        // What it counts itself, or what the API server shows: whichever tells of more.
        api_writes: (counted as u64).max(moved as u64),
        store_writes: store_writes(tenant).await? - rows,
    })
}

/// The time of a line of the log.
fn stamp(line: &str) -> Result<Timestamp> {
    line.split_whitespace().next().context("an empty line")?.parse().with_context(|| format!("no time in {line}"))
}

async fn store_writes(tenant: &Tenant) -> Result<u64> {
    // Backends hand in their statistics at most a second after a transaction, or when they end.
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(tenant.database.text(STORE_WRITES).await.parse()?)
}

async fn versions(tenant: &Tenant) -> Result<BTreeMap<(Kind, String), String>> {
    let client = stage::client(tenant.cluster.kubeconfig()).await?;
    let mut versions = BTreeMap::new();
    for kind in Kind::ALL {
        let list = stage::slim_api(&client, kind.as_str(), &tenant.namespace).list_metadata(&ListParams::default()).await?;
        versions.extend(list.into_iter().map(|object| {
            let metadata = object.metadata;
            ((kind, metadata.name.unwrap_or_default()), metadata.resource_version.unwrap_or_default())
        }));
    }
    Ok(versions)
}

/// How long a client takes that lists all kinds at once, reads names and conditions, and keeps nothing.
async fn bare_list(tenant: &Tenant) -> Result<Duration> {
    let client = stage::client(tenant.cluster.kubeconfig()).await?;
    let began = Instant::now();
    let lists = Kind::ALL.map(|kind| {
        let api = stage::slim_api(&client, kind.as_str(), &tenant.namespace);
        async move { api.list(&ListParams::default()).await.map(|list| list.items.len()) }
    });
    let found: usize = futures::future::try_join_all(lists).await?.iter().sum();
    let took = began.elapsed();
    ensure!(found > tenant.count, "a list of {found}");
    Ok(took)
}
