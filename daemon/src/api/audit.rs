//! Who changed what here, and who ran what in the data sources.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Shared;
use super::auth::Admin;
use super::extract::{Listing, Parameters, first, listing, window};
use super::status::{Absent, Guarded, Unreadable, Unusable};
use crate::audit::{self, MOST_ROWS, Place, QueryAuditEntry, Unavailable};
use crate::error::{Error, Result};
use crate::store::admin_audit::{self, AuditEntry, Filter};
use crate::store::users;
use crate::time;

/// Most entries on a page.
const MOST: i64 = 200;

/// Which changes to look for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// From 1; what is less is taken for it.
    #[serde(default = "first")]
    #[param(default = 1)]
    page: i64,
    /// 1 to 200; what is less or more is taken for that.
    #[serde(default = "fifty")]
    #[param(default = 50)]
    page_size: i64,
    /// `user`, `role`, `policy`, `policy_assignment`, `attribute_definition` or `datasource`.
    resource_type: Option<String>,
    /// The object.
    resource_id: Option<Uuid>,
    /// The account that did it.
    actor_id: Option<Uuid>,
    /// Not before: a time with a zone, or in UTC without one.
    #[serde(default, deserialize_with = "time::read_optional")]
    #[param(value_type = Option<String>)]
    from: Option<DateTime<Utc>>,
    /// Before.
    #[serde(default, deserialize_with = "time::read_optional")]
    #[param(value_type = Option<String>)]
    to: Option<DateTime<Utc>>,
}

fn fifty() -> i64 {
    50
}

/// Lists changes made here
#[utoipa::path(get, path = "/audit/admin", tag = "audit",
    operation_id = "search_admin_audit", security(("token" = [])), params(AuditQuery), responses(
    (status = 200, description = "newest first", body = Listing<AuditEntry>), Unreadable, Unusable, Guarded
))]
pub async fn admin(
    _: Admin,
    State(app): State<Shared>,
    Parameters(query): Parameters<AuditQuery>,
) -> Result<Json<Listing<AuditEntry>>> {
    let mut conn = app.store.read().await?;
    let filter = Filter {
        resource_type: query.resource_type,
        resource_id: query.resource_id,
        actor_id: query.actor_id,
        from: query.from,
        to: query.to,
    };
    let (rows, ..) = window(query.page, query.page_size, MOST);
    let (data, total) = admin_audit::list(&mut conn, &filter, rows).await?;
    Ok(listing(query.page, query.page_size, MOST, data, total))
}

/// Which statements to look for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct QueryAuditQuery {
    /// From 1; what is less is taken for it. Pages reach up to 10,000 rows; narrow the search or use the cursor to go further.
    #[serde(default = "first")]
    #[param(default = 1)]
    page: i64,
    /// 1 to 200; what is less or more is taken for that.
    #[serde(default = "fifty")]
    #[param(default = 50)]
    page_size: i64,
    /// Statements on behalf of this account, which may be gone; by the name that it had.
    user_id: Option<Uuid>,
    /// Statements on behalf of that name, whether or not there is such an account.
    username: Option<String>,
    /// Only in this data source. Without it all that are active are searched.
    datasource_id: Option<Uuid>,
    /// `success`, `denied`, `error` or `started`.
    status: Option<String>,
    /// Not before: a time with a zone, or in UTC without one.
    #[serde(default, deserialize_with = "time::read_optional")]
    #[param(value_type = Option<String>)]
    from: Option<DateTime<Utc>>,
    /// Before.
    #[serde(default, deserialize_with = "time::read_optional")]
    #[param(value_type = Option<String>)]
    to: Option<DateTime<Utc>>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of statements.
#[derive(Serialize, ToSchema)]
pub struct QueryAuditPage {
    #[serde(flatten)]
    listing: Listing<QueryAuditEntry>,
    /// Whether the total is exact: of each data source at most 100,000 rows are counted.
    total_is_exact: bool,
    /// For the next page; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
    /// Data sources that could not be asked: what they have recorded is missing here, and still there.
    unavailable: Vec<Unavailable>,
}

/// Searches the statements that data sources have recorded
///
/// Every data source is asked at the time of the search.
#[utoipa::path(get, path = "/audit/queries", tag = "audit",
    operation_id = "search_query_audit", security(("token" = [])), params(QueryAuditQuery), responses(
    (status = 200, description = "newest first", body = QueryAuditPage), Unreadable, Absent, Unusable, Guarded
))]
pub async fn queries(
    _: Admin,
    State(app): State<Shared>,
    Parameters(query): Parameters<QueryAuditQuery>,
) -> Result<Json<QueryAuditPage>> {
    let after = match &query.cursor {
        Some(text) => {
            Some(Place::from_cursor(text).ok_or_else(|| Error::invalid("cursor: is not one of a page before"))?)
        }
        None => None,
    };
    if let Some(status) = &query.status
        && !["success", "denied", "error", "started"].contains(&status.as_str())
    {
        return Err(Error::invalid("status: must be success, denied, error or started"));
    }
    if query.username.as_ref().is_some_and(|name| name.contains('\0')) {
        return Err(Error::invalid("username: must not contain a NUL character"));
    }
    let (rows, ..) = window(query.page, query.page_size, MOST);
    if rows.offset.saturating_add(rows.limit) > MOST_ROWS {
        return Err(Error::invalid(format!(
            "page: pages reach up to {MOST_ROWS} rows; narrow the search with from and to, or use next_cursor"
        )));
    }
    let usernames = match (query.user_id, query.username) {
        (None, None) => None,
        (None, Some(name)) => Some(vec![name]),
        (Some(id), name) => {
            let mut names = users::names_of(&mut *app.store.read().await?, id).await?;
            names.retain(|known| name.as_ref().is_none_or(|name| name == known));
            Some(names)
        }
    };
    let filter = audit::Filter {
        usernames,
        status: query.status,
        from: query.from,
        to: query.to,
        after,
    };
    let found = audit::search(&app.store, &app.permits, query.datasource_id, filter, rows).await?;
    let Json(listing) = listing(query.page, query.page_size, MOST, found.rows, found.total);
    Ok(Json(QueryAuditPage {
        listing,
        total_is_exact: found.total_is_exact,
        next_cursor: found.next.map(Place::to_cursor),
        unavailable: found.unavailable,
    }))
}
