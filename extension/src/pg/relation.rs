//! Facts about relations, from the system caches and without opening them.

use pgrx::pg_sys::{self, Datum, Node, NodeTag, Oid};

use super::walk::{self, Walk};
use super::{list, nodes};

/// A column as pg_attribute has it.
#[derive(Clone)]
pub(crate) struct Column {
    /// Attribute number, from 1.
    pub(crate) attno: i16,
    /// Name; for a dropped column PostgreSQL's placeholder.
    pub(crate) name: String,
    /// Type; invalid for a dropped column.
    pub(crate) type_oid: Oid,
    /// Type modifier.
    pub(crate) typmod: i32,
    /// Collation.
    pub(crate) collation: Oid,
    /// Whether the column was dropped.
    pub(crate) dropped: bool,
    /// Whether it is a generated column.
    pub(crate) generated: bool,
}

/// All columns in order, dropped ones included; empty when the relation has gone away.
pub(crate) fn columns(relid: Oid) -> Vec<Column> {
    // SAFETY: each tuple is released after it was read; the attribute struct is its fixed part.
    unsafe {
        (1..=number_of_attributes(relid))
            .filter_map(|attno| {
                let tuple = pg_sys::SearchSysCache2(
                    pg_sys::SysCacheIdentifier::ATTNUM as _,
                    Datum::from(relid),
                    Datum::from(attno),
                );
                if tuple.is_null() {
                    return None;
                }
                let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_attribute>();
                let column = Column {
                    attno,
                    name: nodes::string((*form).attname.data.as_ptr()),
                    type_oid: (*form).atttypid,
                    typmod: (*form).atttypmod,
                    collation: (*form).attcollation,
                    dropped: (*form).attisdropped,
                    generated: (*form).attgenerated != 0,
                };
                pg_sys::ReleaseSysCache(tuple);
                Some(column)
            })
            .collect()
    }
}

/// The number of attributes, dropped ones included; 0 when the relation has gone away.
unsafe fn number_of_attributes(relid: Oid) -> i16 {
    let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as _, Datum::from(relid));
    if tuple.is_null() {
        return 0;
    }
    let number = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>()).relnatts;
    pg_sys::ReleaseSysCache(tuple);
    number
}

/// The relation's kind as pg_class has it, 0 when it has gone away.
pub(crate) fn kind(relid: Oid) -> u8 {
    // SAFETY: a syscache lookup, 0 for a missing relation.
    unsafe { pg_sys::get_rel_relkind(relid) as u8 }
}

/// Reads something of a relation's row in pg_class; `None` when it has gone away.
fn class<R>(relid: Oid, read: impl FnOnce(&pg_sys::FormData_pg_class) -> R) -> Option<R> {
    // SAFETY: the tuple is read before it is released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as _, Datum::from(relid));
        if tuple.is_null() {
            return None;
        }
        let result = read(&*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>());
        pg_sys::ReleaseSysCache(tuple);
        Some(result)
    }
}

/// The TOAST table of a relation, invalid when it has none.
pub(crate) fn toast_table(relid: Oid) -> Oid {
    class(relid, |class| class.reltoastrelid).unwrap_or(Oid::INVALID)
}

/// The owner of a relation, `None` when it has gone away.
pub(crate) fn owner(relid: Oid) -> Option<Oid> {
    class(relid, |class| class.relowner)
}

/// Whether a relation has rules, or had once.
pub(crate) fn has_rules(relid: Oid) -> bool {
    class(relid, |class| class.relhasrules).unwrap_or(false)
}

/// Whether policies can be about this kind of relation.
pub(crate) fn is_target_kind(relid: Oid) -> bool {
    matches!(kind(relid), b'r' | b'p' | b'f' | b'v' | b'm')
}

/// Whether the relation is a view.
pub(crate) fn is_view(relid: Oid) -> bool {
    kind(relid) == b'v'
}

/// Whether the relation is a partitioned table.
pub(crate) fn is_partitioned(relid: Oid) -> bool {
    kind(relid) == b'p'
}

/// Whether `COPY relation TO` copies this kind of relation.
pub(crate) fn is_copied(relid: Oid) -> bool {
    // Materialized views since 18.
    kind(relid) == b'r' || (cfg!(feature = "pg18") && kind(relid) == b'm')
}

/// Whether the relation is a foreign table.
pub(crate) fn is_foreign(relid: Oid) -> bool {
    kind(relid) == b'f'
}

/// Whether the relation is a TOAST table.
pub(crate) fn is_toast(relid: Oid) -> bool {
    kind(relid) == b't'
}

/// Whether the relation is a temporary one of this session.
pub(crate) fn is_temporary(relid: Oid) -> bool {
    // SAFETY: syscache lookup and comparison with backend state.
    unsafe { pg_sys::isTempNamespace(pg_sys::get_rel_namespace(relid)) }
}

/// Whether other relations inherit from this one, or did once.
pub(crate) fn has_children(relid: Oid) -> bool {
    // SAFETY: a syscache lookup that raises an error for a missing relation only.
    kind(relid) != 0 && matches!(kind(relid), b'r' | b'p' | b'f') && unsafe { pg_sys::has_subclass(relid) }
}

/// All relations that inherit from this one, at any distance, itself left out.
pub(crate) fn descendants(relid: Oid) -> Vec<Oid> {
    // SAFETY: reads pg_inherits; takes no locks on the children, whose names and columns come from the syscache.
    unsafe {
        let all = pg_sys::find_all_inheritors(relid, pg_sys::NoLock as _, std::ptr::null_mut());
        list::iter_oid(all).filter(|child| *child != relid).collect()
    }
}

/// All relations that this one inherits from, at any distance.
pub(crate) fn ancestors(relid: Oid) -> Vec<Oid> {
    let mut found = Vec::new();
    let mut open = vec![relid];
    while let Some(child) = open.pop() {
        for parent in parents(child) {
            if !found.contains(&parent) {
                found.push(parent);
                open.push(parent);
            }
        }
    }
    found
}

/// Direct parents, from pg_inherits by its index on the child.
pub(crate) fn parents(relid: Oid) -> Vec<Oid> {
    // SAFETY: a catalog scan with an own snapshot; each tuple is read before the next one is asked for.
    unsafe {
        let rel = pg_sys::table_open(pg_sys::InheritsRelationId, pg_sys::AccessShareLock as _);
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            pg_sys::Anum_pg_inherits_inhrelid as _,
            pg_sys::BTEqualStrategyNumber as _,
            Oid::from(pg_sys::F_OIDEQ),
            Datum::from(relid),
        );
        let scan = pg_sys::systable_beginscan(
            rel,
            Oid::from(pg_sys::InheritsRelidSeqnoIndexId),
            true,
            std::ptr::null_mut(),
            1,
            &mut key,
        );
        let mut parents = Vec::new();
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            parents.push((*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_inherits>()).inhparent);
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(rel, pg_sys::AccessShareLock as _);
        parents
    }
}

/// The columns that a generated column is computed from.
pub(crate) fn generated_from(relid: Oid, attno: i16) -> Vec<i16> {
    // SAFETY: the relation is open and locked while its default expression is copied and walked.
    unsafe {
        let rel = pg_sys::relation_open(relid, pg_sys::AccessShareLock as _);
        let expr: *mut Node = pg_sys::build_column_default(rel, i32::from(attno));
        let mut sources = Vec::new();
        walk::walk(expr, &mut |node, _| {
            if nodes::is_a(node, NodeTag::T_Var) {
                sources.push((*node.cast::<pg_sys::Var>()).varattno);
            }
            Walk::Into
        });
        pg_sys::relation_close(rel, pg_sys::AccessShareLock as _);
        if sources.contains(&0) {
            sources = columns(relid).iter().map(|column| column.attno).collect();
        }
        sources
    }
}

/// The columns of a unique, primary key or exclusion constraint.
pub(crate) fn constraint_columns(constraint: Oid) -> Vec<i16> {
    // SAFETY: a syscache lookup.
    let index = unsafe { pg_sys::get_constraint_index(constraint) };
    index_keys(index).map_or_else(Vec::new, |(_, columns)| columns)
}

/// The columns of all unique and exclusion indexes of a relation, 0 for an expression.
pub(crate) fn unique_columns(relid: Oid) -> Vec<i16> {
    // SAFETY: the relation is open and locked while its list of indexes is copied; each tuple is read before it is released.
    unsafe {
        let rel = pg_sys::relation_open(relid, pg_sys::AccessShareLock as _);
        let indexes = pg_sys::RelationGetIndexList(rel);
        pg_sys::relation_close(rel, pg_sys::AccessShareLock as _);
        let decides = |index: Oid| {
            let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::INDEXRELID as _, Datum::from(index));
            if tuple.is_null() {
                return false;
            }
            let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_index>();
            let found = (*form).indisunique || (*form).indisexclusion;
            pg_sys::ReleaseSysCache(tuple);
            found
        };
        list::iter_oid(indexes)
            .filter(|index| decides(*index))
            .filter_map(index_keys)
            .flat_map(|(_, columns)| columns)
            .collect()
    }
}

/// Whether no two rows of a table fulfil equality conditions, given as columns with operators: they are about all columns of a unique
/// index that is never deferred.
pub(crate) fn is_key(relid: Oid, equalities: &[(i16, Oid)]) -> bool {
    // SAFETY: indexes are open and locked while they are looked at; the vectors have an entry for each key column.
    unsafe {
        let lock = pg_sys::AccessShareLock as _;
        let rel = pg_sys::relation_open(relid, lock);
        let indexes = pg_sys::RelationGetIndexList(rel);
        pg_sys::relation_close(rel, lock);
        list::iter_oid(indexes).any(|oid| {
            let index = pg_sys::index_open(oid, lock);
            let form = (*index).rd_index;
            let (keys, families) = ((*form).indkey.values.as_ptr(), (*index).rd_opfamily);
            let is_compared = |key: usize| {
                equalities.iter().any(|(column, operator)| {
                    *column == *keys.add(key)
                        && pg_sys::get_op_opfamily_strategy(*operator, *families.add(key))
                            == pg_sys::BTEqualStrategyNumber as i32
                })
            };
            let found = (*(*index).rd_rel).relam == pg_sys::BTREE_AM_OID
                && (*form).indisunique
                && (*form).indimmediate
                && (*form).indisvalid
                && (0..(*form).indnkeyatts as usize).all(is_compared);
            pg_sys::index_close(index, lock);
            found && !has_index_predicate(oid)
        })
    }
}

/// The table of an index and what it stores: attribute numbers, 0 for an expression. `None` when it has gone away.
pub(crate) fn index_keys(index: Oid) -> Option<(Oid, Vec<i16>)> {
    // SAFETY: the tuple is read before it is released; the key vector is its last fixed field and has `indnatts` entries.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::INDEXRELID as _, Datum::from(index));
        if tuple.is_null() {
            return None;
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_index>();
        let keys = (*form).indkey.values.as_ptr();
        let columns = (0..(*form).indnatts as usize).map(|key| *keys.add(key)).collect();
        let table = (*form).indrelid;
        pg_sys::ReleaseSysCache(tuple);
        Some((table, columns))
    }
}

/// Whether an index covers only rows that fulfil a condition.
pub(crate) fn has_index_predicate(index: Oid) -> bool {
    // SAFETY: the tuple is read before it is released.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::INDEXRELID as _;
        let tuple = pg_sys::SearchSysCache1(cache, Datum::from(index));
        if tuple.is_null() {
            return false;
        }
        let mut is_null = true;
        pg_sys::SysCacheGetAttr(cache, tuple, pg_sys::Anum_pg_index_indpred as _, &mut is_null);
        pg_sys::ReleaseSysCache(tuple);
        !is_null
    }
}

/// A constraint of a relation.
pub(crate) struct Constraint {
    /// The relation's columns that it is about; empty when it is about none or was found to be about the row.
    pub(crate) columns: Vec<i16>,
    /// The relation that a foreign key refers to.
    pub(crate) referenced: Option<Oid>,
}

/// The constraint of that name.
pub(crate) fn constraint(relid: Oid, name: &str) -> Option<Constraint> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: syscache lookups; the tuple is read before it is released.
    unsafe {
        let constraint = pg_sys::get_relation_constraint_oid(relid, name.as_ptr(), true);
        let cache = pg_sys::SysCacheIdentifier::CONSTROID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, Datum::from(constraint));
        if tuple.is_null() {
            return None;
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_constraint>();
        let referenced = Some((*form).confrelid).filter(|other| *other != Oid::INVALID);
        let mut is_null = false;
        let datum = pg_sys::SysCacheGetAttr(cache, tuple, pg_sys::Anum_pg_constraint_conkey as _, &mut is_null);
        let columns = <Vec<i16> as pgrx::FromDatum>::from_datum(datum, is_null).unwrap_or_default();
        pg_sys::ReleaseSysCache(tuple);
        Some(Constraint { columns, referenced })
    }
}

/// A foreign key that a relation takes part in.
pub(crate) struct ForeignKey {
    /// The table with the key.
    pub(crate) referencing: Oid,
    /// Its columns.
    pub(crate) referencing_columns: Vec<i16>,
    /// The table that the key points to.
    pub(crate) referenced: Oid,
    /// Its columns.
    pub(crate) referenced_columns: Vec<i16>,
}

impl ForeignKey {
    /// Whether comparing `columns` of `relid` is what this key does on its referenced or referencing side.
    pub(crate) fn compares(&self, relid: Oid, referenced: bool, columns: &[i16]) -> bool {
        let (table, key) = if referenced {
            (self.referenced, &self.referenced_columns)
        } else {
            (self.referencing, &self.referencing_columns)
        };
        let mut sorted = (columns.to_vec(), key.clone());
        sorted.0.sort_unstable();
        sorted.1.sort_unstable();
        table == relid && sorted.0 == sorted.1
    }
}

/// The foreign keys of a relation and those that point to it.
pub(crate) fn foreign_keys(relid: Oid) -> Vec<ForeignKey> {
    // SAFETY: a scan of pg_constraint with an own snapshot; each tuple is read before the next one is asked for.
    unsafe {
        let rel = pg_sys::table_open(pg_sys::ConstraintRelationId, pg_sys::AccessShareLock as _);
        let mut keys = Vec::new();
        for attno in [
            pg_sys::Anum_pg_constraint_conrelid,
            pg_sys::Anum_pg_constraint_confrelid,
        ] {
            let mut key = pg_sys::ScanKeyData::default();
            pg_sys::ScanKeyInit(
                &mut key,
                attno as _,
                pg_sys::BTEqualStrategyNumber as _,
                Oid::from(pg_sys::F_OIDEQ),
                Datum::from(relid),
            );
            // There is an index on conrelid only.
            let by_index = attno == pg_sys::Anum_pg_constraint_conrelid;
            let index = if by_index {
                Oid::from(pg_sys::ConstraintRelidTypidNameIndexId)
            } else {
                Oid::INVALID
            };
            let scan = pg_sys::systable_beginscan(rel, index, by_index, std::ptr::null_mut(), 1, &mut key);
            loop {
                let tuple = pg_sys::systable_getnext(scan);
                if tuple.is_null() {
                    break;
                }
                let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_constraint>();
                if (*form).contype as u8 == b'f' {
                    keys.push(foreign_key(rel, tuple, form));
                }
            }
            pg_sys::systable_endscan(scan);
        }
        pg_sys::table_close(rel, pg_sys::AccessShareLock as _);
        keys
    }
}

unsafe fn foreign_key(
    rel: pg_sys::Relation,
    tuple: pg_sys::HeapTuple,
    form: *mut pg_sys::FormData_pg_constraint,
) -> ForeignKey {
    let columns = |attno: u32| {
        let mut is_null = false;
        let datum = pg_sys::heap_getattr(tuple, attno as i32, (*rel).rd_att, &mut is_null);
        <Vec<i16> as pgrx::FromDatum>::from_datum(datum, is_null).unwrap_or_default()
    };
    ForeignKey {
        referencing: (*form).conrelid,
        referencing_columns: columns(pg_sys::Anum_pg_constraint_conkey),
        referenced: (*form).confrelid,
        referenced_columns: columns(pg_sys::Anum_pg_constraint_confkey),
    }
}

/// Every relation that policies can be about, with schema and name; PostgreSQL's own and other sessions' temporary ones left
/// out.
pub(crate) fn all_targets() -> Vec<(Oid, String, String)> {
    // SAFETY: a scan of pg_class with an own snapshot; each tuple is read before the next one is asked for.
    unsafe {
        let rel = pg_sys::table_open(pg_sys::RelationRelationId, pg_sys::AccessShareLock as _);
        let scan = pg_sys::systable_beginscan(rel, Oid::INVALID, false, std::ptr::null_mut(), 0, std::ptr::null_mut());
        let mut found = Vec::new();
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>();
            let target = matches!((*form).relkind as u8, b'r' | b'p' | b'f' | b'v' | b'm');
            if target && !super::is_builtin((*form).oid) && !pg_sys::isAnyTempNamespace((*form).relnamespace) {
                found.push((*form).oid);
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(rel, pg_sys::AccessShareLock as _);
        found
            .into_iter()
            .filter_map(|relid| super::relation_name(relid).map(|(schema, name)| (relid, schema, name)))
            .collect()
    }
}
