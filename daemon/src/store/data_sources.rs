//! Data sources: the databases that are managed, and how to reach them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Change, Window, check_version};
use crate::error::{Error, Result, taken};
use crate::time;

/// Where passwords are sealed for.
pub const PASSWORD_PLACE: &str = "data_sources.password";

/// A data source.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DataSource {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// `postgres`.
    pub ds_type: String,
    /// How to reach it. The password is never shown.
    pub config: Config,
    /// An inactive one is left alone as it is.
    pub is_active: bool,
    /// `open`, or `policy_required`: a table without a matching `column_allow` does not exist.
    pub access_mode: String,
    /// `selected`: what is not selected in the catalog does not exist; or `everything`. Saving a catalog makes it `selected`.
    pub catalog_mode: String,
    /// `repair` or `keep`: what happens to managed objects that somebody changed in the database.
    pub drift: String,
    /// When its policies were last brought in line (UTC).
    #[serde(serialize_with = "time::optional")]
    #[schema(required, value_type = Option<time::UtcTime>)]
    pub last_sync_at: Option<DateTime<Utc>>,
    /// What came of the last attempt: `pending`, `in_sync`, `partial`, `failed` or `drifted`.
    pub last_sync_result: String,
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

/// How to reach a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Config {
    /// A name, an address, or the directory of a socket.
    pub host: String,
    /// 1 to 65535.
    pub port: i32,
    /// The database.
    pub database: String,
    /// The login role that the daemon uses there.
    pub username: String,
    /// `disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`.
    pub sslmode: String,
    /// PEM text of the authority that signed the server's certificate; the system's authorities if there is none.
    #[schema(required)]
    pub ssl_root_cert: Option<String>,
}

/// A new or changed data source.
#[derive(Debug, Clone)]
pub struct Content {
    /// Its name.
    pub name: String,
    /// How to reach it.
    pub config: Config,
    /// The password; `None` keeps the one there is.
    pub password: Option<String>,
    /// See [`DataSource`].
    pub is_active: bool,
    /// See [`DataSource`].
    pub access_mode: String,
    /// See [`DataSource`].
    pub catalog_mode: String,
    /// See [`DataSource`].
    pub drift: String,
}

/// What `sslmode` may be.
pub const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// What `catalog_mode` may be.
pub const CATALOG_MODES: [&str; 2] = ["selected", "everything"];
/// What `drift` may be.
pub const DRIFT_MODES: [&str; 2] = ["repair", "keep"];

impl Content {
    fn check(&self) -> Result<()> {
        let mut problems = Vec::new();
        let mut check = |good: bool, problem: &str| {
            if !good {
                problems.push(problem.to_owned());
            }
        };
        let name = |text: &str| !text.is_empty() && text.chars().count() <= 100 && !text.chars().any(char::is_control);
        check(
            name(&self.name) && self.name.trim() == self.name,
            "name: must have 1 to 100 characters, without white space at its ends",
        );
        let config = &self.config;
        check(
            !config.host.is_empty() && config.host.len() <= 255 && !config.host.chars().any(char::is_control),
            "config.host: must have 1 to 255 characters",
        );
        check(
            (1..=65_535).contains(&config.port),
            "config.port: must be between 1 and 65535",
        );
        check(
            !config.database.is_empty() && config.database.len() <= 63 && !config.database.contains('\0'),
            "config.database: must have 1 to 63 bytes",
        );
        check(
            !config.username.is_empty() && config.username.len() <= 63 && !config.username.contains('\0'),
            "config.username: must have 1 to 63 bytes",
        );
        check(
            SSL_MODES.contains(&config.sslmode.as_str()),
            "config.sslmode: must be disable, allow, prefer, require, verify-ca or verify-full",
        );
        check(
            self.password
                .as_ref()
                .is_none_or(|password| password.len() <= 1_024 && !password.contains('\0')),
            "config.password: must not be longer than 1024 bytes nor contain a NUL character",
        );
        check(
            policy::model::parse_access_mode(&self.access_mode).is_ok(),
            "access_mode: must be open or policy_required",
        );
        check(
            CATALOG_MODES.contains(&self.catalog_mode.as_str()),
            "catalog_mode: must be selected or everything",
        );
        check(
            DRIFT_MODES.contains(&self.drift.as_str()),
            "drift: must be repair or keep",
        );
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(problems))
        }
    }
}

impl DataSource {
    /// What it says, without the password.
    pub fn content(&self) -> Content {
        Content {
            name: self.name.clone(),
            config: self.config.clone(),
            password: None,
            is_active: self.is_active,
            access_mode: self.access_mode.clone(),
            catalog_mode: self.catalog_mode.clone(),
            drift: self.drift.clone(),
        }
    }
}

struct Row {
    id: Uuid,
    name: String,
    ds_type: String,
    host: String,
    port: i32,
    database: String,
    username: String,
    sslmode: String,
    ssl_root_cert: Option<String>,
    is_active: bool,
    access_mode: String,
    catalog_mode: String,
    drift: String,
    version: i32,
    last_sync_at: Option<DateTime<Utc>>,
    last_sync_result: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Row> for DataSource {
    fn from(row: Row) -> Self {
        DataSource {
            id: row.id,
            name: row.name,
            ds_type: row.ds_type,
            config: Config {
                host: row.host,
                port: row.port,
                database: row.database,
                username: row.username,
                sslmode: row.sslmode,
                ssl_root_cert: row.ssl_root_cert,
            },
            is_active: row.is_active,
            access_mode: row.access_mode,
            catalog_mode: row.catalog_mode,
            drift: row.drift,
            version: row.version,
            last_sync_at: row.last_sync_at,
            last_sync_result: row.last_sync_result,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Data sources whose name contains `search`, by name, and how many there are.
pub async fn list(conn: &mut PgConnection, search: &str, window: Window) -> Result<(Vec<DataSource>, i64)> {
    let rows = sqlx::query_as!(
        Row,
        "select d.id, name, ds_type, host, port, database, username, sslmode, ssl_root_cert, is_active, access_mode, \
         catalog_mode, d.drift, version, s.succeeded_at as last_sync_at, \
         case when s.requested > s.done and s.state in ('in_sync', 'drifted') then 'pending' else s.state end \
         as \"last_sync_result!\", created_at, updated_at \
         from data_sources d join sync_states s on s.data_source_id = d.id \
         where position(lower($1) in lower(name)) > 0 order by name offset $2 limit $3",
        search,
        window.offset,
        window.limit
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(
        r#"select count(*) as "count!" from data_sources where position(lower($1) in lower(name)) > 0"#,
        search
    )
    .fetch_one(conn)
    .await?;
    Ok((rows.into_iter().map(DataSource::from).collect(), total))
}

/// The data source of that id.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<DataSource> {
    let row = sqlx::query_as!(
        Row,
        "select d.id, name, ds_type, host, port, database, username, sslmode, ssl_root_cert, is_active, access_mode, \
         catalog_mode, d.drift, version, s.succeeded_at as last_sync_at, \
         case when s.requested > s.done and s.state in ('in_sync', 'drifted') then 'pending' else s.state end \
         as \"last_sync_result!\", created_at, updated_at \
         from data_sources d join sync_states s on s.data_source_id = d.id where d.id = $1",
        id
    )
    .fetch_optional(conn)
    .await?;
    row.map(DataSource::from).ok_or(Error::NotFound("data source"))
}

/// The id of the data source of that name.
pub async fn id_of(conn: &mut PgConnection, name: &str) -> Result<Option<Uuid>> {
    Ok(sqlx::query_scalar!("select id from data_sources where name = $1", name)
        .fetch_optional(conn)
        .await?)
}

/// The sealed password of a data source.
pub async fn sealed_password(conn: &mut PgConnection, id: Uuid) -> Result<Option<Vec<u8>>> {
    Ok(
        sqlx::query_scalar!("select password from data_sources where id = $1", id)
            .fetch_one(conn)
            .await?,
    )
}

/// Creates a data source. Its sync begins at once.
pub async fn create(change: &mut Change<'_>, new: &Content) -> Result<DataSource> {
    new.check()?;
    let id = Uuid::new_v4();
    let password = new
        .password
        .as_ref()
        .map(|password| change.sealer.seal(PASSWORD_PLACE, id, password.as_bytes()));
    sqlx::query!(
        "insert into data_sources (id, name, host, port, database, username, password, sslmode, ssl_root_cert, is_active, \
         access_mode, catalog_mode, drift) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        id,
        new.name,
        new.config.host,
        new.config.port,
        new.config.database,
        new.config.username,
        password,
        new.config.sslmode,
        new.config.ssl_root_cert,
        new.is_active,
        new.access_mode,
        new.catalog_mode,
        new.drift
    )
    .execute(&mut *change.tx)
    .await
    .map_err(taken(|| format!("there is a data source \"{}\" already", new.name)))?;
    sqlx::query!("insert into sync_states (data_source_id) values ($1)", id)
        .execute(&mut *change.tx)
        .await?;
    let after = find(&mut change.tx, id).await?;
    change
        .record("datasource", id, "create", None::<&Value>, Some(&after))
        .await?;
    change.touch(id);
    Ok(after)
}

/// Changes a data source to what `edit` makes of it.
pub async fn update(
    change: &mut Change<'_>,
    id: Uuid,
    version: Option<i32>,
    edit: impl FnOnce(&mut Content),
) -> Result<DataSource> {
    let before = find(&mut change.tx, id).await?;
    check_version("data source", version, before.version)?;
    let mut wanted = before.content();
    edit(&mut wanted);
    wanted.check()?;
    // Otherwise whoever may change the host could have the password sent to a server of theirs.
    let elsewhere = wanted.config.host != before.config.host || wanted.config.port != before.config.port;
    if elsewhere && wanted.password.is_none() && sealed_password(&mut change.tx, id).await?.is_some() {
        return Err(Error::invalid(
            "config.password: has to be given again for another host or port",
        ));
    }
    let password = wanted
        .password
        .as_ref()
        .map(|password| change.sealer.seal(PASSWORD_PLACE, id, password.as_bytes()));
    sqlx::query!(
        "update data_sources set name = $2, host = $3, port = $4, database = $5, username = $6, \
         password = coalesce($7, password), sslmode = $8, ssl_root_cert = $9, is_active = $10, access_mode = $11, \
         catalog_mode = $12, drift = $13, version = version + 1, updated_at = now() where id = $1",
        id,
        wanted.name,
        wanted.config.host,
        wanted.config.port,
        wanted.config.database,
        wanted.config.username,
        password,
        wanted.config.sslmode,
        wanted.config.ssl_root_cert,
        wanted.is_active,
        wanted.access_mode,
        wanted.catalog_mode,
        wanted.drift
    )
    .execute(&mut *change.tx)
    .await
    .map_err(taken(|| format!("there is a data source \"{}\" already", wanted.name)))?;
    if (&before.config.host, before.config.port, &before.config.database)
        != (&wanted.config.host, wanted.config.port, &wanted.config.database)
    {
        // Another database: nothing is known about it.
        sqlx::query!(
            "update sync_states set applied_digest = null, remote_digest = null, system_identifier = null, managed = '{}' \
             where data_source_id = $1",
            id
        )
        .execute(&mut *change.tx)
        .await?;
    } else if before.config != wanted.config || wanted.password.is_some() {
        // Another way there, perhaps as another role: it has to be gone, also if nothing else is wanted.
        sqlx::query!(
            "update sync_states set applied_digest = null where data_source_id = $1",
            id
        )
        .execute(&mut *change.tx)
        .await?;
    }
    let after = find(&mut change.tx, id).await?;
    change
        .record("datasource", id, "update", Some(&before), Some(&after))
        .await?;
    change.touch(id);
    Ok(after)
}

/// Forgets a data source. What is in force there stays in force: removing policies would open its tables.
pub async fn delete(change: &mut Change<'_>, id: Uuid) -> Result<()> {
    let before = find(&mut change.tx, id).await?;
    sqlx::query!("delete from data_sources where id = $1", id)
        .execute(&mut *change.tx)
        .await?;
    change
        .record("datasource", id, "delete", Some(&before), None::<&Value>)
        .await
}
