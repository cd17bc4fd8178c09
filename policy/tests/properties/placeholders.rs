//! The placeholder scanner on arbitrary text and on text whose parts are known.

use policy::placeholder::{Placeholder, scan};
use proptest::prelude::*;
use proptest::sample::select;

/// Pieces that mean something to PostgreSQL's lexer, in any order.
fn soup() -> impl Strategy<Value = String> {
    let pieces = vec![
        "'",
        "''",
        "E'",
        "e'",
        "U&'",
        "B'",
        "\\",
        "\\'",
        "\"",
        "$",
        "$$",
        "$a$",
        "$1",
        "$é$",
        "--",
        "/*",
        "*/",
        "/",
        "*",
        "\n",
        "\r",
        " ",
        "a",
        "E",
        "1",
        "é",
        "{",
        "}",
        "{{",
        "}}",
        "{user.a}",
        "{{user.b}}",
        "{user.",
        "user.",
        "=",
        "(",
        ")",
        "-",
    ];
    proptest::collection::vec(select(pieces), 0..16).prop_map(|pieces| pieces.concat())
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![soup(), any::<String>()]
}

/// A part of an expression of which it is known what it is.
#[derive(Debug, Clone)]
enum Part {
    Code(&'static str),
    Quoted(&'static str),
    Placeholder(&'static str, bool),
}

fn part() -> impl Strategy<Value = Part> {
    let code = vec![
        "a", "a$1", "a$x$", "1.5e3", "::text", "E", "U&a", "(b)", "'x'", "/ 2", "- 1", "\"it's\"", "$x$'$x$",
    ];
    let quoted = vec![
        "'{user.no}'",
        "'it''s {user.no}'",
        "'\\'",
        "E'\\'{user.no}'",
        "E'\\\\'",
        "e'a''\\'{user.no}'",
        "E'a'\n'\\'{user.no}'",
        "E'a' -- {user.no} '\n \t'\\'{user.no}'",
        "U&'\\0041{user.no}'",
        "$${user.no}'$$",
        "$a$ $b$ {user.no} $$ $a$",
        "\"{user.no}\"",
        "\"a\"\"{user.no}\"",
        "-- {user.no} '\n",
        "/* {user.no} ' /* \" */ {user.no} */",
        "/*/{user.no}*/*/",
    ];
    let key = select(vec!["a", "tenant", "Long_key_1"]);
    prop_oneof![
        select(code).prop_map(Part::Code),
        select(quoted).prop_map(Part::Quoted),
        (key, any::<bool>()).prop_map(|(key, doubled)| Part::Placeholder(key, doubled)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn any_text_is_scanned_without_harm(text in any_text()) {
        match scan(&text) {
            Err(fault) => prop_assert!(text.is_char_boundary(fault.offset) && fault.offset < text.len()),
            Ok(scan) => {
                prop_assert_eq!(scan.text.len(), text.len());
                let mut copied = 0;
                for Placeholder { key, param, offset } in &scan.placeholders {
                    prop_assert_eq!(&scan.text[copied..*offset], &text[copied..*offset]);
                    let source = [format!("{{{{user.{key}}}}}"), format!("{{user.{key}}}")];
                    let source = source.iter().find(|source| text[*offset..].starts_with(*source)).unwrap();
                    copied = offset + source.len();
                    let parameter = &scan.text[*offset..copied];
                    prop_assert_eq!(parameter.trim_end_matches(' '), format!("${param}"));
                    prop_assert!(parameter.ends_with(' '), "a parameter must not touch what follows");
                    prop_assert_eq!(scan.keys()[param - 1], key);
                }
                prop_assert_eq!(&scan.text[copied..], &text[copied..]);
                for warning in &scan.warnings {
                    let is_placeholder = text[warning.offset..].starts_with("{user.");
                    prop_assert!(is_placeholder);
                }
            }
        }
    }

    #[test]
    fn placeholders_are_found_in_code_and_nowhere_else(parts in proptest::collection::vec(part(), 0..12)) {
        let mut text = String::new();
        let mut expected: Vec<(usize, &str)> = Vec::new();
        for part in &parts {
            match part {
                Part::Code(source) | Part::Quoted(source) => text.push_str(source),
                Part::Placeholder(key, doubled) => {
                    expected.push((text.len(), key));
                    text.push_str(&if *doubled { format!("{{{{user.{key}}}}}") } else { format!("{{user.{key}}}") });
                }
            }
            // A comma keeps the parts apart: white space could make one literal out of two.
            text.push_str(" , ");
        }
        let scan = scan(&text).unwrap();
        let found: Vec<(usize, &str)> =
            scan.placeholders.iter().map(|placeholder| (placeholder.offset, placeholder.key.as_str())).collect();
        prop_assert_eq!(&found, &expected, "{}", text);
        let mut keys: Vec<&str> = Vec::new();
        for (placeholder, (_, key)) in scan.placeholders.iter().zip(expected) {
            if !keys.contains(&key) {
                keys.push(key);
            }
            prop_assert_eq!(keys[placeholder.param - 1], key);
        }
        prop_assert_eq!(scan.keys(), keys);
    }
}
