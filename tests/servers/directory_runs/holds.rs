//! What must not follow: typos, lost rights, many who vanish at once.

use super::corp::{Corp, FULL};

fn people(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("u{n} SMTP:u{n}@acme.example\n")).collect()
}

const THERE: &str = "SELECT count(*) FROM gateway.recipient_v1 WHERE kind = 'mailbox'";

#[tokio::test]
async fn y5_a_filter_typo_takes_nobody_away_and_names_itself() {
    let corp = Corp::without_connection().await;
    corp.tenant.apply("InternalDomain/acme {domain: acme.example, recipientValidation: Directory}").await;
    corp.add(&people(0..30));
    corp.connect("corp", FULL).await;
    corp.run().await;
    corp.store(THERE, "30").await;
    corp.tenant
        .apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", &format!("{FULL}, userFilter: '(objectClass=usr)'"))))
        .await;
    corp.run().await;
    let message = corp.tenant.message("DirectoryConnection/corp", "NobodyFound").await;
    assert!(message.contains("nobody was found"), "{message}");
    // Also one that finds somebody: another scope proves nothing before a second complete run agrees, and then the guard holds.
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", &format!("{FULL}, userFilter: '(cn=u1*)'")))).await;
    corp.run().await;
    corp.tenant.reasons("DirectoryConnection/corp ScopeChanged").await;
    for _ in 0..3 {
        corp.run().await;
    }
    corp.tenant.condition("DirectoryConnection/corp", "DeletionsHeld", "True MassDeletion").await;
    corp.store(THERE, "30").await;
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", FULL))).await;
    for _ in 0..2 {
        corp.run().await;
    }
    corp.tenant.condition("DirectoryConnection/corp", "DeletionsHeld", "False NothingHeld").await;
    corp.store("SELECT count(*) FROM mailroster.leaver", "0").await;
}

#[tokio::test]
async fn y7_a_third_who_vanish_are_held_a_stale_hash_releases_nothing_and_mail_flows_on() {
    let corp = Corp::without_connection().await;
    corp.tenant.apply("InternalDomain/acme {domain: acme.example, recipientValidation: Directory}").await;
    corp.add(&people(0..40));
    corp.connect("corp", "").await;
    corp.run().await;
    (0..13).for_each(|n| corp.remove(&format!("u{n}")));
    for _ in 0..2 {
        corp.run().await;
    }
    let held = |count: u32| move |status: &serde_json::Value| status["heldPlan"]["count"] == count;
    let status = corp.tenant.status("DirectoryConnection/corp", "13 held", held(13)).await;
    let stale = status["heldPlan"]["hash"].as_str().expect("a hash").to_owned();
    (13..20).for_each(|n| corp.remove(&format!("u{n}")));
    corp.run().await;
    let status = corp.tenant.status("DirectoryConnection/corp", "20 held", held(20)).await;
    corp.tenant.annotate("DirectoryConnection/corp", "approve", &stale).await;
    corp.run().await;
    corp.tenant.database.move_clock(2 * 86_400).await;
    corp.run().await;
    corp.store(THERE, "40").await;
    let hash = status["heldPlan"]["hash"].as_str().expect("a hash").to_owned();
    corp.tenant.annotate("DirectoryConnection/corp", "approve", &hash).await;
    corp.tenant.handled("DirectoryConnection/corp", "approve", &hash).await;
    corp.store(THERE, "20").await;
    corp.store("SELECT count(*) FROM mailroster.address WHERE origin = 'MailFlow'", "20").await;
    corp.tenant.condition("DirectoryConnection/corp", "DeletionsHeld", "False NothingHeld").await;
}

#[tokio::test]
async fn y4_disabled_accounts_are_shut_at_once_however_many_and_attributes_that_are_hidden_change_nothing() {
    let corp = Corp::without_connection().await;
    corp.add(&people(0..20));
    let control = |range: std::ops::Range<u32>, value: u32| {
        range
            .map(|n| {
                format!(
                    "dn: {}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: {value}\n\n",
                    corp.dn(&format!("u{n}"))
                )
            })
            .collect::<String>()
    };
    corp.slapd.modify(&(control(0..8, 514) + &control(8..20, 512)));
    corp.connect("corp", "").await;
    corp.run().await;
    corp.store("SELECT count(*) FROM mailroster.address WHERE directory_disabled", "8").await;
    // An account that may not read the attribute: who was disabled stays so.
    let dim = format!(
        "bind: {{dn: 'cn=dim,{}', passwordSecretRef: {{name: corp-ldap, key: password}}}}, attributes: {{}}",
        crate::support::slapd::SUFFIX
    );
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", &dim))).await;
    corp.run().await;
    corp.store("SELECT count(*) FROM mailroster.address WHERE directory_disabled", "8").await;
    corp.store("SELECT count(*) FROM mailroster.leaver", "0").await;
}

#[tokio::test]
async fn y9_a_wrong_password_says_so_without_saying_it() {
    let corp = Corp::without_connection().await;
    corp.add("anna SMTP:anna@acme.example");
    corp.connect("corp", "").await;
    corp.run().await;
    let yaml = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: corp-ldap, labels: {mailroster.dev/readable: \"true\"}}\nstringData: {password: Wr0ng-and-planted}\n";
    corp.tenant.cluster.apply(&corp.tenant.namespace, yaml).await;
    corp.run().await;
    let message = corp.tenant.message("DirectoryConnection/corp", "BindRefused").await;
    assert!(message.contains("password") && !message.contains("Wr0ng"), "{message}");
    assert!(!corp.tenant.operator.log().contains("Wr0ng"));
    corp.store(THERE, "1").await;
}
