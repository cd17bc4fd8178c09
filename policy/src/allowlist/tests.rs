use super::*;
use serde_json::json;

fn read_back(value: Value) -> Allowlist {
    let allowlist = Allowlist::parse(&value).unwrap();
    assert_eq!(Allowlist::parse(&allowlist.to_json()).unwrap(), allowlist);
    allowlist
}

fn issues(value: Value) -> Vec<String> {
    let issues = Allowlist::parse(&value).unwrap_err();
    issues.iter().map(Issue::to_string).collect()
}

#[test]
fn only_what_is_named_is_selected() {
    let allowlist = read_back(json!({"schemas": [
        {"schema": "public", "tables": [{"table": "orders", "columns": ["id", "org"]}, {"table": "notes"}]},
        {"schema": "ref"},
        {"schema": "none", "tables": []},
    ]}));
    let columns = BTreeSet::from(["id".to_owned(), "org".to_owned()]);
    assert_eq!(allowlist.selection("public", "orders"), Selection::Columns(&columns));
    assert_eq!(allowlist.selection("public", "notes"), Selection::Everything);
    assert_eq!(allowlist.selection("public", "other"), Selection::Nothing);
    assert_eq!(allowlist.selection("ref", "anything"), Selection::Everything);
    assert_eq!(allowlist.selection("none", "notes"), Selection::Nothing);
    assert!(!allowlist.schemas.contains_key("none"));
    assert_eq!(allowlist.selection("other", "notes"), Selection::Nothing);
    let selection = allowlist.selection("public", "orders");
    assert!(selection.includes("id") && !selection.includes("ssn") && !selection.includes("ID"));
}

#[test]
fn names_are_exact_and_no_patterns() {
    let allowlist =
        read_back(json!({"schemas": [{"schema": "*", "tables": [{"table": "Orders*", "columns": ["*"]}]}]}));
    assert_eq!(allowlist.selection("public", "Orders*"), Selection::Nothing);
    assert_eq!(allowlist.selection("*", "Orders"), Selection::Nothing);
    assert!(!allowlist.selection("*", "Orders*").includes("id"));
}

#[test]
fn without_schemas_nothing_is_selected() {
    let nothing = read_back(json!({"schemas": []}));
    assert_eq!(nothing, Allowlist::default());
    assert_eq!(nothing.selection("public", "orders"), Selection::Nothing);
}

#[test]
fn every_problem_has_its_path() {
    assert_eq!(issues(json!([])), ["catalog: must be an object"]);
    assert_eq!(issues(json!({})), ["catalog.schemas: is required"]);
    assert_eq!(
        issues(json!({"schemas": "public"})),
        ["catalog.schemas: must be a list"]
    );
    let long = "x".repeat(64);
    assert_eq!(
        issues(json!({"tables": [], "schemas": [
            {"schema": "a", "tables": [{"table": "t", "column": []}, {"table": "t"}, {}]},
            {"schema": "a", "tables": [{"table": "t", "columns": ["c", 1, "c"]}]},
            {"schema": "b", "tables": [{"table": "t", "columns": ["c", "d", "c"]}, {"table": "u"}, {"table": "u"}]},
            {"schema": "b"},
            {"schema": ""},
            {"schema": long},
            {"schema": "a\0"},
        ]})),
        [
            "catalog.tables: unknown key, expected one of schemas",
            "catalog.schemas[0].tables[0].column: unknown key, expected one of table, columns",
            "catalog.schemas[0].tables[2].table: is required",
            "catalog.schemas[1].tables[0].columns[1]: must be a string",
            "catalog.schemas[2].tables[0].columns[2]: is listed twice",
            "catalog.schemas[2].tables[2].table: is listed twice",
            "catalog.schemas[4].schema: must not be empty",
            "catalog.schemas[5].schema: must not be longer than 63 bytes",
            "catalog.schemas[6].schema: must not contain a NUL character",
        ]
    );
    assert_eq!(
        issues(json!({"schemas": [{"schema": "b"}, {"schema": "b"}]})),
        ["catalog.schemas[1].schema: is listed twice"]
    );
}

#[test]
fn differences_name_tables_where_both_list_them() {
    let before = read_back(json!({"schemas": [
        {"schema": "a", "tables": [{"table": "same"}, {"table": "gone"}, {"table": "t", "columns": ["x", "y"]}]},
        {"schema": "gone"},
        {"schema": "narrowed"},
    ]}));
    let after = read_back(json!({"schemas": [
        {"schema": "a", "tables": [{"table": "same"}, {"table": "new"}, {"table": "t", "columns": ["z", "x"]}]},
        {"schema": "narrowed", "tables": [{"table": "t"}, {"table": "u", "columns": ["x"]}]},
        {"schema": "new"},
    ]}));
    let found = after.differences(&before).into_iter();
    let found: Vec<_> = found
        .map(|found| [found.action.to_owned(), found.name, found.detail].join("|"))
        .collect();
    assert_eq!(
        found,
        [
            "deselect|a.gone|",
            "select|a.new|all columns",
            "alter|a.t|x, z",
            "deselect|gone|",
            "alter|narrowed|t, u",
            "select|new|all tables",
        ]
    );
    assert_eq!(after.differences(&after), []);
    assert_eq!(
        after.without(&before).to_json(),
        json!({"schemas": [
            {"schema": "a", "tables": [{"table": "new"}, {"table": "t", "columns": ["x", "z"]}]},
            {"schema": "narrowed", "tables": [{"table": "t"}, {"table": "u", "columns": ["x"]}]},
            {"schema": "new"},
        ]})
    );
    assert_eq!(
        before.without(&after).to_json(),
        json!({"schemas": [
            {"schema": "a", "tables": [{"table": "gone"}, {"table": "t", "columns": ["x", "y"]}]},
            {"schema": "gone"},
            {"schema": "narrowed"},
        ]})
    );
    assert_eq!(after.without(&after), Allowlist::default());
}
