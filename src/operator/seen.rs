//! One resource as the API server shows it, for whoever judges from outside what the controller made of it (`make soak`): read by the
//! watch's own rules, its status composed by the writer's. Nothing in the controller passes through here.

use jiff::Timestamp;
use serde_json::Value;

use super::render;
use super::shadow::Shadow;
use super::watch;
use crate::model::Kind;
use crate::plan::Verdict;
use crate::plan::desired::Resource;

/// A resource as the API server shows it.
#[derive(Debug)]
pub struct Seen {
    /// What the plan would be given; passwords are unread.
    pub resource: Resource,
    shadow: Shadow,
}

impl Seen {
    /// Reads what a GET answered.
    ///
    /// # Errors
    /// It has no namespace or name, or a status that is none of its kind.
    pub fn read(kind: Kind, json: &str) -> Result<Self, serde_json::Error> {
        let (resource, shadow) = watch::read(kind, json)?;
        Ok(Self { resource, shadow })
    }

    /// The status that it must have under a verdict. The time of a transition is that of its own status, the epoch where the condition
    /// has just turned.
    #[must_use]
    pub fn status_under(&self, verdict: &Verdict) -> Value {
        serde_json::to_value(render::status(verdict, &self.shadow, Timestamp::UNIX_EPOCH)).unwrap_or_default()
    }
}
