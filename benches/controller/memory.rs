//! What the controller holds in memory: at the start, and for each resource more.

use anyhow::{Context as _, Result};

use crate::process;
use crate::report::{Row, megabytes};
use crate::stage::{Stage, Tenant};

pub async fn measure(stage: &mut Stage) -> Result<Vec<Row>> {
    let tenant = stage.standing().await?;
    let start = tenant.at_start.context("a start")?;
    let mut rows =
        vec![Row::told("memory at the start (resident)", megabytes(start.resident)).wanted("at most 40 MB", start.resident <= 40_000_000)];
    rows.extend(with_resources(tenant)?);
    if stage.scale.long {
        let mut tenant = stage.tenant().await?;
        tenant.converge(stage.scale.resources * 5).await?;
        process::quiet(tenant.operator.pid()).await?;
        rows.extend(with_resources(&tenant)?);
    }
    Ok(rows)
}

/// Of a controller that has lived through the convergence of its resources.
fn with_resources(tenant: &Tenant) -> Result<Vec<Row>> {
    let start = tenant.at_start.context("a start")?;
    let now = process::memory(tenant.operator.pid())?;
    let each = |bytes: u64| bytes.saturating_sub(start.resident) as f64 / tenant.count as f64;
    let (held, peak) = (each(now.resident), each(now.peak));
    Ok(vec![
        Row::told(format!("memory with {} resources (resident)", tenant.count), format!("{}, {held:.0} B each", megabytes(now.resident)))
            .wanted("at most 3,000 B each (aim 2,000)", held <= 3_000.0),
        Row::told(format!("memory with {} resources (peak)", tenant.count), format!("{}, {peak:.0} B each", megabytes(now.peak))),
    ])
}
