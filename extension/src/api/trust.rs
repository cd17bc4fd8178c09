//! `trust()`: declassifying a view or a function.

use pgrx::pg_sys::Oid;
use pgrx::{notice, prelude::*};
use serde_json::{Value, json};

use super::{args, audit, errors, sql};
use crate::guard::trust::{Kind, Object};
use crate::{catalog, identity};

const KIND: &str = "trusted_object";

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn trust(object: Option<&str>, trusted: Option<bool>) {
    let object = args::required("object", object);
    if args::required("trusted", trusted) {
        grant(object);
    } else {
        revoke(object);
    }
}

/// What the name of an object stands for.
struct Named {
    kind: Kind,
    oid: Oid,
    schema: String,
    name: String,
}

fn grant(object: &str) {
    let Some(named) = find(object) else {
        errors::undefined(
            "view or function",
            object,
            "Give the name with its schema, and a function's with its argument types: shop.totals(integer).",
        );
    };
    if let Some(problem) = objection(&named) {
        errors::not_trustworthy(object, &problem);
    }
    let Some(current) = Object::look_at(named.kind, named.oid) else {
        errors::not_trustworthy(object, "It is not a view.");
    };
    let before = lock(named.kind, &current.identity);
    let fields = |row: &Value| [row["owner"].clone(), row["definition"].clone()];
    if before.as_ref().map(fields) == Some([json!(current.owner), json!(current.definition)]) {
        notice!("{} is already trusted", current.identity);
        return;
    }
    let after = sql::row(
        "insert into betweenrows.trusted_objects as t (kind, schema_name, object_name, identity, owner, definition)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (kind, identity) do update set owner = excluded.owner, definition = excluded.definition,
             created_by = session_user, created_at = now()
         returning to_jsonb(t)",
        &[
            named.kind.as_str().into(),
            named.schema.as_str().into(),
            named.name.as_str().into(),
            current.identity.as_str().into(),
            current.owner.as_str().into(),
            current.definition.as_str().into(),
        ],
    );
    let action = if before.is_some() { "alter" } else { "create" };
    audit::record(
        action,
        KIND,
        &current.identity,
        &before.unwrap_or_default(),
        &after.unwrap_or_default(),
    );
}

/// Ends the trust, also in an object that is gone: then the name has to be the one that status() shows.
fn revoke(object: &str) {
    let identity = find(object)
        .and_then(|named| Object::look_at(named.kind, named.oid))
        .map_or_else(|| object.to_owned(), |current| current.identity);
    let removed = sql::rows(
        "delete from betweenrows.trusted_objects t where t.identity = $1 returning to_jsonb(t)",
        &[identity.as_str().into()],
    );
    if removed.is_empty() {
        errors::undefined_link(
            format!("{object} is not trusted"),
            "See betweenrows.status() for what is.",
        );
    }
    for row in &removed {
        audit::record("drop", KIND, &identity, row, &Value::Null);
    }
}

/// Why an object cannot be trusted. A function decides by itself what it lets out, so it has to run with rights of its own
/// and must not be led astray by the caller's search_path, nor by what the caller takes a backslash for.
fn objection(named: &Named) -> Option<String> {
    if named.kind == Kind::View {
        return None;
    }
    let facts = sql::row(
        "select jsonb_build_object('kind', p.prokind, 'definer', p.prosecdef, 'owner', p.proowner::bigint, 'pinned',
             exists (select from unnest(p.proconfig) c where starts_with(c, 'search_path=')), 'shadowed',
             p.prosqlbody is null and exists (select from unnest(p.proconfig) c where starts_with(c, 'search_path=')
                 and replace(c, chr(34), '') !~ '(=|=pg_catalog|[=,] ?pg_temp)$'), 'backslash',
             strpos(p.prosrc, chr(92)) > 0 and p.prosqlbody is null and
             not exists (select from unnest(p.proconfig) c where starts_with(c, 'standard_conforming_strings=')), 'polymorphic',
             exists (select from unnest(p.proargtypes) a join pg_catalog.pg_type t on t.oid = a
                     where t.typtype = 'p' and starts_with(t.typname, 'any')))
         from pg_catalog.pg_proc p where p.oid = $1",
        &[named.oid.into()],
    )?;
    if !matches!(facts["kind"].as_str(), Some("f" | "p")) {
        return Some("It is an aggregate or window function.".to_owned());
    }
    if facts["definer"] != true {
        return Some("It is not SECURITY DEFINER.".to_owned());
    }
    if facts["pinned"] != true {
        return Some("It does not set its search_path.".to_owned());
    }
    if facts["shadowed"] == true {
        return Some(
            "Temporary tables of the caller come before its tables: its search_path does not end with pg_temp."
                .to_owned(),
        );
    }
    if facts["backslash"] == true {
        return Some("It has a backslash in its body and does not set standard_conforming_strings.".to_owned());
    }
    // The caller's types bring their casts and checks along.
    if facts["polymorphic"] == true {
        return Some("It has a polymorphic argument.".to_owned());
    }
    let owner = facts["owner"]
        .as_u64()
        .and_then(|oid| u32::try_from(oid).ok())
        .map(Oid::from)?;
    let exempt = catalog::catalog().is_some_and(|catalog| identity::is_exempt(&catalog, owner));
    (!exempt).then(|| "Its owner is not exempt.".to_owned())
}

/// The view or function of that name, which is looked for in the schema that the name says.
fn find(object: &str) -> Option<Named> {
    let row = sql::row(
        "select jsonb_build_object('class', o.class, 'oid', o.oid::bigint, 'schema', n.nspname, 'name', o.name)
         from (select 'view', c.oid, c.relname, c.relnamespace from pg_catalog.pg_class c
               where position('(' in $1) = 0 and c.oid = pg_catalog.to_regclass($1)
               union all
               select 'function', p.oid, p.proname, p.pronamespace from pg_catalog.pg_proc p
               where position('(' in $1) > 0 and p.oid = pg_catalog.to_regprocedure($1)) o (class, oid, name, schema)
         join pg_catalog.pg_namespace n on n.oid = o.schema",
        &[object.into()],
    )?;
    #[derive(serde::Deserialize)]
    struct Found {
        class: String,
        oid: u32,
        schema: String,
        name: String,
    }
    let found: Found = sql::read(row);
    let kind = if found.class == "view" {
        Kind::View
    } else {
        Kind::Function
    };
    Some(Named {
        kind,
        oid: found.oid.into(),
        schema: found.schema,
        name: found.name,
    })
}

fn lock(kind: Kind, identity: &str) -> Option<Value> {
    sql::row(
        "select to_jsonb(t) from betweenrows.trusted_objects t where t.kind = $1 and t.identity = $2 for update",
        &[kind.as_str().into(), identity.into()],
    )
}
