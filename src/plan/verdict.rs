//! What a plan says of each resource: conditions without times, and the facts of its status. Merging with the previous status adds the
//! times and finds out whether anything changed; that is the operator's work.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;

use super::desired::{Action, Violation};
use super::directory::rows::RunRecord;
use super::observed::Counts;
use super::reason::{Disposition, Reason};

/// The outcome for one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub generation: i64,
    pub ready: Finding,
    /// The conditions besides Ready, Reconciling and Stalled, in the order in which people read them.
    pub conditions: Vec<Condition>,
    pub detail: Detail,
    pub handled: BTreeMap<Action, String>,
    /// Our finalizer may go.
    pub release: bool,
}

/// What Ready says. True exactly when the disposition is [`Disposition::Fine`]; Suspended keeps the previous value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub reason: Reason,
    pub message: String,
}

/// Every condition that some kind carries; the first three are the kstatus triple (SPEC C1).
pub const CONDITIONS: [&str; 17] = [
    "Ready",
    "Reconciling",
    "Stalled",
    "Locked",
    "ResetLocked",
    "Disabled",
    "PurgeBlocked",
    "CredentialReady",
    "PermissionsInherited",
    "HolderChanged",
    "MailAccepted",
    "DirectoryDisagrees",
    "DeletionsHeld",
    "AddressesEnding",
    "DirectoryReady",
    "PostmasterMissing",
    "LearningHeld",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub kind: &'static str,
    pub status: bool,
    pub reason: Reason,
    pub message: String,
}

/// The part of a status that only its kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    Settings {
        held: Option<HeldPlan>,
    },
    Domain {
        /// None: not counted in this plan; the last ones stand.
        addresses: Option<Counts>,
        held: Option<HeldPlan>,
    },
    Address(Box<AddressDetail>),
    Connection(Box<ConnectionDetail>),
    Link {
        primary: String,
        origin: String,
    },
    Delegation {
        effective_at: Option<Timestamp>,
        visible_from: Option<Date>,
    },
    Role {
        total: usize,
        in_force: usize,
        rejected: Vec<Rejection>,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressDetail {
    pub origin: String,
    pub global_name: String,
    pub alias_of: String,
    pub aliases: Vec<String>,
    pub alias_count: usize,
    pub role: String,
    pub failed_logons: u32,
    pub locked_until: Option<Timestamp>,
    pub failed_codes: u32,
    pub password_set_at: Option<Timestamp>,
    pub password_expires_at: Option<Timestamp>,
    pub password_changed_by: &'static str,
    pub held_messages: u32,
    pub purge: Option<PurgeDetail>,
}

/// What the status of a DirectoryConnection shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionDetail {
    pub last_run: Option<RunRecord>,
    pub last_complete: Option<Timestamp>,
    pub last_successful: Option<Timestamp>,
    pub held_leavers: Option<HeldPlan>,
    pub held_holders: Option<HeldPlan>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeDetail {
    pub requested_at: Timestamp,
    pub not_before: Timestamp,
    pub blockers: Vec<Blocker>,
}

/// One thing that a purge waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    pub reason: Reason,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub address: String,
    pub reason: Reason,
    pub holder: String,
}

/// What waits for a yes (C6).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HeldPlan {
    /// First 16 hex digits of SHA-256 over the sorted lines `action subject`.
    pub hash: String,
    pub count: usize,
    /// At most 10 of the lines.
    pub sample: Vec<String>,
}

impl Finding {
    #[must_use]
    pub fn fine(message: impl Into<String>) -> Self {
        Self { reason: Reason::Succeeded, message: message.into() }
    }

    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.reason.disposition() == Disposition::Fine
    }
}

impl From<Violation> for Finding {
    fn from(violation: Violation) -> Self {
        Self { reason: violation.reason, message: violation.message }
    }
}

impl Condition {
    pub fn new(kind: &'static str, status: bool, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, status, reason, message: message.into() }
    }

    /// A condition in its quiet state.
    #[must_use]
    pub fn quiet(kind: &'static str, status: bool, reason: Reason) -> Self {
        Self::new(kind, status, reason, "")
    }
}
