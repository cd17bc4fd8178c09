//! Login roles for users with a password.
//!
//! Invariants: a login role that this store did not create is never changed, nor one that has gained special rights since.
//! Ours are marked by a comment, which only a superuser or whoever may alter the role can set. A password goes over the
//! wire as a SCRAM verifier. Roles are never dropped: who may no longer log in keeps a role that cannot.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;
use uuid::Uuid;

use super::target;
use crate::error::{Error, Result};
use crate::secrets::seal::Sealer;
use crate::store::grants;
use crate::store::sync_states::Step;
use crate::store::users::VERIFIER_PLACE;

/// What a user's login role should be.
pub struct Wanted {
    /// Whether the user may log in.
    login: bool,
    /// The SCRAM verifier.
    verifier: String,
    /// Which password it is of.
    generation: i32,
}

/// The login roles that a server should have for the users of the store: those who may use one of its data sources.
/// Roles belong to the whole server, so every data source on it counts.
pub async fn wanted(
    store: &mut PgConnection,
    sealer: &Sealer,
    data_source: Uuid,
    system_identifier: &str,
) -> Result<BTreeMap<String, Wanted>> {
    let here = sqlx::query_scalar!(
        "select data_source_id from sync_states s join data_sources d on d.id = s.data_source_id \
         where data_source_id = $1 or (system_identifier = $2 and d.is_active)",
        data_source,
        system_identifier
    )
    .fetch_all(&mut *store)
    .await?;
    let mut granted = BTreeSet::new();
    for id in here {
        granted.extend(grants::granted(store, id).await?);
    }
    let users = sqlx::query!(
        r#"select id, username, login_verifier as "login_verifier!", token_generation from users
           where login_verifier is not null"#
    )
    .fetch_all(store)
    .await?;
    users
        .into_iter()
        .map(|user| {
            let verifier = sealer.open(VERIFIER_PLACE, user.id, &user.login_verifier)?;
            let verifier = String::from_utf8(verifier)
                .map_err(|_| Error::Internal("a verifier in the store is not text".to_owned()))?;
            let wanted = Wanted {
                login: granted.contains(&user.id),
                verifier,
                generation: user.token_generation,
            };
            Ok((user.username, wanted))
        })
        .collect()
}

/// Text that changes whenever the login roles have to be looked at again.
pub fn summary(wanted: &BTreeMap<String, Wanted>) -> String {
    let parts = wanted
        .iter()
        .map(|(name, role)| format!("{name} {} {}\n", role.login, role.generation));
    parts.collect()
}

/// Creates, alters and closes login roles, in the caller's transaction.
pub async fn provision(
    target: &mut PgConnection,
    store_id: Uuid,
    wanted: &BTreeMap<String, Wanted>,
) -> Result<Vec<Step>> {
    let mark = mark(store_id);
    let names: Vec<&str> = wanted.keys().map(String::as_str).collect();
    let existing: Vec<(String, bool, bool, Option<String>)> = sqlx::query_as(
        "select rolname::text, rolcanlogin, rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls, \
         shobj_description(oid, 'pg_authid') from pg_roles \
         where rolname = any ($1) or starts_with(shobj_description(oid, 'pg_authid'), $2)",
    )
    .bind(names)
    .bind(&mark)
    .fetch_all(&mut *target)
    .await
    .map_err(target::unavailable)?;
    let mut steps = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, can_login, is_special, comment) in existing {
        let comment = comment.unwrap_or_default();
        let ours = comment.starts_with(&mark) && !is_special;
        seen.insert(name.clone());
        if !ours {
            continue;
        }
        match wanted.get(&name) {
            Some(role) if role.login => {
                if can_login && comment == marked(&mark, role) {
                    continue;
                }
                execute(
                    target,
                    &format!(
                        "alter role {} login password {}",
                        quoted(&name),
                        literal(&role.verifier)
                    ),
                )
                .await?;
                comment_on(target, &name, &marked(&mark, role)).await?;
                steps.push(step("alter", &name, "may log in"));
            }
            _ if can_login => {
                execute(target, &format!("alter role {} nologin", quoted(&name))).await?;
                steps.push(step("alter", &name, "may not log in any more"));
            }
            _ => {}
        }
    }
    for (name, role) in wanted.iter().filter(|(name, role)| role.login && !seen.contains(*name)) {
        execute(
            target,
            &format!(
                "create role {} login password {}",
                quoted(name),
                literal(&role.verifier)
            ),
        )
        .await?;
        comment_on(target, name, &marked(&mark, role)).await?;
        steps.push(step("create", name, ""));
    }
    Ok(steps)
}

/// The comment of what this store created.
pub(super) fn mark(store_id: Uuid) -> String {
    format!("managed by betweenrowsd, store {store_id}")
}

fn marked(mark: &str, role: &Wanted) -> String {
    format!("{mark}, password {}", role.generation)
}

pub(super) fn step(action: &str, name: &str, detail: &str) -> Step {
    Step {
        action: action.to_owned(),
        kind: "login_role".to_owned(),
        name: name.to_owned(),
        detail: detail.to_owned(),
    }
}

async fn comment_on(target: &mut PgConnection, name: &str, comment: &str) -> Result<()> {
    execute(
        target,
        &format!("comment on role {} is {}", quoted(name), literal(comment)),
    )
    .await
}

/// Statements about roles take no parameters.
pub(super) async fn execute(target: &mut PgConnection, statement: &str) -> Result<()> {
    sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()))
        .execute(target)
        .await
        .map(drop)
        .map_err(
            |error| match error.as_database_error().and_then(|error| error.code()).as_deref() {
                Some("42501") => Error::Forbidden(
                    "the role of the data source may not manage login roles; a superuser has to run: \
                 alter role … createrole"
                        .to_owned(),
                ),
                _ => target::unavailable(error),
            },
        )
}

/// An identifier in a statement.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal that means the same whatever `standard_conforming_strings` is.
pub(super) fn literal(text: &str) -> String {
    format!(" E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(quoted(r#"a"b"#), r#""a""b""#);
        assert_eq!(literal(r"it's \ here"), r" E'it\'s \\ here'");
    }
}
