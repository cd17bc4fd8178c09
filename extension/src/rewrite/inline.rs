//! Set-returning SQL functions, which the planner would inline after the rewriting, body and all.

use pgrx::pg_sys::{self, Datum, Oid};

use crate::catalog;
use crate::guard::frames;

/// Whether a function must be called instead of inlined: a set-returning SQL function in a statement of a subject. The call
/// plans the body as a statement of its own, which is governed.
///
/// PostgreSQL asks this for inlining and for calling; only what is asked during planning counts, so that calls cost nothing.
pub(crate) fn must_not_inline(function: Oid) -> bool {
    if !frames::planning() || !catalog::epoch::is_installed() {
        return false;
    }
    // SAFETY: the tuple is read before it is released.
    let set_returning_sql = unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::PROCOID as _, Datum::from(function));
        if tuple.is_null() {
            return false;
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>();
        let found = (*form).proretset && (*form).prolang == Oid::from(pg_sys::SQLlanguageId);
        pg_sys::ReleaseSysCache(tuple);
        found
    };
    set_returning_sql && catalog::current().is_some_and(|session| !session.catalog.is_empty())
}
