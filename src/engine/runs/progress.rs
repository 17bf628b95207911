//! What a run has seen so far: what reads as it did is done, the rest is to be planned.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::verdict::Signless;
use crate::directory::Page;
use crate::model::{Entry, EntryId};
use crate::plan::directory::Account;
use crate::plan::directory::rows::{Problem, RunCounts};
use crate::plan::reason::Reason;
use crate::store::Known;

/// Entries that are kept for the end of a run at the most; a run that meets more of them has not brought all.
const KEPT: usize = 20_000;
/// How many reports are kept.
const REPORTS: usize = 10;

/// What a run has seen so far.
pub(super) struct Progress {
    pub known: HashMap<EntryId, Known>,
    /// What the directory says is mapped as it was when the digests were kept.
    pub same_mapping: bool,
    pub seen: HashSet<EntryId>,
    /// Only additions and disables are taken from this server (Y11).
    pub unproved: bool,
    /// The server tells what changed, not all there is.
    pub shown: bool,
    /// What it told of entries that it said to have changed.
    pub told: HashMap<EntryId, [u8; 16]>,
    /// Something of that did change, or somebody is missing.
    pub moves: bool,
    /// Entries that had changed, as reading all shows, without having been told of.
    pub untold: u64,
    pub signless: Signless,
    pub chunk: BTreeMap<EntryId, Arc<Entry>>,
    /// Brought again when all others were planned.
    pub later: BTreeMap<EntryId, Arc<Entry>>,
    /// They lack a sign that they had.
    pub aside: BTreeMap<EntryId, Arc<Entry>>,
    /// Entries that had to wait for the end of the run, and for which there was no room.
    pub left_out: usize,
    /// How long entries took to be planned and written.
    pub bringing: Duration,
    pub counts: RunCounts,
    pub reports: Vec<String>,
}

impl Progress {
    pub fn new(same_mapping: bool) -> Self {
        Self {
            known: HashMap::new(),
            same_mapping,
            seen: HashSet::new(),
            unproved: false,
            shown: false,
            told: HashMap::new(),
            moves: false,
            untold: 0,
            signless: Signless::default(),
            chunk: BTreeMap::new(),
            later: BTreeMap::new(),
            aside: BTreeMap::new(),
            left_out: 0,
            bringing: Duration::ZERO,
            counts: RunCounts::default(),
            reports: Vec::new(),
        }
    }

    pub fn report(&mut self, text: String) {
        self.counts.reported += 1;
        if self.reports.len() < REPORTS {
            self.reports.push(text);
        }
    }

    /// Takes in a page.
    pub fn take_page(&mut self, page: Page) {
        page.unreadable.into_iter().for_each(|text| self.report(text));
        page.entries.into_iter().for_each(|entry| self.take(entry));
    }

    /// Takes in an entry: what reads as it did is done.
    fn take(&mut self, entry: Entry) {
        self.counts.read += 1;
        let known = self.known.get(&entry.id);
        if !self.seen.insert(entry.id.clone()) {
            return;
        }
        let lacks = self.signless.note(&entry, known);
        if self.same_mapping && known.is_some_and(|known| known.holds && known.digest == Some(entry.digest)) {
            self.counts.unchanged += 1;
            // What can't be used of it stays worth a look for as long as it is there (Y3).
            entry.faults.iter().for_each(|fault| self.report(format!("{}: {fault}", entry.dn)));
            return;
        }
        if self.shown {
            self.told.insert(entry.id.clone(), entry.digest);
        } else if self.told.get(&entry.id) != Some(&entry.digest) && known.is_none_or(|known| known.digest.is_some()) {
            self.untold += 1;
        }
        let entry = Arc::new(entry);
        if !lacks {
            self.chunk.insert(entry.id.clone(), entry);
        } else if self.aside.len() < KEPT {
            self.aside.insert(entry.id.clone(), entry);
        } else {
            self.left_out += 1;
        }
    }

    pub fn account(&mut self, account: &Account, entries: &BTreeMap<EntryId, Arc<Entry>>) {
        for (id, entry) in account.deferred.iter().filter_map(|id| entries.get_key_value(id)) {
            if self.later.len() < KEPT {
                self.later.insert(id.clone(), entry.clone());
            } else {
                self.left_out += 1;
            }
        }
        self.counts.add(&account.counts);
        // The counts have them already.
        let room = REPORTS.saturating_sub(self.reports.len());
        self.reports.extend(account.reports.iter().take(room).cloned());
    }

    /// Whether all that came was brought or waits for being planned. Where not, the server has to tell of it again, and nothing follows
    /// from absence: somebody else may have the address that one of them gave up.
    pub fn kept_all(&self) -> Result<(), Problem> {
        if self.left_out == 0 {
            return Ok(());
        }
        let message = format!(
            "{} entries that had to wait for the end of the run were left out, for it keeps {KEPT} at the most; the next runs bring them",
            self.left_out
        );
        Err(Problem { reason: Reason::TooManyChanged, message })
    }

    /// At most so many entries that wait for being planned.
    pub fn some(&mut self, count: usize) -> BTreeMap<EntryId, Arc<Entry>> {
        match self.chunk.keys().nth(count).cloned() {
            None => std::mem::take(&mut self.chunk),
            Some(first) => {
                let rest = self.chunk.split_off(&first);
                std::mem::replace(&mut self.chunk, rest)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EntrySort, Signs};

    fn entry(n: usize) -> Entry {
        Entry {
            id: EntryId::from_text(&format!("e{n}")).unwrap(),
            dn: format!("cn={n}"),
            sort: EntrySort::Mailbox,
            values: Vec::new(),
            display_name: None,
            attributes: BTreeMap::new(),
            account: crate::model::Account::Enabled,
            signs: Signs::default(),
            faults: Vec::new(),
            digest: [0; 16],
        }
    }

    /// What it says once it has taken in as many as it keeps, and one more.
    fn full_and_beyond(mut take: impl FnMut(&mut Progress, Entry)) -> [Option<Reason>; 2] {
        let mut progress = Progress::new(true);
        (0..KEPT).for_each(|n| take(&mut progress, entry(n)));
        let full = progress.kept_all().err().map(|problem| problem.reason);
        take(&mut progress, entry(KEPT));
        assert_eq!(progress.later.len() + progress.aside.len(), KEPT);
        [full, progress.kept_all().err().map(|problem| problem.reason)]
    }

    #[test]
    fn y5_y10_a_run_that_meets_more_entries_than_it_keeps_says_that_it_left_some_out() {
        let waits_for_another = |progress: &mut Progress, entry: Entry| {
            let mut account = Account::default();
            account.deferred.push(entry.id.clone());
            progress.account(&account, &BTreeMap::from([(entry.id.clone(), Arc::new(entry))]));
        };
        let lost_a_sign = |progress: &mut Progress, entry: Entry| {
            progress.known.insert(entry.id.clone(), Known { digest: Some([1; 16]), signs: Signs::MAIL, holds: true });
            progress.take(entry);
        };
        assert_eq!(full_and_beyond(waits_for_another), [None, Some(Reason::TooManyChanged)]);
        assert_eq!(full_and_beyond(lost_a_sign), [None, Some(Reason::TooManyChanged)]);
    }
}
