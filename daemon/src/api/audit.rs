//! Who changed what.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::Shared;
use super::auth::Admin;
use super::extract::{Listing, Parameters, listing, window};
use super::status::Errors;
use crate::error::Result;
use crate::store::admin_audit::{self, AuditEntry, Filter};
use crate::time;

/// Most entries on a page.
const MOST: i64 = 200;

/// Which changes to look for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// From 1.
    #[serde(default = "first")]
    #[param(minimum = 1, default = 1)]
    page: i64,
    /// At most 200.
    #[serde(default = "fifty")]
    #[param(minimum = 1, maximum = 200, default = 50)]
    page_size: i64,
    /// `user`, `role`, `policy`, `policy_assignment`, `attribute_definition` or `datasource`.
    resource_type: Option<String>,
    /// The object.
    resource_id: Option<Uuid>,
    /// The account that did it.
    actor_id: Option<Uuid>,
    /// Not before: a time with a zone, or in UTC without one.
    #[serde(default, deserialize_with = "time::read_optional")]
    #[param(value_type = Option<String>)]
    from: Option<DateTime<Utc>>,
    /// Before.
    #[serde(default, deserialize_with = "time::read_optional")]
    #[param(value_type = Option<String>)]
    to: Option<DateTime<Utc>>,
}

fn first() -> i64 {
    1
}

fn fifty() -> i64 {
    50
}

/// Lists changes made here
#[utoipa::path(get, path = "/audit/admin", tag = "audit", security(("token" = [])), params(AuditQuery), responses(
    (status = 200, description = "newest first", body = Listing<AuditEntry>), Errors
))]
pub async fn admin(
    _: Admin,
    State(app): State<Shared>,
    Parameters(query): Parameters<AuditQuery>,
) -> Result<Json<Listing<AuditEntry>>> {
    let mut conn = app.store.read().await?;
    let filter = Filter {
        resource_type: query.resource_type,
        resource_id: query.resource_id,
        actor_id: query.actor_id,
        from: query.from,
        to: query.to,
    };
    let (rows, ..) = window(query.page, query.page_size, MOST);
    let (data, total) = admin_audit::list(&mut conn, &filter, rows).await?;
    Ok(listing(query.page, query.page_size, MOST, data, total))
}
