//! A person goes by another address than before (SPEC L8): what hangs on the person goes along, the archive stays with the address.

use std::collections::BTreeMap;

use super::{Arrival, Place};
use crate::model::{CanonicalAddress, EntryId, Rank};
use crate::plan::addresses;
use crate::plan::directory::leavers::by;
use crate::plan::directory::rows::{EntryRow, Exchange};
use crate::plan::observed::LinkRow;
use crate::plan::subject::Subject;
use crate::plan::working::Working;

/// Carries out the renames among the arrivals. Those that exchange addresses in one run are held back until somebody said yes.
pub(super) fn settle(w: &mut Working<'_>, place: &Place<'_>, arrivals: &mut Vec<Arrival<'_>>) {
    let renames: BTreeMap<EntryId, (CanonicalAddress, CanonicalAddress)> = arrivals
        .iter()
        .filter_map(|arrival| {
            let (from, to) = (arrival.before.as_ref()?.address.clone()?, arrival.primary.canonical().clone());
            (from != to).then_some((arrival.id.clone(), (from, to)))
        })
        .collect();
    if renames.is_empty() {
        return;
    }
    let held: Vec<_> = arrivals.iter().filter(|arrival| in_cycle(&renames, &arrival.id)).map(|arrival| arrival.id.clone()).collect();
    arrivals.retain(|arrival| {
        let waits = held.contains(&arrival.id) && arrival.before.as_ref().and_then(|row| row.exchange) != Some(Exchange::Approved);
        if waits {
            let to = arrival.primary.canonical();
            w.run.report(format!("{}: exchanges its address with that of another entry ({to}); it waits for a yes", arrival.entry.dn));
            let row = EntryRow { digest: None, exchange: Some(Exchange::Held), ..arrival.before.clone().unwrap_or_else(blank) };
            w.next.entries.insert(place.entry(&arrival.id), row);
        }
        !waits
    });
    // All leave before anybody arrives: addresses may change hands in a chain. Once in a plan: a second exchange would undo the first.
    let going: Vec<_> = arrivals.iter().filter_map(|arrival| Some((arrival.id.clone(), renames.get(&arrival.id)?.clone()))).collect();
    let going: Vec<_> = going.into_iter().filter(|(_, pair)| !w.moved.contains(pair)).collect();
    let bundles: Vec<_> = going.iter().map(|(_, (from, _))| take(w, from)).collect();
    for ((id, (from, _)), bundle) in going.iter().zip(bundles) {
        let exchanged = held.contains(id);
        let Some(arrival) = arrivals.iter().find(|arrival| arrival.id == *id) else { continue };
        give(w, place, arrival, from, bundle, exchanged);
    }
}

fn blank() -> EntryRow {
    EntryRow { digest: None, signs: crate::model::Signs::default(), address: None, rank: Rank::default(), exchange: None }
}

/// Whether each of a ring of entries goes to where the next one comes from.
fn in_cycle(renames: &BTreeMap<EntryId, (CanonicalAddress, CanonicalAddress)>, id: &EntryId) -> bool {
    let holder_of: BTreeMap<_, _> = renames.iter().map(|(holder, (from, _))| (from, holder)).collect();
    let mut next = renames.get(id).and_then(|(_, to)| holder_of.get(to));
    for _ in 0..renames.len() {
        match next {
            None => return false,
            Some(holder) if *holder == id => return true,
            Some(holder) => next = renames.get(*holder).and_then(|(_, to)| holder_of.get(to)),
        }
    }
    false
}

/// What goes along with a person, but for what the store moves itself.
struct Bundle {
    smtp_submission: bool,
    pop: bool,
    archive_start: Option<jiff::civil::Date>,
    unlocked_at: Option<jiff::Timestamp>,
    codes_reset_at: Option<jiff::Timestamp>,
    disabled: bool,
    role: Option<(String, String)>,
    delegations: Vec<((CanonicalAddress, CanonicalAddress), crate::plan::observed::DelegationRow)>,
    links: Vec<(CanonicalAddress, LinkRow)>,
}

fn take(w: &mut Working<'_>, from: &CanonicalAddress) -> Bundle {
    let row = w.next.addresses.shared(from);
    let pairs = w.next.delegations.naming(from);
    let aliases: Vec<_> = w.next.links.aliases_of(from).cloned().collect();
    Bundle {
        smtp_submission: row.as_ref().is_some_and(|row| row.smtp_submission),
        pop: row.as_ref().is_some_and(|row| row.pop),
        archive_start: row.as_ref().and_then(|row| row.archive_start),
        unlocked_at: row.as_ref().and_then(|row| row.unlocked_at),
        codes_reset_at: row.as_ref().and_then(|row| row.codes_reset_at),
        disabled: row.as_ref().is_some_and(|row| row.disabled),
        role: w.next.members.remove(from),
        delegations: pairs.into_iter().filter_map(|pair| Some((pair.clone(), w.next.delegations.remove(&pair)?))).collect(),
        links: aliases.into_iter().filter_map(|alias| Some((alias.clone(), w.next.links.remove(&alias)?))).collect(),
    }
}

fn give(w: &mut Working<'_>, place: &Place<'_>, arrival: &Arrival<'_>, from: &CanonicalAddress, bundle: Bundle, exchanged: bool) {
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
    // After an exchange what is declared for the address is still meant for the one who left it.
    let declared = row.owner.is_some() && !exchanged;
    if !declared {
        (row.smtp_submission, row.pop, row.disabled) = (bundle.smtp_submission, bundle.pop, bundle.disabled);
        row.archive_start = bundle.archive_start.or(row.archive_start);
    }
    (row.unlocked_at, row.codes_reset_at) = (bundle.unlocked_at, bundle.codes_reset_at);
    if exchanged {
        // Somebody said yes to the exchange; the archive stays with the address, and what is older is another's.
        row.archive_start = Some(w.now.to_zoned(jiff::tz::TimeZone::UTC).date());
        row.directory.get_or_insert_default().entry = Some(arrival.id.clone());
    }
    w.next.addresses.insert(to.clone(), row);
    w.because(Subject::Address(to.clone()), by(place.key, RENAMED));
    w.because(Subject::Address(from.clone()), by(place.key, RENAMED));
    if let Some(credential) = w.next.credentials.get(from).cloned()
        && !(declared && w.next.credentials.contains_key(to))
    {
        w.next.credentials.remove(from);
        w.next.credentials.insert(to.clone(), credential);
    }
    w.moved.push((from.clone(), to.clone()));
    if let Some(role) = bundle.role {
        w.next.members.insert(to.clone(), role);
        for address in [from, to] {
            w.because(Subject::Member(address.clone()), by(place.key, RENAMED));
        }
    }
    let renamed = |address: CanonicalAddress| if address == *from { to.clone() } else { address };
    for ((reader, mailbox), delegation) in bundle.delegations {
        w.because(Subject::Pair(reader.clone(), mailbox.clone()), by(place.key, RENAMED));
        let pair = (renamed(reader), renamed(mailbox));
        w.because(Subject::Pair(pair.0.clone(), pair.1.clone()), by(place.key, RENAMED));
        if pair.0 != pair.1 {
            w.next.delegations.insert(pair, delegation);
        }
    }
    for (alias, link) in bundle.links {
        if alias == *to {
            w.because(Subject::Link(alias), by(place.key, "BecamePrimary"));
            continue;
        }
        let directory = link.directory.map(renamed);
        w.next.links.insert(alias.clone(), LinkRow { primary: to.clone(), directory, ..link });
        w.because(Subject::Link(alias), by(place.key, RENAMED));
    }
}
