//! AccountSettings: the tenant's password, lockout, purge and guard settings; one per namespace, named `default` (SPEC 1).
//!
//! `Default` of each type here is what holds for a namespace without the resource.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, core::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccountSettingsLastHandled, HeldPlan};

/// The settings. One that is left out has its default.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[kube(
    group = "mailroster.dev",
    version = "v1alpha1",
    kind = "AccountSettings",
    plural = "accountsettings",
    shortname = "acct",
    category = "mailroster",
    namespaced,
    status = "AccountSettingsStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "The tenant's password, lockout, purge and guard settings. One per namespace, named default; without it the defaults hold.",
    validation = Rule::new("self.metadata.name == 'default'").message("must be named default: a namespace has one AccountSettings"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Purge Delay", type_ = "string", json_path = ".spec.purge.delay"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", default)]
pub struct AccountSettingsSpec {
    /// What a cloud password must be like. A change binds the next password, not the stored one.
    pub password: PasswordPolicy,
    /// When failed logons lock an address, and for how long.
    pub lockout: Lockout,
    /// When wrong codes lock the password reset function of an address.
    pub password_reset: PasswordReset,
    /// How long a purge waits, and for what.
    pub purge: Purge,
    /// How many removals are done unasked; more are held for approval.
    pub deletion_guard: DeletionGuard,
    /// Whether messages marked confidential are hidden from delegates, as those marked personal or private always are. Default: false.
    pub hide_confidential: bool,
}

/// What a cloud password must be like.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct PasswordPolicy {
    /// The least number of characters, 1 to 128. Default: 12.
    #[schemars(range(min = 1, max = 128))]
    pub min_length: i32,
    /// Whether an upper-case letter must be in it. Default: true.
    pub require_uppercase: bool,
    /// Whether a lower-case letter must be in it. Default: true.
    pub require_lowercase: bool,
    /// Whether a digit must be in it. Default: true.
    pub require_digit: bool,
    /// Whether something else than letters and digits must be in it. Default: false.
    pub require_symbol: bool,
    /// After how many days it must be changed, 0 to 3650; 0: never. Default: 0.
    #[schemars(range(min = 0, max = 3650))]
    pub expires_after_days: i32,
    /// How many earlier passwords may not be used again, 0 to 24. Default: 5.
    #[schemars(range(min = 0, max = 24))]
    pub history: i32,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self {
            min_length: 12,
            require_uppercase: true,
            require_lowercase: true,
            require_digit: true,
            require_symbol: false,
            expires_after_days: 0,
            history: 5,
        }
    }
}

/// When failed logons lock an address, and for how long.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Lockout {
    /// The number of failed logons that locks, 1 to 100. Default: 5.
    #[schemars(range(min = 1, max = 100))]
    pub failed_logons: i32,
    /// How long the lock lasts, and after how long without a failure the count falls to 0: hours, minutes and seconds, 1s to 720h.
    /// Default: 15m. Example: `1h30m`.
    #[serde(with = "super::duration")]
    #[schemars(schema_with = "super::schema::lockout_duration")]
    pub duration: Duration,
}

impl Default for Lockout {
    fn default() -> Self {
        Self { failed_logons: 5, duration: std::time::Duration::from_mins(15).into() }
    }
}

/// When wrong codes lock the password reset function.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct PasswordReset {
    /// The number of wrong codes that locks it until it is unlocked, 1 to 100. Default: 10.
    #[schemars(range(min = 1, max = 100))]
    pub failed_codes: i32,
}

impl Default for PasswordReset {
    fn default() -> Self {
        Self { failed_codes: 10 }
    }
}

/// How long a purge waits, and for what.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Purge {
    /// How long a purge waits after its request, so that a wave is seen before its first address goes: hours, minutes and seconds, 0s to
    /// 720h. Default: 1h.
    #[serde(with = "super::duration")]
    #[schemars(schema_with = "super::schema::purge_delay")]
    pub delay: Duration,
    /// Whether a purge waits until the mail servers have told what mail they hold. Default: Required.
    ///
    /// - Required: it waits until each known server has reported since the request, and at least one is known.
    /// - NotRequired: it does not wait when no server is known.
    pub held_mail_reports: HeldMailReports,
}

impl Default for Purge {
    fn default() -> Self {
        Self { delay: std::time::Duration::from_hours(1).into(), held_mail_reports: HeldMailReports::default() }
    }
}

/// Whether a purge needs to know what mail is held.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum HeldMailReports {
    /// At least one mail server must report.
    #[default]
    Required,
    /// With no mail server known, none is waited for.
    NotRequired,
}

/// How many removals are done unasked.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct DeletionGuard {
    /// The share of a domain's addresses that may go within an hour, in per cent, 0 to 100; never more than half. Also the share of links,
    /// of delegations and of roles of the namespace that may be revoked within a day (two at the least) because their resources vanished.
    /// Default: 10.
    #[schemars(range(min = 0, max = 100))]
    pub max_percent: i32,
    /// The number that may go within an hour even where maxPercent is fewer, 0 to 1000000; never more than half. Default: 10.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub min_count: i32,
}

impl Default for DeletionGuard {
    fn default() -> Self {
        Self { max_percent: 10, min_count: 10 }
    }
}

/// What is in force, and what the controller found.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct AccountSettingsStatus {
    /// The metadata.generation that this status speaks of; -1 until the controller has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready: the settings are in force. Reconciling: the controller waits or tries again. Stalled: someone must act, the message says how.
    /// Always present beside Ready: DeletionsHeld.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::list")]
    pub conditions: Vec<Condition>,

    /// Revocations that wait for approval: links, delegations and roles whose resources vanished without being deleted, too many at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_plan: Option<HeldPlan>,

    /// The action annotations that were done last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled: Option<AccountSettingsLastHandled>,
}
