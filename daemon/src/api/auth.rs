//! Who calls.

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use chrono::Utc;

use super::{Shared, context};
use crate::error::{Error, Result};
use crate::secrets::token::{Claims, TokenError};
use crate::store::Actor;
use crate::store::users::{self, User};

/// An account with a good token.
pub struct Account(pub User);

/// An active administrator with a good token, on whose behalf something may change.
pub struct Admin(pub Actor);

impl FromRequestParts<Shared> for Account {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self> {
        let unauthorized = |text: &str| Error::Unauthorized(text.to_owned());
        let header = parts
            .headers
            .get(header::AUTHORIZATION)
            .ok_or_else(|| unauthorized("a token is required: Authorization: Bearer …"))?;
        let token = header
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| unauthorized("the Authorization header has no bearer token"))?;
        let claims = app
            .tokens
            .verify(token, Utc::now().timestamp())
            .map_err(|error| match error {
                TokenError::Expired => unauthorized("the token has expired, log in again"),
                TokenError::Invalid => unauthorized("the token is not good, log in again"),
            })?;
        account(app, &claims).await.map(Account)
    }
}

/// The account of a token, as it is now.
async fn account(app: &Shared, claims: &Claims) -> Result<User> {
    let mut conn = app.store.read().await?;
    match users::token_generation(&mut conn, claims.sub).await? {
        Some(generation) if generation == claims.generation => {}
        _ => return Err(Error::Unauthorized("the token was revoked, log in again".to_owned())),
    }
    let user = users::find(&mut conn, claims.sub).await?;
    if !user.is_active {
        return Err(Error::Forbidden("the account is inactive".to_owned()));
    }
    Ok(user)
}

impl FromRequestParts<Shared> for Admin {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self> {
        let Account(user) = Account::from_request_parts(parts, app).await?;
        if !user.is_admin {
            return Err(Error::Forbidden("the account is not an administrator".to_owned()));
        }
        let address = parts.extensions.get::<context::ClientAddress>();
        Ok(Admin(Actor {
            id: Some(user.id),
            name: user.username,
            address: address.and_then(|address| Some(address.0?.to_string())),
            request_id: context::request_id(),
        }))
    }
}
