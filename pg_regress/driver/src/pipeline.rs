//! Pipelining: the next messages are on their way before the answers to the first ones are read.

use futures_util::future::join_all;
use tokio_postgres::{Client, NoTls};

use crate::world::{Check, Outcome, World, fails, same};

/// The checks of this file.
pub const CHECKS: &[(&str, Check)] = &[
    ("many statements in flight", many),
    ("an error among statements in flight", error_among),
    ("policies that change among statements in flight", change_among),
];

/// Runs `check` with a session of `user`, on this thread.
fn with_session(world: &World, user: &str, check: impl AsyncFnOnce(&Client) -> Outcome) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, connection) = world.pipelined(user).connect(NoTls).await?;
        let connection = tokio::spawn(connection);
        let outcome = check(&client).await;
        drop(client);
        connection.await??;
        outcome
    })
}

fn many(world: &World) -> Outcome {
    with_session(world, "driver_alice", async |alice| {
        let statement = alice.prepare("SELECT card FROM pay WHERE id = $1").await?;
        let ids: Vec<i32> = (0..200).map(|number| number % 5 + 1).collect();
        let answers = join_all(ids.iter().map(|id| {
            let statement = &statement;
            async move { alice.query(statement, &[id]).await }
        }))
        .await;
        for (id, answer) in ids.iter().zip(answers) {
            let found: Vec<String> = answer?.iter().map(|row| row.get(0)).collect();
            let expected = if *id < 4 {
                vec![format!("mask-{id}")]
            } else {
                Vec::new()
            };
            same("cards", found, expected)?;
        }
        Ok(())
    })
}

fn error_among(world: &World) -> Outcome {
    with_session(world, "driver_alice", async |alice| {
        let queries = [
            "SELECT card FROM pay",
            "SELECT secret FROM pay",
            "SELECT card FROM pay WHERE 1 / (id - 2) > 5",
            "UPDATE pay SET card = ''",
            "SELECT * FROM pay",
            "TRUNCATE pay",
            "SELECT (pay).secret FROM pay",
            "SELECT pay FROM pay",
        ];
        let expected = [
            None,
            Some("42703"),
            Some("22012"),
            Some("42501"),
            None,
            Some("42501"),
            Some("42703"),
            None,
        ];
        let answers = join_all(queries.iter().map(|query| alice.query(*query, &[]))).await;
        for ((query, expected), answer) in queries.iter().zip(expected).zip(answers) {
            match expected {
                None => same(query, answer?.len(), 3)?,
                Some(code) => fails(query, answer, code).map(drop)?,
            }
        }
        Ok(())
    })
}

fn change_among(world: &World) -> Outcome {
    with_session(world, "postgres", async |admin| {
        let statement = admin.prepare("SELECT card FROM pay WHERE id = 1").await?;
        let changes = [
            "SELECT 1",
            "SET ROLE driver_alice",
            "RESET ROLE",
            r#"SELECT betweenrows.alter_policy('card', definition => '{"mask_expression": "''changed''"}')"#,
            "SET SESSION AUTHORIZATION driver_alice",
        ];
        let answers = join_all(changes.iter().map(|change| {
            let statement = &statement;
            async move {
                // Both messages are queued before either is answered.
                let (changed, card) =
                    futures_util::future::join(admin.batch_execute(change), admin.query(statement, &[])).await;
                changed.and(card)
            }
        }))
        .await;
        let mut found = Vec::new();
        for answer in answers {
            found.push(answer?[0].get::<_, String>(0));
        }
        same(
            "cards",
            found,
            ["raw-1", "mask-1", "raw-1", "raw-1", "changed"]
                .map(String::from)
                .to_vec(),
        )
    })
}
