//! What the expressions of policies use, so that it is not renamed or dropped under them.

use pgrx::pg_sys::Oid;
use policy::decide::Relation;
use policy::model::{Check, Definition, Policy};

use super::compile::{self, Compiled, Source};
use super::{Kind, validate};
use crate::catalog::Catalog;
use crate::pg::{self, relation};

/// The names of the policies whose expressions use a column of a relation, in its own row or in a subquery; without a
/// column, those that read the relation in a subquery. An expression that cannot be compiled uses nothing any more.
pub(crate) fn policies_using(catalog: &Catalog, relid: Oid, column: Option<i16>) -> Vec<String> {
    let name = match column {
        Some(attno) => relation::columns(relid)
            .into_iter()
            .find(|found| found.attno == attno)
            .map(|found| found.name),
        None => pg::relation_name(relid).map(|(_, name)| name),
    };
    let Some(name) = name else { return Vec::new() };
    // Looking at the text first spares the analysis nearly always.
    let candidates: Vec<&Policy> = catalog
        .policies
        .iter()
        .filter(|policy| texts(policy).any(|(text, _)| mentions(text, &name)))
        .collect();
    if candidates.is_empty() {
        return Vec::new();
    }
    let relations = relation::all_targets();
    candidates
        .into_iter()
        .filter(|policy| {
            relations
                .iter()
                .any(|(row, schema, name)| uses(catalog, policy, (*row, schema, name), relid, column))
        })
        .map(|policy| policy.name.clone())
        .collect()
}

/// The expressions of a policy, and whether each is a mask.
fn texts(policy: &Policy) -> impl Iterator<Item = (&str, bool)> {
    let (first, second) = match &policy.definition {
        Definition::RowFilter {
            filter_expression,
            check: Check::Expression(check),
            ..
        } => (Some((filter_expression, false)), Some((check, false))),
        Definition::RowFilter { filter_expression, .. } => (Some((filter_expression, false)), None),
        Definition::ColumnMask { mask_expression, .. } => (Some((mask_expression, true)), None),
        Definition::None | Definition::Invalid(_) => (None, None),
    };
    first
        .into_iter()
        .chain(second)
        .map(|(text, mask)| (text.as_str(), mask))
}

/// Whether a text may contain the name. Quoted names can be written in other ways.
fn mentions(text: &str, name: &str) -> bool {
    let escapes = text.contains("\"\"") || text.to_ascii_lowercase().contains("u&\"");
    escapes || text.to_lowercase().contains(&name.to_lowercase())
}

/// Whether one of the policy's expressions over the rows of one relation uses the column.
fn uses(
    catalog: &Catalog,
    policy: &Policy,
    (row, schema, name): (Oid, &str, &str),
    relid: Oid,
    column: Option<i16>,
) -> bool {
    let target = Relation::named(schema, name);
    let Some(owner) = compile::owner_role(policy).filter(|_| target.is_governed_by(policy)) else {
        return false;
    };
    texts(policy).any(|(text, mask)| {
        let kinds = if mask {
            let columns = validate::masked_columns(policy, row, schema, name);
            columns.into_iter().map(Kind::Mask).collect()
        } else {
            vec![Kind::Filter]
        };
        kinds.into_iter().any(|kind| {
            let source = Source {
                relid: row,
                text,
                kind,
                owner,
            };
            validate::expression(catalog, &source).is_none()
                && compile::compiled(catalog, &source).is_ok_and(|compiled| uses_column(&compiled, row, relid, column))
        })
    })
}

fn uses_column(compiled: &Compiled, row: Oid, relid: Oid, column: Option<i16>) -> bool {
    let Some(column) = column else {
        return compile::used_relations(compiled).contains(&relid);
    };
    (row == relid && compile::used_columns(compiled).contains(&column))
        || compile::columns_in_subqueries(compiled, relid).contains(&column)
}
