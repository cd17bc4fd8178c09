//! How far each data source is with what is wanted of it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::discovery::Drift;
use crate::error::{Error, Result};
use crate::time;

/// The state of a data source's sync.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SyncState {
    /// The data source.
    pub data_source_id: Uuid,
    /// Its name.
    pub name: String,
    /// `pending`: not tried yet since the last change; `in_sync`; `partial`: some policies are refused there, everything
    /// else is in force; `failed`: nothing of the last change is in force; `drifted`: somebody changed managed objects
    /// there, and the data source is set to keep that.
    pub state: String,
    /// Whether every change made here is in force there, as far as the database accepts it.
    pub is_current: bool,
    /// Why it failed.
    #[schema(required)]
    pub error: Option<String>,
    /// The policies that are refused there, with what the database says.
    #[schema(value_type = Vec<Problem>)]
    pub problems: Value,
    /// What the last sync did there.
    #[schema(value_type = Vec<Step>)]
    pub steps: Value,
    /// What somebody else had changed there.
    #[schema(value_type = Vec<Step>)]
    pub drift: Value,
    /// In what the database differs from the catalog, as `sync_catalog` tells it; null if nobody looked yet.
    #[schema(required, value_type = Option<Drift>)]
    pub catalog_drift: Option<Value>,
    /// When that was found (UTC).
    #[serde(serialize_with = "time::optional")]
    #[schema(required, value_type = Option<time::UtcTime>)]
    pub catalog_checked_at: Option<DateTime<Utc>>,
    /// What the role of the data source may not do there, with the command that mends it.
    #[schema(value_type = Vec<String>)]
    pub warnings: Value,
    /// Failures in a row.
    pub failures: i32,
    /// When it is tried again (UTC).
    #[serde(serialize_with = "time::optional")]
    #[schema(required, value_type = Option<time::UtcTime>)]
    pub retry_at: Option<DateTime<Utc>>,
    /// When it was last tried (UTC).
    #[serde(serialize_with = "time::optional")]
    #[schema(required, value_type = Option<time::UtcTime>)]
    pub attempted_at: Option<DateTime<Utc>>,
    /// When it last succeeded (UTC).
    #[serde(serialize_with = "time::optional")]
    #[schema(required, value_type = Option<time::UtcTime>)]
    pub succeeded_at: Option<DateTime<Utc>>,
    /// What `betweenrows.audit_status()` said there at the last sync: `backlog_bytes`, `dropped`, `last_moved`, …
    #[schema(required, value_type = Option<Object>)]
    pub audit: Option<Value>,
    /// When it said so (UTC).
    #[serde(serialize_with = "time::optional")]
    #[schema(required, value_type = Option<time::UtcTime>)]
    pub audit_at: Option<DateTime<Utc>>,
}

/// A policy that a database refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What it is about, e.g. `policy "p"`.
    pub object: String,
    /// The name of the policy, if it is one.
    #[schema(required)]
    pub policy: Option<String>,
    /// What PostgreSQL reported.
    pub sqlstate: String,
    /// What PostgreSQL reported.
    pub message: String,
    /// What PostgreSQL reported.
    #[schema(required)]
    pub detail: Option<String>,
    /// What PostgreSQL reported.
    #[schema(required)]
    pub hint: Option<String>,
}

/// Something that was done in a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// `create`, `alter`, `drop`, …; `none` for what is fine as it is.
    pub action: String,
    /// The kind of object.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What about it.
    pub detail: String,
}

/// What a sync has to know.
pub struct Work {
    /// The change that it is about.
    pub requested: i64,
    /// The change that is in force.
    pub done: i64,
    /// The state that the last attempt left.
    pub state: String,
    /// See `sync_states.applied_digest`.
    pub applied_digest: Option<String>,
    /// See `sync_states.remote_digest`.
    pub remote_digest: Option<String>,
    /// The server's identity.
    pub system_identifier: Option<String>,
}

/// What came of a sync.
pub struct Outcome {
    /// The change that was brought there.
    pub requested: i64,
    /// `in_sync`, `partial` or `drifted`.
    pub state: &'static str,
    /// The policies that are refused there.
    pub problems: Vec<Problem>,
    /// See [`SyncState`].
    pub warnings: Vec<String>,
    /// What was done.
    pub steps: Vec<Step>,
    /// What somebody else had changed; `None` leaves the last finding.
    pub drift: Option<Vec<Step>>,
    /// Names of what this store has there now.
    pub managed: Value,
    /// See `sync_states.applied_digest`.
    pub applied_digest: String,
    /// See `sync_states.remote_digest`.
    pub remote_digest: String,
    /// The server's identity.
    pub system_identifier: String,
}

/// The states of some data sources, or of all, by name.
pub async fn list(conn: &mut PgConnection, ids: Option<&[Uuid]>) -> Result<Vec<SyncState>> {
    Ok(sqlx::query_as!(
        SyncState,
        r#"select s.data_source_id, d.name,
           case when s.requested > s.done and s.state in ('in_sync', 'drifted') then 'pending' else s.state end as "state!",
           s.requested <= s.done as "is_current!", s.error, s.problems, s.steps, s.drift, s.catalog_drift,
           s.catalog_checked_at, s.warnings, s.failures, s.retry_at, s.attempted_at, s.succeeded_at, s.audit, s.audit_at
           from sync_states s join data_sources d on d.id = s.data_source_id
           where ($1::uuid[] is null or d.id = any ($1)) order by d.name"#,
        ids
    )
    .fetch_all(conn)
    .await?)
}

/// The state of one data source.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<SyncState> {
    list(conn, Some(&[id]))
        .await?
        .pop()
        .ok_or(Error::NotFound("data source"))
}

/// Active data sources to be synced now: something changed and it is not yet time to wait, or it was `interval` seconds
/// ago that it was looked at.
pub async fn due(conn: &mut PgConnection, interval: f64) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar!(
        "select s.data_source_id from sync_states s join data_sources d on d.id = s.data_source_id where d.is_active \
         and (s.retry_at is null or s.retry_at <= now()) and (s.requested > s.done or s.failures > 0 \
         or s.attempted_at is null or s.attempted_at < now() - make_interval(secs => $1)) \
         order by s.requested > s.done desc, s.attempted_at nulls first",
        interval
    )
    .fetch_all(conn)
    .await?)
}

/// What a sync has to know.
pub async fn work(conn: &mut PgConnection, id: Uuid) -> Result<Work> {
    sqlx::query_as!(
        Work,
        "select requested, done, state, applied_digest, remote_digest, system_identifier from sync_states \
         where data_source_id = $1",
        id
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::NotFound("data source"))
}

/// Names of what this store may have created there.
pub async fn managed(conn: &mut PgConnection, id: Uuid) -> Result<Value> {
    sqlx::query_scalar!("select managed from sync_states where data_source_id = $1", id)
        .fetch_optional(conn)
        .await?
        .ok_or(Error::NotFound("data source"))
}

/// Notes what a sync may be about to create, before it does: nothing that it leaves there is ever forgotten.
pub async fn intend(conn: &mut PgConnection, id: Uuid, managed: &Value, system_identifier: &str) -> Result<()> {
    sqlx::query!(
        "update sync_states set managed = $2, system_identifier = $3 where data_source_id = $1",
        id,
        managed,
        system_identifier
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes what came of a sync.
pub async fn succeeded(conn: &mut PgConnection, id: Uuid, outcome: &Outcome) -> Result<()> {
    sqlx::query!(
        "update sync_states set done = greatest(done, $2), state = $3, error = null, problems = $4, steps = $5, \
         drift = coalesce($6, drift), failures = 0, retry_at = null, attempted_at = now(), succeeded_at = now(), \
         managed = $7, applied_digest = $8, remote_digest = $9, system_identifier = $10, warnings = $11 \
         where data_source_id = $1",
        id,
        outcome.requested,
        outcome.state,
        Json(&outcome.problems) as _,
        Json(&outcome.steps) as _,
        outcome.drift.as_ref().map(Json) as _,
        outcome.managed,
        outcome.applied_digest,
        outcome.remote_digest,
        outcome.system_identifier,
        Json(&outcome.warnings) as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that a data source was looked at and is as it should be.
pub async fn unchanged(conn: &mut PgConnection, id: Uuid, requested: i64, warnings: Option<&[String]>) -> Result<()> {
    sqlx::query!(
        "update sync_states set done = greatest(done, $2), attempted_at = now(), failures = 0, retry_at = null, \
         error = null, warnings = coalesce($3, warnings) where data_source_id = $1",
        id,
        requested,
        warnings.map(Json) as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes what a data source says of its audit.
pub async fn note_audit(conn: &mut PgConnection, id: Uuid, audit: &Value) -> Result<()> {
    sqlx::query!(
        "update sync_states set audit = $2, audit_at = now() where data_source_id = $1",
        id,
        audit
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that a sync failed. It is tried again after 1, 2, 4, … seconds, at most after five minutes.
pub async fn failed(conn: &mut PgConnection, id: Uuid, error: &str) -> Result<()> {
    sqlx::query!(
        "update sync_states set state = 'failed', error = $2, failures = failures + 1, attempted_at = now(), \
         retry_at = now() + make_interval(secs => least(300, power(2, least(failures, 10)))) where data_source_id = $1",
        id,
        error
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes in what the database differs from the catalog.
pub async fn catalog_checked(conn: &mut PgConnection, id: Uuid, drift: &Value) -> Result<()> {
    sqlx::query!(
        "update sync_states set catalog_drift = $2, catalog_checked_at = now() where data_source_id = $1",
        id,
        drift
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Asks for a sync now, whatever was decided about waiting.
pub async fn request(conn: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query!(
        "update sync_states set requested = requested + 1, retry_at = null where data_source_id = $1",
        id
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("select pg_notify($1, '')", super::CHANNEL)
        .execute(conn)
        .await?;
    Ok(())
}
