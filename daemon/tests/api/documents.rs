//! The store as a document, and back.

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, database, unique};

const DOCUMENT: &str = "
version: 1
access_mode: policy_required
attributes: [{key: tenant, value_type: string, allowed_values: [acme, globex], default_value: acme}]
roles: [{name: support, parents: [staff]}, {name: staff, description: everybody}]
users: [{username: ALICE, attributes: {tenant: globex}, roles: [support]}]
policies:
  - name: tenants
    policy_type: row_filter
    description: own rows
    targets: [{schemas: [public], tables: [customers]}]
    definition: {filter_expression: \"org = {user.tenant}\"}
    assignments: [{}, {role: staff, priority: 7}, {user: ALICE, priority: 1}]
";

async fn import(api: &Api, query: &str, document: &str) -> Answer {
    let token = format!("Bearer {}", api.token);
    api.raw(
        Method::POST,
        &format!("/api/v1/policies/import{query}"),
        Some(&token),
        document.to_owned(),
    )
    .await
}

fn actions(steps: &Value) -> Vec<String> {
    let text = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
    let steps = steps["steps"].as_array().unwrap();
    let changing = steps.iter().filter(|step| step["action"] != "none");
    changing
        .map(|step| format!("{} {}", text(step, "action"), text(step, "kind")))
        .collect()
}

#[tokio::test]
async fn a_document_goes_in_and_comes_out_the_same() {
    let api = Api::new().await;
    let source = api.data_source(&database().await).await;
    let query = format!("?datasource_id={source}");
    let document = DOCUMENT.replace("ALICE", &unique("alice"));
    let plan = import(&api, &format!("{query}&dry_run=true"), &document)
        .await
        .expect(200);
    assert_eq!(plan["dry_run"], true);
    assert_eq!(
        api.get("/policies").await.expect(200)["total"],
        0,
        "a dry run changes nothing"
    );
    let done = import(&api, &query, &document).await.expect(200);
    assert_eq!(actions(&done), actions(&plan));
    assert_eq!(
        actions(&done),
        [
            "alter access_mode",
            "create attribute",
            "create role",
            "create role",
            "add parent",
            "create user",
            "add member",
            "create policy",
            "assign assignment",
            "assign assignment",
            "assign assignment"
        ]
    );
    assert_eq!(
        actions(&import(&api, &query, &document).await.expect(200)),
        [""; 0],
        "again changes nothing"
    );

    let exported = api.get(&format!("/policies/export{query}")).await;
    assert_eq!(exported.status.as_u16(), 200);
    assert_eq!(exported.headers["content-type"], "application/yaml");
    assert_eq!(
        actions(
            &import(&api, &format!("{query}&prune=true"), &exported.text)
                .await
                .expect(200)
        ),
        [""; 0]
    );
    assert!(
        exported.text.contains("policy_required") && exported.text.contains("priority: 7"),
        "{}",
        exported.text
    );
    let whole = api.get("/policies/export").await;
    assert!(
        !whole.text.contains("assignments") && !whole.text.contains("access_mode"),
        "{}",
        whole.text
    );
    import(&api, "", &whole.text).await.expect(200);
}

#[tokio::test]
async fn pruning_removes_what_is_not_listed_but_no_administrator() {
    let api = Api::new().await;
    let (source, other) = (
        api.data_source(&database().await).await,
        api.data_source(&database().await).await,
    );
    let query = format!("?datasource_id={source}");
    let alice = unique("alice");
    import(&api, &query, &DOCUMENT.replace("ALICE", &alice))
        .await
        .expect(200);
    let shared = api.filter("shared", "true").await;
    for id in [&source, &other] {
        api.post(&format!("/datasources/{id}/policies"), json!({"policy_id": shared}))
            .await
            .expect(201);
    }
    let empty = "version: 1\nattributes: []\nroles: []\nusers: []\npolicies: []";
    let done = import(&api, &format!("{query}&prune=true"), empty).await.expect(200);
    assert_eq!(
        actions(&done),
        [
            "unassign assignment",
            "drop policy",
            "drop user",
            "drop role",
            "drop role",
            "drop attribute"
        ]
    );
    assert_eq!(
        api.get("/users").await.expect(200)["data"][0]["username"],
        json!(api.admin)
    );
    assert_eq!(api.get("/policies").await.expect(200)["data"][0]["name"], "shared");
    assert_eq!(
        api.get(&format!("/datasources/{other}/policies"))
            .await
            .expect(200)
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_document_that_is_wrong_changes_nothing() {
    let api = Api::new().await;
    let source = api.data_source(&database().await).await;
    let query = format!("?datasource_id={source}");
    let good = DOCUMENT.replace("ALICE", &unique("alice"));
    for (bad, status) in [
        ("version: 1\nrules: []".to_owned(), 422),
        ("not: [yaml".to_owned(), 422),
        (good.replace("role: staff, priority", "role: nobody, priority"), 422),
        (good.replace("globex}", "other}"), 422),
        (good.replace("row_filter", "table_deny"), 422),
        (format!("{good}    decision_function: office-hours\n"), 422),
        (
            format!(
                "{good}decision_functions: [{{name: f, source: \"function evaluate() {{ return {{fire: true}} }}\"}}]\n"
            ),
            422,
        ),
    ] {
        let answer = import(&api, &query, &bad).await;
        assert_eq!(answer.status.as_u16(), status, "{bad}: {}", answer.text);
    }
    import(&api, "", &good).await.error(400);
    import(&api, "?datasource_id=00000000-0000-4000-8000-000000000000", &good)
        .await
        .error(404);
    for list in ["/policies", "/roles", "/attribute-definitions"] {
        assert_eq!(api.get(list).await.expect(200)["total"], 0, "{list}");
    }
    assert_eq!(
        api.get(&format!("/datasources/{source}")).await.expect(200)["access_mode"],
        "open"
    );
}
