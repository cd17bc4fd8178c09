//! `audit_status()`: the state of the spool and of what empties it, and what an administrator should do about it.

use std::sync::atomic::Ordering::Relaxed;

use pgrx::{JsonB, pg_sys, prelude::*};
use serde_json::{Value, json};

use super::sql;
use crate::audit::shared::{self, Place};
use crate::audit::spool::directory;
use crate::audit::{settings, spool};

/// From so many failures of the worker in a row they are a finding. One is counted while it starts.
const FAILURES: u32 = 3;

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn audit_status() -> JsonB {
    // SAFETY: reads backend state.
    let database = unsafe { pg_sys::MyDatabaseId }.to_u32();
    let Some((_, place)) = shared::mine() else {
        return JsonB(json!({"findings": [finding(
            "error",
            "too many databases have a spool: statements on governed relations cannot be recorded in this one",
            "Drop databases that are not needed, or use another server.",
        )]}));
    };
    let time = |micros: i64| {
        (micros != 0).then(|| {
            sql::look(
                "select to_jsonb(timestamptz 'epoch' + $1 * interval '1 microsecond')",
                &[micros.into()],
            )
            .pop()
        })
    };
    let files = directory::files(database);
    let bytes: u64 = files
        .iter()
        .filter_map(|name| std::fs::metadata(name.path(database)).ok())
        .map(|facts| facts.len())
        .sum();
    let running = sql::look("select to_jsonb(count(*)) from betweenrows.query_audit_running", &[]).pop();
    JsonB(json!({
        "standby": spool::timeline().0,
        "backlog_bytes": place.backlog(),
        "spool_files": files.len(),
        "spool_bytes": bytes,
        "spool_limit_bytes": settings::spool_size(),
        "files_set_aside": directory::set_aside(database),
        "dropped": place.dropped.load(Relaxed),
        "moved_events": place.events.load(Relaxed),
        "last_moved": time(place.last_moved.load(Relaxed)),
        "lag_ms": place.lag.load(Relaxed) as f64 / 1000.0,
        "running": running,
        "launcher_pid": Some(shared::launcher()).filter(|pid| *pid != 0),
        "worker_pid": Some(place.worker.load(Relaxed)).filter(|pid| *pid != 0),
        "worker_failures": place.failures.load(Relaxed),
        "findings": findings(database, place),
    }))
}

fn finding(severity: &str, problem: impl Into<String>, hint: &str) -> Value {
    json!({"severity": severity, "problem": problem.into(), "hint": hint})
}

/// What is wrong, worst first.
fn findings(database: u32, place: &Place) -> Vec<Value> {
    let mut found: Vec<Value> = mover(place).into_iter().collect();
    if place.backlog() >= settings::spool_size() {
        found.push(finding(
            "error",
            "the spool is full",
            "See to it that events are moved, or raise betweenrows.audit_spool_size.",
        ));
    }
    let dropped = place.dropped.load(Relaxed);
    if dropped > 0 {
        found.push(finding(
            "error",
            format!("{dropped} events were lost since the server started"),
            "Raise betweenrows.audit_spool_size, or set betweenrows.audit_overflow to block; the server's log says why they were lost.",
        ));
    }
    let aside = directory::set_aside(database);
    if aside > 0 {
        found.push(finding(
            "warning",
            format!("{aside} files of the spool could not be moved completely"),
            "They are in the folder set_aside of the spool, and the server's log says what is wrong with them; remove them when they are not needed.",
        ));
    }
    found
}

/// Why nothing empties the spool.
fn mover(place: &Place) -> Option<Value> {
    if spool::timeline().0 {
        return None;
    }
    if shared::launcher() == 0 {
        return Some(finding(
            "error",
            "the audit launcher does not run, so that nothing is moved into betweenrows.query_audit",
            "Raise max_worker_processes and restart the server; if it is high enough, the server's log says why.",
        ));
    }
    if place.without_slot.load(Relaxed) {
        return Some(finding(
            "error",
            "no audit worker can be started, since all background workers of the server are in use",
            "Raise max_worker_processes and restart the server.",
        ));
    }
    let failures = place.failures.load(Relaxed);
    if failures < FAILURES {
        return None;
    }
    let allowed = "select to_jsonb(d.datallowconn) from pg_catalog.pg_database d where d.datname = current_database()";
    if sql::look(allowed, &[]).pop() == Some(json!(false)) {
        return Some(finding(
            "error",
            "the audit worker cannot connect, since this database allows no connections",
            "Use ALTER DATABASE ... ALLOW_CONNECTIONS true until everything is moved.",
        ));
    }
    Some(finding(
        "error",
        format!("the audit worker was started {failures} times in a row without success"),
        "The server's log says why.",
    ))
}
