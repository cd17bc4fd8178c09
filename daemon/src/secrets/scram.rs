//! SCRAM-SHA-256 verifiers, as PostgreSQL keeps them: a login role gets one instead of a password.
//!
//! PostgreSQL normalises passwords with SASLprep before hashing. For printable ASCII that changes nothing, and a password
//! that is anything else cannot be normalised here as PostgreSQL does it: it is refused where passwords are set.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};
use std::num::NonZeroU32;

/// PostgreSQL's own number of iterations (`scram_iterations`).
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("it is not zero");

/// `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey` for a password of printable ASCII.
pub fn verifier(password: &str) -> String {
    with_salt(password, &super::random::<16>())
}

fn with_salt(password: &str, salt: &[u8]) -> String {
    let mut salted = [0; digest::SHA256_OUTPUT_LEN];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        ITERATIONS,
        salt,
        password.as_bytes(),
        &mut salted,
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let client_key = hmac::sign(&key, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let server_key = hmac::sign(&key, b"Server Key");
    format!(
        "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored_key),
        STANDARD.encode(server_key)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3, whose proof was made with these keys.
    #[test]
    fn it_is_what_the_standard_computes() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        assert_eq!(
            with_salt("pencil", &salt),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
             $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }

    #[test]
    fn every_verifier_has_its_own_salt() {
        assert_ne!(verifier("pencil"), verifier("pencil"));
    }
}
