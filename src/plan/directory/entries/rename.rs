//! A person goes by another address than before (SPEC L8): what hangs on the person goes along, the archive stays with the address.

use std::collections::{BTreeMap, BTreeSet};

use super::{Arrival, Place, obstacle};
use crate::model::{CanonicalAddress, EntryId, Kind};
use crate::plan::addresses;
use crate::plan::directory::leavers::{by, with_side};
use crate::plan::directory::rows::Exchange;
use crate::plan::observed::{CredentialRow, DelegationRow, LinkRow, Wait, WaitAction};
use crate::plan::subject::Subject;
use crate::plan::working::{Move, Working};

/// Who goes from where to where.
type Renames = BTreeMap<EntryId, (CanonicalAddress, CanonicalAddress)>;

/// Carries out the renames among the arrivals. Those that exchange addresses in one run are held back until somebody said yes to just that.
pub(super) fn settle(w: &mut Working<'_>, place: &Place<'_>, arrivals: &mut Vec<Arrival<'_>>) {
    let renames: Renames = arrivals
        .iter()
        .filter_map(|arrival| {
            let (from, to) = (arrival.before.as_ref()?.address.clone()?, arrival.primary.canonical().clone());
            (from != to).then_some((arrival.id.clone(), (from, to)))
        })
        .collect();
    if renames.is_empty() {
        return;
    }
    let rings = rings(&renames);
    let in_rings: BTreeSet<EntryId> = rings.iter().flatten().map(|id| (*id).clone()).collect();
    // All of a ring go, or none.
    let free: BTreeSet<_> = arrivals.iter().filter(|arrival| !is_refused(w, arrival)).map(|arrival| arrival.id.clone()).collect();
    let approved: BTreeSet<_> = arrivals.iter().filter(|arrival| is_approved(arrival)).map(|arrival| arrival.id.clone()).collect();
    let goes = |ring: &Vec<&EntryId>| ring.iter().all(|id| approved.contains(*id) && free.contains(*id));
    let waiting: BTreeSet<EntryId> = rings.iter().filter(|ring| !goes(ring)).flatten().map(|id| (*id).clone()).collect();
    arrivals.retain(|arrival| {
        let waits = waiting.contains(&arrival.id);
        if waits {
            let to = arrival.primary.canonical();
            w.run.report(format!("{}: exchanges its address with that of another entry ({to}); it waits for a yes", arrival.entry.dn));
            let exchange = Exchange { to: to.clone(), approved: is_approved(arrival) };
            arrival.keep(w, place, Some(exchange));
        }
        !waits
    });
    // All leave before anybody arrives: addresses may change hands in a chain. Once in a plan: a second exchange would undo the first.
    let done: BTreeSet<_> = w.moved.iter().map(|done| done.from.clone()).collect();
    let mut going = Vec::new();
    for arrival in arrivals.iter().filter(|arrival| free.contains(&arrival.id)) {
        let Some((from, _)) = renames.get(&arrival.id).filter(|(from, _)| !done.contains(from)) else { continue };
        going.push((arrival, from, in_rings.contains(&arrival.id)));
    }
    let people: Vec<_> = going.iter().map(|(_, from, _)| take(w, from)).collect();
    for ((arrival, from, exchanged), person) in going.into_iter().zip(people) {
        give(w, place, arrival, from, person, exchanged);
    }
}

/// Whether its mailbox can't come where it wants to have it.
fn is_refused(w: &Working<'_>, arrival: &Arrival<'_>) -> bool {
    w.next.addresses.get(arrival.primary.canonical()).is_some_and(|row| obstacle(w, arrival, row).is_some())
}

fn is_approved(arrival: &Arrival<'_>) -> bool {
    arrival.exchange().is_some_and(|exchange| exchange.approved && exchange.to == *arrival.primary.canonical())
}

/// The rings of entries each of which goes to where the next one comes from.
fn rings(renames: &Renames) -> Vec<Vec<&EntryId>> {
    let holder_of: BTreeMap<_, _> = renames.iter().map(|(holder, (from, _))| (from, holder)).collect();
    let (mut seen, mut rings) = (BTreeSet::new(), Vec::new());
    for first in renames.keys() {
        let (mut path, mut next) = (Vec::new(), Some(first));
        while let Some(id) = next.filter(|id| seen.insert(*id)) {
            path.push(id);
            next = renames.get(id).and_then(|(_, to)| holder_of.get(to).copied());
        }
        // The way ends where somebody has been already: a ring, if that was on this very way.
        if let Some(begin) = next.and_then(|id| path.iter().position(|on| *on == id)) {
            rings.push(path.split_off(begin));
        }
    }
    rings
}

/// What goes along with a person, but for what the store moves itself ([`Move`]).
struct Person {
    smtp_submission: bool,
    pop: bool,
    archive_start: Option<jiff::civil::Date>,
    unlocked_at: Option<jiff::Timestamp>,
    codes_reset_at: Option<jiff::Timestamp>,
    disabled: bool,
    /// Their logon was shut for nobody declared the address any more (P6), or is about to be.
    shut: bool,
    shutting: Option<Wait>,
    /// Rights were withheld from whoever this is (Y1), and still are.
    holder_since: Option<jiff::Timestamp>,
    credential: Option<CredentialRow>,
    role: Option<(String, String)>,
    delegations: Vec<((CanonicalAddress, CanonicalAddress), DelegationRow)>,
    links: Vec<(CanonicalAddress, LinkRow)>,
}

fn take(w: &mut Working<'_>, from: &CanonicalAddress) -> Person {
    let row = w.next.addresses.shared(from);
    let pairs = w.next.delegations.naming(from);
    let aliases: Vec<_> = w.next.links.aliases_of(from).cloned().collect();
    let holder_since = row.as_ref().and_then(|row| row.directory.as_ref()?.holder_since);
    if holder_since.is_some() {
        with_side(w, from, |side| side.holder_since = None);
    }
    let row = row.as_deref();
    Person {
        smtp_submission: row.is_some_and(|row| row.smtp_submission),
        pop: row.is_some_and(|row| row.pop),
        archive_start: row.and_then(|row| row.archive_start),
        unlocked_at: row.and_then(|row| row.unlocked_at),
        codes_reset_at: row.and_then(|row| row.codes_reset_at),
        disabled: row.is_some_and(|row| row.disabled),
        shut: row.is_some_and(|row| row.shut),
        shutting: w.next.waiting.remove(&(from.clone(), WaitAction::Shut)),
        holder_since,
        credential: w.next.credentials.remove(from),
        role: w.next.members.remove(from),
        delegations: pairs.into_iter().filter_map(|pair| Some((pair.clone(), w.next.delegations.remove(&pair)?))).collect(),
        links: aliases.into_iter().filter_map(|alias| Some((alias.clone(), w.next.links.remove(&alias)?))).collect(),
    }
}

fn give(w: &mut Working<'_>, place: &Place<'_>, arrival: &Arrival<'_>, from: &CanonicalAddress, person: Person, exchanged: bool) {
    let to = arrival.primary.canonical();
    const RENAMED: &str = "AddressRenamed";
    // The new address may have been an alias so far.
    if w.next.links.remove(to).is_some() {
        w.because(Subject::Link(to.clone()), by(place.key, "BecamePrimary"));
    }
    let mut row = match w.next.addresses.get(to).cloned() {
        Some(row) => row,
        None => addresses::new_row(w, arrival.primary, &place.key.namespace, "Directory"),
    };
    row.is_alias = false;
    // After an exchange what is declared for the address is still meant for the one who left it. Otherwise what the resource declares is put
    // right in the next round of this plan, unless it is frozen (C8).
    let owner = row.owner.as_deref().filter(|_| !exchanged);
    let declared = owner.is_some();
    let frozen =
        owner.and_then(|owner| w.resource(Kind::EmailAddress, &row.namespace, owner)).is_some_and(|owner| owner.active().is_none());
    if !frozen {
        (row.smtp_submission, row.pop, row.disabled) = (person.smtp_submission, person.pop, person.disabled);
    }
    if !declared {
        row.shut = person.shut;
        row.archive_start = person.archive_start.or(row.archive_start);
    }
    (row.unlocked_at, row.codes_reset_at) = (person.unlocked_at, person.codes_reset_at);
    let is_anothers = row.entry().is_some_and(|entry| *entry != arrival.id);
    if exchanged || is_anothers {
        // The archive stays with the address, and what is older is another's.
        row.archive_start = Some(w.today());
    }
    if exchanged || person.holder_since.is_some() {
        let side = row.directory.get_or_insert_default();
        (side.entry, side.holder_since) = (Some(arrival.id.clone()), person.holder_since);
    }
    w.next.addresses.insert(to.clone(), row);
    if let Some(wait) = person.shutting.filter(|_| !declared) {
        w.next.waiting.insert((to.clone(), WaitAction::Shut), wait);
    }
    w.because(Subject::Address(to.clone()), by(place.key, RENAMED));
    w.because(Subject::Address(from.clone()), by(place.key, RENAMED));
    // A declared password stays where it is declared.
    let keeps = declared && w.next.credentials.contains_key(to);
    match person.credential {
        _ if keeps => {}
        Some(credential) => drop(w.next.credentials.insert(to.clone(), credential)),
        // What opened the address for another one opens it no more; in an exchange that went along with its person.
        None => drop(w.next.credentials.remove(to)),
    }
    w.moved.push(Move { from: from.clone(), to: to.clone(), credential: !keeps });
    if let Some(role) = person.role {
        w.next.members.insert(to.clone(), role);
        for address in [from, to] {
            w.because(Subject::Member(address.clone()), by(place.key, RENAMED));
        }
    }
    let renamed = |address: CanonicalAddress| if address == *from { to.clone() } else { address };
    for ((reader, mailbox), delegation) in person.delegations {
        w.because(Subject::Pair(reader.clone(), mailbox.clone()), by(place.key, RENAMED));
        let pair = (renamed(reader), renamed(mailbox));
        w.because(Subject::Pair(pair.0.clone(), pair.1.clone()), by(place.key, RENAMED));
        if pair.0 != pair.1 {
            w.next.delegations.insert(pair, delegation);
        }
    }
    for (alias, link) in person.links {
        if alias == *to {
            w.because(Subject::Link(alias), by(place.key, "BecamePrimary"));
            continue;
        }
        let directory = link.directory.map(renamed);
        w.next.links.insert(alias.clone(), LinkRow { primary: to.clone(), directory, ..link });
        w.because(Subject::Link(alias), by(place.key, RENAMED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renames(pairs: &[(&str, &str, &str)]) -> Renames {
        let address = CanonicalAddress::from_store;
        pairs.iter().map(|(id, from, to)| (EntryId::from_store(id), (address(from), address(to)))).collect()
    }

    #[test]
    fn l8_rings_are_found_and_ways_that_lead_into_none_are_none() {
        // a and b exchange; c goes to where d leaves; e goes to where a leaves, which b wants as well.
        let all = renames(&[("a", "1", "2"), ("b", "2", "1"), ("c", "3", "4"), ("d", "4", "5"), ("e", "6", "1")]);
        let found: Vec<Vec<_>> = rings(&all).iter().map(|ring| ring.iter().map(|id| id.as_str()).collect()).collect();
        assert_eq!(found, [["a", "b"]]);
        // Everybody moves on by one, and the last one to where the first was: one ring of all of them.
        let names: Vec<_> = (0..20_000).map(|n| format!("{n:05}")).collect();
        let moves: Vec<_> =
            (0..names.len()).map(|n| (names[n].as_str(), names[n].as_str(), names[(n + 1) % names.len()].as_str())).collect();
        assert_eq!(rings(&renames(&moves)).iter().map(Vec::len).collect::<Vec<_>>(), [20_000]);
        assert!(rings(&renames(&moves[1..])).is_empty(), "a chain is no ring");
    }
}
