//! How a directory is reached and what is asked of it (SPEC 8): all that a read takes but the secrets.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::DomainName;

/// Which server is at the other end, as declared; some things only one of them does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryType {
    ActiveDirectory,
    OpenLdap,
    Generic,
}

/// A server of a connection, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// A name or an IP address; IPv6 without brackets.
    pub host: String,
    pub port: u16,
}

/// How the way to the server is kept secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    Ldaps,
    StartTls,
    /// Clear text.
    None,
}

/// A key of a Secret of the connection's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretKey {
    pub name: String,
    pub key: String,
}

/// The attributes that are read, by the server's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeNames {
    pub id: String,
    pub mail: String,
    /// With `SMTP:` and `smtp:` prefixes, or bare addresses. Empty: none.
    pub aliases: String,
    pub display_name: String,
    /// A sign that the account is disabled, besides those of the type: TRUE or 1. Empty: none.
    pub disabled: String,
    /// Of groups; empty: none. Only whether it is readable is looked at.
    pub member: String,
    /// Ours to theirs.
    pub extra: BTreeMap<String, String>,
}

/// A connection's servers and questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub directory: DirectoryType,
    /// Tried in order.
    pub servers: Vec<ServerUrl>,
    pub tls: TlsMode,
    /// PEM certificates of the authorities that the servers' certificates come from; none: those of the system.
    pub ca: Option<SecretKey>,
    /// The name that the certificate must bear in place of the host.
    pub server_name: Option<String>,
    pub bind_dn: String,
    pub bind_password: SecretKey,
    pub base_dn: String,
    pub user_filter: String,
    /// Empty: no groups are read.
    pub group_filter: String,
    pub attributes: AttributeNames,
    /// Entries a page.
    pub page_size: u32,
    /// For connecting, for binding, and for each page.
    pub timeout: Duration,
}

impl Access {
    /// What a complete run was complete of (Y5): after a change of any of it absence proves nothing until two runs agree. The first 32 hex
    /// digits of SHA-256.
    #[must_use]
    pub fn frame(&self, domains: &[DomainName]) -> String {
        let mut servers: Vec<_> = self.servers.iter().map(|server| format!("{}:{}", server.host, server.port)).collect();
        servers.sort();
        let mut names: Vec<_> = domains.iter().map(DomainName::as_str).collect();
        names.sort_unstable();
        let parts = [
            format!("{:?}", self.directory),
            servers.join(","),
            self.bind_dn.clone(),
            self.base_dn.clone(),
            self.user_filter.clone(),
            self.group_filter.clone(),
            format!("{:?}", self.attributes),
            names.join(","),
        ];
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part.len().to_be_bytes());
            hasher.update(part.as_bytes());
        }
        super::hex(hasher.finalize().get(..16).unwrap_or_default())
    }
}
