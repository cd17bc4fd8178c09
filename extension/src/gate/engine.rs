//! The engine file: found beside the library, loaded when the first function is evaluated, one for each backend.
//!
//! Invariant: the file is native code, so it is used only when it is as trustworthy as the library: in the same directory,
//! and as `open_engine_file` wants it. It is opened when the server starts: an installation that replaces it by rename does
//! not change what a running server uses.

use std::cell::OnceCell;
use std::ffi::CStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ::decision::{CompileError, ENGINE_FILE, ENGINE_ID, Engine, Evaluation, Level, Limits, open_engine_file};
use pgrx::pg_sys;

use super::Function;
use crate::settings;

/// What the postmaster opened; without success a backend tries again.
static OPENED: OnceLock<Option<File>> = OnceLock::new();

thread_local! {
    static ENGINE: OnceCell<Engine> = const { OnceCell::new() };
}

/// Opens the file. Called once, at server start.
pub(crate) fn init() {
    OPENED.get_or_init(|| open().ok());
}

/// Why decision functions cannot be evaluated, if they cannot.
pub(crate) fn problem() -> Option<String> {
    with_engine(|_| ()).err()
}

/// Compiles source.
///
/// # Errors
/// When the engine cannot be used (outer), or does not accept the source (inner).
pub(crate) fn compile(source: &str) -> Result<Result<Vec<u8>, CompileError>, String> {
    let limits = limits();
    with_engine(|engine| engine.compile(source, &limits))
}

/// Evaluates a function. Bytecode of another engine is not used, the source is compiled in its place.
///
/// # Errors
/// When there is no engine, or the source cannot be compiled by this one.
pub(crate) fn evaluate(
    function: &Function,
    context: &str,
    now: i64,
    log_level: Option<Level>,
) -> Result<Evaluation, String> {
    let compiled;
    let bytecode = if function.engine == ENGINE_ID && !function.bytecode.is_empty() {
        &function.bytecode
    } else {
        compiled = compile(&function.source)?.map_err(|error| error.to_string())?;
        &compiled
    };
    run(bytecode, context, &function.config, now, log_level)
}

/// Compiles and evaluates source that is not stored.
///
/// # Errors
/// When there is no engine (outer), or the source is not accepted (inner).
pub(crate) fn evaluate_source(
    source: &str,
    context: &str,
    config: &str,
    now: i64,
) -> Result<Result<Evaluation, CompileError>, String> {
    match compile(source)? {
        Ok(bytecode) => run(&bytecode, context, config, now, Some(Level::Info)).map(Ok),
        Err(error) => Ok(Err(error)),
    }
}

fn run(bytecode: &[u8], context: &str, config: &str, now: i64, log_level: Option<Level>) -> Result<Evaluation, String> {
    // Whole seconds, as the context tells them: what a function sees is what answers are remembered by.
    let seconds = u64::try_from(now / 1_000_000).unwrap_or(0);
    let limits = limits();
    with_engine(|engine| engine.evaluate(bytecode, context, config, seconds * 1_000_000_000, log_level, &limits))
}

fn limits() -> Limits {
    Limits {
        fuel: settings::DECISION_FUEL.get() as u64,
        memory: settings::DECISION_MEMORY.get() as usize * 1024,
        log: settings::DECISION_LOG_LIMIT.get() as usize,
    }
}

fn with_engine<R>(f: impl FnOnce(&Engine) -> R) -> Result<R, String> {
    // SAFETY: raises an error when there is not enough stack left; the sandbox needs less than PostgreSQL's margin.
    unsafe { pg_sys::check_stack_depth() };
    ENGINE.with(|cell| {
        if cell.get().is_none() {
            let file = match OPENED.get().and_then(Option::as_ref) {
                Some(file) => file.try_clone().map_err(|error| error.to_string())?,
                None => open()?,
            };
            // SAFETY: the file was checked when it was opened, and is replaced by rename only.
            let engine = unsafe { Engine::load(file) }.map_err(|error| {
                format!(
                    "the engine file {ENGINE_FILE} does not fit this library, install both of the same version: {error}"
                )
            })?;
            _ = cell.set(engine);
        }
        cell.get().map(f).ok_or_else(|| "it was not loaded".to_owned())
    })
}

fn open() -> Result<File, String> {
    open_engine_file(&directory().join(ENGINE_FILE)).map_err(|error| error.to_string())
}

/// The directory that PostgreSQL loads libraries from.
fn directory() -> PathBuf {
    // SAFETY: PostgreSQL sets the path before it loads any library; it is NUL-terminated.
    let path = unsafe { CStr::from_ptr(std::ptr::addr_of!(pg_sys::pkglib_path).cast()) };
    Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())).to_owned()
}
