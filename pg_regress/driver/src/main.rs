//! The extended protocol, as drivers speak it: what psql's regression tests cannot ask. Each check runs in a world of its own
//! and says what it expected; usage: `driver SOCKET-DIRECTORY PORT`.

mod audit;
mod decisions;
mod pipeline;
mod portals;
mod statements;
mod values;
mod wire;
mod world;

use std::process::ExitCode;

use world::{Check, World};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(socket), Some(Ok(port))) = (arguments.next(), arguments.next().map(|port| port.parse())) else {
        eprintln!("usage: driver SOCKET-DIRECTORY PORT");
        return ExitCode::from(2);
    };
    let checks: Vec<(&str, Check)> = [
        statements::CHECKS,
        portals::CHECKS,
        values::CHECKS,
        pipeline::CHECKS,
        decisions::CHECKS,
        audit::CHECKS,
    ]
    .concat();
    let mut failed = 0;
    for (name, check) in &checks {
        let result = World::create(&socket, port).and_then(|world| check(&world));
        if let Err(error) = result {
            failed += 1;
            println!("driver: {name}: {}", world::explain(error.as_ref()));
        }
    }
    println!("driver: {} checks, {failed} failed", checks.len());
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
