//! What must not follow: typos, lost rights, many who vanish at once.

use super::corp::{Corp, FULL};
use crate::support::slapd;

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
async fn y4_of_accounts_whose_sign_is_hidden_nothing_follows_the_run_says_so_and_newcomers_come_in() {
    let corp = Corp::without_connection().await;
    // Known by `mail`, which every account may read.
    let person = |n: u32, control: u32| {
        let name = format!("u{n}");
        let dn = corp.dn(&name);
        format!("dn: {dn}\nobjectClass: user\ncn: {name}\nsn: x\nmail: {name}@acme.example\nuserAccountControl: {control}\n\n")
    };
    corp.slapd.add(&(0..20).map(|n| person(n, if n < 8 { 514 } else { 512 })).collect::<String>());
    corp.connect("corp", "attributes: {}").await;
    let run = corp.run().await;
    assert_eq!((&run["complete"], &run["problem"]), (&true.into(), &serde_json::Value::Null), "{run}");
    let disabled = "SELECT string_agg(canonical, ' ' ORDER BY canonical) FROM mailroster.address WHERE directory_disabled";
    let eight = (0..8).map(|n| format!("u{n}@acme.example")).collect::<Vec<_>>().join(" ");
    corp.store(disabled, &eight).await;
    // An account that may not read the sign: who was disabled stays so, and who leaves is not missed.
    let dim = format!("cn=dim,{}", crate::support::slapd::SUFFIX);
    let hidden = format!("bind: {{dn: '{dim}', passwordSecretRef: {{name: corp-ldap, key: password}}}}, attributes: {{}}");
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", &hidden))).await;
    corp.slapd.add(&person(20, 512));
    corp.remove("u19");
    for _ in 0..2 {
        let run = corp.run().await;
        assert_eq!((&run["complete"], &run["read"], &run["missing"]), (&false.into(), &20.into(), &0.into()), "{run}");
    }
    let message = corp.tenant.message("DirectoryConnection/corp", "AttributesHidden").await;
    assert_eq!(
        message,
        format!("19 of the 19 entries that had the attribute userAccountControl came without it; may {dim} still read it?")
    );
    corp.store(disabled, &eight).await;
    corp.store(THERE, "21").await;
    corp.store("SELECT count(*) FROM mailroster.leaver", "0").await;
    // With its rights back the account sees who is disabled, and the second run that agrees misses whom it lacks.
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", "attributes: {}"))).await;
    let run = corp.run().await;
    assert_eq!((&run["complete"], &run["missing"]), (&true.into(), &1.into()), "{run}");
    corp.store(disabled, &eight).await;
}

#[tokio::test]
async fn y9_a_wrong_password_says_so_without_saying_it() {
    let corp = Corp::without_connection().await;
    corp.add("anna SMTP:anna@acme.example");
    corp.connect("corp", "").await;
    corp.run().await;
    corp.set_password("corp", "Wr0ng-and-planted").await;
    corp.run().await;
    let message = corp.tenant.message("DirectoryConnection/corp", "BindRefused").await;
    assert!(message.contains("password") && !message.contains("Wr0ng"), "{message}");
    assert!(!corp.tenant.operator.log().contains("Wr0ng"));
    corp.store(THERE, "1").await;
    // The right one is tried as soon as it is there.
    corp.set_password("corp", slapd::PASSWORD).await;
    corp.tenant.reasons("DirectoryConnection/corp Succeeded").await;
}

/// Somebody is missing, and each run that can't see everything says why and misses nobody.
#[tokio::test]
async fn y5_nothing_follows_from_absence_whatever_keeps_a_run_from_seeing_everything() {
    let corp = Corp::without_connection().await;
    corp.add(&people(0..30));
    corp.connect("corp", FULL).await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    let attic = corp.slapd.fresh_base();
    let results = |name: &str| format!("baseDN: 'cn={name},ou=results,{}'", slapd::SUFFIX);
    let bind = |name: &str| {
        format!("pageSize: 10, bind: {{dn: 'cn={name},{}', passwordSecretRef: {{name: corp-ldap, key: password}}}}", slapd::SUFFIX)
    };
    let causes = [
        (results("timelimit"), "TimeLimitExceeded"),
        (results("busy"), "DirectoryBusy"),
        (results("noaccess"), "SearchRefused"),
        (results("gone"), "ConnectionLost"),
        (format!("baseDN: 'ou=nowhere,{}'", slapd::SUFFIX), "BaseNotFound"),
        (bind("limited"), "SizeLimitExceeded"),
        (bind("dim"), "AttributesHidden"),
        (bind("faceless"), "AttributesHidden"),
        (bind("stranger"), "BindRefused"),
    ];
    for (more, reason) in causes {
        corp.hide("u0", &attic);
        corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", &format!("{FULL}, {more}")))).await;
        corp.tenant.reasons(&format!("DirectoryConnection/corp {reason}")).await;
        for _ in 0..3 {
            let run = corp.run().await;
            assert_eq!((&run["complete"], &run["missing"], &run["problem"]["reason"]), (&false.into(), &0.into(), &reason.into()), "{run}");
        }
        corp.store("SELECT count(*) FROM mailroster.leaver", "0").await;
        corp.store(THERE, "30").await;
        // The next one that sees everything misses whom there is to miss.
        corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", FULL))).await;
        corp.tenant.status("DirectoryConnection/corp", "a run that misses one", |status| status["lastRun"]["missing"] == 1).await;
        corp.show("u0", &attic);
        assert_eq!(corp.run().await["missing"], 0, "{reason}");
    }
    // A base one level down, and rights to less: other views of the directory.
    corp.slapd.add(&format!("dn: ou=below,{0}\nobjectClass: organizationalUnit\nou: below\n\ndn: cn=b,ou=below,{0}\nobjectClass: user\ncn: b\nsn: x\nproxyAddresses: SMTP:b@acme.example\n", corp.base));
    for more in [format!("baseDN: 'ou=below,{}'", corp.base), bind("narrow")] {
        corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", &format!("{FULL}, {more}")))).await;
        corp.tenant.reasons("DirectoryConnection/corp ScopeChanged").await;
        corp.store("SELECT count(*) FROM mailroster.leaver", "0").await;
        corp.store(THERE, "31").await;
    }
}
