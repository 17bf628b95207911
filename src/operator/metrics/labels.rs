//! The labels of series: kinds, results and functions, never an address or a name of anybody's making.

use prometheus_client::encoding::EncodeLabelSet;

/// How a reconcile, a status write or a password ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Done, and something changed.
    Changed,
    /// Done, and nothing had to change.
    Unchanged,
    /// It waits for something or is refused; the condition says what.
    NotReady,
    /// A fault of ours, of the store or of the API server; it is tried again.
    Failed,
}

impl Ended {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::NotReady => "not_ready",
            Self::Failed => "failed",
        }
    }
}

/// What became of a password that a Secret holds (SPEC P1, P2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashed {
    /// Hashed anew.
    Hashed,
    /// Compared with the stored hash, which it fits: only its fingerprint was new.
    Verified,
    /// It breaks a rule.
    Refused,
    /// Hashing did not succeed.
    Failed,
}

impl Hashed {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Hashed => "hashed",
            Self::Verified => "verified",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByKind {
    pub kind: &'static str,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByKindAndResult {
    pub kind: &'static str,
    pub result: &'static str,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByKindAndCondition {
    pub kind: &'static str,
    pub condition: &'static str,
    pub status: &'static str,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByCall {
    pub call: &'static str,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByVerbAndKind {
    pub verb: &'static str,
    pub kind: &'static str,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByReason {
    pub reason: &'static str,
    pub r#type: &'static str,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByFunction {
    pub function: String,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByResult {
    pub result: &'static str,
}
