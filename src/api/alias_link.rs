//! AliasLink: one address is another name of a primary address (SPEC section 4).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LastHandled, Origin};

/// Which address is another name of which.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[kube(
    group = "mailroster.dev",
    version = "v1alpha1",
    kind = "AliasLink",
    plural = "aliaslinks",
    shortname = "alink",
    category = "mailroster",
    namespaced,
    status = "AliasLinkStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "One address is another name of a primary address: mail to the alias reaches the primary's mailbox, and the primary may send as the alias. Deleting the resource takes the link away.",
    selectable = ".spec.alias",
    selectable = ".spec.primary",
    printcolumn(name = "Alias", type_ = "string", json_path = ".spec.alias"),
    printcolumn(name = "Primary", type_ = "string", json_path = ".spec.primary"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct AliasLinkSpec {
    /// The other name, at most 320 characters. It is created when it does not exist. Example: `orders@acme.example`.
    #[schemars(length(min = 1, max = 320))]
    pub alias: String,

    /// The address it is a name of: one that exists and is no alias itself, at most 320 characters. Example: `sales@acme.example`.
    #[schemars(length(min = 1, max = 320))]
    pub primary: String,

    /// Allows alias and primary to be in different domains of this namespace. Default: false.
    #[serde(default)]
    pub cross_domain: bool,

    /// Allows the alias to be a mailbox of its own until now, one with a credential, a role, a delegation or a directory entry, which it then
    /// no longer is. Its archive stays. Default: false.
    #[serde(default)]
    pub take_over_mailbox: bool,

    /// Freezes the resource: nothing is written for it and nothing undone until this is false again. Deleting it still takes the link away.
    /// Default: false.
    #[serde(default)]
    pub suspend: bool,
}

/// What is in force, and what the controller found.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct AliasLinkStatus {
    /// The metadata.generation that this status speaks of; -1 until the controller has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready: the link is in force. Reconciling: the controller waits or tries again. Stalled: someone must act, the message says how.
    /// Always present beside Ready: MailAccepted, DirectoryDisagrees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::list")]
    pub conditions: Vec<Condition>,

    /// The primary that the alias has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 320))]
    pub primary: Option<String>,

    /// Where the alias came from: Manual, MailFlow, Directory, Import or DistributionList.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,

    /// The action annotations that were done last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled: Option<LastHandled>,
}
