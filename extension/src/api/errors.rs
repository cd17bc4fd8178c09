//! The errors that administrators get from the management functions: each has one SQLSTATE, a message in PostgreSQL's
//! style and a hint that says what to do. They name what the administrator wrote, but never a password.

use std::cell::RefCell;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use policy::error::Issue;

use crate::expression::validate::Finding;

thread_local! {
    /// The place of the policy document that is being applied.
    static PATH: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `f` so that errors in it tell the place of the document that they are about.
pub(crate) fn at<R>(path: &str, f: impl FnOnce() -> R) -> R {
    struct Scope(Option<String>);
    impl Drop for Scope {
        fn drop(&mut self) {
            PATH.set(self.0.take());
        }
    }
    let _scope = Scope(PATH.replace(Some(path.to_owned())));
    f()
}

fn raise(code: PgSqlErrorCode, message: String, detail: Option<String>, hint: &str) -> ! {
    let mut report = ErrorReport::new(code, message, "betweenrows").set_hint(hint);
    let place = PATH
        .with_borrow(Option::clone)
        .map(|path| format!("In the document: {path}"));
    let detail = match (place, detail) {
        (Some(place), Some(detail)) => Some(format!("{place}\n{detail}")),
        (place, detail) => place.or(detail),
    };
    if let Some(detail) = detail {
        report = report.set_detail(detail);
    }
    report.report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
}

/// An argument that must not be null is (22004).
pub(crate) fn null_argument(argument: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
        format!("argument \"{argument}\" must not be null"),
        None,
        "Give it a value, or leave it out if it has a default.",
    )
}

/// An argument has a value that cannot be used (22023).
pub(crate) fn invalid_argument(argument: &str, detail: impl Into<String>, hint: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("invalid value for argument \"{argument}\""),
        Some(detail.into()),
        hint,
    )
}

/// A value does not have the form it should have (22023). The detail tells each place with what is wrong there.
pub(crate) fn malformed(what: &str, issues: &[Issue]) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("invalid {what}"),
        Some(issues.iter().map(Issue::to_string).collect::<Vec<_>>().join("\n")),
        "Correct the value at the path that the detail names.",
    )
}

/// A combination of arguments that contradict each other (22023).
pub(crate) fn conflicting_arguments(message: &str, hint: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        message.to_owned(),
        None,
        hint,
    )
}

/// What was named does not exist (42704).
pub(crate) fn undefined(kind: &str, name: &str, hint: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
        format!("{kind} \"{name}\" does not exist"),
        None,
        hint,
    )
}

/// A link between two objects does not exist (42704).
pub(crate) fn undefined_link(message: String, hint: &str) -> ! {
    raise(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, message, None, hint)
}

/// A value or a policy's expression uses an attribute without a definition (42704); `place` says where.
pub(crate) fn undefined_attribute(key: &str, place: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
        format!("attribute \"{key}\" does not exist"),
        Some(place.to_owned()),
        "Define it with betweenrows.define_attribute() first.",
    )
}

/// An expression cannot be read as far as placeholders go (42601).
pub(crate) fn bad_expression(place: String, problem: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_SYNTAX_ERROR,
        problem.to_owned(),
        Some(place),
        "Attributes of the user are written {user.key}.",
    )
}

/// An expression does not suit a relation that its policy is about: PostgreSQL's own SQLSTATE and message.
pub(crate) fn unsuitable_expression(policy: &str, finding: &Finding) -> ! {
    let (schema, relation) = &finding.relation;
    let mut place = format!("policy \"{policy}\", {}", finding.path);
    if let Some(position) = finding.diagnostic.position {
        place = format!("{place}, character {position}");
    }
    raise(
        finding.diagnostic.code,
        finding.diagnostic.message.clone(),
        Some(format!("{place}, for the relation \"{schema}.{relation}\"")),
        finding
            .diagnostic
            .hint
            .as_deref()
            .unwrap_or("Correct the expression, or let the targets leave that relation out."),
    )
}

/// A relation is gone (42P01).
pub(crate) fn undefined_relation(oid: u32) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
        format!("relation with OID {oid} does not exist"),
        None,
        "Name an existing table, view, materialized view or foreign table.",
    )
}

/// A relation has no such column (42703).
pub(crate) fn undefined_column(column: &str, relation: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
        format!("column \"{column}\" of relation \"{relation}\" does not exist"),
        None,
        "Name an existing column.",
    )
}

/// A relation is of a kind that policies do not govern (42809).
pub(crate) fn wrong_relation_kind(relation: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
        format!("\"{relation}\" is not a table or view"),
        None,
        "Policies govern tables, partitioned tables, foreign tables, views and materialized views.",
    )
}

/// There is one of that name already (42710).
pub(crate) fn duplicate(kind: &str, name: &str, hint: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
        format!("{kind} \"{name}\" already exists"),
        None,
        hint,
    )
}

/// A name that PostgreSQL keeps for itself (42939).
pub(crate) fn reserved_role_name(name: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_RESERVED_NAME,
        format!("role name \"{name}\" is reserved"),
        None,
        "Choose another name for the login role.",
    )
}

/// Something else still needs what is to be changed or dropped (2BP01).
pub(crate) fn in_use(message: String, users: &[String], hint: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
        message,
        Some(users.join("\n")),
        hint,
    )
}

/// An inheritance between roles that cannot be (0LP01).
pub(crate) fn invalid_parent(role: &str, parent: &str, reason: String) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INVALID_GRANT_OPERATION,
        format!("role \"{parent}\" cannot be a parent of role \"{role}\""),
        Some(reason),
        "Roles must not inherit in circles, nor through more than ten steps.",
    )
}

/// The source of a decision function cannot be used (42601).
pub(crate) fn bad_source(name: &str, error: &decision::CompileError) -> ! {
    let place = error
        .position
        .map(|(line, column)| format!("decision function \"{name}\", line {line}, column {column}"));
    raise(
        PgSqlErrorCode::ERRCODE_SYNTAX_ERROR,
        error.message.clone(),
        Some(place.unwrap_or_else(|| format!("decision function \"{name}\""))),
        "The source is JavaScript that defines function evaluate(ctx, config) and returns {fire: true} or {fire: false}.",
    )
}

/// Decision functions cannot be compiled or evaluated (55000).
pub(crate) fn no_engine(reason: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "decision functions cannot be evaluated".to_owned(),
        Some(reason.to_owned()),
        "Install the engine file of this version of betweenrows beside its library, owned by root.",
    )
}

/// Only a primary server can do this, or only a standby (55000).
pub(crate) fn wrong_server(message: &str, hint: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        message.to_owned(),
        None,
        hint,
    )
}

/// The object was changed since the caller read it (40001); `what` is its kind and name.
pub(crate) fn stale_version(what: &str, expected: i32, found: i32) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
        format!("{what} has changed"),
        Some(format!(
            "The expected version is {expected}, the current version is {found}."
        )),
        "Read the current version, see whether the change still fits, and try again.",
    )
}

/// A view or function that trusting would not make safe (55000).
pub(crate) fn not_trustworthy(object: &str, problem: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("{object} cannot be trusted"),
        Some(problem.to_owned()),
        "Trust a view, or a SECURITY DEFINER function of an exempt owner that sets its search_path.",
    )
}

/// Another session changed the same thing at the same time (40001).
pub(crate) fn concurrent_change(what: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
        format!("{what} was changed by another session at the same time"),
        None,
        "Retry the statement.",
    )
}

/// Something tried to rewrite history (42501).
pub(crate) fn append_only(relation: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("cannot change or remove rows of \"betweenrows.{relation}\": it is append-only"),
        None,
        "To remove old rows, a superuser has to disable the trigger append_only.",
    )
}

/// The catalog holds something that this library cannot read (XX001).
pub(crate) fn corrupt_catalog(detail: String) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
        "the catalog of betweenrows cannot be read".to_owned(),
        Some(detail),
        "Rows were changed without the functions of the schema betweenrows, or the library has another version.",
    )
}
