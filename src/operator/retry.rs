//! When a write that failed is tried again: each resource for itself, after pauses that double; and, while the API server answers
//! nobody, how seldom anybody asks. Nothing here writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::ResourceKey;

/// Why a write failed, sorted by what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// 404 or 409: the resource is not what it was when we saw it. What the watch shows next settles it, so this waits only for
    /// a watch that says nothing.
    Overtaken,
    /// Any other 4xx: the same is refused until somebody changes a right, a definition or the resource.
    Refused,
    /// No answer, 429 or 5xx: that says nothing about this resource. `wait` is what the server asks for.
    Trouble { wait: Duration },
}

impl Failure {
    pub const SILENCE: Self = Self::Trouble { wait: Duration::ZERO };

    pub fn of(error: &kube::Error) -> Self {
        let kube::Error::Api(status) = error else { return Self::SILENCE };
        match status.code {
            404 | 409 => Self::Overtaken,
            429 | 500.. => {
                let wait = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
                Self::Trouble { wait: Duration::from_secs(wait.into()) }
            }
            _ => Self::Refused,
        }
    }

    /// The first pause and the longest. Nobody comes to mend a refusal within seconds, and a resource must not wait for minutes once
    /// the API server is back.
    fn limits(self) -> (Duration, Duration) {
        match self {
            Self::Overtaken => (Duration::from_millis(250), Duration::from_mins(1)),
            Self::Refused => (Duration::from_secs(2), Duration::from_mins(5)),
            Self::Trouble { .. } => (Duration::from_secs(1), Duration::from_secs(30)),
        }
    }

    /// The pause after so many failures in a row. `chance` spreads it: what failed together is not tried again together.
    pub fn pause(self, failures: u32, chance: u8) -> Duration {
        let (first, most) = self.limits();
        let pause = doubled(first, most, failures);
        match self {
            Self::Trouble { wait } if wait > pause => wait + spread(pause, chance),
            _ => spread(pause, chance),
        }
    }
}

fn doubled(first: Duration, most: Duration, times: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times.saturating_sub(1))).min(most)
}

/// A fifth more or less: a pause is still longer than the one before it.
fn spread(pause: Duration, chance: u8) -> Duration {
    pause.mul_f64(0.8 + 0.4 * f64::from(chance) / 255.0)
}

/// A number that nobody can foresee.
pub fn chance() -> u8 {
    let [first, ..] = uuid::Uuid::new_v4().into_bytes();
    first
}

/// Whether the API server answers at all. While it does not, one write at a time asks, after pauses that double; all the others would
/// only add to its trouble.
#[derive(Debug, Default)]
pub struct Pace {
    failures: u32,
    pauses: u32,
    next: Option<Instant>,
}

/// So many writes in a row without an answer are no accident of one resource's.
const SILENT: u32 = 8;
const ASK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

impl Pace {
    /// The server answered, be it a refusal.
    pub fn answered(&mut self) {
        *self = Self::default();
    }

    pub fn failed(&mut self, now: Instant, chance: u8) {
        self.failures = self.failures.saturating_add(1);
        // What was under way when it was noticed counts once.
        if self.failures >= SILENT && self.next.is_none_or(|at| at <= now) {
            self.pauses = self.pauses.saturating_add(1);
            self.next = Some(now + spread(doubled(ASK.0, ASK.1, self.pauses), chance));
        }
    }

    /// When the next write may ask; None while all may.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }
}

/// One entry for each resource that waits for a moment.
#[derive(Debug, Default)]
pub struct Later {
    by_time: BTreeSet<(Instant, ResourceKey)>,
    by_key: BTreeMap<ResourceKey, Instant>,
}

impl Later {
    pub fn set(&mut self, key: ResourceKey, at: Instant) {
        self.remove(&key);
        self.by_time.insert((at, key.clone()));
        self.by_key.insert(key, at);
    }

    pub fn remove(&mut self, key: &ResourceKey) {
        if let Some(at) = self.by_key.remove(key) {
            self.by_time.remove(&(at, key.clone()));
        }
    }

    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    pub fn take_due(&mut self, now: Instant) -> Option<ResourceKey> {
        let key = self.by_time.first().filter(|(at, _)| *at <= now)?.1.clone();
        self.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;
    use crate::model::Kind;

    fn of(code: u16) -> Failure {
        Failure::of(&kube::Error::Api(Box::new(Status { code, ..Status::default() })))
    }

    #[test]
    fn failures_are_sorted_by_what_follows_from_them() {
        assert_eq!([of(404), of(409)], [Failure::Overtaken; 2]);
        assert_eq!([of(400), of(403), of(422)], [Failure::Refused; 3]);
        assert_eq!([of(429), of(500), of(503)], [Failure::SILENCE; 3]);
        assert_eq!(Failure::of(&kube::Error::LinesCodecMaxLineLengthExceeded), Failure::SILENCE);
    }

    #[test]
    fn pauses_grow_to_their_limit_and_differ() {
        for (failure, most) in [(Failure::Overtaken, 60), (Failure::Refused, 300), (Failure::SILENCE, 30)] {
            let longest = |failures: u32| failure.pause(failures, 255);
            let shortest = |failures: u32| failure.pause(failures, 0);
            for failures in 1..6 {
                assert!(longest(failures) < shortest(failures + 1), "{failure:?} {failures}");
            }
            assert!(shortest(40) >= Duration::from_secs(most) * 8 / 10 && longest(40) <= Duration::from_secs(most) * 12 / 10);
            assert!(longest(1) > shortest(1) * 14 / 10);
        }
    }

    #[test]
    fn a_pause_is_never_shorter_than_the_server_asks_for() {
        let asked = Failure::Trouble { wait: Duration::from_secs(7) };
        assert!((0..=255).all(|chance| asked.pause(1, chance) > Duration::from_secs(7)));
        assert!(asked.pause(1, 0) < asked.pause(1, 255));
        assert!(asked.pause(9, 0) > Duration::from_secs(20));
    }

    #[test]
    fn the_pace_slows_down_only_when_nobody_is_answered_and_a_volley_counts_once() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for _ in 1..SILENT {
            pace.failed(start, 0);
        }
        assert_eq!(pace.next(), None);
        pace.answered();
        for _ in 0..64 {
            pace.failed(start, 0);
        }
        let first = pace.next().unwrap() - start;
        assert_eq!(first, ASK.0 * 8 / 10);
        pace.failed(start + first, 0);
        assert_eq!(pace.next().unwrap() - (start + first), ASK.0 * 16 / 10);
        for n in 1..20 {
            pace.failed(start + Duration::from_mins(n), 255);
        }
        assert!(pace.next().unwrap() <= start + Duration::from_mins(19) + ASK.1 * 12 / 10);
        pace.answered();
        assert_eq!(pace.next(), None);
    }

    #[test]
    fn a_resource_waits_for_one_moment_at_a_time() {
        let (mut later, start) = (Later::default(), Instant::now());
        let key = |name: &str| ResourceKey::new(Kind::EmailAddress, "acme", name);
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        later.set(key("a"), at(1));
        later.set(key("b"), at(2));
        later.set(key("a"), at(3));
        assert_eq!((later.next(), later.take_due(at(1))), (Some(at(2)), None));
        assert_eq!(later.take_due(at(3)), Some(key("b")));
        later.remove(&key("a"));
        assert_eq!((later.next(), later.take_due(at(9))), (None, None));
    }
}
