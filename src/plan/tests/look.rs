//! What a test looks at in a [`World`].

use super::world::{World, address, key};
use crate::plan::observed::{AddressRow, Reports, WaitAction};
use crate::plan::verdict::{Condition, Detail, HeldPlan, Verdict};

impl World {
    /// Compares the reasons on Ready: `Kind/name Reason`, a line each. `-` for a resource that is no more.
    #[track_caller]
    pub(crate) fn expect(&self, expected: &str) {
        for line in expected.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, reason) = line.split_once(' ').unwrap();
            let key = key(name);
            let found = self.desired.resources.get(&key).map_or("-", |_| self.ready(name));
            assert_eq!(found, reason, "{key}: {:?}", self.plan.verdicts.get(&key).map(|v| &v.ready.message));
        }
    }

    #[track_caller]
    pub(crate) fn verdict(&self, name: &str) -> &Verdict {
        self.plan.verdicts.get(&key(name)).unwrap_or_else(|| panic!("no verdict on {name}"))
    }

    #[track_caller]
    pub(crate) fn ready(&self, name: &str) -> &'static str {
        self.verdict(name).ready.reason.as_str()
    }

    #[track_caller]
    pub(crate) fn message(&self, name: &str) -> &str {
        &self.verdict(name).ready.message
    }

    /// A condition as `True Reason`.
    #[track_caller]
    pub(crate) fn condition(&self, name: &str, kind: &str) -> String {
        let found: &Condition = self.verdict(name).conditions.iter().find(|c| c.kind == kind).unwrap_or_else(|| panic!("no {kind}"));
        format!("{} {}", if found.status { "True" } else { "False" }, found.reason)
    }

    /// The plan that a domain holds.
    #[track_caller]
    pub(crate) fn held(&self, name: &str) -> Option<HeldPlan> {
        match &self.verdict(name).detail {
            Detail::Domain { held, .. } => held.clone(),
            _ => panic!("{name} is no domain"),
        }
    }

    /// The plan that the namespace's AccountSettings holds (U6).
    #[track_caller]
    pub(crate) fn held_absences(&self) -> Option<HeldPlan> {
        match &self.verdict("AccountSettings/default").detail {
            Detail::Settings { held } => held.clone(),
            _ => panic!("no settings"),
        }
    }

    /// `member reason holder` of each refused member.
    #[track_caller]
    pub(crate) fn rejected(&self, name: &str) -> Vec<String> {
        match &self.verdict(name).detail {
            Detail::Role { rejected, .. } => {
                rejected.iter().map(|r| format!("{} {} {}", r.address, r.reason, r.holder).trim_end().to_owned()).collect()
            }
            _ => panic!("{name} is no role"),
        }
    }

    /// The reasons why a purge waits.
    #[track_caller]
    pub(crate) fn blockers(&self, name: &str) -> Vec<&'static str> {
        match &self.verdict(name).detail {
            Detail::Address(detail) => detail.purge.iter().flat_map(|p| &p.blockers).map(|b| b.reason.as_str()).collect(),
            _ => panic!("{name} is no address"),
        }
    }

    pub(crate) fn row(&self, text: &str) -> Option<&AddressRow> {
        self.observed.addresses.get(&address(text))
    }

    /// What an address is an alias of.
    pub(crate) fn alias_of(&self, text: &str) -> Option<String> {
        self.observed.links.get(&address(text)).map(|row| row.primary.to_string())
    }

    pub(crate) fn may_read(&self, reader: &str, mailbox: &str) -> bool {
        self.observed.delegations.get(&(address(reader), address(mailbox))).is_some()
    }

    /// The role that an address holds.
    pub(crate) fn role_of(&self, text: &str) -> Option<&str> {
        self.observed.members.get(&address(text)).map(|(_, role)| role.as_str())
    }

    pub(crate) fn waits(&self, text: &str, action: WaitAction) -> bool {
        self.observed.waiting.contains_key(&(address(text), action))
    }

    pub(crate) fn reports(&mut self, text: &str) -> &mut Reports {
        self.observed.reports.entry(address(text)).or_default()
    }

    /// The one mail queue reports: nothing is held.
    pub(crate) fn queue_reports(&mut self) {
        self.observed.held_sources.insert("queue".to_owned(), self.now);
        self.settle();
    }

    pub(crate) fn noted(&self, reason: &str) -> bool {
        self.plan.notes.iter().any(|note| note.reason.as_str() == reason)
    }
}
