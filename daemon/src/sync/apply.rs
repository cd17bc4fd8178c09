//! Bringing a database's catalog in line with a document, inside a transaction of the caller.

use std::collections::{BTreeMap, BTreeSet};

use policy::document::{Document, PolicySpec, Switch, VERSION};
use policy::function::FunctionSpec;
use sqlx::postgres::{PgDatabaseError, PgErrorPosition};
use sqlx::types::Json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::managed::Managed;
use super::target;
use crate::error::{Error, Result};
use crate::store::decision_functions::{self, DecisionFunction};
use crate::store::sync_states::{Problem, Step};
use crate::store::{Change, attributes, desired, policies};

/// Most policies that are left out because they are refused, before the whole document counts as refused.
const MAX_PROBLEMS: usize = 100;

/// What was done, and what was refused.
#[derive(Default)]
pub struct Applied {
    /// What was done.
    pub steps: Vec<Step>,
    /// What was refused, and is as it was.
    pub problems: Vec<Problem>,
}

/// Removes what is `managed` and not `wanted`, and applies the document, which may leave out what is in force already.
///
/// Links and policies go first: an edge between roles that turns round would otherwise be a cycle for a moment.
pub async fn apply(
    target: &mut PgConnection,
    document: &Document,
    managed: &Managed,
    wanted: &Managed,
) -> Result<Applied> {
    let mut applied = Applied::default();
    remove_links(target, managed, wanted, &mut applied).await?;
    apply_what_is_accepted(target, document, &mut applied).await?;
    remove_objects(target, managed, wanted, &mut applied).await?;
    applied.steps.retain(|step| step.action != "none");
    Ok(applied)
}

/// What would have to change for the catalog to be as the document says. Changes nothing.
pub async fn differences(target: &mut PgConnection, document: &Document) -> Result<Vec<Step>> {
    let steps = call_apply(target, document, true).await.map_err(target::unavailable)?;
    Ok(steps.into_iter().filter(|step| step.action != "none").collect())
}

/// Another text after each change of the catalog.
pub async fn digest(target: &mut PgConnection) -> Result<String> {
    sqlx::query_scalar("select betweenrows.catalog_digest()")
        .fetch_one(target)
        .await
        .map_err(target::unavailable)
}

async fn call_apply(
    target: &mut PgConnection,
    document: &Document,
    dry_run: bool,
) -> std::result::Result<Vec<Step>, sqlx::Error> {
    let rows: Vec<(String, String, String, String)> =
        sqlx::query_as("select action, kind, name, detail from betweenrows.apply($1, false, $2)")
            .bind(Json(document.to_json()))
            .bind(dry_run)
            .fetch_all(target)
            .await?;
    let steps = rows.into_iter().map(|(action, kind, name, detail)| Step {
        action,
        kind,
        name,
        detail,
    });
    Ok(steps.collect())
}

/// Applies the document without the policies and decision functions that the database refuses. Policies of a function that
/// was refused keep the one that is there, or are refused, too.
async fn apply_what_is_accepted(target: &mut PgConnection, document: &Document, applied: &mut Applied) -> Result<()> {
    let mut document = document.clone();
    loop {
        let mut attempt = target.begin().await.map_err(target::unavailable)?;
        match call_apply(&mut attempt, &document, false).await {
            Ok(steps) => {
                attempt.commit().await.map_err(target::unavailable)?;
                applied.steps.extend(steps);
                return Ok(());
            }
            Err(error) => {
                attempt.rollback().await.map_err(target::unavailable)?;
                let refused = error
                    .as_database_error()
                    .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
                    .and_then(|error| Some((leave_out(&mut document, error.detail()?)?, error)));
                match refused {
                    Some((refused, error)) if applied.problems.len() < MAX_PROBLEMS => {
                        let policy = (refused.kind == "policy").then(|| refused.name.clone());
                        let object = format!("{} \"{}\"", refused.kind, refused.name);
                        applied.problems.push(problem(object, policy, error));
                    }
                    _ => return Err(target::unavailable(error)),
                }
            }
        }
    }
}

/// What a database refused.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    kind: &'static str,
    name: String,
}

/// Removes what the detail of an error names from the document: `In the document: policies[3]…`.
fn leave_out(document: &mut Document, detail: &str) -> Option<Refused> {
    let place = detail.lines().next()?.strip_prefix("In the document: ")?;
    let (section, rest) = place.split_once('[')?;
    let index: usize = rest.split_once(']')?.0.parse().ok()?;
    fn take<T>(items: &mut Option<Vec<T>>, index: usize) -> Option<T> {
        let items = items.as_mut()?;
        (index < items.len()).then(|| items.remove(index))
    }
    let (kind, name) = match section {
        "policies" => ("policy", take(&mut document.policies, index)?.name),
        "decision_functions" => ("decision function", take(&mut document.decision_functions, index)?.name),
        _ => return None,
    };
    Some(Refused { kind, name })
}

fn problem(object: String, policy: Option<String>, error: &PgDatabaseError) -> Problem {
    // The place in the document tells an administrator nothing: the document is ours.
    let detail = error.detail().map(|detail| {
        let lines = detail.lines().filter(|line| !line.starts_with("In the document:"));
        lines.collect::<Vec<_>>().join("\n")
    });
    let position = match error.position() {
        Some(PgErrorPosition::Original(position)) => format!(" at character {position}"),
        _ => String::new(),
    };
    Problem {
        object,
        policy,
        sqlstate: error.code().to_owned(),
        message: format!("{}{position}", error.message()),
        detail: detail.filter(|detail| !detail.is_empty()),
        hint: error.hint().map(str::to_owned),
    }
}

/// Calls a function of the extension that removes something. What is refused, say because an object made by SQL uses it,
/// stays and is reported.
async fn remove(
    target: &mut PgConnection,
    applied: &mut Applied,
    call: &'static str,
    arguments: &[Option<&str>],
    step: Step,
) -> Result<()> {
    let mut attempt = target.begin().await.map_err(target::unavailable)?;
    let query = arguments
        .iter()
        .fold(sqlx::query(call), |query, argument| query.bind(*argument));
    match query.execute(&mut *attempt).await {
        Ok(_) => {
            attempt.commit().await.map_err(target::unavailable)?;
            applied.steps.push(step);
            Ok(())
        }
        Err(error) => {
            attempt.rollback().await.map_err(target::unavailable)?;
            let refused = error
                .as_database_error()
                .and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
            match refused {
                // 42704: it is gone already, which is what was wanted.
                Some(refused) if refused.code() == "42704" => Ok(()),
                // 2BP01: something still uses it.
                Some(refused) if refused.code() == "2BP01" => {
                    let object = format!("{} \"{}\"", step.kind, step.name);
                    applied.problems.push(problem(object, None, refused));
                    Ok(())
                }
                _ => Err(target::unavailable(error)),
            }
        }
    }
}

fn step(action: &str, kind: &str, name: &str, detail: impl Into<String>) -> Step {
    Step {
        action: action.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        detail: detail.into(),
    }
}

async fn remove_links(
    target: &mut PgConnection,
    managed: &Managed,
    wanted: &Managed,
    applied: &mut Applied,
) -> Result<()> {
    for whom in unwanted(managed.access.iter().flatten(), wanted.access.as_ref()) {
        remove(
            target,
            applied,
            "select betweenrows.revoke_access($1, $2)",
            &[whom.user.as_deref(), whom.role.as_deref()],
            step("revoke", "access_grant", &whom.to_string(), ""),
        )
        .await?;
    }
    for (name, assignments) in &managed.policies {
        for whom in unwanted(assignments, wanted.policies.get(name)) {
            remove(
                target,
                applied,
                "select betweenrows.unassign_policy($1, $2, $3)",
                &[Some(name), whom.user.as_deref(), whom.role.as_deref()],
                step("unassign", "assignment", name, whom.to_string()),
            )
            .await?;
        }
    }
    for name in unwanted_names(&managed.policies, &wanted.policies) {
        let step = step("drop", "policy", name, "");
        remove(
            target,
            applied,
            "select betweenrows.drop_policy($1)",
            &[Some(name)],
            step,
        )
        .await?;
    }
    for (user, roles) in &managed.users {
        for role in unwanted(roles, wanted.users.get(user)) {
            let call = "select betweenrows.remove_member($1, $2)";
            let step = step("remove", "member", role, user.as_str());
            remove(target, applied, call, &[Some(role), Some(user)], step).await?;
        }
    }
    for (role, parents) in &managed.roles {
        for parent in unwanted(parents, wanted.roles.get(role)) {
            let call = "select betweenrows.remove_parent($1, $2)";
            let step = step("remove", "parent", role, parent.as_str());
            remove(target, applied, call, &[Some(role), Some(parent)], step).await?;
        }
    }
    Ok(())
}

async fn remove_objects(
    target: &mut PgConnection,
    managed: &Managed,
    wanted: &Managed,
    applied: &mut Applied,
) -> Result<()> {
    for name in managed.decision_functions.difference(&wanted.decision_functions) {
        let call = "select betweenrows.drop_decision_function($1)";
        remove(
            target,
            applied,
            call,
            &[Some(name)],
            step("drop", "decision_function", name, ""),
        )
        .await?;
    }
    for name in unwanted_names(&managed.users, &wanted.users) {
        let step = step("drop", "user", name, "");
        remove(target, applied, "select betweenrows.drop_user($1)", &[Some(name)], step).await?;
    }
    for name in unwanted_names(&managed.roles, &wanted.roles) {
        let step = step("drop", "role", name, "");
        remove(target, applied, "select betweenrows.drop_role($1)", &[Some(name)], step).await?;
    }
    for key in managed.attributes.difference(&wanted.attributes) {
        let step = step("drop", "attribute", key, "");
        remove(
            target,
            applied,
            "select betweenrows.drop_attribute($1)",
            &[Some(key)],
            step,
        )
        .await?;
    }
    Ok(())
}

fn unwanted<'a, T: Ord>(
    managed: impl IntoIterator<Item = &'a T>,
    wanted: Option<&'a BTreeSet<T>>,
) -> impl Iterator<Item = &'a T> {
    managed
        .into_iter()
        .filter(move |link| wanted.is_none_or(|wanted| !wanted.contains(link)))
}

fn unwanted_names<'a, T>(
    managed: &'a BTreeMap<String, T>,
    wanted: &'a BTreeMap<String, T>,
) -> impl Iterator<Item = &'a String> {
    managed.keys().filter(move |name| !wanted.contains_key(*name))
}

/// Lets the databases where a policy is assigned say what they think of it, before the change is made. Those that cannot
/// be asked, or have never been synced, are left for the sync.
pub async fn preflight(change: &mut Change<'_>, policy: Uuid) -> Result<()> {
    let policy = policies::find(&mut change.tx, policy).await?;
    let function = match policy.decision_function_id {
        Some(id) => vec![decision_functions::find(&mut change.tx, id).await?.spec()?],
        None => Vec::new(),
    };
    let ids = sqlx::query_scalar!(
        "select distinct data_source_id from policy_assignments where policy_id = $1",
        policy.id
    )
    .fetch_all(&mut *change.tx)
    .await?;
    ask_all(change, &ids, function, vec![desired::spec(&policy, None)?]).await
}

/// The same for a decision function, in the databases where a policy of it is assigned.
pub async fn preflight_function(change: &mut Change<'_>, function: &DecisionFunction) -> Result<()> {
    let ids = decision_functions::data_sources(&mut change.tx, function.id).await?;
    ask_all(change, &ids, vec![function.spec()?], Vec::new()).await
}

async fn ask_all(
    change: &mut Change<'_>,
    data_sources: &[Uuid],
    functions: Vec<FunctionSpec>,
    policies: Vec<PolicySpec>,
) -> Result<()> {
    let sources = sqlx::query!(
        "select d.id, d.name from data_sources d join sync_states s on s.data_source_id = d.id \
         where d.id = any ($1) and d.is_active and s.succeeded_at is not null and s.failures = 0 order by d.name",
        data_sources
    )
    .fetch_all(&mut *change.tx)
    .await?;
    if sources.is_empty() {
        return Ok(());
    }
    let document = Document {
        version: VERSION,
        access_mode: None,
        attributes: Some(attributes::definitions(&mut change.tx).await?),
        roles: None,
        users: None,
        decision_functions: Some(functions),
        policies: Some(policies),
        access: Switch::Keep,
        catalog: Switch::Keep,
    };
    let mut problems = Vec::new();
    for source in sources {
        match ask(change, source.id, &document).await {
            Ok(refused) => problems.extend(refused.into_iter().map(|problem| {
                let detail = problem.detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
                format!("{}: {}{detail}", source.name, problem.message)
            })),
            Err(error) => tracing::info!(data_source = source.name, %error, "could not ask about a change"),
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(problems))
    }
}

async fn ask(change: &mut Change<'_>, id: Uuid, document: &Document) -> Result<Vec<Problem>> {
    let sealer = change.sealer;
    let mut target = target::connect(&mut change.tx, sealer, id).await?;
    // Somebody waits for the answer, and so does every other change.
    sqlx::query("select set_config('lock_timeout', '2s', false), set_config('statement_timeout', '10s', false)")
        .execute(&mut target)
        .await
        .map_err(target::unavailable)?;
    let mut trial = target.begin().await.map_err(target::unavailable)?;
    let mut applied = Applied::default();
    apply_what_is_accepted(&mut trial, document, &mut applied).await?;
    trial.rollback().await.map_err(target::unavailable)?;
    target.close().await.map_err(target::unavailable)?;
    Ok(applied.problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_found_in_the_detail() {
        let document = serde_json::json!({
            "version": 1,
            "decision_functions": [{"name": "f", "source": "x"}],
            "policies": [
                {"name": "p", "policy_type": "table_deny", "targets": [{"schemas": ["s"], "tables": ["t"]}]},
                {"name": "q", "policy_type": "table_deny", "targets": [{"schemas": ["s"], "tables": ["t"]}]},
            ],
        });
        let document = Document::parse(&document).unwrap();
        let find = |detail| {
            let mut document = document.clone();
            let refused = leave_out(&mut document, detail)?;
            let left = document.policies.unwrap().len() + document.decision_functions.unwrap().len();
            Some(format!("{} {} {left}", refused.kind, refused.name))
        };
        assert_eq!(find("In the document: policies[1]\nmore").unwrap(), "policy q 2");
        assert_eq!(find("In the document: policies[0].definition").unwrap(), "policy p 2");
        assert_eq!(
            find("In the document: decision_functions[0]").unwrap(),
            "decision function f 2"
        );
        for other in [
            "",
            "In the document: policies[2]",
            "In the document: users[0]",
            "policies[0]",
            "x\nIn the document: policies[0]",
        ] {
            assert_eq!(find(other), None, "{other}");
        }
    }
}
