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

    /// Gives the installation a ClusterRole of its own, with the rights that all share, so that they can be taken away from it alone.
    pub async fn give_own_role(&self, system_namespace: &str) {
        let name = format!("mailroster-{system_namespace}");
        let mut role = self.get("ClusterRole", "", "mailroster").await.expect("the shared role");
        role["metadata"] = json!({"name": name});
        self.apply("", &role.to_string()).await;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("{name}-own")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": system_namespace}],
        });
        self.apply("", &binding.to_string()).await;
        self.delete("ClusterRoleBinding", "", &name).await;
    }

    /// Whether the installation may write statuses; it has a role of its own.
    pub async fn let_statuses_be_written(&self, system_namespace: &str, may: bool) {
        let shared = self.get("ClusterRole", "", "mailroster").await.expect("the shared role");
        let mut rules = shared["rules"].as_array().expect("rules").clone();
        let of_statuses = |rule: &Value| rule["resources"].as_array().is_some_and(|all| all.iter().any(|r| r == "aliaslinks/status"));
        assert!(rules.iter().any(of_statuses));
        rules.retain(|rule| may || !of_statuses(rule));
        self.patch("ClusterRole", "", &format!("mailroster-{system_namespace}"), &json!({"rules": rules})).await;
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
