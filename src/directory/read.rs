//! A read of everything: users, then groups, and what it proves.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::answers::problem;
use super::connect::{Session, Way};
use super::entry::Mapping;
use super::hand_over::HandedOver;
use super::marks;
use super::redaction::Redaction;
use super::search::{RawPage, Search, Seen};
use super::servers::{Servers, no_panic, prepare};
use super::{Credentials, Ending, Page};
use crate::model::{Access, Complete, EntrySort};
use crate::plan::directory::rows::{Mark, Problem};
use crate::plan::reason::Reason;

/// Pages between the wire and their decoding. Besides them there are the one that is being received, the one that is being decoded, and
/// what `pages` holds.
pub(super) const WAITING_PAGES: usize = 1;

/// Reads everything: users, then groups when there is a filter for them. Entries go into `pages`, which should be bounded to a few; `now` is
/// what `accountExpires` is compared with. Every failure is an [`Ending`]; what came before it has been handed over. Dropping the future ends
/// the read and its connection.
pub async fn read(access: &Access, credentials: &Credentials, now: Timestamp, pages: mpsc::Sender<Page>) -> Ending {
    let redaction = Redaction::new(&credentials.password);
    let way = match prepare(access, credentials, &redaction).await {
        Ok(way) => way,
        Err(problem) => return Ending { server: String::new(), complete: Err(problem), read: 0, mark: None },
    };
    let mut servers = Servers::new(&way);
    while let Some((server, session)) = servers.next().await {
        let (mut seen, mut mark) = (Seen::default(), None);
        match from_server(&way, session, now, &pages, &mut seen, &mut mark).await {
            Err(problem) if servers.pass_over(&server, &problem, seen.read) => {}
            complete => return Ending { server, complete, read: seen.read, mark },
        }
    }
    let (server, problem) = servers.none();
    Ending { server, complete: Err(problem), read: 0, mark: None }
}

/// Reads from a server that took the bind.
async fn from_server(
    way: &Way<'_>,
    mut session: Session,
    now: Timestamp,
    pages: &mpsc::Sender<Page>,
    seen: &mut Seen,
    mark: &mut Option<Mark>,
) -> Result<Complete, Problem> {
    let (raw, received) = mpsc::channel(WAITING_PAGES);
    let reading = no_panic(async {
        // Before the first entry: what changes while we read comes once more the next time.
        *mark = marks::current(way, &mut session.ldap).await;
        let gone = |_| problem(Reason::InternalError, "nobody takes what is read any more");
        pages.send(Page { begun: Some(mark.clone()), ..Page::default() }).await.map_err(gone)?;
        searches(way, &mut session, now, raw, seen).await
    });
    let (read, handed_over) = tokio::join!(reading, HandedOver::all(received, pages));
    let handed_over = handed_over?;
    read?;
    session.close().await;
    if let Some(reference) = &seen.reference {
        return Err(problem(Reason::ReferenceLeftOut, format!("entries at {reference} were not read")));
    }
    handed_over.says_enough(way.access)?;
    if seen.read == 0 {
        let message = format!("nobody was found in {}", way.redaction.text(&way.access.base_dn));
        return Err(problem(Reason::NobodyFound, message));
    }
    Ok(Complete::proved())
}

async fn searches(
    way: &Way<'_>,
    session: &mut Session,
    now: Timestamp,
    raw: mpsc::Sender<RawPage>,
    seen: &mut Seen,
) -> Result<(), Problem> {
    for (mapping, filter) in sorts(way, now) {
        let search = Search { way, base: &way.access.base_dn, filter, mapping: &mapping, controls: Vec::new() };
        search.run(&mut session.ldap, &raw, seen).await?;
    }
    Ok(())
}

/// What is searched for, one after the other: each sort of entry with its filter.
pub(super) fn sorts<'a>(way: &Way<'a>, now: Timestamp) -> impl Iterator<Item = (Arc<Mapping>, &'a str)> {
    let Way { access, redaction, .. } = *way;
    let both = [(EntrySort::Mailbox, &access.user_filter), (EntrySort::List, &access.group_filter)];
    let asked = both.into_iter().filter(|(sort, filter)| *sort == EntrySort::Mailbox || !filter.is_empty());
    asked.map(move |(sort, filter)| (Arc::new(Mapping::new(access, sort, now, redaction)), filter.as_str()))
}
