//! The database of a data source: how to reach it, and whether it is fit to be managed.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::secrets::seal::Sealer;
use crate::store::data_sources::{self, Config, PASSWORD_PLACE};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Settings of each session. Verifiers of passwords are part of statements: they must not get into the server's log,
/// as far as this role may decide that. Names are always qualified, so nothing is looked up.
const SETTINGS: &str = "
    select set_config('search_path', 'pg_catalog, pg_temp', false), set_config('statement_timeout', '120s', false),
           set_config('lock_timeout', '15s', false), set_config('idle_in_transaction_session_timeout', '60s', false)";

/// What a role may only set as a superuser or when it was granted.
const QUIET: [&str; 3] = [
    "set log_statement = 'none'",
    "set log_min_duration_statement = -1",
    "set log_min_error_statement = 'panic'",
];

/// The options of a connection.
pub fn options(config: &Config, password: Option<&str>) -> PgConnectOptions {
    let mode = match config.sslmode.as_str() {
        "disable" => PgSslMode::Disable,
        "allow" => PgSslMode::Allow,
        "prefer" => PgSslMode::Prefer,
        "verify-ca" => PgSslMode::VerifyCa,
        "verify-full" => PgSslMode::VerifyFull,
        // Also for a value that the store should not have: rather too strict than in the clear.
        _ => PgSslMode::Require,
    };
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(&config.host)
        .port(u16::try_from(config.port).unwrap_or_default())
        .database(&config.database)
        .username(&config.username)
        .application_name("betweenrowsd")
        .statement_cache_capacity(0)
        .ssl_mode(mode)
        // Statements about login roles have verifiers in their text.
        .disable_statement_logging();
    if config.host.starts_with('/') {
        options = options.socket(&config.host);
    }
    if let Some(pem) = &config.ssl_root_cert {
        options = options.ssl_root_cert_from_pem(pem.as_bytes().to_vec());
    }
    // Without one it would be that of the environment, which is for the store and goes to nobody else.
    options.password(password.unwrap_or_default())
}

/// What it takes to open a session in the database of a data source.
pub struct Login {
    config: Config,
    password: Option<String>,
}

impl Login {
    /// That of a data source.
    pub async fn of(store: &mut PgConnection, sealer: &Sealer, id: Uuid) -> Result<Login> {
        let config = data_sources::find(store, id).await?.config;
        let password = match data_sources::sealed_password(store, id).await? {
            Some(sealed) => Some(
                String::from_utf8(sealer.open(PASSWORD_PLACE, id, &sealed)?)
                    .map_err(|_| Error::Internal("a password in the store is not text".to_owned()))?,
            ),
            None => None,
        };
        Ok(Login { config, password })
    }

    /// Connects, or says what the driver said.
    pub async fn reach(&self) -> std::result::Result<PgConnection, sqlx::Error> {
        reach(&self.config, self.password.as_deref()).await
    }

    /// Opens a session.
    pub async fn open(&self) -> Result<PgConnection> {
        open(&self.config, self.password.as_deref()).await
    }
}

/// A session in the database of a data source.
pub async fn connect(store: &mut PgConnection, sealer: &Sealer, id: Uuid) -> Result<PgConnection> {
    Login::of(store, sealer, id).await?.open().await
}

/// Questions that are put to databases at the same time, whoever asks.
pub const MOST_QUESTIONS: usize = 32;
/// Longest wait for an answer, connecting included.
const ANSWER: Duration = Duration::from_secs(15);

/// Puts a question to a database, as soon as there is a permit. It can change nothing.
pub async fn ask<T, F: Future<Output = Result<T>>>(
    permits: &Semaphore,
    login: &Login,
    question: impl FnOnce(PgConnection) -> F,
) -> Result<T> {
    let _permit = permits
        .acquire()
        .await
        .map_err(|error| Error::Internal(error.to_string()))?;
    let asked = async {
        let mut target = login.open().await?;
        sqlx::query(
            "select set_config('statement_timeout', '10s', false), set_config('default_transaction_read_only', 'on', false)",
        )
        .execute(&mut target)
        .await
        .map_err(unavailable)?;
        question(target).await
    };
    let answer = tokio::time::timeout(ANSWER, asked).await;
    answer.unwrap_or_else(|_| Err(Error::Unavailable("no answer in 15 seconds".to_owned())))
}

/// Connects, or says what the driver said.
pub async fn reach(config: &Config, password: Option<&str>) -> std::result::Result<PgConnection, sqlx::Error> {
    let options = options(config, password);
    let connecting = PgConnection::connect_with(&options);
    tokio::time::timeout(CONNECT, connecting).await.unwrap_or_else(|_| {
        let what = format!("no answer from {}:{} in 5 seconds", config.host, config.port);
        Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, what)))
    })
}

/// A session with these settings.
pub async fn open(config: &Config, password: Option<&str>) -> Result<PgConnection> {
    let mut target = reach(config, password).await.map_err(unavailable)?;
    sqlx::query(SETTINGS).execute(&mut target).await.map_err(unavailable)?;
    for setting in QUIET {
        // 42501 just says that this role may not.
        if let Err(error) = sqlx::query(setting).execute(&mut target).await
            && error.as_database_error().and_then(|error| error.code()).as_deref() != Some("42501")
        {
            return Err(unavailable(error));
        }
    }
    Ok(target)
}

/// What PostgreSQL says, as an administrator gets to see it.
pub(crate) fn unavailable(error: sqlx::Error) -> Error {
    Error::Unavailable(match error.as_database_error() {
        Some(database) => {
            let code = database.code().unwrap_or_default();
            format!("{} (SQLSTATE {code})", database.message())
        }
        None => error.to_string(),
    })
}

/// The identity of the server, which all its databases share, as far as this role may ask for it.
pub async fn system_identifier(target: &mut PgConnection) -> Result<String> {
    sqlx::query_scalar("select system_identifier::text from pg_control_system()")
        .fetch_one(target)
        .await
        .map_err(unavailable)
}

/// Installs or updates the extension where that is needed. Says which command mends it where it cannot be done.
pub async fn prepare(target: &mut PgConnection) -> Result<()> {
    let (installed, available): (Option<String>, Option<String>) = sqlx::query_as(
        "select (select extversion from pg_extension where extname = 'betweenrows'), \
         (select default_version from pg_available_extensions where name = 'betweenrows')",
    )
    .fetch_one(&mut *target)
    .await
    .map_err(unavailable)?;
    let (statement, kind) = match (&installed, &available) {
        (Some(installed), Some(available)) if installed != available => {
            ("alter extension betweenrows update", "updated")
        }
        (Some(_), _) => return Ok(()),
        (None, Some(_)) => ("create extension betweenrows", "installed"),
        (None, None) => {
            return Err(Error::Unavailable(
                "the server does not have the betweenrows extension; put betweenrows.so, betweenrows.control and \
                 betweenrows--*.sql into the directories that pg_config --pkglibdir and --sharedir name"
                    .to_owned(),
            ));
        }
    };
    sqlx::query(statement).execute(target).await.map_err(|error| {
        let database = error.as_database_error();
        let hint = match database.and_then(|error| error.code()).as_deref() {
            Some("42501") => format!("a superuser has to run, in this database: {statement};"),
            Some("55000") => "add betweenrows to shared_preload_libraries and restart the server: \
                              alter system set shared_preload_libraries = 'betweenrows';"
                .to_owned(),
            _ => return unavailable(error),
        };
        Error::Unavailable(format!(
            "the extension cannot be {kind}: {}; {hint}",
            database.map(|error| error.message()).unwrap_or_default()
        ))
    })?;
    tracing::info!(kind, "the extension was {kind} in a data source");
    Ok(())
}

/// What the extension there says of its audit: backlog, lost events, when something was moved last.
pub async fn audit_status(target: &mut PgConnection) -> Result<serde_json::Value> {
    sqlx::query_scalar("select betweenrows.audit_status()")
        .fetch_one(target)
        .await
        .map_err(unavailable)
}

/// What a test of a connection finds, for people.
pub async fn test(target: &mut PgConnection) -> Result<String> {
    let (version, extension, available, admin, createrole): (String, Option<String>, Option<String>, bool, bool) =
        sqlx::query_as(
            "select current_setting('server_version'), \
             (select extversion from pg_extension where extname = 'betweenrows'), \
             (select default_version from pg_available_extensions where name = 'betweenrows'), \
             coalesce((select pg_has_role(oid, 'usage') from pg_roles where rolname = 'betweenrows_admin'), false), \
             (select rolsuper or rolcreaterole from pg_roles where rolname = current_user)",
        )
        .fetch_one(target)
        .await
        .map_err(unavailable)?;
    let mut parts = vec![format!("connected to PostgreSQL {version}")];
    match (extension, available) {
        (Some(extension), _) => {
            parts.push(format!("betweenrows {extension} is installed"));
            if !admin {
                parts.push("the role is not a member of betweenrows_admin: grant betweenrows_admin to it".to_owned());
            }
        }
        (None, Some(_)) => parts.push("betweenrows is not installed yet, it can be".to_owned()),
        (None, None) => parts.push("the server does not have the betweenrows extension".to_owned()),
    }
    if !createrole {
        parts.push("the role may not create login roles: alter role … createrole".to_owned());
    }
    Ok(parts.join("; "))
}
