//! The nouns: policies, targets, assignments and access modes.

mod parse;

pub use parse::{
    MAX_EXPRESSION_BYTES, MAX_NAME_CHARS, MAX_TARGETS, MAX_USERNAME_BYTES, check_identifier, check_name, check_targets,
    check_username, parse_access_mode, parse_definition, parse_policy_type, parse_targets, targets_to_json,
};
pub(crate) use parse::{read_definition, read_targets, report_unsuitable};

use crate::pattern::Pattern;
use std::collections::BTreeSet;

/// Identity of a catalog row: the 128 bits of its `id uuid`.
pub type Id = u128;

/// What a policy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyType {
    /// Only rows for which the expression is true.
    RowFilter,
    /// The column's value is replaced by an expression.
    ColumnMask,
    /// Allowlist of columns; in `policy_required` mode the only type that makes a table visible.
    ColumnAllow,
    /// The column does not exist for the subject.
    ColumnDeny,
    /// The table does not exist for the subject.
    TableDeny,
}

impl PolicyType {
    /// Every type, in the order of the documentation.
    pub const ALL: [PolicyType; 5] = [
        PolicyType::RowFilter,
        PolicyType::ColumnMask,
        PolicyType::ColumnAllow,
        PolicyType::ColumnDeny,
        PolicyType::TableDeny,
    ];

    /// The text form, as in SQL and in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            PolicyType::RowFilter => "row_filter",
            PolicyType::ColumnMask => "column_mask",
            PolicyType::ColumnAllow => "column_allow",
            PolicyType::ColumnDeny => "column_deny",
            PolicyType::TableDeny => "table_deny",
        }
    }

    /// Whether it is about columns, so that its targets have to name some.
    pub fn needs_columns(self) -> bool {
        matches!(
            self,
            PolicyType::ColumnMask | PolicyType::ColumnAllow | PolicyType::ColumnDeny
        )
    }
}

/// Whether tables without a matching `column_allow` exist for subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessMode {
    /// Ungoverned tables behave as without the extension.
    #[default]
    Open,
    /// A table without a matching `column_allow` does not exist.
    PolicyRequired,
}

impl AccessMode {
    /// The text form, as in SQL and in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            AccessMode::Open => "open",
            AccessMode::PolicyRequired => "policy_required",
        }
    }
}

/// How row filters combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FilterMode {
    /// AND-ed with all others.
    #[default]
    Restrictive,
    /// OR-ed among the permissive ones; that result is AND-ed in.
    Permissive,
}

impl FilterMode {
    /// The text form, as in SQL and in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            FilterMode::Restrictive => "restrictive",
            FilterMode::Permissive => "permissive",
        }
    }
}

/// What new rows have to satisfy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Check {
    /// The filter expression itself.
    #[default]
    Filter,
    /// An expression of its own (`check_expression`).
    Expression(String),
    /// Nothing (`"check": "none"`).
    None,
}

/// The part of a policy that depends on its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Definition {
    /// Of a `row_filter`.
    RowFilter {
        /// SQL expression over the row, with `{user.key}` placeholders.
        filter_expression: String,
        /// How it combines with other filters.
        mode: FilterMode,
        /// What new rows have to satisfy.
        check: Check,
    },
    /// Of a `column_mask`.
    ColumnMask {
        /// SQL expression over the row that replaces the column's value.
        mask_expression: String,
        /// Whether the subject may set the column although it reads a masked value.
        writable: bool,
    },
    /// Of the allow and deny types.
    None,
    /// A definition that cannot be used; the text says why. The policy closes the tables it matches.
    Invalid(String),
}

/// One entry of a policy's targets: the relations, and for the column types the columns, that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Patterns for the schema; one has to match.
    pub schemas: Vec<Pattern>,
    /// Patterns for the relation; one has to match.
    pub tables: Vec<Pattern>,
    /// Patterns for the columns, given exactly for the column types.
    pub columns: Option<Vec<Pattern>>,
}

impl Target {
    /// Whether it is about the relation of that name.
    pub fn matches_table(&self, schema: &str, name: &str) -> bool {
        self.schemas.iter().any(|pattern| pattern.matches(schema))
            && self.tables.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether it is about a column of that name, in a relation it matches. Without columns it is about none.
    pub fn matches_column(&self, name: &str) -> bool {
        self.columns.iter().flatten().any(|pattern| pattern.matches(name))
    }
}

/// The targets of a stored policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// Usable; entries are OR-ed.
    Valid(Vec<Target>),
    /// They cannot be used; the text says why. The policy closes every relation, since any could have been meant.
    Invalid(String),
}

/// A stored policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its identity.
    pub id: Id,
    /// Its unique name.
    pub name: String,
    /// Counts its changes.
    pub version: i32,
    /// What it does.
    pub policy_type: PolicyType,
    /// What it is about.
    pub targets: Targets,
    /// How it does it.
    pub definition: Definition,
    /// A disabled policy takes no part.
    pub is_enabled: bool,
    /// The role with whose rights its subqueries read.
    pub owner: String,
    /// The function that decides whether it takes part; without one it always does.
    pub decision_function: Option<Id>,
}

/// For whom an assignment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Every subject, whether or not it has a user row.
    All,
    /// One user.
    User(Id),
    /// Those in a role, directly or through other roles.
    Role(Id),
}

impl Scope {
    /// Whether it includes a subject: `user` is its user row, if it has one, `roles` are its active roles with what they
    /// inherit.
    pub fn reaches(self, user: Option<Id>, roles: &BTreeSet<Id>) -> bool {
        match self {
            Scope::All => true,
            Scope::User(id) => user == Some(id),
            Scope::Role(id) => roles.contains(&id),
        }
    }

    /// Its place among assignments of equal priority, smaller first: user 0, role 1, all 2.
    pub fn rank(self) -> u8 {
        match self {
            Scope::User(_) => 0,
            Scope::Role(_) => 1,
            Scope::All => 2,
        }
    }
}

/// Says for whom a policy is, and how it ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// Its identity.
    pub id: Id,
    /// The assigned policy.
    pub policy_id: Id,
    /// For whom.
    pub scope: Scope,
    /// The lower number wins.
    pub priority: i32,
}

#[cfg(test)]
mod tests;
