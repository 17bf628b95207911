//! The command line. One file per command, each a thin caller; what the user wrote (clap's types) and what it means are two types,
//! and each command turns the one into the other before it does anything.
//!
//! A command hands back what it has to say in place of printing it: `main` alone writes to standard output, so that a closed pipe is
//! no panic. Logs go to standard error.

mod check;
mod cluster;
mod completion;
mod connection;
mod crds;
mod duration;
mod explain;
mod failure;
mod logging;
mod operator;
mod plan;
#[cfg(test)]
mod reference;
mod release;
mod store;
#[cfg(test)]
mod tests;
mod transfer;
mod version;

use clap::{Parser, Subcommand};

pub use failure::Failure;
pub use logging::Logging;

/// Keeps the roster of a mail gateway: what is declared in Kubernetes, in a Postgres store that mail servers read.
///
/// Every flag can be given by an environment variable too, MAILROSTER_ and its name: --log-level is MAILROSTER_LOG_LEVEL.
///
/// Exit status: 0 done, 1 done and there is something to tell (each command says what), 2 it could not run.
#[derive(Debug, Parser)]
#[command(name = "mailroster", version, max_term_width = 120, propagate_version = false, disable_help_subcommand = true)]
pub struct Arguments {
    #[command(flatten)]
    pub logging: Logging,
    #[command(subcommand)]
    pub command: Command,
}

/// What can be asked of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    Operator(Box<operator::Arguments>),
    Explain(explain::Arguments),
    Transfer(transfer::Arguments),
    Release(release::Arguments),
    Check(check::Arguments),
    Plan(plan::Arguments),
    Crds(crds::Arguments),
    Completion(completion::Arguments),
    Version(version::Arguments),
}

/// What a command that could run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done: exit status 0.
    Done,
    /// Done, and there is something to tell (findings, nothing to do): exit status 1.
    Findings,
}

impl Exit {
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Findings => 1,
        }
    }
}

/// What a command says, for standard output, and how it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub exit: Exit,
    pub text: String,
}

impl Outcome {
    fn done(text: impl Into<String>) -> Self {
        Self { exit: Exit::Done, text: text.into() }
    }

    fn findings(text: impl Into<String>) -> Self {
        Self { exit: Exit::Findings, text: text.into() }
    }
}

/// Runs one command.
///
/// # Errors
/// [`Failure`] when it could not run: exit status [`Failure::STATUS`].
pub async fn run(command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Operator(arguments) => operator::run(*arguments).await,
        Command::Explain(arguments) => explain::run(arguments).await,
        Command::Transfer(arguments) => transfer::run(arguments).await,
        Command::Release(arguments) => release::run(arguments).await,
        Command::Check(arguments) => check::run(arguments).await,
        Command::Plan(arguments) => plan::run(arguments).await,
        Command::Crds(arguments) => crds::run(&arguments),
        Command::Completion(arguments) => Ok(completion::run(&arguments)),
        Command::Version(arguments) => Ok(version::run(&arguments)),
    }
}
