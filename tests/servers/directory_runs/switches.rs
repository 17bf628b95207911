//! Another server answers than the one that was read last (SPEC Y11): only additions and disables are taken from it until a complete run
//! there agrees.

use super::corp::Corp;
use super::faults::STORE;
use crate::support::{Slapd, folder, slapd};
use crate::tenant::Tenant;

const PEOPLE: [(&str, &str); 3] =
    [("anna", "SMTP:anna@acme.example, smtp:a@acme.example"), ("bert", "SMTP:bert@acme.example"), ("carl", "SMTP:carl@acme.example")];

/// One of two servers that have the same entries, as replicas do. It lives as long as the process.
async fn replica(name: &str, base: &str) -> &'static Slapd {
    let ou = base.split([',', '=']).nth(1).expect("an ou");
    let people = PEOPLE.iter().enumerate().map(|(number, (name, addresses))| {
        let addresses: String = addresses.split(", ").map(|address| format!("proxyAddresses: {address}\n")).collect();
        format!(
            "dn: cn={name},{base}\nobjectClass: user\ncn: {name}\nsn: x\n{addresses}entryUUID: 00000000-0000-4000-8000-00000000000{number}\n\
             entryCSN: 20260101000000.000000Z#000000#000#000000\n\n"
        )
    });
    let ldif = format!("dn: {base}\nobjectClass: organizationalUnit\nou: {ou}\n\n{}", people.collect::<String>());
    Box::leak(Box::new(Slapd::start_with(&folder::own(name), &ldif).await))
}

#[tokio::test]
async fn y11_from_a_replica_that_lags_behind_only_additions_and_disables_are_taken_until_it_agrees_with_itself() {
    let base = format!("ou=switched,{}", slapd::SUFFIX);
    let lagging = replica("lagging", &base).await;
    let first = replica("ahead-of-lagging", &base).await;
    let tenant = Tenant::with("InternalDomain/acme {domain: acme.example}").await;
    let corp = Corp::at(tenant, first, base);
    // What the second one has not heard of yet.
    corp.add("dora SMTP:dora@acme.example");
    corp.readdress("anna", "SMTP:wed@acme.example");
    let disable = format!("dn: {}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 514\n", corp.dn("carl"));
    first.modify(&disable);
    let urls = format!("urls: ['ldap://127.0.0.1:{}', 'ldap://127.0.0.1:{}'], leavers: {{missedRuns: 2}}", first.ldap(), lagging.ldap());
    corp.connect("corp", &urls).await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    let there =
        "bert@acme.example Directory\ncarl@acme.example Directory disabled\ndora@acme.example Directory\nwed@acme.example Directory";
    corp.roster(there).await;

    first.kill().await;
    let run = corp.run().await;
    assert_eq!(
        (&run["complete"], &run["problem"]["reason"], &run["missing"]),
        (&false.into(), &"ServerSwitched".into(), &0.into()),
        "{run}"
    );
    corp.tenant.reasons("DirectoryConnection/corp ServerSwitched").await;
    let message = corp.tenant.message("DirectoryConnection/corp", "ServerSwitched").await;
    assert!(message.contains("lags behind") && message.contains("only additions and disables"), "{message}");
    // It knows Anna by her old addresses: mail to them is taken, and nothing else happens to her.
    let more = "a@acme.example Directory ->wed@acme.example\nanna@acme.example Directory ->wed@acme.example";
    corp.roster(&format!("{more}\n{there}")).await;

    // Back in time for the next run: as before.
    first.start_again().await;
    let run = corp.run().await;
    assert_eq!((&run["complete"], &run["missing"]), (&true.into(), &2.into()), "its two old addresses: {run}");
    corp.tenant.reasons("DirectoryConnection/corp Succeeded").await;
    corp.roster(&format!("{more}\n{there}")).await;

    // Gone for good: the second complete run of the other one agrees, and from then on it is the directory.
    first.kill().await;
    corp.run().await;
    corp.tenant.reasons("DirectoryConnection/corp ServerSwitched").await;
    let run = corp.run().await;
    assert_eq!((&run["complete"], &run["enabled"]), (&true.into(), &1.into()), "{run}");
    corp.tenant.reasons("DirectoryConnection/corp Succeeded").await;
    let now = "a@acme.example Directory ->anna@acme.example\nanna@acme.example Directory\nbert@acme.example Directory\ncarl@acme.example Directory\n\
               dora@acme.example Directory\nwed@acme.example Directory";
    corp.roster(now).await;
    let before = corp.tenant.rows(&format!("SELECT line FROM ({STORE}) s ORDER BY line")).await;
    let run = corp.run().await;
    assert_eq!(run["mode"], "SyncRepl", "{run}");
    assert_eq!(corp.tenant.rows(&format!("SELECT line FROM ({STORE}) s ORDER BY line")).await, before);
}

#[tokio::test]
async fn y11_a_server_that_was_restored_is_one_that_lags_behind_itself() {
    let base = format!("ou=restored,{}", slapd::SUFFIX);
    let server = replica("restored-directory", &base).await;
    let tenant = Tenant::with("InternalDomain/acme {domain: acme.example}").await;
    let corp = Corp::at(tenant, server, base);
    corp.connect("corp", "").await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    server.back_up().await;
    corp.add("dora SMTP:dora@acme.example");
    server.modify(&format!("dn: {}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 514\n", corp.dn("carl")));
    let run = corp.run().await;
    assert_eq!((&run["mode"], &run["created"], &run["disabled"]), (&"SyncRepl".into(), &1.into(), &1.into()), "{run}");
    let known = "SELECT string_agg(canonical || CASE WHEN directory_disabled THEN ' disabled' ELSE '' END, ', ' ORDER BY canonical) FROM mailroster.address WHERE NOT is_alias";
    let all = "anna@acme.example, bert@acme.example, carl@acme.example disabled, dora@acme.example";
    corp.store(known, all).await;

    server.restore().await;
    let run = corp.run().await;
    assert_eq!(
        (&run["complete"], &run["problem"]["reason"], &run["missing"], &run["enabled"]),
        (&false.into(), &"ServerSwitched".into(), &0.into(), &0.into()),
        "{run}"
    );
    corp.store(known, all).await;
    // The second one that agrees is believed; from then on it tells what changed.
    let run = corp.run().await;
    assert_eq!((&run["complete"], &run["missing"], &run["enabled"]), (&true.into(), &1.into(), &1.into()), "{run}");
    corp.add("emil SMTP:emil@acme.example");
    let run = corp.run().await;
    assert_eq!((&run["mode"], &run["created"]), (&"SyncRepl".into(), &1.into()), "{run}");
}
