//! What is declared, as the plan sees it: resources after admission, without anything that Kubernetes alone cares about.

mod connection;

pub use connection::{ConnectionDeclared, Detection, LeaverAction, LeaversDeclared, SecretState};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;

use super::reason::Reason;
use super::settings::Settings;
use super::subject::Subject;
use crate::model::{Address, CanonicalAddress, DomainName, Kind, ResourceKey};

/// All resources in view. For a slice: those that the closure brought in (see [`super::slice`]).
#[derive(Debug, Clone, Default)]
pub struct Desired {
    pub resources: BTreeMap<ResourceKey, Arc<Resource>>,
    /// Resources whose end this run has seen. A row whose owner is in neither set has lost it out of sight: nothing follows (U6).
    pub deleted: BTreeSet<ResourceKey>,
    /// Namespaces that are ending, or whose state may not be seen: there a resource's end does nothing but leave the row
    /// undeclared (U4). Kinds whose CRD is ending are spelled out namespace by namespace by whoever fills this in.
    pub sheltered: BTreeSet<(Kind, String)>,
    /// The namespaces that this run watches; empty: all.
    pub watched: BTreeSet<String>,
    /// Owners of rows that a complete list of this run lacks (U6), of the namespaces below.
    pub missing: BTreeSet<ResourceKey>,
    /// Those of them whose rows are in view, for their day may be over.
    pub overdue: BTreeSet<ResourceKey>,
    /// Kinds, and namespaces ("" for all), whose complete list this run has compared with the store's owners.
    pub sighted: BTreeSet<(Kind, String)>,
    /// Entries that a directory run brings, and of which connection.
    pub found: Option<(ResourceKey, super::directory::Found)>,
    /// The uids of the namespaces in view that live and may be seen.
    pub namespaces: BTreeMap<String, String>,
    /// Names that are to be kept from this plan on ([`Action::KeptNames`]).
    pub kept_names: BTreeMap<ResourceKey, String>,
}

impl Desired {
    /// Whether what is declared in a namespace can be seen.
    #[must_use]
    pub fn watches(&self, namespace: &str) -> bool {
        self.watched.is_empty() || self.watched.contains(namespace)
    }

    /// What is missing in a namespace.
    pub fn missing_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a ResourceKey> {
        Kind::ALL.into_iter().flat_map(move |kind| {
            let first = ResourceKey::new(kind, namespace, "");
            self.missing.range(first..).take_while(move |key| key.kind == kind && key.namespace == namespace)
        })
    }

    /// Whether it would be among [`Self::missing`] if it were.
    #[must_use]
    pub fn is_sighted(&self, key: &ResourceKey) -> bool {
        let of = |namespace: &str| self.sighted.contains(&(key.kind, namespace.to_owned()));
        of(&key.namespace) || of("")
    }
}

/// One resource.
#[derive(Debug, Clone)]
pub struct Resource {
    pub key: ResourceKey,
    /// For the audit log (X1); ownership does not go by it (A8).
    pub uid: Box<str>,
    pub created: Timestamp,
    pub generation: i64,
    /// It has a deletionTimestamp: it owns nothing any more (A8).
    pub deleting: bool,
    /// It carries our finalizer.
    pub finalizer: bool,
    pub suspended: bool,
    pub declared: Result<Declared, Violation>,
    pub actions: Actions,
    pub last: Last,
}

/// What the resource's own status said when it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Last {
    pub generation: i64,
    pub ready: bool,
    pub reason: Option<Reason>,
    /// A role's members that it refused as AliasMoved.
    pub moved: Vec<String>,
}

/// What a resource declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declared {
    Settings(Settings),
    Domain(DomainDeclared),
    Address(AddressDeclared),
    Link(LinkDeclared),
    Delegation(DelegationDeclared),
    Role(RoleDeclared),
    Connection(Box<ConnectionDeclared>),
}

/// Why what a resource says can't be acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub reason: Reason,
    pub message: String,
}

impl Violation {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainDeclared {
    pub domain: DomainName,
    pub recipient_validation: String,
    pub unknown_recipients: String,
    pub next_hop: String,
    pub learn_senders: bool,
    pub sub_addressing: String,
    pub postmaster: Option<CanonicalAddress>,
    /// `deletionPolicy: Delete`.
    pub delete: bool,
}

/// `None` means "not managed here": the row keeps its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressDeclared {
    pub address: Address,
    pub display_name: Option<String>,
    pub attributes: BTreeMap<String, String>,
    pub password: Option<Box<PasswordDeclared>>,
    pub disabled: Option<bool>,
    pub archive_start: Option<Date>,
    pub smtp_submission: Option<bool>,
    pub pop: Option<bool>,
    /// `adoptionPolicy: Adopt`.
    pub adopt: bool,
    /// `deletionPolicy: Purge`.
    pub purge: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordDeclared {
    pub secret: String,
    pub key: String,
    /// `format: Argon2`.
    pub hashed: bool,
    pub force_change: bool,
    pub never_expires: bool,
    /// What the Secret offers now. Filled in by whoever reads Secrets; [`Offer::Unread`] until then.
    pub offer: Offer,
}

/// What a Secret offers for a password. The value itself never enters the plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Offer {
    #[default]
    Unread,
    /// SecretNotFound: what is missing.
    Missing(String),
    /// SecretNotReadable: what to set.
    NotReadable(String),
    /// A value under this fingerprint (`key_id` names the key that made it).
    Value { fingerprint: Vec<u8>, key_id: String, work: Work },
}

/// How far the work on a value has come; hashing happens outside the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Not looked at yet.
    Open,
    /// A new password, hashed. `ascii`: any mail client can send it.
    Hashed { phc: String, ascii: bool },
    /// The value that is in force already: only its fingerprint is new (P2).
    Same,
    /// Refused: the rule that failed, never the value.
    Refused(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkDeclared {
    pub alias: Address,
    pub primary: CanonicalAddress,
    pub cross_domain: bool,
    pub take_over: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelegationDeclared {
    pub reader: CanonicalAddress,
    pub mailbox: CanonicalAddress,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleDeclared {
    pub built_in: Option<String>,
    pub permissions: Vec<String>,
    pub members: BTreeSet<CanonicalAddress>,
    /// Entries that are no addresses, with what is wrong.
    pub invalid: BTreeMap<String, String>,
}

impl RoleDeclared {
    #[must_use]
    pub fn is_super(&self) -> bool {
        self.built_in.as_deref() == Some("SuperAdministrator")
    }
}

/// The action annotations of a resource (C6), by the last part of their name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actions(pub BTreeMap<Action, String>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    RequestedAt,
    UnlockAt,
    ResetCodesAt,
    Approve,
    TransferTo,
    Unlock,
    ResetCodes,
    /// Nobody asks for it: whom a resource means by names that other people go by since, as JSON (L8).
    KeptNames,
}

impl Action {
    pub const ALL: [Self; 8] = [
        Self::RequestedAt,
        Self::UnlockAt,
        Self::ResetCodesAt,
        Self::Approve,
        Self::TransferTo,
        Self::Unlock,
        Self::ResetCodes,
        Self::KeptNames,
    ];

    /// The annotation's name after `mailroster.dev/`, and the field of `status.lastHandled`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestedAt => "requestedAt",
            Self::UnlockAt => "unlockAt",
            Self::ResetCodesAt => "resetCodesAt",
            Self::Approve => "approve",
            Self::TransferTo => "transferTo",
            Self::Unlock => "unlock",
            Self::ResetCodes => "resetCodes",
            Self::KeptNames => "keptNames",
        }
    }

    /// Whether a resource of this kind knows the action.
    #[must_use]
    pub fn known_to(self, kind: Kind) -> bool {
        match self {
            Self::RequestedAt => true,
            Self::UnlockAt | Self::ResetCodesAt => kind == Kind::EmailAddress,
            Self::Approve => matches!(kind, Kind::InternalDomain | Kind::AccountSettings | Kind::DirectoryConnection),
            Self::TransferTo | Self::Unlock | Self::ResetCodes => kind == Kind::InternalDomain,
            Self::KeptNames => false,
        }
    }
}

impl Resource {
    /// Frozen: what it owns stays as it is and it claims nothing new (C8). A shape that does not decode and a value that can't be stored
    /// are treated alike: neither says that the subject is no longer declared.
    #[must_use]
    pub fn frozen(&self) -> bool {
        self.suspended || matches!(&self.declared, Err(v) if matches!(v.reason, Reason::SpecUnreadable | Reason::SpecInvalid))
    }

    /// Living, decoded and free to act: the only kind of resource that claims something.
    #[must_use]
    pub fn active(&self) -> Option<&Declared> {
        if self.deleting || self.frozen() { None } else { self.declared.as_ref().ok() }
    }

    /// Whether the status already told that what the spec says now is in force: a difference found now is drift (C4).
    #[must_use]
    pub fn was_in_force(&self) -> bool {
        self.last.ready && self.last.generation == self.generation
    }

    /// Whether it must carry our finalizer (U1).
    #[must_use]
    pub fn wants_finalizer(&self) -> bool {
        match &self.declared {
            Ok(Declared::Link(_) | Declared::Delegation(_) | Declared::Role(_)) => true,
            Ok(Declared::Address(a)) => a.purge,
            Ok(Declared::Domain(d)) => d.delete,
            Ok(Declared::Settings(_) | Declared::Connection(_)) => false,
            Err(_) => self.finalizer,
        }
    }

    /// Whether a right must wait until the finalizer is on, so that no right can outlive its resource (M2).
    #[must_use]
    pub fn lacks_finalizer(&self) -> bool {
        !self.deleting && !self.finalizer && matches!(self.declared, Ok(Declared::Link(_) | Declared::Delegation(_) | Declared::Role(_)))
    }

    /// Whether its Secret has not been looked at yet: a verdict now would be another one a moment later.
    #[must_use]
    pub fn awaits_secret(&self) -> bool {
        match &self.declared {
            Ok(Declared::Address(a)) => a.password.as_ref().is_some_and(|p| p.offer == Offer::Unread),
            Ok(Declared::Connection(c)) => c.secrets == SecretState::Unread,
            _ => false,
        }
    }

    /// Whether what is in its domain may keep it from something: its end (D2), or a handover that was asked for (D1).
    #[must_use]
    pub fn waits_for_rows(&self) -> bool {
        let handing_over = self.actions.0.contains_key(&Action::TransferTo);
        matches!(&self.declared, Ok(Declared::Domain(declared)) if handing_over || (self.deleting && declared.delete))
    }

    /// Whether nothing but its status can have changed: the API server raises the generation with each change of a spec.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let of = |r: &Self| (r.created, r.generation, r.deleting, r.finalizer, r.actions.clone(), r.declared.is_ok());
        of(self) == of(other)
    }

    /// Whether it takes something away or lets somebody in again: that goes before other work, however much there is of it.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        let acts = [Action::UnlockAt, Action::ResetCodesAt, Action::Unlock, Action::ResetCodes]
            .iter()
            .any(|action| self.actions.0.contains_key(action));
        let disables = matches!(&self.declared, Ok(Declared::Address(a)) if a.disabled == Some(true));
        self.deleting || acts || disables || matches!(self.key.kind, Kind::AdminRole | Kind::DelegateMailbox)
    }

    /// Age order among claimants of one subject (A6).
    #[must_use]
    pub fn seniority(&self) -> (Timestamp, &str, &str) {
        (self.created, &self.key.namespace, &self.key.name)
    }
}

impl Declared {
    /// What only one resource may hold.
    #[must_use]
    pub fn claims(&self, namespace: &str) -> Vec<Subject> {
        match self {
            Self::Settings(_) => vec![Subject::Settings(namespace.to_owned())],
            Self::Domain(d) => vec![Subject::Domain(d.domain.clone())],
            Self::Address(a) => vec![Subject::Address(a.address.canonical().clone())],
            Self::Link(l) => vec![Subject::Link(l.alias.canonical().clone())],
            Self::Delegation(d) => vec![Subject::Pair(d.reader.clone(), d.mailbox.clone())],
            Self::Role(r) => r.members.iter().cloned().map(Subject::Member).collect(),
            // Named by itself: what it is about are its entries.
            Self::Connection(_) => Vec::new(),
        }
    }

    /// The Secrets that it takes something from.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        match self {
            Self::Address(a) => a.password.iter().map(|password| password.secret.clone()).collect(),
            Self::Connection(c) => {
                let named = std::iter::once(&c.access.bind_password).chain(&c.access.ca);
                named.map(|secret| secret.name.clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What its verdict depends on besides its claims.
    #[must_use]
    pub fn references(&self, namespace: &str) -> Vec<Subject> {
        let domain_of = |address: &CanonicalAddress| Subject::Domain(address.domain());
        let mut found = match self {
            Self::Settings(_) => vec![Subject::Absences(namespace.to_owned())],
            Self::Domain(d) => {
                let at = |local: &str| Subject::Address(CanonicalAddress::from_store(&format!("{local}@{}", d.domain)));
                let mut found = vec![at("postmaster"), at("abuse")];
                found.extend(d.postmaster.clone().map(Subject::Address));
                found.push(Subject::Absences(namespace.to_owned()));
                found
            }
            Self::Address(a) => {
                let address = a.address.canonical();
                vec![domain_of(address), Subject::Link(address.clone()), Subject::Member(address.clone())]
            }
            Self::Link(l) => {
                let alias = l.alias.canonical();
                vec![
                    domain_of(alias),
                    domain_of(&l.primary),
                    Subject::Address(alias.clone()),
                    Subject::Address(l.primary.clone()),
                    Subject::Link(l.primary.clone()),
                    // A role makes a mailbox of it (L2), and may be the last super administrator's (R2).
                    Subject::Member(alias.clone()),
                ]
            }
            Self::Delegation(d) => [&d.reader, &d.mailbox]
                .into_iter()
                .flat_map(|a| [Subject::Address(a.clone()), Subject::Link(a.clone()), domain_of(a)])
                .collect(),
            Self::Role(r) => r.members.iter().flat_map(|a| [Subject::Address(a.clone()), Subject::Link(a.clone())]).collect(),
            Self::Connection(_) => Vec::new(),
        };
        found.push(Subject::Settings(namespace.to_owned()));
        found
    }
}
