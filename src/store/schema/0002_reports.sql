-- What mail servers report, through the functions of schema gateway. No batch locks a row of these tables, and no foreign key
-- leads out of them, so a report never waits for the controller. What a batch has to tell them (unlocked, reset, purged) stands in
-- the batch's own tables (address.unlocked_at and so on) and readers join it.

-- Failed logons and the lock (P5). The lock is in force while locked_until > now() and locked_at > address.unlocked_at.
CREATE TABLE mailroster.logon (
    address_id      bigint PRIMARY KEY,
    failed          integer NOT NULL DEFAULT 0,
    last_failed_at  timestamptz,
    last_source     text,                                      -- the service that reported the last failure
    failed_at_lock  integer NOT NULL DEFAULT 0,
    locked_at       timestamptz,
    locked_until    timestamptz
);
-- Wrong password-reset codes (P5). The reset function is locked while locked_at > address.codes_reset_at.
CREATE TABLE mailroster.reset_code (
    address_id bigint PRIMARY KEY,
    failed     integer NOT NULL DEFAULT 0,
    last_at    timestamptz,
    locked_at  timestamptz
);
-- Events already counted, kept a day.
CREATE TABLE mailroster.seen_event (
    event uuid PRIMARY KEY,
    at    timestamptz NOT NULL DEFAULT mailroster.now()
);
CREATE INDEX ON mailroster.seen_event (at);

-- P9: a password the user set. The newer of this and mailroster.credential is in force.
CREATE TABLE mailroster.user_password (
    address_id bigint PRIMARY KEY,
    phc        text NOT NULL,
    set_at     timestamptz NOT NULL DEFAULT mailroster.now(),
    epoch      bigint NOT NULL DEFAULT 1
);

-- Mail queues and what they hold (U2 HeldMail).
CREATE TABLE mailroster.held_source (
    source      text PRIMARY KEY,
    reported_at timestamptz NOT NULL
);
CREATE TABLE mailroster.held_message (
    source text NOT NULL,
    id     text NOT NULL,
    state  text NOT NULL CHECK (state IN ('held', 'queued', 'processing')),
    since  timestamptz NOT NULL,
    PRIMARY KEY (source, id)
);
-- One row for each address a held message comes from or goes to: canonical where the roster knows it, else folded.
CREATE TABLE mailroster.held_address (
    source  text NOT NULL,
    id      text NOT NULL,
    address text COLLATE "C" NOT NULL,
    PRIMARY KEY (address, source, id)
);
CREATE INDEX ON mailroster.held_address (source, id);

-- Senders seen in outbound mail that the controller has yet to make an address of.
CREATE TABLE mailroster.learned_sender (
    key     text COLLATE "C" PRIMARY KEY,       -- folded address, sub-address taken off
    domain  text COLLATE "C" NOT NULL,          -- A-label
    seen_at timestamptz NOT NULL DEFAULT mailroster.now()
);
CREATE INDEX ON mailroster.learned_sender (domain, seen_at);

-- Calls that named an address the roster does not know. A function's count is the sum of its rows: a caller takes one that nobody
-- holds, or makes one, so counting never waits.
CREATE TABLE mailroster.unknown_address (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    function text NOT NULL,
    count    bigint NOT NULL DEFAULT 1
);
CREATE INDEX ON mailroster.unknown_address (function);
