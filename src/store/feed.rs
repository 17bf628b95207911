//! What others than the leader changed: the outbox, read and deleted by id, with LISTEN only to wake its reader (DESIGN 4).
//!
//! Whoever changes something notifies only where it finds the outbox empty. So a reader that was woken stays awake for a moment: it
//! looks by itself every now and then, and leaves the newest row that it has read in the outbox until nothing came for a while. One change
//! alone is heard at once; of a flood each source notifies about once a second, and no commit waits for others' notifications (Postgres
//! lets one transaction at a time notify).

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::time::Instant;

use super::deadline::{LONG, SHORT, deadline};
use super::{Leader, Store, StoreError};
use crate::model::{CanonicalAddress, DomainName};
use crate::plan::Subject;

/// A lost notification costs no more than this.
const LOOK: Duration = Duration::from_secs(1);
/// How long the reader stays awake after the last change, and how often it looks meanwhile.
const AWAKE: Duration = Duration::from_secs(1);
const PACE: Duration = Duration::from_millis(20);
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
    kept: Option<Kept>,
}

/// The row that tells writers that somebody is awake. It was read and handed on.
#[derive(Debug, Clone, Copy)]
struct Kept {
    id: i64,
    until: Instant,
}

impl Feed {
    pub async fn open(store: &Store) -> Result<Self, StoreError> {
        deadline("opening the change feed", SHORT, async {
            let mut listener = PgListener::connect_with(store.pool()).await?;
            listener.listen("mailroster_change").await?;
            Ok(Self { listener, store: store.clone(), kept: None })
        })
        .await
    }

    /// Waits until there may be something to read: a notification, or a second; while awake, a row or the end of that.
    ///
    /// # Errors
    /// The connection is gone; open a new feed.
    pub async fn wait(&mut self) -> Result<(), StoreError> {
        let Some(kept) = self.kept else {
            return match tokio::time::timeout(LOOK, self.listener.recv()).await {
                Err(_) => Ok(()),
                Ok(received) => Ok(received.map(|_| ())?),
            };
        };
        loop {
            // Many may have found the outbox empty at a time; all that they say is heard at once.
            let mut told = false;
            let listening = async {
                loop {
                    self.listener.recv().await?;
                    told = true;
                }
            };
            if let Ok(broken) = tokio::time::timeout(PACE, listening).await {
                return broken;
            }
            if told || kept.until <= Instant::now() || self.has_more(kept.id).await? {
                return Ok(());
            }
        }
    }

    async fn has_more(&self, kept: i64) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT FROM mailroster.change WHERE id <> $1)";
        let asked = async { Ok::<bool, StoreError>(sqlx::query_scalar(sql).bind(kept).fetch_one(self.store.pool()).await?) };
        deadline("looking into the outbox", SHORT, asked).await
    }

    /// What is in the outbox, with the ids to [`Leader::forget`] once somebody has taken charge of it: what is lost on the way from here
    /// to there is found again at the next look.
    pub async fn look(&self) -> Result<(Dirty, Vec<i64>), StoreError> {
        let asked = async {
            let sql = "SELECT id, subject FROM mailroster.change WHERE id IS DISTINCT FROM $2 ORDER BY id LIMIT $1";
            let kept = self.kept.map(|kept| kept.id);
            Ok::<Vec<(i64, String)>, StoreError>(sqlx::query_as(sql).bind(BATCH).bind(kept).fetch_all(self.store.pool()).await?)
        };
        let rows = deadline("reading the outbox", LONG, asked).await?;
        let mut dirty = Dirty::default();
        let subjects: BTreeSet<_> = rows.iter().map(|(_, subject)| subject).collect();
        for subject in subjects {
            dirty.note(subject);
        }
        Ok((dirty, rows.into_iter().map(|(id, _)| id).collect()))
    }

    /// Of the ids of a look, and what was kept before, those that may go now.
    pub fn keep_one(&mut self, mut ids: Vec<i64>) -> Vec<i64> {
        let now = Instant::now();
        match (ids.pop(), self.kept) {
            (Some(newest), before) => {
                self.kept = Some(Kept { id: newest, until: now + AWAKE });
                ids.extend(before.map(|kept| kept.id));
            }
            (None, Some(kept)) if kept.until <= now => {
                self.kept = None;
                ids.push(kept.id);
            }
            (None, _) => {}
        }
        ids
    }

    /// The store is another one than before: what was read there says nothing of its rows.
    pub fn begin_anew(&mut self) {
        self.kept = None;
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
