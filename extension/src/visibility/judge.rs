//! Whether an object is to be seen.
//!
//! Invariant: an object is seen only when every relation and column that it belongs to or names is seen. What is unknown is
//! not seen.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::catalog::Session;
use crate::catalog::governance::{Governance, Reading, State};
use crate::pg::depend::{self, Object};
use crate::pg::{self, relation};
use crate::rewrite;

/// Judges for one subject, with the rights of the current role.
pub(super) struct Judge {
    /// The subject's session.
    pub(super) session: Session,
}

impl Judge {
    /// Whether a relation of any kind exists for the subject: a table or view by its policies, and what belongs to a table
    /// with it. 0 stands for none and hides nothing.
    pub(super) fn relation(&self, relid: Oid) -> bool {
        if pg::is_builtin(relid) {
            return true;
        }
        match relation::kind(relid) {
            b'r' | b'p' | b'f' | b'v' | b'm' => self.table(relid, |_, _| true),
            b'i' | b'I' => self.index(relid, |judge, table, column| judge.column(table, column)),
            b't' => toast_owner(relid).is_some_and(|owner| self.relation(owner)),
            // A sequence that belongs to a column depends on it.
            b'S' => self.dependencies(pg_sys::RelationRelationId, relid),
            // A composite type of its own.
            b'c' => true,
            _ => false,
        }
    }

    /// Whether a column of a relation of any kind exists for the subject. System columns are part of the relation.
    pub(super) fn column(&self, relid: Oid, attno: i16) -> bool {
        if pg::is_builtin(relid) {
            return true;
        }
        if attno <= 0 || !relation::is_target_kind(relid) {
            return self.relation(relid);
        }
        self.table(relid, |governance, waived| {
            governance.reading(attno, waived) != Reading::Hidden
        })
    }

    /// Whether all the columns exist for the subject; 0 stands for an expression, which may use any of them.
    pub(super) fn columns(&self, relid: Oid, numbers: &[i16]) -> bool {
        if pg::is_builtin(relid) || !relation::is_target_kind(relid) {
            return self.relation(relid);
        }
        self.table(relid, |governance, waived| {
            numbers.iter().all(|attno| match attno {
                0 => governance.hidden_columns(waived).next().is_none(),
                attno => governance.reading(*attno, waived) != Reading::Hidden,
            })
        })
    }

    /// Whether a type names nothing hidden: the row type of a table, and an array of it, have the table's name.
    pub(super) fn type_(&self, type_oid: Oid) -> bool {
        if pg::is_builtin(type_oid) {
            return true;
        }
        // SAFETY: syscache lookups, which return an invalid OID for what does not exist.
        let (relid, element) = unsafe { (pg_sys::get_typ_typrelid(type_oid), pg_sys::get_element_type(type_oid)) };
        exists(pg_sys::SysCacheIdentifier::TYPEOID, type_oid) && self.relation(relid) && self.type_(element)
    }

    /// Whether an object, or a part of it, is or names nothing hidden.
    pub(super) fn object(&self, class: Oid, object: Oid, part: i32) -> bool {
        if pg::is_builtin(object) {
            return true;
        }
        match class {
            pg_sys::RelationRelationId => match i16::try_from(part) {
                Ok(attno) => self.column(object, attno),
                Err(_) => false,
            },
            pg_sys::TypeRelationId => self.type_(object),
            pg_sys::ProcedureRelationId => {
                exists(pg_sys::SysCacheIdentifier::PROCOID, object) && self.statements(class, object)
            }
            pg_sys::RewriteRelationId | pg_sys::PolicyRelationId => {
                self.dependencies(class, object) && self.statements(class, object)
            }
            pg_sys::AttrDefaultRelationId
            | pg_sys::ConstraintRelationId
            | pg_sys::TriggerRelationId
            | pg_sys::StatisticExtRelationId
            | pg_sys::PublicationRelRelationId => self.dependencies(class, object),
            _ => true,
        }
    }

    /// Whether the statistics of a column may be seen: those of raw values of all rows of a table.
    pub(super) fn statistics(&self, relid: Oid, attno: i16) -> bool {
        if pg::is_builtin(relid) {
            // The statistics of a filtered catalog hold names of what is hidden.
            return !super::filters(&self.session, relid);
        }
        match relation::kind(relid) {
            b'r' | b'p' | b'f' | b'm' => self.table(relid, |governance, waived| {
                governance.filters.is_empty()
                    && governance.exceptions.is_empty()
                    && match attno {
                        0 => !governance.alters_columns(waived),
                        attno => governance.reading(attno, waived) == Reading::Raw,
                    }
            }),
            b'i' | b'I' => self.index(relid, |judge, table, column| judge.statistics(table, column)),
            _ => false,
        }
    }

    /// Whether the data of extended statistics may be seen.
    pub(super) fn extended_statistics(&self, statistics: Oid) -> bool {
        let used = depend::references(pg_sys::StatisticExtRelationId, statistics);
        let mut columns = used
            .iter()
            .filter(|used| used.class == pg_sys::RelationRelationId)
            .peekable();
        columns.peek().is_some()
            && columns.all(|used| i16::try_from(used.part).is_ok_and(|attno| self.statistics(used.object, attno)))
    }

    /// Judges a table or view that exists for the subject by what was decided about it; `visible` gets the decision and
    /// whether being hidden by default does not count. Without policies everything is seen.
    fn table(&self, relid: Oid, visible: impl Fn(&Governance, bool) -> bool) -> bool {
        let governance = self.session.governance(relid);
        match governance.state {
            State::Open => true,
            State::Governed => {
                let waived = rewrite::is_waived_for(&self.session, Oid::INVALID, relid);
                governance.exists(waived) && visible(&governance, waived)
            }
            // Closed to the subject.
            State::Reserved | State::ShutOut | State::Broken => false,
        }
    }

    /// Judges an index by its table and all the columns that it uses, where 0 stands for the table itself.
    fn index(&self, index: Oid, visible: impl Fn(&Judge, Oid, i16) -> bool) -> bool {
        let Some((table, columns)) = index_columns(index) else {
            return false;
        };
        if relation::is_toast(table) {
            return self.relation(table);
        }
        visible(self, table, 0) && columns.into_iter().all(|attno| visible(self, table, attno))
    }

    /// Whether nothing that the object depends on is hidden. Objects depend on what they belong to and what they name; one
    /// without any dependency does not exist.
    fn dependencies(&self, class: Oid, object: Oid) -> bool {
        let used = depend::references(class, object);
        !used.is_empty()
            && used
                .into_iter()
                .all(|Object { class, object, part }| self.object(class, object, part))
    }

    /// As [`Self::dependencies`], for objects that hold whole statements: a stored statement lists all columns of the tables
    /// in it, used or not.
    fn statements(&self, class: Oid, object: Oid) -> bool {
        depend::references(class, object)
            .into_iter()
            .all(|Object { class, object, part }| {
                self.object(class, object, part) && (class != pg_sys::RelationRelationId || self.columns(object, &[0]))
            })
    }
}

/// Whether a syscache has an entry with that OID.
fn exists(cache: pg_sys::SysCacheIdentifier::Type, oid: Oid) -> bool {
    let none = Datum::from(0);
    // SAFETY: a syscache lookup by OID.
    unsafe { pg_sys::SearchSysCacheExists(cache as _, Datum::from(oid), none, none, none) }
}

/// The table of an index and the columns of it that the index stores, computes with or tests; `None` when it has gone away.
fn index_columns(index: Oid) -> Option<(Oid, Vec<i16>)> {
    let (table, mut columns) = relation::index_keys(index)?;
    if columns.contains(&0) || relation::has_index_predicate(index) {
        columns.retain(|attno| *attno != 0);
        let used = depend::references(pg_sys::RelationRelationId, index);
        columns.extend(
            used.into_iter()
                .filter(|used| used.class == pg_sys::RelationRelationId && used.object == table)
                .filter_map(|used| i16::try_from(used.part).ok()),
        );
    }
    Some((table, columns))
}

thread_local! {
    /// The relations of TOAST tables. An entry is believed only while the relation says the same.
    static TOAST_OWNERS: RefCell<HashMap<Oid, Oid>> = RefCell::default();
}

/// The relation that a TOAST table belongs to: looked up in pg_depend once, since a client that lists columns asks for
/// each column of each TOAST table.
fn toast_owner(toast: Oid) -> Option<Oid> {
    if let Some(owner) = TOAST_OWNERS.with_borrow(|owners| owners.get(&toast).copied())
        && relation::toast_table(owner) == toast
    {
        return Some(owner);
    }
    let owner = depend::references(pg_sys::RelationRelationId, toast)
        .into_iter()
        .find(|used| used.class == pg_sys::RelationRelationId)?
        .object;
    TOAST_OWNERS.with_borrow_mut(|owners| owners.insert(toast, owner));
    Some(owner)
}
