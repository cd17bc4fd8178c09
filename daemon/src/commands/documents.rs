//! `apply`, `export`, `diff` and `check`: policies as code.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use policy::document::Switch;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::data_sources;
use super::output::{complain, line, whole};
use super::{Failure, Outcome, open};
use crate::check::{self, Problem};
use crate::config::Config;
use crate::document::{self, File};
use crate::store::import::{self, Options};
use crate::store::sync_states::Step;
use crate::store::{Actor, desired};

/// Bring the store in line with a document.
#[derive(Args)]
pub struct Apply {
    /// The document, YAML or JSON; "-" is standard input
    file: PathBuf,
    /// The data source that access mode, assignments, access grants and catalog are for
    #[arg(long, value_name = "NAME")]
    datasource: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Also remove what a section that is there does not list
    #[arg(long)]
    prune: bool,
}

/// Print the store as a document.
#[derive(Args)]
pub struct Export {
    /// With access mode, assignments, access grants and catalog of this data source
    #[arg(long, value_name = "NAME")]
    datasource: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Say what would change.
#[derive(Args)]
pub struct Diff {
    /// The document, YAML or JSON; "-" is standard input
    file: PathBuf,
    /// The data source that access mode, assignments, access grants and catalog are for
    #[arg(long, value_name = "NAME")]
    datasource: Option<String>,
}

/// Check a document.
#[derive(Args)]
pub struct Check {
    /// The document, YAML or JSON; "-" is standard input
    file: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    Ok(std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?)
}

async fn named(conn: &mut PgConnection, name: Option<&str>) -> Result<Option<Uuid>, Failure> {
    match name {
        Some(name) => data_sources::named(conn, name).await.map(Some),
        None => Ok(None),
    }
}

/// `apply`.
pub async fn apply(config: &Config, apply: Apply) -> Outcome {
    let file = document::parse(&read(&apply.file)?)?;
    let steps = bring_in(config, &file, apply.datasource.as_deref(), apply.prune, apply.dry_run).await?;
    print(&steps)?;
    Ok(ExitCode::SUCCESS)
}

/// `diff`.
pub async fn diff(config: &Config, diff: Diff) -> Outcome {
    let file = document::parse(&read(&diff.file)?)?;
    let steps = bring_in(config, &file, diff.datasource.as_deref(), true, true).await?;
    print(&steps)?;
    let same = steps.iter().all(|step| step.action == "none");
    Ok(ExitCode::from(u8::from(!same)))
}

async fn bring_in(
    config: &Config,
    file: &File,
    data_source: Option<&str>,
    prune: bool,
    dry_run: bool,
) -> Result<Vec<Step>, Failure> {
    let (store, _) = open(config).await?;
    let mut change = store.change(Actor::command_line()).await?;
    let data_source = named(&mut change.tx, data_source).await?;
    let options = Options { data_source, prune };
    let steps = import::run(&mut change, file, options).await?;
    for warning in import::warnings(&mut change, file, options).await? {
        complain("warning: ", warning);
    }
    if !dry_run {
        change.commit().await?;
    }
    Ok(steps)
}

fn print(steps: &[Step]) -> Result<(), Failure> {
    for step in steps.iter().filter(|step| step.action != "none") {
        let text = format!("{} {} {} {}", step.action, step.kind, step.name, step.detail);
        line(text.trim_end())?;
    }
    Ok(())
}

/// `export`.
pub async fn export(config: &Config, export: Export) -> Outcome {
    let (store, _) = open(config).await?;
    let mut conn = store.read().await?;
    let data_source = named(&mut conn, export.datasource.as_deref()).await?;
    let document = desired::for_export(&mut conn, data_source).await?;
    if export.json {
        whole(&format!("{}\n", serde_json::to_string_pretty(&document.to_json())?))?;
    } else {
        whole(&document::to_yaml(&document)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `check`.
pub fn check(check: &Check) -> Outcome {
    let (problems, warnings) = match document::read(&read(&check.file)?) {
        Ok(file) => {
            let mut warnings = check::refused_by_the_store(&file);
            if let Switch::On(catalog) = &file.document.catalog {
                warnings.extend(check::warnings(&file, catalog));
            }
            (check::problems(&file), warnings)
        }
        Err(issues) => (issues.into_iter().map(Problem::from).collect(), Vec::new()),
    };
    if check.json {
        let report = json!({"valid": problems.is_empty(), "problems": problems, "warnings": warnings});
        whole(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        let file = check.file.display();
        for problem in &problems {
            line(format!("{file}: {problem}"))?;
        }
        for warning in &warnings {
            line(format!("{file}: warning: {warning}"))?;
        }
    }
    Ok(ExitCode::from(u8::from(!problems.is_empty())))
}
