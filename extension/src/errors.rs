//! Error constructors: each has one SQLSTATE, a message in PostgreSQL's style and a hint that says what to do.
//!
//! Invariant: an error that a subject can get carries no name or value that a policy hides from it.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

fn raise(code: PgSqlErrorCode, message: impl Into<String>, hint: Option<&str>) -> ! {
    let mut report = ErrorReport::new(code, message.into(), "betweenrows");
    if let Some(hint) = hint {
        report = report.set_hint(hint);
    }
    report.report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
}

/// A statement inside a function or view reached a relation that a policy denies (42501).
pub(crate) fn denied() -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied by policy",
        None,
    )
}

/// A policy cannot be applied, so that its tables are closed (42501). The subject learns that and nothing more.
pub(crate) fn policy_unusable() -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied: a policy of this relation cannot be applied",
        Some("Ask an administrator of betweenrows to look at betweenrows.status()."),
    )
}

/// The analysis of an expression or statement would call a function of a subject (42501).
pub(crate) fn foreign_function(name: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("function \"{name}\" is neither built in nor owned by an exempt role"),
        Some("A literal's type has a domain whose check calls it: use another type."),
    )
}

/// The subject's account is switched off (42501).
pub(crate) fn inactive_user() -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied: this user is not active",
        Some("Ask an administrator of betweenrows to activate the user."),
    )
}

/// The subject has no value for an attribute that its definition requires (42501).
pub(crate) fn attribute_required(key: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("permission denied: the user attribute \"{key}\" has no value"),
        Some("Ask an administrator of betweenrows to set the attribute."),
    )
}

/// Direct access to what only the extension or PostgreSQL itself may read (42501).
pub(crate) fn reserved_relation() -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied for a relation that policies are enforced with",
        Some("Use the functions of the schema betweenrows."),
    )
}

/// A value for a column that the subject reads masked (42501).
pub(crate) fn masked_column_write(column: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("cannot set column \"{column}\": a policy masks it"),
        Some("Leave the column out, or ask an administrator to make the mask writable."),
    )
}

/// A value for a column that does not exist for the subject, from inside a function or from a row without a column list
/// (42501).
pub(crate) fn hidden_column_write() -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied by policy",
        Some("Name the columns that are to be set."),
    )
}

/// A new row that does not fulfil the row filters, of a foreign table (42501): PostgreSQL's own message for other tables.
pub(crate) fn refused_row(relation: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("new row violates row-level security policy for table \"{relation}\""),
        None,
    )
}

/// A statement kind that cannot be governed (0A000).
pub(crate) fn unsupported(message: &str, hint: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        message.to_owned(),
        Some(hint),
    )
}

/// A governed relation reached the executor without having been rewritten (42501). This is the last line: it should never
/// be seen.
pub(crate) fn unproven_relation() -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied: the statement reached a governed relation without its policies",
        Some("Please report this statement as a bug of betweenrows."),
    )
}

/// A plan was made for another subject or before a policy changed (40001).
pub(crate) fn stale_plan() -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
        "could not execute: the policies changed since the statement was planned",
        Some("Retry the statement."),
    )
}

/// The library was not loaded at server start (55000).
pub(crate) fn not_preloaded() -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "betweenrows must be loaded via shared_preload_libraries",
        Some("Add betweenrows to shared_preload_libraries in postgresql.conf and restart the server."),
    )
}

/// The catalog cannot be read, so that everything governed is closed (42501).
pub(crate) fn catalog_unreadable() -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied: the policies cannot be read",
        Some("Ask an administrator of betweenrows to look at betweenrows.status()."),
    )
}

/// An argument that makes no sense (22023).
pub(crate) fn invalid_parameter(message: &str, hint: &str) -> ! {
    raise(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, Some(hint))
}

/// A role that does not exist (42704).
pub(crate) fn undefined_role(name: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
        format!("role \"{name}\" does not exist"),
        Some("Name a login role of this server."),
    )
}

/// A relation that does not exist or that policies cannot be about (42P01).
pub(crate) fn undefined_relation() -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
        "relation does not exist or cannot be governed",
        Some("Name a table, foreign table, view or materialized view."),
    )
}

/// A column that does not exist (42703).
pub(crate) fn undefined_column(name: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
        format!("column \"{name}\" does not exist"),
        Some("Name a column of the relation."),
    )
}

/// More or less than one statement (42601).
pub(crate) fn not_one_statement() -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_SYNTAX_ERROR,
        "the text must contain exactly one statement",
        Some("Pass one statement at a time."),
    )
}
