//! Who asks.
//!
//! Invariant: no role switch escapes a policy. The subject is the session's login role; only when that one is exempt does
//! the current role count, and it is a subject unless it is exempt too.

pub(crate) mod switch;

use pgrx::pg_sys::{self, Oid};

use crate::catalog::Catalog;
use crate::pg::leaf;

/// The role on whose behalf a statement runs, `None` when it is exempt from all policies.
pub(crate) fn subject_role(catalog: &Catalog) -> Option<Oid> {
    let (session, current) = (leaf::GetSessionUserId(), leaf::GetUserId());
    if !is_exempt(catalog, session) {
        return Some(session);
    }
    (current != session && !is_exempt(catalog, current)).then_some(current)
}

/// Whether login and current role are both superusers.
pub(crate) fn is_superuser_only() -> bool {
    // SAFETY: reads backend state and cached catalog rows.
    unsafe { pg_sys::superuser_arg(leaf::GetSessionUserId()) && pg_sys::superuser() }
}

/// Whether a role is exempt: a superuser, or listed by its exact name.
pub(crate) fn is_exempt(catalog: &Catalog, role: Oid) -> bool {
    // SAFETY: a cached catalog lookup.
    let superuser = unsafe { pg_sys::superuser_arg(role) };
    superuser || catalog.exempt_roles.contains(&role)
}
