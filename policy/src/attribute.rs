//! Attributes of users: their definitions, their values, and what a placeholder gets when a statement runs.

use crate::error::Issue;
use crate::json::{self, Issues, Object};
use serde_json::json;
use std::fmt;

/// Keys that no definition may use, since they name something of the user itself.
pub const RESERVED_KEYS: [&str; 9] = [
    "username",
    "id",
    "roles",
    "user_id",
    "email",
    "display_name",
    "is_admin",
    "is_active",
    "password",
];
/// The reserved keys that expressions may use: the user's name and id.
pub const BUILT_IN_KEYS: [&str; 2] = ["username", "id"];
/// Longest string value in bytes.
pub const MAX_STRING_BYTES: usize = 65_536;
/// Most elements of a list value and of `allowed_values`.
pub const MAX_ELEMENTS: usize = 10_000;

/// The type of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// A text.
    String,
    /// A 64-bit integer.
    Integer,
    /// True or false.
    Boolean,
    /// A list of texts.
    List,
}

impl ValueType {
    /// Every type, in the order of the documentation.
    pub const ALL: [ValueType; 4] = [
        ValueType::String,
        ValueType::Integer,
        ValueType::Boolean,
        ValueType::List,
    ];

    /// The text form, as in SQL and in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            ValueType::String => "string",
            ValueType::Integer => "integer",
            ValueType::Boolean => "boolean",
            ValueType::List => "list",
        }
    }
}

/// A value type from its text form, e.g. `integer`.
pub fn parse_value_type(text: &str) -> Result<ValueType, Issue> {
    ValueType::ALL
        .into_iter()
        .find(|value_type| value_type.as_str() == text)
        .ok_or_else(|| {
            let known = ValueType::ALL.map(ValueType::as_str).join(", ");
            Issue::new("value_type", format!("must be one of {known}"))
        })
}

/// The value of an attribute for one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of a `string`.
    String(String),
    /// Of an `integer`.
    Integer(i64),
    /// Of a `boolean`.
    Boolean(bool),
    /// Of a `list`.
    List(Vec<String>),
    /// There is none.
    Null,
}

impl Value {
    /// The JSON form, as stored.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::String(text) => json!(text),
            Value::Integer(number) => json!(number),
            Value::Boolean(truth) => json!(truth),
            Value::List(texts) => json!(texts),
            Value::Null => serde_json::Value::Null,
        }
    }
}

/// What is known of an attribute besides the users' values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The name by which expressions use it.
    pub key: String,
    /// The type of its values.
    pub value_type: ValueType,
    /// What a user without a value has.
    pub default_value: Option<Value>,
    /// If given, the only possible values; for a list, the only possible elements.
    pub allowed_values: Option<Vec<Value>>,
    /// Whether a statement is refused when there is neither a value nor a default, instead of using NULL.
    pub required: bool,
    /// For people.
    pub description: Option<String>,
}

/// Why a user has no usable value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveError {
    /// The attribute is required, and there is neither a value nor a default.
    Required,
    /// The stored value does not suit the definition (for administrators only).
    Invalid(Issue),
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::Required => f.write_str("a required attribute has no value"),
            ResolveError::Invalid(issue) => write!(f, "{issue}"),
        }
    }
}

impl std::error::Error for ResolveError {}

/// Whether the text can name an attribute: `^[A-Za-z][A-Za-z0-9_]{0,63}$`. Reserved keys can, too.
pub fn is_key(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text.len() <= 64
}

/// A value of that type from JSON; JSON `null` is [`Value::Null`]. The path of an issue starts inside the value.
pub fn parse_value(value_type: ValueType, value: &serde_json::Value) -> Result<Value, Issue> {
    let mut issues = Issues::default();
    let value = read_value(value_type, value, "", &mut issues);
    issues.finish_first(value)
}

/// Whether a definition is consistent: its key, and whether default and allowed values suit its type and each other.
pub fn validate_definition(definition: &Definition) -> Result<(), Issue> {
    let mut issues = Issues::default();
    report_inconsistent(definition, "", &mut issues);
    issues.finish_first(Some(()))
}

/// A definition from JSON `{key, value_type, default_value?, allowed_values?, required?, description?}`, validated.
pub fn parse_definition(value: &serde_json::Value) -> Result<Definition, Issue> {
    let mut issues = Issues::default();
    let definition = read_definition(value, "", &mut issues);
    issues.finish_first(definition)
}

impl Definition {
    /// The JSON form, with what is not set left out.
    pub fn to_json(&self) -> serde_json::Value {
        let mut object = serde_json::Map::new();
        object.insert("key".into(), json!(self.key));
        object.insert("value_type".into(), json!(self.value_type.as_str()));
        if let Some(value) = &self.default_value {
            object.insert("default_value".into(), value.to_json());
        }
        if let Some(values) = &self.allowed_values {
            object.insert("allowed_values".into(), values.iter().map(Value::to_json).collect());
        }
        if self.required {
            object.insert("required".into(), json!(true));
        }
        if let Some(text) = &self.description {
            object.insert("description".into(), json!(text));
        }
        serde_json::Value::Object(object)
    }

    /// Whether a user may have this value: it is of the type and, where values are listed, among those.
    pub fn check_value(&self, value: &Value) -> Result<(), Issue> {
        let is_allowed = |value: &Value| {
            self.allowed_values
                .as_ref()
                .is_none_or(|allowed| allowed.contains(value))
        };
        let (suits, allowed) = match (self.value_type, value) {
            (_, Value::Null) => (true, true),
            (ValueType::List, Value::List(elements)) => (
                true,
                elements
                    .iter()
                    .all(|element| is_allowed(&Value::String(element.clone()))),
            ),
            (ValueType::String, Value::String(_))
            | (ValueType::Integer, Value::Integer(_))
            | (ValueType::Boolean, Value::Boolean(_)) => (true, is_allowed(value)),
            _ => (false, false),
        };
        match (suits, allowed) {
            (false, _) => Err(Issue::new("", format!("must be of type {}", self.value_type.as_str()))),
            (true, false) => Err(Issue::new("", "must be one of the allowed values")),
            (true, true) => Ok(()),
        }
    }

    /// A user's value from JSON, checked against the definition.
    pub fn parse_value(&self, value: &serde_json::Value) -> Result<Value, Issue> {
        let value = parse_value(self.value_type, value)?;
        self.check_value(&value)?;
        Ok(value)
    }
}

/// What a user with that stored value (JSON `null` counts as none) has: the value, else the default, else NULL.
pub fn resolve(definition: &Definition, stored: Option<&serde_json::Value>) -> Result<Value, ResolveError> {
    let stored = stored
        .map(|value| definition.parse_value(value))
        .transpose()
        .map_err(ResolveError::Invalid)?;
    match (stored, &definition.default_value) {
        (Some(value), _) if value != Value::Null => Ok(value),
        (_, Some(default)) if *default != Value::Null => Ok(default.clone()),
        _ if definition.required => Err(ResolveError::Required),
        _ => Ok(Value::Null),
    }
}

pub(crate) fn read_value(
    value_type: ValueType,
    value: &serde_json::Value,
    path: &str,
    issues: &mut Issues,
) -> Option<Value> {
    if value.is_null() {
        return Some(Value::Null);
    }
    match value_type {
        ValueType::String => read_string(value, path, issues).map(Value::String),
        ValueType::Boolean => json::boolean(value, path, issues).map(Value::Boolean),
        ValueType::List => json::list(value, path, MAX_ELEMENTS, issues, read_string).map(Value::List),
        ValueType::Integer => {
            let number = value.as_i64();
            if number.is_none() {
                issues.report(path, "must be an integer of at most 64 bits");
            }
            number.map(Value::Integer)
        }
    }
}

/// A string value; unlike names and expressions it may be empty.
fn read_string(value: &serde_json::Value, path: &str, issues: &mut Issues) -> Option<String> {
    let Some(text) = value.as_str() else {
        issues.report(path, "must be a string");
        return None;
    };
    if text.len() > MAX_STRING_BYTES {
        issues.report(path, format!("must not be longer than {MAX_STRING_BYTES} bytes"));
        return None;
    }
    if text.contains('\0') {
        issues.report(path, "must not contain a NUL character");
        return None;
    }
    Some(text.to_owned())
}

pub(crate) fn read_definition(value: &serde_json::Value, path: &str, issues: &mut Issues) -> Option<Definition> {
    let keys = [
        "key",
        "value_type",
        "default_value",
        "allowed_values",
        "required",
        "description",
    ];
    let object = Object::open(value, path, &keys, issues)?;
    let key = object.required("key", issues);
    let key = key.and_then(|value| json::text(value, &object.path("key"), 64, issues));
    let value_type = object.required("value_type", issues).and_then(|value| {
        let parsed = parse_value_type(value.as_str().unwrap_or_default());
        parsed
            .map_err(|issue| issues.report(object.path("value_type"), issue.message))
            .ok()
    });
    let required = object.optional("required", issues, json::boolean);
    let description = object.optional("description", issues, read_string);
    let value_type = value_type?;
    let default_value = object.optional("default_value", issues, |value, path, issues| {
        read_value(value_type, value, path, issues)
    });
    let element_type = if value_type == ValueType::List {
        ValueType::String
    } else {
        value_type
    };
    let allowed_values = object.optional("allowed_values", issues, |value, path, issues| {
        json::list(value, path, MAX_ELEMENTS, issues, |value, path, issues| {
            read_value(element_type, value, path, issues)
        })
    });
    let definition = Definition {
        key: key?.to_owned(),
        value_type,
        default_value: default_value?,
        allowed_values: allowed_values?,
        required: required?.unwrap_or(false),
        description: description?,
    };
    report_inconsistent(&definition, path, issues);
    Some(definition)
}

fn report_inconsistent(definition: &Definition, path: &str, issues: &mut Issues) {
    if !is_key(&definition.key) {
        let message = "must be a letter, then letters, digits and underscores, at most 64 characters";
        issues.report(json::child(path, "key"), message);
    } else if RESERVED_KEYS.contains(&definition.key.as_str()) {
        issues.report(json::child(path, "key"), "is reserved");
    }
    let element_type = match definition.value_type {
        ValueType::List => ValueType::String,
        other => other,
    };
    if let Some(values) = &definition.allowed_values {
        let path = json::child(path, "allowed_values");
        if values.is_empty() {
            issues.report(&path, "must not be empty");
        }
        let unbounded = Definition {
            value_type: element_type,
            allowed_values: None,
            ..definition.clone()
        };
        for (index, value) in values.iter().enumerate() {
            if *value == Value::Null {
                issues.report(format!("{path}[{index}]"), "must not be null");
            } else if let Err(issue) = unbounded.check_value(value) {
                issues.report(format!("{path}[{index}]"), issue.message);
            }
        }
    }
    if let Some(Err(issue)) = definition
        .default_value
        .as_ref()
        .map(|value| definition.check_value(value))
    {
        issues.report(json::child(path, "default_value"), issue.message);
    }
}

#[cfg(test)]
mod tests;
