//! Runs of directory connections: one at a time for each, begun when a plan says that it is due (SPEC 8). A run reads in a task of its own
//! and hands what changed to the engine in chunks, which it plans when nothing else is to do: a hundred thousand users never delay one
//! resource.

mod conclude;
mod one;
mod preview;
mod progress;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Engine, Outcome, SecretView, Surroundings};
use crate::directory::Credentials;
use crate::model::{CanonicalAddress, Kind, ResourceKey, SecretKey};
use crate::plan::Subject;
use crate::plan::desired::{ConnectionDeclared, Declared};
use crate::plan::directory::rows::RunRecord;
use crate::plan::directory::{Account, Begin, Found};
use one::Run;
pub use preview::{Effect, Preview, preview};

/// How long after a run that could not be written down it is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// Entries that a run wants planned.
#[derive(Debug)]
pub struct Chunk {
    pub connection: ResourceKey,
    pub found: Found,
    pub reply: oneshot::Sender<Result<Account, String>>,
}

/// A run is over.
#[derive(Debug)]
pub struct RunEnded {
    pub connection: ResourceKey,
    pub came_to: CameTo,
    /// Addresses that the guard let pass: they are to be planned.
    pub concerned: Vec<CanonicalAddress>,
    /// Connections that are to run now: they want an address which this one misses from now on (Y8), or somebody said yes to an exchange.
    pub heirs: Vec<ResourceKey>,
    /// The domains whose freshness it changed.
    pub covered: Vec<crate::model::DomainName>,
}

impl RunEnded {
    /// One that was not written down. `concerned`: the guard may have let them pass before that.
    fn for_nothing(connection: ResourceKey, came_to: CameTo, concerned: Vec<CanonicalAddress>) -> Self {
        Self { connection, came_to, concerned, heirs: Vec::new(), covered: Vec::new() }
    }
}

/// What a run spent its time with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// Waiting for the directory, and comparing what came.
    pub reading: Duration,
    /// Having entries planned and written.
    pub bringing: Duration,
    /// Judging who is missing, and writing down how it went.
    pub concluding: Duration,
}

/// What became of a run.
#[derive(Debug)]
pub enum CameTo {
    /// It was written down.
    Record(Box<RunRecord>, Phases),
    /// What waits for a yes was judged anew.
    Judged,
    /// It could not be written down.
    Nothing,
    /// Its resource is another one by now.
    CutShort,
}

/// What runs, and what it brought.
#[derive(Default)]
pub(super) struct Runs {
    running: BTreeMap<ResourceKey, Running>,
    pub chunks: VecDeque<Chunk>,
    again: BTreeMap<ResourceKey, Instant>,
}

struct Running {
    stop: CancellationToken,
    /// What was asked for meanwhile.
    then: Option<Begin>,
}

impl Runs {
    pub fn next(&self) -> Option<Instant> {
        self.again.values().min().copied()
    }

    pub fn take_due(&mut self) -> Vec<ResourceKey> {
        let now = Instant::now();
        let due: Vec<_> = self.again.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        self.again.retain(|_, at| *at > now);
        due
    }
}

impl<S: Surroundings> Engine<S> {
    /// Begins a run, or only judges anew what waits for a yes.
    pub(super) fn begin_run(&mut self, key: &ResourceKey, begin: Begin) {
        if let Some(running) = self.runs.running.get_mut(key) {
            if begin != Begin::Due {
                running.then = running.then.max(Some(begin));
            }
            return;
        }
        // What the last one could not write down is still to do, and would be begun again and again.
        if matches!(begin, Begin::Due | Begin::Judge) && self.runs.again.contains_key(key) {
            return;
        }
        let Some(resource) = self.roster.get(key) else { return };
        let approve = resource.actions.0.get(&crate::plan::desired::Action::Approve).cloned();
        let Some(Declared::Connection(declared)) = resource.active() else { return };
        let Some(credentials) = self.credentials(key, declared) else { return };
        let stop = CancellationToken::new();
        let run = Run {
            leader: self.leader.clone(),
            key: key.clone(),
            generation: resource.generation,
            declared: declared.as_ref().clone(),
            credentials,
            approve,
            all: begin == Begin::Inherit,
            inbox: self.inbox.clone(),
            stop: stop.clone(),
        };
        self.runs.running.insert(key.clone(), Running { stop, then: None });
        let (inbox, connection) = (self.inbox.clone(), key.clone());
        tokio::spawn(async move {
            let ended =
                match tokio::spawn(async move { if begin == Begin::Judge { run.judge_only().await } else { run.read().await } }).await {
                    Ok(ended) => ended,
                    Err(error) => {
                        tracing::error!(%connection, %error, "a directory run broke");
                        RunEnded::for_nothing(connection, CameTo::Nothing, Vec::new())
                    }
                };
            let _ = inbox.send(super::Input::RunEnded(Box::new(ended))).await;
        });
    }

    /// What its Secrets say, if they can be had.
    fn credentials(&self, key: &ResourceKey, declared: &ConnectionDeclared) -> Option<Credentials> {
        let value = |secret: &SecretKey| match self.secrets.get(&(key.namespace.clone(), secret.name.clone())) {
            Some(SecretView::Values(values)) => values.get(&secret.key).cloned(),
            _ => None,
        };
        let ca = match &declared.access.ca {
            Some(secret) => Some(value(secret)?.expose().clone()),
            None => None,
        };
        Some(Credentials { password: value(&declared.access.bind_password)?, ca })
    }

    /// The resource is gone or frozen, or says something else: what runs for it ends at the next page.
    pub(super) fn end_run(&mut self, key: &ResourceKey) {
        self.runs.again.remove(key);
        if let Some(running) = self.runs.running.get(key) {
            running.stop.cancel();
        }
    }

    /// The store is another one than the runs began with: what reads as it did was compared with other rows, and a mark says nothing of these.
    pub(super) fn begin_runs_anew(&mut self) {
        for running in self.runs.running.values_mut() {
            running.stop.cancel();
            running.then = running.then.max(Some(Begin::Inherit));
        }
    }

    pub(super) async fn run_ended(&mut self, ended: RunEnded) {
        let then = self.runs.running.remove(&ended.connection).and_then(|running| running.then);
        match &ended.came_to {
            CameTo::Nothing => drop(self.runs.again.insert(ended.connection.clone(), Instant::now() + AGAIN)),
            CameTo::CutShort | CameTo::Judged => {}
            CameTo::Record(record, phases) => {
                self.observer.directory_run(&ended.connection, record, phases);
                if let Some(note) = verdict::completion(&ended.connection, record) {
                    let _ = self.outbox.send(Outcome::Note(note)).await;
                }
            }
        }
        self.subjects.extend(ended.concerned.into_iter().map(Subject::Address));
        for domain in &ended.covered {
            self.touch_domain(domain);
        }
        self.touch(ended.connection.clone());
        for heir in &ended.heirs {
            self.begin_run(heir, Begin::Inherit);
        }
        if let Some(begin) = then {
            self.begin_run(&ended.connection, begin);
        }
    }

    /// Nobody who declares an address of a connection that is no more hears of it otherwise.
    pub(super) fn connection_gone(&mut self, namespace: &str) {
        let keys: Vec<_> = self
            .roster
            .resources()
            .filter(|resource| {
                resource.key.namespace == namespace && matches!(resource.key.kind, Kind::EmailAddress | Kind::InternalDomain)
            })
            .map(|resource| resource.key.clone())
            .collect();
        for key in keys {
            self.touch(key);
        }
        // What it brought another one may have too, and take over at once (Y8).
        let siblings = self.roster.resources().filter(|resource| resource.key.namespace == namespace);
        let siblings: Vec<_> =
            siblings.filter(|resource| resource.key.kind == Kind::DirectoryConnection).map(|resource| resource.key.clone()).collect();
        for key in siblings {
            self.begin_run(&key, Begin::Inherit);
        }
    }
}
