//! What the API server has of a resource's status, kept small: digests to compare with, times to carry over. There is one of these for
//! each resource, so what it holds is counted in bytes.

use jiff::Timestamp;
use kube::api::ObjectMeta;

use super::status::{Digests, Status};
use crate::api;
use crate::model::ResourceKey;
use crate::plan::desired::Last;
use crate::plan::reason::Reason;
use crate::plan::verdict::CONDITIONS;

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
    pub uid: Box<str>,
    pub version: Box<str>,
    pub finalizers: Box<[String]>,
    pub digests: Digests,
    transitions: Box<[Transition]>,
    /// A domain's counts, to be kept while they are not counted anew.
    pub addresses: Option<Box<api::AddressCounts>>,
}

/// A condition, as far as the next one is compared with it.
#[derive(Debug, Clone, Copy)]
pub struct Transition {
    /// Its place in [`CONDITIONS`]: nine of these for each address.
    kind: u8,
    pub status: bool,
    /// None: a reason that this version does not know.
    pub reason: Option<Reason>,
    /// Whole seconds: the API has no finer ones.
    seconds: i64,
}

impl Transition {
    /// When the condition last turned.
    pub fn time(&self) -> Timestamp {
        Timestamp::from_second(self.seconds).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

fn place(kind: &str) -> Option<u8> {
    CONDITIONS.iter().position(|known| *known == kind).and_then(|place| u8::try_from(place).ok())
}

impl Shadow {
    /// From metadata and a status in our own types, so that fields the served definition lacks are not compared (C3).
    pub fn of(meta: &ObjectMeta, status: Option<Status>) -> (Self, Last) {
        let shadow = Self {
            uid: meta.uid.clone().unwrap_or_default().into(),
            version: meta.resource_version.clone().unwrap_or_default().into(),
            finalizers: meta.finalizers.clone().unwrap_or_default().into(),
            ..Self::default()
        };
        let Some(mut status) = status else { return (shadow, Last::default()) };
        let digests = status.digests();
        (shadow.with_status(&status, digests), status.last())
    }

    /// The same resource with another status.
    pub fn with_status(mut self, status: &Status, digests: Digests) -> Self {
        self.digests = digests;
        self.transitions = status
            .conditions()
            .iter()
            .filter_map(|condition| {
                Some(Transition {
                    kind: place(&condition.type_)?,
                    status: condition.status == "True",
                    reason: condition.reason.parse().ok(),
                    seconds: condition.last_transition_time.0.as_second(),
                })
            })
            .collect();
        self.addresses = status.addresses().cloned().map(Box::new);
        self
    }

    /// The same resource with the status that was known before.
    pub fn with_status_of(self, other: &Self) -> Self {
        let Self { uid, version, finalizers, .. } = self;
        Self { uid, version, finalizers, ..other.clone() }
    }

    /// A condition as it was told last.
    pub fn transition(&self, kind: &str) -> Option<&Transition> {
        let kind = place(kind)?;
        self.transitions.iter().find(|transition| transition.kind == kind)
    }

    /// Whether this was seen before that: a watch may bring what a later answer has overtaken.
    pub fn is_older_than(&self, other: &Self) -> bool {
        let number = |version: &str| version.parse::<u64>().unwrap_or(0);
        self.uid == other.uid && number(&self.version) < number(&other.version)
    }
}
