//! A roster of any size, by SQL alone: for how Postgres answers of a million rows. Nobody declares any of it.

use super::database::Database;

/// Fills an empty database: that many domains `d1.example` …, each with the addresses `u0` to `u{each - 1}`, every fourth an alias. A
/// tenth of the mailboxes read a shared one, a twentieth chose a password of their own, a fifth failed to log on once.
pub async fn fill(database: &Database, domains: u32, each: u32) {
    let last = each - 1;
    let rows = format!(
        "SET LOCAL mailroster.own_write = on; SET LOCAL session_replication_role = replica; SET LOCAL synchronous_commit = off;
         INSERT INTO mailroster.domain (name, namespace, recipient_validation, unknown_recipients, learn_senders, postmaster, created_at)
         SELECT 'd' || n || '.example', 'n' || n, 'Known', 'Reject', true, 'u0@d' || n || '.example', now() - interval '1 day'
         FROM generate_series(1, {domains}) n;
         INSERT INTO mailroster.domain_key (key, domain_id) SELECT name, id FROM mailroster.domain;
         INSERT INTO mailroster.settings
         SELECT namespace, 'default', 12, true, true, true, false, 30, 5, 5, 900, 10, 3600, true, 10, 10, false FROM mailroster.domain;
         INSERT INTO mailroster.address (canonical, display, domain_id, namespace, is_alias, origin)
         SELECT 'u' || n || '@' || d.name, 'u' || n || '@' || d.name, d.id, d.namespace, n % 4 = 3, 'Manual'
         FROM mailroster.domain d, generate_series(0, {last}) n;
         INSERT INTO mailroster.link (alias_id, primary_id, alias, namespace, origin, made_row)
         SELECT a.id, p.id, a.canonical, a.namespace, 'Declared', true FROM mailroster.address a JOIN mailroster.address p
         ON p.canonical = 'u' || substring(a.canonical FROM '^u(\\d+)')::integer - 3 || substring(a.canonical FROM '@.*') WHERE a.is_alias;
         INSERT INTO mailroster.address_key (key, address_id, primary_id)
         SELECT a.canonical, a.id, l.primary_id FROM mailroster.address a LEFT JOIN mailroster.link l ON l.alias_id = a.id;
         SELECT mailroster.place_stand_ins(ARRAY(SELECT id FROM mailroster.domain));
         INSERT INTO mailroster.delegation (reader_id, mailbox_id, namespace)
         SELECT a.id, p.id, a.namespace FROM mailroster.address a JOIN mailroster.domain d ON d.id = a.domain_id
         JOIN mailroster.address p ON p.canonical = d.postmaster WHERE NOT a.is_alias AND a.id <> p.id AND a.id % 10 = 0;
         INSERT INTO mailroster.role (namespace, name, owned, permissions)
         SELECT namespace, 'readers', true, '{{addresses.read,content.read}}' FROM mailroster.domain;
         INSERT INTO mailroster.role_member (address_id, role_id, namespace)
         SELECT a.id, r.id, a.namespace FROM mailroster.address a JOIN mailroster.role r ON r.namespace = a.namespace
         WHERE NOT a.is_alias AND a.id % 10 = 1;
         INSERT INTO mailroster.credential (address_id, phc, fingerprint, key_id, force_change, never_expires)
         SELECT id, '$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
                sha256(canonical::bytea), 'k', false, false FROM mailroster.address WHERE NOT is_alias;
         INSERT INTO mailroster.user_password (address_id, phc)
         SELECT address_id, phc FROM mailroster.credential WHERE address_id % 20 = 0;
         INSERT INTO mailroster.logon (address_id, failed, last_failed_at) SELECT address_id, 1, now() FROM mailroster.credential WHERE address_id % 5 = 0;
         UPDATE mailroster.installation SET answers_since = mailroster.now(), recognised_run = pg_postmaster_start_time();"
    );
    database.execute(&format!("BEGIN; {rows} COMMIT;")).await;
    database.execute("VACUUM ANALYZE").await;
}
