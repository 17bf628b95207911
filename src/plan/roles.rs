//! Admin roles and their members (SPEC R1 to R3, L7).

use std::collections::BTreeSet;

use super::desired::{Declared, Resource, RoleDeclared};
use super::observed::RoleRow;
use super::reason::Reason;
use super::subject::Subject;
use super::verdict::{Detail, Finding, Rejection, Verdict};
use super::working::{Owner, Working};
use crate::model::{CanonicalAddress, Kind, ResourceKey};

/// How many refused members `status.members.rejected` lists.
const LISTED_REJECTIONS: usize = 50;

pub(super) fn settle(w: &mut Working<'_>) {
    let roles: Vec<(&Resource, &RoleDeclared)> = w
        .desired
        .resources
        .values()
        .map(AsRef::as_ref)
        .filter(|r| !r.lacks_finalizer())
        .filter_map(|r| if let Some(Declared::Role(declared)) = r.active() { Some((r, declared)) } else { None })
        .collect();
    for (resource, declared) in &roles {
        settle_row(w, resource, declared);
    }
    // Additions before removals: a successor keeps the last super administrator's seat filled (R2).
    for (resource, declared) in &roles {
        add_members(w, resource, declared);
    }
    let leaving: Vec<_> = w.next.members.keys().filter(|address| has_ended(w, address)).cloned().collect();
    for address in leaving.into_iter().rev() {
        remove_member(w, &address);
    }
    remove_empty_roles(w);
}

/// The super administrators of a namespace.
fn supers<'w>(w: &'w Working<'_>, namespace: &'w str) -> impl Iterator<Item = &'w CanonicalAddress> {
    w.next
        .members
        .iter()
        .filter(move |(_, role)| role.0 == namespace && w.next.roles.get(*role).is_some_and(RoleRow::is_super))
        .map(|(a, _)| a)
}

/// R2: whether nobody else in the namespace is a super administrator.
pub(super) fn is_last_super(w: &Working<'_>, address: &CanonicalAddress) -> bool {
    let Some(role) = w.next.members.get(address) else {
        return false;
    };
    w.next.roles.get(role).is_some_and(RoleRow::is_super) && !supers(w, &role.0).any(|other| other != address)
}

fn settle_row(w: &mut Working<'_>, resource: &Resource, declared: &RoleDeclared) {
    let id = (resource.key.namespace.clone(), resource.key.name.clone());
    let new = RoleRow { owned: true, built_in: declared.built_in.clone(), permissions: declared.permissions.clone() };
    let Some(old) = w.next.roles.get(&id) else {
        w.next.roles.insert(id.clone(), new);
        return w.by(Subject::Role(id.0, id.1), resource, "Declared");
    };
    if *old == new {
        return;
    }
    // R2: an edit of builtIn must not take the last super administrator's permissions.
    if old.is_super() && !new.is_super() {
        let elsewhere = supers(w, &id.0).any(|address| w.next.members.get(address) != Some(&id));
        let here = w.next.members.values().any(|role| *role == id);
        if here && !elsewhere {
            return w.refuse(
                resource,
                Reason::LastSuperAdministrator,
                "changing builtIn would remove the namespace's last super administrator",
            );
        }
    }
    w.next.roles.insert(id.clone(), new);
    w.by(Subject::Role(id.0, id.1), resource, "Declared");
}

/// Whether the row is still the super administrators' although the resource declares another role (R2).
fn changes_super(w: &Working<'_>, id: &(String, String), declared: &RoleDeclared) -> bool {
    w.next.roles.get(id).is_some_and(RoleRow::is_super) && !declared.is_super()
}

fn add_members(w: &mut Working<'_>, resource: &Resource, declared: &RoleDeclared) {
    let id = (resource.key.namespace.clone(), resource.key.name.clone());
    let mut rejected = Vec::new();
    for text in declared.invalid.keys() {
        rejected.push(Rejection { address: text.clone(), reason: Reason::AddressInvalid, holder: String::new() });
    }
    // A row that had to stay super (R2) takes in nobody on behalf of a resource that declares less.
    let closed = changes_super(w, &id, declared);
    for address in &declared.members {
        if closed && w.next.members.get(address) != Some(&id) {
            continue;
        }
        match admissible(w, resource, address) {
            Ok(()) => {
                if w.next.members.get(address) != Some(&id) {
                    w.next.members.insert(address.clone(), id.clone());
                    w.by(Subject::Member(address.clone()), resource, "Declared");
                    w.note_drift(resource, "a membership");
                }
            }
            Err(rejection) => rejected.push(rejection),
        }
    }
    w.rejected.insert(resource.key.clone(), rejected);
}

/// R1: whether this role may have the member; a bad one is refused for itself only.
fn admissible(w: &Working<'_>, resource: &Resource, address: &CanonicalAddress) -> Result<(), Rejection> {
    let namespace = &resource.key.namespace;
    let reject = |reason, holder: &str| Err(Rejection { address: address.to_string(), reason, holder: holder.to_owned() });
    match w.next.addresses.get(address).filter(|row| row.namespace == *namespace) {
        None => return reject(Reason::MemberNotFound, ""),
        Some(row) if row.is_alias => {
            let had = w.before.members.get(address) == Some(&(namespace.clone(), resource.key.name.clone()));
            return reject(if had { Reason::AliasMoved } else { Reason::AliasNamed }, "");
        }
        Some(_) => {}
    }
    let subject = Subject::Member(address.clone());
    let holder = match w.next.members.get(address) {
        Some((_, name)) => match w.owner(Kind::AdminRole, namespace, Some(name), &subject) {
            Owner::Living(holder) => Some(holder),
            _ => None,
        },
        None => None,
    };
    let first = w.claimants(&subject).iter().copied().find(|r| r.key.namespace == *namespace && !r.lacks_finalizer());
    match holder.or(first) {
        Some(holder) if holder.key != resource.key => return reject(Reason::MemberClaimed, &holder.key.name),
        _ => {}
    }
    // R2: joining another role must not take the last super administrator out of theirs.
    let id = (namespace.clone(), resource.key.name.clone());
    match w.next.members.get(address) {
        Some((_, name)) if *name != id.1 && is_last_super(w, address) && !w.next.roles.get(&id).is_some_and(RoleRow::is_super) => {
            reject(Reason::LastSuperAdministrator, name)
        }
        _ => Ok(()),
    }
}

/// Whether nobody declares the membership any more, or the address can't be a member.
fn has_ended(w: &Working<'_>, address: &CanonicalAddress) -> bool {
    let Some(id) = w.next.members.get(address) else {
        return false;
    };
    let Some(role) = w.next.roles.get(id) else {
        return true;
    };
    if !role.owned {
        // R2: the store keeps the last one only until another exists.
        return role.is_super() && supers(w, &id.0).any(|other| other != address && w.next.members.get(other) != Some(id));
    }
    let subject = Subject::Member(address.clone());
    match w.owner(Kind::AdminRole, &id.0, Some(&id.1), &subject) {
        Owner::Ended { sheltered, .. } => !sheltered,
        // Of the members of a role that is to be no longer super only the last one stays (R2).
        Owner::Living(resource) => matches!(resource.active(), Some(Declared::Role(declared)) if changes_super(w, id, declared)),
        Owner::Nobody | Owner::OutOfSight => false,
    }
}

fn remove_member(w: &mut Working<'_>, address: &CanonicalAddress) {
    let Some(id) = w.next.members.get(address).cloned() else {
        return;
    };
    if is_last_super(w, address) {
        if let Some(resource) = w.resource(Kind::AdminRole, &id.0, &id.1).filter(|r| !r.deleting) {
            w.refuse(
                resource,
                Reason::LastSuperAdministrator,
                format!("{address} is the last super administrator of the namespace and stays one"),
            );
        }
        return;
    }
    w.next.members.remove(address);
    w.by_rule(Subject::Member(address.clone()), "Undeclared");
}

/// A role whose resource is gone goes, unless it keeps the last super administrator.
fn remove_empty_roles(w: &mut Working<'_>) {
    let occupied: BTreeSet<_> = w.next.members.values().cloned().collect();
    for id in w.next.roles.keys().cloned().collect::<Vec<_>>() {
        let key = ResourceKey::new(Kind::AdminRole, &id.0, &id.1);
        let resource = w.desired.resources.get(&key);
        let ended = resource.map_or(w.has_ended(&key), |r| r.deleting);
        let sheltered = w.desired.sheltered.contains(&(Kind::AdminRole, id.0.clone()));
        let kept = occupied.contains(&id);
        let Some(row) = w.next.roles.get_mut(&id) else {
            continue;
        };
        if (ended || !row.owned) && !kept && !sheltered {
            w.next.roles.remove(&id);
            w.by_rule(Subject::Role(id.0, id.1), "Undeclared");
        } else if ended && row.owned {
            row.owned = false;
            if row.is_super() && !sheltered {
                w.note(
                    &key,
                    Reason::LastSuperAdministratorKept,
                    true,
                    "the store keeps the role's last super administrator until the namespace has another",
                );
            }
            w.by_rule(Subject::Role(id.0, id.1), "Undeclared");
        }
    }
}

pub(super) fn judge(w: &Working<'_>, resource: &Resource, declared: &RoleDeclared) -> Verdict {
    let id = (resource.key.namespace.clone(), resource.key.name.clone());
    let in_force = w.next.members.values().filter(|role| **role == id).count();
    let total = declared.members.len() + declared.invalid.len();
    let mut rejected: Vec<_> = w.rejected.get(&resource.key).cloned().unwrap_or_default();
    remember_moves(resource, declared, &mut rejected);
    let ready = if let Some(violation) = w.refused.get(&resource.key) {
        violation.clone().into()
    } else if rejected.is_empty() {
        Finding::fine(format!("all members hold the role: {in_force}"))
    } else {
        let first: Vec<_> = rejected.iter().take(5).map(|r| format!("{} ({}{})", r.address, r.reason, holder(&r.holder))).collect();
        Finding {
            reason: Reason::MembersRejected,
            message: format!("{} of {total} members are refused: {}", rejected.len(), first.join(", ")),
        }
    };
    rejected.truncate(LISTED_REJECTIONS);
    let release = resource.deleting && !w.next.roles.get(&id).is_some_and(|row| row.owned);
    Verdict { release, ..super::blank(resource, ready, Detail::Role { total, in_force, rejected }) }
}

fn holder(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" by {name}") }
}

/// A member that was refused as moved stays so for as long as the role says the same (L7).
fn remember_moves(resource: &Resource, declared: &RoleDeclared, rejected: &mut [Rejection]) {
    let remembered: BTreeSet<&str> = if resource.last.generation == resource.generation {
        resource.last.moved.iter().map(String::as_str).collect()
    } else {
        BTreeSet::new()
    };
    for rejection in rejected.iter_mut().filter(|r| r.reason == Reason::AliasNamed) {
        if remembered.contains(rejection.address.as_str()) && declared.members.iter().any(|m| m.as_str() == rejection.address) {
            rejection.reason = Reason::AliasMoved;
        }
    }
}
