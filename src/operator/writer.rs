//! Writes verdicts to the API server: statuses, finalizers, events. One write a resource at a time, [`IN_FLIGHT`] in all, and only what
//! differs from what the API server has (C3).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::metrics::{Ended, Metrics};
use super::render::{self, Transition};
use super::shadow::{Shadow, Sighting, digests};
use super::stamp;
use super::tally::Tally;
use super::watch::plural;
use crate::api::names;
use crate::engine::{Input, Outcome};
use crate::model::ResourceKey;
use crate::plan::reason::Reason;
use crate::plan::{Note, Verdict};

const IN_FLIGHT: usize = 64;
/// Verdicts kept while writes lag; beyond it the engine waits for us.
const MOST_WAITING: usize = 4_096;
/// A write that takes longer has failed.
const CALL: Duration = Duration::from_secs(15);
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

/// What is known of one resource.
#[derive(Default)]
struct Known {
    shadow: Shadow,
    /// Digests of what we wrote last.
    wrote: Option<(u64, u64)>,
    counted: Option<Instant>,
    /// Digests of what the last verdict wanted.
    wanted: Option<(u64, u64)>,
    /// Times that came back different, and when it may be written again.
    strikes: u32,
    not_before: Option<Instant>,
}

/// A write that came back.
struct Done {
    key: ResourceKey,
    /// What the API server has now; None: nothing was written, or the resource is gone.
    shadow: Option<Shadow>,
    wrote: Option<(u64, u64)>,
    /// What to try once more.
    failed: Option<Work>,
}

/// The one task that writes to our resources.
pub struct Writer {
    client: kube::Client,
    recorder: Recorder,
    metrics: Metrics,
    inbox: mpsc::Sender<Input>,
    known: HashMap<ResourceKey, Known>,
    waiting: BTreeMap<ResourceKey, Work>,
    busy: BTreeSet<ResourceKey>,
    later: BTreeMap<ResourceKey, Instant>,
    /// To be planned again. The engine may itself be waiting for us, so the inbox is never waited for here.
    again: BTreeSet<ResourceKey>,
    tally: Tally,
    writes: JoinSet<Done>,
}

impl Writer {
    pub fn new(client: kube::Client, metrics: Metrics, inbox: mpsc::Sender<Input>) -> Self {
        let reporter = Reporter { controller: "mailroster".to_owned(), instance: Some(super::lease::holder()) };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            metrics,
            inbox,
            known: HashMap::new(),
            waiting: BTreeMap::new(),
            busy: BTreeSet::new(),
            later: BTreeMap::new(),
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
            let next_later = self.later.values().min().copied();
            tokio::select! {
                Some(done) = self.writes.join_next() => match done {
                    Ok(done) => self.done(done),
                    // A write that panicked leaves its resource without a status for good; whoever supervises us starts anew.
                    Err(error) => return tracing::error!(%error, "a status write broke"),
                },
                Some(sighting) = sightings.recv() => self.sighted(sighting),
                outcome = outcomes.recv(), if open && self.waiting.len() < MOST_WAITING => {
                    // What a verdict speaks of was seen before it was planned: take that in first.
                    while let Ok(sighting) = sightings.try_recv() {
                        self.sighted(sighting);
                    }
                    match outcome {
                        None => open = false,
                        Some(Outcome::Verdict { key, verdict }) => self.waiting.entry(key).or_default().verdict = Some(verdict),
                        Some(Outcome::Note(note)) => self.waiting.entry(note.key.clone()).or_default().notes.push(note),
                    }
                }
                Ok(permit) = inbox.reserve(), if !self.again.is_empty() => {
                    if let Some(key) = self.again.pop_first() {
                        permit.send(Input::Again(key));
                    }
                }
                () = async { match next_later { Some(at) => tokio::time::sleep_until(at).await, None => std::future::pending().await } } => {
                    let now = Instant::now();
                    let due: Vec<_> = self.later.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
                    for key in due {
                        self.later.remove(&key);
                        self.again.insert(key);
                    }
                }
            }
            self.start();
        }
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
                }
                let has = shadow.finalizers.iter().any(|finalizer| finalizer == names::FINALIZER);
                if !deleting && wants_finalizer != has {
                    self.waiting.entry(key.clone()).or_default().finalizer = Some(wants_finalizer);
                }
                let strange = known.wrote.is_some_and(|wrote| wrote != (shadow.hard, shadow.soft));
                known.shadow = *shadow;
                if strange && !self.busy.contains(&key) {
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
            self.later.insert(key, at);
        }
    }

    fn start(&mut self) {
        let ready: Vec<_> = self.waiting.keys().filter(|key| !self.busy.contains(*key)).take(IN_FLIGHT).cloned().collect();
        for key in ready {
            if self.writes.len() >= IN_FLIGHT {
                return;
            }
            let Some(known) = self.known.get_mut(&key) else {
                // Not seen yet, or gone: a verdict of something that is not there.
                self.waiting.remove(&key);
                continue;
            };
            let Some(mut work) = self.waiting.remove(&key) else { continue };
            let Some(write) = prepare(&key, known, &mut work, &mut self.later) else { continue };
            self.busy.insert(key.clone());
            let (client, recorder, metrics) = (self.client.clone(), self.recorder.clone(), self.metrics.clone());
            self.writes.spawn(async move { write.carry_out(client, recorder, metrics).await });
        }
    }

    fn done(&mut self, done: Done) {
        self.busy.remove(&done.key);
        if let Some(known) = self.known.get_mut(&done.key) {
            if let Some(shadow) = done.shadow.filter(|shadow| !shadow.is_older_than(&known.shadow)) {
                self.tally.replace(&self.metrics, done.key.kind, Some(&known.shadow), Some(&shadow));
                known.shadow = shadow;
            }
            if done.wrote.is_some() {
                known.wrote = done.wrote;
            }
            if let Some(work) = done.failed {
                let slot = self.waiting.entry(done.key.clone()).or_default();
                slot.verdict = slot.verdict.take().or(work.verdict);
                slot.finalizer = slot.finalizer.or(work.finalizer);
            }
        }
    }
}

/// One resource's writes, prepared.
struct Write {
    key: ResourceKey,
    shadow: Shadow,
    status: Option<(Map<String, Value>, Vec<Transition>)>,
    finalizers: Option<Vec<String>>,
    notes: Vec<Note>,
    /// To be tried again when it fails.
    work: Work,
}

/// Finds out what differs; None: nothing does.
fn prepare(key: &ResourceKey, known: &mut Known, work: &mut Work, later: &mut BTreeMap<ResourceKey, Instant>) -> Option<Write> {
    let now = Instant::now();
    let mut status = None;
    let mut finalizer = work.finalizer;
    if let Some(verdict) = &work.verdict {
        if verdict.release {
            finalizer = Some(false);
        } else {
            let new = render::status(verdict, &known.shadow, stamp::now());
            let (hard, soft) = digests(&new);
            // C3: another verdict is written at once; only the same one over and over has to wait.
            if known.wanted.replace((hard, soft)) != Some((hard, soft)) {
                known.strikes = 0;
                known.not_before = None;
            }
            let counts_only = hard == known.shadow.hard && soft != known.shadow.soft;
            let too_soon = known.counted.map(|at| at + COUNTS).filter(|at| *at > now);
            if let Some(at) = known.not_before.filter(|at| *at > now) {
                later.insert(key.clone(), at);
            } else if let (true, Some(at)) = (counts_only, too_soon) {
                later.insert(key.clone(), at);
            } else if hard != known.shadow.hard || soft != known.shadow.soft {
                if soft != known.shadow.soft {
                    known.counted = Some(now);
                }
                let transitions = render::transitions(&new, &known.shadow);
                status = Some((new, transitions));
            }
        }
    }
    let has = known.shadow.finalizers.iter().any(|f| f == names::FINALIZER);
    let finalizers = finalizer.filter(|wanted| *wanted != has).map(|wanted| {
        let mut all: Vec<_> = known.shadow.finalizers.iter().filter(|f| *f != names::FINALIZER).cloned().collect();
        if wanted {
            all.push(names::FINALIZER.to_owned());
        }
        all
    });
    let notes = std::mem::take(&mut work.notes);
    if status.is_none() && finalizers.is_none() && notes.is_empty() {
        return None;
    }
    Some(Write { key: key.clone(), shadow: known.shadow.clone(), status, finalizers, notes, work: std::mem::take(work) })
}

impl Write {
    async fn carry_out(self, client: kube::Client, recorder: Recorder, metrics: Metrics) -> Done {
        let api = api(&client, &self.key);
        let mut done = Done { key: self.key.clone(), shadow: None, wrote: None, failed: None };
        let mut shadow = self.shadow.clone();
        if let Some((status, transitions)) = &self.status {
            let body = json!({
                "apiVersion": names::API_VERSION, "kind": self.key.kind.as_str(),
                // The uid keeps a verdict off a namesake that was made since.
                "metadata": {"name": self.key.name, "uid": shadow.uid},
                "status": status,
            });
            let began = Instant::now();
            let params = PatchParams::apply(names::FIELD_MANAGER).force();
            let answer = tokio::time::timeout(CALL, api.patch_status(&self.key.name, &params, &Patch::Apply(&body))).await;
            metrics.api_call("patch_status", self.key.kind.as_str(), began.elapsed(), !matches!(answer, Ok(Ok(_))));
            match answer {
                Ok(Ok(object)) => {
                    done.wrote = Some(digests(status));
                    shadow = Shadow { version: object.metadata.resource_version.unwrap_or_default(), ..shadow.with_status(status) };
                    metrics.status_written(self.key.kind, Ended::Changed);
                    for transition in transitions {
                        self.publish(&recorder, &metrics, transition.reason, &transition.message, transition.warning).await;
                    }
                }
                // Gone, or another by the same name: the watch tells.
                Ok(Err(kube::Error::Api(error))) if matches!(error.code, 404 | 409) => return done,
                Ok(Err(error)) => return self.again(&metrics, done, &error.to_string()).await,
                Err(_) => return self.again(&metrics, done, "no answer in time").await,
            }
        }
        for note in &self.notes {
            self.publish(&recorder, &metrics, note.reason, &note.message, note.warning).await;
        }
        if let Some(finalizers) = &self.finalizers {
            let body = json!({"metadata": {"resourceVersion": shadow.version, "finalizers": finalizers}});
            let began = Instant::now();
            let answer = tokio::time::timeout(CALL, api.patch(&self.key.name, &PatchParams::default(), &Patch::Merge(&body))).await;
            metrics.api_call("patch", self.key.kind.as_str(), began.elapsed(), !matches!(answer, Ok(Ok(_))));
            match answer {
                Ok(Ok(object)) => {
                    shadow.version = object.metadata.resource_version.unwrap_or_default();
                    shadow.finalizers.clone_from(finalizers);
                }
                // Changed since we saw it, or gone already: its next event brings the matter up again.
                Ok(Err(kube::Error::Api(error))) if matches!(error.code, 404 | 409 | 422) => {
                    done.failed =
                        (error.code == 409).then(|| Work { verdict: self.work.verdict, finalizer: self.work.finalizer, notes: Vec::new() });
                    done.shadow = Some(shadow);
                    return done;
                }
                Ok(Err(error)) => return self.again(&metrics, done, &error.to_string()).await,
                Err(_) => return self.again(&metrics, done, "no answer in time").await,
            }
        }
        done.shadow = Some(shadow);
        done
    }

    /// A passing fault: the same once more, after a pause with jitter.
    async fn again(self, metrics: &Metrics, mut done: Done, error: &str) -> Done {
        tracing::warn!(kind = %self.key.kind, namespace = self.key.namespace, name = self.key.name, error, "a status could not be written; trying again");
        metrics.status_written(self.key.kind, Ended::Failed);
        let jitter = u64::from(uuid::Uuid::new_v4().as_bytes()[0]) * 8;
        tokio::time::sleep(Duration::from_millis(1_000 + jitter)).await;
        done.failed = Some(self.work);
        done
    }

    async fn publish(&self, recorder: &Recorder, metrics: &Metrics, reason: Reason, message: &str, warning: bool) {
        let reference = ObjectReference {
            api_version: Some(names::API_VERSION.to_owned()),
            kind: Some(self.key.kind.as_str().to_owned()),
            namespace: Some(self.key.namespace.clone()),
            name: Some(self.key.name.clone()),
            uid: Some(self.shadow.uid.clone()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_string(),
            note: Some(message.chars().take(1_000).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        metrics.event(reason.as_str(), warning);
        if reason == Reason::LastSuperAdministratorKept {
            metrics.last_super_kept();
        }
        match tokio::time::timeout(CALL, recorder.publish(&event, &reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "an event could not be published"),
            Err(_) => tracing::debug!("an event could not be published in time"),
        }
    }
}

/// The interface for one resource.
pub(super) fn api(client: &kube::Client, key: &ResourceKey) -> Api<DynamicObject> {
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(names::GROUP, names::VERSION, key.kind.as_str()), &plural(key.kind));
    Api::namespaced_with(client.clone(), &key.namespace, &resource)
}
