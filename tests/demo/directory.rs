//! The second part: a company directory. Each run is asked for, so that nobody waits for an interval.

use crate::TENANT;
use crate::acts::{apply, wait};
use crate::stage::{Stage, act};
use crate::support::Slapd;
use crate::support::slapd::{ADMINISTRATOR, ADMINISTRATOR_PASSWORD, PASSWORD, SUFFIX};
use anyhow::{Result, bail, ensure};
use std::time::{Duration, Instant};

/// Where the people are.
const BASE: &str = "ou=staff,dc=corp,dc=test";
/// How long a run may take to begin and to end.
const RUN: Duration = Duration::from_secs(30);
/// How many there are who get mail, by the answer that mail servers get.
const ACCEPTED: &str =
    "psql \"$STORE\" -qAtc \"SELECT count(*) FROM gateway.recipient_v1 WHERE domain = 'staff.example' AND kind = 'mailbox'\"";

/// What another shell, and the lines below, need to reach the directory: ldap-utils take the first three from the environment.
pub fn environment(slapd: &Slapd) -> Result<Vec<(&'static str, String)>> {
    let ca = slapd.socket().with_file_name("demo-ca.crt");
    std::fs::write(&ca, slapd.ca())?;
    Ok(vec![
        ("LDAPURI", format!("ldaps://127.0.0.1:{}", slapd.ldaps())),
        ("LDAPBINDDN", ADMINISTRATOR.to_owned()),
        ("LDAPTLS_CACERT", ca.display().to_string()),
        ("LDAP_PASSWORD", ADMINISTRATOR_PASSWORD.to_owned()),
    ])
}

pub async fn all(stage: &Stage) -> Result<()> {
    connect(stage).await?;
    rename(stage).await?;
    leave(stage).await?;
    typo(stage).await
}

/// SPEC Y2, Y3.
async fn connect(stage: &Stage) -> Result<()> {
    act("A company directory becomes addresses");
    let names = "anna.abel bert clara dora emil fritz greta hans ida jan karl lena max nora otto paula rosa sven tina ute vera wolf";
    let user = "dn: cn=%s,ou=staff,dc=corp,dc=test\\nobjectClass: user\\ncn: %s\\nsn: %s\\nproxyAddresses: SMTP:%s@staff.example\\n\\n";
    let people = format!("for name in {names}; do printf '{user}' $name $name $name $name; done");
    let unit = format!("printf 'dn: {BASE}\\nobjectClass: organizationalUnit\\nou: staff\\n\\n'");
    stage.run(&format!("({unit}; {people}) | ldapadd -x -w \"$LDAP_PASSWORD\" >/dev/null")).await?;

    apply(stage, "InternalDomain", "staff", "{domain: staff.example, recipientValidation: Directory}").await?;
    stage
        .run(&format!(
            "kubectl create secret generic ldap -n {TENANT} --from-literal=password='{PASSWORD}' --from-file=\"$LDAPTLS_CACERT\""
        ))
        .await?;
    stage.run(&format!("kubectl label secret ldap -n {TENANT} mailroster.dev/readable=true")).await?;
    stage.run(&format!("kubectl apply --server-side -n {TENANT} -f - <<EOF\n{}EOF", connection(stage, "(objectClass=user)"))).await?;
    let seen = stage.run(&format!("mailroster check directory staff -n {TENANT}")).await?;
    ensure!(seen.contains("shows all there is: 22 entries"), "check must see everybody");
    wait(stage, "dconn/staff", "condition=Ready").await?;
    stage.run(&format!("kubectl get dconn staff -n {TENANT}")).await?;
    stage.run_until(ACCEPTED, "22").await?;
    Ok(())
}

/// SPEC L8: rights are a person's, whatever the address.
async fn rename(stage: &Stage) -> Result<()> {
    act("Anna marries: her rights go along to the new address, the old one is its alias");
    apply(stage, "DelegateMailbox", "anna-bert", "{reader: anna.abel@staff.example, mailbox: bert@staff.example}").await?;
    wait(stage, "dmbx/anna-bert", "condition=Ready").await?;
    let change = "changetype: modify\nreplace: proxyAddresses\nproxyAddresses: SMTP:anna.berg@staff.example\nproxyAddresses: smtp:anna.abel@staff.example";
    stage.run(&format!("ldapmodify -x -w \"$LDAP_PASSWORD\" >/dev/null <<EOF\ndn: cn=anna.abel,{BASE}\n{change}\nEOF")).await?;
    synchronise(stage, "1").await?;
    let reads = "SELECT reader, mailbox FROM gateway.archive_reader_v1 WHERE reader = 'anna.berg@staff.example' ORDER BY 2";
    stage.run_until(&format!("psql \"$STORE\" -qAtc \"{reads}\""), "anna.berg@staff.example|bert@staff.example").await?;
    let alias = "SELECT alias, primary_address FROM gateway.alias_v1 WHERE alias = 'anna.abel@staff.example'";
    stage.run_until(&format!("psql \"$STORE\" -qAtc \"{alias}\""), "anna.abel@staff.example|anna.berg@staff.example").await?;
    Ok(())
}

/// SPEC Y6.
async fn leave(stage: &Stage) -> Result<()> {
    act("Wolf leaves: one run that misses him shuts nothing yet");
    stage.run(&format!("ldapdelete -x -w \"$LDAP_PASSWORD\" 'cn=wolf,{BASE}'")).await?;
    synchronise(stage, "2").await?;
    stage
        .run_until(&last_run("complete={.complete} read={.read} missing={.missing} held={.held}"), "complete=true read=21 missing=1 held=0")
        .await?;
    let row = "SELECT canonical, directory_missing FROM mailroster.address WHERE canonical = 'wolf@staff.example'";
    stage.run_until(&format!("psql \"$STORE\" -qAtc \"{row}\""), "wolf@staff.example|f").await?;
    stage.run_until(ACCEPTED, "22").await?;
    Ok(())
}

/// SPEC Y5, Y7: a typo is no reason to lose anybody.
async fn typo(stage: &Stage) -> Result<()> {
    act("A typo in the filter finds one of 21: at first nothing is concluded, then all of it is held");
    let filter =
        |filter: &str| format!("kubectl patch dconn staff -n {TENANT} --type merge -p '{{\"spec\": {{\"userFilter\": \"{filter}\"}}}}'");
    // Another spec is another run, at once; a second one that agrees may only come when this was seen.
    stage.run(&filter("(&(objectClass=user)(cn=o*))")).await?;
    wait(stage, "dconn/staff", "jsonpath='{.status.conditions[?(@.type==\"Ready\")].reason}'=ScopeChanged").await?;
    for token in ["3", "4", "5"] {
        synchronise(stage, token).await?;
    }
    wait(stage, "dconn/staff", "condition=DeletionsHeld=True").await?;
    stage.run(&format!("kubectl get dconn staff -n {TENANT}")).await?;
    stage.run(&format!("kubectl get dconn staff -n {TENANT} -o jsonpath='{{.status.heldPlan}}{{\"\\n\"}}'")).await?;
    stage.run_until(ACCEPTED, "22").await?;
    act("The filter is mended: whoever is found again leaves the plan");
    stage.run(&filter("(objectClass=user)")).await?;
    for token in ["6", "7"] {
        synchronise(stage, token).await?;
    }
    stage.run_until(&last_run("complete={.complete} read={.read} missing={.missing}"), "complete=true read=21 missing=1").await?;
    Ok(())
}

/// All that a connection must say, and that its runs read everything: then who is missing is counted run by run.
fn connection(stage: &Stage, filter: &str) -> String {
    let key = |key: &str| format!("{{name: ldap, key: {key}}}");
    format!(
        "apiVersion: mailroster.dev/v1alpha1
kind: DirectoryConnection
metadata: {{name: staff}}
spec:
  type: OpenLDAP
  urls: [\"{}\"]
  tls: {{caSecretRef: {}}}
  bind: {{dn: \"cn=sync,{SUFFIX}\", passwordSecretRef: {}}}
  baseDN: {BASE}
  userFilter: {filter}
  attributes: {{aliases: proxyAddresses}}
  domains: [staff.example]
  interval: 24h
  changeDetection: Full
",
        stage.variable("LDAPURI"),
        key("demo-ca.crt"),
        key("password"),
    )
}

fn last_run(template: &str) -> String {
    let fields = template.replace("{.", "{.status.lastRun.");
    format!("kubectl get dconn staff -n {TENANT} -o jsonpath='{fields}{{\"\\n\"}}'")
}

/// Asks for a run, and waits until one that began later has ended: its time in the store is finer than that in the status.
async fn synchronise(stage: &Stage, token: &str) -> Result<()> {
    let began = "psql \"$STORE\" -qAtc \"SELECT state->'last_run'->>'started_at' FROM mailroster.connection WHERE name = 'staff'\"";
    let (_, before) = stage.try_run(began).await?;
    stage.run(&format!("kubectl annotate dconn staff -n {TENANT} mailroster.dev/requestedAt={token} --overwrite")).await?;
    let end = Instant::now() + RUN;
    while stage.try_run(began).await?.1 == before {
        if Instant::now() >= end {
            bail!("no run ended within {RUN:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
