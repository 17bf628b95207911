//! DirectoryConnection: an LDAP or Active Directory server to synchronise from (SPEC section 8).
//!
//! What is left to the presets is absent or empty here and filled in by `plan::admit`; the texts below state each preset in full, and a
//! test there holds them to it. Of the values only their shape is refused by the API server: a URL that is none is told in conditions.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema, core::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DirectoryConnectionStatus, SecretKeyReference};

/// Which server is read, how it is reached, what is asked of it, and what follows from its answers.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "mailroster.dev",
    version = "v1alpha1",
    kind = "DirectoryConnection",
    plural = "directoryconnections",
    shortname = "dconn",
    category = "mailroster",
    namespaced,
    status = "DirectoryConnectionStatus",
    derive = "PartialEq",
    doc = "An LDAP or Active Directory server to synchronise from: its entries become addresses, aliases and lists of this namespace's domains. A run that did not see everything removes nothing; many removals at once wait for approval. Deleting the resource leaves the addresses as they are.",
    printcolumn(name = "Host", type_ = "string", json_path = ".spec.urls[0]", description = "The server that is tried first"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(
        name = "Last Run",
        type_ = "date",
        json_path = ".status.lastRun.finishedAt",
        description = "How long ago the last run ended"
    ),
    printcolumn(name = "Read", type_ = "integer", json_path = ".status.lastRun.read", description = "Entries that the last run read"),
    printcolumn(
        name = "Held",
        type_ = "integer",
        json_path = ".status.heldPlan.count",
        description = "Removals that wait for approval; empty without any"
    ),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type", priority = 1),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.lastRun.mode", description = "How the last run read", priority = 1),
    printcolumn(
        name = "Last Complete",
        type_ = "date",
        json_path = ".status.lastCompleteRun",
        description = "How long ago a run last saw everything",
        priority = 1
    ),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryConnectionSpec {
    /// Which server it is. The type chooses the presets of userFilter, groupFilter and attributes, and what only such a server can do.
    ///
    /// - ActiveDirectory: Active Directory, or Samba as a domain controller.
    /// - OpenLDAP: OpenLDAP's slapd.
    /// - Generic: any other server that speaks LDAP version 3 and gives its entries an id that never changes.
    #[serde(rename = "type")]
    pub directory: DirectoryType,

    /// The servers, 1 to 8, tried in this order at each run: `ldaps://HOST` or `ldap://HOST`, with `:PORT` where it is not 636 or 389, each
    /// of at most 320 characters, without a user name, a path or a query. They must hold the same directory. ldaps belongs to tls.mode LDAPS,
    /// ldap to StartTLS and None. Active Directory's global catalog, port 3268 or 3269, is refused: it lacks attributes that are needed.
    /// Example: `[ldaps://dc1.corp.example, ldaps://dc2.corp.example]`.
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 320)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub urls: Vec<String>,

    /// How the way to the server is kept secret.
    #[serde(default)]
    pub tls: DirectoryTls,

    /// As whom the controller reads. The account needs to read the entries, with the attributes that are asked for, and nothing more.
    pub bind: DirectoryBind,

    /// Where the search begins; it goes down to the leaves. At most 1024 characters. From Active Directory one naming context is read, never
    /// its child domains: each needs a connection of its own. Example: `dc=corp,dc=example`.
    #[serde(rename = "baseDN")]
    #[schemars(length(min = 1, max = 1024))]
    pub base_dn: String,

    /// Which entries become mailboxes: an LDAP filter as in RFC 4515, at most 4096 characters, in place of the preset. Accounts that are
    /// disabled should pass it: shared mailboxes and rooms sit on such accounts. Default: empty, the preset of the type.
    ///
    /// - ActiveDirectory: `(&(|(proxyAddresses=smtp:*)(mail=*))(|(objectCategory=person)(objectClass=publicFolder)))`.
    /// - OpenLDAP, Generic: `(&(objectClass=inetOrgPerson)(mail=*))`.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub user_filter: String,

    /// Which entries become distribution lists: an LDAP filter as userFilter. To read no groups where the preset does, give one that nothing
    /// fits: `(!(objectClass=*))`. Default: empty, the preset of the type.
    ///
    /// - ActiveDirectory: `(&(|(proxyAddresses=smtp:*)(mail=*))(|(objectCategory=group)(objectClass=msExchDynamicDistributionList)))`.
    /// - OpenLDAP: `(&(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames))(mail=*))`.
    /// - Generic: none, no groups are read.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub group_filter: String,

    /// What the server calls the attributes that are read. One that is left out is called as the preset of the type says.
    #[serde(default)]
    pub attributes: DirectoryAttributes,

    /// The domains that this connection serves, at most 256, each an InternalDomain of this namespace and named once. Entries without an
    /// address in one of them are skipped and counted. Default: empty, every domain of the namespace. Example: `[acme.example]`.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(min = 1, max = 255)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub domains: Vec<String>,

    /// How often a run begins, each connection up to a tenth later so that not all ask at once: hours, minutes and seconds, 1m to 24h. After
    /// a run that reached no server the next one begins within a minute or so. The annotation
    /// mailroster.dev/requestedAt asks for a run at once. Default: 15m.
    #[serde(with = "super::duration", default = "defaults::interval")]
    #[schemars(schema_with = "super::schema::interval")]
    pub interval: Duration,

    /// How often at least everything is read, where runs in between read only what changed: hours, minutes and seconds, 1m to 720h, no less
    /// than interval. Default: 24h.
    #[serde(with = "super::duration", default = "defaults::full_interval")]
    #[schemars(schema_with = "super::schema::full_interval")]
    pub full_interval: Duration,

    /// How a run finds out what changed since the last one. Default: Auto.
    ///
    /// - Auto: by what the server offers, else by reading everything.
    /// - Full: each run reads everything.
    /// - SyncRepl, UpdateSequenceNumber: as Auto, of OpenLDAP and of Active Directory; a server that does not tell what changed is reported.
    #[serde(default)]
    pub change_detection: ChangeDetection,

    /// Whether the further addresses of an entry become aliases of its first. With false they are left out. Default: true.
    #[serde(default = "defaults::yes")]
    pub link_aliases: bool,

    /// Whether an account that the directory has disabled, or whose time there is over, loses its logon by cloud password here. Mail is
    /// delivered all the same. Default: true.
    #[serde(default = "defaults::yes")]
    pub acknowledge_disabled_accounts: bool,

    /// What becomes of an address that the directory does not have any more.
    #[serde(default)]
    pub leavers: Leavers,

    /// How many addresses may leave unasked; more are held for approval.
    #[serde(default)]
    pub deletion_guard: LeaverGuard,

    /// How many entries the server is asked for at a time, 1 to 10000. Default: 1000.
    #[serde(default = "defaults::page_size")]
    #[schemars(range(min = 1, max = 10_000))]
    pub page_size: i32,

    /// How long the server may take to be reached, to accept the bind, and for each page: minutes and seconds, 1s to 10m. Default: 30s.
    #[serde(with = "super::duration", default = "defaults::timeout")]
    #[schemars(schema_with = "super::schema::directory_timeout")]
    pub timeout: Duration,

    /// Freezes the resource: there are no runs, and what it brought stays as it is until this is false again. Default: false.
    #[serde(default)]
    pub suspend: bool,
}

/// What holds for a field that is left out.
mod defaults {
    use std::time::Duration;

    pub fn yes() -> bool {
        true
    }

    pub fn interval() -> super::Duration {
        Duration::from_mins(15).into()
    }

    pub fn full_interval() -> super::Duration {
        Duration::from_hours(24).into()
    }

    pub fn page_size() -> i32 {
        1000
    }

    pub fn timeout() -> super::Duration {
        Duration::from_secs(30).into()
    }
}

/// Which server is at the other end.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DirectoryType {
    /// Active Directory, or Samba as a domain controller.
    ActiveDirectory,
    /// OpenLDAP's slapd.
    #[serde(rename = "OpenLDAP")]
    OpenLdap,
    /// Any other server.
    Generic,
}

/// How the way to the server is kept secret. There is never a fallback to clear text.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct DirectoryTls {
    /// How. Default: LDAPS.
    ///
    /// - LDAPS: TLS from the first byte.
    /// - StartTLS: a clear connection that turns to TLS before anything is said over it.
    /// - None: clear text, the password of the bind included; for a server on the same host, or a network that is secret by other means.
    pub mode: TlsMode,

    /// The certificates, in PEM form, of the authorities that the server's certificate comes from; a Secret of this namespace with the label
    /// `mailroster.dev/readable: "true"`. Absent: those that the system trusts. Example: `{name: corp-ca, key: ca.crt}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyReference>,

    /// The name that the server's certificate must bear, in place of the host in the URL, at most 253 characters. Absent: the host.
    /// Example: `dc1.corp.example`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub server_name: Option<String>,
}

/// How the way to the server is kept secret.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum TlsMode {
    /// TLS from the first byte.
    #[default]
    #[serde(rename = "LDAPS")]
    Ldaps,
    /// TLS before anything is said.
    #[serde(rename = "StartTLS")]
    StartTls,
    /// Clear text.
    None,
}

/// As whom the controller reads.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryBind {
    /// The distinguished name of the account, at most 1024 characters; Active Directory also takes
    /// `sync@corp.example` and `CORP\sync`. Example: `cn=sync,dc=corp,dc=example`.
    #[schemars(length(min = 1, max = 1024))]
    pub dn: String,

    /// The Secret that has its password, in this namespace. It must carry the label `mailroster.dev/readable: "true"`.
    /// Example: `{name: corp-ldap, key: password}`.
    pub password_secret_ref: SecretKeyReference,
}

/// What the server calls the attributes that are read; each name of at most 256 characters.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct DirectoryAttributes {
    /// By what an entry is known for as long as it lives, whatever it is renamed to. Absent: ActiveDirectory `objectGUID`; OpenLDAP and
    /// Generic `entryUUID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub id: Option<String>,

    /// The e-mail address. It counts only in entries that have no address in aliases. Absent: `mail`, whatever the type.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub mail: Option<String>,

    /// All addresses of an entry: the one with the prefix `SMTP:` is the first, those with `smtp:` or none are further ones, other prefixes
    /// are left out. Empty: there is no such attribute. Absent: ActiveDirectory `proxyAddresses`; OpenLDAP and Generic none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub aliases: Option<String>,

    /// The name that people see. Absent: ActiveDirectory `displayName`; OpenLDAP and Generic `cn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub display_name: Option<String>,

    /// An attribute that is TRUE or 1 in an account that is disabled, besides the signs that are always looked at: userAccountControl,
    /// accountExpires, nsAccountLock and pwdAccountLockedTime. Empty or absent: none, whatever the type.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub disabled: Option<String>,

    /// The members of a group; who they are is not kept, only that they can be read is looked at. Empty: not asked for. Absent:
    /// ActiveDirectory and OpenLDAP `member`; Generic none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub member: Option<String>,

    /// Further attributes to keep with the address, ours to the server's, at most 50. Example: `{department: department}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::schema::directory_attributes")]
    pub extra: BTreeMap<String, String>,
}

/// How a run finds out what changed since the last one.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ChangeDetection {
    /// By what the server offers, else everything.
    #[default]
    Auto,
    /// Each run reads everything.
    Full,
    /// What changed as OpenLDAP with syncprov tells it (RFC 4533). A server that doesn't is reported, and read whole.
    SyncRepl,
    /// What changed by Active Directory's uSNChanged. A server that doesn't tell it is reported, and read whole.
    UpdateSequenceNumber,
}

/// What becomes of an address that the directory does not have any more. Only runs that saw everything, and deletions that the server
/// shows, count; whoever comes back gets all back.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Leavers {
    /// What follows after the time in after. Aliases and lists that the directory dropped and no resource declares are removed then,
    /// whatever this says. Default: Disable.
    ///
    /// - Keep: nothing.
    /// - Disable: the address stays, with origin MailFlow; a domain that validates by directory does not accept mail for it any more.
    /// - Purge: the address goes as by an EmailAddress with deletionPolicy Purge; one that a resource declares is held instead.
    pub action: LeaverAction,

    /// How many runs must miss an address before anything follows, 1 to 100; then its logon by cloud password is shut. Default: 2.
    #[schemars(range(min = 1, max = 100))]
    pub missed_runs: i32,

    /// How long an address must be missing before the action follows: hours, minutes and seconds, 0s to 8760h. Default: 24h.
    #[serde(with = "super::duration")]
    #[schemars(schema_with = "super::schema::leaver_delay")]
    pub after: Duration,
}

impl Default for Leavers {
    fn default() -> Self {
        Self { action: LeaverAction::default(), missed_runs: 2, after: std::time::Duration::from_hours(24).into() }
    }
}

/// What becomes of an address that the directory does not have any more.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum LeaverAction {
    /// Nothing.
    Keep,
    /// It stays, with origin MailFlow.
    #[default]
    Disable,
    /// It goes.
    Purge,
}

/// How many addresses may leave unasked. Beyond it none does, and status.heldPlan lists them all.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaverGuard {
    /// The share of the connection's addresses that may leave within 24 hours, in per cent, 0 to 100; never more than half. Default: 10.
    #[schemars(range(min = 0, max = 100))]
    pub max_percent: i32,
    /// The number that may leave within 24 hours even where maxPercent is fewer, 0 to 1000000; never more than half. Default: 10.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub min_count: i32,
}

impl Default for LeaverGuard {
    fn default() -> Self {
        Self { max_percent: 10, min_count: 10 }
    }
}
