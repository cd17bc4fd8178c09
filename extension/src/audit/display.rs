//! The text of a rewritten statement, with the filters in WHERE however they were attached.

use pgrx::pg_sys::{self, CmdType, Node, Query, RangeTblEntry, WithCheckOption};

use crate::pg::walk::{self, Walk};
use crate::pg::{list, nodes};

/// The statement as SQL. What new rows have to fulfil, for which SQL has no place, follows as a comment.
///
/// # Safety
/// `query` has been rewritten; a copy of it is changed.
pub(super) unsafe fn text(query: *mut Query) -> String {
    let query: *mut Query = nodes::copy(query);
    let mut checks = Vec::new();
    every_query(query, &mut |query| {
        checks.extend(checks_of(query));
        show_filters(query);
    });
    let mut text = nodes::string(pg_sys::pg_get_querydef(query, false))
        .trim_start()
        .to_owned();
    for check in checks {
        text.push_str(&format!(
            " /* new rows have to fulfil: {} */",
            check.replace("*/", "* /")
        ));
    }
    text
}

unsafe fn every_query(query: *mut Query, visit: &mut dyn FnMut(*mut Query)) {
    pg_sys::check_stack_depth();
    visit(query);
    walk::walk_query(query, 0, &mut |node, _| {
        if nodes::is_a(node, pg_sys::NodeTag::T_Query) {
            // The walker goes on below it by itself.
            visit(node.cast());
        }
        Walk::Into
    });
}

/// Moves conditions that stand at relations, where no text shows them, to WHERE, or for MERGE to ON.
unsafe fn show_filters(query: *mut Query) {
    let mut quals: Vec<*mut Node> = Vec::new();
    for rte in list::iter::<RangeTblEntry>((*query).rtable) {
        quals.extend(list::iter::<Node>((*rte).securityQuals));
        (*rte).securityQuals = std::ptr::null_mut();
    }
    if quals.is_empty() {
        return;
    }
    let place = place_of_conditions(query);
    if !(*place).is_null() {
        quals.push(*place);
    }
    *place = nodes::and(&quals);
}

#[cfg(any(feature = "pg17", feature = "pg18"))]
unsafe fn place_of_conditions(query: *mut Query) -> *mut *mut Node {
    if (*query).commandType == CmdType::CMD_MERGE {
        return &raw mut (*query).mergeJoinCondition;
    }
    &raw mut (*(*query).jointree).quals
}

#[cfg(not(any(feature = "pg17", feature = "pg18")))]
unsafe fn place_of_conditions(query: *mut Query) -> *mut *mut Node {
    debug_assert!((*query).commandType != CmdType::CMD_UTILITY);
    &raw mut (*(*query).jointree).quals
}

/// The conditions that new rows have to fulfil.
unsafe fn checks_of(query: *mut Query) -> Vec<String> {
    if (*query).resultRelation == 0 {
        return Vec::new();
    }
    let target = nodes::rte(query, (*query).resultRelation as usize);
    let mut texts = Vec::new();
    for check in list::iter::<WithCheckOption>((*query).withCheckOptions) {
        let qual = nodes::copy((*check).qual);
        pg_sys::ChangeVarNodes(qual, (*query).resultRelation, 1, 0);
        let context = pg_sys::deparse_context_for((*(*target).eref).aliasname, (*target).relid);
        let text = nodes::string(pg_sys::deparse_expression(qual, context, false, false));
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}
