-- The roster: what the controller (or `mailroster apply`) writes, in one transaction a batch.
--
-- Mail servers never read these tables; they read schema gateway. What mail servers report (logons, held mail, learned senders)
-- is written by gateway functions into the tables of 0002_reports.sql, which no batch locks.
-- Uniqueness (SPEC A1) and every reference are constraints here: Postgres has the last word.

CREATE SCHEMA mailroster;

-- The one clock (SPEC C12). Tests replace it in their own database.
CREATE FUNCTION mailroster.now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
    AS 'SELECT pg_catalog.now()';

-- One row: whose store this is, since when it may answer, who writes.
CREATE TABLE mailroster.installation (
    one                boolean PRIMARY KEY DEFAULT true CHECK (one),
    id                 text,                                   -- the installation that owns this store; null: nobody yet
    oldest_version     text NOT NULL DEFAULT '0.1.0',          -- the oldest mailroster that may run on this schema
    answers_since      timestamptz,                            -- V3: null until a plan made from complete lists was executed
    recognised_run     timestamptz,                            -- V3: start of the Postgres that a leader last knew to be no older copy
    new_domain_grace   interval NOT NULL DEFAULT '1 hour',     -- V3
    epoch              bigint NOT NULL DEFAULT 0,              -- raised by each new leader
    batches            bigint NOT NULL DEFAULT 0,              -- raised by each write transaction: the fence
    leader             text                                    -- who holds the epoch, for people
);
INSERT INTO mailroster.installation DEFAULT VALUES;

-- AccountSettings of a namespace, as values (SPEC 1). No row: the defaults.
CREATE TABLE mailroster.settings (
    namespace                 text PRIMARY KEY,
    owner                     text NOT NULL,
    password_min_length       integer NOT NULL,
    password_uppercase        boolean NOT NULL,
    password_lowercase        boolean NOT NULL,
    password_digit            boolean NOT NULL,
    password_symbol           boolean NOT NULL,
    password_expires_days     integer NOT NULL,                -- 0: never
    password_history          integer NOT NULL,
    lockout_failed_logons     integer NOT NULL,
    lockout_seconds           integer NOT NULL,
    reset_failed_codes        integer NOT NULL,
    purge_delay_seconds       integer NOT NULL,
    held_mail_reports         boolean NOT NULL,                -- true: Required
    guard_max_percent         integer NOT NULL,
    guard_min_count           integer NOT NULL,
    hide_confidential         boolean NOT NULL
);

CREATE TABLE mailroster.domain (
    id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                 text COLLATE "C" NOT NULL UNIQUE,     -- lower-case A-label
    namespace            text NOT NULL,
    owner                text,                                 -- name of the InternalDomain; null: undeclared
    recipient_validation text NOT NULL CHECK (recipient_validation IN ('Any', 'Known', 'Directory', 'CallForward', 'None')),
    unknown_recipients   text NOT NULL CHECK (unknown_recipients IN ('Reject', 'Defer')),
    next_hop             text NOT NULL DEFAULT '',
    learn_senders        boolean NOT NULL,
    sub_addressing       text NOT NULL DEFAULT '',
    postmaster           text COLLATE "C" NOT NULL DEFAULT '', -- canonical; '' for none
    created_at           timestamptz NOT NULL DEFAULT mailroster.now(),
    UNIQUE (id, namespace)
);
CREATE INDEX ON mailroster.domain (postmaster) WHERE postmaster <> '';
-- The spellings under which a mail server may ask: A-label and, where it differs, U-label.
CREATE TABLE mailroster.domain_key (
    key        text COLLATE "C" PRIMARY KEY,
    domain_id  bigint NOT NULL REFERENCES mailroster.domain ON DELETE CASCADE
);
CREATE INDEX ON mailroster.domain_key (domain_id);
-- A mail server may have to say COLLATE "default" (Postfix before 3.8 does, to pass UTF-8 through LATIN1); an index of another
-- collation would not serve it. A hash index: no upgrade of the system's collations can spoil it.
CREATE INDEX ON mailroster.domain_key USING hash (key COLLATE "default");

CREATE TABLE mailroster.address (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    canonical         text COLLATE "C" NOT NULL UNIQUE,        -- A1
    display           text NOT NULL,                           -- as declared
    domain_id         bigint NOT NULL,
    namespace         text NOT NULL,
    is_alias          boolean NOT NULL DEFAULT false,          -- true exactly while a link row has it as alias
    origin            text NOT NULL CHECK (origin IN ('Manual', 'MailFlow', 'Directory', 'Import', 'DistributionList')),
    owner             text,                                    -- name of the EmailAddress; null: undeclared
    last_owner        text,                                    -- who declares it or did so last: takes it back (A8); null: never (P6)
    display_name      text NOT NULL DEFAULT '',
    attributes        jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(attributes) = 'object'),
    disabled          boolean NOT NULL DEFAULT false,          -- P6 Declared
    shut              boolean NOT NULL DEFAULT false,          -- P6 Undeclared, carried out within the guard (U1, U4)
    closing           boolean NOT NULL DEFAULT false,          -- U2: being purged, only held mail is left: no mail in, no logon
    archive_start     date,
    smtp_submission   boolean NOT NULL DEFAULT false,
    pop               boolean NOT NULL DEFAULT false,
    unlocked_at       timestamptz,                             -- C6 unlockAt: failed logons up to here do not count
    codes_reset_at    timestamptz,                             -- C6 resetCodesAt: wrong codes up to here do not count
    -- What a directory says (SPEC 8); all null or false for an address that none ever had.
    connection         text,                                   -- name of the DirectoryConnection; null: none has it (any more)
    entry              text,                                   -- the entry that holds the mailbox, or held it last (Y1)
    global_name        text NOT NULL DEFAULT '',
    directory_disabled boolean NOT NULL DEFAULT false,         -- P6 DirectoryDisabled
    directory_missing  boolean NOT NULL DEFAULT false,         -- P6 DirectoryMissing
    holder_since       timestamptz,                            -- Y1: another entry has it since then and nobody said yes
    created_at        timestamptz NOT NULL DEFAULT mailroster.now(),
    UNIQUE (id, namespace, is_alias),
    FOREIGN KEY (domain_id, namespace) REFERENCES mailroster.domain (id, namespace) DEFERRABLE
);
CREATE INDEX ON mailroster.address (domain_id);
CREATE INDEX ON mailroster.address (namespace, owner);
CREATE INDEX ON mailroster.address (namespace, connection) WHERE connection IS NOT NULL;
-- The spellings under which a mail server may ask (A1): canonical, U-label form, lower case of the declared spelling; and postmaster@ and
-- abuse@ of domains where spec.postmaster stands for them (V4). What opens a table more costs each lookup more than finding the row, so
-- the primary stands here too. The triggers of 0005_keys.sql see to the last two columns, whoever writes.
CREATE TABLE mailroster.address_key (
    key         text COLLATE "C" PRIMARY KEY,
    address_id  bigint NOT NULL REFERENCES mailroster.address ON DELETE CASCADE,
    primary_id  bigint,                                        -- of an alias: its primary
    stand_in_of bigint REFERENCES mailroster.domain ON DELETE CASCADE   -- the domain of which the address is spec.postmaster; null: its own key
);
CREATE INDEX ON mailroster.address_key (address_id);
CREATE INDEX ON mailroster.address_key (stand_in_of) WHERE stand_in_of IS NOT NULL;
CREATE INDEX ON mailroster.address_key USING hash (key COLLATE "default");   -- as for domain_key

-- "alias is another name of primary". The flags make L1 and L7 constraints: a primary is no alias, a right names no alias.
CREATE TABLE mailroster.link (
    alias_id         bigint PRIMARY KEY,
    primary_id       bigint NOT NULL,
    alias            text COLLATE "C" NOT NULL,                -- the alias's canonical form: the first of thousands are found by an index
    namespace        text NOT NULL,
    alias_is_alias   boolean NOT NULL DEFAULT true CHECK (alias_is_alias),
    primary_is_alias boolean NOT NULL DEFAULT false CHECK (NOT primary_is_alias),
    owner            text,                                     -- name of the AliasLink; null: nobody declares it
    origin           text NOT NULL CHECK (origin IN ('Declared', 'Directory')),
    made_row         boolean NOT NULL,                         -- L6: the alias row was made for this link
    directory        text COLLATE "C",                         -- L4: the primary that a directory names; null: none does
    CHECK (alias_id <> primary_id),
    FOREIGN KEY (alias_id, namespace, alias_is_alias) REFERENCES mailroster.address (id, namespace, is_alias) DEFERRABLE,
    FOREIGN KEY (primary_id, namespace, primary_is_alias) REFERENCES mailroster.address (id, namespace, is_alias) DEFERRABLE
);
CREATE INDEX ON mailroster.link (primary_id, alias);
-- Whoever writes need not say the name, and can't say another one.
CREATE FUNCTION mailroster.name_alias() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT a.canonical INTO NEW.alias FROM mailroster.address a WHERE a.id = NEW.alias_id;
    RETURN NEW;
END $$;
CREATE TRIGGER name_alias BEFORE INSERT OR UPDATE OF alias_id, alias ON mailroster.link
    FOR EACH ROW EXECUTE FUNCTION mailroster.name_alias();
CREATE INDEX ON mailroster.link (namespace, owner);

-- "reader may read mailbox".
CREATE TABLE mailroster.delegation (
    reader_id    bigint NOT NULL,
    mailbox_id   bigint NOT NULL,
    namespace    text NOT NULL,
    is_alias     boolean NOT NULL DEFAULT false CHECK (NOT is_alias),
    owner        text,
    effective_at timestamptz NOT NULL DEFAULT mailroster.now(),
    PRIMARY KEY (reader_id, mailbox_id),
    CHECK (reader_id <> mailbox_id),
    FOREIGN KEY (reader_id, namespace, is_alias) REFERENCES mailroster.address (id, namespace, is_alias) DEFERRABLE,
    FOREIGN KEY (mailbox_id, namespace, is_alias) REFERENCES mailroster.address (id, namespace, is_alias) DEFERRABLE
);
CREATE INDEX ON mailroster.delegation (mailbox_id);
CREATE INDEX ON mailroster.delegation (namespace, owner);

CREATE TABLE mailroster.role (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace   text NOT NULL,
    name        text NOT NULL,                                 -- name of the AdminRole
    owned       boolean NOT NULL,                              -- false: the resource is gone, R2 keeps the last member
    built_in    text,                                          -- null: custom
    permissions text[] NOT NULL,                               -- what it grants, built-in ones written out (R4)
    UNIQUE (namespace, name),
    UNIQUE (id, namespace)
);
CREATE TABLE mailroster.role_member (
    address_id bigint PRIMARY KEY,                             -- R1
    role_id    bigint NOT NULL,
    namespace  text NOT NULL,
    is_alias   boolean NOT NULL DEFAULT false CHECK (NOT is_alias),
    FOREIGN KEY (role_id, namespace) REFERENCES mailroster.role (id, namespace) DEFERRABLE,
    FOREIGN KEY (address_id, namespace, is_alias) REFERENCES mailroster.address (id, namespace, is_alias) DEFERRABLE
);
CREATE INDEX ON mailroster.role_member (role_id);

-- What a cloud password opens (P1, P2). phc is an argon2id PHC string.
CREATE TABLE mailroster.credential (
    address_id    bigint PRIMARY KEY REFERENCES mailroster.address ON DELETE CASCADE,
    phc           text NOT NULL,
    fingerprint   bytea NOT NULL,                              -- HMAC-SHA-256 over row id and the Secret's value
    key_id        text NOT NULL,                               -- which fingerprint key made it
    force_change  boolean NOT NULL,                            -- acts once for each value taken from the Secret
    never_expires boolean NOT NULL,
    epoch         bigint NOT NULL DEFAULT 1,                   -- +1 each time the password is set: ends the user's sessions
    set_at        timestamptz NOT NULL DEFAULT mailroster.now()
);
CREATE TABLE mailroster.credential_history (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    address_id bigint NOT NULL REFERENCES mailroster.address ON DELETE CASCADE,
    phc        text NOT NULL,
    set_at     timestamptz NOT NULL
);
CREATE INDEX ON mailroster.credential_history (address_id, id);

-- What waits before it is done (U2, U4): a purge, a logon to be shut, a link to be removed.
CREATE TABLE mailroster.waiting (
    address_id bigint NOT NULL REFERENCES mailroster.address ON DELETE CASCADE,
    action     text NOT NULL CHECK (action IN ('Purge', 'Shut', 'Unlink')),
    since      timestamptz NOT NULL DEFAULT mailroster.now(),
    held       boolean NOT NULL DEFAULT false,                 -- part of a held plan: no passing of time releases it (U4)
    approved   boolean NOT NULL DEFAULT false,                 -- released by a hash (C6): the guard counts it no more
    PRIMARY KEY (address_id, action)
);
-- What the guard let pass within the hour: counted again, removed by housekeeping.
CREATE TABLE mailroster.done (
    domain_id bigint NOT NULL REFERENCES mailroster.domain ON DELETE CASCADE,
    action    text NOT NULL CHECK (action IN ('Purge', 'Shut', 'Unlink')),
    subject   text COLLATE "C" NOT NULL,                       -- canonical address
    at        timestamptz NOT NULL DEFAULT mailroster.now()
);
CREATE INDEX ON mailroster.done (domain_id, at);
-- Addresses that went within the hour, whichever way (approved, or as an alias with its primary): the guard's share is of those there
-- were, not of those that are left (U4).
CREATE TABLE mailroster.gone (
    domain_id bigint NOT NULL REFERENCES mailroster.domain ON DELETE CASCADE,
    subject   text COLLATE "C" NOT NULL,                       -- canonical address
    at        timestamptz NOT NULL DEFAULT mailroster.now()
);
CREATE INDEX ON mailroster.gone (domain_id, at);

-- U8: an address that was purged.
CREATE TABLE mailroster.tombstone (
    canonical text COLLATE "C" PRIMARY KEY,
    namespace text NOT NULL,
    purged_at timestamptz NOT NULL DEFAULT mailroster.now()
);

-- U6: owners that a complete list lacked, since when, and what came of it.
CREATE TABLE mailroster.absence (
    kind      text NOT NULL,
    namespace text NOT NULL,
    name      text NOT NULL,
    since     timestamptz NOT NULL,
    held      boolean NOT NULL,                                -- beyond the day's share
    approved  boolean NOT NULL,                                -- released by a hash (C6)
    ended_at  timestamptz,                                     -- counts as ended since then; kept a day for the share
    PRIMARY KEY (namespace, kind, name)
);
-- U6: under which uid a namespace was known when its resources were last looked for: another uid is another cluster.
CREATE TABLE mailroster.namespace (
    name text PRIMARY KEY,
    uid  text NOT NULL
);

-- C6: the tokens of actions already done.
CREATE TABLE mailroster.handled (
    kind      text NOT NULL,
    namespace text NOT NULL,
    name      text NOT NULL,
    action    text NOT NULL,
    token     text NOT NULL,
    PRIMARY KEY (kind, namespace, name, action)
);

-- D1: what the command `transfer` asks the leader to do.
CREATE TABLE mailroster.transfer_request (
    domain       text COLLATE "C" PRIMARY KEY,
    to_namespace text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT mailroster.now()
);

-- X1: one append-only record for each change, partitioned by month.
CREATE TABLE mailroster.audit (
    id      bigint GENERATED ALWAYS AS IDENTITY,
    at      timestamptz NOT NULL DEFAULT mailroster.now(),
    actor   text NOT NULL,          -- "EmailAddress/acme/sales (uid …)", "mail flow", "user", "transfer"
    subject text NOT NULL,          -- "address sales@acme.example"
    action  text NOT NULL,          -- Created | Updated | Deleted
    reason  text NOT NULL,
    before  jsonb,
    after   jsonb
) PARTITION BY RANGE (at);
CREATE TABLE mailroster.audit_default PARTITION OF mailroster.audit DEFAULT;
CREATE INDEX ON mailroster.audit (at);
CREATE INDEX ON mailroster.audit (subject, at);

-- The outbox of what others than the leader change: the leader reads it, plans those subjects, deletes what it read by id.
CREATE TABLE mailroster.change (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- "address CANONICAL" | "domain NAME" | "role NAMESPACE/NAME" | "settings NAMESPACE" | "learned DOMAIN" | "report CANONICAL": what mail
    -- servers reported of an address, which only whoever declares it tells
    subject text NOT NULL
);

-- Writes outbox rows for the subjects in the array and wakes the reader, but only when the outbox was empty: a full outbox has
-- already woken it, and it looks once a second anyway. A reader that is awake leaves a row in it, and no commit has to wait for others'
-- notifications.
CREATE FUNCTION mailroster.record_change(subjects text[]) RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM mailroster.change) THEN
        PERFORM pg_notify('mailroster_change', '');
    END IF;
    INSERT INTO mailroster.change (subject) SELECT DISTINCT s FROM unnest(subjects) s WHERE s IS NOT NULL;
END $$;

-- True in the leader's own transactions, whose changes it knows.
CREATE FUNCTION mailroster.own_write() RETURNS boolean LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$ SELECT coalesce(current_setting('mailroster.own_write', true), '') = 'on' $$;

-- One statement-level trigger function for all tables: TG_ARGV[0] is an SQL expression over a row `r` that names the subject.
CREATE FUNCTION mailroster.note_change() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    subjects text[];
BEGIN
    IF mailroster.own_write() THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        EXECUTE format('SELECT array_agg(%s) FROM new_rows r', TG_ARGV[0]) INTO subjects;
    ELSIF TG_OP = 'DELETE' THEN
        EXECUTE format('SELECT array_agg(%s) FROM old_rows r', TG_ARGV[0]) INTO subjects;
    ELSE
        EXECUTE format('SELECT array_agg(%s) FROM (SELECT * FROM old_rows UNION ALL SELECT * FROM new_rows) r', TG_ARGV[0]) INTO subjects;
    END IF;
    IF subjects IS NOT NULL THEN
        PERFORM mailroster.record_change(subjects);
    END IF;
    RETURN NULL;
END $$;

DO $$
DECLARE
    watched record;
    address constant text := '(SELECT ''address '' || a.canonical FROM mailroster.address a WHERE a.id = r.%s)';
BEGIN
    FOR watched IN SELECT * FROM (VALUES
        ('domain',      '''domain '' || r.name'),
        ('address',     '''address '' || r.canonical'),
        ('link',        format(address, 'alias_id')),
        ('delegation',  format(address, 'mailbox_id')),
        ('role',        '''role '' || r.namespace || ''/'' || r.name'),
        ('role_member', '(SELECT ''role '' || o.namespace || ''/'' || o.name FROM mailroster.role o WHERE o.id = r.role_id)'),
        ('settings',    '''settings '' || r.namespace'),
        ('credential',  format(address, 'address_id')),
        ('transfer_request', '''domain '' || r.domain')) AS v(name, expression)
    LOOP
        EXECUTE format('CREATE TRIGGER note_insert AFTER INSERT ON mailroster.%I REFERENCING NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION mailroster.note_change(%L)', watched.name, watched.expression);
        EXECUTE format('CREATE TRIGGER note_update AFTER UPDATE ON mailroster.%I REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION mailroster.note_change(%L)', watched.name, watched.expression);
        EXECUTE format('CREATE TRIGGER note_delete AFTER DELETE ON mailroster.%I REFERENCING OLD TABLE AS old_rows
            FOR EACH STATEMENT EXECUTE FUNCTION mailroster.note_change(%L)', watched.name, watched.expression);
    END LOOP;
END $$;
