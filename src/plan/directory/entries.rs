//! Entries that a run brings: their mailboxes, aliases and lists come into force (SPEC Y1 to Y4, L4, L5, L8).
//!
//! First who gets which address ([`contest`]), then who goes by another address than before ([`rename`]), then each entry's rows.

mod contest;
mod rename;
mod unproved;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Internal;
use super::leavers::{by, with_side};
use super::rows::{EntryRow, Exchange, Leaver};
use crate::model::{Account as Logon, Address, CanonicalAddress, DomainName, Entry, EntryId, EntrySort, Kind, Rank, ResourceKey};
use crate::plan::addresses;
use crate::plan::desired::{ConnectionDeclared, Declared};
use crate::plan::observed::{AddressRow, DirectorySide, EntryKey, LinkRow, WaitAction};
use crate::plan::subject::Subject;
use crate::plan::working::Working;

/// An entry on its way into the store.
struct Arrival<'a> {
    id: EntryId,
    entry: &'a Entry,
    primary: &'a Address,
    aliases: Vec<&'a Address>,
    /// What was last read of it.
    before: Option<EntryRow>,
    /// Something of it is another's: it is planned again at the next run.
    unfinished: bool,
}

impl Arrival<'_> {
    /// What was last read of it stays; it is looked at again by the next run that reads it.
    fn keep(&self, w: &mut Working<'_>, place: &Place<'_>, exchange: Option<Exchange>) {
        let blank = || EntryRow { digest: None, signs: self.entry.signs, address: None, rank: Rank::default(), exchange: None };
        let before = self.before.clone().unwrap_or_else(blank);
        w.next.entries.insert(place.entry(&self.id), EntryRow { digest: None, exchange, ..before });
    }

    /// What it has taken part in so far.
    fn exchange(&self) -> Option<&Exchange> {
        self.before.as_ref()?.exchange.as_ref()
    }

    /// As what it has an address.
    fn rank(&self, address: &CanonicalAddress) -> Rank {
        self.entry.values.iter().find(|value| value.address.canonical() == address).map_or(Rank::Mail, |value| value.rank)
    }
}

/// The connection whose entries these are.
struct Place<'a> {
    key: &'a ResourceKey,
    declared: &'a ConnectionDeclared,
    /// [`super::Found::shown`].
    shown: bool,
}

impl Place<'_> {
    fn entry(&self, id: &EntryId) -> EntryKey {
        (self.key.namespace.clone(), self.key.name.clone(), id.clone())
    }
}

pub(in crate::plan) fn settle(w: &mut Working<'_>) {
    let desired = w.desired;
    let Some((key, found)) = &desired.found else { return };
    let Some(resource) = desired.resources.get(key) else { return };
    let Some(Declared::Connection(declared)) = resource.active() else { return };
    // A plan's steps run until nothing moves; what is told is told of the last round.
    w.run = super::Account::default();
    let place = Place { key, declared, shown: found.shown };
    let mut arrivals = Vec::new();
    for (id, entry) in &found.entries {
        for fault in &entry.faults {
            w.run.report(format!("{}: {fault}", entry.dn));
        }
        let before = w.before.entries.get(&place.entry(id)).cloned();
        let internal = Internal::of(entry, |domain| serves(w, &place, domain));
        match internal.primary {
            // Nothing follows from an entry that lacks what every entry of its kind has (Y4); the run is not complete.
            _ if entry.account == Logon::Unreadable => w.run.report(format!("{}: userAccountControl can't be read", entry.dn)),
            Some(primary) => {
                arrivals.push(Arrival { id: id.clone(), entry, primary, aliases: internal.aliases, before, unfinished: false });
            }
            None if found.unproved => w.run.counts.skipped += 1,
            None => {
                match before {
                    Some(EntryRow { address: Some(address), .. }) => begin_to_miss(w, &place, &address),
                    // Another entry has it by now: of this one there is nothing to know any more.
                    Some(_) => drop(w.next.entries.remove(&place.entry(id))),
                    None => {}
                }
                w.run.counts.skipped += 1;
            }
        }
    }
    if found.unproved {
        arrivals = unproved::take(w, &place, arrivals);
    }
    let mut arrivals = contest::decide(w, &place, found, arrivals);
    rename::settle(w, &place, &mut arrivals);
    for arrival in &arrivals {
        arrive(w, &place, arrival);
    }
    take_from_others(w, &place, &arrivals);
}

/// Who had an address before that is another's now, by itself or as an alias, has it no more: when that one is missed, the address is not (Y1).
fn take_from_others(w: &mut Working<'_>, place: &Place<'_>, arrivals: &[Arrival<'_>]) {
    let mut holders: BTreeMap<CanonicalAddress, EntryKey> = BTreeMap::new();
    for arrival in arrivals {
        let key = place.entry(&arrival.id);
        let Some(primary) = w.next.entries.get(&key).and_then(|row| row.address.clone()) else { continue };
        let aliases = arrival.aliases.iter().map(|alias| alias.canonical());
        let is_linked = |alias: &&CanonicalAddress| w.next.links.get(alias).is_some_and(|link| link.directory.as_ref() == Some(&primary));
        holders.extend(aliases.filter(is_linked).map(|alias| (alias.clone(), key.clone())));
        holders.insert(primary, key);
    }
    for (key, other) in &mut w.next.entries {
        if other.address.as_ref().and_then(|address| holders.get(address)).is_some_and(|holder| holder != key) {
            (other.address, other.digest) = (None, None);
        }
    }
}

/// Whether addresses of a domain are this connection's to bring.
fn serves(w: &Working<'_>, place: &Place<'_>, domain: &DomainName) -> bool {
    let ours = w.next.domains.get(domain).is_some_and(|row| row.namespace == place.key.namespace);
    ours && place.declared.serves(domain)
}

/// An entry came without an address that it had: from here on it is missed (Y6). How often is counted by complete runs; a change that the
/// server shows counts as all of them (Y7), for no later increment would tell of the entry again.
fn begin_to_miss(w: &mut Working<'_>, place: &Place<'_>, address: &CanonicalAddress) {
    let since = w.now;
    let is_ours = w.next.addresses.get(address).is_some_and(|row| row.connection().is_some());
    if is_ours {
        let missed = if place.shown { place.declared.leavers.missed_runs } else { 0 };
        let new = Leaver { since, missed, held: false, approved: false, cleared_at: None };
        let leaver = w.next.leavers.entry(address.clone()).or_insert(new);
        leaver.missed = leaver.missed.max(missed);
    }
}

/// Brings the rows of an entry into the state that it says.
fn arrive(w: &mut Working<'_>, place: &Place<'_>, arrival: &Arrival<'_>) {
    let primary = arrival.primary.canonical();
    let held = hold(w, place, arrival);
    let came = w.next.addresses.get(primary).is_some_and(|row| row.entry() == Some(&arrival.id));
    if !came && arrival.before.as_ref().is_some_and(|before| before.address.is_some()) {
        return arrival.keep(w, place, None);
    }
    let unfinished = arrival.unfinished || !held;
    let mut unlinked = false;
    if place.declared.link_aliases {
        for alias in &arrival.aliases {
            unlinked |= !link(w, place, alias, primary);
        }
        miss_dropped(w, place, arrival);
    }
    // Its last address is nobody's now, unless it became its alias or another entry's.
    if let Some(last) = arrival.before.as_ref().and_then(|row| row.address.as_ref()).filter(|last| *last != primary)
        && w.next.addresses.get(last).is_some_and(|row| !row.is_alias && row.entry() == Some(&arrival.id))
    {
        begin_to_miss(w, place, last);
    }
    let row = EntryRow {
        digest: (!unfinished && !unlinked).then_some(arrival.entry.digest),
        signs: arrival.entry.signs,
        address: w.next.addresses.get(primary).filter(|row| row.entry() == Some(&arrival.id)).map(|_| primary.clone()),
        rank: arrival.rank(primary),
        exchange: None,
    };
    w.next.entries.insert(place.entry(&arrival.id), row);
    w.run.settled.push(primary.clone());
}

/// The mailbox or list itself. False: it could not be brought into force.
fn hold(w: &mut Working<'_>, place: &Place<'_>, arrival: &Arrival<'_>) -> bool {
    let address = arrival.primary.canonical();
    let origin = if arrival.entry.sort == EntrySort::List { "DistributionList" } else { "Directory" };
    let old = w.next.addresses.shared(address);
    if let Some(old) = &old
        && let Some(obstacle) = obstacle(w, arrival, old)
    {
        claim(w, place, arrival);
        w.run.report(format!("{}: {obstacle}", arrival.entry.dn));
        return false;
    }
    // An alias that becomes a primary loses its old link (L5).
    if w.next.links.get(address).is_some() {
        w.next.links.remove(address);
        w.because(Subject::Link(address.clone()), by(place.key, "BecamePrimary"));
    }
    let namespace = &place.key.namespace;
    let mut row = old.clone().unwrap_or_else(|| Arc::new(addresses::new_row(w, arrival.primary, namespace, origin)));
    let mut side = row.directory.as_deref().cloned().unwrap_or_default();
    if side.entry.as_ref().is_some_and(|holder| *holder != arrival.id) && origin == "Directory" {
        side.holder_since = Some(w.now);
    }
    side.connection = Some(place.key.name.clone());
    side.entry = Some(arrival.id.clone());
    side.directory_missing = false;
    side.directory_disabled = place.declared.acknowledge_disabled && arrival.entry.account == Logon::Disabled;
    side.global_name = arrival.entry.display_name.clone().unwrap_or_default();
    if row.is_alias || row.origin != origin || row.directory.as_deref() != Some(&side) {
        let row = Arc::make_mut(&mut row);
        row.is_alias = false;
        origin.clone_into(&mut row.origin);
        row.directory = Some(Box::new(side));
    }
    set_attributes(w, arrival, &mut row);
    if old.as_ref() != Some(&row) {
        let reason = if old.is_none() { "DirectoryFound" } else { "DirectoryChanged" };
        w.next.addresses.share(address.clone(), row);
        w.because(Subject::Address(address.clone()), by(place.key, reason));
    }
    w.next.leavers.remove(address);
    true
}

/// A mailbox that comes where a link is declared: the link, unless it may take over mailboxes, is refused from now on and ends (L4); what is
/// the entry's then is known by its row.
fn claim(w: &mut Working<'_>, place: &Place<'_>, arrival: &Arrival<'_>) {
    let address = arrival.primary.canonical();
    let Some(owner) = w.next.links.get(address).and_then(|link| link.owner.clone()) else { return };
    let link = w.resource(Kind::AliasLink, &place.key.namespace, &owner).and_then(|resource| resource.active());
    let Some(Declared::Link(declared)) = link else { return };
    if declared.take_over {
        return;
    }
    if let Some(row) = w.next.addresses.get_mut(address) {
        "Directory".clone_into(&mut row.origin);
        let side = row.directory.get_or_insert_default();
        side.connection = Some(place.key.name.clone());
        side.entry = Some(arrival.id.clone());
        side.directory_missing = false;
    }
    w.next.leavers.remove(address);
    w.because(Subject::Address(address.clone()), by(place.key, "DirectoryFound"));
}

/// Shuts what an entry holds when it says that its account is disabled: that waits for nothing (Y4, Y7).
fn disable(w: &mut Working<'_>, place: &Place<'_>, arrival: &Arrival<'_>, address: &CanonicalAddress) {
    if !place.declared.acknowledge_disabled || arrival.entry.account != Logon::Disabled {
        return;
    }
    let row = w.next.addresses.get(address);
    if row.is_some_and(|row| row.entry() == Some(&arrival.id) && !row.directory.as_ref().is_some_and(|side| side.directory_disabled)) {
        with_side(w, address, |side| side.directory_disabled = true);
        w.because(Subject::Address(address.clone()), by(place.key, "DirectoryChanged"));
    }
    w.run.settled.push(address.clone());
}

/// What keeps an entry from having its mailbox at an address that is there.
fn obstacle(w: &Working<'_>, arrival: &Arrival<'_>, row: &AddressRow) -> Option<String> {
    let address = arrival.primary.canonical();
    if let Some(link) = w.next.links.get(address)
        && let Some(owner) = &link.owner
    {
        return Some(format!("{address} is declared as an alias of {} by AliasLink {owner}", link.primary));
    }
    let becomes_list = arrival.entry.sort == EntrySort::List && row.origin != "DistributionList";
    (becomes_list && is_used(w, address)).then(|| format!("{address} is a mailbox with a credential, a role or a delegation: no list"))
}

/// Whether something hangs on a mailbox that an alias or a list can't have (L2).
fn is_used(w: &Working<'_>, address: &CanonicalAddress) -> bool {
    w.next.credentials.contains_key(address) || w.next.members.contains_key(address) || !w.next.delegations.naming(address).is_empty()
}

/// The extra attributes, but for those that a resource declares (Y12).
fn set_attributes(w: &Working<'_>, arrival: &Arrival<'_>, row: &mut Arc<AddressRow>) {
    let owner = row.owner.as_deref().and_then(|owner| w.resource(Kind::EmailAddress, &row.namespace, owner));
    let declared = owner.and_then(Working::address_declared).map(|declared| &declared.attributes);
    for (name, value) in &arrival.entry.attributes {
        if declared.is_none_or(|declared| !declared.contains_key(name)) && row.attributes.get(name) != Some(value) {
            Arc::make_mut(row).attributes.insert(name.clone(), value.clone());
        }
    }
}

/// An alias of the entry. False: it is something else that must not become one.
fn link(w: &mut Working<'_>, place: &Place<'_>, alias: &Address, primary: &CanonicalAddress) -> bool {
    let address = alias.canonical();
    if w.next.addresses.get(primary).is_none_or(|row| row.is_alias) || address == primary {
        return false;
    }
    let old = w.next.links.get(address).cloned();
    if let Some(declared) = old.as_ref().filter(|link| link.owner.is_some()) {
        // L4: the declared link beats it, and tells of it.
        if declared.directory.as_ref() != Some(primary) {
            w.next.links.insert(address.clone(), LinkRow { directory: Some(primary.clone()), ..declared.clone() });
            w.because(Subject::Link(address.clone()), by(place.key, "DirectoryNames"));
        }
        w.next.leavers.remove(address);
        return true;
    }
    if old.is_none() && (w.next.links.aliases_of(address).next().is_some() || is_mailbox_of_its_own(w, address, primary)) {
        w.run.report(format!(
            "{address} can't be an alias of {primary}: it is a mailbox with a credential, a role, a delegation or aliases of its own"
        ));
        return false;
    }
    let made_row = !w.next.addresses.contains_key(address);
    if made_row {
        let row = addresses::new_row(w, alias, &place.key.namespace, "Directory");
        w.next.addresses.insert(address.clone(), row);
    }
    // A resource's link that was about to end goes on as the directory's.
    w.unwait(address, WaitAction::Unlink);
    let made_row = old.as_ref().map_or(made_row, |old| old.made_row);
    let new = LinkRow {
        primary: primary.clone(),
        namespace: place.key.namespace.clone(),
        owner: None,
        origin: "Directory".to_owned(),
        made_row,
        directory: Some(primary.clone()),
    };
    let side = |row: &AddressRow| row.is_alias && row.connection() == Some(&place.key.name);
    if old.as_ref() != Some(&new) || !w.next.addresses.get(address).is_some_and(side) {
        let person = w.next.addresses.get(primary).and_then(AddressRow::entry).cloned();
        let today = w.today();
        if let Some(row) = w.next.addresses.get_mut(address) {
            // What was another's mailbox is archived for its new primary from today on (Y1).
            if !row.is_alias && row.entry().is_some() && row.entry() != person.as_ref() {
                row.archive_start = Some(today);
            }
            row.is_alias = true;
            "Directory".clone_into(&mut row.origin);
            let side: &mut DirectorySide = row.directory.get_or_insert_default();
            side.connection = Some(place.key.name.clone());
            (side.directory_disabled, side.directory_missing) = (false, false);
        }
        w.because(Subject::Address(address.clone()), by(place.key, "DirectoryLinked"));
    }
    if old.as_ref() != Some(&new) {
        let relinked = old.is_some_and(|old| old.primary != *primary);
        w.next.links.insert(address.clone(), new);
        w.because(Subject::Link(address.clone()), by(place.key, if relinked { "Relinked" } else { "DirectoryLinked" }));
    }
    w.next.leavers.remove(address);
    true
}

/// L2: an address that lives by itself becomes no alias without somebody's word.
fn is_mailbox_of_its_own(w: &Working<'_>, address: &CanonicalAddress, primary: &CanonicalAddress) -> bool {
    // What was this very person's mailbox becomes an alias whoever declares it (L8).
    let same = w.next.addresses.get(address).and_then(AddressRow::entry) == w.next.addresses.get(primary).and_then(AddressRow::entry);
    let declared = w.next.addresses.get(address).is_some_and(|row| row.owner.is_some() && !row.is_alias) && !same;
    let holder = |row: &&AddressRow| !row.is_alias && row.entry().is_some();
    let entry = w.next.addresses.get(address).filter(holder).and_then(AddressRow::entry);
    let held = entry.is_some() && entry != w.next.addresses.get(primary).and_then(AddressRow::entry) && w.is_carried(address);
    declared || held || is_used(w, address)
}

/// Aliases that the entry had and came without (Y6): they wait. What another entry has by now was relinked.
fn miss_dropped(w: &mut Working<'_>, place: &Place<'_>, arrival: &Arrival<'_>) {
    let primary = arrival.primary.canonical();
    let dropped: Vec<_> = w
        .next
        .links
        .aliases_of(primary)
        .filter(|alias| !arrival.aliases.iter().any(|has| has.canonical() == *alias))
        .filter(|alias| w.next.links.get(alias).is_some_and(|link| link.directory.as_ref() == Some(primary)))
        .cloned()
        .collect();
    for alias in dropped {
        begin_to_miss(w, place, &alias);
    }
}
