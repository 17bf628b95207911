//! What the acts need in the cluster, and what of it is ours to take away again.

use crate::stage::{Stage, act};
use crate::support::Cluster;
use crate::{RIVAL, SYSTEM, TENANT};
use anyhow::{Result, ensure};

pub struct Props {
    /// The cluster had no custom resource of ours before.
    installed_definitions: bool,
}

impl Props {
    /// Makes the namespaces and, where there are none, the custom resources. A namespace that exists is somebody's: then it refuses.
    pub async fn set_up(stage: &Stage, cluster: &Cluster) -> Result<Self> {
        for namespace in [TENANT, RIVAL, SYSTEM] {
            let (exists, _) = stage.try_run(&format!("kubectl get namespace {namespace}")).await?;
            ensure!(
                !exists,
                "namespace {namespace} exists in this cluster already; the demo makes and deletes it, so it won't touch yours"
            );
        }
        let (listed, definitions) = stage.try_run("kubectl get customresourcedefinitions -o name").await?;
        ensure!(listed, "failed to list the cluster's custom resources: {definitions}");
        let installed_definitions = !definitions.contains(".mailroster.dev");
        if installed_definitions {
            cluster.install_custom_resources().await;
        }
        for namespace in [TENANT, RIVAL, SYSTEM] {
            cluster.create_namespace(namespace).await;
        }
        Ok(Self { installed_definitions })
    }

    pub async fn tidy_up(&self, stage: &Stage) -> Result<()> {
        act("Taking away what the demo made in this cluster");
        stage.run(&format!("kubectl delete namespace {TENANT} {RIVAL} {SYSTEM} --timeout=120s")).await?;
        if self.installed_definitions {
            stage.run("kubectl delete -f crds --timeout=60s").await?;
        }
        Ok(())
    }
}
