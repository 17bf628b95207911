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
            && (sheltered || !resource.is_some_and(deletes))
        {
            if let Some(row) = w.next.domains.get_mut(&domain) {
                row.owner = None;
            }
            w.by_rule(subject, "Undeclared");
        }
    }
}

/// Whether this resource, being deleted, takes its domain along (D2).
fn deletes(resource: &Resource) -> bool {
    resource.deleting && resource.finalizer && !resource.frozen() && matches!(&resource.declared, Ok(Declared::Domain(d)) if d.delete)
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
    let mut wanted: Vec<(DomainName, String, Option<&Resource>)> = Vec::new();
    for resource in w.desired.resources.values() {
        if let Some(Declared::Domain(declared)) = resource.active()
            && let Some(token) = resource.actions.0.get(&Action::TransferTo)
            && w.next.handled.get(&(resource.key.clone(), Action::TransferTo)) != Some(token)
            && let Some(to) = token.split_whitespace().next()
            && w.next
                .domains
                .get(&declared.domain)
                .is_some_and(|row| row.namespace == resource.key.namespace && row.owner.as_deref() == Some(resource.key.name.as_str()))
        {
            wanted.push((declared.domain.clone(), to.to_owned(), Some(resource)));
        }
    }
    wanted.extend(w.next.transfers.iter().map(|(domain, to)| (domain.clone(), to.clone(), None)));
    for (domain, to, resource) in wanted {
        let subject = Subject::Domain(domain.clone());
        let waits = w.claimants(&subject).iter().any(|taker| taker.key.namespace == to);
        let blocked = w.next.transfer_blockers.get(&domain).is_some_and(|b| !b.is_empty());
        let Some(row) = w.next.domains.get(&domain) else {
            continue;
        };
        if row.namespace == to || (resource.is_some() && !waits) || blocked {
            if row.namespace == to || (resource.is_none() && blocked) {
                w.next.transfers.remove(&domain);
            }
            continue;
        }
        let from = row.namespace.clone();
        if let Some(resource) = resource
            && w.take_token(resource, Action::TransferTo).is_none()
        {
            continue; // older than the resource
        }
        w.next.transfers.remove(&domain);
        let change = super::Change::TransferDomain { domain: domain.clone(), from, to };
        let _ = w.next.apply(&change);
        for (address, action) in w.next.waiting.keys().filter(|(a, _)| a.domain() == domain).cloned().collect::<Vec<_>>() {
            w.unwait(&address, action);
        }
        match resource {
            Some(resource) => w.by(subject, resource, "Transferred"),
            None => w.by_rule(subject, "Transferred"),
        }
    }
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
        Owner::Ended { resource: Some(resource), sheltered: false } if deletes(resource)
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
        && (row.is_none() || !deletes(resource) || w.desired.sheltered.contains(&(Kind::InternalDomain, resource.key.namespace.clone())));
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
    if resource.deleting && deletes(resource) {
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
    let not = |reason: Reason| Condition::new("DirectoryReady", false, reason, reason.meaning());
    match w.next.coverage.get(domain) {
        None => not(Reason::NoConnection),
        Some(None) => not(Reason::DirectoryIncomplete),
        Some(Some(until)) if *until <= w.now => not(Reason::DirectoryStale),
        Some(Some(until)) => {
            Condition::new("DirectoryReady", true, Reason::DirectoryFresh, format!("a directory covers the domain; fresh until {until}"))
        }
    }
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
