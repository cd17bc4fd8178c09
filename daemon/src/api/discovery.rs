//! Discovery jobs and the catalog.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Shared;
use super::auth::Admin;
use super::extract::{Body, Ids};
use super::status::{Absent, Conflicting, Guarded, Unreadable, Unusable};
use super::tag::{IfMatch, Tagged};
use crate::discovery::Request;
use crate::error::Result;
use crate::store::catalog::{self, Catalog};
use crate::store::data_sources;
use crate::store::jobs::{self, Job};

/// Time between two looks at a job that a client follows.
const POLL: Duration = Duration::from_millis(150);
/// Time after which a stream without news says that it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A job that was begun.
#[derive(Serialize, ToSchema)]
pub struct Started {
    job_id: Uuid,
}

/// Begins a discovery job
///
/// A data source has one at a time, whichever daemon runs it.
#[utoipa::path(post, path = "/datasources/{id}/discover", tag = "catalog",
    operation_id = "start_discovery_job", security(("token" = [])),
    params(("id" = Uuid, Path), ("if-match" = Option<String>, Header, description = "the `ETag` of what was read")),
    request_body = Request,
    responses((status = 202, description = "it was begun", body = Started),
        Unreadable, Absent, Conflicting, Unusable, Guarded
))]
pub async fn start(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Ids(id): Ids<Uuid>,
    read: IfMatch,
    Body(request): Body<Request>,
) -> Result<(StatusCode, Json<Started>)> {
    if let Request::SaveCatalog { .. } = request {
        read.check("catalog", &catalog::find(&mut *app.store.read().await?, id).await?)?;
    }
    let job_id = app.discovery.start(app.store.clone(), actor, id, request, read).await?;
    Ok((StatusCode::ACCEPTED, Json(Started { job_id })))
}

/// Shows a discovery job
#[utoipa::path(get, path = "/datasources/{id}/discover/{job}", tag = "catalog",
    operation_id = "get_discovery_job", security(("token" = [])),
    params(("id" = Uuid, Path), ("job" = Uuid, Path)),
    responses((status = 200, description = "the job", body = Job), Absent, Guarded
))]
pub async fn get(_: Admin, State(app): State<Shared>, Ids((id, job)): Ids<(Uuid, Uuid)>) -> Result<Json<Job>> {
    let mut conn = app.store.read().await?;
    Ok(Json(jobs::find(&mut conn, id, job).await?))
}

/// Cancels a discovery job
///
/// What it asked the database is cancelled there, too.
#[utoipa::path(delete, path = "/datasources/{id}/discover/{job}", tag = "catalog",
    operation_id = "cancel_discovery_job", security(("token" = [])),
    params(("id" = Uuid, Path), ("job" = Uuid, Path)),
    responses((status = 204, description = "it was cancelled"), Absent, Guarded
))]
pub async fn cancel(_: Admin, State(app): State<Shared>, Ids((id, job)): Ids<(Uuid, Uuid)>) -> Result<StatusCode> {
    let mut conn = app.store.read().await?;
    jobs::cancel(&mut conn, id, job).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Follows a discovery job
///
/// Server-sent events, each with one JSON object as its data: `{"type":"progress","phase":…,"detail":…}` from the job's
/// beginning on, and at its end `{"type":"result","data":…}` and `{"type":"done"}`, `{"type":"error","message":…}` or
/// `{"type":"cancelled"}`.
#[utoipa::path(get, path = "/datasources/{id}/discover/{job}/events", tag = "catalog",
    operation_id = "follow_discovery_job", security(("token" = [])),
    params(("id" = Uuid, Path), ("job" = Uuid, Path)),
    responses((status = 200, description = "the events", body = String, content_type = "text/event-stream"),
        Absent, Guarded
))]
pub async fn events(
    _: Admin,
    State(app): State<Shared>,
    Ids((id, job)): Ids<(Uuid, Uuid)>,
) -> Result<Sse<impl Stream<Item = std::result::Result<Event, Infallible>>>> {
    let mut follower = Follower {
        app,
        data_source: id,
        job,
        told: 0,
        queue: VecDeque::new(),
        is_over: false,
    };
    follower.look().await?;
    let stream = stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok(Event::default().data(event.to_string())), follower))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("ping")))
}

/// Where somebody is who follows a job.
struct Follower {
    app: Shared,
    data_source: Uuid,
    job: Uuid,
    told: usize,
    queue: VecDeque<Value>,
    is_over: bool,
}

impl Follower {
    /// The next event; `None` after the last one, and when the daemon stops.
    async fn next(&mut self) -> Option<Value> {
        let mut stopping = self.app.discovery.stopping();
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return None,
                () = tokio::time::sleep(POLL) => {}
            }
            match self.look().await {
                Ok(()) => {}
                Err(crate::error::Error::NotFound(_)) => self.is_over = true,
                Err(error) => tracing::debug!(%error, "cannot look at a discovery job, trying again"),
            }
        }
    }

    /// Puts what is new into the queue.
    async fn look(&mut self) -> Result<()> {
        let mut conn = self.app.store.read().await?;
        let job = jobs::find(&mut conn, self.data_source, self.job).await?;
        let progress = job.progress.as_array().map(Vec::as_slice).unwrap_or_default();
        for step in progress.iter().skip(self.told) {
            self.queue
                .push_back(json!({"type": "progress", "phase": step["phase"], "detail": step["detail"]}));
        }
        self.told = self.told.max(progress.len());
        match job.status.as_str() {
            "running" => return Ok(()),
            "completed" => {
                self.queue.push_back(json!({"type": "result", "data": job.result}));
                self.queue.push_back(json!({"type": "done"}));
            }
            _ if job.is_cancelled => self.queue.push_back(json!({"type": "cancelled"})),
            _ => self.queue.push_back(json!({"type": "error", "message": job.error})),
        }
        self.is_over = true;
        Ok(())
    }
}

/// Shows the catalog
///
/// In `catalog_mode` `selected` what is not selected here does not exist for users.
#[utoipa::path(get, path = "/datasources/{id}/catalog", tag = "catalog",
    operation_id = "get_catalog", security(("token" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "the catalog", body = Catalog, headers(("etag" = String, description = "for `If-Match`"))),
        Absent, Guarded
))]
pub async fn catalog(_: Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<Tagged<Catalog>> {
    let mut conn = app.store.read().await?;
    data_sources::find(&mut conn, id).await?;
    Ok(Tagged(catalog::find(&mut conn, id).await?))
}
