//! The description of the API.

use axum::http::Method;

use crate::harness::Api;

/// Regenerate with `make daemon-generated`.
#[test]
fn the_description_in_the_repository_is_of_this_api() {
    let path = "../docs/openapi.json";
    let kept = std::fs::read_to_string(path).expect("docs/openapi.json");
    let current = betweenrowsd::api::openapi().to_pretty_json().unwrap();
    assert!(
        kept.trim() == current.trim(),
        "docs/openapi.json is stale: run `make daemon-generated`"
    );
}

/// Clients are generated from it: two operations of one name would be one.
#[test]
fn each_operation_has_a_name_of_its_own() {
    let description = serde_json::to_value(betweenrowsd::api::openapi()).unwrap();
    let items = description["paths"].as_object().unwrap().values();
    let operations = items.flat_map(|item| item.as_object().unwrap().values());
    let mut names: Vec<&str> = operations
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!((names.len(), names.contains(&"list_users")), (all, true));
}

#[tokio::test]
async fn the_description_is_served() {
    let api = Api::new().await;
    let answer = api.raw(Method::GET, "/api/v1/openapi.json", None, "").await.expect(200);
    assert_eq!(answer, serde_json::to_value(betweenrowsd::api::openapi()).unwrap());
}

#[tokio::test]
async fn text_that_databases_cannot_have_is_refused() {
    let api = Api::new().await;
    for list in [
        "/users",
        "/roles",
        "/policies",
        "/decision-functions",
        "/attribute-definitions",
        "/datasources",
    ] {
        let refused = api.get(&format!("{list}?search=%00")).await.error(422);
        assert!(refused.contains("NUL"), "{list}: {refused}");
    }
    api.get("/audit/admin?resource_type=%00").await.error(422);
}
