//! `discover()`: what there is to select for the catalog's allowlist.
//!
//! Whoever manages policies is governed like anybody else, and the system catalogs then show only what is selected
//! already. Names, types and defaults are all that is told here, never a value.

use pgrx::iter::SetOfIterator;
use pgrx::{JsonB, prelude::*};

use super::{args, sql};

/// The kinds that policies match; schemas of PostgreSQL and of the extension have nothing to select.
const RELATIONS: &str = "
    select jsonb_build_object('schema', n.nspname, 'name', c.relname, 'kind', c.relkind)
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = any ($1) and c.relkind in ('r', 'p', 'f', 'v', 'm')
      and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'betweenrows')
    order by n.nspname, c.relname";

const COLUMNS: &str = "
    select jsonb_build_object('schema', n.nspname, 'name', c.relname, 'kind', c.relkind,
        'columns', (select coalesce(jsonb_agg(jsonb_build_object('name', a.attname, 'position', a.attnum,
                               'data_type', pg_catalog.format_type(a.atttypid, a.atttypmod),
                               'base_type', case when t.typnamespace = 'pg_catalog'::regnamespace then t.typname end,
                               'is_nullable', not (a.attnotnull or t.typtype = 'd' and t.typnotnull),
                               'default', pg_catalog.pg_get_expr(d.adbin, d.adrelid)) order by a.attnum), '[]')
                    from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
                    left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
                    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
        'ancestors', (with recursive above(oid) as (
                          select i.inhparent from pg_catalog.pg_inherits i where i.inhrelid = c.oid
                          union
                          select i.inhparent from pg_catalog.pg_inherits i join above on i.inhrelid = above.oid)
                      select coalesce(jsonb_agg(jsonb_build_array(an.nspname, ac.relname)
                                                order by an.nspname, ac.relname), '[]')
                      from above join pg_catalog.pg_class ac on ac.oid = above.oid
                      join pg_catalog.pg_namespace an on an.oid = ac.relnamespace))
    from unnest($1, $2) wanted(schema_name, relation_name)
    join pg_catalog.pg_namespace n on n.nspname = wanted.schema_name
    join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = wanted.relation_name
    where c.relkind in ('r', 'p', 'f', 'v', 'm')
      and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'betweenrows')
    order by n.nspname, c.relname";

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn discover(schemas: Option<Vec<Option<String>>>, names: Option<Vec<Option<String>>>) -> SetOfIterator<'static, JsonB> {
    let schemas = args::required("schemas", schemas);
    let found = match names {
        None => sql::look(RELATIONS, &[schemas.into()]),
        Some(names) => sql::look(COLUMNS, &[schemas.into(), names.into()]),
    };
    SetOfIterator::new(found.into_iter().map(JsonB))
}
