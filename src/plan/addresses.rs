//! Addresses: who holds one, what is managed, and what its resource says (SPEC A1 to A8, P5, P6, U1 to U3, U8).

use std::sync::Arc;

use super::desired::{Action, AddressDeclared, Resource, Violation};
use super::directory::{moved_to, person_now};
use super::guard;
use super::observed::{AddressRow, WaitAction};
use super::passwords;
use super::reason::Reason;
use super::relation::LISTED;
use super::subject::Subject;
use super::verdict::{AddressDetail, Condition, Detail, Finding, PurgeDetail, Verdict};
use super::working::{Owner, Working};
use crate::model::{Address, CanonicalAddress, Kind};

pub(super) fn settle(w: &mut Working<'_>) {
    let mut subjects = w.claimed(|s| if let Subject::Address(a) = s { Some(a.clone()) } else { None });
    subjects.extend(w.next.addresses.keys().cloned());
    subjects.sort_unstable();
    subjects.dedup();
    for address in subjects {
        settle_one(w, &address);
    }
}

fn settle_one(w: &mut Working<'_>, address: &CanonicalAddress) {
    let subject = Subject::Address(address.clone());
    // A4: only resources of the domain's namespace can hold an address in it.
    let Some(domain) = w.next.domains.get(address.domain_text()) else {
        return;
    };
    let namespace = domain.namespace.clone();
    let candidates: Vec<_> = w.claimants(&subject).iter().copied().filter(|r| r.key.namespace == namespace).collect();
    let row = w.next.addresses.get(address);
    let owner = w.owner(Kind::EmailAddress, &namespace, row.and_then(|row| row.owner.as_deref()), &subject);
    let holder = match &owner {
        Owner::Living(resource) => Some(*resource),
        // Nobody's row is taken over only by who may (adoptionPolicy); one whose owner goes passes to the next in line (A8).
        // Its last owner takes it back whatever it says of others' rows.
        Owner::Nobody if row.is_some() => candidates.iter().copied().find(|r| {
            Working::address_declared(r).is_some_and(|d| d.adopt)
                || row.and_then(|row| row.last_owner.as_deref()) == Some(r.key.name.as_str())
        }),
        Owner::Nobody | Owner::Ended { .. } | Owner::OutOfSight => candidates.first().copied(),
    };
    match holder {
        Some(holder) => {
            if let (Some(_), Some(declared)) = (holder.active(), Working::address_declared(holder)) {
                manage(w, holder, declared, &namespace);
                act(w, holder, address);
            }
        }
        None => match owner {
            Owner::Ended { resource, sheltered } => leave(w, address, resource, sheltered),
            // Whoever asked for the purge can't take it back any more: `release`, or a finalizer torn off (U1, U6).
            Owner::OutOfSight => keep(w, address),
            Owner::Nobody | Owner::Living(_) => {}
        },
    }
}

/// Brings a row into the state that its holder declares; fields that the holder does not name keep their value.
fn manage(w: &mut Working<'_>, holder: &Resource, declared: &AddressDeclared, namespace: &str) {
    let address = declared.address.canonical();
    let old = w.next.addresses.shared(address);
    let mut row = old.clone().unwrap_or_else(|| Arc::new(new_row(w, &declared.address, namespace, "Manual")));
    let owner = Some(holder.key.name.as_str());
    // Most rows stand as they are: what equals is not touched, and what is not touched is not copied.
    macro_rules! set {
        ($($field:ident = $value:expr;)*) => { $(if row.$field != $value { Arc::make_mut(&mut row).$field = $value.into(); })* };
    }
    if row.owner.as_deref() != owner || row.last_owner.as_deref() != owner {
        let row = Arc::make_mut(&mut row);
        row.owner = owner.map(str::to_owned);
        row.last_owner.clone_from(&row.owner);
    }
    if row.keys != declared.address.keys() {
        Arc::make_mut(&mut row).keys = declared.address.keys().to_vec();
    }
    set! {
        display = declared.address.declared();
        shut = false;
        closing = false;
    }
    // What lets a person in is not for another one who goes by the address now (L8).
    if !is_anothers(w, holder, address) {
        set! {
            disabled = declared.disabled.unwrap_or(row.disabled);
            smtp_submission = declared.smtp_submission.unwrap_or(row.smtp_submission);
            pop = declared.pop.unwrap_or(row.pop);
            archive_start = declared.archive_start.or(row.archive_start);
        }
    }
    if let Some(name) = &declared.display_name {
        set! { display_name = name.as_str(); }
    }
    for (name, value) in &declared.attributes {
        if row.attributes.get(name) != Some(value) {
            Arc::make_mut(&mut row).attributes.insert(name.clone(), value.clone());
        }
    }
    w.unwait(address, WaitAction::Shut);
    w.unwait(address, WaitAction::Purge);
    if old.as_ref() != Some(&row) {
        let drift =
            holder.was_in_force() && w.before.addresses.get(address).is_some_and(|b| b.owner == row.owner && Some(b) == old.as_deref());
        if drift {
            w.note(&holder.key, Reason::DriftCorrected, true, "a declared value had been changed in the store; it was put right");
        }
        w.next.addresses.share(address.clone(), row);
        w.by(Subject::Address(address.clone()), holder, if drift { "DriftCorrected" } else { "Declared" });
    }
}

/// Whether the person that an EmailAddress was made for goes by another address now, and somebody else by this one.
fn is_anothers(w: &Working<'_>, holder: &Resource, address: &CanonicalAddress) -> bool {
    moved_to(&w.next, address).is_none() && person_now(&w.next, holder, address).is_some()
}

/// A row as it begins. After a purge the archive starts that day (U8).
pub(super) fn new_row(w: &Working<'_>, address: &Address, namespace: &str, origin: &str) -> AddressRow {
    let tombstone = w.next.tombstones.get(address.canonical());
    AddressRow {
        display: address.declared().to_owned(),
        keys: address.keys().to_vec(),
        namespace: namespace.to_owned(),
        is_alias: false,
        origin: origin.to_owned(),
        owner: None,
        last_owner: None,
        display_name: String::new(),
        attributes: std::collections::BTreeMap::new(),
        disabled: false,
        shut: false,
        closing: false,
        archive_start: tombstone.map(|time| time.to_zoned(jiff::tz::TimeZone::UTC).date()),
        smtp_submission: false,
        pop: false,
        unlocked_at: None,
        codes_reset_at: None,
        directory: None,
        created_at: w.now,
        version: None,
    }
}

/// The annotations unlockAt and resetCodesAt (C6).
fn act(w: &mut Working<'_>, holder: &Resource, address: &CanonicalAddress) {
    for action in [Action::UnlockAt, Action::ResetCodesAt] {
        if w.take_token(holder, action).is_none() {
            continue;
        }
        let now = w.now;
        if let Some(row) = w.next.addresses.get_mut(address) {
            if action == Action::UnlockAt { row.unlocked_at = Some(now) } else { row.codes_reset_at = Some(now) }
        }
        w.by(Subject::Address(address.clone()), holder, if action == Action::UnlockAt { "Unlocked" } else { "CodesReset" });
    }
}

/// Calls off a purge.
fn keep(w: &mut Working<'_>, address: &CanonicalAddress) {
    w.unwait(address, WaitAction::Purge);
    if let Some(row) = w.next.addresses.get_mut(address).filter(|row| row.closing) {
        row.closing = false;
        w.by_rule(Subject::Address(address.clone()), "PurgeCalledOff");
    }
}

/// The owner has gone and nobody is in line: Retain or Purge (U1 to U4).
fn leave(w: &mut Working<'_>, address: &CanonicalAddress, resource: Option<&Resource>, sheltered: bool) {
    let purge = !sheltered
        && resource.is_some_and(|r| {
            r.deleting && r.finalizer && !r.frozen() && Working::address_declared(r).is_some_and(|declared| declared.purge)
        });
    if purge {
        return w.wait(address, WaitAction::Purge);
    }
    w.unwait(address, WaitAction::Purge);
    if let Some(row) = w.next.addresses.get_mut(address) {
        row.owner = None;
        row.closing = false;
        if !sheltered && !row.shut {
            w.wait(address, WaitAction::Shut);
        }
    }
    w.by_rule(Subject::Address(address.clone()), "Undeclared");
}

const CONDITIONS: [&str; 8] =
    ["Locked", "ResetLocked", "Disabled", "PurgeBlocked", "CredentialReady", "PermissionsInherited", "HolderChanged", "MailAccepted"];

/// C2: a resource with no row of its own shows all of them False with Ready's reason.
pub(super) fn absent_conditions(ready: &Finding) -> Vec<Condition> {
    CONDITIONS.map(|kind| Condition::new(kind, false, ready.reason, ready.message.clone())).into()
}

/// Why an address is not held by this resource.
fn refusal(w: &Working<'_>, resource: &Resource, declared: &AddressDeclared) -> Violation {
    let address = declared.address.canonical();
    let domain = address.domain();
    match w.next.domains.get(&domain) {
        None => {
            Violation::new(Reason::DomainNotFound, format!("no InternalDomain of this namespace has brought {domain} into the store yet"))
        }
        Some(row) if row.namespace != resource.key.namespace => {
            Violation::new(Reason::DomainClaimed, format!("the domain {domain} belongs to another tenant"))
        }
        Some(_) => match w.next.addresses.get(address).and_then(|row| row.owner.as_ref()) {
            Some(holder) => Violation::new(
                Reason::AddressClaimed,
                format!("{} holds {address}", crate::model::ResourceKey::new(Kind::EmailAddress, &resource.key.namespace, holder)),
            ),
            None => Violation::new(
                Reason::AdoptionRefused,
                format!("the store already has {address}, which no resource owns, and adoptionPolicy is Fail; set Adopt to take it over"),
            ),
        },
    }
}

pub(super) fn judge(w: &mut Working<'_>, resource: &Resource, declared: &AddressDeclared) -> Verdict {
    let address = declared.address.canonical();
    let row = w.next.addresses.get(address);
    let row = row.filter(|row| row.namespace == resource.key.namespace && row.owner.as_deref() == Some(&resource.key.name)).cloned();
    let Some(row) = row else {
        let ready = if resource.suspended { Violation::new(Reason::Suspended, "") } else { refusal(w, resource, declared) }.into();
        return Verdict { conditions: absent_conditions(&ready), ..super::blank(resource, ready, Detail::Address(Box::default())) };
    };
    let credential = passwords::judge(w, resource, declared, &row);
    let purge = purge_detail(w, resource, address);
    let mut ready = Finding::fine(format!("{address} is in force"));
    if !credential.status && credential.reason != Reason::NotManaged {
        ready = Finding { reason: credential.reason, message: credential.message.clone() };
    }
    if let Some(detail) = &purge {
        let held = w.next.waiting.get(&(address.clone(), WaitAction::Purge)).is_some_and(|wait| wait.held);
        let list = detail.blockers.iter().map(|b| b.message.as_str()).collect::<Vec<_>>().join("; ");
        ready = Finding {
            reason: if held { Reason::MassDeletion } else { Reason::PurgeBlocked },
            message: format!("the purge of {address} waits: {list}"),
        };
    }
    let conditions = conditions(w, resource, address, &row, credential, purge.as_ref());
    let lock = w.next.lock(address, w.now);
    if let Some((_, until)) = lock {
        w.moments.push((until, Subject::Address(address.clone())));
    }
    let detail = AddressDetail {
        origin: row.origin.clone(),
        global_name: row.directory.as_ref().map_or(String::new(), |side| side.global_name.clone()),
        alias_of: w.next.links.get(address).map_or(String::new(), |link| link.primary.to_string()),
        aliases: w.next.links.aliases_of(address).take(LISTED).map(ToString::to_string).collect(),
        alias_count: w.next.links.count_aliases_of(address),
        role: w.next.members.get(address).map_or(String::new(), |(_, role)| role.clone()),
        failed_logons: lock.map_or(0, |(count, _)| count),
        locked_until: lock.map(|(_, until)| until),
        failed_codes: w.next.reset_lock(address).unwrap_or(0),
        held_messages: w.next.reports.get(address).map_or(0, |r| r.held),
        purge,
        ..passwords::detail(w, resource, address)
    };
    Verdict { conditions, release: false, ..super::blank(resource, ready, Detail::Address(Box::new(detail))) }
}

fn purge_detail(w: &Working<'_>, resource: &Resource, address: &CanonicalAddress) -> Option<PurgeDetail> {
    let wait = w.next.waiting.get(&(address.clone(), WaitAction::Purge)).filter(|_| resource.deleting)?;
    let delay = w.next.settings(&resource.key.namespace).purge_delay;
    Some(PurgeDetail {
        requested_at: wait.since,
        not_before: wait.since.saturating_add(delay).unwrap_or(wait.since),
        blockers: guard::purge_blockers(w, address),
    })
}

fn conditions(
    w: &Working<'_>,
    resource: &Resource,
    address: &CanonicalAddress,
    row: &AddressRow,
    credential: Condition,
    purge: Option<&PurgeDetail>,
) -> Vec<Condition> {
    vec![
        match w.next.lock(address, w.now) {
            Some((count, until)) => Condition::new(
                "Locked",
                true,
                Reason::TooManyFailedLogons,
                format!("{count} failed logons; locked until {until}, or until mailroster.dev/unlockAt is set"),
            ),
            None => Condition::quiet("Locked", false, Reason::NotLocked),
        },
        match w.next.reset_lock(address) {
            Some(count) => Condition::new(
                "ResetLocked",
                true,
                Reason::TooManyFailedCodes,
                format!("{count} wrong reset codes; set mailroster.dev/resetCodesAt"),
            ),
            None => Condition::quiet("ResetLocked", false, Reason::NotLocked),
        },
        disabled(row),
        match purge {
            Some(detail) => {
                let messages = detail.blockers.iter().map(|b| b.message.as_str()).collect::<Vec<_>>().join("; ");
                let reason = detail.blockers.first().map_or(Reason::NotBlocked, |b| b.reason);
                Condition::new("PurgeBlocked", true, reason, messages)
            }
            None => Condition::quiet("PurgeBlocked", false, Reason::NotBlocked),
        },
        credential,
        match (person_now(&w.next, resource, address), w.next.links.get(address)) {
            (Some(now), _) => Condition::new(
                "PermissionsInherited",
                true,
                Reason::AddressRenamed,
                format!("the person's address is {now} now: what is set here is ignored; declare an EmailAddress for that one"),
            ),
            (None, Some(link)) => Condition::new(
                "PermissionsInherited",
                true,
                Reason::InheritsFromPrimary,
                format!("an alias of {}: access, password and roles set here are ignored", link.primary),
            ),
            (None, None) => Condition::quiet("PermissionsInherited", false, Reason::NotAlias),
        },
        holder(row),
        mail_accepted(w, address, row),
    ]
}

/// Y1: for as long as the logon is shut by it, also when the connection that found it has let go of the row: that nobody is asked any more
/// is no yes.
fn holder(row: &AddressRow) -> Condition {
    let side = row.directory.as_deref();
    let Some(since) = side.and_then(|side| side.holder_since) else {
        return Condition::quiet("HolderChanged", false, Reason::SameHolder);
    };
    let message = match side.and_then(|side| side.connection.as_deref()) {
        Some(connection) => {
            format!(
                "another entry of DirectoryConnection {connection} has the address since {since}; its status.heldHolders waits for a yes"
            )
        }
        None => format!(
            "another entry has the address since {since}, and its DirectoryConnection has let go of it before anybody said yes; declare one that reads the same entry and approve its status.heldHolders"
        ),
    };
    Condition::new("HolderChanged", true, Reason::HolderChanged, message)
}

/// P6: the first reason that applies; all of them in the message.
fn disabled(row: &AddressRow) -> Condition {
    let side = row.directory.as_deref().cloned().unwrap_or_default();
    let all = [
        (row.disabled, Reason::Declared),
        (side.directory_disabled, Reason::DirectoryDisabled),
        (side.directory_missing, Reason::DirectoryMissing),
        (side.holder_since.is_some(), Reason::HolderChanged),
        (row.shut, Reason::Undeclared),
    ];
    let all: Vec<_> = all.into_iter().filter(|(applies, _)| *applies).collect();
    match all.first() {
        None => Condition::quiet("Disabled", false, Reason::NotDisabled),
        Some((_, first)) => {
            let message = all.iter().map(|(_, reason)| reason.meaning()).collect::<Vec<_>>().join(" ");
            Condition::new("Disabled", true, *first, message)
        }
    }
}

/// V1, as a condition: what the view mailroster.recipient says of the row.
pub(super) fn mail_accepted(w: &Working<'_>, address: &CanonicalAddress, row: &AddressRow) -> Condition {
    let refused = |reason: Reason| Condition::new("MailAccepted", false, reason, reason.meaning());
    let mode = |address: &CanonicalAddress| w.next.domains.get(address.domain_text()).map(|domain| domain.recipient_validation.as_str());
    let primary = w.next.links.get(address).map(|link| &link.primary);
    let primary_row = primary.and_then(|primary| w.next.addresses.get(primary));
    if row.closing || primary_row.is_some_and(|primary| primary.closing) {
        return refused(Reason::Purging);
    }
    let origin = primary_row.map_or(row.origin.as_str(), |primary| primary.origin.as_str());
    // In Directory mode an alias follows its primary, which may lie in a domain of another mode (L3).
    match (mode(address), primary.and_then(mode)) {
        (Some("None"), _) | (Some("Directory"), Some("None")) => refused(Reason::SendsOnly),
        (Some("Directory"), None | Some("Directory")) if !matches!(origin, "Directory" | "DistributionList") => {
            refused(Reason::DirectoryOnly)
        }
        _ => Condition::quiet("MailAccepted", true, Reason::Accepted),
    }
}
