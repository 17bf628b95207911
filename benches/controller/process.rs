//! What Linux tells of a process: the processor time it took and the memory it holds.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Ticks of `utime` and `stime` in a second: USER_HZ, which Linux keeps at 100 for whoever reads `/proc`.
const TICKS: u64 = 100;

/// Processor time since the process started, user and system, its threads' included.
pub fn processor_time(pid: u32) -> Result<Duration> {
    let file = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&file).with_context(|| format!("failed to read {file}"))?;
    // The program's name stands in parentheses and may hold spaces; 12 and 13 fields behind it are utime and stime.
    let (_, fields) = text.rsplit_once(')').context("a stat without a name")?;
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1_000 / TICKS))
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// What it holds now.
    pub resident: u64,
    /// The most it ever held.
    pub peak: u64,
}

pub fn memory(pid: u32) -> Result<Memory> {
    let file = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&file).with_context(|| format!("failed to read {file}"))?;
    let kibibytes = |field: &str| -> Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("{file} has no {field}"))?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1_024)
    };
    Ok(Memory { resident: kibibytes("VmRSS:")?, peak: kibibytes("VmHWM:")? })
}

/// Waits until the process has nothing left to do: less than a fiftieth of a core for two seconds.
pub async fn quiet(pid: u32) -> Result<()> {
    let mut quiet = 0;
    let mut before = processor_time(pid)?;
    while quiet < 4 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = processor_time(pid)?;
        quiet = if now.saturating_sub(before) <= Duration::from_millis(10) { quiet + 1 } else { 0 };
        before = now;
    }
    Ok(())
}
