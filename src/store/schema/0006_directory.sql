-- What is known of directories (SPEC 8): how each connection's runs went, what was last read of each entry, who is missing.

CREATE TABLE mailroster.connection (
    namespace text NOT NULL,
    name      text NOT NULL,
    state     jsonb NOT NULL,                                  -- plan::directory::rows::ConnectionRow
    PRIMARY KEY (namespace, name)
);

-- Since when a complete run covered a domain (V3), and whose connection it was. While no row is here unknown recipients are deferred.
CREATE TABLE mailroster.covered_domain (
    namespace   text NOT NULL,
    connection  text NOT NULL,
    domain      text COLLATE "C" NOT NULL,
    fresh_until timestamptz NOT NULL,                          -- the last clean run, and max(24 h, 2 x fullInterval) more
    PRIMARY KEY (domain, namespace, connection),
    FOREIGN KEY (namespace, connection) REFERENCES mailroster.connection ON DELETE CASCADE
);
CREATE INDEX ON mailroster.covered_domain (namespace, connection);

-- What was last read of an entry. An entry without an address in our domains has no row.
CREATE TABLE mailroster.entry (
    namespace  text NOT NULL,
    connection text NOT NULL,
    id         text COLLATE "C" NOT NULL,
    digest     bytea,                                          -- null: planned again although it reads the same
    signs      smallint NOT NULL,                              -- Y4: which telling attributes it came with
    exchange   text CHECK (exchange IN ('Held', 'Approved')),  -- L8: it exchanges addresses with others
    address_id bigint REFERENCES mailroster.address ON DELETE SET NULL,
    PRIMARY KEY (namespace, connection, id),
    UNIQUE (address_id) DEFERRABLE INITIALLY DEFERRED          -- one holder; in an exchange they change in one transaction
);
CREATE INDEX ON mailroster.entry (namespace, connection) WHERE digest IS NULL;

-- Addresses of a connection that no entry carries (Y6). Written only after a read that was proved complete, or for an entry that came
-- without one of its addresses.
CREATE TABLE mailroster.leaver (
    address_id bigint PRIMARY KEY REFERENCES mailroster.address ON DELETE CASCADE,
    namespace  text NOT NULL,
    connection text NOT NULL,
    since      timestamptz NOT NULL,                           -- when a complete run lacked it first
    missed     integer NOT NULL,                               -- in how many
    held       boolean NOT NULL DEFAULT false,                 -- beyond the guard's limit (Y7)
    approved   boolean NOT NULL DEFAULT false,                 -- released by a hash (C6): counts against no limit
    cleared_at timestamptz                                     -- the guard let it pass then
);
CREATE INDEX ON mailroster.leaver (namespace, connection);
-- Leavers that were seen through within the day: they still count against the guard (Y7).
CREATE TABLE mailroster.departed (
    namespace  text NOT NULL,
    connection text NOT NULL,
    subject    text COLLATE "C" NOT NULL,                      -- canonical address
    at         timestamptz NOT NULL DEFAULT mailroster.now()
);
CREATE INDEX ON mailroster.departed (namespace, connection, at);

-- V3: domains of which a directory has lately said everything.
CREATE VIEW mailroster.fresh_domain AS
    SELECT d.id AS domain_id
    FROM mailroster.domain d
    WHERE EXISTS (SELECT FROM mailroster.covered_domain c
                  WHERE c.domain = d.name AND c.namespace = d.namespace AND c.fresh_until > mailroster.now());
