//! Logging in.

use std::sync::LazyLock;
use std::time::Instant;

use axum::extract::State;
use axum::{Extension, Json};
use chrono::Utc;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::auth::Account;
use super::context::ClientAddress;
use super::extract::Body;
use super::status::{ErrorBody, Guarded, Unreadable, Unusable};
use crate::error::{Error, Result};
use crate::secrets::password::{self, Verdict};
use crate::secrets::token::Claims;
use crate::store::users::{self, User};

/// Who logs in.
#[derive(Deserialize, ToSchema)]
pub struct Login {
    username: String,
    #[schema(format = Password)]
    password: String,
}

/// What a login gives.
#[derive(Serialize, ToSchema)]
pub struct LoggedIn {
    /// For the header `Authorization: Bearer …`.
    token: String,
    /// The account.
    user: User,
}

/// Compared with where there is no account, so that the answer takes as long as where there is one.
static NOBODYS_HASH: LazyLock<String> = LazyLock::new(|| password::hash("nobody has this password"));

/// Logs an administrator in
#[utoipa::path(post, path = "/auth/login", tag = "auth", request_body = Login, responses(
    (status = 200, description = "a token", body = LoggedIn),
    (status = 401, description = "wrong name or password", body = ErrorBody,
        headers(("www-authenticate" = String, description = "`Bearer`"))),
    (status = 403, description = "not an administrator, or inactive", body = ErrorBody),
    (status = 429, description = "too many failures", body = ErrorBody,
        headers(("retry-after" = u64, description = "seconds to wait"))),
    (status = 503, description = "the store cannot be reached", body = ErrorBody),
    Unreadable, Unusable
))]
pub async fn login(
    State(app): State<Shared>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    Body(login): Body<Login>,
) -> Result<Json<LoggedIn>> {
    app.limiter
        .attempt(&login.username, address, Instant::now())
        .map_err(Error::TooMany)?;
    let credentials = users::credentials(&mut *app.store.read().await?, &login.username).await?;
    let hash = credentials
        .as_ref()
        .and_then(|credentials| credentials.password_hash.clone());
    let known = hash.is_some();
    let given = login.password;
    let permit = app.hashing.clone().acquire_owned().await;
    let permit = permit.map_err(|error| Error::Internal(error.to_string()))?;
    let (verdict, new_hash) = tokio::task::spawn_blocking(move || {
        // Also when the client has gone away meanwhile.
        let _permit = permit;
        let verdict = password::verify(&given, hash.as_deref().unwrap_or(&NOBODYS_HASH));
        let new_hash = (verdict == Verdict::RightButOutdated).then(|| password::hash(&given));
        (verdict, new_hash)
    })
    .await
    .map_err(|error| Error::Internal(error.to_string()))?;
    let Some(credentials) = credentials.filter(|_| known && verdict != Verdict::Wrong) else {
        tracing::warn!(username = login.username, "login failed");
        return Err(Error::Unauthorized("wrong username or password".to_owned()));
    };
    app.limiter.succeeded(&login.username, address);
    let mut conn = app.store.read().await?;
    let user = users::find(&mut conn, credentials.id).await?;
    if !(user.is_admin && user.is_active) {
        return Err(Error::Forbidden(
            "the account is not an active administrator".to_owned(),
        ));
    }
    users::note_login(&mut conn, user.id, new_hash.as_deref()).await?;
    let now = Utc::now().timestamp();
    let token = app.tokens.sign(&Claims {
        sub: user.id,
        generation: credentials.token_generation,
        iat: now,
        exp: now.saturating_add_unsigned(app.token_lifetime.as_secs()),
    });
    let user = users::find(&mut conn, user.id).await?;
    Ok(Json(LoggedIn { token, user }))
}

/// The account whose token it is
#[utoipa::path(get, path = "/auth/me", tag = "auth",
    operation_id = "get_own_account", security(("token" = [])), responses(
    (status = 200, description = "the account", body = User),
    Guarded
))]
pub async fn me(Account(user): Account) -> Json<User> {
    Json(user)
}
