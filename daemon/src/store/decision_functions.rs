//! Decision functions: JavaScript that decides whether a policy takes part. Databases compile and run them; here they are
//! compiled once to be sure that they can be.

use chrono::{DateTime, Utc};
use policy::document::MAX_DESCRIPTION_BYTES;
use policy::function::{self, EvaluateContext, FunctionSpec, LogLevel, OnError};
use policy::model;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Change, Window, check_version};
use crate::error::{Error, Result, taken};
use crate::time;

/// Longest source in bytes: what databases take unless they are set otherwise.
const MAX_SOURCE: usize = 64 << 10;
/// Longest config in bytes: what databases take unless they are set otherwise.
const MAX_CONFIG: usize = 16 << 10;

/// A decision function.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DecisionFunction {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// For people.
    #[schema(required)]
    pub description: Option<String>,
    /// `javascript`.
    pub language: String,
    /// The source, which defines `evaluate(ctx, config)`.
    pub decision_fn: String,
    /// The second argument of `evaluate`.
    #[schema(value_type = Object)]
    pub decision_config: Value,
    /// What it is told: `session`, or `query` for the statement as well.
    pub evaluate_context: String,
    /// What its policies do when it comes to no answer: `deny`, what restricts; `skip`, they do not take part.
    pub on_error: String,
    /// Which messages databases keep: `off`, `error` or `info`.
    pub log_level: String,
    /// Policies with a disabled function take part, as without one.
    pub is_enabled: bool,
    /// Counts its changes.
    pub version: i32,
    /// How many policies refer to it.
    pub policy_count: i64,
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

/// A decision function, as a policy shows it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FunctionSummary {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Policies with a disabled function take part, as without one.
    pub is_enabled: bool,
    /// `session` or `query`.
    pub evaluate_context: String,
}

/// What a function consists of.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// 1 to 100 characters.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// See [`DecisionFunction`].
    pub decision_fn: String,
    /// See [`DecisionFunction`].
    pub decision_config: Value,
    /// See [`DecisionFunction`].
    pub evaluate_context: String,
    /// See [`DecisionFunction`].
    pub on_error: String,
    /// See [`DecisionFunction`].
    pub log_level: String,
    /// See [`DecisionFunction`].
    pub is_enabled: bool,
}

impl DecisionFunction {
    /// What it consists of.
    pub fn content(&self) -> Content {
        Content {
            name: self.name.clone(),
            description: self.description.clone(),
            decision_fn: self.decision_fn.clone(),
            decision_config: self.decision_config.clone(),
            evaluate_context: self.evaluate_context.clone(),
            on_error: self.on_error.clone(),
            log_level: self.log_level.clone(),
            is_enabled: self.is_enabled,
        }
    }

    /// The function as part of a document.
    pub fn spec(&self) -> Result<FunctionSpec> {
        let unusable = |issue| Error::Internal(format!("decision function \"{}\" in the store: {issue}", self.name));
        Ok(FunctionSpec {
            name: self.name.clone(),
            // Absent would leave a description alone that was cleared here.
            description: Some(self.description.clone().unwrap_or_default()),
            source: self.decision_fn.clone(),
            config: self.decision_config.clone(),
            evaluate_context: EvaluateContext::parse(&self.evaluate_context).map_err(unusable)?,
            on_error: OnError::parse(&self.on_error).map_err(unusable)?,
            log_level: LogLevel::parse(&self.log_level).map_err(unusable)?,
            is_enabled: self.is_enabled,
        })
    }
}

impl Content {
    /// What a function of a document consists of, when it was `before`.
    pub fn of(spec: &FunctionSpec, before: Option<&DecisionFunction>) -> Self {
        let kept = before.and_then(|before| before.description.clone());
        Content {
            name: spec.name.clone(),
            description: spec
                .description
                .clone()
                .map_or(kept, Some)
                .filter(|text| !text.is_empty()),
            decision_fn: spec.source.clone(),
            decision_config: spec.config.clone(),
            evaluate_context: spec.evaluate_context.as_str().to_owned(),
            on_error: spec.on_error.as_str().to_owned(),
            log_level: spec.log_level.as_str().to_owned(),
            is_enabled: spec.is_enabled,
        }
    }

    /// Checks everything but the source.
    fn check(&self) -> Result<()> {
        model::check_name(&self.name)?;
        super::check_description(self.description.as_deref(), MAX_DESCRIPTION_BYTES)?;
        check_config(&self.decision_config)?;
        EvaluateContext::parse(&self.evaluate_context)?;
        OnError::parse(&self.on_error)?;
        LogLevel::parse(&self.log_level)?;
        Ok(())
    }
}

/// Checks the size of source.
pub fn check_source(source: &str) -> Result<()> {
    function::check_source(source, MAX_SOURCE)
        .map_err(|issue| Error::invalid(format!("decision_fn: {}", issue.message)))
}

/// Checks a config: an object, not too long, that databases can store.
pub fn check_config(config: &Value) -> Result<()> {
    function::check_config(config, MAX_CONFIG)
        .map_err(|issue| Error::invalid(format!("decision_config: {}", issue.message)))?;
    if has_nul(config) {
        return Err(Error::invalid("decision_config: must not contain a NUL character"));
    }
    Ok(())
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

async fn check_compiles(change: &Change<'_>, source: &str) -> Result<()> {
    check_source(source)?;
    let checked = change.decisions.check(source).await?;
    checked.map_err(|error| Error::invalid(format!("decision_fn: {error}")))
}

/// Functions whose name or description contains `search`, by name; with an id only that one.
async fn select(
    conn: &mut PgConnection,
    id: Option<Uuid>,
    search: &str,
    window: Window,
) -> Result<Vec<DecisionFunction>> {
    Ok(sqlx::query_as!(
        DecisionFunction,
        r#"select id, name, description, language, decision_fn, decision_config, evaluate_context, on_error, log_level,
           is_enabled, version,
           (select count(*) from policies p where p.decision_function_id = f.id) as "policy_count!",
           created_by, updated_by, created_at, updated_at from decision_functions f
           where ($1::uuid is null or id = $1)
           and (position(lower($2) in lower(name)) > 0 or position(lower($2) in lower(description)) > 0)
           order by name offset $3 limit $4"#,
        id,
        search,
        window.offset,
        window.limit
    )
    .fetch_all(conn)
    .await?)
}

/// Functions whose name or description contains `search`, by name, and how many there are.
pub async fn list(conn: &mut PgConnection, search: &str, window: Window) -> Result<(Vec<DecisionFunction>, i64)> {
    let functions = select(conn, None, search, window).await?;
    let total = sqlx::query_scalar!(
        r#"select count(*) as "count!" from decision_functions
           where position(lower($1) in lower(name)) > 0 or position(lower($1) in lower(description)) > 0"#,
        search
    )
    .fetch_one(conn)
    .await?;
    Ok((functions, total))
}

/// The function of that id.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<DecisionFunction> {
    let found = select(conn, Some(id), "", Window::ALL).await?.pop();
    found.ok_or(Error::NotFound("decision function"))
}

/// The id of the function of that name.
pub async fn id_of(conn: &mut PgConnection, name: &str) -> Result<Option<Uuid>> {
    Ok(
        sqlx::query_scalar!("select id from decision_functions where name = $1", name)
            .fetch_optional(conn)
            .await?,
    )
}

/// Creates a function.
pub async fn create(change: &mut Change<'_>, new: &Content) -> Result<DecisionFunction> {
    new.check()?;
    check_compiles(change, &new.decision_fn).await?;
    let id = sqlx::query_scalar!(
        "insert into decision_functions (name, description, decision_fn, decision_config, evaluate_context, on_error, \
         log_level, is_enabled, created_by, updated_by) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) returning id",
        new.name,
        new.description,
        new.decision_fn,
        new.decision_config,
        new.evaluate_context,
        new.on_error,
        new.log_level,
        new.is_enabled,
        change.actor.id
    )
    .fetch_one(&mut *change.tx)
    .await
    .map_err(taken(|| {
        format!("there is a decision function \"{}\" already", new.name)
    }))?;
    let after = find(&mut change.tx, id).await?;
    change
        .record("decision_function", id, "create", None::<&Value>, Some(&after))
        .await?;
    Ok(after)
}

/// Changes a function to what `edit` makes of it. `version` is the one that the caller read.
pub async fn update(
    change: &mut Change<'_>,
    id: Uuid,
    version: Option<i32>,
    edit: impl FnOnce(&mut Content),
) -> Result<DecisionFunction> {
    let before = find(&mut change.tx, id).await?;
    check_version("decision function", version, before.version)?;
    let mut wanted = before.content();
    edit(&mut wanted);
    if wanted == before.content() {
        return Ok(before);
    }
    wanted.check()?;
    if wanted.decision_fn != before.decision_fn {
        check_compiles(change, &wanted.decision_fn).await?;
    }
    sqlx::query!(
        "update decision_functions set name = $2, description = $3, decision_fn = $4, decision_config = $5, \
         evaluate_context = $6, on_error = $7, log_level = $8, is_enabled = $9, updated_by = $10, \
         version = version + 1, updated_at = now() where id = $1",
        id,
        wanted.name,
        wanted.description,
        wanted.decision_fn,
        wanted.decision_config,
        wanted.evaluate_context,
        wanted.on_error,
        wanted.log_level,
        wanted.is_enabled,
        change.actor.id
    )
    .execute(&mut *change.tx)
    .await
    .map_err(taken(|| {
        format!("there is a decision function \"{}\" already", wanted.name)
    }))?;
    let after = find(&mut change.tx, id).await?;
    change
        .record("decision_function", id, "update", Some(&before), Some(&after))
        .await?;
    for data_source in data_sources(&mut change.tx, id).await? {
        change.touch(data_source);
    }
    Ok(after)
}

/// The data sources where a policy of this function is assigned.
pub async fn data_sources(conn: &mut PgConnection, id: Uuid) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar!(
        "select distinct a.data_source_id from policy_assignments a join policies p on p.id = a.policy_id \
         where p.decision_function_id = $1",
        id
    )
    .fetch_all(conn)
    .await?)
}

/// Deletes a function that no policy refers to.
pub async fn delete(change: &mut Change<'_>, id: Uuid) -> Result<()> {
    let before = find(&mut change.tx, id).await?;
    let users = sqlx::query_scalar!(
        "select name from policies where decision_function_id = $1 order by name",
        id
    )
    .fetch_all(&mut *change.tx)
    .await?;
    if !users.is_empty() {
        let users: Vec<String> = users.iter().map(|name| format!("policy \"{name}\"")).collect();
        return Err(Error::Conflict(format!(
            "decision function \"{}\" is in use by {}; give these another function, or none, first",
            before.name,
            users.join(", ")
        )));
    }
    sqlx::query!("delete from decision_functions where id = $1", id)
        .execute(&mut *change.tx)
        .await?;
    change
        .record("decision_function", id, "delete", Some(&before), None::<&Value>)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_config_may_be() {
        assert!(check_config(&json!({"a": [1, {"b": "\\u0000"}]})).is_ok());
        for bad in [
            json!([]),
            json!(null),
            json!({"a": ["\0"]}),
            json!({"\0": 1}),
            json!({"a": "x".repeat(MAX_CONFIG)}),
        ] {
            assert!(check_config(&bad).is_err(), "{bad}");
        }
    }
}
