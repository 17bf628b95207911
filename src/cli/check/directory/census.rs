//! Who came in a read of everything: how many, what of them can't be seen, and a few to look at.

use std::collections::{BTreeMap, BTreeSet};

use super::{Findings, remedies};
use crate::directory::Page;
use crate::model::{Access, Account, DomainName, Entry, EntrySort, Signs};
use crate::plan::directory::Internal;

/// Entries that are shown.
const SHOWN: usize = 5;
/// Of what is told one by one, so many.
const TOLD: usize = 3;
/// Aliases of an entry that are shown.
const ALIASES: usize = 3;

/// The entries of one read.
pub(super) struct Census<'a> {
    access: &'a Access,
    /// None: all of them are.
    domains: Option<&'a BTreeSet<DomainName>>,
    mailboxes: u64,
    lists: u64,
    disabled: u64,
    /// Without an address in the domains of the connection (Y2).
    outside: u64,
    /// Without any address, and the first of them.
    nameless: u64,
    nameless_first: String,
    /// Values that can't be used, and the first of them.
    faults: u64,
    faults_first: Vec<String>,
    unreadable_first: Vec<String>,
    /// How many entries had an attribute; nobody, too.
    had: BTreeMap<String, u64>,
    sample: Vec<String>,
}

impl<'a> Census<'a> {
    pub(super) fn new(access: &'a Access, domains: Option<&'a BTreeSet<DomainName>>) -> Self {
        Self {
            access,
            domains,
            mailboxes: 0,
            lists: 0,
            disabled: 0,
            outside: 0,
            nameless: 0,
            nameless_first: String::new(),
            faults: 0,
            faults_first: Vec::new(),
            unreadable_first: Vec::new(),
            had: BTreeMap::new(),
            sample: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, page: Page) {
        for text in page.unreadable {
            if self.unreadable_first.len() < TOLD {
                self.unreadable_first.push(text);
            }
        }
        page.entries.iter().for_each(|entry| self.count(entry));
    }

    fn count(&mut self, entry: &Entry) {
        match entry.sort {
            EntrySort::Mailbox => self.mailboxes += 1,
            EntrySort::List => self.lists += 1,
        }
        self.disabled += u64::from(entry.account == Account::Disabled);
        for fault in &entry.faults {
            self.faults += 1;
            if self.faults_first.len() < TOLD {
                self.faults_first.push(format!("{}: {fault}", entry.dn));
            }
        }
        self.look_for_attributes(entry);
        let internal = Internal::of(entry, |domain| self.domains.is_none_or(|domains| domains.contains(domain)));
        if entry.values.is_empty() && entry.faults.is_empty() {
            self.nameless += 1;
            if self.nameless_first.is_empty() {
                self.nameless_first.clone_from(&entry.dn);
            }
        } else if internal.primary.is_none() {
            self.outside += 1;
        }
        if self.sample.len() < SHOWN && internal.primary.is_some() {
            self.sample.push(shown(entry, &internal));
        }
    }

    fn look_for_attributes(&mut self, entry: &Entry) {
        let (names, mailbox) = (&self.access.attributes, entry.sort == EntrySort::Mailbox);
        let mut had = |name: &str, had: bool| {
            if !name.is_empty() {
                *self.had.entry(name.to_owned()).or_default() += u64::from(had);
            }
        };
        had(&names.mail, entry.signs.has(Signs::MAIL));
        had(&names.aliases, entry.signs.has(Signs::ALIASES));
        had(&names.display_name, entry.display_name.is_some());
        if !mailbox {
            had(&names.member, entry.signs.has(Signs::MEMBER));
        }
        for (ours, theirs) in &names.extra {
            had(theirs, entry.attributes.contains_key(ours));
        }
    }

    fn entries(&self) -> u64 {
        self.mailboxes + self.lists
    }

    pub(super) fn total(&self) -> String {
        format!("{} entries, {} mailboxes ({} disabled) and {} lists", self.entries(), self.mailboxes, self.disabled, self.lists)
    }

    pub(super) fn tell(&self, findings: &mut Findings, url: &str) {
        for text in &self.unreadable_first {
            findings.note(format!("{url}: {text}"));
        }
        let who = &self.access.bind_dn;
        if self.nameless > 0 && self.nameless == self.entries() {
            findings.wrong(format!("{url}: none of the {} entries shows an address; may {who} read {}?", self.nameless, self.addresses()));
            findings.remedy(remedies::attributes(self.access));
        } else if self.nameless > 0 {
            findings.note(format!("{url}: {} entries show no address, {} among them", self.nameless, self.nameless_first));
        }
        self.tell_attributes(findings, url);
        if self.outside > 0 {
            let served = self.domains.into_iter().flatten().map(DomainName::unicode).collect::<Vec<_>>().join(", ");
            let text = format!("{url}: {} entries have no address in the domains that are served ({served}) and are skipped", self.outside);
            if self.outside == self.entries() { findings.wrong(text) } else { findings.note(text) }
        }
        if self.faults > 0 {
            findings.note(format!("{url}: {} values can't be used: {}", self.faults, self.faults_first.join("; ")));
        }
        self.sample.iter().for_each(|entry| findings.sample(entry));
    }

    /// Nobody having an attribute and nobody being shown it look the same.
    fn tell_attributes(&self, findings: &mut Findings, url: &str) {
        let names = &self.access.attributes;
        let shows = |name: &str| self.had.get(name).is_some_and(|seen| *seen > 0);
        // One of the two is enough (Y3).
        let needless = |name: &str| (name == names.mail && shows(&names.aliases)) || (name == names.aliases && shows(&names.mail));
        let absent: Vec<_> = self.had.keys().map(String::as_str).filter(|name| !shows(name) && !needless(name)).collect();
        // Then all of it has been said.
        if absent.is_empty() || self.nameless == self.entries() {
            return;
        }
        findings.note(format!(
            "{url}: no entry shows {}; either nobody has it, or {} may not read it",
            absent.join(", "),
            self.access.bind_dn
        ));
    }

    fn addresses(&self) -> String {
        let names = &self.access.attributes;
        if names.aliases.is_empty() { names.mail.clone() } else { format!("{} and {}", names.mail, names.aliases) }
    }
}

/// `anna@acme.example (aliases a.meier@acme.example) "Anna Meier", enabled`
fn shown(entry: &Entry, internal: &Internal<'_>) -> String {
    let mut text = internal.primary.map(|address| address.declared().to_owned()).unwrap_or_default();
    let aliases: Vec<_> = internal.aliases.iter().take(ALIASES).map(|address| address.declared()).collect();
    if !aliases.is_empty() {
        let more = internal.aliases.len().saturating_sub(ALIASES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        text += &format!(" (aliases {}{more})", aliases.join(", "));
    }
    if let Some(name) = &entry.display_name {
        text += &format!(" {name:?}");
    }
    text + match (entry.sort, entry.account) {
        (EntrySort::List, _) => ", a list",
        (_, Account::Enabled) => ", enabled",
        (_, Account::Disabled) => ", disabled",
        (_, Account::Unreadable) => ", disabled or not: it can't be seen",
    }
}
