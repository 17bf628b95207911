//! Owners that went out of sight (SPEC U6): rows name a resource that a complete list lacks, though nobody saw it end (a finalizer
//! torn off, a deletion while the controller was down, a cluster made anew).
//!
//! The store remembers since when, so that a restart forgets nothing. After a day the resource counts as ended: an address as deleted
//! with Retain; links, delegations and roles are revoked, a day's share of them unasked, the rest held until its hash is approved on
//! AccountSettings. What shows itself again, or is not proved missing any more, is forgotten. The steps of the kinds carry the ends out:
//! they ask [`Working::owner`], which asks for [`Working::gone`].

use std::collections::BTreeSet;
use std::ops::Bound;

use jiff::{SignedDuration, Timestamp};

use super::guard;
use super::observed::{Absence, Observed};
use super::reason::Reason;
use super::subject::Subject;
use super::verdict::{Condition, Finding, HeldPlan};
use super::working::Working;
use crate::model::{Kind, Named, ResourceKey};

/// How long a resource must be missing before anything follows, and for how long what followed counts against the next share.
pub const DAY: SignedDuration = SignedDuration::from_hours(24);
/// When what could not be carried out is looked at again.
const AGAIN: SignedDuration = SignedDuration::from_mins(1);
/// What may always be revoked within a day.
const LEAST: u64 = 2;
/// The kinds whose end revokes a right.
const RIGHTS: [Kind; 3] = [Kind::AliasLink, Kind::DelegateMailbox, Kind::AdminRole];

pub(super) fn settle(w: &mut Working<'_>) {
    // A namespace that is ending or can't be seen proves nothing: what is known of it stands (U4).
    for namespace in w.desired.namespaces.keys() {
        note(w, namespace);
        approve(w, namespace);
        for kind in Kind::ALL {
            carry_out(w, namespace, kind);
        }
        forget_in_time(w, namespace);
    }
}

/// Keeps the list of what is missing, and since when.
fn note(w: &mut Working<'_>, namespace: &str) {
    let uid = w.desired.namespaces.get(namespace);
    let known = w.next.namespaces.get(namespace);
    // Another uid, another cluster: what was missing there has yet to be missed here.
    let anew = known.is_some() && known != uid;
    if let Some(uid) = uid.filter(|uid| known != Some(uid)) {
        w.next.namespaces.insert(namespace.to_owned(), uid.clone());
    }
    let over = |absence: &Absence, now: Timestamp| absence.ended_at.is_some_and(|at| now.duration_since(at) >= DAY);
    for key in keys_of(&w.next, namespace) {
        let ended = w.next.absences.get(&key).is_some_and(|absence| absence.ended_at.is_some());
        let forget = if ended { w.next.absences.get(&key).is_some_and(|absence| over(absence, w.now)) } else { anew || is_back(w, &key) };
        if forget {
            w.next.absences.remove(&key);
        }
    }
    let missing: Vec<_> = w.desired.missing_in(namespace).cloned().collect();
    for key in missing {
        // One that counts as ended stays so for its day, whatever its name did since: else it would count against no share.
        w.next.absences.entry(key).or_insert(Absence { since: w.now, held: false, approved: false, ended_at: None });
    }
}

/// Whether a list of this run was compared with the store and the resource is not among the missing ones any more.
fn is_back(w: &Working<'_>, key: &ResourceKey) -> bool {
    w.desired.is_sighted(key) && !w.desired.missing.contains(key)
}

/// What is known to be absent in a namespace.
fn keys_of(observed: &Observed, namespace: &str) -> Vec<ResourceKey> {
    Kind::ALL.into_iter().flat_map(|kind| of(observed, kind, namespace)).map(|(key, _)| key.clone()).collect()
}

/// What is known to be absent of a kind in a namespace.
fn of<'o>(observed: &'o Observed, kind: Kind, namespace: &'o str) -> impl Iterator<Item = (&'o ResourceKey, &'o Absence)> {
    let first = (kind, namespace, "");
    let from: Bound<&dyn Named> = Bound::Included(&first);
    let found = observed.absences.range::<dyn Named, _>((from, Bound::Unbounded));
    found.take_while(move |(key, _)| key.kind == kind && key.namespace == namespace)
}

/// C6: the `approve` of AccountSettings releases exactly the plan with that hash.
fn approve(w: &mut Working<'_>, namespace: &str) {
    let Some(held) = held_plan(&w.next, namespace) else {
        return;
    };
    let Some(resource) = w.resource(Kind::AccountSettings, namespace, "default").filter(|resource| resource.active().is_some()) else {
        return;
    };
    if !w.take_approval(resource, &held) {
        return;
    }
    for (_, absence) in w.next.absences.iter_mut().filter(|(key, absence)| key.namespace == namespace && absence.held) {
        *absence = Absence { held: false, approved: true, ..*absence };
    }
}

/// Ends what was missing for a day, the longest missing first, and holds what is beyond the day's share.
fn carry_out(w: &mut Working<'_>, namespace: &str, kind: Kind) {
    if w.desired.sheltered.contains(&(kind, namespace.to_owned())) {
        return; // the kind is ending, or may not be seen (U4)
    }
    let mut open: Vec<(Timestamp, ResourceKey)> = of(&w.next, kind, namespace)
        .filter(|(_, absence)| absence.ended_at.is_none() && !absence.held)
        .filter(|(key, _)| w.desired.missing.contains(*key))
        .map(|(key, absence)| (absence.since, key.clone()))
        .collect();
    open.sort();
    let mut room = RIGHTS.contains(&kind).then(|| share(w, namespace, kind).saturating_sub(ended_within_a_day(w, namespace, kind)));
    for (since, key) in open {
        let due = since.saturating_add(DAY).unwrap_or(since);
        if due > w.now {
            w.moments.push((due, Subject::Absences(namespace.to_owned())));
            return;
        }
        let Some(absence) = w.next.absences.get_mut(&key) else {
            continue;
        };
        if let (Some(room), false) = (&mut room, absence.approved) {
            if *room == 0 {
                absence.held = true;
                continue;
            }
            *room -= 1;
        }
        if w.desired.overdue.contains(&key) {
            absence.ended_at = Some(w.now);
            w.gone.insert(key);
        } else {
            // Its rows are not in view: there are more than one plan takes, it was approved just now, or the API server could not be asked
            // whether it is there.
            let approved_now = absence.approved && w.before.absences.get(&key).is_some_and(|before| !before.approved);
            let pause = if approved_now { SignedDuration::ZERO } else { AGAIN };
            w.moments.push((w.now.saturating_add(pause).unwrap_or(w.now), Subject::Absences(namespace.to_owned())));
        }
    }
}

/// What ended, in this plan too, is forgotten when its day is over.
fn forget_in_time(w: &mut Working<'_>, namespace: &str) {
    let ended = Kind::ALL.into_iter().flat_map(|kind| of(&w.next, kind, namespace)).filter_map(|(_, absence)| absence.ended_at);
    let over: Vec<_> = ended.map(|at| (at.saturating_add(DAY).unwrap_or(at), Subject::Absences(namespace.to_owned()))).collect();
    w.moments.extend(over);
}

/// max(2, maxPercent of that kind's rows in the namespace).
fn share(w: &Working<'_>, namespace: &str, kind: Kind) -> u64 {
    let rows = w.next.rights.get(&(kind, namespace.to_owned())).copied().unwrap_or(0);
    let percent = u64::from(w.next.settings(namespace).guard.max_percent);
    (rows * percent).div_ceil(100).max(LEAST)
}

fn ended_within_a_day(w: &Working<'_>, namespace: &str, kind: Kind) -> u64 {
    of(&w.next, kind, namespace).filter(|(_, absence)| !absence.approved && absence.ended_at.is_some()).count() as u64
}

/// What of a namespace waits for a yes.
pub(super) fn held_plan(observed: &Observed, namespace: &str) -> Option<HeldPlan> {
    let held = RIGHTS.into_iter().flat_map(|kind| of(observed, kind, namespace)).filter(|(_, absence)| absence.held);
    let lines: BTreeSet<String> = held.map(|(key, _)| format!("Revoke {}/{}", key.kind, key.name)).collect();
    guard::plan_of(lines.into_iter().collect())
}

/// Whether ends wait for a yes, on AccountSettings.
pub(super) fn condition(held: Option<&HeldPlan>, settings: &ResourceKey) -> Condition {
    match held {
        Some(plan) => Condition::new(
            "DeletionsHeld",
            true,
            Reason::MassDeletion,
            format!(
                "{} rights whose resources vanished wait for a yes: kubectl -n {} annotate accountsettings {} mailroster.dev/approve={} --overwrite; or declare them again",
                plan.count, settings.namespace, settings.name, plan.hash
            ),
        ),
        None => Condition::quiet("DeletionsHeld", false, Reason::NothingHeld),
    }
}

/// What an InternalDomain says where nothing else could: the namespace has no AccountSettings.
pub(super) fn undeclared_settings(w: &Working<'_>, namespace: &str) -> Option<Condition> {
    let plan = held_plan(&w.next, namespace)?;
    w.claimants(&Subject::Settings(namespace.to_owned())).is_empty().then(|| {
        let message = format!(
            "{} rights whose resources vanished wait for a yes: declare an AccountSettings named default in {namespace}, and approve its status.heldPlan",
            plan.count
        );
        Condition::new("DeletionsHeld", true, Reason::MassDeletion, message)
    })
}

pub(super) fn absent_conditions(ready: &Finding) -> Vec<Condition> {
    vec![Condition::new("DeletionsHeld", false, ready.reason, ready.message.clone())]
}
