//! Bringing a database's catalog in line with a document, inside a transaction of the caller.

use std::collections::{BTreeMap, BTreeSet};

use policy::document::{Document, Switch, VERSION};
use sqlx::postgres::{PgDatabaseError, PgErrorPosition};
use sqlx::types::Json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::managed::Managed;
use super::target;
use crate::error::{Error, Result};
use crate::store::sync_states::{Problem, Step};
use crate::store::{Change, attributes, desired, policies, sync_states};

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

/// A digest of the whole catalog.
pub async fn digest(target: &mut PgConnection) -> Result<String> {
    sqlx::query_scalar("select md5(betweenrows.export()::text)")
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

/// Applies the document without the policies that the database refuses.
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
                    .and_then(|error| Some((refused_policy(error.detail()?)?, error)));
                let policies = document.policies.get_or_insert_default();
                match refused {
                    Some((index, error)) if index < policies.len() && applied.problems.len() < MAX_PROBLEMS => {
                        let name = policies.remove(index).name;
                        applied
                            .problems
                            .push(problem(format!("policy \"{name}\""), Some(name), error));
                    }
                    _ => return Err(target::unavailable(error)),
                }
            }
        }
    }
}

/// The index of the policy that the detail of an error names: `In the document: policies[3]…`.
fn refused_policy(detail: &str) -> Option<usize> {
    let rest = detail.lines().next()?.strip_prefix("In the document: policies[")?;
    rest.split_once(']')?.0.parse().ok()
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
    for (name, assignments) in &managed.policies {
        for whom in unwanted(assignments, wanted.policies.get(name)) {
            let detail = match (&whom.user, &whom.role) {
                (Some(user), _) => format!("user \"{user}\""),
                (None, Some(role)) => format!("role \"{role}\""),
                (None, None) => "everyone".to_owned(),
            };
            remove(
                target,
                applied,
                "select betweenrows.unassign_policy($1, $2, $3)",
                &[Some(name), whom.user.as_deref(), whom.role.as_deref()],
                step("unassign", "assignment", name, detail),
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

fn unwanted<'a, T: Ord>(managed: &'a BTreeSet<T>, wanted: Option<&'a BTreeSet<T>>) -> impl Iterator<Item = &'a T> {
    managed
        .iter()
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
    let ids = sqlx::query_scalar!(
        "select distinct a.data_source_id from policy_assignments a join data_sources d on d.id = a.data_source_id \
         join sync_states s on s.data_source_id = d.id \
         where a.policy_id = $1 and d.is_active and s.succeeded_at is not null and s.failures = 0",
        policy
    )
    .fetch_all(&mut *change.tx)
    .await?;
    if ids.is_empty() {
        return Ok(());
    }
    let document = Document {
        version: VERSION,
        access_mode: None,
        attributes: Some(attributes::definitions(&mut change.tx).await?),
        roles: None,
        users: None,
        decision_functions: None,
        access: Switch::Keep,
        catalog: Switch::Keep,
        policies: Some(vec![desired::spec(
            &policies::find(&mut change.tx, policy).await?,
            None,
        )?]),
    };
    let mut problems = Vec::new();
    for id in ids {
        let name = sync_states::find(&mut change.tx, id).await?.name;
        match ask(change, id, &document).await {
            Ok(refused) => problems.extend(refused.into_iter().map(|problem| {
                let detail = problem.detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
                format!("{name}: {}{detail}", problem.message)
            })),
            Err(error) => tracing::info!(data_source = name, %error, "could not ask about a policy"),
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
    fn the_refused_policy_is_found_in_the_detail() {
        assert_eq!(refused_policy("In the document: policies[3]\nmore"), Some(3));
        assert_eq!(refused_policy("In the document: policies[12].definition"), Some(12));
        for other in [
            "",
            "In the document: users[3]",
            "policies[3]",
            "x\nIn the document: policies[3]",
        ] {
            assert_eq!(refused_policy(other), None, "{other}");
        }
    }
}
