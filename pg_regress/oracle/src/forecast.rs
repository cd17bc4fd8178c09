//! What a write must leave, computed from the same write to the copy.

use crate::decide::Rights;
use crate::dml::Write;
use crate::types::ident;
use crate::world::World;

/// SQL over the raw tables and the copy: what rows the table must have after the write was made on the copy.
pub struct Expectation {
    /// All rows of the table after the write, seen ones and hidden ones.
    pub after: String,
    /// The same over the raw table itself.
    pub raw: String,
    /// How many of the changed rows violate what is demanded of new ones.
    pub violations: String,
    /// How many of all rows do: one that was written as it was counts as new, too.
    pub doubts: String,
    /// How many of the proposed rows do.
    pub proposed: Option<String>,
}

/// What to ask after a write of `subject` to the copy in schema `copy`.
pub fn expectation(world: &World, subject: usize, copy: &str, write: &Write) -> Option<Expectation> {
    let table = world.table(&write.table)?;
    let decision = world.decision(subject, Rights::Of(subject), table);
    let name = ident(&table.name);
    let stored: Vec<String> = table.stored().map(|column| ident(&column.name)).collect();
    let kept = |c: &crate::schema::Column| decision.denied.contains(&c.name) || decision.masks.contains_key(&c.name);
    let default = |c: &crate::schema::Column| format!("({})::{}", c.default.clone().unwrap_or("NULL".into()), c.decl);
    let value = |c: &crate::schema::Column| {
        let column = ident(&c.name);
        match kept(c) {
            true => format!(
                "CASE WHEN r.id IS NULL THEN {} ELSE r.{column} END AS {column}",
                default(c)
            ),
            false => format!("c.{column}"),
        }
    };
    let values: Vec<String> = table.stored().map(value).collect();
    let generated: String = table
        .live()
        .filter_map(|c| {
            c.generated
                .as_ref()
                .map(|(expression, _)| format!(", {expression} AS {}", ident(&c.name)))
        })
        .collect();
    let rebuilt = format!(
        "(SELECT s.*{generated} FROM (SELECT {} FROM {copy}.{name} c LEFT JOIN {} r ON r.id = c.id) AS s) AS {name}",
        values.join(", "),
        table.qualified()
    );
    let filter = if decision.filters.is_empty() {
        "true".to_string()
    } else {
        decision.filters.join(" AND ")
    };
    let check = match decision.checks.is_empty() {
        true => "true".to_string(),
        false => decision.checks.join(" AND "),
    };
    let row = format!("ROW({})::text", stored.join(", "));
    let proposed = write.proposed.as_ref().map(|(names, source)| {
        let value = |c: &crate::schema::Column| match names.contains(&ident(&c.name)) {
            true => ident(&c.name),
            false => format!("{} AS {}", default(c), ident(&c.name)),
        };
        let values: Vec<String> = table.stored().map(value).collect();
        format!(
            "SELECT count(*) FROM (SELECT s.*{generated} FROM (SELECT {} FROM ({source}) AS p({})) AS s) AS {name} WHERE ({check}) IS NOT TRUE",
            values.join(", "),
            names.join(", ")
        )
    });
    Some(Expectation {
        after: format!(
            "SELECT {row} FROM {rebuilt} UNION ALL SELECT {row} FROM {} WHERE ({filter}) IS NOT TRUE",
            table.qualified()
        ),
        raw: format!("SELECT {row} FROM {}", table.qualified()),
        violations: format!(
            "SELECT count(*) FROM {rebuilt} WHERE ({check}) IS NOT TRUE AND {row} NOT IN (SELECT {row} FROM {})",
            table.qualified()
        ),
        doubts: format!("SELECT count(*) FROM {rebuilt} WHERE ({check}) IS NOT TRUE"),
        proposed,
    })
}
