//! Failed logons: the lock, its end, and what an attack must not set in motion (SPEC P5, P8, C4), on the real servers.

use crate::passwords::ACME;
use crate::support::eventually;
use crate::support::resources::condition;
use crate::support::wait::PATIENCE;
use crate::tenant::Tenant;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// That many wrong passwords for one address, each an event of its own.
async fn wrong(tenant: &Tenant, name: &str, times: i32) {
    let sql = "SELECT gateway.record_logon_v1(gen_random_uuid(), $1, 'wrong_password', 'imap') FROM generate_series(1, $2)";
    sqlx::query(sql).bind(format!("{name}@acme.example")).bind(times).execute(&tenant.auth()).await.expect("logons recorded");
}

async fn plain(tenant: &Tenant, name: &str) {
    tenant.apply(&format!("EmailAddress/{name} {{address: {name}@acme.example}}")).await;
}

fn version(resource: &Value) -> String {
    resource["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn p5_the_fifth_failure_locks_within_seconds_and_an_annotation_or_time_unlocks() {
    let tenant = Tenant::with(ACME).await;
    for name in ["sales", "canary"] {
        plain(&tenant, name).await;
        tenant.address_ready(name).await;
    }
    let locked = async |status: &str| tenant.cluster.wait_condition("EmailAddress", &tenant.namespace, "sales", "Locked", status).await;
    let before = locked("False").await;

    // P8: below the limit nobody is told. The canary's lock tells that the controller has seen what came before.
    wrong(&tenant, "sales", 4).await;
    wrong(&tenant, "canary", 5).await;
    tenant.cluster.wait_condition("EmailAddress", &tenant.namespace, "canary", "Locked", "True").await;
    let quiet = tenant.cluster.get("EmailAddress", &tenant.namespace, "sales").await.unwrap();
    assert_eq!(version(&quiet), version(&before));
    let failed = "SELECT failed_logons FROM mailroster.failure_state WHERE canonical = 'sales@acme.example'";
    assert_eq!(tenant.database.text(failed).await, "4");

    wrong(&tenant, "sales", 1).await;
    let committed = Instant::now();
    let address = locked("True").await;
    let took = committed.elapsed();
    assert!(took < Duration::from_secs(15), "C4: {took:?}");
    assert_eq!(condition(&address, "Locked").unwrap()["reason"], "TooManyFailedLogons");
    assert_eq!(condition(&address, "Ready").unwrap()["status"], "True", "C2");
    assert_eq!(address["status"]["lock"]["failedLogons"], 5);
    assert!(address["status"]["lock"]["lockedUntil"].is_string());
    let opens = "SELECT count(*) FROM gateway.logon_v1 WHERE login = 'sales@acme.example'";
    assert_eq!(tenant.database.text(opens).await, "0");
    tenant.cluster.wait_event(&tenant.namespace, "sales", "TooManyFailedLogons").await;

    tenant.cluster.annotate("EmailAddress", &tenant.namespace, "sales", "mailroster.dev/unlockAt", "now").await;
    let address = locked("False").await;
    assert_eq!(address["status"]["lastHandled"]["unlockAt"], "now");
    assert_eq!(address["status"]["lock"]["failedLogons"], 0);
    assert_eq!(tenant.database.text(opens).await, "1");
    wrong(&tenant, "sales", 4).await;
    assert_eq!(tenant.database.text(failed).await, "4", "the count began anew");
    assert_eq!(tenant.database.text(opens).await, "1");
    wrong(&tenant, "sales", 1).await;
    locked("True").await;

    // The lock ends with its time, and the condition follows without anybody's doing.
    tenant.database.move_clock(901).await;
    locked("False").await;
    assert_eq!(tenant.database.text(opens).await, "1");
    let audit = "SELECT string_agg(DISTINCT reason, ' ' ORDER BY reason) FROM mailroster.audit WHERE reason LIKE 'TooMany%'";
    assert_eq!(tenant.database.text(audit).await, "TooManyFailedLogons");
}

#[tokio::test]
async fn p8_an_attack_on_many_addresses_below_the_limit_writes_no_status_and_no_record() {
    let tenant = Tenant::with(ACME).await;
    let users: String = (0..500).fold(String::new(), |all, n| all + &format!("EmailAddress/user{n} {{address: user{n}@acme.example}}\n"));
    tenant.apply(&users).await;
    plain(&tenant, "canary").await;
    let state = async || {
        let all = tenant.cluster.list("EmailAddress", &tenant.namespace).await;
        let ready = |a: &Value| condition(a, "Ready").is_some_and(|condition| condition["status"] == "True");
        let waiting = all.iter().filter(|a| !ready(a)).count();
        let versions: BTreeMap<_, _> = all.iter().map(|a| (a["metadata"]["name"].to_string(), version(a))).collect();
        if waiting == 0 { Ok(versions) } else { Err(format!("{waiting} are not ready")) }
    };
    let mut before = eventually(PATIENCE * 2, "all are ready", state).await;
    let audit = "SELECT count(*) FROM mailroster.audit WHERE subject LIKE 'address user%'";
    let audited = tenant.database.text(audit).await;

    let attack = "SELECT gateway.record_logon_v1(gen_random_uuid(), 'user' || n % 500 || '@acme.example', 'wrong_password', 'imap')
                  FROM generate_series(1, 2000) n";
    sqlx::query(attack).execute(&tenant.auth()).await.expect("an attack");
    assert_eq!(tenant.database.text("SELECT count(*) FROM mailroster.change").await, "0");
    assert_eq!(tenant.database.text("SELECT sum(failed) FROM mailroster.logon").await, "2000");
    wrong(&tenant, "canary", 5).await;
    tenant.cluster.wait_condition("EmailAddress", &tenant.namespace, "canary", "Locked", "True").await;
    let mut after = state().await.unwrap();
    for versions in [&mut before, &mut after] {
        versions.remove("\"canary\"");
    }
    assert_eq!(before, after);
    assert_eq!(tenant.database.text(audit).await, audited);
    assert_eq!(tenant.database.text("SELECT count(*) FROM gateway.logon_v1").await, "500");
}
