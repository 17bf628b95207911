//! Why a command could not run, in words for whoever typed it: "failed to …", with the causes behind it.

use std::error::Error;
use std::fmt;

/// What was attempted and why it did not succeed.
#[derive(Debug)]
pub struct Failure {
    attempt: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// The exit status of a command that could not run (SPEC 13), clap's own for a command line that it can't read.
    pub const STATUS: u8 = 2;

    /// A failure without a cause of its own. `message` is a whole sentence, lower case.
    pub fn new(message: impl Into<String>) -> Self {
        Self { attempt: message.into(), source: None }
    }

    /// `attempt` is what could not be done, naming flag, file or object: "reach the API server".
    pub fn to(attempt: impl fmt::Display, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { attempt: format!("failed to {attempt}"), source: Some(source.into()) }
    }

    /// The whole chain on one line. A cause that its parent has already said is left out: some libraries say it in both places.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.attempt.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            let words = error.to_string();
            if !text.contains(&words) {
                text.push_str(": ");
                text.push_str(&words);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.attempt)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// `.or_failed("read the domain")?`
pub(super) trait OrFailed<T> {
    fn or_failed(self, attempt: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> OrFailed<T> for Result<T, E> {
    fn or_failed(self, attempt: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::to(attempt, error))
    }
}
