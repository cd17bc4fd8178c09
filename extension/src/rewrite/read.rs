//! Relations that are read: each becomes a subquery over itself, which the planner pulls up.

use std::collections::BTreeMap;

use pgrx::pg_sys::{self, Node, NodeTag, Oid, Query, RTEKind, RangeTblEntry, RowMarkClause};

use super::Rewriter;
use crate::catalog::governance::Governance;
use crate::expression::{instantiate, ready};
use crate::pg::walk::{self, Walk};
use crate::pg::{compat, list, nodes};
use crate::visibility;

/// A column of a Var's relation that is no user column: system columns and the whole row (0).
struct Extra {
    type_oid: Oid,
    typmod: i32,
    collation: Oid,
}

impl Rewriter {
    /// Puts a subquery in the place of a governed relation.
    ///
    /// # Safety
    /// Entry `index` of `query` is a relation that is read.
    pub(super) unsafe fn wrap(&self, query: *mut Query, index: usize, governance: &Governance, waived: bool) {
        let rte = nodes::rte(query, index);
        let inner: *mut RangeTblEntry = nodes::make(NodeTag::T_RangeTblEntry);
        *inner = *rte;
        (*inner).alias = std::ptr::null_mut();
        (*inner).eref = nodes::copy((*rte).eref);
        (*inner).inFromCl = true;
        (*inner).lateral = false;
        // Native row security is about the relation, which becomes the first of its subquery. Taken off the outer entry
        // before that one's references are counted.
        (*rte).securityQuals = std::ptr::null_mut();
        pg_sys::ChangeVarNodes((*inner).securityQuals.cast(), index as i32, 1, 0);

        let subquery = self.subselect(query, index, inner, governance, waived);
        (*subquery).hasSubLinks |= instantiate::has_sublinks((*inner).securityQuals.cast());
        compat::move_permissions(query, rte, subquery, inner);
        (*rte).lateral = self.move_tablesample(inner);

        let filter = self.filter(governance, 1);
        if !filter.is_null() {
            (*subquery).hasSubLinks |= instantiate::has_sublinks(filter);
            // A foreign server would evaluate the user's conditions beside the filter, on rows that the filter excludes:
            // nothing may be moved into the subquery there.
            let foreign = governance.reaches_foreign();
            if self.barrier && !foreign {
                (*inner).securityQuals = pg_sys::lcons(filter.cast(), (*inner).securityQuals);
            } else {
                (*(*subquery).jointree).quals = filter;
            }
            (*rte).security_barrier = foreign;
        }

        (*rte).rtekind = RTEKind::RTE_SUBQUERY;
        (*rte).subquery = subquery;
        (*rte).tablesample = std::ptr::null_mut();
        (*rte).inh = false;
        (*rte).enrname = std::ptr::null_mut();
    }

    /// Puts a subquery around an expanded view that policies are about by its name.
    ///
    /// # Safety
    /// Entry `index` of `query` is a view's subquery.
    pub(super) unsafe fn wrap_view(&self, query: *mut Query, index: usize, governance: &Governance, waived: bool) {
        let rte = nodes::rte(query, index);
        let inner: *mut RangeTblEntry = nodes::make(NodeTag::T_RangeTblEntry);
        *inner = *rte;
        (*inner).eref = nodes::copy((*rte).eref);
        (*inner).inFromCl = true;
        (*inner).lateral = false;
        let subquery = self.subselect(query, index, inner, governance, waived);
        compat::move_permissions(query, rte, subquery, inner);
        let filter = self.filter(governance, 1);
        if !filter.is_null() {
            (*subquery).hasSubLinks |= instantiate::has_sublinks(filter);
            (*(*subquery).jointree).quals = filter;
        }
        (*rte).subquery = subquery;
        // Quals on a subquery's entry are lost when it is pulled up, so that a barrier is the only way to keep the user's
        // functions from rows that the filter excludes.
        (*rte).security_barrier = self.barrier && !filter.is_null();
        (*rte).securityQuals = std::ptr::null_mut();
    }

    /// Filters a system catalog so that what is hidden is not found in it. Other relations are left alone.
    ///
    /// # Safety
    /// Entry `index` of `query` reads `relid`.
    pub(super) unsafe fn filter_catalog(&self, query: *mut Query, index: usize, relid: Oid) {
        if !visibility::filters(&self.session, relid) {
            return;
        }
        let rte = nodes::rte(query, index);
        self.prove(rte);
        // Only superusers, who are exempt, can write to system catalogs.
        if index != (*query).resultRelation as usize {
            let filter = visibility::quals(&self.session, relid, index as i32);
            (*rte).securityQuals = pg_sys::lcons(filter.cast(), (*rte).securityQuals);
        }
    }

    /// `SELECT columns FROM inner`, with extra output columns for the system columns and the whole row where the statement
    /// uses them: made above an outer join, a row constructor would never be NULL.
    unsafe fn subselect(
        &self,
        query: *mut Query,
        index: usize,
        inner: *mut RangeTblEntry,
        governance: &Governance,
        waived: bool,
    ) -> *mut Query {
        let subquery: *mut Query = nodes::make(NodeTag::T_Query);
        (*subquery).commandType = pg_sys::CmdType::CMD_SELECT;
        (*subquery).querySource = pg_sys::QuerySource::QSRC_ORIGINAL;
        (*subquery).canSetTag = true;
        (*subquery).hasRowSecurity = true;
        (*subquery).stmt_location = -1;
        (*subquery).rtable = list::of(inner);
        let reference = nodes::make::<pg_sys::RangeTblRef>(NodeTag::T_RangeTblRef);
        (*reference).rtindex = 1;
        (*subquery).jointree = pg_sys::makeFromExpr(list::of(reference), std::ptr::null_mut());

        let (mut targets, mut has_sublinks) = self.columns(governance, waived);
        let mut resno = governance.columns.len();
        let extras = extras(query, index);
        let mut renumbered = BTreeMap::new();
        for (attno, extra) in &extras {
            resno += 1;
            let expr = if *attno == 0 {
                let row = self.whole_row(governance, extra.type_oid, 1, waived);
                has_sublinks |= instantiate::has_sublinks(row);
                row
            } else {
                nodes::var(1, *attno, extra.type_oid, extra.typmod, extra.collation).cast()
            };
            let name = if *attno == 0 {
                "wholerow".to_owned()
            } else {
                format!("system{}", -attno)
            };
            targets = list::push(targets, nodes::target(expr, resno, &name));
            let rte = nodes::rte(query, index);
            let eref = nodes::copy((*rte).eref);
            while list::len((*eref).colnames) + 1 < resno {
                (*eref).colnames = list::push((*eref).colnames, pg_sys::makeString(nodes::pstr("")));
            }
            (*eref).colnames = list::push((*eref).colnames, pg_sys::makeString(nodes::pstr(&name)));
            (*rte).eref = eref;
            renumbered.insert(*attno, resno as i16);
        }
        (*subquery).targetList = targets;
        (*subquery).hasSubLinks = has_sublinks;
        renumber(query, index, &renumbered);

        for mark in list::iter::<RowMarkClause>((*query).rowMarks) {
            if (*mark).rti as usize == index {
                let own: *mut RowMarkClause = nodes::copy(mark);
                (*own).rti = 1;
                // Locked because the outer level says so: `hasForUpdate` stays false, or the subquery would not be pulled
                // up and every row would be locked before a LIMIT.
                (*own).pushedDown = true;
                (*subquery).rowMarks = list::push((*subquery).rowMarks, own);
            }
        }
        subquery
    }

    /// What the subject gets for each column, with Vars of varno 1, and whether there are subqueries in it.
    unsafe fn columns(&self, governance: &Governance, waived: bool) -> (*mut pg_sys::List, bool) {
        let key = ready::Key::Columns {
            digest: self.session.subject.digest,
            firing: self.session.firing.digest,
            relid: governance.relid,
            waived,
        };
        if let Some(ready) = ready::find(&key) {
            return (ready.cast(), false);
        }
        let mut targets = std::ptr::null_mut();
        for (resno, column) in (1..).zip(&governance.columns) {
            let expr = self.column(governance, column.facts.attno, 1, waived);
            targets = list::push(targets, nodes::target(expr, resno, &column.facts.name));
        }
        let has_sublinks = instantiate::has_sublinks(targets.cast());
        if !has_sublinks {
            ready::keep(self.changes, key, targets.cast());
        }
        (targets, has_sublinks)
    }

    /// The whole row as a value of the relation's row type, masked, with NULL for hidden and dropped columns.
    pub(super) unsafe fn whole_row(
        &self,
        governance: &Governance,
        type_oid: Oid,
        varno: i32,
        waived: bool,
    ) -> *mut Node {
        if !governance.alters_columns(waived) {
            return nodes::var(varno, 0, type_oid, -1, Oid::INVALID).cast();
        }
        let row = nodes::make::<pg_sys::RowExpr>(NodeTag::T_RowExpr);
        for column in &governance.columns {
            (*row).args = list::push((*row).args, self.column(governance, column.facts.attno, varno, waived));
        }
        (*row).row_typeid = type_oid;
        (*row).row_format = pg_sys::CoercionForm::COERCE_IMPLICIT_CAST;
        (*row).location = -1;
        row.cast()
    }

    /// A TABLESAMPLE's arguments may refer to other entries, which now are one level up. Returns whether they do.
    unsafe fn move_tablesample(&self, inner: *mut RangeTblEntry) -> bool {
        if (*inner).tablesample.is_null() {
            return false;
        }
        let sample = nodes::copy((*inner).tablesample);
        (*inner).tablesample = sample;
        pg_sys::IncrementVarSublevelsUp(sample.cast(), 1, 0);
        walk::walk(sample.cast(), &mut |node, _| {
            if nodes::is_a(node, NodeTag::T_Var) {
                Walk::Stop
            } else {
                Walk::Into
            }
        })
    }
}

/// The system columns and whole-row references to an entry, from its own and from deeper levels.
unsafe fn extras(query: *mut Query, index: usize) -> BTreeMap<i16, Extra> {
    let mut found = BTreeMap::new();
    // Most statements use none of any relation, which is quickly seen.
    if walk::every_node(query, &mut (), is_no_extra) {
        return found;
    }
    walk::walk_query(query, 0, &mut |node, level| {
        if nodes::is_a(node, NodeTag::T_Var) {
            let var = node.cast::<pg_sys::Var>();
            if (*var).varno as usize == index && (*var).varlevelsup == level && (*var).varattno <= 0 {
                found.insert(
                    (*var).varattno,
                    Extra {
                        type_oid: (*var).vartype,
                        typmod: (*var).vartypmod,
                        collation: (*var).varcollid,
                    },
                );
            }
        }
        Walk::Into
    });
    found
}

unsafe fn is_no_extra(_context: &mut (), node: *mut Node) -> bool {
    !nodes::is_a(node, NodeTag::T_Var) || (*node.cast::<pg_sys::Var>()).varattno > 0
}

/// Points references to system columns and the whole row to the extra output columns.
unsafe fn renumber(query: *mut Query, index: usize, renumbered: &BTreeMap<i16, i16>) {
    if renumbered.is_empty() {
        return;
    }
    walk::walk_query(query, 0, &mut |node, level| {
        if nodes::is_a(node, NodeTag::T_Var) {
            let var = node.cast::<pg_sys::Var>();
            if (*var).varno as usize == index
                && (*var).varlevelsup == level
                && let Some(attno) = renumbered.get(&(*var).varattno)
            {
                (*var).varattno = *attno;
                (*var).varattnosyn = *attno;
            }
        }
        Walk::Into
    });
}
