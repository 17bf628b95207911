//! Rows as Postgres writes them in JSON, and their way into the plan's terms. One JSON array a query keeps a read a single column.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;

use crate::model::{CanonicalAddress, EntryId, PasswordPolicy, Rank, ResourceKey, Signs};
use crate::plan::directory::rows::{ConnectionRow, EntryRow, Exchange, Leaver};
use crate::plan::observed::{Absence, AddressRow, Counts, DirectorySide, DomainNumbers, DomainRow, EntryKey, Reports};
use crate::plan::settings::{Guard, Settings};

#[derive(Deserialize)]
pub(super) struct DomainJson {
    pub name: String,
    pub namespace: String,
    pub owner: Option<String>,
    pub recipient_validation: String,
    pub unknown_recipients: String,
    pub next_hop: String,
    pub learn_senders: bool,
    pub sub_addressing: String,
    pub postmaster: String,
    pub created_at: Timestamp,
}

impl From<DomainJson> for DomainRow {
    fn from(row: DomainJson) -> Self {
        Self {
            namespace: row.namespace,
            owner: row.owner,
            recipient_validation: row.recipient_validation,
            unknown_recipients: row.unknown_recipients,
            next_hop: row.next_hop,
            learn_senders: row.learn_senders,
            sub_addressing: row.sub_addressing,
            postmaster: row.postmaster,
            created_at: row.created_at,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct AddressJson {
    pub canonical: String,
    pub display: String,
    pub keys: Vec<String>,
    pub namespace: String,
    pub is_alias: bool,
    pub origin: String,
    pub owner: Option<String>,
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
    pub connection: Option<String>,
    pub entry: Option<String>,
    pub global_name: String,
    pub directory_disabled: bool,
    pub directory_missing: bool,
    pub holder_since: Option<Timestamp>,
    pub created_at: Timestamp,
    pub version: u32,
    // Reports.
    pub failed_at_lock: u32,
    pub locked_at: Option<Timestamp>,
    pub locked_until: Option<Timestamp>,
    pub failed_codes: u32,
    pub codes_locked_at: Option<Timestamp>,
    pub user_password_at: Option<Timestamp>,
    pub held: u32,
}

impl AddressJson {
    pub fn split(mut self) -> (CanonicalAddress, AddressRow, Reports) {
        // The canonical spelling leads, the others follow in any order: as model::Address lists them.
        let canonical = self.canonical.clone();
        self.keys.sort_by_key(|key| (*key != canonical, key.clone()));
        let reports = Reports {
            failed_at_lock: self.failed_at_lock,
            locked_at: self.locked_at,
            locked_until: self.locked_until,
            failed_codes: self.failed_codes,
            codes_locked_at: self.codes_locked_at,
            user_password_at: self.user_password_at,
            held: self.held,
        };
        let side = DirectorySide {
            connection: self.connection,
            entry: self.entry.as_deref().map(EntryId::from_store),
            global_name: self.global_name,
            directory_disabled: self.directory_disabled,
            directory_missing: self.directory_missing,
            holder_since: self.holder_since,
        };
        let row = AddressRow {
            directory: (side != DirectorySide::default()).then(|| Box::new(side)),
            display: self.display,
            keys: self.keys,
            namespace: self.namespace,
            is_alias: self.is_alias,
            origin: self.origin,
            owner: self.owner,
            last_owner: self.last_owner,
            display_name: self.display_name,
            attributes: self.attributes,
            disabled: self.disabled,
            shut: self.shut,
            closing: self.closing,
            archive_start: self.archive_start,
            smtp_submission: self.smtp_submission,
            pop: self.pop,
            unlocked_at: self.unlocked_at,
            codes_reset_at: self.codes_reset_at,
            created_at: self.created_at,
            version: Some(self.version),
        };
        (CanonicalAddress::from_store(&self.canonical), row, reports)
    }
}

#[derive(Deserialize)]
pub(super) struct LinkJson {
    pub alias: String,
    pub primary: String,
    pub namespace: String,
    pub owner: Option<String>,
    pub origin: String,
    pub made_row: bool,
    pub directory: Option<String>,
    /// The primary has left its directory: its aliases go with it (L5).
    pub leaving: bool,
}

#[derive(Deserialize)]
pub(super) struct DelegationJson {
    pub reader: String,
    pub mailbox: String,
    pub namespace: String,
    pub owner: Option<String>,
    pub effective_at: Timestamp,
}

#[derive(Deserialize)]
pub(super) struct RoleJson {
    pub namespace: String,
    pub name: String,
    pub owned: bool,
    pub built_in: Option<String>,
    pub permissions: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct MemberJson {
    pub address: String,
    pub namespace: String,
    pub role: String,
}

#[derive(Deserialize)]
pub(super) struct CredentialJson {
    pub address: String,
    /// Hex.
    pub fingerprint: String,
    pub key_id: String,
    pub never_expires: bool,
    pub force_change: bool,
    pub set_at: Timestamp,
}

#[derive(Deserialize)]
pub(super) struct WaitJson {
    pub address: String,
    pub action: String,
    pub since: Timestamp,
    pub held: bool,
    pub approved: bool,
}

#[derive(Deserialize)]
pub(super) struct AbsenceJson {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub since: Timestamp,
    pub held: bool,
    pub approved: bool,
    pub ended_at: Option<Timestamp>,
}

impl AbsenceJson {
    /// None for a kind that this version does not know.
    pub fn split(self) -> Option<(ResourceKey, Absence)> {
        let key = ResourceKey::new(self.kind.parse().ok()?, &self.namespace, &self.name);
        Some((key, Absence { since: self.since, held: self.held, approved: self.approved, ended_at: self.ended_at }))
    }
}

#[derive(Deserialize)]
pub(super) struct HandledJson {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub action: String,
    pub token: String,
}

#[derive(Deserialize)]
pub(super) struct SettingsJson {
    pub namespace: String,
    pub password_min_length: u32,
    pub password_uppercase: bool,
    pub password_lowercase: bool,
    pub password_digit: bool,
    pub password_symbol: bool,
    pub password_expires_days: u32,
    pub password_history: u32,
    pub lockout_failed_logons: u32,
    pub lockout_seconds: i64,
    pub reset_failed_codes: u32,
    pub purge_delay_seconds: i64,
    pub held_mail_reports: bool,
    pub guard_max_percent: u32,
    pub guard_min_count: u32,
    pub hide_confidential: bool,
}

impl From<SettingsJson> for Settings {
    fn from(row: SettingsJson) -> Self {
        Self {
            password: PasswordPolicy {
                min_length: row.password_min_length,
                uppercase: row.password_uppercase,
                lowercase: row.password_lowercase,
                digit: row.password_digit,
                symbol: row.password_symbol,
            },
            expires_after_days: row.password_expires_days,
            history: row.password_history,
            failed_logons: row.lockout_failed_logons,
            lockout: jiff::SignedDuration::from_secs(row.lockout_seconds),
            failed_codes: row.reset_failed_codes,
            purge_delay: jiff::SignedDuration::from_secs(row.purge_delay_seconds),
            held_mail_reports: row.held_mail_reports,
            guard: Guard { max_percent: row.guard_max_percent, min_count: row.guard_min_count },
            hide_confidential: row.hide_confidential,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct NumbersJson {
    pub name: String,
    pub total: u64,
    pub manual: u64,
    pub mail_flow: u64,
    pub directory: u64,
    pub imported: u64,
    pub distribution_lists: u64,
    pub aliases: u64,
    pub undeclared: u64,
    pub learned: u64,
    pub done: u64,
    pub gone: u64,
}

impl NumbersJson {
    pub fn numbers(&self) -> DomainNumbers {
        DomainNumbers {
            counts: Counts {
                total: self.total,
                manual: self.manual,
                mail_flow: self.mail_flow,
                directory: self.directory,
                imported: self.imported,
                distribution_lists: self.distribution_lists,
                aliases: self.aliases,
                undeclared: self.undeclared,
            },
            done: self.done,
            gone: self.gone,
            learned: self.learned,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct ConnectionJson {
    pub namespace: String,
    pub name: String,
    pub state: ConnectionRow,
}

#[derive(Deserialize)]
pub(super) struct EntryJson {
    pub namespace: String,
    pub connection: String,
    pub id: String,
    /// Hex.
    pub digest: Option<String>,
    pub signs: u8,
    pub rank: String,
    pub exchange: Option<String>,
    pub exchange_to: Option<String>,
    pub address: Option<String>,
}

impl EntryJson {
    pub fn split(self) -> (EntryKey, EntryRow) {
        let exchange = self
            .exchange
            .zip(self.exchange_to)
            .map(|(word, to)| Exchange { to: CanonicalAddress::from_store(&to), approved: word == "Approved" });
        let row = EntryRow {
            digest: self.digest.as_deref().and_then(digest),
            signs: Signs(self.signs),
            address: self.address.as_deref().map(CanonicalAddress::from_store),
            rank: Rank::ALL.into_iter().find(|rank| rank.as_str() == self.rank).unwrap_or_default(),
            exchange,
        };
        ((self.namespace, self.connection, EntryId::from_store(&self.id)), row)
    }
}

/// A digest as the store writes it, in hex.
pub(super) fn digest(hex: &str) -> Option<[u8; 16]> {
    u128::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 32).map(u128::to_be_bytes)
}

#[derive(Deserialize)]
pub(super) struct LeaverJson {
    pub address: String,
    pub since: Timestamp,
    pub missed: u32,
    pub held: bool,
    pub approved: bool,
    pub cleared_at: Option<Timestamp>,
}

impl LeaverJson {
    pub fn split(self) -> (CanonicalAddress, Leaver) {
        let leaver =
            Leaver { since: self.since, missed: self.missed, held: self.held, approved: self.approved, cleared_at: self.cleared_at };
        (CanonicalAddress::from_store(&self.address), leaver)
    }
}
