//! Whose code a policy may run.
//!
//! Invariant: no code of a subject takes part in a policy. An expression runs for everyone whose rows are filtered, with raw
//! values as arguments, and is analysed with its writer's rights: functions, operators, casts and domains have to be built
//! in or owned by exempt roles, views in subqueries by those or by the policy's owner. Functions have to mean the same in
//! every session, whatever schemas it searches. The same holds while analysis runs: a literal of an array or a row type with
//! domains in it calls their checks before there is a tree to look at.

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::c_void;

use pgrx::pg_sys::{self, Datum, HeapTuple, Node, NodeTag, Oid, Query, RTEKind, RangeTblEntry, SubLink};
use pgrx::prelude::*;

use super::compile::Refusal;
use super::instantiate::has_sublinks;
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
    let mut inspection = Inspection::default();
    let mut culprit = None;
    walk::walk(expr, &mut |node, _| {
        culprit = inspection.node(node);
        if culprit.is_none() && nodes::is_a(node, NodeTag::T_SubLink) {
            let sublink = node.cast::<SubLink>();
            culprit = inspection.subquery((*sublink).subselect.cast(), owner);
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

/// What has been looked at while one expression is checked. Its methods return what is wrong.
#[derive(Default)]
struct Inspection {
    functions: HashSet<Oid>,
}

impl Inspection {
    /// A subquery with its views expanded and native row security added.
    unsafe fn subquery(&mut self, query: *mut Query, owner: Oid) -> Option<String> {
        let query = nodes::copy(query);
        pg_sys::AcquireRewriteLocks(query, true, false);
        let mut culprit = None;
        for query in list::iter::<Query>(pg_sys::QueryRewrite(query)) {
            walk::any_query(query, &mut |query| {
                culprit = list::iter::<RangeTblEntry>((*query).rtable).find_map(|rte| culprit_in_entry(rte, owner));
                // The executor would say the same, with the name of the table, to the subject.
                if culprit.is_none() && !compat::is_permitted(query) {
                    culprit = Some("the policy's owner may not read a relation of a subquery".into());
                }
                culprit.is_some()
            });
            culprit = culprit.or_else(|| self.tree(query.cast()));
        }
        culprit
    }

    unsafe fn tree(&mut self, tree: *mut Node) -> Option<String> {
        pg_sys::check_stack_depth();
        let mut culprit = None;
        walk::walk(tree, &mut |node, _| {
            culprit = self.node(node);
            if culprit.is_some() { Walk::Stop } else { Walk::Into }
        });
        culprit
    }

    unsafe fn node(&mut self, node: *mut Node) -> Option<String> {
        let mut functions: Vec<Oid> = Vec::new();
        pg_sys::check_functions_in_node(node, Some(collect), (&raw mut functions).cast());
        let culprit = functions.into_iter().find_map(|function| self.function(function));
        if culprit.is_some() {
            return culprit;
        }
        if nodes::is_a(node, NodeTag::T_CoerceToDomain) {
            let domain = (*node.cast::<pg_sys::CoerceToDomain>()).resulttype;
            if !is_trusted(Object::Type(domain), None) {
                return Some("a domain of the expression is neither built in nor owned by an exempt role".into());
            }
        }
        // A subject's own operator could let a built-in function stand for something else.
        let foreign = operators(node).any(|operator| !is_trusted(Object::Operator(operator), None));
        foreign.then(|| "an operator of the expression is neither built in nor owned by an exempt role".into())
    }

    unsafe fn function(&mut self, function: Oid) -> Option<String> {
        if pg::is_builtin(function) || !self.functions.insert(function) {
            return None;
        }
        let name = function_name(function);
        if !is_trusted(Object::Function(function), None) {
            return Some(format!(
                "function \"{name}\" is neither built in nor owned by an exempt role"
            ));
        }
        let cache = pg_sys::SysCacheIdentifier::PROCOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, Datum::from(function));
        if tuple.is_null() {
            return Some("a function of the expression does not exist".into());
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>();
        let (language, kind) = ((*form).prolang.to_u32(), (*form).prokind as u8);
        let body = attribute(tuple, pg_sys::Anum_pg_proc_prosqlbody)
            .map(|body| pg_sys::text_to_cstring(body.cast_mut_ptr::<pg_sys::text>()));
        let pinned =
            attribute(tuple, pg_sys::Anum_pg_proc_proconfig).is_some_and(|settings| pins_search_path(settings));
        pg_sys::ReleaseSysCache(tuple);

        if kind == pg_sys::PROKIND_AGGREGATE {
            return self.aggregate(function);
        }
        if let Some(body) = body {
            return self.tree(pg_sys::stringToNode(body).cast());
        }
        // A text is read anew in each session, where its operators and functions could be those of the subject's schemas.
        let is_text = ![pg_sys::INTERNALlanguageId, pg_sys::ClanguageId].contains(&language);
        (is_text && !pinned).then(|| {
            format!(
                "function \"{name}\" has neither a pinned search_path nor a body of the form BEGIN ATOMIC or RETURN"
            )
        })
    }

    unsafe fn aggregate(&mut self, aggregate: Oid) -> Option<String> {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::AGGFNOID as _, Datum::from(aggregate));
        if tuple.is_null() {
            return Some("an aggregate of the expression does not exist".into());
        }
        let form = *pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_aggregate>();
        pg_sys::ReleaseSysCache(tuple);
        [
            form.aggtransfn,
            form.aggfinalfn,
            form.aggcombinefn,
            form.aggserialfn,
            form.aggdeserialfn,
            form.aggmtransfn,
            form.aggminvtransfn,
            form.aggmfinalfn,
        ]
        .into_iter()
        .find_map(|function| self.function(function))
    }
}

/// The operators of a node.
unsafe fn operators(node: *mut Node) -> impl Iterator<Item = Oid> {
    let operators: Vec<Oid> = match nodes::tag(node) {
        NodeTag::T_RowCompareExpr => list::iter_oid((*node.cast::<pg_sys::RowCompareExpr>()).opnos).collect(),
        NodeTag::T_ScalarArrayOpExpr => vec![(*node.cast::<pg_sys::ScalarArrayOpExpr>()).opno],
        // One struct with three names.
        NodeTag::T_OpExpr | NodeTag::T_DistinctExpr | NodeTag::T_NullIfExpr => {
            vec![(*node.cast::<pg_sys::OpExpr>()).opno]
        }
        _ => Vec::new(),
    };
    operators.into_iter()
}

unsafe fn culprit_in_entry(rte: *mut RangeTblEntry, owner: Oid) -> Option<String> {
    let named = |relid: Oid, what: &str| {
        let (schema, name) = pg::relation_name(relid).unwrap_or_default();
        Some(format!("relation \"{schema}.{name}\" {what}"))
    };
    match (*rte).rtekind {
        // One of the session's own would take the place of a table that was dropped.
        RTEKind::RTE_RELATION if relation::is_temporary((*rte).relid) => named((*rte).relid, "is temporary"),
        // What the subquery reads would be read as the policy reads it: unfiltered.
        RTEKind::RTE_RELATION
            if has_sublinks((*rte).securityQuals.cast())
                && !is_trusted(Object::Relation((*rte).relid), Some(owner)) =>
        {
            let what =
                "has row security with a subquery and belongs neither to the policy's owner nor to an exempt role";
            named((*rte).relid, what)
        }
        RTEKind::RTE_SUBQUERY => compat::view_of_subquery(rte)
            .filter(|view| !is_trusted(Object::Relation(*view), Some(owner)))
            .and_then(|view| {
                named(
                    view,
                    "is a view that belongs neither to the policy's owner nor to an exempt role",
                )
            }),
        _ => None,
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn collect(function: Oid, functions: *mut c_void) -> bool {
    // SAFETY: `functions` points to the vector in `Inspection::node`.
    unsafe { (*functions.cast::<Vec<Oid>>()).push(function) };
    false
}

/// An attribute of a function's row, `None` for NULL.
unsafe fn attribute(tuple: HeapTuple, number: u32) -> Option<Datum> {
    let mut is_null = false;
    let cache = pg_sys::SysCacheIdentifier::PROCOID as _;
    let value = pg_sys::SysCacheGetAttr(cache, tuple, number as _, &mut is_null);
    (!is_null).then_some(value)
}

/// Whether a function's settings (`name=value` each) include the search_path.
unsafe fn pins_search_path(settings: Datum) -> bool {
    Vec::<Option<String>>::from_datum(settings, false)
        .into_iter()
        .flatten()
        .flatten()
        .any(|setting| setting.starts_with("search_path="))
}

fn function_name(function: Oid) -> String {
    // SAFETY: a syscache lookup, NULL for a missing function.
    unsafe { nodes::string(pg_sys::get_func_name(function)) }
}

#[derive(Clone, Copy)]
enum Object {
    Function(Oid),
    Type(Oid),
    Relation(Oid),
    Operator(Oid),
}

/// Whether an object is built in or belongs to an exempt role, or to `owner`.
fn is_trusted(object: Object, owner: Option<Oid>) -> bool {
    use pg_sys::SysCacheIdentifier as Cache;
    let (oid, cache, column) = match object {
        Object::Function(oid) => (oid, Cache::PROCOID, pg_sys::Anum_pg_proc_proowner),
        Object::Operator(oid) => (oid, Cache::OPEROID, pg_sys::Anum_pg_operator_oprowner),
        Object::Type(oid) => (oid, Cache::TYPEOID, pg_sys::Anum_pg_type_typowner),
        Object::Relation(oid) => (oid, Cache::RELOID, pg_sys::Anum_pg_class_relowner),
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
