//! Counts of what was compared, for the last line of a run.

use std::collections::BTreeMap;
use std::fmt;

/// Counts.
#[derive(Debug, Default)]
pub struct Stats {
    /// Worlds built.
    pub worlds: usize,
    /// Queries compared with equal rows.
    pub rows: usize,
    /// Of those, results that had rows.
    pub nonempty: usize,
    /// Statements that both sides refused.
    pub errors: BTreeMap<String, usize>,
    /// Writes compared.
    pub writes: usize,
    /// Changes of policies under open sessions.
    pub changes: usize,
    /// Not compared: a timeout on one side.
    pub skipped: usize,
    /// Mismatches.
    pub mismatches: usize,
}

impl Stats {
    /// Statements that were compared.
    pub fn compared(&self) -> usize {
        self.rows + self.writes + self.errors.values().sum::<usize>()
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors: Vec<String> = self
            .errors
            .iter()
            .map(|(code, count)| format!("{code} {count}"))
            .collect();
        write!(
            f,
            "{} compared in {} worlds: {} results equal ({} with rows), {} writes equal, refused alike: {}; {} policy changes, {} skipped, {} mismatches",
            self.compared(),
            self.worlds,
            self.rows,
            self.nonempty,
            self.writes,
            if errors.is_empty() {
                "none".to_string()
            } else {
                errors.join(", ")
            },
            self.changes,
            self.skipped,
            self.mismatches
        )
    }
}
