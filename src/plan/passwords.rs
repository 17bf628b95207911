//! Cloud passwords (SPEC P1 to P4). The plan compares fingerprints; hashing and comparing happen outside and come back as [`Work`].

use super::desired::{AddressDeclared, Declared, Offer, PasswordDeclared, Resource, Work};
use super::directory::person_now;
use super::observed::AddressRow;
use super::reason::Reason;
use super::subject::Subject;
use super::verdict::{AddressDetail, Condition};
use super::working::{NewPassword, PasswordWork, Working};
use crate::model::CanonicalAddress;

pub(super) fn settle(w: &mut Working<'_>) {
    for resource in w.desired.resources.values() {
        let Some(Declared::Address(declared)) = resource.active() else {
            continue;
        };
        let address = declared.address.canonical();
        let held = w.next.addresses.get(address).is_some_and(|row| {
            !row.is_alias
                && person_now(&w.next, resource, address).is_none()
                && row.namespace == resource.key.namespace
                && row.owner.as_deref() == Some(&resource.key.name)
        });
        if let Some(password) = declared.password.as_ref().filter(|_| held) {
            settle_one(w, resource, address, password);
        }
    }
}

fn settle_one(w: &mut Working<'_>, resource: &Resource, address: &CanonicalAddress, password: &PasswordDeclared) {
    let Offer::Value { fingerprint, key_id, work } = &password.offer else {
        return;
    };
    let old = w.next.credentials.get(address);
    let same = old.is_some_and(|old| old.fingerprint == *fingerprint && old.key_id == *key_id);
    let new = |phc: Option<String>, history| NewPassword {
        phc,
        fingerprint: fingerprint.clone(),
        key_id: key_id.clone(),
        force_change: password.force_change,
        never_expires: password.never_expires,
        history,
    };
    let history = w.next.settings(&resource.key.namespace).history;
    let write = if same {
        old.is_some_and(|old| old.never_expires != password.never_expires).then(|| new(None, history))
    } else {
        match work {
            Work::Open => {
                w.password_work.push(PasswordWork { key: resource.key.clone(), address: address.clone() });
                None
            }
            Work::Hashed { phc, ascii } => {
                if !ascii {
                    let message = "the password has letters beyond ASCII: some mail clients can't send it";
                    w.note(&resource.key, Reason::PasswordNotAscii, true, message);
                }
                Some(new(Some(phc.clone()), history))
            }
            Work::Same if old.is_some() => Some(new(None, history)),
            Work::Same | Work::Refused(_) => None,
        }
    };
    if let Some(write) = write {
        w.passwords.insert(address.clone(), write);
        w.by(Subject::Address(address.clone()), resource, "PasswordDeclared");
    }
}

/// Whether what the Secret says now is in force, in this plan or before it.
fn in_force(w: &Working<'_>, address: &CanonicalAddress, fingerprint: &[u8], key_id: &str) -> bool {
    w.passwords.contains_key(address)
        || w.next.credentials.get(address).is_some_and(|row| row.fingerprint == fingerprint && row.key_id == key_id)
}

/// CredentialReady.
pub(super) fn judge(w: &Working<'_>, resource: &Resource, declared: &AddressDeclared, row: &AddressRow) -> Condition {
    let no = |reason: Reason, message: &str| Condition::new("CredentialReady", false, reason, message);
    let address = declared.address.canonical();
    let Some(password) = &declared.password else {
        return Condition::quiet("CredentialReady", true, Reason::NotManaged);
    };
    if row.is_alias {
        return Condition::new("CredentialReady", true, Reason::NotManaged, "the address is an alias: its password is not used");
    }
    if let Some(now) = person_now(&w.next, resource, address) {
        let message = format!("the person's address is {now} now, and the password with it: the one declared here is not used");
        return Condition::new("CredentialReady", true, Reason::NotManaged, message);
    }
    match &password.offer {
        Offer::Unread => no(Reason::PasswordPending, "the Secret has not been read yet"),
        Offer::Missing(message) => no(Reason::SecretNotFound, message),
        Offer::NotReadable(message) => no(Reason::SecretNotReadable, message),
        Offer::Value { fingerprint, key_id, .. } if in_force(w, address, fingerprint, key_id) => {
            Condition::quiet("CredentialReady", true, Reason::Succeeded)
        }
        // C8: nobody looks at the value, and whoever did before may have forgotten by now.
        Offer::Value { .. } if resource.active().is_none() => {
            no(Reason::PasswordPending, "the Secret's value is not looked at while the resource is suspended or ending")
        }
        Offer::Value { work: Work::Refused(rule), .. } => no(Reason::PasswordRefused, rule),
        Offer::Value { .. } => no(Reason::PasswordPending, "the password is being hashed"),
    }
}

/// `status.password`.
pub(super) fn detail(w: &Working<'_>, resource: &Resource, address: &CanonicalAddress) -> AddressDetail {
    let user = w.next.reports.get(address).and_then(|r| r.user_password_at);
    let declared = match w.passwords.get(address) {
        Some(new) if new.phc.is_some() => Some((w.now, new.never_expires)),
        new => w.next.credentials.get(address).map(|row| (row.set_at, new.map_or(row.never_expires, |new| new.never_expires))),
    };
    let never = declared.is_some_and(|(_, never)| never);
    let by_user = user.is_some_and(|user| declared.is_none_or(|(set, _)| user > set));
    let set_at = if by_user { user } else { declared.map(|(set, _)| set) };
    let days = w.next.settings(&resource.key.namespace).expires_after_days;
    let lifetime = jiff::SignedDuration::from_hours(24 * i64::from(days));
    AddressDetail {
        password_set_at: set_at,
        password_expires_at: set_at.filter(|_| days > 0 && !never).and_then(|at| at.saturating_add(lifetime).ok()),
        password_changed_by: match set_at {
            None => "",
            Some(_) if by_user => "User",
            Some(_) => "Declared",
        },
        ..AddressDetail::default()
    }
}
