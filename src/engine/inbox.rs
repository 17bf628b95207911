//! What goes into the engine and what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use jiff::Timestamp;

use super::{Chunk, RunEnded, Task};
use crate::model::{Kind, ResourceKey, Secret};
use crate::plan::desired::{Last, Resource, Work};
use crate::plan::{Note, Verdict};
use crate::store::Dirty;

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// A resource as it is now.
    Applied(Box<Resource>),
    /// Its status says this now; nothing else of it changed.
    Told { key: ResourceKey, last: Last },
    /// A resource is no more. `seen`: its end was meant; otherwise it only vanished from sight (U6).
    Gone { key: ResourceKey, seen: bool },
    /// The list of a kind in a namespace ("" for all) is complete.
    Listed { kind: Kind, namespace: String },
    /// The list of a kind in a namespace failed: what it lacked before proves nothing any more (U6).
    Unlisted { kind: Kind, namespace: String },
    /// Plan it once more.
    Again(ResourceKey),
    /// The store can be reached again: whoever rests because of it need not.
    StoreIsBack,
    /// The store is an older copy of what it was: everything is to be planned once more.
    StoreIsOlder,
    /// Somebody silenced mail servers by hand: they are answered again when all that is declared is in force.
    StoreIsSilent,
    /// The store's outbox.
    Changed(Dirty),
    /// The store's clock, now.
    Clock(Timestamp),
    /// What can be seen of a Secret.
    Secret { namespace: String, name: String, view: SecretView },
    /// A directory run brings entries.
    Entries(Box<Chunk>),
    /// A directory run is over.
    RunEnded(Box<RunEnded>),
    /// Work on a password is done.
    Worked { key: ResourceKey, task: Task, work: Work },
}

/// What can be seen of a Secret (P1).
#[derive(Debug, Clone)]
pub enum SecretView {
    Values(BTreeMap<String, Secret<Vec<u8>>>),
    Absent,
    /// There, without the label that lets us read it.
    Unlabelled,
    /// Reading Secrets in the namespace is forbidden; what to grant.
    Forbidden(String),
}

/// What the engine says of a resource: of a plan that was executed, or why there is none yet ([`crate::plan::waiting_for_store`],
/// [`crate::plan::internal_error`]).
#[derive(Debug)]
pub enum Outcome {
    Verdict { key: ResourceKey, verdict: Box<Verdict> },
    Note(Note),
}

/// What only the cluster knows.
pub trait Surroundings: Send + Sync {
    /// Of these, where the end of a resource means nothing by itself: the namespace or the kind is ending, is another than the resource
    /// was made in, or may not be seen (U4). Each place comes with the time when its oldest ended resource was made.
    ///
    /// # Errors
    /// A text for the log: it can't be found out now, and nothing may be concluded.
    fn sheltered(&self, places: &BTreeMap<(Kind, String), Timestamp>) -> impl Future<Output = Result<Vec<(Kind, String)>, String>> + Send;

    /// Of these, the resources that the API server says are not there (U6). Those that it says nothing of are not among them.
    fn absent(&self, keys: &BTreeSet<ResourceKey>) -> impl Future<Output = BTreeSet<ResourceKey>> + Send;

    /// The uid of a namespace; None when it is ending, gone or not to be seen: then nothing follows from what it lacks (U6).
    ///
    /// # Errors
    /// A text for the log: it can't be found out now.
    fn namespace_uid(&self, name: &str) -> impl Future<Output = Result<Option<String>, String>> + Send;

    /// A resource takes its password from this Secret: its view is to be sent, now and at each change.
    fn wants_secret(&self, namespace: &str, name: &str);
}
