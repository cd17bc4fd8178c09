//! What the jobs do. Whatever a job changes in the store is in one transaction with its completion.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use sqlx::PgConnection;

use super::request::{Request, SchemaSelection, TableRef, TableSelection};
use super::runner::Context;
use super::upstream::{self, Relation};
use super::{drift, drift::Drift};
use crate::error::{Error, Result};
use crate::store::catalog::{self, Catalog, NewColumn, NewSchema, NewTable, Table};
use crate::store::{Change, jobs, sync_states};

/// Tables whose columns are asked for at a time.
const CHUNK: usize = 500;

/// Does what is asked for.
pub(super) async fn run(context: &Context, request: &Request) -> Result<Value> {
    context.progress("connecting", "connecting to the database").await?;
    let mut target = context.connect().await?;
    let stored = catalog::find(&mut *context.store.read().await?, context.data_source).await?;
    match request {
        Request::DiscoverSchemas => discover_schemas(context, &mut target, &stored).await,
        Request::DiscoverTables { schemas } => discover_tables(context, &mut target, &stored, schemas).await,
        Request::DiscoverColumns { tables } => discover_columns(context, &mut target, &stored, tables).await,
        Request::SaveCatalog { schemas } => {
            context.read.check("catalog", &stored)?;
            save(context, &mut target, &stored, schemas).await
        }
        Request::SyncCatalog => sync(context, &mut target, &stored).await,
    }
}

async fn discover_schemas(context: &Context, target: &mut PgConnection, stored: &Catalog) -> Result<Value> {
    context.progress("querying", "looking for schemas").await?;
    let found = upstream::schemas(target).await?;
    let found = found.into_iter().map(|name| {
        let is_selected = stored.schema(&name).is_some_and(|schema| schema.is_selected);
        json!({"schema_name": name, "is_already_selected": is_selected})
    });
    Ok(found.collect())
}

async fn discover_tables(
    context: &Context,
    target: &mut PgConnection,
    stored: &Catalog,
    schemas: &[String],
) -> Result<Value> {
    let detail = format!("looking for tables in {} schemas", schemas.len());
    context.progress("querying", &detail).await?;
    let known = stored.by_name();
    let found = upstream::relations(target, schemas).await?;
    let found = found.iter().map(|relation| {
        let known = known.get(&(relation.schema.as_str(), relation.name.as_str()));
        json!({"schema_name": relation.schema, "table_name": relation.name, "table_type": relation.table_type(),
               "is_already_selected": known.is_some_and(|table| table.is_selected)})
    });
    Ok(found.collect())
}

async fn discover_columns(
    context: &Context,
    target: &mut PgConnection,
    stored: &Catalog,
    tables: &[TableRef],
) -> Result<Value> {
    let wanted: HashSet<&TableRef> = tables.iter().collect();
    let wanted: Vec<_> = wanted
        .into_iter()
        .map(|table| (table.schema.clone(), table.table.clone()))
        .collect();
    let known = stored.by_name();
    let mut found = Vec::new();
    for relation in columns(context, target, &wanted).await? {
        let known = known.get(&(relation.schema.as_str(), relation.name.as_str()));
        let before = Before::of(known.copied());
        for column in &relation.columns {
            let is_selected = before.is_selected(&column.name, true);
            let column = column.to_catalog(is_selected);
            found.push(json!({
                "schema_name": relation.schema, "table_name": relation.name, "column_name": column.name,
                "ordinal_position": column.position, "data_type": column.data_type, "is_nullable": column.is_nullable,
                "column_default": column.default, "arrow_type": column.arrow_type, "is_already_selected": is_selected,
            }));
        }
    }
    Ok(Value::Array(found))
}

/// The columns of tables, as far as they exist, in order of their names.
async fn columns(context: &Context, target: &mut PgConnection, names: &[(String, String)]) -> Result<Vec<Relation>> {
    let mut names = names.to_vec();
    names.sort();
    let mut found = Vec::with_capacity(names.len());
    for (number, chunk) in names.chunks(CHUNK).enumerate() {
        let before = number * CHUNK;
        let detail = format!("looking for columns of {} tables, {before} done", names.len());
        context.progress("querying", &detail).await?;
        found.extend(upstream::columns(target, chunk).await?);
    }
    Ok(found)
}

/// What the catalog said of a table's columns.
struct Before<'a> {
    columns: HashMap<&'a str, bool>,
}

impl<'a> Before<'a> {
    fn of(table: Option<&'a Table>) -> Self {
        let columns = table.into_iter().flat_map(|table| &table.columns);
        Before {
            columns: columns
                .map(|column| (column.column_name.as_str(), column.is_selected))
                .collect(),
        }
    }

    /// Whether a column that nobody mentions is selected: as it was before. Of a table that was known, a column that was
    /// not is new, and stays hidden.
    fn is_selected(&self, column: &str, in_new_table: bool) -> bool {
        match self.columns.is_empty() {
            true => in_new_table,
            false => self.columns.get(column).copied().unwrap_or(false),
        }
    }
}

async fn save(
    context: &Context,
    target: &mut PgConnection,
    stored: &Catalog,
    schemas: &[SchemaSelection],
) -> Result<Value> {
    let selected: Vec<(String, String)> = schemas
        .iter()
        .filter(|schema| schema.is_selected)
        .flat_map(|schema| schema.tables.iter().map(move |table| (schema, table)))
        .filter(|(_, table)| table.is_selected)
        .map(|(schema, table)| (schema.schema_name.clone(), table.table_name.clone()))
        .collect();
    let found = columns(context, target, &selected).await?;
    let live: HashMap<(&str, &str), &Relation> = found
        .iter()
        .map(|relation| ((relation.schema.as_str(), relation.name.as_str()), relation))
        .collect();
    let missing = selected
        .iter()
        .filter(|(schema, table)| !live.contains_key(&(schema.as_str(), table.as_str())))
        .map(|(schema, table)| format!("{schema}.{table}"));
    let result = json!({"ok": true, "missing_tables": missing.collect::<Vec<_>>()});

    context.progress("saving", "saving the catalog").await?;
    let known = stored.by_name();
    let schemas: Vec<NewSchema> = schemas
        .iter()
        .map(|schema| {
            let tables = schema.tables.iter().map(|table| {
                let name = (schema.schema_name.as_str(), table.table_name.as_str());
                new_table(table, live.get(&name).copied(), known.get(&name).copied())
            });
            NewSchema {
                name: schema.schema_name.clone(),
                is_selected: schema.is_selected,
                tables: tables.collect(),
            }
        })
        .collect();
    let mut change = begin(context, stored).await?;
    catalog::save(&mut change, context.data_source, &schemas).await?;
    finish(context, change, &result).await?;
    Ok(result)
}

/// A table as it is saved: what the database says of it, and what the client and the catalog say of its selection.
fn new_table(wanted: &TableSelection, live: Option<&Relation>, known: Option<&Table>) -> NewTable {
    let before = Before::of(known);
    let listed = wanted.columns.as_deref().unwrap_or_default();
    let selects_some = listed.iter().any(|column| column.is_selected);
    let listed: HashMap<&str, bool> = listed
        .iter()
        .map(|column| (column.column_name.as_str(), column.is_selected))
        .collect();
    let is_selected = |name: &str| {
        let listed = listed.get(name).copied();
        listed.unwrap_or_else(|| before.is_selected(name, !selects_some))
    };
    let columns = match live {
        Some(relation) => relation
            .columns
            .iter()
            .map(|column| column.to_catalog(is_selected(&column.name)))
            .collect(),
        None => kept(known)
            .into_iter()
            .map(|column| NewColumn {
                is_selected: is_selected(&column.name),
                ..column
            })
            .collect(),
    };
    let table_type = match (live, known) {
        (Some(relation), _) => relation.table_type().to_owned(),
        (None, Some(table)) => table.table_type.clone(),
        (None, None) => wanted.table_type.clone(),
    };
    NewTable {
        name: wanted.table_name.clone(),
        table_type,
        is_selected: wanted.is_selected,
        columns,
    }
}

/// The columns of a table as the catalog has them.
fn kept(table: Option<&Table>) -> Vec<NewColumn> {
    let columns = table.into_iter().flat_map(|table| &table.columns);
    columns
        .map(|column| NewColumn {
            name: column.column_name.clone(),
            position: column.ordinal_position,
            data_type: column.data_type.clone(),
            is_nullable: column.is_nullable,
            default: column.column_default.clone(),
            arrow_type: column.arrow_type.clone(),
            is_selected: column.is_selected,
        })
        .collect()
}

/// In what a database differs from a catalog.
pub async fn drift_of(target: &mut PgConnection, stored: &Catalog) -> Result<Drift> {
    let mut found = Vec::new();
    for chunk in stored.selected_names().chunks(CHUNK) {
        found.extend(upstream::columns(target, chunk).await?);
    }
    compare(target, stored, &found).await
}

async fn compare(target: &mut PgConnection, stored: &Catalog, columns: &[Relation]) -> Result<Drift> {
    let schemas = upstream::schemas(target).await?;
    let selected: Vec<String> = stored
        .schemas
        .iter()
        .filter(|schema| schema.is_selected)
        .map(|schema| schema.schema_name.clone())
        .collect();
    let relations = upstream::relations(target, &selected).await?;
    Ok(drift::compare(stored, &schemas, &relations, columns))
}

async fn sync(context: &Context, target: &mut PgConnection, stored: &Catalog) -> Result<Value> {
    let found = columns(context, target, &stored.selected_names()).await?;
    context.progress("querying", "looking for schemas and tables").await?;
    let result = compare(target, stored, &found).await?.to_json();

    context.progress("saving", "noting the types of columns").await?;
    let live: HashMap<(&str, &str), &Relation> = found
        .iter()
        .map(|relation| ((relation.schema.as_str(), relation.name.as_str()), relation))
        .collect();
    let schemas = stored.schemas.iter().map(|schema| {
        let tables = schema.tables.iter().map(|table| {
            let relation = live.get(&(schema.schema_name.as_str(), table.table_name.as_str()));
            let before = Before::of(Some(table));
            NewTable {
                name: table.table_name.clone(),
                table_type: relation.map_or(table.table_type.clone(), |relation| relation.table_type().to_owned()),
                is_selected: table.is_selected,
                columns: match relation {
                    Some(relation) => relation
                        .columns
                        .iter()
                        .map(|column| column.to_catalog(before.is_selected(&column.name, false)))
                        .collect(),
                    None => kept(Some(table)),
                },
            }
        });
        NewSchema {
            name: schema.schema_name.clone(),
            is_selected: schema.is_selected,
            tables: tables.collect(),
        }
    });
    let schemas: Vec<NewSchema> = schemas.collect();
    let mut change = begin(context, stored).await?;
    catalog::refresh(&mut change, context.data_source, &schemas).await?;
    sync_states::catalog_checked(&mut change.tx, context.data_source, &result).await?;
    finish(context, change, &result).await?;
    Ok(result)
}

/// Begins to change the catalog, unless a document that was imported while the database was asked has changed it already.
async fn begin<'a>(context: &'a Context, stored: &Catalog) -> Result<Change<'a>> {
    let mut change = context.store.change(context.actor.clone()).await?;
    match catalog::find(&mut change.tx, context.data_source).await? == *stored {
        true => Ok(change),
        false => Err(Error::Conflict(
            "the catalog changed meanwhile: read it again and repeat the change".to_owned(),
        )),
    }
}

/// Keeps what the job changed, if it is still wanted.
async fn finish(context: &Context, mut change: Change<'_>, result: &Value) -> Result<()> {
    match jobs::complete(&mut change.tx, context.job, result).await? {
        true => change.commit().await,
        false => Err(Error::Conflict("cancelled".to_owned())),
    }
}
