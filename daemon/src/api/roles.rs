//! Roles, their members and what they inherit.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Shared;
use super::auth::Admin;
use super::extract::{Body, Ids, Listing, PageQuery, Parameters, nullable};
use super::status::{Absent, Conflicting, Guarded, Unreadable, Unusable};
use crate::error::Result;
use crate::store::roles::{self, Impact, Member, Role, RoleChange, RoleDetail};

/// A new role.
#[derive(Deserialize, ToSchema)]
pub struct CreateRole {
    /// 1 to 100 characters.
    name: String,
    description: Option<String>,
    is_active: Option<bool>,
}

/// A changed role. What is absent is left alone.
#[derive(Deserialize, ToSchema)]
pub struct UpdateRole {
    name: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    is_active: Option<bool>,
    /// The version that was read: the change is refused when there is a newer one.
    version: Option<i32>,
}

/// New members.
#[derive(Deserialize, ToSchema)]
pub struct AddMembers {
    user_ids: Vec<Uuid>,
}

/// A role to inherit from.
#[derive(Deserialize, ToSchema)]
pub struct AddParent {
    parent_role_id: Uuid,
}

/// Lists roles
#[utoipa::path(get, path = "/roles", tag = "roles",
    operation_id = "list_roles", security(("token" = [])), params(PageQuery), responses(
    (status = 200, description = "roles, by name", body = Listing<Role>), Unreadable, Unusable, Guarded
))]
pub async fn list(
    _: Admin,
    State(app): State<Shared>,
    Parameters(page): Parameters<PageQuery>,
) -> Result<Json<Listing<Role>>> {
    let mut conn = app.store.read().await?;
    Ok(page.listing(roles::list(&mut conn, &page.search, page.window()).await?))
}

/// Creates a role
#[utoipa::path(post, path = "/roles", tag = "roles",
    operation_id = "create_role", security(("token" = [])), request_body = CreateRole, responses(
    (status = 201, description = "the role", body = RoleDetail), Unreadable, Conflicting, Unusable, Guarded
))]
pub async fn create(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Body(new): Body<CreateRole>,
) -> Result<(StatusCode, Json<RoleDetail>)> {
    let mut change = app.store.change(actor).await?;
    let role = roles::create(
        &mut change,
        &new.name,
        new.description.as_deref(),
        new.is_active.unwrap_or(true),
    )
    .await?;
    let detail = roles::detail(&mut change.tx, role.id).await?;
    change.commit().await?;
    Ok((StatusCode::CREATED, Json(detail)))
}

/// Shows a role with everything around it
#[utoipa::path(get, path = "/roles/{id}", tag = "roles",
    operation_id = "get_role", security(("token" = [])), params(("id" = Uuid, Path)), responses(
    (status = 200, description = "the role", body = RoleDetail), Absent, Guarded
))]
pub async fn get(_: Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<Json<RoleDetail>> {
    let mut conn = app.store.read().await?;
    Ok(Json(roles::detail(&mut conn, id).await?))
}

/// Changes a role
#[utoipa::path(put, path = "/roles/{id}", tag = "roles",
    operation_id = "update_role", security(("token" = [])), params(("id" = Uuid, Path)),
    request_body = UpdateRole,
    responses((status = 200, description = "the role", body = RoleDetail),
        Unreadable, Absent, Conflicting, Unusable, Guarded
))]
pub async fn update(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Ids(id): Ids<Uuid>,
    Body(wanted): Body<UpdateRole>,
) -> Result<Json<RoleDetail>> {
    let mut change = app.store.change(actor).await?;
    let wanted = RoleChange {
        version: wanted.version,
        name: wanted.name,
        description: wanted.description,
        is_active: wanted.is_active,
    };
    roles::update(&mut change, id, wanted).await?;
    let detail = roles::detail(&mut change.tx, id).await?;
    change.commit().await?;
    Ok(Json(detail))
}

/// Deletes a role
///
/// Its memberships, inheritance, grants and assignments go with it.
#[utoipa::path(delete, path = "/roles/{id}", tag = "roles",
    operation_id = "delete_role", security(("token" = [])), params(("id" = Uuid, Path)),
    responses((status = 204, description = "it is gone"), Absent, Guarded
))]
pub async fn delete(Admin(actor): Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<StatusCode> {
    let mut change = app.store.change(actor).await?;
    roles::delete(&mut change, id).await?;
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the users who have a role, directly or through roles below it
#[utoipa::path(get, path = "/roles/{id}/effective-members", tag = "roles",
    operation_id = "list_effective_members", security(("token" = [])),
    params(("id" = Uuid, Path)), responses((status = 200, description = "by name", body = Vec<Member>), Absent, Guarded
))]
pub async fn effective_members(_: Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<Json<Vec<Member>>> {
    let mut conn = app.store.read().await?;
    Ok(Json(roles::effective_members(&mut conn, id).await?))
}

/// Shows what a change of a role would concern
#[utoipa::path(get, path = "/roles/{id}/impact", tag = "roles",
    operation_id = "get_role_impact", security(("token" = [])), params(("id" = Uuid, Path)),
    responses((status = 200, description = "numbers", body = Impact), Absent, Guarded
))]
pub async fn impact(_: Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<Json<Impact>> {
    let mut conn = app.store.read().await?;
    Ok(Json(roles::impact(&mut conn, id).await?))
}

/// Adds members
#[utoipa::path(post, path = "/roles/{id}/members", tag = "roles", security(("token" = [])), params(("id" = Uuid, Path)),
    request_body = AddMembers,
    responses((status = 200, description = "the role", body = RoleDetail), Unreadable, Absent, Unusable, Guarded
))]
pub async fn add_members(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Ids(id): Ids<Uuid>,
    Body(new): Body<AddMembers>,
) -> Result<Json<RoleDetail>> {
    let mut change = app.store.change(actor).await?;
    roles::add_members(&mut change, id, &new.user_ids).await?;
    let detail = roles::detail(&mut change.tx, id).await?;
    change.commit().await?;
    Ok(Json(detail))
}

/// Ends a membership
#[utoipa::path(delete, path = "/roles/{id}/members/{user}", tag = "roles", security(("token" = [])),
    params(("id" = Uuid, Path), ("user" = Uuid, Path)),
    responses((status = 204, description = "it ended"), Absent, Guarded
))]
pub async fn remove_member(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Ids((id, user)): Ids<(Uuid, Uuid)>,
) -> Result<StatusCode> {
    let mut change = app.store.change(actor).await?;
    roles::remove_member(&mut change, id, user).await?;
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a role inherit from another
#[utoipa::path(post, path = "/roles/{id}/parents", tag = "roles", security(("token" = [])), params(("id" = Uuid, Path)),
    request_body = AddParent,
    responses((status = 200, description = "the role", body = RoleDetail),
        Unreadable, Absent, Conflicting, Unusable, Guarded
))]
pub async fn add_parent(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Ids(id): Ids<Uuid>,
    Body(new): Body<AddParent>,
) -> Result<Json<RoleDetail>> {
    let mut change = app.store.change(actor).await?;
    roles::add_parent(&mut change, id, new.parent_role_id).await?;
    let detail = roles::detail(&mut change.tx, id).await?;
    change.commit().await?;
    Ok(Json(detail))
}

/// Ends the inheritance
#[utoipa::path(delete, path = "/roles/{id}/parents/{parent}", tag = "roles", security(("token" = [])),
    params(("id" = Uuid, Path), ("parent" = Uuid, Path)),
    responses((status = 204, description = "it ended"), Absent, Guarded
))]
pub async fn remove_parent(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Ids((id, parent)): Ids<(Uuid, Uuid)>,
) -> Result<StatusCode> {
    let mut change = app.store.change(actor).await?;
    roles::remove_parent(&mut change, id, parent).await?;
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
