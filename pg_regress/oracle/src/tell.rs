//! Functions and operators of a curious user: they tell the client every value that they see, are as cheap as possible, and
//! the operators pretend to have statistics. Whatever they tell must be in what the subject may see.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use postgres::Client;

use crate::mirror;
use crate::oracle::Oracle;
use crate::session::{Outcome, simple};
use crate::world::World;

/// What the sessions of subjects were told since it was last asked.
#[derive(Debug, Clone, Default)]
pub struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    /// Listens to a session's notices.
    pub fn listener(&self) -> impl Fn(postgres::error::DbError) + Send + Sync + 'static {
        let told = self.0.clone();
        move |notice| {
            if let (Some(text), Ok(mut told)) = (notice.message().strip_prefix("told: "), told.lock()) {
                told.push(text.to_string());
            }
        }
    }

    /// The marks of rows in what was told since the last call.
    pub fn marks(&self) -> HashSet<String> {
        let told = self
            .0
            .lock()
            .map(|mut told| std::mem::take(&mut *told))
            .unwrap_or_default();
        told.iter().flat_map(|text| marks(text)).collect()
    }
}

/// The marks in a text: `tag-` and a number.
fn marks(text: &str) -> Vec<String> {
    let after = text.split("tag-").skip(1);
    let numbers = after.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    numbers
        .filter(|number| !number.is_empty())
        .map(|number| format!("tag-{number}"))
        .collect()
}

impl Oracle {
    /// The marks of all rows that a subject may see.
    pub fn visible_marks(&mut self, world: &World, subject: usize) -> HashSet<String> {
        if self.only.is_some_and(|only| only != subject) {
            return HashSet::new();
        }
        read_marks(&mut self.reference, &mirror::schemas(world, subject))
    }
}

fn read_marks(client: &mut Client, schemas: &[String]) -> HashSet<String> {
    let list = schemas
        .iter()
        .map(|schema| format!("'{schema}'"))
        .collect::<Vec<_>>()
        .join(", ");
    let query = format!(
        "SELECT format('SELECT t::text FROM %s t WHERE t::text LIKE ''%%tag-%%''', c.oid::regclass) \
         FROM pg_class c WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ({list})) AND relkind = 'r'"
    );
    let column = |outcome: Outcome| match outcome {
        Outcome::Rows { rows, .. } => rows
            .into_iter()
            .filter_map(|mut row| row.remove(0))
            .collect::<Vec<String>>(),
        _ => Vec::new(),
    };
    let queries = column(simple(client, &query));
    if queries.is_empty() {
        return HashSet::new();
    }
    column(simple(client, &queries.join(" UNION ALL ")))
        .iter()
        .flat_map(|row| marks(row))
        .collect()
}

/// The statements that create the functions and operators, where everybody finds them.
pub fn functions() -> Vec<String> {
    let mut all = Vec::new();
    for volatility in ["volatile", "stable", "immutable"] {
        all.push(format!(
            "CREATE OR REPLACE FUNCTION public.tell_{volatility}(text) RETURNS boolean LANGUAGE plpgsql {volatility} \
             PARALLEL SAFE COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'told: %', $1; RETURN true; END $$"
        ));
    }
    for (name, comparison) in [("equal", "="), ("less", "<")] {
        all.push(format!(
            "CREATE OR REPLACE FUNCTION public.tell_{name}(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE \
             PARALLEL SAFE COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'told: % %', $1, $2; RETURN $1 {comparison} $2; END $$"
        ));
    }
    all.push(
        "DROP OPERATOR IF EXISTS public.=?= (text, text), public.<?< (text, text); \
         CREATE OPERATOR public.=?= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.tell_equal, \
         RESTRICT = eqsel, JOIN = eqjoinsel); \
         CREATE OPERATOR public.<?< (LEFTARG = text, RIGHTARG = text, FUNCTION = public.tell_less, \
         RESTRICT = scalarltsel, JOIN = scalarltjoinsel)"
            .to_string(),
    );
    all
}
