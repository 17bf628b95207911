//! How long a call may take: a server that accepts and then says nothing must not hold its caller for ever.

use std::future::Future;
use std::io::{Error, ErrorKind};
use std::time::Duration;

use super::StoreError;

/// For one question or a small write.
pub(super) const SHORT: Duration = Duration::from_secs(15);
/// For what may take the server a while, a few statements together.
pub(super) const LONG: Duration = Duration::from_mins(1);
/// For each statement of a batch: longer than the server itself lets one run. A batch has none of its own: on a slow server it would
/// never come to its end.
pub(super) const STATEMENT: Duration = Duration::from_secs(35);

/// Ends `work` with an error that names it once `limit` has passed. A transaction that it had open is rolled back.
pub(super) async fn deadline<T, E: From<StoreError>>(
    what: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    // Boxed: futures of the database are large, and calls are made within calls.
    match tokio::time::timeout(limit, Box::pin(work)).await {
        Ok(done) => done,
        Err(_) => {
            let error = Error::new(ErrorKind::TimedOut, format!("{what} took longer than {} s", limit.as_secs()));
            Err(StoreError::Unavailable(sqlx::Error::Io(error)).into())
        }
    }
}
