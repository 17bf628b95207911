//! What breaks in the middle of a run: nothing is half done, and the next run carries on (SPEC P1, Y5, Y8, C8).

use super::corp::{Corp, FULL};
use crate::outage;
use crate::support::wait::PATIENCE;
use crate::support::{Operator, Slapd, Wire, eventually, folder, slapd};
use crate::tenant::{LONG, Tenant};

const COUNT: &str = "SELECT count(*) FROM mailroster.address";

/// All that a directory makes of a store.
pub const STORE: &str = "
    SELECT concat_ws(' ', 'address', a.canonical, a.origin, a.is_alias, p.canonical, a.entry, a.global_name, a.directory_disabled, a.directory_missing,
        a.holder_since IS NOT NULL) AS line
    FROM mailroster.address a LEFT JOIN mailroster.link l ON l.alias_id = a.id LEFT JOIN mailroster.address p ON p.id = l.primary_id
    UNION ALL SELECT concat_ws(' ', 'entry', e.id, a.canonical, e.exchange, encode(e.digest, 'hex')) FROM mailroster.entry e LEFT JOIN mailroster.address a ON a.id = e.address_id
    UNION ALL SELECT concat_ws(' ', 'leaver', a.canonical, l.held) FROM mailroster.leaver l JOIN mailroster.address a ON a.id = l.address_id";

/// People `u0`, `u1`, … below a base, each with an alias, as LDIF for loading in bulk.
pub fn many(base: &str, count: usize) -> String {
    let ou = base.split([',', '=']).nth(1).expect("an ou");
    let people = (0..count).map(|n| {
        format!("dn: cn=u{n},{base}\nobjectClass: user\ncn: u{n}\nsn: x\nproxyAddresses: SMTP:u{n}@acme.example\nproxyAddresses: smtp:v{n}@acme.example\n\n")
    });
    format!("dn: {base}\nobjectClass: organizationalUnit\nou: {ou}\n\n{}", people.collect::<String>())
}

/// A server of the test's own with so many people. It lives as long as the process.
pub async fn own_slapd(name: &str, count: usize) -> (&'static Slapd, String) {
    let base = format!("ou=many,{}", slapd::SUFFIX);
    let slapd = Slapd::start_with(&folder::own(name), &many(&base, count)).await;
    (Box::leak(Box::new(slapd)), base)
}

/// Waits until the store has so many addresses at least: the run is under way.
async fn under_way(tenant: &Tenant, least: usize) {
    eventually(PATIENCE, "the run is under way", async || {
        let found = tenant.database.text(COUNT).await.parse::<usize>().expect("a number");
        if found >= least { Ok(()) } else { Err(found) }
    })
    .await;
}

async fn domain(tenant: &Tenant) {
    let domain = "InternalDomain/acme {domain: acme.example}";
    tenant.apply(domain).await;
    tenant.ready(domain).await;
}

#[tokio::test]
async fn y5_a_server_killed_in_mid_run_loses_nobody_and_the_next_run_brings_the_rest() {
    let (slapd, base) = own_slapd("directory-killed", 3_000).await;
    let tenant = Tenant::start().await;
    domain(&tenant).await;
    let corp = Corp::at(tenant, slapd, base);
    corp.connect("corp", "pageSize: 50").await;
    under_way(&corp.tenant, 400).await;
    slapd.kill().await;
    corp.tenant.status("DirectoryConnection/corp", "an incomplete run", |status| status["lastRun"]["complete"] == false).await;
    corp.store("SELECT count(*) FROM mailroster.leaver", "0").await;
    let so_far = corp.tenant.database.text(COUNT).await;
    slapd.start_again().await;
    let run = corp.run().await;
    assert_eq!((&run["complete"], &run["read"], &run["missing"]), (&true.into(), &3_000.into(), &0.into()), "{so_far}: {run}");
    corp.store(COUNT, "6000").await;
    corp.tenant.reasons("DirectoryConnection/corp Succeeded").await;
}

#[tokio::test]
async fn y5_reads_torn_anywhere_miss_nobody_of_those_who_are_known() {
    let (slapd, base) = own_slapd("directory-torn", 1_000).await;
    let wire = Wire::start(&slapd.socket()).await;
    let tenant = Tenant::start().await;
    domain(&tenant).await;
    let corp = Corp::at(tenant, slapd, base);
    corp.connect("corp", &format!("{FULL}, pageSize: 50, urls: ['ldap://127.0.0.1:{}']", wire.port())).await;
    corp.tenant.long(COUNT, "2000").await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    corp.remove("u0");
    // Less than all of it takes.
    wire.tear(64 << 10);
    for _ in 0..10 {
        let run = corp.run().await;
        assert_eq!((&run["complete"], &run["missing"]), (&false.into(), &0.into()), "{run}");
    }
    corp.store("SELECT count(*) FROM mailroster.leaver", "0").await;
    wire.tear(0);
    assert_eq!(corp.run().await["missing"], 1);
}

#[tokio::test]
async fn y5_a_controller_told_to_end_in_mid_run_leaves_nothing_half_done_and_the_next_one_brings_the_rest() {
    let (slapd, base) = own_slapd("directory-of-one-told-to-end", 3_000).await;
    let tenant = Tenant::start().await;
    domain(&tenant).await;
    let mut corp = Corp::at(tenant, slapd, base);
    corp.connect("corp", "pageSize: 50").await;
    under_way(&corp.tenant, 400).await;
    let settings = corp.tenant.operator.settings();
    assert!(corp.tenant.operator.terminate().await.success());
    let halves =
        "SELECT count(*) FROM mailroster.address a WHERE is_alias AND NOT EXISTS (SELECT FROM mailroster.link l WHERE l.alias_id = a.id)";
    corp.store(halves, "0").await;
    assert_ne!(corp.tenant.database.text(COUNT).await, "6000", "the run was over before");
    corp.tenant.operator = Operator::start_with(settings).await;
    corp.tenant.long(COUNT, "6000").await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    corp.tenant.nothing_was_done_twice().await;
}

#[tokio::test]
async fn y8_a_connection_has_one_run_at_a_time_and_what_is_asked_for_meanwhile_is_one_more() {
    let (slapd, base) = own_slapd("directory-asked-often", 2_000).await;
    let tenant = Tenant::start().await;
    domain(&tenant).await;
    let corp = Corp::at(tenant, slapd, base);
    corp.connect("corp", &format!("{FULL}, pageSize: 50")).await;
    under_way(&corp.tenant, 200).await;
    for token in ["a", "b", "c"] {
        corp.tenant.annotate("DirectoryConnection/corp", "requestedAt", token).await;
    }
    let status = corp.tenant.status("DirectoryConnection/corp", "the last request is seen, and a second run ended", |status| {
        status["lastHandled"]["requestedAt"] == "c" && status["lastRun"]["unchanged"] == 2_000
    });
    status.await;
    let runs = format!(
        "mailroster_directory_run_duration_seconds_count{{namespace=\"{}\",connection=\"corp\",phase=\"reading\"}}",
        corp.tenant.namespace
    );
    assert_eq!(corp.tenant.operator.metric(&runs).await, Some(2.0));
}

#[tokio::test]
async fn y5_a_store_killed_in_mid_run_has_nothing_half_done_and_the_run_is_made_again_by_itself() {
    let (slapd, base) = own_slapd("directory-of-a-killed-store", 3_000).await;
    let ((tenant, postgres), calm) = tokio::join!(outage::tenant_on("store-killed-in-a-run"), Tenant::start());
    tokio::join!(domain(&tenant), domain(&calm));
    let (corp, calm) = (Corp::at(tenant, slapd, base.clone()), Corp::at(calm, slapd, base));
    corp.connect("corp", "pageSize: 50").await;
    under_way(&corp.tenant, 500).await;
    postgres.kill().await;
    postgres.start_again().await;
    calm.connect("corp", "").await;
    corp.tenant.long(COUNT, "6000").await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    calm.tenant.long(COUNT, "6000").await;
    calm.tenant.ready("DirectoryConnection/corp").await;
    assert_eq!(corp.tenant.rows(STORE).await, calm.tenant.rows(STORE).await);
    corp.tenant.nothing_was_done_twice().await;
}

/// Each death comes while what the last one left behind is being taken up again.
#[cfg(debug_assertions)]
#[tokio::test]
async fn y5_a_controller_that_dies_at_any_step_of_a_run_is_followed_by_one_that_ends_in_the_same_store() {
    const PEOPLE: usize = 1_200;
    let (slapd, base) = own_slapd("directory-of-the-dying", PEOPLE).await;
    let (mut tenant, calm) = tokio::join!(Tenant::start(), Tenant::start());
    tokio::join!(domain(&tenant), domain(&calm));
    let settings = tenant.operator.settings();
    tenant.operator.terminate().await;
    let mut corp = Corp::at(tenant, slapd, base.clone());
    corp.connect("corp", "").await;
    for (n, step) in ["uncommitted:2", "planned:2", "committed:2", "begun:3"].into_iter().enumerate() {
        // All have changed when it starts, and somebody asks for a run.
        let alias = |u: usize| {
            format!("dn: cn=u{u},{base}\nchangetype: modify\nadd: proxyAddresses\nproxyAddresses: smtp:w{n}-{u}@acme.example\n\n")
        };
        slapd.modify(&(0..PEOPLE).map(alias).collect::<String>());
        corp.tenant.annotate("DirectoryConnection/corp", "requestedAt", step).await;
        let mut settings = settings.clone();
        settings.environment.push(("MAILROSTER_TEST_CRASH".to_owned(), step.to_owned()));
        corp.tenant.operator = Operator::start_with(settings.clone()).await;
        let ended = corp.tenant.operator.ended(LONG).await;
        assert!(!ended.success() && corp.tenant.operator.log().contains("dying to order"), "{step}: {}", corp.tenant.operator.tail());
        Operator::release_lease(corp.tenant.cluster, &settings).await;
    }
    corp.tenant.operator = Operator::start_with(settings).await;
    corp.run().await;
    let calm = Corp::at(calm, slapd, base);
    calm.connect("corp", "").await;
    for corp in [&corp, &calm] {
        corp.tenant.long(COUNT, &(PEOPLE * 6).to_string()).await;
        corp.tenant.ready("DirectoryConnection/corp").await;
    }
    assert_eq!(corp.tenant.rows(STORE).await, calm.tenant.rows(STORE).await);
    corp.tenant.nothing_was_done_twice().await;
}

#[tokio::test]
async fn c8_a_connection_suspended_in_mid_run_writes_nothing_and_goes_on_when_it_is_resumed() {
    let (slapd, base) = own_slapd("directory-suspended", 3_000).await;
    let tenant = Tenant::start().await;
    domain(&tenant).await;
    let corp = Corp::at(tenant, slapd, base);
    corp.connect("corp", "pageSize: 50").await;
    under_way(&corp.tenant, 200).await;
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", "pageSize: 50, suspend: true"))).await;
    corp.tenant.reasons("DirectoryConnection/corp Suspended").await;
    corp.tenant.reconcile("InternalDomain/acme", "first").await;
    let frozen = corp.tenant.database.text(COUNT).await;
    corp.tenant.reconcile("InternalDomain/acme", "second").await;
    assert_eq!(corp.tenant.database.text(COUNT).await, frozen);
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", "pageSize: 50"))).await;
    corp.tenant.long(COUNT, "6000").await;
    corp.tenant.ready("DirectoryConnection/corp").await;
}

#[tokio::test]
async fn y10_a_run_over_which_the_store_became_an_older_copy_is_made_anew_and_reads_all() {
    const DISABLED: &str = "SELECT canonical FROM mailroster.address WHERE directory_disabled";
    let (slapd, base) = own_slapd("directory-of-an-older-store", 3).await;
    let (tenant, postgres) = outage::tenant_on("store-older-in-a-run").await;
    domain(&tenant).await;
    let corp = Corp::at(tenant, slapd, base.clone());
    corp.connect("corp", "timeout: 2m").await;
    corp.run().await;
    postgres.back_up().await;
    slapd.modify(&format!("dn: cn=u0,{base}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 514\n"));
    corp.run().await;
    corp.tenant.until(DISABLED, &["u0@acme.example"]).await;
    // What changed since its mark is nothing, and that is what a run will hear.
    slapd.freeze().await;
    corp.tenant.reconcile("DirectoryConnection/corp", "in the cold").await;
    corp.tenant.reconcile("InternalDomain/acme", "in the cold").await;
    postgres.kill().await;
    postgres.restore();
    postgres.start_again().await;
    corp.tenant.logged("planning everything anew", 1).await;
    corp.tenant.until("SELECT answers_since IS NOT NULL FROM mailroster.installation", &["true"]).await;
    corp.tenant.until(DISABLED, &[]).await;
    slapd.thaw().await;
    corp.tenant.until(DISABLED, &["u0@acme.example"]).await;
}

/// Of what it could not write down the controller would hear at once that it is still due.
#[tokio::test]
async fn y8_c11_a_run_that_could_not_be_written_down_is_begun_again_after_a_pause() {
    let corp = Corp::without_connection().await;
    corp.add("bert SMTP:bert@acme.example");
    corp.connect("corp", FULL).await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    let full =
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no space left' USING ERRCODE = 'disk_full'; END$$;
        CREATE TRIGGER full_disk BEFORE UPDATE ON mailroster.connection FOR EACH ROW EXECUTE FUNCTION full_disk()";
    corp.tenant.database.execute(full).await;
    corp.add("anna SMTP:anna@acme.example");
    // Another spec is due from now on.
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", &format!("{FULL}, pageSize: 500")))).await;
    let failed = "a directory run could not use the store";
    corp.tenant.logged(failed, 1).await;
    // What else happens, its own plan included, does not begin another.
    for n in 0..3 {
        let address = format!("EmailAddress/e{n} {{address: e{n}@acme.example}}");
        corp.tenant.apply(&address).await;
        corp.tenant.ready(&address).await;
    }
    assert_eq!(corp.tenant.operator.log().matches(failed).count(), 1, "{}", corp.tenant.operator.tail());
    corp.tenant.database.execute("DROP TRIGGER full_disk ON mailroster.connection").await;
    corp.store("SELECT state->'last_run'->>'read' FROM mailroster.connection", "2").await;
}

#[tokio::test]
async fn p1_y9_a_secret_that_is_missing_or_without_its_label_is_named_and_a_run_begins_when_it_is_there() {
    let corp = Corp::without_connection().await;
    corp.add("anna SMTP:anna@acme.example");
    corp.tenant.apply(&format!("DirectoryConnection/corp {}", corp.spec("corp", FULL))).await;
    let message = corp.tenant.message("DirectoryConnection/corp", "SecretNotFound").await;
    assert!(message.contains("corp-ldap") && message.contains("mailroster.dev/readable=true"), "{message}");
    let secret = |labels: &str| {
        format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: corp-ldap{labels}}}\nstringData: {{password: {}}}\n", slapd::PASSWORD)
    };
    corp.tenant.cluster.apply(&corp.tenant.namespace, &secret("")).await;
    // Only labelled Secrets are watched: it is looked at when somebody asks.
    corp.tenant.apply(&format!("DirectoryConnection/other {}", corp.spec("corp", FULL))).await;
    let message = corp.tenant.message("DirectoryConnection/other", "SecretNotReadable").await;
    assert!(message.contains("kubectl label secret corp-ldap mailroster.dev/readable=true"), "{message}");
    corp.tenant.delete("DirectoryConnection/other").await;
    corp.tenant.cluster.apply(&corp.tenant.namespace, &secret(", labels: {mailroster.dev/readable: \"true\"}")).await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    corp.roster("anna@acme.example Directory").await;
    // Gone again: what it brought stays.
    corp.tenant.cluster.delete("Secret", &corp.tenant.namespace, "corp-ldap").await;
    corp.tenant.reasons("DirectoryConnection/corp SecretNotFound").await;
    corp.roster("anna@acme.example Directory").await;
    corp.store("SELECT count(*) FROM mailroster.leaver", "0").await;
}

#[tokio::test]
async fn y8_a_deleted_connection_leaves_its_rows_open_and_another_takes_them_over_in_one_run() {
    let corp = Corp::without_connection().await;
    corp.tenant.apply("InternalDomain/acme {domain: acme.example, recipientValidation: Directory}").await;
    corp.declare_with_password("anna", "").await;
    corp.add("anna SMTP:anna@acme.example, smtp:a@acme.example\nbert SMTP:bert@acme.example");
    corp.slapd.modify(&format!("dn: {}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 514\n", corp.dn("anna")));
    corp.connect("corp", "").await;
    corp.roster("a@acme.example Directory ->anna@acme.example\nanna@acme.example Directory disabled\nbert@acme.example Directory").await;
    let opens = "SELECT count(*) FROM gateway.credential_v1";
    corp.store(opens, "0").await;
    corp.tenant.delete("DirectoryConnection/corp").await;
    corp.tenant.gone("DirectoryConnection/corp").await;
    let roster = "a@acme.example Directory ->anna@acme.example\nanna@acme.example Directory\nbert@acme.example Directory";
    corp.roster(roster).await;
    corp.store("SELECT count(connection) FROM mailroster.address", "0").await;
    corp.store(opens, "1").await;
    corp.store("SELECT count(*) FROM gateway.recipient_v1 WHERE domain = 'acme.example'", "3").await;
    corp.tenant.condition("EmailAddress/anna", "Disabled", "False NotDisabled").await;
    corp.connect("next", "").await;
    corp.roster(&roster.replace("anna@acme.example Directory\n", "anna@acme.example Directory disabled\n")).await;
    corp.store("SELECT count(connection) FROM mailroster.address WHERE connection = 'next'", "3").await;
    corp.tenant.condition("DirectoryConnection/next", "HolderChanged", "False SameHolder").await;
    corp.tenant.condition("EmailAddress/anna", "Disabled", "True DirectoryDisabled").await;
}

/// Its first: until a run has ended the store knew nothing of the connection.
#[tokio::test]
async fn y8_a_connection_deleted_in_mid_run_leaves_its_rows_open_as_any() {
    let (slapd, base) = own_slapd("directory-deleted", 3_000).await;
    let tenant = Tenant::start().await;
    domain(&tenant).await;
    let corp = Corp::at(tenant, slapd, base);
    let disabled: String = (0..3_000)
        .map(|n| format!("dn: {}\nchangetype: modify\nadd: userAccountControl\nuserAccountControl: 514\n\n", corp.dn(&format!("u{n}"))))
        .collect();
    slapd.modify(&disabled);
    corp.connect("corp", "pageSize: 50").await;
    under_way(&corp.tenant, 200).await;
    corp.tenant.delete("DirectoryConnection/corp").await;
    corp.tenant.gone("DirectoryConnection/corp").await;
    corp.store("SELECT count(*) FROM mailroster.address WHERE connection IS NOT NULL OR directory_disabled", "0").await;
    corp.store("SELECT (SELECT count(*) FROM mailroster.connection) + (SELECT count(*) FROM mailroster.entry)", "0").await;
    assert!(corp.tenant.database.text(COUNT).await.parse::<usize>().expect("a number") >= 200);
    // Another one takes them over.
    corp.connect("next", "").await;
    corp.tenant.long("SELECT count(*) FROM mailroster.address WHERE connection = 'next' AND directory_disabled", "3000").await;
}

#[tokio::test]
async fn y8_one_connection_that_is_broken_freezes_what_it_brought_and_nothing_else() {
    let corp = Corp::without_connection().await;
    let base = corp.slapd.fresh_base();
    let there =
        |name: &str| format!("dn: cn={name},{base}\nobjectClass: user\ncn: {name}\nsn: x\nproxyAddresses: SMTP:{name}@acme.example\n\n");
    corp.slapd.add(&["xaver", "yves", "zoe"].map(there).concat());
    corp.add("anna SMTP:anna@acme.example\nbert SMTP:bert@acme.example\ncarl SMTP:carl@acme.example");
    let other = format!("{FULL}, baseDN: '{base}'");
    corp.connect("corp", FULL).await;
    corp.connect("other", &other).await;
    corp.tenant.ready("DirectoryConnection/corp\nDirectoryConnection/other").await;
    let broken = format!("{other}, urls: ['ldap://127.0.0.1:1']");
    corp.tenant.apply(&format!("DirectoryConnection/other {}", corp.spec("other", &broken))).await;
    corp.tenant.reasons("DirectoryConnection/other DirectoryUnreachable").await;
    corp.slapd.modify(&format!("dn: cn=xaver,{base}\nchangetype: delete\n\ndn: {}\nchangetype: delete\n", corp.dn("anna")));
    corp.add("dora SMTP:dora@acme.example");
    for _ in 0..2 {
        corp.run().await;
        corp.run_of("other").await;
    }
    let roster = "anna@acme.example Directory missing
         bert@acme.example Directory
         carl@acme.example Directory
         dora@acme.example Directory
         xaver@acme.example Directory
         yves@acme.example Directory
         zoe@acme.example Directory";
    corp.roster(roster).await;
    corp.tenant.reasons("DirectoryConnection/corp Succeeded").await;
    // Mended, it goes on: what it lacks is missing from now on.
    corp.tenant.apply(&format!("DirectoryConnection/other {}", corp.spec("other", &other))).await;
    corp.tenant.ready("DirectoryConnection/other").await;
    for _ in 0..2 {
        corp.run_of("other").await;
    }
    corp.roster(&roster.replace("xaver@acme.example Directory", "xaver@acme.example Directory missing")).await;
}
