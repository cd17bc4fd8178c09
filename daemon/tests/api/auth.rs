//! Who may call what.

use axum::http::Method;
use betweenrowsd::api;
use betweenrowsd::secrets::token::{Claims, TokenKey};
use serde_json::json;

use crate::harness::{Api, PASSWORD, SIGNING, unique};

fn claims(api: &Api) -> Claims {
    let now = chrono::Utc::now().timestamp();
    Claims {
        sub: api.admin_id,
        generation: 1,
        iat: now,
        exp: now + 600,
    }
}

/// Every route of the description, with ids that name nothing.
fn routes() -> Vec<(Method, String)> {
    let description = serde_json::to_value(api::openapi()).unwrap();
    let mut routes = Vec::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        let path = path
            .replace("{version}", "1")
            .split('/')
            .map(|part| {
                if part.starts_with('{') {
                    "00000000-0000-4000-8000-000000000000"
                } else {
                    part
                }
            })
            .collect::<Vec<_>>()
            .join("/");
        for method in operations.as_object().unwrap().keys() {
            routes.push((method.to_uppercase().parse().unwrap(), path.clone()));
        }
    }
    assert!(routes.len() > 50, "{}", routes.len());
    routes
}

const PUBLIC: [&str; 6] = [
    "/health",
    "/live",
    "/ready",
    "/metrics",
    "/api/v1/health",
    "/api/v1/auth/login",
];

#[tokio::test]
async fn no_route_is_open_without_a_good_token() {
    let api = Api::new().await;
    let good = claims(&api);
    let sign = |key: &[u8], claims: &Claims| format!("Bearer {}", TokenKey::new(key).sign(claims));
    let expired = Claims {
        exp: good.iat - 1,
        ..good.clone()
    };
    let revoked = Claims {
        generation: 0,
        ..good.clone()
    };
    let unknown = Claims {
        sub: uuid::Uuid::new_v4(),
        ..good.clone()
    };
    let valid = sign(&SIGNING, &good);
    let none = {
        use base64::Engine;
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let body = valid.split('.').nth(1).unwrap();
        format!("Bearer {}.{body}.", engine.encode(r#"{"alg":"none","typ":"JWT"}"#))
    };
    let bad = [
        None,
        Some("Bearer".to_owned()),
        Some("Bearer nonsense".to_owned()),
        Some(valid.replace("Bearer", "Basic")),
        Some(sign(&[4; 32], &good)),
        Some(sign(&SIGNING, &expired)),
        Some(sign(&SIGNING, &revoked)),
        Some(sign(&SIGNING, &unknown)),
        Some(none),
    ];
    for (method, path) in routes() {
        if PUBLIC.contains(&path.as_str()) {
            continue;
        }
        for token in &bad {
            let answer = api.raw(method.clone(), &path, token.as_deref(), "{}").await;
            assert_eq!(
                answer.status.as_u16(),
                401,
                "{method} {path} with {token:?}: {}",
                answer.text
            );
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
    }
    let answer = api.raw(Method::GET, "/api/v1/auth/me", Some(&valid), "").await;
    assert_eq!(answer.expect(200)["username"], api.admin);
}

#[tokio::test]
async fn a_user_who_is_no_administrator_may_only_ask_who_it_is() {
    let api = Api::new().await;
    let name = unique("user");
    let id = api.user(&name).await;
    assert!(api.login(&name, PASSWORD).await.error(403).contains("administrator"));
    let token = TokenKey::new(&SIGNING).sign(&Claims {
        sub: id.parse().unwrap(),
        ..claims(&api)
    });
    let token = format!("Bearer {token}");
    for (method, path) in routes() {
        if PUBLIC.contains(&path.as_str()) || path == "/api/v1/auth/me" {
            continue;
        }
        let answer = api.raw(method.clone(), &path, Some(&token), "{}").await;
        assert_eq!(answer.status.as_u16(), 403, "{method} {path}: {}", answer.text);
    }
    let answer = api.raw(Method::GET, "/api/v1/auth/me", Some(&token), "").await;
    assert_eq!(answer.expect(200)["username"], name);
}

#[tokio::test]
async fn login_tells_right_from_wrong_and_notes_the_time() {
    let api = Api::new().await;
    let answer = api.login(&api.admin, PASSWORD).await.expect(200);
    assert_eq!(answer["user"]["username"], api.admin);
    assert!(answer["user"]["last_login_at"].is_string());
    assert!(!answer.to_string().contains("argon2"), "{answer}");
    let wrong = api.login(&api.admin, "Wrong-1x").await.error(401);
    let nobody = api.login("nobody", PASSWORD).await.error(401);
    assert_eq!(wrong, nobody, "it does not tell which accounts there are");
    let answer = api.raw(Method::POST, "/api/v1/auth/login", None, "{").await;
    answer.error(400);
    let answer = api
        .raw(Method::POST, "/api/v1/auth/login", None, r#"{"username": 1}"#)
        .await;
    answer.error(422);
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let api = Api::new().await;
    for _ in 0..5 {
        api.login(&api.admin, "Wrong-1x").await.error(401);
    }
    // On a slow machine the first waits may be over before the next attempt comes: they double.
    let mut answer = api.login(&api.admin, "Wrong-1x").await;
    for _ in 0..10 {
        if answer.status.as_u16() == 429 {
            break;
        }
        answer = api.login(&api.admin, "Wrong-1x").await;
    }
    answer.error(429);
    let answer = api.login(&api.admin, PASSWORD).await;
    assert!(answer.error(429).contains("try again"), "{}", answer.text);
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn tokens_end_with_the_right_that_they_stand_for() {
    let api = Api::new().await;
    let login = async |name: &str, password: &str| {
        let token = api.login(name, password).await.expect(200)["token"]
            .as_str()
            .unwrap()
            .to_owned();
        format!("Bearer {token}")
    };
    let me = async |token: &str| {
        api.raw(Method::GET, "/api/v1/users", Some(token), "")
            .await
            .status
            .as_u16()
    };
    for change in [json!({"is_admin": false}), json!({"is_active": false})] {
        let name = unique("second");
        let answer = api
            .post(
                "/users",
                json!({"username": name, "password": PASSWORD, "is_admin": true}),
            )
            .await;
        let path = format!("/users/{}", answer.id());
        let token = login(&name, PASSWORD).await;
        assert_eq!(me(&token).await, 200);
        api.put(&path, change).await.expect(200);
        assert_eq!(me(&token).await, 401);
        api.login(&name, PASSWORD).await.error(403);
        api.put(&path, json!({"is_admin": true, "is_active": true}))
            .await
            .expect(200);
        assert_eq!(me(&token).await, 401, "it stays revoked");
        let token = login(&name, PASSWORD).await;
        api.put(&format!("{path}/password"), json!({"password": "Another-1"}))
            .await
            .expect(204);
        assert_eq!(me(&token).await, 401);
        assert_eq!(me(&login(&name, "Another-1").await).await, 200);
        api.delete(&path).await.expect(204);
    }
}

#[tokio::test]
async fn every_answer_has_an_id_and_careful_headers() {
    let api = Api::new().await;
    let answer = api.raw(Method::GET, "/api/v1/nothing", None, "").await;
    let body = answer.expect(404);
    assert_eq!(answer.headers["x-request-id"], body["request_id"].as_str().unwrap());
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert_eq!(answer.headers["cache-control"], "no-store");
    api.raw(Method::PATCH, "/api/v1/users", None, "").await.error(405);
    let health = api.raw(Method::GET, "/api/v1/health", None, "").await.expect(200);
    assert_eq!(health["status"], "ok");
    assert_eq!(
        api.raw(Method::GET, "/ready", None, "").await.expect(200)["status"],
        "ready"
    );
    let large = format!(r#"{{"name": "{}"}}"#, "x".repeat(2 << 20));
    let token = format!("Bearer {}", api.token);
    api.raw(Method::POST, "/api/v1/roles", Some(&token), large)
        .await
        .error(422);
}
