//! `mailroster version`.

use clap::Args;

use super::Outcome;

/// Print the version
#[derive(Debug, Args)]
pub struct Arguments {}

pub(super) fn run(_: &Arguments) -> Outcome {
    Outcome::done(concat!("mailroster ", env!("CARGO_PKG_VERSION"), "\n"))
}
