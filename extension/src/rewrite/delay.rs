//! Conditions of the statement that a row filter's place as a security qual does not keep behind the filter.
//!
//! Invariant: what these conditions call is called for visible rows only.
//!
//! * A volatile function without columns. PostgreSQL takes such a condition for leakproof (`contain_leaked_vars`) and may
//!   evaluate it first (`order_qual_clauses`), behind leakproof conditions on other columns: in `id = 3 AND f('x')` each call
//!   of `f` would tell of a hidden row with that id. A mask or a hidden column makes such conditions too, when what it puts
//!   there is a constant.
//! * The value of a subquery that does not refer to the row. The planner computes it once, when it is asked for first, and PostgreSQL
//!   takes it for a constant: `n < (SELECT 1 / 0)` fails if a hidden row is compared, and only then.
//! * Whatever is not leakproof, in a statement that changes a foreign table: the other server would evaluate it beside the
//!   filter, or before it, when the filter cannot be evaluated there.
//!
//! They are put into COALESCE, a node that `contain_leaked_vars` does not know and takes for leaky, and that is not sent to
//! other servers. NULL and false are the same to a condition.

use pgrx::pg_sys::{self, BoolExpr, CoalesceExpr, FromExpr, JoinExpr, Node, NodeTag, Oid, Query, SubLink};
use pgrx::prelude::*;

use super::safety;
use crate::pg::walk::{self, Walk};
use crate::pg::{list, nodes};

/// Tells for a condition without AND whether it has to be delayed.
type Test = unsafe fn(*mut Node) -> bool;

/// Delays the conditions of one query level that act or fail whatever the row is.
///
/// # Safety
/// `query` may be modified.
pub(super) unsafe fn telling_conditions(query: *mut Query) {
    delay_in_query(query, is_telling);
}

/// Delays the conditions that are not leakproof, at this and all deeper levels: a subquery can become a join.
///
/// # Safety
/// `query` may be modified.
pub(super) unsafe fn leaky_conditions(query: *mut Query) {
    walk::any_query(query, &mut |query| {
        delay_in_query(query, is_leaky);
        false
    });
}

unsafe fn delay_in_query(query: *mut Query, test: Test) {
    delay_in_tree((*query).jointree.cast(), test);
    // MERGE's condition is a part of the jointree before 17.
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    {
        (*query).mergeJoinCondition = delayed((*query).mergeJoinCondition, test);
    }
}

unsafe fn delay_in_tree(node: *mut Node, test: Test) {
    if nodes::is_a(node, NodeTag::T_FromExpr) {
        let from = node.cast::<FromExpr>();
        list::iter::<Node>((*from).fromlist).for_each(|item| delay_in_tree(item, test));
        (*from).quals = delayed((*from).quals, test);
    } else if nodes::is_a(node, NodeTag::T_JoinExpr) {
        let join = node.cast::<JoinExpr>();
        delay_in_tree((*join).larg, test);
        delay_in_tree((*join).rarg, test);
        (*join).quals = delayed((*join).quals, test);
    }
}

unsafe fn delayed(condition: *mut Node, test: Test) -> *mut Node {
    if nodes::is_a(condition, NodeTag::T_BoolExpr) {
        let all = condition.cast::<BoolExpr>();
        if (*all).boolop == pg_sys::BoolExprType::AND_EXPR {
            for index in 0..list::len((*all).args) {
                list::set((*all).args, index, delayed(list::nth((*all).args, index), test));
            }
            return condition;
        }
    }
    if nodes::is_a(condition, NodeTag::T_CoalesceExpr) || !test(condition) {
        return condition;
    }
    let coalesce = nodes::make::<CoalesceExpr>(NodeTag::T_CoalesceExpr);
    (*coalesce).coalescetype = pg_sys::BOOLOID;
    (*coalesce).args = list::push(list::of(condition), nodes::boolean(false));
    (*coalesce).location = -1;
    coalesce.cast()
}

unsafe fn is_telling(condition: *mut Node) -> bool {
    is_volatile(condition) || safety::has_failing_subquery(condition)
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

/// Whether a condition may reveal what it is evaluated for. A subquery that is a condition of its own is judged by what it
/// is compared with, so that it can become a join. Columns of outer levels count too, other than for `contain_leaked_vars`:
/// when the subquery has become a join, they are columns of this one.
unsafe fn is_leaky(condition: *mut Node) -> bool {
    let condition = if nodes::is_a(condition, NodeTag::T_SubLink) {
        (*condition.cast::<SubLink>()).testexpr
    } else {
        condition
    };
    let calls_leaky = walk::walk(condition, &mut |node, _| match nodes::tag(node) {
        NodeTag::T_Query => Walk::Over,
        _ if pg_sys::check_functions_in_node(node, Some(is_leaky_function), std::ptr::null_mut()) => Walk::Stop,
        _ => Walk::Into,
    });
    calls_leaky || pg_sys::contain_leaked_vars(condition)
}

#[pg_guard]
unsafe extern "C-unwind" fn is_leaky_function(function: Oid, _context: *mut std::ffi::c_void) -> bool {
    !pg_sys::get_func_leakproof(function)
}
