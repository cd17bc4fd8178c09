//! Maintenance: VACUUM, ANALYZE, CLUSTER, REINDEX and DROP OWNED, of named relations or of everything there is.
//!
//! Invariant: no code of a subject runs over raw rows of a restricted relation, and no message counts hidden rows or names a
//! hidden relation. What PostgreSQL leaves out or refuses for want of privileges is left to PostgreSQL.

use pgrx::pg_sys::{self, Oid, RangeVar, ReindexObjectType};

use super::ddl::{Judge, Verdict};
use super::names::{self, Found};
use crate::catalog::governance::State;
use crate::errors;
use crate::pg::{list, nodes, privileges, relation};

impl Judge<'_> {
    /// VACUUM and ANALYZE. ANALYZE calls the functions of expression indexes, FULL too; VERBOSE counts hidden rows.
    pub(super) unsafe fn vacuum(&self, vacuum: *mut pg_sys::VacuumStmt) -> Verdict {
        let plain = (*vacuum).is_vacuumcmd
            && !list::iter::<pg_sys::DefElem>((*vacuum).options).any(|option| {
                matches!(
                    nodes::string((*option).defname).as_str(),
                    "full" | "analyze" | "verbose"
                ) && pg_sys::defGetBoolean(option)
            });
        if (*vacuum).rels.is_null() {
            // A warning names each relation that is left out.
            self.refuse_unnamed(true, |relid| !plain && privileges::reach(relid));
            return Verdict::Go;
        }
        for relation in list::iter::<pg_sys::VacuumRelation>((*vacuum).rels) {
            if plain {
                self.see((*relation).relation);
            } else {
                self.refuse((*relation).relation);
            }
        }
        Verdict::Permitted
    }

    /// CLUSTER, which sorts by the expressions of an index.
    pub(super) unsafe fn cluster(&self, name: *mut RangeVar) {
        if name.is_null() {
            // Up to 15 what is left out is not named.
            self.refuse_unnamed(cfg!(not(feature = "pg15")), privileges::reach);
        }
        self.refuse(name);
    }

    /// REINDEX, which computes the expressions of indexes. Who owns a schema or the database may do it for all tables in it.
    pub(super) unsafe fn reindex(&self, reindex: *mut pg_sys::ReindexStmt) {
        match (*reindex).kind {
            ReindexObjectType::REINDEX_OBJECT_SCHEMA => {
                let schema = pg_sys::get_namespace_oid((*reindex).name, true);
                let missing = schema == Oid::INVALID;
                if !missing && (privileges::owns_schema(schema) || privileges::maintains_everything()) {
                    self.refuse_unnamed(false, |relid| pg_sys::get_rel_namespace(relid) == schema);
                }
            }
            ReindexObjectType::REINDEX_OBJECT_DATABASE => {
                if privileges::owns_database() || privileges::maintains_everything() {
                    self.refuse_unnamed(false, |_| true);
                }
            }
            _ => self.refuse((*reindex).relation),
        }
    }

    /// DROP OWNED: a notice names everything that CASCADE reaches. What is dropped is judged by the net.
    pub(super) unsafe fn drop_owned(&self, drop: *mut pg_sys::DropOwnedStmt) {
        if (*drop).behavior == pg_sys::DropBehavior::DROP_CASCADE && privileges::has_those_of((*drop).roles) {
            self.refuse_unnamed(true, |_| false);
        }
    }

    /// Refuses a statement about everything there is when that includes a relation that policies restrict: any that
    /// `concerned` picks, and with `names_hidden` all that do not exist for the subject. The extension's own tables have no
    /// code of anybody's.
    unsafe fn refuse_unnamed(&self, names_hidden: bool, concerned: impl Fn(Oid) -> bool) {
        let refused = |relid: Oid| match names::judge(self.session, relid) {
            Found::Nothing | Found::Free => false,
            Found::Restricted(found) if found.governance.state == State::Reserved => false,
            Found::Restricted(_) => concerned(relid),
            Found::Hidden => names_hidden || concerned(relid),
        };
        if relation::all_targets().into_iter().any(|(relid, ..)| refused(relid)) {
            errors::unnamed_maintenance();
        }
    }
}
