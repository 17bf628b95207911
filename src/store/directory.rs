//! What a directory run asks of the store: what was known before, who is missing, what counts against the guard (SPEC Y5 to Y7, Y10, Y11).
//! What it writes there is in [`keep`].

mod keep;

use std::collections::{BTreeSet, HashMap};

use futures::TryStreamExt as _;
use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::types::Json;

use super::deadline::{LONG, SHORT, deadline};
use super::rows::{LeaverJson, digest};
use super::{Store, StoreError};
use crate::model::{CanonicalAddress, DomainName, EntryId, ResourceKey, Signs};
use crate::plan::Subject;
use crate::plan::desired::LeaverAction;
use crate::plan::directory::guard::{ConnectionNumbers, WINDOW};
use crate::plan::directory::rows::{ConnectionRow, Leaver};

/// What was last read of an entry, as far as a run looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// None: it is planned again although it reads the same.
    pub digest: Option<[u8; 16]>,
    pub signs: Signs,
    /// It holds a mailbox or a list.
    pub holds: bool,
}

/// What of a connection waits for a yes besides leavers.
#[derive(Debug, Clone, Default)]
pub struct Holders {
    /// Addresses that another entry has than before, and which (Y1).
    pub new: Vec<(CanonicalAddress, EntryId)>,
    /// Where entries that exchange addresses are and are to be (L8).
    pub exchanges: Vec<(CanonicalAddress, CanonicalAddress)>,
}

/// Who is missing, and how that is known (Y6, Y7).
#[derive(Debug, Clone)]
pub enum Absences {
    /// A full read lacked these, and what was missed before it misses once more.
    Complete { missing: Vec<EntryId>, proof: crate::model::Complete },
    /// The server told all that is left since a mark, and these are not among them: that counts once.
    Told { missing: Vec<EntryId> },
    /// The server shows that these are gone: that counts as all the runs which have to miss them.
    Shown { gone: Vec<EntryId>, missed: u32 },
}

/// What the guard of a connection said.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    /// Leavers that may be seen through.
    pub cleared: Vec<CanonicalAddress>,
    /// They were approved: they count against no limit.
    pub approved: bool,
    /// All others are held.
    pub hold: bool,
    /// These were said to be the same people, or to exchange as they do.
    pub holders: Option<Holders>,
    /// The token that said so.
    pub handled: Option<String>,
}

/// How a run ended, for the store.
#[derive(Debug, Clone)]
pub struct Conclusion {
    pub state: ConnectionRow,
    /// Domains of which a complete run said everything.
    pub covered: Vec<DomainName>,
    /// All domains that it serves now.
    pub served: Vec<DomainName>,
    /// Until when that is fresh; of the domains covered before, too. None: the run was not clean.
    pub fresh_until: Option<Timestamp>,
}

impl Store {
    /// All entries of a connection that are known. Streams, for there may be a hundred thousand.
    ///
    /// # Errors
    /// The store's.
    pub async fn known_entries(&self, connection: &ResourceKey) -> Result<HashMap<EntryId, Known>, StoreError> {
        self.known(connection, None).await
    }

    /// Those of these entries that are known.
    ///
    /// # Errors
    /// The store's.
    pub async fn known_of(&self, connection: &ResourceKey, ids: &[EntryId]) -> Result<HashMap<EntryId, Known>, StoreError> {
        self.known(connection, Some(ids.iter().map(|id| id.as_str().to_owned()).collect())).await
    }

    async fn known(&self, connection: &ResourceKey, ids: Option<Vec<String>>) -> Result<HashMap<EntryId, Known>, StoreError> {
        deadline("reading the known entries of a directory", LONG, async {
            let mut rows = match &ids {
                None => sqlx::query(KNOWN),
                Some(_) => sqlx::query(KNOWN_OF),
            }
            .bind(&connection.namespace)
            .bind(&connection.name)
            .bind(&ids)
            .fetch(self.pool());
            let mut known = HashMap::new();
            while let Some(row) = rows.try_next().await? {
                let signs: i16 = row.try_get(2)?;
                let hex: Option<String> = row.try_get(1)?;
                let entry = Known {
                    digest: hex.as_deref().and_then(digest),
                    signs: Signs(u8::try_from(signs).unwrap_or(0)),
                    holds: row.try_get(3)?,
                };
                known.insert(EntryId::from_store(row.try_get(0)?), entry);
            }
            Ok(known)
        })
        .await
    }

    /// The domains of a namespace.
    ///
    /// # Errors
    /// The store's.
    pub async fn domains_of(&self, namespace: &str) -> Result<Vec<DomainName>, StoreError> {
        let sql = "SELECT name FROM mailroster.domain WHERE namespace = $1 ORDER BY name";
        let asked = async { Ok::<Vec<String>, StoreError>(sqlx::query_scalar(sql).bind(namespace).fetch_all(self.pool()).await?) };
        Ok(deadline("reading the domains of a namespace", SHORT, asked).await?.iter().map(|name| DomainName::from_store(name)).collect())
    }

    /// What is kept of a connection. None: it has never run.
    ///
    /// # Errors
    /// The store's.
    pub async fn connection_state(&self, connection: &ResourceKey) -> Result<Option<ConnectionRow>, StoreError> {
        let sql = "SELECT state FROM mailroster.connection WHERE namespace = $1 AND name = $2";
        let asked = async {
            let row = sqlx::query_scalar(sql).bind(&connection.namespace).bind(&connection.name).fetch_optional(self.pool());
            Ok::<Option<Json<ConnectionRow>>, StoreError>(row.await?)
        };
        Ok(deadline("reading the state of a connection", SHORT, asked).await?.map(|Json(state)| state))
    }

    /// All addresses of a connection that no entry carries.
    ///
    /// # Errors
    /// The store's.
    pub async fn leavers_of(&self, connection: &ResourceKey) -> Result<Vec<(CanonicalAddress, Leaver)>, StoreError> {
        let sql = "SELECT jsonb_build_object('address', a.canonical, 'since', l.since, 'missed', l.missed, 'held', l.held, 'approved', l.approved, 'cleared_at', l.cleared_at)
            FROM mailroster.leaver l JOIN mailroster.address a ON a.id = l.address_id WHERE l.namespace = $1 AND l.connection = $2 ORDER BY a.canonical";
        deadline("reading who left a directory", LONG, async {
            let mut rows =
                sqlx::query_scalar::<_, Json<LeaverJson>>(sql).bind(&connection.namespace).bind(&connection.name).fetch(self.pool());
            let mut leavers = Vec::new();
            while let Some(Json(row)) = rows.try_next().await? {
                leavers.push(row.split());
            }
            Ok(leavers)
        })
        .await
    }

    /// The leavers that their guard let pass, in these namespaces; where none is named, in all. When more follows of each, only the leader
    /// knew that planned it last.
    ///
    /// # Errors
    /// The store's.
    pub async fn cleared_leavers(&self, namespaces: &[String]) -> Result<BTreeSet<Subject>, StoreError> {
        let sql = "SELECT a.canonical FROM mailroster.leaver l JOIN mailroster.address a ON a.id = l.address_id
            WHERE l.cleared_at IS NOT NULL AND (cardinality($1::text[]) = 0 OR l.namespace = ANY ($1))";
        let asked = async { Ok::<Vec<String>, StoreError>(sqlx::query_scalar(sql).bind(namespaces).fetch_all(self.pool()).await?) };
        let names = deadline("reading who was let go", LONG, asked).await?;
        Ok(names.iter().map(|name| Subject::Address(CanonicalAddress::from_store(name))).collect())
    }

    /// Who of those that the guard let pass takes no more mail once the action is carried out, and since when each is missing (Y6): lists and
    /// aliases that nobody declares, and what a domain takes mail for only because a directory has it.
    ///
    /// # Errors
    /// The store's.
    pub async fn ending_of(
        &self,
        connection: &ResourceKey,
        action: LeaverAction,
    ) -> Result<Vec<(CanonicalAddress, Timestamp)>, StoreError> {
        let asked = async {
            let rows = sqlx::query_scalar(ENDING).bind(&connection.namespace).bind(&connection.name).bind(action != LeaverAction::Keep);
            Ok::<Json<Vec<(String, Timestamp)>>, StoreError>(rows.fetch_one(self.pool()).await?)
        };
        let Json(rows) = deadline("reading who takes no more mail soon", LONG, asked).await?;
        Ok(rows.into_iter().map(|(address, since)| (CanonicalAddress::from_store(&address), since)).collect())
    }

    /// The mailboxes and lists that these entries hold.
    ///
    /// # Errors
    /// The store's.
    pub async fn addresses_of(&self, connection: &ResourceKey, entries: &[EntryId]) -> Result<Vec<CanonicalAddress>, StoreError> {
        let sql = "SELECT a.canonical FROM unnest($3::text[]) AS m(id)
            JOIN mailroster.entry e ON e.namespace = $1 AND e.connection = $2 AND e.id = m.id JOIN mailroster.address a ON a.id = e.address_id";
        let ids: Vec<_> = entries.iter().map(EntryId::as_str).collect();
        let asked = async {
            let rows = sqlx::query_scalar(sql).bind(&connection.namespace).bind(&connection.name).bind(ids).fetch_all(self.pool());
            Ok::<Vec<String>, StoreError>(rows.await?)
        };
        Ok(deadline("reading what entries hold", LONG, asked).await?.iter().map(|name| CanonicalAddress::from_store(name)).collect())
    }

    /// How many entries of a connection came with each telling attribute, in the order of [`Signs::ALL`].
    ///
    /// # Errors
    /// The store's.
    pub async fn signs_of(&self, connection: &ResourceKey) -> Result<[u64; 8], StoreError> {
        let sql = "SELECT b.bit, count(*) FILTER (WHERE e.signs & (1 << b.bit) <> 0) FROM generate_series(0, 7) AS b(bit)
            LEFT JOIN mailroster.entry e ON e.namespace = $1 AND e.connection = $2 GROUP BY b.bit ORDER BY b.bit";
        let asked = async {
            let rows = sqlx::query_as(sql).bind(&connection.namespace).bind(&connection.name).fetch_all(self.pool());
            Ok::<Vec<(i32, i64)>, StoreError>(rows.await?)
        };
        let mut counts = [0; 8];
        for (count, (_, found)) in counts.iter_mut().zip(deadline("counting what entries came with", LONG, asked).await?) {
            *count = u64::try_from(found).unwrap_or(0);
        }
        Ok(counts)
    }

    /// Whether no entry carries some address of a connection.
    ///
    /// # Errors
    /// The store's.
    pub async fn misses_somebody(&self, connection: &ResourceKey) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT FROM mailroster.leaver WHERE namespace = $1 AND connection = $2 AND cleared_at IS NULL)";
        let asked = async {
            let row = sqlx::query_scalar(sql).bind(&connection.namespace).bind(&connection.name).fetch_one(self.pool());
            Ok::<bool, StoreError>(row.await?)
        };
        deadline("looking for who left a directory", SHORT, asked).await
    }

    /// Other connections of the namespace with entries whose address was another's at their last run (Y3, Y8).
    ///
    /// # Errors
    /// The store's.
    pub async fn unfinished_elsewhere(&self, connection: &ResourceKey) -> Result<Vec<ResourceKey>, StoreError> {
        let sql = "SELECT DISTINCT connection FROM mailroster.entry WHERE namespace = $1 AND connection <> $2 AND digest IS NULL AND address_id IS NULL";
        let asked = async {
            let rows = sqlx::query_scalar(sql).bind(&connection.namespace).bind(&connection.name).fetch_all(self.pool());
            Ok::<Vec<String>, StoreError>(rows.await?)
        };
        let names = deadline("looking for who else wants an address", SHORT, asked).await?;
        Ok(names.iter().map(|name| ResourceKey::new(connection.kind, &connection.namespace, name)).collect())
    }

    /// Whether some entry may exchange its address now, for somebody said yes (L8), and whether some wants what another one had at the last
    /// run (Y3).
    ///
    /// # Errors
    /// The store's.
    pub async fn unfinished(&self, connection: &ResourceKey) -> Result<(bool, bool), StoreError> {
        let sql = "SELECT EXISTS (SELECT FROM mailroster.entry e WHERE e.namespace = $1 AND e.connection = $2 AND e.digest IS NULL AND e.exchange = 'Approved'),
            EXISTS (SELECT FROM mailroster.entry e WHERE e.namespace = $1 AND e.connection = $2 AND e.digest IS NULL
                AND NOT EXISTS (SELECT FROM mailroster.leaver l WHERE l.address_id = e.address_id))";
        let asked = async {
            let row = sqlx::query_as(sql).bind(&connection.namespace).bind(&connection.name).fetch_one(self.pool());
            Ok::<(bool, bool), StoreError>(row.await?)
        };
        deadline("looking for who wants another's address", SHORT, asked).await
    }

    /// The hash that was approved last, and acted then (C6).
    ///
    /// # Errors
    /// The store's.
    pub async fn handled_approval(&self, connection: &ResourceKey) -> Result<Option<String>, StoreError> {
        let sql = "SELECT token FROM mailroster.handled WHERE kind = 'DirectoryConnection' AND namespace = $1 AND name = $2 AND action = 'approve'";
        let asked = async {
            let row = sqlx::query_scalar(sql).bind(&connection.namespace).bind(&connection.name).fetch_optional(self.pool());
            Ok::<Option<String>, StoreError>(row.await?)
        };
        deadline("reading which approval acted", SHORT, asked).await
    }

    /// What a connection's guard counts.
    ///
    /// # Errors
    /// The store's.
    pub async fn connection_numbers(&self, connection: &ResourceKey) -> Result<ConnectionNumbers, StoreError> {
        let sql = "WITH day AS (SELECT mailroster.now() - $3 * interval '1 second' AS began),
            departed AS (SELECT count(DISTINCT d.subject) AS n FROM mailroster.departed d, day WHERE d.namespace = $1 AND d.connection = $2 AND d.at > day.began)
            SELECT (SELECT count(*) FROM mailroster.entry e WHERE e.namespace = $1 AND e.connection = $2 AND e.address_id IS NOT NULL) + departed.n,
                   (SELECT count(*) FROM mailroster.leaver l, day WHERE l.namespace = $1 AND l.connection = $2 AND NOT l.approved AND l.cleared_at > day.began) + departed.n
            FROM departed";
        let asked = async {
            let row = sqlx::query_as(sql).bind(&connection.namespace).bind(&connection.name).bind(WINDOW.as_secs());
            Ok::<(i64, i64), StoreError>(row.fetch_one(self.pool()).await?)
        };
        let (entries, done) = deadline("counting the entries of a directory", SHORT, asked).await?;
        Ok(ConnectionNumbers { entries: u64::try_from(entries).unwrap_or(0), done: u64::try_from(done).unwrap_or(0) })
    }

    /// New holders and exchanges of a connection.
    ///
    /// # Errors
    /// The store's.
    pub async fn holders_of(&self, connection: &ResourceKey) -> Result<Holders, StoreError> {
        let new = self.pairs(NEW_HOLDERS, connection).await?;
        let exchanges = self.pairs(EXCHANGES, connection).await?;
        let address = |text: &String| CanonicalAddress::from_store(text);
        Ok(Holders {
            new: new.iter().map(|(held, entry)| (address(held), EntryId::from_store(entry))).collect(),
            exchanges: exchanges.iter().map(|(from, to)| (address(from), address(to))).collect(),
        })
    }

    async fn pairs(&self, sql: &'static str, connection: &ResourceKey) -> Result<Vec<(String, String)>, StoreError> {
        let asked = async {
            let rows = sqlx::query_as(sql).bind(&connection.namespace).bind(&connection.name).fetch_all(self.pool());
            Ok::<Vec<(String, String)>, StoreError>(rows.await?)
        };
        deadline("reading who holds addresses anew", SHORT, asked).await
    }
}

const KNOWN: &str = "
SELECT id, encode(digest, 'hex'), signs, address_id IS NOT NULL FROM mailroster.entry WHERE namespace = $1 AND connection = $2 AND $3::text[] IS NULL";

const KNOWN_OF: &str = "
SELECT id, encode(digest, 'hex'), signs, address_id IS NOT NULL FROM mailroster.entry WHERE namespace = $1 AND connection = $2 AND id = ANY ($3)";

const ENDING: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_array(a.canonical, v.since) ORDER BY a.canonical), '[]')
FROM mailroster.leaver v JOIN mailroster.address a ON a.id = v.address_id JOIN mailroster.domain d ON d.id = a.domain_id
LEFT JOIN mailroster.link l ON l.alias_id = a.id
WHERE v.namespace = $1 AND v.connection = $2 AND v.cleared_at IS NOT NULL
  AND CASE WHEN a.is_alias THEN l.owner IS NULL
           WHEN a.origin = 'DistributionList' THEN a.owner IS NULL AND a.last_owner IS NULL
           ELSE $3 AND d.recipient_validation = 'Directory' END";

const NEW_HOLDERS: &str = "SELECT canonical, coalesce(entry, '') FROM mailroster.address WHERE namespace = $1 AND connection = $2 AND holder_since IS NOT NULL ORDER BY canonical";

const EXCHANGES: &str = "
SELECT a.canonical, e.exchange_to FROM mailroster.entry e JOIN mailroster.address a ON a.id = e.address_id
WHERE e.namespace = $1 AND e.connection = $2 AND e.exchange = 'Held' ORDER BY a.canonical";
