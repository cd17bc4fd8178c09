//! `betweenrows.validate_expression`: what is wrong with an expression, before it is saved.

use pgrx::iter::TableIterator;
use pgrx::prelude::*;
use policy::placeholder;

use crate::expression::compile::{self, Source};
use crate::expression::{Kind, session, validate};
use crate::pg::{self, relation};
use crate::{catalog, errors};

type Diagnostics = TableIterator<
    'static,
    (
        name!(severity, String),
        name!(sqlstate, Option<String>),
        name!(message, String),
        name!(position, Option<i32>),
        name!(hint, Option<String>),
    ),
>;

/// The diagnostics of an expression over a relation's row; no rows when it can be used.
///
/// Arguments: `relation`; `expression`, with `{user.key}` placeholders; `kind`, `filter` or `mask`; `column_name`, the
/// column that a mask is for. Rows: `severity` (`error` or `warning`), `sqlstate` (null for a warning), `message`,
/// `position` (in characters, from 1), `hint`.
///
/// Errors: 22023 for a null, an unknown kind or a mask without a column, 42P01 for an unknown relation, 42703 for an unknown
/// column.
#[pg_extern(sql = false)]
fn validate_expression(
    relation: Option<pg_sys::Oid>,
    expression: Option<&str>,
    kind: Option<&str>,
    column_name: Option<&str>,
) -> Diagnostics {
    let (Some(relid), Some(text)) = (relation, expression) else {
        errors::invalid_parameter(
            "relation and expression must not be null",
            "Pass a table and an expression over it.",
        )
    };
    if !relation::is_target_kind(relid) {
        errors::undefined_relation();
    }
    let kind = match (kind.unwrap_or("filter"), column_name) {
        ("filter", None) => Kind::Filter,
        ("filter", Some(_)) => errors::invalid_parameter(
            "column_name is for masks only",
            "Leave column_name out, or pass kind => 'mask'.",
        ),
        ("mask", Some(name)) => match relation::columns(relid).iter().find(|c| !c.dropped && c.name == name) {
            Some(column) => Kind::Mask(column.attno),
            None => errors::undefined_column(name),
        },
        ("mask", None) => errors::invalid_parameter("a mask needs a column_name", "Pass the column that is masked."),
        _ => errors::invalid_parameter(
            "kind must be filter or mask",
            "Pass kind => 'filter' or kind => 'mask'.",
        ),
    };
    let Some(catalog) = catalog::catalog() else {
        errors::catalog_unreadable()
    };
    // SAFETY: reads backend state.
    let owner = unsafe { pg_sys::GetSessionUserId() };
    let mut rows = Vec::new();
    let source = Source {
        relid,
        text,
        kind,
        owner,
    };
    if let Some(found) = validate::expression(&catalog, &source) {
        rows.push((
            "error".to_owned(),
            Some(pg::sqlstate(found.code)),
            found.message,
            found.position.and_then(|position| i32::try_from(position).ok()),
            found.hint,
        ));
    } else if let Ok(compiled) = compile::compiled(&catalog, &source) {
        for warning in session::warnings(&compiled) {
            rows.push((
                "warning".to_owned(),
                None,
                warning.message,
                None,
                Some(warning.hint.to_owned()),
            ));
        }
    }
    for warning in placeholder::scan(text).map(|scan| scan.warnings).unwrap_or_default() {
        let position = text[..warning.offset].chars().count() + 1;
        rows.push((
            "warning".to_owned(),
            None,
            warning.message,
            i32::try_from(position).ok(),
            None,
        ));
    }
    TableIterator::new(rows)
}
