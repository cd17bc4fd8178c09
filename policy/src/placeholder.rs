//! Placeholders in policy expressions: `{user.key}` (or `{{user.key}}`) becomes a query parameter `$n`.
//!
//! Invariant: an attribute's value never becomes part of the text. What comes out has the length of what went in, so
//! that the positions in PostgreSQL's error messages still point into what the administrator wrote.
//!
//! The scanner knows just enough of PostgreSQL's lexer (`scan.l`) to tell code from literals, quoted identifiers and
//! comments. It takes `standard_conforming_strings` to be on; whoever parses the result has to see to that.

mod lexer;

use crate::attribute::is_key;
use lexer::{Lexer, Token};
use std::collections::HashMap;
use std::fmt;

/// An expression with its placeholders replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The expression with `$n` padded with spaces in place of each placeholder.
    pub text: String,
    /// Every placeholder, in the order of the text.
    pub placeholders: Vec<Placeholder>,
    /// What is probably not meant: placeholders inside string literals stay as they are.
    pub warnings: Vec<Fault>,
}

impl Scan {
    /// The distinct keys; the one at index `i` belongs to the parameter `$(i + 1)`.
    pub fn keys(&self) -> Vec<&str> {
        let mut keys = Vec::new();
        for placeholder in &self.placeholders {
            // Parameters are numbered in the order in which their keys first occur.
            if placeholder.param == keys.len() + 1 {
                keys.push(placeholder.key.as_str());
            }
        }
        keys
    }
}

/// One use of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    /// The attribute's key.
    pub key: String,
    /// The number of its parameter, from 1; the same key has the same number.
    pub param: usize,
    /// Where it starts, in bytes.
    pub offset: usize,
}

/// Something wrong or doubtful at a place of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, in bytes.
    pub offset: usize,
    /// What.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.message, self.offset)
    }
}

impl std::error::Error for Fault {}

/// Replaces the placeholders of an expression.
///
/// Refuses what cannot be meant: braces outside quotes that are no placeholder, parameters written by the user, NUL
/// characters, and placeholders that touch a name or a number. Anything else that is wrong, e.g. a literal without end,
/// is left for PostgreSQL to refuse.
pub fn scan(text: &str) -> Result<Scan, Fault> {
    if let Some(offset) = text.find('\0') {
        return Err(fault(offset, "NUL character in expression"));
    }
    let mut found = Scan {
        text: String::with_capacity(text.len()),
        placeholders: Vec::new(),
        warnings: Vec::new(),
    };
    let mut params: HashMap<&str, usize> = HashMap::new();
    for (token, start, end) in Lexer::new(text) {
        let source = &text[start..end];
        match token {
            Token::Parameter => {
                return Err(fault(
                    start,
                    format!("parameter {source} is not possible in a policy expression"),
                ));
            }
            Token::OpenBrace(None) => {
                return Err(fault(start, "malformed placeholder, expected {user.key}"));
            }
            Token::CloseBrace => return Err(fault(start, "closing brace without a placeholder")),
            Token::OpenBrace(Some(key)) => {
                // A dollar sign before it counts, too: `$` and `$1` would begin a dollar-quoted literal.
                let neighbours = [text[..start].bytes().next_back(), text[end..].bytes().next()];
                if neighbours.into_iter().flatten().any(lexer::continues_word) {
                    return Err(fault(
                        start,
                        format!("placeholder {source} must not touch a name or a number"),
                    ));
                }
                let next = params.len() + 1;
                let param = *params.entry(key).or_insert(next);
                found.placeholders.push(Placeholder {
                    key: key.to_owned(),
                    param,
                    offset: start,
                });
                found
                    .text
                    .push_str(&format!("{:<width$}", format!("${param}"), width = source.len()));
            }
            Token::Literal => {
                found.warnings.extend(in_literal(source, start));
                found.text.push_str(source);
            }
            Token::Other => found.text.push_str(source),
        }
    }
    Ok(found)
}

/// A warning for each placeholder inside a literal that starts at `start`.
fn in_literal(literal: &str, start: usize) -> impl Iterator<Item = Fault> {
    literal.match_indices("{user.").filter_map(move |(offset, _)| {
        let (key, _) = placeholder_at(&literal[offset..])?;
        let message = format!("{{user.{key}}} inside a string literal is not replaced");
        Some(fault(start + offset, message))
    })
}

/// The key of the placeholder that `text` starts with, and the placeholder's length in bytes.
fn placeholder_at(text: &str) -> Option<(&str, usize)> {
    let (opening, closing) = if text.starts_with("{{") {
        ("{{user.", "}}")
    } else {
        ("{user.", "}")
    };
    let rest = text.strip_prefix(opening)?;
    let key = &rest[..rest.find('}')?];
    let end = opening.len() + key.len() + closing.len();
    (is_key(key) && rest[key.len()..].starts_with(closing)).then_some((key, end))
}

fn fault(offset: usize, message: impl Into<String>) -> Fault {
    Fault {
        offset,
        message: message.into(),
    }
}

#[cfg(test)]
mod tests;
