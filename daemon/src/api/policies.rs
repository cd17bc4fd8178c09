//! Policies.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Shared;
use super::attributes::set;
use super::auth::Admin;
use super::extract::{Body, Ids, Listing, PageQuery, Parameters, nullable};
use super::status::{Absent, Conflicting, Guarded, Unreadable, Unusable};
use crate::error::Result;
use crate::expression;
use crate::store::assignments;
use crate::store::policies::{self, Content, Definition, Policy, PolicyDetail, Target};
use crate::sync;

/// A new policy.
#[derive(Deserialize, ToSchema)]
pub struct CreatePolicy {
    /// 1 to 100 characters.
    name: String,
    /// `row_filter`, `column_mask`, `column_allow`, `column_deny` or `table_deny`.
    policy_type: String,
    description: Option<String>,
    is_enabled: Option<bool>,
    /// `[{schemas, tables, columns?}]`, patterns with `*`; columns for the column types only.
    #[schema(value_type = Vec<Target>)]
    targets: Value,
    /// `{filter_expression, mode?, check_expression?, check?}` or `{mask_expression, writable?}`.
    #[schema(value_type = Option<Definition>)]
    definition: Option<Value>,
    /// The function that decides whether it takes part; without one it always does.
    decision_function_id: Option<Uuid>,
}

/// A changed policy. What is absent is left alone, null clears.
#[derive(Deserialize, ToSchema)]
pub struct UpdatePolicy {
    /// The version that was read: the change is refused when there is a newer one.
    version: i32,
    name: Option<String>,
    policy_type: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    is_enabled: Option<bool>,
    #[schema(value_type = Option<Vec<Target>>)]
    targets: Option<Value>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Definition>)]
    definition: Option<Option<Value>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Uuid>)]
    decision_function_id: Option<Option<Uuid>>,
}

/// An expression to look at.
#[derive(Deserialize, ToSchema)]
pub struct Expression {
    expression: String,
    /// Whether it is meant as a mask.
    #[serde(default)]
    #[expect(dead_code, reason = "to the parser a mask is an expression like a filter")]
    is_mask: bool,
}

/// What is to be said of an expression.
#[derive(Serialize, ToSchema)]
pub struct Validity {
    valid: bool,
    #[schema(required)]
    error: Option<String>,
    /// Where in the expression, in bytes from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<usize>,
}

/// Lists policies
#[utoipa::path(get, path = "/policies", tag = "policies",
    operation_id = "list_policies", security(("token" = [])), params(PageQuery), responses(
    (status = 200, description = "policies, by name", body = Listing<Policy>), Unreadable, Unusable, Guarded
))]
pub async fn list(
    _: Admin,
    State(app): State<Shared>,
    Parameters(page): Parameters<PageQuery>,
) -> Result<Json<Listing<Policy>>> {
    let mut conn = app.store.read().await?;
    Ok(page.listing(policies::list(&mut conn, &page.search, page.window()).await?))
}

/// Creates a policy
///
/// It takes effect once it is assigned in a data source. There the database checks its expression.
#[utoipa::path(post, path = "/policies", tag = "policies",
    operation_id = "create_policy", security(("token" = [])), request_body = CreatePolicy,
    responses((status = 201, description = "the policy", body = PolicyDetail),
        Unreadable, Absent, Conflicting, Unusable, Guarded
))]
pub async fn create(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Body(new): Body<CreatePolicy>,
) -> Result<(StatusCode, Json<PolicyDetail>)> {
    let mut change = app.store.change(actor).await?;
    let content = Content {
        name: new.name,
        policy_type: new.policy_type,
        description: new.description,
        is_enabled: new.is_enabled.unwrap_or(true),
        targets: new.targets,
        definition: new.definition,
        decision_function_id: new.decision_function_id,
    };
    let policy = policies::create(&mut change, content).await?;
    let detail = detail(&mut change.tx, policy.id).await?;
    change.commit().await?;
    Ok((StatusCode::CREATED, Json(detail)))
}

/// Shows a policy with its assignments
#[utoipa::path(get, path = "/policies/{id}", tag = "policies",
    operation_id = "get_policy", security(("token" = [])), params(("id" = Uuid, Path)),
    responses((status = 200, description = "the policy", body = PolicyDetail), Absent, Guarded
))]
pub async fn get(_: Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<Json<PolicyDetail>> {
    let mut conn = app.store.read().await?;
    Ok(Json(detail(&mut conn, id).await?))
}

async fn detail(conn: &mut PgConnection, id: Uuid) -> Result<PolicyDetail> {
    let policy = policies::find(conn, id).await?;
    let filter = assignments::Filter {
        policy: Some(id),
        ..assignments::Filter::default()
    };
    let assignments = assignments::list(conn, filter).await?;
    Ok(PolicyDetail { policy, assignments })
}

/// Changes a policy
///
/// The databases where it is assigned are asked first: what one of them refuses is 422 and changes nothing.
#[utoipa::path(put, path = "/policies/{id}", tag = "policies",
    operation_id = "update_policy", security(("token" = [])), params(("id" = Uuid, Path)),
    request_body = UpdatePolicy,
    responses((status = 200, description = "the policy", body = PolicyDetail),
        Unreadable, Absent, Conflicting, Unusable, Guarded
))]
pub async fn update(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Ids(id): Ids<Uuid>,
    Body(wanted): Body<UpdatePolicy>,
) -> Result<Json<PolicyDetail>> {
    let mut change = app.store.change(actor).await?;
    policies::update(&mut change, id, Some(wanted.version), |content| {
        set(&mut content.name, wanted.name);
        set(&mut content.policy_type, wanted.policy_type);
        set(&mut content.description, wanted.description);
        set(&mut content.is_enabled, wanted.is_enabled);
        set(&mut content.targets, wanted.targets);
        set(&mut content.definition, wanted.definition);
        set(&mut content.decision_function_id, wanted.decision_function_id);
    })
    .await?;
    sync::preflight(&mut change, id).await?;
    let detail = detail(&mut change.tx, id).await?;
    change.commit().await?;
    Ok(Json(detail))
}

/// Deletes a policy with its assignments
#[utoipa::path(delete, path = "/policies/{id}", tag = "policies",
    operation_id = "delete_policy", security(("token" = [])), params(("id" = Uuid, Path)),
    responses((status = 204, description = "it is gone"), Absent, Guarded
))]
pub async fn delete(Admin(actor): Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<StatusCode> {
    let mut change = app.store.change(actor).await?;
    policies::delete(&mut change, id).await?;
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Looks at the syntax of an expression
///
/// Whether tables, columns and types are right is only known in a database, and told when a policy is assigned there.
#[utoipa::path(post, path = "/policies/validate-expression", tag = "policies", security(("token" = [])),
    request_body = Expression,
    responses((status = 200, description = "what is to be said", body = Validity), Unreadable, Unusable, Guarded
))]
pub async fn validate_expression(_: Admin, Body(wanted): Body<Expression>) -> Result<Json<Validity>> {
    let fault = expression::parse(&wanted.expression).err();
    Ok(Json(Validity {
        valid: fault.is_none(),
        offset: fault.as_ref().map(|fault| fault.offset),
        error: fault.map(|fault| fault.to_string()),
    }))
}
