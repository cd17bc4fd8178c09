//! The record of administration: who changed what, before and after, in the same transaction.

use pgrx::prelude::*;
use serde_json::Value;

use super::{json, sql};

/// Records one change; `before` is null for what was created, `after` for what was dropped. Neither holds a password.
pub(crate) fn record(action: &str, kind: &str, name: &str, before: &Value, after: &Value) {
    sql::run(
        "insert into betweenrows.admin_audit (actor_role, action, object_kind, object_name, before, after)
         values (coalesce(nullif(current_setting('role'), 'none'), session_user), $1, $2, $3, $4, $5)",
        &[
            action.into(),
            kind.into(),
            name.into(),
            json::parameter(before).into(),
            json::parameter(after).into(),
        ],
    );
}

/// `betweenrows.append_only()`: trigger of the tables that keep history.
#[pg_trigger(sql = false)]
fn append_only<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, pgrx::PgTriggerError> {
    super::errors::append_only(&trigger.table_name()?)
}
