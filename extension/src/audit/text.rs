//! Texts of SQL: cut where they are too long, and without literals where these may be secrets. Without anything of PostgreSQL's,
//! so that its unit tests can run (`pg_regress/crash`).

/// A text of at most so many bytes, with a remark about what is missing.
pub(super) fn cut(text: &str, size: usize) -> String {
    if text.len() <= size {
        return text.to_owned();
    }
    let end = (0..=size).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{} [{} bytes left out]", &text[..end], text.len() - end)
}

/// The command of a statement by its words: the first one, behind comments and parentheses, or the one that WITH is for.
pub(super) fn command(text: &str) -> String {
    let (mut at, mut depth, mut before) = (0, 0, String::new());
    while at < text.len() {
        let end = token_end(text, at);
        let token = &text[at..end];
        at = end;
        if is_comment(token) || token.starts_with(char::is_whitespace) || (token == "(" && before.is_empty()) {
            continue;
        }
        let word = token.to_uppercase();
        let names_query = ["WITH", "RECURSIVE", ","].contains(&before.as_str());
        match word.as_str() {
            "(" => depth += 1,
            ")" => depth -= 1,
            "SELECT" | "VALUES" | "TABLE" if depth == 0 && !names_query => return "SELECT".to_owned(),
            "INSERT" | "UPDATE" | "DELETE" | "MERGE" if depth == 0 && !names_query => return word,
            first if before.is_empty() && first != "WITH" => return word,
            _ => {}
        }
        before = word;
    }
    "SELECT".to_owned()
}

/// Puts a question mark in the place of each literal and comment.
pub(crate) fn redact(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = token_end(text, at);
        let token = &text[at..end];
        out.push_str(if is_secret(token) { "?" } else { token });
        at = end;
    }
    out
}

/// Puts a question mark in the place of what stands in quotation marks.
pub(super) fn redact_quoted(text: &str) -> String {
    let mut parts = text.split('"');
    let mut out = parts.next().unwrap_or_default().to_owned();
    // Up to the last mark: what is quoted may have some itself.
    if let Some(rest) = parts.next_back() {
        out.push_str("\"?\"");
        out.push_str(rest);
    }
    out
}

/// Whether a token is a literal or a comment.
fn is_secret(token: &str) -> bool {
    let first = token.as_bytes()[0];
    let second = token.as_bytes().get(1).copied().unwrap_or(0);
    first == b'\''
        || first.is_ascii_digit()
        || (first == b'.' && second.is_ascii_digit())
        || (first == b'$' && !second.is_ascii_digit() && token.len() > 1)
        || (second == b'\'' && b"eEbBxXnN".contains(&first))
        || (token.len() > 2 && second == b'&' && token.as_bytes()[2] == b'\'')
        || is_comment(token)
}

fn is_comment(token: &str) -> bool {
    token.starts_with("--") || token.starts_with("/*")
}

/// Where the token that begins at `at` ends.
fn token_end(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let next = |index: usize| bytes.get(index).copied().unwrap_or(0);
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80;
    let end = match bytes[at] {
        b'\'' => quoted(bytes, at + 1, b'\'', false),
        b'"' => quoted(bytes, at + 1, b'"', false),
        b'e' | b'E' if next(at + 1) == b'\'' => quoted(bytes, at + 2, b'\'', true),
        b'b' | b'B' | b'x' | b'X' | b'n' | b'N' if next(at + 1) == b'\'' => quoted(bytes, at + 2, b'\'', false),
        b'u' | b'U' if next(at + 1) == b'&' && next(at + 2) == b'\'' => quoted(bytes, at + 3, b'\'', false),
        b'u' | b'U' if next(at + 1) == b'&' && next(at + 2) == b'"' => quoted(bytes, at + 3, b'"', false),
        b'-' if next(at + 1) == b'-' => line_end(bytes, at),
        b'/' if next(at + 1) == b'*' => comment_end(bytes, at),
        b'$' => dollar_end(text, at),
        byte if byte.is_ascii_digit() || (byte == b'.' && next(at + 1).is_ascii_digit()) => number_end(bytes, at),
        byte if word(byte) => (at..bytes.len())
            .find(|index| !word(bytes[*index]))
            .unwrap_or(bytes.len()),
        _ => at + 1,
    };
    end.clamp(at + 1, bytes.len())
}

/// The end of a quoted token whose body begins at `at`.
fn quoted(bytes: &[u8], mut at: usize, quote: u8, escapes: bool) -> usize {
    let mut backslashes = 0;
    while at < bytes.len() {
        if escapes && bytes[at] == b'\\' {
            at += 2;
        } else if bytes[at] == quote {
            if quote == b'\'' && backslashes % 2 == 1 {
                // What that means, standard_conforming_strings has said when the statement was parsed.
                return bytes.len();
            }
            if bytes.get(at + 1) == Some(&quote) {
                at += 2;
            } else if let Some(further) = continued(bytes, at + 1).filter(|_| escapes) {
                at = further;
            } else {
                return at + 1;
            }
            backslashes = 0;
        } else {
            backslashes = if bytes[at] == b'\\' { backslashes + 1 } else { 0 };
            at += 1;
        }
    }
    bytes.len()
}

/// Where a literal that was closed before `at` goes on in another line, as SQL allows.
fn continued(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut lines = false;
    loop {
        match bytes.get(at)? {
            b'\'' if lines => return Some(at + 1),
            b'\n' | b'\r' => lines = true,
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                at = line_end(bytes, at);
                continue;
            }
            byte if byte.is_ascii_whitespace() || *byte == 0x0b => {}
            _ => return None,
        }
        at += 1;
    }
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    let end = bytes[at..].iter().position(|byte| *byte == b'\n' || *byte == b'\r');
    end.map_or(bytes.len(), |length| at + length)
}

fn comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// The end of a parameter or of a dollar-quoted string.
fn dollar_end(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let tag = (at + 1..bytes.len()).find(|index| {
        let byte = bytes[*index];
        !(byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80)
    });
    match tag {
        Some(end) if bytes[end] == b'$' && !bytes[at + 1].is_ascii_digit() => {
            let tag = &text[at..=end];
            text[end + 1..]
                .find(tag)
                .map_or(bytes.len(), |length| end + 1 + length + tag.len())
        }
        Some(end) => end,
        None => bytes.len(),
    }
}

fn number_end(bytes: &[u8], at: usize) -> usize {
    let mut end = at;
    while end < bytes.len() {
        let byte = bytes[end];
        let signed = (byte == b'+' || byte == b'-') && matches!(bytes[end - 1], b'e' | b'E') && end > at + 1;
        if !(byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_' || signed) {
            break;
        }
        end += 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_of_every_kind_are_left_out() {
        for (text, expected) in [
            (
                "select ssn from t where ssn = '12''3'",
                "select ssn from t where ssn = ?",
            ),
            ("select 1.5e-3, .5, 0x1F, t1 from t2", "select ?, ?, ?, t1 from t2"),
            (r"select E'a\'b', U&'x', b'01', x'ff', N'n'", "select ?, ?, ?, ?, ?"),
            ("select $tag$ it's $x$ $tag$, $$y$$, $1", "select ?, ?, $1"),
            (
                "select \"it's 1\" -- it's 2\nfrom t /* a /* '3' */ b */",
                "select \"it's 1\" ?\nfrom t ?",
            ),
            ("select 'unfinished", "select ?"),
            ("select é, 'ü' from tä where a=-5", "select é, ? from tä where a=-?"),
            ("select $", "select $"),
            (r"select 'a\', b, 'c'", "select ?"),
            (r"select 'a\\', b, 'c\''d'", "select ?, b, ?"),
            ("select E'a' -- b\n 'c\\'d' 'e', f", "select ? ?, f"),
            ("select E'a' 'b', E'c'\n, d", "select ? ?, ?\n, d"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn commands_are_found_behind_other_words() {
        for (text, expected) in [
            ("delete from t", "DELETE"),
            (" /* select */ -- select\n((table t))", "SELECT"),
            ("Explain select 1", "EXPLAIN"),
            (
                "with a as (select ')'), delete (update) as (select 1) update t",
                "UPDATE",
            ),
            ("(with recursive \"select\" as (select 1) select 1)", "SELECT"),
            ("", "SELECT"),
        ] {
            assert_eq!(command(text), expected);
        }
    }

    #[test]
    fn what_messages_quote_is_left_out() {
        for (text, expected) in [
            ("division by zero", "division by zero"),
            (
                "invalid input syntax for type integer: \"1x\"",
                "invalid input syntax for type integer: \"?\"",
            ),
            ("value \"a\"b\" is out of range", "value \"?\" is out of range"),
            ("\"a\" is not \"b\"", "\"?\""),
            ("an odd \" one", "an odd \"?\" one"),
        ] {
            assert_eq!(redact_quoted(text), expected);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc [1 bytes left out]");
        assert_eq!(cut("aéb", 2), "a [3 bytes left out]");
    }
}
