//! The events of this session that are open: how they begin and end in the spool.
//!
//! Invariant: the first thing that a statement does with something governed is to put its beginning into the spool, or it is
//! refused. An error here never takes the place of a statement's own.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use pgrx::pg_sys;

use super::event::{Finish, Start, Status, Touch};
use super::settings::{self, Level, Overflow};
use super::spool::frame::Kind;
use super::spool::{self, Described, Event, Failure};
use super::top::{self, Numbered, Owner, Top};
use super::who;
use crate::pg::leaf;

/// How many descriptions are kept of a statement that only a refusal makes an event: one that plans thousands of statements
/// dynamically must not fill the memory.
const HELD: usize = 1000;

/// Says that statements before this one have ended in the same transaction, which Sync will commit.
const PIPELINING: i32 = pg_sys::XACT_FLAGS_PIPELINING as i32;

/// An error's code and message.
pub(super) type Error = (String, String);

/// A statement of the client that has come to something governed.
pub(super) struct Open {
    /// What runs it.
    pub(super) owner: Owner,
    /// The client's message.
    pub(super) message: i64,
    /// How deeply subtransactions were nested when it began.
    pub(super) nest_level: i32,
    /// A policy refused it or a part of it.
    pub(super) denied: Option<Error>,
    /// Rows sent or changed.
    pub(super) rows: Option<u64>,
    /// How long it was executed, milliseconds.
    pub(super) execution: Option<f64>,
    /// Since when it runs, while it does; at the earliest since it was opened.
    pub(super) turn: Option<Instant>,
    /// Rows sent in this turn when an error was raised in it.
    pub(super) sent: Option<u64>,
    /// For a turn inside another statement: that one, and how deeply subtransactions were nested.
    pub(super) within: Option<(Top, i32)>,
    /// When it ended, while its transaction has not.
    pub(super) ended: Option<i64>,
    number: u64,
    /// What it has come to after the plan that began it: keyed hashes of descriptions. Statements that are planned anew each
    /// time, as EXECUTE in a loop does, mostly have one that is known.
    seen: HashSet<u64>,
    /// Descriptions of plans that are kept until it is known that the event is recorded.
    held: Vec<(u64, Vec<u8>)>,
    start: Start,
    session: Numbered,
    statement: Numbered,
    /// Whether it is described as one that uses a masked column.
    masked: bool,
    /// Whether its beginning is in the spool.
    written: bool,
    /// Whether its beginning was lost, which was counted.
    lost: bool,
    /// Whether only a refusal makes it an event.
    only_denied: bool,
}

/// Something that a statement has come to.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    /// The number of its description.
    pub(super) number: u64,
    /// The description.
    pub(super) json: &'a [u8],
    /// Whether a masked column is used.
    pub(super) masked: bool,
    /// The statement's parameters.
    pub(super) params: pg_sys::ParamListInfo,
}

thread_local! {
    static OPEN: RefCell<Vec<Open>> = const { RefCell::new(Vec::new()) };
    static ANY: Cell<bool> = const { Cell::new(false) };
    static PLANNING: Cell<(i64, f64)> = const { Cell::new((0, 0.0)) };
    static EVENTS: Cell<u64> = const { Cell::new(0) };
    /// A key of this process, so that nobody can look for descriptions with the same hash.
    static HASH: RandomState = RandomState::new();
}

/// The client's message, by when it came in.
pub(super) fn message() -> i64 {
    leaf::GetCurrentStatementStartTimestamp()
}

/// Whether there are any.
pub(crate) fn any() -> bool {
    ANY.get()
}

/// Does something to the one of this owner that goes on.
pub(super) fn change<R>(owner: Owner, how: impl FnOnce(&mut Open) -> R) -> Option<R> {
    if !any() {
        return None;
    }
    OPEN.with_borrow_mut(|all| {
        all.iter_mut()
            .find(|open| open.owner == owner && open.ended.is_none())
            .map(how)
    })
}

/// A governed statement was planned, in this time.
pub(crate) fn planned(milliseconds: f64) {
    let (known, so_far) = PLANNING.get();
    let now = message();
    let before = if known == now { so_far } else { 0.0 };
    PLANNING.set((now, before + milliseconds));
}

/// The statement has come to a plan. Raises an error when that cannot be recorded and has to be.
pub(super) fn touch(owner: Owner, level: Level, plan: Plan) {
    if level == Level::Off {
        return;
    }
    let only_denied = level == Level::Denied;
    adopt(owner);
    let known = change(owner, |open| {
        if plan.number == open.start.plan || !open.seen.insert(plan.hash()) {
            return None;
        }
        open.only_denied &= only_denied;
        let statement = open.redescribe(plan);
        if open.written {
            return Some(Next::Add(open.number, statement));
        }
        if open.only_denied || open.lost {
            open.hold(plan);
            return None;
        }
        Some(Next::Begin)
    });
    match known {
        Some(None) => {}
        Some(Some(Next::Add(number, statement))) => {
            while let Err(failure) = add(number, plan, statement.as_ref(), false) {
                if !wait_or_refuse(failure) {
                    return;
                }
            }
        }
        Some(Some(Next::Begin)) => begin(owner, plan),
        None => {
            open(owner, plan, only_denied, parameters(plan.params));
            if only_denied {
                change(owner, |open| open.hold(plan));
            } else {
                begin(owner, plan);
            }
        }
    }
}

/// What is to be done about a further plan.
enum Next {
    /// It is written to the event with this number, with another description of the statement if there is one.
    Add(u64, Option<Numbered>),
    /// The beginning of the event is written with it.
    Begin,
}

/// Writes a further plan of an event.
fn add(number: u64, plan: Plan, statement: Option<&Numbered>, forced: bool) -> Result<(), Failure> {
    let touch = Touch {
        plan: plan.number,
        statement: statement.map(|statement| statement.0),
    };
    let mut descriptions: Vec<Described> = vec![(plan.number, plan.json)];
    descriptions.extend(statement.map(|statement| (statement.0, &*statement.1)));
    spool::append(&descriptions, &[(Kind::Touch, number, touch.encode())], forced)
}

/// The values of parameters, where these are recorded.
fn parameters(params: pg_sys::ParamListInfo) -> Option<serde_json::Value> {
    if !settings::PARAMETERS.get() {
        return None;
    }
    // SAFETY: the parameters are those of the plan that is started.
    unsafe { who::parameters(params) }
}

/// What was recorded while the statement was planned belongs to whatever runs it.
pub(super) fn adopt(owner: Owner) {
    if !any() || owner == Owner::Pending {
        return;
    }
    let message = message();
    OPEN.with_borrow_mut(|all| {
        let mut pending = all
            .iter_mut()
            .filter(|open| open.owner == Owner::Pending && open.message == message && open.ended.is_none());
        if let Some(open) = pending.next() {
            open.owner = owner;
        }
    });
}

/// Opens an event.
fn open(owner: Owner, plan: Plan, only_denied: bool, parameters: Option<serde_json::Value>) {
    let (planned, planning) = PLANNING.replace((0, 0.0));
    let message = message();
    let session = who::session();
    // SAFETY: the statement is running.
    let statement = unsafe { top::get().describe(plan.number, plan.masked) };
    EVENTS.set(EVENTS.get() + 1);
    let open = Open {
        owner,
        message,
        nest_level: leaf::GetCurrentTransactionNestLevel(),
        denied: None,
        rows: None,
        execution: None,
        turn: (owner != Owner::Pending).then(Instant::now),
        sent: None,
        within: None,
        ended: None,
        number: EVENTS.get(),
        seen: HashSet::new(),
        held: Vec::new(),
        start: Start {
            at: who::unix(message),
            session: session.0,
            statement: statement.0,
            plan: plan.number,
            planning: (planned == message).then_some(planning),
            parameters,
        },
        session,
        statement,
        masked: plan.masked,
        written: false,
        lost: false,
        only_denied,
    };
    OPEN.with_borrow_mut(|all| all.push(open));
    ANY.set(true);
}

/// Writes the beginning of an event, or refuses the statement.
fn begin(owner: Owner, plan: Plan) {
    let mut unheld = Some(plan);
    while let Some(Err(failure)) = change(owner, |open| open.write(unheld, None, false)) {
        // The refusal, or what ends the waiting, is recorded where there is room for that.
        if let Some(plan) = unheld.take() {
            change(owner, |open| open.hold(plan));
        }
        if settings::OVERFLOW.get() == Overflow::Block && !super::wait_for_room() {
            refuse(failure);
        }
        if settings::OVERFLOW.get() == Overflow::Drop {
            super::count_dropped(failure);
            change(owner, |open| open.lost = true);
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
    if !super::wait_for_room() {
        refuse(failure);
    }
    true
}

fn refuse(failure: Failure) -> ! {
    match failure {
        Failure::Full => crate::errors::audit_full(),
        Failure::NoPlace => crate::errors::audit_unavailable("there are too many databases with a spool"),
        Failure::System(error) => {
            crate::errors::audit_unavailable(&std::io::Error::from_raw_os_error(error).to_string())
        }
    }
}

/// The statement has come to something that is not run: it was refused, or failed before there was a plan. It is an event of
/// its own unless that is `only_denied`, and nobody denies it. Looks no catalog up and raises nothing.
pub(super) fn attempted(owner: Owner, plan: Plan, only_denied: bool, parameters: Option<serde_json::Value>) {
    adopt(owner);
    let known = change(owner, |open| {
        if plan.number == open.start.plan || !open.seen.insert(plan.hash()) {
            return None;
        }
        open.only_denied &= only_denied;
        let statement = open.redescribe(plan);
        if open.written {
            return Some((open.number, statement));
        }
        open.hold(plan);
        None
    });
    match known {
        None => {
            open(owner, plan, only_denied, parameters);
            change(owner, |open| open.hold(plan));
        }
        Some(Some((number, statement))) => {
            if let Err(failure) = add(number, plan, statement.as_ref(), true) {
                super::count_dropped(failure);
            }
        }
        Some(None) => {}
    }
}

/// A policy refuses the statement, or a part of it, with this error. That is in the spool before anybody hears of it.
pub(super) fn refused(owner: Owner, error: &Error) {
    change(owner, |open| {
        if open.denied.is_some() || open.lost {
            return;
        }
        open.denied = Some(error.clone());
        let refusal = open.ending(who::now(), Status::Denied, Some(error.clone()));
        // Should it not be possible, the end of the statement tells again.
        _ = open.write(None, Some((Kind::Refusal, &refusal)), true);
    });
}

/// The statement has ended well, unless its transaction fails with it.
pub(super) fn complete(owner: Owner, how: impl FnOnce(&mut Open)) {
    // Statements that follow others in a pipeline are in a transaction block, which 15 and 16 call none.
    // SAFETY: reads backend state.
    let certain = leaf::IsTransactionBlock() || unsafe { pg_sys::MyXactFlags } & PIPELINING != 0;
    OPEN.with_borrow_mut(|all| {
        let found = all.iter().position(|open| open.owner == owner && open.ended.is_none());
        let Some(found) = found else { return };
        how(&mut all[found]);
        all[found].ended = Some(who::now());
        if certain {
            all.swap_remove(found).finish(None);
            ANY.set(!all.is_empty());
        }
    });
}

/// A subtransaction of this level has become a part of the one around it, and with it its cursors.
pub(super) fn released(nest_level: i32) {
    OPEN.with_borrow_mut(|all| {
        for open in all {
            open.nest_level = open.nest_level.min(nest_level - 1);
        }
    });
}

/// The statement around the turns that have failed at this level of subtransactions and deeper, and their owners.
pub(super) fn failed_turns(nest_level: i32) -> Option<(Top, Vec<Owner>)> {
    OPEN.with_borrow(|all| {
        let inside = |open: &&Open| open.within.is_some_and(|(_, level)| level >= nest_level);
        let failed: Vec<&Open> = all.iter().filter(inside).collect();
        let first = failed.iter().min_by_key(|open| open.turn)?;
        Some((first.within?.0, failed.iter().map(|open| open.owner).collect()))
    })
}

/// Ends the events that are chosen, each with its error.
pub(super) fn end(which: impl Fn(&Open) -> bool, error: impl Fn(&Open) -> Option<Error>) {
    OPEN.with_borrow_mut(|all| {
        let mut at = 0;
        while at < all.len() {
            if which(&all[at]) {
                let open = all.remove(at);
                let error = error(&open);
                open.finish(error);
            } else {
                at += 1;
            }
        }
        ANY.set(!all.is_empty());
    });
}

impl Plan<'_> {
    fn hash(&self) -> u64 {
        HASH.with(|key| key.hash_one(self.json))
    }
}

impl Open {
    /// Leaves the literals out of the statement's text for the sake of a plan that it has come to after others. Returns the
    /// new description.
    fn redescribe(&mut self, plan: Plan) -> Option<Numbered> {
        if self.masked || !plan.masked || !settings::REDACT.get() {
            return None;
        }
        self.masked = true;
        // SAFETY: the statement is running.
        self.statement = unsafe { top::get().describe(plan.number, true) };
        self.start.statement = self.statement.0;
        Some(self.statement.clone())
    }

    /// Keeps what the event is about until it is known that it is recorded.
    fn hold(&mut self, plan: Plan) {
        if self.held.len() < HELD {
            self.held.push((plan.number, plan.json.to_vec()));
        }
    }

    /// Writes what is not written yet: the beginning, and the end if there is one.
    fn write(&mut self, plan: Option<Plan>, end: Option<(Kind, &Finish)>, forced: bool) -> Result<(), Failure> {
        let mut descriptions: Vec<Described> = Vec::new();
        let mut frames: Vec<Event> = Vec::with_capacity(2);
        if !self.written {
            descriptions.push((self.session.0, &self.session.1));
            descriptions.push((self.statement.0, &self.statement.1));
            let held = self.held.iter().map(|(number, json)| (*number, json.as_slice()));
            for (number, json) in held.chain(plan.map(|plan| (plan.number, plan.json))) {
                descriptions.push((number, json));
                if frames.is_empty() {
                    self.start.plan = number;
                    frames.push((Kind::Start, self.number, self.start.encode()));
                } else {
                    let touch = Touch {
                        plan: number,
                        statement: None,
                    };
                    frames.push((Kind::Touch, self.number, touch.encode()));
                }
            }
        }
        if let Some((kind, end)) = end {
            frames.push((kind, self.number, end.encode()));
        }
        let begins = !self.written;
        // Where events may be lost, those that begin with their end may be, too.
        let forced = forced && !(begins && settings::OVERFLOW.get() == Overflow::Drop);
        spool::append(&descriptions, &frames, forced)?;
        self.written = true;
        self.held.clear();
        // What was interrupted, waiting or not, does not wait once more.
        let interrupted = end.and_then(|(_, end)| end.sqlstate.as_deref());
        let interrupted = interrupted.is_some_and(|code| code.starts_with("57"));
        if forced && begins && !interrupted {
            super::hold_back();
        }
        Ok(())
    }

    /// A turn has ended, in which so many rows were sent or changed.
    pub(super) fn turn_ends(&mut self, rows: Option<u64>) {
        let Some(since) = self.turn.take() else { return };
        self.within = None;
        let milliseconds = since.elapsed().as_secs_f64() * 1000.0;
        self.execution = Some(self.execution.unwrap_or(0.0) + milliseconds);
        if let Some(rows) = rows {
            self.rows = Some(self.rows.unwrap_or(0) + rows);
        }
        self.sent = None;
    }

    /// Records the end. Raises nothing: the statement has ended, or another error is on its way.
    fn finish(mut self, error: Option<Error>) {
        // It ended in the middle of it.
        self.turn_ends(self.sent);
        let (status, error) = match (self.denied.take(), error) {
            (Some(denied), _) => (Status::Denied, Some(denied)),
            (None, Some(error)) => (Status::Error, Some(error)),
            (None, None) => (Status::Success, None),
        };
        if self.lost || (self.only_denied && status != Status::Denied) {
            return;
        }
        let finish = self.ending(self.ended.unwrap_or_else(who::now), status, error);
        if let Err(failure) = self.write(None, Some((Kind::Finish, &finish)), true) {
            super::count_dropped(failure);
        }
    }

    fn ending(&self, at: i64, status: Status, error: Option<Error>) -> Finish {
        let (sqlstate, message) = error.unzip();
        Finish {
            at,
            status,
            sqlstate,
            message,
            rows: self.rows,
            execution: self.execution,
        }
    }
}
