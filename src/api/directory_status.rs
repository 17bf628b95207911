//! The status of a DirectoryConnection: how its runs went, and what waits for a yes (SPEC section 8).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{LONGEST_REPORT, MOST_REPORTS};
use super::{DirectoryConnectionLastHandled, HeldPlan};

/// How the runs went, and what the controller found.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryConnectionStatus {
    /// The metadata.generation that this status speaks of; -1 until the controller has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready: the last run saw everything that it asked for. Reconciling: no run has ended yet, or it is tried again. Stalled: someone must
    /// act, the message says how. Always present beside Ready: AddressesEnding, DeletionsHeld,
    /// HolderChanged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::list")]
    pub conditions: Vec<Condition>,

    /// The run that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<DirectoryRun>,

    /// When a run last ended that saw everything: only from such runs follows that an address has left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::time")]
    pub last_complete_run: Option<Time>,

    /// When a run last ended without a fault, whether it read everything or only what changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::time")]
    pub last_successful_run: Option<Time>,

    /// What follows from absence and waits for approval because it was too much at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_plan: Option<HeldPlan>,

    /// Addresses that another entry has than before: cloud password, role and delegations are withheld until approval says that it is the
    /// same person. Entries that exchange addresses wait here too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_holders: Option<HeldPlan>,

    /// The action annotations that were done last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled: Option<DirectoryConnectionLastHandled>,
}

/// One run, from bind to the last page.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryRun {
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::time")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::time")]
    pub finished_at: Option<Time>,
    /// The server that answered. Absent: none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub server: Option<String>,
    /// How it read: Full, or the mechanism that showed what had changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub mode: Option<String>,
    /// Whether it saw everything. Without that nothing follows from what it did not see.
    #[serde(default)]
    pub complete: bool,
    /// Entries read.
    #[serde(default)]
    pub read: i64,
    /// Entries without an address in the domains that are served.
    #[serde(default)]
    pub skipped: i64,
    /// Addresses made.
    #[serde(default)]
    pub created: i64,
    /// Addresses changed.
    #[serde(default)]
    pub updated: i64,
    /// Addresses that were as they should be.
    #[serde(default)]
    pub unchanged: i64,
    /// Addresses that became aliases.
    #[serde(default)]
    pub linked: i64,
    /// Aliases that turned to another primary address.
    #[serde(default)]
    pub relinked: i64,
    /// Aliases that became addresses of their own, or went.
    #[serde(default)]
    pub unlinked: i64,
    /// Addresses whose logon by cloud password was shut.
    #[serde(default)]
    pub disabled: i64,
    /// Addresses whose logon by cloud password was opened again.
    #[serde(default)]
    pub enabled: i64,
    /// Addresses of the connection that no entry has.
    #[serde(default)]
    pub missing: i64,
    /// Those of them that wait for approval.
    #[serde(default)]
    pub held: i64,
    /// How many things people should look at; reports shows the first of them.
    #[serde(default)]
    pub reported: i64,
    /// What people should look at, at most 10: values that are no addresses, addresses that two entries have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST_REPORTS), inner(length(max = LONGEST_REPORT)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub reports: Vec<String>,
}
