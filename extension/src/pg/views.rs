//! What a view's definition does with columns.

use pgrx::pg_sys::{self, FromExpr, JoinExpr, Node, NodeTag, Oid, Query, RTEKind, RangeTblEntry, Var};

use super::{list, nodes, walk};

/// The columns of relations that the conditions of a view use: WHERE, JOIN … ON and HAVING, at every level.
pub(crate) fn condition_columns(view: Oid) -> Vec<(Oid, i16)> {
    let mut found = Vec::new();
    // SAFETY: the rule's tree belongs to the relation cache entry, which stays as long as the relation is open, and is only
    // read. Every query that is put on the stack belongs to it.
    unsafe {
        let relation = pg_sys::relation_open(view, pg_sys::AccessShareLock as _);
        let mut stack: Vec<*mut Query> = Vec::new();
        walk::walk(pg_sys::get_view_query(relation).cast(), &mut |node, level| {
            if nodes::is_a(node, NodeTag::T_Query) {
                let query = node.cast::<Query>();
                stack.truncate(level as usize);
                stack.push(query);
                conditions((*query).jointree.cast(), &mut |condition| {
                    used_columns(&stack, condition, &mut found)
                });
                used_columns(&stack, (*query).havingQual, &mut found);
            }
            walk::Walk::Into
        });
        pg_sys::relation_close(relation, pg_sys::AccessShareLock as _);
    }
    found.sort_unstable_by_key(|(relid, attno)| (relid.to_u32(), *attno));
    found.dedup();
    found
}

/// Calls `visit` with each condition of a join tree.
unsafe fn conditions(node: *mut Node, visit: &mut dyn FnMut(*mut Node)) {
    if node.is_null() {
        return;
    }
    match (*node).type_ {
        NodeTag::T_FromExpr => {
            let from = node.cast::<FromExpr>();
            visit((*from).quals);
            for item in list::iter::<Node>((*from).fromlist) {
                conditions(item, visit);
            }
        }
        NodeTag::T_JoinExpr => {
            let join = node.cast::<JoinExpr>();
            visit((*join).quals);
            conditions((*join).larg, visit);
            conditions((*join).rarg, visit);
        }
        _ => {}
    }
}

/// Adds the columns that an expression uses, directly in the innermost of the queries around it or further out.
unsafe fn used_columns(around: &[*mut Query], expression: *mut Node, found: &mut Vec<(Oid, i16)>) {
    let mut stack = around.to_vec();
    walk::walk(expression, &mut |node, level| {
        let depth = around.len() + level as usize;
        if nodes::is_a(node, NodeTag::T_Query) {
            stack.truncate(depth);
            stack.push(node.cast());
        } else if nodes::is_a(node, NodeTag::T_Var) {
            let var = node.cast::<Var>();
            if let Some(&query) = depth
                .checked_sub(1 + (*var).varlevelsup as usize)
                .and_then(|index| stack.get(index))
            {
                column_of(query, var, found);
            }
        }
        walk::Walk::Into
    });
}

/// Adds the column that a variable of a query stands for, if it is a relation's own or a join's name for one.
unsafe fn column_of(query: *mut Query, var: *mut Var, found: &mut Vec<(Oid, i16)>) {
    let Ok(index) = usize::try_from((*var).varno as i64 - 1) else {
        return;
    };
    if index >= list::len((*query).rtable) {
        return;
    }
    let entry = list::nth::<RangeTblEntry>((*query).rtable, index);
    match (*entry).rtekind {
        RTEKind::RTE_RELATION => found.push(((*entry).relid, (*var).varattno)),
        RTEKind::RTE_JOIN => {
            let Ok(attribute) = usize::try_from((*var).varattno - 1) else {
                return;
            };
            if attribute < list::len((*entry).joinaliasvars) {
                let alias = list::nth::<Node>((*entry).joinaliasvars, attribute);
                used_columns(&[query], alias, found);
            }
        }
        _ => {}
    }
}
