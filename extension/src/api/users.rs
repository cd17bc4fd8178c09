//! Users: `create_user`, `alter_user`, `set_attribute`, `drop_user`.

use pgrx::{AnyElement, JsonB, Uuid, notice, prelude::*};
use serde_json::{Map, Value, json};

use super::assignments::Whom;
use super::{access, args, attributes, audit, errors, json, login, query_audit, sql};
use crate::audit::overrides::Whose;

const KIND: &str = "user";

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn create_user(
    username: Option<&str>,
    password: Option<&str>,
    attributes: Option<AnyElement>,
    is_active: Option<bool>,
) -> Uuid {
    let username = args::username("username", username);
    let attributes = args::required("attributes", json::argument("attributes", attributes));
    let is_active = args::required("is_active", is_active);
    let row = create(username, &attributes, is_active)
        .unwrap_or_else(|| errors::duplicate(KIND, username, "Change it with betweenrows.alter_user()."));
    if let Some(password) = password {
        login::create(username, password);
    }
    args::uuid(args::id_of(&row))
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn alter_user(username: Option<&str>, is_active: Option<bool>, attributes: Option<AnyElement>) {
    let username = args::username("username", username);
    let attributes = json::argument("attributes", attributes);
    alter(username, is_active, attributes.as_ref()).unwrap_or_else(|| undefined(username));
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn set_attribute(username: Option<&str>, key: Option<&str>, value: Option<AnyElement>) {
    let username = args::username("username", username);
    let key = args::required("key", key);
    let value = json::argument("value", value).unwrap_or(Value::Null);
    // A null takes the value away, which is only right for a key that exists.
    attributes::check_values("attributes", &Map::from_iter([(key.to_owned(), value.clone())]));
    let before = lock(username);
    let mut values = attributes_of(&before);
    if value.is_null() {
        values.shift_remove(key);
    } else {
        values.insert(key.to_owned(), value);
    }
    store(&before, is_active_of(&before), &values);
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn drop_user(username: Option<&str>) {
    let username = args::username("username", username);
    drop(&lock(username));
    if login::exists(username) {
        notice!(
            "the role \"{username}\" can still log in; only policies that are assigned to everyone apply to it now"
        );
    }
}

/// Creates a user; `None` when there is one of that name.
pub(crate) fn create(username: &str, attributes: &Value, is_active: bool) -> Option<Value> {
    let values = checked_attributes(attributes);
    let row = sql::row(
        "insert into betweenrows.users as u (username, is_active, attributes) values ($1, $2, $3)
         on conflict do nothing returning to_jsonb(u)",
        &[username.into(), is_active.into(), JsonB(Value::Object(values)).into()],
    )?;
    audit::record("create", KIND, username, &Value::Null, &row);
    Some(row)
}

/// Changes a user and returns the names of what changed; `None` when there is no such user.
///
/// The attributes are checked, and their definitions locked, before the user is: that is the order everywhere.
pub(crate) fn alter(username: &str, is_active: Option<bool>, attributes: Option<&Value>) -> Option<Vec<&'static str>> {
    let values = attributes.map(checked_attributes);
    let before = find_and_lock(username)?;
    let values = values.unwrap_or_else(|| attributes_of(&before));
    Some(store(&before, is_active.unwrap_or(is_active_of(&before)), &values))
}

/// Takes a user's value for an attribute away.
pub(crate) fn remove_attribute(username: &str, key: &str) {
    if let Some(before) = find_and_lock(username) {
        let mut values = attributes_of(&before);
        values.shift_remove(key);
        store(&before, is_active_of(&before), &values);
    }
}

/// Drops a user that was read with [`lock`]; refused as long as policies are assigned to it, since dropping those
/// assignments would silently open what they close.
pub(crate) fn drop(before: &Value) {
    let id = args::uuid(args::id_of(before));
    let username = name_of(before);
    let policies = sql::rows(
        "select to_jsonb(p.name) from betweenrows.policy_assignments a join betweenrows.policies p on p.id = a.policy_id
         where a.user_id = $1 order by p.name",
        &[id.into()],
    );
    if !policies.is_empty() {
        errors::in_use(
            format!("user \"{username}\" cannot be dropped because policies are assigned to it"),
            &policies.iter().map(|name| format!("policy {name}")).collect::<Vec<_>>(),
            "End the assignments with betweenrows.unassign_policy() first.",
        );
    }
    let roles = sql::rows(
        "select to_jsonb(r.name) from betweenrows.role_members m join betweenrows.roles r on r.id = m.role_id
         where m.user_id = $1 order by r.name",
        &[id.into()],
    );
    access::revoke(Whom::User(username));
    query_audit::end_exception(Whose::User, username);
    sql::run("delete from betweenrows.users where id = $1", &[id.into()]);
    let mut gone = before.clone();
    gone["roles"] = Value::Array(roles);
    audit::record("drop", KIND, username, &gone, &Value::Null);
}

/// The row of a user, locked against other changes.
fn find_and_lock(username: &str) -> Option<Value> {
    sql::row(
        "select to_jsonb(u) from betweenrows.users u where u.username = $1 for update",
        &[username.into()],
    )
}

/// The row of a user that has to exist, locked against other changes.
pub(crate) fn lock(username: &str) -> Value {
    find_and_lock(username).unwrap_or_else(|| undefined(username))
}

/// The row of a user that has to exist, locked against being dropped.
pub(crate) fn refer_to(username: &str) -> Value {
    sql::row(
        "select to_jsonb(u) from betweenrows.users u where u.username = $1 for key share",
        &[username.into()],
    )
    .unwrap_or_else(|| undefined(username))
}

fn undefined(username: &str) -> ! {
    errors::undefined(KIND, username, "Create it with betweenrows.create_user().")
}

fn name_of(row: &Value) -> &str {
    row["username"].as_str().unwrap_or_default()
}

fn is_active_of(row: &Value) -> bool {
    row["is_active"].as_bool().unwrap_or(false)
}

fn attributes_of(row: &Value) -> Map<String, Value> {
    row["attributes"].as_object().cloned().unwrap_or_default()
}

/// Attribute values that fit their definitions; a null stands for no value.
fn checked_attributes(attributes: &Value) -> Map<String, Value> {
    let Some(values) = attributes.as_object() else {
        errors::invalid_argument(
            "attributes",
            "It is not a JSON object.",
            "Give an object with a value for each attribute, like {\"tenant\": \"acme\"}.",
        );
    };
    attributes::check_values("attributes", values);
    values
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn store(before: &Value, is_active: bool, attributes: &Map<String, Value>) -> Vec<&'static str> {
    let mut changes = Vec::new();
    if is_active != is_active_of(before) {
        changes.push("is_active");
    }
    if *attributes != attributes_of(before) {
        changes.push("attributes");
    }
    if !changes.is_empty() {
        let after = sql::row(
            "update betweenrows.users u set is_active = $2, attributes = $3, updated_at = now() where u.id = $1
             returning to_jsonb(u)",
            &[
                args::uuid(args::id_of(before)).into(),
                is_active.into(),
                JsonB(json!(attributes)).into(),
            ],
        );
        audit::record("alter", KIND, name_of(before), before, &after.unwrap_or_default());
    }
    changes
}
