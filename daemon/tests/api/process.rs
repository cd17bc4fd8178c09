//! The program itself: starting, stopping, taking over, and its commands.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::harness::{
    PASSWORD, SYNC_WAITS, database, engine, execute, hold_up_syncs, port, query_as, socket, superuser, unique, url,
};

/// Settings of a store of its own.
pub struct Setup {
    pub database: String,
    pub directory: std::path::PathBuf,
}

impl Setup {
    pub fn new() -> Setup {
        let database = unique("control");
        let directory = std::env::temp_dir().join(format!("betweenrowsd-{}", uuid::Uuid::new_v4()));
        Setup { database, directory }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_betweenrowsd"));
        command
            .args(arguments)
            .env_clear()
            .env("BR_ADMIN_DATABASE_URL", url(&self.database))
            .env("BR_ADMIN_BIND_ADDR", "127.0.0.1:0")
            .env("BR_STATE_DIR", &self.directory)
            .env("BR_ENGINE_FILE", engine())
            .env("BR_SYNC_INTERVAL", "1")
            .env("BR_ADMIN_PASSWORD", PASSWORD);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command prints, which has to end with that code.
    #[track_caller]
    pub fn print(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}{errors}");
        text + &errors
    }

    pub fn serve(&self) -> Daemon {
        self.serve_with(&[])
    }

    /// With more variables.
    pub fn serve_with(&self, variables: &[(&str, &str)]) -> Daemon {
        let mut child = self
            .command(&["serve"])
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert_ne!(
                log.read_line(&mut line).unwrap(),
                0,
                "the daemon ended before it listened"
            );
            if let Some((_, address)) = line.split_once("address=") {
                break address.split_whitespace().next().unwrap().to_owned();
            }
        };
        Daemon { child, log, address }
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

/// A daemon that runs, and is killed when the test ends.
pub struct Daemon {
    pub child: Child,
    pub log: BufReader<ChildStderr>,
    pub address: String,
}

impl Daemon {
    pub fn request(&self, method: &str, path: &str, token: &str, body: &Value) -> (u16, String) {
        self.request_with(method, path, token, body, "")
    }

    /// With more headers, each with its end of line. The answer is there with its head.
    pub fn request_with(&self, method: &str, path: &str, token: &str, body: &Value, headers: &str) -> (u16, String) {
        request(&self.address, method, path, token, body, headers)
    }

    /// The administrator's token.
    pub fn login(&self) -> String {
        let body = json!({"username": "admin", "password": PASSWORD});
        let (status, answer) = self.request("POST", "/api/v1/auth/login", "", &body);
        assert_eq!(status, 200, "{answer}");
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        body["token"].as_str().unwrap().to_owned()
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        let done = kill.args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Reads its log until a line has that text.
    pub fn wait_for(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(
                self.log.read_line(&mut line).unwrap(),
                0,
                "the daemon ended before it said: {text}"
            );
        }
    }

    /// Asks the daemon to end; its exit code and what it still had to say.
    pub fn terminate(mut self) -> (Option<i32>, String) {
        self.signal("TERM");
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

/// Sends a request; the status, and the whole answer with its head.
pub fn request(address: &str, method: &str, path: &str, token: &str, body: &Value, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits until a query of the superuser gives what is expected.
async fn until(database: &str, query: &str, expected: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let found = query_as(database, "postgres", query).await;
        if found.as_ref().is_ok_and(|found| found == expected) {
            return;
        }
        assert!(Instant::now() < deadline, "{query}: {found:?} instead of {expected:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Adds a database in open mode and without a catalog, used as superuser.
pub fn add_shop(setup: &Setup, shop: &str) {
    let port = port().to_string();
    let arguments = [
        "datasource",
        "add",
        "--name",
        "shop",
        "--host",
        &socket(),
        "--port",
        &port,
        "--database",
        shop,
        "--username",
        "postgres",
        "--sslmode",
        "disable",
        "--access-mode",
        "open",
        "--catalog-mode",
        "everything",
    ];
    setup.print(&arguments, 0);
}

#[tokio::test]
async fn the_daemon_starts_serves_syncs_and_stops_in_order() {
    let setup = Setup::new();
    let shop = database().await;
    let daemon = setup.serve();
    let token = daemon.login();
    add_shop(&setup, &shop);
    let roles = "select name from betweenrows.roles order by 1";
    let (status, answer) = daemon.request("POST", "/api/v1/roles", &token, &json!({"name": "support"}));
    assert_eq!(status, 201, "{answer}");
    until(&shop, roles, &["support"]).await;
    let (status, answer) = daemon.request("POST", "/api/v1/roles", &token, &json!({"name": "staff"}));
    assert_eq!(status, 201);
    assert!(answer.contains("betweenrows-sync: in_sync"), "{answer}");
    assert_eq!(
        query_as(&shop, "postgres", roles).await.unwrap(),
        ["staff", "support"],
        "the answer waited for it"
    );
    let (_, metrics) = daemon.request("GET", "/metrics", "", &Value::Null);
    for line in [
        r#"betweenrows_sync_backlog{data_source="shop"} 0"#,
        r#"betweenrows_http_requests_total{method="POST",route="/api/v1/roles",status="201"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let (code, log) = daemon.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("stopped"), "{log}");
}

/// Ends all sessions of the daemon in a database, which it cannot get into again before `open_again`.
async fn close(database: &str) {
    execute(
        "postgres",
        &format!("alter database {database} allow_connections false"),
    )
    .await;
    let end = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database}' and application_name = 'betweenrowsd'"
    );
    execute("postgres", &end).await;
}

async fn open_again(database: &str) {
    execute("postgres", &format!("alter database {database} allow_connections true")).await;
}

/// Whether everything is in force.
const IN_FORCE: &str = "select (requested <= done and state = 'in_sync' and failures = 0)::text from sync_states";

#[tokio::test]
async fn another_daemon_takes_over_when_one_is_killed_while_syncing() {
    let setup = Setup::new();
    let shop = database().await;
    let (mut first, second) = (setup.serve(), setup.serve());
    add_shop(&setup, &shop);
    let state = "select state from sync_states";
    until(&setup.database, state, &["in_sync"]).await;
    // Whoever syncs now has to wait here, in the middle of it.
    let holder = hold_up_syncs(&shop).await;
    let token = second.login();
    second.request("POST", "/api/v1/roles", &token, &json!({"name": "support"}));
    until(&shop, SYNC_WAITS, &["1"]).await;
    // It may be either of them: the first is killed, and if it was not the one, nothing is lost anyway.
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    drop(holder);
    let roles = "select name from betweenrows.roles";
    until(&shop, roles, &["support"]).await;
    until(&setup.database, IN_FORCE, &["true"]).await;
    assert_eq!(second.terminate().0, Some(0));
}

/// A daemon that waits for a session in its data source, in the middle of bringing a role there.
async fn in_the_middle_of_a_sync() -> (Setup, String, Daemon, PgConnection) {
    let setup = Setup::new();
    let shop = database().await;
    let daemon = setup.serve();
    add_shop(&setup, &shop);
    until(&setup.database, IN_FORCE, &["true"]).await;
    let holder = hold_up_syncs(&shop).await;
    let token = daemon.login();
    daemon.request("POST", "/api/v1/roles", &token, &json!({"name": "support"}));
    until(&shop, SYNC_WAITS, &["1"]).await;
    (setup, shop, daemon, holder)
}

#[tokio::test]
async fn a_data_source_that_goes_away_in_the_middle_of_a_sync_catches_up() {
    let (setup, shop, daemon, holder) = in_the_middle_of_a_sync().await;
    close(&shop).await;
    drop(holder);
    let failed = "select (state = 'failed' and requested > done)::text from sync_states";
    until(&setup.database, failed, &["true"]).await;
    daemon.request("POST", "/api/v1/roles", &daemon.login(), &json!({"name": "staff"}));
    open_again(&shop).await;
    until(&setup.database, IN_FORCE, &["true"]).await;
    let roles = "select name from betweenrows.roles order by 1";
    assert_eq!(query_as(&shop, "postgres", roles).await.unwrap(), ["staff", "support"]);
    assert_eq!(daemon.terminate().0, Some(0));
}

#[tokio::test]
async fn a_store_that_goes_away_in_the_middle_of_a_sync_loses_nothing() {
    let (setup, shop, daemon, holder) = in_the_middle_of_a_sync().await;
    close(&setup.database).await;
    drop(holder);
    // What is wanted cannot be read any more, so nothing of it gets into the database.
    until(&shop, SYNC_WAITS, &["0"]).await;
    let roles = "select name from betweenrows.roles";
    assert_eq!(query_as(&shop, "postgres", roles).await.unwrap(), [""; 0]);
    open_again(&setup.database).await;
    until(&shop, roles, &["support"]).await;
    until(&setup.database, IN_FORCE, &["true"]).await;
    assert_eq!(daemon.terminate().0, Some(0));
}

#[tokio::test]
async fn the_discovery_job_of_a_killed_daemon_fails() {
    let setup = Setup::new();
    let shop = database().await;
    let (mut first, second) = (setup.serve(), setup.serve());
    add_shop(&setup, &shop);
    until(&setup.database, IN_FORCE, &["true"]).await;
    let source = query_as(&setup.database, "postgres", "select id::text from data_sources").await;
    let path = format!("/api/v1/datasources/{}/discover", source.unwrap()[0]);
    let mut blocker = superuser(&shop).await;
    sqlx::raw_sql("begin; lock table pg_attrdef in access exclusive mode")
        .execute(&mut blocker)
        .await
        .unwrap();
    let request = json!({"action": "discover_columns", "tables": [{"schema": "public", "table": "customers"}]});
    let token = first.login();
    let (status, answer) = first.request("POST", &path, &token, &request);
    assert_eq!(status, 202, "{answer}");
    let waits = format!(
        "select (count(*) > 0)::text from pg_stat_activity where datname = '{shop}' \
         and application_name = 'betweenrowsd' and wait_event_type = 'Lock'"
    );
    until("postgres", &waits, &["true"]).await;
    assert_eq!(second.request("POST", &path, &token, &request).0, 409);
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let job = query_as(&setup.database, "postgres", "select id::text from discovery_jobs").await;
    let job = format!("{path}/{}", job.unwrap()[0]);
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (status, answer) = second.request("GET", &job, &token, &Value::Null);
        assert_eq!(status, 200, "{answer}");
        if answer.contains(r#""status":"failed""#) {
            break;
        }
        assert!(Instant::now() < deadline, "{answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // An orderly end does not wait for a job either, and says what became of it.
    let (status, answer) = second.request("POST", &path, &token, &request);
    assert_eq!(status, 202, "{answer}");
    assert_eq!(second.terminate().0, Some(0));
    let stopped =
        "select count(*)::text from discovery_jobs where status = 'failed' and error = 'the daemon was stopped'";
    until(&setup.database, stopped, &["1"]).await;
}

#[tokio::test]
async fn a_store_that_goes_away_is_waited_for() {
    let setup = Setup::new();
    let shop = database().await;
    let daemon = setup.serve();
    let token = daemon.login();
    add_shop(&setup, &shop);
    until(&setup.database, "select state from sync_states", &["in_sync"]).await;
    close(&setup.database).await;
    let (status, _) = daemon.request("GET", "/ready", "", &Value::Null);
    assert_eq!(status, 503);
    let (status, _) = daemon.request("GET", "/live", "", &Value::Null);
    assert_eq!(status, 200);
    let (status, answer) = daemon.request("GET", "/api/v1/roles", &token, &Value::Null);
    assert_eq!(status, 503, "{answer}");
    open_again(&setup.database).await;
    let (status, answer) = daemon.request("POST", "/api/v1/roles", &token, &json!({"name": "support"}));
    assert_eq!(status, 201, "{answer}");
    until(&shop, "select name from betweenrows.roles", &["support"]).await;
}
