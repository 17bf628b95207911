//! `mailroster check directory` on real servers: what it tells of each, and the status that it ends with (SPEC 13).

use crate::commands::{Ran, on_cluster};
use crate::support::samba;
use crate::support::slapd::{self, SUFFIX};
use crate::support::{self, Cluster, Samba, Slapd};
use serde_json::json;

/// A namespace with a domain, Secrets and connections, and nobody who runs them.
struct Office {
    cluster: &'static Cluster,
    namespace: String,
}

impl Office {
    async fn new() -> Self {
        let office = Self { cluster: support::control_plane().await, namespace: support::fresh_namespace().await };
        office.apply("InternalDomain", "corp-test", &json!({"domain": "corp.test"})).await;
        office
    }

    async fn apply(&self, kind: &str, name: &str, spec: &serde_json::Value) {
        let resource = json!({"apiVersion": "mailroster.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        self.cluster.apply(&self.namespace, &resource.to_string()).await;
    }

    async fn secret(&self, name: &str, key: &str, value: &str, label: &str) {
        let metadata = json!({"name": name, "labels": {label: "true"}});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {key: value}});
        self.cluster.apply(&self.namespace, &secret.to_string()).await;
    }

    async fn secrets(&self, password: &str, ca: &str) {
        self.secret("ldap", "password", password, "mailroster.dev/readable").await;
        self.secret("ca", "ca.crt", ca, "mailroster.dev/readable").await;
    }

    /// A connection to slapd over TLS, as one of its accounts.
    async fn connect(&self, slapd: &Slapd, base: &str, account: &str, urls: &[String]) {
        let own = [format!("ldaps://127.0.0.1:{}", slapd.ldaps())];
        let spec = json!({
            "type": "OpenLDAP",
            "urls": if urls.is_empty() { &own } else { urls },
            "tls": {"caSecretRef": {"name": "ca", "key": "ca.crt"}},
            "bind": {"dn": format!("cn={account},{SUFFIX}"), "passwordSecretRef": {"name": "ldap", "key": "password"}},
            "baseDN": base,
            "userFilter": "(objectClass=user)",
            "groupFilter": "(objectClass=group)",
            "attributes": {"aliases": "proxyAddresses", "displayName": "displayName", "extra": {"department": "department"}},
        });
        self.apply("DirectoryConnection", "corp", &spec).await;
    }

    async fn check(&self, arguments: &[&str]) -> Ran {
        let ran = on_cluster(self.cluster, &[&["check", "directory"][..], arguments, &["-n", &self.namespace]].concat()).await;
        for secret in [slapd::PASSWORD, samba::PASSWORD, "Wr0ng-password"] {
            assert!(!ran.out.contains(secret) && !ran.err.contains(secret), "Y9: {ran:?}");
        }
        ran
    }
}

#[track_caller]
fn tells(ran: &Ran, status: i32, words: &[&str]) {
    assert_eq!(ran.status, status, "{}{}", ran.out, ran.err);
    for words in words {
        assert!(ran.out.contains(words), "{words:?} in:\n{}{}", ran.out, ran.err);
    }
}

/// People, one of them disabled, one with an address elsewhere, and a group.
fn people(slapd: &Slapd, base: &str) {
    let user = |name: &str, lines: &str| format!("dn: cn={name},{base}\nobjectClass: user\ncn: {name}\nsn: {name}\n{lines}\n\n");
    slapd.add(
        &[
            user("anna", "proxyAddresses: SMTP:anna@corp.test\nproxyAddresses: smtp:a.meier@corp.test\ndisplayName: Anna Meier"),
            user("left", "proxyAddresses: SMTP:left@corp.test\nuserAccountControl: 514"),
            user("guest", "proxyAddresses: SMTP:guest@elsewhere.test"),
            user("odd", "proxyAddresses: SMTP:odd@corp.test\nproxyAddresses: smtp:o d d@corp.test"),
            format!("dn: cn=all,{base}\nobjectClass: group\ncn: all\nproxyAddresses: SMTP:all@corp.test\nmember: cn=anna,{base}\n\n"),
        ]
        .concat(),
    );
}

#[tokio::test]
async fn y5_check_directory_tells_what_a_server_shows() {
    let (office, slapd) = (Office::new().await, support::slapd().await);
    let base = slapd.fresh_base();
    people(slapd, &base);
    office.secrets(slapd::PASSWORD, &slapd.ca()).await;
    office.connect(slapd, &base, "sync", &[]).await;
    let ran = office.check(&["corp"]).await;
    let url = format!("ldaps://127.0.0.1:{}", slapd.ldaps());
    tells(
        &ran,
        0,
        &[
            &format!("ok       {url} is reached, with a certificate for 127.0.0.1, ldap.corp.test from CN=directory test authority"),
            &format!("ok       {url} takes the bind as cn=sync,{SUFFIX}"),
            &format!("ok       {url} knows pages; all 4 mailboxes came in the first one"),
            &format!("ok       {url} shows all there is: 5 entries, 4 mailboxes (1 disabled) and 1 lists"),
            &format!("ok       {url} tells what changed and who was deleted (syncrepl)"),
            "no entry shows department; either nobody has it, or",
            "1 entries have no address in the domains that are served (corp.test) and are skipped",
            "1 values can't be used: cn=odd",
            "entry    anna@corp.test (aliases a.meier@corp.test) \"Anna Meier\", enabled",
            "entry    left@corp.test, disabled",
            "entry    all@corp.test, a list",
        ],
    );
    // Without a name all of the namespace; it is what the default parts are not about.
    assert_eq!(office.check(&[]).await.out.matches("reads").count(), ran.out.matches("reads").count());
    let ran = office.check(&["nobody"]).await;
    assert!(ran.status == 2 && ran.err.contains("failed to find DirectoryConnection nobody in namespace"), "{ran:?}");
    let ran = on_cluster(office.cluster, &["check", "api", "corp"]).await;
    assert!(ran.status == 2 && ran.err.contains("a name is that of a DirectoryConnection"), "{ran:?}");
}

#[tokio::test]
async fn y9_check_directory_tells_of_each_server_why_it_is_of_no_use() {
    let (office, slapd) = (Office::new().await, support::slapd().await);
    let base = slapd.fresh_base();
    people(slapd, &base);
    office.secrets("Wr0ng-password", &slapd.ca()).await;
    let closed = "ldaps://127.0.0.1:1".to_owned();
    let (named, own) = (format!("ldaps://localhost:{}", slapd.ldaps()), format!("ldaps://127.0.0.1:{}", slapd.ldaps()));
    office.connect(slapd, &base, "sync", &[closed.clone(), named.clone(), own.clone()]).await;
    tells(
        &office.check(&["corp"]).await,
        1,
        &[
            &format!("wrong    {closed}: DirectoryUnreachable: "),
            &format!("wrong    {named}: TlsFailed: its certificate does not bear the name localhost"),
            &format!("ok       {own} is reached\nwrong    {own}: BindRefused: "),
            "# DirectoryUnreachable: Is the host right",
            "# TlsFailed: Give the authority",
            "# BindRefused: The message has what the server said.",
        ],
    );

    // What the cluster lacks is told with what mends it, and no server is asked.
    office.secret("ldap", "password", slapd::PASSWORD, "example.org/other").await;
    let ran = office.check(&["corp"]).await;
    let label = format!("kubectl -n {} label secret ldap mailroster.dev/readable=true", office.namespace);
    tells(&ran, 1, &["missing  SecretNotReadable: the label mailroster.dev/readable of the Secret ldap", &label]);
    office.cluster.delete("Secret", &office.namespace, "ca").await;
    tells(&office.check(&["corp"]).await, 1, &["missing  SecretNotFound: the Secret ca"]);
    office.connect(slapd, &base, "sync", &["ldaps://127.0.0.1:3269".to_owned()]).await;
    tells(&office.check(&["corp"]).await, 1, &["SpecInvalid: ", "is a global catalog"]);
}

#[tokio::test]
async fn y4_y5_check_directory_tells_limits_and_hidden_attributes() {
    let (office, slapd) = (Office::new().await, support::slapd().await);
    let base = slapd.fresh_base();
    let user =
        |number| format!("dn: cn=u{number},{base}\nobjectClass: user\ncn: u{number}\nsn: u\nproxyAddresses: SMTP:u{number}@corp.test\n\n");
    slapd.add(&(0..30).map(user).collect::<String>());
    office.secrets(slapd::PASSWORD, &slapd.ca()).await;

    // An account whose searches end at 25 entries, however it asks.
    office.connect(slapd, &base, "limited", &[]).await;
    let ran = office.check(&["corp"]).await;
    let limits = format!("limits dn.exact=\"cn=limited,{SUFFIX}\" size=unlimited size.prtotal=unlimited");
    tells(&ran, 1, &["SizeLimitExceeded: ", "# SizeLimitExceeded: Let the account read by pages", &limits]);

    // One that sees people and not their addresses.
    office.connect(slapd, &base, "dim", &[]).await;
    let ran = office.check(&["corp"]).await;
    let access = format!("displayName,member by dn.exact=\"cn=dim,{SUFFIX}\" read");
    tells(&ran, 1, &["none of the 30 entries shows an address; may cn=dim,", "read mail and proxyAddresses?", &access]);

    // One that can't tell them apart.
    office.connect(slapd, &base, "faceless", &[]).await;
    let ran = office.check(&["corp"]).await;
    tells(&ran, 1, &["AttributesHidden: 30 entries can't be told apart from others: entryUUID can't be read", "it came without entryUUID"]);

    // One that is not shown how far the server has come: wrong only where that is counted on.
    office.connect(slapd, &base, "timeless", &[]).await;
    let untold = "does not tell what changed (contextCSN of its suffix can't be read): each run reads everything";
    let remedy = ["moduleload syncprov", "overlay syncprov"];
    tells(&office.check(&["corp"]).await, 0, &[&[untold][..], &remedy].concat());
    let counted_on = json!({"spec": {"changeDetection": "SyncRepl"}});
    office.cluster.patch("DirectoryConnection", &office.namespace, "corp", &counted_on).await;
    let wrong = format!("{untold}, and changeDetection counts on it");
    tells(&office.check(&["corp"]).await, 1, &[&[wrong.as_str()][..], &remedy].concat());

    office.connect(slapd, &base, "sync", &[]).await;
    office.cluster.patch("DirectoryConnection", &office.namespace, "corp", &json!({"spec": {"pageSize": 10}})).await;
    tells(&office.check(&["corp"]).await, 0, &["gives the 10 entries a page that are asked for"]);

    office.connect(slapd, &format!("ou=nowhere,{SUFFIX}"), "sync", &[]).await;
    tells(&office.check(&["corp"]).await, 1, &["BaseNotFound: ", "# BaseNotFound: Mend `spec.baseDN`"]);
}

#[tokio::test]
async fn y7_check_directory_tells_whether_a_domain_controller_shows_who_was_deleted() {
    let Some(samba) = support::samba().await else { return };
    let office = Office::new().await;
    let base = samba.fresh_base();
    samba.add(&samba::account(&format!("CN=anna,{base}"), "checked", 512, "proxyAddresses: SMTP:anna@corp.test\ndisplayName: Anna"));
    office.secrets(samba::PASSWORD, &samba.ca()).await;
    office.apply("DirectoryConnection", "corp", &domain(samba, &base, "sync@corp.test")).await;
    let ran = office.check(&["corp"]).await;
    tells(
        &ran,
        0,
        &[
            "takes the bind as sync@corp.test",
            "the domain DC=child,DC=corp,DC=test is not read; it needs a connection of its own",
            "shows all there is: 1 entries, 1 mailboxes (0 disabled) and 0 lists",
            "hides who was deleted: that is known by the full read every 24h",
            "dsacls \"CN=Deleted Objects,DC=corp,DC=example\" /G CORP\\mailroster:LCRP",
            "entry    anna@corp.test \"Anna\", enabled",
        ],
    );
    // Whoever may read the container sees what is in it.
    office.secrets(samba::ADMINISTRATOR_PASSWORD, &samba.ca()).await;
    office.apply("DirectoryConnection", "corp", &domain(samba, &base, "administrator@corp.test")).await;
    tells(&office.check(&["corp"]).await, 0, &["tells what changed and who was deleted\n"]);
}

fn domain(samba: &Samba, base: &str, bind: &str) -> serde_json::Value {
    json!({
        "type": "ActiveDirectory",
        "urls": [format!("ldaps://{}", samba.address())],
        "tls": {"caSecretRef": {"name": "ca", "key": "ca.crt"}},
        "bind": {"dn": bind, "passwordSecretRef": {"name": "ldap", "key": "password"}},
        "baseDN": base,
    })
}

/// The query of the file of that name in docs/directory.md, for one who logs on and a service.
fn documented(login: &str, service: &str) -> String {
    let text = include_str!("../../docs/directory.md");
    let (_, after) = text.split_once("`mailroster-shut.conf.ext` finds").expect("docs/directory.md has the file");
    let (_, query) = after.split_once("password_query = ").expect("a query");
    let (query, _) = query.split_once("```").expect("its end");
    query.replace("\\\n", "\n").replace("%u", login).replace("%s", service)
}

#[tokio::test]
async fn p7_the_documented_chain_shuts_out_the_locked_before_any_password_is_asked() {
    let database = support::fresh_database().await;
    database.execute(crate::commands::ROSTER).await;
    let shut = async |login: &str, service: &str| {
        let query = documented(login, service);
        database.text(&format!("SELECT count(*)::text FROM ({query}) q")).await
    };
    assert_eq!((shut("it@acme.example", "imap").await, shut("nobody@acme.example", "imap").await), ("0".into(), "0".into()));
    // Neither SMTP submission nor POP was allowed.
    assert_eq!((shut("it@acme.example", "smtp").await, shut("it@acme.example", "pop3").await), ("1".into(), "1".into()));
    database.execute("UPDATE mailroster.address SET smtp_submission = true WHERE canonical = 'it@acme.example'").await;
    assert_eq!((shut("it@acme.example", "smtp").await, shut("it@acme.example", "pop3").await), ("0".into(), "1".into()));
    let wrong =
        "SELECT count(gateway.record_logon_v1(gen_random_uuid(), 'it@acme.example', 'wrong_password', 'imap')) FROM generate_series(1, 5)";
    database.execute(wrong).await;
    assert_eq!(shut("it@acme.example", "imap").await, "1", "a lock shuts the directory's password too");
}
