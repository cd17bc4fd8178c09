//! Relations that are written: the result relation of INSERT, UPDATE, DELETE and MERGE.
//!
//! Invariant: only visible rows are changed, new rows fulfil the filters, no masked value is written back, and nothing that
//! the statement computes from the old row sees a raw value.

use pgrx::pg_sys::{self, CmdType, Node, NodeTag, Oid, Query, WCOKind, WithCheckOption};
use policy::model::Definition;

use super::Rewriter;
use crate::catalog::governance::{Governance, Reading};
use crate::errors;
use crate::expression::instantiate;
use crate::pg::walk::{self};
use crate::pg::{compat, list, nodes, relation};

impl Rewriter {
    /// Treats the result relation.
    ///
    /// # Safety
    /// Entry `index` is `query`'s result relation.
    pub(super) unsafe fn target(&self, query: *mut Query, index: usize, governance: &Governance, waived: bool) {
        if relation::is_view(governance.relid) {
            errors::unsupported(
                "cannot modify a view that policies restrict",
                "Modify the table that the view selects from.",
            );
        }
        self.refuse_masked_writes(query, index, governance, waived);
        if !(*query).onConflict.is_null() {
            self.refuse_masked_arbiters(query, governance, waived);
        }
        if governance.alters_columns(waived) {
            self.mask_target(query, index, governance, waived);
        }
        self.restrict_rows(query, index, governance);
        self.check_new_rows(query, index, governance);
    }

    /// A masked column may be set only where the mask says so, a hidden one never.
    unsafe fn refuse_masked_writes(&self, query: *mut Query, index: usize, governance: &Governance, waived: bool) {
        let Some(permissions) = compat::permissions(query, nodes::rte(query, index)) else {
            return;
        };
        let written = pg_sys::bms_union(permissions.inserted, permissions.updated);
        let mut member = -1;
        loop {
            member = pg_sys::bms_next_member(written, member);
            if member < 0 {
                return;
            }
            let attno = (member + pg_sys::FirstLowInvalidHeapAttributeNumber) as i16;
            for reading in readings(governance, attno, waived) {
                match reading {
                    Reading::Raw | Reading::Blank => {}
                    Reading::Hidden => errors::hidden_column_write(),
                    Reading::Mask(policy) => {
                        if !self.is_writable(policy) {
                            errors::masked_column_write(&governance.columns[attno as usize - 1].facts.name);
                        }
                    }
                }
            }
        }
    }

    fn is_writable(&self, policy: usize) -> bool {
        matches!(
            self.session.catalog.policies[policy].definition,
            Definition::ColumnMask { writable: true, .. }
        )
    }

    /// Whether a row conflicts tells whether a value exists, so that indexes on masked columns are no arbiters.
    unsafe fn refuse_masked_arbiters(&self, query: *mut Query, governance: &Governance, waived: bool) {
        let conflict = (*query).onConflict;
        let mut columns = Vec::new();
        if (*conflict).constraint != Oid::INVALID {
            columns = relation::constraint_columns((*conflict).constraint);
        }
        for element in [(*conflict).arbiterElems.cast::<Node>(), (*conflict).arbiterWhere] {
            walk::walk(element, &mut |node, _| {
                if nodes::is_a(node, NodeTag::T_Var) {
                    columns.push((*node.cast::<pg_sys::Var>()).varattno);
                }
                walk::Walk::Into
            });
        }
        let whole_row = columns.contains(&0) && governance.alters_columns(waived);
        if whole_row
            || columns
                .iter()
                .any(|attno| readings(governance, *attno, waived).any(|r| r != Reading::Raw))
        {
            errors::unsupported(
                "cannot use a column that a policy restricts to detect conflicts",
                "Name a constraint on other columns in ON CONFLICT.",
            );
        }
    }

    /// Replaces the Vars of the target everywhere, so that quals, SET, RETURNING and MERGE actions see masked values.
    unsafe fn mask_target(&self, query: *mut Query, index: usize, governance: &Governance, waived: bool) {
        let rte = nodes::rte(query, index);
        // Native row security was written for raw values. Its quals come before those of views in the list.
        let native = native_quals(query, index);
        let kept: Vec<*mut Node> = list::iter((*rte).securityQuals).take(native).collect();
        for _ in 0..native {
            (*rte).securityQuals = pg_sys::list_delete_first((*rte).securityQuals);
        }
        let checks = (*query).withCheckOptions;
        let is_native = |check: *mut WithCheckOption| (*check).kind != WCOKind::WCO_VIEW_CHECK;
        let (mut native_checks, mut view_checks) = (std::ptr::null_mut(), std::ptr::null_mut());
        for check in list::iter::<WithCheckOption>(checks) {
            let list = if is_native(check) {
                &mut native_checks
            } else {
                &mut view_checks
            };
            *list = list::push(*list, check);
        }
        (*query).withCheckOptions = view_checks;

        let varno = index as i32;
        walk::mutate_query(query, true, &mut |node, level| {
            if !nodes::is_a(node, NodeTag::T_Var) {
                return None;
            }
            let var = node.cast::<pg_sys::Var>();
            if (*var).varno != varno || (*var).varlevelsup != level {
                return None;
            }
            let new = match (*var).varattno {
                0 => self.whole_row(governance, (*var).vartype, varno, waived),
                attno if attno < 0 => return None,
                attno if readings(governance, attno, waived).all(|reading| reading == Reading::Raw) => return None,
                attno => self.column(governance, attno, varno, waived),
            };
            pg_sys::IncrementVarSublevelsUp(new, level as i32, 0);
            #[cfg(feature = "pg18")]
            if let Some(old) = compat::returning_type(var) {
                return Some(compat::apply_returning(new, varno, level, old));
            }
            Some(new)
        });

        let rte = nodes::rte(query, index);
        for qual in kept.into_iter().rev() {
            (*rte).securityQuals = pg_sys::lcons(qual.cast(), (*rte).securityQuals);
        }
        (*query).withCheckOptions = pg_sys::list_concat(native_checks, (*query).withCheckOptions);
    }

    /// UPDATE, DELETE and MERGE find visible rows only.
    unsafe fn restrict_rows(&self, query: *mut Query, index: usize, governance: &Governance) {
        if (*query).commandType == CmdType::CMD_INSERT {
            return;
        }
        let filter = self.filter(governance, index as i32);
        if filter.is_null() {
            return;
        }
        (*query).hasSubLinks |= instantiate::has_sublinks(filter);
        let rte = nodes::rte(query, index);
        let merge = (*query).commandType == CmdType::CMD_MERGE;
        if self.barrier || merge || relation::is_foreign(governance.relid) {
            (*rte).securityQuals = pg_sys::lcons(filter.cast(), (*rte).securityQuals);
        } else {
            let jointree = (*query).jointree;
            let quals = [filter, (*jointree).quals];
            (*jointree).quals = nodes::and(&quals[..if quals[1].is_null() { 1 } else { 2 }]);
        }
    }

    /// New rows have to fulfil the filters' checks, and a row that ON CONFLICT DO UPDATE runs into has to be visible.
    unsafe fn check_new_rows(&self, query: *mut Query, index: usize, governance: &Governance) {
        let varno = index as i32;
        let insert = (*query).commandType == CmdType::CMD_INSERT;
        let merge = (*query).commandType == CmdType::CMD_MERGE;
        let update = (*query).commandType == CmdType::CMD_UPDATE;
        let conflict = !(*query).onConflict.is_null()
            && (*(*query).onConflict).action == pg_sys::OnConflictAction::ONCONFLICT_UPDATE;
        if insert || merge {
            self.add_check(
                query,
                governance,
                WCOKind::WCO_RLS_INSERT_CHECK,
                self.check(governance, varno),
            );
        }
        if update || merge || conflict {
            self.add_check(
                query,
                governance,
                WCOKind::WCO_RLS_UPDATE_CHECK,
                self.check(governance, varno),
            );
        }
        if conflict {
            self.add_check(
                query,
                governance,
                WCOKind::WCO_RLS_CONFLICT_CHECK,
                self.filter(governance, varno),
            );
        }
    }

    unsafe fn add_check(&self, query: *mut Query, governance: &Governance, kind: WCOKind::Type, qual: *mut Node) {
        if qual.is_null() {
            return;
        }
        let check = nodes::make::<WithCheckOption>(NodeTag::T_WithCheckOption);
        (*check).kind = kind;
        (*check).relname = pg_sys::get_rel_name(governance.relid);
        (*check).qual = qual;
        (*check).cascaded = false;
        (*query).hasSubLinks |= instantiate::has_sublinks(qual);
        (*query).withCheckOptions = pg_sys::lcons(check.cast(), (*query).withCheckOptions);
    }
}

/// What the subject gets for a column of the relation and of its exceptional children.
fn readings(governance: &Governance, attno: i16, waived: bool) -> impl Iterator<Item = Reading> {
    let name = usize::try_from(attno - 1)
        .ok()
        .and_then(|index| governance.columns.get(index))
        .map(|c| &c.facts.name);
    let children = governance.exceptions.iter().filter_map(move |child| {
        let name = name?;
        child
            .columns
            .iter()
            .find(|c| !c.facts.dropped && c.facts.name == *name)
            .map(|c| c.reading(true))
    });
    std::iter::once(governance.reading(attno, waived)).chain(children)
}

/// How many of the entry's security quals come from native row security.
unsafe fn native_quals(query: *mut Query, index: usize) -> usize {
    let rte = nodes::rte(query, index);
    if (*rte).securityQuals.is_null() {
        return 0;
    }
    let (mut quals, mut checks) = (std::ptr::null_mut(), std::ptr::null_mut());
    let (mut has_row_security, mut has_sublinks) = (false, false);
    pg_sys::get_row_security_policies(
        query,
        rte,
        index as i32,
        &mut quals,
        &mut checks,
        &mut has_row_security,
        &mut has_sublinks,
    );
    list::len(quals).min(list::len((*rte).securityQuals))
}
