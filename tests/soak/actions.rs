//! What people do to resources: weighted chance, one action at a time. Their answers may be refusals; the models look at what stands.

use crate::names::{self, DOMAINS, DOOMED, percent, pick};
use crate::resources::{is_deleting, name};
use crate::world::World;
use crate::{directory, gateway};
use mailroster::model::Kind;
use serde_json::{Value, json};

/// Addresses with a lower number may take their password from a Secret.
const WITH_PASSWORDS: u64 = 8;

pub async fn one(world: &mut World) {
    match world.dice.below(100) {
        0..22 => address(world).await,
        22..31 => link(world).await,
        31..39 => pair(world).await,
        39..43 => directory::one(world).await,
        43..48 => role(world).await,
        48..50 => settings(world).await,
        50..53 => domain(world).await,
        53..64 => delete_one(world).await,
        64..66 => delete_several(world).await,
        66..71 => annotate(world).await,
        71..75 => approve(world).await,
        75..79 => secret(world).await,
        79..85 => gateway::logon(world).await,
        85..88 => gateway::held(world).await,
        88..91 => gateway::sender(world).await,
        91..93 => gateway::reset_code(world).await,
        93 => gateway::change_password(world).await,
        94..96 => gateway::hand(world).await,
        96 => gateway::clock(world).await,
        97 => tear(world).await,
        _ => look(world).await,
    }
}

/// Mostly the domain's own tenant; the other one is refused.
fn namespace(world: &mut World, home: usize) -> String {
    let home = if percent(&mut world.dice, 4) { 1 - home } else { home };
    world.namespaces[home].clone()
}

async fn apply(world: &mut World, kind: &str, namespace: &str, name: &str, mut spec: Value) {
    if kind != "AccountSettings" && percent(&mut world.dice, 4) {
        spec["suspend"] = json!(true);
    }
    let done = world.resources.apply(kind, namespace, name, &spec).await;
    let side = if namespace == world.namespaces[0] { "a" } else { "b" };
    world.note(&format!("apply {kind}"), &format!("{side}/{name} {spec}"), &done);
}

async fn address(world: &mut World) {
    let (domain, home) = names::domain(&mut world.dice);
    let namespace = namespace(world, home);
    let local = names::mailbox(&mut world.dice);
    let address = format!("{local}@{domain}");
    let dice = &mut world.dice;
    let name = names::resource(dice, &address);
    let spelt = if percent(dice, 20) { address.to_uppercase() } else { address };
    // Whether a spelling is one is part of what is judged.
    let spelt =
        if percent(dice, 2) { (*pick(dice, &["no address", "\"quoted\"@d0.example", "dot.@d0.example"])).to_owned() } else { spelt };
    let mut spec = json!({"address": spelt});
    if percent(dice, 50) {
        spec["displayName"] = json!(format!("Name {}", dice.below(5)));
    }
    if percent(dice, 30) {
        spec["attributes"] = json!({"room": dice.below(9).to_string()});
    }
    if percent(dice, 25) {
        spec["disabled"] = json!(percent(dice, 50));
    }
    if percent(dice, 25) {
        spec["access"] = json!({"smtpSubmission": percent(dice, 50), "pop": percent(dice, 50)});
    }
    if percent(dice, 15) {
        spec["archiveStartDate"] = json!(format!("2026-01-{:02}", 1 + dice.below(28)));
    }
    if percent(dice, 35) {
        spec["deletionPolicy"] = json!("Purge");
    }
    if percent(dice, 15) {
        spec["adoptionPolicy"] = json!("Fail");
    }
    let number = local.trim_start_matches(char::is_alphabetic).parse::<u64>().unwrap_or(WITH_PASSWORDS);
    if local.starts_with('u') && number < WITH_PASSWORDS && percent(dice, 70) {
        spec["password"] =
            json!({"secretRef": {"name": format!("pw-{local}-{domain}"), "key": "password"}, "neverExpires": percent(dice, 30)});
    }
    apply(world, "EmailAddress", &namespace, &name, spec).await;
}

async fn link(world: &mut World) {
    let (domain, home) = names::domain(&mut world.dice);
    let namespace = namespace(world, home);
    let dice = &mut world.dice;
    let alias = format!("{}@{domain}", names::alias(dice));
    let (other, _) = if percent(dice, 15) { names::domain(dice) } else { (domain, home) };
    let primary = if percent(dice, 2) { alias.clone() } else { format!("{}@{other}", names::mailbox(dice)) };
    let mut spec = json!({"alias": alias, "primary": primary});
    if percent(dice, 15) {
        spec["crossDomain"] = json!(true);
    }
    if percent(dice, 30) {
        spec["takeOverMailbox"] = json!(true);
    }
    let name = names::resource(dice, &alias);
    apply(world, "AliasLink", &namespace, &name, spec).await;
}

async fn pair(world: &mut World) {
    let (domain, home) = names::domain(&mut world.dice);
    let namespace = namespace(world, home);
    let dice = &mut world.dice;
    let (other, _) = if percent(dice, 20) { names::domain(dice) } else { (domain, home) };
    let reader = format!("{}@{domain}", names::mailbox(dice));
    let mailbox = format!("{}@{other}", if percent(dice, 5) { names::alias(dice) } else { names::mailbox(dice) });
    // Few names, so that many an apply moves an existing delegation to another pair (C10).
    let name = format!("pair{}", dice.below(40));
    apply(world, "DelegateMailbox", &namespace, &name, json!({"reader": reader, "mailbox": mailbox})).await;
}

async fn role(world: &mut World) {
    let (domain, home) = names::domain(&mut world.dice);
    let namespace = namespace(world, home);
    let dice = &mut world.dice;
    let mut members: Vec<String> = (0..dice.below(4)).map(|_| format!("{}@{domain}", names::mailbox(dice))).collect();
    members.sort();
    members.dedup();
    let mut spec = json!({"members": members});
    if percent(dice, 70) {
        spec["builtIn"] = json!(pick(dice, &["HelpDesk", "FullAdministrator", "BasicAdministrator", "DiscoveryOfficer"]));
    } else {
        spec["permissions"] = json!(["addresses.read", "delegates.write"]);
    }
    let name = format!("role{}", dice.below(6));
    apply(world, "AdminRole", &namespace, &name, spec).await;
}

async fn settings(world: &mut World) {
    let namespace = pick(&mut world.dice, &world.namespaces).clone();
    let dice = &mut world.dice;
    let spec = json!({
        "password": {"minLength": pick(dice, &[8, 12, 18]), "requireDigit": percent(dice, 50), "expiresAfterDays": pick(dice, &[0, 0, 1, 90])},
        "lockout": {"failedLogons": pick(dice, &[2, 3, 5]), "duration": pick(dice, &["10s", "1m", "15m"])},
        "passwordReset": {"failedCodes": pick(dice, &[3, 10])},
        "purge": {"delay": pick(dice, &["0s", "1s", "5s", "2m"]), "heldMailReports": pick(dice, &["Required", "NotRequired"])},
        "deletionGuard": {"maxPercent": pick(dice, &[0, 10, 50]), "minCount": pick(dice, &[1, 3, 10])},
        "hideConfidential": percent(dice, 50),
    });
    if percent(&mut world.dice, 15) {
        let done = world.resources.delete("AccountSettings", &namespace, "default").await;
        world.note("delete AccountSettings", "default", &done);
    } else {
        apply(world, "AccountSettings", &namespace, "default", spec).await;
    }
}

async fn domain(world: &mut World) {
    let (domain, home) = *pick(&mut world.dice, &DOMAINS);
    let (ours, theirs) = (world.namespaces[home].clone(), world.namespaces[1 - home].clone());
    let dice = &mut world.dice;
    let name = domain.replace('.', "-");
    let nobodys = *pick(dice, &["co.uk", "localdomain", "a..b"]);
    match dice.below(10) {
        // Whoever else wants it, or a part of it, or what nobody may have.
        0 => return apply(world, "InternalDomain", &theirs, &name, json!({"domain": domain})).await,
        1 => return apply(world, "InternalDomain", &theirs, &format!("sub-{name}"), json!({"domain": format!("sub.{domain}")})).await,
        2 => {
            return apply(world, "InternalDomain", &ours, "nobodys", json!({"domain": nobodys})).await;
        }
        _ => {}
    }
    // What nobody touches must be accepted throughout in the domains where it is.
    let modes: &[&str] = if domain == DOOMED { &["Known", "Any", "None", "Directory"] } else { &["Known", "Known", "Any"] };
    let mut spec = json!({
        "domain": domain, "recipientValidation": pick(dice, modes), "unknownRecipients": pick(dice, &["Reject", "Defer"]),
        "learnSenders": percent(dice, 80), "subAddressing": pick(dice, &["", "+"]),
    });
    if percent(dice, 50) {
        spec["postmaster"] = json!(format!("{}@{domain}", names::mailbox(dice)));
    }
    if domain == DOOMED && percent(dice, 60) {
        spec["deletionPolicy"] = json!("Delete");
    }
    apply(world, "InternalDomain", &ours, &name, spec).await;
}

/// Resources that may be touched, of a kind or all.
async fn touchable(world: &World, kind: Option<Kind>) -> Result<Vec<(Kind, String, Value)>, String> {
    let mut found = Vec::new();
    for namespace in &world.namespaces {
        for each in Kind::ALL.into_iter().filter(|each| kind.is_none_or(|kind| kind == *each)) {
            let list = world.resources.list(each.as_str(), namespace).await?;
            found.extend(list.into_iter().filter(|o| !name(o).starts_with("stead")).map(|o| (each, namespace.clone(), o)));
        }
    }
    Ok(found)
}

async fn some(world: &mut World, kind: Option<Kind>) -> Option<(Kind, String, Value)> {
    let found = touchable(world, kind).await.unwrap_or_default();
    (!found.is_empty()).then(|| pick(&mut world.dice, &found).clone())
}

fn any_kind(world: &mut World) -> Kind {
    let dice = &mut world.dice;
    *pick(dice, &[Kind::EmailAddress, Kind::EmailAddress, Kind::AliasLink, Kind::DelegateMailbox, Kind::AdminRole, Kind::InternalDomain])
}

async fn delete_one(world: &mut World) {
    let kind = any_kind(world);
    if let Some((kind, namespace, object)) = some(world, Some(kind)).await {
        delete(world, kind, &namespace, &object).await;
    }
}

async fn delete_several(world: &mut World) {
    let kind = any_kind(world);
    let found = touchable(world, Some(kind)).await.unwrap_or_default();
    for (kind, namespace, object) in found {
        if percent(&mut world.dice, 20) {
            delete(world, kind, &namespace, &object).await;
        }
    }
}

async fn delete(world: &mut World, kind: Kind, namespace: &str, object: &Value) {
    let stays = kind == Kind::EmailAddress && stays_retained(world, namespace, object).await;
    let done = world.resources.delete(kind.as_str(), namespace, name(object)).await;
    if kind == Kind::EmailAddress {
        let address = object["spec"]["address"].as_str().unwrap_or_default().to_lowercase();
        if stays && done.is_ok() {
            world.retained.insert(address);
        } else if object["spec"]["deletionPolicy"] == "Purge" {
            world.retained.remove(&address);
        }
    }
    world.note(&format!("delete {kind}"), name(object), &done);
}

/// Whether it is in force, alone, and its deletion must leave the address: then the address stays for ever, but for a later purge.
async fn stays_retained(world: &World, namespace: &str, object: &Value) -> bool {
    let spec = &object["spec"];
    let address = spec["address"].as_str().unwrap_or_default().to_lowercase();
    let ready = crate::support::resources::condition(object, "Ready").unwrap_or_default();
    let current =
        ready["status"] == "True" && ready["observedGeneration"] == object["metadata"]["generation"] && ready["reason"] == "Succeeded";
    if !names::is_strict(&address) || spec["deletionPolicy"] != "Retain" || is_deleting(object) || !current {
        return false;
    }
    let all = world.resources.list("EmailAddress", namespace).await.unwrap_or_default();
    all.iter().filter(|other| other["spec"]["address"].as_str().unwrap_or_default().to_lowercase() == address).count() == 1
}

async fn annotate(world: &mut World) {
    let kind = any_kind(world);
    let Some((kind, namespace, object)) = some(world, Some(kind)).await else { return };
    let token = format!("t{}", world.next_serial());
    let (action, token) = match kind {
        Kind::EmailAddress => (*pick(&mut world.dice, &["unlockAt", "unlockAt", "resetCodesAt", "requestedAt"]), token),
        Kind::InternalDomain if percent(&mut world.dice, 50) => {
            let address = format!("{}@{}", names::mailbox(&mut world.dice), object["spec"]["domain"].as_str().unwrap_or_default());
            (*pick(&mut world.dice, &["unlock", "resetCodes"]), format!("{address} {token}"))
        }
        _ => ("requestedAt", token),
    };
    let done = world.resources.annotate(kind.as_str(), &namespace, name(&object), action, &token).await;
    world.note(&format!("annotate {action}"), &format!("{} {token}", name(&object)), &done);
}

/// The hash that a status shows now, or a stale one.
async fn approve(world: &mut World) {
    let kind = *pick(&mut world.dice, &[Kind::InternalDomain, Kind::InternalDomain, Kind::AccountSettings]);
    let Ok(found) = touchable(world, Some(kind)).await else { return };
    let holding: Vec<_> = found.into_iter().filter(|(.., object)| object["status"]["heldPlan"]["hash"].is_string()).collect();
    if holding.is_empty() {
        return;
    }
    let (kind, namespace, object) = pick(&mut world.dice, &holding).clone();
    let stale = percent(&mut world.dice, 25);
    let hash = if stale { "0123456789abcdef" } else { object["status"]["heldPlan"]["hash"].as_str().unwrap_or_default() };
    let done = world.resources.annotate(kind.as_str(), &namespace, name(&object), "approve", hash).await;
    let count = &object["status"]["heldPlan"]["count"];
    let what = if stale { "approve a stale hash" } else { "approve" };
    world.note(what, &format!("{kind} {} {hash} of {count}", name(&object)), &done);
}

/// A Secret comes, changes, loses its label, gets it back, goes.
async fn secret(world: &mut World) {
    let (domain, home) = names::domain(&mut world.dice);
    let namespace = world.namespaces[home].clone();
    let secret = format!("pw-u{}-{domain}", world.dice.below(WITH_PASSWORDS));
    let number = world.next_serial();
    let Ok(found) = world.resources.get("Secret", &namespace, &secret).await else { return };
    let readable = |found: &Value| found["metadata"]["labels"]["mailroster.dev/readable"] == "true";
    let chance = world.dice.below(10);
    let (what, done) = match found {
        // One without the label is noticed when it gets it; what else becomes of it is not (P1).
        Some(found) if !readable(&found) => {
            let label = json!({"metadata": {"labels": {"mailroster.dev/readable": "true"}}});
            ("label", world.resources.merge("Secret", &namespace, &secret, &label).await)
        }
        Some(_) if chance == 0 => {
            let label = json!({"metadata": {"labels": {"mailroster.dev/readable": null}}});
            ("unlabel", world.resources.merge("Secret", &namespace, &secret, &label).await)
        }
        Some(_) if chance == 1 => ("delete", world.resources.delete("Secret", &namespace, &secret).await),
        _ => {
            let value = match world.dice.below(8) {
                0 => format!("short{number}"),
                1 => format!("Line-Break-{number:08}\n"),
                2 => format!("Gr\u{fc}n-{number:010}"),
                _ => format!("Long-Enough-{number:010}"),
            };
            let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret,
                "labels": {"mailroster.dev/readable": "true"}}, "stringData": {"password": value}});
            ("rotate", world.resources.merge_or_create("Secret", &namespace, &secret, &object).await)
        }
    };
    world.note(&format!("{what} a Secret"), &secret, &done);
}

/// A finalizer is torn off; half of the time the resource goes with it, and nobody saw it end (U6).
async fn tear(world: &mut World) {
    let kind = *pick(&mut world.dice, &[Kind::AliasLink, Kind::DelegateMailbox, Kind::AdminRole, Kind::EmailAddress]);
    let Some((kind, namespace, object)) = some(world, Some(kind)).await else { return };
    let gone = percent(&mut world.dice, 50);
    let torn = json!({"metadata": {"finalizers": null}});
    world.torn.insert((kind.to_string(), namespace.clone(), name(&object).to_owned()));
    let mut done = world.resources.merge(kind.as_str(), &namespace, name(&object), &torn).await;
    if gone && done.is_ok() {
        if kind == Kind::EmailAddress && object["spec"]["deletionPolicy"] == "Purge" {
            world.retained.remove(&object["spec"]["address"].as_str().unwrap_or_default().to_lowercase());
        }
        done = world.resources.delete(kind.as_str(), &namespace, name(&object)).await;
    }
    let what = if gone { "tear off a finalizer and delete" } else { "tear off a finalizer" };
    world.note(what, &format!("{kind} {}", name(&object)), &done);
}

/// What was learned is there from now on; and of what carries a finalizer nothing is missed but what was torn off (U6).
async fn look(world: &mut World) {
    let missed = "SELECT ARRAY[kind, namespace, name, since::text] FROM mailroster.absence WHERE kind IN ('AliasLink', 'DelegateMailbox', 'AdminRole')";
    for row in world.rows(missed).await.unwrap_or_default() {
        let mut parts = row.into_iter().flatten();
        let key = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if !world.torn.contains(&key) {
            let since = parts.next().unwrap_or_default();
            world.see_wrong(format!("{} {}/{} is missed since {since}, and was deleted in order", key.0, key.1, key.2));
        }
    }
    let sql = "SELECT ARRAY[canonical] FROM mailroster.address WHERE origin = 'MailFlow'";
    let rows = world.rows(sql).await.unwrap_or_default();
    let found = rows.into_iter().flatten().flatten().filter(|address| address.starts_with('s') && names::is_strict(address));
    world.learned.extend(found);
}
