//! Domains: who holds one, what it says, handing it over, and its end (SPEC D1 to D3).

use std::collections::BTreeSet;

use super::absence;
use super::desired::{Action, Declared, DomainDeclared, Resource, Violation};
use super::guard;
use super::observed::{AddressRow, DomainRow, WaitAction};
use super::reason::Reason;
use super::subject::Subject;
use super::verdict::{Condition, Detail, Finding, Verdict};
use super::working::{Owner, Working};
use crate::model::{CanonicalAddress, DomainName, Kind};

pub(super) fn settle(w: &mut Working<'_>) {
    transfer(w);
    let claimed = w.claimed(|s| if let Subject::Domain(d) = s { Some(d.clone()) } else { None });
    // A new domain can refuse a younger one above or below it, so all of them go by age.
    let mut claims: Vec<_> = claimed
        .into_iter()
        .flat_map(|domain| w.claimants(&Subject::Domain(domain.clone())).iter().map(move |r| (*r, domain.clone())).collect::<Vec<_>>())
        .collect();
    claims.sort_by(|(a, _), (b, _)| a.seniority().cmp(&b.seniority()));
    for (resource, domain) in &claims {
        if let Some(Declared::Domain(declared)) = resource.active() {
            settle_one(w, resource, domain, declared);
        }
    }
    for domain in w.next.domains.keys().cloned().collect::<Vec<_>>() {
        let subject = Subject::Domain(domain.clone());
        let Some(row) = w.next.domains.get(&domain) else {
            continue;
        };
        if let Owner::Ended { resource, sheltered } = w.owner(Kind::InternalDomain, &row.namespace, row.owner.as_deref(), &subject)
            && (sheltered || !resource.is_some_and(|resource| deletes(resource, &domain)))
        {
            if let Some(row) = w.next.domains.get_mut(&domain) {
                row.owner = None;
            }
            w.by_rule(subject, "Undeclared");
        }
    }
}

/// Whether this resource, being deleted, takes a domain along (D2). Only the one that it declares: nobody counted the addresses of another.
fn deletes(resource: &Resource, domain: &DomainName) -> bool {
    let takes = matches!(&resource.declared, Ok(Declared::Domain(declared)) if declared.delete && declared.domain == *domain);
    resource.deleting && resource.finalizer && !resource.frozen() && takes
}

fn settle_one(w: &mut Working<'_>, resource: &Resource, domain: &DomainName, declared: &DomainDeclared) {
    let subject = Subject::Domain(domain.clone());
    let namespace = &resource.key.namespace;
    match w.next.domains.get(domain) {
        Some(row) if row.namespace != *namespace => {
            return w.refuse(resource, Reason::DomainClaimed, format!("the domain {domain} belongs to another tenant"));
        }
        Some(row) => {
            if let Owner::Living(holder) = w.owner(Kind::InternalDomain, namespace, row.owner.as_deref(), &subject)
                && holder.key != resource.key
            {
                return w.refuse(resource, Reason::DomainClaimed, format!("{} holds the domain {domain}", holder.key));
            }
        }
        None => {
            let foreign = |other: &&DomainName| w.next.domains.get(*other).is_some_and(|row| row.namespace != *namespace);
            let above = domain.ancestors().collect::<Vec<_>>();
            if above.iter().any(|other| foreign(&other)) {
                return w.refuse(resource, Reason::ParentDomainClaimed, format!("a domain above {domain} belongs to another tenant"));
            }
            if w.next.domains.keys().filter(|other| other.is_below(domain)).any(|other| foreign(&other)) {
                return w.refuse(resource, Reason::ChildDomainClaimed, format!("a domain below {domain} belongs to another tenant"));
            }
        }
    }
    let new = DomainRow {
        namespace: namespace.clone(),
        owner: Some(resource.key.name.clone()),
        recipient_validation: declared.recipient_validation.clone(),
        unknown_recipients: declared.unknown_recipients.clone(),
        next_hop: declared.next_hop.clone(),
        learn_senders: declared.learn_senders,
        sub_addressing: declared.sub_addressing.clone(),
        postmaster: declared.postmaster.as_ref().map_or(String::new(), ToString::to_string),
        created_at: w.next.domains.get(domain).map_or(w.now, |row| row.created_at),
    };
    if w.next.domains.get(domain) != Some(&new) {
        let drift = w.before.domains.get(domain).is_some_and(|row| row.owner == new.owner) && resource.was_in_force();
        if drift {
            w.note(&resource.key, Reason::DriftCorrected, true, "the domain's row had been changed in the store; it was put right");
        }
        w.by(subject, resource, if drift { "DriftCorrected" } else { "Declared" });
        w.next.domains.insert(domain.clone(), new);
    }
    act(w, resource, domain);
}

/// The actions that an InternalDomain takes for addresses that no resource declares (C6).
fn act(w: &mut Working<'_>, resource: &Resource, domain: &DomainName) {
    for action in [Action::Unlock, Action::ResetCodes] {
        let Some(token) = w.take_token(resource, action) else {
            continue;
        };
        let now = w.now;
        let address = token.split_whitespace().next().and_then(|text| crate::model::Address::parse(text).ok());
        let Some(address) = address.map(|a| a.canonical().clone()).filter(|a| a.domain() == *domain) else {
            continue;
        };
        if let Some(row) = w.next.addresses.get_mut(&address).filter(|row| row.owner.is_none()) {
            if action == Action::Unlock {
                row.unlocked_at = Some(now);
            } else {
                row.codes_reset_at = Some(now);
            }
            w.by(Subject::Address(address), resource, if action == Action::Unlock { "Unlocked" } else { "CodesReset" });
        }
    }
}

/// D1: a domain goes to the namespace that its holder names, while a resource there waits for it, or that the command named.
fn transfer(w: &mut Working<'_>) {
    let annotated = w.desired.resources.values().filter(|resource| resource.actions.0.contains_key(&Action::TransferTo));
    let annotated = annotated.filter_map(|resource| if let Some(Declared::Domain(d)) = resource.active() { Some(&d.domain) } else { None });
    let domains: BTreeSet<_> = annotated.chain(w.next.transfers.keys()).cloned().collect();
    for domain in domains {
        hand_over(w, &domain);
    }
}

/// Whoever takes a domain may hand it on by a token of its own. It goes to the last at once: those between are in nobody's way, and leave no
/// trace on its rows. One that comes back has not moved.
fn hand_over(w: &mut Working<'_>, domain: &DomainName) {
    let subject = Subject::Domain(domain.clone());
    let Some(row) = w.next.domains.get(domain) else {
        return;
    };
    let (from, owner) = (row.namespace.clone(), row.owner.clone());
    let claimants = w.claimants(&subject).to_vec();
    let mut holder = claimants.iter().copied().find(|r| r.key.namespace == from && owner.as_deref() == Some(&r.key.name));
    let (mut at, mut last) = (from.clone(), None);
    while let Some((to, by)) = next_holder(w, domain, &at, holder, &claimants) {
        holder = claimants.iter().copied().find(|resource| resource.key.namespace == to);
        (at, last) = (to, by);
    }
    if at == from {
        return;
    }
    let change = super::Change::TransferDomain { domain: domain.clone(), from, to: at };
    let _ = w.next.apply(&change);
    for (address, action) in w.next.waiting.keys().filter(|(a, _)| a.domain() == *domain).cloned().collect::<Vec<_>>() {
        w.unwait(&address, action);
    }
    match last {
        Some(resource) => w.by(subject, resource, "Transferred"),
        None => w.by_rule(subject, "Transferred"),
    }
}

/// Where a domain goes from a namespace, and by whose token; None for the command.
fn next_holder<'a>(
    w: &mut Working<'_>,
    domain: &DomainName,
    at: &str,
    holder: Option<&'a Resource>,
    claimants: &[&Resource],
) -> Option<(String, Option<&'a Resource>)> {
    let blocked = w.next.transfer_blockers.get(domain).is_some_and(|blockers| !blockers.is_empty());
    let named = |resource: &Resource| resource.actions.0.get(&Action::TransferTo)?.split_whitespace().next().map(str::to_owned);
    if let Some((resource, to)) = holder.and_then(|resource| Some((resource, named(resource)?)))
        && to != at
        && !blocked
        && claimants.iter().any(|taker| taker.key.namespace == to)
        && w.take_token(resource, Action::TransferTo).is_some()
    {
        return Some((to, Some(resource)));
    }
    let to = w.next.transfers.remove(domain)?;
    (to != at && !blocked).then_some((to, None))
}

/// D2: a domain whose resource is being deleted with Delete goes once nothing is left in it.
pub(super) fn finish(w: &mut Working<'_>) {
    let leaving: BTreeSet<_> = w.next.domains.iter().filter(|(domain, row)| is_leaving(w, domain, row)).map(|(d, _)| d.clone()).collect();
    offer(w, &leaving);
    // What a directory said grows old although nobody touches it (V3).
    let fresh = w.next.coverage.iter().filter_map(|(domain, until)| Some(((*until)?, Subject::Domain(domain.clone()))));
    let fresh: Vec<_> = fresh.filter(|(until, _)| *until > w.now).collect();
    w.moments.extend(fresh);
    for domain in leaving {
        if remaining(w, &domain) == 0 {
            w.next.domains.remove(&domain);
            w.by_rule(Subject::Domain(domain), "Deleted");
        }
    }
}

fn is_leaving(w: &Working<'_>, domain: &DomainName, row: &DomainRow) -> bool {
    matches!(
        w.owner(Kind::InternalDomain, &row.namespace, row.owner.as_deref(), &Subject::Domain(domain.clone())),
        Owner::Ended { resource: Some(resource), sheltered: false } if deletes(resource, domain)
    )
}

/// The rows that no resource declares wait for a yes in the plan that a leaving domain holds. Where a domain stays after all, what only
/// its end would have purged stays too.
fn offer(w: &mut Working<'_>, leaving: &BTreeSet<DomainName>) {
    let stays = |(address, action): &&(CanonicalAddress, WaitAction)| {
        !leaving.contains(&address.domain()) && guard::is_offered(w, address, *action)
    };
    for (address, action) in w.next.waiting.keys().filter(stays).cloned().collect::<Vec<_>>() {
        w.unwait(&address, action);
        if let Some(row) = w.next.addresses.get_mut(&address) {
            row.closing = false;
        }
    }
    if leaving.is_empty() {
        return;
    }
    let declares = |address: &CanonicalAddress| w.next.links.get(address).is_some_and(|link| link.owner.is_some());
    let undeclared = |(address, row): &(&CanonicalAddress, &AddressRow)| {
        row.owner.is_none() && !declares(address) && leaving.contains(&address.domain())
    };
    for address in w.next.addresses.iter().filter(undeclared).map(|(address, _)| address.clone()).collect::<Vec<_>>() {
        w.wait(&address, WaitAction::Purge);
        if let Some(wait) = w.next.waiting.get_mut(&(address, WaitAction::Purge)).filter(|wait| !wait.approved) {
            wait.held = true;
        }
    }
}

fn of_domain<'w>(w: &'w Working<'_>, domain: &'w DomainName) -> impl Iterator<Item = (&'w CanonicalAddress, &'w AddressRow)> {
    w.next.addresses.iter().filter(move |(address, _)| address.is_in(domain))
}

/// The addresses of a domain after this plan: the store's number, and what changes among the rows in view.
fn remaining(w: &Working<'_>, domain: &DomainName) -> u64 {
    let total = w.before.numbers.get(domain).map_or(0, |numbers| numbers.counts.total);
    let before = w.before.addresses.keys().filter(|address| address.is_in(domain)).count() as u64;
    let after = of_domain(w, domain).count() as u64;
    total.max(before) - before + after
}

pub(super) fn absent_conditions(ready: &Finding) -> Vec<Condition> {
    ["DeletionsHeld", "DirectoryReady", "PostmasterMissing", "LearningHeld"]
        .map(|kind| Condition::new(kind, false, ready.reason, ready.message.clone()))
        .into()
}

pub(super) fn judge(w: &Working<'_>, resource: &Resource, declared: &DomainDeclared) -> Verdict {
    let domain = &declared.domain;
    let row = w
        .next
        .domains
        .get(domain)
        .filter(|row| row.namespace == resource.key.namespace && row.owner.as_deref() == Some(&resource.key.name));
    let held = row.and_then(|_| guard::held_plan(w, domain));
    let addresses = w.before.numbers.get(domain).filter(|_| row.is_some()).map(|n| n.counts);
    let detail = Detail::Domain { addresses, held: held.clone() };
    let release = resource.deleting
        && (row.is_none()
            || !deletes(resource, domain)
            || w.desired.sheltered.contains(&(Kind::InternalDomain, resource.key.namespace.clone())));
    let Some(row) = row else {
        let violation = w.refused.get(&resource.key).cloned();
        let ready = violation
            .unwrap_or_else(|| Violation::new(Reason::DomainClaimed, format!("the domain {domain} is not held by this resource")))
            .into();
        return Verdict { conditions: absent_conditions(&ready), release, ..super::blank(resource, ready, detail) };
    };
    let mut ready = Finding::fine(format!("{domain} is in force"));
    if let Some(blockers) = w.next.transfer_blockers.get(domain).filter(|b| !b.is_empty())
        && resource
            .actions
            .0
            .get(&Action::TransferTo)
            .is_some_and(|t| w.next.handled.get(&(resource.key.clone(), Action::TransferTo)) != Some(t))
    {
        ready = Violation::new(Reason::TransferBlocked, format!("{domain} can't be handed over: {}", blockers.join("; "))).into();
    }
    if deletes(resource, domain) {
        ready = Violation::new(Reason::DeletionBlocked, addresses_remain(w, domain)).into();
    }
    let conditions = vec![
        match &held {
            Some(plan) => Condition::new(
                "DeletionsHeld",
                true,
                Reason::MassDeletion,
                format!(
                    "{} ends wait for a yes: kubectl -n {} annotate internaldomain {} mailroster.dev/approve={} --overwrite",
                    plan.count, resource.key.namespace, resource.key.name, plan.hash
                ),
            ),
            None => absence::undeclared_settings(w, &resource.key.namespace)
                .unwrap_or_else(|| Condition::quiet("DeletionsHeld", false, Reason::NothingHeld)),
        },
        directory_ready(w, domain, row),
        postmaster(w, domain, declared),
        if w.next.learned.get(domain).is_some_and(|queue| !queue.is_empty()) {
            Condition::new("LearningHeld", true, Reason::TooManyNewSenders, "more than 100 new senders within an hour; the rest waits")
        } else {
            Condition::quiet("LearningHeld", false, Reason::WithinLimit)
        },
    ];
    Verdict { conditions, release, ..super::blank(resource, ready, detail) }
}

/// AddressesRemain: how many, and the first five; of a leaving domain at least these are in view.
fn addresses_remain(w: &Working<'_>, domain: &DomainName) -> String {
    let total = remaining(w, domain);
    let first: Vec<_> = of_domain(w, domain).take(5).map(|(address, _)| address.to_string()).collect();
    format!(
        "AddressesRemain: {total} in {domain}, among them {}; rows that no resource declares are in status.heldPlan, approving it purges them",
        first.join(", ")
    )
}

/// V3: whether unknown recipients of a domain that validates by directory may be refused.
fn directory_ready(w: &Working<'_>, domain: &DomainName, row: &DomainRow) -> Condition {
    if row.recipient_validation != "Directory" {
        return Condition::quiet("DirectoryReady", true, Reason::NotNeeded);
    }
    let reason = match w.next.coverage.get(domain) {
        None => Reason::NoConnection,
        Some(None) => Reason::DirectoryIncomplete,
        Some(Some(until)) if *until <= w.now => Reason::DirectoryStale,
        Some(Some(_)) => Reason::DirectoryFresh,
    };
    // Without the time until when: each run moves it, and would write the status of each domain (Y10).
    Condition::new("DirectoryReady", reason == Reason::DirectoryFresh, reason, reason.meaning())
}

/// V4: where postmaster@ and abuse@ go.
fn postmaster(w: &Working<'_>, domain: &DomainName, declared: &DomainDeclared) -> Condition {
    let ours = w.next.domains.get(domain).map(|row| row.namespace.as_str());
    let there =
        |address: &CanonicalAddress| w.next.addresses.get(address).is_some_and(|row| Some(row.namespace.as_str()) == ours && !row.closing);
    let routed = declared.postmaster.as_ref().is_some_and(there);
    let missing: BTreeSet<_> = ["abuse", "postmaster"]
        .into_iter()
        .filter(|local| !routed && !there(&CanonicalAddress::from_store(&format!("{local}@{domain}"))))
        .collect();
    if missing.is_empty() {
        return Condition::quiet("PostmasterMissing", false, Reason::PostmasterPresent);
    }
    let names = missing.into_iter().map(|local| format!("{local}@{domain}")).collect::<Vec<_>>().join(" and ");
    let message = format!("{names} go nowhere; set spec.postmaster to an address of this namespace, or declare them (RFC 5321, RFC 2142)");
    Condition::new("PostmasterMissing", true, Reason::PostmasterMissing, message)
}
