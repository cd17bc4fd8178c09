//! The server that is to be killed.

use std::error::Error;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use postgres::{Client, Config, NoTls};

use crate::Arguments;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A kind of process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Victim {
    /// The process of a client's session.
    Backend,
    /// The worker that moves events.
    Worker,
    /// The process that starts workers.
    Launcher,
    /// The server's first process.
    Postmaster,
}

/// Where the server is and how it is started.
pub struct Server {
    host: String,
    port: u16,
    data: String,
    bindir: String,
    account: Option<String>,
}

impl Server {
    /// The server of the command line.
    pub fn new(arguments: &Arguments) -> Server {
        Server {
            host: arguments.host.clone(),
            port: arguments.port,
            data: arguments.data.clone(),
            bindir: arguments.bindir.clone(),
            account: arguments.account.clone(),
        }
    }

    /// A session of a user in a database.
    pub fn connect(&self, user: &str, database: &str) -> Result<Client, postgres::Error> {
        let mut config = Config::new();
        config.host(&self.host).port(self.port).user(user).dbname(database);
        config.application_name("crash").connect(NoTls)
    }

    /// A session of the superuser, as soon as the server takes one.
    pub fn wait_until_it_runs(&self) -> Result<Client, Box<dyn Error>> {
        let since = Instant::now();
        loop {
            match self.connect("postgres", "crash") {
                Ok(client) => return Ok(client),
                Err(error) if since.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Kills a process of that kind without giving it a chance.
    pub fn kill(&self, victim: Victim) -> Result<(), Box<dyn Error>> {
        let pid = match victim {
            Victim::Postmaster => self.postmaster()?,
            Victim::Backend => self.find("application_name = 'crash' and pid <> pg_backend_pid()")?,
            Victim::Worker => self.find("backend_type = 'betweenrows audit worker'")?,
            Victim::Launcher => self.find("backend_type = 'betweenrows audit launcher'")?,
        };
        run(Command::new("kill").args(["-9", &pid.to_string()]))?;
        if victim == Victim::Postmaster {
            self.start()?;
        }
        Ok(())
    }

    /// The number of the server's first process.
    pub fn postmaster(&self) -> Result<i32, Box<dyn Error>> {
        let file = fs::read_to_string(format!("{}/postmaster.pid", self.data))?;
        Ok(file.lines().next().unwrap_or_default().parse()?)
    }

    fn find(&self, condition: &str) -> Result<i32, Box<dyn Error>> {
        let query = format!("select pid from pg_stat_activity where {condition} order by random() limit 1");
        let since = Instant::now();
        let mut client = self.wait_until_it_runs()?;
        loop {
            if let Some(row) = client.query_opt(&query, &[])? {
                return Ok(row.get(0));
            }
            if since.elapsed() > PATIENCE {
                return Err(format!("there is no process with {condition}").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts the server. Processes that the old one left have to be gone first.
    pub fn start(&self) -> Result<(), Box<dyn Error>> {
        let since = Instant::now();
        loop {
            let mut command = self.program("pg_ctl");
            let log = self.log();
            command.args(["--pgdata", &self.data, "--log", &log, "--wait", "--silent", "start"]);
            match run(&mut command) {
                Ok(()) => return Ok(()),
                Err(error) if since.elapsed() > PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Stops the server in that mode.
    pub fn stop(&self, mode: &str) -> Result<(), Box<dyn Error>> {
        run(self
            .program("pg_ctl")
            .args(["--pgdata", &self.data, "--mode", mode, "--wait", "--silent", "stop"]))
    }

    /// The spool of a database.
    pub fn spool(&self, client: &mut Client, database: &str) -> Result<std::path::PathBuf, Box<dyn Error>> {
        let oid: u32 = client
            .query_one("select oid from pg_database where datname = $1", &[&database])?
            .get(0);
        Ok(std::path::Path::new(&self.data)
            .join("betweenrows_audit")
            .join(oid.to_string()))
    }

    /// The server's log.
    pub fn log(&self) -> String {
        format!("{}/../log", self.data)
    }

    fn program(&self, name: &str) -> Command {
        let path = format!("{}/{name}", self.bindir);
        let mut command = match &self.account {
            None => Command::new(path),
            Some(account) => {
                let mut command = Command::new("runuser");
                command.args(["-u", account, "--", &path]);
                command
            }
        };
        command
            .current_dir("/")
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        command
    }
}

fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?} failed: {status}").into())
    }
}
