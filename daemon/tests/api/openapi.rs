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

#[tokio::test]
async fn the_description_is_served() {
    let api = Api::new().await;
    let answer = api.raw(Method::GET, "/api/v1/openapi.json", None, "").await.expect(200);
    assert_eq!(answer, serde_json::to_value(betweenrowsd::api::openapi()).unwrap());
}
