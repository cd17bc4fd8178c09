//! What holds for the whole database: `set_access_mode`, `exempt_role`.

use pgrx::{notice, prelude::*};
use policy::model::{self, AccessMode};
use serde_json::{Value, json};

use super::{args, audit, errors, login, sql};

const ACCESS_MODE: &str = "access_mode";
/// The key of whether subjects need an access grant.
pub(crate) const REQUIRE_ACCESS_GRANT: &str = "require_access_grant";
/// The key of the catalog allowlist.
pub(crate) const CATALOG: &str = "catalog";
/// All keys there are.
pub(crate) const KEYS: [&str; 4] = [ACCESS_MODE, "audit", CATALOG, REQUIRE_ACCESS_GRANT];

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn set_access_mode(mode: Option<&str>) {
    store_access_mode(args::valid(
        "access mode",
        model::parse_access_mode(args::required("mode", mode)),
    ));
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn exempt_role(role: Option<&str>, exempt: Option<bool>) {
    let role = args::username("role", role);
    if args::required("exempt", exempt) {
        if !login::exists(role) {
            errors::undefined(
                "role",
                role,
                "Name a role of PostgreSQL; betweenrows roles cannot be exempted.",
            );
        }
        let created = sql::row(
            "insert into betweenrows.exempt_roles as e (rolename) values ($1) on conflict do nothing returning to_jsonb(e)",
            &[role.into()],
        );
        match created {
            Some(row) => audit::record("create", "exempt_role", role, &Value::Null, &row),
            None => notice!("role \"{role}\" is already exempt"),
        }
    } else {
        let removed = sql::row(
            "delete from betweenrows.exempt_roles e where e.rolename = $1 returning to_jsonb(e)",
            &[role.into()],
        );
        match removed {
            Some(row) => audit::record("drop", "exempt_role", role, &row, &Value::Null),
            None => errors::undefined_link(
                format!("role \"{role}\" is not exempt"),
                "Superusers are always exempt; other roles are when betweenrows.status() lists them.",
            ),
        }
    }
}

/// Stores the access mode; `false` when it was that already.
pub(crate) fn store_access_mode(mode: AccessMode) -> bool {
    let is_default = mode == AccessMode::default() && stored_access_mode().is_none();
    !is_default && store(ACCESS_MODE, &json!(mode.as_str()))
}

/// Stores a setting; `false` when it was that already.
pub(crate) fn store(key: &str, after: &Value) -> bool {
    let before = lock(key);
    if before.as_ref() == Some(after) {
        return false;
    }
    write(key, Some(after));
    audit::record("alter", key, key, &before.unwrap_or_default(), after);
    true
}

/// A setting as it is stored, locked against other changes.
pub(crate) fn lock(key: &str) -> Option<Value> {
    let stored = || {
        sql::row(
            "select s.value from betweenrows.settings s where s.key = $1 for update",
            &[key.into()],
        )
    };
    stored().or_else(|| {
        // There is nothing to lock, and whoever stores it first must not be overwritten unread.
        sql::run("lock table betweenrows.settings in share row exclusive mode", &[]);
        stored()
    })
}

/// Whether a setting is stored.
pub(crate) fn is_stored(key: &str) -> bool {
    sql::row(
        "select to_jsonb(1) from betweenrows.settings s where s.key = $1",
        &[key.into()],
    )
    .is_some()
}

/// Stores a setting, or removes it; the caller sees to the record.
pub(crate) fn write(key: &str, value: Option<&Value>) {
    match value {
        Some(value) => sql::run(
            "insert into betweenrows.settings as s (key, value) values ($1, $2)
             on conflict (key) do update set value = excluded.value, updated_by = session_user, updated_at = now()",
            &[key.into(), pgrx::JsonB(value.clone()).into()],
        ),
        None => sql::run("delete from betweenrows.settings s where s.key = $1", &[key.into()]),
    }
}

/// The access mode in force; open when none is stored.
pub(crate) fn access_mode() -> AccessMode {
    match stored_access_mode() {
        None => AccessMode::default(),
        // Like enforcement, which takes anything unreadable for the closed mode.
        Some(value) => parse_stored_access_mode(&value).unwrap_or(AccessMode::PolicyRequired),
    }
}

/// The access mode as it is stored.
pub(crate) fn stored_access_mode() -> Option<Value> {
    stored(ACCESS_MODE)
}

/// A setting as it is stored.
pub(crate) fn stored(key: &str) -> Option<Value> {
    sql::look(
        "select s.value from betweenrows.settings s where s.key = $1",
        &[key.into()],
    )
    .pop()
}

/// What a stored access mode means, if anything.
pub(crate) fn parse_stored_access_mode(value: &Value) -> Option<AccessMode> {
    model::parse_access_mode(value.as_str()?).ok()
}
