//! jsonb values as Rust values.
//!
//! pgrx's own `JsonB` panics on what PostgreSQL can store and serde_json cannot represent: numbers beyond a double, and
//! nesting deeper than 128 levels. Arguments come from anywhere, so here that is an error to be told.

use std::ffi::CStr;

use pgrx::prelude::*;
use pgrx::{AnyElement, JsonB, direct_function_call};
use serde_json::Value;

use super::errors;

/// Reads a jsonb datum.
pub(crate) fn from_datum(datum: pg_sys::Datum) -> Result<Value, serde_json::Error> {
    // SAFETY: the datum is a jsonb that is not null, which is all that jsonb_out needs.
    let text = unsafe { direct_function_call::<&CStr>(pg_sys::jsonb_out, &[Some(datum)]) };
    serde_json::from_slice(text.map_or(b"null", CStr::to_bytes))
}

/// Reads an argument that is declared as jsonb; `None` when it is null.
pub(crate) fn argument(name: &str, value: Option<AnyElement>) -> Option<Value> {
    let value = value?;
    if value.oid() != pg_sys::JSONBOID {
        errors::invalid_argument(name, "It is not of type jsonb.", "Cast the value to jsonb.");
    }
    Some(from_datum(value.datum()).unwrap_or_else(|error| {
        errors::invalid_argument(name, error.to_string(), "Use numbers within range and less nesting.")
    }))
}

/// A value as a statement's parameter; JSON null becomes SQL null.
pub(crate) fn parameter(value: &Value) -> Option<JsonB> {
    (!value.is_null()).then(|| JsonB(value.clone()))
}
