//! `betweenrows.rewritten_query`: what would run for a user, as SQL.

use pgrx::pg_sys::{self, NodeTag, Query, RawStmt};
use pgrx::prelude::*;

use crate::catalog::{self, Session};
use crate::expression::code;
use crate::pg::{self, list, nodes, walk};
use crate::{errors, identity, rewrite};

/// The statement as it would run for a user, with filters in WHERE and masks in place.
///
/// Arguments: `query`, one statement that reads or writes tables, parameters `$n` allowed; `username`, by default the
/// caller's. For an exempt role the text is the statement without changes.
///
/// Errors: 22023 for a null query, 42704 for an unknown role, 42601 for more than one statement, 0A000 for a utility
/// statement, and whatever the statement itself would raise for that user.
#[pg_extern(sql = false)]
fn rewritten_query(query: Option<&str>, username: Option<&str>) -> String {
    let Some(query) = query else {
        errors::invalid_parameter("query must not be null", "Pass the text of one statement.")
    };
    // SAFETY: reads backend state.
    let own = unsafe { pg_sys::GetSessionUserId() };
    let role = match username {
        None => own,
        Some(name) => pg::role_oid(name).unwrap_or_else(|| errors::undefined_role(name)),
    };
    let session =
        catalog::session_of(role).filter(|session| !identity::is_exempt(&session.catalog, session.subject.role));
    let _assumed = Assumed::enter(session.clone());
    // Analysis may run code, such as the check of a domain that a literal is of: not with the rights of the extension, nor
    // governed as the user that the statement is shown for.
    pg::with_rights_of(own, || {
        // SAFETY: parses, analyses and rewrites in the current memory context, as PostgreSQL does for a statement.
        code::without_foreign_code(|| unsafe { rewritten(query, session) })
    })
}

unsafe fn rewritten(text: &str, session: Option<Session>) -> String {
    let source = nodes::pstr(text);
    let stmts = pg_sys::raw_parser(source, pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
    if list::len(stmts) != 1 {
        errors::not_one_statement();
    }
    let stmt: *mut RawStmt = list::nth(stmts, 0);
    let (mut types, mut count) = (std::ptr::null_mut(), 0);
    let query = pg_sys::parse_analyze_varparams(stmt, source, &mut types, &mut count, std::ptr::null_mut());
    if (*query).commandType == pg_sys::CmdType::CMD_UTILITY {
        errors::unsupported(
            "cannot show a utility statement rewritten",
            "Pass a SELECT, INSERT, UPDATE, DELETE or MERGE statement.",
        );
    }
    debug_assert!(nodes::is_a(query, NodeTag::T_Query));
    let queries = pg_sys::QueryRewrite(query);
    let texts: Vec<String> = list::iter::<Query>(queries)
        .map(|query| {
            if let Some(session) = &session {
                rewrite::secure_for_display(session.clone(), query);
            }
            name_hidden_columns(query);
            qualify_columns(query);
            // Not "pretty": that leaves out parentheses that are needed, as in `(a > b) IN (SELECT …)`. Lines break either way.
            nodes::string(pg_sys::pg_get_querydef(query, false))
        })
        .collect();
    texts.join(";\n")
}

/// Gives the places of hidden columns in subqueries a name: without one they are taken for dropped columns, which a subquery
/// does not have, and a list of column aliases would name other columns than it means.
unsafe fn name_hidden_columns(query: *mut Query) {
    walk::any_query(query, &mut |query| {
        for rte in list::iter::<pg_sys::RangeTblEntry>((*query).rtable) {
            if (*rte).rtekind != pg_sys::RTEKind::RTE_SUBQUERY || (*rte).subquery.is_null() {
                continue;
            }
            let names = list::iter::<pg_sys::String>((*(*rte).eref).colnames);
            let columns = list::iter::<pg_sys::TargetEntry>((*(*rte).subquery).targetList);
            for (name, column) in names.zip(columns) {
                if *(*name).sval == 0 && !(*column).resname.is_null() {
                    (*name).sval = (*column).resname;
                }
            }
        }
        false
    });
}

/// Lets all columns be printed with their relation. The columns of a statement's only relation are not, and before 17 ORDER BY
/// would then take such a name for the result's column of that name. A second, empty entry in the range table prevents it.
unsafe fn qualify_columns(query: *mut Query) {
    if list::len((*query).rtable) == 1 && !(*query).sortClause.is_null() {
        let empty = nodes::make::<pg_sys::RangeTblEntry>(NodeTag::T_RangeTblEntry);
        (*empty).rtekind = pg_sys::RTEKind::RTE_RESULT;
        (*empty).eref = pg_sys::makeAlias(c"".as_ptr(), std::ptr::null_mut());
        (*query).rtable = list::push((*query).rtable, empty);
    }
}

/// Another subject, until dropped.
pub(super) struct Assumed;

impl Assumed {
    pub(super) fn enter(session: Option<Session>) -> Self {
        catalog::assume(Some(session));
        Assumed
    }
}

impl Drop for Assumed {
    fn drop(&mut self) {
        catalog::assume(None);
    }
}
