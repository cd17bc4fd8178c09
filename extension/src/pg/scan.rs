//! Reading the extension's catalog tables without planner, executor or the transaction's snapshot.
//!
//! A scan uses a fresh catalog snapshot, so that a REPEATABLE READ transaction sees the policies that are in force and not
//! those of its own past, and so that nothing here can be governed or recurse.

use std::collections::HashMap;

use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::prelude::*;

/// One row: the text form of each column by name, `None` for NULL.
pub(crate) struct Row {
    values: HashMap<String, Option<String>>,
}

impl Row {
    /// The text of a column, `None` for NULL.
    ///
    /// # Errors
    /// When the table has no such column: the catalog is damaged.
    pub(crate) fn get(&self, column: &str) -> Result<Option<&str>, String> {
        match self.values.get(column) {
            Some(value) => Ok(value.as_deref()),
            None => Err(format!("column \"{column}\" is missing")),
        }
    }

    /// The text of a column that must not be NULL.
    ///
    /// # Errors
    /// When the column is missing or NULL.
    pub(crate) fn text(&self, column: &str) -> Result<&str, String> {
        self.get(column)?.ok_or_else(|| format!("column \"{column}\" is null"))
    }

    /// A boolean column that must not be NULL.
    ///
    /// # Errors
    /// As for [`Row::text`].
    pub(crate) fn bool(&self, column: &str) -> Result<bool, String> {
        Ok(self.text(column)? == "t")
    }

    /// An integer column that must not be NULL.
    ///
    /// # Errors
    /// As for [`Row::text`], or when it is no integer.
    pub(crate) fn integer(&self, column: &str) -> Result<i32, String> {
        self.text(column)?
            .parse()
            .map_err(|_| format!("column \"{column}\" is no integer"))
    }

    /// The 128 bits of a uuid column, `None` for NULL.
    ///
    /// # Errors
    /// When the column is missing or no uuid.
    pub(crate) fn id_or_null(&self, column: &str) -> Result<Option<u128>, String> {
        self.get(column)?
            .map(|text| {
                u128::from_str_radix(&text.replace('-', ""), 16).map_err(|_| format!("column \"{column}\" is no uuid"))
            })
            .transpose()
    }

    /// The 128 bits of a uuid column that must not be NULL.
    ///
    /// # Errors
    /// As for [`Row::id_or_null`], or when it is NULL.
    pub(crate) fn id(&self, column: &str) -> Result<u128, String> {
        self.id_or_null(column)?
            .ok_or_else(|| format!("column \"{column}\" is null"))
    }

    /// A jsonb column, `None` for NULL.
    ///
    /// # Errors
    /// When the column is missing or no JSON.
    pub(crate) fn json(&self, column: &str) -> Result<Option<serde_json::Value>, String> {
        self.get(column)?
            .map(|text| serde_json::from_str(text).map_err(|_| format!("column \"{column}\" is no JSON")))
            .transpose()
    }
}

/// An equality condition on the first column of a unique or ordinary btree index.
pub(crate) enum Key<'a> {
    /// A text column.
    Text(&'a str),
    /// A uuid column, by its 128 bits.
    Uuid(u128),
}

/// Reads a table: all rows, or those whose `key.0` column equals the value, through the index named `key.1` when there is
/// such an index.
///
/// # Panics
/// PostgreSQL's errors, when the table has gone away or cannot be read.
pub(crate) fn read(namespace: Oid, table: &str, key: Option<(&str, &str, Key)>) -> Result<Vec<Row>, String> {
    let relid = relation(namespace, table).ok_or_else(|| format!("table betweenrows.{table} is missing"))?;
    // SAFETY: the relation stays locked and open during the scan, each tuple is read before the next one is asked for, and
    // the scan key and its datum live until the scan ends.
    unsafe {
        let rel = pg_sys::table_open(relid, pg_sys::AccessShareLock as _);
        let desc = (*rel).rd_att;
        let columns = columns(desc);
        let mut scankey = pg_sys::ScanKeyData::default();
        let uuid: [u8; 16];
        let mut index = Oid::INVALID;
        let keyed = match key {
            None => false,
            Some((column, index_name, value)) => {
                let Some((attno, collation)) = columns
                    .iter()
                    .find(|found| found.name == column)
                    .map(|found| (found.attno, found.collation))
                else {
                    pg_sys::table_close(rel, pg_sys::AccessShareLock as _);
                    return Err(format!("column \"{column}\" is missing"));
                };
                let (datum, procedure): (Datum, u32) = match value {
                    Key::Text(text) => (text.into_datum().unwrap_or(Datum::from(0)), pg_sys::F_TEXTEQ),
                    Key::Uuid(id) => {
                        uuid = id.to_be_bytes();
                        (Datum::from(&raw const uuid), pg_sys::F_UUID_EQ)
                    }
                };
                pg_sys::ScanKeyEntryInitialize(
                    &mut scankey,
                    0,
                    attno,
                    pg_sys::BTEqualStrategyNumber as _,
                    Oid::INVALID,
                    // The index was ordered by the column's collation.
                    collation,
                    Oid::from(procedure),
                    datum,
                );
                index = relation(namespace, index_name).unwrap_or(Oid::INVALID);
                true
            }
        };
        let scan = pg_sys::systable_beginscan(
            rel,
            index,
            index != Oid::INVALID,
            std::ptr::null_mut(),
            i32::from(keyed),
            &mut scankey,
        );
        let mut rows = Vec::new();
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let mut values = HashMap::with_capacity(columns.len());
            for Column {
                attno, name, output, ..
            } in &columns
            {
                let mut is_null = false;
                let datum = pg_sys::heap_getattr(tuple, i32::from(*attno), desc, &mut is_null);
                let value = (!is_null).then(|| {
                    let text = pg_sys::OidOutputFunctionCall(*output, datum);
                    let owned = super::nodes::string(text);
                    pg_sys::pfree(text.cast());
                    owned
                });
                values.insert(name.clone(), value);
            }
            rows.push(Row { values });
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(rel, pg_sys::AccessShareLock as _);
        Ok(rows)
    }
}

/// A live column of the table being read.
struct Column {
    attno: i16,
    name: String,
    collation: Oid,
    output: Oid,
}

unsafe fn columns(desc: pg_sys::TupleDesc) -> Vec<Column> {
    (0..(*desc).natts)
        .map(|index| super::attribute(desc, index as usize))
        .filter(|attribute| !(**attribute).attisdropped)
        .map(|attribute| {
            let (mut output, mut varlena) = (Oid::INVALID, false);
            pg_sys::getTypeOutputInfo((*attribute).atttypid, &mut output, &mut varlena);
            Column {
                attno: (*attribute).attnum,
                name: super::nodes::string((*attribute).attname.data.as_ptr()),
                collation: (*attribute).attcollation,
                output,
            }
        })
        .collect()
}

/// The OID of a relation by name.
pub(crate) fn relation(namespace: Oid, name: &str) -> Option<Oid> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: a syscache lookup with a NUL-terminated name.
    let oid = unsafe { pg_sys::get_relname_relid(name.as_ptr(), namespace) };
    (oid != Oid::INVALID).then_some(oid)
}
