//! What the ActiveDirectory preset brings from a domain controller, and what not (SPEC Y2, Y4).

use crate::support::samba::{self, PASSWORD};
use crate::support::{self, Samba};
use crate::tenant::Tenant;
use serde_json::json;

/// A domain that validates by directory, and a connection with nothing but what every connection must say.
async fn connected(samba: &Samba, base: &str) -> Tenant {
    let tenant = Tenant::with("InternalDomain/acme {domain: acme.example, recipientValidation: Directory}").await;
    let secret = |name: &str, key: &str, value: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": {"mailroster.dev/readable": "true"}}, "stringData": {key: value}});
    for secret in [secret("ldap", "password", PASSWORD), secret("ca", "ca.crt", &samba.ca()), secret("room", "password", "Correct-Horse-7")]
    {
        tenant.cluster.apply(&tenant.namespace, &secret.to_string()).await;
    }
    tenant.apply("EmailAddress/room {address: room@acme.example, password: {secretRef: {name: room, key: password}}}").await;
    tenant.ready("EmailAddress/room").await;
    let spec = json!({
        "type": "ActiveDirectory", "urls": [format!("ldaps://{}", samba.address())], "tls": {"caSecretRef": {"name": "ca", "key": "ca.crt"}},
        "bind": {"dn": "sync@corp.test", "passwordSecretRef": {"name": "ldap", "key": "password"}}, "baseDN": base, "interval": "24h",
    });
    tenant.apply(&format!("DirectoryConnection/corp {spec}")).await;
    tenant
}

/// One entry of each kind, with a suffix to their names: seven that are recipients, and three besides.
fn kinds(base: &str, suffix: &str) -> String {
    let user = |name: &str, control: u32, lines: &str| {
        samba::account(&format!("CN={name}{suffix},{base}"), &format!("kind-{name}{suffix}"), control, lines)
    };
    let object = |name: &str, class: &str, lines: &str| format!("dn: CN={name}{suffix},{base}\nobjectClass: {class}\n{lines}\n\n");
    let mail = |name: &str| format!("mail: {name}{suffix}@acme.example");
    let proxy = |prefix: &str, name: &str| format!("proxyAddresses: {prefix}:{name}{suffix}@acme.example");
    [
        user("anna", 512, &format!("{}\n{}\nmail: ignored@acme.example", proxy("SMTP", "anna"), proxy("smtp", "a"))),
        // They sit on accounts that are disabled on purpose.
        user("room", 514, &mail("room")),
        user("shared", 514, &proxy("SMTP", "shared")),
        object("contact", "contact", &mail("contact")),
        object("folder", "publicFolder", &proxy("SMTP", "folder")),
        object("all", "group", &format!("sAMAccountName: kind-all{suffix}\n{}", mail("all"))),
        object("dynamic", "msExchDynamicDistributionList", &proxy("smtp", "dynamic")),
        // Nobody writes to these by mail, or they are no recipients.
        user("nomail", 512, &format!("{}\nproxyAddresses: x500:/o=corp/cn=nomail", proxy("sip", "nomail"))),
        object("team", "group", &format!("sAMAccountName: kind-team{suffix}")),
        object("machine", "computer", &format!("sAMAccountName: kind-machine{suffix}$\nuserAccountControl: 4096\n{}", mail("machine"))),
    ]
    .concat()
}

/// What becomes of [`kinds`].
fn brought(suffix: &str) -> Vec<String> {
    [
        "a.@acme.example Directory ->anna.@acme.example",
        "all.@acme.example DistributionList",
        "anna.@acme.example Directory",
        "contact.@acme.example Directory",
        "dynamic.@acme.example DistributionList",
        "folder.@acme.example Directory",
        "room.@acme.example Directory disabled",
        "shared.@acme.example Directory disabled",
    ]
    .map(|line| line.replace(".@", &format!("{suffix}@")))
    .to_vec()
}

/// By the server in a full read, and by us in one of what changed, which the server is asked for without the filter (Y11).
#[tokio::test]
async fn y2_y4_of_active_directory_come_people_rooms_shared_mailboxes_contacts_public_folders_and_lists_of_both_kinds() {
    const ROSTER: &str =
        "SELECT concat_ws(' ', a.canonical, a.origin, CASE WHEN a.directory_disabled THEN 'disabled' END, '->' || p.canonical) AS line
        FROM mailroster.address a LEFT JOIN mailroster.link l ON l.alias_id = a.id LEFT JOIN mailroster.address p ON p.id = l.primary_id";
    let Some(samba) = support::samba().await else { return };
    let base = samba.fresh_base();
    samba.add(&kinds(&base, ""));
    let tenant = connected(samba, &base).await;
    tenant.ready("DirectoryConnection/corp").await;
    let status = tenant.status("DirectoryConnection/corp", "a run", |status| status["lastRun"]["complete"] == true).await;
    let run = &status["lastRun"];
    assert_eq!((&run["mode"], &run["read"], &run["skipped"], &run["reported"]), (&"Full".into(), &7.into(), &0.into(), &0.into()), "{run}");
    let mut roster = brought("");
    tenant.until(ROSTER, &roster.iter().map(String::as_str).collect::<Vec<_>>()).await;

    samba.add(&kinds(&base, "2"));
    tenant.annotate("DirectoryConnection/corp", "requestedAt", "now").await;
    let status =
        tenant.status("DirectoryConnection/corp", "what changed", |status| status["lastRun"]["mode"] == "UpdateSequenceNumber").await;
    let run = &status["lastRun"];
    assert_eq!((&run["read"], &run["complete"], &run["missing"]), (&7.into(), &true.into(), &0.into()), "{run}");
    roster.extend(brought("2"));
    roster.sort();
    tenant.until(ROSTER, &roster.iter().map(String::as_str).collect::<Vec<_>>()).await;

    // Mail flows to all of them; into the room nobody logs on.
    tenant.until("SELECT count(*) FROM gateway.recipient_v1 WHERE gateway.recipient_action_v1(address) IS NULL", &["16"]).await;
    assert_eq!(tenant.rows("SELECT login FROM gateway.credential_v1").await, Vec::<String>::new());
    tenant.condition("EmailAddress/room", "Disabled", "True DirectoryDisabled").await;
    tenant.condition("EmailAddress/room", "MailAccepted", "True Accepted").await;

    // `sync` is not shown who was deleted: nobody is missing before all are read.
    samba.modify(&format!("dn: CN=contact,{base}\nchangetype: delete\n"));
    let last = "SELECT state->'last_run'->>'started_at' FROM mailroster.connection";
    let before = tenant.database.text(last).await;
    tenant.annotate("DirectoryConnection/corp", "requestedAt", "deleted").await;
    let increment = "SELECT state->'last_run'->>'mode', state->'last_run'->>'missing' FROM mailroster.connection";
    support::eventually(support::wait::PATIENCE, "another run", async || {
        let now = tenant.database.text(last).await;
        if now == before { Err(now) } else { Ok(()) }
    })
    .await;
    assert_eq!(tenant.rows(increment).await, ["UpdateSequenceNumber,0"]);
    tenant.cluster.patch("DirectoryConnection", &tenant.namespace, "corp", &json!({"spec": {"changeDetection": "Full"}})).await;
    tenant.until(increment, &["Full,1"]).await;
}
