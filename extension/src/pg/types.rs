//! What types are made of: which code PostgreSQL runs to read, make, print and convert their values.

use pgrx::pg_sys::{self, Datum, Node, Oid, SysCacheIdentifier as Cache};

use super::nodes;

/// What a type consists of.
pub(crate) enum Shape {
    /// A base type, a pseudo-type or a shell, with its functions.
    Base(Vec<Oid>),
    /// An array, or a base type that is subscripted like one, of these elements.
    Array(Oid),
    /// An enumeration.
    Enum,
    /// A domain over a type, which may be a domain again.
    Domain(Oid),
    /// A row type: its relation and the types of its columns.
    Row {
        /// The table, view or composite type in `pg_class`.
        relid: Oid,
        /// The columns' types.
        columns: Vec<Oid>,
    },
    /// A range over a subtype, with the functions that make and measure its values.
    Range {
        /// The type of the bounds.
        subtype: Oid,
        /// `canonical` and `subtype_diff`.
        functions: Vec<Oid>,
    },
    /// A multirange of this range type.
    Multirange(Oid),
}

/// The shape of a type, `None` when there is no such type.
pub(crate) fn shape(oid: Oid) -> Option<Shape> {
    // SAFETY: the row is copied before it is released; the other functions are lookups by OID.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(Cache::TYPEOID as _, Datum::from(oid));
        if tuple.is_null() {
            return None;
        }
        let form = *pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_type>();
        pg_sys::ReleaseSysCache(tuple);
        let element = pg_sys::get_element_type(oid);
        if element != Oid::INVALID {
            return Some(Shape::Array(element));
        }
        Some(match form.typtype as u8 {
            pg_sys::TYPTYPE_ENUM => Shape::Enum,
            pg_sys::TYPTYPE_DOMAIN => Shape::Domain(form.typbasetype),
            pg_sys::TYPTYPE_COMPOSITE => Shape::Row {
                relid: form.typrelid,
                columns: columns(oid),
            },
            pg_sys::TYPTYPE_RANGE => range(oid)?,
            pg_sys::TYPTYPE_MULTIRANGE => Shape::Multirange(pg_sys::get_multirange_range(oid)),
            _ => Shape::Base(existing(&[
                form.typinput,
                form.typoutput,
                form.typreceive,
                form.typsend,
                form.typmodin,
                form.typmodout,
                form.typsubscript,
            ])),
        })
    }
}

fn existing(functions: &[Oid]) -> Vec<Oid> {
    functions
        .iter()
        .copied()
        .filter(|function| *function != Oid::INVALID)
        .collect()
}

unsafe fn columns(row_type: Oid) -> Vec<Oid> {
    let desc = pg_sys::lookup_rowtype_tupdesc_copy(row_type, -1);
    (0..(*desc).natts as usize)
        .map(|index| super::attribute(desc, index))
        .filter(|attribute| !(**attribute).attisdropped)
        .map(|attribute| (*attribute).atttypid)
        .collect()
}

unsafe fn range(oid: Oid) -> Option<Shape> {
    let tuple = pg_sys::SearchSysCache1(Cache::RANGETYPE as _, Datum::from(oid));
    if tuple.is_null() {
        return None;
    }
    let form = *pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_range>();
    pg_sys::ReleaseSysCache(tuple);
    Some(Shape::Range {
        subtype: form.rngsubtype,
        functions: existing(&[form.rngcanonical, form.rngsubdiff]),
    })
}

/// The functions of the casts from a type to others. `to_json` and the casts of PL/pgSQL find them when they run.
pub(crate) fn casts(source: Oid) -> Vec<Oid> {
    let none = Datum::from(0);
    // SAFETY: the list's members stay valid until it is released.
    unsafe {
        let list = pg_sys::SearchSysCacheList(Cache::CASTSOURCETARGET as _, 1, Datum::from(source), none, none);
        let members = (*list).members.as_slice((*list).n_members as usize);
        let functions = members
            .iter()
            .map(|member| {
                let tuple = &raw mut (**member).tuple;
                (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_cast>()).castfunc
            })
            .collect::<Vec<_>>();
        pg_sys::ReleaseCatCacheList(list);
        existing(&functions)
    }
}

/// The checks of a domain as they were written, without those of the domain below it. PostgreSQL's own list of them is
/// simplified: a function whose body was put in its place cannot be seen there.
pub(crate) fn checks(domain: Oid) -> Vec<*mut Node> {
    // SAFETY: a catalog scan with an own snapshot; each tuple is read before the next one is asked for.
    unsafe {
        let rel = pg_sys::table_open(pg_sys::ConstraintRelationId, pg_sys::AccessShareLock as _);
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            pg_sys::Anum_pg_constraint_contypid as _,
            pg_sys::BTEqualStrategyNumber as _,
            Oid::from(pg_sys::F_OIDEQ),
            Datum::from(domain),
        );
        let index = Oid::from(pg_sys::ConstraintTypidIndexId);
        let scan = pg_sys::systable_beginscan(rel, index, true, std::ptr::null_mut(), 1, &mut key);
        let mut found = Vec::new();
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let mut is_null = false;
            let text = pg_sys::heap_getattr(
                tuple,
                pg_sys::Anum_pg_constraint_conbin as _,
                (*rel).rd_att,
                &mut is_null,
            );
            if !is_null {
                let text = pg_sys::text_to_cstring(text.cast_mut_ptr::<pg_sys::text>());
                found.push(pg_sys::stringToNode(text).cast());
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(rel, pg_sys::AccessShareLock as _);
        found
    }
}

/// The name of a type, with its schema where the search path does not lead to it.
pub(crate) fn name(oid: Oid) -> String {
    // SAFETY: a lookup that gives a text for every OID.
    unsafe { nodes::string(pg_sys::format_type_be(oid)) }
}
