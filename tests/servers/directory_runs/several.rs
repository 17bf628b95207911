//! Several connections of one tenant that find one address (SPEC Y8).

use super::corp::{Corp, FULL};

const ANNA: &str = "SMTP:anna@acme.example, smtp:also.anna@acme.example";
/// Whether somebody left in the eyes of a connection.
const LEFT: &str = "SELECT count(*) FROM mailroster.audit WHERE reason IN ('DirectoryMissing', 'DirectoryLeft', 'DirectoryDropped')";

/// Two connections: `corp` was there first and has Anna, `other` reads another part of the directory, whose DN comes along. Entries are known
/// by an attribute that goes with a person who moves from one part to the other, as an objectGUID does within a forest.
async fn two(more: &str) -> (Corp, String) {
    let corp = Corp::without_connection().await;
    let other = corp.slapd.fresh_base();
    person(&corp, &corp.base, "anna", "guid-of-anna", ANNA);
    for name in ["bert", "carl", "dora"] {
        person(&corp, &corp.base, name, name, &format!("SMTP:{name}@acme.example"));
    }
    person(&corp, &other, "yuri", "yuri", "SMTP:yuri@acme.example");
    corp.connect("corp", &known_by_account(more)).await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    corp.connect("other", &format!("{}, baseDN: '{other}'", known_by_account(more))).await;
    corp.tenant.ready("DirectoryConnection/other").await;
    (corp, other)
}

fn known_by_account(more: &str) -> String {
    format!("{more}, attributes: {{id: sAMAccountName, aliases: proxyAddresses}}")
}

fn person(corp: &Corp, base: &str, name: &str, id: &str, addresses: &str) {
    let addresses: String = addresses.split(", ").map(|address| format!("proxyAddresses: {address}\n")).collect();
    corp.slapd.add(&format!("dn: cn={name},{base}\nobjectClass: user\ncn: {name}\nsn: x\nsAMAccountName: {id}\n{addresses}\n"));
}

/// Whose Anna's addresses are: the connection, and the entry of the mailbox.
async fn annas(corp: &Corp, expected: &str) {
    let sql = "SELECT string_agg(concat_ws(' ', canonical, connection, entry), ', ' ORDER BY canonical) FROM mailroster.address WHERE canonical LIKE '%anna@%'";
    corp.store(sql, expected).await;
}

#[tokio::test]
async fn y8_of_two_connections_with_one_address_the_first_keeps_it_the_other_reports_it_and_nothing_flaps() {
    let (corp, other) = two(FULL).await;
    person(&corp, &other, "anna", "another-anna", ANNA);
    let run = corp.run_of("other").await;
    assert_eq!((&run["complete"], &run["created"]), (&true.into(), &0.into()), "{run}");
    let told = |run: &serde_json::Value| {
        let reports = run["reports"].to_string();
        for address in ["anna@acme.example", "also.anna@acme.example"] {
            assert!(reports.contains(&format!("cn=anna,{other}: {address} is DirectoryConnection corp's")), "{run}");
        }
    };
    told(&run);
    annas(&corp, "also.anna@acme.example corp, anna@acme.example corp guid-of-anna").await;
    let rows = "SELECT string_agg(concat_ws(' ', xmin, canonical), ', ' ORDER BY canonical) FROM mailroster.address";
    let before = corp.tenant.database.text(rows).await;
    for _ in 0..2 {
        let own = corp.run().await;
        assert_eq!((&own["reported"], &own["updated"]), (&0.into(), &0.into()), "{own}");
        told(&corp.run_of("other").await);
    }
    assert_eq!(corp.tenant.database.text(rows).await, before);
    corp.tenant.reasons("DirectoryConnection/corp Succeeded\nDirectoryConnection/other Succeeded").await;
    corp.tenant.condition("DirectoryConnection/other", "HolderChanged", "False SameHolder").await;
}

#[tokio::test]
async fn y8_an_address_that_the_owners_run_lacks_passes_to_the_connection_that_has_it_without_a_leaver() {
    let (corp, other) = two(FULL).await;
    corp.declare_with_password("anna", "").await;
    person(&corp, &other, "anna", "guid-of-anna", ANNA);
    corp.run_of("other").await;
    annas(&corp, "also.anna@acme.example corp, anna@acme.example corp guid-of-anna").await;
    corp.remove("anna");
    let run = corp.run().await;
    assert_eq!((&run["complete"], &run["held"]), (&true.into(), &0.into()), "{run}");
    // Nobody asked the other one.
    annas(&corp, "also.anna@acme.example other, anna@acme.example other guid-of-anna").await;
    corp.tenant.condition("EmailAddress/anna", "Disabled", "False NotDisabled").await;
    corp.store("SELECT count(*) FROM mailroster.leaver", "0").await;
    assert_eq!(corp.tenant.database.text(LEFT).await, "0");
    // The same person, who goes on logging on and whose archive begins when it did.
    corp.store("SELECT string_agg(login, ' ') FROM gateway.credential_v1", "anna@acme.example").await;
    corp.store("SELECT count(*) FROM mailroster.address WHERE holder_since IS NOT NULL", "0").await;
    // And there it stays.
    let run = corp.run().await;
    assert_eq!((&run["missing"], &run["held"]), (&0.into(), &0.into()), "{run}");
    let run = corp.run_of("other").await;
    assert_eq!((&run["updated"], &run["reported"]), (&0.into(), &0.into()), "{run}");
    annas(&corp, "also.anna@acme.example other, anna@acme.example other guid-of-anna").await;
}

/// As many as the guard lets leave, and more.
#[tokio::test]
async fn y8_so_do_those_whose_deletion_the_server_shows_to_the_owner() {
    for many in [1, 6] {
        let corp = Corp::without_connection().await;
        let other = corp.slapd.fresh_base();
        corp.add(&(0..8).map(|n| format!("u{n} SMTP:u{n}@acme.example\n")).collect::<String>());
        person(&corp, &other, "yuri", "yuri", "SMTP:yuri@acme.example");
        corp.connect("corp", "").await;
        corp.tenant.ready("DirectoryConnection/corp").await;
        corp.connect("other", &format!("baseDN: '{other}'")).await;
        corp.tenant.ready("DirectoryConnection/other").await;
        for n in 0..many {
            person(&corp, &other, &format!("u{n}"), &format!("v{n}"), &format!("SMTP:u{n}@acme.example"));
        }
        corp.run_of("other").await;
        (0..many).for_each(|n| corp.remove(&format!("u{n}")));
        let run = corp.run().await;
        assert_eq!(run["mode"], "SyncRepl", "{run}");
        corp.store("SELECT count(*) FROM mailroster.address WHERE connection = 'other'", &(many + 1).to_string()).await;
        corp.store("SELECT count(*) FROM mailroster.leaver", "0").await;
        corp.run().await;
        corp.tenant.condition("DirectoryConnection/corp", "DeletionsHeld", "False NothingHeld").await;
        assert_eq!(corp.tenant.database.text(LEFT).await, "0", "{many}");
    }
}

#[tokio::test]
async fn y8_what_an_incomplete_run_of_the_owner_lacks_does_not_pass_before_a_complete_one_lacks_it() {
    let (corp, other) = two(FULL).await;
    person(&corp, &other, "anna", "guid-of-anna", ANNA);
    corp.run_of("other").await;
    // Another filter is another view: nothing follows from who is missing there before a second run agrees.
    let narrow = format!("{}, userFilter: '(&(objectClass=user)(!(cn=anna)))'", known_by_account(FULL));
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", &narrow))).await;
    corp.tenant.reasons("DirectoryConnection/corp ScopeChanged").await;
    let run = corp.run_of("other").await;
    assert_eq!(run["reported"], 2, "{run}");
    annas(&corp, "also.anna@acme.example corp, anna@acme.example corp guid-of-anna").await;
    corp.run().await;
    corp.tenant.reasons("DirectoryConnection/corp Succeeded").await;
    annas(&corp, "also.anna@acme.example other, anna@acme.example other guid-of-anna").await;
    assert_eq!(corp.tenant.database.text(LEFT).await, "0");
}
