//! Which policies really took effect on a relation, for the audit and for explanations.

use super::{ColumnAccess, Decision, TableAccess};

/// What a policy did to a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// Hid the relation.
    TableDenied,
    /// Cannot be applied and closed the relation.
    Broken,
    /// Kept rows back.
    RowsFiltered,
    /// Let rows through that other permissive filters may not.
    RowsPermitted,
    /// Is a permissive filter that did not fire: it restricts and lets no row through.
    RowsWithheld,
    /// Let the columns through that it lists, and no others.
    ColumnsAllowed,
    /// Is a column allowlist that did not fire: it restricts and lets no column through.
    ColumnsWithheld,
    /// Hid a column.
    ColumnDenied,
    /// Replaced the values of a column.
    ColumnMasked,
}

impl Effect {
    /// The text form, as in audit rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Effect::TableDenied => "table_denied",
            Effect::Broken => "broken",
            Effect::RowsFiltered => "rows_filtered",
            Effect::RowsPermitted => "rows_permitted",
            Effect::RowsWithheld => "rows_withheld",
            Effect::ColumnsAllowed => "columns_allowed",
            Effect::ColumnsWithheld => "columns_withheld",
            Effect::ColumnDenied => "column_denied",
            Effect::ColumnMasked => "column_masked",
        }
    }
}

/// One policy's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Applied {
    /// Index of the policy in the slice given to [`super::decide`].
    pub policy: usize,
    /// What it did.
    pub effect: Effect,
    /// Index into [`super::Relation::columns`] of the column it did it to.
    pub column: Option<usize>,
}

impl Decision {
    /// The policies that really took effect, in order of precedence; what another one made void is left out.
    ///
    /// Takes [`TableAccess::NotAllowed`] and [`ColumnAccess::NotAllowed`] as they stand; ask the [`Decision::waived`]
    /// decision where they are waived.
    pub fn effects(&self) -> Vec<Applied> {
        let on_table = |effect| {
            move |&policy: &usize| Applied {
                policy,
                effect,
                column: None,
            }
        };
        let mut effects: Vec<Applied> = Vec::new();
        if let TableAccess::Denied { by } = self.table {
            return vec![Applied {
                policy: by,
                effect: Effect::TableDenied,
                column: None,
            }];
        }
        effects.extend(self.allowing.iter().flatten().map(on_table(Effect::ColumnsAllowed)));
        effects.extend(self.withheld_allows.iter().map(on_table(Effect::ColumnsWithheld)));
        if self.table == TableAccess::Visible {
            if !self.broken.is_empty() {
                let broken = self.broken.iter().map(|(policy, _)| policy);
                return broken.map(on_table(Effect::Broken)).collect();
            }
            effects.extend(self.restrictive.iter().map(on_table(Effect::RowsFiltered)));
            effects.extend(self.permissive.iter().flatten().map(on_table(Effect::RowsPermitted)));
            effects.extend(self.withheld_filters.iter().map(on_table(Effect::RowsWithheld)));
            effects.extend(
                self.columns
                    .iter()
                    .enumerate()
                    .filter_map(|(column, access)| match *access {
                        ColumnAccess::Denied { by } => Some(Applied {
                            policy: by,
                            effect: Effect::ColumnDenied,
                            column: Some(column),
                        }),
                        ColumnAccess::Visible { mask: Some(mask) } => Some(Applied {
                            policy: mask,
                            effect: Effect::ColumnMasked,
                            column: Some(column),
                        }),
                        _ => None,
                    }),
            );
        }
        effects.sort_unstable();
        effects
    }
}
