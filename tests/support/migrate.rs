//! The one place where a test database gets its schema: the numbered files of `src/store/schema`, then `grants.sql`.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::fs;
use std::path::Path;

pub async fn migrate(url: &str) {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/schema"));
    let entries = fs::read_dir(folder).expect("src/store/schema");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect();
    files.retain(|file| {
        file.starts_with(|first: char| first.is_ascii_digit()) && Path::new(file).extension().is_some_and(|extension| extension == "sql")
    });
    files.sort();
    assert!(!files.is_empty(), "no migrations in {}", folder.display());
    files.extend(folder.join("grants.sql").is_file().then(|| "grants.sql".to_owned()));

    let mut connection = PgConnection::connect(url).await.expect("connect to Postgres");
    for file in files {
        let sql = fs::read_to_string(folder.join(&file)).expect("a migration");
        connection.execute(AssertSqlSafe(sql)).await.unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    connection.close().await.expect("close a connection");
}
