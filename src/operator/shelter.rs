//! Whether the end of a resource means anything: not while its namespace or its kind is ending too (SPEC U4).

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;

use super::secrets::Secrets;
use super::watch::plural;
use crate::api::names::GROUP;
use crate::engine::Surroundings;
use crate::model::Kind;

/// A question to the API server takes no longer than this.
const CALL: Duration = Duration::from_secs(5);

/// Asks the cluster, afresh for each batch that has ends in it: a watch could lag behind the very deletion it should explain.
pub struct Cluster {
    client: kube::Client,
    secrets: Secrets,
}

impl Cluster {
    pub fn new(client: kube::Client, secrets: Secrets) -> Self {
        Self { client, secrets }
    }

    async fn namespace_ends(&self, name: &str) -> Result<bool, String> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        judge(tokio::time::timeout(CALL, api.get_metadata_opt(name)).await.map(|got| got.map(|o| o.map(|o| o.metadata))))
    }

    async fn kind_ends(&self, kind: Kind) -> Result<bool, String> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let name = format!("{}.{GROUP}", plural(kind));
        judge(tokio::time::timeout(CALL, api.get_metadata_opt(&name)).await.map(|got| got.map(|o| o.map(|o| o.metadata))))
    }
}

/// Ending, gone, or not to be seen: all shelter. No answer: nothing may be concluded.
fn judge(answer: Result<Result<Option<kube::api::ObjectMeta>, kube::Error>, tokio::time::error::Elapsed>) -> Result<bool, String> {
    match answer {
        Ok(Ok(Some(metadata))) => Ok(metadata.deletion_timestamp.is_some()),
        Ok(Ok(None)) => Ok(true),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Ok(true),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the API server did not answer in time".to_owned()),
    }
}

impl Surroundings for Cluster {
    async fn sheltered(&self, places: &[(Kind, String)]) -> Result<Vec<(Kind, String)>, String> {
        let (mut kinds, mut namespaces) = (BTreeMap::new(), BTreeMap::new());
        let mut found = Vec::new();
        for (kind, namespace) in places {
            if !kinds.contains_key(kind) {
                kinds.insert(*kind, self.kind_ends(*kind).await?);
            }
            if !namespaces.contains_key(namespace) {
                namespaces.insert(namespace.clone(), self.namespace_ends(namespace).await?);
            }
            if kinds.get(kind) == Some(&true) || namespaces.get(namespace) == Some(&true) {
                found.push((*kind, namespace.clone()));
            }
        }
        Ok(found)
    }

    fn wants_secret(&self, namespace: &str, name: &str) {
        self.secrets.want(namespace, name);
    }
}
