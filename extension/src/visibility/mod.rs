//! What is hidden is not found in the system catalogs.

use pgrx::pg_sys::{Node, Oid};

use crate::catalog::Session;

/// Whether reading this system catalog has to be filtered for the subject.
pub(crate) fn filters(_session: &Session, _relid: Oid) -> bool {
    false
}

/// The filters, with Vars of `varno`.
pub(crate) fn quals(_session: &Session, _relid: Oid, _varno: i32) -> Vec<*mut Node> {
    Vec::new()
}
