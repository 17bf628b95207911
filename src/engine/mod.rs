//! The loop that joins them: what became dirty is read, planned, written in one transaction, and each resource gets its verdict.
//!
//! Natural batching: a batch takes every key that became dirty while the last one ran, at most [`BATCH`]; those with nothing urgent in
//! them begin [`APART`]. Nothing is polled. By itself the loop wakes for the next moment that a plan named ([`schedule`]), for counts
//! that are due ([`counts`]), for what was set aside ([`batch`]), to compare owners with the lists ([`sight`]), and when a rest is over
//! that it took because the store failed or the API server was silent. The engine knows neither Kubernetes nor LDAP: inputs come in,
//! outcomes go out, and [`Surroundings`] answers what only the cluster can.

mod batch;
mod counts;
mod hashing;
mod inbox;
mod offers;
mod passwords;
mod runs;
mod schedule;
mod sight;

pub use inbox::{Input, Outcome, SecretView, Surroundings};
pub use passwords::{FingerprintKey, Task};
pub use runs::{Chunk, Effect, Phases, Preview, RunEnded, preview};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::model::{DomainName, Kind, ResourceKey};
use crate::plan::Subject;
use crate::plan::desired::Declared;
use crate::plan::directory::Begin;
use crate::plan::slice::Roster;
use crate::store::{Leader, StoreError};
use counts::Counting;
use passwords::Passwords;
use schedule::Schedule;
use sight::Sight;

/// Keys a batch takes at the most; their closure may be larger.
const BATCH: usize = 1_000;
/// How long an answer to mail servers waits for finalizers once all that is declared was planned.
const PATIENCE: Duration = Duration::from_mins(1);
/// How far apart batches begin that have nothing urgent in them. What a batch costs besides its resources is shared by more of them, here
/// and in Postgres, and nobody waits for this long who comes alone.
const APART: Duration = Duration::from_millis(100);
/// How long the engine rests after the store failed, at first and at the most.
const REST: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// What the engine tells whoever watches it work.
pub trait Observer: Send + Sync {
    /// A batch came through.
    fn batch(&self, resources: usize, took: Duration);
    /// One resource of it.
    fn reconciled(&self, kind: Kind, in_force: bool, changed: bool);
    fn store_failed(&self, error: &StoreError, took: Duration);
    fn queue(&self, depth: usize, age: Duration);
    /// All that was declared when leadership began has been planned, and what was planned is in force.
    fn settled(&self, took: Duration);
    fn password(&self, result: &'static str, took: Duration);
    /// How many resources of a kind rows name and no list has (U6).
    fn missing(&self, kind: Kind, count: usize);
    /// A directory run ended.
    fn directory_run(&self, connection: &ResourceKey, record: &crate::plan::directory::rows::RunRecord, phases: &Phases);
}

/// The loop's state.
pub struct Engine<S> {
    leader: Arc<Leader>,
    surroundings: S,
    observer: Arc<dyn Observer>,
    outbox: mpsc::Sender<Outcome>,
    roster: Roster,
    /// Keys to plan: the urgent ones first, each sort by age.
    dirty: BTreeSet<(bool, Instant, ResourceKey)>,
    /// The keys that are in `dirty`, and where.
    queued: BTreeMap<ResourceKey, (bool, Instant)>,
    subjects: BTreeSet<Subject>,
    /// Addresses that are the same to all but those who declare them: a report came, or a lock has ended.
    reported: BTreeSet<Subject>,
    ended: BTreeSet<ResourceKey>,
    listed: BTreeSet<(Kind, String)>,
    expected: BTreeSet<(Kind, String)>,
    secrets: BTreeMap<(String, String), SecretView>,
    /// Who took a password from a Secret once; whoever does not any more is left out when it is used.
    secret_users: BTreeMap<(String, String), BTreeSet<ResourceKey>>,
    passwords: Passwords,
    schedule: Schedule,
    counting: Counting,
    sight: Sight,
    answering: bool,
    /// When mail servers are answered although some resource lacks its finalizer.
    answer_by: Option<Instant>,
    /// The store is an older copy: nothing is planned before mail servers wait (V3).
    older: bool,
    /// Since when it runs, until all of it has been planned once.
    unsettled: Option<Instant>,
    /// When the next batch may begin that has nothing urgent in it.
    calm_until: Instant,
    rest: Duration,
    rest_until: Option<Instant>,
    /// Whose finalizer we let go of: their end is no surprise.
    released: BTreeSet<ResourceKey>,
    /// What broke a batch, until it is tried again.
    set_aside: Vec<(Instant, batch::Seed)>,
    runs: runs::Runs,
    /// Where what works apart sends what it comes to.
    inbox: mpsc::Sender<Input>,
}

/// What the engine is started with.
pub struct Start<S> {
    pub leader: Arc<Leader>,
    pub surroundings: S,
    pub observer: Arc<dyn Observer>,
    pub outbox: mpsc::Sender<Outcome>,
    /// Every list that has to be complete before a plan may conclude anything from absence.
    pub expected: BTreeSet<(Kind, String)>,
    pub fingerprint_key: FingerprintKey,
    /// Whether mail servers are answered already (V3).
    pub answering: bool,
    /// Where work on passwords comes back.
    pub inbox: mpsc::Sender<Input>,
}

impl<S: Surroundings> Engine<S> {
    pub fn new(start: Start<S>) -> Self {
        let watched = start.expected.iter().map(|(_, namespace)| namespace.clone()).filter(|namespace| !namespace.is_empty()).collect();
        let inbox = start.inbox.clone();
        let passwords = Passwords::new(start.fingerprint_key, start.leader.store().clone(), start.inbox, start.observer.clone());
        Self {
            leader: start.leader,
            surroundings: start.surroundings,
            observer: start.observer,
            outbox: start.outbox,
            roster: Roster::watching(watched),
            dirty: BTreeSet::new(),
            queued: BTreeMap::new(),
            subjects: BTreeSet::new(),
            reported: BTreeSet::new(),
            ended: BTreeSet::new(),
            listed: BTreeSet::new(),
            expected: start.expected,
            secrets: BTreeMap::new(),
            secret_users: BTreeMap::new(),
            passwords,
            schedule: Schedule::default(),
            counting: Counting::default(),
            sight: Sight::default(),
            answering: start.answering,
            answer_by: None,
            older: false,
            unsettled: Some(Instant::now()),
            calm_until: Instant::now(),
            rest: REST.0,
            rest_until: None,
            released: BTreeSet::new(),
            set_aside: Vec::new(),
            runs: runs::Runs::default(),
            inbox,
        }
    }

    /// Runs until `stop`, finishing the batch in hand.
    ///
    /// # Errors
    /// [`StoreError::Deposed`]: a newer leader writes; nothing may be written any more, anywhere.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Input>, stop: CancellationToken) -> Result<(), StoreError> {
        loop {
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                input = inbox.recv() => match input {
                    None => return Ok(()),
                    Some(input) => self.absorb(input).await,
                },
                () = sleep_until(wake) => {}
            }
            while let Ok(input) = inbox.try_recv() {
                self.absorb(input).await;
            }
            self.collect_due();
            if self.older && !self.is_resting() {
                self.start_over().await?;
            }
            if !self.ready() {
                continue;
            }
            if self.is_due() {
                self.calm_until = Instant::now() + APART;
                self.work(&stop).await?;
            }
            if !self.has_work() && self.ready() {
                self.calm().await?;
            }
            // Directories come last, and also while what is to do waits for company.
            if !self.is_due()
                && self.ready()
                && let Some(chunk) = self.runs.chunks.pop_front()
            {
                self.bring(chunk, &stop).await?;
            }
        }
    }

    /// What is done when no key is dirty: mail servers are answered, missing owners looked for.
    async fn calm(&mut self) -> Result<(), StoreError> {
        if let Some(began) = self.unsettled.take() {
            self.observer.settled(began.elapsed());
            tracing::info!(resources = self.roster.resources().count(), "all that is declared has been planned once");
        }
        // V3: an alias that still waits for its finalizer would be an unknown recipient. Not for ever: one resource that can't be written
        // must not keep everybody's mail waiting.
        if !self.answering {
            let patience = *self.answer_by.get_or_insert_with(|| Instant::now() + PATIENCE);
            let incomplete = self.roster.resources().any(crate::plan::desired::Resource::lacks_finalizer);
            if !incomplete || patience <= Instant::now() {
                self.answer().await?;
            }
        }
        match self.look_for_missing().await {
            Err(StoreError::Deposed) => Err(StoreError::Deposed),
            Err(error) => {
                self.store_failed(&error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn ready(&self) -> bool {
        !self.older && self.has_listed_all() && !self.is_resting()
    }

    /// A plan may conclude from absence only once every list is complete (V3).
    fn has_listed_all(&self) -> bool {
        self.expected.is_subset(&self.listed)
    }

    fn is_resting(&self) -> bool {
        self.rest_until.is_some_and(|until| until > Instant::now())
    }

    fn has_work(&self) -> bool {
        !self.dirty.is_empty() || self.has_subjects()
    }

    fn has_subjects(&self) -> bool {
        !self.subjects.is_empty() || !self.reported.is_empty() || !self.ended.is_empty()
    }

    fn is_due(&self) -> bool {
        self.has_work() && self.begins_at() <= Instant::now()
    }

    /// When the work there is may begin: what takes something away, lets somebody in or comes from mail servers, at once; a full batch too.
    fn begins_at(&self) -> Instant {
        let urgent = self.dirty.first().is_some_and(|(calm, _, _)| !calm);
        let now = urgent || self.dirty.len() >= BATCH || self.has_subjects();
        if now { Instant::now() } else { self.calm_until }
    }

    fn next_wake(&self) -> Option<Instant> {
        if let Some(until) = self.rest_until.filter(|until| *until > Instant::now()) {
            return Some(until);
        }
        if self.older {
            return Some(Instant::now());
        }
        if !self.runs.chunks.is_empty() && self.has_listed_all() {
            return Some(Instant::now());
        }
        if self.has_work() && self.has_listed_all() {
            return Some(self.begins_at());
        }
        let aside = self.set_aside.iter().map(|(at, _)| *at).min();
        let sight = self.has_listed_all().then(|| self.sight.next());
        let answer = self.answer_by.filter(|_| !self.answering && self.has_listed_all());
        [self.schedule.next(), self.counting.next(), self.runs.next(), aside, sight, answer].into_iter().flatten().min()
    }

    fn collect_due(&mut self) {
        self.take_up_again();
        for subject in self.schedule.take_due() {
            let subjects = if matches!(subject, Subject::Address(_)) { &mut self.reported } else { &mut self.subjects };
            subjects.insert(subject);
        }
        self.sight.collect_due(&self.listed);
        for connection in self.runs.take_due() {
            self.begin_run(&connection, Begin::Due);
        }
        for domain in self.counting.take_due() {
            self.touch_domain(&domain);
        }
    }

    /// Everybody who claims the domain is planned, with its numbers.
    fn touch_domain(&mut self, domain: &DomainName) {
        for key in self.roster.claimants(&Subject::Domain(domain.clone())).cloned().collect::<Vec<_>>() {
            self.touch(key);
        }
    }

    fn touch(&mut self, key: ResourceKey) {
        let urgent = self.roster.get(&key).is_some_and(crate::plan::desired::Resource::is_urgent);
        let (calm, since) = self.queued.get(&key).copied().unwrap_or((!urgent, Instant::now()));
        // What waited among many may have become urgent.
        if calm && urgent {
            self.dirty.remove(&(calm, since, key.clone()));
        }
        let place = (calm && !urgent, since);
        self.queued.insert(key.clone(), place);
        self.dirty.insert((place.0, place.1, key));
    }

    async fn absorb(&mut self, input: Input) {
        match input {
            Input::Entries(chunk) => self.runs.chunks.push_back(*chunk),
            Input::RunEnded(ended) => self.run_ended(*ended).await,
            Input::Applied(resource) => self.applied(*resource),
            Input::Told { key, last } => {
                if let Some(slot) = self.roster.get_mut_last(&key) {
                    *slot = last;
                }
            }
            Input::Gone { key, seen } => {
                self.end_run(&key);
                // What never had its finalizer on had no right yet (M2): if rows name it all the same, comparing them with the list shows it.
                let had_nothing = self.roster.get(&key).is_some_and(crate::plan::desired::Resource::lacks_finalizer);
                for other in self.roster.remove(&key, seen) {
                    self.touch(other);
                }
                self.offer_by_policy(&key);
                self.passwords.in_force(&key);
                // The API server takes away at once what has no finalizer left: that looks like one torn off.
                let released = self.released.remove(&key);
                if !seen && !released && !had_nothing && self.roster.miss(&key) {
                    self.subjects.insert(Subject::Absences(key.namespace.clone()));
                }
                self.ended.insert(key);
            }
            Input::Listed { kind, namespace } => {
                self.listed.insert((kind, namespace.clone()));
                self.sight.listed(kind, namespace);
            }
            Input::Unlisted { kind, namespace } => {
                self.sight.failed(kind, &namespace);
                self.subjects.extend(self.roster.lose_sight(kind, &namespace).into_iter().map(Subject::Absences));
            }
            Input::Again(key) => {
                if let Some(Ok(Declared::Domain(declared))) = self.roster.get(&key).map(|resource| &resource.declared) {
                    self.counting.again(&declared.domain);
                }
                self.touch(key);
            }
            Input::Changed(dirty) => {
                self.subjects.extend(dirty.subjects);
                self.reported.extend(dirty.reported);
                self.subjects.extend(dirty.learned.into_iter().map(Subject::Domain));
            }
            Input::Clock(now) => self.schedule.set_clock(now),
            Input::StoreIsBack => self.rest_until = None,
            Input::StoreIsOlder => {
                self.older = true;
                self.rest_until = None;
            }
            Input::StoreIsSilent => self.answering = false,
            Input::Secret { namespace, name, view } => {
                self.secrets.insert((namespace.clone(), name.clone()), view);
                for key in self.users_of_secret(&namespace, &name) {
                    self.offer(&key);
                    self.offer_to_connection(&key);
                    self.touch(key);
                }
            }
            Input::Worked { key, task, work } => {
                self.passwords.worked(&key, task, work);
                self.offer(&key);
                self.touch(key);
            }
        }
    }

    fn applied(&mut self, resource: crate::plan::desired::Resource) {
        let key = resource.key.clone();
        if let Some(known) = self.roster.get(&key)
            && known.says_the_same_as(&resource)
        {
            if let Some(slot) = self.roster.get_mut_last(&key) {
                *slot = resource.last;
            }
            return;
        }
        if self.roster.get(&key).is_some_and(|known| known.generation != resource.generation || resource.deleting) {
            self.end_run(&key);
        }
        let secrets = resource.declared.as_ref().map(Declared::secrets).unwrap_or_default();
        if self.roster.is_missing(&key) {
            self.subjects.insert(Subject::Absences(key.namespace.clone()));
        }
        for other in self.roster.insert(resource) {
            self.touch(other);
        }
        self.offer_by_policy(&key);
        for secret in secrets {
            self.secret_users.entry((key.namespace.clone(), secret.clone())).or_default().insert(key.clone());
            self.surroundings.wants_secret(&key.namespace, &secret);
            self.offer(&key);
            self.offer_to_connection(&key);
        }
        self.touch(key);
    }

    /// V3: everything that is declared has been planned and executed once.
    async fn answer(&mut self) -> Result<(), StoreError> {
        crate::fault::reach("answering");
        match self.leader.answer().await {
            Ok(()) => {
                (self.answering, self.answer_by) = (true, None);
                tracing::info!("the first complete plan is in force: mail servers are answered");
                Ok(())
            }
            Err(StoreError::Deposed) => Err(StoreError::Deposed),
            Err(StoreError::Older) => {
                self.older = true;
                Ok(())
            }
            Err(error) => {
                self.store_failed(&error);
                Ok(())
            }
        }
    }

    /// The store is an older copy of what it was, or an empty one: mail servers wait until everything was planned anew (V3, DESIGN 4).
    async fn start_over(&mut self) -> Result<(), StoreError> {
        tracing::warn!("the store is older than it was; planning everything anew");
        // Before the store is led again: until then nothing that they write comes through, and then they know that nobody wants it.
        self.begin_runs_anew();
        match self.leader.hush().await {
            Ok(()) => {
                (self.older, self.answering) = (false, false);
                self.subjects.extend(self.roster.domains());
                for key in self.roster.resources().map(|resource| resource.key.clone()).collect::<Vec<_>>() {
                    self.touch(key);
                }
                // What ended since is there again, and its owner is not (U6).
                self.sight.compare_all(&self.listed);
                Ok(())
            }
            Err(StoreError::Deposed) => Err(StoreError::Deposed),
            Err(error) => {
                self.store_failed(&error);
                Ok(())
            }
        }
    }

    fn store_failed(&mut self, error: &StoreError) {
        self.observer.store_failed(error, Duration::ZERO);
        tracing::warn!(%error, "the store can't be used; trying again in {:?}", self.rest);
        self.take_a_rest();
    }

    /// Nothing is planned for a while, each time for longer until something comes through.
    fn take_a_rest(&mut self) {
        self.rest_until = Some(Instant::now() + self.rest);
        self.rest = (self.rest * 2).min(REST.1);
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
