//! Letting the targets of a policy follow what they name when that gets another name.
//!
//! Invariant: a target goes on being about what it was about, and about nothing else than before apart from the new name.
//! Only exact names follow; what a pattern with a star was about may be lost, which [`covers_relation`] and
//! [`covers_column`] tell.

use crate::model::Target;
use crate::pattern::Pattern;

/// A relation by schema and name.
pub type Name<'a> = (&'a str, &'a str);

/// The targets after a relation got another schema or name. `None` when no target names it exactly, or when the new name
/// cannot be written as a pattern because it contains a star.
pub fn rename_relation(targets: &[Target], old: Name, new: Name) -> Option<Vec<Target>> {
    let (schema, table) = (exact(new.0)?, exact(new.1)?);
    let named = |target: &Target| names(&target.schemas, old.0) && names(&target.tables, old.1);
    if !targets.iter().any(named) {
        return None;
    }
    let mut result = Vec::with_capacity(targets.len());
    for target in targets {
        if !named(target) {
            result.push(target.clone());
        } else if old.0 == new.0 && target.schemas.len() == 1 {
            // The usual case keeps the target in one piece.
            let tables = replace(&target.tables, old.1, &table);
            result.push(Target {
                tables,
                ..target.clone()
            });
        } else {
            let (other_schemas, other_tables) = (without(&target.schemas, old.0), without(&target.tables, old.1));
            if !other_schemas.is_empty() {
                result.push(Target {
                    schemas: other_schemas,
                    ..target.clone()
                });
            }
            if !other_tables.is_empty() {
                result.push(Target {
                    schemas: vec![exact(old.0)?],
                    tables: other_tables,
                    columns: target.columns.clone(),
                });
            }
            result.push(Target {
                schemas: vec![schema.clone()],
                tables: vec![table.clone()],
                columns: target.columns.clone(),
            });
        }
    }
    Some(result)
}

/// The targets after a schema got another name. `None` as for [`rename_relation`].
pub fn rename_schema(targets: &[Target], old: &str, new: &str) -> Option<Vec<Target>> {
    let schema = exact(new)?;
    if !targets.iter().any(|target| names(&target.schemas, old)) {
        return None;
    }
    let renamed = |target: &Target| Target {
        schemas: replace(&target.schemas, old, &schema),
        ..target.clone()
    };
    Some(targets.iter().map(renamed).collect())
}

/// The targets after a column of a relation got another name. `None` as for [`rename_relation`].
pub fn rename_column(targets: &[Target], relation: Name, old: &str, new: &str) -> Option<Vec<Target>> {
    let column = exact(new)?;
    let named = |target: &Target| {
        target.matches_table(relation.0, relation.1)
            && target.columns.as_ref().is_some_and(|columns| names(columns, old))
    };
    if !targets.iter().any(named) {
        return None;
    }
    let mut result = Vec::with_capacity(targets.len());
    for target in targets {
        if !named(target) {
            result.push(target.clone());
        } else if is_only(&target.schemas, relation.0) && is_only(&target.tables, relation.1) {
            let columns = target.columns.as_ref().map(|columns| replace(columns, old, &column));
            result.push(Target {
                columns,
                ..target.clone()
            });
        } else {
            // The column of other relations keeps its name.
            result.push(target.clone());
            result.push(Target {
                schemas: vec![exact(relation.0)?],
                tables: vec![exact(relation.1)?],
                columns: Some(vec![column.clone()]),
            });
        }
    }
    Some(result)
}

/// Whether the targets are about a relation of one of the names: its own and those of what it inherits from.
pub fn covers_relation(targets: &[Target], names: &[Name]) -> bool {
    targets
        .iter()
        .any(|target| names.iter().any(|(schema, name)| target.matches_table(schema, name)))
}

/// Whether a target names the relation exactly.
pub fn names_relation(targets: &[Target], (schema, table): Name) -> bool {
    targets
        .iter()
        .any(|target| names(&target.schemas, schema) && names(&target.tables, table))
}

/// Whether a target that covers the relation names its schema exactly.
pub fn names_schema(targets: &[Target], (schema, table): Name) -> bool {
    targets
        .iter()
        .any(|target| names(&target.schemas, schema) && target.matches_table(schema, table))
}

/// Whether the targets are about a column of a relation of one of the names.
pub fn covers_column(targets: &[Target], names: &[Name], column: &str) -> bool {
    targets.iter().any(|target| {
        target.matches_column(column) && names.iter().any(|(schema, name)| target.matches_table(schema, name))
    })
}

fn exact(name: &str) -> Option<Pattern> {
    Pattern::new(name).ok().filter(Pattern::is_exact)
}

fn is_exactly(pattern: &Pattern, name: &str) -> bool {
    pattern.is_exact() && pattern.as_str() == name
}

fn names(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| is_exactly(pattern, name))
}

fn is_only(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().all(|pattern| is_exactly(pattern, name))
}

fn without(patterns: &[Pattern], name: &str) -> Vec<Pattern> {
    patterns
        .iter()
        .filter(|pattern| !is_exactly(pattern, name))
        .cloned()
        .collect()
}

fn replace(patterns: &[Pattern], old: &str, new: &Pattern) -> Vec<Pattern> {
    let mut result: Vec<Pattern> = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        let pattern = if is_exactly(pattern, old) { new } else { pattern };
        if !result.contains(pattern) {
            result.push(pattern.clone());
        }
    }
    result
}

#[cfg(test)]
mod tests;
