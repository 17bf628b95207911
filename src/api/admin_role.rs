//! AdminRole: a set of permissions and who holds it (SPEC R1 to R4).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LastHandled;

/// What the role allows and who holds it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[kube(
    group = "mailroster.dev",
    version = "v1alpha1",
    kind = "AdminRole",
    plural = "adminroles",
    shortname = "arole",
    category = "mailroster",
    namespaced,
    status = "AdminRoleStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A set of permissions in the gateway's own consoles, and who holds it. An address is a member of one role at most. Deleting the resource takes the permissions away.",
    printcolumn(
        name = "Built-In",
        type_ = "string",
        json_path = ".spec.builtIn",
        description = "The built-in role; empty for a role with permissions of its own"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(
        name = "In Force",
        type_ = "integer",
        json_path = ".status.members.inForce",
        description = "Members who hold the role now"
    ),
    printcolumn(name = "Members", type_ = "integer", json_path = ".status.members.total", description = "Members declared"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.builtIn) != has(self.permissions)")
        .message("exactly one of builtIn and permissions must be set"),
    validation = Rule::new("!has(self.permissions) || !('addresses.purge' in self.permissions && 'content.read' in self.permissions)")
        .message("addresses.purge and content.read must not be in one role: who may read mail may not destroy its address as well")
        .reason(Reason::FieldValueForbidden)
)]
pub struct AdminRoleSpec {
    /// One of the roles that come with the system; instead of permissions.
    ///
    /// - SuperAdministrator: everything. The last member of a namespace is removed by nothing.
    /// - FullAdministrator: everything but addresses.purge and content.read.
    /// - BasicAdministrator: domains.read, addresses.read, addresses.write, addresses.unlock, aliases.write.
    /// - GatewayAdministrator: domains.read, domains.write, policies.read, policies.write, directory.read, directory.sync, settings.write.
    /// - HelpDesk: addresses.read, addresses.unlock.
    /// - DiscoveryOfficer: addresses.read, content.read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built_in: Option<BuiltInRole>,

    /// What a role of your own allows, at most 32, each once; instead of builtIn. addresses.purge and content.read exclude each other.
    /// Example: `[addresses.read, delegates.write]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub permissions: Option<Vec<Permission>>,

    /// The primary addresses of who holds the role, at most 1000 of at most 320 characters, each once. One that cannot hold it is refused for
    /// itself alone. Default: nobody. Example: `[it@acme.example]`.
    #[serde(default)]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 320)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub members: Vec<String>,

    /// Freezes the resource: nothing is written for it and nothing undone until this is false again. Deleting it still takes the permissions
    /// away. Default: false.
    #[serde(default)]
    pub suspend: bool,
}

/// The roles that come with the system.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[schemars(transform = super::schema::leave_description_to_the_field)]
pub enum BuiltInRole {
    /// Everything.
    SuperAdministrator,
    /// Everything but purging addresses and reading content.
    FullAdministrator,
    /// Addresses and aliases.
    BasicAdministrator,
    /// Domains, policies, directories and settings.
    GatewayAdministrator,
    /// Looks up and unlocks addresses.
    HelpDesk,
    /// Reads content.
    DiscoveryOfficer,
}

/// One thing a role may allow.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    #[serde(rename = "domains.read")]
    DomainsRead,
    #[serde(rename = "domains.write")]
    DomainsWrite,
    #[serde(rename = "addresses.read")]
    AddressesRead,
    #[serde(rename = "addresses.write")]
    AddressesWrite,
    #[serde(rename = "addresses.unlock")]
    AddressesUnlock,
    #[serde(rename = "addresses.purge")]
    AddressesPurge,
    #[serde(rename = "aliases.write")]
    AliasesWrite,
    #[serde(rename = "delegates.write")]
    DelegatesWrite,
    #[serde(rename = "roles.read")]
    RolesRead,
    #[serde(rename = "roles.write")]
    RolesWrite,
    #[serde(rename = "imports.write")]
    ImportsWrite,
    #[serde(rename = "directory.read")]
    DirectoryRead,
    #[serde(rename = "directory.sync")]
    DirectorySync,
    #[serde(rename = "settings.write")]
    SettingsWrite,
    #[serde(rename = "policies.read")]
    PoliciesRead,
    #[serde(rename = "policies.write")]
    PoliciesWrite,
    #[serde(rename = "content.read")]
    ContentRead,
}

impl Permission {
    /// Every permission there is (SPEC R4).
    pub const ALL: [Self; 17] = [
        Self::DomainsRead,
        Self::DomainsWrite,
        Self::AddressesRead,
        Self::AddressesWrite,
        Self::AddressesUnlock,
        Self::AddressesPurge,
        Self::AliasesWrite,
        Self::DelegatesWrite,
        Self::RolesRead,
        Self::RolesWrite,
        Self::ImportsWrite,
        Self::DirectoryRead,
        Self::DirectorySync,
        Self::SettingsWrite,
        Self::PoliciesRead,
        Self::PoliciesWrite,
        Self::ContentRead,
    ];
}

/// What is in force, and what the controller found.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct AdminRoleStatus {
    /// The metadata.generation that this status speaks of; -1 until the controller has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready: every member holds the role; MembersRejected: some do not, the others do. Reconciling: the controller waits or tries again.
    /// Stalled: someone must act, the message says how.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::list")]
    pub conditions: Vec<Condition>,

    /// Who of the declared members holds the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<RoleMembers>,

    /// The action annotations that were done last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled: Option<LastHandled>,
}

/// The members of a role, counted, and those it could not take.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct RoleMembers {
    /// How many are declared.
    #[serde(default)]
    pub total: i64,
    /// How many of them hold the role now.
    #[serde(default)]
    pub in_force: i64,
    /// Those who do not, at most 50 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub rejected: Vec<RejectedMember>,
}

/// A member that could not be taken.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct RejectedMember {
    /// The address as the role declares it.
    #[serde(default)]
    #[schemars(length(max = 320))]
    pub address: String,
    /// Why, in one CamelCase word.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub reason: String,
    /// What stands in the way: the role that has the member, or the primary whose alias it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 320))]
    pub holder: Option<String>,
}
