//! Accounts.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Shared;
use super::auth::Admin;
use super::extract::{Body, Ids, Listing, OfDataSource, PageQuery, Parameters, nullable};
use super::status::{Absent, Conflicting, Guarded, Unreadable, Unusable};
use crate::error::Result;
use crate::store::effective::{self, EffectivePolicy};
use crate::store::users::{self, NewUser, Secret, User, UserChange};

/// A new account.
#[derive(Deserialize, ToSchema)]
pub struct CreateUser {
    /// 3 to 50 letters, digits, `_`, `.`, `-`, a letter first; never changes.
    username: String,
    /// At least 8 printable ASCII characters with an upper-case and a lower-case letter, a digit and something else.
    #[schema(format = Password)]
    password: String,
    #[serde(default)]
    is_admin: bool,
    email: Option<String>,
    display_name: Option<String>,
    /// Values by attribute key.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    attributes: Option<Map<String, Value>>,
}

/// A changed account. What is absent is left alone.
#[derive(Deserialize, ToSchema)]
pub struct UpdateUser {
    is_admin: Option<bool>,
    is_active: Option<bool>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    email: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    display_name: Option<Option<String>>,
    /// All values by attribute key: what is not listed is removed.
    #[schema(value_type = Option<Object>)]
    attributes: Option<Map<String, Value>>,
    /// The version that was read: the change is refused when there is a newer one.
    version: Option<i32>,
}

/// A new password.
#[derive(Deserialize, ToSchema)]
pub struct SetPassword {
    #[schema(format = Password)]
    password: String,
}

/// Lists accounts
#[utoipa::path(get, path = "/users", tag = "users",
    operation_id = "list_users", security(("token" = [])), params(PageQuery), responses(
    (status = 200, description = "accounts, by name", body = Listing<User>), Unreadable, Unusable, Guarded
))]
pub async fn list(
    _: Admin,
    State(app): State<Shared>,
    Parameters(page): Parameters<PageQuery>,
) -> Result<Json<Listing<User>>> {
    let mut conn = app.store.read().await?;
    Ok(page.listing(users::list(&mut conn, &page.search, page.window()).await?))
}

/// Creates an account
#[utoipa::path(post, path = "/users", tag = "users",
    operation_id = "create_user", security(("token" = [])), request_body = CreateUser, responses(
    (status = 201, description = "the account", body = User), Unreadable, Conflicting, Unusable, Guarded
))]
pub async fn create(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Body(new): Body<CreateUser>,
) -> Result<(StatusCode, Json<User>)> {
    users::check_username(&new.username)?;
    let secret = Secret::of(new.password).await?;
    let mut change = app.store.change(actor).await?;
    let new = NewUser {
        username: new.username,
        is_admin: new.is_admin,
        is_active: true,
        email: new.email,
        display_name: new.display_name,
        attributes: new.attributes.unwrap_or_default(),
    };
    let user = users::create(&mut change, &new, Some(&secret)).await?;
    change.commit().await?;
    Ok((StatusCode::CREATED, Json(user)))
}

/// Shows an account
#[utoipa::path(get, path = "/users/{id}", tag = "users",
    operation_id = "get_user", security(("token" = [])), params(("id" = Uuid, Path)), responses(
    (status = 200, description = "the account", body = User), Absent, Guarded
))]
pub async fn get(_: Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<Json<User>> {
    let mut conn = app.store.read().await?;
    Ok(Json(users::find(&mut conn, id).await?))
}

/// Changes an account
#[utoipa::path(put, path = "/users/{id}", tag = "users",
    operation_id = "update_user", security(("token" = [])), params(("id" = Uuid, Path)),
    request_body = UpdateUser,
    responses((status = 200, description = "the account", body = User),
        Unreadable, Absent, Conflicting, Unusable, Guarded
))]
pub async fn update(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Ids(id): Ids<Uuid>,
    Body(wanted): Body<UpdateUser>,
) -> Result<Json<User>> {
    let mut change = app.store.change(actor).await?;
    let wanted = UserChange {
        version: wanted.version,
        is_admin: wanted.is_admin,
        is_active: wanted.is_active,
        email: wanted.email,
        display_name: wanted.display_name,
        attributes: wanted.attributes,
    };
    let user = users::update(&mut change, id, wanted).await?;
    change.commit().await?;
    Ok(Json(user))
}

/// Deletes an account
#[utoipa::path(delete, path = "/users/{id}", tag = "users",
    operation_id = "delete_user", security(("token" = [])), params(("id" = Uuid, Path)),
    responses((status = 204, description = "it is gone"), Absent, Conflicting, Guarded
))]
pub async fn delete(Admin(actor): Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<StatusCode> {
    let mut change = app.store.change(actor).await?;
    users::delete(&mut change, id).await?;
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives an account another password
///
/// Its tokens end, and its login roles get the password with the next sync.
#[utoipa::path(put, path = "/users/{id}/password", tag = "users", security(("token" = [])), params(("id" = Uuid, Path)),
    request_body = SetPassword,
    responses((status = 204, description = "it is set"), Unreadable, Absent, Unusable, Guarded
))]
pub async fn set_password(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Ids(id): Ids<Uuid>,
    Body(new): Body<SetPassword>,
) -> Result<StatusCode> {
    let secret = Secret::of(new.password).await?;
    let mut change = app.store.change(actor).await?;
    users::set_password(&mut change, id, &secret).await?;
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shows which policies apply to an account in a data source
#[utoipa::path(get, path = "/users/{id}/effective-policies", tag = "users",
    operation_id = "list_effective_policies", security(("token" = [])),
    params(("id" = Uuid, Path), OfDataSource),
    responses((status = 200, description = "in order of precedence", body = Vec<EffectivePolicy>),
        Unreadable, Absent, Guarded
))]
pub async fn effective_policies(
    _: Admin,
    State(app): State<Shared>,
    Ids(id): Ids<Uuid>,
    Parameters(of): Parameters<OfDataSource>,
) -> Result<Json<Vec<EffectivePolicy>>> {
    let mut conn = app.store.read().await?;
    Ok(Json(effective::policies(&mut conn, id, of.datasource_id).await?))
}
