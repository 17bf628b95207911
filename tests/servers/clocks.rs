//! The controller's own clock, which no rule reads: what is locked, delayed or about to expire follows the store's time (SPEC C12).

use std::path::PathBuf;

use crate::support::operator::Settings;
use crate::support::{self, Operator, folder, tools};
use crate::tenant::Tenant;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

const DECLARED: &str = "
    InternalDomain/acme {domain: acme.example}
    AccountSettings/default {password: {expiresAfterDays: 2}, purge: {delay: 1h, heldMailReports: NotRequired}}
    EmailAddress/sales {address: sales@acme.example}
    EmailAddress/desk {address: desk@acme.example, password: {secretRef: {name: desk, key: password}}}";

/// The clock of one process, which can be set while it runs.
struct Clock(PathBuf);

impl Clock {
    /// `shift`: what libfaketime reads, `-1h` for instance.
    fn set(&self, shift: &str) {
        std::fs::write(&self.0, format!("{shift}\n")).expect("set the clock");
    }

    fn environment(&self) -> Vec<(String, String)> {
        let (library, file) = (tools::faketime().display().to_string(), self.0.display().to_string());
        // Monotonic clocks go on as they are, as they do when an administrator sets the time.
        [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}

fn time(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("not a time: {value}"))
}

/// The store's time now.
async fn now(tenant: &Tenant) -> Timestamp {
    let sql = "SELECT to_char(mailroster.now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
    tenant.database.text(sql).await.parse().expect("a time")
}

/// Whether mail servers see a logon of that address.
async fn opens(tenant: &Tenant, name: &str) -> bool {
    let sql = format!("SELECT count(*) FROM gateway.credential_v1 WHERE login = '{name}@acme.example'");
    tenant.database.text(&sql).await == "1"
}

#[tokio::test]
async fn c12_locks_delays_and_expiry_follow_the_store_when_the_controllers_clock_goes_an_hour_back_and_forward() {
    let cluster = support::control_plane().await;
    let (namespace, database) = tokio::join!(support::fresh_namespace(), support::fresh_database());
    let clock = Clock(folder::own("clock").join("shift"));
    clock.set("+0");
    let mut settings = Settings::new(cluster, &database, &[&namespace]).await;
    let mut second = settings.clone();
    settings.environment = clock.environment();
    let tenant = Tenant { cluster, namespace, database, operator: Operator::start_with(settings).await };
    tenant.secret("desk", "Correct-Horse-7").await;
    tenant.apply(DECLARED).await;
    tenant.ready(DECLARED).await;
    second.environment.clear();
    let second = Operator::start_with(second).await;
    second.says("waiting for its Lease").await;

    for (name, shift, hours) in [("back", "-1h", -1), ("forward", "+1h", 1)] {
        let (leaver, left) = (format!("EmailAddress/leaver-{name}"), format!("left-{name}"));
        let both = format!(
            "{leaver} {{address: leaver-{name}@acme.example, deletionPolicy: Purge}}\nEmailAddress/{left} {{address: {left}@acme.example}}"
        );
        tenant.apply(&both).await;
        tenant.ready(&both).await;
        // Locked, to be purged and to be shut before the clock is set, and looked at by a plan after that.
        let wrong =
            "SELECT gateway.record_logon_v1(gen_random_uuid(), 'sales@acme.example', 'wrong_password', 'imap') FROM generate_series(1, 5)";
        sqlx::query(wrong).execute(&tenant.auth()).await.expect("five logons");
        tenant.condition("EmailAddress/sales", "Locked", "True TooManyFailedLogons").await;
        tenant.delete(&leaver).await;
        let purge = tenant.status(&leaver, "its purge waits", |status| status["purge"]["notBefore"].is_string()).await["purge"].clone();
        assert_eq!(time(&purge["notBefore"]).duration_since(time(&purge["requestedAt"])), SignedDuration::from_hours(1));
        clock.set(shift);
        tenant.delete(&format!("EmailAddress/{left}")).await;
        let probe = format!("EmailAddress/probe-{name} {{address: probe-{name}@acme.example}}");
        tenant.apply(&probe).await;
        tenant.ready(&probe).await;
        tenant.annotate("EmailAddress/sales", "requestedAt", name).await;
        let sales = tenant.handled("EmailAddress/sales", "requestedAt", name).await;

        // The clock is another one: a stamp for people tells.
        let found = tenant.get(&format!("EmailAddress/probe-{name}")).await.unwrap();
        let stamp = time(&support::resources::condition(&found, "Ready").unwrap()["lastTransitionTime"]);
        let ahead = stamp.duration_since(time(&found["metadata"]["creationTimestamp"]));
        assert!((ahead - SignedDuration::from_hours(hours)).abs() < SignedDuration::from_mins(10), "{ahead:?}");
        // Nothing came sooner or later for it.
        let left_of_lock = time(&sales["lock"]["lockedUntil"]).duration_since(now(&tenant).await);
        assert!(left_of_lock.is_positive() && left_of_lock <= SignedDuration::from_mins(15), "{left_of_lock:?}");
        assert!(tenant.get(&leaver).await.is_some());
        assert!(opens(&tenant, "desk").await);

        tenant.quiet(&[&format!("Shut {left}@acme.example"), &format!("Purge leaver-{name}@acme.example")]).await;
        tenant.until(&format!("SELECT shut FROM mailroster.address WHERE canonical = '{left}@acme.example'"), &["true"]).await;
        tenant.database.move_clock(901).await;
        tenant.condition("EmailAddress/sales", "Locked", "False NotLocked").await;
        assert!(tenant.get(&leaver).await.is_some());
        tenant.database.move_clock(2_700).await;
        tenant.gone(&leaver).await;
        assert!(opens(&tenant, "desk").await);
    }
    let password = tenant.status("EmailAddress/desk", "expiresAt", |status| status["password"]["expiresAt"].is_string()).await;
    let password = &password["password"];
    assert_eq!(time(&password["expiresAt"]).duration_since(time(&password["setAt"])), SignedDuration::from_hours(48));
    tenant.database.move_clock(2 * 86_400).await;
    assert!(!opens(&tenant, "desk").await);
    // A Lease is judged by monotonic clocks.
    assert_eq!((tenant.operator.metric("mailroster_leader").await, second.metric("mailroster_leader").await), (Some(1.0), Some(0.0)));
}
