//! Code that is attached to tables, while a statement of a subject makes it run over stored rows.
//!
//! Triggers, checks and their like belong to a table and see its rows as they are stored, masked and hidden columns included.
//! Invariant: where they do so for a subject from whom policies keep some of that, the code is not the subject's own, and the
//! subject does not choose what the names in it stand for: it runs without schemas that have something of the subject's in
//! them, and what is temporary comes last.
//!
//! Such functions are noted when the statement is rewritten and never forgotten: PostgreSQL calls them through its wrapper
//! from then on, and what is to be done is decided at each call.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::ffi::CString;

use pgrx::pg_sys::{self, CmdType, Datum, Oid, Query};

use super::{frames, trust};
use crate::catalog::governance::State;
use crate::catalog::known;
use crate::catalog::{self, Session};
use crate::pg::{attached, list, nodes, pinned, privileges, relation, walk};
use crate::{errors, identity};

thread_local! {
    /// Whether there are any.
    static ANY: Cell<bool> = const { Cell::new(false) };
    static FUNCTIONS: RefCell<HashSet<Oid>> = RefCell::default();
    /// The tables whose functions were noted, each with what counts the changes to it.
    static TABLES: RefCell<HashMap<Oid, u64>> = RefCell::default();
    /// Whether schemas have something of a subject's in them, by subject and schema, each with what counts the changes to it.
    static SCHEMAS: RefCell<HashMap<(Oid, Oid), (u64, bool)>> = RefCell::default();
}

/// Notes the functions that a statement will run over rows that are not the subject's to see as they are.
///
/// # Safety
/// `query` is a valid rewritten query.
pub(crate) unsafe fn note(session: &Session, query: *mut Query) {
    walk::any_query(query, &mut |query| {
        let reads_row = match (*query).commandType {
            CmdType::CMD_UPDATE | CmdType::CMD_DELETE | CmdType::CMD_MERGE => true,
            CmdType::CMD_INSERT => !(*query).onConflict.is_null(),
            _ => false,
        };
        if reads_row && (*query).resultRelation > 0 {
            note_table(session, (*nodes::rte(query, (*query).resultRelation as usize)).relid);
        }
        false
    });
}

unsafe fn note_table(session: &Session, relid: Oid) {
    let governance = session.governance(relid);
    // Filters hold wherever the statement is the subject's.
    let unfiltered = frames::below_trusted_function() || frames::Surroundings::now().referential;
    if governance.state != State::Governed
        || !(governance.alters_columns(false) || (unfiltered && !governance.is_unrestricted(true)))
    {
        return;
    }
    let changes = known::changes();
    if TABLES.with_borrow(|tables| tables.get(&relid) == Some(&changes)) {
        return;
    }
    let tables = std::iter::once(relid).chain(relation::descendants(relid));
    let functions: Vec<Oid> = tables.flat_map(attached::functions).collect();
    ANY.set(ANY.get() || !functions.is_empty());
    FUNCTIONS.with_borrow_mut(|noted| noted.extend(functions));
    TABLES.with_borrow_mut(|tables| tables.insert(relid, changes));
}

/// Whether a function has to be called through the wrapper, so that [`started`] hears of it. Calls nothing of PostgreSQL's.
pub(crate) fn is_noted(function: Oid) -> bool {
    ANY.get() && FUNCTIONS.with_borrow(|noted| noted.contains(&function))
}

/// What is kept beside a way to call a function, from the beginning of a call to its end.
struct Call {
    /// The nest level of what was pinned, 0 for nothing.
    pinned: i32,
    /// What the next hook keeps.
    next: Datum,
}

/// Where the next hook keeps what it keeps.
///
/// # Safety
/// `state` is the last argument of `fmgr_hook`, after [`started`].
pub(crate) unsafe fn state_of_next(state: *mut Datum) -> *mut Datum {
    &raw mut (*(*state).cast_mut_ptr::<Call>()).next
}

/// Judges a call that begins, and pins what names stand for.
///
/// # Safety
/// The arguments are those of `fmgr_hook`.
pub(crate) unsafe fn started(function: *mut pg_sys::FmgrInfo, state: *mut Datum) {
    if (*state).value() == 0 {
        *state = Datum::from(pg_sys::MemoryContextAllocZero((*function).fn_mcxt, size_of::<Call>()));
    }
    let call: *mut Call = (*state).cast_mut_ptr();
    (*call).pinned = 0;
    let Some(session) = is_noted((*function).fn_oid).then(catalog::current).flatten() else {
        return;
    };
    if is_own(&session, (*function).fn_oid) {
        errors::attached_code_refused();
    }
    if let Some(path) = safe_search_path(session.subject.role) {
        (*call).pinned = pinned::begin(&[(c"search_path", path.as_c_str())]);
    }
}

/// Takes back what [`started`] pinned. After an error the end of the (sub)transaction does.
///
/// # Safety
/// `state` is the last argument of `fmgr_hook`.
pub(crate) unsafe fn ended(state: *mut Datum) {
    let call: *mut Call = (*state).cast_mut_ptr();
    if (*call).pinned != 0 {
        pinned::end((*call).pinned);
    }
}

/// The schemas that names are looked for in, without those that have something of the subject's in them and with what is
/// temporary last; `None` when they are like that already.
unsafe fn safe_search_path(subject: Oid) -> Option<CString> {
    let is_safe = |schema: &Oid| !pg_sys::isTempNamespace(*schema) && !has_something_in(subject, *schema);
    let schemas: Vec<Oid> = list::iter_oid(pg_sys::fetch_search_path(true)).collect();
    if schemas.iter().all(is_safe) {
        return None;
    }
    let catalog = Oid::from(pg_sys::PG_CATALOG_NAMESPACE);
    let others = schemas
        .into_iter()
        .filter(|schema| *schema != catalog && is_safe(schema));
    let safe = others.map(|schema| {
        let name = pg_sys::get_namespace_name(schema);
        if name.is_null() {
            // Dropped meanwhile.
            String::from("pg_catalog")
        } else {
            nodes::string(pg_sys::quote_identifier(name))
        }
    });
    let mut path = vec![String::from("pg_catalog")];
    path.extend(safe);
    path.push(String::from("pg_temp"));
    CString::new(path.join(", ")).ok()
}

fn has_something_in(subject: Oid, schema: Oid) -> bool {
    if crate::pg::is_builtin(schema) && schema != Oid::from(pg_sys::PG_PUBLIC_NAMESPACE) {
        return false;
    }
    let changes = known::changes();
    let known = SCHEMAS.with_borrow(|schemas| schemas.get(&(subject, schema)).copied());
    match known {
        Some((at, found)) if at == changes => found,
        _ => {
            let found = privileges::has_something_in(subject, schema);
            SCHEMAS.with_borrow_mut(|schemas| schemas.insert((subject, schema), (changes, found)));
            found
        }
    }
}

/// Whether the subject could have written the function. What an exempt role owns is not the subject's to change, also when it
/// is a member.
unsafe fn is_own(session: &Session, function: Oid) -> bool {
    let subject = session.subject.role;
    trust::function_owner(function).is_none_or(|owner| {
        owner == subject
            || (pg_sys::is_member_of_role_nosuper(subject, owner) && !identity::is_exempt(&session.catalog, owner))
    })
}
