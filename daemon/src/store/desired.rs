//! The policy document that a data source should have, and the store as a document for people.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use policy::allowlist::Allowlist;
use policy::document::{Assignee, AssignmentSpec, Document, PolicySpec, RoleSpec, Switch, UserSpec, VERSION};
use policy::function::FunctionSpec;
use policy::model;
use serde_json::{Map, Value};
use sqlx::PgConnection;
use uuid::Uuid;

use super::assignments::{self, Assignment};
use super::catalog::{self, Catalog};
use super::{Window, attributes, data_sources, decision_functions, grants, policies};
use crate::error::{Error, Result};

/// What a data source should have.
pub async fn for_sync(conn: &mut PgConnection, data_source: Uuid) -> Result<Document> {
    let mut document = for_export(conn, Some(data_source)).await?;
    // A database gets the functions that it needs.
    let policies = document.policies.iter().flatten();
    let used: BTreeSet<&String> = policies
        .filter_map(|policy| policy.decision_function.as_ref())
        .collect();
    let functions = document.decision_functions.iter_mut();
    functions.for_each(|functions| functions.retain(|function| used.contains(&function.name)));
    Ok(document)
}

async fn access(conn: &mut PgConnection, data_source: Uuid) -> Result<Vec<Assignee>> {
    let users = grants::users(conn, data_source).await?.into_iter();
    let roles = grants::roles(conn, data_source).await?.into_iter();
    let users = users.map(|user| Assignee::User(user.username));
    Ok(users.chain(roles.map(|role| Assignee::Role(role.name))).collect())
}

/// What a catalog selects.
pub fn allowlist(catalog: &Catalog) -> Allowlist {
    let tables = |tables: BTreeMap<String, Vec<String>>| {
        let tables = tables.into_iter();
        Some(
            tables
                .map(|(name, columns)| (name, Some(columns.into_iter().collect())))
                .collect(),
        )
    };
    let schemas = catalog.selection().into_iter();
    Allowlist {
        schemas: schemas.map(|(name, below)| (name, tables(below))).collect(),
    }
}

/// The store as a document: with access mode, assignments, grants and catalog of a data source, or without any of them. A
/// grant is always required there, and nothing exists that is not selected, unless the data source says so.
pub async fn for_export(conn: &mut PgConnection, data_source: Option<Uuid>) -> Result<Document> {
    let (access_mode, access, catalog) = match data_source {
        Some(id) => {
            let source = data_sources::find(conn, id).await?;
            let catalog = match selected(conn, id).await? {
                Some(selected) => Switch::On(selected),
                None => Switch::Off,
            };
            let access_mode = model::parse_access_mode(&source.access_mode)?;
            (Some(access_mode), Switch::On(access(conn, id).await?), catalog)
        }
        None => (None, Switch::Keep, Switch::Keep),
    };
    let assigned = match data_source {
        Some(_) => {
            let filter = assignments::Filter {
                data_source,
                ..assignments::Filter::default()
            };
            Some(assignments::list(conn, filter).await?)
        }
        None => None,
    };
    let policies = policies(conn, assigned).await?;
    Ok(Document {
        version: VERSION,
        access_mode,
        attributes: Some(attributes::definitions(conn).await?),
        roles: Some(roles(conn).await?),
        decision_functions: Some(functions(conn).await?),
        users: Some(users(conn).await?),
        policies: Some(policies),
        access,
        catalog,
    })
}

/// What of a data source is selected, unless that is everything.
pub async fn selected(conn: &mut PgConnection, data_source: Uuid) -> Result<Option<Allowlist>> {
    let source = data_sources::find(conn, data_source).await?;
    Ok(match source.catalog_mode.as_str() {
        "everything" => None,
        // Also for a value that the store should not have.
        _ => Some(allowlist(&catalog::find(conn, data_source).await?)),
    })
}

async fn roles(conn: &mut PgConnection) -> Result<Vec<RoleSpec>> {
    let rows = sqlx::query!(
        r#"select name, description, is_active, array(select p.name from role_parents e join roles p on p.id = e.parent_id
           where e.role_id = r.id order by p.name) as "parents!" from roles r order by name"#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| RoleSpec {
            name: row.name,
            // Absent would leave a description alone that was cleared here.
            description: Some(row.description.unwrap_or_default()),
            is_active: Some(row.is_active),
            parents: Some(row.parents),
        })
        .collect())
}

async fn users(conn: &mut PgConnection) -> Result<Vec<UserSpec>> {
    let rows = sqlx::query!(
        r#"select username, is_active, attributes, array(select r.name from role_members m
           join roles r on r.id = m.role_id where m.user_id = u.id order by r.name) as "roles!"
           from users u order by username"#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| UserSpec {
            username: row.username,
            is_active: Some(row.is_active),
            attributes: Some(match row.attributes {
                Value::Object(values) => values,
                _ => Map::new(),
            }),
            roles: Some(row.roles),
        })
        .collect())
}

async fn functions(conn: &mut PgConnection) -> Result<Vec<FunctionSpec>> {
    let (all, _) = decision_functions::list(conn, "", Window::ALL).await?;
    all.iter().map(decision_functions::DecisionFunction::spec).collect()
}

/// All policies, or those that are among `assigned`.
async fn policies(conn: &mut PgConnection, assigned: Option<Vec<Assignment>>) -> Result<Vec<PolicySpec>> {
    let (all, _) = policies::list(conn, "", Window::ALL).await?;
    let mut by_policy: HashMap<Uuid, Vec<AssignmentSpec>> = HashMap::new();
    for assignment in assigned.iter().flatten() {
        let assignments = by_policy.entry(assignment.policy_id).or_default();
        assignments.push(assignment_spec(assignment));
    }
    all.into_iter()
        .filter(|policy| assigned.is_none() || by_policy.contains_key(&policy.id))
        .map(|policy| {
            let assignments = assigned
                .is_some()
                .then(|| by_policy.get(&policy.id).cloned().unwrap_or_default());
            spec(&policy, assignments)
        })
        .collect()
}

/// An assignment as part of a document.
pub fn assignment_spec(assignment: &Assignment) -> AssignmentSpec {
    AssignmentSpec {
        priority: assignment.priority,
        to: match (&assignment.username, &assignment.role_name) {
            (Some(user), _) => Assignee::User(user.clone()),
            (None, Some(role)) => Assignee::Role(role.clone()),
            (None, None) => Assignee::Everyone,
        },
    }
}

/// A policy as part of a document.
pub fn spec(policy: &policies::Policy, assignments: Option<Vec<AssignmentSpec>>) -> Result<PolicySpec> {
    let policy_type = model::parse_policy_type(&policy.policy_type)?;
    let unusable = |issue| Error::Internal(format!("policy \"{}\" in the store: {issue}", policy.name));
    Ok(PolicySpec {
        name: policy.name.clone(),
        policy_type,
        description: Some(policy.description.clone().unwrap_or_default()),
        is_enabled: policy.is_enabled,
        targets: model::parse_targets(&policy.targets).map_err(unusable)?,
        definition: model::parse_definition(policy_type, policy.definition.as_ref()).map_err(unusable)?,
        decision_function: policy.decision_function.as_ref().map(|function| function.name.clone()),
        assignments,
    })
}
