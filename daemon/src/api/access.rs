//! What users see in the data sources, and what a change of a policy would do to that.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use policy::document::DEFAULT_PRIORITY;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::JoinSet;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Shared;
use super::attributes::set;
use super::auth::Admin;
use super::extract::{Body, Ids, Listing, Parameters, first, listing, nullable, twenty, window};
use super::status::{Absent, Conflicting, Guarded, Unreadable, Unusable};
use crate::access::preview::{self, Impact, Wanted};
use crate::access::{Catalog, Snapshot, Standing, TableView};
use crate::error::{Error, Result};
use crate::store::assignments::{self, Assignment, Filter, To};
use crate::store::{Change, data_sources, decision_functions, desired, policies, users};
use crate::sync;
use crate::sync::target::{self, Login};

/// Most tables on a page.
const MOST: i64 = 100;

/// Which tables of which data source.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AccessQuery {
    /// Where.
    datasource_id: Uuid,
    /// Only in the schema of that name.
    schema: Option<String>,
    /// Only tables of that name.
    table: Option<String>,
    /// From 1; what is less is taken for it.
    #[serde(default = "first")]
    #[param(default = 1)]
    page: i64,
    /// 1 to 100; what is less or more is taken for that.
    #[serde(default = "twenty")]
    #[param(default = 20)]
    page_size: i64,
}

/// What a user sees in a data source.
#[derive(Serialize, ToSchema)]
pub struct EffectiveAccess {
    /// Who.
    user_id: Uuid,
    /// By name.
    username: String,
    /// Where.
    data_source_id: Uuid,
    /// By name.
    datasource_name: String,
    /// `open` or `policy_required`, as it is there.
    access_mode: String,
    /// `governed`, `refused`: no statement on a table runs, or `exempt`: no policy applies to the login role of that name.
    standing: Standing,
    /// The tables, as policies decide; for `refused` what the user would see with access.
    #[serde(flatten)]
    tables: Listing<TableView>,
}

/// Shows what a user sees of the tables of a data source, and why
///
/// It is what is in force there now, policies that were made there by SQL included. Policies with a decision function are
/// taken as if it fires. PostgreSQL's own privileges are a matter of their own.
#[utoipa::path(get, path = "/users/{id}/effective-access", tag = "users",
    operation_id = "get_effective_access", security(("token" = [])),
    params(("id" = Uuid, Path), AccessQuery),
    responses((status = 200, description = "by schema and table", body = EffectiveAccess),
        Unreadable, Absent, Unusable, Guarded
))]
pub async fn effective(
    _: Admin,
    State(app): State<Shared>,
    Ids(id): Ids<Uuid>,
    Parameters(query): Parameters<AccessQuery>,
) -> Result<Json<EffectiveAccess>> {
    if [&query.schema, &query.table]
        .into_iter()
        .flatten()
        .any(|name| name.contains('\0'))
    {
        return Err(Error::invalid("schema and table: must not contain a NUL character"));
    }
    let mut conn = app.store.read().await?;
    let user = users::find(&mut conn, id).await?;
    let source = data_sources::find(&mut conn, query.datasource_id).await?;
    let login = Login::of(&mut conn, &app.store.sealer, source.id).await?;
    drop(conn);
    let (schema, table) = (query.schema.clone(), query.table.clone());
    let question = |mut target| async move { Snapshot::read(&mut target, schema.as_deref(), table.as_deref()).await };
    let snapshot = target::ask(&app.permits, &login, question).await?;
    let catalog = Catalog::new(&snapshot.document);
    let subject = catalog.subject(&user.username, &snapshot);
    let applicable = catalog.applicable(&subject);
    let (rows, ..) = window(query.page, query.page_size, MOST);
    let tables = snapshot.tables.iter();
    let page = tables.skip(usize::try_from(rows.offset).unwrap_or(usize::MAX));
    let page = page.take(usize::try_from(rows.limit).unwrap_or(usize::MAX));
    let views = page.map(|table| catalog.view(&subject, &applicable, table)).collect();
    let Json(tables) = listing(query.page, query.page_size, MOST, views, snapshot.tables.len() as i64);
    Ok(Json(EffectiveAccess {
        user_id: user.id,
        username: user.username,
        data_source_id: source.id,
        datasource_name: source.name,
        access_mode: snapshot.document.access_mode.unwrap_or_default().as_str().to_owned(),
        standing: subject.standing,
        tables,
    }))
}

/// A change to look at beforehand.
#[derive(Deserialize, ToSchema)]
pub struct Preview {
    /// The policy to be changed or deleted; without it a new one is looked at.
    policy_id: Option<Uuid>,
    /// Whether it is to be deleted.
    #[serde(default)]
    delete: bool,
    /// The new policy, or what is to be changed of the one that is there.
    policy: Option<PolicyChange>,
    /// All its assignments as they are to be; without it those that it has.
    assignments: Option<Vec<PreviewAssignment>>,
    /// Only look at this data source; else at all where it is, or would be, assigned.
    datasource_id: Option<Uuid>,
}

/// What a policy is to say. What is absent is left alone, null clears; a new one needs name, type and targets.
#[derive(Deserialize, ToSchema)]
pub struct PolicyChange {
    name: Option<String>,
    policy_type: Option<String>,
    is_enabled: Option<bool>,
    #[schema(value_type = Option<Vec<policies::Target>>)]
    targets: Option<Value>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<policies::Definition>)]
    definition: Option<Option<Value>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Uuid>)]
    decision_function_id: Option<Option<Uuid>>,
}

/// For whom and where it is to be.
#[derive(Deserialize, ToSchema)]
pub struct PreviewAssignment {
    data_source_id: Uuid,
    /// `user`, `role` or `all`; without it the ids decide.
    scope: Option<String>,
    user_id: Option<Uuid>,
    role_id: Option<Uuid>,
    /// The lower number wins; 100 unless given.
    priority: Option<i32>,
}

/// What a change would do.
#[derive(Serialize, ToSchema)]
pub struct Previewed {
    /// By data source; empty when the policy neither is nor would be assigned.
    data_sources: Vec<Impact>,
}

/// Tells what a change of a policy would do, and changes nothing
///
/// For each data source: which users would see more or less of which tables. A change that would be refused is refused
/// here, too.
#[utoipa::path(post, path = "/policies/preview", tag = "policies",
    operation_id = "preview_policy", security(("token" = [])), request_body = Preview,
    responses((status = 200, description = "what it would do", body = Previewed),
        Unreadable, Absent, Conflicting, Unusable, Guarded
))]
pub async fn preview(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Body(wanted): Body<Preview>,
) -> Result<Json<Previewed>> {
    let only = wanted.datasource_id;
    let mut change = app.store.change(actor).await?;
    let trials = trials(&mut change, wanted).await?;
    // It was only made to see what it comes to.
    drop(change);
    let mut tasks = JoinSet::new();
    for trial in trials
        .into_iter()
        .filter(|trial| only.is_none_or(|only| only == trial.impact.data_source_id))
    {
        let permits = app.permits.clone();
        tasks.spawn(async move {
            let Trial {
                login,
                wanted,
                mut impact,
            } = trial;
            let question = |mut target| async move { Snapshot::read(&mut target, None, None).await };
            match target::ask(&permits, &login, question).await {
                Ok(snapshot) => tokio::task::spawn_blocking(move || {
                    preview::impact(&snapshot, &wanted, &mut impact);
                    impact
                })
                .await
                .map_err(|error| Error::Internal(error.to_string())),
                Err(error) => {
                    impact.error = Some(error.to_string());
                    Ok(impact)
                }
            }
        });
    }
    let mut data_sources = Vec::new();
    while let Some(done) = tasks.join_next().await {
        data_sources.push(done.map_err(|error| Error::Internal(error.to_string()))??);
    }
    data_sources.sort_by(|one, other| one.datasource_name.cmp(&other.datasource_name));
    Ok(Json(Previewed { data_sources }))
}

/// What is to be looked at in one data source.
struct Trial {
    login: Login,
    wanted: Wanted,
    impact: Impact,
}

/// Makes the change, and tells what it comes to in each active data source. The caller does not commit it.
async fn trials(change: &mut Change<'_>, wanted: Preview) -> Result<Vec<Trial>> {
    if let Some(id) = wanted.datasource_id {
        data_sources::find(&mut change.tx, id).await?;
    }
    let (old_name, before) = match wanted.policy_id {
        Some(id) => (
            Some(policies::find(&mut change.tx, id).await?.name),
            assigned(change, id).await?,
        ),
        None => (None, Vec::new()),
    };
    let policy = match (wanted.policy_id, wanted.delete, wanted.policy) {
        (Some(id), true, None) if wanted.assignments.is_none() => {
            policies::delete(change, id).await?;
            None
        }
        (Some(id), false, edit) => {
            let update = |content: &mut policies::Content| edit.into_iter().for_each(|edit| edit.apply(content));
            Some(policies::update(change, id, None, update).await?)
        }
        (None, false, Some(new)) => Some(policies::create(change, new.into_content()?).await?),
        _ => {
            return Err(Error::BadRequest(
                "give policy_id to change a policy, policy_id and delete to delete one, or policy for a new one"
                    .to_owned(),
            ));
        }
    };
    let mut after = Vec::new();
    let mut function = None;
    if let Some(policy) = &policy {
        if let Some(assignments) = wanted.assignments {
            for old in &before {
                assignments::delete(change, old.data_source_id, old.id).await?;
            }
            for new in assignments {
                let to = To::new(new.scope.as_deref(), new.user_id, new.role_id)?;
                let priority = new.priority.unwrap_or(DEFAULT_PRIORITY);
                assignments::create(change, new.data_source_id, policy.id, to, priority).await?;
            }
        }
        sync::preflight(change, policy.id).await?;
        after = assigned(change, policy.id).await?;
        if let Some(id) = policy.decision_function_id {
            function = Some(decision_functions::find(&mut change.tx, id).await?.spec()?);
        }
    }
    let places: BTreeSet<Uuid> = before.iter().chain(&after).map(|entry| entry.data_source_id).collect();
    let mut trials = Vec::new();
    for id in places {
        let source = data_sources::find(&mut change.tx, id).await?;
        if !source.is_active {
            continue;
        }
        let here = after.iter().filter(|entry| entry.data_source_id == id);
        let here: Vec<_> = here.map(desired::assignment_spec).collect();
        let spec = match policy.as_ref().filter(|_| !here.is_empty()) {
            Some(policy) => Some(desired::spec(policy, Some(here))?),
            None => None,
        };
        trials.push(Trial {
            login: Login::of(&mut change.tx, change.sealer, id).await?,
            wanted: Wanted {
                old_name: old_name.clone(),
                spec,
                function: function.clone(),
            },
            impact: Impact {
                data_source_id: id,
                datasource_name: source.name,
                ..Impact::default()
            },
        });
    }
    Ok(trials)
}

async fn assigned(change: &mut Change<'_>, policy: Uuid) -> Result<Vec<Assignment>> {
    let filter = Filter {
        policy: Some(policy),
        ..Filter::default()
    };
    assignments::list(&mut change.tx, filter).await
}

impl PolicyChange {
    fn apply(self, content: &mut policies::Content) {
        set(&mut content.name, self.name);
        set(&mut content.policy_type, self.policy_type);
        set(&mut content.is_enabled, self.is_enabled);
        set(&mut content.targets, self.targets);
        set(&mut content.definition, self.definition);
        set(&mut content.decision_function_id, self.decision_function_id);
    }

    fn into_content(self) -> Result<policies::Content> {
        let missing = |field: &str| Error::invalid(format!("policy.{field}: is required for a new policy"));
        Ok(policies::Content {
            name: self.name.ok_or_else(|| missing("name"))?,
            policy_type: self.policy_type.ok_or_else(|| missing("policy_type"))?,
            description: None,
            is_enabled: self.is_enabled.unwrap_or(true),
            targets: self.targets.ok_or_else(|| missing("targets"))?,
            definition: self.definition.flatten(),
            decision_function_id: self.decision_function_id.flatten(),
        })
    }
}
