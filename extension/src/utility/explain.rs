//! EXPLAIN.
//!
//! Invariant: of a statement that concerns anything governed a subject sees the shape of the plan: kinds of nodes, and names
//! that the statement leads to. Conditions, constants, keys, estimates, partitions and whatever comes from policies are not
//! shown, in any format, and such a statement is not run to be measured, since that counts hidden rows.
//!
//! The statement's options are judged before it runs; [`plan`](super::plan) makes what is shown of each plan, which also
//! covers the ways past the planner: EXPLAIN EXECUTE and extensions.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::c_char;

use pgrx::pg_sys::{self, DefElem, ExplainStmt, List, Node, NodeTag, Oid, PlannedStmt, Query, QueryDesc};
use pgrx::prelude::*;

use super::plan;
use crate::catalog::governance::State;
use crate::catalog::{self, Session, epoch};
use crate::guard::frames;
use crate::pg::{compat, list, nodes, report, walk};
use crate::{audit, errors, rewrite, visibility};

/// What the explained statement names before policies are put into it.
#[derive(Default)]
pub(super) struct Known {
    /// Relations, views and what they select from included.
    pub(super) relations: HashSet<Oid>,
    /// Aliases and names of WITH queries.
    pub(super) names: HashSet<String>,
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// Options that are about more than the shape, and what to do about them.
const OFF: [&str; 4] = ["verbose", "costs", "buffers", "memory"];
/// All other options of PostgreSQL's own.
const HARMLESS: [&str; 8] = [
    "analyze",
    "format",
    "generic_plan",
    "serialize",
    "settings",
    "summary",
    "timing",
    "wal",
];

/// Tells the audit which relation a refusal is about.
fn concern(session: &Session) {
    let relations = KNOWN.with_borrow(|known| {
        known
            .relations
            .iter()
            .copied()
            .min_by_key(|relid| (session.governance(*relid).state == State::Open, relid.to_u32()))
    });
    if let Some(relid) = relations {
        let governance = session.governance(relid);
        audit::collect::consider(
            session,
            &governance,
            rewrite::is_waived_for(session, Oid::INVALID, relid),
        );
    }
}

/// Judges an EXPLAIN; `stmt` is replaced by a copy if need be.
///
/// # Safety
/// `stmt` is a planned EXPLAIN, `source` the text of the statement.
pub(super) unsafe fn before(session: &Session, stmt: &mut *mut PlannedStmt, source: *const c_char) {
    let explain: *mut ExplainStmt = (**stmt).utilityStmt.cast();
    let mut known = Known::default();
    let mut governed = false;
    for query in queries((*explain).query) {
        known.add(query);
        governed |= rewrite::touches(query, |relid| !session.is_unrestricted(relid));
    }
    KNOWN.set(known);
    if !governed {
        return;
    }
    let own: *mut PlannedStmt = nodes::copy(*stmt);
    let explain: *mut ExplainStmt = (*own).utilityStmt.cast();
    let mut options = (*explain).options;
    let mut analyze = false;
    let mut given = Vec::new();
    for option in list::iter::<DefElem>(options) {
        let name = nodes::string((*option).defname);
        if name == "analyze" {
            analyze = pg_sys::defGetBoolean(option);
        } else if !OFF.contains(&name.as_str()) && !HARMLESS.contains(&name.as_str()) {
            refuse_option(&name, (*option).location, source);
        }
        given.push(name);
    }
    if analyze {
        concern(session);
        errors::explain_analyze();
    }
    // The last value of an option counts. Those that are off by default may be unknown to this version.
    for name in OFF {
        if name == "costs" || given.iter().any(|given| given == name) {
            let off = pg_sys::makeDefElem(nodes::pstr(name), pg_sys::makeString(nodes::pstr("off")).cast(), -1);
            options = list::push(options, off);
        }
    }
    (*explain).options = options;
    *stmt = own;
}

/// The error of an option that does not exist: those of extensions could show anything.
unsafe fn refuse_option(name: &str, location: i32, source: *const c_char) -> ! {
    let pstate = pg_sys::make_parsestate(std::ptr::null_mut());
    (*pstate).p_sourcetext = source;
    report::parser_error(
        pstate,
        PgSqlErrorCode::ERRCODE_SYNTAX_ERROR,
        &format!("unrecognized EXPLAIN option \"{name}\""),
        location,
    )
}

/// The queries that are explained, with views and rules expanded.
unsafe fn queries(explained: *mut Node) -> Vec<*mut Query> {
    let mut query: *mut Query = explained.cast();
    while (*query).commandType == pg_sys::CmdType::CMD_UTILITY {
        let stmt = (*query).utilityStmt;
        query = match nodes::tag(stmt) {
            NodeTag::T_CreateTableAsStmt => (*stmt.cast::<pg_sys::CreateTableAsStmt>()).query.cast(),
            NodeTag::T_DeclareCursorStmt => (*stmt.cast::<pg_sys::DeclareCursorStmt>()).query.cast(),
            NodeTag::T_ExecuteStmt => {
                let prepared = pg_sys::FetchPreparedStatement((*stmt.cast::<pg_sys::ExecuteStmt>()).name, false);
                if prepared.is_null() {
                    return Vec::new();
                }
                return list::iter((*(*prepared).plansource).query_list).collect();
            }
            _ => return Vec::new(),
        };
    }
    list::iter(pg_sys::QueryRewrite(nodes::copy(query))).collect()
}

impl Known {
    unsafe fn add(&mut self, query: *mut Query) {
        walk::any_query(query, &mut |query| {
            for rte in list::iter::<pg_sys::RangeTblEntry>((*query).rtable) {
                if (*rte).relid != Oid::INVALID {
                    self.relations.insert((*rte).relid);
                }
                if let pg_sys::RTEKind::RTE_SUBQUERY = (*rte).rtekind {
                    self.relations.extend(compat::view_of_subquery(rte));
                }
                self.names.insert(nodes::string((*(*rte).eref).aliasname));
            }
            for cte in list::iter::<pg_sys::CommonTableExpr>((*query).cteList) {
                self.names.insert(nodes::string((*cte).ctename));
            }
            false
        });
    }
}

/// Whether a plan that is about to be started is what an EXPLAIN is about.
pub(crate) fn is_shown(eflags: i32) -> bool {
    is_only_shown(eflags) || frames::explaining()
}

fn is_only_shown(eflags: i32) -> bool {
    eflags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as i32 != 0
}

/// Looks at a plan that is about to be started. Returns whether it is only to be shown to a subject and governed; then it was
/// replaced by a copy, and [`conceal`] is to follow.
///
/// # Safety
/// The arguments are those of `ExecutorStart_hook`.
pub(crate) unsafe fn at_start(query_desc: *mut QueryDesc, eflags: i32) -> bool {
    let only_shown = is_only_shown(eflags);
    if !is_shown(eflags) || !epoch::is_installed() {
        return false;
    }
    let Some(session) = catalog::current() else {
        return false;
    };
    if !is_governed(&session, (*query_desc).plannedstmt) {
        return false;
    }
    if !only_shown {
        errors::explain_analyze();
    }
    (*query_desc).plannedstmt = nodes::copy((*query_desc).plannedstmt);
    true
}

/// Lets a plan be shown without what the subject must not see. It is never run.
///
/// # Safety
/// `query_desc` was started after [`at_start`] returned true.
pub(crate) unsafe fn conceal(query_desc: *mut QueryDesc) {
    if let Some(session) = catalog::current() {
        KNOWN.with_borrow(|known| plan::conceal(&session, known, query_desc));
    }
}

/// Gives a plan that was shown its own state back.
///
/// # Safety
/// The argument is that of `ExecutorEnd_hook`.
pub(crate) unsafe fn at_end(query_desc: *mut QueryDesc) {
    plan::restore(query_desc);
}

/// Whether a plan reads or writes anything that policies have a say about, or anything for their sake.
unsafe fn is_governed(session: &Session, stmt: *mut PlannedStmt) -> bool {
    let entries: *mut List = (*stmt).rtable;
    list::iter::<pg_sys::RangeTblEntry>(entries).any(|rte| {
        let proven = (*rte).rtekind == pg_sys::RTEKind::RTE_RELATION && !(*rte).enrname.is_null();
        let relid = (*rte).relid;
        relid != Oid::INVALID && (!session.is_unrestricted(relid) || (proven && !session.governance(relid).noted))
    })
}

/// The name that EXPLAIN shows instead of an index's own, `None` for the own name.
pub(crate) fn index_name(index: Oid) -> Option<&'static std::ffi::CStr> {
    if !frames::explaining() {
        return None;
    }
    if index == Oid::INVALID {
        return Some(plan::HIDDEN);
    }
    let session = catalog::current()?;
    (!visibility::shows(&session, index)).then_some(plan::HIDDEN)
}
