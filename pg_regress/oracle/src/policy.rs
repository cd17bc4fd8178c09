//! Users, roles, attributes and policies, and the calls of the extension's SQL interface that make them.

use std::collections::BTreeMap;

use crate::dice::Dice;
use crate::schema::SCHEMA;
use crate::types::{TENANTS, quote};

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `string`
    Text(String),
    /// `integer`
    Int(i64),
    /// `boolean`
    Bool(bool),
    /// `list`
    List(Vec<String>),
}

impl Value {
    /// The value as JSON.
    pub fn json(&self) -> String {
        match self {
            Value::Text(text) => format!("\"{text}\""),
            Value::Int(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            Value::List(items) => {
                format!(
                    "[{}]",
                    items
                        .iter()
                        .map(|item| format!("\"{item}\""))
                        .collect::<Vec<_>>()
                        .join(", ")
                )
            }
        }
    }
}

/// The attributes that are always defined: key, type, default.
pub fn definitions() -> [(&'static str, &'static str, Option<Value>); 5] {
    [
        ("tenant", "string", None),
        ("word", "string", Some(Value::Text("bee".into()))),
        ("level", "integer", Some(Value::Int(4))),
        ("vip", "boolean", None),
        ("tenants", "list", None),
    ]
}

/// A random value for an attribute.
pub fn attribute(dice: &mut Dice, key: &str) -> Value {
    match key {
        "tenant" => Value::Text(dice.pick(&TENANTS).to_string()),
        "word" => Value::Text(dice.pick(&["ant", "cat", "eel"]).to_string()),
        "level" => Value::Int(dice.below(10) as i64),
        "vip" => Value::Bool(dice.chance(50)),
        _ => Value::List(
            TENANTS
                .iter()
                .filter(|_| dice.chance(60))
                .map(|tenant| tenant.to_string())
                .collect(),
        ),
    }
}

/// A login role and subject.
#[derive(Debug, Clone)]
pub struct User {
    /// The role's name.
    pub name: String,
    /// Whether betweenrows knows it.
    pub registered: bool,
    /// Attribute values.
    pub attributes: BTreeMap<&'static str, Value>,
    /// betweenrows roles it is a member of.
    pub roles: Vec<String>,
    /// betweenrows roles it has through the PostgreSQL role of the same name.
    pub groups: Vec<String>,
}

/// A betweenrows role.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Whether it is active.
    pub active: bool,
    /// Roles whose policies it inherits.
    pub parents: Vec<String>,
    /// Whether there is a PostgreSQL role of the same name.
    pub group: bool,
}

/// What a policy does.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Filter expression, whether it is permissive, and what new rows have to satisfy.
    Filter {
        expression: String,
        permissive: bool,
        check: Check,
    },
    /// Mask expression.
    Mask(String),
    /// `column_allow`
    Allow,
    /// `column_deny`
    Deny,
    /// `table_deny`
    TableDeny,
}

/// What a filter demands of new rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Check {
    /// Its own expression.
    Filter,
    /// Another expression.
    Expression(String),
    /// Nothing.
    None,
}

/// To whom a policy is assigned.
#[derive(Debug, Clone, PartialEq)]
pub enum Assignee {
    /// Everyone.
    All,
    /// A user.
    User(String),
    /// A role.
    Role(String),
}

/// One target entry; the schema is always the governed one.
#[derive(Debug, Clone)]
pub struct Target {
    /// Patterns of relation names.
    pub tables: Vec<String>,
    /// Patterns of column names.
    pub columns: Vec<String>,
}

/// A policy with its assignments.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// What it is about.
    pub targets: Vec<Target>,
    /// Whether it is enabled.
    pub enabled: bool,
    /// To whom, with which priority.
    pub assignments: Vec<(Assignee, i32)>,
}

impl Policy {
    /// The calls that create and assign it.
    pub fn install(&self) -> Vec<String> {
        let list = |items: &[String]| {
            let items: Vec<String> = items.iter().map(|item| json_text(item)).collect();
            format!("[{}]", items.join(", "))
        };
        let targets: Vec<String> = self
            .targets
            .iter()
            .map(|target| {
                let columns = match target.columns.is_empty() {
                    true => String::new(),
                    false => format!(", \"columns\": {}", list(&target.columns)),
                };
                format!(
                    "{{\"schemas\": [\"{SCHEMA}\"], \"tables\": {}{columns}}}",
                    list(&target.tables)
                )
            })
            .collect();
        let (kind, definition) = match &self.kind {
            Kind::Filter { .. } => ("row_filter", self.filter_definition()),
            Kind::Mask(expression) => (
                "column_mask",
                format!("{{\"mask_expression\": {}}}", json_text(expression)),
            ),
            Kind::Allow => ("column_allow", String::new()),
            Kind::Deny => ("column_deny", String::new()),
            Kind::TableDeny => ("table_deny", String::new()),
        };
        let definition = if definition.is_empty() {
            "NULL".into()
        } else {
            quote(&definition)
        };
        let mut all = vec![format!(
            "SELECT betweenrows.create_policy({}, '{kind}', {}::jsonb, {definition}::jsonb, is_enabled => {})",
            quote(&self.name),
            quote(format!("[{}]", targets.join(", "))),
            self.enabled
        )];
        for (to, priority) in &self.assignments {
            let to = match to {
                Assignee::All => String::new(),
                Assignee::User(user) => format!(", to_user => {}", quote(user)),
                Assignee::Role(role) => format!(", to_role => {}", quote(role)),
            };
            all.push(format!(
                "SELECT betweenrows.assign_policy({}{to}, priority => {priority})",
                quote(&self.name)
            ));
        }
        all
    }

    /// The JSON definition of a filter.
    pub fn filter_definition(&self) -> String {
        let Kind::Filter {
            expression,
            permissive,
            check,
        } = &self.kind
        else {
            return String::new();
        };
        let mode = if *permissive { "permissive" } else { "restrictive" };
        let check = match check {
            Check::Filter => String::new(),
            Check::Expression(check) => format!(", \"check_expression\": {}", json_text(check)),
            Check::None => ", \"check\": \"none\"".to_string(),
        };
        format!(
            "{{\"filter_expression\": {}, \"mode\": \"{mode}\"{check}}}",
            json_text(expression)
        )
    }
}

/// `text` as a JSON string.
fn json_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
