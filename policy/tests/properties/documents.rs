//! The document reader on arbitrary JSON, on documents that are nearly right, and on right ones.

use crate::support::{mode, sound_policy};
use policy::allowlist::Allowlist;
use policy::attribute::{Definition, Value, ValueType};
use policy::document::{Assignee, AssignmentSpec, Document, PolicySpec, RoleSpec, Switch, UserSpec};
use policy::function::{EvaluateContext, FunctionSpec, LogLevel, OnError};
use policy::model::Targets;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::json;

const KEYS: [&str; 28] = [
    "version",
    "access_mode",
    "attributes",
    "roles",
    "users",
    "policies",
    "name",
    "username",
    "key",
    "value_type",
    "default_value",
    "allowed_values",
    "parents",
    "policy_type",
    "targets",
    "schemas",
    "tables",
    "columns",
    "definition",
    "filter_expression",
    "assignments",
    "priority",
    "access",
    "user",
    "role",
    "catalog",
    "schema",
    "table",
];

/// JSON of every shape, with keys and texts that occur in documents.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let text = prop_oneof![
        select(vec![
            "",
            "open",
            "string",
            "list",
            "row_filter",
            "column_mask",
            "table_deny",
            "none",
            "a",
            "*",
            "a\0"
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|truth| json!(truth)),
        prop_oneof![Just(1i64), any::<i64>()].prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        text.prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        let key = prop_oneof![9 => select(KEYS.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(|items| json!(items)),
            vec((key, inner), 0..6).prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    "[a-zé][ -~é]{0,20}"
}

fn value_of(value_type: ValueType) -> BoxedStrategy<Value> {
    match value_type {
        ValueType::String => "[ab ]{0,3}".prop_map(Value::String).boxed(),
        ValueType::Integer => any::<i64>().prop_map(Value::Integer).boxed(),
        ValueType::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        ValueType::List => vec("[ab]{0,3}", 0..3).prop_map(Value::List).boxed(),
    }
}

fn attribute() -> impl Strategy<Value = Definition> {
    select(ValueType::ALL.to_vec()).prop_flat_map(|value_type| {
        let element_type = if value_type == ValueType::List {
            ValueType::String
        } else {
            value_type
        };
        let description = option::of("[ -~]{0,20}");
        let rest = (
            any::<bool>(),
            description,
            option::of(value_of(value_type)),
            option::of(vec(value_of(element_type), 1..4)),
        );
        ("k_[a-z]{1,8}", rest).prop_map(move |(key, (required, description, default_value, allowed_values))| {
            let default_value = default_value.filter(|_| allowed_values.is_none());
            Definition {
                key,
                value_type,
                default_value,
                allowed_values,
                required,
                description,
            }
        })
    })
}

fn role() -> impl Strategy<Value = RoleSpec> {
    (
        name(),
        option::of("[ -~]{0,20}"),
        any::<Option<bool>>(),
        option::of(vec("outside[0-9]{4}", 0..3)),
    )
        .prop_map(|(name, description, is_active, parents)| RoleSpec {
            name,
            description,
            is_active,
            parents: parents.map(distinct),
        })
}

fn user() -> impl Strategy<Value = UserSpec> {
    // Keys that no definition of the document has, so that any type will do.
    let value = select(ValueType::ALL.to_vec())
        .prop_flat_map(value_of)
        .prop_map(|value| value.to_json());
    let attributes = vec(("u_[a-z]{1,8}", value), 0..3).prop_map(|entries| entries.into_iter().collect());
    (
        name(),
        any::<Option<bool>>(),
        option::of(attributes),
        option::of(vec(name(), 0..3)),
    )
        .prop_map(|(username, is_active, attributes, roles)| UserSpec {
            username,
            is_active,
            attributes,
            roles: roles.map(distinct),
        })
}

fn assignee() -> impl Strategy<Value = Assignee> {
    prop_oneof![
        Just(Assignee::Everyone),
        name().prop_map(Assignee::User),
        name().prop_map(Assignee::Role)
    ]
}

fn access() -> impl Strategy<Value = Vec<Assignee>> {
    vec(assignee(), 0..4).prop_map(|grants| distinct_by(grants, Clone::clone))
}

fn allowlist() -> impl Strategy<Value = Allowlist> {
    let columns = btree_set(name(), 0..3);
    let tables = btree_map(name(), option::of(columns), 1..3);
    btree_map(name(), option::of(tables), 0..3).prop_map(|schemas| Allowlist { schemas })
}

fn switch<T: std::fmt::Debug + Clone + 'static>(
    section: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Switch<T>> {
    prop_oneof![Just(Switch::Keep), Just(Switch::Off), section.prop_map(Switch::On)].boxed()
}

fn policy() -> impl Strategy<Value = PolicySpec> {
    let assignment = (any::<i32>(), assignee()).prop_map(|(priority, to)| AssignmentSpec { priority, to });
    (
        name(),
        sound_policy(),
        any::<bool>(),
        option::of("[ -~]{0,20}"),
        option::of(name()),
        option::of(vec(assignment, 0..4)),
    )
        .prop_map(
            |(name, policy, is_enabled, description, decision_function, assignments)| {
                let Targets::Valid(targets) = policy.targets else {
                    unreachable!("generated valid")
                };
                let assignments = assignments.map(|list| distinct_by(list, |assignment| assignment.to.clone()));
                let (policy_type, definition) = (policy.policy_type, policy.definition);
                PolicySpec {
                    name,
                    policy_type,
                    description,
                    is_enabled,
                    targets,
                    definition,
                    decision_function,
                    assignments,
                }
            },
        )
}

fn decision_function() -> impl Strategy<Value = FunctionSpec> {
    (
        name(),
        option::of("[ -~]{0,20}"),
        "function [ -~]{0,20}",
        option::of("[ -~]{0,20}"),
        select(vec![EvaluateContext::Session, EvaluateContext::Query]),
        select(vec![OnError::Deny, OnError::Skip]),
        select(vec![LogLevel::Off, LogLevel::Error, LogLevel::Info]),
        any::<bool>(),
    )
        .prop_map(
            |(name, description, source, text, evaluate_context, on_error, log_level, is_enabled)| FunctionSpec {
                name,
                description,
                source,
                config: json!({"text": text}),
                evaluate_context,
                on_error,
                log_level,
                is_enabled,
            },
        )
}

fn distinct<T: Clone + Ord>(items: Vec<T>) -> Vec<T> {
    distinct_by(items, Clone::clone)
}

fn distinct_by<T, K: PartialEq>(items: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut kept: Vec<T> = Vec::new();
    for item in items {
        if kept.iter().all(|other| key(other) != key(&item)) {
            kept.push(item);
        }
    }
    kept
}

/// A right document. Parents lead from later roles to earlier ones, or out of the document.
fn document() -> impl Strategy<Value = Document> {
    let sections = (
        option::of(vec(attribute(), 0..4)),
        option::of(vec(role(), 0..4)),
        option::of(vec(user(), 0..4)),
        option::of(vec(decision_function(), 0..4)),
        option::of(vec(policy(), 0..4)),
    );
    let switches = (switch(access()), switch(allowlist()));
    (option::of(mode()), sections, switches).prop_map(|(access_mode, sections, (access, catalog))| {
        let (attributes, roles, users, functions, policies) = sections;
        let roles = roles.map(|roles| {
            let mut roles = distinct_by(roles, |role| role.name.clone());
            for index in 1..roles.len() {
                let earlier = roles[index - 1].name.clone();
                roles[index]
                    .parents
                    .iter_mut()
                    .for_each(|parents| parents.push(earlier.clone()));
            }
            roles
        });
        Document {
            version: 1,
            access_mode,
            attributes: attributes.map(|items| distinct_by(items, |item| item.key.clone())),
            roles,
            users: users.map(|items| distinct_by(items, |item| item.username.clone())),
            decision_functions: functions.map(|items| distinct_by(items, |item| item.name.clone())),
            policies: policies.map(|items| distinct_by(items, |item| item.name.clone())),
            access,
            catalog,
        }
    })
}

/// Every value inside a JSON value, as JSON pointers.
fn pointers(value: &serde_json::Value, at: String, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| pointers(item, format!("{at}/{index}"), found));
        }
        serde_json::Value::Object(entries) => {
            entries
                .iter()
                .for_each(|(key, value)| pointers(value, format!("{at}/{key}"), found));
        }
        _ => {}
    }
    found.push(at);
}

/// Either there are issues, or what was read survives being written.
fn check(value: &serde_json::Value) -> Result<(), TestCaseError> {
    match Document::parse(value) {
        Err(issues) => prop_assert!(!issues.is_empty() && issues.len() <= 200),
        Ok(document) => prop_assert_eq!(Document::parse(&document.to_json()), Ok(document)),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_json_is_read_without_harm(value in any_json(), sections in any_json()) {
        check(&value)?;
        let mut value = sections;
        if let Some(entries) = value.as_object_mut() {
            entries.insert("version".into(), json!(1));
        }
        check(&value)?;
    }

    #[test]
    fn a_right_document_survives_being_written(document in document()) {
        prop_assert_eq!(Document::parse(&document.to_json()), Ok(document));
    }

    #[test]
    fn a_nearly_right_document_is_read_without_harm(document in document(), place: Index, other in any_json()) {
        let mut value = document.to_json();
        let mut places = Vec::new();
        pointers(&value, String::new(), &mut places);
        *value.pointer_mut(place.get(&places).as_str()).unwrap() = other;
        check(&value)?;
    }

    #[test]
    fn an_unknown_key_is_found_wherever_it_is(document in document(), place: Index) {
        let mut value = document.to_json();
        let mut places = Vec::new();
        pointers(&value, String::new(), &mut places);
        // The keys of a user's attributes and of a function's config are free.
        places.retain(|place| {
            let is_free = place.ends_with("/attributes") || place.ends_with("/config");
            value.pointer(place).unwrap().is_object() && !is_free
        });
        let place: &String = place.get(&places);
        value.pointer_mut(place).unwrap()["surprise"] = json!(null);
        let issues = Document::parse(&value).unwrap_err();
        let path = place.split('/').skip(1).map(|step| match step.parse::<usize>() {
            Ok(index) => format!("[{index}]"),
            Err(_) => format!(".{step}"),
        });
        let path = path.collect::<String>() + ".surprise";
        prop_assert_eq!(issues.iter().map(|issue| issue.path.as_str()).collect::<Vec<_>>(), [path.trim_start_matches('.')]);
    }
}
