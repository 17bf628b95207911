//! `mailroster explain ADDRESS`: would mail to it be accepted and why, and what the store knows of the row (SPEC V2).
//!
//! It reads. The answer itself is the mail servers' own function's; [`answer`] only finds the words for it.

mod answer;
mod facts;
mod person;

use clap::Args;

use super::failure::OrFailed as _;
use super::store::{self, Opened};
use super::{Failure, Outcome};
use crate::model::Address;
use facts::Facts;

/// Tell whether mail to an address would be accepted, why, and what the store knows of it
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    store: store::Flags,
    /// The address as a mail server would ask for it, sub-address and all
    address: String,
}

pub(super) async fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    let opened = store::open(&arguments.store).await?;
    let facts = read(&opened, &arguments.address).await;
    opened.close().await;
    Ok(Outcome::done(text(&arguments.address, &facts?)))
}

async fn read(opened: &Opened, asked: &str) -> Result<Facts, Failure> {
    let store = opened.connect_to_roster("explain").await?;
    let attempt = format!("read what the store knows of {asked}");
    let canonical = Address::parse(asked).map_or_else(|_| asked.to_owned(), |address| address.canonical().to_string());
    let facts: sqlx::types::Json<Facts> =
        sqlx::query_scalar(include_str!("facts.sql")).bind(asked).bind(canonical).fetch_one(store.pool()).await.or_failed(attempt)?;
    Ok(facts.0)
}

fn text(asked: &str, facts: &Facts) -> String {
    let mut sheet = Sheet::default();
    answer::write(&mut sheet, asked, facts);
    person::write(&mut sheet, facts);
    sheet.text
}

/// Lines of a name and what is to be said of it, under headings.
#[derive(Debug, Default)]
struct Sheet {
    text: String,
}

impl Sheet {
    fn heading(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        self.text.push_str(&format!("  {name:<16}{value}\n"));
    }
}

/// How long ago, in the largest two units.
fn ago(now: jiff::Timestamp, then: jiff::Timestamp) -> String {
    span(now.duration_since(then))
}

fn span(duration: jiff::SignedDuration) -> String {
    let minutes = duration.as_mins().max(0);
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, 0) => "less than a minute".to_owned(),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
