-- As what an entry has its address (Y3): compared when another entry comes with the same one.
ALTER TABLE mailroster.entry ADD COLUMN rank text NOT NULL DEFAULT 'Primary' CHECK (rank IN ('Primary', 'Proxy', 'Mail'));

-- Where an entry that exchanges its address with others is to go (L8). What was held before is found again by the next run.
UPDATE mailroster.entry SET exchange = NULL, digest = NULL WHERE exchange IS NOT NULL;
ALTER TABLE mailroster.entry ADD COLUMN exchange_to text, ADD CHECK ((exchange IS NULL) = (exchange_to IS NULL));

-- What each run of a connection asks for, and what is hardly ever there: new holders (Y1) and exchanges (L8).
CREATE INDEX ON mailroster.address (namespace, connection) WHERE holder_since IS NOT NULL;
CREATE INDEX ON mailroster.entry (namespace, connection) WHERE exchange IS NOT NULL;

-- The alias's name beside a link: whoever writes need not say it, and can't say another one. Thousands at once are looked at together, not
-- one by one.
DROP TRIGGER name_alias ON mailroster.link;
CREATE TRIGGER name_alias BEFORE INSERT ON mailroster.link
    FOR EACH ROW WHEN (NEW.alias IS NULL) EXECUTE FUNCTION mailroster.name_alias();
CREATE TRIGGER name_alias_update BEFORE UPDATE OF alias_id, alias ON mailroster.link
    FOR EACH ROW EXECUTE FUNCTION mailroster.name_alias();
CREATE FUNCTION mailroster.alias_bears_its_name() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE mailroster.link l SET alias = a.canonical
    FROM new_rows n JOIN mailroster.address a ON a.id = n.alias_id
    WHERE l.alias_id = n.alias_id AND n.alias <> a.canonical;
    RETURN NULL;
END $$;
CREATE TRIGGER alias_bears_its_name AFTER INSERT ON mailroster.link REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mailroster.alias_bears_its_name();

-- A key that an alias gets later: only those that were written without its primary.
CREATE OR REPLACE FUNCTION mailroster.note_primary_of_key() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE mailroster.address_key k SET primary_id = l.primary_id
    FROM changed c JOIN mailroster.link l ON l.alias_id = c.address_id
    WHERE k.key = c.key AND c.primary_id IS DISTINCT FROM l.primary_id;
    RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION mailroster.alias_bears_its_name() FROM PUBLIC;
