//! What tests of a failing store share: a tenant on a Postgres of its own, and a mail server that asks all the time.

use std::collections::BTreeMap;

use crate::support::operator::Settings;
use crate::support::wait::PATIENCE;
use crate::support::{self, Database, Operator, Postgres, eventually, folder};
use crate::tenant::Tenant;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Every kind that says whether it is in force.
pub const KINDS: [&str; 6] = ["AccountSettings", "InternalDomain", "EmailAddress", "AliasLink", "DelegateMailbox", "AdminRole"];

/// A tenant whose store is on a Postgres that the test may kill.
pub async fn tenant_on(folder: &str) -> (Tenant, Postgres) {
    let postgres = Postgres::start(&folder::own(folder)).await;
    (tenant_on_server(&postgres).await, postgres)
}

/// A tenant on a server that the test has made for itself.
pub async fn tenant_on_server(postgres: &Postgres) -> Tenant {
    let database = postgres.fresh_database().await;
    let store = database.url.clone();
    tenant_through(database, store).await
}

/// What Postgres says is wrong; "" when it did not answer.
pub fn sqlstate(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).map(Into::into).unwrap_or_default()
}

/// A tenant whose controller reaches the store by another way than the test does.
pub async fn tenant_through(database: Database, store: String) -> Tenant {
    let cluster = support::control_plane().await;
    let namespace = cluster.fresh_namespace().await;
    let mut settings = Settings::new(cluster, &database, &[&namespace]).await;
    settings.store = store;
    let operator = Operator::start_with(settings).await;
    Tenant { cluster, namespace, database, operator }
}

impl Tenant {
    /// Waits until the controller's log has so many lines with this text.
    pub async fn logged(&self, text: &str, times: usize) {
        eventually(PATIENCE, &format!("the log says {times} times: {text}"), async || {
            if self.operator.log().matches(text).count() >= times { Ok(()) } else { Err(self.operator.tail()) }
        })
        .await;
    }

    /// The controller is the process that it was: it began to lead once, and leads.
    pub async fn leads_as_before(&self) {
        assert_eq!(self.operator.metric("mailroster_leader").await, Some(1.0), "{}", self.operator.tail());
        assert_eq!(self.operator.log().matches(" leading ").count(), 1, "{}", self.operator.tail());
        assert_eq!(self.operator.get("/livez").await.0, 200);
    }

    /// Every resource by kind and name: its resourceVersion, and what Ready says.
    pub async fn standing(&self) -> BTreeMap<String, String> {
        let mut standing = BTreeMap::new();
        for kind in KINDS {
            for resource in self.cluster.list(kind, &self.namespace).await {
                let ready = support::resources::condition(&resource, "Ready").unwrap_or_default();
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let metadata = &resource["metadata"];
                standing.insert(
                    format!("{kind}/{}", text(&metadata["name"])),
                    format!("{} {}", text(&metadata["resourceVersion"]), text(&ready["reason"])),
                );
            }
        }
        standing
    }

    /// How many statuses the controller has written, failures included.
    pub async fn statuses_written(&self) -> f64 {
        let metrics = self.operator.metrics().await;
        let lines = metrics.lines().filter(|line| line.starts_with("mailroster_status_writes_total"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Nothing was written to the audit log twice.
    pub async fn nothing_was_done_twice(&self) {
        let twice = "SELECT subject, action, before, after FROM mailroster.audit GROUP BY 1, 2, 3, 4 HAVING count(*) > 1";
        assert_eq!(self.rows(twice).await, Vec::<String>::new());
    }
}

/// A mail server that asks about one recipient all the time, on a connection of its own that it makes anew when it broke.
pub struct MailServer {
    stop: oneshot::Sender<()>,
    asking: JoinHandle<Vec<String>>,
}

impl MailServer {
    /// Begins to ask. It remembers each answer that differs from the one before: `accepted`, `451`, `550`, `raises`, or `down`.
    pub fn asks(database: &Database, recipient: &str) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let (url, sql) =
            (database.url.clone(), format!("SELECT coalesce(left(gateway.recipient_action_v1('{recipient}'), 3), 'accepted')"));
        let asking = tokio::spawn(async move {
            let mut answers: Vec<String> = Vec::new();
            let mut connection = None;
            while stopped.try_recv().is_err() {
                let answer = ask(&url, &mut connection, &sql).await;
                if answers.last() != Some(&answer) {
                    answers.push(answer);
                }
                tokio::task::yield_now().await;
            }
            answers
        });
        Self { stop, asking }
    }

    /// What it was told, in order.
    pub async fn was_told(self) -> Vec<String> {
        let _ = self.stop.send(());
        self.asking.await.expect("it asks until it is told to stop")
    }
}

async fn ask(url: &str, connection: &mut Option<PgConnection>, sql: &str) -> String {
    if connection.is_none() {
        *connection = PgConnection::connect(url).await.ok();
    }
    let Some(asked) = connection else { return "down".to_owned() };
    match sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(asked).await {
        Ok(answer) => answer,
        Err(error) if error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() == Some("55000") => {
            "raises".to_owned()
        }
        Err(_) => {
            *connection = None;
            "down".to_owned()
        }
    }
}
