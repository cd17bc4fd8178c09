//! Running jobs on this daemon.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use sqlx::PgConnection;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use super::actions;
use super::request::Request;
use crate::api::tag::IfMatch;
use crate::error::{Error, Result};
use crate::store::{Actor, Store, jobs};
use crate::sync::target;

/// Jobs that one daemon runs at a time. Each takes a connection to the store.
const AT_ONCE: usize = 8;
/// How long a new job waits for another one to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks at whether a job is still wanted.
const POLL: Duration = Duration::from_millis(100);

/// Runs jobs.
pub struct Runner {
    permits: Arc<Semaphore>,
    stop: watch::Sender<bool>,
}

impl Default for Runner {
    fn default() -> Self {
        Runner {
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            stop: watch::Sender::new(false),
        }
    }
}

/// What a job works with.
pub(super) struct Context {
    pub(super) store: Arc<Store>,
    pub(super) actor: Actor,
    pub(super) data_source: Uuid,
    pub(super) job: Uuid,
    /// The catalog that the client read.
    pub(super) read: IfMatch,
    /// The process of the database that works for it; 0 while there is none.
    backend: AtomicI32,
}

impl Context {
    /// Notes how far the job is.
    pub(super) async fn progress(&self, phase: &str, detail: &str) -> Result<()> {
        jobs::progress(&mut *self.store.read().await?, self.job, phase, detail).await
    }

    /// A session in the database, with the extension.
    pub(super) async fn connect(&self) -> Result<PgConnection> {
        let mut target = self.session().await?;
        let backend = sqlx::query_scalar("select pg_backend_pid()")
            .fetch_one(&mut target)
            .await
            .map_err(target::unavailable)?;
        self.backend.store(backend, Ordering::Relaxed);
        target::prepare(&mut target).await?;
        Ok(target)
    }

    async fn session(&self) -> Result<PgConnection> {
        let mut conn = self.store.read().await?;
        target::connect(&mut conn, &self.store.sealer, self.data_source).await
    }

    /// Ends what the database still does for the job: it would not notice by itself that nobody waits any more.
    async fn end_backend(&self) -> Result<()> {
        let backend = self.backend.load(Ordering::Relaxed);
        if backend == 0 {
            return Ok(());
        }
        let mut target = self.session().await?;
        // Numbers of processes are used again: it has to be a session of this daemon's role that was not this one.
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where pid = $1 and application_name = 'betweenrowsd' and usename = current_user and pid <> pg_backend_pid()",
        )
        .bind(backend)
        .execute(&mut target)
        .await
        .map_err(target::unavailable)?;
        Ok(())
    }
}

impl Runner {
    /// Begins a job; its id. What it replaces has to be what the client read, where it says so.
    pub async fn start(
        &self,
        store: Arc<Store>,
        actor: Actor,
        data_source: Uuid,
        request: Request,
        read: IfMatch,
    ) -> Result<Uuid> {
        request.check()?;
        let permit = tokio::time::timeout(PATIENCE, self.permits.clone().acquire_owned())
            .await
            .map_err(|_| Error::Unavailable("too many discovery jobs are running, try again later".to_owned()))?
            .expect("nobody closes it");
        // Its end is the end of the session, whatever happens to the task. So it never goes back to the pool.
        let mut keeper = store.pool.acquire().await?.detach();
        let job = jobs::start(&mut keeper, data_source, request.action()).await?;
        let context = Context {
            store,
            actor,
            data_source,
            job,
            read,
            backend: AtomicI32::new(0),
        };
        let stop = self.stop.subscribe();
        tokio::spawn(async move {
            run(&context, &request, keeper, stop).await;
            drop(permit);
        });
        Ok(job)
    }

    /// Ends the jobs of this daemon, and streams that tell about jobs.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        self.permits.acquire_many(AT_ONCE as u32).await.map(drop).ok();
    }

    /// Becomes true when this daemon stops.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }
}

async fn run(context: &Context, request: &Request, mut keeper: PgConnection, mut stop: watch::Receiver<bool>) {
    let (outcome, is_cut_off) = tokio::select! {
        outcome = actions::run(context, request) => (outcome, false),
        () = not_wanted(&mut keeper, context.job) => (Err(Error::Conflict("cancelled".to_owned())), true),
        _ = stop.wait_for(|stop| *stop) => (Err(Error::Unavailable("the daemon was stopped".to_owned())), true),
    };
    let noted = match outcome {
        Ok(result) => jobs::complete(&mut keeper, context.job, &result).await.map(drop),
        Err(error) => {
            let text = match error {
                Error::Internal(text) => {
                    tracing::error!(error = text, job = %context.job, "internal error in a discovery job");
                    "internal error; the daemon's log has it under the job's id".to_owned()
                }
                shown => shown.to_string(),
            };
            jobs::fail(&mut keeper, context.job, &text).await
        }
    };
    if let Err(error) = noted {
        tracing::warn!(%error, job = %context.job, "cannot note the end of a discovery job");
    }
    if is_cut_off && let Err(error) = context.end_backend().await {
        tracing::info!(%error, job = %context.job, "cannot end what the database does for a discovery job");
    }
}

/// Ends when the job is not wanted any more: it was cancelled, its data source is gone, or the session that keeps it.
async fn not_wanted(keeper: &mut PgConnection, job: Uuid) {
    while matches!(jobs::is_wanted(keeper, job).await, Ok(true)) {
        tokio::time::sleep(POLL).await;
    }
}
