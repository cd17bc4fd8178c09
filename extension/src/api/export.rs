//! `export()`: the catalog as a policy document, in an order that depends on names only; `catalog_digest()`: whether it changed.

use pgrx::{JsonB, prelude::*};
use policy::document::VERSION;
use serde_json::{Value, json};

use super::{access, allowlist, settings, sql};

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn export() -> JsonB {
    let mut document = json!({
        "version": VERSION,
        "access_mode": settings::access_mode().as_str(),
        "attributes": Value::Array(sql::look(ATTRIBUTES, &[])),
        "roles": Value::Array(sql::look(ROLES, &[])),
        "users": Value::Array(sql::look(USERS, &[])),
        "decision_functions": Value::Array(sql::look(DECISION_FUNCTIONS, &[])),
        "policies": Value::Array(sql::look(POLICIES, &[])),
    });
    if access::is_required() {
        document["access"] = Value::Array(sql::look(ACCESS, &[]));
    }
    if let Some(allowlist) = allowlist::current() {
        document["catalog"] = allowlist.to_json();
    }
    JsonB(document)
}

/// See the comment on the SQL function.
///
/// The transactions that wrote the rows, whoever wrote them: a transaction that began earlier than another and commits later
/// changes it too, which the highest id in `admin_audit` would not.
#[pg_extern(sql = false)]
fn catalog_digest() -> String {
    let of_table = |table: &str| {
        format!(
            "select '{table}' as name, count(*) as number, sum(pg_catalog.hashint8(t.xmin::text::bigint)) as writers
             from betweenrows.{table} t"
        )
    };
    let query = format!(
        "select to_jsonb(md5(string_agg(concat_ws(' ', t.name, t.number, t.writers), ' ' order by t.name))) from ({}) t",
        MANAGED.map(of_table).join(" union all ")
    );
    sql::look(&query, &[]).pop().map(sql::read).unwrap_or_default()
}

/// The tables that decisions depend on.
const MANAGED: [&str; 13] = [
    "access_grants",
    "attribute_definitions",
    "catalog_tables",
    "decision_functions",
    "exempt_roles",
    "policies",
    "policy_assignments",
    "role_members",
    "role_parents",
    "roles",
    "settings",
    "trusted_objects",
    "users",
];

const ATTRIBUTES: &str = "
    select jsonb_strip_nulls(jsonb_build_object('key', d.key, 'value_type', d.value_type,
        'default_value', d.default_value, 'allowed_values', d.allowed_values, 'required', d.required,
        'description', d.description))
    from betweenrows.attribute_definitions d order by d.key";

const ROLES: &str = "
    select jsonb_strip_nulls(jsonb_build_object('name', r.name, 'description', r.description, 'is_active', r.is_active,
        'parents', (select coalesce(jsonb_agg(above.name order by above.name), '[]')
                    from betweenrows.role_parents p join betweenrows.roles above on above.id = p.parent_id
                    where p.role_id = r.id)))
    from betweenrows.roles r order by r.name";

const USERS: &str = "
    select jsonb_build_object('username', u.username, 'is_active', u.is_active, 'attributes', u.attributes,
        'roles', (select coalesce(jsonb_agg(r.name order by r.name), '[]')
                  from betweenrows.role_members m join betweenrows.roles r on r.id = m.role_id
                  where m.user_id = u.id))
    from betweenrows.users u order by u.username";

// What is null in a config is a value.
const DECISION_FUNCTIONS: &str = "
    select jsonb_strip_nulls(jsonb_build_object('name', f.name, 'description', f.description, 'source', f.source,
        'evaluate_context', f.evaluate_context, 'on_error', f.on_error, 'log_level', f.log_level,
        'is_enabled', f.is_enabled)) || jsonb_build_object('config', f.config)
    from betweenrows.decision_functions f order by f.name";

const ACCESS: &str = "
    select jsonb_strip_nulls(jsonb_build_object('user', u.username, 'role', r.name))
    from betweenrows.access_grants g left join betweenrows.users u on u.id = g.user_id
    left join betweenrows.roles r on r.id = g.role_id order by r.name, u.username";

const POLICIES: &str = "
    select jsonb_strip_nulls(jsonb_build_object('name', p.name, 'policy_type', p.policy_type,
        'description', p.description, 'is_enabled', p.is_enabled, 'targets', p.targets, 'definition', p.definition,
        'decision_function', (select f.name from betweenrows.decision_functions f where f.id = p.decision_function_id),
        'assignments', (select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('user', u.username,
                            'role', r.name, 'priority', a.priority)) order by r.name, u.username), '[]')
                        from betweenrows.policy_assignments a left join betweenrows.users u on u.id = a.user_id
                        left join betweenrows.roles r on r.id = a.role_id where a.policy_id = p.id)))
    from betweenrows.policies p order by p.name";
