//! The catalog follows names that changed elsewhere: of relations, columns, schemas and roles.

use pgrx::pg_sys::Oid;
use policy::model::{MAX_TARGETS, Target, Targets};
use policy::retarget::{self, Name};
use serde_json::Value;

use super::policies::{self, Stored};
use super::{audit, errors, query_audit, sql};
use crate::audit::overrides::Whose;
use crate::catalog;
use crate::pg::{self, relation, scan};

/// A name that changed.
pub(crate) enum Change {
    /// Schema and name of a relation.
    Relation {
        /// The relation.
        relid: Oid,
        /// Before.
        old: (String, String),
        /// Now.
        new: (String, String),
    },
    /// A column of a relation.
    Column {
        /// The relation.
        relid: Oid,
        /// Before.
        old: String,
        /// Now.
        new: String,
    },
    /// A schema.
    Schema {
        /// Before.
        old: String,
        /// Now.
        new: String,
    },
    /// A role of PostgreSQL.
    Role {
        /// Before.
        old: String,
        /// Now.
        new: String,
    },
    /// A role of PostgreSQL is gone.
    RoleDropped {
        /// Its name.
        name: String,
    },
}

impl Change {
    fn is_about_role(&self) -> bool {
        matches!(self, Change::Role { .. } | Change::RoleDropped { .. })
    }
}

/// How a policy stands after it followed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// It is about all that it was about.
    Kept,
    /// A pattern with a star was about a relation by its name, which has another one now.
    Left,
    /// It cannot follow: a pattern was about a column, the new name cannot be written as a target, or an expression means
    /// nothing in its new place.
    Lost,
}

/// Lets the catalog follow. Returns the names of the policies that are no longer about all that they were about.
///
/// What other sessions are writing is waited for, and read whatever the isolation level is: a policy that they commit
/// afterwards was written with the new names in sight.
pub(crate) fn changes(changes: &[Change]) -> Vec<(String, Outcome)> {
    let mut outcomes = Vec::new();
    if changes.iter().any(|change| !change.is_about_role()) {
        sql::run("lock table betweenrows.policies in share row exclusive mode", &[]);
        let names = sql::latest(
            "select to_jsonb(p.name) from betweenrows.policies p order by p.name",
            &[],
        );
        for name in names.iter().filter_map(Value::as_str) {
            outcomes.push((name.to_owned(), follow(name, changes)));
        }
    }
    if changes.iter().any(Change::is_about_role) {
        sql::run(
            "lock table betweenrows.policies, betweenrows.users, betweenrows.roles, betweenrows.exempt_roles
             in share row exclusive mode",
            &[],
        );
    }
    for change in changes {
        match change {
            Change::Role { old, new } => rename_role(old, new),
            Change::RoleDropped { name } => {
                end_exemption(name);
                query_audit::end_exception(Whose::User, name);
            }
            _ => {}
        }
    }
    outcomes.retain(|(_, outcome)| *outcome != Outcome::Kept);
    outcomes
}

/// The names of the policies that govern a relation only through parents that it is about to lose. `remaining` are the
/// ancestors that it keeps.
pub(crate) fn governed_through(relid: Oid, remaining: &[Oid]) -> Vec<String> {
    let (Some(own), Some(catalog)) = (pg::relation_name(relid), catalog::readable()) else {
        return Vec::new();
    };
    let (before, after) = (parents(relid), names_of(remaining));
    let lost = |targets: &[Target]| {
        retarget::covers_relation(targets, &with(&before, name_of(&own)))
            && !retarget::covers_relation(targets, &with(&after, name_of(&own)))
    };
    catalog
        .policies
        .iter()
        .filter(|policy| matches!(&policy.targets, Targets::Valid(targets) if lost(targets)))
        .map(|policy| policy.name.clone())
        .collect()
}

/// Lets one policy follow all changes. One whose targets cannot be read is about everything, whatever the names are.
fn follow(name: &str, changes: &[Change]) -> Outcome {
    // Most policies have nothing to do with it: their rows are not locked.
    let is_concerned = |targets: &[Target]| {
        let after = followed(targets, changes);
        after != targets || outcome(changes, targets, &after) != Outcome::Kept
    };
    let Some(stored) = policies::find(name) else {
        // The transaction's snapshot is older than the policy.
        errors::concurrent_change(&format!("policy \"{name}\""));
    };
    if !stored.parsed_targets().is_some_and(|targets| is_concerned(&targets)) {
        return Outcome::Kept;
    }
    let Some(stored) = policies::find_and_lock(name) else {
        errors::concurrent_change(&format!("policy \"{name}\""));
    };
    let Some(before) = stored.parsed_targets() else {
        return Outcome::Kept;
    };
    let after = followed(&before, changes);
    let outcome = outcome(changes, &before, &after);
    if after.len() > MAX_TARGETS || outcome == Outcome::Lost {
        return Outcome::Lost;
    }
    if after != before {
        policies::retarget(&stored, &after);
    }
    let moved = changes.iter().any(|change| !matches!(change, Change::Column { .. }));
    if moved && !is_applicable(&stored, after) {
        return Outcome::Lost;
    }
    outcome
}

/// The targets after all changes.
fn followed(before: &[Target], changes: &[Change]) -> Vec<Target> {
    let mut targets = before.to_vec();
    for change in changes {
        let followed = match change {
            Change::Relation { old, new, .. } => retarget::rename_relation(&targets, name_of(old), name_of(new)),
            Change::Schema { old, new } => retarget::rename_schema(&targets, old, new),
            Change::Column { relid, old, new } => pg::relation_name(*relid)
                .and_then(|relation| retarget::rename_column(&targets, name_of(&relation), old, new)),
            Change::Role { .. } | Change::RoleDropped { .. } => None,
        };
        targets = followed.unwrap_or(targets);
    }
    targets
}

fn name_of((schema, name): &(String, String)) -> Name<'_> {
    (schema, name)
}

fn outcome(changes: &[Change], before: &[Target], after: &[Target]) -> Outcome {
    let outcomes = changes.iter().map(|change| kept(change, before, after));
    outcomes.max().unwrap_or(Outcome::Kept)
}

/// Whether the new targets are about what has a new name if the old ones were.
fn kept(change: &Change, before: &[Target], after: &[Target]) -> Outcome {
    match change {
        Change::Relation { relid, old, new } => {
            let parents = parents(*relid);
            let covered = retarget::covers_relation(before, &with(&parents, name_of(old)));
            if !covered || retarget::covers_relation(after, &with(&parents, name_of(new))) {
                Outcome::Kept
            } else {
                left_or_lost(retarget::names_relation(before, name_of(old)))
            }
        }
        Change::Column { relid, old, new } => {
            let Some(own) = pg::relation_name(*relid) else {
                return Outcome::Kept;
            };
            let parents = parents(*relid);
            let names = with(&parents, name_of(&own));
            if !retarget::covers_column(before, &names, old) || retarget::covers_column(after, &names, new) {
                Outcome::Kept
            } else {
                Outcome::Lost
            }
        }
        Change::Schema { old, new } => relation::all_targets()
            .iter()
            .filter(|(_, schema, name)| {
                schema == new
                    && retarget::covers_relation(before, &[(old, name)])
                    && !retarget::covers_relation(after, &[(new, name)])
            })
            .map(|(_, _, name)| left_or_lost(retarget::names_schema(before, (old, name))))
            .max()
            .unwrap_or(Outcome::Kept),
        Change::Role { .. } | Change::RoleDropped { .. } => Outcome::Kept,
    }
}

/// Only a pattern with a star may be left: it is about names, an exact target is about what has the name.
fn left_or_lost(is_exact: bool) -> Outcome {
    if is_exact { Outcome::Lost } else { Outcome::Left }
}

fn parents(relid: Oid) -> Vec<(String, String)> {
    names_of(&relation::ancestors(relid))
}

fn names_of(relids: &[Oid]) -> Vec<(String, String)> {
    relids.iter().copied().filter_map(pg::relation_name).collect()
}

fn with<'a>(parents: &'a [(String, String)], own: Name<'a>) -> Vec<Name<'a>> {
    std::iter::once(own).chain(parents.iter().map(name_of)).collect()
}

/// Whether the expressions of an enabled policy can still be applied to all that it is about.
fn is_applicable(stored: &Stored, targets: Vec<Target>) -> bool {
    let Some(policy) = stored
        .parsed(Targets::Valid(targets))
        .filter(|policy| policy.is_enabled)
    else {
        return true;
    };
    match (catalog::readable(), crate::expression::compile::owner_role(&policy)) {
        (Some(catalog), Some(owner)) => crate::expression::validate::policy(&catalog, &policy, owner).is_none(),
        _ => true,
    }
}

/// A user is the login role of that name, membership counts by name, and so do exemption and ownership of policies.
fn rename_role(old: &str, new: &str) {
    if is_exempt_name(new) {
        crate::errors::exempt_name(new);
    }
    for (kind, taken, update) in [
        (
            "user",
            "select to_jsonb(t.username) from betweenrows.users t where t.username in ($1, $2)",
            "update betweenrows.users t set username = $2, updated_at = now() where t.username = $1
             returning to_jsonb(t)",
        ),
        (
            "role",
            "select to_jsonb(t.name) from betweenrows.roles t where t.name in ($1, $2)",
            "update betweenrows.roles t set name = $2, updated_at = now() where t.name = $1 returning to_jsonb(t)",
        ),
        (
            "exempt_role",
            "select to_jsonb(t.rolename) from betweenrows.exempt_roles t where t.rolename in ($1, $2)",
            "update betweenrows.exempt_roles t set rolename = $2 where t.rolename = $1 returning to_jsonb(t)",
        ),
    ] {
        let found = sql::latest(taken, &[old.into(), new.into()]);
        if found.len() > 1 {
            errors::duplicate(kind, new, "Drop it, or choose another name for the role.");
        }
        match sql::row(update, &[old.into(), new.into()]) {
            Some(after) => audit::record("rename", kind, new, &serde_json::json!({ "name": old }), &after),
            None if found.iter().any(|name| name.as_str() == Some(old)) => {
                errors::concurrent_change(&format!("{kind} \"{old}\""))
            }
            None => {}
        }
    }
    query_audit::rename_exceptions(old, new);
    policies::change_owner(old, new);
}

/// A role that is gone is no longer exempt: another one that gets its name was not meant.
fn end_exemption(name: &str) {
    let removed = sql::row(
        "delete from betweenrows.exempt_roles t where t.rolename = $1 returning to_jsonb(t)",
        &[name.into()],
    );
    if let Some(before) = removed {
        audit::record("drop", "exempt_role", name, &before, &Value::Null);
    }
}

/// Whether a role of that name is or would be exempt. A catalog that cannot be read exempts nobody.
pub(crate) fn is_exempt_name(name: &str) -> bool {
    let rows = catalog::epoch::namespace().and_then(|namespace| scan::read(namespace, "exempt_roles", None).ok());
    rows.is_some_and(|rows| rows.iter().any(|row| row.text("rolename") == Ok(name)))
}
