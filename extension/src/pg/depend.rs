//! What an object depends on, from pg_depend and without opening anything.

use pgrx::pg_sys::{self, Datum, Oid};

/// A reference to an object, or to a part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Object {
    /// The system catalog it is in.
    pub(crate) class: Oid,
    /// Its OID.
    pub(crate) object: Oid,
    /// The column's number, 0 for the object as a whole.
    pub(crate) part: i32,
}

/// What `object`, with all its parts, depends on.
pub(crate) fn references(class: Oid, object: Oid) -> Vec<Object> {
    let by = (
        pg_sys::DependDependerIndexId,
        pg_sys::Anum_pg_depend_classid,
        pg_sys::Anum_pg_depend_objid,
    );
    rows(by, class, object, |row| Object {
        class: row.refclassid,
        object: row.refobjid,
        part: row.refobjsubid,
    })
}

/// Whether `object` is a part of another one, made and dropped with it, such as the constructors of a range type.
pub(crate) fn is_part(class: Oid, object: Oid) -> bool {
    let by = (
        pg_sys::DependDependerIndexId,
        pg_sys::Anum_pg_depend_classid,
        pg_sys::Anum_pg_depend_objid,
    );
    rows(by, class, object, |row| row.deptype as u8 == b'i').contains(&true)
}

/// What depends on `object`, or on any of its parts.
pub(crate) fn dependents(class: Oid, object: Oid) -> Vec<Object> {
    let by = (
        pg_sys::DependReferenceIndexId,
        pg_sys::Anum_pg_depend_refclassid,
        pg_sys::Anum_pg_depend_refobjid,
    );
    rows(by, class, object, |row| Object {
        class: row.classid,
        object: row.objid,
        part: row.objsubid,
    })
}

/// Reads the rows of pg_depend whose two columns, the first ones of the index, are `class` and `object`.
fn rows<T>(
    (index, class_column, object_column): (u32, u32, u32),
    class: Oid,
    object: Oid,
    read: impl Fn(&pg_sys::FormData_pg_depend) -> T,
) -> Vec<T> {
    // SAFETY: a catalog scan with an own snapshot; each tuple is read before the next one is asked for.
    unsafe {
        let rel = pg_sys::table_open(pg_sys::DependRelationId, pg_sys::AccessShareLock as _);
        let mut keys = [pg_sys::ScanKeyData::default(); 2];
        for (key, (attno, value)) in keys.iter_mut().zip([(class_column, class), (object_column, object)]) {
            pg_sys::ScanKeyInit(
                key,
                attno as _,
                pg_sys::BTEqualStrategyNumber as _,
                Oid::from(pg_sys::F_OIDEQ),
                Datum::from(value),
            );
        }
        let scan = pg_sys::systable_beginscan(rel, Oid::from(index), true, std::ptr::null_mut(), 2, keys.as_mut_ptr());
        let mut found = Vec::new();
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            found.push(read(&*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_depend>()));
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(rel, pg_sys::AccessShareLock as _);
        found
    }
}
