//! How the engine is compiled and run: both sides have to agree, which is checked when a compiled engine is loaded.

use wasmtime::{Config, Error, ModuleVersionStrategy, WasmFeatures};

/// SHA-256 of `engine/engine.wasm`, in hexadecimal. Bytecode can be run by the engine that made it and no other.
pub const ENGINE_ID: &str = env!("BETWEENROWS_ENGINE_ID");

/// The release of wasmtime whose native code a compiled engine is; as in Cargo.toml.
const WASMTIME: &str = "48.0.8";

/// Address space that the sandbox's memory may grow into without being moved.
pub(crate) const RESERVED_MEMORY: u64 = 64 << 20;

/// The configuration of both the side that compiles the engine ahead of time and the side that runs it.
///
/// * Bounds are checked explicitly and not by catching signals: the process' signal handlers are not ours.
/// * Instructions are counted, so that an evaluation ends; a count is the same on every machine.
/// * WebAssembly has the features that the engine was built with and no others.
///
/// # Errors
/// Only if wasmtime does not accept the version's text.
pub fn engine_config() -> Result<Config, Error> {
    let mut config = Config::new();
    config
        .signals_based_traps(false)
        .consume_fuel(true)
        .concurrency_support(false)
        .memory_reservation(RESERVED_MEMORY)
        .memory_reservation_for_growth(RESERVED_MEMORY)
        .memory_guard_size(64 << 10)
        .memory_init_cow(true)
        .wasm_backtrace_max_frames(None)
        .native_unwind_info(false)
        .generate_address_map(false)
        // PostgreSQL keeps 512 kB between max_stack_depth and the end of the stack.
        .max_wasm_stack(384 << 10)
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(
            WasmFeatures::MUTABLE_GLOBAL
                | WasmFeatures::SATURATING_FLOAT_TO_INT
                | WasmFeatures::SIGN_EXTENSION
                | WasmFeatures::BULK_MEMORY
                | WasmFeatures::MULTI_VALUE
                | WasmFeatures::REFERENCE_TYPES
                | WasmFeatures::FLOATS,
            true,
        )
        .module_version(ModuleVersionStrategy::Custom(format!("{ENGINE_ID} {WASMTIME}")))?;
    Ok(config)
}
