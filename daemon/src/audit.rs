//! The search in the query audits of all data sources.
//!
//! Each data source is asked itself, at the time of the search: its table is the only copy, so that nothing can be lost or
//! doubled on the way here, its retention and its hash chain hold, and no second place has everybody's statements. What
//! that costs is that one that is down cannot be searched; the answer names it.
//!
//! Invariants: of rows that are not on the page only id and time are fetched, at most [`MOST_ROWS`] of each data source;
//! long texts are cut; connections are bounded by permits.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::store::data_sources::{self, DataSource};
use crate::store::{Store, Window, users};
use crate::sync::target::{self, Login};
use crate::time;

/// How far pages reach; a cursor reaches everywhere.
pub const MOST_ROWS: i64 = 10_000;
/// Rows of a data source that are counted.
const MOST_COUNTED: i64 = 100_000;
/// Characters of a text that are returned.
const MOST_TEXT: i32 = 50_000;

/// A statement that a data source has recorded.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueryAuditEntry {
    /// Its id, unique in its data source.
    pub id: Uuid,
    /// The account of that name; null if there is none.
    #[schema(required)]
    pub user_id: Option<Uuid>,
    /// On whose behalf it ran.
    pub username: String,
    /// Where.
    pub data_source_id: Uuid,
    /// Where, by name.
    pub datasource_name: String,
    /// As the client sent it.
    pub original_query: String,
    /// What ran.
    #[schema(required)]
    pub rewritten_query: Option<String>,
    /// The policies that took effect: `[{relation, policy, policy_id, version, effect, column}]`, ids as there.
    #[schema(value_type = Vec<Object>)]
    pub policies_applied: Value,
    /// How long it was executed, sending rows included, in whole milliseconds.
    #[schema(required)]
    pub execution_time_ms: Option<i64>,
    /// What the client calls itself.
    pub client_info: String,
    /// The client's address; null for a local socket.
    #[schema(required)]
    pub client_ip: Option<String>,
    /// When it came in (UTC).
    #[serde(serialize_with = "time::utc")]
    #[schema(value_type = time::UtcTime)]
    pub created_at: DateTime<Utc>,
    /// `success`, `denied`, `error`, or `started` when its end is not known.
    pub status: String,
    /// Why it failed.
    #[schema(required)]
    pub error_message: Option<String>,
    /// The same as a code.
    #[schema(required)]
    pub sqlstate: Option<String>,
    /// `SELECT`, `INSERT`, `COPY`, …
    pub statement_kind: String,
    /// The login role; another one than `username` after a superuser's `SET ROLE`.
    pub login_role: String,
    /// Rows sent or changed.
    #[schema(required)]
    pub row_count: Option<i64>,
    /// What decision functions said: `[{function, version, context, fire, ruling, …}]`.
    #[schema(value_type = Vec<Object>)]
    pub decisions: Value,
    /// Whether a text is longer than what is here.
    pub is_cut: bool,
}

/// A data source that could not be asked.
#[derive(Debug, Serialize, ToSchema)]
pub struct Unavailable {
    /// Which.
    pub data_source_id: Uuid,
    /// Its name.
    pub datasource_name: String,
    /// Why.
    pub error: String,
}

/// The place of a row in the order of a search, which is newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, FromRow)]
pub struct Place {
    /// When the statement came in.
    pub started_at: DateTime<Utc>,
    /// Its id.
    pub id: Uuid,
}

impl Place {
    /// For the next page's request.
    pub fn to_cursor(self) -> String {
        format!("{}_{}", self.started_at.timestamp_micros(), self.id)
    }

    /// From a request.
    pub fn from_cursor(text: &str) -> Option<Place> {
        let (micros, id) = text.split_once('_')?;
        Some(Place {
            started_at: DateTime::from_timestamp_micros(micros.parse().ok()?)?,
            id: id.parse().ok()?,
        })
    }
}

/// Which rows to look for; `None` stands for any.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// On whose behalf; any of these.
    pub usernames: Option<Vec<String>>,
    /// With that status.
    pub status: Option<String>,
    /// Not before.
    pub from: Option<DateTime<Utc>>,
    /// Before.
    pub to: Option<DateTime<Utc>>,
    /// After this one in the order of the search.
    pub after: Option<Place>,
}

/// What a search found.
#[derive(Debug, Default)]
pub struct Found {
    /// The rows of the page, newest first.
    pub rows: Vec<QueryAuditEntry>,
    /// How many rows there are in the data sources that answered.
    pub total: i64,
    /// Whether none of them has more than are counted.
    pub total_is_exact: bool,
    /// Where the next page begins.
    pub next: Option<Place>,
    /// The data sources that could not be asked, by name.
    pub unavailable: Vec<Unavailable>,
}

/// A data source to be asked.
struct Source {
    id: Uuid,
    name: String,
    login: Login,
}

/// Searches in all active data sources, or in one. The window has to end within [`MOST_ROWS`].
pub async fn search(
    store: &Store,
    permits: &Arc<Semaphore>,
    data_source: Option<Uuid>,
    filter: Filter,
    window: Window,
) -> Result<Found> {
    let sources = Arc::new(sources(store, data_source).await?);
    let filter = Arc::new(filter);
    let end = window.offset.saturating_add(window.limit);
    let mut found = Found {
        total_is_exact: true,
        ..Found::default()
    };

    let mut tasks = JoinSet::new();
    for index in 0..sources.len() {
        let (permits, sources, filter) = (permits.clone(), sources.clone(), filter.clone());
        tasks.spawn(async move {
            let question = |target| async move { places(target, &filter, end.min(MOST_ROWS) + 1).await };
            (index, target::ask(&permits, &sources[index].login, question).await)
        });
    }
    let mut places: Vec<(Place, usize)> = Vec::new();
    while let Some(answer) = tasks.join_next().await {
        match joined(answer)? {
            (index, Ok((rows, count))) => {
                found.total += count.min(MOST_COUNTED);
                found.total_is_exact &= count <= MOST_COUNTED;
                places.extend(rows.into_iter().map(|place| (place, index)));
            }
            (index, Err(error)) => found.unavailable.push(sources[index].unavailable(&error)),
        }
    }
    places.sort_unstable_by(|one, other| other.cmp(one));
    let skipped = usize::try_from(window.offset).unwrap_or(usize::MAX);
    let limit = usize::try_from(window.limit).unwrap_or(usize::MAX);
    let more = places.len() > skipped.saturating_add(limit);
    let page: Vec<(Place, usize)> = places.into_iter().skip(skipped).take(limit).collect();
    found.next = page.last().map(|(place, _)| *place).filter(|_| more);

    let mut wanted: HashMap<usize, Vec<Place>> = HashMap::new();
    for (place, index) in page {
        wanted.entry(index).or_default().push(place);
    }
    let mut tasks = JoinSet::new();
    for (index, places) in wanted {
        let (permits, sources) = (permits.clone(), sources.clone());
        tasks.spawn(async move {
            let question = |target| async move { rows(target, &places).await };
            (index, target::ask(&permits, &sources[index].login, question).await)
        });
    }
    while let Some(answer) = tasks.join_next().await {
        match joined(answer)? {
            (index, Ok(rows)) => found
                .rows
                .extend(rows.into_iter().map(|row| row.into_entry(&sources[index]))),
            (index, Err(error)) => found.unavailable.push(sources[index].unavailable(&error)),
        }
    }
    let place = |row: &QueryAuditEntry| (row.created_at, row.id);
    found.rows.sort_unstable_by_key(|row| Reverse(place(row)));
    let name = |source: &Unavailable| source.datasource_name.clone();
    found.unavailable.sort_by_cached_key(name);

    let mut conn = store.read().await?;
    let names: Vec<String> = found.rows.iter().map(|row| row.username.clone()).collect();
    let ids = users::ids_of(&mut conn, &names).await?;
    for row in &mut found.rows {
        row.user_id = ids.get(&row.username).copied();
    }
    Ok(found)
}

fn joined<T>(answer: std::result::Result<T, tokio::task::JoinError>) -> Result<T> {
    answer.map_err(|error| Error::Internal(error.to_string()))
}

/// What is needed to ask them, so that no connection to the store is held meanwhile.
async fn sources(store: &Store, data_source: Option<Uuid>) -> Result<Vec<Source>> {
    let mut conn = store.read().await?;
    let wanted: Vec<DataSource> = match data_source {
        Some(id) => vec![data_sources::find(&mut conn, id).await?],
        None => {
            let (mut all, _) = data_sources::list(&mut conn, "", Window::ALL).await?;
            all.retain(|source| source.is_active);
            all
        }
    };
    let mut sources = Vec::with_capacity(wanted.len());
    for source in wanted {
        sources.push(Source {
            id: source.id,
            login: Login::of(&mut conn, &store.sealer, source.id).await?,
            name: source.name,
        });
    }
    Ok(sources)
}

impl Source {
    fn unavailable(&self, error: &Error) -> Unavailable {
        Unavailable {
            data_source_id: self.id,
            datasource_name: self.name.clone(),
            error: error.to_string(),
        }
    }
}

/// The first places of what is looked for, and how many there are.
async fn places(mut target: PgConnection, filter: &Filter, most: i64) -> Result<(Vec<Place>, i64)> {
    // A database where the extension was never installed has recorded nothing.
    let exists: bool = sqlx::query_scalar("select to_regclass('betweenrows.query_audit') is not null")
        .fetch_one(&mut target)
        .await
        .map_err(target::unavailable)?;
    if !exists {
        return Ok((Vec::new(), 0));
    }
    let after = filter.after;
    // What comes before the cursor counts, too: the total is that of the search. The condition on the cursor's time alone
    // lets whole partitions be left out.
    let found = sqlx::query_as(
        "select started_at, id from betweenrows.query_audit where ($1::text[] is null or username = any ($1)) \
         and ($2::text is null or status = $2) and ($3::timestamptz is null or started_at >= $3) \
         and ($4::timestamptz is null or started_at < $4) \
         and ($5::timestamptz is null or started_at <= $5 and (started_at, id) < ($5, $6)) \
         order by started_at desc, id desc limit $7",
    )
    .bind(&filter.usernames)
    .bind(&filter.status)
    .bind(filter.from)
    .bind(filter.to)
    .bind(after.map(|place| place.started_at))
    .bind(after.map(|place| place.id))
    .bind(most)
    .fetch_all(&mut target)
    .await
    .map_err(target::unavailable)?;
    let count = sqlx::query_scalar(
        "select count(*) from (select from betweenrows.query_audit where ($1::text[] is null or username = any ($1)) \
         and ($2::text is null or status = $2) and ($3::timestamptz is null or started_at >= $3) \
         and ($4::timestamptz is null or started_at < $4) limit $5 + 1) counted",
    )
    .bind(&filter.usernames)
    .bind(&filter.status)
    .bind(filter.from)
    .bind(filter.to)
    .bind(MOST_COUNTED)
    .fetch_one(&mut target)
    .await
    .map_err(target::unavailable)?;
    Ok((found, count))
}

/// A row as a data source has it.
#[derive(FromRow)]
struct Row {
    id: Uuid,
    started_at: DateTime<Utc>,
    username: String,
    login_role: String,
    application_name: String,
    client_ip: Option<String>,
    statement_kind: String,
    original_query: String,
    rewritten_query: Option<String>,
    is_cut: bool,
    policies_applied: Value,
    decisions: Value,
    status: String,
    sqlstate: Option<String>,
    error_message: Option<String>,
    row_count: Option<i64>,
    execution_ms: Option<f64>,
}

impl Row {
    fn into_entry(self, source: &Source) -> QueryAuditEntry {
        QueryAuditEntry {
            id: self.id,
            user_id: None,
            username: self.username,
            data_source_id: source.id,
            datasource_name: source.name.clone(),
            original_query: self.original_query,
            rewritten_query: self.rewritten_query,
            policies_applied: self.policies_applied,
            execution_time_ms: self.execution_ms.map(|ms| ms.round() as i64),
            client_info: self.application_name,
            client_ip: self.client_ip,
            created_at: self.started_at,
            status: self.status,
            error_message: self.error_message,
            sqlstate: self.sqlstate,
            statement_kind: self.statement_kind,
            login_role: self.login_role,
            row_count: self.row_count,
            decisions: self.decisions,
            is_cut: self.is_cut,
        }
    }
}

/// The rows at these places.
async fn rows(mut target: PgConnection, places: &[Place]) -> Result<Vec<Row>> {
    let ids: Vec<Uuid> = places.iter().map(|place| place.id).collect();
    let times = places.iter().map(|place| place.started_at);
    // There is no index on ids: the times say which partitions and pages to look at.
    sqlx::query_as(
        "select id, started_at, username, login_role, application_name, host(client_addr) as client_ip, statement_kind, \
         left(original_query, $4) as original_query, left(rewritten_query, $4) as rewritten_query, \
         greatest(length(original_query), length(rewritten_query)) > $4 as is_cut, policies_applied, decisions, status, \
         sqlstate, left(error_message, $4) as error_message, row_count, execution_ms \
         from betweenrows.query_audit where id = any ($1) and started_at between $2 and $3",
    )
    .bind(ids)
    .bind(times.clone().min())
    .bind(times.max())
    .bind(MOST_TEXT)
    .fetch_all(&mut target)
    .await
    .map_err(target::unavailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_the_same() {
        let place = Place {
            started_at: DateTime::from_timestamp_micros(1_795_267_800_123_456).unwrap(),
            id: Uuid::from_u128(7),
        };
        assert_eq!(Place::from_cursor(&place.to_cursor()), Some(place));
        for bad in [
            "",
            "_",
            "1",
            "1_2",
            "x_00000000-0000-0000-0000-000000000007",
            "9223372036854775807_",
        ] {
            assert_eq!(Place::from_cursor(bad), None, "{bad}");
        }
    }
}
