//! The queries of [`super::read`] and [`super::owners`]: each takes one JSON document and answers with one JSON array, but for
//! [`OWNERS`], [`WATCHED_NAMESPACES`] and [`UNFINISHED_DOMAINS`].

use crate::model::Kind;

pub(super) const OWNED: &str = "
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
    SELECT 'settings', s.namespace, '' FROM wanted w JOIN mailroster.settings s ON w.kind = 'AccountSettings' AND s.namespace = w.namespace AND s.owner = w.name
    UNION ALL
    SELECT 'connection', k.namespace, k.name FROM wanted w JOIN mailroster.connection k ON w.kind = 'DirectoryConnection' AND k.namespace = w.namespace AND k.name = w.name
    UNION ALL
    SELECT 'role', o.namespace, o.name FROM wanted w JOIN mailroster.role o ON w.kind = 'AdminRole' AND o.namespace = w.namespace AND o.name = w.name
    UNION ALL
    SELECT 'member', a.canonical, '' FROM wanted w JOIN mailroster.role o ON w.kind = 'AdminRole' AND o.namespace = w.namespace AND o.name = w.name
        JOIN mailroster.role_member m ON m.role_id = o.id JOIN mailroster.address a ON a.id = m.address_id
)
SELECT coalesce(jsonb_agg(jsonb_build_array(sort, first, second)), '[]') FROM found";

pub(super) const GUARDED: &str = "
WITH found AS (
    SELECT a.canonical, a.is_alias, false AS learned FROM mailroster.waiting w JOIN mailroster.address a ON a.id = w.address_id JOIN mailroster.domain d ON d.id = a.domain_id
    WHERE d.name IN (SELECT jsonb_array_elements_text($1->'domains'))
    UNION
    SELECT a.canonical, a.is_alias, false FROM mailroster.address a JOIN mailroster.domain d ON d.id = a.domain_id
    WHERE a.owner IS NULL AND d.name IN (SELECT jsonb_array_elements_text($1->'leaving'))
    UNION
    -- The first of those that keep a domain from going: its status names them.
    SELECT first.canonical, first.is_alias, false FROM mailroster.domain d
    CROSS JOIN LATERAL (SELECT a.canonical, a.is_alias FROM mailroster.address a WHERE a.domain_id = d.id ORDER BY a.canonical LIMIT 10) first
    WHERE d.name IN (SELECT jsonb_array_elements_text($1->'leaving'))
    UNION
    -- What is to be learned must not meet a row, or a tombstone (U8), that the plan does not see.
    SELECT s.key, false, true FROM mailroster.learned_sender s WHERE s.domain IN (SELECT jsonb_array_elements_text($1->'domains'))
)
SELECT coalesce(jsonb_agg(jsonb_build_array(canonical, is_alias, learned)), '[]') FROM found";

pub(super) const DOMAINS: &str = "
SELECT coalesce(jsonb_agg(to_jsonb(d)), '[]') FROM mailroster.domain d WHERE d.name IN (SELECT jsonb_array_elements_text($1))";

pub(super) const DOMAINS_BELOW: &str = "
SELECT coalesce(jsonb_agg(to_jsonb(d)), '[]') FROM mailroster.domain d
WHERE EXISTS (SELECT FROM jsonb_array_elements_text($1) AS s(suffix) WHERE right(d.name, length(s.suffix)) = s.suffix)";

pub(super) const WAITING: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_object('address', a.canonical, 'action', w.action, 'since', w.since, 'held', w.held, 'approved', w.approved)), '[]')
FROM mailroster.waiting w JOIN mailroster.address a ON a.id = w.address_id JOIN mailroster.domain d ON d.id = a.domain_id
WHERE d.name IN (SELECT jsonb_array_elements_text($1))";

// Of a primary that neither is to be purged nor has left its directory no more other aliases than its status lists.
pub(super) const LINKS: &str = "
WITH wanted AS MATERIALIZED (
    SELECT a.id, EXISTS (SELECT FROM mailroster.leaver v WHERE v.address_id = a.id AND v.cleared_at IS NOT NULL) AS leaving,
           a.canonical IN (SELECT jsonb_array_elements_text($1->'purging')) AS purging
    FROM mailroster.address a WHERE a.canonical IN (SELECT jsonb_array_elements_text($1->'addresses'))
), found AS (
    SELECT l.* FROM mailroster.link l WHERE l.alias_id IN (SELECT id FROM wanted)
    UNION
    SELECT first.* FROM wanted w
    CROSS JOIN LATERAL (
        SELECT l.* FROM mailroster.link l
        WHERE l.primary_id = w.id AND l.alias_id NOT IN (SELECT id FROM wanted)
        ORDER BY l.alias LIMIT CASE WHEN NOT w.purging AND NOT w.leaving THEN ($1->>'listed')::bigint END
    ) first
)
SELECT coalesce(jsonb_agg(jsonb_build_object('alias', l.alias, 'primary', p.canonical, 'namespace', l.namespace, 'owner', l.owner, 'origin', l.origin, 'made_row', l.made_row, 'directory', l.directory,
    'leaving', EXISTS (SELECT FROM wanted w WHERE w.id = l.primary_id AND w.leaving))), '[]')
FROM found l JOIN mailroster.address p ON p.id = l.primary_id";

// Counting reads nothing but an index.
pub(super) const ALIAS_COUNTS: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_array(a.canonical, (SELECT count(*) FROM mailroster.link l WHERE l.primary_id = a.id))), '[]')
FROM mailroster.address a WHERE a.canonical IN (SELECT jsonb_array_elements_text($1))";

pub(super) const ADDRESSES: &str = "
SELECT coalesce(jsonb_agg(to_jsonb(r)), '[]') FROM (
    SELECT a.*, a.xmin::text::bigint AS version, (SELECT coalesce(jsonb_agg(k.key), '[]') FROM mailroster.address_key k WHERE k.address_id = a.id AND k.stand_in_of IS NULL) AS keys,
           coalesce(l.failed_at_lock, 0) AS failed_at_lock, l.locked_at, l.locked_until,
           coalesce(c.failed, 0) AS failed_codes, c.locked_at AS codes_locked_at, u.set_at AS user_password_at,
           (SELECT count(*) FROM mailroster.held_address h WHERE h.address = a.canonical) AS held
    FROM mailroster.address a
    LEFT JOIN mailroster.logon l ON l.address_id = a.id
    LEFT JOIN mailroster.reset_code c ON c.address_id = a.id
    LEFT JOIN mailroster.user_password u ON u.address_id = a.id
    WHERE a.canonical IN (SELECT jsonb_array_elements_text($1))
) r";

pub(super) const CREDENTIALS: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_object('address', a.canonical, 'fingerprint', encode(c.fingerprint, 'hex'), 'key_id', c.key_id,
    'never_expires', c.never_expires, 'force_change', c.force_change, 'set_at', c.set_at)), '[]')
FROM mailroster.address a JOIN mailroster.credential c ON c.address_id = a.id
WHERE a.canonical IN (SELECT jsonb_array_elements_text($1))";

pub(super) const DELEGATIONS: &str = "
WITH wanted AS (SELECT a.id FROM mailroster.address a WHERE a.canonical IN (SELECT jsonb_array_elements_text($1))),
found AS (SELECT g.* FROM mailroster.delegation g WHERE g.reader_id IN (SELECT id FROM wanted) UNION SELECT g.* FROM mailroster.delegation g WHERE g.mailbox_id IN (SELECT id FROM wanted))
SELECT coalesce(jsonb_agg(jsonb_build_object('reader', r.canonical, 'mailbox', m.canonical, 'namespace', g.namespace, 'owner', g.owner, 'effective_at', g.effective_at)), '[]')
FROM found g JOIN mailroster.address r ON r.id = g.reader_id JOIN mailroster.address m ON m.id = g.mailbox_id";

// Super administrators of the namespaces come along: whether one is the last is a question about all of them (R2).
pub(super) const ROLES: &str = "
SELECT coalesce(jsonb_agg(DISTINCT to_jsonb(o)), '[]') FROM mailroster.role o
WHERE (o.namespace, o.name) IN (SELECT w.namespace, w.name FROM jsonb_to_recordset($1->'roles') AS w(namespace text, name text))
   OR (o.built_in = 'SuperAdministrator' AND o.namespace IN (SELECT jsonb_array_elements_text($1->'namespaces')))
   OR o.id IN (SELECT m.role_id FROM mailroster.role_member m JOIN mailroster.address a ON a.id = m.address_id
               WHERE a.canonical IN (SELECT jsonb_array_elements_text($1->'addresses')))";

pub(super) const MEMBERS: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_object('address', a.canonical, 'namespace', o.namespace, 'role', o.name)), '[]')
FROM mailroster.role_member m JOIN mailroster.address a ON a.id = m.address_id JOIN mailroster.role o ON o.id = m.role_id
WHERE (o.namespace, o.name) IN (SELECT w.namespace, w.name FROM jsonb_to_recordset($1->'roles') AS w(namespace text, name text))
   OR (o.built_in = 'SuperAdministrator' AND o.namespace IN (SELECT jsonb_array_elements_text($1->'namespaces')))
   OR a.canonical IN (SELECT jsonb_array_elements_text($1->'addresses'))";

// Those of the domains' namespaces come along: the guard of what nobody declares any more is theirs (U4).
pub(super) const SETTINGS: &str = "
SELECT coalesce(jsonb_agg(to_jsonb(s)), '[]') FROM mailroster.settings s
WHERE s.namespace IN (SELECT jsonb_array_elements_text($1->'namespaces')
    UNION ALL SELECT d.namespace FROM mailroster.domain d WHERE d.name IN (SELECT jsonb_array_elements_text($1->'domains')))";

pub(super) const ABSENCES: &str = "
SELECT coalesce(jsonb_agg(to_jsonb(b)), '[]') FROM mailroster.absence b WHERE b.namespace IN (SELECT jsonb_array_elements_text($1))";

pub(super) const NAMESPACES: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_array(n.name, n.uid)), '[]') FROM mailroster.namespace n WHERE n.name IN (SELECT jsonb_array_elements_text($1))";

// What some resource owns: the share that may be revoked within a day is one of these (U6).
pub(super) const RIGHTS: &str = "
WITH wanted AS (SELECT jsonb_array_elements_text($1) AS namespace),
found AS (
    SELECT 'AliasLink' AS kind, l.namespace FROM mailroster.link l JOIN wanted USING (namespace) WHERE l.owner IS NOT NULL
    UNION ALL SELECT 'DelegateMailbox', g.namespace FROM mailroster.delegation g JOIN wanted USING (namespace) WHERE g.owner IS NOT NULL
    UNION ALL SELECT 'AdminRole', o.namespace FROM mailroster.role o JOIN wanted USING (namespace) WHERE o.owned
)
SELECT coalesce(jsonb_agg(jsonb_build_array(kind, namespace, n)), '[]') FROM (SELECT kind, namespace, count(*) AS n FROM found GROUP BY kind, namespace) c";

// The longest missing first, as the plan goes through them; those held wait for a yes.
pub(super) const OVERDUE: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_array(kind, namespace, name)), '[]') FROM (
    SELECT b.kind, b.namespace, b.name FROM mailroster.absence b
    WHERE b.namespace IN (SELECT jsonb_array_elements_text($1->'namespaces')) AND b.ended_at IS NULL AND NOT b.held
      AND b.since <= mailroster.now() - ($1->>'seconds')::bigint * interval '1 second'
    ORDER BY b.since, b.kind, b.namespace, b.name LIMIT ($1->>'limit')::bigint
) b";

// Every owner that some row names. One row a resource, not a JSON document: there may be a hundred thousand.
pub(super) const OWNERS: [(Kind, &str); 7] = [
    (Kind::DirectoryConnection, "SELECT namespace, name FROM mailroster.connection WHERE $1 = '' OR namespace = $1"),
    (Kind::AccountSettings, "SELECT namespace, owner FROM mailroster.settings WHERE $1 = '' OR namespace = $1"),
    (Kind::InternalDomain, "SELECT namespace, owner FROM mailroster.domain WHERE owner IS NOT NULL AND ($1 = '' OR namespace = $1)"),
    (Kind::EmailAddress, "SELECT namespace, owner FROM mailroster.address WHERE owner IS NOT NULL AND ($1 = '' OR namespace = $1)"),
    (Kind::AliasLink, "SELECT namespace, owner FROM mailroster.link WHERE owner IS NOT NULL AND ($1 = '' OR namespace = $1)"),
    (Kind::DelegateMailbox, "SELECT namespace, owner FROM mailroster.delegation WHERE owner IS NOT NULL AND ($1 = '' OR namespace = $1)"),
    (Kind::AdminRole, "SELECT namespace, name FROM mailroster.role WHERE owned AND ($1 = '' OR namespace = $1)"),
];

/// Namespaces in which something is known to be missing, or whose uid is not known although rows are there.
pub(super) const WATCHED_NAMESPACES: &str = "
SELECT DISTINCT b.namespace FROM mailroster.absence b WHERE $1 = '' OR b.namespace = $1
UNION SELECT DISTINCT d.namespace FROM mailroster.domain d
WHERE ($1 = '' OR d.namespace = $1) AND NOT EXISTS (SELECT FROM mailroster.namespace n WHERE n.name = d.namespace)";

pub(super) const UNFINISHED_DOMAINS: &str = "
SELECT d.name FROM mailroster.domain d
WHERE EXISTS (SELECT FROM mailroster.waiting w JOIN mailroster.address a ON a.id = w.address_id WHERE a.domain_id = d.id)
   OR EXISTS (SELECT FROM mailroster.learned_sender s WHERE s.domain = d.name)
   OR EXISTS (SELECT FROM mailroster.transfer_request t WHERE t.domain = d.name)";

// V3, of the domains that validate by directory and have a connection in their namespace.
pub(super) const COVERAGE: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_array(d.name, (SELECT max(c.fresh_until) FROM mailroster.covered_domain c WHERE c.domain = d.name AND c.namespace = d.namespace))), '[]')
FROM mailroster.domain d WHERE d.name IN (SELECT jsonb_array_elements_text($1)) AND d.recipient_validation = 'Directory'
  AND EXISTS (SELECT FROM mailroster.connection k WHERE k.namespace = d.namespace)";

pub(super) const CONNECTIONS: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_object('namespace', k.namespace, 'name', k.name, 'state', k.state)), '[]')
FROM jsonb_to_recordset($1) AS w(namespace text, name text) JOIN mailroster.connection k ON k.namespace = w.namespace AND k.name = w.name";

// One index lookup for each of them, whatever the planner takes the tables for while a first run fills them.
// What was last read of these entries, of those that hold these addresses, and of those that did and go by another one now (L8).
pub(super) const ENTRIES: &str = "
WITH wanted AS MATERIALIZED (
    SELECT a.id, a.namespace, a.entry FROM mailroster.address a WHERE a.canonical IN (SELECT jsonb_array_elements_text($1->'addresses'))
), named AS MATERIALIZED (
    SELECT w.namespace, w.connection, w.id FROM jsonb_to_recordset($1->'entries') AS w(namespace text, connection text, id text)
    UNION SELECT w.namespace, k.name, w.entry FROM wanted w JOIN mailroster.connection k ON k.namespace = w.namespace WHERE w.entry IS NOT NULL
), found AS (
    SELECT e.* FROM named n CROSS JOIN LATERAL (
        SELECT e.* FROM mailroster.entry e WHERE e.namespace = n.namespace AND e.connection = n.connection AND e.id = n.id OFFSET 0
    ) e
    UNION SELECT e.* FROM wanted w CROSS JOIN LATERAL (SELECT e.* FROM mailroster.entry e WHERE e.address_id = w.id OFFSET 0) e
)
SELECT coalesce(jsonb_agg(jsonb_build_object('namespace', e.namespace, 'connection', e.connection, 'id', e.id, 'digest', encode(e.digest, 'hex'),
    'signs', e.signs, 'rank', e.rank, 'exchange', e.exchange, 'exchange_to', e.exchange_to, 'address', a.canonical)), '[]')
FROM found e LEFT JOIN mailroster.address a ON a.id = e.address_id";

pub(super) const LEAVERS: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_object('address', a.canonical, 'since', l.since, 'missed', l.missed, 'held', l.held, 'approved', l.approved,
    'cleared_at', l.cleared_at)), '[]')
FROM mailroster.leaver l JOIN mailroster.address a ON a.id = l.address_id WHERE a.canonical IN (SELECT jsonb_array_elements_text($1))";

// The addresses that these entries hold, with the aliases of those: what an entry may give up or take along.
pub(super) const HELD_BY_ENTRIES: &str = "
WITH held AS (
    SELECT a.id, a.canonical FROM jsonb_to_recordset($1) AS w(namespace text, connection text, id text)
    JOIN mailroster.entry e ON e.namespace = w.namespace AND e.connection = w.connection AND e.id = w.id JOIN mailroster.address a ON a.id = e.address_id
)
SELECT coalesce(jsonb_agg(canonical), '[]') FROM (
    SELECT canonical FROM held
    UNION SELECT a.canonical FROM held h JOIN mailroster.link l ON l.primary_id = h.id JOIN mailroster.address a ON a.id = l.alias_id
) f";

pub(super) const TOMBSTONES: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_object('address', t.canonical, 'at', t.purged_at)), '[]')
FROM mailroster.tombstone t WHERE t.canonical IN (SELECT jsonb_array_elements_text($1))";

pub(super) const HANDLED: &str = "
SELECT coalesce(jsonb_agg(to_jsonb(h)), '[]') FROM jsonb_to_recordset($1) AS w(kind text, namespace text, name text)
JOIN mailroster.handled h ON h.kind = w.kind AND h.namespace = w.namespace AND h.name = w.name";

pub(super) const LEARNED: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_array(s.key, s.domain)), '[]')
FROM mailroster.learned_sender s WHERE s.domain IN (SELECT jsonb_array_elements_text($1))";

pub(super) const SOURCES: &str = "SELECT coalesce(jsonb_agg(jsonb_build_array(s.source, s.reported_at)), '[]') FROM mailroster.held_source s WHERE $1::jsonb IS NOT NULL";

pub(super) const NUMBERS: &str = "
SELECT coalesce(jsonb_agg(to_jsonb(r)), '[]') FROM (
    SELECT d.name, c.*, h.*, g.*
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
        SELECT count(*) AS done FROM mailroster.done e WHERE e.domain_id = d.id AND e.at > mailroster.now() - interval '1 hour'
    ) h
    CROSS JOIN LATERAL (
        -- One that came back is counted among those that are there.
        SELECT count(DISTINCT e.subject) AS gone FROM mailroster.gone e
        WHERE e.domain_id = d.id AND e.at > mailroster.now() - interval '1 hour'
          AND NOT EXISTS (SELECT FROM mailroster.address a WHERE a.canonical = e.subject)
    ) g
    WHERE d.name IN (SELECT jsonb_array_elements_text($1))
) r";

pub(super) const TRANSFERS: &str = "
SELECT coalesce(jsonb_agg(jsonb_build_array(t.domain, t.to_namespace)), '[]')
FROM mailroster.transfer_request t WHERE t.domain IN (SELECT jsonb_array_elements_text($1))";

// D1: what joins a domain to another domain or a role of its namespace.
pub(super) const TRANSFER_BLOCKERS: &str = "
WITH moving AS (SELECT d.id, d.name FROM mailroster.domain d WHERE d.name IN (SELECT jsonb_array_elements_text($1))),
found AS (
    SELECT m.name, 'link: ' || a.canonical || ' is an alias of ' || p.canonical AS blocker
    FROM mailroster.link l JOIN mailroster.address a ON a.id = l.alias_id JOIN mailroster.address p ON p.id = l.primary_id
    JOIN moving m ON m.id IN (a.domain_id, p.domain_id) WHERE a.domain_id <> p.domain_id
    UNION ALL
    SELECT m.name, 'delegation: ' || r.canonical || ' reads ' || b.canonical
    FROM mailroster.delegation g JOIN mailroster.address r ON r.id = g.reader_id JOIN mailroster.address b ON b.id = g.mailbox_id
    JOIN moving m ON m.id IN (r.domain_id, b.domain_id) WHERE r.domain_id <> b.domain_id
    UNION ALL
    SELECT m.name, 'role: ' || a.canonical || ' is a member of ' || o.name
    FROM mailroster.role_member e JOIN mailroster.address a ON a.id = e.address_id JOIN mailroster.role o ON o.id = e.role_id JOIN moving m ON m.id = a.domain_id
)
SELECT coalesce(jsonb_agg(jsonb_build_array(name, blocker) ORDER BY name, blocker), '[]') FROM found";
