//! From the commit of the wrong password that locks (SPEC P5) to Locked=True in a watching client's hands.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::report::{Row, milliseconds, percentile};
use crate::stage::{self, DOMAIN, Stage};

/// The default of AccountSettings: the fifth failure locks.
const BEFORE: i32 = 4;
const RECORD: &str = "SELECT gateway.record_logon_v1(gen_random_uuid(), $1, 'wrong_password', 'bench') FROM generate_series(1, $2)";

pub async fn measure(stage: &mut Stage) -> Result<Vec<Row>> {
    let samples = stage.scale.samples;
    let tenant = stage.standing().await?;
    let pool = tenant.database.as_role("mailroster_auth");
    let mut took = Vec::with_capacity(samples);
    for number in 0..samples {
        let name = stage::name(number);
        let address = format!("{name}@{DOMAIN}");
        sqlx::query(RECORD).bind(&address).bind(BEFORE).execute(&pool).await?;
        sqlx::query(RECORD).bind(&address).bind(1).execute(&pool).await?;
        let committed = Instant::now();
        let seen = tenant.addresses.until_one(&name, "Locked", stage::PATIENCE).await?;
        took.push(seen.saturating_duration_since(committed));
        stage::drift(number).await;
    }
    let (middle, high) = (percentile(&took, 0.5), percentile(&took, 0.99));
    Ok(vec![
        Row::told(format!("lock seen after its commit, p50 of {samples}"), milliseconds(middle))
            .wanted("under 50 ms", middle < Duration::from_millis(50)),
        Row::told("lock seen after its commit, p99", milliseconds(high)).wanted("under 250 ms", high < Duration::from_millis(250)),
    ])
}
