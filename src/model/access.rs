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

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        let text = str::to_owned;
        let server = |host: &str| ServerUrl { host: text(host), port: 636 };
        Access {
            directory: DirectoryType::OpenLdap,
            servers: vec![server("dc1.corp.example"), server("dc2.corp.example")],
            tls: TlsMode::Ldaps,
            ca: None,
            server_name: None,
            bind_dn: text("cn=sync,dc=corp"),
            bind_password: SecretKey { name: text("ldap"), key: text("password") },
            base_dn: text("dc=corp"),
            user_filter: text("(mail=*)"),
            group_filter: text("(member=*)"),
            attributes: AttributeNames {
                id: text("entryUUID"),
                mail: text("mail"),
                aliases: text("proxyAddresses"),
                display_name: text("displayName"),
                disabled: String::new(),
                member: text("member"),
                extra: [("city", "l"), ("department", "ou")].map(|(ours, theirs)| (text(ours), text(theirs))).into(),
            },
            page_size: 1_000,
            timeout: Duration::from_secs(30),
        }
    }

    fn domains(names: &[&str]) -> Vec<DomainName> {
        names.iter().map(|name| DomainName::parse(name).unwrap()).collect()
    }

    /// Each change by itself, so that none hides behind another.
    #[test]
    fn y5_each_part_of_what_is_looked_at_makes_another_frame() {
        let both = domains(&["acme.example", "acme.test"]);
        let whole = access().frame(&both);
        type Edit = fn(&mut Access);
        let edits: [(&str, Edit); 19] = [
            ("type", |access| access.directory = DirectoryType::Generic),
            ("one server less", |access| drop(access.servers.pop())),
            ("one server more", |access| access.servers.push(ServerUrl { host: "dc3.corp.example".to_owned(), port: 636 })),
            ("another host", |access| access.servers[1].host = "dc3.corp.example".to_owned()),
            ("another port", |access| access.servers[1].port = 3_636),
            ("bind DN", |access| access.bind_dn = "cn=other,dc=corp".to_owned()),
            ("base", |access| access.base_dn = "ou=people,dc=corp".to_owned()),
            ("user filter", |access| access.user_filter = "(mail=a*)".to_owned()),
            ("group filter", |access| access.group_filter.clear()),
            ("filters in each other's place", |access| std::mem::swap(&mut access.user_filter, &mut access.group_filter)),
            ("id", |access| access.attributes.id = "nsUniqueId".to_owned()),
            ("mail", |access| access.attributes.mail = "rfc822Mailbox".to_owned()),
            ("aliases", |access| access.attributes.aliases.clear()),
            ("display name", |access| access.attributes.display_name = "cn".to_owned()),
            ("disabled", |access| access.attributes.disabled = "mailDisabled".to_owned()),
            ("member", |access| access.attributes.member = "uniqueMember".to_owned()),
            ("an extra attribute less", |access| drop(access.attributes.extra.remove("city"))),
            ("an extra attribute of another name there", |access| drop(access.attributes.extra.insert("city".to_owned(), "c".to_owned()))),
            ("the end of one part as the beginning of the next", |access| {
                (access.bind_dn, access.base_dn) = ("cn=sync,dc=cor".to_owned(), "pdc=corp".to_owned());
            }),
        ];
        let mut frames = vec![whole.clone()];
        for (what, edit) in edits {
            let mut other = access();
            edit(&mut other);
            let frame = other.frame(&both);
            assert!(!frames.contains(&frame), "{what}");
            frames.push(frame);
        }
        for names in [&["acme.example"][..], &["acme.example", "acme.test", "acme.invalid"], &["acme.example", "other.test"], &[]] {
            let frame = access().frame(&domains(names));
            assert!(!frames.contains(&frame), "{names:?}");
            frames.push(frame);
        }
    }

    #[test]
    fn y5_the_order_of_servers_and_domains_and_the_way_there_are_no_part_of_it() {
        let whole = access().frame(&domains(&["acme.example", "acme.test"]));
        assert_eq!((whole.len(), whole.bytes().all(|digit| digit.is_ascii_hexdigit())), (32, true), "{whole}");
        assert_eq!(access().frame(&domains(&["acme.test", "acme.example"])), whole);
        let mut other = access();
        other.servers.reverse();
        (other.tls, other.server_name) = (TlsMode::StartTls, Some("ldap.corp.example".to_owned()));
        other.ca = Some(SecretKey { name: "ca".to_owned(), key: "ca.crt".to_owned() });
        other.bind_password.name = "renewed".to_owned();
        (other.page_size, other.timeout) = (50, Duration::from_secs(5));
        assert_eq!(other.frame(&domains(&["acme.example", "acme.test"])), whole);
    }
}
