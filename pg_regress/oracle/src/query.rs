//! Random SELECT statements.

use std::rc::Rc;

use crate::fragment::Sql;
use crate::scope::{Gen, Scope, Traits};
use crate::sql;
use crate::types::Ty;

/// A query and what is known about its result.
#[derive(Debug, Clone)]
pub struct Query {
    /// Its text.
    pub sql: Sql,
    /// Types of its columns, if they are known.
    pub types: Option<Vec<Ty>>,
    /// Whether the order of its rows is determined.
    pub ordered: bool,
    /// What it used.
    pub traits: Traits,
}

impl Gen<'_> {
    /// A whole statement.
    pub fn statement(&mut self) -> Query {
        if !self.body && self.dice.chance(14) {
            return self.star();
        }
        if !self.body && self.dice.chance(5) {
            return self.locking();
        }
        let want = Gen::wanted(self.dice);
        let with = self.with();
        let body = self.query(&want, None, 3);
        let mut text = sql![with, body];
        let mut ordered = false;
        if self.dice.chance(35) {
            ordered = true;
            let positions: Vec<Sql> = self
                .positions(want.len())
                .into_iter()
                .map(|position| sql![position, *self.dice.pick(&["", "", " DESC", " NULLS FIRST"])])
                .collect();
            text = sql![text, " ORDER BY ", Sql::Seq(intersperse(positions))];
            if self.dice.chance(50) {
                let limit = format!(" LIMIT {}", self.dice.between(1, 12));
                let offset = if self.dice.chance(30) { " OFFSET 2" } else { "" };
                text = sql![text, sql![limit, offset].optional()];
            }
        }
        Query {
            sql: text,
            types: Some(want),
            ordered,
            traits: self.traits.clone(),
        }
    }

    fn positions(&mut self, count: usize) -> Vec<String> {
        let all: Vec<String> = (1..=count)
            .map(|position| {
                if self.dice.chance(40) {
                    format!("c{position}")
                } else {
                    position.to_string()
                }
            })
            .collect();
        self.dice.shuffled(&all)
    }

    /// A query whose columns are those of its tables.
    fn star(&mut self) -> Query {
        self.traits.top_only = true;
        let (from, scope) = self.from(None, 1);
        let text = match self.dice.below(8) {
            0 if !scope.rows.is_empty() => {
                let row = self.row(&scope);
                self.traits.simple_only = true;
                sql!["SELECT ", row, " FROM ", from]
            }
            1 => sql!["SELECT *, ", self.value(Ty::Int, &scope, 1), " AS extra FROM ", from],
            2 => {
                let where_clause = self.where_clause(&scope, 2);
                sql!["SELECT count(*) FROM (SELECT * FROM ", from, where_clause, ") AS whole"]
            }
            3 => {
                let alias = self.alias("x");
                match self.rel() {
                    Some(rel) => {
                        let condition = self.dice.pick(&["", " WHERE true"]).to_string();
                        sql![format!(
                            "WITH w AS (SELECT * FROM {} AS {alias}{condition}) SELECT * FROM w",
                            rel.sql
                        )]
                    }
                    None => sql!["SELECT 1"],
                }
            }
            4 => match self.rel() {
                Some(rel) if !rel.can.function => sql!["TABLE ", &rel.sql],
                _ => sql!["SELECT 1"],
            },
            5 if scope.keys.is_some() => {
                let keys = scope.keys.clone().unwrap_or_default().join(", ");
                self.traits.locks = false;
                let text = sql![
                    "SELECT * FROM ",
                    from,
                    self.where_clause(&scope, 1),
                    " ORDER BY ",
                    keys,
                    " LIMIT 5"
                ];
                return Query {
                    sql: text,
                    types: None,
                    ordered: true,
                    traits: self.traits.clone(),
                };
            }
            _ => sql!["SELECT * FROM ", from, self.where_clause(&scope, 2)],
        };
        Query {
            sql: text,
            types: None,
            ordered: false,
            traits: self.traits.clone(),
        }
    }

    /// A query that locks the rows it reads.
    fn locking(&mut self) -> Query {
        let tables: Vec<_> = self.rels.iter().filter(|rel| rel.can.table && !rel.hidden).collect();
        if tables.is_empty() {
            return self.star();
        }
        self.traits.locks = true;
        let mut items = Vec::new();
        for _ in 0..self.dice.between(1, 2) {
            let rel = *self.dice.pick(&tables);
            self.used(rel);
            let alias = self.alias("x");
            items.push(crate::from::Item {
                sql: sql![format!("{} AS {alias}", rel.sql)],
                alias,
                columns: rel.columns.clone(),
                denied: rel.denied.clone(),
                whole_row: false,
                source: Some(rel.sql.clone()),
                key: rel.can.key,
                table: true,
            });
        }
        let scope = Rc::new(crate::from::scope_of(&items, None));
        let from = Sql::List(items.iter().map(|item| item.sql.clone()).collect(), ", ");
        let want = Gen::wanted(self.dice);
        let list = want.iter().map(|ty| self.value(*ty, &scope, 1)).collect();
        let strength = *self.dice.pick(&["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"]);
        let of = if self.dice.chance(50) {
            format!(" OF {}", items[0].alias)
        } else {
            String::new()
        };
        let wait = *self.dice.pick(&["", " NOWAIT", " SKIP LOCKED"]);
        let condition = self.where_clause(&scope, 2);
        let text = sql![
            "SELECT ",
            columns(list),
            " FROM ",
            from,
            condition,
            " FOR ",
            strength,
            of,
            wait
        ];
        Query {
            sql: text,
            types: Some(want),
            ordered: false,
            traits: self.traits.clone(),
        }
    }

    /// `WITH …`, or nothing.
    fn with(&mut self) -> Sql {
        let count = self.dice.weighted(&[7, 2, 1]);
        let (mut parts, mut recursive) = (Vec::new(), "");
        for _ in 0..count {
            let name = self.alias("with");
            let columns: Vec<(String, Ty)>;
            let body = if self.dice.chance(20) {
                recursive = "RECURSIVE ";
                columns = vec![("c1".into(), Ty::Int), ("c2".into(), Ty::Text), ("c3".into(), Ty::Int)];
                self.recursion(&name)
            } else {
                let want = Gen::wanted(self.dice);
                columns = want
                    .iter()
                    .enumerate()
                    .map(|(index, ty)| (format!("c{}", index + 1), *ty))
                    .collect();
                self.query(&want, None, 2)
            };
            let how = *self.dice.pick(&["", "", "MATERIALIZED ", "NOT MATERIALIZED "]);
            parts.push(sql![format!("{name} AS {how}("), body, ")"]);
            self.ctes.push((name, columns));
        }
        if parts.is_empty() {
            Sql::none()
        } else {
            sql!["WITH ", recursive, Sql::List(parts, ", "), " "].optional()
        }
    }

    /// A recursive CTE's body: three levels up from some rows.
    fn recursion(&mut self, name: &str) -> Sql {
        let (from, scope) = self.from(None, 0);
        let start = sql![
            "SELECT ",
            self.leaf(Ty::Int, &scope),
            " AS c1, ",
            self.value(Ty::Text, &scope, 1),
            "::text AS c2, 0 AS c3 FROM ",
            from,
            self.where_clause(&scope, 1)
        ];
        let item = self.item(None, 0);
        let scope = Rc::new(crate::from::scope_of(std::slice::from_ref(&item), None));
        let from = item.sql;
        let step = sql![
            "SELECT ",
            self.leaf(Ty::Int, &scope),
            ", ",
            self.leaf(Ty::Text, &scope),
            "::text, up.c3 + 1 FROM ",
            name,
            " AS up JOIN ",
            from,
            " ON up.c1 = ",
            self.leaf(Ty::Int, &scope),
            " WHERE up.c3 < 2"
        ];
        sql![start, " UNION ", step]
    }

    /// A query with columns c1, c2 … of the wanted types, without an order of its own at the end.
    pub fn query(&mut self, want: &[Ty], outer: Option<Rc<Scope>>, depth: usize) -> Sql {
        if depth > 0 && self.dice.chance(14) {
            let operator = *self.dice.pick(&[
                " UNION ",
                " UNION ALL ",
                " INTERSECT ",
                " EXCEPT ",
                " EXCEPT ALL ",
                " INTERSECT ALL ",
            ]);
            let left = self.core(want, outer.clone(), depth - 1);
            let right = self.core(want, outer, depth - 1);
            return sql![left.clone(), operator, right].or("query", left.to_string());
        }
        self.core(want, outer, depth)
    }

    /// A subquery for an expression inside `scope`.
    pub fn subquery(&mut self, want: &[Ty], scope: &Rc<Scope>, depth: usize) -> Sql {
        self.query(want, Some(scope.clone()), depth.min(1))
    }

    fn core(&mut self, want: &[Ty], outer: Option<Rc<Scope>>, depth: usize) -> Sql {
        match self.dice.weighted(&[10, 3, 2, 1, 1]) {
            1 => self.grouped(want, outer, depth),
            2 => self.windowed(want, outer, depth),
            3 => self.distinct_on(want, outer, depth),
            _ => {
                let (from, scope) = self.from(outer, depth);
                let distinct = if self.dice.chance(12) { "DISTINCT " } else { "" };
                let list = want.iter().map(|ty| self.value(*ty, &scope, depth.min(2))).collect();
                sql![
                    "SELECT ",
                    distinct,
                    columns(list),
                    " FROM ",
                    from,
                    self.where_clause(&scope, depth)
                ]
            }
        }
    }

    fn grouped(&mut self, want: &[Ty], outer: Option<Rc<Scope>>, depth: usize) -> Sql {
        let (from, scope) = self.from(outer, depth);
        let condition = self.where_clause(&scope, depth);
        let mut keys: Vec<(Ty, Sql)> = Vec::new();
        for _ in 0..self.dice.weighted(&[1, 4, 3]) {
            let ty = Ty::scalar(self.dice);
            let own = Rc::new(Scope {
                outer: None,
                ..(*scope).clone()
            });
            let key = if self.dice.chance(75) {
                self.reference(ty, &own)
            } else {
                Some(self.value(ty, &own, 1))
            };
            // A bare literal would be a position, or an error.
            let literal = |key: &Sql| key.to_string().as_bytes()[0].is_ascii_digit() || ty == Ty::Bool;
            keys.extend(key.filter(|key| !literal(key)).map(|key| (ty, key)));
        }
        let list: Vec<Sql> = want
            .iter()
            .map(|ty| match keys.iter().find(|(key, _)| key == ty) {
                Some((_, key)) if self.dice.chance(65) => key.clone(),
                _ => self.aggregate(*ty, &scope, 1),
            })
            .collect();
        let texts: Vec<String> = keys.iter().map(|(_, key)| format!("({key})")).collect();
        let group = match (texts.len(), self.dice.below(5)) {
            (0, _) => Sql::none(),
            (_, 0) => sql![format!(" GROUP BY ROLLUP ({})", texts.join(", "))],
            (2, 1) => sql![format!(" GROUP BY CUBE ({})", texts.join(", "))],
            (2, 2) => sql![format!(" GROUP BY GROUPING SETS ({}, {}, ())", texts[0], texts[1])],
            _ => sql![format!(" GROUP BY {}", texts.join(", "))],
        };
        let having = if self.dice.chance(25) {
            let ty = Ty::scalar(self.dice);
            let left = self.aggregate(ty, &scope, 0);
            sql![
                " HAVING ",
                left,
                *self.dice.pick(&[" > ", " <> ", " <= "]),
                ty.literal(self.dice)
            ]
            .optional()
        } else {
            Sql::none()
        };
        sql!["SELECT ", columns(list), " FROM ", from, condition, group, having]
    }

    /// Window functions whose value peers share, or over an order that identifies rows.
    fn windowed(&mut self, want: &[Ty], outer: Option<Rc<Scope>>, depth: usize) -> Sql {
        let (from, scope) = self.from(outer, depth);
        let ty = Ty::scalar(self.dice);
        let part = Ty::scalar(self.dice);
        let by = if self.dice.chance(60) {
            sql!["PARTITION BY ", self.leaf(part, &scope), " "]
        } else {
            Sql::none()
        };
        let order = self.value(ty, &scope, 1);
        let frame = *self.dice.pick(&[
            "",
            "",
            " RANGE UNBOUNDED PRECEDING",
            " GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW",
        ]);
        let keys = scope.keys.clone().filter(|_| self.dice.chance(50));
        let unique = keys.is_some();
        let window = match keys {
            Some(keys) => sql!["(", by, "ORDER BY ", order, ", ", keys.join(", "), ")"],
            None => sql!["(", by, "ORDER BY ", order, frame, ")"],
        };
        let list = want
            .iter()
            .map(|ty| match ty {
                Ty::Int if self.dice.chance(60) => {
                    let names: &[&str] = if unique {
                        &["row_number()", "rank()", "dense_rank()", "ntile(3)", "count(*)"]
                    } else {
                        &["rank()", "dense_rank()", "count(*)"]
                    };
                    sql![*self.dice.pick(names), " OVER win::integer"].or("", "1")
                }
                _ if unique && self.dice.chance(50) => {
                    let name = *self.dice.pick(&["lag(", "lead(", "first_value(", "last_value("]);
                    sql![name, self.value(*ty, &scope, 1), ") OVER win"]
                }
                Ty::Num | Ty::Date => sql!["max(", self.value(*ty, &scope, 1), ") OVER win"],
                Ty::Text => sql!["min(", self.value(*ty, &scope, 1), ") OVER win"],
                _ => self.value(*ty, &scope, 1),
            })
            .collect();
        sql![
            "SELECT ",
            columns(list),
            " FROM ",
            from,
            self.where_clause(&scope, depth),
            " WINDOW win AS ",
            window
        ]
    }

    fn distinct_on(&mut self, want: &[Ty], outer: Option<Rc<Scope>>, depth: usize) -> Sql {
        let (from, scope) = self.from(outer, depth);
        let list: Vec<Sql> = want.iter().map(|ty| self.value(*ty, &scope, 1)).collect();
        let order: Vec<String> = (1..=want.len()).map(|position| position.to_string()).collect();
        let condition = self.where_clause(&scope, depth);
        let body = sql!["SELECT DISTINCT ON (c1) ", columns(list), " FROM ", from, condition];
        sql!["SELECT * FROM (", body, " ORDER BY ", order.join(", "), ") AS firsts"]
    }
}

/// An output list with the names c1, c2 …
fn columns(list: Vec<Sql>) -> Sql {
    let list = list
        .into_iter()
        .enumerate()
        .map(|(index, value)| sql![value, format!(" AS c{}", index + 1)]);
    Sql::List(list.collect(), ", ")
}

/// `items` with commas between them, none of which may go: the order stays total.
fn intersperse(items: Vec<Sql>) -> Vec<Sql> {
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| if index == 0 { item } else { sql![", ", item] })
        .collect()
}
