//! Objects that hang on relations, and what a command that is still running has made of catalog rows.

use std::collections::HashSet;

use pgrx::pg_sys::{self, Datum, HeapTuple, Oid};

use super::{depend, nodes};

/// An object: the catalog that has it, and its OID there.
pub(crate) type Object = (Oid, Oid);

/// The fixed part of a catalog's rows, by which [`newest`] reads them.
///
/// # Safety
/// It is the struct of the rows of `CATALOG`, whose unique index `INDEX` is on the column `KEY`, an OID.
unsafe trait Form {
    const CATALOG: Oid;
    const INDEX: u32;
    const KEY: u32;
}

macro_rules! forms {
    ($($form:ident: $catalog:ident, $index:ident, $key:ident;)*) => {$(
        // SAFETY: PostgreSQL's names of one catalog, its index on the OID, and that column.
        unsafe impl Form for pg_sys::$form {
            const CATALOG: Oid = pg_sys::$catalog;
            const INDEX: u32 = pg_sys::$index;
            const KEY: u32 = pg_sys::$key;
        }
    )*};
}

forms! {
    FormData_pg_attrdef: AttrDefaultRelationId, AttrDefaultOidIndexId, Anum_pg_attrdef_oid;
    FormData_pg_authid: AuthIdRelationId, AuthIdOidIndexId, Anum_pg_authid_oid;
    FormData_pg_class: RelationRelationId, ClassOidIndexId, Anum_pg_class_oid;
    FormData_pg_constraint: ConstraintRelationId, ConstraintOidIndexId, Anum_pg_constraint_oid;
    FormData_pg_index: IndexRelationId, IndexRelidIndexId, Anum_pg_index_indexrelid;
    FormData_pg_namespace: NamespaceRelationId, NamespaceOidIndexId, Anum_pg_namespace_oid;
    FormData_pg_policy: PolicyRelationId, PolicyOidIndexId, Anum_pg_policy_oid;
    FormData_pg_publication_rel: PublicationRelRelationId, PublicationRelObjectIndexId, Anum_pg_publication_rel_oid;
    FormData_pg_rewrite: RewriteRelationId, RewriteOidIndexId, Anum_pg_rewrite_oid;
    FormData_pg_statistic_ext: StatisticExtRelationId, StatisticExtOidIndexId, Anum_pg_statistic_ext_oid;
    FormData_pg_trigger: TriggerRelationId, TriggerOidIndexId, Anum_pg_trigger_oid;
}

/// The relation that an object belongs to: an index's or trigger's table, a rule's view, a relation itself. `None` for what
/// belongs to no relation. Rows that the running command wrote count.
pub(crate) fn relation_of((class, object): Object) -> Option<Oid> {
    let relid = match class {
        pg_sys::RelationRelationId => return relation_or_table(object),
        pg_sys::ConstraintRelationId => newest(object, |form: &pg_sys::FormData_pg_constraint| form.conrelid),
        pg_sys::TriggerRelationId => newest(object, |form: &pg_sys::FormData_pg_trigger| form.tgrelid),
        pg_sys::RewriteRelationId => newest(object, |form: &pg_sys::FormData_pg_rewrite| form.ev_class),
        pg_sys::PolicyRelationId => newest(object, |form: &pg_sys::FormData_pg_policy| form.polrelid),
        pg_sys::StatisticExtRelationId => newest(object, |form: &pg_sys::FormData_pg_statistic_ext| form.stxrelid),
        pg_sys::PublicationRelRelationId => newest(object, |form: &pg_sys::FormData_pg_publication_rel| form.prrelid),
        pg_sys::AttrDefaultRelationId => newest(object, |form: &pg_sys::FormData_pg_attrdef| form.adrelid),
        _ => None,
    };
    relid.filter(|relid| *relid != Oid::INVALID)
}

/// The table of an index, any other relation itself.
fn relation_or_table(relid: Oid) -> Option<Oid> {
    if !matches!(newest_kind(relid)?, b'i' | b'I') {
        return Some(relid);
    }
    newest(relid, |form: &pg_sys::FormData_pg_index| form.indrelid)
}

fn newest_kind(relid: Oid) -> Option<u8> {
    newest(relid, |form: &pg_sys::FormData_pg_class| form.relkind as u8)
}

/// The schema and name of a relation as the running command has changed them.
pub(crate) fn newest_relation_name(relid: Oid) -> Option<(String, String)> {
    let (schema, name) = newest(relid, |form: &pg_sys::FormData_pg_class| {
        (form.relnamespace, text(&form.relname))
    })?;
    // SAFETY: a syscache lookup, whose copy is read at once.
    unsafe {
        let schema = pg_sys::get_namespace_name(schema);
        (!schema.is_null()).then(|| (nodes::string(schema), name))
    }
}

/// The name of a schema as the running command has changed it.
pub(crate) fn newest_schema_name(schema: Oid) -> Option<String> {
    newest(schema, |form: &pg_sys::FormData_pg_namespace| text(&form.nspname))
}

/// The owner of a schema.
pub(crate) fn schema_owner(schema: Oid) -> Option<Oid> {
    newest(schema, |form: &pg_sys::FormData_pg_namespace| form.nspowner)
}

/// The name of a role as the running command has changed it.
pub(crate) fn newest_role_name(role: Oid) -> Option<String> {
    newest(role, |form: &pg_sys::FormData_pg_authid| text(&form.rolname))
}

fn text(name: &pg_sys::NameData) -> String {
    // SAFETY: a name ends with a NUL.
    unsafe { nodes::string(name.data.as_ptr()) }
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
                name = Some(text(&(*form).attname));
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
fn newest<F: Form, R>(object: Oid, read: impl Fn(&F) -> R) -> Option<R> {
    let mut result = None;
    let key = [(F::KEY, pg_sys::F_OIDEQ, Datum::from(object))];
    // SAFETY: by the contract of the trait; each row is read during the visit.
    unsafe {
        scan(F::CATALOG, F::INDEX, &key, &mut |tuple| {
            result = Some(read(&*pg_sys::GETSTRUCT(tuple).cast::<F>()));
        });
    }
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
