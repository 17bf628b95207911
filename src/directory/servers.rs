//! The servers of a connection, in order, until one is of use.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use rustls::ClientConfig;
use tokio::task::spawn_blocking;

use super::answers::problem;
use super::connect::{Session, Way, connect, url};
use super::redaction::Redaction;
use super::{Credentials, tls};
use crate::model::{Access, ServerUrl, TlsMode};
use crate::plan::directory::rows::Problem;
use crate::plan::reason::Reason;

/// Those that were not tried yet, and why the others were no use.
pub(super) struct Servers<'a> {
    way: &'a Way<'a>,
    left: std::slice::Iter<'a, ServerUrl>,
    failures: Vec<Failure>,
}

/// A server that was no use.
struct Failure {
    url: String,
    /// It took the bind.
    answered: bool,
    problem: Problem,
}

impl<'a> Servers<'a> {
    pub(super) fn new(way: &'a Way<'a>) -> Self {
        Self { way, left: way.access.servers.iter(), failures: Vec::new() }
    }

    /// The next one that takes the bind, and its URL.
    pub(super) async fn next(&mut self) -> Option<(String, Session)> {
        loop {
            let server = self.left.next()?;
            let url = url(self.way.access.tls, server);
            match no_panic(connect(self.way, server)).await {
                Ok(session) => return Some((url, session)),
                Err(problem) => self.failures.push(Failure { url, answered: false, problem }),
            }
        }
    }

    /// Whether another may do better: this one failed, and nothing that it gave was handed over. Takes the problem if so.
    pub(super) fn pass_over(&mut self, url: &str, problem: &Problem, read: u64) -> bool {
        let pass_over = read == 0 && matches!(problem.reason, Reason::DirectoryBusy | Reason::ConnectionLost);
        if pass_over {
            self.failures.push(Failure { url: url.to_owned(), answered: true, problem: problem.clone() });
        }
        pass_over
    }

    /// None was of use: the URL of the one that took the bind, empty when none did, and why. A refused bind says more than a name that does
    /// not answer.
    pub(super) fn none(self) -> (String, Problem) {
        let weight = |failure: &Failure| match failure.problem.reason {
            _ if failure.answered => 4,
            Reason::BindRefused => 3,
            Reason::TlsFailed => 2,
            Reason::DirectoryBusy => 1,
            _ => 0,
        };
        // Of equals the first: it is the one that people prefer.
        let Some(most) = self.failures.iter().rev().max_by_key(|failure| weight(failure)) else {
            return (String::new(), problem(Reason::DirectoryUnreachable, "the connection names no server"));
        };
        let told = |failure: &Failure| format!("{}: {}", failure.url, failure.problem.message);
        let others = self.failures.iter().filter(|failure| failure.url != most.url).map(told);
        let message = std::iter::once(told(most)).chain(others).collect::<Vec<_>>().join("; ");
        let url = if most.answered { most.url.clone() } else { String::new() };
        (url, problem(most.problem.reason, message))
    }
}

/// All that connecting takes, or why there is no sense in it.
pub(super) async fn prepare<'a>(access: &'a Access, credentials: &'a Credentials, redaction: &'a Redaction) -> Result<Way<'a>, Problem> {
    // A bind without a password succeeds, as nobody (RFC 4513 5.1.2); so does one without a name.
    let refuse = |why: &str| problem(Reason::BindRefused, why);
    if credentials.password.expose().is_empty() || access.bind_dn.is_empty() {
        return Err(refuse("a bind without a name and a password would be anonymous"));
    }
    let Ok(password) = std::str::from_utf8(credentials.password.expose()) else { return Err(refuse("the password is not UTF-8")) };
    let tls = match access.tls {
        TlsMode::None => None,
        TlsMode::Ldaps | TlsMode::StartTls => Some(tls_config(credentials.ca.clone()).await?),
    };
    Ok(Way { access, password, tls, redaction })
}

async fn tls_config(ca: Option<Vec<u8>>) -> Result<Arc<ClientConfig>, Problem> {
    // The system's certificates are hundreds of files.
    let config = spawn_blocking(move || tls::config(ca.as_deref())).await;
    config.unwrap_or_else(|error| Err(error.to_string())).map_err(|why| problem(Reason::TlsFailed, why))
}

/// The library panics on bytes that are no LDAP; a server that sends some has gone as far as we are concerned.
pub(super) async fn no_panic<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let done = AssertUnwindSafe(Box::pin(work)).catch_unwind().await;
    done.unwrap_or_else(|_| Err(problem(Reason::ConnectionLost, "the server sent what is no LDAP")))
}
