//! Reads what a slice needs: a fixed number of set-based queries, whatever the slice's size.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::rows::{
    AddressJson, CredentialJson, DelegationJson, DomainJson, HandledJson, LinkJson, MemberJson, NumbersJson, RoleJson, SettingsJson,
    WaitJson,
};
use super::{Store, StoreError};
use crate::model::{CanonicalAddress, DomainName, Kind, ResourceKey};
use crate::plan::desired::Action;
use crate::plan::observed::{CredentialRow, DelegationRow, LinkRow, Observed, RoleRow, Wait, WaitAction};
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
}

/// The parts of a scope that the queries take.
#[derive(Default)]
struct Names {
    addresses: BTreeSet<String>,
    domains: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    roles: Vec<Value>,
}

impl Names {
    fn of(slice: &Slice) -> Self {
        let mut names = Self::default();
        for subject in &slice.subjects {
            for address in subject.addresses() {
                names.addresses.insert(address.to_string());
                names.domains.insert(address.domain().to_string());
            }
            match subject {
                Subject::Domain(domain) => {
                    names.domains.insert(domain.to_string());
                    names.domains.extend(domain.ancestors().map(|d| d.to_string()));
                }
                Subject::Settings(namespace) => {
                    names.namespaces.insert(namespace.clone());
                }
                Subject::Role(namespace, name) => names.roles.push(json!({"namespace": namespace, "name": name})),
                _ => {}
            }
        }
        names
    }
}

/// Runs a query that takes one JSON document and answers with one JSON array.
async fn ask<T: DeserializeOwned + Send + Sync + Unpin + 'static>(
    connection: &mut PgConnection,
    sql: &'static str,
    input: &Value,
) -> Result<Vec<T>, StoreError> {
    let Json(rows): Json<Vec<T>> = sqlx::query_scalar(sql).bind(Json(input)).fetch_one(connection).await?;
    Ok(rows)
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
        let mut connection = self.pool().acquire().await?;
        let rows: Vec<(String, String, String)> = ask(&mut connection, OWNED, &Value::Array(input)).await?;
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
        let mut connection = self.pool().acquire().await?;
        let rows: Vec<(String, bool)> = ask(&mut connection, GUARDED, &json!({"domains": names.domains, "leaving": leaving})).await?;
        Ok(rows
            .into_iter()
            .flat_map(|(address, alias)| {
                let address = CanonicalAddress::from_store(&address);
                let link = alias.then(|| Subject::Link(address.clone()));
                [Some(Subject::Address(address)), link].into_iter().flatten()
            })
            .collect())
    }

    /// Reads everything a plan of this scope looks at, in one transaction that changes nothing.
    ///
    /// # Errors
    /// The store's.
    pub async fn observe(&self, scope: &Scope) -> Result<(Observed, jiff::Timestamp), StoreError> {
        let names = Names::of(&scope.slice);
        let mut transaction = self.pool().begin().await?;
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *transaction).await?;
        let c = &mut *transaction;
        let micros: i64 = sqlx::query_scalar("SELECT (extract(epoch FROM mailroster.now()) * 1000000)::bigint").fetch_one(&mut *c).await?;
        let now = jiff::Timestamp::from_microsecond(micros).map_err(|error| StoreError::Row(error.to_string()))?;
        let mut observed = Observed::default();
        read_domains(c, &mut observed, scope, &names).await?;
        let purging = read_waiting(c, &mut observed, &names).await?;
        read_addresses(c, &mut observed, &names, &purging).await?;
        read_rights(c, &mut observed, &names).await?;
        read_rest(c, &mut observed, scope, &names).await?;
        transaction.commit().await?;
        Ok((observed, now))
    }
}

async fn read_domains(c: &mut PgConnection, observed: &mut Observed, scope: &Scope, names: &Names) -> Result<(), StoreError> {
    let rows: Vec<DomainJson> = ask(c, DOMAINS, &json!(names.domains)).await?;
    observed.domains = rows.into_iter().map(|row| (DomainName::from_store(&row.name), row.into())).collect();
    // A new domain must not lie above somebody else's.
    let missing: Vec<_> = scope
        .slice
        .subjects
        .iter()
        .filter_map(|s| if let Subject::Domain(d) = s { Some(d) } else { None })
        .filter(|domain| !observed.domains.contains_key(domain))
        .map(|domain| format!(".{domain}"))
        .collect();
    if !missing.is_empty() {
        let rows: Vec<DomainJson> = ask(c, DOMAINS_BELOW, &json!(missing)).await?;
        observed.domains.extend(rows.into_iter().map(|row| (DomainName::from_store(&row.name), row.into())));
    }
    Ok(())
}

/// Reads what waits; answers with the addresses that wait for their purge.
async fn read_waiting(c: &mut PgConnection, observed: &mut Observed, names: &Names) -> Result<BTreeSet<String>, StoreError> {
    let rows: Vec<WaitJson> = ask(c, WAITING, &json!(names.domains)).await?;
    let mut purging = BTreeSet::new();
    for row in rows {
        let action = match row.action.as_str() {
            "Purge" => WaitAction::Purge,
            "Shut" => WaitAction::Shut,
            _ => WaitAction::Unlink,
        };
        if action == WaitAction::Purge {
            purging.insert(row.address.clone());
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
    purging: &BTreeSet<String>,
) -> Result<(), StoreError> {
    let links: Vec<LinkJson> = ask(c, LINKS, &json!(names.addresses)).await?;
    let mut wanted = names.addresses.clone();
    for link in links {
        // Its own row for a primary's mode; its aliases' rows where a purge takes them along.
        wanted.insert(link.primary.clone());
        if purging.contains(&link.primary) {
            wanted.insert(link.alias.clone());
        }
        let primary = CanonicalAddress::from_store(&link.primary);
        let row = LinkRow { primary, namespace: link.namespace, owner: link.owner, origin: link.origin, made_row: link.made_row };
        observed.links.insert(CanonicalAddress::from_store(&link.alias), row);
    }
    let rows: Vec<AddressJson> = ask(c, ADDRESSES, &json!(wanted)).await?;
    for row in rows {
        let (address, row, reports) = row.split();
        observed.addresses.insert(address.clone(), row);
        observed.reports.insert(address, reports);
    }
    let rows: Vec<CredentialJson> = ask(c, CREDENTIALS, &json!(names.addresses)).await?;
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

async fn read_rights(c: &mut PgConnection, observed: &mut Observed, names: &Names) -> Result<(), StoreError> {
    let rows: Vec<DelegationJson> = ask(c, DELEGATIONS, &json!(names.addresses)).await?;
    for row in rows {
        let pair = (CanonicalAddress::from_store(&row.reader), CanonicalAddress::from_store(&row.mailbox));
        observed.delegations.insert(pair, DelegationRow { namespace: row.namespace, owner: row.owner, effective_at: row.effective_at });
    }
    let input = json!({"addresses": names.addresses, "roles": names.roles, "namespaces": names.namespaces});
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

async fn read_rest(c: &mut PgConnection, observed: &mut Observed, scope: &Scope, names: &Names) -> Result<(), StoreError> {
    let rows: Vec<SettingsJson> = ask(c, SETTINGS, &json!(names.namespaces)).await?;
    observed.settings = rows.into_iter().map(|row| (row.namespace.clone(), row.into())).collect();

    #[derive(Deserialize)]
    struct Tombstone {
        address: String,
        at: jiff::Timestamp,
    }
    let rows: Vec<Tombstone> = ask(c, TOMBSTONES, &json!(names.addresses)).await?;
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

    let rows: Vec<(String, String)> = ask(c, LEARNED, &json!(names.domains)).await?;
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
    let rows: Vec<(String, String)> = ask(c, TRANSFERS, &json!(names.domains)).await?;
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

const OWNED: &str = "
WITH wanted AS (SELECT * FROM jsonb_to_recordset($1) AS w(kind text, namespace text, name text)),
found AS (
    SELECT 'domain' AS sort, d.name AS first, '' AS second FROM wanted w JOIN mailroster.domain d ON w.kind = 'InternalDomain' AND d.namespace = w.namespace AND d.owner = w.name
    UNION ALL
    SELECT 'address', a.canonical, '' FROM wanted w JOIN mailroster.address a ON w.kind = 'EmailAddress' AND a.namespace = w.namespace AND a.owner = w.name
    UNION ALL
    SELECT 'link', a.canonical, '' FROM wanted w JOIN mailroster.link l ON w.kind = 'AliasLink' AND l.namespace = w.namespace AND l.owner = w.name JOIN mailroster.address a ON a.id = l.alias_id
    UNION ALL
    SELECT 'pair', r.canonical, m.canonical FROM wanted w JOIN mailroster.delegation g ON w.kind = 'DelegateMailbox' AND g.namespace = w.namespace AND g.owner = w.name
        JOIN mailroster.address r ON r.id = g.reader_id JOIN mailroster.address m ON m.id = g.mailbox_id
    UNION ALL
    SELECT 'role', o.namespace, o.name FROM wanted w JOIN mailroster.role o ON w.kind = 'AdminRole' AND o.namespace = w.namespace AND o.name = w.name
    UNION ALL
    SELECT 'member', a.canonical, '' FROM wanted w JOIN mailroster.role o ON w.kind = 'AdminRole' AND o.namespace = w.namespace AND o.name = w.name
        JOIN mailroster.role_member m ON m.role_id = o.id JOIN mailroster.address a ON a.id = m.address_id
)
SELECT coalesce(jsonb_agg(jsonb_build_array(sort, first, second)), '[]') FROM found";

const GUARDED: &str = "
WITH found AS (
    SELECT a.canonical, a.is_alias FROM mailroster.waiting w JOIN mailroster.address a ON a.id = w.address_id JOIN mailroster.domain d ON d.id = a.domain_id
    WHERE d.name IN (SELECT jsonb_array_elements_text($1->'domains'))
    UNION
    SELECT a.canonical, a.is_alias FROM mailroster.address a JOIN mailroster.domain d ON d.id = a.domain_id
    WHERE a.owner IS NULL AND d.name IN (SELECT jsonb_array_elements_text($1->'leaving'))
    UNION
    -- The first of those that keep a domain from going: its status names them.
    SELECT first.canonical, first.is_alias FROM mailroster.domain d
    CROSS JOIN LATERAL (SELECT a.canonical, a.is_alias FROM mailroster.address a WHERE a.domain_id = d.id ORDER BY a.canonical LIMIT 10) first
    WHERE d.name IN (SELECT jsonb_array_elements_text($1->'leaving'))
    UNION
    -- What is to be learned must not meet a row, or a tombstone (U8), that the plan does not see.
    SELECT s.key, false FROM mailroster.learned_sender s WHERE s.domain IN (SELECT jsonb_array_elements_text($1->'domains'))
)
SELECT coalesce(jsonb_agg(jsonb_build_array(canonical, is_alias)), '[]') FROM found";

const DOMAINS: &str = "
SELECT coalesce(jsonb_agg(to_jsonb(d)), '[]') FROM mailroster.domain d WHERE d.name IN (SELECT jsonb_array_elements_text($1))";

const DOMAINS_BELOW: &str = "
SELECT coalesce(jsonb_agg(to_jsonb(d)), '[]') FROM mailroster.domain d
WHERE EXISTS (SELECT FROM jsonb_array_elements_text($1) AS s(suffix) WHERE right(d.name, length(s.suffix)) = s.suffix)";

const WAITING: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_object('address', a.canonical, 'action', w.action, 'since', w.since, 'held', w.held, 'approved', w.approved)), '[]')
FROM mailroster.waiting w JOIN mailroster.address a ON a.id = w.address_id JOIN mailroster.domain d ON d.id = a.domain_id
WHERE d.name IN (SELECT jsonb_array_elements_text($1))";

const LINKS: &str = "
WITH wanted AS (SELECT a.id FROM mailroster.address a WHERE a.canonical IN (SELECT jsonb_array_elements_text($1))),
found AS (SELECT l.* FROM mailroster.link l WHERE l.alias_id IN (SELECT id FROM wanted) UNION SELECT l.* FROM mailroster.link l WHERE l.primary_id IN (SELECT id FROM wanted))
SELECT coalesce(jsonb_agg(jsonb_build_object('alias', a.canonical, 'primary', p.canonical, 'namespace', l.namespace, 'owner', l.owner, 'origin', l.origin, 'made_row', l.made_row)), '[]')
FROM found l JOIN mailroster.address a ON a.id = l.alias_id JOIN mailroster.address p ON p.id = l.primary_id";

const ADDRESSES: &str = "
SELECT coalesce(jsonb_agg(to_jsonb(r)), '[]') FROM (
    SELECT a.*, (SELECT coalesce(jsonb_agg(k.key), '[]') FROM mailroster.address_key k WHERE k.address_id = a.id) AS keys,
           coalesce(l.failed_at_lock, 0) AS failed_at_lock, l.locked_at, l.locked_until,
           coalesce(c.failed, 0) AS failed_codes, c.locked_at AS codes_locked_at, u.set_at AS user_password_at,
           (SELECT count(*) FROM mailroster.held_address h WHERE h.address = a.canonical) AS held
    FROM mailroster.address a
    LEFT JOIN mailroster.logon l ON l.address_id = a.id
    LEFT JOIN mailroster.reset_code c ON c.address_id = a.id
    LEFT JOIN mailroster.user_password u ON u.address_id = a.id
    WHERE a.canonical IN (SELECT jsonb_array_elements_text($1))
) r";

const CREDENTIALS: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_object('address', a.canonical, 'fingerprint', encode(c.fingerprint, 'hex'), 'key_id', c.key_id,
    'never_expires', c.never_expires, 'force_change', c.force_change, 'set_at', c.set_at)), '[]')
FROM mailroster.address a JOIN mailroster.credential c ON c.address_id = a.id
WHERE a.canonical IN (SELECT jsonb_array_elements_text($1))";

const DELEGATIONS: &str = "
WITH wanted AS (SELECT a.id FROM mailroster.address a WHERE a.canonical IN (SELECT jsonb_array_elements_text($1))),
found AS (SELECT g.* FROM mailroster.delegation g WHERE g.reader_id IN (SELECT id FROM wanted) UNION SELECT g.* FROM mailroster.delegation g WHERE g.mailbox_id IN (SELECT id FROM wanted))
SELECT coalesce(jsonb_agg(jsonb_build_object('reader', r.canonical, 'mailbox', m.canonical, 'namespace', g.namespace, 'owner', g.owner, 'effective_at', g.effective_at)), '[]')
FROM found g JOIN mailroster.address r ON r.id = g.reader_id JOIN mailroster.address m ON m.id = g.mailbox_id";

// Super administrators of the namespaces come along: whether one is the last is a question about all of them (R2).
const ROLES: &str = "
SELECT coalesce(jsonb_agg(DISTINCT to_jsonb(o)), '[]') FROM mailroster.role o
WHERE (o.namespace, o.name) IN (SELECT w.namespace, w.name FROM jsonb_to_recordset($1->'roles') AS w(namespace text, name text))
   OR (o.built_in = 'SuperAdministrator' AND o.namespace IN (SELECT jsonb_array_elements_text($1->'namespaces')))
   OR o.id IN (SELECT m.role_id FROM mailroster.role_member m JOIN mailroster.address a ON a.id = m.address_id
               WHERE a.canonical IN (SELECT jsonb_array_elements_text($1->'addresses')))";

const MEMBERS: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_object('address', a.canonical, 'namespace', o.namespace, 'role', o.name)), '[]')
FROM mailroster.role_member m JOIN mailroster.address a ON a.id = m.address_id JOIN mailroster.role o ON o.id = m.role_id
WHERE (o.namespace, o.name) IN (SELECT w.namespace, w.name FROM jsonb_to_recordset($1->'roles') AS w(namespace text, name text))
   OR (o.built_in = 'SuperAdministrator' AND o.namespace IN (SELECT jsonb_array_elements_text($1->'namespaces')))
   OR a.canonical IN (SELECT jsonb_array_elements_text($1->'addresses'))";

const SETTINGS: &str = "
SELECT coalesce(jsonb_agg(to_jsonb(s)), '[]') FROM mailroster.settings s WHERE s.namespace IN (SELECT jsonb_array_elements_text($1))";

const TOMBSTONES: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_object('address', t.canonical, 'at', t.purged_at)), '[]')
FROM mailroster.tombstone t WHERE t.canonical IN (SELECT jsonb_array_elements_text($1))";

const HANDLED: &str = "
SELECT coalesce(jsonb_agg(to_jsonb(h)), '[]') FROM jsonb_to_recordset($1) AS w(kind text, namespace text, name text)
JOIN mailroster.handled h ON h.kind = w.kind AND h.namespace = w.namespace AND h.name = w.name";

const LEARNED: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_array(s.key, s.domain)), '[]')
FROM mailroster.learned_sender s WHERE s.domain IN (SELECT jsonb_array_elements_text($1))";

const SOURCES: &str = "SELECT coalesce(jsonb_agg(jsonb_build_array(s.source, s.reported_at)), '[]') FROM mailroster.held_source s WHERE $1::jsonb IS NOT NULL";

const NUMBERS: &str = "
SELECT coalesce(jsonb_agg(to_jsonb(r)), '[]') FROM (
    SELECT d.name, c.*, h.*
    FROM mailroster.domain d
    CROSS JOIN LATERAL (
        SELECT count(*) AS total,
               count(*) FILTER (WHERE a.origin = 'Manual') AS manual,
               count(*) FILTER (WHERE a.origin = 'MailFlow') AS mail_flow,
               count(*) FILTER (WHERE a.origin = 'Directory') AS directory,
               count(*) FILTER (WHERE a.origin = 'Import') AS imported,
               count(*) FILTER (WHERE a.origin = 'DistributionList') AS distribution_lists,
               count(*) FILTER (WHERE a.is_alias) AS aliases,
               count(*) FILTER (WHERE a.owner IS NULL AND NOT a.is_alias) AS undeclared,
               count(*) FILTER (WHERE a.origin = 'MailFlow' AND a.created_at > mailroster.now() - interval '1 hour') AS learned
        FROM mailroster.address a WHERE a.domain_id = d.id
    ) c
    CROSS JOIN LATERAL (
        SELECT count(*) AS done, count(*) FILTER (WHERE e.action = 'Purge') AS gone, min(e.at) AS oldest_done
        FROM mailroster.done e WHERE e.domain_id = d.id AND e.at > mailroster.now() - interval '1 hour'
    ) h
    WHERE d.name IN (SELECT jsonb_array_elements_text($1))
) r";

const TRANSFERS: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_array(t.domain, t.to_namespace)), '[]')
FROM mailroster.transfer_request t WHERE t.domain IN (SELECT jsonb_array_elements_text($1))";

// D1: what joins a domain to another domain or a role of its namespace.
const TRANSFER_BLOCKERS: &str = "
WITH moving AS (SELECT d.id, d.name FROM mailroster.domain d WHERE d.name IN (SELECT jsonb_array_elements_text($1))),
found AS (
    SELECT m.name, 'link ' || a.canonical || ' to ' || p.canonical AS blocker
    FROM mailroster.link l JOIN mailroster.address a ON a.id = l.alias_id JOIN mailroster.address p ON p.id = l.primary_id
    JOIN moving m ON m.id IN (a.domain_id, p.domain_id) WHERE a.domain_id <> p.domain_id
    UNION ALL
    SELECT m.name, 'delegation of ' || b.canonical || ' to ' || r.canonical
    FROM mailroster.delegation g JOIN mailroster.address r ON r.id = g.reader_id JOIN mailroster.address b ON b.id = g.mailbox_id
    JOIN moving m ON m.id IN (r.domain_id, b.domain_id) WHERE r.domain_id <> b.domain_id
    UNION ALL
    SELECT m.name, 'role ' || o.name || ' of ' || a.canonical
    FROM mailroster.role_member e JOIN mailroster.address a ON a.id = e.address_id JOIN mailroster.role o ON o.id = e.role_id JOIN moving m ON m.id = a.domain_id
)
SELECT coalesce(jsonb_agg(jsonb_build_array(name, blocker) ORDER BY name, blocker), '[]') FROM found";
