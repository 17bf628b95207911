//! Rights follow a person whose address has changed in the directory (SPEC L7, L8): what names the old address means the new one.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::CanonicalAddress;
use crate::plan::desired::{Declared, Desired, Resource};
use crate::plan::observed::{AddressRow, Observed};
use crate::plan::subject::Subject;

/// What is declared, with delegations and roles naming people by the addresses that they have now. `moved`: renames of this very plan.
/// Also what such a resource is about now, which a slice may not have in view.
#[must_use]
pub fn follow<'a>(
    desired: &'a Desired,
    observed: &Observed,
    moved: &[(CanonicalAddress, CanonicalAddress)],
) -> (Cow<'a, Desired>, BTreeSet<Subject>) {
    let mut needs = BTreeSet::new();
    let now = |address: &CanonicalAddress| {
        let here = moved.iter().find(|(from, _)| from == address).map(|(_, to)| to);
        here.or_else(|| moved_to(observed, address)).cloned()
    };
    let mut followed = BTreeMap::new();
    for (key, resource) in &desired.resources {
        let Some(declared) = means(resource, now) else { continue };
        let namespace = &key.namespace;
        needs.extend(declared.claims(namespace));
        needs.extend(declared.references(namespace));
        followed.insert(key.clone(), Arc::new(Resource { declared: Ok(declared), ..resource.as_ref().clone() }));
    }
    if followed.is_empty() {
        return (Cow::Borrowed(desired), needs);
    }
    let mut desired = desired.clone();
    desired.resources.extend(followed);
    (Cow::Owned(desired), needs)
}

/// By which address the person goes now who had this one last, when that is another: it is an alias of the new one, or the entry gave it up
/// and it waits for its end (L8).
pub(in crate::plan) fn moved_to<'a>(observed: &'a Observed, address: &CanonicalAddress) -> Option<&'a CanonicalAddress> {
    let row = observed.addresses.get(address)?;
    let person = row.entry()?;
    if row.is_alias {
        let link = observed.links.get(address)?;
        // Its own directory entry took it along, nobody's declaration did.
        let same = link.owner.is_none() && observed.addresses.get(&link.primary).and_then(AddressRow::entry) == Some(person);
        return same.then_some(&link.primary);
    }
    let mut theirs = observed.entries.iter().filter(|((namespace, _, id), _)| *namespace == row.namespace && id == person);
    theirs.find_map(|(_, entry)| entry.address.as_ref()).filter(|now| *now != address)
}

/// What a resource that names people declares, by the addresses that they have now; None: nothing changes. `now`: another address than that.
fn means(resource: &Resource, now: impl Fn(&CanonicalAddress) -> Option<CanonicalAddress>) -> Option<Declared> {
    match resource.declared.as_ref().ok()? {
        Declared::Delegation(old) => {
            let (reader, mailbox) = (now(&old.reader), now(&old.mailbox));
            if reader.is_none() && mailbox.is_none() {
                return None;
            }
            let mut new = old.clone();
            new.reader = reader.unwrap_or(new.reader);
            new.mailbox = mailbox.unwrap_or(new.mailbox);
            // Not one who reads one's own mailbox by another name.
            (new.reader != new.mailbox).then_some(Declared::Delegation(new))
        }
        Declared::Role(old) => {
            if old.members.iter().all(|member| now(member).is_none()) {
                return None;
            }
            let mut new = old.clone();
            new.members = old.members.iter().map(|member| now(member).unwrap_or_else(|| member.clone())).collect();
            Some(Declared::Role(new))
        }
        _ => None,
    }
}
