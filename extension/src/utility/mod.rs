//! Utility statements: COPY, EXPLAIN, TRUNCATE, and everything that defines, alters, drops or maintains.
//!
//! Invariant: no utility statement of a subject moves rows or values past the policies, runs code over rows it does not show,
//! changes what policies hang on, or tells whether a hidden relation exists. What a statement names is judged before it runs
//! ([`names`], [`ddl`]); what it reaches beyond that, while it runs ([`net`]).

mod copy;
mod ddl;
pub(crate) mod explain;
pub(crate) mod follow;
mod maintenance;
mod members;
mod names;
mod net;
mod plan;
mod truncate;

use std::ffi::{c_char, c_void};

use pgrx::pg_sys::{self, Node, NodeTag, PlannedStmt};
use policy::access::Standing;

use crate::catalog::{self, epoch};
use crate::errors;
use crate::guard::cursors;
use crate::guard::frames::Kind;
use crate::pg::nodes;

/// How a utility statement is to be run.
#[repr(C)]
pub(crate) struct Course {
    /// What its frame is.
    pub(crate) kind: Kind,
    /// Whether what it defines, alters or drops has to be judged for a subject.
    pub(crate) watched: bool,
    /// Whether it has nothing to do, because what it is about does not exist for the subject and it says IF EXISTS.
    pub(crate) skip: bool,
}

/// Judges a utility statement and replaces it where it must not run as written.
///
/// # Safety
/// The arguments are those of `ProcessUtility_hook`.
pub(crate) unsafe fn before(
    stmt: &mut *mut PlannedStmt,
    source: *const c_char,
    context: pg_sys::ProcessUtilityContext::Type,
) -> Course {
    let node = (**stmt).utilityStmt;
    let mut course = Course {
        kind: kind(node),
        watched: false,
        skip: false,
    };
    if is_about_no_relation(node) || !epoch::is_installed() {
        return course;
    }
    // A plan that EXECUTE is about to use may be out of date.
    pg_sys::AcceptInvalidationMessages();
    if nodes::is_a(node, NodeTag::T_FetchStmt) {
        cursors::before_fetch(node.cast());
        return course;
    }
    judge(stmt, source, context, &mut course);
    if !course.skip {
        follow::before(node);
    }
    course
}

/// Judges a statement if a subject asks.
unsafe fn judge(
    stmt: &mut *mut PlannedStmt,
    source: *const c_char,
    context: pg_sys::ProcessUtilityContext::Type,
    course: &mut Course,
) {
    let Some(session) = catalog::current().filter(catalog::Session::may_restrict) else {
        return;
    };
    course.watched = true;
    if session.subject.standing != Standing::Admitted && !is_judged_by_its_queries((**stmt).utilityStmt) {
        errors::shut_out(&session);
    }
    if context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_SUBCOMMAND {
        // A part of a statement that was judged as a whole.
        return;
    }
    let node = (**stmt).utilityStmt;
    match nodes::tag(node) {
        NodeTag::T_CopyStmt => {
            if copy::before(&session, stmt) {
                // The query is ours: its names are not the client's.
                course.kind = Kind::Routine;
            }
        }
        NodeTag::T_ExplainStmt => explain::before(&session, stmt, source),
        NodeTag::T_TruncateStmt => truncate::before(&session, node.cast()),
        _ => {
            refuse_by_transaction(node, context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL);
            ddl::before(&session, stmt, source, course);
        }
    }
}

/// Whether what a statement may do is decided where its relations are read or written. All others, like LOCK and whatever defines
/// something, are not for a subject that may use no table.
unsafe fn is_judged_by_its_queries(node: *mut Node) -> bool {
    use NodeTag::*;
    matches!(
        nodes::tag(node),
        T_CopyStmt
            | T_TruncateStmt
            | T_ExplainStmt
            | T_PrepareStmt
            | T_ExecuteStmt
            | T_DeclareCursorStmt
            | T_DoStmt
            | T_CallStmt
    )
}

/// What PostgreSQL refuses before it looks at a name, so that a hidden one is not told from a missing one by the other error.
unsafe fn refuse_by_transaction(node: *mut pg_sys::Node, top_level: bool) {
    match nodes::tag(node) {
        NodeTag::T_LockStmt => pg_sys::RequireTransactionBlock(top_level, c"LOCK TABLE".as_ptr()),
        NodeTag::T_VacuumStmt if (*node.cast::<pg_sys::VacuumStmt>()).is_vacuumcmd => {
            pg_sys::PreventInTransactionBlock(top_level, c"VACUUM".as_ptr());
        }
        _ => {}
    }
}

/// Looks at what PostgreSQL does with an object.
///
/// # Safety
/// The arguments are those of `object_access_hook`, for events about definitions and TRUNCATE.
pub(crate) unsafe fn accessed(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    part: i32,
    argument: *mut c_void,
) {
    if net::is_internal(access, argument) {
        return;
    }
    follow::accessed(access, class, object, part);
    net::accessed(access, class, object);
}

/// What the statement's frame is: whether it runs or analyses statements that the client did not write here.
unsafe fn kind(node: *mut Node) -> Kind {
    use NodeTag::*;
    match nodes::tag(node) {
        T_DoStmt | T_CallStmt | T_CreateFunctionStmt | T_CreateExtensionStmt | T_AlterExtensionStmt => Kind::Routine,
        T_ExplainStmt => Kind::Explain,
        _ => Kind::Utility,
    }
}

/// Statements that name no relation and change none, among them those that run in an aborted transaction.
unsafe fn is_about_no_relation(node: *mut Node) -> bool {
    use NodeTag::*;
    matches!(
        nodes::tag(node),
        T_TransactionStmt
            | T_VariableSetStmt
            | T_VariableShowStmt
            | T_ClosePortalStmt
            | T_ListenStmt
            | T_UnlistenStmt
            | T_NotifyStmt
            | T_DeallocateStmt
            | T_DiscardStmt
            | T_CheckPointStmt
    )
}
