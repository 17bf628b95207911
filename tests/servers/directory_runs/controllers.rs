//! Two domain controllers of one Active Directory, real Sambas: each counts by itself, and one takes over from the other (SPEC Y10, Y11).

use crate::support::samba::{PASSWORD, SUFFIX, account};
use crate::support::{self, Samba, folder};
use crate::tenant::Tenant;
use serde_json::Value;

use super::corp::Corp;

fn person(name: &str, control: u32, addresses: &str) -> String {
    account(&format!("CN={name},CN=Users,{SUFFIX}"), name, control, addresses)
}

/// The connection and its Secrets: the first controller's authority and the second's.
async fn connect(tenant: &Tenant, controllers: &[Samba; 2]) {
    // As large as bundles are: those that count come last.
    let others = (0..12).map(|_| support::certificates::Authority::new("another authority").pem());
    let authorities = others.chain(controllers.iter().map(Samba::ca)).collect::<String>();
    assert!(authorities.len() > 4_096);
    let authorities = authorities.replace('\n', "\n      ");
    let secret = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: corp-ldap, labels: {{mailroster.dev/readable: \"true\"}}}}\nstringData:\n  password: {PASSWORD}\n  ca: |\n      {authorities}\n"
    );
    tenant.cluster.apply(&tenant.namespace, &secret).await;
    let [first, second] = controllers.each_ref().map(Samba::address);
    tenant
        .apply(&format!(
            "DirectoryConnection/corp {{type: ActiveDirectory, urls: ['ldaps://{first}', 'ldaps://{second}'], baseDN: 'CN=Users,{SUFFIX}', interval: 24h, \
             tls: {{mode: LDAPS, caSecretRef: {{name: corp-ldap, key: ca}}}}, bind: {{dn: 'sync@corp.test', passwordSecretRef: {{name: corp-ldap, key: password}}}}}}"
        ))
        .await;
}

/// By what a run read, whether it was complete, and how many addresses it missed.
fn of(run: &Value) -> String {
    format!("{} {} {}", run["mode"].as_str().unwrap_or_default(), run["complete"], run["missing"])
}

#[tokio::test]
async fn y11_a_second_controller_takes_over_reads_all_and_is_believed_from_its_second_complete_run_on() {
    if !support::may_have_samba() {
        return;
    }
    let people = [
        person("anna", 512, "proxyAddresses: SMTP:anna@acme.example\nproxyAddresses: smtp:a@acme.example"),
        person("bert", 512, "mail: bert@acme.example"),
        person("carl", 512, "mail: carl@acme.example"),
    ];
    let controllers = Samba::start_two(&folder::own("two-controllers"), &people.concat()).await;
    let [first, second] = &controllers;
    let tenant = Tenant::with("InternalDomain/acme {domain: acme.example}").await;
    // Corp runs and looks; the directory is not its own.
    let corp = Corp::at(tenant, support::slapd().await, format!("CN=Users,{SUFFIX}"));
    connect(&corp.tenant, &controllers).await;
    corp.tenant.ready("DirectoryConnection/corp").await;

    first.add(&person("dora", 512, "mail: dora@acme.example"));
    first.modify(&format!("dn: CN=bert,CN=Users,{SUFFIX}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 514\n"));
    let run = corp.run().await;
    assert_eq!(of(&run), "UpdateSequenceNumber true 0", "{run}");
    assert_eq!((&run["read"], &run["created"], &run["disabled"]), (&2.into(), &1.into(), &1.into()), "{run}");
    let roster = "a@acme.example Directory ->anna@acme.example\nanna@acme.example Directory\nbert@acme.example Directory disabled\n\
                  carl@acme.example Directory\ndora@acme.example Directory";
    corp.roster(roster).await;

    // The other one answers: it has not heard of Dora, nor that Bert is disabled.
    first.stop().await;
    second.modify(&format!("dn: CN=carl,CN=Users,{SUFFIX}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 514\n"));
    second.add(&person("emil", 512, "mail: emil@acme.example"));
    let run = corp.run().await;
    assert_eq!(of(&run), "Full false 0", "{run}");
    assert_eq!(&run["problem"]["reason"], "ServerSwitched", "{run}");
    let roster = "a@acme.example Directory ->anna@acme.example\nanna@acme.example Directory\nbert@acme.example Directory disabled\n\
                  carl@acme.example Directory disabled\ndora@acme.example Directory\nemil@acme.example Directory";
    corp.roster(roster).await;
    let run = corp.run().await;
    assert_eq!(of(&run), "Full true 1", "{run}");
    corp.roster(&roster.replace("bert@acme.example Directory disabled", "bert@acme.example Directory")).await;
    // From then on it tells what changed by its own numbers.
    second.modify(&format!("dn: CN=emil,CN=Users,{SUFFIX}\nchangetype: modify\nreplace: displayName\ndisplayName: Emil\n"));
    let run = corp.run().await;
    assert_eq!((of(&run).as_str(), &run["read"]), ("UpdateSequenceNumber true 1", &1.into()), "{run}");

    // And back: nobody has left by a switch alone.
    first.start_again().await;
    let run = corp.run().await;
    assert_eq!(&run["problem"]["reason"], "ServerSwitched", "{run}");
    let run = corp.run().await;
    assert_eq!(of(&run), "Full true 1", "Emil, whom it has not heard of: {run}");
    corp.store("SELECT count(*) FROM mailroster.address WHERE directory_missing", "0").await;
}
