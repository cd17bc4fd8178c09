//! The audit of what only the extended protocol has: statements that fail at Bind, portals read piece by piece, sessions that are
//! ended in the middle of a statement.

use std::time::Duration;

use postgres::Client;

use crate::wire::Wire;
use crate::world::{Check, Outcome, World, fails, same};

/// The checks of this file.
pub const CHECKS: &[(&str, Check)] = &[
    ("audit: a statement that fails when it is bound", bound_in_vain),
    ("audit: a portal's rows count once", pieces),
    ("audit: portals that end with their transaction", left),
    ("audit: statements that are stopped from outside", stopped),
    ("audit: many statements in one message", one_message),
    ("audit: many statements before one Sync", one_sync),
];

/// A row of the audit: command, status, SQLSTATE, rows.
type Row = (String, String, Option<String>, Option<i64>);

fn row(kind: &str, status: &str, sqlstate: Option<&str>, rows: Option<i64>) -> Row {
    (kind.to_owned(), status.to_owned(), sqlstate.map(str::to_owned), rows)
}

/// What was recorded of alice's statements, in order.
fn recorded(world: &World) -> Outcome<Vec<Row>> {
    let mut admin = world.admin()?;
    same(
        "moved",
        admin.query_one("SELECT betweenrows.audit_flush()", &[])?.get(0),
        true,
    )?;
    let query = "SELECT statement_kind, status, sqlstate, row_count FROM betweenrows.query_audit
                 WHERE username = 'driver_alice' ORDER BY id";
    let rows = admin.query(query, &[])?;
    Ok(rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect())
}

fn bound_in_vain(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    let statement = alice.prepare("SELECT id, 4 / $1::int FROM pay")?;
    // The plan is for the parameter, so that it fails when it is made.
    fails("bound", alice.query(&statement, &[&0]), "22012")?;
    same("rows", alice.query(&statement, &[&2])?.len(), 3)?;
    let mut transaction = alice.transaction()?;
    fails("in a transaction", transaction.bind(&statement, &[&0]), "22012")?;
    transaction.rollback()?;
    let failed = row("SELECT", "error", Some("22012"), None);
    let expected = vec![failed.clone(), row("SELECT", "success", None, Some(3)), failed];
    same("recorded", recorded(world)?, expected)?;
    let query = "SELECT relations #>> '{0,relation}', relations #>> '{0,columns}' FROM betweenrows.query_audit WHERE status = 'error'";
    for found in world.admin()?.query(query, &[])? {
        same("relation", found.get::<_, &str>(0), "public.pay")?;
        same("columns", found.get::<_, &str>(1), "[\"id\"]")?;
    }
    Ok(())
}

fn pieces(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    let mut transaction = alice.transaction()?;
    let portal = transaction.bind("SELECT card FROM pay ORDER BY id", &[])?;
    for expected in [2, 1, 0] {
        same("rows", transaction.query_portal(&portal, 2)?.len(), expected)?;
    }
    let insert = "INSERT INTO pay (id, owner) SELECT i, 'driver_alice' FROM generate_series(6, 8) i RETURNING id";
    let portal = transaction.bind(insert, &[])?;
    for _ in 0..3 {
        same("new rows", transaction.query_portal(&portal, 1)?.len(), 1)?;
    }
    transaction.commit()?;
    let expected = vec![
        row("SELECT", "success", None, Some(3)),
        row("INSERT", "success", None, Some(3)),
    ];
    same("recorded", recorded(world)?, expected)
}

fn left(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    let mut transaction = alice.transaction()?;
    let portal = transaction.bind("SELECT card FROM pay ORDER BY id", &[])?;
    same("rows", transaction.query_portal(&portal, 1)?.len(), 1)?;
    transaction.commit()?;
    let mut transaction = alice.transaction()?;
    let portal = transaction.bind("SELECT card FROM pay ORDER BY id", &[])?;
    same("rows", transaction.query_portal(&portal, 2)?.len(), 2)?;
    // Another statement's error is not the portal's.
    fails("another", transaction.batch_execute("SELECT nothing"), "42703")?;
    transaction.rollback()?;
    let mut transaction = alice.transaction()?;
    let portal = transaction.bind("SELECT 1 / (id - 2) FROM pay", &[])?;
    same("rows", transaction.query_portal(&portal, 1)?.len(), 1)?;
    fails("its own", transaction.query_portal(&portal, 1), "22012")?;
    transaction.rollback()?;
    let expected = vec![
        row("SELECT", "success", None, Some(1)),
        row("SELECT", "success", None, Some(2)),
        row("SELECT", "error", Some("22012"), Some(1)),
    ];
    same("recorded", recorded(world)?, expected)
}

/// Waits until alice's statement runs, and then does something to it.
fn when_it_sleeps(admin: &mut Client, what: &str) -> Outcome {
    let query =
        format!("SELECT {what}(pid) FROM pg_stat_activity WHERE usename = 'driver_alice' AND wait_event = 'PgSleep'");
    while admin.query_opt(&query, &[])?.is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn stopped(world: &World) -> Outcome {
    let mut admin = world.admin()?;
    for what in ["pg_cancel_backend", "pg_terminate_backend"] {
        let mut alice = world.alice()?;
        let statement = alice.prepare("SELECT pg_sleep(600), card FROM pay")?;
        let sleeper = std::thread::spawn(move || alice.query(&statement, &[]));
        when_it_sleeps(&mut admin, what)?;
        // The driver may notice that the connection is closed before it reads why.
        same(what, sleeper.join().expect("it does not panic").is_err(), true)?;
    }
    let expected = vec![
        row("SELECT", "error", Some("57014"), Some(0)),
        row("SELECT", "error", Some("57P01"), Some(0)),
    ];
    same("recorded", recorded(world)?, expected)
}

fn one_message(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    let message = "SELECT card FROM pay; UPDATE pay SET amount = 0 WHERE id = 1; SELECT 1 / (id - 2) FROM pay; SELECT id FROM pay";
    fails("the third", alice.batch_execute(message), "22012")?;
    let expected = vec![
        row("SELECT", "success", None, Some(3)),
        row("UPDATE", "success", None, Some(1)),
        row("SELECT", "error", Some("22012"), Some(0)),
    ];
    same("recorded", recorded(world)?, expected)
}

/// What has ended well has, also when the transaction that Sync would have committed is rolled back.
fn one_sync(world: &World) -> Outcome {
    let mut alice = Wire::alice(world)?;
    let pay = "SELECT card FROM pay";
    let update = "UPDATE pay SET amount = 0 WHERE id = 1";
    let works = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
    let (selected, updated) = ("SELECT 3", "UPDATE 1");
    same("all", alice.pipeline(&[pay, update])?, works(&[selected, updated]))?;
    let divided = "SELECT 1 / (id - 2) FROM pay";
    same(
        "the third",
        alice.pipeline(&[pay, update, divided, pay])?,
        works(&[selected, updated, "22012"]),
    )?;
    same(
        "none of ours",
        alice.pipeline(&[pay, "SELECT 1 / 0"])?,
        works(&[selected, "22012"]),
    )?;
    same(
        "not analysed",
        alice.pipeline(&[update, "SELECT nothing"])?,
        works(&[updated, "42703"]),
    )?;
    same(
        "refused",
        alice.pipeline(&[pay, "TRUNCATE pay"])?,
        works(&[selected, "42501"]),
    )?;
    world.change("ALTER TABLE pay ADD UNIQUE (id) DEFERRABLE INITIALLY DEFERRED")?;
    let twice = "INSERT INTO pay (id, owner) VALUES (1, 'driver_alice')";
    same(
        "at Sync",
        alice.pipeline(&[twice, pay])?,
        works(&["INSERT 0 1", "SELECT 4", "23505"]),
    )?;
    let selects = || row("SELECT", "success", None, Some(3));
    let updates = || row("UPDATE", "success", None, Some(1));
    let expected = vec![
        selects(),
        updates(),
        selects(),
        updates(),
        row("SELECT", "error", Some("22012"), Some(0)),
        selects(),
        updates(),
        selects(),
        row("TRUNCATE TABLE", "denied", Some("42501"), None),
        row("INSERT", "success", None, Some(1)),
        row("SELECT", "success", None, Some(4)),
    ];
    same("recorded", recorded(world)?, expected)
}
