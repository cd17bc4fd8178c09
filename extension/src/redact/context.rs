//! Context lines that name hidden tables: the queries of foreign keys that cascade into them.

use pgrx::pg_sys::{self, ErrorData, Oid};

use crate::catalog::Session;
use crate::catalog::governance::State;
use crate::pg::{nodes, scan};

/// Removes the context lines about statements on hidden tables; returns whether there were any.
///
/// # Safety
/// `error` is a copy that may be modified.
pub(super) unsafe fn clean(session: &Session, error: *mut ErrorData) -> bool {
    if (*error).context.is_null() {
        return false;
    }
    let context = nodes::string((*error).context);
    let kept: Vec<&str> = context.lines().filter(|line| !names_hidden(session, line)).collect();
    if kept.len() == context.lines().count() {
        return false;
    }
    (*error).context = if kept.is_empty() {
        std::ptr::null_mut()
    } else {
        nodes::pstr(&kept.join("\n"))
    };
    true
}

/// Whether a line contains `ONLY "schema"."table"`, as the queries of `ri_triggers.c` write it, of a hidden table.
fn names_hidden(session: &Session, line: &str) -> bool {
    line.match_indices("ONLY \"").any(|(at, _)| {
        let rest = &line[at + "ONLY ".len()..];
        quoted(rest)
            .and_then(|(schema, rest)| Some((schema, quoted(rest.strip_prefix('.')?)?.0)))
            .and_then(|(schema, table)| find(&schema, &table))
            .is_some_and(|relid| {
                let governance = session.governance(relid);
                governance.state != State::Open && !governance.exists(false)
            })
    })
}

/// A quoted identifier at the beginning of a text, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let body = text.strip_prefix('"')?;
    let mut name = String::new();
    let mut characters = body.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character != '"' {
            name.push(character);
        } else if characters.next_if(|(_, next)| *next == '"').is_some() {
            name.push('"');
        } else {
            return Some((name, &body[at + 1..]));
        }
    }
    None
}

fn find(schema: &str, table: &str) -> Option<Oid> {
    // SAFETY: a syscache lookup with a NUL-terminated name.
    let namespace = unsafe { pg_sys::get_namespace_oid(nodes::pstr(schema), true) };
    (namespace != Oid::INVALID).then(|| scan::relation(namespace, table))?
}
