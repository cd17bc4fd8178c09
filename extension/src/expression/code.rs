//! Whose code a policy may run.
//!
//! Invariant: no code of a subject takes part in a policy. An expression runs for everyone whose rows are filtered, with raw
//! values as arguments, and is analysed with its writer's rights: functions, operators, casts and domains have to be built
//! in or owned by exempt roles, views in subqueries by those or by the policy's owner. The same holds while analysis runs:
//! a literal of an array or a row type with domains in it calls their checks before there is a tree to look at.

use std::cell::Cell;
use std::ffi::c_void;

use pgrx::pg_sys::{self, Node, NodeTag, Oid, Query, RTEKind, RangeTblEntry, SubLink};
use pgrx::prelude::*;

use super::compile::Refusal;
use crate::pg::walk::{self, Walk};
use crate::pg::{self, compat, list, nodes, relation};
use crate::{catalog, errors, identity};

thread_local! {
    static ANALYSES: Cell<u32> = const { Cell::new(0) };
}

/// Runs an analysis, during which functions of subjects fail.
pub(crate) fn without_foreign_code<R>(analysis: impl FnOnce() -> R) -> R {
    struct Scope;
    impl Drop for Scope {
        fn drop(&mut self) {
            ANALYSES.set(ANALYSES.get() - 1);
        }
    }
    ANALYSES.set(ANALYSES.get() + 1);
    let _scope = Scope;
    analysis()
}

/// Whether an analysis is running, so that [`before_function`] has to be asked.
pub(crate) fn is_analysing() -> bool {
    ANALYSES.get() > 0
}

/// Refuses a function that is about to be called during an analysis.
pub(crate) fn before_function(function: Oid) {
    if !is_trusted(Object::Function(function), None) {
        errors::foreign_function(&function_name(function));
    }
}

/// Refuses an analysed expression of a policy of `owner` that would run code of subjects.
///
/// # Safety
/// `expr` is a valid analysed expression, with the rights to read tables already set in its subqueries.
pub(super) unsafe fn check(expr: *mut Node, owner: Oid) -> Result<(), Refusal> {
    let mut culprit = None;
    walk::walk(expr, &mut |node, _| {
        culprit = culprit_in_node(node);
        if culprit.is_none() && nodes::is_a(node, NodeTag::T_SubLink) {
            let sublink = node.cast::<SubLink>();
            culprit = culprit_in_subquery((*sublink).subselect.cast(), owner);
        }
        match culprit {
            Some(_) => Walk::Stop,
            None => Walk::Into,
        }
    });
    match culprit {
        None => Ok(()),
        Some(message) => Err(Refusal {
            message,
            offset: None,
            code: PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        }),
    }
}

/// What a subquery may not contain once its views are expanded and native row security has been added.
unsafe fn culprit_in_subquery(query: *mut Query, owner: Oid) -> Option<String> {
    let query = nodes::copy(query);
    pg_sys::AcquireRewriteLocks(query, true, false);
    let mut culprit = None;
    for query in list::iter::<Query>(pg_sys::QueryRewrite(query)) {
        walk::any_query(query, &mut |query| {
            culprit = list::iter::<RangeTblEntry>((*query).rtable).find_map(|rte| culprit_in_entry(rte, owner));
            culprit.is_some()
        });
        if culprit.is_none() {
            walk::walk(query.cast(), &mut |node, _| {
                culprit = culprit_in_node(node);
                if culprit.is_some() { Walk::Stop } else { Walk::Into }
            });
        }
    }
    culprit
}

unsafe fn culprit_in_entry(rte: *mut RangeTblEntry, owner: Oid) -> Option<String> {
    let named = |relid: Oid, what: &str| {
        let (schema, name) = pg::relation_name(relid).unwrap_or_default();
        Some(format!("relation \"{schema}.{name}\" {what}"))
    };
    match (*rte).rtekind {
        // One of the session's own would take the place of a table that was dropped.
        RTEKind::RTE_RELATION if relation::is_temporary((*rte).relid) => named((*rte).relid, "is temporary"),
        RTEKind::RTE_SUBQUERY => compat::view_of_subquery(rte)
            .filter(|view| !is_trusted(Object::View(*view), Some(owner)))
            .and_then(|view| {
                named(
                    view,
                    "is a view that belongs neither to the policy's owner nor to an exempt role",
                )
            }),
        _ => None,
    }
}

unsafe fn culprit_in_node(node: *mut Node) -> Option<String> {
    let mut function = Oid::INVALID;
    if pg_sys::check_functions_in_node(node, Some(is_foreign_function), (&raw mut function).cast()) {
        return Some(format!(
            "function \"{}\" is neither built in nor owned by an exempt role",
            function_name(function)
        ));
    }
    if nodes::is_a(node, NodeTag::T_CoerceToDomain) {
        let domain = (*node.cast::<pg_sys::CoerceToDomain>()).resulttype;
        if !is_trusted(Object::Type(domain), None) {
            return Some("a domain of the expression is neither built in nor owned by an exempt role".into());
        }
    }
    None
}

#[pg_guard]
unsafe extern "C-unwind" fn is_foreign_function(function: Oid, context: *mut c_void) -> bool {
    let foreign = !is_trusted(Object::Function(function), None);
    if foreign {
        // SAFETY: `context` points to the Oid of `culprit_in_node`.
        unsafe { *context.cast::<Oid>() = function };
    }
    foreign
}

fn function_name(function: Oid) -> String {
    // SAFETY: a syscache lookup, NULL for a missing function.
    unsafe { nodes::string(pg_sys::get_func_name(function)) }
}

#[derive(Clone, Copy)]
enum Object {
    Function(Oid),
    Type(Oid),
    View(Oid),
}

/// Whether an object is built in or belongs to an exempt role, or to `owner`.
fn is_trusted(object: Object, owner: Option<Oid>) -> bool {
    use pg_sys::SysCacheIdentifier as Cache;
    let (oid, cache, column) = match object {
        Object::Function(oid) => (oid, Cache::PROCOID, pg_sys::Anum_pg_proc_proowner),
        Object::Type(oid) => (oid, Cache::TYPEOID, pg_sys::Anum_pg_type_typowner),
        Object::View(oid) => (oid, Cache::RELOID, pg_sys::Anum_pg_class_relowner),
    };
    if pg::is_builtin(oid) {
        return true;
    }
    // SAFETY: the owner is read before the tuple is released.
    let owns = unsafe {
        let tuple = pg_sys::SearchSysCache1(cache as _, pg_sys::Datum::from(oid));
        if tuple.is_null() {
            return false;
        }
        let mut is_null = false;
        let datum = pg_sys::SysCacheGetAttr(cache as _, tuple, column as _, &mut is_null);
        pg_sys::ReleaseSysCache(tuple);
        Oid::from(datum.value() as u32)
    };
    Some(owns) == owner || catalog::catalog().is_some_and(|catalog| identity::is_exempt(&catalog, owns))
}
