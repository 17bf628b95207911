//! LDAP: reading a directory (SPEC 8), up to the proof that everything was seen.
//!
//! A read asks the servers in order, takes page after page, turns what comes into [`Entry`] values and hands them over through a bounded
//! channel: its memory does not grow with the directory. What came before a fault has been handed over; only a read without any ends with
//! a [`Complete`]. From absence something may follow on that alone (Y5), or on what the server itself shows to be gone ([`Gone`], Y11).
//!
//! | file | owns |
//! |---|---|
//! | `read` | everything, and the proof |
//! | `increment`, `marks`, `sync_repl`, `usn` | what changed since a read, and whether a server can tell |
//! | `servers`, `connect`, `tls` | the way to a server; never in clear text unless it was asked for |
//! | `wire` | what the library is spared of what a server sends |
//! | `probe`, `certificate` | what a server shows of itself, for people |
//! | `search`, `raw`, `hand_over` | pages, cookies, ranges, references; from the wire to the reader |
//! | `asked`, `entry`, `values`, `account` | pure: what an entry means (Y1 to Y4) |
//! | `answers`, `redaction` | what a server's refusal is to us, and what of it may be shown (Y9) |
//!
//! It must not decide what is done with an entry, know a tenant's domains, or write anywhere.

mod account;
mod answers;
mod asked;
mod certificate;
mod connect;
mod entry;
mod hand_over;
mod increment;
mod marks;
mod probe;
mod raw;
mod read;
mod redaction;
mod search;
mod servers;
mod sync_repl;
mod tls;
mod usn;
mod values;
mod wire;

pub use certificate::Certificate;
pub use increment::{Gone, Increment, changes};
pub(crate) use marks::has_reached;
pub use probe::{Changes, PageLimit, Probe, Sight, probe};
pub use read::read;

use crate::model::{Complete, Entry, Secret};
use crate::plan::directory::rows::{Mark, Problem};

/// What a read takes besides [`crate::model::Access`]: the Secrets that it names, resolved.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Of the bind name: UTF-8, not empty.
    pub password: Secret<Vec<u8>>,
    /// PEM certificates of the authorities that servers' certificates must come from. None: those of the system.
    pub ca: Option<Vec<u8>>,
}

/// Some entries of a read, at most about as many as a page has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// Entries that can't be told apart from others, for people: no id can be read, or nothing at all. They make the read incomplete.
    pub unreadable: Vec<String>,
    /// Of the first page of a server, which has nothing else: how far that had come before its first entry, where it can tell.
    pub begun: Option<Option<Mark>>,
}

/// How a read ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The URL of the server that answered; empty: none did.
    pub server: String,
    /// The proof that all there is was handed over, or why there is none.
    pub complete: Result<Complete, Problem>,
    /// Entries that came.
    pub read: u64,
    /// Where [`changes`] may go on once a complete read was taken in; None: this server has no such thing.
    pub mark: Option<Mark>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DirectoryType;

    /// It must compile: the engine runs reads as tasks of their own.
    #[test]
    fn reads_can_be_spawned() {
        fn spawnable<T: Send>(_: T) {}
        let access = asked::tests::access(DirectoryType::OpenLdap);
        let credentials = Credentials { password: Secret::new(Vec::new()), ca: None };
        let mark = Mark { server: String::new(), mechanism: String::new(), value: String::new() };
        let (pages, _nobody) = tokio::sync::mpsc::channel(1);
        spawnable(read(&access, &credentials, jiff::Timestamp::UNIX_EPOCH, pages.clone()));
        spawnable(changes(&access, &credentials, jiff::Timestamp::UNIX_EPOCH, &mark, pages));
    }
}
