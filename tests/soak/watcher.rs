//! A mail server that asks all the time about what nobody touches, and is told the truth or nothing: no mail refused, no right lost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::Database;
use crate::support::dice::Dice;
use crate::world::Steady;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::task::JoinHandle;

pub struct Watcher {
    wrong: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<(u64, u64)>>,
    task: JoinHandle<()>,
}

impl Watcher {
    pub fn start(database: &Database, steady: &Steady) -> Self {
        let (wrong, answers) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new((0, 0))));
        let eye = Eye {
            mta: database.as_role("mailroster_mta"),
            archive: database.as_role("mailroster_archive"),
            steady: steady.clone(),
            wrong: wrong.clone(),
            answers: answers.clone(),
        };
        Self { wrong, answers, task: tokio::spawn(eye.watch()) }
    }

    /// What was wrong at any moment.
    pub async fn end(self) -> Vec<String> {
        self.task.abort();
        drop(self.task.await);
        let (answered, unanswered) = *self.answers.lock().expect("answers");
        println!("the watching mail server got {answered} answers and {unanswered} errors");
        let mut wrong = std::mem::take(&mut *self.wrong.lock().expect("wrong"));
        if answered == 0 {
            wrong.push("the watching mail server never got an answer".to_owned());
        }
        wrong
    }
}

struct Eye {
    mta: PgPool,
    archive: PgPool,
    steady: Steady,
    wrong: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<(u64, u64)>>,
}

impl Eye {
    async fn watch(self) {
        // Which it asks first does not matter to the run.
        let mut dice = Dice::with_seed(1);
        loop {
            let address = crate::names::pick(&mut dice, &self.steady.addresses);
            let action = format!("SELECT gateway.recipient_action_v1('{address}')");
            self.expect(&self.mta, &action, |answer| answer.is_none_or(|text| text.starts_with("451"))).await;
            let (alias, primary) = crate::names::pick(&mut dice, &self.steady.aliases);
            let link = format!("SELECT (SELECT primary_address FROM gateway.alias_v1 WHERE alias = '{alias}')");
            self.expect(&self.mta, &link, |answer| answer == Some(primary)).await;
            let (reader, mailbox) = crate::names::pick(&mut dice, &self.steady.pairs);
            let may = |reader: &str, mailbox: &str| {
                format!("SELECT (SELECT count(*)::text FROM gateway.archive_reader_v1 WHERE reader = '{reader}' AND mailbox = '{mailbox}')")
            };
            self.expect(&self.archive, &may(reader, mailbox), |answer| answer == Some("1")).await;
            // Nobody declares it the other way round.
            self.expect(&self.archive, &may(mailbox, reader), |answer| answer == Some("0")).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn expect(&self, pool: &PgPool, sql: &str, right: impl Fn(Option<&str>) -> bool) {
        let asked = sqlx::query_scalar::<_, Option<String>>(AssertSqlSafe(sql.to_owned())).fetch_one(pool);
        let answer = tokio::time::timeout(Duration::from_secs(5), asked).await;
        let mut answers = self.answers.lock().expect("answers");
        let Ok(Ok(answer)) = answer else {
            answers.1 += 1;
            return;
        };
        answers.0 += 1;
        if !right(answer.as_deref()) {
            let mut wrong = self.wrong.lock().expect("wrong");
            if wrong.len() < 20 {
                wrong.push(format!("a mail server that asked {sql} was told {answer:?}"));
            }
        }
    }
}
