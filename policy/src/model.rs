//! The nouns: policies, targets, assignments and access modes.

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

/// Whether tables without a matching `column_allow` exist for subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessMode {
    /// Ungoverned tables behave as without the extension.
    #[default]
    Open,
    /// A table without a matching `column_allow` does not exist.
    PolicyRequired,
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
