//! A client that watches: it knows when each condition of each resource became True, by its own clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::StreamExt as _;
use kube::api::{Api, ApiResource, ObjectMeta};
use kube::core::{DynamicResourceScope, Resource};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A resource as far as a watching client needs it: what else the API server sends is skipped while it is read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Slim {
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub status: Status,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    pub conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Condition {
    pub r#type: String,
    pub status: String,
}

impl Resource for Slim {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// When each condition became True: by type, then by resource.
type Since = HashMap<String, HashMap<String, Instant>>;

/// The watch and what it saw. It ends when this is dropped.
pub struct Watching {
    since: Arc<Mutex<Since>>,
    changed: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Watching {
    /// Watches one kind in one namespace, on a connection of its own.
    pub fn start(api: Api<Slim>) -> Self {
        let (since, changed) = (Arc::<Mutex<Since>>::default(), Arc::new(Notify::new()));
        let (board, bell) = (since.clone(), changed.clone());
        let task = tokio::spawn(async move {
            let mut stream = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
            while let Some(event) = stream.next().await {
                let now = Instant::now();
                match event {
                    Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => note(&board, object, now),
                    Ok(watcher::Event::Delete(object)) => forget(&board, &object),
                    Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
                    Err(error) => eprintln!("the watching client's watch broke and begins anew: {error}"),
                }
                bell.notify_waiters();
            }
        });
        Self { since, changed, task }
    }

    /// Waits until `count` resources have the condition; returns when the last of them got it.
    pub async fn until(&self, condition: &str, count: usize, deadline: Duration) -> Result<Instant> {
        self.wait(deadline, &format!("{count} resources have {condition}=True"), |since| {
            since.get(condition).filter(|all| all.len() >= count)?.values().max().copied()
        })
        .await
    }

    /// Waits until this resource has the condition; returns since when.
    pub async fn until_one(&self, name: &str, condition: &str, deadline: Duration) -> Result<Instant> {
        self.wait(deadline, &format!("{name} has {condition}=True"), |since| since.get(condition)?.get(name).copied()).await
    }

    /// How many resources have the condition now.
    pub fn count(&self, condition: &str) -> usize {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).get(condition).map_or(0, HashMap::len)
    }

    async fn wait(&self, deadline: Duration, what: &str, found: impl Fn(&Since) -> Option<Instant>) -> Result<Instant> {
        let end = Instant::now() + deadline;
        loop {
            let changed = self.changed.notified();
            if let Some(at) = found(&self.since.lock().unwrap_or_else(PoisonError::into_inner)) {
                return Ok(at);
            }
            if tokio::time::timeout(end.saturating_duration_since(Instant::now()), changed).await.is_err() {
                let seen = self.since.lock().unwrap_or_else(PoisonError::into_inner);
                let counts: Vec<_> = seen.iter().map(|(condition, all)| format!("{condition}: {}", all.len())).collect();
                bail!("not within {deadline:?}: {what}; True were {}", counts.join(", "));
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn note(board: &Mutex<Since>, object: Slim, now: Instant) {
    let Some(name) = object.metadata.name else { return };
    let mut since = board.lock().unwrap_or_else(PoisonError::into_inner);
    for condition in object.status.conditions {
        let all = since.entry(condition.r#type).or_default();
        if condition.status == "True" {
            all.entry(name.clone()).or_insert(now);
        } else {
            all.remove(&name);
        }
    }
}

fn forget(board: &Mutex<Since>, object: &Slim) {
    let Some(name) = &object.metadata.name else { return };
    for all in board.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
        all.remove(name);
    }
}
