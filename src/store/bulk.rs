//! What comes by the thousand: one array for each column. Postgres takes arrays apart in a fraction of the time that it reads JSON in, and
//! a first synchronisation spends most of its time there.

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres};

use super::StoreError;
use super::deadline::{STATEMENT, deadline};
use super::statements::{DELETE_KEYS, LOCK_ADDRESSES, PUT_ADDRESSES, PUT_AUDIT, PUT_ENTRIES, PUT_KEYS, PUT_LINKS};
use crate::model::CanonicalAddress;
use crate::plan::change::{Audit, Change, Record};
use crate::plan::directory::rows::EntryRow;
use crate::plan::observed::{AddressRow, DirectorySide, EntryKey, LinkRow};

/// What a deadline calls it.
pub(super) const WRITING: &str = "writing a batch";

type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// A column of rows.
macro_rules! column {
    ($rows:expr, $value:expr) => {
        $rows.iter().map($value).collect::<Vec<_>>()
    };
}

pub(super) async fn execute(c: &mut PgConnection, statement: Statement<'_>) -> Result<u64, StoreError> {
    deadline(WRITING, STATEMENT, async { Ok(statement.execute(c).await?.rows_affected()) }).await
}

/// A row that was not there to touch is a conflict.
pub(super) async fn execute_all(c: &mut PgConnection, statement: Statement<'_>, count: usize) -> Result<(), StoreError> {
    let touched = execute(c, statement).await?;
    if usize::try_from(touched).ok() == Some(count) { Ok(()) } else { Err(StoreError::Conflict(sqlx::Error::RowNotFound)) }
}

/// Writes addresses, all but their keys: [`put_keys`].
pub(super) async fn put_addresses(c: &mut PgConnection, run: &[Change]) -> Result<(), StoreError> {
    let rows: Vec<(&CanonicalAddress, &AddressRow)> = addresses(run).collect();
    let known: Vec<_> = rows.iter().filter_map(|(address, row)| Some((address.as_str(), i64::from(row.version?)))).collect();
    if !known.is_empty() {
        let lock = sqlx::query(LOCK_ADDRESSES).bind(column!(known, |(address, _)| *address)).bind(column!(known, |(_, version)| *version));
        execute_all(c, lock, known.len()).await?;
    }
    let blank = DirectorySide::default();
    let sides = column!(rows, |(_, row)| row.directory.as_deref().unwrap_or(&blank));
    let put = sqlx::query(PUT_ADDRESSES)
        .bind(column!(rows, |(address, _)| address.as_str()))
        .bind(column!(rows, |(address, _)| address.domain_text()))
        .bind(column!(rows, |(_, row)| row.display.as_str()))
        .bind(column!(rows, |(_, row)| row.namespace.as_str()))
        .bind(column!(rows, |(_, row)| row.is_alias))
        .bind(column!(rows, |(_, row)| row.origin.as_str()))
        .bind(column!(rows, |(_, row)| row.owner.as_deref()))
        .bind(column!(rows, |(_, row)| row.last_owner.as_deref()))
        .bind(column!(rows, |(_, row)| row.display_name.as_str()))
        .bind(column!(rows, |(_, row)| text(&row.attributes)))
        .bind(column!(rows, |(_, row)| row.disabled))
        .bind(column!(rows, |(_, row)| row.shut))
        .bind(column!(rows, |(_, row)| row.closing))
        .bind(column!(rows, |(_, row)| row.archive_start.map(|date| date.to_string())))
        .bind(column!(rows, |(_, row)| row.smtp_submission))
        .bind(column!(rows, |(_, row)| row.pop))
        .bind(column!(rows, |(_, row)| row.unlocked_at.map(|at| at.to_string())))
        .bind(column!(rows, |(_, row)| row.codes_reset_at.map(|at| at.to_string())))
        .bind(column!(sides, |side| side.connection.as_deref()))
        .bind(column!(sides, |side| side.entry.as_ref().map(crate::model::EntryId::as_str)))
        .bind(column!(sides, |side| side.global_name.as_str()))
        .bind(column!(sides, |side| side.directory_disabled))
        .bind(column!(sides, |side| side.directory_missing))
        .bind(column!(sides, |side| side.holder_since.map(|at| at.to_string())))
        .bind(column!(rows, |(_, row)| row.created_at.to_string()));
    execute_all(c, put, rows.len()).await?;
    if !known.is_empty() {
        let keys = keys(&rows);
        let delete = sqlx::query(DELETE_KEYS)
            .bind(column!(known, |(address, _)| *address))
            .bind(column!(keys, |(address, _)| *address))
            .bind(column!(keys, |(_, key)| *key));
        execute(c, delete).await?;
    }
    Ok(())
}

/// The keys of addresses that were written, where they lack any.
pub(super) async fn put_keys(c: &mut PgConnection, written: &[Change]) -> Result<(), StoreError> {
    let rows: Vec<_> = addresses(written).collect();
    let keys = keys(&rows);
    if keys.is_empty() {
        return Ok(());
    }
    execute(c, sqlx::query(PUT_KEYS).bind(column!(keys, |(address, _)| *address)).bind(column!(keys, |(_, key)| *key))).await.map(drop)
}

fn addresses(run: &[Change]) -> impl Iterator<Item = (&CanonicalAddress, &AddressRow)> {
    run.iter().filter_map(|change| match change {
        Change::PutAddress { address, row, .. } => Some((address, row.as_ref())),
        _ => None,
    })
}

fn keys<'a>(rows: &[(&'a CanonicalAddress, &'a AddressRow)]) -> Vec<(&'a str, &'a str)> {
    rows.iter().flat_map(|(address, row)| row.keys.iter().map(|key| (address.as_str(), key.as_str()))).collect()
}

pub(super) async fn put_links(c: &mut PgConnection, run: &[Change]) -> Result<(), StoreError> {
    let links = run.iter().filter_map(|change| if let Change::PutLink { alias, row } = change { Some((alias, row)) } else { None });
    let rows: Vec<(&CanonicalAddress, &LinkRow)> = links.collect();
    let put = sqlx::query(PUT_LINKS)
        .bind(column!(rows, |(alias, _)| alias.as_str()))
        .bind(column!(rows, |(_, row)| row.primary.as_str()))
        .bind(column!(rows, |(_, row)| row.namespace.as_str()))
        .bind(column!(rows, |(_, row)| row.owner.as_deref()))
        .bind(column!(rows, |(_, row)| row.origin.as_str()))
        .bind(column!(rows, |(_, row)| row.made_row))
        .bind(column!(rows, |(_, row)| row.directory.as_ref().map(CanonicalAddress::as_str)));
    execute_all(c, put, rows.len()).await
}

pub(super) async fn put_entries(c: &mut PgConnection, run: &[Change]) -> Result<(), StoreError> {
    let entries = run.iter().filter_map(|change| if let Change::PutEntry { key, row } = change { Some((key, row)) } else { None });
    let rows: Vec<(&EntryKey, &EntryRow)> = entries.collect();
    let put = sqlx::query(PUT_ENTRIES)
        .bind(column!(rows, |((namespace, _, _), _)| namespace.as_str()))
        .bind(column!(rows, |((_, connection, _), _)| connection.as_str()))
        .bind(column!(rows, |((_, _, id), _)| id.as_str()))
        .bind(column!(rows, |(_, row)| row.digest.as_ref().map(<[u8; 16]>::as_slice)))
        .bind(column!(rows, |(_, row)| i16::from(row.signs.0)))
        .bind(column!(rows, |(_, row)| row.rank.as_str()))
        .bind(column!(rows, |(_, row)| row.exchange.as_ref().map(|exchange| if exchange.approved { "Approved" } else { "Held" })))
        .bind(column!(rows, |(_, row)| row.exchange.as_ref().map(|exchange| exchange.to.as_str())))
        .bind(column!(rows, |(_, row)| row.address.as_ref().map(CanonicalAddress::as_str)));
    execute_all(c, put, rows.len()).await
}

pub(super) async fn put_audit(c: &mut PgConnection, audit: &[Audit]) -> Result<(), StoreError> {
    if audit.is_empty() {
        return Ok(());
    }
    let action = |entry: &Audit| match (&entry.before, &entry.after) {
        (None, _) => "Created",
        (Some(_), Some(_)) => "Updated",
        (Some(_), None) => "Deleted",
    };
    let put = sqlx::query(PUT_AUDIT)
        .bind(column!(audit, |entry| entry.cause.actor.as_str()))
        .bind(column!(audit, |entry| entry.subject.to_string()))
        .bind(column!(audit, action))
        .bind(column!(audit, |entry| entry.cause.reason))
        .bind(column!(audit, |entry| entry.before.as_ref().map(text::<Record>)))
        .bind(column!(audit, |entry| entry.after.as_ref().map(text::<Record>)));
    execute(c, put).await.map(drop)
}

/// A document as Postgres reads it.
fn text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
