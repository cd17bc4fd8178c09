//! Statements' texts as they are recorded.

use super::settings;
use super::text::{cut, redact, redact_quoted};

/// An error's message as it is recorded: those about values quote them.
pub(super) fn message(text: &str, sqlstate: &str) -> String {
    if settings::REDACT.get() && sqlstate.starts_with("22") {
        return cut(&redact_quoted(text), settings::TEXT_SIZE.get() as usize);
    }
    shorten(text, false)
}

/// A text as it is recorded. `masked` says that the statement uses a masked column.
pub(super) fn shorten(text: &str, masked: bool) -> String {
    if masked && settings::REDACT.get() {
        return cut(&redact(text), settings::TEXT_SIZE.get() as usize);
    }
    cut(text, settings::TEXT_SIZE.get() as usize)
}
