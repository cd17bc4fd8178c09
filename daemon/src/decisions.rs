//! The engine of decision functions: the one that data sources have, so that a test here tells what happens there.
//!
//! Invariant: evaluations run one at a time on a thread of their own, within the limits that databases have unless
//! somebody set others.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use decision::context::told_time;
use decision::{CompileError, ENGINE_FILE, Engine, Evaluation, Level, Limits};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::error::{Error, Result};

/// Where Debian and its relatives have the libraries of PostgreSQL; newest first.
const LIBRARY_DIRS: [&str; 4] = [
    "/usr/lib/postgresql/18/lib",
    "/usr/lib/postgresql/17/lib",
    "/usr/lib/postgresql/16/lib",
    "/usr/lib/postgresql/15/lib",
];

/// Compiles and evaluates decision functions.
pub struct Decisions {
    file: PathBuf,
    engine: Arc<Mutex<Option<Engine>>>,
}

impl Decisions {
    /// With the engine file at `file`, or where it usually is: beside this program, or beside the extension's library.
    pub fn new(file: Option<PathBuf>) -> Self {
        Decisions {
            file: file.unwrap_or_else(default_file),
            engine: Arc::default(),
        }
    }

    /// Compiles source, to know whether it can be.
    pub async fn check(&self, source: &str) -> Result<std::result::Result<(), CompileError>> {
        let source = source.to_owned();
        self.with_engine(move |engine| engine.compile(&source, &Limits::DEFAULT).map(drop))
            .await
    }

    /// Compiles and evaluates source at the time that the context tells, or else now.
    pub async fn test(
        &self,
        source: String,
        context: Value,
        config: Value,
    ) -> Result<std::result::Result<Evaluation, CompileError>> {
        let told = told_time(&context).and_then(|microseconds| u64::try_from(microseconds / 1_000_000).ok());
        let now = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |now| now.as_secs())
        };
        // Databases tell functions whole seconds, too.
        let nanoseconds = told.unwrap_or_else(now).saturating_mul(1_000_000_000);
        self.with_engine(move |engine| {
            let limits = Limits::DEFAULT;
            let bytecode = engine.compile(&source, &limits)?;
            let (context, config) = (context.to_string(), config.to_string());
            Ok(engine.evaluate(&bytecode, &context, &config, nanoseconds, Some(Level::Info), &limits))
        })
        .await
    }

    /// Loads the engine, to know whether it can be used.
    pub async fn load(&self) -> Result<()> {
        self.with_engine(|_| ()).await
    }

    /// Runs something with the engine, which is loaded when it is first needed: whoever puts the file into its place need
    /// not restart the daemon.
    async fn with_engine<R: Send + 'static>(&self, run: impl FnOnce(&Engine) -> R + Send + 'static) -> Result<R> {
        let mut engine = self.engine.clone().lock_owned().await;
        let file = self.file.clone();
        let ran = tokio::task::spawn_blocking(move || {
            if engine.is_none() {
                *engine = Some(Engine::open(&file)?);
            }
            Ok(engine.as_ref().map(run))
        });
        match ran.await {
            Ok(Ok(Some(result))) => Ok(result),
            Ok(Ok(None)) => Err(Error::Internal("the engine was not loaded".to_owned())),
            Ok(Err(error)) => Err(unusable(&error)),
            Err(error) => Err(Error::Internal(error.to_string())),
        }
    }
}

fn unusable(error: &decision::EngineError) -> Error {
    Error::Unavailable(format!(
        "decision functions cannot be compiled here: {error}; set engine_file (BR_ENGINE_FILE) to the {ENGINE_FILE} that \
         is installed beside the extension's library"
    ))
}

fn default_file() -> PathBuf {
    let program = std::env::current_exe().ok();
    let beside = program.and_then(|program| Some(program.parent()?.join(ENGINE_FILE)));
    let beside = beside.unwrap_or_else(|| PathBuf::from(ENGINE_FILE));
    let others = LIBRARY_DIRS.map(|directory| PathBuf::from(directory).join(ENGINE_FILE));
    let found = std::iter::once(&beside).chain(&others).find(|file| file.is_file());
    found.unwrap_or(&beside).clone()
}
