//! Owners that no list has (SPEC U6): when the store's owners are compared with what is watched, and what only the cluster knows of
//! those that are missing. What follows is the plan's to say ([`crate::plan::absence`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::batch::Failure;
use super::{BATCH, Engine, Surroundings};
use crate::model::{Kind, ResourceKey};
use crate::plan::Subject;
use crate::plan::slice::Slice;
use crate::store::StoreError;

/// A change of owners that told nobody is found no later than this.
const EVERY: Duration = Duration::from_hours(6);

/// What has to be compared with the store, and what is known of namespaces.
pub(super) struct Sight {
    /// Lists that became complete and were not compared yet: kind, and namespace or "" for all.
    due: BTreeSet<(Kind, String)>,
    next: Instant,
    /// Namespaces in which something is known to be missing, or whose uid the store has yet to learn.
    watched: BTreeSet<String>,
    /// The uids that the cluster gave since the last comparison; None: the namespace is ending, gone or not to be seen.
    uids: BTreeMap<String, Option<String>>,
}

impl Default for Sight {
    fn default() -> Self {
        Self { due: BTreeSet::new(), next: Instant::now() + EVERY, watched: BTreeSet::new(), uids: BTreeMap::new() }
    }
}

impl Sight {
    /// A list is complete.
    pub fn listed(&mut self, kind: Kind, namespace: String) {
        self.due.insert((kind, namespace));
    }

    /// A list failed: until it is complete again there is nothing to compare.
    pub fn failed(&mut self, kind: Kind, namespace: &str) {
        self.due.remove(&(kind, namespace.to_owned()));
    }

    pub fn next(&self) -> Instant {
        if self.due.is_empty() { self.next } else { Instant::now() }
    }

    /// Everything is compared again when its time has come.
    pub fn collect_due(&mut self, listed: &BTreeSet<(Kind, String)>) {
        if self.next <= Instant::now() {
            self.compare_all(listed);
        }
    }

    /// Everything is compared again now.
    pub fn compare_all(&mut self, listed: &BTreeSet<(Kind, String)>) {
        self.next = Instant::now() + EVERY;
        self.due.extend(listed.iter().cloned());
    }
}

impl<S: Surroundings> Engine<S> {
    /// Compares the owners in the store with the lists that became complete.
    pub(super) async fn look_for_missing(&mut self) -> Result<(), StoreError> {
        while let Some((kind, place)) = self.sight.due.first().cloned() {
            let store = self.leader.store();
            let missing = store.unlisted_owners(kind, &place, |key| self.roster.get(key).is_some() || self.roster.is_deleted(key)).await?;
            let watched = store.namespaces_to_watch(&place).await?;
            self.sight.due.remove(&(kind, place.clone()));
            if !missing.is_empty() {
                tracing::warn!(kind = %kind, count = missing.len(), "rows name resources that no list has; after 24 h they count as ended (U6)");
            }
            self.sight.uids.retain(|namespace, _| !place.is_empty() && *namespace != place);
            let concerned = self.roster.sight(kind, &place, missing);
            self.observer.missing(kind, self.roster.count_missing(kind));
            self.subjects.extend(concerned.into_iter().chain(watched.iter().cloned()).map(Subject::Absences));
            self.sight.watched.extend(watched);
        }
        Ok(())
    }

    /// Of the namespaces in a slice, those in which something is missing.
    pub(super) fn missing_in(&self, slice: &Slice) -> BTreeSet<String> {
        let mut namespaces = slice.namespaces_of_absences();
        namespaces.retain(|namespace| self.roster.missing(namespace).next().is_some());
        namespaces
    }

    /// The missing owners whose day may be over: the store says how long, the API server, asked by name, that they are not there.
    pub(super) async fn overdue(&self, namespaces: &BTreeSet<String>) -> Result<BTreeSet<ResourceKey>, Failure> {
        if namespaces.is_empty() {
            return Ok(BTreeSet::new());
        }
        let mut keys = self.leader.store().overdue(namespaces, BATCH).await?;
        keys.retain(|key| self.roster.is_missing(key));
        if keys.is_empty() {
            return Ok(keys);
        }
        // What can't be found out is not proved, and holds up nobody.
        Ok(self.surroundings.absent(&keys).await)
    }

    /// The uids of the namespaces of a slice that live and may be seen. Asked for only where that matters.
    /// `overdue`: what is about to end; of its namespaces an older answer is not believed.
    pub(super) async fn uids(
        &mut self,
        slice: &Slice,
        missing_in: &BTreeSet<String>,
        overdue: &BTreeSet<ResourceKey>,
    ) -> BTreeMap<String, String> {
        // The last that comes back leaves its absence to be forgotten.
        self.sight.watched.extend(missing_in.iter().cloned());
        self.sight.uids.retain(|namespace, _| !overdue.iter().any(|key| key.namespace == *namespace));
        let mut found = BTreeMap::new();
        for namespace in slice.namespaces_of_absences() {
            if !self.sight.watched.contains(&namespace) {
                continue;
            }
            if !self.sight.uids.contains_key(&namespace) {
                match self.surroundings.namespace_uid(&namespace).await {
                    Ok(uid) => drop(self.sight.uids.insert(namespace.clone(), uid)),
                    Err(error) => tracing::warn!(namespace, error, "a namespace can't be looked at; nothing follows from what it lacks"),
                }
            }
            if let Some(Some(uid)) = self.sight.uids.get(&namespace) {
                found.insert(namespace, uid.clone());
            }
        }
        found
    }
}
