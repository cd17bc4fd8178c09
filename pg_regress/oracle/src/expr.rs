//! Random expressions. They avoid what can raise an error, since no two plans evaluate in the same order: no division, no
//! casts from text, small numbers, numerics of one scale.

use std::rc::Rc;

use crate::dice::Dice;
use crate::fragment::Sql;
use crate::scope::{Gen, Scope};
use crate::sql;
use crate::types::Ty;

/// An expression of a type, which NULL can stand for.
fn of(ty: Ty, body: Sql) -> Sql {
    body.or(ty.name(), ty.null())
}

impl Gen<'_> {
    /// An expression of type `ty`.
    pub fn value(&mut self, ty: Ty, scope: &Rc<Scope>, depth: usize) -> Sql {
        if depth == 0 || self.dice.chance(40) {
            return self.leaf(ty, scope);
        }
        let depth = depth - 1;
        if self.dice.chance(30) {
            return self.generic(ty, scope, depth);
        }
        let body = match ty {
            Ty::Int => self.int(scope, depth),
            Ty::Text => self.text(scope, depth),
            Ty::Num => self.num(scope, depth),
            Ty::Date => self.date(scope, depth),
            Ty::Bool => sql!["(", self.condition(scope, depth), ")"],
            Ty::Json => self.json(scope, depth),
            Ty::Ints => self.ints(scope, depth),
            Ty::Texts => self.texts(scope, depth),
        };
        of(ty, body)
    }

    /// A column where there is one, else a literal.
    pub fn leaf(&mut self, ty: Ty, scope: &Scope) -> Sql {
        if self.dice.chance(82)
            && let Some(found) = self.reference(ty, scope)
        {
            return found.or(ty.name(), ty.null());
        }
        if self.dice.chance(4) {
            Sql::from(ty.null())
        } else {
            Sql::from(ty.literal(self.dice))
        }
    }

    /// Constructs that exist for every type.
    fn generic(&mut self, ty: Ty, scope: &Rc<Scope>, depth: usize) -> Sql {
        let body = match self.dice.weighted(&[4, 4, 2, 3, 2]) {
            0 => {
                let when = self.condition(scope, depth);
                sql![
                    "CASE WHEN ",
                    when,
                    " THEN ",
                    self.value(ty, scope, depth),
                    " ELSE ",
                    self.leaf(ty, scope),
                    " END"
                ]
            }
            1 => sql![
                "coalesce(",
                self.value(ty, scope, depth),
                ", ",
                self.leaf(ty, scope),
                ")"
            ],
            2 => sql!["nullif(", self.value(ty, scope, depth), ", ", self.leaf(ty, scope), ")"],
            3 if depth > 0 => return self.scalar_subquery(ty, scope, depth),
            _ if matches!(ty, Ty::Int | Ty::Text | Ty::Num | Ty::Date) => {
                let name = *self.dice.pick(&["greatest(", "least("]);
                sql![name, self.value(ty, scope, depth), ", ", self.leaf(ty, scope), ")"]
            }
            _ => return self.leaf(ty, scope),
        };
        of(ty, body)
    }

    fn int(&mut self, scope: &Rc<Scope>, depth: usize) -> Sql {
        let ty = Ty::Int;
        if !self.body
            && self.dice.chance(4)
            && let Some((name, (relation, column))) = self.column(ty, scope)
        {
            let number = self.dice.below(12);
            self.traits.divisions.push((relation, column, number));
            return sql![format!("(10 / ({name} - {number}))")];
        }
        match self.dice.below(8) {
            0 => sql!["(", self.value(ty, scope, depth), " + ", self.leaf(ty, scope), ")"],
            1 => sql!["(", self.value(ty, scope, depth), " - ", self.leaf(ty, scope), ")"],
            2 => sql!["(", self.leaf(ty, scope), " * ", self.dice.below(4).to_string(), ")"],
            3 => sql!["length(", self.value(Ty::Text, scope, depth), ")"],
            4 => sql!["abs(", self.value(ty, scope, depth), ") % 5"],
            5 => sql!["extract(day FROM ", self.value(Ty::Date, scope, depth), ")::integer"],
            6 => sql!["cardinality(", self.value(Ty::Ints, scope, depth), ")"],
            _ => sql!["(", self.leaf(Ty::Ints, scope), ")[1]"],
        }
    }

    fn text(&mut self, scope: &Rc<Scope>, depth: usize) -> Sql {
        let ty = Ty::Text;
        if !scope.rows.is_empty() && self.dice.chance(8) {
            return sql![self.row(scope), "::text"];
        }
        match self.dice.below(9) {
            0 => sql!["(", self.value(ty, scope, depth), " || ", self.leaf(ty, scope), ")"],
            1 => sql!["upper(", self.value(ty, scope, depth), ")"],
            2 => sql!["left(", self.value(ty, scope, depth), ", 2)"],
            3 => sql![
                "replace(",
                self.value(ty, scope, depth),
                ", 'a', ",
                self.leaf(ty, scope),
                ")"
            ],
            4 => sql![
                "concat(",
                self.leaf(ty, scope),
                ", '/', ",
                self.value(Ty::Int, scope, depth),
                ")"
            ],
            5 => sql!["(", self.value(Ty::Date, scope, depth), ")::text"],
            6 => sql!["(", self.leaf(Ty::Json, scope), " ->> 't')"],
            7 => sql!["array_to_string(", self.value(Ty::Texts, scope, depth), ", '-', '?')"],
            _ => sql!["md5(", self.value(ty, scope, depth), ")"],
        }
    }

    fn num(&mut self, scope: &Rc<Scope>, depth: usize) -> Sql {
        match self.dice.below(3) {
            0 => sql![
                "(",
                self.value(Ty::Num, scope, depth),
                " + ",
                self.leaf(Ty::Num, scope),
                ")"
            ],
            1 => sql!["(", self.value(Ty::Int, scope, depth), ")::numeric(20,2)"],
            _ => sql!["abs(", self.value(Ty::Num, scope, depth), ")"],
        }
    }

    fn date(&mut self, scope: &Rc<Scope>, depth: usize) -> Sql {
        sql![
            "(",
            self.value(Ty::Date, scope, depth),
            " + ",
            self.leaf(Ty::Int, scope),
            ")"
        ]
    }

    fn json(&mut self, scope: &Rc<Scope>, depth: usize) -> Sql {
        if !scope.rows.is_empty() && self.dice.chance(35) {
            let name = *self.dice.pick(&["to_jsonb(", "row_to_json("]);
            return sql![name, self.row(scope), ")::jsonb"];
        }
        match self.dice.below(3) {
            0 => sql![
                "jsonb_build_object('k', ",
                self.value(Ty::Int, scope, depth),
                ", 't', ",
                self.leaf(Ty::Text, scope),
                ")"
            ],
            1 => sql![
                "jsonb_build_array(",
                self.leaf(Ty::Int, scope),
                ", ",
                self.value(Ty::Text, scope, depth),
                ")"
            ],
            _ => sql!["to_jsonb(", self.value(Ty::Text, scope, depth), ")"],
        }
    }

    fn ints(&mut self, scope: &Rc<Scope>, depth: usize) -> Sql {
        match self.dice.below(3) {
            0 => sql![
                "ARRAY[",
                self.value(Ty::Int, scope, depth),
                ", ",
                self.leaf(Ty::Int, scope),
                "]"
            ],
            1 => sql![
                "array_append(",
                self.value(Ty::Ints, scope, depth),
                ", ",
                self.leaf(Ty::Int, scope),
                ")"
            ],
            _ => sql!["ARRAY(", self.subquery(&[Ty::Int], scope, depth), " ORDER BY 1)"],
        }
    }

    fn texts(&mut self, scope: &Rc<Scope>, depth: usize) -> Sql {
        match self.dice.below(3) {
            0 => sql![
                "ARRAY[",
                self.value(Ty::Text, scope, depth),
                ", ",
                self.leaf(Ty::Text, scope),
                "]"
            ],
            1 => sql!["string_to_array(", self.value(Ty::Text, scope, depth), ", 'a')"],
            _ => sql!["ARRAY(", self.subquery(&[Ty::Text], scope, depth), " ORDER BY 1)"],
        }
    }

    /// A subquery in parentheses that has one value: an aggregate, or the first row in an order of its own values.
    fn scalar_subquery(&mut self, ty: Ty, scope: &Rc<Scope>, depth: usize) -> Sql {
        if self.dice.chance(50) {
            return of(
                ty,
                sql!["(", self.subquery(&[ty], scope, depth), " ORDER BY 1 LIMIT 1)"],
            );
        }
        let (from, inner) = self.from(Some(scope.clone()), depth.min(1));
        let condition = self.where_clause(&inner, depth);
        of(
            ty,
            sql![
                "(SELECT ",
                self.aggregate(ty, &inner, 0),
                " FROM ",
                from,
                condition,
                ")"
            ],
        )
    }

    /// ` WHERE …`, sometimes nothing.
    pub fn where_clause(&mut self, scope: &Rc<Scope>, depth: usize) -> Sql {
        if self.dice.chance(25) {
            return Sql::none();
        }
        sql![" WHERE ", self.condition(scope, depth)].optional()
    }

    /// A boolean expression.
    pub fn condition(&mut self, scope: &Rc<Scope>, depth: usize) -> Sql {
        let body = if depth == 0 {
            self.comparison(scope, 0)
        } else {
            let depth = depth - 1;
            match self.dice.weighted(&[10, 4, 3, 2, 4, 4, 3, 2, 1]) {
                0 => self.comparison(scope, depth),
                1 => sql![
                    "(",
                    self.condition(scope, depth),
                    " AND ",
                    self.condition(scope, depth),
                    ")"
                ],
                2 => sql![
                    "(",
                    self.condition(scope, depth),
                    " OR ",
                    self.condition(scope, depth),
                    ")"
                ],
                3 => sql!["(NOT ", self.condition(scope, depth), ")"],
                4 => {
                    let not = *self.dice.pick(&["", "", "NOT "]);
                    sql![not, "EXISTS (", self.subquery(&[Ty::Int], scope, depth), ")"]
                }
                5 => {
                    let ty = Ty::scalar(self.dice);
                    let not = *self.dice.pick(&[" ", " ", " NOT "]);
                    sql![
                        self.value(ty, scope, depth),
                        not,
                        "IN (",
                        self.subquery(&[ty], scope, depth),
                        ")"
                    ]
                }
                6 => {
                    let ty = Ty::scalar(self.dice);
                    let operator = *self.dice.pick(&[" = ANY (", " <> ALL (", " < ANY (", " >= ALL ("]);
                    sql![
                        self.value(ty, scope, depth),
                        operator,
                        self.subquery(&[ty], scope, depth),
                        ")"
                    ]
                }
                7 => {
                    let (a, b) = (Ty::scalar(self.dice), Ty::scalar(self.dice));
                    let left = sql!["(", self.leaf(a, scope), ", ", self.leaf(b, scope), ")"];
                    sql![left, " IN (", self.subquery(&[a, b], scope, depth), ")"]
                }
                _ => {
                    let when = self.condition(scope, depth);
                    sql![
                        "CASE WHEN ",
                        when,
                        " THEN ",
                        self.condition(scope, depth),
                        " ELSE false END"
                    ]
                }
            }
        };
        body.or("boolean", "true")
    }

    fn comparison(&mut self, scope: &Rc<Scope>, depth: usize) -> Sql {
        if !self.body && self.dice.chance(4) {
            return self.telling(scope);
        }
        let ty = Ty::scalar(self.dice);
        let left = self.value(ty, scope, depth);
        match self.dice.below(14) {
            0..=4 => {
                let operator = *self.dice.pick(&[" = ", " <> ", " < ", " <= ", " > ", " >= ", " = "]);
                sql![left, operator, self.value(ty, scope, depth)]
            }
            5 => {
                let operator = *self.dice.pick(&[" IS DISTINCT FROM ", " IS NOT DISTINCT FROM "]);
                sql![left, operator, self.leaf(ty, scope)]
            }
            6 => sql![left, " BETWEEN ", self.leaf(ty, scope), " AND ", self.leaf(ty, scope)],
            7 => sql![
                left,
                " IN (",
                self.leaf(ty, scope),
                ", ",
                ty.literal(self.dice),
                ", ",
                ty.literal(self.dice),
                ")"
            ],
            8 => sql![left, *self.dice.pick(&[" IS NULL", " IS NOT NULL"])],
            9 | 10 => {
                let pattern = *self.dice.pick(&[
                    " LIKE 'a%'",
                    " ILIKE '%A%'",
                    " NOT LIKE '_at'",
                    " ~ '^[a-c]'",
                    " LIKE 'x\\%%'",
                ]);
                sql![self.value(Ty::Text, scope, depth), pattern]
            }
            11 => match self.dice.below(4) {
                0 => sql![
                    self.value(Ty::Int, scope, depth),
                    " = ANY (",
                    self.leaf(Ty::Ints, scope),
                    ")"
                ],
                1 => sql![self.leaf(Ty::Ints, scope), " && ", self.value(Ty::Ints, scope, depth)],
                2 => sql![self.leaf(Ty::Texts, scope), " @> ", self.leaf(Ty::Texts, scope)],
                _ => sql![self.leaf(Ty::Json, scope), " @> ", self.leaf(Ty::Json, scope)],
            },
            12 => {
                let other = Ty::scalar(self.dice);
                let right = sql!["(", self.leaf(ty, scope), ", ", self.leaf(other, scope), ")"];
                sql![
                    "(",
                    left,
                    ", ",
                    self.leaf(other, scope),
                    ") ",
                    *self.dice.pick(&["= ", "< "]),
                    right
                ]
            }
            _ => self.leaf(Ty::Bool, scope),
        }
    }

    /// A call that tells the client what it sees.
    fn telling(&mut self, scope: &Rc<Scope>) -> Sql {
        self.traits.tells = true;
        let (left, right) = (self.leaf(Ty::Text, scope), self.leaf(Ty::Text, scope));
        match self.dice.below(5) {
            0 => sql!["tell_volatile(", left, ")"],
            1 => sql!["tell_stable(", left, ")"],
            2 => sql!["tell_immutable(", left, ")"],
            3 => sql![left, " =?= ", right],
            _ => sql![left, " <?< ", right],
        }
    }

    /// An aggregate of type `ty` over the rows of `scope`; what it says does not depend on the order of rows.
    pub fn aggregate(&mut self, ty: Ty, scope: &Rc<Scope>, depth: usize) -> Sql {
        // An aggregate over outer columns alone would belong to the query around.
        let scope = &Rc::new(Scope {
            outer: None,
            ..(**scope).clone()
        });
        let distinct = if self.dice.chance(20) { "DISTINCT " } else { "" };
        let call = match ty {
            Ty::Int if self.dice.chance(60) => match self.dice.below(3) {
                0 if !scope.rows.is_empty() => sql!["count(", self.row(scope), ")"],
                1 => sql!["count(*)"],
                _ => {
                    let any = Ty::scalar(self.dice);
                    sql!["count(", distinct, self.value(any, scope, depth), ")"]
                }
            },
            Ty::Int => {
                let name = *self.dice.pick(&["sum(", "max(", "min("]);
                sql![name, distinct, self.value(ty, scope, depth), ")"]
            }
            Ty::Text if self.dice.chance(40) => {
                let value = self.value(ty, scope, depth);
                sql!["string_agg(", value.clone(), ", ',' ORDER BY ", value, ")"]
            }
            Ty::Num => {
                let name = *self.dice.pick(&["sum(", "max(", "min("]);
                sql![name, distinct, self.value(ty, scope, depth), ")"]
            }
            Ty::Text | Ty::Date if self.dice.chance(85) => {
                let name = *self.dice.pick(&["max(", "min("]);
                sql![name, self.value(ty, scope, depth), ")"]
            }
            Ty::Text | Ty::Date => {
                return sql![
                    "percentile_disc(0.5) WITHIN GROUP (ORDER BY ",
                    self.value(ty, scope, depth),
                    ")"
                ];
            }
            Ty::Bool => {
                let name = *self.dice.pick(&["bool_and(", "bool_or("]);
                sql![name, self.condition(scope, depth), ")"]
            }
            Ty::Json => {
                let value = self.value(Ty::Int, scope, depth);
                sql!["jsonb_agg(", value.clone(), " ORDER BY ", value, ")"]
            }
            Ty::Ints => {
                let value = self.value(Ty::Int, scope, depth);
                sql!["array_agg(", value.clone(), " ORDER BY ", value, ")"]
            }
            Ty::Texts => {
                let value = self.value(Ty::Text, scope, depth);
                sql!["array_agg(", value.clone(), " ORDER BY ", value, ")"]
            }
        };
        let filtered = if self.dice.chance(20) {
            sql![call, sql![" FILTER (WHERE ", self.condition(scope, 0), ")"].optional()]
        } else {
            call
        };
        match ty {
            Ty::Int => sql![filtered, "::integer"],
            _ => filtered,
        }
    }

    /// Types for an output list.
    pub fn wanted(dice: &mut Dice) -> Vec<Ty> {
        (0..dice.between(1, 4)).map(|_| Ty::any(dice)).collect()
    }
}
