//! Runs that ask the server what changed since the last one: nothing, and a hundred people.

use std::time::Duration;

use crate::report::{Row, median, milliseconds};
use crate::source::{ALL, Source};
use crate::stage::Stage;
use crate::support::folder;
use crate::support::postgres::Postgres;

const RUNS: usize = 5;
const CHANGES: usize = 100;
const SMALL: usize = 1_000;

/// Of a stage that has read everything by full runs.
pub async fn of(stage: &mut Stage, source: &Source, what: &str, mechanism: &str) -> Vec<Row> {
    stage.run("Auto").await;
    let mut without = Vec::new();
    let mut bare = Vec::new();
    for _ in 0..RUNS {
        if let Source::ActiveDirectory(_) = source {
            bare.push(source.search_changes());
        }
        without.push(stage.run("Auto").await);
        assert_eq!(stage.mode().await, mechanism);
    }
    let mut with = Vec::new();
    for round in 0..RUNS {
        source.change(round, CHANGES);
        with.push(stage.run("Auto").await);
        assert_eq!(stage.mode().await, mechanism);
    }
    let aliases = "SELECT count(*) FROM mailroster.link l JOIN mailroster.address a ON a.id = l.alias_id WHERE a.canonical LIKE 'c%'";
    assert_eq!(stage.database.text(aliases).await, (RUNS * CHANGES).to_string(), "all changes came");
    let (without, with) = (median(without).expect("runs"), median(with).expect("runs"));
    let row = Row::told(format!("incremental run without changes, {what}, median of {RUNS}"), milliseconds(without));
    let row = match median(bare) {
        Some(bare) => row
            .beside(format!("{} bare query", milliseconds(bare)), without.as_secs_f64() / bare.as_secs_f64())
            .wanted("at most 1.50", without.as_secs_f64() <= bare.as_secs_f64() * 1.5),
        None => row.wanted("under 50 ms", without < Duration::from_millis(50)),
    };
    let more = with.saturating_sub(without);
    vec![
        row,
        Row::told(format!("the same after {CHANGES} entries got another alias"), milliseconds(with))
            .wanted("under 200 ms more", more < Duration::from_millis(200)),
    ]
}

/// Of a thousand people, of an OpenLDAP server and, for root, of a Samba domain controller.
pub async fn of_few(postgres: &Postgres) -> Vec<Row> {
    let slapd = Source::open_ldap(&folder::own("small"), SMALL).await;
    let mut rows = of_fresh(postgres, &slapd, &format!("{SMALL} users"), "SyncRepl").await;
    if rustix::process::geteuid().is_root() {
        let samba = Source::active_directory(&folder::own("controller"), SMALL).await;
        rows.extend(of_fresh(postgres, &samba, &format!("{SMALL} users of a Samba domain controller"), "UpdateSequenceNumber").await);
    }
    rows
}

async fn of_fresh(postgres: &Postgres, source: &Source, what: &str, mechanism: &str) -> Vec<Row> {
    let mut stage = Stage::set(postgres).await;
    stage.first_run(source, ALL, async || tokio::time::sleep(Duration::from_millis(100)).await).await;
    of(&mut stage, source, what, mechanism).await
}
