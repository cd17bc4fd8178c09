//! Assignments of policies: `assign_policy`, `unassign_policy`.

use pgrx::{Uuid, prelude::*};
use serde_json::{Value, json};

use super::{args, audit, errors, policies, roles, sql, users};

const KIND: &str = "assignment";

/// For whom an assignment is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom<'a> {
    Everyone,
    User(&'a str),
    Role(&'a str),
}

/// What [`assign`] did.
pub(crate) struct Assigned {
    /// The assignment.
    pub(crate) id: Uuid,
    /// Its earlier priority, when there was such an assignment already.
    pub(crate) old_priority: Option<i32>,
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn assign_policy(policy: Option<&str>, to_user: Option<&str>, to_role: Option<&str>, priority: Option<i32>) -> Uuid {
    let policy = args::object_name("policy", policy);
    let whom = whom(to_user, to_role);
    assign(policy, whom, args::required("priority", priority)).id
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn unassign_policy(policy: Option<&str>, to_user: Option<&str>, to_role: Option<&str>) {
    let policy = args::object_name("policy", policy);
    let whom = whom(to_user, to_role);
    if !unassign(policy, whom) {
        errors::undefined_link(
            format!("policy \"{policy}\" is not assigned to {whom}"),
            "Name the same user or role as in the assignment, and neither for an assignment to everyone.",
        );
    }
}

/// The arguments `to_user` and `to_role`.
pub(crate) fn whom<'a>(to_user: Option<&'a str>, to_role: Option<&'a str>) -> Whom<'a> {
    match (to_user, to_role) {
        (None, None) => Whom::Everyone,
        (Some(_), None) => Whom::User(args::username("to_user", to_user)),
        (None, Some(_)) => Whom::Role(args::object_name("to_role", to_role)),
        (Some(_), Some(_)) => errors::conflicting_arguments(
            "to_user and to_role cannot be combined",
            "Call the function for each, or leave both out for everyone.",
        ),
    }
}

/// Assigns a policy, or changes the priority of the assignment that exists.
pub(crate) fn assign(policy: &str, whom: Whom, priority: i32) -> Assigned {
    let policy_id = policies::refer_to(policy);
    let (user_id, role_id) = whom.ids();
    let created = sql::row(
        "insert into betweenrows.policy_assignments as a (policy_id, user_id, role_id, priority) values ($1, $2, $3, $4)
         on conflict do nothing returning to_jsonb(a)",
        &[args::uuid(policy_id).into(), user_id.into(), role_id.into(), priority.into()],
    );
    if let Some(row) = created {
        audit::record("assign", KIND, policy, &Value::Null, &whom.describe(policy, priority));
        return Assigned {
            id: args::uuid(args::id_of(&row)),
            old_priority: None,
        };
    }
    let before = sql::row(
        "select to_jsonb(a) from betweenrows.policy_assignments a
         where a.policy_id = $1 and a.user_id is not distinct from $2 and a.role_id is not distinct from $3 for update",
        &[args::uuid(policy_id).into(), user_id.into(), role_id.into()],
    )
    .unwrap_or_else(|| errors::concurrent_change(&format!("policy \"{policy}\"")));
    let id = args::uuid(args::id_of(&before));
    let old: i32 = sql::read(before["priority"].clone());
    if old != priority {
        sql::run(
            "update betweenrows.policy_assignments set priority = $2 where id = $1",
            &[id.into(), priority.into()],
        );
        audit::record(
            "alter",
            KIND,
            policy,
            &whom.describe(policy, old),
            &whom.describe(policy, priority),
        );
    }
    Assigned {
        id,
        old_priority: Some(old),
    }
}

/// Ends an assignment; `false` when there is none.
pub(crate) fn unassign(policy: &str, whom: Whom) -> bool {
    let policy_id = policies::refer_to(policy);
    let (user_id, role_id) = whom.ids();
    let removed = sql::row(
        "delete from betweenrows.policy_assignments a
         where a.policy_id = $1 and a.user_id is not distinct from $2 and a.role_id is not distinct from $3
         returning to_jsonb(a.priority)",
        &[args::uuid(policy_id).into(), user_id.into(), role_id.into()],
    );
    if let Some(priority) = &removed {
        audit::record(
            "unassign",
            KIND,
            policy,
            &whom.describe(policy, sql::read(priority.clone())),
            &Value::Null,
        );
    }
    removed.is_some()
}

impl Whom<'_> {
    /// The ids for the columns `user_id` and `role_id`; both have to exist if named.
    pub(crate) fn ids(self) -> (Option<Uuid>, Option<Uuid>) {
        let id = |row: Value| Some(args::uuid(args::id_of(&row)));
        match self {
            Whom::Everyone => (None, None),
            Whom::User(name) => (id(users::refer_to(name)), None),
            Whom::Role(name) => (None, id(roles::refer_to(name))),
        }
    }

    fn describe(self, policy: &str, priority: i32) -> Value {
        let mut value = self.to_json();
        value["policy"] = json!(policy);
        value["priority"] = json!(priority);
        value
    }

    /// As in a policy document.
    pub(crate) fn to_json(self) -> Value {
        match self {
            Whom::Everyone => json!({}),
            Whom::User(name) => json!({ "user": name }),
            Whom::Role(name) => json!({ "role": name }),
        }
    }
}

impl std::fmt::Display for Whom<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Whom::Everyone => f.write_str("everyone"),
            Whom::User(name) => write!(f, "user \"{name}\""),
            Whom::Role(name) => write!(f, "role \"{name}\""),
        }
    }
}
