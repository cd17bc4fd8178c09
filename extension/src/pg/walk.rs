//! Closures over PostgreSQL's tree walkers and mutators, with the query level of each node.

use std::ffi::c_void;

use pgrx::pg_sys::{self, Node, NodeTag, Query};
use pgrx::prelude::*;

/// What a walker does after it has seen a node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walk {
    /// Go on with the node's children.
    Into,
    /// Leave the children out.
    Over,
    /// End the whole walk.
    Stop,
}

type Visitor<'a> = &'a mut dyn FnMut(*mut Node, u32) -> Walk;

struct WalkContext<'a> {
    visit: Visitor<'a>,
    level: u32,
    flags: i32,
    raw: bool,
}

#[pg_guard]
unsafe extern "C-unwind" fn walk_step(node: *mut Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: `context` is the WalkContext of the call that started this walk; the walk is not shared.
    let ctx = unsafe { &mut *context.cast::<WalkContext>() };
    match (ctx.visit)(node, ctx.level) {
        Walk::Stop => true,
        Walk::Over => false,
        // SAFETY: `node` comes from the tree being walked.
        Walk::Into => unsafe { walk_children(node, ctx) },
    }
}

unsafe fn walk_children(node: *mut Node, ctx: &mut WalkContext) -> bool {
    let context = std::ptr::from_mut(ctx).cast::<c_void>();
    if ctx.raw {
        return pg_sys::raw_expression_tree_walker(node, Some(walk_step), context);
    }
    if (*node).type_ == NodeTag::T_Query {
        ctx.level += 1;
        let flags = ctx.flags;
        let stopped = pg_sys::query_tree_walker(node.cast(), Some(walk_step), context, flags);
        // SAFETY: the walker has returned, nobody else uses the context.
        unsafe { (*context.cast::<WalkContext>()).level -= 1 };
        stopped
    } else {
        pg_sys::expression_tree_walker(node, Some(walk_step), context)
    }
}

/// Walks an expression or a query; `visit` gets each node and its query level relative to the start, where nodes of an
/// expression have level 0 and nodes directly inside a [`Query`] passed as the start have level 1. Returns whether a
/// visit asked to stop.
///
/// # Safety
/// `node` is NULL or a valid analysed tree.
pub(crate) unsafe fn walk(node: *mut Node, visit: Visitor) -> bool {
    let mut ctx = WalkContext {
        visit,
        level: 0,
        flags: 0,
        raw: false,
    };
    walk_step(node, std::ptr::from_mut(&mut ctx).cast())
}

/// Walks what hangs below `query`, with level 0 for its own nodes. `flags` are PostgreSQL's `QTW_*`.
///
/// # Safety
/// `query` is a valid analysed query.
pub(crate) unsafe fn walk_query(query: *mut Query, flags: u32, visit: Visitor) -> bool {
    let mut ctx = WalkContext {
        visit,
        level: 0,
        flags: flags as i32,
        raw: false,
    };
    let context = std::ptr::from_mut(&mut ctx).cast();
    pg_sys::query_tree_walker(query, Some(walk_step), context, flags as i32)
}

/// Walks a raw parse tree. Statements that `raw_expression_tree_walker` does not know raise an error.
///
/// # Safety
/// `node` is NULL or a valid raw tree.
pub(crate) unsafe fn walk_raw(node: *mut Node, visit: Visitor) -> bool {
    let mut ctx = WalkContext {
        visit,
        level: 0,
        flags: 0,
        raw: true,
    };
    walk_step(node, std::ptr::from_mut(&mut ctx).cast())
}

/// Calls `visit` for `query` and every query below it, in FROM, WITH and sublinks, until it returns true; returns whether
/// it did. Expressions are only walked where the query says that they contain sublinks.
///
/// # Safety
/// `query` is a valid analysed query.
pub(crate) unsafe fn any_query(query: *mut Query, visit: &mut dyn FnMut(*mut Query) -> bool) -> bool {
    if visit(query) {
        return true;
    }
    for rte in super::list::iter::<pg_sys::RangeTblEntry>((*query).rtable) {
        let subquery = (*rte).subquery;
        if (*rte).rtekind == pg_sys::RTEKind::RTE_SUBQUERY && !subquery.is_null() && any_query(subquery, visit) {
            return true;
        }
    }
    for cte in super::list::iter::<pg_sys::CommonTableExpr>((*query).cteList) {
        if any_query((*cte).ctequery.cast(), visit) {
            return true;
        }
    }
    (*query).hasSubLinks
        && walk_query(query, SUBLINKS_ONLY, &mut |node, _| {
            if (*node).type_ != NodeTag::T_Query {
                Walk::Into
            } else if any_query(node.cast(), visit) {
                Walk::Stop
            } else {
                Walk::Over
            }
        })
}

/// Calls `test` for `query` and every query below it until it returns false; returns whether it never did. For functions that
/// own nothing with a destructor: PostgreSQL's errors cross it by longjmp.
///
/// # Safety
/// `query` is a valid analysed query; `test` raises nothing.
pub(crate) unsafe fn all_queries(query: *mut Query, test: unsafe fn(*mut Query) -> bool) -> bool {
    if !test(query) {
        return false;
    }
    for rte in super::list::iter::<pg_sys::RangeTblEntry>((*query).rtable) {
        let subquery = (*rte).subquery;
        if (*rte).rtekind == pg_sys::RTEKind::RTE_SUBQUERY && !subquery.is_null() && !all_queries(subquery, test) {
            return false;
        }
    }
    for cte in super::list::iter::<pg_sys::CommonTableExpr>((*query).cteList) {
        if !all_queries((*cte).ctequery.cast(), test) {
            return false;
        }
    }
    let mut test = test;
    let context = (&raw mut test).cast();
    !(*query).hasSubLinks
        || !unguarded::query_tree_walker(query, unguarded::find_failing, context, SUBLINKS_ONLY as i32)
}

/// PostgreSQL's walkers without pgrx's guard.
mod unguarded {
    use std::ffi::{c_int, c_void};

    use pgrx::pg_sys::{Node, NodeTag, Query};

    /// A walker's callback; before 16 C declares it without parameters.
    type Callback = unsafe extern "C-unwind" fn(*mut Node, *mut c_void) -> bool;

    unsafe extern "C-unwind" {
        #[cfg_attr(not(feature = "pg15"), link_name = "query_tree_walker_impl")]
        pub(super) fn query_tree_walker(
            query: *mut Query,
            walker: Callback,
            context: *mut c_void,
            flags: c_int,
        ) -> bool;
        #[cfg_attr(not(feature = "pg15"), link_name = "expression_tree_walker_impl")]
        fn expression_tree_walker(node: *mut Node, walker: Callback, context: *mut c_void) -> bool;
    }

    /// Looks for a query in a sublink that fails the test.
    pub(super) unsafe extern "C-unwind" fn find_failing(node: *mut Node, context: *mut c_void) -> bool {
        if node.is_null() {
            return false;
        }
        if (*node).type_ == NodeTag::T_Query {
            // SAFETY: the context is the test of the call that started this walk.
            let test = unsafe { *context.cast::<unsafe fn(*mut Query) -> bool>() };
            return !super::all_queries(node.cast(), test);
        }
        expression_tree_walker(node, find_failing, context)
    }
}

/// Flags for [`walk_query`]: of the queries below, only those in sublinks.
pub(crate) const SUBLINKS_ONLY: u32 = pg_sys::QTW_IGNORE_RT_SUBQUERIES | pg_sys::QTW_IGNORE_CTE_SUBQUERIES;

type Replacer<'a> = &'a mut dyn FnMut(*mut Node, u32) -> Option<*mut Node>;

struct MutateContext<'a> {
    replace: Replacer<'a>,
    level: u32,
    sublinks: bool,
}

#[pg_guard]
unsafe extern "C-unwind" fn mutate_step(node: *mut Node, context: *mut c_void) -> *mut Node {
    if node.is_null() {
        return node;
    }
    // SAFETY: `context` is the MutateContext of the call that started this mutation.
    let ctx = unsafe { &mut *context.cast::<MutateContext>() };
    if let Some(new) = (ctx.replace)(node, ctx.level) {
        return new;
    }
    // SAFETY: `node` comes from the tree being mutated.
    unsafe {
        if (*node).type_ == NodeTag::T_Query {
            ctx.level += 1;
            let new = mutate_query_children(node.cast(), context);
            (*context.cast::<MutateContext>()).level -= 1;
            // A sublink that a replacement brought into a query level has to be announced there.
            (*new).hasSubLinks = (*new).hasSubLinks || (ctx.sublinks && has_sublinks(new));
            new.cast()
        } else {
            mutate_children(node, context)
        }
    }
}

#[cfg(feature = "pg15")]
type Callback = Option<unsafe extern "C-unwind" fn() -> *mut Node>;

#[cfg(feature = "pg15")]
fn callback() -> Callback {
    // SAFETY: before 16 the C declaration of the callback has no parameter list; it is called with (node, context).
    Some(unsafe {
        std::mem::transmute::<*const (), unsafe extern "C-unwind" fn() -> *mut Node>(mutate_step as *const ())
    })
}

#[cfg(feature = "pg15")]
unsafe fn mutate_children(node: *mut Node, context: *mut c_void) -> *mut Node {
    pg_sys::expression_tree_mutator(node, callback(), context)
}

#[cfg(feature = "pg15")]
unsafe fn mutate_query_children(query: *mut Query, context: *mut c_void) -> *mut Query {
    pg_sys::query_tree_mutator(query, callback(), context, 0)
}

#[cfg(not(feature = "pg15"))]
unsafe fn mutate_children(node: *mut Node, context: *mut c_void) -> *mut Node {
    pg_sys::expression_tree_mutator_impl(node, Some(mutate_step), context)
}

#[cfg(not(feature = "pg15"))]
unsafe fn mutate_query_children(query: *mut Query, context: *mut c_void) -> *mut Query {
    pg_sys::query_tree_mutator_impl(query, Some(mutate_step), context, 0)
}

unsafe fn has_sublinks(query: *mut Query) -> bool {
    walk_query(
        query,
        pg_sys::QTW_IGNORE_RT_SUBQUERIES | pg_sys::QTW_IGNORE_CTE_SUBQUERIES,
        &mut |node, _| match (*node).type_ {
            NodeTag::T_SubLink => Walk::Stop,
            NodeTag::T_Query => Walk::Over,
            _ => Walk::Into,
        },
    )
}

/// Copies an expression, putting what `replace` returns in the place of the nodes it returns something for. The level is
/// 0 for the expression's own nodes.
///
/// # Safety
/// `node` is NULL or a valid analysed expression.
pub(crate) unsafe fn mutate<T>(node: *mut T, replace: Replacer) -> *mut T {
    let mut ctx = MutateContext {
        replace,
        level: 0,
        sublinks: false,
    };
    mutate_step(node.cast(), std::ptr::from_mut(&mut ctx).cast()).cast()
}

/// Replaces nodes everywhere below `query`, in place, with level 0 for its own nodes. When `sublinks` is set, the
/// replacements may contain sublinks and `hasSubLinks` is brought up to date in every level.
///
/// # Safety
/// `query` is a valid analysed query that the caller may modify.
pub(crate) unsafe fn mutate_query(query: *mut Query, sublinks: bool, replace: Replacer) {
    let mut ctx = MutateContext {
        replace,
        level: 0,
        sublinks,
    };
    let new = mutate_query_children(query, std::ptr::from_mut(&mut ctx).cast());
    *query = *new;
    (*query).hasSubLinks = (*query).hasSubLinks || (sublinks && has_sublinks(query));
}
