//! A read of what changed since a mark (SPEC Y10, Y11). It costs in proportion to the change.

use std::collections::HashSet;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::answers::problem;
use super::connect::{Session, Way};
use super::hand_over::HandedOver;
use super::marks::{self, UPDATE_SEQUENCE_NUMBER, has_reached};
use super::read::{WAITING_PAGES, sorts};
use super::redaction::Redaction;
use super::search::{RawPage, Seen};
use super::servers::{Servers, no_panic, prepare};
use super::sync_repl::{self, Told};
use super::usn;
use super::{Credentials, Page};
use crate::model::{Access, EntryId};
use crate::plan::directory::rows::{Mark, Problem};
use crate::plan::reason::Reason;

/// How an incremental read ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Increment {
    /// The URL of the server that answered; empty: none did.
    pub server: String,
    /// What is no longer there, and where the next one goes on; or why the marks of the last one are of no use and a full read must come.
    /// Entries that were handed over before a problem are as good as any.
    pub told: Result<(Gone, Mark), Problem>,
    /// Entries that came.
    pub read: u64,
}

/// What the server shows to be no longer there: deleted, moved out of the base, or no longer found by the filters. Ids that nobody knows may
/// be among them. What Active Directory deletes or moves it shows only to who has rights on that place: the rest is for full reads to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gone {
    These(HashSet<EntryId>),
    /// The server told what is left.
    AllBut(HashSet<EntryId>),
}

/// Reads what changed since `mark`, which a read of the same connection gave. Entries that are new or changed go into `pages`, some of them
/// perhaps unchanged.
pub async fn changes(access: &Access, credentials: &Credentials, now: Timestamp, mark: &Mark, pages: mpsc::Sender<Page>) -> Increment {
    let redaction = Redaction::new(&credentials.password);
    let way = match prepare(access, credentials, &redaction).await {
        Ok(way) => way,
        Err(problem) => return Increment { server: String::new(), told: Err(problem), read: 0 },
    };
    let mut servers = Servers::new(&way);
    while let Some((server, session)) = servers.next().await {
        let mut seen = Seen::default();
        match from_server(&way, session, now, mark, &pages, &mut seen).await {
            Err(problem) if servers.pass_over(&server, &problem, seen.read) => {}
            told => return Increment { server, told, read: seen.read },
        }
    }
    let (server, problem) = servers.none();
    Increment { server, told: Err(problem), read: 0 }
}

async fn from_server(
    way: &Way<'_>,
    mut session: Session,
    now: Timestamp,
    mark: &Mark,
    pages: &mpsc::Sender<Page>,
    seen: &mut Seen,
) -> Result<(Gone, Mark), Problem> {
    let (raw, received) = mpsc::channel(WAITING_PAGES);
    let reading = no_panic(since(way, &mut session, now, mark, raw, seen));
    let (read, handed_over) = tokio::join!(reading, HandedOver::all(received, pages));
    let handed_over = handed_over?;
    let (told, next) = read?;
    session.close().await;
    if let Some(reference) = &seen.reference {
        return Err(problem(Reason::ReferenceLeftOut, format!("entries at {reference} were not read")));
    }
    handed_over.says_enough(way.access)?;
    let gone = gone(told, handed_over.ids)?;
    if matches!(&gone, Gone::AllBut(left) if left.is_empty()) {
        return Err(problem(Reason::NobodyFound, format!("nobody is left in {}", way.redaction.text(&way.access.base_dn))));
    }
    Ok((gone, next))
}

/// What each search told, and the mark that was in force before them.
async fn since(
    way: &Way<'_>,
    session: &mut Session,
    now: Timestamp,
    mark: &Mark,
    raw: mpsc::Sender<RawPage>,
    seen: &mut Seen,
) -> Result<(Vec<Told>, Mark), Problem> {
    let Some(next) = marks::current(way, &mut session.ldap).await else {
        return Err(problem(Reason::ServerSwitched, "the server does not show how far it has come"));
    };
    if !has_reached(&next, mark) {
        return Err(problem(Reason::ServerSwitched, "the server is not as far as the one that was read last"));
    }
    if next == *mark {
        return Ok((Vec::new(), next));
    }
    let mut told = Vec::new();
    if mark.mechanism == UPDATE_SEQUENCE_NUMBER {
        told.push(Told::Deleted(usn::changed(way, &mut session.ldap, now, mark, &raw, seen).await?));
    } else {
        for (mapping, filter) in sorts(way, now) {
            told.push(sync_repl::changed(way, &mut session.ldap, (&mapping, filter), mark, &raw, seen).await?);
        }
    }
    Ok((told, next))
}

/// Puts together what the searches told, one after the other while the directory went on changing.
///
/// A search calls deleted whatever changed and is not in its result: a group is not in that of users, nor is a user in that of groups. What
/// is gone is so to every search, and came with none. One that was still there for the first of them shows the next time.
fn gone(told: Vec<Told>, came: HashSet<EntryId>) -> Result<Gone, Problem> {
    let mut deleted: Option<HashSet<EntryId>> = None;
    let mut present: Option<HashSet<EntryId>> = None;
    for told in told {
        match told {
            Told::Deleted(ids) => {
                deleted = Some(match deleted {
                    Some(before) => before.intersection(&ids).cloned().collect(),
                    None => ids,
                });
            }
            Told::Present(ids) => present.get_or_insert_default().extend(ids),
        }
    }
    match (deleted, present) {
        (deleted, None) => Ok(Gone::These(deleted.unwrap_or_default().difference(&came).cloned().collect())),
        (None, Some(mut present)) => {
            present.extend(came);
            Ok(Gone::AllBut(present))
        }
        // It forgot what was deleted between one search and the next.
        (Some(_), Some(_)) => {
            Err(problem(Reason::SearchRefused, "the server told of one search what is gone, and of another what is left"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> HashSet<EntryId> {
        names.iter().filter_map(|name| EntryId::from_text(name)).collect()
    }

    #[test]
    fn y7_gone_is_what_no_search_has() {
        let these = |told, came| gone(told, ids(came)).unwrap();
        // A changed group is "deleted" to the search for users, and comes with the one for groups.
        let told = vec![Told::Deleted(ids(&["left", "group"])), Told::Deleted(ids(&["left", "user"]))];
        assert_eq!(these(told, &["user", "group"]), Gone::These(ids(&["left"])));
        // Changed after the search for users: to that for groups alone it is gone.
        let told = vec![Told::Deleted(ids(&[])), Told::Deleted(ids(&["user"]))];
        assert_eq!(these(told, &[]), Gone::These(ids(&[])));
        assert_eq!(these(vec![], &[]), Gone::These(ids(&[])), "nothing changed");
        let told = vec![Told::Present(ids(&["user"])), Told::Present(ids(&["group"]))];
        assert_eq!(these(told, &["new"]), Gone::AllBut(ids(&["user", "group", "new"])));
        let mixed = gone(vec![Told::Present(ids(&["user"])), Told::Deleted(ids(&[]))], ids(&[]));
        assert!(mixed.is_err(), "what is left of one sort says nothing of the other");
    }
}
