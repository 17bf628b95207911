//! `mailroster transfer DOMAIN NAMESPACE`: asks the leader to hand a domain over (SPEC D1), and waits for it.
//!
//! The command never moves a row itself: the leader plans the handover with everything else that it knows.

use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::failure::OrFailed as _;
use super::store::{self, Opened};
use super::{Failure, Outcome};
use crate::model::DomainName;
use crate::store::Store;

/// How long the leader has.
const WAIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(250);
/// Blockers that are told in full.
const TOLD: usize = 5;

/// Hand a domain and all its addresses to another namespace
///
/// The running controller does it; the request stays in the store until one does. Refused while a link, a delegation or a role
/// joins the domain to what stays behind. Ends with status 1 when the namespace has the domain already.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    store: store::Flags,
    /// The domain, in any spelling
    domain: String,
    /// The namespace that takes it
    namespace: String,
}

pub(super) async fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    let domain = DomainName::parse(&arguments.domain).or_failed("read DOMAIN")?;
    let namespace = arguments.namespace;
    if !is_namespace(&namespace) {
        return Err(Failure::new(format!(
            "failed to read NAMESPACE: {namespace:?} is no name of a namespace (a-z, 0-9 and inner hyphens)"
        )));
    }
    let opened = store::open(&arguments.store).await?;
    let outcome = transfer(&opened, &domain, &namespace).await;
    opened.close().await;
    outcome
}

/// RFC 1123 label, as Kubernetes names namespaces.
fn is_namespace(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

async fn transfer(opened: &Opened, domain: &DomainName, to: &str) -> Result<Outcome, Failure> {
    let store = &opened.connect_to_roster("transfer").await?;
    let from = holder(store, domain).await?;
    if from == to {
        return Ok(Outcome::findings(format!("nothing to do: {domain} belongs to namespace {to}\n")));
    }
    refuse_blocked(store, domain).await?;
    sqlx::query(
        "INSERT INTO mailroster.transfer_request (domain, to_namespace) VALUES ($1, $2)
         ON CONFLICT (domain) DO UPDATE SET to_namespace = excluded.to_namespace, requested_at = excluded.requested_at",
    )
    .bind(domain.as_str())
    .bind(to)
    .execute(store.pool())
    .await
    .or_failed(format_args!("ask for the transfer of {domain}"))?;
    let end = Instant::now() + WAIT;
    while is_waiting(store, domain).await? {
        if Instant::now() >= end {
            let seconds = WAIT.as_secs();
            return Err(Failure::new(format!(
                "failed to hand {domain} over within {seconds} s: no controller has taken the request; it stays in the store, and the next leader carries it out"
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
    let holds = holder(store, domain).await?;
    if holds == to {
        return Ok(Outcome::done(format!("{domain} and its addresses belong to namespace {to} now (until now: {from})\n")));
    }
    refuse_blocked(store, domain).await?;
    Err(Failure::new(format!("failed to hand {domain} over: the controller refused it, and its log says why")))
}

/// The namespace that has the domain.
async fn holder(store: &Store, domain: &DomainName) -> Result<String, Failure> {
    let row: Option<String> = sqlx::query_scalar("SELECT namespace FROM mailroster.domain WHERE name = $1")
        .bind(domain.as_str())
        .fetch_optional(store.pool())
        .await
        .or_failed(format_args!("look up {domain} in the store"))?;
    row.ok_or_else(|| Failure::new(format!("failed to hand {domain} over: the store has no such domain")))
}

async fn refuse_blocked(store: &Store, domain: &DomainName) -> Result<(), Failure> {
    let blockers = store.transfer_blockers(domain).await.or_failed(format_args!("look for what blocks the transfer of {domain}"))?;
    if blockers.is_empty() {
        return Ok(());
    }
    let told: Vec<_> = blockers.iter().take(TOLD).map(String::as_str).collect();
    let more = if blockers.len() > TOLD { format!(", and {} more", blockers.len() - TOLD) } else { String::new() };
    Err(Failure::new(format!("failed to hand {domain} over: TransferBlocked by {}{more}", told.join("; "))))
}

async fn is_waiting(store: &Store, domain: &DomainName) -> Result<bool, Failure> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM mailroster.transfer_request WHERE domain = $1)")
        .bind(domain.as_str())
        .fetch_one(store.pool())
        .await
        .or_failed(format_args!("see whether {domain} was handed over"))
}
