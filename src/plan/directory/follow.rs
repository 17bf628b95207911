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
    let mut renamed: BTreeMap<&CanonicalAddress, &CanonicalAddress> = moved.iter().map(|(from, to)| (from, to)).collect();
    let aliases = observed.addresses.iter().filter(|(_, row)| row.is_alias && row.entry().is_some());
    for (address, row) in aliases {
        let Some(link) = observed.links.get(address) else { continue };
        // Its own directory entry took it along, nobody's declaration did.
        if link.owner.is_none() && observed.addresses.get(&link.primary).and_then(AddressRow::entry) == row.entry() {
            renamed.entry(address).or_insert(&link.primary);
        }
    }
    let mut needs = BTreeSet::new();
    if renamed.is_empty() {
        return (Cow::Borrowed(desired), needs);
    }
    let now = |address: &CanonicalAddress| (*renamed.get(address).unwrap_or(&address)).clone();
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

/// What a resource that names people declares, by the addresses that they have now; None: nothing changes.
fn means(resource: &Resource, now: impl Fn(&CanonicalAddress) -> CanonicalAddress + Copy) -> Option<Declared> {
    let Ok(declared) = &resource.declared else { return None };
    let mut new = declared.clone();
    match &mut new {
        Declared::Delegation(delegation) => {
            delegation.reader = now(&delegation.reader);
            delegation.mailbox = now(&delegation.mailbox);
            // One who reads one's own mailbox by another name.
            if delegation.reader == delegation.mailbox {
                return None;
            }
        }
        Declared::Role(role) => role.members = role.members.iter().map(now).collect(),
        _ => return None,
    }
    (new != *declared).then_some(new)
}
