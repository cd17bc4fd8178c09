//! Attribute definitions.

use serde_json::{Value, json};

use crate::harness::{Api, unique};

#[tokio::test]
async fn a_definition_is_created_read_changed_and_deleted() {
    let api = Api::new().await;
    let answer = api
        .post(
            "/attribute-definitions",
            json!({"key": "tenant", "entity_type": "user", "display_name": "Tenant", "value_type": "string",
                   "allowed_values": ["acme", "globex"], "default_value": "acme", "description": "whose rows"}),
        )
        .await;
    let definition = answer.expect(201);
    let fields = [
        "id",
        "key",
        "entity_type",
        "display_name",
        "value_type",
        "default_value",
        "allowed_values",
        "description",
        "created_by",
        "updated_by",
        "created_at",
        "updated_at",
    ];
    for field in fields {
        assert!(definition.get(field).is_some(), "{field} in {definition}");
    }
    assert_eq!(definition["created_by"], json!(api.admin_id));
    let path = format!("/attribute-definitions/{}", answer.id());
    assert_eq!(api.get(&path).await.expect(200), definition);
    let changed = api
        .put(&path, json!({"default_value": null, "allowed_values": null}))
        .await
        .expect(200);
    assert_eq!(
        (&changed["default_value"], &changed["allowed_values"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(changed["description"], "whose rows");
    api.put(&path, json!({"description": "x", "version": 1}))
        .await
        .error(409);
    assert_eq!(
        api.get("/attribute-definitions?search=TEN").await.expect(200)["total"],
        1
    );
    api.delete(&path).await.expect(204);
    api.get(&path).await.error(404);
    api.delete(&path).await.error(404);
}

#[tokio::test]
async fn what_cannot_be_a_definition_is_refused() {
    let api = Api::new().await;
    let create = async |key: &str, kind: &str, more: Value| {
        let mut body = json!({"key": key, "value_type": kind, "display_name": "x"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        api.post("/attribute-definitions", body).await
    };
    for key in [
        "",
        "1a",
        "a-b",
        "username",
        "id",
        "roles",
        "user_id",
        "is_admin",
        &"k".repeat(65),
    ] {
        create(key, "string", json!({})).await.error(422);
    }
    create("k", "text", json!({})).await.error(422);
    create("k", "integer", json!({"default_value": "one"})).await.error(422);
    create("k", "string", json!({"allowed_values": ["a"], "default_value": "b"}))
        .await
        .error(422);
    create("k", "string", json!({"entity_type": "table"})).await.error(422);
    create("k", "string", json!({})).await.expect(201);
    create("k", "string", json!({})).await.error(409);
}

#[tokio::test]
async fn what_is_in_use_takes_force() {
    let api = Api::new().await;
    let answer = api
        .post(
            "/attribute-definitions",
            json!({"key": "tenant", "value_type": "string"}),
        )
        .await;
    answer.expect(201);
    let path = format!("/attribute-definitions/{}", answer.id());
    let alice = unique("alice");
    let user = format!("/users/{}", api.user(&alice).await);
    api.put(&user, json!({"attributes": {"tenant": "acme"}}))
        .await
        .expect(200);
    let policy = api.filter("own", "org = {user.tenant}").await;
    let changed = api.put(&path, json!({"allowed_values": ["globex"]})).await;
    assert!(changed.error(409).contains(&alice), "{}", changed.text);
    let error = api.delete(&path).await.error(409);
    assert!(error.contains("1 users") && error.contains("\"own\""), "{error}");
    api.delete(&format!("{path}?force=true")).await.expect(204);
    assert_eq!(api.get(&user).await.expect(200)["attributes"], json!({}));
    // The policy that used it can still be disabled; no other one may use it.
    let path = format!("/policies/{policy}");
    let disabled = api.put(&path, json!({"version": 1, "is_enabled": false})).await;
    assert_eq!(disabled.expect(200)["is_enabled"], false);
    let other = |expression: &str| json!({"version": 2, "definition": {"filter_expression": expression}});
    let refused = api.put(&path, other("org = {user.tenant} or name = {user.team}")).await;
    assert_eq!(
        refused.error(422),
        "definition.filter_expression: there is no attribute \"team\" at byte 30"
    );
    let mended = api
        .put(&path, other("org = {user.username} or id::text = {user.id}"))
        .await;
    mended.expect(200);
    let back = api.put(
        &path,
        json!({"version": 3, "definition": {"filter_expression": "org = {user.tenant}"}}),
    );
    assert!(back.await.error(422).contains("\"tenant\""));
    let rolled_back = api
        .post(&format!("{path}/versions/1/rollback"), json!({"version": 3}))
        .await;
    assert!(rolled_back.error(422).contains("\"tenant\""));
    let new = json!({"name": "new", "policy_type": "row_filter", "targets": [{"schemas": ["*"], "tables": ["*"]}],
                     "definition": {"filter_expression": "true", "check_expression": "org = {user.tenant}"}});
    assert!(api.post("/policies", new).await.error(422).contains("\"tenant\""));
}
