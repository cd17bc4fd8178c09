//! Earlier versions of policies: what changed between two of them, and going back.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::policies::{self, Definition, Policy, Target};
use super::{Change, Window, decision_functions};
use crate::error::{Error, Result};
use crate::time;

/// A version of a policy.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PolicyVersion {
    /// The policy.
    pub policy_id: Uuid,
    /// From 1.
    pub version: i32,
    /// `create`, `update` or `delete`.
    pub operation: String,
    /// As it was called.
    pub name: String,
    /// As it was described.
    #[schema(required)]
    pub description: Option<String>,
    /// As it was.
    pub policy_type: String,
    /// As they were.
    #[schema(value_type = Vec<Target>)]
    pub targets: Value,
    /// As it was.
    #[schema(required, value_type = Option<Definition>)]
    pub definition: Option<Value>,
    /// As it was.
    pub is_enabled: bool,
    /// As it was; the function may be gone.
    #[schema(required)]
    pub decision_function_id: Option<Uuid>,
    /// Who made it.
    #[schema(required)]
    pub changed_by: Option<Uuid>,
    /// When (UTC).
    #[serde(serialize_with = "time::utc")]
    #[schema(value_type = time::UtcTime)]
    pub changed_at: DateTime<Utc>,
}

/// What differs between two versions.
#[derive(Debug, Serialize, ToSchema)]
pub struct Difference {
    /// The field.
    pub field: String,
    /// In the first version.
    pub before: Value,
    /// In the second.
    pub after: Value,
}

/// Versions of a policy, newest first; with a number only that one.
async fn select(
    conn: &mut PgConnection,
    policy: Uuid,
    version: Option<i32>,
    window: Window,
) -> Result<Vec<PolicyVersion>> {
    Ok(sqlx::query_as!(
        PolicyVersion,
        "select policy_id, version, operation, name, description, policy_type, targets, definition, is_enabled, \
         decision_function_id, changed_by, changed_at from policy_versions \
         where policy_id = $1 and ($2::int is null or version = $2) order by version desc offset $3 limit $4",
        policy,
        version,
        window.offset,
        window.limit
    )
    .fetch_all(conn)
    .await?)
}

/// Versions of a policy, newest first, and how many there are. Those of deleted policies stay.
pub async fn list(conn: &mut PgConnection, policy: Uuid, window: Window) -> Result<(Vec<PolicyVersion>, i64)> {
    let versions = select(conn, policy, None, window).await?;
    let total = sqlx::query_scalar!(
        r#"select count(*) as "count!" from policy_versions where policy_id = $1"#,
        policy
    )
    .fetch_one(conn)
    .await?;
    if total == 0 {
        return Err(Error::NotFound("policy"));
    }
    Ok((versions, total))
}

/// One version of a policy.
pub async fn find(conn: &mut PgConnection, policy: Uuid, version: i32) -> Result<PolicyVersion> {
    let found = select(conn, policy, Some(version), Window::ALL).await?.pop();
    found.ok_or(Error::NotFound("policy version"))
}

/// What differs between two versions.
pub async fn diff(conn: &mut PgConnection, policy: Uuid, from: i32, to: i32) -> Result<Vec<Difference>> {
    let before = fields(&find(conn, policy, from).await?);
    let after = fields(&find(conn, policy, to).await?);
    Ok(before
        .into_iter()
        .zip(after)
        .filter(|((_, before), (_, after))| before != after)
        .map(|((field, before), (_, after))| Difference {
            field: field.to_owned(),
            before,
            after,
        })
        .collect())
}

fn fields(version: &PolicyVersion) -> [(&'static str, Value); 7] {
    [
        ("name", json!(version.name)),
        ("description", json!(version.description)),
        ("policy_type", json!(version.policy_type)),
        ("targets", version.targets.clone()),
        ("definition", json!(version.definition)),
        ("is_enabled", json!(version.is_enabled)),
        ("decision_function_id", json!(version.decision_function_id)),
    ]
}

/// Makes a policy again what it was in `version`, as a new version. `current` is the version that the caller read.
pub async fn roll_back(change: &mut Change<'_>, policy: Uuid, version: i32, current: i32) -> Result<Policy> {
    let old = find(&mut change.tx, policy, version).await?;
    if let Some(id) = old.decision_function_id
        && let Err(Error::NotFound(_)) = decision_functions::find(&mut change.tx, id).await
    {
        return Err(Error::Conflict(
            "the decision function that the policy had in that version is gone".to_owned(),
        ));
    }
    policies::update(change, policy, Some(current), |content| {
        *content = policies::Content {
            name: old.name,
            policy_type: old.policy_type,
            description: old.description,
            is_enabled: old.is_enabled,
            targets: old.targets,
            definition: old.definition,
            decision_function_id: old.decision_function_id,
        };
    })
    .await
}
