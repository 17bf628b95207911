//! What mail servers report, what a hand in SQL does, and the time that passes.

use std::time::Duration;

use crate::names;
use crate::world::World;
use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};

fn uuid(world: &mut World) -> String {
    let (high, low) = (world.dice.below(u64::MAX), world.dice.below(u64::MAX));
    uuid::Uuid::from_u64_pair(high, low).to_string()
}

fn address(world: &mut World) -> String {
    let (domain, _) = names::domain(&mut world.dice);
    format!("{}@{domain}", names::mailbox(&mut world.dice))
}

/// Right and wrong logons, at times as many as lock.
pub async fn logon(world: &mut World) {
    let address = address(world);
    let times = if names::percent(&mut world.dice, 40) { 3 } else { 1 };
    let outcome = *names::pick(&mut world.dice, &["wrong_password", "wrong_password", "success", "source_refused"]);
    let mut done = Ok(());
    for _ in 0..times {
        let event = uuid(world);
        let sql = format!("SELECT gateway.record_logon_v1('{event}', '{address}', '{outcome}', 'imap')");
        done = done.and(world.run(&world.auth, &sql).await);
    }
    world.note(&format!("logon {outcome}"), &format!("{address}, {times} times"), &done);
}

pub async fn reset_code(world: &mut World) {
    let address = address(world);
    let correct = names::percent(&mut world.dice, 10);
    let mut done = Ok(());
    for _ in 0..4 {
        let event = uuid(world);
        let sql = format!("SELECT gateway.record_reset_code_v1('{event}', '{address}', {correct})");
        done = done.and(world.run(&world.auth, &sql).await);
    }
    world.note("reset codes", &format!("{address}, correct: {correct}"), &done);
}

pub async fn held(world: &mut World) {
    let queue = *names::pick(&mut world.dice, &["mx1", "mx2"]);
    let count = world.dice.below(4);
    let mut messages = Vec::new();
    for _ in 0..count {
        let id = world.next_serial();
        let addresses = [address(world), address(world)];
        let state = *names::pick(&mut world.dice, &["held", "queued", "processing"]);
        messages.push(serde_json::json!({"id": format!("m{id}"), "since": "2026-01-01T08:00:00Z", "state": state, "addresses": addresses}));
    }
    let sql = format!("SELECT gateway.record_held_v1('{queue}', $held${}$held$)", serde_json::Value::Array(messages));
    let done = world.run(&world.mta, &sql).await;
    world.note("report of held mail", &format!("{count} messages in {queue}"), &done);
}

pub async fn sender(world: &mut World) {
    let (domain, _) = names::domain(&mut world.dice);
    let sender = format!("{}@{domain}", names::sender(&mut world.dice));
    let done = world.run(&world.mta, &format!("SELECT gateway.record_sender_v1('{sender}')")).await;
    world.note("sender", &sender, &done);
}

/// A user's own new password.
pub async fn change_password(world: &mut World) {
    let address = address(world);
    let parameters = Params::new(19_456, 2, 1, None).expect("parameters");
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    let phc = hasher.hash_password(format!("Own-{}", world.next_serial()).as_bytes()).expect("a hash").to_string();
    let done = world.run(&world.auth, &format!("SELECT gateway.change_password_v1('{address}', '{phc}')")).await;
    world.note("change a password", &address, &done);
}

/// A hand edits a column that resources declare (C4).
pub async fn hand(world: &mut World) {
    let address = address(world);
    let number = world.next_serial();
    let edit = match world.dice.below(4) {
        0 => format!("display_name = 'by hand {number}'"),
        1 => "disabled = NOT disabled".to_owned(),
        2 => format!("attributes = '{{\"room\": \"by hand {number}\"}}'"),
        _ => "smtp_submission = NOT smtp_submission, pop = NOT pop".to_owned(),
    };
    let sql = format!("UPDATE mailroster.address SET {edit} WHERE canonical = '{address}'");
    let done = world.run(&world.database.pool, &sql).await;
    world.note("edit by hand", &format!("{address}: {edit}"), &done);
}

/// Time passes: mostly seconds, now and then a day or two.
pub async fn clock(world: &mut World) {
    let most = *names::pick(&mut world.dice, &[10, 10, 60, 60, 600, 3_600, 4_000, 90_000, 172_800]);
    let seconds = 1 + i64::try_from(world.dice.below(most)).expect("seconds");
    let done = advance(world, seconds).await;
    world.note("move the clock", &format!("{seconds} s"), &done);
}

pub async fn advance(world: &World, seconds: i64) -> Result<(), String> {
    let sql = format!("UPDATE mailroster.test_clock SET ahead = ahead + interval '{seconds} seconds'; NOTIFY mailroster_change");
    let moved = world.run(&world.database.pool, &sql);
    tokio::time::timeout(Duration::from_secs(10), moved).await.unwrap_or_else(|_| Err("no answer".to_owned()))
}
