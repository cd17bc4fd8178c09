//! The audit: a row in `betweenrows.query_audit` for every statement on governed relations, however it ends.
//!
//! The way of an event: the rewriting reports what policies do ([`collect`]) and the plan carries it; when the plan is
//! started, the client's statement ([`statement`]) puts its beginning into the spool ([`spool`]) before a row can be sent, and
//! its end when that is certain; a background worker ([`worker`]) moves both into the table, exactly once.
//!
//! Invariants, each kept by the file named: what governed statements do is in the spool before they do it (`statement.rs`);
//! what is in the spool outlives any process (`spool/mod.rs`); each event gets into the table once (`worker/mover.rs`).

mod carried;
pub(crate) mod collect;
mod display;
pub(crate) mod event;
mod literals;
mod open;
pub(crate) mod overrides;
mod recurring;
pub(crate) mod settings;
pub(crate) mod shared;
pub(crate) mod spool;
pub(crate) mod statement;
mod text;
mod top;
mod used;
pub(crate) mod who;
pub(crate) mod worker;

use std::cell::RefCell;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use pgrx::pg_sys::{self, ErrorData, Oid};
use pgrx::prelude::*;

use self::spool::Failure;
use crate::catalog::Session;
use crate::catalog::governance::Governance;
use crate::pg::{leaf, nodes};

/// Who must not see what: tables, and columns of tables.
type HiddenNames = (Session, Vec<Oid>, Vec<(Oid, Vec<i16>)>);

thread_local! {
    /// The names that a statement must not use, while it is analysed without them.
    static HIDDEN: RefCell<Option<HiddenNames>> = const { RefCell::new(None) };
}

/// Asks for shared memory, registers callbacks and the launcher. Called once, at server start, before `frames::init`.
pub(crate) fn init() {
    shared::init();
    statement::init();
    worker::init();
}

/// Counts an event that is lost, and says so in the log, once until events can be written again.
fn count_dropped(failure: Failure) {
    let Some((_, place)) = shared::mine() else { return };
    place.dropped.fetch_add(1, Relaxed);
    if !place.drop_noted.swap(true, Relaxed) {
        log!("betweenrows: audit events are lost: {failure:?}");
    }
}

/// Waits until events are moved out of the spool; false when none were for too long, or no worker can move them.
fn wait_for_room() -> bool {
    let Some((_, place)) = shared::mine() else { return false };
    if waited_too_long() {
        return false;
    }
    place.wanted.store(true, Relaxed);
    shared::wake(place);
    // SAFETY: waits on the process's own latch as PostgreSQL does.
    unsafe {
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, 20, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    check_for_interrupts!();
    true
}

/// Whether a message of the client has been waiting for room as long as it may.
fn waited_too_long() -> bool {
    thread_local! {
        static SINCE: RefCell<Option<(i64, Instant)>> = const { RefCell::new(None) };
    }
    let message = leaf::GetCurrentStatementStartTimestamp();
    let since = SINCE.with_borrow_mut(|since| match since {
        Some((known, instant)) if *known == message => *instant,
        _ => since.insert((message, Instant::now())).1,
    });
    since.elapsed() >= Duration::from_millis(settings::BLOCK_TIMEOUT.get() as u64)
}

/// A statement that is refused was written into a spool that is full: it waits like others, or whoever has statements refused
/// without end could fill the disk. An error is on its way, so that whatever interrupts the waiting only ends it.
fn hold_back() {
    let Some((_, place)) = shared::mine() else { return };
    // SAFETY: reads a flag that signal handlers set; waits without the process's latch.
    unsafe {
        while place.backlog() > settings::spool_size() && pg_sys::InterruptPending == 0 && !waited_too_long() {
            place.wanted.store(true, Relaxed);
            shared::wake(place);
            let events = pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
            pg_sys::WaitLatch(std::ptr::null_mut(), events as i32, 20, pg_sys::PG_WAIT_EXTENSION);
        }
    }
}

/// A statement that names something hidden is about to be analysed without it: an error is a refusal.
pub(crate) fn conceals(session: &Session, tables: Vec<Oid>, columns: Vec<(Oid, Vec<i16>)>) {
    HIDDEN.set(Some((session.clone(), tables, columns)));
}

/// The analysis has ended well.
pub(crate) fn concealed() {
    HIDDEN.set(None);
}

/// A statement that analysis refused anyway also names something hidden, and that is what the client is told.
///
/// # Safety
/// `error` is what the client is told; `location` and `length` say where the statement stands in the client's message.
pub(crate) unsafe fn named_hidden(
    session: &Session,
    tables: &[Oid],
    columns: &[(Oid, Vec<i16>)],
    error: *mut ErrorData,
    location: i32,
    length: i32,
) {
    let message = nodes::string((*error).message);
    let names_column = || {
        columns.iter().any(|(relid, hidden)| {
            let governance = session.governance(*relid);
            let names = hidden
                .iter()
                .filter_map(|attno| governance.columns.get(*attno as usize - 1));
            names
                .map(|column| column.facts.name.as_str())
                .any(|name| message.contains(name))
        })
    };
    if tables.is_empty() && !names_column() {
        return;
    }
    statement::not_analysed(location, length);
    statement::attempted(collect::attempt_at(session, tables, columns), true);
}

/// A policy refuses the running statement, or a part of it: the error is raised right after.
pub(crate) fn refused() {
    statement::refused();
}

/// As [`refused`], where maybe nobody knows what relations it is about.
pub(crate) fn refused_somewhere(session: &Session) {
    statement::refused_somewhere(session);
}

/// The running statement cannot go on since policies have changed: the error is raised right after.
pub(crate) fn outdated() {
    statement::outdated();
}

/// A utility statement is about to work on a governed relation without a plan.
pub(crate) fn relation_touched(
    session: &Session,
    governance: &Governance,
    access: &str,
    columns: Vec<String>,
    written: Vec<String>,
) {
    let (description, wanted) = collect::direct(session, governance, access, columns, written);
    statement::relation_touched(description, wanted);
}

/// Whether [`error()`] wants to see errors.
pub(crate) fn cares_about_errors() -> bool {
    statement::any() || statement::is_preparing() || HIDDEN.with_borrow(Option::is_some)
}

/// An error is raised, as it is shown to whoever catches it.
///
/// # Safety
/// `error` is valid.
pub(crate) unsafe fn error(error: *mut ErrorData) {
    const DENIED: i32 = PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE as i32;
    if (*error).elevel < PgLogLevel::ERROR as i32 {
        return;
    }
    let code = (*error).sqlerrcode;
    // Class 42: what names mean.
    if let Some((session, tables, columns)) = HIDDEN.take()
        && code & 0xfff == (4 | 2 << 6)
    {
        statement::attempted(collect::attempt_at(&session, &tables, &columns), true);
    }
    // PostgreSQL checks new rows for us. Those of views are no policies.
    let checked = code == DENIED && nodes::string((*error).funcname) == "ExecWithCheckOptions";
    let message = nodes::string((*error).message);
    statement::error_raised(&sqlstate(code), &message, checked);
}

fn sqlstate(code: i32) -> String {
    (0..5)
        .map(|index| char::from(((code >> (6 * index)) & 0x3f) as u8 + b'0'))
        .collect()
}
