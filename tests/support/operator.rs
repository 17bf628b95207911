//! The real controller as a process of its own, with its namespaces and its database; several run side by side.

use super::cluster::Cluster;
use super::database::Database;
use super::folder;
use super::process::{Server, Start};
use super::wait::{PATIENCE, eventually};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const START: Duration = Duration::from_mins(1);

/// What the controller is started with. Start it twice and the second takes over from the first.
#[derive(Clone)]
pub struct Settings {
    pub kubeconfig: PathBuf,
    pub store: String,
    pub namespaces: Vec<String>,
    /// Where its Lease and keys are: the same in each start of one installation.
    pub system_namespace: String,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
}

impl Settings {
    /// A new installation: the rights of the manifests, a system namespace of its own; in its namespaces Secrets may be read.
    pub async fn new(cluster: &Cluster, database: &Database, namespaces: &[&str]) -> Self {
        let settings = Self::without_secrets(cluster, database, namespaces).await;
        for namespace in namespaces {
            cluster.let_secrets_be_read(namespace, &settings.system_namespace).await;
        }
        settings
    }

    /// The same before any tenant has bound the reader of Secrets.
    pub async fn without_secrets(cluster: &Cluster, database: &Database, namespaces: &[&str]) -> Self {
        let system_namespace = cluster.fresh_namespace().await;
        Self {
            kubeconfig: cluster.install_rights(&system_namespace).await.kubeconfig().to_owned(),
            store: database.url.clone(),
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
            system_namespace,
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }
}

pub struct Operator {
    settings: Settings,
    server: Server,
    address: String,
}

impl Operator {
    /// A new installation on the shared control plane; returns when it says where it listens.
    pub async fn start(database: &Database, namespaces: &[&str]) -> Self {
        let settings = Settings::new(super::control_plane().await, database, namespaces).await;
        Self::start_with(settings).await
    }

    pub async fn start_with(settings: Settings) -> Self {
        Self::try_start_with(settings).await.unwrap_or_else(|message| panic!("{message}"))
    }

    /// For a start that may be refused: then the error has the end of the log.
    pub async fn try_start_with(settings: Settings) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("operator-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut arguments = ["operator", "--listen", "127.0.0.1:0", "--store", &settings.store].map(str::to_owned).to_vec();
        arguments.extend(["--namespaces".to_owned(), settings.namespaces.join(",")]);
        arguments.extend(["--system-namespace".to_owned(), settings.system_namespace.clone()]);
        arguments.extend(settings.arguments.iter().cloned());
        let mut environment = vec![("KUBECONFIG".to_owned(), settings.kubeconfig.display().to_string())];
        environment.extend([("NO_COLOR", "1"), ("RUST_BACKTRACE", "1")].map(|(name, value)| (name.to_owned(), value.to_owned())));
        environment.extend(settings.environment.iter().cloned());
        let (program, log_folder) = (program(), folder::run());
        let start = Start { name: &name, program: &program, arguments, environment, log_folder, death_signal: "KILL", user: None };
        let mut server = Server::start(start);
        server.ready(START, async |server: &Server| listen_address(&server.log()).is_some()).await?;
        let address = listen_address(&server.log()).unwrap_or_default();
        Ok(Self { settings, server, address })
    }

    /// Starts one that ends by itself, and not well; returns its log. It may be gone before anybody could ask whether it is ready.
    pub async fn refused(settings: Settings) -> String {
        match Self::try_start_with(settings).await {
            Err(message) => message,
            Ok(mut operator) => {
                assert!(!operator.ended(PATIENCE).await.success(), "{}", operator.tail());
                operator.log()
            }
        }
    }

    /// To start the same installation again, or a second replica of it.
    pub fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// Its process, for `/proc`.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    pub fn log(&self) -> String {
        self.server.log()
    }

    /// The end of the log, for the message of a failure.
    pub fn tail(&self) -> String {
        self.server.tail()
    }

    /// Waits until the log says so.
    pub async fn says(&self, text: &str) {
        eventually(PATIENCE, &format!("the log says {text:?}"), async || if self.log().contains(text) { Ok(()) } else { Err(self.tail()) })
            .await;
    }

    pub async fn metrics(&self) -> String {
        let (status, body) = self.get("/metrics").await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The value of the one series that begins with this text (a name, or a name and its labels); None without such a series.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let metrics = self.metrics().await;
        let line = metrics.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with([' ', '{'])))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Status and body of a GET to the listen address (`/livez`, `/readyz`, `/metrics`).
    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = tokio::time::timeout(Duration::from_secs(10), self.try_get(path)).await;
        let answer = answer.unwrap_or_else(|_| panic!("no answer to {path} in 10 s; {}", self.tail()));
        answer.unwrap_or_else(|error| panic!("GET {path}: {error}; {}", self.tail()))
    }

    async fn try_get(&self, path: &str) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).await?;
        // HTTP/1.0: one answer, not in chunks, then the end.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address).as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        Ok((status, body.to_owned()))
    }

    /// SIGKILL: no chance to finish anything. The Lease stays taken until it runs out.
    pub fn kill9(&mut self) {
        self.server.kill();
    }

    /// Takes the Lease, if there is one yet, out of a dead controller's hands, so that the next one need not wait until it runs out.
    pub async fn release_lease(cluster: &Cluster, settings: &Settings) {
        let nobody = serde_json::json!({"spec": {"holderIdentity": null}});
        if cluster.get("Lease", &settings.system_namespace, "mailroster").await.is_some() {
            cluster.patch("Lease", &settings.system_namespace, "mailroster", &nobody).await;
        }
    }

    /// SIGTERM, and wait until it has ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.server.signal("TERM");
        self.server.wait(Duration::from_secs(30)).await
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.server.exited()
    }

    /// Waits until it ends by itself, as a deposed leader does.
    pub async fn ended(&mut self, deadline: Duration) -> ExitStatus {
        self.server.wait(deadline).await
    }

    /// Starts it again if it has ended by itself, as the kubelet would: on a busy machine a Lease may be lost.
    pub async fn revive(&mut self) {
        if self.server.exited().is_some() {
            *self = Self::start_with(self.settings()).await;
        }
    }

    /// Stops and continues the process without ending it: a leader that slept through its Lease.
    pub fn freeze(&self) {
        self.server.signal("STOP");
    }

    pub fn thaw(&self) {
        self.server.signal("CONT");
    }
}

impl Drop for Operator {
    /// What the controller said is half of why a test failed, and its log goes with the run.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
    }
}

/// The binary under test. Cargo names it to tests and benchmarks; the demo and the soak, examples, find it two folders up from themselves.
pub fn program() -> PathBuf {
    if let Some(program) = option_env!("CARGO_BIN_EXE_mailroster") {
        return PathBuf::from(program);
    }
    let example = std::env::current_exe().expect("the path of this program");
    let program = example.parent().and_then(|examples| examples.parent()).expect("target/PROFILE/examples").join("mailroster");
    assert!(program.is_file(), "{} is missing: cargo build --bin mailroster", program.display());
    program
}

/// The address in the line that says where it listens, whichever format the log has.
fn listen_address(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains("listening"))?;
    let from = line.find("127.0.0.1:")?;
    let address: String = line[from..].chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
    let port = address.rsplit(':').next()?;
    // The line may be half written.
    (port.parse::<u16>().is_ok_and(|port| port != 0) && log[log.find(line)? + line.len()..].starts_with('\n')).then_some(address)
}
