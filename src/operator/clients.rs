//! Connections to the API server, by what they are for.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use kube::client::{Body, ClientBuilder};
use tokio::time::Instant;
use tower::{Layer, Service};

use super::Error;
use super::retry;

/// A watch begins no sooner after its last beginning.
const APART: Duration = Duration::from_secs(1);

pub struct Clients {
    /// The Lease, and what is asked once. The library tries again by itself what the API server was too busy for.
    pub questions: kube::Client,
    /// Under load the API server closes watches that share a connection with many writers.
    pub watches: kube::Client,
    pub writes: kube::Client,
}

impl Clients {
    pub fn new(config: kube::Config) -> Result<Self, Error> {
        // Watches and writes have pauses of their own; the library's, doubled fifteen times, would outlast the trouble by minutes and
        // hold one of the writer's slots meanwhile.
        let mut once = config.clone();
        once.default_retry = false;
        // A server that accepts and then says nothing would make us deaf: a watch is ended by the API server within 290 s, and hears from
        // it each minute.
        once.read_timeout = Some(Duration::from_mins(5));
        Ok(Self {
            questions: kube::Client::try_from(config)?,
            watches: ClientBuilder::try_from(once.clone())?.with_layer(&Paces::default()).build(),
            writes: kube::Client::try_from(once)?,
        })
    }
}

/// When each watch began last, by its path.
///
/// To the library a watch that ends without an error has only to be begun again, at once. An API server that is overloaded ends watches
/// as soon as they begin, and so does anything in between that cuts connections: it would be asked as fast as it can answer.
#[derive(Clone, Default)]
struct Paces(Arc<Mutex<HashMap<String, Instant>>>);

impl Paces {
    /// How long the answer to this request has to wait.
    fn pause(&self, request: &Request<Body>) -> Duration {
        let uri = request.uri();
        if !uri.query().is_some_and(|query| query.contains("watch=true")) {
            return Duration::ZERO;
        }
        let now = Instant::now();
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = begun.insert(uri.path().to_owned(), now) else { return Duration::ZERO };
        let pause = (last + APART).saturating_duration_since(now);
        begun.insert(uri.path().to_owned(), now + pause);
        pause.mul_f64(1.0 + f64::from(retry::chance()) / 255.0)
    }
}

impl<S> Layer<S> for Paces {
    type Service = Paced<S>;

    fn layer(&self, inner: S) -> Paced<S> {
        Paced { inner, paces: self.clone() }
    }
}

/// Holds the answer of a watch that begins too soon: the next one waits for it.
struct Paced<S> {
    inner: S,
    paces: Paces,
}

impl<S> Service<Request<Body>> for Paced<S>
where
    S: Service<Request<Body>>,
    S::Future: Send + 'static,
    S::Response: Send,
    S::Error: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let pause = self.paces.pause(&request);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            tokio::time::sleep(pause).await;
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_watch_that_begins_again_too_soon_waits() {
        let paces = Paces::default();
        let pause = |uri: &str| paces.pause(&Request::get(uri).body(Body::empty()).unwrap());
        assert_eq!(pause("/apis/mailroster.dev/v1alpha1/aliaslinks?watch=true"), Duration::ZERO);
        assert_eq!(pause("/apis/mailroster.dev/v1alpha1/adminroles?watch=true"), Duration::ZERO);
        assert_eq!([pause("/apis/mailroster.dev/v1alpha1/adminroles?limit=500"); 2], [Duration::ZERO; 2]);
        let again = pause("/apis/mailroster.dev/v1alpha1/aliaslinks?watch=true&resourceVersion=7");
        assert!(again > APART / 2 && again <= APART * 2, "{again:?}");
    }
}
