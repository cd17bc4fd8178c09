//! Roles, their members and what they inherit.

use chrono::{DateTime, Utc};
use policy::roles::RoleGraph;
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Change, Window, check_version, users};
use crate::error::{Error, Result, taken};
use crate::time;

/// A role.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Role {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// For people.
    #[schema(required)]
    pub description: Option<String>,
    /// An inactive role grants nothing and cuts off its parents.
    pub is_active: bool,
    /// How many users are members of the role itself.
    pub direct_member_count: i64,
    /// Counts its changes.
    pub version: i32,
    /// When it was created (UTC).
    #[serde(serialize_with = "time::utc")]
    #[schema(value_type = time::UtcTime)]
    pub created_at: DateTime<Utc>,
    /// When it was changed (UTC).
    #[serde(serialize_with = "time::utc")]
    #[schema(value_type = time::UtcTime)]
    pub updated_at: DateTime<Utc>,
}

/// A user as a member.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Member {
    /// The user's id.
    pub id: Uuid,
    /// The user's name.
    pub username: String,
}

/// A role by name.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RoleName {
    /// The role's id.
    pub id: Uuid,
    /// The role's name.
    pub name: String,
}

/// A policy that is assigned to a role or to one that it inherits from.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RolePolicy {
    /// The policy.
    pub policy_name: String,
    /// Where.
    pub datasource_name: String,
    /// `direct`, or the name of the role it comes from.
    pub source: String,
    /// The lower number wins.
    pub priority: i32,
}

/// A data source that members of a role may use.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RoleAccess {
    /// The data source's id.
    pub datasource_id: Uuid,
    /// The data source's name.
    pub datasource_name: String,
    /// `direct`, or the name of the role it comes from.
    pub source: String,
}

/// A role with everything around it.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoleDetail {
    /// The role itself.
    #[serde(flatten)]
    pub role: Role,
    /// How many users have it, directly or through roles below it.
    pub effective_member_count: i64,
    /// Its direct members.
    pub members: Vec<Member>,
    /// The roles it inherits from.
    pub parent_roles: Vec<RoleName>,
    /// The roles that inherit from it.
    pub child_roles: Vec<RoleName>,
    /// What applies to its members.
    pub policy_assignments: Vec<RolePolicy>,
    /// What its members may use.
    pub datasource_access: Vec<RoleAccess>,
}

/// What a change of a role would concern.
#[derive(Debug, Serialize, ToSchema)]
pub struct Impact {
    /// How many users have it, directly or through roles below it.
    pub affected_users: i64,
    /// How many assignments name it.
    pub affected_assignments: i64,
}

/// A role name has no control characters and none that is invisible at its ends.
pub fn check_name(name: &str) -> Result<()> {
    policy::model::check_name(name)?;
    if name.trim() != name || name.chars().any(char::is_control) {
        return Err(Error::invalid(
            "name: must not begin or end with white space, nor contain control characters",
        ));
    }
    Ok(())
}

/// Roles whose name contains `search`, by name; with an id only that one.
async fn select(conn: &mut PgConnection, id: Option<Uuid>, search: &str, window: Window) -> Result<Vec<Role>> {
    Ok(sqlx::query_as!(
        Role,
        r#"select id, name, description, is_active,
           (select count(*) from role_members m where m.role_id = r.id) as "direct_member_count!",
           version, created_at, updated_at from roles r
           where ($1::uuid is null or id = $1) and (position(lower($2) in lower(name)) > 0)
           order by name offset $3 limit $4"#,
        id,
        search,
        window.offset,
        window.limit
    )
    .fetch_all(conn)
    .await?)
}

/// Roles whose name contains `search`, by name, and how many there are.
pub async fn list(conn: &mut PgConnection, search: &str, window: Window) -> Result<(Vec<Role>, i64)> {
    let rows = select(conn, None, search, window).await?;
    let total = sqlx::query_scalar!(
        r#"select count(*) as "count!" from roles where position(lower($1) in lower(name)) > 0"#,
        search
    )
    .fetch_one(conn)
    .await?;
    Ok((rows, total))
}

/// The role of that id.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Role> {
    let found = select(conn, Some(id), "", Window::ALL).await?.pop();
    found.ok_or(Error::NotFound("role"))
}

/// The id of the role of that name.
pub async fn id_of(conn: &mut PgConnection, name: &str) -> Result<Option<Uuid>> {
    Ok(sqlx::query_scalar!("select id from roles where name = $1", name)
        .fetch_optional(conn)
        .await?)
}

/// The role with everything around it.
pub async fn detail(conn: &mut PgConnection, id: Uuid) -> Result<RoleDetail> {
    let role = find(conn, id).await?;
    let members = sqlx::query_as!(
        Member,
        "select u.id, u.username from role_members m join users u on u.id = m.user_id where m.role_id = $1 \
         order by u.username",
        id
    )
    .fetch_all(&mut *conn)
    .await?;
    let parent_roles = sqlx::query_as!(
        RoleName,
        "select r.id, r.name from role_parents p join roles r on r.id = p.parent_id where p.role_id = $1 order by r.name",
        id
    )
    .fetch_all(&mut *conn)
    .await?;
    let child_roles = sqlx::query_as!(
        RoleName,
        "select r.id, r.name from role_parents p join roles r on r.id = p.role_id where p.parent_id = $1 order by r.name",
        id
    )
    .fetch_all(&mut *conn)
    .await?;
    let sources: Vec<Uuid> = graph(conn)
        .await?
        .active_roles([id.as_u128()].into_iter())
        .into_iter()
        .map(Uuid::from_u128)
        .collect();
    let policy_assignments = sqlx::query_as!(
        RolePolicy,
        r#"select p.name as policy_name, d.name as datasource_name,
           case when a.role_id = $1 then 'direct' else r.name end as "source!", a.priority
           from policy_assignments a join policies p on p.id = a.policy_id join data_sources d on d.id = a.data_source_id
           join roles r on r.id = a.role_id where a.role_id = any ($2) or a.role_id = $1
           order by d.name, a.priority, p.name"#,
        id,
        &sources
    )
    .fetch_all(&mut *conn)
    .await?;
    let datasource_access = sqlx::query_as!(
        RoleAccess,
        r#"select d.id as datasource_id, d.name as datasource_name,
           case when a.role_id = $1 then 'direct' else r.name end as "source!"
           from data_source_roles a join data_sources d on d.id = a.data_source_id join roles r on r.id = a.role_id
           where a.role_id = any ($2) or a.role_id = $1 order by d.name, 3"#,
        id,
        &sources
    )
    .fetch_all(&mut *conn)
    .await?;
    let effective_member_count = effective_members(conn, id).await?.len() as i64;
    Ok(RoleDetail {
        role,
        effective_member_count,
        members,
        parent_roles,
        child_roles,
        policy_assignments,
        datasource_access,
    })
}

/// The users who have a role: its members and those of active roles that inherit from it. None if it is inactive.
pub async fn effective_members(conn: &mut PgConnection, id: Uuid) -> Result<Vec<Member>> {
    find(conn, id).await?;
    let graph = graph(conn).await?;
    let roles = sqlx::query_scalar!("select id from roles")
        .fetch_all(&mut *conn)
        .await?;
    let giving: Vec<Uuid> = roles
        .into_iter()
        .filter(|role| graph.active_roles([role.as_u128()].into_iter()).contains(&id.as_u128()))
        .collect();
    Ok(sqlx::query_as!(
        Member,
        "select distinct u.id, u.username from role_members m join users u on u.id = m.user_id \
         where m.role_id = any ($1) order by u.username",
        &giving
    )
    .fetch_all(conn)
    .await?)
}

/// What a change of a role would concern.
pub async fn impact(conn: &mut PgConnection, id: Uuid) -> Result<Impact> {
    let affected_users = effective_members(conn, id).await?.len() as i64;
    let affected_assignments = sqlx::query_scalar!(
        r#"select count(*) as "count!" from policy_assignments where role_id = $1"#,
        id
    )
    .fetch_one(conn)
    .await?;
    Ok(Impact {
        affected_users,
        affected_assignments,
    })
}

/// All roles with who inherits from whom.
pub async fn graph(conn: &mut PgConnection) -> Result<RoleGraph> {
    let roles = sqlx::query!("select id, name, is_active from roles")
        .fetch_all(&mut *conn)
        .await?;
    let parents = sqlx::query!("select role_id, parent_id from role_parents")
        .fetch_all(conn)
        .await?;
    Ok(RoleGraph::new(
        roles
            .into_iter()
            .map(|role| (role.id.as_u128(), role.name, role.is_active)),
        parents
            .into_iter()
            .map(|edge| (edge.role_id.as_u128(), edge.parent_id.as_u128())),
    ))
}

/// Creates a role.
pub async fn create(change: &mut Change<'_>, name: &str, description: Option<&str>, is_active: bool) -> Result<Role> {
    check_name(name)?;
    let id = sqlx::query_scalar!(
        "insert into roles (name, description, is_active) values ($1, $2, $3) returning id",
        name,
        description,
        is_active
    )
    .fetch_one(&mut *change.tx)
    .await
    .map_err(taken(|| format!("there is a role \"{name}\" already")))?;
    let after = find(&mut change.tx, id).await?;
    change.record("role", id, "create", None::<&Role>, Some(&after)).await?;
    change.touch_all();
    Ok(after)
}

/// What is to be changed; `None` leaves alone.
#[derive(Debug, Default)]
pub struct RoleChange {
    /// The version that the caller read.
    pub version: Option<i32>,
    /// Another name.
    pub name: Option<String>,
    /// For people; `Some(None)` clears.
    pub description: Option<Option<String>>,
    /// Whether it counts.
    pub is_active: Option<bool>,
}

/// Changes a role.
pub async fn update(change: &mut Change<'_>, id: Uuid, wanted: RoleChange) -> Result<Role> {
    let before = find(&mut change.tx, id).await?;
    check_version("role", wanted.version, before.version)?;
    let name = wanted.name.unwrap_or_else(|| before.name.clone());
    check_name(&name)?;
    let description = wanted.description.unwrap_or_else(|| before.description.clone());
    let is_active = wanted.is_active.unwrap_or(before.is_active);
    if (&name, &description, is_active) == (&before.name, &before.description, before.is_active) {
        return Ok(before);
    }
    sqlx::query!(
        "update roles set name = $2, description = $3, is_active = $4, version = version + 1, updated_at = now() \
         where id = $1",
        id,
        name,
        description,
        is_active
    )
    .execute(&mut *change.tx)
    .await
    .map_err(taken(|| format!("there is a role \"{name}\" already")))?;
    let after = find(&mut change.tx, id).await?;
    change.record("role", id, "update", Some(&before), Some(&after)).await?;
    change.touch_all();
    Ok(after)
}

/// Deletes a role with its memberships, inheritance, grants and assignments; the audit has all of them.
pub async fn delete(change: &mut Change<'_>, id: Uuid) -> Result<()> {
    let before = detail(&mut change.tx, id).await?;
    sqlx::query!("delete from roles where id = $1", id)
        .execute(&mut *change.tx)
        .await?;
    change
        .record("role", id, "delete", Some(&before), None::<&Role>)
        .await?;
    change.touch_all();
    Ok(())
}

/// Adds members; those that are already stay.
pub async fn add_members(change: &mut Change<'_>, id: Uuid, user_ids: &[Uuid]) -> Result<()> {
    find(&mut change.tx, id).await?;
    for user in user_ids {
        users::find(&mut change.tx, *user).await?;
    }
    let added = sqlx::query_scalar!(
        "insert into role_members (role_id, user_id) select $1, user_id from unnest($2::uuid[]) user_id \
         on conflict do nothing returning user_id",
        id,
        user_ids
    )
    .fetch_all(&mut *change.tx)
    .await?;
    if !added.is_empty() {
        let added = serde_json::json!({"user_ids": added});
        change
            .record("role", id, "add_members", None::<&Role>, Some(&added))
            .await?;
        change.touch_all();
    }
    Ok(())
}

/// Ends a membership.
pub async fn remove_member(change: &mut Change<'_>, id: Uuid, user: Uuid) -> Result<()> {
    find(&mut change.tx, id).await?;
    let removed = sqlx::query!("delete from role_members where role_id = $1 and user_id = $2", id, user)
        .execute(&mut *change.tx)
        .await?;
    if removed.rows_affected() == 0 {
        return Err(Error::NotFound("member"));
    }
    let before = serde_json::json!({"user_ids": [user]});
    change
        .record("role", id, "remove_member", Some(&before), None::<&Role>)
        .await?;
    change.touch_all();
    Ok(())
}

/// Lets a role inherit from another.
pub async fn add_parent(change: &mut Change<'_>, id: Uuid, parent: Uuid) -> Result<()> {
    let role = find(&mut change.tx, id).await?;
    let above = find(&mut change.tx, parent).await?;
    graph(&mut change.tx)
        .await?
        .check_new_parent(id.as_u128(), parent.as_u128())
        .map_err(|error| {
            Error::invalid(format!(
                "\"{}\" cannot inherit from \"{}\": {error}",
                role.name, above.name
            ))
        })?;
    let added = sqlx::query!(
        "insert into role_parents (role_id, parent_id) values ($1, $2) on conflict do nothing",
        id,
        parent
    )
    .execute(&mut *change.tx)
    .await?;
    if added.rows_affected() == 0 {
        return Err(Error::Conflict(format!(
            "\"{}\" inherits from \"{}\" already",
            role.name, above.name
        )));
    }
    let after = serde_json::json!({"parent_role_id": parent});
    change
        .record("role", id, "add_parent", None::<&Role>, Some(&after))
        .await?;
    change.touch_all();
    Ok(())
}

/// Ends the inheritance.
pub async fn remove_parent(change: &mut Change<'_>, id: Uuid, parent: Uuid) -> Result<()> {
    find(&mut change.tx, id).await?;
    let removed = sqlx::query!(
        "delete from role_parents where role_id = $1 and parent_id = $2",
        id,
        parent
    )
    .execute(&mut *change.tx)
    .await?;
    if removed.rows_affected() == 0 {
        return Err(Error::NotFound("parent role"));
    }
    let before = serde_json::json!({"parent_role_id": parent});
    change
        .record("role", id, "remove_parent", Some(&before), None::<&Role>)
        .await?;
    change.touch_all();
    Ok(())
}
