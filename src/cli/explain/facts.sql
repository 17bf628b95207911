-- All that `mailroster explain` tells, in one statement: one moment of the store. $1: the address as asked, $2: its canonical form.
-- The answer to mail servers comes from their own function; what stands beside it only says why.
WITH found AS MATERIALIZED (
    SELECT r.key, r.address_id, r.domain_id, r.folded FROM mailroster.resolve($1) r
), row_of AS (
    SELECT a.* FROM mailroster.address a JOIN found f ON f.address_id = a.id
), primary_of AS (
    -- The address that an alias stands for, else the address itself.
    SELECT coalesce(l.primary_id, a.id) AS id FROM row_of a LEFT JOIN mailroster.link l ON l.alias_id = a.id
)
SELECT jsonb_build_object(
    'now', mailroster.now(),
    'answers', (SELECT w.answers FROM mailroster.answering w),
    'action', (SELECT CASE WHEN w.answers THEN gateway.recipient_action_v1($1) END FROM mailroster.answering w),
    'domain', (
        SELECT jsonb_build_object('name', d.name, 'namespace', d.namespace, 'owner', d.owner, 'validation', d.recipient_validation,
            'unknown', d.unknown_recipients, 'next_hop', d.next_hop, 'learns', d.learn_senders, 'sub_addressing', d.sub_addressing,
            'postmaster', d.postmaster, 'created_at', d.created_at, 'grace_ends_at', d.created_at + i.new_domain_grace)
        FROM mailroster.domain d CROSS JOIN mailroster.installation i JOIN found f ON f.domain_id = d.id),
    'row', (
        SELECT jsonb_build_object('canonical', a.canonical, 'display', a.display, 'namespace', a.namespace, 'origin', a.origin,
            'owner', a.owner, 'last_owner', a.last_owner, 'is_alias', a.is_alias,
            'closing', a.closing, 'archive_start', a.archive_start,
            'accepted', r.accepted,
            'keys', (SELECT jsonb_agg(k.key ORDER BY k.key) FROM mailroster.address_key k WHERE k.address_id = a.id AND k.stand_in_of IS NULL))
        FROM row_of a JOIN found f ON true JOIN mailroster.recipient r ON r.key = f.key),
    'primary', (SELECT p.canonical FROM mailroster.address p JOIN primary_of o ON o.id = p.id JOIN row_of a ON a.is_alias),
    'link', (
        SELECT jsonb_build_object('owner', l.owner, 'origin', l.origin) FROM mailroster.link l JOIN row_of a ON a.id = l.alias_id),
    'aliases', (
        SELECT coalesce(jsonb_agg(a.canonical ORDER BY a.canonical), '[]')
        FROM mailroster.link l JOIN mailroster.address a ON a.id = l.alias_id JOIN row_of o ON o.id = l.primary_id),
    'credential', (
        SELECT jsonb_build_object('set_at', p.set_at, 'by_user', p.changed_by_user, 'forced', p.forced, 'expired', p.expired)
        FROM mailroster.password_state p JOIN primary_of o ON o.id = p.address_id),
    'logon', (
        SELECT jsonb_build_object('locked', s.locked, 'locked_until', l.locked_until, 'failed', s.failed_logons,
            'limit', s.lockout_failed_logons, 'last_failed_at', l.last_failed_at, 'last_source', l.last_source,
            'reset_locked', s.reset_locked, 'failed_codes', s.failed_codes, 'codes_limit', s.reset_failed_codes)
        FROM mailroster.failure_state s JOIN primary_of o ON o.id = s.address_id LEFT JOIN mailroster.logon l ON l.address_id = s.address_id),
    'access', (
        SELECT jsonb_build_object('smtp_submission', a.smtp_submission, 'pop', a.pop, 'disabled', a.disabled, 'shut', a.shut)
        FROM mailroster.address a JOIN primary_of o ON o.id = a.id),
    'role', (
        SELECT jsonb_build_object('name', r.name, 'owned', r.owned, 'permissions', r.permissions)
        FROM mailroster.role_member m JOIN mailroster.role r ON r.id = m.role_id JOIN primary_of o ON o.id = m.address_id),
    'reads', (
        SELECT coalesce(jsonb_agg(m.canonical ORDER BY m.canonical), '[]')
        FROM mailroster.delegation g JOIN mailroster.address m ON m.id = g.mailbox_id JOIN primary_of o ON o.id = g.reader_id),
    'read_by', (
        SELECT coalesce(jsonb_agg(r.canonical ORDER BY r.canonical), '[]')
        FROM mailroster.delegation g JOIN mailroster.address r ON r.id = g.reader_id JOIN row_of o ON o.id = g.mailbox_id),
    'held', (
        SELECT coalesce(jsonb_agg(jsonb_build_object('source', h.source, 'state', h.state, 'count', h.count, 'since', h.since)
            ORDER BY h.source, h.state), '[]')
        FROM (
            SELECT m.source, m.state, count(DISTINCT (m.source, m.id)) AS count, min(m.since) AS since
            FROM mailroster.held_address t JOIN mailroster.held_message m ON m.source = t.source AND m.id = t.id
            WHERE t.address IN (SELECT a.canonical FROM row_of a)
               OR t.address IN (SELECT a.canonical FROM mailroster.link l JOIN mailroster.address a ON a.id = l.alias_id JOIN row_of o ON o.id = l.primary_id)
            GROUP BY m.source, m.state) h),
    'waits', (
        SELECT coalesce(jsonb_agg(jsonb_build_object('action', w.action, 'since', w.since, 'held', w.held, 'approved', w.approved)
            ORDER BY w.action), '[]')
        FROM mailroster.waiting w JOIN row_of a ON a.id = w.address_id),
    'learned_at', (SELECT s.seen_at FROM mailroster.learned_sender s JOIN found f ON f.folded = s.key),
    'purged_at', (SELECT t.purged_at FROM mailroster.tombstone t WHERE t.canonical = $2)
)
