//! Statements' texts as they are recorded.

use super::settings;
use super::text::{cut, redact};

/// A text as it is recorded. `masked` says that the statement uses a masked column.
pub(super) fn shorten(text: &str, masked: bool) -> String {
    if masked && settings::REDACT.get() {
        return cut(&redact(text), settings::TEXT_SIZE.get() as usize);
    }
    cut(text, settings::TEXT_SIZE.get() as usize)
}
