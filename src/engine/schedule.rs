//! One entry for each future moment that matters (a lock's end, a wait that ripens), in the store's time.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::plan::Subject;

/// Moments by subject, and the store's clock.
#[derive(Debug, Default)]
pub struct Schedule {
    clock: Option<(Timestamp, Instant)>,
    by_time: BTreeSet<(Timestamp, Subject)>,
    by_subject: BTreeMap<Subject, Timestamp>,
}

impl Schedule {
    /// The store's clock, as just read.
    pub fn set_clock(&mut self, now: Timestamp) {
        self.clock = Some((now, Instant::now()));
    }

    /// Replaces what is planned for a subject.
    pub fn set(&mut self, subject: Subject, at: Option<Timestamp>) {
        if let Some(old) = self.by_subject.remove(&subject) {
            self.by_time.remove(&(old, subject.clone()));
        }
        if let Some(at) = at {
            self.by_time.insert((at, subject.clone()));
            self.by_subject.insert(subject, at);
        }
    }

    /// When the next moment comes.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let (now, read_at) = self.clock?;
        let (at, _) = self.by_time.first()?;
        let left = at.duration_since(now);
        Some(if left.is_negative() { read_at } else { read_at + left.unsigned_abs() })
    }

    /// Takes the subjects whose moment has come.
    pub fn take_due(&mut self) -> Vec<Subject> {
        let mut due = Vec::new();
        while self.next().is_some_and(|at| at <= Instant::now()) {
            let Some((_, subject)) = self.by_time.pop_first() else { break };
            self.by_subject.remove(&subject);
            due.push(subject);
        }
        due
    }
}
