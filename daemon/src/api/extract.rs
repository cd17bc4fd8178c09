//! Reading requests: bodies, paths and queries whose problems are errors of ours.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::error::Error;
use crate::store::Window;

/// Longest wait for a JSON body.
const WAIT: Duration = Duration::from_secs(30);

/// A JSON body: not JSON is 400, JSON of another form 422.
pub struct Body<T>(pub T);

impl<T, S> FromRequest<S> for Body<T>
where
    Json<T>: FromRequest<S, Rejection = JsonRejection>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        match tokio::time::timeout(WAIT, Json::from_request(request, state)).await {
            Ok(read) => Ok(Body(read?.0)),
            Err(_) => Err(Error::BadRequest("the body did not come in time".to_owned())),
        }
    }
}

impl From<JsonRejection> for Error {
    fn from(rejection: JsonRejection) -> Self {
        match rejection {
            JsonRejection::JsonDataError(error) => Error::invalid(without_prefix(&error.body_text())),
            other if other.status() == StatusCode::PAYLOAD_TOO_LARGE => Error::invalid("the body is too large"),
            other => Error::BadRequest(other.body_text()),
        }
    }
}

/// axum's introduction speaks of Rust's types.
fn without_prefix(text: &str) -> String {
    let prefix = "Failed to deserialize the JSON body into the target type: ";
    text.strip_prefix(prefix).unwrap_or(text).to_owned()
}

/// A body of any form.
pub struct Text(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        Ok(Text(Bytes::from_request(request, state).await?))
    }
}

impl From<BytesRejection> for Error {
    fn from(rejection: BytesRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Error::invalid("the body is too large"),
            _ => Error::BadRequest(rejection.body_text()),
        }
    }
}

/// Ids in the path. What is no id names nothing.
#[derive(FromRequestParts)]
#[from_request(via(Path), rejection(Error))]
pub struct Ids<T>(pub T);

impl From<PathRejection> for Error {
    fn from(_: PathRejection) -> Self {
        Error::NotFound("object of that id")
    }
}

/// The query of the address.
#[derive(FromRequestParts)]
#[from_request(via(Query), rejection(Error))]
pub struct Parameters<T>(pub T);

impl From<QueryRejection> for Error {
    fn from(rejection: QueryRejection) -> Self {
        Error::BadRequest(rejection.body_text())
    }
}

/// Which part of a list is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// From 1; what is less is taken for it.
    #[serde(default = "first")]
    #[param(default = 1)]
    page: i64,
    /// 1 to 100; what is less or more is taken for that.
    #[serde(default = "twenty")]
    #[param(default = 20)]
    page_size: i64,
    /// Part of a name, in upper or lower case.
    #[serde(default)]
    pub search: String,
}

pub(super) fn first() -> i64 {
    1
}

pub(super) fn twenty() -> i64 {
    20
}

impl PageQuery {
    /// The rows of the page.
    pub fn window(&self) -> Window {
        window(self.page, self.page_size, 100).0
    }

    /// The page as an answer.
    pub fn listing<T>(&self, (data, total): (Vec<T>, i64)) -> axum::Json<Listing<T>> {
        listing(self.page, self.page_size, 100, data, total)
    }
}

/// The rows of a page, and the page and size that are really meant.
pub fn window(page: i64, page_size: i64, most: i64) -> (Window, i64, i64) {
    let limit = page_size.clamp(1, most);
    // PostgreSQL takes offsets up to 2^63 - 1.
    let page = page.clamp(1, i64::MAX / 1_000);
    let window = Window {
        offset: (page - 1) * limit,
        limit,
    };
    (window, page, limit)
}

/// A page as an answer.
pub fn listing<T>(page: i64, page_size: i64, most: i64, data: Vec<T>, total: i64) -> axum::Json<Listing<T>> {
    let (_, page, page_size) = window(page, page_size, most);
    axum::Json(Listing {
        data,
        total,
        page,
        page_size,
    })
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Listing<T> {
    /// Its rows.
    data: Vec<T>,
    /// How many rows all pages have.
    total: i64,
    /// From 1.
    page: i64,
    /// At most so many rows are on a page.
    page_size: i64,
}

/// A data source to narrow something down to.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OfDataSource {
    /// The data source.
    pub datasource_id: Uuid,
}

/// Tells a key that is absent (`None`) from one that is null (`Some(None)`).
pub fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The answer for a path that is none.
pub async fn no_such_route() -> Response {
    Error::NotFound("route").into_response()
}

/// The answer for a method that a path does not have.
pub async fn no_such_method() -> Response {
    let mut response = Error::BadRequest("the route does not have this method".to_owned()).into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_stay_in_bounds() {
        for (page, size, offset, limit) in [(1, 20, 0, 20), (3, 20, 40, 20), (0, 0, 0, 1), (-5, 1_000, 0, 100)] {
            let (window, ..) = window(page, size, 100);
            assert_eq!((window.offset, window.limit), (offset, limit), "{page}, {size}");
        }
        assert!(window(i64::MAX, i64::MAX, 200).0.offset > 0);
    }
}
