//! Who may ask what of schema `gateway`, and under whose rights it answers.

use super::{DENIED, acme, action, code_of, granted, wrong_password};
use crate::support;

#[tokio::test]
async fn each_role_gets_what_the_contract_gives_it_and_nothing_else() {
    let database = acme().await;
    let relations: Vec<(String, String)> = sqlx::query_as(
        "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname IN ('mailroster', 'gateway') AND c.relkind IN ('r', 'p', 'v', 'S')",
    )
    .fetch_all(&database.pool)
    .await
    .expect("relations");
    let functions: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT n.nspname::text, p.proname::text,
                coalesce((SELECT string_agg('NULL::' || format_type(t, NULL), ', ' ORDER BY place)
                          FROM unnest(p.proargtypes) WITH ORDINALITY AS u (t, place)), '')
         FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname IN ('mailroster', 'gateway')",
    )
    .fetch_all(&database.pool)
    .await
    .expect("functions");
    assert!(relations.len() > 30 && functions.len() > 10, "{} relations, {} functions", relations.len(), functions.len());

    for (role, (views, calls)) in granted() {
        let pool = database.as_role(role);
        for (schema, name) in &relations {
            let may_read = code_of(&pool, &format!("SELECT FROM {schema}.{name} LIMIT 0")).await != DENIED;
            assert_eq!(may_read, schema == "gateway" && views.contains(name.as_str()), "{role} reads {schema}.{name}");
            // Not always DENIED: Postgres first says that a view of several tables can't be written.
            assert_ne!(
                code_of(&pool, &format!("DELETE FROM {schema}.{name} WHERE false")).await,
                "",
                "{role} deletes from {schema}.{name}"
            );
        }
        for (schema, name, arguments) in &functions {
            let may_call = code_of(&pool, &format!("SELECT {schema}.{name}({arguments})")).await != DENIED;
            assert_eq!(may_call, schema == "gateway" && calls.contains(name.as_str()), "{role} calls {schema}.{name}");
        }
        for schema in ["mailroster", "gateway"] {
            assert_eq!(code_of(&pool, &format!("CREATE TABLE {schema}.mine ()")).await, DENIED, "{role} creates in {schema}");
        }
    }
}

#[tokio::test]
async fn functions_run_as_an_owner_that_is_no_superuser_and_name_a_search_path() {
    let database = support::fresh_database().await;
    let careless = database
        .text(
            "SELECT string_agg(p.proname, ' ') FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles o ON o.oid = p.proowner
             WHERE n.nspname = 'gateway' AND (o.rolsuper OR NOT p.prosecdef
                OR p.proconfig IS DISTINCT FROM ARRAY['search_path=pg_catalog, pg_temp'])",
        )
        .await;
    assert_eq!(careless, "");
    let open = database
        .text(
            "SELECT string_agg(c.relname, ' ') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = 'gateway' AND c.relkind = 'v' AND NOT coalesce(c.reloptions @> '{security_barrier=true}', false)",
        )
        .await;
    assert_eq!(open, "");
}

#[tokio::test]
async fn temporary_objects_shadow_nothing() {
    let database = acme().await;
    let mut connection = database.as_role("mailroster_mta").acquire().await.expect("a connection");
    sqlx::raw_sql(
        "CREATE TEMP TABLE address_key (key text, address_id bigint);
         CREATE TEMP TABLE domain_key (key text, domain_id bigint);
         CREATE FUNCTION pg_temp.lower(text) RETURNS text LANGUAGE sql AS 'SELECT ''sales@acme.example''';
         CREATE FUNCTION pg_temp.strpos(text, text) RETURNS integer LANGUAGE sql AS 'SELECT 1/0';",
    )
    .execute(&mut *connection)
    .await
    .expect("temporary objects");
    let answers: Vec<Option<String>> = sqlx::query_scalar(
        "SELECT gateway.recipient_action_v1(a) FROM unnest(ARRAY['NOBODY@acme.example', 'SALES@acme.example']) WITH ORDINALITY u (a, n) ORDER BY n",
    )
    .fetch_all(&mut *connection)
    .await
    .expect("answers");
    assert!(answers[0].as_ref().is_some_and(|answer| answer.starts_with("550 5.1.1 ")), "{answers:?}");
    assert_eq!(answers[1], None);
}

#[tokio::test]
async fn sql_in_an_address_is_just_an_unknown_address() {
    let database = acme().await;
    let (mta, auth) = (database.as_role("mailroster_mta"), database.as_role("mailroster_auth"));
    for address in ["'; DROP TABLE mailroster.address; --@acme.example", "' OR true --@acme.example", "$$@acme.example", "\\'@acme.example"]
    {
        assert_eq!(action(&mta, address).await, "550 5.1.1", "{address}");
        sqlx::query("SELECT gateway.record_sender_v1($1)").bind(address).execute(&mta).await.expect("no error");
        wrong_password(&auth, address, 1).await;
    }
    assert_eq!(database.text("SELECT count(*) FROM mailroster.address").await, "2");
    assert_eq!(database.text("SELECT sum(count) FROM mailroster.unknown_address WHERE function = 'record_logon_v1'").await, "4");
}
