//! Watches our kinds and turns what the API server says into inputs of the engine and sightings for the writer.

use std::collections::BTreeSet;
use std::fmt::Debug;

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::api::{Api, ObjectMeta};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::metrics::Metrics;
use super::shadow::{Shadow, Sighting};
use crate::api::{self, names};
use crate::engine::Input;
use crate::model::{Kind, ResourceKey};
use crate::plan::admit::{self, Admit};
use crate::plan::desired::{Last, Resource, Violation};
use crate::plan::reason::Reason;

/// What the watch needs to know of a kind.
pub trait Watched:
    kube::Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug + Send + Sync + 'static
{
    const KIND: Kind;
    type Status: Serialize + Send;

    fn admission(&self) -> &dyn Admit;
    fn status(&self) -> Option<&Self::Status>;
}

macro_rules! watched {
    ($($kind:ident $status:ident)*) => {
        $(impl Watched for api::$kind {
            const KIND: Kind = Kind::$kind;
            type Status = api::$status;

            fn admission(&self) -> &dyn Admit {
                &self.spec
            }

            fn status(&self) -> Option<&Self::Status> {
                self.status.as_ref()
            }
        })*

        /// Starts a watch for each kind in one namespace ("" for all of them).
        pub fn spawn(
            tasks: &mut JoinSet<(&'static str, Result<(), Error>)>,
            client: &kube::Client,
            namespace: &str,
            inbox: &mpsc::Sender<Input>,
            seen: &mpsc::Sender<Sighting>,
            metrics: &Metrics,
            stop: &CancellationToken,
        ) {
            $({
                let watch = Watch { namespace: namespace.to_owned(), inbox: inbox.clone(), seen: seen.clone(), metrics: metrics.clone(), known: BTreeSet::new(), finalized: BTreeSet::new() };
                let api: Api<DeserializeGuard<api::$kind>> = if namespace.is_empty() { Api::all(client.clone()) } else { Api::namespaced(client.clone(), namespace) };
                let stop = stop.clone();
                tasks.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = watch.run::<api::$kind>(api) => {}
                    }
                    (concat!("watch of ", stringify!($kind)), Ok(()))
                });
            })*
        }

        /// A kind's plural, as in its CustomResourceDefinition.
        pub fn plural(kind: Kind) -> String {
            match kind {
                $(Kind::$kind => <api::$kind as kube::Resource>::plural(&()).into_owned(),)*
            }
        }
    };
}

watched! {
    AccountSettings AccountSettingsStatus
    InternalDomain InternalDomainStatus
    EmailAddress EmailAddressStatus
    AliasLink AliasLinkStatus
    DelegateMailbox DelegateMailboxStatus
    AdminRole AdminRoleStatus
}

/// One watch.
struct Watch {
    namespace: String,
    inbox: mpsc::Sender<Input>,
    seen: mpsc::Sender<Sighting>,
    metrics: Metrics,
    known: BTreeSet<ResourceKey>,
    /// Those whose last known state had our finalizer.
    finalized: BTreeSet<ResourceKey>,
}

impl Watch {
    async fn run<K: Watched>(mut self, api: Api<DeserializeGuard<K>>) {
        let stream = watcher(api, watcher::Config::default()).default_backoff();
        let mut stream = std::pin::pin!(stream);
        let mut listing = BTreeSet::new();
        while let Some(event) = stream.next().await {
            match event {
                Ok(watcher::Event::Init) => listing.clear(),
                Ok(watcher::Event::InitApply(object)) => {
                    listing.extend(self.applied::<K>(object).await);
                }
                Ok(watcher::Event::InitDone) => {
                    // What is missing from a complete list went out of our sight: that alone proves nothing (U6).
                    for key in self.known.difference(&listing).cloned().collect::<Vec<_>>() {
                        self.gone(key, false).await;
                    }
                    self.known = std::mem::take(&mut listing);
                    let _ = self.inbox.send(Input::Listed { kind: K::KIND, namespace: self.namespace.clone() }).await;
                }
                Ok(watcher::Event::Apply(object)) => {
                    if let Some(key) = self.applied::<K>(object).await {
                        self.known.insert(key);
                    }
                }
                Ok(watcher::Event::Delete(object)) => {
                    if let Some(key) = key_of(K::KIND, object.meta_ref()) {
                        // With our finalizer still on it was torn away by force: not an end that anybody asked of us (U6).
                        let torn = self.finalized.contains(&key);
                        self.known.remove(&key);
                        self.gone(key, !torn).await;
                    }
                }
                Err(error) => {
                    if matches!(error, watcher::Error::InitialListFailed(_)) {
                        let _ = self.inbox.send(Input::Unlisted { kind: K::KIND, namespace: self.namespace.clone() }).await;
                    }
                    self.metrics.api_call("watch", K::KIND.as_str(), std::time::Duration::ZERO, true);
                    tracing::warn!(kind = %K::KIND, namespace = self.namespace, %error, "a watch failed; trying again");
                }
            }
        }
    }

    async fn applied<K: Watched>(&mut self, object: DeserializeGuard<K>) -> Option<ResourceKey> {
        let key = key_of(K::KIND, object.meta_ref())?;
        let resource = resource::<K>(&key, &object);
        if resource.finalizer {
            self.finalized.insert(key.clone());
        } else {
            self.finalized.remove(&key);
        }
        let status = object.0.as_ref().ok().and_then(|object| object.status());
        let shadow = Shadow::of(object.meta_ref(), status);
        let wants_finalizer = resource.wants_finalizer();
        let (shadow, decoded, deleting) = (Box::new(shadow), object.0.is_ok(), resource.deleting);
        let sighting = Sighting::Seen { key: key.clone(), shadow, decoded, wants_finalizer, deleting };
        let _ = self.seen.send(sighting).await;
        let _ = self.inbox.send(Input::Applied(Box::new(resource))).await;
        Some(key)
    }

    async fn gone(&mut self, key: ResourceKey, seen: bool) {
        self.finalized.remove(&key);
        let _ = self.seen.send(Sighting::Gone(key.clone())).await;
        let _ = self.inbox.send(Input::Gone { key, seen }).await;
    }
}

/// Metadata of an object, decoded or not.
trait Meta {
    fn meta_ref(&self) -> &ObjectMeta;
}

impl<K: kube::Resource> Meta for DeserializeGuard<K> {
    fn meta_ref(&self) -> &ObjectMeta {
        kube::Resource::meta(self)
    }
}

fn key_of(kind: Kind, meta: &ObjectMeta) -> Option<ResourceKey> {
    Some(ResourceKey::new(kind, meta.namespace.as_deref()?, meta.name.as_deref()?))
}

/// The slim form that the plan works on.
fn resource<K: Watched>(key: &ResourceKey, object: &DeserializeGuard<K>) -> Resource {
    let meta = object.meta_ref();
    let (declared, suspended) = match &object.0 {
        Ok(object) => (object.admission().admit(), object.admission().suspended()),
        Err(error) => {
            let message = format!("this version of mailroster ({}) can't decode the resource: {}", env!("CARGO_PKG_VERSION"), error.error);
            (Err(Violation::new(Reason::SpecUnreadable, message)), false)
        }
    };
    let last = object.0.as_ref().ok().and_then(|object| object.status()).map(last).unwrap_or_default();
    Resource {
        key: key.clone(),
        uid: meta.uid.clone().unwrap_or_default().into_boxed_str(),
        created: meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        generation: meta.generation.unwrap_or(0),
        deleting: meta.deletion_timestamp.is_some(),
        finalizer: meta.finalizers.iter().flatten().any(|finalizer| finalizer == names::FINALIZER),
        suspended,
        declared,
        actions: meta.annotations.as_ref().map(|annotations| admit::actions(annotations, key.kind)).unwrap_or_default(),
        last,
    }
}

/// What a status said, as far as a plan remembers it.
pub fn last<T: Serialize>(status: &T) -> Last {
    #[derive(serde::Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Slim {
        observed_generation: i64,
        conditions: Vec<SlimCondition>,
        members: SlimMembers,
    }
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct SlimCondition {
        r#type: String,
        status: String,
        reason: String,
    }
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct SlimMembers {
        rejected: Vec<SlimRejection>,
    }
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct SlimRejection {
        address: String,
        reason: String,
    }
    let slim: Slim = serde_json::to_value(status).ok().and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default();
    let ready = slim.conditions.iter().find(|condition| condition.r#type == "Ready");
    let moved = slim.members.rejected.into_iter().filter(|r| r.reason == Reason::AliasMoved.as_str()).map(|r| r.address).collect();
    Last {
        generation: slim.observed_generation,
        ready: ready.is_some_and(|ready| ready.status == "True"),
        reason: ready.map(|ready| ready.reason.clone()).unwrap_or_default(),
        moved,
    }
}
