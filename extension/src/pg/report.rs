//! Errors with a cursor position, as the parser reports them: pgrx's own reports cannot carry one.

use std::ffi::{c_char, c_int};

use pgrx::pg_sys::{self, ParseState};
use pgrx::prelude::*;

mod raw {
    use std::ffi::{c_char, c_int};

    unsafe extern "C-unwind" {
        pub(super) fn errstart(elevel: c_int, domain: *const c_char) -> bool;
        pub(super) fn errcode(sqlerrcode: c_int) -> c_int;
        pub(super) fn errmsg(fmt: *const c_char, ...) -> c_int;
        pub(super) fn errfinish(filename: *const c_char, lineno: c_int, funcname: *const c_char);
    }
}

/// Raises an ERROR like the parser would, with the cursor at a byte offset of the statement's text (-1: none).
///
/// # Safety
/// `pstate` is a valid parse state with its source text.
pub(crate) unsafe fn parser_error(pstate: *mut ParseState, code: PgSqlErrorCode, message: &str, location: i32) -> ! {
    let message: *const c_char = super::nodes::pstr(message);
    let code = code as c_int;
    // SAFETY: nothing with a destructor lives inside; the longjmp of errfinish ends at the boundary.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            if raw::errstart(PgLogLevel::ERROR as c_int, std::ptr::null()) {
                raw::errcode(code);
                raw::errmsg(c"%s".as_ptr(), message);
                pg_sys::parser_errposition(pstate, location);
                raw::errfinish(c"naming.rs".as_ptr(), 0, std::ptr::null());
            }
        });
    }
    unreachable!("an ERROR does not return")
}
