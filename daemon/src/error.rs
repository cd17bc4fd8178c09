//! What can go wrong with a request or a command, as its caller gets to hear it.
//!
//! Invariant: an [`Error::Internal`] is logged and never shown; everything else says what the caller did and what to do,
//! and carries no secret.

use std::fmt;

/// Why something was refused or failed.
#[derive(Debug)]
pub enum Error {
    /// The request contradicts itself or names what cannot be used here (400).
    BadRequest(String),
    /// Nobody is logged in, or the token is not good (401).
    Unauthorized(String),
    /// The account may not do this (403).
    Forbidden(String),
    /// There is no such thing (404); the text names its kind.
    NotFound(&'static str),
    /// The name is taken, something still uses the object, or it changed since it was read (409).
    Conflict(String),
    /// The content cannot be used (422): one line for each problem.
    Invalid(Vec<String>),
    /// Too many attempts (429); seconds until the next one is looked at.
    TooMany(u64),
    /// A data source or the store cannot be reached (503).
    Unavailable(String),
    /// Our own defect or trouble (500).
    Internal(String),
}

/// What nearly every function here returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Content that cannot be used, for one reason.
    pub fn invalid(problem: impl Into<String>) -> Self {
        Error::Invalid(vec![problem.into()])
    }

    /// The object was changed by somebody else since the caller read it.
    pub fn stale(kind: &str, current: i32) -> Self {
        Error::Conflict(format!(
            "the {kind} was changed meanwhile: its version is {current}; read it again and repeat the change"
        ))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::BadRequest(text)
            | Error::Unauthorized(text)
            | Error::Forbidden(text)
            | Error::Conflict(text)
            | Error::Unavailable(text)
            | Error::Internal(text) => f.write_str(text),
            Error::NotFound(kind) => write!(f, "{kind} not found"),
            Error::Invalid(problems) => f.write_str(&problems.join("; ")),
            Error::TooMany(seconds) => write!(f, "too many attempts, try again in {seconds} seconds"),
        }
    }
}

impl std::error::Error for Error {}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => {
                tracing::error!(%error, "the store cannot be reached");
                Error::Unavailable("the store cannot be reached".to_owned())
            }
            error if has_nul(&error) => Error::invalid("text must not contain a NUL character"),
            error if is_away(&error) => {
                tracing::error!(%error, "the store cannot be used");
                Error::Unavailable("the store cannot be used now".to_owned())
            }
            error => Error::Internal(error.to_string()),
        }
    }
}

/// Whether a text had a NUL character, which neither text (22021) nor jsonb (22P05) can have.
fn has_nul(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "22021" || code == "22P05")
}

/// Whether a server says that it cannot serve now: it shuts down or starts (57P0x), has no connection, disk or memory left
/// (53xxx), is a standby (25006) or closed the database (55000 while connecting).
fn is_away(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("57P") || code.starts_with("53") || code == "25006" || code == "55000")
}

impl From<policy::error::Issue> for Error {
    fn from(issue: policy::error::Issue) -> Self {
        Error::invalid(issue.to_string())
    }
}

/// Turns the violation of a unique constraint into a conflict with that message.
pub fn taken(message: impl FnOnce() -> String) -> impl FnOnce(sqlx::Error) -> Error {
    move |error| match error.as_database_error() {
        Some(database) if database.is_unique_violation() => Error::Conflict(message()),
        _ => error.into(),
    }
}
