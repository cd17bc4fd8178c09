//! Views and functions that an administrator declassified.

use std::collections::HashSet;

use pgrx::pg_sys::Oid;

use crate::pg::scan::Row;

/// The trusted objects that are still what they were when they were trusted.
pub(crate) fn load(_rows: &[Row], _exempt: &HashSet<Oid>) -> Result<HashSet<(Oid, Oid)>, String> {
    Ok(HashSet::new())
}
