//! What hooks report of the client's statements, and what becomes of them with their transactions.
//!
//! Invariant: the end of a statement is recorded as soon as it is certain, and before its client hears of it: a refusal when
//! it is raised, an error when it is about to be told to the client, success when the transaction has committed, in a
//! transaction block when the statement has ended. A statement whose process died before has a beginning only.

use std::cell::{Cell, RefCell};
use std::ffi::c_char;
use std::time::Instant;

use pgrx::pg_sys::{self, CmdType, CommandDest, ErrorData, NodeTag, PlannedStmt, QueryDesc};
use pgrx::prelude::*;

pub(crate) use super::open::{any, planned};

use super::carried::{Carried, carried};
use super::collect;
use super::event::{Description, PlanDescription};
use super::literals;
use super::open::{self, Error, Open, Plan};
use super::overrides::{Overrides, Wanted};
use super::settings::{self, Level};
use super::top::{self, Owner, Top};
use crate::catalog::Session;
use crate::guard::frames;
use crate::pg::{leaf, nodes};

/// The last error of a statement of the client.
struct Noted {
    message: i64,
    error: Error,
}

thread_local! {
    static NOTED: RefCell<Option<Noted>> = const { RefCell::new(None) };
    /// Whether an error that is being raised is a refusal by policy.
    static REFUSING: Cell<bool> = const { Cell::new(false) };
    /// The plan that the guard judges.
    static JUDGED: Cell<*mut QueryDesc> = const { Cell::new(std::ptr::null_mut()) };
}

/// Whether this process records anything at all.
fn records() -> bool {
    // SAFETY: reads backend state.
    unsafe { pg_sys::ParallelWorkerNumber < 0 && !pg_sys::IsBinaryUpgrade }
}

// What hooks report ---------------------------------------------------------------------------------------------------

/// A statement is analysed or planned.
///
/// # Safety
/// The arguments are valid until that ends.
pub(crate) unsafe fn analysing(source: *const c_char, query: *mut pg_sys::Query) {
    if frames::is_outermost() {
        starts(Top::pending(source, query));
    }
}

/// A statement could not be analysed; `location` and `length` say where it stands in the client's message.
pub(super) fn not_analysed(location: i32, length: i32) {
    if frames::is_outermost() {
        starts(Top::unknown(location, length));
    }
}

fn starts(top: Top) {
    top::set(top);
    collect::forget_concern();
    REFUSING.set(false);
    forget_noted();
    JUDGED.set(std::ptr::null_mut());
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
    open::complete(Owner::Utility, |open| {
        open.turn_ends(None);
        open.rows = rows.or(open.rows);
    });
}

/// A plan is about to be judged by the guard.
///
/// # Safety
/// `query_desc` is the argument of `ExecutorStart_hook`.
pub(crate) unsafe fn plan_starting(query_desc: *mut QueryDesc) {
    if frames::is_outermost() {
        starts(Top::plan(query_desc));
    }
    JUDGED.set(query_desc);
}

/// A plan is about to be started.
///
/// # Safety
/// `query_desc` is the argument of `ExecutorStart_hook`; the guard has let it pass.
pub(crate) unsafe fn plan_starts(query_desc: *mut QueryDesc) {
    JUDGED.set(std::ptr::null_mut());
    touch_plan(owner_of(query_desc), query_desc);
}

/// What answers for a plan that is started.
unsafe fn owner_of(query_desc: *mut QueryDesc) -> Owner {
    let top = top::get();
    // The plan of a cursor outlives the statement that declares it.
    let own = frames::is_outermost() || top.is_directly(NodeTag::T_DeclareCursorStmt);
    if own { Owner::Plan(query_desc) } else { top.owner }
}

unsafe fn touch_plan(owner: Owner, query_desc: *mut QueryDesc) {
    let Some(carried) = carried((*query_desc).plannedstmt) else {
        return;
    };
    if records() {
        open::touch(owner, carried.wanted.level(), carried.plan((*query_desc).params));
        if owner == Owner::Plan(query_desc) {
            // It does not run yet.
            open::change(owner, |open| open.turn = None);
        }
    }
}

impl Carried<'_> {
    fn plan(&self, params: pg_sys::ParamListInfo) -> Plan<'_> {
        Plan {
            number: self.number,
            json: self.json,
            masked: self.masked,
            params,
        }
    }
}

/// A turn of a plan, and the statement that it is a part of, if any.
pub(crate) struct Turn {
    within: Option<Top>,
}

impl Turn {
    /// Whether what was being run before has to be put back.
    pub(crate) fn is_inner(&self) -> bool {
        self.within.is_some()
    }
}

/// Whether a plan is that of a statement that goes on and is to be recorded. Calls nothing of PostgreSQL's.
pub(crate) fn is_running(query_desc: *mut QueryDesc) -> bool {
    open::change(Owner::Plan(query_desc), |_| ()).is_some()
}

/// A plan is about to run, for the client or for FETCH.
///
/// # Safety
/// `query_desc` is the argument of `ExecutorRun_hook`.
pub(crate) unsafe fn run_begins(query_desc: *mut QueryDesc) -> Turn {
    let outermost = frames::is_outermost();
    if outermost {
        top::set(Top::plan(query_desc));
        open::adopt(Owner::Plan(query_desc));
    } else if top::get().is_directly(NodeTag::T_FetchStmt) {
        // A cursor that a function opened.
        fetches(query_desc);
    }
    let within = (!outermost).then(top::get);
    let own = open::change(Owner::Plan(query_desc), |open| {
        open.turn = Some(Instant::now());
        open.within = within.map(|top| (top, leaf::GetCurrentTransactionNestLevel()));
    });
    if own.is_none() {
        return Turn { within: None };
    }
    if !outermost {
        top::set(Top::plan(query_desc));
    }
    Turn { within }
}

/// FETCH answers for the rows of a plan that no statement of the client answers for.
#[pg_guard]
unsafe extern "C-unwind" fn fetches(query_desc: *mut QueryDesc) {
    if open::change(Owner::Plan(query_desc), |_| ()).is_none() {
        touch_plan(Owner::Utility, query_desc);
    }
}

/// The turn of a plan has ended well. `whole` says that it ran to its end.
///
/// # Safety
/// As for [`run_begins`].
pub(crate) unsafe fn run_ends(turn: &Turn, query_desc: *mut QueryDesc, whole: bool) {
    let owner = Owner::Plan(query_desc);
    let (rows, stored) = rows_of_turn(query_desc);
    // What is stored for FETCH goes to the client with it.
    let again = stored && turn.within.is_none();
    let add = |open: &mut Open| {
        if again {
            open.rows = None;
        }
        open.turn_ends(Some(rows));
    };
    // Only a plan that changes something does more when it is finished.
    let done = whole
        && turn.within.is_none()
        && (*query_desc).operation == pg_sys::CmdType::CMD_SELECT
        && !(*(*query_desc).plannedstmt).hasModifyingCTE;
    if done {
        open::complete(owner, add);
    } else {
        open::change(owner, add);
    }
    if let Some(within) = turn.within {
        top::set(within);
    }
}

/// How many rows a turn sent or changed, and whether those of earlier turns are among them, should they be stored for good.
unsafe fn rows_of_turn(query_desc: *mut QueryDesc) -> (u64, bool) {
    let (estate, dest) = ((*query_desc).estate, (*query_desc).dest);
    if estate.is_null() || dest.is_null() {
        return (0, false);
    }
    match (*dest).mydest {
        // MOVE.
        CommandDest::DestNone if (*query_desc).operation == CmdType::CMD_SELECT => (0, false),
        // What a cursor WITH HOLD keeps when its transaction commits: all rows of one that can scroll.
        CommandDest::DestTuplestore => {
            let portal = pg_sys::ActivePortal;
            let scrolls = !portal.is_null()
                && (*portal).queryDesc == query_desc
                && (*portal).cursorOptions & pg_sys::CURSOR_OPT_SCROLL as i32 != 0;
            ((*estate).es_processed, scrolls)
        }
        _ => ((*estate).es_processed, false),
    }
}

/// How many rows the client was sent of what a plan found in this turn.
unsafe fn sent(owner: Owner) -> Option<u64> {
    let Owner::Plan(query_desc) = owner else { return None };
    let (estate, dest) = ((*query_desc).estate, (*query_desc).dest);
    let sends = !estate.is_null()
        && !dest.is_null()
        && matches!((*dest).mydest, CommandDest::DestRemote | CommandDest::DestRemoteExecute)
        && (*query_desc).operation == CmdType::CMD_SELECT
        && !(*(*query_desc).plannedstmt).hasModifyingCTE;
    sends.then(|| (*estate).es_processed)
}

/// A plan has ended.
pub(crate) fn plan_ends(query_desc: *mut QueryDesc) {
    open::complete(Owner::Plan(query_desc), |_| ());
}

/// A utility statement works on a governed relation without a plan.
pub(super) fn relation_touched(description: PlanDescription, wanted: Wanted) {
    if records()
        && let Ok(json) = serde_json::to_vec(&Description::Plan(description))
    {
        open::touch(top::get().owner, wanted.level(), described(&json));
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
    if !crate::catalog::is_assumed()
        && let Some(attempt) = collect::attempt()
    {
        attempted(attempt, true);
    }
}

/// The same where maybe no relation was judged.
pub(super) fn refused_somewhere(session: &Session) {
    if !crate::catalog::is_assumed() {
        attempted(
            collect::attempt().unwrap_or_else(|| collect::attempt_at(session, &[], &[])),
            true,
        );
    }
}

/// The running statement cannot go on since policies have changed: the error is raised right after.
pub(crate) fn outdated() {
    if let Some(attempt) = collect::attempt() {
        attempted(attempt, false);
    }
}

/// The statement comes to what is described, and that is not run; `refused` says that a policy is the reason.
pub(super) fn attempted(attempt: PlanDescription, refused: bool) {
    let (user, roles, relations) = (&attempt.username, &attempt.roles, &attempt.relations);
    let wanted = |overrides: &Overrides| overrides.wanted(user, roles, relations, attempt.policies.iter());
    let level =
        crate::catalog::catalog().map_or_else(|| settings::LEVEL.get(), |catalog| wanted(&catalog.audit).level());
    if level == Level::Off || !records() {
        return;
    }
    if let Ok(json) = serde_json::to_vec(&Description::Plan(attempt)) {
        let only_denied = refused || level == Level::Denied;
        open::attempted(top::get().owner, described(&json), only_denied, None);
        if refused {
            REFUSING.set(true);
        }
    }
}

/// Whether a governed statement is rewritten, planned or judged, so that an error would be its end.
pub(super) fn is_preparing() -> bool {
    !JUDGED.get().is_null() || collect::is_preparing()
}

/// An error is raised, as it is shown. It may be caught yet.
pub(super) fn error_raised(sqlstate: &str, text: &str, by_policy: bool) {
    let error = (sqlstate.to_owned(), literals::message(text, sqlstate));
    let judged = JUDGED.replace(std::ptr::null_mut());
    // SAFETY: the plan is being judged, and the guard has raised the error.
    unsafe {
        if !judged.is_null()
            && let Some(carried) = carried((*judged).plannedstmt)
        {
            never_ran(owner_of(judged), &carried, None);
        }
    }
    let owner = top::get().owner;
    open::change(owner, |open| {
        // SAFETY: the plan is in the middle of its turn.
        open.sent = open.turn.and_then(|_| unsafe { sent(owner) });
    });
    if REFUSING.replace(false) || by_policy {
        open::refused(owner, &error);
    }
    NOTED.set(Some(Noted {
        message: open::message(),
        error,
    }));
}

/// The statement has come to something governed and failed before that could run.
fn never_ran(owner: Owner, carried: &Carried, parameters: Option<serde_json::Value>) {
    let level = carried.wanted.level();
    if records() && level != Level::Off {
        let plan = carried.plan(std::ptr::null_mut());
        open::attempted(owner, plan, level == Level::Denied, parameters);
    }
}

/// What was rewritten or planned at this level of subtransactions and deeper has failed.
fn preparations_failed(nest_level: i32) {
    for failed in collect::failed(nest_level) {
        if let Some(carried) = failed.carried() {
            never_ran(top::get().owner, &carried, failed.parameters.clone());
        }
    }
}

/// Whether an error that is told to the client would be of interest. Calls nothing of PostgreSQL's.
pub(crate) fn cares_about_ends() -> bool {
    open::any() || collect::is_preparing()
}

/// An error is about to be told to the client, since nobody has caught it: the statement has ended with it, and so has what
/// ran to its end in the same message, whose transaction fails. The transaction is about to be aborted.
///
/// # Safety
/// `error` is the argument of `emit_log_hook`.
pub(crate) unsafe fn error_told(error: *mut ErrorData) {
    let sqlstate = super::sqlstate((*error).sqlerrcode);
    let text = literals::message(&nodes::string((*error).message), &sqlstate);
    forget_noted();
    ends_with((sqlstate, text));
}

fn ends_with(error: Error) {
    preparations_failed(0);
    let (owner, message) = (top::get().running(), open::message());
    // What has ended before in a pipeline may have had a plan at the same place.
    let ends = |open: &Open| match open.ended {
        None => Some(open.owner) == owner,
        Some(_) => open.message == message,
    };
    open::end(ends, |_| Some(error.clone()));
}

/// A function has caught an error of what it fetched from cursors of the client, which have failed with it.
fn fetches_failed(nest_level: i32) {
    let Some((within, failed)) = open::failed_turns(nest_level) else {
        return;
    };
    let error = NOTED.with_borrow(|noted| noted.as_ref().map(|noted| noted.error.clone()));
    open::end(
        |open| open.ended.is_none() && failed.contains(&open.owner),
        |_| error.clone(),
    );
    top::set(within);
}

fn forget_noted() {
    NOTED.with_borrow_mut(|noted| {
        if noted.is_some() {
            *noted = None;
        }
    });
}

/// The error that ended the client's statement, if one did and was not told to the log and the client.
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
    if cares_about_ends() {
        end_transaction(event);
    }
    if matches!(event, XACT_EVENT_ABORT | XACT_EVENT_COMMIT | XACT_EVENT_PREPARE) && frames::is_outermost() {
        top::clear();
    }
}

fn end_transaction(event: pg_sys::XactEvent::Type) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    let running = (!frames::is_outermost()).then(|| top::get().owner);
    // A procedure that ends transactions goes on.
    let others = |open: &Open| open.ended.is_some() || Some(open.owner) != running;
    match event {
        XACT_EVENT_COMMIT | XACT_EVENT_PREPARE => open::end(others, |_| None),
        XACT_EVENT_ABORT if running.is_some() => open::end(others, |_| None),
        XACT_EVENT_ABORT => {
            if let Some(error) = noted() {
                ends_with(error);
            }
            open::end(|_| true, |_| None);
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
    use pg_sys::SubXactEvent::{SUBXACT_EVENT_ABORT_SUB, SUBXACT_EVENT_COMMIT_SUB};
    if !cares_about_ends() {
        return;
    }
    let level = leaf::GetCurrentTransactionNestLevel();
    if event == SUBXACT_EVENT_COMMIT_SUB {
        open::released(level);
    }
    if event != SUBXACT_EVENT_ABORT_SUB {
        return;
    }
    if !frames::is_outermost() {
        // Somebody has caught the error, if there was one.
        fetches_failed(level);
        return preparations_failed(level);
    }
    if let Some(error) = noted() {
        ends_with(error);
    }
    open::end(|open| open.nest_level >= level, |_| None);
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
