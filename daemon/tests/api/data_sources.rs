//! Data sources and who may use them.

use axum::http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Api, database, execute, port, socket, unique, variable};

fn source(name: &str, host: &str, database: &str) -> Value {
    json!({"name": name, "ds_type": "postgres", "access_mode": "open",
           "config": {"host": host, "port": port(), "database": database, "username": "postgres", "password": "S3cret!",
                      "sslmode": "disable"}})
}

#[tokio::test]
async fn a_data_source_is_created_read_changed_and_deleted() {
    let api = Api::new().await;
    let answer = api.post("/datasources", source("shop", "db.example", "shop")).await;
    let created = answer.expect(201);
    let fields = [
        "id",
        "name",
        "ds_type",
        "config",
        "is_active",
        "access_mode",
        "last_sync_at",
        "last_sync_result",
        "created_at",
        "updated_at",
    ];
    for field in fields {
        assert!(created.get(field).is_some(), "{field} in {created}");
    }
    assert!(!answer.text.contains("S3cret!"), "the password is never returned");
    assert_eq!(created["config"].get("password"), None);
    let path = format!("/datasources/{}", answer.id());
    assert_eq!(api.get(&path).await.expect(200), created);
    let changed = api
        .put(&path, json!({"name": "store", "config": {"database": "store"}}))
        .await
        .expect(200);
    assert_eq!(
        (&changed["name"], &changed["config"]["host"]),
        (&json!("store"), &json!("db.example"))
    );
    api.put(&path, json!({"name": "x", "version": 1})).await.error(409);
    // The password must not be sent to wherever somebody says.
    let error = api
        .put(&path, json!({"config": {"host": "evil.example"}}))
        .await
        .error(422);
    assert!(error.contains("password"), "{error}");
    api.put(&path, json!({"config": {"host": "new.example", "password": "S3cret!"}}))
        .await
        .expect(200);
    assert_eq!(api.get("/datasources?search=STO").await.expect(200)["total"], 1);
    api.post("/datasources", source("store", "x", "y")).await.error(409);
    let sealed = sqlx::query_scalar::<_, Vec<u8>>("select password from data_sources")
        .fetch_one(&api.store.pool)
        .await
        .unwrap();
    assert!(!sealed.windows(7).any(|window| window == b"S3cret!"));
    api.delete(&path).await.expect(204);
    api.get(&path).await.error(404);
    assert_eq!(api.get("/datasource-types").await.expect(200)[0]["ds_type"], "postgres");
}

#[tokio::test]
async fn what_cannot_be_a_data_source_is_refused() {
    let api = Api::new().await;
    for (field, value) in [
        ("name", json!("")),
        ("ds_type", json!("mysql")),
        ("access_mode", json!("closed")),
        ("drift", json!("maybe")),
    ] {
        let mut body = source("shop", "h", "d");
        body[field] = value;
        api.post("/datasources", body).await.error(422);
    }
    for (field, value) in [
        ("host", Value::Null),
        ("host", json!("")),
        ("port", json!(0)),
        ("port", json!(65_536)),
        ("database", Value::Null),
        ("username", json!("x".repeat(64))),
        ("sslmode", json!("maybe")),
    ] {
        let mut body = source("shop", "h", "d");
        body["config"][field] = value;
        api.post("/datasources", body).await.error(422);
    }
}

#[tokio::test]
async fn a_connection_is_tested() {
    let api = Api::new().await;
    let good = api.data_source(&database().await).await;
    let tested = api
        .post(&format!("/datasources/{good}/test"), json!({}))
        .await
        .expect(200);
    assert_eq!(tested["success"], true, "{tested}");
    assert!(
        tested["message"]
            .as_str()
            .unwrap()
            .contains("betweenrows 0.1.0 is installed"),
        "{tested}"
    );
    let bad = api
        .post("/datasources", source("bad", &socket(), "no_such_database"))
        .await
        .id();
    let tested = api
        .post(&format!("/datasources/{bad}/test"), json!({}))
        .await
        .expect(200);
    assert_eq!(tested["success"], false);
    let message = tested["message"].as_str().unwrap();
    assert!(
        message.contains("no_such_database") && !message.contains("S3cret!"),
        "{message}"
    );
    api.post(&format!("/datasources/{}/test", Uuid::new_v4()), json!({}))
        .await
        .error(404);
}

/// The certificate is for "localhost", of an authority that only the test knows.
#[tokio::test]
async fn the_server_has_to_prove_who_it_is() {
    let api = Api::new().await;
    let shop = database().await;
    execute(&shop, "create role tls_daemon login superuser password 'Secret-1'").await;
    let authority = std::fs::read_to_string(variable("BR_TEST_CA")).unwrap();
    let tested = async |host: &str, sslmode: &str, authority: Option<&str>| {
        let config = json!({"host": host, "port": port(), "database": shop, "username": "tls_daemon", "password": "Secret-1",
                            "sslmode": sslmode, "ssl_root_cert": authority});
        let source =
            json!({"name": unique("tls"), "ds_type": "postgres", "catalog_mode": "everything", "config": config});
        let answer = api.post("/datasources", source).await;
        answer.expect(201);
        let tested = api
            .post(&format!("/datasources/{}/test", answer.id()), json!({}))
            .await
            .expect(200);
        let is_good = tested["success"].as_bool().unwrap();
        (is_good, tested["message"].as_str().unwrap().to_owned(), answer.id())
    };
    let (is_good, message, source) = tested("localhost", "verify-full", Some(&authority)).await;
    assert!(is_good, "{message}");
    api.sync_well(&source).await;
    // The system's authorities do not know it.
    let (is_good, message, _) = tested("localhost", "verify-full", None).await;
    assert!(!is_good && message.contains("certificate"), "{message}");
    // Another name than the certificate's is good enough unless all has to be verified.
    let (is_good, message, _) = tested("127.0.0.1", "verify-full", Some(&authority)).await;
    assert!(!is_good && message.contains("certificate"), "{message}");
    let (is_good, message, _) = tested("127.0.0.1", "verify-ca", Some(&authority)).await;
    assert!(is_good, "{message}");
    let (is_good, message, _) = tested("127.0.0.1", "require", None).await;
    assert!(is_good, "{message}");
    let (is_good, message, _) = tested("127.0.0.1", "disable", None).await;
    assert!(!is_good && message.contains("no encryption"), "{message}");
    let (is_good, message, _) = tested("localhost", "verify-full", Some("no certificate")).await;
    assert!(!is_good, "{message}");
}

#[tokio::test]
async fn grants_are_replaced_as_a_whole() {
    let api = Api::new().await;
    let path = format!("/datasources/{}", api.data_source(&database().await).await);
    let (alice, bob) = (api.user(&unique("alice")).await, api.user(&unique("bob")).await);
    let users = async |ids: Value| api.put(&format!("{path}/users"), json!({"user_ids": ids})).await;
    assert_eq!(
        users(json!([alice, bob])).await.expect(200).as_array().unwrap().len(),
        2
    );
    users(json!([bob])).await.expect(200);
    assert_eq!(api.get(&format!("{path}/users")).await.expect(200)[0]["id"], json!(bob));
    users(json!([alice, Uuid::new_v4()])).await.error(404);
    assert_eq!(
        api.get(&format!("{path}/users")).await.expect(200)[0]["id"],
        json!(bob),
        "nothing changed"
    );
    let (role, idle) = (api.role("support").await, api.role("idle").await);
    api.put(&format!("/roles/{idle}"), json!({"is_active": false}))
        .await
        .expect(200);
    let roles = async |ids: Value| api.put(&format!("{path}/access/roles"), json!({"role_ids": ids})).await;
    assert_eq!(roles(json!([role])).await.expect(200)[0]["name"], "support");
    roles(json!([idle])).await.error(400);
    roles(json!([Uuid::new_v4()])).await.error(404);
    assert_eq!(
        api.get(&format!("{path}/access/roles")).await.expect(200)[0]["name"],
        "support"
    );
    let detail = api.get(&format!("/roles/{role}")).await.expect(200);
    assert_eq!(detail["datasource_access"][0]["source"], "direct");
    // Whoever replaces a list that somebody else replaced meanwhile learns of it.
    for (list, ids) in [("users", "user_ids"), ("access/roles", "role_ids")] {
        let list = format!("{path}/{list}");
        let read = api.get(&list).await.tag();
        let nobody = json!({ids: []});
        let replaced = api.if_match(Method::PUT, &list, &read, nobody.clone()).await;
        assert_eq!(replaced.expect(200), json!([]));
        let stale = api.if_match(Method::PUT, &list, &read, nobody.clone()).await;
        assert!(stale.error(409).contains("changed meanwhile"), "{}", stale.text);
        api.if_match(Method::PUT, &list, &replaced.tag(), nobody)
            .await
            .expect(200);
    }
    let nowhere = format!("/datasources/{}", Uuid::new_v4());
    api.get(&format!("{nowhere}/users")).await.error(404);
    api.put(&format!("{nowhere}/access/roles"), json!({"role_ids": []}))
        .await
        .error(404);
    api.get(&format!("{nowhere}/sync")).await.error(404);
    api.post(&format!("{nowhere}/sync"), json!({})).await.error(404);
}
