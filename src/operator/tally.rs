//! How many resources have which condition, kept up as sightings come, for the metrics.

use std::collections::BTreeMap;

use super::metrics::Metrics;
use super::shadow::Shadow;
use crate::model::Kind;

/// The conditions worth a series; the others say "quiet" on nearly every resource.
const COUNTED: [&str; 9] =
    ["Ready", "Reconciling", "Stalled", "Locked", "ResetLocked", "Disabled", "PurgeBlocked", "CredentialReady", "DeletionsHeld"];

#[derive(Debug, Default)]
pub struct Tally {
    resources: BTreeMap<Kind, i64>,
    conditions: BTreeMap<(Kind, &'static str, bool), i64>,
}

impl Tally {
    /// One resource went from one state to another; None: it was not, or is no more.
    pub fn replace(&mut self, metrics: &Metrics, kind: Kind, old: Option<&Shadow>, new: Option<&Shadow>) {
        let change = i64::from(new.is_some()) - i64::from(old.is_some());
        if change != 0 {
            let count = self.resources.entry(kind).or_default();
            *count += change;
            metrics.watched(kind, *count);
        }
        for condition in COUNTED {
            let of = |shadow: Option<&Shadow>| shadow.and_then(|shadow| shadow.transition(condition)).map(|transition| transition.status);
            let (was, is) = (of(old), of(new));
            if was == is {
                continue;
            }
            for (status, step) in [(was, -1), (is, 1)] {
                if let Some(status) = status {
                    let count = self.conditions.entry((kind, condition, status)).or_default();
                    *count += step;
                    metrics.condition(kind, condition, status, *count);
                }
            }
        }
    }
}
