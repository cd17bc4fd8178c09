//! Rows on their way into `query_audit`: a statement reads them from a relation that exists for it only, as a trigger function
//! reads its transition tables. What many rows share is converted once.

use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::Rc;

use pgrx::datum::{Inet, JsonB, Uuid};
use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde::Serialize;

use super::WorkerResult;
use super::row::{About, Row};
use crate::audit::who;
use crate::pg::nodes;

/// The name of that relation.
const BATCH: &str = "betweenrows_batch";
/// How many kilobytes of rows are kept in memory. A batch has more when its texts are very long.
const MEMORY: i32 = 32 * 1024;

/// The columns that differ from row to row, as [`event`] gives them, followed by those that [`shared`] gives.
const COLUMNS: [(&CStr, Oid); 28] = [
    (c"id", pg_sys::UUIDOID),
    (c"started_at", pg_sys::TIMESTAMPTZOID),
    (c"finished_at", pg_sys::TIMESTAMPTZOID),
    (c"status", pg_sys::TEXTOID),
    (c"sqlstate", pg_sys::TEXTOID),
    (c"error_message", pg_sys::TEXTOID),
    (c"row_count", pg_sys::INT8OID),
    (c"planning_ms", pg_sys::FLOAT8OID),
    (c"execution_ms", pg_sys::FLOAT8OID),
    (c"parameters", pg_sys::JSONBOID),
    (c"chain_position", pg_sys::INT8OID),
    (c"chain_hash", pg_sys::BYTEAOID),
    (c"user_id", pg_sys::UUIDOID),
    (c"username", pg_sys::TEXTOID),
    (c"login_role", pg_sys::TEXTOID),
    (c"roles", pg_sys::TEXTARRAYOID),
    (c"database", pg_sys::TEXTOID),
    (c"application_name", pg_sys::TEXTOID),
    (c"client_addr", pg_sys::INETOID),
    (c"backend_pid", pg_sys::INT4OID),
    (c"query_id", pg_sys::INT8OID),
    (c"statement_kind", pg_sys::TEXTOID),
    (c"original_query", pg_sys::TEXTOID),
    (c"rewritten_query", pg_sys::TEXTOID),
    (c"relations", pg_sys::JSONBOID),
    (c"policies_applied", pg_sys::JSONBOID),
    (c"decisions", pg_sys::JSONBOID),
    (c"backend_start", pg_sys::TIMESTAMPTZOID),
];
/// How many of them differ from row to row.
const OWN: usize = 12;

/// The position and the hash of a row in the chain of its day.
pub(super) type Link = (i64, Vec<u8>);

/// Inserts rows, with their places in the chain if there is one.
pub(super) fn rows(client: &mut SpiClient, rows: &[&Row], links: &[Link]) -> WorkerResult<()> {
    let names: Vec<&str> = COLUMNS.iter().filter_map(|(name, _)| name.to_str().ok()).collect();
    let names = names.join(", ");
    let insert = format!("insert into betweenrows.query_audit ({names}) select {names} from {BATCH}");
    // SAFETY: in a transaction that is connected to SPI. What is allocated lives until it disconnects; an error ends the
    // process.
    unsafe {
        let store = collect(rows, links)?;
        client.update(&insert, None, &[])?;
        pg_sys::SPI_unregister_relation(nodes::pstr(BATCH));
        pg_sys::tuplestore_end(store);
    }
    Ok(())
}

/// Makes the relation.
unsafe fn collect(rows: &[&Row], links: &[Link]) -> WorkerResult<*mut pg_sys::Tuplestorestate> {
    let columns = pg_sys::CreateTemplateTupleDesc(COLUMNS.len() as i32);
    for (number, (name, of_type)) in (1..).zip(COLUMNS) {
        pg_sys::TupleDescInitEntry(columns, number, name.as_ptr(), of_type, -1, 0);
    }
    let store = pg_sys::tuplestore_begin_heap(false, false, MEMORY);
    let mut known: HashMap<*const About, [Option<Datum>; COLUMNS.len() - OWN]> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        let own = event(row, links.get(at))?;
        let about = match known.get(&Rc::as_ptr(&row.about)) {
            Some(about) => about,
            None => {
                let about = shared(&row.about)?;
                known.entry(Rc::as_ptr(&row.about)).or_insert(about)
            }
        };
        let (mut values, mut nulls) = ([Datum::null(); COLUMNS.len()], [true; COLUMNS.len()]);
        for (index, value) in own.iter().chain(about).enumerate() {
            if let Some(value) = value {
                (values[index], nulls[index]) = (*value, false);
            }
        }
        pg_sys::tuplestore_putvalues(store, columns, values.as_mut_ptr(), nulls.as_mut_ptr());
    }
    let relation = pg_sys::palloc0(size_of::<pg_sys::EphemeralNamedRelationData>());
    let relation = relation.cast::<pg_sys::EphemeralNamedRelationData>();
    (*relation).md.name = nodes::pstr(BATCH);
    (*relation).md.tupdesc = columns;
    (*relation).md.enrtype = pg_sys::EphemeralNameRelationType::ENR_NAMED_TUPLESTORE;
    (*relation).md.enrtuples = rows.len() as f64;
    (*relation).reldata = store.cast();
    match pg_sys::SPI_register_relation(relation) {
        code if code < 0 => Err(format!("SPI_register_relation returned {code}").into()),
        _ => Ok(store),
    }
}

fn event(row: &Row, link: Option<&Link>) -> WorkerResult<[Option<Datum>; OWN]> {
    Ok([
        uuid(&row.id)?,
        time(row.started_at),
        row.finished_at.and_then(time),
        row.status.as_str().into_datum(),
        row.sqlstate.as_deref().into_datum(),
        row.error_message.as_deref().into_datum(),
        row.row_count.into_datum(),
        row.planning_ms.into_datum(),
        row.execution_ms.into_datum(),
        row.parameters.as_ref().map(json).transpose()?.flatten(),
        link.map(|link| link.0).into_datum(),
        link.map(|link| link.1.as_slice()).into_datum(),
    ])
}

fn shared(about: &About) -> WorkerResult<[Option<Datum>; COLUMNS.len() - OWN]> {
    Ok([
        about.user_id.as_deref().map(uuid).transpose()?.flatten(),
        about.username.as_str().into_datum(),
        about.login_role.as_str().into_datum(),
        about.roles.clone().into_datum(),
        about.database.as_str().into_datum(),
        about.application_name.as_str().into_datum(),
        about.client_addr.clone().map(Inet).into_datum(),
        (about.backend_pid as i32).into_datum(),
        about.query_id.into_datum(),
        about.statement_kind.as_str().into_datum(),
        about.original_query.as_str().into_datum(),
        about.rewritten_query.as_deref().into_datum(),
        json(&about.relations)?,
        json(&about.policies_applied)?,
        json(&about.decisions)?,
        time(about.backend_start),
    ])
}

/// Microseconds since 1970.
fn time(micros: i64) -> Option<Datum> {
    Some(Datum::from(who::postgres(micros)))
}

fn uuid(text: &str) -> WorkerResult<Option<Datum>> {
    let digits: String = text.chars().filter(|digit| *digit != '-').collect();
    let bytes = u128::from_str_radix(&digits, 16)?.to_be_bytes();
    Ok(Uuid::from_bytes(bytes).into_datum())
}

/// No NUL characters, which neither text nor jsonb could have: all texts were C strings.
fn json(value: &impl Serialize) -> WorkerResult<Option<Datum>> {
    Ok(JsonB(serde_json::to_value(value)?).into_datum())
}
