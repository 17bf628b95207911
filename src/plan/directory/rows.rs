//! What the store keeps of directories.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{CanonicalAddress, Rank, Signs};
use crate::plan::reason::Reason;
use crate::plan::verdict::HeldPlan;

/// What is known of a DirectoryConnection besides what it declares. No row: no run of it has begun.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionRow {
    pub last_run: Option<RunRecord>,
    /// Of which generation of its resource that was a run.
    pub generation: i64,
    /// By what the values of its Secrets then are known again.
    pub secrets: String,
    /// When the last run ended that saw everything (Y5).
    pub last_complete: Option<Timestamp>,
    /// When the last full run ended that saw everything.
    pub last_full: Option<Timestamp>,
    /// When the last run ended, full or incremental, without a fault (V3).
    pub last_successful: Option<Timestamp>,
    /// Base, filters, bind name, domains and servers of which the last complete run was complete ([`crate::model::Access::frame`]).
    pub frame: String,
    /// Of a complete run under another frame: the next complete one under it agrees with it (Y5).
    pub new_frame: String,
    /// Under what the digests of its entries were kept: another mapping makes other addresses of the same entry.
    pub mapping: String,
    /// Where an incremental run may go on.
    pub mark: Option<Mark>,
    /// What follows from absence and waits for a yes (Y7).
    pub held_leavers: Option<HeldPlan>,
    /// New holders and exchanges that wait for a yes (Y1, L8).
    pub held_holders: Option<HeldPlan>,
    /// Addresses that take no more mail once their leavers' action is carried out (Y6).
    pub ending: Option<Ending>,
}

/// Addresses that stop taking mail, as the last run saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    pub count: usize,
    /// When the first of them and the last of them stop.
    pub first: Timestamp,
    pub last: Timestamp,
    /// The first few, sorted.
    pub sample: Vec<String>,
}

/// How far a server was read (Y11).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Who gave it: an invocationId, or the suffix of a contextCSN.
    pub server: String,
    /// `SyncRepl` or `UpdateSequenceNumber`.
    pub mechanism: String,
    pub value: String,
}

/// `status.lastRun`. What another version did not keep is as if it had not been.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRecord {
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    /// The URL that answered; empty: none did.
    pub server: String,
    /// `Full`, `SyncRepl` or `UpdateSequenceNumber`.
    pub mode: String,
    pub complete: bool,
    #[serde(flatten)]
    pub counts: RunCounts,
    /// What went wrong, or keeps the run from being complete.
    pub problem: Option<Problem>,
    /// What people should look at: values that are no addresses, addresses that two entries have. The first few.
    pub reports: Vec<String>,
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunCounts {
    /// Entries that came.
    pub read: u64,
    /// Entries without an address in the selected domains (Y2).
    pub skipped: u64,
    pub created: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub linked: u64,
    pub relinked: u64,
    pub unlinked: u64,
    pub disabled: u64,
    pub enabled: u64,
    /// Addresses of the connection that no entry carries.
    pub missing: u64,
    /// Of those, the ones that wait for a yes.
    pub held: u64,
    /// Reports, the ones that are not shown included.
    pub reported: u64,
}

impl RunCounts {
    /// Adds what one chunk came to.
    pub fn add(&mut self, other: &Self) {
        self.skipped += other.skipped;
        self.created += other.created;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.linked += other.linked;
        self.relinked += other.relinked;
        self.unlinked += other.unlinked;
        self.disabled += other.disabled;
        self.enabled += other.enabled;
        self.reported += other.reported;
    }
}

/// Why a run failed or was not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    #[serde(with = "reason_text")]
    pub reason: Reason,
    /// Without credentials (Y9).
    pub message: String,
}

/// What was last read of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRow {
    /// Of all that was read; None: it is planned again although it reads the same, for it is missing, exchanges its address, wants what another one
    /// has, or was read from a server that is not proved.
    pub digest: Option<[u8; 16]>,
    pub signs: Signs,
    /// Its mailbox or list; None: it has none here.
    pub address: Option<CanonicalAddress>,
    /// As what it has that (Y3).
    pub rank: Rank,
    /// It exchanges addresses with others (L8).
    pub exchange: Option<Exchange>,
}

/// An exchange of addresses that an entry takes part in (L8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// What it is to have.
    pub to: CanonicalAddress,
    /// Somebody said yes to just that. Nothing of it is done before.
    pub approved: bool,
}

/// An address of a connection that no entry carries (Y6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaver {
    /// When a complete run lacked it first.
    pub since: Timestamp,
    /// In how many complete runs.
    pub missed: u32,
    /// Beyond the guard's limit: no passing of time releases it (Y7).
    pub held: bool,
    /// Released by its plan's hash: it counts against no limit.
    pub approved: bool,
    /// The guard let it pass then: what follows is done.
    pub cleared_at: Option<Timestamp>,
}

mod reason_text {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::plan::reason::Reason;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub fn serialize<S: Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(reason.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reason, D::Error> {
        // A later version may know more of them: its message tells.
        Ok(String::deserialize(deserializer)?.parse().unwrap_or(Reason::InternalError))
    }
}
