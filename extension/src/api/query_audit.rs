//! The audit of statements: what is recorded for whom, and what is in the spool.

use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::SetOfIterator;
use pgrx::{JsonB, pg_sys, prelude::*};
use serde_json::json;

use super::{args, audit, errors, sql};
use crate::audit::overrides::Overrides;
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
    let stored = sql::row(
        "select s.value from betweenrows.settings s where s.key = $1 for update",
        &[KEY.into()],
    );
    let before = stored.clone().unwrap_or_default();
    let mut overrides: Overrides = stored.map(sql::read).unwrap_or_default();
    let (map, name) = match (policy, to_user, to_role) {
        (Some(policy), None, None) => {
            let name = args::object_name("policy", Some(policy));
            expect(
                "policy",
                name,
                "select to_jsonb(1) from betweenrows.policies where name = $1",
                level,
            );
            (&mut overrides.policies, name)
        }
        (None, Some(user), None) => (&mut overrides.users, args::username("to_user", Some(user))),
        (None, None, Some(role)) => {
            let name = args::object_name("to_role", Some(role));
            expect(
                "role",
                name,
                "select to_jsonb(1) from betweenrows.roles where name = $1",
                level,
            );
            (&mut overrides.roles, name)
        }
        _ => errors::conflicting_arguments(
            "exactly one of policy, to_user and to_role must be given",
            "For everybody there is the setting betweenrows.audit.",
        ),
    };
    match level {
        Some(level) => map.insert(name.to_owned(), level),
        None => map.remove(name),
    };
    let after = serde_json::to_value(&overrides).unwrap_or_default();
    if after == before {
        return;
    }
    sql::run(
        "insert into betweenrows.settings as s (key, value) values ($1, $2)
         on conflict (key) do update set value = excluded.value, updated_by = session_user, updated_at = now()",
        &[KEY.into(), JsonB(after.clone()).into()],
    );
    audit::record("alter", "audit", name, &before, &after);
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
