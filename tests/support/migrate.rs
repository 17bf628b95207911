//! The one place where a test database gets its schema: the migration that the product runs.

use std::str::FromStr as _;

use mailroster::store;
use sqlx::postgres::PgConnectOptions;

pub async fn migrate(url: &str) {
    let options = PgConnectOptions::from_str(url).expect("a Postgres URL");
    store::migrate(&options, "mailroster").await.unwrap_or_else(|error| panic!("{error}"));
}
