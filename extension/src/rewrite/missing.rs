//! Errors of statements that name what is hidden: those that PostgreSQL raises when it does not exist.
//!
//! PostgreSQL itself raises them, while the statement is analysed with hidden tables out of reach and hidden columns out of
//! sight, so that order, wording and position, hints and the place in the source are what they would be. That is done for a
//! statement that analysis has passed, and again for one that it has failed: `SELECT nothing FROM hidden` must not speak of
//! a column.

use std::cell::Cell;
use std::ffi::c_void;
use std::panic::AssertUnwindSafe;

use pgrx::PgSqlErrorCode::{self, ERRCODE_UNDEFINED_COLUMN, ERRCODE_UNDEFINED_OBJECT, ERRCODE_UNDEFINED_TABLE};
use pgrx::pg_sys::{self, ErrorContextCallback, ErrorData, Node, NodeTag, Oid, ParseState, Query, RangeVar, RawStmt};
use pgrx::prelude::*;

use super::naming::{self, Hidden};
use crate::catalog::Session;
use crate::guard::frames;
use crate::pg::walk::{self, Walk};
use crate::pg::{self, leaf, list, nodes, report};

thread_local! {
    /// When the client's message came in, and the place in its text of the statement that was analysed last.
    static LAST: Cell<(i64, i32)> = const { Cell::new((0, -1)) };
    static CONCEALING: Cell<bool> = const { Cell::new(false) };
    static CAUGHT: Cell<*mut ErrorData> = const { Cell::new(std::ptr::null_mut()) };
}

/// Whether what is hidden does not exist for the analysis that is running, so that its errors may be shown.
pub(crate) fn is_concealing() -> bool {
    CONCEALING.get()
}

/// While this value lives, [`is_concealing`] is true.
pub(super) struct Concealing(());

impl Concealing {
    pub(super) fn begin() -> Self {
        CONCEALING.set(true);
        Concealing(())
    }
}

impl Drop for Concealing {
    fn drop(&mut self) {
        CONCEALING.set(false);
    }
}

/// Notes how far the client's message has been analysed.
///
/// # Safety
/// `query` is the analysed form of a statement of the client.
pub(super) unsafe fn note_analysed(query: *mut Query) {
    LAST.set((leaf::GetCurrentStatementStartTimestamp(), (*query).stmt_location.max(0)));
}

/// Puts hidden tables out of the reach of analysis. The parser looks for temporary tables only, and a name with its schema
/// in one piece is no table's; both are printed as they were. Names of CTEs are looked up before.
///
/// # Safety
/// `stmt` is a raw statement that may be modified.
pub(super) unsafe fn conceal_tables(stmt: *mut Node, tables: &[Oid]) {
    if tables.is_empty() {
        return;
    }
    walk::walk_raw(stmt, &mut |node, _| {
        if nodes::is_a(node, NodeTag::T_RangeVar) {
            let name = node.cast::<RangeVar>();
            if tables.contains(&naming::resolve(name)) {
                if !(*name).schemaname.is_null() {
                    let (schema, relation) = (nodes::string((*name).schemaname), nodes::string((*name).relname));
                    (*name).relname = nodes::pstr(&format!("{schema}.{relation}"));
                }
                (*name).catalogname = std::ptr::null_mut();
                (*name).schemaname = std::ptr::null_mut();
                (*name).relpersistence = pg_sys::RELPERSISTENCE_TEMP as _;
            }
        }
        Walk::Into
    });
}

/// Raises the error for the first name of a hidden table's row type, as it is raised where a name cannot be found.
///
/// # Safety
/// `pstate` has the source text of `stmt`, a raw statement.
pub(super) unsafe fn refuse_types(pstate: *mut ParseState, stmt: *mut Node, tables: &[Oid]) {
    if tables.is_empty() {
        return;
    }
    walk::walk_raw(stmt, &mut |node, _| {
        if nodes::is_a(node, NodeTag::T_TypeName) {
            let name = node.cast::<pg_sys::TypeName>();
            let row = naming::row_relation(naming::resolve_type(name));
            if row != Oid::INVALID && tables.contains(&row) {
                let name_text = nodes::string(pg_sys::TypeNameToString(name));
                let message = format!("type \"{name_text}\" does not exist");
                report::parser_error(pstate, ERRCODE_UNDEFINED_OBJECT, &message, (*name).location);
            }
        }
        Walk::Into
    });
}

/// Raises the error for a hidden table that analysis has found all the same.
///
/// # Safety
/// `pstate` is a valid parse state.
pub(super) unsafe fn raise(pstate: *mut ParseState, table: Oid) -> ! {
    let name = pg::relation_name(table).map_or_else(String::new, |(_, name)| name);
    let message = format!("relation \"{name}\" does not exist");
    report::parser_error(pstate, ERRCODE_UNDEFINED_TABLE, &message, -1)
}

/// Whether an error comes from the analysis of a statement of the client, so that [`judge`] is to be asked.
///
/// # Safety
/// `error` is valid.
pub(crate) unsafe fn is_of_analysis(error: *mut ErrorData) -> bool {
    let file = nodes::string((*error).filename);
    (file.starts_with("parse_") || file == "analyze.c") && !is_concealing() && !frames::nested()
}

/// What becomes of an error of analysis.
pub(crate) enum Verdict {
    /// This one takes its place: what analysis says when what is hidden does not exist.
    Instead(*mut ErrorData),
    /// It stands as it is: nothing hidden takes part in the statement.
    Harmless,
    /// It stands, and may hint at something hidden.
    Suspect,
}

/// Judges an error that analysis raised for a statement of the client.
///
/// # Safety
/// The error state is empty, and an error will be raised in any case.
pub(crate) unsafe fn judge(session: &Session) -> Verdict {
    // What else is wrong with the statement, a name in another database for one, was in the first error.
    PgTryBuilder::new(AssertUnwindSafe(|| unguarded(session)))
        .catch_others(|_| Verdict::Suspect)
        .execute()
}

unsafe fn unguarded(session: &Session) -> Verdict {
    let Some(stmt) = failed_statement() else {
        return Verdict::Suspect;
    };
    let (location, length) = ((*stmt).stmt_location, (*stmt).stmt_len);
    let stmt = naming::analysed_statement((*stmt).stmt);
    if !matches!(
        nodes::tag(stmt),
        NodeTag::T_SelectStmt
            | NodeTag::T_InsertStmt
            | NodeTag::T_UpdateStmt
            | NodeTag::T_DeleteStmt
            | NodeTag::T_MergeStmt
    ) {
        return Verdict::Suspect;
    }
    let hidden = Hidden::in_raw(session, stmt);
    if hidden.is_empty() {
        // A function can return rows of a table with hidden columns.
        let calls = |node: *mut Node, _| match nodes::tag(node) {
            NodeTag::T_RangeFunction => Walk::Stop,
            _ => Walk::Into,
        };
        return if walk::walk_raw(stmt, &mut { calls }) {
            Verdict::Suspect
        } else {
            Verdict::Harmless
        };
    }
    CAUGHT.set(std::ptr::null_mut());
    PgTryBuilder::new(AssertUnwindSafe(|| analyse(stmt, &hidden)))
        .catch_others(|_| ())
        .execute();
    let caught = CAUGHT.replace(std::ptr::null_mut());
    // Others can be about parameters, whose types are not known here.
    let codes = [
        ERRCODE_UNDEFINED_TABLE,
        ERRCODE_UNDEFINED_COLUMN,
        ERRCODE_UNDEFINED_OBJECT,
    ];
    if !caught.is_null() && codes.contains(&PgSqlErrorCode::from((*caught).sqlerrcode as isize)) {
        crate::audit::named_hidden(session, &hidden.tables, &hidden.columns, caught, location, length);
        Verdict::Instead(caught)
    } else {
        Verdict::Suspect
    }
}

/// The statement of the client's message that failed: the one that is being run, or the first that was not analysed.
unsafe fn failed_statement() -> Option<*mut RawStmt> {
    let text = pg_sys::debug_query_string;
    if text.is_null() {
        return None;
    }
    let (message, place) = LAST.get();
    let last = (message == pg_sys::GetCurrentStatementStartTimestamp()).then_some(place);
    let stmts = pg_sys::raw_parser(text, pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
    list::iter::<RawStmt>(stmts).find(|stmt| match last {
        None => true,
        Some(place) if frames::is_outermost() => (**stmt).stmt_location > place,
        Some(place) => (**stmt).stmt_location == place,
    })
}

unsafe fn analyse(stmt: *mut Node, hidden: &Hidden) {
    let mut types: *mut Oid = std::ptr::null_mut();
    let mut number = 0;
    let pstate = pg_sys::make_parsestate(std::ptr::null_mut());
    (*pstate).p_sourcetext = pg_sys::debug_query_string;
    pg_sys::setup_parse_variable_parameters(pstate, &mut types, &mut number);
    let raw = nodes::make::<RawStmt>(NodeTag::T_RawStmt);
    (*raw).stmt = stmt;
    let _concealing = Concealing::begin();
    let _catch = Catch::begin();
    refuse_types(pstate, stmt, &hidden.row_types);
    conceal_tables(stmt, &hidden.tables);
    let patches = hidden.conceal_columns(pg_sys::AccessShareLock);
    pg_sys::transformTopLevelStmt(pstate, raw);
    drop(patches);
    pg_sys::free_parsestate(pstate);
}

/// Keeps a copy of the error that is raised while this value lives.
struct Catch {
    callback: Box<ErrorContextCallback>,
}

impl Catch {
    unsafe fn begin() -> Self {
        let mut callback = Box::new(ErrorContextCallback {
            previous: pg_sys::error_context_stack,
            callback: Some(keep_copy),
            arg: std::ptr::null_mut(),
        });
        pg_sys::error_context_stack = &mut *callback;
        Catch { callback }
    }
}

impl Drop for Catch {
    fn drop(&mut self) {
        // SAFETY: this scope is the innermost one that is left.
        unsafe { pg_sys::error_context_stack = self.callback.previous };
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn keep_copy(_arg: *mut c_void) {
    let context = pg_sys::MemoryContextSwitchTo(pg_sys::MessageContext);
    CAUGHT.set(pg_sys::CopyErrorData());
    pg_sys::MemoryContextSwitchTo(context);
}
