//! Executes a plan's changes: one set-based statement for each run of changes of one sort, in one transaction behind the fence.

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::bulk::Written;
use super::deadline::{STATEMENT, deadline};
use super::statements::{
    CUT_HISTORY, DELETE_ABSENCES, DELETE_ADDRESSES, DELETE_CONNECTIONS, DELETE_DELEGATIONS, DELETE_DOMAINS, DELETE_ENTRIES, DELETE_LEAVERS,
    DELETE_LINKS, DELETE_MEMBERS, DELETE_ROLES, DELETE_WAITS, HELD, KEEP_HISTORY, MOVE_MAILBOXES, PUT_ABSENCES, PUT_CREDENTIALS,
    PUT_DELEGATIONS, PUT_DEPARTED, PUT_DOMAIN_KEYS, PUT_DOMAINS, PUT_DONE, PUT_HANDLED, PUT_LEAVERS, PUT_MEMBERS, PUT_NAMESPACES,
    PUT_ROLES, PUT_SETTINGS, PUT_TOMBSTONES, PUT_WAITS, TRANSFER,
};
use super::{Leader, StoreError, bulk};
use crate::plan::Move;
use crate::plan::change::{Audit, Change};

impl Leader {
    /// Executes changes in the order given, with their audit records, all or nothing.
    ///
    /// # Errors
    /// [`StoreError::Deposed`], [`StoreError::Conflict`] when a row was not as planned (somebody else wrote, or a purge met a new
    /// blocker), [`StoreError::Refused`] when a constraint forbids a change.
    pub async fn execute(&self, changes: &[Change], audit: &[Audit]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        crate::fault::reach("begun");
        let mut written = Written::default();
        for run in changes.chunk_by(|a, b| std::mem::discriminant(a) == std::mem::discriminant(b)) {
            execute_run(&mut transaction, &mut written, run).await?;
        }
        written.put_keys(&mut transaction).await?;
        bulk::put_audit(&mut transaction, audit).await?;
        ask_again(&mut transaction, changes).await?;
        crate::fault::reach("uncommitted");
        transaction.commit().await?;
        self.grown(changes.len()).await;
        Ok(())
    }
}

/// U2: the deletion saw what was held when it began, and may have waited for a row since. What was reported up to here is seen here.
async fn ask_again(c: &mut PgConnection, changes: &[Change]) -> Result<(), StoreError> {
    let purged: Vec<_> = changes
        .iter()
        .filter_map(|change| if let Change::DeleteAddress { address, purge: true } = change { Some(json!(address)) } else { None })
        .collect();
    if purged.is_empty() {
        return Ok(());
    }
    let asked = async { Ok::<bool, StoreError>(sqlx::query_scalar(HELD).bind(Json(purged)).fetch_one(c).await?) };
    let held = deadline(bulk::WRITING, STATEMENT, asked).await?;
    if held { Err(StoreError::Conflict(sqlx::Error::RowNotFound)) } else { Ok(()) }
}

/// Runs a statement over a JSON array of rows, however many of them it touches.
async fn put(c: &mut PgConnection, sql: &'static str, rows: &RawValue) -> Result<(), StoreError> {
    bulk::execute(c, sqlx::query(sql).bind(Json(rows))).await.map(drop)
}

/// As [`put`], and a row that was not there to touch is a conflict.
async fn put_all(c: &mut PgConnection, sql: &'static str, rows: &RawValue, count: usize) -> Result<(), StoreError> {
    bulk::execute_all(c, sqlx::query(sql).bind(Json(rows)), count).await
}

/// The rows of a run, written out once for all the statements that take them.
fn rows(run: &[Change]) -> Result<Box<RawValue>, StoreError> {
    to_raw_value(&run.iter().map(row).collect::<Vec<_>>()).map_err(|error| StoreError::Row(error.to_string()))
}

async fn execute_run<'a>(c: &mut PgConnection, written: &mut Written<'a>, run: &'a [Change]) -> Result<(), StoreError> {
    match run.first() {
        Some(Change::PutAddress { .. }) => return written.put_addresses(c, run).await,
        Some(Change::PutLink { .. }) => return written.put_links(c, run).await,
        Some(Change::PutEntry { .. }) => return written.put_entries(c, run).await,
        Some(Change::MoveMailboxes { moves }) => return move_mailboxes(c, moves).await,
        _ => {}
    }
    let rows = &*rows(run)?;
    let count = run.len();
    match run.first() {
        // Above.
        None | Some(Change::PutAddress { .. } | Change::PutLink { .. } | Change::PutEntry { .. } | Change::MoveMailboxes { .. }) => Ok(()),
        Some(Change::PutSettings { .. }) => put_all(c, PUT_SETTINGS, rows, count).await,
        Some(Change::DeleteSettings { .. }) => {
            put(c, "DELETE FROM mailroster.settings WHERE namespace IN (SELECT e->>'namespace' FROM jsonb_array_elements($1) e)", rows)
                .await
        }
        Some(Change::TransferDomain { .. }) => {
            let deferred = async { Ok::<_, StoreError>(sqlx::query("SET CONSTRAINTS ALL DEFERRED").execute(&mut *c).await?) };
            deadline(bulk::WRITING, STATEMENT, deferred).await?;
            for sql in TRANSFER {
                put(c, sql, rows).await?;
            }
            Ok(())
        }
        Some(Change::PutDomain { .. }) => {
            put_all(c, PUT_DOMAINS, rows, count).await?;
            put(c, PUT_DOMAIN_KEYS, rows).await
        }
        Some(Change::DeleteMember { .. }) => put(c, DELETE_MEMBERS, rows).await,
        Some(Change::DeleteDelegation { .. }) => put(c, DELETE_DELEGATIONS, rows).await,
        Some(Change::DeleteLink { .. }) => put(c, DELETE_LINKS, rows).await,
        Some(Change::PutRole { .. }) => put_all(c, PUT_ROLES, rows, count).await,
        Some(Change::PutDelegation { .. }) => put_all(c, PUT_DELEGATIONS, rows, count).await,
        Some(Change::PutMember { .. }) => put_all(c, PUT_MEMBERS, rows, count).await,
        Some(Change::PutCredential { .. }) => {
            put(c, KEEP_HISTORY, rows).await?;
            put_all(c, PUT_CREDENTIALS, rows, count).await?;
            put(c, CUT_HISTORY, rows).await
        }
        Some(Change::PutWait { .. }) => put_all(c, PUT_WAITS, rows, count).await,
        Some(Change::DeleteWait { .. }) => put(c, DELETE_WAITS, rows).await,
        Some(Change::PutDone { .. }) => put(c, PUT_DONE, rows).await,
        Some(Change::PutHandled { .. }) => put_all(c, PUT_HANDLED, rows, count).await,
        Some(Change::PutAbsence { .. }) => put_all(c, PUT_ABSENCES, rows, count).await,
        Some(Change::DeleteAbsence { .. }) => put(c, DELETE_ABSENCES, rows).await,
        Some(Change::DeleteConnection { .. }) => {
            for sql in DELETE_CONNECTIONS {
                put(c, sql, rows).await?;
            }
            Ok(())
        }
        Some(Change::DeleteEntry { .. }) => put(c, DELETE_ENTRIES, rows).await,
        Some(Change::PutLeaver { .. }) => put_all(c, PUT_LEAVERS, rows, count).await,
        Some(Change::DeleteLeaver { .. }) => put(c, DELETE_LEAVERS, rows).await,
        Some(Change::PutDeparted { .. }) => put(c, PUT_DEPARTED, rows).await,
        Some(Change::PutNamespace { .. }) => put_all(c, PUT_NAMESPACES, rows, count).await,
        Some(Change::ConsumeLearned { .. }) => {
            put(c, "DELETE FROM mailroster.learned_sender WHERE key IN (SELECT e->>'address' FROM jsonb_array_elements($1) e)", rows).await
        }
        Some(Change::ConsumeTransfer { .. }) => {
            put(c, "DELETE FROM mailroster.transfer_request WHERE domain IN (SELECT e->>'domain' FROM jsonb_array_elements($1) e)", rows)
                .await
        }
        Some(Change::DeleteRole { .. }) => put(c, DELETE_ROLES, rows).await,
        Some(Change::DeleteAddress { .. }) => {
            put(c, PUT_TOMBSTONES, rows).await?;
            put_all(c, DELETE_ADDRESSES, rows, count).await
        }
        Some(Change::DeleteDomain { .. }) => put_all(c, DELETE_DOMAINS, rows, count).await,
    }
}

async fn move_mailboxes(c: &mut PgConnection, moves: &[Move]) -> Result<(), StoreError> {
    let rows = moves.iter().map(|Move { from, to, credential }| json!({"from_address": from, "to_address": to, "credential": credential}));
    let rows = to_raw_value(&rows.collect::<Vec<_>>()).map_err(|error| StoreError::Row(error.to_string()))?;
    for sql in MOVE_MAILBOXES {
        put(c, sql, &rows).await?;
    }
    Ok(())
}

/// A change as the row that its statement takes.
fn row(change: &Change) -> Value {
    match change {
        Change::PutSettings { namespace, owner, settings: s } => json!({
            "namespace": namespace, "owner": owner,
            "password_min_length": s.password.min_length, "password_uppercase": s.password.uppercase, "password_lowercase": s.password.lowercase,
            "password_digit": s.password.digit, "password_symbol": s.password.symbol, "password_expires_days": s.expires_after_days,
            "password_history": s.history, "lockout_failed_logons": s.failed_logons, "lockout_seconds": s.lockout.as_secs(),
            "reset_failed_codes": s.failed_codes, "purge_delay_seconds": s.purge_delay.as_secs(), "held_mail_reports": s.held_mail_reports,
            "guard_max_percent": s.guard.max_percent, "guard_min_count": s.guard.min_count, "hide_confidential": s.hide_confidential,
        }),
        Change::DeleteSettings { namespace } => json!({"namespace": namespace}),
        Change::TransferDomain { domain, from, to } => json!({"domain": domain.as_str(), "from_namespace": from, "to_namespace": to}),
        Change::PutDomain { domain, row } => merge(row, json!({"name": domain.as_str(), "keys": domain.keys()})),
        Change::DeleteDomain { domain } | Change::ConsumeTransfer { domain } => json!({"domain": domain.as_str()}),
        Change::DeleteMember { address, .. } | Change::ConsumeLearned { address } => json!({"address": address}),
        Change::DeleteDelegation { reader, mailbox } => json!({"reader": reader, "mailbox": mailbox}),
        Change::DeleteLink { alias, .. } => json!({"alias": alias}),
        Change::PutAddress { .. } | Change::PutLink { .. } | Change::PutEntry { .. } | Change::MoveMailboxes { .. } => Value::Null,
        Change::PutRole { namespace, name, row } => merge(row, json!({"namespace": namespace, "name": name})),
        Change::PutDelegation { reader, mailbox, row } => {
            merge(row, json!({"reader": reader, "mailbox": mailbox, "effective_at": row.effective_at}))
        }
        Change::PutMember { address, namespace, role } => json!({"address": address, "namespace": namespace, "role": role}),
        Change::PutCredential { address, password } => json!({
            "address": address, "phc": password.phc, "key_id": password.key_id, "force_change": password.force_change,
            "never_expires": password.never_expires, "history": password.history,
            "fingerprint": crate::model::hex(&password.fingerprint),
        }),
        Change::PutWait { address, action, wait, .. } => {
            json!({"address": address, "action": action.as_str(), "since": wait.since, "held": wait.held, "approved": wait.approved})
        }
        Change::DeleteWait { address, action, .. } => json!({"address": address, "action": action.as_str()}),
        Change::PutDone { address, action } => json!({"address": address, "domain": address.domain().as_str(), "action": action.as_str()}),
        Change::PutHandled { key, action, token } => {
            json!({"kind": key.kind.as_str(), "namespace": key.namespace, "name": key.name, "action": action.as_str(), "token": token})
        }
        Change::PutAbsence { key, absence } => json!({
            "kind": key.kind.as_str(), "namespace": key.namespace, "name": key.name,
            "since": absence.since, "held": absence.held, "approved": absence.approved, "ended_at": absence.ended_at,
        }),
        Change::DeleteAbsence { key } => json!({"kind": key.kind.as_str(), "namespace": key.namespace, "name": key.name}),
        Change::DeleteConnection { namespace, name } => json!({"namespace": namespace, "name": name}),
        Change::DeleteEntry { key: (namespace, connection, id) } => json!({"namespace": namespace, "connection": connection, "id": id}),
        Change::PutLeaver { address, namespace, connection, leaver } => json!({
            "address": address, "namespace": namespace, "connection": connection, "since": leaver.since, "missed": leaver.missed,
            "held": leaver.held, "approved": leaver.approved, "cleared_at": leaver.cleared_at,
        }),
        Change::DeleteLeaver { address } => json!({"address": address}),
        Change::PutDeparted { address, namespace, connection } => {
            json!({"address": address, "namespace": namespace, "connection": connection})
        }
        Change::PutNamespace { namespace, uid } => json!({"name": namespace, "uid": uid}),
        Change::DeleteRole { namespace, name } => json!({"namespace": namespace, "name": name}),
        Change::DeleteAddress { address, purge } => json!({"address": address, "purge": purge}),
    }
}

fn merge<T: serde::Serialize>(row: &T, more: Value) -> Value {
    let mut merged = serde_json::to_value(row).unwrap_or_default();
    if let (Value::Object(fields), Value::Object(more)) = (&mut merged, more) {
        fields.extend(more);
    }
    merged
}
