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
    /// CREATE VIEW in `schema`, with something after the name, over the relations of `tables`.
    pub fn ddl(&self, schema: &str, tables: &str, suffix: &str) -> String {
        let body = self.body.replace("{s}", tables);
        format!("CREATE VIEW {schema}.{}{suffix} {} AS {body}", self.name, self.options)
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

/// A view or a function.
#[derive(Debug, Clone, Copy)]
pub enum Object<'a> {
    /// A view.
    View(&'a View),
    /// A function.
    Function(&'a Function),
}

impl<'a> Object<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        match self {
            Object::View(view) => &view.name,
            Object::Function(function) => &function.name,
        }
    }

    /// The relations and functions that its body reads.
    pub fn reads(&self) -> &'a [String] {
        match self {
            Object::View(view) => &view.reads,
            Object::Function(function) => &function.reads,
        }
    }

    /// The number in its name: bodies name objects of lower numbers.
    pub fn number(&self) -> u32 {
        self.name()[1..].parse().unwrap_or_default()
    }

    /// The statement that creates it in `schema`, over the relations of `tables`.
    pub fn ddl(&self, schema: &str, tables: &str) -> String {
        match self {
            Object::View(view) => view.ddl(schema, tables, ""),
            Object::Function(function) => function.ddl(schema, tables),
        }
    }
}

/// A relation with all its columns, as a body may name it.
fn raw(sql: String, name: &str, columns: Vec<(String, Ty)>, function: bool) -> Rel {
    Rel {
        sql: format!("{{s}}.{sql}"),
        name: name.to_string(),
        columns,
        denied: Vec::new(),
        hidden: false,
        refused: false,
        can: Abilities {
            function,
            ..Abilities::default()
        },
    }
}

/// The views and functions of one world.
pub fn objects(dice: &mut Dice, tables: &[Table], users: usize) -> (Vec<View>, Vec<Function>) {
    let (mut views, mut functions) = (Vec::new(), Vec::new());
    let columns = |table: &Table| table.live().map(|column| (ident(&column.name), column.ty)).collect();
    let mut rels: Vec<Rel> = tables
        .iter()
        .map(|table| raw(ident(&table.name), &table.name, columns(table), false))
        .collect();
    for number in 1..=dice.below(6) {
        if dice.chance(60) {
            let view = view(dice, format!("v{number}"), tables, &rels, users);
            rels.push(raw(view.name.clone(), &view.name, view.columns.clone(), false));
            views.push(view);
        } else {
            let (body, columns, reads) = body(dice, &rels, "r");
            let language = *dice.pick(&["sql", "sql", "plpgsql"]);
            let (name, definer) = (format!("f{number}"), dice.chance(30));
            rels.push(raw(format!("{name}()"), &name, columns.clone(), true));
            functions.push(Function {
                name,
                body,
                columns,
                language,
                definer,
                reads,
            });
        }
    }
    (views, functions)
}

fn view(dice: &mut Dice, name: String, tables: &[Table], rels: &[Rel], users: usize) -> View {
    let owner = if dice.chance(25) { Some(dice.below(users)) } else { None };
    let options = *dice.pick(&["", "", "WITH (security_barrier)", "WITH (security_invoker)"]);
    let plain: Vec<&Table> = tables.iter().filter(|table| table.shape == Shape::Plain).collect();
    if plain.is_empty() || dice.chance(50) {
        let (body, columns, reads) = body(dice, rels, "w");
        return View {
            name,
            body,
            columns,
            owner,
            options,
            reads,
            updatable: None,
        };
    }
    let table = *dice.pick(&plain);
    let columns: Vec<_> = table
        .live()
        .filter(|column| column.name == "id" || dice.chance(70))
        .collect();
    let names: Vec<String> = columns.iter().map(|column| ident(&column.name)).collect();
    let condition = *dice.pick(&["", " WHERE id % 3 <> 0", " WHERE id > 4 AND id IS NOT NULL"]);
    View {
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
    }
}

/// A query whose columns carry names that begin with `prefix` and tell their types, and exactly these types.
fn body(dice: &mut Dice, rels: &[Rel], prefix: &str) -> (String, Vec<(String, Ty)>, Vec<String>) {
    let want = Gen::wanted(dice);
    let mut generator = Gen::new(dice, rels);
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
