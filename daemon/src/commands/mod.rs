//! The command line. Commands work on the store itself, with the same settings as the daemon; what they change is synced
//! by the daemons that run.

mod data_sources;
mod doctor;
mod documents;
mod serve;
mod users;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, Given};
use crate::decisions::Decisions;
use crate::secrets::keys::Keys;
use crate::secrets::seal::Sealer;
use crate::store::{self, Store};

/// The control daemon of betweenrows: who may see which rows and columns of which PostgreSQL databases.
#[derive(Parser)]
#[command(name = "betweenrowsd", version, about)]
struct Line {
    #[command(flatten)]
    given: Given,
    /// Configuration file (TOML); keys are the names of the flags, with "_"
    #[arg(long, global = true, env = "BR_CONFIG_FILE", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon: API and sync
    Serve,
    /// Bring the store's schema up to date, or take it back
    Migrate {
        /// Undo every migration: all that is stored is lost
        #[arg(long)]
        revert_all: bool,
    },
    /// Accounts
    #[command(subcommand)]
    User(users::UserCommand),
    /// Data sources
    #[command(subcommand, name = "datasource")]
    DataSource(data_sources::DataSourceCommand),
    /// Bring the store in line with a policy document
    Apply(documents::Apply),
    /// Print the store as a policy document
    Export(documents::Export),
    /// Say what `apply --prune` would change; ends with 1 if that is anything
    Diff(documents::Diff),
    /// Check a policy document without any database; ends with 1 if something is wrong
    Check(documents::Check),
    /// Print how far each data source is; ends with 1 if one is behind
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Find what is wrong with the set-up, and print what mends it
    Doctor,
    /// Print the description of the API
    Openapi,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// What went wrong, for people.
type Failure = Box<dyn std::error::Error + Send + Sync>;
/// The exit code, or what went wrong.
type Outcome = Result<ExitCode, Failure>;

/// Runs what the command line asks for.
pub async fn run() -> ExitCode {
    let line = Line::parse();
    match dispatch(line).await {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(2)
        }
    }
}

async fn dispatch(line: Line) -> Outcome {
    match &line.command {
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Line::command(), "betweenrowsd", &mut std::io::stdout());
            return Ok(ExitCode::SUCCESS);
        }
        Command::Openapi => {
            println!("{}", crate::api::openapi().to_pretty_json()?);
            return Ok(ExitCode::SUCCESS);
        }
        Command::Check(check) => return documents::check(check),
        _ => {}
    }
    let config = Config::load(line.given, line.config.as_deref())?;
    log(&config, matches!(line.command, Command::Serve));
    match line.command {
        Command::Serve => serve::serve(config).await,
        Command::Migrate { revert_all } => migrate(&config, revert_all).await,
        Command::User(command) => users::run(&config, command).await,
        Command::DataSource(command) => data_sources::run(&config, command).await,
        Command::Apply(apply) => documents::apply(&config, apply).await,
        Command::Export(export) => documents::export(&config, export).await,
        Command::Diff(diff) => documents::diff(&config, diff).await,
        Command::Status { json } => data_sources::status(&config, json).await,
        Command::Doctor => doctor::doctor(&config).await,
        Command::Check(_) | Command::Openapi | Command::Completions { .. } => Ok(ExitCode::SUCCESS),
    }
}

/// The daemon tells what it does, commands only what is wrong.
fn log(config: &Config, serves: bool) {
    let default = if serves { "info" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if config.log_json {
        subscriber.json().init();
    } else {
        subscriber.init();
    }
}

/// The store, ready for use. Its database is created and its schema brought up to date where that is needed.
async fn open(config: &Config) -> Result<(Arc<Store>, Keys), Failure> {
    let keys = Keys::load(
        config.encryption_key.as_deref(),
        config.jwt_secret.as_deref(),
        &config.state_dir,
    )?;
    let options = store::connect_options(&config.database_url)?;
    store::create_database(&options).await?;
    let pool = store::connect(options).await?;
    store::MIGRATOR.run(&pool).await?;
    let sealer = Sealer::new(&keys.encryption);
    let decisions = Decisions::new(config.engine_file.clone());
    Ok((
        Arc::new(Store {
            pool,
            sealer,
            decisions,
        }),
        keys,
    ))
}

async fn migrate(config: &Config, revert_all: bool) -> Outcome {
    if revert_all {
        let pool = store::connect(store::connect_options(&config.database_url)?).await?;
        store::MIGRATOR.undo(&pool, 0).await?;
        println!("the store is empty");
    } else {
        open(config).await?;
        println!("the store is up to date");
    }
    Ok(ExitCode::SUCCESS)
}
