//! Reading the audit of changes. It is written by [`super::Change::record`].

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Window;
use crate::error::Result;
use crate::time;

/// A change.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEntry {
    /// Its id.
    pub id: Uuid,
    /// The kind of object: `user`, `role`, `policy`, …
    pub resource_type: String,
    /// The object.
    #[schema(required)]
    pub resource_id: Option<Uuid>,
    /// What was done: `create`, `update`, `delete`, …
    pub action: String,
    /// The account that did it; null for the command line.
    #[schema(required)]
    pub actor_id: Option<Uuid>,
    /// Its name then.
    pub actor_name: String,
    /// The client's address.
    #[schema(required)]
    pub client_address: Option<String>,
    /// The request.
    #[schema(required)]
    pub request_id: Option<String>,
    /// `{before, after}`: the object as the API showed it.
    #[schema(value_type = Object)]
    pub changes: Value,
    /// When (UTC).
    #[serde(serialize_with = "time::utc")]
    #[schema(value_type = time::UtcTime)]
    pub created_at: DateTime<Utc>,
}

/// Which changes to look for; `None` stands for any.
#[derive(Debug, Default)]
pub struct Filter {
    /// The kind of object.
    pub resource_type: Option<String>,
    /// The object.
    pub resource_id: Option<Uuid>,
    /// The account that did it.
    pub actor_id: Option<Uuid>,
    /// Not before.
    pub from: Option<DateTime<Utc>>,
    /// Before.
    pub to: Option<DateTime<Utc>>,
}

/// Changes, newest first, and how many there are.
pub async fn list(conn: &mut PgConnection, filter: &Filter, window: Window) -> Result<(Vec<AuditEntry>, i64)> {
    let entries = sqlx::query_as!(
        AuditEntry,
        "select id, resource_type, resource_id, action, actor_id, actor_name, client_address, request_id, changes, \
         created_at from admin_audit where ($1::text is null or resource_type = $1) \
         and ($2::uuid is null or resource_id = $2) and ($3::uuid is null or actor_id = $3) \
         and ($4::timestamptz is null or created_at >= $4) and ($5::timestamptz is null or created_at < $5) \
         order by seq desc offset $6 limit $7",
        filter.resource_type,
        filter.resource_id,
        filter.actor_id,
        filter.from,
        filter.to,
        window.offset,
        window.limit
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(
        r#"select count(*) as "count!" from admin_audit where ($1::text is null or resource_type = $1)
         and ($2::uuid is null or resource_id = $2) and ($3::uuid is null or actor_id = $3)
         and ($4::timestamptz is null or created_at >= $4) and ($5::timestamptz is null or created_at < $5)"#,
        filter.resource_type,
        filter.resource_id,
        filter.actor_id,
        filter.from,
        filter.to
    )
    .fetch_one(conn)
    .await?;
    Ok((entries, total))
}
