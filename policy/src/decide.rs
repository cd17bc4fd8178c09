//! What a subject may see of a relation.
//!
//! Invariants: a deny wins over everything; what a catalog allowlist does not select is hidden, whatever policies allow; a policy that cannot be understood closes the relations it is about; a
//! `column_allow` or permissive filter that is assigned restricts even when it does not fire; the order in which
//! policies and assignments are stored changes nothing.

mod applicable;
mod effects;

pub use applicable::{Applicable, applicable};
pub use effects::{Applied, Effect};

use std::collections::BTreeSet;

use crate::allowlist::Columns;
use crate::model::{AccessMode, Definition, FilterMode, Policy, PolicyType, Target, Targets, check_targets};

/// A relation, as far as policies can tell relations apart.
#[derive(Debug, Clone, Copy)]
pub struct Relation<'a> {
    /// Name of its schema.
    pub schema: &'a str,
    /// Its name.
    pub name: &'a str,
    /// `(schema, name)` of every partitioning or inheritance ancestor; policies on those govern this relation too.
    pub ancestors: &'a [(String, String)],
    /// Names of its columns, dropped ones left out.
    pub columns: &'a [&'a str],
    /// What the catalog allowlist selects of it; everything where there is none.
    pub selection: Selection<'a>,
}

/// What a catalog allowlist selects of one relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection<'a> {
    /// All of it, present and future.
    Everything,
    /// The relation with these columns, be there such columns or not.
    Columns(&'a BTreeSet<String>),
    /// Nothing: the relation is not selected.
    Nothing,
}

impl<'a> Selection<'a> {
    /// What an allowlist's entry for a table selects of it; without an entry nothing.
    pub fn of(entry: Option<&'a Columns>) -> Self {
        match entry {
            None => Selection::Nothing,
            Some(None) => Selection::Everything,
            Some(Some(columns)) => Selection::Columns(columns),
        }
    }

    /// Whether it includes a column of that name.
    pub fn includes(self, column: &str) -> bool {
        match self {
            Selection::Everything => true,
            Selection::Columns(columns) => columns.contains(column),
            Selection::Nothing => false,
        }
    }
}

impl<'a> Relation<'a> {
    /// A relation of which nothing but the name is known, and that no catalog allowlist narrows.
    pub fn named(schema: &'a str, name: &'a str) -> Self {
        Relation {
            schema,
            name,
            ancestors: &[],
            columns: &[],
            selection: Selection::Everything,
        }
    }

    /// Whether the policy is about this relation, whoever asks. A policy with unusable targets is about every one.
    pub fn is_governed_by(&self, policy: &Policy) -> bool {
        match &policy.targets {
            Targets::Valid(targets) => targets.iter().any(|target| self.matches(target)),
            Targets::Invalid(_) => true,
        }
    }

    fn matches(&self, target: &Target) -> bool {
        target.matches_table(self.schema, self.name)
            || self
                .ancestors
                .iter()
                .any(|(schema, name)| target.matches_table(schema, name))
    }
}

/// Whether the relation itself exists for the subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableAccess {
    /// It does.
    Visible,
    /// A `table_deny` hides it, wherever and with whose rights it is read.
    Denied {
        /// The first policy that does.
        by: usize,
    },
    /// It is hidden by default: of its columns there is none that the catalog allowlist selects and that is allowed, where
    /// a `column_allow` is needed. To be waived by the caller when the relation is read with an exempt role's rights.
    NotAllowed,
}

/// Whether a column exists for the subject, and what it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnAccess {
    /// It does.
    Visible {
        /// The policy whose expression replaces the value.
        mask: Option<usize>,
    },
    /// A `column_deny` hides it, wherever and with whose rights it is read.
    Denied {
        /// The first policy that does.
        by: usize,
    },
    /// It is hidden by default: the catalog allowlist does not select it, or no `column_allow` lists it. To be waived like [`TableAccess::NotAllowed`].
    NotAllowed {
        /// The policy whose expression replaces the value once that is waived.
        mask: Option<usize>,
    },
}

/// What the policies that apply to a subject make of one relation.
///
/// A `usize` is an index into the slice that was given to [`decide`]. Filters and masks are complete also where
/// something is `NotAllowed`, so that a caller can waive that with [`Decision::waived`]. Callers judge in this order:
/// [`TableAccess::Denied`], then [`TableAccess::NotAllowed`], then [`Decision::broken`], then the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether the relation exists.
    pub table: TableAccess,
    /// Row filters that all have to hold.
    pub restrictive: Vec<usize>,
    /// Row filters of which one has to hold as well; `None` when there is no permissive filter, and `Some` of an empty
    /// list, when none of them fires, means no rows.
    pub permissive: Option<Vec<usize>>,
    /// Permissive filters that do not fire: they restrict and contribute nothing.
    pub withheld_filters: Vec<usize>,
    /// Column allowlists whose union bounds the visible columns; `None` when there is none, and `Some` of an empty list
    /// when none of them fires.
    pub allowing: Option<Vec<usize>>,
    /// Column allowlists that do not fire: they restrict and contribute nothing.
    pub withheld_allows: Vec<usize>,
    /// Parallel to [`Relation::columns`].
    pub columns: Vec<ColumnAccess>,
    /// Policies about this relation that cannot be applied, whether or not they fire, each with the reason (for
    /// administrators only). If there is any, the relation has to be unavailable.
    pub broken: Vec<(usize, String)>,
}

impl Decision {
    /// Whether the relation is exactly as without policies.
    pub fn is_unrestricted(&self) -> bool {
        self.table == TableAccess::Visible
            && self.restrictive.is_empty()
            && self.permissive.is_none()
            && self
                .columns
                .iter()
                .all(|column| *column == ColumnAccess::Visible { mask: None })
            && self.broken.is_empty()
    }

    /// Whether the relation or one of its columns does not exist for the subject.
    pub fn hides_something(&self) -> bool {
        self.table != TableAccess::Visible
            || self
                .columns
                .iter()
                .any(|column| !matches!(column, ColumnAccess::Visible { .. }))
    }

    /// The same without being hidden by default: what holds when the relation is read with an exempt role's rights.
    /// Denies, filters and masks stay.
    pub fn waived(&self) -> Decision {
        let mut waived = self.clone();
        if waived.table == TableAccess::NotAllowed {
            waived.table = TableAccess::Visible;
        }
        for column in &mut waived.columns {
            if let ColumnAccess::NotAllowed { mask } = *column {
                *column = ColumnAccess::Visible { mask };
            }
        }
        waived.allowing = None;
        waived.withheld_allows.clear();
        waived
    }
}

/// What `applicable` policies, in their order of precedence, make of `relation`.
///
/// A policy whose `fires` is false takes no part, except that a permissive filter or `column_allow` still establishes
/// its restriction, and that a policy that cannot be applied closes the relation.
pub fn decide(mode: AccessMode, applicable: &[Applicable], relation: &Relation) -> Decision {
    let mut found = Findings::new(relation.columns.len());
    for (index, entry) in applicable.iter().enumerate() {
        if relation.is_governed_by(entry.policy) {
            found.add(index, entry, relation);
        }
    }
    found.conclude(mode, relation)
}

/// What was found while going through the policies.
struct Findings {
    table_denied: Option<usize>,
    restrictive: Vec<usize>,
    permissive: Option<Vec<usize>>,
    withheld_filters: Vec<usize>,
    allowing: Option<Vec<usize>>,
    withheld_allows: Vec<usize>,
    columns: Vec<ColumnFindings>,
    broken: Vec<(usize, String)>,
}

#[derive(Clone, Copy, Default)]
struct ColumnFindings {
    denied: Option<usize>,
    mask: Option<usize>,
    allowed: bool,
}

impl Findings {
    fn new(columns: usize) -> Self {
        Findings {
            table_denied: None,
            restrictive: Vec::new(),
            permissive: None,
            withheld_filters: Vec::new(),
            allowing: None,
            withheld_allows: Vec::new(),
            columns: vec![ColumnFindings::default(); columns],
            broken: Vec::new(),
        }
    }

    /// Adds a policy that is about the relation.
    fn add(&mut self, index: usize, entry: &Applicable, relation: &Relation) {
        let policy = entry.policy;
        let targets = match usable(policy) {
            Ok(targets) => targets,
            Err(reason) => return self.broken.push((index, reason)),
        };
        match (policy.policy_type, &policy.definition) {
            (
                PolicyType::RowFilter,
                Definition::RowFilter {
                    mode: FilterMode::Permissive,
                    ..
                },
            ) => {
                let permissive = self.permissive.get_or_insert_default();
                let list = if entry.fires {
                    permissive
                } else {
                    &mut self.withheld_filters
                };
                list.push(index);
            }
            (PolicyType::ColumnAllow, _) => {
                let allowing = self.allowing.get_or_insert_default();
                let list = if entry.fires {
                    allowing
                } else {
                    &mut self.withheld_allows
                };
                list.push(index);
                if entry.fires {
                    self.for_columns(targets, relation, |column| column.allowed = true);
                }
            }
            _ if !entry.fires => {}
            (PolicyType::RowFilter, _) => self.restrictive.push(index),
            (PolicyType::ColumnMask, _) => {
                self.for_columns(targets, relation, |column| _ = column.mask.get_or_insert(index));
            }
            (PolicyType::ColumnDeny, _) => {
                self.for_columns(targets, relation, |column| _ = column.denied.get_or_insert(index));
            }
            (PolicyType::TableDeny, _) => _ = self.table_denied.get_or_insert(index),
        }
    }

    /// Does something to every column that one of the targets is about.
    fn for_columns(&mut self, targets: &[Target], relation: &Relation, change: impl Fn(&mut ColumnFindings)) {
        for target in targets.iter().filter(|target| relation.matches(target)) {
            for (column, name) in self.columns.iter_mut().zip(relation.columns) {
                if target.matches_column(name) {
                    change(column);
                }
            }
        }
    }

    fn conclude(self, mode: AccessMode, relation: &Relation) -> Decision {
        let bounded = mode == AccessMode::PolicyRequired || self.allowing.is_some();
        let shown =
            |column: &ColumnFindings, name: &str| (!bounded || column.allowed) && relation.selection.includes(name);
        let columns = || self.columns.iter().zip(relation.columns.iter().copied());
        // A relation without columns is let through by any column_allow that fires: there is nothing to list.
        let some_shown = if self.columns.is_empty() {
            let allowed = !bounded || self.allowing.as_ref().is_some_and(|firing| !firing.is_empty());
            allowed && relation.selection != Selection::Nothing
        } else {
            columns().any(|(column, name)| shown(column, name))
        };
        let table = match self.table_denied {
            Some(by) => TableAccess::Denied { by },
            None if !some_shown => TableAccess::NotAllowed,
            None => TableAccess::Visible,
        };
        let column_access = |(column, name): (&ColumnFindings, &str)| match *column {
            ColumnFindings { denied: Some(by), .. } => ColumnAccess::Denied { by },
            ColumnFindings { mask, .. } if !shown(column, name) => ColumnAccess::NotAllowed { mask },
            ColumnFindings { mask, .. } => ColumnAccess::Visible { mask },
        };
        Decision {
            table,
            columns: columns().map(column_access).collect(),
            restrictive: self.restrictive,
            permissive: self.permissive,
            withheld_filters: self.withheld_filters,
            allowing: self.allowing,
            withheld_allows: self.withheld_allows,
            broken: self.broken,
        }
    }
}

/// The targets of a policy that can be applied, or why it cannot.
fn usable(policy: &Policy) -> Result<&[Target], String> {
    let targets = match &policy.targets {
        Targets::Valid(targets) => targets,
        Targets::Invalid(reason) => return Err(reason.clone()),
    };
    check_targets(policy.policy_type, targets).map_err(|issue| issue.to_string())?;
    match (policy.policy_type, &policy.definition) {
        (_, Definition::Invalid(reason)) => Err(reason.clone()),
        (PolicyType::RowFilter, Definition::RowFilter { .. })
        | (PolicyType::ColumnMask, Definition::ColumnMask { .. })
        | (PolicyType::ColumnAllow | PolicyType::ColumnDeny | PolicyType::TableDeny, Definition::None) => Ok(targets),
        _ => Err(format!("definition does not suit a {}", policy.policy_type.as_str())),
    }
}

#[cfg(test)]
mod tests;
