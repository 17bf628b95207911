//! The acts, in order. Each ends when the state that it promises was seen, and fails when it was not.

use crate::stage::{Stage, act};
use crate::{RIVAL, TENANT};
use anyhow::{Result, ensure};

/// What waits for its Ready condition after the tenant was applied.
const KINDS: &str = "idom,eaddr,alink,dmbx,arole,acct";

pub async fn all(stage: &Stage) -> Result<()> {
    declare(stage).await?;
    lock_and_unlock(stage).await?;
    purge(stage).await?;
    drift(stage).await?;
    rival(stage).await
}

async fn declare(stage: &Stage) -> Result<()> {
    act("A tenant is declared");
    stage.run("kubectl apply --server-side -f examples/tenant.yaml").await?;
    stage.run(&format!("kubectl wait --for=condition=Ready {KINDS} --all -n {TENANT} --timeout=60s")).await?;
    stage.run(&format!("kubectl get mailroster -n {TENANT}")).await?;
    Ok(())
}

/// SPEC P5 and C6.
async fn lock_and_unlock(stage: &Stage) -> Result<()> {
    act("Five wrong passwords lock an address; an annotation unlocks it");
    apply(stage, "EmailAddress", "desk", "{address: desk@acme.example, displayName: Front Desk}").await?;
    wait(stage, "eaddr/desk", "condition=Ready").await?;
    let logon = "SELECT gateway.record_logon_v1(gen_random_uuid(), 'desk@acme.example', 'wrong_password', 'demo')";
    stage.run(&format!("psql \"$STORE\" -qtc \"{logon} FROM generate_series(1, 5)\"")).await?;
    wait(stage, "eaddr/desk", "condition=Locked=True").await?;
    stage.run(&format!("kubectl get eaddr desk -n {TENANT}")).await?;
    stage.run(&format!("kubectl annotate eaddr desk -n {TENANT} mailroster.dev/unlockAt=$(date -u +%FT%TZ)")).await?;
    wait(stage, "eaddr/desk", "condition=Locked=False").await
}

/// SPEC U2: a purge waits for what must not be lost.
async fn purge(stage: &Stage) -> Result<()> {
    act("A purge waits for held mail, and goes on when it is released");
    apply(stage, "AccountSettings", "default", "{lockout: {failedLogons: 5}, purge: {delay: 1s, heldMailReports: Required}}").await?;
    apply(stage, "EmailAddress", "leaver", "{address: leaver@acme.example, deletionPolicy: Purge}").await?;
    wait(stage, "eaddr/leaver", "condition=Ready").await?;
    wait(stage, "acct/default", "condition=Ready").await?;
    stage.run(&format!("kubectl delete eaddr leaver -n {TENANT} --wait=false")).await?;
    let message = r#"{"id": "4XyZ", "since": "2026-01-01T08:00:00Z", "state": "held", "addresses": ["leaver@acme.example"]}"#;
    held(stage, message).await?;
    wait(stage, "eaddr/leaver", "condition=PurgeBlocked=True").await?;
    let blockers = "'{range .status.purge.blockers[*]}{.reason}: {.message}{\"\\n\"}{end}'";
    let seen = stage.run_until(&format!("kubectl get eaddr leaver -n {TENANT} -o jsonpath={blockers}"), "HeldMail:").await?;
    ensure!(!seen.trim().is_empty(), "a blocked purge must say why");
    held(stage, "").await?;
    stage.run(&format!("kubectl wait --for=delete eaddr/leaver -n {TENANT} --timeout=60s")).await?;
    let count = "SELECT count(*) FROM mailroster.address WHERE canonical = 'leaver@acme.example'";
    let left = stage.run(&format!("psql \"$STORE\" -qAtc \"{count}\"")).await?;
    ensure!(left.trim() == "0", "the row is still there");
    Ok(())
}

/// SPEC C4.
async fn drift(stage: &Stage) -> Result<()> {
    act("A row edited by hand is put right");
    let edit = "UPDATE mailroster.address SET display_name = 'Edited by hand' WHERE canonical = 'desk@acme.example'";
    stage.run(&format!("psql \"$STORE\" -c \"{edit}\"")).await?;
    let select = "SELECT display_name FROM mailroster.address WHERE canonical = 'desk@acme.example'";
    stage.run_until(&format!("psql \"$STORE\" -qAtc \"{select}\""), "Front Desk").await?;
    stage.run_until(&format!("kubectl get events -n {TENANT} --field-selector reason=DriftCorrected"), "DriftCorrected").await?;
    Ok(())
}

/// SPEC A6, D1: a domain belongs to one namespace.
async fn rival(stage: &Stage) -> Result<()> {
    act("Another tenant wants the same domain and is told no");
    let yaml = resource("InternalDomain", "acme", "{domain: acme.example}");
    stage.run(&format!("kubectl apply -n {RIVAL} -f - <<EOF\n{yaml}EOF")).await?;
    stage.run(&format!("kubectl wait --for=condition=Stalled idom/acme -n {RIVAL} --timeout=60s")).await?;
    let seen = stage.run("kubectl get idom -A").await?;
    ensure!(seen.contains("DomainClaimed"), "the reason must be DomainClaimed");
    Ok(())
}

pub async fn apply(stage: &Stage, kind: &str, name: &str, spec: &str) -> Result<()> {
    let yaml = resource(kind, name, spec);
    // Server-side, with force: the tenant's own file may declare the same settings.
    stage.run(&format!("kubectl apply --server-side --force-conflicts -n {TENANT} -f - <<EOF\n{yaml}EOF")).await?;
    Ok(())
}

fn resource(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: mailroster.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

pub async fn wait(stage: &Stage, what: &str, condition: &str) -> Result<()> {
    stage.run(&format!("kubectl wait --for={condition} {what} -n {TENANT} --timeout=60s")).await?;
    Ok(())
}

/// What a mail server's report of its queue does: all that it holds, each time.
async fn held(stage: &Stage, messages: &str) -> Result<()> {
    let report = format!("SELECT gateway.record_held_v1($$mx1$$, $$[{messages}]$$)");
    stage.run(&format!("psql \"$STORE\" -qtc '{report}'")).await?;
    Ok(())
}
