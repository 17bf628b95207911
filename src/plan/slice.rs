//! All resources in view, and the part of them that has to be planned together.
//!
//! A slice is closed under claims (whoever wants the same thing is in it), under references (whatever a verdict looks at is in it)
//! and under guards (whatever waits or is to be learned in its domains is in it, which only the store can tell; whoever reads the rows
//! adds those addresses as subjects and closes the slice once more).

mod concerned;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::desired::{Action, Actions, Declared, Desired, Resource};
use super::keys::Keys;
use super::subject::Subject;
use crate::model::{Address, CanonicalAddress, DomainName, Kind, ResourceKey};

/// Every resource that is watched, with the ways to find it.
#[derive(Debug, Default)]
pub struct Roster {
    resources: BTreeMap<ResourceKey, Arc<Resource>>,
    /// When each was made.
    deleted: BTreeMap<ResourceKey, Timestamp>,
    sheltered: BTreeSet<(Kind, String)>,
    /// Empty: all namespaces.
    watched: BTreeSet<String>,
    /// Owners of rows that no list has (U6), by namespace.
    missing: BTreeMap<String, BTreeSet<ResourceKey>>,
    /// What was compared with the store's owners: kind, and namespace or "" for all.
    sighted: BTreeSet<(Kind, String)>,
    claims: BTreeMap<Subject, Keys>,
    /// But not that an EmailAddress refers to the link and the membership of its own address: see [`Self::dependents`].
    references: BTreeMap<Subject, Keys>,
}

/// What has to be planned together.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Slice {
    pub keys: BTreeSet<ResourceKey>,
    pub subjects: BTreeSet<Subject>,
}

impl Slice {
    /// The namespaces whose missing owners are planned with it (U6).
    #[must_use]
    pub fn namespaces_of_absences(&self) -> BTreeSet<String> {
        let from = Subject::Absences(String::new());
        self.subjects
            .range(from..)
            .filter_map(|s| if let Subject::Absences(namespace) = s { Some(namespace.clone()) } else { None })
            .collect()
    }
}

impl Roster {
    /// A roster of these namespaces, or of all where none is named.
    #[must_use]
    pub fn watching(namespaces: BTreeSet<String>) -> Self {
        Self { watched: namespaces, ..Self::default() }
    }

    /// Takes in a resource as it is now. Returns whom that may concern besides itself: who else wants what it gave up.
    pub fn insert(&mut self, resource: Resource) -> BTreeSet<ResourceKey> {
        let freed = self.forget(&resource.key);
        self.deleted.remove(&resource.key);
        self.found(&resource.key);
        for (subject, is_claim) in subjects_of(&resource).into_iter().filter(is_indexed(resource.key.kind)) {
            let index = if is_claim { &mut self.claims } else { &mut self.references };
            let keys = index.entry(subject).or_insert_with(|| Keys::One(resource.key.clone()));
            keys.insert(resource.key.clone());
        }
        let mut concerned: BTreeSet<_> = freed.iter().flat_map(|subject| self.claimants(subject)).cloned().collect();
        concerned.remove(&resource.key);
        self.resources.insert(resource.key.clone(), Arc::new(resource));
        concerned
    }

    /// Takes out a resource. `seen`: its end was seen and is meant, so what it owned has lost its owner.
    pub fn remove(&mut self, key: &ResourceKey, seen: bool) -> BTreeSet<ResourceKey> {
        let freed = self.forget(key);
        let made = self.resources.remove(key).map_or(Timestamp::MAX, |resource| resource.created);
        if seen {
            self.found(key);
            self.deleted.insert(key.clone(), made);
        }
        freed.iter().flat_map(|subject| self.claimants(subject)).cloned().collect()
    }

    /// The owners of a kind that a complete list lacks, as just compared with the store; `namespace` is "" for all. Returns the
    /// namespaces where something is missing, or was.
    pub fn sight(&mut self, kind: Kind, namespace: &str, missing: BTreeSet<ResourceKey>) -> BTreeSet<String> {
        self.sighted.insert((kind, namespace.to_owned()));
        let mut concerned = self.lose_sight(kind, namespace);
        for key in missing {
            concerned.insert(key.namespace.clone());
            self.missing.entry(key.namespace.clone()).or_default().insert(key);
        }
        concerned
    }

    /// A list failed: nothing of its kind is proved missing any more. Returns the namespaces where something was.
    pub fn lose_sight(&mut self, kind: Kind, namespace: &str) -> BTreeSet<String> {
        let mut concerned = BTreeSet::new();
        for (of, keys) in self.missing.iter_mut().filter(|(of, _)| namespace.is_empty() || *of == namespace) {
            let before = keys.len();
            keys.retain(|key| key.kind != kind);
            if keys.len() != before {
                concerned.insert(of.clone());
            }
        }
        self.missing.retain(|_, keys| !keys.is_empty());
        concerned
    }

    /// A resource vanished and nobody saw why. True when that is worth a look at its namespace: what it owned may be without an owner.
    pub fn miss(&mut self, key: &ResourceKey) -> bool {
        let sighted = [key.namespace.as_str(), ""].iter().any(|place| self.sighted.contains(&(key.kind, (*place).to_owned())));
        sighted && self.missing.entry(key.namespace.clone()).or_default().insert(key.clone())
    }

    /// It is there, or its end is known. True if it was missing.
    pub fn found(&mut self, key: &ResourceKey) -> bool {
        let Some(keys) = self.missing.get_mut(&key.namespace) else { return false };
        let was = keys.remove(key);
        if keys.is_empty() {
            self.missing.remove(&key.namespace);
        }
        was
    }

    /// What is missing in a namespace.
    pub fn missing(&self, namespace: &str) -> impl Iterator<Item = &ResourceKey> {
        self.missing.get(namespace).into_iter().flatten()
    }

    /// How many of a kind are missing, in all namespaces.
    #[must_use]
    pub fn count_missing(&self, kind: Kind) -> usize {
        self.missing.values().flatten().filter(|key| key.kind == kind).count()
    }

    #[must_use]
    pub fn is_missing(&self, key: &ResourceKey) -> bool {
        self.missing.get(&key.namespace).is_some_and(|keys| keys.contains(key))
    }

    /// The end of these was planned for and carried out.
    pub fn forget_deleted(&mut self, keys: &BTreeSet<ResourceKey>) {
        self.deleted.retain(|key, _| !keys.contains(key));
    }

    /// In this namespace the end of a resource of this kind leaves its row as it is (U4), or no longer so.
    pub fn shelter(&mut self, kind: Kind, namespace: &str, sheltered: bool) {
        let entry = (kind, namespace.to_owned());
        if sheltered {
            self.sheltered.insert(entry);
        } else {
            self.sheltered.remove(&entry);
        }
    }

    fn forget(&mut self, key: &ResourceKey) -> Vec<Subject> {
        let Some(old) = self.resources.get(key) else {
            return Vec::new();
        };
        let mut freed = Vec::new();
        for (subject, is_claim) in subjects_of(old).into_iter().filter(is_indexed(key.kind)) {
            let index = if is_claim { &mut self.claims } else { &mut self.references };
            if index.get_mut(&subject).is_some_and(|keys| keys.remove(key)) {
                index.remove(&subject);
            }
            if is_claim {
                freed.push(subject);
            }
        }
        freed
    }

    #[must_use]
    pub fn get(&self, key: &ResourceKey) -> Option<&Resource> {
        self.resources.get(key).map(AsRef::as_ref)
    }

    pub fn get_mut_last(&mut self, key: &ResourceKey) -> Option<&mut super::desired::Last> {
        self.resources.get_mut(key).map(|resource| &mut Arc::make_mut(resource).last)
    }

    /// Fills in what the Secret of an EmailAddress offers now.
    pub fn set_offer(&mut self, key: &ResourceKey, offer: super::desired::Offer) {
        if let Some(Ok(Declared::Address(declared))) = self.resources.get_mut(key).map(|resource| &mut Arc::make_mut(resource).declared)
            && let Some(password) = &mut declared.password
        {
            password.offer = offer;
        }
    }

    /// Fills in whether the Secrets of a connection can be had.
    pub fn set_connection_secrets(&mut self, key: &ResourceKey, state: super::desired::SecretState) {
        if let Some(Ok(Declared::Connection(declared))) = self.resources.get_mut(key).map(|resource| &mut Arc::make_mut(resource).declared)
        {
            declared.secrets = state;
        }
    }

    /// The settings that a namespace declares, else the defaults.
    #[must_use]
    pub fn settings(&self, namespace: &str) -> super::settings::Settings {
        let key = self.claimants(&Subject::Settings(namespace.to_owned())).next();
        match key.and_then(|key| self.resources.get(key)).map(|resource| &resource.declared) {
            Some(Ok(Declared::Settings(settings))) => settings.clone(),
            _ => super::settings::Settings::default(),
        }
    }

    /// Resources whose end was seen and is not carried out yet, and when they were made.
    pub fn deleted(&self) -> impl Iterator<Item = (&ResourceKey, Timestamp)> {
        self.deleted.iter().map(|(key, made)| (key, *made))
    }

    /// When a resource that is ending, or whose end was seen, was made; None for others.
    #[must_use]
    pub fn ending_since_made(&self, key: &ResourceKey) -> Option<Timestamp> {
        let ending = self.resources.get(key).filter(|resource| resource.deleting).map(|resource| resource.created);
        ending.or_else(|| self.deleted.get(key).copied())
    }

    /// Every domain that somebody claims.
    pub fn domains(&self) -> impl Iterator<Item = Subject> + '_ {
        self.claims.keys().filter(|subject| matches!(subject, Subject::Domain(_))).cloned()
    }

    #[must_use]
    pub fn is_deleted(&self, key: &ResourceKey) -> bool {
        self.deleted.contains_key(key)
    }

    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.resources.values().map(AsRef::as_ref)
    }

    pub fn claimants(&self, subject: &Subject) -> impl Iterator<Item = &ResourceKey> {
        self.claims.get(subject).into_iter().flat_map(Keys::iter)
    }

    /// Everybody whose verdict looks at a subject.
    #[must_use]
    pub fn dependents(&self, subject: &Subject) -> BTreeSet<ResourceKey> {
        let referring = self.references.get(subject).into_iter().flat_map(Keys::iter);
        let own = match subject {
            Subject::Link(address) | Subject::Member(address) => Some(Subject::Address(address.clone())),
            _ => None,
        };
        let own = own.as_ref().and_then(|address| self.claims.get(address)).into_iter().flat_map(Keys::iter);
        self.claimants(subject).chain(referring).chain(own).cloned().collect()
    }

    /// Who has to be planned because of a subject that a resource of the batch owns, besides its claimants. Whoever names an address is
    /// told when its row changes: there may be thousands of them.
    #[must_use]
    pub fn dependents_of_owned(&self, subject: &Subject) -> BTreeSet<ResourceKey> {
        match subject {
            Subject::Domain(_) | Subject::Address(_) => BTreeSet::new(),
            _ => self.dependents(subject),
        }
    }

    /// The addresses of a slice whose purge is asked for: all their aliases go with them (U2).
    #[must_use]
    pub fn purging(&self, slice: &Slice) -> BTreeSet<CanonicalAddress> {
        let resources = slice.keys.iter().filter_map(|key| self.resources.get(key)).filter(|resource| resource.deleting);
        resources
            .filter_map(|resource| match &resource.declared {
                Ok(Declared::Address(declared)) if declared.purge => Some(declared.address.canonical().clone()),
                _ => None,
            })
            .collect()
    }

    /// Domains above and below that somebody claims.
    fn related_domains(&self, subject: &Subject) -> Vec<Subject> {
        let Subject::Domain(domain) = subject else {
            return Vec::new();
        };
        let above = domain.ancestors().map(Subject::Domain).filter(|s| self.claims.contains_key(s));
        let domains = Subject::Domain(DomainName::from_store(""))..Subject::Address(CanonicalAddress::from_store(""));
        let below = self.claims.range(domains).map(|(s, _)| s);
        let below = below.filter(|s| matches!(s, Subject::Domain(other) if other.is_below(domain))).cloned();
        above.chain(below).collect()
    }

    /// Grows a slice until it is closed.
    pub fn close(&self, slice: &mut Slice) {
        let mut subjects: Vec<Subject> = slice.subjects.iter().cloned().collect();
        let mut keys: Vec<ResourceKey> = std::mem::take(&mut slice.keys).into_iter().collect();
        loop {
            while let Some(key) = keys.pop() {
                if !slice.keys.insert(key.clone()) {
                    continue;
                }
                let Some(resource) = self.resources.get(&key) else {
                    continue;
                };
                for (subject, is_claim) in subjects_of(resource) {
                    if is_claim {
                        subjects.extend(self.related_domains(&subject));
                        if ends_others(resource) {
                            keys.extend(subject.addresses().flat_map(|a| self.dependents(&Subject::Address(a.clone()))));
                        }
                    }
                    if slice.subjects.insert(subject.clone()) {
                        subjects.push(subject);
                    }
                }
            }
            let Some(subject) = subjects.pop() else {
                return;
            };
            slice.subjects.insert(subject.clone());
            // What ends in a domain is counted against its guard, and its InternalDomain tells of it.
            for domain in subject.addresses().map(|address| Subject::Domain(address.domain())) {
                if !slice.subjects.contains(&domain) {
                    subjects.push(domain);
                }
            }
            // A role is brought in by whoever claims the same member, not by whoever only looks at a member.
            keys.extend(self.claimants(&subject).filter(|key| key.kind != Kind::AdminRole && !slice.keys.contains(*key)).cloned());
            if matches!(subject, Subject::Member(_)) && slice.keys.iter().any(|key| key.kind == Kind::AdminRole) {
                keys.extend(self.claimants(&subject).filter(|key| !slice.keys.contains(*key)).cloned());
            }
        }
    }

    /// Owners that do not decode, or were suspended and say something else by now, claim nothing by which an index could find what they
    /// hold; they are brought in by what they own. Only so that nobody takes it from them: a verdict on a key that is not in the slice is
    /// none, and what it asks for by a token waits for a batch of its own, for its handled tokens were not read.
    pub fn add_unreadable_owners(&self, desired: &mut Desired, observed: &super::Observed) {
        let of = |kind: Kind, namespace: &str, owner: &Option<String>| owner.as_ref().map(|name| ResourceKey::new(kind, namespace, name));
        let addresses = observed.addresses.values().filter_map(|row| of(Kind::EmailAddress, &row.namespace, &row.owner));
        let domains = observed.domains.values().filter_map(|row| of(Kind::InternalDomain, &row.namespace, &row.owner));
        let links = observed.links.iter().filter_map(|(_, row)| of(Kind::AliasLink, &row.namespace, &row.owner));
        let delegations = observed.delegations.iter().filter_map(|(_, row)| of(Kind::DelegateMailbox, &row.namespace, &row.owner));
        let roles = observed.roles.keys().map(|(namespace, name)| ResourceKey::new(Kind::AdminRole, namespace, name));
        let connections = observed.connections.keys().map(|(namespace, name)| ResourceKey::new(Kind::DirectoryConnection, namespace, name));
        // Whoever has an address that a directory lacks says what becomes of it (Y6).
        for (namespace, name) in observed.addresses.values().filter_map(|row| Some((&row.namespace, row.connection()?))) {
            let key = ResourceKey::new(Kind::DirectoryConnection, namespace, name);
            if let Some(resource) = self.resources.get(&key) {
                desired.resources.entry(key).or_insert_with(|| without_tokens(resource));
            }
        }
        for key in addresses.chain(domains).chain(links).chain(delegations).chain(roles).chain(connections) {
            if let Some(resource) = self.resources.get(&key).filter(|resource| resource.frozen() || resource.declared.is_err()) {
                desired.resources.entry(key).or_insert_with(|| without_tokens(resource));
            }
        }
    }

    /// The resources of a slice as a plan takes them. Whose day is over, and which namespaces live, only the engine can find out.
    #[must_use]
    pub fn desired(&self, slice: &Slice) -> Desired {
        let namespaces = slice.namespaces_of_absences();
        Desired {
            missing: namespaces.iter().flat_map(|namespace| self.missing(namespace)).cloned().collect(),
            sighted: self.sighted.clone(),
            resources: slice.keys.iter().filter_map(|key| Some((key.clone(), self.resources.get(key)?.clone()))).collect(),
            deleted: self.deleted.keys().cloned().collect(),
            sheltered: self.sheltered.clone(),
            watched: self.watched.clone(),
            ..Desired::default()
        }
    }
}

fn without_tokens(resource: &Arc<Resource>) -> Arc<Resource> {
    if resource.actions.0.is_empty() {
        return resource.clone();
    }
    Arc::new(Resource { actions: Actions::default(), ..Resource::clone(resource) })
}

/// Whether its coming into force, or its end, ends rights of others: a link makes an alias of an address (L7), a purge ends all (U2).
fn ends_others(resource: &Resource) -> bool {
    match &resource.declared {
        Ok(Declared::Link(_)) => true,
        Ok(Declared::Address(declared)) => resource.deleting && declared.purge,
        _ => false,
    }
}

/// What the indexes have of a kind's subjects: each EmailAddress refers to the link and the membership of its own address, which the claim
/// on the address tells already.
fn is_indexed(kind: Kind) -> impl Fn(&(Subject, bool)) -> bool {
    move |(subject, is_claim)| *is_claim || kind != Kind::EmailAddress || !matches!(subject, Subject::Link(_) | Subject::Member(_))
}

/// Its subjects; true for a claim, false for a reference.
fn subjects_of(resource: &Resource) -> Vec<(Subject, bool)> {
    let Ok(declared) = &resource.declared else {
        return Vec::new();
    };
    let namespace = &resource.key.namespace;
    let mut found: Vec<_> = declared.claims(namespace).into_iter().map(|s| (s, true)).collect();
    found.extend(declared.references(namespace).into_iter().map(|s| (s, false)));
    if resource.key.kind == Kind::DirectoryConnection {
        found.push((Subject::Connection(namespace.clone(), resource.key.name.clone()), true));
    }
    if resource.key.kind == Kind::AdminRole {
        found.push((Subject::Role(namespace.clone(), resource.key.name.clone()), true));
    }
    for action in [Action::Unlock, Action::ResetCodes] {
        let named = resource.actions.0.get(&action).and_then(|token| token.split_whitespace().next());
        if let Some(address) = named.and_then(|text| Address::parse(text).ok()) {
            found.push((Subject::Address(address.canonical().clone()), false));
        }
    }
    found
}
