//! The pure interpreter of changes: what the store does with them, its constraints included. Property tests hold plans to it, and it to
//! Postgres; a transfer uses it to move a domain's rows within a plan.

use std::collections::BTreeSet;

use super::change::Change;
use super::observed::{AddressRow, CredentialRow, Observed};
use super::working::{Move, NewPassword};
use crate::model::{CanonicalAddress, DomainName};

impl Observed {
    /// The pure interpreter: what the store does with a change, constraints included.
    ///
    /// # Errors
    /// The constraint that the change would break.
    pub fn apply(&mut self, change: &Change) -> Result<(), String> {
        match change {
            Change::PutSettings { namespace, settings, .. } => {
                self.settings.insert(namespace.clone(), settings.clone());
            }
            Change::DeleteSettings { namespace } => {
                self.settings.remove(namespace);
            }
            Change::TransferDomain { domain, from, to } => self.transfer(domain, from, to),
            Change::PutDomain { domain, row } => {
                self.domains.insert(domain.clone(), row.clone());
            }
            Change::DeleteMember { address, .. } => {
                self.members.remove(address);
            }
            Change::DeleteDelegation { reader, mailbox } => {
                self.delegations.remove(&(reader.clone(), mailbox.clone()));
            }
            Change::DeleteLink { alias, .. } => {
                self.links.remove(alias);
            }
            Change::PutAddress { address, row, .. } => {
                let domain = self.domains.get(address.domain_text()).ok_or_else(|| format!("{address}: no domain"))?;
                if domain.namespace != row.namespace {
                    return Err(format!("{address}: the domain is another namespace's"));
                }
                if self.addresses.get(address).is_some_and(|old| old.created_at != row.created_at) {
                    return Err(format!("{address}: another row than the one that was planned"));
                }
                let was_alias = self.addresses.get(address).is_some_and(|old| old.is_alias);
                if was_alias && !row.is_alias && self.links.get(address).is_some() {
                    return Err(format!("{address}: still the alias of a link"));
                }
                if row.is_alias && !was_alias && (self.links.aliases_of(address).next().is_some() || self.has_rights(address)) {
                    return Err(format!("{address}: named as a primary"));
                }
                self.addresses.share(address.clone(), row.clone());
            }
            Change::PutRole { namespace, name, row } => {
                self.roles.insert((namespace.clone(), name.clone()), row.clone());
            }
            Change::PutLink { alias, row } => {
                self.named(alias, true, &row.namespace)?;
                self.named(&row.primary, false, &row.namespace)?;
                self.links.insert(alias.clone(), row.clone());
            }
            Change::PutDelegation { reader, mailbox, row } => {
                self.named(reader, false, &row.namespace)?;
                self.named(mailbox, false, &row.namespace)?;
                self.delegations.insert((reader.clone(), mailbox.clone()), row.clone());
            }
            Change::PutMember { address, namespace, role } => {
                self.named(address, false, namespace)?;
                let role = (namespace.clone(), role.clone());
                if !self.roles.contains_key(&role) {
                    return Err(format!("{address}: no role {}", role.1));
                }
                if self.members.insert(address.clone(), role).is_some() {
                    return Err(format!("{address}: already a member"));
                }
            }
            Change::PutCredential { address, password } => self.put_credential(address, password)?,
            Change::PutWait { address, action, wait, .. } => {
                self.waiting.insert((address.clone(), *action), *wait);
            }
            Change::DeleteWait { address, action, .. } => {
                self.waiting.remove(&(address.clone(), *action));
            }
            Change::PutHandled { key, action, token } => {
                self.handled.insert((key.clone(), *action), token.clone());
            }
            Change::PutAbsence { key, absence } => {
                self.absences.insert(key.clone(), *absence);
            }
            Change::DeleteAbsence { key } => {
                self.absences.remove(key);
            }
            Change::MoveMailboxes { moves } => {
                let mut taken = Vec::new();
                for Move { from, to, credential } in moves {
                    if !self.addresses.contains_key(to) {
                        return Err(format!("{to}: no row"));
                    }
                    let own = self.credentials.remove(from).filter(|_| *credential);
                    taken.push((to, *credential, own, self.reports.remove(from)));
                }
                for (to, moves, credential, reports) in taken {
                    if moves {
                        self.credentials.remove(to);
                    }
                    self.credentials.extend(credential.map(|credential| (to.clone(), credential)));
                    self.reports.remove(to);
                    self.reports.extend(reports.map(|reports| (to.clone(), reports)));
                }
            }
            Change::DeleteConnection { namespace, name } => {
                self.connections.remove(&(namespace.clone(), name.clone()));
                self.entries.retain(|key, _| (&key.0, &key.1) != (namespace, name));
                let theirs = |row: &AddressRow| row.namespace == *namespace && row.connection() == Some(name);
                let addresses: Vec<_> = self.addresses.iter().filter(|(_, row)| theirs(row)).map(|(address, _)| address.clone()).collect();
                addresses.iter().for_each(|address| self.leave_connection(address));
            }
            Change::PutEntry { key, row } => {
                // That one address has one holder the store looks at when all is done: entries may exchange.
                self.entries.insert(key.clone(), row.clone());
            }
            Change::DeleteEntry { key } => {
                self.entries.remove(key);
            }
            Change::PutLeaver { address, leaver, .. } => {
                self.leavers.insert(address.clone(), *leaver);
            }
            Change::DeleteLeaver { address } => {
                self.leavers.remove(address);
            }
            Change::PutDeparted { .. } => {}
            Change::PutNamespace { namespace, uid } => {
                self.namespaces.insert(namespace.clone(), uid.clone());
            }
            Change::ConsumeLearned { address } => {
                self.learned.entry(address.domain()).or_default().remove(address);
            }
            Change::ConsumeTransfer { domain } => {
                self.transfers.remove(domain);
            }
            Change::PutDone { address, .. } => {
                self.numbers.entry(address.domain()).or_default().done += 1;
            }
            Change::DeleteRole { namespace, name } => {
                let role = (namespace.clone(), name.clone());
                if self.members.values().any(|held| *held == role) {
                    return Err(format!("role {name}: still has members"));
                }
                self.roles.remove(&role);
            }
            Change::DeleteAddress { address, .. } => {
                if self.links.get(address).is_some() || self.links.aliases_of(address).next().is_some() || self.has_rights(address) {
                    return Err(format!("{address}: still named"));
                }
                self.addresses.remove(address);
                self.credentials.remove(address);
                self.waiting.retain(|(waiting, _), _| waiting != address);
                self.leavers.remove(address);
                for entry in self.entries.values_mut().filter(|entry| entry.address.as_ref() == Some(address)) {
                    entry.address = None;
                }
            }
            Change::DeleteDomain { domain } => {
                if self.addresses.keys().any(|address| address.domain() == *domain) {
                    return Err(format!("{domain}: addresses remain"));
                }
                self.domains.remove(domain);
            }
        }
        Ok(())
    }

    fn transfer(&mut self, domain: &DomainName, from: &str, to: &str) {
        if let Some(row) = self.domains.get_mut(domain).filter(|row| row.namespace == from) {
            to.clone_into(&mut row.namespace);
            row.owner = None;
        }
        let moved: BTreeSet<_> = self.addresses.keys().filter(|address| address.domain() == *domain).cloned().collect();
        for address in &moved {
            if let Some(row) = self.addresses.get_mut(address) {
                to.clone_into(&mut row.namespace);
                row.owner = None;
                row.last_owner = None;
            }
            self.leave_connection(address);
            for entry in self.entries.values_mut().filter(|entry| entry.address.as_ref() == Some(address)) {
                (entry.address, entry.digest) = (None, None);
            }
            if let Some(ends) = self.links.get_mut(address) {
                to.clone_into(ends.namespace);
                *ends.owner = None;
            }
            for pair in self.delegations.naming(address) {
                if let Some(row) = self.delegations.get_mut(&pair) {
                    to.clone_into(&mut row.namespace);
                    row.owner = None;
                }
            }
        }
    }

    /// Its connection has nothing to say of it any more (Y8).
    fn leave_connection(&mut self, address: &CanonicalAddress) {
        self.leavers.remove(address);
        if self.addresses.get(address).is_none_or(|row| row.connection().is_none()) {
            return;
        }
        if let Some(side) = self.addresses.get_mut(address).and_then(|row| row.directory.as_mut()) {
            side.connection = None;
            (side.directory_disabled, side.directory_missing) = (false, false);
        }
    }

    fn has_rights(&self, address: &CanonicalAddress) -> bool {
        self.members.contains_key(address) || !self.delegations.naming(address).is_empty()
    }

    /// A reference to an address: there, in the namespace, and alias or not as the reference wants it.
    fn named(&self, address: &CanonicalAddress, alias: bool, namespace: &str) -> Result<(), String> {
        match self.addresses.get(address) {
            None => Err(format!("{address}: no row")),
            Some(row) if row.namespace != namespace => Err(format!("{address}: another namespace's")),
            Some(row) if row.is_alias != alias => Err(format!("{address}: alias is {}", row.is_alias)),
            Some(_) => Ok(()),
        }
    }

    fn put_credential(&mut self, address: &CanonicalAddress, password: &NewPassword) -> Result<(), String> {
        if !self.addresses.contains_key(address) {
            return Err(format!("{address}: no row"));
        }
        let old = self.credentials.remove(address);
        if password.phc.is_none() && old.is_none() {
            return Err(format!("{address}: no credential to keep"));
        }
        let set_at = if password.phc.is_some() { None } else { old.as_ref().map(|old| old.set_at) };
        self.credentials.insert(
            address.clone(),
            CredentialRow {
                fingerprint: password.fingerprint.clone(),
                key_id: password.key_id.clone(),
                never_expires: password.never_expires,
                force_change: if password.phc.is_some() { password.force_change } else { old.is_some_and(|old| old.force_change) },
                set_at: set_at.unwrap_or(jiff::Timestamp::UNIX_EPOCH),
            },
        );
        Ok(())
    }
}
