//! Policies and users follow what they name when somebody renames it, and what policies' expressions use stays as it is.
//!
//! Invariant: no rename, whoever does it and by whatever statement, leaves a relation or column without a policy that was
//! about it, or a user without the policies that were assigned to it: the catalog follows in the same transaction, or the
//! statement is refused.
//!
//! Expressions are kept as text, so that a rename of what they use would break them or change what they mean. This is
//! looked at before a RENAME or SET SCHEMA runs, and before each object is dropped. New names are noted while a statement
//! runs, and the catalog follows when it has ended: in the middle of a command nothing else can run.

use std::cell::RefCell;
use std::ffi::c_void;

use pgrx::pg_sys::{self, AlterTableCmd, AlterTableType, Node, NodeTag, ObjectAccessType, ObjectType, Oid, RangeVar};
use pgrx::prelude::*;

use super::names;
use crate::api::follow::{self, Change, Outcome};
use crate::catalog::{self, epoch};
use crate::errors;
use crate::expression::usage;
use crate::guard::frames;
use crate::pg::{self, leaf, nodes, objects, relation};

thread_local! {
    static NOTED: RefCell<Vec<Noted>> = const { RefCell::new(Vec::new()) };
}

/// A change of a name that a running statement made.
struct Noted {
    /// The place of the statement's frame.
    place: usize,
    /// The depth of subtransactions that the change lives and dies with.
    nest_level: i32,
    change: Change,
}

#[pg_guard]
unsafe extern "C-unwind" fn at_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    _mine: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    // During the callback the level is still that of the ending subtransaction.
    let level = leaf::GetCurrentTransactionNestLevel();
    NOTED.with_borrow_mut(|noted| match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => noted.retain(|noted| noted.nest_level < level),
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => {
            for noted in noted.iter_mut().filter(|noted| noted.nest_level >= level) {
                noted.nest_level = level - 1;
            }
        }
        _ => {}
    });
}

#[pg_guard]
unsafe extern "C-unwind" fn at_transaction(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    if event == pg_sys::XactEvent::XACT_EVENT_ABORT {
        NOTED.with_borrow_mut(Vec::clear);
    }
}

/// Registers the transaction callbacks. Called once, at server start.
pub(crate) fn init() {
    // SAFETY: registers callbacks for the life of the process.
    unsafe {
        pg_sys::RegisterSubXactCallback(Some(at_subtransaction), std::ptr::null_mut());
        pg_sys::RegisterXactCallback(Some(at_transaction), std::ptr::null_mut());
    }
}

/// Refuses a RENAME or SET SCHEMA of what policies' expressions use; tells the other sessions of changes in inheritance,
/// which decide what policies on parents govern.
///
/// # Safety
/// `node` is a utility statement.
pub(super) unsafe fn before(node: *mut Node) {
    match nodes::tag(node) {
        NodeTag::T_RenameStmt => before_rename(node.cast()),
        NodeTag::T_AlterObjectSchemaStmt => {
            let alter: *mut pg_sys::AlterObjectSchemaStmt = node.cast();
            if !(*alter).relation.is_null()
                && let Some(relid) = names::resolve((*alter).relation)
            {
                refuse_if_used(&[(relid, None)]);
            }
        }
        NodeTag::T_AlterTableStmt => {
            let alter: *mut pg_sys::AlterTableStmt = node.cast();
            for command in pg::list::iter::<pg_sys::AlterTableCmd>((*alter).cmds) {
                before_change_of_parents((*alter).relation, command);
            }
        }
        _ => {}
    }
}

/// ATTACH and DETACH PARTITION, INHERIT and NO INHERIT. Policies on parents govern the child.
unsafe fn before_change_of_parents(relation: *mut RangeVar, command: *mut AlterTableCmd) {
    let (child, parent) = match (*command).subtype {
        AlterTableType::AT_AddInherit | AlterTableType::AT_AttachPartition => return epoch::touch(),
        AlterTableType::AT_DropInherit => (relation, (*command).def.cast::<RangeVar>()),
        AlterTableType::AT_DetachPartition | AlterTableType::AT_DetachPartitionFinalize => {
            ((*(*command).def.cast::<pg_sys::PartitionCmd>()).name, relation)
        }
        _ => return,
    };
    epoch::touch();
    if let (Some(child), Some(parent)) = (names::resolve(child), names::resolve(parent)) {
        let mut remaining: Vec<Oid> = relation::parents(child)
            .into_iter()
            .filter(|other| *other != parent)
            .collect();
        for other in remaining.clone() {
            remaining.extend(relation::ancestors(other));
        }
        leave(follow::governed_through(child, &remaining));
    }
}

unsafe fn before_rename(rename: *mut pg_sys::RenameStmt) {
    let of_column = matches!(
        (*rename).renameType,
        ObjectType::OBJECT_COLUMN | ObjectType::OBJECT_ATTRIBUTE
    );
    let of_relation = matches!(
        (*rename).renameType,
        ObjectType::OBJECT_TABLE
            | ObjectType::OBJECT_VIEW
            | ObjectType::OBJECT_MATVIEW
            | ObjectType::OBJECT_FOREIGN_TABLE
    );
    if (*rename).relation.is_null() || !(of_column || of_relation) {
        return;
    }
    let Some(relid) = names::resolve((*rename).relation) else {
        return;
    };
    if of_relation {
        refuse_if_used(&[(relid, None)]);
        return;
    }
    // The rename reaches children and tables of a composite type.
    let column = nodes::string((*rename).subname);
    let mut reached = relation::descendants(relid);
    reached.push(relid);
    if (*rename).renameType == ObjectType::OBJECT_ATTRIBUTE {
        reached.extend(objects::using(&[(pg_sys::RelationRelationId, relid)]));
    }
    let used: Vec<(Oid, Option<i16>)> = reached
        .into_iter()
        .filter_map(|relid| {
            let columns = relation::columns(relid);
            let found = columns.iter().find(|found| !found.dropped && found.name == column)?;
            Some((relid, Some(found.attno)))
        })
        .collect();
    refuse_if_used(&used);
}

/// Refuses to touch relations, or columns of them, that policies' expressions use.
fn refuse_if_used(used: &[(Oid, Option<i16>)]) {
    if !epoch::is_installed() {
        return;
    }
    let Some(catalog) = catalog::readable() else { return };
    let mut policies: Vec<String> = used
        .iter()
        .flat_map(|(relid, column)| usage::policies_using(&catalog, *relid, *column))
        .collect();
    policies.sort();
    policies.dedup();
    if !policies.is_empty() {
        errors::used_by_policies(policies, is_trusted_with_names());
    }
}

/// Lets an exempt role take a relation out of the reach of patterns, with a warning. A subject could free it for others.
fn leave(policies: Vec<String>) {
    if policies.is_empty() {
    } else if catalog::current().is_some() {
        errors::lost_by_policies(policies, is_trusted_with_names());
    } else {
        errors::warn_of_policies_left(&policies);
    }
}

/// Whether whoever asks may know the names of policies.
fn is_trusted_with_names() -> bool {
    catalog::current().is_none_or(|session| session.is_auditor())
}

/// Looks at what PostgreSQL does with an object: notes new names, and refuses to drop what policies' expressions use.
///
/// # Safety
/// The arguments are those of `object_access_hook`.
pub(super) unsafe fn accessed(access: ObjectAccessType::Type, class: Oid, object: Oid, part: i32) {
    match (access, class) {
        (ObjectAccessType::OAT_DROP, pg_sys::RelationRelationId) if is_of_user(object) => {
            refuse_if_used(&[(object, (part > 0).then_some(part as i16))]);
        }
        (ObjectAccessType::OAT_POST_ALTER, pg_sys::RelationRelationId) if part > 0 && is_of_user(object) => {
            note(|| column_change(object, part as i16));
        }
        (ObjectAccessType::OAT_POST_ALTER, pg_sys::RelationRelationId) if part == 0 && is_of_user(object) => {
            note(|| {
                let (old, new) = (pg::relation_name(object)?, objects::newest_relation_name(object)?);
                (old != new).then_some(Change::Relation {
                    relid: object,
                    old,
                    new,
                })
            });
        }
        (ObjectAccessType::OAT_POST_ALTER, pg_sys::NamespaceRelationId) => note(|| {
            let old = nodes::string(pg_sys::get_namespace_name(object));
            let new = objects::newest_schema_name(object)?;
            if old == "betweenrows" {
                errors::own_schema_renamed();
            }
            (old != new).then_some(Change::Schema { old, new })
        }),
        (ObjectAccessType::OAT_POST_CREATE, pg_sys::AuthIdRelationId) => {
            refuse_exempt_name(objects::newest_role_name(object));
        }
        (ObjectAccessType::OAT_DROP, pg_sys::AuthIdRelationId) => {
            note(|| pg::role_name(object).map(|name| Change::RoleDropped { name }));
        }
        (ObjectAccessType::OAT_POST_ALTER, pg_sys::AuthIdRelationId) => note(|| {
            let (old, new) = (pg::role_name(object)?, objects::newest_role_name(object)?);
            (old != new).then_some(Change::Role { old, new })
        }),
        _ => {}
    }
}

/// The names of exempt roles wait for roles that an administrator creates: a subject that may create roles cannot make an
/// exempt one.
fn refuse_exempt_name(name: Option<String>) {
    if epoch::is_installed()
        && let (Some(_), Some(name)) = (catalog::current(), name)
        && follow::is_exempt_name(&name)
    {
        errors::exempt_name(&name);
    }
}

/// Whether policies can be about the relation. The extension's own tables come and go with it.
fn is_of_user(relid: Oid) -> bool {
    !pg::is_builtin(relid)
        && relation::is_target_kind(relid)
        && !relation::is_temporary(relid)
        && pg::relation_name(relid).is_some_and(|(schema, _)| schema != "betweenrows")
}

fn column_change(relid: Oid, attno: i16) -> Option<Change> {
    let columns = relation::columns(relid);
    let old = &columns.iter().find(|column| column.attno == attno)?.name;
    let new = objects::newest_column_name(relid, attno)?;
    (*old != new).then(|| Change::Column {
        relid,
        old: old.clone(),
        new,
    })
}

/// Notes a change of a name for the end of the statement.
fn note(change: impl FnOnce() -> Option<Change>) {
    if !epoch::is_installed() {
        return;
    }
    let Some(change) = change() else { return };
    // What an extension does by itself, outside any statement, ends with the transaction at the earliest.
    let place = frames::utility().map_or(0, |(place, _)| place);
    let nest_level = leaf::GetCurrentTransactionNestLevel();
    NOTED.with_borrow_mut(|noted| {
        noted.push(Noted {
            place,
            nest_level,
            change,
        })
    });
}

/// Whether there is anything to follow. Calls nothing of PostgreSQL's.
pub(crate) fn is_pending() -> bool {
    !NOTED.with_borrow(Vec::is_empty)
}

/// Lets the catalog follow the names that a statement changed, which has ended.
///
/// # Safety
/// The statement's frame at `place` has been left.
pub(crate) unsafe fn after(place: usize) {
    let changes: Vec<Change> = NOTED.with_borrow_mut(|noted| {
        let (own, others) = noted.drain(..).partition(|noted| noted.place >= place);
        *noted = others;
        own.into_iter().map(|noted: Noted| noted.change).collect()
    });
    if changes.is_empty() {
        return;
    }
    if catalog::readable().is_none() {
        // Nobody could say what has to follow.
        errors::catalog_unreadable();
    }
    // What the statement did becomes visible.
    pg_sys::CommandCounterIncrement();
    epoch::touch();
    let Some(owner) = epoch::namespace().and_then(objects::schema_owner) else {
        return;
    };
    let outcomes = pg::with_rights_of(owner, || {
        let outcomes = follow::changes(&changes);
        // The policies that followed are in force from here on.
        pg_sys::CommandCounterIncrement();
        outcomes
    });
    let (lost, left): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|(_, outcome)| *outcome == Outcome::Lost);
    let names = |list: Vec<(String, Outcome)>| list.into_iter().map(|(name, _)| name).collect();
    if !lost.is_empty() {
        errors::lost_by_policies(names(lost), is_trusted_with_names());
    }
    leave(names(left));
}
