//! PostgreSQL's hooks. They only dispatch.
//!
//! Shape: the outer function owns nothing with a destructor and calls a `#[pg_guard]` function for everything that is ours,
//! then the next hook or PostgreSQL's own function directly. PostgreSQL's errors cross the outer function by longjmp and
//! are never caught or rebuilt, so that they are exactly what they would be without us; ours, panics included, are turned
//! into PostgreSQL's errors by the guard.

use std::ffi::{c_char, c_int, c_void};
use std::time::Instant;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::catalog::known;
use crate::expression::code;
use crate::guard::frames::{self, Kind};
use crate::pg::leaf;
use crate::{audit, gate, guard, redact, rewrite, utility};

/// PostgreSQL's own functions, declared without pgrx's guard.
mod standard {
    use pgrx::pg_sys::*;
    use std::ffi::{c_char, c_int};

    unsafe extern "C-unwind" {
        pub(super) fn standard_planner(
            parse: *mut Query,
            query_string: *const c_char,
            cursor_options: c_int,
            bound_params: ParamListInfo,
        ) -> *mut PlannedStmt;
        pub(super) fn AcceptInvalidationMessages();
        pub(super) fn standard_ExecutorStart(query_desc: *mut QueryDesc, eflags: c_int);
        #[cfg(not(feature = "pg18"))]
        pub(super) fn standard_ExecutorRun(
            query_desc: *mut QueryDesc,
            direction: ScanDirection::Type,
            count: u64,
            execute_once: bool,
        );
        #[cfg(feature = "pg18")]
        pub(super) fn standard_ExecutorRun(query_desc: *mut QueryDesc, direction: ScanDirection::Type, count: u64);
        pub(super) fn standard_ExecutorFinish(query_desc: *mut QueryDesc);
        pub(super) fn standard_ExecutorEnd(query_desc: *mut QueryDesc);
        pub(super) fn standard_ProcessUtility(
            pstmt: *mut PlannedStmt,
            query_string: *const c_char,
            read_only_tree: bool,
            context: ProcessUtilityContext::Type,
            params: ParamListInfo,
            query_env: *mut QueryEnvironment,
            dest: *mut DestReceiver,
            qc: *mut QueryCompletion,
        );
    }
}

static mut NEXT_ANALYZE: pg_sys::post_parse_analyze_hook_type = None;
static mut NEXT_PLANNER: pg_sys::planner_hook_type = None;
static mut NEXT_START: pg_sys::ExecutorStart_hook_type = None;
static mut NEXT_RUN: pg_sys::ExecutorRun_hook_type = None;
static mut NEXT_FINISH: pg_sys::ExecutorFinish_hook_type = None;
static mut NEXT_END: pg_sys::ExecutorEnd_hook_type = None;
static mut NEXT_UTILITY: pg_sys::ProcessUtility_hook_type = None;
static mut NEXT_FMGR: pg_sys::fmgr_hook_type = None;
static mut NEXT_INDEX_NAME: pg_sys::explain_get_index_name_hook_type = None;
static mut NEXT_OBJECT_ACCESS: pg_sys::object_access_hook_type = None;
static mut NEXT_NEEDS_FMGR: pg_sys::needs_fmgr_hook_type = None;

unsafe extern "C-unwind" fn post_parse_analyze(
    pstate: *mut pg_sys::ParseState,
    query: *mut pg_sys::Query,
    jstate: *mut pg_sys::JumbleState,
) {
    if let Some(next) = NEXT_ANALYZE {
        next(pstate, query, jstate);
    }
    watch_errors();
    audit::statement::analysing((*pstate).p_sourcetext, query);
    if !rewrite::naming::is_done(query) {
        analyzed(pstate, query);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn analyzed(pstate: *mut pg_sys::ParseState, query: *mut pg_sys::Query) {
    rewrite::naming::apply(pstate, query);
}

unsafe extern "C-unwind" fn planner(
    parse: *mut pg_sys::Query,
    query_string: *const c_char,
    cursor_options: c_int,
    bound_params: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    take_invalidations();
    audit::statement::analysing(query_string, parse);
    let outcome = if known::is_open_query(parse) {
        rewrite::Outcome::default()
    } else {
        secure(parse, query_string, bound_params)
    };
    let frame = frames::enter(Kind::Planner);
    let since = outcome.concerned.then(Instant::now);
    let plan = match NEXT_PLANNER {
        Some(next) => next(parse, query_string, cursor_options, bound_params),
        None => standard::standard_planner(parse, query_string, cursor_options, bound_params),
    };
    frames::leave(frame);
    if let Some(since) = since {
        planned(
            plan,
            frame,
            outcome.depends_on_statement,
            since.elapsed().as_secs_f64() * 1000.0,
        );
    }
    plan
}

#[pg_guard]
unsafe extern "C-unwind" fn secure(
    parse: *mut pg_sys::Query,
    query_string: *const c_char,
    params: pg_sys::ParamListInfo,
) -> rewrite::Outcome {
    let outcome = rewrite::secure(parse, query_string, params);
    if outcome.concerned {
        // A client can ask for plans to be printed to itself, filters and attribute values included.
        pg_sys::Debug_print_plan = false;
    }
    outcome
}

#[pg_guard]
unsafe extern "C-unwind" fn planned(
    plan: *mut pg_sys::PlannedStmt,
    frame: usize,
    depends_on_statement: bool,
    milliseconds: f64,
) {
    if depends_on_statement {
        gate::mark_plan(plan);
    }
    audit::statement::planned(milliseconds);
    audit::collect::planned(plan, frame);
}

unsafe extern "C-unwind" fn executor_start(query_desc: *mut pg_sys::QueryDesc, eflags: c_int) {
    guard::cursors::starts();
    take_invalidations();
    let open = known::is_open_plan((*query_desc).plannedstmt) && !utility::explain::is_shown(eflags);
    let concealed = !open && check(query_desc, eflags);
    match NEXT_START {
        Some(next) => next(query_desc, eflags),
        None => standard::standard_ExecutorStart(query_desc, eflags),
    }
    if concealed {
        conceal(query_desc);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check(query_desc: *mut pg_sys::QueryDesc, eflags: c_int) -> bool {
    audit::statement::plan_starting(query_desc);
    guard::before_execution(query_desc);
    audit::statement::plan_starts(query_desc);
    utility::explain::at_start(query_desc, eflags)
}

#[pg_guard]
unsafe extern "C-unwind" fn conceal(query_desc: *mut pg_sys::QueryDesc) {
    utility::explain::conceal(query_desc);
}

unsafe extern "C-unwind" fn index_name(index: pg_sys::Oid) -> *const c_char {
    let name = shown_index_name(index);
    match NEXT_INDEX_NAME {
        Some(next) if name.is_null() => next(index),
        _ => name,
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn shown_index_name(index: pg_sys::Oid) -> *const c_char {
    utility::explain::index_name(index).map_or(std::ptr::null(), std::ffi::CStr::as_ptr)
}

#[pg_guard]
unsafe extern "C-unwind" fn go_on(query_desc: *mut pg_sys::QueryDesc) {
    guard::cursors::before_going_on(query_desc);
}

#[cfg(not(feature = "pg18"))]
unsafe extern "C-unwind" fn executor_run(
    query_desc: *mut pg_sys::QueryDesc,
    direction: pg_sys::ScanDirection::Type,
    count: u64,
    execute_once: bool,
) {
    watch_errors();
    let turn = audit::statement::run_begins(query_desc);
    if guard::cursors::concerns(query_desc) {
        go_on(query_desc);
    }
    let frame = frames::enter(Kind::Executor);
    match NEXT_RUN {
        Some(next) => next(query_desc, direction, count, execute_once),
        None => standard::standard_ExecutorRun(query_desc, direction, count, execute_once),
    }
    frames::leave(frame);
    if audit::statement::is_running(query_desc) || turn.is_inner() {
        run_ended(&turn, query_desc, count == 0);
    }
}

#[cfg(feature = "pg18")]
unsafe extern "C-unwind" fn executor_run(
    query_desc: *mut pg_sys::QueryDesc,
    direction: pg_sys::ScanDirection::Type,
    count: u64,
) {
    watch_errors();
    let turn = audit::statement::run_begins(query_desc);
    if guard::cursors::concerns(query_desc) {
        go_on(query_desc);
    }
    let frame = frames::enter(Kind::Executor);
    match NEXT_RUN {
        Some(next) => next(query_desc, direction, count),
        None => standard::standard_ExecutorRun(query_desc, direction, count),
    }
    frames::leave(frame);
    if audit::statement::is_running(query_desc) || turn.is_inner() {
        run_ended(&turn, query_desc, count == 0);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn run_ended(
    turn: *const audit::statement::Turn,
    query_desc: *mut pg_sys::QueryDesc,
    whole: bool,
) {
    audit::statement::run_ends(&*turn, query_desc, whole);
}

#[pg_guard]
unsafe extern "C-unwind" fn plan_ended(query_desc: *mut pg_sys::QueryDesc) {
    audit::statement::plan_ends(query_desc);
}

unsafe extern "C-unwind" fn executor_finish(query_desc: *mut pg_sys::QueryDesc) {
    watch_errors();
    let frame = frames::enter(Kind::Executor);
    match NEXT_FINISH {
        Some(next) => next(query_desc),
        None => standard::standard_ExecutorFinish(query_desc),
    }
    frames::leave(frame);
    after_statement();
}

unsafe extern "C-unwind" fn executor_end(query_desc: *mut pg_sys::QueryDesc) {
    utility::explain::at_end(query_desc);
    match NEXT_END {
        Some(next) => next(query_desc),
        None => standard::standard_ExecutorEnd(query_desc),
    }
    if audit::statement::is_running(query_desc) {
        plan_ended(query_desc);
    }
}

#[allow(clippy::too_many_arguments)] // PostgreSQL's signature
unsafe extern "C-unwind" fn process_utility(
    pstmt: *mut pg_sys::PlannedStmt,
    query_string: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    query_env: *mut pg_sys::QueryEnvironment,
    dest: *mut pg_sys::DestReceiver,
    qc: *mut pg_sys::QueryCompletion,
) {
    let mut stmt = pstmt;
    let course = before_utility(&mut stmt, query_string, context);
    if course.skip {
        return;
    }
    let frame = frames::enter_utility(course.kind, course.watched);
    match NEXT_UTILITY {
        Some(next) => next(stmt, query_string, read_only_tree, context, params, query_env, dest, qc),
        None => {
            standard::standard_ProcessUtility(stmt, query_string, read_only_tree, context, params, query_env, dest, qc)
        }
    }
    frames::leave(frame);
    if utility::follow::is_pending() {
        follow(frame);
    }
    if audit::statement::any() && frames::is_outermost() {
        utility_ended(qc);
    }
    after_statement();
}

#[pg_guard]
unsafe extern "C-unwind" fn utility_ended(qc: *mut pg_sys::QueryCompletion) {
    audit::statement::utility_ends(qc);
}

/// Sees to it that errors of the client's statement pass [`redact`]. Calls nothing of PostgreSQL's.
unsafe fn watch_errors() {
    if frames::is_outermost() {
        redact::install();
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn follow(frame: usize) {
    utility::follow::after(frame);
}

#[pg_guard]
unsafe extern "C-unwind" fn before_utility(
    stmt: *mut *mut pg_sys::PlannedStmt,
    source: *const c_char,
    context: pg_sys::ProcessUtilityContext::Type,
) -> utility::Course {
    watch_errors();
    if frames::is_outermost() {
        audit::statement::utility_begins(*stmt, source);
    }
    utility::before(&mut *stmt, source, context)
}

/// Takes invalidations when a statement of the client ends, since nothing asks for them before the next Bind message uses a
/// saved plan.
unsafe fn after_statement() {
    if frames::is_outermost() {
        take_invalidations();
    }
}

/// Takes what other sessions sent, so that what is known is up to date. Not in databases without the extension.
unsafe fn take_invalidations() {
    if !known::is_absent() && leaf::IsTransactionState() {
        standard::AcceptInvalidationMessages();
    }
}

unsafe extern "C-unwind" fn object_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    part: c_int,
    argument: *mut c_void,
) {
    use pg_sys::ObjectAccessType::{OAT_FUNCTION_EXECUTE, OAT_NAMESPACE_SEARCH};
    if let Some(next) = NEXT_OBJECT_ACCESS {
        next(access, class, object, part, argument);
    }
    match access {
        // Far too frequent to be looked at without need.
        OAT_NAMESPACE_SEARCH => {}
        OAT_FUNCTION_EXECUTE if !code::is_analysing() => {}
        OAT_FUNCTION_EXECUTE => function_called(object),
        _ => object_accessed(access, class, object, part, argument),
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn object_accessed(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    part: c_int,
    argument: *mut c_void,
) {
    utility::accessed(access, class, object, part, argument);
}

unsafe extern "C-unwind" fn needs_fmgr(function: pg_sys::Oid) -> bool {
    NEXT_NEEDS_FMGR.is_some_and(|next| next(function))
        || guard::attached::is_noted(function)
        || (frames::concern_functions() && must_be_called(function))
}

#[pg_guard]
unsafe extern "C-unwind" fn must_be_called(function: pg_sys::Oid) -> bool {
    rewrite::inline::must_not_inline(function) || guard::trust::must_be_noted(function)
}

unsafe extern "C-unwind" fn fmgr(
    event: pg_sys::FmgrHookEventType::Type,
    flinfo: *mut pg_sys::FmgrInfo,
    arg: *mut pg_sys::Datum,
) {
    use pg_sys::FmgrHookEventType::FHET_START;
    if event == FHET_START {
        call_starts(flinfo, arg);
    }
    if let Some(next) = NEXT_FMGR {
        next(event, flinfo, guard::attached::state_of_next(arg));
    }
    if event != FHET_START {
        call_ended(event, (*flinfo).fn_oid, arg);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn call_starts(flinfo: *mut pg_sys::FmgrInfo, state: *mut pg_sys::Datum) {
    guard::attached::started(flinfo, state);
    guard::trust::function_started((*flinfo).fn_oid);
}

#[pg_guard]
unsafe extern "C-unwind" fn call_ended(
    event: pg_sys::FmgrHookEventType::Type,
    function: pg_sys::Oid,
    state: *mut pg_sys::Datum,
) {
    if event == pg_sys::FmgrHookEventType::FHET_END {
        guard::attached::ended(state);
    }
    frames::leave_function(function);
}

#[pg_guard]
unsafe extern "C-unwind" fn function_called(function: pg_sys::Oid) {
    code::before_function(function);
}

/// Installs the hooks. Called once, at server start.
pub(crate) fn init() {
    // SAFETY: the postmaster is single-threaded and loads the library once.
    unsafe {
        NEXT_ANALYZE = pg_sys::post_parse_analyze_hook;
        pg_sys::post_parse_analyze_hook = Some(post_parse_analyze);
        NEXT_PLANNER = pg_sys::planner_hook;
        pg_sys::planner_hook = Some(planner);
        NEXT_START = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(executor_start);
        NEXT_RUN = pg_sys::ExecutorRun_hook;
        pg_sys::ExecutorRun_hook = Some(executor_run);
        NEXT_FINISH = pg_sys::ExecutorFinish_hook;
        pg_sys::ExecutorFinish_hook = Some(executor_finish);
        NEXT_END = pg_sys::ExecutorEnd_hook;
        pg_sys::ExecutorEnd_hook = Some(executor_end);
        NEXT_UTILITY = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(process_utility);
        NEXT_FMGR = pg_sys::fmgr_hook;
        pg_sys::fmgr_hook = Some(fmgr);
        NEXT_INDEX_NAME = pg_sys::explain_get_index_name_hook;
        pg_sys::explain_get_index_name_hook = Some(index_name);
        NEXT_OBJECT_ACCESS = pg_sys::object_access_hook;
        pg_sys::object_access_hook = Some(object_access);
        NEXT_NEEDS_FMGR = pg_sys::needs_fmgr_hook;
        pg_sys::needs_fmgr_hook = Some(needs_fmgr);
    }
}
