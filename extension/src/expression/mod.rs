//! Policy expressions: parsed and analysed by PostgreSQL, with attribute placeholders as typed parameters.

pub(crate) mod code;
pub(crate) mod compile;
pub(crate) mod instantiate;
mod raw;
pub(crate) mod ready;
pub(crate) mod session;
mod types;
pub(crate) mod usage;
pub(crate) mod validate;

use pgrx::pg_sys::{self, Oid};

/// What an expression is used for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    /// A row filter: boolean.
    Filter,
    /// The condition of a row filter for new rows: boolean.
    Check,
    /// A mask of the column with this attribute number: coerced to the column's type.
    Mask(i16),
}

/// The SQL type of an attribute's value in expressions.
pub(crate) fn attribute_type(value_type: &policy::attribute::ValueType) -> Oid {
    use policy::attribute::ValueType;
    match value_type {
        ValueType::String => pg_sys::TEXTOID,
        ValueType::Integer => pg_sys::INT8OID,
        ValueType::Boolean => pg_sys::BOOLOID,
        ValueType::List => pg_sys::TEXTARRAYOID,
    }
}
