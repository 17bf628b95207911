//! The statements of [`super::write`]: each takes one JSON array of rows, but for [`HELD`], which takes one of names, and those of
//! [`super::bulk`], which take an array for each column.

pub(super) const PUT_SETTINGS: &str = "
INSERT INTO mailroster.settings SELECT r.* FROM jsonb_populate_recordset(NULL::mailroster.settings, $1) r
ON CONFLICT (namespace) DO UPDATE SET
    owner = EXCLUDED.owner, password_min_length = EXCLUDED.password_min_length, password_uppercase = EXCLUDED.password_uppercase,
    password_lowercase = EXCLUDED.password_lowercase, password_digit = EXCLUDED.password_digit, password_symbol = EXCLUDED.password_symbol,
    password_expires_days = EXCLUDED.password_expires_days, password_history = EXCLUDED.password_history,
    lockout_failed_logons = EXCLUDED.lockout_failed_logons, lockout_seconds = EXCLUDED.lockout_seconds,
    reset_failed_codes = EXCLUDED.reset_failed_codes, purge_delay_seconds = EXCLUDED.purge_delay_seconds,
    held_mail_reports = EXCLUDED.held_mail_reports, guard_max_percent = EXCLUDED.guard_max_percent, guard_min_count = EXCLUDED.guard_min_count,
    hide_confidential = EXCLUDED.hide_confidential";

// All of a domain changes hands at once; the foreign keys between its rows are looked at when all have moved (D1).
pub(super) const TRANSFER: [&str; 6] = [
    "DELETE FROM mailroster.leaver l USING jsonb_to_recordset($1) AS r(domain text), mailroster.domain d, mailroster.address a
     WHERE d.name = r.domain AND a.domain_id = d.id AND l.address_id = a.id",
    "UPDATE mailroster.entry e SET address_id = NULL, digest = NULL
     FROM jsonb_to_recordset($1) AS r(domain text) JOIN mailroster.domain d ON d.name = r.domain JOIN mailroster.address a ON a.domain_id = d.id
     WHERE e.address_id = a.id",
    "UPDATE mailroster.link l SET namespace = r.to_namespace, owner = NULL
     FROM jsonb_to_recordset($1) AS r(domain text, to_namespace text) JOIN mailroster.domain d ON d.name = r.domain JOIN mailroster.address a ON a.domain_id = d.id
     WHERE l.alias_id = a.id",
    "UPDATE mailroster.delegation g SET namespace = r.to_namespace, owner = NULL
     FROM jsonb_to_recordset($1) AS r(domain text, to_namespace text) JOIN mailroster.domain d ON d.name = r.domain JOIN mailroster.address a ON a.domain_id = d.id
     WHERE g.mailbox_id = a.id",
    "UPDATE mailroster.address a SET namespace = r.to_namespace, owner = NULL, last_owner = NULL, connection = NULL, directory_disabled = false,
        directory_missing = false
     FROM jsonb_to_recordset($1) AS r(domain text, to_namespace text) JOIN mailroster.domain d ON d.name = r.domain WHERE a.domain_id = d.id",
    "UPDATE mailroster.domain d SET namespace = r.to_namespace, owner = NULL
     FROM jsonb_to_recordset($1) AS r(domain text, to_namespace text) WHERE d.name = r.domain",
];

pub(super) const PUT_DOMAINS: &str = "
INSERT INTO mailroster.domain (name, namespace, owner, recipient_validation, unknown_recipients, next_hop, learn_senders, sub_addressing, postmaster)
SELECT name, namespace, owner, recipient_validation, unknown_recipients, next_hop, learn_senders, sub_addressing, postmaster
FROM jsonb_populate_recordset(NULL::mailroster.domain, $1) ORDER BY name
ON CONFLICT (name) DO UPDATE SET
    owner = EXCLUDED.owner, recipient_validation = EXCLUDED.recipient_validation, unknown_recipients = EXCLUDED.unknown_recipients,
    next_hop = EXCLUDED.next_hop, learn_senders = EXCLUDED.learn_senders, sub_addressing = EXCLUDED.sub_addressing, postmaster = EXCLUDED.postmaster
WHERE domain.namespace = EXCLUDED.namespace";

pub(super) const PUT_DOMAIN_KEYS: &str = "
INSERT INTO mailroster.domain_key (key, domain_id)
SELECT k.key, d.id FROM jsonb_to_recordset($1) AS r(name text, keys jsonb) JOIN mailroster.domain d ON d.name = r.name, jsonb_array_elements_text(r.keys) AS k(key)
ON CONFLICT (key) DO NOTHING";

// A batch writes whole rows: one that somebody edited since it was read would lose the edit. (A transfer in this very batch is no edit.)
pub(super) const LOCK_ADDRESSES: &str = "
SELECT a.id FROM unnest($1::text[], $2::bigint[]) AS r(canonical, version) JOIN mailroster.address a ON a.canonical = r.canonical
WHERE a.xmin IN (r.version::text::xid, pg_current_xact_id()::xid) ORDER BY a.canonical FOR NO KEY UPDATE OF a";

/// Addresses, an array for each column.
macro_rules! address_rows {
    () => {
        "unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::boolean[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::boolean[],
    $12::boolean[], $13::boolean[], $14::text[], $15::boolean[], $16::boolean[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[],
    $22::boolean[], $23::boolean[], $24::text[], $25::text[])
    AS r(canonical, domain, display, namespace, is_alias, origin, owner, last_owner, display_name, attributes, disabled,
    shut, closing, archive_start, smtp_submission, pop, unlocked_at, codes_reset_at, connection, entry, global_name,
    directory_disabled, directory_missing, holder_since, created_at)"
    };
}

// One that somebody made meanwhile was not in the plan's view: a conflict.
pub(super) const MAKE_ADDRESSES: &str = concat!(
    "
INSERT INTO mailroster.address (canonical, display, domain_id, namespace, is_alias, origin, owner, last_owner, display_name, attributes, disabled,
    shut, closing, archive_start, smtp_submission, pop, unlocked_at, codes_reset_at, connection, entry, global_name, directory_disabled,
    directory_missing, holder_since, created_at)
SELECT r.canonical, r.display, d.id, r.namespace, r.is_alias, r.origin, r.owner, r.last_owner, r.display_name, r.attributes::jsonb, r.disabled,
    r.shut, r.closing, r.archive_start::date, r.smtp_submission, r.pop, r.unlocked_at::timestamptz, r.codes_reset_at::timestamptz, r.connection, r.entry,
    r.global_name, r.directory_disabled, r.directory_missing, r.holder_since::timestamptz, r.created_at::timestamptz
FROM ",
    address_rows!(),
    "
JOIN mailroster.domain d ON d.name = r.domain ORDER BY r.canonical
RETURNING id, canonical"
);

pub(super) const CHANGE_ADDRESSES: &str = concat!(
    "
UPDATE mailroster.address a SET
    display = r.display, is_alias = r.is_alias, origin = r.origin, owner = r.owner, last_owner = r.last_owner, display_name = r.display_name,
    attributes = r.attributes::jsonb, disabled = r.disabled, shut = r.shut, closing = r.closing, archive_start = r.archive_start::date,
    smtp_submission = r.smtp_submission, pop = r.pop, unlocked_at = r.unlocked_at::timestamptz, codes_reset_at = r.codes_reset_at::timestamptz,
    connection = r.connection, entry = r.entry, global_name = r.global_name, directory_disabled = r.directory_disabled,
    directory_missing = r.directory_missing, holder_since = r.holder_since::timestamptz
FROM ",
    address_rows!(),
    "
WHERE a.canonical = r.canonical AND a.namespace = r.namespace AND a.created_at = r.created_at::timestamptz"
);

pub(super) const DELETE_KEYS: &str = "
DELETE FROM mailroster.address_key k USING mailroster.address a
WHERE a.canonical = ANY ($1::text[]) AND k.address_id = a.id AND k.stand_in_of IS NULL
  AND NOT EXISTS (SELECT FROM unnest($2::text[], $3::text[]) AS r(canonical, key) WHERE r.canonical = a.canonical AND r.key = k.key)";

// Of addresses that were made in this batch.
pub(super) const MAKE_KEYS: &str = "
INSERT INTO mailroster.address_key (key, address_id, primary_id) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[])";

// Of addresses that were there before, where they lack any.
pub(super) const PUT_KEYS: &str = "
INSERT INTO mailroster.address_key (key, address_id, primary_id)
SELECT k.key, a.id, l.primary_id
FROM unnest($1::text[], $2::text[]) AS k(canonical, key) JOIN mailroster.address a ON a.canonical = k.canonical
LEFT JOIN mailroster.link l ON l.alias_id = a.id
WHERE NOT EXISTS (SELECT FROM mailroster.address_key o WHERE o.key = k.key AND o.address_id = a.id AND o.stand_in_of IS NULL)";

pub(super) const FIND_ADDRESSES: &str = "SELECT id, canonical FROM mailroster.address WHERE canonical = ANY ($1)";

pub(super) const PUT_ROLES: &str = "
INSERT INTO mailroster.role (namespace, name, owned, built_in, permissions)
SELECT r.namespace, r.name, r.owned, r.built_in, ARRAY(SELECT jsonb_array_elements_text(r.permissions))
FROM jsonb_to_recordset($1) AS r(namespace text, name text, owned boolean, built_in text, permissions jsonb)
ON CONFLICT (namespace, name) DO UPDATE SET owned = EXCLUDED.owned, built_in = EXCLUDED.built_in, permissions = EXCLUDED.permissions";

pub(super) const DELETE_ROLES: &str = "
DELETE FROM mailroster.role o USING jsonb_to_recordset($1) AS r(namespace text, name text) WHERE o.namespace = r.namespace AND o.name = r.name";

pub(super) const PUT_MEMBERS: &str = "
INSERT INTO mailroster.role_member (address_id, role_id, namespace)
SELECT a.id, o.id, r.namespace FROM jsonb_to_recordset($1) AS r(address text, namespace text, role text)
JOIN mailroster.address a ON a.canonical = r.address JOIN mailroster.role o ON o.namespace = r.namespace AND o.name = r.role";

pub(super) const DELETE_MEMBERS: &str = "
DELETE FROM mailroster.role_member m USING jsonb_to_recordset($1) AS r(address text), mailroster.address a WHERE a.canonical = r.address AND m.address_id = a.id";

pub(super) const PUT_LINKS: &str = "
INSERT INTO mailroster.link (alias_id, alias, primary_id, namespace, owner, origin, made_row, directory)
SELECT r.alias_id, r.alias, r.primary_id, r.namespace, r.owner, r.origin, r.made_row, r.directory
FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::boolean[], $8::text[])
    AS r(alias_id, alias, primary_id, namespace, owner, origin, made_row, directory)
ORDER BY r.alias
ON CONFLICT (alias_id) DO UPDATE SET primary_id = EXCLUDED.primary_id, owner = EXCLUDED.owner, origin = EXCLUDED.origin, made_row = EXCLUDED.made_row,
    directory = EXCLUDED.directory";

pub(super) const DELETE_LINKS: &str = "
DELETE FROM mailroster.link l USING jsonb_to_recordset($1) AS r(alias text), mailroster.address a WHERE a.canonical = r.alias AND l.alias_id = a.id";

pub(super) const PUT_DELEGATIONS: &str = "
INSERT INTO mailroster.delegation (reader_id, mailbox_id, namespace, owner, effective_at)
SELECT a.id, b.id, r.namespace, r.owner, r.effective_at
FROM jsonb_to_recordset($1) AS r(reader text, mailbox text, namespace text, owner text, effective_at timestamptz)
JOIN mailroster.address a ON a.canonical = r.reader JOIN mailroster.address b ON b.canonical = r.mailbox ORDER BY a.canonical, b.canonical
ON CONFLICT (reader_id, mailbox_id) DO UPDATE SET owner = EXCLUDED.owner";

pub(super) const DELETE_DELEGATIONS: &str = "
DELETE FROM mailroster.delegation g USING jsonb_to_recordset($1) AS r(reader text, mailbox text), mailroster.address a, mailroster.address b
WHERE a.canonical = r.reader AND b.canonical = r.mailbox AND g.reader_id = a.id AND g.mailbox_id = b.id";

// P4: the hash that a new one replaces goes to the history, as does the one the user chose.
pub(super) const KEEP_HISTORY: &str = "
INSERT INTO mailroster.credential_history (address_id, phc, set_at)
SELECT c.address_id, o.phc, o.set_at
FROM jsonb_to_recordset($1) AS r(address text, phc text) JOIN mailroster.address a ON a.canonical = r.address JOIN mailroster.credential c ON c.address_id = a.id
CROSS JOIN LATERAL (
    SELECT c.phc, c.set_at
    UNION ALL SELECT u.phc, u.set_at FROM mailroster.user_password u WHERE u.address_id = a.id AND u.set_at > c.set_at
) o
WHERE r.phc IS NOT NULL";

pub(super) const CUT_HISTORY: &str = "
DELETE FROM mailroster.credential_history h USING (
    SELECT h.id, row_number() OVER (PARTITION BY h.address_id ORDER BY h.id DESC) AS nth, r.history
    FROM jsonb_to_recordset($1) AS r(address text, history integer) JOIN mailroster.address a ON a.canonical = r.address
    JOIN mailroster.credential_history h ON h.address_id = a.id
) old WHERE old.id = h.id AND old.nth > old.history";

// Without a hash only the fingerprint is renewed (P2): no session ends.
pub(super) const PUT_CREDENTIALS: &str = "
WITH wanted AS (
    SELECT a.id AS address_id, r.* FROM jsonb_to_recordset($1) AS r(address text, phc text, fingerprint text, key_id text, force_change boolean, never_expires boolean)
    JOIN mailroster.address a ON a.canonical = r.address
), renewed AS (
    UPDATE mailroster.credential c SET fingerprint = decode(w.fingerprint, 'hex'), key_id = w.key_id, never_expires = w.never_expires
    FROM wanted w WHERE c.address_id = w.address_id AND w.phc IS NULL RETURNING c.address_id
), set_anew AS (
    INSERT INTO mailroster.credential (address_id, phc, fingerprint, key_id, force_change, never_expires)
    SELECT w.address_id, w.phc, decode(w.fingerprint, 'hex'), w.key_id, w.force_change, w.never_expires FROM wanted w WHERE w.phc IS NOT NULL
    ON CONFLICT (address_id) DO UPDATE SET phc = EXCLUDED.phc, fingerprint = EXCLUDED.fingerprint, key_id = EXCLUDED.key_id,
        force_change = EXCLUDED.force_change, never_expires = EXCLUDED.never_expires, epoch = credential.epoch + 1, set_at = EXCLUDED.set_at
    RETURNING address_id
) SELECT address_id FROM renewed UNION ALL SELECT address_id FROM set_anew";

pub(super) const PUT_WAITS: &str = "
INSERT INTO mailroster.waiting (address_id, action, since, held, approved)
SELECT a.id, r.action, r.since, r.held, r.approved FROM jsonb_to_recordset($1) AS r(address text, action text, since timestamptz, held boolean, approved boolean)
JOIN mailroster.address a ON a.canonical = r.address ORDER BY a.canonical
ON CONFLICT (address_id, action) DO UPDATE SET held = EXCLUDED.held, approved = EXCLUDED.approved";

pub(super) const DELETE_WAITS: &str = "
DELETE FROM mailroster.waiting w USING jsonb_to_recordset($1) AS r(address text, action text), mailroster.address a
WHERE a.canonical = r.address AND w.address_id = a.id AND w.action = r.action";

pub(super) const PUT_DONE: &str = "
INSERT INTO mailroster.done (domain_id, action, subject)
SELECT d.id, r.action, r.address FROM jsonb_to_recordset($1) AS r(address text, domain text, action text) JOIN mailroster.domain d ON d.name = r.domain";

pub(super) const PUT_HANDLED: &str = "
INSERT INTO mailroster.handled SELECT r.* FROM jsonb_populate_recordset(NULL::mailroster.handled, $1) r
ON CONFLICT (kind, namespace, name, action) DO UPDATE SET token = EXCLUDED.token";

pub(super) const PUT_ABSENCES: &str = "
INSERT INTO mailroster.absence SELECT r.* FROM jsonb_populate_recordset(NULL::mailroster.absence, $1) r
ON CONFLICT (namespace, kind, name) DO UPDATE SET since = EXCLUDED.since, held = EXCLUDED.held, approved = EXCLUDED.approved, ended_at = EXCLUDED.ended_at";

pub(super) const DELETE_ABSENCES: &str = "
DELETE FROM mailroster.absence a USING jsonb_to_recordset($1) AS r(kind text, namespace text, name text)
WHERE a.namespace = r.namespace AND a.kind = r.kind AND a.name = r.name";

// L8: the person goes by another address. What the other had itself is replaced.
// The key of each table is the address, and two may exchange: all go before any comes. Where the new address keeps its own password those of
// the old one end.
pub(super) const MOVE_MAILBOXES: [&str; 6] = [
    MOVE_CREDENTIALS,
    "WITH moves AS (SELECT f.id AS from_id, t.id AS to_id, r.credential FROM jsonb_to_recordset($1) AS r(from_address text, to_address text, credential boolean)
         JOIN mailroster.address f ON f.canonical = r.from_address JOIN mailroster.address t ON t.canonical = r.to_address)
     DELETE FROM mailroster.credential_history h USING moves m
     WHERE m.credential AND h.address_id = m.to_id AND NOT EXISTS (SELECT FROM moves o WHERE o.from_id = h.address_id)",
    "WITH moves AS (SELECT f.id AS from_id, t.id AS to_id, r.credential FROM jsonb_to_recordset($1) AS r(from_address text, to_address text, credential boolean)
         JOIN mailroster.address f ON f.canonical = r.from_address JOIN mailroster.address t ON t.canonical = r.to_address)
     UPDATE mailroster.credential_history h SET address_id = m.to_id FROM moves m WHERE m.credential AND h.address_id = m.from_id",
    "WITH moves AS (SELECT f.id AS from_id, t.id AS to_id, r.credential FROM jsonb_to_recordset($1) AS r(from_address text, to_address text, credential boolean)
         JOIN mailroster.address f ON f.canonical = r.from_address JOIN mailroster.address t ON t.canonical = r.to_address),
     gone AS (DELETE FROM mailroster.user_password p USING moves m
         WHERE p.address_id = m.from_id OR (m.credential AND p.address_id = m.to_id) RETURNING p.*)
     INSERT INTO mailroster.user_password SELECT m.to_id, g.phc, g.set_at, g.epoch FROM gone g JOIN moves m ON m.from_id = g.address_id AND m.credential
     ON CONFLICT (address_id) DO UPDATE SET phc = EXCLUDED.phc, set_at = EXCLUDED.set_at, epoch = EXCLUDED.epoch",
    "WITH moves AS (SELECT f.id AS from_id, t.id AS to_id, r.credential FROM jsonb_to_recordset($1) AS r(from_address text, to_address text, credential boolean)
         JOIN mailroster.address f ON f.canonical = r.from_address JOIN mailroster.address t ON t.canonical = r.to_address),
     gone AS (DELETE FROM mailroster.logon l USING moves m WHERE l.address_id IN (m.from_id, m.to_id) RETURNING l.*)
     INSERT INTO mailroster.logon (address_id, failed, last_failed_at, last_source, failed_at_lock, locked_at, locked_until)
     SELECT m.to_id, g.failed, g.last_failed_at, g.last_source, g.failed_at_lock, g.locked_at, g.locked_until FROM gone g JOIN moves m ON m.from_id = g.address_id
     ON CONFLICT (address_id) DO UPDATE SET failed = EXCLUDED.failed, last_failed_at = EXCLUDED.last_failed_at, last_source = EXCLUDED.last_source,
        failed_at_lock = EXCLUDED.failed_at_lock, locked_at = EXCLUDED.locked_at, locked_until = EXCLUDED.locked_until",
    "WITH moves AS (SELECT f.id AS from_id, t.id AS to_id, r.credential FROM jsonb_to_recordset($1) AS r(from_address text, to_address text, credential boolean)
         JOIN mailroster.address f ON f.canonical = r.from_address JOIN mailroster.address t ON t.canonical = r.to_address),
     gone AS (DELETE FROM mailroster.reset_code c USING moves m WHERE c.address_id IN (m.from_id, m.to_id) RETURNING c.*)
     INSERT INTO mailroster.reset_code (address_id, failed, last_at, locked_at)
     SELECT m.to_id, g.failed, g.last_at, g.locked_at FROM gone g JOIN moves m ON m.from_id = g.address_id
     ON CONFLICT (address_id) DO UPDATE SET failed = EXCLUDED.failed, last_at = EXCLUDED.last_at, locked_at = EXCLUDED.locked_at",
];

const MOVE_CREDENTIALS: &str = "
WITH moves AS (SELECT f.id AS from_id, t.id AS to_id, r.credential FROM jsonb_to_recordset($1) AS r(from_address text, to_address text, credential boolean)
         JOIN mailroster.address f ON f.canonical = r.from_address JOIN mailroster.address t ON t.canonical = r.to_address),
kept AS (SELECT m.to_id, c.* FROM moves m JOIN mailroster.credential c ON c.address_id = m.from_id WHERE m.credential),
cleared AS (
    DELETE FROM mailroster.credential c USING moves m
    WHERE (c.address_id = m.from_id AND NOT EXISTS (SELECT FROM kept k WHERE k.to_id = c.address_id))
       OR (m.credential AND c.address_id = m.to_id AND NOT EXISTS (SELECT FROM kept k WHERE k.to_id = c.address_id)
           AND NOT EXISTS (SELECT FROM moves o WHERE o.from_id = c.address_id))
)
INSERT INTO mailroster.credential (address_id, phc, fingerprint, key_id, force_change, never_expires, epoch, set_at)
SELECT k.to_id, k.phc, k.fingerprint, k.key_id, k.force_change, k.never_expires, k.epoch, k.set_at FROM kept k
ON CONFLICT (address_id) DO UPDATE SET phc = EXCLUDED.phc, fingerprint = EXCLUDED.fingerprint, key_id = EXCLUDED.key_id,
    force_change = EXCLUDED.force_change, never_expires = EXCLUDED.never_expires, epoch = EXCLUDED.epoch, set_at = EXCLUDED.set_at";

// Y8: what it disabled is open again; the entries stay known by the addresses, so that another connection takes them over.
pub(super) const DELETE_CONNECTIONS: [&str; 4] = [
    "UPDATE mailroster.address a SET connection = NULL, directory_disabled = false, directory_missing = false
     FROM jsonb_to_recordset($1) AS r(namespace text, name text) WHERE a.namespace = r.namespace AND a.connection = r.name",
    "DELETE FROM mailroster.leaver l USING jsonb_to_recordset($1) AS r(namespace text, name text) WHERE l.namespace = r.namespace AND l.connection = r.name",
    "DELETE FROM mailroster.entry e USING jsonb_to_recordset($1) AS r(namespace text, name text) WHERE e.namespace = r.namespace AND e.connection = r.name",
    "DELETE FROM mailroster.connection c USING jsonb_to_recordset($1) AS r(namespace text, name text) WHERE c.namespace = r.namespace AND c.name = r.name",
];

pub(super) const PUT_ENTRIES: &str = "
INSERT INTO mailroster.entry (namespace, connection, id, digest, signs, rank, exchange, exchange_to, address_id)
SELECT r.namespace, r.connection, r.id, r.digest, r.signs, r.rank, r.exchange, r.exchange_to, r.address_id
FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::smallint[], $6::text[], $7::text[], $8::text[], $9::bigint[])
    AS r(namespace, connection, id, digest, signs, rank, exchange, exchange_to, address_id)
ORDER BY r.namespace, r.connection, r.id
ON CONFLICT (namespace, connection, id) DO UPDATE SET digest = EXCLUDED.digest, signs = EXCLUDED.signs, rank = EXCLUDED.rank,
    exchange = EXCLUDED.exchange, exchange_to = EXCLUDED.exchange_to, address_id = EXCLUDED.address_id";

pub(super) const DELETE_ENTRIES: &str = "
DELETE FROM mailroster.entry e USING jsonb_to_recordset($1) AS r(namespace text, connection text, id text)
WHERE e.namespace = r.namespace AND e.connection = r.connection AND e.id = r.id";

pub(super) const PUT_LEAVERS: &str = "
INSERT INTO mailroster.leaver (address_id, namespace, connection, since, missed, held, approved, cleared_at)
SELECT a.id, r.namespace, r.connection, r.since, r.missed, r.held, r.approved, r.cleared_at
FROM jsonb_to_recordset($1) AS r(address text, namespace text, connection text, since timestamptz, missed integer, held boolean, approved boolean, cleared_at timestamptz)
JOIN mailroster.address a ON a.canonical = r.address ORDER BY a.canonical
ON CONFLICT (address_id) DO UPDATE SET namespace = EXCLUDED.namespace, connection = EXCLUDED.connection, since = EXCLUDED.since, missed = EXCLUDED.missed,
    held = EXCLUDED.held, approved = EXCLUDED.approved, cleared_at = EXCLUDED.cleared_at";

pub(super) const DELETE_LEAVERS: &str = "
DELETE FROM mailroster.leaver l USING jsonb_to_recordset($1) AS r(address text), mailroster.address a WHERE a.canonical = r.address AND l.address_id = a.id";

pub(super) const PUT_DEPARTED: &str = "
INSERT INTO mailroster.departed (namespace, connection, subject)
SELECT r.namespace, r.connection, r.address FROM jsonb_to_recordset($1) AS r(namespace text, connection text, address text)";

pub(super) const PUT_NAMESPACES: &str = "
INSERT INTO mailroster.namespace SELECT r.* FROM jsonb_populate_recordset(NULL::mailroster.namespace, $1) r
ON CONFLICT (name) DO UPDATE SET uid = EXCLUDED.uid";

pub(super) const PUT_TOMBSTONES: &str = "
INSERT INTO mailroster.tombstone (canonical, namespace)
SELECT a.canonical, a.namespace FROM jsonb_to_recordset($1) AS r(address text, purge boolean) JOIN mailroster.address a ON a.canonical = r.address WHERE r.purge
ON CONFLICT (canonical) DO UPDATE SET purged_at = EXCLUDED.purged_at, namespace = EXCLUDED.namespace";

pub(super) const HELD: &str = "
SELECT EXISTS (SELECT FROM mailroster.held_address h WHERE h.address IN (SELECT jsonb_array_elements_text($1)))";

// U2: what could have come up since the rows were read is asked again here.
pub(super) const DELETE_ADDRESSES: &str = "
WITH went AS (
    DELETE FROM mailroster.address a USING jsonb_to_recordset($1) AS r(address text, purge boolean)
    WHERE a.canonical = r.address AND NOT (r.purge AND EXISTS (SELECT FROM mailroster.held_address h WHERE h.address = a.canonical))
    RETURNING a.domain_id, a.canonical
) INSERT INTO mailroster.gone (domain_id, subject) SELECT domain_id, canonical FROM went";

pub(super) const DELETE_DOMAINS: &str = "
DELETE FROM mailroster.domain d USING jsonb_to_recordset($1) AS r(domain text) WHERE d.name = r.domain
  AND NOT EXISTS (SELECT FROM mailroster.address a WHERE a.domain_id = d.id)";

pub(super) const PUT_AUDIT: &str = "
INSERT INTO mailroster.audit (actor, subject, action, reason, before, after)
SELECT r.actor, r.subject, r.action, r.reason, r.before::jsonb, r.after::jsonb
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) AS r(actor, subject, action, reason, before, after)";
