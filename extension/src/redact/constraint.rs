//! Violated constraints: `Failing row contains (…)`, `Key (ssn)=(…) already exists`, `… on table "hidden"`.

use pgrx::pg_sys::{self, ErrorData, Oid};
use pgrx::prelude::*;

use super::{conceal_detail, remove};
use crate::catalog::Session;
use crate::catalog::governance::State;
use crate::pg::{nodes, relation, scan};

/// Cleans the error of a violated constraint; returns whether it changed.
///
/// # Safety
/// `error` is a copy that may be modified.
pub(super) unsafe fn clean(session: &Session, error: *mut ErrorData) -> bool {
    let Some(relid) = violated_relation(error) else {
        // Which relation it is about cannot be told, as for the check option of a view: it prints a row of some table below.
        return conceal_detail(error);
    };
    let constraint = constraint(relid, error);
    let involved: Vec<Oid> = std::iter::once(relid)
        .chain(constraint.as_ref().and_then(|found| found.other))
        .collect();
    let restricted = |relid: &Oid| session.governance(*relid).state != State::Open;
    if !involved.iter().any(restricted) {
        return false;
    }
    let mut cleaned = conceal_detail(error);
    if involved.iter().any(|relid| is_hidden(session, *relid))
        || covers_hidden(session, relid, constraint.as_ref(), error)
    {
        (*error).message = nodes::pstr(message((*error).sqlerrcode));
        for name in [
            &mut (*error).schema_name,
            &mut (*error).table_name,
            &mut (*error).column_name,
            &mut (*error).constraint_name,
        ] {
            remove(name);
        }
        cleaned = true;
    }
    cleaned
}

/// The relation that the error's fields name.
unsafe fn violated_relation(error: *mut ErrorData) -> Option<Oid> {
    if (*error).schema_name.is_null() || (*error).table_name.is_null() {
        return None;
    }
    let namespace = pg_sys::get_namespace_oid((*error).schema_name, true);
    if namespace == Oid::INVALID {
        return None;
    }
    scan::relation(namespace, &nodes::string((*error).table_name))
}

/// What is known about a violated constraint.
struct Constraint {
    /// Columns of the relation that it is about.
    columns: Vec<i16>,
    /// The other relation of a foreign key.
    other: Option<Oid>,
}

/// The constraint that the error's fields name; `None` when there is none of that name, as for a unique index.
unsafe fn constraint(relid: Oid, error: *mut ErrorData) -> Option<Constraint> {
    if (*error).constraint_name.is_null() {
        return None;
    }
    let name = nodes::string((*error).constraint_name);
    if let Some(found) = relation::constraint(relid, &name) {
        return Some(Constraint {
            columns: found.columns,
            other: found.referenced,
        });
    }
    // A unique index without a constraint gives its own name.
    let index = scan::relation(pg_sys::get_rel_namespace(relid), &name)?;
    Some(Constraint {
        columns: relation::index_keys(index).map_or_else(Vec::new, |(_, columns)| columns),
        other: None,
    })
}

fn is_hidden(session: &Session, relid: Oid) -> bool {
    let governance = session.governance(relid);
    match governance.state {
        State::Open => false,
        State::Governed | State::Broken => !governance.exists(false),
        State::Reserved | State::ShutOut => true,
    }
}

/// Whether the message may name a hidden column, itself or in the constraint's name.
unsafe fn covers_hidden(session: &Session, relid: Oid, constraint: Option<&Constraint>, error: *mut ErrorData) -> bool {
    let governance = session.governance(relid);
    let mut hidden = governance.hidden_columns(false).peekable();
    if hidden.peek().is_none() {
        return false;
    }
    let column = nodes::string((*error).column_name);
    match constraint {
        Some(constraint) => {
            // An expression may use any column.
            constraint.columns.is_empty()
                || constraint.columns.contains(&0)
                || hidden.any(|hidden| constraint.columns.contains(&hidden.facts.attno))
        }
        None if !column.is_empty() => hidden.any(|hidden| hidden.facts.name == column),
        None => true,
    }
}

/// A message without names for a violated constraint.
fn message(sqlstate: i32) -> &'static str {
    use PgSqlErrorCode as Code;
    let is = |code: Code| sqlstate == code as i32;
    if is(Code::ERRCODE_NOT_NULL_VIOLATION) {
        "null value violates not-null constraint"
    } else if is(Code::ERRCODE_UNIQUE_VIOLATION) {
        "duplicate key value violates unique constraint"
    } else if is(Code::ERRCODE_FOREIGN_KEY_VIOLATION) || is(Code::ERRCODE_RESTRICT_VIOLATION) {
        "insert, update or delete violates foreign key constraint"
    } else if is(Code::ERRCODE_EXCLUSION_VIOLATION) {
        "conflicting key value violates exclusion constraint"
    } else {
        "new row violates check constraint"
    }
}
