//! Reads what a slice needs: a fixed number of set-based queries, whatever the slice's size.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, Transaction};

use super::deadline::{SHORT, STATEMENT, deadline};
use super::queries::{
    ABSENCES, ADDRESSES, ALIAS_COUNTS, CONNECTIONS, COVERAGE, CREDENTIALS, DELEGATIONS, DOMAINS, DOMAINS_BELOW, ENTRIES, GUARDED, HANDLED,
    HELD_BY_ENTRIES, LEARNED, LEAVERS, LINKS, MEMBERS, NAMESPACES, NUMBERS, OWNED, RIGHTS, ROLES, SETTINGS, SOURCES, TOMBSTONES,
    TRANSFER_BLOCKERS, TRANSFERS, UNFINISHED_DOMAINS, WAITING,
};
use super::rows::{
    AbsenceJson, AddressJson, ConnectionJson, CredentialJson, DelegationJson, DomainJson, EntryJson, HandledJson, LeaverJson, LinkJson,
    MemberJson, NumbersJson, RoleJson, SettingsJson, WaitJson,
};
use super::{Store, StoreError};
use crate::model::{Address, CanonicalAddress, DomainName, Kind, ResourceKey};
use crate::plan::desired::Action;
use crate::plan::observed::{CredentialRow, DelegationRow, EntryKey, LinkRow, Observed, RoleRow, Wait, WaitAction};
use crate::plan::relation::LISTED;
use crate::plan::slice::Slice;
use crate::plan::subject::Subject;

/// What to read.
#[derive(Debug, Default, Clone)]
pub struct Scope {
    pub slice: Slice,
    /// Domains whose counts are wanted even if nothing waits in them (D3).
    pub count: BTreeSet<DomainName>,
    /// Domains that are to be deleted with all that no resource declares (D2).
    pub leaving: BTreeSet<DomainName>,
    /// Domains that somebody wants to hand over (D1).
    pub handing_over: BTreeSet<DomainName>,
    /// Addresses whose purge is asked for, whether or not the store knows it yet: all their aliases go with them (U2).
    pub purging: BTreeSet<CanonicalAddress>,
    /// Namespaces in which an owner is missing: what share of their rights may end is a question about all of them (U6).
    pub missing_in: BTreeSet<String>,
    /// Entries that a directory run brings.
    pub entries: BTreeSet<EntryKey>,
}

/// The parts of a scope that the queries take.
#[derive(Default)]
struct Names {
    addresses: BTreeSet<CanonicalAddress>,
    domains: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    roles: Vec<Value>,
    connections: Vec<Value>,
}

impl Names {
    fn of(slice: &Slice) -> Self {
        let mut names = Self::default();
        for subject in &slice.subjects {
            for address in subject.addresses() {
                names.addresses.insert(address.clone());
                if !names.domains.contains(address.domain_text()) {
                    names.domains.insert(address.domain_text().to_owned());
                }
            }
            match subject {
                Subject::Domain(domain) => {
                    names.domains.insert(domain.to_string());
                    names.domains.extend(domain.ancestors().map(|d| d.to_string()));
                }
                Subject::Settings(namespace) => {
                    names.namespaces.insert(namespace.clone());
                }
                Subject::Connection(namespace, name) => names.connections.push(json!({"namespace": namespace, "name": name})),
                Subject::Role(namespace, name) => names.roles.push(json!({"namespace": namespace, "name": name})),
                _ => {}
            }
        }
        names
    }
}

/// What a deadline calls it.
const READING: &str = "reading the rows of a batch";

/// Runs a query that takes one JSON document and answers with one JSON array.
async fn ask<T: DeserializeOwned + Send + Sync + Unpin + 'static>(
    connection: &mut PgConnection,
    sql: &'static str,
    input: &(impl Serialize + Sync),
) -> Result<Vec<T>, StoreError> {
    let asked = async { Ok::<Json<Vec<T>>, StoreError>(sqlx::query_scalar(sql).bind(Json(input)).fetch_one(connection).await?) };
    Ok(deadline(READING, STATEMENT, asked).await?.0)
}

impl Store {
    /// What the resources of a slice own by name: their subjects may be others than what they declare now (C10).
    ///
    /// # Errors
    /// The store's.
    pub async fn owned(&self, keys: &BTreeSet<ResourceKey>) -> Result<BTreeSet<Subject>, StoreError> {
        if keys.is_empty() {
            return Ok(BTreeSet::new());
        }
        let input: Vec<_> =
            keys.iter().map(|key| json!({"kind": key.kind.as_str(), "namespace": key.namespace, "name": key.name})).collect();
        let rows: Vec<(String, String, String)> = self.ask_alone("reading what resources own", OWNED, &Value::Array(input)).await?;
        Ok(rows
            .into_iter()
            .map(|(sort, first, second)| {
                let address = CanonicalAddress::from_store(&first);
                match sort.as_str() {
                    "domain" => Subject::Domain(DomainName::from_store(&first)),
                    "link" => Subject::Link(address),
                    "pair" => Subject::Pair(address, CanonicalAddress::from_store(&second)),
                    "member" => Subject::Member(address),
                    "role" => Subject::Role(first, second),
                    "connection" => Subject::Connection(first, second),
                    "settings" => Subject::Settings(first),
                    _ => Subject::Address(address),
                }
            })
            .collect())
    }

    /// What waits in the domains of a slice, and what their end would purge: it has to be planned together (U4, D2).
    ///
    /// # Errors
    /// The store's.
    pub async fn guarded(&self, scope: &Scope) -> Result<BTreeSet<Subject>, StoreError> {
        let names = Names::of(&scope.slice);
        let leaving: Vec<_> = scope.leaving.iter().map(ToString::to_string).collect();
        let input = json!({"domains": names.domains, "leaving": leaving});
        let rows: Vec<(String, bool, bool)> = self.ask_alone("reading what waits", GUARDED, &input).await?;
        Ok(rows
            .into_iter()
            .flat_map(|(address, alias, learned)| {
                // SQL folds a learned sender less than A1 does, and the row that it would meet is stored under A1's form.
                let parsed = learned.then(|| Address::parse(&address).ok()).flatten();
                let address = parsed.map_or_else(|| CanonicalAddress::from_store(&address), |parsed| parsed.canonical().clone());
                let link = alias.then(|| Subject::Link(address.clone()));
                [Some(Subject::Address(address)), link].into_iter().flatten()
            })
            .collect())
    }

    /// The addresses that entries hold, and the aliases of those.
    ///
    /// # Errors
    /// The store's.
    pub async fn held_by(&self, entries: &BTreeSet<EntryKey>) -> Result<Vec<CanonicalAddress>, StoreError> {
        let names: Vec<String> = self.ask_alone("reading what entries hold", HELD_BY_ENTRIES, &entries_json(entries)).await?;
        Ok(names.iter().map(|name| CanonicalAddress::from_store(name)).collect())
    }

    /// What joins a domain to another one, or to a role, of its namespace: it can't be handed over (D1).
    ///
    /// # Errors
    /// The store's.
    pub async fn transfer_blockers(&self, domain: &DomainName) -> Result<Vec<String>, StoreError> {
        let input = json!([domain.as_str()]);
        let rows: Vec<(String, String)> = self.ask_alone("looking for what blocks a transfer", TRANSFER_BLOCKERS, &input).await?;
        Ok(rows.into_iter().map(|(_, blocker)| blocker).collect())
    }

    /// Domains in which something waits, was learned or is asked for: work that no resource and no outbox row may speak of any more
    /// when a leader starts.
    ///
    /// # Errors
    /// The store's.
    pub async fn unfinished_domains(&self) -> Result<BTreeSet<Subject>, StoreError> {
        let asked = async { Ok::<Vec<String>, StoreError>(sqlx::query_scalar(UNFINISHED_DOMAINS).fetch_all(self.pool()).await?) };
        let names = deadline("looking for unfinished work", SHORT, asked).await?;
        Ok(names.iter().map(|name| Subject::Domain(DomainName::from_store(name))).collect())
    }

    /// One query outside any transaction.
    pub(super) async fn ask_alone<T: DeserializeOwned + Send + Sync + Unpin + 'static>(
        &self,
        what: &str,
        sql: &'static str,
        input: &(impl Serialize + Sync),
    ) -> Result<Vec<T>, StoreError> {
        deadline(what, SHORT, async {
            let mut connection = self.pool().acquire().await?;
            ask(&mut connection, sql, input).await
        })
        .await
    }

    /// Reads everything a plan of this scope looks at, in one transaction that changes nothing.
    ///
    /// # Errors
    /// The store's.
    pub async fn observe(&self, scope: &Scope) -> Result<(Observed, jiff::Timestamp), StoreError> {
        let names = Names::of(&scope.slice);
        let (mut transaction, micros) = deadline(READING, STATEMENT, self.begin_reading()).await?;
        let c = &mut *transaction;
        // Six queries take the same list: it is written out once.
        let addresses = &*to_raw_value(&names.addresses).map_err(|error| StoreError::Row(error.to_string()))?;
        let now = jiff::Timestamp::from_microsecond(micros).map_err(|error| StoreError::Row(error.to_string()))?;
        let mut observed = Observed::default();
        read_domains(c, &mut observed, scope, &names).await?;
        let mut purging = read_waiting(c, &mut observed, &names).await?;
        purging.extend(scope.purging.iter().cloned());
        read_addresses(c, &mut observed, &names, addresses, &purging).await?;
        read_directory(c, &mut observed, scope, &names, addresses).await?;
        read_rights(c, &mut observed, &names, addresses).await?;
        read_rest(c, &mut observed, scope, &names, addresses).await?;
        read_absences(c, &mut observed, scope).await?;
        deadline(READING, STATEMENT, async { Ok::<_, StoreError>(transaction.commit().await?) }).await?;
        Ok((observed, now))
    }

    /// One moment of the store, and its time in microseconds.
    async fn begin_reading(&self) -> Result<(Transaction<'static, Postgres>, i64), StoreError> {
        let mut transaction = self.pool().begin().await?;
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *transaction).await?;
        let now = "SELECT (extract(epoch FROM mailroster.now()) * 1000000)::bigint";
        let micros = sqlx::query_scalar(now).fetch_one(&mut *transaction).await?;
        Ok((transaction, micros))
    }
}

async fn read_domains(c: &mut PgConnection, observed: &mut Observed, scope: &Scope, names: &Names) -> Result<(), StoreError> {
    let rows: Vec<DomainJson> = ask(c, DOMAINS, &names.domains).await?;
    observed.domains = rows.into_iter().map(|row| (DomainName::from_store(&row.name), row.into())).collect();
    // A new domain must not lie above somebody else's.
    let missing: Vec<_> = scope
        .slice
        .subjects
        .iter()
        .filter_map(|s| if let Subject::Domain(d) = s { Some(d) } else { None })
        .filter(|domain| !observed.domains.contains_key(*domain))
        .map(|domain| format!(".{domain}"))
        .collect();
    if !missing.is_empty() {
        let rows: Vec<DomainJson> = ask(c, DOMAINS_BELOW, &json!(missing)).await?;
        observed.domains.extend(rows.into_iter().map(|row| (DomainName::from_store(&row.name), row.into())));
    }
    Ok(())
}

/// Reads what waits; answers with the addresses that wait for their purge.
async fn read_waiting(c: &mut PgConnection, observed: &mut Observed, names: &Names) -> Result<BTreeSet<CanonicalAddress>, StoreError> {
    let rows: Vec<WaitJson> = ask(c, WAITING, &names.domains).await?;
    let mut purging = BTreeSet::new();
    for row in rows {
        let action = match row.action.as_str() {
            "Purge" => WaitAction::Purge,
            "Shut" => WaitAction::Shut,
            _ => WaitAction::Unlink,
        };
        if action == WaitAction::Purge {
            purging.insert(CanonicalAddress::from_store(&row.address));
        }
        let wait = Wait { since: row.since, held: row.held, approved: row.approved };
        observed.waiting.insert((CanonicalAddress::from_store(&row.address), action), wait);
    }
    Ok(purging)
}

async fn read_addresses(
    c: &mut PgConnection,
    observed: &mut Observed,
    names: &Names,
    addresses: &RawValue,
    purging: &BTreeSet<CanonicalAddress>,
) -> Result<(), StoreError> {
    let links: Vec<LinkJson> = ask(c, LINKS, &LinksInput { addresses, purging, listed: LISTED }).await?;
    let mut wanted = names.addresses.clone();
    let mut others: BTreeMap<CanonicalAddress, usize> = BTreeMap::new();
    for link in links {
        // Its own row for a primary's mode; its aliases' rows where a purge takes them along, or their end with a leaver.
        let (alias, primary) = (CanonicalAddress::from_store(&link.alias), CanonicalAddress::from_store(&link.primary));
        wanted.insert(primary.clone());
        if link.leaving || purging.contains(&primary) {
            wanted.insert(alias.clone());
        } else if !names.addresses.contains(&alias) {
            *others.entry(primary.clone()).or_default() += 1;
        }
        let directory = link.directory.as_deref().map(CanonicalAddress::from_store);
        // What a directory says of a declared alias holds when the declaration ends (L4).
        wanted.extend(directory.clone());
        let row =
            LinkRow { primary, namespace: link.namespace, owner: link.owner, origin: link.origin, made_row: link.made_row, directory };
        observed.links.insert(alias, row);
    }
    // Where the list is full there may be more.
    others.retain(|_, count| *count >= LISTED);
    if !others.is_empty() {
        let rows: Vec<(String, usize)> = ask(c, ALIAS_COUNTS, &others.keys().collect::<Vec<_>>()).await?;
        for (primary, count) in rows {
            let primary = CanonicalAddress::from_store(&primary);
            let in_view = observed.links.count_aliases_of(&primary);
            observed.links.leave_out(primary, count.saturating_sub(in_view));
        }
    }
    let rows: Vec<AddressJson> = ask(c, ADDRESSES, &wanted).await?;
    for row in rows {
        let (address, row, reports) = row.split();
        observed.addresses.insert(address.clone(), row);
        observed.reports.insert(address, reports);
    }
    let rows: Vec<CredentialJson> = ask(c, CREDENTIALS, &addresses).await?;
    for row in rows {
        let fingerprint = (0..row.fingerprint.len() / 2)
            .filter_map(|i| row.fingerprint.get(2 * i..2 * i + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .collect();
        let credential = CredentialRow {
            fingerprint,
            key_id: row.key_id,
            never_expires: row.never_expires,
            force_change: row.force_change,
            set_at: row.set_at,
        };
        observed.credentials.insert(CanonicalAddress::from_store(&row.address), credential);
    }
    Ok(())
}

/// What directories make of the addresses. Asked for only where one has any of them, or brings some.
async fn read_directory(
    c: &mut PgConnection,
    observed: &mut Observed,
    scope: &Scope,
    names: &Names,
    addresses: &RawValue,
) -> Result<(), StoreError> {
    if !names.connections.is_empty() {
        let rows: Vec<ConnectionJson> = ask(c, CONNECTIONS, &names.connections).await?;
        observed.connections = rows.into_iter().map(|row| ((row.namespace, row.name), row.state)).collect();
    }
    if observed.domains.values().any(|row| row.recipient_validation == "Directory") {
        let rows: Vec<(String, Option<jiff::Timestamp>)> = ask(c, COVERAGE, &names.domains).await?;
        observed.coverage = rows.into_iter().map(|(domain, until)| (DomainName::from_store(&domain), until)).collect();
    }
    if scope.entries.is_empty() && observed.addresses.values().all(|row| row.directory.is_none()) {
        return Ok(());
    }
    let rows: Vec<EntryJson> = ask(c, ENTRIES, &json!({"entries": entries_json(&scope.entries), "addresses": addresses})).await?;
    observed.entries = rows.into_iter().map(EntryJson::split).collect();
    let rows: Vec<LeaverJson> = ask(c, LEAVERS, &addresses).await?;
    observed.leavers = rows.into_iter().map(LeaverJson::split).collect();
    Ok(())
}

fn entries_json(entries: &BTreeSet<EntryKey>) -> Value {
    let row = |(namespace, connection, id): &EntryKey| json!({"namespace": namespace, "connection": connection, "id": id});
    Value::Array(entries.iter().map(row).collect())
}

/// What the query of links takes.
#[derive(Serialize)]
struct LinksInput<'a> {
    addresses: &'a RawValue,
    purging: &'a BTreeSet<CanonicalAddress>,
    listed: usize,
}

/// What the queries of roles and members take.
#[derive(Serialize)]
struct RolesInput<'a> {
    addresses: &'a RawValue,
    roles: &'a [Value],
    namespaces: &'a BTreeSet<String>,
}

async fn read_rights(c: &mut PgConnection, observed: &mut Observed, names: &Names, addresses: &RawValue) -> Result<(), StoreError> {
    let rows: Vec<DelegationJson> = ask(c, DELEGATIONS, &addresses).await?;
    for row in rows {
        let pair = (CanonicalAddress::from_store(&row.reader), CanonicalAddress::from_store(&row.mailbox));
        observed.delegations.insert(pair, DelegationRow { namespace: row.namespace, owner: row.owner, effective_at: row.effective_at });
    }
    let input = RolesInput { addresses, roles: &names.roles, namespaces: &names.namespaces };
    let rows: Vec<RoleJson> = ask(c, ROLES, &input).await?;
    for row in rows {
        observed
            .roles
            .insert((row.namespace, row.name), RoleRow { owned: row.owned, built_in: row.built_in, permissions: row.permissions });
    }
    let rows: Vec<MemberJson> = ask(c, MEMBERS, &input).await?;
    for row in rows {
        observed.members.insert(CanonicalAddress::from_store(&row.address), (row.namespace, row.role));
    }
    Ok(())
}

/// What is out of sight in the namespaces of a slice (U6).
async fn read_absences(c: &mut PgConnection, observed: &mut Observed, scope: &Scope) -> Result<(), StoreError> {
    let namespaces = scope.slice.namespaces_of_absences();
    if namespaces.is_empty() {
        return Ok(());
    }
    let rows: Vec<AbsenceJson> = ask(c, ABSENCES, &json!(namespaces)).await?;
    observed.absences = rows.into_iter().filter_map(AbsenceJson::split).collect();
    let rows: Vec<(String, String)> = ask(c, NAMESPACES, &json!(namespaces)).await?;
    observed.namespaces = rows.into_iter().collect();
    if !scope.missing_in.is_empty() {
        let rows: Vec<(String, String, u64)> = ask(c, RIGHTS, &json!(scope.missing_in)).await?;
        let right = |(kind, namespace, count): (String, String, u64)| Some(((kind.parse().ok()?, namespace), count));
        observed.rights = rows.into_iter().filter_map(right).collect();
    }
    Ok(())
}

async fn read_rest(
    c: &mut PgConnection,
    observed: &mut Observed,
    scope: &Scope,
    names: &Names,
    addresses: &RawValue,
) -> Result<(), StoreError> {
    let rows: Vec<SettingsJson> = ask(c, SETTINGS, &json!({"namespaces": names.namespaces, "domains": names.domains})).await?;
    observed.settings = rows.into_iter().map(|row| (row.namespace.clone(), row.into())).collect();

    #[derive(Deserialize)]
    struct Tombstone {
        address: String,
        at: jiff::Timestamp,
    }
    let rows: Vec<Tombstone> = ask(c, TOMBSTONES, &addresses).await?;
    observed.tombstones = rows.into_iter().map(|row| (CanonicalAddress::from_store(&row.address), row.at)).collect();

    let keys: Vec<_> =
        scope.slice.keys.iter().map(|key| json!({"kind": key.kind.as_str(), "namespace": key.namespace, "name": key.name})).collect();
    let rows: Vec<HandledJson> = ask(c, HANDLED, &Value::Array(keys)).await?;
    for row in rows {
        let action = Action::ALL.into_iter().find(|action| action.as_str() == row.action);
        if let (Ok(kind), Some(action)) = (row.kind.parse::<Kind>(), action) {
            observed.handled.insert((ResourceKey::new(kind, &row.namespace, &row.name), action), row.token);
        }
    }

    let rows: Vec<(String, String)> = ask(c, LEARNED, &names.domains).await?;
    for (key, domain) in rows {
        observed.learned.entry(DomainName::from_store(&domain)).or_default().insert(CanonicalAddress::from_store(&key));
    }
    if observed.waiting.keys().any(|(_, action)| *action == WaitAction::Purge) || !scope.leaving.is_empty() {
        let rows: Vec<(String, jiff::Timestamp)> = ask(c, SOURCES, &json!({})).await?;
        observed.held_sources = rows.into_iter().collect();
    }
    // Counting a domain reads all of it: only where something waits, learns, leaves, or the counts are due.
    let mut count: BTreeSet<String> = scope.count.iter().chain(&scope.leaving).map(ToString::to_string).collect();
    count.extend(observed.waiting.keys().map(|(address, _)| address.domain().to_string()));
    count.extend(observed.learned.keys().map(ToString::to_string));
    if !count.is_empty() {
        let rows: Vec<NumbersJson> = ask(c, NUMBERS, &json!(count)).await?;
        observed.numbers = rows.into_iter().map(|row| (DomainName::from_store(&row.name), row.numbers())).collect();
    }
    let rows: Vec<(String, String)> = ask(c, TRANSFERS, &names.domains).await?;
    observed.transfers = rows.into_iter().map(|(domain, to)| (DomainName::from_store(&domain), to)).collect();
    let handing: BTreeSet<String> = scope.handing_over.iter().chain(observed.transfers.keys()).map(ToString::to_string).collect();
    if !handing.is_empty() {
        let rows: Vec<(String, String)> = ask(c, TRANSFER_BLOCKERS, &json!(handing)).await?;
        for (domain, blocker) in rows {
            let list = observed.transfer_blockers.entry(DomainName::from_store(&domain)).or_default();
            if list.len() < 5 {
                list.push(blocker);
            }
        }
    }
    Ok(())
}
