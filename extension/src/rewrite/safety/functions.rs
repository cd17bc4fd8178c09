//! `betweenrows.safe_functions()`: the reviewed functions, for those who wonder why a statement keeps its barrier.

use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

use super::list;

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn safe_functions() -> TableIterator<'static, (name!(function, Oid), name!(condition, String))> {
    TableIterator::new(list::all().map(|(function, condition)| (function, condition.description().to_owned())))
}
