//! What one server shows of itself to a connection's bind name, for people who set one up (`mailroster check directory`). It reads only.

use jiff::Timestamp;
use ldap3::controls::{PagedResults, RawControl};
use ldap3::{Ldap, LdapResult, Scope, SearchEntry};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connect::{Session, Way, connect, url};
use super::marks::{self, look, naming_context};
use super::redaction::Redaction;
use super::search::{DOMAIN_SCOPE, cookie};
use super::servers::{no_panic, prepare};
use super::usn::SHOW_DELETED;
use super::{Certificate, Credentials, Ending, Page, read};
use crate::model::{Access, DirectoryType, ServerUrl};
use crate::plan::directory::rows::{Mark, Problem};

/// simple paged results (RFC 2696).
const PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";
/// Sync Request (RFC 4533): slapd has it where the overlay syncprov is.
const SYNC_REQUEST: &str = "1.3.6.1.4.1.4203.1.9.1.1";
/// No attributes (RFC 4511 4.5.1.8).
const NO_ATTRIBUTES: &str = "1.1";
/// sizeLimitExceeded.
const SIZE_LIMIT: u32 = 4;

/// What came of asking one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub url: String,
    /// Or why it takes no questions: it is not reached, not trusted, or refuses the bind.
    pub sight: Result<Sight, Problem>,
}

/// What a server shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// None: the connection is in clear text.
    pub certificate: Option<Certificate>,
    pub pages: PageLimit,
    pub changes: Changes,
    /// Domains of the forest below the base, by their DNs: nothing of them is read.
    pub child_domains: Vec<String>,
    /// How reading everything ended.
    pub ending: Ending,
}

/// How many entries a search gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PageLimit {
    /// The server says that it knows pages.
    pub offered: bool,
    /// Mailboxes of the first page, when as many were asked for as the connection asks for; None: the page did not end well.
    pub first: Option<u64>,
    /// There are more.
    pub more: bool,
    /// Where a search without pages ends before its time. Looked for where incremental runs depend on it: in OpenLDAP.
    pub without_pages: Option<u64>,
}

/// How far a server tells what changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// It knows how to.
    pub offered: bool,
    /// How far it has come; None: that is not shown to the bind name.
    pub mark: Option<Mark>,
    /// It shows what was deleted.
    pub deletes: bool,
}

/// Asks one server of a connection all that there is to ask, and then reads everything: entries go into `pages` as those of
/// [`read()`] do. Every failure is in the answer.
pub async fn probe(access: &Access, server: &ServerUrl, credentials: &Credentials, now: Timestamp, pages: mpsc::Sender<Page>) -> Probe {
    let access = Access { servers: vec![server.clone()], ..access.clone() };
    let redaction = Redaction::new(&credentials.password);
    let asked = async {
        let way = prepare(&access, credentials, &redaction).await?;
        let session = no_panic(connect(&way, server)).await?;
        no_panic(ask(&way, session)).await
    };
    let sight = match asked.await {
        Ok(Asked { certificate, pages: limit, changes, child_domains }) => {
            let ending = read(&access, credentials, now, pages).await;
            Ok(Sight { certificate, pages: limit, changes, child_domains, ending })
        }
        Err(problem) => Err(problem),
    };
    Probe { url: url(access.tls, server), sight }
}

struct Asked {
    certificate: Option<Certificate>,
    pages: PageLimit,
    changes: Changes,
    child_domains: Vec<String>,
}

async fn ask(way: &Way<'_>, mut session: Session) -> Result<Asked, Problem> {
    let certificate = session.certificate.as_deref().and_then(|der| Certificate::read(der, way.redaction));
    let ldap = &mut session.ldap;
    let controls = look(way, ldap, "", "supportedControl").await.unwrap_or_default();
    let offered = |control: &str| controls.iter().any(|offered| offered == control);
    let changes = changes(way, ldap, offered(SYNC_REQUEST)).await;
    let mut limit = page_limit(way, ldap, offered(PAGED_RESULTS)).await;
    if way.access.directory == DirectoryType::OpenLdap && changes.deletes {
        let all = Question { base: &way.access.base_dn, scope: Scope::Subtree, filter: &way.access.user_filter, controls: Vec::new() };
        limit.without_pages = all.count(way, ldap).await.filter(|(_, result)| result.rc == SIZE_LIMIT).map(|(count, _)| count);
    }
    let child_domains = match way.access.directory {
        DirectoryType::ActiveDirectory => child_domains(way, ldap).await.unwrap_or_default(),
        _ => Vec::new(),
    };
    session.close().await;
    Ok(Asked { certificate, pages: limit, changes, child_domains })
}

async fn page_limit(way: &Way<'_>, ldap: &mut Ldap, offered: bool) -> PageLimit {
    let size = i32::try_from(way.access.page_size).unwrap_or(i32::MAX).max(1);
    let mut controls: Vec<RawControl> = vec![PagedResults { size, cookie: Vec::new() }.into()];
    if way.access.directory == DirectoryType::ActiveDirectory {
        controls.push(RawControl { ctype: DOMAIN_SCOPE.to_owned(), crit: true, val: None });
    }
    let page = Question { base: &way.access.base_dn, scope: Scope::Subtree, filter: &way.access.user_filter, controls };
    match page.count(way, ldap).await {
        Some((count, result)) if result.rc == 0 => {
            PageLimit { offered, first: Some(count), more: !cookie(&result).is_empty(), without_pages: None }
        }
        _ => PageLimit { offered, ..PageLimit::default() },
    }
}

async fn changes(way: &Way<'_>, ldap: &mut Ldap, sync_request: bool) -> Changes {
    let mark = marks::current(way, ldap).await;
    match way.access.directory {
        DirectoryType::OpenLdap => Changes { offered: sync_request, deletes: sync_request && mark.is_some(), mark },
        DirectoryType::ActiveDirectory => {
            let deletes = shows_deleted(way, ldap).await.unwrap_or(false);
            Changes { offered: true, mark, deletes }
        }
        DirectoryType::Generic => Changes { offered: false, mark: None, deletes: false },
    }
}

/// Without rights on the container what was deleted is not found, and no error tells so. Whoever may read the container itself may see what is in
/// it, unless somebody took that apart.
async fn shows_deleted(way: &Way<'_>, ldap: &mut Ldap) -> Option<bool> {
    let base = format!("CN=Deleted Objects,{}", naming_context(way, ldap).await?);
    ldap.with_controls(RawControl { ctype: SHOW_DELETED.to_owned(), crit: true, val: None });
    let search = ldap.search(&base, Scope::Base, "(objectClass=*)", vec!["whenCreated"]);
    let (entries, _) = timeout(way.access.timeout, Box::pin(search)).await.ok()?.ok()?.success().ok()?;
    Some(entries.into_iter().any(|entry| SearchEntry::construct(entry).attrs.contains_key("whenCreated")))
}

/// The domains of the forest that lie below the base (MS-ADTS 6.1.1.2.1.1: crossRef objects with FLAG_CR_NTDS_DOMAIN).
async fn child_domains(way: &Way<'_>, ldap: &mut Ldap) -> Option<Vec<String>> {
    let configuration = look(way, ldap, "", "configurationNamingContext").await?.into_iter().next()?;
    let context = naming_context(way, ldap).await?.to_ascii_lowercase();
    let base = format!("CN=Partitions,{configuration}");
    let filter = "(&(objectClass=crossRef)(systemFlags:1.2.840.113556.1.4.803:=2))";
    let search = ldap.search(&base, Scope::OneLevel, filter, vec!["nCName"]);
    let (entries, _) = timeout(way.access.timeout, Box::pin(search)).await.ok()?.ok()?.success().ok()?;
    let names = entries.into_iter().filter_map(|entry| SearchEntry::construct(entry).attrs.remove("nCName")?.into_iter().next());
    let below = format!(",{context}");
    Some(names.filter(|name| name.to_ascii_lowercase().ends_with(&below)).map(|name| way.redaction.text(&name)).collect())
}

/// A search that is only counted.
struct Question<'a> {
    base: &'a str,
    scope: Scope,
    filter: &'a str,
    controls: Vec<RawControl>,
}

impl Question<'_> {
    /// How many entries came, and how it ended. None: it was not answered.
    async fn count(self, way: &Way<'_>, ldap: &mut Ldap) -> Option<(u64, LdapResult)> {
        let limit = way.access.timeout;
        if !self.controls.is_empty() {
            ldap.with_controls(self.controls);
        }
        let search = ldap.streaming_search(self.base, self.scope, self.filter, vec![NO_ATTRIBUTES]);
        let mut stream = timeout(limit, Box::pin(search)).await.ok()?.ok()?;
        let mut count = 0;
        while let Some(item) = timeout(limit, stream.next()).await.ok()?.ok()? {
            count += u64::from(!item.is_ref() && !item.is_intermediate());
        }
        Some((count, stream.finish().await))
    }
}
