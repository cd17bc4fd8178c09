//! What there is in a database.
//!
//! The daemon's login role there is governed like any other, so the system catalogs show it what subjects see. The
//! extension's `discover()` tells those who manage policies everything.

use serde::Deserialize;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::error::Result;
use crate::store::catalog::NewColumn;
use crate::sync::target;

/// A relation, with its columns where they were asked for.
#[derive(Debug, Clone, Deserialize)]
pub struct Relation {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// PostgreSQL's letter for its kind.
    kind: String,
    /// In their order.
    #[serde(default)]
    pub columns: Vec<Column>,
    /// `(schema, name)` of all that it is a partition of or inherits from, where its columns were asked for.
    #[serde(default)]
    pub ancestors: Vec<(String, String)>,
}

/// A column.
#[derive(Debug, Clone, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    position: i32,
    /// Its type, as SQL writes it.
    pub data_type: String,
    /// The name of the type, if it is one of PostgreSQL's own.
    base_type: Option<String>,
    is_nullable: bool,
    default: Option<String>,
}

impl Relation {
    /// Its kind, as clients know it.
    pub fn table_type(&self) -> &'static str {
        match self.kind.as_str() {
            "p" => "PARTITIONED TABLE",
            "f" => "FOREIGN TABLE",
            "v" => "VIEW",
            "m" => "MATERIALIZED VIEW",
            _ => "TABLE",
        }
    }
}

impl Column {
    /// As it goes into a catalog.
    pub fn to_catalog(&self, is_selected: bool) -> NewColumn {
        NewColumn {
            name: self.name.clone(),
            position: self.position,
            data_type: self.data_type.clone(),
            is_nullable: self.is_nullable,
            default: self.default.clone(),
            arrow_type: Some(arrow_type(self.base_type.as_deref().unwrap_or_default()).to_owned()),
            is_selected,
        }
    }
}

/// What Apache Arrow calls a type. What it has no word for is known as text.
fn arrow_type(base_type: &str) -> &'static str {
    match base_type {
        "bool" => "Boolean",
        "int2" => "Int16",
        "int4" => "Int32",
        "int8" => "Int64",
        "float4" => "Float32",
        "float8" => "Float64",
        "numeric" => "Decimal128(38,20)",
        "bytea" => "Binary",
        "date" => "Date32",
        "time" => "Time64(Nanosecond)",
        "timestamp" => "Timestamp(Nanosecond,None)",
        "timestamptz" => "Timestamp(Nanosecond,Some(\"UTC\"))",
        _ => "Utf8",
    }
}

/// Names of schemas that have something to select, or may come to have.
pub async fn schemas(target: &mut PgConnection) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "select nspname::text from pg_namespace where nspname !~ '^pg_' \
         and nspname not in ('information_schema', 'betweenrows') order by nspname",
    )
    .fetch_all(target)
    .await
    .map_err(target::unavailable)
}

/// The relations of schemas, without their columns.
pub async fn relations(target: &mut PgConnection, schemas: &[String]) -> Result<Vec<Relation>> {
    discover(target, "select betweenrows.discover($1)", &[schemas]).await
}

/// Relations with their columns, as far as they exist.
pub async fn columns(target: &mut PgConnection, names: &[(String, String)]) -> Result<Vec<Relation>> {
    let (schemas, names): (Vec<String>, Vec<String>) = names.iter().cloned().unzip();
    discover(target, "select betweenrows.discover($1, $2)", &[&schemas, &names]).await
}

async fn discover(target: &mut PgConnection, query: &'static str, arrays: &[&[String]]) -> Result<Vec<Relation>> {
    let query = arrays
        .iter()
        .fold(sqlx::query_scalar(query), |query, array| query.bind(array.to_vec()));
    let rows: Vec<Json<Relation>> = query.fetch_all(target).await.map_err(target::unavailable)?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}
