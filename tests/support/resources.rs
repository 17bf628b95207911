//! Reading and writing resources as plain JSON, by kind: a test shows what a user writes and sees, not our own types.

use super::cluster::Cluster;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde::Deserialize as _;
use serde_json::{Value, json};

pub const API_VERSION: &str = "mailroster.dev/v1alpha1";

/// The kinds outside our group that tests ask for by kind alone.
const OTHERS: [(&str, &str); 10] = [
    ("v1", "ConfigMap"),
    ("v1", "Event"),
    ("v1", "Namespace"),
    ("v1", "Secret"),
    ("v1", "ServiceAccount"),
    ("coordination.k8s.io/v1", "Lease"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
];

/// The kinds that belong to no namespace.
const CLUSTER_WIDE: [&str; 7] = [
    "APIService",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "Namespace",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

impl Cluster {
    /// The interface for one kind; `namespace` is ignored where the kind has none.
    pub async fn api(&self, api_version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        api(self.client().await, api_version, kind, namespace)
    }

    /// The same by kind alone.
    pub async fn api_of(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let api_version = OTHERS.iter().find(|(_, other)| *other == kind).map_or(API_VERSION, |(api_version, _)| api_version);
        self.api(api_version, kind, namespace).await
    }

    /// The resource as the API server shows it; None when there is none of that name.
    pub async fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let found = self.api_of(kind, namespace).await.get_opt(name).await;
        found.unwrap_or_else(|error| panic!("failed to get {kind} {namespace}/{name}: {error}")).map(value)
    }

    /// All of a kind in a namespace.
    pub async fn list(&self, kind: &str, namespace: &str) -> Vec<Value> {
        let found = self.api_of(kind, namespace).await.list(&kube::api::ListParams::default()).await;
        found.unwrap_or_else(|error| panic!("failed to list {kind} in {namespace}: {error}")).into_iter().map(value).collect()
    }

    /// Server-side apply of all documents of `yaml` as manager "test"; returns their names. What names no namespace goes into
    /// `namespace`.
    pub async fn apply(&self, namespace: &str, yaml: &str) -> Vec<String> {
        self.try_apply(namespace, yaml).await.unwrap_or_else(|error| panic!("failed to apply: {error}\n{yaml}"))
    }

    /// The same for what the API server may refuse; the first refusal ends it.
    pub async fn try_apply(&self, namespace: &str, yaml: &str) -> Result<Vec<String>, kube::Error> {
        let client = self.client().await;
        let mut names = Vec::new();
        for document in serde_yaml::Deserializer::from_str(yaml) {
            let document = Value::deserialize(document).unwrap_or_else(|error| panic!("not YAML: {error}\n{yaml}"));
            if document.is_null() {
                continue;
            }
            let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
            let name = text(&document["metadata"]["name"]);
            let own = text(&document["metadata"]["namespace"]);
            let namespace = if own.is_empty() { namespace } else { &own };
            let api = api(client.clone(), &text(&document["apiVersion"]), &text(&document["kind"]), namespace);
            api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(&document)).await?;
            names.push(name);
        }
        Ok(names)
    }

    /// A merge patch, as `kubectl patch --type=merge`.
    pub async fn patch(&self, kind: &str, namespace: &str, name: &str, patch: &Value) -> Value {
        let patched = self.api_of(kind, namespace).await.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        value(patched.unwrap_or_else(|error| panic!("failed to patch {kind} {namespace}/{name}: {error}")))
    }

    /// Sets an annotation: how people ask for actions (SPEC C6).
    pub async fn annotate(&self, kind: &str, namespace: &str, name: &str, annotation: &str, token: &str) -> Value {
        self.patch(kind, namespace, name, &json!({"metadata": {"annotations": {annotation: token}}})).await
    }

    /// Asks for deletion; finalizers may keep the resource for a while (`wait_gone`).
    pub async fn delete(&self, kind: &str, namespace: &str, name: &str) {
        let deleted = self.api_of(kind, namespace).await.delete(name, &DeleteParams::default()).await;
        deleted.unwrap_or_else(|error| panic!("failed to delete {kind} {namespace}/{name}: {error}"));
    }
}

/// The condition of that type, from a resource as JSON.
pub fn condition(resource: &Value, condition_type: &str) -> Option<Value> {
    resource["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == condition_type).cloned()
}

fn api(client: kube::Client, api_version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind_of_group = GroupVersionKind::gvk(group, version, kind);
    let resource = match kind {
        // The one plural of ours that does not follow from the kind.
        "AccountSettings" => ApiResource::from_gvk_with_plural(&kind_of_group, "accountsettings"),
        _ => ApiResource::from_gvk(&kind_of_group),
    };
    if CLUSTER_WIDE.contains(&kind) {
        Api::all_with(client, &resource)
    } else {
        assert!(!namespace.is_empty(), "a {kind} needs a namespace");
        Api::namespaced_with(client, namespace, &resource)
    }
}

fn value(object: DynamicObject) -> Value {
    serde_json::to_value(object).expect("JSON")
}
