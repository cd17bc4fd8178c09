//! Policies from JSON and back: what `create_policy` and the policy document accept.

use super::{AccessMode, Check, Definition, FilterMode, PolicyType, Target, Targets};
use crate::error::Issue;
use crate::json::{self, Issues, Object};
use crate::pattern::Pattern;
use serde_json::{Map, Value, json};

/// Longest expression in bytes.
pub const MAX_EXPRESSION_BYTES: usize = 65_536;
/// Most entries in `targets`, and most patterns in one list of an entry.
pub const MAX_TARGETS: usize = 1_000;

/// Most characters of the name of a policy or a role.
pub const MAX_NAME_CHARS: usize = 100;
/// Most bytes of a username, as of every name in PostgreSQL.
pub const MAX_USERNAME_BYTES: usize = 63;

/// Whether a text can name a policy or a role: 1 to [`MAX_NAME_CHARS`] characters, not only white space, no NUL.
pub fn check_name(text: &str) -> Result<(), Issue> {
    let message = match text {
        _ if text.trim().is_empty() => "must not be empty".to_owned(),
        _ if text.chars().count() > MAX_NAME_CHARS => format!("must not be longer than {MAX_NAME_CHARS} characters"),
        _ if text.contains('\0') => "must not contain a NUL character".to_owned(),
        _ => return Ok(()),
    };
    Err(Issue::new("name", message))
}

/// Whether a text can be a username, which is the name of a PostgreSQL role.
pub fn check_username(text: &str) -> Result<(), Issue> {
    check_identifier(text).map_err(|issue| Issue::new("username", issue.message))
}

/// Whether PostgreSQL can name something so: 1 to [`MAX_USERNAME_BYTES`] bytes without NUL.
pub fn check_identifier(text: &str) -> Result<(), Issue> {
    let message = match text {
        "" => "must not be empty".to_owned(),
        _ if text.len() > MAX_USERNAME_BYTES => format!("must not be longer than {MAX_USERNAME_BYTES} bytes"),
        _ if text.contains('\0') => "must not contain a NUL character".to_owned(),
        _ => return Ok(()),
    };
    Err(Issue::new("name", message))
}

/// A policy type from its text form, e.g. `row_filter`.
pub fn parse_policy_type(text: &str) -> Result<PolicyType, Issue> {
    PolicyType::ALL
        .into_iter()
        .find(|policy_type| policy_type.as_str() == text)
        .ok_or_else(|| {
            let known = PolicyType::ALL.map(PolicyType::as_str).join(", ");
            Issue::new("policy_type", format!("must be one of {known}"))
        })
}

/// An access mode from its text form, `open` or `policy_required`.
pub fn parse_access_mode(text: &str) -> Result<AccessMode, Issue> {
    match text {
        "open" => Ok(AccessMode::Open),
        "policy_required" => Ok(AccessMode::PolicyRequired),
        _ => Err(Issue::new("access_mode", "must be open or policy_required")),
    }
}

/// Targets from a list of `{schemas, tables, columns?}`; paths start with `targets`.
///
/// Whether they suit a policy type is for [`check_targets`].
pub fn parse_targets(value: &Value) -> Result<Vec<Target>, Issue> {
    let mut issues = Issues::default();
    let targets = read_targets(value, "targets", &mut issues);
    issues.finish_first(targets)
}

/// Whether targets suit a policy type: columns are required by the column types and refused by the others.
pub fn check_targets(policy_type: PolicyType, targets: &[Target]) -> Result<(), Issue> {
    let mut issues = Issues::default();
    report_unsuitable(policy_type, targets, "targets", &mut issues);
    issues.finish_first(Some(()))
}

/// A definition for a policy type; paths start with `definition`. Absent and JSON `null` mean the same.
pub fn parse_definition(policy_type: PolicyType, value: Option<&Value>) -> Result<Definition, Issue> {
    let mut issues = Issues::default();
    let definition = read_definition(policy_type, value, "definition", &mut issues);
    issues.finish_first(definition)
}

impl Targets {
    /// What the catalog stored, checked: anything unusable becomes [`Targets::Invalid`].
    pub fn from_json(policy_type: PolicyType, value: &Value) -> Self {
        let targets = parse_targets(value).and_then(|targets| check_targets(policy_type, &targets).map(|()| targets));
        match targets {
            Ok(targets) => Targets::Valid(targets),
            Err(issue) => Targets::Invalid(issue.to_string()),
        }
    }
}

impl Definition {
    /// What the catalog stored, checked: anything unusable becomes [`Definition::Invalid`].
    pub fn from_json(policy_type: PolicyType, value: Option<&Value>) -> Self {
        parse_definition(policy_type, value).unwrap_or_else(|issue| Definition::Invalid(issue.to_string()))
    }

    /// The JSON form, with defaults left out; `None` where a policy has no definition.
    pub fn to_json(&self) -> Option<Value> {
        match self {
            Definition::RowFilter {
                filter_expression,
                mode,
                check,
            } => {
                let mut object = Map::new();
                object.insert("filter_expression".into(), json!(filter_expression));
                if *mode != FilterMode::default() {
                    object.insert("mode".into(), json!(mode.as_str()));
                }
                match check {
                    Check::Filter => {}
                    Check::Expression(text) => _ = object.insert("check_expression".into(), json!(text)),
                    Check::None => _ = object.insert("check".into(), json!("none")),
                }
                Some(Value::Object(object))
            }
            Definition::ColumnMask {
                mask_expression,
                writable,
            } => {
                let mut object = Map::new();
                object.insert("mask_expression".into(), json!(mask_expression));
                if *writable {
                    object.insert("writable".into(), json!(true));
                }
                Some(Value::Object(object))
            }
            Definition::None | Definition::Invalid(_) => None,
        }
    }
}

impl Target {
    /// The JSON form.
    pub fn to_json(&self) -> Value {
        let texts = |patterns: &[Pattern]| json!(patterns.iter().map(Pattern::as_str).collect::<Vec<_>>());
        let mut object = Map::new();
        object.insert("schemas".into(), texts(&self.schemas));
        object.insert("tables".into(), texts(&self.tables));
        if let Some(columns) = &self.columns {
            object.insert("columns".into(), texts(columns));
        }
        Value::Object(object)
    }
}

/// The JSON form of a list of targets.
pub fn targets_to_json(targets: &[Target]) -> Value {
    targets.iter().map(Target::to_json).collect()
}

pub(crate) fn read_targets(value: &Value, path: &str, issues: &mut Issues) -> Option<Vec<Target>> {
    let targets = json::list(value, path, MAX_TARGETS, issues, read_target)?;
    if targets.is_empty() {
        issues.report(path, "must not be empty");
        return None;
    }
    Some(targets)
}

fn read_target(value: &Value, path: &str, issues: &mut Issues) -> Option<Target> {
    let object = Object::open(value, path, &["schemas", "tables", "columns"], issues)?;
    let schemas = object.required("schemas", issues);
    let schemas = schemas.and_then(|value| read_patterns(value, &object.path("schemas"), issues));
    let tables = object.required("tables", issues);
    let tables = tables.and_then(|value| read_patterns(value, &object.path("tables"), issues));
    let columns = object.optional("columns", issues, read_patterns);
    Some(Target {
        schemas: schemas?,
        tables: tables?,
        columns: columns?,
    })
}

fn read_patterns(value: &Value, path: &str, issues: &mut Issues) -> Option<Vec<Pattern>> {
    let patterns = json::list(value, path, MAX_TARGETS, issues, |value, path, issues| {
        let Some(text) = value.as_str() else {
            issues.report(path, "must be a string");
            return None;
        };
        Pattern::new(text)
            .map_err(|error| issues.report(path, error.to_string()))
            .ok()
    })?;
    if patterns.is_empty() {
        issues.report(path, "must not be empty");
        return None;
    }
    Some(patterns)
}

/// Reports every target that does not suit the policy type; see [`check_targets`].
pub(crate) fn report_unsuitable(policy_type: PolicyType, targets: &[Target], path: &str, issues: &mut Issues) {
    for (index, target) in targets.iter().enumerate() {
        let path = format!("{path}[{index}].columns");
        match (policy_type.needs_columns(), &target.columns) {
            (true, None) => issues.report(path, format!("is required for a {}", policy_type.as_str())),
            (false, Some(_)) => issues.report(path, format!("is not allowed for a {}", policy_type.as_str())),
            _ => {}
        }
    }
}

pub(crate) fn read_definition(
    policy_type: PolicyType,
    value: Option<&Value>,
    path: &str,
    issues: &mut Issues,
) -> Option<Definition> {
    let value = value.filter(|value| !value.is_null());
    match (policy_type, value) {
        (PolicyType::RowFilter, Some(value)) => read_row_filter(value, path, issues),
        (PolicyType::ColumnMask, Some(value)) => read_column_mask(value, path, issues),
        (PolicyType::RowFilter | PolicyType::ColumnMask, None) => {
            issues.report(path, format!("is required for a {}", policy_type.as_str()));
            None
        }
        (PolicyType::ColumnAllow | PolicyType::ColumnDeny | PolicyType::TableDeny, None) => Some(Definition::None),
        (PolicyType::ColumnAllow | PolicyType::ColumnDeny | PolicyType::TableDeny, Some(_)) => {
            issues.report(path, format!("is not allowed for a {}", policy_type.as_str()));
            None
        }
    }
}

fn read_row_filter(value: &Value, path: &str, issues: &mut Issues) -> Option<Definition> {
    let object = Object::open(
        value,
        path,
        &["filter_expression", "mode", "check_expression", "check"],
        issues,
    )?;
    let filter = object.required("filter_expression", issues);
    let filter = filter.and_then(|value| read_expression(value, &object.path("filter_expression"), issues));
    let mode = object.optional("mode", issues, |value, path, issues| match value.as_str() {
        Some("restrictive") => Some(FilterMode::Restrictive),
        Some("permissive") => Some(FilterMode::Permissive),
        _ => {
            issues.report(path, "must be restrictive or permissive");
            None
        }
    });
    let check_expression = object.optional("check_expression", issues, read_expression);
    let unchecked = object.optional("check", issues, |value, path, issues| {
        let none = value.as_str() == Some("none");
        if !none {
            issues.report(path, "must be none, or left out");
        }
        none.then_some(())
    });
    let check = match (check_expression?, unchecked?) {
        (None, None) => Check::Filter,
        (Some(text), None) => Check::Expression(text),
        (None, Some(())) => Check::None,
        (Some(_), Some(())) => {
            issues.report(object.path("check"), "cannot be combined with check_expression");
            return None;
        }
    };
    Some(Definition::RowFilter {
        filter_expression: filter?,
        mode: mode?.unwrap_or_default(),
        check,
    })
}

fn read_column_mask(value: &Value, path: &str, issues: &mut Issues) -> Option<Definition> {
    let object = Object::open(value, path, &["mask_expression", "writable"], issues)?;
    let mask = object.required("mask_expression", issues);
    let mask = mask.and_then(|value| read_expression(value, &object.path("mask_expression"), issues));
    let writable = object.optional("writable", issues, json::boolean);
    Some(Definition::ColumnMask {
        mask_expression: mask?,
        writable: writable?.unwrap_or(false),
    })
}

fn read_expression(value: &Value, path: &str, issues: &mut Issues) -> Option<String> {
    json::text(value, path, MAX_EXPRESSION_BYTES, issues).map(str::to_owned)
}
