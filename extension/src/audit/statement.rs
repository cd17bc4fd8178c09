//! The statements that are running: which one of the client's is responsible for what happens, and how each ends.
//!
//! Invariants: the first thing that a statement does with something governed is to put its beginning into the spool, or it is
//! refused. Its end follows as soon as it is certain: outside a transaction block that is when the transaction has committed.
//! A statement whose process died in between has a beginning only. An error here never takes the place of a statement's own.

use std::cell::{Cell, RefCell};
use std::ffi::c_char;
use std::rc::Rc;
use std::time::Instant;

use pgrx::pg_sys::{self, NodeTag, PlannedStmt, QueryDesc};
use pgrx::prelude::*;

use super::event::{Description, Finish, PlanDescription, Start, StatementDescription, Status, Touch};
use super::settings::{self, Level, Overflow};
use super::spool::frame::Kind;
use super::spool::{self, Failure};
use super::{collect, literals, who};
use crate::guard::frames;
use crate::pg::nodes;

/// What is being run for the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    /// Nothing is known yet: the statement is analysed or planned.
    Pending,
    /// A utility statement.
    Utility,
    /// A plan, which may belong to a portal that is run in several turns.
    Plan(*mut QueryDesc),
}

/// The client's statement that is running, as far as hooks have seen it. The pointers are valid while it runs.
#[derive(Clone, Copy)]
struct Top {
    owner: Owner,
    stmt: *mut PlannedStmt,
    source: *const c_char,
    location: i32,
    length: i32,
}

const NOTHING: Top = Top {
    owner: Owner::Pending,
    stmt: std::ptr::null_mut(),
    source: std::ptr::null(),
    location: 0,
    length: 0,
};

/// A statement of the client that has come to something governed.
struct Open {
    owner: Owner,
    number: u64,
    /// The client's message.
    message: i64,
    nest_level: i32,
    /// What is kept until it is known that it is recorded.
    held: Vec<(u64, Vec<u8>)>,
    plans: Vec<u64>,
    start: Start,
    session: (u64, Rc<[u8]>),
    statement: Vec<u8>,
    /// Whether its beginning is in the spool.
    written: bool,
    /// Whether its beginning was lost, which was counted.
    lost: bool,
    /// Whether only a refusal makes it an event.
    only_denied: bool,
    /// A policy refused it or a part of it: the error's code and message.
    denied: Option<(String, String)>,
    rows: Option<u64>,
    execution: Option<f64>,
    /// When it was opened.
    since: Instant,
    /// When it ended, while its transaction has not.
    ended: Option<i64>,
}

/// The last error of a statement of the client.
struct Noted {
    message: i64,
    sqlstate: String,
    text: String,
}

thread_local! {
    static TOP: Cell<Top> = const { Cell::new(NOTHING) };
    static OPEN: RefCell<Vec<Open>> = const { RefCell::new(Vec::new()) };
    static ANY: Cell<bool> = const { Cell::new(false) };
    static NOTED: RefCell<Option<Noted>> = const { RefCell::new(None) };
    static PLANNING: Cell<(i64, f64)> = const { Cell::new((0, 0.0)) };
    static EVENTS: Cell<u64> = const { Cell::new(0) };
    /// Whether an error that is being raised is a refusal by policy.
    static REFUSING: Cell<bool> = const { Cell::new(false) };
}

fn message() -> i64 {
    // SAFETY: reads backend state.
    unsafe { pg_sys::GetCurrentStatementStartTimestamp() }
}

/// Whether this process records anything at all.
fn records() -> bool {
    // SAFETY: reads backend state.
    unsafe { pg_sys::ParallelWorkerNumber < 0 && pg_sys::IsUnderPostmaster && !pg_sys::IsBinaryUpgrade }
}

// What hooks report ---------------------------------------------------------------------------------------------------

/// A statement is analysed or planned; `location` and `length` say where it stands in the source.
pub(crate) fn analysing(source: *const c_char, location: i32, length: i32) {
    if frames::is_outermost() {
        set_top(Top {
            owner: Owner::Pending,
            stmt: std::ptr::null_mut(),
            source,
            location,
            length,
        });
    }
}

fn set_top(top: Top) {
    TOP.set(top);
    collect::forget_concern();
    REFUSING.set(false);
}

/// A governed statement was planned, in this time.
pub(crate) fn planned(milliseconds: f64) {
    let (known, so_far) = PLANNING.get();
    let now = message();
    PLANNING.set((
        now,
        if known == now {
            so_far + milliseconds
        } else {
            milliseconds
        },
    ));
}

/// A utility statement of the client begins.
///
/// # Safety
/// The arguments are valid until it ends.
pub(crate) unsafe fn utility_begins(stmt: *mut PlannedStmt, source: *const c_char) {
    set_top(Top {
        owner: Owner::Utility,
        stmt,
        source,
        location: (*stmt).stmt_location,
        length: (*stmt).stmt_len,
    });
}

/// The client's utility statement ended well.
///
/// # Safety
/// `completion` is NULL or valid.
pub(crate) unsafe fn utility_ends(completion: *mut pg_sys::QueryCompletion) {
    if !ANY.get() || TOP.get().owner != Owner::Utility {
        return;
    }
    let counts = !completion.is_null() && pg_sys::command_tag_display_rowcount((*completion).commandTag);
    let rows = counts.then(|| (*completion).nprocessed);
    complete(Owner::Utility, |open| open.rows = rows.or(open.rows));
}

/// A plan is about to be judged by the guard.
///
/// # Safety
/// `query_desc` is the argument of `ExecutorStart_hook`.
pub(crate) unsafe fn plan_starting(query_desc: *mut QueryDesc) {
    if frames::is_outermost() {
        set_top(top_of(query_desc));
    }
}

/// A plan is about to be started.
///
/// # Safety
/// `query_desc` is the argument of `ExecutorStart_hook`; the guard has let it pass.
pub(crate) unsafe fn plan_starts(query_desc: *mut QueryDesc) {
    let owner = Owner::Plan(query_desc);
    let Some(carried) = collect::carried((*query_desc).plannedstmt) else {
        return;
    };
    if !records() {
        return;
    }
    let level = carried.level.unwrap_or_else(|| settings::LEVEL.get());
    // The plan of a cursor outlives the statement that declares it.
    let owner = if frames::is_outermost() || declares_cursor() {
        owner
    } else {
        TOP.get().owner
    };
    touch(owner, level, carried.number, carried.json, (*query_desc).params);
}

/// Whether the plan that is started now is that of the client's DECLARE CURSOR.
unsafe fn declares_cursor() -> bool {
    let top = TOP.get();
    top.owner == Owner::Utility
        && frames::depth() == 1
        && nodes::is_a((*top.stmt).utilityStmt, NodeTag::T_DeclareCursorStmt)
}

unsafe fn top_of(query_desc: *mut QueryDesc) -> Top {
    let stmt = (*query_desc).plannedstmt;
    Top {
        owner: Owner::Plan(query_desc),
        stmt,
        source: (*query_desc).sourceText,
        location: (*stmt).stmt_location,
        length: (*stmt).stmt_len,
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
        TOP.set(top_of(query_desc));
    }
    if !outermost && fetches() {
        // A cursor that a function opened.
        touch_again(query_desc);
    }
    if ANY.get() {
        let owner = Owner::Plan(query_desc);
        if OPEN.with_borrow(|open| open.iter().any(|open| open.owner == owner && open.ended.is_none())) {
            return Turn {
                since: Some(Instant::now()),
                before: (!outermost).then(|| TOP.replace(top_of(query_desc))),
            };
        }
    }
    Turn {
        since: None,
        before: None,
    }
}

/// Whether the client's FETCH runs a plan.
unsafe fn fetches() -> bool {
    let top = TOP.get();
    top.owner == Owner::Utility && frames::depth() == 1 && nodes::is_a((*top.stmt).utilityStmt, NodeTag::T_FetchStmt)
}

/// FETCH answers for the rows of a plan that no statement of the client answers for.
#[pg_guard]
unsafe extern "C-unwind" fn touch_again(query_desc: *mut QueryDesc) {
    let known = OPEN.with_borrow(|open| open.iter().any(|open| open.owner == Owner::Plan(query_desc)));
    if known || !records() {
        return;
    }
    if let Some(carried) = collect::carried((*query_desc).plannedstmt) {
        let level = carried.level.unwrap_or_else(|| settings::LEVEL.get());
        touch(
            Owner::Utility,
            level,
            carried.number,
            carried.json,
            (*query_desc).params,
        );
    }
}

/// The turn of a plan has ended well. `whole` says that it ran to its end.
///
/// # Safety
/// As for [`run_begins`].
pub(crate) unsafe fn run_ends(turn: &Turn, query_desc: *mut QueryDesc, whole: bool) {
    let owner = Owner::Plan(query_desc);
    let rows = if (*query_desc).estate.is_null() {
        0
    } else {
        (*(*query_desc).estate).es_processed
    };
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
        complete(owner, add);
    } else {
        change(owner, add);
    }
    if let Some(before) = turn.before {
        TOP.set(before);
    }
}

/// A plan has ended.
pub(crate) fn plan_ends(query_desc: *mut QueryDesc) {
    if ANY.get() {
        complete(Owner::Plan(query_desc), |_| ());
    }
}

/// A utility statement works on a governed relation without a plan.
pub(crate) fn relation_touched(description: PlanDescription, level: Option<Level>) {
    if !records() {
        return;
    }
    let level = level.unwrap_or_else(|| settings::LEVEL.get());
    if let Ok(json) = serde_json::to_vec(&Description::Plan(description)) {
        touch(
            TOP.get().owner,
            level,
            collect::next_number(),
            &json,
            std::ptr::null_mut(),
        );
    }
}

// Beginnings ----------------------------------------------------------------------------------------------------------

/// The statement has come to what `json` describes. Raises an error when that cannot be recorded and has to be.
fn touch(owner: Owner, level: Level, plan: u64, json: &[u8], params: pg_sys::ParamListInfo) {
    if level == Level::Off {
        return;
    }
    let only_denied = level == Level::Denied;
    adopt(owner);
    let known = OPEN.with_borrow_mut(|all| {
        let open = all
            .iter_mut()
            .find(|open| open.owner == owner && open.ended.is_none())?;
        if open.plans.contains(&plan) {
            return Some(None);
        }
        open.plans.push(plan);
        open.only_denied &= only_denied;
        if !open.written {
            open.held.push((plan, json.to_vec()));
        }
        Some(Some((open.number, open.written, open.only_denied, open.lost)))
    });
    match known {
        Some(None) => {}
        Some(Some((number, true, ..))) => {
            let body = serde_json::to_vec(&Touch { plan }).unwrap_or_default();
            write_or_refuse(&[(plan, json)], &[(Kind::Touch, number, &body)]);
        }
        Some(Some((_, false, false, false))) => begin(owner),
        Some(_) => {}
        None => {
            open(owner, plan, json, only_denied, params);
            if !only_denied {
                begin(owner);
            }
        }
    }
}

/// What was recorded while the statement was planned belongs to whatever runs it.
fn adopt(owner: Owner) {
    if !ANY.get() || owner == Owner::Pending {
        return;
    }
    let message = message();
    OPEN.with_borrow_mut(|all| {
        if let Some(open) = all
            .iter_mut()
            .find(|open| open.owner == Owner::Pending && open.message == message && open.ended.is_none())
        {
            open.owner = owner;
        }
    });
}

/// Opens an event.
fn open(owner: Owner, plan: u64, json: &[u8], only_denied: bool, params: pg_sys::ParamListInfo) {
    let (planned, planning) = PLANNING.get();
    let message = message();
    let masked = json.windows(13).any(|window| window == b"\"masked\":true");
    // SAFETY: the parameters are those of the plan that is started.
    let parameters = settings::PARAMETERS
        .get()
        .then(|| unsafe { who::parameters(params) })
        .flatten();
    let start = Start {
        at: who::unix(message),
        session: 0,
        statement: 0,
        plan,
        planning: (planned == message).then_some(planning),
        parameters,
    };
    PLANNING.set((0, 0.0));
    EVENTS.set(EVENTS.get() + 1);
    let open = Open {
        owner,
        number: EVENTS.get(),
        message,
        // SAFETY: reads a counter.
        nest_level: unsafe { pg_sys::GetCurrentTransactionNestLevel() },
        held: vec![(plan, json.to_vec())],
        plans: vec![plan],
        start,
        session: who::session(),
        // SAFETY: the statement is running.
        statement: unsafe { describe_top(masked) },
        written: false,
        lost: false,
        only_denied,
        denied: None,
        rows: None,
        execution: None,
        since: Instant::now(),
        ended: None,
    };
    OPEN.with_borrow_mut(|all| all.push(open));
    ANY.set(true);
}

/// The description of the client's statement.
unsafe fn describe_top(masked: bool) -> Vec<u8> {
    let top = TOP.get();
    let source = if top.source.is_null() {
        pg_sys::debug_query_string
    } else {
        top.source
    };
    let text = nodes::string(source);
    let description = Description::Statement(StatementDescription {
        kind: kind(&top),
        query: literals::shorten(part(&text, top.location, top.length), masked),
        query_id: (!top.stmt.is_null())
            .then(|| (*top.stmt).queryId as i64)
            .filter(|id| *id != 0),
    });
    serde_json::to_vec(&description).unwrap_or_default()
}

/// One statement of a text: a location of -1 stands for the beginning, a length of 0 for the rest.
fn part(text: &str, location: i32, length: i32) -> &str {
    let from = usize::try_from(location).unwrap_or(0);
    let to = match usize::try_from(length) {
        Ok(length) if length > 0 => from + length,
        _ => text.len(),
    };
    text.get(from..to).unwrap_or(text).trim()
}

unsafe fn kind(top: &Top) -> String {
    use pg_sys::CmdType::*;
    if top.stmt.is_null() {
        // It failed before there was a plan: its first word has to do.
        let text = nodes::string(if top.source.is_null() {
            pg_sys::debug_query_string
        } else {
            top.source
        });
        let text = part(&text, top.location, top.length);
        let word: String = text.chars().take_while(|c| c.is_ascii_alphabetic()).collect();
        return if word.is_empty() {
            "SELECT".to_owned()
        } else {
            word.to_ascii_uppercase()
        };
    }
    let name = match (*top.stmt).commandType {
        CMD_SELECT => "SELECT",
        CMD_INSERT => "INSERT",
        CMD_UPDATE => "UPDATE",
        CMD_DELETE => "DELETE",
        CMD_MERGE => "MERGE",
        _ => {
            let tag = pg_sys::CreateCommandTag((*top.stmt).utilityStmt);
            return nodes::string(pg_sys::GetCommandTagName(tag));
        }
    };
    name.to_owned()
}

/// Writes the beginning of an event, or refuses the statement.
fn begin(owner: Owner) {
    loop {
        let failure = OPEN.with_borrow_mut(|all| {
            let open = all
                .iter_mut()
                .find(|open| open.owner == owner && open.ended.is_none())?;
            open.write(None, false).err()
        });
        let Some(failure) = failure else { return };
        if !wait_or_refuse(failure) {
            change(owner, |open| {
                open.lost = true;
                open.held.clear();
            });
            return;
        }
    }
}

fn write_or_refuse(descriptions: &[spool::Described], frames: &[(Kind, u64, &[u8])]) {
    while let Err(failure) = spool::append(descriptions, frames, false) {
        if !wait_or_refuse(failure) {
            return;
        }
    }
}

/// What becomes of a statement whose event cannot be written: true to try again, false when the event is lost and counted; an
/// error when it must not run.
fn wait_or_refuse(failure: Failure) -> bool {
    if settings::OVERFLOW.get() == Overflow::Drop {
        super::count_dropped(failure);
        return false;
    }
    if super::wait_for_room() {
        return true;
    }
    REFUSING.set(false);
    match failure {
        Failure::Full => crate::errors::audit_full(),
        Failure::NoPlace => crate::errors::audit_unavailable("there are too many databases with a spool"),
        Failure::System(error) => {
            crate::errors::audit_unavailable(&std::io::Error::from_raw_os_error(error).to_string())
        }
    }
}

// Ends ----------------------------------------------------------------------------------------------------------------

fn change(owner: Owner, how: impl FnOnce(&mut Open)) {
    OPEN.with_borrow_mut(|all| {
        if let Some(open) = all.iter_mut().find(|open| open.owner == owner && open.ended.is_none()) {
            how(open);
        }
    });
}

/// The statement has ended well, unless its transaction fails with it.
fn complete(owner: Owner, how: impl FnOnce(&mut Open)) {
    // SAFETY: reads backend state.
    let certain = unsafe { pg_sys::IsTransactionBlock() };
    OPEN.with_borrow_mut(|all| {
        let Some(found) = all.iter().position(|open| open.owner == owner && open.ended.is_none()) else {
            return;
        };
        how(&mut all[found]);
        all[found].ended = Some(who::now());
        if certain {
            all.swap_remove(found).finish(None);
            ANY.set(!all.is_empty());
        }
    });
}

impl Open {
    /// Writes what is not written yet: the beginning, and the end if there is one.
    fn write(&mut self, end: Option<&Finish>, forced: bool) -> Result<(), Failure> {
        let (session, session_json) = self.session.clone();
        let statement = self.statement_number();
        let mut descriptions: Vec<spool::Described> = Vec::with_capacity(4);
        let mut frames: Vec<(Kind, u64, Vec<u8>)> = Vec::with_capacity(3);
        if !self.written {
            descriptions.push((session, &session_json));
            descriptions.push((statement, &self.statement));
            self.start.session = session;
            self.start.statement = statement;
            for (index, (plan, json)) in self.held.iter().enumerate() {
                descriptions.push((*plan, json));
                let frame = if index == 0 {
                    self.start.plan = *plan;
                    (Kind::Start, serde_json::to_vec(&self.start))
                } else {
                    (Kind::Touch, serde_json::to_vec(&Touch { plan: *plan }))
                };
                frames.push((frame.0, self.number, frame.1.unwrap_or_default()));
            }
        }
        if let Some(end) = end {
            frames.push((Kind::Finish, self.number, serde_json::to_vec(end).unwrap_or_default()));
        }
        let frames: Vec<(Kind, u64, &[u8])> = frames.iter().map(|(k, n, body)| (*k, *n, body.as_slice())).collect();
        spool::append(&descriptions, &frames, forced)?;
        self.written = true;
        self.held.clear();
        Ok(())
    }

    fn statement_number(&mut self) -> u64 {
        if self.start.statement == 0 {
            self.start.statement = super::statement_number(&self.statement);
        }
        self.start.statement
    }

    /// Records the end. Raises nothing: the statement has ended, or another error is on its way.
    fn finish(mut self, error: Option<(String, String)>) {
        let (status, error) = match (self.denied.take(), error) {
            (Some(denied), _) => (Status::Denied, Some(denied)),
            (None, Some(error)) => (Status::Error, Some(error)),
            (None, None) => (Status::Success, None),
        };
        if self.lost || (self.only_denied && status != Status::Denied) {
            return;
        }
        let (sqlstate, message) = error.unzip();
        let finish = Finish {
            at: self.ended.unwrap_or_else(who::now),
            status,
            sqlstate,
            message,
            rows: self.rows,
            execution: self.execution,
        };
        if let Err(failure) = self.write(Some(&finish), true) {
            super::count_dropped(failure);
        }
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
    let Ok(json) = serde_json::to_vec(&Description::Plan(attempt)) else {
        return;
    };
    let owner = TOP.get().owner;
    let plan = collect::next_number();
    adopt(owner);
    let known = OPEN.with_borrow_mut(|all| {
        let open = all
            .iter_mut()
            .find(|open| open.owner == owner && open.ended.is_none())?;
        open.plans.push(plan);
        open.held.push((plan, json.clone()));
        Some((open.number, open.written))
    });
    match known {
        None => open(owner, plan, &json, true, std::ptr::null_mut()),
        Some((number, true)) => {
            let body = serde_json::to_vec(&Touch { plan }).unwrap_or_default();
            if let Err(failure) = spool::append(&[(plan, &json)], &[(Kind::Touch, number, &body)], true) {
                super::count_dropped(failure);
            }
            change(owner, |open| open.held.clear());
        }
        Some((_, false)) => {}
    }
    REFUSING.set(true);
}

/// Whether a statement is running that is recorded, or is being refused.
pub(crate) fn any() -> bool {
    ANY.get()
}

/// An error is raised, as it is shown. It may be caught yet.
pub(crate) fn error_raised(sqlstate: &str, text: &str, by_policy: bool) {
    let refusing = REFUSING.replace(false) || by_policy;
    let owner = TOP.get().owner;
    if refusing {
        change(owner, |open| {
            open.denied
                .get_or_insert_with(|| (sqlstate.to_owned(), text.to_owned()));
        });
    }
    NOTED.set(Some(Noted {
        message: message(),
        sqlstate: sqlstate.to_owned(),
        text: literals::shorten(text, false),
    }));
}

/// The error that ended the client's statement, if one did.
fn noted() -> Option<(String, String)> {
    let now = message();
    NOTED
        .take()
        .filter(|noted| noted.message == now)
        .map(|noted| (noted.sqlstate, noted.text))
}

// Transactions --------------------------------------------------------------------------------------------------------

#[pg_guard]
unsafe extern "C-unwind" fn at_transaction(event: pg_sys::XactEvent::Type, _arg: *mut std::ffi::c_void) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    if ANY.get() {
        end_transaction(event);
    }
    if matches!(event, XACT_EVENT_ABORT | XACT_EVENT_COMMIT | XACT_EVENT_PREPARE) && frames::is_outermost() {
        TOP.set(NOTHING);
    }
}

fn end_transaction(event: pg_sys::XactEvent::Type) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    match event {
        XACT_EVENT_COMMIT | XACT_EVENT_PREPARE => end_all(|_| true, |_| None),
        // A procedure's ROLLBACK ends a transaction and not the statement.
        XACT_EVENT_ABORT if !frames::is_outermost() => end_all(|open| open.owner != TOP.get().owner, |_| None),
        XACT_EVENT_ABORT => {
            let error = noted();
            let (owner, message) = (TOP.get().owner, message());
            end_all(
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
    if !ANY.get() || event != pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB || !frames::is_outermost() {
        return;
    }
    let error = noted();
    let owner = TOP.get().owner;
    let level = pg_sys::GetCurrentTransactionNestLevel();
    end_all(
        |open| (open.owner == owner && error.is_some()) || open.nest_level >= level,
        |open| error.clone().filter(|_| open.owner == owner),
    );
}

/// Ends the events that are chosen, each with its error. An event of a statement that goes on, like a procedure that commits,
/// is left alone.
fn end_all(which: impl Fn(&Open) -> bool, error: impl Fn(&Open) -> Option<(String, String)>) {
    let running = (!frames::is_outermost()).then(|| TOP.get().owner);
    let ended = OPEN.with_borrow_mut(|all| {
        let (ended, kept): (Vec<Open>, Vec<Open>) = std::mem::take(all)
            .into_iter()
            .partition(|open| which(open) && !(open.ended.is_none() && Some(open.owner) == running));
        *all = kept;
        ANY.set(!all.is_empty());
        ended
    });
    for open in ended {
        let error = error(&open);
        open.finish(error);
    }
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
