-- The leader writes links and keys by the thousand, and writes beside each what these triggers would: only what others write is looked at
-- again. (A link that comes after its alias's keys, or goes, still notes its primary there, whoever writes: 0005_keys.sql.)
DROP TRIGGER alias_bears_its_name ON mailroster.link;
CREATE TRIGGER alias_bears_its_name AFTER INSERT ON mailroster.link REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT WHEN (NOT mailroster.own_write()) EXECUTE FUNCTION mailroster.alias_bears_its_name();
DROP TRIGGER note_primary ON mailroster.address_key;
CREATE TRIGGER note_primary AFTER INSERT ON mailroster.address_key REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT WHEN (NOT mailroster.own_write()) EXECUTE FUNCTION mailroster.note_primary_of_key();
