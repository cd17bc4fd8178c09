//! What the sandbox finds outside of it: a clock that stands still, a log, and limits.
//!
//! Invariant: nothing here reads or changes anything but the [`Host`] of the call. No import panics or reaches into
//! PostgreSQL, so that no error is raised across the sandbox's frames.

use wasmtime::{Caller, Engine, Error, Extern, Linker, Memory, ResourceLimiter};

/// Bounds of one compilation or evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Units of work, about one for each WebAssembly instruction; the time bound follows from it.
    pub fuel: u64,
    /// Bytes of memory that the sandbox may have.
    pub memory: usize,
    /// Bytes of log text that are kept.
    pub log: usize,
}

impl Limits {
    /// What holds unless somebody says otherwise: an evaluation takes a few milliseconds at the most.
    pub const DEFAULT: Limits = Limits {
        fuel: 50_000_000,
        memory: 16 << 20,
        log: 4 << 10,
    };
}

/// How important a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// From `console.error`.
    Error,
    /// From the other functions of `console`.
    Info,
}

impl Level {
    /// The text form, as in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Info => "info",
        }
    }
}

/// A message that a function logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// How important it is.
    pub level: Level,
    /// What it says.
    pub text: String,
}

/// The outside of one instance.
pub struct Host {
    /// Nanoseconds since 1970 that the clock shows.
    pub(crate) now: u64,
    /// The least important messages that are kept, none at all without a level.
    pub(crate) log_level: Option<Level>,
    /// The messages.
    pub(crate) logs: Vec<Log>,
    /// Bytes of log text that may still be kept.
    log_left: usize,
    memory: usize,
    /// Whether the memory limit refused something.
    pub(crate) memory_refused: bool,
}

impl Host {
    /// The outside of an instance with these limits.
    pub fn new(limits: &Limits, now: u64, log_level: Option<Level>) -> Self {
        Host {
            now,
            log_level,
            logs: Vec::new(),
            log_left: limits.log,
            memory: limits.memory,
            memory_refused: false,
        }
    }

    fn keep(&mut self, level: Level, text: &[u8]) {
        if self.log_level.is_none_or(|wanted| level > wanted) || self.log_left == 0 {
            return;
        }
        let kept = &text[..text.len().min(self.log_left)];
        // An empty message takes a place too.
        self.log_left -= kept.len().max(1);
        self.logs.push(Log {
            level,
            text: lossy(kept),
        });
    }
}

/// Text from the sandbox, without the NUL bytes that PostgreSQL's text cannot have.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

impl ResourceLimiter for Host {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool, Error> {
        let granted = desired <= self.memory;
        self.memory_refused |= !granted;
        Ok(granted)
    }

    fn table_growing(&mut self, _current: usize, _desired: usize, maximum: Option<usize>) -> Result<bool, Error> {
        // The engine's tables are of fixed size; the first request is for that.
        Ok(maximum.is_some())
    }
}

const WASI: &str = "wasi_snapshot_preview1";
/// WASI's "bad file descriptor": there are no files.
const EBADF: i32 = 8;

/// The functions that the engine imports.
///
/// # Errors
/// Only if two of them had the same name.
pub fn imports(engine: &Engine) -> Result<Linker<Host>, Error> {
    let mut linker = Linker::new(engine);
    linker.func_wrap(WASI, "environ_get", |_: i32, _: i32| 0_i32)?;
    linker.func_wrap(
        WASI,
        "environ_sizes_get",
        |mut caller: Caller<Host>, count: u32, size: u32| {
            write(&mut caller, count, &[0; 4])?;
            write(&mut caller, size, &[0; 4])?;
            Ok::<_, Error>(0_i32)
        },
    )?;
    linker.func_wrap(
        WASI,
        "clock_time_get",
        |mut caller: Caller<Host>, _: i32, _: i64, result: u32| {
            let now = caller.data().now;
            write(&mut caller, result, &now.to_le_bytes())?;
            Ok::<_, Error>(0_i32)
        },
    )?;
    // The same for every call: hash tables and Math.random() are seeded with it.
    linker.func_wrap(
        WASI,
        "random_get",
        |mut caller: Caller<Host>, buffer: u32, length: u32| {
            slice(&mut caller, buffer, length)?.fill(4);
            Ok::<_, Error>(0_i32)
        },
    )?;
    linker.func_wrap(WASI, "fd_close", |_: i32| EBADF)?;
    linker.func_wrap(WASI, "fd_fdstat_get", |_: i32, _: i32| EBADF)?;
    linker.func_wrap(WASI, "fd_seek", |_: i32, _: i64, _: i32, _: i32| EBADF)?;
    linker.func_wrap(WASI, "fd_read", |_: i32, _: i32, _: i32, _: i32| EBADF)?;
    linker.func_wrap(WASI, "fd_write", |_: i32, _: i32, _: i32, _: i32| EBADF)?;
    linker.func_wrap(WASI, "proc_exit", |code: i32| {
        Err::<(), _>(Error::msg(format!("the engine gave up with code {code}")))
    })?;
    linker.func_wrap(
        "betweenrows",
        "log",
        |mut caller: Caller<Host>, level: u32, text: u32, length: u32| {
            let level = if level == 0 { Level::Error } else { Level::Info };
            // Copied within bounds only, whatever the length claims.
            let kept = length.min(u32::try_from(caller.data().log_left).unwrap_or(u32::MAX));
            let text = slice(&mut caller, text, kept)?.to_vec();
            caller.data_mut().keep(level, &text);
            Ok::<_, Error>(())
        },
    )?;
    Ok(linker)
}

fn memory(caller: &mut Caller<Host>) -> Result<Memory, Error> {
    caller
        .get_export("memory")
        .and_then(Extern::into_memory)
        .ok_or_else(|| Error::msg("the engine exports no memory"))
}

fn slice<'a>(caller: &'a mut Caller<Host>, address: u32, length: u32) -> Result<&'a mut [u8], Error> {
    let memory = memory(caller)?;
    memory
        .data_mut(caller)
        .get_mut(address as usize..)
        .and_then(|rest| rest.get_mut(..length as usize))
        .ok_or_else(|| Error::msg("an address outside of the engine's memory"))
}

fn write(caller: &mut Caller<Host>, address: u32, bytes: &[u8]) -> Result<(), Error> {
    slice(caller, address, bytes.len() as u32)?.copy_from_slice(bytes);
    Ok(())
}
