//! What a directory run writes itself, besides the batches that bring its entries: who is missing, what the guard said, how it went.

use serde_json::json;
use sqlx::PgConnection;
use sqlx::types::Json;
use tokio_util::sync::CancellationToken;

use super::{Absences, Conclusion, Marks};
use crate::model::{DomainName, EntryId, ResourceKey};
use crate::plan::directory::rows::ConnectionRow;
use crate::store::deadline::{STATEMENT, deadline};
use crate::store::leader::Fenced;
use crate::store::{Leader, StoreError};

impl Leader {
    /// A transaction of a run. Whether somebody wants the run is asked behind the fence. Whoever ends it (its resource is deleted, frozen or
    /// changed, the store is another than it began with) cancels `stop` before writing what follows from that: so nothing of a run comes
    /// after what follows from its end.
    async fn begin_for_run(&self, stop: &CancellationToken) -> Result<Fenced<'_>, StoreError> {
        let transaction = self.begin().await?;
        if stop.is_cancelled() { Err(StoreError::Stopped) } else { Ok(transaction) }
    }

    /// What is kept of a connection. One that has never run has a row from here on, before anything that its first run brings: deleted
    /// in the middle of that, it ends like any other (Y8).
    ///
    /// # Errors
    /// [`StoreError::Deposed`], [`StoreError::Stopped`], or the store's.
    pub async fn open_connection(&self, connection: &ResourceKey, stop: &CancellationToken) -> Result<ConnectionRow, StoreError> {
        if let Some(state) = self.store().connection_state(connection).await? {
            return Ok(state);
        }
        let state = ConnectionRow::default();
        let mut transaction = self.begin_for_run(stop).await?;
        run(&mut transaction, OPEN, connection, &document(&state)?).await?;
        transaction.commit().await?;
        Ok(state)
    }

    /// Notes who is missing (Y6).
    ///
    /// # Errors
    /// [`StoreError::Deposed`], [`StoreError::Stopped`], or the store's.
    pub async fn miss(&self, connection: &ResourceKey, absences: &Absences, stop: &CancellationToken) -> Result<(), StoreError> {
        let (ids, missed, everybody) = match absences {
            Absences::Complete { missing, proof: _ } => (missing, 1, true),
            Absences::Told { missing } => (missing, 1, false),
            Absences::Shown { gone, missed } => (gone, *missed, false),
        };
        let ids: Vec<_> = ids.iter().map(EntryId::as_str).collect();
        let input = json!({"ids": ids, "missed": missed, "everybody": everybody});
        let mut transaction = self.begin_for_run(stop).await?;
        for sql in MISS {
            run(&mut transaction, sql, connection, &input).await?;
        }
        transaction.commit().await
    }

    /// Writes down what the guard said.
    ///
    /// # Errors
    /// [`StoreError::Deposed`], [`StoreError::Stopped`], or the store's.
    pub async fn mark(&self, connection: &ResourceKey, marks: &Marks, stop: &CancellationToken) -> Result<(), StoreError> {
        let mut transaction = self.begin_for_run(stop).await?;
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

    /// Writes down how a run went. A connection that has no row any more gets none by that.
    ///
    /// # Errors
    /// [`StoreError::Deposed`], [`StoreError::Stopped`], or the store's.
    pub async fn conclude(&self, connection: &ResourceKey, conclusion: &Conclusion, stop: &CancellationToken) -> Result<(), StoreError> {
        let mut transaction = self.begin_for_run(stop).await?;
        let c = &mut *transaction;
        if run(c, PUT_STATE, connection, &document(&conclusion.state)?).await? == 0 {
            return Err(StoreError::Stopped);
        }
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

fn document(state: &ConnectionRow) -> Result<serde_json::Value, StoreError> {
    serde_json::to_value(state).map_err(|error| StoreError::Row(error.to_string()))
}

/// A statement over the connection's namespace, its name and a document; how many rows it wrote.
async fn run(c: &mut PgConnection, sql: &'static str, connection: &ResourceKey, input: &serde_json::Value) -> Result<u64, StoreError> {
    let executed = async {
        let done = sqlx::query(sql).bind(&connection.namespace).bind(&connection.name).bind(Json(input)).execute(c).await?;
        Ok(done.rows_affected())
    };
    deadline("keeping what a directory run found", STATEMENT, executed).await
}

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

// Only what was seen: the entry that has the address, and the exchange, of that plan.
const SAME_HOLDERS: [&str; 3] = [
    "INSERT INTO mailroster.audit (actor, subject, action, reason, before, after)
     SELECT 'DirectoryConnection/' || $1 || '/' || $2, 'address ' || a.canonical, 'Updated', 'SameHolder',
            jsonb_build_object('holder_since', a.holder_since), jsonb_build_object('holder_since', NULL)
     FROM jsonb_array_elements($3->'holders') AS h(pair) JOIN mailroster.address a ON a.canonical = h.pair->>0 AND coalesce(a.entry, '') = h.pair->>1
     WHERE a.namespace = $1 AND a.connection = $2 AND a.holder_since IS NOT NULL",
    "UPDATE mailroster.address a SET holder_since = NULL FROM jsonb_array_elements($3->'holders') AS h(pair)
     WHERE a.canonical = h.pair->>0 AND coalesce(a.entry, '') = h.pair->>1 AND a.namespace = $1 AND a.connection = $2 AND a.holder_since IS NOT NULL",
    "UPDATE mailroster.entry e SET exchange = 'Approved', digest = NULL
     FROM jsonb_array_elements($3->'exchanges') AS x(pair) JOIN mailroster.address a ON a.canonical = x.pair->>0
     WHERE e.address_id = a.id AND e.exchange_to = x.pair->>1 AND e.namespace = $1 AND e.connection = $2 AND e.exchange = 'Held'",
];

const HANDLED: &str = "
INSERT INTO mailroster.handled (kind, namespace, name, action, token) VALUES ('DirectoryConnection', $1, $2, 'approve', $3->>'token')
ON CONFLICT (kind, namespace, name, action) DO UPDATE SET token = EXCLUDED.token";

const OPEN: &str =
    "INSERT INTO mailroster.connection (namespace, name, state) VALUES ($1, $2, $3) ON CONFLICT (namespace, name) DO NOTHING";

const PUT_STATE: &str = "UPDATE mailroster.connection SET state = $3 WHERE namespace = $1 AND name = $2";

// A domain that left the namespace or the connection is covered no more.
const COVER: [&str; 3] = [
    "DELETE FROM mailroster.covered_domain c WHERE c.namespace = $1 AND c.connection = $2 AND NOT $3->'served' ? c.domain",
    "UPDATE mailroster.covered_domain c SET fresh_until = ($3->>'until')::timestamptz WHERE c.namespace = $1 AND c.connection = $2",
    "INSERT INTO mailroster.covered_domain (namespace, connection, domain, fresh_until)
     SELECT $1, $2, d.name, ($3->>'until')::timestamptz FROM jsonb_array_elements_text($3->'domains') AS d(name)
     ON CONFLICT (domain, namespace, connection) DO UPDATE SET fresh_until = EXCLUDED.fresh_until",
];
