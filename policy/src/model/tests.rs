use super::*;
use serde_json::{Value, json};

fn path_of<T: std::fmt::Debug>(result: Result<T, crate::error::Issue>) -> String {
    result.unwrap_err().path
}

#[test]
fn text_forms_are_read_back() {
    for policy_type in PolicyType::ALL {
        assert_eq!(parse_policy_type(policy_type.as_str()), Ok(policy_type));
    }
    for mode in [AccessMode::Open, AccessMode::PolicyRequired] {
        assert_eq!(parse_access_mode(mode.as_str()), Ok(mode));
    }
    assert_eq!(path_of(parse_policy_type("ROW_FILTER")), "policy_type");
    assert_eq!(path_of(parse_access_mode("")), "access_mode");
}

#[test]
fn targets_are_read_back() {
    let value = json!([
        {"schemas": ["public", "app*"], "tables": ["*"]},
        {"schemas": ["*"], "tables": ["t"], "columns": ["a", "b*"]},
    ]);
    let targets = parse_targets(&value).unwrap();
    assert_eq!(targets_to_json(&targets), value);
    assert!(targets[0].matches_table("app1", "x") && !targets[0].matches_table("other", "x"));
    assert!(targets[1].matches_column("bc") && !targets[1].matches_column("c"));
    assert!(!targets[0].matches_column("a"));
}

#[test]
fn wrong_targets_are_refused_where_they_are_wrong() {
    for (wrong, path) in [
        (json!({}), "targets"),
        (json!([]), "targets"),
        (json!(["public.orders"]), "targets[0]"),
        (json!([{"schemas": ["a"]}]), "targets[0].tables"),
        (json!([{"schemas": "a", "tables": ["t"]}]), "targets[0].schemas"),
        (
            json!([{"schemas": ["a", ""], "tables": ["t"]}]),
            "targets[0].schemas[1]",
        ),
        (json!([{"schemas": ["a", 1], "tables": ["t"]}]), "targets[0].schemas[1]"),
        (
            json!([{"schemas": ["a"], "tables": ["t"], "columns": []}]),
            "targets[0].columns",
        ),
        (
            json!([{"schemas": ["a"], "tables": ["t"], "column": ["c"]}]),
            "targets[0].column",
        ),
        (
            json!([{"schemas": ["a"], "tables": ["t"]}, {"schemas": ["a"], "tables": ["t\0"]}]),
            "targets[1].tables[0]",
        ),
        (
            json!([{"schemas": ["a"], "tables": vec!["t"; MAX_TARGETS + 1]}]),
            "targets[0].tables",
        ),
    ] {
        assert_eq!(path_of(parse_targets(&wrong)), path, "{wrong}");
    }
}

#[test]
fn columns_are_for_the_column_types() {
    let with = parse_targets(&json!([{"schemas": ["a"], "tables": ["t"], "columns": ["c"]}])).unwrap();
    let without = parse_targets(&json!([{"schemas": ["a"], "tables": ["t"]}])).unwrap();
    for policy_type in PolicyType::ALL {
        let (right, wrong) = if policy_type.needs_columns() {
            (&with, &without)
        } else {
            (&without, &with)
        };
        assert_eq!(check_targets(policy_type, right), Ok(()));
        assert_eq!(path_of(check_targets(policy_type, wrong)), "targets[0].columns");
    }
}

#[test]
fn definitions_are_read_back() {
    for (policy_type, value) in [
        (PolicyType::RowFilter, json!({"filter_expression": "a > 1"})),
        (
            PolicyType::RowFilter,
            json!({"filter_expression": "a > 1", "mode": "permissive", "check_expression": "true"}),
        ),
        (
            PolicyType::RowFilter,
            json!({"filter_expression": "a > 1", "check": "none"}),
        ),
        (PolicyType::ColumnMask, json!({"mask_expression": "NULL"})),
        (
            PolicyType::ColumnMask,
            json!({"mask_expression": "NULL", "writable": true}),
        ),
    ] {
        assert_eq!(
            parse_definition(policy_type, Some(&value)).unwrap().to_json(),
            Some(value)
        );
    }
    for policy_type in [PolicyType::ColumnAllow, PolicyType::ColumnDeny, PolicyType::TableDeny] {
        assert_eq!(parse_definition(policy_type, None), Ok(Definition::None));
        assert_eq!(parse_definition(policy_type, Some(&Value::Null)), Ok(Definition::None));
        assert_eq!(path_of(parse_definition(policy_type, Some(&json!({})))), "definition");
    }
}

#[test]
fn wrong_definitions_are_refused_where_they_are_wrong() {
    use PolicyType::{ColumnMask, RowFilter};
    let long = "x".repeat(MAX_EXPRESSION_BYTES + 1);
    for (policy_type, wrong, path) in [
        (RowFilter, json!(null), "definition"),
        (ColumnMask, json!(null), "definition"),
        (RowFilter, json!("a > 1"), "definition"),
        (RowFilter, json!({}), "definition.filter_expression"),
        (
            RowFilter,
            json!({"filter_expression": ""}),
            "definition.filter_expression",
        ),
        (
            RowFilter,
            json!({"filter_expression": 1}),
            "definition.filter_expression",
        ),
        (
            RowFilter,
            json!({"filter_expression": long}),
            "definition.filter_expression",
        ),
        (
            RowFilter,
            json!({"filter_expression": "a\0"}),
            "definition.filter_expression",
        ),
        (
            RowFilter,
            json!({"filter_expression": "a", "mode": "or"}),
            "definition.mode",
        ),
        (
            RowFilter,
            json!({"filter_expression": "a", "check": "all"}),
            "definition.check",
        ),
        (
            RowFilter,
            json!({"filter_expression": "a", "check": "none", "check_expression": "b"}),
            "definition.check",
        ),
        (
            RowFilter,
            json!({"filter_expression": "a", "mask_expression": "b"}),
            "definition.mask_expression",
        ),
        (
            ColumnMask,
            json!({"filter_expression": "a"}),
            "definition.filter_expression",
        ),
        (
            ColumnMask,
            json!({"mask_expression": "a", "writable": "yes"}),
            "definition.writable",
        ),
    ] {
        assert_eq!(path_of(parse_definition(policy_type, Some(&wrong))), path, "{wrong}");
    }
}

#[test]
fn what_the_catalog_holds_is_never_lost_silently() {
    let wrong = json!([{"schemas": ["a"], "tables": ["t"]}]);
    assert!(matches!(
        Targets::from_json(PolicyType::RowFilter, &wrong),
        Targets::Valid(_)
    ));
    let Targets::Invalid(reason) = Targets::from_json(PolicyType::ColumnDeny, &wrong) else {
        panic!("columns missing")
    };
    assert_eq!(reason, "targets[0].columns: is required for a column_deny");
    let Definition::Invalid(reason) = Definition::from_json(PolicyType::RowFilter, None) else {
        panic!("missing")
    };
    assert_eq!(reason, "definition: is required for a row_filter");
}

#[test]
fn names_have_limits() {
    for (name, good) in [("a", true), ("", false), (" ", false), ("a\0", false)] {
        assert_eq!(check_name(name).is_ok(), good, "{name:?}");
        assert_eq!(check_username(name).is_ok(), good || name == " ", "{name:?}");
    }
    assert!(check_name(&"é".repeat(100)).is_ok() && check_name(&"é".repeat(101)).is_err());
    assert!(check_username(&"a".repeat(63)).is_ok() && check_username(&"é".repeat(32)).is_err());
}
