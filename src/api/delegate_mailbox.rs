//! DelegateMailbox: one user may read another user's mailbox (SPEC M1 to M4).

use jiff::civil::Date;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LastHandled;

/// Who may read what: the reader reads the mailbox.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[kube(
    group = "mailroster.dev",
    version = "v1alpha1",
    kind = "DelegateMailbox",
    plural = "delegatemailboxes",
    shortname = "dmbx",
    category = "mailroster",
    namespaced,
    status = "DelegateMailboxStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "One user may read another user's archived mail. Messages marked personal or private stay hidden from the reader. Deleting the resource ends the right before kubectl returns.",
    selectable = ".spec.reader",
    selectable = ".spec.mailbox",
    printcolumn(name = "Reader", type_ = "string", json_path = ".spec.reader"),
    printcolumn(name = "Mailbox", type_ = "string", json_path = ".spec.mailbox"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct DelegateMailboxSpec {
    /// The primary address of who reads, at most 320 characters. Example: `frontdesk@acme.example`.
    #[schemars(length(min = 1, max = 320))]
    pub reader: String,

    /// The primary address of the mailbox that is read, at most 320 characters. Example: `info@acme.example`.
    #[schemars(length(min = 1, max = 320))]
    pub mailbox: String,

    /// Freezes the resource: nothing is written for it and nothing undone until this is false again. Deleting it still ends the right.
    /// Default: false.
    #[serde(default)]
    pub suspend: bool,
}

/// What is in force, and what the controller found.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct DelegateMailboxStatus {
    /// The metadata.generation that this status speaks of; -1 until the controller has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready: the reader may read. Reconciling: the controller waits or tries again. Stalled: someone must act, the message says how.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::list")]
    pub conditions: Vec<Condition>,

    /// Since when the reader may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::time")]
    pub effective_at: Option<Time>,

    /// The mailbox's archive start date: the reader sees nothing that was archived before 00:00 UTC of that day. Absent: sees all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::date")]
    pub visible_from: Option<Date>,

    /// The action annotations that were done last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled: Option<LastHandled>,
}
