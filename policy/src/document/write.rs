//! Writing a policy document: what [`Document::parse`] reads back as the same document.

use super::{Assignee, AssignmentSpec, Document, PolicySpec, RoleSpec, Switch, UserSpec};
use crate::allowlist::Allowlist;
use crate::attribute;
use crate::function::FunctionSpec;
use crate::model::targets_to_json;
use serde_json::{Map, Value, json};

impl Document {
    /// The JSON form, sections and keys in the order of the documentation, what is `None` left out.
    pub fn to_json(&self) -> Value {
        object([
            ("version", Some(json!(self.version))),
            ("access_mode", self.access_mode.map(|mode| json!(mode.as_str()))),
            ("attributes", list(&self.attributes, attribute::Definition::to_json)),
            ("roles", list(&self.roles, RoleSpec::to_json)),
            ("users", list(&self.users, UserSpec::to_json)),
            (
                "decision_functions",
                list(&self.decision_functions, FunctionSpec::to_json),
            ),
            ("policies", list(&self.policies, PolicySpec::to_json)),
            (
                "access",
                switch(&self.access, |grants| grants.iter().map(Assignee::to_json).collect()),
            ),
            ("catalog", switch(&self.catalog, Allowlist::to_json)),
        ])
    }
}

impl RoleSpec {
    fn to_json(&self) -> Value {
        object([
            ("name", Some(json!(self.name))),
            ("description", self.description.as_ref().map(|text| json!(text))),
            ("is_active", self.is_active.map(|truth| json!(truth))),
            ("parents", self.parents.as_ref().map(|names| json!(names))),
        ])
    }
}

impl UserSpec {
    fn to_json(&self) -> Value {
        object([
            ("username", Some(json!(self.username))),
            ("is_active", self.is_active.map(|truth| json!(truth))),
            ("attributes", self.attributes.clone().map(Value::Object)),
            ("roles", self.roles.as_ref().map(|names| json!(names))),
        ])
    }
}

impl PolicySpec {
    fn to_json(&self) -> Value {
        object([
            ("name", Some(json!(self.name))),
            ("policy_type", Some(json!(self.policy_type.as_str()))),
            ("description", self.description.as_ref().map(|text| json!(text))),
            ("is_enabled", Some(json!(self.is_enabled))),
            ("targets", Some(targets_to_json(&self.targets))),
            ("definition", self.definition.to_json()),
            (
                "decision_function",
                self.decision_function.as_ref().map(|name| json!(name)),
            ),
            ("assignments", list(&self.assignments, AssignmentSpec::to_json)),
        ])
    }
}

impl AssignmentSpec {
    fn to_json(&self) -> Value {
        let mut value = self.to.to_json();
        value["priority"] = json!(self.priority);
        value
    }
}

impl Assignee {
    fn to_json(&self) -> Value {
        match self {
            Assignee::Everyone => json!({}),
            Assignee::Role(name) => json!({ "role": name }),
            Assignee::User(name) => json!({ "user": name }),
        }
    }
}

fn object<const N: usize>(entries: [(&str, Option<Value>); N]) -> Value {
    let entries = entries
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(entries.collect::<Map<_, _>>())
}

fn switch<T>(section: &Switch<T>, to_json: impl Fn(&T) -> Value) -> Option<Value> {
    match section {
        Switch::Keep => None,
        Switch::Off => Some(Value::Null),
        Switch::On(section) => Some(to_json(section)),
    }
}

fn list<T>(items: &Option<Vec<T>>, to_json: impl Fn(&T) -> Value) -> Option<Value> {
    items.as_ref().map(|items| items.iter().map(to_json).collect())
}
