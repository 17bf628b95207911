//! The tokens of the action annotations that were done last (SPEC C6). A kind shows those it knows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::LONGEST_TOKEN;

/// The action annotations' values that were acted on last. An annotation acts once, when its value differs from the one here.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct LastHandled {
    /// The last value of mailroster.dev/requestedAt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_TOKEN))]
    pub requested_at: Option<String>,
}

/// The action annotations' values that were acted on last. An annotation acts once, when its value differs from the one here.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct EmailAddressLastHandled {
    /// The last value of mailroster.dev/requestedAt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_TOKEN))]
    pub requested_at: Option<String>,
    /// The last value of mailroster.dev/unlockAt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_TOKEN))]
    pub unlock_at: Option<String>,
    /// The last value of mailroster.dev/resetCodesAt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_TOKEN))]
    pub reset_codes_at: Option<String>,
}

/// The action annotations' values that were acted on last. An annotation acts once, when its value differs from the one here.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct InternalDomainLastHandled {
    /// The last value of mailroster.dev/requestedAt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_TOKEN))]
    pub requested_at: Option<String>,
    /// The last value of mailroster.dev/approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_TOKEN))]
    pub approve: Option<String>,
    /// The last value of mailroster.dev/transferTo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_TOKEN))]
    pub transfer_to: Option<String>,
    /// The last value of mailroster.dev/unlock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_TOKEN))]
    pub unlock: Option<String>,
    /// The last value of mailroster.dev/resetCodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_TOKEN))]
    pub reset_codes: Option<String>,
}

/// The action annotations' values that were acted on last. An annotation acts once, when its value differs from the one here.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct AccountSettingsLastHandled {
    /// The last value of mailroster.dev/requestedAt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_TOKEN))]
    pub requested_at: Option<String>,
    /// The last value of mailroster.dev/approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_TOKEN))]
    pub approve: Option<String>,
}

/// The action annotations' values that were acted on last. An annotation acts once, when its value differs from the one here.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryConnectionLastHandled {
    /// The last value of mailroster.dev/requestedAt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_TOKEN))]
    pub requested_at: Option<String>,
    /// The last value of mailroster.dev/approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_TOKEN))]
    pub approve: Option<String>,
}
