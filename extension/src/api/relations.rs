//! Relations as administrators name them and as policies match them.

use pgrx::pg_sys::Oid;
use policy::model::Target;
use serde::Deserialize;

use super::{errors, sql};

/// A relation that policies can govern.
#[derive(Deserialize)]
pub(crate) struct Relation {
    /// Its OID.
    pub(crate) oid: u32,
    /// Name of its schema.
    pub(crate) schema: String,
    /// Its name.
    pub(crate) name: String,
    /// Names of its columns.
    pub(crate) columns: Vec<String>,
    /// `(schema, name)` of all that it is a partition of or inherits from.
    pub(crate) ancestors: Vec<(String, String)>,
}

/// The kinds that policies match: tables, partitioned tables, foreign tables, views and materialized views.
const SELECT: &str = "
    select jsonb_build_object('oid', c.oid::bigint, 'schema', n.nspname, 'name', c.relname,
        'columns', (select coalesce(jsonb_agg(a.attname order by a.attnum), '[]') from pg_catalog.pg_attribute a
                    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
        'ancestors', (with recursive above(oid) as (
                          select i.inhparent from pg_catalog.pg_inherits i where i.inhrelid = c.oid
                          union
                          select i.inhparent from pg_catalog.pg_inherits i join above on i.inhrelid = above.oid)
                      select coalesce(jsonb_agg(jsonb_build_array(an.nspname, ac.relname)), '[]')
                      from above join pg_catalog.pg_class ac on ac.oid = above.oid
                      join pg_catalog.pg_namespace an on an.oid = ac.relnamespace))
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'f', 'v', 'm')";

impl Relation {
    /// Whether a target is about the relation or something it inherits from.
    pub(crate) fn matches(&self, target: &Target) -> bool {
        target.matches_table(&self.schema, &self.name)
            || self
                .ancestors
                .iter()
                .any(|(schema, name)| target.matches_table(schema, name))
    }

    /// Schema and name as SQL writes them.
    pub(crate) fn quoted_name(&self) -> String {
        pgrx::spi::quote_qualified_identifier(&self.schema, &self.name)
    }

    /// Schema and name, for messages.
    pub(crate) fn qualified_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// The relation with that OID.
pub(crate) fn get(oid: Oid) -> Relation {
    match sql::look(&format!("{SELECT} and c.oid = $1"), &[oid.into()]).pop() {
        Some(row) => sql::read(row),
        None => match sql::look(
            "select to_jsonb(c.relname) from pg_catalog.pg_class c where c.oid = $1",
            &[oid.into()],
        )
        .pop()
        {
            Some(name) => errors::wrong_relation_kind(name.as_str().unwrap_or_default()),
            None => errors::undefined_relation(oid.to_u32()),
        },
    }
}

/// Every relation that policies can govern, the extension's and PostgreSQL's own left out.
pub(crate) fn all() -> Vec<Relation> {
    let query = format!(
        "{SELECT} and n.nspname not in ('pg_catalog', 'information_schema', 'betweenrows')
         and n.nspname !~ '^pg_(toast|temp)' order by n.nspname, c.relname"
    );
    sql::look(&query, &[]).into_iter().map(sql::read).collect()
}

/// A view and who owns it.
#[derive(Deserialize)]
pub(crate) struct View {
    oid: u32,
    schema: String,
    name: String,
    owner: u32,
}

impl View {
    pub(crate) fn oid(&self) -> Oid {
        self.oid.into()
    }

    pub(crate) fn owner(&self) -> Oid {
        self.owner.into()
    }

    /// Schema and name, for messages.
    pub(crate) fn qualified_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// All views but PostgreSQL's own.
pub(crate) fn views() -> Vec<View> {
    sql::look(
        "select jsonb_build_object('oid', c.oid::bigint, 'schema', n.nspname, 'name', c.relname,
                                   'owner', c.relowner::bigint)
         from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where c.relkind = 'v' and n.nspname not in ('pg_catalog', 'information_schema') order by n.nspname, c.relname",
        &[],
    )
    .into_iter()
    .map(sql::read)
    .collect()
}
