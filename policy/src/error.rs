//! What is wrong with something that was submitted, and where.

use std::fmt;

/// A problem with a submitted value: where it is and what it is.
///
/// The text is meant for administrators: it names what they wrote, in PostgreSQL's style (lower case, no full stop).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// JSON path such as `policies[2].targets[0].tables`; empty for the value as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl Issue {
    /// An issue at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Issue {
            path: path.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

impl std::error::Error for Issue {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issue_prints_its_path_when_it_has_one() {
        assert_eq!(Issue::new("targets[0]", "is wrong").to_string(), "targets[0]: is wrong");
        assert_eq!(Issue::new("", "is wrong").to_string(), "is wrong");
    }
}
