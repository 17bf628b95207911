//! What a run would do now, for people (`mailroster plan --directory`): it reads the whole directory and the store, plans with the rules of any
//! batch, and executes nothing.
//!
//! All that is new or changed is planned at once, as if nothing else happened meanwhile: chunks that nobody executes would not know of
//! each other.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::progress::Progress;
use super::verdict::{Scope, completeness, is_unproved, missing};
use crate::directory::{self, Credentials, Page};
use crate::model::{CanonicalAddress, EntryId, ResourceKey};
use crate::plan::desired::{ConnectionDeclared, Desired};
use crate::plan::directory::Found;
use crate::plan::directory::guard::judge;
use crate::plan::directory::rows::{Leaver, Problem};
use crate::plan::observed::{AddressRow, Observed};
use crate::plan::reason::Reason;
use crate::plan::slice::Roster;
use crate::plan::{self, Change, Plan};
use crate::store::{self, Store, StoreError};

/// Pages that wait for being looked at.
const PAGES: usize = 2;

/// What a run would come to.
#[derive(Debug, Clone, Default)]
pub struct Preview {
    /// The URL of the server that answered; empty: none did.
    pub server: String,
    /// Entries that came, those of them that read as before, and those without an address in the domains that are served.
    pub read: u64,
    pub unchanged: u64,
    pub skipped: u64,
    /// Why nothing follows from who is missing.
    pub problem: Option<Problem>,
    /// What it would change; sorts without anything are left out.
    pub effects: BTreeMap<Effect, Vec<String>>,
    /// Addresses that no entry carries.
    pub missing: Vec<String>,
    /// What people should look at.
    pub reports: Vec<String>,
}

/// One sort of change, in the order in which people look at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    Created,
    Updated,
    Linked,
    Relinked,
    Unlinked,
    Disabled,
    Enabled,
    /// Another entry has the address than before (Y1).
    NewHolder,
    /// Missing from a view of the directory with which no second run has agreed yet (Y5).
    Unseen,
    /// Missing for the first time.
    Missed,
    /// Missing often enough, and within the guard (Y6).
    Leaving,
    /// Beyond the guard, and not held already (Y7).
    Held,
}

/// Reads and plans.
///
/// # Errors
/// The store's. What the directory fails in is in the answer.
pub async fn preview(
    store: &Store,
    roster: &Roster,
    key: &ResourceKey,
    declared: &ConnectionDeclared,
    credentials: &Credentials,
) -> Result<Preview, StoreError> {
    let now = store.now().await?;
    let mut state = store.connection_state(key).await?.unwrap_or_default();
    let mut domains = store.domains_of(&key.namespace).await?;
    domains.retain(|domain| declared.serves(domain));
    let frame = declared.access.frame(&domains);
    let mapping = declared.mapping(&frame);
    let mut progress = Progress::new(state.mapping == mapping);
    progress.known = store.known_entries(key).await?;

    let (sender, mut pages) = mpsc::channel::<Page>(PAGES);
    let taking = async {
        while let Some(page) = pages.recv().await {
            progress.take_page(page);
        }
    };
    let (ending, ()) = tokio::join!(directory::read(&declared.access, credentials, now, sender), taking);
    let scope = Scope { frame: &frame, mark: ending.mark.as_ref() };
    let unproved = is_unproved(&state, &scope);
    let proof = completeness(&progress, &mut state, declared, &scope, ending.complete);
    let mut entries = std::mem::take(&mut progress.chunk);
    if proof.is_ok() {
        entries.extend(std::mem::take(&mut progress.aside));
    }
    let found = Found { entries, last: true, shown: false, unproved };
    let (observed, plan) = if found.entries.is_empty() { Default::default() } else { planned(store, roster, key, found).await? };

    let mut preview = Preview { server: ending.server, read: progress.counts.read, ..Preview::default() };
    preview.unchanged = progress.counts.unchanged + plan.run.counts.unchanged;
    preview.skipped = plan.run.counts.skipped;
    preview.reports = progress.reports.into_iter().chain(plan.run.reports.iter().cloned()).collect();
    preview.note_changes(key, &observed, &plan);
    let mut absent = Vec::new();
    match proof {
        Ok(_) => absent = missing(&progress.known, &progress.seen),
        Err(problem) => {
            // All was seen, of another view of the directory.
            if matches!(problem.reason, Reason::ScopeChanged | Reason::ServerSwitched) {
                let known: BTreeSet<_> = store.leavers_of(key).await?.into_iter().map(|(address, _)| address).collect();
                let unseen = store.addresses_of(key, &missing(&progress.known, &progress.seen)).await?;
                unseen
                    .iter()
                    .filter(|address| !known.contains(*address))
                    .for_each(|address| preview.add(Effect::Unseen, address.to_string()));
            }
            preview.problem = Some(problem);
        }
    }
    preview.note_leavers(store, key, declared, &plan, &absent, now).await?;
    preview.effects.values_mut().for_each(|lines| lines.sort());
    Ok(preview)
}

/// Plans entries with all that they concern: a batch of them alone, which nobody executes.
async fn planned(store: &Store, roster: &Roster, key: &ResourceKey, found: Found) -> Result<(Observed, Plan), StoreError> {
    let entry = |id: &EntryId| (key.namespace.clone(), key.name.clone(), id.clone());
    let entries: BTreeSet<_> = found.entries.keys().map(entry).collect();
    let mut slice = found.slice(key, store.held_by(&entries).await?, roster);
    roster.close(&mut slice);
    let mut scope = store::Scope { slice, entries, ..store::Scope::default() };
    loop {
        let guarded = store.guarded(&scope).await?;
        if guarded.is_subset(&scope.slice.subjects) {
            break;
        }
        scope.slice.subjects.extend(guarded);
        roster.close(&mut scope.slice);
    }
    scope.purging = roster.purging(&scope.slice);
    let (mut observed, mut now) = store.observe(&scope).await?;
    let mut desired = Desired { found: Some((key.clone(), found)), ..roster.desired(&scope.slice) };
    while let (_, followed) = plan::directory::follow(&desired, &observed, &[])
        && !followed.is_subset(&scope.slice.subjects)
    {
        scope.slice.subjects.extend(followed);
        roster.close(&mut scope.slice);
        (observed, now) = store.observe(&scope).await?;
        desired.resources = roster.desired(&scope.slice).resources;
    }
    roster.add_unreadable_owners(&mut desired, &observed);
    let plan = plan::plan(&desired, &observed, now);
    Ok((observed, plan))
}

impl Preview {
    fn add(&mut self, effect: Effect, line: String) {
        self.effects.entry(effect).or_default().push(line);
    }

    /// What the plan would change of the connection's own.
    fn note_changes(&mut self, key: &ResourceKey, observed: &Observed, plan: &Plan) {
        let mut linked = BTreeSet::new();
        for change in &plan.changes {
            if let Change::PutLink { alias, .. } = change {
                linked.insert(alias);
            }
        }
        for change in &plan.changes {
            match change {
                Change::PutAddress { address, row, .. } if row.connection() == Some(&key.name) => {
                    self.note_address(address, observed.addresses.get(address), row);
                }
                Change::PutLink { alias, row } if row.origin == "Directory" => {
                    let line = format!("{alias} of {}", row.primary);
                    match observed.links.get(alias) {
                        None => self.add(Effect::Linked, line),
                        Some(before) if before.primary != row.primary => {
                            self.add(Effect::Relinked, format!("{line}, until now of {}", before.primary));
                        }
                        Some(_) => {}
                    }
                }
                // A link that turns is taken out first.
                Change::DeleteLink { alias, primary } if !linked.contains(alias) => {
                    self.add(Effect::Unlinked, format!("{alias} of {primary}"));
                }
                _ => {}
            }
        }
    }

    fn note_address(&mut self, address: &CanonicalAddress, before: Option<&AddressRow>, row: &AddressRow) {
        let side = |row: &AddressRow| row.directory.as_ref().map(|side| side.as_ref().clone()).unwrap_or_default();
        let (old, new) = (before.map(side).unwrap_or_default(), side(row));
        let shut = |side: &plan::observed::DirectorySide| side.directory_disabled || side.directory_missing;
        match (before.is_some(), row.is_alias) {
            // A link tells of it.
            (_, true) => {}
            (false, false) if new.global_name.is_empty() => self.add(Effect::Created, address.to_string()),
            (false, false) => self.add(Effect::Created, format!("{address} ({})", new.global_name)),
            (true, false) => self.add(Effect::Updated, address.to_string()),
        }
        if shut(&new) != shut(&old) {
            self.add(if shut(&new) { Effect::Disabled } else { Effect::Enabled }, address.to_string());
        }
        if new.holder_since.is_some() && old.holder_since.is_none() {
            self.add(Effect::NewHolder, address.to_string());
        }
    }

    /// Who would be missing after the run, and what the guard would say of them.
    async fn note_leavers(
        &mut self,
        store: &Store,
        key: &ResourceKey,
        declared: &ConnectionDeclared,
        plan: &Plan,
        absent: &[EntryId],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let before: BTreeMap<_, _> = store.leavers_of(key).await?.into_iter().collect();
        let mut leavers = before.clone();
        if self.problem.is_none() {
            leavers.values_mut().filter(|leaver| leaver.cleared_at.is_none()).for_each(|leaver| leaver.missed += 1);
        }
        for change in &plan.changes {
            match change {
                Change::PutLeaver { address, leaver, .. } => drop(leavers.insert(address.clone(), *leaver)),
                Change::DeleteLeaver { address } => drop(leavers.remove(address)),
                _ => {}
            }
        }
        for address in store.addresses_of(key, absent).await? {
            leavers.entry(address).or_insert(Leaver { since: now, missed: 1, held: false, approved: false, cleared_at: None });
        }
        self.missing = leavers.keys().map(ToString::to_string).collect();
        for address in leavers.keys().filter(|address| !before.contains_key(*address)) {
            self.add(Effect::Missed, address.to_string());
        }
        let all: Vec<_> = leavers.into_iter().collect();
        let judgement = judge(&all, store.connection_numbers(key).await?, declared, None);
        for address in &judgement.cleared {
            self.add(Effect::Leaving, address.to_string());
        }
        if judgement.hold {
            let open = all.iter().filter(|(_, leaver)| leaver.cleared_at.is_none());
            for (address, _) in open.filter(|(address, _)| before.get(address).is_none_or(|leaver| !leaver.held)) {
                self.add(Effect::Held, address.to_string());
            }
        }
        Ok(())
    }
}
