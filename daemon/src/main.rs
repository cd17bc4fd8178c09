//! `betweenrowsd`, the control daemon of betweenrows. Everything is in the library, where tests can reach it.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    betweenrowsd::commands::run().await
}
