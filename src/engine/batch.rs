//! One batch: dirty keys -> closure -> rows -> plan -> one transaction -> verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{BATCH, Chunk, Engine, Outcome, REST, Surroundings};
use crate::model::{EntryId, Kind, ResourceKey};
use crate::plan::desired::{Action, Declared, Desired};
use crate::plan::directory::{Account, Found};
use crate::plan::observed::EntryKey;
use crate::plan::slice::Slice;
use crate::plan::{self, Change, Plan, Subject, Verdict};
use crate::store::{Scope, StoreError};

/// Busy rows are tried again at once, this often.
const TRIES: usize = 5;

/// What broke a batch is tried again after this.
const ASIDE: std::time::Duration = std::time::Duration::from_mins(1);

/// The keys and subjects that a batch sets out with.
#[derive(Clone, Default)]
pub(super) struct Seed {
    keys: BTreeSet<ResourceKey>,
    subjects: BTreeSet<Subject>,
    reported: BTreeSet<Subject>,
    ended: BTreeSet<ResourceKey>,
    /// Entries of a directory, and of which connection.
    found: Option<(ResourceKey, Found)>,
}

impl Seed {
    fn len(&self) -> usize {
        let found = self.found.as_ref().map_or(0, |(_, found)| found.entries.len());
        self.keys.len() + self.subjects.len() + self.reported.len() + self.ended.len() + found
    }

    /// Halves, for finding out who breaks a batch.
    fn split(self) -> (Self, Self) {
        fn halve<T: Ord>(set: BTreeSet<T>) -> (BTreeSet<T>, BTreeSet<T>) {
            let half = set.len().div_ceil(2);
            let mut iter = set.into_iter();
            (iter.by_ref().take(half).collect(), iter.collect())
        }
        let ((keys, k), (subjects, s)) = (halve(self.keys), halve(self.subjects));
        let ((reported, r), (ended, e)) = (halve(self.reported), halve(self.ended));
        let second = Self { keys: k, subjects: s, reported: r, ended: e, found: None };
        let mut first = Self { keys, subjects, reported, ended, found: None };
        if second.len() > 0 {
            return (first, second);
        }
        // One of each sort at the most: the first sort apart.
        let keys = std::mem::take(&mut first.keys);
        let subjects = if keys.is_empty() { std::mem::take(&mut first.subjects) } else { BTreeSet::new() };
        let reported = if keys.is_empty() && subjects.is_empty() { std::mem::take(&mut first.reported) } else { BTreeSet::new() };
        (Self { keys, subjects, reported, ended: BTreeSet::new(), found: None }, first)
    }
}

impl<S: Surroundings> Engine<S> {
    /// Takes what is dirty, at most a batch of it, and sees it through.
    pub(super) async fn work(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        let oldest = self.dirty.iter().map(|(_, since, _)| *since).min();
        self.observer.queue(self.dirty.len(), oldest.map_or(std::time::Duration::ZERO, |since| since.elapsed()));
        let mut seed = Seed::default();
        while seed.keys.len() < BATCH
            && let Some((_, _, key)) = self.dirty.pop_first()
        {
            self.queued.remove(&key);
            seed.keys.insert(key);
        }
        while seed.subjects.len() < BATCH
            && let Some(subject) = self.subjects.pop_first()
        {
            seed.subjects.insert(subject);
        }
        while seed.reported.len() < BATCH
            && let Some(subject) = self.reported.pop_first()
        {
            seed.reported.insert(subject);
        }
        while seed.ended.len() < BATCH
            && let Some(key) = self.ended.pop_first()
        {
            seed.ended.insert(key);
        }
        let mut seeds = vec![seed];
        while let Some(seed) = seeds.pop() {
            if stop.is_cancelled() {
                return Ok(());
            }
            match self.see_through(&seed).await {
                Ok(_) => self.rest = REST.0,
                Err(Failure::Deposed) => return Err(StoreError::Deposed),
                Err(Failure::Older) => {
                    self.older = true;
                    seeds.push(seed);
                    seeds.into_iter().for_each(|seed| self.take_in(seed));
                    return Ok(());
                }
                Err(Failure::Unseen(error)) => {
                    seeds.push(seed);
                    seeds.into_iter().for_each(|seed| self.take_in(seed));
                    tracing::warn!(error, "the API server can't be asked what has ended; trying again in {:?}", self.rest);
                    self.take_a_rest();
                    return Ok(());
                }
                Err(Failure::Later(error)) => {
                    self.put_back(seed).await;
                    for rest in seeds {
                        self.put_back(rest).await;
                    }
                    self.store_failed(&error);
                    return Ok(());
                }
                Err(Failure::Broken(reason)) if seed.len() > 1 => {
                    tracing::warn!(reason, keys = seed.len(), "a batch failed; looking for what breaks it");
                    let (first, second) = seed.split();
                    seeds.extend([second, first].into_iter().filter(|part| part.len() > 0));
                }
                Err(Failure::Broken(reason)) => self.isolate(seed, &reason).await,
            }
        }
        Ok(())
    }

    /// Brings entries of a directory into force, and tells the run what came of it.
    pub(super) async fn bring(&mut self, chunk: Chunk, stop: &CancellationToken) -> Result<(), StoreError> {
        let Chunk { connection, found, reply } = chunk;
        let (mut account, mut parts) = (Account::default(), vec![found]);
        while let Some(found) = parts.pop() {
            if stop.is_cancelled() {
                return Ok(());
            }
            let seed = Seed { found: Some((connection.clone(), found.clone())), ..Seed::default() };
            match self.see_through(&seed).await {
                Ok(run) => account.add(run),
                Err(Failure::Deposed) => return Err(StoreError::Deposed),
                Err(Failure::Older) => {
                    self.older = true;
                    return Ok(());
                }
                Err(Failure::Unseen(error)) => {
                    let _ = reply.send(Err(error));
                    return Ok(());
                }
                Err(Failure::Later(error)) => {
                    let _ = reply.send(Err(error.to_string()));
                    self.store_failed(&error);
                    return Ok(());
                }
                // One entry must not keep the others out.
                Err(Failure::Broken(_)) if found.entries.len() > 1 => parts.extend(found.halves()),
                Err(Failure::Broken(reason)) => account.refuse(&found, &reason),
            }
        }
        let _ = reply.send(Ok(account));
        Ok(())
    }

    async fn see_through(&mut self, seed: &Seed) -> Result<Account, Failure> {
        let began = Instant::now();
        for attempt in 1.. {
            let (scope, mut plan) = self.plan(seed).await?;
            let run = std::mem::take(&mut plan.run);
            if plan.changes.is_empty() {
                self.hand_out(seed, &scope, plan, began).await;
                return Ok(run);
            }
            match self.leader.execute(&plan.changes, &plan.audit).await {
                Ok(()) => {
                    crate::fault::reach("committed");
                    self.hand_out(seed, &scope, plan, began).await;
                    return Ok(run);
                }
                Err(StoreError::Conflict(error)) if attempt < TRIES => tracing::debug!(%error, attempt, "rows were busy; planning again"),
                // Whoever keeps conflicting is looked for; alone, it is set aside and nobody waits for it.
                Err(StoreError::Conflict(error)) => return Err(Failure::Broken(format!("rows stay busy: {error}"))),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Account::default())
    }

    /// Closes the slice, reads it and plans it.
    async fn plan(&mut self, seed: &Seed) -> Result<(Scope, Plan), Failure> {
        let named: BTreeSet<_> = seed.keys.union(&seed.ended).cloned().collect();
        let mut slice = Slice { keys: named.clone(), subjects: &seed.subjects | &seed.reported };
        let entries = self.take_in_found(seed, &mut slice).await?;
        let owned = self.leader.store().owned(&named).await?;
        // A domain by itself brings in who claims it; whom its change concerns is found when it has changed.
        let is_no_domain = |subject: &&Subject| !matches!(subject, Subject::Domain(_));
        slice.keys.extend(seed.subjects.iter().filter(is_no_domain).flat_map(|subject| self.roster.dependents(subject)));
        slice.keys.extend(owned.iter().flat_map(|subject| self.roster.dependents_of_owned(subject)));
        slice.subjects.extend(owned);
        self.roster.close(&mut slice);
        let missing_in = self.missing_in(&slice);
        let overdue = self.overdue(&missing_in).await?;
        if !overdue.is_empty() {
            slice.subjects.extend(self.leader.store().owned(&overdue).await?);
            self.roster.close(&mut slice);
        }
        let namespaces = self.uids(&slice, &missing_in, &overdue).await;
        let mut scope = Scope { slice, missing_in, entries, ..Scope::default() };
        // What waits in a domain brings in others, and with them other domains in which something may wait.
        loop {
            self.mark_domains(&mut scope);
            let guarded = self.leader.store().guarded(&scope).await?;
            if guarded.is_subset(&scope.slice.subjects) {
                break;
            }
            scope.slice.subjects.extend(guarded);
            self.roster.close(&mut scope.slice);
        }
        scope.count.extend(self.counting.within(&scope.slice.subjects));
        scope.purging = self.roster.purging(&scope.slice);
        let (mut observed, mut now) = self.leader.store().observe(&scope).await?;
        crate::fault::reach("read");
        self.shelter(&scope, seed, &overdue).await?;
        let mut desired = Desired { overdue, namespaces, found: seed.found.clone(), ..self.roster.desired(&scope.slice) };
        // Who names a person by an old address is about the new one (L8), and that may bring in others.
        while let (_, followed) = plan::directory::follow(&desired, &observed, &[])
            && !followed.is_subset(&scope.slice.subjects)
        {
            scope.slice.subjects.extend(followed);
            self.roster.close(&mut scope.slice);
            (observed, now) = self.leader.store().observe(&scope).await?;
            desired.resources = self.roster.desired(&scope.slice).resources;
        }
        self.schedule.set_clock(now);
        self.roster.add_unreadable_owners(&mut desired, &observed);
        let plan = std::panic::catch_unwind(AssertUnwindSafe(|| {
            crate::fault::strike(&desired);
            plan::plan(&desired, &observed, now)
        }));
        let plan = plan.map_err(|_| Failure::Broken("a panic while planning".to_owned()))?;
        if !plan.changes.is_empty() {
            crate::fault::reach("planned");
        }
        Ok((scope, plan))
    }

    /// What entries of a directory name, and what they hold so far.
    async fn take_in_found(&self, seed: &Seed, slice: &mut Slice) -> Result<BTreeSet<EntryKey>, Failure> {
        let Some((connection, found)) = &seed.found else { return Ok(BTreeSet::new()) };
        let key = |id: &EntryId| (connection.namespace.clone(), connection.name.clone(), id.clone());
        let entries: BTreeSet<_> = found.entries.keys().map(key).collect();
        let brought = found.slice(connection, self.leader.store().held_by(&entries).await?, &self.roster);
        slice.keys.extend(brought.keys);
        slice.subjects.extend(brought.subjects);
        Ok(entries)
    }

    /// Which domains are about to go or to change hands: they need more rows.
    fn mark_domains(&self, scope: &mut Scope) {
        for key in scope.slice.keys.iter().filter(|key| key.kind == Kind::InternalDomain) {
            let Some(resource) = self.roster.get(key) else { continue };
            let Ok(Declared::Domain(declared)) = &resource.declared else { continue };
            if resource.deleting && declared.delete {
                scope.leaving.insert(declared.domain.clone());
            }
            if resource.actions.0.contains_key(&Action::TransferTo) {
                scope.handing_over.insert(declared.domain.clone());
            }
        }
    }

    /// U4: asks the cluster whether the ends in this batch mean anything.
    async fn shelter(&mut self, scope: &Scope, seed: &Seed, overdue: &BTreeSet<ResourceKey>) -> Result<(), Failure> {
        let ended = scope.slice.keys.iter().chain(&seed.ended).filter_map(|key| Some((key, self.roster.ending_since_made(key)?)));
        // When those were made that nobody saw end is not known.
        let unseen = overdue.iter().map(|key| (key, Timestamp::MAX));
        let mut places: BTreeMap<(Kind, String), Timestamp> = BTreeMap::new();
        for (key, made) in ended.chain(self.roster.deleted()).chain(unseen) {
            places.entry((key.kind, key.namespace.clone())).and_modify(|oldest| *oldest = made.min(*oldest)).or_insert(made);
        }
        if places.is_empty() {
            return Ok(());
        }
        let sheltered = self.surroundings.sheltered(&places).await.map_err(Failure::Unseen)?;
        for (kind, namespace) in places.into_keys() {
            let now = sheltered.contains(&(kind, namespace.clone()));
            self.roster.shelter(kind, &namespace, now);
        }
        Ok(())
    }

    /// What was planned is in force: tell everybody, and find out whom it concerns.
    async fn hand_out(&mut self, seed: &Seed, scope: &Scope, plan: Plan, began: Instant) {
        self.observer.batch(scope.slice.keys.len(), began.elapsed());
        self.roster.forget_deleted(&seed.ended);
        self.counting.counted(&scope.count);
        let concerned = self.roster.concerned(&plan.changes);
        for change in &plan.changes {
            self.note_change(change);
            // Its rows have lost their owner: it is not missed any more.
            if let Change::PutAbsence { key, absence } = change
                && absence.ended_at.is_some()
            {
                self.roster.found(key);
            }
            if let Change::DeleteConnection { namespace, .. } = change {
                self.connection_gone(namespace);
            }
            if let Change::PutCredential { address, .. } = change {
                for key in self.roster.claimants(&Subject::Address(address.clone())).cloned().collect::<Vec<_>>() {
                    self.passwords.in_force(&key);
                }
            }
        }
        self.observer.queue(self.dirty.len(), std::time::Duration::ZERO);
        for key in concerned {
            if !scope.slice.keys.contains(&key) {
                self.touch(key);
            }
        }
        // Also where the domain was in this very batch: what blocks a handover was read before these changes.
        for key in self.roster.domains_waiting_for(&plan.changes) {
            self.touch(key);
        }
        let mut moments: BTreeMap<Subject, jiff::Timestamp> = BTreeMap::new();
        for (at, subject) in plan.moments {
            moments.entry(subject).and_modify(|first| *first = at.min(*first)).or_insert(at);
        }
        for subject in scope
            .slice
            .subjects
            .iter()
            .filter(|s| matches!(s, Subject::Domain(_) | Subject::Address(_) | Subject::Absences(_) | Subject::Connection(..)))
        {
            self.schedule.set(subject.clone(), moments.remove(subject));
        }
        for work in &plan.passwords {
            self.offer(&work.key);
            let Some(resource) = self.roster.get(&work.key) else { continue };
            let Ok(Declared::Address(declared)) = &resource.declared else { continue };
            if let Some(password) = &declared.password {
                let rules = self.rules(&work.key.namespace, password.hashed);
                self.passwords.begin(&work.key, &work.address, rules);
            }
        }
        // Of those that only say what becomes of an address nothing else was read.
        for (connection, begin) in plan.runs.into_iter().filter(|(connection, _)| scope.slice.keys.contains(connection)) {
            self.begin_run(&connection, begin);
        }
        for note in plan.notes {
            let _ = self.outbox.send(Outcome::Note(note)).await;
        }
        let changed = !plan.changes.is_empty();
        for (key, mut verdict) in plan.verdicts {
            // Owners that were brought in by their rows alone have not been read in full: they get their word in a slice of their own. What
            // they say now names nothing of this batch, so nothing else would tell them that the last of it went.
            if !scope.slice.keys.contains(&key) {
                if verdict.release {
                    self.touch(key);
                }
                continue;
            }
            // What a key owns was read for those of the seed alone: for others a right could still stand under another subject.
            if verdict.release && !seed.keys.contains(&key) {
                verdict.release = false;
                self.touch(key.clone());
            }
            if verdict.release {
                self.released.insert(key.clone());
            }
            self.observer.reconciled(key.kind, verdict.ready.is_fine(), changed);
            // Not `name`: a span's JSON has its own name under that key.
            let span = tracing::debug_span!("reconcile", kind = %key.kind, namespace = key.namespace, resource = key.name);
            span.in_scope(|| tracing::debug!(reason = %verdict.ready.reason, "planned"));
            let _ = self.outbox.send(Outcome::Verdict { key, verdict: Box::new(verdict) }).await;
            crate::fault::reach("told");
        }
    }

    fn note_change(&mut self, change: &Change) {
        match change {
            Change::PutAddress { address, .. } | Change::DeleteAddress { address, .. } => self.counting.changed(&address.domain()),
            Change::PutDomain { domain, .. } => self.counting.changed(domain),
            _ => {}
        }
    }

    /// Back into the queue; what was already in force keeps its status, what changed meanwhile says why it waits (C11).
    async fn put_back(&mut self, seed: Seed) {
        for key in &seed.keys {
            let Some(resource) = self.roster.get(key) else { continue };
            if resource.last.generation != resource.generation && !resource.lacks_finalizer() {
                let verdict = plan::waiting_for_store(resource);
                let _ = self.outbox.send(Outcome::Verdict { key: key.clone(), verdict: Box::new(verdict) }).await;
            }
        }
        self.take_in(seed);
    }

    fn take_in(&mut self, seed: Seed) {
        for key in seed.keys {
            self.touch(key);
        }
        self.subjects.extend(seed.subjects);
        self.reported.extend(seed.reported);
        self.ended.extend(seed.ended);
    }

    /// The one that breaks every batch: it says so, nobody else is harmed, and it is tried again in a minute.
    async fn isolate(&mut self, seed: Seed, reason: &str) {
        for key in &seed.keys {
            tracing::error!(kind = %key.kind, namespace = key.namespace, name = key.name, reason, "the resource can't be brought into force");
            if let Some(resource) = self.roster.get(key) {
                let verdict: Verdict = plan::internal_error(resource, reason);
                let _ = self.outbox.send(Outcome::Verdict { key: key.clone(), verdict: Box::new(verdict) }).await;
            }
        }
        if seed.keys.is_empty() {
            tracing::error!(reason, subjects = ?seed.subjects, reported = ?seed.reported, ended = ?seed.ended, "the change can't be carried out");
        }
        self.set_aside.push((Instant::now() + ASIDE, seed));
    }

    /// What was set aside goes back into the queue when its time has come.
    pub(super) fn take_up_again(&mut self) {
        let now = Instant::now();
        let (due, rest) = std::mem::take(&mut self.set_aside).into_iter().partition(|(at, _)| *at <= now);
        self.set_aside = rest;
        for (_, seed) in due {
            self.take_in(seed);
        }
    }
}

/// Why a batch did not come through.
pub(super) enum Failure {
    Deposed,
    /// The store is an older copy of what it was.
    Older,
    /// The store is away: the same again later.
    Later(StoreError),
    /// The API server can't be asked what has ended, and nothing may be concluded from that: the same again later.
    Unseen(String),
    /// Our own plan can't be carried out.
    Broken(String),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Deposed => Self::Deposed,
            StoreError::Older => Self::Older,
            error @ (StoreError::Unavailable(_) | StoreError::Conflict(_)) => Self::Later(error),
            error => Self::Broken(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CanonicalAddress;

    #[test]
    fn a_seed_is_halved_until_each_part_stands_alone() {
        let address = |n: u32| Subject::Address(CanonicalAddress::from_store(&format!("a{n}@acme.example")));
        let key = |n: u32| ResourceKey::new(Kind::EmailAddress, "acme", &n.to_string());
        for (keys, subjects, reported, ended) in [(3, 2, 2, 2), (1, 1, 1, 1), (0, 1, 0, 1), (0, 0, 1, 1), (0, 0, 0, 2), (1, 0, 1, 0)] {
            let seed = Seed {
                keys: (0..keys).map(key).collect(),
                subjects: (0..subjects).map(address).collect(),
                reported: (0..reported).map(address).collect(),
                ended: (0..ended).map(key).collect(),
                found: None,
            };
            let (mut parts, mut alone) = (vec![seed], 0);
            while let Some(seed) = parts.pop() {
                if seed.len() == 1 {
                    alone += 1;
                    continue;
                }
                let whole = seed.len();
                let (first, second) = seed.split();
                assert!(first.len() > 0 && second.len() > 0 && first.len() + second.len() == whole);
                parts.extend([first, second]);
            }
            assert_eq!(alone, keys + subjects + reported + ended);
        }
    }
}
