//! A tenant on the real servers: a namespace, a database of its own and a controller that serves both.

use crate::support::operator::Settings;
use crate::support::{self, ControlPlane, Database, Operator, Proxy, eventually, wait::PATIENCE};
use futures::StreamExt as _;
use serde_json::Value;
use std::fmt::Write as _;

/// How long thousands of resources may take, on a machine that does much else.
pub const LONG: std::time::Duration = std::time::Duration::from_mins(5);

pub struct Tenant {
    pub cluster: &'static ControlPlane,
    pub namespace: String,
    pub database: Database,
    pub operator: Operator,
}

impl Tenant {
    pub async fn start() -> Self {
        let cluster = support::control_plane().await;
        let (namespace, database) = tokio::join!(support::fresh_namespace(), support::fresh_database());
        let operator = Operator::start(&database, &[&namespace]).await;
        Self { cluster, namespace, database, operator }
    }

    /// The same with a proxy between the controller and the API server.
    pub async fn behind_proxy() -> (Self, Proxy) {
        let cluster = support::control_plane().await;
        let (namespace, database) = tokio::join!(support::fresh_namespace(), support::fresh_database());
        let proxy = cluster.proxy().await;
        let mut settings = Settings::new(cluster, &database, &[&namespace]).await;
        settings.kubeconfig = proxy.kubeconfig(&settings.kubeconfig);
        let operator = Operator::start_with(settings).await;
        (Self { cluster, namespace, database, operator }, proxy)
    }

    /// The same with resources in force: a line each, `Kind/name {spec}`.
    pub async fn with(resources: &str) -> Self {
        let tenant = Self::start().await;
        tenant.apply(resources).await;
        tenant.ready(resources).await;
        tenant
    }

    /// Applies resources, a line each: `Kind/name {spec}`. Who wants what the API server refuses uses the cluster itself.
    pub async fn apply(&self, resources: &str) {
        self.cluster.apply(&self.namespace, &yaml(resources)).await;
    }

    /// Applies many resources, a line each, some at a time.
    pub async fn apply_many(&self, resources: impl Iterator<Item = String>) {
        let chunks: Vec<String> = resources.collect::<Vec<_>>().chunks(25).map(|chunk| chunk.join("\n")).collect();
        futures::stream::iter(chunks).for_each_concurrent(8, async |chunk| self.apply(&chunk).await).await;
    }

    /// Waits until each of `Kind/name …`, a line each, is in force as it is declared now.
    pub async fn ready(&self, resources: &str) {
        for (kind, name, _) in lines(resources) {
            self.cluster.wait_ready(kind, &self.namespace, name).await;
        }
    }

    /// Waits until Ready gives these reasons: `Kind/name Reason`, a line each.
    pub async fn reasons(&self, expected: &str) {
        for (kind, name, reason) in lines(expected) {
            self.cluster.wait_reason(kind, &self.namespace, name, reason).await;
        }
    }

    /// What Ready says of a resource, once it gives that reason.
    pub async fn message(&self, resource: &str, reason: &str) -> String {
        let (kind, name) = split(resource);
        let found = self.cluster.wait_reason(kind, &self.namespace, name, reason).await;
        support::resources::condition(&found, "Ready").expect("Ready")["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a condition has that status and reason: `True Reason`.
    pub async fn condition(&self, resource: &str, condition: &str, expected: &str) {
        let (kind, name) = split(resource);
        let what = format!("{condition}={expected}");
        let holds = |resource: &Value| {
            let found = support::resources::condition(resource, condition).unwrap_or_default();
            format!("{} {}", found["status"].as_str().unwrap_or_default(), found["reason"].as_str().unwrap_or_default()) == expected
        };
        self.cluster.wait_until(kind, &self.namespace, name, &what, holds).await;
    }

    /// Waits until the resource's status satisfies `holds`; returns it.
    pub async fn status(&self, resource: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let (kind, name) = split(resource);
        let found = self.cluster.wait_until(kind, &self.namespace, name, what, |found| holds(&found["status"])).await;
        found["status"].clone()
    }

    /// Waits until exactly these blockers of a purge are listed.
    pub async fn blockers(&self, resource: &str, expected: &[&str]) {
        let listed = |status: &Value| {
            let list = status["purge"]["blockers"].as_array().cloned().unwrap_or_default();
            list.iter().map(|blocker| blocker["reason"].clone()).collect::<Vec<_>>() == expected
        };
        self.status(resource, &format!("blockers {expected:?}"), listed).await;
    }

    /// Waits until a domain's held plan has that many ends; returns its hash.
    pub async fn held_plan(&self, domain: &str, count: u32) -> String {
        let status = self.status(domain, &format!("a held plan of {count}"), |status| status["heldPlan"]["count"] == count).await;
        status["heldPlan"]["hash"].as_str().expect("a hash").to_owned()
    }

    /// Asks for a reconcile and waits until it was planned: what did not follow by then does not follow.
    pub async fn reconcile(&self, resource: &str, token: &str) {
        self.annotate(resource, "requestedAt", token).await;
        self.handled(resource, "requestedAt", token).await;
    }

    pub async fn get(&self, resource: &str) -> Option<Value> {
        let (kind, name) = split(resource);
        self.cluster.get(kind, &self.namespace, name).await
    }

    /// Asks for the deletion of each of `Kind/name`, separated by spaces.
    pub async fn delete(&self, resources: &str) {
        for (kind, name) in resources.split_whitespace().map(split) {
            self.cluster.delete(kind, &self.namespace, name).await;
        }
    }

    pub async fn gone(&self, resources: &str) {
        for (kind, name) in resources.split_whitespace().map(split) {
            self.cluster.wait_gone(kind, &self.namespace, name).await;
        }
    }

    pub async fn annotate(&self, resource: &str, annotation: &str, token: &str) {
        let (kind, name) = split(resource);
        self.cluster.annotate(kind, &self.namespace, name, &format!("mailroster.dev/{annotation}"), token).await;
    }

    /// Waits until the token of an action is the last one handled.
    pub async fn handled(&self, resource: &str, action: &str, token: &str) -> Value {
        self.status(resource, &format!("{action} {token} is handled"), |status| status["lastHandled"][action] == token).await
    }

    /// What a query gives now: each row's values with commas between them, in order.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        self.try_rows(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    async fn try_rows(&self, sql: &str) -> Result<Vec<String>, sqlx::Error> {
        let query =
            format!("SELECT array_to_string(ARRAY(SELECT value FROM json_each_text(row_to_json(q))), ',', '') FROM ({sql}) q ORDER BY 1");
        sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(&self.database.pool).await
    }

    /// Waits until a query gives these rows.
    pub async fn until(&self, sql: &str, expected: &[&str]) {
        eventually(PATIENCE, sql, async || match self.try_rows(sql).await {
            Ok(found) if found == expected => Ok(()),
            other => Err(other),
        })
        .await;
    }

    /// Waits until a query gives this one row, for as long as thousands of resources may take.
    pub async fn long(&self, sql: &str, expected: &str) {
        eventually(LONG, sql, async || {
            let found = self.rows(sql).await;
            if found == [expected] { Ok(()) } else { Err(found) }
        })
        .await;
    }

    /// Waits until these ends and no others wait in the store, `Action address` each, then lets the quiet seconds of U4 pass. On a slow
    /// machine they may have passed already.
    pub async fn quiet(&self, ends: &[&str]) {
        let waiting = "SELECT w.action || ' ' || a.canonical FROM mailroster.waiting w JOIN mailroster.address a ON a.id = w.address_id";
        eventually(PATIENCE, &format!("{ends:?} wait"), async || {
            let found = self.rows(waiting).await;
            let done = self.rows("SELECT action || ' ' || subject FROM mailroster.done").await;
            let noted = ends.iter().all(|end| found.iter().chain(&done).any(|noted| noted == end));
            if noted && found.iter().all(|end| ends.contains(&end.as_str())) { Ok(()) } else { Err(found) }
        })
        .await;
        self.database.move_clock(11).await;
    }

    /// Puts addresses of nobody into a domain, so that the guard, which counts a share of them, has room.
    pub async fn fill(&self, domain: &str, count: u32) {
        self.database
            .execute(&format!(
                "INSERT INTO mailroster.address (canonical, display, domain_id, namespace, origin)
                 SELECT 'filler' || n || '@{domain}', 'filler' || n || '@{domain}', d.id, d.namespace, 'MailFlow'
                 FROM mailroster.domain d, generate_series(1, {count}) n WHERE d.name = '{domain}';
                 INSERT INTO mailroster.address_key SELECT a.canonical, a.id FROM mailroster.address a WHERE a.canonical LIKE 'filler%@{domain}'"
            ))
            .await;
    }
}

/// Resources as YAML documents, from lines `Kind/name {spec}`.
pub fn yaml(resources: &str) -> String {
    lines(resources).fold(String::new(), |mut text, (kind, name, spec)| {
        let _ = writeln!(text, "---\napiVersion: mailroster.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}");
        text
    })
}

fn lines(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| {
        let (resource, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (kind, name) = split(resource);
        (kind, name, rest)
    })
}

fn split(resource: &str) -> (&str, &str) {
    resource.split_once('/').unwrap_or_else(|| panic!("{resource} is not Kind/name"))
}
