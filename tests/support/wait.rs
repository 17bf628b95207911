//! Waiting for conditions, never for time: each wait has a deadline and tells what it last saw.

use super::cluster::Cluster;
use super::process::POLL;
use super::resources::condition;
use serde_json::Value;
use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long a resource may take to reach a state. Far more than it needs, and longer than the store may take for one call, which is a minute: a
/// busy machine is no failure, a wrong state is.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// What a poll may answer: the value waited for, or what it saw instead.
pub trait Seen<T> {
    fn seen(self) -> Result<T, String>;
}

impl<T, E: Debug> Seen<T> for Result<T, E> {
    fn seen(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:#?}"))
    }
}

impl<T> Seen<T> for Option<T> {
    fn seen(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

/// Polls until it holds; panics with `what` and the last state seen when it does not within the deadline.
pub async fn eventually<T, S: Seen<T>>(deadline: Duration, what: &str, mut poll: impl AsyncFnMut() -> S) -> T {
    let end = Instant::now() + deadline;
    let mut last = String::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        // The deadline cuts off a poll that hangs, too.
        match tokio::time::timeout(left, poll()).await {
            Ok(answer) => match answer.seen() {
                Ok(value) => return value,
                Err(seen) => last = seen,
            },
            Err(_) if last.is_empty() => "no answer".clone_into(&mut last),
            Err(_) => {}
        }
        assert!(Instant::now() < end, "not within {deadline:?}: {what}; last seen: {last}");
        tokio::time::sleep(POLL).await;
    }
}

impl Cluster {
    /// Waits until the resource satisfies `holds`, and returns it.
    pub async fn wait_until(&self, kind: &str, namespace: &str, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let api = self.api_of(kind, namespace).await;
        eventually(PATIENCE, &format!("{kind} {namespace}/{name}: {what}"), async || {
            let found = api.get_opt(name).await.map_err(|error| error.to_string())?;
            let found = found.and_then(|object| serde_json::to_value(object).ok()).ok_or("no such resource")?;
            if holds(&found) { Ok(found) } else { Err(format!("{:#}", found["status"])) }
        })
        .await
    }

    /// Waits until a condition has that status for the generation that is declared now.
    pub async fn wait_condition(&self, kind: &str, namespace: &str, name: &str, condition_type: &str, status: &str) -> Value {
        self.wait_until(kind, namespace, name, &format!("{condition_type}={status}"), |resource| {
            current(resource, condition_type).is_some_and(|condition| condition["status"] == status)
        })
        .await
    }

    pub async fn wait_ready(&self, kind: &str, namespace: &str, name: &str) -> Value {
        self.wait_condition(kind, namespace, name, "Ready", "True").await
    }

    /// Waits until Ready has that reason for the generation that is declared now.
    pub async fn wait_reason(&self, kind: &str, namespace: &str, name: &str, reason: &str) -> Value {
        self.wait_until(kind, namespace, name, &format!("Ready with reason {reason}"), |resource| {
            current(resource, "Ready").is_some_and(|condition| condition["reason"] == reason)
        })
        .await
    }

    pub async fn wait_gone(&self, kind: &str, namespace: &str, name: &str) {
        let api = self.api_of(kind, namespace).await;
        eventually(PATIENCE, &format!("{kind} {namespace}/{name} is gone"), async || match api.get_opt(name).await {
            Ok(None) => Ok(()),
            Ok(Some(object)) => Err(format!("{:#} {:#}", serde_json::to_value(object.metadata).unwrap_or_default(), object.data["status"])),
            Err(error) => Err(error.to_string()),
        })
        .await;
    }

    /// Waits for an Event about `name` with that reason; returns its text.
    pub async fn wait_event(&self, namespace: &str, name: &str, reason: &str) -> String {
        let api = self.api_of("Event", namespace).await;
        eventually(PATIENCE, &format!("an Event {reason} about {name}"), async || {
            let events = api.list(&kube::api::ListParams::default()).await.map_err(|error| error.to_string())?;
            let mut seen = Vec::new();
            for event in events {
                let about = event.data["involvedObject"]["name"].as_str().unwrap_or_default();
                let text = event.data["message"].as_str().unwrap_or_default();
                if about == name && event.data["reason"] == reason {
                    return Ok(text.to_owned());
                }
                seen.push(format!("{about}: {} {text}", event.data["reason"]));
            }
            Err(seen.join("; "))
        })
        .await
    }
}

/// The condition, unless it speaks of an older generation than the declared one.
fn current(resource: &Value, condition_type: &str) -> Option<Value> {
    let declared = &resource["metadata"]["generation"];
    condition(resource, condition_type).filter(|condition| &condition["observedGeneration"] == declared)
}
