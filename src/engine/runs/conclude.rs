//! The end of a run: the guard judges who left, and the store keeps how it went.

use jiff::SignedDuration;

use super::one::{Break, Read, Run};
use super::progress::Progress;
use super::{CameTo, RunEnded};
use crate::model::CanonicalAddress;
use crate::plan::directory::guard::{held_holders, judge};
use crate::plan::directory::rows::{ConnectionRow, Leaver, RunRecord};
use crate::plan::reason::Reason;
use crate::store::{Conclusion, Marks, StoreError};

/// How long a clean run counts at the least (V3).
const FRESH: SignedDuration = SignedDuration::from_hours(24);

impl Run {
    /// Only judges what waits for a yes.
    pub(super) async fn judge_only(self) -> RunEnded {
        let judged = async {
            let mut state = self.leader.store().connection_state(&self.key).await?;
            let before = state.clone();
            let (concerned, _) = self.judge(&mut state).await?;
            if state != before {
                self.leader.conclude(&self.key, &Conclusion { state, covered: Vec::new(), fresh_until: None }).await?;
            }
            Ok::<_, StoreError>(concerned)
        };
        let (came_to, concerned) = match judged.await {
            Ok(concerned) => (CameTo::Judged, concerned),
            Err(error) => {
                tracing::warn!(connection = %self.key, %error, "what waits for a yes could not be judged; it is tried again");
                (CameTo::Nothing, Vec::new())
            }
        };
        RunEnded { connection: self.key, came_to, concerned, heirs: Vec::new(), covered: Vec::new() }
    }

    /// Judges who left, and writes down what the guard said. Answers with the addresses concerned, and with who is missing.
    async fn judge(&self, state: &mut ConnectionRow) -> Result<(Vec<CanonicalAddress>, Vec<(CanonicalAddress, Leaver)>), StoreError> {
        let store = self.leader.store();
        let leavers = store.leavers_of(&self.key).await?;
        let numbers = store.connection_numbers(&self.key).await?;
        let approve = self.approve.as_deref();
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
        state.held_holders = if same.is_some() { None } else { held };
        if let Some(holders) = marks.holders {
            concerned.extend(holders.new);
        }
        Ok((concerned, leavers))
    }

    /// Writes down how a run went.
    pub(super) async fn conclude(&self, mut progress: Progress, mut state: ConnectionRow, read: Read) -> Result<RunEnded, Break> {
        let (concerned, leavers) = self.judge(&mut state).await?;
        let finished_at = self.leader.store().now().await?;
        let misses_more = leavers.len() as u64 > state.last_run.as_ref().map_or(0, |run| run.counts.missing);
        progress.counts.missing = leavers.len() as u64;
        progress.counts.held = state.held_leavers.as_ref().map_or(0, |plan| plan.count as u64);
        let Read { started_at, server, mode, problem, domains } = read;
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
            fresh_until: clean.then(|| finished_at.saturating_add(fresh).unwrap_or(finished_at)),
        };
        self.leader.conclude(&self.key, &conclusion).await?;
        let heirs = if misses_more { self.leader.store().unfinished_elsewhere(&self.key).await? } else { Vec::new() };
        let covered = if clean { domains } else { Vec::new() };
        Ok(RunEnded { connection: self.key.clone(), came_to: CameTo::Record(Box::new(record)), concerned, heirs, covered })
    }
}
