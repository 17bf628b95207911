//! A tenant with a directory of its own.

use crate::support::{self, Slapd, eventually, slapd, wait::PATIENCE};
use crate::tenant::Tenant;
use serde_json::Value;
use std::sync::atomic::{AtomicU32, Ordering};

/// A connection that reads all at each run.
pub const FULL: &str = "changeDetection: Full";

pub struct Corp {
    pub tenant: Tenant,
    pub slapd: &'static Slapd,
    /// The tenant's own part of the directory.
    pub base: String,
    runs: AtomicU32,
}

impl Corp {
    /// A tenant with a domain, and a connection that runs when it is asked to: `more` goes into its spec.
    pub async fn new(more: &str) -> Self {
        let corp = Self::without_connection().await;
        corp.connect("corp", more).await;
        corp
    }

    pub async fn without_connection() -> Self {
        let tenant = Tenant::with("InternalDomain/acme {domain: acme.example}").await;
        let slapd = support::slapd().await;
        Self { base: slapd.fresh_base(), tenant, slapd, runs: AtomicU32::new(0) }
    }

    /// A tenant that has its domain, and a directory that the test has made for itself.
    pub fn at(tenant: Tenant, slapd: &'static Slapd, base: String) -> Self {
        Self { tenant, slapd, base, runs: AtomicU32::new(0) }
    }

    /// The connection and its Secret.
    pub async fn connect(&self, name: &str, more: &str) {
        self.set_password(name, slapd::PASSWORD).await;
        self.tenant.apply(&format!("DirectoryConnection/{name} {}", self.spec(name, more))).await;
    }

    /// What the connection's Secret says.
    pub async fn set_password(&self, name: &str, password: &str) {
        let yaml = format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}-ldap, labels: {{mailroster.dev/readable: \"true\"}}}}\nstringData: {{password: {password}}}\n"
        );
        self.tenant.cluster.apply(&self.tenant.namespace, &yaml).await;
    }

    /// All of a spec; what `more` says comes last and wins.
    pub fn spec(&self, name: &str, more: &str) -> String {
        let mut spec: Value = serde_yaml::from_str(&format!(
            "{{type: OpenLDAP, urls: ['ldap://127.0.0.1:{}'], tls: {{mode: None}}, bind: {{dn: 'cn=sync,{}', passwordSecretRef: {{name: {name}-ldap, key: password}}}},
              baseDN: '{}', userFilter: '(objectClass=user)', groupFilter: '(objectClass=group)', interval: 24h, attributes: {{aliases: proxyAddresses}}}}",
            self.slapd.ldap(),
            slapd::SUFFIX,
            self.base
        ))
        .expect("a spec");
        let more: Value = serde_yaml::from_str(&format!("{{{more}}}")).expect("more of a spec");
        spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        spec.to_string()
    }

    /// Adds people: `name proxy address, …`, a line each.
    pub fn add(&self, people: &str) {
        self.slapd
            .add(&people.lines().filter(|line| !line.trim().is_empty()).map(|line| self.person(line.trim(), "user")).collect::<String>());
    }

    pub fn add_groups(&self, groups: &str) {
        self.slapd.add(&groups.lines().map(|line| self.person(line.trim(), "group")).collect::<String>());
    }

    fn person(&self, line: &str, class: &str) -> String {
        let (name, addresses) = line.split_once(' ').expect("a name and addresses");
        let addresses: String = addresses.split(',').map(|address| format!("proxyAddresses: {}\n", address.trim())).collect();
        let surname = if class == "user" { "sn: x\n" } else { "" };
        format!("dn: {}\nobjectClass: {class}\ncn: {name}\n{surname}displayName: {name} of Corp\n{addresses}\n", self.dn(name))
    }

    pub fn dn(&self, name: &str) -> String {
        format!("cn={name},{}", self.base)
    }

    pub fn remove(&self, name: &str) {
        self.slapd.modify(&format!("dn: {}\nchangetype: delete\n", self.dn(name)));
    }

    /// Moves an entry out of the connection's sight, the same entry: to a part of the directory that it does not read.
    pub fn hide(&self, name: &str, attic: &str) {
        self.slapd
            .modify(&format!("dn: {}\nchangetype: modrdn\nnewrdn: cn={name}\ndeleteoldrdn: 1\nnewsuperior: {attic}\n", self.dn(name)));
    }

    /// Moves it back.
    pub fn show(&self, name: &str, attic: &str) {
        let base = &self.base;
        self.slapd.modify(&format!("dn: cn={name},{attic}\nchangetype: modrdn\nnewrdn: cn={name}\ndeleteoldrdn: 1\nnewsuperior: {base}\n"));
    }

    /// Replaces somebody's addresses.
    pub fn readdress(&self, name: &str, addresses: &str) {
        let values: String = addresses.split(',').map(|address| format!("proxyAddresses: {}\n", address.trim())).collect();
        self.slapd.modify(&format!("dn: {}\nchangetype: modify\nreplace: proxyAddresses\n{values}", self.dn(name)));
    }

    /// Asks for a run and waits for its end; its record, as the store has it.
    pub async fn run(&self) -> Value {
        self.run_of("corp").await
    }

    pub async fn run_of(&self, name: &str) -> Value {
        // The run that a new connection begins by itself is none that was asked for. A status tells whole seconds only.
        let (first, _) = self.another_run(name, "").await;
        let token = format!("run-{}", self.runs.fetch_add(1, Ordering::Relaxed));
        self.tenant.annotate(&format!("DirectoryConnection/{name}"), "requestedAt", &token).await;
        self.another_run(name, &first).await.1
    }

    /// Waits for a run that began at another time; when it began, and its record.
    async fn another_run(&self, name: &str, before: &str) -> (String, Value) {
        let sql = format!("SELECT state->'last_run' FROM mailroster.connection WHERE name = '{name}'");
        eventually(PATIENCE, &format!("another run of {name} than that of {before:?}"), async || {
            let text = self.tenant.database.text(&sql).await;
            let run: Value = serde_json::from_str(&text).unwrap_or_default();
            match run["started_at"].as_str() {
                Some(began) if began != before => Ok((began.to_owned(), run)),
                _ => Err(text),
            }
        })
        .await
    }

    /// What a query of the store says, once it says so.
    pub async fn store(&self, sql: &str, expected: &str) {
        eventually(PATIENCE, &format!("{sql} is {expected:?}"), async || match self.tenant.database.text(sql).await {
            text if text == expected => Ok(()),
            text => Err(text),
        })
        .await;
    }

    /// What the audit log says of a subject, in order: each record's action and reason. All of it was some connection's doing or a rule's.
    pub async fn audit(&self, subject: &str, expected: &str) {
        let sql = format!("SELECT string_agg(action || ' ' || reason, ', ' ORDER BY id) FROM mailroster.audit WHERE subject = '{subject}'");
        self.store(&sql, expected).await;
        let nobody = format!("SELECT count(*) FROM mailroster.audit WHERE subject = '{subject}' AND (actor = '' OR reason = '')");
        assert_eq!(self.tenant.database.text(&nobody).await, "0");
    }

    /// Says yes to what a connection holds: `heldPlan` or `heldHolders`, once it has so many.
    pub async fn approve(&self, name: &str, held: &str, count: u32) {
        let connection = format!("DirectoryConnection/{name}");
        let status = self.tenant.status(&connection, &format!("{count} in {held}"), |status| status[held]["count"] == count).await;
        let hash = status[held]["hash"].as_str().expect("a hash");
        self.tenant.annotate(&connection, "approve", hash).await;
        self.tenant.handled(&connection, "approve", hash).await;
    }

    /// An address with a password, which a Secret of the same name has; in force.
    pub async fn declare_with_password(&self, name: &str, more: &str) {
        let secret = format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, labels: {{mailroster.dev/readable: \"true\"}}}}\nstringData: {{password: Correct-Horse-7}}\n"
        );
        self.tenant.cluster.apply(&self.tenant.namespace, &secret).await;
        let address =
            format!("EmailAddress/{name} {{address: {name}@acme.example, password: {{secretRef: {{name: {name}, key: password}}}}{more}}}");
        self.tenant.apply(&address).await;
        self.tenant.ready(&address).await;
    }

    /// Every row of the store, with the transaction that wrote it: but for what a run keeps of itself (its record, how long it counts).
    pub async fn all_but_the_record_of_runs(&self) -> Vec<String> {
        let tables = "SELECT relname FROM pg_class WHERE relnamespace = 'mailroster'::regnamespace AND relkind = 'r'
            AND relname NOT IN ('connection', 'covered_domain', 'installation', 'test_clock')";
        let mut all = Vec::new();
        for table in self.tenant.rows(tables).await {
            all.extend(
                self.tenant.rows(&format!("SELECT concat_ws(' ', '{table}', t.xmin, t) AS line FROM mailroster.\"{table}\" t")).await,
            );
        }
        all
    }

    /// What the domain says, but for its counts, which may come a minute later (D3), and its version.
    pub async fn domain(&self) -> (Value, u64) {
        let mut domain = self.tenant.get("InternalDomain/acme").await.expect("the domain");
        domain["status"].as_object_mut().expect("a status").remove("addresses");
        (domain["status"].clone(), domain["metadata"]["resourceVersion"].as_str().unwrap_or_default().parse().expect("a version"))
    }

    /// `address origin …` of all that the tenant has: with `missing`, `disabled`, `holder`, and `->primary` of an alias.
    pub async fn roster(&self, expected: &str) {
        let sql = "SELECT string_agg(concat_ws(' ', a.canonical, a.origin, CASE WHEN a.directory_missing THEN 'missing' END,
                CASE WHEN a.directory_disabled THEN 'disabled' END, CASE WHEN a.holder_since IS NOT NULL THEN 'holder' END, '->' || p.canonical), E'\\n' ORDER BY a.canonical)
            FROM mailroster.address a LEFT JOIN mailroster.link l ON l.alias_id = a.id LEFT JOIN mailroster.address p ON p.id = l.primary_id";
        let expected: Vec<_> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        self.store(sql, &expected.join("\n")).await;
    }
}
