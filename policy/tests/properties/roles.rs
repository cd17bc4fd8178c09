//! Role resolution on arbitrary graphs, cyclic and deep ones included.

use policy::model::Id;
use policy::roles::{MAX_DEPTH, RoleError, RoleGraph};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const ROLES: u8 = 16;

fn id() -> impl Strategy<Value = Id> {
    (0..ROLES).prop_map(Id::from)
}

/// Edges that often make long chains and cycles: mostly from a role to the next one.
fn edges() -> impl Strategy<Value = Vec<(Id, Id)>> {
    let chained = id().prop_map(|role| (role, (role + 1) % Id::from(ROLES)));
    proptest::collection::vec(prop_oneof![4 => chained, 1 => (id(), id())], 0..40)
}

fn activity() -> impl Strategy<Value = Vec<bool>> {
    proptest::collection::vec(proptest::bool::weighted(0.9), usize::from(ROLES))
}

fn graph(active: &[bool], edges: &[(Id, Id)]) -> RoleGraph {
    let roles = (0..ROLES).map(|id| (Id::from(id), format!("r{id}"), active[usize::from(id)]));
    RoleGraph::new(roles, edges.iter().copied())
}

/// The steps of the longest chain among the edges, or `None` if there is a cycle.
fn longest_chain(edges: &[(Id, Id)]) -> Option<usize> {
    let mut steps: BTreeMap<Id, usize> = BTreeMap::new();
    for _ in 0..=ROLES {
        let before = steps.clone();
        for (role, parent) in edges {
            let above = steps.get(parent).copied().unwrap_or(0);
            let known = steps.entry(*role).or_insert(0);
            *known = (above + 1).max(*known);
        }
        if steps == before {
            return Some(steps.values().copied().max().unwrap_or(0));
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_role_counts_if_a_path_of_active_roles_leads_to_it(
        edges in edges(), active in activity(), direct in proptest::collection::vec(id(), 0..4),
    ) {
        let is_active = |id: &Id| active[*id as usize];
        let mut expected: BTreeSet<Id> = direct.iter().copied().filter(is_active).collect();
        for _ in 0..MAX_DEPTH {
            let above = edges.iter().filter(|(role, _)| expected.contains(role)).map(|(_, parent)| *parent);
            let above: Vec<Id> = above.filter(is_active).collect();
            expected.extend(above);
        }
        prop_assert_eq!(graph(&active, &edges).active_roles(direct.into_iter()), expected);
    }

    #[test]
    fn a_new_parent_is_refused_exactly_if_it_makes_a_cycle_or_too_long_a_chain(edges in edges(), active in activity()) {
        let mut accepted: Vec<(Id, Id)> = Vec::new();
        for (role, parent) in edges {
            let verdict = graph(&active, &accepted).check_new_parent(role, parent);
            accepted.push((role, parent));
            let expected = match longest_chain(&accepted) {
                _ if role == parent => Err(RoleError::Itself),
                None => Err(RoleError::Cycle),
                Some(steps) if steps > MAX_DEPTH => Err(RoleError::TooDeep),
                Some(_) => Ok(()),
            };
            prop_assert_eq!(verdict, expected);
            if verdict.is_err() {
                accepted.pop();
            }
        }
        prop_assert_eq!(graph(&active, &accepted).defects(), []);
    }

    #[test]
    fn a_graph_has_defects_exactly_if_it_has_a_cycle_or_too_long_a_chain(edges in edges(), active in activity()) {
        let defects: BTreeSet<_> = graph(&active, &edges).defects().into_iter().map(|(_, defect)| defect.to_string()).collect();
        match longest_chain(&edges) {
            None => prop_assert!(defects.contains(&RoleError::Cycle.to_string())),
            Some(steps) if steps > MAX_DEPTH => prop_assert_eq!(defects, BTreeSet::from([RoleError::TooDeep.to_string()])),
            Some(_) => prop_assert!(defects.is_empty()),
        }
    }
}
