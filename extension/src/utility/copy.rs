//! COPY.
//!
//! Invariant: COPY TO of a governed relation is the COPY of a query, which is rewritten like every query; COPY FROM, which
//! passes neither planner nor executor, is refused where a policy would have a say about the rows.

use pgrx::pg_sys::{self, CopyStmt, List, NodeTag, PlannedStmt};
use policy::model::{Check, Definition};

use super::names::{self, Found, Restricted};
use crate::catalog::Session;
use crate::catalog::governance::{Column, Governance, Reading, State};
use crate::errors;
use crate::pg::{list, nodes, privileges, relation};

/// Treats a COPY; returns whether it was replaced by the COPY of a query.
///
/// # Safety
/// `stmt` is a planned COPY, replaced by a copy if need be.
pub(super) unsafe fn before(session: &Session, stmt: &mut *mut PlannedStmt) -> bool {
    let copy: *mut CopyStmt = (**stmt).utilityStmt.cast();
    if (*copy).relation.is_null() {
        // The query is analysed and planned like any other.
        return false;
    }
    let target = match names::look(session, (*copy).relation) {
        Found::Nothing | Found::Free(None) => return false,
        Found::Free(Some(governance)) => {
            let names = named_columns(&governance, copy);
            let (read, written) = if (*copy).is_from {
                (Vec::new(), names)
            } else {
                (names, Vec::new())
            };
            crate::audit::relation_touched(session, &governance, "copy", read, written);
            return false;
        }
        Found::Hidden => names::raise_missing((*copy).relation, std::ptr::null()),
        Found::Restricted(target) => target,
    };
    match target.governance.state {
        State::Reserved if !privileges::reach(target.governance.relid) => return false,
        State::Reserved => errors::reserved_relation(),
        State::ShutOut => errors::shut_out(session),
        State::Broken => errors::policy_unusable(),
        State::Open | State::Governed => {}
    }
    if (*copy).is_from {
        refuse_governed_input(session, &target, copy);
        let columns = copied_columns(&target, copy)
            .into_iter()
            .map(|column| column.facts.name.clone());
        let written = columns.collect();
        crate::audit::relation_touched(session, &target.governance, "copy", Vec::new(), written);
        return false;
    }
    if !relation::is_copied(target.governance.relid) {
        // PostgreSQL refuses to copy from this kind of relation.
        return false;
    }
    let own: *mut PlannedStmt = nodes::copy(*stmt);
    let copy: *mut CopyStmt = (*own).utilityStmt.cast();
    (*copy).query = select(&target, copy);
    (*copy).relation = std::ptr::null_mut();
    (*copy).attlist = std::ptr::null_mut();
    *stmt = own;
    true
}

/// The columns that COPY is about, of a relation whose columns all exist for the subject.
unsafe fn named_columns(governance: &Governance, copy: *mut CopyStmt) -> Vec<String> {
    let listed = list::iter::<pg_sys::String>((*copy).attlist).map(|name| nodes::string((*name).sval));
    let listed: Vec<String> = listed.collect();
    let columns = governance.columns.iter().map(|column| &column.facts);
    let copied = columns
        .filter(|facts| !facts.dropped && !facts.generated && (listed.is_empty() || listed.contains(&facts.name)));
    copied.map(|facts| facts.name.clone()).collect()
}

/// `SELECT columns FROM ONLY relation`, with the columns and errors of `COPY relation TO`.
unsafe fn select(target: &Restricted, copy: *mut CopyStmt) -> *mut pg_sys::Node {
    let mut entries: *mut List = std::ptr::null_mut();
    for column in copied_columns(target, copy) {
        let reference = nodes::make::<pg_sys::ColumnRef>(NodeTag::T_ColumnRef);
        (*reference).fields = list::of(pg_sys::makeString(nodes::pstr(&column.facts.name)));
        (*reference).location = -1;
        let entry = nodes::make::<pg_sys::ResTarget>(NodeTag::T_ResTarget);
        (*entry).val = reference.cast();
        (*entry).location = -1;
        entries = list::push(entries, entry);
    }
    let relid = target.governance.relid;
    let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relid));
    let from = pg_sys::makeRangeVar(schema, pg_sys::get_rel_name(relid), -1);
    (*from).inh = false;
    let select = nodes::make::<pg_sys::SelectStmt>(NodeTag::T_SelectStmt);
    (*select).targetList = entries;
    (*select).fromClause = list::of(from);
    select.cast()
}

/// The columns that COPY is about: those it lists, or all but generated ones. Hidden ones do not exist.
unsafe fn copied_columns(target: &Restricted, copy: *mut CopyStmt) -> Vec<&Column> {
    if (*copy).attlist.is_null() {
        return target.columns().filter(|column| !column.facts.generated).collect();
    }
    let mut columns: Vec<&Column> = Vec::new();
    for name in list::iter::<pg_sys::String>((*copy).attlist) {
        let name = nodes::string((*name).sval);
        match target.columns().find(|column| column.facts.name == name) {
            None => errors::missing_column(&name, &nodes::string((*(*copy).relation).relname)),
            Some(column) if column.facts.generated => errors::copied_generated_column(&name),
            Some(column) if columns.iter().any(|other| other.facts.attno == column.facts.attno) => {
                errors::copied_twice(&name)
            }
            Some(column) => columns.push(column),
        }
    }
    columns
}

/// Refuses COPY FROM where new rows would have to be checked, or where it sets what the subject may not set.
unsafe fn refuse_governed_input(session: &Session, target: &Restricted, copy: *mut CopyStmt) {
    let governance = &target.governance;
    let definition = |policy: usize| &session.catalog.policies[policy].definition;
    let demands_nothing =
        |policy: &usize| matches!(definition(*policy), Definition::RowFilter { check: Check::None, .. });
    let permissive = governance.filters.permissive.as_ref();
    let checked = !governance.filters.restrictive.iter().all(demands_nothing)
        || permissive.is_some_and(|policies| !policies.iter().any(demands_nothing));
    let masked = copied_columns(target, copy)
        .into_iter()
        .any(|column| match target.reading(column) {
            Reading::Raw | Reading::Blank => false,
            Reading::Hidden => true,
            Reading::Mask(policy) => !matches!(definition(policy), Definition::ColumnMask { writable: true, .. }),
        });
    let implied = (*copy).attlist.is_null() && target.hides_columns();
    // Rows that go to a partition with policies of its own are not judged here.
    let routed = relation::is_partitioned(governance.relid) && !governance.exceptions.is_empty();
    if checked || masked || implied || routed || relation::is_view(governance.relid) {
        errors::unsupported(
            "COPY FROM is not supported for a relation or columns that policies restrict",
            "Use INSERT statements instead.",
        );
    }
}
