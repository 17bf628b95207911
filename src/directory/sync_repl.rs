//! What changed since a mark, as OpenLDAP tells it (RFC 4533, refreshOnly).
//!
//! A server that remembers what it deleted since then names that (the delete phase); one that does not, after a restart say, names all that
//! is left (the present phase). Both come without pages: the bind name's size limit counts for what changed.

use std::collections::HashSet;
use std::sync::Arc;

use ldap3::controls::{Control, ControlType, EntryState, RawControl, SyncDone, SyncInfo, SyncRequest, SyncState, parse_syncinfo};
use ldap3::{Ldap, LdapResult, Scope};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::answers::{problem, search_problem};
use super::connect::Way;
use super::entry::Mapping;
use super::raw::{self, RawEntry};
use super::search::{RawPage, Seen, late, lost};
use crate::model::{EntryId, hex};
use crate::plan::directory::rows::{Mark, Problem};
use crate::plan::reason::Reason;

/// e-syncRefreshRequired (RFC 4533 2.6): from this mark on the server can't tell.
const REFRESH_REQUIRED: u32 = 4096;

/// What one search told.
pub(super) enum Told {
    /// These left the result since the mark. Of changed entries that are not in the result, all; a server does not know whether they were.
    Deleted(HashSet<EntryId>),
    /// These are in the result and did not change; what changed and is in it was handed over.
    Present(HashSet<EntryId>),
}

/// Hands over what changed in the result of one search.
pub(super) async fn changed(
    way: &Way<'_>,
    ldap: &mut Ldap,
    (mapping, filter): (&Arc<Mapping>, &str),
    mark: &Mark,
    pages: &mpsc::Sender<RawPage>,
    seen: &mut Seen,
) -> Result<Told, Problem> {
    let cookie = format!("rid=000,csn={}", mark.value).into_bytes();
    let request: RawControl = SyncRequest { cookie: Some(cookie), ..SyncRequest::default() }.into();
    ldap.with_controls(RawControl { crit: true, ..request });
    let search = ldap.streaming_search(&way.access.base_dn, Scope::Subtree, filter, mapping.asked.request());
    let sent = timeout(way.access.timeout, Box::pin(search)).await;
    let mut stream = sent.map_err(|_| late(way.access, "asking for changes"))?.map_err(|error| lost(way, filter, &error))?;

    let (mut deleted, mut present) = (HashSet::new(), HashSet::new());
    let mut page = RawPage::of(mapping);
    loop {
        let item = timeout(way.access.timeout, stream.next()).await.map_err(|_| late(way.access, "an answer"))?;
        let Some(item) = item.map_err(|error| lost(way, filter, &error))? else { break };
        if item.is_intermediate() {
            if let SyncInfo::SyncIdSet { refresh_deletes, sync_uuids, .. } = parse_syncinfo(item) {
                let ids = sync_uuids.iter().filter_map(|bytes| id(bytes));
                if refresh_deletes { deleted.extend(ids) } else { present.extend(ids) }
            }
            continue;
        }
        if item.is_ref() {
            seen.reference.get_or_insert_with(|| way.redaction.text(&raw::reference(item.0)));
            continue;
        }
        let state =
            item.1.iter().find_map(|Control(kind, raw)| matches!(kind, Some(ControlType::SyncState)).then(|| raw.parse::<SyncState>()));
        match state {
            Some(SyncState { state: EntryState::Present, entry_uuid, .. }) => present.extend(id(&entry_uuid)),
            Some(SyncState { state: EntryState::Delete, entry_uuid, .. }) => deleted.extend(id(&entry_uuid)),
            Some(SyncState { state: EntryState::Add | EntryState::Modify, .. }) => {
                seen.read += 1;
                page.take(RawEntry::decode(item.0, &mapping.asked));
                if page.is_full(way.access) {
                    std::mem::replace(&mut page, RawPage::of(mapping)).send(pages).await?;
                }
            }
            // Whether it changed or not: such a server is not to be trusted with this.
            None => return Err(problem(Reason::SearchRefused, "the server does not say which entries changed")),
        }
    }
    let result = stream.finish().await;
    page.send(pages).await?;
    if result.rc == REFRESH_REQUIRED {
        return Err(problem(Reason::SearchRefused, "the server can't tell what changed since then"));
    }
    if let Some(problem) = search_problem(&result, &way.access.base_dn, way.redaction) {
        return Err(problem);
    }
    match done(&result) {
        Some(SyncDone { refresh_deletes: true, .. }) => Ok(Told::Deleted(deleted)),
        Some(SyncDone { refresh_deletes: false, .. }) => Ok(Told::Present(present)),
        None => Err(problem(Reason::SearchRefused, "the server does not say how its answer is meant")),
    }
}

fn done(result: &LdapResult) -> Option<SyncDone> {
    result.ctrls.iter().find_map(|Control(kind, raw)| matches!(kind, Some(ControlType::SyncDone)).then(|| raw.parse::<SyncDone>()))
}

/// An entryUUID as 16 bytes.
fn id(bytes: &[u8]) -> Option<EntryId> {
    let digits = hex(bytes);
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    let text = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-");
    (bytes.len() == 16).then(|| EntryId::from_text(&text)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y1_an_entry_uuid_in_bytes_is_the_one_in_text() {
        let bytes: Vec<u8> = (0..16).collect();
        assert_eq!(id(&bytes).unwrap().as_str(), "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(id(&bytes[1..]), None);
        assert_eq!(id(&[]), None);
    }
}
