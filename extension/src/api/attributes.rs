//! Attribute definitions: `define_attribute`, `drop_attribute`, and checking users' values against them.
//!
//! Invariant: a stored value suits its definition, and a policy's placeholders are defined. Whoever relies on a definition
//! takes a KEY SHARE lock on its row; whoever changes or drops one locks the row FOR UPDATE and then looks at everything
//! that is committed.

use pgrx::{AnyElement, Uuid, prelude::*};
use policy::attribute::{self, Definition};
use policy::error::Issue;
use serde_json::{Map, Value, json};

use super::{args, audit, errors, json, policies, sql};

const KIND: &str = "attribute";

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn define_attribute(
    key: Option<&str>,
    value_type: Option<&str>,
    default_value: Option<AnyElement>,
    allowed_values: Option<AnyElement>,
    required: Option<bool>,
    description: Option<&str>,
) -> Uuid {
    let definition = json!({
        "key": args::required("key", key),
        "value_type": args::required("value_type", value_type),
        "default_value": json::argument("default_value", default_value),
        "allowed_values": json::argument("allowed_values", allowed_values),
        "required": args::required("required", required),
        "description": args::description(description),
    });
    let definition = args::valid("attribute definition", attribute::parse_definition(&definition));
    let defined = define(&definition);
    check_uses(&definition, &defined.changes);
    args::uuid(args::id_of(&defined.row))
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn drop_attribute(key: Option<&str>, force: Option<bool>) {
    let key = args::required("key", key);
    let force = args::required("force", force);
    let before = find_and_lock(key).unwrap_or_else(|| errors::undefined(KIND, key, "See betweenrows.export()."));
    if force {
        take_values_away(key);
    }
    drop(&before, force);
}

/// What [`define`] did.
pub(crate) struct Defined {
    /// The row as it is now.
    pub(crate) row: Value,
    /// Whether the definition is new.
    pub(crate) is_new: bool,
    /// The names of what changed in an older definition.
    pub(crate) changes: Vec<&'static str>,
}

/// Creates or changes a definition; a description of `None` leaves that alone, an empty one clears it. The caller owes a
/// call of [`check_uses`].
pub(crate) fn define(definition: &Definition) -> Defined {
    let wanted = definition.to_json();
    let created = sql::row(
        "insert into betweenrows.attribute_definitions as d
             (key, value_type, default_value, allowed_values, required, description)
         values ($1, $2, $3, $4, $5, $6) on conflict do nothing returning to_jsonb(d)",
        &[
            definition.key.as_str().into(),
            definition.value_type.as_str().into(),
            json::parameter(&wanted["default_value"]).into(),
            json::parameter(&wanted["allowed_values"]).into(),
            definition.required.into(),
            args::stored_description(definition.description.as_deref()).into(),
        ],
    );
    if let Some(row) = created {
        audit::record("create", KIND, &definition.key, &Value::Null, &row);
        return Defined {
            row,
            is_new: true,
            changes: Vec::new(),
        };
    }
    let before = find_and_lock(&definition.key)
        .unwrap_or_else(|| errors::concurrent_change(&format!("attribute \"{}\"", definition.key)));
    // Compared as stored: an older definition that cannot be read is repaired by defining the attribute anew.
    let description = args::changed_description(before["description"].as_str(), definition.description.as_deref());
    let mut after = wanted.clone();
    after["required"] = json!(definition.required);
    after["description"] = json!(description);
    let changes: Vec<&'static str> = [
        "value_type",
        "default_value",
        "allowed_values",
        "required",
        "description",
    ]
    .into_iter()
    .filter(|&field| before[field] != after.get(field).cloned().unwrap_or_default())
    .collect();
    if changes.is_empty() {
        return Defined {
            row: before,
            is_new: false,
            changes,
        };
    }
    let row = sql::row(
        "update betweenrows.attribute_definitions d set value_type = $2, default_value = $3, allowed_values = $4,
             required = $5, description = $6, updated_at = now()
         where d.key = $1 returning to_jsonb(d)",
        &[
            definition.key.as_str().into(),
            definition.value_type.as_str().into(),
            json::parameter(&wanted["default_value"]).into(),
            json::parameter(&wanted["allowed_values"]).into(),
            definition.required.into(),
            description.into(),
        ],
    )
    .unwrap_or_default();
    audit::record("alter", KIND, &definition.key, &before, &row);
    Defined {
        row,
        is_new: false,
        changes,
    }
}

/// Refuses changes of a definition that a user's value or a policy's expression no longer suits.
pub(crate) fn check_uses(definition: &Definition, changes: &[&str]) {
    if changes.is_empty() {
        return;
    }
    let unsuited: Vec<String> = values(&definition.key)
        .into_iter()
        .filter_map(|(username, value)| {
            let issue = definition.parse_value(&value).err()?;
            Some(format!("user \"{username}\": {}", issue.message))
        })
        .collect();
    if !unsuited.is_empty() {
        errors::in_use(
            format!(
                "attribute \"{}\" cannot be changed because values of users do not suit it",
                definition.key
            ),
            &unsuited,
            "Set other values with betweenrows.set_attribute() first.",
        );
    }
    // Expressions know the type only. A policy that does not work for another reason must not get in the way.
    if changes.contains(&"value_type") {
        policies::check_those_using(&definition.key);
    }
}

/// Drops a definition that was read with [`find_and_lock`]; refused while it is used, unless forced.
pub(crate) fn drop(before: &Value, force: bool) {
    let key = before["key"].as_str().unwrap_or_default();
    if !force {
        let users = values(key)
            .into_iter()
            .map(|(username, _)| format!("user \"{username}\" has a value"));
        let policies = policies::names_using(key)
            .into_iter()
            .map(|name| format!("policy \"{name}\" uses it"));
        let uses: Vec<String> = policies.chain(users).collect();
        if !uses.is_empty() {
            errors::in_use(
                format!("attribute \"{key}\" cannot be dropped because it is used"),
                &uses,
                "Change those first. With force => true the values are removed and those policies close their tables.",
            );
        }
    }
    sql::run(
        "delete from betweenrows.attribute_definitions where key = $1",
        &[key.into()],
    );
    audit::record("drop", KIND, key, before, &Value::Null);
}

/// The row of a definition, locked against other changes.
pub(crate) fn find_and_lock(key: &str) -> Option<Value> {
    sql::row(
        "select to_jsonb(d) from betweenrows.attribute_definitions d where d.key = $1 for update",
        &[key.into()],
    )
}

/// Refuses values that do not suit their definitions or have none; `path` names where they come from.
pub(crate) fn check_values(path: &str, values: &Map<String, Value>) {
    let definitions = refer_to(values.keys().map(String::as_str));
    let mut issues = Vec::new();
    for (key, value) in values {
        let Some(definition) = definitions.iter().find(|definition| definition.key == *key) else {
            errors::undefined_attribute(key, &format!("{path}.{key}"));
        };
        if let Err(issue) = definition.parse_value(value) {
            issues.push(Issue::new(format!("{path}.{key}{}", issue.path), issue.message));
        }
    }
    if !issues.is_empty() {
        errors::malformed("attribute value", &issues);
    }
}

/// The definitions of these keys, as far as they exist, locked against being changed or dropped.
pub(crate) fn refer_to<'a>(keys: impl Iterator<Item = &'a str>) -> Vec<Definition> {
    let keys: Vec<&str> = keys.collect();
    if keys.is_empty() {
        return Vec::new();
    }
    sql::rows(
        "select to_jsonb(d) from betweenrows.attribute_definitions d where d.key = any ($1) order by d.key for key share",
        &[keys.into()],
    )
    .iter()
    .map(from_row)
    .collect()
}

/// A definition as the catalog holds it.
fn from_row(row: &Value) -> Definition {
    let fields = [
        "key",
        "value_type",
        "default_value",
        "allowed_values",
        "required",
        "description",
    ];
    let object: Map<String, Value> = fields
        .iter()
        .map(|&field| (field.to_owned(), row[field].clone()))
        .collect();
    attribute::parse_definition(&Value::Object(object))
        .unwrap_or_else(|issue| errors::corrupt_catalog(format!("attribute {}: {issue}", row["key"])))
}

/// Users with a value for a key, and the value.
fn values(key: &str) -> Vec<(String, Value)> {
    sql::latest(
        "select jsonb_build_array(u.username, u.attributes -> $1) from betweenrows.users u
         where u.attributes ? $1 order by u.username",
        &[key.into()],
    )
    .into_iter()
    .map(sql::read)
    .collect()
}

/// Removes every user's value for a key.
fn take_values_away(key: &str) {
    for (username, _) in values(key) {
        super::users::remove_attribute(&username, key);
    }
}
