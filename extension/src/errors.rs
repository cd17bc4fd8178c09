//! Error constructors: each has one SQLSTATE, a message in PostgreSQL's style and a hint that says what to do.
//!
//! Invariant: an error that a subject can get carries no name or value that a policy hides from it.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use policy::access::Standing;

use crate::catalog::Session;

/// As [`raise`], for an error that is a policy's doing: the audit hears of it.
fn refuse(code: PgSqlErrorCode, message: impl Into<String>, hint: Option<&str>) -> ! {
    crate::audit::refused();
    raise(code, message, hint)
}

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
    refuse(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied by policy",
        None,
    )
}

/// A policy cannot be applied, so that its tables are closed (42501). The subject learns that and nothing more.
pub(crate) fn policy_unusable() -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied: a policy of this relation cannot be applied",
        Some("Ask an administrator of betweenrows to look at betweenrows.status()."),
    )
}

/// The analysis of an expression or statement would call a function of a subject (42501).
pub(crate) fn foreign_function(name: &str) -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("function \"{name}\" is neither built in nor owned by an exempt role"),
        Some("A literal's type has a domain whose check calls it: use another type."),
    )
}

/// The subject may not use the database (42501).
pub(crate) fn shut_out(session: &Session) -> ! {
    let (message, hint) = if session.subject.standing == Standing::WithoutGrant {
        (
            "permission denied: this user has no access to this database",
            "Ask an administrator of betweenrows for an access grant.",
        )
    } else {
        (
            "permission denied: this user is not active",
            "Ask an administrator of betweenrows to activate the user.",
        )
    };
    crate::audit::refused_somewhere(session);
    raise(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, message, Some(hint))
}

/// The subject has no value for an attribute that its definition requires (42501).
pub(crate) fn attribute_required(key: &str) -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("permission denied: the user attribute \"{key}\" has no value"),
        Some("Ask an administrator of betweenrows to set the attribute."),
    )
}

/// Direct access to what only the extension or PostgreSQL itself may read (42501).
pub(crate) fn reserved_relation() -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied for a relation that policies are enforced with",
        Some("Use the functions of the schema betweenrows."),
    )
}

/// A value for a column that the subject reads masked (42501).
pub(crate) fn masked_column_write(column: &str) -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("cannot set column \"{column}\": a policy masks it"),
        Some("Leave the column out, or ask an administrator to make the mask writable."),
    )
}

/// A value for a column that does not exist for the subject, from inside a function or from a row without a column list
/// (42501).
pub(crate) fn hidden_column_write() -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied by policy",
        Some("Name the columns that are to be set."),
    )
}

/// A new row that does not fulfil the row filters, of a foreign table (42501): PostgreSQL's own message for other tables.
pub(crate) fn refused_row(relation: &str) -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("new row violates row-level security policy for table \"{relation}\""),
        None,
    )
}

/// A statement kind that cannot be governed (0A000).
pub(crate) fn unsupported(message: &str, hint: &str) -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        message.to_owned(),
        Some(hint),
    )
}

/// A relation that does not exist for the subject, in PostgreSQL's words (42P01).
pub(crate) fn missing_relation(message: String) -> ! {
    refuse(PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE, message, None)
}

/// A column that does not exist for the subject, in PostgreSQL's words (42703).
pub(crate) fn missing_column(column: &str, relation: &str) -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
        format!("column \"{column}\" of relation \"{relation}\" does not exist"),
        None,
    )
}

/// EXPLAIN ANALYZE of a governed statement (0A000).
pub(crate) fn explain_analyze() -> ! {
    unsupported(
        "EXPLAIN ANALYZE is not supported for a statement on relations that policies govern",
        "Leave ANALYZE out to see the shape of the plan.",
    )
}

/// A name would change, or an object be dropped, that expressions of policies use (2BP01). The policies are only named to
/// those who administrate them.
pub(crate) fn used_by_policies(policies: Vec<String>, named: bool) -> ! {
    refuse_for_policies(
        "cannot rename or drop what expressions of policies use",
        policies,
        named,
        "Change or drop the policies first.",
    )
}

/// A name would change so that policies are no longer about it, or cannot be applied any more (2BP01).
pub(crate) fn lost_by_policies(policies: Vec<String>, named: bool) -> ! {
    refuse_for_policies(
        "cannot rename what policies would no longer govern",
        policies,
        named,
        "Let the targets of the policies name it exactly or match the new name, or choose another name.",
    )
}

/// Tells an administrator that a relation is out of the reach of policies whose patterns were about its old name or its
/// parent (01000).
pub(crate) fn warn_of_policies_left(policies: &[String]) {
    let lines: Vec<String> = policies.iter().map(|name| format!("policy \"{name}\"")).collect();
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_WARNING,
        "policies no longer govern the relation",
        "betweenrows",
    )
    .set_detail(lines.join("\n"))
    .set_hint("Add the relation to the targets of the policies if they are meant to.")
    .report(PgLogLevel::WARNING);
}

fn refuse_for_policies(message: &'static str, policies: Vec<String>, named: bool, hint: &str) -> ! {
    let mut report = ErrorReport::new(
        PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
        message,
        "betweenrows",
    )
    .set_hint(if named {
        hint
    } else {
        "Ask an administrator of betweenrows."
    });
    if named {
        let lines: Vec<String> = policies.into_iter().map(|name| format!("policy \"{name}\"")).collect();
        report = report.set_detail(lines.join("\n"));
    }
    report.report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
}

/// The extension is found by the name of its schema (2BP01).
pub(crate) fn own_schema_renamed() -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
        "cannot rename schema \"betweenrows\"",
        Some("Policies are enforced with it. To be rid of them, drop the extension."),
    )
}

/// A role would become exempt by its name alone (42710).
pub(crate) fn exempt_name(name: &str) -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
        format!("role name \"{name}\" is reserved"),
        Some("Choose another name, or ask an administrator of betweenrows to end the exemption of the name."),
    )
}

/// COPY lists a generated column (42P10), in PostgreSQL's words.
pub(crate) fn copied_generated_column(column: &str) -> ! {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_INVALID_COLUMN_REFERENCE,
        format!("column \"{column}\" is a generated column"),
        "betweenrows",
    )
    .set_detail("Generated columns cannot be used in COPY.")
    .report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
}

/// COPY lists a column twice (42701), in PostgreSQL's words.
pub(crate) fn copied_twice(column: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_DUPLICATE_COLUMN,
        format!("column \"{column}\" specified more than once"),
        None,
    )
}

/// A statement would define, change or maintain something that policies restrict (42501).
pub(crate) fn definition_refused() -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied by policy: the statement concerns a relation that policies restrict",
        Some("Only a role that is exempt from policies can change or maintain such a relation and what it uses."),
    )
}

/// A statement would have the subject's own code run over stored values that policies keep from the subject (42501).
pub(crate) fn attached_code_refused() -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied by policy: a function of your own would get values that policies keep from you",
        Some("Functions of the table's triggers and checks have to belong to a role that you are not a member of."),
    )
}

/// A statement would change code that an exempt role owns (42501).
pub(crate) fn exempt_code_refused() -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied by policy: the owner of the object is exempt from policies",
        Some("Only a role that is exempt from policies can change what such a role owns."),
    )
}

/// Maintenance of everything there is, which would name and touch what policies hide (42501).
pub(crate) fn unnamed_maintenance() -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied by policy: the statement concerns relations that it does not name",
        Some("Name the tables, or let a role do it that is exempt from policies."),
    )
}

/// TRUNCATE would remove rows that the subject cannot see (42501).
pub(crate) fn truncate_refused() -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied by policy: TRUNCATE would remove rows that a policy hides",
        Some("Use DELETE, which removes the visible rows."),
    )
}

/// TRUNCATE without CASCADE of a table that a hidden one refers to (0A000), in PostgreSQL's words.
pub(crate) fn truncate_referenced() -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "cannot truncate a table referenced in a foreign key constraint",
        None,
    )
}

/// A governed relation reached the executor without having been rewritten (42501). This is the last line: it should never
/// be seen.
pub(crate) fn unproven_relation() -> ! {
    refuse(
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

/// A cursor reads governed relations and was opened by somebody else, or before they were governed (42501).
pub(crate) fn foreign_cursor() -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied: the cursor was not opened for this user and its policies",
        Some("Open the cursor again."),
    )
}

/// A cursor has kept rows from before a policy changed (40001).
pub(crate) fn stale_cursor() -> ! {
    crate::audit::outdated();
    raise(
        PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
        "could not fetch: the policies changed since the cursor was opened",
        Some("Open the cursor again."),
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
    refuse(
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

/// The event of a statement does not fit into the audit's spool (53400).
pub(crate) fn audit_full() -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
        "cannot run the statement: its audit event cannot be recorded",
        Some("Ask an administrator of betweenrows to look at betweenrows.audit_status()."),
    )
}

/// The event of a statement cannot be written (53100). The reason is for the server's log.
pub(crate) fn audit_unavailable(reason: &str) -> ! {
    log!("betweenrows: audit events cannot be written: {reason}");
    raise(
        PgSqlErrorCode::ERRCODE_DISK_FULL,
        "cannot run the statement: its audit event cannot be written",
        Some("Ask an administrator of betweenrows to look at betweenrows.audit_status()."),
    )
}
