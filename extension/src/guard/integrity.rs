//! Genuine referential-integrity queries, which have to see all rows: a foreign key that a filter could break would be no
//! foreign key.
//!
//! Invariant: a query passes only when an RI trigger itself issues it, and only when it has the exact shape of the query that
//! RI triggers issue for an existing constraint. PostgreSQL's own mark for such queries is no proof: triggers of the
//! cascaded table run under it too, and their statements are judged anew.

use std::ffi::c_char;

use pgrx::pg_sys::{self, CmdType, Node, NodeTag, Oid, Query, RTEKind, RangeTblEntry};

use super::frames::{self, Surroundings};
use crate::pg::relation::ForeignKey;
use crate::pg::walk::{self, Walk};
use crate::pg::{list, nodes, relation};

/// Whether a query is one of RI's own.
///
/// # Safety
/// `query` is a valid rewritten query and `query_string` the text that it comes from.
pub(crate) unsafe fn is_referential(query: *mut Query, query_string: *const c_char) -> bool {
    if !is_issued_by_trigger(query_string) {
        return false;
    }
    #[cfg(feature = "pg18")]
    if is_temporal(query) {
        return true;
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

/// Whether a query is one of a key with PERIOD (18): whether rows of the referenced table cover a period together, or rows of the
/// referencing one are left uncovered. Each level has one entry, a table of the key that is compared by the key's columns, or the
/// level below.
#[cfg(feature = "pg18")]
unsafe fn is_temporal(query: *mut Query) -> bool {
    let mut tables: Vec<(Oid, Vec<i16>)> = Vec::new();
    let has_more = walk::any_query(query, &mut |level| {
        if (*level).commandType != CmdType::CMD_SELECT || !is_bare(level) {
            return true;
        }
        let rte: *mut RangeTblEntry = list::nth((*level).rtable, 0);
        match (*rte).rtekind {
            RTEKind::RTE_RELATION => tables.push(((*rte).relid, columns_in((*(*level).jointree).quals))),
            RTEKind::RTE_SUBQUERY => {}
            _ => return true,
        }
        false
    });
    let Some((relid, _)) = tables.first() else { return false };
    !has_more
        && relation::foreign_keys(*relid).iter().any(|key| {
            let is_of_key = |(relid, columns): &(Oid, Vec<i16>)| {
                key.compares(*relid, true, columns) || key.compares(*relid, false, columns)
            };
            tables.iter().all(is_of_key)
        })
}

/// The columns of a level's own table in a condition, each once.
#[cfg(feature = "pg18")]
unsafe fn columns_in(condition: *mut Node) -> Vec<i16> {
    let mut columns = Vec::new();
    walk::walk(condition, &mut |node, _| match nodes::tag(node) {
        NodeTag::T_Query => Walk::Over,
        NodeTag::T_Var => {
            let attno = (*node.cast::<pg_sys::Var>()).varattno;
            if !columns.contains(&attno) {
                columns.push(attno);
            }
            Walk::Over
        }
        _ => Walk::Into,
    });
    columns
}

/// Whether the statement that is being planned is issued by an RI trigger itself: nothing but RI sets the mark, so it does
/// when the mark was set since the innermost frame was entered. Below a frame that was entered under the mark, inside one of
/// RI's queries, only SPI's entry may have come onto the error context stack since then: what a user wrote is run by a
/// language, which has an entry of its own.
unsafe fn is_issued_by_trigger(query_string: *const c_char) -> bool {
    let now = Surroundings::now();
    if !now.referential {
        return false;
    }
    match frames::innermost() {
        Some(frame) if frame.referential => {
            let top = now.error_context;
            // The entry's argument is SPICallbackArg in spi.c, which begins with the statement's text.
            !top.is_null()
                && (*top).previous == frame.error_context
                && !(*top).arg.is_null()
                && *(*top).arg.cast::<*const c_char>() == query_string
        }
        _ => true,
    }
}

/// The single relation of a query that has nothing else.
unsafe fn only_relation(query: *mut Query) -> Option<Oid> {
    let plain = is_bare(query) && !(*query).hasSubLinks && !(*query).hasAggs;
    let rte: *mut RangeTblEntry = plain.then(|| list::nth((*query).rtable, 0))?;
    ((*rte).rtekind == RTEKind::RTE_RELATION).then_some((*rte).relid)
}

/// Whether a query level has one entry and nothing but conditions.
unsafe fn is_bare(query: *mut Query) -> bool {
    list::len((*query).rtable) == 1
        && !(*query).hasWindowFuncs
        && !(*query).hasTargetSRFs
        && (*query).cteList.is_null()
        && (*query).returningList.is_null()
        && (*query).setOperations.is_null()
        && (*query).groupClause.is_null()
        && (*query).sortClause.is_null()
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
