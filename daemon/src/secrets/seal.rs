//! Sealing of secrets in the store with AES-256-GCM.
//!
//! Invariants: a sealed value opens only in the row and column that it was sealed for, so that moving one in the store
//! gains nothing; every sealing has a fresh random nonce. Layout: version (1 byte), nonce (12), ciphertext with tag.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use uuid::Uuid;

use crate::error::{Error, Result};

const VERSION: u8 = 1;

/// Seals and opens secrets with one key.
pub struct Sealer(LessSafeKey);

impl Sealer {
    /// With that key.
    pub fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("the key has 32 bytes");
        Sealer(LessSafeKey::new(key))
    }

    /// Seals a secret of the row `id`; `place` is table and column, e.g. `data_sources.password`.
    pub fn seal(&self, place: &str, id: Uuid, secret: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = super::random();
        let mut text = secret.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), context(place, id), &mut text)
            .expect("a secret is shorter than AES-GCM's limit");
        let mut sealed = vec![VERSION];
        sealed.extend_from_slice(&nonce);
        sealed.extend(text);
        sealed
    }

    /// Opens what [`Sealer::seal`] made for the same place and row.
    pub fn open(&self, place: &str, id: Uuid, sealed: &[u8]) -> Result<Vec<u8>> {
        let unusable = || {
            Error::Internal(format!(
                "a secret in {place} of {id} cannot be opened: it was sealed with another BR_ENCRYPTION_KEY or is damaged"
            ))
        };
        let (version, rest) = sealed.split_first().ok_or_else(unusable)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(unusable)?;
        if *version != VERSION {
            return Err(unusable());
        }
        let mut text = text.to_vec();
        let opened = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(*nonce), context(place, id), &mut text)
            .map_err(|_| unusable())?;
        Ok(opened.to_vec())
    }
}

fn context(place: &str, id: Uuid) -> Aad<Vec<u8>> {
    Aad::from([place.as_bytes(), &[0], id.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_only_where_it_was_sealed() {
        let sealer = Sealer::new(&[7; 32]);
        let (id, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let sealed = sealer.seal("data_sources.password", id, b"s3cret");
        assert!(!sealed.windows(6).any(|window| window == b"s3cret"));
        assert_eq!(sealer.open("data_sources.password", id, &sealed).unwrap(), b"s3cret");
        assert!(sealer.open("data_sources.password", other, &sealed).is_err());
        assert!(sealer.open("users.login_verifier", id, &sealed).is_err());
        assert!(
            Sealer::new(&[8; 32])
                .open("data_sources.password", id, &sealed)
                .is_err()
        );
    }

    #[test]
    fn a_damaged_secret_is_refused() {
        let sealer = Sealer::new(&[7; 32]);
        let id = Uuid::from_u128(1);
        let sealed = sealer.seal("place", id, b"s3cret");
        for index in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[index] ^= 1;
            assert!(sealer.open("place", id, &damaged).is_err(), "byte {index}");
        }
        assert!(sealer.open("place", id, &[]).is_err());
        assert!(sealer.open("place", id, &sealed[..10]).is_err());
    }

    #[test]
    fn the_same_secret_never_looks_the_same() {
        let sealer = Sealer::new(&[7; 32]);
        let seal = || sealer.seal("place", Uuid::from_u128(1), b"s3cret");
        assert_ne!(seal(), seal());
    }
}
