//! The Lease: who leads. Taken and renewed with `replace` and resourceVersion; another's renewals are judged by our monotonic clock.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease as LeaseObject, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Error;
use super::standing::{GIVE_UP, Standing};

pub const NAME: &str = "mailroster";
const DURATION: Duration = Duration::from_secs(15);
const RENEW: Duration = Duration::from_secs(5);
const CALL: Duration = Duration::from_secs(4);
/// An answer that takes longer is slow.
const SLOW: Duration = Duration::from_secs(2);
/// After a failure, and up to twice as long.
const SOON: Duration = Duration::from_millis(250);

/// The Lease, held.
pub struct Lease {
    api: Api<LeaseObject>,
    holder: String,
    held: Mutex<LeaseObject>,
    standing: Standing,
}

/// How the Lease was lost, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    #[error("it could not be renewed in time, and another controller may lead by now")]
    NotRenewed,
    #[error("{0} holds it now")]
    Taken(String),
    #[error("somebody took it from us, and nobody holds it")]
    Vacant,
    #[error("somebody deleted it")]
    Deleted,
}

/// Who we are: the pod's name, and a part of our own for each start.
pub fn holder() -> String {
    use std::sync::OnceLock;
    static HOLDER: OnceLock<String> = OnceLock::new();
    HOLDER
        .get_or_init(|| {
            let host = std::env::var("HOSTNAME").or_else(|_| std::fs::read_to_string("/etc/hostname")).unwrap_or_default();
            format!("{}_{}", host.trim(), uuid::Uuid::new_v4().simple())
        })
        .clone()
}

impl Lease {
    /// Waits until the Lease is ours.
    pub async fn acquire(client: &kube::Client, namespace: &str) -> Result<Self, Error> {
        let api: Api<LeaseObject> = Api::namespaced(client.clone(), namespace);
        let holder = holder();
        let mut observed: Option<(String, Instant)> = None;
        let mut told = false;
        loop {
            let asked = Instant::now();
            let attempt = tokio::time::timeout(CALL, Self::attempt(&api, &holder, &mut observed));
            match attempt.await.unwrap_or(Ok(None)) {
                Ok(Some(object)) => return Ok(Self { api, holder, held: Mutex::new(object), standing: Standing::since(asked) }),
                Ok(None) if !told => {
                    told = true;
                    tracing::info!("another controller leads; waiting for its Lease");
                }
                Ok(None) => {}
                Err(kube::Error::Api(status)) if status.code == 403 => return Err(kube::Error::Api(status).into()),
                Err(error) => tracing::warn!(%error, "the Lease can't be read or taken; trying again"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Takes the Lease if nobody holds it or its holder has not renewed it for as long as we have watched.
    async fn attempt(
        api: &Api<LeaseObject>,
        holder: &str,
        observed: &mut Option<(String, Instant)>,
    ) -> Result<Option<LeaseObject>, kube::Error> {
        let Some(current) = api.get_opt(NAME).await? else {
            let new =
                LeaseObject { metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() }, spec: Some(spec(holder, 0)) };
            return match api.create(&PostParams::default(), &new).await {
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
                created => created.map(Some),
            };
        };
        let theirs = current.spec.clone().unwrap_or_default();
        let free = theirs.holder_identity.as_deref().unwrap_or_default().is_empty();
        let version = current.metadata.resource_version.clone().unwrap_or_default();
        let duration = theirs.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).map_or(DURATION, Duration::from_secs);
        let expired = match observed {
            Some((seen, since)) if *seen == version => since.elapsed() > duration,
            _ => {
                *observed = Some((version, Instant::now()));
                false
            }
        };
        if !free && !expired {
            return Ok(None);
        }
        let transitions = theirs.lease_transitions.unwrap_or(0) + 1;
        let mine = LeaseObject { metadata: current.metadata, spec: Some(spec(holder, transitions)) };
        match api.replace(NAME, &PostParams::default(), &mine).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            taken => taken.map(Some),
        }
    }

    /// Whether what is done under this Lease may still be done.
    pub fn standing(&self) -> Standing {
        self.standing.clone()
    }

    /// Renews the Lease until it is lost; returns only then. Never later than [`GIVE_UP`] after the last renewal.
    pub async fn keep(&self) -> Error {
        loop {
            let renewed = self.standing.last();
            tokio::time::sleep_until(renewed + RENEW).await;
            match tokio::time::timeout_at(renewed + GIVE_UP, self.renew()).await {
                Ok(Ok(())) => {}
                Ok(Err(lost)) => return lost,
                Err(_) => return Lost::NotRenewed.into(),
            }
            if self.standing.last() == renewed {
                tokio::time::sleep(SOON.mul_f64(1.0 + f64::from(super::retry::chance()) / 255.0)).await;
            }
        }
    }

    /// Asks once more when the first answer is slow, without giving it up: a connection may be dead, or the API server merely busy.
    async fn renew(&self) -> Result<(), Error> {
        let asked = Instant::now();
        let mut first = Box::pin(self.ask(asked));
        tokio::select! {
            answer = &mut first => answer,
            () = tokio::time::sleep(SLOW) => {
                tracing::warn!("the renewal of the Lease is slow; asking once more");
                tokio::select! {
                    answer = first => answer,
                    answer = Box::pin(self.ask(asked)) => answer,
                }
            }
        }
    }

    /// `asked`: when this renewal was first asked for.
    async fn ask(&self, asked: Instant) -> Result<(), Error> {
        let held = self.held.lock().await.clone();
        let renewed = |lease: &LeaseObject| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        let before = renewed(&held);
        let mut next = held;
        if let Some(spec) = &mut next.spec {
            spec.renew_time = Some(MicroTime(super::stamp::micro()));
        }
        match self.api.replace(NAME, &PostParams::default(), &next).await {
            Ok(object) => {
                *self.held.lock().await = object;
                self.standing.renewed(asked);
            }
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {
                // Somebody else wrote it. Ours only if it still names us.
                match self.api.get_opt(NAME).await {
                    Ok(Some(object)) => {
                        let holder = object.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
                        if holder != self.holder {
                            return Err(if holder.is_empty() { Lost::Vacant } else { Lost::Taken(holder) }.into());
                        }
                        // Nobody but us changes that time: what was asked first came through, and only its answer is late.
                        if renewed(&object) != before {
                            self.standing.renewed(asked);
                        }
                        *self.held.lock().await = object;
                    }
                    Ok(None) => return Err(Lost::Deleted.into()),
                    Err(error) => tracing::warn!(%error, "the Lease can't be read"),
                }
            }
            Err(error) => tracing::warn!(%error, "the Lease could not be renewed"),
        }
        Ok(())
    }

    /// Gives the Lease back, so that the next one need not wait.
    pub async fn release(self) {
        let mut object = self.held.into_inner();
        if let Some(spec) = &mut object.spec {
            spec.holder_identity = None;
        }
        let _ = tokio::time::timeout(CALL, self.api.replace(NAME, &PostParams::default(), &object)).await;
    }
}

fn spec(holder: &str, transitions: i32) -> LeaseSpec {
    let now = MicroTime(super::stamp::micro());
    LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: Some(now.clone()),
        renew_time: Some(now),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    }
}
