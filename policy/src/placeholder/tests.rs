use super::*;

fn replaced(text: &str) -> String {
    let scan = scan(text).unwrap();
    assert_eq!(scan.text.len(), text.len(), "{text}");
    scan.text
}

/// That the text has no placeholder outside quotes, with the offsets that are warned about.
fn untouched(text: &str, warned: &[usize]) {
    let scan = scan(text).unwrap();
    assert_eq!(scan.text, text);
    assert_eq!(scan.placeholders, []);
    assert_eq!(
        scan.warnings.iter().map(|fault| fault.offset).collect::<Vec<_>>(),
        warned,
        "{text}"
    );
}

#[test]
fn placeholders_become_padded_parameters() {
    let scan = scan("org={user.tenant} AND x IN ({{user.ids}}) OR y = {user.tenant}").unwrap();
    assert_eq!(
        scan.text,
        "org=$1            AND x IN ($2          ) OR y = $1           "
    );
    let placeholder = |key: &str, param, offset| Placeholder {
        key: key.into(),
        param,
        offset,
    };
    assert_eq!(
        scan.placeholders,
        [
            placeholder("tenant", 1, 4),
            placeholder("ids", 2, 28),
            placeholder("tenant", 1, 49)
        ]
    );
    assert_eq!(scan.keys(), ["tenant", "ids"]);
    assert_eq!(scan.warnings, []);
}

#[test]
fn parameters_are_numbered_by_key_without_gaps() {
    let scan = scan("{user.a} {user.a} {user.b} {user.a} {user.c}").unwrap();
    assert_eq!(
        scan.placeholders
            .iter()
            .map(|placeholder| placeholder.param)
            .collect::<Vec<_>>(),
        [1, 1, 2, 1, 3]
    );
    assert_eq!(scan.keys(), ["a", "b", "c"]);
}

#[test]
fn operators_may_touch_a_placeholder() {
    assert_eq!(replaced("-{user.a}"), "-$1      ");
    assert_eq!(replaced("({user.a}::text)"), "($1      ::text)");
    assert_eq!(replaced("a||{user.a}||b"), "a||$1      ||b");
    assert_eq!(replaced("'é'||{user.a}"), "'é'||$1      ");
}

#[test]
fn what_is_quoted_or_a_comment_stays() {
    untouched("'{user.a}'", &[1]);
    untouched("'{{user.a}}'", &[2]);
    untouched("'it''s {user.a}'", &[7]);
    untouched("E'\\'{user.a}'", &[4]);
    untouched("e'''{user.a}\\\\'", &[4]);
    untouched("E'a'\n  -- x'\n '\\'{user.a}'", &[17]);
    untouched("U&'{user.a}'", &[3]);
    untouched("B'0' X'0' N'{user.a}'", &[12]);
    untouched("$$ ' {user.a} $$", &[5]);
    untouched("$t$ $$ {user.a} $t$", &[7]);
    untouched("$é$ {user.a} $é$", &[5]);
    untouched("'{a} {user.} {user.a b} {user.1}'", &[]);
    untouched("\"{user.a}\"\"{user.a}\"", &[]);
    untouched("U&\"{user.a}\"", &[]);
    untouched("1 -- {user.a}", &[]);
    untouched("1 /* {user.a} /* ' */ {user.a} */", &[]);
    untouched("a$1 + b$x$ + c$x$", &[]);
    untouched("'{user.a}", &[1]);
    untouched("1 /* {user.a} /* */", &[]);
}

#[test]
fn what_follows_a_quoted_part_is_code_again() {
    assert_eq!(replaced("'\\'={user.a}"), "'\\'=$1      ");
    assert_eq!(replaced("fooE'\\'={user.a}"), "fooE'\\'=$1      ");
    assert_eq!(replaced("E'\\\\'={user.a}"), "E'\\\\'=$1      ");
    assert_eq!(replaced("E'a' 'b\\'={user.a}"), "E'a' 'b\\'=$1      ");
    assert_eq!(replaced("\"a'\"={user.a}"), "\"a'\"=$1      ");
    assert_eq!(replaced("$a$ $b$ $a$={user.a}"), "$a$ $b$ $a$=$1      ");
    assert_eq!(replaced("a$x$={user.a}"), "a$x$=$1      ");
    assert_eq!(replaced("1--x\r={user.a}"), "1--x\r=$1      ");
    assert_eq!(replaced("1/*/*/**/*/*/={user.a}"), "1/*/*/**/*/*/=$1      ");
    assert_eq!(replaced("1*/**/{user.a}"), "1*/**/$1      ");
}

#[test]
fn what_cannot_be_meant_is_refused_where_it_is() {
    for (text, offset) in [
        ("a = {user.}", 4),
        ("a = {tenant}", 4),
        ("a = { user.a }", 4),
        ("a = {User.a}", 4),
        ("a = {user.a-b}", 4),
        ("a = {user.a", 4),
        ("a = {{user.a}", 4),
        ("a = {user.a}}", 12),
        ("a = {{{user.a}}}", 4),
        ("a = }", 4),
        ("a = $1", 4),
        ("a = 1$2", 5),
        ("x{user.a}", 1),
        ("x_{user.a}", 2),
        ("a$b${user.a}", 4),
        ("1{user.a}", 1),
        ("E{user.a}", 1),
        ("é{user.a}", 2),
        ("{user.a}x", 0),
        ("{user.a}1", 0),
        ("{user.a}$1", 0),
        ("{user.a}é", 0),
        ("a\0b", 1),
    ] {
        assert_eq!(scan(text).map_err(|fault| fault.offset), Err(offset), "{text}");
    }
    assert_eq!(scan("${user.a}").map_err(|fault| fault.offset), Err(1));
}
