//! The audit of statements: what is recorded for whom, the state of the spool, and the proof that nothing was altered.

use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::{SetOfIterator, TableIterator};
use pgrx::{JsonB, Uuid, name, pg_sys, prelude::*};
use serde_json::{Value, json};

use super::{args, audit, errors, sql};
use crate::audit::overrides::Overrides;
use crate::audit::settings::Level;
use crate::audit::spool::directory;
use crate::audit::worker::{self, row};
use crate::audit::{shared, spool};

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
fn audit_status() -> JsonB {
    // SAFETY: reads backend state.
    let database = unsafe { pg_sys::MyDatabaseId }.to_u32();
    let Some((_, place)) = shared::mine() else {
        return JsonB(json!({"spool": "unavailable"}));
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
        "spool_limit_bytes": crate::audit::settings::SPOOL_SIZE.get() as u64 * 1024 * 1024,
        "files_set_aside": directory::set_aside(database),
        "dropped": place.dropped.load(Relaxed),
        "moved_events": place.events.load(Relaxed),
        "last_moved": time(place.last_moved.load(Relaxed)),
        "lag_ms": place.lag.load(Relaxed) as f64 / 1000.0,
        "running": running,
        "worker_pid": Some(place.worker.load(Relaxed)).filter(|pid| *pid != 0),
        "worker_failures": place.failures.load(Relaxed),
    }))
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn spooled_audit() -> SetOfIterator<'static, JsonB> {
    let rows = shared::mine().map_or_else(Vec::new, |(_, place)| worker::spooled(place));
    SetOfIterator::new(rows.into_iter().map(JsonB))
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

/// Days and rows in the order of their chains, with all columns that the hashes cover.
const CHAINED: &str = "
    select jsonb_build_object('day', (q.started_at at time zone 'UTC')::date, 'position', q.chain_position,
        'hash', encode(q.chain_hash, 'hex'), 'row', jsonb_build_object(
            'id', q.id, 'started_at', (extract(epoch from q.started_at) * 1000000)::bigint, 'finished_at', (extract(epoch from q.finished_at) * 1000000)::bigint,
            'user_id', q.user_id, 'username', q.username, 'login_role', q.login_role, 'roles', q.roles,
            'database', q.database, 'application_name', q.application_name, 'client_addr', host(q.client_addr),
            'backend_pid', q.backend_pid, 'query_id', q.query_id, 'statement_kind', q.statement_kind,
            'original_query', q.original_query, 'rewritten_query', q.rewritten_query, 'relations', q.relations,
            'policies_applied', q.policies_applied, 'decisions', q.decisions, 'status', q.status, 'sqlstate', q.sqlstate,
            'error_message', q.error_message, 'row_count', q.row_count, 'planning_ms', q.planning_ms,
            'execution_ms', q.execution_ms, 'parameters', q.parameters, 'backend_start', (extract(epoch from q.backend_start) * 1000000)::bigint))
    from betweenrows.query_audit q
    where q.chain_position is not null
      and (q.started_at at time zone 'UTC')::date = ($1::text)::date
    order by q.chain_position";

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
#[expect(clippy::type_complexity, reason = "pgrx reads the columns off the type")]
fn verify_audit(
    from_time: Option<TimestampWithTimeZone>,
    to_time: Option<TimestampWithTimeZone>,
) -> TableIterator<
    'static,
    (
        name!(day, Option<pgrx::datum::Date>),
        name!(row_id, Option<Uuid>),
        name!(position, Option<i64>),
        name!(problem, String),
    ),
> {
    let from = args::required("from_time", from_time);
    let to = args::required("to_time", to_time);
    let days = sql::look(
        "select jsonb_build_object('day', d.day, 'number', d.day - date 'epoch', 'position', c.position, 'hash', encode(c.hash, 'hex'))
         from (select c.day from betweenrows.query_audit_chain c
               union
               select distinct (q.started_at at time zone 'UTC')::date from betweenrows.query_audit q
               where q.chain_position is not null) d
         left join betweenrows.query_audit_chain c using (day)
         where d.day >= ($1 at time zone 'UTC')::date and d.day <= ($2 at time zone 'UTC')::date
         order by d.day",
        &[from.into(), to.into()],
    );
    let mut findings = Vec::new();
    for day in days {
        let text = day["day"].as_str().unwrap_or_default().to_owned();
        let mut head: (i64, Vec<u8>) = (0, Vec::new());
        for found in sql::look(CHAINED, &[text.clone().into()]) {
            check_link(&text, &found, &mut head, &mut findings);
        }
        if day["position"] != json!(head.0) {
            let problem = match day["position"].as_i64() {
                None => "the end of the day's chain is not known".to_owned(),
                Some(last) => format!("the rows from {} to {last} were removed", head.0 + 1),
            };
            findings.push((text, None, None, problem));
        } else if day["hash"] != json!(row::hex(&head.1)) {
            findings.push((text, None, None, "the end of the day's chain is another one".to_owned()));
        }
    }
    TableIterator::new(findings.into_iter().map(|(day, id, position, problem)| {
        let day = day.parse::<pgrx::datum::Date>().ok();
        let id = id.map(|id: String| args::uuid(args::parse_id(&id)));
        (day, id, position, problem)
    }))
}

type Finding = (String, Option<String>, Option<i64>, String);

/// Compares a row with what was recorded of it, and goes on with the recorded hash, so that one altered row is one finding.
fn check_link(day: &str, found: &Value, head: &mut (i64, Vec<u8>), findings: &mut Vec<Finding>) {
    let position = found["position"].as_i64().unwrap_or(0);
    let id = found["row"]["id"].as_str().map(str::to_owned);
    let hash = found["hash"].as_str().unwrap_or_default();
    let complete = position == head.0 + 1;
    if position <= head.0 {
        findings.push((day.to_owned(), id, Some(position), "the row was added".to_owned()));
        return;
    }
    if !complete {
        let problem = format!("the rows from {} to {} were removed", head.0 + 1, position - 1);
        findings.push((day.to_owned(), None, Some(head.0 + 1), problem));
    } else if row::hex(&row::link(&head.1, position, &found["row"])) != hash {
        findings.push((day.to_owned(), id, Some(position), "the row was altered".to_owned()));
    }
    let bytes = (0..hash.len() / 2).filter_map(|at| u8::from_str_radix(hash.get(2 * at..2 * at + 2)?, 16).ok());
    *head = (position, bytes.collect());
}
