//! Checking the arguments of the SQL functions.

use pgrx::Uuid;
use policy::document::MAX_DESCRIPTION_BYTES;
use policy::error::Issue;
use policy::model::{self, Id};
use serde_json::Value;

use super::errors;

/// An argument that must not be null.
pub(crate) fn required<T>(argument: &str, value: Option<T>) -> T {
    value.unwrap_or_else(|| errors::null_argument(argument))
}

/// The name of a user, which is that of a PostgreSQL role.
pub(crate) fn username<'a>(argument: &str, value: Option<&'a str>) -> &'a str {
    name(argument, value, model::check_username)
}

/// The name of a betweenrows role or of a policy.
pub(crate) fn object_name<'a>(argument: &str, value: Option<&'a str>) -> &'a str {
    name(argument, value, model::check_name)
}

fn name<'a>(argument: &str, value: Option<&'a str>, check: impl Fn(&str) -> Result<(), Issue>) -> &'a str {
    let name = required(argument, value);
    if let Err(issue) = check(name) {
        errors::invalid_argument(argument, format!("The name {}.", issue.message), "Use another name.");
    }
    name
}

/// What a check of the policy crate found, or its error. `what` is what was checked, like `policy`.
pub(crate) fn valid<T>(what: &str, result: Result<T, Issue>) -> T {
    result.unwrap_or_else(|issue| errors::malformed(what, &[issue]))
}

/// The `id` of a catalog row.
pub(crate) fn id_of(row: &Value) -> Id {
    parse_id(row["id"].as_str().unwrap_or_default())
}

/// An id from its text form, as jsonb shows it.
pub(crate) fn parse_id(text: &str) -> Id {
    Id::from_str_radix(&text.replace('-', ""), 16)
        .unwrap_or_else(|_| errors::corrupt_catalog(format!("\"{text}\" is not an id")))
}

/// An id as SQL sees it.
pub(crate) fn uuid(id: Id) -> Uuid {
    Uuid::from_bytes(id.to_be_bytes())
}

/// An argument that describes something; see [`stored_description`] and [`changed_description`].
pub(crate) fn description(value: Option<&str>) -> Option<&str> {
    if let Some(text) = value
        && text.len() > MAX_DESCRIPTION_BYTES
    {
        errors::invalid_argument(
            "description",
            format!("It has {} bytes, of at most {MAX_DESCRIPTION_BYTES}.", text.len()),
            "Use a shorter description.",
        );
    }
    value
}

/// The description of a new object: an empty one is none.
pub(crate) fn stored_description(value: Option<&str>) -> Option<&str> {
    value.filter(|text| !text.is_empty())
}

/// The description after a change: null leaves it alone, an empty one clears it.
pub(crate) fn changed_description<'a>(old: Option<&'a str>, new: Option<&'a str>) -> Option<&'a str> {
    if new.is_some() { stored_description(new) } else { old }
}
