//! Attribute definitions.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Shared;
use super::auth::Admin;
use super::extract::{Body, Ids, Listing, PageQuery, Parameters, nullable};
use super::status::{Absent, Conflicting, Guarded, Unreadable, Unusable};
use crate::error::{Error, Result};
use crate::store::attributes::{self, AttributeDefinition, Content};

/// A new definition.
#[derive(Deserialize, ToSchema)]
pub struct CreateAttribute {
    /// `^[A-Za-z][A-Za-z0-9_]{0,63}$`, not reserved; never changes.
    key: String,
    /// Only `user`.
    entity_type: Option<String>,
    display_name: Option<String>,
    /// `string`, `integer`, `boolean` or `list`.
    value_type: String,
    default_value: Option<Value>,
    #[schema(value_type = Option<Vec<Value>>)]
    allowed_values: Option<Value>,
    #[serde(default)]
    required: bool,
    description: Option<String>,
}

/// A changed definition. What is absent is left alone, null clears.
#[derive(Deserialize, ToSchema)]
pub struct UpdateAttribute {
    display_name: Option<String>,
    value_type: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Value>)]
    default_value: Option<Option<Value>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Vec<Value>>)]
    allowed_values: Option<Option<Value>>,
    required: Option<bool>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    /// The version that was read: the change is refused when there is a newer one.
    version: Option<i32>,
}

/// How to delete.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeleteOptions {
    /// Also while users have values or policies use it.
    #[serde(default)]
    force: bool,
}

/// Lists attribute definitions
#[utoipa::path(get, path = "/attribute-definitions", tag = "attributes",
    operation_id = "list_attribute_definitions", security(("token" = [])), params(PageQuery),
    responses((status = 200, description = "definitions, by key", body = Listing<AttributeDefinition>),
        Unreadable, Unusable, Guarded
))]
pub async fn list(
    _: Admin,
    State(app): State<Shared>,
    Parameters(page): Parameters<PageQuery>,
) -> Result<Json<Listing<AttributeDefinition>>> {
    let mut conn = app.store.read().await?;
    Ok(page.listing(attributes::list(&mut conn, &page.search, page.window()).await?))
}

/// Defines an attribute
#[utoipa::path(post, path = "/attribute-definitions", tag = "attributes",
    operation_id = "create_attribute_definition", security(("token" = [])),
    request_body = CreateAttribute,
    responses((status = 201, description = "the definition", body = AttributeDefinition),
        Unreadable, Conflicting, Unusable, Guarded
))]
pub async fn create(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Body(new): Body<CreateAttribute>,
) -> Result<(StatusCode, Json<AttributeDefinition>)> {
    if new.entity_type.is_some_and(|kind| kind != "user") {
        return Err(Error::invalid("entity_type: must be user"));
    }
    let content = Content {
        display_name: new.display_name.unwrap_or_else(|| new.key.clone()),
        key: new.key,
        value_type: new.value_type,
        default_value: new.default_value,
        allowed_values: new.allowed_values,
        required: new.required,
        description: new.description,
    };
    let mut change = app.store.change(actor).await?;
    let definition = attributes::create(&mut change, &content).await?;
    change.commit().await?;
    Ok((StatusCode::CREATED, Json(definition)))
}

/// Shows a definition
#[utoipa::path(get, path = "/attribute-definitions/{id}", tag = "attributes",
    operation_id = "get_attribute_definition", security(("token" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "the definition", body = AttributeDefinition), Absent, Guarded
))]
pub async fn get(_: Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<Json<AttributeDefinition>> {
    let mut conn = app.store.read().await?;
    Ok(Json(attributes::find(&mut conn, id).await?))
}

/// Changes a definition
#[utoipa::path(put, path = "/attribute-definitions/{id}", tag = "attributes",
    operation_id = "update_attribute_definition", security(("token" = [])),
    params(("id" = Uuid, Path)), request_body = UpdateAttribute,
    responses((status = 200, description = "the definition", body = AttributeDefinition),
        Unreadable, Absent, Conflicting, Unusable, Guarded
))]
pub async fn update(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Ids(id): Ids<Uuid>,
    Body(wanted): Body<UpdateAttribute>,
) -> Result<Json<AttributeDefinition>> {
    let mut change = app.store.change(actor).await?;
    let definition = attributes::update(&mut change, id, wanted.version, |content| {
        set(&mut content.display_name, wanted.display_name);
        set(&mut content.value_type, wanted.value_type);
        set(&mut content.default_value, wanted.default_value);
        set(&mut content.allowed_values, wanted.allowed_values);
        set(&mut content.required, wanted.required);
        set(&mut content.description, wanted.description);
    })
    .await?;
    change.commit().await?;
    Ok(Json(definition))
}

/// Puts in a value that was given.
pub(super) fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// Deletes a definition
#[utoipa::path(delete, path = "/attribute-definitions/{id}", tag = "attributes",
    operation_id = "delete_attribute_definition", security(("token" = [])),
    params(("id" = Uuid, Path), DeleteOptions),
    responses((status = 204, description = "it is gone"), Unreadable, Absent, Conflicting, Guarded
))]
pub async fn delete(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Ids(id): Ids<Uuid>,
    Parameters(options): Parameters<DeleteOptions>,
) -> Result<StatusCode> {
    let mut change = app.store.change(actor).await?;
    attributes::delete(&mut change, id, options.force).await?;
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
