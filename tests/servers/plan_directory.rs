//! `mailroster plan --directory` on real servers: what it says is what the next run does, and it does nothing itself (SPEC 13).

use crate::commands::{Ran, run};
use crate::support::slapd::{PASSWORD, SUFFIX};
use crate::support::{self, Slapd, eventually, wait::PATIENCE};
use crate::tenant::Tenant;
use serde_json::{Value, json};

/// The record of the last run; empty before the first.
const LAST_RUN: &str = "SELECT (SELECT state->'last_run' FROM mailroster.connection WHERE name = 'corp')";

struct Corp {
    tenant: Tenant,
    slapd: &'static Slapd,
    base: String,
}

impl Corp {
    async fn new() -> Self {
        let tenant = Tenant::with("InternalDomain/acme {domain: acme.example}").await;
        let slapd = support::slapd().await;
        let corp = Self { base: slapd.fresh_base(), tenant, slapd };
        corp.secret(PASSWORD).await;
        corp
    }

    async fn secret(&self, password: &str) {
        let metadata = json!({"name": "ldap", "labels": {"mailroster.dev/readable": "true"}});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"password": password}});
        self.tenant.cluster.apply(&self.tenant.namespace, &secret.to_string()).await;
    }

    async fn connect(&self, more: &Value) {
        let mut spec = json!({
            "type": "OpenLDAP", "urls": [format!("ldap://127.0.0.1:{}", self.slapd.ldap())], "tls": {"mode": "None"},
            "bind": {"dn": format!("cn=sync,{SUFFIX}"), "passwordSecretRef": {"name": "ldap", "key": "password"}},
            "baseDN": self.base, "userFilter": "(objectClass=user)", "interval": "24h", "changeDetection": "Full",
            "attributes": {"aliases": "proxyAddresses"}, "suspend": false,
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.tenant.apply(&format!("DirectoryConnection/corp {spec}")).await;
    }

    fn add(&self, name: &str, addresses: &[&str]) {
        let values: String = addresses.iter().map(|address| format!("proxyAddresses: {address}\n")).collect();
        self.slapd.add(&format!("dn: cn={name},{}\nobjectClass: user\ncn: {name}\nsn: {name}\n{values}\n", self.base));
    }

    fn change(&self, name: &str, lines: &str) {
        self.slapd.modify(&format!("dn: cn={name},{}\nchangetype: {lines}\n", self.base));
    }

    /// Plans, and holds that nothing in the store has moved.
    async fn plan(&self, more: &[&str]) -> Ran {
        let rows = "SELECT concat_ws(' ', (SELECT sum(hashtext(a::text)) FROM mailroster.address a), (SELECT sum(hashtext(e::text)) FROM mailroster.entry e),
            (SELECT sum(hashtext(l::text)) FROM mailroster.leaver l), (SELECT sum(hashtext(c::text)) FROM mailroster.connection c))";
        let before = self.tenant.database.text(rows).await;
        let kubeconfig = self.tenant.cluster.kubeconfig().display().to_string();
        let environment = [("KUBECONFIG", kubeconfig.as_str()), ("MAILROSTER_STORE", &self.tenant.database.url)];
        let ran = run(&environment, &[&["plan", "--directory", "corp", "-n", &self.tenant.namespace][..], more].concat()).await;
        assert_eq!(self.tenant.database.text(rows).await, before, "a plan writes nothing");
        ran
    }

    /// Asks for a run; its record.
    async fn run(&self, token: &str) -> Value {
        let before = self.tenant.database.text(LAST_RUN).await;
        self.tenant.annotate("DirectoryConnection/corp", "requestedAt", token).await;
        self.another_run(&before).await
    }

    async fn another_run(&self, before: &str) -> Value {
        let text = eventually(PATIENCE, "another run", async || match self.tenant.database.text(LAST_RUN).await {
            // The connection's row is there before its first run has ended.
            text if text != before && text != "null" => Ok(text),
            text => Err(text),
        });
        serde_json::from_str(&text.await).expect("a record")
    }
}

#[track_caller]
fn says(ran: &Ran, status: i32, words: &[&str]) {
    assert_eq!(ran.status, status, "{}{}", ran.out, ran.err);
    for words in words {
        assert!(ran.out.contains(words), "{words:?} in:\n{}", ran.out);
    }
}

#[tokio::test]
async fn y5_y7_a_plan_says_what_the_next_run_does() {
    let corp = Corp::new().await;
    for number in 0..30 {
        corp.add(&format!("u{number}"), &[&format!("SMTP:u{number}@acme.example")]);
    }
    corp.add("anna", &["SMTP:anna@acme.example", "smtp:a.meier@acme.example"]);
    corp.connect(&json!({"suspend": true})).await;

    let ran = corp.plan(&[]).await;
    let linked = "\n1 linked as aliases\n  a.meier@acme.example of anna@acme.example\n";
    says(&ran, 1, &["31 entries read from ldap://", "the run would be complete\n", "\n31 created\n  anna@acme.example (anna)\n", linked]);
    assert!(ran.out.contains("  and 21 more (--all)\n"), "{}", ran.out);
    assert!(corp.plan(&["--all"]).await.out.contains("  u9@acme.example (u9)\n"));
    let before = corp.tenant.database.text(LAST_RUN).await;
    corp.connect(&json!({})).await;
    // A new connection begins by itself.
    let record = corp.another_run(&before).await;
    assert_eq!((&record["created"], &record["linked"]), (&31.into(), &1.into()), "{record}");
    says(&corp.plan(&[]).await, 0, &["31 unchanged", "nothing would change\n"]);

    // One appears, one is disabled, one has another address, three leave.
    corp.add("vera", &["SMTP:vera@acme.example"]);
    corp.change("u1", "modify\nreplace: userAccountControl\nuserAccountControl: 514");
    let addresses =
        "proxyAddresses: SMTP:anna.berg@acme.example\nproxyAddresses: smtp:anna@acme.example\nproxyAddresses: smtp:a.meier@acme.example";
    corp.change("anna", &format!("modify\nreplace: proxyAddresses\n{addresses}"));
    for name in ["u2", "u3", "u4"] {
        corp.change(name, "delete");
    }
    let ran = corp.plan(&[]).await;
    let relinked = "\n1 relinked to another primary\n  a.meier@acme.example of anna.berg@acme.example, until now of anna@acme.example\n";
    let expected = [
        "26 unchanged",
        "3 addresses missing",
        "\n2 created\n  anna.berg@acme.example (anna)\n  vera@acme.example (vera)\n",
        "\n1 linked as aliases\n  anna@acme.example of anna.berg@acme.example\n",
        relinked,
        "\n1 disabled: no logon by cloud password\n  u1@acme.example\n",
        "\n3 missed for the first time\n  u2@acme.example\n  u3@acme.example\n  u4@acme.example\n",
    ];
    says(&ran, 1, &expected);
    assert!(!ran.out.contains("unlinked"), "{}", ran.out);
    let record = corp.run("1").await;
    assert_eq!((&record["missing"], &record["created"], &record["disabled"]), (&3.into(), &2.into(), &1.into()), "{record}");

    // Missed once more they would be shut; with many others beside them they would be held.
    says(&corp.plan(&[]).await, 1, &["\n3 leaving, within the guard\n  u2@acme.example\n"]);
    for number in 10..22 {
        corp.change(&format!("u{number}"), "delete");
    }
    corp.connect(&json!({"suspend": true, "leavers": {"missedRuns": 1}})).await;
    says(&corp.plan(&[]).await, 1, &["15 addresses missing", "\n12 missed for the first time\n", "\n15 held by the guard until a yes\n"]);

    // From another view of the directory nothing follows, and what can't be read is no plan.
    corp.connect(&json!({"suspend": true, "userFilter": "(cn=u*)"})).await;
    let ran = corp.plan(&[]).await;
    let unseen = "\n14 not found there, which counts from a second complete run that agrees\n  anna.berg@acme.example\n";
    says(&ran, 1, &["nothing follows from who is missing: ScopeChanged: ", unseen]);
    assert!(!ran.out.contains("missed"), "{}", ran.out);
    corp.secret("Wr0ng-password").await;
    let ran = corp.plan(&[]).await;
    assert!(ran.status == 2 && ran.err.contains("failed to read the directory: BindRefused: "), "{ran:?}");
}

#[tokio::test]
async fn y10_a_first_plan_of_many_people_comes_to_an_end() {
    let many = support::scale(1_000, 10_000);
    let corp = Corp::new().await;
    let person = |number| {
        let addresses = format!("proxyAddresses: SMTP:u{number}@acme.example\nproxyAddresses: smtp:a{number}@acme.example");
        format!("dn: cn=u{number},{}\nobjectClass: user\ncn: u{number}\nsn: u\n{addresses}\n\n", corp.base)
    };
    corp.slapd.add(&(0..many).map(person).collect::<String>());
    corp.connect(&json!({"suspend": true})).await;
    let ran = corp.plan(&[]).await;
    says(&ran, 1, &["the run would be complete\n", &format!("\n{many} created\n"), &format!("\n{many} linked as aliases\n")]);
}
