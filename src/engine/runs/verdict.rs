//! What a run comes to: whether it was complete, and what to say of it (SPEC Y4, Y5). Pure.

use std::collections::HashMap;
use std::hash::BuildHasher;

use super::progress::Progress;
use crate::directory::has_reached;
use crate::model::{Complete, Entry, EntryId, ResourceKey, Signs};
use crate::plan::Note;
use crate::plan::desired::ConnectionDeclared;
use crate::plan::directory::rows::{ConnectionRow, Mark, Problem, RunRecord};
use crate::plan::reason::Reason;
use crate::store::Known;

/// What a run is complete of, when it is.
pub(super) struct Scope<'a> {
    /// [`crate::model::Access::frame`].
    pub frame: &'a str,
    /// How far the server had come, where it can tell.
    pub mark: Option<&'a Mark>,
}

/// What a run sees, beside what the last complete one saw.
struct View {
    /// What it is called when the next one is compared with it, and until then.
    settled: String,
    now: String,
    /// Another server answered, or one that is not as far as the one before.
    behind: bool,
    another: bool,
}

fn view(state: &ConnectionRow, scope: &Scope<'_>) -> View {
    let server = scope.mark.map_or("", |mark| mark.server.as_str());
    let last =
        state.mark.as_ref().filter(|last| scope.mark.is_some_and(|now| (&now.server, &now.mechanism) == (&last.server, &last.mechanism)));
    let behind = last.zip(scope.mark).is_some_and(|(last, now)| !has_reached(now, last));
    let settled = format!("{} {server}", scope.frame);
    let now = if behind { format!("{settled} behind") } else { settled.clone() };
    let known = state.frame.split_once(' ').map(|(_, server)| server);
    View { settled, now, behind, another: behind || known.is_some_and(|known| known != server) }
}

/// Whether another server answers than at the last complete run, or one that is behind it, and no complete run there agrees yet: until then
/// only additions and disables take effect (Y11).
pub(super) fn is_unproved(state: &ConnectionRow, scope: &Scope<'_>) -> bool {
    let view = view(state, scope);
    view.another && state.new_frame != view.now
}

/// Whether what a run read was complete of the same as the last complete run (Y5, Y11). Keeps in `state` what the next one is compared with.
fn same_scope(state: &mut ConnectionRow, scope: &Scope<'_>) -> Result<(), Problem> {
    let view = view(state, scope);
    if state.frame.is_empty() || (state.frame == view.settled && !view.behind) || state.new_frame == view.now {
        state.frame = view.settled;
        state.new_frame.clear();
        return Ok(());
    }
    let same_frame = state.frame.split_once(' ').is_some_and(|(frame, _)| frame == scope.frame);
    state.new_frame = view.now;
    let (reason, what) = match (same_frame, view.behind) {
        (true, true) => {
            (Reason::ServerSwitched, "the server is not as far as the one that was read last: it lags behind it, or was restored")
        }
        (true, false) => (Reason::ServerSwitched, "another server answered than at the last complete run"),
        (false, _) => {
            (Reason::ScopeChanged, "base, filter, attributes, bind name, domains or servers are not those of the last complete run")
        }
    };
    let taken = if view.another { "; only additions and disables are taken from it" } else { "" };
    let message = format!("{what}{taken}; nothing follows from who is missing until a second complete run agrees");
    Err(Problem { reason, message })
}

/// Y4, Y5: whether something may follow from absence.
pub(super) fn completeness(
    progress: &Progress,
    state: &mut ConnectionRow,
    declared: &ConnectionDeclared,
    scope: &Scope<'_>,
    read: Result<Complete, Problem>,
) -> Result<Complete, Problem> {
    let proof = read?;
    progress.signless.judge(declared)?;
    progress.kept_all()?;
    same_scope(state, scope)?;
    Ok(proof)
}

/// Entries that lack a telling attribute which they had (Y4): few have changed, many can't be read any more.
#[derive(Default)]
pub(super) struct Signless {
    /// How many had a sign, of those that came.
    had: [u64; 8],
    gone: [u64; 8],
}

impl Signless {
    /// Notes an entry that came. True: it lacks a sign that it had, and nothing follows from it before all have come.
    pub fn note(&mut self, entry: &Entry, known: Option<&Known>) -> bool {
        let Some(known) = known else { return false };
        let gone = entry.signs.gone_since(known.signs);
        for (index, (sign, _)) in Signs::ALL.iter().enumerate() {
            if let (Some(had), Some(missing)) = (self.had.get_mut(index), self.gone.get_mut(index)) {
                *had += u64::from(known.signs.has(*sign));
                *missing += u64::from(gone.has(*sign));
            }
        }
        gone != Signs::default()
    }

    /// The signs that some entry lacks which had them.
    pub fn gone(&self) -> Signs {
        let gone = Signs::ALL.iter().zip(self.gone).filter(|(_, gone)| *gone > 0);
        gone.fold(Signs::default(), |all, ((sign, _), _)| Signs(all.0 | sign.0))
    }

    /// How many of all known entries had each sign, where only some came.
    pub fn among(&mut self, had: [u64; 8]) {
        self.had = had;
    }

    /// The attributes that went from more entries than the guard lets pass.
    pub fn judge(&self, declared: &ConnectionDeclared) -> Result<(), Problem> {
        for (index, (_, name)) in Signs::ALL.iter().enumerate() {
            let (had, gone) = (self.had.get(index).copied().unwrap_or(0), self.gone.get(index).copied().unwrap_or(0));
            if gone > declared.guard.limit(had) || (gone > 0 && gone == had && had > 1) {
                return Err(Problem {
                    reason: Reason::AttributesHidden,
                    message: format!(
                        "{gone} of the {had} entries that had the attribute {name} came without it; may {} still read it?",
                        declared.access.bind_dn
                    ),
                });
            }
        }
        Ok(())
    }
}

/// Which known entries a complete run lacked.
pub(super) fn missing<S: BuildHasher>(known: &HashMap<EntryId, Known, S>, seen: &std::collections::HashSet<EntryId>) -> Vec<EntryId> {
    let mut missing: Vec<_> = known.keys().filter(|id| !seen.contains(*id)).cloned().collect();
    missing.sort();
    missing
}

/// What an Event says of a run that changed something.
pub(super) fn completion(connection: &ResourceKey, record: &RunRecord) -> Option<Note> {
    let c = &record.counts;
    let changed = c.created + c.updated + c.linked + c.relinked + c.unlinked + c.disabled + c.enabled;
    (changed > 0).then(|| Note {
        key: connection.clone(),
        reason: Reason::Synchronised,
        message: format!(
            "{} entries read from {}: {} created, {} updated, {} linked, {} relinked, {} unlinked, {} disabled, {} enabled, {} missing, {} held",
            c.read, record.server, c.created, c.updated, c.linked, c.relinked, c.unlinked, c.disabled, c.enabled, c.missing, c.held
        ),
        warning: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(server: &str, value: &str) -> Mark {
        Mark { server: server.to_owned(), mechanism: "UpdateSequenceNumber".to_owned(), value: value.to_owned() }
    }

    /// What a complete read comes to: the reason, and whether only additions and disables were taken from it.
    fn complete(state: &mut ConnectionRow, frame: &str, mark: &Mark) -> (Option<Reason>, bool) {
        let scope = Scope { frame, mark: Some(mark) };
        let unproved = is_unproved(state, &scope);
        let same = same_scope(state, &scope);
        if same.is_ok() {
            state.mark = Some(mark.clone());
        }
        (same.err().map(|problem| problem.reason), unproved)
    }

    #[test]
    fn y11_a_second_complete_run_on_another_server_agrees_and_the_first_server_back_needs_none() {
        let mut state = ConnectionRow::default();
        let (one, two) = (mark("one", "100"), mark("two", "7"));
        assert_eq!(complete(&mut state, "f", &one), (None, false));
        assert_eq!(complete(&mut state, "f", &two), (Some(Reason::ServerSwitched), true));
        assert_eq!(complete(&mut state, "f", &one), (None, false), "as it was");
        assert_eq!(complete(&mut state, "f", &two), (Some(Reason::ServerSwitched), true));
        assert_eq!(complete(&mut state, "f", &two), (None, false));
        assert_eq!(complete(&mut state, "f", &two), (None, false));
    }

    #[test]
    fn y11_a_server_that_was_restored_agrees_with_itself_at_its_second_run() {
        let mut state = ConnectionRow::default();
        let (now, restored) = (mark("one", "100"), mark("one", "60"));
        assert_eq!(complete(&mut state, "f", &now), (None, false));
        assert_eq!(complete(&mut state, "f", &restored), (Some(Reason::ServerSwitched), true));
        assert_eq!(complete(&mut state, "f", &now), (None, false), "it only lagged");
        assert_eq!(complete(&mut state, "f", &restored), (Some(Reason::ServerSwitched), true));
        assert_eq!(complete(&mut state, "f", &mark("one", "61")), (None, false));
        assert_eq!(complete(&mut state, "f", &mark("one", "62")), (None, false));
    }

    #[test]
    fn y5_another_scope_takes_updates_and_counts_absence_from_its_second_run_on() {
        let mut state = ConnectionRow::default();
        let one = mark("one", "100");
        assert_eq!(complete(&mut state, "f", &one), (None, false));
        assert_eq!(complete(&mut state, "g", &one), (Some(Reason::ScopeChanged), false));
        assert_eq!(complete(&mut state, "h", &one), (Some(Reason::ScopeChanged), false), "another one again");
        assert_eq!(complete(&mut state, "h", &one), (None, false));
        assert_eq!(complete(&mut state, "i", &mark("two", "1")), (Some(Reason::ScopeChanged), true), "and another server at once");
    }
}
