//! Policies, their versions and their assignments.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Api, database, unique};

fn mask(name: &str) -> Value {
    json!({"name": name, "policy_type": "column_mask", "description": "d",
           "targets": [{"schemas": ["public"], "tables": ["customers"], "columns": ["ssn"]}],
           "definition": {"mask_expression": "left(ssn, 3)"}})
}

#[tokio::test]
async fn a_policy_is_created_read_changed_and_deleted() {
    let api = Api::new().await;
    let answer = api.post("/policies", mask("ssn")).await;
    let policy = answer.expect(201);
    let fields = [
        "id",
        "name",
        "description",
        "policy_type",
        "targets",
        "definition",
        "is_enabled",
        "version",
        "decision_function_id",
        "decision_function",
        "assignment_count",
        "created_by",
        "updated_by",
        "created_at",
        "updated_at",
        "assignments",
    ];
    for field in fields {
        assert!(policy.get(field).is_some(), "{field} in {policy}");
    }
    assert_eq!((&policy["version"], &policy["is_enabled"]), (&json!(1), &json!(true)));
    let path = format!("/policies/{}", answer.id());
    assert_eq!(api.get(&path).await.expect(200), policy);
    let changed = api
        .put(&path, json!({"version": 1, "description": null, "is_enabled": false}))
        .await
        .expect(200);
    assert_eq!(
        (&changed["version"], &changed["description"]),
        (&json!(2), &Value::Null)
    );
    assert_eq!(changed["definition"], policy["definition"]);
    assert!(
        api.put(&path, json!({"version": 1, "name": "x"}))
            .await
            .error(409)
            .contains("version is 2")
    );
    api.put(&path, json!({"name": "x"})).await.error(422);
    api.post("/policies", mask("ssn")).await.error(409);
    assert_eq!(api.get("/policies?search=SSN").await.expect(200)["total"], 1);
    api.delete(&path).await.expect(204);
    api.get(&path).await.error(404);
}

#[tokio::test]
async fn what_cannot_be_a_policy_is_refused() {
    let api = Api::new().await;
    let change = |edit: fn(&mut Value)| {
        let mut policy = mask("p");
        edit(&mut policy);
        policy
    };
    let bad = [
        change(|policy| policy["name"] = json!("")),
        change(|policy| policy["name"] = json!("x".repeat(101))),
        change(|policy| policy["policy_type"] = json!("row_mask")),
        change(|policy| policy["targets"] = json!([])),
        change(|policy| policy["targets"] = json!([{"schemas": ["public"], "tables": ["t"]}])),
        change(|policy| policy["definition"] = Value::Null),
        change(|policy| policy["definition"] = json!({"filter_expression": "true"})),
        change(|policy| policy["policy_type"] = json!("column_deny")),
        change(|policy| policy["definition"] = json!({"mask_expression": "left(ssn"})),
        change(|policy| policy["definition"] = json!({"mask_expression": "1) from x where (true"})),
        change(|policy| policy["definition"] = json!({"mask_expression": "{user.}"})),
        change(|policy| policy["definition"] = json!({"mask_expression": "1; drop table users"})),
    ];
    for policy in bad {
        let answer = api.post("/policies", policy.clone()).await;
        assert_eq!(answer.status.as_u16(), 422, "{policy}: {}", answer.text);
    }
    let mut with_function = mask("p");
    with_function["decision_function_id"] = json!(Uuid::new_v4());
    api.post("/policies", with_function).await.error(404);
}

#[tokio::test]
async fn expressions_are_looked_at() {
    let api = Api::new().await;
    let look = async |expression: &str| {
        let answer = api
            .post(
                "/policies/validate-expression",
                json!({"expression": expression, "is_mask": false}),
            )
            .await;
        answer.expect(200)
    };
    for good in [
        "org = {user.tenant}",
        "exists (select from t where t.id = x.id) -- comment",
        "a IN ({user.list})",
    ] {
        assert_eq!(look(good).await, json!({"valid": true, "error": null}), "{good}");
    }
    for bad in [
        "",
        "org =",
        "org = {tenant}",
        "true) or (select 1",
        "select 1",
        "$1 = 1",
        "true; select pg_sleep(9)",
    ] {
        let answer = look(bad).await;
        assert_eq!(answer["valid"], false, "{bad}");
        assert!(answer["error"].is_string(), "{bad}");
    }
}

#[tokio::test]
async fn versions_are_kept_compared_and_brought_back() {
    let api = Api::new().await;
    let id = api.filter("own", "org = 'acme'").await;
    let path = format!("/policies/{id}");
    let body = json!({"version": 1, "definition": {"filter_expression": "org = 'globex'"}, "name": "theirs"});
    api.put(&path, body).await.expect(200);
    let versions = api.get(&format!("{path}/versions")).await.expect(200);
    assert_eq!(versions["total"], 2);
    assert_eq!(
        (&versions["data"][0]["version"], &versions["data"][0]["operation"]),
        (&json!(2), &json!("update"))
    );
    let diff = api.get(&format!("{path}/diff?from=1&to=2")).await.expect(200);
    let fields: Vec<&str> = diff
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["name", "definition"]);
    assert_eq!(diff[1]["after"], json!({"filter_expression": "org = 'globex'"}));
    api.get(&format!("{path}/diff?from=1&to=9")).await.error(404);
    api.post(&format!("{path}/versions/1/rollback"), json!({"version": 1}))
        .await
        .error(409);
    let back = api
        .post(&format!("{path}/versions/1/rollback"), json!({"version": 2}))
        .await
        .expect(200);
    assert_eq!((&back["version"], &back["name"]), (&json!(3), &json!("own")));
    api.delete(&path).await.expect(204);
    let versions = api.get(&format!("{path}/versions")).await.expect(200);
    assert_eq!(
        (&versions["total"], &versions["data"][0]["operation"]),
        (&json!(4), &json!("delete"))
    );
    assert_eq!(
        api.get(&format!("{path}/versions/2")).await.expect(200)["name"],
        "theirs"
    );
    api.get(&format!("/policies/{}/versions", Uuid::new_v4()))
        .await
        .error(404);
}

#[tokio::test]
async fn policies_are_assigned_and_apply_by_precedence() {
    let api = Api::new().await;
    let source = api.data_source(&database().await).await;
    let path = format!("/datasources/{source}/policies");
    let (policy, other) = (api.filter("p", "true").await, api.filter("q", "true").await);
    let (user, role) = (api.user(&unique("alice")).await, api.role("support").await);
    let parent = api.role("staff").await;
    api.join(&role, &[&user]).await;
    api.post(&format!("/roles/{role}/parents"), json!({"parent_role_id": parent}))
        .await
        .expect(200);

    let all = api
        .post(&path, json!({"policy_id": policy, "scope": "all"}))
        .await
        .expect(201);
    let fields = [
        "id",
        "policy_id",
        "policy_name",
        "data_source_id",
        "datasource_name",
        "user_id",
        "username",
        "role_id",
        "role_name",
        "assignment_scope",
        "priority",
        "created_at",
        "updated_at",
    ];
    for field in fields {
        assert!(all.get(field).is_some(), "{field} in {all}");
    }
    assert_eq!(
        (&all["assignment_scope"], &all["priority"]),
        (&json!("all"), &json!(100))
    );
    api.post(&path, json!({"policy_id": policy})).await.error(409);
    let of_role = api
        .post(
            &path,
            json!({"policy_id": policy, "scope": "role", "role_id": parent, "priority": 5}),
        )
        .await;
    of_role.expect(201);
    api.post(&path, json!({"policy_id": other, "user_id": user, "priority": 50}))
        .await
        .expect(201);
    for bad in [
        json!({"policy_id": policy, "scope": "all", "user_id": user}),
        json!({"policy_id": policy, "scope": "user", "role_id": role}),
        json!({"policy_id": policy, "scope": "role"}),
        json!({"policy_id": policy, "user_id": user, "role_id": role}),
    ] {
        api.post(&path, bad).await.error(400);
    }
    let nobody = Uuid::new_v4();
    api.post(&path, json!({"policy_id": nobody})).await.error(404);
    api.post(&path, json!({"policy_id": policy, "user_id": nobody}))
        .await
        .error(404);
    api.post(&path, json!({"policy_id": policy, "role_id": nobody}))
        .await
        .error(404);
    api.post(&format!("/datasources/{nobody}/policies"), json!({"policy_id": policy}))
        .await
        .error(404);
    api.get(&format!("/datasources/{nobody}/policies")).await.error(404);

    let effective = api
        .get(&format!("/users/{user}/effective-policies?datasource_id={source}"))
        .await
        .expect(200);
    let found: Vec<(&str, i64, &str)> = effective
        .as_array()
        .unwrap()
        .iter()
        .map(|policy| {
            let text = |key: &str| policy[key].as_str().unwrap();
            (
                text("policy_name"),
                policy["priority"].as_i64().unwrap(),
                text("source"),
            )
        })
        .collect();
    assert_eq!(found, [("p", 5, "role"), ("q", 50, "user")]);
    assert_eq!(effective[0]["roles"], json!(["staff"]));
    let detail = api.get(&format!("/policies/{policy}")).await.expect(200);
    assert_eq!(
        (
            &detail["assignment_count"],
            detail["assignments"].as_array().unwrap().len()
        ),
        (&json!(2), 2)
    );
    let of_support = api.get(&format!("/roles/{role}")).await.expect(200);
    assert_eq!(of_support["policy_assignments"][0]["source"], "staff");
    api.get(&format!("/users/{user}/effective-policies")).await.error(400);

    let assignment = format!("{path}/{}", of_role.id());
    api.delete(&format!(
        "/datasources/{}/policies/{}",
        api.data_source(&database().await).await,
        of_role.id()
    ))
    .await
    .error(404);
    api.delete(&assignment).await.expect(204);
    api.delete(&assignment).await.error(404);
    assert_eq!(api.get(&path).await.expect(200).as_array().unwrap().len(), 2);
}

/// What only a database can know is asked there before the change is made.
#[tokio::test]
async fn a_policy_that_the_database_refuses_is_not_assigned_nor_changed() {
    let api = Api::new().await;
    let name = database().await;
    let source = api.data_source(&name).await;
    api.sync_well(&source).await;
    let path = format!("/datasources/{source}/policies");
    let policy = api.filter("p", "no_such_column = 1").await;
    let error = api.post(&path, json!({"policy_id": policy})).await.error(422);
    assert!(error.contains("no_such_column") && error.contains(&name), "{error}");
    assert_eq!(api.get(&path).await.expect(200), json!([]));
    api.put(
        &format!("/policies/{policy}"),
        json!({"version": 1, "definition": {"filter_expression": "id = 1"}}),
    )
    .await
    .expect(200);
    api.post(&path, json!({"policy_id": policy})).await.expect(201);
    let bad = json!({"version": 2, "definition": {"filter_expression": "name > 1"}});
    api.put(&format!("/policies/{policy}"), bad).await.error(422);
    assert_eq!(api.get(&format!("/policies/{policy}")).await.expect(200)["version"], 2);
    api.sync_well(&source).await;
}
