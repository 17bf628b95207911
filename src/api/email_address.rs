//! EmailAddress: one address, which is one user and one archive (SPEC sections 2, 6 and 7).
//!
//! Fields that a resource may leave to others are `Option` and have no schema default: absent means "not managed here", and a default
//! would have the API server declare what nobody wrote (SPEC 1).

use std::collections::BTreeMap;

use jiff::civil::Date;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EmailAddressLastHandled, Origin, names::LONGEST_MESSAGE};

/// The address, and what of it is managed here. A field that is left out is not managed: its value stands, whoever set it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[kube(
    group = "mailroster.dev",
    version = "v1alpha1",
    kind = "EmailAddress",
    plural = "emailaddresses",
    shortname = "eaddr",
    category = "mailroster",
    namespaced,
    status = "EmailAddressStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "One address, which is one user and one archive: credentials, permissions, life cycle. It waits for its InternalDomain and goes on by itself.",
    selectable = ".spec.address",
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.address"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(
        name = "Locked",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Locked')].status",
        description = "Too many failed logons; ends by itself"
    ),
    printcolumn(
        name = "Disabled",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Disabled')].status",
        description = "Logon by cloud password is shut; mail flows"
    ),
    printcolumn(name = "Origin", type_ = "string", json_path = ".status.origin", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct EmailAddressSpec {
    /// The address, in the spelling that people shall see, at most 320 characters; upper and lower case are one address. Cannot be changed
    /// after creation: it is the identity of the user and the archive. Example: `sales@acme.example`.
    #[schemars(length(min = 1, max = 320))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("cannot be changed after creation"))]
    pub address: String,

    /// The name that people see, at most 256 characters. Absent: not managed here. Example: `Sales`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub display_name: Option<String>,

    /// Free attributes, at most 50, each name of 1 to 64 and each value of at most 1024 characters. A name that is absent is not managed
    /// here. Example: `{department: Sales}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::attributes")]
    pub attributes: Option<BTreeMap<String, String>>,

    /// Where the user's cloud password comes from. Absent: not managed here, and the user may have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,

    /// Whether logon by cloud password is shut. Mail delivery goes on, and so does logon by a directory's password. Absent: not managed here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,

    /// The day, from 00:00 UTC, before which the user sees nothing of the archive: for an address that was another person's. Absent: not
    /// managed here. Example: `2026-01-01`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::date")]
    pub archive_start_date: Option<Date>,

    /// Which services the user may log on to. A service that is absent is not managed here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,

    /// Whether this resource may take over an address of its namespace that exists and that no resource owns. Default: Adopt.
    ///
    /// - Adopt: it may; the address keeps its origin and what is not managed here.
    /// - Fail: it may not, and is Stalled with AdoptionRefused.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,

    /// What becomes of the address when this resource is deleted. Default: Retain.
    ///
    /// - Retain: address, mail and archive stay; logon by cloud password is shut until a resource declares the address again.
    /// - Purge: the address goes with its aliases, credentials and delegations, after AccountSettings' purge.delay and once no mail is held for
    ///   it. The archive is not touched. Set Retain to undo while it waits.
    #[serde(default)]
    pub deletion_policy: AddressDeletionPolicy,

    /// Freezes the resource: nothing is written for it and nothing undone until this is false again. Deleted while frozen, a Purge lets go as
    /// Retain does. Default: false.
    #[serde(default)]
    pub suspend: bool,
}

/// A cloud password, taken from a Secret.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Password {
    /// The Secret that has it, in this namespace. It must carry the label `mailroster.dev/readable: "true"`.
    pub secret_ref: SecretKeyReference,

    /// What the Secret holds. Default: Plain.
    ///
    /// - Plain: the password itself, without a line end; it must fit AccountSettings' password policy.
    /// - Argon2: an argon2id PHC string. Example: `$argon2id$v=19$m=19456,t=2,p=1$...`.
    #[serde(default)]
    pub format: PasswordFormat,

    /// Whether the user must choose another password at the next logon. Acts once for each value taken from the Secret. Absent: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_change_at_logon: Option<bool>,

    /// Whether AccountSettings' password.expiresAfterDays is of no account for this user. Absent: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub never_expires: Option<bool>,
}

/// One value of a Secret in the resource's own namespace.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyReference {
    /// The Secret's name. Example: `sales-mail`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key within the Secret's data. Example: `password`.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// What a password Secret holds.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum PasswordFormat {
    /// The password itself.
    #[default]
    Plain,
    /// An argon2id PHC string.
    Argon2,
}

/// Services a user may log on to.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// Sending mail by SMTP submission. Absent: not managed here; a new address may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smtp_submission: Option<bool>,
    /// Fetching mail by POP. Absent: not managed here; a new address may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pop: Option<bool>,
}

/// Whether a resource may take over a row that no resource owns.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum AdoptionPolicy {
    /// It may.
    #[default]
    Adopt,
    /// It may not.
    Fail,
}

/// What becomes of an address whose resource is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum AddressDeletionPolicy {
    /// It stays, undeclared.
    #[default]
    Retain,
    /// It goes, after a delay and once nothing stands in the way.
    Purge,
}

/// What is in force, and what the controller found.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct EmailAddressStatus {
    /// The metadata.generation that this status speaks of; -1 until the controller has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready: what is declared is in force. Reconciling: the controller waits or tries again. Stalled: someone must act, the message says
    /// how. Always present beside Ready: Locked, ResetLocked, Disabled, PurgeBlocked, CredentialReady, PermissionsInherited, HolderChanged,
    /// MailAccepted. Example: `kubectl wait --for=condition=Locked=false`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::list")]
    pub conditions: Vec<Condition>,

    /// Where the address came from: Manual, MailFlow, Directory, Import or DistributionList.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,

    /// The name that the directory has for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub global_name: Option<String>,

    /// The primary address, when this one is an alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 320))]
    pub alias_of: Option<String>,

    /// Its other names, at most 50 of them; aliasCount tells how many there are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(max = 320)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub aliases: Vec<String>,

    /// How many other names it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias_count: Option<i64>,

    /// The name of the AdminRole it is a member of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub role: Option<String>,

    /// The lock that follows too many failed logons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockStatus>,

    /// The lock of the password reset function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_reset: Option<PasswordResetStatus>,

    /// The cloud password, without a word of what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordStatus>,

    /// How many messages to or from it the mail servers hold. Follows within a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_messages: Option<i64>,

    /// The purge that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purge: Option<PurgeStatus>,

    /// The action annotations that were done last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled: Option<EmailAddressLastHandled>,
}

/// The lock that follows too many failed logons.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct LockStatus {
    /// The count of failed logons at which it locked, else 0.
    #[serde(default)]
    pub failed_logons: i64,
    /// When the lock ends by itself. Absent: not locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::time")]
    pub locked_until: Option<Time>,
}

/// The lock of the password reset function.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct PasswordResetStatus {
    /// The count of wrong codes at which it locked, else 0.
    #[serde(default)]
    pub failed_codes: i64,
}

/// The cloud password that is in force.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct PasswordStatus {
    /// When it was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::time")]
    pub set_at: Option<Time>,
    /// When it ceases to open a logon. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::time")]
    pub expires_at: Option<Time>,
    /// Who set it: Declared (it came from the Secret) or User (the user changed it, and it stands until the Secret's value changes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<PasswordChangedBy>,
}

/// Who set the password that is in force.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[schemars(transform = super::schema::leave_description_to_the_field)]
pub enum PasswordChangedBy {
    /// It came from the Secret.
    Declared,
    /// The user changed it.
    User,
}

/// A purge under way.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct PurgeStatus {
    /// When the store first knew of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::time")]
    pub requested_at: Option<Time>,
    /// The earliest moment at which it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::time")]
    pub not_before: Option<Time>,
    /// All that stands in its way. It goes on at once when the last of them goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub blockers: Vec<PurgeBlocker>,
}

/// One thing that stands in a purge's way.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct PurgeBlocker {
    /// Delay, HeldMail, HeldMailUnknown, AdminRole, DirectoryManaged, DeclaredAlias or MassDeletion.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub reason: String,
    /// What it is, in words for people.
    #[serde(default)]
    #[schemars(length(max = LONGEST_MESSAGE))]
    pub message: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::time")]
    pub since: Option<Time>,
}
