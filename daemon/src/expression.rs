//! Expressions of policies, looked at with PostgreSQL's own parser and without any database: whether they can be parsed,
//! and where not. Tables, columns and types are known only to the database that a policy is assigned in, and so is what
//! this parser takes and that server's does not: it is of PostgreSQL 18, and lets parameters stand in some more places.

use policy::placeholder::{self, Fault, Scan};

/// What an expression is put into to be parsed. Two, so that what closes the one and opens another is no expression: a
/// list and a subquery without parentheses end the second, an unmatched parenthesis fits only the first.
const FRAMES: [(&str, &str); 2] = [("select (", "\n)"), ("select case when ", "\nthen 1 end")];

/// Parses an expression with placeholders.
pub fn parse(text: &str) -> Result<Scan, Fault> {
    if text.trim().is_empty() {
        return Err(fault(0, "must not be empty"));
    }
    let scan = placeholder::scan(text)?;
    for frame in FRAMES {
        if let Some(error) = error_of(&framed(frame, &scan.text)) {
            return Err(located(text, &scan, frame, &error));
        }
    }
    Ok(scan)
}

fn framed((before, after): (&str, &str), text: &str) -> String {
    format!("{before}{text}{after}")
}

/// What the parser says of a statement. The kind of the statement is what costs least to ask for.
fn error_of(statement: &str) -> Option<String> {
    match pg_query::is_utility_stmt(statement) {
        Ok(_) => None,
        Err(pg_query::Error::IsUtility(message) | pg_query::Error::Parse(message)) => Some(message),
        Err(other) => Some(other.to_string()),
    }
}

/// An error with its place, which the parser's message tells only by the text that is there.
fn located(text: &str, scan: &Scan, frame: (&str, &str), error: &str) -> Fault {
    let end = text.trim_end().len();
    let Some((what, near)) = error
        .strip_suffix('"')
        .and_then(|error| error.split_once(" at or near \""))
    else {
        return fault(end, error.replace("at end of input", "at end of expression"));
    };
    let statement = framed(frame, &scan.text);
    // A literal or a comment without end goes as far as the statement does.
    if let Some(begin) = near
        .ends_with(frame.1)
        .then(|| statement.len() - near.len() - frame.0.len())
    {
        return fault(begin, what);
    }
    // A statement that ends before the place is just not complete, one that ends with it is wrong in the same way.
    let is_place = |token: &pg_query::protobuf::ScanToken| {
        let upto = &scan.text[..token.end as usize];
        scan.text.get(token.start as usize..token.end as usize) == Some(near)
            && error_of(&format!("{}{upto}", frame.0)).as_deref() == Some(error)
    };
    let tokens = pg_query::scan_tokens(&scan.text).unwrap_or_default();
    let Some(token) = tokens.iter().find(|token| is_place(token)) else {
        return fault(end, format!("{what} at end of expression"));
    };
    let offset = token.start as usize;
    let shown = match scan.placeholders.iter().find(|found| found.offset == offset) {
        Some(placeholder) => format!("{{user.{}}}", placeholder.key),
        None => near.to_owned(),
    };
    fault(offset, format!("{what} at or near \"{shown}\""))
}

fn fault(offset: usize, message: impl Into<String>) -> Fault {
    Fault {
        offset,
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_parsed_as_postgresql_does() {
        for good in [
            "org = {user.tenant}",
            "(a) + (b)",
            "exists (select from t where t.id = id) -- a note",
            "case when x then 1 end is null",
            "regexp_replace(email, '^[^@]*', '…') || $$)$$",
            "/* ( */ a && {user.tags}",
            "(select max(id) from t) > id",
        ] {
            assert_eq!(parse(good).map(|_| ()), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (bad, offset, message) in [
            ("", 0, "must not be empty"),
            ("  \n ", 0, "must not be empty"),
            ("a = = 'x' or b = = 'x'", 4, "syntax error at or near \"=\""),
            ("a = = b", 4, "syntax error at or near \"=\""),
            ("b = 1 or b b", 11, "syntax error at or near \"b\""),
            ("org = ", 5, "syntax error at end of expression"),
            ("(org = 1", 8, "syntax error at end of expression"),
            ("a) or (b", 1, "syntax error at or near \")\""),
            ("a, b", 1, "syntax error at or near \",\""),
            ("select 1", 0, "syntax error at or near \"select\""),
            ("1 then 2 when 3", 2, "syntax error at or near \"then\""),
            ("true; drop table t", 4, "syntax error at or near \";\""),
            ("true) ; select (1", 4, "syntax error at or near \")\""),
            ("x from t", 2, "syntax error at or near \"from\""),
            ("ä = 'x", 5, "unterminated quoted string"),
            ("a /* b", 2, "unterminated /* comment"),
            ("a = {tenant}", 4, "malformed placeholder, expected {user.key}"),
        ] {
            let found = parse(bad).unwrap_err();
            assert_eq!((found.offset, found.message.as_str()), (offset, message), "{bad}");
        }
    }

    /// The parser has a stack of its own, and says when it is full.
    #[test]
    fn depth_is_no_danger() {
        for depth in [1_000, 30_000] {
            let text = format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
            let _ = parse(&text);
            let _ = parse(&"not ".repeat(depth));
            let _ = parse(&format!("a{}", " || a".repeat(depth)));
        }
        assert_eq!(parse(&format!("a{}", " || a".repeat(500))).map(|_| ()), Ok(()));
    }
}
