//! The guard on the real servers (SPEC U4): what ends in masses is held as one plan, and its hash alone releases it.

use crate::support;
use crate::tenant::Tenant;
use futures::StreamExt as _;
use kube::api::DeleteParams;
use serde_json::json;

/// Purges that wait for nothing but the guard.
const QUICK: &str = "AccountSettings/default {purge: {delay: 10s, heldMailReports: NotRequired}}
                     InternalDomain/acme {domain: acme.example}";

fn purged(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|n| format!("EmailAddress/a{n} {{address: a{n}@acme.example, deletionPolicy: Purge}}"))
}

fn names(range: std::ops::Range<usize>) -> String {
    range.map(|n| format!("EmailAddress/a{n}")).collect::<Vec<_>>().join(" ")
}

/// A tenant of one domain with `declared` addresses whose end is a purge, and `others` that nobody declares.
async fn domain(declared: usize, others: u32) -> Tenant {
    let tenant = Tenant::with(QUICK).await;
    tenant.fill("acme.example", others).await;
    tenant.apply_many(purged(0..declared)).await;
    for n in 0..declared {
        tenant.ready(&format!("EmailAddress/a{n}")).await;
    }
    tenant
}

/// Asks for the deletion of these and waits until that many purges wait in the store.
async fn ask(tenant: &Tenant, which: std::ops::Range<usize>, waiting: usize) {
    tenant.delete(&names(which)).await;
    tenant.until("SELECT count(*) FROM mailroster.waiting WHERE action = 'Purge'", &[&waiting.to_string()]).await;
}

const ADDRESSES: &str = "SELECT count(*) FROM mailroster.address";

#[tokio::test]
async fn u4_a_third_of_a_domain_purged_at_once_is_one_held_plan_that_its_hash_alone_releases() {
    let tenant = domain(31, 70).await;
    ask(&tenant, 0..30, 30).await;
    tenant.database.move_clock(3700).await;
    let stale = tenant.held_plan("InternalDomain/acme", 30).await;
    assert_eq!(stale.len(), 16);
    tenant.condition("InternalDomain/acme", "DeletionsHeld", "True MassDeletion").await;
    tenant.condition("InternalDomain/acme", "Ready", "True Succeeded").await;
    for resource in ["EmailAddress/a0", "EmailAddress/a29"] {
        tenant.reasons(&format!("{resource} MassDeletion")).await;
        tenant.condition(resource, "Stalled", "True MassDeletion").await;
        tenant.blockers(resource, &["MassDeletion"]).await;
    }
    let status = tenant.status("InternalDomain/acme", "a sample", |status| status["heldPlan"]["sample"].is_array()).await;
    assert_eq!(status["heldPlan"]["sample"].as_array().map(Vec::len), Some(10));
    assert_eq!(tenant.rows("SELECT count(*) FROM mailroster.waiting WHERE held").await, ["30"]);

    // One more joins: another hash. The old one releases nothing, and neither does time.
    tenant.delete(&names(30..31)).await;
    let hash = tenant.held_plan("InternalDomain/acme", 31).await;
    assert_ne!(hash, stale);
    tenant.annotate("InternalDomain/acme", "approve", &stale).await;
    tenant.reconcile("InternalDomain/acme", "after the stale one").await;
    tenant.database.move_clock(7200).await;
    tenant.reconcile("InternalDomain/acme", "two hours later").await;
    assert_eq!(tenant.rows(ADDRESSES).await, ["101"]);

    tenant.annotate("InternalDomain/acme", "approve", &hash).await;
    tenant.gone(&names(0..31)).await;
    tenant.handled("InternalDomain/acme", "approve", &hash).await;
    assert_eq!(tenant.rows(ADDRESSES).await, ["70"]);
    tenant.condition("InternalDomain/acme", "DeletionsHeld", "False NothingHeld").await;
}

#[tokio::test]
async fn u4_of_eleven_purged_one_after_another_within_an_hour_in_a_domain_of_forty_the_last_is_held() {
    let tenant = domain(12, 28).await;
    for n in 0..10 {
        ask(&tenant, n..n + 1, 1).await;
        tenant.database.move_clock(300).await;
        tenant.gone(&names(n..n + 1)).await;
    }
    assert_eq!(tenant.rows(ADDRESSES).await, ["30"]);
    ask(&tenant, 10..11, 1).await;
    tenant.database.move_clock(300).await;
    let hash = tenant.held_plan("InternalDomain/acme", 1).await;
    tenant.reasons("EmailAddress/a10 MassDeletion").await;

    // The hour of the first passes: that releases nothing that is held.
    tenant.database.move_clock(3600).await;
    tenant.reconcile("InternalDomain/acme", "an hour later").await;
    tenant.reasons("EmailAddress/a10 MassDeletion").await;
    assert_eq!(tenant.rows(ADDRESSES).await, ["30"]);
    tenant.annotate("InternalDomain/acme", "approve", &hash).await;
    tenant.gone(&names(10..11)).await;
    // And what comes after that hour is counted anew.
    ask(&tenant, 11..12, 1).await;
    tenant.database.move_clock(11).await;
    tenant.gone(&names(11..12)).await;
    assert_eq!(tenant.rows(ADDRESSES).await, ["28"]);
}

#[tokio::test]
async fn u4_five_of_an_eight_address_domain_are_held_and_taking_one_back_makes_the_hash_stale() {
    let tenant = domain(8, 0).await;
    ask(&tenant, 0..5, 5).await;
    tenant.database.move_clock(11).await;
    let stale = tenant.held_plan("InternalDomain/acme", 5).await;
    // U3: one is taken back. Its logon would be shut now, which is another end and another plan.
    tenant.cluster.patch("EmailAddress", &tenant.namespace, "a0", &json!({"spec": {"deletionPolicy": "Retain"}})).await;
    tenant.gone(&names(0..1)).await;
    tenant.until("SELECT action || ' ' || count(*) FROM mailroster.waiting WHERE held GROUP BY action", &["Purge 4", "Shut 1"]).await;
    tenant.annotate("InternalDomain/acme", "approve", &stale).await;
    tenant.reconcile("InternalDomain/acme", "after the stale one").await;
    assert_eq!(tenant.rows(ADDRESSES).await, ["8"]);
    tenant.apply("EmailAddress/a0 {address: a0@acme.example}").await;
    tenant.ready("EmailAddress/a0").await;

    let hash = tenant.held_plan("InternalDomain/acme", 4).await;
    assert_ne!(hash, stale);
    tenant.annotate("InternalDomain/acme", "approve", &hash).await;
    tenant.gone(&names(1..5)).await;
    let left = "SELECT canonical || shut FROM mailroster.address";
    assert_eq!(tenant.rows(left).await, ["a0@acme.examplefalse", "a5@acme.examplefalse", "a6@acme.examplefalse", "a7@acme.examplefalse"]);
}

/// Of 24 addresses ten may go, of the 13 that eleven approved ends leave six might; of 12 six, of the six that a purge with five aliases
/// leaves three.
#[tokio::test]
async fn u4_the_share_is_of_those_there_were_an_hour_ago_approved_ends_and_aliases_that_went_along_included() {
    let tenant = domain(21, 3).await;
    ask(&tenant, 0..11, 11).await;
    tenant.database.move_clock(11).await;
    let hash = tenant.held_plan("InternalDomain/acme", 11).await;
    tenant.annotate("InternalDomain/acme", "approve", &hash).await;
    tenant.gone(&names(0..11)).await;
    ask(&tenant, 11..21, 10).await;
    tenant.database.move_clock(11).await;
    tenant.gone(&names(11..21)).await;
    assert_eq!(tenant.rows(ADDRESSES).await, ["3"]);

    let tenant = domain(6, 1).await;
    tenant
        .database
        .execute(
            "INSERT INTO mailroster.address (canonical, display, domain_id, namespace, origin, is_alias)
             SELECT 'l' || n || '@acme.example', '', d.id, d.namespace, 'Manual', true FROM mailroster.domain d, generate_series(1, 5) n;
             INSERT INTO mailroster.link (alias_id, primary_id, namespace, origin, made_row)
             SELECT a.id, p.id, a.namespace, 'Declared', true FROM mailroster.address a, mailroster.address p
             WHERE a.is_alias AND p.canonical = 'a0@acme.example'",
        )
        .await;
    ask(&tenant, 0..1, 1).await;
    tenant.database.move_clock(11).await;
    tenant.gone(&names(0..1)).await;
    assert_eq!(tenant.rows(ADDRESSES).await, ["6"], "its aliases went along");
    ask(&tenant, 1..6, 5).await;
    tenant.database.move_clock(11).await;
    tenant.gone(&names(1..6)).await;
    assert_eq!(tenant.rows(ADDRESSES).await, ["1"]);
}

/// A prune: each of them is deleted, many at a time.
async fn prune(tenant: &Tenant, kind: &str, names: impl Iterator<Item = String>) {
    let api = tenant.cluster.api_of(kind, &tenant.namespace).await;
    let delete = async |name: String| {
        let deleted = api.delete(&name, &DeleteParams::default()).await;
        drop(deleted.unwrap_or_else(|error| panic!("{kind} {name}: {error}")));
    };
    futures::stream::iter(names).for_each_concurrent(8, delete).await;
}

#[tokio::test]
async fn u4_a_mass_removal_leaves_logons_open_and_mail_flowing_until_it_is_approved() {
    let links = support::scale(300, 3_000);
    let tenant = Tenant::with("InternalDomain/acme {domain: acme.example}\nInternalDomain/other {domain: other.example}").await;
    tenant.apply("EmailAddress/shop {address: shop@other.example}").await;
    tenant.ready("EmailAddress/shop").await;
    tenant.fill("other.example", 100).await;
    tokio::join!(
        tenant.apply_many((0..200).map(|n| format!("EmailAddress/a{n} {{address: a{n}@acme.example}}"))),
        tenant.apply_many((0..links).map(|n| format!("AliasLink/l{n} {{alias: l{n}@other.example, primary: shop@other.example}}"))),
    );
    let logons = "SELECT count(*) FROM gateway.credential_v1";
    let mail = "SELECT count(*) FILTER (WHERE gateway.recipient_action_v1(canonical) IS NULL), count(*) FROM mailroster.address
                WHERE canonical LIKE 'a%@acme.example' OR canonical LIKE 'l%@other.example'";
    let flows = format!("{0},{0}", links + 200);
    tenant.long("SELECT count(*) FROM gateway.alias_v1", &links.to_string()).await;
    tenant.long(mail, &flows).await;
    tenant
        .database
        .execute(
            "INSERT INTO mailroster.credential (address_id, phc, fingerprint, key_id, force_change, never_expires)
             SELECT id, '$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', '', 'k', false, false
             FROM mailroster.address WHERE canonical LIKE 'a%@acme.example'",
        )
        .await;
    assert_eq!(tenant.rows(logons).await, ["200"]);

    tokio::join!(
        prune(&tenant, "EmailAddress", (0..200).map(|n| format!("a{n}"))),
        prune(&tenant, "AliasLink", (0..links).map(|n| format!("l{n}"))),
    );
    tenant.long("SELECT count(*) FROM mailroster.waiting WHERE action = 'Shut'", "200").await;
    tenant.long("SELECT count(*) FROM mailroster.waiting WHERE action = 'Unlink'", &links.to_string()).await;
    tenant.database.move_clock(61).await;
    let acme = tenant.held_plan("InternalDomain/acme", 200).await;
    let other = tenant.held_plan("InternalDomain/other", links).await;
    tenant.reasons("AliasLink/l7 MassDeletion").await;
    tenant.database.move_clock(7200).await;
    for domain in ["acme", "other"] {
        tenant.reconcile(&format!("InternalDomain/{domain}"), "two hours later").await;
    }
    assert_eq!(tenant.rows(logons).await, ["200"]);
    assert_eq!(tenant.rows(mail).await, [flows.as_str()]);
    assert_eq!(tenant.rows("SELECT count(*) FROM gateway.recipient_v1 WHERE kind = 'alias'").await, [links.to_string()]);

    // Each domain is released by its own hash only.
    tenant.annotate("InternalDomain/acme", "approve", &acme).await;
    tenant.until(logons, &["0"]).await;
    assert_eq!(tenant.rows("SELECT count(*) FROM gateway.alias_v1").await, [links.to_string()]);
    tenant.annotate("InternalDomain/other", "approve", &other).await;
    tenant.until("SELECT count(*) FROM gateway.alias_v1", &["0"]).await;
    let kubernetes = async || tenant.cluster.list("AliasLink", &tenant.namespace).await.len();
    support::eventually(crate::tenant::LONG, "the links are gone", async || match kubernetes().await {
        0 => Ok(()),
        left => Err(left),
    })
    .await;
    assert_eq!(tenant.rows(ADDRESSES).await, ["301"], "Retain keeps rows; those that only links made went");
}
