//! Showing a subject the shape of a plan.
//!
//! Invariant: only what is copied here is shown. The plan has been started and is about to be printed, then ended; it never
//! runs. Meanwhile a tree of blank nodes stands in its place, with nothing filled in but what a subject may see, so that
//! whatever else EXPLAIN prints of a node, in this version or a later one, is empty.

use std::ffi::CStr;

use pgrx::pg_sys::{
    self, AppendRelInfo, List, NodeTag, Oid, Plan, PlanState, PlannedStmt, QueryDesc, RTEKind, RangeTblEntry, SubPlan,
    SubPlanState, TupleTableSlot,
};
use pgrx::prelude::*;

use super::explain::Known;
use super::members;
use crate::catalog::Session;
use crate::pg::{list, nodes};
use crate::visibility;

/// Stands for a name that is not shown.
pub(super) const HIDDEN: &CStr = c"hidden";

/// Room for any node of a plan or its state.
const ROOM: usize = 4096;

/// The state of the blank tree's root.
#[repr(C)]
struct Root {
    node: [u64; ROOM / 8],
    /// The tree that it stands for.
    original: *mut PlanState,
}

const _: () = assert!(
    size_of::<pg_sys::ModifyTableState>() <= ROOM
        && size_of::<pg_sys::AggState>() <= ROOM
        && size_of::<pg_sys::WindowAggState>() <= ROOM
        && size_of::<pg_sys::CustomScanState>() <= ROOM
        && size_of::<pg_sys::ForeignScanState>() <= ROOM
        && size_of::<pg_sys::ModifyTable>() <= ROOM
);

/// Marks a root; it is never run.
#[pg_guard]
unsafe extern "C-unwind" fn never_run(_state: *mut PlanState) -> *mut TupleTableSlot {
    error!("a plan that is only shown cannot be run");
}

/// Puts a blank tree in the place of the plan's state until [`restore`].
///
/// # Safety
/// `query_desc` was started for showing only, with a plan that belongs to it alone.
pub(super) unsafe fn conceal(session: &Session, known: &Known, query_desc: *mut QueryDesc) {
    let shape = Shape {
        session,
        known,
        stmt: (*query_desc).plannedstmt,
    };
    for entry in list::iter::<RangeTblEntry>((*shape.stmt).rtable) {
        shape.rename(entry);
    }
    let original = (*query_desc).planstate;
    let state = shape.node((*original).plan, original);
    let root = pg_sys::palloc0(size_of::<Root>()).cast::<Root>();
    std::ptr::copy_nonoverlapping(state.cast::<u8>(), root.cast::<u8>(), ROOM);
    (*root).original = original;
    (*root.cast::<PlanState>()).ExecProcNode = Some(never_run);
    (*query_desc).planstate = root.cast();
}

/// Gives a plan that was shown its state back, which is about to be ended.
///
/// # Safety
/// `query_desc` is valid.
pub(crate) unsafe fn restore(query_desc: *mut QueryDesc) {
    let state = (*query_desc).planstate;
    let is_root = !state.is_null()
        && (*state)
            .ExecProcNode
            .is_some_and(|run| run as usize == never_run as *const () as usize);
    if is_root {
        (*query_desc).planstate = (*state.cast::<Root>()).original;
    }
}

/// A node with nothing in it.
unsafe fn blank<T>(tag: NodeTag) -> *mut T {
    let node = pg_sys::palloc0(ROOM).cast::<T>();
    (*node.cast::<pg_sys::Node>()).type_ = tag;
    node
}

struct Shape<'a> {
    session: &'a Session,
    known: &'a Known,
    stmt: *mut PlannedStmt,
}

impl Shape<'_> {
    /// Whether the subject may read the name of a relation in its plan: it exists for the subject, and the statement names
    /// it.
    fn shows(&self, relid: Oid) -> bool {
        self.known.relations.contains(&relid) && visibility::shows(self.session, relid)
    }

    unsafe fn entry(&self, index: u32) -> *mut RangeTblEntry {
        list::nth((*self.stmt).rtable, index as usize - 1)
    }

    /// Of a partition or child, the table that the statement names: which of them are left tells of conditions.
    unsafe fn named_index(&self, mut index: u32) -> u32 {
        let infos: *mut List = (*self.stmt).appendRelations;
        while let Some(info) =
            list::iter::<AppendRelInfo>(infos).find(|info| !info.is_null() && (**info).child_relid == index)
        {
            if (*self.entry((*info).parent_relid)).rtekind != RTEKind::RTE_RELATION {
                break;
            }
            index = (*info).parent_relid;
        }
        index
    }

    /// The number of the entry to be shown, `None` for one that must not be.
    unsafe fn target(&self, index: u32) -> Option<u32> {
        if index == 0 {
            return Some(0);
        }
        let index = self.named_index(index);
        let entry = self.entry(index);
        ((*entry).rtekind != RTEKind::RTE_RELATION || self.shows((*entry).relid)).then_some(index)
    }

    /// The index to be shown: of a partition's, the one of the table that the statement names.
    unsafe fn index(&self, index: Oid, scanned: u32) -> Oid {
        let named = self.named_index(scanned);
        if named == scanned {
            return index;
        }
        let relid = (*self.entry(named)).relid;
        list::iter_oid(pg_sys::get_partition_ancestors(index))
            .find(|ancestor| pg_sys::IndexGetRelation(*ancestor, true) == relid)
            .unwrap_or(Oid::INVALID)
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

    /// Whether an Append is about the children of one table, in any grouping.
    unsafe fn is_over_children(&self, plan: *mut Plan) -> bool {
        let Some(relids) = members::appended(plan) else {
            return false;
        };
        let mut member = pg_sys::bms_next_member(relids, -1);
        while member >= 0 {
            if (*self.entry(member as u32)).rtekind == RTEKind::RTE_RELATION {
                return true;
            }
            member = pg_sys::bms_next_member(relids, member);
        }
        false
    }

    /// The blank state of a node; `state` is NULL for one that was not started.
    unsafe fn node(&self, plan: *mut Plan, state: *mut PlanState) -> *mut PlanState {
        pg_sys::check_stack_depth();
        // One child stands for all: how many are left, and which, is not shown. When one is left, the planner does the same.
        if self.is_over_children(plan)
            && let Some(first) = list::iter::<Plan>(members::plans(plan)).next()
        {
            let shown = self.node(first, std::ptr::null_mut());
            self.subplans(state, shown);
            return shown;
        }
        let tag = if state.is_null() {
            NodeTag::T_ResultState
        } else {
            nodes::tag(state)
        };
        let shown = blank::<PlanState>(tag);
        (*shown).plan = self.plan(plan, shown).unwrap_or_else(|| blank(NodeTag::T_Result));
        let below = |child: *mut Plan, state: *mut PlanState| {
            if child.is_null() {
                std::ptr::null_mut()
            } else {
                self.node(child, state)
            }
        };
        let (left, right) = if state.is_null() {
            (std::ptr::null_mut(), std::ptr::null_mut())
        } else {
            ((*state).lefttree, (*state).righttree)
        };
        (*shown).lefttree = below((*plan).lefttree, left);
        (*shown).righttree = below((*plan).righttree, right);
        let children = members::pairs(plan, state);
        let children = children.into_iter().map(|(plan, state)| self.node(plan, state));
        members::attach(shown, children.collect());
        self.subplans(state, shown);
        shown
    }

    unsafe fn subplans(&self, state: *mut PlanState, shown: *mut PlanState) {
        if state.is_null() {
            return;
        }
        for (given, list) in [
            ((*state).initPlan, &mut (*shown).initPlan),
            ((*state).subPlan, &mut (*shown).subPlan),
        ] {
            for given in list::iter::<SubPlanState>(given).filter(|given| !(**given).planstate.is_null()) {
                let own = nodes::make::<SubPlanState>(NodeTag::T_SubPlanState);
                (*own).subplan = nodes::make::<SubPlan>(NodeTag::T_SubPlan);
                (*(*own).subplan).plan_id = (*(*given).subplan).plan_id;
                (*(*own).subplan).plan_name = self.subplan_name((*given).subplan);
                (*own).planstate = self.node((*(*given).planstate).plan, (*given).planstate);
                *list = list::push(*list, own);
            }
        }
    }

    /// `CTE name` becomes `CTE hidden` unless the statement gave the name; others are numbered by PostgreSQL.
    unsafe fn subplan_name(&self, subplan: *mut SubPlan) -> *mut std::ffi::c_char {
        let name = nodes::string((*subplan).plan_name);
        match name.strip_prefix("CTE ") {
            Some(cte) if !self.known.names.contains(cte) => nodes::pstr(&format!("CTE {}", HIDDEN.to_string_lossy())),
            _ => nodes::pstr(&name),
        }
    }

    /// The blank plan of a node with what may be shown of it, `None` for a node whose target or kind must not be.
    unsafe fn plan(&self, plan: *mut Plan, state: *mut PlanState) -> Option<*mut Plan> {
        use NodeTag::*;
        let tag = nodes::tag(plan);
        let shown = blank::<Plan>(tag);
        (*shown).parallel_aware = (*plan).parallel_aware;
        match tag {
            T_SeqScan
            | T_BitmapHeapScan
            | T_TidScan
            | T_TidRangeScan
            | T_SubqueryScan
            | T_FunctionScan
            | T_ValuesScan
            | T_NamedTuplestoreScan
            | T_WorkTableScan => self.scan(plan, shown)?,
            T_CteScan => {
                self.scan(plan, shown)?;
                let state: *mut pg_sys::CteScanState = state.cast();
                (*state).leader = state;
            }
            T_SampleScan => {
                self.scan(plan, shown)?;
                let sample = nodes::make::<pg_sys::TableSampleClause>(T_TableSampleClause);
                (*sample).tsmhandler = (*(*plan.cast::<pg_sys::SampleScan>()).tablesample).tsmhandler;
                (*shown.cast::<pg_sys::SampleScan>()).tablesample = sample;
            }
            T_TableFuncScan => {
                self.scan(plan, shown)?;
                let function = nodes::make::<pg_sys::TableFunc>(T_TableFunc);
                #[cfg(any(feature = "pg17", feature = "pg18"))]
                {
                    (*function).functype = (*(*plan.cast::<pg_sys::TableFuncScan>()).tablefunc).functype;
                }
                (*shown.cast::<pg_sys::TableFuncScan>()).tablefunc = function;
            }
            T_IndexScan => {
                self.scan(plan, shown)?;
                let (from, to): (*mut pg_sys::IndexScan, *mut pg_sys::IndexScan) = (plan.cast(), shown.cast());
                (*to).indexid = self.index((*from).indexid, (*from).scan.scanrelid);
                (*to).indexorderdir = (*from).indexorderdir;
            }
            T_IndexOnlyScan => {
                self.scan(plan, shown)?;
                let (from, to): (*mut pg_sys::IndexOnlyScan, *mut pg_sys::IndexOnlyScan) = (plan.cast(), shown.cast());
                (*to).indexid = self.index((*from).indexid, (*from).scan.scanrelid);
                (*to).indexorderdir = (*from).indexorderdir;
            }
            T_BitmapIndexScan => {
                let (from, to): (*mut pg_sys::BitmapIndexScan, *mut pg_sys::BitmapIndexScan) =
                    (plan.cast(), shown.cast());
                self.target((*from).scan.scanrelid)?;
                (*to).indexid = self.index((*from).indexid, (*from).scan.scanrelid);
            }
            T_ForeignScan => {
                self.scan(plan, shown)?;
                // Of tables joined elsewhere the names are in what the wrapper prints, which stays blank.
                let (from, to): (*mut pg_sys::ForeignScan, *mut pg_sys::ForeignScan) = (plan.cast(), shown.cast());
                (*to).operation = (*from).operation;
                (*state.cast::<pg_sys::ForeignScanState>()).fdwroutine = nodes::make(T_FdwRoutine);
            }
            T_CustomScan => {
                self.scan(plan, shown)?;
                let (from, to): (*mut pg_sys::CustomScan, *mut pg_sys::CustomScan) = (plan.cast(), shown.cast());
                (*to).methods = (*from).methods;
                let methods = pg_sys::palloc0(size_of::<pg_sys::CustomExecMethods>());
                (*state.cast::<pg_sys::CustomScanState>()).methods = methods.cast();
            }
            T_ModifyTable => {
                let (from, to): (*mut pg_sys::ModifyTable, *mut pg_sys::ModifyTable) = (plan.cast(), shown.cast());
                (*to).operation = (*from).operation;
                (*to).nominalRelation = self.target((*from).nominalRelation)?;
                (*to).onConflictAction = (*from).onConflictAction;
            }
            T_NestLoop | T_MergeJoin | T_HashJoin => {
                (*shown.cast::<pg_sys::Join>()).jointype = (*plan.cast::<pg_sys::Join>()).jointype;
            }
            T_Agg => {
                let (from, to): (*mut pg_sys::Agg, *mut pg_sys::Agg) = (plan.cast(), shown.cast());
                (*to).aggstrategy = (*from).aggstrategy;
                (*to).aggsplit = (*from).aggsplit;
            }
            T_SetOp => {
                let (from, to): (*mut pg_sys::SetOp, *mut pg_sys::SetOp) = (plan.cast(), shown.cast());
                (*to).cmd = (*from).cmd;
                (*to).strategy = (*from).strategy;
            }
            T_WindowAgg => {
                // From 18 on the name of the window is printed.
                (*shown.cast::<pg_sys::WindowAgg>()).set_name();
            }
            // How many workers there would be comes from the size of tables, hidden rows included.
            T_Gather => {
                (*shown.cast::<pg_sys::Gather>()).invisible = (*plan.cast::<pg_sys::Gather>()).invisible;
            }
            T_Result | T_ProjectSet | T_Append | T_MergeAppend | T_RecursiveUnion | T_BitmapAnd | T_BitmapOr
            | T_GatherMerge | T_Material | T_Memoize | T_Sort | T_IncrementalSort | T_Group | T_Unique | T_LockRows
            | T_Limit | T_Hash => {}
            _ => return None,
        }
        Some(shown)
    }

    unsafe fn scan(&self, plan: *mut Plan, shown: *mut Plan) -> Option<()> {
        (*shown.cast::<pg_sys::Scan>()).scanrelid = self.target((*plan.cast::<pg_sys::Scan>()).scanrelid)?;
        Some(())
    }
}

/// What 18 prints of a window even when it is blank.
trait Window {
    unsafe fn set_name(&mut self);
}

impl Window for pg_sys::WindowAgg {
    #[cfg(feature = "pg18")]
    unsafe fn set_name(&mut self) {
        self.winname = nodes::pstr("w");
    }

    #[cfg(not(feature = "pg18"))]
    unsafe fn set_name(&mut self) {}
}
