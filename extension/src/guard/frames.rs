//! Which of our hooks are on the stack.
//!
//! Invariant: a frame is on the list exactly while its hook runs. Hooks hand PostgreSQL's errors on by longjmp without a
//! handler of their own (so that the error is never rebuilt), therefore nobody removes their frame. Three facts find the dead
//! ones when a (sub)transaction aborts, which is what every error ends in. The stack grows downwards, so a frame whose
//! address lies below the place where the abort runs has been left. A frame entered inside the aborted subtransaction has
//! been left. And where an error ends a whole transaction, every frame inside the function that handles errors then has been
//! left, whatever runs at its place by now. A procedure's ROLLBACK aborts below a handler of its own.

use std::cell::RefCell;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::leaf;

/// What a frame is.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// `planner_hook`; what runs inside is constant folding.
    Planner,
    /// `ExecutorRun` or `ExecutorFinish`.
    Executor,
    /// A utility statement that runs or analyses statements written elsewhere: DO, CALL, CREATE FUNCTION.
    Routine,
    /// EXPLAIN.
    Explain,
    /// Any other utility statement.
    Utility,
    /// A function that was trusted, or one that was called below such a function.
    Function {
        /// The function.
        function: pg_sys::Oid,
        /// Whether statements issued directly in this frame are not governed.
        trusted: bool,
    },
}

struct Frame {
    address: usize,
    nest_level: i32,
    kind: Kind,
    surroundings: Surroundings,
    watched: bool,
}

/// What was in force when a frame was entered.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings {
    /// PostgreSQL's mark for queries of referential integrity.
    pub(crate) referential: bool,
    /// The top of the error context stack.
    pub(crate) error_context: *mut pg_sys::ErrorContextCallback,
}

impl Surroundings {
    /// What is in force now.
    pub(crate) fn now() -> Self {
        let (mut user, mut context) = (pg_sys::Oid::INVALID, 0);
        // SAFETY: reads backend state.
        unsafe {
            leaf::GetUserIdAndSecContext(&mut user, &mut context);
            Surroundings {
                referential: context & pg_sys::SECURITY_NOFORCE_RLS as i32 != 0,
                error_context: pg_sys::error_context_stack,
            }
        }
    }
}

thread_local! {
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// The address of a local variable of the calling hook, the frame's identity.
#[inline(never)]
fn stack_address() -> usize {
    let marker = 0u8;
    std::hint::black_box(&raw const marker) as usize
}

/// Puts a frame on the list and returns its place there. The caller takes it off with [`leave`] when the next function has
/// returned.
pub(crate) fn enter(kind: Kind) -> usize {
    enter_utility(kind, false)
}

/// As [`enter`], for a utility statement; `watched` says that what it defines, alters or drops has to be judged for a
/// subject.
pub(crate) fn enter_utility(kind: Kind, watched: bool) -> usize {
    let address = stack_address();
    let nest_level = leaf::GetCurrentTransactionNestLevel();
    let surroundings = Surroundings::now();
    FRAMES.with_borrow_mut(|frames| {
        frames.push(Frame {
            address,
            nest_level,
            kind,
            surroundings,
            watched,
        });
        frames.len() - 1
    })
}

/// Takes a frame off the list, and with it whatever was left inside it by an error that somebody swallowed.
pub(crate) fn leave(place: usize) {
    FRAMES.with_borrow_mut(|frames| frames.truncate(place));
}

/// Whether a statement analysed or planned now is nested: issued by a function, a trigger or a DO block, and not by the
/// client.
pub(crate) fn nested() -> bool {
    FRAMES.with_borrow(|frames| {
        frames
            .iter()
            .any(|frame| !matches!(frame.kind, Kind::Utility | Kind::Explain))
    })
}

/// Whether no hook is on the stack: the client's own statement begins.
pub(crate) fn is_outermost() -> bool {
    FRAMES.with_borrow(Vec::is_empty)
}

/// Whether what starts now is what an EXPLAIN is about.
pub(crate) fn explaining() -> bool {
    FRAMES.with_borrow(|frames| frames.last().is_some_and(|frame| frame.kind == Kind::Explain))
}

/// The place of the innermost utility statement, and whether it is watched.
pub(crate) fn utility() -> Option<(usize, bool)> {
    FRAMES.with_borrow(|frames| {
        let is_utility = |frame: &Frame| !matches!(frame.kind, Kind::Planner | Kind::Executor | Kind::Function { .. });
        let place = frames.iter().rposition(is_utility)?;
        Some((place, frames[place].watched))
    })
}

/// What was in force when the innermost frame was entered; `None` when there is no frame, as at the end of a transaction.
pub(crate) fn innermost() -> Option<Surroundings> {
    FRAMES.with_borrow(|frames| frames.last().map(|frame| frame.surroundings))
}

/// Whether `planner_hook` is on the stack.
pub(crate) fn planning() -> bool {
    FRAMES.with_borrow(|frames| frames.iter().any(|frame| frame.kind == Kind::Planner))
}

/// Whether how functions are called may matter: while something is planned, or below a trusted function.
pub(crate) fn concern_functions() -> bool {
    planning() || below_trusted_function()
}

/// Whether the statement that is planned or started now is issued directly by a trusted function. Triggers, casts and
/// functions below it run inside frames of their own.
pub(crate) fn in_trusted_function() -> bool {
    FRAMES.with_borrow(|frames| {
        frames
            .last()
            .is_some_and(|frame| matches!(frame.kind, Kind::Function { trusted: true, .. }))
    })
}

/// Whether a trusted function is on the stack, at any depth.
pub(crate) fn below_trusted_function() -> bool {
    FRAMES.with_borrow(|frames| {
        frames
            .iter()
            .any(|frame| matches!(frame.kind, Kind::Function { trusted: true, .. }))
    })
}

/// Takes the innermost frame of a function off the list, and with it whatever was left inside it.
pub(crate) fn leave_function(function: pg_sys::Oid) {
    FRAMES.with_borrow_mut(|frames| {
        let place = frames
            .iter()
            .rposition(|frame| matches!(frame.kind, Kind::Function { function: of, .. } if of == function));
        if let Some(place) = place {
            frames.truncate(place);
        }
    });
}

/// The number of frames.
pub(crate) fn depth() -> usize {
    FRAMES.with_borrow(Vec::len)
}

/// The number of executor frames.
pub(crate) fn executor_depth() -> usize {
    FRAMES.with_borrow(|frames| frames.iter().filter(|frame| frame.kind == Kind::Executor).count())
}

#[pg_guard]
unsafe extern "C-unwind" fn at_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    _mine: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut std::ffi::c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        // During the callback it is still that of the aborting subtransaction.
        let level = leaf::GetCurrentTransactionNestLevel();
        drop_dead(|frame| frame.nest_level >= level);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_transaction(event: pg_sys::XactEvent::Type, _arg: *mut std::ffi::c_void) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_PARALLEL_ABORT};
    if event == XACT_EVENT_ABORT || event == XACT_EVENT_PARALLEL_ABORT {
        // SAFETY: reads backend state; the handler's buffer lies in the frame of the function that handles errors.
        let handler = unsafe { pg_sys::PG_exception_stack } as usize;
        drop_dead(|frame| frame.address < handler);
    }
}

fn drop_dead(also: impl Fn(&Frame) -> bool) {
    let here = stack_address();
    FRAMES.with_borrow_mut(|frames| frames.retain(|frame| frame.address > here && !also(frame)));
}

/// Registers the transaction callbacks.
pub(crate) fn init() {
    // SAFETY: registers callbacks for the life of the process.
    unsafe {
        pg_sys::RegisterSubXactCallback(Some(at_subtransaction), std::ptr::null_mut());
        pg_sys::RegisterXactCallback(Some(at_transaction), std::ptr::null_mut());
    }
}
