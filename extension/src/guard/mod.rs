//! The executor guard: the last line before rows are read.
//!
//! Invariant: a plan runs for a subject only when each governed relation in it carries the proof that it was rewritten for
//! this subject under the policies in force. Nothing else is trusted, neither the rewriter nor the plan cache.

pub(crate) mod attached;
pub(crate) mod cursors;
pub(crate) mod frames;
pub(crate) mod integrity;
pub(crate) mod trust;

use std::ffi::CStr;

use pgrx::pg_sys::{self, PlannedStmt, QueryDesc, RTEKind, RangeTblEntry};

use crate::catalog::governance::State;
use crate::catalog::{self, epoch};
use crate::pg::list;
use crate::redact;
use crate::{errors, gate};

/// Checks a plan that is about to run.
///
/// # Safety
/// `query_desc` is the argument of `ExecutorStart_hook`.
pub(crate) unsafe fn before_execution(query_desc: *mut QueryDesc) {
    if !epoch::is_installed() {
        return;
    }
    // A worker runs a part of a plan that its leader has checked; the proof does not travel to it. What functions run inside
    // the worker is planned there and is checked.
    if pg_sys::ParallelWorkerNumber >= 0 && frames::executor_depth() == 0 {
        return;
    }
    let Some(session) = catalog::current() else { return };
    // A plan of a trusted function has no proof, and fails here as soon as it is started from anywhere else.
    if frames::in_trusted_function() {
        return;
    }
    let stmt: *mut PlannedStmt = (*query_desc).plannedstmt;
    let mut depends_on_statement = false;
    for rte in list::iter::<RangeTblEntry>((*stmt).rtable) {
        if (*rte).rtekind != RTEKind::RTE_RELATION {
            continue;
        }
        if session.is_open((*rte).relid) || session.is_unrestricted((*rte).relid) {
            continue;
        }
        if (*rte).enrname.is_null() {
            // What the planner put in after the rewriting, like a function's statement, is nothing to wonder about here.
            if session.governance((*rte).relid).state == State::ShutOut {
                errors::shut_out(&session);
            }
            errors::unproven_relation();
        }
        if !session.firing.accepts(CStr::from_ptr((*rte).enrname)) {
            pg_sys::ResetPlanCache();
            errors::stale_plan();
        }
        let governance = session.governance((*rte).relid);
        depends_on_statement |= governance.asks_query;
        redact::value::before_execution(&session, &governance);
    }
    if depends_on_statement {
        gate::plan_used();
    }
    cursors::checked(stmt);
}
