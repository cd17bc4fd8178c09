//! `user`: accounts.

use std::process::ExitCode;

use clap::Subcommand;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::output::line;
use super::{Failure, Outcome, open};
use crate::config::Config;
use crate::store::Actor;
use crate::store::users::{self, NewUser, Secret};

/// What to do with accounts.
#[derive(Subcommand)]
pub enum UserCommand {
    /// Create an account
    Create {
        /// 3 to 50 letters, digits, "_", ".", "-", a letter first
        #[arg(long)]
        username: String,
        /// Its password; read from standard input if it is not given here, where others on the machine can see it
        #[arg(long)]
        password: Option<String>,
        /// It may use the API
        #[arg(long)]
        admin: bool,
        /// For people
        #[arg(long)]
        email: Option<String>,
    },
    /// Give an account another password
    Password {
        /// Which
        #[arg(long)]
        username: String,
        /// Its password; read from standard input if it is not given here, where others on the machine can see it
        #[arg(long)]
        password: Option<String>,
    },
}

/// Runs it.
pub async fn run(config: &Config, command: UserCommand) -> Outcome {
    let (store, _) = open(config).await?;
    match command {
        UserCommand::Create {
            username,
            password,
            admin,
            email,
        } => {
            let secret = Secret::of(given_or_read(password)?).await?;
            let mut change = store.change(Actor::command_line()).await?;
            let new = NewUser {
                username,
                is_admin: admin,
                is_active: true,
                email,
                ..NewUser::default()
            };
            let user = users::create(&mut change, &new, Some(&secret)).await?;
            change.commit().await?;
            line(format!("created {} {}", user.username, user.id))?;
        }
        UserCommand::Password { username, password } => {
            let secret = Secret::of(given_or_read(password)?).await?;
            let mut change = store.change(Actor::command_line()).await?;
            let id = users::id_of(&mut change.tx, &username).await?;
            let id = id.ok_or_else(|| format!("there is no user \"{username}\""))?;
            users::set_password(&mut change, id, &secret).await?;
            change.commit().await?;
            line(format!("changed the password of {username}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A password from the command line, else the first line of standard input.
pub(super) fn given_or_read(password: Option<String>) -> Result<String, Failure> {
    let line = match password {
        Some(password) => return Ok(password),
        None => read_hidden()?,
    };
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A line of standard input, which a terminal does not show.
fn read_hidden() -> std::io::Result<String> {
    let input = std::io::stdin();
    let mut line = String::new();
    // Whatever is no terminal has no such attributes.
    let Ok(shown) = tcgetattr(&input) else {
        input.read_line(&mut line)?;
        return Ok(line);
    };
    eprint!("password: ");
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    hidden.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(&input, OptionalActions::Now, &hidden)?;
    let read = input.read_line(&mut line);
    tcsetattr(&input, OptionalActions::Now, &shown)?;
    read.map(|_| line)
}
