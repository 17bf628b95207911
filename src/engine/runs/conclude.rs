//! The end of a run: the guard judges who left, and the store keeps how it went.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::one::{Break, Read, Run};
use super::progress::Progress;
use super::{CameTo, Phases, RunEnded};
use crate::model::{CanonicalAddress, ResourceKey};
use crate::plan::directory::guard::{ending, held_holders, judge, leave_to_others};
use crate::plan::directory::rows::{ConnectionRow, RunRecord};
use crate::plan::reason::Reason;
use crate::store::{Conclusion, Marks, StoreError};

/// How long a clean run counts at the least (V3).
const FRESH: SignedDuration = SignedDuration::from_hours(24);

/// What judging a connection came to.
struct Judged {
    /// Addresses that are to be planned.
    concerned: Vec<CanonicalAddress>,
    /// How many are missing.
    missing: u64,
    /// Connections that want an address which this one misses since its last run (Y8).
    heirs: Vec<ResourceKey>,
    /// Somebody said yes to exchanges of addresses.
    exchanges: bool,
}

impl Run {
    /// Only judges what waits for a yes.
    pub(super) async fn judge_only(self) -> RunEnded {
        let judged = async {
            let mut state = self.leader.store().connection_state(&self.key).await?;
            let before = state.clone();
            let judged = self.judge(&mut state, None).await?;
            if state != before {
                self.leader.conclude(&self.key, &Conclusion { state, covered: Vec::new(), served: Vec::new(), fresh_until: None }).await?;
            }
            Ok::<_, StoreError>(judged)
        };
        let (came_to, concerned, heirs) = match judged.await {
            Ok(judged) => (CameTo::Judged, judged.concerned, self.again_for(judged.exchanges)),
            Err(error) => {
                tracing::warn!(connection = %self.key, %error, "what waits for a yes could not be judged; it is tried again");
                (CameTo::Nothing, Vec::new(), Vec::new())
            }
        };
        RunEnded { connection: self.key, came_to, concerned, heirs, covered: Vec::new() }
    }

    /// Exchanges that somebody said yes to are made by a run.
    fn again_for(&self, exchanges: bool) -> Vec<ResourceKey> {
        exchanges.then(|| self.key.clone()).into_iter().collect()
    }

    /// Judges who left, and writes down what the guard said. `began`: when the run did that this ends.
    async fn judge(&self, state: &mut ConnectionRow, began: Option<Timestamp>) -> Result<Judged, StoreError> {
        let store = self.leader.store();
        let mut leavers = store.leavers_of(&self.key).await?;
        let missing = leavers.len() as u64;
        let mut heirs = Vec::new();
        if let Some(began) = began
            && missing > state.last_run.as_ref().map_or(0, |run| run.counts.missing)
        {
            heirs = store.unfinished_elsewhere(&self.key).await?;
            if !heirs.is_empty() {
                leave_to_others(&mut leavers, began);
            }
        }
        let numbers = store.connection_numbers(&self.key).await?;
        // A yes acts once: the same people held a second time want a second one (C6).
        let used = store.handled_approval(&self.key).await?;
        let approve = self.approve.as_deref().filter(|hash| used.as_deref() != Some(*hash));
        let judgement = judge(&leavers, numbers, &self.declared, approve);
        let holders = store.holders_of(&self.key).await?;
        let held = held_holders(&holders.new, &holders.exchanges);
        let same = held.as_ref().filter(|plan| approve == Some(plan.hash.as_str())).map(|plan| plan.hash.clone());
        let mut concerned = judgement.cleared.clone();
        let marks = Marks {
            cleared: judgement.cleared,
            approved: judgement.approved.is_some(),
            hold: judgement.hold,
            holders: same.is_some().then(|| holders.clone()),
            handled: judgement.approved.clone().or_else(|| same.clone()),
        };
        if !marks.cleared.is_empty() || marks.hold || marks.handled.is_some() {
            self.leader.mark(&self.key, &marks).await?;
        }
        state.held_leavers = judgement.held;
        state.ending = if leavers.is_empty() {
            None
        } else {
            ending(&store.ending_of(&self.key, self.declared.leavers.action).await?, &self.declared)
        };
        state.held_holders = if same.is_some() { None } else { held };
        let exchanges = marks.holders.as_ref().is_some_and(|holders| !holders.exchanges.is_empty());
        concerned.extend(marks.holders.into_iter().flat_map(|holders| holders.new).map(|(address, _)| address));
        Ok(Judged { concerned, missing, heirs, exchanges })
    }

    /// Writes down how a run went.
    pub(super) async fn conclude(&self, mut progress: Progress, mut state: ConnectionRow, read: Read) -> Result<RunEnded, Break> {
        let entered = Instant::now();
        let Judged { concerned, missing, mut heirs, exchanges } = self.judge(&mut state, Some(read.started_at)).await?;
        let finished_at = self.leader.store().now().await?;
        progress.counts.missing = missing;
        progress.counts.held = state.held_leavers.as_ref().map_or(0, |plan| plan.count as u64);
        let Read { began, started_at, server, mode, problem, domains } = read;
        let complete = problem.is_none();
        let full = mode == "Full";
        let clean = problem.as_ref().is_none_or(|problem| matches!(problem.reason, Reason::ScopeChanged | Reason::ServerSwitched));
        let record =
            RunRecord { started_at, finished_at, server, mode, complete, counts: progress.counts, problem, reports: progress.reports };
        if complete {
            state.last_complete = Some(finished_at);
            state.last_full = if full { Some(finished_at) } else { state.last_full };
        }
        if clean {
            state.last_successful = Some(finished_at);
        }
        (state.last_run, state.generation) = (Some(record.clone()), self.generation);
        let fresh = FRESH.max(self.declared.full_interval * 2);
        let conclusion = Conclusion {
            state,
            covered: if complete && full { domains.clone() } else { Vec::new() },
            served: domains.clone(),
            fresh_until: clean.then(|| finished_at.saturating_add(fresh).unwrap_or(finished_at)),
        };
        self.leader.conclude(&self.key, &conclusion).await?;
        heirs.extend(self.again_for(exchanges));
        let reading = entered.duration_since(began).saturating_sub(progress.bringing);
        let phases = Phases { reading, bringing: progress.bringing, concluding: entered.elapsed() };
        let covered = if clean { domains } else { Vec::new() };
        Ok(RunEnded { connection: self.key.clone(), came_to: CameTo::Record(Box::new(record), phases), concerned, heirs, covered })
    }
}
