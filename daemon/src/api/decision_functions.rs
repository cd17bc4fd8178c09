//! Decision functions.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Shared;
use super::attributes::set;
use super::auth::Admin;
use super::extract::{Body, Ids, Listing, PageQuery, Parameters, nullable};
use super::status::{Absent, Conflicting, Guarded, Unreadable, Unusable};
use crate::error::{Error, Result};
use crate::store::decision_functions::{self, Content, DecisionFunction};
use crate::sync;

/// A new function.
#[derive(Deserialize, ToSchema)]
pub struct CreateFunction {
    /// 1 to 100 characters.
    name: String,
    description: Option<String>,
    /// Only `javascript`.
    language: Option<String>,
    /// Source that defines `evaluate(ctx, config)`, which returns `{fire: boolean}`.
    decision_fn: String,
    /// The second argument of `evaluate`.
    #[schema(value_type = Option<Object>)]
    decision_config: Option<Map<String, Value>>,
    /// `session` (unless given) or `query`.
    evaluate_context: Option<String>,
    /// `deny` (unless given) or `skip`.
    on_error: Option<String>,
    /// `off` (unless given), `error` or `info`.
    log_level: Option<String>,
    is_enabled: Option<bool>,
}

/// A changed function. What is absent is left alone, null clears.
#[derive(Deserialize, ToSchema)]
pub struct UpdateFunction {
    /// The version that was read: the change is refused when there is a newer one.
    version: i32,
    name: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    language: Option<String>,
    decision_fn: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Object>)]
    decision_config: Option<Option<Map<String, Value>>>,
    evaluate_context: Option<String>,
    on_error: Option<String>,
    log_level: Option<String>,
    is_enabled: Option<bool>,
}

/// Source to be tried.
#[derive(Deserialize, ToSchema)]
pub struct TestFunction {
    decision_fn: String,
    /// What it is told: `{session: {user, time, …}, query?}`.
    #[schema(value_type = Object)]
    context: Map<String, Value>,
    #[schema(value_type = Option<Object>)]
    config: Option<Map<String, Value>>,
}

/// How a trial went.
#[derive(Serialize, ToSchema)]
pub struct Tested {
    /// Whether it came to an answer.
    success: bool,
    /// What it came to; null for source that cannot be compiled.
    #[schema(required)]
    result: Option<Outcome>,
    /// Why it came to no answer.
    #[schema(required)]
    error: Option<String>,
}

/// What an evaluation came to.
#[derive(Serialize, ToSchema)]
pub struct Outcome {
    /// The answer; false when there is none.
    fire: bool,
    /// What it logged.
    logs: Vec<String>,
    /// Instructions that it took, the same on every machine.
    fuel_consumed: u64,
    /// Microseconds that it took.
    time_us: u64,
    /// Why it came to no answer, with the stack.
    #[schema(required)]
    error: Option<String>,
}

fn refuse_other_language(language: Option<&str>) -> Result<()> {
    match language {
        None | Some("javascript") => Ok(()),
        Some(_) => Err(Error::invalid("language: must be javascript")),
    }
}

/// Lists decision functions
#[utoipa::path(get, path = "/decision-functions", tag = "decision functions",
    operation_id = "list_decision_functions", security(("token" = [])),
    params(PageQuery),
    responses((status = 200, description = "functions, by name", body = Listing<DecisionFunction>),
        Unreadable, Unusable, Guarded
))]
pub async fn list(
    _: Admin,
    State(app): State<Shared>,
    Parameters(page): Parameters<PageQuery>,
) -> Result<Json<Listing<DecisionFunction>>> {
    let mut conn = app.store.read().await?;
    Ok(page.listing(decision_functions::list(&mut conn, &page.search, page.window()).await?))
}

/// Creates a decision function
///
/// Its source is compiled: errors are told with line and column.
#[utoipa::path(post, path = "/decision-functions", tag = "decision functions",
    operation_id = "create_decision_function", security(("token" = [])),
    request_body = CreateFunction,
    responses((status = 201, description = "the function", body = DecisionFunction),
        Unreadable, Conflicting, Unusable, Guarded
))]
pub async fn create(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Body(new): Body<CreateFunction>,
) -> Result<(StatusCode, Json<DecisionFunction>)> {
    refuse_other_language(new.language.as_deref())?;
    let content = Content {
        name: new.name,
        description: new.description,
        decision_fn: new.decision_fn,
        decision_config: Value::Object(new.decision_config.unwrap_or_default()),
        evaluate_context: new.evaluate_context.unwrap_or_else(|| "session".to_owned()),
        on_error: new.on_error.unwrap_or_else(|| "deny".to_owned()),
        log_level: new.log_level.unwrap_or_else(|| "off".to_owned()),
        is_enabled: new.is_enabled.unwrap_or(true),
    };
    let mut change = app.store.change(actor).await?;
    let function = decision_functions::create(&mut change, &content).await?;
    change.commit().await?;
    Ok((StatusCode::CREATED, Json(function)))
}

/// Shows a decision function
#[utoipa::path(get, path = "/decision-functions/{id}", tag = "decision functions",
    operation_id = "get_decision_function", security(("token" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "the function", body = DecisionFunction), Absent, Guarded
))]
pub async fn get(_: Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<Json<DecisionFunction>> {
    let mut conn = app.store.read().await?;
    Ok(Json(decision_functions::find(&mut conn, id).await?))
}

/// Changes a decision function
///
/// The databases where a policy of it is assigned are asked first: what one of them refuses is 422 and changes nothing.
#[utoipa::path(put, path = "/decision-functions/{id}", tag = "decision functions",
    operation_id = "update_decision_function", security(("token" = [])),
    params(("id" = Uuid, Path)), request_body = UpdateFunction,
    responses((status = 200, description = "the function", body = DecisionFunction),
        Unreadable, Absent, Conflicting, Unusable, Guarded
))]
pub async fn update(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Ids(id): Ids<Uuid>,
    Body(wanted): Body<UpdateFunction>,
) -> Result<Json<DecisionFunction>> {
    refuse_other_language(wanted.language.as_deref())?;
    let mut change = app.store.change(actor).await?;
    let function = decision_functions::update(&mut change, id, Some(wanted.version), |content| {
        set(&mut content.name, wanted.name);
        set(&mut content.description, wanted.description);
        set(&mut content.decision_fn, wanted.decision_fn);
        let config = wanted.decision_config.map(Option::unwrap_or_default);
        set(&mut content.decision_config, config.map(Value::Object));
        set(&mut content.evaluate_context, wanted.evaluate_context);
        set(&mut content.on_error, wanted.on_error);
        set(&mut content.log_level, wanted.log_level);
        set(&mut content.is_enabled, wanted.is_enabled);
    })
    .await?;
    sync::preflight_function(&mut change, &function).await?;
    change.commit().await?;
    Ok(Json(function))
}

/// Deletes a decision function that no policy refers to
#[utoipa::path(delete, path = "/decision-functions/{id}", tag = "decision functions",
    operation_id = "delete_decision_function", security(("token" = [])),
    params(("id" = Uuid, Path)), responses((status = 204, description = "it is gone"), Absent, Conflicting, Guarded
))]
pub async fn delete(Admin(actor): Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<StatusCode> {
    let mut change = app.store.change(actor).await?;
    decision_functions::delete(&mut change, id).await?;
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tries source with a context and a config
///
/// It runs as it would in a database: same engine, same limits. `Date` shows the time that the context tells.
#[utoipa::path(post, path = "/decision-functions/test", tag = "decision functions",
    operation_id = "test_decision_function", security(("token" = [])),
    request_body = TestFunction,
    responses((status = 200, description = "how it went; also when it failed", body = Tested),
        Unreadable, Unusable, Guarded
))]
pub async fn test(_: Admin, State(app): State<Shared>, Body(wanted): Body<TestFunction>) -> Result<Json<Tested>> {
    decision_functions::check_source(&wanted.decision_fn)?;
    let config = Value::Object(wanted.config.unwrap_or_default());
    decision_functions::check_config(&config)?;
    let context = Value::Object(wanted.context);
    let tested = app.store.decisions.test(wanted.decision_fn, context, config).await?;
    Ok(Json(match tested {
        Ok(evaluation) => {
            let error = evaluation.outcome.as_ref().err().map(ToString::to_string);
            Tested {
                success: error.is_none(),
                error: error.clone(),
                result: Some(Outcome {
                    fire: evaluation.outcome.unwrap_or(false),
                    logs: evaluation.logs.into_iter().map(|log| log.text).collect(),
                    fuel_consumed: evaluation.fuel,
                    time_us: evaluation.microseconds,
                    error,
                }),
            }
        }
        Err(error) => Tested {
            success: false,
            result: None,
            error: Some(error.to_string()),
        },
    }))
}
