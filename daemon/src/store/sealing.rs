//! The key that the store's secrets are sealed with.
//!
//! Invariant: there is one. The store keeps a text that was sealed with it, so that whoever comes with another key is turned
//! away before sealing anything that the others could not open. Only [`reseal`] changes the key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::data_sources::PASSWORD_PLACE;
use super::users::VERIFIER_PLACE;
use super::{Actor, Change, Store};
use crate::error::{Error, Result};
use crate::secrets::seal::Sealer;

/// The setting with the sealed text, and what that is sealed for.
const SETTING: &str = "key_check";
const PLACE: &str = "settings.key_check";

/// Refuses another key than the store's. A store that has none yet takes the first one that opens everything.
pub async fn claim(store: &Store) -> Result<()> {
    if check(&mut *store.read().await?).await?.is_none() {
        let mut change = store.change(Actor::command_line()).await?;
        if check(&mut change.tx).await?.is_none() && unreadable(&mut change.tx, &store.sealer).await? == 0 {
            keep_check(&mut change).await?;
            change.commit().await?;
        }
    }
    match check(&mut *store.read().await?).await? {
        Some(kept) if kept.opens(&store.sealer) => Ok(()),
        _ => Err(Error::Conflict(
            "the secrets in the store are sealed with another key: set BR_ENCRYPTION_KEY to that key, or BR_STATE_DIR to \
             the directory that has it; with `betweenrowsd reseal` the store gets another one"
                .to_owned(),
        )),
    }
}

/// How many secrets this key does not open.
pub async fn unreadable(conn: &mut PgConnection, sealer: &Sealer) -> Result<usize> {
    let kept = check(conn).await?;
    let all = secrets(conn).await?.into_iter().chain(kept);
    Ok(all.filter(|secret| !secret.opens(sealer)).count())
}

/// Seals every secret with the key of `change` that is sealed with another one, `before`. What neither opens is an error,
/// or with `forget` it is removed: its user or data source needs a new password. How many were sealed and removed.
pub async fn reseal(change: &mut Change<'_>, before: Option<&Sealer>, forget: bool) -> Result<(usize, usize)> {
    let (mut sealed, mut forgotten) = (0, 0);
    for secret in secrets(&mut change.tx).await? {
        if secret.opens(change.sealer) {
            continue;
        }
        let open = |before: &Sealer| before.open(secret.place, secret.id, &secret.value).ok();
        let value = match before.and_then(open) {
            Some(text) => Some(change.sealer.seal(secret.place, secret.id, &text)),
            None if forget => None,
            None => {
                return Err(Error::Conflict(format!(
                    "the secret in {} of {} was sealed with yet another key: set BR_OLD_ENCRYPTION_KEY to it, or remove what \
                     cannot be opened with --forget",
                    secret.place, secret.id
                )));
            }
        };
        match value {
            Some(_) => sealed += 1,
            None => forgotten += 1,
        }
        if secret.place == VERIFIER_PLACE {
            sqlx::query!("update users set login_verifier = $2 where id = $1", secret.id, value)
                .execute(&mut *change.tx)
                .await?;
        } else {
            sqlx::query!("update data_sources set password = $2 where id = $1", secret.id, value)
                .execute(&mut *change.tx)
                .await?;
        }
    }
    keep_check(change).await?;
    let id = store_id(&mut change.tx).await?;
    let after = json!({"sealed": sealed, "forgotten": forgotten});
    change
        .record("store", id, "reseal", None::<&Value>, Some(&after))
        .await?;
    change.touch_all();
    Ok((sealed, forgotten))
}

/// Something that is sealed.
struct Sealed {
    place: &'static str,
    id: Uuid,
    value: Vec<u8>,
}

impl Sealed {
    fn opens(&self, sealer: &Sealer) -> bool {
        sealer.open(self.place, self.id, &self.value).is_ok()
    }
}

async fn secrets(conn: &mut PgConnection) -> Result<Vec<Sealed>> {
    let verifiers =
        sqlx::query!(r#"select id, login_verifier as "value!" from users where login_verifier is not null"#)
            .fetch_all(&mut *conn)
            .await?;
    let passwords = sqlx::query!(r#"select id, password as "value!" from data_sources where password is not null"#)
        .fetch_all(conn)
        .await?;
    let verifiers = verifiers.into_iter().map(|row| (VERIFIER_PLACE, row.id, row.value));
    let passwords = passwords.into_iter().map(|row| (PASSWORD_PLACE, row.id, row.value));
    let all = verifiers.chain(passwords);
    Ok(all.map(|(place, id, value)| Sealed { place, id, value }).collect())
}

async fn check(conn: &mut PgConnection) -> Result<Option<Sealed>> {
    let kept = sqlx::query_scalar!(
        r#"select value #>> '{}' as "text!" from settings where key = $1"#,
        SETTING
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(text) = kept else { return Ok(None) };
    Ok(Some(Sealed {
        place: PLACE,
        id: store_id(conn).await?,
        value: STANDARD.decode(text).unwrap_or_default(),
    }))
}

async fn keep_check(change: &mut Change<'_>) -> Result<()> {
    let id = store_id(&mut change.tx).await?;
    let text = STANDARD.encode(change.sealer.seal(PLACE, id, b"this is the key"));
    sqlx::query!(
        "insert into settings (key, value) values ($1, to_jsonb($2::text)) on conflict (key) do update set value = excluded.value",
        SETTING,
        text
    )
    .execute(&mut *change.tx)
    .await?;
    Ok(())
}

async fn store_id(conn: &mut PgConnection) -> Result<Uuid> {
    let id = sqlx::query_scalar!(r#"select (value #>> '{}')::uuid as "id!" from settings where key = 'store_id'"#);
    Ok(id.fetch_one(conn).await?)
}
