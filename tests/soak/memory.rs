//! Whether the controller's memory stays flat: its resident set in the second and in the last third of the time in which it is not
//! restarted, each with the number of resources at that moment.

use std::fmt;
use std::time::{Duration, Instant};

use crate::world::World;

const SAMPLES: u32 = 18;
/// Of less time nothing can be said: connections, and the 20 MB a core that passwords are hashed in, come with the first need for them.
const WORTH_JUDGING: Duration = Duration::from_mins(2);
/// What one resource more may take, in kB.
const EACH: u64 = 3;

pub struct Memory {
    of: Duration,
    every: Duration,
    last: Option<Instant>,
    process: Option<u32>,
    /// Resident kB and resources.
    samples: Vec<(u64, u64)>,
}

impl Memory {
    pub fn new(of: Duration) -> Self {
        Self { of, every: of / SAMPLES, last: None, process: None, samples: Vec::new() }
    }

    pub async fn sample(&mut self, world: &World) {
        let Some(operator) = &world.operator else { return };
        if self.last.is_some_and(|last| last.elapsed() < self.every) {
            return;
        }
        // Another process has a memory of its own.
        if self.process != Some(operator.pid()) {
            self.process = Some(operator.pid());
            self.samples.clear();
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", operator.pid())).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok());
        let (Some(resident), Ok(all)) = (resident, world.resources.list_all().await) else { return };
        self.last = Some(Instant::now());
        self.samples.push((resident, all.len() as u64));
    }

    fn thirds(&self) -> Option<[(u64, u64); 2]> {
        let third = self.samples.len() / 3;
        let median = |samples: &[(u64, u64)]| {
            let mut samples = samples.to_vec();
            samples.sort_unstable();
            samples.get(samples.len() / 2).copied()
        };
        // The first third is of a process that still grows into its work: connections, indexes, memory to hash in.
        let second = median(self.samples.get(third..2 * third)?)?;
        Some([second, median(self.samples.get(2 * third..)?)?])
    }

    pub fn judge(&self) -> Vec<String> {
        if self.of < WORTH_JUDGING {
            return Vec::new();
        }
        let Some([first, last]) = self.thirds() else { return vec!["the controller's memory could not be looked at".to_owned()] };
        let allowed = first.0 + first.0 / 10 + 2_048 + EACH * last.1.saturating_sub(first.1);
        if last.0 > allowed { vec![format!("memory is not flat: {self}, allowed were {allowed} kB")] } else { Vec::new() }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.thirds() {
            Some([first, last]) => write!(
                f,
                "memory of one controller: {} kB with {} resources after a warm-up, {} kB with {} at the end ({} samples)",
                first.0,
                first.1,
                last.0,
                last.1,
                self.samples.len()
            ),
            None => write!(f, "memory: {} samples", self.samples.len()),
        }?;
        if self.of < WORTH_JUDGING { f.write_str(", too short a time to judge it by") } else { Ok(()) }
    }
}
