//! A world to plan in: resources written as YAML, an [`Observed`] that the pure interpreter keeps, and a clock.
//!
//! One resource is one entry of a YAML mapping: `Kind/name: {spec fields}`, or `Kind/namespace/name: {..}` (namespace `acme` where it
//! is left out). An entry `metadata` inside goes beside the spec: `creationTimestamp`, `generation`, `annotations`, `finalizers`,
//! `deletionTimestamp`, `uid`, and `password` for what the Secret offers. A finalizer is there wherever the kind wants one.
//!
//! Whatever a test does, [`World::settle`] holds the plan to properties 3, 5 and 7: no change fails, and the next plan has nothing to add,
//! no moment either.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_yaml::Value;

use crate::api;
use crate::model::{CanonicalAddress, DomainName, Kind, ResourceKey};
use crate::plan::admit::{Admit, actions};
use crate::plan::desired::{Declared, Desired, Last, Offer, Resource, SecretState, Work};
use crate::plan::observed::{AddressRow, Counts, DomainNumbers, Observed};
use crate::plan::verdict::{CONDITIONS, Detail, Verdict};
use crate::plan::{Change, Plan, plan};

/// Where the clock begins.
pub(crate) const NOON: &str = "2026-03-01T12:00:00Z";

#[derive(Clone)]
pub(crate) struct World {
    pub desired: Desired,
    pub observed: Observed,
    pub now: Timestamp,
    /// The last plan that changed or said anything, before it was repeated.
    pub plan: Plan,
    /// Every change executed so far.
    pub history: Vec<Change>,
    /// The plans that changed something, and when, until somebody takes them.
    pub journal: Vec<(Timestamp, Plan)>,
    /// Ends counted by the guard: when, and of which address.
    done: Vec<(Timestamp, CanonicalAddress)>,
    /// Addresses that went: when, and which.
    gone: Vec<(Timestamp, CanonicalAddress)>,
    learned: Vec<(Timestamp, DomainName)>,
    created: i64,
}

pub(crate) fn address(text: &str) -> CanonicalAddress {
    CanonicalAddress::from_store(text)
}

/// `Kind/name` or `Kind/namespace/name`.
pub(crate) fn key(text: &str) -> ResourceKey {
    let parts: Vec<_> = text.split('/').collect();
    let (kind, namespace, name) = match parts.as_slice() {
        [kind, name] => (kind, "acme", name),
        [kind, namespace, name] => (kind, *namespace, name),
        _ => panic!("{text} is no key"),
    };
    ResourceKey::new(kind.parse().unwrap_or_else(|()| panic!("no kind {kind}")), namespace, name)
}

/// Applies resources to an empty store and compares the reasons on Ready: `Kind/name Reason`, a line each.
#[track_caller]
pub(crate) fn check(resources: &str, expected: &str) -> World {
    let mut world = World::new();
    world.apply(resources);
    world.expect(expected);
    world
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            desired: Desired {
                sighted: Kind::ALL.map(|kind| (kind, String::new())).into(),
                namespaces: ["a", "acme", "b"].map(|namespace| (namespace.to_owned(), "first".to_owned())).into(),
                ..Desired::default()
            },
            observed: Observed::default(),
            now: NOON.parse().unwrap(),
            plan: Plan::default(),
            history: Vec::new(),
            journal: Vec::new(),
            done: Vec::new(),
            gone: Vec::new(),
            learned: Vec::new(),
            created: 0,
        }
    }

    /// `kubectl apply`, then what the controller does at once.
    #[track_caller]
    pub(crate) fn apply(&mut self, resources: &str) {
        self.put(resources);
        self.settle();
    }

    /// Applies without planning, so that several things come in one plan.
    #[track_caller]
    pub(crate) fn put(&mut self, resources: &str) {
        let entries: serde_yaml::Mapping = serde_yaml::from_str(resources).unwrap();
        for (name, spec) in entries {
            self.put_one(&key(name.as_str().unwrap()), spec);
        }
    }

    #[track_caller]
    pub(crate) fn put_one(&mut self, key: &ResourceKey, mut spec: Value) {
        let metadata = spec.as_mapping_mut().and_then(|fields| fields.remove("metadata")).unwrap_or(Value::Null);
        let (declared, suspended) = admit(key.kind, spec);
        let old = self.desired.resources.get(key).filter(|_| metadata.get("uid").is_none());
        self.created += 1;
        let text = |field: &str| metadata.get(field).and_then(Value::as_str);
        let created = match (text("creationTimestamp"), old) {
            (Some(time), _) => time.parse().unwrap(),
            (None, Some(old)) => old.created,
            (None, None) => self.now + SignedDuration::from_secs(self.created - 3600),
        };
        let annotations = metadata.get("annotations").cloned().unwrap_or(Value::Mapping(serde_yaml::Mapping::new()));
        let annotations: BTreeMap<String, String> = serde_yaml::from_value(annotations).unwrap();
        let annotations = annotations.into_iter().map(|(name, value)| (format!("mailroster.dev/{name}"), value)).collect();
        let mut resource = Resource {
            uid: Box::default(),
            key: key.clone(),
            created,
            generation: metadata.get("generation").and_then(Value::as_i64).unwrap_or(old.map_or(1, |old| old.generation + 1)),
            deleting: text("deletionTimestamp").is_some() || old.is_some_and(|old| old.deleting),
            finalizer: false,
            suspended,
            declared,
            actions: actions(&annotations, key.kind),
            last: old.map(|old| old.last.clone()).unwrap_or_default(),
        };
        if old.is_some_and(|old| old.declared == resource.declared && old.suspended == resource.suspended) {
            resource.generation = old.unwrap().generation;
        }
        // Once on, the finalizer stays until it is released; a resource that is going cannot get one any more.
        resource.finalizer = match metadata.get("finalizers").and_then(Value::as_sequence) {
            Some(list) => !list.is_empty(),
            None if resource.deleting => old.is_some_and(|old| old.finalizer) || text("deletionTimestamp").is_some(),
            None => resource.wants_finalizer(),
        };
        if let (Ok(Declared::Address(address)), Some(value)) = (&mut resource.declared, text("password"))
            && let Some(password) = &mut address.password
        {
            password.offer = offer(value);
        }
        if let Ok(Declared::Connection(connection)) = &mut resource.declared {
            connection.secrets = SecretState::Ready(String::new());
        }
        self.desired.deleted.remove(key);
        self.desired.missing.remove(key);
        self.desired.resources.insert(key.clone(), Arc::new(resource));
    }

    /// A resource whose shape this version can't read.
    pub(crate) fn make_unreadable(&mut self, name: &str) {
        let resource = Arc::make_mut(self.desired.resources.get_mut(&key(name)).unwrap());
        let reason = crate::plan::reason::Reason::SpecUnreadable;
        resource.declared = Err(crate::plan::desired::Violation::new(reason, "spec: unknown shape"));
        resource.generation += 1;
    }

    /// `kubectl delete` of each name, then what the controller does at once.
    #[track_caller]
    pub(crate) fn delete(&mut self, names: &str) {
        self.mark_deleted(names);
        self.settle();
    }

    pub(crate) fn mark_deleted(&mut self, names: &str) {
        for name in names.split_whitespace() {
            let key = key(name);
            match self.desired.resources.get_mut(&key) {
                Some(resource) if resource.finalizer => {
                    let resource = Arc::make_mut(resource);
                    resource.generation += i64::from(!resource.deleting);
                    resource.deleting = true;
                }
                Some(_) => {
                    self.desired.resources.remove(&key);
                    self.desired.deleted.insert(key);
                }
                None => {}
            }
        }
    }

    /// They vanish, nobody knows how: a finalizer torn off, a deletion while nobody watched.
    #[track_caller]
    pub(crate) fn vanish(&mut self, names: &str) {
        for key in names.split_whitespace().map(key) {
            assert!(self.desired.resources.contains_key(&key), "{key} is not there");
            self.mark_vanished(&key);
        }
        self.settle();
    }

    pub(crate) fn mark_vanished(&mut self, key: &ResourceKey) {
        if self.desired.resources.remove(key).is_some() {
            self.desired.missing.insert(key.clone());
        }
    }

    /// Sets an annotation, or another value of it.
    #[track_caller]
    pub(crate) fn annotate(&mut self, name: &str, annotation: &str, value: &str) {
        self.put_annotation(&key(name), annotation, value);
        self.settle();
    }

    #[track_caller]
    pub(crate) fn put_annotation(&mut self, key: &ResourceKey, annotation: &str, value: &str) {
        let annotations = BTreeMap::from([(format!("mailroster.dev/{annotation}"), value.to_owned())]);
        let found = actions(&annotations, key.kind);
        assert!(!found.0.is_empty(), "{annotation} is no action of {key}");
        if let Some(resource) = self.desired.resources.get_mut(key) {
            Arc::make_mut(resource).actions.0.extend(found.0);
        }
    }

    /// Approves what an InternalDomain holds now.
    #[track_caller]
    pub(crate) fn approve(&mut self, name: &str) {
        let hash = self.held(name).expect("nothing is held").hash;
        self.annotate(name, "approve", &hash);
    }

    /// The time passes; plans at each moment that a plan asked for. Between those nothing may change.
    #[track_caller]
    pub(crate) fn advance(&mut self, seconds: i64) {
        let target = self.now + SignedDuration::from_secs(seconds);
        while let Some(next) = self.plan.moments.iter().map(|(at, _)| *at).filter(|at| *at > self.now && *at <= target).min() {
            self.now = next;
            self.settle();
        }
        if self.now < target {
            self.now = target;
            self.count();
            let plan = plan(&self.desired, &self.observed, self.now);
            assert_eq!(plan.changes, [], "something happened at {target} without a moment being asked for");
            self.settle();
        }
    }

    /// Plans and executes until nothing is left to do at this moment.
    #[track_caller]
    pub(crate) fn settle(&mut self) {
        let mut released = true;
        let mut first = true;
        while released {
            self.count();
            let plan = plan(&self.desired, &self.observed, self.now);
            let blockers = self.observed.transfer_blockers.clone();
            self.execute(&plan);
            self.count();
            // What blocks a transfer is the store's to say, of all the domain's rows: when it changes, domains are planned again.
            if self.observed.transfer_blockers != blockers {
                self.tell(plan, &mut first);
                continue;
            }
            let again = super::super::plan(&self.desired, &self.observed, self.now);
            assert_eq!(again.changes, [], "the same plan again has more to do; the first did {:#?}", plan.changes);
            for (key, verdict) in &plan.verdicts {
                for condition in &verdict.conditions {
                    assert!(CONDITIONS.contains(&condition.kind), "{} is not listed: nobody would know when it turned", condition.kind);
                }
                let repeated = again.verdicts.get(key).map(without_counts);
                assert_eq!(repeated.as_ref(), Some(&without_counts(verdict)), "the verdict on {key} changes with nothing done");
            }
            for (at, subject) in again.moments.iter().filter(|(at, _)| *at > self.now) {
                let asked = plan.moments.iter().any(|(first, of)| of == subject && first <= at);
                assert!(asked, "{subject:?} has to be planned at {at}, and the plan did not say so; it did {:#?}", plan.changes);
            }
            released = self.release(&again);
            self.tell(plan, &mut first);
            self.plan.moments = again.moments;
        }
        self.desired.deleted.clear();
    }

    /// Keeps what people see of the plans of one moment.
    fn tell(&mut self, plan: Plan, first: &mut bool) {
        if std::mem::take(first) {
            self.plan = plan;
        } else {
            self.plan.verdicts.extend(plan.verdicts);
            self.plan.notes.extend(plan.notes);
        }
    }

    /// Executes a plan and writes each status.
    #[track_caller]
    pub(crate) fn execute(&mut self, plan: &Plan) {
        if !plan.changes.is_empty() {
            self.journal.push((self.now, plan.clone()));
        }
        for change in &plan.changes {
            self.execute_one(change);
        }
        for (key, verdict) in &plan.verdicts {
            if let Some(resource) = self.desired.resources.get_mut(key) {
                let resource = Arc::make_mut(resource);
                resource.last = last(verdict, &resource.last);
            }
        }
    }

    #[track_caller]
    fn execute_one(&mut self, change: &Change) {
        if let Change::PutAddress { address, row, .. } = change
            && row.origin == "MailFlow"
            && !self.observed.addresses.contains_key(address)
        {
            self.learned.push((self.now, address.domain()));
        }
        self.observed.apply(change).unwrap_or_else(|error| panic!("{error}, by {change:?}"));
        match change {
            Change::DeleteAddress { address, purge } => {
                self.gone.push((self.now, address.clone()));
                if *purge {
                    self.observed.tombstones.insert(address.clone(), self.now);
                }
            }
            Change::DeleteDomain { domain } => {
                for ends in [&mut self.done, &mut self.gone] {
                    ends.retain(|(_, address)| !address.is_in(domain));
                }
            }
            Change::PutCredential { address, password } if password.phc.is_some() => {
                self.observed.credentials.get_mut(address).unwrap().set_at = self.now;
            }
            Change::PutDone { address, .. } => self.done.push((self.now, address.clone())),
            // The engine misses it no more.
            Change::PutAbsence { key, absence } if absence.ended_at.is_some() => drop(self.desired.missing.remove(key)),
            _ => {}
        }
        self.history.push(change.clone());
    }

    /// Lets go what the plan releases. True if a resource vanished by it.
    fn release(&mut self, plan: &Plan) -> bool {
        let gone: BTreeSet<_> = plan.verdicts.iter().filter(|(_, verdict)| verdict.release).map(|(key, _)| key.clone()).collect();
        for key in &gone {
            assert!(self.desired.resources[key].deleting, "{key} is released and not being deleted");
            self.desired.resources.remove(key);
        }
        self.desired.deleted.extend(gone.iter().cloned());
        !gone.is_empty()
    }

    /// The numbers as the store would have them now.
    pub(crate) fn count(&mut self) {
        let hour_ago = self.now - SignedDuration::from_hours(1);
        self.done.retain(|(at, ..)| *at > hour_ago);
        self.gone.retain(|(at, ..)| *at > hour_ago);
        self.learned.retain(|(at, _)| *at > hour_ago);
        let mut numbers: BTreeMap<DomainName, DomainNumbers> =
            self.observed.domains.keys().map(|domain| (domain.clone(), DomainNumbers::default())).collect();
        for (address, row) in self.observed.addresses.iter() {
            let counts = &mut numbers.entry(address.domain()).or_default().counts;
            add(counts, row);
        }
        for (_, address) in &self.done {
            let numbers = numbers.entry(address.domain()).or_default();
            numbers.done += 1;
        }
        let gone: BTreeSet<_> = self.gone.iter().map(|(_, address)| address).collect();
        for address in gone.into_iter().filter(|address| !self.observed.addresses.contains_key(address)) {
            numbers.entry(address.domain()).or_default().gone += 1;
        }
        for (_, domain) in &self.learned {
            numbers.entry(domain.clone()).or_default().learned += 1;
        }
        self.observed.numbers = numbers;
        self.observed.rights = rights(&self.observed);
        self.desired.overdue = self.desired.missing.clone();
        self.observed.transfer_blockers = transfer_blockers(&self.observed);
    }
}

/// What a status says afterwards, as far as the next plan reads it.
pub(crate) fn last(verdict: &Verdict, before: &Last) -> Last {
    let moved = match &verdict.detail {
        Detail::Role { rejected, .. } => rejected.iter().filter(|r| r.reason.as_str() == "AliasMoved").map(|r| r.address.clone()).collect(),
        _ => Vec::new(),
    };
    // Suspended keeps the previous value of Ready (C8).
    let ready = if verdict.ready.reason.as_str() == "Suspended" { before.ready } else { verdict.ready.is_fine() };
    Last { generation: verdict.generation, ready, reason: Some(verdict.ready.reason), moved }
}

/// Counts follow a plan later (D3).
pub(crate) fn without_counts(verdict: &Verdict) -> Verdict {
    let mut verdict = verdict.clone();
    if let Detail::Domain { addresses, .. } = &mut verdict.detail {
        *addresses = None;
    }
    verdict
}

/// What joins a domain to another domain, or to a role of its namespace (D1).
fn transfer_blockers(observed: &Observed) -> BTreeMap<DomainName, Vec<String>> {
    let links = observed.links.iter().map(|(alias, row)| (alias, &row.primary, format!("link {alias} to {}", row.primary)));
    let pairs = observed.delegations.iter().map(|((reader, mailbox), _)| (reader, mailbox, format!("delegation of {mailbox} to {reader}")));
    let mut found: BTreeMap<DomainName, Vec<String>> = BTreeMap::new();
    for (one, other, blocker) in links.chain(pairs).filter(|(one, other, _)| one.domain() != other.domain()) {
        found.entry(one.domain()).or_default().push(blocker.clone());
        found.entry(other.domain()).or_default().push(blocker);
    }
    for (address, role) in &observed.members {
        found.entry(address.domain()).or_default().push(format!("role {} of {address}", role.1));
    }
    found.values_mut().for_each(|blockers| {
        blockers.sort();
        blockers.truncate(5);
    });
    found
}

/// The links, delegations and roles that resources own.
fn rights(observed: &Observed) -> BTreeMap<(Kind, String), u64> {
    let links = observed.links.iter().filter(|(_, row)| row.owner.is_some()).map(|(_, row)| (Kind::AliasLink, row.namespace.clone()));
    let pairs = observed.delegations.iter().filter(|(_, row)| row.owner.is_some());
    let pairs = pairs.map(|(_, row)| (Kind::DelegateMailbox, row.namespace.clone()));
    let roles = observed.roles.iter().filter(|(_, row)| row.owned).map(|((namespace, _), _)| (Kind::AdminRole, namespace.clone()));
    let mut found = BTreeMap::new();
    for right in links.chain(pairs).chain(roles) {
        *found.entry(right).or_default() += 1;
    }
    found
}

fn add(counts: &mut Counts, row: &AddressRow) {
    counts.total += 1;
    counts.aliases += u64::from(row.is_alias);
    counts.undeclared += u64::from(row.owner.is_none() && !row.is_alias);
    match row.origin.as_str() {
        "MailFlow" => counts.mail_flow += 1,
        _ => counts.manual += 1,
    }
}

/// What a Secret offers: `missing`, `unlabelled`, `refused`, `open VALUE` (not hashed yet), `same VALUE`, `VALUE` (hashed).
fn offer(text: &str) -> Offer {
    let value = |value: &str, work| Offer::Value { fingerprint: value.as_bytes().to_vec(), key_id: "key".to_owned(), work };
    match text.split_once(' ') {
        None if text == "missing" => Offer::Missing("Secret sales-mail is missing".to_owned()),
        None if text == "unlabelled" => Offer::NotReadable("label the Secret".to_owned()),
        None if text == "refused" => value(text, Work::Refused("the password has no digit".to_owned())),
        Some(("open", text)) => value(text, Work::Open),
        Some(("same", text)) => value(text, Work::Same),
        _ => value(text, Work::Hashed { phc: format!("$argon2id${text}"), ascii: text.is_ascii() }),
    }
}

fn admit(kind: Kind, spec: Value) -> (Result<Declared, crate::plan::desired::Violation>, bool) {
    fn of<T: Admit + serde::de::DeserializeOwned>(spec: Value) -> (Result<Declared, crate::plan::desired::Violation>, bool) {
        let spec: T = serde_yaml::from_value(spec).unwrap();
        (spec.admit(), spec.suspended())
    }
    match kind {
        Kind::AccountSettings => of::<api::AccountSettingsSpec>(spec),
        Kind::InternalDomain => of::<api::InternalDomainSpec>(spec),
        Kind::EmailAddress => of::<api::EmailAddressSpec>(spec),
        Kind::AliasLink => of::<api::AliasLinkSpec>(spec),
        Kind::DelegateMailbox => of::<api::DelegateMailboxSpec>(spec),
        Kind::AdminRole => of::<api::AdminRoleSpec>(spec),
        Kind::DirectoryConnection => of::<api::DirectoryConnectionSpec>(spec),
    }
}
