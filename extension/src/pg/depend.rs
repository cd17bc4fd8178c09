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
    // SAFETY: a catalog scan with an own snapshot; each tuple is read before the next one is asked for.
    unsafe {
        let rel = pg_sys::table_open(pg_sys::DependRelationId, pg_sys::AccessShareLock as _);
        let mut keys = [pg_sys::ScanKeyData::default(); 2];
        for (key, (attno, value)) in keys.iter_mut().zip([
            (pg_sys::Anum_pg_depend_classid, class),
            (pg_sys::Anum_pg_depend_objid, object),
        ]) {
            pg_sys::ScanKeyInit(
                key,
                attno as _,
                pg_sys::BTEqualStrategyNumber as _,
                Oid::from(pg_sys::F_OIDEQ),
                Datum::from(value),
            );
        }
        let index = Oid::from(pg_sys::DependDependerIndexId);
        let scan = pg_sys::systable_beginscan(rel, index, true, std::ptr::null_mut(), 2, keys.as_mut_ptr());
        let mut found = Vec::new();
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_depend>();
            found.push(Object {
                class: (*form).refclassid,
                object: (*form).refobjid,
                part: (*form).refobjsubid,
            });
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(rel, pg_sys::AccessShareLock as _);
        found
    }
}
