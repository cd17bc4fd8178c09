//! Decision functions: JavaScript that decides whether a policy takes part.
//!
//! A function is source that defines `evaluate(ctx, config)` and returns `{fire: boolean}`. [`Engine::compile`] turns it
//! into bytecode, [`Engine::evaluate`] runs that, and [`context`] makes what it sees as `ctx`. Both happen in a
//! WebAssembly sandbox that is made for the call and thrown away after it.
//!
//! Invariants: an evaluation is a function of bytecode, context, config and time alone; it ends within its [`Limits`],
//! and nothing it does reaches the process it runs in. There is no I/O, no thread and no signal handler. Everything
//! that evaluates decision functions, the extension as well as the daemon, does it here.

mod config;
pub mod context;
mod engine;
mod file;
mod host;

pub use config::{ENGINE_ID, engine_config};
pub use engine::{CompileError, Engine, EngineError, Evaluation, Failure};
pub use file::{ENGINE_FILE, open_engine_file};
pub use host::{Host, Level, Limits, Log, imports};
