//! From pages as they came to pages of entries, on another thread, and what they lack.

use std::collections::HashSet;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::Page;
use super::answers::problem;
use super::search::RawPage;
use crate::model::{Access, Account, EntryId};
use crate::plan::directory::rows::Problem;
use crate::plan::reason::Reason;

/// What was handed over.
#[derive(Default)]
pub(super) struct HandedOver {
    /// Each once: found by two searches, or renamed while it was read, the first one counts.
    pub(super) ids: HashSet<EntryId>,
    /// Entries that can't be told apart from others.
    unreadable: usize,
    /// Entries that do not show whether the account is disabled.
    uncontrolled: usize,
}

impl HandedOver {
    /// Decodes pages and hands them on until no more come.
    pub(super) async fn all(mut received: mpsc::Receiver<RawPage>, pages: &mpsc::Sender<Page>) -> Result<Self, Problem> {
        let mut all = Self::default();
        while let Some(raw) = received.recv().await {
            // On another thread: the wire is to be read meanwhile.
            let decoded = spawn_blocking(move || decode(&raw)).await;
            let mut page = decoded.map_err(|error| problem(Reason::InternalError, format!("failed to decode a page: {error}")))?;
            page.entries.retain(|entry| all.ids.insert(entry.id.clone()));
            all.unreadable += page.unreadable.len();
            all.uncontrolled += page.entries.iter().filter(|entry| entry.account == Account::Unreadable).count();
            let gone = |_| problem(Reason::InternalError, "nobody takes what is read any more");
            pages.send(page).await.map_err(gone)?;
        }
        Ok(all)
    }

    /// Fails when an entry came that says too little of itself for anything to follow from another one's absence.
    pub(super) fn says_enough(&self, access: &Access) -> Result<(), Problem> {
        let hidden = |message| Err(problem(Reason::AttributesHidden, message));
        if self.unreadable > 0 {
            let id = &access.attributes.id;
            return hidden(format!("{} entries can't be told apart from others: {id} can't be read", self.unreadable));
        }
        if self.uncontrolled > 0 {
            return hidden(format!("userAccountControl can't be read of {} entries", self.uncontrolled));
        }
        Ok(())
    }
}

fn decode(raw: &RawPage) -> Page {
    let mut page = Page { entries: Vec::with_capacity(raw.entries.len()), ..Page::default() };
    for entry in &raw.entries {
        match raw.mapping.entry(entry) {
            Ok(entry) => page.entries.push(entry),
            Err(why) => page.unreadable.push(why),
        }
    }
    page.unreadable.extend((0..raw.shapeless).map(|_| "an entry that is none".to_owned()));
    page
}
