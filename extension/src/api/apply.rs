//! `apply()`: bringing the catalog in line with a policy document.
//!
//! The same functions do the work as behind the SQL functions of each noun, so that the same checks and the same audit
//! hold. A dry run does all of it in a subtransaction that is rolled back: what it answers is what would happen.
//!
//! Links (parents, memberships, assignments) and objects that the document does not list are removed by `prune` only, and
//! only those that the session's login role created.

use pgrx::iter::TableIterator;
use pgrx::{AnyElement, PgTryBuilder, name, prelude::*};
use policy::allowlist::Allowlist;
use policy::document::{Assignee, Document, PolicySpec, RoleSpec, Switch, UserSpec};
use policy::function::FunctionSpec;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::assignments::{self, Whom};
use super::policies::{self, Change, Content};
use super::{
    access, allowlist, args, attributes, decision_functions, errors, json, members, parents, roles, settings, sql,
    users,
};

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn apply(
    document: Option<AnyElement>,
    prune: Option<bool>,
    dry_run: Option<bool>,
) -> TableIterator<
    'static,
    (
        name!(action, String),
        name!(kind, String),
        name!(name, String),
        name!(detail, String),
    ),
> {
    let document = args::required("document", json::argument("document", document));
    let prune = args::required("prune", prune);
    let dry_run = args::required("dry_run", dry_run);
    let document = Document::parse(&document).unwrap_or_else(|issues| errors::malformed("policy document", &issues));
    let steps = if dry_run {
        rolled_back(|| run(&document, prune))
    } else {
        run(&document, prune)
    };
    TableIterator::new(
        steps
            .into_iter()
            .map(|step| (step.action.to_owned(), step.kind.to_owned(), step.name, step.detail)),
    )
}

/// One thing that was done, or with the action `none` an object that was fine as it is.
struct Step {
    action: &'static str,
    kind: &'static str,
    name: String,
    detail: String,
}

struct Run {
    prune: bool,
    steps: Vec<Step>,
}

/// The order lets everything find what it refers to: definitions before values, roles before members, edges removed
/// before edges are added, and what is dropped last and in the opposite order.
fn run(document: &Document, prune: bool) -> Vec<Step> {
    let mut run = Run {
        prune,
        steps: Vec::new(),
    };
    if let Some(mode) = document.access_mode {
        let action = if settings::store_access_mode(mode) {
            "alter"
        } else {
            "none"
        };
        run.step(action, "access_mode", mode.as_str(), "");
    }
    let mut redefined = Vec::new();
    for (path, definition) in each(&document.attributes, "attributes") {
        redefined.push((definition, errors::at(&path, || run.attribute(definition))));
    }
    for (path, role) in each(&document.roles, "roles") {
        errors::at(&path, || run.role(role));
    }
    run.parents(document.roles.as_deref().unwrap_or_default());
    for (path, user) in each(&document.users, "users") {
        errors::at(&path, || run.user(user));
    }
    for (path, function) in each(&document.decision_functions, "decision_functions") {
        errors::at(&path, || run.decision_function(function));
    }
    for (path, policy) in each(&document.policies, "policies") {
        errors::at(&path, || run.policy(policy));
    }
    run.access(&document.access);
    run.catalog(&document.catalog);
    // Only now, because the document may have changed the uses along with the definitions.
    for (definition, changes) in redefined {
        attributes::check_uses(definition, &changes);
    }
    if prune {
        run.drop_unlisted(document);
    }
    run.steps
}

impl Run {
    fn step(&mut self, action: &'static str, kind: &'static str, name: &str, detail: impl Into<String>) {
        self.steps.push(Step {
            action,
            kind,
            name: name.to_owned(),
            detail: detail.into(),
        });
    }

    fn altered(&mut self, kind: &'static str, name: &str, changes: &[&'static str]) {
        let action = if changes.is_empty() { "none" } else { "alter" };
        self.step(action, kind, name, changes.join(", "));
    }

    /// The names of what changed in an older definition.
    fn attribute(&mut self, definition: &policy::attribute::Definition) -> Vec<&'static str> {
        let defined = attributes::define(definition);
        if defined.is_new {
            self.step("create", "attribute", &definition.key, definition.value_type.as_str());
        } else {
            self.altered("attribute", &definition.key, &defined.changes);
        }
        defined.changes
    }

    fn role(&mut self, role: &RoleSpec) {
        match roles::alter(&role.name, role.is_active, role.description.as_deref()) {
            Some(changes) => self.altered("role", &role.name, &changes),
            None => {
                roles::create(&role.name, role.description.as_deref(), role.is_active.unwrap_or(true))
                    .unwrap_or_else(|| errors::concurrent_change(&format!("role \"{}\"", role.name)));
                self.step("create", "role", &role.name, "");
            }
        }
    }

    fn parents(&mut self, roles: &[RoleSpec]) {
        let listed = || {
            let paths = (0..).map(|index| format!("roles[{index}].parents"));
            paths
                .zip(roles)
                .filter_map(|(path, role)| Some((path, &role.name, role.parents.as_ref()?)))
        };
        if self.prune {
            for (path, role, wanted) in listed() {
                for parent in mine(MY_PARENTS, role)
                    .into_iter()
                    .filter(|parent| !wanted.contains(parent))
                {
                    if errors::at(&path, || parents::remove(role, &parent)) {
                        self.step("remove", "parent", role, parent);
                    }
                }
            }
        }
        for (path, role, wanted) in listed() {
            for parent in wanted {
                if errors::at(&path, || parents::add(role, parent)) {
                    self.step("add", "parent", role, parent);
                }
            }
        }
    }

    fn user(&mut self, user: &UserSpec) {
        let name = &user.username;
        let attributes = user.attributes.clone().map(Value::Object);
        match users::alter(name, user.is_active, attributes.as_ref()) {
            Some(changes) => self.altered("user", name, &changes),
            None => {
                let attributes = attributes.unwrap_or_else(|| Value::Object(Map::new()));
                users::create(name, &attributes, user.is_active.unwrap_or(true))
                    .unwrap_or_else(|| errors::concurrent_change(&format!("user \"{name}\"")));
                self.step("create", "user", name, "");
            }
        }
        let Some(wanted) = &user.roles else { return };
        if self.prune {
            for role in mine(MY_MEMBERSHIPS, name)
                .into_iter()
                .filter(|role| !wanted.contains(role))
            {
                if members::remove(&role, name) {
                    self.step("remove", "member", &role, name);
                }
            }
        }
        for role in wanted {
            if members::add(role, name) {
                self.step("add", "member", role, name);
            }
        }
    }

    fn decision_function(&mut self, function: &FunctionSpec) {
        let name = &function.name;
        let content = decision_functions::Content {
            source: function.source.clone(),
            config: function.config.clone(),
            evaluate_context: function.evaluate_context,
            on_error: function.on_error,
            log_level: function.log_level,
            description: function.description.clone(),
            is_enabled: function.is_enabled,
        };
        match decision_functions::find_and_lock(name) {
            Some(before) => {
                let altered = decision_functions::alter(&before, &content);
                self.altered("decision_function", name, &altered.changes);
            }
            None => {
                decision_functions::create(name, &content)
                    .unwrap_or_else(|| errors::concurrent_change(&format!("decision function \"{name}\"")));
                self.step("create", "decision_function", name, function.evaluate_context.as_str());
            }
        }
    }

    fn policy(&mut self, policy: &PolicySpec) {
        let name = &policy.name;
        match policies::find_and_lock(name) {
            Some(before) => {
                let altered = policies::alter(
                    &before,
                    &Change {
                        policy_type: Some(policy.policy_type),
                        targets: Some(policy.targets.clone()),
                        definition: Some(policy.definition.clone()),
                        // A document says it all: without a function there is to be none.
                        decision_function: Some(policy.decision_function.as_deref().unwrap_or_default()),
                        description: policy.description.as_deref(),
                        is_enabled: Some(policy.is_enabled),
                    },
                );
                self.altered("policy", name, &altered.changes);
            }
            None => {
                let content = Content {
                    policy_type: policy.policy_type,
                    targets: policy.targets.clone(),
                    definition: policy.definition.clone(),
                    decision_function: policy.decision_function.as_deref(),
                    description: policy.description.as_deref(),
                    is_enabled: policy.is_enabled,
                };
                policies::create(name, &content)
                    .unwrap_or_else(|| errors::concurrent_change(&format!("policy \"{name}\"")));
                self.step("create", "policy", name, policy.policy_type.as_str());
            }
        }
        let Some(wanted) = &policy.assignments else { return };
        if self.prune {
            for existing in mine::<Existing>(MY_ASSIGNMENTS, name) {
                let whom = existing.whom();
                if !wanted.iter().any(|assignment| to_whom(&assignment.to) == whom) && assignments::unassign(name, whom)
                {
                    self.step("unassign", "assignment", name, whom.to_string());
                }
            }
        }
        for assignment in wanted {
            let whom = to_whom(&assignment.to);
            let assigned = assignments::assign(name, whom, assignment.priority);
            match assigned.old_priority {
                None => self.step(
                    "assign",
                    "assignment",
                    name,
                    format!("{whom}, priority {}", assignment.priority),
                ),
                Some(old) if old != assignment.priority => {
                    self.step(
                        "alter",
                        "assignment",
                        name,
                        format!("{whom}, priority {}", assignment.priority),
                    );
                }
                Some(_) => {}
            }
        }
    }

    fn access(&mut self, access: &Switch<Vec<Assignee>>) {
        let wanted = match access {
            Switch::Keep => return,
            Switch::Off => &Vec::new(),
            Switch::On(wanted) => wanted,
        };
        if self.prune {
            for existing in sql::rows(MY_GRANTS, &[]).into_iter().map(sql::read::<Existing>) {
                let whom = existing.whom();
                if !wanted.iter().any(|assignee| to_whom(assignee) == whom) && access::revoke(whom) {
                    self.step("revoke", "access_grant", &whom.to_string(), "");
                }
            }
        }
        for (index, assignee) in wanted.iter().enumerate() {
            let whom = to_whom(assignee);
            if errors::at(&format!("access[{index}]"), || access::grant(whom)) {
                self.step("grant", "access_grant", &whom.to_string(), "");
            }
        }
        let required = matches!(access, Switch::On(_));
        let action = if access::require(required) { "alter" } else { "none" };
        self.step(action, "require_access_grant", &required.to_string(), "");
    }

    fn catalog(&mut self, catalog: &Switch<Allowlist>) {
        let before = allowlist::current();
        match catalog {
            Switch::Keep => {}
            Switch::Off => {
                let action = if allowlist::clear() { "drop" } else { "none" };
                self.step(action, "catalog", "catalog", "");
            }
            Switch::On(wanted) => {
                let action = match &before {
                    _ if !allowlist::set(wanted) => "none",
                    Some(_) => "alter",
                    None => "create",
                };
                self.step(action, "catalog", "catalog", "");
                for difference in wanted.differences(&before.unwrap_or_default()) {
                    self.step(difference.action, "catalog", &difference.name, difference.detail);
                }
            }
        }
    }

    /// Drops what the session's login role created and a section that is there does not list.
    fn drop_unlisted(&mut self, document: &Document) {
        for name in unlisted(&document.policies, MY_POLICIES, |policy| &policy.name) {
            policies::drop(&policies::lock(&name));
            self.step("drop", "policy", &name, "");
        }
        for name in unlisted(&document.decision_functions, MY_FUNCTIONS, |function| &function.name) {
            decision_functions::drop(&decision_functions::lock(&name));
            self.step("drop", "decision_function", &name, "");
        }
        for name in unlisted(&document.users, MY_USERS, |user| &user.username) {
            users::drop(&users::lock(&name));
            self.step("drop", "user", &name, "");
        }
        for name in unlisted(&document.roles, MY_ROLES, |role| &role.name) {
            roles::drop(&roles::lock(&name));
            self.step("drop", "role", &name, "");
        }
        for key in unlisted(&document.attributes, MY_ATTRIBUTES, |definition| &definition.key) {
            if let Some(before) = attributes::find_and_lock(&key) {
                attributes::drop(&before, false);
                self.step("drop", "attribute", &key, "");
            }
        }
    }
}

const MY_PARENTS: &str = "
    select to_jsonb(above.name) from betweenrows.role_parents p join betweenrows.roles r on r.id = p.role_id
    join betweenrows.roles above on above.id = p.parent_id
    where p.created_by = session_user and r.name = $1 order by above.name";

const MY_MEMBERSHIPS: &str = "
    select to_jsonb(r.name) from betweenrows.role_members m join betweenrows.roles r on r.id = m.role_id
    join betweenrows.users u on u.id = m.user_id
    where m.created_by = session_user and u.username = $1 order by r.name";

const MY_ASSIGNMENTS: &str = "
    select jsonb_build_object('user', u.username, 'role', r.name) from betweenrows.policy_assignments a
    join betweenrows.policies p on p.id = a.policy_id left join betweenrows.users u on u.id = a.user_id
    left join betweenrows.roles r on r.id = a.role_id
    where a.created_by = session_user and p.name = $1 order by r.name, u.username";

const MY_POLICIES: &str =
    "select to_jsonb(p.name) from betweenrows.policies p where p.created_by = session_user order by p.name";
const MY_FUNCTIONS: &str =
    "select to_jsonb(f.name) from betweenrows.decision_functions f where f.created_by = session_user order by f.name";
const MY_USERS: &str =
    "select to_jsonb(u.username) from betweenrows.users u where u.created_by = session_user order by u.username";
const MY_ROLES: &str =
    "select to_jsonb(r.name) from betweenrows.roles r where r.created_by = session_user order by r.name";
const MY_ATTRIBUTES: &str =
    "select to_jsonb(d.key) from betweenrows.attribute_definitions d where d.created_by = session_user order by d.key";

const MY_GRANTS: &str = "
    select jsonb_build_object('user', u.username, 'role', r.name) from betweenrows.access_grants g
    left join betweenrows.users u on u.id = g.user_id left join betweenrows.roles r on r.id = g.role_id
    where g.created_by = session_user order by r.name, u.username";

/// For whom an assignment or a grant is that exists.
#[derive(Deserialize)]
struct Existing {
    user: Option<String>,
    role: Option<String>,
}

impl Existing {
    fn whom(&self) -> Whom<'_> {
        match (&self.user, &self.role) {
            (Some(user), _) => Whom::User(user),
            (None, Some(role)) => Whom::Role(role),
            (None, None) => Whom::Everyone,
        }
    }
}

fn to_whom(assignee: &Assignee) -> Whom<'_> {
    match assignee {
        Assignee::Everyone => Whom::Everyone,
        Assignee::User(name) => Whom::User(name),
        Assignee::Role(name) => Whom::Role(name),
    }
}

/// The items of a section with their paths; none when the section is absent.
fn each<'a, T>(section: &'a Option<Vec<T>>, name: &str) -> impl Iterator<Item = (String, &'a T)> {
    section
        .iter()
        .flatten()
        .enumerate()
        .map(move |(index, item)| (format!("{name}[{index}]"), item))
}

/// What the session's login role created among what belongs to `name`.
fn mine<T: serde::de::DeserializeOwned>(query: &str, name: &str) -> Vec<T> {
    sql::rows(query, &[name.into()]).into_iter().map(sql::read).collect()
}

/// Names that the query finds and the section does not list; none when the section is absent.
fn unlisted<T>(section: &Option<Vec<T>>, query: &str, name: impl Fn(&T) -> &String) -> Vec<String> {
    let Some(items) = section else { return Vec::new() };
    let listed: std::collections::HashSet<&String> = items.iter().map(name).collect();
    let found: Vec<String> = sql::rows(query, &[]).into_iter().map(sql::read).collect();
    found.into_iter().filter(|name| !listed.contains(name)).collect()
}

/// Runs `f` in a subtransaction and rolls that back, whatever comes of it.
fn rolled_back<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: these bracket `f` as PL/pgSQL brackets a block with an exception handler: the memory context and resource
    // owner of before are put back, and an error leaves no open subtransaction behind for an outer handler to roll back
    // in place of its own.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        let roll_back = move || {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::CurrentResourceOwner = owner;
        };
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        PgTryBuilder::new(std::panic::AssertUnwindSafe(f))
            .finally(roll_back)
            .execute()
    }
}
