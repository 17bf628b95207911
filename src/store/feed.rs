//! What others than the leader changed: the outbox, read and deleted by id, with LISTEN only to wake its reader (DESIGN 4).

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::postgres::PgListener;

use super::deadline::{LONG, SHORT, deadline};
use super::{Leader, Store, StoreError};
use crate::model::{CanonicalAddress, DomainName};
use crate::plan::Subject;

/// A lost notification costs no more than this.
const LOOK: Duration = Duration::from_secs(1);
/// Rows taken at once.
const BATCH: i64 = 5_000;

/// What became dirty.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Dirty {
    pub subjects: BTreeSet<Subject>,
    /// Addresses of which mail servers reported something. It concerns who declares them, and not the thousands that may name them.
    pub reported: BTreeSet<Subject>,
    /// Domains with new learned senders.
    pub learned: BTreeSet<DomainName>,
}

impl Dirty {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads the outbox.
#[derive(Debug)]
pub struct Feed {
    listener: PgListener,
    store: Store,
}

impl Feed {
    pub async fn open(store: &Store) -> Result<Self, StoreError> {
        deadline("opening the change feed", SHORT, async {
            let mut listener = PgListener::connect_with(store.pool()).await?;
            listener.listen("mailroster_change").await?;
            Ok(Self { listener, store: store.clone() })
        })
        .await
    }

    /// Waits until there may be something to read: a notification, or a second.
    ///
    /// # Errors
    /// The connection is gone; open a new feed.
    pub async fn wait(&mut self) -> Result<(), StoreError> {
        match tokio::time::timeout(LOOK, self.listener.recv()).await {
            Err(_) => Ok(()),
            Ok(received) => Ok(received.map(|_| ())?),
        }
    }

    /// What is in the outbox, with the ids to [`Leader::forget`] once somebody has taken charge of it: what is lost on the way from here
    /// to there is found again at the next look.
    pub async fn look(&self) -> Result<(Dirty, Vec<i64>), StoreError> {
        let asked = async {
            let sql = "SELECT id, subject FROM mailroster.change ORDER BY id LIMIT $1";
            Ok::<Vec<(i64, String)>, StoreError>(sqlx::query_as(sql).bind(BATCH).fetch_all(self.store.pool()).await?)
        };
        let rows = deadline("reading the outbox", LONG, asked).await?;
        let mut dirty = Dirty::default();
        let subjects: BTreeSet<_> = rows.iter().map(|(_, subject)| subject).collect();
        for subject in subjects {
            dirty.note(subject);
        }
        Ok((dirty, rows.into_iter().map(|(id, _)| id).collect()))
    }
}

impl Leader {
    /// Removes rows from the outbox by id: smaller ids may commit later. One that was deposed removes nothing: what it read was for its
    /// successor, too.
    pub async fn forget(&self, ids: Vec<i64>) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        deadline("emptying the outbox", LONG, async {
            let sql = "DELETE FROM mailroster.change WHERE id = ANY ($1) AND EXISTS (SELECT FROM mailroster.installation WHERE epoch = $2 AND leader = $3)";
            sqlx::query(sql).bind(ids).bind(self.epoch()).bind(self.holder()).execute(self.store().pool()).await?;
            Ok(())
        })
        .await
    }
}

impl Dirty {
    fn note(&mut self, text: &str) {
        let (sort, rest) = text.split_once(' ').unwrap_or((text, ""));
        let address = || CanonicalAddress::from_store(rest);
        match sort {
            "address" => {
                self.subjects.extend([Subject::Address(address()), Subject::Link(address()), Subject::Member(address())]);
            }
            "report" => {
                self.reported.insert(Subject::Address(address()));
            }
            "domain" => {
                self.subjects.insert(Subject::Domain(DomainName::from_store(rest)));
            }
            "role" => {
                if let Some((namespace, name)) = rest.split_once('/') {
                    self.subjects.insert(Subject::Role(namespace.to_owned(), name.to_owned()));
                }
            }
            "settings" => {
                self.subjects.insert(Subject::Settings(rest.to_owned()));
            }
            "learned" => {
                self.learned.insert(DomainName::from_store(rest));
            }
            // A newer schema may say more than this version knows.
            _ => tracing::warn!(subject = sort, "the store's outbox has a subject that this version does not know"),
        }
    }
}
