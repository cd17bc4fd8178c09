//! The audit of statements: what is recorded for whom, and what is in the spool.

use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::SetOfIterator;
use pgrx::{JsonB, pg_sys, prelude::*};
use serde_json::json;

use super::{args, audit, errors, settings, sql};
use crate::audit::overrides::{Overrides, Whose};
use crate::audit::settings::Level;
use crate::audit::spool::directory;
use crate::audit::{shared, spool, worker};

const KEY: &str = "audit";

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn set_audit(level: Option<&str>, policy: Option<&str>, to_user: Option<&str>, to_role: Option<&str>) {
    let level = level.map(|level| {
        serde_json::from_value::<Level>(json!(level)).unwrap_or_else(|_| {
            errors::invalid_argument(
                "level",
                format!("There is no level \"{level}\"."),
                "Use off, denied, all or null.",
            )
        })
    });
    let (whose, name) = match (policy, to_user, to_role) {
        (Some(policy), None, None) => {
            let name = args::object_name("policy", Some(policy));
            expect(
                "policy",
                name,
                "select to_jsonb(1) from betweenrows.policies where name = $1",
                level,
            );
            (Whose::Policy, name)
        }
        (None, Some(user), None) => (Whose::User, args::username("to_user", Some(user))),
        (None, None, Some(role)) => {
            let name = args::object_name("to_role", Some(role));
            expect(
                "role",
                name,
                "select to_jsonb(1) from betweenrows.roles where name = $1",
                level,
            );
            (Whose::Role, name)
        }
        _ => errors::conflicting_arguments(
            "exactly one of policy, to_user and to_role must be given",
            "For everybody there is the setting betweenrows.audit.",
        ),
    };
    change_exceptions(name, |overrides| {
        let exceptions = overrides.of(whose);
        match level {
            Some(level) => exceptions.insert(name.to_owned(), level),
            None => exceptions.remove(name),
        };
    });
}

/// The exception ends with what it was made for: something else that gets its name was not meant.
pub(crate) fn end_exception(whose: Whose, name: &str) {
    if settings::is_stored(KEY) {
        change_exceptions(name, |overrides| {
            overrides.of(whose).remove(name);
        });
    }
}

/// A role of PostgreSQL has another name, and with it the user or role of that name.
pub(crate) fn rename_exceptions(old: &str, new: &str) {
    if settings::is_stored(KEY) {
        change_exceptions(new, |overrides| {
            for whose in [Whose::User, Whose::Role] {
                if let Some(level) = overrides.of(whose).remove(old) {
                    overrides.of(whose).insert(new.to_owned(), level);
                }
            }
        });
    }
}

fn change_exceptions(name: &str, change: impl FnOnce(&mut Overrides)) {
    let stored = settings::lock(KEY);
    let before: Overrides = stored.clone().map(sql::read).unwrap_or_default();
    let mut overrides = before.clone();
    change(&mut overrides);
    if overrides != before {
        let after = serde_json::to_value(&overrides).unwrap_or_default();
        settings::write(KEY, Some(&after));
        audit::record("alter", "audit", name, &stored.unwrap_or_default(), &after);
    }
}

/// An exception can only be made for what there is, and ended for what was.
fn expect(kind: &str, name: &str, query: &str, level: Option<Level>) {
    if level.is_some() && sql::row(query, &[name.into()]).is_none() {
        errors::undefined(kind, name, "Names are case-sensitive.");
    }
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn audit_flush(timeout_ms: Option<i32>) -> bool {
    let timeout = Duration::from_millis(args::required("timeout_ms", timeout_ms).max(0) as u64);
    if spool::timeline().0 {
        errors::wrong_server(
            "cannot move audit events on a standby",
            "There betweenrows.spooled_audit() returns them.",
        );
    }
    let Some((_, place)) = shared::mine() else { return false };
    // After a promotion everything counts that is there.
    let older = directory::bytes_of_earlier_epochs(place.database.load(Relaxed), shared::epoch());
    place.older.store(older, Relaxed);
    let target = place.written.load(Acquire);
    let rounds = place.rounds.load(Acquire);
    let since = Instant::now();
    loop {
        // A round that began before the last event may have missed it.
        let done = place.moved.load(Acquire) >= target
            && place.older.load(Acquire) == 0
            && (place.written.load(Acquire) == 0 || place.rounds.load(Acquire) > rounds || place.backlog() == 0);
        if done {
            return true;
        }
        if since.elapsed() >= timeout {
            return false;
        }
        place.wanted.store(true, Relaxed);
        shared::wake(place);
        // SAFETY: waits on the process's own latch as PostgreSQL does.
        unsafe {
            let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
            pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, 10, pg_sys::PG_WAIT_EXTENSION);
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
        check_for_interrupts!();
    }
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn spooled_audit() -> SetOfIterator<'static, JsonB> {
    let place = shared::mine().map(|(_, place)| place);
    SetOfIterator::new(place.into_iter().flat_map(worker::spooled).map(JsonB))
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn discard_spooled_audit(before: Option<TimestampWithTimeZone>) -> i32 {
    let before = args::required("before", before);
    if !spool::timeline().0 {
        errors::wrong_server(
            "cannot discard events on a primary server",
            "There they are moved into betweenrows.query_audit.",
        );
    }
    let before = pg_sys::TimestampTz::from(before);
    shared::mine().map_or(0, |(index, place)| {
        worker::discard(index, place, crate::audit::who::unix(before))
    })
}
