//! Reading the catalog tables into a [`Catalog`].
//!
//! Invariant: a row that cannot be understood never makes anything visible. A policy with unreadable targets matches every
//! relation, one with an unreadable definition closes the relations it matches; what is damaged beyond that closes all.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use pgrx::pg_sys::{self, Oid};
use policy::allowlist::Columns;
use policy::attribute;
use policy::function::{DecisionFunction, EvaluateContext, LogLevel, OnError};
use policy::model::{self, AccessMode, Assignment, Definition, Policy, PolicyType, Scope, Targets};
use policy::roles::RoleGraph;
use serde_json::Value;

use super::{Catalog, epoch};
use crate::gate::Function;
use crate::pg::{self, scan};

/// Reads everything but the users.
///
/// # Errors
/// When a table is missing or damaged in a way that cannot be confined to some relations.
pub(super) fn catalog(namespace: Oid) -> Result<Catalog, String> {
    if !epoch::is_connected() {
        return Err("a table that tells of changes is missing".into());
    }
    let read = |table: &str| scan::read(namespace, table, None);

    let (mut access_mode, mut requires_grant, mut allowlist, mut audit) = (AccessMode::Open, false, None, None);
    for row in read("settings")? {
        // What cannot be understood must not open what was closed.
        match row.text("key")? {
            "access_mode" => {
                access_mode = match row.json("value")? {
                    Some(Value::String(mode)) if mode == "open" => AccessMode::Open,
                    _ => AccessMode::PolicyRequired,
                };
            }
            "require_access_grant" => requires_grant = row.json("value")? != Some(Value::Bool(false)),
            "catalog" => allowlist = Some(row.text("value")?.to_owned()),
            // Without the exceptions what the setting says is recorded, which is everything by default.
            "audit" => audit = row.json("value")?.and_then(|value| serde_json::from_value(value).ok()),
            _ => {}
        }
    }

    let mut policies = Vec::new();
    for row in read("policies")? {
        policies.push(policy(&row)?);
    }
    policies.sort_by(|a, b| a.name.cmp(&b.name));

    let mut functions = Vec::new();
    for row in read("decision_functions")? {
        // Where one is missing, its policies do what restricts.
        functions.extend(function(&row).ok());
    }
    functions.sort_by(|a, b| a.facts.name.cmp(&b.facts.name));

    let mut assignments = Vec::new();
    for row in read("policy_assignments")? {
        assignments.push(Assignment {
            id: row.id("id")?,
            policy_id: row.id("policy_id")?,
            scope: scope(&row)?,
            priority: row.integer("priority")?,
        });
    }
    assignments.sort_by_key(|assignment| assignment.id);

    let mut role_names = BTreeMap::new();
    let mut roles = Vec::new();
    for row in read("roles")? {
        let (id, name) = (row.id("id")?, row.text("name")?.to_owned());
        role_names.insert(name.clone(), id);
        roles.push((id, name, row.bool("is_active")?));
    }
    roles.sort();
    let mut parents = Vec::new();
    for row in read("role_parents")? {
        parents.push((row.id("role_id")?, row.id("parent_id")?));
    }
    parents.sort_unstable();

    let mut attributes = BTreeMap::new();
    for row in read("attribute_definitions")? {
        // An attribute that cannot be read is as good as undefined, which closes the tables whose policies use it.
        if let Ok(definition) = attribute_definition(&row) {
            attributes.insert(definition.key.clone(), definition);
        }
    }

    let mut exempt_roles = HashSet::new();
    for row in read("exempt_roles")? {
        exempt_roles.extend(pg::role_oid(row.text("rolename")?));
    }
    let mut exempt_sorted: Vec<u32> = exempt_roles.iter().map(|role| role.to_u32()).collect();
    exempt_sorted.sort_unstable();

    let mut hasher = DefaultHasher::new();
    (access_mode == AccessMode::Open, &allowlist).hash(&mut hasher);
    format!("{policies:?}{assignments:?}{attributes:?}").hash(&mut hasher);
    (&roles, &parents, &exempt_sorted).hash(&mut hasher);
    for function in &functions {
        (
            format!("{:?}", function.facts),
            &function.source,
            &function.engine,
            &function.bytecode,
        )
            .hash(&mut hasher);
    }

    let trusted = crate::guard::trust::load(&read("trusted_objects")?, &exempt_roles)?;
    let mut trusted_sorted: Vec<(u32, u32)> = trusted
        .iter()
        .map(|(class, object)| (class.to_u32(), object.to_u32()))
        .collect();
    trusted_sorted.sort_unstable();
    trusted_sorted.hash(&mut hasher);

    Ok(Catalog {
        namespace,
        access_mode,
        requires_grant,
        allowlist,
        policies,
        functions,
        assignments,
        roles: RoleGraph::new(roles, parents),
        role_names,
        attributes,
        exempt_roles,
        trusted,
        digest: hasher.finish(),
        audit: audit.unwrap_or_default(),
    })
}

fn policy(row: &scan::Row) -> Result<Policy, String> {
    let policy_type = model::parse_policy_type(row.text("policy_type")?);
    let targets = match row.json("targets") {
        Ok(Some(value)) => {
            model::parse_targets(&value).map_or_else(|issue| Targets::Invalid(issue.to_string()), Targets::Valid)
        }
        Ok(None) => Targets::Invalid("targets are null".into()),
        Err(error) => Targets::Invalid(error),
    };
    let definition = match (&policy_type, row.json("definition")) {
        (Ok(policy_type), Ok(value)) => model::parse_definition(*policy_type, value.as_ref())
            .unwrap_or_else(|issue| Definition::Invalid(issue.to_string())),
        (Err(issue), _) => Definition::Invalid(issue.to_string()),
        (_, Err(error)) => Definition::Invalid(error),
    };
    Ok(Policy {
        id: row.id("id")?,
        name: row.text("name")?.to_owned(),
        version: row.integer("version")?,
        // With an unknown type the definition is invalid, which decides.
        policy_type: policy_type.unwrap_or(PolicyType::TableDeny),
        targets,
        definition,
        is_enabled: row.bool("is_enabled")?,
        owner: row.text("owner")?.to_owned(),
        decision_function: row.id_or_null("decision_function_id")?,
    })
}

fn function(row: &scan::Row) -> Result<Function, String> {
    let say = |issue: policy::error::Issue| issue.to_string();
    let config = row.json("config")?.ok_or("config is null")?;
    Ok(Function {
        config: config.to_string(),
        facts: DecisionFunction {
            id: row.id("id")?,
            name: row.text("name")?.to_owned(),
            version: row.integer("version")?,
            config,
            evaluate_context: EvaluateContext::parse(row.text("evaluate_context")?).map_err(say)?,
            on_error: OnError::parse(row.text("on_error")?).map_err(say)?,
            log_level: LogLevel::parse(row.text("log_level")?).map_err(say)?,
            is_enabled: row.bool("is_enabled")?,
        },
        source: row.text("source")?.to_owned(),
        bytecode: bytes(row.text("bytecode")?).unwrap_or_default(),
        engine: row.text("engine")?.to_owned(),
    })
}

/// A bytea in its hexadecimal form. In any other, which a session can choose, the source is compiled again.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let digit = |digit: u8| char::from(digit).to_digit(16);
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

fn attribute_definition(row: &scan::Row) -> Result<attribute::Definition, String> {
    let say = |issue: policy::error::Issue| format!("attribute definition: {issue}");
    let value_type = attribute::parse_value_type(row.text("value_type")?).map_err(say)?;
    let not_null = |value: Option<Value>| value.filter(|value| !value.is_null());
    let element_type = match value_type {
        attribute::ValueType::List => attribute::ValueType::String,
        other => other,
    };
    let allowed_values = match not_null(row.json("allowed_values")?) {
        None => None,
        Some(Value::Array(values)) => Some(
            values
                .iter()
                .map(|value| attribute::parse_value(element_type, value))
                .collect::<Result<Vec<_>, _>>()
                .map_err(say)?,
        ),
        Some(_) => return Err("allowed_values is no array".into()),
    };
    let default_value = not_null(row.json("default_value")?)
        .map(|value| attribute::parse_value(value_type, &value))
        .transpose()
        .map_err(say)?;
    Ok(attribute::Definition {
        key: row.text("key")?.to_owned(),
        value_type,
        default_value,
        allowed_values,
        required: row.bool("required")?,
        description: row.get("description")?.map(str::to_owned),
    })
}

/// The allowlist's entry for a table: the one for the table, or for all of its schema.
///
/// # Errors
/// When the table is missing or damaged.
pub(super) fn selected(namespace: Oid, schema: &str, table: &str) -> Result<Option<Columns>, String> {
    for table in [Some(table), None] {
        let looked_up = format!("{schema}.{}", table.unwrap_or_default());
        let key = ("looked_up", "catalog_tables_looked_up_idx", scan::Key::Text(&looked_up));
        for row in scan::read(namespace, "catalog_tables", Some(key))? {
            // With dots in names, another table can have the same key.
            if row.text("schema_name")? == schema && row.get("table_name")? == table {
                let names = |columns| serde_json::from_value(columns).map_err(|_| "columns are no names".to_owned());
                return Ok(Some(row.json("columns")?.map(names).transpose()?));
            }
        }
    }
    Ok(None)
}

/// The access grants that may reach a subject: those to the user, to one of the roles and to everyone.
///
/// # Errors
/// When the table is missing or damaged.
pub(super) fn grants(
    namespace: Oid,
    user: Option<model::Id>,
    roles: &BTreeSet<model::Id>,
) -> Result<Vec<Scope>, String> {
    let mut grants = Vec::new();
    let grantees = user.into_iter().chain(roles.iter().copied()).chain([EVERYONE]);
    for grantee in grantees {
        let key = ("grantee", "access_grants_grantee_key", scan::Key::Uuid(grantee));
        for row in scan::read(namespace, "access_grants", Some(key))? {
            grants.push(scope(&row)?);
        }
    }
    Ok(grants)
}

/// The grantee of a grant to everyone.
const EVERYONE: model::Id = 0;

/// For whom a row with the columns `user_id` and `role_id` is.
fn scope(row: &scan::Row) -> Result<Scope, String> {
    match (row.id_or_null("user_id")?, row.id_or_null("role_id")?) {
        (None, None) => Ok(Scope::All),
        (Some(user), None) => Ok(Scope::User(user)),
        (None, Some(role)) => Ok(Scope::Role(role)),
        (Some(_), Some(_)) => Err("one row names a user and a role".into()),
    }
}

/// The roles of PostgreSQL that a role has the privileges of and that have a betweenrows role of the same name.
pub(crate) fn inherited_roles(catalog: &Catalog, role: Oid) -> Vec<model::Id> {
    catalog
        .role_names
        .iter()
        .filter(|(name, _)| {
            // SAFETY: cached catalog lookups.
            pg::role_oid(name).is_some_and(|group| unsafe { pg_sys::is_member_of_role_nosuper(role, group) })
        })
        .map(|(_, id)| *id)
        .collect()
}
