//! What a run comes to: whether it was complete, and what to say of it (SPEC Y4, Y5). Pure.

use std::collections::HashMap;
use std::hash::BuildHasher;

use crate::model::{Entry, EntryId, ResourceKey, Signs};
use crate::plan::Note;
use crate::plan::desired::ConnectionDeclared;
use crate::plan::directory::rows::{ConnectionRow, Problem, RunRecord};
use crate::plan::reason::Reason;
use crate::store::Known;

/// What a run was complete of.
pub(super) struct Scope<'a> {
    /// [`crate::model::Access::frame`].
    pub frame: &'a str,
    /// What the server says of itself; empty: nothing.
    pub server: &'a str,
}

/// Whether what a run read was complete of the same as the last complete run (Y5, Y11). Keeps in `state` what the next one is compared with.
pub(super) fn same_scope(state: &mut ConnectionRow, scope: &Scope<'_>) -> Result<(), Problem> {
    let now = format!("{} {}", scope.frame, scope.server);
    if state.frame.is_empty() || state.frame == now || state.new_frame == now {
        state.frame = now;
        state.new_frame.clear();
        return Ok(());
    }
    let switched = state.frame.split_once(' ').is_some_and(|(frame, _)| frame == scope.frame);
    state.new_frame = now;
    if switched {
        return Err(Problem {
            reason: Reason::ServerSwitched,
            message: "another server answered than at the last complete run; nothing follows from who is missing until a second complete run there agrees".to_owned(),
        });
    }
    Err(Problem {
        reason: Reason::ScopeChanged,
        message: "base, filter, attributes, bind name, domains or servers are not those of the last complete run; nothing follows from who is missing until a second complete run agrees".to_owned(),
    })
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
