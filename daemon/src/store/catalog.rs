//! The catalog of a data source: what of it may exist for its users at all.
//!
//! Invariant: nothing becomes selected unless somebody selects it. A column that is new in the database stays hidden, and
//! so does a table, until it is saved as selected.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Change;
use crate::error::Result;

/// A catalog.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Catalog {
    /// By name.
    pub schemas: Vec<Schema>,
}

/// A schema of a catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Schema {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub schema_name: String,
    /// Its name: PostgreSQL has no other ones.
    pub schema_alias: String,
    /// Whether its selected tables exist for users.
    pub is_selected: bool,
    /// By name.
    pub tables: Vec<Table>,
}

/// A table of a catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Table {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub table_name: String,
    /// `TABLE`, `PARTITIONED TABLE`, `FOREIGN TABLE`, `VIEW` or `MATERIALIZED VIEW`.
    pub table_type: String,
    /// Whether its selected columns exist for users.
    pub is_selected: bool,
    /// In their order; those of tables that were never selected are not known.
    pub columns: Vec<Column>,
}

/// A column of a catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Column {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub column_name: String,
    /// PostgreSQL's number of the column.
    pub ordinal_position: i32,
    /// As PostgreSQL writes it, `character varying(20)`.
    pub data_type: String,
    /// Whether it may be null.
    pub is_nullable: bool,
    /// The expression of its default, or that it is computed from.
    #[schema(required)]
    pub column_default: Option<String>,
    /// What Apache Arrow calls such a type; `Utf8` for whatever is only known as text.
    #[schema(required)]
    pub arrow_type: Option<String>,
    /// Whether it exists for users.
    pub is_selected: bool,
}

/// What a catalog says of a schema that is being saved.
#[derive(Debug, Clone)]
pub struct NewSchema {
    /// Its name.
    pub name: String,
    /// See [`Schema`].
    pub is_selected: bool,
    /// See [`Schema`].
    pub tables: Vec<NewTable>,
}

/// What a catalog says of a table that is being saved.
#[derive(Debug, Clone)]
pub struct NewTable {
    /// Its name.
    pub name: String,
    /// See [`Table`].
    pub table_type: String,
    /// See [`Table`].
    pub is_selected: bool,
    /// See [`Table`].
    pub columns: Vec<NewColumn>,
}

/// What a catalog says of a column that is being saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewColumn {
    /// Its name.
    pub name: String,
    /// See [`Column`].
    pub position: i32,
    /// See [`Column`].
    pub data_type: String,
    /// See [`Column`].
    pub is_nullable: bool,
    /// See [`Column`].
    pub default: Option<String>,
    /// See [`Column`].
    pub arrow_type: Option<String>,
    /// See [`Column`].
    pub is_selected: bool,
}

/// What is selected: the columns of each table of each schema.
pub type Selection = BTreeMap<String, BTreeMap<String, Vec<String>>>;

impl Catalog {
    /// The schema of that name.
    pub fn schema(&self, name: &str) -> Option<&Schema> {
        self.schemas.iter().find(|schema| schema.schema_name == name)
    }

    /// The tables with the names of their schemas.
    pub fn tables(&self) -> impl Iterator<Item = (&Schema, &Table)> {
        self.schemas
            .iter()
            .flat_map(|schema| schema.tables.iter().map(move |table| (schema, table)))
    }

    /// The selected tables of selected schemas.
    pub fn selected_tables(&self) -> impl Iterator<Item = (&Schema, &Table)> {
        self.tables()
            .filter(|(schema, table)| schema.is_selected && table.is_selected)
    }

    /// The names of selected tables of selected schemas.
    pub fn selected_names(&self) -> Vec<(String, String)> {
        self.selected_tables()
            .map(|(schema, table)| (schema.schema_name.clone(), table.table_name.clone()))
            .collect()
    }

    /// The tables by schema and name.
    pub fn by_name(&self) -> HashMap<(&str, &str), &Table> {
        self.tables()
            .map(|(schema, table)| ((schema.schema_name.as_str(), table.table_name.as_str()), table))
            .collect()
    }

    /// What it selects. A table without a selected column is left out: nothing of it exists.
    pub fn selection(&self) -> Selection {
        let mut selection = Selection::new();
        for (schema, table) in self.selected_tables() {
            let columns = table.columns.iter().filter(|column| column.is_selected);
            let columns: Vec<String> = columns.map(|column| column.column_name.clone()).collect();
            if !columns.is_empty() {
                let tables = selection.entry(schema.schema_name.clone()).or_default();
                tables.insert(table.table_name.clone(), columns);
            }
        }
        selection
    }
}

/// The catalog of a data source.
pub async fn find(conn: &mut PgConnection, data_source: Uuid) -> Result<Catalog> {
    let columns = sqlx::query!(
        "select c.table_id, c.id, c.column_name, c.ordinal_position, c.data_type, c.is_nullable, c.column_default, \
         c.arrow_type, c.is_selected from catalog_columns c join catalog_tables t on t.id = c.table_id \
         join catalog_schemas s on s.id = t.schema_id where s.data_source_id = $1 order by c.ordinal_position",
        data_source
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut columns_of: HashMap<Uuid, Vec<Column>> = HashMap::new();
    for row in columns {
        columns_of.entry(row.table_id).or_default().push(Column {
            id: row.id,
            column_name: row.column_name,
            ordinal_position: row.ordinal_position,
            data_type: row.data_type,
            is_nullable: row.is_nullable,
            column_default: row.column_default,
            arrow_type: row.arrow_type,
            is_selected: row.is_selected,
        });
    }
    let tables = sqlx::query!(
        "select t.schema_id, t.id, t.table_name, t.table_type, t.is_selected from catalog_tables t \
         join catalog_schemas s on s.id = t.schema_id where s.data_source_id = $1 order by t.table_name",
        data_source
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut tables_of: HashMap<Uuid, Vec<Table>> = HashMap::new();
    for row in tables {
        tables_of.entry(row.schema_id).or_default().push(Table {
            columns: columns_of.remove(&row.id).unwrap_or_default(),
            id: row.id,
            table_name: row.table_name,
            table_type: row.table_type,
            is_selected: row.is_selected,
        });
    }
    let schemas = sqlx::query!(
        "select id, schema_name, is_selected from catalog_schemas where data_source_id = $1 order by schema_name",
        data_source
    )
    .fetch_all(conn)
    .await?;
    let schemas = schemas.into_iter().map(|row| Schema {
        tables: tables_of.remove(&row.id).unwrap_or_default(),
        id: row.id,
        schema_alias: row.schema_name.clone(),
        schema_name: row.schema_name,
        is_selected: row.is_selected,
    });
    Ok(Catalog {
        schemas: schemas.collect(),
    })
}

/// Replaces the catalog of a data source, which is in force from then on. What stays keeps its id.
pub async fn save(change: &mut Change<'_>, data_source: Uuid, schemas: &[NewSchema]) -> Result<()> {
    let before = find(&mut change.tx, data_source).await?.selection();
    write(&mut change.tx, data_source, schemas).await?;
    sqlx::query!(
        "update data_sources set catalog_mode = 'selected' where id = $1",
        data_source
    )
    .execute(&mut *change.tx)
    .await?;
    let after = find(&mut change.tx, data_source).await?.selection();
    change
        .record("datasource", data_source, "save_catalog", Some(&before), Some(&after))
        .await?;
    change.touch(data_source);
    Ok(())
}

/// Notes what the columns of the catalog are like now. Who sees what stays the same.
pub async fn refresh(change: &mut Change<'_>, data_source: Uuid, schemas: &[NewSchema]) -> Result<()> {
    write(&mut change.tx, data_source, schemas).await?;
    change.touch(data_source);
    Ok(())
}

/// One array for each column of the catalog's tables: as many statements for a hundred thousand columns as for one.
async fn write(conn: &mut PgConnection, data_source: Uuid, schemas: &[NewSchema]) -> Result<()> {
    let names: Vec<&str> = schemas.iter().map(|schema| schema.name.as_str()).collect();
    let selected: Vec<bool> = schemas.iter().map(|schema| schema.is_selected).collect();
    sqlx::query!(
        "delete from catalog_schemas where data_source_id = $1 and schema_name <> all ($2)",
        data_source,
        &names as &[&str]
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into catalog_schemas (data_source_id, schema_name, is_selected) \
         select $1, n.name, n.selected from unnest($2::text[], $3::boolean[]) n(name, selected) \
         on conflict (data_source_id, schema_name) do update set is_selected = excluded.is_selected",
        data_source,
        &names as &[&str],
        &selected
    )
    .execute(&mut *conn)
    .await?;

    let tables: Vec<(&NewSchema, &NewTable)> = schemas
        .iter()
        .flat_map(|schema| schema.tables.iter().map(move |table| (schema, table)))
        .collect();
    let of: Vec<&str> = tables.iter().map(|(schema, _)| schema.name.as_str()).collect();
    let names: Vec<&str> = tables.iter().map(|(_, table)| table.name.as_str()).collect();
    let types: Vec<&str> = tables.iter().map(|(_, table)| table.table_type.as_str()).collect();
    let selected: Vec<bool> = tables.iter().map(|(_, table)| table.is_selected).collect();
    sqlx::query!(
        "delete from catalog_tables t using catalog_schemas s where s.id = t.schema_id and s.data_source_id = $1 \
         and (s.schema_name, t.table_name) not in (select * from unnest($2::text[], $3::text[]))",
        data_source,
        &of as &[&str],
        &names as &[&str]
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into catalog_tables (schema_id, table_name, table_type, is_selected) \
         select s.id, n.name, n.type, n.selected \
         from unnest($2::text[], $3::text[], $4::text[], $5::boolean[]) n(schema_name, name, type, selected) \
         join catalog_schemas s on s.data_source_id = $1 and s.schema_name = n.schema_name \
         on conflict (schema_id, table_name) do update set table_type = excluded.table_type, \
         is_selected = excluded.is_selected",
        data_source,
        &of as &[&str],
        &names as &[&str],
        &types as &[&str],
        &selected
    )
    .execute(&mut *conn)
    .await?;

    let columns: Vec<(&NewSchema, &NewTable, &NewColumn)> = tables
        .iter()
        .flat_map(|(schema, table)| table.columns.iter().map(move |column| (*schema, *table, column)))
        .collect();
    let schema_names: Vec<&str> = columns.iter().map(|(schema, ..)| schema.name.as_str()).collect();
    let table_names: Vec<&str> = columns.iter().map(|(_, table, _)| table.name.as_str()).collect();
    let names: Vec<&str> = columns.iter().map(|(.., column)| column.name.as_str()).collect();
    let positions: Vec<i32> = columns.iter().map(|(.., column)| column.position).collect();
    let types: Vec<&str> = columns.iter().map(|(.., column)| column.data_type.as_str()).collect();
    let nullable: Vec<bool> = columns.iter().map(|(.., column)| column.is_nullable).collect();
    let defaults: Vec<Option<&str>> = columns.iter().map(|(.., column)| column.default.as_deref()).collect();
    let arrow: Vec<Option<&str>> = columns
        .iter()
        .map(|(.., column)| column.arrow_type.as_deref())
        .collect();
    let selected: Vec<bool> = columns.iter().map(|(.., column)| column.is_selected).collect();
    sqlx::query!(
        "delete from catalog_columns c using catalog_tables t, catalog_schemas s \
         where t.id = c.table_id and s.id = t.schema_id and s.data_source_id = $1 \
         and (s.schema_name, t.table_name, c.column_name) not in \
         (select * from unnest($2::text[], $3::text[], $4::text[]))",
        data_source,
        &schema_names as &[&str],
        &table_names as &[&str],
        &names as &[&str]
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into catalog_columns (table_id, column_name, ordinal_position, data_type, is_nullable, column_default, \
         arrow_type, is_selected) \
         select t.id, n.name, n.position, n.type, n.nullable, n.default_value, n.arrow, n.selected \
         from unnest($2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::boolean[], $8::text[], $9::text[], \
         $10::boolean[]) n(schema_name, table_name, name, position, type, nullable, default_value, arrow, selected) \
         join catalog_schemas s on s.data_source_id = $1 and s.schema_name = n.schema_name \
         join catalog_tables t on t.schema_id = s.id and t.table_name = n.table_name \
         on conflict (table_id, column_name) do update set ordinal_position = excluded.ordinal_position, \
         data_type = excluded.data_type, is_nullable = excluded.is_nullable, \
         column_default = excluded.column_default, arrow_type = excluded.arrow_type, is_selected = excluded.is_selected",
        data_source,
        &schema_names as &[&str],
        &table_names as &[&str],
        &names as &[&str],
        &positions,
        &types as &[&str],
        &nullable,
        &defaults as &[Option<&str>],
        &arrow as &[Option<&str>],
        &selected
    )
    .execute(conn)
    .await?;
    Ok(())
}
