//! One resource's writes: its status, the Events of what changed, its finalizers, in this order. What a failure means is judged
//! elsewhere ([`super::retry`]), and nothing is written without standing ([`super::standing`]).

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::metrics::{Ended, Metrics};
use super::render::Transition;
use super::retry::Failure;
use super::shadow::{Shadow, digests};
use super::standing::Standing;
use super::watch::plural;
use crate::api::names;
use crate::model::ResourceKey;
use crate::plan::Note;
use crate::plan::reason::Reason;

/// A write that takes longer has failed.
const CALL: Duration = Duration::from_secs(15);

/// How to write. Clones share the connections.
#[derive(Clone)]
pub struct Pen {
    client: kube::Client,
    recorder: Recorder,
    pub metrics: Metrics,
    standing: Standing,
}

/// One resource's writes, prepared.
pub struct Write {
    pub key: ResourceKey,
    pub shadow: Shadow,
    pub status: Option<(Map<String, Value>, Vec<Transition>)>,
    /// Some(true): our finalizer goes on; Some(false): off. With it the finalizers that come of it.
    pub finalizer: Option<bool>,
    pub finalizers: Option<Vec<String>>,
    pub notes: Vec<Note>,
}

/// A write that came back.
pub struct Done {
    pub key: ResourceKey,
    /// The resource as it was known to be in the end: with what was written of it.
    pub shadow: Shadow,
    /// Whether any of it was written.
    pub written: bool,
    /// Digests of the status, if it was written.
    pub wrote: Option<(u64, u64)>,
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

impl Pen {
    pub fn new(client: kube::Client, metrics: Metrics, standing: Standing) -> Self {
        let reporter = Reporter { controller: "mailroster".to_owned(), instance: Some(super::lease::holder()) };
        Self { recorder: Recorder::new(client.clone(), reporter), client, metrics, standing }
    }

    /// A call with its deadline, for as long as this process may write. None: it may not, and is about to end.
    async fn call<T>(
        &self,
        verb: &'static str,
        kind: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Option<Result<T, Failed>> {
        let began = Instant::now();
        let answer = match self.standing.lend(tokio::time::timeout(CALL, call)).await? {
            Ok(answer) => answer.map_err(|error| Failed { failure: Failure::of(&error), error: error.to_string() }),
            Err(_) => Err(Failed { failure: Failure::SILENCE, error: "no answer in time".to_owned() }),
        };
        self.metrics.api_call(verb, kind, began.elapsed(), answer.is_err());
        Some(answer)
    }

    async fn publish(&self, write: &Write, reason: Reason, message: &str, warning: bool) {
        let reference = ObjectReference {
            api_version: Some(names::API_VERSION.to_owned()),
            kind: Some(write.key.kind.as_str().to_owned()),
            namespace: Some(write.key.namespace.clone()),
            name: Some(write.key.name.clone()),
            uid: Some(write.shadow.uid.clone()),
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
        if let Some(Err(failed)) = self.call("publish", "Event", self.recorder.publish(&event, &reference)).await {
            tracing::debug!(error = failed.error, "an event could not be published");
        }
    }
}

impl Write {
    pub async fn carry_out(mut self, pen: Pen) -> Done {
        let api = api(&pen.client, &self.key);
        let (mut wrote, mut written, mut failed) = (None, false, None);
        if let Some((status, transitions)) = self.status.take() {
            match self.write_status(&pen, &api, &status).await {
                None => {}
                Some(Ok(())) => {
                    (wrote, written) = (Some(digests(&status)), true);
                    for transition in transitions {
                        pen.publish(&self, transition.reason, &transition.message, transition.warning).await;
                    }
                }
                Some(Err(failure)) => failed = Some(failure),
            }
        }
        if failed.is_none() {
            for note in std::mem::take(&mut self.notes) {
                pen.publish(&self, note.reason, &note.message, note.warning).await;
            }
            if let Some(finalizers) = self.finalizers.take() {
                match self.write_finalizers(&pen, &api, finalizers).await {
                    None => {}
                    Some(Ok(())) => written = true,
                    Some(Err(failure)) => failed = Some(failure),
                }
            }
        }
        Done { key: self.key, shadow: self.shadow, written, wrote, finalizer: self.finalizer, notes: self.notes, failed }
    }

    async fn write_status(&mut self, pen: &Pen, api: &Api<DynamicObject>, status: &Map<String, Value>) -> Option<Result<(), Failed>> {
        let body = json!({
            "apiVersion": names::API_VERSION, "kind": self.key.kind.as_str(),
            // The uid keeps a verdict off a namesake that was made since.
            "metadata": {"name": self.key.name, "uid": self.shadow.uid},
            "status": status,
        });
        let (params, patch) = (PatchParams::apply(names::FIELD_MANAGER).force(), Patch::Apply(&body));
        let answer = pen.call("patch_status", self.key.kind.as_str(), api.patch_status(&self.key.name, &params, &patch)).await?;
        pen.metrics.status_written(self.key.kind, if answer.is_ok() { Ended::Changed } else { Ended::Failed });
        Some(answer.map(|object| {
            let version = object.metadata.resource_version.unwrap_or_default();
            self.shadow = Shadow { version, ..std::mem::take(&mut self.shadow).with_status(status) };
        }))
    }

    async fn write_finalizers(&mut self, pen: &Pen, api: &Api<DynamicObject>, finalizers: Vec<String>) -> Option<Result<(), Failed>> {
        let body = json!({"metadata": {"resourceVersion": self.shadow.version, "finalizers": finalizers}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(&body));
        let answer = pen.call("patch", self.key.kind.as_str(), api.patch(&self.key.name, &params, &patch)).await?;
        Some(answer.map(|object| {
            self.shadow.version = object.metadata.resource_version.unwrap_or_default();
            self.shadow.finalizers = finalizers;
        }))
    }
}

/// The interface for one resource.
pub fn api(client: &kube::Client, key: &ResourceKey) -> Api<DynamicObject> {
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(names::GROUP, names::VERSION, key.kind.as_str()), &plural(key.kind));
    Api::namespaced_with(client.clone(), &key.namespace, &resource)
}
