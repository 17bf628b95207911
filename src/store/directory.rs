//! What a directory run asks and keeps besides the batches that bring its entries: what was known before, who is missing, what the guard
//! said, how it went (SPEC Y5 to Y7, Y10, Y11).

use std::collections::HashMap;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use serde_json::json;
use sqlx::types::Json;
use sqlx::{PgConnection, Row as _};

use super::deadline::{LONG, SHORT, STATEMENT, deadline};
use super::rows::{LeaverJson, digest};
use super::{Leader, Store, StoreError};
use crate::model::{CanonicalAddress, DomainName, EntryId, ResourceKey, Signs};
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
    /// Addresses that another entry has than before (Y1).
    pub new: Vec<CanonicalAddress>,
    /// Addresses of entries that exchange them (L8).
    pub exchanges: Vec<CanonicalAddress>,
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

    /// What is kept of a connection.
    ///
    /// # Errors
    /// The store's.
    pub async fn connection_state(&self, connection: &ResourceKey) -> Result<ConnectionRow, StoreError> {
        let sql = "SELECT state FROM mailroster.connection WHERE namespace = $1 AND name = $2";
        let asked = async {
            let row = sqlx::query_scalar(sql).bind(&connection.namespace).bind(&connection.name).fetch_optional(self.pool());
            Ok::<Option<Json<ConnectionRow>>, StoreError>(row.await?)
        };
        Ok(deadline("reading the state of a connection", SHORT, asked).await?.map(|Json(state)| state).unwrap_or_default())
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
        Ok(Holders { new: self.names(NEW_HOLDERS, connection).await?, exchanges: self.names(EXCHANGES, connection).await? })
    }

    async fn names(&self, sql: &'static str, connection: &ResourceKey) -> Result<Vec<CanonicalAddress>, StoreError> {
        let asked = async {
            let rows = sqlx::query_scalar(sql).bind(&connection.namespace).bind(&connection.name).fetch_all(self.pool());
            Ok::<Vec<String>, StoreError>(rows.await?)
        };
        let names = deadline("reading who holds addresses anew", SHORT, asked).await?;
        Ok(names.iter().map(|name| CanonicalAddress::from_store(name)).collect())
    }
}

impl Leader {
    /// Notes who is missing (Y6).
    ///
    /// # Errors
    /// [`StoreError::Deposed`], or the store's.
    pub async fn miss(&self, connection: &ResourceKey, absences: &Absences) -> Result<(), StoreError> {
        let (ids, missed, everybody) = match absences {
            Absences::Complete { missing, proof: _ } => (missing, 1, true),
            Absences::Told { missing } => (missing, 1, false),
            Absences::Shown { gone, missed } => (gone, *missed, false),
        };
        let ids: Vec<_> = ids.iter().map(EntryId::as_str).collect();
        let input = json!({"ids": ids, "missed": missed, "everybody": everybody});
        let mut transaction = self.begin().await?;
        for sql in MISS {
            run(&mut transaction, sql, connection, &input).await?;
        }
        transaction.commit().await
    }

    /// Writes down what the guard said.
    ///
    /// # Errors
    /// [`StoreError::Deposed`], or the store's.
    pub async fn mark(&self, connection: &ResourceKey, marks: &Marks) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let c = &mut *transaction;
        if !marks.cleared.is_empty() {
            run(c, CLEAR, connection, &json!({"addresses": marks.cleared, "approved": marks.approved})).await?;
        }
        if marks.hold {
            run(c, HOLD, connection, &json!({})).await?;
        }
        if let Some(holders) = &marks.holders {
            for sql in SAME_HOLDERS {
                run(c, sql, connection, &json!({"holders": holders.new, "exchanges": holders.exchanges})).await?;
            }
        }
        if let Some(token) = &marks.handled {
            run(c, HANDLED, connection, &json!({"token": token})).await?;
        }
        transaction.commit().await
    }

    /// Writes down how a run went.
    ///
    /// # Errors
    /// [`StoreError::Deposed`], or the store's.
    pub async fn conclude(&self, connection: &ResourceKey, conclusion: &Conclusion) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let c = &mut *transaction;
        let state = serde_json::to_value(&conclusion.state).map_err(|error| StoreError::Row(error.to_string()))?;
        run(c, PUT_STATE, connection, &state).await?;
        if let Some(until) = conclusion.fresh_until {
            let names = |domains: &[DomainName]| domains.iter().map(ToString::to_string).collect::<Vec<_>>();
            let (covered, served) = (names(&conclusion.covered), names(&conclusion.served));
            for sql in COVER {
                run(c, sql, connection, &json!({"domains": covered, "served": served, "until": until})).await?;
            }
        }
        transaction.commit().await
    }
}

/// A statement over the connection's namespace, its name and a document.
async fn run(c: &mut PgConnection, sql: &'static str, connection: &ResourceKey, input: &serde_json::Value) -> Result<(), StoreError> {
    let executed = async {
        sqlx::query(sql).bind(&connection.namespace).bind(&connection.name).bind(Json(input)).execute(c).await?;
        Ok(())
    };
    deadline("keeping what a directory run found", STATEMENT, executed).await
}

const KNOWN: &str = "
SELECT id, encode(digest, 'hex'), signs, address_id IS NOT NULL FROM mailroster.entry WHERE namespace = $1 AND connection = $2 AND $3::text[] IS NULL";

const KNOWN_OF: &str = "
SELECT id, encode(digest, 'hex'), signs, address_id IS NOT NULL FROM mailroster.entry WHERE namespace = $1 AND connection = $2 AND id = ANY ($3)";

const NEW_HOLDERS: &str =
    "SELECT canonical FROM mailroster.address WHERE namespace = $1 AND connection = $2 AND holder_since IS NOT NULL ORDER BY canonical";

const EXCHANGES: &str = "
SELECT a.canonical FROM mailroster.entry e JOIN mailroster.address a ON a.id = e.address_id
WHERE e.namespace = $1 AND e.connection = $2 AND e.exchange = 'Held' ORDER BY a.canonical";

// An entry that is missing is planned again when it is back, whatever it reads like then.
const MISS: [&str; 4] = [
    "UPDATE mailroster.leaver l SET missed = l.missed + ($3->>'missed')::integer
     WHERE l.namespace = $1 AND l.connection = $2 AND l.cleared_at IS NULL
       AND (($3->>'everybody')::boolean OR l.address_id IN (SELECT e.address_id FROM jsonb_array_elements_text($3->'ids') AS m(id)
            JOIN mailroster.entry e ON e.namespace = $1 AND e.connection = $2 AND e.id = m.id))",
    "INSERT INTO mailroster.leaver (address_id, namespace, connection, since, missed)
     SELECT e.address_id, e.namespace, e.connection, mailroster.now(), ($3->>'missed')::integer FROM jsonb_array_elements_text($3->'ids') AS m(id)
     JOIN mailroster.entry e ON e.namespace = $1 AND e.connection = $2 AND e.id = m.id
     WHERE e.address_id IS NOT NULL ORDER BY e.address_id
     ON CONFLICT (address_id) DO NOTHING",
    "UPDATE mailroster.entry e SET digest = NULL FROM jsonb_array_elements_text($3->'ids') AS m(id)
     WHERE e.namespace = $1 AND e.connection = $2 AND e.id = m.id AND e.digest IS NOT NULL",
    "DELETE FROM mailroster.entry e USING jsonb_array_elements_text($3->'ids') AS m(id)
     WHERE e.namespace = $1 AND e.connection = $2 AND e.id = m.id AND e.address_id IS NULL",
];

const CLEAR: &str = "
UPDATE mailroster.leaver l SET cleared_at = mailroster.now(), held = false, approved = l.approved OR ($3->>'approved')::boolean
FROM jsonb_array_elements_text($3->'addresses') AS c(address) JOIN mailroster.address a ON a.canonical = c.address
WHERE l.address_id = a.id AND l.namespace = $1 AND l.connection = $2";

const HOLD: &str = "
UPDATE mailroster.leaver l SET held = true
WHERE l.namespace = $1 AND l.connection = $2 AND l.cleared_at IS NULL AND NOT l.held AND $3::jsonb IS NOT NULL";

const SAME_HOLDERS: [&str; 3] = [
    "INSERT INTO mailroster.audit (actor, subject, action, reason, before, after)
     SELECT 'DirectoryConnection/' || $1 || '/' || $2, 'address ' || a.canonical, 'Updated', 'SameHolder',
            jsonb_build_object('holder_since', a.holder_since), jsonb_build_object('holder_since', NULL)
     FROM jsonb_array_elements_text($3->'holders') AS h(address) JOIN mailroster.address a ON a.canonical = h.address
     WHERE a.namespace = $1 AND a.connection = $2 AND a.holder_since IS NOT NULL",
    "UPDATE mailroster.address a SET holder_since = NULL FROM jsonb_array_elements_text($3->'holders') AS h(address)
     WHERE a.canonical = h.address AND a.namespace = $1 AND a.connection = $2 AND a.holder_since IS NOT NULL",
    "UPDATE mailroster.entry e SET exchange = 'Approved', digest = NULL
     FROM jsonb_array_elements_text($3->'exchanges') AS x(address) JOIN mailroster.address a ON a.canonical = x.address
     WHERE e.address_id = a.id AND e.namespace = $1 AND e.connection = $2 AND e.exchange = 'Held'",
];

const HANDLED: &str = "
INSERT INTO mailroster.handled (kind, namespace, name, action, token) VALUES ('DirectoryConnection', $1, $2, 'approve', $3->>'token')
ON CONFLICT (kind, namespace, name, action) DO UPDATE SET token = EXCLUDED.token";

const PUT_STATE: &str = "
INSERT INTO mailroster.connection (namespace, name, state) VALUES ($1, $2, $3)
ON CONFLICT (namespace, name) DO UPDATE SET state = EXCLUDED.state";

// A domain that left the namespace or the connection is covered no more.
const COVER: [&str; 3] = [
    "DELETE FROM mailroster.covered_domain c WHERE c.namespace = $1 AND c.connection = $2 AND NOT $3->'served' ? c.domain",
    "UPDATE mailroster.covered_domain c SET fresh_until = ($3->>'until')::timestamptz WHERE c.namespace = $1 AND c.connection = $2",
    "INSERT INTO mailroster.covered_domain (namespace, connection, domain, fresh_until)
     SELECT $1, $2, d.name, ($3->>'until')::timestamptz FROM jsonb_array_elements_text($3->'domains') AS d(name)
     ON CONFLICT (domain, namespace, connection) DO UPDATE SET fresh_until = EXCLUDED.fresh_until",
];
