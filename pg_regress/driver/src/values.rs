//! Values in binary format and COPY: masks have the type of their column, to the byte.

use std::error::Error;
use std::io::Read;

use postgres::types::{FromSql, Type};

use crate::world::{Check, Outcome, World, fails, same};

/// The checks of this file.
pub const CHECKS: &[(&str, Check)] = &[
    ("binary values have the types of the columns", binary),
    ("COPY TO gives what SELECT gives", copy_out),
    ("COPY FROM is refused before it reads", copy_in),
];

/// A value's bytes, whatever its type.
#[derive(Debug, PartialEq)]
struct Bytes(Vec<u8>);

impl<'a> FromSql<'a> for Bytes {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Bytes(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn binary(world: &World) -> Outcome {
    let cells = |client: &mut postgres::Client, query: &str| -> Outcome<Vec<Vec<Option<Bytes>>>> {
        let rows = client.query(query, &[])?;
        Ok(rows
            .iter()
            .map(|row| (0..row.len()).map(|at| row.get(at)).collect())
            .collect())
    };
    let mut alice = world.alice()?;
    let mut admin = world.admin()?;
    let governed = cells(&mut alice, "SELECT *, pay FROM pay ORDER BY id")?;
    // The row itself is one without the hidden column.
    let by_hand = "SELECT s.id, s.owner, s.amount, s.card, s.tags, s.paid, s.code FROM (SELECT id, owner, amount, \
        'mask-' || right(card, 1) AS card, ARRAY['none'] AS tags, paid, -1 AS code FROM pay WHERE id < 4) s ORDER BY id";
    let expected = cells(&mut admin, by_hand)?;
    for (governed, expected) in governed.iter().zip(&expected) {
        same("cells", &governed[..expected.len()], &expected[..])?;
        let Some(Some(Bytes(row))) = governed.last() else {
            return Err("the whole row is missing".into());
        };
        for raw in ["raw-", "secret-"] {
            let leaks = row.windows(raw.len()).any(|bytes| bytes == raw.as_bytes());
            same("the whole row tells", leaks, false)?;
        }
    }
    same("rows", governed.len(), expected.len())
}

fn copy_out(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    let mut text = String::new();
    alice
        .copy_out("COPY pay (id, card) TO STDOUT")?
        .read_to_string(&mut text)?;
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    same("lines", lines, vec!["1\tmask-1", "2\tmask-2", "3\tmask-3"])?;
    let mut bytes = Vec::new();
    alice
        .copy_out("COPY pay TO STDOUT (FORMAT binary)")?
        .read_to_end(&mut bytes)?;
    for raw in ["raw-", "secret-", "nobody"] {
        let leaks = bytes.windows(raw.len()).any(|found| found == raw.as_bytes());
        same("binary COPY tells", leaks, false)?;
    }
    same("masks", bytes.windows(5).filter(|found| found == b"mask-").count(), 3)
}

fn copy_in(world: &World) -> Outcome {
    let mut alice = world.alice()?;
    // Not with copy_in(): after an error the driver takes its own CopyFail's answer for a fault of the connection.
    fails(
        "rows that need checks",
        alice.execute("COPY pay (id) FROM STDIN", &[]),
        "0A000",
    )?;
    same("the session", alice.query("SELECT * FROM pay", &[])?.len(), 3)
}
