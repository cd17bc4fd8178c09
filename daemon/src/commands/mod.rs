//! The command line. Commands work on the store itself, with the same settings as the daemon; what they change is synced
//! by the daemons that run.

mod data_sources;
mod doctor;
mod documents;
mod output;
mod serve;
mod users;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};
use sqlx::PgConnection;
use tracing_subscriber::EnvFilter;

use crate::config::{Config, Given};
use crate::decisions::Decisions;
use crate::secrets::keys::{self, Keys};
use crate::secrets::seal::Sealer;
use crate::store::{self, Actor, Store, sealing};
use crate::sync::target;

/// Where help has what all commands take.
const SETTINGS: &str = "Settings";
/// What help has no flags for.
const SECRETS: &str = "Secrets are taken from variables or the configuration file: BR_ADMIN_USER, BR_ADMIN_PASSWORD (first \
                       start), BR_ENCRYPTION_KEY, BR_OLD_ENCRYPTION_KEY, BR_ADMIN_JWT_SECRET.";

/// The control daemon of betweenrows: who may see which rows and columns of which PostgreSQL databases.
#[derive(Parser)]
#[command(name = "betweenrowsd", version, about, after_help = SECRETS)]
struct Line {
    #[command(flatten, next_help_heading = SETTINGS)]
    given: Given,
    /// Configuration file (TOML); keys are the names of the flags, with "_"
    #[arg(long, global = true, env = "BR_CONFIG_FILE", value_name = "FILE", help_heading = SETTINGS)]
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
    /// Seal the secrets in the store with the key that is set now; BR_OLD_ENCRYPTION_KEY is the one before
    Reseal {
        /// Remove what neither key opens: users and data sources then need new passwords
        #[arg(long)]
        forget: bool,
    },
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
    let command = Line::command().mut_args(without_empty_variable);
    let line = Line::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    match dispatch(line).await {
        Ok(code) => code,
        Err(failure) => {
            output::complain("error: ", failure);
            ExitCode::from(2)
        }
    }
}

/// A variable that is set to nothing is as good as none: compose files pass them on that way.
fn without_empty_variable(argument: Arg) -> Arg {
    let value = argument.get_env().and_then(std::env::var_os);
    match value {
        Some(value) if value.is_empty() => argument.env(None),
        _ => argument,
    }
}

async fn dispatch(line: Line) -> Outcome {
    match &line.command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Line::command(), "betweenrowsd", &mut script);
            output::whole(&String::from_utf8(script)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Openapi => {
            output::whole(&format!("{}\n", crate::api::openapi().to_pretty_json()?))?;
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
        Command::Doctor => doctor::doctor(&config, line.config.as_deref()).await,
        Command::Reseal { forget } => reseal(&config, forget).await,
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
    let (store, keys) = open_with_any_key(config, store::PROGRAM).await?;
    sealing::claim(&store).await?;
    Ok((Arc::new(store), keys))
}

/// The same, whatever its secrets are sealed with. `name` is what the sessions are called.
async fn open_with_any_key(config: &Config, name: &str) -> Result<(Store, Keys), Failure> {
    let keys = Keys::load(
        config.encryption_key.as_deref(),
        config.jwt_secret.as_deref(),
        &config.state_dir,
    )?;
    let options = store::connect_options(&config.database_url)?.application_name(name);
    let hinted = |said: String| format!("the store: {said}; `betweenrowsd doctor` says what mends it");
    let unusable = |error| hinted(target::unavailable(error).to_string());
    store::create_database(&options).await.map_err(unusable)?;
    let pool = store::connect(options).await.map_err(unusable)?;
    let migrated = store::MIGRATOR.run(&pool).await;
    migrated.map_err(|error| hinted(error.to_string()))?;
    let store = Store {
        pool,
        sealer: Sealer::new(&keys.encryption),
        decisions: Decisions::new(config.engine_file.clone()),
    };
    Ok((store, keys))
}

async fn migrate(config: &Config, revert_all: bool) -> Outcome {
    if revert_all {
        let options = store::connect_options(&config.database_url)?;
        let pool = store::connect(options.application_name("betweenrowsd migrate")).await?;
        alone(&mut *pool.acquire().await?).await?;
        store::MIGRATOR.undo(&pool, 0).await?;
        output::line("the store is empty")?;
    } else {
        open(config).await?;
        output::line("the store is up to date")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `reseal`. Daemons that run would go on sealing with the key before.
async fn reseal(config: &Config, forget: bool) -> Outcome {
    let before = config.old_encryption_key.as_deref();
    let before = before
        .map(|text| keys::parse(text, "BR_OLD_ENCRYPTION_KEY"))
        .transpose()?;
    let before = before.map(|key| Sealer::new(&key));
    let (store, _) = open_with_any_key(config, "betweenrowsd reseal").await?;
    let mut change = store.change(Actor::command_line()).await?;
    alone(&mut change.tx).await?;
    let (sealed, forgotten) = sealing::reseal(&mut change, before.as_ref(), forget).await?;
    change.commit().await?;
    output::line(format!("sealed {sealed} secrets, removed {forgotten}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses to go on while daemons or other commands have sessions in the store.
async fn alone(store: &mut PgConnection) -> Result<(), Failure> {
    let count = "select count(*) from pg_stat_activity where datname = current_database() and application_name = $1";
    // The session of a program that just ended may be there for a moment yet.
    for _ in 0..30 {
        // Within a transaction the view would stay as it was at first.
        sqlx::query("select pg_stat_clear_snapshot()")
            .execute(&mut *store)
            .await?;
        let others: i64 = sqlx::query_scalar(count)
            .bind(store::PROGRAM)
            .fetch_one(&mut *store)
            .await?;
        if others == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err("daemons use the store: stop them first".into())
}
