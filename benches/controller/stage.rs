//! The real servers that measurements run on, and tenants on them: a namespace, a database, the controller, a client that watches.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use kube::api::{Api, ApiResource};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::process::{self, Memory};
use crate::support::operator::Settings;
use crate::support::postgres::{DURABLE, Postgres};
use crate::support::resources::condition;
use crate::support::{self, ControlPlane, Database, Operator, eventually, folder};
use crate::watching::{Slim, Watching};

pub use crate::support::resources::API_VERSION;

/// Requests that the creating client has on their way at a time.
pub const IN_FLIGHT: usize = 64;
/// For what takes seconds.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// For what takes minutes on a busy machine.
pub const LONG: Duration = Duration::from_mins(20);
/// The tenant's one domain.
pub const DOMAIN: &str = "acme.example";

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Resources in the measurements that the targets speak of.
    pub resources: usize,
    /// Runs of which the median is taken.
    pub runs: usize,
    /// Single events whose percentiles are taken.
    pub samples: usize,
    /// A look at whether everything runs: the figures prove nothing.
    pub quick: bool,
    /// Also with five times as many resources.
    pub long: bool,
}

/// The servers, and the tenant that stands from one measurement to the next.
pub struct Stage {
    pub cluster: &'static ControlPlane,
    postgres: Postgres,
    pub scale: Scale,
    standing: Option<Tenant>,
}

impl Stage {
    pub async fn set_up(scale: Scale) -> Self {
        let (cluster, postgres) = tokio::join!(support::control_plane(), Postgres::start_with(folder::run(), &DURABLE));
        Self { cluster, postgres, scale, standing: None }
    }

    /// A namespace, an empty database and a controller of their own, with [`DOMAIN`] in force.
    pub async fn tenant(&self) -> Result<Tenant> {
        let (namespace, database) = tokio::join!(self.cluster.fresh_namespace(), self.postgres.fresh_database());
        let settings = Settings::new(self.cluster, &database, &[&namespace]).await;
        let operator = Operator::try_start_with(settings).await.map_err(anyhow::Error::msg)?;
        let client = client(self.cluster.kubeconfig()).await?;
        let addresses = Watching::start(slim_api(&client, "EmailAddress", &namespace));
        let mut tenant =
            Tenant { cluster: self.cluster, namespace, database, operator, addresses, at_start: None, count: 0, delegations: 0 };
        let domain = json!({"apiVersion": API_VERSION, "kind": "InternalDomain", "metadata": {"name": "acme"}, "spec": {"domain": DOMAIN}});
        tenant.cluster.apply(&tenant.namespace, &domain.to_string()).await;
        tenant.cluster.wait_ready("InternalDomain", &tenant.namespace, "acme").await;
        process::quiet(tenant.operator.pid()).await?;
        tenant.at_start = Some(process::memory(tenant.operator.pid())?);
        Ok(tenant)
    }

    /// The tenant with `scale.resources` addresses in force; made when no measurement has left one.
    pub async fn standing(&mut self) -> Result<&mut Tenant> {
        if self.standing.is_none() {
            let mut tenant = self.tenant().await?;
            tenant.converge(self.scale.resources).await?;
            process::quiet(tenant.operator.pid()).await?;
            self.standing = Some(tenant);
        }
        self.standing.as_mut().context("a standing tenant")
    }

    /// An empty database, migrated.
    pub async fn a_database(&self) -> Database {
        self.postgres.fresh_database().await
    }

    /// Leaves a tenant for measurements to come.
    pub fn leave(&mut self, tenant: Tenant) {
        self.standing = Some(tenant);
    }
}

pub struct Tenant {
    pub cluster: &'static ControlPlane,
    pub namespace: String,
    pub database: Database,
    pub operator: Operator,
    /// A client that watches the EmailAddresses.
    pub addresses: Watching,
    /// What the controller held with one domain and nothing else.
    pub at_start: Option<Memory>,
    /// How many addresses it has.
    pub count: usize,
    /// How many delegations it ever had.
    pub delegations: usize,
}

impl Tenant {
    /// Creates `count` more addresses and waits until the last is Ready and in force in Postgres; returns how long that took.
    pub async fn converge(&mut self, count: usize) -> Result<Duration> {
        let numbers = self.count..self.count + count;
        self.count += count;
        let began = Instant::now();
        create(self.cluster.kubeconfig(), &self.namespace, numbers.map(address)).await?;
        let ended = self.addresses.until("Ready", self.count, LONG).await?;
        let in_force = self.database.text("SELECT count(*) FROM mailroster.address WHERE owner IS NOT NULL").await;
        ensure!(in_force == self.count.to_string(), "{in_force} of {} addresses are in the store", self.count);
        Ok(ended.duration_since(began))
    }

    /// A status as this controller writes it: the bare loop writes the same.
    pub async fn status_of_an_address(&self) -> Result<Value> {
        let address = self.cluster.get("EmailAddress", &self.namespace, &name(0)).await.context("the first address")?;
        ensure!(condition(&address, "Ready").is_some_and(|ready| ready["status"] == "True"), "it is not Ready: {}", address["status"]);
        Ok(address["status"].clone())
    }

    /// Waits until the log has a line with these words behind the first `from` bytes; returns the line.
    pub async fn logged(&self, from: usize, words: &str) -> String {
        eventually(PATIENCE, &format!("the log says {words:?}"), async || {
            let log = self.operator.log();
            let new = log.get(from..).unwrap_or_default();
            let line = new.lines().find(|line| line.contains(words)).map(str::to_owned);
            line.ok_or_else(|| self.operator.tail())
        })
        .await
    }
}

/// The name of the address with that number.
pub fn name(number: usize) -> String {
    format!("desk{number}")
}

/// The resource with that number.
pub fn address(number: usize) -> Value {
    let name = name(number);
    json!({
        "apiVersion": API_VERSION, "kind": "EmailAddress", "metadata": {"name": name},
        "spec": {
            "address": format!("{name}@{DOMAIN}"), "displayName": format!("Desk {number}"),
            "attributes": {"department": "Sales", "site": "Utrecht"},
        },
    })
}

/// Creates resources of our kinds as a client at [`IN_FLIGHT`] does, which does not look into the answers.
pub async fn create(kubeconfig: &Path, namespace: &str, resources: impl Iterator<Item = Value>) -> Result<()> {
    let client = client(kubeconfig).await?;
    let send = async |resource: Value| {
        let plural = match resource["kind"].as_str() {
            Some("DelegateMailbox") => "delegatemailboxes",
            _ => "emailaddresses",
        };
        let path = format!("/apis/{API_VERSION}/namespaces/{namespace}/{plural}?fieldManager=bench");
        let request = http::Request::post(path).header("content-type", "application/json").body(serde_json::to_vec(&resource)?)?;
        client.request_text(request).await?;
        anyhow::Ok(())
    };
    let mut created = futures::stream::iter(resources.map(send)).buffer_unordered(IN_FLIGHT);
    while let Some(created) = created.next().await {
        created.context("failed to create a resource")?;
    }
    Ok(())
}

/// A client with connections of its own and the rights of that kubeconfig.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    support::install_crypto_provider();
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// The interface for one of our kinds, of which only metadata and conditions are read.
pub fn slim_api(client: &Client, kind: &str, namespace: &str) -> Api<Slim> {
    let (group, version) = API_VERSION.split_once('/').unwrap_or_default();
    let kind = GroupVersionKind::gvk(group, version, kind);
    let resource = match kind.kind.as_str() {
        // The one plural of ours that does not follow from the kind.
        "AccountSettings" => ApiResource::from_gvk_with_plural(&kind, "accountsettings"),
        _ => ApiResource::from_gvk(&kind),
    };
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// A pause of another length each time, up to 50 ms, so that samples do not fall into step with anybody's timers.
pub async fn drift(number: usize) {
    tokio::time::sleep(Duration::from_millis(number as u64 * 37 % 50)).await;
}
