//! What the store knows of an address, as `facts.sql` tells it.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;

/// One moment of the store.
#[derive(Debug, Deserialize)]
pub(super) struct Facts {
    pub now: Timestamp,
    /// Whether mail servers are answered at all (V3).
    pub answers: bool,
    /// What `gateway.recipient_action_v1` says; None is "no objection", or nothing while nobody is answered.
    pub action: Option<String>,
    pub domain: Option<Domain>,
    pub row: Option<Row>,
    /// What an alias stands for.
    pub primary: Option<String>,
    pub link: Option<Link>,
    pub aliases: Vec<String>,
    pub credential: Option<Credential>,
    pub logon: Option<Logon>,
    /// The primary's, for an alias: that is whose logon it is.
    pub access: Option<Access>,
    pub role: Option<Role>,
    pub reads: Vec<String>,
    pub read_by: Vec<String>,
    pub held: Vec<Held>,
    pub waits: Vec<Wait>,
    pub learned_at: Option<Timestamp>,
    pub purged_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Domain {
    pub name: String,
    pub namespace: String,
    pub owner: Option<String>,
    pub validation: String,
    pub unknown: String,
    pub next_hop: String,
    pub learns: bool,
    pub sub_addressing: String,
    pub postmaster: String,
    pub created_at: Timestamp,
    pub grace_ends_at: Timestamp,
}

#[derive(Debug, Deserialize)]
pub(super) struct Row {
    pub canonical: String,
    pub display: String,
    pub namespace: String,
    pub origin: String,
    pub owner: Option<String>,
    pub last_owner: Option<String>,
    pub is_alias: bool,
    pub closing: bool,
    pub archive_start: Option<Date>,
    /// Whether the domain's mode accepts it.
    pub accepted: bool,
    pub keys: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Link {
    pub owner: Option<String>,
    pub origin: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Credential {
    pub set_at: Timestamp,
    pub by_user: bool,
    pub forced: bool,
    pub expired: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Logon {
    pub locked: bool,
    pub locked_until: Option<Timestamp>,
    pub failed: i64,
    pub limit: i64,
    pub last_failed_at: Option<Timestamp>,
    pub last_source: Option<String>,
    pub reset_locked: bool,
    pub failed_codes: i64,
    pub codes_limit: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Access {
    pub smtp_submission: bool,
    pub pop: bool,
    pub disabled: bool,
    pub shut: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Role {
    pub name: String,
    pub owned: bool,
    pub permissions: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Held {
    pub source: String,
    pub state: String,
    pub count: i64,
    pub since: Timestamp,
}

#[derive(Debug, Deserialize)]
pub(super) struct Wait {
    pub action: String,
    pub since: Timestamp,
    pub held: bool,
    pub approved: bool,
}
