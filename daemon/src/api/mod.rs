//! REST v1. One file a noun; `docs/rest-reference.md` describes it, `/api/v1/openapi.json` exactly.
//!
//! Invariant: every route asks for an administrator, by taking an [`auth::Admin`], except login, `/auth/me` (any account)
//! and the routes of `health`. A test goes through all of them without and with the wrong token.

mod access;
mod accounts;
mod assignments;
mod attributes;
mod audit;
pub mod auth;
mod context;
mod data_sources;
mod decision_functions;
mod description;
mod discovery;
mod document;
mod extract;
mod grants;
mod health;
mod limiter;
pub mod metrics;
mod policies;
mod roles;
mod status;
mod sync;
pub mod tag;
mod users;
mod versions;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::routing::get;
use axum::{Json, Router, middleware};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::description::BearerToken;
use crate::discovery::Runner;
use crate::secrets::token::TokenKey;
use crate::store::Store;
use crate::sync::target::MOST_QUESTIONS;

/// Largest body of a request in bytes, except of documents.
const MAX_BODY: usize = 1 << 20;
/// Largest document in bytes.
const MAX_DOCUMENT: usize = 16 << 20;
/// Most passwords that are compared at the same time.
const MOST_HASHES: usize = 4;

/// What handlers share.
pub struct App {
    /// The store.
    pub store: Arc<Store>,
    /// Makes and checks tokens.
    pub tokens: TokenKey,
    /// How long a token is good.
    pub token_lifetime: Duration,
    /// How long the answer to a change waits for the sync.
    pub sync_wait: Duration,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Bounds the questions that are put to databases at the same time.
    permits: Arc<Semaphore>,
    /// Runs discovery jobs.
    pub discovery: Runner,
    /// Slows down guessing of passwords.
    limiter: limiter::Limiter,
    /// Bounds the passwords that are compared at the same time: each takes 19 MiB, and anybody may send one.
    hashing: Arc<Semaphore>,
    /// What `/metrics` shows.
    metrics: metrics::Metrics,
}

/// What every handler gets.
pub(crate) type Shared = Arc<App>;

impl App {
    /// With these settings.
    pub fn new(
        store: Arc<Store>,
        tokens: TokenKey,
        token_lifetime: Duration,
        sync_wait: Duration,
        trusted_proxies: Vec<IpAddr>,
    ) -> Self {
        App {
            store,
            tokens,
            token_lifetime,
            sync_wait,
            trusted_proxies,
            permits: Arc::new(Semaphore::new(MOST_QUESTIONS)),
            discovery: Runner::default(),
            limiter: limiter::Limiter::default(),
            hashing: Arc::new(Semaphore::new(MOST_HASHES)),
            metrics: metrics::Metrics::default(),
        }
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "betweenrowsd",
        description = "The control daemon of betweenrows: who may see which rows and columns of which PostgreSQL databases."
    ),
    modifiers(&BearerToken)
)]
struct Description;

/// The routes with their description.
fn routes() -> (Router<Shared>, utoipa::openapi::OpenApi) {
    let v1 = OpenApiRouter::new()
        .routes(routes!(accounts::login))
        .routes(routes!(accounts::me))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::get, users::update, users::delete))
        .routes(routes!(users::set_password))
        .routes(routes!(users::effective_policies))
        .routes(routes!(access::effective))
        .routes(routes!(roles::list, roles::create))
        .routes(routes!(roles::get, roles::update, roles::delete))
        .routes(routes!(roles::effective_members))
        .routes(routes!(roles::impact))
        .routes(routes!(roles::add_members))
        .routes(routes!(roles::remove_member))
        .routes(routes!(roles::add_parent))
        .routes(routes!(roles::remove_parent))
        .routes(routes!(attributes::list, attributes::create))
        .routes(routes!(attributes::get, attributes::update, attributes::delete))
        .routes(routes!(decision_functions::list, decision_functions::create))
        .routes(routes!(decision_functions::test))
        .routes(routes!(
            decision_functions::get,
            decision_functions::update,
            decision_functions::delete
        ))
        .routes(routes!(policies::list, policies::create))
        .routes(routes!(policies::get, policies::update, policies::delete))
        .routes(routes!(policies::validate_expression))
        .routes(routes!(access::preview))
        .routes(routes!(document::export))
        .routes(routes!(versions::list))
        .routes(routes!(versions::get))
        .routes(routes!(versions::diff))
        .routes(routes!(versions::roll_back))
        .routes(routes!(data_sources::types))
        .routes(routes!(data_sources::list, data_sources::create))
        .routes(routes!(data_sources::get, data_sources::update, data_sources::delete))
        .routes(routes!(data_sources::test))
        .routes(routes!(grants::users, grants::set_users))
        .routes(routes!(grants::roles, grants::set_roles))
        .routes(routes!(assignments::list, assignments::create))
        .routes(routes!(assignments::delete))
        .routes(routes!(discovery::get, discovery::cancel))
        .routes(routes!(discovery::events))
        .routes(routes!(discovery::catalog))
        .routes(routes!(sync::list))
        .routes(routes!(sync::get, sync::request))
        .routes(routes!(audit::admin))
        .routes(routes!(audit::queries))
        .routes(routes!(health::health_v1))
        .layer(DefaultBodyLimit::max(MAX_BODY));
    let documents = OpenApiRouter::new()
        .routes(routes!(document::import))
        .routes(routes!(discovery::start))
        .layer(DefaultBodyLimit::max(MAX_DOCUMENT));
    let (router, mut description) = OpenApiRouter::with_openapi(Description::openapi())
        .nest("/api/v1", v1.merge(documents))
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .split_for_parts();
    description::add_headers(&mut description);
    (router, description)
}

/// The description of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().1
}

/// The service. `origins` are those of browsers that may call it from other sites.
pub fn router(app: Shared, origins: &[HeaderValue]) -> Router {
    let (router, description) = routes();
    let router = router
        .route("/api/v1/openapi.json", get(move || async move { Json(description) }))
        .fallback(extract::no_such_route)
        .method_not_allowed_fallback(extract::no_such_method)
        .layer(middleware::from_fn_with_state(app.clone(), sync::tell_state))
        .layer(CatchPanicLayer::custom(context::panicked));
    let router = if origins.is_empty() {
        router
    } else {
        router.layer(cors(origins))
    };
    router
        .layer(middleware::from_fn_with_state(app.clone(), context::context))
        .with_state(app)
}

fn cors(origins: &[HeaderValue]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins.to_vec())
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_MATCH])
        .expose_headers([
            header::ETAG,
            HeaderName::from_static(context::REQUEST_ID),
            HeaderName::from_static(sync::HEADER),
        ])
}
