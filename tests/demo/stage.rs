//! Where the acts are played: each command is printed as a user would type it, and that very line is run by a shell.

use crate::support::{Cluster, folder};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// How long a state may take to come.
const PATIENCE: Duration = Duration::from_mins(1);

pub struct Stage {
    environment: Vec<(&'static str, String)>,
}

impl Stage {
    /// `more`: what lines name besides the cluster and the store.
    pub fn new(cluster: &Cluster, store: &str, more: Vec<(&'static str, String)>) -> Self {
        let programs = [Some(cluster.kubectl_program()), Some(&*crate::support::operator::program())]
            .into_iter()
            .flatten()
            .filter_map(Path::parent)
            .map(|folder| folder.display().to_string())
            .collect::<Vec<_>>();
        let path = format!("{}:{}", programs.join(":"), std::env::var("PATH").unwrap_or_default());
        let kubeconfig = cluster.kubeconfig().display().to_string();
        let own = [("KUBECONFIG", kubeconfig), ("STORE", store.to_owned()), ("PATH", path)];
        Self { environment: own.into_iter().chain(more).collect() }
    }

    /// What a variable of the lines stands for.
    pub fn variable(&self, name: &str) -> &str {
        self.environment.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// Shows and runs a line; it must succeed. Returns what it printed.
    pub async fn run(&self, line: &str) -> Result<String> {
        println!("$ {line}");
        let (succeeded, output) = self.try_run(line).await?;
        show(&output);
        if !succeeded {
            bail!("this command failed: {line}");
        }
        Ok(output)
    }

    /// Runs a line without showing it; true when it succeeded.
    pub async fn try_run(&self, line: &str) -> Result<(bool, String)> {
        let output = Command::new("bash")
            .args(["-c", line])
            .envs(self.environment.iter().map(|(name, value)| (*name, value)))
            .env("KUBECACHEDIR", folder::run().join("cache")) // the installed kinds differ between runs
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }

    /// Shows a line and runs it until its output has `expected` in it.
    pub async fn run_until(&self, line: &str, expected: &str) -> Result<String> {
        println!("$ {line}");
        let end = Instant::now() + PATIENCE;
        loop {
            let (succeeded, output) = self.try_run(line).await?;
            if succeeded && output.contains(expected) {
                show(&output);
                return Ok(output);
            }
            if Instant::now() >= end {
                show(&output);
                bail!("not within {PATIENCE:?}: {expected:?} in the output of: {line}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The lines that bring another shell to the same place.
    pub fn for_another_shell(&self) -> String {
        let exports =
            self.environment.iter().filter(|(name, _)| *name != "PATH").map(|(name, value)| format!("    export {name}='{value}'"));
        let mut lines: Vec<_> = exports.collect();
        let ours = self.variable("PATH").split(':').take(2).collect::<Vec<_>>().join(":");
        lines.push(format!("    export PATH='{ours}':\"$PATH\""));
        lines.push("    kubectl get mailroster -A".to_owned());
        lines.push("    psql \"$STORE\"".to_owned());
        lines.join("\n")
    }
}

/// Announces what comes next.
pub fn act(title: &str) {
    println!("\n=== {title}");
}

fn show(output: &str) {
    for line in output.trim_end().lines() {
        println!("  {line}");
    }
}
