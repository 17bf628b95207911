//! InternalDomain: a mail domain of the tenant (SPEC section 3, V1 to V4).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HeldPlan, InternalDomainLastHandled};

/// What the domain is and how strangers' mail to it is checked.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[kube(
    group = "mailroster.dev",
    version = "v1alpha1",
    kind = "InternalDomain",
    plural = "internaldomains",
    shortname = "idom",
    category = "mailroster",
    namespaced,
    status = "InternalDomainStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A mail domain of the tenant and how strangers' mail to it is checked. Addresses wait until their domain exists. A domain belongs to one namespace of the cluster.",
    selectable = ".spec.domain",
    printcolumn(name = "Domain", type_ = "string", json_path = ".spec.domain"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(
        name = "Addresses",
        type_ = "integer",
        json_path = ".status.addresses.total",
        description = "Addresses of every kind in the domain, aliases and lists included"
    ),
    printcolumn(name = "Validation", type_ = "string", json_path = ".spec.recipientValidation", priority = 1),
    printcolumn(
        name = "Undeclared",
        type_ = "integer",
        json_path = ".status.addresses.undeclared",
        description = "Addresses that no resource declares",
        priority = 1
    ),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.recipientValidation != 'CallForward' || (has(self.nextHop) && size(self.nextHop) > 0)")
        .message("nextHop is required when recipientValidation is CallForward: it is the server that is asked")
        .reason(Reason::FieldValueRequired)
)]
pub struct InternalDomainSpec {
    /// The domain, in Unicode or as an A-label, at most 255 characters. Cannot be changed after creation: make a new resource instead.
    /// Example: `acme.example`.
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("cannot be changed after creation"))]
    pub domain: String,

    /// Which recipients strangers may write to. Default: Known.
    ///
    /// - Any: every address of the domain.
    /// - Known: addresses on the roster, whatever their origin, with aliases and lists.
    /// - Directory: only what a directory has, and aliases of that.
    /// - CallForward: the server in nextHop is asked.
    /// - None: nobody; the domain only sends.
    ///
    /// An unknown recipient is never refused while the roster may be incomplete: within the domain's first hour, or while the directory is out
    /// of date, mail to it is deferred.
    #[serde(default)]
    pub recipient_validation: RecipientValidation,

    /// What a stranger's mail to an unknown recipient is answered with. Default: Reject.
    ///
    /// - Reject: 550 5.1.1, for good.
    /// - Defer: 451 4.1.1, the sender tries again.
    #[serde(default)]
    pub unknown_recipients: UnknownRecipients,

    /// The server that knows the domain's recipients, as `host:port`, at most 320 characters. Required when recipientValidation is
    /// CallForward, else unused. Example: `mail.acme.example:25`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 320))]
    pub next_hop: Option<String>,

    /// Whether the first mail that an authenticated sender of this domain sends out creates the sender's address, with origin MailFlow.
    /// Default: true.
    #[serde(default = "yes")]
    pub learn_senders: bool,

    /// The sign that begins a sub-address, one character: with `+`, mail to sales+fair@acme.example goes to sales@acme.example, unless
    /// sales+fair@ is an address itself. Default: empty, no sub-addressing.
    #[serde(default)]
    #[schemars(length(max = 1))]
    pub sub_addressing: String,

    /// The address that mail to postmaster@ and abuse@ of this domain goes to when no address of that name is declared; RFC 5321 and RFC
    /// 2142 want both to exist. At most 320 characters. Example: `it@acme.example`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 320))]
    pub postmaster: Option<String>,

    /// What becomes of the domain when this resource is deleted. Default: Retain.
    ///
    /// - Retain: it goes on working, undeclared.
    /// - Delete: it goes, once no address remains in it; addresses that no resource declares are then offered in status.heldPlan.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// Freezes the resource: nothing is written for it and nothing undone until this is false again. Default: false.
    #[serde(default)]
    pub suspend: bool,
}

fn yes() -> bool {
    true
}

/// Which recipients strangers may write to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum RecipientValidation {
    /// Every address of the domain.
    Any,
    /// Every address on the roster.
    #[default]
    Known,
    /// What a directory has, and aliases of that.
    Directory,
    /// The next hop is asked.
    CallForward,
    /// Nobody: the domain only sends.
    None,
}

/// How an unknown recipient is answered.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum UnknownRecipients {
    /// 550 5.1.1.
    #[default]
    Reject,
    /// 451 4.1.1.
    Defer,
}

/// What becomes of a domain whose resource is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum DeletionPolicy {
    /// It goes on working, undeclared.
    #[default]
    Retain,
    /// It goes once no address remains in it.
    Delete,
}

/// What is in force, and what the controller found.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct InternalDomainStatus {
    /// The metadata.generation that this status speaks of; -1 until the controller has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready: the domain is in force. Reconciling: the controller waits or tries again. Stalled: someone must act, the message says how.
    /// Always present beside Ready: DeletionsHeld, DirectoryReady, PostmasterMissing, LearningHeld.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::list")]
    pub conditions: Vec<Condition>,

    /// How many addresses the domain has. Follows changes within seconds after a quiet minute, else once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<AddressCounts>,

    /// Removals in this domain that wait for approval because they were too many at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_plan: Option<HeldPlan>,

    /// The action annotations that were done last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled: Option<InternalDomainLastHandled>,
}

/// Addresses of one domain, counted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct AddressCounts {
    /// All of them: mailboxes, aliases and lists.
    pub total: i64,
    /// Created by a resource.
    pub manual: i64,
    /// Learned from mail that was sent.
    pub mail_flow: i64,
    /// Known to a directory.
    pub directory: i64,
    /// Created by an AddressImport.
    pub imported: i64,
    /// Mail-enabled groups of a directory.
    pub distribution_lists: i64,
    /// Other names of a primary address, whatever their origin.
    pub aliases: i64,
    /// Declared by no resource, whatever their origin.
    pub undeclared: i64,
}
