//! What is told of a statement, as its plan carries it.
//!
//! It stands in the `ctename` of one of the plan's relations: a text that copies of a plan keep, that nothing reads for a
//! relation, and that lives exactly as long as the plan.

use std::ffi::CStr;

use pgrx::pg_sys::{PlannedStmt, RTEKind, RangeTblEntry};

use super::collect;
use super::overrides::Wanted;
use super::settings::{self, Level};
use crate::pg::{list, nodes};

const MARK: &str = "betweenrows audit ";

/// What is told of a statement.
pub(super) struct Told {
    /// What is recorded.
    pub(super) wanted: Wanted,
    /// Whether it uses a masked column.
    pub(super) masked: bool,
    /// Its description.
    pub(super) json: String,
}

/// Whether a description has the text of what runs.
pub(super) fn wants_text(wanted: Wanted) -> bool {
    wanted.level() != Level::Off && settings::REWRITTEN.get()
}

impl Told {
    /// What a plan carries, with a new number.
    pub(super) fn text(&self) -> String {
        let masked = if self.masked { 'm' } else { '-' };
        let wanted = self.wanted.encode();
        format!("{MARK}{} {wanted}{masked} {}", collect::next_number(), self.json)
    }
}

/// Has a plan carry a text.
///
/// # Safety
/// `plan` was just made.
pub(super) unsafe fn attach(plan: *mut PlannedStmt, text: &str) {
    if let Some(rte) = proven(plan).next() {
        (*rte).ctename = nodes::pstr(text);
    }
}

unsafe fn proven(plan: *mut PlannedStmt) -> impl Iterator<Item = *mut RangeTblEntry> {
    list::iter::<RangeTblEntry>((*plan).rtable)
        .filter(|rte| (**rte).rtekind == RTEKind::RTE_RELATION && !(**rte).enrname.is_null())
}

/// The description that a plan carries.
pub(super) struct Carried<'a> {
    /// Its number.
    pub(super) number: u64,
    /// What is recorded.
    pub(super) wanted: Wanted,
    /// Whether the statement uses a masked column.
    pub(super) masked: bool,
    /// The description.
    pub(super) json: &'a [u8],
}

/// The description of a plan; `None` when it is about nothing governed.
///
/// # Safety
/// `plan` is valid for as long as the result is used.
pub(super) unsafe fn carried<'a>(plan: *mut PlannedStmt) -> Option<Carried<'a>> {
    for rte in proven(plan) {
        if (*rte).ctename.is_null() {
            continue;
        }
        let text = CStr::from_ptr((*rte).ctename).to_bytes();
        if text.starts_with(MARK.as_bytes()) {
            return Carried::parse(text);
        }
    }
    None
}

impl Carried<'_> {
    /// The reverse of [`Told::text`].
    pub(super) fn parse(text: &[u8]) -> Option<Carried<'_>> {
        let rest = text.strip_prefix(MARK.as_bytes())?;
        let space = rest.iter().position(|byte| *byte == b' ')?;
        let number = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
        Some(Carried {
            number,
            wanted: Wanted::decode(*rest.get(space + 1)?)?,
            masked: *rest.get(space + 2)? == b'm',
            json: rest.get(space + 4..)?,
        })
    }
}
