//! Everything that has to stay secret: keys, sealed values, passwords and tokens.
//!
//! Invariant: none of these types prints its secret, and no error of this module carries one.

pub mod keys;
pub mod password;
pub mod scram;
pub mod seal;
pub mod token;

use ring::rand::{SecureRandom, SystemRandom};

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the operating system has randomness");
    bytes
}
