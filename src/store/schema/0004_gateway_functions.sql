-- What mail servers may ask and report by function (SPEC 14). All run with the rights of the owner, write only to the tables of
-- 0002_reports.sql, the outbox and the audit log, never make an address, and may be called again with the same arguments. An address
-- the roster does not know raises a counter, never an error; an error is the caller's own fault (22023) or V3.
--
-- The functions of schema mailroster are granted to nobody. Those that only read have no SET clause, so that the planner can inline
-- them; they run under the search_path of the function that calls them.

-- The address that an exact spelling names: as given, else folded.
CREATE FUNCTION mailroster.find_address(asked text) RETURNS TABLE (address_id bigint) LANGUAGE sql STABLE AS $$
    SELECT k.address_id
    FROM mailroster.address_key k
    WHERE k.key = ANY (ARRAY[asked, lower(normalize(asked, NFC))]) AND k.stand_in_of IS NULL
    ORDER BY k.key = asked DESC
    LIMIT 1
$$;

-- The address that mail to or from a spelling means (V4): the exact one, else what stands before the domain's sign. key is the one that
-- was found, domain_id is null when the domain is not ours; folded is the nearest to a canonical form that can be had without an address.
-- OFFSET 0 keeps the planner from writing out each expression again wherever it is used.
CREATE FUNCTION mailroster.resolve(asked text)
    RETURNS TABLE (key text, address_id bigint, domain_id bigint, domain text, validation text, unknown_recipients text, learn_senders boolean,
                   domain_made_at timestamptz, local_part text, folded text) LANGUAGE sql STABLE AS $$
    SELECT found.key, found.address_id, base.domain_id, base.domain, base.validation, base.unknown_recipients, base.learn_senders,
           base.domain_made_at, base.local_part,
           CASE WHEN base.domain_id IS NULL THEN base.folded ELSE base.local_part || '@' || base.domain END
    FROM (
        SELECT part.folded, d.id AS domain_id, d.name AS domain, d.recipient_validation AS validation, d.unknown_recipients, d.learn_senders,
               d.created_at AS domain_made_at, before.local_part,
               ARRAY[part.given, part.folded, before.given || part.given_domain, before.local_part || '@' || part.domain] AS keys
        FROM (
            SELECT spelt.given, spelt.folded,
                   substring(spelt.given FROM '^(.*)@[^@]*$') AS given_local, substring(spelt.given FROM '@[^@]*$') AS given_domain,
                   substring(spelt.folded FROM '^(.*)@[^@]*$') AS local_part, substring(spelt.folded FROM '@([^@]*)$') AS domain
            FROM (SELECT asked AS given, lower(normalize(asked, NFC)) AS folded OFFSET 0) spelt
            OFFSET 0
        ) part
        LEFT JOIN mailroster.domain_key k ON k.key = part.domain
        LEFT JOIN mailroster.domain d ON d.id = k.domain_id
        CROSS JOIN LATERAL (
            SELECT CASE WHEN d.sub_addressing <> '' AND strpos(part.given_local, d.sub_addressing) > 1
                        THEN left(part.given_local, strpos(part.given_local, d.sub_addressing) - 1) END AS given,
                   CASE WHEN d.sub_addressing <> '' AND strpos(part.local_part, d.sub_addressing) > 1
                        THEN left(part.local_part, strpos(part.local_part, d.sub_addressing) - 1) ELSE part.local_part END AS local_part
        ) before
        OFFSET 0
    ) base
    LEFT JOIN LATERAL (
        SELECT k.key, k.address_id
        FROM mailroster.address_key k
        WHERE k.key = ANY (base.keys) AND k.stand_in_of IS NULL
        ORDER BY array_position(base.keys, k.key::text)
        LIMIT 1
    ) found ON true
$$;

-- Counts a call that named an unknown address, on a row that no other caller holds.
CREATE FUNCTION mailroster.count_unknown(caller text) RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE mailroster.unknown_address SET count = count + 1
    WHERE id = (SELECT u.id FROM mailroster.unknown_address u WHERE u.function = caller LIMIT 1 FOR UPDATE SKIP LOCKED);
    IF NOT FOUND THEN
        INSERT INTO mailroster.unknown_address (function) VALUES (caller);
    END IF;
END $$;

-- Notes an event; false when it was seen before.
CREATE FUNCTION mailroster.is_new_event(seen uuid) RETURNS boolean LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF seen IS NULL THEN
        RAISE EXCEPTION 'event must be given' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO mailroster.seen_event (event) VALUES (seen) ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;

-- The rule of P1 that an argon2id PHC string breaks, null when it keeps them all. Never says the value.
CREATE FUNCTION mailroster.phc_fault(phc text) RETURNS text LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part constant text[] := regexp_match(phc, '^\$argon2id\$v=19\$m=([1-9]\d{0,9}),t=([1-9]\d{0,9}),p=([1-9]\d{0,9})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$');
    -- Unpadded base64 whose last character carries no stray bits: decoders refuse others.
    base64 constant text := '^(.{4})*(.[AQgw]|..[AEIMQUYcgkosw048])?$';
BEGIN
    IF part IS NULL OR octet_length(phc) > 512 THEN
        RETURN 'it must be an argon2id PHC string with v=19';
    ELSIF part[1]::bigint NOT BETWEEN 19456 AND 65536 THEN
        RETURN 'm must be 19456 to 65536';
    ELSIF part[2]::bigint NOT BETWEEN 2 AND 10 THEN
        RETURN 't must be 2 to 10';
    ELSIF part[3]::bigint NOT BETWEEN 1 AND 4 THEN
        RETURN 'p must be 1 to 4';
    ELSIF part[4] !~ base64 OR part[5] !~ base64 THEN
        RETURN 'salt and output must be base64 without padding';
    ELSIF length(part[4]) * 3 / 4 NOT BETWEEN 8 AND 48 THEN
        RETURN 'the salt must have 8 to 48 bytes';
    ELSIF length(part[5]) * 3 / 4 NOT BETWEEN 16 AND 64 THEN
        RETURN 'the output must have 16 to 64 bytes';
    END IF;
    RETURN NULL;
END $$;

-- What Postfix check_recipient_access wants to know (V1 to V4). Postfix also asks for parts of an address: what has no domain part is
-- nobody's, and gets NULL. V3's error comes before everything: without a complete roster even "not our domain" would be a guess.
CREATE FUNCTION gateway.recipient_action_v1(address text) RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    answering   boolean;
    is_accepted boolean;            -- null: nobody has the address
    is_closing  boolean;
    is_new      boolean;            -- the domain
    meant       record;
BEGIN
    -- Most are mailboxes, spelt as their key: one question that opens as few tables as can be.
    SELECT w.answers, (
        SELECT k.primary_id IS NULL AND k.stand_in_of IS NULL AND NOT a.closing AND (d.recipient_validation IN ('Any', 'Known', 'CallForward')
                   OR d.recipient_validation = 'Directory' AND a.origin IN ('Directory', 'DistributionList'))
        FROM mailroster.address_key k
        JOIN mailroster.address a ON a.id = k.address_id
        JOIN mailroster.domain d ON d.id = a.domain_id
        WHERE k.key = address
    ) INTO answering, is_accepted
    FROM mailroster.answering w;
    IF answering IS NOT TRUE THEN
        PERFORM gateway.answers();
    END IF;
    IF is_accepted THEN
        RETURN NULL;
    ELSIF is_accepted IS NOT NULL THEN
        SELECT r.accepted AND NOT r.closing INTO is_accepted FROM mailroster.recipient r WHERE r.key = address;
        IF is_accepted THEN
            RETURN NULL;
        END IF;
    END IF;

    SELECT r.* INTO meant FROM mailroster.resolve(address) r;
    IF meant.domain_id IS NULL OR meant.local_part = '' THEN
        RETURN NULL;
    END IF;
    SELECT mailroster.now() - meant.domain_made_at < i.new_domain_grace INTO is_new FROM mailroster.installation i;
    is_accepted := NULL;
    -- A null would be planned for anew at each call.
    IF meant.key IS NOT NULL THEN
        SELECT r.accepted, r.closing INTO is_accepted, is_closing FROM mailroster.recipient r WHERE r.key = meant.key;
    END IF;

    IF is_closing THEN
        NULL;                       -- U2: takes no new mail, whatever the mode says of unknown ones
    ELSIF is_accepted OR meant.validation = 'Any' THEN
        RETURN NULL;
    ELSIF is_accepted IS NULL AND meant.local_part IN ('postmaster', 'abuse')
        AND EXISTS (SELECT FROM mailroster.recipient r WHERE r.key = meant.folded AND r.stand_in_of IS NOT NULL AND r.accepted AND NOT r.closing) THEN
        RETURN NULL;                -- V4
    ELSIF is_accepted IS NULL AND meant.validation = 'CallForward' AND NOT is_new
        AND meant.local_part NOT IN ('postmaster', 'abuse') THEN
        RETURN 'reject_unverified_recipient';
    END IF;

    IF meant.local_part IN ('postmaster', 'abuse') THEN
        RETURN '451 4.1.1 This domain has no ' || meant.local_part || ' yet, try again later';
    ELSIF is_new OR meant.unknown_recipients = 'Defer'
        OR (meant.validation = 'Directory' AND NOT EXISTS (SELECT FROM mailroster.fresh_domain f WHERE f.domain_id = meant.domain_id)) THEN
        RETURN '451 4.1.1 Recipient not known yet, try again later';
    END IF;
    RETURN '550 5.1.1 No such recipient here';
END $$;

-- Queues the sender of an authenticated outbound message, for the controller to make an address of.
CREATE FUNCTION gateway.record_sender_v1(address text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    meant   record;
    full_local_part constant text := lower(substring(address FROM '^(.*)@[^@]*$'));
BEGIN
    IF coalesce(address, '') IN ('', '<>') THEN
        RETURN;
    END IF;
    SELECT r.* INTO meant FROM mailroster.resolve(address) r;
    IF meant.domain_id IS NULL THEN
        PERFORM mailroster.count_unknown('record_sender_v1');
        RETURN;
    END IF;
    IF meant.address_id IS NOT NULL OR NOT meant.learn_senders OR meant.validation IN ('Directory', 'None')
        -- V4 decides about these two; learned, they would cut off spec.postmaster.
        OR meant.local_part IN ('postmaster', 'abuse')
        -- SRS, BATV, what mail servers and list servers bounce to; VERP, with the word for it or with a whole address inside.
        OR full_local_part ~ '^(srs[01][-+=]|prvs=|btv1==|msprvs1=|mailer-daemon$|double-bounce$|owner-)|-bounces?$'
        OR full_local_part ~ '(^|[-+._])bounces?[-+=]|-owner[+=]|=[^=]+\.[^=]+$'
        -- What A2 refuses could never become an address.
        OR meant.local_part !~ '^[^][:cntrl:][:space:]"(),.:;<>@[\\]+(\.[^][:cntrl:][:space:]"(),.:;<>@[\\]+)*$'
        OR octet_length(meant.local_part) > 64 OR octet_length(meant.folded) > 254
        -- U8.
        OR EXISTS (SELECT FROM mailroster.tombstone t WHERE t.canonical = meant.folded AND t.purged_at > mailroster.now() - interval '90 days')
        -- The controller takes 100 an hour; a flood of invented senders must not fill the store meanwhile.
        OR (SELECT count(*) FROM (SELECT FROM mailroster.learned_sender s WHERE s.domain = meant.domain LIMIT 1000) queued) >= 1000
    THEN
        RETURN;
    END IF;
    INSERT INTO mailroster.learned_sender (key, domain) VALUES (meant.folded, meant.domain) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM mailroster.record_change(ARRAY['learned ' || meant.domain]);
    END IF;
END $$;

-- The outbox subjects of addresses whose held mail changed: those the roster has, and their primaries, which wait with them (U2).
CREATE FUNCTION mailroster.held_subjects(changed text[]) RETURNS TABLE (subject text) LANGUAGE sql STABLE AS $$
    SELECT 'report ' || a.canonical
    FROM mailroster.address a
    WHERE a.canonical = ANY (changed)
    UNION
    SELECT 'report ' || p.canonical
    FROM mailroster.address a
    JOIN mailroster.link l ON l.alias_id = a.id
    JOIN mailroster.address p ON p.id = l.primary_id
    WHERE a.canonical = ANY (changed)
$$;

-- The outbox subjects of domains with a purge asked for since then: a queue's silence may be all that it waits for (U2).
CREATE FUNCTION mailroster.purging_domains(since timestamptz) RETURNS TABLE (subject text) LANGUAGE sql STABLE AS $$
    SELECT DISTINCT 'domain ' || d.name
    FROM mailroster.waiting w
    JOIN mailroster.address a ON a.id = w.address_id
    JOIN mailroster.domain d ON d.id = a.domain_id
    WHERE w.action = 'Purge' AND w.since >= purging_domains.since
$$;

-- Mail queues know Unix seconds; people and most programs write RFC 3339. Other words are an error of class 22.
CREATE FUNCTION mailroster.held_since(since jsonb) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE jsonb_typeof(since) WHEN 'number' THEN to_timestamp((since #>> '{}')::double precision) ELSE (since #>> '{}')::timestamptz END
$$;

-- Replaces what one mail queue holds, writing only what differs from its last report.
CREATE FUNCTION gateway.record_held_v1(source text, messages jsonb) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    queue    constant text := source;
    at       integer := -1;         -- which message is looked at, for the error
    message  jsonb;
    previous timestamptz;
    changed  text[];
    subjects text[];
BEGIN
    IF queue IS NULL OR length(queue) NOT BETWEEN 1 AND 64 THEN
        RAISE EXCEPTION 'source must have 1 to 64 characters' USING ERRCODE = 'invalid_parameter_value';
    ELSIF jsonb_typeof(messages) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'messages must be a JSON array' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    BEGIN
        FOR message IN SELECT m FROM jsonb_array_elements(messages) m LOOP
            at := at + 1;
            IF jsonb_typeof(message) <> 'object' THEN
                RAISE EXCEPTION 'messages[%] must be an object', at USING ERRCODE = 'invalid_parameter_value';
            ELSIF jsonb_typeof(message -> 'id') IS DISTINCT FROM 'string' OR length(message ->> 'id') NOT BETWEEN 1 AND 128 THEN
                RAISE EXCEPTION 'messages[%].id must be a string of 1 to 128 characters', at USING ERRCODE = 'invalid_parameter_value';
            ELSIF coalesce(message ->> 'state', '') NOT IN ('held', 'queued', 'processing') THEN
                RAISE EXCEPTION 'messages[%].state must be held, queued or processing', at USING ERRCODE = 'invalid_parameter_value';
            ELSIF jsonb_typeof(message -> 'addresses') IS DISTINCT FROM 'array'
                OR jsonb_path_exists(message -> 'addresses', 'strict $[*] ? (@.type() != "string")') THEN
                RAISE EXCEPTION 'messages[%].addresses must be an array of strings', at USING ERRCODE = 'invalid_parameter_value';
            -- Words like "yesterday" or a time without a zone would be taken too.
            ELSIF (jsonb_typeof(message -> 'since') = 'number'
                    OR message ->> 'since' ~* '^\d{4}-\d\d-\d\d[t ]\d\d:\d\d:\d\d(\.\d+)?(z|[-+]\d\d:?\d\d)$') IS NOT TRUE THEN
                RAISE EXCEPTION SQLSTATE '22007';
            END IF;
            PERFORM mailroster.held_since(message -> 'since');
        END LOOP;
    EXCEPTION WHEN SQLSTATE '22003' OR SQLSTATE '22007' OR SQLSTATE '22008' OR SQLSTATE '22009' THEN
        RAISE EXCEPTION 'messages[%].since must be an RFC 3339 time or Unix seconds', at USING ERRCODE = 'invalid_parameter_value';
    END;

    -- The row's lock lets two reports of one queue pass one after the other.
    INSERT INTO mailroster.held_source (source, reported_at) VALUES (queue, '-infinity') ON CONFLICT DO NOTHING;
    SELECT s.reported_at INTO previous FROM mailroster.held_source s WHERE s.source = queue FOR UPDATE;
    UPDATE mailroster.held_source s SET reported_at = mailroster.now() WHERE s.source = queue;

    -- A queue may list a message twice while it moves: the later entry counts. NOT IN, here and below, since it is always hashed: an
    -- anti-join may be planned as a nested loop over a set whose size nobody knows.
    WITH reported AS (
        SELECT DISTINCT ON (e.m ->> 'id') e.m ->> 'id' AS id, e.m ->> 'state' AS state, mailroster.held_since(e.m -> 'since') AS since
        FROM jsonb_array_elements(messages) WITH ORDINALITY AS e (m, place)
        ORDER BY e.m ->> 'id', e.place DESC
    ), gone AS (
        DELETE FROM mailroster.held_message m WHERE m.source = queue AND m.id NOT IN (SELECT r.id FROM reported r)
    )
    INSERT INTO mailroster.held_message (source, id, state, since)
    SELECT queue, r.id, r.state, r.since
    FROM reported r
    WHERE (r.id, r.state, r.since) NOT IN (SELECT m.id, m.state, m.since FROM mailroster.held_message m WHERE m.source = queue)
    ON CONFLICT (source, id) DO UPDATE SET state = excluded.state, since = excluded.since;

    -- Cut to 320 characters: an index holds the address.
    WITH entry AS (
        SELECT e.m ->> 'id' AS id, a.spelling
        FROM jsonb_array_elements(messages) AS e (m)
        CROSS JOIN LATERAL jsonb_array_elements_text(e.m -> 'addresses') AS a (spelling)
        WHERE a.spelling NOT IN ('', '<>')
    ), meant AS (
        SELECT s.spelling, left(coalesce(a.canonical, r.folded), 320) AS address
        FROM (SELECT DISTINCT e.spelling FROM entry e) s
        CROSS JOIN LATERAL mailroster.resolve(s.spelling) r
        LEFT JOIN mailroster.address a ON a.id = r.address_id
    ), reported AS (
        SELECT DISTINCT e.id, m.address FROM entry e JOIN meant m ON m.spelling = e.spelling
    ), gone AS (
        DELETE FROM mailroster.held_address h
        WHERE h.source = queue AND (h.id, h.address) NOT IN (SELECT r.id, r.address FROM reported r)
        RETURNING h.address
    ), come AS (
        INSERT INTO mailroster.held_address (source, id, address)
        SELECT queue, r.id, r.address
        FROM reported r
        WHERE (r.id, r.address) NOT IN (SELECT h.id, h.address FROM mailroster.held_address h WHERE h.source = queue)
        RETURNING address
    )
    SELECT array_agg(c.address) INTO changed FROM (SELECT g.address FROM gone g UNION SELECT c.address FROM come c) c;

    subjects := ARRAY(SELECT h.subject FROM mailroster.held_subjects(changed) h);
    -- HeldMailUnknown: a purge waits until each queue has reported after the request.
    subjects := subjects || ARRAY(SELECT d.subject FROM mailroster.purging_domains(previous) d);
    IF subjects <> '{}' THEN
        PERFORM mailroster.record_change(subjects);
    END IF;
END $$;

-- Forgets a queue that is no more.
CREATE FUNCTION gateway.retire_source_v1(source text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    queue constant text := source;
    freed text[];
BEGIN
    DELETE FROM mailroster.held_source s WHERE s.source = queue;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    DELETE FROM mailroster.held_message m WHERE m.source = queue;
    WITH gone AS (DELETE FROM mailroster.held_address h WHERE h.source = queue RETURNING h.address)
    SELECT array_agg(DISTINCT g.address) INTO freed FROM gone g;
    PERFORM mailroster.record_change(ARRAY(SELECT h.subject FROM mailroster.held_subjects(freed) h
                                           UNION ALL SELECT d.subject FROM mailroster.purging_domains('-infinity') d));
END $$;

-- Counts failed logons and locks (P5). Below the limit only the counter is written: an attack must not become a storm (P8).
CREATE FUNCTION gateway.record_logon_v1(event uuid, address text, outcome text, source text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    reported  constant text := outcome;
    reporter  constant text := source;
    primary_address bigint;
    state     record;
    count_now integer;
    moment    constant timestamptz := mailroster.now();
BEGIN
    IF reported IN ('success', 'wrong_password', 'source_refused') THEN NULL; ELSE
        RAISE EXCEPTION 'outcome must be success, wrong_password or source_refused' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF length(reporter) > 64 THEN
        RAISE EXCEPTION 'source must have at most 64 characters' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- A7: who logs on under an alias logs on as its primary.
    SELECT coalesce(l.primary_id, f.address_id) INTO primary_address
    FROM mailroster.find_address(address) f LEFT JOIN mailroster.link l ON l.alias_id = f.address_id;
    IF primary_address IS NULL THEN
        -- No event is kept for these: guessed names must not fill the store.
        PERFORM mailroster.count_unknown('record_logon_v1');
        RETURN;
    END IF;
    IF NOT mailroster.is_new_event(event) OR reported = 'source_refused' THEN
        RETURN;
    END IF;

    IF reported = 'wrong_password' THEN
        INSERT INTO mailroster.logon (address_id) VALUES (primary_address) ON CONFLICT DO NOTHING;
    END IF;
    PERFORM FROM mailroster.logon l WHERE l.address_id = primary_address FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;                     -- a success with nothing to reset
    END IF;
    SELECT f.* INTO state FROM mailroster.failure_state f WHERE f.address_id = primary_address;
    IF state.locked THEN
        RETURN;
    END IF;

    IF reported = 'success' THEN
        UPDATE mailroster.logon l SET failed = 0, failed_at_lock = 0, locked_at = NULL, locked_until = NULL
        WHERE l.address_id = primary_address AND (l.failed <> 0 OR l.locked_at IS NOT NULL);
        RETURN;
    END IF;
    count_now := state.failed_logons + 1;
    IF count_now < state.lockout_failed_logons THEN
        UPDATE mailroster.logon l SET failed = count_now, last_failed_at = moment, last_source = reporter,
               failed_at_lock = 0, locked_at = NULL, locked_until = NULL
        WHERE l.address_id = primary_address;
        RETURN;
    END IF;
    UPDATE mailroster.logon l SET failed = count_now, last_failed_at = moment, last_source = reporter,
           failed_at_lock = count_now, locked_at = moment, locked_until = moment + state.lockout_duration
    WHERE l.address_id = primary_address;
    INSERT INTO mailroster.audit (actor, subject, action, reason, after)
    VALUES ('logon', 'address ' || state.canonical, 'Updated', 'TooManyFailedLogons',
            jsonb_build_object('failedLogons', count_now, 'lockedUntil', moment + state.lockout_duration, 'source', reporter));
    PERFORM mailroster.record_change(ARRAY['report ' || state.canonical]);
END $$;

-- Counts wrong password-reset codes and locks the reset function (P5). True while that function is open to the address.
CREATE FUNCTION gateway.record_reset_code_v1(event uuid, address text, correct boolean) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    was_correct constant boolean := correct;
    primary_address bigint;
    state     record;
    count_now integer;
    locks     boolean;
    moment    constant timestamptz := mailroster.now();
BEGIN
    IF was_correct IS NULL THEN
        RAISE EXCEPTION 'correct must be true or false' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT coalesce(l.primary_id, f.address_id) INTO primary_address
    FROM mailroster.find_address(address) f LEFT JOIN mailroster.link l ON l.alias_id = f.address_id;
    IF primary_address IS NULL THEN
        PERFORM mailroster.count_unknown('record_reset_code_v1');
        RETURN false;
    END IF;
    IF mailroster.is_new_event(event) THEN
        IF NOT was_correct THEN
            INSERT INTO mailroster.reset_code (address_id) VALUES (primary_address) ON CONFLICT DO NOTHING;
        END IF;
        PERFORM FROM mailroster.reset_code r WHERE r.address_id = primary_address FOR UPDATE;
        SELECT f.* INTO state FROM mailroster.failure_state f WHERE f.address_id = primary_address;
        IF NOT state.reset_locked THEN
            count_now := CASE WHEN was_correct THEN 0 ELSE state.failed_codes + 1 END;
            locks := count_now >= state.reset_failed_codes;
            UPDATE mailroster.reset_code r
            SET failed = count_now, last_at = moment, locked_at = CASE WHEN locks THEN moment END
            WHERE r.address_id = primary_address AND (r.failed <> 0 OR count_now <> 0);
            IF locks THEN
                INSERT INTO mailroster.audit (actor, subject, action, reason, after)
                VALUES ('password reset', 'address ' || state.canonical, 'Updated', 'TooManyFailedCodes',
                        jsonb_build_object('failedCodes', count_now));
                PERFORM mailroster.record_change(ARRAY['report ' || state.canonical]);
            END IF;
        END IF;
    END IF;
    RETURN (SELECT NOT f.reset_locked FROM mailroster.failure_state f WHERE f.address_id = primary_address);
END $$;

-- P9: keeps the hash of a password that the user chose. True when it counts now. Only who has a cloud password may change it: one that
-- nobody declared would open a logon beside the directory's.
CREATE FUNCTION gateway.change_password_v1(login text, phc text) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    chosen constant text := phc;
    fault  constant text := coalesce(mailroster.phc_fault(chosen), CASE WHEN chosen IS NULL THEN 'it must be given' END);
    primary_address bigint;
    state  record;
BEGIN
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION 'password hash refused: %', fault USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT coalesce(l.primary_id, f.address_id) INTO primary_address
    FROM mailroster.find_address(login) f LEFT JOIN mailroster.link l ON l.alias_id = f.address_id;
    IF primary_address IS NULL THEN
        PERFORM mailroster.count_unknown('change_password_v1');
        RETURN false;
    END IF;
    SELECT p.* INTO state FROM mailroster.password_state p WHERE p.address_id = primary_address AND p.is_mailbox AND NOT p.closing;
    IF NOT FOUND THEN
        RETURN false;
    ELSIF state.password = chosen AND state.changed_by_user THEN
        RETURN true;                -- said twice
    END IF;
    INSERT INTO mailroster.user_password AS u (address_id, phc) VALUES (primary_address, chosen)
    ON CONFLICT (address_id) DO UPDATE SET phc = excluded.phc, set_at = excluded.set_at, epoch = u.epoch + 1;
    INSERT INTO mailroster.audit (actor, subject, action, reason)
    VALUES ('user', 'address ' || state.canonical, 'Updated', 'PasswordChanged');
    PERFORM mailroster.record_change(ARRAY['report ' || state.canonical]);
    RETURN true;
END $$;

-- Until grants.sql names who may use what, nobody may.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA gateway, mailroster FROM PUBLIC;
