//! Cursors and portals: queries that go on after they were started, maybe for somebody else.
//!
//! Invariant: rows of governed relations go to the subject that the query was started for, while that one is active. A query
//! that has started reads on as it was opened whatever happens to the policies meanwhile; what a cursor keeps beyond its
//! transaction is judged by the policies in force when it is fetched.

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::pg_sys::{self, FetchStmt, Oid, PlannedStmt, Portal, QueryDesc, RTEKind, RangeTblEntry};

use super::frames;
use crate::audit;
use crate::catalog::governance::State;
use crate::catalog::{self, Session, epoch, known};
use crate::errors;
use crate::pg::{leaf, list};

/// A plan, how many changes were heard of, and who asked.
type Checked = (*mut PlannedStmt, u64, Oid, Oid);

thread_local! {
    /// What was checked last: nearly always the plan that has just been started.
    static CHECKED: Cell<Checked> = const { Cell::new((std::ptr::null_mut(), 0, Oid::INVALID, Oid::INVALID)) };
}

fn now(stmt: *mut PlannedStmt) -> Checked {
    (stmt, known::changes(), leaf::GetSessionUserId(), leaf::GetUserId())
}

/// Notes that a plan is about to be started, maybe in the place of one that was checked.
pub(crate) fn starts() {
    CHECKED.set((std::ptr::null_mut(), 0, Oid::INVALID, Oid::INVALID));
}

/// Notes that a plan was checked for whoever asks now.
pub(super) fn checked(stmt: *mut PlannedStmt) {
    CHECKED.set(now(stmt));
}

/// Whether a plan that is about to run, or to go on, has to be looked at. Calls nothing that can raise an error.
///
/// # Safety
/// `query_desc` is the argument of `ExecutorRun_hook`.
pub(crate) unsafe fn concerns(query_desc: *mut QueryDesc) -> bool {
    let stmt = (*query_desc).plannedstmt;
    if CHECKED.get() == now(stmt) || known::is_open_plan(stmt) {
        return false;
    }
    // What a cursor WITH HOLD stores when its transaction commits is judged when it is fetched.
    let dest = (*query_desc).dest;
    dest.is_null() || (*dest).mydest != pg_sys::CommandDest::DestTuplestore
}

/// Checks a plan that goes on.
///
/// # Safety
/// `query_desc` is the argument of `ExecutorRun_hook`.
pub(crate) unsafe fn before_going_on(query_desc: *mut QueryDesc) {
    if !epoch::is_installed()
        || frames::in_trusted_function()
        || (pg_sys::ParallelWorkerNumber >= 0 && frames::executor_depth() == 0)
    {
        return;
    }
    let stmt = (*query_desc).plannedstmt;
    if let Some(session) = catalog::current() {
        check(&session, stmt, false);
    }
    checked(stmt);
}

/// Checks the portal that FETCH or MOVE is about: rows that it has stored pass no other hook.
///
/// # Safety
/// `fetch` is a valid statement.
pub(crate) unsafe fn before_fetch(fetch: *mut FetchStmt) {
    let portal: Portal = pg_sys::GetPortalByName((*fetch).portalname);
    if portal.is_null() || !epoch::is_installed() || frames::in_trusted_function() {
        return;
    }
    pg_sys::AcceptInvalidationMessages();
    let Some(session) = catalog::current() else { return };
    let is_kept = (*portal).createSubid == 0;
    if (*portal).stmts.is_null() && !(*portal).holdStore.is_null() && session.may_restrict() {
        // Nobody knows any more what the rows come from.
        audit::refused_somewhere(&session);
        errors::foreign_cursor();
    }
    for stmt in list::iter::<PlannedStmt>((*portal).stmts) {
        check(&session, stmt, is_kept);
    }
}

/// Refuses a plan with governed relations that was made for another subject; with `strictly`, or under other policies.
unsafe fn check(session: &Session, stmt: *mut PlannedStmt, strictly: bool) {
    for rte in list::iter::<RangeTblEntry>((*stmt).rtable) {
        let relid = (*rte).relid;
        if (*rte).rtekind != RTEKind::RTE_RELATION || session.is_open(relid) || session.is_unrestricted(relid) {
            continue;
        }
        audit::collect::consider(session, &session.governance(relid), false);
        if session.governance(relid).state == State::ShutOut {
            errors::shut_out(session);
        }
        let proof = if (*rte).enrname.is_null() {
            c""
        } else {
            CStr::from_ptr((*rte).enrname)
        };
        if !session.is_proof_for_subject(proof) {
            errors::foreign_cursor();
        }
        if strictly && !session.firing.accepts(proof) {
            errors::stale_cursor();
        }
    }
}
