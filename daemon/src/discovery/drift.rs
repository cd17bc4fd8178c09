//! In what a database differs from the catalog that was saved for it.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use utoipa::ToSchema;

use super::upstream::Relation;
use crate::store::catalog::Catalog;

/// The differences. Nothing that is added exists for users before it is selected.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Drift {
    /// Schemas that the catalog does not have.
    pub added_schemas: Vec<String>,
    /// Selected schemas that the database does not have any more.
    pub removed_schemas: Vec<String>,
    /// `schema.table` of selected schemas that the catalog does not have.
    pub added_tables: Vec<String>,
    /// Selected `schema.table` that the database does not have any more.
    pub removed_tables: Vec<String>,
    /// Every `schema.table.column` of a selected table that differs, new ones with `(new)`, removed ones with `(removed)`.
    pub changed_columns: Vec<String>,
    /// `schema.table.column` that the catalog does not have.
    pub added_columns: Vec<String>,
    /// Selected `schema.table.column` that the database does not have any more.
    pub removed_columns: Vec<String>,
    /// Columns of another type than before.
    pub retyped_columns: Vec<Retyped>,
    /// Whether something that is selected is gone or has another type.
    pub has_breaking_changes: bool,
}

/// A column of another type than before.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Retyped {
    /// `schema.table.column`.
    pub column: String,
    /// The type that the catalog has.
    pub from: String,
    /// The type that it is now.
    pub to: String,
}

impl Drift {
    /// As the API shows it.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("texts have a JSON form")
    }
}

/// Compares a catalog with what there is: all schemas, the relations of the selected ones, and the columns of selected
/// tables.
pub fn compare(catalog: &Catalog, schemas: &[String], relations: &[Relation], columns: &[Relation]) -> Drift {
    let mut drift = Drift::default();
    let live_schemas: HashSet<&str> = schemas.iter().map(String::as_str).collect();
    let name = |relation: &Relation| format!("{}.{}", relation.schema, relation.name);
    drift.added_schemas = schemas
        .iter()
        .filter(|name| catalog.schema(name).is_none())
        .cloned()
        .collect();
    let selected = catalog.schemas.iter().filter(|schema| schema.is_selected);
    drift.removed_schemas = selected
        .filter(|schema| !live_schemas.contains(schema.schema_name.as_str()))
        .map(|schema| schema.schema_name.clone())
        .collect();

    let known = catalog.by_name();
    drift.added_tables = relations
        .iter()
        .filter(|relation| !known.contains_key(&(relation.schema.as_str(), relation.name.as_str())))
        .map(name)
        .collect();
    let live: HashMap<(&str, &str), &Relation> = columns
        .iter()
        .map(|relation| ((relation.schema.as_str(), relation.name.as_str()), relation))
        .collect();
    for (schema, table) in catalog.selected_tables() {
        let name = format!("{}.{}", schema.schema_name, table.table_name);
        let Some(relation) = live.get(&(schema.schema_name.as_str(), table.table_name.as_str())) else {
            drift.removed_tables.push(name);
            continue;
        };
        for column in &relation.columns {
            let path = format!("{name}.{}", column.name);
            let Some(before) = table.columns.iter().find(|before| before.column_name == column.name) else {
                drift.changed_columns.push(format!("{path} (new)"));
                drift.added_columns.push(path);
                continue;
            };
            let now = column.to_catalog(before.is_selected);
            if now.data_type != before.data_type {
                drift.has_breaking_changes |= before.is_selected;
                drift.retyped_columns.push(Retyped {
                    column: path.clone(),
                    from: before.data_type.clone(),
                    to: now.data_type.clone(),
                });
            }
            if now.data_type != before.data_type || now.is_nullable != before.is_nullable {
                drift.changed_columns.push(path);
            }
        }
        let names: HashSet<&str> = relation.columns.iter().map(|column| column.name.as_str()).collect();
        let gone = |name: &str| !names.contains(name);
        for column in table.columns.iter().filter(|column| gone(&column.column_name)) {
            let path = format!("{name}.{}", column.column_name);
            drift.changed_columns.push(format!("{path} (removed)"));
            if column.is_selected {
                drift.removed_columns.push(path);
            }
        }
    }
    drift.has_breaking_changes |=
        !(drift.removed_schemas.is_empty() && drift.removed_tables.is_empty() && drift.removed_columns.is_empty());
    drift
}
