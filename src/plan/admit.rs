//! From the wire to the plan: what a resource says becomes validated values, or a violation on that resource alone.
//!
//! The only place where `api` meets `model`. The API server has checked the shape; what a value says is judged here (SPEC 1).

mod connection;
mod filter;
mod ldap_names;
mod server;

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use super::desired::{
    Action, Actions, AddressDeclared, Declared, DelegationDeclared, DomainDeclared, LinkDeclared, Offer, PasswordDeclared, RoleDeclared,
    Violation,
};
use super::reason::Reason;
use super::settings::{Guard, Settings};
use crate::api::{self, names};
use crate::model::{Address, CanonicalAddress, DomainError, DomainName, PasswordPolicy};

type Admission = Result<Declared, Violation>;

/// A spec that can be admitted.
pub trait Admit {
    /// Judges what the spec says.
    ///
    /// # Errors
    /// The violation that the resource's conditions tell.
    fn admit(&self) -> Admission;

    /// `suspend`; kinds without it are never suspended.
    fn suspended(&self) -> bool;
}

/// The action annotations of a resource. Values too long for `status.lastHandled` are no tokens.
#[must_use]
pub fn actions(annotations: &BTreeMap<String, String>, kind: crate::model::Kind) -> Actions {
    let token = |action: Action| {
        let value = annotations.get(&format!("{}/{}", names::GROUP, action.as_str()))?;
        (!value.is_empty() && !value.contains(char::is_control) && value.chars().count() <= names::LONGEST_TOKEN).then(|| value.clone())
    };
    Actions(Action::ALL.into_iter().filter(|action| action.known_to(kind)).filter_map(|action| Some((action, token(action)?))).collect())
}

fn address(text: &str) -> Result<Address, Violation> {
    Address::parse(text).map_err(|error| Violation::new(Reason::AddressInvalid, error.to_string()))
}

fn canonical(text: &str) -> Result<CanonicalAddress, Violation> {
    address(text).map(|address| address.canonical().clone())
}

/// L1, M1: two ends that are one address, in whatever spelling.
fn differ(what: &str, one: &CanonicalAddress, other: &CanonicalAddress) -> Result<(), Violation> {
    if one == other {
        return Err(Violation::new(Reason::SameAddress, format!("{what} are the same address, {one}")));
    }
    Ok(())
}

/// An enum value in its wire spelling, which the store uses too.
fn word<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// The API server lets NUL through, which Postgres can't store.
fn clean(field: &str, text: &str) -> Result<String, Violation> {
    match text.chars().find(|c| *c == '\0') {
        Some(_) => Err(Violation::new(Reason::SpecInvalid, format!("spec.{field} has a NUL character; take it out"))),
        None => Ok(text.to_owned()),
    }
}

impl Admit for api::InternalDomainSpec {
    fn admit(&self) -> Admission {
        let domain =
            DomainName::parse(&self.domain).map_err(|error: DomainError| Violation::new(Reason::DomainInvalid, error.to_string()))?;
        if domain.is_public_suffix() {
            let message =
                format!("{domain} is a single label or a public suffix, below which anybody may register; name a domain of your own");
            return Err(Violation::new(Reason::DomainNotAllowed, message));
        }
        let postmaster = self.postmaster.as_deref().filter(|text| !text.is_empty()).map(canonical).transpose()?;
        Ok(Declared::Domain(DomainDeclared {
            domain,
            recipient_validation: word(&self.recipient_validation),
            unknown_recipients: word(&self.unknown_recipients),
            next_hop: clean("nextHop", self.next_hop.as_deref().unwrap_or_default())?,
            learn_senders: self.learn_senders,
            sub_addressing: clean("subAddressing", &self.sub_addressing)?,
            postmaster,
            delete: self.deletion_policy == api::DeletionPolicy::Delete,
        }))
    }

    fn suspended(&self) -> bool {
        self.suspend
    }
}

impl Admit for api::EmailAddressSpec {
    fn admit(&self) -> Admission {
        let access = self.access.clone().unwrap_or_default();
        let mut attributes = BTreeMap::new();
        for (name, value) in self.attributes.iter().flatten() {
            attributes.insert(clean("attributes", name)?, clean(&format!("attributes.{name}"), value)?);
        }
        Ok(Declared::Address(AddressDeclared {
            address: address(&self.address)?,
            display_name: self.display_name.as_deref().map(|name| clean("displayName", name)).transpose()?,
            attributes,
            password: self.password.as_ref().map(|password| {
                Box::new(PasswordDeclared {
                    secret: password.secret_ref.name.clone(),
                    key: password.secret_ref.key.clone(),
                    hashed: password.format == api::PasswordFormat::Argon2,
                    force_change: password.force_change_at_logon.unwrap_or(false),
                    never_expires: password.never_expires.unwrap_or(false),
                    offer: Offer::Unread,
                })
            }),
            disabled: self.disabled,
            archive_start: self.archive_start_date,
            smtp_submission: access.smtp_submission,
            pop: access.pop,
            adopt: self.adoption_policy == api::AdoptionPolicy::Adopt,
            purge: self.deletion_policy == api::AddressDeletionPolicy::Purge,
        }))
    }

    fn suspended(&self) -> bool {
        self.suspend
    }
}

impl Admit for api::AliasLinkSpec {
    fn admit(&self) -> Admission {
        let (alias, primary) = (address(&self.alias)?, canonical(&self.primary)?);
        differ("alias and primary", alias.canonical(), &primary)?;
        Ok(Declared::Link(LinkDeclared { alias, primary, cross_domain: self.cross_domain, take_over: self.take_over_mailbox }))
    }

    fn suspended(&self) -> bool {
        self.suspend
    }
}

impl Admit for api::DelegateMailboxSpec {
    fn admit(&self) -> Admission {
        let (reader, mailbox) = (canonical(&self.reader)?, canonical(&self.mailbox)?);
        differ("reader and mailbox", &reader, &mailbox)?;
        Ok(Declared::Delegation(DelegationDeclared { reader, mailbox }))
    }

    fn suspended(&self) -> bool {
        self.suspend
    }
}

impl Admit for api::AdminRoleSpec {
    fn admit(&self) -> Admission {
        let (mut members, mut invalid) = (BTreeSet::new(), BTreeMap::new());
        for text in &self.members {
            match Address::parse(text) {
                Ok(address) => {
                    members.insert(address.canonical().clone());
                }
                Err(error) => {
                    invalid.insert(text.clone(), error.to_string());
                }
            }
        }
        let permissions: BTreeSet<_> = match self.built_in {
            Some(role) => granted(role).iter().map(word).collect(),
            None => self.permissions.iter().flatten().map(word).collect(),
        };
        let permissions = permissions.into_iter().collect();
        Ok(Declared::Role(RoleDeclared { built_in: self.built_in.as_ref().map(word), permissions, members, invalid }))
    }

    fn suspended(&self) -> bool {
        self.suspend
    }
}

/// What a built-in role grants (SPEC R4).
fn granted(role: api::BuiltInRole) -> Vec<api::Permission> {
    use api::BuiltInRole as Role;
    use api::Permission as May;
    let all = May::ALL.into_iter();
    match role {
        Role::SuperAdministrator => all.collect(),
        Role::FullAdministrator => all.filter(|p| !matches!(p, May::AddressesPurge | May::ContentRead)).collect(),
        Role::BasicAdministrator => {
            vec![May::DomainsRead, May::AddressesRead, May::AddressesWrite, May::AddressesUnlock, May::AliasesWrite]
        }
        Role::GatewayAdministrator => vec![
            May::DomainsRead,
            May::DomainsWrite,
            May::PoliciesRead,
            May::PoliciesWrite,
            May::DirectoryRead,
            May::DirectorySync,
            May::SettingsWrite,
        ],
        Role::HelpDesk => vec![May::AddressesRead, May::AddressesUnlock],
        Role::DiscoveryOfficer => vec![May::AddressesRead, May::ContentRead],
    }
}

impl Admit for api::AccountSettingsSpec {
    fn admit(&self) -> Admission {
        let count = |value: i32| u32::try_from(value).unwrap_or(0);
        let duration = |value: api::Duration| SignedDuration::try_from(std::time::Duration::from(value)).unwrap_or(SignedDuration::ZERO);
        Ok(Declared::Settings(Settings {
            password: PasswordPolicy {
                min_length: count(self.password.min_length),
                uppercase: self.password.require_uppercase,
                lowercase: self.password.require_lowercase,
                digit: self.password.require_digit,
                symbol: self.password.require_symbol,
            },
            expires_after_days: count(self.password.expires_after_days),
            history: count(self.password.history),
            failed_logons: count(self.lockout.failed_logons),
            lockout: duration(self.lockout.duration),
            failed_codes: count(self.password_reset.failed_codes),
            purge_delay: duration(self.purge.delay),
            held_mail_reports: self.purge.held_mail_reports == api::HeldMailReports::Required,
            guard: Guard { max_percent: count(self.deletion_guard.max_percent), min_count: count(self.deletion_guard.min_count) },
            hide_confidential: self.hide_confidential,
        }))
    }

    fn suspended(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_settings_and_an_empty_spec_mean_the_same() {
        assert_eq!(api::AccountSettingsSpec::default().admit(), Ok(Declared::Settings(Settings::default())));
    }

    #[test]
    fn r4_built_in_roles_grant_what_the_specification_lists() {
        for (role, count) in [
            ("SuperAdministrator", 17),
            ("FullAdministrator", 15),
            ("BasicAdministrator", 5),
            ("GatewayAdministrator", 7),
            ("HelpDesk", 2),
            ("DiscoveryOfficer", 2),
        ] {
            let spec: api::AdminRoleSpec = serde_json::from_value(serde_json::json!({"builtIn": role})).unwrap();
            let Ok(Declared::Role(declared)) = spec.admit() else { panic!("{role}") };
            assert_eq!(declared.permissions.len(), count, "{role}");
        }
    }

    #[test]
    fn d1_a_public_suffix_is_not_allowed() {
        for (domain, reason) in
            [("co.uk", Reason::DomainNotAllowed), ("localdomain", Reason::DomainNotAllowed), ("acme.example.", Reason::DomainInvalid)]
        {
            let spec = api::InternalDomainSpec { domain: domain.to_owned(), ..Default::default() };
            assert_eq!(spec.admit().unwrap_err().reason, reason, "{domain}");
        }
    }
}
