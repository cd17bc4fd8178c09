//! Plans that depend on answers of decision functions.
//!
//! The plan cache knows nothing of policies. A plan that was made for one statement's answers gets an entry of its own in
//! its list of dependencies; once such a plan is used, everything with that entry is marked, as PostgreSQL does it when a
//! function changes. The mark reaches no other plan and no other backend.

use std::cell::Cell;

use pgrx::pg_sys::{self, NodeTag, PlanInvalItem, PlannedStmt};

use crate::pg::{list, nodes};

/// The entry: a hash value as it could be that of a function. A plan that really uses one is made anew more often.
const MARK: u32 = 0x6277_726f;

thread_local! {
    static RESETTING: Cell<bool> = const { Cell::new(false) };
}

/// Gives a plan the entry.
///
/// # Safety
/// `plan` is a new plan that may be modified, in the current memory context.
pub(crate) unsafe fn mark_plan(plan: *mut PlannedStmt) {
    let item = nodes::make::<PlanInvalItem>(NodeTag::T_PlanInvalItem);
    (*item).cacheId = cache();
    (*item).hashValue = MARK;
    (*plan).invalItems = list::push((*plan).invalItems, item);
}

/// Notes that a plan with the entry is about to run: the next statement makes its own.
pub(crate) fn used() {
    struct Scope;
    impl Drop for Scope {
        fn drop(&mut self) {
            RESETTING.set(false);
        }
    }
    RESETTING.set(true);
    let _scope = Scope;
    // SAFETY: calls the callbacks that are registered for the cache of functions, as an invalidation message would.
    unsafe { pg_sys::CallSyscacheCallbacks(cache(), MARK) };
}

/// Whether what our callback for functions hears of is [`used`], and no function changed.
pub(crate) fn is_own_reset() -> bool {
    RESETTING.get()
}

/// Marks all saved plans: a session function's answer is another one.
pub(super) fn answers_changed() {
    // SAFETY: only sets flags in the plan cache's list.
    unsafe { pg_sys::ResetPlanCache() };
}

fn cache() -> i32 {
    pg_sys::SysCacheIdentifier::PROCOID as i32
}
