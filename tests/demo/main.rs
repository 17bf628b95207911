//! `make demo`: starts a control plane, Postgres, a company directory and the controller on this machine, and plays what a tenant sees of
//! them.
//!
//! `KEEP=1` leaves all of it running afterwards, until Ctrl-C. `CLUSTER=FILE` plays on the cluster of that kubeconfig in place of
//! one of our own; what the demo made there it takes away again, and what was there before it does not touch.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "servers for tests: tests/support")]

mod acts;
mod directory;
mod props;
mod stage;
#[path = "../support/mod.rs"]
mod support;

use anyhow::{Context as _, Result, anyhow};
use props::Props;
use stage::Stage;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use support::operator::Settings;
use support::{Cluster, Operator, folder, tools};
use tokio::signal::unix::{SignalKind, signal};

/// The tenant, the tenant who wants the same domain, and where the controller keeps its Lease.
const TENANT: &str = "acme";
const RIVAL: &str = "globex";
const SYSTEM: &str = "mailroster-demo";

#[tokio::main]
async fn main() -> ExitCode {
    match play().await {
        Ok(()) => {
            println!("\nAll of it held.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts all parts, plays the acts, and takes away what it put into somebody else's cluster, however the acts went.
async fn play() -> Result<()> {
    let borrowed = std::env::var_os("CLUSTER").filter(|file| !file.is_empty()).map(PathBuf::from);
    println!("Starting {}Postgres, slapd and the controller ...", if borrowed.is_some() { "" } else { "etcd, kube-apiserver, " });
    let (database, slapd) = tokio::join!(support::fresh_database(), support::slapd());
    let cluster = match &borrowed {
        Some(file) => {
            let kubeconfig = file.canonicalize().with_context(|| format!("CLUSTER={}", file.display()))?;
            Cluster::new(&kubeconfig, &tools::kubernetes().join("kubectl"), &folder::run().join("cache"))
        }
        None => Cluster::clone(support::control_plane().await),
    };
    let stage = Stage::new(&cluster, &database.url, directory::environment(slapd)?);
    let props = Props::set_up(&stage, &cluster).await?;
    let settings = Settings {
        kubeconfig: cluster.kubeconfig().to_owned(),
        store: database.url.clone(),
        namespaces: vec![TENANT.to_owned(), RIVAL.to_owned()],
        system_namespace: SYSTEM.to_owned(),
        arguments: Vec::new(),
        environment: Vec::new(),
    };
    let mut operator = Operator::try_start_with(settings).await;
    let mut outcome = match &mut operator {
        Ok(operator) => perform(&stage, operator).await,
        Err(message) => Err(anyhow!("the controller did not start: {message}")),
    };
    // While the controller runs: it has finalizers to take off.
    if borrowed.is_some() {
        outcome = outcome.and(props.tidy_up(&stage).await);
    }
    if let Ok(operator) = &mut operator
        && outcome.is_ok()
    {
        let status = operator.terminate().await;
        anyhow::ensure!(status.success(), "the controller, asked to end, ended with {status}; {}", operator.tail());
    }
    outcome
}

async fn perform(stage: &Stage, operator: &mut Operator) -> Result<()> {
    let outcome = tokio::select! {
        played = async {
            acts::all(stage).await?;
            directory::all(stage).await
        } => played,
        status = operator.ended(Duration::MAX) => Err(anyhow!("the controller ended: {status}")),
        () = asked_to_end() => anyhow::bail!("it was interrupted"),
    };
    let outcome = outcome.map_err(|error| anyhow!("{error:#}\n{}", operator.tail()));
    if std::env::var_os("KEEP").is_some_and(|keep| !keep.is_empty() && keep != "0") {
        if let Err(error) = &outcome {
            eprintln!("\nThe demo fails: {error:#}");
        }
        println!("\nAll of it is still running; Ctrl-C ends it. For another shell:\n{}", stage.for_another_shell());
        asked_to_end().await;
    }
    outcome
}

/// Waits for Ctrl-C or SIGTERM.
async fn asked_to_end() {
    let mut terminate = signal(SignalKind::terminate()).expect("a signal handler");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
