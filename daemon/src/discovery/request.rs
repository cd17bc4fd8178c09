//! What a client asks a job to do.

use std::collections::HashSet;
use std::hash::Hash;

use serde::Deserialize;
use utoipa::ToSchema;

use crate::error::{Error, Result};

/// Longest name of PostgreSQL in bytes.
const MAX_NAME: usize = 63;
/// Most problems that are told at once.
const MAX_PROBLEMS: usize = 100;

/// A discovery job to be done.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Request {
    /// Which schemas there are.
    DiscoverSchemas,
    /// Which tables and views some schemas have.
    DiscoverTables {
        /// Names of schemas.
        schemas: Vec<String>,
    },
    /// Which columns some tables have.
    DiscoverColumns {
        /// The tables.
        tables: Vec<TableRef>,
    },
    /// Replaces the catalog. What it does not list is not in it any more.
    SaveCatalog {
        /// What is selected and what is not.
        schemas: Vec<SchemaSelection>,
    },
    /// Compares the catalog with the database, and takes over types and new columns. New columns are not selected.
    SyncCatalog,
}

/// The name of a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, ToSchema)]
pub struct TableRef {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
}

/// Whether a schema is selected.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct SchemaSelection {
    /// Its name.
    pub schema_name: String,
    /// Whether its selected tables exist for users.
    pub is_selected: bool,
    /// Its tables.
    #[serde(default)]
    pub tables: Vec<TableSelection>,
}

/// Whether a table is selected.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct TableSelection {
    /// Its name.
    pub table_name: String,
    /// What the client takes it for. The database knows better, as long as it has the table.
    #[serde(default)]
    pub table_type: String,
    /// Whether its selected columns exist for users.
    pub is_selected: bool,
    /// Columns that are selected or not. One that is not listed stays as it was; of a table that was not selected before,
    /// all columns are selected unless this selects some.
    pub columns: Option<Vec<ColumnSelection>>,
}

/// Whether a column is selected.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct ColumnSelection {
    /// Its name.
    pub column_name: String,
    /// Whether it exists for users.
    pub is_selected: bool,
}

impl Request {
    /// The name of the action.
    pub fn action(&self) -> &'static str {
        match self {
            Request::DiscoverSchemas => "discover_schemas",
            Request::DiscoverTables { .. } => "discover_tables",
            Request::DiscoverColumns { .. } => "discover_columns",
            Request::SaveCatalog { .. } => "save_catalog",
            Request::SyncCatalog => "sync_catalog",
        }
    }

    /// Refuses what can name nothing, and what is said twice.
    pub fn check(&self) -> Result<()> {
        let mut problems = Vec::new();
        match self {
            Request::DiscoverSchemas | Request::SyncCatalog => {}
            Request::DiscoverTables { schemas } => {
                for (number, schema) in schemas.iter().enumerate() {
                    check_name(schema, || format!("schemas[{number}]"), &mut problems);
                }
            }
            Request::DiscoverColumns { tables } => {
                for (number, table) in tables.iter().enumerate() {
                    check_name(&table.schema, || format!("tables[{number}].schema"), &mut problems);
                    check_name(&table.table, || format!("tables[{number}].table"), &mut problems);
                }
            }
            Request::SaveCatalog { schemas } => check_selection(schemas, &mut problems),
        }
        problems.truncate(MAX_PROBLEMS);
        match problems.is_empty() {
            true => Ok(()),
            false => Err(Error::Invalid(problems)),
        }
    }
}

fn check_selection(schemas: &[SchemaSelection], problems: &mut Vec<String>) {
    let name = |schema: &SchemaSelection| schema.schema_name.clone();
    each(schemas, "schemas", name, problems, |schema, path, problems| {
        check_name(&schema.schema_name, || format!("{path}.schema_name"), problems);
        let path = format!("{path}.tables");
        let name = |table: &TableSelection| table.table_name.clone();
        each(&schema.tables, &path, name, problems, |table, path, problems| {
            check_name(&table.table_name, || format!("{path}.table_name"), problems);
            if table.table_type.len() > MAX_NAME || table.table_type.contains('\0') {
                problems.push(format!("{path}.table_type: must not be longer than {MAX_NAME} bytes"));
            }
            let columns = table.columns.as_deref().unwrap_or_default();
            let path = format!("{path}.columns");
            let name = |column: &ColumnSelection| column.column_name.clone();
            each(columns, &path, name, problems, |column, path, problems| {
                check_name(&column.column_name, || format!("{path}.column_name"), problems);
            });
        });
    });
}

/// Checks each item, and that no name is there twice.
fn each<T, K: Eq + Hash>(
    items: &[T],
    path: &str,
    key: impl Fn(&T) -> K,
    problems: &mut Vec<String>,
    mut check: impl FnMut(&T, &str, &mut Vec<String>),
) {
    let mut seen = HashSet::new();
    for (number, item) in items.iter().enumerate() {
        let path = format!("{path}[{number}]");
        check(item, &path, problems);
        if !seen.insert(key(item)) {
            problems.push(format!("{path}: is listed twice"));
        }
    }
}

fn check_name(name: &str, path: impl Fn() -> String, problems: &mut Vec<String>) {
    if name.is_empty() || name.len() > MAX_NAME || name.contains('\0') {
        problems.push(format!("{}: must have 1 to {MAX_NAME} bytes, none of them NUL", path()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn problems(request: Value) -> Vec<String> {
        match serde_json::from_value::<Request>(request).unwrap().check() {
            Err(Error::Invalid(problems)) => problems,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_can_name_nothing_is_refused_with_its_place() {
        let table = |name: &str| json!({"table_name": name, "table_type": "TABLE", "is_selected": true});
        let schema = |name: &str, tables: Value| json!({"schema_name": name, "is_selected": true, "tables": tables});
        let found = problems(json!({"action": "save_catalog", "schemas": [
            schema("a", json!([table("t"), table("t"), table("")])),
            schema("a", json!([{"table_name": "u", "is_selected": true,
                                "columns": [{"column_name": "x\0", "is_selected": true}]}])),
        ]}));
        let places: Vec<&str> = found.iter().filter_map(|problem| problem.split(':').next()).collect();
        assert_eq!(
            places,
            [
                "schemas[0].tables[1]",
                "schemas[0].tables[2].table_name",
                "schemas[1].tables[0].columns[0].column_name",
                "schemas[1]"
            ]
        );
        assert_eq!(
            problems(json!({"action": "discover_tables", "schemas": ["x".repeat(64)]})).len(),
            1
        );
        let nameless = json!({"action": "discover_columns", "tables": [{"schema": "", "table": ""}]});
        assert_eq!(problems(nameless).len(), 2);
    }
}
