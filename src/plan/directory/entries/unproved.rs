//! Entries of a server that no complete run agrees with yet (SPEC Y11): it may be behind, restored, or another directory. What only adds is
//! taken from it, for mail must not be refused, and whoever it says is disabled; all else waits for a run that agrees.

use super::{Arrival, Place, disable, link};
use crate::model::Address;
use crate::plan::working::Working;

/// Takes what may be taken of entries that hold an address, or want one that is there. Those that are altogether new are left.
pub(super) fn take<'a>(w: &mut Working<'_>, place: &Place<'_>, arrivals: Vec<Arrival<'a>>) -> Vec<Arrival<'a>> {
    let mut new = Vec::new();
    for mut arrival in arrivals {
        let is_free = |address: &&Address| !w.before.addresses.contains_key(address.canonical());
        let holds = arrival.before.as_ref().and_then(|row| row.address.clone());
        let free: Vec<_> = std::iter::once(arrival.primary).chain(arrival.aliases.iter().copied()).filter(is_free).collect();
        // It is looked at again by the run that agrees.
        arrival.unfinished = true;
        match holds {
            Some(address) => {
                disable(w, place, &arrival, &address);
                for alias in free.into_iter().filter(|_| place.declared.link_aliases) {
                    link(w, place, alias, &address);
                }
                arrival.keep(w, place, arrival.exchange().cloned());
            }
            None if is_free(&arrival.primary) => {
                arrival.aliases.retain(is_free);
                new.push(arrival);
            }
            None => arrival.keep(w, place, arrival.exchange().cloned()),
        }
    }
    new
}
