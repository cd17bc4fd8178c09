//! `betweenrows.whoami`: the only function for everyone.

use pgrx::JsonB;
use pgrx::pg_sys;
use pgrx::prelude::*;
use policy::access::Standing;
use serde_json::json;

use crate::{catalog, identity, pg};

/// Who the session is for policies: `{login_role, username, is_exempt, user_id, is_active, has_access, roles,
/// attributes}`. A role without a user row has a null `user_id` and no attributes.
#[pg_extern(sql = false)]
fn whoami() -> JsonB {
    // SAFETY: reads backend state.
    let login = unsafe { pg_sys::GetSessionUserId() };
    let login_role = pg::role_name(login);
    let Some(catalog) = catalog::catalog() else {
        return JsonB(json!({ "login_role": login_role }));
    };
    let Some(session) = identity::subject_role(&catalog).and_then(catalog::session_of) else {
        return JsonB(json!({ "login_role": login_role, "username": login_role, "is_exempt": true }));
    };
    let subject = &session.subject;
    let roles: Vec<&str> = subject.roles.iter().filter_map(|id| catalog.roles.name(*id)).collect();
    JsonB(json!({
        "login_role": login_role,
        "username": subject.name,
        "is_exempt": false,
        "user_id": subject.user.map(|id| pgrx::Uuid::from_bytes(id.to_be_bytes()).to_string()),
        "is_active": subject.standing != Standing::Inactive,
        "has_access": subject.standing == Standing::Admitted,
        "roles": roles,
        "attributes": subject.attributes,
    }))
}
