//! Functions that are attached to a table: PostgreSQL gives them its rows as they are stored when the table is written.

use std::collections::HashSet;

use pgrx::pg_sys::{self, Oid};

use super::depend::{self, Object};
use super::relation;

/// The functions of a table's triggers, checks, generated columns, indexes and partition keys, and of the checks of its
/// columns' domains. Functions of PostgreSQL's own are not among them.
pub(crate) fn functions(relid: Oid) -> HashSet<Oid> {
    let mut search = Search::default();
    for part in depend::dependents(pg_sys::RelationRelationId, relid) {
        let attached = match part.class {
            pg_sys::ConstraintRelationId | pg_sys::TriggerRelationId => true,
            pg_sys::RelationRelationId => matches!(relation::kind(part.object), b'i' | b'I'),
            pg_sys::AttrDefaultRelationId => is_of_generated_column(relid, part.object),
            _ => false,
        };
        if attached {
            search.used_by(part.class, part.object);
        }
    }
    search.used_by(pg_sys::RelationRelationId, relid);
    search.functions.retain(|function| !super::is_builtin(*function));
    search.functions
}

/// Whether an expression for a column's value is computed from the row. A default sees nothing of it.
fn is_of_generated_column(relid: Oid, expression: Oid) -> bool {
    let columns = relation::columns(relid);
    let column = |used: &Object| columns.iter().find(|column| i32::from(column.attno) == used.part);
    depend::references(pg_sys::AttrDefaultRelationId, expression)
        .iter()
        .filter(|used| used.class == pg_sys::RelationRelationId && used.object == relid)
        .any(|used| column(used).is_some_and(|column| column.generated))
}

/// What was found on the way from object to object.
#[derive(Default)]
struct Search {
    functions: HashSet<Oid>,
    types: HashSet<Oid>,
}

impl Search {
    /// Adds the functions that an object depends on, also as operators and by way of its types.
    fn used_by(&mut self, class: Oid, object: Oid) {
        for used in depend::references(class, object) {
            match used.class {
                pg_sys::ProcedureRelationId => _ = self.functions.insert(used.object),
                // SAFETY: a cached catalog lookup.
                pg_sys::OperatorRelationId => _ = self.functions.insert(unsafe { pg_sys::get_opcode(used.object) }),
                pg_sys::TypeRelationId if self.types.insert(used.object) => {
                    self.used_by(used.class, used.object);
                    for part in depend::dependents(used.class, used.object) {
                        if part.class == pg_sys::ConstraintRelationId {
                            self.used_by(part.class, part.object);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}
