//! Relations that are written: the result relation of INSERT, UPDATE, DELETE and MERGE.
//!
//! Invariant: only visible rows are changed, new rows fulfil the filters, no masked value is written back, and nothing that
//! the statement computes from the old row sees a raw value.

use std::ffi::CStr;

use pgrx::pg_sys::{self, CmdType, Node, NodeTag, Oid, Query, RTEKind, RangeTblEntry, WCOKind, WithCheckOption};
use pgrx::prelude::*;
use policy::model::Definition;

use super::Rewriter;
use crate::catalog::governance::{Governance, Reading, State};
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
            self.refuse_masked_arbiters(query, index, governance, waived);
        }
        if governance.alters_columns(waived) {
            // A mask that cannot be applied closes the table, also to statements that do without its column.
            for column in &governance.columns {
                self.column(governance, column.facts.attno, index as i32, waived);
            }
            self.mask_target(query, index, governance, waived);
        }
        self.restrict_rows(query, index, governance);
        self.check_new_rows(query, index, governance);
    }

    /// INSTEAD OF triggers get rows as the subject reads them, and would write masks back or act on them.
    ///
    /// # Safety
    /// `query` was not rewritten yet, at no level.
    pub(super) unsafe fn refuse_masked_triggers(&self, query: *mut Query) {
        let reads_row = matches!(
            (*query).commandType,
            CmdType::CMD_UPDATE | CmdType::CMD_DELETE | CmdType::CMD_MERGE
        );
        if !reads_row || (*query).resultRelation == 0 {
            return;
        }
        let target = nodes::rte(query, (*query).resultRelation as usize);
        if (*target).rtekind != RTEKind::RTE_RELATION || !relation::is_view((*target).relid) {
            return;
        }
        for rte in list::iter::<RangeTblEntry>((*query).rtable) {
            if (*rte).rtekind == RTEKind::RTE_SUBQUERY
                && compat::view_of_subquery(rte) == Some((*target).relid)
                && self.reads_altered_columns((*rte).subquery)
            {
                errors::unsupported(
                    "cannot modify a view whose triggers would get masked values",
                    "Modify the table that the view selects from.",
                );
            }
        }
    }

    /// Whether a query uses a column, at any level, that the subject does not read raw.
    unsafe fn reads_altered_columns(&self, query: *mut Query) -> bool {
        // A join's entry lists all columns of both sides, used or not.
        walk::any_query(query, &mut |query| {
            walk::walk_query(query, pg_sys::QTW_IGNORE_JOINALIASES, &mut |node, level| {
                if nodes::is_a(node, NodeTag::T_Var) && self.is_altered(query, node.cast(), level) {
                    walk::Walk::Stop
                } else {
                    walk::Walk::Into
                }
            })
        })
    }

    /// Whether a Var, found `level` levels below `query`, is a column of `query`'s own relations that is not read raw.
    unsafe fn is_altered(&self, query: *mut Query, var: *mut pg_sys::Var, level: u32) -> bool {
        let entries = list::len((*query).rtable);
        let Some(index) = usize::try_from((*var).varno)
            .ok()
            .filter(|index| (1..=entries).contains(index))
        else {
            return false;
        };
        if (*var).varlevelsup != level {
            return false;
        }
        let (rte, attno) = (nodes::rte(query, index), (*var).varattno);
        match (*rte).rtekind {
            RTEKind::RTE_RELATION => {
                let governance = self.session.governance((*rte).relid);
                let waived = self.is_waived(query, rte);
                governance.state == State::Governed
                    && match attno {
                        0 => governance.alters_columns(waived),
                        _ => readings(&governance, attno, waived).any(|reading| reading != Reading::Raw),
                    }
            }
            RTEKind::RTE_JOIN => {
                let stands_for = |alias: *mut Node| {
                    walk::walk(alias, &mut |node, depth| {
                        if nodes::is_a(node, NodeTag::T_Var) && self.is_altered(query, node.cast(), depth) {
                            walk::Walk::Stop
                        } else {
                            walk::Walk::Into
                        }
                    })
                };
                list::iter::<Node>((*rte).joinaliasvars)
                    .enumerate()
                    .any(|(place, alias)| (attno == 0 || place + 1 == attno as usize) && stands_for(alias))
            }
            _ => false,
        }
    }

    /// A masked column may be set only where the mask says so, a hidden one never.
    unsafe fn refuse_masked_writes(&self, query: *mut Query, index: usize, governance: &Governance, waived: bool) {
        for attno in written_columns(query, index) {
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
    unsafe fn refuse_masked_arbiters(&self, query: *mut Query, index: usize, governance: &Governance, waived: bool) {
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
        if (*conflict).constraint == Oid::INVALID && (*conflict).arbiterElems.is_null() {
            // Every unique index decides: of their columns only those matter that the statement gives values for.
            let written = written_columns(query, index);
            columns = relation::unique_columns(governance.relid);
            columns.retain(|attno| *attno == 0 || written.contains(attno));
            if columns.contains(&0) {
                columns = written;
            }
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
        if self.barrier || merge || governance.reaches_foreign() {
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
            let filter = self.filter(governance, varno);
            protect_conflict_condition((*query).onConflict, filter);
            self.add_check(query, governance, WCOKind::WCO_RLS_CONFLICT_CHECK, filter);
        }
        if governance.reaches_foreign() && (insert || update || merge) {
            self.add_check(
                query,
                governance,
                WCOKind::WCO_VIEW_CHECK,
                self.or_refuse(governance, self.check(governance, varno)),
            );
        }
    }

    /// `CASE WHEN check THEN true ELSE refuse_row() END`. PostgreSQL checks the rows of foreign tables only for views, and
    /// prints the row when such a check fails.
    unsafe fn or_refuse(&self, governance: &Governance, check: *mut Node) -> *mut Node {
        if check.is_null() {
            return check;
        }
        let name = pg_sys::makeConst(
            pg_sys::NAMEOID,
            -1,
            pg_sys::C_COLLATION_OID,
            pg_sys::NAMEDATALEN as i32,
            pg_sys::Datum::from(pg_sys::get_rel_name(governance.relid)),
            false,
            false,
        );
        let schema = self.session.catalog.namespace;
        let refusal = nodes::call(schema, c"refuse_row", list::of(name), &[pg_sys::NAMEOID])
            .unwrap_or_else(|| errors::catalog_unreadable());
        let when = nodes::make::<pg_sys::CaseWhen>(NodeTag::T_CaseWhen);
        (*when).expr = check.cast();
        (*when).result = nodes::boolean(true).cast();
        (*when).location = -1;
        let case = nodes::make::<pg_sys::CaseExpr>(NodeTag::T_CaseExpr);
        (*case).casetype = pg_sys::BOOLOID;
        (*case).args = list::of(when);
        (*case).defresult = refusal.cast();
        (*case).location = -1;
        case.cast()
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

/// Keeps the condition of DO UPDATE from rows that are not visible: the executor asks it before it checks the row, and an
/// answer of no would even spare the check.
unsafe fn protect_conflict_condition(conflict: *mut pg_sys::OnConflictExpr, filter: *mut Node) {
    if filter.is_null() || (*conflict).onConflictWhere.is_null() {
        return;
    }
    let when = nodes::make::<pg_sys::CaseWhen>(NodeTag::T_CaseWhen);
    (*when).expr = nodes::copy(filter).cast();
    (*when).result = (*conflict).onConflictWhere.cast();
    (*when).location = -1;
    let case = nodes::make::<pg_sys::CaseExpr>(NodeTag::T_CaseExpr);
    (*case).casetype = pg_sys::BOOLOID;
    (*case).args = list::of(when);
    (*case).defresult = nodes::boolean(true).cast();
    (*case).location = -1;
    (*conflict).onConflictWhere = case.cast();
}

/// The columns of the result relation that the statement itself gives values for, not those that defaults fill.
unsafe fn written_columns(query: *mut Query, index: usize) -> Vec<i16> {
    let Some(permissions) = compat::permissions(query, nodes::rte(query, index)) else {
        return Vec::new();
    };
    let written = pg_sys::bms_union(permissions.inserted, permissions.updated);
    let mut columns = Vec::new();
    let mut member = -1;
    loop {
        member = pg_sys::bms_next_member(written, member);
        if member < 0 {
            return columns;
        }
        columns.push((member + pg_sys::FirstLowInvalidHeapAttributeNumber) as i16);
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

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn refuse_row(relation: &CStr) -> bool {
    errors::refused_row(&relation.to_string_lossy())
}
