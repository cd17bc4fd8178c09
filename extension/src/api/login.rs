//! Creating login roles.
//!
//! Invariants: a password appears in no statement text, so that neither logs nor error contexts nor statistics show it;
//! a role that exists is never changed, so that no administrator of policies gets hold of somebody else's role.

use std::ffi::CString;

use pgrx::{PgBox, prelude::*};
use serde_json::{Value, json};

use super::{audit, errors, sql};

/// Whether there is a PostgreSQL role of that name.
pub(crate) fn exists(name: &str) -> bool {
    !sql::look(
        "select to_jsonb(r.oid) from pg_catalog.pg_roles r where r.rolname = $1",
        &[name.into()],
    )
    .is_empty()
}

/// Creates a login role without any further privilege.
pub(crate) fn create(name: &str, password: &str) {
    if password.is_empty() {
        errors::invalid_argument(
            "password",
            "An empty password lets nobody in.",
            "Give a password, or null for a user whose login role exists or is created otherwise.",
        );
    }
    // The grammar, which a statement text would pass, refuses these; CREATE ROLE itself knows only about "pg_".
    if matches!(name, "public" | "none") || name.starts_with("pg_") {
        errors::reserved_role_name(name);
    }
    if exists(name) {
        errors::duplicate(
            "role",
            name,
            "Leave the password out to manage the existing login role as a user.",
        );
    }
    run_create_role(name, password);
    audit::record("create", "login_role", name, &Value::Null, &json!({"name": name}));
}

/// Runs CREATE ROLE as a tree: hooks see it like any other, with a text that leaves the password out.
fn run_create_role(name: &str, password: &str) {
    let c_name = c_string(name);
    let c_password = c_string(password);
    let text = c_string(&format!("create role {} login", pgrx::spi::quote_identifier(name)));
    // SAFETY: the nodes are allocated in the current memory context and outlive the call; the strings do, too.
    // ProcessUtility works on a copy of a read-only tree and checks everything else itself.
    unsafe {
        let mut options = pg_sys::lappend(
            std::ptr::null_mut(),
            pg_sys::makeDefElem(c"canlogin".as_ptr().cast_mut(), pg_sys::makeBoolean(true).cast(), -1).cast(),
        );
        let secret = pg_sys::makeString(c_password.as_ptr().cast_mut());
        options = pg_sys::lappend(
            options,
            pg_sys::makeDefElem(c"password".as_ptr().cast_mut(), secret.cast(), -1).cast(),
        );
        let mut create = PgBox::<pg_sys::CreateRoleStmt>::alloc_node(pg_sys::NodeTag::T_CreateRoleStmt);
        create.stmt_type = pg_sys::RoleStmtType::ROLESTMT_ROLE;
        create.role = c_name.as_ptr().cast_mut();
        create.options = options;
        let mut planned = PgBox::<pg_sys::PlannedStmt>::alloc_node(pg_sys::NodeTag::T_PlannedStmt);
        planned.commandType = pg_sys::CmdType::CMD_UTILITY;
        planned.canSetTag = true;
        planned.utilityStmt = create.into_pg().cast();
        planned.stmt_location = -1;
        pg_sys::ProcessUtility(
            planned.into_pg(),
            text.as_ptr(),
            true,
            pg_sys::ProcessUtilityContext::PROCESS_UTILITY_QUERY,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            pg_sys::None_Receiver,
            std::ptr::null_mut(),
        );
        pg_sys::CommandCounterIncrement();
    }
}

fn c_string(text: &str) -> CString {
    CString::new(text).expect("a text value has no NUL")
}
