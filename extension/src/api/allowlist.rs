//! What exists in the database for subjects: `set_catalog`, `clear_catalog`.

use pgrx::{AnyElement, notice, prelude::*};
use policy::allowlist::Allowlist;

use super::{args, errors, json, settings};

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn set_catalog(document: Option<AnyElement>) {
    let document = args::required("document", json::argument("document", document));
    set(&Allowlist::parse(&document).unwrap_or_else(|issues| errors::malformed("catalog", &issues)));
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn clear_catalog() {
    if !clear() {
        notice!("there is no catalog allowlist");
    }
}

/// Puts an allowlist in the place of whatever there is; `false` when it is that already.
pub(crate) fn set(allowlist: &Allowlist) -> bool {
    settings::store(settings::CATALOG, Some(&allowlist.to_json()))
}

/// Lets everything exist; `false` when it does already.
pub(crate) fn clear() -> bool {
    settings::store(settings::CATALOG, None)
}

/// The allowlist in force. Like enforcement, this takes anything unreadable for one that selects nothing.
pub(crate) fn current() -> Option<Allowlist> {
    settings::stored(settings::CATALOG).map(|value| Allowlist::parse(&value).unwrap_or_default())
}
