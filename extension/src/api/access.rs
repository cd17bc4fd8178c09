//! Who may use the database at all: `grant_access`, `revoke_access`, `require_access_grant`.

use pgrx::{notice, prelude::*};
use serde_json::{Value, json};

use super::assignments::{self, Whom};
use super::{args, audit, errors, settings, sql};

const KIND: &str = "access_grant";

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn grant_access(to_user: Option<&str>, to_role: Option<&str>) {
    let whom = assignments::whom(to_user, to_role);
    match (grant(whom), whom) {
        (true, Whom::Everyone) => notice!("everyone has access to this database now"),
        (true, _) => {}
        (false, _) => notice!("{whom} already has access"),
    }
    if !is_required() {
        notice!(
            "access grants are not required: everybody has access until betweenrows.require_access_grant() is called"
        );
    }
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn revoke_access(to_user: Option<&str>, to_role: Option<&str>) {
    let whom = assignments::whom(to_user, to_role);
    if !revoke(whom) {
        errors::undefined_link(
            format!("access is not granted to {whom}"),
            "Name the same user or role as in the grant, and neither for a grant to everyone.",
        );
    }
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn require_access_grant(required: Option<bool>) {
    require(args::required("required", required));
}

/// Grants access; `false` when that was granted already.
pub(crate) fn grant(whom: Whom) -> bool {
    let (user_id, role_id) = whom.ids();
    let granted = sql::row(
        "insert into betweenrows.access_grants as g (user_id, role_id, grantee)
         values ($1, $2, coalesce($1, $2, '00000000-0000-0000-0000-000000000000')) on conflict do nothing
         returning to_jsonb(g)",
        &[user_id.into(), role_id.into()],
    );
    if granted.is_some() {
        audit::record("grant", KIND, &whom.to_string(), &Value::Null, &whom.to_json());
    }
    granted.is_some()
}

/// Ends a grant; `false` when there is none.
pub(crate) fn revoke(whom: Whom) -> bool {
    let (user_id, role_id) = whom.ids();
    let revoked = sql::row(
        "delete from betweenrows.access_grants g
         where g.user_id is not distinct from $1 and g.role_id is not distinct from $2 returning to_jsonb(g.id)",
        &[user_id.into(), role_id.into()],
    );
    if revoked.is_some() {
        audit::record("revoke", KIND, &whom.to_string(), &whom.to_json(), &Value::Null);
    }
    revoked.is_some()
}

/// Says whether subjects need a grant; `false` when it was so already.
pub(crate) fn require(required: bool) -> bool {
    let is_default = !required && settings::stored(settings::REQUIRE_ACCESS_GRANT).is_none();
    !is_default && settings::store(settings::REQUIRE_ACCESS_GRANT, &json!(required))
}

/// Whether subjects need a grant. Like enforcement, this takes anything unreadable for true.
pub(crate) fn is_required() -> bool {
    settings::stored(settings::REQUIRE_ACCESS_GRANT).is_some_and(|value| value != json!(false))
}
