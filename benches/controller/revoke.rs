//! From the DELETE of a DelegateMailbox to the right's end in Postgres (SPEC M2): alone, and while much else is to be done.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kube::Client;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::passwords;
use crate::report::{Row, milliseconds, percentile};
use crate::stage::{self, API_VERSION, DOMAIN, Stage, Tenant};
use crate::watching::Watching;

/// Fewer revocations while there was load tell nothing.
const FEWEST: usize = 10;
const STANDS: &str = "SELECT EXISTS (SELECT FROM gateway.archive_reader_v1 WHERE reader = $1 AND mailbox = $2)";

pub async fn measure(stage: &mut Stage) -> Result<Vec<Row>> {
    let (samples, resources) = (stage.scale.samples, stage.scale.resources);
    let tenant = stage.standing().await?;
    let mut rights = Rights::grant(tenant, samples * 2).await?;

    let mut idle = Vec::with_capacity(samples);
    for number in 0..samples {
        idle.push(rights.revoke().await?);
        stage::drift(number).await;
    }

    // Addresses without passwords, and a fifth as many with one.
    passwords::secrets(tenant, "load", resources / 5).await?;
    let (numbers, named) = (tenant.count..tenant.count + resources, 0..resources / 5);
    let load = numbers.map(stage::address).chain(named.map(|number| passwords::address("load", number)));
    let (ready, hashed) = (tenant.count + resources, tenant.addresses.count("CredentialReady") + resources / 5);
    let begun = Instant::now();
    let loading = async {
        stage::create(tenant.cluster.kubeconfig(), &tenant.namespace, load).await?;
        tenant.addresses.until("Ready", ready + resources / 5, stage::LONG).await?;
        tenant.addresses.until("CredentialReady", hashed, stage::LONG).await
    };
    let mut loading = std::pin::pin!(loading);
    let mut loaded = Vec::new();
    let ended = loop {
        tokio::select! {
            ended = &mut loading => break ended?,
            took = rights.revoke_in_a_while(), if rights.left() > 0 => loaded.push(took?),
        }
    };
    tenant.count += resources + resources / 5;
    ensure!(loaded.len() >= FEWEST, "the load was over after {} revocations", loaded.len());

    let (middle, high) = (percentile(&idle, 0.5), percentile(&idle, 0.99));
    let (middle_loaded, high_loaded) = (percentile(&loaded, 0.5), percentile(&loaded, 0.99));
    let load = format!("while {resources} addresses converge and {} passwords are hashed", resources / 5);
    Ok(vec![
        Row::told(format!("delegation revoked, p50 of {samples}"), milliseconds(middle)),
        Row::told("delegation revoked, p99", milliseconds(high)).wanted("under 150 ms", high < Duration::from_millis(150)),
        Row::told(format!("delegation revoked {load}, p50 of {}", loaded.len()), milliseconds(middle_loaded)),
        Row::told("delegation revoked under that load, p99", milliseconds(high_loaded))
            .wanted("under 2 s", high_loaded < Duration::from_secs(2)),
        Row::told("of which until the API server had answered the DELETE, p99", rights.answered(loaded.len())),
        Row::told("that load took", crate::report::seconds(ended.duration_since(begun))),
    ])
}

/// Delegations in force, to be revoked one by one.
pub struct Rights {
    client: Client,
    namespace: String,
    archive: PgConnection,
    next: usize,
    end: usize,
    /// How long the API server took to answer each DELETE: that part is not ours.
    answered: Vec<Duration>,
}

impl Rights {
    /// Grants `count` more delegations and waits until they are in force.
    pub async fn grant(tenant: &mut Tenant, count: usize) -> Result<Self> {
        let client = stage::client(tenant.cluster.kubeconfig()).await?;
        let (next, end) = (tenant.delegations, tenant.delegations + count);
        tenant.delegations = end;
        let watching = Watching::start(stage::slim_api(&client, "DelegateMailbox", &tenant.namespace));
        stage::create(tenant.cluster.kubeconfig(), &tenant.namespace, (next..end).map(delegation)).await?;
        watching.until("Ready", count, stage::LONG).await?;
        let archive = PgConnection::connect_with(&tenant.database.options_as("mailroster_archive")).await?;
        Ok(Self { client, namespace: tenant.namespace.clone(), archive, next, end, answered: Vec::new() })
    }

    pub fn left(&self) -> usize {
        self.end - self.next
    }

    /// How long the API server took at the 99th percentile of the latest so many requests.
    pub fn answered(&self, latest: usize) -> String {
        milliseconds(percentile(self.answered.get(self.answered.len().saturating_sub(latest)..).unwrap_or_default(), 0.99))
    }

    /// Revokes the next; returns how long its right outlived the request.
    pub async fn revoke(&mut self) -> Result<Duration> {
        let number = self.next;
        self.next += 1;
        let stands = async |archive: &mut PgConnection| {
            let [reader, mailbox] = pair(number);
            sqlx::query_scalar::<_, bool>(STANDS).bind(reader).bind(mailbox).fetch_one(archive).await
        };
        ensure!(stands(&mut self.archive).await?, "the delegation {number} is not in force");
        let path = format!("/apis/{API_VERSION}/namespaces/{}/delegatemailboxes/grant{number}", self.namespace);
        let request = http::Request::delete(path).body(Vec::new())?;
        let begun = Instant::now();
        let client = self.client.clone();
        let asked = tokio::spawn(async move { client.request_text(request).await.map(|_| begun.elapsed()) });
        while stands(&mut self.archive).await? {
            ensure!(begun.elapsed() < stage::LONG, "the delegation {number} stays in force");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let took = begun.elapsed();
        self.answered.push(asked.await?.context("failed to delete a DelegateMailbox")?);
        Ok(took)
    }

    /// The same after a pause, so that the samples are spread over whatever goes on.
    pub async fn revoke_in_a_while(&mut self) -> Result<Duration> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.revoke().await
    }
}

fn pair(number: usize) -> [String; 2] {
    // Readers and mailboxes apart, as people and shared mailboxes are.
    [number * 2, number * 2 + 1].map(|number| format!("{}@{DOMAIN}", stage::name(number)))
}

fn delegation(number: usize) -> Value {
    let [reader, mailbox] = pair(number);
    json!({
        "apiVersion": API_VERSION, "kind": "DelegateMailbox", "metadata": {"name": format!("grant{number}")},
        "spec": {"reader": reader, "mailbox": mailbox},
    })
}
