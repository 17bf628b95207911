//! What is accepted: `recipient_action_v1`, `recipient_v1`, `alias_v1` (SPEC V1 to V4, A1, U2).

use super::{NOT_READY, PHC, acme, action, ask, code_of, granted, rows, wrong_password};

/// V3.
#[tokio::test]
async fn before_the_first_complete_plan_views_and_the_recipient_check_raise_and_recording_works() {
    let database = acme().await;
    database.execute("UPDATE mailroster.installation SET answers_since = NULL").await;
    for (role, (views, _)) in granted() {
        let pool = database.as_role(role);
        for view in views {
            assert_eq!(ask(&pool, &format!("SELECT * FROM gateway.{view}")).await.unwrap_err(), NOT_READY, "{view}");
            // No condition spares the question. (`IS NULL` would prove nothing: Postgres 17 knows without asking that keys are not.)
            assert_eq!(
                ask(&pool, &format!("SELECT count(*) FROM gateway.{view} WHERE {view}::text = 'nothing'")).await.unwrap_err(),
                NOT_READY,
                "{view}"
            );
        }
    }
    let (mta, auth) = (database.as_role("mailroster_mta"), database.as_role("mailroster_auth"));
    assert_eq!(ask(&auth, "SELECT login FROM gateway.logon_v1 WHERE directory").await.unwrap_err(), NOT_READY);
    for address in ["sales@acme.example", "somebody@elsewhere.example"] {
        assert_eq!(code_of(&mta, &format!("SELECT gateway.recipient_action_v1('{address}')")).await, NOT_READY);
    }
    for recording in ["record_sender_v1('info@acme.example')", "record_held_v1('queue', '[]')", "retire_source_v1('queue')"] {
        assert_eq!(code_of(&mta, &format!("SELECT gateway.{recording}")).await, "", "{recording}");
    }
    wrong_password(&auth, "sales@acme.example", 1).await;
    assert_eq!(database.text("SELECT key FROM mailroster.learned_sender").await, "info@acme.example");
}

/// V1.
#[tokio::test]
async fn v1_each_mode_accepts_its_own() {
    let database = acme().await;
    let mta = database.as_role("mailroster_mta");
    for mode in ["Any", "Known", "Directory", "CallForward", "None"] {
        let domain = format!("{}.example", mode.to_lowercase());
        database
            .execute(&format!(
                "SELECT test.domain('{domain}', '{mode}'); SELECT test.address('manual@{domain}'); SELECT test.address('found@{domain}', 'Directory');
                 SELECT test.address('list@{domain}', 'DistributionList'); SELECT test.alias('of-manual@{domain}', 'manual@{domain}');
                 SELECT test.alias('of-found@{domain}', 'found@{domain}'); SELECT test.alias('of-sales@{domain}', 'sales@acme.example');"
            ))
            .await;
        let (unknown, deferred) = ("550 5.1.1", "451 4.1.1");
        // manual, found, list, of-manual, of-found, of-sales, an unknown one
        let expected = match mode {
            "Any" => [""; 7],
            "Known" => ["", "", "", "", "", "", unknown],
            "Directory" => [deferred, "", "", deferred, "", "", deferred],
            "CallForward" => ["", "", "", "", "", "", "reject_unverified_recipient"],
            _ => [unknown; 7],
        };
        let names = ["manual", "found", "list", "of-manual", "of-found", "of-sales", "nobody"];
        for (name, expected) in names.into_iter().zip(expected) {
            assert_eq!(action(&mta, &format!("{name}@{domain}")).await, expected, "{name}@{domain}");
            let listed = rows(&mta, &format!("SELECT 1 FROM gateway.recipient_v1 WHERE address = '{name}@{domain}'")).await.len() == 1;
            assert_eq!(listed, expected.is_empty() && name != "nobody", "{name}@{domain} in recipient_v1");
        }
    }
    assert_eq!(
        rows(&mta, "SELECT * FROM gateway.recipient_v1 WHERE domain = 'directory.example'").await,
        [
            "(found@directory.example,directory.example,mailbox)",
            "(list@directory.example,directory.example,list)",
            "(of-found@directory.example,directory.example,alias)",
            "(of-sales@directory.example,directory.example,alias)",
        ]
    );
    for nobodys in ["someone@elsewhere.example", "acme.example", "sales@", "@acme.example", ""] {
        assert_eq!(action(&mta, nobodys).await, "", "{nobodys:?}");
    }
}

/// V3: a new domain, and `unknownRecipients: Defer`.
#[tokio::test]
async fn unknown_recipients_are_deferred_while_a_domain_is_new_or_says_so() {
    let database = acme().await;
    let mta = database.as_role("mailroster_mta");
    database.execute("UPDATE mailroster.domain SET created_at = mailroster.now()").await;
    assert_eq!(action(&mta, "nobody@acme.example").await, "451 4.1.1");
    database.move_clock(3601).await;
    assert_eq!(action(&mta, "nobody@acme.example").await, "550 5.1.1");
    database.execute("UPDATE mailroster.domain SET unknown_recipients = 'Defer'").await;
    assert_eq!(action(&mta, "nobody@acme.example").await, "451 4.1.1");
    assert_eq!(action(&mta, "sales@acme.example").await, "");
}

/// V4.
#[tokio::test]
async fn a_sub_address_is_decided_by_what_stands_before_the_sign_unless_it_exists() {
    let database = acme().await;
    let mta = database.as_role("mailroster_mta");
    assert_eq!(action(&mta, "sales+news@acme.example").await, "550 5.1.1");
    database.execute("UPDATE mailroster.domain SET sub_addressing = '+'; SELECT test.address('a+b@acme.example');").await;
    for (address, expected) in [
        ("Sales+News@ACME.example", ""),
        ("sales.e+x+y@acme.example", ""),
        ("a+b@acme.example", ""),
        ("a+c@acme.example", "550 5.1.1"),
        ("+sales@acme.example", "550 5.1.1"),
    ] {
        assert_eq!(action(&mta, address).await, expected, "{address}");
    }
}

/// V4.
#[tokio::test]
async fn postmaster_and_abuse_stand_for_themselves_or_for_the_domains_postmaster_or_are_deferred() {
    let database = acme().await;
    let mta = database.as_role("mailroster_mta");
    assert_eq!(action(&mta, "postmaster@acme.example").await, "451 4.1.1");
    assert_eq!(rows(&mta, "SELECT * FROM gateway.alias_v1 WHERE alias LIKE 'abuse@%'").await, [""; 0]);

    database.execute("UPDATE mailroster.domain SET postmaster = 'sales@acme.example'").await;
    for name in ["postmaster", "abuse"] {
        assert_eq!(action(&mta, &format!("{name}@acme.example")).await, "");
        let alias = rows(&mta, &format!("SELECT * FROM gateway.alias_v1 WHERE alias = '{name}@acme.example'")).await;
        assert_eq!(alias, [format!("({name}@acme.example,sales@acme.example)")]);
        let recipient = rows(&mta, &format!("SELECT * FROM gateway.recipient_v1 WHERE address = '{name}@acme.example'")).await;
        assert_eq!(recipient, [format!("({name}@acme.example,acme.example,alias)")]);
    }
    // A target that takes no mail, is gone or is somebody else's is none.
    for spoil in [
        "UPDATE mailroster.address SET closing = true WHERE canonical = 'sales@acme.example'",
        "UPDATE mailroster.domain SET postmaster = 'gone@acme.example'",
        "UPDATE mailroster.domain SET postmaster = 'info@globex.example'",
        // Its primary is closing.
        "UPDATE mailroster.domain SET postmaster = 'sales.e@acme.example'; UPDATE mailroster.address SET closing = canonical LIKE 'sales@%'",
    ] {
        database
            .execute(
                "INSERT INTO mailroster.domain (name, namespace, recipient_validation, unknown_recipients, learn_senders)
                 VALUES ('globex.example', 'globex', 'Known', 'Reject', true) ON CONFLICT DO NOTHING;
                 INSERT INTO mailroster.address (canonical, display, domain_id, namespace, origin)
                 SELECT 'info@globex.example', '', id, namespace, 'Manual' FROM mailroster.domain WHERE namespace = 'globex' ON CONFLICT DO NOTHING;",
            )
            .await;
        database.execute(spoil).await;
        assert_eq!(action(&mta, "postmaster@acme.example").await, "451 4.1.1", "{spoil}");
        for (view, first) in [("alias_v1", "alias"), ("recipient_v1", "address")] {
            let found =
                rows(&mta, &format!("SELECT * FROM gateway.{view} WHERE {first} IN ('postmaster@acme.example', 'abuse@acme.example')"))
                    .await;
            assert_eq!(found, [""; 0], "{spoil}");
        }
        database
            .execute("UPDATE mailroster.address SET closing = false; UPDATE mailroster.domain SET postmaster = 'sales@acme.example'")
            .await;
        assert_eq!(action(&mta, "abuse@acme.example").await, "");
    }
    database.execute("SELECT test.address('abuse@acme.example')").await;
    assert_eq!(rows(&mta, "SELECT * FROM gateway.alias_v1 WHERE alias = 'abuse@acme.example'").await, [""; 0]);
    let recipient = rows(&mta, "SELECT kind FROM gateway.recipient_v1 WHERE address = 'abuse@acme.example'").await;
    assert_eq!(recipient, ["(mailbox)"]);
}

/// V4: what stands for postmaster@ and abuse@ is kept beside the keys; whatever changes, by hand too, it follows.
#[tokio::test]
async fn v4_stand_ins_follow_the_roster_whatever_changes() {
    let database = acme().await;
    let mta = database.as_role("mailroster_mta");
    let stands = async |what: &str, expected: &[&str]| {
        let found = rows(&mta, "SELECT alias, primary_address FROM gateway.alias_v1 WHERE alias ~ '^(postmaster|abuse)@'").await;
        let expected: Vec<_> = expected.iter().map(|pair| format!("({pair})")).collect();
        assert_eq!(found, expected, "{what}");
        let listed = rows(&mta, "SELECT address FROM gateway.recipient_v1 WHERE kind = 'alias' AND address ~ '^(postmaster|abuse)@'").await;
        assert_eq!(listed.len(), expected.len(), "{what}");
    };
    let both = ["abuse@acme.example,desk@acme.example", "postmaster@acme.example,desk@acme.example"];
    database.execute("UPDATE mailroster.domain SET postmaster = 'desk@acme.example'").await;
    stands("nobody has that address", &[]).await;
    database.execute("SELECT test.address('desk@acme.example')").await;
    stands("it is made", &both).await;

    database.execute("SELECT test.address('abuse@acme.example')").await;
    stands("abuse@ is declared", &both[1..]).await;
    assert_eq!(rows(&mta, "SELECT kind FROM gateway.recipient_v1 WHERE address = 'abuse@acme.example'").await, ["(mailbox)"]);
    database.execute("DELETE FROM mailroster.address WHERE canonical = 'abuse@acme.example'").await;
    stands("and is no more", &both).await;

    database.execute("INSERT INTO mailroster.domain_key (key, domain_id) SELECT 'äcme.example', id FROM mailroster.domain").await;
    let spelt = ["abuse@äcme.example,desk@acme.example", "postmaster@äcme.example,desk@acme.example"];
    stands("another spelling of the domain", &[both[0], spelt[0], both[1], spelt[1]]).await;
    database
        .execute("DELETE FROM mailroster.domain_key WHERE key = 'äcme.example'; DELETE FROM mailroster.address_key WHERE key LIKE '%ä%'")
        .await;

    database.execute("UPDATE mailroster.domain SET recipient_validation = 'None'").await;
    stands("the domain only sends", &[]).await;
    database.execute("UPDATE mailroster.domain SET recipient_validation = 'Directory'").await;
    stands("in any other mode", &both).await;
    assert_eq!(action(&mta, "Abuse@ACME.example").await, "");
    assert_eq!(action(&mta, "desk@acme.example").await, "451 4.1.1", "the address itself is judged as any");

    // An alias stands, under its own name, while its primary takes mail.
    database
        .execute(
            "UPDATE mailroster.address SET is_alias = true WHERE canonical = 'desk@acme.example';
             INSERT INTO mailroster.link (alias_id, primary_id, namespace, origin, made_row)
             SELECT a.id, p.id, a.namespace, 'Declared', false FROM mailroster.address a, mailroster.address p
             WHERE a.canonical = 'desk@acme.example' AND p.canonical = 'sales@acme.example'",
        )
        .await;
    stands("it becomes an alias", &both).await;
    database.execute("UPDATE mailroster.address SET closing = canonical LIKE 'sales@%'").await;
    stands("its primary is being purged", &[]).await;
    database.execute("UPDATE mailroster.address SET closing = false").await;

    // In another domain: it stands while both are in one namespace (D1).
    database.execute("SELECT test.domain('globex.example'); UPDATE mailroster.domain SET postmaster = 'sales@acme.example'").await;
    let moved = "globex.example,sales@acme.example";
    stands(
        "of two domains",
        &[
            "abuse@acme.example,sales@acme.example",
            &format!("abuse@{moved}"),
            "postmaster@acme.example,sales@acme.example",
            &format!("postmaster@{moved}"),
        ],
    )
    .await;
    database.execute("UPDATE mailroster.domain SET namespace = 'other' WHERE name = 'globex.example'").await;
    stands("one changes hands", &["abuse@acme.example,sales@acme.example", "postmaster@acme.example,sales@acme.example"]).await;
    database
        .execute(
            "BEGIN; SET CONSTRAINTS ALL DEFERRED; UPDATE mailroster.link SET namespace = 'other';
             UPDATE mailroster.address SET namespace = 'other'; UPDATE mailroster.domain SET namespace = 'other'; COMMIT",
        )
        .await;
    assert_eq!(rows(&mta, "SELECT alias FROM gateway.alias_v1 WHERE alias LIKE 'abuse@%'").await.len(), 2, "the other follows");
    database
        .execute("DELETE FROM mailroster.link; UPDATE mailroster.address SET is_alias = false; DELETE FROM mailroster.address WHERE canonical = 'sales@acme.example'")
        .await;
    stands("the address is no more", &[]).await;
}

/// A1: every spelling that has a key, in either case.
#[tokio::test]
async fn an_address_is_found_under_all_its_keys() {
    let database = acme().await;
    let mta = database.as_role("mailroster_mta");
    database
        .execute(
            "SELECT test.domain('xn--bcher-kva.example'); SELECT test.address('jürgen@xn--bcher-kva.example');
             INSERT INTO mailroster.domain_key (key, domain_id) SELECT 'bücher.example', id FROM mailroster.domain WHERE name LIKE 'xn--%';
             INSERT INTO mailroster.address_key (key, address_id) SELECT 'jürgen@bücher.example', id FROM mailroster.address WHERE canonical LIKE 'j%';",
        )
        .await;
    // The last one is decomposed: u and a combining diaeresis.
    for spelling in
        ["jürgen@xn--bcher-kva.example", "jürgen@bücher.example", "JÜRGEN@BÜCHER.example", "ju\u{308}rgen@bu\u{308}cher.example"]
    {
        assert_eq!(action(&mta, spelling).await, "", "{spelling}");
    }
    assert_eq!(action(&mta, "nobody@bücher.example").await, "550 5.1.1");
    assert_eq!(
        rows(&mta, "SELECT * FROM gateway.sender_v1 WHERE sender LIKE 'j%'").await,
        ["(jürgen@bücher.example,jürgen@xn--bcher-kva.example)", "(jürgen@xn--bcher-kva.example,jürgen@xn--bcher-kva.example)"]
    );
}

/// U2.
#[tokio::test]
async fn an_address_that_is_only_waiting_for_held_mail_takes_no_new_mail_and_opens_no_logon() {
    let database = acme().await;
    let (mta, auth) = (database.as_role("mailroster_mta"), database.as_role("mailroster_auth"));
    database.execute(&format!("SELECT test.password('sales@acme.example', '{PHC}')")).await;
    assert_eq!(rows(&auth, "SELECT login FROM gateway.credential_v1").await, ["(sales@acme.example)"]);
    database.execute("UPDATE mailroster.address SET closing = true WHERE canonical = 'sales@acme.example'").await;
    for mode in ["Known", "Any", "CallForward"] {
        database.execute(&format!("UPDATE mailroster.domain SET recipient_validation = '{mode}'")).await;
        for address in ["sales@acme.example", "sales.e@acme.example"] {
            assert_eq!(action(&mta, address).await, "550 5.1.1", "{address} with {mode}");
        }
    }
    for (pool, view) in [(&mta, "recipient_v1"), (&mta, "alias_v1"), (&mta, "sender_v1"), (&auth, "logon_v1"), (&auth, "credential_v1")] {
        assert_eq!(rows(pool, &format!("SELECT * FROM gateway.{view}")).await, [""; 0], "{view}");
    }
    assert_eq!(rows(&mta, "SELECT * FROM gateway.mailbox_v1").await, ["(sales@acme.example)"], "held mail must find its mailbox");
}
