//! What a plan asks the store to do.
//!
//! Changes are the difference between the rows as they are and as the steps of the plan left them, in an order that every constraint
//! of the store accepts as it stands: rights end before the rows they name change, rows appear before rights name them.

use std::sync::Arc;

use super::desired::Action;
use super::directory::rows::{EntryRow, Leaver};
use super::observed::{Absence, AddressRow, DelegationRow, DomainRow, EntryKey, LinkRow, RoleRow, Wait, WaitAction};
use super::settings::Settings;
use super::subject::Subject;
use super::working::{Cause, Move, NewPassword, Working};
use crate::model::{CanonicalAddress, DomainName, ResourceKey};

/// One step for the store. `Put` writes a whole row, new or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    PutSettings {
        namespace: String,
        owner: String,
        settings: Settings,
    },
    DeleteSettings {
        namespace: String,
    },
    /// Hands a domain and every row in it to another namespace; nobody owns them afterwards (D1).
    TransferDomain {
        domain: DomainName,
        from: String,
        to: String,
    },
    PutDomain {
        domain: DomainName,
        row: DomainRow,
    },
    DeleteMember {
        address: CanonicalAddress,
        /// The role that it was in, which may name it no more.
        namespace: String,
        role: String,
    },
    DeleteDelegation {
        reader: CanonicalAddress,
        mailbox: CanonicalAddress,
    },
    DeleteLink {
        alias: CanonicalAddress,
        /// What it was an alias of: who waits for that address to be free is concerned too.
        primary: CanonicalAddress,
    },
    PutAddress {
        address: CanonicalAddress,
        row: Arc<AddressRow>,
        /// Whether somebody besides its claimants looks at what is new ([`AddressRow::looks_the_same`]).
        outward: bool,
    },
    PutRole {
        namespace: String,
        name: String,
        row: RoleRow,
    },
    PutLink {
        alias: CanonicalAddress,
        row: LinkRow,
    },
    PutDelegation {
        reader: CanonicalAddress,
        mailbox: CanonicalAddress,
        row: DelegationRow,
    },
    PutMember {
        address: CanonicalAddress,
        namespace: String,
        role: String,
    },
    PutCredential {
        address: CanonicalAddress,
        password: NewPassword,
    },
    PutWait {
        address: CanonicalAddress,
        action: WaitAction,
        /// Of a link to be removed: who waits for this address to be free is told that it is about to be, or is not.
        primary: Option<CanonicalAddress>,
        wait: Wait,
    },
    DeleteWait {
        address: CanonicalAddress,
        action: WaitAction,
        primary: Option<CanonicalAddress>,
    },
    /// Counts an end against the guard for an hour (U4).
    PutDone {
        address: CanonicalAddress,
        action: WaitAction,
    },
    PutHandled {
        key: ResourceKey,
        action: Action,
        token: String,
    },
    /// Notes that an owner is out of sight (U6).
    PutAbsence {
        key: ResourceKey,
        absence: Absence,
    },
    DeleteAbsence {
        key: ResourceKey,
    },
    /// Everything that hangs on an address and not on its name goes to another, whose own it replaces: credential and history, what the
    /// user set, locks (L8). All at once: two may exchange. Rights are changes of their own.
    MoveMailboxes {
        moves: Vec<Move>,
    },
    /// What was read of an entry.
    /// A connection is no more: its addresses stay, accepted, and open as they were before it disabled them (Y8).
    DeleteConnection {
        namespace: String,
        name: String,
    },
    PutEntry {
        key: EntryKey,
        row: EntryRow,
    },
    DeleteEntry {
        key: EntryKey,
    },
    /// That no entry carries an address of its connection (Y6).
    PutLeaver {
        address: CanonicalAddress,
        namespace: String,
        connection: String,
        leaver: Leaver,
    },
    DeleteLeaver {
        address: CanonicalAddress,
    },
    /// Counts a leaver that was seen through against its connection's guard for a day (Y7).
    PutDeparted {
        address: CanonicalAddress,
        namespace: String,
        connection: String,
    },
    /// The uid under which a namespace is known (U6).
    PutNamespace {
        namespace: String,
        uid: String,
    },
    ConsumeLearned {
        address: CanonicalAddress,
    },
    ConsumeTransfer {
        domain: DomainName,
    },
    DeleteRole {
        namespace: String,
        name: String,
    },
    /// With `purge` set the store asks once more, in its own condition, whether mail to or from the address is held (U2).
    DeleteAddress {
        address: CanonicalAddress,
        purge: bool,
    },
    DeleteDomain {
        domain: DomainName,
    },
}

/// One record for the audit log (X1).
#[derive(Debug, Clone, PartialEq)]
pub struct Audit {
    pub cause: Cause,
    pub subject: Subject,
    pub before: Option<Record>,
    pub after: Option<Record>,
}

/// A row as the audit log keeps it; written out only when it is written down.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Record {
    Settings(Settings),
    Domain(DomainRow),
    Address(Arc<AddressRow>),
    Link(LinkRow),
    Delegation(DelegationRow),
    Role(RoleRow),
    /// Namespace and name of the role.
    Member((String, String)),
    /// What has no row to show.
    Text(&'static str),
}

/// Rows of one table before and after, by key; calls back for what appeared, changed or went.
fn compare<'a, K: Ord + 'a, V: PartialEq + 'a>(
    before: impl IntoIterator<Item = (&'a K, &'a V)>,
    after: impl IntoIterator<Item = (&'a K, &'a V)>,
    mut found: impl FnMut(&'a K, Option<&'a V>, Option<&'a V>),
) {
    let (mut before, mut after) = (before.into_iter().peekable(), after.into_iter().peekable());
    loop {
        match (before.peek(), after.peek()) {
            (None, None) => return,
            (Some((b, old)), Some((a, new))) if b == a => {
                if old != new {
                    found(b, Some(old), Some(new));
                }
                before.next();
                after.next();
            }
            (Some((b, old)), Some((a, _))) if b < a => {
                found(b, Some(old), None);
                before.next();
            }
            (Some((b, old)), None) => {
                found(b, Some(old), None);
                before.next();
            }
            (_, Some((a, new))) => {
                found(a, None, Some(new));
                after.next();
            }
        }
    }
}

/// Collects changes by phase and an audit record for each.
#[derive(Default)]
struct Difference {
    changes: Vec<(u8, Change)>,
    audit: Vec<Audit>,
}

impl Difference {
    fn add(&mut self, phase: u8, change: Change) {
        self.changes.push((phase, change));
    }

    fn tell<T: Clone>(&mut self, w: &Working<'_>, subject: Subject, record: fn(T) -> Record, before: Option<&T>, after: Option<&T>) {
        let cause = w.causes.get(&subject).cloned().unwrap_or(Cause { actor: "mailroster".to_owned(), reason: "Converged" });
        self.audit.push(Audit { cause, subject, before: before.cloned().map(record), after: after.cloned().map(record) });
    }
}

/// The changes that lead from the rows as they were to the rows as the steps left them, and what to tell the audit log.
pub(super) fn difference(w: &Working<'_>) -> (Vec<Change>, Vec<Audit>) {
    let mut d = Difference::default();
    let (before, after) = (w.before, &w.next);
    let is_another = |address: &CanonicalAddress| {
        before.addresses.get(address).zip(after.addresses.get(address)).is_some_and(|(old, new)| old.created_at != new.created_at)
    };
    compare(&before.settings, &after.settings, |namespace, old, new| {
        d.tell(w, Subject::Settings(namespace.clone()), Record::Settings, old, new);
        let namespace = namespace.clone();
        d.add(
            0,
            match new {
                Some(settings) => Change::PutSettings { namespace, owner: "default".to_owned(), settings: settings.clone() },
                None => Change::DeleteSettings { namespace },
            },
        );
    });
    domains(w, &mut d);
    compare(&before.members, &after.members, |address, old, new| {
        d.tell(w, Subject::Member(address.clone()), Record::Member, old, new);
        if let Some((namespace, role)) = old {
            d.add(3, Change::DeleteMember { address: address.clone(), namespace: namespace.clone(), role: role.clone() });
        }
        if let Some((namespace, role)) = new {
            d.add(6, Change::PutMember { address: address.clone(), namespace: namespace.clone(), role: role.clone() });
        }
    });
    compare(before.delegations.iter(), after.delegations.iter(), |(reader, mailbox), old, new| {
        d.tell(w, Subject::Pair(reader.clone(), mailbox.clone()), Record::Delegation, old, new);
        let (reader, mailbox) = (reader.clone(), mailbox.clone());
        match new {
            Some(row) => d.add(6, Change::PutDelegation { reader, mailbox, row: row.clone() }),
            None => d.add(3, Change::DeleteDelegation { reader, mailbox }),
        }
    });
    compare(before.links.iter(), after.links.iter(), |alias, old, new| {
        d.tell(w, Subject::Link(alias.clone()), Record::Link, old, new);
        // A link that turns to another primary goes first: its old primary may become an alias in this very plan. So does that of a row
        // which ends, whatever the next row of the address is an alias of.
        if let Some(old) = old.filter(|old| new.is_none_or(|new| new.primary != old.primary) || is_another(alias)) {
            d.add(3, Change::DeleteLink { alias: alias.clone(), primary: old.primary.clone() });
        }
        if let Some(row) = new {
            d.add(6, Change::PutLink { alias: alias.clone(), row: row.clone() });
        }
    });
    compare(before.addresses.iter_shared(), after.addresses.iter_shared(), |address, old, new| {
        d.tell(w, Subject::Address(address.clone()), Record::Address, old, new);
        // One that ended and was made again in this very plan is another row: the old one goes first, after the rights that named it.
        if is_another(address) {
            d.add(3, Change::DeleteAddress { address: address.clone(), purge: w.purged.get(address) == Some(&true) });
        }
        match new {
            Some(row) => {
                let outward = old.is_none_or(|old| !row.looks_the_same(old));
                d.add(4, Change::PutAddress { address: address.clone(), row: row.clone(), outward });
            }
            None => d.add(9, Change::DeleteAddress { address: address.clone(), purge: w.purged.get(address) == Some(&true) }),
        }
    });
    compare(&before.roles, &after.roles, |(namespace, name), old, new| {
        d.tell(w, Subject::Role(namespace.clone(), name.clone()), Record::Role, old, new);
        let (namespace, name) = (namespace.clone(), name.clone());
        match new {
            Some(row) => d.add(5, Change::PutRole { namespace, name, row: row.clone() }),
            None => d.add(8, Change::DeleteRole { namespace, name }),
        }
    });
    for (address, password) in &w.passwords {
        let told = if password.phc.is_some() { "password set" } else { "fingerprint renewed" };
        let cause = w.causes.get(&Subject::Address(address.clone())).cloned();
        let cause = cause.unwrap_or(Cause { actor: "mailroster".to_owned(), reason: "PasswordSet" });
        d.audit.push(Audit {
            cause,
            subject: Subject::Address(address.clone()),
            before: Some(Record::Text("password")),
            after: Some(Record::Text(told)),
        });
        d.add(7, Change::PutCredential { address: address.clone(), password: password.clone() });
    }
    bookkeeping(w, &mut d);
    d.changes.sort_by_key(|(phase, _)| *phase);
    (d.changes.into_iter().map(|(_, change)| change).collect(), d.audit)
}

fn domains(w: &Working<'_>, d: &mut Difference) {
    compare(&w.before.domains, &w.next.domains, |domain, old, new| {
        d.tell(w, Subject::Domain(domain.clone()), Record::Domain, old, new);
        match new {
            Some(row) => {
                if let Some(old) = old.filter(|old| old.namespace != row.namespace) {
                    d.add(1, Change::TransferDomain { domain: domain.clone(), from: old.namespace.clone(), to: row.namespace.clone() });
                }
                d.add(2, Change::PutDomain { domain: domain.clone(), row: row.clone() });
            }
            None => d.add(10, Change::DeleteDomain { domain: domain.clone() }),
        }
    });
    for domain in w.before.transfers.keys().filter(|domain| !w.next.transfers.contains_key(*domain)) {
        d.add(7, Change::ConsumeTransfer { domain: domain.clone() });
    }
}

fn bookkeeping(w: &Working<'_>, d: &mut Difference) {
    compare(&w.before.waiting, &w.next.waiting, |(address, action), _, new| {
        let (address, action) = (address.clone(), *action);
        let link = [&w.before.links, &w.next.links].into_iter().find_map(|links| links.get(&address));
        let primary = link.filter(|_| action == WaitAction::Unlink).map(|link| link.primary.clone());
        match new {
            Some(wait) => d.add(7, Change::PutWait { address, action, primary, wait: *wait }),
            None if w.next.addresses.contains_key(&address) => d.add(7, Change::DeleteWait { address, action, primary }),
            None => {} // went with the address
        }
    });
    for (address, action) in &w.done {
        d.add(7, Change::PutDone { address: address.clone(), action: *action });
    }
    compare(&w.before.handled, &w.next.handled, |(key, action), _, new| {
        if let Some(token) = new {
            d.add(7, Change::PutHandled { key: key.clone(), action: *action, token: token.clone() });
        }
    });
    compare(&w.before.absences, &w.next.absences, |key, _, new| {
        let key = key.clone();
        d.add(
            7,
            match new {
                Some(absence) => Change::PutAbsence { key, absence: *absence },
                None => Change::DeleteAbsence { key },
            },
        );
    });
    compare(&w.before.namespaces, &w.next.namespaces, |namespace, _, new| {
        if let Some(uid) = new {
            d.add(7, Change::PutNamespace { namespace: namespace.clone(), uid: uid.clone() });
        }
    });
    compare(&w.before.connections, &w.next.connections, |(namespace, name), _, new| {
        if new.is_none() {
            let subject = Subject::Connection(namespace.clone(), name.clone());
            d.tell(w, subject, Record::Text, Some(&"connection"), None);
            d.add(11, Change::DeleteConnection { namespace: namespace.clone(), name: name.clone() });
        }
    });
    if !w.moved.is_empty() {
        // Before the rows take their new shape: an alias has no credential.
        d.add(4, Change::MoveMailboxes { moves: w.moved.clone() });
    }
    compare(&w.before.entries, &w.next.entries, |key, _, new| {
        let key = key.clone();
        d.add(
            7,
            match new {
                Some(row) => Change::PutEntry { key, row: row.clone() },
                None => Change::DeleteEntry { key },
            },
        );
    });
    compare(&w.before.leavers, &w.next.leavers, |address, _, new| {
        let address = address.clone();
        let side = w.next.addresses.get(&address).and_then(|row| Some((row.namespace.clone(), row.connection()?.to_owned())));
        match (new, side) {
            (Some(leaver), Some((namespace, connection))) => {
                d.add(7, Change::PutLeaver { address, namespace, connection, leaver: *leaver });
            }
            _ if w.next.addresses.contains_key(&address) => d.add(7, Change::DeleteLeaver { address }),
            _ => {} // went with the address
        }
    });
    for (address, namespace, connection) in &w.departed {
        let (address, namespace, connection) = (address.clone(), namespace.clone(), connection.clone());
        d.add(7, Change::PutDeparted { address, namespace, connection });
    }
    for (domain, queued) in &w.before.learned {
        let left = w.next.learned.get(domain);
        for address in queued.iter().filter(|address| !left.is_some_and(|left| left.contains(*address))) {
            d.add(7, Change::ConsumeLearned { address: address.clone() });
        }
    }
}

impl Change {
    /// What it is about. For whom that matters [`super::slice::Roster::concerned`] knows.
    #[must_use]
    pub fn subjects(&self) -> Vec<Subject> {
        match self {
            Self::PutSettings { namespace, .. } | Self::DeleteSettings { namespace } => {
                vec![Subject::Settings(namespace.clone())]
            }
            Self::TransferDomain { domain, .. }
            | Self::PutDomain { domain, .. }
            | Self::DeleteDomain { domain }
            | Self::ConsumeTransfer { domain } => {
                vec![Subject::Domain(domain.clone())]
            }
            Self::DeleteMember { address, namespace, role } => {
                vec![Subject::Member(address.clone()), Subject::Role(namespace.clone(), role.clone())]
            }
            Self::PutMember { address, .. } => vec![Subject::Member(address.clone())],
            Self::PutDelegation { reader, mailbox, .. } => vec![Subject::Pair(reader.clone(), mailbox.clone())],
            // Without its last right a mailbox may become an alias (L2).
            Self::DeleteDelegation { reader, mailbox } => {
                vec![Subject::Pair(reader.clone(), mailbox.clone()), Subject::Address(reader.clone()), Subject::Address(mailbox.clone())]
            }
            Self::DeleteLink { alias, primary } => vec![Subject::Link(alias.clone()), Subject::Address(primary.clone())],
            Self::PutLink { alias, row } => vec![Subject::Link(alias.clone()), Subject::Address(row.primary.clone())],
            Self::PutAddress { address, .. } | Self::DeleteAddress { address, .. } | Self::ConsumeLearned { address } => {
                vec![Subject::Address(address.clone())]
            }
            Self::PutRole { namespace, name, .. } | Self::DeleteRole { namespace, name } => {
                vec![Subject::Role(namespace.clone(), name.clone())]
            }
            // Who tells of what is held may be out of the slice.
            Self::PutAbsence { key, .. } | Self::DeleteAbsence { key } => vec![Subject::Absences(key.namespace.clone())],
            // Who waits is in the slice of its domain already.
            Self::DeleteConnection { namespace, name } => vec![Subject::Connection(namespace.clone(), name.clone())],
            Self::MoveMailboxes { .. }
            | Self::PutEntry { .. }
            | Self::DeleteEntry { .. }
            | Self::PutLeaver { .. }
            | Self::DeleteLeaver { .. }
            | Self::PutDeparted { .. }
            | Self::PutCredential { .. }
            | Self::PutHandled { .. }
            | Self::PutDone { .. }
            | Self::PutWait { .. }
            | Self::DeleteWait { .. }
            | Self::PutNamespace { .. } => vec![],
        }
    }
}
