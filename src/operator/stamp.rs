//! The controller's own clock, for stamps that no rule compares: transition times, Lease renewals.

use jiff::Timestamp;

/// Now, in whole seconds, as the Kubernetes API writes times.
#[allow(clippy::disallowed_methods, reason = "stamps for people; rules compare the store's time (SPEC C12)")]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Now, in microseconds, for a Lease.
#[allow(clippy::disallowed_methods, reason = "as above; others judge a Lease by their own monotonic clocks")]
pub fn micro() -> Timestamp {
    Timestamp::now()
}
