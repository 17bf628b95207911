//! DirectoryConnection: what its type leaves to presets is filled in, and every value is judged before a server is asked anything.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::{Admission, Admit, clean, filter, ldap_names as names, server};
use crate::api;
use crate::model::{Access, AttributeNames, DirectoryType, DomainName, SecretKey, TlsMode};
use crate::plan::desired::{ConnectionDeclared, Declared, Detection, LeaverAction, LeaversDeclared, SecretState, Violation};
use crate::plan::reason::Reason;
use crate::plan::settings::Guard;

/// What holds for a type where the spec says nothing (Y2, Y3).
struct Preset {
    user_filter: &'static str,
    /// Empty: no groups are read.
    group_filter: &'static str,
    id: &'static str,
    aliases: &'static str,
    display_name: &'static str,
    member: &'static str,
}

/// What every type calls the e-mail address.
const MAIL: &str = "mail";

const ACTIVE_DIRECTORY: Preset = Preset {
    user_filter: "(&(|(proxyAddresses=smtp:*)(mail=*))(|(objectCategory=person)(objectClass=publicFolder)))",
    group_filter: "(&(|(proxyAddresses=smtp:*)(mail=*))(|(objectCategory=group)(objectClass=msExchDynamicDistributionList)))",
    id: "objectGUID",
    aliases: "proxyAddresses",
    display_name: "displayName",
    member: "member",
};

const OPEN_LDAP: Preset = Preset {
    user_filter: "(&(objectClass=inetOrgPerson)(mail=*))",
    group_filter: "(&(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames))(mail=*))",
    id: "entryUUID",
    aliases: "",
    display_name: "cn",
    member: "member",
};

const GENERIC: Preset = Preset { group_filter: "", member: "", ..OPEN_LDAP };

impl Admit for api::DirectoryConnectionSpec {
    fn admit(&self) -> Admission {
        let (directory, preset) = match self.directory {
            api::DirectoryType::ActiveDirectory => (DirectoryType::ActiveDirectory, ACTIVE_DIRECTORY),
            api::DirectoryType::OpenLdap => (DirectoryType::OpenLdap, OPEN_LDAP),
            api::DirectoryType::Generic => (DirectoryType::Generic, GENERIC),
        };
        let tls = match self.tls.mode {
            api::TlsMode::Ldaps => TlsMode::Ldaps,
            api::TlsMode::StartTls => TlsMode::StartTls,
            api::TlsMode::None => TlsMode::None,
        };
        let servers = self.urls.iter().enumerate().map(|(index, url)| server::parse(index, url, tls)).collect::<Result<_, _>>()?;
        if self.urls.is_empty() {
            return Err(invalid("urls", "is empty; name a server, as ldaps://dc1.corp.example"));
        }
        let server_name = self.tls.server_name.as_deref().filter(|name| !name.is_empty());
        if let Some(name) = server_name
            && !server::is_host(name)
        {
            return Err(invalid("tls.serverName", &format!("{name:?} is no host name; write it as dc1.corp.example")));
        }
        // Active Directory also takes sync@corp.example and CORP\sync, which are no distinguished names.
        let bind_dn = clean("bind.dn", &self.bind.dn)?;
        if bind_dn.trim().is_empty() || (directory != DirectoryType::ActiveDirectory && !names::is_distinguished(&bind_dn)) {
            // Not repeated: people write a password behind it (Y9).
            return Err(invalid("bind.dn", "is no distinguished name; write it as cn=sync,dc=corp,dc=example"));
        }
        let base_dn = clean("baseDN", &self.base_dn)?;
        if !names::is_distinguished(&base_dn) {
            return Err(invalid("baseDN", &format!("{base_dn:?} is no distinguished name; write it as dc=corp,dc=example")));
        }
        let access = Access {
            directory,
            servers,
            tls,
            ca: self.tls.ca_secret_ref.as_ref().map(secret),
            server_name: server_name.map(str::to_owned),
            bind_dn,
            bind_password: secret(&self.bind.password_secret_ref),
            base_dn,
            user_filter: filter_of("userFilter", &self.user_filter, preset.user_filter)?,
            group_filter: filter_of("groupFilter", &self.group_filter, preset.group_filter)?,
            attributes: attributes(&self.attributes, &preset)?,
            page_size: count(self.page_size).max(1),
            timeout: self.timeout.into(),
        };
        let detection = detection(self.change_detection, &access)?;
        let (interval, full_interval) = (duration(self.interval), duration(self.full_interval));
        if full_interval < interval {
            return Err(invalid("fullInterval", "is shorter than spec.interval; make it as long at least"));
        }
        Ok(Declared::Connection(Box::new(ConnectionDeclared {
            access,
            domains: domains(&self.domains)?,
            interval,
            full_interval,
            detection,
            link_aliases: self.link_aliases,
            acknowledge_disabled: self.acknowledge_disabled_accounts,
            leavers: LeaversDeclared {
                action: match self.leavers.action {
                    api::LeaverAction::Keep => LeaverAction::Keep,
                    api::LeaverAction::Disable => LeaverAction::Disable,
                    api::LeaverAction::Purge => LeaverAction::Purge,
                },
                missed_runs: count(self.leavers.missed_runs).max(1),
                after: duration(self.leavers.after),
            },
            guard: Guard { max_percent: count(self.deletion_guard.max_percent), min_count: count(self.deletion_guard.min_count) },
            secrets: SecretState::Unread,
        })))
    }

    fn suspended(&self) -> bool {
        self.suspend
    }
}

/// A field that can't be used, and what would be right.
pub(super) fn invalid(field: &str, message: &str) -> Violation {
    Violation::new(Reason::SpecInvalid, format!("spec.{field} {message}"))
}

fn secret(reference: &api::SecretKeyReference) -> SecretKey {
    SecretKey { name: reference.name.clone(), key: reference.key.clone() }
}

fn count(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

fn duration(value: api::Duration) -> SignedDuration {
    SignedDuration::try_from(std::time::Duration::from(value)).unwrap_or(SignedDuration::ZERO)
}

/// The filter declared, else the preset's.
fn filter_of(field: &str, declared: &str, preset: &str) -> Result<String, Violation> {
    if declared.is_empty() {
        return Ok(preset.to_owned());
    }
    match filter::check(declared) {
        Ok(()) => Ok(declared.to_owned()),
        Err(fault) => Err(invalid(field, &format!("is no LDAP filter (RFC 4515): {fault}"))),
    }
}

fn attributes(declared: &api::DirectoryAttributes, preset: &Preset) -> Result<AttributeNames, Violation> {
    let named = |field: &str, name: &str| {
        if names::is_attribute(name) {
            return Ok(name.to_owned());
        }
        Err(invalid(&format!("attributes.{field}"), &format!("{name:?} is no name of an attribute; write it as displayName or 2.5.4.3")))
    };
    let required = |field: &str, name: &Option<String>, preset: &str| named(field, name.as_deref().unwrap_or(preset));
    let optional = |field: &str, name: &Option<String>, preset: &str| match name.as_deref().unwrap_or(preset) {
        "" => Ok(String::new()),
        name => named(field, name),
    };
    let extra =
        declared.extra.iter().map(|(ours, theirs)| Ok((clean("attributes.extra", ours)?, named(&format!("extra.{ours}"), theirs)?)));
    Ok(AttributeNames {
        id: required("id", &declared.id, preset.id)?,
        mail: required("mail", &declared.mail, MAIL)?,
        aliases: optional("aliases", &declared.aliases, preset.aliases)?,
        display_name: required("displayName", &declared.display_name, preset.display_name)?,
        disabled: optional("disabled", &declared.disabled, "")?,
        member: optional("member", &declared.member, preset.member)?,
        extra: extra.collect::<Result<_, Violation>>()?,
    })
}

/// Which mechanism there is follows from the type; named, it is counted on.
fn detection(declared: api::ChangeDetection, access: &Access) -> Result<Detection, Violation> {
    let (needed, name) = match declared {
        api::ChangeDetection::Auto => return Ok(Detection::Auto),
        api::ChangeDetection::Full => return Ok(Detection::Full),
        api::ChangeDetection::SyncRepl => (DirectoryType::OpenLdap, "OpenLDAP"),
        api::ChangeDetection::UpdateSequenceNumber => (DirectoryType::ActiveDirectory, "ActiveDirectory"),
    };
    if access.directory != needed {
        return Err(invalid("changeDetection", &format!("names a mechanism of servers of type {name}; write Auto, or mend spec.type")));
    }
    if needed == DirectoryType::OpenLdap && !access.attributes.id.eq_ignore_ascii_case("entryUUID") {
        return Err(invalid(
            "changeDetection",
            "is SyncRepl, which names who was deleted by entryUUID alone: leave out spec.attributes.id",
        ));
    }
    Ok(Detection::CountedOn)
}

fn domains(declared: &[String]) -> Result<BTreeSet<DomainName>, Violation> {
    let parse =
        |text: &String| DomainName::parse(text).map_err(|error| Violation::new(Reason::DomainInvalid, format!("spec.domains: {error}")));
    declared.iter().map(parse).collect()
}

#[cfg(test)]
mod tests;
