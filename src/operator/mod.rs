//! The controller: watches resources, leads, feeds the engine, writes verdicts back.
//!
//! Everything here is an effect. What a resource's status says was decided in `plan`; here it becomes JSON, and only when it differs
//! from what the API server has. Each task is supervised: whichever ends unexpectedly ends the process, and a restart heals.

mod clients;
pub mod http;
mod identity;
mod lease;
pub mod metrics;
mod observe;
mod options;
mod render;
mod retry;
mod secrets;
mod seen;
mod shadow;
mod shelter;
mod slim;
mod stamp;
mod standing;
mod status;
mod tally;
mod watch;
mod write;
mod writer;

pub use options::Options;
pub use seen::Seen;
pub use watch::list as roster_of;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, Input, Start};
use crate::model::Kind;
use crate::store::{self, Claim, Feed, Leader, LeaderError, Store, StoreError};
use clients::Clients;
use metrics::Metrics;

/// Events on their way to the engine; a full inbox makes watches wait.
const INBOX: usize = 4_096;

/// Why the controller ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to reach the Kubernetes API: {0}")]
    Kubernetes(#[from] kube::Error),
    #[error("failed to find a kubeconfig or an in-cluster account: {0}")]
    Config(#[from] kube::config::InferConfigError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Leader(#[from] LeaderError),
    #[error("failed to serve {0}")]
    Http(#[source] std::io::Error),
    #[error("{0}")]
    Identity(String),
    #[error("the Lease was lost: {0}")]
    LeaseLost(#[from] lease::Lost),
    #[error("the task {0} ended unexpectedly: {1}")]
    Task(&'static str, String),
}

/// Runs until SIGTERM or SIGINT; then finishes the batch in hand, gives the Lease back and returns.
///
/// # Errors
/// [`Error`]: something that a restart may heal. Whoever started us does that.
pub async fn run(options: Options) -> Result<(), Error> {
    let stop = CancellationToken::new();
    tokio::spawn(until_signal(stop.clone()));
    let (metrics, health) = (Metrics::new(), http::Health::new());
    let server = http::bind(options.listen, health.clone(), metrics.clone()).await.map_err(Error::Http)?;
    tokio::spawn(server.serve(stop.clone()));
    tokio::spawn(beat(health.clone(), stop.clone()));

    let config = kube::Config::infer().await?;
    let namespace = options.system_namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let clients = Clients::new(config)?;
    health.ready();

    let lease = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        lease = lease::Lease::acquire(&clients.questions, &namespace) => lease?,
    };
    metrics.leads(true);
    let outcome = lead(&options, &namespace, clients, metrics.clone(), &lease, stop.clone()).await;
    metrics.leads(false);
    if !matches!(outcome, Err(Error::LeaseLost(_))) {
        lease.release().await;
    }
    outcome
}

/// One term of leadership.
async fn lead(
    options: &Options,
    namespace: &str,
    clients: Clients,
    metrics: Metrics,
    lease: &lease::Lease,
    stop: CancellationToken,
) -> Result<(), Error> {
    let Clients { questions, watches, writes } = clients;
    let taken = async {
        let identity = identity::Identity::load(&questions, namespace, options.fingerprint_key.as_deref()).await?;
        let (leader, answering) = take_store(options, &identity).await?;
        Ok::<_, Error>((identity, leader, answering))
    };
    let (identity, leader, answering) = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        lost = lease.keep() => return Err(lost),
        taken = taken => taken?,
    };
    let leader = Arc::new(leader);
    crate::fault::reach("leading");
    tracing::info!(epoch = leader.epoch(), installation = identity.installation, "leading");

    let (inbox, received) = mpsc::channel::<Input>(INBOX);
    let (outbox, outcomes) = mpsc::channel(INBOX);
    let (seen, sightings) = mpsc::channel(INBOX);
    let mut tasks: JoinSet<(&'static str, Result<(), Error>)> = JoinSet::new();
    let mut expected = std::collections::BTreeSet::new();
    let places: Vec<String> = if options.namespaces.is_empty() { vec![String::new()] } else { options.namespaces.clone() };
    for place in &places {
        for kind in Kind::ALL {
            expected.insert((kind, place.clone()));
        }
        watch::spawn(&mut tasks, &watches, place, &inbox, &seen, &metrics, &stop);
    }
    let surroundings = shelter::Cluster::new(questions, secrets::Secrets::new(watches, inbox.clone(), stop.clone()));
    let engine = Engine::new(Start {
        leader: leader.clone(),
        surroundings,
        observer: Arc::new(metrics.clone()),
        outbox,
        expected,
        fingerprint_key: identity.fingerprint_key,
        answering,
        inbox: inbox.clone(),
    });
    let pen = write::Pen::new(writes, metrics.clone(), lease.standing());
    let writer = writer::Writer::new(pen, metrics.clone(), inbox.clone());
    // The engine stops first; what it said until then is still written.
    let engine_stop = stop.clone();
    tasks.spawn(async move { ("engine", engine.run(received, engine_stop).await.map_err(Error::from)) });
    tasks.spawn(async move {
        writer.run(outcomes, sightings).await;
        ("writer", Ok(()))
    });
    let feeding = follow_store(leader.clone(), inbox.clone(), options.namespaces.clone(), stop.clone());
    tasks.spawn(async move { ("feed", feeding.await) });
    let counting = count_unknown(leader.clone(), metrics.clone(), stop.clone());
    tasks.spawn(async move { ("counting", counting.await) });
    let housekeeping = keep_house(leader, options.audit_retention_days, stop.clone());
    tasks.spawn(async move { ("housekeeping", housekeeping.await) });
    drop((inbox, seen));
    supervise(&mut tasks, lease, &stop).await
}

/// Waits for the end: asked for, or that of any task, or of the Lease.
async fn supervise(
    tasks: &mut JoinSet<(&'static str, Result<(), Error>)>,
    lease: &lease::Lease,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        lost = lease.keep() => return Err(lost),
        ended = tasks.join_next() => ended,
    };
    if let Some(ended) = ended {
        stop.cancel();
        return match ended {
            Ok((_, Err(error))) => Err(error),
            Ok((name, Ok(()))) => Err(Error::Task(name, "it returned".to_owned())),
            Err(error) => Err(Error::Task("unknown", error.to_string())),
        };
    }
    let rest = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_secs(10), rest).await.is_err() {
        tracing::warn!("some tasks did not end in 10 s; leaving them");
    }
    Ok(())
}

/// Migrates the store and takes it, waiting for as long as it is away.
async fn take_store(options: &Options, identity: &identity::Identity) -> Result<(Leader, bool), Error> {
    let claim = Claim {
        installation: identity.installation.clone(),
        holder: lease::holder(),
        take_over: options.take_over_store,
        new_domain_grace: options.new_domain_grace.as_secs(),
    };
    let application = format!("mailroster leader {}", &uuid::Uuid::new_v4().simple());
    let mut pause = Duration::from_millis(500);
    loop {
        let store = Store::open(&options.store, &application)?;
        let attempt = Box::pin(async {
            store::refuse_foreign(&store.connect_options(), &claim).await?;
            store::migrate(&store.connect_options(), &options.role_prefix).await?;
            let leader = Leader::take(&store, &claim).await?;
            let answering = leader.state().await?;
            Ok::<_, LeaderError>((leader, answering))
        });
        match attempt.await {
            Ok(taken) => return Ok(taken),
            Err(LeaderError::Busy) => tracing::warn!("another process writes the store; waiting for it"),
            Err(LeaderError::Store(error)) if error.is_transient() || matches!(error, StoreError::Migrate(_)) => {
                tracing::warn!(%error, "the store can't be used yet; trying again in {pause:?}");
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

/// Hands the store's outbox and clock to the engine, for as long as we lead.
async fn follow_store(
    leader: Arc<Leader>,
    inbox: mpsc::Sender<Input>,
    namespaces: Vec<String>,
    stop: CancellationToken,
) -> Result<(), Error> {
    while !stop.is_cancelled() {
        let followed = async {
            let mut feed = Feed::open(leader.store()).await?;
            let mut begins = true;
            loop {
                // After a break the store may be another one than before (DESIGN 4). Until the engine has begun with it, its outbox is not ours.
                let answers = match leader.state().await {
                    Ok(answers) => Some(answers),
                    Err(StoreError::Older) => None,
                    Err(error) => return Err(error),
                };
                if answers.is_none() {
                    begins = true;
                    feed.begin_anew();
                    // The engine may be in the middle of a batch; mail servers must not be answered from old rows meanwhile.
                    leader.silence().await?;
                    if inbox.send(Input::StoreIsOlder).await.is_err() {
                        return Ok(());
                    }
                } else {
                    if answers == Some(false) && inbox.send(Input::StoreIsSilent).await.is_err() {
                        return Ok(());
                    }
                    if std::mem::take(&mut begins) {
                        let unfinished = unfinished(&leader, &namespaces).await?;
                        if inbox.send(Input::StoreIsBack).await.is_err() || inbox.send(unfinished).await.is_err() {
                            return Ok(());
                        }
                    }
                    let (dirty, ids) = feed.look().await?;
                    let heard = !ids.is_empty();
                    let clock = Input::Clock(leader.store().now().await?);
                    if inbox.send(clock).await.is_err() || (!dirty.is_empty() && inbox.send(Input::Changed(dirty)).await.is_err()) {
                        return Ok(());
                    }
                    let done = feed.keep_one(ids);
                    let falls_asleep = !heard && !done.is_empty();
                    leader.forget(done).await?;
                    if heard {
                        crate::fault::reach("heard");
                    }
                    // What came meanwhile told nobody: the outbox was not empty.
                    if falls_asleep {
                        continue;
                    }
                }
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    waited = feed.wait() => waited?,
                }
            }
        };
        match followed.await {
            Ok(()) => return Ok(()),
            Err(end @ (StoreError::Deposed | StoreError::Gone)) => return Err(end.into()),
            Err(error) => {
                tracing::warn!(%error, "the store's change feed broke; opening it again");
                if let Err(error) = leader.store().read_password_anew() {
                    tracing::warn!(%error, "the password can't be read anew");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
    Ok(())
}

/// What an earlier leader left waiting in domains that no resource may name any more, and the leavers that it was to see through: no run
/// speaks of those again (Y6).
async fn unfinished(leader: &Leader, namespaces: &[String]) -> Result<Input, StoreError> {
    let subjects = leader.store().unfinished_domains().await?;
    let reported = leader.store().cleared_leavers(namespaces).await?;
    Ok(Input::Changed(store::Dirty { subjects, reported, ..store::Dirty::default() }))
}

/// Calls of gateway functions that named unknown addresses, once a minute.
async fn count_unknown(leader: Arc<Leader>, metrics: Metrics, stop: CancellationToken) -> Result<(), Error> {
    loop {
        match leader.store().unknown_addresses().await {
            Ok(counts) => counts.into_iter().for_each(|(function, count)| metrics.unknown_addresses(&function, count)),
            Err(error) => tracing::debug!(%error, "the store's counters can't be read"),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(Duration::from_mins(1)) => {}
        }
    }
}

/// Daily, and at the start.
async fn keep_house(leader: Arc<Leader>, retention_days: i64, stop: CancellationToken) -> Result<(), Error> {
    loop {
        let kept = match leader.store().now().await {
            Ok(now) => leader.keep_house(now.to_zoned(jiff::tz::TimeZone::UTC).date(), retention_days).await,
            Err(error) => Err(error),
        };
        let pause = match kept {
            Ok(()) => Duration::from_hours(24),
            Err(StoreError::Deposed) => return Err(StoreError::Deposed.into()),
            Err(error) => {
                tracing::warn!(%error, "housekeeping in the store failed; trying again in a minute");
                Duration::from_mins(1)
            }
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Liveness: the runtime still turns. It depends on nothing outside the process.
async fn beat(health: http::Health, stop: CancellationToken) {
    while !stop.is_cancelled() {
        health.beat();
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

async fn until_signal(stop: CancellationToken) {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminate => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tracing::info!("stopping");
    stop.cancel();
}
