//! Decision functions and statements that were prepared under another answer.

use postgres::{Client, Statement};

use crate::world::{Check, Outcome, World, same};

/// The checks of this file.
pub const CHECKS: &[(&str, Check)] = &[
    ("a query function is asked for each execution", each_execution),
    ("a statement obeys a session function's new answer", new_answer),
    ("a portal keeps the answer of its statement", portal),
];

/// The mask of cards takes part unless the client calls itself "raw".
fn gate(world: &World, evaluate_context: &str) -> Outcome {
    world.change(&format!(
        "SELECT betweenrows.create_decision_function('name',
             'function evaluate(ctx) {{ return {{fire: ctx.session.application_name !== \"raw\"}}; }}',
             evaluate_context => '{evaluate_context}');
         SELECT betweenrows.alter_policy('card', decision_function => 'name')"
    ))
}

fn card(alice: &mut Client, statement: &Statement) -> Result<String, postgres::Error> {
    Ok(alice.query_one(statement, &[&1])?.get(0))
}

fn each_execution(world: &World) -> Outcome {
    gate(world, "query")?;
    let mut alice = world.alice()?;
    alice.batch_execute("SET plan_cache_mode = force_generic_plan")?;
    let statement = alice.prepare("SELECT card FROM pay WHERE id = $1")?;
    for _ in 0..3 {
        same("masked", card(&mut alice, &statement)?, "mask-1".to_owned())?;
        alice.batch_execute("SET application_name = 'raw'")?;
        same("raw", card(&mut alice, &statement)?, "raw-1".to_owned())?;
        alice.batch_execute("RESET application_name")?;
    }
    Ok(())
}

fn new_answer(world: &World) -> Outcome {
    gate(world, "session")?;
    let mut alice = world.alice()?;
    alice.batch_execute("SET plan_cache_mode = force_generic_plan")?;
    let statement = alice.prepare("SELECT card FROM pay WHERE id = $1")?;
    for (name, expected) in [
        ("'x'", "mask-1"),
        ("'raw'", "raw-1"),
        ("'y'", "mask-1"),
        ("'raw'", "raw-1"),
    ] {
        alice.batch_execute(&format!("SET application_name = {name}"))?;
        // No hook runs between Bind and the choice of a saved plan: it may be refused once.
        let found = match card(&mut alice, &statement) {
            Err(error) if error.code().is_some_and(|code| code.code() == "40001") => card(&mut alice, &statement)?,
            found => found?,
        };
        same(name, found, expected.to_owned())?;
        same("again", card(&mut alice, &statement)?, expected.to_owned())?;
    }
    Ok(())
}

fn portal(world: &World) -> Outcome {
    gate(world, "query")?;
    let mut alice = world.alice()?;
    let statement = alice.prepare("SELECT card FROM pay ORDER BY id")?;
    let mut transaction = alice.transaction()?;
    let portal = transaction.bind(&statement, &[])?;
    let first = transaction.query_portal(&portal, 1)?;
    transaction.batch_execute("SET LOCAL application_name = 'raw'")?;
    let second = transaction.query_portal(&portal, 1)?;
    let cards: Vec<String> = [first, second].concat().iter().map(|row| row.get(0)).collect();
    same("cards", cards, vec!["mask-1".to_owned(), "mask-2".to_owned()])
}
