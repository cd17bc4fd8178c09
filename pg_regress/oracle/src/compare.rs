//! Whether two outcomes are the same.

use crate::scope::Traits;
use crate::session::{Mode, Outcome};

/// What a comparison says.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The same rows.
    Equal,
    /// Both refused, with this SQLSTATE on the governed side.
    Refused(String),
    /// One of the two ran out of time: nothing is known.
    Skipped,
    /// Different, and how.
    Different(String),
}

/// SQLSTATE of a statement timeout.
const TIMEOUT: &str = "57014";
/// A prepared statement whose result type changed under it: PostgreSQL's own answer.
const PLAN_CHANGED: &str = "0A000";
/// Refused by policy.
const REFUSED: &str = "42501";

/// Compares what the subject got with what the copy says.
pub fn compare(governed: &Outcome, copy: &Outcome, ordered: bool, traits: &Traits, mode: Mode) -> Verdict {
    let different = |why: &str| Verdict::Different(why.to_string());
    match (governed, copy) {
        (Outcome::Lost(_), _) | (_, Outcome::Lost(_)) => different("the server closed the connection"),
        (Outcome::Failure { code, .. }, _) | (_, Outcome::Failure { code, .. }) if code == TIMEOUT => Verdict::Skipped,
        (Outcome::Failure { code, .. }, _) if code.starts_with("XX") => different("internal error"),
        // A view below which a hidden table is read: the copy has no such view.
        (Outcome::Failure { code, .. }, _) if code == REFUSED && traits.refused => Verdict::Refused(code.clone()),
        (
            Outcome::Failure {
                code,
                message,
                position,
                hint,
            },
            Outcome::Failure {
                code: expected,
                message: expected_message,
                position: expected_position,
                hint: expected_hint,
            },
        ) => {
            if code[..2] != expected[..2] {
                return different("different errors");
            }
            // What does not exist for the subject must be refused in PostgreSQL's own words; a hint may be missing, and of
            // several such names another one may be met first.
            if traits.hidden == 1
                && matches!(expected.as_str(), "42P01" | "42703")
                && mode.keeps_positions()
                && !traits.refused
            {
                let same = code == expected && message == expected_message && position == expected_position;
                if !same || (hint.is_some() && hint != expected_hint) {
                    return different("a hidden name is not refused like one that does not exist");
                }
            }
            Verdict::Refused(code.clone())
        }
        (
            Outcome::Rows {
                names,
                types,
                rows,
                count,
            },
            Outcome::Rows {
                names: names2,
                types: types2,
                rows: rows2,
                count: count2,
            },
        ) => {
            if names != names2 {
                return different("different column names");
            }
            if types != types2 {
                return different("different column types");
            }
            if count != count2 && rows.len() == rows2.len() {
                return different("different counts in the command tag");
            }
            let equal = if ordered {
                rows == rows2
            } else {
                sorted(rows) == sorted(rows2)
            };
            if equal {
                Verdict::Equal
            } else {
                different("different rows")
            }
        }
        (Outcome::Failure { .. }, Outcome::Rows { .. }) => different("only the subject gets an error"),
        (Outcome::Rows { .. }, Outcome::Failure { .. }) => different("only the copy gives an error"),
    }
}

/// As [`compare`], for a statement prepared before policies changed.
pub fn compare_stale(governed: &Outcome, copy: &Outcome, ordered: bool, traits: &Traits) -> Verdict {
    match governed.code() {
        Some(PLAN_CHANGED) => Verdict::Refused(PLAN_CHANGED.to_string()),
        _ => compare(governed, copy, ordered, traits, Mode::Prepared),
    }
}

fn sorted(rows: &[Vec<Option<String>>]) -> Vec<&Vec<Option<String>>> {
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort();
    rows
}
