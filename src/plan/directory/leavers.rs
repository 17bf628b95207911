//! What becomes of an address that no entry of its connection carries any more, once its guard let it pass (SPEC Y6, L5).

use std::collections::BTreeSet;

use super::guard::due;
use crate::model::{CanonicalAddress, Kind, ResourceKey};
use crate::plan::desired::LeaverAction;
use crate::plan::links;
use crate::plan::observed::{Wait, WaitAction};
use crate::plan::subject::Subject;
use crate::plan::working::{Cause, Working};

pub(in crate::plan) fn settle(w: &mut Working<'_>) {
    let cleared: Vec<_> =
        w.next.leavers.iter().filter(|(_, leaver)| leaver.cleared_at.is_some()).map(|(address, _)| address.clone()).collect();
    for address in &cleared {
        settle_one(w, address);
    }
    // Whoever comes back is known by what the address keeps.
    let gone: BTreeSet<_> = cleared.iter().filter(|address| !w.next.leavers.contains_key(*address)).collect();
    if !gone.is_empty() {
        w.next.entries.retain(|_, entry| entry.address.as_ref().is_none_or(|address| !gone.contains(address)));
    }
}

fn settle_one(w: &mut Working<'_>, address: &CanonicalAddress) {
    let (Some(leaver), Some(row)) = (w.next.leavers.get(address).copied(), w.next.addresses.get(address)) else {
        return;
    };
    let (namespace, Some(connection)) = (row.namespace.clone(), row.connection().map(str::to_owned)) else {
        w.next.leavers.remove(address);
        return;
    };
    let key = ResourceKey::new(Kind::DirectoryConnection, &namespace, &connection);
    // Suspended, or it can't be read: nothing moves.
    let Some(declared) = w.connection(&key) else { return };
    let (action, due) = (declared.leavers.action, due(&leaver, declared));
    let is_mailbox = !row.is_alias && row.origin != "DistributionList";
    if is_mailbox && !row.directory.as_ref().is_some_and(|side| side.directory_missing) {
        with_side(w, address, |side| side.directory_missing = true);
        w.because(Subject::Address(address.clone()), by(&key, "DirectoryMissing"));
    }
    if due > w.now {
        w.moments.push((due, Subject::Address(address.clone())));
    } else if !is_mailbox {
        end(w, address, &key);
        depart(w, address, namespace, connection);
    } else if action != LeaverAction::Keep {
        leave(w, address, &key, action);
        depart(w, address, namespace, connection);
    }
}

/// An alias or a list that the directory dropped: removed unless somebody declares it.
fn end(w: &mut Working<'_>, address: &CanonicalAddress, key: &ResourceKey) {
    drop_link(w, address, key);
    let Some(row) = w.next.addresses.get(address) else { return };
    if row.origin == "DistributionList" && row.owner.is_none() && row.last_owner.is_none() && !row.is_alias {
        free_aliases(w, address, key);
        w.remove_address(address, false, "DirectoryDropped");
        w.because(Subject::Address(address.clone()), by(key, "DirectoryDropped"));
        return;
    }
    release(w, address, key);
}

/// A mailbox whose entry is gone for good.
fn leave(w: &mut Working<'_>, address: &CanonicalAddress, key: &ResourceKey, action: LeaverAction) {
    free_aliases(w, address, key);
    release(w, address, key);
    let declared = w.next.addresses.get(address).is_some_and(|row| row.owner.is_some());
    // What a resource declares no directory ends (Y12).
    if action == LeaverAction::Purge && !declared {
        let since = w.now;
        // Its connection's guard let it pass already: the domain's does not count it again.
        w.next.waiting.entry((address.clone(), WaitAction::Purge)).or_insert(Wait { since, held: false, approved: true });
    }
}

/// The directory's own links to an address end with it (L5).
fn free_aliases(w: &mut Working<'_>, primary: &CanonicalAddress, key: &ResourceKey) {
    for alias in w.next.links.aliases_of(primary).cloned().collect::<Vec<_>>() {
        drop_link(w, &alias, key);
        if w.next.addresses.contains_key(&alias) {
            release(w, &alias, key);
        }
        w.next.leavers.remove(&alias);
    }
}

/// Takes a directory's word out of a link, and the link with it where nobody declares it.
fn drop_link(w: &mut Working<'_>, alias: &CanonicalAddress, key: &ResourceKey) {
    let Some(link) = w.next.links.get(alias) else { return };
    if link.owner.is_none() && link.origin == "Directory" {
        links::unlink(w, alias);
        w.because(Subject::Link(alias.clone()), by(key, "DirectoryDropped"));
    } else if link.directory.is_some() {
        let row = crate::plan::observed::LinkRow { directory: None, ..link.clone() };
        w.next.links.insert(alias.clone(), row);
        w.because(Subject::Link(alias.clone()), by(key, "DirectoryDropped"));
    }
}

/// The row is the connection's no more.
fn release(w: &mut Working<'_>, address: &CanonicalAddress, key: &ResourceKey) {
    with_side(w, address, |side| side.connection = None);
    if let Some(row) = w.next.addresses.get_mut(address) {
        let origin = if row.owner.is_some() { "Manual" } else { "MailFlow" };
        if matches!(row.origin.as_str(), "Directory" | "DistributionList") {
            origin.clone_into(&mut row.origin);
        }
    }
    w.because(Subject::Address(address.clone()), by(key, "DirectoryLeft"));
}

fn depart(w: &mut Working<'_>, address: &CanonicalAddress, namespace: String, connection: String) {
    let approved = w.next.leavers.remove(address).is_some_and(|leaver| leaver.approved);
    if !approved {
        w.departed.push((address.clone(), namespace, connection));
    }
}

pub(super) fn with_side(w: &mut Working<'_>, address: &CanonicalAddress, edit: impl FnOnce(&mut crate::plan::observed::DirectorySide)) {
    if let Some(row) = w.next.addresses.get_mut(address) {
        edit(row.directory.get_or_insert_default());
    }
}

pub(super) fn by(key: &ResourceKey, reason: &'static str) -> Cause {
    Cause { actor: key.to_string(), reason }
}
