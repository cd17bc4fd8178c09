//! Parse, Describe, Bind and Execute: what a named statement tells of itself, and what becomes of it when policies change.

use crate::world::{Check, Outcome, World, fails, names, same};

/// The checks of this file.
pub const CHECKS: &[(&str, Check)] = &[
    ("Describe leaves hidden columns out", describe),
    ("Describe infers the types of parameters", parameters),
    ("a statement sees masks that changed after Parse", masks_change),
    ("a statement sees filters that changed after Parse", filters_change),
    ("a statement whose columns changed is refused", columns_change),
    ("a generic plan obeys changes", generic),
    ("a statement of a superuser obeys SET ROLE", role),
    ("a statement obeys rollback of a policy", rollback),
    ("a hidden name is unknown at Parse", unknown),
    ("writes with parameters", writes),
];

fn describe(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    let visible = ["id", "owner", "amount", "card", "tags", "paid", "code"];
    for query in [
        "SELECT * FROM pay",
        "SELECT p.* FROM pay p WHERE id = $1::int",
        "TABLE pay",
        "UPDATE pay SET amount = 0 RETURNING *",
        "DELETE FROM pay RETURNING pay.*",
        "INSERT INTO pay (id) VALUES (1) RETURNING *",
        "WITH c AS (SELECT * FROM pay) SELECT * FROM c",
        "SELECT * FROM (SELECT * FROM pay OFFSET 0) s",
    ] {
        let statement = alice.prepare(query)?;
        same(query, names(statement.columns()), visible.to_vec())?;
        let types: Vec<&str> = statement.columns().iter().map(|column| column.type_().name()).collect();
        same(
            query,
            types,
            vec!["int4", "text", "numeric", "text", "_text", "timestamptz", "int4"],
        )?;
    }
    let statement = world.admin()?.prepare("SELECT * FROM pay")?;
    same("a superuser's columns", statement.columns().len(), visible.len() + 1)
}

fn parameters(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    let statement =
        alice.prepare("SELECT id FROM pay WHERE card = $1 AND code = $2 AND paid > $3 AND amount < $4::float8")?;
    let types: Vec<&str> = statement.params().iter().map(|ty| ty.name()).collect();
    same("types", types, vec!["text", "int4", "timestamptz", "float8"])?;
    let by_card = alice.prepare("SELECT id FROM pay WHERE card = $1")?;
    same("by the raw value", alice.query(&by_card, &[&"raw-1"])?.len(), 0)?;
    same("by the mask", alice.query(&by_card, &[&"mask-1"])?.len(), 1)?;
    let by_id = alice.prepare("SELECT card FROM pay WHERE id = ANY ($1)")?;
    same("hidden rows", alice.query(&by_id, &[&vec![3, 4, 5]])?.len(), 1)
}

fn masks_change(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    let statement = alice.prepare("SELECT card FROM pay WHERE id = $1")?;
    let card = |alice: &mut postgres::Client| -> Outcome<String> { Ok(alice.query_one(&statement, &[&1])?.get(0)) };
    same("before", card(&mut alice)?, "mask-1".to_string())?;
    world.change(r#"SELECT betweenrows.alter_policy('card', definition => '{"mask_expression": "''changed''"}')"#)?;
    same("after", card(&mut alice)?, "changed".to_string())?;
    world.change("SELECT betweenrows.alter_policy('card', is_enabled => false)")?;
    same("without", card(&mut alice)?, "raw-1".to_string())?;
    world.change("SELECT betweenrows.alter_policy('card', is_enabled => true)")?;
    same("again", card(&mut alice)?, "changed".to_string())
}

fn filters_change(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    let statement = alice.prepare("SELECT id FROM pay WHERE id > $1 ORDER BY id")?;
    same("before", alice.query(&statement, &[&0])?.len(), 3)?;
    world.change(r#"SELECT betweenrows.alter_policy('own', definition => '{"filter_expression": "id = 5"}')"#)?;
    let rows = alice.query(&statement, &[&0])?;
    same(
        "after",
        rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>(),
        vec![5],
    )?;
    world.change("SELECT betweenrows.deny_table('pay', 'all of it')")?;
    fails("denied", alice.query(&statement, &[&0]), "42P01")?;
    world.change("SELECT betweenrows.drop_policy('all of it')")?;
    same("again", alice.query(&statement, &[&0])?.len(), 1)
}

fn columns_change(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    let star = alice.prepare("SELECT * FROM pay")?;
    let named = alice.prepare("SELECT owner FROM pay")?;
    let others = alice.prepare("SELECT id FROM pay")?;
    world.change("SELECT betweenrows.deny_columns('pay', '{owner}', 'owner')")?;
    // What PostgreSQL says when a column is dropped under a prepared statement.
    fails("a star", alice.query(&star, &[]), "0A000")?;
    fails("the column", alice.query(&named, &[]), "42703")?;
    same("others", alice.query(&others, &[])?.len(), 3)?;
    world.change("SELECT betweenrows.drop_policy('owner')")?;
    same("a star again", alice.query(&star, &[])?.len(), 3)
}

fn generic(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    alice.batch_execute("SET plan_cache_mode = force_generic_plan")?;
    let statement = alice.prepare("SELECT card FROM pay WHERE id = $1")?;
    for _ in 0..3 {
        same("visible", alice.query(&statement, &[&1])?.len(), 1)?;
        same("hidden", alice.query(&statement, &[&4])?.len(), 0)?;
    }
    world.change(r#"SELECT betweenrows.alter_policy('own', definition => '{"filter_expression": "id = 4"}')"#)?;
    same("visible before", alice.query(&statement, &[&1])?.len(), 0)?;
    same("hidden before", alice.query(&statement, &[&4])?.len(), 1)
}

fn role(world: &World) -> Outcome {
    let mut admin = world.admin()?;
    let statement = admin.prepare("SELECT card FROM pay WHERE id = $1")?;
    let card = |admin: &mut postgres::Client, id: i32| -> Outcome<Option<String>> {
        Ok(admin.query_opt(&statement, &[&id])?.map(|row| row.get(0)))
    };
    same("as superuser", card(&mut admin, 5)?, Some("raw-5".into()))?;
    admin.batch_execute("SET ROLE driver_alice")?;
    same("as alice", card(&mut admin, 1)?, Some("mask-1".into()))?;
    same("a hidden row", card(&mut admin, 5)?, None)?;
    admin.batch_execute("RESET ROLE")?;
    same("as superuser again", card(&mut admin, 1)?, Some("raw-1".into()))
}

fn rollback(world: &World) -> Outcome {
    let mut admin = world.admin()?;
    admin.batch_execute("SET SESSION AUTHORIZATION driver_alice")?;
    let statement = admin.prepare("SELECT card FROM pay WHERE id = $1")?;
    let card = |admin: &mut postgres::Client| -> Outcome<String> { Ok(admin.query_one(&statement, &[&1])?.get(0)) };
    same("before", card(&mut admin)?, "mask-1".to_string())?;
    admin.batch_execute(
        r#"BEGIN; RESET SESSION AUTHORIZATION;
        SELECT betweenrows.alter_policy('card', definition => '{"mask_expression": "''changed''"}');
        SET LOCAL SESSION AUTHORIZATION driver_alice"#,
    )?;
    same("inside", card(&mut admin)?, "changed".to_string())?;
    admin.batch_execute("ROLLBACK")?;
    same("after", card(&mut admin)?, "mask-1".to_string())
}

fn unknown(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    let error = fails(
        "a column",
        alice.prepare("SELECT secret FROM pay WHERE id = $1"),
        "42703",
    )?;
    same("its message", error.message(), r#"column "secret" does not exist"#)?;
    same(
        "its position",
        error.position().cloned(),
        Some(postgres::error::ErrorPosition::Original(8)),
    )?;
    same("its hint", error.hint(), None)?;
    fails(
        "in RETURNING",
        alice.prepare("DELETE FROM pay RETURNING secret"),
        "42703",
    )?;
    fails(
        "a parameter's column",
        alice.prepare("UPDATE pay SET secret = $1"),
        "42703",
    )?;
    world.change("SELECT betweenrows.deny_table('pay', 'all of it')")?;
    let error = fails("a table", alice.prepare("SELECT id FROM pay WHERE id = $1"), "42P01")?;
    same("its message", error.message(), r#"relation "pay" does not exist"#)?;
    same(
        "the session",
        alice.query_one("SELECT $1::int + 1", &[&1])?.get::<_, i32>(0),
        2,
    )
}

fn writes(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    let insert = alice.prepare("INSERT INTO pay (id, owner, amount) VALUES ($1, $2, 1) RETURNING id, card")?;
    same("her own", alice.query(&insert, &[&6, &"driver_alice"])?.len(), 1)?;
    fails("another's", alice.query(&insert, &[&7, &"nobody"]), "42501")?;
    let update = alice.prepare("UPDATE pay SET amount = $1::text::numeric WHERE id >= $2")?;
    same("rows", alice.execute(&update, &[&"9", &3])?, 2)?;
    // Refused when it is planned: at Bind.
    let masked = alice.prepare("UPDATE pay SET card = $1")?;
    fails("a masked column", alice.execute(&masked, &[&"x"]), "42501")?;
    let delete = alice.prepare("DELETE FROM pay WHERE card LIKE $1")?;
    same("by raw values", alice.execute(&delete, &[&"raw%"])?, 0)?;
    same("by masks", alice.execute(&delete, &[&"mask-_"])?, 3)?;
    let left: i64 = world.admin()?.query_one("SELECT count(*) FROM pay", &[])?.get(0);
    same("left", left, 3)
}
