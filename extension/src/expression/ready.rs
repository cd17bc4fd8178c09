//! Expressions that are ready for use, with a subject's values in them.
//!
//! Invariant: what is kept here was made since the last change that this session heard of, whatever changed, and for a subject
//! and policies of the same content.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::pg_sys::{self, Node, Oid};

use super::Kind;
use crate::catalog::known;
use crate::catalog::mixing::Mixed;
use crate::pg::nodes;

/// What is ready.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// A policy's expression.
    Expression {
        /// The subject's digest, which is that of the policies too.
        digest: u64,
        /// The relation whose row the expression is about.
        relid: Oid,
        /// The index of its policy in the catalog.
        policy: usize,
        /// What it is used for.
        kind: Kind,
    },
    /// What the subject gets for the columns of a relation, as a list of targets.
    Columns {
        /// The subject's digest.
        digest: u64,
        /// That of what decision functions answered.
        firing: u64,
        /// The relation.
        relid: Oid,
        /// Whether being hidden by default does not count.
        waived: bool,
    },
}

#[derive(Default)]
struct Cache {
    changes: u64,
    trees: HashMap<Key, *mut Node, Mixed>,
    context: Option<pg_sys::MemoryContext>,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// A copy of what was kept, in the current memory context, with Vars of varno 1.
pub(crate) fn find(key: &Key) -> Option<*mut Node> {
    let tree = CACHE.with_borrow(|cache| {
        let current = cache.changes == known::changes();
        current.then(|| cache.trees.get(key).copied()).flatten()
    })?;
    // SAFETY: the cache's context is emptied only in `keep`.
    Some(unsafe { nodes::copy(tree) })
}

/// Keeps a copy of an expression, or of a list of them, with Vars of varno 1, unless something changed since `changes` was the number of changes.
///
/// # Safety
/// `tree` is valid and has no subqueries, which are rewritten anew for each statement.
pub(crate) unsafe fn keep(changes: u64, key: Key, tree: *mut Node) {
    if changes != known::changes() {
        return;
    }
    let (stale, context) = CACHE.with_borrow(|cache| (cache.changes != changes, cache.context));
    let context = context.unwrap_or_else(|| {
        pg_sys::AllocSetContextCreateInternal(
            pg_sys::CacheMemoryContext,
            c"betweenrows ready expressions".as_ptr(),
            0,
            8 * 1024,
            8 * 1024 * 1024,
        )
    });
    CACHE.with_borrow_mut(|cache| {
        cache.context = Some(context);
        if stale {
            cache.trees.clear();
            cache.changes = changes;
        }
    });
    if stale {
        pg_sys::MemoryContextReset(context);
    }
    let old = pg_sys::MemoryContextSwitchTo(context);
    let kept = nodes::copy(tree);
    pg_sys::MemoryContextSwitchTo(old);
    CACHE.with_borrow_mut(|cache| cache.trees.insert(key, kept));
}
