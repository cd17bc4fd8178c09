//! Whose code a policy may run.
//!
//! Invariant: no code of a subject takes part in a policy. An expression runs for everyone whose rows are filtered, with raw
//! values as arguments, and is analysed with its writer's rights: functions, operators, casts and domains have to be built
//! in or owned by exempt roles, views in subqueries by those or by the policy's owner. Functions have to mean the same in
//! every session, whatever schemas it searches. The same holds for what the types of values bring with them
//! ([`super::types`]), and while analysis runs: a literal of an array or a row type with domains in it calls their checks
//! before there is a tree to look at.
//!
//! What has been looked at is watched: when it changes, plans and compiled expressions are made and checked anew.

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::c_void;

use pgrx::pg_sys::{self, Datum, HeapTuple, Node, NodeTag, Oid, Query, RTEKind, RangeTblEntry, SubLink};
use pgrx::prelude::*;

use super::compile::Refusal;
use super::instantiate::has_sublinks;
use crate::catalog::epoch;
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

/// Refuses a function that is about to be called during an analysis, for a domain's check. A subject's SQL function may have
/// been replaced by its body: what that could do beside checking is refused too, whoever wrote it.
pub(crate) fn before_function(function: Oid) {
    // SAFETY: a cached lookup of a function that is about to be called.
    let is_volatile = unsafe { pg_sys::func_volatile(function) } as u8 == pg_sys::PROVOLATILE_VOLATILE;
    if is_volatile || runs_text(function) || !is_trusted(Object::Function(function), None) {
        errors::foreign_function(&function_name(function));
    }
}

/// Whether a function of PostgreSQL's own runs the text of a statement, whose names and operators are those of the session.
fn runs_text(function: Oid) -> bool {
    let function = function.to_u32();
    (pg_sys::F_TABLE_TO_XML..=pg_sys::F_QUERY_TO_XML_AND_XMLSCHEMA).contains(&function)
        || (pg_sys::F_SCHEMA_TO_XML..=pg_sys::F_DATABASE_TO_XML_AND_XMLSCHEMA).contains(&function)
        || [
            pg_sys::F_TS_STAT_TEXT,
            pg_sys::F_TS_STAT_TEXT_TEXT,
            pg_sys::F_TS_REWRITE_TSQUERY_TEXT,
        ]
        .contains(&function)
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
pub(super) struct Inspection {
    functions: HashSet<Oid>,
    /// With whether values of the type are made.
    pub(super) types: HashSet<(Oid, bool)>,
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

    pub(super) unsafe fn tree(&mut self, tree: *mut Node) -> Option<String> {
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
        if let Some(culprit) = self.types(node).or_else(|| named_object(node)) {
            return Some(culprit);
        }
        // A subject's own operator could let a built-in function stand for something else.
        let foreign = operators(node).any(|operator| !is_trusted(Object::Operator(operator), None));
        foreign.then(|| "an operator of the expression is neither built in nor owned by an exempt role".into())
    }

    pub(super) unsafe fn function(&mut self, function: Oid) -> Option<String> {
        if runs_text(function) {
            let name = function_name(function);
            return Some(format!(
                "function \"{name}\" runs a text, which means something else in each session"
            ));
        }
        if pg::is_builtin(function) || !self.functions.insert(function) {
            return None;
        }
        // Before anything is read, so that no change is missed.
        epoch::watch_function(function);
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
        let settings = attribute(tuple, pg_sys::Anum_pg_proc_proconfig);
        let pins = |start| settings.is_some_and(|settings| pins(settings, start));
        let (pins_schemas, pins_strings) = (pins("search_path="), pins("standard_conforming_strings="));
        let has_backslash = attribute(tuple, pg_sys::Anum_pg_proc_prosrc)
            .is_some_and(|text| nodes::string(pg_sys::text_to_cstring(text.cast_mut_ptr())).contains('\\'));
        pg_sys::ReleaseSysCache(tuple);

        if kind == pg_sys::PROKIND_AGGREGATE {
            return self.aggregate(function);
        }
        if let Some(body) = body {
            return self.tree(pg_sys::stringToNode(body).cast());
        }
        if [pg_sys::INTERNALlanguageId, pg_sys::ClanguageId].contains(&language) {
            return None;
        }
        // A text is read anew in each session, where its operators and functions could be those of the subject's schemas, and
        // a backslash in a string something else.
        if !pins_schemas {
            return Some(format!(
                "function \"{name}\" has neither a pinned search_path nor a body of the form BEGIN ATOMIC or RETURN"
            ));
        }
        (has_backslash && !pins_strings).then(|| {
            format!("function \"{name}\" has a backslash in its body and does not pin standard_conforming_strings")
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

/// What is wrong with an object that a node names beside types, functions and operators: whoever owns it can change what it
/// compares as equal, or finds in a text.
unsafe fn named_object(node: *mut Node) -> Option<String> {
    let (object, what) = match nodes::tag(node) {
        NodeTag::T_CollateExpr => (
            Object::Collation((*node.cast::<pg_sys::CollateExpr>()).collOid),
            "collation",
        ),
        NodeTag::T_Const => {
            let constant = node.cast::<pg_sys::Const>();
            let oid = Oid::from((*constant).constvalue.value() as u32);
            match (*constant).consttype {
                _ if (*constant).constisnull => return None,
                pg_sys::REGCONFIGOID => (Object::TextSearch(oid), "text search configuration"),
                pg_sys::REGDICTIONARYOID => (Object::Dictionary(oid), "text search dictionary"),
                _ => return None,
            }
        }
        _ => return None,
    };
    (!is_trusted(object, None))
        .then(|| format!("a {what} of the expression is neither built in nor owned by an exempt role"))
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

/// Whether one of a function's settings (`name=value` each) starts like this.
unsafe fn pins(settings: Datum, start: &str) -> bool {
    Vec::<Option<String>>::from_datum(settings, false)
        .into_iter()
        .flatten()
        .flatten()
        .any(|setting| setting.starts_with(start))
}

fn function_name(function: Oid) -> String {
    // SAFETY: a syscache lookup, NULL for a missing function.
    unsafe { nodes::string(pg_sys::get_func_name(function)) }
}

/// An object that somebody owns.
#[derive(Clone, Copy)]
pub(super) enum Object {
    Function(Oid),
    Type(Oid),
    Relation(Oid),
    Operator(Oid),
    Collation(Oid),
    TextSearch(Oid),
    Dictionary(Oid),
}

/// Whether an object is built in or belongs to an exempt role, or to `owner`.
pub(super) fn is_trusted(object: Object, owner: Option<Oid>) -> bool {
    use pg_sys::SysCacheIdentifier as Cache;
    let (oid, cache, column) = match object {
        Object::Function(oid) => (oid, Cache::PROCOID, pg_sys::Anum_pg_proc_proowner),
        Object::Operator(oid) => (oid, Cache::OPEROID, pg_sys::Anum_pg_operator_oprowner),
        Object::Type(oid) => (oid, Cache::TYPEOID, pg_sys::Anum_pg_type_typowner),
        Object::Relation(oid) => (oid, Cache::RELOID, pg_sys::Anum_pg_class_relowner),
        Object::Collation(oid) => (oid, Cache::COLLOID, pg_sys::Anum_pg_collation_collowner),
        Object::TextSearch(oid) => (oid, Cache::TSCONFIGOID, pg_sys::Anum_pg_ts_config_cfgowner),
        Object::Dictionary(oid) => (oid, Cache::TSDICTOID, pg_sys::Anum_pg_ts_dict_dictowner),
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
