//! One run: what changed since the last one where the server can tell, all of it where it can't or a day has passed; then what follows
//! from absence, and how it went.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use super::verdict::{Scope, Signless, completeness, is_unproved, missing};
use super::{CameTo, Chunk, RunEnded};
use crate::directory::{self, Credentials, Gone, Page};
use crate::engine::Input;
use crate::model::{CanonicalAddress, DomainName, EntryId, ResourceKey, Signs};
use crate::plan::desired::{ConnectionDeclared, Detection};
use crate::plan::directory::Found;
use crate::plan::directory::rows::{ConnectionRow, Mark, Problem};
use crate::plan::reason::Reason;
use crate::store::{Absences, Leader, StoreError};

/// Entries that are planned together at the most.
const CHUNK: usize = 500;
/// Pages that wait for being looked at.
const PAGES: usize = 2;

/// All that a run needs.
pub(super) struct Run {
    pub leader: Arc<Leader>,
    pub key: ResourceKey,
    pub generation: i64,
    pub declared: ConnectionDeclared,
    pub credentials: Credentials,
    /// The hash that its annotation names.
    pub approve: Option<String>,
    /// All has to be read, whatever the server could tell.
    pub all: bool,
    pub inbox: mpsc::Sender<Input>,
    pub stop: CancellationToken,
}

/// Why a run comes to nothing.
pub(super) enum Break {
    /// Shutting down, or the resource changed.
    Stopped,
    Store(StoreError),
    /// A chunk could not be planned.
    Refused(String),
}

impl From<StoreError> for Break {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Stopped => Self::Stopped,
            error => Self::Store(error),
        }
    }
}

/// How reading went, for its record.
pub(super) struct Read {
    pub began: Instant,
    pub started_at: Timestamp,
    pub server: String,
    /// `Full`, or the mechanism of [`Mark`].
    pub mode: String,
    pub problem: Option<Problem>,
    pub domains: Vec<DomainName>,
}

impl Run {
    /// Reads the directory and brings its entries into force.
    pub async fn read(self) -> RunEnded {
        let mut concerned = Vec::new();
        match self.read_and_conclude(&mut concerned).await {
            Ok(ended) => ended,
            Err(reason) => {
                let connection = &self.key;
                let came_to = match reason {
                    Break::Stopped => {
                        tracing::info!(%connection, "a directory run was cut short");
                        CameTo::CutShort
                    }
                    Break::Store(error) => {
                        tracing::warn!(%connection, %error, "a directory run could not use the store; it is tried again");
                        CameTo::Nothing
                    }
                    Break::Refused(reason) => {
                        tracing::warn!(%connection, reason, "a directory run could not be planned; it is tried again");
                        CameTo::Nothing
                    }
                };
                RunEnded::for_nothing(self.key, came_to, concerned)
            }
        }
    }

    /// `concerned`: who is to be planned, whatever becomes of the run.
    async fn read_and_conclude(&self, concerned: &mut Vec<CanonicalAddress>) -> Result<RunEnded, Break> {
        let (store, began) = (self.leader.store(), Instant::now());
        let started_at = store.now().await?;
        let mut state = self.leader.open_connection(&self.key, &self.stop).await?;
        let mut domains = store.domains_of(&self.key.namespace).await?;
        domains.retain(|domain| self.declared.serves(domain));
        let frame = self.declared.access.frame(&domains);
        let mapping = self.declared.mapping(&frame);
        let mut progress = Progress::new(state.mapping == mapping);
        for unknown in self.declared.domains.iter().filter(|domain| !domains.contains(domain)) {
            progress.report(format!("spec.domains names {unknown}, which is no domain of the namespace {} yet", self.key.namespace));
        }
        let mut read = Read { began, started_at, server: String::new(), mode: String::new(), problem: None, domains };
        let full_is_due = state.last_full.is_none_or(|last| last.saturating_add(self.declared.full_interval).unwrap_or(last) <= started_at);
        let mark = state
            .mark
            .clone()
            .filter(|_| self.declared.detection != Detection::Full && progress.same_mapping && state.new_frame.is_empty());
        let told = match mark {
            Some(mark) => self.what_changed(&mut progress, &mut state, &mut read, mark).await?,
            None => false,
        };
        // Nobody is told of who wants what another one had when that one gives it up (Y3), or may exchange now (L8): then all are read.
        let (approved, wanted) = if told { store.unfinished(&self.key).await? } else { (false, false) };
        let untold_of = self.all || approved || (wanted && progress.moves);
        // Whom nobody let in for what changed nobody lets in for all.
        let kept_out = told && read.server.is_empty();
        if !kept_out && (!told || full_is_due || untold_of) {
            self.all(&mut progress, &mut state, &mut read, &frame).await?;
            // What the server did not tell although it told what changed is drift.
            if told && progress.untold > 0 {
                let untold = progress.untold;
                progress.report(format!("{untold} entries had changed without the server's telling so"));
            }
        }
        if read.problem.is_none() {
            state.mapping = mapping;
        }
        self.conclude(progress, state, read, concerned).await
    }

    /// An incremental read. False: the marks are of no use, and all has to be read.
    async fn what_changed(&self, progress: &mut Progress, state: &mut ConnectionRow, read: &mut Read, mark: Mark) -> Result<bool, Break> {
        progress.shown = true;
        let (pages, arriving) = mpsc::channel::<Page>(PAGES);
        let reading = directory::changes(&self.declared.access, &self.credentials, read.started_at, &mark, pages);
        // What is known is asked for as entries come: a run that finds little costs little (Y10).
        let increment = self.taking(progress, reading, arriving, |_, _| {}, true).await?;
        let (gone, next) = match increment.told {
            Ok(told) => told,
            Err(problem) if increment.server.is_empty() => {
                // Nobody answers: a full read would hear the same.
                read.problem = Some(problem);
                return Ok(true);
            }
            Err(problem) => {
                tracing::info!(connection = %self.key, reason = %problem.reason, problem.message, "what changed can't be told; reading all");
                return Ok(false);
            }
        };
        (read.server, read.mode) = (increment.server, mark.mechanism);
        let readable = self.readable_among_all(progress).await?;
        let few = std::mem::take(&mut progress.aside);
        if readable.is_ok() {
            progress.later.extend(few);
        }
        let whole = readable.and_then(|()| progress.kept_all());
        let absences = match gone {
            // What the server shows is no guess (Y7).
            Gone::These(ids) => {
                let gone: Vec<_> = ids.into_iter().filter(|id| !progress.seen.contains(id)).collect();
                Absences::Shown { gone, missed: self.declared.leavers.missed_runs }
            }
            Gone::AllBut(mut left) => {
                left.extend(progress.seen.iter().cloned());
                progress.known = self.leader.store().known_entries(&self.key).await?;
                Absences::Told { missing: missing(&progress.known, &left) }
            }
        };
        progress.moves = !absences.is_empty() || !progress.told.is_empty();
        // What was left out may have an address that somebody gave up; the next run is told of both again.
        if !absences.is_empty() && progress.kept_all().is_ok() {
            self.leader.miss(&self.key, &absences, &self.stop).await?;
        }
        progress.chunk = std::mem::take(&mut progress.later);
        self.hand_over(progress, true).await?;
        match whole {
            Ok(()) => state.mark = Some(next),
            // The next run is told of the same entries again.
            Err(problem) => read.problem = Some(problem),
        }
        Ok(true)
    }

    /// Y4, where only some entries came: those that lack a sign are counted against all that had it.
    async fn readable_among_all(&self, progress: &mut Progress) -> Result<Result<(), Problem>, Break> {
        if progress.signless.gone() != Signs::default() {
            progress.signless.among(self.leader.store().signs_of(&self.key).await?);
        }
        Ok(progress.signless.judge(&self.declared))
    }

    /// A full read.
    async fn all(&self, progress: &mut Progress, state: &mut ConnectionRow, read: &mut Read, frame: &str) -> Result<(), Break> {
        (progress.seen, progress.shown, progress.signless) = (HashSet::new(), false, Signless::default());
        progress.aside.clear();
        progress.left_out = 0;
        progress.counts.read = 0;
        progress.known = self.leader.store().known_entries(&self.key).await?;
        let (pages, arriving) = mpsc::channel::<Page>(PAGES);
        let reading = directory::read(&self.declared.access, &self.credentials, read.started_at, pages);
        let begun = |progress: &mut Progress, mark: Option<Mark>| {
            progress.unproved = is_unproved(state, &Scope { frame, mark: mark.as_ref() });
        };
        let ending = self.taking(progress, reading, arriving, begun, false).await?;
        let proof = completeness(progress, state, &self.declared, &Scope { frame, mark: ending.mark.as_ref() }, ending.complete);
        if self.declared.detection == Detection::CountedOn && proof.is_ok() && ending.mark.is_none() {
            let server = &ending.server;
            progress.report(format!("{server} does not tell what changed, as spec.changeDetection counts on: each run reads everything"));
        }
        (read.server, read.mode) = (ending.server, "Full".to_owned());
        match proof {
            Ok(proof) => {
                let aside = std::mem::take(&mut progress.aside);
                progress.later.extend(aside);
                let missing = missing(&progress.known, &progress.seen);
                if !missing.is_empty() || self.leader.store().misses_somebody(&self.key).await? {
                    self.leader.miss(&self.key, &Absences::Complete { missing, proof }, &self.stop).await?;
                }
                state.mark = ending.mark;
            }
            Err(problem) => {
                // What could be read goes in; what lacks a sign changes nothing, unless there were only too many of them to be kept at once.
                let aside = std::mem::take(&mut progress.aside);
                if problem.reason == Reason::TooManyChanged {
                    progress.later.extend(aside);
                }
                read.problem = Some(problem);
            }
        }
        progress.chunk = std::mem::take(&mut progress.later);
        self.hand_over(progress, true).await
    }

    /// Takes in what a read brings while it reads on. `begun`: what to do when a server begins. `few`: what is known of the entries was not
    /// read before.
    async fn taking<T>(
        &self,
        progress: &mut Progress,
        reading: impl Future<Output = T>,
        mut arriving: mpsc::Receiver<Page>,
        begun: impl Fn(&mut Progress, Option<Mark>),
        few: bool,
    ) -> Result<T, Break> {
        let taking = async {
            let taken = async {
                while let Some(mut page) = arriving.recv().await {
                    if let Some(mark) = page.begun.take() {
                        begun(progress, mark);
                    }
                    if few {
                        let ids: Vec<_> = page.entries.iter().map(|entry| entry.id.clone()).collect();
                        progress.known.extend(self.leader.store().known_of(&self.key, &ids).await?);
                    }
                    progress.take_page(page);
                    if progress.chunk.len() >= CHUNK {
                        self.hand_over(progress, false).await?;
                    }
                }
                self.hand_over(progress, false).await
            };
            let taken: Result<(), Break> = taken.await;
            // A read that nobody takes from any more must not wait for ever to be taken from.
            if taken.is_err() {
                arriving.close();
            }
            taken
        };
        tokio::select! {
            () = self.stop.cancelled() => Err(Break::Stopped),
            (read, taken) = futures::future::join(reading, taking) => taken.map(|()| read),
        }
    }

    /// Has what waits planned, some at a time; those that wait for each other together, at the end.
    async fn hand_over(&self, progress: &mut Progress, last: bool) -> Result<(), Break> {
        while !progress.chunk.is_empty() {
            if self.stop.is_cancelled() {
                return Err(Break::Stopped);
            }
            let entries = progress.some(if last { usize::MAX } else { CHUNK });
            let (reply, planned) = oneshot::channel();
            let found = Found { entries: entries.clone(), last, shown: progress.shown, unproved: progress.unproved };
            let chunk = Chunk { connection: self.key.clone(), found, reply };
            if self.inbox.send(Input::Entries(Box::new(chunk))).await.is_err() {
                return Err(Break::Stopped);
            }
            let asked = Instant::now();
            let planned = planned.await;
            progress.bringing += asked.elapsed();
            match planned {
                Ok(Ok(account)) => progress.account(&account, &entries),
                Ok(Err(reason)) => return Err(Break::Refused(reason)),
                Err(_) => return Err(Break::Stopped),
            }
        }
        Ok(())
    }
}

impl Absences {
    fn is_empty(&self) -> bool {
        let ids: &[EntryId] = match self {
            Self::Complete { missing, .. } | Self::Told { missing } => missing,
            Self::Shown { gone, .. } => gone,
        };
        ids.is_empty()
    }
}
