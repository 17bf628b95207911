//! What a DirectoryConnection declares (SPEC 8).

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::Violation;
use crate::model::{Access, DomainName};
use crate::plan::settings::Guard;

/// Whether runs between full ones ask what changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detection {
    /// Where the server tells.
    Auto,
    /// Never.
    Full,
    /// The mechanism is named: a server that does not tell is worth a report.
    CountedOn,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionDeclared {
    pub access: Access,
    /// Empty: every domain of the namespace.
    pub domains: BTreeSet<DomainName>,
    pub interval: SignedDuration,
    pub full_interval: SignedDuration,
    pub detection: Detection,
    pub link_aliases: bool,
    pub acknowledge_disabled: bool,
    pub leavers: LeaversDeclared,
    pub guard: Guard,
    /// Filled in by whoever reads Secrets.
    pub secrets: SecretState,
}

impl ConnectionDeclared {
    /// Whether addresses of a domain of its namespace are its to bring.
    #[must_use]
    pub fn serves(&self, domain: &DomainName) -> bool {
        self.domains.is_empty() || self.domains.contains(domain)
    }

    /// Under what an entry's digest is kept: after a change of any of it the same entry may make other addresses. `frame`: [`Access::frame`].
    #[must_use]
    pub fn mapping(&self, frame: &str) -> String {
        format!("{frame} {} {}", self.link_aliases, self.acknowledge_disabled)
    }
}

/// Whether the Secrets of a connection can be had.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SecretState {
    #[default]
    Unread,
    /// By what their values are known again.
    Ready(String),
    Refused(Violation),
}

/// What becomes of who leaves the directory (Y6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaversDeclared {
    pub action: LeaverAction,
    /// Complete runs that lack somebody before anything follows.
    pub missed_runs: u32,
    /// From the first of them to the action.
    pub after: SignedDuration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaverAction {
    Keep,
    Disable,
    Purge,
}
