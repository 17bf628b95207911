//! Asking the API server as people do. Every call may fail: the server may be away, frozen, or refuse.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::Cluster;
use crate::support::resources::API_VERSION;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use mailroster::model::Kind;
use serde_json::{Value, json};

const CALL: Duration = Duration::from_secs(10);

pub struct Resources {
    apis: BTreeMap<(String, String), Api<DynamicObject>>,
}

impl Resources {
    pub async fn new(cluster: &Cluster, namespaces: &[String], system: &str) -> Self {
        let mut apis = BTreeMap::new();
        for namespace in namespaces {
            for kind in Kind::ALL.map(Kind::as_str).into_iter().chain(["Secret"]) {
                apis.insert((kind.to_owned(), namespace.clone()), cluster.api_of(kind, namespace).await);
            }
        }
        apis.insert(("Lease".to_owned(), system.to_owned()), cluster.api_of("Lease", system).await);
        Self { apis }
    }

    fn api(&self, kind: &str, namespace: &str) -> &Api<DynamicObject> {
        &self.apis[&(kind.to_owned(), namespace.to_owned())]
    }

    /// Server-side apply of the whole spec.
    pub async fn apply(&self, kind: &str, namespace: &str, name: &str, spec: &Value) -> Result<(), String> {
        let object = json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec});
        self.apply_object(kind, namespace, name, &object).await
    }

    pub async fn apply_object(&self, kind: &str, namespace: &str, name: &str, object: &Value) -> Result<(), String> {
        let parameters = PatchParams::apply("soak").force();
        let patch = Patch::Apply(object);
        answer(self.api(kind, namespace).patch(name, &parameters, &patch)).await.map(drop)
    }

    pub async fn merge(&self, kind: &str, namespace: &str, name: &str, patch: &Value) -> Result<(), String> {
        answer(self.api(kind, namespace).patch(name, &PatchParams::default(), &Patch::Merge(patch))).await.map(drop)
    }

    /// A merge patch of what is there, else the object anew: a server-side apply keeps what others set.
    pub async fn merge_or_create(&self, kind: &str, namespace: &str, name: &str, object: &Value) -> Result<(), String> {
        match self.merge(kind, namespace, name, object).await {
            Err(error) if error.starts_with("404") => self.apply_object(kind, namespace, name, object).await,
            done => done,
        }
    }

    pub async fn annotate(&self, kind: &str, namespace: &str, name: &str, action: &str, token: &str) -> Result<(), String> {
        let patch = json!({"metadata": {"annotations": {format!("mailroster.dev/{action}"): token}}});
        self.merge(kind, namespace, name, &patch).await
    }

    pub async fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<(), String> {
        answer(self.api(kind, namespace).delete(name, &DeleteParams::default())).await.map(drop)
    }

    pub async fn get(&self, kind: &str, namespace: &str, name: &str) -> Result<Option<Value>, String> {
        let found = answer(self.api(kind, namespace).get_opt(name)).await?;
        Ok(found.map(|object| serde_json::to_value(object).expect("JSON")))
    }

    pub async fn list(&self, kind: &str, namespace: &str) -> Result<Vec<Value>, String> {
        let found = answer(self.api(kind, namespace).list(&ListParams::default())).await?;
        Ok(found.into_iter().map(|object| serde_json::to_value(object).expect("JSON")).collect())
    }

    /// All of our kinds in both namespaces.
    pub async fn list_all(&self) -> Result<Vec<(Kind, Value)>, String> {
        let mut all = Vec::new();
        for (kind, namespace) in self.apis.keys() {
            if let Ok(kind) = kind.parse::<Kind>() {
                all.extend(self.list(kind.as_str(), namespace).await?.into_iter().map(|object| (kind, object)));
            }
        }
        Ok(all)
    }
}

async fn answer<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(CALL, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) => Err(format!("{} {}", status.code, status.message.chars().take(90).collect::<String>())),
        Ok(Err(error)) => Err(error.to_string().chars().take(90).collect()),
        Err(_) => Err("no answer".to_owned()),
    }
}

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

pub fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

pub fn is_deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}
