//! `betweenrows.touch()`: the trigger by which writers of the catalog take part in the protocol of [`super`].

use pgrx::prelude::*;
use pgrx::{PgTrigger, PgTriggerError, PgTriggerLevel};

use super::epoch;

/// Fires for each row of `users`, so that one user's change disturbs only one bucket, and for each statement elsewhere.
#[pg_trigger(sql = false)]
fn touch<'a>(trigger: &'a PgTrigger<'a>) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, PgTriggerError> {
    if matches!(trigger.level(), PgTriggerLevel::Statement) {
        epoch::touch();
        return Ok(None);
    }
    for row in [trigger.old(), trigger.new()].into_iter().flatten() {
        match row.get_by_name::<String>("username") {
            Ok(Some(username)) => epoch::touch_user(&username),
            // A table of another shape is not for us to understand: let everybody look again.
            _ => epoch::touch(),
        }
    }
    Ok(None)
}
