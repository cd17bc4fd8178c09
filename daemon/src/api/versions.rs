//! Earlier versions of policies.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Shared;
use super::auth::Admin;
use super::extract::{Body, Ids, Listing, PageQuery, Parameters};
use super::status::{Absent, Conflicting, Guarded, Unreadable, Unusable};
use crate::error::Result;
use crate::store::policies::Policy;
use crate::store::versions::{self, Difference, PolicyVersion};
use crate::sync;

/// Two versions.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Between {
    from: i32,
    to: i32,
}

/// Going back.
#[derive(Deserialize, ToSchema)]
pub struct RollBack {
    /// The policy's current version, as it was read.
    version: i32,
}

/// Lists the versions of a policy
///
/// Those of a deleted policy stay.
#[utoipa::path(get, path = "/policies/{id}/versions", tag = "policies",
    operation_id = "list_policy_versions", security(("token" = [])),
    params(("id" = Uuid, Path),
        ("page" = Option<i64>, Query, description = "From 1; what is less is taken for it."),
        ("page_size" = Option<i64>, Query, description = "1 to 100, 20 unless given; what is less or more is taken for that.")),
    responses((status = 200, description = "newest first", body = Listing<PolicyVersion>), Unreadable, Absent, Guarded
))]
pub async fn list(
    _: Admin,
    State(app): State<Shared>,
    Ids(id): Ids<Uuid>,
    Parameters(page): Parameters<PageQuery>,
) -> Result<Json<Listing<PolicyVersion>>> {
    let mut conn = app.store.read().await?;
    Ok(page.listing(versions::list(&mut conn, id, page.window()).await?))
}

/// Shows a version of a policy
#[utoipa::path(get, path = "/policies/{id}/versions/{version}", tag = "policies",
    operation_id = "get_policy_version", security(("token" = [])),
    params(("id" = Uuid, Path), ("version" = i32, Path)),
    responses((status = 200, description = "the version", body = PolicyVersion), Absent, Guarded
))]
pub async fn get(
    _: Admin,
    State(app): State<Shared>,
    Ids((id, version)): Ids<(Uuid, i32)>,
) -> Result<Json<PolicyVersion>> {
    let mut conn = app.store.read().await?;
    Ok(Json(versions::find(&mut conn, id, version).await?))
}

/// Shows what differs between two versions
#[utoipa::path(get, path = "/policies/{id}/diff", tag = "policies",
    operation_id = "diff_policy_versions", security(("token" = [])),
    params(("id" = Uuid, Path), Between),
    responses((status = 200, description = "the fields that differ", body = Vec<Difference>),
        Unreadable, Absent, Guarded
))]
pub async fn diff(
    _: Admin,
    State(app): State<Shared>,
    Ids(id): Ids<Uuid>,
    Parameters(between): Parameters<Between>,
) -> Result<Json<Vec<Difference>>> {
    let mut conn = app.store.read().await?;
    Ok(Json(versions::diff(&mut conn, id, between.from, between.to).await?))
}

/// Makes a policy again what it was, as a new version
#[utoipa::path(post, path = "/policies/{id}/versions/{version}/rollback", tag = "policies",
    operation_id = "roll_back_policy", security(("token" = [])),
    params(("id" = Uuid, Path), ("version" = i32, Path)), request_body = RollBack,
    responses((status = 200, description = "the policy", body = Policy),
        Unreadable, Absent, Conflicting, Unusable, Guarded
))]
pub async fn roll_back(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Ids((id, version)): Ids<(Uuid, i32)>,
    Body(current): Body<RollBack>,
) -> Result<Json<Policy>> {
    let mut change = app.store.change(actor).await?;
    let policy = versions::roll_back(&mut change, id, version, current.version).await?;
    sync::preflight(&mut change, id).await?;
    change.commit().await?;
    Ok(Json(policy))
}
