//! `betweenrows.decision_context`: what decision functions are told.

use pgrx::pg_sys::{self, CmdType, RawStmt};
use pgrx::{JsonB, prelude::*};

use super::rewritten_query::Assumed;
use crate::expression::code;
use crate::pg::{self, list, nodes};
use crate::{catalog, errors, gate};

/// What functions would be told now about the session of a user, by default the caller, and about a statement of that
/// user's.
///
/// Errors: 42704 for an unknown role, 42601 for more than one statement, 0A000 for a utility statement, and whatever the
/// statement itself raises.
#[pg_extern(sql = false)]
fn decision_context(username: Option<&str>, query: Option<&str>) -> JsonB {
    // SAFETY: reads backend state.
    let own = unsafe { pg_sys::GetSessionUserId() };
    let role = match username {
        None => own,
        Some(name) => pg::role_oid(name).unwrap_or_else(|| errors::undefined_role(name)),
    };
    let Some(session) = catalog::session_of(role) else {
        errors::catalog_unreadable()
    };
    let shown = match query {
        // SAFETY: no statement is one.
        None => unsafe { gate::shown_context(&session, std::ptr::null_mut()) },
        Some(text) => {
            // The author of a function asks about everything that is there.
            let _assumed = Assumed::enter(None);
            pg::with_rights_of(own, || {
                // SAFETY: parses and analyses in the current memory context, as PostgreSQL does for a statement.
                code::without_foreign_code(|| unsafe { gate::shown_context(&session, analysed(text)) })
            })
        }
    };
    JsonB(serde_json::from_str(&shown).expect("a context is JSON"))
}

unsafe fn analysed(text: &str) -> *mut pg_sys::Query {
    let source = nodes::pstr(text);
    let stmts = pg_sys::raw_parser(source, pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
    if list::len(stmts) != 1 {
        errors::not_one_statement();
    }
    let stmt: *mut RawStmt = list::nth(stmts, 0);
    let (mut types, mut count) = (std::ptr::null_mut(), 0);
    let query = pg_sys::parse_analyze_varparams(stmt, source, &mut types, &mut count, std::ptr::null_mut());
    if (*query).commandType == CmdType::CMD_UTILITY {
        errors::unsupported(
            "cannot tell of a utility statement",
            "Pass a SELECT, INSERT, UPDATE, DELETE or MERGE statement.",
        );
    }
    query
}
