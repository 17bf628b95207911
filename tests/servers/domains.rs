//! Domains between tenants: who holds one, handing it over, its end (SPEC D1, D2).

use crate::scene::{Scene, message, resource, stalled};
use crate::support::operator::program;
use crate::support::{self, Database, Operator, eventually, resources::condition};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const PATIENCE: Duration = Duration::from_mins(1);

/// `mailroster transfer`, as an administrator of the store runs it; its exit code and all it says.
async fn transfer(database: &Database, domain: &str, namespace: &str) -> (Option<i32>, String) {
    let output = tokio::process::Command::new(program())
        .args(["transfer", "--store", &database.url, domain, namespace])
        .kill_on_drop(true)
        .output()
        .await
        .expect("mailroster transfer");
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Waits until a query answers so.
async fn wait_text(database: &Database, sql: &str, expected: &str) {
    eventually(PATIENCE, &format!("{sql} is {expected:?}"), async || match database.text(sql).await {
        text if text == expected => Ok(()),
        text => Err(text),
    })
    .await;
}

#[tokio::test]
async fn d1_a_domain_stays_with_whom_it_came_to_first_until_it_is_handed_over() {
    let cluster = support::control_plane().await;
    let database = support::fresh_database().await;
    let mut namespaces = [cluster.fresh_namespace().await, cluster.fresh_namespace().await];
    namespaces.sort();
    // The older claim comes from the later name: it is age that decides.
    let [second, first] = namespaces;
    let claim = resource("InternalDomain", "acme", "{domain: acme.example}");
    cluster.apply(&first, &claim).await;
    let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let began = seconds();
    eventually(PATIENCE, "the next second", async || (seconds() > began).then_some(())).await;
    cluster.apply(&second, &claim).await;
    let operator = Operator::start(&database, &[&first, &second]).await;

    let refused = async |when: &str| {
        let seen = cluster.wait_reason("InternalDomain", &second, "acme", "DomainClaimed").await;
        assert!(stalled(&seen), "{when}: {seen:#}");
        assert!(!seen["status"].to_string().contains(&first), "{when}: {}", message(&seen));
        assert_eq!(database.text("SELECT namespace FROM mailroster.domain").await, first, "{when}");
    };
    cluster.wait_ready("InternalDomain", &first, "acme").await;
    refused("while both claim it").await;

    // The holder's resource goes, then its whole namespace: the row stays where it is.
    let ask_again = async |token: &str| {
        cluster.annotate("InternalDomain", &second, "acme", "mailroster.dev/requestedAt", token).await;
        cluster
            .wait_until("InternalDomain", &second, "acme", "was looked at again", |seen| {
                seen["status"]["lastHandled"]["requestedAt"] == token
            })
            .await;
    };
    cluster.delete("InternalDomain", &first, "acme").await;
    wait_text(&database, "SELECT coalesce(owner, 'nobody') FROM mailroster.domain", "nobody").await;
    ask_again("1").await;
    refused("when its resource is gone").await;
    if cluster.collects_garbage().await {
        cluster.delete("Namespace", "", &first).await;
        cluster.wait_gone("Namespace", "", &first).await;
        ask_again("2").await;
        refused("when its namespace is gone").await;
    }

    // The command hands it over; what waited goes on by itself.
    let (code, said) = transfer(&database, "ACME.example", &second).await;
    assert_eq!(code, Some(0), "{said}{}", operator.tail());
    cluster.wait_ready("InternalDomain", &second, "acme").await;
    assert_eq!(database.text("SELECT namespace || ' ' || owner FROM mailroster.domain").await, format!("{second} acme"));
    let (code, said) = transfer(&database, "acme.example", &second).await;
    assert_eq!(code, Some(1), "nothing to do: {said}");
}

#[tokio::test]
async fn d1_an_annotation_hands_a_domain_over_with_all_its_rows_while_the_taker_waits() {
    let scene = Scene::with_domain("acme.example").await;
    scene.addresses(&[("info", "info@acme.example"), ("sales", "sales@acme.example")]).await;
    scene.database.execute("UPDATE mailroster.address SET pop = true, display_name = 'Kept'").await;
    let rows = "SELECT string_agg(id || ' ' || canonical || ' ' || display_name || ' ' || pop || ' ' || shut, ',' ORDER BY id) FROM mailroster.address";
    let before = scene.database.text(rows).await;

    // Nobody waits there: nothing happens, and the token is not used up.
    let token = format!("{} 1", scene.theirs);
    scene.cluster.annotate("InternalDomain", &scene.ours, "acme", "mailroster.dev/transferTo", &token).await;
    scene.something_else_happens().await;
    assert_eq!(scene.database.text("SELECT namespace FROM mailroster.domain WHERE name = 'acme.example'").await, scene.ours);

    let theirs = resource("EmailAddress", "their-info", "{address: info@acme.example}")
        + &resource("InternalDomain", "taken", "{domain: acme.example}");
    scene.cluster.apply(&scene.theirs, &theirs).await;
    scene.cluster.wait_ready("InternalDomain", &scene.theirs, "taken").await;
    scene.cluster.wait_ready("EmailAddress", &scene.theirs, "their-info").await;
    let old = scene.cluster.wait_reason("InternalDomain", &scene.ours, "acme", "DomainClaimed").await;
    assert!(stalled(&old), "{old:#}");
    assert_eq!(old["status"]["lastHandled"]["transferTo"], token);
    for name in ["info", "sales"] {
        let old = scene.cluster.wait_reason("EmailAddress", &scene.ours, name, "DomainClaimed").await;
        assert!(stalled(&old) && !message(&old).contains("their-info"), "{old:#}");
    }
    scene.database.move_clock(7200).await;
    scene.something_else_happens().await;
    assert_eq!(scene.database.text(rows).await, before, "all rows go along, logons as they are");
    let owners = "SELECT string_agg(namespace || ' ' || coalesce(owner, 'nobody'), ',' ORDER BY id) FROM mailroster.address";
    assert_eq!(scene.database.text(owners).await, format!("{0} their-info,{0} nobody", scene.theirs));

    // Deleting what lost it changes nothing; nor does the used token, should the domain come back.
    for (kind, name) in [("EmailAddress", "info"), ("EmailAddress", "sales"), ("InternalDomain", "acme")] {
        scene.cluster.delete(kind, &scene.ours, name).await;
    }
    scene.something_else_happens().await;
    assert_eq!(scene.database.text(rows).await, before);
    assert_eq!(scene.database.text("SELECT count(*) FROM mailroster.waiting").await, "0");
}

#[tokio::test]
async fn d1_what_joins_a_domain_to_another_blocks_its_transfer_until_it_is_gone() {
    let scene = Scene::with_domain("acme.example").await;
    scene.cluster.apply(&scene.ours, &resource("InternalDomain", "globex", "{domain: globex.example}")).await;
    scene.addresses(&[("info", "info@acme.example"), ("sales", "sales@globex.example")]).await;
    let pair = "{reader: info@acme.example, mailbox: sales@globex.example}";
    let link = "{alias: orders@acme.example, primary: sales@globex.example, crossDomain: true}";
    let role = "{builtIn: HelpDesk, members: [info@acme.example]}";
    let joins = [resource("DelegateMailbox", "pair", pair), resource("AliasLink", "link", link), resource("AdminRole", "desk", role)];
    scene.cluster.apply(&scene.ours, &joins.concat()).await;
    for (kind, name) in [("DelegateMailbox", "pair"), ("AliasLink", "link"), ("AdminRole", "desk")] {
        scene.cluster.wait_ready(kind, &scene.ours, name).await;
    }
    scene.cluster.apply(&scene.theirs, &resource("InternalDomain", "taken", "{domain: acme.example}")).await;
    scene.cluster.wait_reason("InternalDomain", &scene.theirs, "taken", "DomainClaimed").await;

    let (code, said) = transfer(&scene.database, "acme.example", &scene.theirs).await;
    assert_eq!(code, Some(2), "{said}");
    for blocker in ["TransferBlocked", "orders@acme.example", "sales@globex.example", "desk"] {
        assert!(said.contains(blocker), "{blocker}: {said}");
    }
    let token = format!("{} 1", scene.theirs);
    scene.cluster.annotate("InternalDomain", &scene.ours, "acme", "mailroster.dev/transferTo", &token).await;
    let blocked = scene.cluster.wait_reason("InternalDomain", &scene.ours, "acme", "TransferBlocked").await;
    assert!(stalled(&blocked), "{blocked:#}");
    for blocker in ["orders@acme.example", "sales@globex.example", "desk"] {
        assert!(message(&blocked).contains(blocker), "{blocker}: {}", message(&blocked));
    }
    assert_eq!(scene.database.text("SELECT namespace FROM mailroster.domain WHERE name = 'acme.example'").await, scene.ours);

    // One after the other goes; with the last the domain goes over, and nobody touches it.
    for (kind, name) in [("AliasLink", "link"), ("AdminRole", "desk"), ("DelegateMailbox", "pair")] {
        scene.cluster.delete(kind, &scene.ours, name).await;
        if kind == "AliasLink" {
            wait_text(&scene.database, "SELECT count(*) FROM mailroster.waiting WHERE action = 'Unlink'", "1").await;
            scene.database.move_clock(11).await;
        }
        scene.cluster.wait_gone(kind, &scene.ours, name).await;
    }
    scene.cluster.wait_ready("InternalDomain", &scene.theirs, "taken").await;
    scene.cluster.wait_reason("InternalDomain", &scene.ours, "acme", "DomainClaimed").await;
}

#[tokio::test]
async fn d1_no_tenant_gets_a_domain_above_or_below_anothers_and_nobody_a_public_suffix() {
    let scene = Scene::with_domain("acme.example").await;
    let yaml = [
        resource("InternalDomain", "below", "{domain: mail.acme.example}"),
        resource("InternalDomain", "deep", "{domain: eu.mail.globex.example}"),
        resource("InternalDomain", "suffix", "{domain: co.uk}"),
        resource("InternalDomain", "single", "{domain: localdomain}"),
        resource("InternalDomain", "broken", "{domain: acme..example}"),
    ];
    scene.cluster.apply(&scene.theirs, &yaml.concat()).await;
    scene.cluster.wait_ready("InternalDomain", &scene.theirs, "deep").await;
    // One of our own below ours is fine; one above theirs is not, though ours would be the shorter name.
    let yaml = resource("InternalDomain", "own", "{domain: shop.acme.example, deletionPolicy: Delete}")
        + &resource("InternalDomain", "above", "{domain: globex.example}");
    scene.cluster.apply(&scene.ours, &yaml).await;
    scene.cluster.wait_ready("InternalDomain", &scene.ours, "own").await;
    let above = scene.cluster.wait_reason("InternalDomain", &scene.ours, "above", "ChildDomainClaimed").await;
    let below = scene.cluster.wait_reason("InternalDomain", &scene.theirs, "below", "ParentDomainClaimed").await;
    for (seen, other) in [(&above, &scene.theirs), (&below, &scene.ours)] {
        assert!(stalled(seen) && !seen["status"].to_string().contains(other.as_str()), "{seen:#}");
    }
    for name in ["suffix", "single"] {
        let seen = scene.cluster.wait_reason("InternalDomain", &scene.theirs, name, "DomainNotAllowed").await;
        assert!(stalled(&seen), "{seen:#}");
    }
    scene.cluster.wait_reason("InternalDomain", &scene.theirs, "broken", "DomainInvalid").await;

    // When the one that stood in the way really ends, the other goes on by itself.
    scene.cluster.patch("InternalDomain", &scene.theirs, "deep", &serde_json::json!({"spec": {"deletionPolicy": "Delete"}})).await;
    scene.cluster.wait_ready("InternalDomain", &scene.theirs, "deep").await;
    scene.cluster.delete("InternalDomain", &scene.theirs, "deep").await;
    scene.cluster.wait_gone("InternalDomain", &scene.theirs, "deep").await;
    scene.cluster.wait_ready("InternalDomain", &scene.ours, "above").await;
}

#[tokio::test]
async fn d2_a_domain_deleted_with_retain_works_on_undeclared() {
    let scene = Scene::with_domain("acme.example").await;
    scene.addresses(&[("info", "info@acme.example")]).await;
    let mta = scene.database.as_role("mailroster_mta");
    let before = scene.cluster.get("EmailAddress", &scene.ours, "info").await.unwrap();
    scene.cluster.delete("InternalDomain", &scene.ours, "acme").await;
    scene.cluster.wait_gone("InternalDomain", &scene.ours, "acme").await;
    wait_text(&scene.database, "SELECT coalesce(owner, 'nobody') FROM mailroster.domain WHERE name = 'acme.example'", "nobody").await;
    scene.something_else_happens().await;
    let domains: Vec<String> = eventually(PATIENCE, "mail servers are answered", async || {
        sqlx::query_scalar("SELECT domain FROM gateway.recipient_v1 WHERE address = 'info@acme.example'").fetch_all(&mta).await
    })
    .await;
    assert_eq!(domains, ["acme.example"]);
    let after = scene.cluster.get("EmailAddress", &scene.ours, "info").await.unwrap();
    assert_eq!(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"], "A4: it keeps its status");
    // A resource of any name takes the row back.
    scene.cluster.apply(&scene.ours, &resource("InternalDomain", "again", "{domain: acme.example, recipientValidation: Any}")).await;
    scene.cluster.wait_ready("InternalDomain", &scene.ours, "again").await;
    assert_eq!(
        scene.database.text("SELECT owner || ' ' || recipient_validation FROM mailroster.domain WHERE name = 'acme.example'").await,
        "again Any"
    );
}

#[tokio::test]
async fn d2_a_domain_deleted_with_delete_waits_for_its_addresses_and_offers_what_nobody_declares() {
    let scene = Scene::with_domain("acme.example").await;
    let yaml = resource("AccountSettings", "default", "{purge: {delay: 1m, heldMailReports: NotRequired}}")
        + &resource("InternalDomain", "acme", "{domain: acme.example, deletionPolicy: Delete}");
    scene.cluster.apply(&scene.ours, &yaml).await;
    scene.addresses(&[("info", "info@acme.example"), ("left", "left@acme.example")]).await;
    scene.cluster.wait_ready("InternalDomain", &scene.ours, "acme").await;
    scene.cluster.delete("EmailAddress", &scene.ours, "left").await;
    wait_text(&scene.database, "SELECT coalesce(owner, 'nobody') FROM mailroster.address WHERE canonical = 'left@acme.example'", "nobody")
        .await;

    scene.cluster.delete("InternalDomain", &scene.ours, "acme").await;
    let waits = scene.cluster.wait_reason("InternalDomain", &scene.ours, "acme", "DeletionBlocked").await;
    assert!(stalled(&waits), "{waits:#}");
    for part in ["AddressesRemain", "2 in acme.example", "info@acme.example", "left@acme.example"] {
        assert!(message(&waits).contains(part), "{part}: {}", message(&waits));
    }
    assert_eq!(condition(&waits, "DeletionsHeld").unwrap()["status"], "True");
    let plan = &waits["status"]["heldPlan"];
    assert!(plan["count"].as_u64() >= Some(1) && plan["sample"].to_string().contains("left@acme.example"), "{plan}");
    assert!(!plan["sample"].to_string().contains("info@acme.example"), "{plan}");
    // The row works on for as long as it waits, and no time releases it.
    scene.database.move_clock(7200).await;
    scene.something_else_happens().await;
    assert_eq!(scene.database.text("SELECT count(*) FROM mailroster.address WHERE canonical ~ 'acme'").await, "2");

    // As a person does it: a plan that changes between reading and approving has another hash, and wants that one.
    let approve = async |absent: &str| {
        let mut given = String::new();
        eventually(PATIENCE, "the held plan is approved", async || {
            let seen = scene.cluster.get("InternalDomain", &scene.ours, "acme").await.expect("the domain waits for its purges");
            let (plan, handled) = (&seen["status"]["heldPlan"], &seen["status"]["lastHandled"]["approve"]);
            if !given.is_empty() && *handled == given {
                return Ok(());
            }
            if let Some(hash) = plan["hash"].as_str()
                && hash != given
                && !plan["sample"].to_string().contains(absent)
            {
                hash.clone_into(&mut given);
                scene.cluster.annotate("InternalDomain", &scene.ours, "acme", "mailroster.dev/approve", hash).await;
            }
            Err(seen["status"].to_string())
        })
        .await;
    };
    scene.cluster.annotate("InternalDomain", &scene.ours, "acme", "mailroster.dev/approve", "0123456789abcdef").await;
    scene.something_else_happens().await;
    assert_eq!(
        scene.database.text("SELECT count(*) FROM mailroster.address WHERE canonical ~ 'acme'").await,
        "2",
        "a wrong hash releases nothing"
    );
    approve("info@acme.example").await;
    wait_text(&scene.database, "SELECT string_agg(canonical, ',') FROM mailroster.address", "info@acme.example").await;
    let left = scene
        .cluster
        .wait_until("InternalDomain", &scene.ours, "acme", "one remains", |seen| message(seen).contains("1 in acme.example"))
        .await;
    assert!(!message(&left).contains("left@acme.example"), "{}", message(&left));

    // The last resource goes: its row is offered too, and with it the domain ends.
    scene.cluster.delete("EmailAddress", &scene.ours, "info").await;
    approve("left@acme.example").await;
    scene.database.move_clock(120).await;
    scene.cluster.wait_gone("InternalDomain", &scene.ours, "acme").await;
    assert_eq!(scene.database.text("SELECT count(*) FROM mailroster.domain WHERE name = 'acme.example'").await, "0");
    assert_eq!(scene.database.text("SELECT count(*) FROM mailroster.tombstone").await, "2");
}
