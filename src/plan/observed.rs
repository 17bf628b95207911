//! What the store holds, as the plan sees it. Rows are keyed by what they are about; ids stay in the store.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::desired::Action;
use super::directory::rows::{ConnectionRow, EntryRow, Leaver};
use super::relation::{Delegations, Links};
use super::settings::Settings;
use super::shared::Shared;
use crate::model::{CanonicalAddress, DomainName, EntryId, Kind, ResourceKey};

/// The rows in view. For a slice: those of its subjects, and the numbers of its domains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    pub settings: BTreeMap<String, Settings>,
    pub domains: BTreeMap<DomainName, DomainRow>,
    pub addresses: Shared<CanonicalAddress, AddressRow>,
    pub links: Links,
    pub delegations: Delegations,
    /// By namespace, name.
    pub roles: BTreeMap<(String, String), RoleRow>,
    /// Address to the role it is a member of.
    pub members: BTreeMap<CanonicalAddress, (String, String)>,
    pub credentials: BTreeMap<CanonicalAddress, CredentialRow>,
    pub waiting: BTreeMap<(CanonicalAddress, WaitAction), Wait>,
    pub tombstones: BTreeMap<CanonicalAddress, Timestamp>,
    pub handled: BTreeMap<(ResourceKey, Action), String>,
    /// What mail servers reported.
    pub reports: BTreeMap<CanonicalAddress, Reports>,
    /// When each known mail queue last reported.
    pub held_sources: BTreeMap<String, Timestamp>,
    /// Learned senders that are no addresses yet, by domain.
    pub learned: BTreeMap<DomainName, BTreeSet<CanonicalAddress>>,
    /// Per domain; absent where nothing in the slice needs them.
    pub numbers: BTreeMap<DomainName, DomainNumbers>,
    /// Domains that somebody asked to hand over: by name, the taking namespace.
    pub transfers: BTreeMap<DomainName, String>,
    /// What stands in the way of handing a domain over, the first five (D1).
    pub transfer_blockers: BTreeMap<DomainName, Vec<String>>,
    /// Owners that went out of sight (U6), in the namespaces in view.
    pub absences: BTreeMap<ResourceKey, Absence>,
    /// Links, delegations and roles that some resource owns, by kind and namespace; absent where nothing is missing.
    pub rights: BTreeMap<(Kind, String), u64>,
    /// The uid under which the store knows a namespace.
    pub namespaces: BTreeMap<String, String>,
    /// Of domains that validate by directory: until when what directories said of them is fresh (V3). Absent: no connection of the namespace
    /// has run; None: none has read all of the domain.
    pub coverage: BTreeMap<DomainName, Option<Timestamp>>,
    /// How the runs of connections went, by namespace and name.
    pub connections: BTreeMap<(String, String), ConnectionRow>,
    /// What was last read of entries, by namespace, connection and id.
    pub entries: BTreeMap<EntryKey, EntryRow>,
    /// Addresses of connections that no entry carries (Y6).
    pub leavers: BTreeMap<CanonicalAddress, Leaver>,
}

/// Which entry: namespace and name of its connection, and its id there.
pub type EntryKey = (String, String, EntryId);

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DomainRow {
    pub namespace: String,
    pub owner: Option<String>,
    pub recipient_validation: String,
    pub unknown_recipients: String,
    pub next_hop: String,
    pub learn_senders: bool,
    pub sub_addressing: String,
    pub postmaster: String,
    #[serde(skip)]
    pub created_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AddressRow {
    /// As declared.
    pub display: String,
    #[serde(skip)]
    pub keys: Vec<String>,
    pub namespace: String,
    pub is_alias: bool,
    pub origin: String,
    pub owner: Option<String>,
    /// The EmailAddress that declares the row or did so last: its name takes the row back (A8). None: never declared (P6).
    pub last_owner: Option<String>,
    pub display_name: String,
    pub attributes: BTreeMap<String, String>,
    pub disabled: bool,
    pub shut: bool,
    pub closing: bool,
    pub archive_start: Option<Date>,
    pub smtp_submission: bool,
    pub pop: bool,
    pub unlocked_at: Option<Timestamp>,
    pub codes_reset_at: Option<Timestamp>,
    /// None: no directory ever had it.
    #[serde(flatten)]
    pub directory: Option<Box<DirectorySide>>,
    #[serde(skip)]
    pub created_at: Timestamp,
    /// What the store calls the state that was read; None: the row is new. A row that has another by the time it is written was edited
    /// meanwhile, maybe where nothing is declared and the edit stands: it is read and planned again.
    #[serde(skip)]
    pub version: Option<u32>,
}

/// What directories make of an address (Y12).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DirectorySide {
    /// None: it has left its connection (Y6, Y8).
    pub connection: Option<String>,
    /// The entry that holds the mailbox, or held it last (Y1); None: it was never more than an alias.
    pub entry: Option<EntryId>,
    pub global_name: String,
    /// P6 DirectoryDisabled.
    pub directory_disabled: bool,
    /// P6 DirectoryMissing.
    pub directory_missing: bool,
    /// Another entry has it since then, and nobody said that it is the same person (Y1).
    pub holder_since: Option<Timestamp>,
}

impl AddressRow {
    /// Whether it is the same to all but its claimants: to links, delegations and roles that name it, and to the domain whose postmaster
    /// it is.
    #[must_use]
    pub fn looks_the_same(&self, other: &Self) -> bool {
        let Self {
            namespace,
            is_alias,
            origin,
            closing,
            archive_start,
            created_at,
            directory,
            display: _,
            keys: _,
            owner: _,
            last_owner: _,
            display_name: _,
            attributes: _,
            disabled: _,
            shut: _,
            smtp_submission: _,
            pop: _,
            unlocked_at: _,
            codes_reset_at: _,
            version: _,
        } = self;
        let as_others_see =
            (&other.namespace, &other.is_alias, &other.origin, &other.closing, &other.archive_start, &other.created_at, &other.directory);
        (namespace, is_alias, origin, closing, archive_start, created_at, directory) == as_others_see
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkRow {
    pub primary: CanonicalAddress,
    pub namespace: String,
    pub owner: Option<String>,
    /// Declared | Directory
    pub origin: String,
    pub made_row: bool,
    /// The primary that a directory names (L4); None: none does.
    pub directory: Option<CanonicalAddress>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DelegationRow {
    pub namespace: String,
    pub owner: Option<String>,
    #[serde(skip)]
    pub effective_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoleRow {
    /// False: the resource is gone and the row keeps the last super administrator (R2).
    pub owned: bool,
    pub built_in: Option<String>,
    pub permissions: Vec<String>,
}

impl AddressRow {
    /// The connection that has it.
    #[must_use]
    pub fn connection(&self) -> Option<&str> {
        self.directory.as_ref()?.connection.as_deref()
    }

    /// The entry that holds it, or held it last.
    #[must_use]
    pub fn entry(&self) -> Option<&EntryId> {
        self.directory.as_ref()?.entry.as_ref()
    }
}

impl RoleRow {
    #[must_use]
    pub fn is_super(&self) -> bool {
        self.built_in.as_deref() == Some("SuperAdministrator")
    }
}

/// A credential without its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialRow {
    pub fingerprint: Vec<u8>,
    pub key_id: String,
    pub never_expires: bool,
    pub set_at: Timestamp,
    /// Forced change was asked for with the value in force.
    pub force_change: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitAction {
    Purge,
    Shut,
    Unlink,
}

impl WaitAction {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Purge => "Purge",
            Self::Shut => "Shut",
            Self::Unlink => "Unlink",
        }
    }
}

/// Something that ends, but not on sight (U2, U4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    pub since: Timestamp,
    /// Part of a held plan: no passing of time releases it.
    pub held: bool,
    /// Released by its plan's hash: the guard counts it no more.
    pub approved: bool,
}

/// A resource that rows name and no list has (U6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// When a complete list lacked it first.
    pub since: Timestamp,
    /// Beyond the day's share: no passing of time releases it.
    pub held: bool,
    /// Released by its plan's hash: it counts against no share.
    pub approved: bool,
    /// It counts as ended since then; kept for a day, for the share.
    pub ended_at: Option<Timestamp>,
}

/// What mail servers reported of one address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reports {
    pub failed_at_lock: u32,
    pub locked_at: Option<Timestamp>,
    pub locked_until: Option<Timestamp>,
    pub failed_codes: u32,
    pub codes_locked_at: Option<Timestamp>,
    /// When the user last set the password (P9).
    pub user_password_at: Option<Timestamp>,
    /// Messages held, queued or in processing.
    pub held: u32,
}

/// Numbers of one domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DomainNumbers {
    pub counts: Counts,
    /// Of the guard: ends carried out unapproved within the hour, of any kind: they count against its limit.
    pub done: u64,
    /// Addresses that went within the hour, approved or not, aliases that a purge took along included: they are part of n.
    pub gone: u64,
    /// Addresses learned from mail flow within the hour.
    pub learned: u64,
}

/// `status.addresses` of a domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub total: u64,
    pub manual: u64,
    pub mail_flow: u64,
    pub directory: u64,
    pub imported: u64,
    pub distribution_lists: u64,
    pub aliases: u64,
    pub undeclared: u64,
}

impl Observed {
    /// The settings in force in a namespace.
    #[must_use]
    pub fn settings(&self, namespace: &str) -> Settings {
        self.settings.get(namespace).cloned().unwrap_or_default()
    }

    /// The lock of an address, while it is in force.
    #[must_use]
    pub fn lock(&self, address: &CanonicalAddress, now: Timestamp) -> Option<(u32, Timestamp)> {
        let reports = self.reports.get(address)?;
        let (at, until) = (reports.locked_at?, reports.locked_until?);
        let unlocked = self.addresses.get(address).and_then(|row| row.unlocked_at);
        (until > now && unlocked.is_none_or(|u| at > u)).then_some((reports.failed_at_lock, until))
    }

    /// The lock of the password-reset function, while it is in force.
    #[must_use]
    pub fn reset_lock(&self, address: &CanonicalAddress) -> Option<u32> {
        let reports = self.reports.get(address)?;
        let at = reports.codes_locked_at?;
        let reset = self.addresses.get(address).and_then(|row| row.codes_reset_at);
        reset.is_none_or(|r| at > r).then_some(reports.failed_codes)
    }
}
