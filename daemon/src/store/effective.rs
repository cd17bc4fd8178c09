//! Which policies apply to a user in a data source, and why. Precedence is for the `policy` crate.

use policy::decide::applicable;
use policy::model::{self, Assignment, Definition, Scope, Targets};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::policies::{Definition as DefinitionSchema, Target};
use super::{assignments, data_sources, policies, roles, users};
use crate::error::Result;

/// A policy that applies.
#[derive(Debug, Serialize, ToSchema)]
pub struct EffectivePolicy {
    /// The policy.
    pub policy_id: Uuid,
    /// The policy's name.
    pub policy_name: String,
    /// See the policy.
    pub policy_type: String,
    /// See the policy.
    #[schema(value_type = Vec<Target>)]
    pub targets: Value,
    /// See the policy.
    #[schema(required, value_type = Option<DefinitionSchema>)]
    pub definition: Option<Value>,
    /// The lowest of its priority numbers that reach the user.
    pub priority: i32,
    /// What it comes through with that priority: `user`, `role` or `all`.
    pub source: String,
    /// The roles through which it comes.
    pub roles: Vec<String>,
    /// The function that decides whether it takes part.
    #[schema(required)]
    pub decision_function: Option<String>,
}

/// The enabled policies that apply to a user in a data source, in order of precedence.
pub async fn policies(conn: &mut PgConnection, user: Uuid, data_source: Uuid) -> Result<Vec<EffectivePolicy>> {
    users::find(conn, user).await?;
    data_sources::find(conn, data_source).await?;
    let (all, _) = policies::list(conn, "", super::Window::ALL).await?;
    let filter = assignments::Filter {
        data_source: Some(data_source),
        ..assignments::Filter::default()
    };
    let stored = assignments::list(conn, filter).await?;
    let direct = sqlx::query_scalar!("select role_id from role_members where user_id = $1", user)
        .fetch_all(&mut *conn)
        .await?;
    let graph = roles::graph(conn).await?;
    let active = graph.active_roles(direct.iter().map(|id| id.as_u128()));
    let models: Vec<model::Policy> = all.iter().filter_map(to_model).collect();
    let assigned: Vec<Assignment> = stored
        .iter()
        .map(|assignment| Assignment {
            id: assignment.id.as_u128(),
            policy_id: assignment.policy_id.as_u128(),
            scope: match (assignment.user_id, assignment.role_id) {
                (Some(id), _) => Scope::User(id.as_u128()),
                (None, Some(id)) => Scope::Role(id.as_u128()),
                (None, None) => Scope::All,
            },
            priority: assignment.priority,
        })
        .collect();
    Ok(applicable(&models, &assigned, Some(user.as_u128()), &active)
        .into_iter()
        .filter_map(|entry| {
            let policy = all.iter().find(|policy| policy.id.as_u128() == entry.policy.id)?;
            let through = stored
                .iter()
                .filter(|assignment| assignment.policy_id == policy.id)
                .filter_map(|assignment| {
                    let role = assignment.role_id?;
                    active.contains(&role.as_u128()).then(|| assignment.role_name.clone())?
                });
            Some(EffectivePolicy {
                policy_id: policy.id,
                policy_name: policy.name.clone(),
                policy_type: policy.policy_type.clone(),
                targets: policy.targets.clone(),
                definition: policy.definition.clone(),
                priority: entry.priority,
                source: ["user", "role", "all"][usize::from(entry.scope_rank.min(2))].to_owned(),
                roles: through.collect(),
                decision_function: policy.decision_function.as_ref().map(|function| function.name.clone()),
            })
        })
        .collect())
}

fn to_model(policy: &policies::Policy) -> Option<model::Policy> {
    let policy_type = model::parse_policy_type(&policy.policy_type).ok()?;
    Some(model::Policy {
        id: policy.id.as_u128(),
        name: policy.name.clone(),
        version: policy.version,
        policy_type,
        targets: Targets::from_json(policy_type, &policy.targets),
        definition: Definition::from_json(policy_type, policy.definition.as_ref()),
        is_enabled: policy.is_enabled,
        owner: String::new(),
        decision_function: policy.decision_function_id.map(|id| id.as_u128()),
    })
}
