//! Assignments: for whom a policy is, in which data source.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Change, data_sources, policies, roles, users};
use crate::error::{Error, Result, taken};
use crate::time;

/// An assignment.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Assignment {
    /// Its id.
    pub id: Uuid,
    /// The policy.
    pub policy_id: Uuid,
    /// The policy's name.
    pub policy_name: String,
    /// Where.
    pub data_source_id: Uuid,
    /// Where, by name.
    pub datasource_name: String,
    /// For which user.
    #[schema(required)]
    pub user_id: Option<Uuid>,
    /// For which user, by name.
    #[schema(required)]
    pub username: Option<String>,
    /// For which role.
    #[schema(required)]
    pub role_id: Option<Uuid>,
    /// For which role, by name.
    #[schema(required)]
    pub role_name: Option<String>,
    /// `user`, `role` or `all`.
    pub assignment_scope: String,
    /// The lower number wins.
    pub priority: i32,
    /// When it was created (UTC).
    #[serde(serialize_with = "time::utc")]
    #[schema(value_type = time::UtcTime)]
    pub created_at: DateTime<Utc>,
    /// When it was changed (UTC).
    #[serde(serialize_with = "time::utc")]
    #[schema(value_type = time::UtcTime)]
    pub updated_at: DateTime<Utc>,
}

/// For whom a policy is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Everyone.
    All,
    /// A user.
    User(Uuid),
    /// Those in a role.
    Role(Uuid),
}

impl To {
    /// From a request: without a scope the ids decide, and ids that contradict the scope are refused.
    pub fn new(scope: Option<&str>, user: Option<Uuid>, role: Option<Uuid>) -> Result<Self> {
        match (scope, user, role) {
            (Some("all") | None, None, None) => Ok(To::All),
            (Some("user") | None, Some(user), None) => Ok(To::User(user)),
            (Some("role") | None, None, Some(role)) => Ok(To::Role(role)),
            (Some("all" | "user" | "role") | None, ..) => Err(Error::BadRequest(
                "scope: \"user\" takes just user_id, \"role\" just role_id, \"all\" neither".to_owned(),
            )),
            (Some(_), ..) => Err(Error::invalid("scope: must be user, role or all")),
        }
    }

    fn ids(self) -> (Option<Uuid>, Option<Uuid>) {
        match self {
            To::All => (None, None),
            To::User(id) => (Some(id), None),
            To::Role(id) => (None, Some(id)),
        }
    }
}

/// Which assignments to look for; `None` stands for any.
#[derive(Debug, Default, Clone, Copy)]
pub struct Filter {
    /// The assignment itself.
    pub id: Option<Uuid>,
    /// Where.
    pub data_source: Option<Uuid>,
    /// The policy.
    pub policy: Option<Uuid>,
}

/// Assignments, by data source, priority and policy.
pub async fn list(conn: &mut PgConnection, filter: Filter) -> Result<Vec<Assignment>> {
    Ok(sqlx::query_as!(
        Assignment,
        r#"select a.id, a.policy_id, p.name as policy_name, a.data_source_id, d.name as datasource_name,
           a.user_id, u.username as "username?", a.role_id, r.name as "role_name?",
           case when a.user_id is not null then 'user' when a.role_id is not null then 'role' else 'all' end
           as "assignment_scope!", a.priority, a.created_at, a.updated_at
           from policy_assignments a join policies p on p.id = a.policy_id join data_sources d on d.id = a.data_source_id
           left join users u on u.id = a.user_id left join roles r on r.id = a.role_id
           where ($1::uuid is null or a.id = $1) and ($2::uuid is null or a.data_source_id = $2)
           and ($3::uuid is null or a.policy_id = $3)
           order by d.name, a.priority, p.name, u.username, r.name"#,
        filter.id,
        filter.data_source,
        filter.policy
    )
    .fetch_all(conn)
    .await?)
}

async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Assignment> {
    let filter = Filter {
        id: Some(id),
        ..Filter::default()
    };
    list(conn, filter).await?.pop().ok_or(Error::NotFound("assignment"))
}

/// Assigns a policy.
pub async fn create(
    change: &mut Change<'_>,
    data_source: Uuid,
    policy: Uuid,
    to: To,
    priority: i32,
) -> Result<Assignment> {
    data_sources::find(&mut change.tx, data_source).await?;
    policies::find(&mut change.tx, policy).await?;
    match to {
        To::All => {}
        To::User(id) => drop(users::find(&mut change.tx, id).await?),
        To::Role(id) => drop(roles::find(&mut change.tx, id).await?),
    }
    let (user, role) = to.ids();
    let id = sqlx::query_scalar!(
        "insert into policy_assignments (policy_id, data_source_id, user_id, role_id, priority) \
         values ($1, $2, $3, $4, $5) returning id",
        policy,
        data_source,
        user,
        role,
        priority
    )
    .fetch_one(&mut *change.tx)
    .await
    .map_err(taken(|| "the policy is assigned that way already".to_owned()))?;
    let after = find(&mut change.tx, id).await?;
    change
        .record("policy_assignment", id, "create", None::<&Assignment>, Some(&after))
        .await?;
    change.touch(data_source);
    Ok(after)
}

/// Gives an assignment another priority.
pub async fn set_priority(change: &mut Change<'_>, id: Uuid, priority: i32) -> Result<()> {
    let before = find(&mut change.tx, id).await?;
    if before.priority == priority {
        return Ok(());
    }
    sqlx::query!(
        "update policy_assignments set priority = $2, updated_at = now() where id = $1",
        id,
        priority
    )
    .execute(&mut *change.tx)
    .await?;
    let after = find(&mut change.tx, id).await?;
    change
        .record("policy_assignment", id, "update", Some(&before), Some(&after))
        .await?;
    change.touch(before.data_source_id);
    Ok(())
}

/// Ends an assignment in a data source.
pub async fn delete(change: &mut Change<'_>, data_source: Uuid, id: Uuid) -> Result<()> {
    let before = find(&mut change.tx, id).await?;
    if before.data_source_id != data_source {
        return Err(Error::NotFound("assignment"));
    }
    sqlx::query!("delete from policy_assignments where id = $1", id)
        .execute(&mut *change.tx)
        .await?;
    change
        .record("policy_assignment", id, "delete", Some(&before), None::<&Assignment>)
        .await?;
    change.touch(data_source);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_to_suit_the_scope() {
        let (user, role) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
        let to = |scope, user, role| To::new(scope, user, role).map_err(|error| error.to_string());
        assert_eq!(to(None, None, None), Ok(To::All));
        assert_eq!(to(Some("all"), None, None), Ok(To::All));
        assert_eq!(to(None, user, None), Ok(To::User(user.unwrap())));
        assert_eq!(to(Some("role"), None, role), Ok(To::Role(role.unwrap())));
        for (scope, user, role) in [
            (None, user, role),
            (Some("all"), user, None),
            (Some("user"), None, None),
            (Some("user"), None, role),
            (Some("role"), user, None),
        ] {
            assert!(
                matches!(To::new(scope, user, role), Err(Error::BadRequest(_))),
                "{scope:?}"
            );
        }
        assert!(matches!(To::new(Some("some"), None, None), Err(Error::Invalid(_))));
    }
}
