//! Every change is recorded, and no secret with it.

use serde_json::{Value, json};

use crate::harness::{Api, PASSWORD, database, execute, query_as, unique};

#[tokio::test]
async fn every_change_says_who_what_and_from_where() {
    let api = Api::new().await;
    let name = unique("alice");
    let user = api.user(&name).await;
    let path = format!("/users/{user}");
    api.put(&path, json!({"display_name": "Alice"})).await.expect(200);
    api.put(&path, json!({"display_name": "Alice"})).await.expect(200);
    api.put(&format!("{path}/password"), json!({"password": "Another-1"}))
        .await
        .expect(204);
    let policy = api.filter("own", "org = 'acme'").await;
    api.delete(&path).await.expect(204);
    let of_user = api
        .get(&format!("/audit/admin?resource_type=user&resource_id={user}"))
        .await
        .expect(200);
    let entries = of_user["data"].as_array().unwrap();
    let actions: Vec<&str> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(
        actions,
        ["delete", "password", "update", "create"],
        "newest first, and nothing for no change"
    );
    for field in [
        "id",
        "resource_type",
        "resource_id",
        "action",
        "actor_id",
        "changes",
        "created_at",
    ] {
        assert!(entries[0].get(field).is_some(), "{field} in {}", entries[0]);
    }
    assert_eq!(entries[0]["actor_id"], json!(api.admin_id));
    assert!(entries[0]["request_id"].is_string());
    let update = &entries[2]["changes"];
    assert_eq!(
        (&update["before"]["display_name"], &update["after"]["display_name"]),
        (&Value::Null, &json!("Alice"))
    );
    let of_policy = api.get(&format!("/audit/admin?resource_id={policy}")).await.expect(200);
    let after = &of_policy["data"][0]["changes"]["after"];
    assert_eq!(
        after["definition"]["filter_expression"], "org = 'acme'",
        "expressions are in it"
    );
    assert_eq!(of_policy["page_size"], 50);
    let none = api.get("/audit/admin?from=2100-01-01T00:00:00").await.expect(200);
    assert_eq!(none["total"], 0);
    assert!(api.get("/audit/admin?to=2100-01-01T00:00:00%2B01:00").await.expect(200)["total"].as_i64() > Some(4));
    api.get("/audit/admin?from=yesterday").await.error(400);
}

#[tokio::test]
async fn a_refused_change_leaves_no_trace() {
    let api = Api::new().await;
    let before = api.get("/audit/admin").await.expect(200)["total"].clone();
    api.post("/roles", json!({"name": ""})).await.error(422);
    api.put(&format!("/users/{}", api.admin_id), json!({"is_admin": false}))
        .await
        .error(409);
    assert_eq!(api.get("/audit/admin").await.expect(200)["total"], before);
}

#[tokio::test]
async fn secrets_are_nowhere_in_the_audit_and_history_cannot_be_changed() {
    let api = Api::new().await;
    let shop = database().await;
    let user = api.user(&unique("alice")).await;
    api.put(&format!("/users/{user}/password"), json!({"password": "Another-1"}))
        .await
        .expect(204);
    let config = json!({"host": "h", "database": "d", "username": "u", "password": "Data-source-1"});
    let body = json!({"name": shop, "ds_type": "postgres", "config": config});
    api.post("/datasources", body).await.expect(201);
    let all = query_as(&api.database, "postgres", "select to_jsonb(a)::text from admin_audit a")
        .await
        .unwrap();
    let text = all.join("\n");
    for secret in [PASSWORD, "Another-1", "Data-source-1", "argon2", "SCRAM-SHA-256"] {
        assert!(!text.contains(secret), "{secret}");
    }
    for table in ["admin_audit", "policy_versions"] {
        for statement in [format!("delete from {table}"), format!("truncate {table}")] {
            let refused = query_as(&api.database, "postgres", &statement).await.unwrap_err();
            assert!(refused.starts_with("42501"), "{refused}");
        }
    }
    execute(&api.database, "select 1").await;
}
