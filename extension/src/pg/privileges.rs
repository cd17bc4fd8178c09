//! What PostgreSQL's own privileges let the current role do. Where they let it do nothing, PostgreSQL's refusal is the answer.

use pgrx::pg_sys::{self, Oid};

use super::depend;

/// Whether the current role owns the relation, its schema or the database, or has any privilege on the relation or one of its
/// columns. If not, PostgreSQL refuses whatever the role wants to do with it.
pub(crate) fn reach(relid: Oid) -> bool {
    // SAFETY: cached catalog lookups; reads backend state.
    unsafe {
        let role = pg_sys::GetUserId();
        let any = pg_sys::AclMaskHow::ACLMASK_ANY;
        owns(pg_sys::RelationRelationId, relid)
            || owns_schema(pg_sys::get_rel_namespace(relid))
            || owns_database()
            || pg_sys::pg_class_aclmask(relid, role, pg_sys::ACL_ALL_RIGHTS_RELATION as _, any) != 0
            || pg_sys::pg_attribute_aclcheck_all(relid, role, pg_sys::ACL_ALL_RIGHTS_COLUMN as _, any)
                == pg_sys::AclResult::ACLCHECK_OK
    }
}

/// Whether the current role may truncate the relation.
pub(crate) fn may_truncate(relid: Oid) -> bool {
    // SAFETY: a cached catalog lookup; reads backend state.
    unsafe {
        let right = pg_sys::ACL_TRUNCATE as pg_sys::AclMode;
        pg_sys::pg_class_aclmask(relid, pg_sys::GetUserId(), right, pg_sys::AclMaskHow::ACLMASK_ALL) == right
    }
}

/// Raises PostgreSQL's error for a missing privilege on a relation.
pub(crate) fn raise_missing(relid: Oid) {
    // SAFETY: cached catalog lookups.
    unsafe {
        let kind = pg_sys::get_relkind_objtype(pg_sys::get_rel_relkind(relid));
        pg_sys::aclcheck_error(pg_sys::AclResult::ACLCHECK_NO_PRIV, kind, pg_sys::get_rel_name(relid));
    }
}

/// Whether the current role may drop the relation or index: it owns it, or its schema.
pub(crate) fn may_drop(relid: Oid) -> bool {
    // SAFETY: a cached catalog lookup.
    owns(pg_sys::RelationRelationId, relid) || owns_schema(unsafe { pg_sys::get_rel_namespace(relid) })
}

/// Whether the current role owns the schema.
pub(crate) fn owns_schema(namespace: Oid) -> bool {
    owns(pg_sys::NamespaceRelationId, namespace)
}

/// Whether the current role owns the database.
pub(crate) fn owns_database() -> bool {
    // SAFETY: reads backend state.
    owns(pg_sys::DatabaseRelationId, unsafe { pg_sys::MyDatabaseId })
}

/// Whether the current role has the privileges of PostgreSQL's role for maintenance (from 17).
pub(crate) fn maintains_everything() -> bool {
    // SAFETY: cached catalog lookups; reads backend state.
    super::role_oid("pg_maintain").is_some_and(|role| unsafe { pg_sys::has_privs_of_role(pg_sys::GetUserId(), role) })
}

/// Whether the current role has the privileges of all these roles.
///
/// # Safety
/// `roles` is a list of RoleSpecs.
pub(crate) unsafe fn has_those_of(roles: *mut pg_sys::List) -> bool {
    super::list::iter_oid(pg_sys::roleSpecsToIds(roles))
        .all(|role| pg_sys::has_privs_of_role(pg_sys::GetUserId(), role))
}

#[cfg(feature = "pg15")]
fn owns(class: Oid, object: Oid) -> bool {
    // SAFETY: cached catalog lookups; reads backend state.
    unsafe {
        let role = pg_sys::GetUserId();
        match class {
            pg_sys::RelationRelationId => pg_sys::pg_class_ownercheck(object, role),
            pg_sys::NamespaceRelationId => pg_sys::pg_namespace_ownercheck(object, role),
            _ => pg_sys::pg_database_ownercheck(object, role),
        }
    }
}

#[cfg(not(feature = "pg15"))]
fn owns(class: Oid, object: Oid) -> bool {
    // SAFETY: cached catalog lookups; reads backend state.
    unsafe { pg_sys::object_ownercheck(class, object, pg_sys::GetUserId()) }
}

/// The owner of something that has a name in a schema: a function, operator, relation or type; `None` for other kinds.
fn owner_in_schema(class: Oid, object: Oid) -> Option<Oid> {
    use pg_sys::SysCacheIdentifier as Cache;
    let (cache, column) = match class {
        pg_sys::ProcedureRelationId => (Cache::PROCOID, pg_sys::Anum_pg_proc_proowner),
        pg_sys::OperatorRelationId => (Cache::OPEROID, pg_sys::Anum_pg_operator_oprowner),
        pg_sys::RelationRelationId => (Cache::RELOID, pg_sys::Anum_pg_class_relowner),
        pg_sys::TypeRelationId => (Cache::TYPEOID, pg_sys::Anum_pg_type_typowner),
        _ => return None,
    };
    // SAFETY: the owner is read before its row is released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(cache as _, pg_sys::Datum::from(object));
        if tuple.is_null() {
            return None;
        }
        let mut is_null = false;
        let owner = pg_sys::SysCacheGetAttr(cache as _, tuple, column as _, &mut is_null);
        pg_sys::ReleaseSysCache(tuple);
        Some(Oid::from(owner.value() as u32))
    }
}

/// Whether there is something in a schema that belongs to the role, or to one that it is a member of.
pub(crate) fn has_something_in(role: Oid, schema: Oid) -> bool {
    depend::dependents(pg_sys::NamespaceRelationId, schema)
        .into_iter()
        .filter_map(|part| owner_in_schema(part.class, part.object))
        // SAFETY: reads the cache of memberships.
        .any(|owner| owner == role || unsafe { pg_sys::is_member_of_role_nosuper(role, owner) })
}
