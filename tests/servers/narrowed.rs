//! `--namespaces a,b` narrowed to `a`: what b has in the store stands, whatever time passes and whoever reports (SPEC U4, U6, A8).

use crate::support::operator::Settings;
use crate::support::wait::PATIENCE;
use crate::support::{self, Operator, eventually};
use crate::tenant::Tenant;

const DAY: i64 = 86_400;

/// Both tenants have one of each; the addresses are enough for the guard to let an end or two pass.
fn declared(domain: &str) -> String {
    let mut all = format!(
        "InternalDomain/acme {{domain: {domain}}}\nAccountSettings/default {{purge: {{delay: 1h, heldMailReports: NotRequired}}}}\n"
    );
    for name in ["info", "ann", "bob", "cat", "dan", "eve", "left", "back"] {
        all.push_str(&format!("EmailAddress/{name} {{address: {name}@{domain}}}\n"));
    }
    all + &format!(
        "EmailAddress/mail {{address: mail@{domain}, password: {{secretRef: {{name: mail, key: password}}}}}}
         EmailAddress/purge {{address: purge@{domain}, deletionPolicy: Purge}}
         AliasLink/desk {{alias: desk@{domain}, primary: info@{domain}}}
         AliasLink/orders {{alias: orders@{domain}, primary: info@{domain}}}
         DelegateMailbox/pair {{reader: ann@{domain}, mailbox: info@{domain}}}
         AdminRole/help {{builtIn: HelpDesk, members: [bob@{domain}]}}"
    )
}

/// All that mail servers and administrators see of globex.example, and who declares it.
const ROWS: &str = "
    SELECT concat_ws(' ', 'address', canonical, owner, shut, closing, disabled, display_name) AS line FROM mailroster.address WHERE canonical LIKE '%@globex.example'
    UNION ALL SELECT concat_ws(' ', 'domain', name, namespace, owner) FROM mailroster.domain WHERE name = 'globex.example'
    UNION ALL SELECT concat_ws(' ', 'settings', owner) FROM mailroster.settings WHERE namespace = (SELECT namespace FROM mailroster.domain WHERE name = 'globex.example')
    UNION ALL SELECT concat_ws(' ', 'link', a.canonical, l.owner) FROM mailroster.link l JOIN mailroster.address a ON a.id = l.alias_id WHERE a.canonical LIKE '%@globex.example'
    UNION ALL SELECT concat_ws(' ', 'pair', a.canonical, g.owner) FROM mailroster.delegation g JOIN mailroster.address a ON a.id = g.reader_id WHERE a.canonical LIKE '%@globex.example'
    UNION ALL SELECT concat_ws(' ', 'member', a.canonical, o.name) FROM mailroster.role_member m JOIN mailroster.role o ON o.id = m.role_id
        JOIN mailroster.address a ON a.id = m.address_id WHERE a.canonical LIKE '%@globex.example'
    UNION ALL SELECT concat_ws(' ', 'recipient', address) FROM gateway.recipient_v1 WHERE domain = 'globex.example'
    UNION ALL SELECT concat_ws(' ', 'logon', login) FROM gateway.logon_v1 WHERE login LIKE '%@globex.example'
    UNION ALL SELECT concat_ws(' ', 'credential', login) FROM gateway.credential_v1 WHERE login LIKE '%@globex.example'
    UNION ALL SELECT concat_ws(' ', 'reader', reader, mailbox) FROM gateway.archive_reader_v1 WHERE mailbox LIKE '%@globex.example'
    UNION ALL SELECT concat_ws(' ', 'administrator', login, permission) FROM gateway.administrator_v1 WHERE login LIKE '%@globex.example'";

#[tokio::test]
async fn u6_a8_namespaces_a_and_b_narrowed_to_a_leave_all_that_b_has_as_it_is() {
    let cluster = support::control_plane().await;
    let (a, b, database) = tokio::join!(support::fresh_namespace(), support::fresh_namespace(), support::fresh_database());
    let both = Settings::new(cluster, &database, &[&a, &b]).await;
    let narrow = Settings { namespaces: vec![a.clone()], ..both.clone() };
    let operator = Operator::start_with(both.clone()).await;
    let mut tenant = Tenant { cluster, namespace: b.clone(), database, operator };
    tenant.secret("mail", "Correct-Horse-7").await;
    let globex = declared("globex.example");
    tenant.apply(&globex).await;
    tenant.ready(&globex).await;
    // Ends that have begun to wait: none may come while nobody can see whether it is still meant.
    tenant.delete("EmailAddress/left EmailAddress/back EmailAddress/purge AliasLink/orders").await;
    let waiting = "SELECT w.action || ' ' || a.canonical FROM mailroster.waiting w JOIN mailroster.address a ON a.id = w.address_id";
    let ends = ["Purge purge@globex.example", "Shut back@globex.example", "Shut left@globex.example", "Unlink orders@globex.example"];
    eventually(PATIENCE, "all ends wait", async || {
        let found = tenant.rows(waiting).await;
        if found == ends { Ok(()) } else { Err(found) }
    })
    .await;
    tenant.operator.kill9();
    let before = tenant.rows(ROWS).await;
    assert!(before.len() > 30, "{before:#?}");

    // A controller of `a` alone, for four days, with a restart and with work of its own.
    let acme = declared("acme.example");
    for start in 1..=2 {
        Operator::release_lease(cluster, &both).await;
        tenant.operator = Operator::start_with(narrow.clone()).await;
        tenant.namespace.clone_from(&a);
        tenant.secret("mail", "Correct-Horse-7").await;
        tenant.apply(&acme).await;
        tenant.ready(&acme).await;
        for quarter in 1..=8 {
            tenant.database.move_clock(DAY / 4 + 30).await;
            // Mail servers report of b's addresses, and a hand in SQL touches them: that makes them dirty.
            let logon = "SELECT gateway.record_logon_v1(gen_random_uuid(), 'info@globex.example', 'success', 'imap')";
            sqlx::query(logon).execute(&tenant.auth()).await.expect("a logon");
            let touch = "UPDATE mailroster.address SET display_name = display_name WHERE canonical LIKE '%@globex.example'";
            tenant.database.execute(touch).await;
            tenant.apply(&format!("EmailAddress/info {{address: info@acme.example, displayName: Info {start} {quarter}}}")).await;
            tenant.ready("EmailAddress/info").await;
            tenant.until("SELECT count(*) FROM mailroster.change", &["0"]).await;
        }
        assert_eq!(tenant.rows(ROWS).await, before);
        tenant.operator.kill9();
    }

    // Both again: what is declared by now is in force, and what is not ends as it would have.
    Operator::release_lease(cluster, &both).await;
    tenant.namespace = b;
    tenant.apply("EmailAddress/back {address: back@globex.example}").await;
    tenant.operator = Operator::start_with(both).await;
    let rest: String =
        globex.lines().filter(|line| !["left", "purge", "orders"].iter().any(|name| line.contains(name))).collect::<Vec<_>>().join("\n");
    tenant.ready(&rest).await;
    tenant.until("SELECT shut FROM mailroster.address WHERE canonical = 'left@globex.example'", &["true"]).await;
    tenant.until("SELECT shut FROM mailroster.address WHERE canonical = 'back@globex.example'", &["false"]).await;
    tenant.database.move_clock(3_700).await;
    tenant.gone("AliasLink/orders EmailAddress/purge").await;
    assert!(tenant.rows(ROWS).await.contains(&"logon mail@globex.example".to_owned()));
}
