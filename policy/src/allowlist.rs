//! The catalog allowlist: the schemas, tables and columns that exist for subjects.
//!
//! Invariant: what is not named does not exist. Names are exact and belong to no object: one that is renamed, or made anew,
//! is judged by the name that it has.

use crate::decide::Selection;
use crate::error::Issue;
use crate::json::{self, Issues, Object};
use crate::model::check_identifier;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Most schemas, and most tables of a schema.
pub const MAX_ENTRIES: usize = 100_000;
/// Most columns of a table: what PostgreSQL's MaxTupleAttributeNumber allows a row to have.
pub const MAX_COLUMNS: usize = 1_664;

/// The selected columns of a table; `None` means all, present and future.
pub type Columns = Option<BTreeSet<String>>;
/// The selected tables of a schema with their columns; `None` means all, present and future.
pub type Tables = Option<BTreeMap<String, Columns>>;

/// An allowlist. Without any schema nothing exists.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Allowlist {
    /// The selected schemas with their tables, of which there are some.
    pub schemas: BTreeMap<String, Tables>,
}

impl Allowlist {
    /// Reads the object `{schemas: [{schema, tables?: [{table, columns?}]}]}`; paths start with `catalog`. The issues are
    /// never empty.
    pub fn parse(value: &Value) -> Result<Allowlist, Vec<Issue>> {
        let mut issues = Issues::default();
        let allowlist = read(value, "catalog", &mut issues);
        issues.finish(allowlist)
    }

    /// The JSON form, ordered by names.
    pub fn to_json(&self) -> Value {
        let columns = |columns: &BTreeSet<String>| json!(columns);
        let tables = |tables: &BTreeMap<String, Columns>| entries("table", tables, "columns", columns);
        json!({ "schemas": entries("schema", &self.schemas, "tables", tables) })
    }

    /// What it selects and `before` did not, or not so, and the other way round, ordered by names.
    pub fn differences(&self, before: &Allowlist) -> Vec<Difference> {
        let mut found = Vec::new();
        for (schema, tables, old) in pairs(&self.schemas, &before.schemas) {
            match (tables, old) {
                (Some(Some(tables)), Some(Some(old))) => {
                    for (table, columns, old) in pairs(tables, old) {
                        found.extend(difference(format!("{schema}.{table}"), columns, old, "all columns"));
                    }
                }
                _ => found.extend(difference(schema.clone(), tables, old, "all tables")),
            }
        }
        found
    }

    /// What is selected of a table.
    pub fn selection(&self, schema: &str, table: &str) -> Selection<'_> {
        match self.schemas.get(schema) {
            None => Selection::Nothing,
            Some(None) => Selection::Everything,
            Some(Some(tables)) => Selection::of(tables.get(table)),
        }
    }

    /// What it says and `other` does not, or not so.
    pub fn without(&self, other: &Allowlist) -> Allowlist {
        let mut left = Allowlist::default();
        for (schema, tables) in &self.schemas {
            let tables = match (tables, other.schemas.get(schema)) {
                (tables, Some(others)) if tables == others => continue,
                (Some(tables), Some(Some(others))) => {
                    let own = tables
                        .iter()
                        .filter(|(table, columns)| others.get(*table) != Some(*columns));
                    let own: BTreeMap<String, Columns> =
                        own.map(|(table, columns)| (table.clone(), columns.clone())).collect();
                    if own.is_empty() {
                        continue;
                    }
                    Some(own)
                }
                (tables, _) => tables.clone(),
            };
            left.schemas.insert(schema.clone(), tables);
        }
        left
    }
}

/// What one allowlist says of a schema or a table and another does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `select`, `deselect` or `alter`.
    pub action: &'static str,
    /// The schema, or schema and table.
    pub name: String,
    /// What is selected of it; empty when nothing is any more.
    pub detail: String,
}

/// The entries of two maps by their keys.
fn pairs<'a, T>(
    new: &'a BTreeMap<String, T>,
    old: &'a BTreeMap<String, T>,
) -> impl Iterator<Item = (&'a String, Option<&'a T>, Option<&'a T>)> {
    let names: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
    names.into_iter().map(|name| (name, new.get(name), old.get(name)))
}

fn difference<T: Names + PartialEq>(
    name: String,
    new: Option<&Option<T>>,
    old: Option<&Option<T>>,
    everything: &str,
) -> Option<Difference> {
    let action = match (new, old) {
        _ if new == old => return None,
        (None, _) => "deselect",
        (_, None) => "select",
        _ => "alter",
    };
    let detail = match new {
        None => String::new(),
        Some(None) => everything.to_owned(),
        Some(Some(below)) => below.names(),
    };
    Some(Difference { action, name, detail })
}

/// Things with names that can be told.
trait Names {
    fn names(&self) -> String;
}

impl Names for BTreeSet<String> {
    fn names(&self) -> String {
        self.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

impl Names for BTreeMap<String, Columns> {
    fn names(&self) -> String {
        self.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// A list of objects with a name each, and what is below it unless that is everything.
fn entries<T>(
    name_key: &str,
    named: &BTreeMap<String, Option<T>>,
    below_key: &str,
    below_to_json: impl Fn(&T) -> Value,
) -> Value {
    let entry = |(name, below): (&String, &Option<T>)| {
        let mut object = Map::from_iter([(name_key.to_owned(), json!(name))]);
        object.extend(below.as_ref().map(|below| (below_key.to_owned(), below_to_json(below))));
        Value::Object(object)
    };
    named.iter().map(entry).collect()
}

pub(crate) fn read(value: &Value, path: &str, issues: &mut Issues) -> Option<Allowlist> {
    let object = Object::open(value, path, &["schemas"], issues)?;
    let schemas = object.required("schemas", issues)?;
    let mut schemas = read_entries(
        schemas,
        &object.path("schemas"),
        "schema",
        "tables",
        issues,
        read_tables,
    )?;
    // To select none of its tables is not to select the schema.
    schemas.retain(|_, tables| tables.as_ref().is_none_or(|tables: &BTreeMap<_, _>| !tables.is_empty()));
    Some(Allowlist { schemas })
}

fn read_tables(value: &Value, path: &str, issues: &mut Issues) -> Option<BTreeMap<String, Columns>> {
    read_entries(value, path, "table", "columns", issues, read_columns)
}

fn read_columns(value: &Value, path: &str, issues: &mut Issues) -> Option<BTreeSet<String>> {
    let names = json::list(value, path, MAX_COLUMNS, issues, read_name)?;
    let mut columns = BTreeSet::new();
    for (index, name) in names.into_iter().enumerate() {
        if !columns.insert(name) {
            issues.report(format!("{path}[{index}]"), "is listed twice");
        }
    }
    Some(columns)
}

/// Reads a list of objects with a name each, which occurs once, and what is below it, which may be left out.
fn read_entries<T>(
    value: &Value,
    path: &str,
    name_key: &str,
    below_key: &str,
    issues: &mut Issues,
    read_below: impl Fn(&Value, &str, &mut Issues) -> Option<T>,
) -> Option<BTreeMap<String, Option<T>>> {
    let entries = json::list(value, path, MAX_ENTRIES, issues, |value, path, issues| {
        let object = Object::open(value, path, &[name_key, below_key], issues)?;
        let name = object.required(name_key, issues);
        let name = name.and_then(|value| read_name(value, &object.path(name_key), issues));
        let below = object.optional(below_key, issues, &read_below);
        Some((name?, below?))
    })?;
    let mut read = BTreeMap::new();
    for (index, (name, below)) in entries.into_iter().enumerate() {
        if read.insert(name, below).is_some() {
            issues.report(format!("{path}[{index}].{name_key}"), "is listed twice");
        }
    }
    Some(read)
}

fn read_name(value: &Value, path: &str, issues: &mut Issues) -> Option<String> {
    let Some(name) = value.as_str() else {
        issues.report(path, "must be a string");
        return None;
    };
    check_identifier(name)
        .map(|()| name.to_owned())
        .map_err(|issue| issues.report(path, issue.message))
        .ok()
}

#[cfg(test)]
mod tests;
