//! `engine-initialise PLUGIN.wasm ENGINE.wasm` runs the plugin's `initialize-runtime` and writes the plugin with the memory
//! that it left, which every instance then starts from.

use std::pin::pin;
use std::process::ExitCode;
use std::task::{Context, Poll, Waker};

use decision::{Host, Limits, engine_config, imports};
use wasmtime::{Engine, Error, Store};
use wasmtime_wizer::Wizer;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments[..] {
        [from, to] => initialise(from, to),
        _ => Err(Error::msg("usage: engine-initialise FROM TO")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engine-initialise: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn initialise(from: &str, to: &str) -> Result<(), Error> {
    let plugin = std::fs::read(from)?;
    let engine = Engine::new(&engine_config()?)?;
    let limits = Limits {
        fuel: u64::MAX,
        memory: 64 << 20,
        log: 0,
    };
    let mut store = Store::new(&engine, Host::new(&limits, 0, None));
    store.set_fuel(u64::MAX)?;
    let mut wizer = Wizer::new();
    // Javy's own export of that name stays, as in every initialised Javy plugin.
    wizer.init_func("initialize-runtime").keep_init_func(true);
    let initialised = finish(wizer.run(&mut store, &plugin, async |store, module| {
        imports(store.engine())?.instantiate(store, module)
    }))?;
    std::fs::write(to, initialised)?;
    Ok(())
}

/// The result of a future that never has to wait.
fn finish<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}
