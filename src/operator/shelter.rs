//! What only the cluster knows of an end: whether it means anything, for its namespace or its kind may be ending too (SPEC U4), and whether
//! what no list has is really not there (U6).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::ObjectMeta;

use super::secrets::Secrets;
use super::watch::plural;
use super::write::api as resource_api;
use crate::api::names::GROUP;
use crate::engine::Surroundings;
use crate::model::{Kind, ResourceKey};

/// A question to the API server takes no longer than this.
const CALL: Duration = Duration::from_secs(5);
const SILENT: &str = "the API server did not answer in time";
/// Questions asked at a time.
const IN_FLIGHT: usize = 32;
/// How far the clocks of several API servers may be apart.
const CLOCKS: SignedDuration = SignedDuration::from_secs(10);

/// Asks the cluster, afresh for each batch that has ends in it: a watch could lag behind the very deletion it should explain.
pub struct Cluster {
    client: kube::Client,
    secrets: Secrets,
}

impl Cluster {
    pub fn new(client: kube::Client, secrets: Secrets) -> Self {
        Self { client, secrets }
    }

    async fn namespace(&self, name: &str) -> Result<Option<ObjectMeta>, String> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        living(tokio::time::timeout(CALL, api.get_metadata_opt(name)).await.map(|got| got.map(|o| o.map(|o| o.metadata))))
    }

    async fn definition(&self, kind: Kind) -> Result<Option<ObjectMeta>, String> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let name = format!("{}.{GROUP}", plural(kind));
        living(tokio::time::timeout(CALL, api.get_metadata_opt(&name)).await.map(|got| got.map(|o| o.map(|o| o.metadata))))
    }

    /// Whether a resource is not there, asked by name: the API server names it. Where the kind is not served it names nobody.
    async fn is_absent(&self, key: &ResourceKey) -> bool {
        let error = match tokio::time::timeout(CALL, resource_api(&self.client, key).get_metadata(&key.name)).await {
            Ok(Ok(_)) => return false,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 && status.details.as_ref().is_some_and(|d| d.name == key.name) => {
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => SILENT.to_owned(),
        };
        tracing::warn!(%key, error, "it can't be found out whether a resource is there; nothing follows from that");
        false
    }
}

/// What lives and may be seen. Ending, gone or forbidden: None, which shelters. No answer: nothing may be concluded.
fn living(answer: Result<Result<Option<ObjectMeta>, kube::Error>, tokio::time::error::Elapsed>) -> Result<Option<ObjectMeta>, String> {
    match answer {
        Ok(Ok(found)) => Ok(found.filter(|metadata| metadata.deletion_timestamp.is_none())),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Ok(None),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(SILENT.to_owned()),
    }
}

/// Whether a place shelters the end of what was made at that time: it ends itself, or is younger and so another than the one in which
/// the resource was made (a namespace or a definition that was deleted and made again).
fn shelters(place: Option<&ObjectMeta>, made: Timestamp) -> bool {
    place.is_none_or(|metadata| metadata.creation_timestamp.as_ref().is_some_and(|time| time.0.duration_since(made) > CLOCKS))
}

impl Surroundings for Cluster {
    async fn sheltered(&self, places: &BTreeMap<(Kind, String), Timestamp>) -> Result<Vec<(Kind, String)>, String> {
        let (mut kinds, mut namespaces) = (BTreeMap::new(), BTreeMap::new());
        let mut found = Vec::new();
        for ((kind, namespace), made) in places {
            if !kinds.contains_key(kind) {
                kinds.insert(*kind, self.definition(*kind).await?);
            }
            if !namespaces.contains_key(namespace) {
                namespaces.insert(namespace.clone(), self.namespace(namespace).await?);
            }
            let definition = kinds.get(kind).and_then(Option::as_ref);
            let home = namespaces.get(namespace).and_then(Option::as_ref);
            if shelters(definition, *made) || shelters(home, *made) {
                found.push((*kind, namespace.clone()));
            }
        }
        Ok(found)
    }

    async fn absent(&self, keys: &BTreeSet<ResourceKey>) -> BTreeSet<ResourceKey> {
        let asked = futures::stream::iter(keys.iter().cloned()).map(|key| async move {
            let absent = self.is_absent(&key).await;
            absent.then_some(key)
        });
        asked.buffer_unordered(IN_FLIGHT).filter_map(std::future::ready).collect().await
    }

    async fn namespace_uid(&self, name: &str) -> Result<Option<String>, String> {
        Ok(self.namespace(name).await?.and_then(|metadata| metadata.uid))
    }

    fn wants_secret(&self, namespace: &str, name: &str) {
        self.secrets.want(namespace, name);
    }
}
