//! Putting a compiled expression into a statement: constants for the subject's attributes, the relation's range table
//! index, and rewritten subqueries.
//!
//! Invariant: what an instantiated expression reads in its subqueries carries the proof that the guard asks for, so that it
//! is neither filtered nor refused.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum, Node, NodeTag, Oid, Query, RangeTblEntry, SubLink};
use pgrx::prelude::*;
use policy::attribute::Value;

use super::compile::Compiled;
use crate::catalog::Session;
use crate::catalog::subject::AttributeError;
use crate::errors;
use crate::pg::walk::{self, Walk};
use crate::pg::{list, nodes};

/// A copy of the expression for the session's subject.
///
/// # Safety
/// `compiled` was looked up just before.
pub(crate) unsafe fn instantiate(session: &Session, compiled: &Compiled) -> *mut Node {
    let keys = &compiled.keys;
    let tree = walk::mutate(compiled.tree(), &mut |node, _| {
        if !nodes::is_a(node, NodeTag::T_Param) {
            return None;
        }
        let param = node.cast::<pg_sys::Param>();
        if (*param).paramkind != pg_sys::ParamKind::PARAM_EXTERN {
            return None;
        }
        let key = &keys[(*param).paramid as usize - 1];
        Some(constant(session, key, (*param).paramtype))
    });
    rewrite_sublinks(tree, session.proof());
    tree
}

/// Whether the expression contains a subquery.
///
/// # Safety
/// `tree` is a valid expression.
pub(crate) unsafe fn has_sublinks(tree: *mut Node) -> bool {
    !tree.is_null() && pg_sys::checkExprHasSubLink(tree)
}

/// Lets the rewriter expand views and add native row security in the subqueries, with the rights already set in them.
unsafe fn rewrite_sublinks(tree: *mut Node, proof: &CStr) {
    walk::walk(tree, &mut |node, _| {
        if !nodes::is_a(node, NodeTag::T_SubLink) {
            return Walk::Into;
        }
        let sublink = node.cast::<SubLink>();
        let query = (*sublink).subselect.cast::<Query>();
        pg_sys::AcquireRewriteLocks(query, true, false);
        let rewritten = pg_sys::QueryRewrite(query);
        if list::len(rewritten) != 1 {
            errors::policy_unusable();
        }
        let query: *mut Query = list::nth(rewritten, 0);
        (*sublink).subselect = query.cast();
        mark_proven(query, proof);
        if !(*sublink).testexpr.is_null() {
            rewrite_sublinks((*sublink).testexpr, proof);
        }
        Walk::Over
    });
}

/// Gives every relation below `query` the proof.
///
/// # Safety
/// `query` may be modified.
pub(crate) unsafe fn mark_proven(query: *mut Query, proof: &CStr) {
    walk::any_query(query, &mut |query| {
        for rte in list::iter::<RangeTblEntry>((*query).rtable) {
            if (*rte).rtekind == pg_sys::RTEKind::RTE_RELATION {
                (*rte).enrname = pg_sys::pstrdup(proof.as_ptr());
            }
        }
        false
    });
}

/// The value of an attribute as a constant of the given type. A missing required value refuses the statement.
unsafe fn constant(session: &Session, key: &str, type_oid: Oid) -> *mut Node {
    let value = match key {
        "username" => Value::String(session.subject.name.clone()),
        "id" => match session.subject.user {
            Some(id) => return uuid(id),
            None => Value::Null,
        },
        key => match session.subject.attribute(&session.catalog, key) {
            Ok(value) => value,
            Err(AttributeError::Required) => errors::attribute_required(key),
            Err(AttributeError::Undefined | AttributeError::Invalid) => errors::policy_unusable(),
        },
    };
    let datum = match value {
        Value::Null => None,
        Value::String(text) => text.into_datum(),
        Value::Integer(number) => number.into_datum(),
        Value::Boolean(truth) => truth.into_datum(),
        Value::List(texts) => texts.into_datum(),
    };
    let Some(datum) = datum else {
        return nodes::null(type_oid, -1, pg_sys::get_typcollation(type_oid));
    };
    make_const(type_oid, datum)
}

unsafe fn uuid(id: u128) -> *mut Node {
    // A uuid datum points to its 16 bytes in network order.
    let value = pg_sys::palloc(16).cast::<[u8; 16]>();
    *value = id.to_be_bytes();
    make_const(pg_sys::UUIDOID, Datum::from(value))
}

unsafe fn make_const(type_oid: Oid, datum: Datum) -> *mut Node {
    let (mut length, mut by_value) = (0, false);
    pg_sys::get_typlenbyval(type_oid, &mut length, &mut by_value);
    let collation = pg_sys::get_typcollation(type_oid);
    pg_sys::makeConst(type_oid, -1, collation, i32::from(length), datum, false, by_value).cast()
}
