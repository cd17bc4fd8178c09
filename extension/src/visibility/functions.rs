//! The SQL functions that filters on system catalogs call. Everybody may call them, so that they tell nothing: what is
//! hidden is as what does not exist.

use pgrx::Internal;
use pgrx::pg_sys::{self, Datum, Node, NodeTag, Oid};
use pgrx::prelude::*;

use super::judge::Judge;
use crate::catalog;
use crate::pg::nodes;

/// Asks about an object. For an exempt role, and without the extension, everything is seen.
fn seen(visible: impl FnOnce(&Judge) -> bool) -> bool {
    match catalog::current() {
        None => true,
        Some(session) => visible(&Judge { session }),
    }
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn relation_visible(relation: Oid) -> bool {
    seen(|judge| judge.relation(relation))
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn column_visible(relation: Oid, number: i16) -> bool {
    seen(|judge| judge.column(relation, number))
}

/// See the comment on the SQL function. No numbers hide nothing.
#[pg_extern(sql = false)]
fn columns_visible(relation: Option<Oid>, numbers: Option<Vec<i16>>) -> bool {
    match (relation, numbers) {
        (Some(relation), Some(numbers)) => seen(|judge| judge.columns(relation, &numbers)),
        _ => true,
    }
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn type_visible(type_oid: Oid) -> bool {
    seen(|judge| judge.type_(type_oid))
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn object_visible(class: Oid, object: Oid, part: i32) -> bool {
    seen(|judge| judge.object(class, object, part))
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn statistics_visible(relation: Oid, number: i16) -> bool {
    seen(|judge| judge.statistics(relation, number))
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn extended_statistics_visible(statistics: Oid) -> bool {
    seen(|judge| judge.extended_statistics(statistics))
}

/// Tells the planner how many rows pass a visibility function: nearly all, where it would expect a third of them and choose
/// plans for a catalog that is almost empty.
#[pg_extern(sql = false)]
fn visibility_support(request: Internal) -> Internal {
    let request = request
        .unwrap()
        .map_or(std::ptr::null_mut(), |datum| datum.cast_mut_ptr::<Node>());
    // SAFETY: the planner hands over a valid node.
    unsafe {
        if !nodes::is_a(request, NodeTag::T_SupportRequestSelectivity) {
            // "Not supported" is a null pointer, not an SQL null.
            return Internal::from(Some(Datum::null()));
        }
        (*request.cast::<pg_sys::SupportRequestSelectivity>()).selectivity = 0.99;
    }
    Internal::from(Some(Datum::from(request)))
}
