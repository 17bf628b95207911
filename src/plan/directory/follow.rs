//! Rights follow a person whose address has changed in the directory (SPEC L7, L8): what names the old address means the new one, and
//! still does when somebody else goes by the old one.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{CanonicalAddress, ResourceKey};
use crate::plan::desired::{Action, Declared, Desired, Resource};
use crate::plan::observed::{AddressRow, Observed};
use crate::plan::subject::Subject;
use crate::plan::working::Move;

/// Whom a resource means by names that others go by now: the name that it uses -> the address of the person.
type Names = BTreeMap<CanonicalAddress, CanonicalAddress>;

/// What is declared, with delegations and roles naming people by the addresses that they have now. `moved`: renames of this very plan.
/// Also what such a resource is about now, which a slice may not have in view.
#[must_use]
pub fn follow<'a>(desired: &'a Desired, observed: &Observed, moved: &[Move]) -> (Cow<'a, Desired>, BTreeSet<Subject>) {
    let mut needs = BTreeSet::new();
    let (mut followed, mut kept_names) = (BTreeMap::new(), BTreeMap::new());
    let goes: BTreeMap<_, _> = moved.iter().map(|moved| (&moved.from, &moved.to)).collect();
    let taken: BTreeSet<_> = moved.iter().map(|moved| &moved.to).collect();
    for (key, resource) in &desired.resources {
        let kept = kept(resource, observed);
        let now = |address: &CanonicalAddress| {
            let person = kept.get(address).unwrap_or(address);
            let now = goes.get(person).copied().or_else(|| moved_to(observed, person)).unwrap_or(person);
            (now != address).then(|| now.clone())
        };
        // Nothing else would tell later whom a name means that somebody else goes by from this plan on.
        let names = named(resource).into_iter().filter(|name| kept.contains_key(*name) || taken.contains(*name));
        let keep: Names = names.filter_map(|name| Some((name.clone(), now(name)?))).collect();
        if keep != kept_in(observed, key) {
            kept_names.insert(key.clone(), text(&keep));
        }
        let Some(declared) = means(resource, now) else { continue };
        let namespace = &key.namespace;
        needs.extend(declared.claims(namespace));
        needs.extend(declared.references(namespace));
        followed.insert(key.clone(), Arc::new(Resource { declared: Ok(declared), ..resource.as_ref().clone() }));
    }
    // Whoever declares it again means those who go by the names then.
    for (key, _) in observed.handled.keys().filter(|(key, action)| *action == Action::KeptNames && desired.deleted.contains(key)) {
        let sheltered = desired.sheltered.contains(&(key.kind, key.namespace.clone()));
        if !sheltered && !desired.resources.contains_key(key) && !kept_in(observed, key).is_empty() {
            kept_names.insert(key.clone(), text(&Names::new()));
        }
    }
    if followed.is_empty() && kept_names.is_empty() {
        return (Cow::Borrowed(desired), needs);
    }
    let mut desired = desired.clone();
    desired.resources.extend(followed);
    desired.kept_names = kept_names;
    (Cow::Owned(desired), needs)
}

/// What the store keeps of a resource's names ([`Action::KeptNames`]).
fn kept_in(observed: &Observed, key: &ResourceKey) -> Names {
    let text = observed.handled.get(&(key.clone(), Action::KeptNames));
    let names: BTreeMap<String, String> = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    names.iter().map(|(name, now)| (CanonicalAddress::from_store(name), CanonicalAddress::from_store(now))).collect()
}

/// The same but for names that it no longer uses: used again, they mean who goes by them then.
fn kept(resource: &Resource, observed: &Observed) -> Names {
    let mut names = kept_in(observed, &resource.key);
    if resource.deleting {
        names.clear();
    } else if !names.is_empty() && resource.declared.is_ok() {
        let named = named(resource);
        names.retain(|name, _| named.contains(name));
    }
    names
}

fn text(names: &Names) -> String {
    let names: serde_json::Map<_, _> = names.iter().map(|(name, now)| (name.to_string(), now.to_string().into())).collect();
    serde_json::Value::Object(names).to_string()
}

/// The people that a resource names.
fn named(resource: &Resource) -> BTreeSet<&CanonicalAddress> {
    match &resource.declared {
        Ok(Declared::Delegation(declared)) => [&declared.reader, &declared.mailbox].into(),
        Ok(Declared::Role(declared)) => declared.members.iter().collect(),
        // What it declares besides mail is meant for a person too.
        Ok(Declared::Address(declared)) => [declared.address.canonical()].into(),
        _ => BTreeSet::new(),
    }
}

/// By which address the person goes now whom an EmailAddress was made for, when that is another one.
pub(in crate::plan) fn person_now(observed: &Observed, resource: &Resource, address: &CanonicalAddress) -> Option<CanonicalAddress> {
    let person = kept(resource, observed).remove(address);
    let now = person.as_ref().and_then(|person| moved_to(observed, person)).cloned();
    now.or(person).or_else(|| moved_to(observed, address).cloned())
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
    // Most are where their row's connection has them; only who came to another connection has to be looked for.
    let own = row.connection().and_then(|connection| observed.entries.get(&(row.namespace.clone(), connection.to_owned(), person.clone())));
    if let Some(now) = own.and_then(|entry| entry.address.as_ref()) {
        return Some(now).filter(|now| *now != address);
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
