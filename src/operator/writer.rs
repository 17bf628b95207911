//! Writes verdicts to the API server: statuses, finalizers, events. One write a resource at a time, [`IN_FLIGHT`] in all, and only what
//! differs from what the API server has (C3).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::metrics::Metrics;
use super::render;
use super::retry::{self, Failure, Later, Pace};
use super::shadow::{Shadow, Sighting};
use super::stamp;
use super::status::Digests;
use super::tally::Tally;
use super::write::{Done, Failed, NewStatus, Pen, Write};
use crate::api::names;
use crate::engine::{Input, Outcome};
use crate::model::ResourceKey;
use crate::plan::{Note, Verdict};

const IN_FLIGHT: usize = 64;
/// Verdicts kept while writes lag; beyond it the engine waits for us.
const MOST_WAITING: usize = 4_096;
/// Notes kept for a resource that can't be written.
const MOST_NOTES: usize = 20;
/// Counts alone are told at most this often (P8).
const COUNTS: Duration = Duration::from_mins(1);
/// A status that reads back different is written again after pauses that double, from the first to the last (C3).
const AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(10));

/// What is to be done for one resource.
#[derive(Default)]
struct Work {
    verdict: Option<Box<Verdict>>,
    /// Some(true): put our finalizer on; Some(false): take it off.
    finalizer: Option<bool>,
    notes: Vec<Note>,
}

impl Work {
    /// Adds what waited before this came.
    fn follows(&mut self, earlier: Self) {
        self.verdict = self.verdict.take().or(earlier.verdict);
        self.finalizer = self.finalizer.or(earlier.finalizer);
        self.notes.splice(..0, earlier.notes);
        self.notes.truncate(MOST_NOTES);
    }
}

/// What a verdict wants, as far as one differs from the next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// No finalizer of ours.
    Release,
    Status(Digests),
}

/// What is known of one resource.
#[derive(Default)]
struct Known {
    shadow: Shadow,
    /// What we wrote last.
    wrote: Option<Digests>,
    counted: Option<Instant>,
    wanted: Option<Wanted>,
    /// Times that came back different, and when it may be written again.
    strikes: u32,
    not_before: Option<Instant>,
    /// Writes in a row that failed, and how the last did.
    failures: u32,
    failure: Option<Failure>,
    /// When the next write is due after a failure, and what of it the engine can't say once more.
    retry: Option<Instant>,
    kept: Work,
}

/// The one task that writes to our resources.
pub struct Writer {
    pen: Pen,
    metrics: Metrics,
    inbox: mpsc::Sender<Input>,
    known: HashMap<ResourceKey, Known>,
    waiting: BTreeMap<ResourceKey, Work>,
    busy: BTreeSet<ResourceKey>,
    /// Whose verdict was let go of until its time has come. The engine then says what is true by then, and nothing piles up here.
    later: Later,
    pace: Pace,
    /// Whose verdict was let go of until the API server answers again.
    owed: BTreeSet<ResourceKey>,
    /// To be planned again. The engine may itself be waiting for us, so the inbox is never waited for here.
    again: BTreeSet<ResourceKey>,
    tally: Tally,
    writes: JoinSet<Done>,
}

impl Writer {
    pub fn new(pen: Pen, metrics: Metrics, inbox: mpsc::Sender<Input>) -> Self {
        Self {
            pen,
            metrics,
            inbox,
            known: HashMap::new(),
            waiting: BTreeMap::new(),
            busy: BTreeSet::new(),
            later: Later::default(),
            pace: Pace::default(),
            owed: BTreeSet::new(),
            again: BTreeSet::new(),
            tally: Tally::default(),
            writes: JoinSet::new(),
        }
    }

    /// Runs until the engine is gone and all it said is written.
    pub async fn run(mut self, mut outcomes: mpsc::Receiver<Outcome>, mut sightings: mpsc::Receiver<Sighting>) {
        let mut open = true;
        let inbox = self.inbox.clone();
        while open || !self.waiting.is_empty() || !self.writes.is_empty() {
            let wake = self.next_wake();
            tokio::select! {
                Some(done) = self.writes.join_next() => match done {
                    Ok(done) => self.done(done),
                    // A write that panicked leaves its resource without a status for good; whoever supervises us starts anew.
                    Err(error) => return tracing::error!(%error, "a status write broke"),
                },
                Some(sighting) = sightings.recv() => self.sighted(sighting),
                outcome = outcomes.recv(), if open && self.has_room() => {
                    // What a verdict speaks of was seen before it was planned: take that in first.
                    while let Ok(sighting) = sightings.try_recv() {
                        self.sighted(sighting);
                    }
                    match outcome {
                        None => open = false,
                        Some(outcome) => self.told(outcome),
                    }
                }
                Ok(permit) = inbox.reserve(), if !self.again.is_empty() => {
                    if let Some(key) = self.again.pop_first() {
                        permit.send(Input::Again(key));
                    }
                }
                () = async { match wake { Some(at) => tokio::time::sleep_until(at).await, None => std::future::pending().await } } => {
                    let now = Instant::now();
                    while let Some(key) = self.later.take_due(now) {
                        self.take_up(key);
                    }
                }
            }
            self.start();
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let asks = self.pace.next().filter(|_| self.writes.is_empty() && !(self.waiting.is_empty() && self.owed.is_empty()));
        self.later.next().into_iter().chain(asks).min()
    }

    /// Whether another outcome can be taken in. While the API server answers nobody verdicts are let go of: the engine must go on
    /// bringing into force what it is told.
    fn has_room(&self) -> bool {
        self.waiting.len() < MOST_WAITING || self.pace.next().is_some()
    }

    fn told(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Verdict { key, .. } if self.pace.next().is_some() && self.waiting.len() >= IN_FLIGHT => {
                self.owed.insert(key);
            }
            Outcome::Verdict { key, verdict } => self.waiting.entry(key).or_default().verdict = Some(verdict),
            Outcome::Note(note) => self.waiting.entry(note.key.clone()).or_default().notes.push(note),
        }
    }

    /// Its time has come: the engine is asked for its verdict, and what it does not say goes on from here.
    fn take_up(&mut self, key: ResourceKey) {
        let Some(known) = self.known.get_mut(&key) else { return };
        known.retry = None;
        let kept = std::mem::take(&mut known.kept);
        self.later.remove(&key);
        if kept.finalizer.is_some() || !kept.notes.is_empty() {
            self.waiting.entry(key.clone()).or_default().follows(kept);
        }
        self.again.insert(key);
    }

    fn sighted(&mut self, sighting: Sighting) {
        match sighting {
            Sighting::Gone(key) => {
                if let Some(known) = self.known.remove(&key) {
                    self.tally.replace(&self.metrics, key.kind, Some(&known.shadow), None);
                }
                self.waiting.remove(&key);
                self.later.remove(&key);
            }
            Sighting::Seen { key, mut shadow, decoded, wants_finalizer, deleting } => {
                let old = self.known.get(&key).map(|known| &known.shadow);
                if old.is_some_and(|old| shadow.is_older_than(old)) {
                    return;
                }
                // What we wrote to a resource that does not decode is never read back: what we know of it stands, else it would be
                // written again and again (C3).
                if let Some(old) = old.filter(|old| !decoded && old.uid == shadow.uid) {
                    *shadow = shadow.with_status_of(old);
                }
                self.tally.replace(&self.metrics, key.kind, old, Some(&shadow));
                let known = self.known.entry(key.clone()).or_default();
                if known.shadow.uid != shadow.uid {
                    *known = Known::default();
                    self.waiting.remove(&key);
                    self.later.remove(&key);
                }
                let has = shadow.finalizers.iter().any(|finalizer| finalizer == names::FINALIZER);
                if !deleting {
                    known.kept.finalizer = None;
                }
                if !deleting && wants_finalizer != has {
                    self.waiting.entry(key.clone()).or_default().finalizer = Some(wants_finalizer);
                }
                let strange = known.wrote.is_some_and(|wrote| wrote != shadow.digests);
                let changed = known.shadow.version != shadow.version;
                known.shadow = *shadow;
                let refused = matches!(known.failure, Some(Failure::Overtaken | Failure::Refused)) && known.retry.is_some();
                if self.busy.contains(&key) {
                    return;
                }
                if changed && refused {
                    self.take_up(key);
                } else if strange {
                    self.read_back_different(key);
                }
            }
        }
    }

    /// Somebody else wrote our status, or the API server made something else of it.
    fn read_back_different(&mut self, key: ResourceKey) {
        let Some(known) = self.known.get_mut(&key) else { return };
        self.metrics.status_repeated(key.kind);
        let pause = if known.strikes == 0 { Duration::ZERO } else { (AGAIN.0 * 2_u32.saturating_pow(known.strikes - 1)).min(AGAIN.1) };
        known.strikes = known.strikes.saturating_add(1);
        known.wrote = None;
        if pause.is_zero() {
            self.again.insert(key);
        } else {
            let at = Instant::now() + pause;
            known.not_before = Some(at);
            self.later.set(key, at);
        }
    }

    fn start(&mut self) {
        let room = match self.pace.next() {
            None => IN_FLIGHT,
            Some(at) if at <= Instant::now() => 1,
            Some(_) => 0,
        };
        let mut from = Bound::Unbounded;
        while self.writes.len() < room {
            let mut rest = self.waiting.range((from, Bound::Unbounded));
            let Some(key) = rest.find_map(|(key, _)| (!self.busy.contains(key)).then(|| key.clone())) else { break };
            from = Bound::Excluded(key.clone());
            let Some(work) = self.waiting.remove(&key) else { continue };
            // Not seen yet, or gone: a verdict of something that is not there.
            let Some(known) = self.known.get_mut(&key) else { continue };
            let Some(write) = prepare(&key, known, work, &mut self.later) else { continue };
            self.busy.insert(key);
            self.writes.spawn(write.carry_out(self.pen.clone()));
        }
        // Nothing that waits would ask whether the API server is back.
        if room > 0 && self.writes.is_empty() && self.pace.next().is_some() {
            self.again.extend(self.owed.pop_first());
        }
    }

    fn done(&mut self, done: Done) {
        let Done { key, shadow, written, wrote, finalizer, notes, failed } = done;
        self.busy.remove(&key);
        let now = Instant::now();
        match &failed {
            Some(Failed { failure: Failure::Trouble { .. }, .. }) => self.pace.failed(now, retry::chance()),
            None if !written => {}
            Some(_) | None => {
                self.pace.answered();
                self.again.append(&mut self.owed);
            }
        }
        // Gone, or another by the same name: none of this is about that one.
        let Some(known) = self.known.get_mut(&key).filter(|known| known.shadow.uid == shadow.uid) else { return };
        let overtaken = known.shadow.version != shadow.version && !known.shadow.is_older_than(&shadow);
        if written && !shadow.is_older_than(&known.shadow) {
            self.tally.replace(&self.metrics, key.kind, Some(&known.shadow), Some(&shadow));
            known.shadow = shadow;
        }
        known.wrote = wrote.or(known.wrote);
        // What somebody else wrote while ours was under way was passed over then (C3).
        let strange = overtaken && known.wrote.is_some_and(|wrote| wrote != known.shadow.digests);
        if written {
            (known.failures, known.failure) = (0, None);
        }
        let Some(Failed { failure, error }) = failed else {
            if strange {
                self.read_back_different(key);
            }
            return;
        };
        known.failures = known.failures.saturating_add(1);
        let pause = failure.pause(known.failures, retry::chance());
        if failure == Failure::Overtaken {
            tracing::debug!(%key, error, ?pause, "a resource was changed while it was written");
        } else {
            tracing::warn!(kind = %key.kind, namespace = key.namespace, name = key.name, error, "a resource could not be written; trying again in {pause:.1?}");
        }
        known.failure = Some(failure);
        known.retry = Some(now + pause);
        known.kept = Work { verdict: None, finalizer, notes };
        self.later.set(key.clone(), now + pause);
        if overtaken && !matches!(failure, Failure::Trouble { .. }) {
            self.take_up(key);
        }
    }
}

/// Finds out what differs; None: nothing does, or its time has not come.
fn prepare(key: &ResourceKey, known: &mut Known, mut work: Work, later: &mut Later) -> Option<Write> {
    let now = Instant::now();
    let verdict = work.verdict.take();
    let new = verdict.as_ref().filter(|verdict| !verdict.release).map(|verdict| {
        let mut status = render::status(verdict, &known.shadow, stamp::now());
        let digests = status.digests();
        (status, digests)
    });
    if verdict.is_some() {
        let wanted = Some(new.as_ref().map_or(Wanted::Release, |(_, digests)| Wanted::Status(*digests)));
        // C3: another verdict is written at once; only the same one over and over has to wait.
        if known.wanted != wanted {
            known.wanted = wanted;
            known.strikes = 0;
            known.not_before = None;
            known.retry = None;
        }
        if wanted == Some(Wanted::Release) {
            work.finalizer = Some(false);
        }
    }
    work.follows(std::mem::take(&mut known.kept));
    if let Some(at) = known.retry.filter(|at| *at > now) {
        known.kept = work;
        later.set(key.clone(), at);
        return None;
    }
    let status = new.and_then(|(status, digests)| {
        let old = known.shadow.digests;
        let counts_only = digests.hard == old.hard && digests.soft != old.soft;
        let too_soon = known.counted.map(|at| at + COUNTS).filter(|at| counts_only && *at > now);
        if let Some(at) = known.not_before.filter(|at| *at > now).or(too_soon) {
            later.set(key.clone(), at);
            return None;
        }
        if digests == old {
            return None;
        }
        if digests.soft != old.soft {
            known.counted = Some(now);
        }
        let told = render::transitions(&status, &known.shadow);
        Some(NewStatus { status, digests, told })
    });
    let has = known.shadow.finalizers.iter().any(|f| f == names::FINALIZER);
    let finalizer = work.finalizer.filter(|wanted| *wanted != has);
    let finalizers = finalizer.map(|wanted| {
        let mut all: Vec<_> = known.shadow.finalizers.iter().filter(|f| *f != names::FINALIZER).cloned().collect();
        if wanted {
            all.push(names::FINALIZER.to_owned());
        }
        all
    });
    if status.is_none() && finalizers.is_none() && work.notes.is_empty() {
        return None;
    }
    Some(Write { key: key.clone(), shadow: known.shadow.clone(), status, finalizer, finalizers, notes: work.notes })
}
