//! Cloud passwords from the Secret to what opens a mailbox (SPEC P1 to P6, P8, P9), on the real servers.

use crate::support::resources::condition;
use crate::support::wait::PATIENCE;
use crate::support::{self, Database, Operator, eventually};
use crate::tenant::Tenant;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::process::Command;

const GOOD: &str = "Correct-Horse-7";
const BETTER: &str = "Battery-Staple-8";

pub const ACME: &str = "InternalDomain/acme {domain: acme.example}";

/// What tests of passwords and logons do with the addresses of acme.example, each named as its resource.
impl Tenant {
    /// A tenant with a controller that was started otherwise than usual.
    pub async fn of(database: Database, namespace: String, operator: Operator) -> Self {
        let tenant = Self { cluster: support::control_plane().await, namespace, database, operator };
        tenant.apply(ACME).await;
        tenant.ready(ACME).await;
        tenant
    }

    /// `NAME@acme.example`, with its password in the Secret of the same name under the key `password`.
    pub async fn address(&self, name: &str, password: &str) {
        let password = format!("{{secretRef: {{name: {name}, key: password}}{password}}}");
        self.apply(&format!("EmailAddress/{name} {{address: {name}@acme.example, password: {password}}}")).await;
    }

    /// The readable Secret of that name.
    pub async fn secret(&self, name: &str, value: &str) {
        self.secret_with(name, "password", value, true).await;
    }

    pub async fn secret_with(&self, name: &str, key: &str, value: &str, readable: bool) {
        let labels = if readable { json!({"mailroster.dev/readable": "true"}) } else { json!({}) };
        let data = serde_json::to_value(ByteString(value.as_bytes().to_vec())).unwrap();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}, "data": {key: data}, "type": "Opaque"});
        self.cluster.apply(&self.namespace, &secret.to_string()).await;
    }

    pub async fn address_ready(&self, name: &str) -> Value {
        self.cluster.wait_ready("EmailAddress", &self.namespace, name).await
    }

    /// Waits until CredentialReady is False for that reason; returns the message.
    pub async fn refused(&self, name: &str, reason: &str, words: &str) -> String {
        let what = format!("CredentialReady False {reason} {words:?}");
        let found = |address: &Value| {
            condition(address, "CredentialReady").is_some_and(|condition| {
                condition["status"] == "False" && condition["reason"] == reason && text(&condition["message"]).contains(words)
            })
        };
        let address = self.cluster.wait_until("EmailAddress", &self.namespace, name, &what, found).await;
        text(&condition(&address, "CredentialReady").unwrap()["message"])
    }

    /// What a mail server that authenticates sees.
    pub fn auth(&self) -> PgPool {
        self.database.as_role("mailroster_auth")
    }

    /// The PHC string that opens an address now.
    pub async fn opens(&self, name: &str) -> Option<String> {
        let sql = "SELECT password FROM gateway.credential_v1 WHERE login = $1";
        sqlx::query_scalar(sql).bind(format!("{name}@acme.example")).fetch_optional(&self.auth()).await.unwrap()
    }

    /// When and how often the password was set, and under which key its fingerprint is.
    async fn credential(&self, name: &str) -> (i64, String, String) {
        let sql = "SELECT c.epoch, c.set_at::text, c.key_id FROM mailroster.credential c JOIN mailroster.address a ON a.id = c.address_id
                   WHERE a.canonical = $1";
        sqlx::query_as(sql).bind(format!("{name}@acme.example")).fetch_one(&self.database.pool).await.unwrap()
    }

    async fn change(&self, name: &str, phc: &str) {
        let changed: bool = sqlx::query_scalar("SELECT gateway.change_password_v1($1, $2)")
            .bind(format!("{name}@acme.example"))
            .bind(phc)
            .fetch_one(&self.auth())
            .await
            .unwrap();
        assert!(changed);
    }

    /// Waits until `holds` says so of an address.
    pub async fn address_until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.cluster.wait_until("EmailAddress", &self.namespace, name, what, holds).await
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Whether Dovecot takes the password for this hash.
fn dovecot_accepts(password: &str, phc: &str) -> bool {
    let output = Command::new("doveadm").args(["pw", "-p", password, "-t", &format!("{{ARGON2ID}}{phc}")]).output();
    output.expect("doveadm (package dovecot-core)").status.success()
}

/// An argon2id hash of a password, as a user's portal or an administrator makes it.
fn hash(password: &str) -> String {
    use argon2::password_hash::PasswordHasher as _;
    let parameters = argon2::Params::new(19_456, 2, 1, None).unwrap();
    let hasher = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, parameters);
    hasher.hash_password(password.as_bytes()).unwrap().to_string()
}

#[tokio::test]
async fn p1_what_a_secret_lacks_is_named_and_healed_by_the_secret_alone() {
    let tenant = Tenant::with(ACME).await;
    for name in ["unlabelled", "missing", "wrong-key", "late"] {
        if name == "unlabelled" {
            tenant.secret_with(name, "password", GOOD, false).await;
        }
        if name == "wrong-key" {
            tenant.secret_with(name, "pass", GOOD, true).await;
        }
        tenant.address(name, "").await;
    }
    let said = tenant.refused("unlabelled", "SecretNotReadable", "kubectl label secret unlabelled mailroster.dev/readable=true").await;
    assert!(!said.contains(GOOD), "{said}");
    tenant.refused("missing", "SecretNotFound", "mailroster.dev/readable=true").await;
    tenant.refused("wrong-key", "SecretNotFound", "\"password\"").await;
    tenant.refused("late", "SecretNotFound", "late").await;

    // P3: the address is in force all the same, only its password is not.
    assert_eq!(tenant.database.text("SELECT count(*) FROM mailroster.address").await, "4");
    assert_eq!(tenant.database.text("SELECT count(*) FROM mailroster.credential").await, "0");
    let waiting = tenant.cluster.get("EmailAddress", &tenant.namespace, "missing").await.unwrap();
    assert_eq!(condition(&waiting, "Reconciling").unwrap()["reason"], "SecretNotFound");
    assert_eq!(condition(&waiting, "MailAccepted").unwrap()["status"], "True");
    let stalled = tenant.cluster.get("EmailAddress", &tenant.namespace, "unlabelled").await.unwrap();
    assert_eq!(condition(&stalled, "Stalled").unwrap()["reason"], "SecretNotReadable");

    // A Secret made later without the label is in no watch: the message above says so, and asking again tells it.
    tenant.secret_with("late", "password", GOOD, false).await;
    tenant.cluster.annotate("EmailAddress", &tenant.namespace, "late", "mailroster.dev/requestedAt", "1").await;
    tenant.refused("late", "SecretNotReadable", "kubectl label secret late").await;

    for name in ["unlabelled", "missing", "wrong-key", "late"] {
        tenant.secret(name, GOOD).await;
    }
    for name in ["unlabelled", "missing", "wrong-key", "late"] {
        tenant.address_ready(name).await;
        assert!(dovecot_accepts(GOOD, &tenant.opens(name).await.unwrap()), "{name}");
    }

    // P1: a Secret that loses its label, then its being, takes nothing away.
    tenant.secret_with("late", "password", BETTER, false).await;
    tenant.refused("late", "SecretNotReadable", "label").await;
    tenant.cluster.delete("Secret", &tenant.namespace, "missing").await;
    tenant.refused("missing", "SecretNotFound", "does not exist").await;
    for name in ["late", "missing"] {
        assert!(dovecot_accepts(GOOD, &tenant.opens(name).await.unwrap()), "{name}");
    }
}

#[tokio::test]
async fn p1_a_refused_value_names_its_rule_and_the_old_password_stays_in_force() {
    let tenant = Tenant::with(ACME).await;
    tenant.secret("plain", GOOD).await;
    tenant.address("plain", "").await;
    tenant.secret("hashed", &hash(GOOD)).await;
    tenant.address("hashed", ", format: Argon2").await;
    tenant.address_ready("plain").await;
    tenant.address_ready("hashed").await;
    let before = (tenant.opens("plain").await.unwrap(), tenant.opens("hashed").await.unwrap());
    assert!(dovecot_accepts(GOOD, &before.0) && dovecot_accepts(GOOD, &before.1));
    assert!(!dovecot_accepts(BETTER, &before.0), "Dovecot refuses another password");

    let huge = hash(BETTER).replace("m=19456", "m=16777216");
    let bcrypt = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW";
    for (name, value, rule) in [
        ("plain", "Battery-Staple-8\r\n", "line break"),
        ("plain", "Sh0rt-pw", "shorter than 12"),
        ("plain", "battery-staple-8", "upper-case"),
        ("plain", bcrypt, "format: Argon2"),
        ("hashed", bcrypt, "not an argon2id PHC string"),
        ("hashed", &huge, "parameter m is 16777216"),
        ("hashed", &format!("{}\n", hash(BETTER)), "line break"),
    ] {
        tenant.secret(name, value).await;
        let said = tenant.refused(name, "PasswordRefused", rule).await;
        assert!(!said.contains(value.trim_end()), "{said}");
    }
    assert_eq!((tenant.opens("plain").await.unwrap(), tenant.opens("hashed").await.unwrap()), before);
    assert_eq!((tenant.credential("plain").await.0, tenant.credential("hashed").await.0), (1, 1));

    // The refusal ends with the rule that made it, though the value stays.
    tenant.secret("plain", "Sh0rt-pw").await;
    tenant.refused("plain", "PasswordRefused", "shorter than 12").await;
    tenant.apply("AccountSettings/default {password: {minLength: 8}}").await;
    tenant.address_ready("plain").await;
    assert!(dovecot_accepts("Sh0rt-pw", &tenant.opens("plain").await.unwrap()));
    let given = hash(BETTER);
    tenant.secret("plain", &given).await;
    tenant.refused("plain", "PasswordRefused", "format: Argon2").await;
    tenant.address("plain", ", format: Argon2").await;
    tenant.address_ready("plain").await;
    assert_eq!(tenant.opens("plain").await.unwrap(), given);

    // P4: a stricter policy binds the next password only.
    tenant.apply("AccountSettings/default {password: {minLength: 20}}").await;
    tenant.cluster.wait_ready("AccountSettings", &tenant.namespace, "default").await;
    assert_eq!(tenant.opens("plain").await.unwrap(), given);
    tenant.address_ready("plain").await;
}

#[tokio::test]
async fn p2_a_password_is_written_when_its_value_changes_and_at_no_other_time() {
    let mut tenant = Tenant::with(ACME).await;
    tenant.secret("sales", GOOD).await;
    tenant.address("sales", "").await;
    tenant.address_ready("sales").await;
    let first = tenant.credential("sales").await;
    assert_eq!(first.0, 1);

    tenant.secret("sales", BETTER).await;
    let rotated = eventually(PATIENCE, "the new password is set", async || {
        let now = tenant.credential("sales").await;
        if now.0 == 2 { Ok(now) } else { Err(now) }
    })
    .await;
    tenant.address_ready("sales").await;
    assert!(dovecot_accepts(BETTER, &tenant.opens("sales").await.unwrap()));
    // P4: the last ones are refused.
    tenant.secret("sales", GOOD).await;
    tenant.refused("sales", "PasswordRefused", "used before").await;
    tenant.secret("sales", BETTER).await;
    tenant.address_ready("sales").await;
    assert_eq!(tenant.credential("sales").await, rotated);

    // The same value in another Secret, by another write; a second address that waits for its own tells when it was seen.
    tenant.secret_with("sales", "other", "noise", true).await;
    tenant.secret("sales", BETTER).await;
    tenant.secret("fence", GOOD).await;
    tenant.address("fence", "").await;
    tenant.address_ready("fence").await;
    assert_eq!(tenant.credential("sales").await, rotated);

    // P2: the fingerprint key is lost. The value is compared once, and only its fingerprint written.
    let settings = tenant.operator.settings();
    tenant.operator.terminate().await;
    let key = serde_json::to_value(ByteString(vec![7; 32])).unwrap();
    let lost = json!({"data": {"fingerprint-key": key}});
    tenant.cluster.patch("Secret", &settings.system_namespace, "mailroster", &lost).await;
    tenant.operator = Operator::start_with(settings).await;
    let renewed = eventually(PATIENCE, "the fingerprint is made with the new key", async || {
        let now = tenant.credential("sales").await;
        if now.2 == rotated.2 { Err(now) } else { Ok(now) }
    })
    .await;
    assert_eq!((renewed.0, &renewed.1), (rotated.0, &rotated.1), "no password was set");
    tenant.address_ready("sales").await;
}

#[tokio::test]
async fn p9_what_a_user_chose_counts_at_once_and_stands_until_the_secret_changes() {
    let tenant = Tenant::with(ACME).await;
    tenant.secret("info", GOOD).await;
    tenant.address("info", "").await;
    tenant.address_ready("info").await;
    let chosen = hash("Chosen-By-User-9");
    tenant.change("info", &chosen).await;
    assert_eq!(tenant.opens("info").await.unwrap(), chosen, "at once, whatever the controller does");
    let by = |who: &'static str| move |address: &Value| address["status"]["password"]["changedBy"] == who;
    let address = tenant.address_until("info", "changedBy User", by("User")).await;
    assert_eq!(condition(&address, "Ready").unwrap()["status"], "True");
    assert!(tenant.cluster.list("Event", &tenant.namespace).await.iter().all(|event| event["reason"] != "DriftCorrected"));

    tenant.cluster.annotate("EmailAddress", &tenant.namespace, "info", "mailroster.dev/requestedAt", "1").await;
    tenant.address_until("info", "the request is handled", |a| a["status"]["lastHandled"]["requestedAt"] == "1").await;
    assert_eq!(tenant.opens("info").await.unwrap(), chosen);

    // P2: under another key the value fits the last declared hash, so what the user chose stands.
    tenant.database.execute("UPDATE mailroster.credential SET key_id = 'lost', fingerprint = ''").await;
    tenant.cluster.annotate("EmailAddress", &tenant.namespace, "info", "mailroster.dev/requestedAt", "2").await;
    eventually(PATIENCE, "the fingerprint is renewed", async || {
        let now = tenant.credential("info").await;
        if now.2 == "lost" { Err(now) } else { Ok(()) }
    })
    .await;
    assert_eq!(tenant.opens("info").await.unwrap(), chosen);

    tenant.secret("info", BETTER).await;
    tenant.address_until("info", "changedBy Declared", by("Declared")).await;
    assert!(dovecot_accepts(BETTER, &tenant.opens("info").await.unwrap()));
}

#[tokio::test]
async fn p4_a_forced_change_acts_once_for_each_value_and_passwords_expire_unless_they_never_do() {
    let tenant = Tenant::with(ACME).await;
    tenant.apply("AccountSettings/default {password: {expiresAfterDays: 30}}").await;
    tenant.cluster.wait_ready("AccountSettings", &tenant.namespace, "default").await;
    for (name, more) in [("forced", ", forceChangeAtLogon: true"), ("expires", ""), ("never", ", neverExpires: true")] {
        tenant.secret(name, GOOD).await;
        tenant.address(name, more).await;
        tenant.address_ready(name).await;
    }
    let due = async || {
        let sql = "SELECT login || ' ' || reason FROM gateway.credential_change_v1 ORDER BY 1";
        sqlx::query_scalar::<_, String>(sql).fetch_all(&tenant.auth()).await.unwrap()
    };
    assert_eq!(due().await, ["forced@acme.example Forced"]);
    assert_eq!(tenant.opens("forced").await, None);
    tenant.change("forced", &hash(BETTER)).await;
    assert!(due().await.is_empty() && tenant.opens("forced").await.is_some());
    tenant.address_until("forced", "changedBy User", |a| a["status"]["password"]["changedBy"] == "User").await;
    assert!(due().await.is_empty(), "it acts once");
    tenant.secret("forced", "Another-Value-10").await;
    tenant.address_until("forced", "changedBy Declared", |a| a["status"]["password"]["changedBy"] == "Declared").await;
    assert_eq!(due().await, ["forced@acme.example Forced"], "a new value forces anew");

    let expires = tenant.address_until("expires", "expiresAt", |a| a["status"]["password"]["expiresAt"].is_string()).await;
    assert!(text(&expires["status"]["password"]["expiresAt"]) > text(&expires["status"]["password"]["setAt"]));
    tenant.database.move_clock(31 * 86_400).await;
    assert!(due().await.contains(&"expires@acme.example Expired".to_owned()));
    assert_eq!(tenant.opens("expires").await, None);
    assert!(tenant.opens("never").await.is_some());
    let never = tenant.cluster.get("EmailAddress", &tenant.namespace, "never").await.unwrap();
    assert!(never["status"]["password"]["expiresAt"].is_null());
}

#[tokio::test]
async fn p1_p6_a_password_beyond_ascii_warns_and_a_disabled_address_opens_nothing() {
    let tenant = Tenant::with(ACME).await;
    tenant.secret("it", "Grüne-Wiese-77").await;
    tenant.address("it", "").await;
    tenant.address_ready("it").await;
    assert!(dovecot_accepts("Grüne-Wiese-77", &tenant.opens("it").await.unwrap()));
    let warning = tenant.cluster.wait_event(&tenant.namespace, "it", "PasswordNotAscii").await;
    assert!(warning.contains("ASCII") && !warning.contains("Grüne"), "{warning}");

    tenant.cluster.patch("EmailAddress", &tenant.namespace, "it", &json!({"spec": {"disabled": true}})).await;
    let address = tenant.cluster.wait_condition("EmailAddress", &tenant.namespace, "it", "Disabled", "True").await;
    assert_eq!(condition(&address, "Disabled").unwrap()["reason"], "Declared");
    assert_eq!(condition(&address, "Ready").unwrap()["status"], "True", "C2");
    assert_eq!(tenant.opens("it").await, None);
    // V1: mail goes on, and so does the logon by another password.
    let mta = tenant.database.as_role("mailroster_mta");
    let action: Option<String> = sqlx::query_scalar("SELECT gateway.recipient_action_v1('it@acme.example')").fetch_one(&mta).await.unwrap();
    assert_eq!(action, None);
    tenant.cluster.patch("EmailAddress", &tenant.namespace, "it", &json!({"spec": {"disabled": false}})).await;
    tenant.cluster.wait_condition("EmailAddress", &tenant.namespace, "it", "Disabled", "False").await;
    assert!(tenant.opens("it").await.is_some());
}
