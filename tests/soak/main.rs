//! `make soak`: random use and random faults for a while, from a seed that is printed; at the end two models say what must be.
//!
//! `SOAK_MINUTES` (20) and `SOAK_SEED` (chance) set it. The seed decides what is done and in which order; how the servers' own timing falls
//! between is not ours to repeat. Each action is one line. The outcome is a failure when anything differs from either model, when a
//! mail server was told a wrong thing at any moment, when memory grew, or when something is left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "servers for tests: tests/support")]

mod actions;
mod directory;
mod ending;
mod faults;
mod gateway;
mod memory;
mod names;
mod plain;
mod pure;
mod resources;
#[path = "../support/mod.rs"]
mod support;
mod watcher;
mod world;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use world::World;

/// What part of the run ends the controller by force; in the rest one process has to live with all the other faults (memory).
const RESTARTING_PERCENT: u32 = 65;

#[tokio::main]
async fn main() -> ExitCode {
    let minutes: u32 = number("SOAK_MINUTES").map_or(20, |minutes| u32::try_from(minutes).expect("SOAK_MINUTES"));
    let seed = number("SOAK_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("SOAK_SEED={seed} SOAK_MINUTES={minutes}");
    let mut world = World::set_up(seed).await;
    let watcher = watcher::Watcher::start(&world.database, &world.steady);
    let run = Duration::from_mins(1) * minutes;
    let began = Instant::now();
    let mut memory = memory::Memory::new(run * (100 - RESTARTING_PERCENT) / 100);
    while began.elapsed() < run {
        let restarting = began.elapsed() < run * RESTARTING_PERCENT / 100;
        faults::attend(&mut world, restarting).await;
        actions::one(&mut world).await;
        // Where a server is away nothing but its absence should go on.
        if std::mem::take(&mut world.failed) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if !restarting {
            memory.sample(&world).await;
        }
    }
    let mut differences = ending::come_to_rest(&mut world).await;
    differences.extend(pure::judge_until(&mut world).await);
    differences.extend(plain::judge(&world).await);
    differences.extend(ending::stands_still(&world).await);
    differences.extend(watcher.end().await);
    differences.extend(std::mem::take(&mut world.wrong));
    differences.extend(world.judge_logs());
    differences.extend(memory.judge());

    println!("\nSummary of SOAK_SEED={seed}, {minutes} minutes:");
    for (what, count) in &world.counts {
        println!("  {count:>6} {what}");
    }
    println!("  {memory}");
    println!("  {}", world.state().await);
    if differences.is_empty() {
        println!("All is as both models say.");
        return ExitCode::SUCCESS;
    }
    println!("{} differences:", differences.len());
    for difference in &differences {
        println!("  - {difference}");
    }
    println!("{}", world.keep_logs());
    ExitCode::FAILURE
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}
