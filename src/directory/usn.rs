//! What changed since a mark, as Active Directory tells it: by each domain controller's own update sequence numbers (MS-ADTS 3.1.1.1.9).

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use ldap3::Ldap;
use ldap3::controls::RawControl;
use tokio::sync::mpsc;

use super::answers::problem;
use super::connect::Way;
use super::entry::Mapping;
use super::marks::{naming_context, number};
use super::read::sorts;
use super::search::{RawPage, Search, Seen};
use crate::model::EntryId;
use crate::plan::directory::rows::{Mark, Problem};
use crate::plan::reason::Reason;

/// LDAP_SERVER_SHOW_DELETED_OID (MS-ADTS 3.1.1.3.4.1.14).
pub(super) const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";

/// Hands over what changed and is found by a filter, and gives the ids of all else in the naming context that changed or was deleted, as far as
/// the bind name may see it.
///
/// An entry that no longer fits a filter is not found by it. So what changed is asked for twice: first who, without the filters and beyond
/// the base; then what, with them. What changes in between comes the second time, or with the next read.
pub(super) async fn changed(
    way: &Way<'_>,
    ldap: &mut Ldap,
    now: Timestamp,
    mark: &Mark,
    pages: &mpsc::Sender<RawPage>,
    seen: &mut Seen,
) -> Result<HashSet<EntryId>, Problem> {
    let context = naming_context(way, ldap).await;
    let Some((context, first)) = context.zip(number(mark).and_then(|number| number.checked_add(1))) else {
        return Err(problem(Reason::ServerSwitched, "the server does not have the base any more"));
    };
    let since = format!("(uSNChanged>={first})");
    let mut touched = ids(way, ldap, now, &context, &since, Vec::new()).await?;
    let deleted_objects = format!("CN=Deleted Objects,{context}");
    let deleted = format!("(&(isDeleted=TRUE){since})");
    let show_deleted = RawControl { ctype: SHOW_DELETED.to_owned(), crit: true, val: None };
    match ids(way, ldap, now, &deleted_objects, &deleted, vec![show_deleted]).await {
        Ok(ids) => touched.extend(ids),
        // Without rights there it is empty, or not there at all.
        Err(Problem { reason: Reason::BaseNotFound | Reason::SearchRefused, .. }) => {}
        Err(problem) => return Err(problem),
    }
    for (mapping, filter) in sorts(way, now) {
        let filter = if filter.starts_with('(') { format!("(&{since}{filter})") } else { format!("(&{since}({filter}))") };
        let search = Search { way, base: &way.access.base_dn, filter: &filter, mapping: &mapping, controls: Vec::new() };
        search.run(ldap, pages, seen).await?;
    }
    Ok(touched)
}

/// Who is found; entries that do not show their id are nobody.
async fn ids(
    way: &Way<'_>,
    ldap: &mut Ldap,
    now: Timestamp,
    base: &str,
    filter: &str,
    controls: Vec<RawControl>,
) -> Result<HashSet<EntryId>, Problem> {
    let mapping = Arc::new(Mapping::ids(way.access, now, way.redaction));
    let (sender, mut receiver) = mpsc::channel::<RawPage>(1);
    let searching = async move {
        let search = Search { way, base, filter, mapping: &mapping, controls };
        search.run(ldap, &sender, &mut Seen::default()).await
    };
    let collecting = async {
        let mut ids = HashSet::new();
        while let Some(page) = receiver.recv().await {
            ids.extend(page.entries.iter().filter_map(|entry| page.mapping.id(entry).ok()));
        }
        ids
    };
    let (searched, ids) = tokio::join!(searching, collecting);
    searched.map(|()| ids)
}
