//! Addresses: who gets one, what of it is managed, and what a whole tenant costs (SPEC 1, A1 to A8, C3, C4, C7, C8).

use crate::scene::{Scene, message, reconciling, resource, stalled};
use crate::support::{eventually, resources::condition};
use serde_json::json;
use std::time::Duration;

const ROW: &str = "SELECT (to_jsonb(a) - 'owner' - 'display' - 'last_owner')::text FROM mailroster.address a WHERE a.canonical";

#[tokio::test]
async fn a2_what_is_no_address_says_which_part_is_wrong_and_harms_no_other() {
    let scene = Scene::with_domain("acme.example").await;
    let long = format!("{}@acme.example", "a".repeat(65));
    let cases = [
        ("quoted", r#""\"in fo\"@acme.example""#, "quoted"),
        ("literal", "'info@[192.0.2.1]'", "192.0.2.1"),
        ("control", r#""in\u0007fo@acme.example""#, "character"),
        ("space", "'in fo@acme.example'", "' '"),
        ("comment", "'info(sales)@acme.example'", "comment"),
        ("dot", "info@acme.example.", "acme.example."),
        ("bare", "info", "no @"),
        ("long", &long, "65 octets"),
        ("label", "info@acme_1.example", "acme_1"),
    ];
    let mut yaml = resource("EmailAddress", "good", "{address: good@acme.example}");
    for (name, address, _) in &cases {
        yaml.push_str(&resource("EmailAddress", name, &format!("{{address: {address}}}")));
    }
    scene.cluster.apply(&scene.ours, &yaml).await;
    for (name, _, part) in cases {
        let seen = scene.cluster.wait_reason("EmailAddress", &scene.ours, name, "AddressInvalid").await;
        assert!(message(&seen).contains(part), "{name}: {}", message(&seen));
        assert!(stalled(&seen), "{seen:#}");
        let locked = condition(&seen, "Locked").expect("Locked");
        assert_eq!((&locked["status"], &locked["reason"]), (&json!("False"), &json!("AddressInvalid")), "C2");
    }
    scene.cluster.wait_ready("EmailAddress", &scene.ours, "good").await;
    assert_eq!(scene.database.text("SELECT count(*) FROM mailroster.address").await, "1");
}

#[tokio::test]
async fn a4_an_address_waits_for_its_domain_and_another_tenants_domain_is_refused() {
    let scene = Scene::new().await;
    scene.cluster.apply(&scene.ours, &resource("EmailAddress", "early", "{address: early@acme.example}")).await;
    let early = scene.cluster.wait_reason("EmailAddress", &scene.ours, "early", "DomainNotFound").await;
    assert!(reconciling(&early), "{early:#}");
    assert!(message(&early).contains("acme.example"), "{}", message(&early));

    // By itself, once the domain is there.
    scene.cluster.apply(&scene.ours, &resource("InternalDomain", "acme", "{domain: acme.example}")).await;
    scene.cluster.wait_ready("EmailAddress", &scene.ours, "early").await;

    // The same address and another one, from another namespace: the domain decides, and nothing is told of its tenant.
    let yaml = [("same", "early@acme.example"), ("other", "other@acme.example")]
        .map(|(name, address)| resource("EmailAddress", name, &format!("{{address: {address}}}")))
        .concat();
    scene.cluster.apply(&scene.theirs, &yaml).await;
    for name in ["same", "other"] {
        let seen = scene.cluster.wait_reason("EmailAddress", &scene.theirs, name, "DomainClaimed").await;
        assert!(stalled(&seen), "{seen:#}");
        assert!(!seen["status"].to_string().contains(&scene.ours) && !message(&seen).contains("early"), "{}", message(&seen));
    }
    // A6: the end of a loser changes nothing.
    scene.cluster.delete("EmailAddress", &scene.theirs, "same").await;
    scene.something_else_happens().await;
    assert_eq!(
        scene.database.text("SELECT string_agg(canonical || ' ' || owner, ',') FROM mailroster.address").await,
        "early@acme.example early"
    );
    assert_eq!(scene.database.text("SELECT count(*) FROM mailroster.waiting").await, "0");

    // In force, it stays managed when its InternalDomain goes.
    scene.cluster.delete("InternalDomain", &scene.ours, "acme").await;
    let owner = "SELECT owner FROM mailroster.domain WHERE name = 'acme.example'";
    eventually(Duration::from_mins(1), "the domain is undeclared", async || match scene.database.text(owner).await {
        owner if owner.is_empty() => Ok(()),
        owner => Err(owner),
    })
    .await;
    scene.cluster.apply(&scene.ours, &resource("EmailAddress", "early", "{address: early@acme.example, displayName: Early}")).await;
    scene.cluster.wait_ready("EmailAddress", &scene.ours, "early").await;
    assert_eq!(scene.database.text("SELECT display_name FROM mailroster.address").await, "Early");
}

#[tokio::test]
async fn a6_the_loser_takes_over_untouched_when_the_winner_is_deleted() {
    let scene = Scene::with_domain("acme.example").await;
    let winner =
        "{address: Sales@acme.example, displayName: Sales, access: {pop: true}, archiveStartDate: 2026-01-01, deletionPolicy: Purge}";
    scene.cluster.apply(&scene.ours, &resource("EmailAddress", "winner", winner)).await;
    scene.cluster.wait_ready("EmailAddress", &scene.ours, "winner").await;
    let before = scene.database.text(&format!("{ROW} = 'sales@acme.example'")).await;
    assert!(before.contains(r#""pop": true"#), "{before}");

    scene.cluster.apply(&scene.ours, &resource("EmailAddress", "a-loser", "{address: sales@ACME.example}")).await;
    let loser = scene.cluster.wait_reason("EmailAddress", &scene.ours, "a-loser", "AddressClaimed").await;
    assert!(stalled(&loser), "{loser:#}");
    assert!(message(&loser).contains("/winner"), "{}", message(&loser));
    assert_eq!(scene.database.text(&format!("{ROW} = 'sales@acme.example'")).await, before);

    scene.cluster.delete("EmailAddress", &scene.ours, "winner").await;
    scene.cluster.wait_gone("EmailAddress", &scene.ours, "winner").await;
    let heir = scene.cluster.wait_ready("EmailAddress", &scene.ours, "a-loser").await;
    assert_eq!(heir["status"]["origin"], "Manual");
    // Neither the passing of time nor anything else takes something from the row that passed on (A8).
    scene.database.move_clock(7200).await;
    scene.something_else_happens().await;
    assert_eq!(scene.database.text(&format!("{ROW} = 'sales@acme.example'")).await, before);
    assert_eq!(scene.database.text("SELECT owner || ' ' || display FROM mailroster.address").await, "a-loser sales@ACME.example");
    assert_eq!(scene.database.text("SELECT count(*) FROM mailroster.waiting").await, "0");
    assert_eq!(scene.database.text("SELECT count(*) FROM mailroster.audit WHERE action = 'Deleted'").await, "0");
}

#[tokio::test]
async fn a1_both_spellings_of_an_international_name_are_one() {
    let scene = Scene::with_domain("bücher.example").await;
    scene.addresses(&[("one", "Müller@bücher.example")]).await;
    let again = [
        resource("EmailAddress", "two", "{address: mÜller@xn--bcher-kva.example}"),
        resource("EmailAddress", "three", "{address: MÜLLER@BÜCHER.example}"),
        resource("InternalDomain", "two", "{domain: XN--bcher-kva.example}"),
    ]
    .concat();
    scene.cluster.apply(&scene.ours, &again).await;
    for name in ["two", "three"] {
        let seen = scene.cluster.wait_reason("EmailAddress", &scene.ours, name, "AddressClaimed").await;
        assert!(message(&seen).contains("/one"), "{}", message(&seen));
    }
    let domain = scene.cluster.wait_reason("InternalDomain", &scene.ours, "two", "DomainClaimed").await;
    assert!(stalled(&domain) && message(&domain).contains("/acme"), "{}", message(&domain));

    let row = "SELECT canonical || ' ' || display FROM mailroster.address";
    assert_eq!(scene.database.text(row).await, "müller@xn--bcher-kva.example Müller@bücher.example");
    // Each spelling that a mail server may ask for is a key, and the domain answers to both.
    let mta = scene.database.as_role("mailroster_mta");
    eventually(Duration::from_mins(1), "mail servers are answered", async || {
        sqlx::query("SELECT FROM gateway.domain_v1").fetch_all(&mta).await.map(|_| ())
    })
    .await;
    for address in ["müller@xn--bcher-kva.example", "müller@bücher.example"] {
        let found: i64 =
            sqlx::query_scalar("SELECT count(*) FROM gateway.recipient_v1 WHERE address = $1").bind(address).fetch_one(&mta).await.unwrap();
        assert_eq!(found, 1, "{address}");
    }
}

/// SPEC 1: absent means "not managed here".
#[tokio::test]
async fn a5_two_lines_over_a_row_that_others_filled_change_nothing_of_it() {
    let scene = Scene::with_domain("acme.example").await;
    let fill = "
        WITH a AS (
            INSERT INTO mailroster.address (canonical, display, domain_id, namespace, origin, display_name, attributes, disabled, archive_start, smtp_submission, pop)
            SELECT local || '@acme.example', local || '@acme.example', id, namespace, 'MailFlow', 'Info Desk', '{\"room\": \"7\"}', true, '2024-02-29', true, true
            FROM mailroster.domain, unnest(ARRAY['info', 'strict']) local RETURNING id, canonical
        )
        INSERT INTO mailroster.address_key (key, address_id) SELECT canonical, id FROM a";
    scene.database.execute(fill).await;
    let row = format!("{ROW} = 'info@acme.example'");
    let before = scene.database.text(&row).await;

    let strict = resource("EmailAddress", "strict", "{address: strict@acme.example, adoptionPolicy: Fail}");
    scene.cluster.apply(&scene.ours, &(strict + &resource("EmailAddress", "info", "{address: info@acme.example}"))).await;
    let seen = scene.cluster.wait_ready("EmailAddress", &scene.ours, "info").await;
    assert_eq!(seen["status"]["origin"], "MailFlow");
    assert_eq!(condition(&seen, "Disabled").expect("Disabled")["reason"], "Declared");
    assert_eq!(scene.database.text(&row).await, before);
    let refused = scene.cluster.wait_reason("EmailAddress", &scene.ours, "strict", "AdoptionRefused").await;
    assert!(stalled(&refused), "{refused:#}");

    // Taking a field out again lets its value stand.
    for spec in ["{address: info@acme.example, disabled: false, attributes: {room: '8'}}", "{address: info@acme.example}"] {
        scene.cluster.apply(&scene.ours, &resource("EmailAddress", "info", spec)).await;
        scene.cluster.wait_ready("EmailAddress", &scene.ours, "info").await;
        assert_eq!(
            scene.database.text("SELECT disabled || ' ' || (attributes->>'room') FROM mailroster.address WHERE owner = 'info'").await,
            "false 8"
        );
    }
}

#[tokio::test]
async fn c4_a_declared_value_edited_by_hand_is_put_right_and_an_undeclared_one_stands() {
    let scene = Scene::with_domain("acme.example").await;
    let spec = "{address: sales@acme.example, displayName: Sales, attributes: {room: '7'}}";
    scene.cluster.apply(&scene.ours, &resource("EmailAddress", "sales", spec)).await;
    let before = scene.cluster.wait_ready("EmailAddress", &scene.ours, "sales").await;

    let only_undeclared = "UPDATE mailroster.address SET pop = true, attributes = attributes || '{\"floor\": \"2\"}'";
    scene.database.execute(only_undeclared).await;
    scene.something_else_happens().await;
    let drifted = scene.cluster.get("EmailAddress", &scene.ours, "sales").await.unwrap();
    assert_eq!(drifted["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);

    scene.database.execute("UPDATE mailroster.address SET display_name = 'Edited by hand', smtp_submission = true").await;
    scene.cluster.wait_event(&scene.ours, "sales", "DriftCorrected").await;
    let row =
        "SELECT concat_ws(' ', display_name, pop, smtp_submission, attributes->>'room', attributes->>'floor') FROM mailroster.address";
    assert_eq!(scene.database.text(row).await, "Sales t t 7 2");
    assert_eq!(scene.database.text("SELECT count(*) FROM mailroster.audit WHERE reason = 'DriftCorrected'").await, "1");

    // A domain's row likewise.
    scene.database.execute("UPDATE mailroster.domain SET recipient_validation = 'Any'").await;
    scene.cluster.wait_event(&scene.ours, "acme", "DriftCorrected").await;
    assert_eq!(scene.database.text("SELECT recipient_validation FROM mailroster.domain WHERE name = 'acme.example'").await, "Known");
    assert_eq!(
        scene
            .database
            .text("SELECT recipient_action FROM (SELECT gateway.recipient_action_v1('sales@acme.example') AS recipient_action) a")
            .await,
        ""
    );
}

#[tokio::test]
async fn a3_c7_what_cannot_change_is_refused_and_so_is_what_has_no_place_in_the_schema() {
    let scene = Scene::with_domain("acme.example").await;
    scene.addresses(&[("sales", "sales@acme.example")]).await;
    let cannot = "cannot be changed after creation";
    let edits = [
        ("emailaddress/sales", r#"{"spec": {"address": "info@acme.example"}}"#),
        ("internaldomain/acme", r#"{"spec": {"domain": "globex.example"}}"#),
    ];
    for (what, patch) in edits {
        let refused = scene.cluster.kubectl(&["patch", what, "-n", &scene.ours, "--type=merge", "-p", patch]).await.refused();
        assert!(refused.contains(cannot), "{refused}");
        // Flux deletes and makes anew what is refused with other words (DESIGN 5).
        assert!(!refused.contains("is immutable"), "{refused}");
    }
    let apply = async |spec: &str, validate: &str| {
        let yaml = resource("EmailAddress", "typo", spec);
        scene.cluster.kubectl_with_input(&["apply", "-n", &scene.ours, validate, "-f", "-"], &yaml).await
    };
    let unknown = "{address: info@acme.example, displayname: Info}";
    let refused = apply(unknown, "--validate=strict").await.refused();
    assert!(refused.contains(r#"unknown field "spec.displayname""#), "{refused}");
    let warned = apply(unknown, "--validate=warn").await;
    assert!(warned.stderr.contains(r#"unknown field "spec.displayname""#), "{}", warned.stderr);
    warned.succeeded();
    scene.cluster.wait_ready("EmailAddress", &scene.ours, "typo").await;
    for wrong in [
        "{address: info@acme.example, disabled: 'yes'}",
        "{address: 7}",
        "{address: info@acme.example, deletionPolicy: Destroy}",
        "{displayName: Nobody}",
        "{address: info@acme.example, archiveStartDate: 2026-02-30}",
    ] {
        let refused = apply(wrong, "--validate=true").await.refused();
        assert!(refused.contains("spec."), "{wrong}: {refused}");
    }
}

#[tokio::test]
async fn c8_a_suspended_resource_is_frozen_and_its_deletion_still_counts() {
    let scene = Scene::with_domain("acme.example").await;
    scene.addresses(&[("reader", "reader@acme.example"), ("info", "info@acme.example")]).await;
    let purge = "{address: sales@acme.example, displayName: Sales, deletionPolicy: Purge}";
    let pair = "{reader: reader@acme.example, mailbox: info@acme.example}";
    scene.cluster.apply(&scene.ours, &(resource("EmailAddress", "sales", purge) + &resource("DelegateMailbox", "pair", pair))).await;
    scene.cluster.wait_ready("EmailAddress", &scene.ours, "sales").await;
    scene.cluster.wait_ready("DelegateMailbox", &scene.ours, "pair").await;

    // Created suspended: not in force; edited while suspended: Ready stays True and nothing is written.
    let frozen = "{address: sales@acme.example, displayName: Changed, deletionPolicy: Purge, suspend: true}";
    let early = "{address: early@acme.example, suspend: true}";
    scene.cluster.apply(&scene.ours, &(resource("EmailAddress", "sales", frozen) + &resource("EmailAddress", "early", early))).await;
    let sales = scene.cluster.wait_reason("EmailAddress", &scene.ours, "sales", "Suspended").await;
    assert_eq!(condition(&sales, "Ready").unwrap()["status"], "True");
    assert_eq!(sales["status"]["observedGeneration"], sales["metadata"]["generation"]);
    let early = scene.cluster.wait_reason("EmailAddress", &scene.ours, "early", "Suspended").await;
    assert_eq!(condition(&early, "Ready").unwrap()["status"], "False");
    let rows = "SELECT string_agg(canonical || ' ' || display_name, ',' ORDER BY canonical) FROM mailroster.address WHERE canonical !~ '^(info|reader)'";
    assert_eq!(scene.database.text(rows).await, "sales@acme.example Sales");

    // A hand edit stands while it is frozen, and is put right when it no longer is.
    scene.database.execute("UPDATE mailroster.address SET display_name = 'By hand' WHERE canonical = 'sales@acme.example'").await;
    scene.something_else_happens().await;
    assert_eq!(scene.database.text(rows).await, "sales@acme.example By hand");
    let thaw = json!({"spec": {"suspend": false}});
    scene.cluster.patch("EmailAddress", &scene.ours, "sales", &thaw).await;
    scene.cluster.patch("EmailAddress", &scene.ours, "early", &thaw).await;
    scene.cluster.wait_reason("EmailAddress", &scene.ours, "sales", "Succeeded").await;
    scene.cluster.wait_ready("EmailAddress", &scene.ours, "early").await;
    assert_eq!(scene.database.text(rows).await, "early@acme.example ,sales@acme.example Changed");

    // Deletion outranks it: the delegation is revoked, the Purge lets go as Retain.
    let freeze = json!({"spec": {"suspend": true}});
    scene.cluster.patch("EmailAddress", &scene.ours, "sales", &freeze).await;
    scene.cluster.patch("DelegateMailbox", &scene.ours, "pair", &freeze).await;
    scene.cluster.wait_reason("EmailAddress", &scene.ours, "sales", "Suspended").await;
    scene.cluster.wait_reason("DelegateMailbox", &scene.ours, "pair", "Suspended").await;
    assert_eq!(scene.database.text("SELECT count(*) FROM mailroster.delegation").await, "1");
    scene.cluster.delete("DelegateMailbox", &scene.ours, "pair").await;
    scene.cluster.wait_gone("DelegateMailbox", &scene.ours, "pair").await;
    assert_eq!(scene.database.text("SELECT count(*) FROM mailroster.delegation").await, "0");
    scene.cluster.delete("EmailAddress", &scene.ours, "sales").await;
    scene.cluster.wait_gone("EmailAddress", &scene.ours, "sales").await;
    scene.database.move_clock(7200).await;
    scene.something_else_happens().await;
    assert_eq!(
        scene.database.text("SELECT coalesce(owner, 'nobody') FROM mailroster.address WHERE canonical = 'sales@acme.example'").await,
        "nobody"
    );
}

#[tokio::test]
async fn a8_a_resource_made_anew_takes_its_row_back_even_with_fail() {
    let scene = Scene::with_domain("acme.example").await;
    let sales = resource("EmailAddress", "sales", "{address: sales@acme.example, adoptionPolicy: Fail}");
    scene.cluster.apply(&scene.ours, &sales).await;
    scene.cluster.wait_ready("EmailAddress", &scene.ours, "sales").await;
    let row = format!("{ROW} = 'sales@acme.example'");
    let before = scene.database.text(&row).await;

    scene.cluster.delete("EmailAddress", &scene.ours, "sales").await;
    let owner = "SELECT coalesce(owner, 'nobody') FROM mailroster.address";
    eventually(Duration::from_mins(1), "nobody owns the row", async || match scene.database.text(owner).await {
        owner if owner == "nobody" => Ok(()),
        owner => Err(owner),
    })
    .await;
    // U1: its logon is shut after a while, and adoption opens it again.
    scene.database.move_clock(11).await;
    eventually(Duration::from_mins(1), "the logon is shut", async || {
        match scene.database.text("SELECT shut FROM mailroster.address").await {
            shut if shut == "true" => Ok(()),
            shut => Err(shut),
        }
    })
    .await;
    let other = resource("EmailAddress", "other", "{address: sales@acme.example, adoptionPolicy: Fail}");
    scene.cluster.apply(&scene.ours, &other).await;
    scene.cluster.wait_reason("EmailAddress", &scene.ours, "other", "AdoptionRefused").await;
    scene.cluster.apply(&scene.ours, &sales).await;
    let seen = scene.cluster.wait_ready("EmailAddress", &scene.ours, "sales").await;
    assert_eq!(condition(&seen, "Disabled").unwrap()["status"], "False");
    assert_eq!(scene.database.text(&row).await, before);
    scene.cluster.wait_reason("EmailAddress", &scene.ours, "other", "AddressClaimed").await;
}
