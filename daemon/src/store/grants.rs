//! Access grants: who may use a data source at all.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::roles::{self, Member, RoleName};
use super::{Change, data_sources, users};
use crate::error::{Error, Result};

/// The users with a grant of their own, by name.
pub async fn users(conn: &mut PgConnection, data_source: Uuid) -> Result<Vec<Member>> {
    data_sources::find(conn, data_source).await?;
    Ok(sqlx::query_as!(
        Member,
        "select u.id, u.username from data_source_users g join users u on u.id = g.user_id where g.data_source_id = $1 \
         order by u.username",
        data_source
    )
    .fetch_all(conn)
    .await?)
}

/// The roles with a grant, by name.
pub async fn roles(conn: &mut PgConnection, data_source: Uuid) -> Result<Vec<RoleName>> {
    data_sources::find(conn, data_source).await?;
    Ok(sqlx::query_as!(
        RoleName,
        "select r.id, r.name from data_source_roles g join roles r on r.id = g.role_id where g.data_source_id = $1 \
         order by r.name",
        data_source
    )
    .fetch_all(conn)
    .await?)
}

/// The active users who may use a data source: by a grant of their own or of a role that they have.
pub async fn granted(conn: &mut PgConnection, data_source: Uuid) -> Result<BTreeSet<Uuid>> {
    let graph = roles::graph(conn).await?;
    let granted: BTreeSet<u128> = sqlx::query_scalar!(
        "select role_id from data_source_roles where data_source_id = $1",
        data_source
    )
    .fetch_all(&mut *conn)
    .await?
    .into_iter()
    .map(|id| id.as_u128())
    .collect();
    let members = sqlx::query!(
        "select m.role_id, m.user_id from role_members m join users u on u.id = m.user_id where u.is_active"
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut reaching = std::collections::HashMap::new();
    let mut users: BTreeSet<Uuid> = BTreeSet::new();
    for member in members {
        let reaches = *reaching.entry(member.role_id).or_insert_with(|| {
            let roles = graph.active_roles([member.role_id.as_u128()].into_iter());
            !roles.is_disjoint(&granted)
        });
        if reaches {
            users.insert(member.user_id);
        }
    }
    let direct = sqlx::query_scalar!(
        "select g.user_id from data_source_users g join users u on u.id = g.user_id \
         where g.data_source_id = $1 and u.is_active",
        data_source
    )
    .fetch_all(conn)
    .await?;
    users.extend(direct);
    Ok(users)
}

/// Names of the users and active roles that may use a data source. A role of the server that has the name of such a role
/// gives its members what the role has.
pub async fn granted_names(conn: &mut PgConnection, data_source: Uuid) -> Result<BTreeSet<String>> {
    let graph = roles::graph(conn).await?;
    let ids: Vec<Uuid> = granted(conn, data_source).await?.into_iter().collect();
    let users = sqlx::query_scalar!("select username from users where id = any ($1)", &ids)
        .fetch_all(&mut *conn)
        .await?;
    let mut names: BTreeSet<String> = users.into_iter().collect();
    let granted: BTreeSet<u128> = roles(conn, data_source)
        .await?
        .iter()
        .map(|role| role.id.as_u128())
        .collect();
    let all = sqlx::query!("select id, name from roles").fetch_all(conn).await?;
    let reaching = all.into_iter().filter(|role| {
        let above = graph.active_roles([role.id.as_u128()].into_iter());
        !above.is_disjoint(&granted)
    });
    names.extend(reaching.map(|role| role.name));
    Ok(names)
}

/// Replaces the users with a grant of their own.
pub async fn set_users(change: &mut Change<'_>, data_source: Uuid, user_ids: &[Uuid]) -> Result<()> {
    let before = users(&mut change.tx, data_source).await?;
    for id in user_ids {
        users::find(&mut change.tx, *id).await?;
    }
    sqlx::query!(
        "with gone as (delete from data_source_users where data_source_id = $1 and user_id <> all ($2)) \
         insert into data_source_users (data_source_id, user_id) select $1, id from unnest($2::uuid[]) id \
         on conflict do nothing",
        data_source,
        user_ids
    )
    .execute(&mut *change.tx)
    .await?;
    let before: Vec<Uuid> = before.iter().map(|user| user.id).collect();
    let (before, after) = (json!({"user_ids": before}), json!({"user_ids": user_ids}));
    replaced(change, data_source, "set_users", &before, &after).await
}

/// Replaces the roles with a grant. Inactive ones are refused.
pub async fn set_roles(change: &mut Change<'_>, data_source: Uuid, role_ids: &[Uuid]) -> Result<()> {
    let before = roles(&mut change.tx, data_source).await?;
    for id in role_ids {
        let role = roles::find(&mut change.tx, *id).await?;
        if !role.is_active {
            return Err(Error::BadRequest(format!("role \"{}\" is inactive", role.name)));
        }
    }
    sqlx::query!(
        "with gone as (delete from data_source_roles where data_source_id = $1 and role_id <> all ($2)) \
         insert into data_source_roles (data_source_id, role_id) select $1, id from unnest($2::uuid[]) id \
         on conflict do nothing",
        data_source,
        role_ids
    )
    .execute(&mut *change.tx)
    .await?;
    let before: Vec<Uuid> = before.iter().map(|role| role.id).collect();
    let (before, after) = (json!({"role_ids": before}), json!({"role_ids": role_ids}));
    replaced(change, data_source, "set_roles", &before, &after).await
}

async fn replaced(
    change: &mut Change<'_>,
    data_source: Uuid,
    action: &str,
    before: &Value,
    after: &Value,
) -> Result<()> {
    change
        .record("datasource", data_source, action, Some(before), Some(after))
        .await?;
    // Login roles belong to a whole server, with all data sources that are on it.
    change.touch_all();
    Ok(())
}
