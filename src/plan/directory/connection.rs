//! DirectoryConnections themselves: when they run, what their runs came to, what waits for a yes (SPEC Y5 to Y8, C2).

use jiff::{SignedDuration, Timestamp};

use super::Begin;
use super::rows::{ConnectionRow, RunRecord};
use crate::model::{Kind, ResourceKey};
use crate::plan::desired::{Action, ConnectionDeclared, Resource, SecretState};
use crate::plan::reason::{Disposition, Reason};
use crate::plan::subject::Subject;
use crate::plan::verdict::{Condition, ConnectionDetail, Detail, Finding, HeldPlan, Verdict};
use crate::plan::working::Working;

/// After a run that met a fault which may pass by itself.
const RETRY: SignedDuration = SignedDuration::from_mins(1);

/// Ends what is no longer declared (Y8).
pub(in crate::plan) fn settle(w: &mut Working<'_>) {
    for (namespace, name) in w.next.connections.keys().cloned().collect::<Vec<_>>() {
        let key = ResourceKey::new(Kind::DirectoryConnection, &namespace, &name);
        let sheltered = w.desired.sheltered.contains(&(Kind::DirectoryConnection, namespace.clone()));
        let ended = w.desired.resources.get(&key).map_or(w.has_ended(&key), |resource| resource.deleting);
        if ended && !sheltered {
            w.next.connections.remove(&(namespace.clone(), name.clone()));
            w.by_rule(Subject::Connection(namespace, name), "Undeclared");
        }
    }
}

/// `declared`: None while the spec can't be acted on.
pub(in crate::plan) fn judge(w: &mut Working<'_>, resource: &Resource, declared: Option<&ConnectionDeclared>) -> Verdict {
    let key = &resource.key;
    let row = w.next.connections.get(&(key.namespace.clone(), key.name.clone())).cloned().unwrap_or_default();
    let ready = match declared.map(|declared| &declared.secrets) {
        Some(SecretState::Refused(violation)) => violation.clone().into(),
        _ => ready(&row),
    };
    if let Some(declared) = declared
        && let SecretState::Ready(secrets) = &declared.secrets
        && !resource.deleting
        && !resource.suspended
    {
        begin_what_is_due(w, resource, declared, secrets, &row);
    }
    let conditions = vec![leavers(&row, key), holders(&row, key), ending(w, &row, key)];
    let detail = ConnectionDetail {
        last_run: row.last_run,
        last_complete: row.last_complete,
        last_successful: row.last_successful,
        held_leavers: row.held_leavers,
        held_holders: row.held_holders,
    };
    Verdict { conditions, ..crate::plan::blank(resource, ready, Detail::Connection(Box::new(detail))) }
}

fn ready(row: &ConnectionRow) -> Finding {
    let Some(run) = &row.last_run else {
        return Finding { reason: Reason::NeverRun, message: "the first run has not ended yet".to_owned() };
    };
    if let Some(problem) = &run.problem {
        return Finding { reason: problem.reason, message: problem.message.clone() };
    }
    let counts = run.counts;
    let mut message = format!(
        "{} entries read from {}; addresses: {} created, {} updated, {} unchanged",
        counts.read, run.server, counts.created, counts.updated, counts.unchanged
    );
    if counts.missing > 0 {
        message += &format!(", {} missing", counts.missing);
    }
    if counts.reported > 0 {
        message += &format!("; {} to look at in status.lastRun.reports", counts.reported);
    }
    Finding::fine(message)
}

/// A run that is due begins; so does one that was asked for, and what somebody said yes to.
fn begin_what_is_due(w: &mut Working<'_>, resource: &Resource, declared: &ConnectionDeclared, secrets: &str, row: &ConnectionRow) {
    let key = &resource.key;
    let requested = w.requested.contains(key);
    // What the last run came to says nothing of another spec; that nobody was let in or trusted, nothing of another password or authority.
    let last_run =
        row.last_run.as_ref().filter(|run| row.generation == resource.generation && (row.secrets == secrets || !was_kept_out(run)));
    let next = last_run.map_or(w.now, |run| next_run(key, declared, run));
    let approves = [&row.held_leavers, &row.held_holders].into_iter().flatten().any(|plan| {
        let slot = (key.clone(), Action::Approve);
        resource.actions.0.get(&Action::Approve) == Some(&plan.hash) && w.next.handled.get(&slot) != Some(&plan.hash)
    });
    let begin = if requested {
        Some(Begin::Requested)
    } else if approves {
        Some(Begin::Judge)
    } else {
        (next <= w.now).then_some(Begin::Due)
    };
    w.runs.extend(begin.map(|begin| (key.clone(), begin)));
    if next > w.now {
        w.moments.push((next, Subject::Connection(key.namespace.clone(), key.name.clone())));
    }
}

/// Whether a run came to nothing for it read nothing.
fn was_kept_out(run: &RunRecord) -> bool {
    run.problem.is_some() && run.counts.read == 0
}

/// When the next run begins: each connection has its own place within a tenth of the interval, so that a hundred do not ask one server
/// in the same second.
fn next_run(key: &ResourceKey, declared: &ConnectionDeclared, run: &RunRecord) -> Timestamp {
    let failed = was_kept_out(run) && run.problem.as_ref().is_some_and(|problem| problem.reason.disposition() == Disposition::Waiting);
    let interval = if failed { declared.interval.min(RETRY) } else { declared.interval };
    let place = key.to_string().bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))) % 1_000;
    let jitter = interval.as_millis() * i128::from(place) / 10_000;
    let after = interval + SignedDuration::from_millis(i64::try_from(jitter).unwrap_or(0));
    run.started_at.saturating_add(after).unwrap_or(run.started_at)
}

fn leavers(row: &ConnectionRow, key: &ResourceKey) -> Condition {
    let told = |plan: &HeldPlan| format!("{} addresses that the directory lacks wait for a yes: {}", plan.count, approve(key, plan));
    match &row.held_leavers {
        Some(plan) => Condition::new("DeletionsHeld", true, Reason::MassDeletion, told(plan)),
        None => Condition::quiet("DeletionsHeld", false, Reason::NothingHeld),
    }
}

fn holders(row: &ConnectionRow, key: &ResourceKey) -> Condition {
    match &row.held_holders {
        Some(plan) => {
            let exchange = plan.sample.iter().all(|line| line.starts_with("Exchange "));
            let reason = if exchange { Reason::AddressesExchanged } else { Reason::HolderChanged };
            let message = format!(
                "{} addresses have another holder or exchange them; if they are the same people: {}",
                plan.count,
                approve(key, plan)
            );
            Condition::new("HolderChanged", true, reason, message)
        }
        None => Condition::quiet("HolderChanged", false, Reason::SameHolder),
    }
}

/// Y6: what takes no more mail soon, before it happens.
fn ending(w: &mut Working<'_>, row: &ConnectionRow, key: &ResourceKey) -> Condition {
    let Some(ending) = row.ending.as_ref().filter(|ending| ending.last > w.now) else {
        return Condition::quiet("AddressesEnding", false, Reason::NobodyEnds);
    };
    w.moments.push((ending.last, Subject::Connection(key.namespace.clone(), key.name.clone())));
    let more = if ending.count > ending.sample.len() { ", …" } else { "" };
    let message = format!(
        "{} addresses that the directory lacks take no more mail from {} on: {}{more}; declare an EmailAddress or AliasLink for each that is to stay, or bring it back in the directory",
        ending.count,
        ending.first,
        ending.sample.join(", ")
    );
    Condition::new("AddressesEnding", true, Reason::LeaversDue, message)
}

fn approve(key: &ResourceKey, plan: &HeldPlan) -> String {
    format!("kubectl -n {} annotate directoryconnection {} mailroster.dev/approve={} --overwrite", key.namespace, key.name, plan.hash)
}

pub(in crate::plan) fn absent_conditions(ready: &Finding) -> Vec<Condition> {
    ["DeletionsHeld", "HolderChanged", "AddressesEnding"]
        .map(|kind| Condition::new(kind, false, ready.reason, ready.message.clone()))
        .into()
}
