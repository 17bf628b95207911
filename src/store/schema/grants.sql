-- Who owns the schemas and who may use what of schema gateway (SPEC 14). Run at each start after the migrations, by whatever role
-- connects; changes only what differs. What the connecting role may not do is left: `check store` names it with the SQL to run.

DO $$
DECLARE
    prefix   constant text := coalesce(nullif(current_setting('mailroster.role_prefix', true), ''), 'mailroster');
    superuser constant boolean := (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user);
    wanted   text;
    item     record;
BEGIN
    IF prefix !~ '^[a-z_][a-z0-9_]{0,40}$' THEN
        RAISE EXCEPTION 'role prefix % is not one of a-z, 0-9 and _, at most 41 characters', quote_literal(prefix)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    -- Roles belong to the whole server: another database's start may be making them at this moment.
    FOREACH wanted IN ARRAY ARRAY['mta', 'auth', 'archive'] || CASE WHEN superuser THEN ARRAY['owner'] ELSE '{}' END LOOP
        IF to_regrole(prefix || '_' || wanted) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', prefix || '_' || wanted);
            EXCEPTION
                WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN NULL;
            END;
        END IF;
    END LOOP;

    IF superuser THEN
        -- Functions run with their owner's rights, which must not be a superuser's.
        FOR item IN
            SELECT format('SCHEMA %I', n.nspname) AS named
            FROM pg_catalog.pg_namespace n
            WHERE n.nspname IN ('mailroster', 'gateway') AND n.nspowner <> to_regrole(prefix || '_owner')
            UNION ALL
            SELECT format('%s %s', CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass)
            FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname IN ('mailroster', 'gateway') AND c.relkind IN ('r', 'p', 'v', 'S') AND c.relowner <> to_regrole(prefix || '_owner')
              -- A column's own sequence follows its table.
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND c.relkind = 'S' AND d.deptype IN ('a', 'i'))
            UNION ALL
            SELECT format('FUNCTION %s', p.oid::regprocedure)
            FROM pg_catalog.pg_proc p
            JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
            WHERE n.nspname IN ('mailroster', 'gateway') AND p.proowner <> to_regrole(prefix || '_owner')
        LOOP
            EXECUTE format('ALTER %s OWNER TO %I', item.named, prefix || '_owner');
        END LOOP;
    ELSIF EXISTS (SELECT FROM pg_catalog.pg_namespace n
                  WHERE n.nspname IN ('mailroster', 'gateway') AND NOT pg_catalog.pg_has_role(n.nspowner, 'USAGE')) THEN
        RETURN;
    END IF;

    -- Postgres lets everyone execute a new function.
    FOR item IN
        SELECT p.oid::regprocedure AS named
        FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        WHERE n.nspname IN ('mailroster', 'gateway') AND a.grantee = 0
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', item.named);
    END LOOP;

    FOR item IN
        SELECT prefix || '_' || g.role AS role, g.privilege, g.named
        FROM (
            SELECT r.role, 'USAGE ON SCHEMA' AS privilege, 'gateway' AS named FROM (VALUES ('mta'), ('auth'), ('archive')) r (role)
            UNION ALL
            -- Views call these two with the rights of whoever reads them.
            SELECT r.role, 'EXECUTE ON FUNCTION', f.named
            FROM (VALUES ('mta'), ('auth'), ('archive')) r (role), (VALUES ('gateway.answers()'), ('mailroster.now()')) f (named)
            UNION ALL
            SELECT v.role, 'SELECT ON', 'gateway.' || v.named
            FROM (VALUES ('mta', 'domain_v1'), ('mta', 'recipient_v1'), ('mta', 'alias_v1'), ('mta', 'sender_v1'), ('mta', 'mailbox_v1'),
                         ('auth', 'logon_v1'), ('auth', 'credential_v1'), ('auth', 'credential_change_v1'), ('auth', 'mailbox_v1'),
                         ('auth', 'administrator_v1'), ('archive', 'archive_reader_v1'), ('archive', 'administrator_v1')) v (role, named)
            UNION ALL
            SELECT f.role, 'EXECUTE ON FUNCTION', 'gateway.' || f.named
            FROM (VALUES ('mta', 'recipient_action_v1(text)'), ('mta', 'record_sender_v1(text)'), ('mta', 'record_held_v1(text, jsonb)'),
                         ('mta', 'retire_source_v1(text)'), ('auth', 'record_logon_v1(uuid, text, text, text)'),
                         ('auth', 'record_reset_code_v1(uuid, text, boolean)'), ('auth', 'change_password_v1(text, text)')) f (role, named)
        ) g
        WHERE to_regrole(prefix || '_' || g.role) IS NOT NULL
          AND NOT CASE g.privilege
                WHEN 'USAGE ON SCHEMA' THEN has_schema_privilege(prefix || '_' || g.role, g.named, 'USAGE')
                WHEN 'SELECT ON' THEN has_table_privilege(prefix || '_' || g.role, g.named, 'SELECT')
                ELSE has_function_privilege(prefix || '_' || g.role, g.named, 'EXECUTE') END
    LOOP
        EXECUTE format('GRANT %s %s TO %I', item.privilege, item.named, item.role);
    END LOOP;
END $$;
