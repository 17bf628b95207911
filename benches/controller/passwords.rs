//! Ten thousand plain passwords from their Secrets into Postgres as argon2id hashes, beside what this machine hashes when it does
//! nothing else; and rights that are revoked meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::report::{Row, milliseconds, percentile, seconds};
use crate::revoke::Rights;
use crate::stage::{self, API_VERSION, DOMAIN, Stage, Tenant};

/// What the controller's hashes cost (`engine::passwords`, SPEC P1): the baseline's must cost the same.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
/// How long the bare hashing is measured, before and after.
const BARE: Duration = Duration::from_secs(5);
/// Passwords in a Secret, which may have 1 MB.
const IN_A_SECRET: usize = 1_000;

pub async fn measure(stage: &mut Stage) -> Result<Vec<Row>> {
    let count = stage.scale.resources;
    let mut tenant = stage.tenant().await?;
    // In force and waiting for their Secrets: what comes then is work on passwords alone.
    stage::create(tenant.cluster.kubeconfig(), &tenant.namespace, (0..count).map(|number| address("many", number))).await?;
    tenant.count = count * 2;
    stage::create(tenant.cluster.kubeconfig(), &tenant.namespace, (0..count).map(stage::address)).await?;
    tenant.addresses.until("Ready", count, stage::LONG).await?;
    in_store(&tenant, "SELECT count(*) FROM mailroster.address WHERE owner IS NOT NULL", count * 2).await?;
    let mut rights = Rights::grant(&mut tenant, stage.scale.samples.min(count / 4)).await?;
    crate::process::quiet(tenant.operator.pid()).await?;

    let before = bare_rate().await?;
    let begun = Instant::now();
    secrets(&tenant, "many", count).await?;
    let hashing = async {
        let in_store = async {
            in_store(&tenant, "SELECT count(*) FROM mailroster.credential", count).await?;
            anyhow::Ok(Instant::now())
        };
        // Those without a password say so from the start.
        tokio::try_join!(in_store, tenant.addresses.until("CredentialReady", count * 2, stage::LONG))
    };
    let mut hashing = std::pin::pin!(hashing);
    let mut revoked = Vec::new();
    let (stored, told) = loop {
        tokio::select! {
            ended = &mut hashing => break ended?,
            took = rights.revoke_in_a_while(), if rights.left() > 0 => revoked.push(took?),
        }
    };
    let bare = f64::midpoint(before, bare_rate().await?);
    ensure!(!revoked.is_empty(), "the passwords were hashed before a right could be revoked");
    let rate = |end: Instant| count as f64 / end.duration_since(begun).as_secs_f64();
    let (rate_stored, rate_told) = (rate(stored), rate(told));
    let (middle, high) = (percentile(&revoked, 0.5), percentile(&revoked, 0.99));
    Ok(vec![
        Row::told(format!("{count} plain passwords, from their Secrets into the store"), format!("{rate_stored:.1} a second"))
            .beside(format!("{bare:.1} a second"), rate_stored / bare)
            .wanted("at least 0.80", rate_stored / bare >= 0.8),
        Row::told(
            "the same until each has CredentialReady=True",
            format!("{rate_told:.1} a second, {}", seconds(told.duration_since(begun))),
        )
        .beside(format!("{bare:.1} a second"), rate_told / bare),
        Row::told(format!("delegation revoked meanwhile, p50 of {}", revoked.len()), milliseconds(middle)),
        Row::told("delegation revoked meanwhile, p99", milliseconds(high)).wanted("under 2 s", high < Duration::from_secs(2)),
        Row::told("of which until the API server had answered the DELETE, p99", rights.answered(revoked.len())),
    ])
}

/// Waits until a count in the store has come so far.
async fn in_store(tenant: &Tenant, sql: &str, count: usize) -> Result<()> {
    let end = Instant::now() + stage::LONG;
    loop {
        let found = tenant.database.text(sql).await;
        if found == count.to_string() {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{found} of {count}: {sql}; {}", tenant.operator.tail());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// An EmailAddress that takes its password from one of [`secrets`] of that name.
pub fn address(name: &str, number: usize) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": "EmailAddress", "metadata": {"name": format!("{name}{number}")},
        "spec": {
            "address": format!("{name}{number}@{DOMAIN}"),
            "password": {"secretRef": {"name": format!("{name}-{}", number / IN_A_SECRET), "key": format!("p{number}")}},
        },
    })
}

/// Secrets with `count` plain passwords that the default policy takes.
pub async fn secrets(tenant: &Tenant, name: &str, count: usize) -> Result<()> {
    let client = stage::client(tenant.cluster.kubeconfig()).await?;
    let numbers: Vec<_> = (0..count).collect();
    for (index, chunk) in numbers.chunks(IN_A_SECRET).enumerate() {
        let value = |number: &usize| ByteString(format!("Correct-Horse-{number}").into_bytes());
        let data: serde_json::Map<String, Value> =
            chunk.iter().map(|number| Ok((format!("p{number}"), serde_json::to_value(value(number))?))).collect::<Result<_>>()?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data,
            "metadata": {"name": format!("{name}-{index}"), "labels": {"mailroster.dev/readable": "true"}},
        });
        let request = http::Request::post(format!("/api/v1/namespaces/{}/secrets", tenant.namespace))
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&secret)?)?;
        client.request_text(request).await.context("failed to create a Secret")?;
    }
    Ok(())
}

/// Hashes a second on all cores of this machine, which does nothing else.
async fn bare_rate() -> Result<f64> {
    let cores = std::thread::available_parallelism()?.get();
    let threads: Vec<_> = (0..cores).map(|_| tokio::task::spawn_blocking(hash_for_a_while)).collect();
    let mut rate = 0.0;
    for thread in threads {
        rate += thread.await??;
    }
    Ok(rate)
}

fn hash_for_a_while() -> Result<f64> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|error| anyhow::anyhow!("{error}"))?;
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let begun = Instant::now();
    let mut hashes = 0;
    while begun.elapsed() < BARE {
        hasher.hash_password(b"Correct-Horse-7").map_err(|error| anyhow::anyhow!("{error}"))?;
        hashes += 1;
    }
    Ok(f64::from(hashes) / begun.elapsed().as_secs_f64())
}
