//! Where the figures come from: a figure without its machine says little.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::stage::{self, Stage};

/// The machine and the versions, a line each, as a Markdown list.
pub async fn describe(stage: &Stage) -> Result<String> {
    let field = |file: &str, name: &str| -> Result<String> {
        let text = fs::read_to_string(file).with_context(|| format!("failed to read {file}"))?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        Ok(value.trim_start_matches([' ', '\t', ':']).trim().to_owned())
    };
    let cores = std::thread::available_parallelism()?;
    let kibibytes: f64 = field("/proc/meminfo", "MemTotal")?.trim_end_matches(" kB").parse().context("MemTotal")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let kubernetes = stage::client(stage.cluster.kubeconfig()).await?.apiserver_version().await?.git_version;
    let postgres = stage.a_database().await.text("SELECT current_setting('server_version')").await;
    let rustc = Command::new(option_env!("RUSTC").unwrap_or("rustc")).arg("--version").output().context("rustc")?;
    Ok([
        format!("- {cores} cores, {}; {:.0} GB of memory", field("/proc/cpuinfo", "model name")?, kibibytes * 1_024.0 / 1e9),
        format!("- Linux {}", field("/proc/sys/kernel/osrelease", "")?),
        format!("- {}, release profile", String::from_utf8_lossy(&rustc.stdout).trim()),
        format!("- PostgreSQL {postgres} with fsync; Kubernetes {kubernetes}; etcd without fsync, for its disk is not what is measured"),
        format!(
            "- servers, clients and controller share these cores; load average when the last measurement had ended: {}",
            load.split(' ').next().unwrap_or_default()
        ),
    ]
    .join("\n"))
}
