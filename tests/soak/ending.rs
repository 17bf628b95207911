//! The end of a run: faults end, what waits is approved or freed, and time passes until nothing is left to come.

use std::time::{Duration, Instant};

use crate::gateway::advance;
use crate::names::{DOMAINS, DOOMED};
use crate::resources::{is_deleting, name, namespace};
use crate::world::World;
use crate::{directory, faults};
use mailroster::model::Kind;
use serde_json::{Value, json};

/// Rounds of approving and waiting; each lets a day pass, and a day's share of ends (U6).
const ROUNDS: u32 = 40;
const STILL: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_mins(2);

/// Returns what would not come to rest.
pub async fn come_to_rest(world: &mut World) -> Vec<String> {
    println!("\nThe faults end.");
    faults::stop(world).await;
    let quick = json!({"purge": {"delay": "0s", "heldMailReports": "NotRequired"}});
    for home in world.namespaces.clone() {
        while world.resources.apply("AccountSettings", &home, "default", &quick).await.is_err() {
            tokio::time::sleep(STILL).await;
        }
    }
    let mut left = Vec::new();
    for round in 1..=ROUNDS {
        faults::attend_to_controller(world).await;
        // Mail queues report all the time; they hold nothing any more.
        for queue in ["mx1", "mx2"] {
            retry(world, &format!("SELECT gateway.record_held_v1('{queue}', '[]')")).await;
        }
        stand_still(world).await;
        left = match open_ends(world).await {
            Ok(left) => left,
            Err(error) => vec![error],
        };
        println!("round {round}: {} open ends {}", left.len(), left.first().cloned().unwrap_or_default());
        if left.is_empty() && round > 2 {
            return Vec::new();
        }
        drop(advance(world, 90_000).await);
    }
    left.into_iter().take(30).map(|end| format!("it did not come to rest: {end}")).collect()
}

async fn retry(world: &World, sql: &str) {
    while let Err(error) = world.run(&world.database.pool, sql).await {
        println!("{sql}: {error}");
        tokio::time::sleep(STILL).await;
    }
}

/// Does what people would have to do for what is open, and says what that is.
async fn open_ends(world: &mut World) -> Result<Vec<String>, String> {
    let all = world.resources.list_all().await?;
    let mut left = Vec::new();
    // The plans that wait are told by the InternalDomains: all are declared, unless one is going.
    for (domain, home) in DOMAINS {
        let (home, resource) = (world.namespaces[home].clone(), domain.replace('.', "-"));
        let found = all.iter().find(|(kind, o)| *kind == Kind::InternalDomain && namespace(o) == home && name(o) == resource);
        if found.is_none_or(|(_, o)| !is_deleting(o) && (o["spec"]["suspend"] == true || o["spec"]["deletionPolicy"] == "Delete")) {
            left.push(format!("InternalDomain {domain} is not declared"));
            world.resources.apply("InternalDomain", &home, &resource, &json!({"domain": domain})).await?;
        }
    }
    for (kind, object) in &all {
        if let Some(hash) = object["status"]["heldPlan"]["hash"].as_str() {
            left.push(format!("{kind} {} holds {}", name(object), object["status"]["heldPlan"]));
            world.resources.annotate(kind.as_str(), namespace(object), name(object), "approve", hash).await?;
        }
        if is_deleting(object) {
            let ready = crate::support::resources::condition(object, "Ready").unwrap_or_default();
            left.push(format!("{kind} {} is not gone: {} {}", name(object), ready["reason"], ready["message"]));
            free(world, &all, object).await?;
        }
    }
    let rows = world
        .rows("SELECT ARRAY[action, canonical, held::text, since::text] FROM mailroster.waiting JOIN mailroster.address ON id = address_id")
        .await?;
    left.extend(rows.into_iter().map(|row| format!("waiting: {}", row.into_iter().flatten().collect::<Vec<_>>().join(" "))));
    let absent = "SELECT ARRAY[kind, name, held::text, since::text] FROM mailroster.absence WHERE ended_at IS NULL";
    left.extend(
        world.rows(absent).await?.into_iter().map(|row| format!("absent: {}", row.into_iter().flatten().collect::<Vec<_>>().join(" "))),
    );
    left.extend(directory::open_ends(world).await?);
    Ok(left)
}

/// Takes away what keeps a resource from going: the roles and links of an address, the addresses of a domain.
async fn free(world: &World, all: &[(Kind, Value)], object: &Value) -> Result<(), String> {
    let spec = &object["spec"];
    let blocked = match (spec["address"].as_str(), spec["domain"].as_str()) {
        (Some(address), _) => address.to_lowercase(),
        (_, Some(domain)) => format!("@{domain}"),
        _ => return Ok(()),
    };
    let names = |text: &Value| text.as_str().is_some_and(|text| text.to_lowercase().ends_with(&blocked));
    for (kind, other) in all.iter().filter(|(_, other)| !is_deleting(other) && !name(other).starts_with("stead")) {
        let spec = &other["spec"];
        let in_the_way = match kind {
            Kind::AdminRole => spec["members"].as_array().is_some_and(|members| members.iter().any(names)),
            Kind::AliasLink => names(&spec["alias"]) || names(&spec["primary"]),
            Kind::EmailAddress => blocked == format!("@{DOOMED}") && names(&spec["address"]),
            _ => false,
        };
        if in_the_way {
            world.resources.delete(kind.as_str(), namespace(other), name(other)).await?;
        }
    }
    Ok(())
}

/// What changes with every write of the controller.
async fn footprint(world: &World) -> Result<String, String> {
    let mut versions: Vec<String> = Vec::new();
    let all = world.resources.list_all().await?.into_iter().chain(world.directory.resources.list_all().await?);
    for (kind, object) in all {
        versions.push(format!("{kind}/{}/{}={}", namespace(&object), name(&object), object["metadata"]["resourceVersion"]));
    }
    let rows = world.rows("SELECT ARRAY[batches::text] FROM mailroster.installation").await?;
    versions.extend(rows.into_iter().flatten().flatten().map(|batches| format!("batches={batches}")));
    Ok(versions.join("\n"))
}

/// Waits until neither the store nor a resource is written, for a moment.
async fn stand_still(world: &World) {
    let (mut last, mut since, end) = (Err(String::new()), Instant::now(), Instant::now() + PATIENCE);
    while Instant::now() < end && since.elapsed() < STILL {
        tokio::time::sleep(STILL / 4).await;
        let now = footprint(world).await;
        if now != last || now.is_err() {
            (last, since) = (now, Instant::now());
        }
    }
}

/// C3: nothing is written any more.
pub async fn stands_still(world: &World) -> Vec<String> {
    let before = footprint(world).await.unwrap_or_default();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let after = footprint(world).await.unwrap_or_default();
    after
        .lines()
        .filter(|line| !before.lines().any(|old| old == *line))
        .map(|line| format!("it does not stand still: {line}"))
        .take(10)
        .collect()
}
