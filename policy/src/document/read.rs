//! Reading a policy document.

use super::{
    Assignee, AssignmentSpec, DEFAULT_PRIORITY, Document, MAX_DESCRIPTION_BYTES, MAX_ITEMS, MAX_MEMBERSHIPS,
    PolicySpec, RoleSpec, Switch, UserSpec, VERSION,
};
use crate::allowlist;
use crate::attribute::{self, RESERVED_KEYS, ValueType};
use crate::error::Issue;
use crate::function::{self, FunctionSpec};
use crate::json::{self, Issues, Object};
use crate::model::{self, Id, check_name, check_username};
use crate::roles::{MAX_DEPTH, RoleError, RoleGraph};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// Items with their indexes in the section, which differ from their places once an unreadable item was left out.
type Section<T> = Option<Vec<(usize, T)>>;

/// Reads what can be read. The result is of use only if no issue was reported.
pub(super) fn document(value: &Value, issues: &mut Issues) -> Option<Document> {
    let keys = [
        "version",
        "access_mode",
        "attributes",
        "roles",
        "users",
        "decision_functions",
        "policies",
        "access",
        "catalog",
    ];
    let object = Object::open(value, "", &keys, issues)?;
    if let Some(version) = object.required("version", issues)
        && version.as_u64() != Some(VERSION)
    {
        issues.report("version", format!("must be {VERSION}"));
    }
    let access_mode = object.optional("access_mode", issues, |value, path, issues| {
        named(value, path, issues, model::parse_access_mode)
    });
    let attributes = section(
        &object,
        "attributes",
        "key",
        issues,
        attribute::read_definition,
        |item| &item.key,
    );
    let roles = section(&object, "roles", "name", issues, role, |item: &RoleSpec| &item.name);
    let users = section(&object, "users", "username", issues, user, |item: &UserSpec| {
        &item.username
    });
    let functions = section(
        &object,
        "decision_functions",
        "name",
        issues,
        decision_function,
        |item: &FunctionSpec| &item.name,
    );
    let policies = section(&object, "policies", "name", issues, policy, |item: &PolicySpec| {
        &item.name
    });
    let access = switch(&object, "access", issues, access);
    let catalog = switch(&object, "catalog", issues, allowlist::read);
    report_role_defects(&roles, issues);
    report_unsuitable_values(&users, &attributes, issues);
    Some(Document {
        version: VERSION,
        access_mode: access_mode.flatten(),
        attributes: without_indexes(attributes),
        roles: without_indexes(roles),
        users: without_indexes(users),
        decision_functions: without_indexes(functions),
        policies: without_indexes(policies),
        access: access?,
        catalog: catalog?,
    })
}

/// A section for which `null` has a meaning of its own.
fn switch<'a, T>(
    object: &Object<'a>,
    key: &str,
    issues: &mut Issues,
    read: impl FnOnce(&'a Value, &str, &mut Issues) -> Option<T>,
) -> Option<Switch<T>> {
    if object.is_null(key) {
        return Some(Switch::Off);
    }
    let section = object.optional(key, issues, read)?;
    Some(section.map_or(Switch::Keep, Switch::On))
}

/// The items of a section that can be read, `None` if it is absent. Reports names that occur twice.
fn section<'a, T>(
    object: &Object<'a>,
    key: &str,
    name_key: &str,
    issues: &mut Issues,
    read: impl Fn(&'a Value, &str, &mut Issues) -> Option<T>,
    name: impl Fn(&T) -> &String,
) -> Section<T> {
    let mut items: Vec<(usize, T)> = Vec::new();
    let mut index = 0..;
    object.optional(key, issues, |value, path, issues| {
        json::list(value, path, MAX_ITEMS, issues, |value, path, issues| {
            let item = read(value, path, issues);
            items.extend(index.next().zip(item));
            Some(())
        })
    })??;
    let mut first: HashMap<&str, usize> = HashMap::new();
    for (index, item) in &items {
        let earlier = *first.entry(name(item)).or_insert(*index);
        if earlier != *index {
            issues.report(
                format!("{key}[{index}].{name_key}"),
                format!("is the same as in {key}[{earlier}]"),
            );
        }
    }
    Some(items)
}

fn without_indexes<T>(section: Section<T>) -> Option<Vec<T>> {
    section.map(|items| items.into_iter().map(|(_, item)| item).collect())
}

fn role(value: &Value, path: &str, issues: &mut Issues) -> Option<RoleSpec> {
    let object = Object::open(value, path, &["name", "description", "is_active", "parents"], issues)?;
    let name = required_name(&object, "name", issues, check_name);
    let description = object.optional("description", issues, description);
    let is_active = object.optional("is_active", issues, json::boolean);
    let parents = object.optional("parents", issues, names);
    let name = name?;
    if let Some(Some(parents)) = &parents
        && let Some(index) = parents.iter().position(|parent| *parent == name)
    {
        issues.report(
            format!("{}[{index}]", object.path("parents")),
            RoleError::Itself.to_string(),
        );
    }
    Some(RoleSpec {
        name,
        description: description?,
        is_active: is_active?,
        parents: parents?,
    })
}

fn user(value: &Value, path: &str, issues: &mut Issues) -> Option<UserSpec> {
    let object = Object::open(value, path, &["username", "is_active", "attributes", "roles"], issues)?;
    let username = required_name(&object, "username", issues, check_username);
    let is_active = object.optional("is_active", issues, json::boolean);
    let attributes = object.optional("attributes", issues, values);
    let roles = object.optional("roles", issues, names);
    Some(UserSpec {
        username: username?,
        is_active: is_active?,
        attributes: attributes?,
        roles: roles?,
    })
}

fn decision_function(value: &Value, path: &str, issues: &mut Issues) -> Option<FunctionSpec> {
    let object = Object::open(value, path, &function::KEYS, issues)?;
    let name = required_name(&object, "name", issues, check_name);
    let description = object.optional("description", issues, description);
    let settings = function::read(&object, issues)?;
    Some(FunctionSpec {
        name: name?,
        description: description?,
        source: settings.source,
        config: settings.config,
        evaluate_context: settings.evaluate_context,
        on_error: settings.on_error,
        log_level: settings.log_level,
        is_enabled: settings.is_enabled,
    })
}

fn policy(value: &Value, path: &str, issues: &mut Issues) -> Option<PolicySpec> {
    let keys = [
        "name",
        "policy_type",
        "description",
        "is_enabled",
        "targets",
        "definition",
        "decision_function",
        "assignments",
    ];
    let object = Object::open(value, path, &keys, issues)?;
    let name = required_name(&object, "name", issues, check_name);
    let policy_type = object.required("policy_type", issues);
    let policy_type =
        policy_type.and_then(|value| named(value, &object.path("policy_type"), issues, model::parse_policy_type));
    let description = object.optional("description", issues, description);
    let is_enabled = object.optional("is_enabled", issues, json::boolean);
    let targets = object.required("targets", issues);
    let targets = targets.and_then(|value| model::read_targets(value, &object.path("targets"), issues));
    let decision_function = object.optional("decision_function", issues, |value, path, issues| {
        self::name(value, path, issues, check_name)
    });
    let assignments = object.optional("assignments", issues, assignments);
    // Without a type there is no telling what targets and definition have to be.
    let policy_type = policy_type?;
    if let Some(targets) = &targets {
        model::report_unsuitable(policy_type, targets, &object.path("targets"), issues);
    }
    let definition = model::read_definition(
        policy_type,
        object.get("definition"),
        &object.path("definition"),
        issues,
    );
    Some(PolicySpec {
        name: name?,
        policy_type,
        description: description?,
        is_enabled: is_enabled?.unwrap_or(true),
        targets: targets?,
        definition: definition?,
        decision_function: decision_function?,
        assignments: assignments?,
    })
}

pub(super) fn assignments(value: &Value, path: &str, issues: &mut Issues) -> Option<Vec<AssignmentSpec>> {
    let assignments = json::list(value, path, MAX_ITEMS, issues, assignment)?;
    report_repeated(assignments.iter().map(|assignment| &assignment.to), path, issues);
    Some(assignments)
}

fn access(value: &Value, path: &str, issues: &mut Issues) -> Option<Vec<Assignee>> {
    let grants = json::list(value, path, MAX_ITEMS, issues, |value, path, issues| {
        assignee(&Object::open(value, path, &["role", "user"], issues)?, path, issues)
    })?;
    report_repeated(grants.iter(), path, issues);
    Some(grants)
}

fn assignment(value: &Value, path: &str, issues: &mut Issues) -> Option<AssignmentSpec> {
    let object = Object::open(value, path, &["priority", "role", "user"], issues)?;
    let priority = object.optional("priority", issues, |value, path, issues| {
        let priority = value.as_i64().and_then(|number| i32::try_from(number).ok());
        if priority.is_none() {
            issues.report(path, "must be an integer of at most 32 bits");
        }
        priority
    });
    let to = assignee(&object, path, issues);
    Some(AssignmentSpec {
        to: to?,
        priority: priority?.unwrap_or(DEFAULT_PRIORITY),
    })
}

/// Whom an object with the keys `role` and `user` names.
fn assignee(object: &Object, path: &str, issues: &mut Issues) -> Option<Assignee> {
    let role = object.optional("role", issues, |value, path, issues| {
        name(value, path, issues, check_name)
    });
    let user = object.optional("user", issues, |value, path, issues| {
        name(value, path, issues, check_username)
    });
    match (role?, user?) {
        (None, None) => Some(Assignee::Everyone),
        (Some(role), None) => Some(Assignee::Role(role)),
        (None, Some(user)) => Some(Assignee::User(user)),
        (Some(_), Some(_)) => {
            issues.report(path, "must not have both a role and a user");
            None
        }
    }
}

/// Names of roles, each once.
fn names(value: &Value, path: &str, issues: &mut Issues) -> Option<Vec<String>> {
    let names = json::list(value, path, MAX_MEMBERSHIPS, issues, |value, path, issues| {
        name(value, path, issues, check_name)
    })?;
    report_repeated(names.iter(), path, issues);
    Some(names)
}

fn report_repeated<T: Hash + Eq>(items: impl Iterator<Item = T>, path: &str, issues: &mut Issues) {
    let mut seen = HashSet::new();
    for (index, item) in items.enumerate() {
        if !seen.insert(item) {
            issues.report(format!("{path}[{index}]"), "is listed twice");
        }
    }
}

fn required_name(
    object: &Object,
    key: &str,
    issues: &mut Issues,
    check: impl Fn(&str) -> Result<(), Issue>,
) -> Option<String> {
    let value = object.required(key, issues)?;
    name(value, &object.path(key), issues, check)
}

fn name(value: &Value, path: &str, issues: &mut Issues, check: impl Fn(&str) -> Result<(), Issue>) -> Option<String> {
    named(value, path, issues, |text| check(text).map(|()| text.to_owned()))
}

/// A string that stands for something; the issue's own path gives way to the place in the document.
fn named<T>(value: &Value, path: &str, issues: &mut Issues, parse: impl Fn(&str) -> Result<T, Issue>) -> Option<T> {
    let Some(text) = value.as_str() else {
        issues.report(path, "must be a string");
        return None;
    };
    parse(text).map_err(|issue| issues.report(path, issue.message)).ok()
}

/// A description, which may be empty.
fn description(value: &Value, path: &str, issues: &mut Issues) -> Option<String> {
    named(value, path, issues, |text| {
        if text.len() > MAX_DESCRIPTION_BYTES {
            Err(Issue::new(
                "",
                format!("must not be longer than {MAX_DESCRIPTION_BYTES} bytes"),
            ))
        } else if text.contains('\0') {
            Err(Issue::new("", "must not contain a NUL character"))
        } else {
            Ok(text.to_owned())
        }
    })
}

/// A user's attribute values by possible keys; the values themselves are checked once the definitions are known.
fn values(value: &Value, path: &str, issues: &mut Issues) -> Option<Map<String, Value>> {
    let Some(map) = value.as_object() else {
        issues.report(path, "must be an object");
        return None;
    };
    for key in map.keys() {
        if RESERVED_KEYS.contains(&key.as_str()) {
            issues.report(json::child(path, key), "is reserved");
        } else if !attribute::is_key(key) {
            issues.report(json::child(path, key), "is not the key of an attribute");
        }
    }
    Some(map.clone())
}

/// Reports values that do not suit their definition or, where the document does not have it, any attribute type.
fn report_unsuitable_values(
    users: &Section<UserSpec>,
    attributes: &Section<attribute::Definition>,
    issues: &mut Issues,
) {
    let definitions: HashMap<&str, &attribute::Definition> = attributes
        .iter()
        .flatten()
        .map(|(_, definition)| (definition.key.as_str(), definition))
        .collect();
    let suits_some_type = |value: &Value| {
        ValueType::ALL
            .iter()
            .any(|ty| attribute::parse_value(*ty, value).is_ok())
    };
    for (index, user) in users.iter().flatten() {
        for (key, value) in user.attributes.iter().flatten() {
            let path = format!("users[{index}].attributes.{key}");
            match definitions.get(key.as_str()) {
                Some(definition) => {
                    if let Err(issue) = definition.parse_value(value) {
                        issues.report(path + &issue.path, issue.message);
                    }
                }
                None if suits_some_type(value) => {}
                None => issues.report(
                    path,
                    "must be a string, an integer, true or false, or a list of strings",
                ),
            }
        }
    }
}

/// Reports cycles and chains that are too long among the document's own roles.
fn report_role_defects(roles: &Section<RoleSpec>, issues: &mut Issues) {
    let roles: Vec<&(usize, RoleSpec)> = roles.iter().flatten().collect();
    let ids: HashMap<&str, Id> = roles
        .iter()
        .map(|(index, role)| (role.name.as_str(), *index as Id))
        .collect();
    let parents = roles.iter().flat_map(|(index, role)| {
        let known = role
            .parents
            .iter()
            .flatten()
            .filter_map(|parent| ids.get(parent.as_str()));
        // A role that is its own parent was reported where it says so.
        known
            .map(move |parent| (*index as Id, *parent))
            .filter(|(role, parent)| role != parent)
    });
    let graph = RoleGraph::new(
        roles
            .iter()
            .map(|(index, role)| (*index as Id, role.name.clone(), true)),
        parents,
    );
    for (id, defect) in graph.defects() {
        let message = match defect {
            RoleError::TooDeep => format!("leads to an ancestor more than {MAX_DEPTH} steps away"),
            RoleError::Cycle | RoleError::Itself => {
                "leads to roles that inherit from each other in a circle".to_owned()
            }
        };
        issues.report(format!("roles[{id}].parents"), message);
    }
}
