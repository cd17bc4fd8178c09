//! Every answer that a test gets is as the description of the API says: its status, its form, and no field besides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use axum::http::Method;
use chrono::NaiveDateTime;
use serde_json::Value;
use uuid::Uuid;

use crate::harness::Answer;

static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(betweenrowsd::api::openapi()).unwrap());

/// Fails unless the answer is described.
#[track_caller]
pub fn check_answer(method: &Method, path: &str, answer: &Answer) {
    let Some(operation) = operation(method, path) else {
        return;
    };
    let at = format!("{method} {path}: {}", answer.status);
    let described = &operation["responses"][answer.status.as_str()];
    assert!(described.is_object(), "{at} is not described: {}", answer.text);
    let content = &described["content"];
    let Some(given) = answer.headers.get("content-type") else {
        assert!(content.is_null() && answer.text.is_empty(), "{at} has no content type");
        return;
    };
    let kind = given.to_str().unwrap().split(';').next().unwrap();
    assert!(
        content[kind].is_object(),
        "{at} is described as {content}, not as {kind}"
    );
    if kind == "application/json" {
        check(&at, &content[kind]["schema"], &answer.json());
    }
}

/// Fails unless the body of a request that was accepted is described.
#[track_caller]
pub fn check_accepted(method: &Method, path: &str, body: &Value) {
    let schema = operation(method, path).map(|operation| &operation["requestBody"]["content"]["application/json"]);
    if let Some(schema) = schema.filter(|schema| schema.is_object()) {
        check(&format!("what {method} {path} accepts"), &schema["schema"], body);
    }
}

#[track_caller]
fn check(at: &str, schema: &'static Value, value: &Value) {
    if let Err(problem) = matches(schema, value, "") {
        panic!("{at} is not as described: {problem} in {value:#}");
    }
}

/// The description of a route. Where several paths match, the one with the fewest parameters is meant.
fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let path = path.split('?').next()?;
    let paths = DESCRIPTION["paths"].as_object()?.iter();
    let fits = |template: &str| {
        template.split('/').count() == path.split('/').count()
            && template
                .split('/')
                .zip(path.split('/'))
                .all(|(one, other)| one == other || one.starts_with('{'))
    };
    let (_, item) = paths
        .filter(|(template, _)| fits(template))
        .min_by_key(|(template, _)| template.matches('{').count())?;
    item.get(method.as_str().to_lowercase())
}

/// The properties of an object with those of all its parts; none where it may have any.
struct Members {
    properties: BTreeMap<&'static str, &'static Value>,
    required: BTreeSet<&'static str>,
}

impl Members {
    fn of(schema: &'static Value) -> Members {
        let mut members = Members {
            properties: BTreeMap::new(),
            required: BTreeSet::new(),
        };
        members.add(schema);
        members
    }

    fn add(&mut self, schema: &'static Value) {
        let schema = resolve(schema);
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.add(part);
        }
        let properties = schema["properties"].as_object().into_iter().flatten();
        self.properties
            .extend(properties.map(|(name, schema)| (name.as_str(), schema)));
        let required = schema["required"].as_array().into_iter().flatten();
        self.required.extend(required.filter_map(Value::as_str));
    }
}

fn resolve(schema: &Value) -> &Value {
    match schema["$ref"].as_str() {
        Some(name) => DESCRIPTION
            .pointer(&name[1..])
            .unwrap_or_else(|| panic!("{name} is not described")),
        None => schema,
    }
}

/// As JSON Schema says, as far as the description uses it; and every property has to be described.
fn matches(schema: &'static Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = resolve(schema);
    if let Some(choices) = schema["oneOf"].as_array() {
        let problems: Vec<String> = choices
            .iter()
            .filter_map(|choice| matches(choice, value, at).err())
            .collect();
        return match choices.len() - problems.len() {
            1 => Ok(()),
            _ => Err(format!("{at} is {problems:?}")),
        };
    }
    let kinds = &schema["type"];
    let is = |kind: &str| {
        kinds == kind
            || kinds
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|known| known == kind))
    };
    let suits = match value {
        Value::Null => is("null"),
        Value::Bool(_) => is("boolean"),
        Value::Number(number) => is("number") || is("integer") && !number.is_f64(),
        Value::String(_) => is("string"),
        Value::Array(_) => is("array"),
        Value::Object(_) => is("object") || schema["allOf"].is_array(),
    };
    // A schema that says nothing lets anything be.
    if !suits
        && schema
            .as_object()
            .is_some_and(|schema| schema.keys().any(|key| key != "description"))
    {
        return Err(format!("{at} is no {kinds}"));
    }
    match value {
        Value::String(text) => text_matches(schema, text, at),
        Value::Array(items) if schema["items"].is_object() => {
            let mut items = items.iter().enumerate();
            items.try_for_each(|(index, item)| matches(&schema["items"], item, &format!("{at}[{index}]")))
        }
        Value::Object(fields) => {
            let members = Members::of(schema);
            if let Some(missing) = members.required.iter().find(|name| !fields.contains_key(**name)) {
                return Err(format!("{at} has no {missing}"));
            }
            if members.properties.is_empty() {
                return Ok(());
            }
            fields
                .iter()
                .try_for_each(|(name, field)| match members.properties.get(name.as_str()) {
                    Some(schema) => matches(schema, field, &format!("{at}.{name}")),
                    None => Err(format!("{at}.{name} is not described")),
                })
        }
        _ => Ok(()),
    }
}

fn text_matches(schema: &Value, text: &str, at: &str) -> Result<(), String> {
    let values = schema["enum"].as_array();
    let is_time = std::ptr::eq(schema, &DESCRIPTION["components"]["schemas"]["UtcTime"]);
    if values.is_some_and(|values| !values.iter().any(|value| value == text)) {
        Err(format!("{at} is none of {values:?}"))
    } else if schema["format"] == "uuid" && text.parse::<Uuid>().is_err() {
        Err(format!("{at} is no id"))
    } else if is_time && text.parse::<NaiveDateTime>().is_err() {
        Err(format!("{at} is no time without a zone"))
    } else {
        Ok(())
    }
}

#[test]
fn what_is_not_described_is_noticed() {
    let user = serde_json::json!({
        "id": Uuid::nil(), "username": "u", "is_admin": false, "is_active": true, "email": null, "display_name": null,
        "attributes": {"any": ["thing"]}, "last_login_at": null, "version": 1,
        "created_at": "2026-11-21T10:00:00.5", "updated_at": "2026-11-21T10:00:00",
    });
    let schema = &DESCRIPTION["components"]["schemas"]["User"];
    assert_eq!(matches(schema, &user, ""), Ok(()));
    for (field, value, problem) in [
        (
            "created_at",
            Some("2026-11-21T10:00:00Z".into()),
            "no time without a zone",
        ),
        ("email", None, "has no email"),
        ("id", Some("x".into()), "is no id"),
        ("is_admin", Some(Value::Null), "is no \"boolean\""),
        ("password", Some("x".into()), "is not described"),
        ("version", Some(1.5.into()), "is no \"integer\""),
    ] {
        let mut other = user.clone();
        match value {
            Some(value) => other[field] = value,
            None => drop(other.as_object_mut().unwrap().remove(field)),
        }
        let found = matches(schema, &other, "").unwrap_err();
        assert!(found.contains(problem), "{found}");
    }
}
