//! Random FROM clauses: tables, CTEs, subqueries, LATERAL, functions, VALUES, and joins of every kind between them.

use std::collections::HashMap;
use std::rc::Rc;

use crate::fragment::Sql;
use crate::scope::{Gen, Ref, Scope};
use crate::sql;
use crate::types::{Ty, ident};

/// One FROM item with the names it brings.
pub struct Item {
    /// Its text.
    pub sql: Sql,
    /// Its alias.
    pub alias: String,
    /// Its columns.
    pub columns: Vec<(String, Ty)>,
    /// Its columns that do not exist for the subject.
    pub denied: Vec<(String, Ty)>,
    /// Whether its whole row can be named.
    pub whole_row: bool,
    /// The relation it reads directly.
    pub source: Option<String>,
    /// Its identifying column.
    pub key: bool,
    /// Whether it is a relation by name, so that its columns' names are the pool's.
    pub table: bool,
}

impl Gen<'_> {
    /// A FROM clause without the word, and the scope it makes inside `outer`.
    pub fn from(&mut self, outer: Option<Rc<Scope>>, depth: usize) -> (Sql, Rc<Scope>) {
        let first = self.item(outer.clone(), depth);
        let mut items = vec![first];
        let mut text = items[0].sql.clone();
        let joins = self.dice.weighted(&[9, 6, 2]);
        for _ in 0..joins.min(depth + 1) {
            let left = Rc::new(scope_of(&items, outer.clone()));
            if self.dice.chance(15) && depth > 0 {
                let item = self.lateral(&left, depth - 1);
                let join = *self.dice.pick(&[" CROSS JOIN LATERAL ", " LEFT JOIN LATERAL "]);
                let on = if join.starts_with(" LEFT") { " ON true" } else { "" };
                text = sql![text, sql![join, item.sql.clone(), on].optional()];
                items.push(item);
                continue;
            }
            let item = self.item(outer.clone(), depth.saturating_sub(1));
            let last = joins == 1;
            text = self.join(text, &items, &left, &item, last, outer.clone());
            items.push(item);
        }
        (text, Rc::new(scope_of(&items, outer)))
    }

    fn join(
        &mut self,
        text: Sql,
        items: &[Item],
        left: &Rc<Scope>,
        right: &Item,
        last: bool,
        outer: Option<Rc<Scope>>,
    ) -> Sql {
        let right_sql = right.sql.clone();
        let kind = [" JOIN ", " LEFT JOIN ", " RIGHT JOIN ", " FULL JOIN ", " CROSS JOIN "]
            [self.dice.weighted(&[8, 6, 2, 3, 1])];
        if kind == " CROSS JOIN " {
            // What is joined after a comma would not see what stands before it.
            let comma = last && self.dice.chance(50);
            return sql![text, sql![if comma { ", " } else { kind }, right_sql].optional()];
        }
        if items.len() == 1 && items[0].table && right.table && self.dice.chance(30) && !self.body {
            let shared: Vec<String> = shared(&items[0], right);
            if self.dice.chance(50) && !shared.is_empty() {
                let kind = kind.trim_start();
                self.traits.top_only |= !items[0].denied.is_empty() || !right.denied.is_empty();
                return sql![text, sql![" NATURAL ", kind, right_sql].optional()];
            }
            if !shared.is_empty() {
                let using = self.dice.pick(&shared).clone();
                return sql![text, sql![kind, right_sql, format!(" USING ({using})")].optional()];
            }
        }
        let own = Rc::new(scope_of(std::slice::from_ref(right), None));
        let (ty, joinable) = self.common_type(left, &own);
        // A full join needs a condition that compares its two sides.
        let kind = if kind == " FULL JOIN " && !joinable {
            " LEFT JOIN "
        } else {
            kind
        };
        let mut on = sql![self.own_reference(ty, left), " = ", self.own_reference(ty, &own)];
        if kind != " FULL JOIN " && self.dice.chance(35) {
            let mut both = (**left).clone();
            both.refs.extend(own.refs.iter().cloned());
            both.refs.iter_mut().for_each(|r| r.bare = None);
            both.outer = outer;
            let extra = self.condition(&Rc::new(both), 0);
            on = sql![on, sql![*self.dice.pick(&[" AND ", " AND ", " OR "]), extra].optional()];
        }
        sql![text, sql![kind, right_sql, " ON ", on.or("boolean", "true")].optional()]
    }

    /// A reference of the level itself, so that a full join stays one of its two sides; else a literal.
    fn own_reference(&mut self, ty: Ty, scope: &Scope) -> Sql {
        let own = scope.of(ty);
        match own.is_empty() {
            true => Sql::from(ty.literal(self.dice)),
            false => Sql::from(&self.dice.pick(&own).sql),
        }
    }

    /// A type to join on, and whether both sides have it.
    fn common_type(&mut self, left: &Scope, right: &Scope) -> (Ty, bool) {
        let types = [
            Ty::Int,
            Ty::Int,
            Ty::Int,
            Ty::Text,
            Ty::Text,
            Ty::Date,
            Ty::Num,
            Ty::Bool,
        ];
        let both: Vec<Ty> = types
            .into_iter()
            .filter(|ty| !left.of(*ty).is_empty() && !right.of(*ty).is_empty())
            .collect();
        if both.is_empty() {
            (Ty::Int, false)
        } else {
            (*self.dice.pick(&both), true)
        }
    }

    /// One FROM item.
    pub fn item(&mut self, outer: Option<Rc<Scope>>, depth: usize) -> Item {
        let weights = if depth == 0 { [10, 2, 0, 0] } else { [14, 3, 4, 1] };
        match self.dice.weighted(&weights) {
            1 if !self.ctes.is_empty() => {
                let (name, columns) = self.dice.pick(&self.ctes).clone();
                let alias = self.alias("cte");
                derived(sql![format!("{name} AS {alias}")], alias, columns)
            }
            2 => self.derived_table("", outer, depth - 1),
            3 => {
                let alias = self.alias("val");
                let rows: Vec<String> = (0..self.dice.between(1, 4))
                    .map(|_| format!("({}, {})", Ty::Int.literal(self.dice), Ty::Text.literal(self.dice)))
                    .collect();
                let columns = vec![("x".to_string(), Ty::Int), ("y".to_string(), Ty::Text)];
                derived(
                    sql![format!("(VALUES {}) AS {alias}(x, y)", rows.join(", "))],
                    alias,
                    columns,
                )
            }
            _ => self.relation(),
        }
    }

    fn relation(&mut self) -> Item {
        let Some(rel) = self.rel() else {
            let alias = self.alias("val");
            return derived(
                sql![format!("(VALUES (1)) AS {alias}(x)")],
                alias,
                vec![("x".to_string(), Ty::Int)],
            );
        };
        let mut text = rel.sql.clone();
        if rel.can.only && self.dice.chance(10) {
            text = format!("ONLY {text}");
        }
        let mut alias = self.alias("x");
        if !self.body && !rel.can.function && self.dice.chance(15) && !self.seen(&rel.name) {
            alias = ident(&rel.name);
            self.plain_names.push(rel.name.clone());
        } else {
            text = format!("{text} AS {alias}");
        }
        if rel.can.table && self.dice.chance(3) {
            text += " TABLESAMPLE BERNOULLI (100)";
        }
        let mut columns = rel.columns.clone();
        if rel.can.only && self.dice.chance(15) {
            columns.push(("tableoid::regclass::text".to_string(), Ty::Text));
        }
        Item {
            sql: Sql::from(text),
            alias,
            columns,
            denied: rel.denied.clone(),
            whole_row: rel.can.whole_row,
            source: Some(rel.sql.clone()),
            key: rel.can.key,
            table: !rel.can.function,
        }
    }

    fn seen(&self, name: &str) -> bool {
        self.plain_names.iter().any(|seen| seen == name)
    }

    fn derived_table(&mut self, prefix: &str, outer: Option<Rc<Scope>>, depth: usize) -> Item {
        let want = Gen::wanted(self.dice);
        // Only LATERAL sees what stands beside it; both see the query around.
        let body = self.query(&want, outer, depth);
        let alias = self.alias("sub");
        let columns = want
            .iter()
            .enumerate()
            .map(|(index, ty)| (format!("c{}", index + 1), *ty))
            .collect();
        derived(sql![prefix, "(", body, format!(") AS {alias}")], alias, columns)
    }

    fn lateral(&mut self, left: &Rc<Scope>, depth: usize) -> Item {
        if self.dice.chance(25) {
            let array = self.leaf(Ty::Ints, left);
            let alias = self.alias("un");
            let sql = sql!["unnest(", array, format!(") AS {alias}(x)")];
            return Item {
                whole_row: false,
                ..derived(sql, alias, vec![("x".to_string(), Ty::Int)])
            };
        }
        self.derived_table("", Some(left.clone()), depth)
    }
}

fn derived(sql: Sql, alias: String, columns: Vec<(String, Ty)>) -> Item {
    Item {
        sql,
        alias,
        columns,
        denied: Vec::new(),
        whole_row: true,
        source: None,
        key: false,
        table: false,
    }
}

/// Names of columns that both items have.
fn shared(left: &Item, right: &Item) -> Vec<String> {
    let both = left.columns.iter().filter(|column| right.columns.contains(column));
    both.map(|(name, _)| name.clone())
        .filter(|name| !name.contains("::"))
        .collect()
}

/// The scope that FROM items make.
pub fn scope_of(items: &[Item], outer: Option<Rc<Scope>>) -> Scope {
    let mut scope = Scope::inside(outer);
    let mut count: HashMap<&String, usize> = HashMap::new();
    for item in items {
        for (name, _) in item.columns.iter().chain(&item.denied) {
            *count.entry(name).or_default() += 1;
        }
    }
    for item in items {
        for (name, ty) in &item.columns {
            // A name that is also a hidden column's is ambiguous to the parser before anybody can hide it; one like c1
            // could be an output column's.
            let bare = (item.table && count[name] == 1 && !name.contains("::")).then(|| name.clone());
            scope.refs.push(Ref {
                sql: format!("{}.{name}", item.alias),
                bare,
                ty: *ty,
                source: item
                    .source
                    .clone()
                    .filter(|_| !name.contains("::"))
                    .map(|source| (source, name.clone())),
            });
        }
        scope.denied.extend(
            item.denied
                .iter()
                .map(|(name, ty)| (format!("{}.{name}", item.alias), *ty)),
        );
        if item.whole_row {
            scope.rows.push((item.alias.clone(), item.denied.is_empty()));
        }
    }
    scope.keys = items
        .iter()
        .map(|item| item.key.then(|| format!("{}.id", item.alias)))
        .collect();
    scope
}
