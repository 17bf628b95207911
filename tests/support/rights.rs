//! The rights of the manifests, given to an installation of a test: what they lack is a real 403.

use super::cluster::Cluster;
use serde::Deserialize as _;
use serde_json::{Value, json};

/// The name of the controller's ServiceAccount.
pub const ACCOUNT: &str = "mailroster";

impl Cluster {
    /// Applies `manifests/rbac.yaml` for an installation in `system_namespace`, and returns the cluster as its ServiceAccount sees it.
    pub async fn install_rights(&self, system_namespace: &str) -> Self {
        let text = include_str!("../../manifests/rbac.yaml");
        for document in serde_yaml::Deserializer::from_str(text) {
            let mut document = Value::deserialize(document).expect("YAML");
            if document["kind"] == "ClusterRoleBinding" {
                // Installations side by side share the ClusterRole, not who is bound to it.
                document["metadata"]["name"] = json!(format!("mailroster-{system_namespace}"));
            }
            if let Some(namespace) = document.pointer_mut("/metadata/namespace") {
                *namespace = json!(system_namespace);
            }
            for subject in document.pointer_mut("/subjects").and_then(Value::as_array_mut).into_iter().flatten() {
                subject["namespace"] = json!(system_namespace);
            }
            self.apply(system_namespace, &document.to_string()).await;
        }
        self.as_service_account(system_namespace, ACCOUNT).await
    }

    /// What a tenant does to have passwords read: the RoleBinding that the manifests name.
    pub async fn let_secrets_be_read(&self, namespace: &str, system_namespace: &str) {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": format!("mailroster-secret-reader-{system_namespace}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "mailroster-secret-reader"},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": system_namespace}],
        });
        self.apply(namespace, &binding.to_string()).await;
    }
}
