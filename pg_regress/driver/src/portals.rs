//! Portals: rows fetched a few at a time, while policies change, and statements that write between Bind and Execute.

use postgres::fallible_iterator::FallibleIterator;

use crate::world::{Check, Outcome, World, fails, same};

/// The checks of this file.
pub const CHECKS: &[(&str, Check)] = &[
    ("a portal gives its rows piece by piece", limits),
    ("an open portal goes on as it began", open_portal),
    ("a write bound before a change is refused", stale_write),
    ("a portal left half read harms nothing", half_read),
    ("an error in a portal leaves the session as it was", error_inside),
    ("a portal of a superuser's role", role),
];

fn limits(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    let mut transaction = alice.transaction()?;
    let statement = transaction.prepare("SELECT id, card FROM pay WHERE code = $1 ORDER BY id")?;
    let portal = transaction.bind(&statement, &[&-1])?;
    let mut found = Vec::new();
    for expected in [2, 1, 0] {
        let rows = transaction.query_portal(&portal, 2)?;
        same("rows at once", rows.len(), expected)?;
        found.extend(rows.iter().map(|row| (row.get::<_, i32>(0), row.get::<_, String>(1))));
    }
    let expected = (1..=3).map(|id| (id, format!("mask-{id}"))).collect::<Vec<_>>();
    same("rows", found, expected)
}

fn open_portal(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    let mut transaction = alice.transaction()?;
    let statement = transaction.prepare("SELECT card FROM pay ORDER BY id")?;
    let portal = transaction.bind(&statement, &[])?;
    same(
        "the first",
        transaction.query_portal(&portal, 1)?[0].get(0),
        "mask-1".to_string(),
    )?;
    world.change(r#"SELECT betweenrows.alter_policy('card', definition => '{"mask_expression": "''changed''"}')"#)?;
    // It began before the change, as a cursor keeps its snapshot.
    same(
        "the second",
        transaction.query_portal(&portal, 1)?[0].get(0),
        "mask-2".to_string(),
    )?;
    // A new one would run the plan that this transaction's locks have kept.
    fails("bound anew", transaction.bind(&statement, &[]), "40001")?;
    transaction.rollback()?;
    same(
        "in a new transaction",
        alice.query(&statement, &[])?[0].get(0),
        "changed".to_string(),
    )
}

fn stale_write(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    let mut transaction = alice.transaction()?;
    let statement = transaction.prepare("UPDATE pay SET amount = $1::int RETURNING card")?;
    let portal = transaction.bind(&statement, &[&0])?;
    world.change(r#"SELECT betweenrows.alter_policy('own', definition => '{"filter_expression": "id = 1"}')"#)?;
    // What was planned at Bind would change rows that are hidden now.
    fails("the old plan", transaction.query_portal(&portal, 0), "40001")?;
    transaction.rollback()?;
    let rows = alice.query(&statement, &[&0])?;
    same(
        "repeated",
        rows.iter().map(|row| row.get(0)).collect::<Vec<String>>(),
        vec!["mask-1".to_string()],
    )
}

fn half_read(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    {
        let parameters: [i32; 1] = [0];
        let mut rows = alice.query_raw("SELECT id FROM pay WHERE id > $1 ORDER BY id", parameters)?;
        same("the first", rows.next()?.map(|row| row.get::<_, i32>(0)), Some(1))?;
    }
    same("afterwards", alice.query("SELECT * FROM pay", &[])?.len(), 3)?;
    fails("a hidden column", alice.query("SELECT secret FROM pay", &[]), "42703")?;
    Ok(())
}

fn error_inside(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    let statement = alice.prepare("SELECT card, 1 / (id - $1) FROM pay")?;
    for _ in 0..2 {
        let mut transaction = alice.transaction()?;
        let portal = transaction.bind(&statement, &[&2])?;
        same("the first", transaction.query_portal(&portal, 1)?.len(), 1)?;
        let error = fails("the second", transaction.query_portal(&portal, 1), "22012")?;
        same("its detail", error.detail(), None)?;
        fails("the rest", transaction.query("SELECT 1", &[]), "25P02")?;
        transaction.rollback()?;
        fails("a hidden column", alice.query("SELECT secret FROM pay", &[]), "42703")?;
        same("visible rows", alice.query("SELECT * FROM pay", &[])?.len(), 3)?;
    }
    Ok(())
}

fn role(world: &World) -> Outcome {
    let mut admin = world.admin()?;
    let mut transaction = admin.transaction()?;
    let statement = transaction.prepare("SELECT card FROM pay ORDER BY id")?;
    let raw = transaction.bind(&statement, &[])?;
    transaction.batch_execute("SET LOCAL ROLE driver_alice")?;
    let masked = transaction.bind(&statement, &[])?;
    same("bound as alice", transaction.query_portal(&masked, 0)?.len(), 3)?;
    // Bound by the superuser, who may read everything, before it became alice.
    fails("bound before", transaction.query_portal(&raw, 0), "42501")?;
    transaction.rollback()?;
    // A portal of alice's, half read, is not bob's either.
    let mut transaction = admin.transaction()?;
    transaction.batch_execute("SET LOCAL ROLE driver_alice")?;
    let statement = transaction.prepare("SELECT card FROM pay ORDER BY id")?;
    let masked = transaction.bind(&statement, &[])?;
    same("the first", transaction.query_portal(&masked, 1)?.len(), 1)?;
    transaction.batch_execute("SET LOCAL ROLE driver_bob")?;
    fails("the second", transaction.query_portal(&masked, 1), "42501")?;
    Ok(())
}
