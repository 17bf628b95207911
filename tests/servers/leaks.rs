//! Secrets are planted wherever the controller meets one, and looked for wherever somebody could read them (SPEC C1, X1, P1).

use crate::support::operator::{self, Settings};
use crate::support::wait::PATIENCE;
use crate::support::{self, Operator, Postgres, eventually, folder};
use crate::tenant::Tenant;
use base64::Engine as _;
use serde_json::Value;
use std::process::Command;

const GOOD: &str = "Planted-Good-Word-1";
const ROTATED: &str = "Planted-Next-Word-2";
const SHORT: &str = "Plnt-3a";
const BROKEN: &str = "Planted-Broken-Word-4\n";
const UNREADABLE: &str = "Planted-Unreadable-5";
const NOT_ASCII: &str = "Plänted-Letters-6";
const OF_THE_STORE: &str = "planted-store-word-7";
const BCRYPT: &str = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW";

#[tokio::test]
async fn c1_x1_no_secret_is_in_a_log_event_condition_record_metric_or_the_log_of_postgres() {
    let cluster = support::control_plane().await;
    let namespace = support::fresh_namespace().await;
    let own = folder::own("leaks");
    let postgres = Postgres::start(&own).await;
    postgres.execute("ALTER SYSTEM SET log_statement = 'all'").await;
    postgres.execute("SELECT pg_reload_conf()").await;
    let database = postgres.fresh_database().await;
    eventually(PATIENCE, "every statement is logged", async || {
        let now = database.text("SELECT current_setting('log_statement')").await;
        if now == "all" { Ok(()) } else { Err(now) }
    })
    .await;
    let mut settings = Settings::new(cluster, &database, &[&namespace]).await;
    settings.store = database.url.replace("postgres@", &format!("postgres:{OF_THE_STORE}@"));
    settings.arguments = ["--log-level", "debug,mailroster=trace"].map(str::to_owned).to_vec();
    let system = settings.system_namespace.clone();
    let mut tenant = Tenant::of(database, namespace, Operator::start_with(settings).await).await;

    for (name, value, more) in [("good", GOOD, ""), ("letters", NOT_ASCII, ""), ("given", GOOD, ""), ("crypt", BCRYPT, ", format: Argon2")]
    {
        tenant.secret(name, value).await;
        tenant.address(name, more).await;
    }
    tenant.secret_with("unreadable", "password", UNREADABLE, false).await;
    tenant.address("unreadable", "").await;
    for name in ["good", "letters", "given"] {
        tenant.address_ready(name).await;
    }
    let first = tenant.opens("good").await.expect("a hash");
    tenant.refused("crypt", "PasswordRefused", "").await;
    tenant.refused("unreadable", "SecretNotReadable", "").await;
    tenant.secret("letters", SHORT).await;
    tenant.refused("letters", "PasswordRefused", "shorter").await;
    tenant.secret("crypt", BROKEN).await;
    tenant.refused("crypt", "PasswordRefused", "line break").await;
    tenant.secret("good", ROTATED).await;
    eventually(PATIENCE, "the rotated password is in force", async || {
        let now = tenant.opens("good").await;
        if now.as_ref() == Some(&first) { Err("the first one still is") } else { Ok(()) }
    })
    .await;
    tenant.address_ready("good").await;
    // A hash of the store, declared as it is.
    tenant.secret("given", &first).await;
    tenant.address("given", ", format: Argon2").await;
    eventually(PATIENCE, "the given hash is in force", async || {
        let now = tenant.opens("given").await;
        if now.as_ref() == Some(&first) { Ok(()) } else { Err("another one is") }
    })
    .await;
    tenant.address_ready("given").await;
    let metrics = tenant.operator.metrics().await;
    // A fault in front of a log: the store goes away and comes back.
    postgres.kill().await;
    postgres.start_again().await;
    tenant.apply("EmailAddress/last {address: last@acme.example}").await;
    tenant.address_ready("last").await;
    tenant.operator.terminate().await;

    let mut places = vec![("the controller's log", tenant.operator.log()), ("its metrics", metrics)];
    places.push(("the log of Postgres", std::fs::read_to_string(own.join("postgres.log")).expect("a log")));
    places.push(("the audit records", tenant.database.text("SELECT string_agg(a::text, ' ') FROM mailroster.audit a").await));
    places.push(("the outbox", tenant.database.text("SELECT string_agg(c::text, ' ') FROM mailroster.change c").await));
    for kind in ["Event", "EmailAddress", "InternalDomain"] {
        places.push((kind, Value::Array(cluster.list(kind, &tenant.namespace).await).to_string()));
    }
    places.push(("the Lease", cluster.get("Lease", &system, "mailroster").await.unwrap().to_string()));
    // Nobody listens on port 1.
    let unreachable = format!("postgres://postgres:{OF_THE_STORE}@127.0.0.1:1/roster");
    for url in [unreachable.as_str(), "postgres://postgres:planted-store-word-7@[nowhere/roster"] {
        let output = Command::new(operator::program()).args(["check", "store", "--log-level", "debug", "--store", url]).output().unwrap();
        assert!(!output.status.success());
        places.push(("check store", format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))));
    }
    let shows = |place: &str, words: &str| places.iter().any(|(name, text)| *name == place && text.contains(words));
    assert!(shows("the log of Postgres", "INSERT INTO mailroster.credential ("), "the log has statements");
    assert!(shows("the controller's log", "planned"), "the log has details");
    assert!(shows("Event", "PasswordRefused") && shows("the audit records", "PasswordDeclared"));

    let identity = cluster.get("Secret", &system, "mailroster").await.unwrap();
    let key = base64::engine::general_purpose::STANDARD.decode(identity["data"]["fingerprint-key"].as_str().unwrap()).unwrap();
    let mut planted: Vec<String> =
        [GOOD, ROTATED, SHORT, BROKEN.trim_end(), UNREADABLE, NOT_ASCII, OF_THE_STORE, BCRYPT].map(str::to_owned).to_vec();
    planted.push(identity["data"]["fingerprint-key"].as_str().unwrap().to_owned());
    planted.push(key.iter().map(|byte| format!("{byte:02x}")).collect());
    planted.push(format!("{key:?}"));
    let hashes: Vec<String> =
        sqlx::query_scalar("SELECT phc FROM mailroster.credential UNION SELECT phc FROM mailroster.credential_history")
            .fetch_all(&tenant.database.pool)
            .await
            .unwrap();
    assert!(hashes.len() >= 3, "{}", hashes.len());
    planted.extend(hashes);
    for secret in planted {
        let encoded = base64::engine::general_purpose::STANDARD.encode(&secret);
        for (place, text) in &places {
            for form in [&secret, &encoded] {
                if let Some(at) = text.find(form.as_str()) {
                    let line = text[..at].rfind('\n').map_or(0, |start| start + 1);
                    panic!("{place} shows {secret:?}: {:?}", text[line..].chars().take(400).collect::<String>());
                }
            }
        }
    }
}
