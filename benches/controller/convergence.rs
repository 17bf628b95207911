//! Ten thousand addresses from the client's first request to the last Ready=True and row in Postgres, beside the bare loop: the API
//! server's own pace. Runs alternate, each with a fresh namespace, so that a machine's mood meets both.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process;
use crate::report::{self, Row};
use crate::stage::{self, Stage, Tenant};
use crate::support::process::{Server, Start};
use crate::support::{folder, operator::Settings};
use crate::watching::Watching;

/// One run.
#[derive(Debug, Clone, Copy)]
struct Run {
    took: Duration,
    /// Processor time of the process under measurement, until it was quiet again.
    processor: Duration,
}

pub async fn measure(stage: &mut Stage) -> Result<Vec<Row>> {
    let count = stage.scale.resources;
    let status = {
        let mut tenant = stage.tenant().await?;
        tenant.converge(1).await?;
        tenant.status_of_an_address().await?
    };
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for run in 0..stage.scale.runs {
        // Whoever comes second finds a fuller etcd: each does in turn.
        if run % 2 == 0 {
            bare.push(bare_loop(stage, count, &status).await?);
        }
        let (run_of_ours, tenant) = controller(stage, count).await?;
        ours.push(run_of_ours);
        if run % 2 != 0 {
            bare.push(bare_loop(stage, count, &status).await?);
        }
        stage.leave(tenant);
    }
    let took = |runs: &[Run]| report::median(runs.iter().map(|run| run.took).collect()).context("no runs");
    let each = |runs: &[Run]| report::median(runs.iter().map(|run| run.processor.as_secs_f64() * 1_000.0 / count as f64).collect());
    let (our_time, bare_time) = (took(&ours)?, took(&bare)?);
    let (our_share, bare_share) = (each(&ours).context("no runs")?, each(&bare).context("no runs")?);
    let ratio = our_time.as_secs_f64() / bare_time.as_secs_f64();
    Ok(vec![
        Row::told(format!("convergence of {count} addresses, time"), report::seconds(our_time))
            .beside(report::seconds(bare_time), ratio)
            .wanted("at most 1.10 (aim 1.03)", ratio <= 1.10),
        Row::told("convergence, processor time a resource", format!("{our_share:.3} ms"))
            .beside(format!("{bare_share:.3} ms"), our_share / bare_share)
            .wanted("at most 0.35 ms", our_share <= 0.35),
    ])
}

async fn controller(stage: &Stage, count: usize) -> Result<(Run, Tenant)> {
    let mut tenant = stage.tenant().await?;
    let before = process::processor_time(tenant.operator.pid())?;
    let took = tenant.converge(count).await?;
    let at_once = process::processor_time(tenant.operator.pid())?.saturating_sub(before);
    process::quiet(tenant.operator.pid()).await?;
    let processor = process::processor_time(tenant.operator.pid())?.saturating_sub(before);
    eprintln!(
        "  controller: {}, processor {} ({} when the last was Ready)",
        report::seconds(took),
        report::seconds(processor),
        report::seconds(at_once)
    );
    Ok((Run { took, processor }, tenant))
}

async fn bare_loop(stage: &Stage, count: usize, status: &Value) -> Result<Run> {
    let namespace = stage.cluster.fresh_namespace().await;
    let database = stage.a_database().await;
    // The controller's own rights, for the API server looks them up with each request.
    let settings = Settings::new(stage.cluster, &database, &[&namespace]).await;
    let file = folder::run().join(format!("status-{namespace}"));
    std::fs::write(&file, status.to_string())?;
    let program = std::env::current_exe()?;
    let mut server = Server::start(Start {
        name: &format!("bare-loop-{namespace}"),
        program: &program,
        arguments: vec!["bare-loop".into(), settings.kubeconfig.display().to_string(), namespace.clone(), file.display().to_string()],
        environment: Vec::new(),
        log_folder: folder::run(),
        death_signal: "KILL",
        user: None,
    });
    server.ready(stage::PATIENCE, async |server: &Server| server.log().contains("watching")).await.map_err(anyhow::Error::msg)?;
    let addresses = Watching::start(stage::slim_api(&stage::client(stage.cluster.kubeconfig()).await?, "EmailAddress", &namespace));
    let before = process::processor_time(server.pid())?;
    let began = std::time::Instant::now();
    stage::create(stage.cluster.kubeconfig(), &namespace, (0..count).map(stage::address)).await?;
    let ended = addresses.until("Ready", count, stage::LONG).await.with_context(|| server.tail())?;
    process::quiet(server.pid()).await?;
    let processor = process::processor_time(server.pid())?.saturating_sub(before);
    let took = ended.duration_since(began);
    eprintln!("  bare loop: {}, processor {}", report::seconds(took), report::seconds(processor));
    Ok(Run { took, processor })
}
