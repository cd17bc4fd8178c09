//! `engine-compile ENGINE.wasm ENGINE.cwasm` compiles the engine ahead of time, for any processor of this architecture.

use std::process::ExitCode;

use decision::engine_config;
use wasmtime::{Engine, Error};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments[..] {
        [from, to] => compile(from, to),
        _ => Err(Error::msg("usage: engine-compile FROM TO")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engine-compile: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compile(from: &str, to: &str) -> Result<(), Error> {
    let mut config = engine_config()?;
    // Said aloud, else the features of this very processor are used and others cannot run the result.
    config.target(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH))?;
    let engine = Engine::new(&config)?;
    std::fs::write(to, engine.precompile_module(&std::fs::read(from)?)?)?;
    Ok(())
}
