//! The end of a run: the guard judges who left, and the store keeps how it went.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::one::{Break, Read, Run};
use super::progress::Progress;
use super::{CameTo, Phases, RunEnded};
use crate::model::{CanonicalAddress, ResourceKey};
use crate::plan::desired::SecretState;
use crate::plan::directory::guard::{ConnectionNumbers, ending, held_holders, judge, leave_to_others};
use crate::plan::directory::rows::{ConnectionRow, RunRecord};
use crate::plan::reason::Reason;
use crate::store::{Conclusion, Marks, StoreError};

/// How long a clean run counts at the least (V3).
const FRESH: SignedDuration = SignedDuration::from_hours(24);

/// What judging a connection came to.
struct Judged {
    /// How many are missing.
    missing: u64,
    /// Those of them that the guard let pass before.
    cleared_before: Vec<CanonicalAddress>,
    /// Connections that want an address which this one misses since its last run (Y8).
    heirs: Vec<ResourceKey>,
    /// Somebody said yes to exchanges of addresses.
    exchanges: bool,
}

impl Run {
    /// Only judges what waits for a yes.
    pub(super) async fn judge_only(self) -> RunEnded {
        let mut concerned = Vec::new();
        let judged = async {
            let mut state = self.leader.open_connection(&self.key, &self.stop).await?;
            let before = state.clone();
            let judged = self.judge(&mut state, None, &mut concerned).await?;
            if state != before {
                let conclusion = Conclusion { state, covered: Vec::new(), served: Vec::new(), fresh_until: None };
                self.leader.conclude(&self.key, &conclusion, &self.stop).await?;
            }
            Ok::<_, StoreError>(judged)
        };
        match judged.await {
            Ok(judged) => {
                let heirs = self.again_for(judged.exchanges);
                RunEnded { connection: self.key, came_to: CameTo::Judged, concerned, heirs, covered: Vec::new() }
            }
            Err(error) => {
                tracing::warn!(connection = %self.key, %error, "what waits for a yes could not be judged; it is tried again");
                RunEnded::for_nothing(self.key, CameTo::Nothing, concerned)
            }
        }
    }

    /// Exchanges that somebody said yes to are made by a run.
    fn again_for(&self, exchanges: bool) -> Vec<ResourceKey> {
        exchanges.then(|| self.key.clone()).into_iter().collect()
    }

    /// Judges who left, and writes down what the guard said. `began`: when the run did that this ends. `concerned`: gets who is to be planned
    /// for that, before it is written: a run that breaks after that, and one whose write may have come through, still tells of them. No
    /// later run does.
    async fn judge(
        &self,
        state: &mut ConnectionRow,
        began: Option<Timestamp>,
        concerned: &mut Vec<CanonicalAddress>,
    ) -> Result<Judged, StoreError> {
        let store = self.leader.store();
        let mut leavers = store.leavers_of(&self.key).await?;
        let missing = leavers.len() as u64;
        let cleared = leavers.iter().filter(|(_, leaver)| leaver.cleared_at.is_some());
        let cleared_before = cleared.map(|(address, _)| address.clone()).collect();
        let mut heirs = Vec::new();
        if let Some(began) = began
            && missing > state.last_run.as_ref().map_or(0, |run| run.counts.missing)
        {
            heirs = store.unfinished_elsewhere(&self.key).await?;
            if !heirs.is_empty() {
                leave_to_others(&mut leavers, began);
            }
        }
        // Without leavers nothing is counted against anything.
        let numbers = if leavers.is_empty() { ConnectionNumbers::default() } else { store.connection_numbers(&self.key).await? };
        // A yes acts once: the same people held a second time want a second one (C6).
        let used = store.handled_approval(&self.key).await?;
        let approve = self.approve.as_deref().filter(|hash| used.as_deref() != Some(*hash));
        let judgement = judge(&leavers, numbers, &self.declared, approve);
        let holders = store.holders_of(&self.key).await?;
        let held = held_holders(&holders.new, &holders.exchanges);
        let same = held.as_ref().filter(|plan| approve == Some(plan.hash.as_str())).map(|plan| plan.hash.clone());
        concerned.extend(judgement.cleared.iter().cloned());
        let marks = Marks {
            cleared: judgement.cleared,
            approved: judgement.approved.is_some(),
            hold: judgement.hold,
            holders: same.is_some().then(|| holders.clone()),
            handled: judgement.approved.clone().or_else(|| same.clone()),
        };
        concerned.extend(marks.holders.iter().flat_map(|holders| &holders.new).map(|(address, _)| address.clone()));
        if !marks.cleared.is_empty() || marks.hold || marks.handled.is_some() {
            self.leader.mark(&self.key, &marks, &self.stop).await?;
            crate::fault::reach("marked");
        }
        state.held_leavers = judgement.held;
        state.ending = if leavers.is_empty() {
            None
        } else {
            ending(&store.ending_of(&self.key, self.declared.leavers.action).await?, &self.declared)
        };
        state.held_holders = if same.is_some() { None } else { held };
        let exchanges = marks.holders.is_some_and(|holders| !holders.exchanges.is_empty());
        Ok(Judged { missing, cleared_before, heirs, exchanges })
    }

    /// Writes down how a run went.
    pub(super) async fn conclude(
        &self,
        mut progress: Progress,
        mut state: ConnectionRow,
        read: Read,
        concerned: &mut Vec<CanonicalAddress>,
    ) -> Result<RunEnded, Break> {
        let entered = Instant::now();
        let Judged { missing, cleared_before, mut heirs, exchanges } = self.judge(&mut state, Some(read.started_at), concerned).await?;
        let finished_at = self.leader.store().now().await?;
        progress.counts.missing = missing;
        progress.counts.held = state.held_leavers.as_ref().map_or(0, |plan| plan.count as u64);
        let Read { began, started_at, server, mode, problem, domains } = read;
        let complete = problem.is_none();
        let full = mode == "Full";
        // When more follows of those who were let pass before is kept in memory, under the spec that was planned last: another spec has
        // other moments, a suspended one had none (C8). A run that reads all can afford to look, whatever else was forgotten.
        if state.generation != self.generation || (full && complete) {
            concerned.extend(cleared_before);
        }
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
        if let SecretState::Ready(secrets) = &self.declared.secrets {
            state.secrets.clone_from(secrets);
        }
        let fresh = FRESH.max(self.declared.full_interval * 2);
        let conclusion = Conclusion {
            state,
            covered: if complete && full { domains.clone() } else { Vec::new() },
            served: domains.clone(),
            fresh_until: clean.then(|| finished_at.saturating_add(fresh).unwrap_or(finished_at)),
        };
        self.leader.conclude(&self.key, &conclusion, &self.stop).await?;
        heirs.extend(self.again_for(exchanges));
        let reading = entered.duration_since(began).saturating_sub(progress.bringing);
        let phases = Phases { reading, bringing: progress.bringing, concluding: entered.elapsed() };
        let covered = if clean { domains } else { Vec::new() };
        Ok(RunEnded {
            connection: self.key.clone(),
            came_to: CameTo::Record(Box::new(record), phases),
            concerned: std::mem::take(concerned),
            heirs,
            covered,
        })
    }
}
