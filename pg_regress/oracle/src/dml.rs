//! Random writes. They touch rows by their visible ids and make new rows with ids nobody has, since a conflict with a
//! hidden row is the one thing that a copy cannot show.

use std::rc::Rc;

use crate::fragment::Sql;
use crate::from::{Item, scope_of};
use crate::query::Query;
use crate::scope::{Gen, Rel, Scope};
use crate::sql;
use crate::target::Target;
use crate::types::Ty;

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

impl Gen<'_> {
    /// A write to one of the targets.
    pub fn write(&mut self, targets: &[Target]) -> Option<(Query, Write)> {
        if targets.is_empty() {
            return None;
        }
        self.wrong = 8;
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
        let single = kind != 4 && !text.to_string().starts_with("DECLARE");
        let wrap = returning && single && self.dice.chance(20);
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
            denied: target.denied.clone(),
            whole_row: false,
            source: None,
            key: true,
            table: false,
        };
        (alias, Rc::new(scope_of(&[item], None)))
    }

    /// `SET` items, and whether one of them is a masked column.
    fn assignments(&mut self, target: &Target, scope: &Rc<Scope>, write: &mut Write) -> Option<Sql> {
        if !target.denied.is_empty() && self.dice.chance(3) {
            self.traits.hidden += 1;
            let (name, ty) = self.dice.pick(&target.denied).clone();
            return Some(sql![format!("{name} = "), self.leaf(ty, scope)]);
        }
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
        let first = scope.refs.first().map(|r| r.sql.split('.').next().unwrap_or_default());
        let alias = first.unwrap_or_default();
        let mut list = Vec::new();
        for (name, _) in columns {
            let row = match self.dice.below(6) {
                0 if self.major >= 18 => "old",
                1 if self.major >= 18 => "new",
                _ => alias,
            };
            list.push(sql![format!("{row}.{name}")]);
        }
        let list = Sql::List(list, ", ");
        sql![" RETURNING ", list, ", ", self.value(ty, scope, 2), " AS extra"].optional()
    }

    fn update(&mut self, target: &Target, returning: bool, write: &mut Write) -> Option<Sql> {
        let (alias, scope) = self.target_scope(target, &target.columns);
        if target.table == target.sql && target.mergeable && self.dice.chance(10) {
            return self.current_of(target, &scope, write);
        }
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

    /// An update of the row that a cursor stands on.
    fn current_of(&mut self, target: &Target, scope: &Rc<Scope>, write: &mut Write) -> Option<Sql> {
        let set = self.assignments(target, scope, write)?;
        let alias = scope.keys.as_ref()?.first()?.strip_suffix(".id")?.to_string();
        let condition = format!("id % {} <> 1", self.dice.between(2, 4));
        let fetch = *self.dice.pick(&["", " 2", " 3"]);
        Some(sql![
            format!(
                "DECLARE here CURSOR FOR SELECT id FROM {} WHERE {condition} ORDER BY id FOR UPDATE; ",
                target.sql
            ),
            format!("FETCH{fetch} FROM here; UPDATE {} AS {alias} SET ", target.sql),
            set,
            " WHERE CURRENT OF here",
            self.returning(true, &target.columns, scope)
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
            source: None,
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
                source: None,
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
        if self.major >= 17 && self.dice.chance(40) {
            let condition = self.condition(&scope, 1);
            let action = match self.dice.chance(50) {
                true => sql!["UPDATE SET ", self.assignments(target, &scope, write)?],
                false => sql!["DELETE"],
            };
            actions.push(sql![" WHEN NOT MATCHED BY SOURCE AND ", condition, " THEN ", action]);
        }
        let mut shown = (*scope).clone();
        let predictable = |sql: &str| {
            target
                .predictable
                .iter()
                .any(|(name, _)| sql == format!("{alias}.{name}"))
        };
        shown.refs.retain(|r| predictable(&r.sql));
        shown.rows.clear();
        let wanted = self.major >= 17 && !shown.refs.is_empty() && self.dice.chance(60);
        let returning = self.returning(wanted, &target.predictable, &Rc::new(shown));
        let on = format!(" ON {alias}.id = {}.id", item.alias);
        Some(sql![
            "MERGE INTO ",
            &target.sql,
            format!(" AS {alias} USING "),
            item.sql,
            on,
            Sql::List(actions, ""),
            returning
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
            source: None,
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
