//! A Kubernetes control plane of real parts: etcd, kube-apiserver and, where it is installed, kube-controller-manager.
//!
//! There are no nodes, so no Pods run; everything else behaves as in any cluster. Rights, admission, watches, garbage collection
//! and the deletion of namespaces are the real ones.

use super::certificates::Certificates;
use super::cluster::Cluster;
use super::process::{Server, Start, free_ports};
use super::proxy::Proxy;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::Mutex;

const START: Duration = Duration::from_secs(90);

pub struct ControlPlane {
    cluster: Cluster,
    folder: PathBuf,
    tools: PathBuf,
    certificates: Certificates,
    etcd_port: u16,
    api_port: u16,
    // Dropped in this order: without etcd the API server's end would hang, and it would hold its port.
    controller_manager: Mutex<Option<Server>>,
    api_server: Mutex<Option<Server>>,
    etcd: Server,
}

impl Deref for ControlPlane {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl ControlPlane {
    /// Starts all parts on free ports, their files in `folder`; returns when `/readyz` says so.
    pub async fn start(folder: &Path, tools: &Path) -> Self {
        let mut failure = String::new();
        for attempt in 1..=3 {
            match Self::try_start(&folder.join(format!("k8s{attempt}")), tools).await {
                Ok(control_plane) => return control_plane,
                // Somebody took a port between our asking for a free one and the server's use of it.
                Err(message) if message.contains("address already in use") => failure = message,
                Err(message) => panic!("{message}"),
            }
        }
        panic!("{failure}");
    }

    async fn try_start(folder: &Path, tools: &Path) -> Result<Self, String> {
        fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let certificates = Certificates::write(&folder.join("pki"));
        let [etcd_port, peer_port, api_port] = free_ports();
        let etcd = start_etcd(folder, tools, etcd_port, peer_port);
        let kubeconfig = folder.join("kubeconfig");
        fs::write(&kubeconfig, kubeconfig_text(&certificates, api_port)).map_err(|error| error.to_string())?;
        let cluster = Cluster::new(&kubeconfig, &tools.join("kubectl"), &folder.join("cache"));
        let control_plane = Self {
            cluster,
            folder: folder.to_owned(),
            tools: tools.to_owned(),
            certificates,
            etcd_port,
            api_port,
            controller_manager: Mutex::new(None),
            api_server: Mutex::new(None),
            etcd,
        };
        control_plane.try_start_api_server().await?;
        // setup-envtest brings none; then namespaces stay Terminating and nothing is garbage-collected.
        if tools.join("kube-controller-manager").is_file() {
            *control_plane.controller_manager.lock().await = Some(control_plane.start_controller_manager());
        }
        Ok(control_plane)
    }

    /// True when the parts that delete namespaces and owned objects run.
    pub async fn collects_garbage(&self) -> bool {
        self.controller_manager.lock().await.is_some()
    }

    /// A proxy in front of the API server, whichever process listens on its port.
    pub async fn proxy(&self) -> Proxy {
        Proxy::start(&self.certificates, self.api_port).await
    }

    /// SIGKILL to the API server: every connection breaks at once. `start_api_server` brings it back on the same port.
    pub async fn kill_api_server(&self) {
        if let Some(mut server) = self.api_server.lock().await.take() {
            server.kill();
        }
    }

    /// The polite end: watches are closed, requests in flight are answered.
    pub async fn stop_api_server(&self) {
        if let Some(mut server) = self.api_server.lock().await.take() {
            server.signal("TERM");
            server.wait(Duration::from_secs(90)).await;
        }
    }

    /// Stops the API server's process without ending it: connections stay open and nothing answers.
    pub async fn freeze_api_server(&self) {
        self.signal_api_server("STOP").await;
    }

    pub async fn thaw_api_server(&self) {
        self.signal_api_server("CONT").await;
    }

    /// Starts the API server again, on the port it had; returns when it is ready.
    pub async fn start_api_server(&self) {
        let mut failure = String::new();
        for _ in 0..3 {
            match self.try_start_api_server().await {
                Ok(()) => return,
                Err(message) if message.contains("address already in use") => failure = message,
                Err(message) => panic!("{message}"),
            }
        }
        panic!("{failure}");
    }

    async fn signal_api_server(&self, signal: &str) {
        let server = self.api_server.lock().await;
        server.as_ref().expect("the API server is stopped").signal(signal);
    }

    async fn try_start_api_server(&self) -> Result<(), String> {
        let client = self.cluster.client().await;
        let mut server = self.spawn_api_server();
        let ready = async |_: &Server| {
            let request = http::Request::get("/readyz").body(Vec::new()).expect("a request");
            let answer = tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await;
            answer.is_ok_and(|answer| answer.is_ok_and(|text| text == "ok"))
        };
        server.ready(START, ready).await.map_err(|message| format!("{message}\n{}", self.etcd.tail()))?;
        *self.api_server.lock().await = Some(server);
        Ok(())
    }

    fn spawn_api_server(&self) -> Server {
        let Certificates { authority, server, service_account_key, service_account_public_key, .. } = &self.certificates;
        let program = self.tools.join("kube-apiserver");
        let arguments = vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            format!("--secure-port={}", self.api_port),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--cert-dir={}", self.folder.join("pki").display()),
            format!("--tls-cert-file={}", server.certificate.display()),
            format!("--tls-private-key-file={}", server.key.display()),
            format!("--client-ca-file={}", authority.display()),
            "--authorization-mode=RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", service_account_public_key.display()),
            format!("--service-account-signing-key-file={}", service_account_key.display()),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            // Without nodes there is nothing for these two to do, and ServiceAccount would refuse what has no account yet.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            // Else its polite end waits a minute for watches that nobody closes.
            "--shutdown-watch-termination-grace-period=2s".to_owned(),
        ];
        let name = "kube-apiserver";
        let (environment, log_folder) = (Vec::new(), self.folder.as_path());
        Server::start(Start { name, program: &program, arguments, environment, log_folder, death_signal: "KILL", user: None })
    }

    fn start_controller_manager(&self) -> Server {
        let Certificates { authority, service_account_key, .. } = &self.certificates;
        let program = self.tools.join("kube-controller-manager");
        let arguments = vec![
            // The administrator's: under its own name it would lack rights, and namespaces would stay Terminating for ever.
            format!("--kubeconfig={}", self.cluster.kubeconfig().display()),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            "--controllers=namespace-controller,garbage-collector-controller,clusterrole-aggregation-controller,serviceaccount-controller"
                .to_owned(),
            format!("--service-account-private-key-file={}", service_account_key.display()),
            format!("--root-ca-file={}", authority.display()),
        ];
        let name = "kube-controller-manager";
        let (environment, log_folder) = (Vec::new(), self.folder.as_path());
        Server::start(Start { name, program: &program, arguments, environment, log_folder, death_signal: "KILL", user: None })
    }
}

fn start_etcd(folder: &Path, tools: &Path, client: u16, peer: u16) -> Server {
    let program = tools.join("etcd");
    let mut arguments = vec![format!("--data-dir={}", folder.join("etcd").display()), "--unsafe-no-fsync".to_owned()];
    arguments.extend(["--listen-client-urls", "--advertise-client-urls"].map(|flag| format!("{flag}=http://127.0.0.1:{client}")));
    arguments.extend(["--listen-peer-urls", "--initial-advertise-peer-urls"].map(|flag| format!("{flag}=http://127.0.0.1:{peer}")));
    arguments.extend([format!("--initial-cluster=default=http://127.0.0.1:{peer}"), "--log-level=error".to_owned()]);
    let (environment, log_folder) = (Vec::new(), folder);
    Server::start(Start { name: "etcd", program: &program, arguments, environment, log_folder, death_signal: "KILL", user: None })
}

/// The administrator's kubeconfig. It names files, so it holds no secret itself.
fn kubeconfig_text(certificates: &Certificates, port: u16) -> String {
    let Certificates { authority, administrator, .. } = certificates;
    let text = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": format!("https://127.0.0.1:{port}"), "certificate-authority": authority}}],
        "users": [{"name": "admin", "user": {"client-certificate": administrator.certificate, "client-key": administrator.key}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
    });
    format!("{text:#}\n")
}
