//! What an administrator does on day one, over HTTP, and what each user then sees.
//!
//! The daemon's role in the database is no superuser, and the database asks for passwords: those that the daemon set.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{TABLES, execute, port, psql, socket, superuser, unique};
use crate::process::{Daemon, Setup};

const DATABASE: &str = "scram_day_one";

/// The lines that psql prints, or what it says instead.
fn rows(user: &str, password: &str, query: &str) -> Result<Vec<String>, String> {
    let output = Command::new(psql())
        .args([
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            "--set",
            "VERBOSITY=verbose",
            "--no-password",
        ])
        .args([
            "--host",
            &socket(),
            "--port",
            &port().to_string(),
            "--username",
            user,
            "--dbname",
            DATABASE,
        ])
        .args(["--command", query])
        .env("PGPASSWORD", password)
        .output()
        .unwrap();
    if output.status.success() {
        let text = String::from_utf8(output.stdout).unwrap();
        return Ok(text.lines().map(str::to_owned).collect());
    }
    Err(String::from_utf8(output.stderr).unwrap())
}

/// An administrator's requests.
struct Administrator {
    daemon: Daemon,
    token: String,
}

impl Administrator {
    /// The answer, if the status is the expected one.
    #[track_caller]
    fn call(&self, method: &str, path: &str, body: Value, status: u16) -> Value {
        let (found, answer) = self
            .daemon
            .request(method, &format!("/api/v1{path}"), &self.token, &body);
        assert_eq!(found, status, "{method} {path}: {answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_default()
    }

    /// Creates something; its id.
    #[track_caller]
    fn create(&self, path: &str, body: Value) -> String {
        self.call("POST", path, body, 201)["id"].as_str().unwrap().to_owned()
    }

    /// Waits until every change is in force.
    fn wait_for_sync(&self, source: &str) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let state = self.call("GET", &format!("/datasources/{source}/sync"), Value::Null, 200);
            if state["is_current"] == true && state["state"] == "in_sync" {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{state:#}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

#[tokio::test]
async fn day_one() {
    let daemon = unique("daemon");
    execute(
        "postgres",
        &format!("create role {daemon} login createrole password 'Daemon-1'"),
    )
    .await;
    // Set up as a superuser under another name, which asks for no password.
    execute("postgres", "create database day_one_setup").await;
    execute("day_one_setup", TABLES).await;
    execute(
        "day_one_setup",
        &format!("grant betweenrows_admin to {daemon}; grant execute on function pg_control_system() to {daemon}"),
    )
    .await;
    execute(
        "postgres",
        &format!("alter database day_one_setup rename to {DATABASE}"),
    )
    .await;

    let setup = Setup::new();
    let daemon_process = setup.serve();
    let token = daemon_process.login();
    let admin = Administrator {
        daemon: daemon_process,
        token,
    };
    let tenant = json!({"key": "tenant", "display_name": "Tenant", "value_type": "string", "allowed_values": ["acme", "globex"]});
    admin.create("/attribute-definitions", tenant);
    let (alice, bob, eve) = (unique("alice"), unique("bob"), unique("eve"));
    let [alice_id, bob_id, _] = [(&alice, "acme"), (&bob, "globex"), (&eve, "acme")].map(|(name, tenant)| {
        let password = format!("Pass-{tenant}-1");
        admin.create(
            "/users",
            json!({"username": name, "password": password, "attributes": {"tenant": tenant}}),
        )
    });
    let config = json!({"host": socket(), "port": port(), "database": DATABASE, "username": daemon, "password": "Daemon-1",
                        "sslmode": "disable"});
    let source = admin.create(
        "/datasources",
        json!({"name": "shop", "ds_type": "postgres", "access_mode": "policy_required", "config": config}),
    );
    let tested = admin.call("POST", &format!("/datasources/{source}/test"), json!({}), 200);
    assert_eq!(tested["success"], true, "{tested}");
    let table = |name: &str| json!({"table_name": name, "table_type": "TABLE", "is_selected": true});
    let catalog = json!({"action": "save_catalog", "schemas": [
        {"schema_name": "public", "is_selected": true, "tables": [table("customers"), table("secrets")]}]});
    let discover = format!("/datasources/{source}/discover");
    let job = admin.call("POST", &discover, catalog, 202);
    let job = format!("{discover}/{}", job["job_id"].as_str().unwrap());
    let result = loop {
        let job = admin.call("GET", &job, Value::Null, 200);
        if job["status"] != "running" {
            break job["result"].clone();
        }
    };
    assert_eq!(result, json!({"ok": true, "missing_tables": []}));
    let grants = json!({"user_ids": [alice_id, bob_id]});
    admin.call("PUT", &format!("/datasources/{source}/users"), grants, 200);
    let support = admin.create("/roles", json!({"name": "support"}));
    admin.call(
        "POST",
        &format!("/roles/{support}/members"),
        json!({"user_ids": [bob_id]}),
        200,
    );
    let target = |columns: &[&str]| json!([{"schemas": ["public"], "tables": ["customers"], "columns": columns}]);
    let policies = [
        json!({"name": "own-rows", "policy_type": "row_filter", "targets": [{"schemas": ["public"], "tables": ["customers"]}],
               "definition": {"filter_expression": "org = {user.tenant}"}}),
        json!({"name": "masked-ssn", "policy_type": "column_mask", "targets": target(&["ssn"]),
               "definition": {"mask_expression": "'***-**-' || right(ssn, 4)"}}),
        json!({"name": "customers", "policy_type": "column_allow", "targets": target(&["*"])}),
        json!({"name": "no-org", "policy_type": "column_deny", "targets": target(&["org"])}),
    ];
    for policy in policies {
        let only_support = policy["name"] == "no-org";
        let mut assignment = json!({"policy_id": admin.create("/policies", policy)});
        if only_support {
            assignment["role_id"] = json!(support);
        }
        admin.create(&format!("/datasources/{source}/policies"), assignment);
    }
    admin.wait_for_sync(&source);

    let star = "select to_jsonb(c)::text from (select * from customers order by id) c";
    let seen = rows(&alice, "Pass-acme-1", star).unwrap();
    assert_eq!(
        seen,
        [
            r#"{"id": 1, "org": "acme", "ssn": "***-**-0001", "name": "Ada"}"#,
            r#"{"id": 2, "org": "acme", "ssn": "***-**-0002", "name": "Ben"}"#
        ]
    );
    let seen = rows(&bob, "Pass-globex-1", star).unwrap();
    assert_eq!(
        seen,
        [r#"{"id": 3, "ssn": "***-**-0003", "name": "Chen"}"#],
        "bob's role has no org"
    );
    let refused = |user: &str, password: &str, query: &str| rows(user, password, query).unwrap_err();
    let error = refused(&bob, "Pass-globex-1", "select org from customers");
    assert!(error.contains("42703: column \"org\" does not exist"), "{error}");
    let error = refused(&alice, "Pass-acme-1", "select body from secrets");
    assert!(error.contains("42P01: relation \"secrets\" does not exist"), "{error}");
    let error = refused(&alice, "Pass-globex-1", star);
    assert!(error.contains("password authentication failed"), "{error}");
    // Eve has no grant: there is no login role for her.
    let error = refused(&eve, "Pass-acme-1", star);
    assert!(error.contains("password authentication failed"), "{error}");
    let listed = rows(&bob, "Pass-globex-1", "\\d customers").unwrap();
    assert!(listed.iter().any(|line| line.starts_with("ssn")), "{listed:?}");
    assert!(!listed.iter().any(|line| line.starts_with("org")), "{listed:?}");

    // A new password takes the place of the old one, and without the grant there is no way in.
    let password = json!({"password": "Changed-1"});
    admin.call("PUT", &format!("/users/{alice_id}/password"), password, 204);
    admin.wait_for_sync(&source);
    refused(&alice, "Pass-acme-1", star);
    rows(&alice, "Changed-1", star).unwrap();
    let grants = json!({"user_ids": [bob_id]});
    admin.call("PUT", &format!("/datasources/{source}/users"), grants, 200);
    admin.wait_for_sync(&source);
    refused(&alice, "Changed-1", star);
    rows(&bob, "Pass-globex-1", star).unwrap();

    // Neither passwords nor verifiers are in the server's log, which the superuser can read.
    let mut server = superuser("postgres").await;
    let log: Option<String> = sqlx::query_scalar("select pg_read_file(current_setting('data_directory') || '/../log')")
        .fetch_one(&mut server)
        .await
        .unwrap();
    let log = log.unwrap();
    for secret in ["Pass-acme-1", "Pass-globex-1", "Changed-1"] {
        assert!(!log.contains(secret), "{secret} is in the server's log");
    }
}
