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
            self.refuse_unnamed(|_| true, |relid| !plain && privileges::reach(relid));
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
            let is_named = cfg!(not(feature = "pg15"));
            self.refuse_unnamed(|relid| is_named || privileges::reach(relid), privileges::reach);
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
                    let is_inside = |relid| pg_sys::get_rel_namespace(relid) == schema;
                    self.refuse_unnamed(is_inside, is_inside);
                }
            }
            ReindexObjectType::REINDEX_OBJECT_DATABASE => {
                if privileges::owns_database() || privileges::maintains_everything() {
                    self.refuse_unnamed(|_| true, |_| true);
                }
            }
            _ => self.refuse((*reindex).relation),
        }
    }

    /// DROP OWNED: a notice names everything that CASCADE reaches, an error what else depends on it. What is dropped is judged
    /// by the net.
    pub(super) unsafe fn drop_owned(&self, drop: *mut pg_sys::DropOwnedStmt) {
        if privileges::has_those_of((*drop).roles) {
            self.refuse_unnamed(|_| true, |_| false);
        }
    }

    /// GRANT and REVOKE ON ALL TABLES IN SCHEMA: a warning names each table whose privileges are not the role's to grant.
    pub(super) unsafe fn grant_on_all(&self, grant: *mut pg_sys::GrantStmt) {
        if (*grant).objtype == pg_sys::ObjectType::OBJECT_TABLE {
            let schemas: Vec<Oid> = names::schemas((*grant).objects).collect();
            self.refuse_unnamed(|relid| schemas.contains(&pg_sys::get_rel_namespace(relid)), |_| false);
        }
    }

    /// Refuses a statement about everything there is when that includes a relation that does not exist for the subject and
    /// that `hidden` picks, or one that policies restrict otherwise and that `restricted` picks. The extension's own tables
    /// have no code of anybody's.
    unsafe fn refuse_unnamed(&self, hidden: impl Fn(Oid) -> bool, restricted: impl Fn(Oid) -> bool) {
        let refused = |relid: Oid| match names::judge(self.session, relid) {
            Found::Nothing | Found::Free(_) => false,
            Found::Hidden => hidden(relid),
            Found::Restricted(found) => found.governance.state != State::Reserved && restricted(relid),
        };
        if relation::all_targets().into_iter().any(|(relid, ..)| refused(relid)) {
            errors::unnamed_maintenance();
        }
    }
}
