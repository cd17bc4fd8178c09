//! The store: what is wanted in every database, and who said so.
//!
//! Invariants: each change is a [`Change`], which writes its audit row and asks for the sync of what it concerns in the
//! same transaction. Changes run one after the other, so that no two of them can miss each other (two halves of a role
//! cycle, a name taken twice, the last administrator removed twice).

pub mod admin_audit;
pub mod assignments;
pub mod attributes;
pub mod catalog;
pub mod data_sources;
pub mod decision_functions;
pub mod desired;
pub mod effective;
pub mod grants;
pub mod import;
pub mod jobs;
pub mod policies;
pub mod roles;
pub mod sealing;
pub mod sync_states;
pub mod users;
pub mod versions;

use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection, PgConnection, Postgres, Transaction};
use uuid::Uuid;

use crate::decisions::Decisions;
use crate::error::{Error, Result};
use crate::secrets::seal::Sealer;

/// The migrations of `sql/daemon`, in the binary.
pub static MIGRATOR: Migrator = sqlx::migrate!("../sql/daemon");

/// What sessions in the store are called.
pub const PROGRAM: &str = "betweenrowsd";

/// The channel on which daemons tell each other that there is something to sync.
pub const CHANNEL: &str = "betweenrows_sync";

/// Key of the lock that makes changes run one after the other; any number that nothing else in this database uses.
const CHANGE_LOCK: i64 = 0x6272_6f77_7301;

/// The store, the key to its secrets, and what compiles its decision functions.
pub struct Store {
    /// Connections to it.
    pub pool: PgPool,
    /// Seals and opens its secrets.
    pub sealer: Sealer,
    /// Compiles decision functions.
    pub decisions: Decisions,
}

/// The options of a connection to the store.
pub fn connect_options(url: &str) -> std::result::Result<PgConnectOptions, String> {
    if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
        return Err("BR_ADMIN_DATABASE_URL must be a postgres:// URL".to_owned());
    }
    let options = PgConnectOptions::from_str(url).map_err(|error| format!("BR_ADMIN_DATABASE_URL: {error}"))?;
    Ok(options.application_name(PROGRAM))
}

/// Creates the database if the server does not have it. Needs the right to do so, and the database `postgres`.
pub async fn create_database(options: &PgConnectOptions) -> std::result::Result<(), sqlx::Error> {
    let missing = match PgConnection::connect_with(options).await {
        Ok(connection) => return connection.close().await,
        Err(error) => error,
    };
    // 3D000: there is no such database.
    if missing.as_database_error().and_then(|error| error.code()).as_deref() != Some("3D000") {
        return Err(missing);
    }
    let Some(name) = options.get_database() else {
        return Err(missing);
    };
    let mut server = PgConnection::connect_with(&options.clone().database("postgres")).await?;
    let quoted = name.replace('"', "\"\"");
    let created = sqlx::query(sqlx::AssertSqlSafe(format!("create database \"{quoted}\"")))
        .execute(&mut server)
        .await;
    server.close().await?;
    match created {
        // 42P04, 23505: another daemon was faster.
        Err(error)
            if error
                .as_database_error()
                .and_then(|error| error.code())
                .is_some_and(|code| code == "42P04" || code == "23505") =>
        {
            Ok(())
        }
        other => other.map(|_| ()),
    }
}

/// A pool of connections to the store.
pub async fn connect(options: PgConnectOptions) -> std::result::Result<PgPool, sqlx::Error> {
    PgPoolOptions::new()
        .max_connections(16)
        .acquire_timeout(Duration::from_secs(5))
        .connect_with(options)
        .await
}

/// On whose behalf something changes.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The account; none on the command line.
    pub id: Option<Uuid>,
    /// Its name.
    pub name: String,
    /// The client's address.
    pub address: Option<String>,
    /// The request.
    pub request_id: Option<String>,
}

impl Actor {
    /// Whoever runs a command on this machine, by the name of the operating system's account.
    pub fn command_line() -> Self {
        let name = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
        Actor {
            id: None,
            name: format!("cli:{}", name.as_deref().unwrap_or("unknown")),
            address: None,
            request_id: None,
        }
    }
}

/// A change of the store under way. Dropped without [`Change::commit`], nothing happened.
pub struct Change<'a> {
    /// The transaction.
    pub tx: Transaction<'static, Postgres>,
    /// Opens and seals secrets.
    pub sealer: &'a Sealer,
    /// Compiles decision functions.
    pub decisions: &'a Decisions,
    /// Who makes it.
    pub actor: Actor,
    touched: Touched,
}

/// The data sources that a change concerns.
#[derive(Debug, Default, PartialEq, Eq)]
enum Touched {
    #[default]
    None,
    Some(Vec<Uuid>),
    All,
}

impl Store {
    /// Begins a change. Waits for the one before it.
    pub async fn change(&self, actor: Actor) -> Result<Change<'_>> {
        let mut tx = self.pool.begin().await?;
        sqlx::query!("select pg_advisory_xact_lock($1)", CHANGE_LOCK)
            .execute(&mut *tx)
            .await?;
        Ok(Change {
            tx,
            sealer: &self.sealer,
            decisions: &self.decisions,
            actor,
            touched: Touched::None,
        })
    }

    /// A connection for reading.
    pub async fn read(&self) -> Result<sqlx::pool::PoolConnection<Postgres>> {
        Ok(self.pool.acquire().await?)
    }

    /// The identity of this store: login roles that it created carry it.
    pub async fn id(&self) -> Result<Uuid> {
        let value =
            sqlx::query_scalar!(r#"select (value #>> '{}')::uuid as "id!" from settings where key = 'store_id'"#)
                .fetch_one(&self.pool)
                .await?;
        Ok(value)
    }
}

impl Change<'_> {
    /// Every data source has to be synced after this.
    pub fn touch_all(&mut self) {
        self.touched = Touched::All;
    }

    /// This data source has to be synced after this.
    pub fn touch(&mut self, data_source: Uuid) {
        match &mut self.touched {
            Touched::All => {}
            Touched::Some(ids) => ids.push(data_source),
            Touched::None => self.touched = Touched::Some(vec![data_source]),
        }
    }

    /// The data sources where this policy is assigned have to be synced after this.
    pub async fn touch_policy(&mut self, policy: Uuid) -> Result<()> {
        let ids = sqlx::query_scalar!(
            "select distinct data_source_id from policy_assignments where policy_id = $1",
            policy
        )
        .fetch_all(&mut *self.tx)
        .await?;
        for id in ids {
            self.touch(id);
        }
        Ok(())
    }

    /// Writes what was done into the audit. The objects are as the API shows them, which is without secrets.
    pub async fn record(
        &mut self,
        resource_type: &str,
        resource_id: Uuid,
        action: &str,
        before: Option<&impl Serialize>,
        after: Option<&impl Serialize>,
    ) -> Result<()> {
        let changes = serde_json::json!({"before": before, "after": after});
        sqlx::query!(
            "insert into admin_audit (resource_type, resource_id, action, actor_id, actor_name, client_address, \
             request_id, changes) values ($1, $2, $3, $4, $5, $6, $7, $8)",
            resource_type,
            resource_id,
            action,
            self.actor.id,
            self.actor.name,
            self.actor.address,
            self.actor.request_id,
            changes
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Ids of the data sources that have to be synced after this.
    pub async fn touched(&mut self) -> Result<Vec<Uuid>> {
        Ok(match &self.touched {
            Touched::None => Vec::new(),
            Touched::Some(ids) => ids.clone(),
            Touched::All => {
                sqlx::query_scalar!("select id from data_sources where is_active")
                    .fetch_all(&mut *self.tx)
                    .await?
            }
        })
    }

    /// Makes it so, and wakes whoever syncs.
    pub async fn commit(mut self) -> Result<()> {
        if self.touched != Touched::None {
            let ids = match &self.touched {
                Touched::Some(ids) => Some(ids.as_slice()),
                _ => None,
            };
            sqlx::query!(
                "update sync_states set requested = requested + 1, retry_at = null \
                 where $1::uuid[] is null or data_source_id = any ($1)",
                ids
            )
            .execute(&mut *self.tx)
            .await?;
            sqlx::query!("select pg_notify($1, '')", CHANNEL)
                .execute(&mut *self.tx)
                .await?;
        }
        self.tx.commit().await?;
        Ok(())
    }
}

/// A page of a list.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// How many rows to skip.
    pub offset: i64,
    /// How many rows to return.
    pub limit: i64,
}

impl Window {
    /// Everything.
    pub const ALL: Window = Window {
        offset: 0,
        limit: i64::MAX,
    };
}

/// Checks a description.
pub(crate) fn check_description(text: Option<&str>, most: usize) -> Result<()> {
    match text {
        Some(text) if text.len() > most || text.contains('\0') => Err(Error::invalid(format!(
            "description: must not be longer than {most} bytes nor contain a NUL character"
        ))),
        _ => Ok(()),
    }
}

/// The outcome of an optimistic update: `expected` is what the caller read, if it says so.
pub(crate) fn check_version(kind: &str, expected: Option<i32>, current: i32) -> Result<()> {
    match expected {
        Some(expected) if expected != current => Err(Error::stale(kind, current)),
        _ => Ok(()),
    }
}
