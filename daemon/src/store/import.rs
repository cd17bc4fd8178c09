//! Bringing the store in line with a policy document.
//!
//! The nouns' own functions do the work, so that the same checks and the same audit hold. Sections that are absent are
//! left alone. Whoever wants to know beforehand runs it and does not commit.

mod data_source;

use std::collections::{BTreeMap, BTreeSet};

use policy::document::{Assignee, Document, PolicySpec, RoleSpec, Switch, UserSpec};
use policy::function::FunctionSpec;
use policy::model::targets_to_json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::assignments::{self, To};
use super::sync_states::Step;
use super::{Change, Window, attributes, data_sources, decision_functions, desired, policies, roles, users};
use crate::check::{self, Problem};
use crate::document::{Elsewhere, File};
use crate::error::{Error, Result};

/// What to make of a document.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The data source that access mode, assignments, access grants and catalog are for.
    pub data_source: Option<Uuid>,
    /// Whether to remove what a section that is there does not list. Administrators are never removed.
    pub prune: bool,
}

struct Import<'a, 'b> {
    change: &'a mut Change<'b>,
    options: Options,
    steps: Vec<Step>,
}

/// Does it, and says what was done.
pub async fn run(change: &mut Change<'_>, file: &File, options: Options) -> Result<Vec<Step>> {
    let document = &file.document;
    if options.data_source.is_none() {
        let assigns = document
            .policies
            .iter()
            .flatten()
            .any(|policy| policy.assignments.is_some());
        let opens = document.access != Switch::Keep || document.catalog != Switch::Keep;
        if document.access_mode.is_some() || assigns || opens {
            return Err(Error::BadRequest(
                "the document has an access mode, assignments, access grants or a catalog: say for which data source"
                    .to_owned(),
            ));
        }
    }
    let mut import = Import {
        change,
        options,
        steps: Vec::new(),
    };
    import.attributes(document).await?;
    import.roles(document.roles.as_deref().unwrap_or_default()).await?;
    for user in document.users.iter().flatten() {
        at("user", &user.username, import.user(user).await)?;
    }
    import.data_source(document).await?;
    for function in document.decision_functions.iter().flatten() {
        at("decision function", &function.name, import.function(function).await)?;
    }
    for policy in document.policies.iter().flatten() {
        at("policy", &policy.name, import.policy(policy).await)?;
    }
    for other in &file.elsewhere {
        at("policy", &other.policy, import.elsewhere(other).await)?;
    }
    if options.prune {
        import.prune(document).await?;
    }
    Ok(import.steps)
}

/// What of a file has no effect in the data source that it is for, once it was brought in.
pub async fn warnings(change: &mut Change<'_>, file: &File, options: Options) -> Result<Vec<Problem>> {
    let Some(id) = options.data_source else {
        return Ok(Vec::new());
    };
    let selected = desired::selected(&mut change.tx, id).await?;
    Ok(selected.map_or_else(Vec::new, |catalog| check::warnings(file, &catalog)))
}

/// Says which object an error is about.
fn at<T>(kind: &str, name: &str, result: Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        Error::Invalid(problems) => Error::Invalid(
            problems
                .into_iter()
                .map(|problem| format!("{kind} \"{name}\": {problem}"))
                .collect(),
        ),
        Error::Conflict(text) => Error::Conflict(format!("{kind} \"{name}\": {text}")),
        other => other,
    })
}

/// Documents call the source of a function by another name than the API does.
fn in_words_of_documents<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        Error::Invalid(problems) => Error::Invalid(
            problems
                .iter()
                .map(|problem| {
                    problem
                        .replacen("decision_fn:", "source:", 1)
                        .replacen("decision_config:", "config:", 1)
                })
                .collect(),
        ),
        other => other,
    })
}

impl Import<'_, '_> {
    fn step(&mut self, action: &str, kind: &str, name: &str, detail: impl Into<String>) {
        self.steps.push(Step {
            action: action.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            detail: detail.into(),
        });
    }

    async fn attributes(&mut self, document: &Document) -> Result<()> {
        let known: BTreeMap<String, attributes::AttributeDefinition> =
            attributes::list(&mut self.change.tx, "", Window::ALL)
                .await?
                .0
                .into_iter()
                .map(|definition| (definition.key.clone(), definition))
                .collect();
        for definition in document.attributes.iter().flatten() {
            let key = &definition.key;
            let values = definition.allowed_values.as_ref();
            let mut wanted = attributes::Content {
                key: key.clone(),
                display_name: key.clone(),
                value_type: definition.value_type.as_str().to_owned(),
                default_value: definition.default_value.as_ref().map(policy::attribute::Value::to_json),
                allowed_values: values.map(|values| values.iter().map(policy::attribute::Value::to_json).collect()),
                required: definition.required,
                description: definition.description.clone(),
            };
            let Some(before) = known.get(key) else {
                at("attribute", key, attributes::create(self.change, &wanted).await)?;
                self.step("create", "attribute", key, definition.value_type.as_str());
                continue;
            };
            wanted.display_name = before.display_name.clone();
            if wanted.description.is_none() {
                wanted.description = before.description.clone();
            }
            if wanted == before.content() {
                self.step("none", "attribute", key, "");
                continue;
            }
            let edited = attributes::update(self.change, before.id, None, |content| *content = wanted).await;
            at("attribute", key, edited)?;
            self.step("alter", "attribute", key, "");
        }
        Ok(())
    }

    /// Roles first and what they inherit then: a parent may come later in the list.
    async fn roles(&mut self, wanted: &[RoleSpec]) -> Result<()> {
        for role in wanted {
            at("role", &role.name, self.role(role).await)?;
        }
        for role in wanted {
            let Some(parents) = &role.parents else { continue };
            let id = self.role_id(&role.name).await?;
            if self.options.prune {
                for parent in roles::detail(&mut self.change.tx, id).await?.parent_roles {
                    if !parents.contains(&parent.name) {
                        roles::remove_parent(self.change, id, parent.id).await?;
                        self.step("remove", "parent", &role.name, parent.name);
                    }
                }
            }
        }
        for role in wanted {
            let id = self.role_id(&role.name).await?;
            let known: BTreeSet<String> = roles::detail(&mut self.change.tx, id)
                .await?
                .parent_roles
                .into_iter()
                .map(|parent| parent.name)
                .collect();
            for parent in role.parents.iter().flatten().filter(|parent| !known.contains(*parent)) {
                let parent_id = self.role_id(parent).await?;
                roles::add_parent(self.change, id, parent_id).await?;
                self.step("add", "parent", &role.name, parent.as_str());
            }
        }
        Ok(())
    }

    async fn role(&mut self, role: &RoleSpec) -> Result<()> {
        let description = role.description.clone().map(|text| (!text.is_empty()).then_some(text));
        let Some(id) = roles::id_of(&mut self.change.tx, &role.name).await? else {
            let text = description.flatten();
            roles::create(self.change, &role.name, text.as_deref(), role.is_active.unwrap_or(true)).await?;
            self.step("create", "role", &role.name, "");
            return Ok(());
        };
        let before = roles::find(&mut self.change.tx, id).await?;
        let wanted = roles::RoleChange {
            description,
            is_active: role.is_active,
            ..roles::RoleChange::default()
        };
        let after = roles::update(self.change, id, wanted).await?;
        self.altered(after.version != before.version, "role", &role.name);
        Ok(())
    }

    async fn role_id(&mut self, name: &str) -> Result<Uuid> {
        roles::id_of(&mut self.change.tx, name)
            .await?
            .ok_or_else(|| Error::invalid(format!("there is no role \"{name}\"")))
    }

    async fn user(&mut self, user: &UserSpec) -> Result<()> {
        let name = &user.username;
        let id = match users::id_of(&mut self.change.tx, name).await? {
            Some(id) => {
                let before = users::find(&mut self.change.tx, id).await?;
                let wanted = users::UserChange {
                    is_active: user.is_active,
                    attributes: user.attributes.clone(),
                    ..users::UserChange::default()
                };
                let after = users::update(self.change, id, wanted).await?;
                self.altered(after.version != before.version, "user", name);
                id
            }
            None => {
                let new = users::NewUser {
                    username: name.clone(),
                    is_active: user.is_active.unwrap_or(true),
                    attributes: user.attributes.clone().unwrap_or_default(),
                    ..users::NewUser::default()
                };
                let created = users::create(self.change, &new, None).await?;
                self.step("create", "user", name, "without a password");
                created.id
            }
        };
        let Some(wanted) = &user.roles else { return Ok(()) };
        let known = memberships(&mut self.change.tx, id).await?;
        for (role, role_id) in known
            .iter()
            .filter(|(role, _)| self.options.prune && !wanted.contains(role))
        {
            roles::remove_member(self.change, *role_id, id).await?;
            self.steps.push(Step {
                action: "remove".to_owned(),
                kind: "member".to_owned(),
                name: role.clone(),
                detail: name.clone(),
            });
        }
        for role in wanted.iter().filter(|role| !known.contains_key(*role)) {
            let role_id = self.role_id(role).await?;
            roles::add_members(self.change, role_id, &[id]).await?;
            self.step("add", "member", role, name.as_str());
        }
        Ok(())
    }

    async fn function(&mut self, function: &FunctionSpec) -> Result<()> {
        let name = &function.name;
        let Some(id) = decision_functions::id_of(&mut self.change.tx, name).await? else {
            let wanted = decision_functions::Content::of(function, None);
            in_words_of_documents(decision_functions::create(self.change, &wanted).await)?;
            self.step("create", "decision_function", name, function.evaluate_context.as_str());
            return Ok(());
        };
        let before = decision_functions::find(&mut self.change.tx, id).await?;
        let wanted = decision_functions::Content::of(function, Some(&before));
        let updated = decision_functions::update(self.change, id, None, |content| *content = wanted).await;
        let after = in_words_of_documents(updated)?;
        self.altered(after.version != before.version, "decision_function", name);
        Ok(())
    }

    fn altered(&mut self, altered: bool, kind: &str, name: &str) {
        self.step(if altered { "alter" } else { "none" }, kind, name, "");
    }

    async fn policy(&mut self, policy: &PolicySpec) -> Result<()> {
        let name = &policy.name;
        let decision_function_id = match &policy.decision_function {
            Some(function) => {
                let id = decision_functions::id_of(&mut self.change.tx, function).await?;
                let missing = || Error::invalid(format!("there is no decision function \"{function}\""));
                Some(id.ok_or_else(missing)?)
            }
            None => None,
        };
        let mut wanted = policies::Content {
            name: name.clone(),
            policy_type: policy.policy_type.as_str().to_owned(),
            description: policy.description.clone().filter(|text| !text.is_empty()),
            is_enabled: policy.is_enabled,
            targets: targets_to_json(&policy.targets),
            definition: policy.definition.to_json(),
            decision_function_id,
        };
        let id = match policies::id_of(&mut self.change.tx, name).await? {
            Some(id) => {
                let before = policies::find(&mut self.change.tx, id).await?;
                if policy.description.is_none() {
                    wanted.description = before.description.clone();
                }
                let after = policies::update(self.change, id, None, |content| *content = wanted).await?;
                self.altered(after.version != before.version, "policy", name);
                id
            }
            None => {
                let created = policies::create(self.change, wanted).await?;
                self.step("create", "policy", name, policy.policy_type.as_str());
                created.id
            }
        };
        if let (Some(wanted), Some(data_source)) = (&policy.assignments, self.options.data_source) {
            self.assignments(name, id, data_source, wanted, "").await?;
        }
        Ok(())
    }

    async fn assignments(
        &mut self,
        name: &str,
        policy: Uuid,
        data_source: Uuid,
        wanted: &[policy::document::AssignmentSpec],
        place: &str,
    ) -> Result<()> {
        let filter = assignments::Filter {
            policy: Some(policy),
            data_source: Some(data_source),
            id: None,
        };
        let known = assignments::list(&mut self.change.tx, filter).await?;
        let mut kept = BTreeSet::new();
        for assignment in wanted {
            let (to, whom) = match &assignment.to {
                Assignee::Everyone => (To::All, "everyone".to_owned()),
                Assignee::Role(role) => (To::Role(self.role_id(role).await?), format!("role \"{role}\"")),
                Assignee::User(user) => {
                    let id = users::id_of(&mut self.change.tx, user).await?;
                    let id = id.ok_or_else(|| Error::invalid(format!("there is no user \"{user}\"")))?;
                    (To::User(id), format!("user \"{user}\""))
                }
            };
            let detail = format!("{whom}, priority {}{place}", assignment.priority);
            let same = known
                .iter()
                .find(|known| To::new(None, known.user_id, known.role_id).is_ok_and(|known| known == to));
            match same {
                Some(same) => {
                    kept.insert(same.id);
                    if same.priority != assignment.priority {
                        assignments::set_priority(self.change, same.id, assignment.priority).await?;
                        self.step("alter", "assignment", name, detail);
                    }
                }
                None => {
                    assignments::create(self.change, data_source, policy, to, assignment.priority).await?;
                    self.step("assign", "assignment", name, detail);
                }
            }
        }
        for known in known
            .iter()
            .filter(|known| self.options.prune && !kept.contains(&known.id))
        {
            assignments::delete(self.change, data_source, known.id).await?;
            self.steps.push(Step {
                action: "unassign".to_owned(),
                kind: "assignment".to_owned(),
                name: name.to_owned(),
                detail: format!("{}{place}", known.assignment_scope),
            });
        }
        Ok(())
    }

    /// What is assigned in a data source that the file names.
    async fn elsewhere(&mut self, other: &Elsewhere) -> Result<()> {
        let Elsewhere {
            policy, data_source, ..
        } = other;
        let there = data_sources::id_of(&mut self.change.tx, data_source).await?;
        let there = there.ok_or_else(|| Error::invalid(format!("there is no data source \"{data_source}\"")))?;
        if self.options.data_source == Some(there) {
            return Err(Error::invalid(format!(
                "assignments name the data source \"{data_source}\", which the document is for: leave its name out"
            )));
        }
        let id = policies::id_of(&mut self.change.tx, policy).await?;
        let id = id.ok_or_else(|| Error::invalid(format!("there is no policy \"{policy}\"")))?;
        self.assignments(policy, id, there, &other.assignments, &format!(" in {data_source}"))
            .await
    }

    /// In the opposite order of creating. With a data source, a policy that is assigned elsewhere too only loses its
    /// assignments here, and one that is assigned nowhere is none of its document's.
    async fn prune(&mut self, document: &Document) -> Result<()> {
        if let Some(listed) = &document.policies {
            let listed: BTreeSet<&str> = listed.iter().map(|policy| policy.name.as_str()).collect();
            let (all, _) = policies::list(&mut self.change.tx, "", Window::ALL).await?;
            for policy in all.iter().filter(|policy| !listed.contains(policy.name.as_str())) {
                self.prune_policy(policy).await?;
            }
        }
        if let Some(listed) = &document.decision_functions {
            let listed: BTreeSet<&str> = listed.iter().map(|function| function.name.as_str()).collect();
            let (all, _) = decision_functions::list(&mut self.change.tx, "", Window::ALL).await?;
            for function in all.iter().filter(|function| !listed.contains(function.name.as_str())) {
                if function.policy_count > 0 {
                    self.step("none", "decision_function", &function.name, "in use by other policies");
                    continue;
                }
                decision_functions::delete(self.change, function.id).await?;
                self.step("drop", "decision_function", &function.name, "");
            }
        }
        if let Some(listed) = &document.users {
            let listed: BTreeSet<&str> = listed.iter().map(|user| user.username.as_str()).collect();
            let (all, _) = users::list(&mut self.change.tx, "", Window::ALL).await?;
            for user in all
                .iter()
                .filter(|user| !user.is_admin && !listed.contains(user.username.as_str()))
            {
                users::delete(self.change, user.id).await?;
                self.step("drop", "user", &user.username, "");
            }
        }
        if let Some(listed) = &document.roles {
            let listed: BTreeSet<&str> = listed.iter().map(|role| role.name.as_str()).collect();
            let (all, _) = roles::list(&mut self.change.tx, "", Window::ALL).await?;
            for role in all.iter().filter(|role| !listed.contains(role.name.as_str())) {
                roles::delete(self.change, role.id).await?;
                self.step("drop", "role", &role.name, "");
            }
        }
        if let Some(listed) = &document.attributes {
            let listed: BTreeSet<&str> = listed.iter().map(|definition| definition.key.as_str()).collect();
            let (all, _) = attributes::list(&mut self.change.tx, "", Window::ALL).await?;
            for definition in all
                .iter()
                .filter(|definition| !listed.contains(definition.key.as_str()))
            {
                let dropped = attributes::delete(self.change, definition.id, false).await;
                at("attribute", &definition.key, dropped)?;
                self.step("drop", "attribute", &definition.key, "");
            }
        }
        Ok(())
    }

    async fn prune_policy(&mut self, policy: &policies::Policy) -> Result<()> {
        let filter = assignments::Filter {
            policy: Some(policy.id),
            ..assignments::Filter::default()
        };
        let all = assignments::list(&mut self.change.tx, filter).await?;
        if let Some(here) = self.options.data_source
            && (all.is_empty() || all.iter().any(|assignment| assignment.data_source_id != here))
        {
            for assignment in all.iter().filter(|assignment| assignment.data_source_id == here) {
                assignments::delete(self.change, here, assignment.id).await?;
                self.step(
                    "unassign",
                    "assignment",
                    &policy.name,
                    assignment.assignment_scope.as_str(),
                );
            }
            return Ok(());
        }
        policies::delete(self.change, policy.id).await?;
        self.step("drop", "policy", &policy.name, "");
        Ok(())
    }
}

/// The roles that a user is a direct member of.
async fn memberships(conn: &mut PgConnection, user: Uuid) -> Result<BTreeMap<String, Uuid>> {
    let rows = sqlx::query!(
        "select r.name, r.id from role_members m join roles r on r.id = m.role_id where m.user_id = $1",
        user
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.name, row.id)).collect())
}
