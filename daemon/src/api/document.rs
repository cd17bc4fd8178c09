//! The store as a policy document, and back.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Shared;
use super::auth::Admin;
use super::extract::{Parameters, Text};
use super::status::{Absent, Conflicting, Guarded, Unreadable, Unusable};
use crate::check::Problem;
use crate::document;
use crate::error::Result;
use crate::store::import::{self, Options};
use crate::store::sync_states::Step;
use crate::store::{data_sources, desired};

/// Of which data source.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ExportOptions {
    /// With its access mode, assignments, access grants and catalog; without it the document has none of them.
    datasource_id: Option<Uuid>,
}

/// What to make of a document.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ImportOptions {
    /// The data source that access mode, assignments, access grants and catalog are for.
    datasource_id: Option<Uuid>,
    /// Only say what would be done.
    #[serde(default)]
    dry_run: bool,
    /// Also remove what a section that is there does not list. Administrators are never removed.
    #[serde(default)]
    prune: bool,
}

/// What was done, or would be.
#[derive(Serialize, ToSchema)]
pub struct Imported {
    /// Whether nothing was changed.
    dry_run: bool,
    /// One for each object; the action `none` means that it is as the document says.
    steps: Vec<Step>,
    /// What has no effect: targets that match nothing of the data source's catalog.
    warnings: Vec<Problem>,
}

/// Exports a policy document
#[utoipa::path(get, path = "/policies/export", tag = "documents",
    operation_id = "export_policies", security(("token" = [])), params(ExportOptions),
    responses((status = 200, description = "the document", body = Object, content_type = "application/yaml"),
        Unreadable, Absent, Guarded
))]
pub async fn export(
    _: Admin,
    State(app): State<Shared>,
    Parameters(options): Parameters<ExportOptions>,
) -> Result<Response> {
    let mut conn = app.store.read().await?;
    let document = desired::for_export(&mut conn, options.datasource_id).await?;
    let yaml = document::to_yaml(&document)?;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/yaml")], yaml).into_response())
}

/// Imports a policy document in YAML or JSON
///
/// All of it or nothing.
#[utoipa::path(post, path = "/policies/import", tag = "documents",
    operation_id = "import_policies", security(("token" = [])), params(ImportOptions),
    request_body(content((Object = "application/yaml"), (Object = "application/json"))),
    responses((status = 200, description = "what was done, or would be", body = Imported),
        Unreadable, Absent, Conflicting, Unusable, Guarded
))]
pub async fn import(
    Admin(actor): Admin,
    State(app): State<Shared>,
    Parameters(options): Parameters<ImportOptions>,
    Text(body): Text,
) -> Result<Json<Imported>> {
    let file = document::parse(&body)?;
    let mut change = app.store.change(actor).await?;
    if let Some(id) = options.datasource_id {
        data_sources::find(&mut change.tx, id).await?;
    }
    let how = Options {
        data_source: options.datasource_id,
        prune: options.prune,
    };
    let steps = import::run(&mut change, &file, how).await?;
    let warnings = import::warnings(&mut change, &file, how).await?;
    if !options.dry_run {
        change.commit().await?;
    }
    Ok(Json(Imported {
        dry_run: options.dry_run,
        steps,
        warnings,
    }))
}
