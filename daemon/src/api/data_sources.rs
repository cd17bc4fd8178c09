//! Data sources.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Shared;
use super::attributes::set;
use super::auth::Admin;
use super::extract::{Body, Ids, Listing, PageQuery, Parameters, nullable};
use super::status::{Absent, Conflicting, Guarded, Unreadable, Unusable};
use crate::error::{Error, Result};
use crate::store::data_sources::{self, Config, Content, DataSource};
use crate::sync::target;

/// How to reach a database.
#[derive(Deserialize, ToSchema)]
pub struct ConfigInput {
    host: Option<String>,
    port: Option<i32>,
    database: Option<String>,
    username: Option<String>,
    #[schema(format = Password)]
    password: Option<String>,
    /// `disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`.
    sslmode: Option<String>,
    /// PEM text of the authority that signed the server's certificate.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    ssl_root_cert: Option<Option<String>>,
}

/// A new data source.
#[derive(Deserialize, ToSchema)]
pub struct CreateDataSource {
    /// 1 to 100 characters.
    name: String,
    /// Only `postgres`.
    ds_type: String,
    /// `policy_required` (the default) or `open`.
    access_mode: Option<String>,
    /// host, database and username are required; port 5432 and sslmode `require` are the defaults.
    config: ConfigInput,
    is_active: Option<bool>,
    /// `selected` (the default): what is not selected in the catalog does not exist; or `everything`.
    catalog_mode: Option<String>,
    /// `repair` (the default) or `keep`: what happens to managed objects that somebody changed in the database.
    drift: Option<String>,
}

/// A changed data source. What is absent is left alone.
#[derive(Deserialize, ToSchema)]
pub struct UpdateDataSource {
    name: Option<String>,
    access_mode: Option<String>,
    catalog_mode: Option<String>,
    /// Without a password the one there is stays.
    config: Option<ConfigInput>,
    is_active: Option<bool>,
    drift: Option<String>,
    /// The version that was read: the change is refused when there is a newer one.
    version: Option<i32>,
}

/// A kind of data source.
#[derive(Serialize, ToSchema)]
pub struct DataSourceType {
    ds_type: &'static str,
    name: &'static str,
    fields: &'static [&'static str],
}

/// What a test finds.
#[derive(Serialize, ToSchema)]
pub struct TestResult {
    success: bool,
    message: String,
}

/// Lists the kinds of data sources
#[utoipa::path(get, path = "/datasource-types", tag = "data sources",
    operation_id = "list_data_source_types", security(("token" = [])), responses(
    (status = 200, description = "the kinds", body = Vec<DataSourceType>), Guarded
))]
pub async fn types(_: Admin) -> Json<Vec<DataSourceType>> {
    Json(vec![DataSourceType {
        ds_type: "postgres",
        name: "PostgreSQL",
        fields: &[
            "host",
            "port",
            "database",
            "username",
            "password",
            "sslmode",
            "ssl_root_cert",
        ],
    }])
}

/// Lists data sources
#[utoipa::path(get, path = "/datasources", tag = "data sources",
    operation_id = "list_data_sources", security(("token" = [])), params(PageQuery), responses(
    (status = 200, description = "data sources, by name", body = Listing<DataSource>), Unreadable, Unusable, Guarded
))]
pub async fn list(
    _: Admin,
    State(app): State<Shared>,
    Parameters(page): Parameters<PageQuery>,
) -> Result<Json<Listing<DataSource>>> {
    let mut conn = app.store.read().await?;
    Ok(page.listing(data_sources::list(&mut conn, &page.search, page.window()).await?))
}

/// Creates a data source
///
/// Its sync begins at once; it installs the extension there where that is needed and possible.
#[utoipa::path(post, path = "/datasources", tag = "data sources",
    operation_id = "create_data_source", security(("token" = [])),
    request_body = CreateDataSource,
    responses((status = 201, description = "the data source", body = DataSource),
        Unreadable, Conflicting, Unusable, Guarded
))]
pub async fn create(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Body(new): Body<CreateDataSource>,
) -> Result<(StatusCode, Json<DataSource>)> {
    if new.ds_type != "postgres" {
        return Err(Error::invalid("ds_type: must be postgres"));
    }
    let given =
        |value: Option<String>, key: &str| value.ok_or_else(|| Error::invalid(format!("config.{key}: is required")));
    let content = Content {
        name: new.name,
        config: Config {
            host: given(new.config.host, "host")?,
            port: new.config.port.unwrap_or(5432),
            database: given(new.config.database, "database")?,
            username: given(new.config.username, "username")?,
            sslmode: new.config.sslmode.unwrap_or_else(|| "require".to_owned()),
            ssl_root_cert: new.config.ssl_root_cert.flatten(),
        },
        password: new.config.password,
        is_active: new.is_active.unwrap_or(true),
        access_mode: new.access_mode.unwrap_or_else(|| "policy_required".to_owned()),
        catalog_mode: new.catalog_mode.unwrap_or_else(|| "selected".to_owned()),
        drift: new.drift.unwrap_or_else(|| "repair".to_owned()),
    };
    let mut change = app.store.change(actor).await?;
    let source = data_sources::create(&mut change, &content).await?;
    change.commit().await?;
    Ok((StatusCode::CREATED, Json(source)))
}

/// Shows a data source
#[utoipa::path(get, path = "/datasources/{id}", tag = "data sources",
    operation_id = "get_data_source", security(("token" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "the data source", body = DataSource), Absent, Guarded
))]
pub async fn get(_: Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<Json<DataSource>> {
    let mut conn = app.store.read().await?;
    Ok(Json(data_sources::find(&mut conn, id).await?))
}

/// Changes a data source
#[utoipa::path(put, path = "/datasources/{id}", tag = "data sources",
    operation_id = "update_data_source", security(("token" = [])),
    params(("id" = Uuid, Path)), request_body = UpdateDataSource,
    responses((status = 200, description = "the data source", body = DataSource),
        Unreadable, Absent, Conflicting, Unusable, Guarded
))]
pub async fn update(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Ids(id): Ids<Uuid>,
    Body(wanted): Body<UpdateDataSource>,
) -> Result<Json<DataSource>> {
    let mut change = app.store.change(actor).await?;
    let source = data_sources::update(&mut change, id, wanted.version, |content| {
        set(&mut content.name, wanted.name);
        set(&mut content.access_mode, wanted.access_mode);
        set(&mut content.catalog_mode, wanted.catalog_mode);
        set(&mut content.is_active, wanted.is_active);
        set(&mut content.drift, wanted.drift);
        if let Some(config) = wanted.config {
            set(&mut content.config.host, config.host);
            set(&mut content.config.port, config.port);
            set(&mut content.config.database, config.database);
            set(&mut content.config.username, config.username);
            set(&mut content.config.sslmode, config.sslmode);
            set(&mut content.config.ssl_root_cert, config.ssl_root_cert);
            content.password = config.password;
        }
    })
    .await?;
    change.commit().await?;
    Ok(Json(source))
}

/// Forgets a data source
///
/// The policies that are in force there stay in force.
#[utoipa::path(delete, path = "/datasources/{id}", tag = "data sources",
    operation_id = "delete_data_source", security(("token" = [])),
    params(("id" = Uuid, Path)), responses((status = 204, description = "it is gone"), Absent, Guarded
))]
pub async fn delete(Admin(actor): Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<StatusCode> {
    let mut change = app.store.change(actor).await?;
    data_sources::delete(&mut change, id).await?;
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tests the connection to a data source
#[utoipa::path(post, path = "/datasources/{id}/test", tag = "data sources",
    operation_id = "test_data_source", security(("token" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "what was found; also when it is bad", body = TestResult), Absent, Guarded
))]
pub async fn test(_: Admin, State(app): State<Shared>, Ids(id): Ids<Uuid>) -> Result<Json<TestResult>> {
    let mut conn = app.store.read().await?;
    let tested = async {
        let mut target = target::connect(&mut conn, &app.store.sealer, id).await?;
        target::test(&mut target).await
    };
    match tested.await {
        Ok(message) => Ok(Json(TestResult { success: true, message })),
        Err(Error::Unavailable(message)) => Ok(Json(TestResult {
            success: false,
            message,
        })),
        Err(other) => Err(other),
    }
}
