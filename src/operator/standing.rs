//! Whether this process may still write to the cluster: for as long as its Lease holds by its own monotonic clock.
//!
//! The store has a fence; the API server has none. A process that was stopped past its Lease wakes up with verdicts in memory and
//! sockets that are still open, and would tell what held before its successor's time. So each write asks here, and asks again each time
//! that it goes on.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

/// Without a renewal for this long we stop, before anybody else may take over.
pub const GIVE_UP: Duration = Duration::from_secs(10);

/// Since when the Lease is known to be ours. Clones tell the same.
#[derive(Debug, Clone)]
pub struct Standing(Arc<Mutex<Instant>>);

impl Standing {
    /// `asked`: when the renewal was sent, not when its answer was read. Others count from what the API server wrote between the two,
    /// and a process may be stopped there.
    pub fn since(asked: Instant) -> Self {
        Self(Arc::new(Mutex::new(asked)))
    }

    pub fn renewed(&self, asked: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = asked;
    }

    /// When it was last sure.
    pub fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn holds(&self) -> bool {
        self.last().elapsed() < GIVE_UP
    }

    /// Sees `work` through for as long as we stand; None once we do not.
    pub async fn lend<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        std::future::poll_fn(|context| if self.holds() { work.as_mut().poll(context).map(Some) } else { Poll::Ready(None) }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_begun_in_good_standing_does_not_go_on_without_it() {
        let standing = Standing::since(Instant::now());
        assert_eq!(standing.lend(async { 1 }).await, Some(1));
        let mut polls = 0;
        let work = std::future::poll_fn(|context| {
            polls += 1;
            standing.renewed(Instant::now() - GIVE_UP);
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert_eq!(standing.lend(work).await, None);
        assert_eq!(polls, 1);
        assert_eq!(standing.lend(async { 1 }).await, None);
    }

    #[test]
    fn a_renewal_counts_from_when_it_was_asked_for() {
        let standing = Standing::since(Instant::now() - GIVE_UP);
        standing.renewed(Instant::now() - GIVE_UP);
        assert!(!standing.holds());
        standing.renewed(Instant::now());
        assert!(standing.holds());
    }
}
