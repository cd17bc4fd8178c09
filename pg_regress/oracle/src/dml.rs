//! Random writes. They touch rows by their visible ids and make new rows with ids nobody has, since a conflict with a
//! hidden row is the one thing that a copy cannot show.

use std::rc::Rc;

use crate::decide::Rights;
use crate::fragment::Sql;
use crate::from::{Item, scope_of};
use crate::mirror::{leaves, updatable, visible_key};
use crate::query::Query;
use crate::schema::{Shape, Table};
use crate::scope::{Gen, Rel, Scope};
use crate::sql;
use crate::types::{Ty, ident};
use crate::world::World;

/// What a write is about.
#[derive(Debug, Clone)]
pub struct Write {
    /// The table whose rows it changes.
    pub table: String,
    /// The SQLSTATE it must be refused with, whatever the rows.
    pub refused: Option<&'static str>,
    /// For ON CONFLICT: the columns and the query of the rows it proposes.
    pub proposed: Option<(Vec<String>, Sql)>,
}

/// A relation that a subject can write to.
#[derive(Debug, Clone)]
pub struct Target {
    /// How a statement writes it.
    sql: String,
    /// The table behind it.
    table: String,
    /// Visible columns.
    columns: Vec<(String, Ty)>,
    /// Columns whose values can be set and predicted.
    settable: Vec<(String, Ty)>,
    /// Columns of new rows whose values can be predicted.
    predictable: Vec<(String, Ty)>,
    /// Visible columns that are masked.
    masked: Vec<(String, Ty)>,
    /// Whether rows can be inserted.
    insertable: bool,
    /// Whether `id` can be a conflict arbiter.
    arbiter: bool,
    /// Whether MERGE can write it.
    mergeable: bool,
}

/// What a subject can write to so that the outcome can be predicted.
pub fn targets(world: &World, subject: usize) -> Vec<Target> {
    let mut all: Vec<Target> = world
        .tables
        .iter()
        .filter_map(|table| target(world, subject, table))
        .collect();
    for view in &world.views {
        if !updatable(world, subject, &view.name) {
            continue;
        }
        let Some(base) = view
            .updatable
            .as_ref()
            .and_then(|name| all.iter().find(|target| target.table == *name))
        else {
            continue;
        };
        let mut target = base.clone();
        target.sql = view.name.clone();
        for list in [
            &mut target.columns,
            &mut target.settable,
            &mut target.predictable,
            &mut target.masked,
        ] {
            list.retain(|column| view.columns.contains(column));
        }
        (target.arbiter, target.mergeable) = (false, false);
        all.push(target);
    }
    all
}

fn target(world: &World, subject: usize, table: &Table) -> Option<Target> {
    let decision = world.decision(subject, Rights::Of(subject), table);
    let uniform = |name: &str| {
        let children = world
            .tables
            .iter()
            .filter(|child| child.parent.as_deref() == Some(name));
        children.into_iter().all(|child| {
            let own = world.decision(subject, Rights::Of(subject), child);
            own.filters == decision.filters && own.masks == decision.masks
        })
    };
    let inherits = matches!(table.shape, Shape::Parent | Shape::Child);
    let generated = table.live().find(|column| column.generated.is_some());
    if decision.hidden
        || matches!(table.shape, Shape::Materialized(_))
        || !visible_key(world, subject, table)
        || !uniform(&table.name)
        || (inherits && generated.is_some())
    {
        return None;
    }
    let child = table.parent.is_some();
    // Masks are computed from raw values: a column they read must keep its own, or the copy's masked values are stale.
    let mut read: String = decision.masks.values().cloned().collect::<Vec<_>>().join(" ");
    if let Some(column) = generated {
        let (expression, _) = column.generated.as_ref()?;
        if read.contains(&ident(&column.name)) || decision.masks.contains_key(&column.name) {
            read = format!("{read} {expression}");
        }
    }
    let shown = |c: &&crate::schema::Column| !decision.denied.contains(&c.name);
    let unmasked = |c: &&crate::schema::Column| !decision.masks.contains_key(&c.name);
    let pair = |c: &crate::schema::Column| (ident(&c.name), c.ty);
    let settable = |c: &&crate::schema::Column| {
        c.name != "id" && c.generated.is_none() && !read.contains(&ident(&c.name)) && !(child && c.name == "org")
    };
    Some(Target {
        sql: ident(&table.name),
        table: table.name.clone(),
        columns: table.live().filter(shown).map(pair).collect(),
        settable: table
            .live()
            .filter(shown)
            .filter(unmasked)
            .filter(settable)
            .map(pair)
            .collect(),
        predictable: table.live().filter(shown).filter(unmasked).map(pair).collect(),
        masked: table
            .stored()
            .filter(shown)
            .filter(|c| !unmasked(c))
            .map(pair)
            .collect(),
        insertable: !child,
        arbiter: table.primary_key && !child && !inherits,
        mergeable: true,
    })
}

impl Gen<'_> {
    /// A write to one of the targets.
    pub fn write(&mut self, targets: &[Target]) -> Option<(Query, Write)> {
        if targets.is_empty() {
            return None;
        }
        self.wrong = 0;
        let target = self.dice.pick(targets).clone();
        let mut write = Write {
            table: target.table.clone(),
            refused: None,
            proposed: None,
        };
        let returning = self.dice.chance(60);
        let kind = self.dice.weighted(&[5, 3, 4, 2, 3]);
        let can_insert = target.insertable && !target.predictable.is_empty();
        let text = match kind {
            1 => self.delete(&target, returning),
            2 if can_insert => self.insert(&target, returning, &mut write),
            3 if can_insert && target.arbiter => self.upsert(&target, returning, &mut write)?,
            4 if can_insert && target.mergeable => self.merge(&target, &mut write)?,
            _ => self.update(&target, returning, &mut write)?,
        };
        let wrap = returning && kind != 4 && self.dice.chance(20);
        let text = if wrap { self.in_cte(text, &target) } else { text };
        Some((
            Query {
                sql: text,
                types: None,
                ordered: false,
                traits: self.traits.clone(),
            },
            write,
        ))
    }

    /// The target under an alias, as a scope of its visible columns.
    fn target_scope(&mut self, target: &Target, columns: &[(String, Ty)]) -> (String, Rc<Scope>) {
        self.traits.reads.insert(target.table.clone());
        let alias = self.alias("tgt");
        let item = Item {
            sql: Sql::none(),
            alias: alias.clone(),
            columns: columns.to_vec(),
            denied: Vec::new(),
            whole_row: false,
            key: true,
            table: false,
        };
        (alias, Rc::new(scope_of(&[item], None)))
    }

    /// `SET` items, and whether one of them is a masked column.
    fn assignments(&mut self, target: &Target, scope: &Rc<Scope>, write: &mut Write) -> Option<Sql> {
        if !target.masked.is_empty() && (target.settable.is_empty() || self.dice.chance(8)) {
            write.refused = Some("42501");
            let (name, ty) = self.dice.pick(&target.masked).clone();
            return Some(sql![format!("{name} = "), self.leaf(ty, scope)]);
        }
        let mut columns = self.dice.shuffled(&target.settable);
        columns.truncate(self.dice.between(1, 2));
        if columns.is_empty() {
            return None;
        }
        let items = columns
            .into_iter()
            .map(|(name, ty)| sql![format!("{name} = "), self.new_value(&name, ty, scope)]);
        Some(Sql::List(items.collect(), ", "))
    }

    /// A value to write; short enough for every column.
    fn new_value(&mut self, name: &str, ty: Ty, scope: &Rc<Scope>) -> Sql {
        match ty {
            Ty::Text if name == "org" && self.dice.chance(80) => self.leaf(ty, scope),
            Ty::Text => sql!["left(", self.value(ty, scope, 1), ", 30)"],
            Ty::Int => sql!["(", self.value(ty, scope, 2), ") % 1000"],
            _ => self.value(ty, scope, 2),
        }
    }

    fn returning(&mut self, wanted: bool, columns: &[(String, Ty)], scope: &Rc<Scope>) -> Sql {
        if !wanted || columns.is_empty() {
            return Sql::none();
        }
        let ty = Ty::scalar(self.dice);
        let columns = columns.iter().map(|(name, _)| {
            let alias = scope
                .refs
                .first()
                .map(|r| r.sql.split('.').next().unwrap_or_default().to_string());
            sql![format!("{}.{name}", alias.unwrap_or_default())]
        });
        let list = Sql::List(columns.collect(), ", ");
        sql![" RETURNING ", list, ", ", self.value(ty, scope, 2), " AS extra"].optional()
    }

    fn update(&mut self, target: &Target, returning: bool, write: &mut Write) -> Option<Sql> {
        let (alias, scope) = self.target_scope(target, &target.columns);
        let mut set = self.assignments(target, &scope, write)?;
        let other = self.keyed();
        let mut from = Sql::none();
        let mut condition = self.where_clause(&scope, 2);
        if let (Some(other), true) = (other, write.refused.is_none() && self.dice.chance(30)) {
            let item = self.keyed_item(&other);
            if self.dice.chance(40) {
                let (name, ty) = self.dice.pick(&target.settable).clone();
                let inner = Rc::new(scope_of(std::slice::from_ref(&item), Some(scope.clone())));
                let value = self.new_value(&name, ty, &inner);
                set = sql![
                    format!("({name}) = (SELECT "),
                    value,
                    " FROM ",
                    item.sql,
                    format!(" WHERE {}.id = {alias}.id)", item.alias)
                ];
            } else {
                from = sql![" FROM ", item.sql.clone()];
                condition = sql![
                    format!(" WHERE {}.id = {alias}.id AND ", item.alias),
                    self.condition(&scope, 1)
                ];
            }
        }
        let returning = self.returning(returning, &target.columns, &scope);
        Some(sql![
            "UPDATE ",
            &target.sql,
            format!(" AS {alias} SET "),
            set,
            from,
            condition,
            returning
        ])
    }

    fn delete(&mut self, target: &Target, returning: bool) -> Sql {
        let (alias, scope) = self.target_scope(target, &target.columns);
        let mut using = Sql::none();
        let mut condition = self.where_clause(&scope, 2);
        if let (Some(other), true) = (self.keyed(), self.dice.chance(30)) {
            let item = self.keyed_item(&other);
            condition = sql![
                format!(" WHERE {}.id = {alias}.id AND ", item.alias),
                self.condition(&scope, 1)
            ];
            using = sql![" USING ", item.sql];
        }
        let returning = self.returning(returning, &target.columns, &scope);
        sql![
            "DELETE FROM ",
            &target.sql,
            format!(" AS {alias}"),
            using,
            condition,
            returning
        ]
    }

    /// Columns to insert into beside `id`, mostly all of them so that filters are met.
    fn inserted(&mut self, target: &Target) -> Vec<(String, Ty)> {
        let plain = |(name, _): &&(String, Ty)| name != "id" && !name.starts_with("gen_");
        let columns: Vec<(String, Ty)> = target.predictable.iter().filter(plain).cloned().collect();
        let few = self.dice.chance(20);
        columns.into_iter().filter(|_| !few || self.dice.chance(50)).collect()
    }

    /// Rows to insert: copies of visible rows with changes, under new ids or, for conflicts, partly under their own.
    fn source(&mut self, target: &Target, columns: &[(String, Ty)], conflicts: bool) -> Sql {
        let alias = self.alias("src");
        let item = Item {
            sql: Sql::none(),
            alias: alias.clone(),
            columns: target.columns.clone(),
            denied: Vec::new(),
            whole_row: false,
            key: true,
            table: false,
        };
        let scope = Rc::new(scope_of(&[item], None));
        let id = match conflicts {
            true => format!("{alias}.id + CASE WHEN {alias}.id % 2 = 0 THEN 100000 ELSE 0 END"),
            false => format!("{alias}.id + 100000"),
        };
        let mut list = vec![sql![id]];
        for (name, ty) in columns {
            let keep = name == "org" || self.dice.chance(70);
            list.push(if keep {
                sql![format!("{alias}.{name}")]
            } else {
                self.new_value(name, *ty, &scope)
            });
        }
        let list = list
            .into_iter()
            .enumerate()
            .flat_map(|(index, v)| [Sql::from(if index > 0 { ", " } else { "" }), v]);
        sql![
            "SELECT ",
            Sql::Seq(list.collect()),
            format!(" FROM {} AS {alias}", target.sql),
            self.where_clause(&scope, 2)
        ]
    }

    fn insert(&mut self, target: &Target, returning: bool, write: &mut Write) -> Sql {
        let mut columns = self.inserted(target);
        if !target.masked.is_empty() && self.dice.chance(8) {
            write.refused = Some("42501");
            columns.push(self.dice.pick(&target.masked).clone());
        }
        let names: Vec<String> = ["id".to_string()]
            .into_iter()
            .chain(columns.iter().map(|(name, _)| name.clone()))
            .collect();
        let (alias, scope) = self.target_scope(target, &target.predictable);
        let source = if self.dice.chance(35) {
            let row = |id: usize, gen_: &mut Self| {
                let empty = Rc::new(Scope::default());
                let values = columns.iter().map(|(name, ty)| match gen_.dice.below(8) {
                    0 => Sql::from("DEFAULT"),
                    _ => gen_.new_value(name, *ty, &empty),
                });
                let values: Vec<Sql> = [Sql::from((200_000 + id).to_string())]
                    .into_iter()
                    .chain(values)
                    .collect();
                let values = values
                    .into_iter()
                    .enumerate()
                    .flat_map(|(n, v)| [Sql::from(if n > 0 { ", " } else { "" }), v]);
                sql!["(", Sql::Seq(values.collect()), ")"]
            };
            let rows = (0..self.dice.between(1, 3)).map(|id| row(id, self)).collect();
            sql!["VALUES ", Sql::List(rows, ", ")]
        } else {
            self.source(target, &columns, false)
        };
        let returning = self.returning(returning, &target.predictable, &scope);
        sql![
            "INSERT INTO ",
            &target.sql,
            format!(" AS {alias} ({}) ", names.join(", ")),
            source,
            returning
        ]
    }

    fn upsert(&mut self, target: &Target, returning: bool, write: &mut Write) -> Option<Sql> {
        let columns = self.inserted(target);
        let names: Vec<String> = ["id".to_string()]
            .into_iter()
            .chain(columns.iter().map(|(name, _)| name.clone()))
            .collect();
        let source = self.source(target, &columns, true);
        write.proposed = Some((names.clone(), source.clone()));
        let (alias, scope) = self.target_scope(target, &target.predictable);
        let action = if self.dice.chance(30) {
            sql!["NOTHING"]
        } else {
            let mut both = (*scope).clone();
            let excluded = both.refs.clone().into_iter().map(|r| crate::scope::Ref {
                sql: r.sql.replacen(&format!("{alias}."), "excluded.", 1),
                bare: None,
                ty: r.ty,
            });
            both.refs.extend(excluded.collect::<Vec<_>>());
            let both = Rc::new(both);
            sql![
                "UPDATE SET ",
                self.assignments(target, &both, write)?,
                self.where_clause(&both, 1)
            ]
        };
        let returning = self.returning(returning, &target.predictable, &scope);
        let into = format!(" AS {alias} ({}) ", names.join(", "));
        Some(sql![
            "INSERT INTO ",
            &target.sql,
            into,
            source,
            " ON CONFLICT (id) DO ",
            action,
            returning
        ])
    }

    fn merge(&mut self, target: &Target, write: &mut Write) -> Option<Sql> {
        let other = self.keyed()?;
        let columns = self.inserted(target);
        let (alias, scope) = self.target_scope(target, &target.columns);
        let item = self.keyed_item(&other);
        let mut source = scope_of(std::slice::from_ref(&item), None);
        source.refs.iter_mut().for_each(|r| r.bare = None);
        let mut both = (*scope).clone();
        both.refs.extend(source.refs.clone());
        let (both, source) = (Rc::new(both), Rc::new(source));
        let mut actions = Vec::new();
        if self.dice.chance(70) {
            let set = self.assignments(target, &both, write)?;
            actions.push(sql![
                " WHEN MATCHED AND ",
                self.condition(&both, 1),
                " THEN UPDATE SET ",
                set
            ]);
        }
        if self.dice.chance(40) {
            let action = *self.dice.pick(&["DELETE", "DO NOTHING"]);
            actions.push(sql![" WHEN MATCHED AND ", self.condition(&both, 1), " THEN ", action]);
        }
        if self.dice.chance(60) || actions.is_empty() {
            let names: Vec<String> = columns.iter().map(|(name, _)| format!(", {name}")).collect();
            let values = columns
                .iter()
                .flat_map(|(name, ty)| [Sql::from(", "), self.new_value(name, *ty, &source)])
                .collect();
            actions.push(sql![
                " WHEN NOT MATCHED AND ",
                self.condition(&source, 1),
                format!(" THEN INSERT (id{}) VALUES ({}.id + 100000", names.join(""), item.alias),
                Sql::Seq(values),
                ")"
            ]);
        }
        let on = format!(" ON {alias}.id = {}.id", item.alias);
        Some(sql![
            "MERGE INTO ",
            &target.sql,
            format!(" AS {alias} USING "),
            item.sql,
            on,
            Sql::List(actions, "")
        ])
    }

    /// A relation whose rows have visible ids.
    fn keyed(&mut self) -> Option<Rel> {
        let rels: Vec<&Rel> = self
            .rels
            .iter()
            .filter(|rel| rel.can.key && !rel.hidden && !rel.refused)
            .collect();
        if rels.is_empty() {
            None
        } else {
            Some((*self.dice.pick(&rels)).clone())
        }
    }

    fn keyed_item(&mut self, rel: &Rel) -> Item {
        self.used(rel);
        let alias = self.alias("x");
        Item {
            sql: sql![format!("{} AS {alias}", rel.sql)],
            alias,
            columns: rel.columns.clone(),
            denied: Vec::new(),
            whole_row: rel.can.whole_row,
            key: true,
            table: true,
        }
    }

    /// The write as a CTE of a query over what it returns.
    fn in_cte(&mut self, write: Sql, target: &Target) -> Sql {
        let name = self.alias("done");
        match self.dice.below(2) {
            0 => sql![format!("WITH {name} AS ("), write, format!(") SELECT * FROM {name}")],
            _ => sql![
                format!("WITH {name} AS ("),
                write,
                format!(
                    ") SELECT d.*, o.id AS other FROM {name} AS d LEFT JOIN {} AS o ON o.id = d.id",
                    target.sql
                )
            ],
        }
    }
}

/// SQL over the raw tables and the copy: what rows the table must have after the write was made on the copy.
pub struct Expectation {
    /// All rows of the table after the write, seen ones and hidden ones.
    pub after: String,
    /// The same over the raw table itself.
    pub raw: String,
    /// How many of the rows now violate the filters.
    pub violations: String,
    /// How many of the proposed rows do.
    pub proposed: Option<String>,
}

/// What to ask after a write of `subject` to the copy in schema `copy`.
pub fn expectation(world: &World, subject: usize, copy: &str, write: &Write) -> Option<Expectation> {
    let table = world.table(&write.table)?;
    let decision = world.decision(subject, Rights::Of(subject), table);
    debug_assert!(!leaves(world, table).is_empty());
    let name = ident(&table.name);
    let stored: Vec<String> = table.stored().map(|column| ident(&column.name)).collect();
    let kept = |c: &crate::schema::Column| decision.denied.contains(&c.name) || decision.masks.contains_key(&c.name);
    let default = |c: &crate::schema::Column| format!("({})::{}", c.default.clone().unwrap_or("NULL".into()), c.decl);
    let value = |c: &crate::schema::Column| {
        let column = ident(&c.name);
        match kept(c) {
            true => format!(
                "CASE WHEN r.id IS NULL THEN {} ELSE r.{column} END AS {column}",
                default(c)
            ),
            false => format!("c.{column}"),
        }
    };
    let values: Vec<String> = table.stored().map(value).collect();
    let generated: String = table
        .live()
        .filter_map(|c| {
            c.generated
                .as_ref()
                .map(|(expression, _)| format!(", {expression} AS {}", ident(&c.name)))
        })
        .collect();
    let rebuilt = format!(
        "(SELECT s.*{generated} FROM (SELECT {} FROM {copy}.{name} c LEFT JOIN {} r ON r.id = c.id) AS s) AS {name}",
        values.join(", "),
        table.qualified()
    );
    let filter = if decision.filters.is_empty() {
        "true".to_string()
    } else {
        decision.filters.join(" AND ")
    };
    let row = format!("ROW({})::text", stored.join(", "));
    let proposed = write.proposed.as_ref().map(|(names, source)| {
        let value = |c: &crate::schema::Column| match names.contains(&ident(&c.name)) {
            true => ident(&c.name),
            false => format!("{} AS {}", default(c), ident(&c.name)),
        };
        let values: Vec<String> = table.stored().map(value).collect();
        format!(
            "SELECT count(*) FROM (SELECT s.*{generated} FROM (SELECT {} FROM ({source}) AS p({})) AS s) AS {name} WHERE ({filter}) IS NOT TRUE",
            values.join(", "),
            names.join(", ")
        )
    });
    Some(Expectation {
        after: format!(
            "SELECT {row} FROM {rebuilt} UNION ALL SELECT {row} FROM {} WHERE ({filter}) IS NOT TRUE",
            table.qualified()
        ),
        raw: format!("SELECT {row} FROM {}", table.qualified()),
        violations: format!("SELECT count(*) FROM {rebuilt} WHERE ({filter}) IS NOT TRUE"),
        proposed,
    })
}
