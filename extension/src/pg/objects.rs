//! Objects that hang on relations, and what a command that is still running has made of catalog rows.

use std::collections::HashSet;

use pgrx::pg_sys::{self, Datum, HeapTuple, Oid};

use super::{depend, nodes};

/// An object: the catalog that has it, and its OID there.
pub(crate) type Object = (Oid, Oid);

/// The relation that an object belongs to: an index's or trigger's table, a rule's view, a relation itself. `None` for what
/// belongs to no relation. Rows that the running command wrote count.
pub(crate) fn relation_of((class, object): Object) -> Option<Oid> {
    // SAFETY: each catalog is read with the struct of its own rows.
    let relid = unsafe {
        match class {
            pg_sys::RelationRelationId => return relation_or_table(object),
            pg_sys::ConstraintRelationId => newest(
                class,
                pg_sys::ConstraintOidIndexId,
                pg_sys::Anum_pg_constraint_oid,
                object,
                |form: &pg_sys::FormData_pg_constraint| form.conrelid,
            ),
            pg_sys::TriggerRelationId => newest(
                class,
                pg_sys::TriggerOidIndexId,
                pg_sys::Anum_pg_trigger_oid,
                object,
                |form: &pg_sys::FormData_pg_trigger| form.tgrelid,
            ),
            pg_sys::RewriteRelationId => newest(
                class,
                pg_sys::RewriteOidIndexId,
                pg_sys::Anum_pg_rewrite_oid,
                object,
                |form: &pg_sys::FormData_pg_rewrite| form.ev_class,
            ),
            pg_sys::PolicyRelationId => newest(
                class,
                pg_sys::PolicyOidIndexId,
                pg_sys::Anum_pg_policy_oid,
                object,
                |form: &pg_sys::FormData_pg_policy| form.polrelid,
            ),
            pg_sys::StatisticExtRelationId => newest(
                class,
                pg_sys::StatisticExtOidIndexId,
                pg_sys::Anum_pg_statistic_ext_oid,
                object,
                |form: &pg_sys::FormData_pg_statistic_ext| form.stxrelid,
            ),
            pg_sys::PublicationRelRelationId => newest(
                class,
                pg_sys::PublicationRelObjectIndexId,
                pg_sys::Anum_pg_publication_rel_oid,
                object,
                |form: &pg_sys::FormData_pg_publication_rel| form.prrelid,
            ),
            pg_sys::AttrDefaultRelationId => newest(
                class,
                pg_sys::AttrDefaultOidIndexId,
                pg_sys::Anum_pg_attrdef_oid,
                object,
                |form: &pg_sys::FormData_pg_attrdef| form.adrelid,
            ),
            _ => None,
        }
    };
    relid.filter(|relid| *relid != Oid::INVALID)
}

/// The table of an index, any other relation itself.
fn relation_or_table(relid: Oid) -> Option<Oid> {
    // SAFETY: as in `relation_of`.
    unsafe {
        if !matches!(newest_kind(relid)?, b'i' | b'I') {
            return Some(relid);
        }
        newest(
            pg_sys::IndexRelationId,
            pg_sys::IndexRelidIndexId,
            pg_sys::Anum_pg_index_indexrelid,
            relid,
            |form: &pg_sys::FormData_pg_index| form.indrelid,
        )
    }
}

fn newest_kind(relid: Oid) -> Option<u8> {
    // SAFETY: the struct is that of pg_class.
    unsafe {
        newest(
            pg_sys::RelationRelationId,
            pg_sys::ClassOidIndexId,
            pg_sys::Anum_pg_class_oid,
            relid,
            |form: &pg_sys::FormData_pg_class| form.relkind as u8,
        )
    }
}

/// The schema and name of a relation as the running command has changed them.
pub(crate) fn newest_relation_name(relid: Oid) -> Option<(String, String)> {
    // SAFETY: the struct is that of pg_class; the schema's name is copied at once.
    unsafe {
        let (schema, name) = newest(
            pg_sys::RelationRelationId,
            pg_sys::ClassOidIndexId,
            pg_sys::Anum_pg_class_oid,
            relid,
            |form: &pg_sys::FormData_pg_class| (form.relnamespace, nodes::string(form.relname.data.as_ptr())),
        )?;
        let schema = pg_sys::get_namespace_name(schema);
        (!schema.is_null()).then(|| (nodes::string(schema), name))
    }
}

/// The name of a schema as the running command has changed it.
pub(crate) fn newest_schema_name(schema: Oid) -> Option<String> {
    // SAFETY: the struct is that of pg_namespace.
    unsafe {
        newest(
            pg_sys::NamespaceRelationId,
            pg_sys::NamespaceOidIndexId,
            pg_sys::Anum_pg_namespace_oid,
            schema,
            |form: &pg_sys::FormData_pg_namespace| nodes::string(form.nspname.data.as_ptr()),
        )
    }
}

/// The owner of a schema.
pub(crate) fn schema_owner(schema: Oid) -> Option<Oid> {
    // SAFETY: the struct is that of pg_namespace.
    unsafe {
        newest(
            pg_sys::NamespaceRelationId,
            pg_sys::NamespaceOidIndexId,
            pg_sys::Anum_pg_namespace_oid,
            schema,
            |form: &pg_sys::FormData_pg_namespace| form.nspowner,
        )
    }
}

/// The name of a role as the running command has changed it.
pub(crate) fn newest_role_name(role: Oid) -> Option<String> {
    // SAFETY: the struct is that of pg_authid.
    unsafe {
        newest(
            pg_sys::AuthIdRelationId,
            pg_sys::AuthIdOidIndexId,
            pg_sys::Anum_pg_authid_oid,
            role,
            |form: &pg_sys::FormData_pg_authid| nodes::string(form.rolname.data.as_ptr()),
        )
    }
}

/// The name of a column as the running command has changed it.
pub(crate) fn newest_column_name(relid: Oid, attno: i16) -> Option<String> {
    let keys = [
        (pg_sys::Anum_pg_attribute_attrelid, pg_sys::F_OIDEQ, Datum::from(relid)),
        (pg_sys::Anum_pg_attribute_attnum, pg_sys::F_INT2EQ, Datum::from(attno)),
    ];
    let mut name = None;
    // SAFETY: the struct is that of pg_attribute; each tuple is read during the visit.
    unsafe {
        scan(
            pg_sys::AttributeRelationId,
            pg_sys::AttributeRelidNumIndexId,
            &keys,
            &mut |tuple| {
                let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_attribute>();
                name = Some(nodes::string((*form).attname.data.as_ptr()));
            },
        );
    }
    name
}

/// The relations that change when one of the objects does: those whose constraints, defaults, indexes, triggers or
/// definitions use it, directly or through other objects.
pub(crate) fn using(objects: &[Object]) -> Vec<Oid> {
    dependent_relations(objects, &|object, is_start| {
        // What is built on a table does not change with the table's defaults or triggers; its row type does.
        let is_table = object.0 == pg_sys::RelationRelationId && !matches!(newest_kind(object.1), Some(b'v' | b'm'));
        !is_table || is_start
    })
}

/// The relations that DROP … CASCADE of the objects drops or changes.
pub(crate) fn reached_by_cascade(objects: &[Object]) -> Vec<Oid> {
    dependent_relations(objects, &|_, _| true)
}

/// Follows pg_depend; `all` tells for an object whether everything that depends on it is followed, or only its row type.
fn dependent_relations(objects: &[Object], all: &dyn Fn(Object, bool) -> bool) -> Vec<Oid> {
    let mut seen: HashSet<Object> = objects.iter().copied().collect();
    let mut open = objects.to_vec();
    let mut found = Vec::new();
    while let Some(object) = open.pop() {
        if let Some(relid) = relation_of(object) {
            let relation = (pg_sys::RelationRelationId, relid);
            if !found.contains(&relid) && !objects.contains(&relation) {
                found.push(relid);
            }
            if object != relation {
                // A view is nothing but its rule; a table survives its parts.
                if object.0 == pg_sys::RewriteRelationId && seen.insert(relation) {
                    open.push(relation);
                }
                continue;
            }
        }
        let all = all(object, objects.contains(&object));
        for dependent in depend::dependents(object.0, object.1) {
            let dependent = (dependent.class, dependent.object);
            if (all || dependent.0 == pg_sys::TypeRelationId) && seen.insert(dependent) {
                open.push(dependent);
            }
        }
    }
    found
}

/// Reads the row of an object as the running command left it.
///
/// # Safety
/// `Form` is the struct of the catalog's fixed part, `index` its unique index on the column `attno`.
unsafe fn newest<Form, R>(class: Oid, index: u32, attno: u32, object: Oid, read: impl Fn(&Form) -> R) -> Option<R> {
    let mut result = None;
    scan(
        class,
        index,
        &[(attno, pg_sys::F_OIDEQ, Datum::from(object))],
        &mut |tuple| result = Some(read(&*pg_sys::GETSTRUCT(tuple).cast::<Form>())),
    );
    result
}

/// Visits the rows of a catalog that fulfil equality conditions, as the running command left them.
unsafe fn scan(class: Oid, index: u32, conditions: &[(u32, u32, Datum)], visit: &mut dyn FnMut(HeapTuple)) {
    let mut keys = [pg_sys::ScanKeyData::default(); 2];
    for (key, (attno, procedure, value)) in keys.iter_mut().zip(conditions) {
        pg_sys::ScanKeyInit(
            key,
            *attno as _,
            pg_sys::BTEqualStrategyNumber as _,
            Oid::from(*procedure),
            *value,
        );
    }
    let relation = pg_sys::table_open(class, pg_sys::AccessShareLock as _);
    let scan = pg_sys::systable_beginscan(
        relation,
        Oid::from(index),
        true,
        &raw mut pg_sys::SnapshotSelfData,
        conditions.len() as _,
        keys.as_mut_ptr(),
    );
    loop {
        let tuple = pg_sys::systable_getnext(scan);
        if tuple.is_null() {
            break;
        }
        visit(tuple);
    }
    pg_sys::systable_endscan(scan);
    pg_sys::table_close(relation, pg_sys::AccessShareLock as _);
}
