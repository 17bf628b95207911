//! What grows without bound unless somebody cuts it: audit partitions, seen events, the guard's hour, password history.

use jiff::civil::Date;

use super::{Leader, StoreError};

impl Leader {
    /// Makes the audit partitions of this month and the next, drops those past `retention_days`, and forgets what no rule reads any
    /// more. Run at the start of leadership and once a day.
    pub async fn keep_house(&self, today: Date, retention_days: i64) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let first = today.first_of_month();
        for ahead in 0..2 {
            let Ok(from) = first.checked_add(jiff::Span::new().months(ahead)) else { continue };
            let Ok(to) = from.checked_add(jiff::Span::new().months(1)) else { continue };
            let name = format!("audit_{}", from.strftime("%Y_%m"));
            let sql = format!(
                "CREATE TABLE IF NOT EXISTS mailroster.{name} PARTITION OF mailroster.audit FOR VALUES FROM ('{from}') TO ('{to}')"
            );
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *transaction).await?;
        }
        let old: Vec<(String,)> = sqlx::query_as(
            "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = 'mailroster.audit'::regclass AND c.relname ~ '^audit_\\d{4}_\\d{2}$'
               AND (to_date(substr(c.relname, 7), 'YYYY_MM') + interval '1 month') < $1::text::date - $2 * interval '1 day'",
        )
        .bind(today.to_string())
        .bind(retention_days)
        .fetch_all(&mut *transaction)
        .await?;
        for (name,) in old {
            sqlx::query(sqlx::AssertSqlSafe(format!("DROP TABLE mailroster.{name}"))).execute(&mut *transaction).await?;
        }
        for sql in [
            "DELETE FROM mailroster.seen_event WHERE at < mailroster.now() - interval '1 day'",
            "DELETE FROM mailroster.done WHERE at < mailroster.now() - interval '1 hour'",
            "DELETE FROM mailroster.logon l WHERE NOT EXISTS (SELECT FROM mailroster.address a WHERE a.id = l.address_id)",
            "DELETE FROM mailroster.reset_code l WHERE NOT EXISTS (SELECT FROM mailroster.address a WHERE a.id = l.address_id)",
            "DELETE FROM mailroster.user_password l WHERE NOT EXISTS (SELECT FROM mailroster.address a WHERE a.id = l.address_id)",
        ] {
            sqlx::query(sql).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}
