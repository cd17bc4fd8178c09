//! Memberships of users in roles: `add_member`, `remove_member`.

use pgrx::{notice, prelude::*};
use serde_json::{Value, json};

use super::{args, audit, errors, roles, sql, users};

const KIND: &str = "member";

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn add_member(role: Option<&str>, username: Option<&str>) {
    let (role, username) = (args::object_name("role", role), args::username("username", username));
    if !add(role, username) {
        notice!("user \"{username}\" is already a member of role \"{role}\"");
    }
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn remove_member(role: Option<&str>, username: Option<&str>) {
    let (role, username) = (args::object_name("role", role), args::username("username", username));
    if !remove(role, username) {
        errors::undefined_link(
            format!("user \"{username}\" is not a member of role \"{role}\""),
            "Membership in the PostgreSQL role of that name ends with REVOKE.",
        );
    }
}

/// Makes a user a member of a role; `false` when it is one already.
pub(crate) fn add(role: &str, username: &str) -> bool {
    let added = sql::row(
        "insert into betweenrows.role_members as m (role_id, user_id) values ($1, $2)
         on conflict do nothing returning to_jsonb(m)",
        &ids(role, username).map(Into::into),
    );
    if added.is_some() {
        audit::record("add", KIND, role, &Value::Null, &link(role, username));
    }
    added.is_some()
}

/// Ends a membership; `false` when there is none.
pub(crate) fn remove(role: &str, username: &str) -> bool {
    let removed = sql::row(
        "delete from betweenrows.role_members m where m.role_id = $1 and m.user_id = $2 returning to_jsonb(m)",
        &ids(role, username).map(Into::into),
    );
    if removed.is_some() {
        audit::record("remove", KIND, role, &link(role, username), &Value::Null);
    }
    removed.is_some()
}

fn ids(role: &str, username: &str) -> [pgrx::Uuid; 2] {
    [roles::refer_to(role), users::refer_to(username)].map(|row| args::uuid(args::id_of(&row)))
}

fn link(role: &str, username: &str) -> Value {
    json!({"role": role, "username": username})
}
