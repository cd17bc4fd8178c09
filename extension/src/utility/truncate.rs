//! TRUNCATE.
//!
//! Invariant: no row is removed that the subject cannot see, in a named table, its children, or tables that CASCADE reaches;
//! none of those is named that does not exist for the subject.

use pgrx::pg_sys::{self, List, Oid, RangeVar, TruncateStmt};

use super::names::{self, Found};
use crate::audit;
use crate::catalog::Session;
use crate::catalog::governance::State;
use crate::errors;
use crate::pg::{list, privileges, relation};

/// Judges a TRUNCATE.
///
/// # Safety
/// `stmt` is a valid statement.
pub(super) unsafe fn before(session: &Session, stmt: *mut TruncateStmt) {
    let mut removed = Vec::new();
    for name in list::iter::<RangeVar>((*stmt).relations) {
        let found = names::look(session, name);
        if matches!(found, Found::Hidden) {
            names::raise_missing(name, std::ptr::null());
        }
        if let Some(relid) = names::resolve(name) {
            if is_kept(session, relid) && !privileges::may_truncate(relid) {
                // PostgreSQL would come to that after the net has seen the table.
                privileges::raise_missing(relid);
            }
            if let Found::Restricted(target) = found {
                match target.governance.state {
                    State::Reserved => errors::reserved_relation(),
                    State::ShutOut => errors::shut_out(session),
                    State::Open | State::Governed | State::Broken => {}
                }
            }
            removed.push(relid);
            if (*name).inh {
                removed.extend(relation::descendants(relid));
            }
        }
    }
    let referencing = referencing(&removed);
    if (*stmt).behavior == pg_sys::DropBehavior::DROP_CASCADE {
        removed.extend(referencing);
    } else if referencing
        .iter()
        .any(|relid| matches!(names::judge(session, *relid), Found::Hidden))
    {
        // PostgreSQL's error would name it.
        errors::truncate_referenced();
    }
    if removed.iter().any(|relid| is_kept(session, *relid)) {
        errors::truncate_refused();
    }
    for relid in removed {
        let governance = session.governance(relid);
        if governance.state == State::Governed || governance.noted {
            audit::relation_touched(session, &governance, "truncate", Vec::new(), Vec::new());
        }
    }
}

/// Whether TRUNCATE could remove rows of the relation that the subject cannot see.
pub(super) fn is_kept(session: &Session, relid: Oid) -> bool {
    match names::judge(session, relid) {
        Found::Nothing | Found::Free(_) => false,
        Found::Hidden => true,
        Found::Restricted(target) => {
            target.governance.state != State::Governed || !target.governance.filters.is_empty()
        }
    }
}

/// The tables with foreign keys to the given ones, at any distance, with their partitions.
unsafe fn referencing(relids: &[Oid]) -> Vec<Oid> {
    let mut all = relids.to_vec();
    let mut fresh: *mut List = std::ptr::null_mut();
    for relid in relids {
        fresh = pg_sys::lappend_oid(fresh, *relid);
    }
    while !fresh.is_null() {
        let found: Vec<Oid> = list::iter_oid(pg_sys::heap_truncate_find_FKs(fresh)).collect();
        fresh = std::ptr::null_mut();
        for relid in found {
            for relid in std::iter::once(relid).chain(relation::descendants(relid)) {
                if !all.contains(&relid) {
                    all.push(relid);
                    fresh = pg_sys::lappend_oid(fresh, relid);
                }
            }
        }
    }
    all.split_off(relids.len())
}
