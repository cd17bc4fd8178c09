//! Which statements reveal nothing about the rows that their functions are called for.

use pgrx::pg_sys::Query;

/// Whether every function of the statement, at all levels, is known to reveal nothing.
///
/// # Safety
/// `query` is a valid rewritten query.
pub(crate) unsafe fn is_transparent(_query: *mut Query) -> bool {
    false
}
