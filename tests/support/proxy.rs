//! A TLS reverse proxy between a controller and the API server: it counts what passes, and answers some of it itself, as an API server
//! in trouble would.
//!
//! One connection there for each here, HTTP/1.1, bodies streamed: watches work as without it, and rights are the caller's own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::certificates::Certificates;

/// A request that came through.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Instant,
    pub method: String,
    /// With its query.
    pub path: String,
    /// The status that was answered; 0 until then.
    pub answered: u16,
}

impl Seen {
    /// A write of a status.
    pub fn is_status(&self) -> bool {
        self.method == "PATCH" && self.path.split('?').next().is_some_and(|path| path.ends_with("/status"))
    }

    pub fn is_watch(&self) -> bool {
        self.path.contains("watch=true")
    }

    pub fn is_lease(&self) -> bool {
        self.path.contains("/leases")
    }

    /// Whether it is about the resource of that name.
    pub fn names(&self, name: &str) -> bool {
        self.path.split(['/', '?']).any(|part| part == name)
    }
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Answer {
    Pass,
    /// Passed with another path and query.
    Rewritten(String),
    /// Passed; the answer stays here until [`Proxy::let_go`].
    Held,
    /// Refused by the proxy, in the API server's form.
    Refused {
        code: u16,
        /// What the server asks for, in seconds.
        retry_after: Option<u32>,
    },
    /// A 200 without a body.
    Empty,
    /// The connection ends without an answer.
    Cut,
}

impl Answer {
    pub fn refused(code: u16) -> Self {
        Self::Refused { code, retry_after: None }
    }
}

type Rule = Box<dyn Fn(&Seen) -> Answer + Send + Sync>;
type Body = Either<Incoming, Full<Bytes>>;

pub struct Proxy {
    address: String,
    inner: Arc<Inner>,
}

struct Inner {
    upstream: u16,
    connector: TlsConnector,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<Seen>>,
    /// Whether answers are held.
    holding: watch::Sender<bool>,
    /// Counts up to end every connection.
    cut: watch::Sender<u32>,
}

impl Proxy {
    /// Listens on a port of its own, in front of the API server at `upstream`.
    pub async fn start(certificates: &Certificates, upstream: u16) -> Self {
        super::install_crypto_provider();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&certificates.authority).expect("a certificate")).expect("an authority");
        let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let chain = vec![CertificateDer::from_pem_file(&certificates.server.certificate).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_file(&certificates.server.key).expect("a key");
        let server = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).expect("TLS");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let inner = Arc::new(Inner {
            upstream,
            connector: TlsConnector::from(Arc::new(client)),
            rule: Mutex::new(Box::new(|_| Answer::Pass)),
            seen: Mutex::default(),
            holding: watch::Sender::new(true),
            cut: watch::Sender::new(0),
        });
        tokio::spawn(inner.clone().accept(listener, TlsAcceptor::from(Arc::new(server))));
        Self { address, inner }
    }

    /// The same access, by way of this proxy.
    pub fn kubeconfig(&self, original: &Path) -> PathBuf {
        let text = std::fs::read_to_string(original).expect("a kubeconfig");
        let mut kubeconfig: Value = serde_yaml::from_str(&text).expect("a kubeconfig");
        for cluster in kubeconfig["clusters"].as_array_mut().expect("clusters") {
            cluster["cluster"]["server"] = json!(format!("https://{}", self.address));
        }
        let file = super::folder::run().join(format!("kubeconfig-{}", self.address.replace(':', "-")));
        std::fs::write(&file, format!("{kubeconfig:#}\n")).expect("write a kubeconfig");
        file
    }

    /// From now on this decides what becomes of a request.
    pub fn answer(&self, rule: impl Fn(&Seen) -> Answer + Send + Sync + 'static) {
        *self.inner.rule.lock().expect("the rule") = Box::new(rule);
    }

    pub fn pass_all(&self) {
        self.answer(|_| Answer::Pass);
    }

    /// Lets the answers go that were held, and all that would be.
    pub fn let_go(&self) {
        self.inner.holding.send_replace(false);
    }

    /// Ends every connection at once.
    pub fn cut(&self) {
        self.inner.cut.send_modify(|count| *count += 1);
    }

    /// What came through since then and is of that sort.
    pub fn seen(&self, since: Instant, of: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        self.inner.seen.lock().expect("the log").iter().filter(|seen| seen.at >= since && of(seen)).cloned().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

/// The most requests within any such span of time.
pub fn busiest(seen: &[Seen], span: Duration) -> usize {
    (0..seen.len()).map(|first| seen[first..].iter().take_while(|other| other.at - seen[first].at < span).count()).max().unwrap_or(0)
}

impl Inner {
    async fn accept(self: Arc<Self>, listener: TcpListener, acceptor: TlsAcceptor) {
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            let (inner, acceptor, mut cut) = (self.clone(), acceptor.clone(), self.cut.subscribe());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let upstream = Arc::new(AsyncMutex::new(None));
                let serve = hyper::service::service_fn(|request| inner.clone().pass(upstream.clone(), request));
                let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve);
                tokio::select! {
                    _ended = connection => {}
                    _cut = cut.changed() => {}
                }
            });
        }
    }

    async fn pass(
        self: Arc<Self>,
        upstream: Arc<AsyncMutex<Option<SendRequest<Incoming>>>>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, std::io::Error> {
        let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        let seen = Seen { at: Instant::now(), method: request.method().to_string(), path, answered: 0 };
        let answer = (self.rule.lock().expect("the rule"))(&seen);
        let index = {
            let mut all = self.seen.lock().expect("the log");
            all.push(seen);
            all.len() - 1
        };
        let held = matches!(answer, Answer::Held);
        let response = match answer {
            Answer::Cut => return Err(std::io::Error::other("cut")),
            Answer::Refused { code, retry_after } => refusal(code, retry_after),
            Answer::Empty => Response::new(Either::Right(Full::default())),
            Answer::Pass | Answer::Held => self.forward(&upstream, request).await?,
            Answer::Rewritten(path) => {
                *request.uri_mut() = path.parse().expect("a path");
                self.forward(&upstream, request).await?
            }
        };
        if held {
            let mut holding = self.holding.subscribe();
            let _ended = holding.wait_for(|holding| !holding).await;
        }
        self.seen.lock().expect("the log")[index].answered = response.status().as_u16();
        Ok(response)
    }

    async fn forward(
        &self,
        upstream: &AsyncMutex<Option<SendRequest<Incoming>>>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, std::io::Error> {
        let mut upstream = upstream.lock().await;
        let mut sender = match upstream.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        sender.ready().await.map_err(std::io::Error::other)?;
        let response = sender.send_request(request).await.map_err(std::io::Error::other)?;
        *upstream = Some(sender);
        Ok(response.map(Either::Left))
    }

    async fn connect(&self) -> Result<SendRequest<Incoming>, std::io::Error> {
        let stream = TcpStream::connect(("127.0.0.1", self.upstream)).await?;
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let stream = self.connector.connect(name, stream).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// A refusal as the API server words it.
fn refusal(code: u16, retry_after: Option<u32>) -> Response<Body> {
    let reason = match code {
        403 => "Forbidden",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason, "message": "the proxy says so",
    });
    let mut response = Response::builder().status(code).header("Content-Type", "application/json");
    if let Some(seconds) = retry_after {
        status["details"] = json!({"retryAfterSeconds": seconds});
        response = response.header("Retry-After", seconds);
    }
    response.body(Either::Right(Full::new(status.to_string().into()))).expect("a response")
}
