//! `/livez`, `/readyz` and `/metrics`.
//!
//! Whether this process leads changes neither answer, and liveness asks nobody else: a store that is away must not have its
//! controller killed (DESIGN 5).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::metrics::{self, Metrics};

/// A process whose heart has not beaten for so long is stuck.
const STILL: Duration = Duration::from_mins(1);

/// Whether the process is alive and ready. Clones tell the same.
#[derive(Debug, Clone)]
pub struct Health(Arc<Vitals>);

#[derive(Debug)]
struct Vitals {
    started: Instant,
    /// Milliseconds from `started` to the last beat.
    beat: AtomicU64,
    /// Why it is not ready; None when it is.
    not_ready: RwLock<Option<String>>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Alive, and not ready: "starting".
    #[must_use]
    pub fn new() -> Self {
        let not_ready = RwLock::new(Some("starting".to_owned()));
        Self(Arc::new(Vitals { started: Instant::now(), beat: AtomicU64::new(0), not_ready }))
    }

    /// The main loop still turns. Call it more often than every 20 seconds, whatever store and API server do.
    pub fn beat(&self) {
        let elapsed = u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.beat.fetch_max(elapsed, Ordering::Relaxed);
    }

    /// It can do its work.
    pub fn ready(&self) {
        *self.0.not_ready.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// It can't, and why, in words for people and without secrets.
    pub fn not_ready(&self, reason: impl Into<String>) {
        *self.0.not_ready.write().unwrap_or_else(PoisonError::into_inner) = Some(reason.into());
    }

    /// How long the heart has been still.
    fn still(&self) -> Duration {
        self.0.started.elapsed().saturating_sub(Duration::from_millis(self.0.beat.load(Ordering::Relaxed)))
    }

    fn why_not_ready(&self) -> Option<String> {
        self.0.not_ready.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A bound address, not served yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

/// Takes the address and logs it: with port 0 the system chooses one.
///
/// # Errors
/// The address is taken, or not ours.
pub async fn bind(listen: SocketAddr, health: Health, metrics: Metrics) -> std::io::Result<Server> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(health)
        .merge(Router::new().route("/metrics", get(show_metrics)).with_state(metrics));
    tracing::info!(%address, "listening");
    Ok(Server { listener, address, router })
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is cancelled.
    ///
    /// # Errors
    /// The listener broke.
    pub async fn serve(self, stop: CancellationToken) -> std::io::Result<()> {
        axum::serve(self.listener, self.router).with_graceful_shutdown(stop.cancelled_owned()).await
    }
}

async fn livez(State(health): State<Health>) -> Response {
    let still = health.still();
    if still < STILL {
        "ok\n".into_response()
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("the main loop has stood still for {} s\n", still.as_secs())).into_response()
    }
}

async fn readyz(State(health): State<Health>) -> Response {
    match health.why_not_ready() {
        None => "ok\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn show_metrics(State(metrics): State<Metrics>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to write the metrics: {error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn readiness_says_why_not_and_liveness_does_not_care() {
        let health = Health::new();
        let bound = bind("127.0.0.1:0".parse().unwrap(), health.clone(), Metrics::new()).await.unwrap();
        let (address, stop) = (bound.address(), CancellationToken::new());
        let served = tokio::spawn(bound.serve(stop.clone()));
        let answer = ask(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.0 503") && answer.ends_with("starting\n"), "{answer}");
        assert!(ask(address, "/livez").await.starts_with("HTTP/1.0 200"));
        health.ready();
        assert!(ask(address, "/readyz").await.starts_with("HTTP/1.0 200"));
        health.not_ready("the store is away");
        assert!(ask(address, "/readyz").await.ends_with("the store is away\n"));
        let answer = ask(address, "/metrics").await;
        assert!(answer.contains("openmetrics") && answer.contains("mailroster_leader 0"), "{answer}");
        stop.cancel();
        served.await.unwrap().unwrap();
    }

    #[test]
    fn a_heart_that_stands_still_is_noticed() {
        let health = Health::new();
        health.beat();
        assert!(health.still() < STILL);
    }
}
