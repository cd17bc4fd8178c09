//! The column types that take part, their literals, and quoting.

use crate::dice::Dice;

/// A type as far as the generator is concerned; `varchar` columns count as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ty {
    /// `integer`
    Int,
    /// `text`, `varchar(n)`
    Text,
    /// `numeric`, always with two digits after the point, so that equal values look equal
    Num,
    /// `date`
    Date,
    /// `boolean`
    Bool,
    /// `jsonb`, in stored rows always `{"k": integer, "t": text}` or parts of it
    Json,
    /// `integer[]`
    Ints,
    /// `text[]`
    Texts,
}

/// Every type.
pub const TYPES: [Ty; 8] = [
    Ty::Int,
    Ty::Text,
    Ty::Num,
    Ty::Date,
    Ty::Bool,
    Ty::Json,
    Ty::Ints,
    Ty::Texts,
];

/// Words of stored rows and of queries; few, so that they meet.
pub const WORDS: [&str; 9] = ["ant", "bee", "cat", "dog", "eel", "ant hill", "Cat", "", "x%y"];

/// Tenants: the values of `org`.
pub const TENANTS: [&str; 3] = ["acme", "globex", "stark"];

impl Ty {
    /// The type's name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Ty::Int => "integer",
            Ty::Text => "text",
            Ty::Num => "numeric",
            Ty::Date => "date",
            Ty::Bool => "boolean",
            Ty::Json => "jsonb",
            Ty::Ints => "integer[]",
            Ty::Texts => "text[]",
        }
    }

    /// A short name for columns that are made up.
    pub fn initial(self) -> &'static str {
        match self {
            Ty::Int => "i",
            Ty::Text => "t",
            Ty::Num => "n",
            Ty::Date => "d",
            Ty::Bool => "b",
            Ty::Json => "j",
            Ty::Ints => "is",
            Ty::Texts => "ts",
        }
    }

    /// A typed NULL.
    pub fn null(self) -> String {
        format!("NULL::{}", self.name())
    }

    /// A literal that needs no context to have this type.
    pub fn literal(self, dice: &mut Dice) -> String {
        match self {
            Ty::Int => dice.below(10).to_string(),
            Ty::Text => format!("{}::text", quote(dice.pick(&WORDS))),
            Ty::Num => format!("{}.{:02}", dice.below(12), dice.pick(&[0, 25, 50, 99])),
            Ty::Date => format!("DATE '2024-{:02}-{:02}'", dice.between(1, 3), dice.between(1, 28)),
            Ty::Bool => dice.pick(&["true", "false"]).to_string(),
            Ty::Json => {
                format!(
                    "'{{\"k\": {}, \"t\": \"{}\"}}'::jsonb",
                    dice.below(6),
                    dice.pick(&["ant", "bee", "cat"])
                )
            }
            Ty::Ints => format!("'{{{},{}}}'::integer[]", dice.below(5), dice.below(5)),
            Ty::Texts => format!("'{{{},bee}}'::text[]", dice.pick(&["ant", "cat", "NULL"])),
        }
    }

    /// A type that has an order everybody agrees on and that is common in stored rows.
    pub fn scalar(dice: &mut Dice) -> Ty {
        [Ty::Int, Ty::Text, Ty::Num, Ty::Date, Ty::Bool][dice.weighted(&[5, 5, 2, 2, 1])]
    }

    /// Any type.
    pub fn any(dice: &mut Dice) -> Ty {
        TYPES[dice.weighted(&[6, 6, 2, 2, 2, 1, 1, 1])]
    }
}

/// `text` as an SQL string literal.
pub fn quote(text: impl AsRef<str>) -> String {
    format!("'{}'", text.as_ref().replace('\'', "''"))
}

/// `name` as an SQL identifier, quoted where it has to be.
pub fn ident(name: &str) -> String {
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if plain {
        name.to_string()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// `names` as identifiers between commas.
pub fn idents<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(|name| ident(name)).collect::<Vec<_>>().join(", ")
}
