//! What the controller costs, on real servers, each figure beside a baseline that is measured in the same run.
//!
//! `make bench` measures everything and keeps the table in docs/performance.md. One measurement alone, printed only:
//! `cargo bench --bench controller -- convergence`. `QUICK=1` measures with a tenth of the resources, to see whether everything works;
//! `LONG=1` measures memory with 50,000 resources too. Missing a target is no failure; a figure that can't be had is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark that can't run has failed"
)]

mod bare;
mod convergence;
mod idle;
mod lock;
mod machine;
mod memory;
mod passwords;
mod process;
mod report;
mod restart;
mod revoke;
mod stage;
#[path = "../../tests/support/mod.rs"]
mod support;
mod watching;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use report::Row;
use stage::{Scale, Stage};

/// In the order in which they run: those behind use the tenant that convergence leaves.
const MEASUREMENTS: [&str; 7] = ["convergence", "memory", "restart", "idle", "lock", "revoke", "passwords"];

#[tokio::main]
async fn main() -> ExitCode {
    support::install_crypto_provider();
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["bare-loop", kubeconfig, namespace, status] => bare::run(Path::new(kubeconfig), namespace, Path::new(status)).await,
        ref names => measure(names).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(names: &[&str]) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| !MEASUREMENTS.contains(name)) {
        bail!("{unknown} is none of: {}", MEASUREMENTS.join(", "));
    }
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    let scale = if set("QUICK") {
        Scale { resources: 1_000, runs: 1, samples: 20, quick: true, long: set("LONG") }
    } else {
        Scale { resources: 10_000, runs: 3, samples: 200, quick: false, long: set("LONG") }
    };
    let mut stage = Stage::set_up(scale).await;
    let mut rows: Vec<Row> = Vec::new();
    for name in MEASUREMENTS.into_iter().filter(|name| names.is_empty() || names.contains(name)) {
        eprintln!("measuring {name} ...");
        let measured = match name {
            "convergence" => convergence::measure(&mut stage).await,
            "memory" => memory::measure(&mut stage).await,
            "restart" => restart::measure(&mut stage).await,
            "idle" => idle::measure(&mut stage).await,
            "lock" => lock::measure(&mut stage).await,
            "revoke" => revoke::measure(&mut stage).await,
            _ => passwords::measure(&mut stage).await,
        };
        let measured = measured.with_context(|| format!("failed to measure {name}"))?;
        // A run takes long, and the next measurement may fail.
        eprintln!("{}\n", report::table(&measured));
        rows.extend(measured);
    }
    let machine = machine::describe(&stage).await?;
    let table = report::table(&rows);
    println!("{table}\n\n{machine}");
    if names.is_empty() && !scale.quick {
        report::keep(&format!("{machine}\n\n{table}"))?;
    }
    Ok(())
}
