//! The store: reachable, able to hold the roster, migrated, its roles there, and our rights in it.

use super::Findings;
use crate::cli::Failure;
use crate::cli::failure::OrFailed as _;
use crate::store::Store;

/// The oldest Postgres (DESIGN 4), as `server_version_num` counts.
const OLDEST: i32 = 13_00_00;

/// What one look at the server tells.
#[derive(Debug, sqlx::FromRow)]
struct Server {
    version: i32,
    version_text: String,
    database: String,
    encoding: String,
    folds: bool,
    role: String,
    superuser: bool,
    makes_roles: bool,
    may_create: bool,
    migrations: bool,
    roster: bool,
}

pub(super) async fn check(findings: &mut Findings, store: &Store, role_prefix: &str) -> Result<(), Failure> {
    let server: Server = sqlx::query_as(
        "SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS version_text,
                current_database()::text AS database, current_setting('server_encoding') AS encoding, lower('Ü') = 'ü' AS folds,
                current_user::text AS role, r.rolsuper AS superuser, r.rolsuper OR r.rolcreaterole AS makes_roles,
                has_database_privilege(current_database(), 'CREATE') AS may_create,
                to_regclass('_sqlx_migrations') IS NOT NULL AS migrations, to_regclass('mailroster.installation') IS NOT NULL AS roster
         FROM pg_catalog.pg_roles r WHERE r.rolname = current_user",
    )
    .fetch_one(store.pool())
    .await
    .or_failed("reach the store (--store)")?;
    if server.version < OLDEST {
        findings.missing(format!("the store is Postgres {}; 13 or newer is needed", server.version_text));
    } else {
        findings.fine(format!("the store answers: Postgres {}, database {}, as {}", server.version_text, server.database, server.role));
    }
    characters(findings, &server);
    schema(findings, store, &server).await?;
    roles(findings, store, &server, role_prefix).await
}

/// A1 folds with the database's own lower(): one that leaves Ü alone would find no address with it.
fn characters(findings: &mut Findings, server: &Server) {
    if server.folds && server.encoding == "UTF8" {
        findings.fine("lower('Ü') is 'ü'");
        return;
    }
    findings.missing(format!(
        "lower('Ü') is not 'ü' in database {} (encoding {}): its locale knows ASCII only",
        server.database, server.encoding
    ));
    findings.remedy(
        "-- a database's locale can't be changed; make another one and use that:
CREATE DATABASE mailroster TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8';",
    );
}

async fn schema(findings: &mut Findings, store: &Store, server: &Server) -> Result<(), Failure> {
    if !server.roster || !server.migrations {
        findings.missing("the store is not migrated; the controller does it when it starts");
        if !server.may_create {
            findings.missing(format!("the right of {} to make schemas in database {}", server.role, server.database));
            findings.remedy(format!("GRANT CREATE ON DATABASE {} TO {};", quoted(&server.database), quoted(&server.role)));
        }
        return Ok(());
    }
    // to_regclass sees names only; reading may still be refused.
    let usable: bool = sqlx::query_scalar(
        "SELECT bool_and(pg_has_role(n.nspowner, 'USAGE')) FROM pg_catalog.pg_namespace n WHERE n.nspname IN ('mailroster', 'gateway')",
    )
    .fetch_one(store.pool())
    .await
    .or_failed("look at the store's schemas")?;
    if !usable {
        let owner: String =
            sqlx::query_scalar("SELECT n.nspowner::regrole::text FROM pg_catalog.pg_namespace n WHERE n.nspname = 'mailroster'")
                .fetch_one(store.pool())
                .await
                .or_failed("look at the store's schemas")?;
        findings.missing(format!("the rights of {owner}, which owns the schemas, for {}", server.role));
        // regrole quotes by itself.
        findings.remedy(format!("GRANT {owner} TO {};", quoted(&server.role)));
        return Ok(());
    }
    let newest = Store::newest_migration();
    let (there, oldest_version, installation, answers): (Option<i64>, String, Option<String>, bool) = sqlx::query_as(
        "SELECT (SELECT max(m.version) FROM _sqlx_migrations m WHERE m.success), i.oldest_version, i.id, i.answers_since IS NOT NULL
         FROM mailroster.installation i",
    )
    .fetch_one(store.pool())
    .await
    .or_failed("read which schema the store has")?;
    match there.unwrap_or_default() {
        there if there < newest => {
            findings
                .missing(format!("the store has schema {there}, this version needs {newest}; the controller migrates it when it starts"));
        }
        there if there > newest => findings.note(format!(
            "the store has schema {there}, newer than {newest} of this version; mailroster {oldest_version} or newer may run on it"
        )),
        there => findings.fine(format!("the store is migrated, schema {there}")),
    }
    match installation {
        Some(id) => findings.note(format!("the store belongs to installation {id}")),
        None => findings.note("the store belongs to no installation yet"),
    }
    if !answers {
        findings.note("mail servers get 451 until the controller has executed a first complete plan");
    }
    Ok(())
}

async fn roles(findings: &mut Findings, store: &Store, server: &Server, prefix: &str) -> Result<(), Failure> {
    let wanted = ["mta", "auth", "archive"].map(|role| format!("{prefix}_{role}"));
    let rows: Vec<(String, bool, bool)> = sqlx::query_as(
        "SELECT w.role, r.oid IS NOT NULL,
                coalesce(to_regnamespace('gateway') IS NULL OR has_schema_privilege(r.oid, to_regnamespace('gateway')::oid, 'USAGE'), false)
         FROM unnest($1::text[]) WITH ORDINALITY AS w (role, place) LEFT JOIN pg_catalog.pg_roles r ON r.rolname = w.role
         ORDER BY w.place",
    )
    .bind(&wanted[..])
    .fetch_all(store.pool())
    .await
    .or_failed("look for the gateway's roles")?;
    let mut sql = String::new();
    for (role, there, granted) in rows {
        if !there && server.makes_roles {
            findings.note(format!("the role {role} is not there yet; the controller makes it when it starts"));
        } else if !there {
            findings.missing(format!("the role {role}, for mail servers"));
            sql.push_str(&format!("CREATE ROLE {} NOLOGIN;\n", quoted(&role)));
        } else if granted {
            findings.fine(format!("the role {role} is there"));
        } else {
            findings.missing(format!("the rights of the role {role}; the controller grants them when it starts"));
        }
    }
    if !sql.is_empty() {
        sql.push_str("-- then restart the controller: it grants them their rights");
        findings.remedy(sql);
    }
    if server.superuser {
        findings
            .note(format!("{} is a superuser: the controller needs none, a role that owns the database's schemas is enough", server.role));
    }
    Ok(())
}

/// An SQL identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
