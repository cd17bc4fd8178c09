//! Genuine referential-integrity queries, which have to see all rows: a foreign key that a filter could break would be no
//! foreign key.
//!
//! Invariant: a query passes only while PostgreSQL's own marker for such queries is set and only when it has the exact shape
//! of the query that RI triggers issue for an existing constraint. The marker alone is no proof: triggers of the cascaded
//! table run under it too, and their statements are judged anew.

use pgrx::pg_sys::{self, CmdType, Node, NodeTag, Oid, Query, RTEKind, RangeTblEntry};

use crate::pg::relation::ForeignKey;
use crate::pg::walk::{self, Walk};
use crate::pg::{list, nodes, relation};

/// Whether a query is one of RI's own.
///
/// # Safety
/// `query` is a valid rewritten query.
pub(crate) unsafe fn is_referential(query: *mut Query) -> bool {
    let (mut user, mut context) = (Oid::INVALID, 0);
    pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
    if context & pg_sys::SECURITY_NOFORCE_RLS as i32 == 0 {
        return false;
    }
    let Some(relid) = only_relation(query) else {
        return false;
    };
    let Some(columns) = compared_columns(query) else {
        return false;
    };
    relation::foreign_keys(relid)
        .iter()
        .any(|key| match (*query).commandType {
            CmdType::CMD_SELECT => {
                locks_one_constant(query)
                    && (key.compares(relid, true, &columns) || key.compares(relid, false, &columns))
            }
            CmdType::CMD_DELETE => key.compares(relid, false, &columns),
            CmdType::CMD_UPDATE => key.compares(relid, false, &columns) && sets_key(query, key),
            _ => false,
        })
}

/// The single relation of a query that has nothing else.
unsafe fn only_relation(query: *mut Query) -> Option<Oid> {
    let plain = list::len((*query).rtable) == 1
        && !(*query).hasSubLinks
        && !(*query).hasAggs
        && !(*query).hasWindowFuncs
        && !(*query).hasTargetSRFs
        && (*query).cteList.is_null()
        && (*query).returningList.is_null()
        && (*query).setOperations.is_null()
        && (*query).groupClause.is_null()
        && (*query).sortClause.is_null();
    let rte: *mut RangeTblEntry = plain.then(|| list::nth((*query).rtable, 0))?;
    ((*rte).rtekind == RTEKind::RTE_RELATION).then_some((*rte).relid)
}

/// The columns that WHERE compares with parameters; `None` when it does anything else.
unsafe fn compared_columns(query: *mut Query) -> Option<Vec<i16>> {
    let quals = (*(*query).jointree).quals;
    let mut columns = Vec::new();
    let mut plain = !quals.is_null();
    let mut parameters = 0;
    walk::walk(quals, &mut |node, _| {
        match nodes::tag(node) {
            NodeTag::T_Var => columns.push((*node.cast::<pg_sys::Var>()).varattno),
            NodeTag::T_Param => parameters += 1,
            NodeTag::T_BoolExpr => {
                plain &= (*node.cast::<pg_sys::BoolExpr>()).boolop == pg_sys::BoolExprType::AND_EXPR;
            }
            NodeTag::T_List | NodeTag::T_OpExpr | NodeTag::T_RelabelType | NodeTag::T_CollateExpr => {}
            // A cast between the types of the two keys.
            NodeTag::T_FuncExpr | NodeTag::T_CoerceViaIO | NodeTag::T_ArrayCoerceExpr => {}
            _ => plain = false,
        }
        Walk::Into
    });
    (plain && columns.len() == parameters).then_some(columns)
}

/// Whether a SELECT is `SELECT 1 … FOR KEY SHARE`.
unsafe fn locks_one_constant(query: *mut Query) -> bool {
    list::len((*query).rowMarks) == 1
        && list::len((*query).targetList) == 1
        && nodes::is_a(
            (*list::nth::<pg_sys::TargetEntry>((*query).targetList, 0))
                .expr
                .cast::<Node>(),
            NodeTag::T_Const,
        )
}

/// Whether an UPDATE sets columns of the key only, to parameters, NULL or defaults.
unsafe fn sets_key(query: *mut Query, key: &ForeignKey) -> bool {
    list::iter::<pg_sys::TargetEntry>((*query).targetList).all(|target| {
        let reads_row = walk::walk((*target).expr.cast(), &mut |node, _| {
            if nodes::is_a(node, NodeTag::T_Var) || nodes::is_a(node, NodeTag::T_SubLink) {
                Walk::Stop
            } else {
                Walk::Into
            }
        });
        !reads_row && key.referencing_columns.contains(&(*target).resno)
    })
}
