//! SQL text with its joints: which parts may be left out and which may be replaced by something simpler, so that a query
//! that shows a mismatch can be shrunk without understanding SQL. A shrunk query may be wrong (a name without its FROM
//! item); then both sides refuse it and the shrinker tries the next one.

use std::fmt;

/// A piece of a statement.
#[derive(Debug, Clone)]
pub enum Sql {
    /// Plain text.
    Text(String),
    /// Pieces one after the other.
    Seq(Vec<Sql>),
    /// Pieces between separators; any of them may go as long as one remains.
    List(Vec<Sql>, &'static str),
    /// A piece that may be left out.
    Opt(Box<Sql>),
    /// A piece of some kind: `simple` can stand for it, and so can any piece of the same kind inside.
    Alt {
        /// Pieces of equal kind may replace each other.
        kind: &'static str,
        /// The piece.
        body: Box<Sql>,
        /// The simplest replacement.
        simple: String,
    },
}

/// The pieces in their order, each anything that turns into [`Sql`].
#[macro_export]
macro_rules! sql {
    ($($piece:expr),* $(,)?) => { $crate::fragment::Sql::Seq(vec![$($crate::fragment::Sql::from($piece)),*]) };
}

impl From<&str> for Sql {
    fn from(text: &str) -> Self {
        Sql::Text(text.to_string())
    }
}

impl From<String> for Sql {
    fn from(text: String) -> Self {
        Sql::Text(text)
    }
}

impl From<&String> for Sql {
    fn from(text: &String) -> Self {
        Sql::Text(text.clone())
    }
}

impl fmt::Display for Sql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sql::Text(text) => f.write_str(text),
            Sql::Seq(items) => items.iter().try_for_each(|item| item.fmt(f)),
            Sql::List(items, separator) => items.iter().enumerate().try_for_each(|(index, item)| {
                if index > 0 {
                    f.write_str(separator)?;
                }
                item.fmt(f)
            }),
            Sql::Opt(inner) => inner.fmt(f),
            Sql::Alt { body, .. } => body.fmt(f),
        }
    }
}

impl Sql {
    /// Nothing.
    pub fn none() -> Sql {
        Sql::Seq(Vec::new())
    }

    /// This piece, which may be left out.
    pub fn optional(self) -> Sql {
        Sql::Opt(Box::new(self))
    }

    /// This piece of a kind, with its simplest replacement.
    pub fn or(self, kind: &'static str, simple: impl Into<String>) -> Sql {
        Sql::Alt {
            kind,
            body: Box::new(self),
            simple: simple.into(),
        }
    }

    /// Every fragment that is one step simpler than this one.
    pub fn simpler(&self) -> Vec<Sql> {
        match self {
            Sql::Text(_) => Vec::new(),
            Sql::Seq(items) => replace_each(items).map(Sql::Seq).collect(),
            Sql::List(items, separator) => {
                let without = (0..items.len()).filter(|_| items.len() > 1).map(|index| {
                    let mut items = items.clone();
                    items.remove(index);
                    Sql::List(items, separator)
                });
                without
                    .chain(replace_each(items).map(|items| Sql::List(items, separator)))
                    .collect()
            }
            Sql::Opt(inner) => {
                let mut all = vec![Sql::none()];
                all.extend(inner.simpler().into_iter().map(Sql::optional));
                all
            }
            Sql::Alt { kind, body, simple } => {
                let mut all = vec![Sql::Text(simple.clone())];
                body.inside(kind, &mut all);
                all.extend(body.simpler().into_iter().map(|body| body.or(kind, simple.clone())));
                all
            }
        }
    }

    /// The outermost pieces of `wanted` kind inside this one.
    fn inside(&self, wanted: &str, found: &mut Vec<Sql>) {
        match self {
            Sql::Text(_) => {}
            Sql::Seq(items) | Sql::List(items, _) => items.iter().for_each(|item| item.inside(wanted, found)),
            Sql::Opt(inner) => inner.inside(wanted, found),
            Sql::Alt { kind, .. } if *kind == wanted => found.push(self.clone()),
            Sql::Alt { body, .. } => body.inside(wanted, found),
        }
    }
}

/// `items` with one of them made simpler, in every way.
fn replace_each(items: &[Sql]) -> impl Iterator<Item = Vec<Sql>> {
    items.iter().enumerate().flat_map(move |(index, item)| {
        item.simpler().into_iter().map(move |simpler| {
            let mut items = items.to_vec();
            items[index] = simpler;
            items
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_ends_at_the_smallest_text_that_still_matters() {
        let condition = sql![
            "(",
            Sql::from("a = 1").or("bool", "true"),
            " AND ",
            Sql::from("bad").or("bool", "true"),
            ")"
        ]
        .or("bool", "true");
        let list = Sql::List(vec!["x".into(), "y".into()], ", ");
        let mut query = sql!["SELECT ", list, " FROM t", sql![" WHERE ", condition].optional()];
        while let Some(next) = query.simpler().into_iter().find(|q| q.to_string().contains("bad")) {
            query = next;
        }
        assert_eq!(query.to_string(), "SELECT y FROM t WHERE bad");
    }
}
