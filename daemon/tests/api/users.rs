//! Accounts.

use serde_json::{Value, json};

use crate::harness::{Api, PASSWORD, unique};

#[tokio::test]
async fn an_account_is_created_read_changed_and_deleted() {
    let api = Api::new().await;
    let name = unique("alice");
    let answer = api
        .post(
            "/users",
            json!({"username": name, "password": PASSWORD, "email": "a@example.com", "display_name": "Alice"}),
        )
        .await;
    let user = answer.expect(201);
    let fields = [
        "id",
        "username",
        "is_admin",
        "is_active",
        "email",
        "display_name",
        "attributes",
        "last_login_at",
        "created_at",
        "updated_at",
    ];
    for field in fields {
        assert!(user.get(field).is_some(), "{field} in {user}");
    }
    assert_eq!((&user["is_admin"], &user["is_active"]), (&json!(false), &json!(true)));
    assert!(!user["created_at"].as_str().unwrap().contains(['Z', '+']), "{user}");
    let path = format!("/users/{}", answer.id());
    assert_eq!(api.get(&path).await.expect(200), user);
    let changed = api
        .put(&path, json!({"email": null, "display_name": "Al"}))
        .await
        .expect(200);
    assert_eq!(
        (&changed["email"], &changed["display_name"]),
        (&Value::Null, &json!("Al"))
    );
    assert_eq!(changed["is_active"], true);
    let stale = api.put(&path, json!({"display_name": "X", "version": 1})).await;
    assert!(stale.error(409).contains("version is 2"), "{}", stale.text);
    api.delete(&path).await.expect(204);
    api.get(&path).await.error(404);
    api.put(&path, json!({})).await.error(404);
    api.delete(&path).await.error(404);
    api.put(&format!("{path}/password"), json!({"password": PASSWORD}))
        .await
        .error(404);
    api.get("/users/nonsense").await.error(404);
}

#[tokio::test]
async fn what_cannot_be_an_account_is_refused() {
    let api = Api::new().await;
    let create = async |username: &str, password: &str| {
        api.post("/users", json!({"username": username, "password": password}))
            .await
    };
    for name in ["ab", "1abc", "with space", "quote'", "pg_root", "public"] {
        create(name, PASSWORD).await.error(422);
    }
    let name = unique("bob");
    for password in [
        "Short-1",
        "no-upper-1",
        "NO-LOWER-1",
        "No-digits",
        "NoSpecial1",
        "Ünicode-1",
    ] {
        let error = create(&name, password).await.error(422);
        assert!(!error.contains(password), "{error}");
    }
    create(&name, PASSWORD).await.expect(201);
    assert!(create(&name, PASSWORD).await.error(409).contains(&name));
    api.post("/users", json!({"username": name})).await.error(422);
}

#[tokio::test]
async fn accounts_are_listed_page_by_page_and_searched() {
    let api = Api::new().await;
    for name in ["anna", "annette", "bernd"] {
        api.user(&unique(name)).await;
    }
    let page = api.get("/users?search=ANN&page_size=1&page=2").await.expect(200);
    assert_eq!(
        (&page["total"], &page["page"], &page["page_size"]),
        (&json!(2), &json!(2), &json!(1))
    );
    assert!(
        page["data"][0]["username"].as_str().unwrap().starts_with("annette"),
        "{page}"
    );
    assert_eq!(api.get("/users?page_size=1000").await.expect(200)["page_size"], 100);
    assert_eq!(
        api.get("/users?search=%25").await.expect(200)["total"],
        0,
        "a pattern is only text"
    );
    assert_eq!(api.get("/users?search='%3B--").await.expect(200)["total"], 0);
    api.get("/users?page=x").await.error(400);
}

#[tokio::test]
async fn attributes_are_checked_and_replaced_as_a_whole() {
    let api = Api::new().await;
    let define = async |key: &str, kind: &str, allowed: Value| {
        let body = json!({"key": key, "value_type": kind, "display_name": key, "allowed_values": allowed});
        api.post("/attribute-definitions", body).await.expect(201);
    };
    define("tenant", "string", json!(["acme", "globex"])).await;
    define("level", "integer", Value::Null).await;
    define("cleared", "boolean", Value::Null).await;
    define("regions", "list", Value::Null).await;
    let path = format!("/users/{}", api.user(&unique("alice")).await);
    let set = async |attributes: Value| api.put(&path, json!({"attributes": attributes})).await;
    let values = json!({"tenant": "acme", "level": "3", "cleared": "true", "regions": ["eu", "us"]});
    let user = set(values).await.expect(200);
    let expected = json!({"tenant": "acme", "level": 3, "cleared": true, "regions": ["eu", "us"]});
    assert_eq!(
        user["attributes"], expected,
        "numbers and truth values may come as text"
    );
    assert_eq!(
        set(json!({"level": 4})).await.expect(200)["attributes"],
        json!({"level": 4})
    );
    assert_eq!(set(json!({"level": null})).await.expect(200)["attributes"], json!({}));
    for bad in [
        json!({"tenant": "other"}),
        json!({"level": "x"}),
        json!({"unknown": 1}),
        json!({"regions": "eu"}),
    ] {
        let error = set(bad.clone()).await.error(422);
        assert!(error.starts_with("attributes."), "{bad}: {error}");
    }
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let api = Api::new().await;
    let path = format!("/users/{}", api.admin_id);
    for change in [json!({"is_admin": false}), json!({"is_active": false})] {
        assert!(
            api.put(&path, change)
                .await
                .error(409)
                .contains("last active administrator")
        );
    }
    api.delete(&path).await.error(409);
    let second = api
        .post(
            "/users",
            json!({"username": unique("second"), "password": PASSWORD, "is_admin": true}),
        )
        .await
        .id();
    assert!(api.delete(&path).await.error(409).contains("itself"));
    api.put(&path, json!({"display_name": "still here"})).await.expect(200);
    api.delete(&format!("/users/{second}")).await.expect(204);
}
