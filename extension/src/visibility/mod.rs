//! What is hidden is not found in the system catalogs.
//!
//! Invariant: no statement of a subject reads a row of a system catalog that names or describes a relation or a column that
//! does not exist for the subject, nor statistics of values or rows that it may not see, at any level of the statement,
//! in PostgreSQL's own views over the catalogs as well.
//!
//! [`catalogs`] says which catalogs are filtered and how, [`judge`] decides about objects, [`functions`] are the SQL
//! functions that the filters call for each row.

mod catalogs;
mod functions;
mod judge;

use pgrx::pg_sys::{Node, Oid};

use self::catalogs::Reach;
use crate::catalog::Session;
use crate::pg::{self, nodes};

/// Whether reading this system catalog has to be filtered for the subject. Nothing is, and nothing costs anything, when no
/// policy can hide anything from it.
pub(crate) fn filters(session: &Session, relid: Oid) -> bool {
    if !pg::is_builtin(relid) {
        return false;
    }
    match catalogs::find(relid) {
        None => false,
        Some(catalog) => match catalog.reach {
            Reach::Names => session.may_hide(),
            Reach::Values => session.may_restrict(),
        },
    }
}

/// Whether a relation of any kind exists for the subject, an index with all that it is about.
pub(crate) fn shows(session: &Session, relid: Oid) -> bool {
    let session = session.clone();
    judge::Judge { session }.relation(relid)
}

/// The filters, with Vars of `varno`.
///
/// # Safety
/// The result is put into a statement that reads `relid` as its entry `varno`.
pub(crate) unsafe fn quals(session: &Session, relid: Oid, varno: i32) -> *mut Node {
    let Some(catalog) = catalogs::find(relid) else {
        return std::ptr::null_mut();
    };
    let quals: Vec<*mut Node> = catalog
        .rules
        .iter()
        .map(|rule| rule.qual(session, relid, varno))
        .collect();
    nodes::and(&quals)
}
