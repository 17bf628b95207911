//! Reading a directory, on a real slapd and a real domain controller (SPEC Y1 to Y5, Y9): what comes, and that nothing but a read that saw everything is complete.

mod active_directory;
mod entries;
mod faults;
mod increments;
mod limits;
mod scripted;
mod way;

use std::collections::BTreeMap;
use std::time::Duration;

use mailroster::directory::{self, Credentials, Ending};
use mailroster::model::{Access, AttributeNames, DirectoryType, Entry, Secret, SecretKey, ServerUrl, TlsMode};
use mailroster::plan::reason::Reason;
use tokio::sync::mpsc;

use crate::support::slapd::{PASSWORD, SUFFIX};
use crate::support::{self, Slapd};

const NOW: &str = "2026-01-01T00:00:00Z";

/// A test's own part of a server.
struct Tree<'a> {
    slapd: &'a Slapd,
    base: String,
}

impl Tree<'static> {
    async fn new() -> Self {
        Self::of(support::slapd().await)
    }
}

impl<'a> Tree<'a> {
    fn of(slapd: &'a Slapd) -> Self {
        Self { slapd, base: slapd.fresh_base() }
    }

    /// Adds `user` entries with these lines: (cn, lines).
    fn add_users(&self, users: &[(&str, &str)]) {
        let entry = |(name, lines): &(&str, &str)| self.user(name, lines);
        self.slapd.add(&users.iter().map(entry).collect::<String>());
    }

    /// Adds users u0, u1, … with a primary address each.
    fn add_people(&self, count: usize) {
        let person = |number| self.user(&format!("u{number}"), &format!("proxyAddresses: SMTP:u{number}@corp.test"));
        self.slapd.add(&(0..count).map(person).collect::<String>());
    }

    fn user(&self, name: &str, lines: &str) -> String {
        format!("dn: cn={name},{}\nobjectClass: user\ncn: {name}\nsn: {name}\n{lines}\n\n", self.base)
    }

    fn add_group(&self, name: &str, lines: &str) {
        self.slapd.add(&format!("dn: cn={name},{}\nobjectClass: group\ncn: {name}\n{lines}\n", self.base));
    }

    /// All of it, in clear text, ten entries a page.
    fn access(&self) -> Access {
        access(&self.base, self.slapd.ldap())
    }
}

fn access(base: &str, port: u16) -> Access {
    let text = str::to_owned;
    let present = "(|(proxyAddresses=*)(mail=*))";
    Access {
        directory: DirectoryType::OpenLdap,
        servers: vec![server(port)],
        tls: TlsMode::None,
        ca: None,
        server_name: None,
        bind_dn: account("sync"),
        bind_password: SecretKey { name: text("ldap"), key: text("password") },
        base_dn: text(base),
        user_filter: format!("(&{present}(objectClass=user))"),
        group_filter: format!("(&{present}(objectClass=group))"),
        attributes: AttributeNames {
            id: text("entryUUID"),
            mail: text("mail"),
            aliases: text("proxyAddresses"),
            display_name: text("displayName"),
            disabled: String::new(),
            member: text("member"),
            extra: [(text("department"), text("department"))].into(),
        },
        page_size: 10,
        timeout: Duration::from_secs(20),
    }
}

fn server(port: u16) -> ServerUrl {
    ServerUrl { host: "127.0.0.1".to_owned(), port }
}

fn account(name: &str) -> String {
    format!("cn={name},{SUFFIX}")
}

fn credentials() -> Credentials {
    Credentials { password: Secret::new(PASSWORD.as_bytes().to_vec()), ca: None }
}

/// All that a read gave.
struct Outcome {
    ending: Ending,
    /// By the first part of their DN: `cn=u1`.
    entries: BTreeMap<String, Entry>,
    unreadable: Vec<String>,
    pages: usize,
}

impl Outcome {
    /// The addresses of an entry, in order, a star before the primary.
    fn addresses(&self, name: &str) -> String {
        let shown = |value: &mailroster::model::MailValue| format!("{}{}", if value.primary { "*" } else { "" }, value.address.canonical());
        self.entries[name].values.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    /// Why the read is not complete.
    fn problem(&self) -> (Reason, &str) {
        let problem = self.ending.complete.as_ref().expect_err("a read that is not complete");
        assert!(!problem.message.contains(PASSWORD), "Y9: {}", problem.message);
        (problem.reason, &problem.message)
    }

    #[track_caller]
    fn fails(&self, reason: Reason, words: &str) {
        let (seen, message) = self.problem();
        assert_eq!(seen, reason, "{message}");
        assert!(message.contains(words), "{message}");
    }

    #[track_caller]
    fn is_complete(&self, entries: usize) {
        assert!(self.ending.complete.is_ok(), "{:?}", self.ending);
        assert_eq!((self.entries.len(), self.ending.read), (entries, entries as u64));
    }
}

async fn read(access: &Access) -> Outcome {
    read_with(access, &credentials(), async |_| {}).await
}

/// Reads, and lets `between` do something after each page, while the next ones wait.
async fn read_with(access: &Access, credentials: &Credentials, mut between: impl AsyncFnMut(usize)) -> Outcome {
    let (sender, mut receiver) = mpsc::channel(1);
    let reading = directory::read(access, credentials, NOW.parse().expect("a time"), sender);
    let (mut entries, mut unreadable, mut pages) = (BTreeMap::new(), Vec::new(), 0);
    let taking = async {
        while let Some(page) = receiver.recv().await {
            // How far the server has come is told before any entry.
            if page.begun.is_some() {
                assert!(pages == 0 && page.entries.is_empty());
                continue;
            }
            pages += 1;
            unreadable.extend(page.unreadable);
            for entry in page.entries {
                let name = entry.dn.split([',']).next().expect("a DN").to_owned();
                assert!(entries.insert(name, entry).is_none(), "no entry comes twice");
            }
            between(pages).await;
        }
    };
    let (ending, ()) = tokio::join!(Box::pin(reading), taking);
    Outcome { ending, entries, unreadable, pages }
}
