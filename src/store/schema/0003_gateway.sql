-- Schema gateway: what mail servers may read (SPEC 14). A contract: a name with _v1 never changes meaning.
--
-- Every view is a security_barrier, its first column is a stored key, and gateway.answers() stands in its WHERE: a server that asks
-- too early gets an error (and answers 451) in place of an empty answer (V3). A view is asked for each message, and what opens a table
-- costs more than what reads a row: one row of a key leads to all, nothing is joined that the key or the address knows, and a table that
-- matters to few is looked up with a null by the others.
--
-- The functions are in 0004_gateway_functions.sql, who may use what in grants.sql. The views of schema mailroster are the rules that
-- several gateway views share; nobody is granted them.

CREATE SCHEMA gateway;

-- V3: whether a plan of all that is declared is in force. A Postgres that has just been started may hold an older copy of the roster
-- (a restore, a lossy failover), and refuse addresses made since. The leader says at once whether it does; where none is there to say
-- so, the roster answers after half a minute. Compared with the start itself, not with a time: clocks are set while machines start.
CREATE VIEW mailroster.answering AS
    SELECT i.answers_since IS NOT NULL
           AND (coalesce(i.recognised_run = pg_postmaster_start_time(), false)
                OR pg_postmaster_start_time() NOT BETWEEN pg_catalog.now() - interval '30 seconds' AND pg_catalog.now()) AS answers
    FROM mailroster.installation i;

-- STABLE and without arguments, so that a plan checks it once, before it touches a row. Views look for themselves first and call it for
-- its error only: a call costs as much as finding an address.
CREATE FUNCTION gateway.answers() RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (SELECT a.answers FROM mailroster.answering a) THEN
        RETURN true;
    END IF;
    RAISE EXCEPTION 'the roster is not complete yet'
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'It answers once mailroster has executed a plan made from all that is declared. Try again later.';
END $$;

-- AccountSettings as they hold for a domain. The defaults of the settings that SQL needs are written here and nowhere else in SQL.
CREATE VIEW mailroster.domain_settings AS
    SELECT d.id AS domain_id,
           coalesce(s.lockout_failed_logons, 5) AS lockout_failed_logons,
           coalesce(s.lockout_seconds, 900) * interval '1 second' AS lockout_duration,
           coalesce(s.reset_failed_codes, 10) AS reset_failed_codes
    FROM mailroster.domain d
    LEFT JOIN mailroster.settings s ON s.namespace = d.namespace;

-- Three views of an address, each no wider than its readers need: a qual on answers() keeps the planner from dropping unused joins.
-- The first has the lock on it (P5).
CREATE VIEW mailroster.logon_state AS
    SELECT a.id AS address_id,
           a.canonical,
           a.domain_id,
           a.namespace,
           NOT a.is_alias AND a.origin <> 'DistributionList' AS is_mailbox,
           a.disabled OR a.shut OR a.directory_disabled OR a.directory_missing OR a.holder_since IS NOT NULL AS disabled,
           a.connection IS NOT NULL AS in_directory,
           a.closing,
           a.smtp_submission,
           a.pop,
           a.unlocked_at,
           a.codes_reset_at,
           coalesce(l.locked_until > mailroster.now() AND (a.unlocked_at IS NULL OR l.locked_at > a.unlocked_at), false) AS locked,
           l.locked_until,
           l.failed_at_lock,
           l.failed,
           l.last_failed_at
    FROM mailroster.address a
    LEFT JOIN mailroster.logon l ON l.address_id = a.id;

-- The cloud password that counts, declared or chosen by the user (P1, P9).
CREATE VIEW mailroster.password_state AS
    SELECT a.address_id,
           a.canonical,
           a.is_mailbox,
           a.disabled,
           a.closing,
           a.locked,
           CASE WHEN u.set_at > c.set_at THEN u.phc ELSE c.phc END AS password,
           greatest(c.set_at, u.set_at) AS set_at,
           coalesce(u.set_at > c.set_at, false) AS changed_by_user,
           c.force_change AND (u.set_at IS NULL OR u.set_at <= c.set_at) AS forced,
           -- Without settings a password never expires.
           (s.password_expires_days > 0
               AND greatest(c.set_at, u.set_at) + s.password_expires_days * interval '24 hours' <= mailroster.now()) IS TRUE AS expired
    FROM mailroster.logon_state a
    JOIN mailroster.credential c ON c.address_id = a.address_id
    LEFT JOIN mailroster.user_password u ON u.address_id = a.address_id
    LEFT JOIN mailroster.settings s ON s.namespace = CASE WHEN NOT c.never_expires THEN a.namespace END;

-- What counts towards a lock: failures fall to 0 on unlock, at the lock's end and by age (P5), without anybody writing it.
CREATE VIEW mailroster.failure_state AS
    SELECT a.address_id,
           a.canonical,
           a.locked,
           CASE WHEN a.last_failed_at > mailroster.now() - s.lockout_duration
                 AND (a.unlocked_at IS NULL OR a.last_failed_at > a.unlocked_at)
                 AND (a.locked_until IS NULL OR a.locked_until > mailroster.now())
                THEN a.failed ELSE 0 END AS failed_logons,
           s.lockout_failed_logons,
           s.lockout_duration,
           coalesce(r.locked_at > coalesce(a.codes_reset_at, '-infinity'), false) AS reset_locked,
           CASE WHEN r.last_at > coalesce(a.codes_reset_at, '-infinity') THEN r.failed ELSE 0 END AS failed_codes,
           s.reset_failed_codes
    FROM mailroster.logon_state a
    JOIN mailroster.domain_settings s ON s.domain_id = a.domain_id
    LEFT JOIN mailroster.reset_code r ON r.address_id = a.address_id;

-- What each key is to a sender from outside (V1). In Directory mode an alias follows its primary, which may lie in a domain of another
-- mode (L3). An alias of an address that is being purged closes with it (U2). A stand-in (V4) is the domain's own choice in any mode.
CREATE VIEW mailroster.recipient AS
    SELECT k.key,
           k.address_id,
           k.stand_in_of,
           d.name AS domain,
           CASE WHEN a.is_alias OR k.stand_in_of IS NOT NULL THEN 'alias' WHEN a.origin = 'DistributionList' THEN 'list' ELSE 'mailbox' END AS kind,
           a.closing OR coalesce(p.closing, false) AS closing,
           CASE d.recipient_validation
               WHEN 'None' THEN false
               WHEN 'Directory' THEN k.stand_in_of IS NOT NULL OR CASE coalesce(pd.recipient_validation, 'Directory')
                   WHEN 'None' THEN false
                   WHEN 'Directory' THEN coalesce(p.origin, a.origin) IN ('Directory', 'DistributionList')
                   ELSE true END
               ELSE true END AS accepted
    FROM mailroster.address_key k
    JOIN mailroster.address a ON a.id = k.address_id
    JOIN mailroster.domain d ON d.id = coalesce(k.stand_in_of, a.domain_id)
    LEFT JOIN mailroster.address p ON p.id = k.primary_id
    LEFT JOIN mailroster.domain pd ON pd.id = p.domain_id;

CREATE VIEW gateway.domain_v1 WITH (security_barrier) AS
    SELECT k.key AS domain, d.namespace, d.recipient_validation, d.unknown_recipients, d.next_hop, d.sub_addressing
    FROM mailroster.domain_key k
    JOIN mailroster.domain d ON d.id = k.domain_id
    WHERE ((SELECT w.answers FROM mailroster.answering w) OR gateway.answers());

CREATE VIEW gateway.recipient_v1 WITH (security_barrier) AS
    SELECT r.key AS address, r.domain, r.kind
    FROM mailroster.recipient r
    WHERE ((SELECT w.answers FROM mailroster.answering w) OR gateway.answers()) AND r.accepted AND NOT r.closing;

CREATE VIEW gateway.alias_v1 WITH (security_barrier) AS
    SELECT k.key AS alias, CASE WHEN k.stand_in_of IS NULL THEN p.canonical ELSE a.canonical END AS primary_address
    FROM mailroster.address_key k
    JOIN mailroster.address a ON a.id = k.address_id
    LEFT JOIN mailroster.address p ON p.id = k.primary_id
    WHERE ((SELECT w.answers FROM mailroster.answering w) OR gateway.answers())
      AND (k.primary_id IS NOT NULL OR k.stand_in_of IS NOT NULL) AND NOT a.closing AND NOT coalesce(p.closing, false);

CREATE VIEW gateway.sender_v1 WITH (security_barrier) AS
    SELECT k.key AS sender, coalesce(p.canonical, a.canonical) AS login
    FROM mailroster.address_key k
    JOIN mailroster.address a ON a.id = k.address_id
    LEFT JOIN mailroster.address p ON p.id = k.primary_id
    WHERE ((SELECT w.answers FROM mailroster.answering w) OR gateway.answers())
      AND k.stand_in_of IS NULL AND coalesce(p.origin, a.origin) <> 'DistributionList' AND NOT a.closing AND NOT coalesce(p.closing, false);

-- P7: whose logon the directory answers first.
CREATE VIEW gateway.logon_v1 WITH (security_barrier) AS
    SELECT k.key AS login, a.smtp_submission, a.pop, a.in_directory AS directory
    FROM mailroster.address_key k
    JOIN mailroster.logon_state a ON a.address_id = k.address_id
    WHERE ((SELECT w.answers FROM mailroster.answering w) OR gateway.answers())
      AND k.stand_in_of IS NULL AND a.is_mailbox AND NOT a.locked AND NOT a.closing;

CREATE VIEW gateway.credential_v1 WITH (security_barrier) AS
    SELECT k.key AS login, p.password
    FROM mailroster.address_key k
    JOIN mailroster.password_state p ON p.address_id = k.address_id
    WHERE ((SELECT w.answers FROM mailroster.answering w) OR gateway.answers())
      AND k.stand_in_of IS NULL AND p.is_mailbox AND NOT p.disabled AND NOT p.locked AND NOT p.closing AND NOT p.forced AND NOT p.expired;

CREATE VIEW gateway.credential_change_v1 WITH (security_barrier) AS
    SELECT k.key AS login, p.password, CASE WHEN p.forced THEN 'Forced' ELSE 'Expired' END AS reason
    FROM mailroster.address_key k
    JOIN mailroster.password_state p ON p.address_id = k.address_id
    WHERE ((SELECT w.answers FROM mailroster.answering w) OR gateway.answers())
      AND k.stand_in_of IS NULL AND p.is_mailbox AND NOT p.disabled AND NOT p.locked AND NOT p.closing AND (p.forced OR p.expired);

-- A mailbox that is being purged stays here: mail that was held for it is still delivered when it is released. Only new mail is
-- turned away, by recipient_v1 and recipient_action_v1 (U2).
CREATE VIEW gateway.mailbox_v1 WITH (security_barrier) AS
    SELECT k.key AS mailbox
    FROM mailroster.address_key k
    JOIN mailroster.address a ON a.id = k.address_id
    WHERE ((SELECT w.answers FROM mailroster.answering w) OR gateway.answers())
      AND k.stand_in_of IS NULL AND NOT a.is_alias AND a.origin <> 'DistributionList';

-- The own archive, those of the own aliases, and what is delegated. M3: visible_from is the read mailbox's own; what is marked private
-- is for owners.
CREATE VIEW gateway.archive_reader_v1 WITH (security_barrier) AS
    SELECT k.key AS reader, r.mailbox, r.archive_start::timestamp AT TIME ZONE 'UTC' AS visible_from, r.owns AS includes_private,
           r.owns OR r.hide_confidential IS NOT TRUE AS includes_confidential
    FROM mailroster.address_key k
    JOIN mailroster.address a ON a.id = k.address_id
    CROSS JOIN LATERAL (
        -- Y1: a new holder sees nothing that is older; to that holder nothing is delegated before somebody says yes.
        SELECT a.canonical AS mailbox, greatest(a.archive_start, (a.holder_since AT TIME ZONE 'UTC')::date) AS archive_start,
               true AS owns, false AS hide_confidential
        WHERE NOT a.is_alias AND a.origin <> 'DistributionList'
        UNION ALL
        SELECT m.canonical, greatest(m.archive_start, (m.holder_since AT TIME ZONE 'UTC')::date), other.owns, s.hide_confidential
        FROM (
            SELECT l.alias_id AS id, true AS owns FROM mailroster.link l WHERE l.primary_id = a.id AND a.origin <> 'DistributionList'
            UNION ALL
            SELECT g.mailbox_id, false FROM mailroster.delegation g WHERE g.reader_id = a.id AND a.holder_since IS NULL
        ) other
        JOIN mailroster.address m ON m.id = other.id
        LEFT JOIN mailroster.settings s ON s.namespace = CASE WHEN NOT other.owns THEN m.namespace END
    ) r
    WHERE ((SELECT w.answers FROM mailroster.answering w) OR gateway.answers()) AND k.stand_in_of IS NULL;

CREATE VIEW gateway.administrator_v1 WITH (security_barrier) AS
    SELECT k.key AS login, r.namespace, p.permission
    FROM mailroster.address_key k
    JOIN mailroster.role_member m ON m.address_id = k.address_id
    JOIN mailroster.address a ON a.id = m.address_id
    JOIN mailroster.role r ON r.id = m.role_id
    CROSS JOIN LATERAL unnest(r.permissions) AS p (permission)
    WHERE ((SELECT w.answers FROM mailroster.answering w) OR gateway.answers()) AND k.stand_in_of IS NULL AND a.holder_since IS NULL;

REVOKE ALL ON FUNCTION gateway.answers() FROM PUBLIC;
