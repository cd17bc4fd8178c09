//! What exists in the database for subjects: `set_catalog`, `clear_catalog`.
//!
//! The entries are rows of a table, since sessions look up the few that they need. The setting says that the allowlist is in
//! force; its value is another one for another content, so that no plan outlives it.

use pgrx::{AnyElement, JsonB, notice, prelude::*};
use policy::allowlist::Allowlist;
use serde_json::Value;

use super::{args, audit, errors, json, settings, sql};

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn set_catalog(document: Option<AnyElement>) {
    let document = args::required("document", json::argument("document", document));
    set(&Allowlist::parse(&document).unwrap_or_else(|issues| errors::malformed("catalog", &issues)));
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn clear_catalog() {
    if !clear() {
        notice!("there is no catalog allowlist");
    }
}

/// Puts an allowlist in the place of whatever there is; `false` when it is that already.
pub(crate) fn set(allowlist: &Allowlist) -> bool {
    change(Some(allowlist))
}

/// Lets everything exist; `false` when it does already.
pub(crate) fn clear() -> bool {
    change(None)
}

/// The allowlist in force.
pub(crate) fn current() -> Option<Allowlist> {
    settings::stored(settings::CATALOG).map(|_| read(sql::look(STORED, &[])))
}

fn change(after: Option<&Allowlist>) -> bool {
    // Whoever changes it at the same time waits here.
    let before = settings::lock(settings::CATALOG).map(|_| read(sql::rows(STORED, &[])));
    if before.as_ref() == after {
        return false;
    }
    let nothing = Allowlist::default();
    let (old, new) = (before.as_ref().unwrap_or(&nothing), after.unwrap_or(&nothing));
    let document = || JsonB(new.to_json());
    let digest = sql::row("select to_jsonb(md5($1::text))", &[document().into()]);
    settings::write(settings::CATALOG, after.and(digest.as_ref()));
    sql::run(
        &format!(
            "delete from betweenrows.catalog_tables c where not exists (select from {WANTED}
                 where w.schema_name = c.schema_name and w.table_name is not distinct from c.table_name
                 and w.columns is not distinct from c.columns)"
        ),
        &[document().into()],
    );
    sql::run(
        &format!(
            "insert into betweenrows.catalog_tables (schema_name, table_name, columns, looked_up)
             select w.schema_name, w.table_name, w.columns, w.schema_name || '.' || coalesce(w.table_name, '') from {WANTED}
             on conflict (schema_name, table_name) do nothing"
        ),
        &[document().into()],
    );
    // What stays as it is is left out: an allowlist can be long.
    let part = |state: Option<&Allowlist>, part: Allowlist| state.map_or(Value::Null, |_| part.to_json());
    audit::record(
        "alter",
        settings::CATALOG,
        settings::CATALOG,
        &part(before.as_ref(), old.without(new)),
        &part(after, new.without(old)),
    );
    true
}

/// The rows that the document `$1` stands for. A schema without a list of tables is one of which all are selected.
const WANTED: &str = "(
    select s ->> 'schema' as schema_name, t ->> 'table' as table_name, t -> 'columns' as columns
    from jsonb_array_elements($1 -> 'schemas') s left join jsonb_array_elements(s -> 'tables') t on true) w";

/// The document that the rows stand for.
const STORED: &str = "
    select jsonb_build_object('schemas', coalesce(jsonb_agg(entry), '[]')) from (
        select jsonb_strip_nulls(jsonb_build_object('schema', c.schema_name, 'tables',
            case when bool_and(c.table_name is not null) then jsonb_agg(jsonb_strip_nulls(
                jsonb_build_object('table', c.table_name, 'columns', c.columns))) end)) as entry
        from betweenrows.catalog_tables c group by c.schema_name) s";

/// What cannot be understood, as by somebody's own hands, counts for nothing here as for enforcement.
fn read(rows: Vec<Value>) -> Allowlist {
    let document = rows.into_iter().next();
    document
        .and_then(|document| Allowlist::parse(&document).ok())
        .unwrap_or_default()
}
