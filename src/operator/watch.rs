//! Watches our kinds and turns what the API server says into inputs of the engine and sightings for the writer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::api::{Api, ListParams, ObjectMeta};
use kube::core::NamespaceResourceScope;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::metrics::Metrics;
use super::shadow::{Shadow, Sighting};
use super::slim::Slim;
use super::status::Status;
use crate::api::{self, names};
use crate::engine::Input;
use crate::model::{Kind, ResourceKey};
use crate::plan::admit::{self, Admit};
use crate::plan::desired::{Last, Resource, Violation};
use crate::plan::reason::Reason;
use crate::plan::slice::Roster;

/// What the watch needs to know of a kind.
pub trait Watched: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + 'static {
    const KIND: Kind;
    type Spec: Admit + DeserializeOwned;
    type Status: Into<Status> + DeserializeOwned;
}

macro_rules! watched {
    ($($kind:ident $spec:ident $status:ident)*) => {
        $(impl Watched for api::$kind {
            const KIND: Kind = Kind::$kind;
            type Spec = api::$spec;
            type Status = api::$status;
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
                let watch = Watch { namespace: namespace.to_owned(), inbox: inbox.clone(), seen: seen.clone(), metrics: metrics.clone(), known: BTreeMap::new(), finalized: BTreeSet::new() };
                let api: Api<Slim<api::$kind>> = if namespace.is_empty() { Api::all(client.clone()) } else { Api::namespaced(client.clone(), namespace) };
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

        /// A resource in JSON as the watch of its kind would hand it on, and what it showed of its status.
        pub fn read(kind: Kind, json: &str) -> Result<(Resource, Shadow), serde_json::Error> {
            match kind {
                $(Kind::$kind => read_one::<api::$kind>(json),)*
            }
        }

        /// All that a namespace declares now, as watches of it would hand it on.
        ///
        /// # Errors
        /// A kind can't be listed.
        pub async fn list(client: &kube::Client, namespace: &str) -> Result<Roster, kube::Error> {
            let mut roster = Roster::watching(BTreeSet::from([namespace.to_owned()]));
            $(list_one::<api::$kind>(Api::namespaced(client.clone(), namespace), &mut roster).await?;)*
            Ok(roster)
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
    AccountSettings AccountSettingsSpec AccountSettingsStatus
    InternalDomain InternalDomainSpec InternalDomainStatus
    EmailAddress EmailAddressSpec EmailAddressStatus
    AliasLink AliasLinkSpec AliasLinkStatus
    DelegateMailbox DelegateMailboxSpec DelegateMailboxStatus
    AdminRole AdminRoleSpec AdminRoleStatus
    DirectoryConnection DirectoryConnectionSpec DirectoryConnectionStatus
}

/// One watch.
struct Watch {
    namespace: String,
    inbox: mpsc::Sender<Input>,
    seen: mpsc::Sender<Sighting>,
    metrics: Metrics,
    /// What each resource said when it was seen last, but for its status.
    known: BTreeMap<ResourceKey, Said>,
    /// Those whose last known state had our finalizer.
    finalized: BTreeSet<ResourceKey>,
}

/// What a resource said besides its status.
#[derive(Clone, Copy)]
struct Said {
    digest: u64,
    decoded: bool,
    wants_finalizer: bool,
}

impl Watch {
    async fn run<K: Watched>(mut self, api: Api<Slim<K>>) {
        let stream = watcher(api, watcher::Config::default()).default_backoff();
        let mut stream = std::pin::pin!(stream);
        let mut listing = BTreeSet::new();
        while let Some(event) = stream.next().await {
            match event {
                Ok(watcher::Event::Init) => listing.clear(),
                Ok(watcher::Event::InitApply(object)) => listing.extend(self.applied::<K>(&object).await),
                Ok(watcher::Event::InitDone) => {
                    // What is missing from a complete list went out of our sight: that alone proves nothing (U6).
                    for key in self.known.keys().filter(|key| !listing.contains(*key)).cloned().collect::<Vec<_>>() {
                        self.gone(key, false).await;
                    }
                    listing.clear();
                    let _ = self.inbox.send(Input::Listed { kind: K::KIND, namespace: self.namespace.clone() }).await;
                }
                Ok(watcher::Event::Apply(object)) => {
                    self.applied::<K>(&object).await;
                }
                Ok(watcher::Event::Delete(object)) => {
                    if let Some(key) = key_of(K::KIND, object.metadata()) {
                        // With our finalizer still on it was torn away by force: not an end that anybody asked of us (U6).
                        let torn = self.finalized.contains(&key);
                        self.gone(key, !torn).await;
                    }
                }
                Err(error) => {
                    if proves_nothing(&error) {
                        let _ = self.inbox.send(Input::Unlisted { kind: K::KIND, namespace: self.namespace.clone() }).await;
                    }
                    self.metrics.api_call("watch", K::KIND.as_str(), std::time::Duration::ZERO, true);
                    tracing::warn!(kind = %K::KIND, namespace = self.namespace, %error, "a watch failed; trying again");
                }
            }
        }
    }

    async fn applied<K: Watched>(&mut self, object: &Slim<K>) -> Option<ResourceKey> {
        let meta = object.metadata();
        let key = key_of(K::KIND, meta)?;
        // Every index shares the key that was seen first.
        let key = self.known.get_key_value(&key).map_or(key, |(known, _)| known.clone());
        let status = object.status.as_ref().map(|text| serde_json::from_str::<K::Status>(text.get())).transpose();
        let unreadable = status.as_ref().err().map(ToString::to_string);
        let (shadow, last) = Shadow::of(meta, status.ok().flatten().map(Into::into));
        let digest = digest_of(meta, unreadable.is_none());
        let known = self.known.get(&key).filter(|said| said.digest == digest).copied();
        let deleting = meta.deletion_timestamp.is_some();
        let (said, input) = match known {
            // The echo of a status: what the spec says is known, and whether it decodes.
            Some(said) => (said, Input::Told { key: key.clone(), last }),
            None => {
                let resource = resource::<K>(&key, object, unreadable, last);
                if resource.finalizer {
                    self.finalized.insert(key.clone());
                } else {
                    self.finalized.remove(&key);
                }
                let decoded = !matches!(&resource.declared, Err(violation) if violation.reason == Reason::SpecUnreadable);
                let said = Said { digest, decoded, wants_finalizer: resource.wants_finalizer() };
                (said, Input::Applied(Box::new(resource)))
            }
        };
        self.known.insert(key.clone(), said);
        let Said { decoded, wants_finalizer, .. } = said;
        let sighting = Sighting::Seen { key: key.clone(), shadow: Box::new(shadow), decoded, wants_finalizer, deleting };
        let _ = self.seen.send(sighting).await;
        let _ = self.inbox.send(input).await;
        Some(key)
    }

    async fn gone(&mut self, key: ResourceKey, seen: bool) {
        self.known.remove(&key);
        self.finalized.remove(&key);
        let _ = self.seen.send(Sighting::Gone(key.clone())).await;
        let _ = self.inbox.send(Input::Gone { key, seen }).await;
    }
}

fn read_one<K: Watched>(json: &str) -> Result<(Resource, Shadow), serde_json::Error> {
    let object: Slim<K> = serde_json::from_str(json)?;
    let key = key_of(K::KIND, object.metadata()).ok_or_else(|| serde::de::Error::missing_field("metadata.namespace"))?;
    let status = object.status.as_ref().map(|text| serde_json::from_str::<K::Status>(text.get())).transpose()?;
    let (shadow, last) = Shadow::of(object.metadata(), status.map(Into::into));
    Ok((resource::<K>(&key, &object, None, last), shadow))
}

/// Objects a page.
const PAGE: u32 = 500;

async fn list_one<K: Watched>(api: Api<Slim<K>>, roster: &mut Roster) -> Result<(), kube::Error> {
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = api.list(&page).await?;
        let next = list.metadata.continue_.clone().filter(|token| !token.is_empty());
        for object in list.items {
            let Some(key) = key_of(K::KIND, object.metadata()) else { continue };
            let status = object.status.as_ref().and_then(|text| serde_json::from_str::<K::Status>(text.get()).ok());
            let (_, last) = Shadow::of(object.metadata(), status.map(Into::into));
            roster.insert(resource::<K>(&key, &object, None, last));
        }
        let Some(token) = next else { return Ok(()) };
        page = page.continue_token(&token);
    }
}

/// Whether a failed watch takes back what the last complete list lacked (U6): there is no list, or the kind may not be seen or is not
/// served any more.
fn proves_nothing(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(_) => true,
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => matches!(status.code, 403 | 404),
        _ => false,
    }
}

fn key_of(kind: Kind, meta: &ObjectMeta) -> Option<ResourceKey> {
    Some(ResourceKey::new(kind, meta.namespace.as_deref()?, meta.name.as_deref()?))
}

/// All that [`resource`] looks at but for the status: the API server raises the generation with each change of a spec.
fn digest_of(meta: &ObjectMeta, decoded_status: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&meta.uid, meta.generation, meta.deletion_timestamp.is_some(), &meta.finalizers, &meta.annotations, decoded_status).hash(&mut hasher);
    hasher.finish()
}

/// The slim form that the plan works on.
fn resource<K: Watched>(key: &ResourceKey, object: &Slim<K>, unreadable: Option<String>, last: Last) -> Resource {
    let meta = object.metadata();
    let spec = match unreadable {
        Some(error) => Err(error),
        None => serde_json::from_str::<K::Spec>(object.spec.as_ref().map_or("{}", |text| text.get())).map_err(|error| error.to_string()),
    };
    let (declared, suspended) = match spec {
        Ok(spec) => (spec.admit(), spec.suspended()),
        Err(error) => {
            let message = format!("this version of mailroster ({}) can't decode the resource: {error}", env!("CARGO_PKG_VERSION"));
            (Err(Violation::new(Reason::SpecUnreadable, message)), false)
        }
    };
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
