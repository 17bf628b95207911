//! Which leavers may be seen through: the guard of a connection (SPEC Y6, Y7).
//!
//! Judged for all of a connection at once, for a hundred thousand may be missing: nothing but their names and waits is looked at.

use jiff::{SignedDuration, Timestamp};

use super::rows::{Ending, Leaver};
use crate::model::{CanonicalAddress, EntryId};
use crate::plan::desired::ConnectionDeclared;
use crate::plan::guard::plan_of;
use crate::plan::verdict::HeldPlan;

/// How many addresses a warning names.
const WARNED: usize = 5;

/// The numbers of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionNumbers {
    /// Entries that hold an address, those that left within the day included.
    pub entries: u64,
    /// Leavers let pass within the day and not approved.
    pub done: u64,
}

/// What becomes of the leavers of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// These may be seen through from now on.
    pub cleared: Vec<CanonicalAddress>,
    /// All that is open is held from now on.
    pub hold: bool,
    /// The plan that waits for a yes.
    pub held: Option<HeldPlan>,
    /// The hash that was approved with this: what it released is among `cleared`.
    pub approved: Option<String>,
}

/// Judges the leavers of a connection, all of them.
///
/// `approve`: the hash that its annotation names and that was not handled yet.
#[must_use]
pub fn judge(
    leavers: &[(CanonicalAddress, Leaver)],
    numbers: ConnectionNumbers,
    declared: &ConnectionDeclared,
    approve: Option<&str>,
) -> Judgement {
    let open = || leavers.iter().filter(|(_, leaver)| leaver.cleared_at.is_none());
    let ripe = |leaver: &Leaver| leaver.missed >= declared.leavers.missed_runs;
    let held = held_plan(leavers);
    if let Some(plan) = &held
        && approve == Some(plan.hash.as_str())
    {
        let released: Vec<_> = open().filter(|(_, leaver)| leaver.held).map(|(address, _)| address.clone()).collect();
        // What came to be missing since is no part of what was approved: it begins to count by itself.
        return Judgement { cleared: released, hold: false, held: None, approved: Some(plan.hash.clone()) };
    }
    let already = open().any(|(_, leaver)| leaver.held);
    let count = open().filter(|(_, leaver)| ripe(leaver)).count() as u64;
    let limit = declared.guard.limit(numbers.entries);
    if already || (count > 0 && count + numbers.done > limit) {
        // All that is open waits with it: what is missing today and not ripe yet would pass tomorrow.
        let all: Vec<_> = open().map(|(address, leaver)| (address.clone(), Leaver { held: true, ..*leaver })).collect();
        return Judgement { cleared: Vec::new(), hold: true, held: held_plan(&all), approved: None };
    }
    let cleared = open().filter(|(_, leaver)| ripe(leaver)).map(|(address, _)| address.clone()).collect();
    Judgement { cleared, hold: false, held: None, approved: None }
}

/// Counts whom the run that `began` then missed first as not missed yet: while another connection wants an address, that one's run comes
/// before anything follows for them, and takes over whom it has without a leaver (Y8). The next run judges the rest.
pub fn leave_to_others(leavers: &mut [(CanonicalAddress, Leaver)], began: Timestamp) {
    let new = leavers.iter_mut().filter(|(_, leaver)| leaver.since >= began);
    new.for_each(|(_, leaver)| leaver.missed = 0);
}

/// What of a connection waits for a yes.
#[must_use]
pub fn held_plan(leavers: &[(CanonicalAddress, Leaver)]) -> Option<HeldPlan> {
    let held = leavers.iter().filter(|(_, leaver)| leaver.held && leaver.cleared_at.is_none());
    let mut lines: Vec<_> = held.map(|(address, _)| format!("Leave {address}")).collect();
    lines.sort();
    plan_of(lines)
}

/// New holders and exchanges that wait for a yes (Y1, L8): which entry has an address now, and who is to go from where to where.
#[must_use]
pub fn held_holders(holders: &[(CanonicalAddress, EntryId)], exchanges: &[(CanonicalAddress, CanonicalAddress)]) -> Option<HeldPlan> {
    let holders = holders.iter().map(|(address, entry)| format!("NewHolder {address} {entry}"));
    let mut lines: Vec<_> = holders.chain(exchanges.iter().map(|(from, to)| format!("Exchange {from} {to}"))).collect();
    lines.sort();
    plan_of(lines)
}

/// What to warn of (Y6). `lost`: who was let pass and takes no mail after its action, and since when each is missing.
#[must_use]
pub fn ending(lost: &[(CanonicalAddress, Timestamp)], declared: &ConnectionDeclared) -> Option<Ending> {
    let due = lost.iter().map(|(_, since)| since.saturating_add(declared.leavers.after).unwrap_or(Timestamp::MAX));
    let (first, last) = (due.clone().min()?, due.max()?);
    let mut sample: Vec<_> = lost.iter().map(|(address, _)| address.to_string()).collect();
    sample.sort();
    sample.truncate(WARNED);
    Some(Ending { count: lost.len(), first, last, sample })
}

/// How long a guarded leaver counts against the next ones (Y7).
pub const WINDOW: SignedDuration = SignedDuration::from_hours(24);

/// When the action of a leaver is due.
#[must_use]
pub fn due(leaver: &Leaver, declared: &ConnectionDeclared) -> Timestamp {
    leaver.since.saturating_add(declared.leavers.after).unwrap_or(Timestamp::MAX)
}
