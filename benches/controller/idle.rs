//! A minute in which nothing happens: what the controller does all the same.

use std::time::Duration;

use anyhow::Result;

use crate::process;
use crate::report::Row;
use crate::stage::{self, Stage, Tenant};

pub async fn measure(stage: &mut Stage) -> Result<Vec<Row>> {
    // A quick look proves little; it is for finding out whether this runs.
    let minute = if stage.scale.quick { Duration::from_secs(10) } else { Duration::from_mins(1) };
    let tenant = stage.standing().await?;
    process::quiet(tenant.operator.pid()).await?;
    let (requests, transactions) = (requests(tenant).await?, transactions(tenant).await?);
    let before = process::processor_time(tenant.operator.pid())?;
    tokio::time::sleep(minute).await;
    let used = process::processor_time(tenant.operator.pid())?.saturating_sub(before);
    let (requests, transactions) = (self::requests(tenant).await? - requests, self::transactions(tenant).await? - transactions);
    let share = used.as_secs_f64() / minute.as_secs_f64() * 100.0;
    Ok(vec![
        Row::told(format!("idle with {} resources, share of one core", tenant.count), format!("{share:.2} %"))
            .wanted("under 0.50 %", share < 0.5),
        Row::told("idle, requests for our kinds at the API server", format!("{requests} in {} s", minute.as_secs()))
            .wanted("0", requests == 0),
        Row::told("idle, transactions in the store", format!("{:.1} a second", transactions as f64 / minute.as_secs_f64())),
    ])
}

/// Requests about our kinds that the API server has answered, whoever asked; a watch that ended and began anew is none.
async fn requests(tenant: &Tenant) -> Result<u64> {
    let client = stage::client(tenant.cluster.kubeconfig()).await?;
    let text = client.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
    let ours = |line: &&str| {
        line.starts_with("apiserver_request_total{") && line.contains("group=\"mailroster.dev\"") && !line.contains("verb=\"WATCH\"")
    };
    Ok(text.lines().filter(ours).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64)
}

async fn transactions(tenant: &Tenant) -> Result<u64> {
    let sql = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    Ok(tenant.database.text(sql).await.parse()?)
}
