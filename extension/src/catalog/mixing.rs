//! A hash of OIDs and digests, for the tables that every statement looks things up in. Nobody can choose these numbers so that
//! they meet in one place, which is what the standard library's hash takes its time to rule out.

use std::hash::{BuildHasherDefault, Hasher};

/// What makes such hashes.
pub(crate) type Mixed = BuildHasherDefault<Mixing>;

/// The hash of what has been seen so far.
#[derive(Default)]
pub(crate) struct Mixing(u64);

impl Hasher for Mixing {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio, as Knuth proposes; what the product has in its high bits is wanted in the low ones too.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
