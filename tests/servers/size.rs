//! Resources of the greatest size there is, and one address with thousands of aliases: statuses stay bounded, and so does the work.

use std::collections::BTreeMap;

use crate::support::resources::condition;
use crate::support::{eventually, scale};
use crate::tenant::{LONG, Tenant};
use serde_json::Value;

/// How many names a status lists (SPEC 1).
const LISTED: usize = 50;
/// Resources that one edit may bring into batches: itself, whom it names, who tells of it, each planned a time or two.
const FEW: f64 = 20.0;
/// etcd takes 1.5 MiB; a status that lists fifty addresses at their longest has some 20 kB.
const BOUNDED: usize = 40_000;

/// Of 254 octets at the most an address of 64 before the sign leaves this many to its domain.
fn longest_domain() -> String {
    format!("{}.{}.{}.example", "a".repeat(63), "b".repeat(63), "c".repeat(53))
}

/// A local part of 64 octets that begins like this.
fn longest(beginning: &str) -> String {
    format!("{beginning}{}", "x".repeat(64 - beginning.len()))
}

fn length(status: &Value) -> usize {
    status.to_string().len()
}

/// Waits until all of a kind are in force.
async fn all_ready(tenant: &Tenant, kind: &str, count: usize) {
    eventually(LONG, &format!("{count} of {kind} are in force"), async || {
        let all = tenant.cluster.list(kind, &tenant.namespace).await;
        let is_ready = |found: &&Value| condition(found, "Ready").is_some_and(|ready| ready["status"] == "True");
        let ready = all.iter().filter(is_ready).count();
        if ready == count { Ok(()) } else { Err(format!("{ready} of {}", all.len())) }
    })
    .await;
}

#[tokio::test]
async fn an_address_and_a_role_of_the_greatest_size_are_in_force_and_their_statuses_bounded() {
    let domain = longest_domain();
    let tenant = Tenant::with(&format!("InternalDomain/acme {{domain: {domain}}}")).await;
    let attributes: BTreeMap<_, _> = (0..50).map(|n| (format!("{n:064}"), "\u{fc}".repeat(1024))).collect();
    let address = format!("{}@{domain}", longest("big"));
    assert_eq!(address.len(), 254);
    let spec = serde_json::json!({"address": address, "displayName": "\u{fc}".repeat(256), "attributes": attributes});
    tenant.apply(&format!("EmailAddress/big {spec}")).await;
    tenant.ready("EmailAddress/big").await;
    let kept = "SELECT (SELECT count(*) || ' of ' || sum(length(e.value)) FROM jsonb_each_text(a.attributes) e), length(a.display_name)
                FROM mailroster.address a WHERE a.owner = 'big'";
    assert_eq!(tenant.rows(kept).await, ["50 of 51200,256"]);

    // From mail flow: a member needs no resource of its own.
    let members: Vec<_> = (0..1_000).map(|n| format!("{}@{domain}", longest(&format!("m{n:03}-")))).collect();
    let rows = "INSERT INTO mailroster.address (canonical, display, domain_id, namespace, origin)
                SELECT m, m, d.id, d.namespace, 'MailFlow' FROM mailroster.domain d, unnest($1::text[]) m";
    sqlx::query(rows).bind(&members[..940]).execute(&tenant.database.pool).await.expect("members");
    let role = |members: &[String]| format!("AdminRole/desk {}", serde_json::json!({"builtIn": "HelpDesk", "members": members}));
    tenant.apply(&role(&members)).await;
    let whole = |total: usize, in_force: usize| {
        move |status: &Value| status["members"]["total"] == total && status["members"]["inForce"] == in_force
    };
    let status = tenant.status("AdminRole/desk", "940 of 1,000 are in force", whole(1_000, 940)).await;
    tenant.reasons("AdminRole/desk MembersRejected").await;
    let rejected = status["members"]["rejected"].as_array().expect("a list");
    assert_eq!(rejected.len(), LISTED);
    assert!(rejected.iter().all(|member| member["reason"] == "MemberNotFound"), "{rejected:?}");
    assert!(length(&status) < BOUNDED, "{}", length(&status));
    assert_eq!(tenant.rows("SELECT count(*) FROM mailroster.role_member").await, ["940"]);

    sqlx::query(rows).bind(&members[940..]).execute(&tenant.database.pool).await.expect("members");
    tenant.ready("AdminRole/desk").await;
    let status = tenant.status("AdminRole/desk", "all are in force", whole(1_000, 1_000)).await;
    assert_eq!(status["members"]["rejected"].as_array().map_or(0, Vec::len), 0);
    assert_eq!(tenant.rows("SELECT count(*) FROM mailroster.role_member").await, ["1000"]);
}

#[tokio::test]
async fn one_alias_more_of_thousands_costs_no_more_than_the_first() {
    let count = scale(1_000, 5_000);
    let domain = longest_domain();
    let tenant = Tenant::with(&format!("InternalDomain/acme {{domain: {domain}}}")).await;
    let primary = format!("primary@{domain}");
    tenant.apply(&format!("EmailAddress/primary {{address: {primary}}}")).await;
    let alias = |n: usize| format!("{}@{domain}", longest(&format!("n{n:05}-")));
    let link = |n: usize| format!("AliasLink/n{n} {{alias: {}, primary: {primary}}}", alias(n));
    tenant.apply_many((1..=count).map(link)).await;
    all_ready(&tenant, "AliasLink", count).await;
    let telling = async |count: usize, first: usize| {
        let what = format!("{count} aliases, the first {first}");
        let status = tenant
            .status("EmailAddress/primary", &what, |status| status["aliasCount"] == count && status["aliases"][0] == alias(first))
            .await;
        let names: Vec<_> = (first..first + LISTED).map(alias).collect();
        assert_eq!(status["aliases"], serde_json::json!(names), "by name, without a gap");
        assert!(length(&status) < BOUNDED, "{}", length(&status));
    };
    telling(count, 1).await;
    tenant.ready("EmailAddress/primary").await;

    let planned = async || tenant.operator.metric("mailroster_batch_resources_sum").await.expect("the metric");
    let costs = async |what: &str, before: f64| {
        // What is asked for now is planned after all that the edit had set in motion.
        tenant.reconcile("InternalDomain/acme", what).await;
        let cost = planned().await - before;
        assert!(cost <= FEW, "{what}: {cost} resources were planned");
        println!("{what}: {cost} resources");
    };
    let before = planned().await;
    tenant.apply(&link(0)).await;
    tenant.ready("AliasLink/n0").await;
    telling(count + 1, 0).await;
    costs("one alias more", before).await;

    let before = planned().await;
    tenant.apply(&format!("EmailAddress/primary {{address: {primary}, displayName: Primary}}")).await;
    tenant.ready("EmailAddress/primary").await;
    costs("an edit of the primary", before).await;

    let before = planned().await;
    tenant.delete("AliasLink/n0").await;
    tenant.quiet(&[&format!("Unlink {}", alias(0))]).await;
    tenant.gone("AliasLink/n0").await;
    telling(count, 1).await;
    costs("one alias less", before).await;

    let before = planned().await;
    let wrong =
        format!("SELECT gateway.record_logon_v1(gen_random_uuid(), '{primary}', 'wrong_password', 'imap') FROM generate_series(1, 5)");
    sqlx::query(sqlx::AssertSqlSafe(wrong)).execute(&tenant.database.as_role("mailroster_auth")).await.expect("five logons");
    tenant.condition("EmailAddress/primary", "Locked", "True TooManyFailedLogons").await;
    costs("a lock of the primary", before).await;

    // U2: a purge of it has all of them in view.
    tenant.apply(&format!("EmailAddress/primary {{address: {primary}, displayName: Primary, deletionPolicy: Purge}}")).await;
    tenant.ready("EmailAddress/primary").await;
    tenant.delete("EmailAddress/primary").await;
    let message = tenant.message("EmailAddress/primary", "PurgeBlocked").await;
    assert!(message.contains(&format!("{count} declared aliases")), "{message}");
}
