//! PostgreSQL's functions that cannot raise an error, declared without pgrx's guard, which costs more than they do.
//!
//! Each of them only reads or sets variables of the backend, or walks nodes in its own code; none allocates, looks a catalog
//! up, checks for interrupts or takes a lock. What may raise does not belong here.

use std::ffi::c_int;

use pgrx::pg_sys::{Node, Oid, Query, TimestampTz};

unsafe extern "C-unwind" {
    /// The current role. Reads a variable.
    pub(crate) safe fn GetUserId() -> Oid;
    /// The login role, or the one of SET SESSION AUTHORIZATION. Reads a variable.
    pub(crate) safe fn GetSessionUserId() -> Oid;
    /// The current role and the flags of its security context. Reads variables.
    pub(crate) fn GetUserIdAndSecContext(user: *mut Oid, context: *mut c_int);
    /// How deeply subtransactions are nested. Reads a variable.
    pub(crate) safe fn GetCurrentTransactionNestLevel() -> c_int;
    /// When the client's message came in. Reads a variable.
    pub(crate) safe fn GetCurrentStatementStartTimestamp() -> TimestampTz;
    /// Whether the client has begun a transaction itself. Reads a variable.
    pub(crate) safe fn IsTransactionBlock() -> bool;
    /// The clock. Asks the operating system.
    pub(crate) safe fn GetCurrentTimestamp() -> TimestampTz;
    /// Whether catalogs can be read. Reads a variable.
    pub(crate) safe fn IsTransactionState() -> bool;
    /// The query inside a utility statement, NULL when there is none. Looks at nodes.
    pub(crate) fn UtilityContainsQuery(stmt: *mut Node) -> *mut Query;
}
