//! Which policies apply to a subject, and in which order they take precedence.

use crate::model::{Assignment, Id, Policy};
use std::collections::{BTreeSet, HashMap};

/// A policy that applies to the subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applicable<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// Its lowest priority number among the assignments that reach the subject.
    pub priority: i32,
    /// The smallest [`crate::model::Scope::rank`] among its assignments of that priority: user 0, role 1, all 2.
    pub scope_rank: u8,
    /// Whether it takes part. A decision function may clear this.
    pub fires: bool,
}

/// The enabled policies assigned to everyone, to the user or to one of the roles, in order of precedence: by priority,
/// then scope, then name.
///
/// `user` is `None` for a subject without a user row; `roles` are the subject's active roles with what they inherit.
/// Every policy occurs once, and all of them fire.
pub fn applicable<'a>(
    policies: &'a [Policy],
    assignments: &[Assignment],
    user: Option<Id>,
    roles: &BTreeSet<Id>,
) -> Vec<Applicable<'a>> {
    let mut best: HashMap<Id, (i32, u8)> = HashMap::new();
    for assignment in assignments.iter().filter(|entry| entry.scope.reaches(user, roles)) {
        let place = (assignment.priority, assignment.scope.rank());
        best.entry(assignment.policy_id)
            .and_modify(|known| *known = place.min(*known))
            .or_insert(place);
    }
    let mut applicable: Vec<Applicable> = policies
        .iter()
        .filter(|policy| policy.is_enabled)
        .filter_map(|policy| {
            let &(priority, scope_rank) = best.get(&policy.id)?;
            Some(Applicable {
                policy,
                priority,
                scope_rank,
                fires: true,
            })
        })
        .collect();
    // Names are unique; the id is there so that even a damaged catalog gives one order.
    let place = |entry: &Applicable<'a>| {
        (
            entry.priority,
            entry.scope_rank,
            entry.policy.name.as_str(),
            entry.policy.id,
        )
    };
    applicable.sort_by(|a, b| place(a).cmp(&place(b)));
    applicable
}
