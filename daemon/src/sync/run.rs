//! One sync of one data source.

use std::collections::{BTreeMap, BTreeSet};

use policy::document::{Assignee, Document, Switch, UserSpec};
use ring::digest::{SHA256, digest as sha256};
use serde::Deserialize;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::managed::Managed;
use super::{apply, connect, login_roles, target};
use crate::discovery;
use crate::error::{Error, Result};
use crate::store::data_sources::{self, DataSource};
use crate::store::sync_states::{self, Outcome, Work};
use crate::store::{Store, catalog, desired, grants};

/// Taken in the database while its catalog is changed, whichever daemon does it.
const TARGET_LOCK: i64 = 0x6272_6f77_7302;
/// First half of the keys of locks in the store: one for each data source, and one for each server.
const DATA_SOURCE_LOCKS: i32 = 0x6272_7701;
const SERVER_LOCKS: i32 = 0x6272_7702;

/// Brings one data source in line, unless another daemon is at it. Failures are noted in its state, not returned; what is
/// returned is trouble with the store.
pub async fn sync(store: &Store, id: Uuid) -> Result<()> {
    let mut keeper = store.pool.acquire().await?;
    let key = lock_key(id.as_bytes());
    let locked = sqlx::query_scalar!(
        r#"select pg_try_advisory_lock($1, $2) as "locked!""#,
        DATA_SOURCE_LOCKS,
        key
    )
    .fetch_one(&mut *keeper)
    .await?;
    if !locked {
        return Ok(());
    }
    let outcome = attempt(store, &mut keeper, id).await;
    let noted = match outcome {
        Ok(()) | Err(Error::NotFound(_)) => Ok(()),
        Err(error) => {
            let name = sync_states::find(&mut keeper, id)
                .await
                .map(|state| state.name)
                .unwrap_or_default();
            tracing::warn!(data_source = name, %error, "sync failed");
            sync_states::failed(&mut keeper, id, &error.to_string()).await
        }
    };
    let unlocked = sqlx::query!("select pg_advisory_unlock_all()")
        .execute(&mut *keeper)
        .await;
    if unlocked.is_err() {
        // The lock must not go back into the pool.
        keeper.close().await.ok();
    }
    noted
}

/// A lock's key from whatever it stands for. Two that share one merely wait for each other.
fn lock_key(of: &[u8]) -> i32 {
    let hash = sha256(&SHA256, of);
    let bytes = hash.as_ref().first_chunk().expect("a hash is longer");
    i32::from_be_bytes(*bytes)
}

/// What is wanted at one moment.
struct Wish {
    work: Work,
    document: Document,
    login_roles: BTreeMap<String, login_roles::Wanted>,
    /// Names of the roles that may log in to the database.
    allowed: BTreeSet<String>,
    digest: String,
}

/// Reads everything in one snapshot.
async fn wish(store: &Store, conn: &mut PgConnection, id: Uuid, system_identifier: &str) -> Result<Wish> {
    let mut snapshot = conn.begin().await?;
    sqlx::query!("set transaction isolation level repeatable read read only")
        .execute(&mut *snapshot)
        .await?;
    let work = sync_states::work(&mut snapshot, id).await?;
    let document = desired::for_sync(&mut snapshot, id).await?;
    let login_roles = login_roles::wanted(&mut snapshot, &store.sealer, id, system_identifier).await?;
    let allowed = grants::granted_names(&mut snapshot, id).await?;
    snapshot.commit().await?;
    let text = format!("{}\n{}", document.to_json(), login_roles::summary(&login_roles));
    let digest = sha256(&SHA256, text.as_bytes());
    Ok(Wish {
        work,
        document,
        login_roles,
        allowed,
        digest: digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

async fn attempt(store: &Store, conn: &mut PgConnection, id: Uuid) -> Result<()> {
    let source = data_sources::find(conn, id).await?;
    if !source.is_active {
        return Ok(());
    }
    // A change that does not concern this data source needs no connection to it.
    let work = sync_states::work(conn, id).await?;
    let mut early = None;
    if let Some(identifier) = &work.system_identifier
        && work.requested > work.done
        && work.state == "in_sync"
    {
        let wish = wish(store, conn, id, identifier).await?;
        if wish.work.applied_digest.as_ref() == Some(&wish.digest) {
            return sync_states::unchanged(conn, id, wish.work.requested, None).await;
        }
        early = Some(wish);
    }

    let mut target = target::connect(conn, &store.sealer, id).await?;
    target::prepare(&mut target).await?;
    let identifier = target::system_identifier(&mut target).await?;
    match target::audit_status(&mut target).await {
        Ok(audit) => sync_states::note_audit(conn, id, &audit).await?,
        Err(error) => tracing::warn!(data_source = source.name, %error, "cannot tell the state of the audit"),
    }
    let mut tx = target.begin().await.map_err(target::unavailable)?;
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(TARGET_LOCK)
        .execute(&mut *tx)
        .await
        .map_err(target::unavailable)?;

    let work = sync_states::work(conn, id).await?;
    let remote = apply::digest(&mut tx).await?;
    let same_server = work.system_identifier.as_ref() == Some(&identifier);
    let same_catalog = work.remote_digest.as_ref() == Some(&remote);
    if same_server && same_catalog && work.requested <= work.done && work.state == "in_sync" {
        // Nothing new is wanted, and what was is in force. Only roles come and go without the catalog.
        let allowed = grants::granted_names(conn, id).await?;
        let connect = connect::restrict(&mut tx, store.id().await?, &allowed).await?;
        tx.commit().await.map_err(target::unavailable)?;
        note_catalog_drift(conn, &mut target, &source).await?;
        return sync_states::unchanged(conn, id, work.requested, Some(&connect.warnings)).await;
    }
    let mut wish = match early {
        // Every change of the store would have counted it up.
        Some(wish) if same_server && wish.work.requested == work.requested => wish,
        _ => wish(store, conn, id, &identifier).await?,
    };
    let_in(&mut tx, &mut wish.document).await?;
    let mut drift = None;
    // Where nothing new is wanted, what differs was changed by somebody else.
    if wish.work.remote_digest.is_some()
        && wish.work.applied_digest.as_ref() == Some(&wish.digest)
        && wish.work.state != "partial"
    {
        drift = Some(apply::differences(&mut tx, &wish.document).await?);
    }
    let names = sync_states::managed(conn, id).await?;
    let managed: Managed = Managed::deserialize(&names)
        .map_err(|error| Error::Internal(format!("the names of managed objects: {error}")))?;
    let wanted = Managed::of(&wish.document);
    if let Some(steps) = &drift
        && !steps.is_empty()
        && source.drift == "keep"
    {
        tx.rollback().await.map_err(target::unavailable)?;
        let outcome = Outcome {
            requested: wish.work.requested,
            state: "drifted",
            problems: Vec::new(),
            warnings: Vec::new(),
            steps: Vec::new(),
            drift,
            managed: names,
            applied_digest: wish.digest,
            remote_digest: remote,
            system_identifier: identifier,
        };
        return sync_states::succeeded(conn, id, &outcome).await;
    }

    sync_states::intend(conn, id, &to_json(&managed.union(&wanted)), &identifier).await?;
    // Somebody may have changed users meanwhile, or not all was accepted: then all of them are applied.
    let untouched = wish.work.state == "in_sync" && wish.work.remote_digest.as_ref() == Some(&remote);
    let document = match untouched {
        true => managed.without_what_is_in_force(&wish.document),
        false => wish.document.clone(),
    };
    let mut applied = apply::apply(&mut tx, &document, &managed, &wanted).await?;
    // Login roles belong to the server: of data sources on the same one, one at a time looks at them.
    let server = format!("{}:{}", source.config.host, source.config.port);
    sqlx::query!(
        "select pg_advisory_lock($1, $2)",
        SERVER_LOCKS,
        lock_key(server.as_bytes())
    )
    .execute(&mut *conn)
    .await?;
    let store_id = store.id().await?;
    applied
        .steps
        .extend(login_roles::provision(&mut tx, store_id, &wish.login_roles).await?);
    let connect = connect::restrict(&mut tx, store_id, &wish.allowed).await?;
    applied.steps.extend(connect.steps);
    let remote_digest = apply::digest(&mut tx).await?;
    tx.commit().await.map_err(target::unavailable)?;
    note_catalog_drift(conn, &mut target, &source).await?;
    target.close().await.ok();
    let state = if applied.problems.is_empty() {
        "in_sync"
    } else {
        "partial"
    };
    tracing::info!(data_source = source.name, steps = applied.steps.len(), state, "synced");
    let outcome = Outcome {
        requested: wish.work.requested,
        state,
        // What could not be removed is still ours.
        managed: to_json(&if applied.problems.is_empty() {
            wanted.in_force(&wish.document)
        } else {
            managed.union(&wanted)
        }),
        problems: applied.problems,
        warnings: connect.warnings,
        steps: applied.steps,
        drift,
        applied_digest: wish.digest,
        remote_digest,
        system_identifier: identifier,
    };
    sync_states::succeeded(conn, id, &outcome).await
}

/// Adds the daemon's own role to those who may use the database. It is governed like any other, and without a grant could
/// not create login roles. Exempt roles need none.
async fn let_in(target: &mut PgConnection, document: &mut Document) -> Result<()> {
    let role: Option<String> = sqlx::query_scalar(
        "select w.i ->> 'login_role' from betweenrows.whoami() w(i) where not (w.i ->> 'is_exempt')::boolean",
    )
    .fetch_optional(target)
    .await
    .map_err(target::unavailable)?;
    let Some(role) = role else { return Ok(()) };
    let users = document.users.get_or_insert_default();
    if !users.iter().any(|user| user.username == role) {
        users.push(UserSpec {
            username: role.clone(),
            is_active: Some(true),
            attributes: Some(serde_json::Map::new()),
            roles: Some(Vec::new()),
        });
    }
    let itself = Assignee::User(role);
    if let Switch::On(grants) = &mut document.access
        && !grants.contains(&itself)
    {
        grants.push(itself);
    }
    Ok(())
}

/// Looks in what the database differs from the catalog that was saved. That is for people: it holds nothing up.
async fn note_catalog_drift(conn: &mut PgConnection, target: &mut PgConnection, source: &DataSource) -> Result<()> {
    let catalog = catalog::find(conn, source.id).await?;
    if source.catalog_mode == "everything" || catalog.schemas.is_empty() {
        return Ok(());
    }
    match discovery::drift_of(target, &catalog).await {
        Ok(drift) => sync_states::catalog_checked(conn, source.id, &drift.to_json()).await,
        Err(error) => {
            tracing::warn!(data_source = source.name, %error, "cannot compare the catalog with the database");
            Ok(())
        }
    }
}

fn to_json(managed: &Managed) -> serde_json::Value {
    serde_json::to_value(managed).expect("names have a JSON form")
}
