-- What mailroster.address_key holds beside an address's own spellings, kept by triggers whoever writes: the primary of an alias, and the
-- keys postmaster@ and abuse@ of a domain that nobody declares while the domain's spec.postmaster stands for them (V4).

-- The primary beside each key of an alias.
CREATE FUNCTION mailroster.note_primary() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE mailroster.address_key k SET primary_id = l.primary_id
    FROM changed c LEFT JOIN mailroster.link l ON l.alias_id = c.alias_id
    WHERE k.address_id = c.alias_id AND k.primary_id IS DISTINCT FROM l.primary_id;
    RETURN NULL;
END $$;
CREATE TRIGGER note_primary_insert AFTER INSERT ON mailroster.link REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION mailroster.note_primary();
CREATE TRIGGER note_primary_update AFTER UPDATE ON mailroster.link REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION mailroster.note_primary();
CREATE TRIGGER note_primary_delete AFTER DELETE ON mailroster.link REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION mailroster.note_primary();

-- A key that an alias gets later.
CREATE FUNCTION mailroster.note_primary_of_key() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE mailroster.address_key k SET primary_id = l.primary_id
    FROM changed c JOIN mailroster.link l ON l.alias_id = c.address_id
    WHERE k.key = c.key AND k.primary_id IS DISTINCT FROM l.primary_id;
    RETURN NULL;
END $$;
CREATE TRIGGER note_primary AFTER INSERT ON mailroster.address_key REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION mailroster.note_primary_of_key();

-- The stand-ins that these domains have by what is in force now: an address of the domain's own namespace, for names that nobody declares.
CREATE FUNCTION mailroster.place_stand_ins(domains bigint[]) RETURNS void LANGUAGE sql
    SET search_path = pg_catalog, pg_temp AS $$
    WITH wanted AS (
        SELECT n.name || '@' || k.key AS key, t.id AS address_id, l.primary_id, d.id AS stand_in_of
        FROM mailroster.domain d
        JOIN mailroster.domain_key k ON k.domain_id = d.id
        JOIN mailroster.address t ON t.canonical = d.postmaster AND t.namespace = d.namespace
        LEFT JOIN mailroster.link l ON l.alias_id = t.id
        CROSS JOIN (VALUES ('postmaster'), ('abuse')) AS n (name)
        WHERE d.id = ANY (domains) AND d.recipient_validation <> 'None' AND t.canonical <> n.name || '@' || d.name
    ), gone AS (
        DELETE FROM mailroster.address_key k WHERE k.stand_in_of = ANY (domains) AND k.key NOT IN (SELECT w.key FROM wanted w)
    )
    INSERT INTO mailroster.address_key (key, address_id, primary_id, stand_in_of)
    SELECT w.key, w.address_id, w.primary_id, w.stand_in_of FROM wanted w ORDER BY w.key
    ON CONFLICT (key) DO UPDATE SET address_id = excluded.address_id, primary_id = excluded.primary_id
    WHERE address_key.stand_in_of = excluded.stand_in_of AND address_key.address_id <> excluded.address_id
$$;

-- A domain's postmaster or mode changes, or a domain changes hands: then also those whose postmaster lies in it.
CREATE FUNCTION mailroster.domain_changed() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    concerned bigint[];
BEGIN
    SELECT array_agg(DISTINCT e.id) INTO concerned
    FROM old_rows o
    JOIN new_rows n ON n.id = o.id
    JOIN mailroster.domain e ON e.id = n.id OR (n.namespace <> o.namespace AND e.postmaster <> '' AND split_part(e.postmaster, '@', 2) = n.name)
    WHERE (n.postmaster, n.namespace, n.recipient_validation = 'None') IS DISTINCT FROM (o.postmaster, o.namespace, o.recipient_validation = 'None');
    IF concerned IS NOT NULL THEN
        PERFORM mailroster.place_stand_ins(concerned);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER place_stand_ins AFTER UPDATE ON mailroster.domain REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mailroster.domain_changed();

CREATE FUNCTION mailroster.domain_key_made() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM mailroster.place_stand_ins(array_agg(n.domain_id)) FROM new_rows n;
    RETURN NULL;
END $$;
CREATE TRIGGER place_stand_ins AFTER INSERT ON mailroster.domain_key REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mailroster.domain_key_made();

-- The address that a domain names as its postmaster appears. When it goes its keys go with it.
CREATE FUNCTION mailroster.address_made() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    concerned bigint[];
BEGIN
    SELECT array_agg(d.id) INTO concerned FROM new_rows n JOIN mailroster.domain d ON d.postmaster = n.canonical AND d.postmaster <> '';
    IF concerned IS NOT NULL THEN
        PERFORM mailroster.place_stand_ins(concerned);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER place_stand_ins AFTER INSERT ON mailroster.address REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mailroster.address_made();

-- A declared postmaster@ or abuse@ stands for itself: the stand-in makes way, and comes back when it goes.
CREATE FUNCTION mailroster.stand_in_makes_way() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM mailroster.address_key k WHERE k.key = NEW.key AND k.stand_in_of IS NOT NULL;
    RETURN NEW;
END $$;
CREATE TRIGGER stand_in_makes_way BEFORE INSERT ON mailroster.address_key
    FOR EACH ROW WHEN (NEW.stand_in_of IS NULL AND (starts_with(NEW.key, 'postmaster@') OR starts_with(NEW.key, 'abuse@')))
    EXECUTE FUNCTION mailroster.stand_in_makes_way();

CREATE FUNCTION mailroster.stand_in_comes_back() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM mailroster.place_stand_ins(array_agg(k.domain_id)) FROM mailroster.domain_key k WHERE k.key = split_part(OLD.key, '@', 2);
    RETURN NULL;
END $$;
CREATE TRIGGER stand_in_comes_back AFTER DELETE ON mailroster.address_key
    FOR EACH ROW WHEN (OLD.stand_in_of IS NULL AND (starts_with(OLD.key, 'postmaster@') OR starts_with(OLD.key, 'abuse@')))
    EXECUTE FUNCTION mailroster.stand_in_comes_back();

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA mailroster FROM PUBLIC;
