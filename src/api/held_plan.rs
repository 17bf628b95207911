//! A plan that waits for a person's approval (SPEC U4, C6).

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What waits for a yes: removals that were too many to be done unasked, or new holders and exchanges of addresses. Release exactly these with
/// `kubectl annotate ... mailroster.dev/approve=HASH`.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct HeldPlan {
    /// Names this plan and no other: the first 16 hex digits of SHA-256 over all its lines. Example: `9f86d081884c7d65`.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub hash: String,
    /// How many lines the plan has.
    #[serde(default)]
    pub count: i64,
    /// The first of its lines, at most 10, each an action and its subject: `Purge`, `Shut` or `Unlink` and an address on an
    /// InternalDomain, `Revoke` and a resource on AccountSettings, `Leave`, `NewHolder` or `Exchange` and an address on a
    /// DirectoryConnection. Example: `Purge sales@acme.example`, `Revoke AliasLink/desk`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub sample: Vec<String>,
}
