//! PURE: decisions. What is declared and what the store holds go in; changes and verdicts come out.
//!
//! No async, clock, randomness, IO or hash order in here. The contract of [`plan`], each point held by a property test:
//! 1. Total: no panic, no `Result`. Bad input is a violation on its own resource.
//! 2. Deterministic, whatever the input's order.
//! 3. Convergent: planning again on what the changes produce gives no changes.
//! 4. Isolated: one broken resource changes nobody else's outcome, but for declared conflicts.
//! 5. Ordered: changes come in an order that the store can execute as they stand.
//! 6. Safe: nothing destructive on rows of another owner, from an incomplete view, or past a guard.
//! 7. Minimal: what is in force produces no change and an equal verdict.
//! 8. Sliceable: planning a slice closed by [`slice`] gives its resources the verdicts of the whole world.
//!
//! How it works: each step reads the claims and edits the rows as they will be ([`working::Working`]); what differs in the end is
//! the list of changes ([`change`]). A rule is one function in the file of its kind; a reason stands in [`reason`].

pub mod absence;
pub mod addresses;
pub mod admit;
pub mod change;
mod delegations;
pub mod desired;
pub mod directory;
mod domains;
pub mod guard;
mod interpret;
mod keys;
mod learning;
mod links;
pub mod observed;
mod passwords;
pub mod reason;
pub mod relation;
mod roles;
pub mod settings;
pub mod shared;
pub mod slice;
pub mod subject;
pub mod verdict;
mod working;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use change::{Audit, Change};
pub use desired::Desired;
pub use observed::Observed;
pub use subject::Subject;
pub use verdict::Verdict;
pub use working::{Cause, Move, NewPassword, Note, PasswordWork};

use crate::model::{Kind, ResourceKey};
use desired::{Action, Declared, Resource, Violation};
use reason::Reason;
use verdict::{Detail, Finding};
use working::Working;

/// The outcome of planning.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// In the order in which the store executes them.
    pub changes: Vec<Change>,
    pub audit: Vec<Audit>,
    pub verdicts: BTreeMap<ResourceKey, Verdict>,
    /// Seen once, as Events.
    pub notes: Vec<Note>,
    /// When something has to be planned again although nobody touches it.
    pub moments: Vec<(Timestamp, Subject)>,
    /// Passwords that have to be hashed or compared before the next plan of their resource.
    pub passwords: Vec<PasswordWork>,
    /// What connections are to do now.
    pub runs: Vec<(ResourceKey, directory::Begin)>,
    /// What was done with the entries that a directory run brought.
    pub run: directory::Account,
}

/// Rounds until the steps agree; two are usual, a chain of ends that free claims takes more.
const ROUNDS: usize = 16;

/// Decides what has to happen so that what is declared is in force, and what to say of each resource.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, now: Timestamp) -> Plan {
    let (followed, _) = directory::follow(desired, observed, &[]);
    let (plan, moved) = plan_once(&followed, observed, now);
    if moved.is_empty() {
        return plan;
    }
    // Who names one that has another address from this plan on means that one already (L8).
    let (followed, _) = directory::follow(desired, observed, &moved);
    plan_once(&followed, observed, now).0
}

fn plan_once(desired: &Desired, observed: &Observed, now: Timestamp) -> (Plan, Vec<Move>) {
    let mut w = Working::new(desired, observed, now);
    absence::settle(&mut w);
    let kept = desired.kept_names.iter().map(|(key, names)| ((key.clone(), Action::KeptNames), names.clone()));
    w.next.handled.extend(kept);
    for round in 0..ROUNDS {
        // The first round begins with the rows as they are; where it moves nothing there is nothing to look at again.
        let before = (round > 0).then(|| w.next.clone());
        w.refused.clear();
        settle_settings(&mut w);
        domains::settle(&mut w);
        addresses::settle(&mut w);
        directory::entries::settle(&mut w);
        directory::settle_leavers(&mut w);
        links::settle(&mut w);
        delegations::settle(&mut w);
        roles::settle(&mut w);
        learning::settle(&mut w);
        guard::settle(&mut w);
        directory::connection::settle(&mut w);
        domains::finish(&mut w);
        // What a later step ended or made may free or fill what an earlier one looked at: look again until nothing moves.
        if w.next == *before.as_ref().unwrap_or(w.before) {
            break;
        }
    }
    directory::tally(&mut w);
    passwords::settle(&mut w);
    note_requests(&mut w);
    let (changes, audit) = change::difference(&w);
    let mut verdicts = BTreeMap::new();
    for resource in desired.resources.values() {
        if !resource.lacks_finalizer() && !resource.awaits_secret() {
            let verdict = judge(&mut w, resource);
            verdicts.insert(resource.key.clone(), verdict);
        }
    }
    w.notes.sort_by(|a, b| (&a.key, a.reason, &a.message).cmp(&(&b.key, b.reason, &b.message)));
    w.notes.dedup();
    w.moments.sort();
    w.moments.dedup();
    let plan = Plan { changes, audit, verdicts, notes: w.notes, moments: w.moments, passwords: w.password_work, runs: w.runs, run: w.run };
    (plan, w.moved)
}

fn settle_settings(w: &mut Working<'_>) {
    for namespace in w.claimed(|s| if let Subject::Settings(n) = s { Some(n.clone()) } else { None }) {
        let subject = Subject::Settings(namespace.clone());
        let Some(resource) = w.claimants(&subject).first().copied() else {
            continue;
        };
        if let Some(Declared::Settings(settings)) = resource.active()
            && w.next.settings.get(&namespace) != Some(settings)
        {
            w.next.settings.insert(namespace.clone(), settings.clone());
            w.by(subject, resource, "Declared");
        }
    }
    for namespace in w.next.settings.keys().cloned().collect::<Vec<_>>() {
        let subject = Subject::Settings(namespace.clone());
        if let working::Owner::Ended { sheltered: false, .. } = w.owner(Kind::AccountSettings, &namespace, Some("default"), &subject) {
            w.next.settings.remove(&namespace);
            w.by_rule(subject, "Undeclared");
        }
    }
}

/// A reconcile that was asked for is this very plan; a connection begins a run besides (C6).
fn note_requests(w: &mut Working<'_>) {
    for resource in w.desired.resources.values().filter(|resource| !resource.lacks_finalizer() && !resource.awaits_secret()) {
        if w.take_token(resource, Action::RequestedAt).is_some() {
            w.requested.insert(resource.key.clone());
        }
    }
}

/// What to say of one resource, after all steps.
fn judge(w: &mut Working<'_>, resource: &Resource) -> Verdict {
    let mut verdict = match (&resource.declared, resource.key.kind) {
        (Ok(Declared::Settings(_)), _) | (Err(_), Kind::AccountSettings) => judge_settings(w, resource),
        (Ok(Declared::Domain(declared)), _) => domains::judge(w, resource, declared),
        (Ok(Declared::Address(declared)), _) => addresses::judge(w, resource, declared),
        (Ok(Declared::Link(declared)), _) => links::judge(w, resource, declared),
        (Ok(Declared::Delegation(declared)), _) => delegations::judge(w, resource, declared),
        (Ok(Declared::Role(declared)), _) => roles::judge(w, resource, declared),
        (Ok(Declared::Connection(declared)), _) => directory::connection::judge(w, resource, Some(declared)),
        // How its runs went, and what they hold, stands whatever its spec says by now.
        (Err(_), Kind::DirectoryConnection) => directory::connection::judge(w, resource, None),
        (Err(violation), _) => refused(resource, violation),
    };
    if let Err(violation) = &resource.declared {
        verdict.ready = violation.clone().into();
        // A link ends later (U4), so its finalizer stays for as long; all other rights went in this plan.
        verdict.release = resource.deleting && !links::owns_one(w, resource);
    }
    if resource.suspended && !resource.deleting {
        verdict.ready = Finding { reason: Reason::Suspended, message: "suspend is true: nothing is written and nothing undone".to_owned() };
    }
    let handled = |action: Action| Some((action, w.next.handled.get(&(resource.key.clone(), action))?.clone()));
    verdict.handled = Action::ALL.into_iter().filter(|action| action.known_to(resource.key.kind)).filter_map(handled).collect();
    verdict
}

/// AccountSettings itself is in force as soon as it is read; what it tells besides is what waits for a yes in its namespace (U6).
fn judge_settings(w: &Working<'_>, resource: &Resource) -> Verdict {
    let held = absence::held_plan(&w.next, &resource.key.namespace);
    let conditions = vec![absence::condition(held.as_ref(), &resource.key)];
    Verdict { conditions, ..blank(resource, Finding::fine("the settings are in force"), Detail::Settings { held }) }
}

fn blank(resource: &Resource, ready: Finding, detail: Detail) -> Verdict {
    Verdict { generation: resource.generation, ready, conditions: Vec::new(), detail, handled: BTreeMap::new(), release: resource.deleting }
}

/// What a resource says that changed while the store was away (C11).
#[must_use]
pub fn waiting_for_store(resource: &Resource) -> Verdict {
    let violation = Violation::new(Reason::StoreUnavailable, "the store can't be reached; what was in force before stays in force");
    refused(resource, &violation)
}

/// What a resource says that a fault of ours keeps from coming into force.
#[must_use]
pub fn internal_error(resource: &Resource, fault: &str) -> Verdict {
    let violation = Violation::new(
        Reason::InternalError,
        format!("a fault in mailroster, not in the resource: {fault}; it is tried again every minute"),
    );
    refused(resource, &violation)
}

/// A violation in place of everything else that a status says.
fn refused(resource: &Resource, violation: &Violation) -> Verdict {
    let ready = Finding::from(violation.clone());
    let (conditions, detail) = match resource.key.kind {
        Kind::AccountSettings => (absence::absent_conditions(&ready), Detail::Settings { held: None }),
        Kind::InternalDomain => (domains::absent_conditions(&ready), Detail::Domain { addresses: None, held: None }),
        Kind::EmailAddress => (addresses::absent_conditions(&ready), Detail::Address(Box::default())),
        Kind::AliasLink => (links::absent_conditions(&ready), Detail::Link { primary: String::new(), origin: String::new() }),
        Kind::DelegateMailbox => (Vec::new(), Detail::Delegation { effective_at: None, visible_from: None }),
        Kind::AdminRole => (Vec::new(), Detail::Role { total: 0, in_force: 0, rejected: Vec::new() }),
        Kind::DirectoryConnection => (directory::connection::absent_conditions(&ready), Detail::Connection(Box::default())),
    };
    Verdict { conditions, release: false, ..blank(resource, ready, detail) }
}
