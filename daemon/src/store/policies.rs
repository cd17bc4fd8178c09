//! Policies. What they mean is for the `policy` crate and the database; here they are checked, kept and versioned.

use chrono::{DateTime, Utc};
use policy::attribute::BUILT_IN_KEYS;
use policy::document::MAX_DESCRIPTION_BYTES;
use policy::model;
use policy::placeholder::Placeholder;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::decision_functions::{self, FunctionSummary};
use super::{Change, Window, assignments::Assignment, attributes, check_version};
use crate::error::{Error, Result, taken};
use crate::expression;
use crate::time;

/// A policy.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Policy {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// For people.
    #[schema(required)]
    pub description: Option<String>,
    /// `row_filter`, `column_mask`, `column_allow`, `column_deny` or `table_deny`.
    pub policy_type: String,
    /// What it is about: `[{schemas, tables, columns?}]`.
    #[schema(value_type = Vec<Target>)]
    pub targets: Value,
    /// How it does it; none for the allow and deny types.
    #[schema(required, value_type = Option<Definition>)]
    pub definition: Option<Value>,
    /// Whether it takes part.
    pub is_enabled: bool,
    /// Counts its changes.
    pub version: i32,
    /// The function that decides whether it takes part; without one it always does.
    #[schema(required)]
    pub decision_function_id: Option<Uuid>,
    /// The same function.
    #[schema(required, value_type = Option<FunctionSummary>)]
    pub decision_function: Option<Json<FunctionSummary>>,
    /// How many assignments it has.
    pub assignment_count: i64,
    /// Who created it.
    #[schema(required)]
    pub created_by: Option<Uuid>,
    /// Who changed it.
    #[schema(required)]
    pub updated_by: Option<Uuid>,
    /// When it was created (UTC).
    #[serde(serialize_with = "time::utc")]
    #[schema(value_type = time::UtcTime)]
    pub created_at: DateTime<Utc>,
    /// When it was changed (UTC).
    #[serde(serialize_with = "time::utc")]
    #[schema(value_type = time::UtcTime)]
    pub updated_at: DateTime<Utc>,
}

/// What a policy is about: patterns, with `*` for any part of a name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "it is only described")]
pub struct Target {
    /// Schemas.
    schemas: Vec<String>,
    /// Tables and views in them.
    tables: Vec<String>,
    /// Columns of them, for the column types only.
    columns: Option<Vec<String>>,
}

/// How a policy does it: a row filter has a `filter_expression`, a mask a `mask_expression`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "it is only described")]
pub struct Definition {
    /// What has to hold for a row to be seen.
    filter_expression: Option<String>,
    /// `restrictive`, unless given, or `permissive`.
    mode: Option<String>,
    /// What has to hold for a new row, if that is something else.
    check_expression: Option<String>,
    /// `none`: new rows are not checked.
    check: Option<String>,
    /// What is seen in place of a value.
    mask_expression: Option<String>,
    /// Whether the column may be written.
    writable: Option<bool>,
}

/// A policy with its assignments.
#[derive(Debug, Serialize, ToSchema)]
pub struct PolicyDetail {
    /// The policy itself.
    #[serde(flatten)]
    pub policy: Policy,
    /// For whom it is, and where.
    pub assignments: Vec<Assignment>,
}

/// What a policy says.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// 1 to 100 characters.
    pub name: String,
    /// See [`Policy`].
    pub policy_type: String,
    /// For people.
    pub description: Option<String>,
    /// Whether it takes part.
    pub is_enabled: bool,
    /// See [`Policy`].
    pub targets: Value,
    /// See [`Policy`].
    pub definition: Option<Value>,
    /// See [`Policy`].
    pub decision_function_id: Option<Uuid>,
}

impl Policy {
    /// What it says.
    pub fn content(&self) -> Content {
        Content {
            name: self.name.clone(),
            policy_type: self.policy_type.clone(),
            description: self.description.clone(),
            is_enabled: self.is_enabled,
            targets: self.targets.clone(),
            definition: self.definition.clone(),
            decision_function_id: self.decision_function_id,
        }
    }
}

impl Content {
    /// Checks what can be checked without a database, and brings targets and definition into their usual form.
    fn normalise(&mut self) -> Result<()> {
        model::check_name(&self.name)?;
        super::check_description(self.description.as_deref(), MAX_DESCRIPTION_BYTES)?;
        let policy_type = model::parse_policy_type(&self.policy_type)?;
        let targets = model::parse_targets(&self.targets)?;
        model::check_targets(policy_type, &targets)?;
        let definition = model::parse_definition(policy_type, self.definition.as_ref())?;
        self.targets = model::targets_to_json(&targets);
        self.definition = definition.to_json();
        self.uses().map(drop)
    }

    /// The placeholders of its expressions, with their fields.
    fn uses(&self) -> Result<Vec<(&str, Placeholder)>> {
        let (mut uses, mut problems) = (Vec::new(), Vec::new());
        for (field, text) in expressions(self.definition.as_ref()) {
            match expression::parse(text) {
                Ok(scan) => uses.extend(scan.placeholders.into_iter().map(|used| (field, used))),
                Err(fault) => problems.push(format!("definition.{field}: {fault}")),
            }
        }
        match problems.is_empty() {
            true => Ok(uses),
            false => Err(Error::Invalid(problems)),
        }
    }
}

/// The expressions of a definition, with their fields.
fn expressions(definition: Option<&Value>) -> impl Iterator<Item = (&str, &str)> {
    let fields = definition.and_then(Value::as_object).into_iter().flatten();
    let expressions = fields.filter(|(field, _)| field.ends_with("_expression"));
    expressions.filter_map(|(field, text)| Some((field.as_str(), text.as_str()?)))
}

/// Policies whose name or description contains `search`, by name; with an id only that one.
async fn select(conn: &mut PgConnection, id: Option<Uuid>, search: &str, window: Window) -> Result<Vec<Policy>> {
    Ok(sqlx::query_as!(
        Policy,
        r#"select p.id, p.name, p.description, policy_type, targets, definition, p.is_enabled, p.version,
           p.decision_function_id, case when f.id is not null then jsonb_build_object('id', f.id, 'name', f.name,
           'is_enabled', f.is_enabled, 'evaluate_context', f.evaluate_context) end
           as "decision_function: Json<FunctionSummary>",
           (select count(*) from policy_assignments a where a.policy_id = p.id) as "assignment_count!",
           p.created_by, p.updated_by, p.created_at, p.updated_at
           from policies p left join decision_functions f on f.id = p.decision_function_id
           where ($1::uuid is null or p.id = $1)
           and (position(lower($2) in lower(p.name)) > 0 or position(lower($2) in lower(p.description)) > 0)
           order by p.name offset $3 limit $4"#,
        id,
        search,
        window.offset,
        window.limit
    )
    .fetch_all(conn)
    .await?)
}

/// Policies whose name or description contains `search`, by name, and how many there are.
pub async fn list(conn: &mut PgConnection, search: &str, window: Window) -> Result<(Vec<Policy>, i64)> {
    let policies = select(conn, None, search, window).await?;
    let total = sqlx::query_scalar!(
        r#"select count(*) as "count!" from policies
           where position(lower($1) in lower(name)) > 0 or position(lower($1) in lower(description)) > 0"#,
        search
    )
    .fetch_one(conn)
    .await?;
    Ok((policies, total))
}

/// The policy of that id.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Policy> {
    let found = select(conn, Some(id), "", Window::ALL).await?.pop();
    found.ok_or(Error::NotFound("policy"))
}

/// The id of the policy of that name.
pub async fn id_of(conn: &mut PgConnection, name: &str) -> Result<Option<Uuid>> {
    Ok(sqlx::query_scalar!("select id from policies where name = $1", name)
        .fetch_optional(conn)
        .await?)
}

/// Creates a policy. It takes effect once it is assigned.
pub async fn create(change: &mut Change<'_>, mut new: Content) -> Result<Policy> {
    new.normalise()?;
    check_attributes(&mut change.tx, new.uses()?).await?;
    check_function(&mut change.tx, new.decision_function_id).await?;
    let id = sqlx::query_scalar!(
        "insert into policies (name, description, policy_type, targets, definition, is_enabled, decision_function_id, \
         created_by, updated_by) values ($1, $2, $3, $4, $5, $6, $7, $8, $8) returning id",
        new.name,
        new.description,
        new.policy_type,
        new.targets,
        new.definition,
        new.is_enabled,
        new.decision_function_id,
        change.actor.id
    )
    .fetch_one(&mut *change.tx)
    .await
    .map_err(taken(|| format!("there is a policy \"{}\" already", new.name)))?;
    let after = find(&mut change.tx, id).await?;
    keep_version(change, &after, "create").await?;
    change
        .record("policy", id, "create", None::<&Policy>, Some(&after))
        .await?;
    Ok(after)
}

/// Changes a policy to what `edit` makes of it. `version` is the one that the caller read.
pub async fn update(
    change: &mut Change<'_>,
    id: Uuid,
    version: Option<i32>,
    edit: impl FnOnce(&mut Content),
) -> Result<Policy> {
    let before = find(&mut change.tx, id).await?;
    check_version("policy", version, before.version)?;
    let mut wanted = before.content();
    edit(&mut wanted);
    wanted.normalise()?;
    if wanted == before.content() {
        return Ok(before);
    }
    let mut uses = wanted.uses()?;
    // One that it uses already may have been deleted by force: that keeps nobody from disabling it.
    let old = before.content();
    let old = old.uses().unwrap_or_default();
    uses.retain(|(_, used)| old.iter().all(|(_, old)| old.key != used.key));
    check_attributes(&mut change.tx, uses).await?;
    check_function(&mut change.tx, wanted.decision_function_id).await?;
    sqlx::query!(
        "update policies set name = $2, description = $3, policy_type = $4, targets = $5, definition = $6, \
         is_enabled = $7, decision_function_id = $8, updated_by = $9, version = version + 1, updated_at = now() where id = $1",
        id,
        wanted.name,
        wanted.description,
        wanted.policy_type,
        wanted.targets,
        wanted.definition,
        wanted.is_enabled,
        wanted.decision_function_id,
        change.actor.id
    )
    .execute(&mut *change.tx)
    .await
    .map_err(taken(|| format!("there is a policy \"{}\" already", wanted.name)))?;
    let after = find(&mut change.tx, id).await?;
    keep_version(change, &after, "update").await?;
    change
        .record("policy", id, "update", Some(&before), Some(&after))
        .await?;
    change.touch_policy(id).await?;
    Ok(after)
}

/// Deletes a policy with its assignments; its versions stay readable.
pub async fn delete(change: &mut Change<'_>, id: Uuid) -> Result<()> {
    let before = find(&mut change.tx, id).await?;
    change.touch_policy(id).await?;
    let mut last = before.clone();
    last.version += 1;
    keep_version(change, &last, "delete").await?;
    sqlx::query!("delete from policies where id = $1", id)
        .execute(&mut *change.tx)
        .await?;
    change
        .record("policy", id, "delete", Some(&before), None::<&Policy>)
        .await
}

/// Refuses attributes that nobody defined: databases would refuse the policy, but only once it is there.
async fn check_attributes(conn: &mut PgConnection, mut uses: Vec<(&str, Placeholder)>) -> Result<()> {
    uses.retain(|(_, used)| !BUILT_IN_KEYS.contains(&used.key.as_str()));
    if uses.is_empty() {
        return Ok(());
    }
    let defined = attributes::definitions(conn).await?;
    uses.retain(|(_, used)| defined.iter().all(|definition| definition.key != used.key));
    let problems = uses.iter().map(|(field, used)| {
        let Placeholder { key, offset, .. } = used;
        format!("definition.{field}: there is no attribute \"{key}\" at byte {offset}")
    });
    match uses.is_empty() {
        true => Ok(()),
        false => Err(Error::Invalid(problems.collect())),
    }
}

async fn check_function(conn: &mut PgConnection, id: Option<Uuid>) -> Result<()> {
    match id {
        Some(id) => decision_functions::find(conn, id).await.map(drop),
        None => Ok(()),
    }
}

async fn keep_version(change: &mut Change<'_>, policy: &Policy, operation: &str) -> Result<()> {
    sqlx::query!(
        "insert into policy_versions (policy_id, version, operation, name, description, policy_type, targets, definition, \
         is_enabled, decision_function_id, changed_by) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        policy.id,
        policy.version,
        operation,
        policy.name,
        policy.description,
        policy.policy_type,
        policy.targets,
        policy.definition,
        policy.is_enabled,
        policy.decision_function_id,
        change.actor.id
    )
    .execute(&mut *change.tx)
    .await?;
    Ok(())
}
