//! Who may use a data source at all.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Shared;
use super::auth::Admin;
use super::extract::{Body, Ids};
use super::status::{Absent, Conflicting, Guarded, Unreadable, Unusable};
use super::tag::{IfMatch, Tagged};
use crate::error::Result;
use crate::store::grants;
use crate::store::roles::{Member, RoleName};

/// The users who may use it.
#[derive(Deserialize, ToSchema)]
pub struct SetUsers {
    user_ids: Vec<Uuid>,
}

/// The roles whose members may use it.
#[derive(Deserialize, ToSchema)]
pub struct SetRoles {
    role_ids: Vec<Uuid>,
}

/// Lists the users with a grant of their own
#[utoipa::path(get, path = "/datasources/{id}/users", tag = "data sources",
    operation_id = "list_granted_users", security(("token" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "by name", body = Vec<Member>, headers(("etag" = String, description = "for `If-Match`"))),
        Absent, Guarded
))]
pub async fn users(_: Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<Tagged<Vec<Member>>> {
    let mut conn = app.store.read().await?;
    Ok(Tagged(grants::users(&mut conn, id).await?))
}

/// Replaces the users with a grant of their own
#[utoipa::path(put, path = "/datasources/{id}/users", tag = "data sources",
    operation_id = "set_granted_users", security(("token" = [])),
    params(("id" = Uuid, Path), ("if-match" = Option<String>, Header, description = "the `ETag` of what was read")),
    request_body = SetUsers,
    responses((status = 200, description = "by name", body = Vec<Member>, headers(("etag" = String, description = "for `If-Match`"))),
        Unreadable, Absent, Conflicting, Unusable, Guarded
))]
pub async fn set_users(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Ids(id): Ids<Uuid>,
    read: IfMatch,
    Body(wanted): Body<SetUsers>,
) -> Result<Tagged<Vec<Member>>> {
    let mut change = app.store.change(actor).await?;
    read.check("list of users", &grants::users(&mut change.tx, id).await?)?;
    grants::set_users(&mut change, id, &wanted.user_ids).await?;
    let users = grants::users(&mut change.tx, id).await?;
    change.commit().await?;
    Ok(Tagged(users))
}

/// Lists the roles with a grant
#[utoipa::path(get, path = "/datasources/{id}/access/roles", tag = "data sources",
    operation_id = "list_granted_roles", security(("token" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "by name", body = Vec<RoleName>, headers(("etag" = String, description = "for `If-Match`"))),
        Absent, Guarded
))]
pub async fn roles(_: Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<Tagged<Vec<RoleName>>> {
    let mut conn = app.store.read().await?;
    Ok(Tagged(grants::roles(&mut conn, id).await?))
}

/// Replaces the roles with a grant
#[utoipa::path(put, path = "/datasources/{id}/access/roles", tag = "data sources",
    operation_id = "set_granted_roles", security(("token" = [])),
    params(("id" = Uuid, Path), ("if-match" = Option<String>, Header, description = "the `ETag` of what was read")),
    request_body = SetRoles,
    responses((status = 200, description = "by name", body = Vec<RoleName>, headers(("etag" = String, description = "for `If-Match`"))),
        Unreadable, Absent, Conflicting, Unusable, Guarded
))]
pub async fn set_roles(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Ids(id): Ids<Uuid>,
    read: IfMatch,
    Body(wanted): Body<SetRoles>,
) -> Result<Tagged<Vec<RoleName>>> {
    let mut change = app.store.change(actor).await?;
    read.check("list of roles", &grants::roles(&mut change.tx, id).await?)?;
    grants::set_roles(&mut change, id, &wanted.role_ids).await?;
    let roles = grants::roles(&mut change.tx, id).await?;
    change.commit().await?;
    Ok(Tagged(roles))
}
