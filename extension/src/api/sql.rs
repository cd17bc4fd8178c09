//! Running SQL on the catalog.
//!
//! Every statement here has a fixed text, names everything with its schema, takes values as parameters, and returns rows
//! of one jsonb value each. Statements of a changing function see what earlier ones did and, under READ COMMITTED, what
//! other sessions have committed in the meantime.
//!
//! Each statement runs exempt from policies, and only the statement does: what a user wrote, like an expression that is
//! being checked, must never run inside that scope.

use std::ffi::{CString, c_char};

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::SpiResult;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{errors, json};
use crate::catalog::access::with_catalog_access;

/// Runs a statement and returns its rows.
pub(crate) fn rows(statement: &str, args: &[DatumWithOid]) -> Vec<Value> {
    expect(with_catalog_access(|| {
        Spi::connect_mut(|client| client.update(statement, None, args).map(|_| collect()))
    }))
}

/// Runs a statement that returns one row at most.
pub(crate) fn row(statement: &str, args: &[DatumWithOid]) -> Option<Value> {
    rows(statement, args).pop()
}

/// Runs a statement whose rows are not wanted.
pub(crate) fn run(statement: &str, args: &[DatumWithOid]) {
    rows(statement, args);
}

/// Runs a query without assigning a transaction id, so that it works on a standby too.
pub(crate) fn look(query: &str, args: &[DatumWithOid]) -> Vec<Value> {
    expect(with_catalog_access(|| {
        Spi::connect(|client| client.select(query, None, args).map(|_| collect()))
    }))
}

/// Runs a query on what is committed now, whatever the isolation level of the transaction.
///
/// A check that follows a lock has to see what was committed before the lock was granted, which the snapshot of a
/// REPEATABLE READ transaction does not show.
pub(crate) fn latest(query: &str, args: &[DatumWithOid]) -> Vec<Value> {
    let query = CString::new(query).expect("our statements have no NUL");
    let mut types: Vec<pg_sys::Oid> = args.iter().map(DatumWithOid::oid).collect();
    let mut values: Vec<pg_sys::Datum> = args
        .iter()
        .map(|arg| arg.datum().map_or(pg_sys::Datum::null(), |datum| datum.sans_lifetime()))
        .collect();
    let nulls: Vec<c_char> = args
        .iter()
        .map(|arg| if arg.datum().is_some() { b' ' } else { b'n' } as c_char)
        .collect();
    expect(with_catalog_access(|| {
        Spi::connect_mut(|_| {
            // SAFETY: SPI is connected and the three arrays have a place for each parameter. The pushed snapshot is popped
            // here, or by the abort of the transaction when the query fails. With read_only set SPI uses the active
            // snapshot instead of taking one.
            let status = unsafe {
                pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
                let status = pg_sys::SPI_execute_with_args(
                    query.as_ptr(),
                    args.len() as i32,
                    types.as_mut_ptr(),
                    values.as_mut_ptr(),
                    nulls.as_ptr(),
                    true,
                    0,
                );
                pg_sys::PopActiveSnapshot();
                status
            };
            Spi::check_status(status).map(|_| collect())
        })
    }))
}

/// A query whose rows are taken some at a time, be it over several calls of an SQL function, so that they need not be in
/// memory together.
pub(crate) struct Pieces {
    /// The cursor, until its end was reached.
    cursor: Option<String>,
}

impl Pieces {
    /// How many rows are taken at a time.
    const SIZE: i64 = 500;

    /// Begins a query without assigning a transaction id.
    pub(crate) fn of(query: &str, args: &[DatumWithOid]) -> Pieces {
        let cursor = with_catalog_access(|| {
            Spi::connect(|client| {
                client
                    .try_open_cursor(query, args)
                    .map(|cursor| cursor.detach_into_name())
            })
        });
        Pieces {
            cursor: Some(expect(cursor)),
        }
    }

    /// Some more rows; none at the end.
    pub(crate) fn next(&mut self) -> Vec<Value> {
        let Some(name) = self.cursor.take() else {
            return Vec::new();
        };
        let rows = expect(with_catalog_access(|| {
            Spi::connect(|client| {
                let mut cursor = client.find_cursor(&name)?;
                let rows = cursor.fetch(Self::SIZE).map(|_| collect())?;
                if !rows.is_empty() {
                    cursor.detach_into_name();
                }
                Ok(rows)
            })
        }));
        self.cursor = (!rows.is_empty()).then_some(name);
        rows
    }
}

/// A value that the catalog holds, as a type of ours.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap_or_else(|error| errors::corrupt_catalog(error.to_string()))
}

/// The first column of the rows that the last statement of the connected SPI level returned.
fn collect() -> Vec<Value> {
    // SAFETY: SPI sets the table for each statement, to null when it returns no rows, and keeps it until it is disconnected.
    let Some(table) = (unsafe { pg_sys::SPI_tuptable.as_ref() }) else {
        return Vec::new();
    };
    (0..table.numvals as usize)
        .map(|number| {
            let mut is_null = false;
            // SAFETY: `vals` has `numvals` tuples of the descriptor beside it.
            let datum = unsafe { pg_sys::SPI_getbinval(*table.vals.add(number), table.tupdesc, 1, &mut is_null) };
            if is_null {
                return Value::Null;
            }
            json::from_datum(datum).unwrap_or_else(|error| errors::corrupt_catalog(error.to_string()))
        })
        .collect()
}

/// The statements are ours, so that only a bug of ours can make SPI itself refuse one.
fn expect<T>(result: SpiResult<T>) -> T {
    result.unwrap_or_else(|error| errors::corrupt_catalog(error.to_string()))
}
