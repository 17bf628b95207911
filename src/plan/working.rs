//! The state that the steps of a plan work on: the rows as they will be, who claims what, and why each thing changes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::desired::{Action, Declared, Desired, Resource, Violation};
use super::observed::{Observed, Wait, WaitAction};
use super::reason::Reason;
use super::subject::Subject;
use super::verdict::HeldPlan;
use crate::model::{CanonicalAddress, Kind, Named, ResourceKey};

/// Why a subject changes: goes into the audit record (X1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub actor: String,
    pub reason: &'static str,
}

/// Something people should see once, as an Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub key: ResourceKey,
    pub reason: Reason,
    pub message: String,
    pub warning: bool,
}

/// A password whose work happens outside the plan (P2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordWork {
    pub key: ResourceKey,
    pub address: CanonicalAddress,
}

pub(super) struct Working<'a> {
    pub desired: &'a Desired,
    pub before: &'a Observed,
    pub next: Observed,
    pub now: Timestamp,
    pub causes: BTreeMap<Subject, Cause>,
    pub notes: Vec<Note>,
    pub moments: Vec<(Timestamp, Subject)>,
    pub passwords: BTreeMap<CanonicalAddress, NewPassword>,
    pub password_work: Vec<PasswordWork>,
    /// Ends that the guard let pass in this plan.
    pub done: Vec<(CanonicalAddress, WaitAction)>,
    /// Violations that the steps of this round found, by resource; the verdicts read those of the last round.
    pub refused: BTreeMap<ResourceKey, Violation>,
    /// Role members that were refused, by role.
    pub rejected: BTreeMap<ResourceKey, Vec<super::verdict::Rejection>>,
    /// Addresses whose row ends for good, with a tombstone (U8) or without.
    pub purged: BTreeMap<CanonicalAddress, bool>,
    /// Mailboxes whose person has another address now (L8).
    pub moved: Vec<Move>,
    /// Leavers that were seen through in this plan: address, namespace, connection.
    pub departed: Vec<(CanonicalAddress, String, String)>,
    /// Whose annotation asks for something with a token that is new in this plan.
    pub requested: BTreeSet<ResourceKey>,
    /// What connections are to do.
    pub runs: Vec<(ResourceKey, super::directory::Begin)>,
    /// What a directory run did.
    pub run: super::directory::Account,
    /// Resources that count as ended because they were missing for a day (U6).
    pub gone: BTreeSet<ResourceKey>,
    /// Every claim, in order of its subject and then of age; whose it is stands at the same place below.
    subjects: Vec<Subject>,
    claimants: Vec<&'a Resource>,
}

/// A mailbox whose person has another address now (L8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub from: CanonicalAddress,
    pub to: CanonicalAddress,
    /// The passwords go along; otherwise the new address keeps its own, and those of the old one end.
    pub credential: bool,
}

/// A credential to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPassword {
    /// None: the value is in force already, only its fingerprint is new.
    pub phc: Option<String>,
    pub fingerprint: Vec<u8>,
    pub key_id: String,
    pub force_change: bool,
    pub never_expires: bool,
    /// How many old hashes to keep (P4).
    pub history: u32,
}

/// What has become of a row's owner (A8).
pub(super) enum Owner<'a> {
    /// No resource owns the row.
    Nobody,
    /// It lives and still declares the subject, or is frozen.
    Living(&'a Resource),
    /// Its end was seen, or it declares something else by now.
    Ended { resource: Option<&'a Resource>, sheltered: bool },
    /// It is in no list; nothing follows from that here (U6).
    OutOfSight,
}

impl<'a> Working<'a> {
    pub fn new(desired: &'a Desired, observed: &'a Observed, now: Timestamp) -> Self {
        let mut claims: Vec<(Subject, &Resource)> = Vec::with_capacity(desired.resources.len());
        for resource in desired.resources.values() {
            if let Some(declared) = resource.active() {
                claims.extend(declared.claims(&resource.key.namespace).into_iter().map(|subject| (subject, resource.as_ref())));
            }
        }
        claims.sort_by(|(a, one), (b, other)| (a, one.seniority()).cmp(&(b, other.seniority())));
        let (subjects, claimants): (Vec<_>, Vec<_>) = claims.into_iter().unzip();
        Self {
            desired,
            before: observed,
            next: observed.clone(),
            now,
            causes: BTreeMap::new(),
            notes: Vec::new(),
            moments: Vec::new(),
            passwords: BTreeMap::new(),
            password_work: Vec::new(),
            done: Vec::new(),
            refused: BTreeMap::new(),
            rejected: BTreeMap::new(),
            purged: BTreeMap::new(),
            moved: Vec::new(),
            departed: Vec::new(),
            requested: BTreeSet::new(),
            runs: Vec::new(),
            run: super::directory::Account::default(),
            gone: BTreeSet::new(),
            subjects,
            claimants,
        }
    }

    /// Who claims a subject, oldest first.
    pub fn claimants(&self, subject: &Subject) -> &[&'a Resource] {
        let from = self.subjects.partition_point(|claimed| claimed < subject);
        let count = self.subjects.iter().skip(from).take_while(|claimed| *claimed == subject).count();
        self.claimants.get(from..from + count).unwrap_or_default()
    }

    /// All claimed subjects of one sort, in order.
    pub fn claimed<T: PartialEq>(&self, pick: impl Fn(&Subject) -> Option<T>) -> Vec<T> {
        let mut found: Vec<T> = self.subjects.iter().filter_map(pick).collect();
        found.dedup();
        found
    }

    pub fn resource(&self, kind: Kind, namespace: &str, name: &str) -> Option<&'a Resource> {
        self.desired.resources.get(&(kind, namespace, name) as &dyn Named).map(AsRef::as_ref)
    }

    /// What has become of the owner of a row.
    pub fn owner(&self, kind: Kind, namespace: &str, owner: Option<&str>, subject: &Subject) -> Owner<'a> {
        let Some(name) = owner else {
            return Owner::Nobody;
        };
        let sheltered = || self.desired.sheltered.contains(&(kind, namespace.to_owned()));
        match self.resource(kind, namespace, name) {
            None if self.has_ended(&(kind, namespace, name)) => Owner::Ended { resource: None, sheltered: sheltered() },
            None => Owner::OutOfSight,
            Some(resource) if resource.deleting => Owner::Ended { resource: Some(resource), sheltered: sheltered() },
            Some(resource) if resource.frozen() => Owner::Living(resource),
            Some(resource) if self.claimants(subject).iter().any(|claimant| std::ptr::eq(*claimant, resource)) => Owner::Living(resource),
            Some(resource) => Owner::Ended { resource: Some(resource), sheltered: false },
        }
    }

    /// Whether a resource that is in no list counts as ended: its end was seen, or it was missing for long enough.
    pub fn has_ended(&self, key: &dyn Named) -> bool {
        self.desired.deleted.contains(key) || self.gone.contains(key)
    }

    pub fn because(&mut self, subject: Subject, cause: Cause) {
        self.causes.insert(subject, cause);
    }

    /// The resource does it.
    pub fn by(&mut self, subject: Subject, resource: &Resource, reason: &'static str) {
        self.because(subject, Cause { actor: format!("{} (uid {})", resource.key, resource.uid), reason });
    }

    /// A rule does it.
    pub fn by_rule(&mut self, subject: Subject, reason: &'static str) {
        self.because(subject, Cause { actor: "mailroster".to_owned(), reason });
    }

    pub fn refuse(&mut self, resource: &Resource, reason: Reason, message: impl Into<String>) {
        self.refused.insert(resource.key.clone(), Violation::new(reason, message));
    }

    pub fn note(&mut self, key: &ResourceKey, reason: Reason, warning: bool, message: impl Into<String>) {
        self.notes.push(Note { key: key.clone(), reason, message: message.into(), warning });
    }

    /// A resource that its status called in force has to be written again although it says the same: somebody else changed the row (C4).
    pub fn note_drift(&mut self, resource: &Resource, what: &str) {
        if resource.was_in_force() {
            self.note(&resource.key, Reason::DriftCorrected, true, format!("{what} had been changed in the store; it was put right"));
        }
    }

    /// Begins a wait, unless it has begun.
    pub fn wait(&mut self, address: &CanonicalAddress, action: WaitAction) {
        let since = self.now;
        self.next.waiting.entry((address.clone(), action)).or_insert(Wait { since, held: false, approved: false });
    }

    pub fn unwait(&mut self, address: &CanonicalAddress, action: WaitAction) {
        self.next.waiting.remove(&(address.clone(), action));
    }

    /// The day of this plan, by UTC.
    pub fn today(&self) -> jiff::civil::Date {
        self.now.to_zoned(jiff::tz::TimeZone::UTC).date()
    }

    /// A token that was not handled yet (C6). Notes it as handled; the caller acts unless the token is a time before the
    /// resource's creation.
    pub fn take_token(&mut self, resource: &Resource, action: Action) -> Option<String> {
        let token = resource.actions.0.get(&action)?;
        let slot = (resource.key.clone(), action);
        if self.next.handled.get(&slot) == Some(token) {
            return None;
        }
        self.next.handled.insert(slot, token.clone());
        // Some tokens have a name before them: `unlock: "<address> <token>"`.
        let time = token.split_whitespace().last().unwrap_or_default();
        let stale = time.parse::<Timestamp>().is_ok_and(|time| time < resource.created);
        (!stale).then(|| token.clone())
    }

    /// Whether a resource approves just this held plan (C6). An approval acts once: the same ends held a second time want a second yes.
    pub fn take_approval(&mut self, resource: &Resource, held: &HeldPlan) -> bool {
        let slot = (resource.key.clone(), Action::Approve);
        let named = resource.actions.0.get(&Action::Approve) == Some(&held.hash) && self.next.handled.get(&slot) != Some(&held.hash);
        if named {
            self.next.handled.insert(slot, held.hash.clone());
        }
        named
    }

    /// Ends every right that names an address: it is being purged or becomes an alias (L7).
    pub fn end_rights(&mut self, address: &CanonicalAddress, reason: &'static str) {
        for pair in self.next.delegations.naming(address) {
            self.next.delegations.remove(&pair);
            self.by_rule(Subject::Pair(pair.0, pair.1), reason);
        }
        if self.next.members.remove(address).is_some() {
            self.by_rule(Subject::Member(address.clone()), reason);
        }
    }

    /// Takes a row out for good, with everything that hangs on it but its own aliases.
    pub fn remove_address(&mut self, address: &CanonicalAddress, tombstone: bool, reason: &'static str) {
        self.end_rights(address, reason);
        if self.next.links.remove(address).is_some() {
            self.by_rule(Subject::Link(address.clone()), reason);
        }
        self.next.addresses.remove(address);
        self.next.credentials.remove(address);
        self.next.leavers.remove(address);
        self.passwords.remove(address);
        for action in [WaitAction::Purge, WaitAction::Shut, WaitAction::Unlink] {
            self.unwait(address, action);
        }
        if tombstone {
            self.next.tombstones.insert(address.clone(), self.now);
        }
        self.purged.insert(address.clone(), tombstone);
        self.by_rule(Subject::Address(address.clone()), reason);
    }

    /// What an EmailAddress in this slice declares.
    pub fn address_declared(resource: &Resource) -> Option<&super::desired::AddressDeclared> {
        match &resource.declared {
            Ok(Declared::Address(declared)) => Some(declared),
            _ => None,
        }
    }
}
