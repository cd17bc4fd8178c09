//! What a query may name at a place: the generator's state while it writes one statement.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::dice::Dice;
use crate::fragment::Sql;
use crate::types::Ty;

/// What can be done with a relation beside reading its columns.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Abilities {
    /// Rows can be locked, and whole rows read.
    pub table: bool,
    /// `ONLY` and `tableoid` mean the same on both sides.
    pub only: bool,
    /// `id` is visible, unmasked and unique.
    pub key: bool,
    /// Whole-row references show the same columns on both sides.
    pub whole_row: bool,
    /// It is a function call.
    pub function: bool,
}

/// A relation as the subject sees it.
#[derive(Debug, Clone)]
pub struct Rel {
    /// How a query writes it.
    pub sql: String,
    /// Its name in the catalog.
    pub name: String,
    /// Its visible columns in order, names ready for SQL.
    pub columns: Vec<(String, Ty)>,
    /// Columns that do not exist for the subject.
    pub denied: Vec<(String, Ty)>,
    /// It does not exist for the subject.
    pub hidden: bool,
    /// Inside it a table is read that the subject must not read: 42501.
    pub refused: bool,
    /// What else can be done with it.
    pub can: Abilities,
}

/// A value that can be named.
#[derive(Debug, Clone)]
pub struct Ref {
    /// How to name it from anywhere inside.
    pub sql: String,
    /// How to name it in its own query, where that is unambiguous.
    pub bare: Option<String>,
    /// Its type.
    pub ty: Ty,
    /// The relation and the column it is read from, where it is a relation's column.
    pub source: Option<(String, String)>,
}

/// The names of one query level.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Values.
    pub refs: Vec<Ref>,
    /// Aliases whose whole row can be named, and whether that has all columns of the relation: if not, it only has none
    /// but visible ones at level 0.
    pub rows: Vec<(String, bool)>,
    /// Columns of the level's relations that do not exist for the subject, qualified.
    pub denied: Vec<(String, Ty)>,
    /// `alias.id` of each FROM item, where that identifies its row.
    pub keys: Option<Vec<String>>,
    /// The query around.
    pub outer: Option<Rc<Scope>>,
}

impl Scope {
    /// An empty level inside `outer`.
    pub fn inside(outer: Option<Rc<Scope>>) -> Scope {
        Scope {
            outer,
            ..Scope::default()
        }
    }

    /// The values of a type, own ones or those of some level around.
    pub fn of(&self, ty: Ty) -> Vec<&Ref> {
        self.refs.iter().filter(|r| r.ty == ty).collect()
    }
}

/// What a statement used that decides how it can be run.
#[derive(Debug, Clone, Default)]
pub struct Traits {
    /// Names whose meaning differs below level 0: stars, NATURAL, names of hidden things, TABLE.
    pub top_only: bool,
    /// How often it named something that does not exist for the subject.
    pub hidden: usize,
    /// It read a view or function that refuses.
    pub refused: bool,
    /// Divisions it makes: by a column of a relation less a number.
    pub divisions: Vec<(String, String, usize)>,
    /// It calls functions that tell what they see.
    pub tells: bool,
    /// A row with hidden columns goes to the client: only where nothing depends on its type does it have none but visible
    /// ones.
    pub simple_only: bool,
    /// It named whole rows.
    pub rows: bool,
    /// It takes row locks.
    pub locks: bool,
    /// Names of the relations it read.
    pub reads: BTreeSet<String>,
}

/// The generator of one statement.
pub struct Gen<'a> {
    /// Choices.
    pub dice: &'a mut Dice,
    /// What can be read.
    pub rels: &'a [Rel],
    /// CTEs in scope: name and columns.
    pub ctes: Vec<(String, Vec<(String, Ty)>)>,
    /// What was used so far.
    pub traits: Traits,
    /// How many aliases were handed out.
    pub aliases: usize,
    /// Tables that stand in the statement under their own name.
    pub plain_names: Vec<String>,
    /// In how many per mille of the names a hidden one is taken.
    pub wrong: usize,
    /// Whether only immutable things and no level-0-only names may be used (bodies of views and functions).
    pub body: bool,
    /// The server's major version, for what older ones do not have.
    pub major: u32,
}

impl<'a> Gen<'a> {
    /// A generator over `rels`.
    pub fn new(dice: &'a mut Dice, rels: &'a [Rel]) -> Self {
        Gen {
            dice,
            rels,
            ctes: Vec::new(),
            traits: Traits::default(),
            aliases: 0,
            plain_names: Vec::new(),
            wrong: 12,
            body: false,
            major: 15,
        }
    }

    /// The same for a server of this major version.
    pub fn on(self, major: u32) -> Self {
        Gen { major, ..self }
    }

    /// A new name.
    pub fn alias(&mut self, prefix: &str) -> String {
        self.aliases += 1;
        format!("{prefix}{}", self.aliases)
    }

    /// A relation to read, mostly one that exists.
    pub fn rel(&mut self) -> Option<&'a Rel> {
        let wrong = !self.body && self.dice.below(1000) < self.wrong;
        let fits = |rel: &&Rel| rel.hidden == wrong && (!rel.refused || wrong);
        let mut rels: Vec<&Rel> = self.rels.iter().filter(fits).collect();
        if rels.is_empty() {
            rels = self.rels.iter().filter(|rel| !rel.hidden && !rel.refused).collect();
        }
        if rels.is_empty() {
            return None;
        }
        let rel = *self.dice.pick(&rels);
        self.used(rel);
        Some(rel)
    }

    /// Notes that `rel` is read.
    pub fn used(&mut self, rel: &Rel) {
        self.traits.reads.insert(rel.name.clone());
        if rel.hidden {
            self.traits.hidden += 1;
            self.traits.top_only = true;
        }
        self.traits.refused |= rel.refused;
    }

    /// A value of type `ty` that can be named, mostly of the innermost level.
    pub fn reference(&mut self, ty: Ty, scope: &Scope) -> Option<Sql> {
        // Of the right type, since errors of analysis come before anybody can hide the column.
        let denied: Vec<_> = scope.denied.iter().filter(|(_, other)| *other == ty).collect();
        if !self.body && !denied.is_empty() && self.dice.below(1000) < self.wrong {
            self.traits.hidden += 1;
            self.traits.top_only = true;
            return Some(Sql::from(&self.dice.pick(&denied).0));
        }
        if !self.body && self.dice.below(1000) < self.wrong / 4 {
            return self.misspelt(scope);
        }
        let own = scope.of(ty);
        if let Some(outer) = &scope.outer
            && (own.is_empty() || self.dice.chance(20))
            && let Some(found) = self.outer_reference(ty, outer)
        {
            return Some(found);
        }
        if own.is_empty() {
            return None;
        }
        let found = *self.dice.pick(&own);
        Some(match (&found.bare, &found.source) {
            (Some(bare), _) if self.dice.chance(30) => Sql::from(bare),
            (_, Some((_, column))) if !self.body && self.dice.chance(3) => {
                let alias = found.sql.strip_suffix(&format!(".{column}")).unwrap_or_default();
                match scope.rows.iter().any(|(row, _)| row == alias) {
                    true => Sql::from(format!("({alias}).{column}")),
                    false => Sql::from(&found.sql),
                }
            }
            _ => Sql::from(&found.sql),
        })
    }

    /// A name that nobody has, though it looks like one that exists or is hidden: the error must not tell.
    fn misspelt(&mut self, scope: &Scope) -> Option<Sql> {
        let hidden = scope.denied.iter().map(|(name, _)| name);
        let names: Vec<&String> = hidden
            .chain(scope.refs.iter().filter(|r| r.source.is_some()).map(|r| &r.sql))
            .collect();
        let plain: Vec<&String> = names.into_iter().filter(|name| !name.contains(['"', ':'])).collect();
        if plain.is_empty() {
            return None;
        }
        self.traits.hidden += 1;
        self.traits.top_only = true;
        Some(Sql::from(format!("{}x", self.dice.pick(&plain))))
    }

    /// A column of one of the level's relations, with its place in the catalog.
    pub fn column(&mut self, ty: Ty, scope: &Scope) -> Option<(String, (String, String))> {
        let own: Vec<_> = scope
            .of(ty)
            .into_iter()
            .filter_map(|r| Some((r.sql.clone(), r.source.clone()?)))
            .collect();
        if own.is_empty() {
            None
        } else {
            Some(self.dice.pick(&own).clone())
        }
    }

    /// A whole row of the level.
    pub fn row(&mut self, scope: &Scope) -> Sql {
        let (alias, complete) = self.dice.pick(&scope.rows).clone();
        self.traits.rows = true;
        self.traits.top_only |= !complete;
        Sql::from(alias)
    }

    fn outer_reference(&mut self, ty: Ty, scope: &Rc<Scope>) -> Option<Sql> {
        let own = scope.of(ty);
        match &scope.outer {
            Some(outer) if own.is_empty() || self.dice.chance(20) => {
                let outer = outer.clone();
                self.outer_reference(ty, &outer)
            }
            _ if own.is_empty() => None,
            _ => Some(Sql::from(&self.dice.pick(&own).sql)),
        }
    }
}
