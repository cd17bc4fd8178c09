//! Random views and functions over the tables. Their bodies name tables as `{s}.name`: `{s}` is the governed schema, or in
//! a copy the schema with what such a body sees there.

use crate::dice::Dice;
use crate::schema::{SCHEMA, Shape, Table};
use crate::scope::{Abilities, Gen, Rel};
use crate::types::{Ty, ident};

/// A view.
#[derive(Debug, Clone)]
pub struct View {
    /// Its name.
    pub name: String,
    /// Its query.
    pub body: String,
    /// Its columns.
    pub columns: Vec<(String, Ty)>,
    /// The user that owns it; none: a superuser.
    pub owner: Option<usize>,
    /// Its storage options: nothing, `security_barrier` or `security_invoker`.
    pub options: &'static str,
    /// The tables it reads.
    pub reads: Vec<String>,
    /// The table that DML through it reaches.
    pub updatable: Option<String>,
}

/// A set-returning function.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its query.
    pub body: String,
    /// Its columns.
    pub columns: Vec<(String, Ty)>,
    /// `sql` or `plpgsql`.
    pub language: &'static str,
    /// SECURITY DEFINER of a superuser; else with the caller's rights.
    pub definer: bool,
    /// The tables it reads.
    pub reads: Vec<String>,
}

impl View {
    /// CREATE VIEW in `schema`, with the tables of `tables`.
    pub fn ddl(&self, schema: &str, tables: &str) -> String {
        let body = self.body.replace("{s}", tables);
        format!("CREATE VIEW {schema}.{} {} AS {body}", self.name, self.options)
    }
}

impl Function {
    /// CREATE FUNCTION in `schema`, reading the tables of `tables`.
    pub fn ddl(&self, schema: &str, tables: &str) -> String {
        let body = self.body.replace("{s}", tables);
        let body = if self.language == "sql" {
            body
        } else {
            format!("BEGIN RETURN QUERY {body}; END")
        };
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|(name, ty)| format!("{name} {}", ty.name()))
            .collect();
        let rights = if self.definer {
            " SECURITY DEFINER SET search_path = pg_catalog"
        } else {
            ""
        };
        format!(
            "CREATE FUNCTION {schema}.{}() RETURNS TABLE ({}) LANGUAGE {} STABLE{rights} AS $body${body}$body$",
            self.name,
            columns.join(", "),
            self.language
        )
    }
}

/// Every table with all its columns, as a body may name it.
fn raw(tables: &[Table]) -> Vec<Rel> {
    let rel = |table: &Table| Rel {
        sql: format!("{{s}}.{}", ident(&table.name)),
        name: table.name.clone(),
        columns: table.live().map(|column| (ident(&column.name), column.ty)).collect(),
        denied: Vec::new(),
        hidden: false,
        refused: false,
        can: Abilities::default(),
    };
    tables.iter().map(rel).collect()
}

/// The views of one world.
pub fn views(dice: &mut Dice, tables: &[Table], users: usize) -> Vec<View> {
    let mut all = Vec::new();
    for number in 1..=dice.below(4) {
        let name = format!("v{number}");
        let owner = if dice.chance(25) { Some(dice.below(users)) } else { None };
        let options = *dice.pick(&["", "", "WITH (security_barrier)", "WITH (security_invoker)"]);
        let plain: Vec<&Table> = tables.iter().filter(|table| table.shape == Shape::Plain).collect();
        if dice.chance(50) && !plain.is_empty() {
            let table = *dice.pick(&plain);
            let columns: Vec<_> = table
                .live()
                .filter(|column| column.name == "id" || dice.chance(70))
                .collect();
            let names: Vec<String> = columns.iter().map(|column| ident(&column.name)).collect();
            let condition = *dice.pick(&["", " WHERE id % 3 <> 0", " WHERE id > 4 AND id IS NOT NULL"]);
            all.push(View {
                name,
                body: format!(
                    "SELECT {} FROM {{s}}.{}{condition}",
                    names.join(", "),
                    ident(&table.name)
                ),
                columns: columns.iter().map(|column| (ident(&column.name), column.ty)).collect(),
                owner,
                options,
                reads: vec![table.name.clone()],
                updatable: Some(table.name.clone()),
            });
        } else {
            let (body, columns, reads) = body(dice, tables, "w");
            all.push(View {
                name,
                body,
                columns,
                owner,
                options,
                reads,
                updatable: None,
            });
        }
    }
    all
}

/// The functions of one world.
pub fn functions(dice: &mut Dice, tables: &[Table]) -> Vec<Function> {
    let make = |number: usize, dice: &mut Dice| {
        let (body, columns, reads) = body(dice, tables, "r");
        let language = *dice.pick(&["sql", "sql", "plpgsql"]);
        Function {
            name: format!("f{number}"),
            body,
            columns,
            language,
            definer: dice.chance(30),
            reads,
        }
    };
    (1..=dice.below(3)).map(|number| make(number, dice)).collect()
}

/// A query whose columns carry names that begin with `prefix` and tell their types, and exactly these types.
fn body(dice: &mut Dice, tables: &[Table], prefix: &str) -> (String, Vec<(String, Ty)>, Vec<String>) {
    let rels = raw(tables);
    let want = Gen::wanted(dice);
    let mut generator = Gen::new(dice, &rels);
    generator.body = true;
    let query = generator.query(&want, None, 2);
    let reads = generator.traits.reads.iter().cloned().collect();
    let columns: Vec<(String, Ty)> = want
        .iter()
        .enumerate()
        .map(|(index, ty)| (format!("{prefix}{}{}", ty.initial(), index + 1), *ty))
        .collect();
    let list: Vec<String> = want
        .iter()
        .enumerate()
        .map(|(index, ty)| format!("q.c{}::{} AS {}", index + 1, ty.name(), columns[index].0))
        .collect();
    (
        format!("SELECT {} FROM ({query}) AS q", list.join(", ")),
        columns,
        reads,
    )
}

/// The governed schema's name, for bodies.
pub fn governed(text: &str) -> String {
    text.replace("{s}", SCHEMA)
}
