//! `datasource` and `status`: the databases that are managed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use sqlx::PgConnection;
use uuid::Uuid;

use super::output::{line, whole};
use super::users::given_or_read;
use super::{Failure, Outcome, open};
use crate::config::Config;
use crate::store::data_sources::{self, CATALOG_MODES, Config as Connection, Content, DRIFT_MODES, SSL_MODES};
use crate::store::{Actor, Window, sync_states};
use crate::sync::target;

const ACCESS_MODES: [&str; 2] = ["policy_required", "open"];

/// What to do with data sources.
#[derive(Subcommand)]
pub enum DataSourceCommand {
    /// Add a database
    Add(Add),
    /// Change how a database is reached and treated; what is not given stays as it is
    Set(Set),
    /// Test the connection to a database
    Test {
        /// Its name
        name: String,
    },
    /// List the databases
    List,
}

/// A new data source.
#[derive(Args)]
pub struct Add {
    /// Its name
    #[arg(long)]
    name: String,
    /// Name, address, or directory of a socket
    #[arg(long)]
    host: String,
    /// Port
    #[arg(long, default_value_t = 5432)]
    port: i32,
    /// Database
    #[arg(long)]
    database: String,
    /// Login role of the daemon there
    #[arg(long)]
    username: String,
    /// Read its password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// Only verify-full makes the server prove who it is
    #[arg(long, default_value = "require", value_parser = SSL_MODES, value_name = "MODE")]
    sslmode: String,
    /// File with the authority that signed the server's certificate (PEM)
    #[arg(long, value_name = "FILE")]
    ssl_root_cert: Option<PathBuf>,
    /// policy_required: tables without a policy that allows columns do not exist for users
    #[arg(long, default_value = "policy_required", value_parser = ACCESS_MODES, value_name = "MODE")]
    access_mode: String,
    /// selected: nothing exists for users before a catalog selects it
    #[arg(long, default_value = "selected", value_parser = CATALOG_MODES, value_name = "MODE")]
    catalog_mode: String,
    /// What to do about what somebody changes in the database
    #[arg(long, default_value = "repair", value_parser = DRIFT_MODES, value_name = "MODE")]
    drift: String,
}

/// What to change of a data source.
#[derive(Args)]
pub struct Set {
    /// Its name
    name: String,
    /// Name, address, or directory of a socket; for another one the password has to be given again
    #[arg(long)]
    host: Option<String>,
    /// Port; for another one the password has to be given again
    #[arg(long)]
    port: Option<i32>,
    /// Database
    #[arg(long)]
    database: Option<String>,
    /// Login role of the daemon there
    #[arg(long)]
    username: Option<String>,
    /// Read its password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// Only verify-full makes the server prove who it is
    #[arg(long, value_parser = SSL_MODES, value_name = "MODE")]
    sslmode: Option<String>,
    /// File with the authority that signed the server's certificate (PEM)
    #[arg(long, value_name = "FILE")]
    ssl_root_cert: Option<PathBuf>,
    /// Whether it is synced; an inactive one is left alone as it is
    #[arg(long, value_name = "BOOL")]
    active: Option<bool>,
    /// policy_required: tables without a policy that allows columns do not exist for users
    #[arg(long, value_parser = ACCESS_MODES, value_name = "MODE")]
    access_mode: Option<String>,
    /// selected: nothing exists for users before a catalog selects it
    #[arg(long, value_parser = CATALOG_MODES, value_name = "MODE")]
    catalog_mode: Option<String>,
    /// What to do about what somebody changes in the database
    #[arg(long, value_parser = DRIFT_MODES, value_name = "MODE")]
    drift: Option<String>,
}

/// Runs it.
pub async fn run(config: &Config, command: DataSourceCommand) -> Outcome {
    let (store, _) = open(config).await?;
    match command {
        DataSourceCommand::Add(add) => {
            let content = content(add)?;
            let mut change = store.change(Actor::command_line()).await?;
            let source = data_sources::create(&mut change, &content).await?;
            change.commit().await?;
            line(format!("added {} {}", source.name, source.id))?;
        }
        DataSourceCommand::Set(set) => {
            let ssl_root_cert = certificate(set.ssl_root_cert.as_deref())?;
            let password = password(set.password_stdin)?;
            let mut change = store.change(Actor::command_line()).await?;
            let id = named(&mut change.tx, &set.name).await?;
            let edit = |content: &mut Content| {
                let config = &mut content.config;
                put(&mut config.host, set.host);
                put(&mut config.port, set.port);
                put(&mut config.database, set.database);
                put(&mut config.username, set.username);
                put(&mut config.sslmode, set.sslmode);
                config.ssl_root_cert = ssl_root_cert.or(config.ssl_root_cert.take());
                content.password = password;
                put(&mut content.is_active, set.active);
                put(&mut content.access_mode, set.access_mode);
                put(&mut content.catalog_mode, set.catalog_mode);
                put(&mut content.drift, set.drift);
            };
            data_sources::update(&mut change, id, None, edit).await?;
            change.commit().await?;
            line(format!("changed {}", set.name))?;
        }
        DataSourceCommand::Test { name } => {
            let mut conn = store.read().await?;
            let id = named(&mut conn, &name).await?;
            let mut database = target::connect(&mut conn, &store.sealer, id).await?;
            line(target::test(&mut database).await?)?;
        }
        DataSourceCommand::List => {
            let mut conn = store.read().await?;
            for source in data_sources::list(&mut conn, "", Window::ALL).await?.0 {
                let Connection {
                    host, port, database, ..
                } = &source.config;
                line(format!(
                    "{}\t{host}:{port}/{database}\t{}\t{}",
                    source.name, source.access_mode, source.last_sync_result
                ))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The id of the data source of that name.
pub(super) async fn named(conn: &mut PgConnection, name: &str) -> Result<Uuid, Failure> {
    let id = data_sources::id_of(conn, name).await?;
    Ok(id.ok_or_else(|| format!("there is no data source \"{name}\""))?)
}

fn put<T>(place: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *place = given;
    }
}

fn certificate(path: Option<&Path>) -> Result<Option<String>, Failure> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    Ok(path.map(read).transpose()?)
}

fn password(from_stdin: bool) -> Result<Option<String>, Failure> {
    from_stdin.then(|| given_or_read(None)).transpose()
}

fn content(add: Add) -> Result<Content, Failure> {
    let ssl_root_cert = certificate(add.ssl_root_cert.as_deref())?;
    let password = password(add.password_stdin)?;
    Ok(Content {
        name: add.name,
        config: Connection {
            host: add.host,
            port: add.port,
            database: add.database,
            username: add.username,
            sslmode: add.sslmode,
            ssl_root_cert,
        },
        password,
        is_active: true,
        access_mode: add.access_mode,
        catalog_mode: add.catalog_mode,
        drift: add.drift,
    })
}

/// `status`.
pub async fn status(config: &Config, json: bool) -> Outcome {
    let (store, _) = open(config).await?;
    let mut conn = store.read().await?;
    let states = sync_states::list(&mut conn, None).await?;
    if json {
        whole(&format!("{}\n", serde_json::to_string_pretty(&states)?))?;
    } else {
        for state in &states {
            let error = state.error.as_deref().unwrap_or_default();
            line(format!("{}\t{}\t{error}", state.name, state.state).trim_end())?;
            for problem in state.problems.as_array().into_iter().flatten() {
                let text = |key: &str| problem[key].as_str().unwrap_or_default();
                line(format!("\t{}: {}", text("object"), text("message")))?;
            }
            for warning in state.warnings.as_array().into_iter().flatten() {
                line(format!("\twarning: {}", warning.as_str().unwrap_or_default()))?;
            }
        }
    }
    let good = states.iter().all(|state| state.is_current && state.state == "in_sync");
    Ok(ExitCode::from(u8::from(!good)))
}
