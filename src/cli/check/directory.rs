//! A DirectoryConnection and its servers: its Secrets there, each server reached, trusted and bound to, and what it shows and hides (SPEC 8).

mod census;
pub(crate) mod remedies;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use tokio::sync::mpsc;

use super::Findings;
use crate::api::names::{READABLE_LABEL, READABLE_VALUE};
use crate::api::{DirectoryConnection, InternalDomain};
use crate::cli::connection::{self, Found};
use crate::cli::failure::OrFailed as _;
use crate::cli::{Failure, cluster};
use crate::directory::{Certificate, Credentials, PageLimit, Probe, Sight, probe};
use crate::model::{Access, DirectoryType, DomainName, Secret, SecretKey};
use crate::plan::desired::{ConnectionDeclared, Detection};
use crate::plan::directory::rows::Problem;
use crate::plan::reason::{Disposition, Reason};
use census::Census;

/// Pages that wait for being counted.
const PAGES: usize = 2;
/// A certificate that ends sooner is told apart.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What one connection's servers are asked by.
struct Connection<'a> {
    client: &'a Client,
    namespace: &'a str,
    declared: ConnectionDeclared,
    /// Those that it serves; None: they can't be listed.
    domains: Option<BTreeSet<DomainName>>,
}

pub(super) async fn check(findings: &mut Findings, namespace: Option<String>, name: Option<&str>) -> Result<(), Failure> {
    let (client, context) = cluster::connect().await?;
    let namespace = namespace.unwrap_or(context);
    let api = Api::<DirectoryConnection>::namespaced(client.clone(), &namespace);
    let all = match name {
        Some(name) => vec![connection::find(&client, &namespace, name).await?],
        None => api.list(&ListParams::default()).await.or_failed(format_args!("list the DirectoryConnections of {namespace}"))?.items,
    };
    if all.is_empty() {
        findings.note(format!("there is no DirectoryConnection in namespace {namespace}"));
    }
    for resource in all {
        let place = format!("DirectoryConnection {namespace}/{}", resource.name_any());
        let declared = match connection::admit(&resource) {
            Ok(declared) => declared,
            Err(violation) => {
                findings.wrong(format!("{place}: {}: {}", violation.reason, violation.message));
                continue;
            }
        };
        findings.fine(format!("{place} reads {} as {}", declared.access.base_dn, declared.access.bind_dn));
        if resource.spec.suspend {
            findings.note("it is suspended: there are no runs");
        }
        let mut connection = Connection { client: &client, namespace: &namespace, declared, domains: None };
        connection.domains = connection.domains(findings).await?;
        if let Some(credentials) = connection.credentials(findings).await? {
            connection.servers(findings, &credentials).await;
        }
    }
    Ok(())
}

impl Connection<'_> {
    fn access(&self) -> &Access {
        &self.declared.access
    }

    /// The domains of the namespace that the connection serves (Y2).
    async fn domains(&self, findings: &mut Findings) -> Result<Option<BTreeSet<DomainName>>, Failure> {
        let api = Api::<InternalDomain>::namespaced(self.client.clone(), self.namespace);
        let listed = match api.list(&ListParams::default()).await {
            Ok(listed) => listed,
            Err(kube::Error::Api(status)) if status.code == 403 => {
                findings.note(format!("which domains the connection serves can't be seen: {}", status.message));
                return Ok(None);
            }
            Err(error) => return Err(Failure::to(format_args!("list the InternalDomains of {}", self.namespace), error)),
        };
        let ours: BTreeSet<_> = listed.items.iter().filter_map(|domain| DomainName::parse(&domain.spec.domain).ok()).collect();
        let selected = &self.declared.domains;
        for absent in selected.difference(&ours) {
            findings.missing(format!("an InternalDomain for {}, which spec.domains names", absent.unicode()));
        }
        if ours.is_empty() {
            findings.missing(format!("an InternalDomain in namespace {}: without one no entry becomes an address", self.namespace));
        }
        Ok(Some(ours.into_iter().filter(|domain| selected.is_empty() || selected.contains(domain)).collect()))
    }

    /// None: something is missing, and was told.
    async fn credentials(&self, findings: &mut Findings) -> Result<Option<Credentials>, Failure> {
        let password = self.secret(findings, &self.access().bind_password).await?;
        let ca = match &self.access().ca {
            Some(reference) => Some(self.secret(findings, reference).await?),
            None => None,
        };
        Ok(match (password, ca) {
            (Some(password), None) => Some(Credentials { password: Secret::new(password), ca: None }),
            (Some(password), Some(Some(ca))) => Some(Credentials { password: Secret::new(password), ca: Some(ca) }),
            _ => None,
        })
    }

    /// The value of a key; what is wrong with it was told.
    async fn secret(&self, findings: &mut Findings, reference: &SecretKey) -> Result<Option<Vec<u8>>, Failure> {
        let SecretKey { name, key } = reference;
        let Found { exists, readable, value } = connection::secret(self.client, self.namespace, reference).await?;
        if !exists {
            findings.missing(format!("{}: the Secret {name}", Reason::SecretNotFound));
            return Ok(None);
        }
        if !readable {
            findings.missing(format!(
                "{}: the label {READABLE_LABEL} of the Secret {name}, without which no Secret is read",
                Reason::SecretNotReadable
            ));
            findings.remedy(format!("kubectl -n {} label secret {name} {READABLE_LABEL}={READABLE_VALUE}", self.namespace));
        }
        if value.is_none() {
            findings.missing(format!("{}: the key {key:?} of the Secret {name}", Reason::SecretNotFound));
        }
        Ok(value)
    }

    async fn servers(&self, findings: &mut Findings, credentials: &Credentials) {
        for server in &self.access().servers {
            let (sender, mut pages) = mpsc::channel(PAGES);
            #[allow(
                clippy::disallowed_methods,
                reason = "no store is asked: this clock says whether accounts and certificates are still good"
            )]
            let now = Timestamp::now();
            let counting = async {
                let mut census = Census::new(self.access(), self.domains.as_ref());
                while let Some(page) = pages.recv().await {
                    census.take(page);
                }
                census
            };
            let (Probe { url, sight }, census) = tokio::join!(probe(self.access(), server, credentials, now, sender), counting);
            match sight {
                Ok(sight) => self.tell(findings, &url, &sight, &census, now),
                Err(problem) => self.tell_problem(findings, &url, &problem),
            }
        }
    }

    fn tell(&self, findings: &mut Findings, url: &str, sight: &Sight, census: &Census<'_>, now: Timestamp) {
        tell_certificate(findings, url, sight.certificate.as_ref(), now);
        findings.fine(format!("{url} takes the bind as {}", self.access().bind_dn));
        self.tell_pages(findings, url, sight.pages);
        match &sight.ending.complete {
            Ok(_) => findings.fine(format!("{url} shows all there is: {}", census.total())),
            Err(problem) => self.tell_problem(findings, url, problem),
        }
        self.tell_changes(findings, url, sight);
        for child in &sight.child_domains {
            findings.note(format!("{url}: the domain {child} is not read; it needs a connection of its own"));
        }
        census.tell(findings, url);
    }

    fn tell_pages(&self, findings: &mut Findings, url: &str, pages: PageLimit) {
        let asked = self.access().page_size;
        match pages.first {
            _ if !pages.offered => {
                findings.note(format!("{url} does not say that it knows pages (RFC 2696); its size limit counts for a whole read"));
            }
            // How the read ends tells why.
            None => {}
            Some(first) if pages.more && first < u64::from(asked) => {
                findings.fine(format!("{url} gives {first} entries a page, fewer than the {asked} that are asked for"));
            }
            Some(_) if pages.more => findings.fine(format!("{url} gives the {asked} entries a page that are asked for")),
            Some(first) => findings.fine(format!("{url} knows pages; all {first} mailboxes came in the first one")),
        }
        if let Some(limit) = pages.without_pages {
            findings.note(format!(
                "{url} ends a search without pages at {limit} entries: after more changes at once than that a run reads everything"
            ));
            findings.remedy(remedies::size_limit(self.access()));
        }
    }

    fn tell_changes(&self, findings: &mut Findings, url: &str, sight: &Sight) {
        let (changes, full) = (&sight.changes, format!("every {:#}", self.declared.full_interval));
        if self.declared.detection == Detection::Full {
            findings.note("each run reads everything (changeDetection: Full)");
            return;
        }
        let lacks = |findings: &mut Findings, text: String| match self.declared.detection {
            Detection::CountedOn => findings.wrong(format!("{text}, and changeDetection counts on it")),
            Detection::Auto | Detection::Full => findings.note(text),
        };
        match self.access().directory {
            DirectoryType::Generic => {
                findings.note(format!("{url}: each run reads everything; a server of type Generic is not asked what changed"));
            }
            DirectoryType::OpenLdap if changes.deletes => findings.fine(format!("{url} tells what changed and who was deleted (syncrepl)")),
            DirectoryType::OpenLdap => {
                let why = if changes.offered { "contextCSN of its suffix can't be read" } else { "it has no overlay syncprov" };
                let why =
                    if self.access().attributes.id.eq_ignore_ascii_case("entryUUID") { why } else { "attributes.id is not entryUUID" };
                lacks(findings, format!("{url} does not tell what changed ({why}): each run reads everything"));
                findings.remedy(remedies::SYNC_REPL);
            }
            DirectoryType::ActiveDirectory if changes.mark.is_none() => {
                lacks(findings, format!("{url} does not show how far it has come (invocationId): each run reads everything"));
            }
            DirectoryType::ActiveDirectory if changes.deletes => findings.fine(format!("{url} tells what changed and who was deleted")),
            DirectoryType::ActiveDirectory => {
                findings.note(format!("{url} tells what changed and hides who was deleted: that is known by the full read {full}"));
                findings.remedy(remedies::DELETED_OBJECTS);
            }
        }
    }

    /// Why a server is of no use, or why a read of it is not complete, and what to do.
    fn tell_problem(&self, findings: &mut Findings, url: &str, problem: &Problem) {
        let Problem { reason, message } = problem;
        if *reason == Reason::BindRefused {
            findings.fine(format!("{url} is reached"));
        }
        let passes = if reason.disposition() == Disposition::Waiting { " (it may pass by itself)" } else { "" };
        findings.wrong(format!("{url}: {reason}: {message}{passes}"));
        if let Some(remedy) = remedies::of(*reason) {
            findings.remedy(format!("# {reason}: {remedy}"));
        }
        if *reason == Reason::SizeLimitExceeded && self.access().directory == DirectoryType::OpenLdap {
            findings.remedy(remedies::size_limit(self.access()));
        }
    }
}

fn tell_certificate(findings: &mut Findings, url: &str, certificate: Option<&Certificate>, now: Timestamp) {
    let Some(Certificate { names, issuer, good_until }) = certificate else {
        findings.note(format!("{url} is reached in clear text: whoever is on the way can read the bind's password and all entries"));
        return;
    };
    let day = good_until.strftime("%F");
    findings.fine(format!("{url} is reached, with a certificate for {names} from {issuer}, good until {day}"));
    if good_until.duration_since(now) < SOON {
        findings.note(format!("{url}: its certificate ends on {day}; no run comes to anything after that"));
    }
}
