//! Taking out of a plan that is only shown what a subject must not see.
//!
//! The plan has been started and is about to be printed, then ended; it never runs. So fields of plan nodes that only running
//! and printing read can be emptied; plan states stay as they are, apart from what foreign data wrappers and extensions
//! would print on their own.

use std::ffi::{CStr, c_void};

use pgrx::pg_sys::{
    self, Bitmapset, List, NodeTag, Oid, Plan, PlanState, QueryDesc, RTEKind, RangeTblEntry, SubPlanState,
};
use pgrx::prelude::*;

use super::explain::Known;
use crate::catalog::Session;
use crate::pg::{list, nodes, relation};
use crate::visibility;

/// Stands for a name that is not shown.
pub(super) const HIDDEN: &CStr = c"hidden";

struct Context<'a> {
    session: &'a Session,
    known: &'a Known,
    entries: *mut List,
}

/// Empties the plan of everything but its shape and the names that the subject knows.
///
/// # Safety
/// `query_desc` was started for showing only, with a plan that belongs to it alone.
pub(super) unsafe fn conceal(session: &Session, known: &Known, query_desc: *mut QueryDesc) {
    let mut context = Context {
        session,
        known,
        entries: (*(*query_desc).plannedstmt).rtable,
    };
    for entry in list::iter::<RangeTblEntry>(context.entries) {
        context.rename(entry);
    }
    step((*query_desc).planstate, (&raw mut context).cast());
}

#[pg_guard]
unsafe extern "C-unwind" fn step(state: *mut PlanState, context: *mut c_void) -> bool {
    if state.is_null() {
        return false;
    }
    // SAFETY: `context` is the Context of the call of `conceal` that walks; it is not modified meanwhile.
    unsafe {
        (*context.cast::<Context>()).node(state);
        walk_states(state, context)
    }
}

#[cfg(feature = "pg15")]
unsafe fn walk_states(state: *mut PlanState, context: *mut c_void) -> bool {
    unsafe extern "C-unwind" {
        fn planstate_tree_walker(
            state: *mut PlanState,
            walker: unsafe extern "C-unwind" fn(*mut PlanState, *mut c_void) -> bool,
            context: *mut c_void,
        ) -> bool;
    }
    planstate_tree_walker(state, step, context)
}

#[cfg(not(feature = "pg15"))]
unsafe fn walk_states(state: *mut PlanState, context: *mut c_void) -> bool {
    pg_sys::planstate_tree_walker_impl(state, Some(step), context)
}

impl Context<'_> {
    /// Whether the subject may read the name of a relation in its plan: it exists for the subject, and the statement names
    /// it or something it inherits from.
    fn shows(&self, relid: Oid) -> bool {
        let named = |relid: &Oid| self.known.relations.contains(relid);
        (named(&relid) || relation::ancestors(relid).iter().any(named)) && visibility::shows(self.session, relid)
    }

    unsafe fn shows_entry(&self, index: u32) -> bool {
        let entry: *mut RangeTblEntry = list::nth(self.entries, index as usize - 1);
        (*entry).rtekind != RTEKind::RTE_RELATION || self.shows((*entry).relid)
    }

    unsafe fn shows_entries(&self, entries: *mut Bitmapset) -> bool {
        let mut member = -1;
        loop {
            member = pg_sys::bms_next_member(entries, member);
            if member < 0 {
                return true;
            }
            if !self.shows_entry(member as u32) {
                return false;
            }
        }
    }

    /// Takes names out of an entry of the range table that the statement did not give.
    unsafe fn rename(&self, entry: *mut RangeTblEntry) {
        if (*entry).eref.is_null() || self.known.names.contains(&nodes::string((*(*entry).eref).aliasname)) {
            return;
        }
        (*entry).alias = std::ptr::null_mut();
        (*(*entry).eref).aliasname = nodes::pstr(&HIDDEN.to_string_lossy());
        if (*entry).rtekind == RTEKind::RTE_CTE {
            (*entry).ctename = (*(*entry).eref).aliasname;
        }
    }

    /// Empties one node.
    unsafe fn node(&self, state: *mut PlanState) {
        let plan = (*state).plan;
        (*plan).startup_cost = 0.0;
        (*plan).total_cost = 0.0;
        (*plan).plan_rows = 0.0;
        (*plan).plan_width = 0;
        (*plan).qual = std::ptr::null_mut();
        for subplan in [(*state).initPlan, (*state).subPlan] {
            for subplan in list::iter::<SubPlanState>(subplan) {
                self.rename_subplan((*subplan).subplan);
            }
        }
        self.conditions(plan);
        keys(plan);
        self.foreign(state);
        if !self.shows_target(plan) {
            // A node that names no relation, with the same children.
            let result = nodes::make::<pg_sys::Result>(NodeTag::T_Result);
            (*result).plan = *plan;
            (*result).plan.type_ = NodeTag::T_Result;
            (*state).plan = result.cast();
        }
    }

    /// `CTE name` becomes `CTE hidden` unless the statement gave the name; others are numbered by PostgreSQL.
    unsafe fn rename_subplan(&self, subplan: *mut pg_sys::SubPlan) {
        let name = nodes::string((*subplan).plan_name);
        if let Some(cte) = name.strip_prefix("CTE ")
            && !self.known.names.contains(cte)
        {
            (*subplan).plan_name = nodes::pstr(&format!("CTE {}", HIDDEN.to_string_lossy()));
        }
    }

    /// Whether the names that the node shows as its target may be seen.
    unsafe fn shows_target(&self, plan: *mut Plan) -> bool {
        use NodeTag::*;
        match nodes::tag(plan) {
            T_SeqScan | T_SampleScan | T_IndexScan | T_IndexOnlyScan | T_BitmapHeapScan | T_TidScan
            | T_TidRangeScan => self.shows_entry((*plan.cast::<pg_sys::Scan>()).scanrelid),
            T_ForeignScan => {
                let scan: *mut pg_sys::ForeignScan = plan.cast();
                let joined = (*scan).scan.scanrelid == 0;
                if joined {
                    self.shows_entries((*scan).fs_relids)
                } else {
                    self.shows_entry((*scan).scan.scanrelid)
                }
            }
            T_CustomScan => {
                let scan: *mut pg_sys::CustomScan = plan.cast();
                self.shows_entries((*scan).custom_relids)
                    && ((*scan).scan.scanrelid == 0 || self.shows_entry((*scan).scan.scanrelid))
            }
            T_ModifyTable => {
                let modify: *mut pg_sys::ModifyTable = plan.cast();
                let targets = (*modify).resultRelations;
                (0..list::len(targets))
                    .all(|index| self.shows_entry((*(*targets).elements.add(index)).int_value as u32))
                    && self.shows_entry((*modify).nominalRelation)
            }
            _ => true,
        }
    }

    /// Empties what nodes show beside their filter.
    unsafe fn conditions(&self, plan: *mut Plan) {
        use NodeTag::*;
        let none = std::ptr::null_mut();
        match nodes::tag(plan) {
            T_IndexScan => {
                let scan: *mut pg_sys::IndexScan = plan.cast();
                (*scan).indexqualorig = none;
                (*scan).indexorderbyorig = none;
            }
            T_IndexOnlyScan => {
                let scan: *mut pg_sys::IndexOnlyScan = plan.cast();
                (*scan).indexqual = none;
                (*scan).indexorderby = none;
                (*scan).recheckqual = none;
            }
            T_BitmapIndexScan => (*plan.cast::<pg_sys::BitmapIndexScan>()).indexqualorig = none,
            T_BitmapHeapScan => (*plan.cast::<pg_sys::BitmapHeapScan>()).bitmapqualorig = none,
            T_SampleScan => {
                let sample = (*plan.cast::<pg_sys::SampleScan>()).tablesample;
                (*sample).args = none;
                (*sample).repeatable = none.cast();
            }
            T_FunctionScan => (*plan.cast::<pg_sys::FunctionScan>()).functions = none,
            T_TidScan => (*plan.cast::<pg_sys::TidScan>()).tidquals = none,
            T_TidRangeScan => (*plan.cast::<pg_sys::TidRangeScan>()).tidrangequals = none,
            T_NestLoop => (*plan.cast::<pg_sys::NestLoop>()).join.joinqual = none,
            T_MergeJoin => {
                let join: *mut pg_sys::MergeJoin = plan.cast();
                (*join).join.joinqual = none;
                (*join).mergeclauses = none;
            }
            T_HashJoin => {
                let join: *mut pg_sys::HashJoin = plan.cast();
                (*join).join.joinqual = none;
                (*join).hashclauses = none;
            }
            T_Memoize => (*plan.cast::<pg_sys::Memoize>()).param_exprs = none,
            T_Result => (*plan.cast::<pg_sys::Result>()).resconstantqual = none.cast(),
            T_Gather => {
                // Computed from the size of tables, hidden rows included.
                let gather: *mut pg_sys::Gather = plan.cast();
                (*gather).num_workers = 0;
                (*gather).initParam = none.cast();
            }
            T_GatherMerge => {
                let gather: *mut pg_sys::GatherMerge = plan.cast();
                (*gather).num_workers = 0;
                (*gather).initParam = none.cast();
            }
            T_ModifyTable => {
                let modify: *mut pg_sys::ModifyTable = plan.cast();
                (*modify).arbiterIndexes = none;
                (*modify).onConflictWhere = none.cast();
            }
            _ => {}
        }
    }

    /// Keeps foreign data wrappers and extensions from printing what they sent or made.
    unsafe fn foreign(&self, state: *mut PlanState) {
        match nodes::tag(state) {
            NodeTag::T_ForeignScanState => silence(&mut (*state.cast::<pg_sys::ForeignScanState>()).fdwroutine),
            NodeTag::T_CustomScanState => {
                let custom: *mut pg_sys::CustomScanState = state.cast();
                let own = pg_sys::palloc(size_of::<pg_sys::CustomExecMethods>()).cast::<pg_sys::CustomExecMethods>();
                *own = *(*custom).methods;
                (*own).ExplainCustomScan = None;
                (*custom).methods = own;
            }
            NodeTag::T_ModifyTableState => {
                let modify: *mut pg_sys::ModifyTableState = state.cast();
                for index in 0..(*modify).mt_nrels {
                    silence(&mut (*(*modify).resultRelInfo.add(index as usize)).ri_FdwRoutine);
                }
            }
            _ => {}
        }
    }
}

/// Puts a copy that explains nothing in the place of a wrapper's table of functions.
unsafe fn silence(routine: &mut *mut pg_sys::FdwRoutine) {
    if routine.is_null() {
        return;
    }
    let own = nodes::make::<pg_sys::FdwRoutine>(NodeTag::T_FdwRoutine);
    *own = **routine;
    (*own).ExplainForeignScan = None;
    (*own).ExplainForeignModify = None;
    (*own).ExplainDirectModify = None;
    *routine = own;
}

/// Empties the keys that nodes sort or group by: masks, as far as the subject is concerned.
unsafe fn keys(plan: *mut Plan) {
    use NodeTag::*;
    match nodes::tag(plan) {
        T_Sort => (*plan.cast::<pg_sys::Sort>()).numCols = 0,
        T_IncrementalSort => {
            let sort: *mut pg_sys::IncrementalSort = plan.cast();
            (*sort).sort.numCols = 0;
            (*sort).nPresortedCols = 0;
        }
        T_MergeAppend => (*plan.cast::<pg_sys::MergeAppend>()).numCols = 0,
        T_Group => (*plan.cast::<pg_sys::Group>()).numCols = 0,
        T_Agg => {
            let agg: *mut pg_sys::Agg = plan.cast();
            (*agg).numCols = 0;
            (*agg).groupingSets = std::ptr::null_mut();
            (*agg).chain = std::ptr::null_mut();
        }
        T_WindowAgg => {
            let window: *mut pg_sys::WindowAgg = plan.cast();
            (*window).partNumCols = 0;
            (*window).ordNumCols = 0;
            (*window).frameOptions &= !(pg_sys::FRAMEOPTION_NONDEFAULT as i32);
            (*window).runCondition = std::ptr::null_mut();
            (*window).runConditionOrig = std::ptr::null_mut();
        }
        _ => {}
    }
}
