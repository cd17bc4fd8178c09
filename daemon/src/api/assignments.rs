//! Assignments of policies in a data source.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use policy::document::DEFAULT_PRIORITY;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Shared;
use super::auth::Admin;
use super::extract::{Body, Ids};
use super::status::{Absent, Conflicting, Guarded, Unreadable, Unusable};
use crate::error::Result;
use crate::store::assignments::{self, Assignment, Filter, To};
use crate::store::data_sources;
use crate::sync;

/// A new assignment.
#[derive(Deserialize, ToSchema)]
pub struct CreateAssignment {
    policy_id: Uuid,
    /// `user`, `role` or `all`; without it the ids decide.
    scope: Option<String>,
    user_id: Option<Uuid>,
    role_id: Option<Uuid>,
    /// The lower number wins; 100 unless given.
    priority: Option<i32>,
}

/// Lists the assignments in a data source
#[utoipa::path(get, path = "/datasources/{id}/policies", tag = "data sources",
    operation_id = "list_assignments", security(("token" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "by priority", body = Vec<Assignment>), Absent, Guarded
))]
pub async fn list(_: Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<Json<Vec<Assignment>>> {
    let mut conn = app.store.read().await?;
    data_sources::find(&mut conn, id).await?;
    let filter = Filter {
        data_source: Some(id),
        ..Filter::default()
    };
    Ok(Json(assignments::list(&mut conn, filter).await?))
}

/// Assigns a policy in a data source
///
/// The database is asked first: a policy that it refuses is 422 and is not assigned.
#[utoipa::path(post, path = "/datasources/{id}/policies", tag = "data sources",
    operation_id = "create_assignment", security(("token" = [])),
    params(("id" = Uuid, Path)), request_body = CreateAssignment,
    responses((status = 201, description = "the assignment", body = Assignment),
        Unreadable, Absent, Conflicting, Unusable, Guarded
))]
pub async fn create(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Ids(id): Ids<Uuid>,
    Body(new): Body<CreateAssignment>,
) -> Result<(StatusCode, Json<Assignment>)> {
    let to = To::new(new.scope.as_deref(), new.user_id, new.role_id)?;
    let priority = new.priority.unwrap_or(DEFAULT_PRIORITY);
    let mut change = app.store.change(actor).await?;
    let assignment = assignments::create(&mut change, id, new.policy_id, to, priority).await?;
    sync::preflight(&mut change, new.policy_id).await?;
    change.commit().await?;
    Ok((StatusCode::CREATED, Json(assignment)))
}

/// Ends an assignment
#[utoipa::path(delete, path = "/datasources/{id}/policies/{assignment}", tag = "data sources",
    operation_id = "delete_assignment", security(("token" = [])),
    params(("id" = Uuid, Path), ("assignment" = Uuid, Path)),
    responses((status = 204, description = "it ended"), Absent, Guarded
))]
pub async fn delete(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Ids((id, assignment)): Ids<(Uuid, Uuid)>,
) -> Result<StatusCode> {
    let mut change = app.store.change(actor).await?;
    assignments::delete(&mut change, id, assignment).await?;
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
