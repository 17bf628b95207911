//! One resource's writes: its status, the Events of what changed, its finalizers, in this order. What a failure means is judged
//! elsewhere ([`super::retry`]), and nothing is written without standing ([`super::standing`]).

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, DynamicObject, Patch, PatchParams, Request};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::metrics::{Ended, Metrics};
use super::render::Told;
use super::retry::Failure;
use super::shadow::Shadow;
use super::standing::Standing;
use super::status::{Digests, Status};
use super::watch::plural;
use crate::api::names;
use crate::model::ResourceKey;
use crate::plan::Note;
use crate::plan::reason::Reason;

/// A write that takes longer has failed.
const CALL: Duration = Duration::from_secs(15);

/// Events that are remembered at the most.
const REMEMBERED: usize = 256;

/// How to write. Clones share the connections.
#[derive(Clone)]
pub struct Pen {
    client: kube::Client,
    recorders: Arc<Mutex<BTreeMap<EventText, Recorder>>>,
    pub metrics: Metrics,
    standing: Standing,
}

/// An Event's resource, reason and message.
type EventText = (ResourceKey, &'static str, String);

/// One resource's writes, prepared.
pub struct Write {
    pub key: ResourceKey,
    pub shadow: Shadow,
    pub status: Option<NewStatus>,
    /// Some(true): our finalizer goes on; Some(false): off. With it the finalizers that come of it.
    pub finalizer: Option<bool>,
    pub finalizers: Option<Vec<String>>,
    pub notes: Vec<Note>,
}

/// A status to be written, what tells it from others, and the Events that it is worth.
pub struct NewStatus {
    pub status: Status,
    pub digests: Digests,
    pub told: Vec<Told>,
}

/// A write that came back.
pub struct Done {
    pub key: ResourceKey,
    /// The resource as it was known to be in the end: with what was written of it.
    pub shadow: Shadow,
    /// Whether any of it was written.
    pub written: bool,
    /// Digests of the status, if it was written.
    pub wrote: Option<Digests>,
    /// What was to be done besides the status, and is still to be done when it failed.
    pub finalizer: Option<bool>,
    pub notes: Vec<Note>,
    pub failed: Option<Failed>,
}

/// What did not come through.
pub struct Failed {
    pub failure: Failure,
    pub error: String,
}

fn recorder(client: &kube::Client) -> Recorder {
    let reporter = Reporter { controller: "mailroster".to_owned(), instance: Some(super::lease::holder()) };
    Recorder::new(client.clone(), reporter)
}

impl Pen {
    pub fn new(client: kube::Client, metrics: Metrics, standing: Standing) -> Self {
        Self { client, recorders: Arc::default(), metrics, standing }
    }

    /// Who publishes an Event. A Recorder remembers each for minutes, to count repetitions in place of telling them again, and takes for a
    /// repetition whatever has the same reason: each message has a Recorder of its own, or only the first of two runs would be told of.
    fn recorder(&self, text: EventText) -> Recorder {
        let mut recorders = self.recorders.lock().unwrap_or_else(PoisonError::into_inner);
        if recorders.len() >= REMEMBERED {
            recorders.clear();
        }
        recorders.entry(text).or_insert_with(|| recorder(&self.client)).clone()
    }

    /// A call with its deadline, for as long as this process may write. When it may not, it is about to end, or its Lease was renewed late
    /// and it goes on: then what was not written is tried again like anything else.
    async fn call<T>(
        &self,
        verb: &'static str,
        kind: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Failed> {
        let began = Instant::now();
        let silence = |error: &str| Err(Failed { failure: Failure::SILENCE, error: error.to_owned() });
        let answer = match self.standing.lend(tokio::time::timeout(CALL, call)).await {
            Some(Ok(answer)) => answer.map_err(|error| Failed { failure: Failure::of(&error), error: error.to_string() }),
            Some(Err(_)) => silence("no answer in time"),
            None => silence("the Lease was not renewed in time"),
        };
        self.metrics.api_call(verb, kind, began.elapsed(), answer.is_err());
        answer
    }

    /// A patch of one resource, of whose answer nothing is decoded but the new resourceVersion.
    async fn patch<T: Serialize>(
        &self,
        key: &ResourceKey,
        subresource: Option<&str>,
        params: &PatchParams,
        patch: &Patch<T>,
    ) -> Result<Box<str>, kube::Error> {
        #[derive(Deserialize)]
        struct Answer {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            resource_version: Box<str>,
        }
        let request = Request::new(<DynamicObject as kube::Resource>::url_path(&api_resource(key), Some(&key.namespace)));
        let request = match subresource {
            Some(subresource) => request.patch_subresource(subresource, &key.name, params, patch),
            None => request.patch(&key.name, params, patch),
        };
        let answer: Answer = self.client.request(request.map_err(kube::Error::BuildRequest)?).await?;
        Ok(answer.metadata.resource_version)
    }

    async fn publish(&self, write: &Write, reason: Reason, message: &str, warning: bool) {
        let reference = ObjectReference {
            api_version: Some(names::API_VERSION.to_owned()),
            kind: Some(write.key.kind.as_str().to_owned()),
            namespace: Some(write.key.namespace.clone()),
            name: Some(write.key.name.clone()),
            uid: Some(write.shadow.uid.to_string()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_string(),
            note: Some(message.chars().take(1_000).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        self.metrics.event(reason.as_str(), warning);
        if reason == Reason::LastSuperAdministratorKept {
            self.metrics.last_super_kept();
        }
        let recorder = self.recorder((write.key.clone(), reason.as_str(), message.to_owned()));
        if let Err(failed) = self.call("publish", "Event", recorder.publish(&event, &reference)).await {
            tracing::debug!(error = failed.error, "an event could not be published");
        }
    }
}

impl Write {
    pub async fn carry_out(mut self, pen: Pen) -> Done {
        let (mut wrote, mut written, mut failed) = (None, false, None);
        if let Some(new) = self.status.take() {
            crate::fault::reach("status");
            match self.write_status(&pen, &new).await {
                Ok(()) => {
                    (wrote, written) = (Some(new.digests), true);
                    crate::fault::reach("status-written");
                    for told in new.told {
                        pen.publish(&self, told.reason, &told.message, told.warning).await;
                    }
                }
                Err(failure) => failed = Some(failure),
            }
        }
        if failed.is_none() {
            for note in std::mem::take(&mut self.notes) {
                pen.publish(&self, note.reason, &note.message, note.warning).await;
            }
            if let Some(finalizers) = self.finalizers.take() {
                crate::fault::reach("finalizer");
                match self.write_finalizers(&pen, finalizers).await {
                    Ok(()) => {
                        written = true;
                        crate::fault::reach("finalizer-written");
                    }
                    Err(failure) => failed = Some(failure),
                }
            }
        }
        Done { key: self.key, shadow: self.shadow, written, wrote, finalizer: self.finalizer, notes: self.notes, failed }
    }

    async fn write_status(&mut self, pen: &Pen, new: &NewStatus) -> Result<(), Failed> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            api_version: &'static str,
            kind: &'static str,
            metadata: Metadata<'a>,
            status: &'a Status,
        }
        #[derive(Serialize)]
        struct Metadata<'a> {
            name: &'a str,
            /// Keeps a verdict off a namesake that was made since.
            uid: &'a str,
        }
        let metadata = Metadata { name: &self.key.name, uid: &self.shadow.uid };
        let body = Body { api_version: names::API_VERSION, kind: self.key.kind.as_str(), metadata, status: &new.status };
        let (params, patch) = (PatchParams::apply(names::FIELD_MANAGER).force(), Patch::Apply(&body));
        let answer = pen.call("patch_status", self.key.kind.as_str(), pen.patch(&self.key, Some("status"), &params, &patch)).await;
        pen.metrics.status_written(self.key.kind, if answer.is_ok() { Ended::Changed } else { Ended::Failed });
        answer.map(|version| {
            self.shadow = std::mem::take(&mut self.shadow).with_status(&new.status, new.digests);
            self.shadow.version = version;
        })
    }

    async fn write_finalizers(&mut self, pen: &Pen, finalizers: Vec<String>) -> Result<(), Failed> {
        let body = json!({"metadata": {"resourceVersion": self.shadow.version, "finalizers": finalizers}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(&body));
        let answer = pen.call("patch", self.key.kind.as_str(), pen.patch(&self.key, None, &params, &patch)).await;
        answer.map(|version| {
            self.shadow.version = version;
            self.shadow.finalizers = finalizers.into();
        })
    }
}

/// The interface for one resource.
pub fn api(client: &kube::Client, key: &ResourceKey) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), &key.namespace, &api_resource(key))
}

fn api_resource(key: &ResourceKey) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(names::GROUP, names::VERSION, key.kind.as_str()), &plural(key.kind))
}
