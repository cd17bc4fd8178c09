//! Messages on their way to the server's log and the client.
//!
//! An error that comes here is caught by nobody: the audit hears of it before the client does.
//!
//! With `client_min_messages = log`, which everybody may set, a session also gets what modules write to the log about its
//! statements: `auto_explain` prints whole plans, with filters, masks and the numbers of rows that they removed. To a subject
//! that policies restrict only what its own functions raise is sent.

use std::cell::Cell;

use pgrx::pg_sys::{self, ErrorData};
use pgrx::prelude::*;

use crate::audit;
use crate::catalog::{self, Session};
use crate::pg::nodes;

static mut NEXT: pg_sys::emit_log_hook_type = None;

thread_local! {
    static JUDGING: Cell<bool> = const { Cell::new(false) };
}

unsafe extern "C-unwind" fn emit(error: *mut ErrorData) {
    if let Some(next) = NEXT {
        next(error);
    }
    let asked_for = (*error).elevel == PgLogLevel::LOG as i32 && (*error).output_to_client;
    if (*error).elevel >= PgLogLevel::ERROR as i32
        && pg_sys::CritSectionCount == 0
        && audit::statement::cares_about_ends()
    {
        told(error);
    }
    if asked_for && pg_sys::CritSectionCount == 0 && super::leaf::IsTransactionState() && is_kept(error) {
        (*error).output_to_client = false;
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn told(error: *mut ErrorData) {
    audit::statement::error_told(error);
}

/// Whether a message must not go to the client.
#[pg_guard]
unsafe extern "C-unwind" fn is_kept(error: *mut ErrorData) -> bool {
    struct Scope;
    impl Drop for Scope {
        fn drop(&mut self) {
            JUDGING.set(false);
        }
    }
    if nodes::string((*error).filename) == "pl_exec.c" || JUDGING.replace(true) {
        return false;
    }
    let _scope = Scope;
    catalog::current().as_ref().is_some_and(Session::may_restrict)
}

/// Installs the hook. Called once, at server start.
pub(super) fn init() {
    // SAFETY: the postmaster is single-threaded and loads the library once.
    unsafe {
        NEXT = pg_sys::emit_log_hook;
        pg_sys::emit_log_hook = Some(emit);
    }
}
