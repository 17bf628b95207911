//! `mailroster completion SHELL`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Outcome;

/// Print a completion script for a shell
///
/// For bash: source <(mailroster completion bash)
#[derive(Debug, Args)]
pub struct Arguments {
    /// The shell that completes
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "mailroster", &mut script);
    Outcome::done(String::from_utf8_lossy(&script))
}
