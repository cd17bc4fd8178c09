//! Statements inside what an administrator trusts.
//!
//! Invariant: only what the trusted view or function says itself is left alone. What others can put into the same statement is
//! governed as ever: views of owners who are not exempt, their tables' row security, and their tables' rules.

use std::collections::HashSet;

use pgrx::pg_sys::{self, Node, NodeTag, Oid, Query, QuerySource, RTEKind, RangeTblEntry};

use super::Rewriter;
use crate::identity;
use crate::pg::walk::{self, Walk};
use crate::pg::{compat, list, nodes, relation};

/// What trusted relations are marked with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The statement's proof: a trusted view is read by any statement.
    Proof,
    /// Nothing, so that the plan of a trusted function's statement cannot be run anywhere else.
    Nothing,
}

impl Rewriter {
    /// Whether a statement that a trusted function issues is the function's own: neither made by a rule nor changed by one
    /// whose owner is not exempt.
    ///
    /// # Safety
    /// `query` is a valid rewritten query.
    pub(super) unsafe fn is_own_statement(&self, query: *mut Query) -> bool {
        if (*query).querySource != QuerySource::QSRC_ORIGINAL {
            return false;
        }
        let target = (*query).resultRelation as usize;
        target == 0 || {
            let relid = (*nodes::rte(query, target)).relid;
            !relation::has_rules(relid) || self.owner_is_exempt(relid)
        }
    }

    /// Rewrites one level of a trusted statement and those below it.
    ///
    /// # Safety
    /// `query` is a rewritten query that may be modified.
    pub(super) unsafe fn trusted(&self, query: *mut Query, mark: Mark) {
        pg_sys::check_stack_depth();
        let mut foreign = HashSet::new();
        for rte in list::iter::<RangeTblEntry>((*query).rtable) {
            self.foreign_conditions((*rte).securityQuals.cast(), &mut foreign);
            match (*rte).rtekind {
                RTEKind::RTE_RELATION if mark == Mark::Proof => self.prove(rte),
                RTEKind::RTE_SUBQUERY if !(*rte).subquery.is_null() => match compat::view_of_subquery(rte) {
                    Some(view) if !self.vouched_for(view) => self.query((*rte).subquery),
                    _ => self.trusted((*rte).subquery, mark),
                },
                _ => {}
            }
        }
        self.foreign_conditions((*query).withCheckOptions.cast(), &mut foreign);
        let flags = pg_sys::QTW_IGNORE_RT_SUBQUERIES;
        walk::walk_query(query, flags, &mut |node, _| {
            if !nodes::is_a(node, NodeTag::T_Query) {
                return Walk::Into;
            }
            if !foreign.contains(&node) {
                self.trusted(node.cast(), mark);
            }
            Walk::Over
        });
    }

    /// Governs the subqueries in conditions that a table's owner attached to it.
    unsafe fn foreign_conditions(&self, conditions: *mut Node, foreign: &mut HashSet<*mut Node>) {
        walk::walk(conditions, &mut |node, _| {
            if !nodes::is_a(node, NodeTag::T_Query) {
                return Walk::Into;
            }
            foreign.insert(node);
            self.query(node.cast());
            Walk::Over
        });
    }

    /// Whether an administrator answers for a view: it is trusted itself, or its owner is exempt.
    fn vouched_for(&self, view: Oid) -> bool {
        self.session
            .catalog
            .trusted
            .contains(&(pg_sys::RelationRelationId, view))
            || self.owner_is_exempt(view)
    }

    fn owner_is_exempt(&self, relid: Oid) -> bool {
        relation::owner(relid).is_some_and(|owner| identity::is_exempt(&self.session.catalog, owner))
    }
}
