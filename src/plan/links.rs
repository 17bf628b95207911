//! Aliases (SPEC L1 to L3, L6, L7).

use super::addresses;
use super::desired::{Declared, LinkDeclared, Resource, Violation};
use super::observed::{LinkRow, WaitAction};
use super::reason::Reason;
use super::roles;
use super::subject::Subject;
use super::verdict::{Condition, Detail, Finding, Verdict};
use super::working::{Owner, Working};
use crate::model::{CanonicalAddress, Kind, ResourceKey};

/// The origin of a link that a resource declares.
const DECLARED: &str = "Declared";

pub(super) fn settle(w: &mut Working<'_>) {
    let rows: Vec<_> = w.next.links.iter().map(|(alias, _)| alias.clone()).collect();
    for alias in rows {
        release_if_ended(w, &alias);
    }
    let claimed = w.claimed(|s| if let Subject::Link(a) = s { Some(a.clone()) } else { None });
    // Of two links that shut each other out (a cycle, a chain) the one in force stays, else the older is heard first.
    let mut claims: Vec<_> = claimed.iter().filter_map(|alias| Some((candidate(w, alias)?, alias))).collect();
    claims.sort_by_key(|(resource, alias)| {
        let in_force = w.next.links.get(alias).is_some_and(|row| row.owner.as_deref() == Some(resource.key.name.as_str()));
        (!in_force, resource.created, resource.key.namespace.clone(), resource.key.name.clone())
    });
    for (resource, alias) in claims {
        if let Some(Declared::Link(declared)) = resource.active() {
            settle_one(w, resource, alias, declared);
        }
    }
}

/// A link whose resource is gone or declares something else waits for its end (U4), unless somebody else declares the alias.
fn release_if_ended(w: &mut Working<'_>, alias: &CanonicalAddress) {
    let Some(row) = w.next.links.get(alias) else {
        return;
    };
    let subject = Subject::Link(alias.clone());
    let (resource, sheltered) = match w.owner(Kind::AliasLink, &row.namespace, row.owner.as_deref(), &subject) {
        Owner::Ended { resource, sheltered } => (resource, sheltered),
        // Nobody can take its end back any more: `release`, or a finalizer torn off (U1, U6).
        Owner::OutOfSight => return w.unwait(alias, WaitAction::Unlink),
        Owner::Nobody | Owner::Living(_) => return,
    };
    if sheltered {
        w.unwait(alias, WaitAction::Unlink);
    } else {
        w.wait(alias, WaitAction::Unlink);
    }
    // A resource that is being deleted keeps its name on the row, so that its finalizer knows when the link is gone (M2).
    if (sheltered || !resource.is_some_and(|r| r.deleting && r.finalizer))
        && let Some(ends) = w.next.links.get_mut(alias)
    {
        *ends.owner = None;
        w.by_rule(subject, "Undeclared");
    }
}

/// Who is heard for an alias: the row's owner, else the oldest of the domain's namespace that may act.
fn candidate<'a>(w: &Working<'a>, alias: &CanonicalAddress) -> Option<&'a Resource> {
    let subject = Subject::Link(alias.clone());
    let namespace = &w.next.domains.get(alias.domain_text())?.namespace;
    let owner = w.next.links.get(alias).and_then(|row| row.owner.as_deref());
    match w.owner(Kind::AliasLink, namespace, owner, &subject) {
        Owner::Living(resource) => Some(resource),
        _ => w.claimants(&subject).iter().copied().find(|r| r.key.namespace == *namespace && !r.lacks_finalizer()),
    }
}

fn settle_one(w: &mut Working<'_>, resource: &Resource, alias: &CanonicalAddress, declared: &LinkDeclared) {
    if let Err(violation) = admissible(w, resource, alias, declared) {
        // C10: what it declared before ends, even though what it declares now can't be done.
        let mine = w.next.links.get(alias).is_some_and(|row| row.owner.as_deref() == Some(&resource.key.name));
        if mine {
            w.wait(alias, WaitAction::Unlink);
        }
        w.refused.insert(resource.key.clone(), violation);
        return;
    }
    w.unwait(alias, WaitAction::Unlink);
    let namespace = resource.key.namespace.clone();
    let made_row = !w.next.addresses.contains_key(alias);
    if made_row {
        let row = addresses::new_row(w, &declared.alias, &namespace, "Manual");
        w.next.addresses.insert(alias.clone(), row);
        w.by(Subject::Address(alias.clone()), resource, "LinkDeclared");
    }
    let old = w.next.links.get(alias);
    let new = LinkRow {
        primary: declared.primary.clone(),
        namespace,
        owner: Some(resource.key.name.clone()),
        origin: DECLARED.to_owned(),
        made_row: old.map_or(made_row, |old| old.made_row),
        directory: old.and_then(|old| old.directory.clone()),
    };
    if old == Some(&new) {
        return;
    }
    if old.is_none() {
        w.end_rights(alias, "AliasMoved");
    }
    w.note_drift(resource, "the link");
    if let Some(row) = w.next.addresses.get_mut(alias) {
        row.is_alias = true;
    }
    w.next.links.insert(alias.clone(), new);
    w.by(Subject::Link(alias.clone()), resource, "Declared");
    w.by(Subject::Address(alias.clone()), resource, "LinkDeclared");
}

fn admissible(w: &Working<'_>, resource: &Resource, alias: &CanonicalAddress, declared: &LinkDeclared) -> Result<(), Violation> {
    let refuse = |reason, message: String| Err(Violation::new(reason, message));
    let primary = &declared.primary;
    let namespace = &resource.key.namespace;
    domain_is_ours(w, namespace, alias)?;
    domain_is_ours(w, namespace, primary)?;
    if alias.domain() != primary.domain() && !declared.cross_domain {
        return refuse(
            Reason::CrossDomain,
            format!("{alias} and {primary} are in different domains; set crossDomain: true if that is meant"),
        );
    }
    let Some(row) = w.next.addresses.get(primary).filter(|row| row.namespace == *namespace) else {
        return refuse(Reason::PrimaryNotFound, format!("{primary} is not an address of this namespace yet"));
    };
    if row.is_alias {
        still_ends(w, primary, primary)?;
        let of = w.next.links.get(primary).map_or(String::new(), |link| format!(" of {}", link.primary));
        return refuse(Reason::AliasChain, format!("{primary} is itself an alias{of}; name the primary"));
    }
    if let Some(other) = w.next.links.aliases_of(alias).next() {
        still_ends(w, other, alias)?;
        return refuse(Reason::AliasChain, format!("{alias} has the alias {other}; an alias has no aliases"));
    }
    // A mailbox of the directory, also one that came later (L4).
    let of_directory = w.next.entries.values().any(|entry| entry.address.as_ref() == Some(alias)) && w.is_carried(alias);
    if (w.next.links.get(alias).is_none() || of_directory) && w.next.addresses.contains_key(alias) {
        takes_over(w, alias, declared)?;
    }
    Ok(())
}

/// A link in the way that is about to end is something to wait for, not something to mend (U4).
fn still_ends(w: &Working<'_>, other: &CanonicalAddress, about: &CanonicalAddress) -> Result<(), Violation> {
    match w.next.waiting.get(&(other.clone(), WaitAction::Unlink)) {
        Some(wait) if !wait.held => {
            Err(Violation::new(Reason::RemovalPending, format!("the link of {other} ends once its domain was quiet; {about} is free then")))
        }
        _ => Ok(()),
    }
}

/// L2: what makes an address a living mailbox, and what takeOverMailbox may end.
fn takes_over(w: &Working<'_>, alias: &CanonicalAddress, declared: &LinkDeclared) -> Result<(), Violation> {
    let signs = [
        (w.next.credentials.contains_key(alias), "a credential"),
        (w.next.members.contains_key(alias), "a role"),
        (!w.next.delegations.naming(alias).is_empty(), "a delegation"),
        (w.next.entries.values().any(|entry| entry.address.as_ref() == Some(alias)), "a directory entry"),
    ];
    let signs: Vec<_> = signs.into_iter().filter(|(has, _)| *has).map(|(_, sign)| sign).collect();
    if !signs.is_empty() && !declared.take_over {
        let message = format!("{alias} is a mailbox with {}; set takeOverMailbox: true to make it an alias all the same", signs.join(", "));
        return Err(Violation::new(Reason::AliasIsMailbox, message));
    }
    if roles::is_last_super(w, alias) {
        return Err(Violation::new(Reason::LastSuperAdministrator, format!("{alias} is the last super administrator of the namespace")));
    }
    Ok(())
}

fn domain_is_ours(w: &Working<'_>, namespace: &str, address: &CanonicalAddress) -> Result<(), Violation> {
    let domain = address.domain();
    match w.next.domains.get(&domain) {
        None => Err(Violation::new(
            Reason::DomainNotFound,
            format!("no InternalDomain of this namespace has brought {domain} into the store yet"),
        )),
        Some(row) if row.namespace != *namespace => {
            Err(Violation::new(Reason::DomainClaimed, format!("the domain {domain} belongs to another tenant")))
        }
        Some(_) => Ok(()),
    }
}

/// Carries out the end of a link (L6).
pub(super) fn unlink(w: &mut Working<'_>, alias: &CanonicalAddress) {
    w.unwait(alias, WaitAction::Unlink);
    let Some(link) = w.next.links.remove(alias) else {
        return;
    };
    w.by_rule(Subject::Link(alias.clone()), "Unlinked");
    // What a directory says of it holds again (L4).
    if link.origin == DECLARED
        && let Some(primary) = link.directory.clone()
        && let Some(connection) = carried_by(w, &primary, &link.namespace)
    {
        if let Some(row) = w.next.addresses.get_mut(alias) {
            row.directory.get_or_insert_default().connection = Some(connection);
        }
        w.by_rule(Subject::Address(alias.clone()), "Unlinked");
        w.next.links.insert(alias.clone(), LinkRow { primary, owner: None, origin: "Directory".to_owned(), ..link });
        return;
    }
    let is_mailbox = w.next.entries.values().any(|entry| entry.address.as_ref() == Some(alias));
    if let Some(row) = w.next.addresses.get_mut(alias) {
        row.is_alias = false;
        // A row that a resource declared for a while is kept, as Retain says (U1).
        // So is one that a directory has as a mailbox by now (L4).
        if link.made_row && row.owner.is_none() && row.last_owner.is_none() && !is_mailbox {
            w.remove_address(alias, false, "LastLinkEnded");
        } else {
            w.by_rule(Subject::Address(alias.clone()), "Unlinked");
        }
    }
}

/// The connection that carries a primary of the namespace.
fn carried_by(w: &Working<'_>, primary: &CanonicalAddress, namespace: &str) -> Option<String> {
    let row = w.next.addresses.get(primary).filter(|row| !row.is_alias && row.namespace == namespace)?;
    row.connection().map(str::to_owned)
}

/// Whether a link in the store bears the resource's name, whatever the resource says by now.
pub(super) fn owns_one(w: &Working<'_>, resource: &Resource) -> bool {
    let ours = |row: &LinkRow| row.namespace == resource.key.namespace && row.owner.as_deref() == Some(&resource.key.name);
    resource.key.kind == Kind::AliasLink && w.next.links.iter().any(|(_, row)| ours(row))
}

pub(super) fn absent_conditions(ready: &Finding) -> Vec<Condition> {
    ["MailAccepted", "DirectoryDisagrees"].map(|kind| Condition::new(kind, false, ready.reason, ready.message.clone())).into()
}

pub(super) fn judge(w: &Working<'_>, resource: &Resource, declared: &LinkDeclared) -> Verdict {
    let alias = declared.alias.canonical();
    let row =
        w.next.links.get(alias).filter(|row| row.namespace == resource.key.namespace && row.owner.as_deref() == Some(&resource.key.name));
    let nothing = Detail::Link { primary: String::new(), origin: String::new() };
    let waiting = w.next.waiting.get(&(alias.clone(), WaitAction::Unlink));
    if resource.deleting {
        let mut ready = Finding {
            reason: Reason::RemovalPending,
            message: format!("the link of {alias} ends once its domain was quiet for 10 seconds"),
        };
        if waiting.is_some_and(|wait| wait.held) {
            ready = Finding {
                reason: Reason::MassDeletion,
                message: format!("the end of the link of {alias} is part of its domain's held plan"),
            };
        }
        let conditions = absent_conditions(&ready);
        return Verdict { conditions, release: row.is_none(), ..super::blank(resource, ready, nothing) };
    }
    let refused = w.refused.get(&resource.key).cloned();
    let ready = match (row, refused) {
        (Some(row), None) if row.primary == declared.primary => Finding::fine(format!("{alias} is an alias of {}", row.primary)),
        (_, Some(violation)) => violation.into(),
        _ => claimed(w, resource, alias).into(),
    };
    let Some(row) = row.filter(|_| ready.is_fine()) else {
        return Verdict { conditions: absent_conditions(&ready), release: false, ..super::blank(resource, ready, nothing) };
    };
    let accepted = match w.next.addresses.get(alias) {
        Some(address) => addresses::mail_accepted(w, alias, address),
        None => Condition::quiet("MailAccepted", false, Reason::PrimaryNotFound),
    };
    let disagrees = match row.directory.as_ref().filter(|primary| **primary != row.primary) {
        Some(primary) => Condition::new(
            "DirectoryDisagrees",
            true,
            Reason::DirectoryDisagrees,
            format!("the directory has {alias} as an alias of {primary}; the declared link stands"),
        ),
        None => Condition::quiet("DirectoryDisagrees", false, Reason::NoDisagreement),
    };
    let conditions = vec![accepted, disagrees];
    let detail = Detail::Link { primary: row.primary.to_string(), origin: row.origin.clone() };
    Verdict { conditions, release: false, ..super::blank(resource, ready, detail) }
}

fn claimed(w: &Working<'_>, resource: &Resource, alias: &CanonicalAddress) -> Violation {
    let namespace = &resource.key.namespace;
    if let Err(violation) = domain_is_ours(w, namespace, alias) {
        return violation;
    }
    let holder = w.next.links.get(alias).and_then(|row| row.owner.clone()).or_else(|| candidate(w, alias).map(|r| r.key.name.clone()));
    let holder =
        holder.map_or_else(|| "another AliasLink".to_owned(), |name| ResourceKey::new(Kind::AliasLink, namespace, &name).to_string());
    Violation::new(Reason::AliasClaimed, format!("{holder} holds the alias {alias}"))
}
