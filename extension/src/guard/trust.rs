//! Views and functions that an administrator declassified.
//!
//! Invariant: the trust is in what the administrator saw. It ends when the object is replaced, renamed or re-owned, and is
//! suspended while a function's owner is not exempt. It is kept by name and text, not by OID, so that it survives a dump.

use std::cell::Cell;
use std::collections::HashSet;

use pgrx::direct_function_call;
use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;

use crate::catalog::{self, epoch};
use crate::guard::frames;
use crate::pg::pinned::Pinned;
use crate::pg::scan::Row;
use crate::pg::{self, nodes};

thread_local! {
    /// Whether any function is trusted.
    static TRUSTS_FUNCTIONS: Cell<bool> = const { Cell::new(false) };
}

/// What can be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A view.
    View,
    /// A function or procedure.
    Function,
}

impl Kind {
    /// The text form, as in the catalog.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::View => "view",
            Kind::Function => "function",
        }
    }

    /// The kind from its text form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Kind::View, Kind::Function]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }

    /// The system catalog with the object's row.
    pub(crate) fn class(self) -> Oid {
        match self {
            Kind::View => pg_sys::RelationRelationId,
            Kind::Function => pg_sys::ProcedureRelationId,
        }
    }
}

/// An object as far as the trust in it goes.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Object {
    /// Schema-qualified, a function's with its argument types.
    pub(crate) identity: String,
    /// The name of the owner.
    pub(crate) owner: String,
    /// The whole definition.
    pub(crate) definition: String,
}

impl Object {
    /// The object as it is now; `None` when there is none.
    pub(crate) fn look_at(kind: Kind, oid: Oid) -> Option<Object> {
        with_empty_search_path(|| match kind {
            Kind::View => view(oid),
            Kind::Function => function(oid),
        })
    }
}

/// The trusted objects, as (system catalog, OID), that are still what they were when they were trusted.
pub(crate) fn load(rows: &[Row], exempt: &HashSet<Oid>) -> Result<HashSet<(Oid, Oid)>, String> {
    let mut trusted = HashSet::new();
    for row in rows {
        trusted.extend(current(row, exempt)?);
    }
    TRUSTS_FUNCTIONS.set(trusted.iter().any(|(class, _)| *class == Kind::Function.class()));
    let views = trusted.iter().filter(|(class, _)| *class == Kind::View.class());
    epoch::watch_views(views.map(|(_, oid)| *oid).collect());
    Ok(trusted)
}

/// The object that a row of the catalog is about, if the trust in it still holds.
fn current(row: &Row, exempt: &HashSet<Oid>) -> Result<Option<(Oid, Oid)>, String> {
    let Some(kind) = Kind::parse(row.text("kind")?) else {
        return Ok(None);
    };
    let stored = Object {
        identity: row.text("identity")?.to_owned(),
        owner: row.text("owner")?.to_owned(),
        definition: row.text("definition")?.to_owned(),
    };
    let (schema, name) = (row.text("schema_name")?, row.text("object_name")?);
    // What cannot be looked at is not trusted.
    let found = PgTryBuilder::new(std::panic::AssertUnwindSafe(|| {
        let oid = find(kind, schema, name, &stored.identity)?;
        (Object::look_at(kind, oid)? == stored && may_be_trusted(kind, oid, exempt)).then_some((kind.class(), oid))
    }))
    .catch_when(PgSqlErrorCode::ERRCODE_QUERY_CANCELED, |error| error.rethrow())
    .catch_others(|_| None)
    .execute();
    Ok(found)
}

/// Whether the owner may have such an object trusted: a function's has to be exempt.
fn may_be_trusted(kind: Kind, oid: Oid, exempt: &HashSet<Oid>) -> bool {
    // SAFETY: cached catalog lookups.
    kind == Kind::View
        || unsafe { function_owner(oid) }.is_some_and(|owner| {
            // SAFETY: as above.
            exempt.contains(&owner) || unsafe { pg_sys::superuser_arg(owner) }
        })
}

/// The object of that name; for a function the identity tells overloaded ones apart.
pub(crate) fn find(kind: Kind, schema: &str, name: &str, identity: &str) -> Option<Oid> {
    // SAFETY: catalog lookups by name; the list is released after the last use of its members.
    unsafe {
        let namespace = pg_sys::get_namespace_oid(nodes::pstr(schema), true);
        if namespace == Oid::INVALID {
            return None;
        }
        if kind == Kind::View {
            let oid = pg_sys::get_relname_relid(nodes::pstr(name), namespace);
            return (oid != Oid::INVALID).then_some(oid);
        }
        let none = pg_sys::Datum::from(0);
        let cache = pg_sys::SysCacheIdentifier::PROCNAMEARGSNSP as _;
        let list = pg_sys::SearchSysCacheList(cache, 1, pg_sys::Datum::from(nodes::pstr(name)), none, none);
        let members = (*list).members.as_slice((*list).n_members as usize);
        let functions: Vec<Oid> = members
            .iter()
            .map(|&member| (*pg_sys::GETSTRUCT(&raw mut (*member).tuple).cast::<pg_sys::FormData_pg_proc>()).oid)
            .collect();
        pg_sys::ReleaseCatCacheList(list);
        functions
            .into_iter()
            .find(|oid| nodes::string(pg_sys::format_procedure_qualified(*oid)) == identity)
    }
}

fn view(oid: Oid) -> Option<Object> {
    // SAFETY: what belongs to the relation cache entry is copied before the relation is closed.
    unsafe {
        let relation = pg_sys::try_relation_open(oid, pg_sys::AccessShareLock as _);
        if relation.is_null() {
            return None;
        }
        // A view that is being dropped has lost its rule already.
        if (*(*relation).rd_rel).relkind as u8 != pg_sys::RELKIND_VIEW || (*relation).rd_rules.is_null() {
            pg_sys::relation_close(relation, pg_sys::AccessShareLock as _);
            return None;
        }
        let owner = (*(*relation).rd_rel).relowner;
        let options = (*relation).rd_options.cast::<pg_sys::ViewOptions>();
        let (barrier, invoker) = if options.is_null() {
            (false, false)
        } else {
            ((*options).security_barrier, (*options).security_invoker)
        };
        let query = nodes::copy(pg_sys::get_view_query(relation));
        pg_sys::relation_close(relation, pg_sys::NoLock as _);
        let text = nodes::string(pg_sys::pg_get_querydef(query, false));
        let (schema, name) = pg::relation_name(oid)?;
        Some(Object {
            identity: pgrx::spi::quote_qualified_identifier(schema, name),
            owner: pg::role_name(owner)?,
            definition: format!("security_barrier={barrier}, security_invoker={invoker}: {text}"),
        })
    }
}

fn function(oid: Oid) -> Option<Object> {
    // SAFETY: catalog lookups that copy what they return.
    unsafe {
        let owner = function_owner(oid)?;
        Some(Object {
            identity: nodes::string(pg_sys::format_procedure_qualified(oid)),
            owner: pg::role_name(owner)?,
            definition: direct_function_call::<String>(pg_sys::pg_get_functiondef, &[oid.into_datum()])?,
        })
    }
}

/// The owner of a function, `None` when there is none.
///
/// # Safety
/// Needs a transaction.
pub(crate) unsafe fn function_owner(oid: Oid) -> Option<Oid> {
    let cache = pg_sys::SysCacheIdentifier::PROCOID as _;
    let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(oid));
    if tuple.is_null() {
        return None;
    }
    let owner = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>()).proowner;
    pg_sys::ReleaseSysCache(tuple);
    Some(owner)
}

/// Runs `f` with nothing but PostgreSQL's own schema in the search_path, so that definitions name everything in full.
fn with_empty_search_path<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: every role may set it.
    let _pinned = unsafe { Pinned::new(&[(c"search_path", c"pg_catalog")]) };
    f()
}

/// Notes that a function is called that PostgreSQL calls through its security wrapper, which all trusted functions are.
/// Below a trusted one every function that is not built in is noted, so that what it runs is not taken for the trusted
/// function's own.
pub(crate) fn function_started(function: Oid) {
    if !epoch::is_installed() {
        return;
    }
    let trusted = catalog::current().is_some_and(|session| {
        session
            .catalog
            .trusted
            .contains(&(pg_sys::ProcedureRelationId, function))
    });
    if trusted || frames::below_trusted_function() {
        frames::enter(frames::Kind::Function { function, trusted });
    }
}

/// Whether a function has to be called through the security wrapper, so that [`function_started`] hears of it.
///
/// How a function is called is decided once for an expression that is kept, such as a cast of PL/pgSQL, so it is not enough
/// to answer while a trusted function runs. Functions in C cost too much that way and run no statements of their users; what
/// the planner calls runs inside its frame.
pub(crate) fn must_be_noted(function: Oid) -> bool {
    if pg::is_builtin(function) {
        return false;
    }
    frames::below_trusted_function() || (TRUSTS_FUNCTIONS.get() && !frames::planning() && !is_c_function(function))
}

fn is_c_function(function: Oid) -> bool {
    let cache = pg_sys::SysCacheIdentifier::PROCOID as _;
    // SAFETY: the tuple is read before it is released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(function));
        if tuple.is_null() {
            return false;
        }
        let language = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>()).prolang;
        pg_sys::ReleaseSysCache(tuple);
        [pg_sys::ClanguageId, pg_sys::INTERNALlanguageId].contains(&language.to_u32())
    }
}
