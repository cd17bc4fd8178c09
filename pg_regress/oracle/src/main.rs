//! The oracle: random schemas, rows, policies and queries. Each query runs as a governed user, and as a superuser over a
//! copy of the tables that plain SQL filtered and masked beforehand; both must give the same.

mod campaign;
mod compare;
mod decide;
mod dice;
mod dml;
mod drift;
mod expr;
mod forecast;
mod fragment;
mod from;
mod govern;
mod mirror;
mod oracle;
mod policy;
mod query;
mod schema;
mod scope;
mod session;
mod shrink;
mod stats;
mod target;
mod tell;
mod types;
mod view;
mod world;
mod writes;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use campaign::Plan;
use mirror::{FLAWS, Flaw};
use oracle::Oracle;
use session::{Outcome, Server, simple};

/// Compares what governed users get with what a copy filtered and masked beforehand says.
#[derive(Debug, Parser)]
struct Options {
    /// Where a run begins, and what replays it; without it every run is another.
    #[arg(long)]
    seed: Option<u64>,
    /// Stops after this many statements.
    #[arg(long, default_value_t = 3000)]
    iterations: usize,
    /// Stops after this many seconds instead.
    #[arg(long)]
    seconds: Option<u64>,
    /// Statements asked of one world.
    #[arg(long, default_value_t = 120)]
    per_world: usize,
    /// Host name or directory of the server's socket.
    #[arg(long, default_value = "localhost")]
    host: String,
    /// The server's port.
    #[arg(long, default_value_t = 5432)]
    port: u16,
    /// A superuser.
    #[arg(long, default_value = "postgres")]
    user: String,
    /// Name of a scratch database, dropped and created; names of roles begin with it too.
    #[arg(long, default_value = "oracle")]
    dbname: String,
    /// Makes something wrong on purpose, one flaw after the other, and demands that each is noticed.
    #[arg(long)]
    self_check: bool,
    /// Asks the copy twice, without the extension: whether the generator's questions have one answer.
    #[arg(long)]
    copy_only: bool,
    /// Reports this many mismatches before giving up.
    #[arg(long, default_value_t = 1)]
    mismatches: usize,
    /// Prints statements that both sides refuse with a SQLSTATE that begins like this.
    #[arg(long)]
    show_refused: Option<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("oracle: {message}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything agreed; with `--self-check`, whether every flaw was noticed.
fn run(options: &Options) -> Result<bool, String> {
    let server = Server {
        host: options.host.clone(),
        port: options.port,
        user: options.user.clone(),
        dbname: options.dbname.clone(),
    };
    let seed = options.seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        now.as_nanos() as u64 % 1_000_000_000
    });
    let plan = Plan {
        seed,
        iterations: options.iterations,
        seconds: options.seconds,
        per_world: options.per_world,
        mismatches: options.mismatches,
        prefix: options.dbname.clone(),
        report: true,
        show_refused: options.show_refused.clone(),
    };
    println!("oracle: --seed {seed} --per-world {}", plan.per_world);
    scratch_database(&server)?;
    let started = Instant::now();
    if options.self_check {
        return self_check(&server, &plan);
    }
    let mut oracle = Oracle::new(server, Flaw::None, options.copy_only)?;
    campaign::run(&mut oracle, &plan)?;
    println!("oracle: {} in {:.1} s", oracle.stats, started.elapsed().as_secs_f32());
    Ok(oracle.stats.mismatches == 0)
}

/// Whether each flaw is noticed.
fn self_check(server: &Server, plan: &Plan) -> Result<bool, String> {
    let mut noticed = true;
    for flaw in FLAWS {
        let mut oracle = Oracle::new(server.clone(), flaw, false)?;
        let plan = Plan {
            mismatches: 3,
            report: false,
            ..plan.clone()
        };
        campaign::run(&mut oracle, &plan)?;
        println!("oracle: flaw {flaw:?}: {}", oracle.stats);
        noticed &= oracle.stats.mismatches >= plan.mismatches;
    }
    Ok(noticed)
}

fn scratch_database(server: &Server) -> Result<(), String> {
    let mut client = server
        .connect(&server.user, "postgres", "pg_catalog")
        .map_err(|error| error.to_string())?;
    for verb in ["DROP DATABASE IF EXISTS", "CREATE DATABASE"] {
        if let failure @ (Outcome::Failure { .. } | Outcome::Lost(_)) =
            simple(&mut client, &format!("{verb} {}", server.dbname))
        {
            return Err(failure.to_string());
        }
    }
    Ok(())
}
