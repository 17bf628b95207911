//! Where most tests of the controller play: two tenants, one database, one controller.

use crate::support::resources::{API_VERSION, condition};
use crate::support::{self, ControlPlane, Database, Operator};
use serde_json::Value;

pub struct Scene {
    pub cluster: &'static ControlPlane,
    pub database: Database,
    pub operator: Operator,
    /// The tenant in question.
    pub ours: String,
    /// Another tenant of the same controller.
    pub theirs: String,
}

impl Scene {
    pub async fn new() -> Self {
        let cluster = support::control_plane().await;
        let (ours, theirs) = (cluster.fresh_namespace().await, cluster.fresh_namespace().await);
        let database = support::fresh_database().await;
        let operator = Operator::start(&database, &[&ours, &theirs]).await;
        Self { cluster, database, operator, ours, theirs }
    }

    /// The same with a domain of ours in force.
    pub async fn with_domain(domain: &str) -> Self {
        let scene = Self::new().await;
        scene.cluster.apply(&scene.ours, &resource("InternalDomain", "acme", &format!("{{domain: {domain}}}"))).await;
        scene.cluster.wait_ready("InternalDomain", &scene.ours, "acme").await;
        scene
    }

    /// Applies EmailAddresses of ours, named as given, and waits until each is in force.
    pub async fn addresses(&self, addresses: &[(&str, &str)]) {
        let yaml: String =
            addresses.iter().map(|(name, address)| resource("EmailAddress", name, &format!("{{address: {address}}}"))).collect();
        self.cluster.apply(&self.ours, &yaml).await;
        for (name, _) in addresses {
            self.cluster.wait_ready("EmailAddress", &self.ours, name).await;
        }
    }

    /// Waits until the controller has planned something that was applied after all else: what did not follow by then does not.
    pub async fn something_else_happens(&self) {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("else-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let yaml = resource("InternalDomain", &name, &format!("{{domain: {name}.example}}"));
        self.cluster.apply(&self.theirs, &yaml).await;
        self.cluster.wait_ready("InternalDomain", &self.theirs, &name).await;
    }
}

/// One YAML document; `spec` in flow style.
pub fn resource(kind: &str, name: &str, spec: &str) -> String {
    format!("---\napiVersion: {API_VERSION}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// The message of Ready.
pub fn message(resource: &Value) -> String {
    condition(resource, "Ready").and_then(|ready| Some(ready["message"].as_str()?.to_owned())).unwrap_or_default()
}

/// True when the resource says that someone must act (SPEC C1).
pub fn stalled(resource: &Value) -> bool {
    condition(resource, "Stalled").is_some_and(|stalled| stalled["status"] == "True") && condition(resource, "Reconciling").is_none()
}

/// True when the resource says that it waits (SPEC C1).
pub fn reconciling(resource: &Value) -> bool {
    condition(resource, "Reconciling").is_some_and(|waits| waits["status"] == "True") && condition(resource, "Stalled").is_none()
}
