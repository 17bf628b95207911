//! A test's own database: asked as the controller, as a mail server's role, or at another time.

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use std::str::FromStr as _;
use std::time::Duration;

/// Few: hundreds of tests share one server.
const POOL: u32 = 4;

#[derive(Clone)]
pub struct Database {
    pub name: String,
    /// What `--store` takes.
    pub url: String,
    /// As superuser. Its connections end with the runtime of the test that made it.
    pub pool: PgPool,
}

impl Database {
    pub(super) fn new(name: &str, url: &str) -> Self {
        Self { name: name.to_owned(), url: url.to_owned(), pool: pool(options(url)) }
    }

    /// The same with connections of its own.
    pub fn again(&self) -> Self {
        Self::new(&self.name, &self.url)
    }

    /// A pool whose connections act as `role`, with its rights and no others: what a mail server may see.
    pub fn as_role(&self, role: &str) -> PgPool {
        pool(self.options_as(role))
    }

    /// The same for one connection of the caller's own.
    pub fn options_as(&self, role: &str) -> PgConnectOptions {
        options(&self.url).options([("role", role)])
    }

    /// Moves the database's clock on (back, when negative), and wakes whoever listens. From the first call on `mailroster.now()` is
    /// the server's time plus an offset; before it, the product's own function.
    pub async fn move_clock(&self, seconds: i64) {
        // SECURITY DEFINER: roles that may call the clock may not read its table. A statement that began before this one may meet the new
        // function, and its table as it was: without a row.
        let replace = "
            CREATE TABLE IF NOT EXISTS mailroster.test_clock (ahead interval NOT NULL);
            INSERT INTO mailroster.test_clock SELECT interval '0' WHERE NOT EXISTS (SELECT FROM mailroster.test_clock);
            GRANT SELECT ON mailroster.test_clock TO PUBLIC;
            CREATE OR REPLACE FUNCTION mailroster.now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
                SECURITY DEFINER SET search_path = pg_catalog, pg_temp
                AS 'SELECT pg_catalog.now() + coalesce((SELECT ahead FROM mailroster.test_clock), interval ''0'')';";
        let mut transaction = self.pool.begin().await.expect("begin");
        sqlx::raw_sql(replace).execute(&mut *transaction).await.expect("replace the clock");
        sqlx::query("UPDATE mailroster.test_clock SET ahead = ahead + make_interval(secs => $1)")
            .bind(f64::from(i32::try_from(seconds).expect("less than 68 years")))
            .execute(&mut *transaction)
            .await
            .expect("move the clock");
        sqlx::query("NOTIFY mailroster_change").execute(&mut *transaction).await.expect("notify");
        transaction.commit().await.expect("commit");
    }

    /// One value of one row, as text: `db.text("SELECT count(*) FROM mailroster.address")`.
    pub async fn text(&self, sql: &str) -> String {
        let query = format!("SELECT coalesce((({sql}))::text, '')");
        let text = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(&self.pool).await;
        text.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Statements as a hand in SQL would give them.
    pub async fn execute(&self, sql: &str) {
        let executed = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&self.pool).await;
        executed.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

fn options(url: &str) -> PgConnectOptions {
    PgConnectOptions::from_str(url).expect("a Postgres URL").application_name("test")
}

fn pool(options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new().max_connections(POOL).acquire_timeout(Duration::from_secs(30)).connect_lazy_with(options)
}
