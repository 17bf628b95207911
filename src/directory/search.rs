//! One search, page by page (RFC 2696): the next page is asked for before this one is looked at.

use std::sync::Arc;

use ldap3::controls::{Control, ControlType, PagedResults, RawControl};
use ldap3::{Ldap, LdapError, LdapResult, Scope, SearchStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::answers::{problem, search_problem};
use super::asked::Slot;
use super::connect::Way;
use super::entry::Mapping;
use super::raw::{self, RawEntry};
use crate::model::{Access, DirectoryType};
use crate::plan::directory::rows::Problem;
use crate::plan::reason::Reason;

/// LDAP_SERVER_DOMAIN_SCOPE_OID (MS-ADTS 3.1.1.3.4.1.3): no references to the other naming contexts of a forest, of which there always are some.
pub(super) const DOMAIN_SCOPE: &str = "1.2.840.113556.1.4.1339";
/// A server may send a page without entries, but not for ever.
const MOST_EMPTY_PAGES: u32 = 100;
/// So many parts an attribute may come in: ten million values of Active Directory's parts.
const MOST_PARTS: u32 = 2_000;

type Stream = SearchStream<'static, String, Vec<String>>;

/// What is asked.
pub(super) struct Search<'a> {
    pub(super) way: &'a Way<'a>,
    pub(super) base: &'a str,
    pub(super) filter: &'a str,
    pub(super) mapping: &'a Arc<Mapping>,
    /// Besides those that each search has.
    pub(super) controls: Vec<RawControl>,
}

/// Entries as they came, and how to read them.
pub(super) struct RawPage {
    pub(super) mapping: Arc<Mapping>,
    pub(super) entries: Vec<RawEntry>,
    /// Entries of which nothing can be read.
    pub(super) shapeless: usize,
}

impl RawPage {
    pub(super) fn of(mapping: &Arc<Mapping>) -> Self {
        Self { mapping: mapping.clone(), entries: Vec::new(), shapeless: 0 }
    }

    /// None: an entry of which nothing can be read.
    pub(super) fn take(&mut self, entry: Option<RawEntry>) {
        match entry {
            Some(entry) => self.entries.push(entry),
            None => self.shapeless += 1,
        }
    }

    /// Whether it has more than a page should.
    pub(super) fn is_full(&self, access: &Access) -> bool {
        self.entries.len() > usize::try_from(access.page_size).unwrap_or(usize::MAX)
    }

    /// Hands it on, unless there is nothing in it.
    pub(super) async fn send(self, pages: &mpsc::Sender<Self>) -> Result<(), Problem> {
        if self.entries.is_empty() && self.shapeless == 0 {
            return Ok(());
        }
        pages.send(self).await.map_err(|_| problem(Reason::InternalError, "nobody takes what is read any more"))
    }
}

/// What came so far, of all searches of a read.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) read: u64,
    /// A reference to another server, the first.
    pub(super) reference: Option<String>,
}

impl Search<'_> {
    /// Hands over all that is found. An error is why it is not all there is; what came before has been handed over.
    pub(super) async fn run(&self, ldap: &mut Ldap, pages: &mpsc::Sender<RawPage>, seen: &mut Seen) -> Result<(), Problem> {
        let mut stream = self.ask(ldap, Vec::new()).await?;
        let mut empty = 0;
        loop {
            let before = seen.read;
            let mut page = RawPage::of(self.mapping);
            let ended = self.collect(ldap, &mut stream, &mut page, pages, seen).await;
            let next = match ended {
                Ok(cookie) if cookie.is_empty() => Ok(None),
                Ok(cookie) => self.ask(ldap, cookie).await.map(Some),
                Err(problem) => Err(problem),
            };
            let handed_over = self.hand_over(ldap, page, pages).await;
            // Why the page did not end well comes first.
            let Some(next) = next? else { return handed_over };
            handed_over?;
            stream = next;
            empty = if seen.read == before { empty + 1 } else { 0 };
            if empty > MOST_EMPTY_PAGES {
                return Err(problem(Reason::SearchRefused, "the server sends empty pages without end"));
            }
        }
    }

    async fn ask(&self, ldap: &mut Ldap, cookie: Vec<u8>) -> Result<Stream, Problem> {
        let size = i32::try_from(self.access().page_size).unwrap_or(i32::MAX).max(1);
        let mut controls: Vec<RawControl> = vec![PagedResults { size, cookie }.into()];
        if self.access().directory == DirectoryType::ActiveDirectory {
            controls.push(RawControl { ctype: DOMAIN_SCOPE.to_owned(), crit: true, val: None });
        }
        controls.extend(self.controls.iter().cloned());
        ldap.with_controls(controls);
        let search = ldap.streaming_search(self.base, Scope::Subtree, self.filter, self.mapping.asked.request());
        let sent = timeout(self.access().timeout, Box::pin(search)).await;
        sent.map_err(|_| self.late("asking for a page"))?.map_err(|error| self.lost(&error))
    }

    /// Takes what comes until the page ends; gives its cookie, empty when it was the last.
    async fn collect(
        &self,
        ldap: &Ldap,
        stream: &mut Stream,
        page: &mut RawPage,
        pages: &mpsc::Sender<RawPage>,
        seen: &mut Seen,
    ) -> Result<Vec<u8>, Problem> {
        let mut end = Instant::now() + self.access().timeout;
        loop {
            let item = timeout_at(end, stream.next()).await.map_err(|_| self.late("a page"))?;
            let Some(item) = item.map_err(|error| self.lost(&error))? else { break };
            if item.is_ref() {
                seen.reference.get_or_insert_with(|| self.way.redaction.text(&raw::reference(item.0)));
                continue;
            }
            if item.is_intermediate() {
                continue;
            }
            seen.read += 1;
            page.take(RawEntry::decode(item.0, &self.mapping.asked));
            // A server that knows no pages sends all at once.
            if page.is_full(self.access()) {
                self.hand_over(ldap, std::mem::replace(page, RawPage::of(self.mapping)), pages).await?;
                end = Instant::now() + self.access().timeout;
            }
        }
        let result = stream.finish().await;
        match search_problem(&result, self.base, self.way.redaction) {
            Some(problem) => Err(problem),
            None => Ok(cookie(&result)),
        }
    }

    /// Completes what came in part and hands the page on. An entry that can't be completed is left out: what is missing of it would look as
    /// if it were gone.
    async fn hand_over(&self, ldap: &Ldap, mut page: RawPage, pages: &mpsc::Sender<RawPage>) -> Result<(), Problem> {
        let mut failed = Ok(());
        let mut whole = Vec::with_capacity(page.entries.len());
        for mut entry in std::mem::take(&mut page.entries) {
            match self.complete(ldap, &mut entry).await {
                Ok(()) => whole.push(entry),
                Err(problem) => failed = Err(problem),
            }
        }
        page.entries = whole;
        page.send(pages).await.and(failed)
    }

    /// Follows `proxyAddresses;range=0-1499` to its end.
    async fn complete(&self, ldap: &Ldap, entry: &mut RawEntry) -> Result<(), Problem> {
        for (slot, mut first) in std::mem::take(&mut entry.cut) {
            let mut parts = 0;
            loop {
                parts += 1;
                let (values, next) = self.rest(ldap, &entry.dn, slot, first).await?;
                entry.extend(slot, values);
                match next {
                    None => break,
                    Some(next) if next > first && parts < MOST_PARTS => first = next,
                    Some(_) => return Err(self.no_rest(&entry.dn, slot, "it does not end")),
                }
            }
        }
        Ok(())
    }

    /// The values from `first` on, and where the next ones begin.
    async fn rest(&self, ldap: &Ldap, dn: &str, slot: Slot, first: u64) -> Result<(Vec<Vec<u8>>, Option<u64>), Problem> {
        let attribute = format!("{};range={first}-*", self.mapping.asked.name(slot));
        let mut ldap = ldap.clone();
        let search = async {
            let mut found = None;
            let mut stream = ldap.streaming_search(dn, Scope::Base, "(objectClass=*)", vec![attribute]).await?;
            while let Some(item) = stream.next().await? {
                if !item.is_ref() && !item.is_intermediate() {
                    found = RawEntry::decode(item.0, &self.mapping.asked);
                }
            }
            Ok((found, stream.finish().await))
        };
        let answer = timeout(self.access().timeout, Box::pin(search)).await.map_err(|_| self.late("the rest of an attribute"))?;
        match answer.map_err(|error| self.lost(&error))? {
            (Some(mut entry), LdapResult { rc: 0, .. }) if !entry.get(Some(slot)).is_empty() => {
                let next = entry.cut.iter().find(|(cut, _)| *cut == slot).map(|(_, next)| *next);
                Ok((entry.take(slot), next))
            }
            (_, result) => Err(self.no_rest(dn, slot, &format!("result {} \"{}\"", result.rc, self.way.redaction.text(&result.text)))),
        }
    }

    fn access(&self) -> &Access {
        self.way.access
    }

    fn no_rest(&self, dn: &str, slot: Slot, why: &str) -> Problem {
        let (dn, name) = (self.way.redaction.text(dn), self.mapping.asked.name(slot));
        problem(Reason::SearchRefused, format!("only a part of {name} of {dn} could be read: {why}"))
    }

    fn late(&self, what: &str) -> Problem {
        late(self.access(), what)
    }

    fn lost(&self, error: &LdapError) -> Problem {
        lost(self.way, self.filter, error)
    }
}

/// An answer that did not come in time.
pub(super) fn late(access: &Access, what: &str) -> Problem {
    problem(Reason::ConnectionLost, format!("{what} took longer than {} s", access.timeout.as_secs()))
}

/// An answer that can't come any more.
pub(super) fn lost(way: &Way<'_>, filter: &str, error: &LdapError) -> Problem {
    match error {
        LdapError::FilterParsing => problem(Reason::SearchRefused, format!("{} is no LDAP filter", way.redaction.text(filter))),
        LdapError::Io { source } => {
            problem(Reason::ConnectionLost, format!("the connection broke: {}", way.redaction.text(&source.to_string())))
        }
        // The library tells who waits for an answer only that none will come.
        _ => problem(Reason::ConnectionLost, "the server closed the connection, or sent what is no LDAP"),
    }
}

/// Where the next page begins; empty: nowhere.
pub(super) fn cookie(result: &LdapResult) -> Vec<u8> {
    let paged = |Control(kind, raw): &Control| matches!(kind, Some(ControlType::PagedResults)).then(|| raw.parse::<PagedResults>().cookie);
    result.ctrls.iter().find_map(paged).unwrap_or_default()
}
