//! Discovery jobs, as every daemon on the store sees them.
//!
//! Invariants: a data source has one running job at most. A running job is that of the daemon whose session holds its
//! lock: when that session ends, however it ends, whoever looks next notes that the job failed. What a job changes in the
//! store is in one transaction with its completion, and a job that is not running any more completes nothing.

use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::data_sources;
use crate::error::{Error, Result};

/// First half of the keys of the locks of running jobs.
const JOB_LOCKS: i32 = 0x6272_7703;

/// Ended jobs of a data source that are kept.
const KEPT: i64 = 10;

/// A discovery job.
#[derive(Debug, Serialize, ToSchema)]
pub struct Job {
    /// Its id.
    pub job_id: Uuid,
    /// What it does.
    pub action: String,
    /// `running`, `completed` or `failed`.
    pub status: String,
    /// What came of it.
    #[schema(required)]
    pub result: Option<Value>,
    /// Why it failed; `cancelled` if somebody wanted it to.
    #[schema(required)]
    pub error: Option<String>,
    /// What it has done so far: `{phase, detail}`.
    #[schema(value_type = Vec<Progress>)]
    pub progress: Value,
    /// Whether somebody cancelled it.
    #[serde(skip)]
    pub is_cancelled: bool,
}

/// A step of a job.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it is only described")]
pub struct Progress {
    /// `connecting`, `querying`, `saving`, …
    phase: String,
    /// In words.
    detail: String,
}

/// Begins a job on behalf of the session, which keeps its lock.
pub async fn start(keeper: &mut PgConnection, data_source: Uuid, action: &str) -> Result<Uuid> {
    data_sources::find(keeper, data_source).await?;
    reap(keeper, data_source).await?;
    let id = Uuid::new_v4();
    sqlx::query!("select pg_advisory_lock($1, hashtext($2))", JOB_LOCKS, id.to_string())
        .execute(&mut *keeper)
        .await?;
    let inserted = sqlx::query!(
        "insert into discovery_jobs (id, data_source_id, action) values ($1, $2, $3) on conflict do nothing",
        id,
        data_source,
        action
    )
    .execute(&mut *keeper)
    .await?;
    if inserted.rows_affected() == 0 {
        let other = sqlx::query_scalar!(
            "select id from discovery_jobs where data_source_id = $1 and status = 'running'",
            data_source
        )
        .fetch_optional(keeper)
        .await?;
        let other = other.map(|id| format!(" (job_id: {id})")).unwrap_or_default();
        return Err(Error::Conflict(format!(
            "a discovery job of this data source is running already{other}"
        )));
    }
    sqlx::query!(
        "delete from discovery_jobs where data_source_id = $1 and status <> 'running' and id not in \
         (select id from discovery_jobs where data_source_id = $1 and status <> 'running' \
          order by created_at desc limit $2)",
        data_source,
        KEPT
    )
    .execute(keeper)
    .await?;
    Ok(id)
}

/// A job of a data source.
pub async fn find(conn: &mut PgConnection, data_source: Uuid, id: Uuid) -> Result<Job> {
    reap(conn, data_source).await?;
    sqlx::query_as!(
        Job,
        "select id as job_id, action, status, result, error, progress, is_cancelled from discovery_jobs \
         where data_source_id = $1 and id = $2",
        data_source,
        id
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::NotFound("discovery job"))
}

/// Notes that the job whose daemon is gone has failed.
async fn reap(conn: &mut PgConnection, data_source: Uuid) -> Result<()> {
    sqlx::query!(
        "with running as materialized \
         (select id from discovery_jobs where data_source_id = $2 and status = 'running'), \
         gone as materialized (select id from running where pg_try_advisory_xact_lock($1, hashtext(id::text))) \
         update discovery_jobs j set status = 'failed', ended_at = now(), \
         error = 'the daemon that ran it has ended; start it again' \
         from gone where j.id = gone.id and j.status = 'running'",
        JOB_LOCKS,
        data_source
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether the job is still wanted.
pub async fn is_wanted(conn: &mut PgConnection, id: Uuid) -> Result<bool> {
    let status = sqlx::query_scalar!("select status from discovery_jobs where id = $1", id)
        .fetch_optional(conn)
        .await?;
    Ok(status.is_some_and(|status| status != "failed"))
}

/// Notes how far a job is.
pub async fn progress(conn: &mut PgConnection, id: Uuid, phase: &str, detail: &str) -> Result<()> {
    let step = serde_json::json!({"phase": phase, "detail": detail});
    sqlx::query!(
        "update discovery_jobs set progress = progress || $2::jsonb where id = $1 and status = 'running'",
        id,
        step
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes what came of a job; false if it is not running any more, and then nothing of it may be kept.
pub async fn complete(conn: &mut PgConnection, id: Uuid, result: &Value) -> Result<bool> {
    let updated = sqlx::query!(
        "update discovery_jobs set status = 'completed', result = $2, ended_at = now() \
         where id = $1 and status = 'running'",
        id,
        result
    )
    .execute(conn)
    .await?;
    Ok(updated.rows_affected() > 0)
}

/// Notes why a job failed, unless it has ended already.
pub async fn fail(conn: &mut PgConnection, id: Uuid, error: &str) -> Result<()> {
    sqlx::query!(
        "update discovery_jobs set status = 'failed', error = $2, ended_at = now() where id = $1 and status = 'running'",
        id,
        error
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a job that runs, on whichever daemon: that one notices.
pub async fn cancel(conn: &mut PgConnection, data_source: Uuid, id: Uuid) -> Result<()> {
    let updated = sqlx::query!(
        "update discovery_jobs set status = 'failed', is_cancelled = true, error = 'cancelled', ended_at = now() \
         where data_source_id = $1 and id = $2 and status = 'running'",
        data_source,
        id
    )
    .execute(conn)
    .await?;
    match updated.rows_affected() {
        0 => Err(Error::NotFound("running discovery job")),
        _ => Ok(()),
    }
}
