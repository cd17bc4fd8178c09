//! Whether a subject may use the database at all.
//!
//! Invariant: where a grant is required, a subject that no grant reaches is not admitted, whatever policies say.

use crate::model::{Id, Scope};
use std::collections::BTreeSet;

/// What keeps a subject out, if anything does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Nothing: policies decide what it may see.
    Admitted,
    /// Its user is switched off.
    Inactive,
    /// A grant is required and it has none.
    WithoutGrant,
}

/// The standing of a subject. `grants` are the access grants, `None` where none is required; `user` is `None` for a subject
/// without a user row; `roles` are the subject's active roles with what they inherit.
pub fn standing(is_active: bool, grants: Option<&[Scope]>, user: Option<Id>, roles: &BTreeSet<Id>) -> Standing {
    if !is_active {
        return Standing::Inactive;
    }
    match grants {
        Some(grants) if !grants.iter().any(|grant| grant.reaches(user, roles)) => Standing::WithoutGrant,
        _ => Standing::Admitted,
    }
}
