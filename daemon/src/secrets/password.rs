//! Passwords of accounts: what is asked of them, and argon2id hashes.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::error::{Error, Result};

/// OWASP's second choice (19 MiB, two passes, one lane), which is also the crate's default: fixed here, so that hashes
/// change when we mean it.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// At most; more would only serve to keep the server busy.
const MAX_BYTES: usize = 128;

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are in range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Whether a text can be a password: 8 to 128 printable ASCII characters with an upper-case and a lower-case letter, a
/// digit and something else.
pub fn check(password: &str) -> Result<()> {
    let has = |what: fn(&u8) -> bool| password.as_bytes().iter().any(what);
    let mut problems = Vec::new();
    if password.len() < 8 || password.len() > MAX_BYTES {
        problems.push(format!("password: must have 8 to {MAX_BYTES} characters"));
    }
    if !password.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        problems.push("password: must consist of printable ASCII characters".to_owned());
    }
    if !(has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit)) {
        problems.push("password: must have an upper-case letter, a lower-case letter and a digit".to_owned());
    }
    if !has(|byte| !byte.is_ascii_alphanumeric()) {
        problems.push("password: must have a special character".to_owned());
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(problems))
    }
}

/// The hash of a password; takes some 20 ms of a core.
pub fn hash(password: &str) -> String {
    argon2()
        .hash_password(password.as_bytes())
        .expect("hashing a password of that length works")
        .to_string()
}

/// What comes of comparing a password with a hash.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is another password.
    Wrong,
    /// It is the password.
    Right,
    /// It is the password, and the hash should be made anew with today's parameters.
    RightButOutdated,
}

/// Compares. A hash that cannot be read matches nothing.
pub fn verify(password: &str, hash: &str) -> Verdict {
    let Ok(hash) = PasswordHash::new(hash) else {
        return Verdict::Wrong;
    };
    if password.len() > MAX_BYTES || argon2().verify_password(password.as_bytes(), &hash).is_err() {
        return Verdict::Wrong;
    }
    let current = Params::try_from(&hash).is_ok_and(|params| {
        params.m_cost() >= MEMORY_KIB && params.t_cost() >= PASSES && hash.algorithm.as_str() == "argon2id"
    });
    if current {
        Verdict::Right
    } else {
        Verdict::RightButOutdated
    }
}

/// A password for an administrator who gave none: 24 characters that [`check`] accepts.
pub fn generate() -> String {
    use base64::Engine;
    let random = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(super::random::<15>());
    format!("{random}-aA1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_password_needs() {
        assert!(check("Secret1!").is_ok());
        for bad in [
            "",
            "Sec1!",
            "secret1!",
            "SECRET1!",
            "Secrets!",
            "Secrets1",
            "Sécret1!",
            "Secret1!\n",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert!(check(&format!("Secret1!{}", "a".repeat(121))).is_err());
    }

    #[test]
    fn a_hash_knows_its_password() {
        let hash = hash("Secret1!");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_eq!(verify("Secret1!", &hash), Verdict::Right);
        assert_eq!(verify("Secret2!", &hash), Verdict::Wrong);
        assert_eq!(verify("Secret1!", "nonsense"), Verdict::Wrong);
    }

    #[test]
    fn a_hash_with_older_parameters_is_outdated() {
        let weaker = Argon2::new(
            Algorithm::Argon2id,
            Version::V0x13,
            Params::new(8192, 1, 1, None).unwrap(),
        );
        let hash = weaker.hash_password(b"Secret1!").unwrap().to_string();
        assert_eq!(verify("Secret1!", &hash), Verdict::RightButOutdated);
        assert_eq!(verify("Secret2!", &hash), Verdict::Wrong);
    }

    #[test]
    fn generated_passwords_are_good_ones() {
        for _ in 0..20 {
            assert!(check(&generate()).is_ok());
        }
        assert_ne!(generate(), generate());
    }
}
