//! Faults, and the one who starts the controller again as a kubelet does.

use std::time::{Duration, Instant};

use crate::support::Operator;
use crate::world::World;
use serde_json::json;

/// What ends a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore {
    StartController,
    ThawController,
    StartApiServer,
    ThawApiServer,
    StartPostgres,
    ThawPostgres,
    StartDirectory,
    ThawDirectory,
}

/// Ends the faults whose time has come, begins another when it is time, and starts a controller that ended by itself.
pub async fn attend(world: &mut World, restarting: bool) {
    let now = Instant::now();
    let (due, rest) = std::mem::take(&mut world.restores).into_iter().partition(|(at, _)| *at <= now);
    world.restores = rest;
    let due: Vec<(Instant, Restore)> = due;
    for (_, restore) in due {
        end(world, restore).await;
    }
    attend_to_controller(world).await;
    if now >= world.next_fault && world.restores.is_empty() {
        begin(world, restarting).await;
        let pause = Duration::from_millis(4_000 + world.fault_dice.below(12_000));
        world.next_fault = Instant::now() + pause;
    }
}

async fn begin(world: &mut World, restarting: bool) {
    // An API server that is away for ten seconds costs the Lease, and with it the process: it too is left alone in the last part.
    let choice = if restarting { world.fault_dice.below(12) } else { 6 + world.fault_dice.below(6) };
    let pause = Duration::from_millis(500 + world.fault_dice.below(if restarting { 4_000 } else { 2_500 }));
    let (what, restore) = match choice {
        0 | 1 => {
            if let Some(mut operator) = world.operator.take() {
                operator.kill9();
                world.bury(&operator);
            }
            ("kill the controller", Restore::StartController)
        }
        2 => {
            let mut outcome = Ok(());
            if let Some(mut operator) = world.operator.take() {
                operator.terminate().await;
                world.bury(&operator);
            } else {
                outcome = Err("there is none".to_owned());
            }
            world.note("terminate the controller", "", &outcome);
            world.restores.push((Instant::now() + pause / 4, Restore::StartController));
            return;
        }
        3 | 4 => {
            if let Some(operator) = &world.operator {
                operator.freeze();
            }
            ("freeze the controller", Restore::ThawController)
        }
        5 => {
            world.cluster.kill_api_server().await;
            ("kill the API server", Restore::StartApiServer)
        }
        6 => {
            let cluster = world.cluster;
            cluster.freeze_api_server().await;
            in_time(pause, move || async move { cluster.thaw_api_server().await });
            ("freeze the API server", Restore::ThawApiServer)
        }
        7 | 8 => {
            world.postgres.kill().await;
            ("kill Postgres", Restore::StartPostgres)
        }
        9 => {
            let postgres = world.postgres;
            postgres.freeze().await;
            in_time(pause, move || async move { postgres.thaw().await });
            ("freeze Postgres", Restore::ThawPostgres)
        }
        10 => {
            world.directory.kill().await;
            ("kill the directory", Restore::StartDirectory)
        }
        _ => {
            world.directory.freeze().await;
            ("freeze the directory", Restore::ThawDirectory)
        }
    };
    world.note(what, &format!("for {pause:?}"), &Ok(()));
    world.restores.push((Instant::now() + pause, restore));
}

/// Thaws in time, also while an action waits for an answer: a freeze three times as long costs the Lease.
fn in_time<F: Future<Output = ()> + Send + 'static>(pause: Duration, thaw: impl FnOnce() -> F + Send + 'static) {
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        thaw().await;
    });
}

async fn end(world: &mut World, restore: Restore) {
    match restore {
        Restore::StartController => start(world).await,
        Restore::ThawController => {
            if let Some(operator) = &world.operator {
                operator.thaw();
            }
        }
        Restore::StartApiServer => world.cluster.start_api_server().await,
        Restore::ThawApiServer => world.cluster.thaw_api_server().await,
        Restore::StartPostgres => world.postgres.start_again().await,
        Restore::ThawPostgres => world.postgres.thaw().await,
        Restore::StartDirectory => world.directory.start_again().await,
        Restore::ThawDirectory => world.directory.thaw().await,
    }
    println!("         ended: {restore:?}");
}

async fn start(world: &mut World) {
    // Nobody gave the Lease back: else the next one would wait until it runs out.
    let lease = json!({"spec": {"holderIdentity": null}});
    let system = world.settings.system_namespace.clone();
    drop(world.resources.merge("Lease", &system, "mailroster", &lease).await);
    match Operator::try_start_with(world.settings.clone()).await {
        Ok(operator) => world.operator = Some(operator),
        Err(error) => world.note("the controller did not start", "", &Err(error)),
    }
}

/// One that ended by itself (its Lease was lost, say) is started again.
pub async fn attend_to_controller(world: &mut World) {
    if let Some(operator) = &mut world.operator
        && let Some(status) = operator.exited()
    {
        let last = operator.log().lines().last().unwrap_or_default().to_owned();
        if let Some(operator) = world.operator.take() {
            world.bury(&operator);
        }
        world.note("the controller ended by itself", &format!("{status}: {last}"), &Ok(()));
    }
    let coming = world.restores.iter().any(|(_, restore)| *restore == Restore::StartController);
    if world.operator.is_none() && !coming {
        start(world).await;
    }
}

/// Whether nobody can ask the directory, or change it.
pub fn is_directory_away(world: &World) -> bool {
    world.restores.iter().any(|(_, restore)| matches!(restore, Restore::StartDirectory | Restore::ThawDirectory))
}

/// Ends all faults.
pub async fn stop(world: &mut World) {
    for (_, restore) in std::mem::take(&mut world.restores) {
        end(world, restore).await;
    }
    attend_to_controller(world).await;
}
