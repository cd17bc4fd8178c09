//! Policies: `create_policy`, `alter_policy`, `drop_policy`.
//!
//! Invariant: every change of a policy makes a new version, kept in `policy_versions` for ever; whoever alters a policy
//! holds its row, so that two sessions cannot alter the same version.

use pgrx::{AnyElement, Uuid, prelude::*};
use policy::model::{self, Definition, Policy, PolicyType, Target, Targets};
use serde::Deserialize;
use serde_json::Value;

use super::{args, audit, check, decision_functions, errors, json, query_audit, sql};
use crate::audit::overrides::Whose;

const KIND: &str = "policy";

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn create_policy(
    name: Option<&str>,
    policy_type: Option<&str>,
    targets: Option<AnyElement>,
    definition: Option<AnyElement>,
    description: Option<&str>,
    decision_function: Option<&str>,
    is_enabled: Option<bool>,
) -> Uuid {
    let name = args::object_name("name", name);
    let policy_type = args::valid(
        "policy type",
        model::parse_policy_type(args::required("policy_type", policy_type)),
    );
    let targets = args::required("targets", json::argument("targets", targets));
    let definition = json::argument("definition", definition);
    let content = Content {
        policy_type,
        targets: suitable_targets(policy_type, &targets),
        definition: suitable_definition(policy_type, definition.as_ref()),
        decision_function,
        description: args::description(description),
        is_enabled: args::required("is_enabled", is_enabled),
    };
    let created = create(name, &content)
        .unwrap_or_else(|| errors::duplicate(KIND, name, "Change it with betweenrows.alter_policy()."));
    args::uuid(created.id())
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn alter_policy(
    name: Option<&str>,
    expected_version: Option<i32>,
    targets: Option<AnyElement>,
    definition: Option<AnyElement>,
    description: Option<&str>,
    decision_function: Option<&str>,
    is_enabled: Option<bool>,
) -> i32 {
    let name = args::object_name("name", name);
    let targets = json::argument("targets", targets);
    let definition = json::argument("definition", definition);
    let before = lock(name);
    if let Some(expected) = expected_version
        && expected != before.version
    {
        errors::stale_version(&format!("policy \"{name}\""), expected, before.version);
    }
    let policy_type = before.policy_type();
    let change = Change {
        policy_type: None,
        targets: targets.map(|value| suitable_targets(policy_type, &value)),
        definition: definition.map(|value| suitable_definition(policy_type, Some(&value))),
        decision_function,
        description: args::description(description),
        is_enabled,
    };
    alter(&before, &change).version
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn drop_policy(name: Option<&str>) {
    drop(&lock(args::object_name("name", name)));
}

/// What a policy consists of, apart from its name.
pub(crate) struct Content<'a> {
    pub(crate) policy_type: PolicyType,
    pub(crate) targets: Vec<Target>,
    pub(crate) definition: Definition,
    /// The name of the function that decides whether it takes part.
    pub(crate) decision_function: Option<&'a str>,
    pub(crate) description: Option<&'a str>,
    pub(crate) is_enabled: bool,
}

/// What is to change of a policy; `None` leaves alone, an empty description clears.
#[derive(Default)]
pub(crate) struct Change<'a> {
    /// Goes with targets and a definition that suit it.
    pub(crate) policy_type: Option<PolicyType>,
    pub(crate) targets: Option<Vec<Target>>,
    pub(crate) definition: Option<Definition>,
    /// An empty name takes the function away.
    pub(crate) decision_function: Option<&'a str>,
    pub(crate) description: Option<&'a str>,
    pub(crate) is_enabled: Option<bool>,
}

/// What [`alter`] did.
pub(crate) struct Altered {
    /// The version that the policy has now.
    pub(crate) version: i32,
    /// The names of what changed.
    pub(crate) changes: Vec<&'static str>,
}

/// A policy as the catalog holds it. Targets and definition may be unusable, written by a superuser: altering the policy
/// is how to repair it.
#[derive(Deserialize)]
pub(crate) struct Stored {
    id: String,
    pub(crate) name: String,
    policy_type: String,
    pub(crate) version: i32,
    targets: Value,
    definition: Value,
    decision_function_id: Option<String>,
    description: Option<String>,
    is_enabled: bool,
    owner: String,
    #[serde(skip)]
    row: Value,
}

impl Stored {
    fn from_row(row: Value) -> Self {
        Stored {
            row: row.clone(),
            ..sql::read(row)
        }
    }

    pub(crate) fn id(&self) -> model::Id {
        args::parse_id(&self.id)
    }

    pub(crate) fn policy_type(&self) -> PolicyType {
        model::parse_policy_type(&self.policy_type)
            .unwrap_or_else(|issue| errors::corrupt_catalog(format!("policy \"{}\": {issue}", self.name)))
    }

    fn decision_function(&self) -> Option<model::Id> {
        self.decision_function_id.as_deref().map(args::parse_id)
    }

    /// The targets, `None` when they are unusable.
    pub(crate) fn parsed_targets(&self) -> Option<Vec<Target>> {
        model::parse_targets(&self.targets).ok()
    }

    /// The policy with other targets; `None` when it is unusable.
    pub(crate) fn parsed(&self, targets: Targets) -> Option<Policy> {
        let policy_type = model::parse_policy_type(&self.policy_type).ok()?;
        Some(Policy {
            id: self.id(),
            name: self.name.clone(),
            version: self.version,
            policy_type,
            targets,
            definition: model::parse_definition(policy_type, Some(&self.definition)).ok()?,
            is_enabled: self.is_enabled,
            owner: self.owner.clone(),
            decision_function: self.decision_function(),
        })
    }

    /// The policy's expressions use this attribute.
    fn uses(&self, key: &str) -> bool {
        check::keys(&model::Definition::from_json(
            self.policy_type(),
            Some(&self.definition),
        ))
        .contains(key)
    }
}

/// Creates a policy; `None` when there is one of that name.
pub(crate) fn create(name: &str, content: &Content) -> Option<Stored> {
    let (targets, definition) = (content.targets.clone(), content.definition.clone());
    check::policy(name, content.policy_type, targets, definition, &session_user());
    let decision_function = gating(content.decision_function);
    let row = sql::row(
        "insert into betweenrows.policies as p (name, policy_type, targets, definition, description, is_enabled,
                                                decision_function_id)
         values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing returning to_jsonb(p)",
        &[
            name.into(),
            content.policy_type.as_str().into(),
            json::parameter(&model::targets_to_json(&content.targets)).into(),
            json::parameter(&content.definition.to_json().unwrap_or_default()).into(),
            args::stored_description(content.description).into(),
            content.is_enabled.into(),
            decision_function.into(),
        ],
    )?;
    let created = Stored::from_row(row);
    keep_version(&created, "create");
    audit::record("create", KIND, name, &Value::Null, &created.row);
    Some(created)
}

/// Changes a policy that was read with [`lock`].
///
/// Whoever changes the definition or what it is about becomes the owner, since its subqueries read with the owner's rights:
/// nobody can make another role's rights serve an expression of their own, or one of that role's on another relation.
pub(crate) fn alter(before: &Stored, change: &Change) -> Altered {
    let targets = change
        .targets
        .as_ref()
        .map_or_else(|| before.targets.clone(), |new| model::targets_to_json(new));
    let definition = match &change.definition {
        Some(definition) => definition.to_json().unwrap_or_default(),
        None => before.definition.clone(),
    };
    let description = args::changed_description(before.description.as_deref(), change.description);
    let is_enabled = change.is_enabled.unwrap_or(before.is_enabled);
    let decision_function = match change.decision_function {
        None => before.decision_function().map(args::uuid),
        name => gating(name),
    };
    let mut changes = Vec::new();
    if change.policy_type.is_some_and(|new| new.as_str() != before.policy_type) {
        changes.push("policy_type");
    }
    if targets != before.targets {
        changes.push("targets");
    }
    if definition != before.definition {
        changes.push("definition");
    }
    if decision_function != before.decision_function().map(args::uuid) {
        changes.push("decision_function");
    }
    if description != before.description.as_deref() {
        changes.push("description");
    }
    if is_enabled != before.is_enabled {
        changes.push("is_enabled");
    }
    if changes.is_empty() {
        return Altered {
            version: before.version,
            changes,
        };
    }
    let policy_type = change.policy_type.unwrap_or_else(|| before.policy_type());
    let rewritten = changes
        .iter()
        .any(|change| matches!(*change, "policy_type" | "targets" | "definition"));
    if rewritten || (is_enabled && !before.is_enabled) {
        let targets = suitable_targets(policy_type, &targets);
        let definition = suitable_definition(policy_type, Some(&definition));
        let owner = if rewritten {
            session_user()
        } else {
            before.owner.clone()
        };
        check::policy(&before.name, policy_type, targets, definition, &owner);
    }
    let row = sql::row(
        "update betweenrows.policies p
         set targets = $2, definition = $3, description = $4, is_enabled = $5, version = p.version + 1,
             policy_type = $7, decision_function_id = $8, owner = case when $6 then session_user::text else p.owner end, updated_by = session_user, updated_at = now()
         where p.id = $1 returning to_jsonb(p)",
        &[
            args::uuid(before.id()).into(),
            json::parameter(&targets).into(),
            json::parameter(&definition).into(),
            description.into(),
            is_enabled.into(),
            rewritten.into(),
            policy_type.as_str().into(),
            decision_function.into(),
        ],
    );
    let after = Stored::from_row(row.unwrap_or_default());
    keep_version(&after, "alter");
    audit::record("alter", KIND, &before.name, &before.row, &after.row);
    Altered {
        version: after.version,
        changes,
    }
}

/// Gives a policy that was read with [`lock`] other targets, since what they name has got other names.
pub(crate) fn retarget(before: &Stored, targets: &[Target]) {
    let row = sql::row(
        "update betweenrows.policies p
         set targets = $2, version = p.version + 1, updated_by = session_user, updated_at = now()
         where p.id = $1 returning to_jsonb(p)",
        &[
            args::uuid(before.id()).into(),
            json::parameter(&model::targets_to_json(targets)).into(),
        ],
    );
    record_change(before, row);
}

/// Lets the policies of a role follow its name.
pub(crate) fn change_owner(old: &str, new: &str) {
    let owned = sql::rows(
        "select to_jsonb(p) from betweenrows.policies p where p.owner = $1 order by p.name for update",
        &[old.into()],
    );
    for before in owned.into_iter().map(Stored::from_row) {
        let row = sql::row(
            "update betweenrows.policies p
             set owner = $2, version = p.version + 1, updated_by = session_user, updated_at = now()
             where p.id = $1 returning to_jsonb(p)",
            &[args::uuid(before.id()).into(), new.into()],
        );
        record_change(&before, row);
    }
}

fn record_change(before: &Stored, row: Option<Value>) {
    let after = Stored::from_row(row.unwrap_or_default());
    keep_version(&after, "alter");
    audit::record("alter", KIND, &before.name, &before.row, &after.row);
}

/// Drops a policy that was read with [`lock`], with its assignments.
pub(crate) fn drop(before: &Stored) {
    let id = args::uuid(before.id());
    let assignments = sql::rows(
        "select jsonb_build_object('user', u.username, 'role', r.name, 'priority', a.priority)
         from betweenrows.policy_assignments a left join betweenrows.users u on u.id = a.user_id
         left join betweenrows.roles r on r.id = a.role_id where a.policy_id = $1 order by u.username, r.name",
        &[id.into()],
    );
    keep_version(before, "drop");
    query_audit::end_exception(Whose::Policy, &before.name);
    sql::run("delete from betweenrows.policies where id = $1", &[id.into()]);
    let mut gone = before.row.clone();
    gone["assignments"] = Value::Array(assignments);
    audit::record("drop", KIND, &before.name, &gone, &Value::Null);
}

/// A policy as it is now.
pub(crate) fn find(name: &str) -> Option<Stored> {
    sql::row(
        "select to_jsonb(p) from betweenrows.policies p where p.name = $1",
        &[name.into()],
    )
    .map(Stored::from_row)
}

/// A policy, locked against other changes.
pub(crate) fn find_and_lock(name: &str) -> Option<Stored> {
    sql::row(
        "select to_jsonb(p) from betweenrows.policies p where p.name = $1 for update",
        &[name.into()],
    )
    .map(Stored::from_row)
}

/// A policy that has to exist, locked against other changes.
pub(crate) fn lock(name: &str) -> Stored {
    find_and_lock(name).unwrap_or_else(|| undefined(name))
}

/// The id of a policy that has to exist, locked against being dropped.
pub(crate) fn refer_to(name: &str) -> model::Id {
    sql::row(
        "select to_jsonb(p) from betweenrows.policies p where p.name = $1 for key share",
        &[name.into()],
    )
    .map_or_else(|| undefined(name), |row| args::id_of(&row))
}

/// The names of the policies whose expressions use an attribute.
pub(crate) fn names_using(key: &str) -> Vec<String> {
    using(key).into_iter().map(|policy| policy.name).collect()
}

/// Checks the policies whose expressions use an attribute, after its definition has changed.
pub(crate) fn check_those_using(key: &str) {
    for policy in using(key).into_iter().filter(|policy| policy.is_enabled) {
        let policy_type = policy.policy_type();
        let targets = suitable_targets(policy_type, &policy.targets);
        let definition = suitable_definition(policy_type, Some(&policy.definition));
        check::policy(&policy.name, policy_type, targets, definition, &policy.owner);
    }
}

fn using(key: &str) -> Vec<Stored> {
    sql::latest("select to_jsonb(p) from betweenrows.policies p order by p.name", &[])
        .into_iter()
        .map(Stored::from_row)
        .filter(|policy| policy.uses(key))
        .collect()
}

fn suitable_targets(policy_type: PolicyType, value: &Value) -> Vec<Target> {
    let targets = args::valid("targets", model::parse_targets(value));
    args::valid("targets", model::check_targets(policy_type, &targets));
    targets
}

fn suitable_definition(policy_type: PolicyType, value: Option<&Value>) -> Definition {
    args::valid("definition", model::parse_definition(policy_type, value))
}

/// The decision function of that name, locked against being dropped; none for an empty name.
fn gating(name: Option<&str>) -> Option<Uuid> {
    let name = name.filter(|name| !name.is_empty())?;
    Some(args::uuid(decision_functions::refer_to(name)))
}

/// The role that is logged in, who owns what it writes.
fn session_user() -> String {
    // SAFETY: reads backend state.
    crate::pg::role_name(unsafe { pg_sys::GetSessionUserId() }).unwrap_or_default()
}

fn keep_version(policy: &Stored, operation: &str) {
    sql::run(
        "insert into betweenrows.policy_versions (policy_id, version, name, policy_type, targets, definition, description,
                                                  is_enabled, owner, operation, decision_function)
         select p.id, p.version + (case when $2 = 'drop' then 1 else 0 end), p.name, p.policy_type, p.targets,
                p.definition, p.description, p.is_enabled, p.owner, $2, f.name
         from betweenrows.policies p left join betweenrows.decision_functions f on f.id = p.decision_function_id
         where p.id = $1",
        &[args::uuid(policy.id()).into(), operation.into()],
    );
}

fn undefined(name: &str) -> ! {
    errors::undefined(KIND, name, "Create it with betweenrows.create_policy().")
}
