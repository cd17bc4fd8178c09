//! The task that syncs what is due.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::error::Result;
use crate::store::{CHANNEL, Store, sync_states};

/// Data sources that one daemon syncs at a time. Each takes a connection to the store.
const AT_ONCE: usize = 4;
/// Longest time between two looks at what is due. Changes are announced; this is for those whose announcement was lost
/// with a connection, and for what failed.
const TICK: Duration = Duration::from_secs(1);

/// Syncs until `stop` becomes true, then lets what is under way end. `interval` is how often an unchanged data source is
/// looked at for drift.
pub async fn run(store: Arc<Store>, interval: Duration, mut stop: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let busy: Arc<Mutex<HashSet<Uuid>>> = Arc::default();
    let mut tasks = JoinSet::new();
    let mut listener = None;
    while !*stop.borrow() {
        if listener.is_none() {
            listener = listen(&store)
                .await
                .inspect_err(|error| tracing::warn!(%error, "cannot listen for changes"))
                .ok();
        }
        match due(&store, interval).await {
            Ok(ids) => {
                for id in ids {
                    if !busy.lock().expect("no holder panics").insert(id) {
                        continue;
                    }
                    let (store, permits, busy) = (store.clone(), permits.clone(), busy.clone());
                    tasks.spawn(async move {
                        let _permit = permits.acquire_owned().await;
                        if let Err(error) = super::sync(&store, id).await {
                            tracing::error!(%error, "trouble with the store while syncing");
                        }
                        busy.lock().expect("no holder panics").remove(&id);
                    });
                }
            }
            Err(error) => tracing::warn!(%error, "cannot look for what is to be synced"),
        }
        while tasks.try_join_next().is_some() {}
        tokio::select! {
            _ = stop.changed() => {}
            heard = hear(&mut listener) => {
                if heard.is_err() {
                    listener = None;
                }
            }
            _ = tokio::time::sleep(TICK) => {}
        }
    }
    while tasks.join_next().await.is_some() {}
}

async fn listen(store: &Store) -> std::result::Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(&store.pool).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

async fn hear(listener: &mut Option<PgListener>) -> std::result::Result<(), sqlx::Error> {
    match listener {
        Some(listener) => listener.recv().await.map(drop),
        None => std::future::pending().await,
    }
}

async fn due(store: &Store, interval: Duration) -> Result<Vec<Uuid>> {
    let mut conn = store.read().await?;
    sync_states::due(&mut conn, interval.as_secs_f64()).await
}
