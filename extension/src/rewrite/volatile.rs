//! Conditions that look at no row, yet tell how many rows they are evaluated for.
//!
//! Invariant: a volatile function in a condition is called for visible rows only. PostgreSQL takes a condition without
//! columns for leakproof (`contain_leaked_vars`) and may evaluate it before a row filter (`order_qual_clauses`), behind
//! leakproof conditions on other columns: in `id = 3 AND f('x')` each call of `f` would tell of a hidden row with that id.
//! A mask or a hidden column makes such conditions too, when what it puts there is a constant.

use pgrx::pg_sys::{self, BoolExpr, CoalesceExpr, FromExpr, JoinExpr, Node, NodeTag, Oid, Query};
use pgrx::prelude::*;

use crate::pg::walk::{self, Walk};
use crate::pg::{list, nodes};

/// Keeps the volatile conditions of one query level behind all row filters.
///
/// # Safety
/// `query` may be modified.
pub(super) unsafe fn delay_conditions(query: *mut Query) {
    delay_in_tree((*query).jointree.cast());
}

unsafe fn delay_in_tree(node: *mut Node) {
    if nodes::is_a(node, NodeTag::T_FromExpr) {
        let from = node.cast::<FromExpr>();
        list::iter::<Node>((*from).fromlist).for_each(|item| delay_in_tree(item));
        (*from).quals = delayed((*from).quals);
    } else if nodes::is_a(node, NodeTag::T_JoinExpr) {
        let join = node.cast::<JoinExpr>();
        delay_in_tree((*join).larg);
        delay_in_tree((*join).rarg);
        (*join).quals = delayed((*join).quals);
    }
}

/// The same condition, with what is volatile in it inside COALESCE: a node that `contain_leaked_vars` does not know and takes
/// for leaky. NULL and false are the same to a condition.
unsafe fn delayed(condition: *mut Node) -> *mut Node {
    if nodes::is_a(condition, NodeTag::T_BoolExpr) {
        let all = condition.cast::<BoolExpr>();
        if (*all).boolop == pg_sys::BoolExprType::AND_EXPR {
            for index in 0..list::len((*all).args) {
                list::set((*all).args, index, delayed(list::nth((*all).args, index)));
            }
            return condition;
        }
    }
    if !is_volatile(condition) {
        return condition;
    }
    let coalesce = nodes::make::<CoalesceExpr>(NodeTag::T_CoalesceExpr);
    (*coalesce).coalescetype = pg_sys::BOOLOID;
    (*coalesce).args = list::push(list::of(condition), nodes::boolean(false));
    (*coalesce).location = -1;
    coalesce.cast()
}

/// Whether a condition calls a volatile function itself, and not only in a subquery, which has conditions of its own.
unsafe fn is_volatile(condition: *mut Node) -> bool {
    walk::walk(condition, &mut |node, _| match nodes::tag(node) {
        NodeTag::T_Query => Walk::Over,
        NodeTag::T_NextValueExpr => Walk::Stop,
        _ if pg_sys::check_functions_in_node(node, Some(is_volatile_function), std::ptr::null_mut()) => Walk::Stop,
        _ => Walk::Into,
    })
}

#[pg_guard]
unsafe extern "C-unwind" fn is_volatile_function(function: Oid, _context: *mut std::ffi::c_void) -> bool {
    pg_sys::func_volatile(function) as u8 == pg_sys::PROVOLATILE_VOLATILE
}
