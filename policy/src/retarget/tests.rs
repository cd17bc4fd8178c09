use super::*;
use crate::model::{parse_targets, targets_to_json};

fn targets(text: &str) -> Vec<Target> {
    parse_targets(&serde_json::from_str(text).unwrap()).unwrap()
}

fn text(targets: Option<Vec<Target>>) -> Option<String> {
    targets.map(|targets| targets_to_json(&targets).to_string())
}

/// What the targets are about among all names of a small world.
fn covered(targets: &[Target]) -> Vec<(&'static str, &'static str, &'static str)> {
    let mut found = Vec::new();
    for schema in ["s", "t", "new"] {
        for table in ["a", "b", "new"] {
            for column in ["x", "y", "new"] {
                if covers_column(targets, &[(schema, table)], column) {
                    found.push((schema, table, column));
                }
            }
        }
    }
    found
}

#[test]
fn a_relation_is_followed_where_it_is_named_exactly() {
    let old = targets(r#"[{"schemas": ["s"], "tables": ["a", "b"]}]"#);
    assert_eq!(
        text(rename_relation(&old, ("s", "a"), ("s", "c"))).as_deref(),
        Some(r#"[{"schemas":["s"],"tables":["c","b"]}]"#)
    );
    assert_eq!(
        text(rename_relation(&old, ("s", "a"), ("t", "a"))).as_deref(),
        Some(r#"[{"schemas":["s"],"tables":["b"]},{"schemas":["t"],"tables":["a"]}]"#)
    );
    assert_eq!(rename_relation(&old, ("t", "a"), ("t", "c")), None);
    assert_eq!(rename_relation(&old, ("s", "a"), ("s", "c*")), None);
}

#[test]
fn a_relation_that_a_star_covers_is_not_followed() {
    for pattern in [
        r#"[{"schemas": ["s"], "tables": ["*"]}]"#,
        r#"[{"schemas": ["*"], "tables": ["a"]}]"#,
        r#"[{"schemas": ["s"], "tables": ["a*"]}]"#,
    ] {
        assert_eq!(
            rename_relation(&targets(pattern), ("s", "a"), ("s", "c")),
            None,
            "{pattern}"
        );
    }
    // Beside an exact name the star keeps what it is about.
    let mixed = targets(r#"[{"schemas": ["s", "*"], "tables": ["a", "b*"]}]"#);
    let followed = rename_relation(&mixed, ("s", "a"), ("t", "c")).unwrap();
    assert!(covers_relation(&followed, &[("t", "c")]));
    assert!(covers_relation(&followed, &[("u", "b1")]));
    assert!(covers_relation(&followed, &[("s", "b1")]));
}

#[test]
fn nothing_else_is_covered_after_a_relation_was_renamed() {
    let old = targets(r#"[{"schemas": ["s", "t"], "tables": ["a", "b"], "columns": ["x"]}]"#);
    let new = rename_relation(&old, ("s", "a"), ("new", "new")).unwrap();
    let mut expected = covered(&old);
    expected.retain(|found| *found != ("s", "a", "x"));
    expected.push(("new", "new", "x"));
    assert_eq!(covered(&new), expected);
}

#[test]
fn a_schema_is_followed() {
    let old = targets(r#"[{"schemas": ["s", "t"], "tables": ["*"]}, {"schemas": ["*"], "tables": ["a"]}]"#);
    assert_eq!(
        text(rename_schema(&old, "s", "u")).as_deref(),
        Some(r#"[{"schemas":["u","t"],"tables":["*"]},{"schemas":["*"],"tables":["a"]}]"#)
    );
    assert_eq!(
        text(rename_schema(&old, "s", "t")).as_deref(),
        Some(r#"[{"schemas":["t"],"tables":["*"]},{"schemas":["*"],"tables":["a"]}]"#)
    );
    assert_eq!(rename_schema(&old, "u", "v"), None);
}

#[test]
fn a_column_is_followed_in_its_relation_only() {
    let own = targets(r#"[{"schemas": ["s"], "tables": ["a"], "columns": ["x", "y"]}]"#);
    assert_eq!(
        text(rename_column(&own, ("s", "a"), "x", "z")).as_deref(),
        Some(r#"[{"schemas":["s"],"tables":["a"],"columns":["z","y"]}]"#)
    );
    let shared = targets(r#"[{"schemas": ["s"], "tables": ["*"], "columns": ["x"]}]"#);
    let followed = rename_column(&shared, ("s", "a"), "x", "z").unwrap();
    assert!(covers_column(&followed, &[("s", "a")], "z"));
    assert!(covers_column(&followed, &[("s", "b")], "x"));
    assert!(!covers_column(&followed, &[("s", "b")], "z"));
    assert_eq!(rename_column(&own, ("s", "b"), "x", "z"), None);
    assert_eq!(rename_column(&own, ("s", "a"), "q", "z"), None);
    let star = targets(r#"[{"schemas": ["s"], "tables": ["a"], "columns": ["x*"]}]"#);
    assert_eq!(rename_column(&star, ("s", "a"), "x1", "z"), None);
}

#[test]
fn what_a_parent_is_covered_by_covers_the_child() {
    let parent = targets(r#"[{"schemas": ["s"], "tables": ["a"], "columns": ["x"]}]"#);
    assert!(covers_relation(&parent, &[("s", "child"), ("s", "a")]));
    assert!(covers_column(&parent, &[("s", "child"), ("s", "a")], "x"));
    assert!(!covers_column(&parent, &[("s", "child")], "x"));
}
