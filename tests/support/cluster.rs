//! A Kubernetes cluster as a test uses it: a client, kubectl, namespaces. Whose servers it is does not matter here.

use crate::support::wait::eventually;
use kube::api::{Api, DynamicObject, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

/// The longest a kubectl command may take; `kubectl wait` says less by itself.
const KUBECTL: Duration = Duration::from_mins(2);

#[derive(Clone)]
pub struct Cluster {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    /// kubectl's discovery cache: one per run, for the installed kinds differ between runs.
    cache: PathBuf,
}

/// What a command answered.
#[derive(Debug)]
pub struct Output {
    pub status: std::process::ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Standard output of a command that must have succeeded.
    pub fn succeeded(self) -> String {
        assert!(self.status.success(), "{}\n{}{}", self.status, self.stdout, self.stderr);
        self.stdout
    }

    /// Standard error of a command that must have been refused.
    pub fn refused(self) -> String {
        assert!(!self.status.success(), "it should have been refused, but: {}", self.stdout);
        self.stderr
    }
}

impl Cluster {
    pub fn new(kubeconfig: &Path, kubectl: &Path, cache: &Path) -> Self {
        Self { kubeconfig: kubeconfig.to_owned(), kubectl: kubectl.to_owned(), cache: cache.to_owned() }
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub fn kubectl_program(&self) -> &Path {
        &self.kubectl
    }

    /// A client with the kubeconfig's rights. Make one in each test: its connections end with the runtime they were made in.
    pub async fn client(&self) -> Client {
        crate::support::install_crypto_provider();
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).expect("a kubeconfig");
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a configuration");
        config.read_timeout = Some(Duration::from_secs(30));
        Client::try_from(config).expect("a client")
    }

    /// The same cluster seen with a ServiceAccount's rights and no others, for an hour.
    pub async fn as_service_account(&self, namespace: &str, name: &str) -> Self {
        let token = self.kubectl(&["create", "token", name, "-n", namespace]).await.succeeded();
        let text = std::fs::read_to_string(&self.kubeconfig).expect("a kubeconfig");
        let mut kubeconfig: serde_json::Value = serde_yaml::from_str(&text).expect("a kubeconfig");
        for user in kubeconfig["users"].as_array_mut().expect("users") {
            user["user"] = json!({"token": token.trim()});
        }
        let file = crate::support::folder::run().join(format!("kubeconfig-{namespace}-{name}"));
        std::fs::write(&file, format!("{kubeconfig:#}\n")).expect("write a kubeconfig");
        Self { kubeconfig: file, ..self.clone() }
    }

    pub async fn kubectl(&self, arguments: &[&str]) -> Output {
        self.kubectl_with_input(arguments, "").await
    }

    /// kubectl with `input` on its standard input, for `-f -`.
    pub async fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = tokio::process::Command::new(&self.kubectl)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", &self.cache)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl");
        let mut stdin = child.stdin.take().expect("a pipe");
        let write = async move { drop(stdin.write_all(input.as_bytes()).await) };
        let run = async { tokio::join!(write, child.wait_with_output()).1 };
        let output = tokio::time::timeout(KUBECTL, run).await;
        let output = output.unwrap_or_else(|_| panic!("kubectl {arguments:?} took longer than {KUBECTL:?}")).expect("kubectl's output");
        Output {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Makes a namespace that no other test uses.
    pub async fn fresh_namespace(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        // The process's id keeps two runs apart that share a cluster.
        let name = format!("t{}-{}", NEXT.fetch_add(1, Ordering::Relaxed), std::process::id());
        self.create_namespace(&name).await;
        name
    }

    pub async fn create_namespace(&self, name: &str) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let namespace: DynamicObject = serde_json::from_value(namespace).expect("a namespace");
        let api = self.api("v1", "Namespace", "").await;
        api.create(&PostParams::default(), &namespace).await.unwrap_or_else(|error| panic!("failed to create namespace {name}: {error}"));
    }

    /// Applies every file of `crds/` and waits until the API server serves them all. Without any there is nothing to wait for.
    pub async fn install_custom_resources(&self) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
        let files = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|extension| extension == "yaml")).collect();
        files.sort();
        let mut names = Vec::new();
        for file in files {
            let yaml = std::fs::read_to_string(&file).expect("a custom resource definition");
            names.extend(self.apply("", &yaml).await);
        }
        let definitions: Api<DynamicObject> = self.api("apiextensions.k8s.io/v1", "CustomResourceDefinition", "").await;
        for name in names {
            eventually(Duration::from_secs(30), &format!("{name} is established"), async || {
                let definition = definitions.get(&name).await.map_err(|error| error.to_string())?;
                let condition = super::resources::condition(&definition.data, "Established").unwrap_or_default();
                if condition["status"] == "True" { Ok(()) } else { Err(definition.data["status"].to_string()) }
            })
            .await;
        }
    }
}
