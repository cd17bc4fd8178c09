//! Which roles a subject has: its direct ones and what they inherit.
//!
//! Writers keep the graph acyclic and at most [`MAX_DEPTH`] deep with [`RoleGraph::check_new_parent`]. Readers do not
//! rely on it: a catalog that was damaged by other means still gives an answer, in bounded time.

use crate::model::Id;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

/// Most steps from a role to its farthest ancestor.
pub const MAX_DEPTH: usize = 10;

/// The roles of a database and who inherits from whom.
#[derive(Debug, Clone, Default)]
pub struct RoleGraph {
    roles: HashMap<Id, Role>,
    ids: HashMap<String, Id>,
}

#[derive(Debug, Clone)]
struct Role {
    name: String,
    is_active: bool,
    parents: Vec<Id>,
    children: Vec<Id>,
}

/// Why a role cannot become the parent of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleError {
    /// A role cannot be its own parent.
    Itself,
    /// The parent inherits from the role already.
    Cycle,
    /// Some chain of roles would be longer than [`MAX_DEPTH`] steps.
    TooDeep,
}

impl fmt::Display for RoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RoleError::Itself => f.write_str("a role cannot be its own parent"),
            RoleError::Cycle => f.write_str("the parent already inherits from the role"),
            RoleError::TooDeep => write!(f, "roles cannot inherit through more than {MAX_DEPTH} steps"),
        }
    }
}

impl std::error::Error for RoleError {}

impl RoleGraph {
    /// A graph of roles `(id, name, is_active)` and edges `(role, parent)`. Edges of unknown roles are left out.
    pub fn new(
        roles: impl IntoIterator<Item = (Id, String, bool)>,
        parents: impl IntoIterator<Item = (Id, Id)>,
    ) -> Self {
        let mut graph = RoleGraph::default();
        for (id, name, is_active) in roles {
            graph.ids.insert(name.clone(), id);
            graph.roles.insert(
                id,
                Role {
                    name,
                    is_active,
                    parents: Vec::new(),
                    children: Vec::new(),
                },
            );
        }
        for (role, parent) in parents {
            if graph.roles.contains_key(&role) && graph.roles.contains_key(&parent) {
                graph.roles.entry(role).and_modify(|entry| entry.parents.push(parent));
                graph.roles.entry(parent).and_modify(|entry| entry.children.push(role));
            }
        }
        graph
    }

    /// The role of that name.
    pub fn id(&self, name: &str) -> Option<Id> {
        self.ids.get(name).copied()
    }

    /// The name of a role.
    pub fn name(&self, id: Id) -> Option<&str> {
        self.roles.get(&id).map(|role| role.name.as_str())
    }

    /// The active roles among `direct` and their active ancestors.
    ///
    /// An inactive role contributes nothing and cuts off what lies above it; a role above it still counts when another
    /// path reaches it. Unknown ids are ignored, ancestors more than [`MAX_DEPTH`] steps away too.
    pub fn active_roles(&self, direct: impl Iterator<Item = Id>) -> BTreeSet<Id> {
        let mut found = BTreeSet::new();
        let mut level: Vec<Id> = direct.collect();
        for _ in 0..=MAX_DEPTH {
            let mut above = Vec::new();
            for id in level {
                if let Some(role) = self.roles.get(&id).filter(|role| role.is_active)
                    && found.insert(id)
                {
                    above.extend(&role.parents);
                }
            }
            level = above;
        }
        found
    }

    /// Whether `role` may get the parent `parent`. An edge that exists already is judged as if it were new.
    pub fn check_new_parent(&self, role: Id, parent: Id) -> Result<(), RoleError> {
        if role == parent {
            return Err(RoleError::Itself);
        }
        if self.inherits(parent, role) {
            return Err(RoleError::Cycle);
        }
        let steps = self.height(role, |role| &role.children) + 1 + self.height(parent, |role| &role.parents);
        if steps > MAX_DEPTH {
            Err(RoleError::TooDeep)
        } else {
            Ok(())
        }
    }

    /// The roles that writers should never have let happen: those more than [`MAX_DEPTH`] steps below some ancestor, and
    /// those in or below a cycle. In the order of their ids, in time proportional to the graph.
    pub fn defects(&self) -> Vec<(Id, RoleError)> {
        let mut pending: HashMap<Id, usize> = self.roles.iter().map(|(&id, role)| (id, role.parents.len())).collect();
        let mut ready: Vec<Id> = pending
            .iter()
            .filter(|&(_, &parents)| parents == 0)
            .map(|(&id, _)| id)
            .collect();
        let mut heights: HashMap<Id, usize> = ready.iter().map(|&id| (id, 0)).collect();
        while let Some(id) = ready.pop() {
            let below = heights[&id] + 1;
            for &child in &self.roles[&id].children {
                heights
                    .entry(child)
                    .and_modify(|height| *height = below.max(*height))
                    .or_insert(below);
                if let Some(parents) = pending.get_mut(&child) {
                    *parents -= 1;
                    if *parents == 0 {
                        ready.push(child);
                    }
                }
            }
        }
        let in_cycle = |id: &Id| pending[id] > 0;
        let mut defects: Vec<(Id, RoleError)> = (self.roles.keys())
            .filter_map(|id| match heights.get(id) {
                _ if in_cycle(id) => Some((*id, RoleError::Cycle)),
                Some(&height) if height > MAX_DEPTH => Some((*id, RoleError::TooDeep)),
                _ => None,
            })
            .collect();
        defects.sort_unstable_by_key(|(id, _)| *id);
        defects
    }

    /// Whether `ancestor` lies above `role`, inactive roles included.
    fn inherits(&self, role: Id, ancestor: Id) -> bool {
        let mut seen = HashSet::new();
        let mut open = vec![role];
        while let Some(id) = open.pop() {
            if id == ancestor {
                return true;
            }
            if seen.insert(id) {
                open.extend(self.roles.get(&id).into_iter().flat_map(|role| &role.parents));
            }
        }
        false
    }

    /// Steps of the longest chain that starts at `from`; counting stops just above [`MAX_DEPTH`].
    fn height(&self, from: Id, next: impl Fn(&Role) -> &Vec<Id>) -> usize {
        let mut level = HashSet::from([from]);
        for steps in 0..=MAX_DEPTH {
            level = level
                .iter()
                .filter_map(|id| self.roles.get(id))
                .flat_map(&next)
                .copied()
                .collect();
            if level.is_empty() {
                return steps;
            }
        }
        MAX_DEPTH + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(roles: &[(Id, bool)], parents: &[(Id, Id)]) -> RoleGraph {
        RoleGraph::new(
            roles.iter().map(|&(id, active)| (id, format!("r{id}"), active)),
            parents.iter().copied(),
        )
    }

    fn active(graph: &RoleGraph, direct: &[Id]) -> Vec<Id> {
        graph.active_roles(direct.iter().copied()).into_iter().collect()
    }

    #[test]
    fn ancestors_count_and_inactive_roles_cut_off_their_path() {
        let graph = graph(
            &[(1, true), (2, false), (3, true), (4, true)],
            &[(1, 2), (2, 3), (4, 3)],
        );
        assert_eq!(active(&graph, &[1]), [1]);
        assert_eq!(active(&graph, &[2]), []);
        assert_eq!(active(&graph, &[1, 4]), [1, 3, 4]);
        assert_eq!(active(&graph, &[99]), []);
    }

    #[test]
    fn a_cyclic_catalog_gives_an_answer() {
        let graph = graph(&[(1, true), (2, true), (3, true)], &[(1, 2), (2, 3), (3, 1), (2, 2)]);
        assert_eq!(active(&graph, &[2]), [1, 2, 3]);
        assert_eq!(graph.check_new_parent(1, 3), Err(RoleError::Cycle));
        assert_eq!(graph.defects(), [1, 2, 3].map(|id| (id, RoleError::Cycle)));
        // Neither search for a cycle nor for the longest chain may run in circles.
        assert_eq!(graph.check_new_parent(9, 1), Err(RoleError::TooDeep));
    }

    #[test]
    fn chains_that_are_too_long_are_defects() {
        let roles: Vec<(Id, bool)> = (0..=11).map(|id| (id, true)).collect();
        let chain: Vec<(Id, Id)> = (0..11).map(|id| (id, id + 1)).collect();
        assert_eq!(graph(&roles, &chain).defects(), [(0, RoleError::TooDeep)]);
        assert_eq!(graph(&roles, &chain[1..]).defects(), []);
        assert_eq!(active(&graph(&roles, &chain), &[0]), (0..=10).collect::<Vec<Id>>());
    }

    #[test]
    fn a_new_parent_must_not_close_a_cycle_or_make_a_chain_too_long() {
        let roles: Vec<(Id, bool)> = (0..=12).map(|id| (id, true)).collect();
        // 0 → 1 → … → 10 is as deep as it gets; 11 and 12 are on their own.
        let chain: Vec<(Id, Id)> = (0..10).map(|id| (id, id + 1)).collect();
        let graph = graph(&roles, &chain);
        assert_eq!(graph.check_new_parent(3, 3), Err(RoleError::Itself));
        assert_eq!(graph.check_new_parent(10, 0), Err(RoleError::Cycle));
        assert_eq!(graph.check_new_parent(10, 11), Err(RoleError::TooDeep));
        assert_eq!(graph.check_new_parent(11, 0), Err(RoleError::TooDeep));
        assert_eq!(graph.check_new_parent(9, 11), Ok(()));
        assert_eq!(graph.check_new_parent(11, 1), Ok(()));
        assert_eq!(graph.check_new_parent(11, 12), Ok(()));
        assert_eq!(active(&graph, &[0]), (0..=10).collect::<Vec<Id>>());
    }

    #[test]
    fn names_and_ids_find_each_other() {
        let graph = graph(&[(7, true)], &[(7, 8)]);
        assert_eq!(graph.id("r7"), Some(7));
        assert_eq!(graph.name(7), Some("r7"));
        assert_eq!(graph.id("r8"), None);
        assert_eq!(graph.name(8), None);
    }
}
