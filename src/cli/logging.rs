//! What is logged, and in which form. Logs go to standard error; standard output belongs to what a command was asked for.

use std::io::IsTerminal as _;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use super::Failure;

/// Flags of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct Logging {
    /// The form of the log on standard error
    #[arg(long, global = true, env = "MAILROSTER_LOG_FORMAT", value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    log_format: Format,
    /// What is logged: error, warn, info, debug or trace, also by part: info,mailroster::store=debug
    #[arg(long, global = true, env = "MAILROSTER_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    log_level: String,
    /// Log errors only, whatever --log-level says
    #[arg(short, long, global = true, env = "MAILROSTER_QUIET", value_parser = BoolishValueParser::new())]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

impl Logging {
    /// Starts logging for the whole process.
    ///
    /// # Errors
    /// `--log-level` can't be read, or the process logs already.
    pub fn start(&self) -> Result<(), Failure> {
        let subscriber = tracing_subscriber::fmt().with_env_filter(self.filter()?).with_writer(std::io::stderr);
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let started = match self.log_format {
            Format::Text => subscriber.with_ansi(colours).with_target(false).try_init(),
            Format::Json => subscriber.json().flatten_event(true).try_init(),
        };
        started.map_err(|error| Failure::to("start logging", error))
    }

    pub(super) fn filter(&self) -> Result<EnvFilter, Failure> {
        // EnvFilter would take a misspelt level for the name of a module and log nothing.
        let known = |part: &str| {
            let level = part.rsplit('=').next().unwrap_or(part);
            ["off", "error", "warn", "info", "debug", "trace"].contains(&level.trim().to_ascii_lowercase().as_str())
        };
        if let Some(unknown) = self.log_level.split(',').find(|part| !known(part)) {
            let message = format!("failed to read --log-level: {unknown:?} is not error, warn, info, debug or trace, nor PART=LEVEL");
            return Err(Failure::new(message));
        }
        let level = if self.quiet { "error" } else { &self.log_level };
        EnvFilter::try_new(level).map_err(|error| Failure::to("read --log-level", error))
    }
}
