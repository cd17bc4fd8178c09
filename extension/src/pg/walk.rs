//! Closures over PostgreSQL's tree walkers and mutators, with the query level of each node.

use std::ffi::{c_int, c_void};

use pgrx::pg_sys::{self, Node, NodeTag, Query};
use pgrx::prelude::*;

/// PostgreSQL's walkers without pgrx's guard, which a walk needs once and not for each node. Up to 15 C declares the callbacks
/// without parameters; they are called with these.
mod unguarded {
    use std::ffi::{c_int, c_void};

    use pgrx::pg_sys::{Node, Query};

    pub(super) type Walker = unsafe extern "C-unwind" fn(*mut Node, *mut c_void) -> bool;
    pub(super) type Mutator = unsafe extern "C-unwind" fn(*mut Node, *mut c_void) -> *mut Node;

    unsafe extern "C-unwind" {
        #[cfg_attr(not(feature = "pg15"), link_name = "query_tree_walker_impl")]
        pub(super) fn query_tree_walker(query: *mut Query, walker: Walker, context: *mut c_void, flags: c_int) -> bool;
        #[cfg_attr(not(feature = "pg15"), link_name = "expression_tree_walker_impl")]
        pub(super) fn expression_tree_walker(node: *mut Node, walker: Walker, context: *mut c_void) -> bool;
        #[cfg_attr(not(feature = "pg15"), link_name = "raw_expression_tree_walker_impl")]
        pub(super) fn raw_expression_tree_walker(node: *mut Node, walker: Walker, context: *mut c_void) -> bool;
        #[cfg_attr(not(feature = "pg15"), link_name = "query_tree_mutator_impl")]
        pub(super) fn query_tree_mutator(
            query: *mut Query,
            mutator: Mutator,
            context: *mut c_void,
            flags: c_int,
        ) -> *mut Query;
        #[cfg_attr(not(feature = "pg15"), link_name = "expression_tree_mutator_impl")]
        pub(super) fn expression_tree_mutator(node: *mut Node, mutator: Mutator, context: *mut c_void) -> *mut Node;
    }
}

/// Calls PostgreSQL so that its errors become panics here.
unsafe fn guarded<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: what is called in between owns nothing with a destructor.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(f) }
}

/// What a walker does after it has seen a node.
#[repr(C)]
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

/// What PostgreSQL's walkers call for each node. It owns nothing with a destructor: PostgreSQL's errors cross it by longjmp,
/// up to the guard around the whole walk.
unsafe extern "C-unwind" fn walk_step(node: *mut Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    match visit(node, context) {
        Walk::Stop => true,
        Walk::Over => false,
        Walk::Into => walk_children(node, context),
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn visit(node: *mut Node, context: *mut c_void) -> Walk {
    // SAFETY: `context` is the WalkContext of the call that started this walk; the walk is not shared.
    let ctx = unsafe { &mut *context.cast::<WalkContext>() };
    (ctx.visit)(node, ctx.level)
}

unsafe fn walk_children(node: *mut Node, context: *mut c_void) -> bool {
    let ctx = context.cast::<WalkContext>();
    if (*ctx).raw {
        return unguarded::raw_expression_tree_walker(node, walk_step, context);
    }
    if (*node).type_ == NodeTag::T_Query {
        (*ctx).level += 1;
        let stopped = unguarded::query_tree_walker(node.cast(), walk_step, context, (*ctx).flags);
        (*ctx).level -= 1;
        stopped
    } else {
        unguarded::expression_tree_walker(node, walk_step, context)
    }
}

impl WalkContext<'_> {
    /// Walks from `node` on, which may be NULL.
    unsafe fn run(mut self, node: *mut Node) -> bool {
        if node.is_null() {
            return false;
        }
        match (self.visit)(node, 0) {
            Walk::Stop => true,
            Walk::Over => false,
            Walk::Into => {
                let context = std::ptr::from_mut(&mut self).cast();
                guarded(|| walk_children(node, context))
            }
        }
    }
}

/// Walks an expression or a query; `visit` gets each node and its query level relative to the start, where nodes of an
/// expression have level 0 and nodes directly inside a [`Query`] passed as the start have level 1. Returns whether a
/// visit asked to stop.
///
/// # Safety
/// `node` is NULL or a valid analysed tree.
pub(crate) unsafe fn walk(node: *mut Node, visit: Visitor) -> bool {
    WalkContext {
        visit,
        level: 0,
        flags: 0,
        raw: false,
    }
    .run(node)
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
    guarded(|| unguarded::query_tree_walker(query, walk_step, context, flags as i32))
}

/// Walks a raw parse tree. Statements that `raw_expression_tree_walker` does not know raise an error.
///
/// # Safety
/// `node` is NULL or a valid raw tree.
pub(crate) unsafe fn walk_raw(node: *mut Node, visit: Visitor) -> bool {
    WalkContext {
        visit,
        level: 0,
        flags: 0,
        raw: true,
    }
    .run(node)
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
    !(*query).hasSubLinks || !unguarded::query_tree_walker(query, find_failing, context, SUBLINKS_ONLY as i32)
}

/// Looks for a query in a sublink that fails the test.
unsafe extern "C-unwind" fn find_failing(node: *mut Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    if (*node).type_ == NodeTag::T_Query {
        // SAFETY: the context is the test of the call that started this walk.
        let test = unsafe { *context.cast::<unsafe fn(*mut Query) -> bool>() };
        return !all_queries(node.cast(), test);
    }
    unguarded::expression_tree_walker(node, find_failing, context)
}

/// Whether a node of `query`, at any level, passes the test. As for [`all_queries`], the caller must own nothing with a
/// destructor.
///
/// # Safety
/// `query` is a valid analysed query; `test` raises nothing.
pub(crate) unsafe fn any_node(query: *mut Query, test: unsafe fn(*mut Node) -> bool) -> bool {
    let mut test = test;
    unguarded::query_tree_walker(query, find_passing, (&raw mut test).cast(), 0)
}

unsafe extern "C-unwind" fn find_passing(node: *mut Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    if (*node).type_ == NodeTag::T_Query {
        return unguarded::query_tree_walker(node.cast(), find_passing, context, 0);
    }
    // SAFETY: the context is the test of the call that started this walk.
    let test = unsafe { *context.cast::<unsafe fn(*mut Node) -> bool>() };
    test(node) || unguarded::expression_tree_walker(node, find_passing, context)
}

/// What [`every_node`] shows nodes to.
struct Showing<'a, C> {
    context: &'a mut C,
    visit: unsafe fn(&mut C, *mut Node) -> bool,
}

/// Shows `query` and every node below it, at all levels and with the entries of range tables, to `visit` until that returns
/// false; returns whether it never did. In contrast to [`walk`], `visit` must neither raise an error nor panic.
///
/// # Safety
/// `query` is a valid analysed query.
pub(crate) unsafe fn every_node<C>(
    query: *mut Query,
    context: &mut C,
    visit: unsafe fn(&mut C, *mut Node) -> bool,
) -> bool {
    let mut showing = Showing { context, visit };
    let showing = (&raw mut showing).cast();
    guarded(|| !show::<C>(query.cast(), showing))
}

unsafe extern "C-unwind" fn show<C>(node: *mut Node, showing: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: the one of the call that started this walk, which is not shared.
    let Showing { context, visit } = unsafe { &mut *showing.cast::<Showing<C>>() };
    if !visit(context, node) {
        return true;
    }
    match (*node).type_ {
        NodeTag::T_Query => {
            let flags = pg_sys::QTW_EXAMINE_RTES_BEFORE as c_int;
            unguarded::query_tree_walker(node.cast(), show::<C>, showing, flags)
        }
        // The walk goes on to its contents by itself.
        NodeTag::T_RangeTblEntry => false,
        _ => unguarded::expression_tree_walker(node, show::<C>, showing),
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

/// What PostgreSQL's mutators call for each node. As [`walk_step`], it owns nothing with a destructor.
unsafe extern "C-unwind" fn mutate_step(node: *mut Node, context: *mut c_void) -> *mut Node {
    if node.is_null() {
        return node;
    }
    let new = replace(node, context);
    if new.is_null() {
        mutate_children(node, context)
    } else {
        new
    }
}

/// What takes the place of the node, NULL for a copy with its children mutated.
#[pg_guard]
unsafe extern "C-unwind" fn replace(node: *mut Node, context: *mut c_void) -> *mut Node {
    // SAFETY: `context` is the MutateContext of the call that started this mutation.
    let ctx = unsafe { &mut *context.cast::<MutateContext>() };
    (ctx.replace)(node, ctx.level).unwrap_or(std::ptr::null_mut())
}

unsafe fn mutate_children(node: *mut Node, context: *mut c_void) -> *mut Node {
    if (*node).type_ != NodeTag::T_Query {
        return unguarded::expression_tree_mutator(node, mutate_step, context);
    }
    let ctx = context.cast::<MutateContext>();
    (*ctx).level += 1;
    let new = unguarded::query_tree_mutator(node.cast(), mutate_step, context, 0);
    (*ctx).level -= 1;
    if (*ctx).sublinks {
        announce_sublinks(new);
    }
    new.cast()
}

/// A sublink that a replacement brought into a query level has to be announced there.
#[pg_guard]
unsafe extern "C-unwind" fn announce_sublinks(query: *mut Query) {
    (*query).hasSubLinks = (*query).hasSubLinks || has_sublinks(query);
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
    if node.is_null() {
        return node;
    }
    match (ctx.replace)(node.cast(), 0) {
        Some(new) => new.cast(),
        None => {
            let context = std::ptr::from_mut(&mut ctx).cast();
            guarded(|| mutate_children(node.cast(), context)).cast()
        }
    }
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
    let context = std::ptr::from_mut(&mut ctx).cast();
    let new = guarded(|| unguarded::query_tree_mutator(query, mutate_step, context, 0));
    *query = *new;
    (*query).hasSubLinks = (*query).hasSubLinks || (sublinks && has_sublinks(query));
}
