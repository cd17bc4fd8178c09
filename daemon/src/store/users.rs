//! Accounts: users of the databases, and those of them who administer.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Change, Window, attributes, check_version};
use crate::error::{Error, Result, taken};
use crate::secrets::{password, scram};
use crate::time;

/// Where login verifiers are sealed for.
pub const VERIFIER_PLACE: &str = "users.login_verifier";

/// An account.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct User {
    /// Its id.
    pub id: Uuid,
    /// The name of its login role; never changes.
    pub username: String,
    /// Whether it may use this API.
    pub is_admin: bool,
    /// Whether it may do anything, here or in a database.
    pub is_active: bool,
    /// For people.
    #[schema(required)]
    pub email: Option<String>,
    /// For people.
    #[schema(required)]
    pub display_name: Option<String>,
    /// Values by attribute key.
    #[schema(value_type = Object)]
    pub attributes: Value,
    /// When it last logged in here (UTC).
    #[serde(serialize_with = "time::optional")]
    #[schema(required, value_type = Option<time::UtcTime>)]
    pub last_login_at: Option<DateTime<Utc>>,
    /// Counts its changes.
    pub version: i32,
    /// When it was created (UTC).
    #[serde(serialize_with = "time::utc")]
    #[schema(value_type = time::UtcTime)]
    pub created_at: DateTime<Utc>,
    /// When it was changed (UTC).
    #[serde(serialize_with = "time::utc")]
    #[schema(value_type = time::UtcTime)]
    pub updated_at: DateTime<Utc>,
}

/// What a new account has.
#[derive(Debug, Default)]
pub struct NewUser {
    /// See [`check_username`].
    pub username: String,
    /// Whether it may use the API.
    pub is_admin: bool,
    /// Whether it may do anything.
    pub is_active: bool,
    /// For people.
    pub email: Option<String>,
    /// For people.
    pub display_name: Option<String>,
    /// Values by attribute key.
    pub attributes: Map<String, Value>,
}

/// What is to be changed; `None` leaves alone.
#[derive(Debug, Default)]
pub struct UserChange {
    /// The version that the caller read.
    pub version: Option<i32>,
    /// Whether it may use the API.
    pub is_admin: Option<bool>,
    /// Whether it may do anything.
    pub is_active: Option<bool>,
    /// For people; `Some(None)` clears.
    pub email: Option<Option<String>>,
    /// For people; `Some(None)` clears.
    pub display_name: Option<Option<String>>,
    /// All values by attribute key.
    pub attributes: Option<Map<String, Value>>,
}

/// What logging in needs to know.
pub struct Credentials {
    /// The account's id.
    pub id: Uuid,
    /// argon2id; none for a user without a password.
    pub password_hash: Option<String>,
    /// Tokens of an earlier generation are refused.
    pub token_generation: i32,
}

/// A username is 3 to 50 characters of `[A-Za-z0-9_.-]`, letter first, and none that PostgreSQL keeps to itself.
pub fn check_username(username: &str) -> Result<()> {
    let good = (3..=50).contains(&username.len())
        && username.starts_with(|first: char| first.is_ascii_alphabetic())
        && username
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if !good {
        return Err(Error::invalid(
            "username: must have 3 to 50 characters of letters, digits, \"_\", \".\" and \"-\", a letter first",
        ));
    }
    if username.starts_with("pg_") || ["public", "none"].contains(&username) {
        return Err(Error::invalid("username: is reserved by PostgreSQL"));
    }
    Ok(())
}

fn check_text(field: &str, text: Option<&str>, max: usize) -> Result<()> {
    match text {
        Some(text) if text.chars().count() > max => Err(Error::invalid(format!(
            "{field}: must not be longer than {max} characters"
        ))),
        Some(text) if text.contains('\0') => Err(Error::invalid(format!("{field}: must not contain a NUL character"))),
        _ => Ok(()),
    }
}

/// Accounts whose name or display name contains `search`, by name; with an id only that one.
async fn select(conn: &mut PgConnection, id: Option<Uuid>, search: &str, window: Window) -> Result<Vec<User>> {
    Ok(sqlx::query_as!(
        User,
        r#"select id, username, is_admin, is_active, email, display_name, attributes, last_login_at, version,
           created_at, updated_at from users
           where ($1::uuid is null or id = $1) and (position(lower($2) in lower(username)) > 0
           or position(lower($2) in lower(display_name)) > 0
           or position(lower($2) in lower(email)) > 0)
           order by username offset $3 limit $4"#,
        id,
        search,
        window.offset,
        window.limit
    )
    .fetch_all(conn)
    .await?)
}

/// Accounts whose name or display name contains `search`, by name, and how many there are.
pub async fn list(conn: &mut PgConnection, search: &str, window: Window) -> Result<(Vec<User>, i64)> {
    let rows = select(conn, None, search, window).await?;
    let total = sqlx::query_scalar!(
        r#"select count(*) as "count!" from users where position(lower($1) in lower(username)) > 0
           or position(lower($1) in lower(display_name)) > 0
           or position(lower($1) in lower(email)) > 0"#,
        search
    )
    .fetch_one(conn)
    .await?;
    Ok((rows, total))
}

/// The account of that id.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<User> {
    let found = select(conn, Some(id), "", Window::ALL).await?.pop();
    found.ok_or(Error::NotFound("user"))
}

/// The id of the account of that name.
pub async fn id_of(conn: &mut PgConnection, username: &str) -> Result<Option<Uuid>> {
    Ok(
        sqlx::query_scalar!("select id from users where username = $1", username)
            .fetch_optional(conn)
            .await?,
    )
}

/// The ids of the accounts of these names, by name.
pub async fn ids_of(conn: &mut PgConnection, usernames: &[String]) -> Result<HashMap<String, Uuid>> {
    let rows = sqlx::query!("select username, id from users where username = any ($1)", usernames)
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(|row| (row.username, row.id)).collect())
}

/// The names that an account had, also when it is gone.
pub async fn names_of(conn: &mut PgConnection, id: Uuid) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar!(
        r#"select username as "username!" from users where id = $1
           union select changes #>> '{before,username}' from admin_audit
           where resource_type = 'user' and resource_id = $1 and action = 'delete'"#,
        id
    )
    .fetch_all(conn)
    .await?)
}

/// What the account of that name logs in with.
pub async fn credentials(conn: &mut PgConnection, username: &str) -> Result<Option<Credentials>> {
    Ok(sqlx::query_as!(
        Credentials,
        "select id, password_hash, token_generation from users where username = $1",
        username
    )
    .fetch_optional(conn)
    .await?)
}

/// Notes a login. A `new_hash` of the same password replaces one that was made with weaker parameters.
pub async fn note_login(conn: &mut PgConnection, id: Uuid, new_hash: Option<&str>) -> Result<()> {
    sqlx::query!(
        "update users set last_login_at = now(), password_hash = coalesce($2, password_hash) where id = $1",
        id,
        new_hash
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The token generation of an account.
pub async fn token_generation(conn: &mut PgConnection, id: Uuid) -> Result<Option<i32>> {
    Ok(
        sqlx::query_scalar!("select token_generation from users where id = $1", id)
            .fetch_optional(conn)
            .await?,
    )
}

/// Whether there is any account.
pub async fn exist(conn: &mut PgConnection) -> Result<bool> {
    Ok(sqlx::query_scalar!(r#"select exists (select from users) as "exists!""#)
        .fetch_one(conn)
        .await?)
}

/// What the store keeps of a password: made without a connection, since it takes some time.
pub struct Secret {
    hash: String,
    verifier: String,
}

impl Secret {
    /// Checks a password and computes what is kept of it.
    pub async fn of(password: String) -> Result<Secret> {
        password::check(&password)?;
        tokio::task::spawn_blocking(move || Secret {
            hash: password::hash(&password),
            verifier: scram::verifier(&password),
        })
        .await
        .map_err(|error| Error::Internal(error.to_string()))
    }
}

/// Creates an account; `secret` is of its password. Without one nobody can log in as it until it gets a password.
pub async fn create(change: &mut Change<'_>, new: &NewUser, secret: Option<&Secret>) -> Result<User> {
    check_username(&new.username)?;
    check_text("email", new.email.as_deref(), 255)?;
    check_text("display_name", new.display_name.as_deref(), 255)?;
    let attributes = attributes::checked_values(&mut change.tx, &new.attributes).await?;
    let id = Uuid::new_v4();
    sqlx::query!(
        "insert into users (id, username, is_admin, is_active, email, display_name, attributes, password_hash, \
         login_verifier) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        id,
        new.username,
        new.is_admin,
        new.is_active,
        new.email,
        new.display_name,
        Value::Object(attributes),
        secret.map(|secret| secret.hash.as_str()),
        secret.map(|secret| change.sealer.seal(VERIFIER_PLACE, id, secret.verifier.as_bytes()))
    )
    .execute(&mut *change.tx)
    .await
    .map_err(taken(|| format!("there is a user \"{}\" already", new.username)))?;
    let user = find(&mut change.tx, id).await?;
    change.record("user", id, "create", None::<&User>, Some(&user)).await?;
    change.touch_all();
    Ok(user)
}

/// Changes an account. The last administrator stays one, and active.
pub async fn update(change: &mut Change<'_>, id: Uuid, wanted: UserChange) -> Result<User> {
    let before = find(&mut change.tx, id).await?;
    check_version("user", wanted.version, before.version)?;
    let is_admin = wanted.is_admin.unwrap_or(before.is_admin);
    let is_active = wanted.is_active.unwrap_or(before.is_active);
    let email = wanted.email.unwrap_or_else(|| before.email.clone());
    let display_name = wanted.display_name.unwrap_or_else(|| before.display_name.clone());
    check_text("email", email.as_deref(), 255)?;
    check_text("display_name", display_name.as_deref(), 255)?;
    let attributes = match &wanted.attributes {
        Some(values) => Value::Object(attributes::checked_values(&mut change.tx, values).await?),
        None => before.attributes.clone(),
    };
    if !(is_admin && is_active) {
        refuse_if_last_administrator(change, &before).await?;
    }
    let same = (is_admin, is_active) == (before.is_admin, before.is_active)
        && (&email, &display_name, &attributes) == (&before.email, &before.display_name, &before.attributes);
    if same {
        return Ok(before);
    }
    // Whoever loses a right loses the tokens, too: they would be good again once the right comes back.
    let loses = (before.is_admin && !is_admin) || (before.is_active && !is_active);
    sqlx::query!(
        "update users set is_admin = $2, is_active = $3, email = $4, display_name = $5, attributes = $6, \
         token_generation = token_generation + $7, version = version + 1, updated_at = now() where id = $1",
        id,
        is_admin,
        is_active,
        email,
        display_name,
        attributes,
        i32::from(loses)
    )
    .execute(&mut *change.tx)
    .await?;
    let after = find(&mut change.tx, id).await?;
    change.record("user", id, "update", Some(&before), Some(&after)).await?;
    change.touch_all();
    Ok(after)
}

/// Gives an account another password. Its tokens end.
pub async fn set_password(change: &mut Change<'_>, id: Uuid, secret: &Secret) -> Result<()> {
    let before = find(&mut change.tx, id).await?;
    sqlx::query!(
        "update users set password_hash = $2, login_verifier = $3, token_generation = token_generation + 1, \
         version = version + 1, updated_at = now() where id = $1",
        id,
        secret.hash,
        change.sealer.seal(VERIFIER_PLACE, id, secret.verifier.as_bytes())
    )
    .execute(&mut *change.tx)
    .await?;
    let after = find(&mut change.tx, id).await?;
    change
        .record("user", id, "password", Some(&before), Some(&after))
        .await?;
    change.touch_all();
    Ok(())
}

/// Deletes an account with its memberships, grants and assignments.
pub async fn delete(change: &mut Change<'_>, id: Uuid) -> Result<()> {
    let before = find(&mut change.tx, id).await?;
    if change.actor.id == Some(id) {
        return Err(Error::Conflict("an account cannot delete itself".to_owned()));
    }
    refuse_if_last_administrator(change, &before).await?;
    sqlx::query!("delete from users where id = $1", id)
        .execute(&mut *change.tx)
        .await?;
    change
        .record("user", id, "delete", Some(&before), None::<&User>)
        .await?;
    change.touch_all();
    Ok(())
}

async fn refuse_if_last_administrator(change: &mut Change<'_>, user: &User) -> Result<()> {
    if !(user.is_admin && user.is_active) {
        return Ok(());
    }
    let others = sqlx::query_scalar!(
        r#"select exists (select from users where is_admin and is_active and id <> $1) as "exists!""#,
        user.id
    )
    .fetch_one(&mut *change.tx)
    .await?;
    if others {
        Ok(())
    } else {
        Err(Error::Conflict(
            "this is the last active administrator; make somebody else one first".to_owned(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_username_may_be() {
        for good in ["bob", "Alice.B-c_9", &"a".repeat(50)] {
            assert!(check_username(good).is_ok(), "{good}");
        }
        let bad = [
            "",
            "ab",
            &"a".repeat(51),
            "1abc",
            "_abc",
            "a b",
            "al\"ice",
            "älice",
            "bob\0",
            "pg_read",
            "public",
            "none",
        ];
        for bad in bad {
            assert!(check_username(bad).is_err(), "{bad:?}");
        }
    }
}
