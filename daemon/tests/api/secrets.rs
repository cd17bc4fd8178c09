//! What must not get out, and what must not get in: secrets in answers, logs and the audit; SQL and placeholders in texts.

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::{Api, PASSWORD, database, port, query_as, socket, superuser, unique};
use crate::process::Setup;

#[tokio::test]
async fn secrets_are_in_no_answer_no_log_and_no_audit() {
    let setup = Setup::new();
    let shop = database().await;
    let mut daemon = setup.serve_with(&[("RUST_LOG", "trace")]);
    // The log is read while it is written: it is long.
    let mut log = std::mem::replace(&mut daemon.log, std::io::BufReader::new(pipe()));
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut log, &mut text).map(|_| text)
    });
    let token = daemon.login();
    let mut answers = String::new();
    let mut call = |method: &str, path: &str, body: Value| {
        let (status, answer) = daemon.request(method, &format!("/api/v1{path}"), &token, &body);
        answers.push_str(&answer);
        let id = answer
            .split_once("\r\n\r\n")
            .and_then(|(_, body)| serde_json::from_str::<Value>(body).ok())
            .and_then(|body| body["id"].as_str().map(str::to_owned));
        (status, id.unwrap_or_default())
    };
    let [first, second, wrong, guessed, theirs] =
        ["First-1-zq", "Second-1-zq", "weak-zq", "Guessed-1-zq", "Database-1-zq"];
    let alice = unique("alice");
    let (status, id) = call("POST", "/users", json!({"username": alice, "password": first}));
    assert_eq!(status, 201);
    assert_eq!(
        call("POST", "/users", json!({"username": unique("x"), "password": wrong})).0,
        422
    );
    assert_eq!(
        call("POST", "/users", json!({"username": alice, "password": first})).0,
        409
    );
    assert_eq!(
        call("PUT", &format!("/users/{id}/password"), json!({"password": second})).0,
        204
    );
    assert_eq!(
        call("PUT", &format!("/users/{id}/password"), json!({"password": [second]})).0,
        422
    );
    assert_eq!(
        call("POST", "/auth/login", json!({"username": alice, "password": guessed})).0,
        401
    );
    assert_eq!(
        call("POST", "/auth/login", json!({"username": alice, "password": second})).0,
        403
    );
    let source = |name: &str, database: &str| {
        json!({"name": name, "ds_type": "postgres", "access_mode": "open", "config": {
            "host": socket(), "port": port(), "database": database, "username": "postgres", "password": theirs,
            "sslmode": "disable"}})
    };
    let (status, there) = call("POST", "/datasources", source("shop", &shop));
    assert_eq!(status, 201);
    let (_, nowhere) = call("POST", "/datasources", source("nowhere", "no_such_database"));
    assert_eq!(call("POST", "/datasources", source("shop", &shop)).0, 409);
    call("PUT", &format!("/datasources/{there}/users"), json!({"user_ids": [id]}));
    for path in [
        "/users",
        "/datasources",
        "/sync",
        "/audit/admin?page_size=200",
        "/policies/export",
        "/auth/me",
        &format!("/datasources/{there}"),
        &format!("/datasources/{nowhere}/sync"),
        &format!("/users/{id}"),
    ] {
        call("GET", path, Value::Null);
    }
    assert_eq!(call("POST", &format!("/datasources/{nowhere}/test"), json!({})).0, 200);
    let (_, metrics) = daemon.request("GET", "/metrics", "", &Value::Null);
    answers.push_str(&metrics);

    daemon.signal("TERM");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
    let log = reader.join().unwrap().unwrap();
    assert!(log.contains("/users/{id}/password"), "it is the log of these requests");
    let mut store = superuser(&setup.database).await;
    let audit: String = sqlx::query_scalar("select string_agg(a::text, ' ') from admin_audit a")
        .fetch_one(&mut store)
        .await
        .unwrap();
    assert!(audit.contains(&alice), "{audit}");
    let keys: Vec<String> = std::fs::read_dir(&setup.directory)
        .unwrap()
        .map(|entry| {
            std::fs::read_to_string(entry.unwrap().path())
                .unwrap()
                .trim()
                .to_owned()
        })
        .collect();
    assert_eq!(keys.len(), 2, "generated keys");
    let given = [first, second, wrong, guessed, theirs, PASSWORD, &token];
    let derived = ["argon2id$", "SCRAM-SHA-256$"];
    for secret in given
        .iter()
        .copied()
        .chain(derived)
        .chain(keys.iter().map(String::as_str))
    {
        assert!(!answers.contains(secret), "{secret} in an answer");
        assert!(!log.contains(secret), "{secret} in the log");
        assert!(!audit.contains(secret), "{secret} in the audit");
    }
    // The store keeps no password as it was given.
    let users: String = sqlx::query_scalar("select string_agg(u::text, ' ') from users u")
        .fetch_one(&mut store)
        .await
        .unwrap();
    let sources: String = sqlx::query_scalar("select string_agg(d::text, ' ') from data_sources d")
        .fetch_one(&mut store)
        .await
        .unwrap();
    for secret in given {
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(!users.contains(secret) && !sources.contains(secret), "{secret}");
        assert!(!users.contains(&hex) && !sources.contains(&hex), "{secret}");
    }
}

/// A pipe that nobody writes to.
fn pipe() -> std::process::ChildStderr {
    let mut child = std::process::Command::new("true")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pipe = child.stderr.take().unwrap();
    child.wait().unwrap();
    pipe
}

/// Texts that would do something if anybody made a statement of them.
const HOSTILE: [&str; 6] = [
    "x'; drop table customers; --",
    "x\"; drop table customers; --",
    "x\\'; select pg_sleep(100); --",
    "{user.tenant}",
    "$1 %s %I ${jndi:x} {{7*7}}",
    "x') or true --",
];

#[tokio::test]
async fn texts_are_never_sql() {
    let (api, shop, source) = Api::with_shop().await;
    for hostile in HOSTILE {
        // Names with such characters are refused, or kept as they are.
        let user = json!({"username": hostile, "password": PASSWORD});
        api.post("/users", user).await.error(422);
        let attribute = json!({"key": hostile, "display_name": hostile, "value_type": "string"});
        api.post("/attribute-definitions", attribute).await.error(422);
        let role = json!({"name": hostile, "description": hostile});
        assert_eq!(api.post("/roles", role).await.expect(201)["name"], hostile);
        let target = json!([{"schemas": ["public"], "tables": [hostile]}]);
        let policy = json!({"name": hostile, "policy_type": "table_deny", "description": hostile, "targets": target});
        let policy = api.post("/policies", policy).await;
        assert_eq!(policy.expect(201)["name"], hostile);
        api.post(
            &format!("/datasources/{source}/policies"),
            json!({"policy_id": policy.id()}),
        )
        .await
        .expect(201);
        let encoded: String = hostile.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for (list, total) in [
            ("/policies", 1),
            ("/roles", 1),
            ("/users", 0),
            ("/datasources", 0),
            ("/attribute-definitions", 0),
        ] {
            let found = api.get(&format!("{list}?search={encoded}")).await.expect(200);
            assert_eq!(found["total"], total, "{list} {hostile}: {found}");
        }
        let token = format!("Bearer {}", api.token);
        for path in [
            format!("/api/v1/users/{encoded}"),
            format!("/api/v1/policies/{encoded}/versions/{encoded}"),
            format!("/api/v1/audit/admin?resource_type={encoded}"),
        ] {
            let status = api.raw(Method::GET, &path, Some(&token), "").await.status.as_u16();
            assert!([200, 404].contains(&status), "{path}: {status}");
        }
        api.login(hostile, hostile).await.error(401);
    }
    // A search is for the text, not for a pattern.
    for all in ["dr%25p", "t_ble", "%25%25"] {
        assert_eq!(api.get(&format!("/roles?search={all}")).await.expect(200)["total"], 0);
    }
    api.sync_well(&source).await;
    let policies = query_as(&shop, "postgres", "select name from betweenrows.policies order by 1")
        .await
        .unwrap();
    assert_eq!(policies.len(), HOSTILE.len(), "{policies:?}");
    let customers = query_as(&shop, "postgres", "select count(*)::text from customers").await;
    assert_eq!(customers.unwrap(), ["3"]);
}

#[tokio::test]
async fn values_of_attributes_are_never_part_of_an_expression() {
    let (api, shop, source) = Api::with_shop().await;
    let tenant = json!({"key": "tenant", "display_name": "Tenant", "value_type": "string"});
    api.post("/attribute-definitions", tenant).await.expect(201);
    let policy = api.filter("own rows", "org = {user.tenant}").await;
    api.assign(&source, &policy).await;
    let mut users = Vec::new();
    for value in HOSTILE.iter().chain(&["acme"]) {
        let name = unique("subject");
        let body = json!({"username": name, "password": PASSWORD, "attributes": {"tenant": value}});
        let answer = api.post("/users", body).await;
        answer.expect(201);
        users.push((name, answer.id()));
    }
    let ids: Vec<&String> = users.iter().map(|(_, id)| id).collect();
    api.put(&format!("/datasources/{source}/users"), json!({"user_ids": ids}))
        .await
        .expect(200);
    api.sync_well(&source).await;
    let count = "select count(*)::text from customers";
    let (good, hostile) = users.split_last().unwrap();
    for (name, _) in hostile {
        assert_eq!(query_as(&shop, name, count).await.unwrap(), ["0"]);
    }
    assert_eq!(query_as(&shop, &good.0, count).await.unwrap(), ["2"]);
    assert_eq!(query_as(&shop, "postgres", count).await.unwrap(), ["3"]);
    for expression in [
        "true; drop table customers",
        "true) or (true",
        "org = $1",
        "org = {user.tenant} --\n) or (true",
    ] {
        let body = json!({"name": "bad", "policy_type": "row_filter", "targets": [{"schemas": ["public"], "tables": ["customers"]}],
                          "definition": {"filter_expression": expression}});
        api.post("/policies", body).await.error(422);
        let answer = api
            .post(
                "/policies/validate-expression",
                json!({"expression": expression, "is_mask": false}),
            )
            .await
            .expect(200);
        assert_eq!(answer["valid"], false, "{answer}");
        assert!(answer["offset"].is_u64(), "{answer}");
    }
}

/// There is nothing that a browser would send along by itself: a request of another site carries no right.
#[tokio::test]
async fn only_the_header_carries_a_right() {
    let setup = Setup::new();
    let daemon = setup.serve();
    let token = daemon.login();
    let (_, answer) = daemon.request(
        "POST",
        "/api/v1/auth/login",
        "",
        &json!({"username": "admin", "password": PASSWORD}),
    );
    assert!(!answer.to_lowercase().contains("set-cookie"), "{answer}");
    let address = &daemon.address;
    for (path, header) in [
        (
            "/api/v1/users",
            format!("Cookie: token={token}; Authorization=Bearer {token}\r\n"),
        ),
        ("/api/v1/users", format!("X-Authorization: Bearer {token}\r\n")),
        (
            &format!("/api/v1/users?token={token}&access_token={token}") as &str,
            String::new(),
        ),
    ] {
        let (status, _) = crate::process::request(address, "GET", path, "", &Value::Null, &header);
        assert_eq!(status, 401, "{path} {header}");
    }
}

#[tokio::test]
async fn bodies_are_bounded_and_other_kinds_refused() {
    let api = Api::new().await;
    let token = format!("Bearer {}", api.token);
    let send = async |path: &str, body: String| {
        let path = format!("/api/v1{path}");
        api.raw(Method::POST, &path, Some(&token), body).await.status.as_u16()
    };
    for path in [
        "/roles",
        "/policies",
        "/users",
        "/auth/login",
        "/policies/validate-expression",
    ] {
        assert_eq!(
            send(path, format!("{{\"name\": \"{}\"}}", "x".repeat(1 << 20))).await,
            422,
            "{path}"
        );
    }
    assert!([413, 422].contains(&send("/policies/import", "#".repeat((16 << 20) + 1)).await));
    // Nested without end, and far too many keys.
    let nested = format!("{{\"name\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(send("/roles", nested.clone()).await, 422);
    assert_eq!(send("/policies/import", nested).await, 422);
    let deep = format!("version: 1\npolicies: {}1{}", "[".repeat(50_000), "]".repeat(50_000));
    assert_eq!(send("/policies/import", deep).await, 422);
    assert_eq!(send("/roles", "name=r".to_owned()).await, 400);
    assert_eq!(send("/roles", String::new()).await, 400);
    assert_eq!(send("/roles", "\u{0}".to_owned()).await, 400);
    assert_eq!(send("/roles", json!({"name": "a\u{0}b"}).to_string()).await, 422);
}

/// The daemon's environment has the password of its own store, and whoever adds a data source names the server that is
/// asked to log in to.
#[tokio::test]
async fn the_password_of_the_store_goes_to_no_other_server() {
    let setup = Setup::new();
    let daemon = setup.serve_with(&[("PGPASSWORD", "Store-1-zq")]);
    let token = daemon.login();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Asks for the password in the clear, and keeps what comes.
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut client, _) = listener.accept().unwrap();
        client
            .set_read_timeout(Some(std::time::Duration::from_secs(30)))
            .unwrap();
        let mut startup = [0; 1024];
        let length = client.read(&mut startup).unwrap();
        assert!(length > 8);
        client.write_all(b"R\0\0\0\x08\0\0\0\x03").unwrap();
        let mut answer = [0; 1024];
        let length = client.read(&mut answer).unwrap();
        answer[..length].to_vec()
    });
    let body = json!({"name": "theirs", "ds_type": "postgres", "access_mode": "open", "config": {
        "host": "127.0.0.1", "port": port, "database": "d", "username": "u", "sslmode": "disable"}});
    let (status, answer) = daemon.request("POST", "/api/v1/datasources", &token, &body);
    assert_eq!(status, 201, "{answer}");
    let sent = server.join().unwrap();
    assert!(sent.starts_with(b"p"), "a password was asked for: {sent:?}");
    assert!(!String::from_utf8_lossy(&sent).contains("Store-1-zq"));
}
