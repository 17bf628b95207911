//! The Kubernetes cluster, as a command reaches it: by the usual kubeconfig rules, or from within a pod.

use std::time::Duration;

use kube::{Client, Config};

use super::Failure;
use super::failure::OrFailed as _;

/// Requests have no read timeout unless one is set (DESIGN 5).
const READ: Duration = Duration::from_secs(30);

/// A client, and the namespace that its context or pod is in.
pub(super) async fn connect() -> Result<(Client, String), Failure> {
    let mut config = Config::infer().await.or_failed("find a cluster (KUBECONFIG, ~/.kube/config or a pod's ServiceAccount)")?;
    config.read_timeout = Some(READ);
    let namespace = config.default_namespace.clone();
    let client = Client::try_from(config).or_failed("make a client for the cluster")?;
    Ok((client, namespace))
}
