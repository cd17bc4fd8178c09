//! What supervisors and monitors ask. None of it needs a token, none of it tells more than numbers and states.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use super::status::ErrorBody;
use crate::error::Result;

/// That it is there.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    status: &'static str,
    /// Of the daemon.
    version: &'static str,
}

/// Whether it can work.
#[derive(Serialize, ToSchema)]
pub struct Readiness {
    /// `ready` or `not ready`.
    status: &'static str,
    /// Whether the store answers.
    store: bool,
    /// Active data sources in which every change is in force.
    data_sources_in_sync: i64,
    /// Active data sources that wait for a sync, or whose sync fails.
    data_sources_behind: i64,
}

fn healthy() -> Json<Health> {
    Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// Tells that the daemon runs
#[utoipa::path(get, path = "/health", tag = "operations",
    responses((status = 200, description = "it does", body = Health)))]
pub async fn health() -> Json<Health> {
    healthy()
}

/// Tells that the daemon runs
#[utoipa::path(get, path = "/health", tag = "operations", operation_id = "health_v1",
    responses((status = 200, description = "it does", body = Health)))]
pub async fn health_v1() -> Json<Health> {
    healthy()
}

/// Tells that the daemon runs
#[utoipa::path(get, path = "/live", tag = "operations",
    responses((status = 200, description = "it does", body = Health)))]
pub async fn live() -> Json<Health> {
    healthy()
}

/// Tells whether the daemon can work
///
/// A data source that is behind does not make it unready: the others are served, and a restart would not help.
#[utoipa::path(get, path = "/ready", tag = "operations", responses(
    (status = 200, description = "it can", body = Readiness),
    (status = 503, description = "the store does not answer", body = Readiness)
))]
pub async fn ready(State(app): State<Shared>) -> Response {
    match counts(&app).await {
        Ok((in_sync, behind)) => Json(Readiness {
            status: "ready",
            store: true,
            data_sources_in_sync: in_sync,
            data_sources_behind: behind,
        })
        .into_response(),
        Err(_) => {
            let body = Readiness {
                status: "not ready",
                store: false,
                data_sources_in_sync: 0,
                data_sources_behind: 0,
            };
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

async fn counts(app: &Shared) -> Result<(i64, i64)> {
    let mut conn = app.store.read().await?;
    let counts = sqlx::query!(
        r#"select count(*) filter (where requested <= done and failures = 0) as "in_sync!",
           count(*) filter (where requested > done or failures > 0) as "behind!"
           from sync_states s join data_sources d on d.id = s.data_source_id where d.is_active"#
    )
    .fetch_one(&mut *conn)
    .await?;
    Ok((counts.in_sync, counts.behind))
}

/// Shows metrics for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "operations", responses(
    (status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"),
    (status = 503, description = "the store does not answer", body = ErrorBody)
))]
pub async fn metrics(State(app): State<Shared>) -> Result<Response> {
    let mut conn = app.store.read().await?;
    let text = app.metrics.text(&mut conn).await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
