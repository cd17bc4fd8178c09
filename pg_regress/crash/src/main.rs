//! Kills processes of a server under load and breaks what the audit needs.
//!
//! Every statement carries a mark in a comment. What a client saw end has to be in `betweenrows.query_audit` exactly once, as
//! it saw it; what a client lost sight of at most once; and nothing else may be there.

mod clients;
#[cfg(test)]
mod extension;
mod faults;
mod server;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use clients::{Clients, Ledger};
use server::{Server, Victim};

/// What the command line says.
#[derive(Parser)]
struct Arguments {
    /// The directory of the server's socket.
    #[arg(long)]
    host: String,
    /// The server's port.
    #[arg(long)]
    port: u16,
    /// The server's data directory.
    #[arg(long)]
    data: String,
    /// The directory of the server's programs.
    #[arg(long)]
    bindir: String,
    /// The account that the server runs as, when it is another one.
    #[arg(long)]
    account: Option<String>,
    /// How often each kind of process is killed.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// How many clients run statements at the same time.
    #[arg(long, default_value_t = 6)]
    clients: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crash: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let server = Arc::new(Server::new(arguments));
    clients::prepare(&server)?;
    let ledger = Arc::new(Ledger::default());
    let victims = [Victim::Backend, Victim::Worker, Victim::Postmaster, Victim::Launcher];
    for round in 0..arguments.rounds {
        for victim in victims {
            let clients = Clients::start(&server, &ledger, arguments.clients);
            ledger.wait_for_more(200);
            server.kill(victim)?;
            server.wait_until_it_runs()?;
            ledger.wait_for_more(200);
            clients.stop();
            println!(
                "round {}: killed {victim:?}, {} statements so far",
                round + 1,
                ledger.len()
            );
        }
    }
    ledger.compare(&server)?;
    faults::all(&server)?;
    println!(
        "crash: {} statements, each recorded exactly once as its client saw it",
        ledger.len()
    );
    Ok(())
}
