//! Postgres goes away, dies amid a batch, comes back as an older copy of itself (SPEC C11, V3; DESIGN 4).

use crate::crashes::DUMP;
use crate::outage::{MailServer, tenant_on};
use crate::scene::reconciling;
use crate::tenant::Tenant;
use sqlx::Executor as _;

const ACME: &str = "InternalDomain/acme {domain: acme.example}
    EmailAddress/info {address: info@acme.example}
    EmailAddress/sales {address: sales@acme.example, displayName: Sales}
    EmailAddress/retain {address: retain@acme.example}";

#[tokio::test]
async fn c11_u7_while_the_store_is_away_only_what_changed_says_so_and_it_heals() {
    let (tenant, postgres) = tenant_on("store-away").await;
    tenant.apply(ACME).await;
    tenant.ready(ACME).await;
    let before = tenant.standing().await;
    let written = tenant.statuses_written().await;

    postgres.kill().await;
    let changed = "EmailAddress/sales {address: sales@acme.example, displayName: Other}
        EmailAddress/new {address: new@acme.example}";
    tenant.apply(changed).await;
    for name in ["sales", "new"] {
        let seen = tenant.cluster.wait_reason("EmailAddress", &tenant.namespace, name, "StoreUnavailable").await;
        assert!(reconciling(&seen), "{seen:#}");
    }
    // U7: nothing holds up the end of what is retained.
    tenant.delete("EmailAddress/retain").await;
    tenant.gone("EmailAddress/retain").await;
    // The pauses grow while it is away, as they would for hours.
    tenant.logged("trying again in 8s", 1).await;
    for unchanged in ["InternalDomain/acme", "EmailAddress/info"] {
        assert_eq!(tenant.standing().await[unchanged], before[unchanged], "in force, it keeps its status");
    }

    postgres.start_again().await;
    tenant.ready(changed).await;
    tenant.until("SELECT owner, display_name FROM mailroster.address", &[",", "info,", "new,", "sales,Other"]).await;
    assert_eq!(tenant.standing().await["EmailAddress/info"], before["EmailAddress/info"], "C3");
    // For each of the two: it waits, and it is in force; and the domain's counts.
    let more = tenant.statuses_written().await - written;
    assert!(more <= 6.0, "{more} statuses were written");
    tenant.nothing_was_done_twice().await;
    tenant.leads_as_before().await;
}

/// Has the controller see all of these changes at once, so that they come into one batch, and waits until that batch waits for a lock.
async fn in_one_batch_that_waits(tenant: &Tenant, resources: &str) {
    tenant.operator.freeze();
    tenant.apply(resources).await;
    tenant.operator.thaw();
    let waiting = "SELECT count(*) > 0 AS waits FROM pg_stat_activity WHERE datname = current_database()
        AND application_name LIKE 'mailroster leader %' AND wait_event_type = 'Lock' AND xact_start IS NOT NULL";
    tenant.until(waiting, &["true"]).await;
}

#[tokio::test]
async fn a_batch_that_postgres_dies_in_is_done_once_and_by_the_same_controller() {
    let (tenant, postgres) = tenant_on("store-dies").await;
    let addresses = |name: &str| {
        let line = |n| format!("EmailAddress/a{n} {{address: a{n}@acme.example, displayName: {name} {n}}}\n");
        (0..20).map(line).collect::<String>()
    };
    let first = format!("InternalDomain/acme {{domain: acme.example}}\n{}", addresses("First"));
    tenant.apply(&first).await;
    tenant.ready(&first).await;
    let named = "SELECT count(*) FROM mailroster.address WHERE display_name LIKE 'Second%'";

    // In the middle: the batch has begun to write when it meets a row that a hand in SQL holds.
    let mut hand = tenant.database.pool.begin().await.expect("a connection");
    hand.execute("SELECT FROM mailroster.address WHERE canonical = 'a7@acme.example' FOR UPDATE").await.expect("a row");
    in_one_batch_that_waits(&tenant, &addresses("Second")).await;
    postgres.kill().await;
    drop(hand);
    postgres.start_again().await;
    tenant.ready(&addresses("Second")).await;
    assert_eq!(tenant.rows(named).await, ["20"]);

    // At its very end: it waits within COMMIT.
    let slow_commit = "
        CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON mailroster.link DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.wait()";
    tenant.database.execute(slow_commit).await;
    let mut hand = tenant.database.pool.acquire().await.expect("a connection");
    hand.execute("SELECT pg_advisory_lock(7)").await.expect("a lock");
    let rights = (0..10).map(|n| {
        format!(
            "AliasLink/l{n} {{alias: l{n}@acme.example, primary: a{n}@acme.example}}
             DelegateMailbox/d{n} {{reader: a{n}@acme.example, mailbox: a{}@acme.example}}
             AdminRole/r{n} {{builtIn: HelpDesk, members: [a{n}@acme.example]}}\n",
            n + 10
        )
    });
    let rights: String = rights.collect();
    in_one_batch_that_waits(&tenant, &rights).await;
    postgres.kill().await;
    drop(hand);
    postgres.start_again().await;
    tenant.ready(&rights).await;
    let count = "SELECT (SELECT count(*) FROM mailroster.link), (SELECT count(*) FROM mailroster.delegation), (SELECT count(*) FROM mailroster.role_member)";
    assert_eq!(tenant.rows(count).await, ["10,10,10"]);
    tenant.nothing_was_done_twice().await;
    tenant.leads_as_before().await;
}

const BATCHES: &str = "SELECT batches FROM mailroster.installation";

async fn batches(tenant: &Tenant) -> i64 {
    tenant.database.text(BATCHES).await.parse().expect("a number")
}

/// What is declared before the copy is made, and what comes after it.
const OLD: &str = "InternalDomain/acme {domain: acme.example}
    EmailAddress/info {address: info@acme.example, displayName: Old}
    EmailAddress/anna {address: anna@acme.example}
    EmailAddress/bert {address: bert@acme.example}
    AliasLink/moved {alias: desk@acme.example, primary: anna@acme.example}
    DelegateMailbox/ended {reader: bert@acme.example, mailbox: info@acme.example}";
const NEW: &str = "EmailAddress/info {address: info@acme.example, displayName: New, disabled: true}
    EmailAddress/late {address: late@acme.example}
    AliasLink/moved {alias: desk@acme.example, primary: bert@acme.example}
    AliasLink/link {alias: late.e@acme.example, primary: late@acme.example}
    DelegateMailbox/pair {reader: anna@acme.example, mailbox: late@acme.example}
    AdminRole/help {builtIn: HelpDesk, members: [late@acme.example]}";

/// An older copy takes the store's place. What is said of it before all is planned anew may be an error, and never that a recipient
/// is unknown.
async fn restored_to_an_older_copy(folder: &str, copy_of_an_earlier_leader: bool) {
    let (mut tenant, postgres) = tenant_on(folder).await;
    tenant.apply(OLD).await;
    tenant.ready(OLD).await;
    // Beyond the hour in which strangers are deferred in any case.
    tenant.database.move_clock(7_200).await;
    tenant.until("SELECT gateway.recipient_action_v1('late@acme.example')", &["550 5.1.1 No such recipient here"]).await;
    postgres.back_up().await;
    if copy_of_an_earlier_leader {
        assert!(tenant.operator.terminate().await.success());
        tenant.operator = crate::support::Operator::start_with(tenant.operator.settings()).await;
    }
    tenant.apply(NEW).await;
    tenant.secret("vera", "Correct-Horse-7").await;
    tenant.address("vera", "").await;
    tenant.ready(NEW).await;
    tenant.ready("EmailAddress/vera {}").await;
    tenant.delete("DelegateMailbox/ended").await;
    tenant.gone("DelegateMailbox/ended").await;
    let mut dump = tenant.rows(DUMP).await;
    let (standing, written, before) = (tenant.standing().await, tenant.statuses_written().await, batches(&tenant).await);

    let mail_server = MailServer::asks(&tenant.database, "late@acme.example");
    postgres.kill().await;
    postgres.restore();
    postgres.start_again().await;
    // What ended since is there again, and its owner is out of sight (U6).
    let ended = "delegation bert@acme.example info@acme.example ended";
    let sorted_in = dump.iter().position(|row| row.as_str() > ended).unwrap_or(dump.len());
    dump.insert(sorted_in, ended.to_owned());
    tenant.until(DUMP, &dump.iter().map(String::as_str).collect::<Vec<_>>()).await;
    tenant.until("SELECT answers_since IS NOT NULL FROM mailroster.installation", &["true"]).await;
    tenant.until("SELECT gateway.recipient_action_v1('late@acme.example') IS NULL AS accepted", &["true"]).await;
    let told = mail_server.was_told().await;
    assert!(told.iter().any(|answer| answer == "raises"), "V3: {told:?}");
    assert!(!told.iter().any(|answer| answer.starts_with("550")), "V3: {told:?}");
    assert!(tenant.opens("vera").await.is_some(), "the password that the copy lacked is set again");

    // No storm: what is in force is in force as before, but for the times of a delegation and a password that were made anew, and the
    // domain's counts; and what was missing came in a few transactions.
    let mut now = tenant.standing().await;
    now.retain(|name, standing_now| standing[name] != *standing_now && name != "InternalDomain/acme");
    assert_eq!(now.keys().collect::<Vec<_>>(), ["DelegateMailbox/pair", "EmailAddress/vera"]);
    let more = tenant.statuses_written().await - written;
    assert!(more <= 6.0, "{more} statuses were written");
    let after = batches(&tenant).await;
    assert!(after > before, "an older store is known by its number: {before}, {after}");
    assert!(after < before + 20, "{} transactions", after - before);
    let missed = "SELECT kind, name FROM mailroster.absence";
    tenant.until(missed, &["DelegateMailbox,ended"]).await;
    tenant.database.move_clock(25 * 3_600).await;
    tenant.until("SELECT count(*) FROM mailroster.delegation", &["1"]).await;
    tenant.leads_as_before().await;
}

#[tokio::test]
async fn v3_c11_a_store_restored_to_an_older_copy_says_nothing_until_what_it_lacks_is_written_again() {
    restored_to_an_older_copy("store-older", false).await;
}

#[tokio::test]
async fn v3_c11_a_copy_from_before_this_leader_is_known_as_such_and_not_for_the_work_of_another() {
    restored_to_an_older_copy("store-older-yet", true).await;
}
