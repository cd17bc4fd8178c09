//! The net below [`super::ddl`]: objects that a statement reaches without naming them, through CASCADE, inheritance, owners
//! or tablespaces.
//!
//! Invariant: while a watched statement runs, nothing is created on, changed of or dropped from a relation that policies
//! restrict for the subject, and no code changes that such a relation uses or that an exempt role owns.

use std::ffi::c_void;

use pgrx::pg_sys::{self, Datum, ObjectAccessType, Oid};

use super::truncate;
use crate::catalog::governance::State;
use crate::catalog::{self, Session};
use crate::guard::frames;
use crate::pg::{depend, objects, relation};
use crate::{errors, identity};

/// Judges what PostgreSQL does with an object.
///
/// # Safety
/// The arguments are those of `object_access_hook`, for what PostgreSQL does not do for its own reasons.
pub(super) unsafe fn accessed(access: ObjectAccessType::Type, class: Oid, object: Oid) {
    if !frames::utility().is_some_and(|(_, watched)| watched) {
        return;
    }
    let Some(session) = catalog::current() else { return };
    if access == ObjectAccessType::OAT_TRUNCATE {
        if truncate::is_kept(&session, object) {
            errors::truncate_refused();
        }
        return;
    }
    if let Some(relid) = objects::relation_of((class, object)) {
        if is_restricted(&session, relid) && !is_new(relid) {
            errors::definition_refused();
        }
    } else if let Some(owner) = owner_of_code(class, object) {
        // The constructors of a range type belong to the first superuser, whoever made the type.
        let foreign = identity::is_exempt(&session.catalog, owner) && !depend::is_part(class, object);
        if foreign && !pg_sys::creating_extension {
            errors::exempt_code_refused();
        }
        if uses_restricted(&session, (class, object)) {
            errors::definition_refused();
        }
    }
}

/// Whether PostgreSQL does it for its own reasons, as for the transient tables of a rewrite.
///
/// # Safety
/// `argument` is that of `object_access_hook`.
pub(super) unsafe fn is_internal(access: ObjectAccessType::Type, argument: *mut c_void) -> bool {
    if argument.is_null() {
        return false;
    }
    match access {
        ObjectAccessType::OAT_POST_CREATE => (*argument.cast::<pg_sys::ObjectAccessPostCreate>()).is_internal,
        ObjectAccessType::OAT_POST_ALTER => (*argument.cast::<pg_sys::ObjectAccessPostAlter>()).is_internal,
        ObjectAccessType::OAT_DROP => {
            let flags = (*argument.cast::<pg_sys::ObjectAccessDrop>()).dropflags;
            flags & pg_sys::PERFORM_DELETION_INTERNAL as i32 != 0
        }
        _ => false,
    }
}

/// Whether policies restrict a relation for the subject, apart from hiding it by default.
pub(super) fn is_restricted(session: &Session, relid: Oid) -> bool {
    // A TOAST table comes and goes with its table.
    if relation::is_toast(relid) {
        return false;
    }
    let governance = session.governance(relid);
    match governance.state {
        State::Open => false,
        State::Governed => !governance.is_unrestricted(true),
        State::Reserved | State::ShutOut | State::Broken => true,
    }
}

/// Whether something that policies restrict uses the object.
pub(super) fn uses_restricted(session: &Session, object: objects::Object) -> bool {
    objects::using(&[object])
        .into_iter()
        .any(|relid| is_restricted(session, relid))
}

/// Whether the relation was created in this transaction, so that it holds nothing but what the session put there.
unsafe fn is_new(relid: Oid) -> bool {
    let relation = pg_sys::RelationIdGetRelation(relid);
    if relation.is_null() {
        return false;
    }
    let new = (*relation).rd_createSubid != 0;
    pg_sys::RelationClose(relation);
    new
}

/// The owner of a function or operator that exists already; `None` for new ones and for other kinds of objects.
unsafe fn owner_of_code(class: Oid, object: Oid) -> Option<Oid> {
    use pg_sys::SysCacheIdentifier as Cache;
    let (cache, column) = match class {
        pg_sys::ProcedureRelationId => (Cache::PROCOID, pg_sys::Anum_pg_proc_proowner),
        pg_sys::OperatorRelationId => (Cache::OPEROID, pg_sys::Anum_pg_operator_oprowner),
        _ => return None,
    };
    // The cache does not show rows that the running command has made.
    let tuple = pg_sys::SearchSysCache1(cache as _, Datum::from(object));
    if tuple.is_null() {
        return None;
    }
    let mut is_null = false;
    let owner = pg_sys::SysCacheGetAttr(cache as _, tuple, column as _, &mut is_null);
    pg_sys::ReleaseSysCache(tuple);
    Some(Oid::from(owner.value() as u32))
}
