//! Directories: what their entries say becomes addresses (SPEC 8).
//!
//! A run reads entries and hands them over in chunks; each chunk is planned like anything else ([`entries`]). What follows from absence
//! follows from the rows of [`rows::Leaver`] alone: only a read with a proof of completeness, what a server itself shows to be gone, or an
//! entry that came without one of its addresses, makes one. Which of them may be seen through is judged for a whole connection at a time ([`guard`]), and then done address
//! by address ([`leavers`]).

pub mod connection;
pub mod entries;
mod follow;
pub mod guard;
mod leavers;
pub mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use follow::follow;
pub(super) use follow::{moved_to, person_now};
pub(super) use leavers::settle as settle_leavers;

use super::observed::{AddressRow, LinkRow};
use super::slice::{Roster, Slice};
use super::subject::Subject;
use super::working::Working;
use crate::model::{Address, CanonicalAddress, DomainName, Entry, EntryId, ResourceKey};
use rows::RunCounts;

/// What a connection is to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Begin {
    /// A run, for it is time. One that runs already will do.
    Due,
    /// Judge anew what waits for a yes, for somebody said it.
    Judge,
    /// A run, for somebody asked: one that begins after that.
    Requested,
    /// A run that reads all, for another connection gave up addresses that this one wants (Y8).
    Inherit,
}

/// Entries that a run brings for planning.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Of one connection.
    pub entries: BTreeMap<EntryId, Arc<Entry>>,
    /// All others of the run have been planned: who else has an address is known by now. Until then an entry that wants what another has
    /// waits ([`Account::deferred`]).
    pub last: bool,
    /// The server told of them because they changed: what they came without it shows to be gone (Y7).
    pub shown: bool,
    /// Another server answered than the one known so far, or one that is behind it: only additions and disables take effect (Y11).
    pub unproved: bool,
}

/// What planning a chunk of entries did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    pub counts: RunCounts,
    /// Entries to bring again when all others were planned.
    pub deferred: Vec<EntryId>,
    /// What people should look at.
    pub reports: Vec<String>,
    /// The mailboxes and lists that entries came for.
    pub(super) settled: Vec<CanonicalAddress>,
}

impl Found {
    /// What has to be planned with these entries, not closed yet: all that they name, what they hold so far, and whoever names one that
    /// holds something. `held`: the addresses that they hold in the store.
    #[must_use]
    pub fn slice(&self, connection: &ResourceKey, held: Vec<CanonicalAddress>, roster: &Roster) -> Slice {
        let mut slice = Slice { keys: BTreeSet::from([connection.clone()]), ..Slice::default() };
        slice.subjects.insert(Subject::Settings(connection.namespace.clone()));
        for address in &held {
            slice.keys.extend(roster.dependents(&Subject::Address(address.clone())));
        }
        let named = self.entries.values().flat_map(|entry| &entry.values).map(|value| value.address.canonical().clone());
        for address in held.into_iter().chain(named) {
            slice.subjects.insert(Subject::Link(address.clone()));
            slice.subjects.insert(Subject::Member(address.clone()));
            slice.subjects.insert(Subject::Address(address));
        }
        slice
    }

    /// Two parts of it, for finding out what breaks a plan.
    #[must_use]
    pub fn halves(mut self) -> [Self; 2] {
        let half = self.entries.len().div_ceil(2);
        let mut entries = std::mem::take(&mut self.entries).into_iter();
        let first = entries.by_ref().take(half).collect();
        [Self { entries: first, ..self }, Self { entries: entries.collect(), ..self }]
    }
}

impl Account {
    /// Adds what another part came to.
    pub fn add(&mut self, other: Self) {
        self.counts.add(&other.counts);
        self.deferred.extend(other.deferred);
        self.reports.extend(other.reports);
    }

    /// These entries can't be brought into force.
    pub fn refuse(&mut self, found: &Found, reason: &str) {
        for entry in found.entries.values() {
            self.report(format!("{}: a fault in mailroster keeps it out: {reason}", entry.dn));
        }
    }

    fn report(&mut self, text: String) {
        self.counts.reported += 1;
        self.reports.push(text);
    }
}

/// The addresses of an entry that lie in the domains of its connection (Y2, Y3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Internal<'a> {
    /// None: it has none.
    pub primary: Option<&'a Address>,
    pub aliases: Vec<&'a Address>,
}

impl<'a> Internal<'a> {
    pub fn of(entry: &'a Entry, serves: impl Fn(&DomainName) -> bool) -> Self {
        let ours: Vec<_> = entry.values.iter().filter(|value| serves(&value.address.canonical().domain())).collect();
        let primary = ours.iter().find(|value| value.primary).or(ours.first()).map(|value| &value.address);
        let aliases = ours.iter().map(|value| &value.address).filter(|address| Some(*address) != primary).collect();
        Self { primary, aliases }
    }
}

impl Working<'_> {
    /// Whether a directory has an address now: one of its entries came with it, and none came without it since.
    pub(super) fn is_carried(&self, address: &CanonicalAddress) -> bool {
        self.next.addresses.get(address).is_some_and(|row| row.connection().is_some()) && !self.next.leavers.contains_key(address)
    }

    /// What a connection declares, while it is free to act.
    pub(super) fn connection(&self, key: &ResourceKey) -> Option<&super::desired::ConnectionDeclared> {
        match self.desired.resources.get(key)?.active()? {
            super::desired::Declared::Connection(declared) => Some(declared),
            _ => None,
        }
    }
}

/// Counts what planning the entries changed.
pub(super) fn tally(w: &mut Working<'_>) {
    let (before, next) = (w.before, &w.next);
    let counts = &mut w.run.counts;
    for address in &w.run.settled {
        let (old, new) = (before.addresses.shared(address), next.addresses.shared(address));
        match (&old, &new) {
            (None, Some(_)) => counts.created += 1,
            (Some(old), Some(new)) if old != new => counts.updated += 1,
            _ => counts.unchanged += 1,
        }
        let shut = |row: &AddressRow| row.directory.as_ref().is_some_and(|side| side.directory_disabled || side.directory_missing);
        match (old.is_some_and(|row| shut(&row)), new.is_some_and(|row| shut(&row))) {
            (false, true) => counts.disabled += 1,
            (true, false) => counts.enabled += 1,
            _ => {}
        }
    }
    let ours = |row: &&LinkRow| row.origin == "Directory";
    for (alias, new) in next.links.iter().filter(|(_, row)| ours(row)) {
        match before.links.get(alias) {
            None => counts.linked += 1,
            Some(old) if old.primary != new.primary => counts.relinked += 1,
            Some(_) => {}
        }
    }
    counts.unlinked += before.links.iter().filter(|(alias, row)| ours(row) && next.links.get(alias).is_none()).count() as u64;
}
