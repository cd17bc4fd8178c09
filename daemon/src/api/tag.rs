//! Entity tags. What is replaced as a whole has no version in its body: `ETag` says which one was read, and with
//! `If-Match` it is replaced only if it is still that one.

use std::convert::Infallible;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use ring::digest;
use serde::Serialize;

use crate::error::{Error, Result};

/// The tag of what an answer shows.
fn tag(shown: &impl Serialize) -> String {
    let text = serde_json::to_vec(shown).expect("answers have a JSON form");
    let digest = digest::digest(&digest::SHA256, &text);
    let half: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{half}\"")
}

/// JSON with its tag.
pub struct Tagged<T>(pub T);

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let tag = HeaderValue::try_from(tag(&self.0)).expect("digits are good");
        ([(header::ETAG, tag)], Json(self.0)).into_response()
    }
}

/// What a client says that it read; `None` when it does not say.
#[derive(Debug, Clone, Default)]
pub struct IfMatch(Option<String>);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Self, Infallible> {
        let given = parts.headers.get(header::IF_MATCH);
        // What is no text matches nothing.
        Ok(IfMatch(
            given.map(|given| given.to_str().unwrap_or_default().to_owned()),
        ))
    }
}

impl IfMatch {
    /// Refuses a change of something else than what was read.
    pub fn check(&self, kind: &str, current: &impl Serialize) -> Result<()> {
        let Some(given) = &self.0 else {
            return Ok(());
        };
        let current = tag(current);
        let mut given = given.split(',').map(str::trim);
        // A proxy that compresses answers makes tags weak.
        match given.any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == current) {
            true => Ok(()),
            false => Err(Error::Conflict(format!(
                "the {kind} changed meanwhile: read it again and repeat the change"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_read_is_matched() {
        let is_match = |given: &str, current: &str| IfMatch(Some(given.to_owned())).check("list", &current).is_ok();
        let one = tag(&"one");
        assert!(IfMatch(None).check("list", &"one").is_ok());
        for good in [one.clone(), format!("W/{one}"), format!("\"x\", {one}"), "*".to_owned()] {
            assert!(is_match(&good, "one"), "{good}");
        }
        for bad in [one.as_str(), "", "\"\"", one.trim_matches('"')] {
            assert!(!is_match(bad, "two"), "{bad}");
        }
        assert!(!is_match(one.trim_matches('"'), "one"), "tags have quotes");
    }
}
