//! Statements that define, alter, drop or maintain: what a subject may do with relations that policies restrict.
//!
//! Invariant: a statement that names a restricted relation runs only if it is on the list below; everything else is refused.
//! The owner of a table is no exception: a trigger, an expression index, a new column type or a foreign key would run code
//! over raw rows or tell which of them exist.
//!
//! On the list: COMMENT, SECURITY LABEL, GRANT, REVOKE, LOCK, VACUUM without FULL, ANALYZE and VERBOSE, and changes of storage
//! and statistics parameters.

use std::ffi::c_char;

use pgrx::pg_sys::{self, AlterTableType, List, Node, NodeTag, ObjectType, Oid, PlannedStmt, RangeVar};
use pgrx::prelude::*;

use super::names::{self, Found, Restricted};
use super::{Course, net};
use crate::catalog::Session;
use crate::expression::usage;
use crate::guard::frames;
use crate::pg::{list, nodes, objects, privileges, relation};
use crate::{audit, errors};

/// Judges a statement of a subject.
///
/// # Safety
/// The arguments are those of `ProcessUtility_hook`; `stmt` is replaced by a copy if need be.
pub(super) unsafe fn before(
    session: &Session,
    stmt: &mut *mut PlannedStmt,
    source: *const c_char,
    course: &mut Course,
) {
    let judge = Judge { session, source };
    if nodes::is_a((**stmt).utilityStmt, NodeTag::T_DropStmt) {
        judge.drop(stmt);
        return;
    }
    match judge.statement((**stmt).utilityStmt) {
        Verdict::Go => {}
        Verdict::Permitted => course.watched = false,
        Verdict::Skip => course.skip = true,
    }
}

/// What a statement may do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Run, under the eyes of the net.
    Go,
    /// Run: what it does to a restricted relation is on the list.
    Permitted,
    /// Nothing.
    Skip,
}

/// Judges for a subject.
pub(super) struct Judge<'a> {
    pub(super) session: &'a Session,
    source: *const c_char,
}

impl Judge<'_> {
    unsafe fn statement(&self, node: *mut Node) -> Verdict {
        use NodeTag::*;
        match nodes::tag(node) {
            T_CommentStmt => {
                let comment: *mut pg_sys::CommentStmt = node.cast();
                return self.annotate((*comment).objtype, (*comment).object);
            }
            T_SecLabelStmt => {
                let label: *mut pg_sys::SecLabelStmt = node.cast();
                return self.annotate((*label).objtype, (*label).object);
            }
            T_GrantStmt => return self.grant(node.cast()),
            T_LockStmt => {
                for name in list::iter::<RangeVar>((*node.cast::<pg_sys::LockStmt>()).relations) {
                    if let Some(found) = self.see(name) {
                        audit::relation_touched(self.session, &found.governance, "lock", Vec::new(), Vec::new());
                    }
                }
                return Verdict::Permitted;
            }
            T_VacuumStmt => return self.vacuum(node.cast()),
            T_AlterTableStmt => return self.alter_table(node.cast()),
            T_RenameStmt => {
                let rename: *mut pg_sys::RenameStmt = node.cast();
                return self.refuse_if_exists((*rename).relation, (*rename).missing_ok);
            }
            T_AlterObjectSchemaStmt => {
                let alter: *mut pg_sys::AlterObjectSchemaStmt = node.cast();
                return self.refuse_if_exists((*alter).relation, (*alter).missing_ok);
            }
            T_AlterSeqStmt => self.sequence((*node.cast::<pg_sys::AlterSeqStmt>()).options),
            T_CreateSeqStmt => self.sequence((*node.cast::<pg_sys::CreateSeqStmt>()).options),
            T_AlterObjectDependsStmt => self.refuse((*node.cast::<pg_sys::AlterObjectDependsStmt>()).relation),
            T_CreateStmt | T_CreateForeignTableStmt => self.create_table(node.cast()),
            T_CreateSchemaStmt => {
                for element in list::iter::<Node>((*node.cast::<pg_sys::CreateSchemaStmt>()).schemaElts) {
                    self.statement(element);
                }
            }
            T_ViewStmt => {
                let view: *mut pg_sys::ViewStmt = node.cast();
                if (*view).replace {
                    match names::look(self.session, (*view).view) {
                        Found::Hidden => errors::definition_refused(),
                        Found::Restricted(found) if found.is_in_reach() => errors::definition_refused(),
                        _ => {}
                    }
                }
            }
            T_IndexStmt => self.refuse((*node.cast::<pg_sys::IndexStmt>()).relation),
            T_RefreshMatViewStmt => self.refuse((*node.cast::<pg_sys::RefreshMatViewStmt>()).relation),
            T_CreateStatsStmt => {
                for name in list::iter::<Node>((*node.cast::<pg_sys::CreateStatsStmt>()).relations) {
                    if nodes::is_a(name, T_RangeVar) {
                        self.refuse(name.cast());
                    }
                }
            }
            T_CreateTrigStmt => {
                let trigger: *mut pg_sys::CreateTrigStmt = node.cast();
                self.refuse((*trigger).relation);
                self.refuse((*trigger).constrrel);
            }
            T_RuleStmt => {
                let rule: *mut pg_sys::RuleStmt = node.cast();
                self.refuse((*rule).relation);
                names::refuse_hidden_in(self.session, (*rule).whereClause, self.source);
                names::refuse_hidden_in(self.session, (*rule).actions.cast(), self.source);
            }
            T_CreatePolicyStmt => {
                let policy: *mut pg_sys::CreatePolicyStmt = node.cast();
                self.refuse((*policy).table);
                names::refuse_hidden_in(self.session, (*policy).qual, self.source);
                names::refuse_hidden_in(self.session, (*policy).with_check, self.source);
            }
            T_AlterPolicyStmt => {
                let policy: *mut pg_sys::AlterPolicyStmt = node.cast();
                self.refuse((*policy).table);
                names::refuse_hidden_in(self.session, (*policy).qual, self.source);
                names::refuse_hidden_in(self.session, (*policy).with_check, self.source);
            }
            T_CreateFunctionStmt => {
                names::refuse_hidden_in(
                    self.session,
                    (*node.cast::<pg_sys::CreateFunctionStmt>()).sql_body,
                    self.source,
                );
            }
            T_CreatePublicationStmt => self.publication((*node.cast::<pg_sys::CreatePublicationStmt>()).pubobjects),
            T_AlterPublicationStmt => self.publication((*node.cast::<pg_sys::AlterPublicationStmt>()).pubobjects),
            T_ClusterStmt => self.cluster((*node.cast::<pg_sys::ClusterStmt>()).relation),
            T_ReindexStmt => self.reindex(node.cast()),
            T_DropOwnedStmt => self.drop_owned(node.cast()),
            T_AlterEnumStmt => self.alter_enum(node.cast()),
            T_AlterDomainStmt => self.alter_domain((*node.cast::<pg_sys::AlterDomainStmt>()).typeName),
            _ => {}
        }
        Verdict::Go
    }

    /// A relation that the statement may have, whatever policies say about it; a hidden one is missing.
    pub(super) unsafe fn see(&self, name: *mut RangeVar) -> Option<Restricted> {
        if name.is_null() {
            return None;
        }
        match names::look(self.session, name) {
            Found::Nothing | Found::Free(_) => None,
            Found::Hidden => names::raise_missing(name, std::ptr::null()),
            Found::Restricted(found) => Some(found),
        }
    }

    /// A relation that the statement may have only if policies do not restrict it, or if PostgreSQL refuses it anyway.
    pub(super) unsafe fn refuse(&self, name: *mut RangeVar) {
        if self.see(name).is_some_and(|found| found.is_in_reach()) {
            errors::definition_refused();
        }
    }

    /// As [`Judge::refuse`], for a statement that may say IF EXISTS.
    unsafe fn refuse_if_exists(&self, name: *mut RangeVar, missing_ok: bool) -> Verdict {
        if self.is_skipped(name, missing_ok) {
            return Verdict::Skip;
        }
        self.refuse(name);
        Verdict::Go
    }

    /// Whether IF EXISTS makes the statement do nothing, with PostgreSQL's notice.
    unsafe fn is_skipped(&self, name: *mut RangeVar, missing_ok: bool) -> bool {
        let skipped = missing_ok && !name.is_null() && matches!(names::look(self.session, name), Found::Hidden);
        if skipped {
            notice_missing("relation", &names::text(name));
        }
        skipped
    }

    /// COMMENT and SECURITY LABEL.
    unsafe fn annotate(&self, kind: ObjectType::Type, object: *mut Node) -> Verdict {
        use ObjectType::*;
        match kind {
            OBJECT_TABLE | OBJECT_VIEW | OBJECT_MATVIEW | OBJECT_FOREIGN_TABLE | OBJECT_INDEX | OBJECT_SEQUENCE => {
                self.see(names::from_list(object.cast()));
            }
            OBJECT_COLUMN | OBJECT_TABCONSTRAINT | OBJECT_TRIGGER | OBJECT_RULE | OBJECT_POLICY => {
                if let Some((name, part)) = names::from_list_without_last(object.cast())
                    && let Some(found) = self.see(name)
                    && kind == OBJECT_COLUMN
                {
                    found.refuse_hidden_column(&part);
                }
            }
            _ => return Verdict::Go,
        }
        Verdict::Permitted
    }

    unsafe fn grant(&self, grant: *mut pg_sys::GrantStmt) -> Verdict {
        let named = (*grant).targtype == pg_sys::GrantTargetType::ACL_TARGET_OBJECT
            && matches!((*grant).objtype, ObjectType::OBJECT_TABLE | ObjectType::OBJECT_SEQUENCE);
        if (*grant).targtype == pg_sys::GrantTargetType::ACL_TARGET_ALL_IN_SCHEMA {
            self.grant_on_all(grant);
        }
        if !named {
            return Verdict::Go;
        }
        for name in list::iter::<RangeVar>((*grant).objects) {
            let Some(found) = self.see(name) else { continue };
            for privilege in list::iter::<pg_sys::AccessPriv>((*grant).privileges) {
                for column in list::iter::<pg_sys::String>((*privilege).cols) {
                    found.refuse_hidden_column(&nodes::string((*column).sval));
                }
            }
        }
        Verdict::Permitted
    }

    unsafe fn alter_table(&self, alter: *mut pg_sys::AlterTableStmt) -> Verdict {
        if self.is_skipped((*alter).relation, (*alter).missing_ok) {
            return Verdict::Skip;
        }
        let commands = || list::iter::<pg_sys::AlterTableCmd>((*alter).cmds);
        let Some(found) = self.see((*alter).relation) else {
            for command in commands() {
                self.mentioned((*command).def);
            }
            if commands().any(|command| (*command).behavior == pg_sys::DropBehavior::DROP_CASCADE) {
                let relid = names::resolve((*alter).relation);
                self.refuse_cascade(relid.map(|relid| (pg_sys::RelationRelationId, relid)));
            }
            return Verdict::Go;
        };
        if !found.is_in_reach() {
            return Verdict::Go;
        }
        for command in commands() {
            self.mentioned((*command).def);
            if !is_permitted_change((*command).subtype) {
                errors::definition_refused();
            }
            if !(*command).name.is_null() && (*alter).objtype != ObjectType::OBJECT_INDEX {
                found.refuse_hidden_column(&nodes::string((*command).name));
            }
        }
        Verdict::Permitted
    }

    /// Other relations that a part of CREATE or ALTER TABLE names.
    unsafe fn mentioned(&self, part: *mut Node) {
        if part.is_null() {
            return;
        }
        match nodes::tag(part) {
            NodeTag::T_RangeVar => self.refuse(part.cast()),
            NodeTag::T_PartitionCmd => self.refuse((*part.cast::<pg_sys::PartitionCmd>()).name),
            NodeTag::T_Constraint => self.refuse((*part.cast::<pg_sys::Constraint>()).pktable),
            NodeTag::T_ColumnDef => {
                for constraint in list::iter::<Node>((*part.cast::<pg_sys::ColumnDef>()).constraints) {
                    self.mentioned(constraint);
                }
            }
            NodeTag::T_TableLikeClause => self.like((*part.cast::<pg_sys::TableLikeClause>()).relation),
            _ => {}
        }
    }

    /// LIKE copies no rows, but all columns. PostgreSQL reports a missing relation here with its position.
    unsafe fn like(&self, name: *mut RangeVar) {
        match names::look(self.session, name) {
            Found::Nothing | Found::Free(_) => {}
            Found::Hidden => names::raise_missing(name, self.source),
            Found::Restricted(found) => {
                if found.hides_columns() {
                    errors::definition_refused();
                }
            }
        }
    }

    unsafe fn create_table(&self, create: *mut pg_sys::CreateStmt) {
        for parent in list::iter::<RangeVar>((*create).inhRelations) {
            // A new partition has the default partition's rows looked through; a child has nothing but its parent's columns.
            if !(*create).partbound.is_null() {
                self.refuse(parent);
            } else if self.see(parent).is_some_and(|found| found.hides_columns()) {
                errors::definition_refused();
            }
        }
        for part in [(*create).tableElts, (*create).constraints] {
            for part in list::iter::<Node>(part) {
                self.mentioned(part);
            }
        }
    }

    /// The options of a sequence: OWNED BY names a column.
    unsafe fn sequence(&self, options: *mut List) {
        for option in list::iter::<pg_sys::DefElem>(options) {
            if nodes::string((*option).defname) == "owned_by"
                && let Some((name, _)) = names::from_list_without_last((*option).arg.cast())
            {
                self.refuse(name);
            }
        }
    }

    unsafe fn publication(&self, objects: *mut List) {
        for object in list::iter::<pg_sys::PublicationObjSpec>(objects) {
            if !(*object).pubtable.is_null() {
                self.refuse((*(*object).pubtable).relation);
            }
        }
    }

    /// Constraints of a domain are checked against the rows of every table that uses it.
    unsafe fn alter_domain(&self, type_name: *mut List) {
        let type_name = pg_sys::makeTypeNameFromNameList(type_name);
        let domain = pg_sys::LookupTypeNameOid(std::ptr::null_mut(), type_name, true);
        if domain != pg_sys::Oid::INVALID && net::uses_restricted(self.session, (pg_sys::TypeRelationId, domain)) {
            errors::definition_refused();
        }
    }

    /// A renamed label means another thing in a policy's text, while rows keep what they have.
    unsafe fn alter_enum(&self, alter: *mut pg_sys::AlterEnumStmt) {
        if (*alter).oldVal.is_null() {
            return;
        }
        let type_name = pg_sys::makeTypeNameFromNameList((*alter).typeName);
        let enumeration = pg_sys::LookupTypeNameOid(std::ptr::null_mut(), type_name, true);
        let decides = |relid: Oid| {
            net::is_restricted(self.session, relid)
                || !usage::policies_using(&self.session.catalog, relid, None).is_empty()
        };
        let used_by = objects::using(&[(pg_sys::TypeRelationId, enumeration)]);
        if enumeration != Oid::INVALID && used_by.into_iter().any(decides) {
            errors::definition_refused();
        }
    }

    /// CASCADE must reach nothing that policies restrict, and PostgreSQL's notice must name nothing that they hide. A TOAST
    /// table goes with its table.
    unsafe fn refuse_cascade(&self, object: Option<objects::Object>) {
        let restricted = |relid: &pg_sys::Oid| match names::judge(self.session, *relid) {
            Found::Nothing | Found::Free(_) => false,
            Found::Hidden | Found::Restricted(_) => !relation::is_toast(*relid),
        };
        if object.is_some_and(|object| objects::reached_by_cascade(&[object]).iter().any(restricted)) {
            errors::definition_refused();
        }
    }

    /// Whether one of the named relations is not the role's to drop: PostgreSQL refuses the whole statement before it looks at
    /// what CASCADE reaches.
    unsafe fn is_not_to_drop(&self, objects: *mut List) -> bool {
        list::iter::<List>(objects).any(|object| {
            let name = names::from_list(object);
            !matches!(names::look(self.session, name), Found::Hidden)
                && names::resolve(name).is_some_and(|relid| !privileges::may_drop(relid))
        })
    }

    /// DROP: hidden relations do not exist, restricted ones are refused. With IF EXISTS hidden ones leave the list.
    unsafe fn drop(&self, stmt: &mut *mut PlannedStmt) {
        use ObjectType::*;
        let drop: *mut pg_sys::DropStmt = (**stmt).utilityStmt.cast();
        let whole = matches!(
            (*drop).removeType,
            OBJECT_TABLE | OBJECT_VIEW | OBJECT_MATVIEW | OBJECT_FOREIGN_TABLE | OBJECT_INDEX | OBJECT_SEQUENCE
        );
        let cascade = (*drop).behavior == pg_sys::DropBehavior::DROP_CASCADE;
        let not_to_drop = match (*drop).removeType {
            OBJECT_SCHEMA => names::schemas((*drop).objects).any(|schema| !privileges::owns_schema(schema)),
            _ => whole && self.is_not_to_drop((*drop).objects),
        };
        if cascade && !not_to_drop {
            for object in list::iter::<Node>((*drop).objects) {
                self.refuse_cascade(names::object((*drop).removeType, object));
            }
        }
        if !whole && !matches!((*drop).removeType, OBJECT_TRIGGER | OBJECT_RULE | OBJECT_POLICY) {
            return;
        }
        let mut kept: *mut List = std::ptr::null_mut();
        for object in list::iter::<List>((*drop).objects) {
            let name = if whole {
                Some(names::from_list(object))
            } else {
                names::from_list_without_last(object).map(|(name, _)| name)
            };
            let Some(name) = name else { continue };
            match names::look(self.session, name) {
                Found::Restricted(found) if found.is_in_reach() => errors::definition_refused(),
                Found::Nothing | Found::Free(_) | Found::Restricted(_) => kept = list::push(kept, object),
                Found::Hidden if frames::nested() => errors::denied(),
                Found::Hidden => {
                    let (kind, text) = if whole {
                        (kind_name((*drop).removeType), nodes::string((*name).relname))
                    } else {
                        ("relation", names::text(name))
                    };
                    if !(*drop).missing_ok {
                        errors::missing_relation(format!("{kind} \"{text}\" does not exist"));
                    }
                    notice_missing(kind, &text);
                }
            }
        }
        if list::len(kept) < list::len((*drop).objects) {
            let own: *mut PlannedStmt = nodes::copy(*stmt);
            let drop: *mut pg_sys::DropStmt = (*own).utilityStmt.cast();
            (*drop).objects = nodes::copy(kept);
            *stmt = own;
        }
    }
}

/// Changes of a restricted relation that run no code over its rows and change nothing that anybody sees.
fn is_permitted_change(subtype: AlterTableType::Type) -> bool {
    matches!(
        subtype,
        AlterTableType::AT_SetStatistics
            | AlterTableType::AT_SetOptions
            | AlterTableType::AT_ResetOptions
            | AlterTableType::AT_SetStorage
            | AlterTableType::AT_SetCompression
            | AlterTableType::AT_ClusterOn
            | AlterTableType::AT_DropCluster
    )
}

/// What DROP's messages call a kind of relation.
fn kind_name(kind: ObjectType::Type) -> &'static str {
    match kind {
        ObjectType::OBJECT_VIEW => "view",
        ObjectType::OBJECT_MATVIEW => "materialized view",
        ObjectType::OBJECT_FOREIGN_TABLE => "foreign table",
        ObjectType::OBJECT_INDEX => "index",
        ObjectType::OBJECT_SEQUENCE => "sequence",
        _ => "table",
    }
}

fn notice_missing(kind: &str, name: &str) {
    if frames::nested() {
        errors::denied();
    }
    notice!("{kind} \"{name}\" does not exist, skipping");
}
