//! The two relations between addresses, each found from both ends.

use std::collections::{BTreeMap, BTreeSet};

use super::observed::{DelegationRow, LinkRow};
use crate::model::CanonicalAddress;

/// Alias to link, and primary to its aliases. Of a primary with many of them a slice may have some in view and the number of the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    rows: BTreeMap<CanonicalAddress, LinkRow>,
    by_primary: BTreeMap<CanonicalAddress, BTreeSet<CanonicalAddress>>,
    /// How many aliases a primary has besides those in view; all of them come after the first [`LISTED`] by name. None is left out of
    /// which something may become in this plan.
    unseen: BTreeMap<CanonicalAddress, usize>,
}

/// How many names of its aliases a primary's status lists. Generated worlds are small.
pub const LISTED: usize = if cfg!(test) { 2 } else { 50 };

impl Links {
    pub fn leave_out(&mut self, primary: CanonicalAddress, count: usize) {
        if count > 0 {
            self.unseen.insert(primary, count);
        }
    }

    pub fn insert(&mut self, alias: CanonicalAddress, row: LinkRow) {
        self.remove(&alias);
        self.by_primary.entry(row.primary.clone()).or_default().insert(alias.clone());
        self.rows.insert(alias, row);
    }

    pub fn remove(&mut self, alias: &CanonicalAddress) -> Option<LinkRow> {
        let row = self.rows.remove(alias)?;
        if let Some(aliases) = self.by_primary.get_mut(&row.primary) {
            aliases.remove(alias);
            if aliases.is_empty() {
                self.by_primary.remove(&row.primary);
            }
        }
        Some(row)
    }

    #[must_use]
    pub fn get(&self, alias: &CanonicalAddress) -> Option<&LinkRow> {
        self.rows.get(alias)
    }

    pub fn get_mut(&mut self, alias: &CanonicalAddress) -> Option<LinkEnds<'_>> {
        self.rows.get_mut(alias).map(|row| LinkEnds { owner: &mut row.owner, namespace: &mut row.namespace })
    }

    pub fn iter(&self) -> impl Iterator<Item = (&CanonicalAddress, &LinkRow)> {
        self.rows.iter()
    }

    /// The aliases of a primary, in order: all of them where it is to be purged, at least the first [`LISTED`] otherwise.
    pub fn aliases_of(&self, primary: &CanonicalAddress) -> impl Iterator<Item = &CanonicalAddress> {
        self.by_primary.get(primary).into_iter().flatten()
    }

    /// How many aliases a primary has, those out of view included.
    #[must_use]
    pub fn count_aliases_of(&self, primary: &CanonicalAddress) -> usize {
        self.by_primary.get(primary).map_or(0, BTreeSet::len) + self.unseen.get(primary).copied().unwrap_or_default()
    }
}

/// What of a link may change in place; its two addresses may not, or the index would lie.
pub struct LinkEnds<'a> {
    pub owner: &'a mut Option<String>,
    pub namespace: &'a mut String,
}

/// (reader, mailbox) to delegation, and mailbox to its readers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delegations {
    rows: BTreeMap<(CanonicalAddress, CanonicalAddress), DelegationRow>,
    by_mailbox: BTreeSet<(CanonicalAddress, CanonicalAddress)>,
}

impl Delegations {
    pub fn insert(&mut self, pair: (CanonicalAddress, CanonicalAddress), row: DelegationRow) {
        self.by_mailbox.insert((pair.1.clone(), pair.0.clone()));
        self.rows.insert(pair, row);
    }

    pub fn remove(&mut self, pair: &(CanonicalAddress, CanonicalAddress)) -> Option<DelegationRow> {
        self.by_mailbox.remove(&(pair.1.clone(), pair.0.clone()));
        self.rows.remove(pair)
    }

    #[must_use]
    pub fn get(&self, pair: &(CanonicalAddress, CanonicalAddress)) -> Option<&DelegationRow> {
        self.rows.get(pair)
    }

    pub fn get_mut(&mut self, pair: &(CanonicalAddress, CanonicalAddress)) -> Option<&mut DelegationRow> {
        self.rows.get_mut(pair)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&(CanonicalAddress, CanonicalAddress), &DelegationRow)> {
        self.rows.iter()
    }

    /// The pairs that name an address at either end.
    #[must_use]
    pub fn naming(&self, address: &CanonicalAddress) -> Vec<(CanonicalAddress, CanonicalAddress)> {
        let as_reader = self.rows.range((address.clone(), CanonicalAddress::from_store(""))..).map(|(pair, _)| pair);
        let as_reader = as_reader.take_while(|(reader, _)| reader == address).cloned();
        let as_mailbox = self.by_mailbox.range((address.clone(), CanonicalAddress::from_store(""))..);
        let as_mailbox =
            as_mailbox.take_while(|(mailbox, _)| mailbox == address).map(|(mailbox, reader)| (reader.clone(), mailbox.clone()));
        as_reader.chain(as_mailbox).collect()
    }
}
