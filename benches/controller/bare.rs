//! The bare loop that the controller is compared with: it watches, and applies one constant status to each resource that has none. It
//! decides nothing and stores nothing; what it costs is what the API server's own protocol costs.
//!
//! It runs as a process of its own (this program, started again with `bare-loop`), so that `/proc` tells its share.

use std::path::Path;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::stage;

/// Requests that are on their way at a time: as many as the controller's.
const IN_FLIGHT: usize = 64;
/// More than there ever are: the watch must never wait for the writers.
const ROOM: usize = 200_000;

/// `bare-loop KUBECONFIG NAMESPACE STATUS`: runs until it is killed.
pub async fn run(kubeconfig: &Path, namespace: &str, status: &Path) -> Result<()> {
    let status: Value = serde_json::from_str(&std::fs::read_to_string(status)?).context("a status")?;
    let watched = stage::slim_api(&stage::client(kubeconfig).await?, "EmailAddress", namespace);
    let written = stage::slim_api(&stage::client(kubeconfig).await?, "EmailAddress", namespace);
    let (todo, mut queue) = mpsc::channel(ROOM);
    let writing = async {
        let names = futures::stream::poll_fn(|context| queue.poll_recv(context));
        names
            .for_each_concurrent(IN_FLIGHT, async |(name, uid): (String, Option<String>)| {
                let body = json!({
                    "apiVersion": stage::API_VERSION, "kind": "EmailAddress", "metadata": {"name": name, "uid": uid}, "status": status,
                });
                let params = PatchParams::apply("bare-loop").force();
                if let Err(error) = written.patch_status(&name, &params, &Patch::Apply(&body)).await {
                    eprintln!("failed to apply a status to {name}: {error}");
                }
            })
            .await;
    };
    let watching = async {
        let mut stream = std::pin::pin!(watcher(watched, watcher::Config::default()).default_backoff());
        while let Some(event) = stream.next().await {
            match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) if object.status.conditions.is_empty() => {
                    let _full = todo.try_send((object.metadata.name.unwrap_or_default(), object.metadata.uid));
                }
                Ok(watcher::Event::InitDone) => println!("watching"),
                Ok(_) => {}
                Err(error) => eprintln!("the watch broke and begins anew: {error}"),
            }
        }
    };
    tokio::join!(writing, watching);
    Ok(())
}
