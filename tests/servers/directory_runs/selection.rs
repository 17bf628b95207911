//! What a connection takes of what it reads: its domains, aliases, disabled accounts (SPEC Y2, Y4).

use super::corp::{Corp, FULL};

/// Two domains of the tenant, and people in both, in one and in none of them.
async fn two_domains() -> Corp {
    let corp = Corp::without_connection().await;
    corp.tenant.apply("InternalDomain/test {domain: acme.test}").await;
    corp.tenant.ready("InternalDomain/test").await;
    corp.add(
        "anna SMTP:anna@acme.example, smtp:anna@acme.test, smtp:a@acme.example
bert SMTP:bert@acme.test, smtp:b@acme.test
carl SMTP:carl@elsewhere.example
dora SMTP:dora@acme.test, smtp:dora@acme.example",
    );
    corp.add_groups("all SMTP:all@acme.test\nsome SMTP:some@acme.example");
    corp
}

#[tokio::test]
async fn y2_y3_only_addresses_in_the_selected_domains_are_brought_and_entries_without_one_are_skipped_and_counted() {
    let corp = two_domains().await;
    let only = format!("{FULL}, domains: [acme.example]");
    corp.connect("corp", &only).await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    // Y3: what lies outside gives way, here too.
    let selected = "a@acme.example Directory ->anna@acme.example
         anna@acme.example Directory
         dora@acme.example Directory
         some@acme.example DistributionList";
    corp.roster(selected).await;
    let run = corp.run().await;
    assert_eq!((&run["read"], &run["skipped"], &run["reported"]), (&6.into(), &3.into(), &0.into()), "{run}");
    corp.store("SELECT string_agg(domain, ' ') FROM mailroster.covered_domain", "acme.example").await;
    corp.store("SELECT count(*) FROM mailroster.entry", "3").await;
    // With none selected all of the namespace are, and those alone.
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", FULL))).await;
    for _ in 0..2 {
        corp.run().await;
    }
    corp.roster(
        "a@acme.example Directory ->anna@acme.example
         all@acme.test DistributionList
         anna@acme.example Directory
         anna@acme.test Directory ->anna@acme.example
         b@acme.test Directory ->bert@acme.test
         bert@acme.test Directory
         dora@acme.example Directory ->dora@acme.test
         dora@acme.test Directory
         some@acme.example DistributionList",
    )
    .await;
    let run = corp.run().await;
    assert_eq!((&run["read"], &run["skipped"]), (&6.into(), &1.into()), "{run}");
    corp.store("SELECT string_agg(domain, ' ' ORDER BY domain) FROM mailroster.covered_domain", "acme.example acme.test").await;
}

#[tokio::test]
async fn y5_y7_a_domain_taken_out_of_the_connection_takes_nobody_away() {
    let corp = two_domains().await;
    corp.connect("corp", FULL).await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    let accepted = "SELECT count(*) FROM gateway.recipient_v1 WHERE domain IN ('acme.example', 'acme.test')";
    let before = corp.tenant.database.text(accepted).await;
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", &format!("{FULL}, domains: [acme.example]")))).await;
    corp.tenant.reasons("DirectoryConnection/corp ScopeChanged").await;
    corp.store("SELECT count(*) FROM mailroster.address WHERE directory_missing", "0").await;
    // Of so few more than half are beyond any guard.
    for _ in 0..3 {
        corp.run().await;
    }
    corp.tenant.condition("DirectoryConnection/corp", "DeletionsHeld", "True MassDeletion").await;
    corp.store("SELECT count(*) FROM mailroster.address WHERE directory_missing", "0").await;
    corp.store(accepted, &before).await;
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", FULL))).await;
    for _ in 0..2 {
        corp.run().await;
    }
    corp.tenant.condition("DirectoryConnection/corp", "DeletionsHeld", "False NothingHeld").await;
    corp.store("SELECT count(*) FROM mailroster.leaver", "0").await;
}

#[tokio::test]
async fn y2_without_linking_further_addresses_are_left_out_and_with_it_they_come() {
    let corp = Corp::without_connection().await;
    let link = |yes: bool| format!("{FULL}, linkAliases: {yes}");
    corp.add("anna SMTP:anna@acme.example, smtp:a@acme.example\nbert smtp:bert@acme.example, smtp:b@acme.example");
    corp.add_groups("all SMTP:all@acme.example, smtp:everybody@acme.example");
    corp.connect("corp", &link(false)).await;
    let run = corp.run().await;
    assert_eq!((&run["read"], &run["linked"], &run["reported"]), (&3.into(), &0.into(), &0.into()), "{run}");
    // Whoever has no primary goes by the first.
    corp.roster("all@acme.example DistributionList\nanna@acme.example Directory\nb@acme.example Directory").await;
    corp.store("SELECT count(*) FROM gateway.alias_v1", "0").await;
    // What reads as it did is looked at anew, for it means something else now.
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", &link(true)))).await;
    corp.roster(
        "a@acme.example Directory ->anna@acme.example
         all@acme.example DistributionList
         anna@acme.example Directory
         b@acme.example Directory
         bert@acme.example Directory ->b@acme.example
         everybody@acme.example Directory ->all@acme.example",
    )
    .await;
}

#[tokio::test]
async fn y4_disabled_accounts_that_are_not_acknowledged_stay_open_and_are_shut_once_they_are() {
    let corp = Corp::without_connection().await;
    let acknowledge = |yes: bool| format!("{FULL}, acknowledgeDisabledAccounts: {yes}");
    corp.declare_with_password("anna", "").await;
    corp.add("anna SMTP:anna@acme.example\nbert SMTP:bert@acme.example\ncarl SMTP:carl@acme.example");
    // By the account's own sign, and by its time that is over.
    let modify = |name: &str, attribute: &str| {
        corp.slapd.modify(&format!("dn: {}\nchangetype: modify\nreplace: {attribute}\n", corp.dn(name)));
    };
    modify("anna", "userAccountControl\nuserAccountControl: 514");
    modify("bert", "accountExpires\naccountExpires: 132223104000000000");
    corp.connect("corp", &acknowledge(false)).await;
    let run = corp.run().await;
    assert_eq!((&run["unchanged"], &run["disabled"]), (&3.into(), &0.into()), "{run}");
    corp.roster("anna@acme.example Directory\nbert@acme.example Directory\ncarl@acme.example Directory").await;
    corp.store("SELECT string_agg(login, ' ') FROM gateway.credential_v1", "anna@acme.example").await;
    corp.tenant.condition("EmailAddress/anna", "Disabled", "False NotDisabled").await;
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", &acknowledge(true)))).await;
    corp.roster("anna@acme.example Directory disabled\nbert@acme.example Directory disabled\ncarl@acme.example Directory").await;
    corp.store("SELECT count(*) FROM gateway.credential_v1", "0").await;
    corp.tenant.condition("EmailAddress/anna", "Disabled", "True DirectoryDisabled").await;
}
