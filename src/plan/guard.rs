//! What ends, but not on sight: purges, logons to be shut, links to be removed (SPEC U2 to U4).
//!
//! A wait begins in the step of its kind. Here it ripens, is counted against its domain's limit, and is carried out or held. A held
//! plan is released by its hash alone; no passing of time does it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::desired::Declared;
use super::links;
use super::observed::{Wait, WaitAction};
use super::reason::Reason;
use super::subject::Subject;
use super::verdict::{Blocker, HeldPlan};
use super::working::Working;
use crate::model::{CanonicalAddress, DomainName};

/// A domain must be this long without a new end before ends are carried out …
const QUIET: SignedDuration = SignedDuration::from_secs(10);
/// … but none waits longer than this for it.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);
/// How many lines of a held plan a status shows.
const SAMPLE: usize = 10;

type Waits = Vec<((CanonicalAddress, WaitAction), Wait)>;

pub(super) fn settle(w: &mut Working<'_>) {
    for (domain, waits) in by_domain(w) {
        // Nobody could see that what ends is declared again: it goes on waiting until somebody watches the namespace.
        if w.next.domains.get(&domain).is_some_and(|row| !w.desired.watches(&row.namespace)) {
            continue;
        }
        approve(w, &domain);
        let ripe_at = ripe_at(w, &domain, &waits);
        judge(w, &domain, &waits, &ripe_at);
        carry_out(w, &waits, &ripe_at);
        let next = ripe_at.values().filter(|at| **at > w.now).min().copied();
        if let Some(next) = next {
            w.moments.push((next, Subject::Domain(domain)));
        }
    }
}

fn by_domain(w: &Working<'_>) -> BTreeMap<DomainName, Waits> {
    let mut found: BTreeMap<DomainName, Waits> = BTreeMap::new();
    for (key, wait) in &w.next.waiting {
        found.entry(key.0.domain()).or_default().push((key.clone(), *wait));
    }
    found
}

/// When each wait may be carried out, as far as time goes.
fn ripe_at(w: &Working<'_>, domain: &DomainName, waits: &Waits) -> BTreeMap<(CanonicalAddress, WaitAction), Timestamp> {
    let namespace = w.next.domains.get(domain).map_or("", |row| row.namespace.as_str());
    let delay = w.next.settings(namespace).purge_delay;
    let later = |at: Timestamp, by: SignedDuration| at.saturating_add(by).unwrap_or(at);
    let quick = || {
        waits.iter().filter(|((_, action), wait)| *action != WaitAction::Purge && !wait.held && !wait.approved).map(|(_, wait)| wait.since)
    };
    let quiet = quick().max().map(|latest| later(latest, QUIET)).min(quick().min().map(|oldest| later(oldest, PATIENCE)));
    waits
        .iter()
        .map(|(key, wait)| {
            let at =
                if key.1 == WaitAction::Purge { later(wait.since, delay) } else { quiet.filter(|_| !wait.approved).unwrap_or(wait.since) };
            (key.clone(), at)
        })
        .collect()
}

/// Whether a purge was asked for by the end of the domain alone: nobody declares the row (D2). It waits for a yes in any case, so the
/// guard does not count it.
pub(super) fn is_offered(w: &Working<'_>, address: &CanonicalAddress, action: WaitAction) -> bool {
    // One whom a directory lacks for good is nobody's either, but that is its connection's doing (Y6).
    let left =
        |row: &super::observed::AddressRow| row.connection().is_none() && row.directory.as_ref().is_some_and(|side| side.directory_missing);
    action == WaitAction::Purge && w.next.addresses.get(address).is_some_and(|row| row.owner.is_none() && !left(row))
}

/// Marks what is beyond the limit as held (U4).
fn judge(w: &mut Working<'_>, domain: &DomainName, waits: &Waits, ripe_at: &BTreeMap<(CanonicalAddress, WaitAction), Timestamp>) {
    let counts = |key: &&(CanonicalAddress, WaitAction)| {
        w.next.waiting.get(*key).is_some_and(|wait| !wait.approved) && !is_offered(w, &key.0, key.1)
    };
    let open: Vec<_> = waits.iter().map(|(key, _)| key).filter(counts).cloned().collect();
    let already = open.iter().any(|key| w.next.waiting.get(key).is_some_and(|wait| wait.held));
    let ripe = open.iter().any(|key| ripe_at.get(key).is_some_and(|at| *at <= w.now));
    let numbers = w.next.numbers.get(domain).copied().unwrap_or_default();
    let namespace = w.next.domains.get(domain).map_or("", |row| row.namespace.as_str());
    let limit = w.next.settings(namespace).guard.limit(numbers.counts.total + numbers.gone);
    let done_here = w.done.iter().filter(|(address, _)| address.is_in(domain)).count() as u64;
    if already || (ripe && open.len() as u64 + numbers.done + done_here > limit) {
        for key in open {
            if let Some(wait) = w.next.waiting.get_mut(&key) {
                wait.held = true;
            }
        }
    }
}

fn carry_out(w: &mut Working<'_>, waits: &Waits, ripe_at: &BTreeMap<(CanonicalAddress, WaitAction), Timestamp>) {
    for (key, _) in waits {
        let (key, (address, action)) = (key.clone(), key.clone());
        // An end before this one may have taken it along.
        let Some(wait) = w.next.waiting.get(&key).copied() else {
            continue;
        };
        let ripe = ripe_at.get(&key).is_some_and(|at| *at <= w.now);
        match action {
            WaitAction::Purge => {
                let blockers = purge_blockers(w, &address);
                let only_mail = blockers.iter().all(|b| matches!(b.reason, Reason::HeldMail | Reason::HeldMailUnknown));
                if let Some(row) = w.next.addresses.get_mut(&address).filter(|row| row.closing != only_mail) {
                    row.closing = only_mail;
                    w.by_rule(Subject::Address(address.clone()), "Purging");
                }
                if !blockers.is_empty() {
                    continue;
                }
                purge(w, &address);
            }
            _ if wait.held || !ripe => continue,
            WaitAction::Shut => {
                w.unwait(&address, action);
                if let Some(row) = w.next.addresses.get_mut(&address) {
                    row.shut = true;
                }
                w.by_rule(Subject::Address(address.clone()), "Undeclared");
            }
            WaitAction::Unlink => links::unlink(w, &address),
        }
        if !wait.approved {
            w.done.push(key);
        }
    }
}

/// U2: everything that stands in the way of a purge, the first to be told first.
pub(super) fn purge_blockers(w: &Working<'_>, address: &CanonicalAddress) -> Vec<Blocker> {
    let Some(wait) = w.next.waiting.get(&(address.clone(), WaitAction::Purge)) else {
        return Vec::new();
    };
    let namespace = w.next.addresses.get(address).map_or("", |row| row.namespace.as_str());
    let settings = w.next.settings(namespace);
    let mut found = Vec::new();
    let mut add = |reason: Reason, message: String| found.push(Blocker { reason, message });
    let due = wait.since.saturating_add(settings.purge_delay).unwrap_or(wait.since);
    if due > w.now {
        add(Reason::Delay, format!("the purge begins at {due}"));
    }
    if wait.held {
        add(
            Reason::MassDeletion,
            format!("more ends in {} than its guard lets pass; see the InternalDomain's status.heldPlan", address.domain()),
        );
    }
    if let Some((_, role)) = w.next.members.get(address) {
        add(Reason::AdminRole, format!("{address} is a member of AdminRole {role}"));
    }
    if w.is_carried(address) {
        add(Reason::DirectoryManaged, format!("a directory has {address}: it would come back"));
    }
    // The address itself, where it is an alias: its link would make it anew.
    let names = || std::iter::once(address).chain(w.next.links.aliases_of(address));
    let declared: Vec<_> = names().filter_map(|alias| Some((alias, w.next.links.get(alias)?.owner.as_deref()?))).collect();
    if let Some((first, owner)) = declared.first() {
        add(Reason::DeclaredAlias, format!("{} declared aliases, the first {first} by AliasLink {owner}", declared.len()));
    }
    let held: u32 = names().filter_map(|a| w.next.reports.get(a)).map(|r| r.held).fold(0, u32::saturating_add);
    if held > 0 {
        add(Reason::HeldMail, format!("messages to or from {address} are held, queued or in processing: {held}"));
    }
    let silent: Vec<_> = w.next.held_sources.iter().filter(|(_, at)| **at < wait.since).map(|(source, _)| source.as_str()).collect();
    if !silent.is_empty() {
        add(Reason::HeldMailUnknown, format!("the mail queue {} has not reported since the purge was asked for", silent.join(", ")));
    } else if w.next.held_sources.is_empty() && settings.held_mail_reports {
        add(
            Reason::HeldMailUnknown,
            "no mail queue has ever reported what it holds; have one call gateway.record_held_v1, or set purge.heldMailReports: NotRequired".to_owned(),
        );
    }
    found
}

/// U2: the address, its aliases, credentials and delegations, in one transaction.
fn purge(w: &mut Working<'_>, address: &CanonicalAddress) {
    for alias in w.next.links.aliases_of(address).cloned().collect::<Vec<_>>() {
        w.next.links.remove(&alias);
        w.by_rule(Subject::Link(alias.clone()), "Purged");
        if let Some(row) = w.next.addresses.get_mut(&alias) {
            row.is_alias = false;
            if row.owner.is_none() {
                w.remove_address(&alias, true, "Purged");
            }
        }
    }
    w.remove_address(address, true, "Purged");
}

/// C6: the InternalDomain's `approve` releases exactly the plan with that hash.
fn approve(w: &mut Working<'_>, domain: &DomainName) {
    let Some(row) = w.next.domains.get(domain) else {
        return;
    };
    let Some(owner) = row.owner.clone() else {
        return;
    };
    let Some(resource) = w.resource(crate::model::Kind::InternalDomain, &row.namespace, &owner) else {
        return;
    };
    let Some(held) = held_plan(w, domain) else {
        return;
    };
    if resource.suspended || !matches!(&resource.declared, Ok(Declared::Domain(_))) || !w.take_approval(resource, &held) {
        return;
    }
    for ((address, _), wait) in &mut w.next.waiting {
        if address.is_in(domain) && wait.held {
            *wait = Wait { held: false, approved: true, ..*wait };
        }
    }
}

/// What of a domain waits for a yes.
pub(super) fn held_plan(w: &Working<'_>, domain: &DomainName) -> Option<HeldPlan> {
    let held = w.next.waiting.iter().filter(|((address, _), wait)| wait.held && address.is_in(domain));
    let mut lines: Vec<String> = held.map(|((address, action), _)| format!("{} {address}", action.as_str())).collect();
    lines.sort();
    plan_of(lines)
}

/// The held plan with these lines, sorted; None without any.
pub(in crate::plan) fn plan_of(sorted_lines: Vec<String>) -> Option<HeldPlan> {
    let (hash, count) = (hash(&sorted_lines), sorted_lines.len());
    (count > 0).then(|| HeldPlan { hash, count, sample: sorted_lines.into_iter().take(SAMPLE).collect() })
}

/// The first 16 hex digits of SHA-256 over the sorted lines (C6).
#[must_use]
pub fn hash(sorted_lines: &[String]) -> String {
    let digest = Sha256::digest(sorted_lines.join("\n").as_bytes());
    crate::model::hex(digest.get(..8).unwrap_or_default())
}
