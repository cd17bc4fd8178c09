//! Values that cannot be computed: `invalid input syntax for type integer: "123-45"`, printed by a cast in a policy's
//! expression, tells the raw value of a masked column or of a row that a filter hides.
//!
//! Which expression failed cannot be told from the error. While plans run whose policies have expressions that may fail so,
//! errors of class 22 keep their form and lose their values. That holds until the end of the transaction, since a cursor runs
//! its plan whenever it is asked to. What fails before anything runs, in the subject's own constants, is told in full.

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::pg_sys::{self, ErrorData, Oid};
use pgrx::prelude::*;
use policy::model::{Check, Definition};

use super::remove;
use crate::catalog::Session;
use crate::catalog::governance::{Governance, Reading, State};
use crate::expression::{Kind, compile};
use crate::guard::frames;
use crate::pg::nodes;

thread_local! {
    /// Whether the transaction has started a plan whose policies may fail.
    static FALLIBLE: Cell<bool> = const { Cell::new(false) };
}

/// Notes that a plan with this relation is about to run.
pub(crate) fn before_execution(session: &Session, governance: &Governance) {
    if governance.state == State::Governed
        && !FALLIBLE.get()
        && *governance.fallible.get_or_init(|| is_fallible(session, governance))
    {
        FALLIBLE.set(true);
    }
}

/// Forgets the plans of the transaction.
pub(super) fn transaction_ended() {
    FALLIBLE.set(false);
}

/// Takes the values out of an error while policies may have raised it; returns whether it did.
///
/// # Safety
/// `error` is a copy that may be modified.
pub(super) unsafe fn clean(error: *mut ErrorData) -> bool {
    if !FALLIBLE.get() || frames::executor_depth() == 0 {
        return false;
    }
    let form = if (*error).message_id.is_null() {
        // Comes from a parallel worker, without the format that it was made from.
        "a value could not be computed".to_owned()
    } else {
        form(&CStr::from_ptr((*error).message_id).to_string_lossy())
    };
    let mut original = nodes::string((*error).message);
    for part in [(*error).detail, (*error).context] {
        if !part.is_null() {
            original.push_str("; ");
            original.push_str(&CStr::from_ptr(part).to_string_lossy());
        }
    }
    if original == form {
        return false;
    }
    // The log prints it in the place of DETAIL.
    (*error).detail_log = nodes::pstr(&original);
    (*error).message = nodes::pstr(&form);
    // The context may be that of JSON, which prints the text around the place.
    for text in [
        &mut (*error).detail,
        &mut (*error).hint,
        &mut (*error).context,
        &mut (*error).internalquery,
        &mut (*error).schema_name,
        &mut (*error).table_name,
        &mut (*error).column_name,
        &mut (*error).datatype_name,
        &mut (*error).constraint_name,
    ] {
        remove(text);
    }
    true
}

/// What is left of a format without the values: `invalid input syntax for type %s: "%s"` becomes
/// `invalid input syntax for type ...: "..."`.
fn form(format: &str) -> String {
    let mut text = String::with_capacity(format.len());
    let mut rest = format.chars().peekable();
    while let Some(character) = rest.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        if rest.next_if_eq(&'%').is_some() {
            text.push('%');
            continue;
        }
        // Flags, width and length; the conversion is the first letter that is no length.
        while rest
            .next_if(|next| !next.is_ascii_alphabetic() || "hljzt".contains(*next))
            .is_some()
        {}
        rest.next();
        text.push_str("...");
    }
    text
}

/// Whether an expression that is used for the relation or its children may print a raw value when it fails.
fn is_fallible(session: &Session, governance: &Governance) -> bool {
    let filters = governance.filters.restrictive.iter();
    let filters = filters.chain(governance.filters.permissive.iter().flatten());
    let masks = governance
        .columns
        .iter()
        .filter_map(|column| match column.reading(true) {
            Reading::Mask(policy) => Some((policy, Kind::Mask(column.facts.attno))),
            _ => None,
        });
    filters
        .flat_map(|policy| [(*policy, Kind::Filter), (*policy, Kind::Check)])
        .chain(masks)
        .any(|(policy, kind)| !is_quiet(session, governance.relid, policy, kind))
        || governance.exceptions.iter().any(|child| is_fallible(session, child))
}

/// Whether an expression reveals nothing about the values that it is computed from, by PostgreSQL's own judgement of
/// functions that are leakproof. What cannot be judged is not quiet.
fn is_quiet(session: &Session, relid: Oid, policy: usize, kind: Kind) -> bool {
    let policy = &session.catalog.policies[policy];
    let text = match (&policy.definition, kind) {
        (Definition::RowFilter { check: Check::None, .. }, Kind::Check) => return true,
        (
            Definition::RowFilter {
                check: Check::Expression(text),
                ..
            },
            Kind::Check,
        ) => text,
        (Definition::RowFilter { filter_expression, .. }, _) => filter_expression,
        (Definition::ColumnMask { mask_expression, .. }, _) => mask_expression,
        _ => return false,
    };
    let Some(owner) = compile::owner_role(policy) else {
        return false;
    };
    let source = compile::Source {
        relid,
        text,
        kind,
        owner,
    };
    PgTryBuilder::new(std::panic::AssertUnwindSafe(|| {
        // SAFETY: the tree is looked at directly after it was looked up.
        compile::compiled(&session.catalog, &source)
            .is_ok_and(|compiled| unsafe { !pg_sys::contain_leaked_vars(compiled.tree()) })
    }))
    .catch_when(PgSqlErrorCode::ERRCODE_QUERY_CANCELED, |error| error.rethrow())
    .catch_others(|_| false)
    .execute()
}

#[cfg(test)]
mod tests {
    use super::form;

    #[test]
    fn forms_have_no_values() {
        assert_eq!(form("division by zero"), "division by zero");
        assert_eq!(
            form("invalid input syntax for type %s: \"%s\""),
            "invalid input syntax for type ...: \"...\""
        );
        assert_eq!(form("%-5.3f of %lld is 5%% of %*zu"), "... of ... is 5% of ...");
        assert_eq!(form("ends in %"), "ends in ...");
    }
}
