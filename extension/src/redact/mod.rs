//! Errors that would tell a subject what policies hide.
//!
//! Invariant: an error that reaches a subject's statement, or an exception handler in its functions, carries no row, no value
//! of another row and no name that is hidden from it. Errors about relations that no policy restricts stay as they are.
//!
//! How: one error context callback lies at the bottom of PostgreSQL's stack of them for the whole life of a backend, so that
//! it also sees errors that are raised outside all hooks, like those of deferred constraints at COMMIT. PostgreSQL calls it
//! last, when an error is complete and before anybody catches it. Where something has to go, the error is thrown anew from a
//! cleaned copy by PostgreSQL's own `ThrowErrorData`; the removed detail goes to the server's log only.

mod constraint;
mod context;
mod log;
pub(crate) mod value;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::{CStr, CString, c_char, c_void};

use pgrx::pg_sys::{self, ErrorContextCallback, ErrorData};
use pgrx::prelude::*;

use crate::audit;
use crate::catalog::{self, Session};
use crate::pg::{leaf, nodes};
use crate::rewrite::missing::{self, Verdict};

/// PostgreSQL's own functions, declared without pgrx's guard.
mod raw {
    use std::ffi::c_int;

    unsafe extern "C-unwind" {
        pub(super) fn geterrcode() -> c_int;
        pub(super) fn FlushErrorState();
        pub(super) fn ThrowErrorData(edata: *mut pgrx::pg_sys::ErrorData);
    }
}

static mut BOTTOM: ErrorContextCallback = ErrorContextCallback {
    previous: std::ptr::null_mut(),
    callback: Some(at_error),
    arg: std::ptr::null_mut(),
};

/// Holds the copy of one error at a time.
static mut COPY: pg_sys::MemoryContext = std::ptr::null_mut();

thread_local! {
    static JUDGING: Cell<bool> = const { Cell::new(false) };
    static CONSTANTS: RefCell<HashSet<CString>> = RefCell::default();
}

/// Puts the callback at the bottom of the stack unless it is there. PostgreSQL empties the stack when an error reaches the
/// main loop, and aborts the transaction or the subtransaction thereafter; what fails in an aborted one is followed by the
/// start of another or by a statement. What was put there inside a `PG_TRY` is gone when that ends, hence the many places
/// that call this.
///
/// # Safety
/// Called between statements or from hooks, where the stack is consistent.
pub(crate) unsafe fn install() {
    let bottom = &raw mut BOTTOM;
    let mut link = &raw mut pg_sys::error_context_stack;
    while !(*link).is_null() {
        if *link == bottom {
            return;
        }
        link = &raw mut (**link).previous;
    }
    *link = bottom;
}

/// Called twice for each transaction: without pgrx's guard, since it only sets a flag and links a list.
unsafe extern "C-unwind" fn at_transaction(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    if matches!(event, XACT_EVENT_ABORT | XACT_EVENT_COMMIT | XACT_EVENT_PREPARE) {
        value::transaction_ended();
    }
    if event == XACT_EVENT_ABORT {
        install();
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_subtransaction(
    _event: pg_sys::SubXactEvent::Type,
    _mine: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    install();
}

/// Installs the callback. Called once, at server start: every backend inherits the stack.
pub(crate) fn init() {
    // SAFETY: the postmaster is single-threaded; the callbacks live as long as the process.
    unsafe {
        install();
        COPY = pg_sys::AllocSetContextCreateInternal(
            pg_sys::TopMemoryContext,
            c"betweenrows error".as_ptr(),
            0,
            8 * 1024,
            8 * 1024 * 1024,
        );
        pg_sys::RegisterXactCallback(Some(at_transaction), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_subtransaction), std::ptr::null_mut());
    }
    log::init();
}

unsafe extern "C-unwind" fn at_error(_arg: *mut c_void) {
    if pg_sys::CritSectionCount > 0 || !leaf::IsTransactionState() {
        return;
    }
    let cleaned = if is_of_interest(raw::geterrcode()) {
        judge()
    } else {
        std::ptr::null_mut()
    };
    if audit::cares_about_errors() && !JUDGING.get() {
        note(cleaned);
    }
    if !cleaned.is_null() {
        raw::FlushErrorState();
        // The contexts are in the copy.
        pg_sys::error_context_stack = std::ptr::null_mut();
        raw::ThrowErrorData(cleaned);
    }
}

/// Shows the audit the error that is raised: the cleaned one, if there is one.
#[pg_guard]
unsafe extern "C-unwind" fn note(cleaned: *mut ErrorData) {
    if !cleaned.is_null() {
        return audit::error(cleaned);
    }
    pg_sys::MemoryContextReset(COPY);
    let context = pg_sys::MemoryContextSwitchTo(COPY);
    let error = pg_sys::CopyErrorData();
    pg_sys::MemoryContextSwitchTo(context);
    audit::error(error);
}

/// Whether errors with this SQLSTATE may carry rows or names: by its class, packed six bits a character.
fn is_of_interest(sqlstate: i32) -> bool {
    const fn class(text: [u8; 2]) -> i32 {
        (text[0] - b'0') as i32 | ((text[1] - b'0') as i32) << 6
    }
    const INTERESTING: [i32; 6] = [
        class(*b"22"),
        class(*b"23"),
        class(*b"2B"),
        class(*b"42"),
        class(*b"44"),
        class(*b"P0"),
    ];
    INTERESTING.contains(&(sqlstate & 0xfff))
}

/// The cleaned copy of the current error, NULL when it may stay as it is.
#[pg_guard]
unsafe extern "C-unwind" fn judge() -> *mut ErrorData {
    struct Scope(pg_sys::MemoryContext);
    impl Drop for Scope {
        fn drop(&mut self) {
            JUDGING.set(false);
            // SAFETY: the context was current before.
            unsafe { pg_sys::MemoryContextSwitchTo(self.0) };
        }
    }
    if JUDGING.replace(true) {
        return std::ptr::null_mut();
    }
    // The copy has to outlive the error, whose own context is emptied, and no longer: a loop may catch many of them.
    pg_sys::MemoryContextReset(COPY);
    let _scope = Scope(pg_sys::MemoryContextSwitchTo(COPY));
    let Some(session) = catalog::current().filter(Session::may_restrict) else {
        return std::ptr::null_mut();
    };
    let error = pg_sys::CopyErrorData();
    let is_error = (*error).elevel == PgLogLevel::ERROR as i32;
    if is_error && session.may_hide() && missing::is_of_analysis(error) {
        // From here on the error is the copy, or another.
        raw::FlushErrorState();
        pg_sys::error_context_stack = std::ptr::null_mut();
        return match missing::judge(&session) {
            Verdict::Instead(other) => other,
            Verdict::Harmless => error,
            Verdict::Suspect => {
                clean(&session, error);
                error
            }
        };
    }
    if !is_error || !clean(&session, error) {
        return std::ptr::null_mut();
    }
    // PostgreSQL takes these over without copying them.
    for text in [&mut (*error).filename, &mut (*error).funcname, &mut (*error).domain] {
        *text = constant(*text);
    }
    error
}

/// A copy of a text that stays for good. Such texts come from the program, so there are not many.
unsafe fn constant(text: *const c_char) -> *const c_char {
    if text.is_null() {
        return text;
    }
    let text = CStr::from_ptr(text);
    CONSTANTS.with_borrow_mut(|constants| {
        if !constants.contains(text) {
            constants.insert(text.to_owned());
        }
        constants.get(text).map_or(std::ptr::null(), |found| found.as_ptr())
    })
}

/// Takes out of the error what the subject must not see; returns whether there was anything.
unsafe fn clean(session: &Session, error: *mut ErrorData) -> bool {
    let code = (*error).sqlerrcode;
    let is = |class: &[u8; 2]| {
        (code & 0x3f) == i32::from(class[0] - b'0') && (code >> 6 & 0x3f) == i32::from(class[1] - b'0')
    };
    let file = nodes::string((*error).filename);
    let mut cleaned = false;
    // What functions raise on their own they know anyway.
    if (is(b"23") || is(b"44")) && file != "pl_exec.c" {
        cleaned |= constraint::clean(session, error);
    }
    if is(b"22") && file != "pl_exec.c" {
        cleaned |= value::clean(error);
    }
    if session.may_hide() {
        match file.as_str() {
            // "Perhaps you meant …": analysis knows all columns.
            "parse_relation.c" if !missing::is_concealing() => {
                cleaned |= remove(&mut (*error).hint) | remove(&mut (*error).detail)
            }
            // A rule is analysed without the client's naming: what it selects may have the name of a hidden column.
            "rewriteDefine.c" => cleaned |= conceal_detail(error),
            // Objects that depend on what was to be dropped.
            "dependency.c" | "user.c" => cleaned |= conceal_detail(error),
            _ => {}
        }
        cleaned |= context::clean(session, error);
    }
    cleaned
}

/// Leaves a text out of the error.
unsafe fn remove(text: &mut *mut std::ffi::c_char) -> bool {
    !std::mem::replace(text, std::ptr::null_mut()).is_null()
}

/// Moves the detail to where only the server's log shows it.
unsafe fn conceal_detail(error: *mut ErrorData) -> bool {
    let detail = std::mem::replace(&mut (*error).detail, std::ptr::null_mut());
    if detail.is_null() {
        return false;
    }
    if (*error).detail_log.is_null() {
        (*error).detail_log = detail;
    }
    true
}
