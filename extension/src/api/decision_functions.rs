//! Decision functions: `create_decision_function`, `alter_decision_function`, `drop_decision_function`,
//! `test_decision_function`.
//!
//! Invariant: what is stored was compiled, in the sandbox, by the engine that it names; whoever refers to a function holds
//! its row, so that none is dropped that a policy needs.

use decision::{ENGINE_ID, Failure};
use pgrx::iter::TableIterator;
use pgrx::{AnyElement, JsonB, Uuid, name, prelude::*};
use policy::error::Issue;
use policy::function::{EvaluateContext, LogLevel, OnError, check_config, check_source};
use policy::model;
use serde_json::{Value, json};

use super::{args, audit, errors, json, sql};
use crate::{gate, settings};

const KIND: &str = "decision function";

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
#[expect(clippy::too_many_arguments, reason = "the arguments of the SQL function")]
fn create_decision_function(
    name: Option<&str>,
    source: Option<&str>,
    config: Option<AnyElement>,
    evaluate_context: Option<&str>,
    on_error: Option<&str>,
    log_level: Option<&str>,
    description: Option<&str>,
    is_enabled: Option<bool>,
) -> Uuid {
    let name = args::object_name("name", name);
    let content = Content {
        source: args::required("source", source).to_owned(),
        config: args::required("config", json::argument("config", config)),
        evaluate_context: choice("evaluate_context", evaluate_context, EvaluateContext::parse),
        on_error: choice("on_error", on_error, OnError::parse),
        log_level: choice("log_level", log_level, LogLevel::parse),
        description: args::description(description).map(str::to_owned),
        is_enabled: args::required("is_enabled", is_enabled),
    };
    let created = create(name, &content)
        .unwrap_or_else(|| errors::duplicate(KIND, name, "Change it with betweenrows.alter_decision_function()."));
    args::uuid(args::id_of(&created))
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
#[expect(clippy::too_many_arguments, reason = "the arguments of the SQL function")]
fn alter_decision_function(
    name: Option<&str>,
    expected_version: Option<i32>,
    source: Option<&str>,
    config: Option<AnyElement>,
    evaluate_context: Option<&str>,
    on_error: Option<&str>,
    log_level: Option<&str>,
    description: Option<&str>,
    is_enabled: Option<bool>,
) -> i32 {
    let name = args::object_name("name", name);
    let config = json::argument("config", config);
    let before = lock(name);
    let version = version(&before);
    if let Some(expected) = expected_version
        && expected != version
    {
        errors::stale_version(&format!("{KIND} \"{name}\""), expected, version);
    }
    let mut content = stored(&before);
    if let Some(source) = source {
        content.source = source.to_owned();
    }
    if let Some(config) = config {
        content.config = config;
    }
    if evaluate_context.is_some() {
        content.evaluate_context = choice("evaluate_context", evaluate_context, EvaluateContext::parse);
    }
    if on_error.is_some() {
        content.on_error = choice("on_error", on_error, OnError::parse);
    }
    if log_level.is_some() {
        content.log_level = choice("log_level", log_level, LogLevel::parse);
    }
    content.description = args::description(description).map(str::to_owned);
    content.is_enabled = is_enabled.unwrap_or(content.is_enabled);
    alter(&before, &content).version
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn drop_decision_function(name: Option<&str>) {
    drop(&lock(args::object_name("name", name)));
}

/// See the comment on the SQL function. An error of the source is a result too.
#[pg_extern(sql = false)]
#[expect(clippy::type_complexity, reason = "pgrx reads the columns off the type")]
fn test_decision_function(
    source: Option<&str>,
    context: Option<AnyElement>,
    config: Option<AnyElement>,
) -> TableIterator<
    'static,
    (
        name!(fire, Option<bool>),
        name!(logs, JsonB),
        name!(error, Option<String>),
        name!(fuel, i64),
        name!(microseconds, i64),
    ),
> {
    let source = args::required("source", source);
    let context = args::required("context", json::argument("context", context));
    let config = args::required("config", json::argument("config", config));
    check(source, &config);
    let now = decision::context::told_time(&context).unwrap_or_else(gate::session::now);
    let evaluated = gate::evaluate_source(source, &context.to_string(), &config.to_string(), now)
        .unwrap_or_else(|reason| errors::no_engine(&reason));
    let row = match evaluated {
        Ok(evaluation) => {
            let logs = evaluation.logs.iter();
            let logs = logs.map(|log| json!({"level": log.level.as_str(), "text": log.text}));
            (
                evaluation.outcome.as_ref().ok().copied(),
                JsonB(logs.collect()),
                evaluation.outcome.as_ref().err().map(Failure::to_string),
                evaluation.fuel as i64,
                evaluation.microseconds as i64,
            )
        }
        Err(error) => (None, JsonB(json!([])), Some(error.to_string()), 0, 0),
    };
    TableIterator::once(row)
}

/// What a function consists of, apart from its name.
pub(crate) struct Content {
    pub(crate) source: String,
    pub(crate) config: Value,
    pub(crate) evaluate_context: EvaluateContext,
    pub(crate) on_error: OnError,
    pub(crate) log_level: LogLevel,
    /// For a change, `None` leaves alone and an empty one clears.
    pub(crate) description: Option<String>,
    pub(crate) is_enabled: bool,
}

/// What [`alter`] did.
pub(crate) struct Altered {
    /// The version that the function has now.
    pub(crate) version: i32,
    /// The names of what changed.
    pub(crate) changes: Vec<&'static str>,
}

/// Creates a function and returns its row; `None` when there is one of that name.
pub(crate) fn create(name: &str, content: &Content) -> Option<Value> {
    check(&content.source, &content.config);
    let bytecode = compile(name, &content.source);
    let row = sql::row(
        &format!(
            "insert into betweenrows.decision_functions as f
                 (name, source, config, evaluate_context, on_error, log_level, description, is_enabled, bytecode, engine)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing returning {ROW}"
        ),
        &[
            name.into(),
            content.source.as_str().into(),
            JsonB(content.config.clone()).into(),
            content.evaluate_context.as_str().into(),
            content.on_error.as_str().into(),
            content.log_level.as_str().into(),
            args::stored_description(content.description.as_deref()).into(),
            content.is_enabled.into(),
            bytecode.into(),
            ENGINE_ID.into(),
        ],
    )?;
    audit::record("create", KIND, name, &Value::Null, &row);
    Some(row)
}

/// Changes a function whose row was locked. It is compiled again when its source is another one, or its bytecode that of
/// another engine.
pub(crate) fn alter(before: &Value, content: &Content) -> Altered {
    let name = before["name"].as_str().unwrap_or_default();
    let description = args::changed_description(before["description"].as_str(), content.description.as_deref());
    let wanted = [
        ("source", json!(content.source)),
        ("config", content.config.clone()),
        ("evaluate_context", json!(content.evaluate_context.as_str())),
        ("on_error", json!(content.on_error.as_str())),
        ("log_level", json!(content.log_level.as_str())),
        ("description", json!(description)),
        ("is_enabled", json!(content.is_enabled)),
    ];
    let changes: Vec<&'static str> = wanted
        .iter()
        .filter(|(field, value)| before[field] != *value)
        .map(|(field, _)| *field)
        .collect();
    if changes.is_empty() {
        return Altered {
            version: version(before),
            changes,
        };
    }
    check(&content.source, &content.config);
    let compiled =
        (changes.contains(&"source") || before["engine"] != ENGINE_ID).then(|| compile(name, &content.source));
    let row = sql::row(
        &format!(
            "update betweenrows.decision_functions f
             set source = $2, config = $3, evaluate_context = $4, on_error = $5, log_level = $6, description = $7,
                 is_enabled = $8, bytecode = coalesce($9, f.bytecode), engine = $10, version = f.version + 1,
                 updated_by = session_user, updated_at = now()
             where f.id = $1 returning {ROW}"
        ),
        &[
            args::uuid(args::id_of(before)).into(),
            content.source.as_str().into(),
            JsonB(content.config.clone()).into(),
            content.evaluate_context.as_str().into(),
            content.on_error.as_str().into(),
            content.log_level.as_str().into(),
            description.into(),
            content.is_enabled.into(),
            compiled.into(),
            ENGINE_ID.into(),
        ],
    )
    .unwrap_or_default();
    audit::record("alter", KIND, name, before, &row);
    Altered {
        version: version(&row),
        changes,
    }
}

/// Drops a function whose row was locked; refused while a policy refers to it.
pub(crate) fn drop(before: &Value) {
    let name = before["name"].as_str().unwrap_or_default();
    let id = args::uuid(args::id_of(before));
    let users: Vec<String> = sql::latest(
        "select to_jsonb(p.name) from betweenrows.policies p where p.decision_function_id = $1 order by p.name",
        &[id.into()],
    )
    .iter()
    .filter_map(Value::as_str)
    .map(|policy| format!("policy \"{policy}\" uses it"))
    .collect();
    if !users.is_empty() {
        errors::in_use(
            format!("{KIND} \"{name}\" cannot be dropped because it is used"),
            &users,
            "Give those policies another function, or none, with betweenrows.alter_policy() first.",
        );
    }
    sql::run("delete from betweenrows.decision_functions where id = $1", &[id.into()]);
    audit::record("drop", KIND, name, before, &Value::Null);
}

/// The row of a function, locked against other changes.
pub(crate) fn find_and_lock(name: &str) -> Option<Value> {
    sql::row(
        &format!("select {ROW} from betweenrows.decision_functions f where f.name = $1 for update"),
        &[name.into()],
    )
}

/// The row of a function that has to exist, locked against other changes.
pub(crate) fn lock(name: &str) -> Value {
    find_and_lock(name).unwrap_or_else(|| undefined(name))
}

/// The id of a function that has to exist, locked against being dropped.
pub(crate) fn refer_to(name: &str) -> model::Id {
    sql::row(
        "select jsonb_build_object('id', f.id) from betweenrows.decision_functions f where f.name = $1 for key share",
        &[name.into()],
    )
    .map_or_else(|| undefined(name), |row| args::id_of(&row))
}

/// A row without its bytecode, which follows from the source and is of no use to anybody who reads it.
const ROW: &str = "to_jsonb(f) - 'bytecode'";

fn stored(row: &Value) -> Content {
    let text = |field: &str| row[field].as_str().unwrap_or_default();
    Content {
        source: text("source").to_owned(),
        config: row["config"].clone(),
        // What cannot be read, written by a superuser, is repaired by what it would have been by default.
        evaluate_context: EvaluateContext::parse(text("evaluate_context")).unwrap_or_default(),
        on_error: OnError::parse(text("on_error")).unwrap_or_default(),
        log_level: LogLevel::parse(text("log_level")).unwrap_or_default(),
        description: None,
        is_enabled: row["is_enabled"] != json!(false),
    }
}

fn version(row: &Value) -> i32 {
    row["version"]
        .as_i64()
        .and_then(|version| i32::try_from(version).ok())
        .unwrap_or_default()
}

fn choice<T>(argument: &str, value: Option<&str>, parse: fn(&str) -> Result<T, Issue>) -> T {
    parse(args::required(argument, value)).unwrap_or_else(|issue| {
        errors::invalid_argument(argument, format!("It {}.", issue.message), "Use one of these values.")
    })
}

fn check(source: &str, config: &Value) {
    args::valid(
        KIND,
        check_source(source, settings::DECISION_SOURCE_LIMIT.get() as usize),
    );
    args::valid(
        KIND,
        check_config(config, settings::DECISION_CONFIG_LIMIT.get() as usize),
    );
}

fn compile(name: &str, source: &str) -> Vec<u8> {
    match gate::compile(source) {
        Ok(Ok(bytecode)) => bytecode,
        Ok(Err(error)) => errors::bad_source(name, &error),
        Err(reason) => errors::no_engine(&reason),
    }
}

fn undefined(name: &str) -> ! {
    errors::undefined(KIND, name, "Create it with betweenrows.create_decision_function().")
}
