//! Secrets with passwords: only those that carry the label of SPEC P1, a watch per namespace, each begun when a resource first asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret as SecretObject;
use kube::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::api::names::{READABLE_LABEL, READABLE_VALUE};
use crate::engine::{Input, SecretView};
use crate::model::Secret;

/// Between two looks at a Secret that can't be looked up.
const PAUSE: Duration = Duration::from_secs(5);

/// Where resources say which Secrets they want. The engine must not wait for the watcher, which itself waits for the engine's inbox:
/// so a set, as large as there are Secrets to want, and not a channel.
pub struct Secrets {
    wishes: Arc<Wishes>,
}

#[derive(Default)]
struct Wishes {
    /// Namespace, name.
    new: Mutex<BTreeSet<(String, String)>>,
    wake: Notify,
}

impl Wishes {
    fn take(&self) -> BTreeSet<(String, String)> {
        std::mem::take(&mut *self.new.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One namespace's Secrets.
#[derive(Default)]
struct Place {
    wanted: BTreeSet<String>,
    seen: BTreeSet<String>,
    /// The first list is complete.
    listed: bool,
    /// Reading Secrets here is forbidden; what to grant.
    forbidden: Option<String>,
}

struct Watcher {
    client: kube::Client,
    inbox: mpsc::Sender<Input>,
    stop: CancellationToken,
    places: BTreeMap<String, Place>,
    wishes: Arc<Wishes>,
    events: mpsc::Sender<(String, Event)>,
}

enum Event {
    Applied(Box<SecretObject>),
    Deleted(String),
    Listed(BTreeSet<String>),
    Failed(kube::runtime::watcher::Error),
}

impl Secrets {
    pub fn new(client: kube::Client, inbox: mpsc::Sender<Input>, stop: CancellationToken) -> Self {
        let wishes = Arc::new(Wishes::default());
        let asked = wishes.clone();
        let (events, mut happened) = mpsc::channel(256);
        tokio::spawn(async move {
            let mut watcher = Watcher { client, inbox, wishes: asked.clone(), stop: stop.clone(), places: BTreeMap::new(), events };
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = asked.wake.notified() => for (namespace, name) in asked.take() {
                        watcher.want(namespace, name).await;
                    },
                    Some((namespace, event)) = happened.recv() => watcher.handle(namespace, event).await,
                    else => return,
                }
            }
        });
        Self { wishes }
    }

    /// Asks for the view of a Secret, now and at each change.
    pub fn want(&self, namespace: &str, name: &str) {
        self.wishes.new.lock().unwrap_or_else(PoisonError::into_inner).insert((namespace.to_owned(), name.to_owned()));
        self.wishes.wake.notify_one();
    }
}

impl Watcher {
    async fn want(&mut self, namespace: String, name: String) {
        let begin = !self.places.contains_key(&namespace);
        let place = self.places.entry(namespace.clone()).or_default();
        place.wanted.insert(name.clone());
        if let Some(message) = place.forbidden.clone() {
            self.tell(&namespace, &name, SecretView::Forbidden(message)).await;
        } else if place.listed && !place.seen.contains(&name) {
            // Each time that a resource asks anew: a Secret made without the label is in no watch.
            self.look(&namespace, &name).await;
        }
        if begin {
            self.watch(&namespace);
        }
    }

    fn watch(&self, namespace: &str) {
        let api: Api<SecretObject> = Api::namespaced(self.client.clone(), namespace);
        let config = watcher::Config::default().labels(&format!("{READABLE_LABEL}={READABLE_VALUE}"));
        let (events, stop, namespace) = (self.events.clone(), self.stop.clone(), namespace.to_owned());
        tokio::spawn(async move {
            let stream = watcher(api, config).default_backoff();
            let mut stream = std::pin::pin!(stream);
            let mut listing = BTreeSet::new();
            loop {
                let next = tokio::select! {
                    () = stop.cancelled() => return,
                    next = stream.next() => next,
                };
                let event = match next {
                    None => return,
                    Some(Err(error)) => Event::Failed(error),
                    Some(Ok(watcher::Event::Init)) => {
                        listing.clear();
                        continue;
                    }
                    Some(Ok(watcher::Event::InitApply(object))) => {
                        listing.extend(object.metadata.name.clone());
                        Event::Applied(Box::new(object))
                    }
                    Some(Ok(watcher::Event::InitDone)) => Event::Listed(std::mem::take(&mut listing)),
                    Some(Ok(watcher::Event::Apply(object))) => Event::Applied(Box::new(object)),
                    Some(Ok(watcher::Event::Delete(object))) => Event::Deleted(object.metadata.name.unwrap_or_default()),
                };
                if events.send((namespace.clone(), event)).await.is_err() {
                    return;
                }
            }
        });
    }

    async fn handle(&mut self, namespace: String, event: Event) {
        let place = self.places.entry(namespace.clone()).or_default();
        match event {
            Event::Applied(object) => {
                let name = object.metadata.name.clone().unwrap_or_default();
                place.seen.insert(name.clone());
                let data = object.data.unwrap_or_default();
                let values = data.into_iter().map(|(key, value)| (key, Secret::new(value.0))).collect();
                self.tell(&namespace, &name, SecretView::Values(values)).await;
            }
            Event::Deleted(name) => {
                // It may have only lost its label.
                place.seen.remove(&name);
                self.look(&namespace, &name).await;
            }
            Event::Listed(names) => {
                place.listed = true;
                place.forbidden = None;
                place.seen = names;
                let unseen: Vec<_> = place.wanted.difference(&place.seen).cloned().collect();
                for name in unseen {
                    self.look(&namespace, &name).await;
                }
            }
            Event::Failed(error) => {
                let Some(refusal) = forbidden(&error) else {
                    tracing::warn!(namespace, %error, "the watch of Secrets failed; trying again");
                    return;
                };
                let message = format!(
                    "mailroster may not read Secrets in {namespace}; bind it: kubectl -n {namespace} create rolebinding mailroster-secret-reader --clusterrole=mailroster-secret-reader --serviceaccount={}",
                    account(refusal)
                );
                place.forbidden = Some(message.clone());
                for name in place.wanted.clone() {
                    self.tell(&namespace, &name, SecretView::Forbidden(message.clone())).await;
                }
            }
        }
    }

    /// Asks once by name, metadata only: there without the label, or not there.
    async fn look(&self, namespace: &str, name: &str) {
        let api: Api<SecretObject> = Api::namespaced(self.client.clone(), namespace);
        let view = match tokio::time::timeout(Duration::from_secs(5), api.get_metadata_opt(name)).await {
            Ok(Ok(None)) => SecretView::Absent,
            // Labelled by now: the watch brings it.
            Ok(Ok(Some(found)))
                if found.metadata.labels.as_ref().and_then(|l| l.get(READABLE_LABEL)).is_some_and(|v| v == READABLE_VALUE) =>
            {
                return;
            }
            Ok(Ok(Some(_))) => SecretView::Unlabelled,
            // It may be watched but not looked up by name: then all that is known is that no labelled one is there.
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => SecretView::Absent,
            Ok(Err(error)) => {
                tracing::warn!(namespace, %error, "a Secret can't be looked up");
                return self.again(namespace, name);
            }
            Err(_) => return self.again(namespace, name),
        };
        self.tell(namespace, name, view).await;
    }

    /// Asks once more in a while; nothing is told until it is known.
    fn again(&self, namespace: &str, name: &str) {
        let (wishes, wish) = (self.wishes.clone(), (namespace.to_owned(), name.to_owned()));
        tokio::spawn(async move {
            tokio::time::sleep(PAUSE).await;
            wishes.new.lock().unwrap_or_else(PoisonError::into_inner).insert(wish);
            wishes.wake.notify_one();
        });
    }

    async fn tell(&self, namespace: &str, name: &str, view: SecretView) {
        let input = Input::Secret { namespace: namespace.to_owned(), name: name.to_owned(), view };
        let _ = self.inbox.send(input).await;
    }
}

/// What the API server says when it forbids the watch.
fn forbidden(error: &watcher::Error) -> Option<&str> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => {
            (status.code == 403).then_some(status.message.as_str())
        }
        _ => None,
    }
}

/// Our own ServiceAccount as `NAMESPACE:NAME`, which the API server names when it forbids something; else that of the manifests.
fn account(refusal: &str) -> &str {
    let after = refusal.split_once("\"system:serviceaccount:").and_then(|(_, rest)| rest.split_once('"'));
    after.map_or("mailroster-system:mailroster", |(account, _)| account)
}
