//! Loading the engine, and calling it: a new instance for each call.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::time::Instant;

use wasmtime::{
    Enabled, Error, Instance, InstanceAllocationStrategy, InstancePre, Memory, Module, PoolingAllocationConfig, Store,
    Trap,
};

use crate::config::{RESERVED_MEMORY, engine_config};
use crate::file::open_engine_file;
use crate::host::{Host, Level, Limits, Log, imports, lossy};

/// Bytes of an error's text that are kept.
const MAX_ERROR_BYTES: usize = 2_000;
/// Bytes of bytecode that a function may have.
const MAX_BYTECODE_BYTES: usize = 4 << 20;
/// What the engine calls the source in stack traces.
const FILE: &str = "decision.js:";

/// An engine that cannot be used, with the reason.
#[derive(Debug)]
pub struct EngineError(pub(crate) String);

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EngineError {}

/// Why source was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileError {
    /// What is wrong.
    pub message: String,
    /// Where, as line and column, both counted from 1; unknown for source that exceeds a limit.
    pub position: Option<(u32, u32)>,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "line {line}, column {column}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Why an evaluation came to no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The function threw: the error with its stack.
    Threw(String),
    /// It returned something else than `{fire: boolean}`.
    WrongShape(String),
    /// It used up its fuel.
    OutOfFuel,
    /// It used up its memory.
    OutOfMemory,
    /// Its calls were nested too deeply.
    TooDeep,
    /// The engine cannot be used or failed.
    Engine(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Failure::Threw(text) | Failure::WrongShape(text) => f.write_str(text),
            Failure::OutOfFuel => f.write_str("the limit on fuel was reached"),
            Failure::OutOfMemory => f.write_str("the limit on memory was reached"),
            Failure::TooDeep => f.write_str("calls are nested too deeply"),
            Failure::Engine(text) => write!(f, "the engine failed: {text}"),
        }
    }
}

/// What came of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// Whether the function says that the policy takes part, or why it came to no result.
    pub outcome: Result<bool, Failure>,
    /// Fuel it took.
    pub fuel: u64,
    /// Time it took, in microseconds.
    pub microseconds: u64,
    /// What it logged.
    pub logs: Vec<Log>,
}

/// The engine, loaded into this process.
pub struct Engine {
    ready: InstancePre<Host>,
}

/// What the engine answers to a call: a status and a text.
struct Answer {
    status: u32,
    text: Vec<u8>,
}

impl Engine {
    /// Loads an engine that was compiled ahead of time.
    ///
    /// # Safety
    /// The file is native code: it has to be as trustworthy as this program, and must not be changed while it is in use.
    ///
    /// # Errors
    /// When it was compiled by another release or configuration, for another processor, or from another engine.
    pub unsafe fn load(file: File) -> Result<Engine, EngineError> {
        let load = || {
            let engine = wasmtime::Engine::new(&runtime_config()?)?;
            // SAFETY: promised by the caller.
            let module = unsafe { Module::deserialize_open_file(&engine, file)? };
            imports(&engine)?.instantiate_pre(&module)
        };
        load()
            .map(|ready| Engine { ready })
            .map_err(|error: Error| EngineError(format!("{error:#}")))
    }

    /// Loads the engine file at a path, if it can be trusted.
    ///
    /// # Errors
    /// Those of [`open_engine_file`] and [`Engine::load`].
    pub fn open(path: &Path) -> Result<Engine, EngineError> {
        let file = open_engine_file(path)?;
        // SAFETY: it was checked that nobody but its owner can change it, who replaces it by rename only.
        unsafe { Engine::load(file) }.map_err(|error| {
            EngineError(format!(
                "the engine file {} does not fit this program, install both of the same version: {error}",
                path.display()
            ))
        })
    }

    /// Compiles source that defines `evaluate`, and runs its top level once.
    ///
    /// # Errors
    /// When it has a syntax error, defines no `evaluate`, or its top level fails.
    pub fn compile(&self, source: &str, limits: &Limits) -> Result<Vec<u8>, CompileError> {
        let mut store = self.store(limits, 0, None);
        let end = end_of(source);
        let answer = self.call(&mut store, "decision-compile", &[source.as_bytes()], MAX_BYTECODE_BYTES);
        let error = match outcome(&store, answer) {
            Ok(Answer { status: 0, text }) if text.len() < MAX_BYTECODE_BYTES => return Ok(text),
            Ok(_) => CompileError {
                message: "the source is too long".to_owned(),
                position: None,
            },
            Err(failure) => {
                let text = failure.to_string();
                let mut found = match failure {
                    Failure::Threw(_) => position(&text),
                    Failure::WrongShape(_) => Some((1, 1)),
                    _ => None,
                };
                let mut message = text.lines().next().unwrap_or_default().to_owned();
                if message.contains("'evaluate' does not exist") {
                    message = "the source defines no function \"evaluate\"".to_owned();
                    found = Some(end);
                } else if found.is_some_and(|found| found.0 > end.0) {
                    // The line is the one that the engine adds.
                    message = "the source ends before it is complete".to_owned();
                }
                CompileError {
                    message,
                    position: found.map(|found| found.min(end)),
                }
            }
        };
        Err(error)
    }

    /// Calls `evaluate(context, config)`, both given as JSON, at a time in nanoseconds since 1970.
    ///
    /// `bytecode` is a result of [`Engine::compile`] of the same [`crate::ENGINE_ID`]. `log_level` is the least important
    /// level that is kept.
    pub fn evaluate(
        &self,
        bytecode: &[u8],
        context: &str,
        config: &str,
        now: u64,
        log_level: Option<Level>,
        limits: &Limits,
    ) -> Evaluation {
        let started = Instant::now();
        let input = format!("[{context},{config}]");
        let mut store = self.store(limits, now, log_level);
        let answer = self.call(
            &mut store,
            "decision-evaluate",
            &[bytecode, input.as_bytes()],
            MAX_ERROR_BYTES,
        );
        let outcome = outcome(&store, answer).map(|answer| answer.status == 1);
        Evaluation {
            outcome,
            fuel: limits.fuel - store.get_fuel().unwrap_or(0),
            microseconds: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
            logs: std::mem::take(&mut store.data_mut().logs),
        }
    }

    fn store(&self, limits: &Limits, now: u64, log_level: Option<Level>) -> Store<Host> {
        let mut store = Store::new(self.ready.module().engine(), Host::new(limits, now, log_level));
        store.limiter(|host| host);
        store
            .set_fuel(limits.fuel)
            .expect("the engine is configured to count fuel");
        store
    }

    /// Calls an export with texts, as address and length each, and takes at most `most` bytes of its answer.
    fn call(&self, store: &mut Store<Host>, export: &str, texts: &[&[u8]], most: usize) -> Result<Answer, Error> {
        let instance = self.ready.instantiate(&mut *store)?;
        let memory = instance
            .get_memory(&mut *store, "memory")
            .ok_or_else(|| Error::msg("it exports no memory"))?;
        let mut arguments = Vec::with_capacity(4);
        for text in texts {
            arguments.push(place(store, &instance, memory, text)?);
            arguments.push(length(text)?);
        }
        let answer = match arguments[..] {
            [a, b] => instance
                .get_typed_func::<(u32, u32), u32>(&mut *store, export)?
                .call(&mut *store, (a, b))?,
            [a, b, c, d] => instance
                .get_typed_func::<(u32, u32, u32, u32), u32>(&mut *store, export)?
                .call(&mut *store, (a, b, c, d))?,
            _ => return Err(Error::msg("it has no such export")),
        };
        let data = memory.data(&*store);
        let word = |index: usize| {
            let bytes = data.get(answer as usize + 4 * index..)?.first_chunk()?;
            Some(u32::from_le_bytes(*bytes) as usize)
        };
        let read = || {
            let (status, address, length) = (word(0)?, word(1)?, word(2)?);
            let text = data.get(address..)?.get(..length)?;
            Some(Answer {
                status: status as u32,
                text: text[..length.min(most)].to_vec(),
            })
        };
        read().ok_or_else(|| Error::msg("its answer is outside of its memory"))
    }
}

/// One instance at a time whose pages stay with the process, so that the next call need not fault them in again.
fn runtime_config() -> Result<wasmtime::Config, Error> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_memories(1)
        .total_tables(1)
        .total_core_instances(1)
        .max_memories_per_module(1)
        .max_tables_per_module(1)
        .max_unused_warm_slots(1)
        .max_memory_size(RESERVED_MEMORY as usize)
        .table_elements(4_000)
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut config = engine_config()?;
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Ok(config)
}

fn length(text: &[u8]) -> Result<u32, Error> {
    u32::try_from(text.len()).map_err(|_| Error::msg("a text is too long"))
}

/// Copies a text into the sandbox.
fn place(store: &mut Store<Host>, instance: &Instance, memory: Memory, text: &[u8]) -> Result<u32, Error> {
    let allocate = instance.get_typed_func::<(u32, u32, u32, u32), u32>(&mut *store, "cabi_realloc")?;
    let address = allocate.call(&mut *store, (0, 0, 1, length(text)?))?;
    memory.write(&mut *store, address as usize, text)?;
    Ok(address)
}

/// Tells results from failures.
fn outcome(store: &Store<Host>, answer: Result<Answer, Error>) -> Result<Answer, Failure> {
    let text = |answer: &Answer| lossy(&answer.text);
    let failure = match answer {
        Ok(answer) => match answer.status {
            0 | 1 => return Ok(answer),
            3 => Failure::WrongShape(text(&answer)),
            _ if store.data().memory_refused => Failure::OutOfMemory,
            _ => Failure::Threw(text(&answer)),
        },
        Err(_) if store.data().memory_refused => Failure::OutOfMemory,
        Err(error) => match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => Failure::OutOfFuel,
            Some(Trap::StackOverflow) => Failure::TooDeep,
            _ => Failure::Engine(format!("{error:#}")),
        },
    };
    Err(failure)
}

/// Line and column of the first place in the source that a stack trace names.
fn position(text: &str) -> Option<(u32, u32)> {
    let (_, rest) = text.split_once(FILE)?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
    let line = numbers.next()?.parse().ok()?;
    let column = numbers.next()?.parse().unwrap_or(1);
    Some((line, column))
}

/// The position after the last character: what is wrong behind it is that something is missing.
fn end_of(source: &str) -> (u32, u32) {
    let lines = source.split('\n').count();
    let last = source.rsplit('\n').next().unwrap_or_default();
    (lines as u32, last.chars().count() as u32 + 1)
}
