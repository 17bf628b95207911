//! Of two entries with one address only one gets it (SPEC Y3): the one that has it as its primary, then as a proxy address, then the one
//! that holds it, then the lowest id. The same outcome in whatever order entries are read: one that wants what an entry out of view has
//! waits for the end of the run. What an entry out of view has to give up is taken from it here.

use std::collections::{BTreeMap, BTreeSet};

use super::{Arrival, Place, disable, is_used};
use crate::model::{CanonicalAddress, EntryId, Kind, Rank, ResourceKey};
use crate::plan::directory::Found;
use crate::plan::working::Working;

/// Better is less: as what it has it, whether it does not hold it, its id.
type Claim = (Rank, bool, EntryId);

/// Who carries an address now.
#[derive(PartialEq, Eq)]
enum Carrier {
    Nobody,
    Entry(EntryId),
    /// Another connection, which keeps it (Y8).
    Connection(String),
}

/// Takes from each arrival what is another's. Those that have to wait are noted as deferred and are not among the outcome.
pub(super) fn decide<'a>(w: &mut Working<'_>, place: &Place<'_>, found: &Found, arrivals: Vec<Arrival<'a>>) -> Vec<Arrival<'a>> {
    let mut claims: BTreeMap<CanonicalAddress, Vec<Claim>> = BTreeMap::new();
    let here: BTreeSet<_> = arrivals.iter().map(|arrival| arrival.id.clone()).collect();
    for arrival in &arrivals {
        let carried = |address: &CanonicalAddress| carrier(w, place, address) == Carrier::Entry(arrival.id.clone());
        for address in names(arrival).filter(|address| may_want(w, place, arrival, address)) {
            claims.entry(address.clone()).or_default().push((arrival.rank(address), !carried(address), arrival.id.clone()));
        }
    }
    for wanted in claims.values_mut() {
        wanted.sort();
    }
    let (mut kept, today) = (Vec::new(), w.today());
    for mut arrival in arrivals {
        let waits = !found.last && names(&arrival).any(|address| is_out_of_view(w, place, &here, &arrival.id, address));
        if waits {
            w.run.deferred.push(arrival.id);
            continue;
        }
        let best = |address: &CanonicalAddress| claims.get(address).and_then(|wanted| wanted.first());
        let mut lost = BTreeMap::new();
        for address in names(&arrival) {
            let mine = claims.get(address).and_then(|wanted| wanted.iter().find(|claim| claim.2 == arrival.id));
            match carrier(w, place, address) {
                Carrier::Connection(other) => drop(lost.insert(address.clone(), format!("DirectoryConnection {other}"))),
                // One that did not come with this plan has it as what the store says.
                Carrier::Entry(holder) if holder != arrival.id && !here.contains(&holder) => {
                    let mailbox = w.before.entries.get(&place.entry(&holder)).filter(|entry| entry.address.as_ref() == Some(address));
                    let theirs = mailbox.map_or(Rank::Proxy, |entry| entry.rank);
                    let as_mailbox = arrival.primary.canonical() == address;
                    if mine.is_some_and(|claim| claim.0 < theirs) {
                        // It wants the address at each run from now on.
                        let what = if mailbox.is_some() { "which has it by mail alone" } else { "whose alias it was" };
                        w.run.report(format!("{}: takes {address} from entry {holder}, {what}", arrival.entry.dn));
                        if let Some(entry) = w.next.entries.get_mut(&place.entry(&holder)) {
                            entry.digest = None;
                            entry.address.take_if(|theirs| theirs == address && !as_mailbox);
                        }
                        if !as_mailbox && let Some(row) = w.next.addresses.get_mut(address) {
                            row.archive_start = Some(today);
                            row.directory.get_or_insert_default().entry = None;
                        }
                    } else {
                        lost.insert(address.clone(), format!("entry {holder}"));
                    }
                }
                _ => {
                    if mine.is_none() {
                        lost.insert(address.clone(), "another mailbox".to_owned());
                    } else if let Some(claim) = best(address).filter(|claim| claim.2 != arrival.id) {
                        lost.insert(address.clone(), format!("entry {}", claim.2));
                    }
                }
            }
        }
        for (address, holder) in &lost {
            w.run.report(format!("{}: {address} is {holder}'s", arrival.entry.dn));
        }
        arrival.unfinished |= !lost.is_empty();
        arrival.aliases.retain(|alias| !lost.contains_key(alias.canonical()));
        if lost.contains_key(arrival.primary.canonical()) {
            // What it has stays, but for what shuts it at once (Y4); it is looked at again at each run, and as soon as another connection
            // misses somebody (Y8).
            if let Some(address) = arrival.before.as_ref().and_then(|before| before.address.clone()) {
                disable(w, place, &arrival, &address);
            }
            arrival.keep(w, place, arrival.exchange().cloned());
        } else {
            kept.push(arrival);
        }
    }
    kept
}

fn names<'a>(arrival: &'a Arrival<'_>) -> impl Iterator<Item = &'a CanonicalAddress> {
    std::iter::once(arrival.primary).chain(arrival.aliases.iter().copied()).map(crate::model::Address::canonical)
}

/// A mailbox of another entry that is in use, or has aliases, becomes nobody's alias by a directory's word (L1, L2).
fn may_want(w: &Working<'_>, place: &Place<'_>, arrival: &Arrival<'_>, address: &CanonicalAddress) -> bool {
    if arrival.primary.canonical() == address || w.before.links.get(address).is_some() {
        return true;
    }
    let theirs = matches!(carrier(w, place, address), Carrier::Entry(holder) if holder != arrival.id);
    !theirs || (!is_used(w, address) && w.next.links.aliases_of(address).next().is_none())
}

/// Whether another entry of this connection, not read in this plan, carries the address: it may yet come without it.
fn is_out_of_view(w: &Working<'_>, place: &Place<'_>, here: &BTreeSet<EntryId>, id: &EntryId, address: &CanonicalAddress) -> bool {
    matches!(carrier(w, place, address), Carrier::Entry(holder) if holder != *id && !here.contains(&holder))
}

fn carrier(w: &Working<'_>, place: &Place<'_>, address: &CanonicalAddress) -> Carrier {
    // What the store says, not what this plan made of it: the outcome must not hang on the order of the entries.
    let Some(row) = w.before.addresses.get(address).filter(|_| !w.before.leavers.contains_key(address)) else {
        return Carrier::Nobody;
    };
    let Some(connection) = row.connection() else { return Carrier::Nobody };
    let lives = w.desired.resources.contains_key(&ResourceKey::new(Kind::DirectoryConnection, &row.namespace, connection));
    if connection != place.key.name && lives {
        // An alias goes along with the mailbox whose it is: one that its connection lacks, or another one has by now (Y8).
        let primary = w.before.links.get(address).and_then(|link| link.directory.as_ref());
        let elsewhere = |primary| w.before.addresses.get(primary).is_some_and(|row| row.connection() != Some(connection));
        let goes = primary.is_some_and(|primary| w.before.leavers.contains_key(primary) || elsewhere(primary));
        return if goes { Carrier::Nobody } else { Carrier::Connection(connection.to_owned()) };
    }
    let mailbox = match w.before.links.get(address) {
        Some(link) => link.directory.as_ref().and_then(|primary| w.before.addresses.get(primary)),
        None => Some(row),
    };
    match mailbox.and_then(|row| row.entry()) {
        Some(entry) => Carrier::Entry(entry.clone()),
        None => Carrier::Nobody,
    }
}
