//! Postgres is the oracle (DESIGN 2): what a plan's changes make of its rows is what the pure interpreter makes of them.
//!
//! The worlds are those of the plan's properties. Each runs on a database of its own, whose clock is the world's.

use std::collections::{BTreeSet, HashMap};
use std::str::FromStr as _;
use std::sync::Arc;

use proptest::test_runner::{Config, TestRunner};
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{AssertSqlSafe, Executor as _};
use tokio_util::sync::CancellationToken;

use super::{Claim, Conclusion, Embedded, Feed, Leader, LeaderError, Location, Marks, Scope, Store, StoreError, refuse_foreign};
use crate::model::{CanonicalAddress, DomainName, Kind, ResourceKey};
use crate::plan::Subject;
use crate::plan::change::Change;
use crate::plan::directory::rows::{ConnectionRow, Problem, RunCounts, RunRecord};
use crate::plan::observed::{Observed, Reports};
use crate::plan::reason::Reason;
use crate::plan::slice::Slice;
use crate::plan::tests::generate::{LOCALS, Step, config, generate};
use crate::plan::tests::world::{World, address};
use crate::plan::verdict::HeldPlan;

const CLOCK: &str = "
    CREATE TABLE mailroster.test_clock (at timestamptz NOT NULL);
    INSERT INTO mailroster.test_clock VALUES (pg_catalog.now());
    CREATE OR REPLACE FUNCTION mailroster.now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT at FROM mailroster.test_clock'";

/// A server with the migrated database `base`.
struct Oracle {
    server: Embedded,
    admin: PgPool,
    folder: tempfile::TempDir,
}

impl Oracle {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Embedded::start(folder.path()).await.unwrap();
        let admin = PgPool::connect(&server.url()).await.unwrap();
        // Nothing here has to survive the machine.
        admin.execute("ALTER SYSTEM SET fsync = off").await.unwrap();
        admin.execute("SELECT pg_reload_conf()").await.unwrap();
        admin.execute("CREATE DATABASE base").await.unwrap();
        let oracle = Self { server, admin, folder };
        let base = PgConnectOptions::from_str(&oracle.url("base")).unwrap();
        super::migrate(&base, "mailroster").await.unwrap();
        let pool = PgPool::connect_with(base).await.unwrap();
        pool.execute(CLOCK).await.unwrap();
        pool.close().await;
        oracle
    }

    fn url(&self, database: &str) -> String {
        self.server.url().replace("/postgres?", &format!("/{database}?"))
    }

    /// A database of its own, led.
    async fn lead(&self, name: &str) -> Leader {
        self.admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE base"))).await.unwrap();
        let store = Store::open(&Location { url: self.url(name), password_file: None }, "mailroster leader test").unwrap();
        Leader::take(&store, &claim(name)).await.unwrap()
    }

    /// Plays a case on both sides and compares them after each step.
    async fn agrees(&self, number: u32, steps: &[Step]) {
        let name = format!("world{number}");
        let leader = self.lead(&name).await;
        let store = leader.store().clone();
        let mut world = World::new();
        set_clock(&store, world.now).await;
        let mut seen = BTreeSet::new();
        for step in steps {
            report(&store, &world, step).await;
            world.happen(step);
            seen.extend(step.keys());
            world.settle();
            if let Step::Advance(seconds) = step {
                world.advance(*seconds);
            }
            if world.journal.is_empty() && !matches!(step, Step::Held(..) | Step::Learn(_)) {
                continue;
            }
            for (now, mut plan) in std::mem::take(&mut world.journal) {
                set_clock(&store, now).await;
                note_versions(&store, &mut plan.changes).await;
                let executed = leader.execute(&plan.changes, &plan.audit).await;
                executed.unwrap_or_else(|error| panic!("{error:?}, by {:#?}", plan.changes));
            }
            set_clock(&store, world.now).await;
            compare(&store, &mut world, &seen, step).await;
        }
        store.pool().close().await;
    }
}

/// What the store calls the rows that a plan changes: the pure world knows of no versions.
async fn note_versions(store: &Store, changes: &mut [Change]) {
    let versions = "SELECT canonical, xmin::text::bigint FROM mailroster.address";
    let versions: Vec<(String, i64)> = sqlx::query_as(versions).fetch_all(store.pool()).await.unwrap();
    let mut versions: HashMap<_, _> = versions.into_iter().collect();
    // One that goes first is another one.
    for change in changes.iter() {
        if let Change::DeleteAddress { address, .. } = change {
            versions.remove(address.as_str());
        }
    }
    for change in changes {
        if let Change::PutAddress { address, row, .. } = change {
            Arc::make_mut(row).version = versions.get(address.as_str()).map(|version| u32::try_from(*version).unwrap());
        }
    }
}

fn claim(installation: &str) -> Claim {
    Claim { installation: installation.to_owned(), holder: "test".to_owned(), take_over: false, new_domain_grace: 3600 }
}

async fn set_clock(store: &Store, now: jiff::Timestamp) {
    let set = sqlx::query("UPDATE mailroster.test_clock SET at = $1::text::timestamptz").bind(now.to_string());
    set.execute(store.pool()).await.unwrap();
}

/// What mail servers do, as rows of their own tables: the gateway's functions have tests of their own.
async fn report(store: &Store, world: &World, step: &Step) {
    let pool = store.pool();
    match step {
        Step::Held(held, count) => {
            set_clock(store, world.now).await;
            let source = "INSERT INTO mailroster.held_source VALUES ('queue', mailroster.now()) ON CONFLICT (source) DO UPDATE SET reported_at = EXCLUDED.reported_at";
            pool.execute(source).await.unwrap();
            sqlx::query("DELETE FROM mailroster.held_address WHERE address = $1").bind(held).execute(pool).await.unwrap();
            let messages = sqlx::query("INSERT INTO mailroster.held_address SELECT 'queue', n::text, $1 FROM generate_series(1, $2) n");
            messages.bind(held).bind(i32::try_from(*count).unwrap()).execute(pool).await.unwrap();
        }
        Step::Learn(sender) => {
            let domain = address(sender).domain();
            if world.observed.domains.contains_key(&domain) {
                let learned = sqlx::query("INSERT INTO mailroster.learned_sender (key, domain) VALUES ($1, $2) ON CONFLICT DO NOTHING");
                learned.bind(sender).bind(domain.as_str()).execute(pool).await.unwrap();
            }
        }
        _ => {}
    }
}

async fn compare(store: &Store, world: &mut World, seen: &BTreeSet<ResourceKey>, step: &Step) {
    world.count();
    let (observed, now) = store.observe(&everything(world, seen)).await.unwrap();
    assert_eq!(now, world.now);
    let (postgres, pure) = (comparable(&observed, &world.observed), comparable(&world.observed, &world.observed));
    if postgres != pure {
        let (postgres, pure) = (format!("{postgres:#?}"), format!("{pure:#?}"));
        let only = |these: &str, those: &str| {
            let those: BTreeSet<_> = those.lines().collect();
            these.lines().filter(|line| !those.contains(line)).collect::<Vec<_>>().join("\n")
        };
        panic!(
            "they disagree after {step:?}. Postgres alone says:\n{}\nthe pure interpreter alone says:\n{}\nin all:\n{pure}",
            only(&postgres, &pure),
            only(&pure, &postgres)
        );
    }
}

/// A scope of all that a world may hold.
fn everything(world: &World, seen: &BTreeSet<ResourceKey>) -> Scope {
    let observed = &world.observed;
    let domains: BTreeSet<DomainName> = ["acme.example", "mail.acme.example", "other.example"].map(DomainName::from_store).into();
    let addresses = domains.iter().flat_map(|domain| LOCALS.map(|local| CanonicalAddress::from_store(&format!("{local}@{domain}"))));
    let mut subjects: BTreeSet<Subject> = addresses
        .chain(observed.addresses.keys().cloned())
        .flat_map(|a| [Subject::Address(a.clone()), Subject::Link(a.clone()), Subject::Member(a)])
        .collect();
    subjects.extend(domains.iter().cloned().map(Subject::Domain));
    subjects.extend(["a", "b"].map(|namespace| Subject::Settings(namespace.to_owned())));
    subjects.extend(["a", "acme", "b"].map(|namespace| Subject::Absences(namespace.to_owned())));
    subjects.extend(seen.iter().map(|key| Subject::Role(key.namespace.clone(), key.name.clone())));
    subjects.extend(seen.iter().map(|key| Subject::Connection(key.namespace.clone(), key.name.clone())));
    let slice = Slice { keys: seen.clone(), subjects };
    let missing_in = ["a", "b"].map(str::to_owned).into();
    Scope { slice, count: domains.clone(), leaving: domains.clone(), handing_over: domains, missing_in, ..Scope::default() }
}

/// The rows as both sides know them.
fn comparable(of: &Observed, rows: &Observed) -> Observed {
    let mut observed = of.clone();
    // Both know what was reported of rows that exist; only the world remembers the rest, and that nothing was reported.
    observed.reports.retain(|address, reports| rows.addresses.contains_key(address) && *reports != Reports::default());
    observed.learned.retain(|_, queue| !queue.is_empty());
    // Only the store has versions of a row.
    for address in observed.addresses.keys().cloned().collect::<Vec<_>>() {
        observed.addresses.get_mut(&address).unwrap().version = None;
    }
    observed.numbers.retain(|domain, _| rows.domains.contains_key(domain));
    // Their words are for people.
    observed.transfer_blockers.retain(|domain, blockers| rows.domains.contains_key(domain) && !blockers.is_empty());
    observed.transfer_blockers.values_mut().for_each(|blockers| *blockers = vec![String::new(); blockers.len()]);
    observed
}

#[test]
fn postgres_makes_of_every_plan_what_the_pure_interpreter_makes_of_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let oracle = runtime.block_on(Oracle::start());
    let config = Config { max_shrink_iters: 100, ..config() };
    let number = std::cell::Cell::new(0);
    let outcome = TestRunner::new(config).run(&generate(), |steps| {
        number.set(number.get() + 1);
        runtime.block_on(oracle.agrees(number.get(), &steps));
        Ok(())
    });
    let Oracle { server, admin, folder } = oracle;
    runtime.block_on(async {
        admin.close().await;
        server.stop().await;
    });
    drop(folder);
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

const ACME: &str = "
    INSERT INTO mailroster.domain (name, namespace, recipient_validation, unknown_recipients, learn_senders)
    VALUES ('acme.example', 'a', 'Known', 'Reject', true), ('other.example', 'b', 'Known', 'Reject', true);
    INSERT INTO mailroster.address (canonical, display, domain_id, namespace, origin, created_at)
    SELECT 'ann@acme.example', 'Ann', id, namespace, 'Manual', '2026-01-02 03:04:05.678901Z' FROM mailroster.domain WHERE name = 'acme.example';
    INSERT INTO mailroster.settings VALUES ('a', 'default', 12, true, true, true, false, 0, 5, 5, 900, 10, 3600, true, 7, 3, false);
    INSERT INTO mailroster.learned_sender (key, domain) VALUES ('straße@acme.example', 'acme.example');
    DELETE FROM mailroster.change";

async fn texts(store: &Store, sql: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(format!("SELECT q::text FROM ({sql}) q ORDER BY 1"))).fetch_all(store.pool()).await.unwrap()
}

#[tokio::test]
async fn audit_rows_that_came_before_their_partition_move_there() {
    let oracle = Oracle::start().await;
    let leader = oracle.lead("house").await;
    let store = leader.store();
    let sql = "
        INSERT INTO mailroster.audit (at, actor, subject, action, reason)
        SELECT at, 'test', at::text, 'Created', 'Declared'
        FROM unnest('{2026-01-31 23:59Z, 2026-03-01 00:00Z, 2026-03-31 23:59:59.999999Z, 2026-04-15 00:00Z, 2025-01-01 00:00Z}'::timestamptz[]) at";
    store.pool().execute(sql).await.unwrap();
    for _ in 0..2 {
        leader.keep_house(jiff::civil::date(2026, 3, 20), 100).await.unwrap();
    }
    let placed = texts(store, "SELECT p.relname, count(*) FROM mailroster.audit a JOIN pg_class p ON p.oid = a.tableoid GROUP BY 1").await;
    assert_eq!(placed, ["(audit_2026_03,2)", "(audit_2026_04,1)", "(audit_default,1)"]);
    let sql = "SELECT count(DISTINCT relowner) FROM pg_class WHERE relname ~ '^audit' AND relkind IN ('r', 'p')";
    assert_eq!(texts(store, sql).await, ["(1)"]);
    // Y7: a leaver that was seen through counts for a day.
    let sql = "INSERT INTO mailroster.departed (namespace, connection, subject, at)
        SELECT 'a', 'corp', hours || 'h', mailroster.now() - hours * interval '1 hour' FROM unnest('{23, 25, 900}'::integer[]) hours";
    store.pool().execute(sql).await.unwrap();
    leader.keep_house(jiff::civil::date(2026, 8, 20), 100).await.unwrap();
    assert_eq!(texts(store, "SELECT subject FROM mailroster.departed").await, ["(23h)"]);
    let kept = texts(
        store,
        "SELECT p.relname FROM pg_inherits JOIN pg_class p ON p.oid = inhrelid WHERE inhparent = 'mailroster.audit'::regclass",
    )
    .await;
    assert_eq!(kept, ["(audit_2026_08)", "(audit_2026_09)", "(audit_default)"]);
    oracle.server.stop().await;
}

#[tokio::test]
async fn v3_an_older_copy_is_known_by_whatever_is_asked_of_it_and_another_leader_by_the_same_epoch() {
    let oracle = Oracle::start().await;
    let leader = oracle.lead("copied").await;
    let store = leader.store();
    let hand = async |sql: &str| {
        sqlx::raw_sql(AssertSqlSafe(format!("UPDATE mailroster.installation SET {sql}"))).execute(store.pool()).await.unwrap()
    };
    let answers = "SELECT answers_since IS NOT NULL, batches FROM mailroster.installation";
    leader.execute(&[], &[]).await.unwrap();
    leader.answer().await.unwrap();
    assert!(leader.state().await.unwrap());
    assert_eq!(texts(store, answers).await, ["(t,2)"]);

    // By its counter, or because it is from before this epoch, or of nobody's yet. What raises the counter again hides nothing.
    for (copy, counter) in
        [("batches = 1", 4), ("batches = 0, epoch = 0, leader = 'one before'", 6), ("id = NULL, epoch = 0, batches = 0, leader = NULL", 8)]
    {
        hand(copy).await;
        for _ in 0..3 {
            assert!(matches!(leader.execute(&[], &[]).await, Err(StoreError::Older)), "{copy}");
        }
        assert!(matches!(leader.answer().await, Err(StoreError::Older)), "{copy}");
        assert!(matches!(leader.state().await, Err(StoreError::Older)), "{copy}");
        leader.hush().await.unwrap();
        assert!(!leader.state().await.unwrap());
        leader.answer().await.unwrap();
        assert_eq!(texts(store, answers).await, [format!("(t,{counter})")], "{copy}");
    }

    // Whoever took a copy from before this epoch has the same one now.
    hand("leader = 'another'").await;
    assert!(matches!(leader.execute(&[], &[]).await, Err(StoreError::Deposed)));
    assert!(matches!(leader.state().await, Err(StoreError::Deposed)));
    assert!(matches!(leader.hush().await, Err(StoreError::Deposed)));
    oracle.server.stop().await;
}

#[tokio::test]
async fn v3_who_takes_a_store_whose_postgres_was_started_since_lets_mail_servers_wait() {
    let oracle = Oracle::start().await;
    let leader = oracle.lead("started").await;
    leader.answer().await.unwrap();
    let store = leader.store().clone();
    drop(leader);
    // The server may take a moment to notice that a session has ended.
    let take = async || loop {
        match Leader::take(&store, &claim("started")).await {
            Err(LeaderError::Busy) => {}
            taken => break taken.unwrap().state().await.unwrap(),
        }
    };
    assert!(take().await, "the same run of Postgres: what is in force is known");
    let other_run = "UPDATE mailroster.installation SET recognised_run = recognised_run - interval '1 second'";
    store.pool().execute(other_run).await.unwrap();
    assert!(!take().await);
    oracle.server.stop().await;
}

/// The view of a primary with more aliases than its status lists: whoever is in the slice, the first of the others, and a number.
#[tokio::test]
async fn of_many_aliases_the_first_and_those_of_the_slice_are_read_and_all_before_a_purge() {
    let oracle = Oracle::start().await;
    let leader = oracle.lead("aliases").await;
    let store = leader.store();
    sqlx::raw_sql(ACME).execute(store.pool()).await.unwrap();
    let links = "
        INSERT INTO mailroster.address (canonical, display, domain_id, namespace, is_alias, origin)
        SELECT n || '@acme.example', n, d.id, d.namespace, true, 'Manual'
        FROM mailroster.domain d, unnest('{e, d, c, b, a}'::text[]) n WHERE d.name = 'acme.example';
        INSERT INTO mailroster.link (alias_id, primary_id, namespace, origin, made_row)
        SELECT a.id, p.id, a.namespace, 'Declared', true FROM mailroster.address a, mailroster.address p
        WHERE a.is_alias AND p.canonical = 'ann@acme.example'";
    sqlx::raw_sql(links).execute(store.pool()).await.unwrap();
    let ann = address("ann@acme.example");
    let seen = async |named: &[&str], purging: &[&CanonicalAddress]| {
        let subjects = named.iter().map(|name| Subject::Address(address(&format!("{name}@acme.example")))).collect();
        let slice = Slice { subjects, ..Slice::default() };
        let scope = Scope { slice, purging: purging.iter().copied().cloned().collect(), ..Scope::default() };
        let (observed, _) = store.observe(&scope).await.unwrap();
        let links = &observed.links;
        let names = links.aliases_of(&ann).map(|alias| alias.as_str().split('@').next().unwrap_or_default());
        let rows = observed.addresses.keys().count();
        format!("{} of {}, {rows} rows", names.collect::<Vec<_>>().join(" "), links.count_aliases_of(&ann))
    };
    assert_eq!(seen(&["ann"], &[]).await, "a b of 5, 1 rows");
    assert_eq!(seen(&["ann", "a", "d"], &[]).await, "a b c d of 5, 3 rows");
    assert_eq!(seen(&["ann", "a", "b", "c", "d"], &[]).await, "a b c d e of 5, 5 rows");
    assert_eq!(seen(&["d"], &[]).await, "d of 1, 2 rows");
    assert_eq!(seen(&["ann"], &[&ann]).await, "a b c d e of 5, 6 rows");
    let asked_for = "INSERT INTO mailroster.waiting (address_id, action) SELECT id, 'Purge' FROM mailroster.address WHERE NOT is_alias";
    store.pool().execute(asked_for).await.unwrap();
    assert_eq!(seen(&["ann", "d"], &[]).await, "a b c d e of 5, 6 rows");
    // A hand may give an alias to another; its name it can't change.
    store.pool().execute("UPDATE mailroster.link SET alias = 'z'; DELETE FROM mailroster.waiting").await.unwrap();
    assert_eq!(seen(&["ann"], &[]).await, "a b of 5, 1 rows");
    oracle.server.stop().await;
}

/// Rows read of tables and by way of indexes, in a store of some size: of a small one it is cheaper to read all.
#[tokio::test]
async fn what_a_primary_of_thousands_of_aliases_costs_does_not_depend_on_their_number() {
    let oracle = Oracle::start().await;
    let leader = oracle.lead("thousands").await;
    let store = leader.store();
    sqlx::raw_sql(ACME).execute(store.pool()).await.unwrap();
    let others = "
        BEGIN;
        SET LOCAL session_replication_role = replica;
        INSERT INTO mailroster.address (canonical, display, domain_id, namespace, is_alias, origin)
        SELECT n || '@other.example', n, d.id, d.namespace, n % 2 = 1, 'Manual'
        FROM mailroster.domain d, generate_series(1, 100000) n WHERE d.name = 'other.example';
        INSERT INTO mailroster.link (alias_id, primary_id, alias, namespace, origin, made_row)
        SELECT a.id, p.id, a.canonical, a.namespace, 'Declared', true FROM mailroster.address a
        JOIN mailroster.address p ON p.canonical = a.display::integer + 1 || '@other.example' WHERE a.is_alias;
        COMMIT";
    sqlx::raw_sql(others).execute(store.pool()).await.unwrap();
    let mut costs = Vec::new();
    for (from, to) in [(1, 100), (101, 5_000)] {
        let links = format!(
            "INSERT INTO mailroster.address (canonical, display, domain_id, namespace, is_alias, origin)
             SELECT n || '@acme.example', n, d.id, d.namespace, true, 'Manual'
             FROM mailroster.domain d, generate_series({from}, {to}) n WHERE d.name = 'acme.example';
             INSERT INTO mailroster.link (alias_id, primary_id, namespace, origin, made_row)
             SELECT a.id, p.id, a.namespace, 'Declared', true FROM mailroster.address a, mailroster.address p
             WHERE p.canonical = 'ann@acme.example' AND a.is_alias AND NOT EXISTS (SELECT FROM mailroster.link l WHERE l.alias_id = a.id)"
        );
        sqlx::raw_sql(AssertSqlSafe(links)).execute(store.pool()).await.unwrap();
        store.pool().execute("VACUUM ANALYZE").await.unwrap();
        let mut transaction = store.pool().begin().await.unwrap();
        // What was not sent to the statistics yet is among it.
        let read = "SELECT sum(seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_xact_user_tables WHERE relid::regclass::text ~ '(address|link)$'";
        let before: i64 = sqlx::query_scalar(read).fetch_one(&mut *transaction).await.unwrap();
        let input = serde_json::json!({"addresses": ["ann@acme.example", "7@acme.example"], "purging": [], "listed": 50});
        let found: serde_json::Value = sqlx::query_scalar(super::queries::LINKS).bind(input).fetch_one(&mut *transaction).await.unwrap();
        assert_eq!(found.as_array().unwrap().len(), 51);
        // This one reads nothing but an index.
        let ann = serde_json::json!(["ann@acme.example"]);
        let counted: serde_json::Value =
            sqlx::query_scalar(super::queries::ALIAS_COUNTS).bind(ann).fetch_one(&mut *transaction).await.unwrap();
        assert_eq!(counted, serde_json::json!([["ann@acme.example", to]]));
        let after: i64 = sqlx::query_scalar(read).fetch_one(&mut *transaction).await.unwrap();
        costs.push(after - before);
    }
    assert!(costs.iter().all(|rows| *rows < 200), "{costs:?}");
    oracle.server.stop().await;
}

#[tokio::test]
async fn statistics_are_taken_once_the_tables_have_outgrown_the_plans_of_an_empty_store() {
    let oracle = Oracle::start().await;
    let leader = oracle.lead("growing").await;
    let domain = "INSERT INTO mailroster.domain (name, namespace, recipient_validation, unknown_recipients, learn_senders)
        VALUES ('acme.example', 'a', 'Known', 'Reject', false)";
    leader.store().pool().execute(domain).await.unwrap();
    let rows = "SELECT reltuples::bigint FROM pg_class WHERE oid = 'mailroster.address'::regclass";
    for (from, to, known) in [(1, 600, "(-1)"), (601, 1_000, "(1000)"), (1_001, 1_500, "(1000)")] {
        let more = format!(
            "INSERT INTO mailroster.address (canonical, display, domain_id, namespace, origin)
             SELECT 'u' || n || '@acme.example', '', id, namespace, 'Manual' FROM mailroster.domain, generate_series({from}, {to}) n"
        );
        leader.store().pool().execute(AssertSqlSafe(more)).await.unwrap();
        leader.grown(to + 1 - from).await;
        assert_eq!(texts(leader.store(), rows).await, [known]);
    }
    oracle.server.stop().await;
}

#[tokio::test]
async fn what_is_known_of_a_connection_is_kept_whole_and_found_by_its_name() {
    let oracle = Oracle::start().await;
    let leader = oracle.lead("connection").await;
    let store = leader.store();
    let key = ResourceKey::new(Kind::DirectoryConnection, "a", "corp");
    let subject = Subject::Connection("a".to_owned(), "corp".to_owned());
    let at: jiff::Timestamp = "2026-01-02T03:04:05.678901Z".parse().unwrap();
    let run = RunRecord {
        started_at: at,
        finished_at: at,
        server: "ldaps://dc1".to_owned(),
        mode: "Full".to_owned(),
        complete: false,
        counts: RunCounts { read: 7, reported: 1, ..RunCounts::default() },
        problem: Some(Problem { reason: Reason::BindRefused, message: "no".to_owned() }),
        reports: vec!["cn=Ann: \"x\" is no address".to_owned()],
    };
    let plan = HeldPlan { hash: "00aa".to_owned(), count: 1, sample: vec!["Leave ann@acme.example".to_owned()] };
    let row = ConnectionRow { last_run: Some(run), last_complete: Some(at), held_leavers: Some(plan), ..ConnectionRow::default() };
    let scope = Scope { slice: Slice { subjects: [subject.clone()].into(), ..Slice::default() }, ..Scope::default() };
    let seen = async || store.observe(&scope).await.unwrap().0.connections;
    let concluded = |state: &ConnectionRow| Conclusion { state: state.clone(), covered: Vec::new(), served: Vec::new(), fresh_until: None };

    assert_eq!(seen().await.len(), 0);
    let wanted = CancellationToken::new();
    assert_eq!(leader.open_connection(&key, &wanted).await.unwrap(), ConnectionRow::default());
    for row in [ConnectionRow::default(), row.clone()] {
        leader.conclude(&key, &concluded(&row), &wanted).await.unwrap();
        assert_eq!(leader.open_connection(&key, &wanted).await.unwrap(), row);
        assert_eq!(seen().await.into_values().collect::<Vec<_>>(), [row]);
    }
    assert_eq!(store.owned(&[key.clone()].into()).await.unwrap(), [subject].into());
    for (place, missing) in [("", vec![key.clone()]), ("a", vec![key]), ("b", vec![])] {
        assert_eq!(store.unlisted_owners(Kind::DirectoryConnection, place, |_| false).await.unwrap(), missing.into_iter().collect());
    }
    leader.execute(&[Change::DeleteConnection { namespace: "a".to_owned(), name: "corp".to_owned() }], &[]).await.unwrap();
    assert_eq!(seen().await.len(), 0);
    // Y8: a run that ends after that revives nothing; nor does one begin after the end of what it runs for.
    let key = ResourceKey::new(Kind::DirectoryConnection, "a", "corp");
    let covering = Conclusion { covered: vec![DomainName::from_store("acme.example")], fresh_until: Some(at), ..concluded(&row) };
    assert!(matches!(leader.conclude(&key, &covering, &wanted).await, Err(StoreError::Stopped)));
    wanted.cancel();
    assert!(matches!(leader.open_connection(&key, &wanted).await, Err(StoreError::Stopped)));
    assert!(matches!(leader.mark(&key, &Marks::default(), &wanted).await, Err(StoreError::Stopped)));
    assert_eq!(
        texts(store, "SELECT name FROM mailroster.connection UNION ALL SELECT domain FROM mailroster.covered_domain").await.len(),
        0
    );
    oracle.server.stop().await;
}

#[tokio::test]
async fn a_foreign_store_is_left_untouched_and_what_was_not_in_view_stays() {
    let oracle = Oracle::start().await;
    let leader = oracle.lead("owned").await;
    let store = leader.store();
    let other = Store::open(&Location { url: oracle.url("owned"), password_file: None }, "mailroster leader other").unwrap();
    let foreign = |error: LeaderError| matches!(error, LeaderError::Foreign { owner, mine } if owner == "owned" && mine == "other");
    assert!(foreign(refuse_foreign(&other.connect_options(), &claim("other")).await.unwrap_err()));
    assert!(foreign(Leader::take(&other, &claim("other")).await.unwrap_err()));
    leader.execute(&[], &[]).await.unwrap();

    sqlx::raw_sql(ACME).execute(store.pool()).await.unwrap();
    let (ann, acme) = (address("ann@acme.example"), Subject::Domain(DomainName::from_store("acme.example")));
    let slice = Slice { subjects: [acme.clone(), Subject::Address(ann.clone())].into(), ..Slice::default() };
    let scope = Scope { slice, ..Scope::default() };
    let (observed, now) = store.observe(&scope).await.unwrap();
    assert_eq!(observed.settings("a").guard.max_percent, 7);
    let settings = ResourceKey::new(Kind::AccountSettings, "a", "default");
    assert_eq!(store.owned(&[settings].into()).await.unwrap(), [Subject::Settings("a".to_owned())].into());
    assert_eq!(store.unfinished_domains().await.unwrap(), [acme].into());
    assert_eq!(store.guarded(&scope).await.unwrap(), [Subject::Address(address("strasse@acme.example"))].into());

    let mut row = observed.addresses.get(&ann).unwrap().clone();
    row.display = "Anne".to_owned();
    let seen = Change::PutAddress { address: ann.clone(), row: row.clone().into(), outward: false };
    row.created_at = now;
    row.display = "another".to_owned();
    let unseen = Change::PutAddress { address: ann, row: row.into(), outward: false };
    leader.execute(&[seen], &[]).await.unwrap();
    assert!(matches!(leader.execute(&[unseen], &[]).await, Err(StoreError::Conflict(_))));
    assert_eq!(texts(store, "SELECT display FROM mailroster.address").await, ["(Anne)"]);

    let feed = Feed::open(store).await.unwrap();
    store.pool().execute("INSERT INTO mailroster.change (subject) VALUES ('settings a'), ('settings a')").await.unwrap();
    let (dirty, ids) = feed.look().await.unwrap();
    assert_eq!((dirty.subjects, ids.len()), ([Subject::Settings("a".to_owned())].into(), 2));
    assert_eq!(feed.look().await.unwrap().1, ids);
    leader.forget(ids).await.unwrap();
    assert!(feed.look().await.unwrap().0.is_empty());
    drop(feed);

    let taken = Leader::take(&other, &Claim { take_over: true, ..claim("other") }).await.unwrap();
    taken.execute(&[], &[]).await.unwrap();
    // Whoever was deposed writes nothing, and takes nothing out of the outbox.
    let feed = Feed::open(&other).await.unwrap();
    other.pool().execute("INSERT INTO mailroster.change (subject) VALUES ('settings a')").await.unwrap();
    let (_, ids) = feed.look().await.unwrap();
    leader.forget(ids.clone()).await.unwrap();
    assert_eq!(feed.look().await.unwrap().1, ids);
    assert!(matches!(leader.execute(&[], &[]).await, Err(StoreError::Deposed)));
    taken.forget(ids).await.unwrap();
    assert!(feed.look().await.unwrap().0.is_empty());
    oracle.server.stop().await;
}
