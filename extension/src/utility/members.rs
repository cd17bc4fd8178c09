//! Nodes below a node of a plan that are neither its outer nor its inner one.

use pgrx::pg_sys::{self, Bitmapset, List, NodeTag, Plan, PlanState};

use crate::pg::{list, nodes};

/// The relations that an Append or a Merge Append puts together, `None` for other nodes.
///
/// # Safety
/// `plan` is valid.
pub(super) unsafe fn appended(plan: *mut Plan) -> Option<*mut Bitmapset> {
    match nodes::tag(plan) {
        NodeTag::T_Append => Some((*plan.cast::<pg_sys::Append>()).apprelids),
        NodeTag::T_MergeAppend => Some((*plan.cast::<pg_sys::MergeAppend>()).apprelids),
        _ => None,
    }
}

/// The plans below a node that has a list of them.
///
/// # Safety
/// `plan` is valid.
pub(super) unsafe fn plans(plan: *mut Plan) -> *mut List {
    match nodes::tag(plan) {
        NodeTag::T_Append => (*plan.cast::<pg_sys::Append>()).appendplans,
        NodeTag::T_MergeAppend => (*plan.cast::<pg_sys::MergeAppend>()).mergeplans,
        NodeTag::T_BitmapAnd => (*plan.cast::<pg_sys::BitmapAnd>()).bitmapplans,
        NodeTag::T_BitmapOr => (*plan.cast::<pg_sys::BitmapOr>()).bitmapplans,
        NodeTag::T_CustomScan => (*plan.cast::<pg_sys::CustomScan>()).custom_plans,
        NodeTag::T_SubqueryScan => list::of((*plan.cast::<pg_sys::SubqueryScan>()).subplan),
        _ => std::ptr::null_mut(),
    }
}

/// The nodes below with their states; from the plan, and without states, where `state` is NULL.
///
/// # Safety
/// `state` is NULL or that of `plan`.
pub(super) unsafe fn pairs(plan: *mut Plan, state: *mut PlanState) -> Vec<(*mut Plan, *mut PlanState)> {
    if state.is_null() {
        return list::iter::<Plan>(plans(plan))
            .map(|plan| (plan, std::ptr::null_mut()))
            .collect();
    }
    let array = |states: *mut *mut PlanState, length: i32| (0..length as usize).map(|i| *states.add(i)).collect();
    let states: Vec<*mut PlanState> = match nodes::tag(plan) {
        NodeTag::T_Append => {
            let state: *mut pg_sys::AppendState = state.cast();
            array((*state).appendplans, (*state).as_nplans)
        }
        NodeTag::T_MergeAppend => {
            let state: *mut pg_sys::MergeAppendState = state.cast();
            array((*state).mergeplans, (*state).ms_nplans)
        }
        NodeTag::T_BitmapAnd => {
            let state: *mut pg_sys::BitmapAndState = state.cast();
            array((*state).bitmapplans, (*state).nplans)
        }
        NodeTag::T_BitmapOr => {
            let state: *mut pg_sys::BitmapOrState = state.cast();
            array((*state).bitmapplans, (*state).nplans)
        }
        NodeTag::T_SubqueryScan => vec![(*state.cast::<pg_sys::SubqueryScanState>()).subplan],
        NodeTag::T_CustomScan => list::iter((*state.cast::<pg_sys::CustomScanState>()).custom_ps).collect(),
        _ => Vec::new(),
    };
    states.into_iter().map(|state| ((*state).plan, state)).collect()
}

/// Hangs states below a blank one, and what PostgreSQL compares their number with below its plan.
///
/// # Safety
/// `shown` is a blank state with its plan.
pub(super) unsafe fn attach(shown: *mut PlanState, children: Vec<*mut PlanState>) {
    if children.is_empty() {
        return;
    }
    let (states, plans) = children.iter().fold(
        (std::ptr::null_mut(), std::ptr::null_mut()),
        |(states, plans): (*mut List, *mut List), child| {
            (list::push(states, *child), list::push(plans, (**child).plan))
        },
    );
    let length = children.len() as i32;
    let array = pg_sys::palloc(size_of::<*mut PlanState>() * children.len()).cast::<*mut PlanState>();
    std::ptr::copy_nonoverlapping(children.as_ptr(), array, children.len());
    match nodes::tag((*shown).plan) {
        NodeTag::T_Append => {
            (*shown.cast::<pg_sys::AppendState>()).appendplans = array;
            (*shown.cast::<pg_sys::AppendState>()).as_nplans = length;
            (*(*shown).plan.cast::<pg_sys::Append>()).appendplans = plans;
        }
        NodeTag::T_MergeAppend => {
            (*shown.cast::<pg_sys::MergeAppendState>()).mergeplans = array;
            (*shown.cast::<pg_sys::MergeAppendState>()).ms_nplans = length;
            (*(*shown).plan.cast::<pg_sys::MergeAppend>()).mergeplans = plans;
        }
        NodeTag::T_BitmapAnd => {
            (*shown.cast::<pg_sys::BitmapAndState>()).bitmapplans = array;
            (*shown.cast::<pg_sys::BitmapAndState>()).nplans = length;
        }
        NodeTag::T_BitmapOr => {
            (*shown.cast::<pg_sys::BitmapOrState>()).bitmapplans = array;
            (*shown.cast::<pg_sys::BitmapOrState>()).nplans = length;
        }
        NodeTag::T_SubqueryScan => (*shown.cast::<pg_sys::SubqueryScanState>()).subplan = children[0],
        NodeTag::T_CustomScan => (*shown.cast::<pg_sys::CustomScanState>()).custom_ps = states,
        _ => {}
    }
}
