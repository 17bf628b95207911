//! What comes by the thousand: one array for each column. Postgres takes arrays apart in a fraction of the time that it reads JSON in, and
//! a first synchronisation spends most of its time there.

use std::collections::{BTreeSet, HashMap};

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row as _};

use super::StoreError;
use super::deadline::{STATEMENT, deadline};
use super::statements::{
    CHANGE_ADDRESSES, DELETE_KEYS, FIND_ADDRESSES, LOCK_ADDRESSES, MAKE_ADDRESSES, MAKE_KEYS, PUT_AUDIT, PUT_ENTRIES, PUT_KEYS, PUT_LINKS,
};
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

/// What a batch has written so far, and what Postgres calls it: thousands of rows name each other, and need not be looked up by name again.
#[derive(Default)]
pub(super) struct Written<'a> {
    ids: HashMap<&'a str, i64>,
    /// By alias.
    primaries: HashMap<&'a str, i64>,
    /// Addresses whose keys are still to be written: once, with the primaries that links have given them by then.
    keyless: Vec<(&'a CanonicalAddress, &'a AddressRow)>,
}

impl<'a> Written<'a> {
    /// Writes addresses, all but their keys: [`Self::put_keys`].
    pub async fn put_addresses(&mut self, c: &mut PgConnection, run: &'a [Change]) -> Result<(), StoreError> {
        let rows = run.iter().filter_map(|change| match change {
            Change::PutAddress { address, row, .. } => Some((address, row.as_ref())),
            _ => None,
        });
        let (made, changed): (Vec<_>, Vec<_>) = rows.partition(|(_, row)| row.version.is_none());
        if !made.is_empty() {
            let put = with_addresses(MAKE_ADDRESSES, &made);
            let ids = deadline(WRITING, STATEMENT, async { Ok::<_, StoreError>(put.fetch_all(&mut *c).await?) }).await?;
            self.note_ids(&ids, made.iter().map(|(address, _)| *address))?;
        }
        if !changed.is_empty() {
            let names = column!(changed, |(address, _)| address.as_str());
            let versions = column!(changed, |(_, row)| row.version.map(i64::from));
            execute_all(c, sqlx::query(LOCK_ADDRESSES).bind(&names).bind(versions), changed.len()).await?;
            execute_all(c, with_addresses(CHANGE_ADDRESSES, &changed), changed.len()).await?;
            let keys = keys(&changed);
            let delete =
                sqlx::query(DELETE_KEYS).bind(&names).bind(column!(keys, |(address, _)| *address)).bind(column!(keys, |(_, key)| *key));
            execute(c, delete).await?;
        }
        self.keyless.extend(made.into_iter().chain(changed));
        Ok(())
    }

    /// The keys of the addresses that were written, where they lack any.
    pub async fn put_keys(&mut self, c: &mut PgConnection) -> Result<(), StoreError> {
        let (made, changed): (Vec<_>, Vec<_>) = self.keyless.drain(..).partition(|(_, row)| row.version.is_none());
        let new = keys(&made);
        if !new.is_empty() {
            let put = sqlx::query(MAKE_KEYS)
                .bind(column!(new, |(_, key)| *key))
                .bind(column!(new, |(address, _)| self.ids.get(address)))
                .bind(column!(new, |(address, _)| self.primaries.get(address)));
            execute(c, put).await?;
        }
        let others = keys(&changed);
        if !others.is_empty() {
            let put = sqlx::query(PUT_KEYS).bind(column!(others, |(address, _)| *address)).bind(column!(others, |(_, key)| *key));
            execute(c, put).await?;
        }
        Ok(())
    }

    pub async fn put_links(&mut self, c: &mut PgConnection, run: &'a [Change]) -> Result<(), StoreError> {
        let links = run.iter().filter_map(|change| if let Change::PutLink { alias, row } = change { Some((alias, row)) } else { None });
        let rows: Vec<(&CanonicalAddress, &LinkRow)> = links.collect();
        self.find(c, rows.iter().flat_map(|(alias, row)| [*alias, &row.primary])).await?;
        for (alias, row) in &rows {
            if let Some(primary) = self.ids.get(row.primary.as_str()) {
                self.primaries.insert(alias.as_str(), *primary);
            }
        }
        let put = sqlx::query(PUT_LINKS)
            .bind(column!(rows, |(alias, _)| self.ids.get(alias.as_str())))
            .bind(column!(rows, |(alias, _)| alias.as_str()))
            .bind(column!(rows, |(_, row)| self.ids.get(row.primary.as_str())))
            .bind(column!(rows, |(_, row)| row.namespace.as_str()))
            .bind(column!(rows, |(_, row)| row.owner.as_deref()))
            .bind(column!(rows, |(_, row)| row.origin.as_str()))
            .bind(column!(rows, |(_, row)| row.made_row))
            .bind(column!(rows, |(_, row)| row.directory.as_ref().map(CanonicalAddress::as_str)));
        execute_all(c, put, rows.len()).await
    }

    pub async fn put_entries(&mut self, c: &mut PgConnection, run: &'a [Change]) -> Result<(), StoreError> {
        let entries = run.iter().filter_map(|change| if let Change::PutEntry { key, row } = change { Some((key, row)) } else { None });
        let rows: Vec<(&EntryKey, &EntryRow)> = entries.collect();
        self.find(c, rows.iter().filter_map(|(_, row)| row.address.as_ref())).await?;
        let put = sqlx::query(PUT_ENTRIES)
            .bind(column!(rows, |((namespace, _, _), _)| namespace.as_str()))
            .bind(column!(rows, |((_, connection, _), _)| connection.as_str()))
            .bind(column!(rows, |((_, _, id), _)| id.as_str()))
            .bind(column!(rows, |(_, row)| row.digest.as_ref().map(<[u8; 16]>::as_slice)))
            .bind(column!(rows, |(_, row)| i16::from(row.signs.0)))
            .bind(column!(rows, |(_, row)| row.rank.as_str()))
            .bind(column!(rows, |(_, row)| row.exchange.as_ref().map(|exchange| if exchange.approved { "Approved" } else { "Held" })))
            .bind(column!(rows, |(_, row)| row.exchange.as_ref().map(|exchange| exchange.to.as_str())))
            .bind(column!(rows, |(_, row)| row.address.as_ref().and_then(|address| self.ids.get(address.as_str()))));
        execute_all(c, put, rows.len()).await
    }

    /// Looks up what is not known yet. One that is gone is a conflict.
    async fn find(&mut self, c: &mut PgConnection, addresses: impl Iterator<Item = &'a CanonicalAddress>) -> Result<(), StoreError> {
        let unknown: BTreeSet<_> = addresses.filter(|address| !self.ids.contains_key(address.as_str())).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let find = sqlx::query(FIND_ADDRESSES).bind(column!(unknown, |address| address.as_str()));
        let found = deadline(WRITING, STATEMENT, async { Ok::<_, StoreError>(find.fetch_all(c).await?) }).await?;
        self.note_ids(&found, unknown.into_iter())
    }

    /// Keeps the ids that came for these addresses; one that is missing is a conflict.
    fn note_ids(&mut self, rows: &[PgRow], of: impl ExactSizeIterator<Item = &'a CanonicalAddress>) -> Result<(), StoreError> {
        let mut ids = rows.iter().map(|row| Ok((row.try_get(1)?, row.try_get(0)?))).collect::<Result<HashMap<&str, i64>, sqlx::Error>>()?;
        let all = ids.len() == of.len();
        self.ids.extend(of.filter_map(|address| Some((address.as_str(), ids.remove(address.as_str())?))));
        if all { Ok(()) } else { Err(StoreError::Conflict(sqlx::Error::RowNotFound)) }
    }
}

fn with_addresses(sql: &'static str, rows: &[(&CanonicalAddress, &AddressRow)]) -> Statement<'static> {
    let blank = DirectorySide::default();
    let sides = column!(rows, |(_, row)| row.directory.as_deref().unwrap_or(&blank));
    sqlx::query(sql)
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
        .bind(column!(rows, |(_, row)| row.created_at.to_string()))
}

/// Address and key.
fn keys<'a>(rows: &[(&'a CanonicalAddress, &'a AddressRow)]) -> Vec<(&'a str, &'a str)> {
    rows.iter().flat_map(|(address, row)| row.keys.iter().map(|key| (address.as_str(), key.as_str()))).collect()
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
