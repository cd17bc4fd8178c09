//! How far the data sources are.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use uuid::Uuid;

use super::Shared;
use super::auth::Admin;
use super::extract::Ids;
use super::status::{Absent, Guarded};
use crate::error::Result;
use crate::store::sync_states::{self, SyncState};

/// The header that answers to changes carry: `in_sync`, `pending`, `partial` or `failed`.
pub const HEADER: &str = "betweenrows-sync";

/// Time between two looks at the state.
const POLL: Duration = Duration::from_millis(20);

/// Lists the sync states of all data sources
#[utoipa::path(get, path = "/sync", tag = "sync",
    operation_id = "list_sync_states", security(("token" = [])), responses(
    (status = 200, description = "by name of the data source", body = Vec<SyncState>), Guarded
))]
pub async fn list(_: Admin, State(app): State<Shared>) -> Result<Json<Vec<SyncState>>> {
    let mut conn = app.store.read().await?;
    Ok(Json(sync_states::list(&mut conn, None).await?))
}

/// Shows the sync state of a data source
#[utoipa::path(get, path = "/datasources/{id}/sync", tag = "sync",
    operation_id = "get_sync_state", security(("token" = [])), params(("id" = Uuid, Path)),
    responses((status = 200, description = "the state", body = SyncState), Absent, Guarded
))]
pub async fn get(_: Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<Json<SyncState>> {
    let mut conn = app.store.read().await?;
    Ok(Json(sync_states::find(&mut conn, id).await?))
}

/// Asks for the sync of a data source now
#[utoipa::path(post, path = "/datasources/{id}/sync", tag = "sync",
    operation_id = "request_sync", security(("token" = [])), params(("id" = Uuid, Path)),
    responses((status = 202, description = "it is asked for", body = SyncState), Absent, Guarded
))]
pub async fn request(_: Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<(StatusCode, Json<SyncState>)> {
    let mut conn = app.store.read().await?;
    sync_states::find(&mut conn, id).await?;
    sync_states::request(&mut conn, id).await?;
    Ok((StatusCode::ACCEPTED, Json(sync_states::find(&mut conn, id).await?)))
}

/// Whether a request is to change what the data sources are brought in line with.
pub fn is_change(method: &Method, path: &str) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
        && path.starts_with("/api/v1/")
        && !path.ends_with("/auth/login")
        && !path.ends_with("/test")
        && !path.ends_with("/preview")
        && !path.ends_with("/validate-expression")
        && !path.contains("/discover")
}

/// Lets the answer to a change tell whether it is in force, after a moment's wait for that.
pub async fn tell_state(State(app): State<Shared>, request: Request, next: Next) -> Response {
    // A dry run changes nothing, and has nothing to wait for.
    let is_dry_run = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("dry_run=true"));
    let changes = is_change(request.method(), request.uri().path()) && !is_dry_run;
    let mut response = next.run(request).await;
    if changes && response.status().is_success() {
        match state(&app).await {
            Ok(state) => {
                response.headers_mut().insert(HEADER, HeaderValue::from_static(state));
            }
            Err(error) => tracing::warn!(%error, "cannot tell the state of the sync"),
        }
    }
    response
}

/// The worst state among the active data sources, once none is under way or the wait is over.
async fn state(app: &Shared) -> Result<&'static str> {
    let deadline = Instant::now() + app.sync_wait;
    loop {
        let mut conn = app.store.read().await?;
        let summary = sqlx::query!(
            r#"select count(*) filter (where requested > done and failures = 0) as "pending!",
               count(*) filter (where failures > 0) as "failed!",
               count(*) filter (where state = 'partial') as "partial!"
               from sync_states s join data_sources d on d.id = s.data_source_id where d.is_active"#
        )
        .fetch_one(&mut *conn)
        .await?;
        drop(conn);
        if summary.pending > 0 && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
            continue;
        }
        return Ok(if summary.failed > 0 {
            "failed"
        } else if summary.pending > 0 {
            "pending"
        } else if summary.partial > 0 {
            "partial"
        } else {
            "in_sync"
        });
    }
}
