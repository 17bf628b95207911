//! What can go wrong with the store, sorted by what follows from it.

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{0}")]
    Location(String),
    #[error("failed to migrate the store: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("the store needs mailroster {needed} or newer; this is {here}")]
    TooOld { needed: String, here: String },
    #[error("another leader has taken over the store")]
    Deposed,
    /// A copy of what it was, or an empty one: what was planned for the other proves nothing here.
    #[error("the store is older than it was")]
    Older,
    /// What a directory run would write, and its connection was deleted, frozen or declared otherwise meanwhile, or the store is another.
    #[error("the run is not wanted any more")]
    Stopped,
    #[error("the store holds no roster any more; starting anew makes one")]
    Gone,
    #[error("failed to read a row of the store: {0}")]
    Row(String),
    #[error("failed to run the embedded Postgres: {0}")]
    Embedded(String),
    #[error("the store refused the change: {message} ({sqlstate})")]
    Refused {
        sqlstate: String,
        message: String,
        #[source]
        source: sqlx::Error,
    },
    #[error("the store is not available: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// Somebody else wrote at the same moment; the same work can be done again at once.
    #[error("the store was busy: {0}")]
    Conflict(#[source] sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let Some(database) = error.as_database_error() else {
            return match error {
                // The server answered; what it holds is not what this version expects, and asking again changes nothing.
                sqlx::Error::Decode(_)
                | sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::ColumnNotFound(_)
                | sqlx::Error::TypeNotFound { .. } => Self::Row(error.to_string()),
                error => Self::Unavailable(error),
            };
        };
        let sqlstate = database.code().unwrap_or_default().into_owned();
        match sqlstate.as_str() {
            "40001" | "40P01" => Self::Conflict(error),
            // A row that the plan did not see, made or removed meanwhile: planned again, it is in view (DESIGN 3).
            "23505" | "23503" | "23001" => Self::Conflict(error),
            // Our own statement timeout, and what the server calls its own fault: the same work would end the same way. Refused, it is
            // split until the offender stands alone.
            code if code == "57014" || code.starts_with("XX") => {
                Self::Refused { message: database.message().to_owned(), sqlstate, source: error }
            }
            // Connection, resources, operator intervention, read-only replica, system errors; 28 and 3D: a password that was rotated, a
            // database that is made anew; 3F and 42: a schema, a table, a column or a right is missing (somebody else's migration, a
            // restore half done). All of it says nothing about what is declared.
            code if ["08", "25", "28", "3D", "3F", "42", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => {
                Self::Unavailable(error)
            }
            "55P03" => Self::Unavailable(error),
            _ => Self::Refused { message: database.message().to_owned(), sqlstate, source: error },
        }
    }
}

impl StoreError {
    /// Whether the same work may succeed by itself later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Conflict(_))
    }
}
