//! What hooks report of the client's statements, and what becomes of them with their transactions.
//!
//! Invariant: the end of a statement is recorded as soon as it is certain: outside a transaction block that is when the
//! transaction has committed. A statement whose process died before has a beginning only.

use std::cell::{Cell, RefCell};
use std::ffi::c_char;
use std::time::Instant;

use pgrx::pg_sys::{self, NodeTag, PlannedStmt, QueryDesc};
use pgrx::prelude::*;

pub(crate) use super::open::{any, planned};

use super::event::{Description, PlanDescription};
use super::open::{self, Error, Open, Plan};
use super::settings::{self, Level};
use super::top::{self, Owner, Top};
use super::{collect, literals};
use crate::catalog::Session;
use crate::guard::frames;

/// The last error of a statement of the client.
struct Noted {
    message: i64,
    error: Error,
}

thread_local! {
    static NOTED: RefCell<Option<Noted>> = const { RefCell::new(None) };
    /// Whether an error that is being raised is a refusal by policy.
    static REFUSING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this process records anything at all.
fn records() -> bool {
    // SAFETY: reads backend state.
    unsafe { pg_sys::ParallelWorkerNumber < 0 && !pg_sys::IsBinaryUpgrade }
}

// What hooks report ---------------------------------------------------------------------------------------------------

/// A statement is analysed or planned; `location` and `length` say where it stands in the source.
pub(crate) fn analysing(source: *const c_char, location: i32, length: i32) {
    if frames::is_outermost() {
        starts(Top::pending(source, location, length));
    }
}

fn starts(top: Top) {
    top::set(top);
    collect::forget_concern();
    REFUSING.set(false);
}

/// A utility statement of the client begins.
///
/// # Safety
/// The arguments are valid until it ends.
pub(crate) unsafe fn utility_begins(stmt: *mut PlannedStmt, source: *const c_char) {
    starts(Top::utility(stmt, source));
}

/// The client's utility statement ended well.
///
/// # Safety
/// `completion` is NULL or valid.
pub(crate) unsafe fn utility_ends(completion: *mut pg_sys::QueryCompletion) {
    if top::get().owner != Owner::Utility {
        return;
    }
    let counts = !completion.is_null() && pg_sys::command_tag_display_rowcount((*completion).commandTag);
    let rows = counts.then(|| (*completion).nprocessed);
    open::complete(Owner::Utility, |open| open.rows = rows.or(open.rows));
}

/// A plan is about to be judged by the guard.
///
/// # Safety
/// `query_desc` is the argument of `ExecutorStart_hook`.
pub(crate) unsafe fn plan_starting(query_desc: *mut QueryDesc) {
    if frames::is_outermost() {
        starts(Top::plan(query_desc));
    }
}

/// A plan is about to be started.
///
/// # Safety
/// `query_desc` is the argument of `ExecutorStart_hook`; the guard has let it pass.
pub(crate) unsafe fn plan_starts(query_desc: *mut QueryDesc) {
    let top = top::get();
    // The plan of a cursor outlives the statement that declares it.
    let own = frames::is_outermost() || top.is_directly(NodeTag::T_DeclareCursorStmt);
    touch_plan(if own { Owner::Plan(query_desc) } else { top.owner }, query_desc);
}

unsafe fn touch_plan(owner: Owner, query_desc: *mut QueryDesc) {
    let Some(carried) = collect::carried((*query_desc).plannedstmt) else {
        return;
    };
    if records() {
        let level = carried.level.unwrap_or_else(|| settings::LEVEL.get());
        let plan = Plan {
            number: carried.number,
            json: carried.json,
            masked: carried.masked,
            params: (*query_desc).params,
        };
        open::touch(owner, level, plan);
    }
}

/// A turn of a plan.
pub(crate) struct Turn {
    /// When it began, if anybody wants to know.
    since: Option<Instant>,
    before: Option<Top>,
}

/// A plan is about to run, for the client or for FETCH.
///
/// # Safety
/// `query_desc` is the argument of `ExecutorRun_hook`.
pub(crate) unsafe fn run_begins(query_desc: *mut QueryDesc) -> Turn {
    let outermost = frames::is_outermost();
    if outermost {
        top::set(Top::plan(query_desc));
    } else if top::get().is_directly(NodeTag::T_FetchStmt) {
        // A cursor that a function opened.
        fetches(query_desc);
    }
    if !open::is_open(Owner::Plan(query_desc)) {
        return Turn {
            since: None,
            before: None,
        };
    }
    Turn {
        since: Some(Instant::now()),
        before: (!outermost).then(|| top::set(Top::plan(query_desc))),
    }
}

/// FETCH answers for the rows of a plan that no statement of the client answers for.
#[pg_guard]
unsafe extern "C-unwind" fn fetches(query_desc: *mut QueryDesc) {
    if !open::is_open(Owner::Plan(query_desc)) {
        touch_plan(Owner::Utility, query_desc);
    }
}

/// The turn of a plan has ended well. `whole` says that it ran to its end.
///
/// # Safety
/// As for [`run_begins`].
pub(crate) unsafe fn run_ends(turn: &Turn, query_desc: *mut QueryDesc, whole: bool) {
    let owner = Owner::Plan(query_desc);
    let estate = (*query_desc).estate;
    let rows = if estate.is_null() { 0 } else { (*estate).es_processed };
    let add = |open: &mut Open| {
        // Without a beginning: a function of the statement was the first to come to something governed.
        let milliseconds = turn.since.unwrap_or(open.since).elapsed().as_secs_f64() * 1000.0;
        open.rows = Some(open.rows.unwrap_or(0) + rows);
        open.execution = Some(open.execution.unwrap_or(0.0) + milliseconds);
    };
    // Only a plan that changes something does more when it is finished.
    let done = whole
        && turn.before.is_none()
        && (*query_desc).operation == pg_sys::CmdType::CMD_SELECT
        && !(*(*query_desc).plannedstmt).hasModifyingCTE;
    if done {
        open::complete(owner, add);
    } else {
        open::change(owner, add);
    }
    if let Some(before) = turn.before {
        top::set(before);
    }
}

/// A plan has ended.
pub(crate) fn plan_ends(query_desc: *mut QueryDesc) {
    open::complete(Owner::Plan(query_desc), |_| ());
}

/// A utility statement works on a governed relation without a plan.
pub(super) fn relation_touched(description: PlanDescription, level: Option<Level>) {
    if records()
        && let Ok(json) = serde_json::to_vec(&Description::Plan(description))
    {
        open::touch(
            top::get().owner,
            level.unwrap_or_else(|| settings::LEVEL.get()),
            described(&json),
        );
    }
}

fn described(json: &[u8]) -> Plan<'_> {
    Plan {
        number: collect::next_number(),
        json,
        // What was not planned may have any literal.
        masked: true,
        params: std::ptr::null_mut(),
    }
}

// Refusals and errors -------------------------------------------------------------------------------------------------

/// A policy refuses the running statement, or a part of it: the error is raised right after.
pub(crate) fn refused() {
    if records()
        && !crate::catalog::is_assumed()
        && let Some(attempt) = collect::attempt()
    {
        attempted(attempt);
    }
}

/// The same for a subject that may use no table, where no relation was judged.
pub(super) fn shut_out(session: &Session) {
    if records() && !crate::catalog::is_assumed() {
        attempted(collect::attempt().unwrap_or_else(|| collect::attempt_at(session, &[], &[])));
    }
}

/// A policy refuses what is described.
pub(super) fn attempted(attempt: PlanDescription) {
    let policies: Vec<String> = attempt.policies.iter().map(|applied| applied.policy.clone()).collect();
    let level = crate::catalog::catalog()
        .and_then(|catalog| {
            let overrides = &catalog.audit;
            overrides
                .of_policies(policies.iter().map(String::as_str))
                .or_else(|| overrides.of_subject(&attempt.username, &attempt.roles))
        })
        .unwrap_or_else(|| settings::LEVEL.get());
    if level == Level::Off {
        return;
    }
    if let Ok(json) = serde_json::to_vec(&Description::Plan(attempt)) {
        open::attempted(top::get().owner, described(&json));
        REFUSING.set(true);
    }
}

/// An error is raised, as it is shown. It may be caught yet.
pub(super) fn error_raised(sqlstate: &str, text: &str, by_policy: bool) {
    let error = (sqlstate.to_owned(), literals::shorten(text, false));
    if REFUSING.replace(false) || by_policy {
        open::change(top::get().owner, |open| {
            open.denied.get_or_insert_with(|| error.clone());
        });
    }
    NOTED.set(Some(Noted {
        message: open::message(),
        error,
    }));
}

/// The error that ended the client's statement, if one did.
fn noted() -> Option<Error> {
    let now = open::message();
    NOTED
        .take()
        .filter(|noted| noted.message == now)
        .map(|noted| noted.error)
}

// Transactions --------------------------------------------------------------------------------------------------------

#[pg_guard]
unsafe extern "C-unwind" fn at_transaction(event: pg_sys::XactEvent::Type, _arg: *mut std::ffi::c_void) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    if open::any() {
        end_transaction(event);
    }
    if matches!(event, XACT_EVENT_ABORT | XACT_EVENT_COMMIT | XACT_EVENT_PREPARE) && frames::is_outermost() {
        top::clear();
    }
}

fn end_transaction(event: pg_sys::XactEvent::Type) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    match event {
        XACT_EVENT_COMMIT | XACT_EVENT_PREPARE => open::end(|_| true, |_| None),
        // A procedure's ROLLBACK ends a transaction and not the statement.
        XACT_EVENT_ABORT if !frames::is_outermost() => open::end(|open| open.owner != top::get().owner, |_| None),
        XACT_EVENT_ABORT => {
            let error = noted();
            let (owner, message) = (top::get().owner, open::message());
            open::end(
                |_| true,
                // What ran to its end in the same message failed with its transaction.
                |open| {
                    error
                        .clone()
                        .filter(|_| open.owner == owner || (open.ended.is_some() && open.message == message))
                },
            );
        }
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    _mine: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut std::ffi::c_void,
) {
    if !open::any() || event != pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB || !frames::is_outermost() {
        return;
    }
    let error = noted();
    let owner = top::get().owner;
    let level = pg_sys::GetCurrentTransactionNestLevel();
    open::end(
        |open| (open.owner == owner && error.is_some()) || open.nest_level >= level,
        |open| error.clone().filter(|_| open.owner == owner),
    );
}

/// Registers the callbacks. Called before [`frames::init`], so that they run when the frames that an error left are gone:
/// PostgreSQL calls what was registered last first.
pub(super) fn init() {
    // SAFETY: registers callbacks for the life of the process.
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_transaction), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_subtransaction), std::ptr::null_mut());
    }
}
