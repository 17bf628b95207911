//! The pure model: the product's own core, given all resources and all rows at once. It must ask for no change, and every verdict must be the
//! status that the resource has. What this finds is what batches, watches, retries and restarts got wrong; whether the core itself is
//! right is for [`crate::plain`] to say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::names::STAFF;
use crate::resources::name;
use crate::world::World;
use argon2::password_hash::PasswordVerifier as _;
use argon2::{Argon2, PasswordHash};
use base64::Engine as _;
use mailroster::model::{CanonicalAddress, DomainName, Kind, Secret};
use mailroster::operator::Seen;
use mailroster::plan::desired::{Declared, Offer, PasswordDeclared, Work};
use mailroster::plan::observed::Observed;
use mailroster::plan::settings::Settings;
use mailroster::plan::slice::{Roster, Slice};
use mailroster::plan::{Desired, Subject, plan};
use mailroster::store::{Location, Scope, Store};
use serde_json::{Value, json};

/// Counts follow within a minute (D3), a status that was refused after some ten seconds (C3).
const PATIENCE: Duration = Duration::from_mins(3);

/// Judges until nothing differs; what still does after a while is returned.
pub async fn judge_until(world: &mut World) -> Vec<String> {
    let end = Instant::now() + PATIENCE;
    let store = Store::open(&Location { url: world.database.url.clone(), password_file: None }, "soak").expect("a store");
    loop {
        crate::faults::attend_to_controller(world).await;
        let differences = judge(world, &store).await.unwrap_or_else(|error| vec![error]);
        if differences.is_empty() || Instant::now() > end {
            return differences.into_iter().take(40).map(|difference| format!("pure model: {difference}")).collect();
        }
        println!("the pure model sees {} differences, the first: {}", differences.len(), differences[0]);
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

async fn judge(world: &World, store: &Store) -> Result<Vec<String>, String> {
    let shown = world.resources.list_all().await?;
    let mut seen = Vec::new();
    for (kind, object) in &shown {
        seen.push((Seen::read(*kind, &object.to_string()).map_err(|error| format!("{kind} {}: {error}", name(object)))?, object));
    }
    let mut roster = Roster::default();
    for (seen, _) in &seen {
        roster.insert(seen.resource.clone());
    }
    let error = |error: mailroster::store::StoreError| error.to_string();
    let mut missing_in = BTreeSet::new();
    for namespace in &world.namespaces {
        for kind in Kind::ALL {
            let missing = store.unlisted_owners(kind, namespace, |key| roster.get(key).is_some()).await.map_err(error)?;
            missing_in.extend(missing.iter().map(|key| key.namespace.clone()));
            roster.sight(kind, namespace, missing);
        }
    }
    let scope = everything(world, &roster, store, missing_in).await?;
    let (observed, now) = store.observe(&scope).await.map_err(error)?;
    for (seen, _) in &seen {
        let key = &seen.resource.key;
        if let Ok(Declared::Address(declared)) = &seen.resource.declared
            && let Some(password) = &declared.password
        {
            let offer = offer(world, &observed, &key.namespace, declared.address.canonical(), password).await?;
            roster.set_offer(key, offer);
        }
    }
    let overdue = store.overdue(&scope.missing_in, 100_000).await.map_err(error)?;
    let mut desired = Desired { overdue, namespaces: uids(world, store).await?, ..roster.desired(&scope.slice) };
    roster.add_unreadable_owners(&mut desired, &observed);
    let plan = plan(&desired, &observed, now);
    let mut differences: Vec<String> = plan.changes.iter().map(|change| format!("it would change {change:?}")).collect();
    differences.extend(plan.passwords.iter().map(|work| format!("{} waits for its password", work.key)));
    for (seen, object) in &seen {
        let key = &seen.resource.key;
        let Some(verdict) = plan.verdicts.get(key) else {
            differences.push(format!("no verdict on {key}: does it lack its finalizer?"));
            continue;
        };
        if verdict.release {
            differences.push(format!("{key} may go and does not"));
        }
        let (must, is) = (comparable(&seen.status_under(verdict)), comparable(&object["status"]));
        if must != is {
            differences.push(format!("{key} must say {}", different(&must, &is)));
        }
    }
    Ok(differences)
}

/// A scope of all there is.
async fn everything(world: &World, roster: &Roster, store: &Store, missing_in: BTreeSet<String>) -> Result<Scope, String> {
    let keys: BTreeSet<_> = roster.resources().map(|resource| resource.key.clone()).collect();
    let mut subjects = store.owned(&keys).await.map_err(|error| error.to_string())?;
    for namespace in &world.namespaces {
        subjects.extend([Subject::Settings(namespace.clone()), Subject::Absences(namespace.clone())]);
    }
    let mut domains = BTreeSet::new();
    // The directory's tenant is judged by itself.
    let texts = async |sql: &str| {
        let rows = world.rows(sql).await?.into_iter().map(|row| row.into_iter().flatten().collect::<Vec<_>>());
        Ok::<_, String>(rows.filter(|row| !row.iter().any(|text| text.ends_with(STAFF))))
    };
    for row in texts("SELECT ARRAY[name] FROM mailroster.domain").await? {
        domains.insert(DomainName::from_store(&row[0]));
    }
    let addresses = "SELECT ARRAY[canonical] FROM mailroster.address UNION SELECT ARRAY[canonical] FROM mailroster.tombstone
        UNION SELECT ARRAY[key] FROM mailroster.learned_sender";
    for row in texts(addresses).await? {
        let address = CanonicalAddress::from_store(&row[0]);
        subjects.extend([Subject::Address(address.clone()), Subject::Link(address.clone()), Subject::Member(address)]);
    }
    let pairs = "SELECT ARRAY[r.canonical, m.canonical] FROM mailroster.delegation d JOIN mailroster.address r ON r.id = d.reader_id
        JOIN mailroster.address m ON m.id = d.mailbox_id";
    for row in texts(pairs).await? {
        subjects.insert(Subject::Pair(CanonicalAddress::from_store(&row[0]), CanonicalAddress::from_store(&row[1])));
    }
    for row in texts("SELECT ARRAY[namespace, name] FROM mailroster.role").await? {
        subjects.insert(Subject::Role(row[0].clone(), row[1].clone()));
    }
    subjects.extend(domains.iter().cloned().map(Subject::Domain));
    let mut slice = Slice { keys, subjects };
    roster.close(&mut slice);
    let leaving = roster.resources().filter(|resource| resource.deleting).filter_map(|resource| match &resource.declared {
        Ok(Declared::Domain(declared)) if declared.delete => Some(declared.domain.clone()),
        _ => None,
    });
    let purging = roster.purging(&slice);
    Ok(Scope {
        slice,
        count: domains,
        leaving: leaving.collect(),
        handing_over: BTreeSet::new(),
        purging,
        missing_in,
        entries: BTreeSet::new(),
    })
}

/// The uids that the engine would ask for.
async fn uids(world: &World, store: &Store) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    for namespace in &world.namespaces {
        if !store.namespaces_to_watch(namespace).await.map_err(|error| error.to_string())?.is_empty() {
            let home = world.cluster.get("Namespace", "", namespace).await.unwrap_or_default();
            found.insert(namespace.clone(), home["metadata"]["uid"].as_str().unwrap_or_default().to_owned());
        }
    }
    Ok(found)
}

/// What the Secret offers: a value whose hash is in the store is in force; any other must be one that the policy refuses.
async fn offer(
    world: &World,
    observed: &Observed,
    namespace: &str,
    address: &CanonicalAddress,
    password: &PasswordDeclared,
) -> Result<Offer, String> {
    let Some(secret) = world.resources.get("Secret", namespace, &password.secret).await? else {
        return Ok(Offer::Missing(String::new()));
    };
    if secret["metadata"]["labels"]["mailroster.dev/readable"] != "true" {
        return Ok(Offer::NotReadable(String::new()));
    }
    let Some(text) = secret["data"][&password.key].as_str() else { return Ok(Offer::Missing(String::new())) };
    let value = base64::engine::general_purpose::STANDARD.decode(text).map_err(|error| error.to_string())?;
    let sql =
        format!("SELECT ARRAY[phc] FROM mailroster.credential JOIN mailroster.address ON id = address_id WHERE canonical = '{address}'");
    let stored = world.rows(&sql).await?.into_iter().flatten().flatten().next();
    let in_force =
        stored.is_some_and(|phc| PasswordHash::new(&phc).is_ok_and(|hash| Argon2::default().verify_password(&value, &hash).is_ok()));
    if let (true, Some(row)) = (in_force, observed.credentials.get(address)) {
        return Ok(Offer::Value { fingerprint: row.fingerprint.clone(), key_id: row.key_id.clone(), work: Work::Open });
    }
    let rules: Settings = observed.settings(namespace);
    let work = match rules.password.check(&Secret::new(value)) {
        Err(rule) => Work::Refused(rule.to_string()),
        Ok(_) => Work::Open,
    };
    Ok(Offer::Value { fingerprint: Vec::new(), key_id: String::new(), work })
}

/// A status without what is no decision: times of transitions, words for people.
fn comparable(status: &Value) -> Value {
    let mut status = status.clone();
    if let Some(conditions) = status["conditions"].as_array_mut() {
        for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
            condition.remove("lastTransitionTime");
            condition.remove("message");
        }
        conditions.sort_by_key(|condition| condition["type"].as_str().unwrap_or_default().to_owned());
    }
    if let Some(blockers) = status["purge"]["blockers"].as_array_mut() {
        for blocker in blockers.iter_mut().filter_map(Value::as_object_mut) {
            blocker.remove("message");
        }
    }
    if status["purge"].is_null()
        && let Some(fields) = status.as_object_mut()
    {
        fields.remove("purge");
    }
    status
}

/// The fields and conditions in which two statuses differ.
fn different(must: &Value, is: &Value) -> String {
    let parts = |status: &Value| -> BTreeMap<String, Value> {
        let fields = status.as_object().into_iter().flatten().filter(|(field, _)| *field != "conditions");
        let mut found: BTreeMap<String, Value> = fields.map(|(field, value)| (field.clone(), value.clone())).collect();
        for condition in status["conditions"].as_array().into_iter().flatten() {
            found.insert(condition["type"].to_string(), json!([condition["status"], condition["reason"], condition["observedGeneration"]]));
        }
        found
    };
    let (must, is) = (parts(must), parts(is));
    let names: BTreeSet<_> = must.keys().chain(is.keys()).collect();
    let value = |of: &BTreeMap<String, Value>, name: &str| of.get(name).map_or_else(|| "nothing".to_owned(), Value::to_string);
    let differing = names.into_iter().filter(|name| must.get(*name) != is.get(*name));
    differing.map(|name| format!("{name}: {} and says {}", value(&must, name), value(&is, name))).collect::<Vec<_>>().join("; ")
}
