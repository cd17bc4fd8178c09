//! Roles: `create_role`, `alter_role`, `drop_role`.

use pgrx::{Uuid, prelude::*};
use serde_json::Value;

use super::assignments::Whom;
use super::{access, args, audit, errors, query_audit, sql};
use crate::audit::overrides::Whose;

const KIND: &str = "role";

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn create_role(name: Option<&str>, description: Option<&str>) -> Uuid {
    let name = args::object_name("name", name);
    let row = create(name, args::description(description), true)
        .unwrap_or_else(|| errors::duplicate(KIND, name, "Change it with betweenrows.alter_role()."));
    args::uuid(args::id_of(&row))
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn alter_role(name: Option<&str>, is_active: Option<bool>, description: Option<&str>) {
    let name = args::object_name("name", name);
    alter(name, is_active, args::description(description)).unwrap_or_else(|| undefined(name));
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn drop_role(name: Option<&str>) {
    drop(&lock(args::object_name("name", name)));
}

/// Creates a role; `None` when there is one of that name.
pub(crate) fn create(name: &str, description: Option<&str>, is_active: bool) -> Option<Value> {
    let row = sql::row(
        "insert into betweenrows.roles as r (name, description, is_active) values ($1, $2, $3)
         on conflict do nothing returning to_jsonb(r)",
        &[
            name.into(),
            args::stored_description(description).into(),
            is_active.into(),
        ],
    )?;
    audit::record("create", KIND, name, &Value::Null, &row);
    Some(row)
}

/// Changes a role and returns the names of what changed; `None` when there is no such role.
pub(crate) fn alter(name: &str, is_active: Option<bool>, description: Option<&str>) -> Option<Vec<&'static str>> {
    let before = find_and_lock(name)?;
    let was_active = before["is_active"].as_bool().unwrap_or(false);
    let old_description = before["description"].as_str();
    let is_active = is_active.unwrap_or(was_active);
    let description = args::changed_description(old_description, description);
    let mut changes = Vec::new();
    if is_active != was_active {
        changes.push("is_active");
    }
    if description != old_description {
        changes.push("description");
    }
    if !changes.is_empty() {
        let after = sql::row(
            "update betweenrows.roles r set is_active = $2, description = $3, updated_at = now() where r.id = $1
             returning to_jsonb(r)",
            &[
                args::uuid(args::id_of(&before)).into(),
                is_active.into(),
                description.into(),
            ],
        );
        audit::record("alter", KIND, name, &before, &after.unwrap_or_default());
    }
    Some(changes)
}

/// Drops a role that was read with [`lock`]; refused as long as policies are assigned to it, since dropping those
/// assignments would silently open what they close.
pub(crate) fn drop(before: &Value) {
    let id = args::uuid(args::id_of(before));
    let name = name_of(before);
    let policies = sql::rows(
        "select to_jsonb(p.name) from betweenrows.policy_assignments a join betweenrows.policies p on p.id = a.policy_id
         where a.role_id = $1 order by p.name",
        &[id.into()],
    );
    if !policies.is_empty() {
        errors::in_use(
            format!("role \"{name}\" cannot be dropped because policies are assigned to it"),
            &policies
                .iter()
                .map(|policy| format!("policy {policy}"))
                .collect::<Vec<_>>(),
            "End the assignments with betweenrows.unassign_policy() first.",
        );
    }
    let links = sql::row(
        "select jsonb_build_object(
             'members', (select coalesce(jsonb_agg(u.username order by u.username), '[]')
                         from betweenrows.role_members m join betweenrows.users u on u.id = m.user_id
                         where m.role_id = $1),
             'parents', (select coalesce(jsonb_agg(r.name order by r.name), '[]')
                         from betweenrows.role_parents p join betweenrows.roles r on r.id = p.parent_id
                         where p.role_id = $1),
             'children', (select coalesce(jsonb_agg(r.name order by r.name), '[]')
                          from betweenrows.role_parents p join betweenrows.roles r on r.id = p.role_id
                          where p.parent_id = $1))",
        &[id.into()],
    );
    access::revoke(Whom::Role(name));
    query_audit::end_exception(Whose::Role, name);
    sql::run("delete from betweenrows.roles where id = $1", &[id.into()]);
    let mut gone = before.clone();
    gone["links"] = links.unwrap_or_default();
    audit::record("drop", KIND, name, &gone, &Value::Null);
}

/// The row of a role, locked against other changes.
fn find_and_lock(name: &str) -> Option<Value> {
    sql::row(
        "select to_jsonb(r) from betweenrows.roles r where r.name = $1 for update",
        &[name.into()],
    )
}

/// The row of a role that has to exist, locked against other changes.
pub(crate) fn lock(name: &str) -> Value {
    find_and_lock(name).unwrap_or_else(|| undefined(name))
}

/// The row of a role that has to exist, locked against being dropped.
pub(crate) fn refer_to(name: &str) -> Value {
    sql::row(
        "select to_jsonb(r) from betweenrows.roles r where r.name = $1 for key share",
        &[name.into()],
    )
    .unwrap_or_else(|| undefined(name))
}

fn undefined(name: &str) -> ! {
    errors::undefined(KIND, name, "Create it with betweenrows.create_role().")
}

fn name_of(row: &Value) -> &str {
    row["name"].as_str().unwrap_or_default()
}
