//! What the API server has of a resource's status, kept small: digests to compare with, times to carry over.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::Timestamp;
use kube::api::ObjectMeta;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::model::ResourceKey;

/// Something a watch saw.
#[derive(Debug)]
pub enum Sighting {
    /// `decoded`: the shadow has the status. An object that does not decode shows nothing but its metadata.
    Seen {
        key: ResourceKey,
        shadow: Box<Shadow>,
        decoded: bool,
        wants_finalizer: bool,
        deleting: bool,
    },
    Gone(ResourceKey),
}

/// One resource as the API server last showed it.
#[derive(Debug, Clone, Default)]
pub struct Shadow {
    pub uid: String,
    pub version: String,
    pub finalizers: Vec<String>,
    /// Of all that must be told at once.
    pub hard: u64,
    /// Of the counts, which may wait a minute (SPEC P8, D3).
    pub soft: u64,
    /// By type: status, reason's digest and the time of its last transition.
    pub transitions: BTreeMap<String, (bool, u64, Timestamp)>,
    /// A domain's counts, to be kept while they are not counted anew.
    pub addresses: Option<Value>,
}

/// The parts of a status that only count.
const COUNTS: [&str; 2] = ["addresses", "heldMessages"];

pub fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Digests of a status without its transition times: of what is told at once, and of the counts.
pub fn digests(status: &Map<String, Value>) -> (u64, u64) {
    let mut hard = status.clone();
    let mut soft = String::new();
    for count in COUNTS {
        if let Some(value) = hard.remove(count) {
            soft.push_str(&value.to_string());
        }
    }
    for condition in hard.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(fields) = condition.as_object_mut() {
            fields.remove("lastTransitionTime");
        }
    }
    (digest(&Value::Object(hard).to_string()), digest(&soft))
}

impl Shadow {
    /// From metadata and a status in our own types, so that fields the served definition lacks are not compared (C3).
    pub fn of<T: Serialize>(meta: &ObjectMeta, status: Option<&T>) -> Self {
        let status = match status.and_then(|status| serde_json::to_value(status).ok()) {
            Some(Value::Object(status)) => status,
            _ => Map::new(),
        };
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            version: meta.resource_version.clone().unwrap_or_default(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
            ..Self::default()
        }
        .with_status(&status)
    }

    /// The same resource with another status.
    pub fn with_status(mut self, status: &Map<String, Value>) -> Self {
        (self.hard, self.soft) = digests(status);
        let text = |condition: &Value, field: &str| condition.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.transitions = status
            .get("conditions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|condition| {
                let time = text(condition, "lastTransitionTime").parse().unwrap_or(Timestamp::UNIX_EPOCH);
                (text(condition, "type"), (text(condition, "status") == "True", digest(&text(condition, "reason")), time))
            })
            .collect();
        self.addresses = status.get("addresses").cloned();
        self
    }

    /// The same resource with the status that was known before.
    pub fn with_status_of(self, other: &Self) -> Self {
        let Self { uid, version, finalizers, .. } = self;
        Self { uid, version, finalizers, ..other.clone() }
    }

    /// Whether this was seen before that: a watch may bring what a later answer has overtaken.
    pub fn is_older_than(&self, other: &Self) -> bool {
        let number = |version: &str| version.parse::<u64>().unwrap_or(0);
        self.uid == other.uid && number(&self.version) < number(&other.version)
    }
}
