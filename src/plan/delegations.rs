//! Delegated mailboxes (SPEC M1, M2, M4, L7). A right ends in the very plan in which nobody declares it any more.

use super::desired::{Declared, DelegationDeclared, Resource, Violation};
use super::observed::DelegationRow;
use super::reason::Reason;
use super::subject::Subject;
use super::verdict::{Detail, Finding, Verdict};
use super::working::{Owner, Working};
use crate::model::{CanonicalAddress, Kind, ResourceKey};

pub(super) fn settle(w: &mut Working<'_>) {
    let rows: Vec<_> = w.next.delegations.iter().map(|(pair, _)| pair.clone()).collect();
    for pair in rows {
        revoke_if_ended(w, &pair);
    }
    for pair in w.claimed(|s| if let Subject::Pair(r, m) = s { Some((r.clone(), m.clone())) } else { None }) {
        if let Some(resource) = candidate(w, &pair)
            && let Some(Declared::Delegation(declared)) = resource.active()
        {
            settle_one(w, resource, &pair, declared);
        }
    }
}

fn revoke_if_ended(w: &mut Working<'_>, pair: &(CanonicalAddress, CanonicalAddress)) {
    let Some(row) = w.next.delegations.get(pair) else {
        return;
    };
    let subject = Subject::Pair(pair.0.clone(), pair.1.clone());
    let Owner::Ended { sheltered, .. } = w.owner(Kind::DelegateMailbox, &row.namespace, row.owner.as_deref(), &subject) else {
        return;
    };
    // Another resource of the namespace that declares the pair takes it over as it is (A8).
    let heir = w.claimants(&subject).iter().any(|r| r.key.namespace == row.namespace && !r.lacks_finalizer());
    if sheltered || heir {
        if let Some(row) = w.next.delegations.get_mut(pair) {
            row.owner = None;
        }
    } else {
        w.next.delegations.remove(pair);
    }
    w.by_rule(subject, "Undeclared");
}

fn candidate<'a>(w: &Working<'a>, pair: &(CanonicalAddress, CanonicalAddress)) -> Option<&'a Resource> {
    let subject = Subject::Pair(pair.0.clone(), pair.1.clone());
    let row = w.next.delegations.get(pair);
    let namespace = row.map(|row| row.namespace.clone()).or_else(|| Some(w.next.domains.get(pair.1.domain_text())?.namespace.clone()));
    let claimants = w.claimants(&subject);
    let Some(namespace) = namespace else {
        return claimants.first().copied();
    };
    match row.map(|row| w.owner(Kind::DelegateMailbox, &namespace, row.owner.as_deref(), &subject)) {
        Some(Owner::Living(resource)) => Some(resource),
        _ => claimants.iter().copied().find(|r| r.key.namespace == namespace && !r.lacks_finalizer()),
    }
}

fn settle_one(w: &mut Working<'_>, resource: &Resource, pair: &(CanonicalAddress, CanonicalAddress), declared: &DelegationDeclared) {
    let subject = Subject::Pair(pair.0.clone(), pair.1.clone());
    if let Err(violation) = admissible(w, resource, declared) {
        w.refused.insert(resource.key.clone(), violation);
        if w.next.delegations.remove(pair).is_some() {
            w.by(subject, resource, "Refused");
        }
        return;
    }
    let owner = Some(resource.key.name.clone());
    let old = w.next.delegations.get(pair);
    if old.is_none_or(|old| old.owner != owner) {
        let effective_at = old.map_or(w.now, |old| old.effective_at);
        w.next.delegations.insert(pair.clone(), DelegationRow { namespace: resource.key.namespace.clone(), owner, effective_at });
        w.by(subject, resource, "Declared");
        w.note_drift(resource, "the delegation");
    }
}

fn admissible(w: &Working<'_>, resource: &Resource, declared: &DelegationDeclared) -> Result<(), Violation> {
    let (reader, mailbox) = (&declared.reader, &declared.mailbox);
    for (address, missing, role) in [(reader, Reason::ReaderNotFound, "reader"), (mailbox, Reason::MailboxNotFound, "mailbox")] {
        match w.next.addresses.get(address).filter(|row| row.namespace == resource.key.namespace) {
            None => {
                return Err(Violation::new(missing, format!("the {role} {address} is not an address of this namespace yet")));
            }
            Some(row) if row.is_alias => {
                let primary = w.next.links.get(address).map_or(String::new(), |link| link.primary.to_string());
                let had = (reader.clone(), mailbox.clone());
                let had = w.before.delegations.get(&had).is_some_and(|row| row.owner.as_deref() == Some(&resource.key.name));
                let remembered = resource.last.reason == Some(Reason::AliasMoved) && resource.last.generation == resource.generation;
                let reason = if had || remembered { Reason::AliasMoved } else { Reason::AliasNamed };
                return Err(Violation::new(reason, format!("the {role} {address} is an alias; name its primary {primary}")));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

pub(super) fn judge(w: &Working<'_>, resource: &Resource, declared: &DelegationDeclared) -> Verdict {
    let pair = (declared.reader.clone(), declared.mailbox.clone());
    let row = w
        .next
        .delegations
        .get(&pair)
        .filter(|row| row.namespace == resource.key.namespace && row.owner.as_deref() == Some(&resource.key.name));
    let ready = match (row, w.refused.get(&resource.key)) {
        (Some(_), _) => Finding::fine(format!("{} may read the archived mail of {}", pair.0, pair.1)),
        (None, Some(violation)) => violation.clone().into(),
        (None, None) => claimed(w, resource, &pair).into(),
    };
    let detail = Detail::Delegation {
        effective_at: row.map(|row| row.effective_at),
        visible_from: row.and_then(|_| w.next.addresses.get(&pair.1)).and_then(|mailbox| mailbox.archive_start),
    };
    Verdict { release: resource.deleting && row.is_none(), ..super::blank(resource, ready, detail) }
}

fn claimed(w: &Working<'_>, resource: &Resource, pair: &(CanonicalAddress, CanonicalAddress)) -> Violation {
    let namespace = &resource.key.namespace;
    let holder = w.next.delegations.get(pair).filter(|row| row.namespace == *namespace).and_then(|row| row.owner.clone());
    match holder.or_else(|| candidate(w, pair).filter(|r| r.key.namespace == *namespace).map(|r| r.key.name.clone())) {
        Some(name) if name != resource.key.name => {
            let key = ResourceKey::new(Kind::DelegateMailbox, namespace, &name);
            Violation::new(Reason::DelegationClaimed, format!("{key} declares the same reader and mailbox"))
        }
        _ => Violation::new(Reason::MailboxNotFound, format!("the mailbox {} is not an address of this namespace yet", pair.1)),
    }
}
