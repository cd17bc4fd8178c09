//! Random tables: columns of several types, dropped and generated columns, partitions, inheritance, materialized views,
//! rows with NULLs, and the statements that make them.

use crate::dice::Dice;
use crate::types::{TENANTS, Ty, ident, idents, quote};

/// The schema of the governed tables.
pub const SCHEMA: &str = "app";

/// A column.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type as the generator sees it.
    pub ty: Ty,
    /// Its type as declared.
    pub decl: &'static str,
    /// Its default.
    pub default: Option<String>,
    /// The expression and the column it is computed from.
    pub generated: Option<(String, String)>,
    /// Created and dropped again: a hole in the row.
    pub dropped: bool,
}

/// What kind of relation a table is.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// An ordinary table.
    Plain,
    /// Partitioned by this column: `PARTITION BY` this text.
    Partitioned(String),
    /// `FOR VALUES` this text; attached with a column order of its own, or created in place.
    Partition { bound: String, attached: bool },
    /// A table with inheritance children.
    Parent,
    /// An inheritance child.
    Child,
    /// A materialized view with this query.
    Materialized(String),
}

/// A relation that stores rows.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns in order, dropped ones included.
    pub columns: Vec<Column>,
    /// What it is.
    pub shape: Shape,
    /// The table it is a partition or child of.
    pub parent: Option<String>,
    /// Literals of its own rows, for the columns of [`Table::stored`]; a partition's rows are its parent's.
    pub rows: Vec<Vec<String>>,
    /// Whether `id` is the primary key.
    pub primary_key: bool,
    /// `CREATE INDEX` and `ANALYZE` statements.
    pub extras: Vec<String>,
}

impl Table {
    /// The columns that exist.
    pub fn live(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.dropped)
    }

    /// The columns that take values.
    pub fn stored(&self) -> impl Iterator<Item = &Column> {
        self.live().filter(|column| column.generated.is_none())
    }

    /// An existing column.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.live().find(|column| column.name == name)
    }

    /// Its qualified name.
    pub fn qualified(&self) -> String {
        format!("{SCHEMA}.{}", ident(&self.name))
    }

    /// The statements that create it, children after parents; a materialized view has to wait for the rows.
    pub fn ddl(&self) -> Vec<String> {
        let name = self.qualified();
        let parent = self
            .parent
            .as_ref()
            .map(|parent| format!("{SCHEMA}.{}", ident(parent)))
            .unwrap_or_default();
        let columns = || self.columns.iter().map(Column::declare).collect::<Vec<_>>().join(", ");
        let mut all = Vec::new();
        match &self.shape {
            Shape::Plain | Shape::Parent => all.push(format!("CREATE TABLE {name} ({})", columns())),
            Shape::Partitioned(by) => all.push(format!("CREATE TABLE {name} ({}) PARTITION BY {by}", columns())),
            Shape::Partition { bound, attached: false } => {
                all.push(format!("CREATE TABLE {name} PARTITION OF {parent} {bound}"));
            }
            Shape::Partition { bound, attached: true } => {
                all.push(format!("CREATE TABLE {name} ({})", columns()));
                all.extend(self.drop_columns());
                all.push(format!("ALTER TABLE {parent} ATTACH PARTITION {name} {bound}"));
            }
            Shape::Child => {
                let own = self.columns.iter().filter(|column| column.name.starts_with("own"));
                let own = own.map(Column::declare).collect::<Vec<_>>().join(", ");
                all.push(format!("CREATE TABLE {name} ({own}) INHERITS ({parent})"));
            }
            Shape::Materialized(_) => {}
        }
        if matches!(self.shape, Shape::Plain | Shape::Parent | Shape::Partitioned(_)) {
            all.extend(self.drop_columns());
        }
        if self.primary_key && !matches!(self.shape, Shape::Partition { .. }) {
            all.push(format!("ALTER TABLE {name} ADD PRIMARY KEY (id)"));
        }
        all
    }

    /// The statements that fill it and build its indexes, to run when every table exists.
    pub fn fill(&self) -> Vec<String> {
        let mut all = Vec::new();
        if let Shape::Materialized(query) = &self.shape {
            all.push(format!("CREATE MATERIALIZED VIEW {} AS {query}", self.qualified()));
        }
        if !self.rows.is_empty() {
            let names: Vec<String> = self.stored().map(|column| column.name.clone()).collect();
            let rows: Vec<String> = self.rows.iter().map(|row| format!("({})", row.join(", "))).collect();
            all.push(format!(
                "INSERT INTO {} ({}) VALUES\n  {}",
                self.qualified(),
                idents(&names),
                rows.join(",\n  ")
            ));
        }
        all.extend(self.extras.iter().cloned());
        all
    }

    fn drop_columns(&self) -> Vec<String> {
        let dropped = self.columns.iter().filter(|column| column.dropped);
        dropped
            .map(|column| format!("ALTER TABLE {} DROP COLUMN {}", self.qualified(), ident(&column.name)))
            .collect()
    }
}

impl Column {
    fn new(name: &str, ty: Ty, decl: &'static str) -> Self {
        Column {
            name: name.to_string(),
            ty,
            decl,
            default: None,
            generated: None,
            dropped: false,
        }
    }

    /// Its declaration in CREATE TABLE.
    pub fn declare(&self) -> String {
        let mut text = format!("{} {}", ident(&self.name), self.decl);
        if let Some(default) = &self.default {
            text += &format!(" DEFAULT {default}");
        }
        if let Some((expression, _)) = &self.generated {
            text += &format!(" GENERATED ALWAYS AS ({expression}) STORED");
        }
        if self.name == "id" {
            text += " NOT NULL";
        }
        text
    }

    fn value(&self, dice: &mut Dice) -> String {
        if dice.chance(14) {
            return "NULL".to_string();
        }
        match self.name.as_str() {
            "tag" => "NULL".to_string(),
            "org" => quote(dice.pick(&TENANTS)),
            "ref" => dice.between(1, 40).to_string(),
            _ => self.ty.literal(dice),
        }
    }
}

/// Names that tables draw their columns from: the same name means the same type everywhere, so that NATURAL and USING meet.
fn pool() -> Vec<Column> {
    vec![
        Column::new("n1", Ty::Int, "integer"),
        Column::new("n2", Ty::Int, "integer"),
        Column::new("s1", Ty::Text, "text"),
        Column::new("s2", Ty::Text, "text"),
        Column::new("s3", Ty::Text, "varchar(40)"),
        Column::new("Mixed \"Q", Ty::Text, "text"),
        Column::new("m1", Ty::Num, "numeric(10,2)"),
        Column::new("d1", Ty::Date, "date"),
        Column::new("b1", Ty::Bool, "boolean"),
        Column::new("j1", Ty::Json, "jsonb"),
        Column::new("a1", Ty::Ints, "integer[]"),
        Column::new("a2", Ty::Texts, "text[]"),
    ]
}

/// The tables of one world, parents before children.
pub fn tables(dice: &mut Dice) -> Vec<Table> {
    let mut all = Vec::new();
    let mut next_id = 1;
    for number in 1..=dice.between(3, 4) {
        let name = if dice.chance(15) {
            format!("Table {number}")
        } else {
            format!("t{number}")
        };
        let table = base(dice, name, &mut next_id);
        let children = children(dice, &table, &mut next_id);
        all.push(table);
        all.extend(children);
    }
    if dice.chance(50) {
        let source = dice.pick(&all).clone();
        all.push(materialized(dice, &source));
    }
    for table in &mut all {
        extras(dice, table);
    }
    all
}

fn base(dice: &mut Dice, name: String, next_id: &mut usize) -> Table {
    let mut columns = dice.shuffled(&pool());
    columns.truncate(dice.between(3, 7));
    if dice.chance(75) {
        columns.push(Column::new("org", Ty::Text, "text"));
    }
    if dice.chance(75) {
        columns.push(Column::new("ref", Ty::Int, "integer"));
    }
    columns.push(Column::new("id", Ty::Int, "integer"));
    columns.push(Column::new("tag", Ty::Text, "text"));
    for column in columns
        .iter_mut()
        .filter(|column| !matches!(column.name.as_str(), "id" | "tag"))
    {
        if dice.chance(20) {
            column.default = Some(column.value(dice));
        }
    }
    for (name, ty, decl) in [("gone1", Ty::Int, "integer"), ("gone2", Ty::Text, "text")] {
        if dice.chance(30) {
            columns.push(Column {
                dropped: true,
                ..Column::new(name, ty, decl)
            });
        }
    }
    if dice.chance(35) {
        let wanted = [
            ("n1", Ty::Int, "integer", "n1 * 2"),
            ("s1", Ty::Text, "text", "upper(s1) || '!'"),
        ];
        let (from, ty, decl, expression) = *dice.pick(&wanted);
        if columns.iter().any(|column| column.name == from) {
            let generated = Some((expression.to_string(), from.to_string()));
            columns.push(Column {
                generated,
                ..Column::new(&format!("gen_{from}"), ty, decl)
            });
        }
    }
    let columns = dice.shuffled(&columns);
    let has_org = columns.iter().any(|column| column.name == "org");
    let (shape, primary_key) = match dice.weighted(&[6, 2, 2]) {
        0 => (Shape::Plain, true),
        1 if has_org && dice.chance(50) => (Shape::Partitioned("LIST (org)".into()), false),
        1 => (
            Shape::Partitioned(dice.pick(&["RANGE (id)", "HASH (id)"]).to_string()),
            true,
        ),
        _ => (Shape::Parent, dice.chance(50)),
    };
    let mut table = Table {
        name,
        columns,
        shape,
        parent: None,
        rows: Vec::new(),
        primary_key,
        extras: Vec::new(),
    };
    let count = dice.between(12, 36);
    table.rows = rows(dice, &table, count, next_id);
    table
}

fn rows(dice: &mut Dice, table: &Table, count: usize, next_id: &mut usize) -> Vec<Vec<String>> {
    let first = *next_id;
    *next_id += count;
    let row = |id: usize, dice: &mut Dice| {
        let value = |column: &Column, dice: &mut Dice| match column.name.as_str() {
            "id" => id.to_string(),
            // Two rows each, so that statistics know the most common ones.
            "tag" => quote(format!("tag-{}", id / 2)),
            _ => column.value(dice),
        };
        table.stored().map(|column| value(column, dice)).collect()
    };
    (first..first + count).map(|id| row(id, dice)).collect()
}

fn children(dice: &mut Dice, parent: &Table, next_id: &mut usize) -> Vec<Table> {
    let bounds: &[&str] = match &parent.shape {
        Shape::Partitioned(by) if by.starts_with("LIST") => &["FOR VALUES IN ('acme', 'stark')", "DEFAULT"],
        Shape::Partitioned(by) if by.starts_with("RANGE") => &["FOR VALUES FROM (MINVALUE) TO (15)", "DEFAULT"],
        Shape::Partitioned(_) => &[
            "FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
            "FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        ],
        Shape::Parent => &["child", "child"][..dice.between(1, 2)],
        _ => &[],
    };
    let mut all = Vec::new();
    for (number, bound) in bounds.iter().enumerate() {
        let mut child = parent.clone();
        child.name = format!("{}_c{}", parent.name, number + 1);
        child.parent = Some(parent.name.clone());
        child.rows = Vec::new();
        if parent.shape == Shape::Parent {
            child.shape = Shape::Child;
            child.primary_key = false;
            child.columns.retain(|column| !column.dropped);
            if dice.chance(50) {
                child
                    .columns
                    .push(Column::new(&format!("own{number}"), Ty::Text, "text"));
            }
            let count = dice.between(3, 10);
            child.rows = rows(dice, &child, count, next_id);
        } else {
            let attached = dice.chance(40);
            child.columns.retain(|column| !column.dropped);
            if attached {
                child.columns = dice.shuffled(&child.columns);
                let hole = Column {
                    dropped: true,
                    ..Column::new("gone3", Ty::Int, "integer")
                };
                child.columns.insert(0, hole);
            }
            child.shape = Shape::Partition {
                bound: bound.to_string(),
                attached,
            };
        }
        all.push(child);
    }
    all
}

fn materialized(dice: &mut Dice, source: &Table) -> Table {
    let plain = |column: &Column| Column {
        default: None,
        generated: None,
        ..column.clone()
    };
    let columns: Vec<Column> = source
        .live()
        .filter(|c| c.name == "id" || dice.chance(60))
        .map(plain)
        .collect();
    let names = idents(columns.iter().map(|column| &column.name));
    let query = format!("SELECT {names} FROM {} WHERE id % 5 <> 0", source.qualified());
    let shape = Shape::Materialized(query);
    let name = "mv".to_string();
    Table {
        name,
        columns,
        shape,
        parent: None,
        rows: Vec::new(),
        primary_key: false,
        extras: Vec::new(),
    }
}

fn extras(dice: &mut Dice, table: &mut Table) {
    let indexable: Vec<String> = table
        .live()
        .filter(|c| c.ty != Ty::Json)
        .map(|c| c.name.clone())
        .collect();
    for _ in 0..dice.below(3) {
        let column = ident(dice.pick(&indexable).as_str());
        table
            .extras
            .push(format!("CREATE INDEX ON {} ({column})", table.qualified()));
    }
    if dice.chance(50) {
        table.extras.push(format!("ANALYZE {}", table.qualified()));
    }
}
