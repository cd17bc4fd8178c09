//! Slows down guessing of passwords: per account and per address, with waits that double.
//!
//! An account is made to wait from its fifth failure in a row, an address from its twentieth, so that people behind one
//! address do not lock each other out. Waiting locks nobody out for good: it ends after at most five minutes. What is
//! known is kept in memory, by each daemon for itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const FREE_FOR_ACCOUNT: u32 = 4;
const FREE_FOR_ADDRESS: u32 = 19;
const LONGEST: Duration = Duration::from_secs(300);
/// After so long without an attempt the failures are forgotten.
const MEMORY: Duration = Duration::from_secs(3_600);
/// Most entries. Beyond, the oldest are forgotten: an attacker cannot fill the memory with invented names.
const MOST: usize = 20_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Account(String),
    Address(IpAddr),
}

#[derive(Debug)]
struct Entry {
    failures: u32,
    last: Instant,
    wait_until: Instant,
}

/// What is known of failed logins.
#[derive(Debug, Default)]
pub struct Limiter {
    entries: Mutex<HashMap<Key, Entry>>,
}

impl Limiter {
    /// Takes an attempt into account before it is looked at, as if it failed: attempts at the same time cannot slip
    /// through. If it has to wait, that is for so many seconds.
    pub fn attempt(&self, account: &str, address: Option<IpAddr>, now: Instant) -> Result<(), u64> {
        let mut entries = self.entries.lock().expect("no holder panics");
        let keys = keys(account, address);
        let wait = keys
            .iter()
            .filter_map(|key| entries.get(key))
            .map(|entry| entry.wait_until.saturating_duration_since(now))
            .max()
            .unwrap_or_default();
        if !wait.is_zero() {
            return Err(wait.as_secs() + 1);
        }
        if entries.len() >= MOST {
            forget(&mut entries, now);
        }
        for key in keys {
            let free = match key {
                Key::Account(_) => FREE_FOR_ACCOUNT,
                Key::Address(_) => FREE_FOR_ADDRESS,
            };
            let entry = entries.entry(key).or_insert(Entry {
                failures: 0,
                last: now,
                wait_until: now,
            });
            if now.saturating_duration_since(entry.last) > MEMORY {
                entry.failures = 0;
            }
            entry.failures = entry.failures.saturating_add(1);
            entry.last = now;
            if entry.failures > free {
                let doublings = (entry.failures - free - 1).min(16);
                entry.wait_until = now + LONGEST.min(Duration::from_secs(1 << doublings));
            }
        }
        Ok(())
    }

    /// The attempt was the right password. The address keeps its other failures.
    pub fn succeeded(&self, account: &str, address: Option<IpAddr>) {
        let mut entries = self.entries.lock().expect("no holder panics");
        for key in keys(account, address) {
            match key {
                Key::Account(_) => drop(entries.remove(&key)),
                Key::Address(_) => {
                    if let Some(entry) = entries.get_mut(&key) {
                        entry.failures = entry.failures.saturating_sub(1);
                        entry.wait_until = entry.last;
                    }
                }
            }
        }
    }
}

fn keys(account: &str, address: Option<IpAddr>) -> Vec<Key> {
    // The name of an account is short; whatever else was sent is not kept.
    let account = account.chars().take(64).collect();
    let network = address.map(|address| match address {
        // One customer has a whole /64.
        IpAddr::V6(v6) => IpAddr::from((u128::from(v6) >> 64 << 64).to_be_bytes()),
        v4 => v4,
    });
    std::iter::once(Key::Account(account))
        .chain(network.map(Key::Address))
        .collect()
}

fn forget(entries: &mut HashMap<Key, Entry>, now: Instant) {
    entries.retain(|_, entry| now.saturating_duration_since(entry.last) <= MEMORY);
    if entries.len() >= MOST {
        let mut times: Vec<Instant> = entries.values().map(|entry| entry.last).collect();
        times.sort_unstable();
        let middle = times[times.len() / 2];
        entries.retain(|_, entry| entry.last > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    #[test]
    fn an_account_waits_longer_and_longer() {
        let limiter = Limiter::default();
        let mut now = Instant::now();
        for _ in 0..5 {
            assert_eq!(limiter.attempt("alice", None, now), Ok(()));
        }
        let mut waits = Vec::new();
        for _ in 0..12 {
            let wait = limiter.attempt("alice", None, now).unwrap_err();
            waits.push(wait - 1);
            now += Duration::from_secs(wait);
            assert_eq!(limiter.attempt("alice", None, now), Ok(()));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(limiter.attempt("bob", None, now), Ok(()));
        now += MEMORY + Duration::from_secs(1);
        for _ in 0..5 {
            assert_eq!(
                limiter.attempt("alice", None, now),
                Ok(()),
                "it is forgotten after an hour"
            );
        }
    }

    #[test]
    fn an_address_waits_whatever_names_it_tries() {
        let limiter = Limiter::default();
        let now = Instant::now();
        for index in 0..20 {
            assert_eq!(limiter.attempt(&format!("user{index}"), ADDRESS, now), Ok(()));
        }
        assert!(limiter.attempt("another", ADDRESS, now).is_err());
        assert_eq!(
            limiter.attempt("another", Some("10.0.0.9".parse().unwrap()), now),
            Ok(())
        );
    }

    #[test]
    fn the_right_password_ends_the_waiting() {
        let limiter = Limiter::default();
        let now = Instant::now();
        for _ in 0..100 {
            assert_eq!(limiter.attempt("alice", ADDRESS, now), Ok(()));
            limiter.succeeded("alice", ADDRESS);
        }
    }

    #[test]
    fn invented_names_do_not_fill_the_memory() {
        let limiter = Limiter::default();
        let now = Instant::now();
        for index in 0..3 * MOST {
            let _ = limiter.attempt(&format!("user{index}"), None, now + Duration::from_millis(index as u64));
        }
        assert!(limiter.entries.lock().unwrap().len() <= MOST);
    }
}
