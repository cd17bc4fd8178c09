//! What an administrator does on day one, over HTTP, and what each user then sees.
//!
//! The daemon's role in the database is no superuser, and the database asks for passwords: those that the daemon set.

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::harness::{Api, TABLES, execute, options, port, socket, superuser, unique};

const DATABASE: &str = "scram_day_one";

async fn rows(user: &str, password: &str, query: &str) -> Result<Vec<String>, String> {
    let text = |error: sqlx::Error| match error.as_database_error() {
        Some(error) => format!("{}: {}", error.code().unwrap_or_default(), error.message()),
        None => error.to_string(),
    };
    let mut conn = PgConnection::connect_with(&options(DATABASE, user).password(password))
        .await
        .map_err(text)?;
    sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
        .fetch_all(&mut conn)
        .await
        .map_err(text)
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

    let api = Api::new().await;
    let tenant = json!({"key": "tenant", "display_name": "Tenant", "value_type": "string", "allowed_values": ["acme", "globex"]});
    api.post("/attribute-definitions", tenant).await.expect(201);
    let (alice, bob, eve) = (unique("alice"), unique("bob"), unique("eve"));
    let mut ids = Vec::new();
    for (name, tenant) in [(&alice, "acme"), (&bob, "globex"), (&eve, "acme")] {
        let password = format!("Pass-{tenant}-1");
        let body = json!({"username": name, "password": password, "attributes": {"tenant": tenant}});
        let answer = api.post("/users", body).await;
        answer.expect(201);
        ids.push(answer.id());
    }
    let config = json!({"host": socket(), "port": port(), "database": DATABASE, "username": daemon, "password": "Daemon-1",
                        "sslmode": "disable"});
    let answer = api
        .post(
            "/datasources",
            json!({"name": "shop", "ds_type": "postgres", "access_mode": "policy_required", "config": config}),
        )
        .await;
    answer.expect(201);
    let source = answer.id();
    let tested = api
        .post(&format!("/datasources/{source}/test"), json!({}))
        .await
        .expect(200);
    assert_eq!(tested["success"], true, "{tested}");
    api.put(
        &format!("/datasources/{source}/users"),
        json!({"user_ids": [ids[0], ids[1]]}),
    )
    .await
    .expect(200);
    let support = api.role("support").await;
    api.post(&format!("/roles/{support}/members"), json!({"user_ids": [ids[1]]}))
        .await
        .expect(200);
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
        let id = api.post("/policies", policy).await.id();
        let mut assignment = json!({"policy_id": id});
        if only_support {
            assignment["role_id"] = json!(support);
        }
        api.post(&format!("/datasources/{source}/policies"), assignment)
            .await
            .expect(201);
    }
    api.sync_well(&source).await;

    let star = "select to_jsonb(c)::text from (select * from customers order by id) c";
    let seen = rows(&alice, "Pass-acme-1", star).await.unwrap();
    assert_eq!(
        seen,
        [
            r#"{"id": 1, "org": "acme", "ssn": "***-**-0001", "name": "Ada"}"#,
            r#"{"id": 2, "org": "acme", "ssn": "***-**-0002", "name": "Ben"}"#
        ]
    );
    let seen = rows(&bob, "Pass-globex-1", star).await.unwrap();
    assert_eq!(
        seen,
        [r#"{"id": 3, "ssn": "***-**-0003", "name": "Chen"}"#],
        "bob's role has no org"
    );
    let refused = rows(&bob, "Pass-globex-1", "select org from customers")
        .await
        .unwrap_err();
    assert_eq!(refused, "42703: column \"org\" does not exist");
    let refused = rows(&alice, "Pass-acme-1", "select body from secrets")
        .await
        .unwrap_err();
    assert_eq!(refused, "42P01: relation \"secrets\" does not exist");
    assert!(
        rows(&alice, "Pass-globex-1", star)
            .await
            .unwrap_err()
            .starts_with("28P01"),
        "a wrong password"
    );
    let refused = rows(&eve, "Pass-acme-1", star).await.unwrap_err();
    assert!(
        refused.starts_with("28P01") || refused.starts_with("28000"),
        "eve has no grant: {refused}"
    );

    // A new password takes the place of the old one.
    api.put(&format!("/users/{}/password", ids[0]), json!({"password": "Changed-1"}))
        .await
        .expect(204);
    api.sync_well(&source).await;
    assert!(rows(&alice, "Pass-acme-1", star).await.is_err());
    rows(&alice, "Changed-1", star).await.unwrap();

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
