//! `datasource` and `status`: the databases that are managed.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::users::given_or_read;
use super::{Failure, Outcome, open};
use crate::config::Config;
use crate::store::data_sources::{self, Config as Connection, Content};
use crate::store::{Actor, Window, sync_states};
use crate::sync::target;

/// What to do with data sources.
#[derive(Subcommand)]
pub enum DataSourceCommand {
    /// Add a database
    Add(Add),
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
    /// disable, allow, prefer, require, verify-ca or verify-full
    #[arg(long, default_value = "require")]
    sslmode: String,
    /// File with the authority that signed the server's certificate (PEM)
    #[arg(long, value_name = "FILE")]
    ssl_root_cert: Option<std::path::PathBuf>,
    /// policy_required or open
    #[arg(long, default_value = "policy_required")]
    access_mode: String,
    /// selected: nothing exists for users before a catalog selects it; or everything
    #[arg(long, default_value = "selected")]
    catalog_mode: String,
    /// repair or keep what somebody changes in the database
    #[arg(long, default_value = "repair")]
    drift: String,
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
            println!("added {} {}", source.name, source.id);
        }
        DataSourceCommand::Test { name } => {
            let mut conn = store.read().await?;
            let id = data_sources::id_of(&mut conn, &name).await?;
            let id = id.ok_or_else(|| format!("there is no data source \"{name}\""))?;
            let mut database = target::connect(&mut conn, &store.sealer, id).await?;
            println!("{}", target::test(&mut database).await?);
        }
        DataSourceCommand::List => {
            let mut conn = store.read().await?;
            for source in data_sources::list(&mut conn, "", Window::ALL).await?.0 {
                let Connection {
                    host, port, database, ..
                } = &source.config;
                println!(
                    "{}\t{host}:{port}/{database}\t{}\t{}",
                    source.name, source.access_mode, source.last_sync_result
                );
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn content(add: Add) -> Result<Content, Failure> {
    let ssl_root_cert = match &add.ssl_root_cert {
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?),
        None => None,
    };
    let password = if add.password_stdin {
        Some(given_or_read(None)?)
    } else {
        None
    };
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
        println!("{}", serde_json::to_string_pretty(&states)?);
    } else {
        for state in &states {
            println!(
                "{}\t{}\t{}",
                state.name,
                state.state,
                state.error.as_deref().unwrap_or_default()
            );
            for problem in state.problems.as_array().into_iter().flatten() {
                let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
                println!("\t{}: {}", text("object"), text("message"));
            }
        }
    }
    let good = states.iter().all(|state| state.is_current && state.state == "in_sync");
    Ok(ExitCode::from(u8::from(!good)))
}
