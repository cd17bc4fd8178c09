//! Bearer tokens: JSON Web Tokens with HMAC-SHA-256 and nothing else.
//!
//! Invariant: whatever the header of a token says, it is checked with HMAC-SHA-256 and our key, so `alg: none` or another
//! algorithm gains nothing. The header has to name our key (`kid`), which tells a foreign token from a forged one.
//! Whether the account may still do anything is judged from the store on each request, not from the token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{digest, hmac};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest token that is looked at.
const MAX_BYTES: usize = 2_048;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The account's id.
    pub sub: Uuid,
    /// The account's token generation: a higher one in the store revokes it.
    #[serde(rename = "gen")]
    pub generation: i32,
    /// When it was made, in seconds since 1970.
    pub iat: i64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

/// Why a token is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It is no token of ours.
    Invalid,
    /// Its time is over.
    Expired,
}

/// Makes and checks tokens with one key.
pub struct TokenKey {
    key: hmac::Key,
    kid: String,
}

impl TokenKey {
    /// With that secret.
    pub fn new(secret: &[u8]) -> Self {
        // The name of a key must not help to guess it: it is a hash of something else than the key itself.
        let name = digest::digest(&digest::SHA256, &[b"betweenrows token key name ", secret].concat());
        TokenKey {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            kid: URL_SAFE_NO_PAD.encode(&name.as_ref()[..9]),
        }
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Claims) -> String {
        let header = Header {
            alg: "HS256".to_owned(),
            typ: "JWT".to_owned(),
            kid: self.kid.clone(),
        };
        let body = format!("{}.{}", encode(&header), encode(claims));
        let signature = hmac::sign(&self.key, body.as_bytes());
        format!("{body}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The claims of a token that is good at `now` (seconds since 1970).
    pub fn verify(&self, token: &str, now: i64) -> Result<Claims, TokenError> {
        let invalid = TokenError::Invalid;
        if token.len() > MAX_BYTES {
            return Err(invalid);
        }
        let Some((body, signature)) = token.rsplit_once('.') else {
            return Err(invalid);
        };
        let Some((header, claims)) = body.split_once('.') else {
            return Err(invalid);
        };
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Invalid)?;
        hmac::verify(&self.key, body.as_bytes(), &signature).map_err(|_| TokenError::Invalid)?;
        let header: Header = decode(header)?;
        if header.alg != "HS256" || header.kid != self.kid {
            return Err(invalid);
        }
        let claims: Claims = decode(claims)?;
        if claims.exp <= now {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }
}

fn encode(value: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).expect("a token's parts have a JSON form"))
}

fn decode<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Invalid)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            sub: Uuid::from_u128(1),
            generation: 3,
            iat: 1_000,
            exp: 2_000,
        }
    }

    #[test]
    fn a_token_is_good_until_it_ends() {
        let key = TokenKey::new(&[1; 32]);
        let token = key.sign(&claims());
        assert_eq!(key.verify(&token, 1_999), Ok(claims()));
        assert_eq!(key.verify(&token, 2_000), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_of_another_key_is_refused() {
        let token = TokenKey::new(&[2; 32]).sign(&claims());
        assert_eq!(TokenKey::new(&[1; 32]).verify(&token, 1_500), Err(TokenError::Invalid));
    }

    /// The classic forgery: no algorithm, no signature.
    #[test]
    fn a_token_without_algorithm_is_refused() {
        let key = TokenKey::new(&[1; 32]);
        let header = serde_json::json!({"alg": "none", "typ": "JWT", "kid": key.kid});
        let body = format!("{}.{}", encode(&header), encode(&claims()));
        assert_eq!(key.verify(&format!("{body}."), 1_500), Err(TokenError::Invalid));
        assert_eq!(key.verify(&body, 1_500), Err(TokenError::Invalid));
        // Not even with a signature of ours.
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key.key, body.as_bytes()));
        assert_eq!(
            key.verify(&format!("{body}.{signature}"), 1_500),
            Err(TokenError::Invalid)
        );
    }

    #[test]
    fn a_changed_token_is_refused() {
        let key = TokenKey::new(&[1; 32]);
        let token = key.sign(&claims());
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(key.verify(&changed, 1_500), Err(TokenError::Invalid), "{index}");
        }
        for nonsense in ["", ".", "..", "a.b.c", &"a.".repeat(2_000)] {
            assert_eq!(key.verify(nonsense, 1_500), Err(TokenError::Invalid));
        }
    }
}
