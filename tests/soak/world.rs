//! Everything the soak holds: the servers, the chance, what it remembers of what it did.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::directory::Directory;
use crate::faults::Restore;
use crate::names::{DOMAINS, STAFF};
use crate::resources::Resources;
use crate::support::dice::Dice;
use crate::support::operator::Settings;
use crate::support::{self, ControlPlane, Database, Operator, Postgres};
use serde_json::json;
use sqlx::PgPool;

/// How long a statement of ours may take before it counts as failed: Postgres may be away.
const STATEMENT: Duration = Duration::from_secs(8);

pub struct World {
    pub cluster: &'static ControlPlane,
    pub postgres: &'static Postgres,
    pub database: Database,
    /// Mail servers, by role.
    pub mta: PgPool,
    pub auth: PgPool,
    pub resources: Resources,
    pub namespaces: [String; 2],
    /// A tenant of its own.
    pub directory: Directory,
    pub settings: Settings,
    pub operator: Option<Operator>,
    pub dice: Dice,
    /// Faults have chance of their own: when they come depends on time, and must not shift what else is done.
    pub fault_dice: Dice,
    pub next_fault: Instant,
    pub restores: Vec<(Instant, Restore)>,
    /// What nobody touches.
    pub steady: Steady,
    /// Addresses that were in force and were deleted with Retain; and those whose mail flow was learned.
    pub retained: BTreeSet<String>,
    pub learned: BTreeSet<String>,
    /// Kind, namespace and name of whatever may have vanished without an end that anybody could see.
    pub torn: BTreeSet<(String, String, String)>,
    /// What was seen to be wrong on the way.
    pub wrong: BTreeSet<String>,
    /// Numbers each thing made once: tokens, passwords, names of hands.
    pub serial: u64,
    pub counts: BTreeMap<String, u64>,
    /// The last action failed.
    pub failed: bool,
    logs: Vec<String>,
    began: Instant,
}

/// Addresses, aliases and delegations that are declared throughout.
#[derive(Clone, Default)]
pub struct Steady {
    pub addresses: Vec<String>,
    pub aliases: Vec<(String, String)>,
    pub pairs: Vec<(String, String)>,
}

impl World {
    pub async fn set_up(seed: u64) -> Self {
        let (cluster, postgres) = tokio::join!(support::control_plane(), support::postgres());
        let namespaces = [cluster.fresh_namespace().await, cluster.fresh_namespace().await];
        let database = support::fresh_database().await;
        let staff = cluster.fresh_namespace().await;
        let settings = Settings::new(cluster, &database, &[&namespaces[0], &namespaces[1], &staff]).await;
        let resources = Resources::new(cluster, &namespaces, &settings.system_namespace).await;
        let directory = Directory::start(cluster, staff, &settings.system_namespace).await;
        let (mta, auth) = (database.as_role("mailroster_mta"), database.as_role("mailroster_auth"));
        let mut world = Self {
            cluster,
            postgres,
            database,
            mta,
            auth,
            resources,
            namespaces,
            directory,
            operator: Some(Operator::start_with(settings.clone()).await),
            settings,
            dice: Dice::with_seed(seed),
            fault_dice: Dice::with_seed(!seed),
            next_fault: Instant::now() + Duration::from_secs(10),
            restores: Vec::new(),
            steady: Steady::default(),
            retained: BTreeSet::new(),
            learned: BTreeSet::new(),
            torn: BTreeSet::new(),
            wrong: BTreeSet::new(),
            serial: 0,
            counts: BTreeMap::new(),
            failed: false,
            logs: Vec::new(),
            began: Instant::now(),
        };
        world.declare_steady().await;
        world.declare_directory().await;
        // New domains defer for an hour; after that an unknown recipient is refused.
        world.database.move_clock(4000).await;
        world
    }

    /// The domains, an AccountSettings each, and what nobody touches; returns when all of that is in force.
    async fn declare_steady(&mut self) {
        let mut wait = Vec::new();
        let quick = json!({"purge": {"delay": "2s", "heldMailReports": "NotRequired"}, "lockout": {"failedLogons": 3, "duration": "30s"}});
        for namespace in self.namespaces.clone() {
            self.must_apply("AccountSettings", &namespace, "default", &quick).await;
        }
        for (domain, home) in DOMAINS {
            let namespace = self.namespaces[home].clone();
            let name = domain.replace('.', "-");
            self.must_apply("InternalDomain", &namespace, &name, &json!({"domain": domain})).await;
            for n in 0..4 {
                let (one, other) = (format!("steady{n}@{domain}"), format!("steady{}@{domain}", (n + 1) % 4));
                if domain == crate::names::DOOMED {
                    continue;
                }
                let (address, link, pair) = (format!("steady{n}-{name}"), format!("steadily{n}-{name}"), format!("steady{n}-{name}"));
                self.must_apply("EmailAddress", &namespace, &address, &json!({"address": one})).await;
                let alias = format!("steadily{n}@{domain}");
                self.must_apply("AliasLink", &namespace, &link, &json!({"alias": alias, "primary": one})).await;
                self.must_apply("DelegateMailbox", &namespace, &pair, &json!({"reader": one, "mailbox": other})).await;
                self.steady.addresses.extend([one.clone(), alias.clone()]);
                self.steady.aliases.push((alias, one.clone()));
                self.steady.pairs.push((one, other));
                wait.extend(
                    [("EmailAddress", address), ("AliasLink", link), ("DelegateMailbox", pair)].map(|(k, n)| (k, namespace.clone(), n)),
                );
            }
        }
        for (kind, namespace, name) in wait {
            self.cluster.wait_ready(kind, &namespace, &name).await;
        }
    }

    /// The directory's tenant; returns when its people are there.
    async fn declare_directory(&mut self) {
        let directory = &self.directory;
        directory.let_in().await.expect("a Secret");
        for (kind, name, spec) in directory.declared() {
            directory
                .resources
                .apply(kind, &directory.namespace, name, &spec)
                .await
                .unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
            self.cluster.wait_ready(kind, &directory.namespace, name).await;
        }
        let address = |local: &str| format!("{local}@{STAFF}");
        self.steady.addresses.extend(["steady0", "steady1", "steadily0"].map(address));
        self.steady.aliases.push((address("steadily0"), address("steady0")));
        self.steady.pairs.push((address("steady0"), address("steady1")));
        let unlike = crate::directory::differences(self).await.expect("the store");
        assert!(unlike.is_empty(), "{unlike:#?}");
    }

    async fn must_apply(&self, kind: &str, namespace: &str, name: &str, spec: &serde_json::Value) {
        self.resources.apply(kind, namespace, name, spec).await.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
    }

    /// One line, and the count of its kind.
    pub fn note(&mut self, kind: &str, rest: &str, outcome: &Result<(), String>) {
        let result = outcome.as_ref().err().map(|error| format!("  -> {error}")).unwrap_or_default();
        println!("{:8.2} {kind} {rest}{result}", self.began.elapsed().as_secs_f64());
        self.failed = outcome.is_err();
        let failed = if self.failed { ", refused or unanswered" } else { "" };
        *self.counts.entry(format!("{kind}{failed}")).or_default() += 1;
    }

    pub fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A statement on a pool, within a bound.
    pub async fn run(&self, pool: &PgPool, sql: &str) -> Result<(), String> {
        let executed = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(pool);
        match tokio::time::timeout(STATEMENT, executed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }
    }

    /// Rows of texts: the statement selects one array of them.
    pub async fn rows(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        let asked = sqlx::query_scalar::<_, Vec<Option<String>>>(sqlx::AssertSqlSafe(sql.to_owned())).fetch_all(&self.database.pool);
        match tokio::time::timeout(STATEMENT, asked).await {
            Ok(answer) => answer.map_err(|error| format!("{sql}: {error}")),
            Err(_) => Err("no answer".to_owned()),
        }
    }

    /// Something that must never be: told at once, for what went before is what explains it.
    pub fn see_wrong(&mut self, what: String) {
        if !self.wrong.contains(&what) {
            println!("{:8.2} WRONG: {what}", self.began.elapsed().as_secs_f64());
            self.wrong.insert(what);
        }
    }

    /// Keeps the log of a controller that has ended.
    pub fn bury(&mut self, operator: &Operator) {
        self.logs.push(operator.log());
    }

    /// Writes what all controllers said, one after the other, into a file; says which.
    pub fn keep_logs(&self) -> String {
        let file = std::env::temp_dir().join(format!("mailroster-soak-{}.log", std::process::id()));
        let logs: Vec<String> = self.logs.iter().cloned().chain(self.operator.iter().map(Operator::log)).collect();
        match std::fs::write(&file, logs.join("\n")) {
            Ok(()) => format!("what the controllers said: {}", file.display()),
            Err(error) => format!("what the controllers said could not be kept: {error}"),
        }
    }

    /// What no log of the controller may say.
    pub fn judge_logs(&self) -> Vec<String> {
        let words = ["can't be brought into force", "can't be carried out", "panicked", "a batch failed"];
        let logs = self.logs.iter().cloned().chain(self.operator.iter().map(Operator::log));
        let lines: Vec<String> = logs
            .flat_map(|log| {
                let bad = |line: &&str| words.iter().any(|word| line.contains(word));
                log.lines().filter(bad).map(|line| format!("the log says: {line}")).collect::<Vec<_>>()
            })
            .collect();
        lines.into_iter().take(20).collect()
    }

    /// How much there is, for the summary.
    pub async fn state(&self) -> String {
        let sql = "SELECT ARRAY[concat_ws(', ', (SELECT count(*) FROM mailroster.address) || ' addresses', (SELECT count(*) FROM mailroster.link) || ' links',
            (SELECT count(*) FROM mailroster.delegation) || ' delegations', (SELECT count(*) FROM mailroster.role_member) || ' members',
            (SELECT count(*) FROM mailroster.tombstone) || ' tombstones', (SELECT count(*) FROM mailroster.audit) || ' audit records')]";
        let rows = self.rows(sql).await.unwrap_or_default();
        let rows = rows.into_iter().flatten().flatten().collect::<String>();
        let resources = self.resources.list_all().await.map_or(0, |all| all.len());
        format!("at the end: {resources} resources, {rows}")
    }
}
