//! Errors as answers: `{"error": "text", "details": […], "request_id": "…"}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use super::context;
use crate::error::Error;

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// For people.
    error: String,
    /// The problems one by one, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<String>,
    /// To be found in the daemon's log.
    #[schema(required)]
    request_id: Option<String>,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = match &self {
            Error::BadRequest(_) => StatusCode::BAD_REQUEST,
            Error::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::Conflict(_) => StatusCode::CONFLICT,
            Error::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Error::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Error::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let body = ErrorBody {
            error: match &self {
                Error::Internal(text) => {
                    tracing::error!(error = text, "internal error");
                    "internal error; the daemon's log has it under the request's id".to_owned()
                }
                shown => shown.to_string(),
            },
            details: match &self {
                Error::Invalid(problems) if problems.len() > 1 => problems.clone(),
                _ => Vec::new(),
            },
            request_id: context::request_id(),
        };
        let mut response = (status, Json(body)).into_response();
        match self {
            Error::Unauthorized(_) => {
                let scheme = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            }
            Error::TooMany(seconds) => {
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            _ => {}
        }
        response
    }
}

/// What every route for administrators may answer.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "it is only described")]
pub enum Guarded {
    /// There is no token, or it is not good.
    #[response(status = 401, headers(("www-authenticate" = String, description = "`Bearer`")))]
    Unauthorized(ErrorBody),
    /// The account is no administrator, or inactive.
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// The store, or the data source that it is about, cannot be reached.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// Routes about one object.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "it is only described")]
pub enum Absent {
    /// There is no such object.
    #[response(status = 404)]
    NotFound(ErrorBody),
}

/// Routes with a query or a body.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "it is only described")]
pub enum Unreadable {
    /// The request cannot be read, or its ids contradict each other.
    #[response(status = 400)]
    BadRequest(ErrorBody),
}

/// Routes with content of some form.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "it is only described")]
pub enum Unusable {
    /// The content cannot be used.
    #[response(status = 422)]
    Invalid(ErrorBody),
}

/// Routes that change something others may use or change.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "it is only described")]
pub enum Conflicting {
    /// The name is taken, something uses the object, or it changed meanwhile.
    #[response(status = 409)]
    Conflict(ErrorBody),
}
