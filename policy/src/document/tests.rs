use super::*;
use crate::model::{Check, FilterMode};
use serde_json::json;

/// A document that uses everything.
fn complete() -> Value {
    json!({
        "version": 1,
        "access_mode": "policy_required",
        "attributes": [
            {"key": "tenant", "value_type": "string", "allowed_values": ["acme", "globex"]},
            {"key": "regions", "value_type": "list", "default_value": ["eu"], "required": true},
        ],
        "roles": [
            {"name": "support", "description": "first line", "is_active": true, "parents": ["staff", "elsewhere"]},
            {"name": "staff"},
        ],
        "users": [
            {"username": "alice", "is_active": false, "attributes": {"tenant": "acme", "level": 3}, "roles": ["support"]},
            {"username": "bob"},
        ],
        "decision_functions": [
            {"name": "office-hours", "source": "function evaluate(ctx, config) {}", "config": {"open": 8, "x": null},
             "evaluate_context": "query", "on_error": "skip", "log_level": "info", "is_enabled": false,
             "description": "by day"},
        ],
        "policies": [
            {
                "name": "tenants", "policy_type": "row_filter", "description": "own rows", "is_enabled": false,
                "targets": [{"schemas": ["public"], "tables": ["orders", "cust*"]}],
                "definition": {"filter_expression": "org = {user.tenant}", "mode": "permissive", "check": "none"},
                "decision_function": "office-hours",
                "assignments": [{"priority": 7}, {"role": "support", "priority": 100}, {"user": "alice", "priority": -1}],
            },
            {
                "name": "no-ssn", "policy_type": "column_mask", "is_enabled": true,
                "targets": [{"schemas": ["*"], "tables": ["*"], "columns": ["ssn"]}],
                "definition": {"mask_expression": "NULL", "writable": true},
            },
            {"name": "gone", "policy_type": "table_deny", "is_enabled": true,
             "targets": [{"schemas": ["hr"], "tables": ["*"]}], "assignments": []},
        ],
        "access": [{"user": "alice"}, {"role": "support"}, {}],
        "catalog": {"schemas": [
            {"schema": "public", "tables": [{"table": "notes"}, {"table": "orders", "columns": ["id", "org"]}]},
            {"schema": "ref"},
        ]},
    })
}

/// The issues of the complete document after one change.
fn issues_after(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut value = complete();
    change(&mut value);
    let issues = Document::parse(&value).unwrap_err();
    issues.iter().map(Issue::to_string).collect()
}

#[track_caller]
fn refused(at: &str, change: impl FnOnce(&mut Value)) {
    let issues = issues_after(change);
    assert_eq!(
        issues
            .iter()
            .map(|issue| issue.split(": ").next().unwrap())
            .collect::<Vec<_>>(),
        [at],
        "{issues:?}"
    );
}

#[test]
fn a_document_survives_being_written() {
    let document = Document::parse(&complete()).unwrap();
    assert_eq!(document.to_json(), complete());
    let empty = json!({"version": 1});
    assert_eq!(Document::parse(&empty).unwrap().to_json(), empty);
}

#[test]
fn defaults_are_filled_in() {
    let value = json!({"version": 1, "policies": [
        {"name": "p", "policy_type": "row_filter", "targets": [{"schemas": ["public"], "tables": ["t"]}],
         "definition": {"filter_expression": "true"}, "assignments": [{}]},
    ]});
    let document = Document::parse(&value).unwrap();
    assert_eq!(
        (document.access_mode, &document.users, &document.roles),
        (None, &None, &None)
    );
    let policy = &document.policies.as_ref().unwrap()[0];
    assert!(policy.is_enabled);
    assert_eq!(
        policy.assignments,
        Some(vec![AssignmentSpec {
            priority: 100,
            to: Assignee::Everyone
        }])
    );
    let filter_expression = "true".to_owned();
    let definition = Definition::RowFilter {
        filter_expression,
        mode: FilterMode::Restrictive,
        check: Check::Filter,
    };
    assert_eq!(policy.definition, definition);
}

#[test]
fn decision_functions_are_complete() {
    let value = json!({"version": 1, "decision_functions": [{"name": "f", "source": "s"}]});
    let document = Document::parse(&value).unwrap();
    let function = &document.decision_functions.as_ref().unwrap()[0];
    assert_eq!(
        (
            function.evaluate_context.as_str(),
            function.on_error.as_str(),
            function.log_level.as_str()
        ),
        ("session", "deny", "off")
    );
    assert_eq!((&function.config, function.is_enabled), (&json!({}), true));
    let at = "decision_functions[0]";
    refused(&format!("{at}.code"), |d| {
        d["decision_functions"][0]["code"] = json!("x")
    });
    for key in [
        "source",
        "config",
        "evaluate_context",
        "on_error",
        "log_level",
        "is_enabled",
    ] {
        refused(&format!("{at}.{key}"), |d| d["decision_functions"][0][key] = json!(7));
    }
    refused(&format!("{at}.source"), |d| {
        d["decision_functions"][0]["source"] = json!(null)
    });
    refused("policies[0].decision_function", |d| {
        d["policies"][0]["decision_function"] = json!("")
    });
}

#[test]
fn null_means_absent() {
    let value = json!({"version": 1, "roles": null, "decision_functions": null, "policies": [
        {"name": "p", "policy_type": "table_deny", "description": null, "definition": null, "decision_function": null,
         "targets": [{"schemas": ["public"], "tables": ["t"], "columns": null}], "assignments": null},
    ]});
    let document = Document::parse(&value).unwrap();
    assert_eq!(document.roles, None);
    assert_eq!(document.policies.unwrap()[0].assignments, None);
}

#[test]
fn all_problems_are_reported_at_once() {
    let value = json!({
        "version": 2, "extra": 1, "access_mode": "closed",
        "roles": [{"name": ""}, {"name": "r", "parents": "s"}],
        "policies": [{"name": "p", "policy_type": "row_filter", "targets": [{"schemas": [""], "tables": []}]}],
    });
    let issues = Document::parse(&value).unwrap_err();
    let paths: Vec<&str> = issues.iter().map(|issue| issue.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "extra",
            "version",
            "access_mode",
            "roles[0].name",
            "roles[1].parents",
            "policies[0].targets[0].schemas[0]",
            "policies[0].targets[0].tables",
            "policies[0].definition",
        ]
    );
}

#[test]
fn unknown_keys_are_errors_at_every_level() {
    refused("polices", |d| d["polices"] = json!([]));
    refused("attributes[0].type", |d| d["attributes"][0]["type"] = json!("string"));
    refused("roles[0].members", |d| d["roles"][0]["members"] = json!([]));
    refused("users[0].password", |d| d["users"][0]["password"] = json!("x"));
    refused("policies[0].enabled", |d| d["policies"][0]["enabled"] = json!(true));
    refused("policies[0].targets[0].table", |d| {
        d["policies"][0]["targets"][0]["table"] = json!("t")
    });
    refused("policies[0].definition.filter", |d| {
        d["policies"][0]["definition"]["filter"] = json!("t")
    });
    refused("policies[0].assignments[0].scope", |d| {
        d["policies"][0]["assignments"][0]["scope"] = json!("all")
    });
}

#[test]
fn a_switch_is_absent_or_off_or_on() {
    let sections = |value: Value| {
        let document = Document::parse(&value).unwrap();
        assert_eq!(document.to_json(), value);
        (document.access, document.catalog)
    };
    assert_eq!(sections(json!({"version": 1})), (Switch::Keep, Switch::Keep));
    assert_eq!(
        sections(json!({"version": 1, "access": null, "catalog": null})),
        (Switch::Off, Switch::Off)
    );
    assert_eq!(
        sections(json!({"version": 1, "access": [], "catalog": {"schemas": []}})),
        (Switch::On(Vec::new()), Switch::On(Allowlist::default()))
    );
    let support = Assignee::Role("support".into());
    assert_eq!(
        sections(json!({"version": 1, "access": [{}, {"role": "support"}]})).0,
        Switch::On(vec![Assignee::Everyone, support])
    );
}

#[test]
fn access_names_a_user_or_a_role_or_nobody_once() {
    refused("access", |d| d["access"] = json!({"user": "alice"}));
    refused("access[0]", |d| d["access"][0] = json!("alice"));
    refused("access[0]", |d| {
        d["access"][0] = json!({"user": "alice", "role": "support"})
    });
    refused("access[0].priority", |d| {
        d["access"][0] = json!({"user": "bob", "priority": 1})
    });
    refused("access[0].user", |d| d["access"][0] = json!({"user": ""}));
    refused("access[1].role", |d| d["access"][1] = json!({"role": 7}));
    refused("access[2]", |d| d["access"][2] = json!({"role": "support"}));
    refused("access[2]", |d| d["access"][0] = json!({}));
    refused("catalog.schemas[0].tables[1].columns[1]", |d| {
        d["catalog"]["schemas"][0]["tables"][1]["columns"][1] = json!("id")
    });
}

#[test]
fn a_document_has_a_version_and_is_an_object() {
    refused("version", |d| _ = d.as_object_mut().unwrap().remove("version"));
    refused("version", |d| d["version"] = json!("1"));
    refused("version", |d| d["version"] = json!(1.0));
    assert_eq!(issues_after(|d| *d = json!([])), ["must be an object"]);
    refused("policies", |d| d["policies"] = json!({}));
    refused("policies[0]", |d| d["policies"][0] = json!("p"));
}

#[test]
fn names_are_unique_and_of_sensible_length() {
    refused("attributes[1].key", |d| d["attributes"][0]["key"] = json!("regions"));
    refused("roles[1].name", |d| d["roles"][1]["name"] = json!("support"));
    refused("users[1].username", |d| d["users"][1]["username"] = json!("alice"));
    refused("policies[2].name", |d| d["policies"][2]["name"] = json!("tenants"));
    refused("policies[0].name", |d| d["policies"][0]["name"] = json!(" "));
    refused("policies[0].name", |d| {
        d["policies"][0]["name"] = json!("é".repeat(101))
    });
    refused("policies[0].name", |d| d["policies"][0]["name"] = json!("a\0"));
    refused("users[1].username", |d| {
        d["users"][1]["username"] = json!("é".repeat(32))
    });
    refused("users[1].username", |d| d["users"][1]["username"] = json!(""));
    let mut value = complete();
    value["policies"][0]["name"] = json!("é".repeat(100));
    value["users"][1]["username"] = json!("é".repeat(31));
    assert!(Document::parse(&value).is_ok());
}

#[test]
fn roles_do_not_inherit_in_circles() {
    refused("roles[1].parents[0]", |d| d["roles"][1]["parents"] = json!(["staff"]));
    refused("roles[1].parents[1]", |d| d["roles"][1]["parents"] = json!(["x", "x"]));
    let issues = issues_after(|d| d["roles"][1]["parents"] = json!(["support"]));
    assert_eq!(issues.len(), 2, "{issues:?}");
    assert!(issues[0].starts_with("roles[0].parents: ") && issues[1].starts_with("roles[1].parents: "));
    let chain = |length: usize| {
        let role = |i: usize| json!({"name": format!("r{i}"), "parents": [format!("r{}", i + 1)]});
        json!({"version": 1, "roles": (0..=length).map(role).collect::<Vec<_>>()})
    };
    assert!(Document::parse(&chain(10)).is_ok());
    let issues = Document::parse(&chain(11)).unwrap_err();
    assert_eq!(issues[0].path, "roles[0].parents");
}

#[test]
fn values_suit_their_definitions() {
    refused("users[0].attributes.tenant", |d| {
        d["users"][0]["attributes"]["tenant"] = json!("umbrella")
    });
    refused("users[0].attributes.tenant", |d| {
        d["users"][0]["attributes"]["tenant"] = json!(5)
    });
    refused("users[0].attributes.regions[1]", |d| {
        d["users"][0]["attributes"]["regions"] = json!(["eu", 5])
    });
    refused("users[0].attributes.level", |d| {
        d["users"][0]["attributes"]["level"] = json!({"a": 1})
    });
    refused("users[0].attributes.is_admin", |d| {
        d["users"][0]["attributes"]["is_admin"] = json!(true)
    });
    refused("users[0].attributes.a-b", |d| {
        d["users"][0]["attributes"]["a-b"] = json!(true)
    });
    refused("attributes[1].default_value", |d| {
        d["attributes"][1]["default_value"] = json!("eu")
    });
}

#[test]
fn policies_are_complete() {
    refused("policies[0].policy_type", |d| {
        d["policies"][0]["policy_type"] = json!("row_filters")
    });
    refused("policies[0].targets", |d| d["policies"][0]["targets"] = json!([]));
    refused("policies[0].targets[0].columns", |d| {
        d["policies"][0]["targets"][0]["columns"] = json!(["a"])
    });
    refused("policies[1].targets[0].columns", |d| {
        d["policies"][1]["targets"][0]["columns"] = json!(null)
    });
    refused("policies[1].definition", |d| {
        d["policies"][1]["definition"] = json!(null)
    });
    refused("policies[1].definition.mask_expression", |d| {
        d["policies"][1]["definition"]["mask_expression"] = json!(" ")
    });
    refused("policies[2].definition", |d| d["policies"][2]["definition"] = json!({}));
    refused("policies[0].definition.check", |d| {
        d["policies"][0]["definition"]["check_expression"] = json!("true")
    });
    refused("policies[0].definition.check", |d| {
        d["policies"][0]["definition"]["check"] = json!("some")
    });
    refused("policies[0].definition.mode", |d| {
        d["policies"][0]["definition"]["mode"] = json!("or")
    });
}

#[test]
fn an_assignment_has_one_assignee() {
    refused("policies[0].assignments[1]", |d| {
        d["policies"][0]["assignments"][1]["user"] = json!("bob")
    });
    refused("policies[0].assignments[2]", |d| {
        d["policies"][0]["assignments"][2] = json!({"priority": 8})
    });
    refused("policies[0].assignments[0].priority", |d| {
        d["policies"][0]["assignments"][0]["priority"] = json!(3_000_000_000u64)
    });
}

#[test]
fn a_hostile_document_gives_a_bounded_number_of_issues() {
    let value = json!({"version": 1, "policies": vec![Value::Null; 5_000]});
    assert_eq!(Document::parse(&value).unwrap_err().len(), 200);
    let value = json!({"version": 1, "policies": vec![Value::Null; MAX_ITEMS + 1]});
    assert_eq!(Document::parse(&value).unwrap_err().len(), 1);
}
